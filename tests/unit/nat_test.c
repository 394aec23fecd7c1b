/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From two tuples to a rewrite. Real headers are built, rewritten by the deltas as the
 * fast path does, and their checksums compared with ones computed from scratch.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "nat.h"

#define ROUNDS 100000

/* ---- RFC 1071, by the book --------------------------------------------------- */

static uint32_t sum_words(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i < len; i += 2) {
		sum += (uint32_t)(byte[i] << 8 | (i + 1 < len ? byte[i + 1] : 0));
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

/* RFC 1624, equation 3, on values in network byte order as they lie in memory. */
static uint16_t apply(uint16_t check, uint32_t delta)
{
	uint32_t sum = (uint16_t)~check + delta;

	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

struct packet {
	struct tuple tuple;
	uint8_t ttl;
	uint16_t id;
	uint8_t data[40]; /* transport header behind the ports, checksum as 0, and payload */
	size_t len;
};

static uint16_t header_checksum(const struct packet *packet)
{
	uint8_t header[20] = { 0x45, 0, 0, (uint8_t)(24 + packet->len) };

	header[4] = (uint8_t)(packet->id >> 8);
	header[5] = (uint8_t)packet->id;
	header[8] = packet->ttl;
	header[9] = packet->tuple.protocol;
	memcpy(header + 12, &packet->tuple.src, 4);
	memcpy(header + 16, &packet->tuple.dst, 4);
	return htons((uint16_t)~sum_words(header, sizeof(header), 0));
}

static uint16_t transport_checksum(const struct packet *packet)
{
	size_t address = packet->tuple.family == AF_INET ? 4 : 16;
	uint32_t sum = packet->tuple.protocol + 4 + (uint32_t)packet->len;
	uint16_t check;

	sum = sum_words(&packet->tuple.src, address, sum);
	sum = sum_words(&packet->tuple.dst, address, sum);
	sum = sum_words(&packet->tuple.sport, 2, sum);
	sum = sum_words(&packet->tuple.dport, 2, sum);
	check = htons((uint16_t)~sum_words(packet->data, packet->len, sum));
	return check || packet->tuple.protocol == IPPROTO_TCP ? check : 0xffff;
}

/* ---- Random tuples ----------------------------------------------------------- */

/* Words of all ones and all zeros are where one's complement has its two zeros. */
static uint32_t some_word(void)
{
	static const uint32_t edges[] = { 0, UINT32_MAX, 0xffff0000, 0x0000ffff, 1 };

	return unit_below(4) ? unit_random() : edges[unit_below(5)];
}

static struct tuple some_tuple(uint8_t family, uint8_t protocol)
{
	struct tuple tuple = { .family = family, .protocol = protocol };

	for (size_t i = 0; i < (family == AF_INET ? 1 : 4); i++) {
		tuple.src.word[i] = some_word();
		tuple.dst.word[i] = some_word();
	}
	tuple.sport = (__be16)some_word();
	tuple.dport = (__be16)some_word();
	return tuple;
}

/* Any of the four parts changes, or stays. */
static struct tuple translate(const struct tuple *from)
{
	struct tuple to = *from, other = some_tuple(from->family, from->protocol);
	uint32_t what = unit_random();

	if (what & 1)
		to.src = other.src;
	if (what & 2)
		to.dst = other.dst;
	if (what & 4)
		to.sport = other.sport;
	if (what & 8)
		to.dport = other.dport;
	return to;
}

static struct packet some_packet(const struct tuple *tuple)
{
	struct packet packet = {
		.tuple = *tuple,
		.ttl = (uint8_t)(2 + unit_below(254)),
		.id = (uint16_t)unit_random(),
		.len = unit_below(sizeof(packet.data) + 1),
	};

	for (size_t i = 0; i < packet.len; i++)
		packet.data[i] = unit_below(8) ? (uint8_t)unit_random() : 0xff;
	return packet;
}

static void check_rewrite(const struct packet *in, const struct tuple *to)
{
	struct bpfw_action action = { 0 };
	struct packet out = *in;
	uint16_t check;

	nat_fill_action(&in->tuple, to, &action);
	out.tuple = *to;
	out.ttl--;
	if (to->family == AF_INET)
		assert_int_equal(apply(header_checksum(in), action.l3_delta),
				 header_checksum(&out));
	check = apply(transport_checksum(in),
		      (uint32_t)action.l4_addr_delta + action.l4_port_delta);
	if (!check && to->protocol == IPPROTO_UDP)
		check = 0xffff;
	assert_int_equal(check, transport_checksum(&out));
	assert_int_equal(action.sport, to->sport);
	assert_int_equal(action.dport, to->dport);
	if (tuple_equal(&in->tuple, to))
		assert_false(action.flags & FLOW_NAT);
}

static void test_random(void **state)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP };

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		struct tuple from = some_tuple(families[unit_below(2)], protocols[unit_below(2)]);
		struct tuple to = translate(&from);
		struct packet packet = some_packet(&from);

		check_rewrite(&packet, &to);
	}
}

