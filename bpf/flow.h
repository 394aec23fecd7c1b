/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking flows up. The two families have maps, keys and values of their own; the walk is
 * written once for both, with a constant `v6` that is gone after inlining. A value starts
 * with its action, and by the action's address the rest of it is found.
 */
#ifndef BPFW_FLOW_H
#define BPFW_FLOW_H

#include "maps.h"

union flow_key {
	struct bpfw_flow4_key v4;
	struct bpfw_flow6_key v6;
};

static __always_inline struct bpfw_action *flow_lookup(const union flow_key *key, bool v6)
{
	if (v6)
		return bpf_map_lookup_elem(&flows6, &key->v6);
	return bpf_map_lookup_elem(&flows4, &key->v4);
}

static __always_inline struct bpfw_flow4 *flow4_of(struct bpfw_action *action)
{
	return (struct bpfw_flow4 *)action;
}

static __always_inline struct bpfw_flow6 *flow6_of(struct bpfw_action *action)
{
	return (struct bpfw_flow6 *)action;
}

/* The tuple's hash for the candidate sets. */
static __always_inline __u64 flow_key_hash(const union flow_key *key, __u64 seed, bool v6)
{
	return v6 ? candidate_hash6(&key->v6, seed) : candidate_hash4(&key->v4, seed);
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
