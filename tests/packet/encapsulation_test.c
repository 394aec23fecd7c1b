/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Link headers: every kind in and every kind out, frames that belong to no flow for the
 * sake of one field, priorities, and packets that are segmented only later. What is
 * expected is built from scratch.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

#define FRAMES_PER_PAIR 12

enum base {
	TCP4,
	UDP4,
	TCP6,
	UDP6,
	BASES,
};

static const char *const base_names[BASES] = { "TCP/IPv4", "UDP/IPv4", "TCP/IPv6", "UDP/IPv6" };

static struct lab lab;
static struct lab_outcome outcome;

/* NAT for one protocol of each family, the other is routed. */
static struct lab_flow make_flow(enum base base, enum link_kind in, enum link_kind out)
{
	struct lab_flow flow = {
		.egress = WAN,
		.mtu = 1492,
		.link_in = frame_links[in],
		.link_out = frame_links[out],
	};

	if (base == TCP4 || base == UDP4)
		flow.from = lab_tuple(base == TCP4 ? IPPROTO_TCP : IPPROTO_UDP, "10.0.1.2", 40000,
				      "203.0.113.5", 443);
	else
		flow.from = lab_tuple(base == TCP6 ? IPPROTO_TCP : IPPROTO_UDP, "2001:db8:1::2",
				      40000, "2001:db8:5::5", 443);
	flow.to = flow.from;
	if (base == TCP4)
		flow.to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	else if (base == UDP6)
		flow.to = lab_tuple(IPPROTO_UDP, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	return flow;
}

/* The spec of the frame that comes out; the tags' priorities are the caller's. */
static struct frame_spec forwarded(const struct frame_spec *spec, const struct lab_flow *flow)
{
	const struct lab_side *egress = &lab.side[flow->egress];
	struct frame_spec out = *spec;

