/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the rules ask about a packet, read from it once. Nothing here changes the packet. What
 * ip_rcv() and ipv6_rcv() drop before any rule is dropped here.
 */
#ifndef BPFW_FILTER_PARSE_H
#define BPFW_FILTER_PARSE_H

#include "filter_packet.h"

#define IP_OFFSET_MASK 0x1fff
#define IPPROTO_ICMPV6 58
#define ICMP_HLEN 8
#define SCTP_HLEN 12
#define IPV6_EXTENSIONS 8 /* headers before the transport's */
#define SEGMENTS_LEFT_BYTE 3
#define MOBILE_ROUTING 2 /* the type (RFC 6275, 6.4), and its header's length */
#define MOBILE_UNITS 2
#define IPV4_OPTIONS_MAX 40
#define IPOPT_END 0
#define IPOPT_NOOP 1
#define IPOPT_LSRR 131
#define IPOPT_SSRR 137

/* What parsing has come to. */
enum parsed {
	PARSED,
	PARSED_BROKEN,  /* ip_rcv(), ipv6_rcv() drop it, before any rule */
	PARSED_UNKNOWN, /* what the rules ask about cannot be found */
};

/* What is behind the packet's end in the frame is none of it: the stack cuts it off. */
static __always_inline bool has_bytes(const struct filter_walk *walk, __u32 offset, __u32 size)
{
	return offset - walk->l3 + size <= walk->length;
}

static __always_inline void *packet_bytes(const struct filter_walk *walk, struct frame *frame,
					  __u32 offset, __u32 size)
{
	return has_bytes(walk, offset, size) ? frame_bytes(frame, offset, size) : NULL;
}

static __always_inline __u8 cut_short(const struct filter_walk *walk, __u32 size, __u8 kind)
{
	if (!has_bytes(walk, walk->l4, 4))
		return kind | FILTER_CUT_PORTS;
	return has_bytes(walk, walk->l4, size) ? 0 : kind;
}

static __always_inline __u8 find_cut(const struct filter_walk *walk)
{
	switch (walk->protocol) {
	case IPPROTO_UDP:
		return cut_short(walk, UDP_HLEN, FILTER_CUT_UDP);
	case IPPROTO_SCTP:
		return cut_short(walk, SCTP_HLEN, FILTER_CUT_SCTP);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return cut_short(walk, ICMP_HLEN, FILTER_CUT_ICMP);
	default:
		return cut_short(walk, 4, 0);
	}
}

/*
 * Ports, flags, ICMP types: the first bytes of the transport header. A packet may end before them,
 * but where it does not and they are out of reach, nobody knows what the rules would say.
 */
static __always_inline enum parsed parse_transport(struct filter_walk *walk, struct frame *frame)
{
	const __u8 *header;

	switch (walk->protocol) {
	case IPPROTO_TCP:
		walk->bad_tcp = !has_bytes(walk, walk->l4, TCP_HLEN);
		if (walk->bad_tcp)
			return PARSED;
		header = frame_bytes(frame, walk->l4, TCP_HLEN);
		if (!header)
			return PARSED_UNKNOWN;
		walk->tcp_flags = header[TCP_FLAG_BYTE];
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		walk->cut = find_cut(walk);
		if (walk->cut & FILTER_CUT_PORTS)
			return PARSED;
		header = frame_bytes(frame, walk->l4, 4);
		if (!header)
			return PARSED_UNKNOWN;
		break;
	default:
		return PARSED;
	}
	walk->has_l4 = 1;
	if (walk->protocol == IPPROTO_ICMP || walk->protocol == IPPROTO_ICMPV6) {
		walk->icmp_type = header[0];
		walk->icmp_code = header[1];
		return PARSED;
	}
	walk->source_port = (__u16)(header[0] << 8 | header[1]);
	walk->destination_port = (__u16)(header[2] << 8 | header[3]);
	walk->has_ports = 1;
	return PARSED;
}

/*
 * The length of a packet whose header says 0. Of IPv4 and TCP it is one that GRO or TCP has made
 * larger than headers can tell (iph_totlen()); of IPv6 the same, or one that has a place for a
 * jumbogram's length (RFC 2675): ipv6_rcv() takes all that there is.
 */
