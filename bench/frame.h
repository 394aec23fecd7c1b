/* SPDX-License-Identifier: GPL-2.0-only */
/* What the generator, the sink and their loader agree on: UDP frames of IPv4 or of IPv6. */
#ifndef BENCH_FRAME_H
#define BENCH_FRAME_H

/*
 * The shortest Ethernet frame without its FCS, and the shortest of UDP over IPv6: the hardest case
 * for a forwarder.
 */
#define SHORT_FRAME_LEN 60
#define SHORT_FRAME6_LEN 62
/* The longest one. */
#define MAX_FRAME_LEN 1514

/* Frames of a mix, in turn. */
#define MIX_FRAMES 12

/*
 * Ethernet, IP without options, UDP. The header is handled as 16-bit words: that is the
 * alignment an Ethernet frame has everywhere, and the unit of the internet checksum.
 */
#define HEADER_LEN 42
#define HEADER6_LEN 62
#define MAX_HEADER_WORDS (HEADER6_LEN / 2)

/* Where a family has what differs from flow to flow or is looked at, in words of the header. */
struct layout {
	__u16 ethertype;
	__u8 version;     /* the first byte of the IP header */
	__u8 words;       /* of the header */
	__u8 ip_len;      /* length field of the IP header, */
	__u8 ip_len_from; /* and the byte that it counts from */
	__u8 ip_check;    /* 0: the family has none */
	__u8 addresses;   /* the first word of the source */
	__u8 source;      /* low half */
	__u8 dest;        /* low half */
	__u8 ttl;         /* in bytes */
	__u8 protocol;    /* in bytes */
	__u8 udp;
};

static const struct layout layout4 = {
	.ethertype = 0x0800,
	.version = 0x45,
	.words = HEADER_LEN / 2,
	.ip_len = 8,
	.ip_len_from = 14,
	.ip_check = 12,
	.addresses = 13,
	.source = 14,
	.dest = 16,
	.ttl = 22,
	.protocol = 23,
	.udp = 17,
};

static const struct layout layout6 = {
	.ethertype = 0x86dd,
	.version = 0x60,
	.words = HEADER6_LEN / 2,
	.ip_len = 9,
	.ip_len_from = 54,
	.ip_check = 0,
	.addresses = 11,
	.source = 18,
	.dest = 26,
	.ttl = 21,
	.protocol = 20,
	.udp = 27,
};

/* Words of the UDP header. */
#define UDP_SOURCE 0
#define UDP_DEST 1
#define UDP_LEN 2
#define UDP_CHECK 3

/*
 * A flow's number: its low bits are added to the first source port, the rest to the destination.
 * No destination has more flows than that, so masquerade can keep every source port. With --hosts
 * all of it is added to the destination, with --sources to the source.
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
