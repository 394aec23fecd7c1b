/* SPDX-License-Identifier: GPL-2.0-only */
/* From a rule to its operations (bpf/filter_layout.h): what the fields of a packet do not decide. */
#ifndef BPFW_FILTER_OPERATIONS_H
#define BPFW_FILTER_OPERATIONS_H

#include "filter/compile.h"

/*
 * Append a rule's operations to those of the image: its matches, then its target. Returns 0, -ENOMEM,
 * or -EOPNOTSUPP after an error was reported.
 */
int operations_add(struct image *image, const struct rule *rule,
		   const struct ruleset_report *report);

/* What the tally of a limit or a statistic is at first. */
struct filter_tally operations_tally(const struct filter_op *op);

/* The operations of the rules so far, to be shared by those that have the same. */
struct operation_lists {
	uint32_t *slots; /* hash table: where a list begins + 1 */
	uint32_t slot_count;
};

int operation_lists_init(struct operation_lists *lists, uint32_t rule_count);
void operation_lists_free(struct operation_lists *lists);

/*
 * The operations from `first` on are a rule's, the last that were added. Returns where it finds
 * them: there, or where an earlier rule has the same, and then they are taken away again.
 */
uint32_t operation_lists_share(struct operation_lists *lists, struct image *image, uint32_t first);

/* Which kinds of operations (enum filter_op_kind) the image has: bit N is kind N. */
uint64_t operations_used(const struct image *image);

#endif /* BPFW_FILTER_OPERATIONS_H */
