/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands in front of a hash map, in plain memory, looked up by the words of set_layout.h: it
 * may leave a key to the map, but never says another thing than the map does.
 */
#include "unit.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "filter/set_front.h"

#define KEYS 20000
#define NOW 100000 /* when fronts are made, by the clock of sets */

enum says {
	OUT,
	IN,
	ASK
};

static struct set_key keys[KEYS];
static uint32_t ends[KEYS];

static struct set_front make(bool narrow, uint32_t entries)
{
	const uint32_t cells = set_front_cells(narrow, entries);
	struct set_front front = { calloc(cells, sizeof(struct set_cell)), narrow };

	assert_non_null(front.cells);
	set_front_init(&front, cells, unit_random(), NOW);
	return front;
}

/* All differ; some have the same address and another port, some the same upper half. */
static struct set_key key_of(bool narrow, uint32_t number)
{
	struct set_key key = { .addr = { number } };

	if (!narrow) {
		key.addr[0] = number % 7;
		key.addr[3] = number / 4;
		key.port = (__be16)(number % 4 + 1);
		key.protocol = 6;
	}
	return key;
}

static enum says says_at(const struct set_front *front, const struct set_key *key, uint32_t now)
{
	const struct set_front_head *head = &front->cells->front;
	const struct set_cell *bucket = &front->cells[1 + set_front_bucket(head, key)];
	const uint32_t places = front->narrow ? SET_FRONT_ADDRS : SET_FRONT_KEYS;
	uint8_t span;

	if (!head->ready || (front->narrow && !key->addr[0]))
		return ASK;
	for (uint32_t i = 0; i < places; i++) {
		if (front->narrow ? bucket->front4.addr[i] != key->addr[0] :
				    memcmp(&bucket->wide.key[i], key, sizeof(*key)) != 0)
			continue;
		span = front->narrow ? bucket->front4.span[i] : bucket->wide.span[i];
		if (span == SET_SPAN_FOREVER)
			return IN;
		return now >> SET_SPAN_SHIFT < head->since + set_span_units(span) ? IN : ASK;
	}
	return __atomic_load_n(&bucket->wide.ask, __ATOMIC_ACQUIRE) ? ASK : OUT;
}

static enum says says(const struct set_front *front, const struct set_key *key)
{
	return says_at(front, key, NOW);
}

/* Even ones are in, each eighth of them has ended already; later some are changed. */
static void test_answers(void **state)
{
	(void)state;
	for (int narrow = 0; narrow < 2; narrow++) {
		struct set_front front = make(narrow, KEYS / 2);
		uint32_t answered = 0;

		for (uint32_t i = 0; i < KEYS; i++)
			keys[i] = key_of(narrow, i);
		for (uint32_t i = 0; i < KEYS; i += 2)
			set_front_add(&front, &keys[i], i % 16 ? SET_FOREVER : NOW - 1);
		for (uint32_t i = 0; i < KEYS; i++)
			assert_int_equal(says(&front, &keys[i]), ASK);
		set_front_ready(&front);
		for (uint32_t i = 0; i < KEYS; i++) {
			const enum says said = says(&front, &keys[i]);

			assert_true(said == ASK || (said == IN) == (i % 2 == 0));
			if (i % 16 == 0)
				assert_int_equal(said, ASK);
			answered += said != ASK;
		}
		assert_true(answered > KEYS * 3 / 4);
		for (uint32_t i = 0; i < KEYS; i += 100) {
			set_front_touch(&front, &keys[i]);
			set_front_touch(&front, &keys[i + 1]);
			assert_int_equal(says(&front, &keys[i]), ASK);
			assert_int_equal(says(&front, &keys[i + 1]), ASK);
		}
		for (uint32_t i = 0; i < KEYS; i++) {
			const enum says said = says(&front, &keys[i]);

			assert_true(said == ASK || (said == IN) == (i % 2 == 0));
		}
		free(front.cells);
	}
}

