/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses, prefixes, tuples and the map keys made of them. */
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "tuple.h"

static struct address address(const char *text)
{
	struct address result = { 0 };

	assert_int_equal(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, &result), 1);
	return result;
}

static void check_prefix(const char *text, const char *prefix, unsigned int length, bool expected)
{
	struct address a = address(text), b = address(prefix);

	if (address_in_prefix(&a, &b, length) != expected)
		fail_msg("%s in %s/%u is not %d", text, prefix, length, expected);
}

static void test_prefix4(void **state)
{
	(void)state;
	check_prefix("10.1.2.3", "0.0.0.0", 0, true);
	check_prefix("255.255.255.255", "0.0.0.0", 0, true);
	check_prefix("10.1.2.3", "192.168.0.0", 0, true);
	check_prefix("127.255.255.255", "0.0.0.0", 1, true);
	check_prefix("128.0.0.0", "0.0.0.0", 1, false);
	check_prefix("10.1.2.3", "10.0.0.0", 8, true);
	check_prefix("11.1.2.3", "10.0.0.0", 8, false);
	check_prefix("10.1.2.3", "10.1.2.0", 24, true);
	check_prefix("10.1.3.3", "10.1.2.0", 24, false);
	/* Bits of the prefix behind its length do not count. */
	check_prefix("10.1.2.3", "10.1.2.99", 24, true);
	check_prefix("10.1.2.3", "10.1.2.2", 31, true);
	check_prefix("10.1.2.4", "10.1.2.2", 31, false);
	check_prefix("10.1.2.3", "10.1.2.3", 32, true);
	check_prefix("10.1.2.3", "10.1.2.2", 32, false);
	check_prefix("10.1.2.3", "10.1.2.1", 30, true);
	check_prefix("10.1.2.4", "10.1.2.3", 30, false);
}

static void test_prefix6(void **state)
{
	(void)state;
	check_prefix("2001:db8::1", "::", 0, true);
	check_prefix("ffff::", "::", 0, true);
	check_prefix("2001:db8:1::1", "2001:db8::", 31, true);
	check_prefix("2001:db9:1::1", "2001:db8::", 31, true);
	check_prefix("2001:dba:1::1", "2001:db8::", 31, false);
	check_prefix("2001:db8:1::1", "2001:db8::", 32, true);
	check_prefix("2001:db9::1", "2001:db8::", 32, false);
	check_prefix("2001:db8:7fff::1", "2001:db8::", 33, true);
	check_prefix("2001:db8:8000::1", "2001:db8::", 33, false);
	check_prefix("2001:db8:0:1::1", "2001:db8:0:1::", 63, true);
	check_prefix("2001:db8:0:0::1", "2001:db8:0:1::", 63, true);
	check_prefix("2001:db8:0:1::1", "2001:db8:0:1::", 64, true);
	check_prefix("2001:db8:0:0::1", "2001:db8:0:1::", 64, false);
	check_prefix("2001:db8:0:1:8000::1", "2001:db8:0:1::", 65, false);
	check_prefix("2001:db8::7fff:ffff", "2001:db8::", 97, true);
	check_prefix("2001:db8::8000:0", "2001:db8::", 97, false);
	check_prefix("2001:db8::1", "2001:db8::", 127, true);
	check_prefix("2001:db8::2", "2001:db8::", 127, false);
	check_prefix("2001:db8::2", "2001:db8::2", 128, true);
	check_prefix("2001:db8::3", "2001:db8::2", 128, false);
	/* Longer than an address: the kernel does not send it, a broken message might. */
	check_prefix("2001:db8::2", "2001:db8::2", 129, false);
	check_prefix("2001:db8::2", "2001:db8::2", 160, false);
	check_prefix("2001:db8::2", "2001:db8::2", 255, false);
}

