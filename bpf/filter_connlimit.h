/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the judge has to do with connlimit: it has connections counted by a program of its own
 * (connlimit.bpf.c), which needs the kernel's BTF, belongs to the same ruleset, and comes back.
 */
#ifndef BPFW_FILTER_CONNLIMIT_H
#define BPFW_FILTER_CONNLIMIT_H

#include "filter_maps.h"
#include "filter_packet.h"

/* Returns only if nobody is there to count. Such rulesets are tracked: this is a judge. */
static __always_inline void call_count(struct filter_walk *walk, const struct frame *frame)
{
	const struct filter_op *op = bpf_map_lookup_elem(&operations, &walk->operation);

	if (!op)
		return;
	walk->rounds += 2;
	walk->connlimit.limit = op->a;
	walk->connlimit.table = op->b;
	walk->connlimit.by = op->c;
	call_stage(frame, own_stage - FILTER_STAGE_JUDGES + FILTER_STAGE_COUNTS);
}

#endif /* BPFW_FILTER_CONNLIMIT_H */
