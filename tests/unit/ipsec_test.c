/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IPsec policies: which packets they are taken to be about, that no length in a message makes
 * anybody read beyond it, and the kernel's own choice among random policies beside ours.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "feed.h"
#include "ipsec.h"
#include "util.h"

#define ROUNDS 60000
#define EGRESS 7

/* Since 5.15, and in later 5.10 */
#define MSG_SETDEFAULT 0x27
#define MSG_GETDEFAULT 0x28

static struct ipsec_policies policies;
static char buffer[4096];

static int begin(void **state)
{
	(void)state;
	memset(&policies, 0, sizeof(policies));
	return 0;
}

static int end(void **state)
{
	(void)state;
	ipsec_policies_free(&policies);
	return 0;
}

/* ---- Messages ---------------------------------------------------------------- */

/* A policy; what is left out is as `ip xfrm policy add` has it. */
struct sample {
	uint8_t dir; /* XFRM_POLICY_IN is 0: always given */
	uint8_t family;
	const char *src, *dst; /* NULL: any */
	uint8_t src_len, dst_len;
	uint16_t sport, dport;
	uint16_t sport_mask, dport_mask;
	uint8_t protocol;
	int ifindex;
	uint32_t priority;
	bool block;
	bool template;
	uint32_t mark, mask;
	uint32_t if_id;
	bool context;
	bool sub;
	uint64_t expires_s; /* 0: never */
};

#define OUT .dir = XFRM_POLICY_OUT
#define FWD .dir = XFRM_POLICY_FWD

static uint8_t family_of(const struct sample *sample)
{
	return sample->family ? sample->family : AF_INET;
}

static void fill_selector(const struct sample *sample, struct xfrm_selector *selector)
{
	selector->family = family_of(sample);
	if (sample->src)
		assert_int_equal(inet_pton(family_of(sample), sample->src, &selector->saddr), 1);
	if (sample->dst)
		assert_int_equal(inet_pton(family_of(sample), sample->dst, &selector->daddr), 1);
	selector->prefixlen_s = sample->src_len;
	selector->prefixlen_d = sample->dst_len;
	selector->sport = htons(sample->sport);
	selector->sport_mask = htons(sample->sport_mask);
	selector->dport = htons(sample->dport);
	selector->dport_mask = htons(sample->dport_mask);
	selector->proto = sample->protocol;
	selector->ifindex = sample->ifindex;
}

static void put_attributes(struct nlmsghdr *message, const struct sample *sample)
{
	const struct xfrm_userpolicy_type type = {
		.type = sample->sub ? XFRM_POLICY_TYPE_SUB : XFRM_POLICY_TYPE_MAIN,
	};
	const struct xfrm_mark mark = { .v = sample->mark, .m = sample->mask };
	struct xfrm_user_tmpl template = {
		.id.proto = IPPROTO_ESP,
		.family = family_of(sample),
		.mode = XFRM_MODE_TRANSPORT,
		.aalgos = ~0U,
		.ealgos = ~0U,
		.calgos = ~0U,
	};

	if (sample->template)
		mnl_attr_put(message, XFRMA_TMPL, sizeof(template), &template);
	if (sample->sub)
		mnl_attr_put(message, XFRMA_POLICY_TYPE, sizeof(type), &type);
	if (sample->mark || sample->mask)
		mnl_attr_put(message, XFRMA_MARK, sizeof(mark), &mark);
	if (sample->if_id)
		mnl_attr_put_u32(message, XFRMA_IF_ID, sample->if_id);
	if (sample->context)
		mnl_attr_put(message, XFRMA_SEC_CTX, 8, "context");
}

static struct nlmsghdr *start(uint16_t type)
{
	struct nlmsghdr *message;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	return message;
}

static struct nlmsghdr *put_policy(const struct sample *sample)
{
	struct nlmsghdr *message = start(XFRM_MSG_NEWPOLICY);
	struct xfrm_userpolicy_info info = {
		.lft = {
			.soft_byte_limit = XFRM_INF,
			.hard_byte_limit = XFRM_INF,
			.soft_packet_limit = XFRM_INF,
			.hard_packet_limit = XFRM_INF,
			.hard_add_expires_seconds = sample->expires_s,
		},
		.priority = sample->priority,
		.dir = sample->dir,
		.action = sample->block ? XFRM_POLICY_BLOCK : XFRM_POLICY_ALLOW,
	};

