// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends of the benchmark's traffic.
 *
 * generate is run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES: each run turns a page of
 * the test's page pool into a frame and sends it out of a real device. sink counts the frames that
 * come out of the router, and drops them, which hands the page back to the pool. answer sends them
 * back, so that conntrack has a reply to see, and notes when each flow left the stack.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frame.h"

/* A generator that was late by more does not catch up. */
#define CATCH_UP_NS 2000000

char LICENSE[] SEC("license") = "GPL";

/* The header as generate sends it, or as sink and answer expect it. */
const volatile __u16 header[MAX_HEADER_WORDS];

/* Sums of what all frames share: without low halves of addresses, ports, lengths, checksums. */
const volatile __u32 ip_sum;
const volatile __u32 udp_sum;

const volatile __u32 flows = 1;
const volatile __u16 first_port;
const volatile __u32 out_ifindex;
const volatile __u64 gap_ns;    /* from frame to frame, 0 for as fast as it goes */
const volatile __u64 limit;     /* frames to send when there is a gap */
const volatile __u32 lifetime;  /* frames of a flow until a new one takes its place, 0: it stays */
const volatile __u32 flood;     /* that many frames of a flood between two of the flows */
const volatile __u8 stack_mark; /* answer: TOS of what the stack forwarded */
const volatile bool mixed;      /* frames of several lengths, in turn */
const volatile __u16 frame_lens[MIX_FRAMES];
const volatile __u32 port_bits = PORT_BITS; /* of a flow's number that make its source port */
const volatile bool by_source = false;      /* the rest goes to the source, not the destination */

/* The loader runs the generator on one CPU, so this needs no atomics. */
__u32 slot;       /* of the flow whose turn it is */
__u32 pass;       /* how often each had its turn */
__u32 flood_left; /* until that turn */
__u32 mix_turn;
__u64 next_ns;
__u64 sent;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sink_counts);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_counts);
} answers SEC(".maps");

/* By the flow's number. The loader sets max_entries. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_times);
} times SEC(".maps");

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* Of a frame that has all other fields. The length is in the pseudo header as well. */
static __always_inline __u16 udp_check(const struct layout *at, const __u16 *word)
{
	const __u16 *udp = word + at->udp;
	__u32 sum = udp_sum + word[at->source] + word[at->dest];
	__u16 check = ~fold(sum + udp[UDP_SOURCE] + udp[UDP_DEST] + 2 * (__u32)udp[UDP_LEN]);

	return check ? check : 0xffff;
}

static __always_inline __u16 ip_check(const struct layout *at, const __u16 *word)
{
	return ~fold(ip_sum + word[at->ip_len] + word[at->source] + word[at->dest]);
}

/* Is it time for a frame? The generator spins until then, and from the last one on. */
static __always_inline bool is_due(void)
{
	__u64 now;

	if (!gap_ns)
		return true;
	if (limit && sent >= limit)
		return false;
	now = bpf_ktime_get_ns();
	if (now < next_ns)
		return false;
	if (now - next_ns > CATCH_UP_NS)
		next_ns = now;
	next_ns += gap_ns;
	return true;
}

/*
 * The number of the flow whose turn it is. With a lifetime, new flows begin evenly: in each pass
 * that many of the slots are at the end of their flow's life.
 */
static __always_inline __u32 next_flow(void)
{
	__u32 number = slot;

	if (lifetime)
		number += (pass + slot % lifetime) / lifetime * flows;
	slot++;
	if (slot >= flows) {
		slot = 0;
		pass++;
	}
	return number & (MAX_FLOWS - 1);
}

static __always_inline bool is_turn_of_flood(void)
{
	if (!flood)
		return false;
	if (!flood_left) {
		flood_left = flood;
		return false;
	}
	flood_left--;
	return true;
}

/* The longest frame becomes one of the length whose turn it is. */
static __always_inline long shorten(struct xdp_md *ctx)
{
	__u32 turn = mix_turn;

	if (turn >= MIX_FRAMES)
		turn = 0;
	mix_turn = turn + 1;
	return bpf_xdp_adjust_tail(ctx, (int)frame_lens[turn] - MAX_FRAME_LEN);
}

/* The flow's part of the header, or the flood's. */
static __always_inline void write_flow(const struct layout *at, __u16 *word)
{
	__u16 *udp = word + at->udp;

	if (is_turn_of_flood()) {
		__u32 random = bpf_get_prandom_u32();

		word[at->source] = random >> 16;
		udp[UDP_SOURCE] = random;
		udp[UDP_DEST] = bpf_htons(bpf_ntohs(udp[UDP_DEST]) + FLOOD_PORT_OFFSET);
	} else {
		__u32 number = next_flow(), host = by_source ? at->source : at->dest;

		udp[UDP_SOURCE] = bpf_htons(first_port + (number & ((1U << port_bits) - 1)));
		word[host] = bpf_htons(bpf_ntohs(word[host]) + (number >> port_bits));
	}
}

