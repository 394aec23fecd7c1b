/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of CPUs: every form, every mistake, what is missing, and back to text. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpus.h"

static struct cpus cpus;

static void expect_list(const char *text, size_t count, const uint32_t *wanted)
{
	memset(&cpus, 0xaa, sizeof(cpus));
	assert_int_equal(cpus_parse(&cpus, text), 0);
	assert_int_equal(cpus.count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(cpus.cpu[i], wanted[i]);
}

#define expect_cpus(text, ...)                                                    \
	expect_list(text, sizeof((uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t), \
		    (uint32_t[]){ __VA_ARGS__ })

static void test_lists(void **state)
{
	(void)state;
	expect_cpus("0", 0);
	expect_cpus("8191", 8191);
	expect_cpus("0-1", 0, 1);
	expect_cpus("3-3", 3);
	expect_cpus("1,3", 1, 3);
	expect_cpus("5,0-2,9", 5, 0, 1, 2, 9); /* in the order of their naming */
}

static void expect_error(const char *text, int err)
{
	struct cpus before = { .cpu = { 7 }, .count = 1 };

	cpus = before;
	if (cpus_parse(&cpus, text) != err)
		fail_msg("'%s' gives %d, not %d", text, cpus_parse(&cpus, text), err);
	assert_memory_equal(&cpus, &before, sizeof(cpus));
}

static void test_errors(void **state)
{
	static const char *const wrong[] = { "",     " ",
					     "a",    "-1",
					     "1-",   "1--2",
					     "2-1",  ",1",
					     "1,",   "1,,2",
					     "1 2",  "1;2",
					     "0x1",  "+1",
					     "1.5",  "8192",
					     "0-1x", "1-2-3",
					     "1\n",  "all",
					     "1, 2", "99999999999999999999" };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		expect_error(wrong[i], -EINVAL);
	expect_error("1,1", -EEXIST);
	expect_error("0-3,2", -EEXIST);
	expect_error("0-64", -E2BIG);
	expect_error("0-8191", -E2BIG);
	assert_int_equal(cpus_parse(&cpus, "0-63"), 0);
	assert_int_equal(cpus.count, SPREAD_CPUS);
}

static void test_missing(void **state)
{
	(void)state;
	assert_int_equal(cpus_parse(&cpus, "1,3-4"), 0);
	assert_int_equal(cpus_missing(&cpus, "0-7"), -1);
	assert_int_equal(cpus_missing(&cpus, "1,3,4"), -1);
	assert_int_equal(cpus_missing(&cpus, "0-7\n"), -1);
	assert_int_equal(cpus_missing(&cpus, "0-3"), 4);
	assert_int_equal(cpus_missing(&cpus, "0,2-200"), 1);
	assert_int_equal(cpus_missing(&cpus, ""), 1);
	/* More CPUs than a list of ours holds. */
	assert_int_equal(cpus_parse(&cpus, "8000"), 0);
	assert_int_equal(cpus_missing(&cpus, "0-8191"), -1);
	assert_int_equal(cpus_missing(&cpus, "0-7999,8001-8191"), 8000);
}

static void expect_text(const char *list, const char *wanted)
{
	char text[CPUS_TEXT];

	assert_int_equal(cpus_parse(&cpus, list), 0);
	assert_string_equal(cpus_print(&cpus, text), wanted);
}

static void test_text(void **state)
{
	char list[512] = "", text[CPUS_TEXT];

	(void)state;
	expect_text("0", "0");
	expect_text("0,1", "0-1");
	expect_text("1,3", "1,3");
	expect_text("0-2,5,7-8", "0-2,5,7-8");
	expect_text("3,2,1", "3,2,1");
	cpus.count = 0;
	assert_string_equal(cpus_print(&cpus, text), "");
	for (unsigned int cpu = 8000; cpu < 8128; cpu += 2)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%u", *list ? "," : "",
			 cpu);
	assert_int_equal(cpus_parse(&cpus, list), 0);
	cpus_print(&cpus, text);
	assert_true(strlen(text) < sizeof(text));
	assert_string_equal(text + strlen(text) - 4, ",...");
	assert_memory_equal(text, list, strlen(text) - 3);
}

static void test_online(void **state)
{
	(void)state;
	cpus.count = 0;
	assert_int_equal(cpus_check(&cpus), 0);
	assert_int_equal(cpus_parse(&cpus, "8190"), 0);
	assert_int_equal(cpus_check(&cpus), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),   cmocka_unit_test(test_errors),
		cmocka_unit_test(test_missing), cmocka_unit_test(test_text),
		cmocka_unit_test(test_online),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
