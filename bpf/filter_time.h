/* SPDX-License-Identifier: GPL-2.0-only */
/* The time of day, as xt_time has it. */
#ifndef BPFW_FILTER_TIME_H
#define BPFW_FILTER_TIME_H

#include "filter_maps.h"
#include "filter_packet.h"

#define NS_PER_SECOND 1000000000LL
#define SECONDS_PER_DAY 86400
#define ALL_MONTH_DAYS 0xfffffffe /* XT_TIME_ALL_MONTHDAYS */

/* Seconds since 1970, UTC or in the kernel's time zone. See clock_offset in filter_maps.h. */
static __always_inline __u64 wall_clock(bool local)
{
	__s64 now = has_tai ? bpf_ktime_get_tai_ns() : bpf_ktime_get_boot_ns();

	now += clock_offset - (local ? zone_offset : 0);
	return (__u64)now / NS_PER_SECOND;
}

static __always_inline bool date_matches(const struct filter_op *op)
{
	__u64 now = wall_clock(op->c);

	return now >= op->a && now <= op->b;
}

/*
 * The day of the month of a day since 1970. Years are taken from March on, so that the leap day is
 * the last; 146,097 days are 400 years, the first such era that matters began 719,468 days before.
 */
static __always_inline __u32 month_day(__u32 day)
{
	__u32 of_era = (day + 719468) % 146097;
	__u32 year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	__u32 of_year = of_era - (365 * year + year / 4 - year / 100);
	__u32 month = (5 * of_year + 2) / 153;

	return of_year - (153 * month + 2) / 5 + 1;
}

static __always_inline bool time_matches(const struct filter_op *op)
{
	__u32 start = op->a & FILTER_TIME_OF_DAY, stop = op->b;
	__u64 now = wall_clock(op->a & FILTER_TIME_LOCAL);
	__u32 time = (__u32)(now % SECONDS_PER_DAY), day = (__u32)(now / SECONDS_PER_DAY), week_day;

	if (start < stop) {
		if (time < start || time > stop)
			return false;
	} else {
		if (time < start && time > stop)
			return false;
		if ((op->a & FILTER_TIME_CONTIGUOUS) && time <= stop)
			day--;
	}
	week_day = (day + 4) % 7; /* 1970 began with a Thursday; Sunday is 7 */
	if (!(op->a >> FILTER_TIME_WEEK_DAYS & 1U << (week_day ? week_day : 7)))
		return false;
	return op->c == ALL_MONTH_DAYS || op->c & 1U << month_day(day);
}

#endif /* BPFW_FILTER_TIME_H */
