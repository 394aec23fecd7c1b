/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "filter.skel.h"
#include "filter/attach.h"
#include "filter/connlimit.h"
#include "filter/inforce.h"
#include "filter/kept.h"
#include "filter/load.h"
#include "filter/mark.h"
#include "filter/operations.h"
#include "filter/pins.h"
#include "filter/recent.h"
#include "filter/reject_stage.h"
#include "filter/set_stage.h"
#include "filter/stage.h"
#include "filter/swap.h"
#include "filter/track.h"
#include "log.h"
#include "util.h"

/* ---- Opening: the maps that outlive a ruleset --------------------------------------- */

#define KEPT_MAPS 8

static void list_kept(const struct filter_bpf *skeleton, struct bpf_map *maps[KEPT_MAPS])
{
	maps[0] = skeleton->maps.turns; /* where programs are pinned it is, too */
	maps[1] = skeleton->maps.stages_xdp;
	maps[2] = skeleton->maps.stages_tc;
	maps[3] = skeleton->maps.filtered;
	maps[4] = skeleton->maps.walks;
	maps[5] = skeleton->maps.next_stage;
	maps[6] = skeleton->maps.log_events;
	maps[7] = skeleton->maps.log_state;
}

/* Is any ruleset in force? */
static bool is_in_force(int pins)
{
	_cleanup_close_ int filtered = pins_get(pins, "filtered");
	uint32_t ifindex;

	return filtered >= 0 && !bpf_map_get_next_key(filtered, NULL, &ifindex);
}

/* ---- Loading and unloading ------------------------------------------------------------------ */

/* Kept with the program, in pieces: an array's value is limited on old kernels. */
static int keep_text(const struct filter_bpf *skeleton, const char *text, size_t size)
{
	const int programs[] = { bpf_program__fd(skeleton->progs.filter_xdp),
				 bpf_program__fd(skeleton->progs.filter_tc) };
	int map = bpf_map__fd(skeleton->maps.text), err = 0;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	if (memory == MAP_FAILED)
		return -errno;
	memcpy(memory, text, size);
	munmap(memory, size);
	for (size_t i = 0; i < ARRAY_SIZE(programs) && !err; i++)
		err = bpf_prog_bind_map(programs[i], map, NULL);
	return err;
}

/* Nobody else loads meanwhile: the pins are locked. */
static int check_replaced(int pins, uint8_t family, uint32_t replaces)
{
	uint32_t generation = 0;
	int err = replaces ? in_force_generation(pins, family, &generation) : 0;

	return err ? err : generation == replaces ? 0 : -EAGAIN;
}

/* What looks sets up for these rules is there before they are; the block list is for any rules. */
static int fill_sets(const struct filter_bpf *skeleton, const struct set_store *sets,
		     const struct image *image)
{
	const struct shared_maps maps = shared_maps_of(skeleton);
	const uint8_t other = image->family == AF_INET6 ? AF_INET : AF_INET6;
	const uint64_t used = operations_used(image);
	unsigned int programs = 0;
	int err;

	if (!sets)
		return 0;
	if (used & UINT64_C(1) << FILTER_OP_SET)
		programs |= SET_STAGE_LOOKUP;
	if (used & UINT64_C(1) << FILTER_OP_SET_CHANGE)
		programs |= SET_STAGE_CHANGE;
	if (set_has_block_list(sets, image->family))
		programs |= SET_STAGE_BLOCK;
	err = set_stage_fill(sets, &maps, image->family, programs);
	if (!err && set_has_block_list(sets, other))
		err = set_stage_fill(sets, &maps, other, SET_STAGE_BLOCK);
	return err;
}

static int fill_reject(const struct filter_bpf *skeleton, const struct image *image)
{
	if (!(operations_used(image) & UINT64_C(1) << FILTER_OP_REJECT))
		return 0;
	return reject_stage_fill(skeleton, image->family);
}

