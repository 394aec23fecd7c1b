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

/* Which kinds of operations (enum filter_op_kind) the image has: bit N is kind N. */
uint64_t operations_used(const struct image *image);

#endif /* BPFW_FILTER_OPERATIONS_H */
