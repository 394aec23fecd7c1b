/* SPDX-License-Identifier: GPL-2.0-only */
/* xt_u32: words of the packet, anywhere from the IP header on. */
#ifndef BPFW_FILTER_U32_H
#define BPFW_FILTER_U32_H

#include "filter_maps.h"
#include "filter_packet.h"

#define XDP_FRAME_MASK 0x3fff /* longer than any frame at XDP */

static __always_inline bool read_word(const struct filter_walk *walk, const struct frame *frame,
				      __u32 at, __u32 *word)
{
	__u64 offset = (__u64)walk->l3 + at;
	const __u8 *bytes;

	if (!frame->is_xdp) {
		if (bpf_skb_load_bytes(frame->skb, (__u32)offset, word, sizeof(*word)))
			return false;
		*word = bpf_ntohl(*word);
		return true;
	}
	if (offset > XDP_FRAME_MASK)
		return false;
	asm volatile("" : "+r"(offset));
	offset &= XDP_FRAME_MASK;
	bytes = (const void *)(long)frame->xdp->data + offset;
	if ((const void *)bytes + sizeof(*word) > (const void *)(long)frame->xdp->data_end)
		return false;
	*word = (__u32)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
	return true;
}

/* ip_decrease_ttl() on bytes 8 to 11 of the header. */
static __always_inline __u32 decrease_ttl(__u32 word)
{
	__u32 check = (word & 0xffff) + 0x0100;

	if (check >= 0xffff)
		check++;
	return ((word & 0xffff0000) - 0x01000000) | (check & 0xffff);
}

/*
 * A word of the packet as rules see it: what is forwarded has lost one of its TTL by then, which
 * changes bytes 8, 10 and 11 of an IPv4 header, byte 7 of an IPv6 header.
 */
static __always_inline bool packet_word(const struct filter_walk *walk, const struct frame *frame,
					__u32 at, __u32 *word)
{
	const __u32 low = is_ipv6 ? 4 : 5, high = is_ipv6 ? 7 : 11;
	__u32 base = at <= 8 ? 4 : 8, first, second;

	if (walk->hook != FILTER_HOOK_FORWARD || (!frame->is_xdp && walk->outgoing) || at < low ||
	    at > high)
		return read_word(walk, frame, at, word);
	if (!read_word(walk, frame, base, &first) || !read_word(walk, frame, base + 4, &second))
		return false;
	if (is_ipv6)
		first--;
	else if (base == 4)
		second = decrease_ttl(second);
	else
		first = decrease_ttl(first);
	*word = (__u32)(((__u64)first << 32 | second) >> (32 - 8 * (at - base)));
	return true;
}

static __always_inline void u32_number(struct filter_walk *walk, const struct filter_op *op)
{
	if (op->c == FILTER_U32_AND)
		walk->u32_value &= op->a;
	else if (op->c == FILTER_U32_LEFT)
		walk->u32_value <<= op->a & 31;
	else
		walk->u32_value >>= op->a & 31;
}

/* Does the packet reach that far? */
static __always_inline bool u32_word(struct filter_walk *walk, const struct frame *frame,
				     const struct filter_op *op)
{
	__u32 at = 0, word = walk->u32_value;

	if (op->c == FILTER_U32_AT) {
		at = walk->u32_at + word;
		if (at < word)
			return false;
	}
	walk->u32_at = at;
	if (at > walk->length || walk->length - at < 4 || op->a > walk->length - at - 4 ||
	    !packet_word(walk, frame, at + op->a, &word))
		return false;
	walk->u32_value = word;
	return true;
}

#endif /* BPFW_FILTER_U32_H */
