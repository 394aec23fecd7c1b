/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The link layer of a packet that leaves: room for the new header is made, or what is
 * too much taken away, and the header is written. At XDP that is bytes in front of the
 * packet. At TC the skb says what its bytes mean (its protocol, the tag beside the data,
 * the network header), and the kernel's own functions for tags keep all that true.
 */
#ifndef BPFW_ENCAPSULATION_H
#define BPFW_ENCAPSULATION_H

#include "packet.h"

/* The header that a packet leaves with, and by which device. */
struct link_out {
	__u32 egress; /* ifindex */
	__u32 len;    /* with the switch's tag */
	__u32 prefix; /* bytes of that before the MACs, */
	__u32 gap;    /* and behind them */
	__u8 tags;
	bool pppoe;
};

enum link_outcome {
	LINK_READY,
	LINK_REFUSED, /* nothing has happened */
	LINK_BROKEN,  /* something has: the packet cannot go on */
};

/*
 * The class that a tag's priority goes by. VLAN devices map the skb's priority to it
 * (vlan_dev_get_egress_qos_mask()): ip_forward() sets that from the TOS field
 * (rt_tos2priority(), of which two bits matter); ip6_forward() leaves what the VLAN
 * device of the ingress made of the tag's.
 */
static __always_inline __u32 packet_class(const struct packet *p, bool v6)
{
	const struct iphdr *ip = p->l3;

	if (v6)
		return p->pcp;
	return (void *)(ip + 1) <= p->data_end ? (ip->tos >> 3) & 3 : 0;
}

/* The TCI of tag number `i`, outermost first, in host byte order. */
static __always_inline __u16 link_tci(const struct bpfw_action *action, __u32 i, __u32 class)
{
	const __be16 *link = (const void *)action->link;
	__u16 tci = bpf_ntohs(link[7 + 2 * i]);

	if (action->pcp_at == ETH_HLEN + VLAN_HLEN * i)
		tci |= ((action->pcp >> (class * 4)) & 7) << VLAN_PRIO_SHIFT;
	return tci;
}

/* ---- XDP -------------------------------------------------------------------- */

static __always_inline enum link_outcome xdp_resize(struct packet *p, const struct link_out *out)
{
	const int shrink = (int)p->prefix + (int)p->link_len - (int)out->len;
	__u32 have;

	if (shrink) {
		if (bpf_xdp_adjust_head(p->xdp, shrink))
			return LINK_REFUSED;
	}
	if (shrink || p->prefix) {
		p->prefix = 0;
		p->link_len = out->len;
		packet_load(p);
	}
	have = packet_frame_len(p);
	if (have == out->len + p->l3_len)
		return LINK_READY;
	if (bpf_xdp_adjust_tail(p->xdp, (int)(out->len + p->l3_len - have)))
		return shrink ? LINK_BROKEN : LINK_REFUSED;
	packet_load(p);
	return LINK_READY;
}

/* Word `i` of `link` as it is for this packet. */
static __always_inline __be16 link_word(const struct packet *p, const struct bpfw_action *action,
					__u32 i, __u32 class)
{
	const __be16 *link = (const void *)action->link;

	if (action->pcp_at == i * 2)
		return bpf_htons(link_tci(action, (i - 7) / 2, class));
	if (action->flags & FLOW_PPPOE && i == 9u + 2 * action->tags)
		return bpf_htons((__u16)(p->l3_len + PPP_HLEN));
	return link[i];
}

/* What follows the MACs and the first EtherType; `out` is where `link` is to stand. */
static __always_inline void xdp_write_encapsulation(const struct packet *p, __be16 *out,
						    const struct bpfw_action *action, __u32 class)
{
	const __be16 *link = (const void *)action->link;

	for (__u32 i = ETH_HLEN / 2; i < LINK_HEADER_MAX / 2; i += 2) {
		if (action->link_len <= i * 2 || (void *)(out + i + 2) > p->data_end)
			break;
		out[i] = link_word(p, action, i, class);
		out[i + 1] = link[i + 1];
	}
}

