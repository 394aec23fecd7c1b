/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that find a packet's state (bpf/track.bpf.c), for rulesets that ask about it: they
 * stand in the family's slots, and the ruleset's own programs, the judges, in slots that only they
 * call.
 */
#ifndef BPFW_FILTER_TRACK_H
#define BPFW_FILTER_TRACK_H

#include "filter.skel.h"
#include "filter/compile.h"
#include "track.skel.h"

struct track {
	struct track_bpf *skeleton; /* NULL: the ruleset does without states */
	bool is_ipv6;
	uint32_t turn; /* whose slots the ruleset's programs are for */
};

/*
 * Can this kernel tell states at all? For rules that do not ask for them, but are better judged by
 * the addresses behind NAT. Returns 0 or -errno; why it cannot is logged as a warning.
 */
int track_probe(uint8_t family);

/*
 * track_bpf__open(), which nothing but track.c calls: the whole object is in every file that does.
 * The caller's, for track_close(). NULL, with errno set, if it cannot be.
 */
struct track_bpf *track_skeleton(void);

/* Before `filter` is loaded: tell the programs of this turn their slots. Returns 0 or -errno. */
int track_open(struct track *track, struct filter_bpf *filter, const struct image *image,
	       uint32_t turn);

/*
 * After `filter` is loaded. What is learnt about connections is kept in `pins`, for the ruleset to
 * come; TRACK_APART: nowhere, and nothing is known yet. Returns 0 or -errno; why this kernel cannot tell
 * states is logged.
 */
#define TRACK_APART (-1)
int track_load(struct track *track, const struct filter_bpf *filter, int pins);

void track_close(struct track *track);

#endif /* BPFW_FILTER_TRACK_H */
