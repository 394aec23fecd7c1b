/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets for `bpfw filter why`: made of what somebody says of them, or read from a capture. */
#ifndef BPFW_FILTER_PACKET_H
#define BPFW_FILTER_PACKET_H

#include <stdio.h>

#include "filter/ruleset.h"

#define PACKET_MAX 3400 /* bytes of a frame: BPF_PROG_TEST_RUN takes what fits into a page */
#define PACKET_LINK 14  /* an Ethernet header */

/* Host byte order, but for addresses. */
struct packet_description {
	uint8_t family;
	union ruleset_address source, destination;
	uint8_t protocol;
	uint16_t source_port, destination_port;
	uint8_t tcp_flags;
	uint8_t icmp_type, icmp_code;
	uint8_t ttl, tos;
	uint32_t length; /* from the IP header on; 0: what its headers need */
	bool fragment;   /* neither the first one, nor the second of 8 bytes */
};

struct packet {
	uint8_t frame[PACKET_MAX]; /* with an Ethernet header */
	size_t size;
	uint8_t family; /* AF_UNSPEC: neither IPv4 nor IPv6 */
};

/* Returns 0, or -EINVAL: the length is less than the headers need, or -E2BIG: above PACKET_MAX. */
int packet_build(struct packet *packet, const struct packet_description *description);

/* Of IPv4 or IPv6, but shorter than its header. */
bool packet_is_cut(const struct packet *packet);

/*
 * A packet from the link or the IP header on, in hexadecimal digits; blanks and colons do not count.
 * Returns 0, -EINVAL or -E2BIG.
 */
int packet_from_hex(struct packet *packet, const char *digits);

/* Packets of a file that libpcap has written, of Ethernet or IP. Take it all zero. */
struct packet_capture {
	FILE *file;
	uint32_t link; /* LINKTYPE_* */
	bool swapped;
};

/* Returns 0 or -errno: -EINVAL (no such file), -EOPNOTSUPP (another kind of link). */
int packet_capture_open(struct packet_capture *capture, const char *path);

/*
 * The next packet; what was not captured of it is zeros. Returns 1, 0 at the end, or -errno. Another
 * may follow: -E2BIG (the packet is too long), -ENODATA (there is no packet behind a link header),
 * -EINVAL (more was captured than there was). None can: -EBADMSG (the file ends in it), -EPROTO (its
 * length cannot be).
 */
int packet_capture_next(struct packet_capture *capture, struct packet *packet);
void packet_capture_close(struct packet_capture *capture);

#endif /* BPFW_FILTER_PACKET_H */