/* The length of the tag that the frame gets for the switch. */
static __always_inline void switch_resize(const struct bpfw_action *action, struct link_out *out)
{
	switch (SWITCH_EGRESS_TAG(action->switch_egress)) {
	case SWITCH_TAG_MTK: /* combined with a VLAN tag, if there is one */
		out->gap = action->tags ? 0 : MTK_HLEN;
		break;
	case SWITCH_TAG_QCA:
		out->gap = QCA_HLEN;
		break;
	case SWITCH_TAG_GSWIP:
		out->prefix = GSWIP_TX_HLEN;
		break;
	}
	out->len += out->gap + out->prefix;
}

/* The tag itself, once all else stands there. */
static __always_inline void switch_write_tag(const struct packet *p,
					     const struct bpfw_action *action)
{
	__u16 port = 1 << SWITCH_EGRESS_PORT(action->switch_egress);
	__be16 *to = p->data;

	if ((void *)(to + 8) > p->data_end)
		return;
	switch (SWITCH_EGRESS_TAG(action->switch_egress)) {
	case SWITCH_TAG_MTK:
		if (!action->tags)
			to[7] = 0;
		else if (to[6] == bpf_htons(ETH_P_8021AD))
			port |= MTK_TX_TPID_88A8 << 8;
		else
			port |= MTK_TX_TPID_8100 << 8;
		to[6] = bpf_htons(port);
		break;
	case SWITCH_TAG_QCA:
		to[6] = bpf_htons(QCA_VERSION | QCA_TX_FROM_CPU | port);
		break;
	case SWITCH_TAG_GSWIP:
		to[0] = bpf_htons(GSWIP_TX_FROM_CPU);
		to[1] = bpf_htons(GSWIP_TX_PORT_MAP | port << 1);
		break;
	}
}

/* The whole link header, with a switch's tag in it. */
static __always_inline void switch_write(const struct packet *p, const struct bpfw_action *action,
					 const struct link_out *out, __u32 class)
{
	const __be16 *link = (const void *)action->link;
	__be16 *macs = p->data + (out->prefix & 7), *rest = macs + ((out->gap & 7) / 2);

	if ((void *)(rest + ETH_HLEN / 2) > p->data_end)
		return;
	macs_copy(macs, link);
	rest[ETH_ALEN] = link[ETH_ALEN];
	xdp_write_encapsulation(p, rest, action, class);
	switch_write_tag(p, action);
}

/* ---- TC --------------------------------------------------------------------- */

/*
 * Two tags pushed, one of which is in the frame then: its bytes and the EtherType behind
 * it are ours to write, and what skb_vlan_pop() finds there becomes skb->protocol.
 */
static __always_inline long skb_set_protocol(struct __sk_buff *skb, const void *bytes, __u32 len)
{
	long err = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0);

	if (!err)
		err = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 0);
	if (!err)
		err = bpf_skb_store_bytes(skb, ETH_HLEN + 2, bytes, len, BPF_F_RECOMPUTE_CSUM);
	if (!err)
		err = bpf_skb_vlan_pop(skb);
	return err ? err : bpf_skb_vlan_pop(skb);
}

/* Take the PPPoE header off. bpf_skb_adjust_room() wants skb->protocol to be IP's. */
static __always_inline long skb_shrink_pppoe(struct __sk_buff *skb, bool v6)
{
	__be16 type = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	long err = skb_set_protocol(skb, &type, sizeof(type));

	if (err)
		return err;
	return bpf_skb_adjust_room(skb, -PPPOE_HLEN, BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET);
}

/* The session's header as in `action`; skb->protocol tells drivers what they offload. */
static __always_inline long skb_grow_pppoe(struct __sk_buff *skb, const struct packet *p,
					   const struct bpfw_action *action)
{
	const __be16 *link = (const void *)action->link;
	__u32 at = action->tags == 0 ? 7 : action->tags == 1 ? 9 : 11;
	__be16 header[5];
	long err;

	header[0] = bpf_htons(ETH_P_PPP_SES);
	header[1] = PPPOE_SESSION;
	header[2] = link[at + 1];
	header[3] = bpf_htons((__u16)(p->l3_len + PPP_HLEN));
	header[4] = link[at + 3];
	err = bpf_skb_adjust_room(skb, PPPOE_HLEN, BPF_ADJ_ROOM_MAC,
				  BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_NO_CSUM_RESET);
	return err ? err : skb_set_protocol(skb, header, sizeof(header));
}

