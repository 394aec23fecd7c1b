/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a forwarded frame looks like: every kind of NAT for both families and protocols,
 * checksums with their two zeros, TTL and TOS. The expected frame is built from scratch.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

#define FRAMES_PER_NAT 400

struct addresses {
	const char *client, *server, *nat_client, *nat_server;
};

static const struct addresses addresses[] = {
	{ "10.0.1.2", "203.0.113.5", "198.51.100.1", "192.168.77.8" },
	{ "fd00:1::2", "2001:db8:5::5", "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe", "fd00:77::8" },
};

enum nat_part {
	NAT_SRC = 1 << 0,
	NAT_DST = 1 << 1,
	NAT_SPORT = 1 << 2,
	NAT_DPORT = 1 << 3,
	NAT_ALL = 1 << 4,
};

static struct lab lab;

static struct lab_flow make_flow(const struct addresses *with, uint8_t protocol, unsigned int nat)
{
	struct lab_flow flow = {
		.from = lab_tuple(protocol, with->client, 40000, with->server, 443),
		.to = lab_tuple(protocol, nat & NAT_SRC ? with->nat_client : with->client,
				nat & NAT_SPORT ? 65535 : 40000,
				nat & NAT_DST ? with->nat_server : with->server,
				nat & NAT_DPORT ? 8443 : 443),
		.ingress = LAN,
		.egress = WAN,
		.mtu = 1500,
	};

	return flow;
}

static const char *describe(const struct lab_flow *flow, unsigned int nat)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s/%s, %s%s%s%s%s",
		 flow->from.protocol == IPPROTO_TCP ? "TCP" : "UDP",
		 flow->from.family == AF_INET ? "IPv4" : "IPv6", nat ? "NAT of" : "no NAT",
		 nat & NAT_SRC ? " source" : "", nat & NAT_SPORT ? " source-port" : "",
		 nat & NAT_DST ? " destination" : "", nat & NAT_DPORT ? " destination-port" : "");
	return text;
}

/* The spec of the frame that comes out, when `spec` is that of the frame that goes in. */
static struct frame_spec forwarded(const struct frame_spec *spec, const struct lab_flow *flow)
{
	const struct lab_side *egress = &lab.side[flow->egress];
	struct frame_spec out = *spec;

	memcpy(out.dst_mac, egress->peer, 6);
	memcpy(out.src_mac, egress->mac, 6);
	out.tuple = flow->to;
	out.ttl--;
	out.padding = 0;
	return out;
}

static bool check_frames(enum lab_hook hook, const struct frame *in, const struct frame *out)
{
	static struct expectation expected;
	static struct lab_outcome outcome;

	expected.exit = NO_EXIT;
	expected.verdict = VERDICT_REDIRECT;
	expected.frame = *out;
	return check_run(&lab, hook, NULL, in, &expected, &outcome);
}

static bool check_spec(enum lab_hook hook, const struct lab_flow *flow,
		       const struct frame_spec *spec)
{
	const struct frame_spec out_spec = forwarded(spec, flow);
	static struct frame in, out;

	frame_build(spec, &in);
	frame_build(&out_spec, &out);
	return check_frames(hook, &in, &out);
}

static struct frame_spec random_spec(const struct lab_flow *flow)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);

	spec.payload = (uint16_t)lab_random_below(lab_random_below(4) ? 64 : 1400);
	spec.fill = (uint8_t)lab_random();
	spec.ttl = (uint8_t)(2 + lab_random_below(254));
	spec.tos = (uint8_t)lab_random();
	spec.seq = lab_random();
	spec.ack = lab_random();
	spec.window = (uint16_t)lab_random();
	spec.tcp_options = flow->from.protocol == IPPROTO_TCP ? lab_random_below(11) * 4 : 0;
	spec.padding = lab_random_below(4) ? 0 : (uint16_t)lab_random_below(40);
	if (flow->from.protocol == IPPROTO_UDP && !lab_random_below(8))
		spec.checksum = CHECKSUM_ABSENT;
	return spec;
}

static void test_nat(enum lab_hook hook, const struct lab_flow *flow, unsigned int nat)
{
	bool ok = true;

	lab_heartbeat(&lab);
	lab_install(&lab, flow);
	for (int i = 0; i < FRAMES_PER_NAT && ok; i++) {
		struct frame_spec spec = random_spec(flow);

		ok = check_spec(hook, flow, &spec);
	}
	lab_remove(&lab, flow);
	tap(ok, "%s: %s", lab_hook_names[hook], describe(flow, nat));
}

