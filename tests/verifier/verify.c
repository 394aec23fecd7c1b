/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * verify OBJECT: give every program of a BPF object to the verifier of the running kernel, with
 * every combination of the boolean constants that choose between ways, and print what it cost.
 *
 * A line for each load, its fields separated by tabs: the program, the constants that are true
 * (or "none"), the instructions that the verifier processed, and those of the program as the
 * kernel has rewritten it. Where the kernel refuses, the two numbers are "refused", and the
 * verifier's log is on stderr. Where it lacks what the object needs, they are "lacking" and
 * what that is.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter_layout.h"

#define MAX_SWITCHES 8
#define LOG_SIZE (1 << 20)
#define LOG_STATISTICS 4 /* BPF_LOG_STATS: one line in the end, and why a program is refused */

#define ENOTSUPP 524 /* the kernel's own: <linux/errno.h> */

/* What the daemon sets before loading and is 0 in the object: masks, seeds, sizes */
#define NUMBER 0x1fff

/* Tables of xt_recent's, as large as they are where nobody has said otherwise. */
#define RECENT_SLOTS 100
#define RECENT_CHAINS 256
#define RECENT_STAMPS 32
#define RECENT_SIZE                                                     \
	(sizeof(struct filter_recent) + RECENT_CHAINS * sizeof(__u32) + \
	 RECENT_SLOTS * FILTER_RECENT_SLOT_SIZE(RECENT_STAMPS))

struct switches {
	size_t count;
	const char *name[MAX_SWITCHES];
	uint32_t offset[MAX_SWITCHES];
};

static char verifier_log[LOG_SIZE];
static bool calls_kernel; /* the object calls functions of the kernel; */
static char lacking[128]; /* what it needs of them and this kernel has not, empty: nothing */

static int say_nothing(enum libbpf_print_level level __attribute__((unused)),
		       const char *format __attribute__((unused)),
		       va_list args __attribute__((unused)))
{
	return 0;
}

static void die(const char *what, const char *object)
{
	fprintf(stderr, "verify: %s: %s (%s)\n", object, what, strerror(errno));
	exit(1);
}

/* ---- Functions of the kernel -------------------------------------------------------------- */

static bool has_function(const struct btf *btf, const char *name)
{
	return btf && btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
}

/* Those of conntrack may be in a module. */
static void look_for(const struct btf *ours, const struct btf_type *section)
{
	const struct btf_var_secinfo *info = btf_var_secinfos(section);
	struct btf *kernel = btf__load_vmlinux_btf();
	struct btf *module = kernel ? btf__load_module_btf("nf_conntrack", kernel) : NULL;

	if (!kernel)
		snprintf(lacking, sizeof(lacking), "the kernel has no BTF");
	for (size_t i = 0; i < btf_vlen(section) && !lacking[0]; i++) {
		const struct btf_type *type = btf__type_by_id(ours, info[i].type);
		const char *name = btf__name_by_offset(ours, type->name_off);

		if (btf_is_func(type) && !has_function(kernel, name) && !has_function(module, name))
			snprintf(lacking, sizeof(lacking), "the kernel has no %s()", name);
	}
	btf__free(module);
	btf__free(kernel);
}

/* Those that the object calls, whichever of its programs does. libbpf's own copy has lost them. */
static void find_lacking(const char *path)
{
	struct btf *btf = btf__parse(path, NULL);
	int32_t id = btf ? btf__find_by_name_kind(btf, ".ksyms", BTF_KIND_DATASEC) : -1;

	calls_kernel = id > 0;
	if (calls_kernel)
		look_for(btf, btf__type_by_id(btf, (uint32_t)id));
	btf__free(btf);
}

/* ---- Constants ---------------------------------------------------------------------------- */

/* The constants that the daemon may set are volatile; tables of the compiler's are not. */
static const struct btf_type *setting_type(const struct btf *btf, uint32_t id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);
	bool is_volatile = false;

	while (btf_is_mod(type) || btf_is_typedef(type)) {
		is_volatile |= btf_is_volatile(type);
		type = btf__type_by_id(btf, type->type);
	}
	return is_volatile && btf_is_int(type) ? type : NULL;
}

/*
 * Those that choose between ways. The others stay false: what they add is little (tracing), or more
 * than an old kernel has (has_tai).
 */
static bool is_tried(const char *name)
{
	static const char *const tried[] = { "wide_access", "detect_partial", "is_ipv6",
					     "is_tracked", "used_tuples" };

	for (size_t i = 0; i < sizeof(tried) / sizeof(*tried); i++)
		if (!strcmp(name, tried[i]))
			return true;
	return false;
}

/* Masks of what a ruleset uses have all their bits. */
static uint64_t number_for(const char *name)
{
	static const struct {
		const char *name;
		uint64_t number;
	} sizes[] = {
		{ "recent_slots", RECENT_SLOTS },
		{ "recent_chains", RECENT_CHAINS },
		{ "recent_stamps", RECENT_STAMPS },
	};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (!strcmp(name, sizes[i].name))
			return sizes[i].number;
	return strncmp(name, "used_", strlen("used_")) ? NUMBER : UINT64_MAX;
}

