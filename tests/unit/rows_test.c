/* SPDX-License-Identifier: GPL-2.0-only */
/* Rows of bits: equal ones have one number, and hold what was set. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filter/rows.h"
#include "unit.h"

#define RULES 3000
#define ROWS 400

static struct rows rows;

static const struct filter_row *row_at(uint32_t number)
{
	return (const void *)((const char *)rows.rows.values + number * rows.rows.size);
}

/* As the BPF side reads it (filter_search.h). */
static bool bit_at(uint32_t number, uint32_t rule)
{
	uint32_t word = rule / FILTER_WORD_RULES % FILTER_BLOCK_WORDS;
	const struct filter_part *part;
	const struct filter_block *block;
	const struct filter_row *row;

	if (number & FILTER_ROW_OF_ONE)
		return number == (FILTER_ROW_OF_ONE | rule);
	row = row_at(number);
	part = &row->part;
	if (!(row->summary >> (rule / FILTER_BLOCK_RULES) & 1))
		return false;
	if (!part->words)
		part = (const struct filter_part *)rows.lists.values + row->parts +
		       rule / FILTER_BLOCK_RULES;
	block = (const struct filter_block *)rows.blocks.values + part->block;
	if (!(part->words >> word & 1))
		return false;
	return block->word[word] >> rule % FILTER_WORD_RULES & 1;
}

static void test_content(void **state)
{
	static bool wanted[ROWS][RULES];
	uint32_t number[ROWS];

	(void)state;
	assert_int_equal(rows_init(&rows, RULES), 0);
	rows_clear(&rows);
	for (size_t i = 0; i < ROWS; i++) {
		if (i)
			memcpy(wanted[i], wanted[i - 1], sizeof(wanted[i]));
		for (unsigned int change = unit_random() % 6; change > 0; change--) {
			uint32_t rule = unit_random() % RULES;

			wanted[i][rule] = unit_random() % 2;
			rows_set(&rows, rule, wanted[i][rule]);
		}
		assert_int_equal(rows_intern(&rows, &number[i]), 0);
	}
	for (size_t i = 0; i < ROWS; i++)
		for (uint32_t rule = 0; rule < RULES; rule++)
			assert_int_equal(bit_at(number[i], rule), wanted[i][rule]);
	for (size_t i = 1; i < ROWS; i++)
		assert_int_equal(number[i] == number[i - 1],
				 !memcmp(wanted[i], wanted[i - 1], sizeof(wanted[i])));
	rows_free(&rows);
}

/* However it was come to, an equal row is the same one. */
static void test_shared(void **state)
{
	uint32_t empty, first, again, blocks;

	(void)state;
	assert_int_equal(rows_init(&rows, RULES), 0);
	rows_clear(&rows);
	assert_int_equal(rows_intern(&rows, &empty), 0);
	assert_int_equal(row_at(empty)->summary, 0);
	rows_set(&rows, 2999, true);
	rows_set(&rows, 0, true);
	assert_int_equal(rows_intern(&rows, &first), 0);
	assert_int_not_equal(first, empty);
	blocks = rows.blocks.count;
	rows_clear(&rows);
	assert_int_equal(rows_intern(&rows, &again), 0);
	assert_int_equal(again, empty);
	rows_set(&rows, 0, true);
	rows_set(&rows, 2999, true);
	assert_int_equal(rows_intern(&rows, &again), 0);
	assert_int_equal(again, first);
	assert_int_equal(rows.blocks.count, blocks);
	rows_free(&rows);
}

/* A row of one rule is its number, and takes no memory. */
static void test_one(void **state)
{
	static const uint32_t rules[] = { 0, 1, 63, 64, 511, 512, RULES - 1 };
	uint32_t number, rows_before, blocks_before;

	(void)state;
	assert_int_equal(rows_init(&rows, RULES), 0);
	rows_clear(&rows);
	assert_int_equal(rows_intern(&rows, &number), 0);
	rows_before = rows.rows.count;
	blocks_before = rows.blocks.count;
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		rows_set(&rows, rules[i], true);
		assert_int_equal(rows_intern(&rows, &number), 0);
		assert_int_equal(number, FILTER_ROW_OF_ONE | rules[i]);
		rows_set(&rows, rules[i], false);
	}
	assert_int_equal(rows.rows.count, rows_before);
	assert_int_equal(rows.blocks.count, blocks_before);
	rows_free(&rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_one),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
