/* SPDX-License-Identifier: GPL-2.0-only */
/* Does a network namespace still exist? */
#ifndef BPFW_FILTER_NAMESPACE_H
#define BPFW_FILTER_NAMESPACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is a network namespace known by the number of its file (st_ino of /proc/PID/ns/net)? Looked for
 * among the threads of all processes, their open files, and their mounts. What cannot be read counts
 * as not there: it takes root. A namespace that only a socket holds is not found. Where not all processes are seen (in a
 * container), every one counts as there.
 */
bool namespace_exists(uint64_t number);

#endif /* BPFW_FILTER_NAMESPACE_H */
