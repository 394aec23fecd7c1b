// SPDX-License-Identifier: GPL-2.0-only
/* The kernel's own veth answers: both kinds of stripping can be read and switched. */
#include "unit.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "ethtool.h"

#define BOTH (ETHTOOL_STRIPS_8021Q | ETHTOOL_STRIPS_8021AD)

/* ethtool(8) is the oracle. */
static bool shown_as(const char *feature, const char *state)
{
	char command[128];

	snprintf(command, sizeof(command), "ethtool -k v0 | grep -q '^%s: %s'", feature, state);
	return !system(command);
}

static int make_veth(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) || system("ip link add v0 type veth peer name v1 2>/dev/null"))
		return 0; /* the tests skip */
	return 0;
}

static uint32_t veth(void)
{
	uint32_t ifindex = if_nametoindex("v0");

	if (!ifindex || !shown_as("rx-vlan-offload", "on")) {
		printf("# SKIP no veth that strips VLAN tags can be made here\n");
		skip();
	}
	return ifindex;
}

static void test_read(void **state)
{
	(void)state;
	assert_int_equal(ethtool_stripping(veth()), BOTH);
}

static void test_switch_one(void **state)
{
	uint32_t ifindex = veth();

	(void)state;
	assert_int_equal(ethtool_switch_stripping(ifindex, ETHTOOL_STRIPS_8021AD, false), 0);
	assert_int_equal(ethtool_stripping(ifindex), ETHTOOL_STRIPS_8021Q);
	assert_true(shown_as("rx-vlan-stag-hw-parse", "off"));
	assert_true(shown_as("rx-vlan-offload", "on"));
	assert_int_equal(ethtool_switch_stripping(ifindex, BOTH, false), 0);
	assert_int_equal(ethtool_stripping(ifindex), 0);
	assert_true(shown_as("rx-vlan-offload", "off"));
	assert_int_equal(ethtool_switch_stripping(ifindex, BOTH, true), 0);
	assert_int_equal(ethtool_stripping(ifindex), BOTH);
}

static void test_no_device(void **state)
{
	(void)state;
	assert_int_equal(ethtool_stripping(4000), 0);
	assert_int_not_equal(ethtool_switch_stripping(4000, BOTH, false), 0);
}

/* The loopback's are fixed. */
static void test_fixed(void **state)
{
	uint32_t ifindex = if_nametoindex("lo");

	(void)state;
	assert_int_equal(ethtool_stripping(ifindex), 0);
	assert_int_equal(ethtool_switch_stripping(ifindex, ETHTOOL_STRIPS_8021Q, true),
			 -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_switch_one),
		cmocka_unit_test(test_no_device),
		cmocka_unit_test(test_fixed),
	};

	return cmocka_run_group_tests(tests, make_veth, NULL);
}
