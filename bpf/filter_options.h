/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP options, gone over once: which kinds are there, and the MSS. As xt_tcpudp and xt_tcpmss do. */
#ifndef BPFW_FILTER_OPTIONS_H
#define BPFW_FILTER_OPTIONS_H

#include "filter_match.h"

#define TCP_DATA_OFFSET_BYTE 12
#define TCP_OPTIONS_MAX 40
#define TCP_OPTION_MSS 2
#define TCP_OPTION_MSS_LEN 4

static __always_inline void take_mss(struct filter_walk *walk, const struct frame *frame, __u32 at)
{
	const __u8 *option = linear_bytes(frame, at, TCP_OPTION_MSS_LEN);

	if (!option || option[1] != TCP_OPTION_MSS_LEN || walk->has_mss)
		return;
	walk->has_mss = 1;
	walk->mss = (__u16)(option[2] << 8 | option[3]);
}

/*
 * The option at walk->option_at; false at the end. Where it is is kept in the walk, of which the
 * verifier knows nothing: every turn of the loop is the same to it. The end of the list (kind 0) is
 * an option like others to the kernel.
 */
static __always_inline bool take_option(struct filter_walk *walk, const struct frame *frame)
{
	__u32 at = walk->option_at, end = walk->options_end;
	const __u8 *option;
	__u8 kind;

	if (at >= end)
		return false;
	option = linear_bytes(frame, at, 1);
	if (!option)
		return false;
	kind = *option;
	walk->options[kind >> 5] |= 1U << (kind & 31);
	if (kind < 2 || at + 1 == end) {
		walk->option_at++;
		return true;
	}
	if (kind == TCP_OPTION_MSS && end - at >= TCP_OPTION_MSS_LEN)
		take_mss(walk, frame, at);
	option = linear_bytes(frame, at, 2);
	if (!option)
		return false;
	walk->option_at += option[1] ? option[1] : 1;
	return true;
}

static __always_inline void parse_options(struct filter_walk *walk, struct frame *frame)
{
	const __u8 *header;
	__u32 len;

	if (!uses_operation(FILTER_OP_TCP_OPTION) && !uses_operation(FILTER_OP_MSS))
		return;
	walk->bad_options = 0;
	walk->has_mss = 0;
	for (int i = 0; i < 8; i++)
		walk->options[i] = 0;
	if (walk->protocol != IPPROTO_TCP || !walk->has_l4)
		return;
	frame_load(frame); /* a pull that failed leaves no pointers */
	header = frame_bytes(frame, walk->l4, TCP_HLEN);
	if (!header)
		return;
	len = (header[TCP_DATA_OFFSET_BYTE] >> 4) * 4;
	if (len < TCP_HLEN || walk->l4 - walk->l3 + len > walk->length ||
	    !frame_bytes(frame, walk->l4, len)) {
		walk->bad_options = 1;
		return;
	}
	walk->option_at = walk->l4 + TCP_HLEN;
	walk->options_end = walk->l4 + len;
	for (int i = 0; i < TCP_OPTIONS_MAX; i++)
		if (!take_option(walk, frame))
			break;
}

#endif /* BPFW_FILTER_OPTIONS_H */
