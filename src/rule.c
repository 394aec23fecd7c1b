/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/fib_rules.h>
#include <string.h>
#include <sys/socket.h>

#include "rule.h"
#include "util.h"

#define DUMP_TRIES 5

/* What the headers of the build machine may not know */
#define DSCP 25           /* FRA_DSCP, since 6.12 */
#define FLOWLABEL 26      /* FRA_FLOWLABEL, since 6.14 */
#define FLOWLABEL_MASK 27 /* FRA_FLOWLABEL_MASK */
#define DSCP_MASK 30      /* FRA_DSCP_MASK, since 6.15 */
#define ATTRIBUTE_MAX DSCP_MASK

/* Selectors that a rule has only if it goes by them, be it by a value of 0. */
static const unsigned int per_packet[] = { FRA_TUN_ID, DSCP, DSCP_MASK, FLOWLABEL, FLOWLABEL_MASK };

static bool goes_by_packet(const struct nlmsghdr *message, const struct fib_rule_hdr *header)
{
	const struct nlattr *table[ATTRIBUTE_MAX + 1];

	if (header->tos)
		return true;
	rtnl_attributes(message, sizeof(*header), table, ATTRIBUTE_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(per_packet); i++)
		if (table[per_packet[i]])
			return true;
	return false;
}

void rules_learn(struct rules *rules, const struct nlmsghdr *message)
{
	const struct fib_rule_hdr *header = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header)) {
		rules->ipv4 = true;
		rules->ipv6 = true;
		return;
	}
	/* Multicast routing has rules of its own, in families of its own. */
	if (header->family == AF_INET)
		rules->ipv4 = rules->ipv4 || goes_by_packet(message, header);
	else if (header->family == AF_INET6)
		rules->ipv6 = rules->ipv6 || goes_by_packet(message, header);
}

bool rules_learn_route(struct rules *rules, const struct nlmsghdr *message)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);

	if (rules->routes)
		return false;
	/* A cached route (RTM_F_CLONED) is no decision, and IPv6 routes by TOS with rules only. */
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*route))
		rules->routes = true;
	else if (route->rtm_family == AF_INET && !(route->rtm_flags & RTM_F_CLONED))
		rules->routes = route->rtm_tos;
	return rules->routes;
}

static int dump_rule(const struct nlmsghdr *message, void *data)
{
	if (message->nlmsg_type == RTM_NEWRULE)
		rules_learn(data, message);
	return MNL_CB_OK;
}

static int dump_route(const struct nlmsghdr *message, void *data)
{
	if (message->nlmsg_type == RTM_NEWROUTE)
		rules_learn_route(data, message);
	return MNL_CB_OK;
}

/* A kernel without policy routing has no rules to list. */
static int dump_rules(struct rules *rules, struct rtnl *rtnl)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	int err;

	request->nlmsg_type = RTM_GETRULE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct fib_rule_hdr));
	err = rtnl_request(rtnl, request, dump_rule, rules);
	return err == -EOPNOTSUPP ? 0 : err;
}

static int dump_routes(struct rules *rules, struct rtnl *rtnl)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct rtmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->rtm_family = AF_INET;
	return rtnl_request(rtnl, request, dump_route, rules);
}

int rules_dump(struct rules *rules, struct rtnl *rtnl)
{
	int err = -EINTR;

	for (int tries = 0; err == -EINTR && tries < DUMP_TRIES; tries++) {
		rules->ipv4 = false;
		rules->ipv6 = false;
		err = dump_rules(rules, rtnl);
	}
	if (err) {
		rules->ipv4 = true;
		rules->ipv6 = true;
	}
	return err;
}

int rules_dump_routes(struct rules *rules, struct rtnl *rtnl)
{
	int err = -EINTR;

	for (int tries = 0; err == -EINTR && tries < DUMP_TRIES; tries++) {
		rules->routes = false;
		err = dump_routes(rules, rtnl);
	}
	if (err)
		rules->routes = true;
	return err;
}

bool rules_per_packet(const struct rules *rules, uint8_t family)
{
	return family == AF_INET ? rules->ipv4 || rules->routes : rules->ipv6;
}
