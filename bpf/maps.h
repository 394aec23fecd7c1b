/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps and the configuration constants; their layouts are in layout.h. */
#ifndef BPFW_MAPS_H
#define BPFW_MAPS_H

#include "uapi.h"
#include "layout.h"

/* Set before loading; the verifier removes what a constant switches off. */
const volatile __u64 flow_seed = 0;
const volatile __u32 flow_set_mask = 0; /* sets of the index - 1 */
const volatile __u64 candidate_seed = 0;
const volatile __u32 candidate_mask = 0;      /* sets of candidates - 1 */
const volatile __u32 candidate_threshold = 3; /* packets until the daemon is signalled */
const volatile __u32 backoff_limit = 12;      /* a repeated signal waits 2^this jiffies at most */
const volatile __u32 control_stale = 500;     /* jiffies after which a direction is old news */
const volatile bool wide_access = false;      /* words need not be aligned on this machine */
const volatile bool detect_partial = false;   /* XDP: packets may lack their checksum (veth) */

/* Written by the daemon: jiffies64 until which the cache may be trusted. */
volatile __u64 valid_until = 0;

/* Read by the daemon, which runs the clock program to set its own clock by it. */
volatile __u64 clock_jiffies = 0;

/*
 * The flow table, in arrays that the daemon maps into its memory: a lookup costs a fraction of
 * a hash map's, and setting flows up takes no system calls. The daemon sets max_entries.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32); /* slot */
	__type(value, struct bpfw_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32); /* set */
	__type(value, struct bpfw_flow_set);
} flow_index SEC(".maps");

/*
 * Not used by the programs. Whoever updates a map of maps is made to wait by the kernel until
 * all programs that were running have ended (maybe_wait_bpf_programs() in
 * kernel/bpf/syscall.c): that is what the daemon does here before it uses slots again.
 */
struct grace_token {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} grace_token SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct grace_token);
} grace SEC(".maps") = {
	.values = { &grace_token },
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpfw_candidate_set);
} candidates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct bpfw_port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct bpfw_conduit);
} conduits SEC(".maps");

/*
 * Devices that flows leave by, from XDP: key and value are the ifindex. Cheaper than
 * bpf_redirect(), and it tells before the packet is touched when the device is gone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} egresses SEC(".maps");

/*
 * The XDP program of this daemon, for bpfw_behind, which the filter may outlive. Nothing but the
 * daemon holds a descriptor: when it ends, in whatever way, the kernel empties the map
 * (prog_array_map_clear() in kernel/bpf/arraymap.c).
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} fast_path SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} signals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpfw_exit_counters);
} exits SEC(".maps");

/* Not used by the programs: the daemon's own counters, for `bpfw stats`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpfw_daemon_counters);
} counters SEC(".maps");

/* Not used by the programs: what is attached where, for `bpfw status`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PLAN_ROWS);
	__type(key, __u32);
	__type(value, struct bpfw_plan_row);
} plan SEC(".maps");

static __always_inline void count_exit(enum exit_reason reason)
{
	__u32 zero = 0;
	struct bpfw_exit_counters *counter = bpf_map_lookup_elem(&exits, &zero);

	if (counter)
		counter->count[reason]++;
}

#endif /* BPFW_MAPS_H */
