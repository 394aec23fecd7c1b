/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/xfrm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "ipsec.h"
#include "log.h"
#include "util.h"

#define DUMP_TRIES 5

/* What the headers of the build machine may not know: since 5.15, and in later 5.10 */
#define MSG_GETDEFAULT 0x28 /* XFRM_MSG_GETDEFAULT */
#define DEFAULT_BLOCK 1     /* XFRM_USERPOLICY_BLOCK */

/* struct xfrm_userpolicy_default */
struct defaults {
	uint8_t in;
	uint8_t fwd;
	uint8_t out;
};

/* ---- One policy -------------------------------------------------------------- */

/* The mask of the first word of a prefix */
static __be32 first_mask(unsigned int length)
{
	if (length >= 32)
		return ~0U;
	return length ? htonl(~0U << (32 - length)) : 0;
}

static bool parse_selector(const struct xfrm_selector *selector, struct ipsec_policy *policy)
{
	size_t len = selector->family == AF_INET ? 4 : 16;

	if ((selector->family != AF_INET && selector->family != AF_INET6) ||
	    selector->prefixlen_s > len * 8 || selector->prefixlen_d > len * 8)
		return false;
	policy->family = (uint8_t)selector->family;
	memcpy(&policy->src, &selector->saddr, len);
	memcpy(&policy->dst, &selector->daddr, len);
	policy->src_len = selector->prefixlen_s;
	policy->dst_len = selector->prefixlen_d;
	policy->src_mask = first_mask(policy->src_len);
	policy->dst_mask = first_mask(policy->dst_len);
	policy->sport = selector->sport;
	policy->sport_mask = selector->sport_mask;
	policy->dport = selector->dport;
	policy->dport_mask = selector->dport_mask;
	policy->protocol = selector->proto;
	policy->egress = (uint32_t)selector->ifindex;
	return true;
}

/* Does the policy go by something of the packet that is not known here? */
static bool is_conditional(const struct nlattr *const *table)
{
	struct xfrm_mark mark;

	if (table[XFRMA_SEC_CTX])
		return true;
	if (!table[XFRMA_MARK])
		return false;
	if (mnl_attr_get_payload_len(table[XFRMA_MARK]) < sizeof(mark))
		return true;
	memcpy(&mark, mnl_attr_get_payload(table[XFRMA_MARK]), sizeof(mark));
	return mark.m || mark.v;
}

/* Sub policies come before the main ones, which are asked as well (Mobile IPv6). */
static bool is_sub_policy(const struct nlattr *attribute)
{
	struct xfrm_userpolicy_type type;

	if (!attribute)
		return false;
	if (mnl_attr_get_payload_len(attribute) < sizeof(type))
		return true;
	memcpy(&type, mnl_attr_get_payload(attribute), sizeof(type));
	return type.type != XFRM_POLICY_TYPE_MAIN;
}

/* Room for one more; NULL if there are too many, or no memory. */
static struct ipsec_policy *extend(struct ipsec_table *table)
{
	size_t room = table->room ? table->room * 2 : 16;
	struct ipsec_policy *larger;

	if (table->count < table->room)
		return &table->policy[table->count++];
	if (room > IPSEC_POLICIES_MAX)
		return NULL;
	larger = realloc(table->policy, room * sizeof(*larger));
	if (!larger)
		return NULL;
	table->policy = larger;
	table->room = room;
	return &table->policy[table->count++];
}

static void add(struct ipsec_policies *policies, enum ipsec_check check,
		const struct ipsec_policy *policy)
{
	size_t total = policies->table[IPSEC_FORWARD].count + policies->table[IPSEC_OUTPUT].count;
	struct ipsec_policy *to = NULL;

	if (total < IPSEC_POLICIES_MAX)
		to = extend(&policies->table[check]);
	if (to)
		memcpy(to, policy, sizeof(*to)); /* padding and all */
	else
		policies->unknown = true;
}

