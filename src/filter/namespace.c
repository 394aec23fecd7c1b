/* SPDX-License-Identifier: GPL-2.0-only */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "filter/namespace.h"
#include "util.h"

/* "net:[NUMBER]", as links and mounts show it */
struct wanted {
	char text[32];
};

static bool leads_there(int at, const char *name, const struct wanted *wanted)
{
	char target[64] = "";

	return readlinkat(at, name, target, sizeof(target) - 1) > 0 &&
	       !strcmp(target, wanted->text);
}

static bool is_listed(const char *path, const struct wanted *wanted)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	bool found = false;
	size_t size = 0;

	while (file && !found && getline(&line, &size, file) > 0)
		found = strstr(line, wanted->text);
	free(line);
	if (file)
		fclose(file);
	return found;
}

/* Does one of the directory's links lead there, or, with `below`, this link of its directories? */
static bool search(const char *path, const char *below, const struct wanted *wanted)
{
	DIR *directory = opendir(path);
	const struct dirent *entry;
	bool found = false;
	char name[300];

	while (directory && !found && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s%s%s", entry->d_name, *below ? "/" : "", below);
		found = leads_there(dirfd(directory), name, wanted);
	}
	if (directory)
		closedir(directory);
	return found;
}

static bool process_knows(const char *pid, const struct wanted *wanted)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%.20s/task", pid);
	if (search(path, "ns/net", wanted))
		return true;
	snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
	if (is_listed(path, wanted))
		return true;
	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	return search(path, "", wanted);
}

/* Not from a container. The number is the kernel's PROC_PID_INIT_INO (linux/proc_ns.h). */
static bool sees_all_processes(void)
{
	struct stat status;

	return !stat("/proc/self/ns/pid", &status) && status.st_ino == 0xeffffffc;
}

bool namespace_exists(uint64_t number)
{
	DIR *processes = sees_all_processes() ? opendir("/proc") : NULL;
	const struct dirent *entry;
	struct wanted wanted;
	bool found = !processes; /* it cannot be told */

	snprintf(wanted.text, sizeof(wanted.text), "net:[%llu]", (unsigned long long)number);
	while (!found && (entry = readdir(processes)))
		found = isdigit((unsigned char)entry->d_name[0]) &&
			process_knows(entry->d_name, &wanted);
	if (processes)
		closedir(processes);
	return found;
}
