/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Routing rules: which of them tell the packets of one flow apart, by messages built by hand
 * and by rules of the kernel's.
 */
#include "unit.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "feed.h"
#include "rule.h"
#include "util.h"

#define ROUNDS 60000
#define PRIORITY 100

/* Newer than the headers of some build machines */
#define DSCP 25
#define FLOWLABEL 26
#define FLOWLABEL_MASK 27
#define DSCP_MASK 30

static struct rules rules;
static struct rtnl rtnl;
static char buffer[4096];

static int begin(void **state)
{
	(void)state;
	memset(&rules, 0, sizeof(rules));
	return 0;
}

/* What the rules learned so far say, which are forgotten then: "-", "4", "6" or "46" */
static const char *per_packet(void)
{
	bool ipv4 = rules_per_packet(&rules, AF_INET), ipv6 = rules_per_packet(&rules, AF_INET6);

	memset(&rules, 0, sizeof(rules));
	if (ipv4)
		return ipv6 ? "46" : "4";
	return ipv6 ? "6" : "-";
}

static struct nlmsghdr *put_rule(uint8_t family, uint8_t tos)
{
	struct nlmsghdr *message;
	struct fib_rule_hdr *header;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = RTM_NEWRULE;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->family = family;
	header->tos = tos;
	header->table = RT_TABLE_MAIN;
	header->action = FR_ACT_TO_TBL;
	mnl_attr_put_u32(message, FRA_PRIORITY, PRIORITY);
	return message;
}

/* ---- Messages ---------------------------------------------------------------- */

static void test_tos(void **state)
{
	(void)state;
	rules_learn(&rules, put_rule(AF_INET, 0));
	rules_learn(&rules, put_rule(AF_INET6, 0));
	assert_string_equal(per_packet(), "-");
	rules_learn(&rules, put_rule(AF_INET, 0x10));
	rules_learn(&rules, put_rule(AF_INET, 0)); /* a later one takes nothing back */
	assert_string_equal(per_packet(), "4");
	rules_learn(&rules, put_rule(AF_INET6, 4));
	assert_string_equal(per_packet(), "6");
	rules_learn(&rules, put_rule(AF_INET, 4));
	rules_learn(&rules, put_rule(AF_INET6, 4));
	assert_string_equal(per_packet(), "46");
	/* Multicast routing */
	rules_learn(&rules, put_rule(RTNL_FAMILY_IPMR, 4));
	rules_learn(&rules, put_rule(RTNL_FAMILY_IP6MR, 4));
	assert_string_equal(per_packet(), "-");
}

static struct nlmsghdr *put_byte(uint16_t type, uint8_t value)
{
	struct nlmsghdr *message = put_rule(AF_INET6, 0);

	mnl_attr_put_u8(message, type, value);
	return message;
}

static void test_attributes(void **state)
{
	struct nlmsghdr *message;

	(void)state;
	/* The value may be 0: other packets have other values. */
	rules_learn(&rules, put_byte(DSCP, 0));
	assert_string_equal(per_packet(), "6");
	rules_learn(&rules, put_byte(DSCP_MASK, 0x3f));
	assert_string_equal(per_packet(), "6");
	message = put_rule(AF_INET6, 0);
	mnl_attr_put_u32(message, FLOWLABEL, 0);
	rules_learn(&rules, message);
	assert_string_equal(per_packet(), "6");
	message = put_rule(AF_INET6, 0);
	mnl_attr_put_u32(message, FLOWLABEL_MASK, 1);
	rules_learn(&rules, message);
	assert_string_equal(per_packet(), "6");
	message = put_rule(AF_INET, 0);
	mnl_attr_put_u64(message, FRA_TUN_ID, 1);
	rules_learn(&rules, message);
	assert_string_equal(per_packet(), "4");
}

