/* SPDX-License-Identifier: GPL-2.0-only */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "frame.h"
#include "tap.h"

const struct encapsulation frame_links[LINK_KINDS] = {
	[LINK_PLAIN] = { 0 },
	[LINK_Q] = { 1, { { 0x8100, 10 } }, 0 },
	[LINK_AD] = { 1, { { 0x88a8, 4094 } }, 0 },
	[LINK_AD_Q] = { 2, { { 0x88a8, 1 }, { 0x8100, 257 } }, 0 },
	[LINK_Q_Q] = { 2, { { 0x8100, 1000 }, { 0x8100, 1 } }, 0 },
	[LINK_PPPOE] = { 0, { { 0 } }, 0x1234 },
	[LINK_Q_PPPOE] = { 1, { { 0x8100, 7 } }, 0xffff },
	[LINK_AD_Q_PPPOE] = { 2, { { 0x88a8, 835 }, { 0x8100, 35 } }, 1 },
};

const char *const frame_link_names[LINK_KINDS] = {
	[LINK_PLAIN] = "no encapsulation",
	[LINK_Q] = "802.1Q",
	[LINK_AD] = "802.1ad",
	[LINK_AD_Q] = "802.1ad+802.1Q",
	[LINK_Q_Q] = "802.1Q+802.1Q",
	[LINK_PPPOE] = "PPPoE",
	[LINK_Q_PPPOE] = "802.1Q+PPPoE",
	[LINK_AD_Q_PPPOE] = "802.1ad+802.1Q+PPPoE",
};

uint16_t frame_get16(const struct frame *frame, size_t offset)
{
	return (uint16_t)(frame->data[offset] << 8 | frame->data[offset + 1]);
}

uint32_t frame_get32(const struct frame *frame, size_t offset)
{
	return (uint32_t)frame_get16(frame, offset) << 16 | frame_get16(frame, offset + 2);
}

void frame_put16(struct frame *frame, size_t offset, uint16_t value)
{
	frame->data[offset] = (uint8_t)(value >> 8);
	frame->data[offset + 1] = (uint8_t)value;
}

void frame_put32(struct frame *frame, size_t offset, uint32_t value)
{
	frame_put16(frame, offset, (uint16_t)(value >> 16));
	frame_put16(frame, offset + 2, (uint16_t)value);
}

bool frame_is_ipv6(const struct frame *frame)
{
	return frame_get16(frame, 12) == 0x86dd;
}

uint8_t frame_protocol(const struct frame *frame)
{
	return frame->data[FRAME_L3 + (frame_is_ipv6(frame) ? 6 : 9)];
}

size_t frame_l4(const struct frame *frame)
{
	return FRAME_L3 + (frame_is_ipv6(frame) ? 40 : 20);
}

size_t frame_l3_len(const struct frame *frame)
{
	if (frame_is_ipv6(frame))
		return 40U + frame_get16(frame, FRAME_L3 + 4);
	return frame_get16(frame, FRAME_L3 + 2);
}

size_t frame_l4_check(const struct frame *frame)
{
	return frame_l4(frame) + (frame_protocol(frame) == IPPROTO_TCP ? 16 : 6);
}

uint16_t ones_add(uint16_t a, uint16_t b)
{
	uint32_t sum = (uint32_t)a + b;

	return (uint16_t)(sum > 0xffff ? sum - 0xffff : sum);
}

uint16_t ones_sum(const uint8_t *data, size_t len, uint32_t start)
{
	uint16_t sum = (uint16_t)start;

	for (size_t i = 0; i < len; i += 2) {
		uint16_t low = i + 1 < len ? data[i + 1] : 0;

		sum = ones_add(sum, (uint16_t)(data[i] << 8 | low));
	}
	return sum;
}

static size_t l4_len(const struct frame *frame)
{
	return FRAME_L3 + frame_l3_len(frame) - frame_l4(frame);
}

