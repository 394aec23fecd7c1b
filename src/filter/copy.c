/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "filter/copy.h"
#include "filter/inforce.h"
#include "filter/load.h"
#include "filter/pins.h"
#include "filter/recent.h"
#include "filter/set_stage.h"
#include "filter/swap.h"
#include "util.h"

/* ---- Maps -------------------------------------------------------------------------------- */

/* What a copy writes to, or calls by: it has its own. */
static bool is_own(const char *name)
{
	static const char *const own[] = { "stages_xdp", "stages_tc",  "turns",     "next_stage",
					   "walks",      "counters",   "tallies",   "buckets",
					   "locks",      "log_events", "log_state", "trace",
					   "recents",    "text" };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (!strcmp(name, own[i]))
			return true;
	return false;
}

static int reuse_map(struct bpf_map *map, int program)
{
	struct bpf_map_info info = { 0 };
	const char *name = bpf_map__name(map);
	_cleanup_close_ int fd = -1;

	if (bpf_map__is_internal(map) || is_own(name))
		return 0;
	fd = in_force_map(program, name, bpf_map__value_size(map), &info);
	if (fd == -ENOENT) /* the value is as large as the ruleset needs it */
		fd = in_force_map(program, name, 0, &info);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd; /* the program does not use it */
	return bpf_map__reuse_fd(map, fd);
}

static int reuse_maps(const struct bpf_object *object, int program)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map(map, object) {
		err = reuse_map(map, program);
		if (err)
			break;
	}
	return err;
}

/* The maps of its own are as large as those in force. */
static int size_maps(const struct filter_bpf *filter, int program)
{
	struct bpf_map *const maps[] = { filter->maps.counters, filter->maps.tallies,
					 filter->maps.buckets, filter->maps.locks,
					 filter->maps.recents };

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		struct bpf_map_info info = { 0 };
		_cleanup_close_ int map = in_force_map(program, bpf_map__name(maps[i]), 0, &info);

		if (map < 0)
			return map;
		bpf_map__set_max_entries(maps[i], info.max_entries);
		if (maps[i] == filter->maps.recents)
			bpf_map__set_value_size(maps[i], info.value_size);
	}
	bpf_map__set_max_entries(filter->maps.trace, FILTER_TRACES);
	bpf_map__set_max_entries(filter->maps.log_events, (uint32_t)sysconf(_SC_PAGESIZE));
	return 0;
}

/*
 * The values of a map of the same kind, as they are now. From a key that goes meanwhile the way leads
 * back to the first: there are as many steps as keys, lest a flood of new ones keeps it going.
 */
static int copy_values(const struct bpf_map *map, int from)
{
	const size_t key_size = bpf_map__key_size(map);
	_cleanup_free_ char *key = malloc(key_size), *next = malloc(key_size);
	_cleanup_free_ char *value = malloc(bpf_map__value_size(map));
	uint32_t left = bpf_map__max_entries(map);
	bool more;

	if (!key || !next || !value)
		return -ENOMEM;
	more = !bpf_map_get_next_key(from, NULL, next);
	for (; more && left; left--) {
		memcpy(key, next, key_size);
		/* What is gone by now is left out. */
		if (!bpf_map_lookup_elem(from, key, value) &&
		    bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY))
			return -errno;
		more = !bpf_map_get_next_key(from, key, next);
	}
	return 0;
}

/* Where limits stand. */
static int copy_state(const struct filter_bpf *filter, int program)
{
	const struct bpf_map *const maps[] = { filter->maps.tallies, filter->maps.buckets,
					       filter->maps.recents };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps) && !err; i++) {
		struct bpf_map_info info = { 0 };
		_cleanup_close_ int from = in_force_map(program, bpf_map__name(maps[i]), 0, &info);

		err = from < 0 ? from : copy_values(maps[i], from);
	}
	/* Packets may have changed links of a table while it was copied: they are made anew. */
	return err ? err : recent_take_over(filter, program);
}

/* The connections that were counted so far; `counter` counts in force. */
static int copy_counted(const struct copy *copy, int counter)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int from = in_force_map(counter, "connections", 0, &info);

	return from < 0 ? from : copy_values(copy->connlimit.skeleton->maps.connections, from);
}

/*
 * What has been learnt of connections that conntrack tells nobody about. The lock on the pins is
 * given back: who has that on sets may be waiting for it.
 */
static int copy_learnt(const struct track *track)
{
	_cleanup_close_ int pins = pins_open(false);
	int err = pins < 0 ? pins : 0;

	for (size_t i = 0; track->skeleton && i < 2 && !err; i++) {
		const struct bpf_map *map = i ? track->skeleton->maps.fragments :
						track->skeleton->maps.others;
		_cleanup_close_ int from = pins_get(pins, bpf_map__name(map));

		if (from != -ENOENT)
			err = from < 0 ? from : copy_values(map, from);
	}
	return err;
}

