/* SPDX-License-Identifier: GPL-2.0-only */
/* The tuple of one direction of a connection. */
#ifndef BPFW_TUPLE_H
#define BPFW_TUPLE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* An IPv4 address is in the first word, the other three are 0. Network byte order. */
struct address {
	__be32 word[4];
};

struct tuple {
	struct address src;
	struct address dst;
	__be16 sport;
	__be16 dport;
	uint8_t family;   /* AF_INET or AF_INET6 */
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

/* The link of a packet as it is seen on the wire: the first part of a flow's key. */
struct segment {
	uint32_t port;                /* ifindex of what the program is attached to */
	uint16_t vlan[MAX_VLAN_TAGS]; /* outermost first, as in the keys */
	__be16 session;               /* PPPoE, 0 for none */
};

/* Room for tuple_print(): two IPv6 addresses, brackets, ports and a protocol. */
#define TUPLE_TEXT 128

bool address_equal(const struct address *a, const struct address *b);
bool tuple_equal(const struct tuple *a, const struct tuple *b);

/* The tuple that a packet of the opposite direction has, source and destination swapped. */
struct tuple tuple_inverse(const struct tuple *tuple);

/* Does `address` lie in the prefix of `length` bits? A length of 0 matches everything. */
bool address_in_prefix(const struct address *address, const struct address *prefix,
		       unsigned int length);

/* "tcp 10.0.0.1:1 -> 10.0.0.2:2"; returns `text`. */
const char *tuple_print(const struct tuple *tuple, char text[TUPLE_TEXT]);

bool segment_equal(const struct segment *a, const struct segment *b);

struct tuple tuple_from_key4(const struct bpfw_flow4_key *key);
struct tuple tuple_from_key6(const struct bpfw_flow6_key *key);
struct segment segment_from_key4(const struct bpfw_flow4_key *key);
struct segment segment_from_key6(const struct bpfw_flow6_key *key);
struct bpfw_flow4_key tuple_to_key4(const struct tuple *tuple, const struct segment *segment);
struct bpfw_flow6_key tuple_to_key6(const struct tuple *tuple, const struct segment *segment);

#endif /* BPFW_TUPLE_H */
