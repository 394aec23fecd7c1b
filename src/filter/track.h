/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that find a packet's state (bpf/track.bpf.c), for rulesets that ask about it: they
 * stand in the family's slot, and the ruleset's own programs, the judges, in slots that only they
 * call. So it is one update of one slot that puts a ruleset in force, as without them.
 */
#ifndef BPFW_FILTER_TRACK_H
#define BPFW_FILTER_TRACK_H

#include "filter.skel.h"
#include "filter/compile.h"
#include "track.skel.h"

struct track {
	struct track_bpf *skeleton;   /* NULL: the ruleset does not ask about states */
	uint32_t family_stage;        /* enum filter_stage */
	uint32_t judge_tc, judge_xdp; /* the slots of the ruleset's judges */
};

/*
 * Before `filter` is loaded, but with the maps it keeps: choose the judges' slots and tell the
 * filter. Returns 0 or -errno.
 */
int track_open(struct track *track, struct filter_bpf *filter, const struct image *image);

/*
 * After `filter` is loaded. What is learnt about connections is kept in `pins`, for the ruleset to
 * come; TRACK_APART: nowhere, and nothing is known yet. Returns 0 or -errno; why this kernel cannot tell
 * states is logged.
 */
#define TRACK_APART (-1)
int track_load(struct track *track, const struct filter_bpf *filter, int pins);

/*
 * Put the ruleset in force: its judges, then what calls them. Returns 0 or -errno, with the old
 * rules in force.
 */
int track_swap(const struct track *track, const struct filter_bpf *filter);

void track_close(struct track *track);

#endif /* BPFW_FILTER_TRACK_H */
