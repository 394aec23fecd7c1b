/* SPDX-License-Identifier: GPL-2.0-only */
/* Families of generic netlink, by the running kernel's list. */
#include "unit.h"

#include "genl.h"

/* The one that tells of the others is always there. */
static void test_known(void **state)
{
	(void)state;
	assert_true(genl_has_family("nlctrl"));
}

static void test_unknown(void **state)
{
	(void)state;
	assert_false(genl_has_family("nlctr"));
	assert_false(genl_has_family("nlctrl2"));
	assert_false(genl_has_family("bpfw-test"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
