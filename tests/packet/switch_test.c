/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * XDP on the conduit of a DSA switch: frames come and go with the tag of one of its ports.
 * What a tag is follows the kernel's net/dsa/tag_mtk.c, tag_qca.c and tag_gswip.c, and
 * include/linux/dsa/tag_qca.h; the frame around it is built from scratch. The program that
 * knows tags is also run on ports that are no conduit.
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

#define FRAMES_PER_PAIR 3
#define FORMATS (SWITCH_TAG_GSWIP + 1) /* with that of no switch */

enum base {
	TCP4,
	UDP4,
	TCP6,
	UDP6,
	BASES,
};

static const char *const base_names[BASES] = { "TCP/IPv4", "UDP/IPv4", "TCP/IPv6", "UDP/IPv6" };
static const char *const format_names[FORMATS] = { "no switch", "mtk", "qca", "gswip" };

/* Which switches the router's two devices are the conduits of; the way of a flow. */
struct way {
	enum switch_tag in;
	enum switch_tag out;
	bool same_conduit; /* out by the device that it came in by, else LAN to WAN */
	unsigned int in_port;
	unsigned int out_port;
};

static struct lab lab;
static struct lab_outcome outcome;

/* ---- Tags ------------------------------------------------------------------------ */

/* The destination's bit in a tag has to be one that the kernel sets for a port. */
static unsigned int sendable_ports(enum switch_tag format)
{
	return format == SWITCH_TAG_QCA ? 7 : 6;
}

/* As the switch gives it to the CPU; bits that the kernel does not look at are random. */
static void tag_received(struct frame *frame, enum switch_tag format, unsigned int port)
{
	switch (format) {
	case SWITCH_TAG_MTK: /* MTK_HDR_RECV_SOURCE_PORT_MASK: bits 2 to 0 */
		frame_insert(frame, 12, 4);
		frame_put16(frame, 12, (uint16_t)((lab_random() & 0xfff8) | port));
		frame_put16(frame, 14, (uint16_t)lab_random());
		break;
	case SWITCH_TAG_QCA: /* version 2, any priority, type 0, the lowest bits the port */
		frame_insert(frame, 12, 2);
		frame_put16(frame, 12, (uint16_t)(0x8000 | (lab_random() & 0x3838) | port));
		break;
	case SWITCH_TAG_GSWIP: /* GSWIP_RX_SPPID: bits 6 to 4 of the last byte */
		frame_insert(frame, 0, 8);
		for (size_t i = 0; i < 8; i++)
			frame->data[i] = (uint8_t)lab_random();
		frame->data[7] = (uint8_t)((frame->data[7] & 0x8f) | port << 4);
		break;
	default:
		break;
	}
}

/* mtk_tag_xmit(): the type of the first VLAN tag gives way, else there are 4 bytes more. */
static void tag_mtk(struct frame *frame, unsigned int port)
{
	uint16_t type = frame_get16(frame, 12);

	if (type != 0x8100 && type != 0x88a8)
		frame_insert(frame, 12, 4);
	frame->data[12] = type == 0x8100 ? 1 : type == 0x88a8 ? 2 : 0;
	frame->data[13] = (uint8_t)((1U << port) & 0x3f);
}

/* As the kernel gives it to the switch. */
static void tag_sent(struct frame *frame, enum switch_tag format, unsigned int port)
{
	switch (format) {
	case SWITCH_TAG_MTK:
		tag_mtk(frame, port);
		break;
	case SWITCH_TAG_QCA: /* version 2, from the CPU, a bit per port */
		frame_insert(frame, 12, 2);
		frame_put16(frame, 12, (uint16_t)(2U << 14 | 1U << 7 | 1U << port));
		break;
	case SWITCH_TAG_GSWIP:
		frame_insert(frame, 0, 4);
		frame->data[0] = 2;    /* GSWIP_TX_SLPID_CPU */
		frame->data[1] = 0;    /* GSWIP_TX_DPID_ELAN */
		frame->data[2] = 0xc0; /* GSWIP_TX_PORT_MAP_EN, GSWIP_TX_PORT_MAP_SEL */
		frame->data[3] = (uint8_t)(((1U << (port + 1)) & 0x7e) | 1); /* GSWIP_TX_DPID_EN */
		break;
	default:
		break;
	}
}

