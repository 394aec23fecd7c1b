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

#define ETH_P_IP 0x0800
#define IPV4_NO_OPTIONS 0x45
/* A generator that was late by more does not catch up. */
#define CATCH_UP_NS 2000000

char LICENSE[] SEC("license") = "GPL";

/* The header as generate sends it, or as sink and answer expect it. */
const volatile __u16 header[HEADER_WORDS];

/* Sums of what all flows share: without the low half of addresses, ports and checksums. */
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

/* The loader runs the generator on one CPU, so this needs no atomics. */
__u32 slot;       /* of the flow whose turn it is */
__u32 pass;       /* how often each had its turn */
__u32 flood_left; /* until that turn */
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

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed, aligned(2)));

_Static_assert(sizeof(struct headers) == HEADER_LEN, "one frame, one layout");

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u16 udp_check(__u32 addresses, __u32 ports)
{
	__u16 check = ~fold(udp_sum + addresses + ports);

	return check ? check : 0xffff;
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

/* A recycled page still holds what the router made of the last frame: write all of the header. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u16 *word = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u16 src = header[WORD_IP_SOURCE], dst = header[WORD_IP_DEST];
	__u16 sport, dport = header[WORD_UDP_DEST];

	if ((void *)word + HEADER_LEN > end)
		return XDP_ABORTED;
	if (!is_due())
		return XDP_DROP;

	if (is_turn_of_flood()) {
		__u32 random = bpf_get_prandom_u32();

		src = random >> 16;
		sport = random;
		dport = bpf_htons(bpf_ntohs(dport) + FLOOD_PORT_OFFSET);
	} else {
		__u32 number = next_flow();

		sport = bpf_htons(first_port + (number & ((1 << PORT_BITS) - 1)));
		dst = bpf_htons(bpf_ntohs(dst) + (number >> PORT_BITS));
	}

#pragma unroll
	for (int i = 0; i < HEADER_WORDS; i++)
		word[i] = header[i];
	word[WORD_IP_SOURCE] = src;
	word[WORD_IP_DEST] = dst;
	word[WORD_IP_CHECK] = ~fold(ip_sum + src + dst);
	word[WORD_UDP_SOURCE] = sport;
	word[WORD_UDP_DEST] = dport;
	word[WORD_UDP_CHECK] = udp_check((__u32)src + dst, (__u32)sport + dport);
	sent++;

	return bpf_redirect(out_ifindex, 0);
}

static __always_inline const struct headers *parse(struct xdp_md *ctx)
{
	const struct headers *h = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if ((void *)(h + 1) > end || h->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    *(__u8 *)&h->ip != IPV4_NO_OPTIONS || h->ip.protocol != IPPROTO_UDP)
		return NULL;
	return h;
}

static __always_inline bool is_mac_expected(const struct headers *h)
{
	const __u16 *mac = (const void *)h->eth.h_dest;

	return mac[0] == header[0] && mac[1] == header[1] && mac[2] == header[2];
}

static __always_inline bool is_intact(const struct headers *h, const volatile struct headers *want)
{
	const __u16 *word = (const void *)h;
	__u32 addresses = (__u32)word[WORD_IP_SOURCE] + word[WORD_IP_DEST];

	return is_mac_expected(h) && h->ip.ttl == want->ip.ttl &&
	       h->ip.check == (__u16)~fold(ip_sum + addresses) &&
	       h->udp.check == udp_check(addresses, (__u32)h->udp.source + h->udp.dest);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	const volatile struct headers *want = (const volatile void *)header;
	const struct headers *h = parse(ctx);
	struct sink_counts *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return XDP_ABORTED;

	if (h && h->udp.dest == bpf_htons(bpf_ntohs(want->udp.dest) + FLOOD_PORT_OFFSET)) {
		count->flood++;
		return XDP_DROP;
	}
	if (!h || h->udp.dest != want->udp.dest) {
		count->other++;
		return XDP_PASS;
	}

	if (h->ip.saddr != want->ip.saddr)
		count->wrong_source++;
	else if (!is_intact(h, want))
		count->corrupt++;
	else
		count->delivered++;
	return XDP_DROP;
}

static __always_inline void note_times(const struct headers *h, __u64 now)
{
	const __u16 *word = (const void *)h;
	__u32 number = (__u16)(bpf_ntohs(h->udp.source) - first_port);
	struct flow_times *flow;

	number |= (__u32)(__u16)(bpf_ntohs(word[WORD_IP_DEST]) - bpf_ntohs(header[WORD_IP_DEST]))
		  << PORT_BITS;
	flow = bpf_map_lookup_elem(&times, &number);
	if (!flow)
		return;
	if (!flow->first)
		flow->first = now;
	if (!flow->fast && h->ip.tos != stack_mark)
		flow->fast = now;
}

/* The frame back to where it came from: swapping changes no checksum. */
static __always_inline void turn_round(struct headers *h)
{
	__u16 *word = (void *)h;
	__be32 address = h->ip.saddr;
	__be16 port = h->udp.source;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 mac = word[i];

		word[i] = word[i + 3];
		word[i + 3] = mac;
	}
	h->ip.saddr = h->ip.daddr;
	h->ip.daddr = address;
	h->udp.source = h->udp.dest;
	h->udp.dest = port;
}

SEC("xdp")
int answer(struct xdp_md *ctx)
{
	const volatile struct headers *want = (const volatile void *)header;
	struct headers *h = (struct headers *)parse(ctx);
	__u64 now = bpf_ktime_get_ns();
	struct answer_counts *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&answers, &zero);
	if (!h || !count || h->udp.dest != want->udp.dest)
		return XDP_PASS;
	count->answered++;
	if (!is_mac_expected(h)) {
		count->other_mac++;
		count->other_mac_last = now;
	}
	note_times(h, now);
	turn_round(h);
	/* XDP_TX would reach the other end of a veth only if that has an XDP program. */
	return bpf_redirect(ctx->ingress_ifindex, 0);
}
