/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs what rules do with sets (bpf/set.h) for one query after another: each run takes the next
 * one, so that BPF_PROG_TEST_RUN with a number of repetitions goes through all of them. Tests
 * look at the answers, the benchmark at the time.
 */
#include "set.h"
#include "set_probe.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct set_probe);
} queries SEC(".maps");

volatile __u32 set;
volatile __u32 next;
volatile __u32 last;
/* 0, which the compiler does not know: by it a run waits for the answer of the one before. */
volatile __u32 nothing;
volatile __u64 seed;
volatile __u64 hits;
volatile __u32 family;
volatile __u32 among;
volatile __s64 timeout;
volatile __u32 change;

static __always_inline struct set_probe *next_query(void)
{
	__u32 number = next;

	next = number >= last ? 0 : number + 1;
	return bpf_map_lookup_elem(&queries, &number);
}

static __always_inline void load_query(struct set_query *query, const struct set_probe *probe)
{
	__builtin_memset(query, 0, sizeof(*query));
	__builtin_memcpy(query->addr, probe->addr, sizeof(query->addr));
	query->port = probe->port;
	query->protocol = probe->protocol;
	query->family = probe->family;
	query->ported = probe->ported;
}

SEC("xdp")
int probe_match(struct xdp_md *ctx __attribute__((unused)))
{
	struct set_probe *probe = next_query();
	struct set_query query;

	if (!probe)
		return XDP_ABORTED;
	load_query(&query, probe);
	probe->answer = set_match(set, &query);
	next += probe->answer & nothing;
	return XDP_PASS;
}

SEC("xdp")
int probe_blocked(struct xdp_md *ctx __attribute__((unused)))
{
	struct set_probe *probe = next_query();
	struct set_query query;

	if (!probe)
		return XDP_ABORTED;
	load_query(&query, probe);
	probe->answer = set_blocked(&query);
	next += probe->answer & nothing;
	return XDP_PASS;
}

static __always_inline __u64 mix(__u64 word)
{
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
	return word ^ (word >> 31);
}

/*
 * Random addresses of a family, made here: a list of them would take the caches from the set.
 * IPv6 ones are of 2000::/3. They are any, or those of the first `among` entries, which whoever
 * filled the set has drawn in the same way. A run waits for the answer of the one before.
 */
static __always_inline void draw_query(struct set_query *query)
{
	__u64 word = mix(seed += 0x9e3779b97f4a7c15ULL);

	if (among)
		word = mix(((word >> 32) * among >> 32) * 0x9e3779b97f4a7c15ULL);
	__builtin_memset(query, 0, sizeof(*query));
	query->family = family;
	query->ported = 1;
	query->addr[0] = word;
	if (family == AF_INET)
		return;
	query->addr[0] = bpf_htonl(0x20000000 | (word & 0x1fffffff));
	query->addr[1] = word >> 32;
	query->addr[2] = word * 3;
	query->addr[3] = word * 5;
}

SEC("xdp")
int probe_random(struct xdp_md *ctx __attribute__((unused)))
{
	struct set_query query;
	__u32 answer;

	draw_query(&query);
	answer = set_match(set, &query);
	hits += answer;
	seed += answer & nothing;
	return XDP_PASS;
}

/* All but the lookup. */
SEC("xdp")
int probe_nothing(struct xdp_md *ctx __attribute__((unused)))
{
	struct set_query query;
	__u32 answer;

	draw_query(&query);
	answer = query.addr[0] == set;
	hits += answer;
	seed += answer & nothing;
	return XDP_PASS;
}

SEC("xdp")
int probe_change(struct xdp_md *ctx __attribute__((unused)))
{
	struct set_probe *probe = next_query();
	struct set_query query;

	if (!probe)
		return XDP_ABORTED;
	load_query(&query, probe);
	if (change == SET_ADD)
		set_change(set, &query, SET_ADD, timeout);
	else if (change == SET_ADD_EXIST)
		set_change(set, &query, SET_ADD_EXIST, timeout);
	else
		set_change(set, &query, SET_DEL, timeout);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
