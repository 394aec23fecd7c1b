/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "filter/wallclock.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define NS_PER_MINUTE (60 * NS_PER_SECOND)
#define KTIME_GET_TAI_NS 208 /* BPF_FUNC_ktime_get_tai_ns; headers before Linux 6.1 have it not */

static int64_t read_clock(clockid_t clock)
{
	struct timespec time = { 0 };

	clock_gettime(clock, &time);
	return time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

/* sys_tz; the C library's gettimeofday() has it no more. */
static int64_t minutes_west(void)
{
	struct timezone zone = { 0 };

	if (syscall(SYS_gettimeofday, NULL, &zone))
		return 0;
	return zone.tz_minuteswest;
}

void wallclock_read(struct wallclock *clock)
{
	const int tai = libbpf_probe_bpf_helper(BPF_PROG_TYPE_SCHED_CLS,
						(enum bpf_func_id)KTIME_GET_TAI_NS, NULL);
	int64_t offset;

	clock->has_tai = tai == 1;
	offset = read_clock(CLOCK_REALTIME) -
		 read_clock(clock->has_tai ? CLOCK_TAI : CLOCK_BOOTTIME);
	/* TAI is off by whole seconds; what is more than that has passed in between. */
	if (clock->has_tai)
		offset = (offset - NS_PER_SECOND / 2) / NS_PER_SECOND * NS_PER_SECOND;
	clock->offset = offset;
	clock->zone_offset = minutes_west() * NS_PER_MINUTE;
}
