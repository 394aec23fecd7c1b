/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP segments with SYN, FIN or RST of an offloaded flow: always passed as they came, and
 * judged by what the fast path saw of both directions. The daemon hears what it was.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

static struct lab lab;

/* How the two directions stand before the segment comes. All numbers may wrap. */
struct standing {
	uint32_t acknowledged; /* by the receiver of the segment */
	uint32_t sent;         /* what follows the sender's last data */
	uint16_t window;       /* of the receiver, unscaled ... */
	uint8_t wscale;        /* ... and its scale */
};

struct control_case {
	const char *name;
	struct standing standing;
	uint32_t seq;
	uint8_t flags;
	uint16_t payload;
	int verdict; /* enum control_verdict */
};

#define IDLE                                                                   \
	{                                                                      \
		.acknowledged = 5000, .sent = 5000, .window = 100, .wscale = 3 \
	}
#define IN_FLIGHT                                                              \
	{                                                                      \
		.acknowledged = 5000, .sent = 5600, .window = 100, .wscale = 3 \
	}
#define BEYOND                                                                 \
	{                                                                      \
		.acknowledged = 5000, .sent = 5801, .window = 100, .wscale = 3 \
	}
#define FULL                                                                   \
	{                                                                      \
		.acknowledged = 5000, .sent = 5800, .window = 100, .wscale = 3 \
	}
#define CLOSED                                                               \
	{                                                                    \
		.acknowledged = 5000, .sent = 5000, .window = 0, .wscale = 7 \
	}
#define WRAPS                                                                                 \
	{                                                                                     \
		.acknowledged = 0xffffff00, .sent = 0x00000100, .window = 65535, .wscale = 14 \
	}

#define CASE(name_, standing_, seq_, flags_, verdict_)                                    \
	{                                                                                 \
		.name = (name_), .standing = standing_, .seq = (seq_), .flags = (flags_), \
		.verdict = (verdict_)                                                     \
	}

static const struct control_case cases[] = {
	CASE("RST at what was acknowledged", IDLE, 5000, FLAG_RST, CONTROL_GENUINE),
	CASE("RST ACK at what was acknowledged", IDLE, 5000, FLAG_RST | FLAG_ACK, CONTROL_GENUINE),
	CASE("RST one below", IDLE, 4999, FLAG_RST, CONTROL_FORGED),
	CASE("RST one above", IDLE, 5001, FLAG_RST, CONTROL_FORGED),
	CASE("RST in the middle of the window", IDLE, 5400, FLAG_RST, CONTROL_FORGED),
	CASE("RST ACK in the middle of the window", IDLE, 5400, FLAG_RST | FLAG_ACK,
	     CONTROL_FORGED),
	CASE("RST at 0", IDLE, 0, FLAG_RST, CONTROL_FORGED),
	CASE("RST on the other side of the numbers", IDLE, 5000 + 0x80000000U, FLAG_RST,
	     CONTROL_FORGED),
	CASE("RST behind data that is on its way", IN_FLIGHT, 5600, FLAG_RST, CONTROL_GENUINE),
	CASE("RST before data that is on its way", IN_FLIGHT, 5000, FLAG_RST, CONTROL_GENUINE),
	CASE("RST within data that is on its way", IN_FLIGHT, 5300, FLAG_RST, CONTROL_FORGED),
	CASE("RST behind data that fills the window", FULL, 5800, FLAG_RST, CONTROL_GENUINE),
	CASE("RST behind data beyond the window", BEYOND, 5801, FLAG_RST, CONTROL_FORGED),
	CASE("RST on a closed window", CLOSED, 5000, FLAG_RST, CONTROL_GENUINE),
	CASE("RST above a closed window", CLOSED, 5001, FLAG_RST, CONTROL_FORGED),
	CASE("RST behind data, numbers wrap", WRAPS, 0x100, FLAG_RST, CONTROL_GENUINE),
	CASE("RST elsewhere, numbers wrap", WRAPS, 0, FLAG_RST, CONTROL_FORGED),

	CASE("FIN next in order", IDLE, 5000, FLAG_FIN | FLAG_ACK, CONTROL_GENUINE),
	CASE("FIN without ACK", IDLE, 5000, FLAG_FIN, CONTROL_GENUINE),
	CASE("FIN one below", IDLE, 4999, FLAG_FIN | FLAG_ACK, CONTROL_GENUINE),
	CASE("FIN two below", IDLE, 4998, FLAG_FIN | FLAG_ACK, CONTROL_FORGED),
	CASE("FIN at the window's end", IDLE, 5800, FLAG_FIN | FLAG_ACK, CONTROL_GENUINE),
	CASE("FIN one behind it", IDLE, 5801, FLAG_FIN | FLAG_ACK, CONTROL_GENUINE),
	CASE("FIN two behind it", IDLE, 5802, FLAG_FIN | FLAG_ACK, CONTROL_FORGED),
	CASE("FIN far away", IDLE, 0x70000000, FLAG_FIN | FLAG_ACK, CONTROL_FORGED),
	CASE("FIN on a closed window", CLOSED, 5000, FLAG_FIN | FLAG_ACK, CONTROL_GENUINE),
	CASE("FIN two above a closed window", CLOSED, 5002, FLAG_FIN | FLAG_ACK, CONTROL_FORGED),
	CASE("FIN, the largest window, numbers wrap", WRAPS, 0x3fffbf00, FLAG_FIN | FLAG_ACK,
	     CONTROL_GENUINE),
	CASE("FIN two behind the largest window", WRAPS, 0x3fffbf02, FLAG_FIN | FLAG_ACK,
	     CONTROL_FORGED),
	CASE("FIN two below, numbers wrap", WRAPS, 0xfffffefe, FLAG_FIN | FLAG_ACK, CONTROL_FORGED),

	CASE("SYN in the window", IDLE, 5000, FLAG_SYN, CONTROL_ASK),
	CASE("SYN far away", IDLE, 0x70000000, FLAG_SYN, CONTROL_ASK),
	CASE("SYN ACK", IDLE, 5000, FLAG_SYN | FLAG_ACK, CONTROL_ASK),
	CASE("SYN FIN", IDLE, 5000, FLAG_SYN | FLAG_FIN, CONTROL_ASK),
	CASE("SYN RST", IDLE, 5000, FLAG_SYN | FLAG_RST, CONTROL_ASK),
};

