/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "offload_map.h"

/* Slots beyond those that flows may take, so that grace periods are far between. */
#define SPARE_SLOTS 1024

/* ---- Sizes -------------------------------------------------------------------- */

uint32_t offload_map_slots(uint32_t entries)
{
	return 1 + entries + (entries / 8 > SPARE_SLOTS ? entries / 8 : SPARE_SLOTS);
}

/* Between 3/8 and 3/4 of the ways are in use when the table is full. */
uint32_t offload_map_sets(uint32_t entries)
{
	uint32_t sets = 2;

	while ((uint64_t)sets * FLOW_WAYS * 3 / 4 < entries)
		sets *= 2;
	return sets;
}

/* ---- Slots -------------------------------------------------------------------- */

void offload_map_fill(struct bpfw_flow *flow, const struct tuple *from,
		      const struct segment *segment, const struct tuple *to,
		      const struct bpfw_action *action)
{
	memset(flow, 0, sizeof(*flow));
	flow->family = from->family;
	if (from->family == AF_INET) {
		flow->v4.key = tuple_to_key4(from, segment);
		flow->v4.src = to->src.word[0];
		flow->v4.dst = to->dst.word[0];
		flow->v4.action = *action;
	} else {
		flow->v6.key = tuple_to_key6(from, segment);
		memcpy(flow->v6.src, &to->src, sizeof(flow->v6.src));
		memcpy(flow->v6.dst, &to->dst, sizeof(flow->v6.dst));
		flow->v6.action = *action;
	}
}

struct bpfw_action *offload_map_action(const struct offload_map *map, uint32_t slot)
{
	struct bpfw_flow *flow = &map->flows[slot];

	return flow->family == AF_INET ? &flow->v4.action : &flow->v6.action;
}

/* Slots given up can be used again once no program holds them: all of them at a time. */
static void reclaim(struct offload_map *map)
{
	int err = map->wait(map->wait_context);

	if (err) {
		log_error("cannot wait for the BPF programs to leave old flows: %s",
			  strerror(-err));
		return;
	}
	map->free = map->retired_first;
	map->retired_first = 0;
	map->retired_last = 0;
}

static uint32_t take_slot(struct offload_map *map)
{
	uint32_t slot;

	if (!map->free && map->unused < map->slots)
		return map->unused++;
	if (!map->free && map->retired_first)
		reclaim(map);
	slot = map->free;
	if (slot)
		map->free = map->flows[slot].next;
	return slot;
}

/* Nobody has seen it. */
static void put_slot_back(struct offload_map *map, uint32_t slot)
{
	map->flows[slot].family = 0;
	map->flows[slot].next = map->free;
	map->free = slot;
}

static void retire_slot(struct offload_map *map, uint32_t slot)
{
	map->flows[slot].family = 0;
	map->flows[slot].next = 0;
	if (map->retired_last)
		map->flows[map->retired_last].next = slot;
	else
		map->retired_first = slot;
	map->retired_last = slot;
}

/* ---- The index ---------------------------------------------------------------- */

/* Where a key belongs. */
struct place {
	struct bpfw_flow_set *set[2];
	uint32_t tag;
};

static struct place place_of(const struct offload_map *map, const struct bpfw_flow *flow)
{
	const __u64 *key = (const void *)flow;
	uint64_t hash = flow->family == AF_INET ? flow_hash4(key, map->seed) :
						  flow_hash6(key, map->seed);
	uint32_t tag = flow_tag(hash), first = flow_first_set(hash);

	return (struct place){
		.set = { &map->sets[first & map->set_mask],
			 &map->sets[flow_other_set(first, tag) & map->set_mask] },
		.tag = tag,
	};
}

/* The way that has the tag; FLOW_WAYS if none has. Tag 0 finds a way that is not in use. */
static unsigned int find_way(const struct bpfw_flow_set *set, uint32_t tag)
{
	unsigned int way = 0;

	while (way < FLOW_WAYS && set->tag[way] != tag)
		way++;
	return way;
}

static void set_way(struct bpfw_flow_set *set, unsigned int way, uint32_t tag, uint32_t slot)
{
	__atomic_store_n(&set->slot[way], slot, __ATOMIC_RELEASE);
	__atomic_store_n(&set->tag[way], tag, __ATOMIC_RELEASE);
}

static void clear_way(struct bpfw_flow_set *set, unsigned int way)
{
	__atomic_store_n(&set->tag[way], 0, __ATOMIC_RELEASE);
}

/*
 * Make room in a set by moving one of its entries to that one's other set. It is written there
 * before it goes here, so that readers find it all the time.
 */
static bool make_room(const struct offload_map *map, struct bpfw_flow_set *set)
{
	uint32_t number = (uint32_t)(set - map->sets);

	for (unsigned int way = 0; way < FLOW_WAYS; way++) {
		uint32_t tag = set->tag[way];
		struct bpfw_flow_set *other =
			&map->sets[flow_other_set(number, tag) & map->set_mask];
		unsigned int to = find_way(other, 0);

		if (to == FLOW_WAYS)
			continue;
		set_way(other, to, tag, set->slot[way]);
		clear_way(set, way);
		return true;
	}
	return false;
}

static bool index_add(const struct offload_map *map, const struct place *place, uint32_t slot)
{
	for (size_t i = 0; i < 2; i++) {
		unsigned int way = find_way(place->set[i], 0);

		if (way == FLOW_WAYS)
			continue;
		set_way(place->set[i], way, place->tag, slot);
		return true;
	}
	if (!make_room(map, place->set[0]))
		return false;
	set_way(place->set[0], find_way(place->set[0], 0), place->tag, slot);
	return true;
}

uint32_t offload_map_add(struct offload_map *map, const struct bpfw_flow *flow)
{
	const struct place place = place_of(map, flow);
	uint32_t slot;

	/* A reader looks no further than the first equal tag, be it of another key. */
	if (find_way(place.set[0], place.tag) < FLOW_WAYS ||
	    find_way(place.set[1], place.tag) < FLOW_WAYS)
		return 0;
	slot = take_slot(map);
	if (!slot)
		return 0;
	map->flows[slot] = *flow;
	if (index_add(map, &place, slot))
		return slot;
	put_slot_back(map, slot);
	return 0;
}

void offload_map_remove(struct offload_map *map, uint32_t slot)
{
	const struct place place = place_of(map, &map->flows[slot]);

	for (size_t i = 0; i < 2; i++) {
		unsigned int way = find_way(place.set[i], place.tag);

		if (way < FLOW_WAYS && place.set[i]->slot[way] == slot) {
			clear_way(place.set[i], way);
			break;
		}
	}
	retire_slot(map, slot);
}