	memcpy(out.dst_mac, egress->peer, 6);
	memcpy(out.src_mac, egress->mac, 6);
	out.tuple = flow->to;
	out.link = flow->link_out;
	out.ttl--;
	out.padding = 0;
	return out;
}

/* The EtherType that stands in the data of an skb, whose outermost tag does not. */
static uint16_t protocol_in_data(const struct frame *frame)
{
	uint16_t type = frame_get16(frame, 12);

	return type == 0x8100 || type == 0x88a8 ? frame_get16(frame, 16) : type;
}

/* Run a frame; `out` is NULL if it is to leave by `exit`, as it came. */
static bool run(enum lab_hook hook, const struct lab_arrival *arrival, const struct frame *in,
		const struct frame *out, int exit)
{
	static struct expectation expected;

	expected.exit = exit;
	expected.verdict = out ? VERDICT_REDIRECT : VERDICT_PASS;
	expected.frame = out ? *out : *in;
	if (!check_run(&lab, hook, arrival, in, &expected, &outcome))
		return false;
	if (hook == LAB_XDP || !out || outcome.protocol == protocol_in_data(out))
		return true;
	tap_note("skb->protocol is %04x", outcome.protocol);
	return false;
}

static bool check_spec(enum lab_hook hook, const struct frame_spec *in_spec,
		       const struct frame_spec *out_spec)
{
	static struct frame in, out;

	frame_build(in_spec, &in);
	frame_build(out_spec, &out);
	return run(hook, NULL, &in, &out, NO_EXIT);
}

/* ---- Every kind in, every kind out --------------------------------------------- */

static void add_priorities(struct encapsulation *link)
{
	for (size_t i = 0; i < link->tags; i++)
		link->tag[i].tci |= lab_random() & 0xf000;
}

/* The entry counts IP's bytes, and nothing else in it changes. */
static bool counted(const struct bpfw_action *before, const struct lab_flow *flow, uint64_t bytes)
{
	struct bpfw_action after = lab_action(&lab, flow);

	return after.packets == FRAMES_PER_PAIR && after.bytes == bytes &&
	       !memcmp(before, &after, offsetof(struct bpfw_action, last_seen)) &&
	       !memcmp(&before->wscale, &after.wscale,
		       sizeof(after) - offsetof(struct bpfw_action, wscale));
}

static bool test_pair(enum lab_hook hook, enum base base, enum link_kind in, enum link_kind out)
{
	struct lab_flow flow = make_flow(base, in, out);
	size_t header = (base == TCP4 || base == UDP4 ? 20U : 40U) +
			(flow.from.protocol == IPPROTO_TCP ? 20U : 8U);
	struct bpfw_action before;
	uint64_t bytes = 0;
	bool ok = true;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	before = lab_action(&lab, &flow);
	for (unsigned int i = 0; i < FRAMES_PER_PAIR && ok; i++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;

		spec.payload = (uint16_t)(i * 129);
		spec.padding = (uint16_t)(i % 3 * 9);
		spec.tos = (uint8_t)lab_random();
		add_priorities(&spec.link);
		out_spec = forwarded(&spec, &flow);
		bytes += header + spec.payload;
		ok = check_spec(hook, &spec, &out_spec);
	}
	if (ok && !counted(&before, &flow, bytes)) {
		tap_note("the entry is not what it should be");
		ok = false;
	}
	lab_remove(&lab, &flow);
	return ok;
}

static void test_pairs(enum lab_hook hook, enum base base)
{
	for (enum link_kind in = 0; in < LINK_KINDS; in++)
		for (enum link_kind out = 0; out < LINK_KINDS; out++)
			tap(test_pair(hook, base, in, out), "%s: %s: %s -> %s",
			    lab_hook_names[hook], base_names[base], frame_link_names[in],
			    frame_link_names[out]);
}

/* ---- Frames of no flow ---------------------------------------------------------- */

enum anchor {
	AT_START,
	AT_OUTER, /* TCI of the outermost tag */
	AT_INNER, /* TCI of the innermost tag */
	AT_PPPOE, /* PPPoE's header: version, session, length, protocol */
};

struct stray {
	const char *name;
	enum link_kind kind;
	enum anchor anchor;
	int offset;
	uint16_t value;
	int exit;
};

static const struct stray strays[] = {
	{ "another VLAN id", LINK_Q, AT_OUTER, 0, 11, EXIT_MISS },
	{ "another VLAN id", LINK_AD, AT_OUTER, 0, 4095, EXIT_MISS },
	{ "another outer VLAN id", LINK_AD_Q, AT_OUTER, 0, 2, EXIT_MISS },
	{ "another inner VLAN id", LINK_AD_Q, AT_INNER, 0, 256, EXIT_MISS },
	{ "another VLAN id", LINK_Q_PPPOE, AT_OUTER, 0, 8, EXIT_MISS },
	{ "another inner VLAN id", LINK_AD_Q_PPPOE, AT_INNER, 0, 36, EXIT_MISS },
	{ "802.1ad for 802.1Q", LINK_Q, AT_OUTER, -2, 0x88a8, EXIT_MISS },
	{ "802.1Q for 802.1ad", LINK_AD, AT_OUTER, -2, 0x8100, EXIT_MISS },
	{ "802.1Q for the outer 802.1ad", LINK_AD_Q, AT_OUTER, -2, 0x8100, EXIT_MISS },
	{ "802.1ad for the inner 802.1Q", LINK_Q_Q, AT_INNER, -2, 0x88a8, EXIT_MISS },
	{ "802.1Q for 802.1ad", LINK_AD_Q_PPPOE, AT_OUTER, -2, 0x8100, EXIT_MISS },
	{ "VLAN id 0", LINK_Q, AT_OUTER, 0, 0, EXIT_VLAN },
	{ "VLAN id 0 with a priority", LINK_AD, AT_OUTER, 0, 0xf000, EXIT_VLAN },
	{ "VLAN id 0 outside", LINK_AD_Q, AT_OUTER, 0, 0xe000, EXIT_VLAN },
	{ "VLAN id 0 inside", LINK_Q_Q, AT_INNER, 0, 0xe000, EXIT_VLAN },
	{ "VLAN id 0", LINK_Q_PPPOE, AT_OUTER, 0, 0, EXIT_VLAN },
	{ "VLAN id 0 inside", LINK_AD_Q_PPPOE, AT_INNER, 0, 0, EXIT_VLAN },
	{ "ARP behind the tag", LINK_Q, AT_OUTER, 2, 0x0806, EXIT_ETHERTYPE },
	{ "MPLS behind the tags", LINK_AD_Q, AT_INNER, 2, 0x8847, EXIT_ETHERTYPE },
	{ "broadcast", LINK_AD_Q_PPPOE, AT_START, 0, 0xffff, EXIT_GROUP_ADDRESS },
	{ "another MAC", LINK_Q, AT_START, 4, 0x99, EXIT_OTHER_MAC },
	{ "another MAC", LINK_Q_PPPOE, AT_START, 4, 0x99, EXIT_OTHER_MAC },
	{ "another sender, no session", LINK_AD_Q, AT_START, 10, 0x99, NO_EXIT },
	{ "not the session's sender", LINK_PPPOE, AT_START, 10, 0x10, EXIT_OTHER_MAC },
	{ "not the session's sender", LINK_Q_PPPOE, AT_START, 6, 0x0400, EXIT_OTHER_MAC },
	{ "not the session's sender", LINK_AD_Q_PPPOE, AT_START, 8, 1, EXIT_OTHER_MAC },
	{ "another session", LINK_PPPOE, AT_PPPOE, 2, 0x1235, EXIT_MISS },
	{ "another session", LINK_Q_PPPOE, AT_PPPOE, 2, 0xff, EXIT_MISS },
	{ "another session", LINK_AD_Q_PPPOE, AT_PPPOE, 2, 0x100, EXIT_MISS },
	{ "session 0", LINK_PPPOE, AT_PPPOE, 2, 0, EXIT_PPPOE },
	{ "session 0", LINK_AD_Q_PPPOE, AT_PPPOE, 2, 0, EXIT_PPPOE },
	{ "discovery", LINK_PPPOE, AT_PPPOE, -2, 0x8863, EXIT_ETHERTYPE },
	{ "discovery", LINK_Q_PPPOE, AT_PPPOE, -2, 0x8863, EXIT_ETHERTYPE },
	{ "version 2", LINK_PPPOE, AT_PPPOE, 0, 0x2100, EXIT_PPPOE },
	{ "type 2", LINK_Q_PPPOE, AT_PPPOE, 0, 0x1200, EXIT_PPPOE },
	{ "code of a PADT", LINK_AD_Q_PPPOE, AT_PPPOE, 0, 0x11a7, EXIT_PPPOE },
	{ "LCP", LINK_PPPOE, AT_PPPOE, 6, 0xc021, EXIT_PPPOE },
	{ "IPCP", LINK_Q_PPPOE, AT_PPPOE, 6, 0x8021, EXIT_PPPOE },
	{ "IPV6CP", LINK_AD_Q_PPPOE, AT_PPPOE, 6, 0x8057, EXIT_PPPOE },
	{ "compressed protocol field", LINK_PPPOE, AT_PPPOE, 6, 0x2145, EXIT_PPPOE },
	{ "compressed datagram", LINK_Q_PPPOE, AT_PPPOE, 6, 0x00fd, EXIT_PPPOE },
	{ "length 0", LINK_PPPOE, AT_PPPOE, 4, 0, EXIT_TRUNCATED },
	{ "length 1", LINK_Q_PPPOE, AT_PPPOE, 4, 1, EXIT_TRUNCATED },
	{ "length 2", LINK_AD_Q_PPPOE, AT_PPPOE, 4, 2, EXIT_TRUNCATED },
	{ "length of an empty packet", LINK_PPPOE, AT_PPPOE, 4, 30, EXIT_TRUNCATED },
	{ "length 65535", LINK_Q_PPPOE, AT_PPPOE, 4, 0xffff, EXIT_TRUNCATED },
};

static size_t anchor_at(const struct stray *stray)
{
	const struct encapsulation *link = &frame_links[stray->kind];
	size_t anchors[] = {
		[AT_START] = 0,
		[AT_OUTER] = 14,
		[AT_INNER] = 10U + 4U * link->tags,
		[AT_PPPOE] = frame_link_len(link) - 8,
	};

	return (size_t)((int)anchors[stray->anchor] + stray->offset);
}

static void test_stray(enum lab_hook hook, enum base base, const struct stray *stray)
{
	struct lab_flow flow = make_flow(base, stray->kind, LINK_Q);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec = forwarded(&spec, &flow);
	static struct frame in, out;
	bool ok;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	frame_build(&spec, &in);
	frame_build(&out_spec, &out);
	frame_put16(&in, anchor_at(stray), stray->value);
	ok = run(hook, NULL, &in, stray->exit == NO_EXIT ? &out : NULL, stray->exit);
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: %s: %s -> %s", lab_hook_names[hook], base_names[base],
	    frame_link_names[stray->kind], stray->name,
	    stray->exit == NO_EXIT ? "forwarded" : lab_exit_name(stray->exit));
}