/* ---- Switches and flows ------------------------------------------------------------ */

/* No device has this number. */
static uint32_t user_port(enum lab_side_id side, unsigned int port)
{
	return 100000U * (side + 1U) + port;
}

static void set_conduit(enum lab_side_id side, uint32_t tag, unsigned int ports)
{
	struct bpfw_conduit conduit = { .tag = tag };

	for (unsigned int i = 0; i < SWITCH_PORTS; i++)
		if (ports & 1U << i)
			conduit.user[i] = user_port(side, i);
	if (datapath_set_conduit(&lab.datapath, lab.side[side].ifindex, &conduit))
		tap_bail_out("cannot set a conduit");
}

static void set_side(enum lab_side_id side, enum switch_tag format)
{
	if (format != SWITCH_TAG_NONE)
		set_conduit(side, format, (1U << SWITCH_PORTS) - 1);
	else
		datapath_clear_conduit(&lab.datapath, lab.side[side].ifindex);
}

static void set_switches(const struct way *way)
{
	set_side(LAN, way->in);
	set_side(WAN, way->same_conduit ? SWITCH_TAG_NONE : way->out);
	lab_heartbeat(&lab);
}

/* The frames of a switch's port are for the router as those of its conduit are. */
static void set_user_ports(void)
{
	for (enum lab_side_id side = 0; side < LAB_SIDES; side++) {
		struct bpfw_port port = { .macs = 1 };

		memcpy(port.mac[0], lab.side[side].mac, 6);
		for (unsigned int i = 0; i < SWITCH_PORTS; i++)
			if (datapath_set_port(&lab.datapath, user_port(side, i), &port))
				tap_bail_out("cannot set a port");
	}
}

static const char *name_way(const struct way *way)
{
	static char text[64];

	if (way->same_conduit)
		snprintf(text, sizeof(text), "%s, out by the same conduit", format_names[way->in]);
	else
		snprintf(text, sizeof(text), "%s -> %s", format_names[way->in],
			 format_names[way->out]);
	return text;
}

/* Numbers of ports by chance: from and to the same one happens as well. */
static struct way choose_ports(const struct way *way)
{
	struct way chosen = *way;

	chosen.in_port = lab_random_below(sendable_ports(way->in));
	chosen.out_port = lab_random_below(sendable_ports(way->out));
	return chosen;
}

static void put_on_way(const struct way *way, struct lab_flow *flow)
{
	flow->egress = way->same_conduit ? LAN : WAN;
	flow->user_port = way->in ? user_port(LAN, way->in_port) : 0;
	flow->switch_egress =
		way->out ? (uint8_t)SWITCH_EGRESS((unsigned int)way->out, way->out_port) : 0;
}

/* NAT for one protocol of each family, the other is routed. */
static struct lab_flow make_flow(const struct way *way, enum base base, enum link_kind in,
				 enum link_kind out)
{
	uint8_t protocol = base == TCP4 || base == TCP6 ? IPPROTO_TCP : IPPROTO_UDP;
	struct lab_flow flow = {
		.mtu = 1492,
		.link_in = frame_links[in],
		.link_out = frame_links[out],
	};

