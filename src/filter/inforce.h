/* SPDX-License-Identifier: GPL-2.0-only */
/* What is in force: the ruleset's text and counters, found by the programs in the slots. */
#ifndef BPFW_FILTER_INFORCE_H
#define BPFW_FILTER_INFORCE_H

#include <stddef.h>
#include <stdint.h>

#include "filter_layout.h"

struct in_force {
	char *text; /* as it was loaded */
	size_t size;
	struct filter_counter *counters; /* of rules, then of built-in chains: sums over CPUs */
	uint32_t counter_count;
};

/*
 * The ruleset of a family. Returns 0, -ENOENT (the family has no rules), or another -errno.
 * in_force_free() is for all of them.
 */
int in_force_read(struct in_force *in_force, uint8_t family);
void in_force_free(struct in_force *in_force);

/* Set all its counters to zero. Packets that are counted meanwhile may be lost. */
int in_force_zero(uint8_t family);

#endif /* BPFW_FILTER_INFORCE_H */
