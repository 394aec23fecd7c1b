/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * XDP does not see whether a checksum was left to hardware: frames whose checksum is the
 * pseudo header's sum take the stack where the device may hand such frames over (veth).
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

static struct lab lab;

static bool run(enum lab_hook hook, const struct lab_flow *flow, const struct frame *in, int exit)
{
	static struct expectation expected;
	static struct lab_outcome outcome;

	expected.exit = exit;
	expected.verdict = exit == NO_EXIT ? VERDICT_REDIRECT : VERDICT_PASS;
	expected.frame = *in;
	if (exit == NO_EXIT)
		model_forward(&lab, flow, in, &expected.frame);
	return check_run(&lab, hook, NULL, in, &expected, &outcome);
}

/* A whole checksum that happens to be the pseudo header's sum: one in 65535. */
static void build_lookalike(const struct frame_spec *spec, struct frame *frame)
{
	uint16_t pseudo, sum;
	size_t data;

	frame_build(spec, frame);
	data = frame_l4(frame) + (spec->tuple.protocol == IPPROTO_TCP ? 20 : 8);
	frame_put16(frame, data, 0);
	pseudo = frame_pseudo_sum(frame);
	sum = (uint16_t)~frame_l4_checksum(frame);
	/* sum + word is to be ~pseudo */
	frame_put16(frame, data, ones_add((uint16_t)~pseudo, (uint16_t)~sum));
	frame_fix_l4_checksum(frame);
}

static void test_flow(bool detect, const struct lab_flow *flow)
{
	const char *what = flow->from.protocol == IPPROTO_TCP ? "TCP" : "UDP";
	const char *family = flow->from.family == AF_INET ? "IPv4" : "IPv6";
	const char *mode = detect ? "detecting" : "not detecting";
	int exit = detect ? EXIT_PARTIAL : NO_EXIT;
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	static struct frame in;
	bool ok;

	lab_heartbeat(&lab);
	lab_install(&lab, flow);
	frame_build(&spec, &in);
	tap(run(LAB_XDP, flow, &in, NO_EXIT), "%s: %s/%s: a whole checksum is forwarded", mode,
	    what, family);
	spec.checksum = CHECKSUM_PSEUDO;
	frame_build(&spec, &in);
	tap(run(LAB_XDP, flow, &in, exit), "%s: %s/%s: the pseudo header's sum is %s", mode, what,
	    family, detect ? "passed" : "forwarded");
	tap(run(LAB_TC, flow, &in, NO_EXIT), "%s: %s/%s: at TC the skb tells", mode, what, family);
	spec.padding = 14;
	frame_build(&spec, &in);
	tap(run(LAB_XDP, flow, &in, exit), "%s: %s/%s: the same with padding", mode, what, family);
	spec.checksum = CHECKSUM_WHOLE;
	spec.padding = 0;
	build_lookalike(&spec, &in);
	ok = frame_l4_checksum_ok(&in) &&
	     frame_get16(&in, frame_l4_check(&in)) == frame_pseudo_sum(&in);
	tap(run(LAB_XDP, flow, &in, exit) && ok, "%s: %s/%s: a whole checksum that looks the same",
	    mode, what, family);
	lab_remove(&lab, flow);
}

static void test_mode(bool detect)
{
	struct lab_flow flow[4] = { 0 };

	lab_open(&lab, detect);
	flow[0].from = lab_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow[0].to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	flow[1].from = lab_tuple(IPPROTO_UDP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow[1].to = lab_tuple(IPPROTO_UDP, "10.0.1.2", 40000, "10.9.9.9", 443);
	flow[2].from = lab_tuple(IPPROTO_TCP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	flow[2].to = lab_tuple(IPPROTO_TCP, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	flow[3].from = lab_tuple(IPPROTO_UDP, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	flow[3].to = flow[3].from;
	for (size_t i = 0; i < ARRAY_SIZE(flow); i++) {
		flow[i].egress = WAN;
		flow[i].mtu = 1500;
		test_flow(detect, &flow[i]);
	}
	lab_close(&lab);
}

int main(void)
{
	test_mode(true);
	test_mode(false);
	return tap_end();
}