	if (base == TCP4 || base == UDP4)
		flow.from = lab_tuple(protocol, "10.0.1.2", 40000, "203.0.113.5", 443);
	else
		flow.from = lab_tuple(protocol, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	flow.to = flow.from;
	if (base == TCP4)
		flow.to = lab_tuple(protocol, "198.51.100.1", 51000, "203.0.113.5", 443);
	else if (base == UDP6)
		flow.to = lab_tuple(protocol, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	put_on_way(way, &flow);
	return flow;
}

/* The opposite direction comes in by the port where this one goes out. */
static struct lab_flow opposite(const struct way *way, const struct lab_flow *flow)
{
	enum lab_side_id egress = flow->egress;
	struct lab_flow reply = lab_opposite(flow);

	reply.user_port = way->out ? user_port(egress, way->out_port) : 0;
	reply.switch_egress =
		way->in ? (uint8_t)SWITCH_EGRESS((unsigned int)way->in, way->in_port) : 0;
	return reply;
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

/* ---- Runs --------------------------------------------------------------------------- */

static bool run_from(enum lab_side_id side, const struct frame *in, const struct frame *out,
		     int exit)
{
	const struct lab_arrival arrival = { .ingress = lab.side[side].ifindex };
	static struct expectation expected;

	expected.exit = exit;
	expected.verdict = out ? VERDICT_REDIRECT : VERDICT_PASS;
	expected.frame = out ? *out : *in;
	lab_heartbeat(&lab);
	return check_run(&lab, LAB_XDP, &arrival, in, &expected, &outcome);
}

/* `out` is NULL if the frame is to leave by `exit`, as it came. */
static bool run(const struct frame *in, const struct frame *out, int exit)
{
	return run_from(LAN, in, out, exit);
}

static void build_in(const struct frame_spec *spec, const struct way *way, struct frame *frame)
{
	frame_build(spec, frame);
	tag_received(frame, way->in, way->in_port);
}

static void build_out(const struct frame_spec *spec, const struct way *way, struct frame *frame)
{
	frame_build(spec, frame);
	tag_sent(frame, way->out, way->out_port);
}

static bool check_specs(const struct way *way, const struct frame_spec *in_spec,
			const struct frame_spec *out_spec)
{
	static struct frame in, out;

	build_in(in_spec, way, &in);
	build_out(out_spec, way, &out);
	return run(&in, &out, NO_EXIT);
}

/* A frame of the flow, taken as it is, is forwarded. */
static bool forwards(const struct way *way, const struct lab_flow *flow)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	struct frame_spec out_spec = forwarded(&spec, flow);

	return check_specs(way, &spec, &out_spec);
}

/* ---- Every way, every kind of link ---------------------------------------------------- */

static struct frame_spec random_spec(const struct lab_flow *flow)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);

	spec.payload = (uint16_t)lab_random_below(lab_random_below(3) ? 64 : 1400);
	spec.fill = (uint8_t)lab_random();
	spec.tos = (uint8_t)lab_random();
	spec.padding = (uint16_t)(lab_random_below(2) ? lab_random_below(40) : 0);
	for (size_t i = 0; i < spec.link.tags; i++)
		spec.link.tag[i].tci |= (uint16_t)(lab_random() & 0xf000);
	return spec;
}

static bool test_pair(const struct way *way, enum base base, enum link_kind in, enum link_kind out)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, in, out);
	size_t header = (base == TCP4 || base == UDP4 ? 20U : 40U) +
			(flow.from.protocol == IPPROTO_TCP ? 20U : 8U);
	struct bpfw_action action;
	uint64_t bytes = 0;
	bool ok = true;

	lab_install(&lab, &flow);
	for (unsigned int i = 0; i < FRAMES_PER_PAIR && ok; i++) {
		struct frame_spec spec = random_spec(&flow);
		struct frame_spec out_spec = forwarded(&spec, &flow);

		bytes += header + spec.payload;
		ok = check_specs(&chosen, &spec, &out_spec);
	}
	action = lab_action(&lab, &flow);
	lab_remove(&lab, &flow);
	if (ok && (action.packets != FRAMES_PER_PAIR || action.bytes != bytes)) {
		tap_note("the entry did not count what it should");
		ok = false;
	}
	if (!ok)
		tap_note("to %s, port %u to port %u", frame_link_names[out], chosen.in_port,
			 chosen.out_port);
	return ok;
}

static void test_pairs(const struct way *way)
{
	set_switches(way);
	for (enum base base = 0; base < BASES; base++) {
		for (enum link_kind in = 0; in < LINK_KINDS; in++) {
			bool ok = true;

			for (enum link_kind out = 0; out < LINK_KINDS; out++)
				ok = test_pair(way, base, in, out) && ok;
			tap(ok, "%s: %s: %s -> every kind of link", name_way(way), base_names[base],
			    frame_link_names[in]);
		}
	}
}

static void test_port_numbers(const struct way *way)
{
	struct way numbered = *way;
	bool ok = true;

	set_switches(way);
	for (unsigned int in = 0; in < (way->in ? SWITCH_PORTS : 1); in++) {
		for (unsigned int out = 0; out < (way->out ? sendable_ports(way->out) : 1); out++) {
			struct lab_flow flow;

			numbered.in_port = in;
			numbered.out_port = out;
			flow = make_flow(&numbered, (in + out) % BASES, LINK_PLAIN, LINK_Q);
			lab_install(&lab, &flow);
			ok = forwards(&numbered, &flow) && ok;
			lab_remove(&lab, &flow);
		}
	}
	tap(ok, "%s: every port's number", name_way(way));
}

