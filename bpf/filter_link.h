/* SPDX-License-Identifier: GPL-2.0-only */
/* What the rules ask about a packet's link layer. */
#ifndef BPFW_FILTER_LINK_H
#define BPFW_FILTER_LINK_H

#include "filter_match.h"

/* <linux/if_packet.h> */
#define PACKET_HOST 0
#define PACKET_BROADCAST 1
#define PACKET_MULTICAST 2

#define LOOPBACK_IFINDEX 1 /* it has Ethernet headers, but is no Ethernet (xt_mac) */

/* As eth_type_trans() has it; a frame for another host is as good as one for this one here. */
static __always_inline __u8 ethernet_type(const struct ethhdr *eth)
{
	const __u8 *to = eth->h_dest;

	if (!(to[0] & 1))
		return PACKET_HOST;
	if ((to[0] & to[1] & to[2] & to[3] & to[4] & to[5]) == 0xff)
		return PACKET_BROADCAST;
	return PACKET_MULTICAST;
}

/* Are there so many bytes from the kernel's network header to the end of what is linear? */
static __always_inline bool has_from_network(const struct frame *frame, __u64 bytes)
{
	__u8 last;

	return !bpf_skb_load_bytes_relative(frame->skb, (__u32)bytes - 1, &last, sizeof(last),
					    BPF_HDR_START_NET);
}

#define OWN_HEADER 255   /* bytes, at most: a power of two, less one */
#define RELATIVE 0x10000 /* bytes that the helper above reaches */

/*
 * Where the IP header is in a packet without an Ethernet header. Mostly at its beginning. Some
 * devices have a header of their own (IPoIB; GRE whose other end is not fixed has the IP header
 * that will be around the packet), and before Linux 5.14 what came out of a tunnel had all that had
 * been in front of it. Greater than OWN_HEADER: not found.
 */
static __always_inline __u32 find_network(const struct frame *frame)
{
	const __u64 linear = frame->data_end - frame->data;
	__u32 before = 0;

	if (linear > RELATIVE || has_from_network(frame, linear))
		return 0;
	for (__u32 step = (OWN_HEADER + 1) / 2; step; step /= 2)
		if (before + step < linear && !has_from_network(frame, linear - before - step))
			before += step;
	return before + 1;
}

/*
 * When a packet goes out, the header is that of the device it goes out by: where it came from is
 * not known any more.
 */
static __always_inline void parse_link(struct filter_walk *walk, struct frame *frame)
{
	/* What traces is run on lo, whose addresses say nothing. */
	const bool by_header = frame->is_xdp || tracing;
	const struct ethhdr *eth;

	if (!uses_operation(FILTER_OP_MAC) && !uses_operation(FILTER_OP_PACKET_TYPE))
		return;
	walk->has_mac = 0;
	walk->packet_type = by_header ? PACKET_HOST : (__u8)frame->skb->pkt_type;
	if (walk->bare || !walk->l3 || (!frame->is_xdp && walk->outgoing))
		return;
	frame_load(frame);
	eth = frame_bytes(frame, 0, ETH_HLEN);
	if (!eth)
		return;
	walk->has_mac = walk->in != LOOPBACK_IFINDEX;
	walk->mac_high = *(const __u32 *)&eth->h_source[0];
	walk->mac_low = *(const __u16 *)&eth->h_source[4];
	if (by_header)
		walk->packet_type = ethernet_type(eth);
}

#endif /* BPFW_FILTER_LINK_H */