	fill_selector(sample, &info.sel);
	memcpy(mnl_nlmsg_put_extra_header(message, sizeof(info)), &info, sizeof(info));
	put_attributes(message, sample);
	return message;
}

static void learn(const struct sample *sample)
{
	ipsec_policies_learn(&policies, put_policy(sample));
}

#define LEARN(...) learn(&(const struct sample){ __VA_ARGS__ })

static struct tuple packet(uint8_t family, const char *src, uint16_t sport, const char *dst,
			   uint16_t dport)
{
	struct tuple tuple = {
		.family = family,
		.protocol = IPPROTO_UDP,
		.sport = htons(sport),
		.dport = htons(dport),
	};

	assert_int_equal(inet_pton(family, src, &tuple.src), 1);
	assert_int_equal(inet_pton(family, dst, &tuple.dst), 1);
	return tuple;
}

/* Do the policies, which are forgotten then, cover a packet from 10.1.2.3:1000 to 10.9.8.7:53? */
static bool covered(void)
{
	const struct tuple tuple = packet(AF_INET, "10.1.2.3", 1000, "10.9.8.7", 53);
	bool covers = ipsec_covers(&policies, &tuple, EGRESS);

	ipsec_policies_free(&policies);
	return covers;
}

#define COVERED(...) (LEARN(__VA_ARGS__), covered())

/* ---- Which policies concern a packet ------------------------------------------ */

static void test_none(void **state)
{
	(void)state;
	assert_false(covered());
	assert_false(COVERED(OUT));
	assert_false(COVERED(FWD));
}

static void test_actions(void **state)
{
	(void)state;
	assert_true(COVERED(OUT, .block = true));
	assert_true(COVERED(FWD, .block = true));
	assert_true(COVERED(OUT, .template = true));
	assert_true(COVERED(FWD, .template = true));
	/* Of packets to this machine, and of sockets */
	assert_false(COVERED(.dir = XFRM_POLICY_IN, .template = true));
	assert_false(COVERED(.dir = XFRM_POLICY_MAX + XFRM_POLICY_OUT, .template = true));
	assert_false(COVERED(.dir = XFRM_POLICY_MAX + XFRM_POLICY_FWD, .template = true));
}

static void test_prefixes(void **state)
{
	(void)state;
	assert_true(COVERED(OUT, .block = true, .src = "10.1.2.3", .src_len = 32));
	assert_false(COVERED(OUT, .block = true, .src = "10.1.2.2", .src_len = 32));
	assert_true(COVERED(OUT, .block = true, .src = "10.1.2.2", .src_len = 31));
	assert_true(COVERED(FWD, .block = true, .dst = "10.9.8.7", .dst_len = 32));
	assert_true(COVERED(FWD, .block = true, .dst = "10.9.15.255", .dst_len = 21));
	assert_false(COVERED(FWD, .block = true, .dst = "10.9.7.0", .dst_len = 22));
	assert_true(COVERED(FWD, .block = true, .dst = "192.168.0.1", .dst_len = 0));
	/* Both have to match, each in its place. */
	assert_false(COVERED(OUT, .block = true, .src = "10.1.0.0", .src_len = 16,
			     .dst = "10.8.0.0", .dst_len = 16));
	assert_false(COVERED(OUT, .block = true, .src = "10.9.8.7", .src_len = 32));
	assert_false(COVERED(OUT, .block = true, .family = AF_INET6));
}

