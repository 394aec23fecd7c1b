/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "filter/copy.h"
#include "filter/inforce.h"
#include "filter/pins.h"
#include "filter/set_stage.h"
#include "util.h"

/* ---- Maps -------------------------------------------------------------------------------- */

/* What a copy writes to, or calls by: it has its own. */
static bool is_own(const char *name)
{
	static const char *const own[] = { "stages_xdp", "stages_tc", "next_stage",
					   "walks",      "counters",  "log_events",
					   "log_state",  "trace",     "text" };

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
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int counters = in_force_map(program, "counters", 0, &info);

	if (counters < 0)
		return counters;
	bpf_map__set_max_entries(filter->maps.counters, info.max_entries);
	bpf_map__set_max_entries(filter->maps.trace, FILTER_TRACES);
	bpf_map__set_max_entries(filter->maps.log_events, (uint32_t)sysconf(_SC_PAGESIZE));
	return 0;
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

static int open_track(struct copy *copy, uint8_t family)
{
	const struct filter_bpf *filter = copy->filter;
	struct track *track = &copy->track;

	track->family_stage = family == AF_INET6 ? FILTER_STAGE_IPV6 : FILTER_STAGE_IPV4;
	if (!filter->rodata->is_tracked)
		return 0;
	track->judge_tc = filter->rodata->own_stages[0];
	track->judge_xdp = filter->rodata->own_stages[1];
	track->skeleton = track_bpf__open();
	if (!track->skeleton)
		return -errno;
	track->skeleton->rodata->is_ipv6 = family == AF_INET6;
	track->skeleton->rodata->judge_stages[0] = track->judge_tc;
	track->skeleton->rodata->judge_stages[1] = track->judge_xdp;
	return 0;
}

/* Sets are looked up as they are; nothing that is blocked here is counted. */
static int fill_sets(const struct filter_bpf *filter, const struct set_store *sets, uint8_t family)
{
	const struct set_stage_maps maps = { bpf_map__fd(filter->maps.stages_xdp),
					     bpf_map__fd(filter->maps.stages_tc),
					     bpf_map__fd(filter->maps.filtered),
					     bpf_map__fd(filter->maps.walks) };
	struct set_store uncounted;

	if (!sets)
		return 0;
	uncounted = *sets;
	uncounted.counts_fd = -1;
	return set_stage_fill(&uncounted, &maps, family, SET_STAGE_LOOKUP | SET_STAGE_BLOCK);
}

static int load(struct copy *copy, int program, uint8_t family, const struct copy_place *place,
		const struct set_store *sets)
{
	struct filter_bpf *filter = copy->filter;
	_cleanup_close_ int pins = pins_open(false);
	int err = pins < 0 ? pins : copy_constants(filter, program);

	if (err)
		return err;
	filter->rodata->tracing = true;
	filter->rodata->assumed_in = place->in;
	filter->rodata->assumed_out = place->out;
	err = reuse_maps(filter->obj, program);
	err = err ? err : size_maps(filter, program);
	err = err ? err : open_track(copy, family);
	err = err ? err : filter_bpf__load(filter);
	err = err ? err : track_load(&copy->track, filter, pins);
	err = err ? err : fill_sets(filter, sets, family);
	return err ? err : track_swap(&copy->track, filter);
}

/* The program that judges, while it has this generation. */
static int open_program(uint8_t family, uint32_t generation)
{
	const uint32_t stage = family == AF_INET6 ? FILTER_STAGE_IPV6 : FILTER_STAGE_IPV4;
	_cleanup_close_ int pins = pins_open(false), stages = -1;
	uint32_t slot, now = 0;
	int err;

	if (pins < 0)
		return pins;
	err = in_force_generation(pins, family, &now);
	if (err || now != generation)
		return err ? err : -EAGAIN;
	stages = pins_get(pins, "stages_tc");
	return stages < 0 ? stages : in_force_program(stages, stage, &slot);
}

int copy_open(struct copy *copy, uint8_t family, uint32_t generation,
	      const struct copy_place *place)
{
	_cleanup_close_ int program = open_program(family, generation);
	struct set_store sets;
	bool has_sets;
	int err;

	memset(copy, 0, sizeof(*copy));
	if (program < 0)
		return program;
	bpf_log_take();
	copy->filter = filter_bpf__open();
	if (!copy->filter)
		return -errno;
	has_sets = !set_store_open(&sets, false); /* before the pins: whoever loads does so, too */
	err = load(copy, program, family, place, has_sets ? &sets : NULL);
	if (has_sets)
		set_store_close(&sets);
	if (err)
		copy_close(copy);
	return err;
}

void copy_close(struct copy *copy)
{
	track_close(&copy->track);
	filter_bpf__destroy(copy->filter);
	copy->filter = NULL;
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

/* What the policies have decided about so far; -errno */
static int64_t count_policies(const struct copy *copy)
{
	const struct bpf_map *counters = copy->filter->maps.counters;
	uint32_t index = bpf_map__max_entries(counters) - CHAIN_BUILTIN;
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct filter_counter *each = NULL;
	int64_t packets = 0;

	each = cpus < 0 ? NULL : calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	for (; index < bpf_map__max_entries(counters); index++) {
		if (bpf_map_lookup_elem(bpf_map__fd(counters), &index, each))
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			packets += (int64_t)each[cpu].packets;
	}
	return packets;
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
	int64_t before = count_policies(copy), after;
	int err = before < 0 ? (int)before : clear_walks(copy);

	memset(answer, 0, sizeof(*answer));
	err = err ? err : run_program(copy, place, frame, size, &answer->drops);
	err = err ? err : read_walk(copy, &answer->walk);
	err = err ? err : read_met(copy, answer);
	after = err ? err : count_policies(copy);
	answer->by_policy = after > before;
	return after < 0 ? (int)after : err;
}
