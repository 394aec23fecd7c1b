/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The trie of IPv6 sets (set_layout.h), as its writer sees it: it is given pieces of the address
 * space, in ascending order, and says in words and cells what holds for the addresses of a window.
 * Cells are written before the caller stores the word that leads to them.
 */
#ifndef BPFW_FILTER_SET_FAST6_H
#define BPFW_FILTER_SET_FAST6_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "set_layout.h"

/* What holds for an address: `state` is SET_FAST_OUT, _IN, _LOOK, or _UNTIL its end. */
struct set_says {
	uint32_t end;
	uint8_t state;
};

/* A prefix of up to 64 bits, and what holds for addresses that are in no longer one. */
struct set_piece {
	uint64_t high; /* upper half of the address, bits behind the length are 0 */
	struct set_says says;
	uint8_t length;
};

/* The addresses whose upper halves begin with so many bits of `high`. */
struct set_window {
	uint64_t high;
	uint32_t bits;
	struct set_says other; /* for those in no piece */
};

#define SET_FAST6_SPARE 256 /* cells, in the smallest trie */

/* Cells to set aside for so many prefixes. */
uint32_t set_fast6_cells(uint32_t prefixes);

/*
 * The word that leads to the smallest window that has all of the prefix; fills the window. NULL if
 * the trie has no window for it, and has to be built anew.
 */
uint32_t *set_fast6_find(struct set_cell *cells, uint64_t high, uint8_t length,
			 struct set_window *window);

/*
 * The word for a window. `pieces` are sorted by address, shorter ones first, and all lie in the
 * window, but none is all of it. 0, -ENOMEM, or -ENOSPC: then there is a word too, which leaves to
 * the ranges what there were no cells for.
 */
int set_fast6_write(struct set_cell *cells, const struct set_piece *pieces, uint32_t count,
		    const struct set_window *window, uint32_t *word);

/* All of the trie; `other`: for addresses in none of the pieces. Returns as set_fast6_write(). */
int set_fast6_build(struct set_cell *cells, const struct set_piece *pieces, uint32_t count,
		    const struct set_says *other);

#endif /* BPFW_FILTER_SET_FAST6_H */