/* Frames of one kind of link, while only the same tuple on another kind has a flow. */
static void test_other_kinds(enum lab_hook hook, enum base base)
{
	bool ok = true;

	for (enum link_kind flow_kind = 0; flow_kind < LINK_KINDS; flow_kind++) {
		struct lab_flow flow = make_flow(base, flow_kind, LINK_PLAIN);

		lab_heartbeat(&lab);
		lab_install(&lab, &flow);
		for (enum link_kind kind = 0; kind < LINK_KINDS && ok; kind++) {
			struct frame_spec spec = lab_frame_spec(&lab, &flow);
			static struct frame in;

			if (kind == flow_kind)
				continue;
			spec.link = frame_links[kind];
			frame_build(&spec, &in);
			ok = run(hook, NULL, &in, NULL, EXIT_MISS);
		}
		lab_remove(&lab, &flow);
	}
	tap(ok, "%s: %s: a flow is one of its own kind of link", lab_hook_names[hook],
	    base_names[base]);
}

static void test_three_tags(enum lab_hook hook, enum base base)
{
	struct lab_flow flow = make_flow(base, LINK_AD_Q, LINK_PLAIN);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	spec.link =
		(struct encapsulation){ 3, { { 0x88a8, 1 }, { 0x8100, 257 }, { 0x8100, 3 } }, 0 };
	frame_build(&spec, &in);
	ok = run(hook, NULL, &in, NULL, EXIT_VLAN);
	spec.link.session = 5;
	frame_build(&spec, &in);
	ok = run(hook, NULL, &in, NULL, EXIT_VLAN) && ok;
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: three tags", lab_hook_names[hook], base_names[base]);
}

