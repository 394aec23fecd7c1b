/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"
#include "util.h"

#define POOL_MAX (1u << 24) /* values */

/* ---- Pools ------------------------------------------------------------------------ */

static const void *pool_value(const struct pool *pool, uint32_t number)
{
	return (const char *)pool->values + number * pool->size;
}

static uint64_t hash(const void *value, size_t size)
{
	const uint64_t *words = value;
	uint64_t hash = size;

	for (size_t i = 0; i < size / sizeof(*words); i++) {
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return hash;
}

static uint32_t *find_slot(const struct pool *pool, const void *value)
{
	uint32_t at = (uint32_t)hash(value, pool->size) & (pool->slot_count - 1);

	while (pool->slots[at] &&
	       memcmp(pool_value(pool, pool->slots[at] - 1), value, pool->size) != 0)
		at = (at + 1) & (pool->slot_count - 1);
	return &pool->slots[at];
}

/* Twice as large, and at most half full. */
static int grow(struct pool *pool)
{
	uint32_t room = pool->room ? pool->room * 2 : 64;
	void *values;
	uint32_t *slots;

	if (room > POOL_MAX)
		return -E2BIG;
	values = realloc(pool->values, room * pool->size);
	if (!values)
		return -ENOMEM;
	pool->values = values;
	slots = calloc((size_t)room * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(pool->slots);
	pool->slots = slots;
	pool->slot_count = room * 2;
	pool->room = room;
	for (uint32_t i = 0; i < pool->count; i++)
		*find_slot(pool, pool_value(pool, i)) = i + 1;
	return 0;
}

static int intern(struct pool *pool, const void *value, uint32_t *number)
{
	uint32_t *slot;
	int err;

	if (pool->count == pool->room) {
		err = grow(pool);
		if (err)
			return err;
	}
	slot = find_slot(pool, value);
	if (!*slot) {
		memcpy((char *)pool->values + pool->count * pool->size, value, pool->size);
		*slot = ++pool->count;
	}
	*number = *slot - 1;
	return 0;
}

static void pool_free(struct pool *pool)
{
	free(pool->values);
	free(pool->slots);
}

/* ---- Rows ------------------------------------------------------------------------- */

int rows_init(struct rows *rows, uint32_t rule_count)
{
	uint32_t zero;

	memset(rows, 0, sizeof(*rows));
	rows->parts = (rule_count + FILTER_BLOCK_RULES - 1) / FILTER_BLOCK_RULES;
	if (!rows->parts)
		rows->parts = 1;
	rows->blocks.size = sizeof(struct filter_block);
	rows->lists.size = rows->parts * sizeof(struct filter_part);
	rows->rows.size = sizeof(struct filter_row);
	return intern(&rows->blocks, &rows->current[0], &zero);
}

void rows_free(struct rows *rows)
{
	pool_free(&rows->blocks);
	pool_free(&rows->lists);
	pool_free(&rows->rows);
}

void rows_clear(struct rows *rows)
{
	memset(rows->current, 0, sizeof(rows->current));
	memset(rows->part, 0, sizeof(rows->part));
	rows->changed = 0;
}

void rows_set(struct rows *rows, uint32_t rule, bool value)
{
	uint32_t part = rule / FILTER_BLOCK_RULES;
	__u64 *word = &rows->current[part].word[rule / FILTER_WORD_RULES % FILTER_BLOCK_WORDS];
	uint64_t bit = UINT64_C(1) << rule % FILTER_WORD_RULES;

	*word = value ? *word | bit : *word & ~bit;
	rows->changed |= UINT64_C(1) << part;
}

static uint32_t words_of(const struct filter_block *block)
{
	uint32_t words = 0;

	for (uint32_t i = 0; i < FILTER_BLOCK_WORDS; i++)
		words |= (uint32_t) !!block->word[i] << i;
	return words;
}

/* Which parts of the row being made have rules, and which words of these */
static uint64_t summarize(struct rows *rows)
{
	uint64_t summary = 0;

	for (uint32_t i = 0; i < rows->parts; i++) {
		if (rows->changed & (UINT64_C(1) << i))
			rows->part[i].words = words_of(&rows->current[i]);
		if (rows->part[i].words)
			summary |= UINT64_C(1) << i;
	}
	return summary;
}

static int intern_blocks(struct rows *rows)
{
	for (uint32_t i = 0; i < rows->parts; i++) {
		int err;

		if (!(rows->changed & (UINT64_C(1) << i)))
			continue;
		err = intern(&rows->blocks, &rows->current[i], &rows->part[i].block);
		if (err)
			return err;
	}
	rows->changed = 0;
	return 0;
}

/* The parts of a row with that summary, or the only one. */
static int intern_list(struct rows *rows, struct filter_row *row)
{
	uint32_t number;
	int err;

	if (!(row->summary & (row->summary - 1))) {
		for (uint32_t i = 0; i < rows->parts; i++)
			if (rows->part[i].words)
				row->part = rows->part[i];
		return 0;
	}
	err = intern(&rows->lists, rows->part, &number);
	if (!err)
		row->part = (struct filter_part){ .block = number * rows->parts };
	return err;
}

static bool is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

/* The number of the row being made, if it has one rule only; else 0. */
static uint32_t row_of_one(const struct rows *rows, uint64_t summary)
{
	uint32_t part, word;
	uint64_t rules;

	if (!is_power_of_two(summary))
		return 0;
	part = (uint32_t)__builtin_ctzll(summary);
	if (!is_power_of_two(rows->part[part].words))
		return 0;
	word = (uint32_t)__builtin_ctz(rows->part[part].words);
	rules = rows->current[part].word[word];
	if (!is_power_of_two(rules))
		return 0;
	return FILTER_ROW_OF_ONE | (part * FILTER_BLOCK_RULES + word * FILTER_WORD_RULES +
				    (uint32_t)__builtin_ctzll(rules));
}

int rows_intern(struct rows *rows, uint32_t *number)
{
	struct filter_row row;
	int err;

	memset(&row, 0, sizeof(row));
	row.summary = summarize(rows);
	*number = row_of_one(rows, row.summary);
	if (*number)
		return 0; /* what has changed is interned with a row that needs it */
	err = intern_blocks(rows);
	if (!err)
		err = intern_list(rows, &row);
	return err ? err : intern(&rows->rows, &row, number);
}

bool rows_get(const struct rows *rows, uint32_t row, uint32_t rule)
{
	const uint32_t number = rule / FILTER_BLOCK_RULES;
	const struct filter_block *block;
	const struct filter_part *part;
	const struct filter_row *of;

	if (row & FILTER_ROW_OF_ONE)
		return row == (FILTER_ROW_OF_ONE | rule);
	of = pool_value(&rows->rows, row);
	part = &of->part;
	if (!(of->summary >> number & 1))
		return false;
	if (!part->words)
		part = (const struct filter_part *)rows->lists.values + of->parts + number;
	block = pool_value(&rows->blocks, part->block);
	return block->word[rule / FILTER_WORD_RULES % FILTER_BLOCK_WORDS] >>
		       rule % FILTER_WORD_RULES &
	       1;
}
