/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "filter.skel.h"
#include "filter/inforce.h"
#include "filter/pins.h"
#include "log.h"
#include "filter/swap.h"
#include "util.h"

#define PROGRAM_MAPS 64

/* The kernel cuts names short; the constants' map is named after the object. */
static bool is_map(const struct bpf_map_info *info, const char *name)
{
	const char *suffix = *name == '.' ? strchr(info->name, '.') : info->name;

	return suffix && !strncmp(suffix, name, BPF_OBJ_NAME_LEN - 1);
}

int in_force_map(int program, const char *name, uint32_t value_size, struct bpf_map_info *info)
{
	uint32_t ids[PROGRAM_MAPS], len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info program_info = { .map_ids = (uintptr_t)ids,
					      .nr_map_ids = PROGRAM_MAPS };
	int err = bpf_prog_get_info_by_fd(program, &program_info, &len);

	for (uint32_t i = 0; !err && i < program_info.nr_map_ids && i < PROGRAM_MAPS; i++) {
		_cleanup_close_ int map = bpf_map_get_fd_by_id(ids[i]);

		len = sizeof(*info);
		memset(info, 0, len);
		if (map >= 0 && !bpf_map_get_info_by_fd(map, info, &len) && is_map(info, name) &&
		    (!value_size || info->value_size == value_size))
			return take_fd(&map);
	}
	return err ? err : -ENOENT;
}

static int program_at(int stages, uint32_t stage)
{
	uint32_t id;

	return bpf_map_lookup_elem(stages, &stage, &id) ? -ENOENT : bpf_prog_get_fd_by_id(id);
}

int in_force_program(int pins, uint8_t family)
{
	const bool is_ipv6 = family == AF_INET6;
	_cleanup_close_ int stages = pins_get(pins, "stages_tc"), turns = -1;
	uint32_t turn;
	int judge;

	if (stages < 0)
		return stages;
	turns = pins_get(pins, "turns");
	if (turns < 0)
		return turns == -ENOENT ? -EPROTO : turns;
	turn = swap_turn(turns, is_ipv6);
	judge = program_at(stages, FILTER_JUDGE_STAGE(is_ipv6, turn));
	return judge == -ENOENT ? program_at(stages, FILTER_RULES_STAGE(is_ipv6, turn)) : judge;
}

int in_force_counter(int pins, uint8_t family)
{
	const bool is_ipv6 = family == AF_INET6;
	_cleanup_close_ int stages = pins_get(pins, "stages_tc");
	_cleanup_close_ int turns = pins_get(pins, "turns");

	if (stages < 0 || turns < 0)
		return stages < 0 ? stages : turns;
	return program_at(stages, FILTER_COUNT_STAGE(is_ipv6, swap_turn(turns, is_ipv6)));
}

static int open_program(uint8_t family)
{
	_cleanup_close_ int pins = pins_open(false);

	return pins < 0 ? pins : in_force_program(pins, family);
}

static int read_text(struct in_force *in_force, int program)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = in_force_map(program, "text", 0, &info);
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
	_cleanup_close_ int map = in_force_map(program, "counters", 0, &info);
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

static int read_generation(int program, uint32_t *generation)
{
	const uint32_t zero = 0;
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int map = in_force_map(program, ".rodata", 0, &info);
	_cleanup_free_ struct filter_bpf__rodata *constants = NULL;

	if (map < 0)
		return map;
	/* Tables of the program's own may be behind the record; it ends in a gap that may be missing. */
	if (info.value_size + _Alignof(struct filter_bpf__rodata) <= sizeof(*constants))
		return -EPROTO; /* another version has loaded it */
	constants = malloc(info.value_size + sizeof(*constants));
	if (!constants)
		return -ENOMEM;
	if (bpf_map_lookup_elem(map, &zero, constants))
		return -errno;
	*generation = constants->generation;
	return 0;
}

int in_force_generation(int pins, uint8_t family, uint32_t *generation)
{
	_cleanup_close_ int program = in_force_program(pins, family);
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int text = program < 0 ? program : in_force_map(program, "text", 0, &info);

	*generation = 0;
	if (text < 0)
		return text == -ENOENT ? 0 : text;
	return read_generation(program, generation);
}

int in_force_read(struct in_force *in_force, uint8_t family)
{
	_cleanup_close_ int program = open_program(family);
	int err = program < 0 ? program : 0;

	memset(in_force, 0, sizeof(*in_force));
	err = err ? err : read_text(in_force, program);
	err = err ? err : read_counters(in_force, program);
	return err ? err : read_generation(program, &in_force->generation);
}

void in_force_free(struct in_force *in_force)
{
	free(in_force->text);
	free(in_force->counters);
	memset(in_force, 0, sizeof(*in_force));
}

static void take_counters(struct ruleset *ruleset, const struct in_force *in_force)
{
	const struct filter_counter *policies = in_force->counters + ruleset->rule_count;

	if (in_force->counter_count != ruleset->rule_count + CHAIN_BUILTIN)
		return;
	for (uint32_t i = 0; i < ruleset->rule_count; i++) {
		ruleset->rules[i].packets = in_force->counters[i].packets;
		ruleset->rules[i].bytes = in_force->counters[i].bytes;
	}
	for (uint32_t i = 0; i < CHAIN_BUILTIN; i++) {
		ruleset->chains[i].packets = policies[i].packets;
		ruleset->chains[i].bytes = policies[i].bytes;
	}
}

int in_force_parse(const struct in_force *in_force, uint8_t family,
		   const struct ruleset_report *report, struct ruleset *ruleset)
{
	int err = ruleset_parse(ruleset, in_force->text, in_force->size, family, report);

	if (!err)
		take_counters(ruleset, in_force);
	return err;
}

int in_force_interfaces(struct in_force_interface *interfaces, int max)
{
	_cleanup_close_ int pins = pins_open(false), filtered = -1;
	uint32_t ifindex, *previous = NULL;
	int count = 0;

	if (pins < 0)
		return pins;
	filtered = pins_get(pins, "filtered");
	if (filtered < 0)
		return filtered;
	for (; count < max && !bpf_map_get_next_key(filtered, previous, &ifindex); count++) {
		struct filter_port port = { 0 };

		bpf_map_lookup_elem(filtered, &ifindex, &port);
		interfaces[count] =
			(struct in_force_interface){ ifindex, port.judged, port.xdp_program != 0 };
		previous = &ifindex;
	}
	return count;
}

int in_force_zero(uint8_t family)
{
	_cleanup_close_ int program = open_program(family), map = -1;
	_cleanup_free_ struct filter_counter *zeros = NULL;
	int cpus = libbpf_num_possible_cpus();
	struct bpf_map_info info = { 0 };

	if (program < 0 || cpus < 0)
		return program < 0 ? program : cpus;
	map = in_force_map(program, "counters", 0, &info);
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

void in_force_explain(int err)
{
	if (err == -ENOENT)
		log_error("no filter is in force in this network namespace: bpfw filter load FILE");
	else if (err == -EPROTO)
		log_error("another version of bpfw has loaded the filter: load it again");
	else
		log_error("cannot look at the filter in force: %s%s", strerror(-err),
			  err == -EPERM || err == -EACCES ? "; it takes root" : "");
}
