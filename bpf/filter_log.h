/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events of LOG and NFLOG rules. A rule notes its number in the walk; when the verdict is known, all
 * of a packet's notes are one event in a ring buffer. So the loop of the walk, which old verifiers go
 * through turn by turn, has nothing but the note in it.
 */
#ifndef BPFW_FILTER_LOG_H
#define BPFW_FILTER_LOG_H

#include "filter_match.h"

static __always_inline void note_log(struct filter_walk *walk)
{
	__u32 slot = walk->logged;

	if (!uses_operation(FILTER_OP_LOG))
		return;
	walk->logged = slot + 1;
	if (slot >= FILTER_EVENT_RULES)
		return;
	asm volatile("" : "+r"(slot)); /* see caller_at() */
	walk->logs[slot & (FILTER_EVENT_RULES - 1)] = walk->rule;
}

/* One event each millisecond, FILTER_LOG_BURST of them at once, on each CPU. */
static __always_inline bool may_log(struct filter_log_state *state, __u64 now)
{
	const __u64 earliest = now - FILTER_LOG_BURST * FILTER_LOG_INTERVAL;

	if (state->next < earliest)
		state->next = earliest;
	if (state->next > now)
		return false;
	state->next += FILTER_LOG_INTERVAL;
	return true;
}

static __always_inline void fill_event(struct filter_event *event, const struct filter_walk *walk,
				       __u64 now, int verdict)
{
	event->time = now;
	event->generation = generation;
	event->rules = walk->logged;
	for (int i = 0; i < FILTER_EVENT_RULES; i++)
		event->rule[i] = walk->logs[i];
	for (int i = 0; i < 4; i++) {
		event->source[i] = walk->source[i];
		event->destination[i] = walk->destination[i];
	}
	event->in = walk->in;
	event->out = walk->out;
	event->length = walk->length;
	event->source_port = walk->source_port;
	event->destination_port = walk->destination_port;
	event->is_ipv6 = is_ipv6;
	event->verdict = (__u8)verdict;
	event->hook = (__u8)walk->hook;
	event->has_l4 = walk->has_l4;
	event->has_ports = walk->has_ports;
	event->fragment = walk->fragment;
	event->protocol = walk->protocol;
	event->tos = walk->tos;
	event->ttl = walk->ttl;
	event->tcp_flags = walk->tcp_flags;
	event->icmp_type = walk->icmp_type;
	event->icmp_code = walk->icmp_code;
}

/* The packet's verdict is known: out with what its rules have noted. */
static __always_inline void send_event(const struct filter_walk *walk, int verdict)
{
	__u32 zero = 0;
	struct filter_log_state *state;
	struct filter_event *event = NULL;
	__u64 now;

	if (tracing || !uses_operation(FILTER_OP_LOG) || !walk->logged)
		return;
	state = bpf_map_lookup_elem(&log_state, &zero);
	if (!state)
		return;
	now = bpf_ktime_get_ns();
	if (may_log(state, now))
		event = bpf_ringbuf_reserve(&log_events, sizeof(*event), 0);
	if (!event) {
		state->lost += walk->logged;
		return;
	}
	if (walk->logged > FILTER_EVENT_RULES)
		state->lost += walk->logged - FILTER_EVENT_RULES;
	fill_event(event, walk, now, verdict);
	bpf_ringbuf_submit(event, 0);
}

#endif /* BPFW_FILTER_LOG_H */
