/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the filter's programs (filter.bpf.c) have in common with those that find a packet's state
 * (track.bpf.c): maps that outlive a ruleset, and the family, which each load sets.
 */
#ifndef BPFW_FILTER_SHARED_H
#define BPFW_FILTER_SHARED_H

#include "uapi.h"
#include "filter_layout.h"

const volatile bool is_ipv6 = false; /* the family of the ruleset; set before loading */

/*
 * The programs of the rulesets, and those they call (enum filter_stage). Pinned. A map takes
 * programs of one type only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, FILTER_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} stages_xdp SEC(".maps"), stages_tc SEC(".maps");

/* The turn that is in force, by family: 0 or 1. All hooks go by this one word. Pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FILTER_FAMILIES);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

/* The devices whose ingress is filtered: ifindex. Pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FILTER_PORTS);
	__type(key, __u32);
	__type(value, struct filter_port);
} filtered SEC(".maps");

/* What the entry programs hand on to those of the rulesets, and these to themselves. Pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_walk);
} walks SEC(".maps");

static __always_inline struct filter_walk *own_walk(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&walks, &zero);
}

#endif /* BPFW_FILTER_SHARED_H */
