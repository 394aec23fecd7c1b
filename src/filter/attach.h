/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter's entry programs at the hooks of interfaces, by pinned links (clsact filters where
 * there is no tcx), and what the fast path has attached there: at XDP the kernel takes one program
 * of each device, so that the filter takes the place of the fast path's, which then stands behind.
 *
 * All of it can be ended at any point: the map `filtered` says of each device what is meant to be
 * there, and the next load makes it so.
 */
#ifndef BPFW_FILTER_ATTACH_H
#define BPFW_FILTER_ATTACH_H

#include "filter.skel.h"
#include "filter/stage.h"

/*
 * Attach the entry programs of the loaded skeleton to the named interfaces, and in the place of
 * older ones to those that are filtered already. Interfaces of this call are detached again if
 * one fails, or if the fast path at XDP of another interface cannot be made to stand down: it would
 * go around the filter. Returns 0 or -errno, logged.
 */
int attach_interfaces(int pins, const struct filter_bpf *skeleton,
		      const struct stage_options *options);

/* Detach from all. Nothing of the rulesets may be taken away before: an entry without one drops. */
void detach_interfaces(int pins);

#endif /* BPFW_FILTER_ATTACH_H */
