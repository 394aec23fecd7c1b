/* SPDX-License-Identifier: GPL-2.0-only */
/* Which built-in chain is the packet for, and which devices does it cross: the kernel's routes say. */
#ifndef BPFW_FILTER_ROUTE_H
#define BPFW_FILTER_ROUTE_H

#include "filter_maps.h"
#include "filter_packet.h"

#define NO_HOOK (-1) /* no rule is asked: the stack has no use for the packet */

/* What bpf_fib_lookup() is asked, up to its answer. */
#define QUESTION_WORDS (__builtin_offsetof(struct bpf_fib_lookup, h_vlan_proto) / sizeof(__u32))

union route_question {
	struct bpf_fib_lookup asked; /* the answer overwrites parts of it */
	__u32 words[sizeof(struct bpf_fib_lookup) / sizeof(__u32)];
};

enum route {
	ROUTE_HERE,    /* local, broadcast, multicast; also none, when the stack drops it */
	ROUTE_ONWARD,  /* to be forwarded */
	ROUTE_NOWHERE, /* a route says that it shall not be */
};

/*
 * What the kernel has said about a question. It holds for the jiffy in which it was asked: packets
 * of a flow that come closer to each other than that ask once, and a change of routes is seen
 * after some milliseconds, as it is by a packet that was on its way.
 */
struct route_memory {
	__u32 words[QUESTION_WORDS];
	__u32 out; /* ifindex, of ROUTE_ONWARD */
	__u32 route;
	__u64 jiffy; /* 0: not valid */
};

#define ROUTES_SHIFT 8

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << ROUTES_SHIFT);
	__type(key, __u32);
	__type(value, struct route_memory);
} routes SEC(".maps");

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

static __always_inline enum route ask_kernel(const struct frame *frame,
					     struct bpf_fib_lookup *question)
{
	switch (ask_route(frame, question)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return ROUTE_ONWARD;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return ROUTE_NOWHERE;
	default:
		return ROUTE_HERE;
	}
}

/* Any will do: what comes to the wrong place asks the kernel. */
static __always_inline struct route_memory *find_memory(const __u32 *words)
{
	__u64 mixed = (((__u64)words[1] << 32 | words[0]) ^ words[2]) * 0x9e3779b97f4a7c15ULL;
	__u32 place;

	for (int i = 4; i < (int)QUESTION_WORDS; i += is_ipv6 ? 1 : 4)
		mixed = (mixed ^ (mixed >> 32) ^ words[i]) * 0xd6e8feb86659fd93ULL;
	place = mixed >> (64 - ROUTES_SHIFT);
	return bpf_map_lookup_elem(&routes, &place);
}

/* Of IPv4's addresses only the first words are used. */
static __always_inline bool remembers(const struct route_memory *memory, const __u32 *words,
				      __u64 jiffy)
{
	__u32 differ = 0;

	if (memory->jiffy != jiffy)
		return false;
	for (int i = 0; i < (int)QUESTION_WORDS; i += i < 4 || is_ipv6 ? 1 : 4)
		differ |= memory->words[i] ^ words[i];
	return !differ;
}

/* Another question takes the place. The answer overwrites it, so it is kept before. */
static __always_inline void forget(struct route_memory *memory, const __u32 *words)
{
	memory->jiffy = 0;
	for (int i = 0; i < (int)QUESTION_WORDS; i++)
		memory->words[i] = words[i];
}

static __always_inline void remember(struct route_memory *memory, enum route route, __u32 out,
				     __u64 jiffy)
{
	memory->route = route;
	memory->out = out;
	memory->jiffy = jiffy;
}

/* The kernel's answer, its own or a remembered one; `out` is set where it is ROUTE_ONWARD. */
static __always_inline enum route find_route(const struct frame *frame,
					     union route_question *question, __u32 *out)
{
	struct route_memory *memory = find_memory(question->words);
	__u64 jiffy = bpf_jiffies64();
	enum route route;

	if (memory && remembers(memory, question->words, jiffy)) {
		*out = memory->out;
		return memory->route;
	}
	if (memory)
		forget(memory, question->words);
	route = ask_kernel(frame, &question->asked);
	*out = question->asked.ifindex;
	if (memory)
		remember(memory, route, *out, jiffy);
	return route;
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

static __always_inline __u32 ingress_device(const struct frame *frame)
{
	if (tracing)
		return assumed_in;
	return frame->is_xdp ? frame->xdp->ingress_ifindex : frame->skb->ifindex;
}

/* A packet that came in: for this machine, or to be forwarded? */
static __always_inline int route_in(struct filter_walk *walk, const struct frame *frame)
{
	union route_question question = {};
	__u32 out = 0;

	walk->in = ingress_device(frame);
	if (tracing && assumed_out)
		return forward(walk, assumed_out);
	fill_question(&question.asked, walk);
	switch (find_route(frame, &question, &out)) {
	case ROUTE_ONWARD:
		return forward(walk, out);
	case ROUTE_NOWHERE:
		return NO_HOOK;
	default:
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
