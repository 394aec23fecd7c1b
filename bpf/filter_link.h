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
	if (!walk->l3 || (!frame->is_xdp && walk->outgoing))
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