static const struct control_case with_data[] = {
	{ "RST with data, by its own number", IN_FLIGHT, 5600, FLAG_RST, 40, CONTROL_GENUINE },
	{ "RST whose data ends in order", IN_FLIGHT, 5560, FLAG_RST, 40, CONTROL_FORGED },
	{ "FIN with data", IDLE, 5000, FLAG_FIN | FLAG_ACK, 300, CONTROL_GENUINE },
	{ "FIN whose data ends in the window", IDLE, 4900, FLAG_FIN | FLAG_ACK, 101,
	  CONTROL_FORGED },
};

/* ---- Setting the scene ------------------------------------------------------- */

static bool forwarded(enum lab_hook hook, const struct lab_flow *flow,
		      const struct frame_spec *spec)
{
	const struct lab_arrival arrival = { .ingress = lab.side[flow->ingress].ifindex };
	static struct lab_outcome outcome;
	static struct frame in;

	frame_build(spec, &in);
	lab_run(&lab, hook, &arrival, &in, &outcome);
	return !outcome.err && outcome.verdict == VERDICT_REDIRECT;
}

/* Both directions installed, and one packet of each through the program under test. */
static bool arrange(enum lab_hook hook, const struct lab_flow *flow, const struct standing *at)
{
	struct lab_flow reply = lab_opposite(flow);
	struct frame_spec spec;
	bool ok;

	reply.wscale = at->wscale;
	lab_heartbeat(&lab);
	lab_install(&lab, flow);
	lab_install(&lab, &reply);
	spec = lab_frame_spec(&lab, flow);
	spec.payload = 20;
	spec.seq = at->sent - 20;
	ok = forwarded(hook, flow, &spec);
	spec = lab_frame_spec(&lab, &reply);
	spec.ack = at->acknowledged;
	spec.window = at->window;
	ok = forwarded(hook, &reply, &spec) && ok;
	lab_forget_signals(&lab);
	/* What was signalled earlier must not hold back what comes now. */
	lab_forget_candidates(&lab);
	if (!ok)
		tap_note("the flow's data is not forwarded");
	return ok;
}

