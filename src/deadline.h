/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Deadlines: a hashed wheel of slots of a quarter of a second. Adding, moving and removing take
 * constant time, so that 100,000 flows cost nothing but their own deadlines. A deadline
 * further away than the wheel is long comes by once per turn and is put off.
 */
#ifndef BPFW_DEADLINE_H
#define BPFW_DEADLINE_H

#include <stdint.h>

#include "util.h"

#define DEADLINE_SLOTS 512
#define DEADLINE_SLOT_MS 256

struct deadline {
	struct list node;
	uint64_t at; /* milliseconds of the monotonic clock */
};

struct deadlines {
	struct list slot[DEADLINE_SLOTS];
	struct list due; /* found, but over the last call's limit */
	uint64_t done;   /* slots up to this number have been looked at */
};

void deadlines_init(struct deadlines *wheel, uint64_t now_ms);
void deadline_init(struct deadline *deadline);

/* Set or move. It comes up at the first deadlines_next() after `at`, to the slot's length. */
void deadline_set(struct deadlines *wheel, struct deadline *deadline, uint64_t at_ms);
void deadline_cancel(struct deadline *deadline);

/* The next deadline that has passed, unlinked, or NULL when there is none left. */
struct deadline *deadlines_next(struct deadlines *wheel, uint64_t now_ms);

#endif /* BPFW_DEADLINE_H */
