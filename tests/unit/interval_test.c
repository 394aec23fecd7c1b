/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets of intervals against sets of bits. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filter/interval.h"
#include "unit.h"

#define VALUES 64
#define MAXIMUM ((struct value){ 0, VALUES - 1 })
#define ALL UINT64_MAX

static uint64_t bits_of(const struct intervals *set)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < set->count; i++)
		for (uint64_t v = set->interval[i].first.low; v <= set->interval[i].last.low; v++)
			bits |= UINT64_C(1) << v;
	return bits;
}

/* Sorted, and something between each two. */
static void check_form(const struct intervals *set)
{
	for (size_t i = 0; i < set->count; i++) {
		assert_true(value_compare(set->interval[i].first, set->interval[i].last) <= 0);
		if (i)
			assert_true(set->interval[i - 1].last.low + 1 < set->interval[i].first.low);
	}
}

static uint64_t add_random(struct intervals *set)
{
	uint64_t first = unit_random() % VALUES, last = first + unit_random() % 8, bits = 0;

	if (last >= VALUES)
		last = VALUES - 1;
	assert_int_equal(intervals_add(set, (struct value){ 0, first }, (struct value){ 0, last }),
			 0);
	for (uint64_t v = first; v <= last; v++)
		bits |= UINT64_C(1) << v;
	return bits;
}

static uint64_t make_random(struct intervals *set)
{
	uint64_t bits = 0;

	memset(set, 0, sizeof(*set));
	for (unsigned int i = unit_random() % 8; i > 0; i--)
		bits |= add_random(set);
	return bits;
}

static void test_operations(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct intervals a, b;
		uint64_t x = make_random(&a), y = make_random(&b);

		assert_true(bits_of(&a) == x);
		assert_int_equal(intervals_is_all(&a, MAXIMUM), x == ALL);
		assert_int_equal(intervals_invert(&b, MAXIMUM), 0);
		assert_true(bits_of(&b) == ~y);
		check_form(&b);
		assert_int_equal(intervals_intersect(&a, &b), 0);
		assert_true(bits_of(&a) == (x & ~y));
		check_form(&a);
	}
}

/* The ends of the largest field, where the next value is none. */
static void test_ends(void **state)
{
	const struct value zero = { 0, 0 }, largest = { UINT64_MAX, UINT64_MAX };
	struct intervals set;

	(void)state;
	intervals_all(&set, largest);
	assert_true(intervals_is_all(&set, largest));
	assert_int_equal(intervals_invert(&set, largest), 0);
	assert_int_equal(set.count, 0);
	assert_int_equal(intervals_add(&set, largest, largest), 0);
	assert_int_equal(intervals_invert(&set, largest), 0);
	assert_int_equal(set.count, 1);
	assert_int_equal(value_compare(set.interval[0].first, zero), 0);
	assert_int_equal(value_compare(set.interval[0].last, value_previous(largest)), 0);
	assert_int_equal(intervals_add(&set, largest, largest), 0);
	assert_true(intervals_is_all(&set, largest));
}

static void test_full(void **state)
{
	struct intervals set = { 0 };

	(void)state;
	for (uint64_t i = 0; i < INTERVALS_MAX; i++)
		assert_int_equal(intervals_add(&set, (struct value){ 0, 3 * i },
					       (struct value){ 0, 3 * i }),
				 0);
	assert_int_equal(intervals_add(&set, (struct value){ 0, 1000 }, (struct value){ 0, 1000 }),
			 -E2BIG);
	/* What joins two others makes room. */
	assert_int_equal(intervals_add(&set, (struct value){ 0, 1 }, (struct value){ 0, 2 }), 0);
	assert_int_equal(set.count, INTERVALS_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_operations),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_full),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
