/* SPDX-License-Identifier: GPL-2.0-only */
/* Which built-in chain is the packet for, and which devices does it cross: the kernel's routes say. */
#ifndef BPFW_FILTER_ROUTE_H
#define BPFW_FILTER_ROUTE_H

#include "filter_maps.h"
#include "filter_packet.h"

#define NO_HOOK (-1) /* no rule is asked: the stack has no use for the packet */

static __always_inline void fill_question(struct bpf_fib_lookup *question,
					  const struct filter_walk *walk)
{
	question->family = is_ipv6 ? AF_INET6 : AF_INET;
	question->l4_protocol = walk->protocol;
	question->tot_len = 0; /* how long it is does not matter here */
	question->ifindex = walk->in;
	if (walk->has_ports) {
		question->sport = bpf_htons(walk->source_port);
		question->dport = bpf_htons(walk->destination_port);
	}
	if (is_ipv6) {
		question->flowinfo = bpf_htonl((__u32)walk->tos << 20);
		for (int i = 0; i < 4; i++) {
			question->ipv6_src[i] = walk->source[i];
			question->ipv6_dst[i] = walk->destination[i];
		}
	} else {
		question->tos = walk->tos;
		question->ipv4_src = walk->source[0];
		question->ipv4_dst = walk->destination[0];
	}
}

/* Linux 6.3; headers may be older. Kernels that do not know it say so at once. */
#define FIB_LOOKUP_SKIP_NEIGH (1U << 2)
#define UNKNOWN_FLAG (-22) /* -EINVAL */

/* Nobody asks for the neighbour, whose table would have to be searched. */
static __always_inline long ask_route(const struct frame *frame, struct bpf_fib_lookup *question)
{
	long said = bpf_fib_lookup(frame_context(frame), question, sizeof(*question),
				   FIB_LOOKUP_SKIP_NEIGH);

	if (said == UNKNOWN_FLAG)
		said = bpf_fib_lookup(frame_context(frame), question, sizeof(*question), 0);
	return said;
}

/* ip_forward() answers those whose time is over before it asks a rule. */
static __always_inline int forward(struct filter_walk *walk, __u32 out)
{
	if (walk->ttl <= 1)
		return NO_HOOK;
	walk->ttl--; /* as it is when FORWARD sees it */
	walk->out = out;
	return FILTER_HOOK_FORWARD;
}

/* A packet that came in: for this machine, or to be forwarded? */
static __always_inline int route_in(struct filter_walk *walk, const struct frame *frame)
{
	struct bpf_fib_lookup question = {};

	walk->in = frame->is_xdp ? frame->xdp->ingress_ifindex : frame->skb->ifindex;
	if (tracing)
		walk->in = assumed_in;
	if (tracing && assumed_out)
		return forward(walk, assumed_out);
	fill_question(&question, walk);
	switch (ask_route(frame, &question)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return forward(walk, question.ifindex);
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return NO_HOOK;
	default:
		/* Local, broadcast, multicast; also what cannot be routed, which the stack drops. */
		return FILTER_HOOK_INPUT;
	}
}

/* A packet that goes out, and that no filtered device brought in. */
static __always_inline int route_out(struct filter_walk *walk, const struct frame *frame)
{
	walk->in = tracing ? assumed_in : frame->skb->ingress_ifindex;
	walk->out = tracing ? assumed_out : frame->skb->ifindex;
	return walk->in ? FILTER_HOOK_FORWARD : FILTER_HOOK_OUTPUT;
}

#endif /* BPFW_FILTER_ROUTE_H */
