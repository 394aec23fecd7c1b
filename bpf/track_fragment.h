/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fragments: conntrack sees them put together, here the first one tells what the others belong to.
 * One that comes before the first has no state.
 */
#ifndef BPFW_TRACK_FRAGMENT_H
#define BPFW_TRACK_FRAGMENT_H

#include "filter_parse.h"

#define FRAGMENTS_MAX 4096
#define FRAGMENTS_TIME (30ULL * 1000000000) /* ns; net.ipv4.ipfrag_time */

struct fragment_key {
	__be32 source[4], destination[4]; /* as on the wire */
	__u32 id;
	__u8 protocol;
	__u8 family;
	__u8 unused[2];
};

struct fragment_state {
	__u64 seen; /* ns */
	__be32 destination[4];
	__u16 state;
	__u16 unused[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENTS_MAX);
	__type(key, struct fragment_key);
	__type(value, struct fragment_state);
} fragments SEC(".maps");

static __always_inline void fill_fragment_key(struct fragment_key *key,
					      const struct filter_walk *walk)
{
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		key->source[i] = walk->source[i];
		key->destination[i] = walk->destination[i];
	}
	key->id = walk->fragment_id;
	key->protocol = walk->protocol;
	key->family = is_ipv6 ? AF_INET6 : AF_INET;
}

/* What has been found about the first fragment holds for those to come. */
static __always_inline void remember_fragment(const struct fragment_key *key,
					      const struct filter_walk *walk)
{
	struct fragment_state state = { .seen = bpf_ktime_get_ns(), .state = walk->state };

	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		state.destination[i] = walk->destination[i];
	bpf_map_update_elem(&fragments, key, &state, BPF_ANY);
}

static __always_inline void recall_fragment(const struct fragment_key *key,
					    struct filter_walk *walk)
{
	const struct fragment_state *state = bpf_map_lookup_elem(&fragments, key);

	if (!state || bpf_ktime_get_ns() - state->seen > FRAGMENTS_TIME)
		return;
	walk->state = state->state;
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		walk->destination[i] = state->destination[i];
}

#endif /* BPFW_TRACK_FRAGMENT_H */
