/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames of the packet tests, built byte by byte. Checksums are computed here from
 * scratch, by the definition in RFC 1071: nothing of bpfw's own code is used.
 */
#ifndef BPFW_TEST_FRAME_H
#define BPFW_TEST_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

/* What the kernel takes in a test run must fit into a page together with its headroom. */
#define FRAME_ROOM 3072

#define FRAME_L3 14 /* offset of the IP header */

#define FLAG_FIN 0x01
#define FLAG_SYN 0x02
#define FLAG_RST 0x04
#define FLAG_PSH 0x08
#define FLAG_ACK 0x10
#define FLAG_URG 0x20
#define FLAG_ECE 0x40
#define FLAG_CWR 0x80

struct frame {
	size_t len;
	uint8_t data[FRAME_ROOM];
};

enum frame_checksum {
	CHECKSUM_WHOLE,
	CHECKSUM_ABSENT, /* UDP: 0 */
	CHECKSUM_PSEUDO, /* what a sender leaves to hardware: the pseudo header's sum */
};

struct frame_tag {
	uint16_t type; /* 0x8100 or 0x88a8 */
	uint16_t tci;
};

/* One more than bpfw takes. */
#define FRAME_TAGS 3

/* What lies between the MAC addresses and IP: tags, outermost first, and PPPoE. */
struct encapsulation {
	uint8_t tags;
	struct frame_tag tag[FRAME_TAGS];
	uint16_t session; /* 0: no PPPoE */
};

/* One of each kind that bpfw knows. */
enum link_kind {
	LINK_PLAIN,
	LINK_Q,
	LINK_AD,
	LINK_AD_Q,
	LINK_Q_Q,
	LINK_PPPOE,
	LINK_Q_PPPOE,
	LINK_AD_Q_PPPOE,
	LINK_KINDS,
};

extern const struct encapsulation frame_links[LINK_KINDS];
extern const char *const frame_link_names[LINK_KINDS];

struct frame_spec {
	struct tuple tuple;
	struct encapsulation link;
	uint8_t dst_mac[6];
	uint8_t src_mac[6];
	uint8_t tos;
	uint8_t ttl;
	uint8_t tcp_flags;
	uint8_t tcp_options; /* bytes of them, a multiple of 4 */
	uint32_t seq;
	uint32_t ack;
	uint16_t window;
	uint16_t payload; /* bytes */
	uint8_t fill;     /* what the payload starts with */
	uint16_t padding; /* bytes behind the IP packet */
	enum frame_checksum checksum;
};

void frame_build(const struct frame_spec *spec, struct frame *frame);

/* Bytes in front of the IP header. */
size_t frame_link_len(const struct encapsulation *link);

/* Give a frame of IP in Ethernet more of a link header, in which PPPoE's length is right. */
void frame_encapsulate(struct frame *frame, const struct encapsulation *link);

/* Make room for bytes, which are then 0, or take them out. */
void frame_insert(struct frame *frame, size_t offset, size_t len);
void frame_remove(struct frame *frame, size_t offset, size_t len);

/* Big-endian fields anywhere in a frame. */
uint16_t frame_get16(const struct frame *frame, size_t offset);
uint32_t frame_get32(const struct frame *frame, size_t offset);
void frame_put16(struct frame *frame, size_t offset, uint16_t value);
void frame_put32(struct frame *frame, size_t offset, uint32_t value);

/*
 * Where things are in a frame with an IP header of minimal length, and no encapsulation:
 * these and the checksums below are for plain frames.
 */
bool frame_is_ipv6(const struct frame *frame);
uint8_t frame_protocol(const struct frame *frame);
size_t frame_l4(const struct frame *frame);
size_t frame_l3_len(const struct frame *frame);
size_t frame_l4_check(const struct frame *frame);

/* One's complement sum of big-endian words, folded to 16 bits; an odd byte is a high one. */
uint16_t ones_sum(const uint8_t *data, size_t len, uint32_t start);
uint16_t ones_add(uint16_t a, uint16_t b);

/* The transport checksum as it should be: 0 is never given for UDP. */
uint16_t frame_l4_checksum(const struct frame *frame);
uint16_t frame_pseudo_sum(const struct frame *frame);
bool frame_l4_checksum_ok(const struct frame *frame);
bool frame_ip_checksum_ok(const struct frame *frame);
void frame_fix_ip_checksum(struct frame *frame);
void frame_fix_l4_checksum(struct frame *frame);

bool frame_equal(const struct frame *a, const struct frame *b);

/* Say where two frames differ, as TAP notes. */
void frame_note_difference(const struct frame *expected, const struct frame *got);

#endif /* BPFW_TEST_FRAME_H */