static int copy_constants(const struct filter_bpf *filter, int program)
{
	const uint32_t zero = 0;
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = in_force_map(program, ".rodata", 0, &info);
	size_t size = 0;
	void *constants = bpf_map__initial_value(filter->maps.rodata, &size);

	if (map < 0)
		return map;
	if (!constants || info.value_size != size)
		return -EPROTO;
	return bpf_map_lookup_elem(map, &zero, constants) ? -errno : 0;
}

/* ---- Opening ------------------------------------------------------------------------------- */

/* The turn that the programs in force are for. */
static uint32_t own_turn(const struct filter_bpf *filter, bool is_ipv6)
{
	const int stage = (int)filter->rodata->own_stage;

	return stage == FILTER_RULES_STAGE(is_ipv6, 1) || stage == FILTER_JUDGE_STAGE(is_ipv6, 1);
}

static int open_track(struct copy *copy, uint8_t family)
{
	const struct filter_bpf *filter = copy->filter;
	struct track *track = &copy->track;

	track->is_ipv6 = family == AF_INET6;
	track->turn = own_turn(filter, track->is_ipv6);
	if (!filter->rodata->is_tracked)
		return 0;
	track->skeleton = track_skeleton();
	if (!track->skeleton)
		return -errno;
	track->skeleton->rodata->is_ipv6 = track->is_ipv6;
	track->skeleton->rodata->judge_stage = filter->rodata->own_stage;
	track->skeleton->rodata->used_tuples = filter->rodata->used_operations &
					       UINT64_C(1) << FILTER_OP_CONNLIMIT;
	return 0;
}

/* ---- Sets ------------------------------------------------------------------------------------ */

/* What looks up, but nothing that changes; what the block list drops is counted here. */
static int fill_sets(struct copy *copy, const struct set_store *store, uint8_t family)
{
	const struct filter_bpf *filter = copy->filter;
	const struct shared_maps maps = shared_maps_of(filter);
	struct set_store ours = *store;
	unsigned int programs = 0;

	if (filter->rodata->used_operations & UINT64_C(1) << FILTER_OP_SET)
		programs |= SET_STAGE_LOOKUP;
	if (set_has_block_list(store, family))
		programs |= SET_STAGE_BLOCK;
	copy->blocked = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "block_counts", sizeof(uint32_t),
				       sizeof(struct filter_counter), SET_FIRST, NULL);
	if (copy->blocked < 0)
		return copy->blocked;
	ours.counts_fd = copy->blocked;
	return set_stage_fill(&ours, &maps, family, programs);
}

static int load_sets(struct copy *copy, uint8_t family)
{
	struct set_store store;
	int err = set_store_open(&store, false);

	if (err)
		return err == -ENOENT ? 0 : err;
	err = fill_sets(copy, &store, family);
	set_store_close(&store);
	return err;
}

/* ---- Loading -------------------------------------------------------------------------------- */

/* The programs in force; `counter` is -ENOENT where no rule counts connections. */
struct programs {
	int judge, counter;
};

static void programs_close(const struct programs *programs)
{
	cleanup_close(&programs->judge);
	cleanup_close(&programs->counter);
}

#define _cleanup_programs_ __attribute__((cleanup(programs_close)))

static int load_counter(struct copy *copy, int counter)
{
	int err;

	if (counter < 0)
		return 0;
	err = connlimit_load_copy(&copy->connlimit, &copy->track, copy->filter, counter);
	return err ? err : copy_counted(copy, counter);
}

static int load(struct copy *copy, const struct programs *programs, uint8_t family,
		const struct copy_place *place)
{
	const int program = programs->judge;
	struct filter_bpf *filter = copy->filter;
	int err = copy_constants(filter, program);

	if (err)
		return err;
	filter->rodata->tracing = true;
	filter->rodata->assumed_in = place->in;
	filter->rodata->assumed_out = place->out;
	err = reuse_maps(filter->obj, program);
	err = err ? err : size_maps(filter, program);
	err = err ? err : open_track(copy, family);
	err = err ? err : filter_bpf__load(filter);
	err = err ? err : copy_state(filter, program);
	err = err ? err : track_load(&copy->track, filter, TRACK_APART);
	err = err ? err : copy_learnt(&copy->track);
	err = err ? err : load_counter(copy, programs->counter);
	err = err ? err : swap_in(filter, &copy->track, &copy->connlimit);
	return err ? err : load_sets(copy, family);
}

/* What judges and counts, while it has this generation. Returns 0 or -errno. */
static int open_programs(struct programs *programs, uint8_t family, uint32_t generation)
{
	_cleanup_close_ int pins = pins_open(false);
	uint32_t now = 0;
	int err;

	if (pins < 0)
		return pins;
	err = in_force_generation(pins, family, &now);
	if (err || now != generation)
		return err ? err : -EAGAIN;
	programs->judge = in_force_program(pins, family);
	if (programs->judge < 0)
		return programs->judge;
	programs->counter = in_force_counter(pins, family);
	return programs->counter < 0 && programs->counter != -ENOENT ? programs->counter : 0;
}

