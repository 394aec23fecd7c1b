/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the judge has to do with sets: it asks a program of its own (sets.bpf.c), which belongs to no
 * ruleset and comes back to the judge that asked. Most packets ask one question, if any: the first
 * is answered alone, later ones together with those behind them.
 */
#ifndef BPFW_FILTER_SETS_H
#define BPFW_FILTER_SETS_H

#include "filter_packet.h"
#include "filter_step.h"

static __always_inline bool uses_sets(void)
{
	return uses_operation(FILTER_OP_SET) || uses_operation(FILTER_OP_SET_CHANGE);
}

static __always_inline void ask(struct filter_walk *walk, const struct filter_op *op)
{
	walk->asked_first = op->a;
	walk->asked = walk->asks++ ? FILTER_QUESTIONS : 1;
	for (int i = 0; i < FILTER_QUESTIONS; i++) {
		__u32 number = op->a + i;
		const struct filter_question *question = bpf_map_lookup_elem(&questions, &number);

		if (question)
			walk->question[i] = *question;
		else if (i < (int)walk->asked)
			walk->asked = i;
	}
}

static __always_inline void ask_change(struct filter_walk *walk, const struct filter_op *op)
{
	walk->question[0].set = op->a;
	walk->question[0].asks = op->b;
	walk->question[0].timeout = (__s32)op->c;
	walk->changed = walk->operation + 1;
	walk->asked = 0; /* what has been answered may be true no more */
}

/* Returns only if nothing is there to ask. */
static __always_inline void call_sets(struct filter_walk *walk, const struct frame *frame, int need)
{
	const struct filter_op *op = bpf_map_lookup_elem(&operations, &walk->operation);

	if (!op)
		return;
	walk->rounds += 2;
	walk->asker = own_stage;
	if (need == STEP_ASK) {
		ask(walk, op);
		call_stage(frame, FILTER_STAGE_SETS + is_ipv6);
	} else {
		ask_change(walk, op);
		call_stage(frame, FILTER_STAGE_CHANGES + is_ipv6);
	}
}

#endif /* BPFW_FILTER_SETS_H */
