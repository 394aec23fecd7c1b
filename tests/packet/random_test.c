/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random frames by the hundred thousand: noise, valid frames of known flows, and valid
 * frames that were mutilated. Each must come out as the model says, byte for byte; what
 * is passed must come out as it went in; what is forwarded must have kept its checksums
 * right, or wrong.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

#define NOISE 60000
#define VALID 80000
#define MUTILATED 120000

#define FLOWS 16

static struct lab lab;
static struct lab_flow flows[FLOWS];
static uint64_t taken[EXIT_REASONS + 1]; /* how often each way was taken; last: forwarded */

static uint16_t some_port(uint16_t usual)
{
	return lab_random_below(2) ? usual : (uint16_t)(1024 + lab_random_below(60000));
}

static const char *address(char text[32], bool ipv6, const char *net4, const char *net6)
{
	snprintf(text, 32, "%s%u", ipv6 ? net6 : net4, 1 + lab_random_below(200));
	return text;
}

/* Each kind of link comes in once and goes out once at least, and any priority is set. */
static void set_links(struct lab_flow *flow, size_t connection)
{
	flow->link_in = frame_links[connection % LINK_KINDS];
	flow->link_out = frame_links[(connection + lab_random()) % LINK_KINDS];
	if (flow->link_out.tags)
		flow->pcp_tag = (uint8_t)lab_random_below(flow->link_out.tags + 1U);
	flow->pcp = lab_random() & 0x77777777;
}

/* Eight connections, both directions of each, with every kind of NAT among them. */
static void make_flows(void)
{
	for (size_t i = 0; i < FLOWS; i += 2) {
		uint8_t protocol = i & 2 ? IPPROTO_UDP : IPPROTO_TCP;
		struct lab_flow *flow = &flows[i];
		char client[32], server[32];
		bool ipv6 = i & 4;

		address(client, ipv6, "10.0.1.", "fd00:1::");
		address(server, ipv6, "203.0.113.", "2001:db8:5::");
		flow->from =
			lab_tuple(protocol, client, (uint16_t)(40000 + i), server, some_port(443));
		if (i & 8)
			address(client, ipv6, "198.51.100.", "2001:db8:1::");
		if (lab_random_below(2))
			address(server, ipv6, "192.0.2.", "fd00:77::");
		flow->to = lab_tuple(protocol, client, some_port((uint16_t)(40000 + i)), server,
				     some_port(443));
		flow->ingress = LAN;
		flow->egress = WAN;
		set_links(flow, i / 2);
		flow->mtu = (uint16_t)(600 + lab_random_below(900));
		flow->verdict = i == 6 ? FLOW_DROP : i == 10 ? FLOW_PASS : FLOW_FORWARD;
		flows[i + 1] = lab_opposite(flow);
		flows[i + 1].pcp_tag = flow->link_in.tags;
		flows[i + 1].verdict = FLOW_FORWARD;
	}
	for (size_t i = 0; i < FLOWS; i++)
		lab_install(&lab, &flows[i]);
}

/* ---- Frames ------------------------------------------------------------------ */

static const struct lab_flow *some_flow(void)
{
	return &flows[lab_random_below(FLOWS)];
}

/* The header of a session now and then, with a length that may be right. */
static size_t put_noise_session(struct frame *frame, size_t at)
{
	static const uint16_t protocols[] = { 0x0021, 0x0021, 0x0057, 0xc021 };

	if (frame->len < at + 10)
		return at;
	frame_put16(frame, at, 0x8864);
	if (!lab_random_below(4))
		return at + 8;
	frame_put16(frame, at + 2, 0x1100);
	frame_put16(frame, at + 6, (uint16_t)(frame->len - at - 8 - lab_random_below(4)));
	frame_put16(frame, at + 8, protocols[lab_random_below(ARRAY_SIZE(protocols))]);
	return at + 8;
}

/* EtherTypes, and what has to follow them. Returns where IP begins, if it does. */
static size_t put_noise_link(struct frame *frame)
{
	static const uint16_t types[] = { 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806 };
	size_t at = 12;

	for (unsigned int tags = lab_random_below(lab_random_below(3) ? 1 : 5); tags; tags--) {
		frame_put16(frame, at, lab_random_below(2) ? 0x8100 : 0x88a8);
		at += 4;
	}
	if (!lab_random_below(5))
		return put_noise_session(frame, at) + 2;
	frame_put16(frame, at, types[lab_random_below(ARRAY_SIZE(types))]);
	return at + 2;
}

static void build_noise(struct frame *frame)
{
	size_t ip = FRAME_L3;

	memset(frame->data, 0, sizeof(frame->data));
	frame->len = 60 + lab_random_below(lab_random_below(4) ? 100 : 1800);
	for (size_t i = 0; i < frame->len; i++)
		frame->data[i] = (uint8_t)lab_random();
	if (lab_random_below(16))
		frame->data[0] &= 0xfe;
	if (lab_random_below(16))
		ip = put_noise_link(frame);
	if (lab_random_below(4))
		frame->data[ip] = lab_random_below(2) ? 0x60 : 0x45;
}