/* ---- Transport checksums with the value 0 ------------------------------------ */

/* Choose the first two bytes of the data so that the frame's checksum comes out as 0. */
static uint16_t zero_word(const struct frame_spec *spec)
{
	size_t header = spec->tuple.protocol == IPPROTO_TCP ? 20 : 8;
	static struct frame frame;

	frame_build(spec, &frame);
	frame_put16(&frame, frame_l4(&frame) + header, 0);
	return frame_l4_checksum(&frame);
}

static void put_word(const struct frame_spec *spec, uint16_t word, struct frame *frame)
{
	size_t header = spec->tuple.protocol == IPPROTO_TCP ? 20 : 8;

	frame_build(spec, frame);
	frame_put16(frame, frame_l4(frame) + header, word);
	frame_fix_l4_checksum(frame);
}

static void test_zero(enum lab_hook hook, const struct lab_flow *flow, unsigned int nat,
		      bool zero_comes_out)
{
	const struct frame_spec in_spec = lab_frame_spec(&lab, flow);
	const struct frame_spec out_spec = forwarded(&in_spec, flow);
	uint16_t word = zero_word(zero_comes_out ? &out_spec : &in_spec);
	uint16_t wanted = flow->from.protocol == IPPROTO_TCP ? 0 : 0xffff;
	static struct frame in, out;
	const struct frame *frame = zero_comes_out ? &out : &in;
	bool ok;

	lab_heartbeat(&lab);
	lab_install(&lab, flow);
	put_word(&in_spec, word, &in);
	put_word(&out_spec, word, &out);
	ok = frame_get16(frame, frame_l4_check(frame)) == wanted;
	if (!ok)
		tap_note("the test's own frame is wrong");
	ok = check_frames(hook, &in, &out) && ok;
	lab_remove(&lab, flow);
	tap(ok, "%s: %s: checksum %04x %s", lab_hook_names[hook], describe(flow, nat), wanted,
	    zero_comes_out ? "comes out" : "goes in");
}

static void test_absent(enum lab_hook hook, const struct lab_flow *flow, unsigned int nat)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	bool ok;

	lab_heartbeat(&lab);
	lab_install(&lab, flow);
	spec.checksum = CHECKSUM_ABSENT;
	ok = check_spec(hook, flow, &spec);
	lab_remove(&lab, flow);
	tap(ok, "%s: %s: no checksum stays none", lab_hook_names[hook], describe(flow, nat));
}

static void test_family(enum lab_hook hook, const struct addresses *with)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		for (unsigned int nat = 0; nat < NAT_ALL; nat++) {
			struct lab_flow flow = make_flow(with, protocols[i], nat);

			test_nat(hook, &flow, nat);
			test_zero(hook, &flow, nat, false);
			test_zero(hook, &flow, nat, true);
			if (protocols[i] == IPPROTO_UDP)
				test_absent(hook, &flow, nat);
		}
	}
}

/* Hairpin: out where it came in, and source and destination change places. */
static void test_exchange(enum lab_hook hook, const struct addresses *with)
{
	struct lab_flow flow = make_flow(with, IPPROTO_UDP, 0);
	bool ok = true;

	flow.egress = LAN;
	flow.to = tuple_inverse(&flow.from);
	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	for (int i = 0; i < 20 && ok; i++) {
		struct frame_spec spec = random_spec(&flow);

		ok = check_spec(hook, &flow, &spec);
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: UDP/%s: source and destination change places, back out of the same port",
	    lab_hook_names[hook], flow.from.family == AF_INET ? "IPv4" : "IPv6");
}

/* ---- The IP header ----------------------------------------------------------- */

static void test_ttl(enum lab_hook hook, const struct addresses *with)
{
	struct lab_flow flow = make_flow(with, IPPROTO_TCP, NAT_SRC | NAT_SPORT);
	bool ok = true;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	for (unsigned int ttl = 2; ttl <= 255 && ok; ttl++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flow);

		spec.ttl = (uint8_t)ttl;
		ok = check_spec(hook, &flow, &spec);
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s 2 to 255", lab_hook_names[hook],
	    flow.from.family == AF_INET ? "TTL" : "hop limit");
}

