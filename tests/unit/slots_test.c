/* SPDX-License-Identifier: GPL-2.0-only */
/* Nodes and slots: from every address they lead to few ranges, among them the one it lies in. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "filter/slots.h"
#include "unit.h"

#define RANGES 3000
#define ADDRESSES 20000
#define SEARCHED 64 /* ranges that are left to search through, where the halves differ enough */

static struct value starts[RANGES];
static uint32_t start_count;

static int compare_values(const void *a, const void *b)
{
	return value_compare(*(const struct value *)a, *(const struct value *)b);
}

static uint64_t random_word(void)
{
	return (uint64_t)unit_random() << 32 ^ unit_random();
}

/* Few distinct upper parts, so that ranges lie in heaps; and some that lie anywhere. */
static struct value random_value(uint8_t family)
{
	struct value value = { 0 };

	if (family == AF_INET) {
		value.low = unit_random() % 4 ? (unit_random() % 3 << 24) + unit_random() % 4096 :
						unit_random();
		return value;
	}
	value.high = unit_random() % 4 ? UINT64_C(0x20010db800000000) + (unit_random() % 3 << 16) +
						 unit_random() % 64 :
					 random_word();
	value.low = unit_random() % 3 ? unit_random() % 300 : random_word();
	return value;
}

static void make_ranges(struct address_ranges *ranges, uint8_t family, uint32_t count)
{
	memset(ranges, 0, sizeof(*ranges));
	memset(starts, 0, sizeof(starts));
	for (uint32_t i = 1; i < count; i++)
		starts[i] = random_value(family);
	if (count > 2)
		starts[2] = family == AF_INET ? (struct value){ 0, UINT32_MAX } :
						(struct value){ UINT64_MAX, UINT64_MAX };
	qsort(starts, count, sizeof(*starts), compare_values);
	start_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (start_count && !value_compare(starts[start_count - 1], starts[i]))
			continue;
		starts[start_count++] = starts[i];
		assert_int_equal(address_ranges_add(ranges, family, starts[i], start_count - 1), 0);
	}
	assert_int_equal(ranges->count, start_count);
	assert_int_equal(address_ranges_index(ranges), 0);
}

/* As find_slot() in bpf/filter_search.h goes. */
static const struct filter_slot *find(const struct address_ranges *ranges, struct value address)
{
	uint32_t number = 0;

	for (int depth = 0; depth < FILTER_NODE_DEPTH; depth++) {
		const struct filter_node *node = &ranges->nodes[number];
		uint64_t value = ranges->family == AF_INET || node->lower ? address.low :
									    address.high;
		uint64_t step = value < node->base ? 0 : ((value - node->base) >> node->shift) + 1;
		const struct filter_slot *slot =
			&ranges->slots[node->slots + (step < node->last ? step : node->last)];

		assert_in_range(number, 0, ranges->node_count - 1);
		assert_in_range(slot - ranges->slots, 0, ranges->slot_count - 1);
		if (slot->last != FILTER_SLOT_NODE)
			return slot;
		number = slot->first;
	}
	return NULL;
}

static void assert_row(uint32_t row, struct value address)
{
	assert_in_range(row, 0, start_count - 1);
	assert_true(value_compare(starts[row], address) <= 0);
	assert_true(row + 1 == start_count || value_compare(address, starts[row + 1]) < 0);
}

static void check_address(const struct address_ranges *ranges, struct value address)
{
	const struct filter_slot *slot = find(ranges, address);

	assert_non_null(slot);
	if (slot->last == FILTER_SLOT_ROW) { /* make_ranges() has numbered the rows */
		assert_row(slot->first, address);
		return;
	}
	assert_true(slot->first <= slot->last && slot->last < start_count);
	assert_true(value_compare(starts[slot->first], address) <= 0);
	assert_true(slot->last + 1 == start_count ||
		    value_compare(address, starts[slot->last + 1]) < 0);
	assert_in_range(slot->last - slot->first, 0, SEARCHED);
}

static void check_all(uint8_t family, uint32_t count)
{
	struct address_ranges ranges;

	make_ranges(&ranges, family, count);
	for (uint32_t i = 0; i < start_count; i++) {
		check_address(&ranges, starts[i]);
		check_address(&ranges, value_next(starts[i]));
		if (i)
			check_address(&ranges, value_previous(starts[i]));
	}
	for (uint32_t i = 0; i < ADDRESSES; i++)
		check_address(&ranges, random_value(family));
	assert_in_range(ranges.slot_count, 0, 16 * count + 16);
	address_ranges_free(&ranges);
}

static void test_few(void **state)
{
	(void)state;
	for (uint32_t count = 1; count < 40; count++) {
		check_all(AF_INET, count);
		check_all(AF_INET6, count);
	}
}

static void test_many(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		check_all(AF_INET, RANGES - i);
		check_all(AF_INET6, RANGES - i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_many),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
