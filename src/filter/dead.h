/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pass that finds dead rules: those that no packet can get to. Their counters stay zero, and no
 * row needs a bit for them.
 */
#ifndef BPFW_FILTER_DEAD_H
#define BPFW_FILTER_DEAD_H

#include "filter/ruleset.h"

#define DEAD_NOT UINT32_MAX         /* the rule may match */
#define DEAD_CHAIN (UINT32_MAX - 1) /* no packet gets to the rule's chain */

/*
 * For each rule: DEAD_NOT, DEAD_CHAIN, or the number of the rule before it in its chain that takes
 * all that it could match: one that ends the chain (ACCEPT, DROP, REJECT, RETURN, -g) and asks for
 * addresses of a prefix each, a protocol, ranges of ports, interfaces, and nothing else. Not all dead
 * rules are found; those that are, are. `why` has as many places as there are rules. Returns 0 or
 * -ENOMEM.
 */
int dead_find(const struct ruleset *ruleset, uint32_t *why);

#endif /* BPFW_FILTER_DEAD_H */
