/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk through the chains, in steps of at most one operation each, so that the program is one
 * flat loop: verifiers before bpf_loop() (Linux 5.17) go through every turn of it.
 */
#ifndef BPFW_FILTER_STEP_H
#define BPFW_FILTER_STEP_H

#include "filter_log.h"
#include "filter_match.h"
#include "filter_search.h"
#include "filter_trace.h"

/* What a step has come to: a verdict (enum filter_verdict), or: */
#define STEP_ON (-1)
#define STEP_ASK (-2)    /* a set has to be looked up before */
#define STEP_CHANGE (-3) /* a set has to be changed before */
#define STEP_COUNT (-4)  /* connections have to be counted before */

static __always_inline void count(const struct filter_walk *walk, __u32 counter)
{
	struct filter_counter *counted = bpf_map_lookup_elem(&counters, &counter);

	if (counted) {
		counted->packets++;
		counted->bytes += walk->length;
	}
}

/* Go on at that position of the chain. */
static __always_inline bool enter(struct filter_walk *walk, __u32 number, __u32 position)
{
	const struct filter_chain *chain = bpf_map_lookup_elem(&chains, &number);

	if (!chain)
		return false;
	walk->chain = number;
	walk->position = position;
	walk->end = chain->end;
	walk->word = 0;
	walk->operation = FILTER_NO_OPERATION;
	return true;
}

static __always_inline bool enter_start(struct filter_walk *walk, __u32 number)
{
	const struct filter_chain *chain = bpf_map_lookup_elem(&chains, &number);

	return chain && enter(walk, number, chain->start);
}

static __always_inline int take_policy(struct filter_walk *walk)
{
	__u32 number = walk->hook;
	const struct filter_chain *chain = bpf_map_lookup_elem(&chains, &number);

	if (!chain)
		return FILTER_DROP;
	count(walk, chain->counter);
	return chain->policy;
}

/* The mask is for verifiers before 6.13, from which the compiler keeps what it knows by itself. */
static __always_inline struct filter_caller *caller_at(struct filter_walk *walk, __u32 depth)
{
	asm volatile("" : "+r"(depth));
	return &walk->callers[depth & (FILTER_DEPTH - 1)];
}

/* The end of a chain, or RETURN: back to the caller, or the policy of the first chain. */
static __always_inline int leave(struct filter_walk *walk)
{
	struct filter_caller *caller;

	if (!walk->depth || walk->depth > FILTER_DEPTH)
		return take_policy(walk);
	walk->depth--;
	caller = caller_at(walk, walk->depth);
	return enter(walk, caller->chain, caller->position) ? STEP_ON : FILTER_DROP;
}

static __always_inline int jump(struct filter_walk *walk, __u32 chain)
{
	struct filter_caller *caller;

	if (walk->depth >= FILTER_DEPTH)
		return FILTER_DROP; /* the compiler has seen to it that this is not reached */
	caller = caller_at(walk, walk->depth);
	caller->chain = walk->chain;
	caller->position = walk->rule + 1;
	walk->depth++;
	return enter_start(walk, chain) ? STEP_ON : FILTER_DROP;
}

/* ---- Targets --------------------------------------------------------------------- */

/* XDP has no mark: stage.c does not let such rules get there, and nothing is ignored. */
static __always_inline int set_mark(const struct frame *frame, const struct filter_op *op)
{
	if (frame->is_xdp)
		return FILTER_DROP;
	frame->skb->mark = (frame->skb->mark & ~op->b) ^ op->a;
	return STEP_ON;
}

