/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking flows up. The two families have keys and slots of their own shape; the walk is
 * written once for both, with a constant `v6` that is gone after inlining. By an action's
 * address the rest of its slot is found.
 */
#ifndef BPFW_FLOW_H
#define BPFW_FLOW_H

#include "maps.h"

union flow_key {
	struct bpfw_flow4_key v4;
	struct bpfw_flow6_key v6;
	__u64 word[sizeof(struct bpfw_flow6_key) / 8];
};

/* Two fields that follow each other in a key, as one word. */
static __always_inline __u64 key_word(__u32 first, __u32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)second << 32 | first;
#else
	return (__u64)first << 32 | second;
#endif
}

static __always_inline __u32 key_half(__u16 first, __u16 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u32)second << 16 | first;
#else
	return (__u32)first << 16 | second;
#endif
}

static __always_inline struct bpfw_flow4 *flow4_of(struct bpfw_action *action)
{
	return (void *)action - __builtin_offsetof(struct bpfw_flow4, action);
}

static __always_inline struct bpfw_flow6 *flow6_of(struct bpfw_action *action)
{
	return (void *)action - __builtin_offsetof(struct bpfw_flow6, action);
}

/* Word by word: the packet's key need not be in memory for that. */
static __always_inline bool flow_is(const struct bpfw_flow *flow, const union flow_key *key,
				    bool v6)
{
	const __u64 *word = (const void *)flow;

	if (word[0] != key->word[0] || word[1] != key->word[1] || word[2] != key->word[2])
		return false;
	return !v6 ||
	       (word[3] == key->word[3] && word[4] == key->word[4] && word[5] == key->word[5]);
}

/* The slot that stands beside the tag in the set, 0 for none. */
static __always_inline __u32 flow_slot(__u32 number, __u32 tag)
{
	const struct bpfw_flow_set *set;

	number &= flow_set_mask;
	set = bpf_map_lookup_elem(&flow_index, &number);
	if (!set)
		return 0;
#pragma unroll
	for (int i = 0; i < FLOW_WAYS; i++)
		if (set->tag[i] == tag)
			return set->slot[i];
	return 0;
}

static __always_inline struct bpfw_action *flow_lookup(const union flow_key *key, bool v6)
{
	__u64 hash = v6 ? flow_hash6(key->word, flow_seed) : flow_hash4(key->word, flow_seed);
	__u32 tag = flow_tag(hash), set = flow_first_set(hash);
	__u32 slot = flow_slot(set, tag);
	struct bpfw_flow *flow;

	if (!slot)
		slot = flow_slot(flow_other_set(set, tag), tag);
	if (!slot)
		return NULL;
	flow = bpf_map_lookup_elem(&flows, &slot);
	if (!flow || !flow_is(flow, key, v6))
		return NULL;
	return v6 ? &flow->v6.action : &flow->v4.action;
}

/* The same as a call, for paths where that does not count. */
static __noinline struct bpfw_action *flow_lookup4(const union flow_key *key)
{
	return flow_lookup(key, false);
}

static __noinline struct bpfw_action *flow_lookup6(const union flow_key *key)
{
	return flow_lookup(key, true);
}

static __always_inline struct bpfw_action *flow_lookup_rarely(const union flow_key *key, bool v6)
{
	union flow_key copy = *key; /* of which the call may have the address */

	return v6 ? flow_lookup6(&copy) : flow_lookup4(&copy);
}

/* What a link header's tags and session are in a key. */
static __always_inline void flow_link_key(const struct bpfw_action *action, __u16 *vlan,
					  __be16 *session)
{
	const __be16 *link = (const void *)action->link; /* 2-byte aligned, as all fields */
	bool pppoe = action->flags & FLOW_PPPOE;

	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		vlan[i] = 0;
		if (i >= action->tags)
			continue;
		vlan[i] = VLAN_TAGGED | (bpf_ntohs(link[7 + 2 * i]) & VLAN_VID_MASK);
		if (link[6 + 2 * i] == bpf_htons(ETH_P_8021AD))
			vlan[i] |= VLAN_SERVICE;
	}
	*session = 0;
	if (pppoe)
		*session = action->tags == 0 ? link[8] : action->tags == 1 ? link[10] : link[12];
}

/* Where the opposite direction comes in: the egress device, or a switch's port behind it. */
static __always_inline __u32 flow_opposite_ingress(const struct bpfw_action *action, bool switched)
{
	__u32 egress = action->egress;
	const struct bpfw_conduit *conduit;

	if (!switched || !action->switch_egress)
		return egress;
	conduit = bpf_map_lookup_elem(&conduits, &egress);
	return conduit ? conduit->user[SWITCH_EGRESS_PORT(action->switch_egress)] : 0;
}

/* The key of the opposite direction, which comes in where this one goes out. */
static __always_inline void flow_reverse_key(union flow_key *reverse, struct bpfw_action *action,
					     __u32 protocol, bool switched, bool v6)
{
	if (v6) {
		const struct bpfw_flow6 *flow = flow6_of(action);

		reverse->v6.ingress = flow_opposite_ingress(action, switched);
		flow_link_key(action, reverse->v6.vlan, &reverse->v6.session);
		__builtin_memcpy(reverse->v6.src, flow->dst, sizeof(reverse->v6.src));
		__builtin_memcpy(reverse->v6.dst, flow->src, sizeof(reverse->v6.dst));
		reverse->v6.sport = action->dport;
		reverse->v6.dport = action->sport;
		reverse->v6.protocol = protocol;
	} else {
		const struct bpfw_flow4 *flow = flow4_of(action);

		reverse->v4.ingress = flow_opposite_ingress(action, switched);
		flow_link_key(action, reverse->v4.vlan, &reverse->v4.session);
		reverse->v4.src = flow->dst;
		reverse->v4.dst = flow->src;
		reverse->v4.sport = action->dport;
		reverse->v4.dport = action->sport;
		reverse->v4.protocol = protocol;
	}
}

#endif /* BPFW_FLOW_H */