/* What rules of the same table have seen so far. */
static int take_recents(const struct filter_bpf *skeleton, int pins, uint8_t family)
{
	_cleanup_close_ int program = in_force_program(pins, family);

	if (program < 0)
		return program == -ENOENT || program == -EPROTO ? 0 : program;
	return recent_take_over(skeleton, program);
}

/* What finds states, and what counts connections for a ruleset. */
struct helpers {
	struct track track;
	struct connlimit connlimit;
};

static int load_helpers(struct helpers *helpers, const struct filter_bpf *skeleton, int pins,
			const struct image *image)
{
	int err = track_load(&helpers->track, skeleton, pins);

	return err ? err : connlimit_load(&helpers->connlimit, &helpers->track, skeleton, image);
}

static int load_and_swap(struct filter_bpf *skeleton, struct helpers *helpers, int pins,
			 const struct image *image, const char *text, size_t text_size,
			 const struct stage_options *options)
{
	const bool is_ipv6 = image->family == AF_INET6;
	struct bpf_map *kept[KEPT_MAPS];
	int err = check_replaced(pins, image->family, options->replaces);
	bool first;

	if (err)
		return err;
	list_kept(skeleton, kept);
	err = kept_find(pins, kept, KEPT_MAPS);
	err = err ? err :
		    track_open(&helpers->track, skeleton, image,
			       !swap_turn(bpf_map__fd(kept[0]), is_ipv6));
	bpf_map__set_max_entries(skeleton->maps.text, (uint32_t)(text_size + 7) / 8);
	err = err ? err : ruleset_load(skeleton, image);
	err = err ? err : keep_text(skeleton, text, text_size);
	err = err ? err : kept_pin(pins, kept, KEPT_MAPS);
	err = err ? err : load_helpers(helpers, skeleton, pins, image);
	err = err ? err : fill_sets(skeleton, options->sets, image);
	err = err ? err : fill_reject(skeleton, image);
	err = err ? err : take_recents(skeleton, pins, image->family);
	if (err) {
		if (err != -EPROTO) /* else kept.c has said why */
			log_error("cannot load the filter: %s", strerror(-err));
		return err;
	}
	/* Entries go where rules are in force: the old ones until the swap, if there are any. */
	first = swap_is_any_empty(skeleton) || !is_in_force(pins);
	if (!first)
		err = attach_interfaces(pins, skeleton, options);
	err = err ? err : swap_in_none(skeleton, !is_ipv6);
	err = err ? err : swap_in(skeleton, &helpers->track, &helpers->connlimit);
	if (first && !err)
		err = attach_interfaces(pins, skeleton, options);
	return err;
}

/* The pins are closed. */
static int forget_all(int pins)
{
	detach_interfaces(pins);
	return pins_remove_all(pins);
}

int stage_load(const struct image *image, const char *text, size_t text_size,
	       const struct stage_options *options)
{
	const uint32_t other_mark = mark_of_other_family(image->family, options);
	struct helpers helpers = { 0 };
	struct filter_bpf *skeleton;
	_cleanup_close_ int pins = -1;
	int err;

	bpf_log_take();
	skeleton = ruleset_open();
	if (!skeleton)
		return -errno;
	pins_remove_stale();
	pins = pins_open(true);
	if (pins < 0) {
		log_error("cannot keep the filter in the bpffs: %s", strerror(-pins));
		err = pins;
	} else {
		err = mark_check(image, other_mark, pins, options);
		err = err ? err :
			    load_and_swap(skeleton, &helpers, pins, image, text, text_size,
					  options);
	}
	if (err && pins >= 0 && !is_in_force(pins))
		forget_all(take_fd(&pins));
	connlimit_close(&helpers.connlimit);
	track_close(&helpers.track);
	filter_bpf__destroy(skeleton);
	return err;
}

int stage_unload(void)
{
	int pins = pins_open(false);

	if (pins < 0)
		return pins;
	bpf_log_take();
	return forget_all(pins);
}
