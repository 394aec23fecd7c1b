/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tuple.h"

bool address_equal(const struct address *a, const struct address *b)
{
	return !memcmp(a, b, sizeof(*a));
}

bool tuple_equal(const struct tuple *a, const struct tuple *b)
{
	return a->family == b->family && a->protocol == b->protocol && a->sport == b->sport &&
	       a->dport == b->dport && address_equal(&a->src, &b->src) &&
	       address_equal(&a->dst, &b->dst);
}

struct tuple tuple_inverse(const struct tuple *tuple)
{
	struct tuple inverse = *tuple;

	inverse.src = tuple->dst;
	inverse.dst = tuple->src;
	inverse.sport = tuple->dport;
	inverse.dport = tuple->sport;
	return inverse;
}

bool address_in_prefix(const struct address *address, const struct address *prefix,
		       unsigned int length)
{
	unsigned int whole = length / 32, rest = length % 32;

	if (whole > 4 || (whole == 4 && rest))
		return false;
	if (memcmp(address, prefix, whole * sizeof(__be32)))
		return false;
	return !rest || !((address->word[whole] ^ prefix->word[whole]) & htonl(~0U << (32 - rest)));
}

const char *tuple_print(const struct tuple *tuple, char text[TUPLE_TEXT])
{
	const char *protocol = tuple->protocol == IPPROTO_TCP ? "tcp" : "udp";
	const char *format = tuple->family == AF_INET6 ? "%s [%s]:%u -> [%s]:%u" :
							 "%s %s:%u -> %s:%u";
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	inet_ntop(tuple->family, &tuple->src, src, sizeof(src));
	inet_ntop(tuple->family, &tuple->dst, dst, sizeof(dst));
	snprintf(text, TUPLE_TEXT, format, protocol, src, ntohs(tuple->sport), dst,
		 ntohs(tuple->dport));
	return text;
}

bool segment_equal(const struct segment *a, const struct segment *b)
{
	return a->port == b->port && a->vlan[0] == b->vlan[0] && a->vlan[1] == b->vlan[1] &&
	       a->session == b->session;
}

struct segment segment_from_key4(const struct bpfw_flow4_key *key)
{
	return (struct segment){
		.port = key->ingress,
		.vlan = { key->vlan[0], key->vlan[1] },
		.session = key->session,
	};
}

struct segment segment_from_key6(const struct bpfw_flow6_key *key)
{
	return (struct segment){
		.port = key->ingress,
		.vlan = { key->vlan[0], key->vlan[1] },
		.session = key->session,
	};
}

struct tuple tuple_from_key4(const struct bpfw_flow4_key *key)
{
	return (struct tuple){
		.family = AF_INET,
		.protocol = (uint8_t)key->protocol,
		.src.word[0] = key->src,
		.dst.word[0] = key->dst,
		.sport = key->sport,
		.dport = key->dport,
	};
}

struct tuple tuple_from_key6(const struct bpfw_flow6_key *key)
{
	struct tuple tuple = {
		.family = AF_INET6,
		.protocol = (uint8_t)key->protocol,
		.sport = key->sport,
		.dport = key->dport,
	};

	memcpy(&tuple.src, key->src, sizeof(tuple.src));
	memcpy(&tuple.dst, key->dst, sizeof(tuple.dst));
	return tuple;
}

struct bpfw_flow4_key tuple_to_key4(const struct tuple *tuple, const struct segment *segment)
{
	return (struct bpfw_flow4_key){
		.ingress = segment->port,
		.vlan = { segment->vlan[0], segment->vlan[1] },
		.session = segment->session,
		.src = tuple->src.word[0],
		.dst = tuple->dst.word[0],
		.sport = tuple->sport,
		.dport = tuple->dport,
		.protocol = tuple->protocol,
	};
}

struct bpfw_flow6_key tuple_to_key6(const struct tuple *tuple, const struct segment *segment)
{
	struct bpfw_flow6_key key = {
		.ingress = segment->port,
		.vlan = { segment->vlan[0], segment->vlan[1] },
		.session = segment->session,
		.sport = tuple->sport,
		.dport = tuple->dport,
		.protocol = tuple->protocol,
	};

	memcpy(key.src, &tuple->src, sizeof(key.src));
	memcpy(key.dst, &tuple->dst, sizeof(key.dst));
	return key;
}