/* A recycled page still holds what the router made of the last frame: write all of the header. */
static __always_inline int generate_frame(struct xdp_md *ctx, const struct layout *at)
{
	__u16 *word;
	__u32 len;

	if (!is_due())
		return XDP_DROP;
	if (mixed && shorten(ctx))
		return XDP_ABORTED;
	word = (void *)(long)ctx->data;
	len = ctx->data_end - ctx->data;
	if ((void *)(word + at->words) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;

#pragma unroll
	for (int i = 0; i < at->words; i++)
		word[i] = header[i];
	word[at->ip_len] = bpf_htons(len - at->ip_len_from);
	word[at->udp + UDP_LEN] = bpf_htons(len - 2 * at->udp);
	write_flow(at, word);
	if (at->ip_check)
		word[at->ip_check] = ip_check(at, word);
	word[at->udp + UDP_CHECK] = udp_check(at, word);
	sent++;

	return bpf_redirect(out_ifindex, 0);
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	return generate_frame(ctx, &layout4);
}

SEC("xdp")
int generate6(struct xdp_md *ctx)
{
	return generate_frame(ctx, &layout6);
}

/* The header's words, NULL if it is none of UDP without IP options. */
static __always_inline const __u16 *parse(struct xdp_md *ctx, const struct layout *at)
{
	const __u8 *byte = (void *)(long)ctx->data;
	const __u16 *word = (const void *)byte;

	if ((void *)(word + at->words) > (void *)(long)ctx->data_end ||
	    word[6] != bpf_htons(at->ethertype) || byte[14] != at->version ||
	    byte[at->protocol] != IPPROTO_UDP)
		return NULL;
	return word;
}

static __always_inline bool is_mac_expected(const __u16 *word)
{
	return word[0] == header[0] && word[1] == header[1] && word[2] == header[2];
}

static __always_inline bool is_source_expected(const struct layout *at, const __u16 *word)
{
	__u16 difference = 0;

#pragma unroll
	for (int i = at->addresses; i <= at->source; i++)
		difference |= word[i] ^ header[i];
	return !difference;
}

static __always_inline bool is_intact(const struct layout *at, const __u16 *word, __u32 len)
{
	const __u8 *byte = (const void *)word;
	__u16 ttl = header[at->ttl / 2];

	return is_mac_expected(word) && byte[at->ttl] == ((const __u8 *)&ttl)[at->ttl % 2] &&
	       word[at->ip_len] == bpf_htons(len - at->ip_len_from) &&
	       word[at->udp + UDP_LEN] == bpf_htons(len - 2 * at->udp) &&
	       (!at->ip_check || word[at->ip_check] == ip_check(at, word)) &&
	       word[at->udp + UDP_CHECK] == udp_check(at, word);
}

static __always_inline int count_frame(struct xdp_md *ctx, const struct layout *at)
{
	const __u16 *word = parse(ctx, at);
	__u16 dport = header[at->udp + UDP_DEST];
	struct sink_counts *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return XDP_ABORTED;

	if (word && word[at->udp + UDP_DEST] == bpf_htons(bpf_ntohs(dport) + FLOOD_PORT_OFFSET)) {
		count->flood++;
		return XDP_DROP;
	}
	if (!word || word[at->udp + UDP_DEST] != dport) {
		count->other++;
		return XDP_PASS;
	}

	if (!is_source_expected(at, word))
		count->wrong_source++;
	else if (!is_intact(at, word, ctx->data_end - ctx->data))
		count->corrupt++;
	else
		count->delivered++;
	return XDP_DROP;
}

/* The least that can be done about a frame. */
SEC("xdp")
int drop(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_DROP;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	return count_frame(ctx, &layout4);
}

SEC("xdp")
int sink6(struct xdp_md *ctx)
{
	return count_frame(ctx, &layout6);
}

static __always_inline void note_times(const __u16 *word, __u64 now)
{
	const struct layout *at = &layout4;
	__u32 number = (__u16)(bpf_ntohs(word[at->udp + UDP_SOURCE]) - first_port);
	struct flow_times *flow;

	number |= (__u32)(__u16)(bpf_ntohs(word[at->dest]) - bpf_ntohs(header[at->dest]))
		  << PORT_BITS;
	flow = bpf_map_lookup_elem(&times, &number);
	if (!flow)
		return;
	if (!flow->first)
		flow->first = now;
	if (!flow->fast && ((const __u8 *)word)[15] != stack_mark)
		flow->fast = now;
}

static __always_inline void swap_words(__u16 *word, int one, int other)
{
	__u16 kept = word[one];

	word[one] = word[other];
	word[other] = kept;
}

/* The frame back to where it came from: swapping changes no checksum. */
static __always_inline void turn_round(__u16 *word)
{
	const struct layout *at = &layout4;

#pragma unroll
	for (int i = 0; i < 3; i++)
		swap_words(word, i, i + 3);
	swap_words(word, at->source - 1, at->dest - 1);
	swap_words(word, at->source, at->dest);
	swap_words(word, at->udp + UDP_SOURCE, at->udp + UDP_DEST);
}

SEC("xdp")
int answer(struct xdp_md *ctx)
{
	__u16 *word = (__u16 *)parse(ctx, &layout4);
	__u64 now = bpf_ktime_get_ns();
	struct answer_counts *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&answers, &zero);
	if (!word || !count || word[layout4.udp + UDP_DEST] != header[layout4.udp + UDP_DEST])
		return XDP_PASS;
	count->answered++;
	if (!is_mac_expected(word)) {
		count->other_mac++;
		count->other_mac_last = now;
	}
	note_times(word, now);
	turn_round(word);
	/* XDP_TX would reach the other end of a veth only if that has an XDP program. */
	return bpf_redirect(ctx->ingress_ifindex, 0);
}
