/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "told.h"

int told_init(struct told *told, uint32_t tuples)
{
	uint32_t sets = 1;

	while (sets * TOLD_WAYS < tuples)
		sets *= 2;
	told->set = calloc(sets, sizeof(*told->set));
	told->mask = sets - 1;
	return told->set ? 0 : -ENOMEM;
}

void told_free(struct told *told)
{
	free(told->set);
	told->set = NULL;
}

static uint32_t tag_of(uint64_t hash)
{
	return (uint32_t)(hash >> 32) | 1;
}

static struct told_entry *set_of(const struct told *told, uint64_t hash)
{
	return told->set[(uint32_t)hash & told->mask];
}

static const struct told_entry *find(const struct told *told, uint64_t hash)
{
	const struct told_entry *set = set_of(told, hash);

	for (size_t way = 0; way < TOLD_WAYS; way++)
		if (set[way].tag == tag_of(hash))
			return &set[way];
	return NULL;
}

void told_add(struct told *told, uint64_t hash, uint32_t id)
{
	struct told_entry *set = set_of(told, hash);

	/* If it is there already, it is the first, or the one that moves up. */
	if (set[0].tag != tag_of(hash))
		set[1] = set[0];
	set[0] = (struct told_entry){ .tag = tag_of(hash), .id = id };
}

bool told_has(const struct told *told, uint64_t hash)
{
	return find(told, hash);
}

bool told_has_entry(const struct told *told, uint64_t hash, uint32_t id)
{
	const struct told_entry *entry = find(told, hash);

	return entry && entry->id == id;
}
