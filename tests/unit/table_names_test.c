/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of tables have one number each, in the order in which they came. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filter/table_names.h"

#define NAMES 5000

static void test_numbers(void **state)
{
	static char text[NAMES][8];
	struct table_names names = { 0 };
	char copy[8];
	uint32_t number;

	(void)state;
	for (uint32_t i = 0; i < NAMES; i++) {
		snprintf(text[i], sizeof(text[i]), "n%u", i);
		assert_int_equal(table_names_number(&names, text[i], &number), 0);
		assert_int_equal(number, i);
	}
	for (uint32_t i = 0; i < NAMES; i++) {
		memcpy(copy, text[i], sizeof(copy));
		assert_int_equal(table_names_number(&names, copy, &number), 1);
		assert_int_equal(number, i);
	}
	assert_int_equal(names.count, NAMES);
	table_names_free(&names);
	assert_int_equal(table_names_number(&names, "n7", &number), 0);
	assert_int_equal(number, 0);
	table_names_free(&names);
}

/* Whoever grows when he is told to always has room. */
static void test_growing(void **state)
{
	uint32_t room = 0;

	(void)state;
	for (uint32_t number = 0; number < NAMES; number++) {
		const uint32_t grown = table_names_grown(number);

		assert_true(!grown || grown > room);
		room = grown ? grown : room;
		assert_in_range(number, 0, room - 1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_growing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
