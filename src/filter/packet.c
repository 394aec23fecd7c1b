/* SPDX-License-Identifier: GPL-2.0-only */
#include <byteswap.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/packet.h"

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define HEADER_IPV4 20
#define HEADER_IPV6 40
#define HEADER_FRAGMENT 8
#define FRAGMENT_OFFSET 185 /* of 8 bytes: the second of two that fill an Ethernet each */

/* LINKTYPE_*, www.tcpdump.org/linktypes.html */
#define LINK_ETHERNET 1
#define LINK_RAW 101
#define LINK_IPV4 228
#define LINK_IPV6 229

#define CAPTURE_MICROSECONDS 0xa1b2c3d4
#define CAPTURE_NANOSECONDS 0xa1b23c4d
#define CAPTURE_MAX 262144 /* bytes of a packet: libpcap takes no more either */

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

/* ---- Made of a description --------------------------------------------------------------- */

static size_t transport_size(const struct packet_description *description)
{
	if (description->fragment)
		return 0;
	switch (description->protocol) {
	case IPPROTO_TCP:
		return 20;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return 12;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return 8;
	default:
		return 0;
	}
}

static void put_transport(uint8_t *at, const struct packet_description *description, size_t size)
{
	if (description->fragment)
		return;
	switch (description->protocol) {
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		at[0] = description->icmp_type;
		at[1] = description->icmp_code;
		return;
	case IPPROTO_TCP:
		at[12] = 5 << 4;
		at[13] = description->tcp_flags;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		put16(at + 4, (uint32_t)size);
		break;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		break;
	default:
		return;
	}
	put16(at, description->source_port);
	put16(at + 2, description->destination_port);
}

static void put_ipv4(uint8_t *at, const struct packet_description *description, size_t length)
{
	at[0] = 0x45;
	at[1] = description->tos;
	put16(at + 2, (uint32_t)length);
	put16(at + 6, description->fragment ? FRAGMENT_OFFSET : 0x4000);
	at[8] = description->ttl;
	at[9] = description->protocol;
	memcpy(at + 12, description->source.bytes, 4);
	memcpy(at + 16, description->destination.bytes, 4);
}

static void put_ipv6(uint8_t *at, const struct packet_description *description, size_t length)
{
	at[0] = (uint8_t)(0x60 | description->tos >> 4);
	at[1] = (uint8_t)(description->tos << 4);
	put16(at + 4, (uint32_t)(length - HEADER_IPV6));
	at[6] = description->fragment ? IPPROTO_FRAGMENT : description->protocol;
	at[7] = description->ttl;
	memcpy(at + 8, description->source.bytes, 16);
	memcpy(at + 24, description->destination.bytes, 16);
	if (!description->fragment)
		return;
	at[HEADER_IPV6] = description->protocol;
	put16(at + HEADER_IPV6 + 2, FRAGMENT_OFFSET << 3);
}

/* What is for many is sent so on an Ethernet. */
static void put_link(uint8_t *at, const struct packet_description *description)
{
	const uint8_t *to = description->destination.bytes;

	if (description->family == AF_INET6 && to[0] == 0xff)
		put16(at, 0x3333);
	else if (description->family == AF_INET && to[0] >> 4 == 0xe)
		put16(at, 0x0100);
	else if (description->family == AF_INET && description->destination.words[0] == UINT32_MAX)
		memset(at, 0xff, 6);
	put16(at + 12, description->family == AF_INET6 ? TYPE_IPV6 : TYPE_IPV4);
}

int packet_build(struct packet *packet, const struct packet_description *description)
{
	const bool v6 = description->family == AF_INET6;
	const size_t headers = (v6 ? HEADER_IPV6 : HEADER_IPV4) +
			       (v6 && description->fragment ? HEADER_FRAGMENT : 0);
	const size_t least = headers + transport_size(description);
	const size_t length = description->length ? description->length : least;
	uint8_t *network = packet->frame + PACKET_LINK;

	if (length < least)
		return -EINVAL;
	if (length > PACKET_MAX - PACKET_LINK)
		return -E2BIG;
	memset(packet, 0, sizeof(*packet));
	packet->family = description->family;
	packet->size = PACKET_LINK + length;
	put_link(packet->frame, description);
	if (v6)
		put_ipv6(network, description, length);
	else
		put_ipv4(network, description, length);
	put_transport(network + headers, description, length - headers);
	return 0;
}

bool packet_is_cut(const struct packet *packet)
{
	return packet->family != AF_UNSPEC &&
	       packet->size < PACKET_LINK + (size_t)(packet->family == AF_INET6 ? HEADER_IPV6 :
										  HEADER_IPV4);
}

/* ---- Given as it is ------------------------------------------------------------------------ */

/* A packet without a link header: its version, and a length that can be. */
static bool begins_with_ip(const uint8_t *bytes, size_t size)
{
	if (size >= HEADER_IPV4 && bytes[0] >> 4 == 4)
		return (bytes[0] & 0xf) >= 5 && get16(bytes + 2) == size;
	return size >= HEADER_IPV6 && bytes[0] >> 4 == 6 && get16(bytes + 4) + HEADER_IPV6 == size;
}