/* A policy of one of the checks. */
static void learn(struct ipsec_policies *policies, const struct nlmsghdr *message,
		  const struct xfrm_userpolicy_info *info)
{
	enum ipsec_check check = info->dir == XFRM_POLICY_FWD ? IPSEC_FORWARD : IPSEC_OUTPUT;
	const struct nlattr *table[XFRMA_MAX + 1];
	struct ipsec_policy policy;

	rtnl_attributes(message, sizeof(*info), table, XFRMA_MAX);
	if (rtnl_u32(table[XFRMA_IF_ID], 0))
		return;
	memset(&policy, 0, sizeof(policy)); /* with its padding: policies are compared as bytes */
	if (!parse_selector(&info->sel, &policy)) {
		policies->unknown = true;
		return;
	}
	policy.priority = info->priority;
	policy.plain = info->action == XFRM_POLICY_ALLOW && !table[XFRMA_TMPL];
	if (is_sub_policy(table[XFRMA_POLICY_TYPE])) {
		policy.priority = 0;
		policy.plain = false;
	}
	/* Whether it lets the packet pass before another one is asked is not known. */
	if (policy.plain && is_conditional(table))
		return;
	add(policies, check, &policy);
}

void ipsec_policies_learn(struct ipsec_policies *policies, const struct nlmsghdr *message)
{
	struct xfrm_userpolicy_info info;

	if (policies->unknown)
		return;
	if (mnl_nlmsg_get_payload_len(message) < sizeof(info)) {
		policies->unknown = true;
		return;
	}
	memcpy(&info, mnl_nlmsg_get_payload(message), sizeof(info));
	/* The others are of packets to this machine (in), and of single sockets (from 3 on). */
	if (info.dir == XFRM_POLICY_FWD || info.dir == XFRM_POLICY_OUT)
		learn(policies, message, &info);
}

void ipsec_policies_free(struct ipsec_policies *policies)
{
	for (size_t i = 0; i < IPSEC_CHECKS; i++)
		free(policies->table[i].policy);
	memset(policies, 0, sizeof(*policies));
}

/* ---- Packets ----------------------------------------------------------------- */

/* __xfrm4_selector_match() and __xfrm6_selector_match(), but for the device */
static bool matches_addresses(const struct ipsec_policy *policy, const struct tuple *packet)
{
	if ((packet->dst.word[0] ^ policy->dst.word[0]) & policy->dst_mask ||
	    (packet->src.word[0] ^ policy->src.word[0]) & policy->src_mask)
		return false;
	return policy->family == packet->family &&
	       address_in_prefix(&packet->dst, &policy->dst, policy->dst_len) &&
	       address_in_prefix(&packet->src, &policy->src, policy->src_len) &&
	       !((packet->dport ^ policy->dport) & policy->dport_mask) &&
	       !((packet->sport ^ policy->sport) & policy->sport_mask) &&
	       (!policy->protocol || policy->protocol == packet->protocol);
}

static bool matches_device(const struct ipsec_policy *policy, uint32_t egress)
{
	if (!policy->egress || policy->egress == egress)
		return true;
	return !egress && !policy->plain;
}

/* Is `policy` the one that decides, of two that match? */
static bool prevails(const struct ipsec_policy *policy, const struct ipsec_policy *other)
{
	if (policy->priority != other->priority)
		return policy->priority < other->priority;
	return !policy->plain;
}

static bool table_covers(const struct ipsec_table *table, const struct tuple *packet,
			 uint32_t egress)
{
	const struct ipsec_policy *decides = NULL;

	for (size_t i = 0; i < table->count; i++) {
		const struct ipsec_policy *policy = &table->policy[i];

		if (matches_addresses(policy, packet) && matches_device(policy, egress) &&
		    (!decides || prevails(policy, decides)))
			decides = policy;
	}
	return decides ? !decides->plain : table->refuse;
}

