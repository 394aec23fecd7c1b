/* SPDX-License-Identifier: GPL-2.0-only */
/* What is kept, and of how many, is as net/netfilter/xt_recent.c has it. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/netfilter/xt_recent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "filter/inforce.h"
#include "filter/recent.h"
#include "util.h"

/* Parameters of the kernel's module, and what they are if it has not been loaded. */
#define PARAMETERS "/sys/module/xt_recent/parameters/"
#define ADDRESSES 100 /* ip_list_tot */
#define ADDRESSES_MAX 65536
#define STAMPS 32 /* of an address, if neither ip_pkt_list_tot nor the rule says how many */
#define STAMPS_MAX 256

/* Values of arrays are limited to what kmalloc() gives, 4 MiB on most machines. */
#define TABLE_MAX (2u << 20)

/* ---- Sizes --------------------------------------------------------------------------- */

static uint32_t read_parameter(const char *name, uint32_t otherwise, uint32_t max)
{
	char text[96], *end = text;
	unsigned long value = otherwise;
	FILE *file;

	snprintf(text, sizeof(text), PARAMETERS "%s", name);
	file = fopen(text, "re");
	if (!file)
		return otherwise;
	if (fgets(text, sizeof(text), file))
		value = strtoul(text, &end, 10);
	fclose(file);
	if (end == text)
		return otherwise;
	return value < max ? (uint32_t)value : max;
}

static uint32_t power_of_two(uint32_t least)
{
	uint32_t power = 1;

	while (power < least)
		power *= 2;
	return power;
}

/* recent_mt_check() */
static uint32_t stamps_for(const struct match_recent *match)
{
	const uint32_t least = read_parameter("ip_pkt_list_tot", 0, STAMPS_MAX);

	if (match->hits < least)
		return power_of_two(least);
	return match->hits ? power_of_two(match->hits) : STAMPS;
}

/* How the parts of all tables of a ruleset are laid out. */
struct shape {
	uint32_t slots, chains, stamps;
};

static size_t slot_size(const struct shape *shape)
{
	return FILTER_RECENT_SLOT_SIZE(shape->stamps);
}

static size_t table_size(const struct shape *shape)
{
	return sizeof(struct filter_recent) + shape->chains * sizeof(uint32_t) +
	       shape->slots * slot_size(shape);
}

/* Twice as many chains as addresses, so that few share one; an even number keeps slots aligned. */
static struct shape shape_of(const struct image *image)
{
	struct shape shape = { .slots = 1, .stamps = 1 };

	if (image->recent_count)
		shape.slots = read_parameter("ip_list_tot", ADDRESSES, ADDRESSES_MAX);
	if (!shape.slots)
		shape.slots = 1;
	for (uint32_t i = 0; i < image->recent_count; i++)
		if (image->recents[i].stamp_mask >= shape.stamps)
			shape.stamps = image->recents[i].stamp_mask + 1;
	shape.chains = 2 * power_of_two(shape.slots);
	while (table_size(&shape) > TABLE_MAX)
		shape.slots -= shape.slots / 16 + 1;
	return shape;
}

/* ---- Tables of a ruleset ---------------------------------------------------------------- */

uint32_t recent_asks(const struct match_recent *match)
{
	static const struct {
		uint8_t checks;
		uint32_t asks;
	} flags[] = {
		{ XT_RECENT_SET, FILTER_RECENT_SET },
		{ XT_RECENT_UPDATE, FILTER_RECENT_UPDATE },
		{ XT_RECENT_REMOVE, FILTER_RECENT_REMOVE },
		{ XT_RECENT_REAP, FILTER_RECENT_REAP },
		{ XT_RECENT_TTL, FILTER_RECENT_TTL },
	};
	uint32_t asks = match->hits;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (match->checks & flags[i].checks)
			asks |= flags[i].asks;
	if (match->destination)
		asks |= FILTER_RECENT_DESTINATION;
	return match->invert ? asks | FILTER_RECENT_INVERT : asks;
}