/* TC: a tag that is in the data only is none that the kernel has taken out. */
static void test_kept_tag(enum base base)
{
	const struct lab_arrival arrival = { .keep_tag = true };
	bool ok = true;

	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++) {
		struct lab_flow flow = make_flow(base, kind, LINK_PLAIN);
		struct frame_spec spec = lab_frame_spec(&lab, &flow);
		static struct frame in;

		if (!flow.link_in.tags)
			continue;
		lab_heartbeat(&lab);
		lab_install(&lab, &flow);
		frame_build(&spec, &in);
		ok = run(LAB_TC, &arrival, &in, NULL, EXIT_VLAN) && ok;
		lab_remove(&lab, &flow);
	}
	tap(ok, "tc: %s: an outermost tag in the data", base_names[base]);
}

/* A frame that ends anywhere is passed as it came. */
static void test_truncations(enum lab_hook hook, enum base base, enum link_kind kind)
{
	struct lab_flow flow = make_flow(base, kind, LINK_PLAIN);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	size_t whole, ip = frame_link_len(&flow.link_in);
	unsigned int refused = 0;
	static struct frame in;
	bool ok = true;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	frame_build(&spec, &in);
	whole = in.len;
	for (in.len = FRAME_L3; in.len < whole; in.len++) {
		/* The kernel takes no tag out of a frame that ends with it. */
		bool vlan = hook == LAB_TC && flow.link_in.tags && in.len < 20;

		if (run(hook, NULL, &in, NULL, vlan ? EXIT_VLAN : EXIT_TRUNCATED))
			continue;
		refused += outcome.err == -EINVAL;
		ok = ok && outcome.err == -EINVAL && in.len < ip + 40;
	}
	lab_remove(&lab, &flow);
	if (refused)
		tap_note("%u lengths are not taken by BPF_PROG_TEST_RUN of this kernel", refused);
	tap(ok, "%s: %s: %s cut after every byte", lab_hook_names[hook], base_names[base],
	    frame_link_names[kind]);
}

/* ---- PPPoE's length -------------------------------------------------------------- */

struct padding {
	const char *name;
	uint16_t padding; /* bytes behind the IP packet, */
	int16_t inside;   /* of which PPPoE's length has so many */
	int exit;
};