static void test_ipv6(void **state)
{
	const struct tuple tuple = packet(AF_INET6, "fd00:1::2", 1000, "fd00:2::3", 53);
	const struct sample matching = { OUT, AF_INET6, "fd00:1::", "fd00:2::2", 64, 127 };
	struct sample sample = matching;

	(void)state;
	sample.block = true;
	learn(&sample);
	assert_true(ipsec_covers(&policies, &tuple, EGRESS));
	ipsec_policies_free(&policies);
	sample.dst_len = 128;
	learn(&sample);
	sample.dst_len = 127;
	sample.src_len = 128;
	learn(&sample);
	LEARN(OUT, .block = true); /* IPv4, any */
	assert_false(ipsec_covers(&policies, &tuple, EGRESS));
}

static void test_ports(void **state)
{
	const uint16_t all = 0xffff;

	(void)state;
	assert_true(COVERED(OUT, .block = true, .sport = 1000, .sport_mask = all));
	assert_false(COVERED(OUT, .block = true, .sport = 1001, .sport_mask = all));
	assert_true(COVERED(OUT, .block = true, .sport = 1001, .sport_mask = 0xfffe));
	assert_true(COVERED(OUT, .block = true, .dport = 53, .dport_mask = all));
	assert_false(COVERED(OUT, .block = true, .dport = 1000, .dport_mask = all));
	assert_true(COVERED(OUT, .block = true, .dport = 0x1234, .dport_mask = 0));
	assert_true(COVERED(OUT, .block = true, .protocol = IPPROTO_UDP));
	assert_false(COVERED(OUT, .block = true, .protocol = IPPROTO_TCP));
}

static void test_devices(void **state)
{
	const struct tuple tuple = packet(AF_INET, "10.1.2.3", 1000, "10.9.8.7", 53);

	(void)state;
	assert_true(COVERED(OUT, .block = true, .ifindex = EGRESS));
	assert_false(COVERED(OUT, .block = true, .ifindex = EGRESS + 1));
	/* A device that is not known may be the policy's, and may be another one. */
	LEARN(OUT, .priority = 10, .block = true, .ifindex = EGRESS);
	assert_true(ipsec_covers(&policies, &tuple, 0));
	LEARN(OUT, .priority = 5, .ifindex = EGRESS);
	assert_false(ipsec_covers(&policies, &tuple, EGRESS));
	assert_true(ipsec_covers(&policies, &tuple, 0));
}

/* The lowest number decides, in whatever order they are. */
static void test_priorities(void **state)
{
	(void)state;
	for (int order = 0; order < 2; order++) {
		for (int i = 0; i < 2; i++)
			if (i == order)
				LEARN(OUT, .priority = 10, .template = true);
			else
				LEARN(OUT, .priority = 9);
		assert_false(covered());
		for (int i = 0; i < 2; i++)
			if (i == order)
				LEARN(FWD, .priority = 10);
			else
				LEARN(FWD, .priority = 9, .template = true);
		assert_true(covered());
		for (int i = 0; i < 2; i++)
			LEARN(OUT, .priority = 10, .template = i == order);
		assert_true(covered());
	}
	/* One that lets packets out says nothing of those coming in. */
	LEARN(OUT, .priority = 1);
	LEARN(FWD, .priority = 10, .template = true);
	assert_true(covered());
	/* One that does not match decides nothing. */
	LEARN(OUT, .priority = 1, .dst = "10.8.0.0", .dst_len = 16);
	LEARN(OUT, .priority = 10, .template = true);
	assert_true(covered());
}

/* What a policy goes by and is not known here keeps flows in the stack, never out of it. */
static void test_conditions(void **state)
{
	(void)state;
	assert_true(COVERED(OUT, .template = true, .mark = 1, .mask = ~0U));
	assert_true(COVERED(OUT, .template = true, .context = true));
	LEARN(OUT, .priority = 1, .mark = 1, .mask = ~0U);
	LEARN(OUT, .priority = 1, .mask = ~0U);
	LEARN(OUT, .priority = 1, .context = true);
	assert_false(ipsec_covers(&policies, &(const struct tuple){ .family = AF_INET }, 0));
	LEARN(OUT, .priority = 10, .template = true);
	assert_true(covered());
	/* XFRM interfaces */
	assert_false(COVERED(OUT, .template = true, .if_id = 5));
	LEARN(OUT, .priority = 1, .if_id = 5);
	LEARN(OUT, .priority = 10, .template = true);
	assert_true(covered());
	/* Sub policies let no packet pass by themselves. */
	assert_true(COVERED(OUT, .sub = true));
	LEARN(OUT, .priority = 10);
	LEARN(OUT, .priority = 20, .sub = true);
	assert_true(covered());
}

