/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rows of bits, one for each rule, cut into blocks of which equal ones are stored once
 * (bpf/filter_layout.h).
 */
#ifndef BPFW_FILTER_ROWS_H
#define BPFW_FILTER_ROWS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filter_layout.h"

/* Values that are stored once each, numbered from 0 in the order of their first appearance. */
struct pool {
	void *values;
	size_t size; /* of a value, bytes */
	uint32_t count, room;
	uint32_t *slots; /* hash table: number + 1, 0 is free */
	uint32_t slot_count;
};

struct rows {
	uint32_t parts;     /* of each row */
	struct pool blocks; /* struct filter_block; number 0 is all zeros */
	struct pool lists;  /* struct filter_part: all those of a row that has more than one */
	struct pool rows;   /* struct filter_row; those of one rule are not here */
	/* The row being made, with its parts as far as their blocks have not changed. */
	struct filter_block current[FILTER_BLOCKS_MAX];
	struct filter_part part[FILTER_BLOCKS_MAX];
	uint64_t changed;
};

/* For that many rules (at most FILTER_RULES_MAX). Returns 0 or -ENOMEM. */
int rows_init(struct rows *rows, uint32_t rule_count);
void rows_free(struct rows *rows);

/* The row being made: all zeros; a rule's bit. */
void rows_clear(struct rows *rows);
void rows_set(struct rows *rows, uint32_t rule, bool value);

/* May a rule match, as far as that row goes? */
bool rows_get(const struct rows *rows, uint32_t row, uint32_t rule);

/*
 * The number of a row like the one being made, which may go on; of one rule: FILTER_ROW_OF_ONE and
 * the rule. -ENOMEM, -E2BIG.
 */
int rows_intern(struct rows *rows, uint32_t *number);

#endif /* BPFW_FILTER_ROWS_H */
