/* SPDX-License-Identifier: GPL-2.0-only */
/* Milliseconds, jiffies, and what lies between them. */
#include "unit.h"

#include <time.h>

#include "clock.h"

static const uint64_t rates[] = { 100, 250, 300, 1000 };

#define RATES (sizeof(rates) / sizeof(rates[0]))

static struct jiffies_clock make_clock(uint64_t hz, uint64_t jiffies)
{
	return (struct jiffies_clock){ .jiffies = jiffies, .ms = 1000000, .hz = hz };
}

static void test_now(void **state)
{
	struct timespec before, after;
	uint64_t now;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	now = clock_ms();
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_true(now >= (uint64_t)before.tv_sec * 1000 + (uint64_t)before.tv_nsec / 1000000);
	assert_true(now <= (uint64_t)after.tv_sec * 1000 + (uint64_t)after.tv_nsec / 1000000);
}

static void test_hz(void **state)
{
	uint64_t hz = clock_hz();

	(void)state;
	assert_in_range(hz, 24, 1200);
}

static void test_to_jiffies(void **state)
{
	(void)state;
	for (size_t i = 0; i < RATES; i++) {
		struct jiffies_clock clock = make_clock(rates[i], 5000);

		assert_int_equal(clock_to_jiffies(&clock, clock.ms), 5000);
		assert_int_equal(clock_to_jiffies(&clock, clock.ms + 1000), 5000 + rates[i]);
		assert_int_equal(clock_to_jiffies(&clock, clock.ms + 2500),
				 5000 + rates[i] * 5 / 2);
		/* A tick is counted when it is over. */
		assert_int_equal(clock_to_jiffies(&clock, clock.ms + (999 / rates[i])), 5000);
		assert_int_equal(clock_to_jiffies(&clock, clock.ms + 999 / rates[i] + 1), 5001);
		/* A year later it still is in step. */
		assert_int_equal(clock_to_jiffies(&clock, clock.ms + 31536000000ULL),
				 5000 + rates[i] * 31536000ULL);
	}
}

static void test_never_back(void **state)
{
	struct jiffies_clock clock = make_clock(300, 0xfffffff0);
	uint64_t last = 0;

	(void)state;
	for (uint64_t ms = clock.ms; ms < clock.ms + 5000; ms++) {
		uint64_t jiffies = clock_to_jiffies(&clock, ms);

		assert_true(jiffies >= last);
		last = jiffies;
	}
}

static void check_age(const struct jiffies_clock *clock, uint64_t now_ms, uint64_t ago_ms)
{
	uint64_t tick = (1000 + clock->hz - 1) / clock->hz;
	uint32_t then = (uint32_t)clock_to_jiffies(clock, now_ms - ago_ms);
	uint64_t age = clock_age_ms(clock, now_ms, then);

	/* Both ends are cut to whole ticks. */
	assert_true(age + tick >= ago_ms && age <= ago_ms + tick);
}

static void test_age(void **state)
{
	static const uint64_t ago[] = { 0, 1, 9, 10, 11, 999, 1000, 60000, 86400000 };

	(void)state;
	for (size_t i = 0; i < RATES; i++) {
		/* The low 32 bits wrap in between, or the sign does. */
		static const uint64_t starts[] = { 0, 0xffffff00, 0x7fffff00, 0x1ffffff00 };

		for (size_t j = 0; j < 4; j++) {
			struct jiffies_clock clock = make_clock(rates[i], starts[j]);

			for (size_t k = 0; k < sizeof(ago) / sizeof(ago[0]); k++)
				check_age(&clock, clock.ms + 86400000 + 4321, ago[k]);
		}
	}
}

/* The BPF side's jiffies may be ahead of what the daemon makes of its clock. */
static void test_future(void **state)
{
	struct jiffies_clock clock = make_clock(100, 0xffffffff);

	(void)state;
	assert_int_equal(clock_age_ms(&clock, clock.ms, 0xffffffff), 0);
	assert_int_equal(clock_age_ms(&clock, clock.ms, 0), 0);
	assert_int_equal(clock_age_ms(&clock, clock.ms, 1), 0);
	assert_int_equal(clock_age_ms(&clock, clock.ms, 0xfffffffe), 10);
	assert_int_equal(clock_age_ms(&clock, clock.ms + 10, 0xffffffff), 10);
	assert_int_equal(clock_age_ms(&clock, clock.ms + 20, 0), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_now),        cmocka_unit_test(test_hz),
		cmocka_unit_test(test_to_jiffies), cmocka_unit_test(test_never_back),
		cmocka_unit_test(test_age),        cmocka_unit_test(test_future),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
