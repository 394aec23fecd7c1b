/* SPDX-License-Identifier: GPL-2.0-only */
/* What the generator, the sink and their loader agree on: one 60-byte UDP frame. */
#ifndef BENCH_FRAME_H
#define BENCH_FRAME_H

/* The shortest Ethernet frame without its FCS: the hardest case for a forwarder. */
#define FRAME_LEN 60

/*
 * Ethernet, IPv4 without options, UDP. The header is handled as 16-bit words: that is the
 * alignment an Ethernet frame has everywhere, and the unit of the internet checksum.
 */
#define HEADER_LEN 42
#define HEADER_WORDS (HEADER_LEN / 2)

/* Words of the header that differ from flow to flow. */
#define WORD_UDP_SOURCE 17
#define WORD_UDP_CHECK 20

/* What the sink saw, per CPU. */
struct sink_counts {
	__u64 delivered;    /* a frame of the benchmark, as the router should emit it */
	__u64 wrong_source; /* its source address is not the expected one */
	__u64 corrupt;      /* its MAC, TTL or a checksum is wrong */
	__u64 other;        /* not a frame of the benchmark; left to the stack */
};

#endif
