/* SPDX-License-Identifier: GPL-2.0-only */
#include <time.h>

#include "clock.h"

uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_hz(void)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_nsec < 100000)
		return 100;
	return (uint64_t)(1000000000 + tick.tv_nsec / 2) / (uint64_t)tick.tv_nsec;
}

uint64_t clock_to_jiffies(const struct jiffies_clock *clock, uint64_t ms)
{
	return clock->jiffies + (ms - clock->ms) * clock->hz / 1000;
}

uint64_t clock_age_ms(const struct jiffies_clock *clock, uint64_t now_ms, uint32_t jiffies)
{
	int32_t age = (int32_t)((uint32_t)clock_to_jiffies(clock, now_ms) - jiffies);

	return age > 0 ? (uint64_t)age * 1000 / clock->hz : 0;
}
