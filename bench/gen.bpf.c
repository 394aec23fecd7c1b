// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends of the benchmark's traffic.
 *
 * generate is run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES: each run turns a page of
 * the test's page pool into a frame and sends it out of a real device. sink counts the frames that
 * come out of the router, and drops them, which hands the page back to the pool.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "frame.h"

#define ETH_P_IP 0x0800
#define IPV4_NO_OPTIONS 0x45

char LICENSE[] SEC("license") = "GPL";

/* The header as generate sends it, or as sink expects it. */
const volatile __u16 header[HEADER_WORDS];

/* Sum of the UDP pseudo header, header and payload, without source port and checksum. */
const volatile __u32 udp_sum;

const volatile __u32 flows = 1;
const volatile __u16 first_port;
const volatile __u32 out_ifindex;

/* The loader runs the generator on one CPU, so this needs no atomics. */
__u32 flow;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sink_counts);
} counts SEC(".maps");

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed, aligned(2)));

_Static_assert(sizeof(struct headers) == HEADER_LEN, "one frame, one layout");

static __always_inline __u16 udp_check(__u16 source)
{
	__u32 sum = udp_sum + source;
	__u16 check;

	sum = (sum & 0xffff) + (sum >> 16);
	check = ~sum;
	return check ? check : 0xffff;
}

/* A recycled page still holds what the router made of the last frame: write all of the header. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u16 *word = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 n = flow;
	__u16 source;

	if ((void *)word + HEADER_LEN > end)
		return XDP_ABORTED;

	flow = n + 1 < flows ? n + 1 : 0;
	source = bpf_htons(first_port + n);

#pragma unroll
	for (int i = 0; i < HEADER_WORDS; i++)
		word[i] = header[i];
	word[WORD_UDP_SOURCE] = source;
	word[WORD_UDP_CHECK] = udp_check(source);

	return bpf_redirect(out_ifindex, 0);
}

static __always_inline bool is_ours(const struct headers *h, const volatile struct headers *want)
{
	return h->eth.h_proto == bpf_htons(ETH_P_IP) && *(__u8 *)&h->ip == IPV4_NO_OPTIONS &&
	       h->ip.protocol == IPPROTO_UDP && h->udp.dest == want->udp.dest;
}

static __always_inline bool is_intact(const struct headers *h, const volatile struct headers *want)
{
	const __u16 *mac = (const void *)h->eth.h_dest;

	return mac[0] == header[0] && mac[1] == header[1] && mac[2] == header[2] &&
	       h->ip.ttl == want->ip.ttl && h->ip.check == want->ip.check &&
	       h->udp.check == udp_check(h->udp.source);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	const volatile struct headers *want = (const volatile void *)header;
	const struct headers *h = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct sink_counts *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return XDP_ABORTED;

	if ((void *)(h + 1) > end || !is_ours(h, want)) {
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
