/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <errno.h>

#include "filter/kept.h"
#include "filter/pins.h"
#include "log.h"
#include "util.h"

static bool has_shape(const struct bpf_map *map, const struct bpf_map_info *info)
{
	return info->type == bpf_map__type(map) && info->key_size == bpf_map__key_size(map) &&
	       info->value_size == bpf_map__value_size(map) &&
	       info->max_entries == bpf_map__max_entries(map);
}

static int find_one(int pins, struct bpf_map *map)
{
	_cleanup_close_ int fd = pins_get(pins, bpf_map__name(map));
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	if (bpf_map_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (!has_shape(map, &info)) {
		log_error("another version of bpfw has loaded the filter in force, which stays: "
			  "'bpfw filter unload', then load again");
		return -EPROTO;
	}
	return bpf_map__reuse_fd(map, fd);
}

int kept_find(int pins, struct bpf_map *const maps[], size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = find_one(pins, maps[i]);
	return err;
}

int kept_pin(int pins, struct bpf_map *const maps[], size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		err = pins_put(pins, bpf_map__name(maps[i]), bpf_map__fd(maps[i]));
		err = err == -EEXIST ? 0 : err;
	}
	return err;
}

int kept_set_stage(int stages, uint32_t stage, const struct bpf_program *program)
{
	int fd = bpf_program__fd(program);

	return bpf_map_update_elem(stages, &stage, &fd, BPF_ANY);
}
