/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "filter/pins.h"
#include "filter/set_stage.h"
#include "filter_layout.h"
#include "log.h"
#include "sets.skel.h"
#include "util.h"

struct slot {
	unsigned int of; /* enum set_stage_programs */
	uint32_t stage;
	struct bpf_program *xdp, *tc;
};

#define SLOTS 3

static void list_slots(const struct sets_bpf *skeleton, struct slot slots[SLOTS])
{
	slots[0] = (struct slot){ SET_STAGE_LOOKUP, FILTER_STAGE_SETS, skeleton->progs.sets_xdp,
				  skeleton->progs.sets_tc };
	slots[1] = (struct slot){ SET_STAGE_CHANGE, FILTER_STAGE_CHANGES,
				  skeleton->progs.change_xdp, skeleton->progs.change_tc };
	slots[2] = (struct slot){ SET_STAGE_BLOCK, FILTER_STAGE_BLOCKS, skeleton->progs.block_xdp,
				  skeleton->progs.block_tc };
}

static int use_sets(const struct sets_bpf *skeleton, const struct set_store *store)
{
	const struct {
		struct bpf_map *map;
		int fd;
	} used[] = {
		{ skeleton->maps.set_info, store->info_fd },
		{ skeleton->maps.set_cells, store->slots_fd[SET_SLOT_CELLS] },
		{ skeleton->maps.set_hash, store->slots_fd[SET_SLOT_HASH] },
		{ skeleton->maps.set_trie, store->slots_fd[SET_SLOT_TRIE] },
		{ skeleton->maps.block_counts, store->counts_fd },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(used) && !err; i++)
		err = bpf_map__reuse_fd(used[i].map, used[i].fd);
	return err;
}

static int load_and_fill(struct sets_bpf *skeleton, const struct set_store *store,
			 const struct shared_maps *maps, uint8_t family, unsigned int programs)
{
	struct slot slots[SLOTS];
	int err;

	list_slots(skeleton, slots);
	skeleton->rodata->is_ipv6 = family == AF_INET6;
	for (size_t i = 0; i < SLOTS; i++) {
		bpf_program__set_autoload(slots[i].xdp, programs & slots[i].of);
		bpf_program__set_autoload(slots[i].tc, programs & slots[i].of);
		slots[i].stage += family == AF_INET6;
	}
	err = shared_maps_use(maps, skeleton->obj);
	err = err ? err : use_sets(skeleton, store);
	err = err ? err : sets_bpf__load(skeleton);
	for (size_t i = 0; i < SLOTS && !err; i++) {
		if (programs & slots[i].of)
			err = shared_maps_set_stage(maps, slots[i].stage, slots[i].xdp,
						    slots[i].tc);
	}
	return err;
}

int set_stage_fill(const struct set_store *store, const struct shared_maps *maps, uint8_t family,
		   unsigned int programs)
{
	struct sets_bpf *skeleton;
	int err;

	if (!programs)
		return 0;
	bpf_log_take();
	skeleton = sets_bpf__open();
	if (!skeleton)
		return -errno;
	err = load_and_fill(skeleton, store, maps, family, programs);
	sets_bpf__destroy(skeleton);
	return err;
}

static bool is_filled(int stages, uint32_t stage)
{
	uint32_t id;

	return !bpf_map_lookup_elem(stages, &stage, &id);
}

int set_stage_block(const struct set_store *store, uint8_t family)
{
	const uint32_t stage = FILTER_STAGE_BLOCKS + (family == AF_INET6);
	_cleanup_close_ int pins = pins_open(false);
	_cleanup_close_ int xdp = pins < 0 ? pins : pins_get(pins, "stages_xdp");
	_cleanup_close_ int tc = pins < 0 ? pins : pins_get(pins, "stages_tc");
	_cleanup_close_ int turns = pins < 0 ? pins : pins_get(pins, "turns");
	_cleanup_close_ int filtered = pins < 0 ? pins : pins_get(pins, "filtered");
	_cleanup_close_ int walks = pins < 0 ? pins : pins_get(pins, "walks");
	const struct shared_maps maps = { xdp, tc, turns, filtered, walks };
	int err;

	if (xdp < 0 || tc < 0 || turns < 0 || filtered < 0 || walks < 0)
		return 0;
	if (is_filled(xdp, stage) && is_filled(tc, stage))
		return 0;
	err = set_stage_fill(store, &maps, family, SET_STAGE_BLOCK);
	if (err)
		log_error("cannot put the block list in force: %s", strerror(-err));
	return err;
}