static void clear(const struct lab_flow *flow)
{
	struct lab_flow reply = lab_opposite(flow);

	lab_remove(&lab, flow);
	lab_remove(&lab, &reply);
}

static bool verdicts_are(const struct lab_flow *flow, uint8_t verdict)
{
	struct lab_flow reply = lab_opposite(flow);

	return lab_action(&lab, flow).verdict == verdict &&
	       lab_action(&lab, &reply).verdict == verdict;
}

/* A control segment is passed as it is and counted as such, whatever is thought of it. */
static bool passed(enum lab_hook hook, const struct lab_flow *flow, const struct frame *in,
		   int verdict)
{
	const struct lab_arrival arrival = { .ingress = lab.side[flow->ingress].ifindex };
	static struct expectation expected;
	static struct lab_outcome outcome;
	bool ok;

	expected.exit = EXIT_TCP_CONTROL;
	expected.verdict = VERDICT_PASS;
	expected.frame = *in;
	ok = check_run(&lab, hook, &arrival, in, &expected, &outcome);
	if (outcome.exits[EXIT_FORGED] == (verdict == CONTROL_FORGED))
		return ok;
	tap_note("forged_control went up by %llu", (unsigned long long)outcome.exits[EXIT_FORGED]);
	return false;
}

static bool signal_is(const struct bpfw_signal *signal, const struct lab_flow *flow,
		      const struct frame_spec *spec, int verdict)
{
	struct segment segment = lab_segment(&lab, flow);
	struct bpfw_flow4_key key4 = tuple_to_key4(&flow->from, &segment);
	struct bpfw_flow6_key key6 = tuple_to_key6(&flow->from, &segment);
	bool same_key = flow->from.family == AF_INET ?
				!memcmp(&signal->key.v4, &key4, sizeof(key4)) :
				!memcmp(&signal->key.v6, &key6, sizeof(key6));

	return same_key && signal->kind == SIGNAL_CONTROL && signal->family == flow->from.family &&
	       signal->verdict == verdict && signal->tcp_flags == spec->tcp_flags &&
	       signal->seq == spec->seq + spec->payload && signal->ack == spec->ack &&
	       signal->window == spec->window;
}

static bool signalled_once(const struct lab_flow *flow, const struct frame_spec *spec, int verdict)
{
	unsigned int signals = lab_read_signals(&lab);

	if (signals == 1 && signal_is(&lab.signal[0], flow, spec, verdict))
		return true;
	tap_note("%u signals; the first: kind %u, family %u, verdict %u (not %d), flags %02x",
		 signals, lab.signal[0].kind, lab.signal[0].family, lab.signal[0].verdict, verdict,
		 lab.signal[0].tcp_flags);
	return false;
}

static const char *name_of(const struct lab_flow *flow)
{
	bool nat = !tuple_equal(&flow->from, &flow->to);

	if (flow->link_in.tags || flow->link_in.session || flow->link_out.tags)
		return flow->from.family == AF_INET ? "IPv4, encapsulated" : "IPv6, encapsulated";
	if (flow->from.family == AF_INET)
		return nat ? "IPv4 with NAT" : "IPv4";
	return nat ? "IPv6 with NAT" : "IPv6";
}

static struct frame_spec segment(const struct lab_flow *flow, const struct control_case *control)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);

	spec.seq = control->seq;
	spec.tcp_flags = control->flags;
	spec.payload = control->payload;
	return spec;
}

/* ---- Cases ------------------------------------------------------------------- */

static void test_case(enum lab_hook hook, const struct lab_flow *flow,
		      const struct control_case *control)
{
	static const char *const verdicts[] = { "ask", "genuine", "forged" };
	struct frame_spec spec = segment(flow, control);
	bool ok = arrange(hook, flow, &control->standing);
	struct frame in;

	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, control->verdict) && ok;
	ok = signalled_once(flow, &spec, control->verdict) && ok;
	if (!verdicts_are(flow, control->verdict == CONTROL_GENUINE ? FLOW_PASS : FLOW_FORWARD)) {
		tap_note("the flow's verdict is not what it should be");
		ok = false;
	}
	clear(flow);
	tap(ok, "%s: %s: %s -> %s", lab_hook_names[hook], name_of(flow), control->name,
	    verdicts[control->verdict]);
}

