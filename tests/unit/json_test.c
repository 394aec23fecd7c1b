/* SPDX-License-Identifier: GPL-2.0-only */
/* Texts in JSON: what is escaped, and that no bytes make the document invalid. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "util.h"

static char *string(const char *text)
{
	char *document = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&document, &size);

	assert_non_null(to);
	json_string(to, text);
	assert_int_equal(fclose(to), 0);
	return document;
}

static void texts_are_escaped(void **state)
{
	static const struct {
		const char *text, *document;
	} cases[] = {
		{ "", "\"\"" },
		{ "eth0", "\"eth0\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\n\t\x01\x7f", "\"\\u000a\\u0009\\u0001\\u007f\"" },
		{ "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"" },
		{ "\xe2\x82\xac \xf0\x9f\x94\xa5", "\"\xe2\x82\xac \xf0\x9f\x94\xa5\"" },
		/* Cut short, a detour, a surrogate, above U+10FFFF, no beginning */
		{ "\xe2\x82", "\"\\u00e2\\u0082\"" },
		{ "\xc0\xaf", "\"\\u00c0\\u00af\"" },
		{ "\xe0\x80\xaf", "\"\\u00e0\\u0080\\u00af\"" },
		{ "\xed\xa0\x80", "\"\\u00ed\\u00a0\\u0080\"" },
		{ "\xf4\x90\x80\x80", "\"\\u00f4\\u0090\\u0080\\u0080\"" },
		{ "\xffok", "\"\\u00ffok\"" },
		{ "\xc3\"", "\"\\u00c3\\\"\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *document = string(cases[i].text);

		assert_string_equal(document, cases[i].document);
	}
}

static void members_may_be_null(void **state)
{
	_cleanup_free_ char *document = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&document, &size);

	(void)state;
	assert_non_null(to);
	json_member(to, "a", "b");
	json_member(to, "c", NULL);
	assert_int_equal(fclose(to), 0);
	assert_string_equal(document, "\"a\":\"b\"\"c\":null");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_escaped),
		cmocka_unit_test(members_may_be_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
