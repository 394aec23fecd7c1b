/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of the tables that rules share (hashlimit, recent), and the number of each, from 0 on */
#ifndef BPFW_FILTER_TABLE_NAMES_H
#define BPFW_FILTER_TABLE_NAMES_H

#include <stdint.h>

struct table_names {
	const char **names; /* by number; not copied */
	uint32_t *slots;    /* hash of a name -> number + 1; 0: empty */
	uint32_t count, room;
};

/*
 * The number of a name; one that is not there is added, and must stay where it is. Returns 1: it was
 * there, 0: it is new, or -ENOMEM.
 */
int table_names_number(struct table_names *names, const char *name, uint32_t *number);

/*
 * An array beside the names grows by doubling: its room, of elements, with the one of this new number
 * in it; 0: there is room.
 */
static inline uint32_t table_names_grown(uint32_t number)
{
	return number & (number - 1) ? 0 : number ? 2 * number : 1;
}

void table_names_free(struct table_names *names);

#endif /* BPFW_FILTER_TABLE_NAMES_H */
