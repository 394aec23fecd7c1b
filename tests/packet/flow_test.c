/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the entry of a flow decides and what it counts: forward, pass, drop, a stale
 * heartbeat, an egress device that is gone, packets and bytes, how far TCP has come.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bpfw.skel.h"
#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

enum base {
	TCP4,
	UDP4,
	TCP6,
	UDP6,
	BASES,
};

static const char *const base_names[BASES] = { "TCP/IPv4", "UDP/IPv4", "TCP/IPv6", "UDP/IPv6" };

static struct lab lab;
static struct lab_flow flows[BASES];
static struct lab_outcome outcome;

static void make_flows(void)
{
	flows[TCP4].from = lab_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flows[TCP4].to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	flows[UDP4].from = lab_tuple(IPPROTO_UDP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flows[UDP4].to = flows[UDP4].from;
	flows[TCP6].from = lab_tuple(IPPROTO_TCP, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	flows[TCP6].to = flows[TCP6].from;
	flows[UDP6].from = lab_tuple(IPPROTO_UDP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	flows[UDP6].to = lab_tuple(IPPROTO_UDP, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	for (size_t i = 0; i < BASES; i++) {
		flows[i].ingress = LAN;
		flows[i].egress = WAN;
		flows[i].mtu = 1500;
	}
}

/* Run a frame of the flow that leaves by `exit`, or is forwarded. */
static bool run(enum lab_hook hook, const struct lab_flow *flow, const struct frame *in, int exit)
{
	static struct expectation expected;

	expected.exit = exit;
	expected.verdict = exit == NO_EXIT        ? VERDICT_REDIRECT :
			   exit == EXIT_BLACKHOLE ? VERDICT_DROP :
						    VERDICT_PASS;
	expected.frame = *in;
	if (exit == NO_EXIT)
		model_forward(&lab, flow, in, &expected.frame);
	return check_run(&lab, hook, NULL, in, &expected, &outcome);
}

static bool run_plain(enum lab_hook hook, const struct lab_flow *flow, int exit)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);
	static struct frame in;

	frame_build(&spec, &in);
	return run(hook, flow, &in, exit);
}

static bool unchanged(const struct bpfw_action *before, const struct lab_flow *flow)
{
	struct bpfw_action after = lab_action(&lab, flow);

	return !memcmp(before, &after, sizeof(after));
}

/* A flow with this verdict, as the daemon would have written it some time ago. */
static struct bpfw_action install(const struct lab_flow *flow, uint8_t verdict)
{
	struct lab_flow with = *flow;
	struct bpfw_action action;

	with.verdict = verdict;
	lab_heartbeat(&lab);
	lab_install(&lab, &with);
	action = lab_action(&lab, flow);
	action.last_seen -= 100;
	lab_set_action(&lab, flow, &action);
	return action;
}

/* ---- Verdicts ---------------------------------------------------------------- */

static void test_pass(enum lab_hook hook, enum base base)
{
	struct bpfw_action before = install(&flows[base], FLOW_PASS);
	bool ok = run_plain(hook, &flows[base], EXIT_FLOW_PASS);

	tap(ok && unchanged(&before, &flows[base]),
	    "%s: %s: a flow under review is passed, and its entry left alone", lab_hook_names[hook],
	    base_names[base]);
}

static void test_drop(enum lab_hook hook, enum base base)
{
	struct frame_spec spec = lab_frame_spec(&lab, &flows[base]);
	struct bpfw_action after;
	struct frame in;
	bool ok;

	install(&flows[base], FLOW_DROP);
	ok = run_plain(hook, &flows[base], EXIT_BLACKHOLE);
	after = lab_action(&lab, &flows[base]);
	tap(ok && after.packets == 1, "%s: %s: a blackhole drops, and counts", lab_hook_names[hook],
	    base_names[base]);

	frame_build(&spec, &in);
	in.data[5] ^= 0x55;
	ok = run(hook, &flows[base], &in, EXIT_OTHER_MAC);
	after = lab_action(&lab, &flows[base]);
	tap(ok && after.packets == 1, "%s: %s: but not what is for another MAC",
	    lab_hook_names[hook], base_names[base]);
}

/* The last moment at which a hung daemon's cache is used, give or take what a test may. */
static void test_validity(enum lab_hook hook, enum base base)
{
	uint64_t now = clock_ms();
	uint32_t valid, jiffies;

	install(&flows[base], FLOW_FORWARD);
	datapath_heartbeat(&lab.datapath, now);
	valid = (uint32_t)lab.datapath.skeleton->bss->valid_until;
	jiffies = (uint32_t)clock_to_jiffies(&lab.datapath.clock, now + HEARTBEAT_VALID_MS);
	tap(valid == jiffies && run_plain(hook, &flows[base], NO_EXIT),
	    "%s: %s: a heartbeat is good for %u ms", lab_hook_names[hook], base_names[base],
	    HEARTBEAT_VALID_MS);
}

static void test_heartbeat(enum lab_hook hook, enum base base)
{
	struct bpfw_action before = install(&flows[base], FLOW_FORWARD);
	bool ok;

	lab_expire_heartbeat(&lab);
	ok = run_plain(hook, &flows[base], EXIT_STALE) && unchanged(&before, &flows[base]);
	tap(ok, "%s: %s: nothing is forwarded once the heartbeat is stale", lab_hook_names[hook],
	    base_names[base]);

	install(&flows[base], FLOW_DROP);
	lab_expire_heartbeat(&lab);
	tap(run_plain(hook, &flows[base], EXIT_STALE), "%s: %s: nor dropped", lab_hook_names[hook],
	    base_names[base]);

	install(&flows[base], FLOW_FORWARD);
	tap(run_plain(hook, &flows[base], NO_EXIT), "%s: %s: the next heartbeat ends it",
	    lab_hook_names[hook], base_names[base]);
}

/* No candidate is counted while the daemon does not answer: it would be signalled late. */
static void test_stale_miss(enum lab_hook hook, enum base base)
{
	bool ok = true;

	lab_remove(&lab, &flows[base]);
	lab_forget_signals(&lab);
	lab_expire_heartbeat(&lab);
	for (int i = 0; i < 10; i++)
		ok = run_plain(hook, &flows[base], EXIT_STALE) && ok;
	tap(ok && lab_read_signals(&lab) == 0, "%s: %s: no signals while it is stale",
	    lab_hook_names[hook], base_names[base]);
}

/* ---- Egress ------------------------------------------------------------------ */

/* XDP finds no way out: as if the packet had never been looked at, padding and all. */
static void test_no_egress(enum lab_hook hook, enum base base, uint32_t egress, const char *why)
{
	struct bpfw_action action = install(&flows[base], FLOW_FORWARD);
	struct frame_spec spec = lab_frame_spec(&lab, &flows[base]);
	static struct frame in;

	action.egress = egress;
	lab_set_action(&lab, &flows[base], &action);
	frame_build(&spec, &in);
	tap(run(hook, &flows[base], &in, EXIT_NO_EGRESS), "%s: %s: passed, the egress %s",
	    lab_hook_names[hook], base_names[base], why);
	spec.padding = 20;
	frame_build(&spec, &in);
	tap(run(hook, &flows[base], &in, EXIT_NO_EGRESS), "%s: %s: with its padding, the egress %s",
	    lab_hook_names[hook], base_names[base], why);
}

static void test_deleted_egress(void)
{
	uint32_t gone = lab.elsewhere;

	for (enum base base = 0; base < BASES; base++)
		test_no_egress(LAB_XDP, base, gone, "is not known to XDP");
	if (datapath_add_egress(&lab.datapath, gone))
		tap_bail_out("cannot add an egress");
	lab_delete_elsewhere(&lab);
	for (enum base base = 0; base < BASES; base++)
		test_no_egress(LAB_XDP, base, gone, "was deleted");
}

/* ---- Counting ---------------------------------------------------------------- */

static bool tracked(const struct bpfw_action *action, const struct frame_spec *spec)
{
	int32_t age = (int32_t)(lab_jiffies(&lab) - action->last_seen);

	/* Half a minute is generous to a loaded machine and still no other packet's time. */
	if (age < -(int32_t)lab.datapath.clock.hz || age > 30 * (int32_t)lab.datapath.clock.hz)
		return false;
	if (spec->tuple.protocol == IPPROTO_UDP)
		return !action->seq_end && !action->ack && !action->window;
	return action->seq_end == spec->seq + spec->payload && action->ack == spec->ack &&
	       action->window == spec->window;
}

static void test_counting(enum lab_hook hook, enum base base)
{
	struct bpfw_action before = install(&flows[base], FLOW_FORWARD), after;
	size_t header = (base == TCP4 || base == UDP4 ? 20U : 40U) +
			(flows[base].from.protocol == IPPROTO_TCP ? 20U : 8U);
	uint64_t bytes = 0;
	struct frame in;
	bool ok = true;

	for (unsigned int i = 1; i <= 50; i++) {
		struct frame_spec spec = lab_frame_spec(&lab, &flows[base]);

		spec.payload = (uint16_t)(i * 23);
		spec.padding = (uint16_t)(i % 3); /* is not the packet's */
		spec.seq = 0xfffffff0U + i;       /* wraps */
		spec.ack = 77 * i;
		spec.window = (uint16_t)(1000 + i);
		frame_build(&spec, &in);
		bytes += header + spec.payload;
		ok = run(hook, &flows[base], &in, NO_EXIT) && ok;
		after = lab_action(&lab, &flows[base]);
		ok = ok && after.packets == i && after.bytes == bytes && tracked(&after, &spec) &&
		     after.last_seen != before.last_seen;
	}
	tap(ok, "%s: %s: packets, bytes, last packet and TCP's progress", lab_hook_names[hook],
	    base_names[base]);
	/* What the daemon writes stays: the first bytes of the action, up to the ports. */
	tap(!memcmp(&before, &after, offsetof(struct bpfw_action, last_seen)),
	    "%s: %s: nothing else in the entry changes", lab_hook_names[hook], base_names[base]);
}

/* Left to the stack for its length, the packet still is the last of its flow. */
static void test_tracking(enum lab_hook hook, enum base base)
{
	struct bpfw_action before = install(&flows[base], FLOW_FORWARD), after;
	struct frame_spec spec = lab_frame_spec(&lab, &flows[base]);
	struct frame in;
	bool ok;

	spec.payload = 1480;
	frame_build(&spec, &in);
	ok = run(hook, &flows[base], &in, EXIT_MTU);
	after = lab_action(&lab, &flows[base]);
	tap(ok && !after.packets && !after.bytes && after.flags & FLOW_TRACKED &&
		    tracked(&after, &spec) && after.last_seen != before.last_seen,
	    "%s: %s: longer than the MTU: not counted, but followed", lab_hook_names[hook],
	    base_names[base]);
}

/* Whoever cannot address the flow must not move what it knows. */
static void test_not_tracked(enum lab_hook hook, enum base base)
{
	struct bpfw_action before = install(&flows[base], FLOW_FORWARD);
	struct frame_spec spec = lab_frame_spec(&lab, &flows[base]);
	struct frame in;
	bool ok;

	frame_build(&spec, &in);
	in.data[5] ^= 0x55;
	ok = run(hook, &flows[base], &in, EXIT_OTHER_MAC);
	tap(ok && unchanged(&before, &flows[base]), "%s: %s: a frame for another MAC is no news",
	    lab_hook_names[hook], base_names[base]);
	if (frame_is_ipv6(&in))
		return;
	frame_build(&spec, &in);
	frame_put16(&in, FRAME_L3 + 10, 0xbad0);
	ok = run(hook, &flows[base], &in, EXIT_IP_CHECKSUM);
	tap(ok && unchanged(&before, &flows[base]),
	    "%s: %s: nor is one with a wrong header checksum", lab_hook_names[hook],
	    base_names[base]);
}

static void test_flow(enum lab_hook hook, enum base base)
{
	test_pass(hook, base);
	test_drop(hook, base);
	test_validity(hook, base);
	test_heartbeat(hook, base);
	test_stale_miss(hook, base);
	test_counting(hook, base);
	test_tracking(hook, base);
	test_not_tracked(hook, base);
}

int main(void)
{
	lab_open(&lab, false);
	make_flows();
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++)
		for (enum base base = 0; base < BASES; base++)
			test_flow(hook, base);
	test_deleted_egress();
	lab_close(&lab);
	return tap_end();
}
