/* SPDX-License-Identifier: GPL-2.0-only */
/* The wheel of deadlines: never early, at most one slot late, whatever happens between. */
#include "unit.h"

#include <stdbool.h>

#include "deadline.h"
#include "util.h"

#define TURN ((uint64_t)DEADLINE_SLOTS * DEADLINE_SLOT_MS)
#define START 987654321ULL

static struct deadlines wheel;

static void expect_none(uint64_t now)
{
	assert_null(deadlines_next(&wheel, now));
}

/* One deadline alone: asked at every millisecond, it comes once and within its slot. */
static void check_alone(uint64_t at, uint64_t from, uint64_t step)
{
	struct deadline deadline, *due = NULL;
	uint64_t now;

	deadline_init(&deadline);
	deadlines_init(&wheel, from);
	deadline_set(&wheel, &deadline, at);
	for (now = from; !due && now <= at + 4 * DEADLINE_SLOT_MS + step; now += step) {
		due = deadlines_next(&wheel, now);
		if (due && now < at)
			fail_msg("%llu ms early", (unsigned long long)(at - now));
	}
	now -= step;
	assert_ptr_equal(due, &deadline);
	if (now >= at + DEADLINE_SLOT_MS + step)
		fail_msg("%llu ms late", (unsigned long long)(now - at));
	expect_none(now + 2 * TURN);
}

static void test_never_early(void **state)
{
	(void)state;
	for (uint64_t ms = 0; ms <= 3 * DEADLINE_SLOT_MS; ms++)
		check_alone(START + ms, START, 1);
	for (uint64_t ms = 0; ms < 2 * DEADLINE_SLOT_MS; ms += 7)
		check_alone(START + ms + 1000, START + ms / 2, 1);
}

static void test_far(void **state)
{
	(void)state;
	for (int turns = 1; turns < 4; turns++)
		for (int ms = -300; ms <= 300; ms += 13)
			check_alone(START + (uint64_t)turns * TURN + (uint64_t)ms, START, 11);
	/* Five days: what conntrack gives an established TCP connection */
	check_alone(START + 432000000ULL, START, 1000);
}

static void test_past(void **state)
{
	struct deadline deadline;

	(void)state;
	deadline_init(&deadline);
	deadlines_init(&wheel, START);
	deadline_set(&wheel, &deadline, 0);
	assert_ptr_equal(deadlines_next(&wheel, START + DEADLINE_SLOT_MS), &deadline);
	deadline_set(&wheel, &deadline, START - 5000);
	assert_ptr_equal(deadlines_next(&wheel, START + 2 * DEADLINE_SLOT_MS), &deadline);
	expect_none(START + TURN);
}

static void test_move(void **state)
{
	struct deadline deadline;

	(void)state;
	deadline_init(&deadline);
	deadlines_init(&wheel, START);
	deadline_set(&wheel, &deadline, START + 1000);
	deadline_set(&wheel, &deadline, START + 5000);
	expect_none(START + 4999);
	assert_ptr_equal(deadlines_next(&wheel, START + 5000 + DEADLINE_SLOT_MS), &deadline);
	deadline_set(&wheel, &deadline, START + 50000);
	deadline_set(&wheel, &deadline, START + 10000);
	expect_none(START + 9999);
	assert_ptr_equal(deadlines_next(&wheel, START + 10000 + DEADLINE_SLOT_MS), &deadline);
	expect_none(START + 2 * TURN);
}

static void test_cancel(void **state)
{
	struct deadline one, two;

	(void)state;
	deadline_init(&one);
	deadline_init(&two);
	deadlines_init(&wheel, START);
	deadline_cancel(&one); /* was never set */
	deadline_set(&wheel, &one, START + 1000);
	deadline_set(&wheel, &two, START + 1000);
	deadline_cancel(&one);
	deadline_cancel(&one);
	assert_ptr_equal(deadlines_next(&wheel, START + 2000), &two);
	expect_none(START + 2000);
	deadline_set(&wheel, &one, START + 3000);
	assert_ptr_equal(deadlines_next(&wheel, START + 4000), &one);
}