static const struct padding paddings[] = {
	{ "padding outside of PPPoE", 9, 0, NO_EXIT },
	{ "padding inside of PPPoE", 9, 9, NO_EXIT },
	{ "padding inside and outside", 20, 7, NO_EXIT },
	{ "one byte more than the frame has", 0, 1, EXIT_TRUNCATED },
	{ "one byte more than the padding has", 9, 10, EXIT_TRUNCATED },
	{ "one byte less than IP has", 0, -1, EXIT_TRUNCATED },
	{ "one byte less than IP has, padding", 9, -1, EXIT_TRUNCATED },
};

static void test_padding(enum lab_hook hook, enum base base, enum link_kind kind,
			 const struct padding *padding)
{
	/* In both directions of the conversion: the header is kept, or another one written. */
	const enum link_kind outs[] = { kind, LINK_AD_Q, LINK_Q_PPPOE };
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(outs); i++) {
		struct lab_flow flow = make_flow(base, kind, outs[i]);
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
		size_t at = frame_link_len(&flow.link_in) - 4;
		static struct frame in, out;

		lab_heartbeat(&lab);
		lab_install(&lab, &flow);
		spec.padding = padding->padding;
		out_spec = forwarded(&spec, &flow);
		frame_build(&spec, &in);
		frame_build(&out_spec, &out);
		frame_put16(&in, at, (uint16_t)(frame_get16(&in, at) + padding->inside));
		ok = run(hook, NULL, &in, padding->exit == NO_EXIT ? &out : NULL, padding->exit) &&
		     ok;
		lab_remove(&lab, &flow);
	}
	tap(ok, "%s: %s: %s: %s -> %s", lab_hook_names[hook], base_names[base],
	    frame_link_names[kind], padding->name,
	    padding->exit == NO_EXIT ? "forwarded" : lab_exit_name(padding->exit));
}

/* The MTU is IP's: link headers do not count, however long they are. */
static void test_mtu(enum lab_hook hook, enum base base)
{
	bool ok = true;

	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++) {
		struct lab_flow flow = make_flow(base, kind, LINK_KINDS - 1 - kind);
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
		static struct frame in;

		lab_heartbeat(&lab);
		lab_install(&lab, &flow);
		spec.payload = 0;
		frame_build(&spec, &in);
		spec.payload = (uint16_t)(flow.mtu - (in.len - frame_link_len(&flow.link_in)));
		out_spec = forwarded(&spec, &flow);
		ok = check_spec(hook, &spec, &out_spec) && ok;
		spec.payload++;
		frame_build(&spec, &in);
		ok = run(hook, NULL, &in, NULL, EXIT_MTU) && ok;
		lab_remove(&lab, &flow);
	}
	tap(ok, "%s: %s: an IP packet as long as the MTU, and one byte longer",
	    lab_hook_names[hook], base_names[base]);
}

/* ---- Priorities ------------------------------------------------------------------- */

/* A different one for each class, in no order */
#define PRIORITIES 0x03612574U

static uint16_t priority_of(uint32_t class)
{
	static const uint16_t by_class[8] = { 4, 7, 5, 2, 1, 6, 3, 0 };

	return by_class[class];
}

/* IPv4: the kernel's four classes by TOS, rt_tos2priority() */
static uint32_t class_of_tos(uint8_t tos)
{
	return (tos & 0x10 ? 2U : 0U) + (tos & 0x08 ? 1U : 0U);
}

static bool test_priority(enum lab_hook hook, enum base base, enum link_kind in, enum link_kind out,
			  uint8_t tag)
{
	struct lab_flow flow = make_flow(base, in, out);
	bool ipv6 = base == TCP6 || base == UDP6, ok = true;

	lab_heartbeat(&lab);
	flow.pcp_tag = tag;
	flow.pcp = PRIORITIES;
	lab_install(&lab, &flow);
	for (unsigned int i = 0; i < 256 && ok; i++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
		uint8_t tags = spec.link.tags;
		uint32_t class = ipv6 ? 0 : class_of_tos((uint8_t)i);

		spec.tos = (uint8_t)i;
		/* The innermost tag's priority is i's low bits, an outer one's is another. */
		if (tags)
			spec.link.tag[tags - 1].tci |= (uint16_t)(i << 13);
		if (tags > 1)
			spec.link.tag[0].tci |= (uint16_t) ~(i << 13) & 0xe000;
		if (tags && ipv6)
			class = i & 7;
		out_spec = forwarded(&spec, &flow);
		out_spec.link.tag[tag - 1].tci |= (uint16_t)(priority_of(class) << 13);
		ok = check_spec(hook, &spec, &out_spec);
	}
	lab_remove(&lab, &flow);
	return ok;
}

