/* SPDX-License-Identifier: GPL-2.0-only */
/* Which states of a packet match a rule: conntrack_mt() of the kernel, case by case. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "filter/state.h"

#define NEW FILTER_STATE_NEW
#define ESTABLISHED FILTER_STATE_ESTABLISHED
#define RELATED FILTER_STATE_RELATED
#define INVALID FILTER_STATE_INVALID
#define UNTRACKED FILTER_STATE_UNTRACKED
#define REPLY FILTER_STATE_REPLY
#define SEEN FILTER_STATE_SEEN_REPLY
#define EXPECTED FILTER_STATE_EXPECTED

static void say(void *context, bool warning, const char *message)
{
	(void)context;
	(void)warning;
	print_message("%s\n", message);
}

/* A ruleset of one rule; the caller frees it. */
static void parse(struct ruleset *ruleset, const char *match)
{
	const struct ruleset_report report = { say, NULL, "test" };
	char text[256];
	int size = snprintf(text, sizeof(text), "*filter\n-A INPUT %s -j ACCEPT\nCOMMIT\n", match);

	assert_int_equal(ruleset_parse(ruleset, text, (size_t)size, AF_INET, &report), 0);
	assert_int_equal(ruleset->rule_count, 1);
}

static bool matches(const char *match, uint16_t state)
{
	struct ruleset ruleset;
	bool found;

	parse(&ruleset, match);
	found = state_matches_rule(state, &ruleset.rules[0]);
	ruleset_free(&ruleset);
	return found;
}

static void test_kinds(void **context)
{
	static const char *const names[] = { "INVALID", "UNTRACKED", "NEW", "ESTABLISHED",
					     "RELATED" };
	static const uint16_t kinds[] = { INVALID, UNTRACKED, NEW, ESTABLISHED, RELATED };
	char text[128];

	(void)context;
	for (size_t asked = 0; asked < 5; asked++) {
		for (size_t is = 0; is < 5; is++) {
			snprintf(text, sizeof(text), "-m conntrack --ctstate %s", names[asked]);
			assert_int_equal(matches(text, kinds[is]), asked == is);
			snprintf(text, sizeof(text), "-m conntrack ! --ctstate %s", names[asked]);
			assert_int_equal(matches(text, kinds[is]), asked != is);
			snprintf(text, sizeof(text), "-m state --state %s", names[asked]);
			assert_int_equal(matches(text, kinds[is]), asked == is);
			snprintf(text, sizeof(text), "-m state ! --state %s", names[asked]);
			assert_int_equal(matches(text, kinds[is]), asked != is);
		}
	}
	assert_true(matches("-m conntrack --ctstate RELATED,ESTABLISHED", ESTABLISHED | REPLY));
	assert_false(matches("-m conntrack --ctstate RELATED,ESTABLISHED", NEW));
	assert_false(matches("-m conntrack ! --ctstate RELATED,ESTABLISHED", RELATED | SEEN));
}

static void test_nat(void **context)
{
	(void)context;
	assert_true(matches("-m conntrack --ctstate DNAT", NEW | FILTER_STATE_DNAT));
	assert_false(matches("-m conntrack --ctstate DNAT", NEW | FILTER_STATE_SNAT));
	assert_true(matches("-m conntrack --ctstate NEW,DNAT", NEW));
	assert_false(matches("-m conntrack ! --ctstate SNAT", ESTABLISHED | FILTER_STATE_SNAT));
	/* What belongs to no connection has no NAT, whatever its bits. */
	assert_false(matches("-m conntrack --ctstate DNAT", INVALID | FILTER_STATE_DNAT));
}

static void test_direction_and_status(void **context)
{
	(void)context;
	assert_true(matches("-m conntrack --ctdir REPLY", ESTABLISHED | REPLY));
	assert_false(matches("-m conntrack --ctdir REPLY", ESTABLISHED));
	assert_true(matches("-m conntrack --ctdir ORIGINAL", NEW));
	assert_true(matches("-m conntrack --ctstatus SEEN_REPLY", ESTABLISHED | SEEN));
	assert_false(matches("-m conntrack --ctstatus SEEN_REPLY", NEW));
	assert_true(matches("-m conntrack ! --ctstatus EXPECTED", NEW));
	assert_false(matches("-m conntrack ! --ctstatus EXPECTED", RELATED | EXPECTED));
	assert_false(matches("-m conntrack --ctstatus NONE", NEW));
	/* Without a connection nothing but the state is looked at. */
	assert_false(matches("-m conntrack --ctdir ORIGINAL", INVALID));
	assert_false(matches("-m conntrack ! --ctstatus EXPECTED", UNTRACKED));
	assert_true(matches("-m conntrack --ctstate INVALID --ctdir REPLY", INVALID));
}

static void test_all_hold(void **context)
{
	const char *both =
		"-m conntrack --ctstate ESTABLISHED --ctdir REPLY -m state ! --state NEW";

	(void)context;
	assert_true(matches(both, ESTABLISHED | REPLY));
	assert_false(matches(both, ESTABLISHED));
	assert_true(matches("-p tcp", INVALID));
}

/* States that are equal in the bits a rule asks about are the same to it. */
static void test_bits_asked(void **context)
{
	static const char *const rules[] = {
		"-p udp",
		"-m state --state NEW",
		"-m conntrack --ctstate DNAT",
		"-m conntrack ! --ctstate NEW,SNAT",
		"-m conntrack --ctstatus SEEN_REPLY",
		"-m conntrack --ctdir REPLY",
		"-m conntrack --ctstatus EXPECTED --ctdir ORIGINAL --ctstate NEW",
	};

	(void)context;
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		struct ruleset ruleset;
		uint16_t asked;

		parse(&ruleset, rules[i]);
		asked = state_bits_asked(&ruleset.rules[0]);
		assert_int_equal(!asked, i == 0);
		for (uint16_t state = 0; state < FILTER_STATES; state++)
			assert_int_equal(state_matches_rule(state, &ruleset.rules[0]),
					 state_matches_rule(state & asked, &ruleset.rules[0]));
		ruleset_free(&ruleset);
	}
}

static void test_unsupported(void **context)
{
	static const struct {
		const char *match, *option;
	} cases[] = {
		{ "-m conntrack --ctstate NEW --ctdir REPLY --ctstatus SEEN_REPLY,EXPECTED", NULL },
		{ "-m conntrack --ctproto 6", "--ctproto" },
		{ "-m conntrack --ctorigsrc 10.0.0.0/8", "--ctorigsrc" },
		{ "-m conntrack --ctrepldstport 80", "--ctrepldstport" },
		{ "-m conntrack --ctexpire 1:20", "--ctexpire" },
		{ "-m conntrack --ctstatus ASSURED", "--ctstatus ASSURED" },
		{ "-m conntrack --ctstatus CONFIRMED,SEEN_REPLY", "--ctstatus CONFIRMED" },
	};

	(void)context;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ruleset ruleset;
		const char *said;

		parse(&ruleset, cases[i].match);
		said = state_unsupported(ruleset.rules[0].matches[0].conntrack);
		if (cases[i].option)
			assert_string_equal(said, cases[i].option);
		else
			assert_null(said);
		ruleset_free(&ruleset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_nat),
		cmocka_unit_test(test_direction_and_status),
		cmocka_unit_test(test_all_hold),
		cmocka_unit_test(test_bits_asked),
		cmocka_unit_test(test_unsupported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