static __always_inline __u32 untold_length(const struct frame *frame,
					   const struct filter_walk *walk, __u8 next_header)
{
	const bool large = !frame->is_xdp && frame->skb->gso_size;

	return large || (is_ipv6 && next_header == NEXTHDR_HOP) ? frame_len(frame) - walk->l3 : 0;
}

/*
 * Is the option at walk->option_at a source route? If not, goes on behind it as
 * __ip_options_compile() does, and to the end if it is broken: that is the kernel's to say. Where
 * it is is kept in the walk, see take_option() in filter_options.h.
 */
static __always_inline bool take_ip_option(struct filter_walk *walk, const struct frame *frame)
{
	const __u32 at = walk->option_at, left = walk->options_end - at;
	const __u8 *option = linear_bytes(frame, at, 1);
	__u32 len = left;

	if (option && (*option == IPOPT_LSRR || *option == IPOPT_SSRR))
		return true;
	if (option && *option == IPOPT_NOOP) {
		len = 1;
	} else if (option && *option != IPOPT_END && left > 1) {
		option = linear_bytes(frame, at, 2);
		if (option && option[1] > 1 && option[1] < left)
			len = option[1];
	}
	walk->option_at = at + len;
	return false;
}

/* Pulls the header: pointers into the frame are void. */
static __always_inline bool is_source_routed(struct filter_walk *walk, struct frame *frame)
{
	if (!frame_bytes(frame, walk->l3, walk->l4 - walk->l3))
		return true;
	walk->option_at = walk->l3 + IPV4_HLEN;
	walk->options_end = walk->l4;
	for (int i = 0; i < IPV4_OPTIONS_MAX && walk->option_at < walk->options_end; i++)
		if (take_ip_option(walk, frame))
			return true;
	return false;
}

static __always_inline enum parsed parse_ipv4(struct filter_walk *walk, struct frame *frame)
{
	const struct iphdr *ip = frame_bytes(frame, walk->l3, IPV4_HLEN);
	__u32 header_len;
	__u16 offset;

	if (!ip || ((const __u8 *)ip)[0] >> 4 != 4)
		return PARSED_BROKEN;
	header_len = (((const __u8 *)ip)[0] & 0xf) * 4;
	walk->length = bpf_ntohs(ip->tot_len);
	if (!walk->length)
		walk->length = untold_length(frame, walk, 0);
	if (header_len < IPV4_HLEN || walk->length < header_len ||
	    walk->length > frame_len(frame) - walk->l3)
		return PARSED_BROKEN;
	walk->source[0] = ip->saddr;
	walk->destination[0] = ip->daddr;
	walk->protocol = ip->protocol;
	walk->tos = ip->tos;
	walk->ttl = ip->ttl;
	walk->l4 = walk->l3 + header_len;
	offset = bpf_ntohs(ip->frag_off) & IP_OFFSET_MASK;
	walk->fragment = offset != 0;
	walk->first_of_many = !offset && (ip->frag_off & bpf_htons(IP_MF));
	walk->fragment_id = ip->id;
	walk->bad_tcp = offset == 1 && walk->protocol == IPPROTO_TCP;
	if (header_len > IPV4_HLEN)
		walk->goes_on = is_source_routed(walk, frame);
	return walk->fragment ? PARSED : parse_transport(walk, frame);
}

/*
 * As ipv6_rthdr_rcv() sees a header with segments left: those of types that it does not know end here,
 * with an ICMP error. That of Mobile IPv6 leads to this machine's home address, where the
 * next header is looked at. Types beyond that go on, or may do so in a later kernel.
 */
static __always_inline void note_source_route(struct filter_walk *walk, const __u8 *header)
{
	const __u8 type = header[2], left = header[SEGMENTS_LEFT_BYTE];

	if (!left || walk->route_ends || walk->goes_on)
		return;
	walk->goes_on = type > MOBILE_ROUTING;
	walk->route_ends = type < MOBILE_ROUTING ||
			   (type == MOBILE_ROUTING && (header[1] != MOBILE_UNITS || left != 1));
}