static void test_cases(enum lab_hook hook, const struct lab_flow *flow)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		test_case(hook, flow, &cases[i]);
	for (size_t i = 0; i < ARRAY_SIZE(with_data); i++)
		test_case(hook, flow, &with_data[i]);
}

static const struct control_case genuine = CASE("RST", IDLE, 5000, FLAG_RST, CONTROL_GENUINE);
static const struct control_case forged = CASE("forged RST", IDLE, 5100, FLAG_RST, CONTROL_FORGED);

/* After a genuine one the flow's data takes the stack, and nothing more is signalled. */
static void test_closing(enum lab_hook hook, const struct lab_flow *flow)
{
	struct lab_flow reply = lab_opposite(flow);
	struct frame_spec spec = segment(flow, &genuine);
	bool ok = arrange(hook, flow, &genuine.standing);
	struct frame in;

	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, CONTROL_GENUINE) && ok;
	lab_forget_signals(&lab);
	ok = passed(hook, flow, &in, CONTROL_ASK) && ok;
	spec = lab_frame_spec(&lab, flow);
	ok = !forwarded(hook, flow, &spec) && ok;
	spec = lab_frame_spec(&lab, &reply);
	ok = !forwarded(hook, &reply, &spec) && ok;
	ok = !lab_read_signals(&lab) && ok;
	clear(flow);
	tap(ok, "%s: %s: after a genuine RST both directions pass, silently", lab_hook_names[hook],
	    name_of(flow));
}

/* A SYN takes the ports of a closing flow over: that is news, once. */
static void test_reopening(enum lab_hook hook, const struct lab_flow *flow)
{
	const struct control_case control = CASE("", IDLE, 777, FLAG_SYN, CONTROL_ASK);
	struct frame_spec spec = segment(flow, &control);
	bool ok = arrange(hook, flow, &genuine.standing);
	struct bpfw_action action = lab_action(&lab, flow);
	struct frame in;

	action.verdict = FLOW_PASS;
	lab_set_action(&lab, flow, &action);
	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, CONTROL_ASK) && ok;
	ok = signalled_once(flow, &spec, CONTROL_ASK) && ok;
	ok = lab_action(&lab, flow).verdict == FLOW_PASS && ok;
	clear(flow);
	tap(ok, "%s: %s: a SYN of a closing flow is signalled", lab_hook_names[hook],
	    name_of(flow));
}

/* Whether `change` to the two directions makes a genuine RST one to ask about. */
static void test_unsure(enum lab_hook hook, const struct lab_flow *flow, const char *why,
			void (*change)(struct bpfw_action *own, struct bpfw_action *other),
			int verdict)
{
	struct lab_flow reply = lab_opposite(flow);
	struct frame_spec spec = segment(flow, &genuine);
	bool ok = arrange(hook, flow, &genuine.standing);
	struct bpfw_action own = lab_action(&lab, flow), other = lab_action(&lab, &reply);
	struct frame in;

	change(&own, &other);
	lab_set_action(&lab, flow, &own);
	lab_set_action(&lab, &reply, &other);
	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, verdict) && ok;
	ok = signalled_once(flow, &spec, verdict) && ok;
	ok = verdicts_are(flow, verdict == CONTROL_GENUINE ? FLOW_PASS : FLOW_FORWARD) && ok;
	clear(flow);
	tap(ok, "%s: %s: %s", lab_hook_names[hook], name_of(flow), why);
}

static void forget_both(struct bpfw_action *own, struct bpfw_action *other)
{
	own->packets = 0;
	other->packets = 0;
	other->ack = 0; /* as of an entry that no packet has met */
}

static void learn_other(struct bpfw_action *own, struct bpfw_action *other)
{
	own->packets = 0;
	other->packets = 0;
	other->flags |= FLOW_TRACKED;
}

static void age_other(struct bpfw_action *own, struct bpfw_action *other)
{
	other->last_seen = own->last_seen - 6 * (uint32_t)lab.datapath.clock.hz;
}

static void age_other_less(struct bpfw_action *own, struct bpfw_action *other)
{
	other->last_seen = own->last_seen - 4 * (uint32_t)lab.datapath.clock.hz;
}

