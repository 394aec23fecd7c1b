/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * conntrack messages: what an entry is taken for, what is no entry of ours, and messages
 * that are cut or damaged. They come through a real netlink socket.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conntrack.h"
#include "feed.h"

/* enum tcp_conntrack of the kernel */
#define ESTABLISHED 3

static struct conntrack ct;
static struct feed feed;
static char buffer[4096];

static struct {
	unsigned int count;
	struct ct_entry entry;
	bool destroyed;
} heard;

static void hear_entry(void *context, const struct ct_entry *entry, bool destroyed)
{
	assert_ptr_equal(context, &heard);
	assert_true(entry->original.protocol == IPPROTO_TCP ||
		    entry->original.protocol == IPPROTO_UDP);
	assert_true(entry->original.family == AF_INET || entry->original.family == AF_INET6);
	heard.count++;
	heard.entry = *entry;
	heard.destroyed = destroyed;
}

static void open_events(void)
{
	if (!feed_enter_namespace() || !feed_open(&feed))
		skip();
	ct.events = feed.socket;
}

static void close_events(void)
{
	ct.events = NULL;
	feed_close(&feed);
}

static void hear(const struct nlmsghdr *message)
{
	memset(&heard, 0, sizeof(heard));
	feed_send(&feed, message, message->nlmsg_len);
	assert_int_equal(conntrack_read_events(&ct, hear_entry, &heard), 0);
}

static void put_addresses(struct nlmsghdr *message, const struct tuple *tuple)
{
	struct nlattr *nest = mnl_attr_nest_start(message, CTA_TUPLE_IP);

	if (tuple->family == AF_INET) {
		mnl_attr_put(message, CTA_IP_V4_SRC, 4, &tuple->src);
		mnl_attr_put(message, CTA_IP_V4_DST, 4, &tuple->dst);
	} else {
		mnl_attr_put(message, CTA_IP_V6_SRC, 16, &tuple->src);
		mnl_attr_put(message, CTA_IP_V6_DST, 16, &tuple->dst);
	}
	mnl_attr_nest_end(message, nest);
}

static void put_tuple(struct nlmsghdr *message, uint16_t type, const struct tuple *tuple)
{
	struct nlattr *nest = mnl_attr_nest_start(message, type), *proto;

	put_addresses(message, tuple);
	proto = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, tuple->protocol);
	mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, tuple->sport);
	mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, tuple->dport);
	mnl_attr_nest_end(message, proto);
	mnl_attr_nest_end(message, nest);
}

static void put_tcp(struct nlmsghdr *message)
{
	const struct nf_ct_tcp_flags scaled = { IP_CT_TCP_FLAG_WINDOW_SCALE, 0 };
	struct nlattr *info = mnl_attr_nest_start(message, CTA_PROTOINFO);
	struct nlattr *tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);

	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, ESTABLISHED);
	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, 7);
	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_WSCALE_REPLY, 9);
	mnl_attr_put(message, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof(scaled), &scaled);
	mnl_attr_put(message, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof(scaled), &scaled);
	mnl_attr_nest_end(message, tcp);
	mnl_attr_nest_end(message, info);
}

static struct nlmsghdr *start(uint8_t type, uint8_t family)
{
	struct nlmsghdr *message;
	struct nfgenmsg *header;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = family;
	return message;
}

static struct nlmsghdr *put_entry(uint8_t type, const struct tuple *original,
				  const struct tuple *reply)
{
	struct nlmsghdr *message = start(type, original->family);

	put_tuple(message, CTA_TUPLE_ORIG, original);
	put_tuple(message, CTA_TUPLE_REPLY, reply);
	mnl_attr_put_u32(message, CTA_ID, htonl(0x12345678));
	mnl_attr_put_u32(message, CTA_STATUS, htonl(IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED));
	mnl_attr_put_u32(message, CTA_TIMEOUT, htonl(432000));
	mnl_attr_put_u32(message, CTA_MARK, htonl(0xabcd));
	if (original->protocol == IPPROTO_TCP)
		put_tcp(message);
	return message;
}

static struct tuple make_tuple(uint8_t protocol, const char *src, uint16_t sport, const char *dst,
			       uint16_t dport)
{
	struct tuple tuple = {
		.family = strchr(src, ':') ? AF_INET6 : AF_INET,
		.protocol = protocol,
		.sport = htons(sport),
		.dport = htons(dport),
	};

	assert_int_equal(inet_pton(tuple.family, src, &tuple.src), 1);
	assert_int_equal(inet_pton(tuple.family, dst, &tuple.dst), 1);
	return tuple;
}

