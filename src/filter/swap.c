/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>

#include "filter/kept.h"
#include "filter/swap.h"
#include "util.h"

/* ---- Turns ------------------------------------------------------------------------------- */

uint32_t swap_turn(int turns, bool is_ipv6)
{
	const uint32_t family = is_ipv6;
	uint32_t turn = 0;

	bpf_map_lookup_elem(turns, &family, &turn);
	return turn;
}

/* 0 or 1: they differ in one byte, so that no program reads half of it. */
static int set_turn(int turns, bool is_ipv6, uint32_t turn)
{
	const uint32_t family = is_ipv6;

	return bpf_map_update_elem(turns, &family, &turn, BPF_EXIST);
}

static bool is_filled(int stages, uint32_t stage)
{
	uint32_t id;

	return !bpf_map_lookup_elem(stages, &stage, &id);
}

bool swap_is_any_empty(const struct filter_bpf *filter)
{
	for (uint32_t family = 0; family < FILTER_FAMILIES; family++) {
		const uint32_t turn = swap_turn(bpf_map__fd(filter->maps.turns), family);
		const uint32_t stage = FILTER_RULES_STAGE(family, turn);

		if (!is_filled(bpf_map__fd(filter->maps.stages_xdp), stage) ||
		    !is_filled(bpf_map__fd(filter->maps.stages_tc), stage))
			return true;
	}
	return false;
}

/* ---- Emptying ---------------------------------------------------------------------------- */

/*
 * Returns once all programs have ended that ran when it was called. The kernel waits for them when
 * an element of a map of maps is replaced (maybe_wait_bpf_programs() in kernel/bpf/syscall.c).
 */
static int wait_for_programs(void)
{
	const uint32_t zero = 0;
	_cleanup_close_ int inner =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, sizeof(zero), sizeof(zero), 1, NULL);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)inner);
	_cleanup_close_ int outer = inner < 0 ? inner :
						bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, NULL,
							       sizeof(zero), sizeof(inner), 1,
							       &options);

	return outer < 0 ? outer : bpf_map_update_elem(outer, &zero, &inner, BPF_ANY);
}

/*
 * A turn that is not in force; who has filled it, or was in force there, may have been killed. A
 * packet may still be in its programs and go on to the next of them: it must find that one, and no
 * other.
 */
static int empty_turn(const struct filter_bpf *filter, bool is_ipv6, uint32_t turn)
{
	const int stages[] = { bpf_map__fd(filter->maps.stages_xdp),
			       bpf_map__fd(filter->maps.stages_tc) };
	const uint32_t slots[] = { FILTER_RULES_STAGE(is_ipv6, turn),
				   FILTER_JUDGE_STAGE(is_ipv6, turn),
				   FILTER_COUNT_STAGE(is_ipv6, turn) };
	bool waited = false;

	for (size_t i = 0; i < ARRAY_SIZE(stages) * ARRAY_SIZE(slots); i++) {
		const int map = stages[i / ARRAY_SIZE(slots)];
		const uint32_t slot = slots[i % ARRAY_SIZE(slots)];
		int err;

		if (!is_filled(map, slot))
			continue;
		err = waited ? 0 : wait_for_programs();
		err = err ? err : bpf_map_delete_elem(map, &slot);
		if (err)
			return err;
		waited = true;
	}
	return 0;
}

/* Learning is of use as long as a ruleset of either family asks about states. */
static void forget_learner(int stages)
{
	const uint32_t learner = FILTER_STAGE_LEARN;

	for (uint32_t i = 0; i < FILTER_FAMILIES * FILTER_TURNS; i++)
		if (is_filled(stages, FILTER_STAGE_JUDGES + i))
			return;
	bpf_map_delete_elem(stages, &learner);
}

/* ---- Filling ----------------------------------------------------------------------------- */

int swap_in_none(const struct filter_bpf *filter, bool is_ipv6)
{
	const int xdp = bpf_map__fd(filter->maps.stages_xdp);
	const int tc = bpf_map__fd(filter->maps.stages_tc);
	const uint32_t turn = swap_turn(bpf_map__fd(filter->maps.turns), is_ipv6);
	const uint32_t stage = FILTER_RULES_STAGE(is_ipv6, turn);
	int err = 0;

	if (!is_filled(xdp, stage))
		err = kept_set_stage(xdp, stage, filter->progs.pass_xdp);
	if (!err && !is_filled(tc, stage))
		err = kept_set_stage(tc, stage, filter->progs.pass_tc);
	return err;
}

/* `track` calls `judge`; it is NULL where the ruleset does not ask about states. */
static int fill(int stages, const struct track *to, const struct bpf_program *judge,
		const struct bpf_program *track)
{
	const uint32_t slot = FILTER_RULES_STAGE(to->is_ipv6, to->turn);
	int err;

	if (!track)
		return kept_set_stage(stages, slot, judge);
	err = kept_set_stage(stages, FILTER_JUDGE_STAGE(to->is_ipv6, to->turn), judge);
	return err ? err : kept_set_stage(stages, slot, track);
}

int swap_in(const struct filter_bpf *filter, const struct track *track,
	    const struct connlimit *connlimit)
{
	const int xdp = bpf_map__fd(filter->maps.stages_xdp);
	const int tc = bpf_map__fd(filter->maps.stages_tc);
	const struct track_bpf *with = track->skeleton;
	int err = empty_turn(filter, track->is_ipv6, track->turn);

	err = err ? err :
		    fill(xdp, track, filter->progs.filter_xdp, with ? with->progs.track_xdp : NULL);
	err = err ? err :
		    fill(tc, track, filter->progs.filter_tc, with ? with->progs.track_tc : NULL);
	err = err ? err : connlimit_fill(connlimit, track, filter);
	if (with && !err)
		err = kept_set_stage(tc, FILTER_STAGE_LEARN, with->progs.learn_tc);
	err = err ? err : set_turn(bpf_map__fd(filter->maps.turns), track->is_ipv6, track->turn);
	if (err)
		return err;
	/* If it fails, the next load does it. */
	empty_turn(filter, track->is_ipv6, !track->turn);
	forget_learner(tc);
	return 0;
}