/* Those that were found but not handed out yet can be moved and cancelled as well. */
static void test_due(void **state)
{
	struct deadline deadline[4];

	(void)state;
	deadlines_init(&wheel, START);
	for (size_t i = 0; i < ARRAY_SIZE(deadline); i++) {
		deadline_init(&deadline[i]);
		deadline_set(&wheel, &deadline[i], START + 100);
	}
	assert_ptr_equal(deadlines_next(&wheel, START + 1000), &deadline[0]);
	deadline_cancel(&deadline[1]);
	deadline_set(&wheel, &deadline[2], START + 60000);
	assert_ptr_equal(deadlines_next(&wheel, START + 1000), &deadline[3]);
	expect_none(START + 59999);
	assert_ptr_equal(deadlines_next(&wheel, START + 61000), &deadline[2]);
	expect_none(START + 2 * TURN);
}

/* The machine slept: all that passed meanwhile comes at once, the rest in its time. */
static void test_sleep(void **state)
{
	static struct deadline deadline[2000];
	uint64_t woke = START + 7 * TURN + 12345;
	bool found[ARRAY_SIZE(deadline)] = { false };
	struct deadline *due;
	size_t count = 0;

	(void)state;
	deadlines_init(&wheel, START);
	for (size_t i = 0; i < ARRAY_SIZE(deadline); i++) {
		deadline_init(&deadline[i]);
		deadline_set(&wheel, &deadline[i], START + i * (8 * TURN / 2000));
	}
	while ((due = deadlines_next(&wheel, woke))) {
		assert_true(due->at <= woke);
		assert_false(found[due - deadline]);
		found[due - deadline] = true;
		count++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(deadline); i++)
		assert_true(found[i] || deadline[i].at + DEADLINE_SLOT_MS > woke);
	while (deadlines_next(&wheel, woke + 2 * TURN))
		count++;
	assert_int_equal(count, ARRAY_SIZE(deadline));
}

/* ---- Against a model: a plain list that is searched from end to end ---------- */

#define MODEL 64

static struct {
	struct deadline deadline;
	bool set;
	uint64_t at;
	uint64_t set_at; /* one that is set in the past cannot come in the past */
} model[MODEL];

static void change_some(uint64_t now)
{
	static const uint32_t reaches[] = { 300, 5000, TURN, 3 * TURN };
	uint32_t i = unit_below(MODEL);

	if (!unit_below(4)) {
		deadline_cancel(&model[i].deadline);
		model[i].set = false;
		return;
	}
	model[i].at = now + unit_below(reaches[unit_below(4)]);
	if (!unit_below(20))
		model[i].at = now - unit_below(10000);
	model[i].set = true;
	model[i].set_at = now;
	deadline_set(&wheel, &model[i].deadline, model[i].at);
}

static void take_due(uint64_t now)
{
	struct deadline *due;

	while ((due = deadlines_next(&wheel, now))) {
		size_t i = 0;

		while (&model[i].deadline != due)
			assert_true(++i < MODEL);
		assert_true(model[i].set);
		assert_true(model[i].at <= now);
		model[i].set = false;
	}
	for (size_t i = 0; i < MODEL; i++) {
		uint64_t from = model[i].at > model[i].set_at ? model[i].at : model[i].set_at;

		if (model[i].set && from + DEADLINE_SLOT_MS <= now)
			fail_msg("%llu ms late", (unsigned long long)(now - from));
	}
}

static void test_model(void **state)
{
	uint64_t now = START;

	(void)state;
	deadlines_init(&wheel, now);
	for (size_t i = 0; i < MODEL; i++)
		deadline_init(&model[i].deadline);
	for (int round = 0; round < 60000; round++) {
		static const uint32_t steps[] = { 2, 100, 600, 20000, 4 * TURN };

		for (uint32_t changes = unit_below(4); changes; changes--)
			change_some(now);
		now += unit_below(steps[unit_below(100) ? unit_below(3) : 3 + unit_below(2)]);
		take_due(now);
	}
	/* None is lost: all that is set comes in the end. */
	take_due(now + 4 * TURN);
	for (size_t i = 0; i < MODEL; i++)
		assert_false(model[i].set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_early), cmocka_unit_test(test_far),
		cmocka_unit_test(test_past),        cmocka_unit_test(test_move),
		cmocka_unit_test(test_cancel),      cmocka_unit_test(test_due),
		cmocka_unit_test(test_sleep),       cmocka_unit_test(test_model),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