bool ipsec_covers(const struct ipsec_policies *policies, const struct tuple *packet,
		  uint32_t egress)
{
	return policies->unknown || table_covers(&policies->table[IPSEC_FORWARD], packet, egress) ||
	       table_covers(&policies->table[IPSEC_OUTPUT], packet, egress);
}

/*
 * The packet that comes in is what "fwd" is asked about (nf_nat_decode_session()), the one
 * between destination and source NAT and, where NAT changed it, the one that leaves
 * (nf_xfrm_me_harder()) are what "out" is. Asking both about all of them errs on the safe side.
 */
static bool covers_direction(const struct ipsec_policies *policies, const struct tuple *from,
			     const struct tuple *opposite)
{
	const struct tuple to = tuple_inverse(opposite);
	struct tuple between = *from;

	if (ipsec_covers(policies, from, 0))
		return true;
	if (tuple_equal(from, &to))
		return false;
	between.dst = to.dst;
	between.dport = to.dport;
	return ipsec_covers(policies, &between, 0) || ipsec_covers(policies, &to, 0);
}

bool ipsec_covers_flow(const struct ipsec_policies *policies, const struct tuple *original,
		       const struct tuple *reply)
{
	return covers_direction(policies, original, reply) ||
	       covers_direction(policies, reply, original);
}

/* ---- The kernel -------------------------------------------------------------- */

static struct mnl_socket *open_socket(int flags)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_XFRM, flags | SOCK_CLOEXEC);

	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(socket);
		return NULL;
	}
	return socket;
}

/* A policy that reaches the end of its lifetime is only told as having expired. */
static int subscribe(const struct mnl_socket *socket)
{
	int groups[] = { XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE };

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &groups[i],
					  sizeof(groups[i])))
			return -errno;
	return 0;
}

int ipsec_open(struct ipsec *ipsec)
{
	const struct timeval patience = { .tv_sec = 2 };
	struct rtnl *netlink = &ipsec->netlink;

	netlink->query = open_socket(0);
	if (!netlink->query)
		return errno == EPROTONOSUPPORT ? 0 : -errno;
	netlink->events = open_socket(SOCK_NONBLOCK);
	if (!netlink->events)
		return -errno;
	setsockopt(mnl_socket_get_fd(netlink->query), SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	netlink->seq = (uint32_t)time(NULL);
	return subscribe(netlink->events);
}

void ipsec_close(struct ipsec *ipsec)
{
	rtnl_close(&ipsec->netlink);
	ipsec_policies_free(&ipsec->policies);
}

int ipsec_events_fd(const struct ipsec *ipsec)
{
	return ipsec->netlink.events ? rtnl_events_fd(&ipsec->netlink) : -1;
}

static int dump_one(const struct nlmsghdr *message, void *data)
{
	if (message->nlmsg_type == XFRM_MSG_NEWPOLICY)
		ipsec_policies_learn(data, message);
	return MNL_CB_OK;
}

static int dump_policies(struct ipsec *ipsec)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);

	request->nlmsg_type = XFRM_MSG_GETPOLICY;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(request, sizeof(struct xfrm_userpolicy_id));
	return rtnl_request(&ipsec->netlink, request, dump_one, &ipsec->policies);
}

static int parse_defaults(const struct nlmsghdr *message, void *data)
{
	struct ipsec_policies *policies = data;
	struct defaults defaults;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(defaults)) {
		policies->unknown = true;
		return MNL_CB_OK;
	}
	memcpy(&defaults, mnl_nlmsg_get_payload(message), sizeof(defaults));
	policies->table[IPSEC_FORWARD].refuse = defaults.fwd == DEFAULT_BLOCK;
	policies->table[IPSEC_OUTPUT].refuse = defaults.out == DEFAULT_BLOCK;
	return MNL_CB_OK;
}

/* What happens to packets without a policy. A kernel that cannot be asked lets them pass. */
static int ask_defaults(struct ipsec *ipsec)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	int err;

	request->nlmsg_type = MSG_GETDEFAULT;
	request->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(request, sizeof(struct defaults));
	err = rtnl_request(&ipsec->netlink, request, parse_defaults, &ipsec->policies);
	return err == -EINVAL ? 0 : err;
}