/*
 * From a device without a link layer to one that has one. The EtherType is written here,
 * the MACs with everybody's.
 */
static __always_inline long skb_grow_ethernet(struct packet *p, bool v6)
{
	long err = bpf_skb_change_head(p->skb, ETH_HLEN, 0);
	struct ethhdr *eth;

	if (err)
		return err;
	p->link_len = ETH_HLEN;
	packet_load(p);
	eth = p->data;
	if ((void *)(eth + 1) > p->data_end)
		return -1;
	eth->h_proto = v6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return 0;
}

static __always_inline long skb_push_tags(struct __sk_buff *skb, const struct bpfw_action *action,
					  __u32 class)
{
	const __be16 *link = (const void *)action->link;
	long err = 0;

	if (action->tags > 1)
		err = bpf_skb_vlan_push(skb, link[8], link_tci(action, 1, class));
	if (!err)
		err = bpf_skb_vlan_push(skb, link[6], link_tci(action, 0, class));
	return err;
}

static __always_inline long skb_relink(struct packet *p, const struct bpfw_action *action,
				       const struct link_out *out, __u32 class, bool v6)
{
	long err = 0;

	if (p->tags > 0)
		err = bpf_skb_vlan_pop(p->skb);
	if (!err && p->tags > 1)
		err = bpf_skb_vlan_pop(p->skb);
	if (!err && p->session)
		err = skb_shrink_pppoe(p->skb, v6);
	if (!err && out->pppoe)
		err = skb_grow_pppoe(p->skb, p, action);
	if (!err && out->tags)
		err = skb_push_tags(p->skb, action, class);
	return err;
}

/* ---- Both ------------------------------------------------------------------- */

/*
 * TC: cut what follows the IP packet (Ethernet padding), as ip_rcv() and ip6_rcv() do,
 * then change the encapsulation. Both leave a header that can be written.
 */
static __always_inline enum link_outcome skb_resize(struct packet *p,
						    const struct bpfw_action *action,
						    const struct link_out *out, __u32 header_len,
						    bool v6)
{
	__u32 want = (__u32)p->link_len + p->l3_len;
	__u32 class = packet_class(p, v6);

	if (p->skb->len != want) {
		if (bpf_skb_change_tail(p->skb, want, 0))
			return LINK_REFUSED;
		packet_load(p);
	}
	if (p->bare && out->len && skb_grow_ethernet(p, v6))
		return LINK_BROKEN;
	if (p->tags || p->session || out->tags || out->pppoe) {
		if (skb_relink(p, action, out, class, v6))
			return LINK_BROKEN;
		p->link_len =
			ETH_HLEN + (out->tags > 1 ? VLAN_HLEN : 0) + (out->pppoe ? PPPOE_HLEN : 0);
		packet_load(p);
	}
	if (p->l3 + header_len <= p->data_end)
		return LINK_READY;
	if (bpf_skb_pull_data(p->skb, (__u32)p->link_len + header_len))
		return LINK_BROKEN;
	packet_load(p);
	return p->l3 + header_len <= p->data_end ? LINK_READY : LINK_BROKEN;
}

/* Give the packet room for the link header that it leaves with, and end where IP ends. */
static __always_inline enum link_outcome link_resize(struct packet *p,
						     const struct bpfw_action *action,
						     const struct link_out *out, __u32 header_len,
						     bool v6)
{
	if (p->xdp)
		return xdp_resize(p, out);
	return skb_resize(p, action, out, header_len, v6);
}

/* Write it. At TC all but the MACs has been done by then. */
static __always_inline void link_write(const struct packet *p, const struct bpfw_action *action,
				       const struct link_out *out, bool v6)
{
	const __u16 *link = (const void *)action->link;
	__u16 *to = p->data;

	if (p->switched && action->switch_egress) {
		switch_write(p, action, out, action->pcp_at ? packet_class(p, v6) : 0);
		return;
	}
	if (!out->len || (void *)(to + ETH_HLEN / 2) > p->data_end)
		return;
	macs_copy(to, link);
	if (p->skb)
		return;
	to[ETH_ALEN] = link[ETH_ALEN];
	if (out->len > ETH_HLEN)
		xdp_write_encapsulation(p, to, action, action->pcp_at ? packet_class(p, v6) : 0);
}

#endif /* BPFW_ENCAPSULATION_H */
