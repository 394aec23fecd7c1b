/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table that the BPF programs look packets up in, as its only writer sees it: the
 * memory of the maps `flows` and `flow_index` (layout.h), so that nothing here takes a system call,
 * but for a grace period once in a long while.
 *
 * How it stays true while programs read it on other CPUs: a slot is filled before its
 * number is stored in the index, with release semantics, and a reader comes to the slot by that
 * number, which orders it after (the address depends on it). A slot that was given up keeps its
 * content until no program can hold it any more.
 */
#ifndef BPFW_OFFLOAD_MAP_H
#define BPFW_OFFLOAD_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

/* Returns when every BPF program that was running has ended: 0 or -errno. */
typedef int (*grace_period)(void *context);

struct offload_map {
	struct bpfw_flow *flows;
	struct bpfw_flow_set *sets;
	uint32_t slots; /* slot 0 is never used */
	uint32_t set_mask;
	uint64_t seed;
	uint32_t unused;                      /* slots from here on have never been used */
	uint32_t free;                        /* the first of the slots that may be used again */
	uint32_t retired_first, retired_last; /* those that wait for a grace period */
	grace_period wait;
	void *wait_context;
};

/* Slots and sets to make maps of, so that `entries` directions find room. */
uint32_t offload_map_slots(uint32_t entries);
uint32_t offload_map_sets(uint32_t entries);

/*
 * The slot's content for a direction: packets of `from` that come in on `segment` get the addresses
 * of `to`, and what `action` says.
 */
void offload_map_fill(struct bpfw_flow *flow, const struct tuple *from,
		      const struct segment *segment, const struct tuple *to,
		      const struct bpfw_action *action);

/*
 * Add a direction. Returns its slot, or 0 when there is no room, or its key is there already.
 * offload_map_action() is the live one: the programs count in it.
 */
uint32_t offload_map_add(struct offload_map *map, const struct bpfw_flow *flow);
void offload_map_remove(struct offload_map *map, uint32_t slot);

struct bpfw_action *offload_map_action(const struct offload_map *map, uint32_t slot);

#endif /* BPFW_OFFLOAD_MAP_H */