static void test_defaults(void **state)
{
	(void)state;
	policies.table[IPSEC_OUTPUT].refuse = true;
	assert_true(covered());
	policies.table[IPSEC_FORWARD].refuse = true;
	LEARN(OUT);
	assert_true(covered());
	policies.table[IPSEC_FORWARD].refuse = true;
	LEARN(FWD, .src = "10.1.2.0", .src_len = 24);
	assert_false(covered());
	policies.table[IPSEC_FORWARD].refuse = true;
	LEARN(FWD, .src = "10.1.3.0", .src_len = 24);
	assert_true(covered());
}

/* ---- Flows ------------------------------------------------------------------- */

static void cover(const char *src, const char *dst)
{
	ipsec_policies_free(&policies);
	LEARN(OUT, .template = true, .src = src, .dst = dst, .src_len = src ? 32 : 0,
	      .dst_len = dst ? 32 : 0);
}

static void test_flow(void **state)
{
	const struct tuple original = packet(AF_INET, "10.0.0.1", 1000, "10.0.0.2", 53);
	const struct tuple reply = tuple_inverse(&original);

	(void)state;
	assert_false(ipsec_covers_flow(&policies, &original, &reply));
	cover("10.0.0.1", "10.0.0.2");
	assert_true(ipsec_covers_flow(&policies, &original, &reply));
	cover("10.0.0.2", "10.0.0.1");
	assert_true(ipsec_covers_flow(&policies, &original, &reply));
	cover("10.0.0.1", "10.0.0.1");
	assert_false(ipsec_covers_flow(&policies, &original, &reply));
}

/* 10.0.0.1 connects to 10.0.0.2, which is 10.0.0.3 that sees 10.0.0.4. */
static void test_flow_nat(void **state)
{
	const struct tuple original = packet(AF_INET, "10.0.0.1", 1000, "10.0.0.2", 53);
	const struct tuple reply = packet(AF_INET, "10.0.0.3", 5353, "10.0.0.4", 2000);
	static const struct {
		const char *src, *dst;
		bool passes;
	} packets[] = {
		{ "10.0.0.1", "10.0.0.2", true }, /* original: as it comes in */
		{ "10.0.0.1", "10.0.0.3", true }, /* between the two */
		{ "10.0.0.4", "10.0.0.3", true }, /* as it leaves */
		{ "10.0.0.3", "10.0.0.4", true }, /* reply */
		{ "10.0.0.3", "10.0.0.1", true },  { "10.0.0.2", "10.0.0.1", true },
		{ "10.0.0.4", "10.0.0.2", false }, /* never on its way */
		{ "10.0.0.2", "10.0.0.4", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
		cover(packets[i].src, packets[i].dst);
		assert_int_equal(ipsec_covers_flow(&policies, &original, &reply),
				 packets[i].passes);
	}
	/* The ports are changed along with the addresses. */
	ipsec_policies_free(&policies);
	LEARN(OUT, .template = true, .src = "10.0.0.1", .src_len = 32, .sport = 1000,
	      .sport_mask = 0xffff, .dport = 5353, .dport_mask = 0xffff);
	assert_true(ipsec_covers_flow(&policies, &original, &reply));
	ipsec_policies_free(&policies);
	LEARN(OUT, .template = true, .src = "10.0.0.1", .src_len = 32, .sport = 2000,
	      .sport_mask = 0xffff);
	assert_false(ipsec_covers_flow(&policies, &original, &reply));
}

/* ---- Bounds and nonsense ------------------------------------------------------ */

static void test_bound(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < IPSEC_POLICIES_MAX; i++)
		LEARN(.dir = i & 1 ? XFRM_POLICY_FWD : XFRM_POLICY_OUT, .priority = i);
	assert_false(policies.unknown);
	LEARN(.dir = XFRM_POLICY_IN);
	LEARN(OUT, .if_id = 1);
	assert_false(policies.unknown);
	LEARN(OUT);
	assert_true(policies.unknown);
	assert_true(covered());
	for (unsigned int i = 0; i < IPSEC_POLICIES_MAX; i++)
		LEARN(FWD);
	assert_false(covered());
}

