/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps that all of the filter's programs share, by the same names in each object. */
#ifndef BPFW_FILTER_SHARED_H
#define BPFW_FILTER_SHARED_H

#include <bpf/libbpf.h>
#include <stdint.h>

#include "filter.skel.h"

/* Descriptors; the caller's. */
struct shared_maps {
	int stages_xdp, stages_tc, turns, filtered, walks;
};

/* Those of a ruleset that has been loaded. */
struct shared_maps shared_maps_of(const struct filter_bpf *filter);

/* Before an object is loaded: it gets these instead of its own. Returns 0 or -errno. */
int shared_maps_use(const struct shared_maps *maps, const struct bpf_object *object);

/*
 * From here on a loaded object's programs are in the slot `stage`: one at XDP, one at TC. Returns 0
 * or -errno.
 */
int shared_maps_set_stage(const struct shared_maps *maps, uint32_t stage,
			  const struct bpf_program *xdp, const struct bpf_program *tc);

#endif /* BPFW_FILTER_SHARED_H */