/* The data is chosen so that the sum before, or after, is the one that has two names. */
static void test_zero(void **state)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };

	(void)state;
	for (int i = 0; i < 4000; i++) {
		uint8_t protocol = i & 1 ? IPPROTO_TCP : IPPROTO_UDP;
		struct tuple from = some_tuple(families[unit_below(2)], protocol);
		struct tuple to = translate(&from);
		struct packet packet = some_packet(&from);
		struct packet *zeroed = &packet, out;
		uint16_t word;

		packet.len = 2 + packet.len / 2;
		packet.data[0] = packet.data[1] = 0;
		out = packet;
		out.tuple = to;
		if (i & 2)
			zeroed = &out;
		word = transport_checksum(zeroed);
		memcpy(packet.data, &word, 2);
		memcpy(zeroed->data, &word, 2);
		assert_int_equal(transport_checksum(zeroed), protocol == IPPROTO_TCP ? 0 : 0xffff);
		check_rewrite(&packet, &to);
	}
}

/* ---- By hand ----------------------------------------------------------------- */

static const struct tuple base4 = {
	.family = AF_INET,
	.protocol = IPPROTO_TCP,
	.src.word = { 0x0201000a },
	.dst.word = { 0x057100cb },
	.sport = 0x409c,
	.dport = 0xbb01,
};

static void test_none(void **state)
{
	struct bpfw_action action = { .flags = FLOW_NAT | FLOW_REPLY | FLOW_TRACKED };

	(void)state;
	nat_fill_action(&base4, &base4, &action);
	assert_int_equal(action.l4_addr_delta, 0);
	assert_int_equal(action.l4_port_delta, 0);
	assert_int_equal(action.sport, base4.sport);
	assert_int_equal(action.dport, base4.dport);
	/* The hop alone: the header's sum is 0x0100 less. */
	assert_int_equal(action.l3_delta, (uint16_t)~htons(0x0100));
	/* Other flags are none of its business. */
	assert_int_equal(action.flags, FLOW_REPLY | FLOW_TRACKED);
}

static void check_parts(const struct tuple *from, const struct tuple *to, bool addresses,
			bool ports)
{
	struct bpfw_action action = { 0 };

	nat_fill_action(from, to, &action);
	assert_int_equal(action.l4_addr_delta != 0, addresses);
	assert_int_equal(action.l4_port_delta != 0, ports);
	assert_int_equal(action.flags, FLOW_NAT);
	assert_int_equal(action.sport, to->sport);
	assert_int_equal(action.dport, to->dport);
}

static void test_parts(void **state)
{
	for (int family = 0; family < 2; family++) {
		struct tuple from = base4, to;

		(void)state;
		from.family = family ? AF_INET6 : AF_INET;
		to = from;
		to.src.word[family ? 3 : 0] ^= htonl(1);
		check_parts(&from, &to, true, false);
		to.sport = htons(1);
		check_parts(&from, &to, true, true);
		to = from;
		to.dst.word[family ? 2 : 0] ^= htonl(0x80000000);
		check_parts(&from, &to, true, false);
		to.dport = htons(8080);
		check_parts(&from, &to, true, true);
		to = from;
		to.sport = htons(65535);
		check_parts(&from, &to, false, true);
		to = from;
		to.dport = 0;
		check_parts(&from, &to, false, true);
		/* The sums cancel out, the change does not. */
		to = tuple_inverse(&from);
		check_parts(&from, &to, true, true);
	}
}

static void test_delta(void **state)
{
	static const uint8_t a[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t b[8];
	uint16_t zeros = 0, ones = 0xffff, word = 0x1234, other = 0x1235;

	(void)state;
	memcpy(b, a, sizeof(b));
	assert_int_equal(csum_delta(a, b, sizeof(a)), 0);
	assert_int_equal(csum_delta(a, b, 0), 0);
	/* Words that change places: a change whose sum is the other zero */
	memcpy(b, a + 2, 2);
	memcpy(b + 2, a, 2);
	assert_int_equal(csum_delta(a, b, sizeof(a)), 0xffff);
	assert_int_equal(csum_delta(&word, &other, 2), 1);
	assert_int_equal(csum_delta(&other, &word, 2), 0xffff - 1);
	/* From one zero to the other: no checksum can tell. */
	assert_int_equal(csum_delta(&ones, &zeros, 2), 0);
	assert_true(csum_delta(&zeros, &ones, 2) % 0xffff == 0);
}

/* A delta of 0 leaves every checksum alone; no other delta turns one into the other zero. */
static void test_apply(void **state)
{
	(void)state;
	for (uint32_t check = 0; check <= 0xffff; check++) {
		assert_int_equal(apply((uint16_t)check, 0), check);
		assert_int_not_equal(apply((uint16_t)check, 1 + unit_below(0xffff)), 0xffff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),  cmocka_unit_test(test_parts),
		cmocka_unit_test(test_delta), cmocka_unit_test(test_apply),
		cmocka_unit_test(test_zero),  cmocka_unit_test(test_random),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
