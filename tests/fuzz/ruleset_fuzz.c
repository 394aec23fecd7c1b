/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libFuzzer target of the parser of rules. The first byte chooses the family, the rest is the
 * text. What is accepted must be printed as a text that is accepted and printed the same way;
 * what is refused must be refused with one printable message.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/ruleset.h"

/* What is printed may be longer than what was read, but not beyond the bound of a line */
#define TEXT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void say(void *context, bool warning, const char *message)
{
	unsigned int *errors = context;

	*errors += !warning;
	for (; *message; message++) {
		if (!isprint((unsigned char)*message))
			abort();
	}
}

/* What the text is printed as; NULL if it is refused. The caller frees it. */
static char *print(const char *text, size_t size, uint8_t family, size_t *printed)
{
	unsigned int errors = 0;
	struct ruleset_report report = { .say = say, .context = &errors, .file = "fuzz" };
	struct ruleset ruleset;
	char *out = NULL;
	FILE *stream;
	int error = ruleset_parse(&ruleset, text, size, family, &report);

	if (errors != (error != 0))
		abort();
	if (error)
		return NULL;
	stream = open_memstream(&out, printed);
	if (!stream)
		abort();
	ruleset_print(&ruleset, true, stream);
	ruleset_warn_of_nat(&ruleset, &report);
	fclose(stream);
	ruleset_free(&ruleset);
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t family = size && data[0] == '6' ? AF_INET6 : AF_INET;
	size_t first_size, second_size;
	char *first, *second;

	if (!size || size > TEXT_MAX)
		return 0;
	first = print((const char *)data + 1, size - 1, family, &first_size);
	if (!first)
		return 0;
	second = print(first, first_size, family, &second_size);
	if (!second || first_size != second_size || memcmp(first, second, first_size)) {
		fprintf(stderr, "printed first:\n%s\nprinted then:\n%s\n", first,
			second ? second : "-");
		abort();
	}
	free(first);
	free(second);
	return 0;
}