static uint8_t some_flags(void)
{
	static const uint8_t usual[] = { FLAG_ACK, FLAG_ACK | FLAG_PSH, FLAG_ACK | FLAG_ECE,
					 FLAG_ACK | FLAG_URG };

	return lab_random_below(8) ? usual[lab_random_below(4)] : (uint8_t)lab_random();
}

static void build_valid(const struct lab_flow *flow, struct frame *frame)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	bool tcp = flow->from.protocol == IPPROTO_TCP;

	spec.payload = (uint16_t)lab_random_below(lab_random_below(3) ? 100 : 1460);
	spec.fill = (uint8_t)lab_random();
	spec.ttl = lab_random_below(8) ? 64 : (uint8_t)lab_random_below(4);
	spec.tos = (uint8_t)lab_random();
	spec.tcp_flags = some_flags();
	spec.tcp_options = tcp && !lab_random_below(3) ? (uint8_t)(4 * lab_random_below(11)) : 0;
	spec.seq = lab_random();
	spec.ack = lab_random();
	spec.window = (uint16_t)lab_random();
	spec.padding = lab_random_below(3) ? 0 : (uint16_t)lab_random_below(50);
	if (!tcp && !lab_random_below(6))
		spec.checksum = CHECKSUM_ABSENT;
	if (!lab_random_below(12))
		spec.checksum = CHECKSUM_PSEUDO;
	/* Priority and drop eligibility are no part of a flow. */
	for (size_t i = 0; i < spec.link.tags; i++)
		spec.link.tag[i].tci |= lab_random() & 0xf000;
	frame_build(&spec, frame);
}

/* A length field, of IP or of PPPoE, says a little more or less. */
static void mutilate_length(const struct lab_flow *flow, struct frame *frame)
{
	size_t l3 = frame_link_len(&flow->link_in);
	size_t at = l3 + (flow->from.family == AF_INET6 ? 4 : 2);

	if (flow->link_in.session && lab_random_below(2))
		at = l3 - 4;
	frame_put16(frame, at, (uint16_t)(frame_get16(frame, at) + lab_random_below(80) - 40));
}

/* One wound. Most are in the headers, where they hurt. */
static void mutilate(const struct lab_flow *flow, struct frame *frame)
{
	size_t reach = lab_random_below(4) ? frame_link_len(&flow->link_in) + 60 : frame->len;
	size_t at = lab_random_below((uint32_t)(reach < frame->len ? reach : frame->len));

	switch (lab_random_below(7)) {
	case 0:
		frame->data[at] ^= (uint8_t)(1U << lab_random_below(8));
		break;
	case 1:
		frame->data[at] = (uint8_t)lab_random();
		break;
	case 2: /* values at the edge */
		frame->data[at] = lab_random_below(2) ? 0xff : 0;
		break;
	case 3:
		mutilate_length(flow, frame);
		break;
	case 4:
		if (frame->len > 80)
			frame->len -= lab_random_below((uint32_t)frame->len - 60);
		break;
	case 5: /* the link header */
		at = 12 + lab_random_below((uint32_t)frame_link_len(&flow->link_in) - 12);
		frame->data[at] ^= (uint8_t)(1U << lab_random_below(8));
		break;
	default: /* the MAC addresses, so that their check is met often enough */
		frame->data[lab_random_below(12)] ^= (uint8_t)(1U << lab_random_below(8));
		break;
	}
}

/* A right header checksum lets the frame get further. */
static void mend_ip_checksum(const struct lab_flow *flow, struct frame *frame)
{
	size_t l3 = frame_link_len(&flow->link_in);

	if (flow->from.family == AF_INET6)
		return;
	frame_put16(frame, l3 + 10, 0);
	frame_put16(frame, l3 + 10, (uint16_t)~ones_sum(frame->data + l3, 20, 0));
}

static void build_mutilated(struct frame *frame)
{
	const struct lab_flow *flow = some_flow();
	unsigned int wounds = 1 + lab_random_below(3);

	build_valid(flow, frame);
	while (wounds--)
		mutilate(flow, frame);
	if (lab_random_below(3))
		mend_ip_checksum(flow, frame);
}

/* ---- Runs -------------------------------------------------------------------- */

/* Whatever the flow: what is always true of a frame that was forwarded. */
static bool sound(const struct frame *in, const struct frame *out)
{
	static struct opened before, after;
	size_t check;
	bool ok;

	if (model_open(in, &before) != NO_EXIT || model_open(out, &after) != NO_EXIT)
		return false;
	check = frame_l4_check(&after.plain);
	ok = frame_ip_checksum_ok(&after.plain) &&
	     frame_l4_checksum_ok(&before.plain) == frame_l4_checksum_ok(&after.plain);
	if (frame_protocol(&after.plain) == IPPROTO_UDP)
		ok = ok && !frame_get16(&before.plain, check) == !frame_get16(&after.plain, check);
	return ok && after.plain.len == FRAME_L3 + after.room &&
	       after.room == frame_l3_len(&before.plain);
}

