/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --cpus: the CPU that receives a frame only chooses by its flow the one that walks it. A flow
 * has one CPU, whose queue keeps its order. Frames in which no flow can be told (ARP, multicast,
 * what the walk leaves to the stack by its link layer) go to the stack where they are.
 *
 * The hash is the same for both directions of a flow, as that of RPS is: where there is no NAT,
 * they share one CPU's caches, conntrack's entry as well. A fragment has no ports, or would part
 * from those that have none: addresses alone choose, as RPS does. So do they for IPv6 extension
 * headers, whose packets take the stack anyhow.
 */
#ifndef BPFW_SPREAD_H
#define BPFW_SPREAD_H

#include "parse.h"

/* Set before loading, as the map's max_entries is: 1 more than the highest CPU. */
const volatile __u32 spread_count = 0;
const volatile __u32 spread_switched = 0; /* there are conduits of switches; 0 or 1 */
const volatile __u32 spread_cpu[SPREAD_CPUS] = { 0 };

/* Not created without --cpus. The values are struct bpf_cpumap_val, with the program to run. */
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, 8);
} cpus SEC(".maps");

/*
 * Two fields, in either order: their product, each moved by the seed. Their sum and difference
 * would be the same for many pairs (sources counted up to destinations counted down).
 */
static __always_inline __u64 unordered(__u32 a, __u32 b)
{
	return (flow_seed + a) * (flow_seed + b);
}

/* The ports `offset` bytes into the IP packet; what is cut short has none. */
static __always_inline __u64 spread_ports(const struct packet *p, __u64 offset, __u64 hash,
					  __u8 protocol)
{
	const __be16 *ports = p->l3 + (offset & 63);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return hash;
	if ((void *)(ports + 2) > p->data_end)
		return hash;
	return hash_mix(hash, unordered(ports[0], ports[1]));
}

/* Both return PARSE_OK and the hash, or the reason why there is none. */
static __always_inline int spread_hash4(const struct packet *p, __u64 *hash)
{
	const struct iphdr *ip = p->l3;

	if ((void *)(ip + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	*hash = hash_mix(flow_seed, unordered(ip->saddr, ip->daddr));
	if (!(ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		*hash = spread_ports(p, low_half(ip, 0) * 4, *hash, ip->protocol);
	return PARSE_OK;
}

static __always_inline int spread_hash6(const struct packet *p, __u64 *hash)
{
	const struct ipv6hdr *ip6 = p->l3;
	const __be32 *address = (const void *)&ip6->saddr;

	if ((void *)(ip6 + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	*hash = flow_seed;
#pragma unroll
	for (int i = 0; i < 4; i++)
		*hash = hash_mix(*hash, unordered(address[i], address[4 + i]));
	*hash = spread_ports(p, IPV6_HLEN, *hash, ip6->nexthdr);
	return PARSE_OK;
}

/* To the CPU of the flow. One that is not in the map is as good as none: the stack. */
static __always_inline int spread_to(__u64 hash)
{
	__u32 index = (hash >> 32) * spread_count >> 32;

	return (int)bpf_redirect_map(&cpus, spread_cpu[index & (SPREAD_CPUS - 1)], XDP_PASS);
}

static __always_inline int spread(struct packet *p)
{
	__be16 type;
	__u64 hash;
	int reason;

	p->link_len = ETH_HLEN;
	packet_load(p);
	reason = parse_ethernet(p, &type);
	if (reason == PARSE_OK)
		reason = parse_encapsulation(p, &type);
	if (reason == PARSE_OK) {
		if (type == bpf_htons(ETH_P_IP))
			reason = spread_hash4(p, &hash);
		else if (type == bpf_htons(ETH_P_IPV6))
			reason = spread_hash6(p, &hash);
		else
			reason = REASON(EXIT_ETHERTYPE);
	}
	if (reason == PARSE_OK)
		return spread_to(hash);
	count_exit(reason);
	return XDP_PASS;
}

#endif /* BPFW_SPREAD_H */