/* ---- Priorities ------------------------------------------------------------------------ */

/* A different one for each class, in no order */
#define PRIORITIES 0x03612574U

/* IPv4: four classes by TOS; IPv6: that of the tag it came with */
static uint16_t expected_priority(const struct frame_spec *spec)
{
	static const uint16_t by_class[8] = { 4, 7, 5, 2, 1, 6, 3, 0 };
	const struct encapsulation *link = &spec->link;

	if (spec->tuple.family == AF_INET)
		return by_class[(spec->tos & 0x10 ? 2 : 0) + (spec->tos & 0x08 ? 1 : 0)];
	return by_class[link->tags ? link->tag[link->tags - 1].tci >> 13 : 0];
}

static bool test_priority(const struct way *way, enum base base, enum link_kind in,
			  enum link_kind out, uint8_t tag)
{
	struct lab_flow flow = make_flow(way, base, in, out);
	bool ok = true;

	flow.pcp_tag = tag;
	flow.pcp = PRIORITIES;
	lab_install(&lab, &flow);
	for (unsigned int i = 0; i < 256 && ok; i++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;

		spec.tos = (uint8_t)i;
		if (spec.link.tags)
			spec.link.tag[spec.link.tags - 1].tci |= (uint16_t)(i << 13);
		out_spec = forwarded(&spec, &flow);
		out_spec.link.tag[tag - 1].tci |= (uint16_t)(expected_priority(&spec) << 13);
		ok = check_specs(way, &spec, &out_spec);
	}
	lab_remove(&lab, &flow);
	return ok;
}

static void test_priorities(const struct way *way)
{
	const struct way chosen = choose_ports(way);

	set_switches(way);
	for (enum link_kind out = 0; out < LINK_KINDS; out++) {
		for (uint8_t tag = 1; tag <= frame_links[out].tags; tag++) {
			bool ok = test_priority(&chosen, TCP4, LINK_AD_Q, out, tag);

			ok = test_priority(&chosen, UDP6, LINK_Q_PPPOE, out, tag) && ok;
			ok = test_priority(&chosen, TCP6, LINK_PLAIN, out, tag) && ok;
			tap(ok, "%s: %s: priority of tag %u", name_way(way), frame_link_names[out],
			    tag);
		}
	}
}

/* ---- Tags as they come ------------------------------------------------------------------ */

/* The port that the kernel's rcv() takes the frame to be from, -1 where it takes none. */
static int received_port(const struct frame *frame, enum switch_tag format)
{
	uint16_t word = frame_get16(frame, 12);

	if (format == SWITCH_TAG_MTK)
		return word & 7;
	if (format == SWITCH_TAG_GSWIP)
		return frame->data[7] >> 4 & 7;
	/* QCA_HDR_RECV_TYPE: counters and answers of registers are no frames from outside. */
	return word >> 14 == 2 && !(word >> 6 & 0x1f) ? word & 7 : -1;
}

/* Every value of the tag's word that has the port; the switch has four ports of ours. */
static void test_every_tag(const struct way *way, enum base base)
{
	const unsigned int ours = 1U << 1 | 1U << 2 | 1U << 4 | 1U << 7;
	struct way chosen = choose_ports(way);
	unsigned int forwarded_frames = 0;
	struct lab_flow flow;
	struct frame_spec spec, out_spec;
	static struct frame in, out;
	bool ok = true;

	chosen.in_port = 2;
	flow = make_flow(&chosen, base, LINK_Q, LINK_PPPOE);
	set_switches(way);
	set_conduit(LAN, way->in, ours);
	lab_install(&lab, &flow);
	spec = lab_frame_spec(&lab, &flow);
	out_spec = forwarded(&spec, &flow);
	build_in(&spec, &chosen, &in);
	build_out(&out_spec, &chosen, &out);
	for (unsigned int word = 0; word <= 0xffff && ok; word++) {
		int port, exit;

		frame_put16(&in, way->in == SWITCH_TAG_GSWIP ? 6 : 12, (uint16_t)word);
		port = received_port(&in, way->in);
		exit = port == 2 ? NO_EXIT : EXIT_MISS;
		if (port < 0 || !(ours & 1U << port))
			exit = EXIT_SWITCH;
		forwarded_frames += exit == NO_EXIT;
		ok = run(&in, exit == NO_EXIT ? &out : NULL, exit);
		if (!ok)
			tap_note("the word is %04x", word);
	}
	lab_remove(&lab, &flow);
	/* One of eight ports; QCA: one of four versions and of 32 types as well. */
	tap(ok && forwarded_frames == (way->in == SWITCH_TAG_QCA ? 64 : 8192),
	    "%s: %s: every word that tells the port", name_way(way), base_names[base]);
}