static bool same_bits(const struct address *a, const struct address *b, unsigned int length)
{
	const uint8_t *x = (const void *)a, *y = (const void *)b;

	for (unsigned int bit = 0; bit < length; bit++)
		if ((x[bit / 8] ^ y[bit / 8]) & 0x80 >> bit % 8)
			return false;
	return true;
}

/* Every length against a comparison bit by bit, with addresses that differ late. */
static void test_prefix_random(void **state)
{
	(void)state;
	for (int i = 0; i < 100000; i++) {
		unsigned int length = unit_below(129), differs = unit_below(160);
		struct address a = { { unit_random(), unit_random(), unit_random(),
				       unit_random() } };
		struct address b = a;
		uint8_t *byte = (void *)&b;

		if (differs < 128)
			byte[differs / 8] ^= (uint8_t)(0x80 >> differs % 8);
		assert_int_equal(address_in_prefix(&a, &b, length), same_bits(&a, &b, length));
		assert_int_equal(address_in_prefix(&a, &b, length), differs >= length);
	}
}

static struct tuple make_tuple(const char *src, uint16_t sport, const char *dst, uint16_t dport)
{
	struct tuple tuple = {
		.src = address(src),
		.dst = address(dst),
		.sport = htons(sport),
		.dport = htons(dport),
		.family = strchr(src, ':') ? AF_INET6 : AF_INET,
		.protocol = IPPROTO_UDP,
	};

	return tuple;
}

static void test_inverse(void **state)
{
	struct tuple tuple = make_tuple("10.0.0.1", 1000, "192.0.2.7", 53);
	struct tuple expected = make_tuple("192.0.2.7", 53, "10.0.0.1", 1000);
	struct tuple inverse = tuple_inverse(&tuple), again = tuple_inverse(&inverse);

	(void)state;
	assert_true(tuple_equal(&inverse, &expected));
	assert_true(tuple_equal(&again, &tuple));
	assert_false(tuple_equal(&inverse, &tuple));
	tuple = make_tuple("2001:db8::1", 1000, "2001:db8::2", 53);
	expected = make_tuple("2001:db8::2", 53, "2001:db8::1", 1000);
	inverse = tuple_inverse(&tuple);
	assert_true(tuple_equal(&inverse, &expected));
}

static void check_differs(const struct tuple *tuple, const struct tuple *other)
{
	assert_false(tuple_equal(tuple, other));
	assert_false(tuple_equal(other, tuple));
}

static void test_equal(void **state)
{
	struct tuple tuple = make_tuple("2001:db8::1", 1000, "2001:db8::2", 53), other = tuple;

	(void)state;
	assert_true(tuple_equal(&tuple, &other));
	for (size_t i = 0; i < 4; i++) {
		other = tuple;
		other.src.word[i] ^= htonl(1);
		check_differs(&tuple, &other);
		assert_false(address_equal(&tuple.src, &other.src));
		other = tuple;
		other.dst.word[i] ^= htonl(0x80000000);
		check_differs(&tuple, &other);
	}
	other = tuple;
	other.sport ^= 1;
	check_differs(&tuple, &other);
	other = tuple;
	other.dport ^= 0x8000;
	check_differs(&tuple, &other);
	other = tuple;
	other.family = AF_INET;
	check_differs(&tuple, &other);
	other = tuple;
	other.protocol = IPPROTO_TCP;
	check_differs(&tuple, &other);
}

static void test_keys4(void **state)
{
	struct tuple tuple = make_tuple("10.0.0.1", 1000, "192.0.2.7", 53), back;
	const struct segment segment = { 7, { VLAN_TAGGED | 4095, 0 }, htons(0xfedc) };
	struct bpfw_flow4_key key = tuple_to_key4(&tuple, &segment);
	struct segment segment_back;

	(void)state;
	assert_int_equal(key.ingress, 7);
	assert_int_equal(key.vlan[0], VLAN_TAGGED | 4095);
	assert_int_equal(key.vlan[1], 0);
	assert_int_equal(ntohs(key.session), 0xfedc);
	assert_int_equal(key.src, inet_addr("10.0.0.1"));
	assert_int_equal(key.dst, inet_addr("192.0.2.7"));
	assert_int_equal(ntohs(key.sport), 1000);
	assert_int_equal(ntohs(key.dport), 53);
	assert_int_equal(key.protocol, IPPROTO_UDP);
	back = tuple_from_key4(&key);
	assert_true(tuple_equal(&back, &tuple));
	segment_back = segment_from_key4(&key);
	assert_true(segment_equal(&segment_back, &segment));
}

