/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of CPUs, as --cpus takes and the kernel's sysfs gives them: "0-1", "1,3". */
#ifndef BPFW_CPUS_H
#define BPFW_CPUS_H

#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define CPU_LIMIT 8191 /* the highest number that is understood: CONFIG_NR_CPUS of the largest */

struct cpus {
	uint32_t cpu[SPREAD_CPUS]; /* as they were named, each of them once */
	size_t count;
};

/*
 * Returns 0, -EINVAL (not a list), -EEXIST (a CPU is named twice) or -E2BIG (more than
 * SPREAD_CPUS); then `cpus` is as it was.
 */
int cpus_parse(struct cpus *cpus, const char *text);

/* Those of `cpus` that the list in `text` lacks: the first of them, or -1. */
int cpus_missing(const struct cpus *cpus, const char *text);

/* Are all of them online? Returns 0, or -errno with the reason logged. */
int cpus_check(const struct cpus *cpus);

/* The list as text, cut short with "..." where it does not fit. Returns `text`. */
#define CPUS_TEXT 64
const char *cpus_print(const struct cpus *cpus, char text[CPUS_TEXT]);

#endif /* BPFW_CPUS_H */