uint16_t frame_pseudo_sum(const struct frame *frame)
{
	size_t addresses = FRAME_L3 + (frame_is_ipv6(frame) ? 8 : 12);
	size_t len = frame_is_ipv6(frame) ? 32 : 8;
	uint16_t sum = ones_sum(frame->data + addresses, len, 0);

	return ones_add(ones_add(sum, frame_protocol(frame)), (uint16_t)l4_len(frame));
}

/* Sum over pseudo header, header and data, with the checksum taken as 0. */
static uint16_t l4_sum(const struct frame *frame)
{
	struct frame copy = *frame;

	frame_put16(&copy, frame_l4_check(&copy), 0);
	return ones_sum(copy.data + frame_l4(&copy), l4_len(&copy), frame_pseudo_sum(&copy));
}

uint16_t frame_l4_checksum(const struct frame *frame)
{
	uint16_t check = (uint16_t)~l4_sum(frame);

	return check || frame_protocol(frame) == IPPROTO_TCP ? check : 0xffff;
}

bool frame_l4_checksum_ok(const struct frame *frame)
{
	uint16_t check = frame_get16(frame, frame_l4_check(frame));

	if (!check && frame_protocol(frame) == IPPROTO_UDP)
		return !frame_is_ipv6(frame);
	return ones_add(l4_sum(frame), check) == 0xffff;
}

bool frame_ip_checksum_ok(const struct frame *frame)
{
	return frame_is_ipv6(frame) || ones_sum(frame->data + FRAME_L3, 20, 0) == 0xffff;
}

void frame_fix_ip_checksum(struct frame *frame)
{
	if (frame_is_ipv6(frame))
		return;
	frame_put16(frame, FRAME_L3 + 10, 0);
	frame_put16(frame, FRAME_L3 + 10, (uint16_t)~ones_sum(frame->data + FRAME_L3, 20, 0));
}

void frame_fix_l4_checksum(struct frame *frame)
{
	frame_put16(frame, frame_l4_check(frame), frame_l4_checksum(frame));
}

static void put_ipv4(const struct frame_spec *spec, struct frame *frame, size_t len)
{
	frame_put16(frame, 12, 0x0800);
	frame->data[FRAME_L3] = 0x45;
	frame->data[FRAME_L3 + 1] = spec->tos;
	frame_put16(frame, FRAME_L3 + 2, (uint16_t)(20 + len));
	frame_put16(frame, FRAME_L3 + 4, 0x1234);
	frame_put16(frame, FRAME_L3 + 6, 0x4000);
	frame->data[FRAME_L3 + 8] = spec->ttl;
	frame->data[FRAME_L3 + 9] = spec->tuple.protocol;
	memcpy(frame->data + FRAME_L3 + 12, &spec->tuple.src, 4);
	memcpy(frame->data + FRAME_L3 + 16, &spec->tuple.dst, 4);
	frame_fix_ip_checksum(frame);
}

static void put_ipv6(const struct frame_spec *spec, struct frame *frame, size_t len)
{
	frame_put16(frame, 12, 0x86dd);
	frame_put32(frame, FRAME_L3, 0x60000000U | (uint32_t)spec->tos << 20 | 0xabcde);
	frame_put16(frame, FRAME_L3 + 4, (uint16_t)len);
	frame->data[FRAME_L3 + 6] = spec->tuple.protocol;
	frame->data[FRAME_L3 + 7] = spec->ttl;
	memcpy(frame->data + FRAME_L3 + 8, &spec->tuple.src, 16);
	memcpy(frame->data + FRAME_L3 + 24, &spec->tuple.dst, 16);
}

static void put_tcp(const struct frame_spec *spec, struct frame *frame, size_t l4)
{
	frame_put32(frame, l4 + 4, spec->seq);
	frame_put32(frame, l4 + 8, spec->ack);
	frame->data[l4 + 12] = (uint8_t)((20 + spec->tcp_options) / 4 << 4);
	frame->data[l4 + 13] = spec->tcp_flags;
	frame_put16(frame, l4 + 14, spec->window);
	memset(frame->data + l4 + 20, 1, spec->tcp_options); /* no-operation options */
}