static void test_unknown_format(const struct way *way)
{
	static const uint32_t formats[] = { SWITCH_TAG_NONE, FORMATS, 255, 0xffffffff };
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, TCP4, LINK_PLAIN, LINK_Q);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok = true;

	set_switches(way);
	lab_install(&lab, &flow);
	build_in(&spec, &chosen, &in);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		set_conduit(LAN, formats[i], 0xff);
		ok = run(&in, NULL, EXIT_SWITCH) && ok;
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: a conduit of a format that is not known", name_way(way));
}

static void test_truncations(const struct way *way, enum base base, enum link_kind kind)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, kind, LINK_PLAIN);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok = true;
	size_t whole;

	lab_install(&lab, &flow);
	build_in(&spec, &chosen, &in);
	whole = in.len;
	for (in.len = FRAME_L3; in.len < whole && ok; in.len++)
		ok = run(&in, NULL, EXIT_TRUNCATED);
	if (!ok)
		tap_note("at %zu of %zu bytes", in.len - 1, whole);
	in.len = whole;
	ok = forwards(&chosen, &flow) && ok;
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: %s cut after every byte", name_way(way), base_names[base],
	    frame_link_names[kind]);
}

/* ---- Frames of no flow --------------------------------------------------------------------- */

struct stray {
	const char *name;
	enum link_kind kind;
	uint16_t at; /* in the frame as it is outside of the switch */
	uint16_t value;
	int exit;
};

static const struct stray strays[] = {
	{ "another MAC", LINK_PLAIN, 4, 0x99, EXIT_OTHER_MAC },
	{ "another MAC", LINK_AD_Q_PPPOE, 0, 0x0400, EXIT_OTHER_MAC },
	{ "broadcast", LINK_PLAIN, 0, 0xffff, EXIT_GROUP_ADDRESS },
	{ "multicast", LINK_Q, 0, 0x0100, EXIT_GROUP_ADDRESS },
	{ "another sender, no session", LINK_Q, 10, 0x99, NO_EXIT },
	{ "not the session's sender", LINK_PPPOE, 10, 0x99, EXIT_OTHER_MAC },
	{ "ARP", LINK_PLAIN, 12, 0x0806, EXIT_ETHERTYPE },
	{ "LLDP's type", LINK_PLAIN, 12, 0x88cc, EXIT_ETHERTYPE },
	{ "PPPoE discovery", LINK_PPPOE, 12, 0x8863, EXIT_ETHERTYPE },
	{ "MPLS behind the tag", LINK_Q, 16, 0x8847, EXIT_ETHERTYPE },
	{ "another VLAN id", LINK_Q, 14, 11, EXIT_MISS },
	{ "another inner VLAN id", LINK_AD_Q, 18, 3, EXIT_MISS },
	{ "802.1ad for 802.1Q", LINK_Q, 12, 0x88a8, EXIT_MISS },
	{ "VLAN id 0", LINK_Q, 14, 0xe000, EXIT_VLAN },
	{ "a third tag", LINK_Q_Q, 20, 0x8100, EXIT_VLAN },
	{ "another session", LINK_PPPOE, 16, 0x4321, EXIT_MISS },
	{ "session 0", LINK_Q_PPPOE, 20, 0, EXIT_PPPOE },
	{ "LCP", LINK_PPPOE, 20, 0xc021, EXIT_PPPOE },
	{ "a length that PPPoE has not", LINK_PPPOE, 18, 0xffff, EXIT_TRUNCATED },
};