static void test_priorities(enum lab_hook hook, enum base base)
{
	static const enum link_kind ins[] = { LINK_PLAIN, LINK_Q, LINK_AD_Q, LINK_PPPOE,
					      LINK_AD_Q_PPPOE };

	for (enum link_kind out = 0; out < LINK_KINDS; out++) {
		for (uint8_t tag = 1; tag <= frame_links[out].tags; tag++) {
			bool ok = true;

			for (size_t i = 0; i < ARRAY_SIZE(ins) && ok; i++)
				ok = test_priority(hook, base, ins[i], out, tag);
			tap(ok, "%s: %s: %s: priority of tag %u", lab_hook_names[hook],
			    base_names[base], frame_link_names[out], tag);
		}
	}
}

/* ---- TC only ----------------------------------------------------------------------- */

/*
 * What the kernel has to segment first goes to the ppp device as a bare packet, without
 * the tags it came with; without a session it is tagged as it is.
 */
static void test_segmented_later(enum base base)
{
	const struct lab_arrival arrival = { .gso_size = 500 };

	for (enum link_kind out = 0; out < LINK_KINDS; out++) {
		bool ok = true;

		for (enum link_kind kind = LINK_PLAIN; kind < LINK_PPPOE; kind++) {
			struct lab_flow flow = make_flow(base, kind, out);
			struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
			static struct frame in, expected;

			lab_heartbeat(&lab);
			lab_install(&lab, &flow);
			spec.payload = 1800;
			out_spec = forwarded(&spec, &flow);
			if (flow.link_out.session) {
				memcpy(out_spec.dst_mac, spec.dst_mac, 6);
				memcpy(out_spec.src_mac, spec.src_mac, 6);
				out_spec.link = frame_links[LINK_PLAIN];
			}
			frame_build(&spec, &in);
			frame_build(&out_spec, &expected);
			ok = run(LAB_TC, &arrival, &in, &expected, NO_EXIT) && ok;
			lab_remove(&lab, &flow);
		}
		tap(ok, "tc: %s: segments for %s", base_names[base], frame_link_names[out]);
	}
}

/* Out of a device without a link layer: the kernel drops the Ethernet header by itself. */
static void test_bare(enum base base)
{
	bool ok = true;

	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++) {
		struct lab_flow flow = make_flow(base, kind, LINK_PLAIN);
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
		struct bpfw_action action;

		lab_heartbeat(&lab);
		lab_install(&lab, &flow);
		action = lab_action(&lab, &flow);
		memset(action.link, 0, sizeof(action.link));
		action.link_len = 0;
		lab_set_action(&lab, &flow, &action);
		spec.padding = 5;
		out_spec = forwarded(&spec, &flow);
		memcpy(out_spec.dst_mac, spec.dst_mac, 6);
		memcpy(out_spec.src_mac, spec.src_mac, 6);
		ok = check_spec(LAB_TC, &spec, &out_spec) && ok;
		lab_remove(&lab, &flow);
	}
	tap(ok, "tc: %s: a bare packet, whatever it came in", base_names[base]);
}

static void test_base(enum lab_hook hook, enum base base)
{
	static const enum link_kind sessions[] = { LINK_PPPOE, LINK_Q_PPPOE, LINK_AD_Q_PPPOE };

	test_pairs(hook, base);
	for (size_t i = 0; i < ARRAY_SIZE(strays); i++)
		test_stray(hook, base, &strays[i]);
	test_other_kinds(hook, base);
	test_three_tags(hook, base);
	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++)
		test_truncations(hook, base, kind);
	for (size_t i = 0; i < ARRAY_SIZE(sessions); i++)
		for (size_t j = 0; j < ARRAY_SIZE(paddings); j++)
			test_padding(hook, base, sessions[i], &paddings[j]);
	test_mtu(hook, base);
	test_priorities(hook, base);
	if (hook == LAB_XDP)
		return;
	test_kept_tag(base);
	test_segmented_later(base);
	test_bare(base);
}

int main(void)
{
	lab_open(&lab, false);
	lab_seed();
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++)
		for (enum base base = 0; base < BASES; base++)
			test_base(hook, base);
	lab_close(&lab);
	return tap_end();
}
