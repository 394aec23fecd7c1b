/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of sets (bpf/sets.bpf.c) in their slots beside those of the rulesets. They belong to
 * no ruleset, so that none that is put in force takes them away from another.
 */
#ifndef BPFW_FILTER_SET_STAGE_H
#define BPFW_FILTER_SET_STAGE_H

#include "filter/set.h"
#include "filter/shared.h"

enum set_stage_programs {
	SET_STAGE_LOOKUP = 1 << 0,
	SET_STAGE_CHANGE = 1 << 1, /* by rules */
	SET_STAGE_BLOCK = 1 << 2,  /* the block list, from now on in force */
};

/*
 * Load these programs (enum set_stage_programs) of a family and put them into their slots. Returns 0
 * or -errno.
 */
int set_stage_fill(const struct set_store *store, const struct shared_maps *maps, uint8_t family,
		   unsigned int programs);

/*
 * The block list of a family is there: put it in force if a filter is loaded, else the next load
 * does. Returns 0 or -errno, logged.
 */
int set_stage_block(const struct set_store *store, uint8_t family);

#endif /* BPFW_FILTER_SET_STAGE_H */