int recent_table(struct image *image, const struct match_recent *match, uint32_t *number)
{
	const uint32_t stamp_mask = stamps_for(match) - 1;
	struct filter_recent *table;
	uint32_t room;
	int found = table_names_number(&image->recent_names, match->name, number);

	if (found < 0)
		return found;
	if (found) {
		table = &image->recents[*number];
		if (table->stamp_mask < stamp_mask)
			table->stamp_mask = stamp_mask;
		return memcmp(table->mask, &match->mask, sizeof(table->mask)) ? -EEXIST : 0;
	}
	room = table_names_grown(*number);
	if (room) {
		table = reallocarray(image->recents, room, sizeof(*table));
		if (!table)
			return -ENOMEM;
		image->recents = table;
	}
	table = &image->recents[*number];
	memset(table, 0, sizeof(*table));
	memcpy(table->mask, &match->mask, sizeof(table->mask));
	memcpy(table->name, match->name, strlen(match->name));
	table->stamp_mask = stamp_mask;
	image->recent_count++;
	return 0;
}

void recent_configure(struct filter_bpf *skeleton, const struct image *image)
{
	const struct shape shape = shape_of(image);
	uint32_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) < 0)
		seed = skeleton->rodata->generation;
	skeleton->rodata->recent_seed = seed;
	skeleton->rodata->recent_slots = shape.slots;
	skeleton->rodata->recent_chains = shape.chains;
	skeleton->rodata->recent_stamps = shape.stamps;
	bpf_map__set_value_size(skeleton->maps.recents, (uint32_t)table_size(&shape));
	bpf_map__set_max_entries(skeleton->maps.recents,
				 image->recent_count ? image->recent_count : 1);
}

static struct shape shape_in(const void *constants)
{
	const struct filter_bpf__rodata *rodata = constants;

	return (struct shape){ .slots = rodata->recent_slots,
			       .chains = rodata->recent_chains,
			       .stamps = rodata->recent_stamps };
}