/* What has a value in the object keeps it, but for the sizes. */
static void set_number(const char *name, uint8_t *value, uint32_t size)
{
	const uint64_t number = number_for(name);
	const uint8_t zero[sizeof(number)] = { 0 };

	if (size > sizeof(number) || (number == NUMBER && memcmp(value, zero, size)))
		return;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	memcpy(value, (const uint8_t *)&number + sizeof(number) - size, size);
#else
	memcpy(value, &number, size);
#endif
}

/* Find the switches, and give numbers a value. */
static struct switches read_settings(const struct btf *btf, uint8_t *rodata)
{
	int32_t id = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *section = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	const struct btf_var_secinfo *info = section ? btf_var_secinfos(section) : NULL;
	struct switches switches = { 0 };

	for (size_t i = 0; section && i < btf_vlen(section); i++) {
		const struct btf_type *variable = btf__type_by_id(btf, info[i].type);
		const struct btf_type *type = setting_type(btf, variable->type);

		if (!type)
			continue;
		if (!(btf_int_encoding(type) & BTF_INT_BOOL)) {
			set_number(btf__name_by_offset(btf, variable->name_off),
				   rodata + info[i].offset, info[i].size);
			continue;
		}
		if (!is_tried(btf__name_by_offset(btf, variable->name_off)))
			continue;
		if (switches.count == MAX_SWITCHES)
			die("more boolean constants than there is room for", ".rodata");
		switches.name[switches.count] = btf__name_by_offset(btf, variable->name_off);
		switches.offset[switches.count++] = info[i].offset;
	}
	return switches;
}

static void print_switches(const struct switches *switches, size_t combination)
{
	const char *separator = "";

	for (size_t i = 0; i < switches->count; i++) {
		if (!(combination >> i & 1))
			continue;
		printf("%s%s", separator, switches->name[i]);
		separator = ",";
	}
	if (!combination)
		printf("none");
}

/* ---- Loading ------------------------------------------------------------------------------ */

static unsigned long long processed(void)
{
	const char *line = strstr(verifier_log, "processed ");

	return line ? strtoull(line + strlen("processed "), NULL, 10) : 0;
}

static uint32_t translated(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return 0;
	return info.xlated_prog_len / (uint32_t)sizeof(struct bpf_insn);
}

static void print_costs(const struct bpf_program *program, int err)
{
	if (lacking[0]) {
		printf("\tlacking\t%s\n", lacking);
	} else if (calls_kernel && err == -ENOTSUPP) {
		printf("\tlacking\tthe kernel has no JIT that calls its functions\n");
	} else if (err) {
		printf("\trefused\trefused\n");
		fprintf(stderr, "%s: %s\n%s\n", bpf_program__name(program), strerror(-err),
			verifier_log);
	} else {
		printf("\t%llu\t%u\n", processed(), translated(bpf_program__fd(program)));
	}
}

static struct bpf_map *find_rodata(struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
		if (strstr(bpf_map__name(map), ".rodata"))
			return map;
	return NULL;
}

static void choose_program(struct bpf_object *object, const struct bpf_program *chosen)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, program == chosen);
}

/* Set the switches. Returns false when there is no such combination of them. */
static bool configure(struct bpf_object *object, size_t combination, struct switches *switches)
{
	struct bpf_map *map = find_rodata(object);
	struct bpf_map *recents = bpf_object__find_map_by_name(object, "recents");
	uint8_t *rodata = NULL;
	size_t size;

	if (map)
		rodata = bpf_map__initial_value(map, &size);
	if (rodata)
		*switches = read_settings(bpf_object__btf(object), rodata);
	if (recents)
		bpf_map__set_value_size(recents, RECENT_SIZE);
	for (size_t i = 0; i < switches->count; i++)
		rodata[switches->offset[i]] = combination >> i & 1;
	return !(combination >> switches->count);
}

/* Load one program with one combination. Returns false when there is no such combination. */
static bool verify(const char *path, const char *name, size_t combination)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct switches switches = { 0 };
	struct bpf_program *program;
	bool is_there;

	if (!object)
		die("cannot be read", path);
	is_there = configure(object, combination, &switches);
	if (is_there) {
		program = bpf_object__find_program_by_name(object, name);
		choose_program(object, program);
		verifier_log[0] = '\0';
		bpf_program__set_log_buf(program, verifier_log, sizeof(verifier_log));
		bpf_program__set_log_level(program, LOG_STATISTICS);
		printf("%s\t", name);
		print_switches(&switches, combination);
		print_costs(program, lacking[0] ? 0 : bpf_object__load(object));
	}
	bpf_object__close(object);
	return is_there;
}

int main(int argc, char **argv)
{
	struct bpf_object *object;
	struct bpf_program *program;

	if (argc != 2) {
		fprintf(stderr, "usage: verify OBJECT\n");
		return 2;
	}
	libbpf_set_print(say_nothing);
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		die("cannot be read", argv[1]);
	find_lacking(argv[1]);
	bpf_object__for_each_program(program, object) {
		size_t combination = 0;

		while (verify(argv[1], bpf_program__name(program), combination))
			combination++;
	}
	bpf_object__close(object);
	return 0;
}