static void test_stray(const struct way *way, const struct stray *stray)
{
	bool ok = true;

	for (enum base base = 0; base < BASES; base++) {
		const struct way chosen = choose_ports(way);
		struct lab_flow flow = make_flow(&chosen, base, stray->kind, LINK_Q);
		struct frame_spec spec = lab_frame_spec(&lab, &flow);
		struct frame_spec out_spec = forwarded(&spec, &flow);
		static struct frame in, out;

		lab_install(&lab, &flow);
		frame_build(&spec, &in);
		frame_put16(&in, stray->at, stray->value);
		tag_received(&in, chosen.in, chosen.in_port);
		build_out(&out_spec, &chosen, &out);
		ok = run(&in, stray->exit == NO_EXIT ? &out : NULL, stray->exit) && ok;
		lab_remove(&lab, &flow);
	}
	tap(ok, "%s: %s: %s -> %s", name_way(way), frame_link_names[stray->kind], stray->name,
	    stray->exit == NO_EXIT ? "forwarded" : lab_exit_name(stray->exit));
}

/* A flow is one of its own port; on the conduit itself nothing comes in. */
static void test_other_port(const struct way *way, enum base base)
{
	struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, LINK_PPPOE, LINK_Q);
	struct lab_flow conduits = flow;
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok;

	conduits.user_port = 0;
	lab_install(&lab, &flow);
	ok = forwards(&chosen, &flow);
	for (unsigned int i = 1; i < SWITCH_PORTS; i++) {
		frame_build(&spec, &in);
		tag_received(&in, way->in, (chosen.in_port + i) % SWITCH_PORTS);
		ok = run(&in, NULL, EXIT_MISS) && ok;
	}
	lab_remove(&lab, &flow);
	lab_install(&lab, &conduits);
	build_in(&spec, &chosen, &in);
	ok = run(&in, NULL, EXIT_MISS) && ok;
	lab_remove(&lab, &conduits);
	tap(ok, "%s: %s: frames from other ports of the switch", name_way(way), base_names[base]);
}

static bool refused(const struct way *way, const struct frame_spec *spec, int exit)
{
	static struct frame in;

	build_in(spec, way, &in);
	return run(&in, NULL, exit);
}

static void test_refusals(const struct way *way, enum base base)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, LINK_AD_Q, LINK_PPPOE);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
	struct bpfw_action action;
	static struct frame in;
	bool ok;

	lab_install(&lab, &flow);
	action = lab_action(&lab, &flow);
	spec.ttl = 1;
	ok = refused(&chosen, &spec, EXIT_TTL);
	spec.ttl = 2;
	spec.payload = 0;
	frame_build(&spec, &in);
	spec.payload = (uint16_t)(flow.mtu - (in.len - frame_link_len(&flow.link_in)));
	out_spec = forwarded(&spec, &flow);
	ok = check_specs(&chosen, &spec, &out_spec) && ok;
	spec.payload++;
	ok = refused(&chosen, &spec, EXIT_MTU) && ok;
	spec = lab_frame_spec(&lab, &flow);
	action.egress = lab.elsewhere;
	lab_set_action(&lab, &flow, &action);
	ok = refused(&chosen, &spec, EXIT_NO_EGRESS) && ok;
	action.verdict = FLOW_PASS;
	lab_set_action(&lab, &flow, &action);
	ok = refused(&chosen, &spec, EXIT_FLOW_PASS) && ok;
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: TTL 1, longer than the MTU, no egress, under review: as it came",
	    name_way(way), base_names[base]);
}

/* ---- What the daemon hears ------------------------------------------------------------------- */

static bool is_key_of(const struct bpfw_signal *signal, const struct lab_flow *flow)
{
	struct segment segment = lab_segment(&lab, flow);
	struct bpfw_flow4_key key4 = tuple_to_key4(&flow->from, &segment);
	struct bpfw_flow6_key key6 = tuple_to_key6(&flow->from, &segment);

	if (flow->from.family == AF_INET)
		return !memcmp(&signal->key.v4, &key4, sizeof(key4));
	return !memcmp(&signal->key.v6, &key6, sizeof(key6));
}

