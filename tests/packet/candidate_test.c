/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Misses: which packet of a tuple the daemon is told of, how the signals thin out, and
 * that neither a flood of tuples nor a full ring buffer leaves anything behind.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bpfw.skel.h"
#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

#define FLOOD 200000

static struct lab lab;
static struct lab_outcome outcome;

static struct lab_flow make_flow(uint8_t protocol, bool ipv6)
{
	struct lab_flow flow = { .egress = WAN, .mtu = 1500 };

	if (ipv6)
		flow.from = lab_tuple(protocol, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	else
		flow.from = lab_tuple(protocol, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow.to = flow.from;
	return flow;
}

static const char *name_of(const struct lab_flow *flow)
{
	bool tcp = flow->from.protocol == IPPROTO_TCP;

	if (flow->from.family == AF_INET)
		return tcp ? "TCP/IPv4" : "UDP/IPv4";
	return tcp ? "TCP/IPv6" : "UDP/IPv6";
}

/* A packet of no flow: passed as it came. Returns false if anything else becomes of it. */
static bool miss(enum lab_hook hook, const struct frame_spec *spec)
{
	static struct expectation expected;

	frame_build(spec, &expected.frame);
	expected.exit = EXIT_MISS;
	expected.verdict = VERDICT_PASS;
	return check_run(&lab, hook, NULL, &expected.frame, &expected, &outcome);
}

static struct bpfw_candidate *find_candidate(const struct tuple *tuple)
{
	uint64_t hash = datapath_hash(&lab.datapath, tuple);
	struct bpfw_candidate_set *set =
		&lab.datapath.candidates[(uint32_t)hash & lab.datapath.candidate_mask];

	for (size_t i = 0; i < CANDIDATE_WAYS; i++)
		if (set->way[i].tag == candidate_tag(hash))
			return &set->way[i];
	return NULL;
}

static struct frame_spec start(const struct lab_flow *flow)
{
	lab_heartbeat(&lab);
	lab_forget_candidates(&lab);
	lab_forget_signals(&lab);
	return lab_frame_spec(&lab, flow);
}

/* ---- The first signal -------------------------------------------------------- */

static bool signal_is(const struct bpfw_signal *signal, const struct lab_flow *flow,
		      const struct frame_spec *spec)
{
	struct segment segment = lab_segment(&lab, flow);
	struct bpfw_flow4_key key4 = tuple_to_key4(&flow->from, &segment);
	struct bpfw_flow6_key key6 = tuple_to_key6(&flow->from, &segment);
	bool tcp = flow->from.protocol == IPPROTO_TCP;

	if (signal->kind != SIGNAL_CANDIDATE || signal->family != flow->from.family ||
	    signal->verdict != CONTROL_ASK)
		return false;
	if (tcp && (signal->tcp_flags != spec->tcp_flags || signal->ack != spec->ack ||
		    signal->seq != spec->seq + spec->payload || signal->window != spec->window))
		return false;
	return flow->from.family == AF_INET ? !memcmp(&signal->key.v4, &key4, sizeof(key4)) :
					      !memcmp(&signal->key.v6, &key6, sizeof(key6));
}

static void test_threshold(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	unsigned int threshold = lab.datapath.skeleton->rodata->candidate_threshold;
	bool ok = threshold == 3;

	for (unsigned int i = 1; i <= threshold; i++) {
		spec.seq += 100;
		spec.ack += 10;
		ok = miss(hook, &spec) && ok;
		ok = lab_read_signals(&lab) == (i == threshold) && ok;
		ok = outcome.exits[EXIT_SIGNAL] == (i == threshold) && ok;
	}
	ok = signal_is(&lab.signal[0], flow, &spec) && ok;
	tap(ok, "%s: %s: the third packet is signalled, with its key and where TCP is",
	    lab_hook_names[hook], name_of(flow));
}

/* Short exchanges (DNS, scans) never reach the daemon. */
static void test_other_tuples(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	bool ok = true;

	for (uint16_t i = 0; i < 50; i++) {
		spec.tuple.sport = htons((uint16_t)(30000 + i));
		ok = miss(hook, &spec) && miss(hook, &spec) && ok;
	}
	tap(ok && !lab_read_signals(&lab), "%s: %s: two packets of a tuple are not signalled",
	    lab_hook_names[hook], name_of(flow));
}

/* What is no candidate is not counted as one. */
static void test_not_counted(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	struct frame in;

	frame_build(&spec, &in);
	in.data[5] ^= 0x55;
	for (int i = 0; i < 10; i++)
		lab_run(&lab, hook, NULL, &in, &outcome);
	tap(!find_candidate(&flow->from) && !lab_read_signals(&lab),
	    "%s: %s: a frame for another MAC is no candidate", lab_hook_names[hook], name_of(flow));

	spec.ttl = 1;
	frame_build(&spec, &in);
	for (int i = 0; i < 10; i++)
		lab_run(&lab, hook, NULL, &in, &outcome);
	tap(!find_candidate(&flow->from) && !lab_read_signals(&lab),
	    "%s: %s: nor is one that cannot be forwarded", lab_hook_names[hook], name_of(flow));

	spec.ttl = 64;
	if (datapath_clear_port(&lab.datapath, lab.side[LAN].ifindex))
		tap_bail_out("cannot clear a port");
	frame_build(&spec, &in);
	for (int i = 0; i < 10; i++)
		lab_run(&lab, hook, NULL, &in, &outcome);
	lab_set_port(&lab, LAN);
	tap(!find_candidate(&flow->from) && lab_only_exit(&outcome) == EXIT_OTHER_MAC,
	    "%s: %s: nor one of a port that was taken off", lab_hook_names[hook], name_of(flow));
}

/* ---- Back-off ---------------------------------------------------------------- */

/* Time is made to pass by setting back the moment of the next signal. */
static void test_backoff(enum lab_hook hook, const struct lab_flow *flow)
{
	uint32_t limit = lab.datapath.skeleton->rodata->backoff_limit;
	struct frame_spec spec = start(flow);
	struct bpfw_candidate *candidate;
	bool ok = true;

	for (int i = 0; i < 3; i++)
		ok = miss(hook, &spec) && ok;
	candidate = find_candidate(&flow->from);
	for (uint32_t attempt = 0; candidate && ok && attempt < limit + 3; attempt++) {
		uint32_t wait = 1U << (attempt < limit ? attempt : limit);

		ok = lab_read_signals(&lab) == attempt + 1 && candidate->attempts == attempt + 1 &&
		     candidate->next - candidate->last == wait;
		if (!ok)
			tap_note("signal %u: wait %u instead of %u", attempt,
				 candidate->next - candidate->last, wait);
		candidate->next = candidate->last + 1000;
		ok = miss(hook, &spec) && lab_read_signals(&lab) == attempt + 1 && ok;
		candidate->next = candidate->last;
		ok = miss(hook, &spec) && ok;
	}
	tap(ok && candidate, "%s: %s: each signal waits twice as long, 2^%u ticks at most",
	    lab_hook_names[hook], name_of(flow), limit);
}

/* The daemon's side of it, in the same memory. */
static void test_daemon(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	struct bpfw_candidate *candidate;
	bool ok;

	datapath_arm_candidate(&lab.datapath, &flow->from);
	ok = miss(hook, &spec) && lab_read_signals(&lab) == 1;
	tap(ok, "%s: %s: an armed tuple is signalled at its next packet", lab_hook_names[hook],
	    name_of(flow));

	start(flow);
	datapath_arm_candidate(&lab.datapath, &flow->from);
	datapath_defer_candidate(&lab.datapath, &flow->from);
	for (int i = 0; i < 10; i++)
		ok = miss(hook, &spec) && ok;
	tap(ok && lab_read_signals(&lab) == 0, "%s: %s: one that is put off is not",
	    lab_hook_names[hook], name_of(flow));

	datapath_undefer_candidates(&lab.datapath);
	candidate = find_candidate(&flow->from);
	if (candidate)
		candidate->next -= 2; /* the clocks may differ by a tick */
	ok = candidate && miss(hook, &spec) && lab_read_signals(&lab) == 1;
	tap(ok, "%s: %s: until all are let through again", lab_hook_names[hook], name_of(flow));
}

/* ---- The table ---------------------------------------------------------------- */

/* Another tuple whose candidate lies in the same set. */
static struct tuple same_set(const struct tuple *tuple, unsigned int *next)
{
	uint64_t hash = datapath_hash(&lab.datapath, tuple), mask = lab.datapath.candidate_mask;
	struct tuple other = *tuple;

	for (;;) {
		++*next;
		other.sport = htons((uint16_t)*next);
		other.dport = htons((uint16_t)(*next >> 16));
		if ((datapath_hash(&lab.datapath, &other) & mask) == (hash & mask))
			return other;
	}
}

/* A set that is full gives up the tuple that was silent for longest. */
static void test_eviction(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	struct tuple tuple[CANDIDATE_WAYS + 1];
	unsigned int next = 1;
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(tuple); i++) {
		spec.tuple = tuple[i] = same_set(&flow->from, &next);
		if (i == CANDIDATE_WAYS)
			break;
		ok = miss(hook, &spec) && find_candidate(&tuple[i]) && ok;
		if (ok)
			find_candidate(&tuple[i])->last -= i == 2 ? 100 : 50;
	}
	ok = miss(hook, &spec) && ok;
	for (size_t i = 0; i < ARRAY_SIZE(tuple); i++)
		ok = !find_candidate(&tuple[i]) == (i == 2) && ok;
	tap(ok, "%s: %s: a full set forgets the tuple that was silent for longest",
	    lab_hook_names[hook], name_of(flow));
}

static void randomize(struct tuple *tuple)
{
	tuple->src.word[0] = lab_random();
	tuple->dst.word[0] = lab_random();
	if (tuple->family == AF_INET6) {
		tuple->src.word[0] = (tuple->src.word[0] & ~htonl(0xff000000U)) | htonl(0x20000000);
		tuple->src.word[3] = lab_random();
	}
	tuple->sport = (__be16)lab_random();
	tuple->dport = (__be16)lab_random();
}

static void test_flood(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	bool ok = true;

	for (unsigned int i = 0; i < FLOOD && ok; i++) {
		if (!(i % 64))
			lab_heartbeat(&lab);
		randomize(&spec.tuple);
		ok = miss(hook, &spec);
	}
	tap(ok && lab_read_signals(&lab) == 0, "%s: %s: a flood of %u tuples signals nothing",
	    lab_hook_names[hook], name_of(flow), FLOOD);

	spec = lab_frame_spec(&lab, flow);
	lab_heartbeat(&lab);
	ok = true;
	for (unsigned int i = 1; i <= 3; i++)
		ok = miss(hook, &spec) && lab_read_signals(&lab) == (i == 3) && ok;
	ok = signal_is(&lab.signal[0], flow, &spec) && ok;
	tap(ok, "%s: %s: after it a new tuple is signalled at its third packet",
	    lab_hook_names[hook], name_of(flow));
}

/* ---- The ring buffer --------------------------------------------------------- */

static unsigned int fill_ring(enum lab_hook hook, struct frame_spec *spec)
{
	for (unsigned int i = 1; i < 20000; i++) {
		spec->tuple.sport = htons((uint16_t)i);
		datapath_arm_candidate(&lab.datapath, &spec->tuple);
		find_candidate(&spec->tuple)->next -= 2;
		if (!miss(hook, spec))
			return 0;
		if (outcome.exits[EXIT_SIGNAL_LOST] == 1 && !outcome.exits[EXIT_SIGNAL])
			return i - 1;
		if (outcome.exits[EXIT_SIGNAL] != 1)
			return 0;
	}
	return 0;
}

/* Nobody reads: signals are lost and counted, packets are not. */
static void test_full_ring(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow);
	unsigned int signals = fill_ring(hook, &spec);
	bool ok = signals > 1000;

