/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of a ruleset, made anew with each load, as large as it needs them; what begins with log_
 * and `next_stage` outlive it. The layouts are in filter_layout.h.
 */
#ifndef BPFW_FILTER_MAPS_H
#define BPFW_FILTER_MAPS_H

#include "filter_shared.h"

/* Set before loading; the verifier removes what a constant switches off. */
const volatile __u32 generation = 0;       /* of the ruleset: no two have the same */
const volatile __u32 used_fields = 0;      /* bit N: some rule asks about field N */
const volatile __u64 used_operations = 0;  /* bit N: some rule has an operation of kind N */
const volatile __u32 no_port_rows[2] = {}; /* of packets that have no ports: source, destination */
const volatile bool drops_bad_tcp = false; /* some rule looks into the TCP header */
const volatile __u8 drops_cut = 0;         /* enum filter_cut: headers that some rule looks into */
const volatile bool is_tracked = false;    /* track.bpf.c is before it, and has parsed the packet */
const volatile __u32 own_stage = 0;        /* of these programs */
const volatile __u32 nat_chain = 0;        /* number of nat's PREROUTING; 0: it has no rules */

/* A copy for `bpfw filter why`: tells what it meets of a packet that no device has brought. */
const volatile bool tracing = false;
const volatile __u32 assumed_in = 0;  /* ifindex, 0: the packet is the router's own */
const volatile __u32 assumed_out = 0; /* 0: as routes say, for a packet that comes in */

/* A kind that no rule has costs nothing: the verifier removes what this switches off. */
static __always_inline bool uses_operation(enum filter_op_kind kind)
{
	return used_operations & (1ULL << kind);
}

/*
 * The wall clock is CLOCK_TAI (Linux 6.1) or CLOCK_BOOTTIME plus clock_offset, in ns. The second is
 * wrong once somebody has set the clock.
 */
const volatile bool has_tai = false;
const volatile __s64 clock_offset = 0;
const volatile __s64 zone_offset = 0; /* ns by which the kernel's time zone is behind UTC */

/*
 * XDP: where a packet goes that the filter accepts, by the device that it came in by. Empty: to the
 * stack. Pinned; the fast path enters a program that ends with it (bpfw_behind in bpfw.bpf.c).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, FILTER_NEXT_STAGES);
	__type(key, __u32);
	__type(value, __u32);
} next_stage SEC(".maps");

/* Events of all rulesets, and what was let through and lost of them. Pinned. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, FILTER_LOG_BYTES);
} log_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_log_state);
} log_state SEC(".maps");

#define DEFINE_ARRAY(name, value_type)             \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);  \
		__uint(map_flags, BPF_F_MMAPABLE); \
		__uint(max_entries, 1);            \
		__type(key, __u32);                \
		__type(value, value_type);         \
	} name SEC(".maps")

DEFINE_ARRAY(chains, struct filter_chain);
DEFINE_ARRAY(rules, __u32); /* the first operation of each */
DEFINE_ARRAY(operations, struct filter_op);
DEFINE_ARRAY(rows, struct filter_row);
DEFINE_ARRAY(parts, struct filter_part);
DEFINE_ARRAY(blocks, struct filter_block);

/* Of a copy that traces: the rules that a packet meets. */
DEFINE_ARRAY(trace, struct filter_met);

/* Not used by the programs: the text that the ruleset was made from. */
DEFINE_ARRAY(text, __u64);

/* Rows by field. Addresses: see struct filter_node. */
DEFINE_ARRAY(source_nodes, struct filter_node);
DEFINE_ARRAY(source_slots, struct filter_slot);
DEFINE_ARRAY(source_ranges4, struct filter_range4);
DEFINE_ARRAY(source_ranges6, struct filter_range6);
DEFINE_ARRAY(destination_nodes, struct filter_node);
DEFINE_ARRAY(destination_slots, struct filter_slot);
DEFINE_ARRAY(destination_ranges4, struct filter_range4);
DEFINE_ARRAY(destination_ranges6, struct filter_range6);
DEFINE_ARRAY(source_ports, __u32);
DEFINE_ARRAY(destination_ports, __u32);
DEFINE_ARRAY(protocols, __u32);
DEFINE_ARRAY(states, __u32);
DEFINE_ARRAY(questions, struct filter_question); /* of operations FILTER_OP_SET */
DEFINE_ARRAY(translations, struct filter_translation);

/* Of rules that keep something from packet to packet. Locks cannot be mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_tally);
} tallies SEC(".maps");

DEFINE_ARRAY(hashlimits, struct filter_hashlimit);

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct filter_group);
	__type(value, struct filter_bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << FILTER_LOCKS_SHIFT);
	__type(key, __u32);
	__type(value, struct filter_lock);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_counter);
} counters SEC(".maps");

/*
 * Tables of recent (filter_recent.h). How large their parts are is set before loading; values of a
 * size of their own have no type.
 */
const volatile __u32 recent_slots = 1;
const volatile __u32 recent_chains = 2; /* a power of two, as is: */
const volatile __u32 recent_stamps = 1; /* of a slot */
const volatile __u32 recent_seed = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct filter_recent));
} recents SEC(".maps");

/* Rows of devices by ifindex; 0 is the one of all that the ruleset does not name. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct filter_device);
} devices SEC(".maps");

#endif /* BPFW_FILTER_MAPS_H */
