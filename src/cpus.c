/* SPDX-License-Identifier: GPL-2.0-only */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpus.h"
#include "log.h"
#include "util.h"

#define ONLINE "/sys/devices/system/cpu/online"

struct range {
	uint32_t first;
	uint32_t last;
};

static bool take_number(const char **text, uint32_t *number)
{
	char *end;
	unsigned long value;

	if (!isdigit((unsigned char)**text))
		return false;
	value = strtoul(*text, &end, 10);
	if (value > CPU_LIMIT)
		return false;
	*number = (uint32_t)value;
	*text = end;
	return true;
}

/* The next range of the list, and past the comma behind it, which another one has to follow. */
static bool take_range(const char **text, struct range *range)
{
	if (!take_number(text, &range->first))
		return false;
	range->last = range->first;
	if (**text == '-') {
		(*text)++;
		if (!take_number(text, &range->last) || range->last < range->first)
			return false;
	}
	if (**text == ',')
		return *++*text;
	return !**text || **text == '\n';
}

static bool has_cpu(const struct cpus *cpus, uint32_t cpu)
{
	for (size_t i = 0; i < cpus->count; i++)
		if (cpus->cpu[i] == cpu)
			return true;
	return false;
}

static int add_range(struct cpus *cpus, const struct range *range)
{
	for (uint32_t cpu = range->first; cpu <= range->last; cpu++) {
		if (has_cpu(cpus, cpu))
			return -EEXIST;
		if (cpus->count == SPREAD_CPUS)
			return -E2BIG;
		cpus->cpu[cpus->count++] = cpu;
	}
	return 0;
}

int cpus_parse(struct cpus *cpus, const char *text)
{
	struct cpus parsed = { 0 };
	struct range range;
	int err = -EINVAL;

	do {
		err = take_range(&text, &range) ? add_range(&parsed, &range) : -EINVAL;
	} while (!err && *text && *text != '\n');
	if (err || *text)
		return err ? err : -EINVAL;
	*cpus = parsed;
	return 0;
}

static bool list_has(const char *text, uint32_t cpu)
{
	struct range range;

	while (*text && *text != '\n' && take_range(&text, &range))
		if (cpu >= range.first && cpu <= range.last)
			return true;
	return false;
}

int cpus_missing(const struct cpus *cpus, const char *text)
{
	for (size_t i = 0; i < cpus->count; i++)
		if (!list_has(text, cpus->cpu[i]))
			return (int)cpus->cpu[i];
	return -1;
}

int cpus_check(const struct cpus *cpus)
{
	_cleanup_close_ int fd = cpus->count ? open(ONLINE, O_RDONLY | O_CLOEXEC) : -1;
	char online[1024];
	ssize_t len = fd < 0 ? -1 : read(fd, online, sizeof(online) - 1);
	int missing;

	if (!cpus->count)
		return 0;
	if (len <= 0) {
		log_error("--cpus: cannot tell which CPUs are online: %s cannot be read (%s)",
			  ONLINE, strerror(errno));
		return -ENODEV;
	}
	online[len] = '\0';
	online[strcspn(online, "\n")] = '\0';
	missing = cpus_missing(cpus, online);
	if (missing < 0)
		return 0;
	log_error("--cpus: there is no CPU %d online; those online are %s", missing, online);
	return -ENODEV;
}

/* How many numbers follow each other from the i-th on. */
static size_t run_length(const struct cpus *cpus, size_t i)
{
	size_t run = 1;

	while (i + run < cpus->count && cpus->cpu[i + run] == cpus->cpu[i] + run)
		run++;
	return run;
}

const char *cpus_print(const struct cpus *cpus, char text[CPUS_TEXT])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0, run; i < cpus->count; i += run) {
		const char *comma = i ? "," : "";

		run = run_length(cpus, i);
		/* Room for the longest range, and for the dots of the next one. */
		if (used + strlen(",8191-8191,...") >= CPUS_TEXT) {
			snprintf(text + used, CPUS_TEXT - used, "%s...", comma);
			break;
		}
		if (run == 1)
			used += (size_t)snprintf(text + used, CPUS_TEXT - used, "%s%u", comma,
						 cpus->cpu[i]);
		else
			used += (size_t)snprintf(text + used, CPUS_TEXT - used, "%s%u-%u", comma,
						 cpus->cpu[i], cpus->cpu[i] + (uint32_t)run - 1);
	}
	return text;
}
