/* SPDX-License-Identifier: GPL-2.0-only */
/* What events told of: found again by tuple and entry, the youngest kept. */
#include "unit.h"

#include <stdbool.h>
#include <stdint.h>

#include "told.h"

#define HIGH(tag) ((uint64_t)(tag) << 32)

static void test_found(void **state)
{
	struct told told;

	(void)state;
	assert_int_equal(told_init(&told, 64), 0);
	assert_false(told_has(&told, 0));
	told_add(&told, HIGH(10) | 5, 77);
	assert_true(told_has(&told, HIGH(10) | 5));
	assert_true(told_has_entry(&told, HIGH(10) | 5, 77));
	assert_false(told_has_entry(&told, HIGH(10) | 5, 78));
	assert_false(told_has(&told, HIGH(12) | 5));
	assert_false(told_has(&told, HIGH(10) | 6));
	/* Another connection has the tuple now. */
	told_add(&told, HIGH(10) | 5, 78);
	assert_true(told_has_entry(&told, HIGH(10) | 5, 78));
	assert_false(told_has_entry(&told, HIGH(10) | 5, 77));
	told_free(&told);
}

static void test_youngest_stay(void **state)
{
	struct told told;

	(void)state;
	assert_int_equal(told_init(&told, 64), 0);
	told_add(&told, HIGH(10) | 5, 1);
	told_add(&told, HIGH(20) | 5, 2);
	assert_true(told_has(&told, HIGH(10) | 5));
	assert_true(told_has(&told, HIGH(20) | 5));
	told_add(&told, HIGH(10) | 5, 1);
	told_add(&told, HIGH(30) | 5, 3);
	assert_true(told_has_entry(&told, HIGH(10) | 5, 1));
	assert_false(told_has(&told, HIGH(20) | 5));
	assert_true(told_has(&told, HIGH(30) | 5));
	told_free(&told);
}

/* A hundred random tuples in a table for a thousand: hardly one is lost. */
static void test_room(void **state)
{
	uint64_t hash[100];
	struct told told;
	int found = 0;

	(void)state;
	assert_int_equal(told_init(&told, 1000), 0);
	for (uint32_t i = 0; i < 100; i++) {
		hash[i] = HIGH(unit_random()) | unit_random();
		told_add(&told, hash[i], i);
	}
	for (uint32_t i = 0; i < 100; i++)
		found += told_has_entry(&told, hash[i], i);
	assert_in_range(found, 90, 100);
	told_free(&told);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_youngest_stay),
		cmocka_unit_test(test_room),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