/* Misses are signalled by the name of the switch's port, if it is the router that is meant. */
static void test_candidate(const struct way *way, enum base base)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, LINK_Q, LINK_PLAIN);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok = true;

	lab_forget_candidates(&lab);
	lab_forget_signals(&lab);
	build_in(&spec, &chosen, &in);
	for (unsigned int i = 0; i < 3; i++)
		ok = run(&in, NULL, EXIT_MISS) && ok;
	ok = lab_read_signals(&lab) == 1 && is_key_of(&lab.signal[0], &flow) &&
	     lab.signal[0].kind == SIGNAL_CANDIDATE && ok;
	lab_forget_candidates(&lab);
	lab_forget_signals(&lab);
	datapath_clear_port(&lab.datapath, flow.user_port);
	for (unsigned int i = 0; i < 6; i++)
		ok = run(&in, NULL, EXIT_OTHER_MAC) && ok;
	ok = !lab_read_signals(&lab) && ok;
	set_user_ports();
	tap(ok, "%s: %s: a candidate is one of the switch's port", name_way(way), base_names[base]);
}

/* ---- TCP control segments ---------------------------------------------------------------------- */

static bool send_data(const struct way *way, const struct lab_flow *flow,
		      const struct lab_flow *reply)
{
	const struct way back = {
		.in = way->out,
		.out = way->in,
		.same_conduit = way->same_conduit,
		.in_port = way->out_port,
		.out_port = way->in_port,
	};
	struct frame_spec spec = lab_frame_spec(&lab, flow), out_spec;
	static struct frame in, out;
	bool ok;

	spec.seq = 4980;
	spec.payload = 20;
	out_spec = forwarded(&spec, flow);
	ok = check_specs(way, &spec, &out_spec);
	spec = lab_frame_spec(&lab, reply);
	spec.ack = 5000;
	out_spec = forwarded(&spec, reply);
	build_in(&spec, &back, &in);
	build_out(&out_spec, &back, &out);
	ok = run_from(reply->ingress, &in, &out, NO_EXIT) && ok;
	lab_forget_signals(&lab);
	lab_forget_candidates(&lab);
	return ok;
}

static bool verdicts_are(const struct lab_flow *flow, const struct lab_flow *reply, uint8_t verdict)
{
	return lab_action(&lab, flow).verdict == verdict &&
	       lab_action(&lab, reply).verdict == verdict;
}

/* A segment with `seq`, judged by what is known of the port that the flow goes out by. */
static bool check_control(const struct way *way, const struct lab_flow *flow, uint8_t tcp_flags,
			  uint32_t seq, int verdict)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	static struct frame in;
	bool ok;

	spec.tcp_flags = tcp_flags;
	spec.seq = seq;
	build_in(&spec, way, &in);
	ok = run(&in, NULL, EXIT_TCP_CONTROL);
	ok = outcome.exits[EXIT_FORGED] == (verdict == CONTROL_FORGED) && ok;
	ok = lab_read_signals(&lab) == 1 && is_key_of(&lab.signal[0], flow) &&
	     lab.signal[0].kind == SIGNAL_CONTROL && lab.signal[0].verdict == verdict && ok;
	if (!ok)
		tap_note("%u signals, the first with verdict %u, not %d", lab.signals,
			 lab.signal[0].verdict, verdict);
	return ok;
}

static void test_control(const struct way *way, enum base base, enum link_kind in,
			 enum link_kind out)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, in, out);
	struct lab_flow reply = opposite(&chosen, &flow);
	static const struct {
		uint8_t flags;
		uint32_t seq;
		int verdict;
	} segments[] = {
		{ FLAG_RST, 5001, CONTROL_FORGED },
		{ FLAG_FIN | FLAG_ACK, 90000, CONTROL_FORGED },
		{ FLAG_SYN, 5000, CONTROL_ASK },
		{ FLAG_RST, 5000, CONTROL_GENUINE },
		{ FLAG_FIN | FLAG_ACK, 5000, CONTROL_GENUINE },
	};
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(segments); i++) {
		bool genuine = segments[i].verdict == CONTROL_GENUINE;

		lab_install(&lab, &flow);
		lab_install(&lab, &reply);
		ok = send_data(&chosen, &flow, &reply) && ok;
		ok = check_control(&chosen, &flow, segments[i].flags, segments[i].seq,
				   segments[i].verdict) &&
		     ok;
		ok = verdicts_are(&flow, &reply, genuine ? FLOW_PASS : FLOW_FORWARD) && ok;
	}
	lab_remove(&lab, &flow);
	lab_remove(&lab, &reply);
	tap(ok, "%s: %s: %s -> %s: FIN and RST are judged by both directions", name_way(way),
	    base_names[base], frame_link_names[in], frame_link_names[out]);
}

