/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time. The daemon counts milliseconds of CLOCK_MONOTONIC, the BPF side jiffies, which
 * cost it one load per packet. Both are driven by the same tick and rate, so one common
 * reading relates them for good.
 */
#ifndef BPFW_CLOCK_H
#define BPFW_CLOCK_H

#include <stdint.h>

struct jiffies_clock {
	uint64_t jiffies; /* at the common reading */
	uint64_t ms;
	uint64_t hz;
};

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_ms(void);

/* Ticks per second: the resolution of the coarse clock is one tick. */
uint64_t clock_hz(void);

uint64_t clock_to_jiffies(const struct jiffies_clock *clock, uint64_t ms);

/*
 * How long before `now_ms` was the moment whose jiffies end in these 32 bits? A moment in
 * the future, as seen from a clock read too early, is 0 ago.
 */
uint64_t clock_age_ms(const struct jiffies_clock *clock, uint64_t now_ms, uint32_t jiffies);

#endif /* BPFW_CLOCK_H */
