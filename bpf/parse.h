/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parsing: from the frame to a flow key, or to the reason why there is none. Nothing
 * here changes the packet. What is let through is what ip_rcv(), ipv6_rcv() and
 * conntrack (udp_error(), tcp_error()) take without a second thought; the
 * stack sees everything else.
 */
#ifndef BPFW_PARSE_H
#define BPFW_PARSE_H

#include "flow.h"
#include "packet.h"

#define PARSE_OK (-1) /* otherwise an enum exit_reason */

/*
 * An exit reason that is a constant only where the exit is taken. Left to itself, the
 * compiler joins all exits into one and writes a reason to the stack before each check,
 * for every packet that passes it.
 */
#define REASON(reason)                                                 \
	({                                                             \
		long reason_;                                          \
		asm volatile("%0 = %1" : "=r"(reason_) : "i"(reason)); \
		(int)reason_;                                          \
	})

static __always_inline bool is_vlan_type(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* One more tag; false for a third one, and for VLAN id 0, which only tells a priority. */
static __always_inline bool take_tag(struct packet *p, __be16 type, __u16 tci)
{
	__u16 tag = VLAN_TAGGED | (tci & VLAN_VID_MASK);

	if (!(tci & VLAN_VID_MASK))
		return false;
	if (type == bpf_htons(ETH_P_8021AD))
		tag |= VLAN_SERVICE;
	if (p->tags == 0)
		p->vlan[0] = tag;
	else
		p->vlan[1] = tag;
	p->tags++;
	p->pcp = tci >> VLAN_PRIO_SHIFT;
	return true;
}

/* A tag in the frame, whose EtherType `*type` has been seen before it. */
static __always_inline int parse_tag(struct packet *p, __be16 *type)
{
	const __be16 *tag;

	if (!packet_has_l3(p, VLAN_HLEN))
		return REASON(EXIT_TRUNCATED);
	tag = p->l3;
	if (!take_tag(p, *type, bpf_ntohs(tag[0])))
		return REASON(EXIT_VLAN);
	*type = tag[1];
	p->link_len += VLAN_HLEN;
	p->l3 += VLAN_HLEN;
	return PARSE_OK;
}

/*
 * TC: the outermost tag is not in the frame, hardware or the kernel (skb_vlan_untag())
 * took it off. XDP: a driver must not have taken it, see port.c.
 */
static __always_inline int parse_tags(struct packet *p, __be16 *type)
{
	int reason;

	if (p->skb) {
		if (p->skb->vlan_present &&
		    !take_tag(p, (__be16)p->skb->vlan_proto, (__u16)p->skb->vlan_tci))
			return REASON(EXIT_VLAN);
		if (is_vlan_type(*type) && !p->skb->vlan_present)
			return REASON(EXIT_VLAN);
	} else if (is_vlan_type(*type)) {
		reason = parse_tag(p, type);
		if (reason != PARSE_OK)
			return reason;
	}
	if (!is_vlan_type(*type))
		return PARSE_OK;
	reason = parse_tag(p, type);
	if (reason != PARSE_OK)
		return reason;
	return is_vlan_type(*type) ? REASON(EXIT_VLAN) : PARSE_OK;
}

/* The rest is pppoe_rcv()'s and ppp's: discovery, LCP, compressed protocol fields. */
static __always_inline int parse_pppoe(struct packet *p, __be16 *type)
{
	const __be16 *header;

	if (!packet_has_l3(p, PPPOE_HLEN))
		return REASON(EXIT_TRUNCATED);
	header = p->l3;
	if (header[0] != PPPOE_SESSION || !header[1])
		return REASON(EXIT_PPPOE);
	if (header[3] == PPP_IP)
		*type = bpf_htons(ETH_P_IP);
	else if (header[3] == PPP_IPV6)
		*type = bpf_htons(ETH_P_IPV6);
	else
		return REASON(EXIT_PPPOE);
	p->session = header[1];
	p->session_len = bpf_ntohs(header[2]);
	p->link_len += PPPOE_HLEN;
	p->l3 += PPPOE_HLEN;
	return PARSE_OK;
}

/*
 * The tag of a DSA switch says by which of its ports the frame came in: that is the
 * ingress. Leaves the EtherType behind it in `type`.
 */
static __always_inline int parse_switch(struct packet *p, __be16 *type)
{
	__u32 port, ingress = p->ingress; /* p's own address must not leave the function */
	const struct bpfw_conduit *conduit = bpf_map_lookup_elem(&conduits, &ingress);
	const __be16 *words = p->data;

	if (!conduit)
		return PARSE_OK;
	if ((void *)(words + (GSWIP_RX_HLEN + ETH_HLEN) / 2) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	switch (conduit->tag) {
	case SWITCH_TAG_MTK:
		port = bpf_ntohs(words[6]) & MTK_RX_PORT;
		*type = words[8];
		p->link_len += MTK_HLEN;
		break;
	case SWITCH_TAG_QCA: /* other types of frames are from the switch itself */
		if ((bpf_ntohs(words[6]) & QCA_RX_VERSION_TYPE) != QCA_VERSION)
			return REASON(EXIT_SWITCH);
		port = bpf_ntohs(words[6]) & QCA_RX_PORT;
		*type = words[7];
		p->link_len += QCA_HLEN;
		break;
	case SWITCH_TAG_GSWIP:
		port = (bpf_ntohs(words[3]) >> 4) & (SWITCH_PORTS - 1);
		*type = words[(GSWIP_RX_HLEN + ETH_HLEN) / 2 - 1];
		p->prefix = GSWIP_RX_HLEN;
		break;
	default:
		return REASON(EXIT_SWITCH);
	}
	p->ingress = conduit->user[port & (SWITCH_PORTS - 1)];
	packet_load(p);
	return p->ingress ? PARSE_OK : REASON(EXIT_SWITCH);
}

/* The Ethernet header, and a switch's tag. Leaves the EtherType of what follows in `type`. */
static __always_inline int parse_ethernet(struct packet *p, __be16 *type)
{
	const struct ethhdr *eth;
	int reason;

	if (!packet_has(p, ETH_HLEN))
		return REASON(EXIT_TRUNCATED);
	eth = p->data;
	*type = eth->h_proto;
	if (p->switched) {
		reason = parse_switch(p, type);
		eth = p->data;
		if (reason != PARSE_OK)
			return reason;
		if ((void *)(eth + 1) > p->data_end)
			return REASON(EXIT_TRUNCATED);
	}
	return eth->h_dest[0] & 1 ? REASON(EXIT_GROUP_ADDRESS) : PARSE_OK;
}

/* Does IP of that kind follow the Ethernet header at once? */
static __always_inline bool is_plain(const struct packet *p, __be16 type, __u16 wanted)
{
	return !p->switched && type == bpf_htons(wanted) && !(p->skb && p->skb->vlan_present);
}

/* What is between Ethernet and IP. */
static __always_inline int parse_encapsulation(struct packet *p, __be16 *type)
{
	int reason = PARSE_OK;

	if (is_vlan_type(*type) || (p->skb && p->skb->vlan_present))
		reason = parse_tags(p, type);
	if (reason == PARSE_OK && *type == bpf_htons(ETH_P_PPP_SES))
		reason = parse_pppoe(p, type);
	return reason;
}

/* A device without a link layer says what its packets are. */
static __always_inline int parse_bare(const struct packet *p, __be16 *type)
{
	*type = (__be16)p->skb->protocol;
	return p->skb->vlan_present ? REASON(EXIT_VLAN) : PARSE_OK;
}

/*
 * The halves of a header's byte. Bitfields of vmlinux.h lie as on the machine whose BTF it was
 * made from, which may have the other byte order.
 */
static __always_inline __u32 high_half(const void *header, __u32 offset)
{
	return ((const __u8 *)header)[offset] >> 4;
}

static __always_inline __u32 low_half(const void *header, __u32 offset)
{
	return ((const __u8 *)header)[offset] & 0xf;
}

static __always_inline int parse_tcp(struct packet *p, const struct tcphdr *tcp, __u32 l4_len)
{
	__u32 header_len = high_half(tcp, TCP_OFFSET_BYTE) * 4;

	if (header_len < TCP_HLEN || header_len > l4_len)
		return REASON(EXIT_L4_HEADER);
	p->tcp_flags = ((const __u8 *)tcp)[TCP_FLAG_BYTE];
	p->l4_header_len = header_len;
	return PARSE_OK;
}

static __always_inline int parse_udp(struct packet *p, const struct udphdr *udp, __u32 l4_len)
{
	__u32 len = bpf_ntohs(udp->len);

	/* A GRO packet's UDP length is that of the whole, as its IP length is. */
	if (len < UDP_HLEN || len > l4_len)
		return REASON(EXIT_L4_HEADER);
	p->l4_header_len = UDP_HLEN;
	return PARSE_OK;
}

/* The transport header `offset` bytes into the packet with `l4_len` bytes from there on. */
static __always_inline int parse_l4(struct packet *p, __u32 offset, __u32 l4_len)
{
	if (p->protocol == IPPROTO_TCP) {
		if (l4_len < TCP_HLEN)
			return REASON(EXIT_L4_HEADER);
		if (!packet_has_l3(p, offset + TCP_HLEN))
			return REASON(EXIT_TRUNCATED);
		return parse_tcp(p, p->l3 + offset, l4_len);
	}
	if (l4_len < UDP_HLEN)
		return REASON(EXIT_L4_HEADER);
	if (!packet_has_l3(p, offset + UDP_HLEN))
		return REASON(EXIT_TRUNCATED);
	return parse_udp(p, p->l3 + offset, l4_len);
}

static __always_inline int parse_ipv4(struct packet *p, union flow_key *key)
{
	const struct iphdr *ip;
	const __be32 *ports; /* both, aligned as IP is */
	int reason;

	if (!packet_has_l3(p, IPV4_HLEN))
		return REASON(EXIT_TRUNCATED);
	ip = p->l3;
	p->l3_len = bpf_ntohs(ip->tot_len);
	if (high_half(ip, 0) != 4 || low_half(ip, 0) < 5)
		return REASON(EXIT_IP_HEADER);
	if (low_half(ip, 0) > 5)
		return REASON(EXIT_IP_OPTIONS);
	if (p->l3_len < IPV4_HLEN)
		return REASON(EXIT_IP_HEADER);
	if (p->l3_len > packet_l3_room(p))
		return REASON(EXIT_TRUNCATED);
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return REASON(EXIT_FRAGMENT);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return REASON(EXIT_PROTOCOL);
	if (ip->ttl <= 1)
		return REASON(EXIT_TTL);
	p->protocol = ip->protocol;
	reason = parse_l4(p, IPV4_HLEN, p->l3_len - IPV4_HLEN);
	if (reason != PARSE_OK)
		return reason;

	ip = p->l3; /* the packet may have been pulled */
	ports = p->l3 + IPV4_HLEN;
	if ((void *)(ports + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	key->word[0] = key_word(p->ingress, key_half(p->vlan[0], p->vlan[1]));
	key->word[1] = key_word(ip->saddr, ip->daddr);
	key->word[2] = key_word(*ports, key_half(p->session, p->protocol));
	return PARSE_OK;
}

static __always_inline bool is_ipv6_extension(__u8 next_header)
{
	return next_header == NEXTHDR_HOP || next_header == NEXTHDR_ROUTING ||
	       next_header == NEXTHDR_FRAGMENT || next_header == NEXTHDR_AUTH ||
	       next_header == NEXTHDR_DEST || next_header == NEXTHDR_MOBILITY;
}

static __always_inline int parse_ipv6(struct packet *p, union flow_key *key)
{
	const struct ipv6hdr *ip6;
	const __be32 *ports, *address;
	__u32 payload_len;
	int reason;

	if (!packet_has_l3(p, IPV6_HLEN))
		return REASON(EXIT_TRUNCATED);
	ip6 = p->l3;
	payload_len = bpf_ntohs(ip6->payload_len);
	p->l3_len = IPV6_HLEN + payload_len;
	if (high_half(ip6, 0) != 6)
		return REASON(EXIT_IP_HEADER);
	if (p->l3_len > packet_l3_room(p))
		return REASON(EXIT_TRUNCATED);
	if (is_ipv6_extension(ip6->nexthdr))
		return REASON(EXIT_IP_OPTIONS);
	if (ip6->nexthdr != IPPROTO_TCP && ip6->nexthdr != IPPROTO_UDP)
		return REASON(EXIT_PROTOCOL);
	if (ip6->hop_limit <= 1)
		return REASON(EXIT_TTL);
	p->protocol = ip6->nexthdr;
	reason = parse_l4(p, IPV6_HLEN, payload_len);
	if (reason != PARSE_OK)
		return reason;

	ip6 = p->l3;
	ports = p->l3 + IPV6_HLEN;
	if ((void *)(ports + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	address = (const void *)&ip6->saddr;
	key->word[0] = key_word(p->ingress, key_half(p->vlan[0], p->vlan[1]));
#pragma unroll
	for (int i = 0; i < 4; i++)
		key->word[1 + i] = key_word(address[2 * i], address[2 * i + 1]);
	key->word[5] = key_word(*ports, key_half(p->session, p->protocol));
	return PARSE_OK;
}

#endif /* BPFW_PARSE_H */