static void check_entry(uint8_t protocol, const char *client, const char *server, const char *nat)
{
	struct tuple original = make_tuple(protocol, client, 40000, server, 443);
	struct tuple reply = make_tuple(protocol, server, 443, nat, 51000);

	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_int_equal(heard.count, 1);
	assert_false(heard.destroyed);
	assert_true(tuple_equal(&heard.entry.original, &original));
	assert_true(tuple_equal(&heard.entry.reply, &reply));
	assert_int_equal(heard.entry.id, 0x12345678);
	assert_int_equal(heard.entry.status, IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED);
	assert_int_equal(heard.entry.timeout, 432000);
	assert_int_equal(heard.entry.mark, 0xabcd);
	assert_int_equal(heard.entry.zone, 0);
	assert_false(heard.entry.helper);
	if (protocol == IPPROTO_TCP) {
		assert_int_equal(heard.entry.tcp_state, ESTABLISHED);
		assert_int_equal(heard.entry.wscale[0], 7);
		assert_int_equal(heard.entry.wscale[1], 9);
	}
	hear(put_entry(IPCTNL_MSG_CT_DELETE, &original, &reply));
	assert_int_equal(heard.count, 1);
	assert_true(heard.destroyed);
}

static void test_entries(void **state)
{
	(void)state;
	open_events();
	check_entry(IPPROTO_TCP, "10.0.1.2", "203.0.113.5", "198.51.100.1");
	check_entry(IPPROTO_UDP, "10.0.1.2", "203.0.113.5", "10.0.1.2");
	check_entry(IPPROTO_TCP, "fd00:1::2", "2001:db8:5::5", "2001:db8::1");
	check_entry(IPPROTO_UDP, "fd00:1::2", "2001:db8:5::5", "fd00:1::2");
	close_events();
}

/* What keeps a flow in the stack is seen. */
static void test_helper_and_zone(void **state)
{
	struct tuple original = make_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 21);
	struct tuple reply = tuple_inverse(&original);
	struct nlmsghdr *message;
	struct nlattr *nest;

	(void)state;
	open_events();
	message = put_entry(IPCTNL_MSG_CT_NEW, &original, &reply);
	nest = mnl_attr_nest_start(message, CTA_HELP);
	mnl_attr_put_strz(message, CTA_HELP_NAME, "ftp");
	mnl_attr_nest_end(message, nest);
	hear(message);
	assert_int_equal(heard.count, 1);
	assert_true(heard.entry.helper);
	message = put_entry(IPCTNL_MSG_CT_NEW, &original, &reply);
	mnl_attr_put_u16(message, CTA_ZONE, htons(5));
	hear(message);
	assert_int_equal(heard.count, 1);
	assert_int_not_equal(heard.entry.zone, 0);
	close_events();
}

static void test_ignored(void **state)
{
	struct tuple original = make_tuple(IPPROTO_ICMP, "10.0.1.2", 0, "203.0.113.5", 0);
	struct tuple reply = tuple_inverse(&original);
	struct nlmsghdr *message;

	(void)state;
	open_events();
	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_int_equal(heard.count, 0);
	original.protocol = IPPROTO_SCTP;
	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_int_equal(heard.count, 0);
	/* Another subsystem's message, whatever is in it */
	original.protocol = reply.protocol = IPPROTO_UDP;
	message = put_entry(IPCTNL_MSG_CT_NEW, &original, &reply);
	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | IPCTNL_MSG_CT_NEW);
	hear(message);
	assert_int_equal(heard.count, 0);
	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_int_equal(heard.count, 1);
	/* Half an entry is none. */
	message = start(IPCTNL_MSG_CT_NEW, AF_INET);
	put_tuple(message, CTA_TUPLE_ORIG, &original);
	hear(message);
	assert_int_equal(heard.count, 0);
	hear(start(IPCTNL_MSG_CT_NEW, AF_INET));
	assert_int_equal(heard.count, 0);
	close_events();
}

static void test_lost(void **state)
{
	struct tuple original = make_tuple(IPPROTO_UDP, "10.0.1.2", 1, "203.0.113.5", 2);
	struct tuple reply = tuple_inverse(&original);

	(void)state;
	open_events();
	feed_overflow(&feed);
	assert_int_equal(conntrack_read_events(&ct, hear_entry, &heard), -ENOBUFS);
	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_int_equal(heard.count, 1);
	close_events();
}

/* ---- Damaged ----------------------------------------------------------------- */

