/* SPDX-License-Identifier: GPL-2.0-only */
/* The frame as the two hooks hand it over, and what differs between them. */
#ifndef BPFW_FILTER_PACKET_H
#define BPFW_FILTER_PACKET_H

#include "filter_shared.h"

struct frame {
	bool is_xdp;
	struct xdp_md *xdp; /* one of these two is NULL */
	struct __sk_buff *skb;
	void *data;
	void *data_end;
};

static __always_inline void frame_load(struct frame *frame)
{
	if (frame->is_xdp) {
		frame->data = (void *)(long)frame->xdp->data;
		frame->data_end = (void *)(long)frame->xdp->data_end;
	} else {
		const struct __sk_buff *skb = frame->skb;

		asm volatile("" : "+r"(skb)); /* see packet_load() in packet.h */
		frame->data = (void *)(long)skb->data;
		frame->data_end = (void *)(long)skb->data_end;
	}
}

static __always_inline __u32 frame_len(const struct frame *frame)
{
	__u64 len;

	if (!frame->is_xdp)
		return frame->skb->len;
	len = frame->data_end - frame->data;
	asm volatile("" : "+r"(len)); /* pointers are not subtracted in 32 bits */
	return (__u32)len;
}

#define FRAME_HEADERS 2047 /* headers are within that many bytes; a mask */

/*
 * `size` bytes from `offset` on, or NULL if the frame has not that many. At TC they may have to be
 * pulled into the linear part: pointers of earlier calls are then void.
 */
static __always_inline void *frame_bytes(struct frame *frame, __u64 offset, __u64 size)
{
	void *bytes;
	int err;

	if (offset > FRAME_HEADERS)
		return NULL;
	asm volatile("" : "+r"(offset));
	offset &= FRAME_HEADERS; /* what old verifiers understand, whatever the comparison was */
	bytes = frame->data + offset;
	if (bytes + size <= frame->data_end)
		return bytes;
	if (frame->is_xdp || frame->skb->len < offset + size)
		return NULL;
	err = bpf_skb_pull_data(frame->skb, (__u32)(offset + size));
	frame_load(frame); /* the pointers are void even if it fails */
	if (err)
		return NULL;
	bytes = frame->data + offset;
	return bytes + size <= frame->data_end ? bytes : NULL;
}

/* The same without pulling, for bytes that have been pulled; so pointers stay what they are. */
static __always_inline const __u8 *linear_bytes(const struct frame *frame, __u64 offset, __u64 size)
{
	const void *bytes;

	if (offset > FRAME_HEADERS)
		return NULL;
	asm volatile("" : "+r"(offset));
	offset &= FRAME_HEADERS; /* as in frame_bytes() */
	bytes = frame->data + offset;
	return bytes + size <= frame->data_end ? bytes : NULL;
}

static __always_inline int frame_pass(const struct frame *frame)
{
	return frame->is_xdp ? XDP_PASS : TC_NEXT;
}

static __always_inline int frame_drop(const struct frame *frame)
{
	return frame->is_xdp ? XDP_DROP : TC_DROP;
}

static __always_inline void *frame_context(const struct frame *frame)
{
	return frame->is_xdp ? (void *)frame->xdp : (void *)frame->skb;
}

/*
 * For programs that tail-call, at their beginning. Without a JIT the program that is called gets
 * the stack of its caller; from Linux 6.9 on that is no larger than the caller itself uses
 * (do_misc_fixups() sets aux->stack_depth anew after it had been made MAX_BPF_STACK), and the
 * callee writes over the interpreter's frame. So use all of it.
 */
static __always_inline void use_whole_stack(void)
{
	asm volatile("*(u64 *)(r10 - 512) = %0" : : "r"(0ULL) : "memory");
}

/* On to that program; returns only if there is none. */
static __always_inline void call_stage(const struct frame *frame, enum filter_stage stage)
{
	if (frame->is_xdp)
		bpf_tail_call(frame->xdp, &stages_xdp, stage);
	else
		bpf_tail_call(frame->skb, &stages_tc, stage);
}

/* On to the family's rules that are in force; returns only if there are none. */
static __always_inline void call_rules(const struct frame *frame, __u32 family)
{
	const __u32 key =
		family; /* `family` stays a constant: slots that are constants are jumps */
	const __u32 *turn = bpf_map_lookup_elem(&turns, &key);

	if (!turn)
		return;
	if (*turn) {
		call_stage(frame, FILTER_RULES_STAGE(family, 1));
		asm volatile("" ::: "memory"); /* the branches stay apart */
	} else {
		call_stage(frame, FILTER_RULES_STAGE(family, 0));
	}
}

#endif /* BPFW_FILTER_PACKET_H */
