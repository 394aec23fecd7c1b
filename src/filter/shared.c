/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>

#include "filter/kept.h"
#include "filter/shared.h"
#include "util.h"

struct shared_maps shared_maps_of(const struct filter_bpf *filter)
{
	return (struct shared_maps){ .stages_xdp = bpf_map__fd(filter->maps.stages_xdp),
				     .stages_tc = bpf_map__fd(filter->maps.stages_tc),
				     .turns = bpf_map__fd(filter->maps.turns),
				     .filtered = bpf_map__fd(filter->maps.filtered),
				     .walks = bpf_map__fd(filter->maps.walks) };
}

int shared_maps_use(const struct shared_maps *maps, const struct bpf_object *object)
{
	const struct {
		const char *name;
		int fd;
	} shared[] = {
		{ "stages_xdp", maps->stages_xdp }, { "stages_tc", maps->stages_tc },
		{ "turns", maps->turns },           { "filtered", maps->filtered },
		{ "walks", maps->walks },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(shared) && !err; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(object, shared[i].name);

		err = map ? bpf_map__reuse_fd(map, shared[i].fd) : -ENOENT;
	}
	return err;
}

int shared_maps_set_stage(const struct shared_maps *maps, uint32_t stage,
			  const struct bpf_program *xdp, const struct bpf_program *tc)
{
	int err = kept_set_stage(maps->stages_xdp, stage, xdp);

	return err ? err : kept_set_stage(maps->stages_tc, stage, tc);
}
