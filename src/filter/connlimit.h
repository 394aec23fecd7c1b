/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that count connections for connlimit (bpf/connlimit.bpf.c), in slots beside those of
 * their ruleset's judges. Such a ruleset is tracked.
 */
#ifndef BPFW_FILTER_CONNLIMIT_H
#define BPFW_FILTER_CONNLIMIT_H

#include "connlimit.skel.h"
#include "filter.skel.h"
#include "filter/compile.h"
#include "filter/track.h"

struct connlimit {
	struct connlimit_bpf *skeleton; /* NULL: no rule counts connections */
};

/*
 * After track_load(): load what counts for the rules of an image. Returns 0 or -errno; why this
 * kernel cannot count is logged. connlimit_close() is for all of them.
 */
int connlimit_load(struct connlimit *connlimit, const struct track *track,
		   const struct filter_bpf *filter, const struct image *image);

/*
 * The same for a copy of programs in force, of which `program` is the one that counts at TC. The
 * lists are its own, as large, and empty.
 */
int connlimit_load_copy(struct connlimit *connlimit, const struct track *track,
			const struct filter_bpf *filter, int program);

/* Before the rules are in force: into the slots of their turn. Returns 0 or -errno. */
int connlimit_fill(const struct connlimit *connlimit, const struct track *track,
		   const struct filter_bpf *filter);

void connlimit_close(struct connlimit *connlimit);

#endif /* BPFW_FILTER_CONNLIMIT_H */
