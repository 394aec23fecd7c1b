/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules for people and machines, beside the text of iptables-save that printer.c makes. */
#ifndef BPFW_FILTER_LISTING_H
#define BPFW_FILTER_LISTING_H

#include <stdio.h>

#include "filter/inforce.h"
#include "filter/ruleset.h"

/* A rule as iptables-save has it, for the caller to free; NULL: no memory. */
char *listing_rule_text(const struct ruleset *ruleset, const struct rule *rule);

/* What `iptables -L --line-numbers` calls it: from 1, in its chain. */
uint32_t listing_rule_number(const struct ruleset *ruleset, const struct rule *rule);

/* One JSON object: chains, their rules, their counters. docs/filter.md names the members. */
void listing_put_ruleset(const struct ruleset *ruleset, FILE *to);

/* One JSON array: the interfaces that are filtered. */
void listing_put_interfaces(const struct in_force_interface *interfaces, int count, FILE *to);

#endif /* BPFW_FILTER_LISTING_H */
