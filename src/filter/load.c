/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "filter/hashlimit.h"
#include "filter/load.h"
#include "filter/operations.h"
#include "filter/recent.h"
#include "util.h"
#include "filter/wallclock.h"

/* ---- A ruleset's maps ------------------------------------------------------------------ */

struct table {
	struct bpf_map *map;
	const void *values;
	size_t size; /* of a value */
	uint32_t count;
};

#define TABLES 21

static void list_tables(const struct image *image, const struct filter_bpf *skeleton,
			struct table tables[TABLES])
{
	const bool v6 = image->family == AF_INET6;
	const struct table all[TABLES] = {
		{ skeleton->maps.chains, image->chains, sizeof(*image->chains),
		  image->chain_count },
		{ skeleton->maps.rules, image->rules, sizeof(*image->rules), image->rule_count },
		{ skeleton->maps.hashlimits, image->hashlimits, sizeof(*image->hashlimits),
		  image->hashlimit_count },
		{ skeleton->maps.operations, image->operations, sizeof(*image->operations),
		  image->operation_count },
		{ skeleton->maps.rows, image->rows.rows.values, sizeof(struct filter_row),
		  image->rows.rows.count },
		{ skeleton->maps.parts, image->rows.lists.values, sizeof(struct filter_part),
		  image->rows.lists.count * image->rows.parts },
		{ skeleton->maps.blocks, image->rows.blocks.values, image->rows.blocks.size,
		  image->rows.blocks.count },
		{ skeleton->maps.source_nodes, image->source.nodes, sizeof(struct filter_node),
		  image->source.node_count },
		{ skeleton->maps.source_slots, image->source.slots, sizeof(struct filter_slot),
		  image->source.slot_count },
		{ skeleton->maps.source_ranges4, image->source.ranges, sizeof(struct filter_range4),
		  v6 ? 0 : image->source.count },
		{ skeleton->maps.source_ranges6, image->source.ranges, sizeof(struct filter_range6),
		  v6 ? image->source.count : 0 },
		{ skeleton->maps.destination_nodes, image->destination.nodes,
		  sizeof(struct filter_node), image->destination.node_count },
		{ skeleton->maps.destination_slots, image->destination.slots,
		  sizeof(struct filter_slot), image->destination.slot_count },
		{ skeleton->maps.destination_ranges4, image->destination.ranges,
		  sizeof(struct filter_range4), v6 ? 0 : image->destination.count },
		{ skeleton->maps.destination_ranges6, image->destination.ranges,
		  sizeof(struct filter_range6), v6 ? image->destination.count : 0 },
		{ skeleton->maps.source_ports, image->source_ports, sizeof(uint32_t),
		  image->source_ports ? 1u << 16 : 0 },
		{ skeleton->maps.destination_ports, image->destination_ports, sizeof(uint32_t),
		  image->destination_ports ? 1u << 16 : 0 },
		{ skeleton->maps.protocols, image->protocols, sizeof(uint32_t),
		  image->protocols ? 256 : 0 },
		{ skeleton->maps.questions, image->questions, sizeof(*image->questions),
		  image->question_count },
		{ skeleton->maps.translations, image->translations, sizeof(*image->translations),
		  image->translation_count },
		{ skeleton->maps.states, image->states, sizeof(uint32_t),
		  image->states ? FILTER_STATES : 0 },
	};

	memcpy(tables, all, sizeof(all));
}

/* Arrays cannot be empty; what is not used has one value, all zeros. */
static void size_tables(const struct table tables[TABLES])
{
	for (size_t i = 0; i < TABLES; i++) {
		bpf_map__set_value_size(tables[i].map, (uint32_t)tables[i].size);
		bpf_map__set_max_entries(tables[i].map, tables[i].count ? tables[i].count : 1);
	}
}

static int fill_table(const struct table *table)
{
	const size_t stride = (table->size + 7) / 8 * 8; /* as the kernel stores values */
	const size_t len = stride * table->count;
	char *memory;

	if (!table->count)
		return 0;
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(table->map), 0);
	if (memory == MAP_FAILED)
		return -errno;
	for (uint32_t i = 0; i < table->count; i++)
		memcpy(memory + i * stride, (const char *)table->values + i * table->size,
		       table->size);
	munmap(memory, len);
	return 0;
}

