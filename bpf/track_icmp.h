/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ICMP as conntrack takes it: errors belong to the connection of the packet that they quote
 * (nf_conntrack_inet_error()), neighbour discovery to none.
 */
#ifndef BPFW_TRACK_ICMP_H
#define BPFW_TRACK_ICMP_H

#include "track_other.h"

#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_REDIRECT 5
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12

#define ICMPV6_FIRST_INFORMATION 128
#define ICMPV6_LISTENER_QUERY 130
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_LISTENER_REPORT2 143

/* icmp_is_err(); all of ICMPv6 below 128 */
static __always_inline bool is_icmp_error(__u8 type)
{
	if (is_ipv6)
		return type < ICMPV6_FIRST_INFORMATION;
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_REDIRECT ||
	       type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/* noct_valid_new[]: multicast listeners and neighbour discovery */
static __always_inline bool is_untracked_icmp(__u8 type)
{
	return is_ipv6 &&
	       ((type >= ICMPV6_LISTENER_QUERY && type <= ICMPV6_NEIGHBOUR_ADVERTISEMENT) ||
		type == ICMPV6_LISTENER_REPORT2);
}

/*
 * ---- The packet that an error quotes --------------------------------------------------------
 *
 * As far as the error's own length goes: what is behind it in the frame is cut off by the stack.
 */

struct quoted {
	__u32 l4; /* where its transport header is in the frame */
	__u8 protocol;
};

static __always_inline bool read_quoted_ipv4(struct quoted *quoted, struct other_tuple *answer,
					     const struct filter_walk *walk, struct frame *frame,
					     __u32 at)
{
	const struct iphdr *ip = packet_bytes(walk, frame, at, IPV4_HLEN);

	if (!ip || (ip->frag_off & bpf_htons(IP_OFFSET)))
		return false;
	answer->ends.source[0] = ip->daddr;
	answer->ends.destination[0] = ip->saddr;
	quoted->protocol = ip->protocol;
	quoted->l4 = at + (((const __u8 *)ip)[0] & 0xf) * 4;
	return true;
}

/* Extension headers are not gone over: such an error counts as one of no connection. */
static __always_inline bool read_quoted_ipv6(struct quoted *quoted, struct other_tuple *answer,
					     const struct filter_walk *walk, struct frame *frame,
					     __u32 at)
{
	const struct ipv6hdr *ip6 = packet_bytes(walk, frame, at, IPV6_HLEN);
	const __be32 *address;

	if (!ip6)
		return false;
	address = (const void *)&ip6->saddr;
	for (int i = 0; i < 4; i++) {
		answer->ends.source[i] = address[4 + i];
		answer->ends.destination[i] = address[i];
	}
	quoted->protocol = ip6->nexthdr;
	quoted->l4 = at + IPV6_HLEN;
	return true;
}

/* The tuple of answers to the quoted packet. */
static __always_inline bool read_quoted(struct other_tuple *answer, const struct filter_walk *walk,
					struct frame *frame)
{
	const __u32 at = walk->l4 + ICMP_HLEN;
	struct quoted quoted = {};
	const __u8 *header;
	bool found = is_ipv6 ? read_quoted_ipv6(&quoted, answer, walk, frame, at) :
			       read_quoted_ipv4(&quoted, answer, walk, frame, at);

	if (!found)
		return false;
	answer->family = is_ipv6 ? AF_INET6 : AF_INET;
	answer->protocol = quoted.protocol;
	if (quoted.protocol == IPPROTO_TCP || quoted.protocol == IPPROTO_UDP) {
		header = packet_bytes(walk, frame, quoted.l4, 4);
		if (!header)
			return false;
		answer->ends.destination_port = *(const __be16 *)header;
		answer->ends.source_port = *(const __be16 *)(header + 2);
	} else if (is_icmp(quoted.protocol)) {
		__u16 type;

		header = packet_bytes(walk, frame, quoted.l4, ICMP_HLEN);
		if (!header)
			return false;
		type = inverse_type(header[0]);
		if (type > 0xff)
			return false;
		answer->ends.source_port = *(const __be16 *)(header + 4);
		answer->ends.destination_port = type_and_code((__u8)type, header[1]);
	}
	return true;
}

/* The outer packet has to go where the answers to the quoted one would. */
static __always_inline bool goes_where_answers_go(const struct other_tuple *answer,
						  const struct filter_walk *walk)
{
	bool same = true;

	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		same &= answer->ends.destination[i] == walk->destination[i];
	return same;
}

#endif /* BPFW_TRACK_ICMP_H */
