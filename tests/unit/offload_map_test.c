/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table in plain memory: what is added is found where the BPF programs look for it, up to
 * the last entry that the table is made for, and no slot comes back before a grace period.
 */
#include "unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "offload_map.h"

#define ENTRIES 20000

static struct offload_map map;
static unsigned int graces;
static int grace_error;

static int count_grace(void *context)
{
	(void)context;
	if (!grace_error)
		graces++;
	return grace_error;
}

static int make_map(void **state)
{
	(void)state;
	graces = 0;
	grace_error = 0;
	map = (struct offload_map){
		.slots = offload_map_slots(ENTRIES),
		.set_mask = offload_map_sets(ENTRIES) - 1,
		.seed = 0x1234567890abcdefULL,
		.unused = 1,
		.wait = count_grace,
	};
	map.flows = calloc(map.slots, sizeof(*map.flows));
	map.sets = aligned_alloc(sizeof(*map.sets), (map.set_mask + 1UL) * sizeof(*map.sets));
	if (!map.flows || !map.sets)
		return -1;
	memset(map.sets, 0, (map.set_mask + 1UL) * sizeof(*map.sets));
	return 0;
}

static int free_map(void **state)
{
	(void)state;
	free(map.flows);
	free(map.sets);
	return 0;
}

/* The direction number `n` of either family. */
static struct bpfw_flow make_flow(uint32_t n, uint8_t family)
{
	const struct segment segment = { .port = 7 };
	const struct tuple from = {
		.src = { { htonl(0x0a000000 + n), 0, 0, family == AF_INET6 ? n : 0 } },
		.dst = { { htonl(0xc0000201) } },
		.sport = htons((uint16_t)(n * 7)),
		.dport = htons(443),
		.family = family,
		.protocol = n & 1 ? IPPROTO_TCP : IPPROTO_UDP,
	};
	const struct bpfw_action action = { .egress = n };
	struct bpfw_flow flow;

	offload_map_fill(&flow, &from, &segment, &from, &action);
	return flow;
}

/* As flow_lookup() of the BPF side goes about it: the first equal tag is all that it looks at. */
static uint32_t find(const struct bpfw_flow *flow)
{
	const __u64 *key = (const void *)flow;
	bool ipv4 = flow->family == AF_INET;
	uint64_t hash = ipv4 ? flow_hash4(key, map.seed) : flow_hash6(key, map.seed);
	uint32_t tag = flow_tag(hash), set = flow_first_set(hash);

	for (int i = 0; i < 2; i++) {
		const struct bpfw_flow_set *at = &map.sets[set & map.set_mask];

		for (int way = 0; way < FLOW_WAYS; way++) {
			uint32_t slot = at->slot[way];

			if (at->tag[way] == tag)
				return memcmp(&map.flows[slot], flow,
					      ipv4 ? sizeof(flow->v4.key) : sizeof(flow->v6.key)) ?
					       0 :
					       slot;
		}
		set = flow_other_set(set, tag);
	}
	return 0;
}

static uint8_t family_of(uint32_t n)
{
	return n % 3 ? AF_INET : AF_INET6;
}

static void test_full(void **state)
{
	static uint32_t slot[ENTRIES];

	(void)state;
	for (uint32_t n = 0; n < ENTRIES; n++) {
		struct bpfw_flow flow = make_flow(n, family_of(n));

		slot[n] = offload_map_add(&map, &flow);
		assert_int_not_equal(slot[n], 0);
	}
	for (uint32_t n = 0; n < ENTRIES; n++) {
		struct bpfw_flow flow = make_flow(n, family_of(n));

		assert_int_equal(find(&flow), slot[n]);
		assert_int_equal(offload_map_action(&map, slot[n])->egress, n);
	}
	for (uint32_t n = 0; n < ENTRIES; n += 2)
		offload_map_remove(&map, slot[n]);
	for (uint32_t n = 0; n < ENTRIES; n++) {
		struct bpfw_flow flow = make_flow(n, family_of(n));

		assert_int_equal(find(&flow), n % 2 ? slot[n] : 0);
	}
	assert_int_equal(graces, 0);
}

/* Beyond what it is made for it refuses at some point, and what is in it stays found. */
static void test_overfull(void **state)
{
	uint32_t added = 0, n = 0;

	(void)state;
	for (; n < 4 * map.slots; n++) {
		struct bpfw_flow flow = make_flow(n, AF_INET);

		if (!offload_map_add(&map, &flow))
			break;
		added++;
	}
	assert_in_range(added, ENTRIES, map.slots - 1);
	for (uint32_t i = 0; i < added; i++) {
		struct bpfw_flow flow = make_flow(i, AF_INET);

		assert_int_not_equal(find(&flow), 0);
	}
}

static void test_same_key_twice(void **state)
{
	struct bpfw_flow flow = make_flow(5, AF_INET);

	(void)state;
	assert_int_not_equal(offload_map_add(&map, &flow), 0);
	assert_int_equal(offload_map_add(&map, &flow), 0);
	assert_int_not_equal(find(&flow), 0);
}

/* A slot keeps its content until a grace period is over, and all of them come back by one. */
static void test_reuse(void **state)
{
	struct bpfw_flow first = make_flow(1, AF_INET), content;
	uint32_t slot = offload_map_add(&map, &first);

	(void)state;
	offload_map_remove(&map, slot);
	content = map.flows[slot];
	assert_memory_equal(&content.v4, &first.v4, sizeof(first.v4));
	for (uint32_t n = 2; n < map.slots; n++) { /* as many as have never been used */
		struct bpfw_flow flow = make_flow(n, AF_INET);
		uint32_t other = offload_map_add(&map, &flow);

		assert_int_not_equal(other, 0);
		assert_int_not_equal(other, slot);
		offload_map_remove(&map, other);
		assert_int_equal(graces, 0);
	}
	assert_memory_equal(&map.flows[slot].v4, &first.v4, sizeof(first.v4));
	assert_int_equal(offload_map_add(&map, &first), slot);
	assert_int_equal(graces, 1);
	for (uint32_t n = 2; n < 1000; n++) {
		struct bpfw_flow flow = make_flow(n, AF_INET);

		assert_int_not_equal(offload_map_add(&map, &flow), 0);
	}
	assert_int_equal(graces, 1);
}

static void test_no_grace(void **state)
{
	struct bpfw_flow flow = make_flow(1, AF_INET);

	(void)state;
	for (uint32_t n = 1; n < map.slots; n++) {
		uint32_t slot = offload_map_add(&map, &flow);

		assert_int_not_equal(slot, 0);
		offload_map_remove(&map, slot);
	}
	grace_error = -EPERM;
	assert_int_equal(offload_map_add(&map, &flow), 0);
	grace_error = 0;
	assert_int_not_equal(offload_map_add(&map, &flow), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_full, make_map, free_map),
		cmocka_unit_test_setup_teardown(test_overfull, make_map, free_map),
		cmocka_unit_test_setup_teardown(test_same_key_twice, make_map, free_map),
		cmocka_unit_test_setup_teardown(test_reuse, make_map, free_map),
		cmocka_unit_test_setup_teardown(test_no_grace, make_map, free_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