static void find_family(struct packet *packet)
{
	uint32_t type = get16(packet->frame + 12);

	packet->family = type == TYPE_IPV4 ? AF_INET : type == TYPE_IPV6 ? AF_INET6 : AF_UNSPEC;
}

/* The packet is at the beginning of the frame: room for a link header before it. */
static int add_link(struct packet *packet)
{
	const uint8_t version = packet->frame[0] >> 4;

	if (packet->size > PACKET_MAX - PACKET_LINK)
		return -E2BIG;
	memmove(packet->frame + PACKET_LINK, packet->frame, packet->size);
	memset(packet->frame, 0, PACKET_LINK);
	put16(packet->frame + 12, version == 6 ? TYPE_IPV6 : TYPE_IPV4);
	packet->size += PACKET_LINK;
	return 0;
}

/* The next digit, -1 at the end, -EINVAL */
static int next_digit(const char **at)
{
	static const char digits[] = "0123456789abcdef";
	const char *found;

	while (isspace((unsigned char)**at) || **at == ':')
		++*at;
	if (!**at)
		return -1;
	found = strchr(digits, tolower((unsigned char)**at));
	if (!found)
		return -EINVAL;
	++*at;
	return (int)(found - digits);
}

int packet_from_hex(struct packet *packet, const char *digits)
{
	int high, low = 0, err = 0;

	memset(packet, 0, sizeof(*packet));
	while ((high = next_digit(&digits)) >= 0) {
		low = next_digit(&digits);
		if (low < 0)
			return -EINVAL;
		if (packet->size == PACKET_MAX)
			return -E2BIG;
		packet->frame[packet->size++] = (uint8_t)(high << 4 | low);
	}
	if (high == -EINVAL)
		return -EINVAL;
	if (begins_with_ip(packet->frame, packet->size))
		err = add_link(packet);
	if (err || packet->size <= PACKET_LINK)
		return err ? err : -EINVAL;
	find_family(packet);
	return 0;
}

/* ---- Captured -------------------------------------------------------------------------------- */

static uint32_t in_order(const struct packet_capture *capture, uint32_t value)
{
	return capture->swapped ? bswap_32(value) : value;
}

static int read_header(struct packet_capture *capture)
{
	uint32_t header[6]; /* magic, version, zone, accuracy, longest packet, kind of link */

	if (fread(header, sizeof(header), 1, capture->file) != 1)
		return -EINVAL;
	capture->swapped = header[0] == bswap_32(CAPTURE_MICROSECONDS) ||
			   header[0] == bswap_32(CAPTURE_NANOSECONDS);
	header[0] = in_order(capture, header[0]);
	if (header[0] != CAPTURE_MICROSECONDS && header[0] != CAPTURE_NANOSECONDS)
		return -EINVAL;
	capture->link = in_order(capture, header[5]) & 0xffff;
	switch (capture->link) {
	case LINK_ETHERNET:
	case LINK_RAW:
	case LINK_IPV4:
	case LINK_IPV6:
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

int packet_capture_open(struct packet_capture *capture, const char *path)
{
	capture->file = fopen(path, "re");
	return capture->file ? read_header(capture) : -errno;
}

/* By reading: a pipe can be read, too, and a file's end is met. */
static int skip(const struct packet_capture *capture, uint32_t bytes)
{
	uint8_t unused[4096];

	while (bytes) {
		const uint32_t part = bytes < sizeof(unused) ? bytes : (uint32_t)sizeof(unused);

		if (fread(unused, part, 1, capture->file) != 1)
			return -EBADMSG;
		bytes -= part;
	}
	return 0;
}

static int read_packet(const struct packet_capture *capture, uint32_t captured, uint32_t length,
		       struct packet *packet)
{
	int err = 0;

	packet->size = length;
	if (captured && fread(packet->frame, captured, 1, capture->file) != 1)
		return -EBADMSG;
	if (!length)
		return -ENODATA;
	if (capture->link != LINK_ETHERNET)
		err = add_link(packet);
	if (err || packet->size <= PACKET_LINK)
		return err ? err : -ENODATA;
	find_family(packet);
	return 1;
}

int packet_capture_next(struct packet_capture *capture, struct packet *packet)
{
	uint32_t record[4]; /* time, captured, length */
	uint32_t captured, length;
	size_t got = fread(record, 1, sizeof(record), capture->file);
	int err;

	memset(packet, 0, sizeof(*packet));
	if (got != sizeof(record))
		return got || ferror(capture->file) ? -EBADMSG : 0;
	captured = in_order(capture, record[2]);
	length = in_order(capture, record[3]);
	if (captured > CAPTURE_MAX)
		return -EPROTO;
	if (captured <= length && length <= PACKET_MAX)
		return read_packet(capture, captured, length, packet);
	err = skip(capture, captured);
	if (err)
		return err;
	return captured > length ? -EINVAL : -E2BIG;
}

void packet_capture_close(struct packet_capture *capture)
{
	if (capture->file)
		fclose(capture->file);
	capture->file = NULL;
}