void frame_insert(struct frame *frame, size_t offset, size_t len)
{
	if (frame->len + len > FRAME_ROOM)
		tap_bail_out("a frame of the tests is too long");
	memmove(frame->data + offset + len, frame->data + offset, frame->len - offset);
	memset(frame->data + offset, 0, len);
	frame->len += len;
}

void frame_remove(struct frame *frame, size_t offset, size_t len)
{
	frame->len -= len;
	memmove(frame->data + offset, frame->data + offset + len, frame->len - offset);
	memset(frame->data + frame->len, 0, len);
}

size_t frame_link_len(const struct encapsulation *link)
{
	return FRAME_L3 + 4U * link->tags + (link->session ? 8 : 0);
}

void frame_encapsulate(struct frame *frame, const struct encapsulation *link)
{
	uint16_t len = (uint16_t)(frame_l3_len(frame) + 2);
	bool ipv6 = frame_is_ipv6(frame);

	if (link->session) {
		frame_put16(frame, 12, 0x8864);
		frame_insert(frame, 14, 8);
		frame_put16(frame, 14, 0x1100);
		frame_put16(frame, 16, link->session);
		frame_put16(frame, 18, len);
		frame_put16(frame, 20, ipv6 ? 0x0057 : 0x0021);
	}
	for (size_t i = link->tags; i-- > 0;) {
		frame_insert(frame, 12, 4);
		frame_put16(frame, 12, link->tag[i].type);
		frame_put16(frame, 14, link->tag[i].tci);
	}
}

void frame_build(const struct frame_spec *spec, struct frame *frame)
{
	bool tcp = spec->tuple.protocol == IPPROTO_TCP;
	bool ipv6 = spec->tuple.family == AF_INET6;
	size_t l4 = FRAME_L3 + (ipv6 ? 40 : 20);
	size_t header = tcp ? 20U + spec->tcp_options : 8U;
	size_t len = header + spec->payload;

	memset(frame, 0, sizeof(*frame));
	frame->len = l4 + len + spec->padding;
	memcpy(frame->data, spec->dst_mac, 6);
	memcpy(frame->data + 6, spec->src_mac, 6);
	(ipv6 ? put_ipv6 : put_ipv4)(spec, frame, len);
	memcpy(frame->data + l4, &spec->tuple.sport, 2);
	memcpy(frame->data + l4 + 2, &spec->tuple.dport, 2);
	if (tcp)
		put_tcp(spec, frame, l4);
	else
		frame_put16(frame, l4 + 4, (uint16_t)len);
	for (size_t i = 0; i < spec->payload; i++)
		frame->data[l4 + header + i] = (uint8_t)(spec->fill + i * 7);
	memset(frame->data + l4 + len, 0xee, spec->padding);
	if (spec->checksum == CHECKSUM_WHOLE)
		frame_fix_l4_checksum(frame);
	else if (spec->checksum == CHECKSUM_PSEUDO)
		frame_put16(frame, frame_l4_check(frame), frame_pseudo_sum(frame));
	frame_encapsulate(frame, &spec->link);
}

bool frame_equal(const struct frame *a, const struct frame *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

void frame_note_difference(const struct frame *expected, const struct frame *got)
{
	size_t shorter = expected->len < got->len ? expected->len : got->len;
	unsigned int shown = 0;

	if (expected->len != got->len)
		tap_note("length: expected %zu, got %zu", expected->len, got->len);
	for (size_t i = 0; i < shorter && shown < 16; i++) {
		if (expected->data[i] == got->data[i])
			continue;
		tap_note("byte %zu: expected %02x, got %02x", i, expected->data[i], got->data[i]);
		shown++;
	}
}
