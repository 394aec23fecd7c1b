/* SPDX-License-Identifier: GPL-2.0-only */
/* The matches conntrack and state, as questions about the field FILTER_STATE (enum filter_state). */
#ifndef BPFW_FILTER_STATE_H
#define BPFW_FILTER_STATE_H

#include "filter/ruleset.h"
#include "filter_layout.h"

/*
 * What of a conntrack match cannot be told by a packet's state alone: the name of its option, or
 * NULL if all can.
 */
const char *state_unsupported(const struct match_conntrack *conntrack);

/*
 * The bits of a state that the rule asks about: states that are equal in those are the same to it.
 * 0: it has no such match.
 */
uint16_t state_bits_asked(const struct rule *rule);

/* May a packet of this state match the rule, as far as its matches conntrack and state go? */
bool state_matches_rule(uint16_t state, const struct rule *rule);

#endif /* BPFW_FILTER_STATE_H */