static void age_own(struct bpfw_action *own, struct bpfw_action *other)
{
	own->last_seen = other->last_seen - 60 * (uint32_t)lab.datapath.clock.hz;
}

static void test_knowledge(enum lab_hook hook, const struct lab_flow *flow)
{
	test_unsure(hook, flow, "no packet of the other direction seen: ask", forget_both,
		    CONTROL_ASK);
	test_unsure(hook, flow, "what the daemon knew of it will do", learn_other, CONTROL_GENUINE);
	test_unsure(hook, flow, "the other direction was not seen for 6 s: ask", age_other,
		    CONTROL_ASK);
	test_unsure(hook, flow, "4 s will do", age_other_less, CONTROL_GENUINE);
	test_unsure(hook, flow, "its own direction may be silent", age_own, CONTROL_GENUINE);
}

static void test_one_direction(enum lab_hook hook, const struct lab_flow *flow)
{
	struct lab_flow reply = lab_opposite(flow);
	struct frame_spec spec = segment(flow, &genuine);
	bool ok = arrange(hook, flow, &genuine.standing);
	struct frame in;

	lab_remove(&lab, &reply);
	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, CONTROL_ASK) && ok;
	ok = signalled_once(flow, &spec, CONTROL_ASK) && ok;
	ok = lab_action(&lab, flow).verdict == FLOW_FORWARD && ok;
	lab_remove(&lab, flow);
	tap(ok, "%s: %s: only one direction is offloaded: ask", lab_hook_names[hook],
	    name_of(flow));
}

static void test_no_flow(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = segment(flow, &genuine);
	struct frame in;
	bool ok;

	clear(flow);
	lab_heartbeat(&lab);
	lab_forget_signals(&lab);
	frame_build(&spec, &in);
	ok = passed(hook, flow, &in, CONTROL_ASK);
	for (int i = 0; i < 5; i++)
		ok = passed(hook, flow, &in, CONTROL_ASK) && ok;
	tap(ok && !lab_read_signals(&lab), "%s: %s: of no flow: passed, never signalled",
	    lab_hook_names[hook], name_of(flow));
}

/* ---- What must not end a flow ------------------------------------------------ */

/* Forged ones may come at any rate: the daemon is not to be kept busy, nor the flow slowed. */
static void test_flood(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = segment(flow, &forged), data = lab_frame_spec(&lab, flow);
	bool ok = arrange(hook, flow, &forged.standing);
	uint32_t start, ticks;
	unsigned int signals;
	struct frame in;

	data.seq = 5000;
	start = lab_jiffies(&lab);
	for (unsigned int i = 0; i < 2000 && ok; i++) {
		spec.seq = 5100 + i;
		frame_build(&spec, &in);
		ok = passed(hook, flow, &in, CONTROL_FORGED);
	}
	ticks = lab_jiffies(&lab) - start;
	signals = lab_read_signals(&lab);
	ok = ok && verdicts_are(flow, FLOW_FORWARD) && forwarded(hook, flow, &data);
	clear(flow);
	/* At 0, 1, 3, 7, 15, 31 ticks, and every 32 from then on. */
	if (signals < 1 || signals > 7 + ticks / 32) {
		tap_note("%u signals in %u ticks", signals, ticks);
		ok = false;
	}
	tap(ok, "%s: %s: 2000 forged RSTs: the flow goes on, few are signalled",
	    lab_hook_names[hook], name_of(flow));
}

/* Passed without a word and without consequence: the stack will throw the segment away. */
static void test_ignored(enum lab_hook hook, const struct lab_flow *flow, const struct frame *in,
			 const char *why)
{
	bool ok = arrange(hook, flow, &genuine.standing);

	ok = passed(hook, flow, in, CONTROL_ASK) && ok;
	if (!verdicts_are(flow, FLOW_FORWARD)) {
		tap_note("the flow no longer forwards");
		ok = false;
	}
	for (unsigned int i = 0; i < lab_read_signals(&lab); i++) {
		if (lab.signal[i].verdict != CONTROL_GENUINE)
			continue;
		tap_note("it is signalled as genuine");
		ok = false;
	}
	clear(flow);
	tap(ok, "%s: %s: %s ends nothing", lab_hook_names[hook], name_of(flow), why);
}