static void test_cut(void **state)
{
	struct tuple original = make_tuple(IPPROTO_TCP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	struct tuple reply = tuple_inverse(&original);
	struct nlmsghdr *message = put_entry(IPCTNL_MSG_CT_NEW, &original, &reply);
	uint32_t whole = message->nlmsg_len;

	(void)state;
	open_events();
	for (uint32_t len = sizeof(*message); len <= whole; len++) {
		message->nlmsg_len = len;
		hear(message);
		if (heard.count)
			assert_true(tuple_equal(&heard.entry.original, &original) &&
				    tuple_equal(&heard.entry.reply, &reply));
	}
	assert_int_equal(heard.count, 1);
	/* A length that is longer than the datagram */
	message->nlmsg_len = whole + 4;
	memset(&heard, 0, sizeof(heard));
	feed_send(&feed, message, whole);
	assert_int_equal(conntrack_read_events(&ct, hear_entry, &heard), 0);
	assert_int_equal(heard.count, 0);
	close_events();
}

/*
 * libnetfilter_conntrack ends the process (status 1) when an attribute has a length that
 * the kernel would not give it. So each batch has a process of its own, and ends early in
 * most; anything but these two ends is a failure.
 */
#define BATCHES 400
#define BATCH 200
#define BROKEN_PROMISE 3

/* Without ASAN_OPTIONS too, ASan is not to be taken for the library. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "exitcode=99";
}

static void judge_entry(void *context, const struct ct_entry *entry, bool destroyed)
{
	uint8_t protocol = entry->original.protocol, family = entry->original.family;

	(void)context;
	(void)destroyed;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) ||
	    (family != AF_INET && family != AF_INET6))
		_exit(BROKEN_PROMISE);
}

static void read_damaged(void)
{
	struct tuple original = make_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	struct tuple reply = tuple_inverse(&original);

	for (int i = 0; i < BATCH; i++) {
		struct nlmsghdr *message = put_entry(IPCTNL_MSG_CT_NEW, &original, &reply);
		uint32_t len = message->nlmsg_len;

		for (uint32_t wounds = 1 + unit_below(3); wounds; wounds--)
			message_damage(message);
		if (!unit_below(8))
			message->nlmsg_len = unit_random() >> (1 + unit_below(31));
		if (!unit_below(8))
			len = 1 + unit_below(len);
		if (!feed_is_walkable(message, len))
			continue;
		feed_send(&feed, message, len);
		if (conntrack_read_events(&ct, judge_entry, NULL))
			_exit(BROKEN_PROMISE);
	}
}

static int run_batch(void)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* cmocka catches these and goes on: here they are to end the child. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGFPE, SIG_DFL);
		/* The library says why it ends, a few hundred times. */
		if (!freopen("/dev/null", "w", stderr))
			_exit(BROKEN_PROMISE);
		read_damaged();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	for (int i = 0; i < 1000; i++)
		unit_random(); /* the next child is to have other numbers */
	return status;
}

static void test_damaged(void **state)
{
	(void)state;
	open_events();
	for (int i = 0; i < BATCHES; i++) {
		int status = run_batch();

		if (WIFSIGNALED(status))
			fail_msg("batch %d: signal %d", i, WTERMSIG(status));
		if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != EXIT_FAILURE)
			fail_msg("batch %d: exit status %d", i, WEXITSTATUS(status));
	}
	close_events();
}

/* The scale of a sender that conntrack has not seen begin, and the window that it leaves alone. */
static void test_liberal(void **state)
{
	const struct nf_ct_tcp_flags flags = { IP_CT_TCP_FLAG_BE_LIBERAL, 0 };
	struct tuple original = make_tuple(IPPROTO_TCP, "10.0.1.2", 1, "203.0.113.5", 2);
	struct tuple reply = tuple_inverse(&original);
	struct nlmsghdr *message = start(IPCTNL_MSG_CT_NEW, AF_INET);
	struct nlattr *info, *tcp;

	(void)state;
	open_events();
	hear(put_entry(IPCTNL_MSG_CT_NEW, &original, &reply));
	assert_false(heard.entry.liberal);
	message = start(IPCTNL_MSG_CT_NEW, AF_INET);
	put_tuple(message, CTA_TUPLE_ORIG, &original);
	put_tuple(message, CTA_TUPLE_REPLY, &reply);
	info = mnl_attr_nest_start(message, CTA_PROTOINFO);
	tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);
	mnl_attr_put(message, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof(flags), &flags);
	mnl_attr_put(message, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof(flags), &flags);
	mnl_attr_nest_end(message, tcp);
	mnl_attr_nest_end(message, info);
	hear(message);
	assert_int_equal(heard.count, 1);
	assert_true(heard.entry.liberal);
	assert_int_equal(heard.entry.wscale[0], 14);
	assert_int_equal(heard.entry.wscale[1], 14);
	close_events();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries), cmocka_unit_test(test_helper_and_zone),
		cmocka_unit_test(test_ignored), cmocka_unit_test(test_lost),
		cmocka_unit_test(test_cut),     cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_liberal),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