static void test_refused(void **state)
{
	const struct sample sample = { OUT, .mark = 1, .mask = 1 };
	struct nlmsghdr *message;

	(void)state;
	assert_true(COVERED(OUT, .src_len = 33));
	assert_true(COVERED(FWD, .dst_len = 255));
	assert_true(COVERED(FWD, .family = AF_INET6, .dst_len = 129));
	message = put_policy(&sample);
	((struct xfrm_userpolicy_info *)mnl_nlmsg_get_payload(message))->sel.family = 0;
	ipsec_policies_learn(&policies, message);
	assert_true(covered());
	/* A mark that is cut short is a condition as well. */
	message = start(XFRM_MSG_NEWPOLICY);
	mnl_nlmsg_put_extra_header(message, sizeof(struct xfrm_userpolicy_info));
	((struct xfrm_userpolicy_info *)mnl_nlmsg_get_payload(message))->sel.family = AF_INET;
	((struct xfrm_userpolicy_info *)mnl_nlmsg_get_payload(message))->dir = XFRM_POLICY_OUT;
	mnl_attr_put_u32(message, XFRMA_MARK, 1);
	ipsec_policies_learn(&policies, message);
	LEARN(OUT, .priority = 10, .template = true);
	assert_true(covered());
}

static void learn_cut(const struct nlmsghdr *message, uint32_t len)
{
	struct nlmsghdr *copy = message_copy(message, len);

	ipsec_policies_learn(&policies, copy);
	free(copy);
}

static void test_hostile(void **state)
{
	const struct sample sample = {
		OUT, .block = true, .template = true, .sub = true, .mark = 1, .mask = ~0U,
	};
	struct nlmsghdr *message = put_policy(&sample), *copy;
	uint32_t len = message->nlmsg_len;

	(void)state;
	/* It blocks, whatever of it is read. */
	for (uint32_t cut = sizeof(*message); cut <= len; cut++) {
		learn_cut(message, cut);
		assert_true(covered());
	}
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		ipsec_policies_learn(&policies, copy);
		free(copy);
		covered();
	}
}

/* ---- The kernel --------------------------------------------------------------- */

static struct ipsec ipsec;

static void open_kernel(void)
{
	if (!feed_enter_namespace())
		skip();
	memset(&ipsec, 0, sizeof(ipsec));
	assert_int_equal(ipsec_open(&ipsec), 0);
	if (ipsec_events_fd(&ipsec) >= 0)
		return;
	printf("# SKIP the kernel has no IPsec\n");
	ipsec_close(&ipsec);
	skip();
}

static int ask(struct nlmsghdr *request)
{
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	return rtnl_request(&ipsec.netlink, request, NULL, NULL);
}

static int flush(void)
{
	struct nlmsghdr *request = start(XFRM_MSG_FLUSHPOLICY);

	return ask(request);
}

static void close_kernel(void)
{
	int err = flush();

	assert_true(!err || err == -ESRCH); /* there was none */
	ipsec_close(&ipsec);
}

#define ADD(...) assert_int_equal(ask(put_policy(&(const struct sample){ __VA_ARGS__ })), 0)

static int delete_policy(const struct sample *sample)
{
	struct nlmsghdr *request = start(XFRM_MSG_DELPOLICY);
	struct xfrm_userpolicy_id id = { .dir = sample->dir };

	fill_selector(sample, &id.sel);
	memcpy(mnl_nlmsg_put_extra_header(request, sizeof(id)), &id, sizeof(id));
	return ask(request);
}

static int set_defaults(uint8_t in, uint8_t fwd, uint8_t out)
{
	struct nlmsghdr *request = start(MSG_SETDEFAULT);
	uint8_t *defaults = mnl_nlmsg_put_extra_header(request, 3);

	defaults[0] = in;
	defaults[1] = fwd;
	defaults[2] = out;
	return ask(request);
}

