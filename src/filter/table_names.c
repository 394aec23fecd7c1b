/* SPDX-License-Identifier: GPL-2.0-only */
#include "filter/table_names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

#define ROOM_FIRST 64u /* of names; a power of two, of which there are twice as many slots */

/* Where the name is, or would be (FNV-1a, linear probing) */
static uint32_t *find_slot(const struct table_names *names, const char *name)
{
	uint32_t hash = 2166136261u;

	for (const char *at = name; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	for (;; hash++) {
		uint32_t *slot = &names->slots[hash & (2 * names->room - 1)];

		if (!*slot || !strcmp(names->names[*slot - 1], name))
			return slot;
	}
}

static int make_room(struct table_names *names)
{
	const uint32_t room = names->room ? names->room * 2 : ROOM_FIRST;
	uint32_t *slots;
	const char **more;

	if (names->count < names->room)
		return 0;
	more = reallocarray(names->names, room, sizeof(*more));
	if (!more)
		return -ENOMEM;
	names->names = more;
	slots = calloc(2 * (size_t)room, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(names->slots);
	names->slots = slots;
	names->room = room;
	for (uint32_t i = 0; i < names->count; i++)
		*find_slot(names, names->names[i]) = i + 1;
	return 0;
}

int table_names_number(struct table_names *names, const char *name, uint32_t *number)
{
	int err = make_room(names);
	uint32_t *slot;

	if (err)
		return err;
	slot = find_slot(names, name);
	if (*slot) {
		*number = *slot - 1;
		return 1;
	}
	names->names[names->count] = name;
	*number = names->count++;
	*slot = names->count;
	return 0;
}

void table_names_free(struct table_names *names)
{
	free(names->names);
	free(names->slots);
	*names = (struct table_names){ 0 };
}