	ok = lab_read_signals(&lab) == signals && ok;
	tap(ok, "%s: %s: a full ring buffer loses signals, and counts them", lab_hook_names[hook],
	    name_of(flow));
	spec.tuple.sport = htons(65000);
	datapath_arm_candidate(&lab.datapath, &spec.tuple);
	find_candidate(&spec.tuple)->next -= 2;
	ok = miss(hook, &spec) && lab_read_signals(&lab) == signals + 1;
	tap(ok, "%s: %s: once read it takes signals again", lab_hook_names[hook], name_of(flow));
}

/* A genuine RST closes the flow even when the daemon cannot be told. */
static void test_unheard_reset(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = start(flow), reset = spec;
	struct lab_flow reply = lab_opposite(flow);
	struct bpfw_action action;
	struct frame in;
	bool ok;

	lab_install(&lab, flow);
	lab_install(&lab, &reply);
	action = lab_action(&lab, &reply);
	action.flags |= FLOW_TRACKED;
	action.ack = reset.seq;
	action.window = 100;
	lab_set_action(&lab, &reply, &action);
	ok = fill_ring(hook, &spec) > 1000;
	reset.tcp_flags = FLAG_RST;
	frame_build(&reset, &in);
	lab_run(&lab, hook, NULL, &in, &outcome);
	ok = outcome.exits[EXIT_SIGNAL_LOST] == 1 && lab_only_exit(&outcome) == EXIT_TCP_CONTROL &&
	     lab_action(&lab, flow).verdict == FLOW_PASS &&
	     lab_action(&lab, &reply).verdict == FLOW_PASS && ok;
	lab_remove(&lab, flow);
	lab_remove(&lab, &reply);
	lab_forget_signals(&lab);
	tap(ok, "%s: %s: a genuine RST closes the flow although the ring buffer is full",
	    lab_hook_names[hook], name_of(flow));
}

/* A tuple is counted whatever it comes in; the key that is signalled says in what. */
static void test_links(enum lab_hook hook, const struct lab_flow *plain)
{
	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++) {
		struct lab_flow flow = *plain;

		flow.link_in = frame_links[kind];
		tap_note("%s", frame_link_names[kind]);
		test_threshold(hook, &flow);
	}
}

static void test_flow(enum lab_hook hook, const struct lab_flow *flow)
{
	test_threshold(hook, flow);
	test_other_tuples(hook, flow);
	test_not_counted(hook, flow);
	test_backoff(hook, flow);
	test_daemon(hook, flow);
	test_eviction(hook, flow);
	test_links(hook, flow);
}

int main(void)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

	lab_open(&lab, false);
	lab_seed();
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
		for (size_t i = 0; i < 4; i++) {
			struct lab_flow flow = make_flow(protocols[i % 2], i / 2);

			test_flow(hook, &flow);
			if (flow.from.protocol == IPPROTO_TCP) {
				test_full_ring(hook, &flow);
				test_unheard_reset(hook, &flow);
			} else {
				test_flood(hook, &flow);
			}
		}
	}
	lab_close(&lab);
	return tap_end();
}
