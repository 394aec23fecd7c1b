/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The clsact qdisc of kernels without tcx (before Linux 6.6). The filter and the fast path share it,
 * and whoever made it may end first.
 */
#ifndef BPFW_CLSACT_H
#define BPFW_CLSACT_H

#include <stdbool.h>
#include <stdint.h>

/* Where the fast path stands, so that the next start finds a leftover. */
#define CLSACT_FAST_PATH_HANDLE 0xb9
#define CLSACT_FAST_PATH_PRIORITY 0xb9

/* Where the filter stands: before the fast path, and known by its handle. */
#define CLSACT_FILTER_HANDLE 0xbf
#define CLSACT_FILTER_PRIORITY 0x01

/*
 * Remove the qdisc, unless a filter of anybody's is in it, or that cannot be told: then it stays,
 * and false is returned.
 */
bool clsact_remove_empty(uint32_t ifindex);

#endif /* BPFW_CLSACT_H */
