/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rewriting what IP and the transport carry, after everything has been decided.
 * The result is what ip_forward()/ip6_forward(), nf_nat and neighbour output make of it.
 */
#ifndef BPFW_REWRITE_H
#define BPFW_REWRITE_H

#include "checksum.h"
#include "packet.h"

/* Transport checksum as bytes in memory: exact for XDP, where nothing else refers to it. */
static __always_inline void rewrite_l4_check(const struct packet *p, __sum16 *check, __u32 delta)
{
	__u16 sum;

	if (p->protocol == IPPROTO_TCP) {
		*check = csum_apply(*check, delta);
		return;
	}
	if (!*check) /* UDP over IPv4: the sender did without */
		return;
	sum = csum_apply(*check, delta);
	*check = sum ? sum : CSUM_MANGLED_0;
}

/*
 * TC: an skb may carry only the pseudo header's sum (CHECKSUM_PARTIAL) or a sum of the
 * whole packet (CHECKSUM_COMPLETE). The helper knows the first two cases and, for IPv4,
 * the third; its argument `to` with size 0 is a difference, which is what a delta is.
 */
static __always_inline void skb_replace_l4_check(const struct packet *p,
						 const struct bpfw_action *action, __u32 offset)
{
	__u64 flags = p->protocol == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (action->l4_addr_delta)
		bpf_l4_csum_replace(p->skb, offset, 0, action->l4_addr_delta,
				    flags | BPF_F_PSEUDO_HDR);
	if (action->l4_port_delta)
		bpf_l4_csum_replace(p->skb, offset, 0, action->l4_port_delta, flags);
}

/*
 * TC: is the transport checksum known to be right (CHECKSUM_UNNECESSARY: GRO or hardware has
 * verified it)? Then nothing but its bytes has to follow, which costs a fraction of what the
 * helpers do to find that out.
 */
static __always_inline bool skb_check_is_verified(const struct packet *p)
{
	return bpf_csum_level(p->skb, BPF_CSUM_LEVEL_QUERY) >= 0;
}

/* Where the checksum stands in the transport header. */
static __always_inline __u32 l4_check_offset(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP ? 16 : 6;
}

/*
 * rt_tos2priority(): ip_forward() sets the skb's priority from the TOS field, for the
 * queueing discipline of the egress interface. XDP does not meet one.
 */
static __always_inline void skb_set_priority(struct __sk_buff *skb, __u8 tos)
{
	/* ip_tos2prio[] of the kernel depends on these two bits only. */
	__u32 band = (tos >> 3) & 3;

	skb->priority = band == 0 ? 0 : band == 1 ? 2 : band == 2 ? 6 : 4;
}

static __always_inline void rewrite_ipv4(struct packet *p, const struct bpfw_flow4 *flow)
{
	const struct bpfw_action *action = &flow->action;
	struct iphdr *ip = p->l3;
	__be16 *ports = (void *)(ip + 1);
	__u32 offset = (__u32)p->link_len + IPV4_HLEN + l4_check_offset(p);
	__sum16 *check = p->l3 + IPV4_HLEN + l4_check_offset(p);
	bool no_check;

	if ((void *)(ports + 2) > p->data_end || (void *)(check + 1) > p->data_end)
		return; /* parse_l4() has made sure */
	no_check = p->protocol == IPPROTO_UDP && !*check;
	ip->ttl--;
	ip->saddr = flow->src;
	ip->daddr = flow->dst;
	ip->check = csum_apply(ip->check, action->l3_delta);
	ports[0] = action->sport;
	ports[1] = action->dport;
	if (p->skb) {
		skb_set_priority(p->skb, ip->tos);
		if (!(action->flags & FLOW_NAT))
			return;
	}
	if (p->xdp || skb_check_is_verified(p))
		rewrite_l4_check(p, check, (__u32)action->l4_addr_delta + action->l4_port_delta);
	else if (no_check)
		bpf_csum_update(p->skb, action->l4_port_delta);
	else
		skb_replace_l4_check(p, action, offset);
}

/*
 * IPv6 has no header checksum to balance a change, so a CHECKSUM_COMPLETE skb needs its
 * sum corrected by hand; bpf_csum_update() refuses for every other skb, which tells them
 * apart. (bpf_l4_csum_replace() got that case wrong for IPv6 until Linux 6.16.)
 */
static __always_inline void skb_rewrite_l4_ipv6(struct packet *p, const struct bpfw_action *action,
						__u16 hop_delta, __u32 offset)
{
	__u32 delta = (__u32)action->l4_addr_delta + action->l4_port_delta;
	__sum16 *check = p->l3 + IPV6_HLEN + l4_check_offset(p);
	bool complete = (__s64)bpf_csum_update(p->skb, hop_delta) >= 0;

	if (!(action->flags & FLOW_NAT) || (void *)(check + 1) > p->data_end)
		return;
	if (complete && p->protocol == IPPROTO_UDP && !*check)
		bpf_csum_update(p->skb, delta);
	else if (complete || skb_check_is_verified(p))
		rewrite_l4_check(p, check, delta);
	else
		skb_replace_l4_check(p, action, offset);
}

static __always_inline void rewrite_ipv6(struct packet *p, const struct bpfw_flow6 *flow)
{
	const struct bpfw_action *action = &flow->action;
	struct ipv6hdr *ip6 = p->l3;
	__be16 *ports = (void *)(ip6 + 1);
	__u32 offset = (__u32)p->link_len + IPV6_HLEN + l4_check_offset(p);
	__sum16 *check = p->l3 + IPV6_HLEN + l4_check_offset(p);
	/* The hop limit is the low byte of its 16-bit word: one less is ~1 more. */
	const __u16 hop_delta = (__u16)~bpf_htons(1);

	if ((void *)(ports + 2) > p->data_end || (void *)(check + 1) > p->data_end)
		return;
	ip6->hop_limit--;
	if (action->flags & FLOW_NAT) {
		__builtin_memcpy(&ip6->saddr, flow->src, sizeof(flow->src));
		__builtin_memcpy(&ip6->daddr, flow->dst, sizeof(flow->dst));
		ports[0] = action->sport;
		ports[1] = action->dport;
	}
	if (p->xdp) {
		if (action->flags & FLOW_NAT)
			rewrite_l4_check(p, check,
					 (__u32)action->l4_addr_delta + action->l4_port_delta);
		return;
	}
	skb_rewrite_l4_ipv6(p, action, hop_delta, offset);
}

#endif /* BPFW_REWRITE_H */
