/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * print [-6] [-c] [FILE]: read rules (default: from standard input) and print them as the filter
 * would show them, with -c with counters. Messages go to standard error. Exit status 0, 1 if the
 * text is refused, 2 for wrong usage. It is what tests/filter/save_test.py compares with iptables.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "filter/ruleset.h"

static void say(void *context, bool warning, const char *message)
{
	(void)context;
	fprintf(stderr, "%s%s\n", warning ? "warning: " : "", message);
}

int main(int argc, char **argv)
{
	struct ruleset_report report = { .say = say, .file = "-" };
	uint8_t family = AF_INET;
	struct ruleset ruleset;
	bool counters = false;
	int option;

	while ((option = getopt(argc, argv, "6c")) != -1) {
		if (option == '6')
			family = AF_INET6;
		else if (option == 'c')
			counters = true;
		else
			return 2;
	}
	if (optind < argc)
		report.file = argv[optind];
	if (ruleset_read(&ruleset, report.file, family, &report))
		return 1;
	ruleset_print(&ruleset, counters, stdout);
	ruleset_free(&ruleset);
	return fflush(stdout) || ferror(stdout);
}
