/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter as the daemon sees it: which devices are filtered, and at which of them it stands at
 * XDP, where the fast path goes behind it. All that takes is access to the filter's pins. A daemon
 * that may not look into the bpffs sees from the programs at the devices' hooks whether there is a
 * filter, and keeps behind it at TC.
 */
#ifndef BPFW_FILTER_VIEW_H
#define BPFW_FILTER_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "filter_layout.h"
#include "link.h"

struct filter_view {
	bool loaded;
	uint32_t count;
	struct filter_view_device {
		uint32_t ifindex;
		uint32_t xdp_program; /* id of the filter's, 0: it meets packets at TC */
		uint32_t made_qdisc;  /* the device's clsact is the filter's */
	} device[FILTER_PORTS];       /* by ifindex */
};

/* How things are now. Where it cannot be told, a filter is taken for loaded. */
void filter_view_read(struct filter_view *view, const struct links *links);

bool filter_view_equal(const struct filter_view *a, const struct filter_view *b);

/* Is the device filtered? NULL: it is not. `view` may be NULL. */
const struct filter_view_device *filter_view_find(const struct filter_view *view, uint32_t ifindex);

/*
 * Have packets that the filter accepts at XDP of the device go on to this program. Returns 0 or
 * -errno.
 */
int filter_view_enter(uint32_t ifindex, int program);

/* Do they? */
bool filter_view_is_entered(uint32_t ifindex, int program);

/* From here on they take the stack. */
void filter_view_leave(uint32_t ifindex);

/* Leave the device's clsact qdisc, which the caller has made, to the filter that is in it. */
void filter_view_give_qdisc(uint32_t ifindex);

#endif /* BPFW_FILTER_VIEW_H */
