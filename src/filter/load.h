/* SPDX-License-Identifier: GPL-2.0-only */
/* A compiled ruleset into the kernel: maps as large as it needs them, and their contents. */
#ifndef BPFW_FILTER_LOAD_H
#define BPFW_FILTER_LOAD_H

#include "filter.skel.h"
#include "filter/compile.h"

/*
 * filter_bpf__open(), which nothing else calls: the whole object is in every file that does.
 * The caller's, for filter_bpf__destroy(). NULL, with errno set, if it cannot be.
 */
struct filter_bpf *ruleset_open(void);

/*
 * Load an opened skeleton whose program and maps are to be those of the ruleset. Returns 0 or
 * -errno.
 */
int ruleset_load(struct filter_bpf *skeleton, const struct image *image);

#endif /* BPFW_FILTER_LOAD_H */