/* ip6t_rt: the first one counts; one that says it is longer than the packet gets that dropped. */
static __always_inline void note_routing(struct filter_walk *walk, const __u8 *header)
{
	note_source_route(walk, header);
	if (walk->has_routing)
		return;
	walk->has_routing = 1;
	walk->bad_routing = !has_bytes(walk, walk->l4, (header[1] + 1) * 8);
	walk->routing_type = header[2];
	walk->segments_left = header[SEGMENTS_LEFT_BYTE];
}

/* The headers between IPv6's and the transport's; as ipv6_find_hdr() goes over them. */
static __always_inline bool skip_extensions(struct filter_walk *walk, struct frame *frame)
{
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		const __u8 *header;

		switch (walk->protocol) {
		case NEXTHDR_FRAGMENT:
			header = packet_bytes(walk, frame, walk->l4, 8);
			if (!header)
				return false;
			walk->fragment = (header[2] << 8 | (header[3] & 0xf8)) != 0;
			walk->first_of_many = !walk->fragment && (header[3] & 1);
			walk->fragment_id = *(const __u32 *)(header + 4);
			walk->protocol = header[0];
			walk->l4 += 8;
			if (walk->fragment)
				return true;
			break;
		case NEXTHDR_AUTH:
			header = packet_bytes(walk, frame, walk->l4, 8);
			if (!header)
				return false;
			walk->protocol = header[0];
			walk->l4 += (header[1] + 2) * 4;
			break;
		case NEXTHDR_HOP:
		case NEXTHDR_ROUTING:
		case NEXTHDR_DEST:
			header = packet_bytes(walk, frame, walk->l4, 8);
			if (!header)
				return false;
			if (walk->protocol == NEXTHDR_ROUTING)
				note_routing(walk, header);
			walk->protocol = header[0];
			walk->l4 += (header[1] + 1) * 8;
			break;
		default:
			return true;
		}
	}
	return false;
}

static __always_inline enum parsed parse_ipv6(struct filter_walk *walk, struct frame *frame)
{
	const struct ipv6hdr *ip6 = frame_bytes(frame, walk->l3, IPV6_HLEN);
	const __be32 *address;
	__u32 untold;

	if (!ip6 || ((const __u8 *)ip6)[0] >> 4 != 6)
		return PARSED_BROKEN;
	walk->length = IPV6_HLEN + bpf_ntohs(ip6->payload_len);
	if (walk->length == IPV6_HLEN) {
		untold = untold_length(frame, walk, ip6->nexthdr);
		walk->length = untold ? untold : IPV6_HLEN;
	}
	if (walk->length > frame_len(frame) - walk->l3)
		return PARSED_BROKEN;
	address = (const void *)&ip6->saddr;
	for (int i = 0; i < 4; i++) {
		walk->source[i] = address[i];
		walk->destination[i] = address[4 + i];
	}
	walk->protocol = ip6->nexthdr;
	walk->tos = (__u8)(((const __u8 *)ip6)[0] << 4 | ((const __u8 *)ip6)[1] >> 4);
	walk->ttl = ip6->hop_limit;
	walk->l4 = walk->l3 + IPV6_HLEN;
	if (!skip_extensions(walk, frame))
		return PARSED_UNKNOWN;
	return walk->fragment ? PARSED : parse_transport(walk, frame);
}

/* Forget the packet before, and look at this one. */
static __always_inline enum parsed parse_packet(struct filter_walk *walk, struct frame *frame)
{
	walk->fragment = 0;
	walk->first_of_many = 0;
	walk->has_l4 = 0;
	walk->has_ports = 0;
	walk->has_routing = 0;
	walk->bad_routing = 0;
	walk->bad_tcp = 0;
	walk->goes_on = 0;
	walk->route_ends = 0;
	walk->cut = 0;
	walk->tcp_flags = 0;
	return is_ipv6 ? parse_ipv6(walk, frame) : parse_ipv4(walk, frame);
}

#endif /* BPFW_FILTER_PARSE_H */