static __always_inline int take_target(struct filter_walk *walk, const struct frame *frame,
				       const struct filter_op *op)
{
	count(walk, walk->rule);
	trace_rule(walk, true);
	walk->operation = FILTER_NO_OPERATION;
	switch (op->kind) {
	case FILTER_OP_ACCEPT:
		return FILTER_ACCEPT;
	case FILTER_OP_RETURN:
		return leave(walk);
	case FILTER_OP_JUMP:
		return jump(walk, op->a);
	case FILTER_OP_GOTO:
		return enter_start(walk, op->a) ? STEP_ON : FILTER_DROP;
	case FILTER_OP_LOG:
		note_log(walk);
		return STEP_ON;
	case FILTER_OP_CONTINUE:
		return STEP_ON;
	case FILTER_OP_SET_MARK:
		return set_mark(frame, op);
	case FILTER_OP_REJECT:
		walk->reject = op->a;
		return FILTER_DROP;
	case FILTER_OP_DNAT:
		walk->translation = op->a;
		return FILTER_ACCEPT;
	default:
		return FILTER_DROP;
	}
}

/* ---- Steps ----------------------------------------------------------------------- */

/* Take the first candidate of walk->word in hand; false if it is of another chain. */
static __always_inline bool take_candidate(struct filter_walk *walk)
{
	__u32 rule = walk->base + lowest_bit(walk->word);
	const __u32 *operation;

	walk->word &= walk->word - 1;
	if (rule >= walk->end)
		return false;
	operation = bpf_map_lookup_elem(&rules, &rule);
	if (!operation)
		return false;
	walk->rule = rule;
	walk->operation = *operation;
	return true;
}

/* What an operation needs from another program, or STEP_ON. */
static __always_inline int need(const struct filter_walk *walk, const struct filter_op *op)
{
	if (uses_operation(FILTER_OP_SET) && op->kind == FILTER_OP_SET &&
	    op->a - walk->asked_first >= walk->asked)
		return STEP_ASK;
	if (uses_operation(FILTER_OP_SET_CHANGE) && !tracing && op->kind == FILTER_OP_SET_CHANGE &&
	    walk->changed != walk->operation + 1)
		return STEP_CHANGE;
	if (uses_operation(FILTER_OP_CONNLIMIT) && op->kind == FILTER_OP_CONNLIMIT &&
	    walk->counted != walk->operation + 1)
		return STEP_COUNT;
	return STEP_ON;
}

static __always_inline int take_match(struct filter_walk *walk, const struct frame *frame,
				      const struct filter_op *op, enum filter_op_kind last)
{
	if (op->kind > last)
		return STEP_ON; /* in one of the turns to come */
	if ((op->flags & FILTER_OP_NEEDS_OPTIONS) && walk->bad_options)
		return FILTER_DROP;
	if ((op->flags & FILTER_OP_NEEDS_PORTS) && walk->bad_ports)
		return FILTER_DROP;
	if (uses_operation(FILTER_OP_CONNLIMIT) && (op->flags & FILTER_OP_NEEDS_TUPLE) &&
	    walk->no_tuple)
		return FILTER_DROP;
	if (match(walk, frame, op, last)) {
		walk->operation += 1 + op->skip;
	} else if (op->otherwise) {
		walk->operation += op->otherwise;
	} else {
		trace_rule(walk, false);
		walk->operation = FILTER_NO_OPERATION;
	}
	return STEP_ON;
}

/* `last`: of operations, this turn is for kinds up to that. */
static __always_inline int step(struct filter_walk *walk, const struct frame *frame,
				enum filter_op_kind last)
{
	const struct filter_op *op;
	int needs;

	if (walk->operation == FILTER_NO_OPERATION) {
		if (!walk->word && !next_word(walk))
			return leave(walk);
		if (!walk->word)
			return STEP_ON;
		if (!take_candidate(walk))
			return leave(walk);
	}
	op = bpf_map_lookup_elem(&operations, &walk->operation);
	if (!op)
		return FILTER_DROP;
	if (op->kind < FILTER_OP_MATCHES)
		return take_target(walk, frame, op);
	needs = need(walk, op);
	return needs == STEP_ON ? take_match(walk, frame, op, last) : needs;
}

#endif /* BPFW_FILTER_STEP_H */
