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
#define WORD_IP_CHECK 12
#define WORD_IP_SOURCE 14 /* low half */
#define WORD_IP_DEST 16   /* low half */
#define WORD_UDP_SOURCE 17
#define WORD_UDP_DEST 18
#define WORD_UDP_CHECK 20

/*
 * A flow's number: its low bits are added to the first source port, the rest to the destination.
 * No destination has more flows than that, so masquerade can keep every source port.
 */
#define PORT_BITS 15
#define MAX_FLOWS (1 << 21)

/* A flood's frames go to the port after that of the flows, from random sources. */
#define FLOOD_PORT_OFFSET 1

/* What the sink saw, per CPU. */
struct sink_counts {
	__u64 delivered;    /* a frame of the benchmark, as the router should emit it */
	__u64 wrong_source; /* its source address is not the expected one */
	__u64 corrupt;      /* its MAC, TTL or a checksum is wrong */
	__u64 flood;        /* a frame of the flood */
	__u64 other;        /* not a frame of the benchmark; left to the stack */
};

/* What the answering end saw of a flow, nanoseconds of the monotonic clock; 0: nothing. */
struct flow_times {
	__u64 first; /* its first frame, which was answered at once */
	__u64 fast;  /* its first frame that did not come through the stack */
};

/* And of all flows. */
struct answer_counts {
	__u64 answered;
	__u64 other_mac;      /* frames that did not go to the MAC given */
	__u64 other_mac_last; /* when the last of them came */
};

#endif
