/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ranges of an address and the nodes and slots that lead to them (struct filter_node in
 * bpf/filter_layout.h).
 */
#ifndef BPFW_FILTER_SLOTS_H
#define BPFW_FILTER_SLOTS_H

#include <linux/types.h>

#include "filter/interval.h"
#include "filter_layout.h"

struct address_ranges {
	uint8_t family;
	struct filter_node *nodes;
	struct filter_slot *slots;
	void *ranges; /* struct filter_range4 or filter_range6, sorted */
	uint32_t node_count, node_room, slot_count, slot_room;
	uint32_t count, room; /* ranges */
};

/* The next range; the first one begins at 0. Returns 0 or -ENOMEM. */
int address_ranges_add(struct address_ranges *ranges, uint8_t family, struct value start,
		       uint32_t row);

/* When all are there: make nodes and slots. Returns 0 or -ENOMEM. */
int address_ranges_index(struct address_ranges *ranges);
void address_ranges_free(struct address_ranges *ranges);

#endif /* BPFW_FILTER_SLOTS_H */
