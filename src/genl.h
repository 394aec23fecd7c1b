/* SPDX-License-Identifier: GPL-2.0-only */
/* Generic netlink: which families the kernel has. */
#ifndef BPFW_GENL_H
#define BPFW_GENL_H

#include <stdbool.h>

/*
 * Does the kernel have the family? Found in the list of all: asking for one by its name makes the
 * kernel run modprobe for it, and wait, each time (ctrl_getfamily() in net/netlink/genetlink.c).
 * False as well where the list cannot be had.
 */
bool genl_has_family(const char *name);

#endif /* BPFW_GENL_H */