/* An order of their own, for what two dumps say to be compared. */
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ipsec_policy));
}

static void sort(struct ipsec_policies *policies)
{
	for (size_t i = 0; i < IPSEC_CHECKS; i++) {
		struct ipsec_table *table = &policies->table[i];

		if (table->count)
			qsort(table->policy, table->count, sizeof(*table->policy), compare);
	}
}

/* Nothing of what has been read is worth keeping. */
static void forget(struct ipsec_policies *policies)
{
	ipsec_policies_free(policies);
	policies->unknown = true;
}

static void warn_once(struct ipsec *ipsec, int err)
{
	if (ipsec->warned == ipsec->policies.unknown)
		return;
	ipsec->warned = ipsec->policies.unknown;
	if (!ipsec->warned)
		log_info("the IPsec policies are known again");
	else if (err)
		log_warn("cannot list the IPsec policies (%s): all flows stay in the stack",
			 strerror(-err));
	else
		log_warn("more than %d IPsec policies, or one that is not understood: all flows "
			 "stay in the stack",
			 IPSEC_POLICIES_MAX);
}

int ipsec_dump(struct ipsec *ipsec)
{
	int err = -EINTR;

	ipsec_policies_free(&ipsec->policies);
	if (!ipsec->netlink.query)
		return 0;
	for (int tries = 0; err == -EINTR && tries < DUMP_TRIES; tries++) {
		ipsec_policies_free(&ipsec->policies);
		err = dump_policies(ipsec);
		err = err ? err : ask_defaults(ipsec);
	}
	if (err || ipsec->policies.unknown)
		forget(&ipsec->policies);
	sort(&ipsec->policies);
	warn_once(ipsec, err);
	return err;
}

static bool same_table(const struct ipsec_table *a, const struct ipsec_table *b)
{
	return a->count == b->count && a->refuse == b->refuse &&
	       (!a->count || !memcmp(a->policy, b->policy, a->count * sizeof(*a->policy)));
}

static bool same_policies(const struct ipsec_policies *a, const struct ipsec_policies *b)
{
	return a->unknown == b->unknown &&
	       same_table(&a->table[IPSEC_FORWARD], &b->table[IPSEC_FORWARD]) &&
	       same_table(&a->table[IPSEC_OUTPUT], &b->table[IPSEC_OUTPUT]);
}

/* Daemons write the policies of a tunnel again with each new key: that changes nothing here. */
static bool reload(struct ipsec *ipsec)
{
	struct ipsec_policies before = ipsec->policies;
	bool changed;

	memset(&ipsec->policies, 0, sizeof(ipsec->policies));
	ipsec_dump(ipsec);
	changed = !same_policies(&before, &ipsec->policies);
	ipsec_policies_free(&before);
	return changed;
}

static int note_event(const struct nlmsghdr *message, void *data)
{
	bool *about_policies = data;

	switch (message->nlmsg_type) {
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_DELPOLICY:
	case XFRM_MSG_UPDPOLICY:
	case XFRM_MSG_FLUSHPOLICY:
	case XFRM_MSG_POLEXPIRE:
	case MSG_GETDEFAULT:
		*about_policies = true;
		break;
	default: /* of keys */
		break;
	}
	return MNL_CB_OK;
}

bool ipsec_read_events(struct ipsec *ipsec)
{
	bool about_policies = false;
	char buffer[32768];

	while (ipsec->netlink.events) {
		ssize_t len = mnl_socket_recvfrom(ipsec->netlink.events, buffer, sizeof(buffer));

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && (errno == ENOBUFS || errno == ENOSPC)) {
			about_policies = true;
			continue;
		}
		if (len <= 0)
			break;
		mnl_cb_run(buffer, (size_t)len, 0, 0, note_event, &about_policies);
	}
	return about_policies && reload(ipsec);
}
