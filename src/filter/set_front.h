/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What stands in front of a set's hash map (set_layout.h), in the memory of its own map: nothing
 * here takes a system call.
 */
#ifndef BPFW_FILTER_SET_FRONT_H
#define BPFW_FILTER_SET_FRONT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "set_layout.h"

/* Smaller sets have none: their hash maps stay in the caches. */
#define SET_FRONT_MIN 1024

struct set_front {
	struct set_cell *cells;
	bool narrow; /* hash:ip, IPv4 */
};

/* Cells for so many entries. */
uint32_t set_front_cells(bool narrow, uint32_t entries);

/* Lays it out in zeroed memory. Which keys share a bucket depends on the seed. `now`: the clock. */
void set_front_init(const struct set_front *front, uint32_t cells, uint64_t seed, uint32_t now);

/*
 * A key that the map has, or will have before the front is asked, and its end there. What is added
 * once more gets the new end.
 */
void set_front_add(const struct set_front *front, const struct set_key *key, uint32_t end);

/* Before the map gets, loses or changes the key: the map is asked for it from now on. */
void set_front_touch(const struct set_front *front, const struct set_key *key);

/* Leaves to the map all keys of buckets that were touched, whether before or after they were added. */
void set_front_clear_touched(const struct set_front *front);

/* From now on it is asked. */
void set_front_ready(const struct set_front *front);

#endif /* BPFW_FILTER_SET_FRONT_H */