/* By what all packets of a flow have, and the question for its route says */
static void test_per_flow(void **state)
{
	const struct fib_rule_port_range ports = { 1000, 2000 };
	const struct fib_rule_uid_range users = { 0, 0 };
	struct nlmsghdr *message = put_rule(AF_INET, 0);

	(void)state;
	mnl_attr_put_u32(message, FRA_SRC, 0x0100000a);
	mnl_attr_put_u32(message, FRA_DST, 0x0200000a);
	mnl_attr_put_strz(message, FRA_IIFNAME, "lan");
	mnl_attr_put_u32(message, FRA_FWMARK, 1);
	mnl_attr_put_u32(message, FRA_FWMASK, 255);
	mnl_attr_put_u8(message, FRA_L3MDEV, 1);
	mnl_attr_put_u8(message, FRA_IP_PROTO, IPPROTO_TCP);
	mnl_attr_put(message, FRA_SPORT_RANGE, sizeof(ports), &ports);
	mnl_attr_put(message, FRA_DPORT_RANGE, sizeof(ports), &ports);
	mnl_attr_put(message, FRA_UID_RANGE, sizeof(users), &users);
	mnl_attr_put_u32(message, FRA_FLOW, 7);
	rules_learn(&rules, message);
	assert_string_equal(per_packet(), "-");
}

static void learn_cut(const struct nlmsghdr *message, uint32_t len)
{
	struct nlmsghdr *copy = message_copy(message, len);

	rules_learn(&rules, copy);
	free(copy);
}

static void test_hostile(void **state)
{
	struct nlmsghdr *message = put_byte(DSCP, 8), *copy;
	uint32_t len = message->nlmsg_len;
	uint32_t header = MNL_NLMSG_HDRLEN + sizeof(struct fib_rule_hdr);
	unsigned int refused = 0;

	(void)state;
	for (uint32_t cut = sizeof(*message); cut <= len; cut++) {
		learn_cut(message, cut);
		if (cut < header)
			assert_string_equal(per_packet(), "46");
		else if (cut <= len - MNL_ALIGNTO)
			assert_string_equal(per_packet(), "-");
	}
	/* libmnl takes the last word for whole. */
	learn_cut(message, len);
	assert_string_equal(per_packet(), "6");
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		rules_learn(&rules, copy);
		free(copy);
		refused += per_packet()[0] != '-';
	}
	assert_in_range(refused, 1, ROUNDS - 1);
}

static struct nlmsghdr *put_route(uint8_t family, uint8_t tos)
{
	struct nlmsghdr *message;
	struct rtmsg *header;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = RTM_NEWROUTE;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->rtm_family = family;
	header->rtm_tos = tos;
	header->rtm_table = 200;
	header->rtm_type = RTN_BLACKHOLE;
	return message;
}

static void test_routes(void **state)
{
	struct nlmsghdr *message = put_route(AF_INET, 0x10);

	(void)state;
	((struct rtmsg *)mnl_nlmsg_get_payload(message))->rtm_flags = RTM_F_CLONED;
	assert_false(rules_learn_route(&rules, message));
	assert_false(rules_learn_route(&rules, put_route(AF_INET, 0)));
	assert_false(rules_learn_route(&rules, put_route(AF_INET6, 0x10)));
	assert_false(rules_per_packet(&rules, AF_INET));
	assert_true(rules_learn_route(&rules, put_route(AF_INET, 0x10)));
	assert_false(rules_learn_route(&rules, put_route(AF_INET, 0x10)));
	assert_false(rules_learn_route(&rules, put_route(AF_INET, 0)));
	assert_string_equal(per_packet(), "4");
	message = message_copy(put_route(AF_INET, 0), MNL_NLMSG_HDRLEN + 8);
	assert_true(rules_learn_route(&rules, message));
	free(message);
	assert_string_equal(per_packet(), "4");
}

/* ---- The kernel --------------------------------------------------------------- */

static void open_kernel(void)
{
	if (!feed_enter_namespace())
		skip();
	memset(&rtnl, 0, sizeof(rtnl));
	assert_int_equal(rtnl_open(&rtnl), 0);
}

static int ask(struct nlmsghdr *request, uint16_t type)
{
	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	if (type == RTM_NEWRULE || type == RTM_NEWROUTE)
		request->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
	return rtnl_request(&rtnl, request, NULL, NULL);
}

static int delete_rule(uint8_t family)
{
	return ask(put_rule(family, 0), RTM_DELRULE);
}

static const char *dumped(void)
{
	assert_int_equal(rules_dump(&rules, &rtnl), 0);
	return per_packet();
}