int copy_open(struct copy *copy, uint8_t family, uint32_t generation,
	      const struct copy_place *place)
{
	_cleanup_programs_ struct programs programs = { -1, -1 };
	int err = open_programs(&programs, family, generation);

	memset(copy, 0, sizeof(*copy));
	copy->blocked = -1;
	if (err)
		return err;
	bpf_log_take();
	copy->filter = ruleset_open();
	if (!copy->filter)
		return -errno;
	err = load(copy, &programs, family, place);
	if (err)
		copy_close(copy);
	return err;
}

void copy_close(struct copy *copy)
{
	connlimit_close(&copy->connlimit);
	track_close(&copy->track);
	filter_bpf__destroy(copy->filter);
	copy->filter = NULL;
	if (copy->blocked >= 0)
		close(copy->blocked);
	copy->blocked = -1;
}

/* ---- Judging --------------------------------------------------------------------------------- */

/* The walk of the CPU that the program ran on; where it ran on none, all are zero. */
static int read_walk(const struct copy *copy, struct filter_walk *walk)
{
	const size_t stride = (sizeof(*walk) + 7) / 8 * 8; /* as the kernel copies values */
	const uint32_t zero = 0;
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ char *each = cpus < 0 ? NULL : calloc((size_t)cpus, stride);

	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	if (bpf_map_lookup_elem(bpf_map__fd(copy->filter->maps.walks), &zero, each))
		return -errno;
	memset(walk, 0, sizeof(*walk));
	for (int cpu = 0; cpu < cpus && !walk->l3; cpu++)
		memcpy(walk, each + (size_t)cpu * stride, sizeof(*walk));
	return 0;
}

/* Forget the packet before. */
static int clear_walks(const struct copy *copy)
{
	const size_t stride = (sizeof(struct filter_walk) + 7) / 8 * 8;
	const uint32_t zero = 0;
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ char *zeros = cpus < 0 ? NULL : calloc((size_t)cpus, stride);

	if (!zeros)
		return cpus < 0 ? cpus : -ENOMEM;
	return bpf_map_update_elem(bpf_map__fd(copy->filter->maps.walks), &zero, zeros, BPF_ANY) ?
		       -errno :
		       0;
}

/* The packets of counters from `first` on; -errno */
static int64_t count_packets(int map, uint32_t first, uint32_t count)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct filter_counter *each = NULL;
	int64_t packets = 0;

	each = cpus < 0 ? NULL : calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	for (uint32_t index = first; index < first + count; index++) {
		if (bpf_map_lookup_elem(map, &index, each))
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			packets += (int64_t)each[cpu].packets;
	}
	return packets;
}

/* What the policies have decided about so far */
static int64_t count_policies(const struct copy *copy)
{
	const struct bpf_map *counters = copy->filter->maps.counters;

	return count_packets(bpf_map__fd(counters), bpf_map__max_entries(counters) - CHAIN_BUILTIN,
			     CHAIN_BUILTIN);
}

static int64_t count_blocked(const struct copy *copy)
{
	return copy->blocked < 0 ? 0 : count_packets(copy->blocked, 0, SET_FIRST);
}

static int read_met(const struct copy *copy, struct copy_answer *answer)
{
	answer->met_count = answer->walk.met < FILTER_TRACES ? answer->walk.met :
							       (uint32_t)FILTER_TRACES;
	for (uint32_t i = 0; i < answer->met_count; i++)
		if (bpf_map_lookup_elem(bpf_map__fd(copy->filter->maps.trace), &i, &answer->met[i]))
			return -errno;
	return 0;
}

static int run_program(const struct copy *copy, const struct copy_place *place, const void *frame,
		       size_t size, bool *drops)
{
	const struct filter_bpf *filter = copy->filter;
	const struct bpf_program *entry = place->outgoing ? filter->progs.entry_tc_out :
					  place->xdp      ? filter->progs.entry_xdp :
							    filter->progs.entry_tc_in;
	const bool at_xdp = entry == filter->progs.entry_xdp;
	struct __sk_buff skb = { .mark = place->mark };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = (uint32_t)size,
		    .repeat = 1);
	int err;

	if (!at_xdp) {
		run.ctx_in = &skb;
		run.ctx_size_in = sizeof(skb);
	}
	err = bpf_prog_test_run_opts(bpf_program__fd(entry), &run);
	*drops = run.retval == (at_xdp ? 1u /* XDP_DROP */ : 2u /* TC_ACT_SHOT */);
	return err;
}

int copy_judge(const struct copy *copy, const struct copy_place *place, const void *frame,
	       size_t size, struct copy_answer *answer)
{
	const int64_t policies = count_policies(copy), blocked = count_blocked(copy);
	int err = policies < 0 || blocked < 0 ? -EIO : clear_walks(copy);

	memset(answer, 0, sizeof(*answer));
	err = err ? err : run_program(copy, place, frame, size, &answer->drops);
	err = err ? err : read_walk(copy, &answer->walk);
	err = err ? err : read_met(copy, answer);
	answer->by_policy = count_policies(copy) > policies;
	answer->blocked = count_blocked(copy) > blocked;
	return err;
}