static void test_keys6(void **state)
{
	struct tuple tuple = make_tuple("2001:db8::1", 1000, "fd00::7", 53), back;
	const struct segment segment = { 0xffffffff,
					 { VLAN_TAGGED | VLAN_SERVICE | 1, VLAN_TAGGED | 2 },
					 htons(1) };
	struct bpfw_flow6_key key = tuple_to_key6(&tuple, &segment);
	struct segment segment_back;

	(void)state;
	assert_int_equal(key.ingress, 0xffffffff);
	assert_int_equal(key.vlan[0], VLAN_TAGGED | VLAN_SERVICE | 1);
	assert_int_equal(key.vlan[1], VLAN_TAGGED | 2);
	assert_int_equal(ntohs(key.session), 1);
	assert_memory_equal(key.src, &tuple.src, 16);
	assert_memory_equal(key.dst, &tuple.dst, 16);
	assert_int_equal(ntohs(key.sport), 1000);
	assert_int_equal(ntohs(key.dport), 53);
	assert_int_equal(key.protocol, IPPROTO_UDP);
	back = tuple_from_key6(&key);
	assert_true(tuple_equal(&back, &tuple));
	segment_back = segment_from_key6(&key);
	assert_true(segment_equal(&segment_back, &segment));
}

static void test_segment_equal(void **state)
{
	const struct segment segment = { 7, { VLAN_TAGGED | 1, VLAN_TAGGED | 2 }, htons(3) };
	struct segment other = segment;

	(void)state;
	assert_true(segment_equal(&segment, &other));
	other.port = 8;
	assert_false(segment_equal(&segment, &other));
	other = segment;
	other.vlan[0] |= VLAN_SERVICE;
	assert_false(segment_equal(&segment, &other));
	other = segment;
	other.vlan[1] = 0;
	assert_false(segment_equal(&segment, &other));
	other = segment;
	other.session = 0;
	assert_false(segment_equal(&segment, &other));
}

/* Keys are compared as bytes: they must be nothing but their members. */
static void test_key_sizes(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct bpfw_flow4_key), 4 + 2 * 2 + 4 + 4 + 2 + 2 + 2 + 2);
	assert_int_equal(sizeof(struct bpfw_flow6_key), 4 + 2 * 2 + 16 + 16 + 2 + 2 + 2 + 2);
}

static void test_print(void **state)
{
	const char *longest = "2001:db8:1111:2222:3333:4444:5555:6666";
	struct tuple tuple = make_tuple("10.0.0.1", 1000, "192.0.2.7", 53);
	char text[TUPLE_TEXT];

	(void)state;
	assert_string_equal(tuple_print(&tuple, text), "udp 10.0.0.1:1000 -> 192.0.2.7:53");
	tuple = make_tuple(longest, 65535, longest, 65535);
	tuple.protocol = IPPROTO_TCP;
	assert_string_equal(tuple_print(&tuple, text),
			    "tcp [2001:db8:1111:2222:3333:4444:5555:6666]:65535 -> "
			    "[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix4),       cmocka_unit_test(test_prefix6),
		cmocka_unit_test(test_prefix_random), cmocka_unit_test(test_inverse),
		cmocka_unit_test(test_equal),         cmocka_unit_test(test_keys4),
		cmocka_unit_test(test_keys6),         cmocka_unit_test(test_key_sizes),
		cmocka_unit_test(test_print),         cmocka_unit_test(test_segment_equal),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
