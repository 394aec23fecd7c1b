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
		flow->mtu = (uint16_t)(600 + lab_random_below(900));
		flow->verdict = i == 6 ? FLOW_DROP : i == 10 ? FLOW_PASS : FLOW_FORWARD;
		flows[i + 1] = lab_opposite(flow);
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

static void build_noise(struct frame *frame)
{
	static const uint16_t types[] = { 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x8100, 0x0806 };

	memset(frame->data, 0, sizeof(frame->data));
	frame->len = 60 + lab_random_below(lab_random_below(4) ? 100 : 1800);
	for (size_t i = 0; i < frame->len; i++)
		frame->data[i] = (uint8_t)lab_random();
	if (lab_random_below(16))
		frame->data[0] &= 0xfe;
	if (lab_random_below(16))
		frame_put16(frame, 12, types[lab_random_below(ARRAY_SIZE(types))]);
	if (lab_random_below(4))
		frame->data[FRAME_L3] = frame_is_ipv6(frame) ? 0x60 : 0x45;
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
	frame_build(&spec, frame);
}

/* One wound. Most are in the headers, where they hurt. */
static void mutilate(struct frame *frame)
{
	size_t reach = lab_random_below(4) ? 74 : frame->len;
	size_t at = lab_random_below((uint32_t)(reach < frame->len ? reach : frame->len));

	switch (lab_random_below(6)) {
	case 0:
		frame->data[at] ^= (uint8_t)(1U << lab_random_below(8));
		break;
	case 1:
		frame->data[at] = (uint8_t)lab_random();
		break;
	case 2: /* values at the edge */
		frame->data[at] = lab_random_below(2) ? 0xff : 0;
		break;
	case 3: /* lengths */
		at = FRAME_L3 + (frame_is_ipv6(frame) ? 4 : 2);
		frame_put16(frame, at,
			    (uint16_t)(frame_get16(frame, at) + lab_random_below(80) - 40));
		break;
	case 4:
		if (frame->len > 80)
			frame->len -= lab_random_below((uint32_t)frame->len - 60);
		break;
	default: /* the MAC address, so that its check is met often enough */
		frame->data[lab_random_below(6)] ^= (uint8_t)(1U << lab_random_below(8));
		break;
	}
}

static void build_mutilated(struct frame *frame)
{
	unsigned int wounds = 1 + lab_random_below(3);

	build_valid(some_flow(), frame);
	while (wounds--)
		mutilate(frame);
	/* A right header checksum lets the frame get further. */
	if (lab_random_below(3))
		frame_fix_ip_checksum(frame);
}

/* ---- Runs -------------------------------------------------------------------- */

/* Without the model: what is always true of a frame that was forwarded. */
static bool sound(const struct frame *in, const struct frame *out)
{
	size_t check = frame_l4_check(out);
	bool ok = frame_ip_checksum_ok(out) &&
		  frame_l4_checksum_ok(in) == frame_l4_checksum_ok(out);

	if (frame_protocol(in) == IPPROTO_UDP)
		ok = ok && !frame_get16(in, check) == !frame_get16(out, check);
	return ok && out->len == FRAME_L3 + frame_l3_len(out);
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

static bool run_one(const struct model *model, enum lab_hook hook, const struct frame *in)
{
	struct lab_arrival arrival = { .ingress = lab.side[WAN].ifindex };
	static struct expectation expected;
	static struct lab_outcome outcome;
	bool ok;

	/* Frames of either direction come in by the port that is theirs, but for a few. */
	if (!memcmp(in->data, lab.side[LAN].mac, 6) == !!lab_random_below(32))
		arrival.ingress = lab.side[LAN].ifindex;
	if (hook == LAB_TC && !lab_random_below(16))
		arrival.gso_size = 500 + lab_random_below(1000);
	model_walk(model, hook, &arrival, in, &expected);
	ok = check_run(&lab, hook, &arrival, in, &expected, &outcome);
	if (ok && expected.exit == NO_EXIT)
		ok = sound(in, &outcome.frame);
	if (expected.exit == EXIT_TCP_CONTROL && expected.hit)
		reopen(expected.hit);
	taken[expected.exit == NO_EXIT ? EXIT_REASONS : expected.exit]++;
	if (!ok)
		dump(in);
	return ok;
}

static void run_many(const struct model *model, enum lab_hook hook, unsigned int frames,
		     void (*build)(struct frame *frame), const char *what)
{
	static struct frame in;
	unsigned int i;

	for (i = 0; i < frames; i++) {
		if (!(i % 1024)) {
			lab_heartbeat(&lab);
			lab_forget_signals(&lab);
		}
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
				      EXIT_MTU,       EXIT_BLACKHOLE };
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
	tap(ok, "%s: they went every way there is", lab_hook_names[hook]);
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
