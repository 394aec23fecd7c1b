/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parsing: from the frame to a flow key, or to the reason why there is none. Nothing
 * here changes the packet. What is let through is what ip_rcv(), ipv6_rcv() and
 * conntrack (udp_error(), tcp_error()) take without a second thought; the
 * stack sees everything else.
 */
#ifndef BPFW_PARSE_H
#define BPFW_PARSE_H

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

static __always_inline int parse_tcp(struct packet *p, const struct tcphdr *tcp, __u32 l4_len)
{
	__u32 header_len = tcp->doff * 4;

	if (header_len < TCP_HLEN || header_len > l4_len)
		return REASON(EXIT_L4_HEADER);
	p->tcp_flags = ((const __u8 *)tcp)[TCP_FLAG_BYTE];
	p->l4_header_len = header_len;
	p->seq_end = bpf_ntohl(tcp->seq) + l4_len - header_len;
	p->ack = bpf_ntohl(tcp->ack_seq);
	p->window = bpf_ntohs(tcp->window);
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

/* The transport header at `offset`, of a packet with `l4_len` bytes from there on. */
static __always_inline int parse_l4(struct packet *p, __u32 offset, __u32 l4_len)
{
	if (p->protocol == IPPROTO_TCP) {
		if (l4_len < TCP_HLEN)
			return REASON(EXIT_L4_HEADER);
		if (!packet_has(p, offset + TCP_HLEN))
			return REASON(EXIT_TRUNCATED);
		return parse_tcp(p, p->data + offset, l4_len);
	}
	if (l4_len < UDP_HLEN)
		return REASON(EXIT_L4_HEADER);
	if (!packet_has(p, offset + UDP_HLEN))
		return REASON(EXIT_TRUNCATED);
	return parse_udp(p, p->data + offset, l4_len);
}

static __always_inline int parse_ipv4(struct packet *p, struct bpfw_flow4_key *key)
{
	const struct iphdr *ip;
	const __be16 *ports;
	int reason;

	if (!packet_has(p, ETH_HLEN + IPV4_HLEN))
		return REASON(EXIT_TRUNCATED);
	ip = p->data + ETH_HLEN;
	p->l3_len = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5)
		return REASON(EXIT_IP_HEADER);
	if (ip->ihl > 5)
		return REASON(EXIT_IP_OPTIONS);
	if (p->l3_len < IPV4_HLEN)
		return REASON(EXIT_IP_HEADER);
	if (ETH_HLEN + p->l3_len > packet_frame_len(p))
		return REASON(EXIT_TRUNCATED);
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return REASON(EXIT_FRAGMENT);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return REASON(EXIT_PROTOCOL);
	if (ip->ttl <= 1)
		return REASON(EXIT_TTL);
	p->protocol = ip->protocol;
	reason = parse_l4(p, ETH_HLEN + IPV4_HLEN, p->l3_len - IPV4_HLEN);
	if (reason != PARSE_OK)
		return reason;

	ip = p->data + ETH_HLEN; /* the packet may have been pulled */
	ports = p->data + ETH_HLEN + IPV4_HLEN;
	if ((void *)(ports + 2) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	key->ingress = p->ingress;
	key->src = ip->saddr;
	key->dst = ip->daddr;
	key->sport = ports[0];
	key->dport = ports[1];
	key->protocol = p->protocol;
	return PARSE_OK;
}

static __always_inline bool is_ipv6_extension(__u8 next_header)
{
	return next_header == NEXTHDR_HOP || next_header == NEXTHDR_ROUTING ||
	       next_header == NEXTHDR_FRAGMENT || next_header == NEXTHDR_AUTH ||
	       next_header == NEXTHDR_DEST || next_header == NEXTHDR_MOBILITY;
}

static __always_inline int parse_ipv6(struct packet *p, struct bpfw_flow6_key *key)
{
	const struct ipv6hdr *ip6;
	const __be16 *ports;
	__u32 payload_len;
	int reason;

	if (!packet_has(p, ETH_HLEN + IPV6_HLEN))
		return REASON(EXIT_TRUNCATED);
	ip6 = p->data + ETH_HLEN;
	payload_len = bpf_ntohs(ip6->payload_len);
	p->l3_len = IPV6_HLEN + payload_len;
	if (ip6->version != 6)
		return REASON(EXIT_IP_HEADER);
	if (ETH_HLEN + p->l3_len > packet_frame_len(p))
		return REASON(EXIT_TRUNCATED);
	if (is_ipv6_extension(ip6->nexthdr))
		return REASON(EXIT_IP_OPTIONS);
	if (ip6->nexthdr != IPPROTO_TCP && ip6->nexthdr != IPPROTO_UDP)
		return REASON(EXIT_PROTOCOL);
	if (ip6->hop_limit <= 1)
		return REASON(EXIT_TTL);
	p->protocol = ip6->nexthdr;
	reason = parse_l4(p, ETH_HLEN + IPV6_HLEN, payload_len);
	if (reason != PARSE_OK)
		return reason;

	ip6 = p->data + ETH_HLEN;
	ports = p->data + ETH_HLEN + IPV6_HLEN;
	if ((void *)(ports + 2) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	key->ingress = p->ingress;
	__builtin_memcpy(key->src, &ip6->saddr, sizeof(key->src));
	__builtin_memcpy(key->dst, &ip6->daddr, sizeof(key->dst));
	key->sport = ports[0];
	key->dport = ports[1];
	key->protocol = p->protocol;
	return PARSE_OK;
}

#endif /* BPFW_PARSE_H */