/* The same packet as in covered() */
static bool kernel_covers(void)
{
	const struct tuple tuple = packet(AF_INET, "10.1.2.3", 1000, "10.9.8.7", 53);

	return ipsec_covers(&ipsec.policies, &tuple, EGRESS);
}

static void test_kernel_dump(void **state)
{
	(void)state;
	open_kernel();
	assert_int_equal(ipsec_dump(&ipsec), 0);
	assert_false(kernel_covers());
	ADD(OUT, .priority = 10, .dst = "10.9.0.0", .dst_len = 16, .template = true);
	ADD(FWD, .family = AF_INET6, .src = "fd00::", .src_len = 16, .block = true);
	ADD(.dir = XFRM_POLICY_IN, .block = true);
	ADD(OUT, .priority = 9, .dst = "10.9.8.0", .dst_len = 24, .mark = 5, .mask = 255);
	assert_int_equal(ipsec_dump(&ipsec), 0);
	assert_int_equal(ipsec.policies.table[IPSEC_OUTPUT].count, 1);
	assert_int_equal(ipsec.policies.table[IPSEC_FORWARD].count, 1);
	assert_false(ipsec.policies.unknown);
	assert_true(kernel_covers());
	ADD(OUT, .priority = 9, .dst = "10.9.8.0", .dst_len = 24);
	assert_int_equal(ipsec_dump(&ipsec), 0);
	assert_false(kernel_covers());
	close_kernel();
	/* A dump that fails lets nothing pass. */
	open_kernel();
	close(mnl_socket_get_fd(ipsec.netlink.query));
	assert_int_equal(ipsec_dump(&ipsec), -EBADF);
	assert_true(kernel_covers());
	ipsec_close(&ipsec);
}

