/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Internet checksums (RFC 1071) and their incremental update (RFC 1624, equation 3:
 * HC' = ~(~HC + ~m + m')), which is what the kernel's csum_replace family computes.
 *
 * A "delta" is the folded sum of ~m + m' over all 16-bit words that change. Words are
 * taken as they lie in memory: a one's complement sum does not depend on byte order.
 * A delta of 0 means that nothing changes and leaves every checksum as it is.
 */
#ifndef BPFW_CHECKSUM_H
#define BPFW_CHECKSUM_H

#include "uapi.h"

static __always_inline __u16 csum_fold16(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)(sum + (sum >> 16));
}

static __always_inline __u16 csum_apply(__u16 check, __u32 delta)
{
	return (__u16)~csum_fold16((__u16)~check + delta);
}

/* Fold a sum of 32-bit words: 2^16 is 1 in one's complement arithmetic. */
static __always_inline __u16 csum_fold64(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
	return csum_fold16((__u32)sum);
}

/*
 * Is the checksum of a 20-byte IPv4 header right? ip_rcv() drops packets where it is not.
 * Folded twice, a sum of five words is below 2 * 0xffff + 2: both multiples are right.
 */
static __always_inline bool csum_ipv4_ok(const struct iphdr *ip)
{
	const __u32 *word = (const void *)ip;
	__u64 sum = (__u64)word[0] + word[1] + word[2] + word[3] + word[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff || sum == 2 * 0xffff;
}

/*
 * A sender that leaves the checksum to hardware (CHECKSUM_PARTIAL) stores just the
 * pseudo header's sum, not complemented. XDP does not see that state, and a frame that
 * is redirected loses it, so such frames must be known by their look. One whole
 * checksum in 65535 looks the same; that packet takes the stack, which is always right.
 */
static __always_inline bool csum_looks_partial4(const struct iphdr *ip, __u32 l4_len, __u16 check)
{
	__u64 sum = (__u64)ip->saddr + ip->daddr;

	return csum_fold64(sum + bpf_htons(ip->protocol) + bpf_htons((__u16)l4_len)) == check;
}

static __always_inline bool csum_looks_partial6(const struct ipv6hdr *ip6, __u32 l4_len,
						__u16 check)
{
	const __u32 *word = (const void *)&ip6->saddr;
	__u64 sum = 0;

	for (int i = 0; i < 8; i++)
		sum += word[i];
	return csum_fold64(sum + bpf_htons(ip6->nexthdr) + bpf_htons((__u16)l4_len)) == check;
}

#endif /* BPFW_CHECKSUM_H */