int recent_fill(const struct filter_bpf *skeleton, const struct image *image)
{
	const struct shape shape = shape_in(skeleton->rodata);
	_cleanup_free_ struct filter_recent *table = calloc(1, table_size(&shape));
	int map = bpf_map__fd(skeleton->maps.recents);

	if (!table)
		return -ENOMEM;
	for (uint32_t i = 0; i < image->recent_count; i++) {
		*table = image->recents[i];
		if (bpf_map_update_elem(map, &i, table, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* ---- Taking tables over ------------------------------------------------------------------ */

/* Tables, and the place for one of them. */
struct tables {
	struct shape shape;
	int map;
	uint32_t count;
	struct filter_recent *table;
};

static struct filter_recent_slot *slot_at(const struct tables *tables, uint32_t number)
{
	char *slots = (char *)(tables->table + 1) + tables->shape.chains * sizeof(uint32_t);

	return (void *)(slots + (number - 1) * slot_size(&tables->shape));
}

static uint64_t *stamps_of(struct filter_recent_slot *slot)
{
	return (uint64_t *)(slot + 1);
}

/* The last stamp but `back`. */
static uint64_t stamp_of(const struct tables *tables, struct filter_recent_slot *slot,
			 uint32_t back)
{
	return stamps_of(slot)[(slot->index - 1 - back) & tables->table->stamp_mask];
}

static bool is_whole(const struct tables *tables, const struct filter_recent_slot *slot)
{
	const uint32_t most = tables->table->stamp_mask + 1;

	return slot->count && slot->count <= most && slot->index && slot->index <= most;
}

struct met {
	uint64_t last; /* stamp */
	uint32_t slot;
};

static int compare_met(const void *left, const void *right)
{
	const struct met *a = left, *b = right;

	return a->last < b->last ? -1 : a->last > b->last;
}

/* The addresses of a table, the one that was not met for longest first. */
static uint32_t list_met(const struct tables *from, struct met *met)
{
	uint32_t count = 0;

	for (uint32_t number = 1; number <= from->shape.slots; number++) {
		struct filter_recent_slot *slot = slot_at(from, number);

		if (is_whole(from, slot))
			met[count++] = (struct met){ stamp_of(from, slot, 0), number };
	}
	qsort(met, count, sizeof(*met), compare_met);
	return count;
}

/* Its stamps, as many as there is room for, the last one last. */
static void copy_stamps(const struct tables *to, struct filter_recent_slot *slot,
			const struct tables *from, struct filter_recent_slot *old)
{
	const uint32_t room = to->table->stamp_mask + 1;

	slot->count = old->count < room ? old->count : room;
	slot->index = slot->count;
	for (uint32_t i = 0; i < slot->count; i++)
		stamps_of(slot)[slot->count - 1 - i] = stamp_of(from, old, i);
}

/* Add an address as the newest one. */
static void add_slot(const struct tables *to, uint32_t seed, const struct tables *from,
		     struct filter_recent_slot *old)
{
	struct filter_recent *table = to->table;
	const uint32_t number = ++table->used;
	struct filter_recent_slot *slot = slot_at(to, number);
	uint32_t *chains = (uint32_t *)(table + 1);
	uint32_t chain;

	memcpy(slot->address, old->address, sizeof(slot->address));
	chain = filter_recent_chain(slot->address, seed);
	slot->chain = chain;
	chain &= to->shape.chains - 1;
	slot->next = chains[chain];
	if (slot->next)
		slot_at(to, slot->next)->before = number;
	chains[chain] = number;
	slot->older = table->newest;
	if (slot->older)
		slot_at(to, slot->older)->newer = number;
	else
		table->oldest = number;
	table->newest = number;
	slot->ttl = old->ttl;
	copy_stamps(to, slot, from, old);
}

static void clear_table(const struct tables *to)
{
	const struct filter_recent table = *to->table;

	memset(to->table, 0, table_size(&to->shape));
	to->table->stamp_mask = table.stamp_mask;
	memcpy(to->table->mask, table.mask, sizeof(table.mask));
	memcpy(to->table->name, table.name, sizeof(table.name));
}

static int take_table(const struct tables *to, uint32_t number, uint32_t seed,
		      const struct tables *from)
{
	_cleanup_free_ struct met *met = calloc(from->shape.slots, sizeof(*met));
	uint32_t count, first;

	if (!met)
		return -ENOMEM;
	clear_table(to);
	count = list_met(from, met);
	first = count > to->shape.slots ? count - to->shape.slots : 0;
	for (uint32_t i = first; i < count; i++)
		add_slot(to, seed, from, slot_at(from, met[i].slot));
	return bpf_map_update_elem(to->map, &number, to->table, BPF_ANY) ? -errno : 0;
}

static bool is_same(const struct filter_recent *one, const struct filter_recent *other)
{
	return one->name[0] && !strncmp(one->name, other->name, sizeof(one->name)) &&
	       !memcmp(one->mask, other->mask, sizeof(one->mask));
}

/* Those with the name of this table, of which there is one at most. */
static int find_table(const struct tables *to, uint32_t number, uint32_t seed,
		      const struct tables *from)
{
	if (bpf_map_lookup_elem(to->map, &number, to->table))
		return -errno;
	for (uint32_t i = 0; i < from->count; i++) {
		if (bpf_map_lookup_elem(from->map, &i, from->table))
			return -errno;
		if (is_same(to->table, from->table) && from->table->stamp_mask < from->shape.stamps)
			return take_table(to, number, seed, from);
	}
	return 0;
}

static int take_tables(const struct filter_bpf *skeleton, struct tables *from)
{
	const struct shape shape = shape_in(skeleton->rodata);
	_cleanup_free_ struct filter_recent *ours = malloc(table_size(&shape));
	_cleanup_free_ struct filter_recent *theirs = malloc(table_size(&from->shape));
	const struct tables to = { .shape = shape,
				   .map = bpf_map__fd(skeleton->maps.recents),
				   .count = bpf_map__max_entries(skeleton->maps.recents),
				   .table = ours };
	int err = 0;

	if (!ours || !theirs)
		return -ENOMEM;
	from->table = theirs;
	for (uint32_t i = 0; i < to.count && !err; i++)
		err = find_table(&to, i, skeleton->rodata->recent_seed, from);
	return err;
}

/* Constants of another version are of another size, mostly; what they say is compared, too. */
static int read_shape(const struct filter_bpf *skeleton, int program, struct shape *shape)
{
	const uint32_t zero = 0;
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = in_force_map(program, ".rodata", 0, &info);
	_cleanup_free_ void *constants = NULL;

	if (map < 0)
		return map;
	if (info.value_size != bpf_map__value_size(skeleton->maps.rodata))
		return -ENOENT;
	constants = malloc(info.value_size);
	if (!constants)
		return -ENOMEM;
	if (bpf_map_lookup_elem(map, &zero, constants))
		return -errno;
	*shape = shape_in(constants);
	return 0;
}

int recent_take_over(const struct filter_bpf *skeleton, int program)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = in_force_map(program, "recents", 0, &info);
	struct tables from = { .map = map, .count = info.max_entries };
	int err;

	if (!(skeleton->rodata->used_operations & UINT64_C(1) << FILTER_OP_RECENT))
		return 0;
	err = map < 0 ? map : read_shape(skeleton, program, &from.shape);
	if (err)
		return err == -ENOENT ? 0 : err;
	return info.value_size == table_size(&from.shape) ? take_tables(skeleton, &from) : 0;
}