/* The band that Linux gives a TOS byte: TOS bits 3 and 4 of RFC 1349's four. */
static uint32_t priority_of(uint8_t tos, bool ipv6)
{
	bool low_delay = tos & 0x10, throughput = tos & 0x08;

	if (ipv6)
		return 0;
	if (low_delay)
		return throughput ? 4 : 6;
	return throughput ? 2 : 0;
}

static void test_tos(enum lab_hook hook, const struct addresses *with)
{
	struct lab_flow flow = make_flow(with, IPPROTO_UDP, NAT_SRC);
	bool ipv6 = flow.from.family == AF_INET6;
	static struct lab_outcome outcome;
	static struct frame in;
	bool ok = true;

	lab_heartbeat(&lab);
	lab_install(&lab, &flow);
	for (unsigned int tos = 0; tos <= 255 && ok; tos++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flow);

		spec.tos = (uint8_t)tos;
		ok = check_spec(hook, &flow, &spec);
		if (hook == LAB_XDP)
			continue;
		frame_build(&spec, &in);
		lab_run(&lab, hook, NULL, &in, &outcome);
		if (outcome.priority != priority_of(spec.tos, ipv6))
			ok = false;
		if (!ok)
			tap_note("TOS %02x: priority %u", tos, outcome.priority);
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s 0 to 255 kept%s", lab_hook_names[hook], ipv6 ? "traffic class" : "TOS",
	    hook == LAB_TC ? ", and the skb's priority set as ip_forward() does" : "");
}

/* Every value that the IPv4 header checksum can have, by way of the identification. */
static void test_header_checksum(enum lab_hook hook)
{
	struct lab_flow flow = make_flow(&addresses[0], IPPROTO_UDP, NAT_SRC | NAT_DPORT);
	struct frame_spec spec = lab_frame_spec(&lab, &flow);
	struct frame_spec out_spec = forwarded(&spec, &flow);
	static struct frame in, out;
	bool seen[0x10000] = { false };
	unsigned int values = 0;
	bool ok = true;

	lab_install(&lab, &flow);
	spec.payload = out_spec.payload = 2;
	frame_build(&spec, &in);
	frame_build(&out_spec, &out);
	for (unsigned int id = 0; id <= 0xffff && ok; id++) {
		if (!(id % 64))
			lab_heartbeat(&lab);
		frame_put16(&in, FRAME_L3 + 4, (uint16_t)id);
		frame_put16(&out, FRAME_L3 + 4, (uint16_t)id);
		frame_fix_ip_checksum(&in);
		frame_fix_ip_checksum(&out);
		ok = check_frames(hook, &in, &out);
		values += !seen[frame_get16(&out, FRAME_L3 + 10)];
		seen[frame_get16(&out, FRAME_L3 + 10)] = true;
	}
	lab_remove(&lab, &flow);
	/* 0xffff is the other zero, which the sum of a header never gives. */
	tap(ok && values == 0xffff && seen[0], "%s: every IPv4 header checksum there is",
	    lab_hook_names[hook]);
}

/* Every value that the transport checksum can have, by way of the data. */
static void test_transport_checksum(enum lab_hook hook, const struct addresses *with,
				    uint8_t protocol)
{
	const unsigned int nat = NAT_SRC | NAT_DST | NAT_SPORT | NAT_DPORT;
	struct lab_flow flow = make_flow(with, protocol, nat);
	struct frame_spec spec = lab_frame_spec(&lab, &flow), out_spec;
	static struct frame in, out;
	bool ok = true;

	lab_install(&lab, &flow);
	spec.payload = 2;
	out_spec = forwarded(&spec, &flow);
	for (unsigned int word = 0; word <= 0xffff && ok; word++) {
		if (!(word % 64))
			lab_heartbeat(&lab);
		put_word(&spec, (uint16_t)word, &in);
		put_word(&out_spec, (uint16_t)word, &out);
		ok = check_frames(hook, &in, &out);
	}
	lab_remove(&lab, &flow);
	tap(ok, "%s: %s: every checksum there is", lab_hook_names[hook], describe(&flow, nat));
}

int main(void)
{
	lab_open(&lab, false);
	lab_seed();
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
		for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
			test_family(hook, &addresses[i]);
			test_exchange(hook, &addresses[i]);
			test_ttl(hook, &addresses[i]);
			test_tos(hook, &addresses[i]);
			test_transport_checksum(hook, &addresses[i], IPPROTO_TCP);
			test_transport_checksum(hook, &addresses[i], IPPROTO_UDP);
		}
		test_header_checksum(hook);
	}
	lab_close(&lab);
	return tap_end();
}