/* The same tuple at another port of the switch is no opposite direction, nor at the conduit. */
static void test_other_opposite(const struct way *way, enum base base)
{
	const struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, LINK_Q, LINK_AD);
	struct lab_flow reply = opposite(&chosen, &flow);
	const uint32_t elsewhere[] = {
		user_port(flow.egress, (chosen.out_port + 1) % SWITCH_PORTS),
		0,
	};
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		lab_install(&lab, &flow);
		lab_install(&lab, &reply);
		ok = send_data(&chosen, &flow, &reply) && ok;
		lab_remove(&lab, &reply);
		reply.user_port = elsewhere[i];
		lab_install(&lab, &reply);
		ok = check_control(&chosen, &flow, FLAG_RST, 5000, CONTROL_ASK) && ok;
		ok = verdicts_are(&flow, &reply, FLOW_FORWARD) && ok;
		lab_remove(&lab, &reply);
		reply = opposite(&chosen, &flow);
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: a RST is not judged by another port's direction", name_way(way),
	    base_names[base]);
}

/* A RST from another port of the switch is one of no flow. */
static void test_other_control(const struct way *way, enum base base)
{
	struct way chosen = choose_ports(way);
	struct lab_flow flow = make_flow(&chosen, base, LINK_Q, LINK_AD);
	struct lab_flow reply = opposite(&chosen, &flow);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	static struct frame in;
	bool ok;

	lab_install(&lab, &flow);
	lab_install(&lab, &reply);
	ok = send_data(&chosen, &flow, &reply);
	spec.tcp_flags = FLAG_RST;
	spec.seq = 5000;
	frame_build(&spec, &in);
	tag_received(&in, way->in, (chosen.in_port + 1) % SWITCH_PORTS);
	ok = run(&in, NULL, EXIT_TCP_CONTROL) && ok;
	ok = !lab_read_signals(&lab) && verdicts_are(&flow, &reply, FLOW_FORWARD) && ok;
	lab_remove(&lab, &flow);
	lab_remove(&lab, &reply);
	tap(ok, "%s: %s: a RST from another port ends nothing", name_way(way), base_names[base]);
}

static void test_controls(const struct way *way)
{
	static const enum base bases[] = { TCP4, TCP6 };

	set_switches(way);
	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		for (enum link_kind kind = 0; kind < LINK_KINDS; kind++)
			test_control(way, bases[i], kind, LINK_KINDS - 1 - kind);
		if (way->out)
			test_other_opposite(way, bases[i]);
		if (way->in)
			test_other_control(way, bases[i]);
	}
}

/* ---- All of it ------------------------------------------------------------------------------------ */

static void test_arrivals(const struct way *way)
{
	set_switches(way);
	for (enum base base = 0; base < BASES; base++) {
		for (enum link_kind kind = 0; kind < LINK_KINDS; kind++)
			test_truncations(way, base, kind);
		test_refusals(way, base);
		if (!way->in)
			continue;
		test_other_port(way, base);
		test_candidate(way, base);
	}
	for (size_t i = 0; i < ARRAY_SIZE(strays); i++)
		test_stray(way, &strays[i]);
	if (way->in)
		test_unknown_format(way);
}

static void test_way(const struct way *way)
{
	test_pairs(way);
	test_port_numbers(way);
	test_controls(way);
	/* What comes in is read before it is known where it goes, and the other way round. */
	if (!way->out || way->same_conduit)
		test_arrivals(way);
	if (!way->in || way->same_conduit)
		test_priorities(way);
	if (way->same_conduit)
		for (enum base base = 0; base < BASES; base += 3)
			test_every_tag(way, base);
}

int main(void)
{
	lab_open_switched(&lab);
	lab_seed();
	set_user_ports();
	for (enum switch_tag in = 0; in < FORMATS; in++) {
		struct way way = { .in = in, .out = in, .same_conduit = true };

		if (in)
			test_way(&way);
		way.same_conduit = false;
		for (way.out = 0; way.out < FORMATS; way.out++)
			test_way(&way);
	}
	lab_close(&lab);
	return tap_end();
}
