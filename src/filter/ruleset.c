/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory of rulesets, and reading them from files; see ruleset.h. */
#include "filter/ruleset.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filter/option.h"
#include "util.h"

#define CHUNK_SIZE (64u << 10)
#define READ_FIRST (64u << 10)

struct ruleset_chunk {
	struct ruleset_chunk *next;
	size_t used, size;
	_Alignas(16) char data[];
};

void *ruleset_alloc(struct ruleset *ruleset, size_t size)
{
	struct ruleset_chunk *chunk = ruleset->memory;
	void *memory;

	size = (size + 15) & ~(size_t)15;
	if (!chunk || chunk->size - chunk->used < size) {
		size_t room = size > CHUNK_SIZE ? size : CHUNK_SIZE;

		chunk = calloc(1, sizeof(*chunk) + room);
		if (!chunk)
			return NULL;
		chunk->size = room;
		chunk->next = ruleset->memory;
		ruleset->memory = chunk;
	}
	memory = chunk->data + chunk->used;
	chunk->used += size;
	return memory;
}

void ruleset_take_memory(struct ruleset *ruleset, struct ruleset *other)
{
	struct ruleset_chunk **end = &other->memory;

	while (*end)
		end = &(*end)->next;
	*end = ruleset->memory;
	ruleset->memory = other->memory;
	other->memory = NULL;
}

void ruleset_free(struct ruleset *ruleset)
{
	while (ruleset->memory) {
		struct ruleset_chunk *next = ruleset->memory->next;

		free(ruleset->memory);
		ruleset->memory = next;
	}
	free(ruleset->chains);
	free(ruleset->rules);
	memset(ruleset, 0, sizeof(*ruleset));
}

uint32_t ruleset_filter_chains(const struct ruleset *ruleset)
{
	return ruleset->nat_chain ? ruleset->nat_chain : ruleset->chain_count;
}

uint32_t ruleset_filter_rules(const struct ruleset *ruleset)
{
	return ruleset->nat_chain ? ruleset->chains[ruleset->nat_chain].first : ruleset->rule_count;
}

void ruleset_warn_of_nat(const struct ruleset *ruleset, const struct ruleset_report *report)
{
	uint32_t line = 0;

	for (uint32_t i = ruleset_filter_rules(ruleset); i < ruleset->rule_count; i++) {
		const struct target *target = &ruleset->rules[i].target;
		char message[1280];

		/* A line may make several rules. */
		if (target->kind != TARGET_UNKNOWN || ruleset->rules[i].line == line)
			continue;
		line = ruleset->rules[i].line;
		snprintf(message, sizeof(message),
			 "%s; first packets of connections that this rule of the table nat may "
			 "translate are judged by the address they came to",
			 target->unknown);
		report->say(report->context, true, message);
	}
}

void ruleset_forget_nat(struct ruleset *ruleset)
{
	ruleset->rule_count = ruleset_filter_rules(ruleset);
	ruleset->chain_count = ruleset_filter_chains(ruleset);
	ruleset->nat_chain = 0;
}

/* Read all of a file; the caller frees *text. Returns 0 or -errno. */
static int read_all(int fd, char **text, size_t *size)
{
	_cleanup_free_ char *buffer = NULL;
	size_t room = 0, used = 0;

	for (;;) {
		ssize_t count;

		if (used == room) {
			char *larger;

			room = room ? room * 2 : READ_FIRST;
			if (room > 2 * (size_t)RULESET_TEXT_MAX)
				return -EFBIG;
			larger = realloc(buffer, room);
			if (!larger)
				return -ENOMEM;
			buffer = larger;
		}
		count = read(fd, buffer + used, room - used);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (!count)
			break;
		used += (size_t)count;
	}
	*text = TAKE(buffer);
	*size = used;
	return 0;
}

int ruleset_read_text(const char *path, char **text, size_t *size,
		      const struct ruleset_report *report)
{
	bool standard = !strcmp(path, "-");
	_cleanup_close_ int fd = -1;
	char message[512];
	int error;

	if (!standard)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	error = fd < 0 && !standard ? -errno : read_all(standard ? STDIN_FILENO : fd, text, size);
	if (!error)
		return 0;
	snprintf(message, sizeof(message), "%s: cannot be read: %s", report->file,
		 strerror(-error));
	report->say(report->context, false, message);
	return error;
}

int ruleset_read(struct ruleset *ruleset, const char *path, uint8_t family,
		 const struct ruleset_report *report)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int error;

	memset(ruleset, 0, sizeof(*ruleset));
	error = ruleset_read_text(path, &text, &size, report);
	return error ? error : ruleset_parse(ruleset, text, size, family, report);
}
