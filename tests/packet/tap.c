/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tap.h"

static unsigned int results, failures;
static const char *skip_reason; /* of the next result */

bool tap(bool ok, const char *format, ...)
{
	va_list args;

	ok = ok || skip_reason;
	printf("%sok %u - ", ok ? "" : "not ", ++results);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	if (skip_reason)
		printf(" # SKIP %s", skip_reason);
	skip_reason = NULL;
	putchar('\n');
	fflush(stdout);
	failures += !ok;
	return ok;
}

void tap_skip_next(const char *reason)
{
	skip_reason = reason;
}

void tap_note(const char *format, ...)
{
	va_list args;

	printf("# ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

void tap_skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	exit(0);
}

void tap_bail_out(const char *format, ...)
{
	va_list args;

	printf("Bail out! ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	exit(1);
}

int tap_end(void)
{
	printf("1..%u\n", results);
	return failures ? 1 : 0;
}