static void test_strays(enum lab_hook hook, const struct lab_flow *flow)
{
	struct frame_spec spec = segment(flow, &genuine);
	struct frame in;

	frame_build(&spec, &in);
	in.data[5] ^= 0x55;
	test_ignored(hook, flow, &in, "a RST to another MAC");
	if (flow->link_in.session) {
		frame_build(&spec, &in);
		in.data[11] ^= 0x55;
		test_ignored(hook, flow, &in, "a RST of a host that is not the session's peer");
	}
	if (flow->from.family == AF_INET) {
		frame_build(&spec, &in);
		frame_put16(&in, frame_link_len(&spec.link) + 10, 0xbad0);
		test_ignored(hook, flow, &in, "a RST with a wrong header checksum");
	}
	spec.tcp_flags = 0;
	frame_build(&spec, &in);
	test_ignored(hook, flow, &in, "a segment without any flag");
	spec.tcp_flags = FLAG_PSH | FLAG_URG;
	frame_build(&spec, &in);
	test_ignored(hook, flow, &in, "a segment without ACK");
}

static void test_flow(enum lab_hook hook, const struct lab_flow *flow)
{
	test_cases(hook, flow);
	test_closing(hook, flow);
	test_reopening(hook, flow);
	test_knowledge(hook, flow);
	test_one_direction(hook, flow);
	test_no_flow(hook, flow);
	test_flood(hook, flow);
	test_strays(hook, flow);
}

/* The same tuple in another VLAN, or another session, is another connection. */
static void test_other_link(enum lab_hook hook, const struct lab_flow *flow, enum link_kind own)
{
	bool ok = true;

	for (enum link_kind kind = 0; kind < LINK_KINDS; kind++) {
		struct frame_spec spec = segment(flow, &genuine);
		struct frame in;

		if (kind == own)
			continue;
		ok = arrange(hook, flow, &genuine.standing) && ok;
		spec.link = frame_links[kind];
		frame_build(&spec, &in);
		ok = passed(hook, flow, &in, CONTROL_ASK) && ok;
		ok = verdicts_are(flow, FLOW_FORWARD) && !lab_read_signals(&lab) && ok;
		clear(flow);
	}
	tap(ok, "%s: %s: a RST on another link ends nothing", lab_hook_names[hook], name_of(flow));
}

/* The opposite direction's key holds the tags and the session that this one leaves with. */
static void test_encapsulated(const struct lab_flow plain[2])
{
	for (enum link_kind in = 0; in < LINK_KINDS; in++) {
		for (enum link_kind out = 0; out < LINK_KINDS; out++) {
			struct lab_flow flow = plain[(in ^ out) & 1];

			if (in == LINK_PLAIN && out == LINK_PLAIN)
				continue;
			flow.link_in = frame_links[in];
			flow.link_out = frame_links[out];
			for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
				tap_note("%s -> %s", frame_link_names[in], frame_link_names[out]);
				test_closing(hook, &flow);
				test_case(hook, &flow, &forged);
				if (out != LINK_AD_Q_PPPOE)
					continue;
				test_cases(hook, &flow);
				test_knowledge(hook, &flow);
				test_one_direction(hook, &flow);
				test_strays(hook, &flow);
				test_other_link(hook, &flow, in);
			}
		}
	}
}

int main(void)
{
	struct lab_flow flow[3] = { 0 };

	lab_open(&lab, false);
	flow[0].from = lab_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow[0].to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "192.0.2.5", 8443);
	flow[1].from = lab_tuple(IPPROTO_TCP, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	flow[1].to = flow[1].from;
	flow[2].from = lab_tuple(IPPROTO_TCP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	flow[2].to = lab_tuple(IPPROTO_TCP, "2001:db8::1", 51000, "2001:db8:7::7", 8443);
	for (size_t i = 0; i < ARRAY_SIZE(flow); i++) {
		flow[i].egress = WAN;
		flow[i].mtu = 1500;
		for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
			struct lab_flow reply = lab_opposite(&flow[i]);

			test_flow(hook, &flow[i]);
			test_cases(hook, &reply);
		}
	}
	test_encapsulated(flow);
	lab_close(&lab);
	return tap_end();
}