/* A list may have a key twice, of which the later one goes; the map knows which. */
static void test_twice(void **state)
{
	(void)state;
	for (int narrow = 0; narrow < 2; narrow++) {
		struct set_front front = make(narrow, 1000);
		const struct set_key key = key_of(narrow, 77), zero = { 0 };

		set_front_add(&front, &key, SET_FOREVER);
		set_front_add(&front, &key, NOW);
		set_front_add(&front, &zero, SET_FOREVER);
		set_front_ready(&front);
		assert_int_equal(says(&front, &key), ASK);
		assert_int_equal(says(&front, &zero), narrow ? ASK : IN);
		free(front.cells);
	}
}

/* From tenths of a second to years. What is said to be in is, and most of the time it is said. */
static void test_ends(void **state)
{
	(void)state;
	for (int narrow = 0; narrow < 2; narrow++) {
		struct set_front front = make(narrow, KEYS);
		uint32_t said_in = 0;

		for (uint32_t i = 0; i < KEYS; i++) {
			const uint32_t most = 1U << unit_below(30);

			keys[i] = key_of(narrow, i);
			ends[i] = NOW + unit_below(most);
			set_front_add(&front, &keys[i], ends[i]);
		}
		set_front_ready(&front);
		for (uint32_t i = 1; i < KEYS; i++) {
			const uint32_t lasts = ends[i] - NOW, tenths = lasts / 10 * 9;

			assert_int_equal(says_at(&front, &keys[i], ends[i]), ASK);
			assert_true(says_at(&front, &keys[i], ends[i] - 1) != OUT);
			assert_true(says_at(&front, &keys[i], NOW) != OUT);
			if (lasts > 10 << SET_SPAN_SHIFT)
				said_in += says_at(&front, &keys[i], NOW + tenths) == IN;
		}
		assert_true(said_in > KEYS / 3);
		free(front.cells);
	}
}

/* All in one bucket: more than it has places. */
static void test_collisions(void **state)
{
	(void)state;
	for (int narrow = 0; narrow < 2; narrow++) {
		struct set_front front = make(narrow, 1);
		uint32_t in = 0;

		assert_in_range(front.cells->front.buckets, 1, 2);
		front.cells->front.buckets = 1;
		for (uint32_t i = 1; i <= 40; i++) {
			const struct set_key key = key_of(narrow, i);

			set_front_add(&front, &key, SET_FOREVER);
		}
		set_front_ready(&front);
		for (uint32_t i = 1; i <= 80; i++) {
			const struct set_key key = key_of(narrow, i);

			assert_true(says(&front, &key) != OUT);
			in += says(&front, &key) == IN;
		}
		assert_int_equal(in, narrow ? SET_FRONT_ADDRS : SET_FRONT_KEYS);
		free(front.cells);
	}
}

/* Rules touch keys while the front is filled from the map: none of these is in afterwards. */
struct race {
	struct set_front *front;
	uint32_t done;
};

static void *touch_all(void *context)
{
	struct race *race = context;

	for (uint32_t i = 0; i < KEYS; i += 8) {
		set_front_touch(race->front, &keys[i]);
		__atomic_store_n(&race->done, i, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void test_race(void **state)
{
	(void)state;
	for (int narrow = 0; narrow < 2; narrow++) {
		struct set_front front = make(narrow, KEYS);
		struct race race = { .front = &front };
		pthread_t thread;

		for (uint32_t i = 0; i < KEYS; i++)
			keys[i] = key_of(narrow, i);
		assert_int_equal(pthread_create(&thread, NULL, touch_all, &race), 0);
		for (uint32_t i = 0; i < KEYS; i++)
			set_front_add(&front, &keys[KEYS - 1 - i], SET_FOREVER);
		pthread_join(thread, NULL); /* the grace period */
		assert_int_equal(race.done, KEYS - 8);
		set_front_clear_touched(&front);
		set_front_ready(&front);
		for (uint32_t i = 0; i < KEYS; i++) {
			if (i % 8 == 0)
				assert_int_equal(says(&front, &keys[i]), ASK);
			else
				assert_true(says(&front, &keys[i]) != OUT);
		}
		free(front.cells);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers), cmocka_unit_test(test_twice),
		cmocka_unit_test(test_ends),    cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_race),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
