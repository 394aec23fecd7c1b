/* SPDX-License-Identifier: GPL-2.0-only */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "log.h"

enum log_level log_level = LOG_LEVEL_WARN;

void log_message(enum log_level level, const char *format, ...)
{
	static const char *const prefix[] = { "error: ", "warning: ", "", "" };
	char text[1024];
	va_list args;

	if (level > log_level)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Names and words of files are in it: they are not to say anything to a terminal. */
	for (char *at = text; *at; at++)
		if (iscntrl((unsigned char)*at))
			*at = '?';
	/* One write per line, so that lines of several processes do not mix. */
	fprintf(stderr, "bpfw: %s%s\n", prefix[level], text);
}
