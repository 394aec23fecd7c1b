/* SPDX-License-Identifier: GPL-2.0-only */
/* What `bpfw filter why` is told. Programs in force are loaded without it. */
#ifndef BPFW_FILTER_TRACE_H
#define BPFW_FILTER_TRACE_H

#include "filter_maps.h"

/* The rule in hand was looked at: all of it matches, or the operation in hand does not. */
static __always_inline void trace_rule(struct filter_walk *walk, bool matches)
{
	struct filter_met *met;
	__u32 slot;

	if (!tracing)
		return;
	slot = walk->met++;
	met = bpf_map_lookup_elem(&trace, &slot);
	if (!met)
		return;
	met->rule = walk->rule;
	met->operation = walk->operation;
	met->matches = matches;
}

#endif /* BPFW_FILTER_TRACE_H */
