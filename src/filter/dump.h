/* SPDX-License-Identifier: GPL-2.0-only */
/* What each pass of the compiler has made of a ruleset, as text: to read, and for golden files. */
#ifndef BPFW_FILTER_DUMP_H
#define BPFW_FILTER_DUMP_H

#include <stdio.h>

#include "filter/compile.h"

/*
 * The passes, in their order:
 *   rules       each rule as what it lets through of each field, and its target
 *   dead        rules that no packet can get to, and why
 *   fields      the ranges of each field, with the rules that each leaves
 *   operations  what is left to ask of each rule
 * False: there is no such pass.
 */
bool dump_is_pass(const char *name);

/* The result of a pass. What depends on the machine's interfaces is left out. */
void dump_pass(const char *name, const struct ruleset *ruleset, const struct image *image,
	       FILE *to);

#endif /* BPFW_FILTER_DUMP_H */