static void test_kernel_events(void **state)
{
	const struct sample sample = { OUT, .dst = "10.9.0.0", .dst_len = 16, .template = true };
	struct nlmsghdr *request;

	(void)state;
	open_kernel();
	assert_int_equal(ipsec_dump(&ipsec), 0);
	assert_false(ipsec_read_events(&ipsec));
	assert_int_equal(ask(put_policy(&sample)), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_true(kernel_covers());
	assert_false(ipsec_read_events(&ipsec));
	ADD(OUT, .priority = 5, .dst = "10.8.0.0", .dst_len = 16);
	ADD(FWD);
	assert_true(ipsec_read_events(&ipsec));
	/* Written again, and in another order, they are still the same. */
	request = put_policy(&sample);
	request->nlmsg_type = XFRM_MSG_UPDPOLICY;
	assert_int_equal(ask(request), 0);
	assert_false(ipsec_read_events(&ipsec));
	assert_int_equal(delete_policy(&sample), 0);
	assert_int_equal(ask(put_policy(&sample)), 0);
	assert_false(ipsec_read_events(&ipsec));
	assert_true(kernel_covers());
	assert_int_equal(delete_policy(&sample), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_false(kernel_covers());
	assert_int_equal(ask(put_policy(&sample)), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_int_equal(flush(), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_false(kernel_covers());
	close_kernel();
}

/* Its end is announced to another group than all other changes. */
static void test_kernel_expiry(void **state)
{
	(void)state;
	open_kernel();
	ADD(OUT, .template = true, .expires_s = 1);
	assert_int_equal(ipsec_dump(&ipsec), 0);
	ipsec_read_events(&ipsec);
	for (int i = 0; i < 600 && kernel_covers(); i++) {
		usleep(100000);
		ipsec_read_events(&ipsec);
	}
	assert_false(kernel_covers());
	close_kernel();
}

static void test_kernel_defaults(void **state)
{
	(void)state;
	open_kernel();
	assert_int_equal(ipsec_dump(&ipsec), 0);
	if (set_defaults(0, 1, 0) == -EINVAL) {
		printf("# SKIP the kernel has no default policies\n");
		close_kernel();
		skip();
	}
	assert_true(ipsec_read_events(&ipsec));
	assert_true(kernel_covers());
	assert_int_equal(set_defaults(0, 2, 1), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_true(kernel_covers());
	ADD(OUT, .dst = "10.0.0.0", .dst_len = 8);
	assert_true(ipsec_read_events(&ipsec));
	assert_false(kernel_covers());
	assert_int_equal(set_defaults(0, 0, 2), 0);
	close_kernel();
}

static void test_kernel_bound(void **state)
{
	(void)state;
	open_kernel();
	for (unsigned int i = 0; i <= IPSEC_POLICIES_MAX; i++)
		ADD(OUT, .sport = (uint16_t)i, .sport_mask = 0xffff);
	assert_int_equal(ipsec_dump(&ipsec), 0);
	assert_true(ipsec.policies.unknown);
	assert_true(kernel_covers());
	assert_true(ipsec.warned);
	/* So many events may have been too many for the socket: one is enough. */
	assert_int_equal(flush(), 0);
	assert_true(ipsec_read_events(&ipsec));
	assert_false(kernel_covers());
	assert_false(ipsec.warned);
	close_kernel();
}

static struct feed feed;

/* Events from the test, answers from the kernel */
static void open_feed(void)
{
	open_kernel();
	if (!feed_open(&feed))
		skip();
	mnl_socket_close(ipsec.netlink.events);
	ipsec.netlink.events = feed.socket;
	assert_int_equal(ipsec_dump(&ipsec), 0);
}

static void close_feed(void)
{
	ipsec.netlink.events = NULL;
	feed_close(&feed);
	close_kernel();
}

static bool notice(uint16_t type)
{
	struct nlmsghdr *message = start(type);

	feed_send(&feed, message, message->nlmsg_len);
	return ipsec_read_events(&ipsec);
}

/* Another policy each time; is it noticed by this event? */
static void test_events_by_type(void **state)
{
	static const uint16_t about[] = {
		XFRM_MSG_NEWPOLICY,   XFRM_MSG_DELPOLICY, XFRM_MSG_UPDPOLICY,
		XFRM_MSG_FLUSHPOLICY, XFRM_MSG_POLEXPIRE, MSG_GETDEFAULT,
	};
	static const uint16_t others[] = { XFRM_MSG_EXPIRE, XFRM_MSG_NEWSA, NLMSG_NOOP };

	(void)state;
	open_feed();
	for (size_t i = 0; i < ARRAY_SIZE(about); i++) {
		ADD(OUT, .sport = (uint16_t)i, .sport_mask = 0xffff);
		assert_true(notice(about[i]));
		assert_false(notice(about[i]));
	}
	ADD(FWD);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(notice(others[i]));
	assert_int_equal(ipsec.policies.table[IPSEC_FORWARD].count, 0);
	close_feed();
}

static void test_events_lost(void **state)
{
	(void)state;
	open_feed();
	ADD(FWD, .block = true);
	feed_overflow(&feed);
	assert_true(ipsec_read_events(&ipsec));
	assert_true(kernel_covers());
	close_feed();
}

/* ---- The kernel's choice ------------------------------------------------------ */

#define POLICIES 12
#define PACKETS 40
#define SETS 60

static bool write_setting(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);

	if (fd >= 0)
		close(fd);
	return written;
}

/* Policies apply to the loopback device as well then, where every 127.x.y.z is at home. */
static bool prepare_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &request);

	if (fd >= 0)
		close(fd);
	return up && write_setting("/proc/sys/net/ipv4/conf/lo/disable_xfrm", "0");
}

static const char *random_address(char text[INET_ADDRSTRLEN])
{
	snprintf(text, INET_ADDRSTRLEN, "127.0.%u.%u", unit_below(3), 1 + unit_below(3));
	return text;
}

/* Priorities are all different: among equal ones the kernel goes by age. */
static void add_random_policy(uint32_t priority)
{
	static const uint8_t lengths[] = { 0, 8, 16, 23, 24, 30, 31, 32 };
	static const uint16_t masks[] = { 0, 0, 0xffff, 0xfffe, 0xff00 };
	static const uint8_t protocols[] = { 0, 0, IPPROTO_UDP, IPPROTO_UDP, IPPROTO_TCP };
	char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN];
	const struct sample sample = {
		OUT,
		.src = random_address(src),
		.dst = random_address(dst),
		.src_len = lengths[unit_below(ARRAY_SIZE(lengths))],
		.dst_len = lengths[unit_below(ARRAY_SIZE(lengths))],
		.sport = (uint16_t)(20000 + unit_below(4)),
		.dport = (uint16_t)(20000 + unit_below(4)),
		.sport_mask = masks[unit_below(ARRAY_SIZE(masks))],
		.dport_mask = masks[unit_below(ARRAY_SIZE(masks))],
		.protocol = protocols[unit_below(ARRAY_SIZE(protocols))],
		.ifindex = unit_below(3) ? 0 : (int)unit_below(3),
		.priority = priority,
		.block = unit_below(2),
	};
	int err = ask(put_policy(&sample));

	assert_true(!err || err == -EEXIST); /* the same selector twice */
}

/* Does the kernel refuse to let a packet of this tuple out? */
static bool kernel_blocks(const struct tuple *tuple)
{
	struct sockaddr_in from = { AF_INET, tuple->sport, { tuple->src.word[0] }, { 0 } };
	struct sockaddr_in to = { AF_INET, tuple->dport, { tuple->dst.word[0] }, { 0 } };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&from, sizeof(from)), 0);
	err = connect(fd, (void *)&to, sizeof(to)) ? errno : 0;
	close(fd);
	assert_true(!err || err == EPERM);
	return err;
}

