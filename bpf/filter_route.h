/* SPDX-License-Identifier: GPL-2.0-only */
/* Which built-in chain is the packet for, and which devices does it cross: the kernel's routes say. */
#ifndef BPFW_FILTER_ROUTE_H
#define BPFW_FILTER_ROUTE_H

#include "filter_maps.h"
#include "filter_packet.h"
#include "filter_search.h"

#define UNKNOWN_HOOK (-1) /* what the rules ask about cannot be found */

/* What bpf_fib_lookup() is asked, up to its answer. */
#define QUESTION_WORDS (__builtin_offsetof(struct bpf_fib_lookup, h_vlan_proto) / sizeof(__u32))

union route_question {
	struct bpf_fib_lookup asked; /* the answer overwrites parts of it */
	__u32 words[sizeof(struct bpf_fib_lookup) / sizeof(__u32)];
};

enum route {
	ROUTE_NONE, /* nothing that comes in there is forwarded: the kernel looks no further */
	/*
	 * Local; also none, or one that leads nowhere: the stack drops it then, unless DNAT sends it
	 * elsewhere, or marks choose other routes.
	 */
	ROUTE_HERE,
	ROUTE_ONWARD,  /* to be forwarded */
	ROUTE_UNKNOWN, /* to be forwarded, but the kernel does not say by which device */
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

/* Traffic class and flow label, which multipath goes by, as ip6_flowinfo() takes them. */
static __always_inline __be32 read_flow(const struct filter_walk *walk, struct frame *frame)
{
	const __be32 *ip6;

	frame_load(frame);
	ip6 = frame_bytes(frame, walk->l3, IPV6_HLEN);
	return ip6 ? *ip6 & bpf_htonl(0x0fffffff) : 0;
}

static __always_inline void fill_question(struct bpf_fib_lookup *question,
					  const struct filter_walk *walk, struct frame *frame)
{
	question->family = is_ipv6 ? AF_INET6 : AF_INET;
	question->l4_protocol = walk->protocol;
	question->tot_len = 0; /* how long it is does not matter here */
	question->ifindex = walk->in;
	/* Nor does multipath look at the ports of a first fragment, unless conntrack has put it together. */
	if (walk->has_ports && (!walk->first_of_many || is_tracked)) {
		question->sport = bpf_htons(walk->source_port);
		question->dport = bpf_htons(walk->destination_port);
	}
	if (is_ipv6) {
		question->flowinfo = read_flow(walk, frame);
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
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return ROUTE_ONWARD;
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return ROUTE_UNKNOWN;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return ROUTE_NONE;
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
					     union route_question *question, __u64 jiffy,
					     __u32 *out)
{
	struct route_memory *memory = find_memory(question->words);
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

/*
 * ip_forward() answers those whose time is over before it asks a rule. Here they are asked, because
 * the packet need not get there: what is redirected to this machine by NAT or a mark is delivered.
 */
static __always_inline int forward(struct filter_walk *walk, __u32 out)
{
	walk->ttl -= walk->ttl > 0; /* as it is when FORWARD sees it */
	walk->out = out;
	return FILTER_HOOK_FORWARD;
}

static __always_inline __u32 ingress_device(const struct frame *frame)
{
	if (tracing)
		return assumed_in;
	return frame->is_xdp ? frame->xdp->ingress_ifindex : frame->skb->ifindex;
}

/*
 * Multicast and broadcast are for INPUT whatever routes say (ip_route_input_rcu(),
 * ip_route_input_slow()): a lookup finds the default route for most of them.
 */
static __always_inline bool is_for_many(const struct filter_walk *walk)
{
	const __be32 to = walk->destination[0];

	if (is_ipv6)
		return (to & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
	return (to & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || to == 0xffffffff || !to;
}

/* A packet that came in: for this machine, or to be forwarded? */
static __always_inline int route_in(struct filter_walk *walk, struct frame *frame)
{
	struct filter_still *still = &walk->still[is_ipv6];
	union route_question question = {};
	__u64 jiffy = bpf_jiffies64();
	__u32 out = 0;

	walk->in = ingress_device(frame);
	if (tracing && assumed_out)
		return forward(walk, assumed_out);
	if (is_for_many(walk) || (still->jiffy == jiffy && still->device == walk->in))
		return FILTER_HOOK_INPUT;
	fill_question(&question.asked, walk, frame);
	switch (find_route(frame, &question, jiffy, &out)) {
	case ROUTE_ONWARD:
		return forward(walk, out);
	case ROUTE_UNKNOWN:
		return uses(FILTER_OUT) ? UNKNOWN_HOOK : forward(walk, 0);
	case ROUTE_NONE:
		still->jiffy = jiffy;
		still->device = walk->in;
		return FILTER_HOOK_INPUT;
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
