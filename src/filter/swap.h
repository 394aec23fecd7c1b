/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One ruleset of a family in the place of another, at all hooks in one step. The programs in force
 * are in the slots of one of two turns (enum filter_stage), and a word of the map `turns` says
 * which. The slots of the other turn are filled, and then the word is changed.
 */
#ifndef BPFW_FILTER_SWAP_H
#define BPFW_FILTER_SWAP_H

#include <stdbool.h>
#include <stdint.h>

#include "filter.skel.h"
#include "filter/connlimit.h"
#include "filter/track.h"

/* The turn in force, of a map `turns`; the first one where there is no such map yet. */
uint32_t swap_turn(int turns, bool is_ipv6);

/* Has a family no program in the turn in force, at some hook? An entry would drop its packets. */
bool swap_is_any_empty(const struct filter_bpf *filter);

/*
 * Programs that accept everything for a family that has no rules so far, in the turn in force.
 * Returns 0 or -errno.
 */
int swap_in_none(const struct filter_bpf *filter, bool is_ipv6);

/*
 * Put the loaded ruleset of `filter`, `track` and `connlimit` in force, in the turn track->turn, which
 * is not in force so far. What was in force before is freed once no packet is in it any more. Returns
 * 0 or -errno, with the old rules in force.
 */
int swap_in(const struct filter_bpf *filter, const struct track *track,
	    const struct connlimit *connlimit);

#endif /* BPFW_FILTER_SWAP_H */