static size_t compare_packets(size_t *blocked)
{
	uint32_t loopback = if_nametoindex("lo");
	size_t differences = 0;

	for (int i = 0; i < PACKETS; i++) {
		char src[INET_ADDRSTRLEN], dst[INET_ADDRSTRLEN], text[TUPLE_TEXT];
		const struct tuple tuple =
			packet(AF_INET, random_address(src), (uint16_t)(20000 + unit_below(4)),
			       random_address(dst), (uint16_t)(20000 + unit_below(4)));
		bool blocks = kernel_blocks(&tuple);

		*blocked += blocks;
		if (blocks == ipsec_covers(&ipsec.policies, &tuple, loopback))
			continue;
		printf("# %s: the kernel %s it\n", tuple_print(&tuple, text),
		       blocks ? "blocks" : "allows");
		differences++;
	}
	return differences;
}

static void test_kernel_choice(void **state)
{
	size_t differences = 0, blocked = 0;

	(void)state;
	open_kernel();
	if (!prepare_loopback()) {
		printf("# SKIP the loopback device's settings cannot be written\n");
		close_kernel();
		skip();
	}
	for (int set = 0; set < SETS; set++) {
		for (uint32_t i = 0; i < POLICIES; i++)
			add_random_policy(i * 7 % POLICIES + 1);
		assert_int_equal(ipsec_dump(&ipsec), 0);
		differences += compare_packets(&blocked);
		assert_int_equal(flush(), 0);
	}
	printf("# %d packets, of which the kernel blocks %zu: %zu differences\n", SETS * PACKETS,
	       blocked, differences);
	assert_int_equal(differences, 0);
	assert_in_range(blocked, SETS * PACKETS / 20, SETS * PACKETS * 19 / 20);
	close_kernel();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_none),          TEST(test_actions),        TEST(test_prefixes),
		TEST(test_ipv6),          TEST(test_ports),          TEST(test_devices),
		TEST(test_priorities),    TEST(test_conditions),     TEST(test_defaults),
		TEST(test_flow),          TEST(test_flow_nat),       TEST(test_bound),
		TEST(test_refused),       TEST(test_hostile),        TEST(test_kernel_dump),
		TEST(test_kernel_events), TEST(test_kernel_expiry),  TEST(test_kernel_defaults),
		TEST(test_kernel_bound),  TEST(test_events_by_type), TEST(test_events_lost),
		TEST(test_kernel_choice),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