/* A genuine FIN or RST, which a random one may be, closes its flow: open it again. */
static void reopen(const struct lab_flow *flow)
{
	struct lab_flow opposite = lab_opposite(flow);

	lab_install(&lab, flow);
	for (size_t i = 0; i < FLOWS; i++)
		if (tuple_equal(&flows[i].from, &opposite.from))
			lab_install(&lab, &flows[i]);
}

static void dump(const struct frame *frame)
{
	for (size_t i = 0; i < frame->len && i < 128; i += 32) {
		char text[3 * 32 + 1] = "";

		for (size_t j = i; j < i + 32 && j < frame->len; j++)
			snprintf(text + 3 * (j - i), 4, "%02x ", frame->data[j]);
		tap_note("%4zu: %s", i, text);
	}
}

static bool comes_by_session(const struct frame *in)
{
	static struct opened opened;

	return model_open(in, &opened) == NO_EXIT && opened.link.session;
}

static bool run_one(const struct model *model, enum lab_hook hook, const struct frame *in)
{
	struct lab_arrival arrival = { .ingress = lab.side[WAN].ifindex };
	static struct expectation expected;
	static struct lab_outcome outcome;
	bool ok;

	/* Frames of either direction come in by the port that is theirs, but for a few. */
	if (!memcmp(in->data, lab.side[LAN].mac, 6) == !!lab_random_below(32))
		arrival.ingress = lab.side[LAN].ifindex;
	/*
	 * A test run cannot say of what type the segments are, and the kernel takes PPPoE off
	 * for those of TCP and UDP only.
	 */
	if (hook == LAB_TC && !comes_by_session(in) && !lab_random_below(16))
		arrival.gso_size = 500 + lab_random_below(1000);
	arrival.keep_tag = !lab_random_below(64);
	model_walk(model, hook, &arrival, in, &expected);
	ok = check_run(&lab, hook, &arrival, in, &expected, &outcome);
	if (ok && expected.exit == NO_EXIT)
		ok = sound(in, &outcome.frame);
	if (expected.exit == EXIT_TCP_CONTROL && expected.hit)
		reopen(expected.hit);
	taken[expected.exit == NO_EXIT ? EXIT_REASONS : expected.exit]++;
	if (!ok) {
		tap_note("ingress %u, segments of %u bytes%s", arrival.ingress, arrival.gso_size,
			 arrival.keep_tag ? ", tag kept" : "");
		dump(in);
	}
	return ok;
}

static void run_many(const struct model *model, enum lab_hook hook, unsigned int frames,
		     void (*build)(struct frame *frame), const char *what)
{
	static struct frame in;
	unsigned int i;

	for (i = 0; i < frames; i++) {
		if (!(i % 64))
			lab_heartbeat(&lab);
		if (!(i % 1024))
			lab_forget_signals(&lab);
		build(&in);
		if (!run_one(model, hook, &in))
			break;
	}
	if (i < frames)
		tap_note("frame %u", i);
	tap(i == frames, "%s: %u %s", lab_hook_names[hook], frames, what);
}

static void build_any_valid(struct frame *frame)
{
	build_valid(some_flow(), frame);
}

/* Random frames prove nothing if they all leave by the first door. */
static void check_spread(enum lab_hook hook, bool detect_partial)
{
	static const int wanted[] = { EXIT_TRUNCATED, EXIT_GROUP_ADDRESS, EXIT_VLAN,
				      EXIT_ETHERTYPE, EXIT_IP_HEADER,     EXIT_IP_OPTIONS,
				      EXIT_FRAGMENT,  EXIT_PROTOCOL,      EXIT_TTL,
				      EXIT_L4_HEADER, EXIT_TCP_CONTROL,   EXIT_OTHER_MAC,
				      EXIT_MISS,      EXIT_FLOW_PASS,     EXIT_IP_CHECKSUM,
				      EXIT_MTU,       EXIT_BLACKHOLE,     EXIT_PPPOE };
	bool ok = taken[EXIT_REASONS] > VALID / 4;

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (taken[wanted[i]] >= 20)
			continue;
		tap_note("%s: only %llu frames", lab_exit_name(wanted[i]),
			 (unsigned long long)taken[wanted[i]]);
		ok = false;
	}
	if (detect_partial && hook == LAB_XDP)
		ok = ok && taken[EXIT_PARTIAL] >= 20;
	tap_note("%llu forwarded", (unsigned long long)taken[EXIT_REASONS]);
	tap(lab_can_run(&lab, hook) && ok, "%s: they went every way there is",
	    lab_hook_names[hook]);
	memset(taken, 0, sizeof(taken));
}

static void run_mode(bool detect_partial)
{
	const struct model model = {
		.lab = &lab,
		.flow = flows,
		.flows = FLOWS,
		.detect_partial = detect_partial,
	};

	lab_open(&lab, detect_partial);
	make_flows();
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
		run_many(&model, hook, NOISE, build_noise, "frames of noise");
		run_many(&model, hook, VALID, build_any_valid, "valid frames");
		run_many(&model, hook, MUTILATED, build_mutilated, "mutilated frames");
		check_spread(hook, detect_partial);
	}
	lab_close(&lab);
}

int main(void)
{
	lab_seed();
	run_mode(false);
	run_mode(true);
	return tap_end();
}