static int fill_devices(const struct image *image, const struct filter_bpf *skeleton)
{
	int err = 0;

	for (uint32_t i = 0; i < image->device_count && !err; i++)
		err = bpf_map_update_elem(bpf_map__fd(skeleton->maps.devices),
					  &image->devices[i].ifindex, &image->devices[i].rows,
					  BPF_ANY);
	return err;
}

/* Of many CPUs the first one holds what a counter begins with: the sum is what is read. */
static int fill_counters(const struct image *image, const struct filter_bpf *skeleton)
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	_cleanup_free_ struct filter_counter *each = NULL;

	if (cpus < 0)
		return cpus;
	each = calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	for (uint32_t i = 0; i < image->counter_count && !err; i++) {
		each[0] = image->counters[i];
		if (each[0].packets || each[0].bytes)
			err = bpf_map_update_elem(bpf_map__fd(skeleton->maps.counters), &i, each,
						  BPF_EXIST);
	}
	return err;
}

/* What limits and statistics begin with. */
static int fill_tallies(const struct image *image, const struct filter_bpf *skeleton)
{
	int err = 0;

	for (uint32_t i = 0; i < image->operation_count && !err; i++) {
		const struct filter_op *op = &image->operations[i];
		const struct filter_tally tally = operations_tally(op);

		if (op->kind == FILTER_OP_LIMIT || op->kind == FILTER_OP_NTH)
			err = bpf_map_update_elem(bpf_map__fd(skeleton->maps.tallies), &op->a,
						  &tally, BPF_ANY);
	}
	return err;
}

static void configure_clock(struct filter_bpf *skeleton, uint64_t used)
{
	const uint64_t asking = UINT64_C(1) << FILTER_OP_DATE | UINT64_C(1) << FILTER_OP_TIME;
	struct wallclock clock;

	if (!(used & asking))
		return;
	wallclock_read(&clock);
	skeleton->rodata->has_tai = clock.has_tai;
	skeleton->rodata->clock_offset = clock.offset;
	skeleton->rodata->zone_offset = clock.zone_offset;
}

static void configure(struct filter_bpf *skeleton, const struct image *image)
{
	uint32_t generation = 0;

	while (!generation)
		if (getrandom(&generation, sizeof(generation), 0) < 0)
			break;
	skeleton->rodata->generation = generation;
	skeleton->rodata->is_ipv6 = image->family == AF_INET6;
	skeleton->rodata->used_fields = image->used_fields;
	skeleton->rodata->used_operations = operations_used(image);
	skeleton->rodata->no_port_rows[0] = image->no_port_rows[0];
	skeleton->rodata->no_port_rows[1] = image->no_port_rows[1];
	skeleton->rodata->drops_bad_tcp = image->drops_bad_tcp;
	skeleton->rodata->drops_cut = image->drops_cut;
	if (skeleton->rodata->is_tracked && image->translation_count)
		skeleton->rodata->nat_chain = image->nat_chain;
	bpf_map__set_max_entries(skeleton->maps.counters, image->counter_count);
	configure_clock(skeleton, skeleton->rodata->used_operations);
	bpf_map__set_max_entries(skeleton->maps.tallies,
				 image->tally_count ? image->tally_count : 1);
	recent_configure(skeleton, image);
	bpf_map__set_max_entries(skeleton->maps.buckets, hashlimit_groups(image));
	bpf_map__set_max_entries(skeleton->maps.devices, image->device_count);
}

struct filter_bpf *ruleset_open(void)
{
	return filter_bpf__open();
}

int ruleset_load(struct filter_bpf *skeleton, const struct image *image)
{
	struct table tables[TABLES];
	int err;

	configure(skeleton, image);
	list_tables(image, skeleton, tables);
	size_tables(tables);
	err = filter_bpf__load(skeleton);
	for (size_t i = 0; i < TABLES && !err; i++)
		err = fill_table(&tables[i]);
	err = err ? err : fill_counters(image, skeleton);
	err = err ? err : fill_tallies(image, skeleton);
	err = err ? err : recent_fill(skeleton, image);
	return err ? err : fill_devices(image, skeleton);
}
