/* SPDX-License-Identifier: GPL-2.0-only */
/* How the programs get from a clock that BPF can read to the time of day. */
#ifndef BPFW_FILTER_WALLCLOCK_H
#define BPFW_FILTER_WALLCLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct wallclock {
	bool has_tai;   /* the kernel lets programs read CLOCK_TAI; else it is CLOCK_BOOTTIME */
	int64_t offset; /* ns from that to CLOCK_REALTIME, now */
	int64_t zone_offset; /* ns by which the kernel's time zone is behind UTC */
};

void wallclock_read(struct wallclock *clock);

#endif /* BPFW_FILTER_WALLCLOCK_H */
