/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw filter log`: the events of LOG and NFLOG rules. */
#ifndef BPFW_FILTER_EVENTS_H
#define BPFW_FILTER_EVENTS_H

#include <stdbool.h>

/*
 * Print events to standard output, a line for each rule that a packet met, until SIGINT or SIGTERM,
 * or until the filter is unloaded. Returns the exit status.
 */
int events_follow(bool json);

#endif /* BPFW_FILTER_EVENTS_H */
