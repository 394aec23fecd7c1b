/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "filter/inforce.h"
#include "filter/pins.h"
#include "util.h"

#define PROGRAM_MAPS 64

/* The program of the family's ruleset at TC, where there is one for every hook. */
static int open_program(uint8_t family)
{
	const uint32_t stage = family == AF_INET6 ? FILTER_STAGE_IPV6 : FILTER_STAGE_IPV4;
	_cleanup_close_ int pins = pins_open(false), stages = -1;
	uint32_t id;

	if (pins < 0)
		return pins;
	stages = pins_get(pins, "stages_tc");
	if (stages < 0)
		return stages;
	if (bpf_map_lookup_elem(stages, &stage, &id))
		return -ENOENT;
	return bpf_prog_get_fd_by_id(id);
}

/* A map of the program by its name. A family without rules has a program that has none. */
static int open_map(int program, const char *name, struct bpf_map_info *info)
{
	uint32_t ids[PROGRAM_MAPS], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info program_info = { .map_ids = (uintptr_t)ids,
					      .nr_map_ids = PROGRAM_MAPS };
	int err = bpf_prog_get_info_by_fd(program, &program_info, &len);

	for (uint32_t i = 0; !err && i < program_info.nr_map_ids && i < PROGRAM_MAPS; i++) {
		_cleanup_close_ int map = bpf_map_get_fd_by_id(ids[i]);

		len = sizeof(*info);
		memset(info, 0, len);
		if (map >= 0 && !bpf_map_get_info_by_fd(map, info, &len) &&
		    !strcmp(info->name, name))
			return take_fd(&map);
	}
	return err ? err : -ENOENT;
}

static int read_text(struct in_force *in_force, int program)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = open_map(program, "text", &info);
	const char *memory;
	size_t size;

	if (map < 0)
		return map;
	size = (size_t)info.max_entries * info.value_size;
	memory = mmap(NULL, size, PROT_READ, MAP_SHARED, map, 0);
	if (memory == MAP_FAILED)
		return -errno;
	in_force->size = strnlen(memory, size); /* it is padded by zeros */
	in_force->text = strndup(memory, in_force->size);
	munmap((void *)memory, size);
	return in_force->text ? 0 : -ENOMEM;
}

static void add_up(struct filter_counter *sum, const struct filter_counter *each, int cpus)
{
	for (int cpu = 0; cpu < cpus; cpu++) {
		sum->packets += each[cpu].packets;
		sum->bytes += each[cpu].bytes;
	}
}

static int read_counters(struct in_force *in_force, int program)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = open_map(program, "counters", &info);
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct filter_counter *each = NULL;

	if (map < 0 || cpus < 0)
		return map < 0 ? map : cpus;
	each = calloc((size_t)cpus, sizeof(*each));
	in_force->counters = calloc(info.max_entries, sizeof(*in_force->counters));
	if (!each || !in_force->counters)
		return -ENOMEM;
	in_force->counter_count = info.max_entries;
	for (uint32_t i = 0; i < info.max_entries; i++) {
		if (bpf_map_lookup_elem(map, &i, each))
			return -errno;
		add_up(&in_force->counters[i], each, cpus);
	}
	return 0;
}

int in_force_read(struct in_force *in_force, uint8_t family)
{
	_cleanup_close_ int program = open_program(family);
	int err = program < 0 ? program : 0;

	memset(in_force, 0, sizeof(*in_force));
	err = err ? err : read_text(in_force, program);
	return err ? err : read_counters(in_force, program);
}

void in_force_free(struct in_force *in_force)
{
	free(in_force->text);
	free(in_force->counters);
	memset(in_force, 0, sizeof(*in_force));
}

int in_force_zero(uint8_t family)
{
	_cleanup_close_ int program = open_program(family), map = -1;
	_cleanup_free_ struct filter_counter *zeros = NULL;
	int cpus = libbpf_num_possible_cpus();
	struct bpf_map_info info = { 0 };

	if (program < 0 || cpus < 0)
		return program < 0 ? program : cpus;
	map = open_map(program, "counters", &info);
	if (map < 0)
		return map;
	zeros = calloc((size_t)cpus, sizeof(*zeros));
	if (!zeros)
		return -ENOMEM;
	for (uint32_t i = 0; i < info.max_entries; i++)
		if (bpf_map_update_elem(map, &i, zeros, BPF_EXIST))
			return -errno;
	return 0;
}