static void test_kernel(void **state)
{
	int err;

	(void)state;
	open_kernel();
	assert_string_equal(dumped(), "-");
	err = ask(put_rule(AF_INET, 0), RTM_NEWRULE);
	if (err == -EOPNOTSUPP || err == -EAFNOSUPPORT) {
		printf("# SKIP the kernel has no routing rules\n");
		rtnl_close(&rtnl);
		skip();
	}
	assert_int_equal(err, 0);
	assert_string_equal(dumped(), "-");
	assert_int_equal(delete_rule(AF_INET), 0);
	assert_int_equal(ask(put_rule(AF_INET, 0x10), RTM_NEWRULE), 0);
	assert_string_equal(dumped(), "4");
	assert_int_equal(ask(put_rule(AF_INET6, 0x20), RTM_NEWRULE), 0);
	assert_string_equal(dumped(), "46");
	assert_int_equal(ask(put_rule(AF_INET, 0x10), RTM_DELRULE), 0);
	assert_string_equal(dumped(), "6");
	assert_int_equal(ask(put_rule(AF_INET6, 0x20), RTM_DELRULE), 0);
	assert_string_equal(dumped(), "-");
	rtnl_close(&rtnl);
}

static bool kernel_is_from(unsigned int major, unsigned int minor)
{
	unsigned int has[2] = { 0 };
	struct utsname name;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &has[0], &has[1]), 2);
	return has[0] > major || (has[0] == major && has[1] >= minor);
}

/* The rule is there, and noticed, until it is deleted. */
static void check_selector(struct nlmsghdr *request)
{
	assert_int_equal(ask(request, RTM_NEWRULE), 0);
	assert_string_equal(dumped(), "6");
	assert_int_equal(delete_rule(AF_INET6), 0);
	assert_string_equal(dumped(), "-");
}

static void test_kernel_dscp(void **state)
{
	(void)state;
	if (!kernel_is_from(6, 12)) {
		printf("# SKIP the kernel is older than 6.12\n");
		skip();
	}
	open_kernel();
	check_selector(put_byte(DSCP, 0));
	check_selector(put_byte(DSCP, 46));
	rtnl_close(&rtnl);
}

static void test_kernel_flow_label(void **state)
{
	struct nlmsghdr *request = put_rule(AF_INET6, 0);

	(void)state;
	if (!kernel_is_from(6, 14)) {
		printf("# SKIP the kernel is older than 6.14\n");
		skip();
	}
	open_kernel();
	mnl_attr_put_u32(request, FLOWLABEL, htonl(5));
	mnl_attr_put_u32(request, FLOWLABEL_MASK, htonl(0xff));
	check_selector(request);
	rtnl_close(&rtnl);
}

static void test_kernel_routes(void **state)
{
	(void)state;
	open_kernel();
	assert_int_equal(ask(put_route(AF_INET, 0), RTM_NEWROUTE), 0);
	assert_int_equal(rules_dump_routes(&rules, &rtnl), 0);
	assert_false(rules_per_packet(&rules, AF_INET));
	assert_int_equal(ask(put_route(AF_INET, 0x10), RTM_NEWROUTE), 0);
	assert_int_equal(rules_dump_routes(&rules, &rtnl), 0);
	/* It is no matter of rules, whose dump leaves it as it is. */
	assert_int_equal(rules_dump(&rules, &rtnl), 0);
	assert_true(rules_per_packet(&rules, AF_INET));
	assert_false(rules_per_packet(&rules, AF_INET6));
	assert_int_equal(ask(put_route(AF_INET, 0x10), RTM_DELROUTE), 0);
	assert_int_equal(rules_dump_routes(&rules, &rtnl), 0);
	assert_string_equal(per_packet(), "-");
	assert_int_equal(ask(put_route(AF_INET, 0), RTM_DELROUTE), 0);
	rtnl_close(&rtnl);
}

static void test_kernel_fails(void **state)
{
	(void)state;
	open_kernel();
	close(mnl_socket_get_fd(rtnl.query));
	assert_int_equal(rules_dump(&rules, &rtnl), -EBADF);
	assert_string_equal(per_packet(), "46");
	assert_int_equal(rules_dump_routes(&rules, &rtnl), -EBADF);
	assert_string_equal(per_packet(), "4");
	rtnl_close(&rtnl);
}

#define TEST(function) cmocka_unit_test_setup(function, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tos),           TEST(test_attributes),
		TEST(test_per_flow),      TEST(test_hostile),
		TEST(test_routes),        TEST(test_kernel),
		TEST(test_kernel_dscp),   TEST(test_kernel_flow_label),
		TEST(test_kernel_routes), TEST(test_kernel_fails),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
