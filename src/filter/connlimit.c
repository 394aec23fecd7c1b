/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>

#include "filter/connlimit.h"
#include "filter/inforce.h"
#include "filter/shared.h"
#include "log.h"
#include "util.h"

/* Lists of a ruleset: so many as fit, within limits. */
#define LISTS_BYTES (16u << 20)
#define LISTS_MIN 1024
#define LISTS_MAX 65536

static uint32_t lists_that_fit(uint32_t size)
{
	const uint32_t count = LISTS_BYTES / size;

	return count < LISTS_MIN ? LISTS_MIN : count > LISTS_MAX ? LISTS_MAX : count;
}

/* With `lists` lists of `slots` slots. */
static int load(struct connlimit *connlimit, const struct track *track,
		const struct filter_bpf *filter, uint32_t slots, uint32_t lists)
{
	const uint32_t size = FILTER_LIST_SIZE(track->is_ipv6, slots);
	const struct shared_maps maps = shared_maps_of(filter);
	struct connlimit_bpf *counter = connlimit_bpf__open();
	int err;

	connlimit->skeleton = counter;
	if (!counter)
		return -errno;
	counter->rodata->is_ipv6 = track->is_ipv6;
	counter->rodata->judge_stage = FILTER_JUDGE_STAGE(track->is_ipv6, track->turn);
	counter->rodata->slots = slots;
	bpf_map__set_value_size(counter->maps.connections, size);
	bpf_map__set_max_entries(counter->maps.connections, lists);
	bpf_map__set_value_size(counter->maps.empty_list, size);
	err = shared_maps_use(&maps, counter->obj);
	err = err ? err :
		    bpf_map__reuse_fd(counter->maps.others,
				      bpf_map__fd(track->skeleton->maps.others));
	err = err ? err : connlimit_bpf__load(counter);
	if (err)
		log_error("rules with 'connlimit' need a program that this kernel refuses: %s",
			  strerror(-err));
	return err;
}

int connlimit_load(struct connlimit *connlimit, const struct track *track,
		   const struct filter_bpf *filter, const struct image *image)
{
	const uint32_t slots = image->connlimit_most + FILTER_CONNLIMIT_SPARE;

	if (!image->connlimit_count)
		return 0;
	return load(connlimit, track, filter, slots,
		    lists_that_fit(FILTER_LIST_SIZE(track->is_ipv6, slots)));
}

int connlimit_load_copy(struct connlimit *connlimit, const struct track *track,
			const struct filter_bpf *filter, int program)
{
	struct bpf_map_info info = { 0 };
	_cleanup_close_ int lists = in_force_map(program, "connections", 0, &info);
	if (lists < 0)
		return lists;
	return load(connlimit, track, filter,
		    (info.value_size - (uint32_t)sizeof(struct filter_connections)) /
			    FILTER_SLOT_SIZE(track->is_ipv6),
		    info.max_entries);
}

int connlimit_fill(const struct connlimit *connlimit, const struct track *track,
		   const struct filter_bpf *filter)
{
	const uint32_t stage = FILTER_COUNT_STAGE(track->is_ipv6, track->turn);
	const struct connlimit_bpf *counter = connlimit->skeleton;
	const struct shared_maps maps = shared_maps_of(filter);

	if (!counter)
		return 0;
	return shared_maps_set_stage(&maps, stage, counter->progs.connlimit_xdp,
				     counter->progs.connlimit_tc);
}

void connlimit_close(struct connlimit *connlimit)
{
	connlimit_bpf__destroy(connlimit->skeleton);
	connlimit->skeleton = NULL;
}
