/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "filter/slots.h"

/* Ranges that a search may go through by halves: they lie in a cache line or two. */
#define SLOT_RANGES 4

int address_ranges_add(struct address_ranges *ranges, uint8_t family, struct value start,
		       uint32_t row)
{
	const size_t size = family == AF_INET ? sizeof(struct filter_range4) :
						sizeof(struct filter_range6);

	ranges->family = family;
	if (ranges->count == ranges->room) {
		uint32_t room = ranges->room ? ranges->room * 2 : 64;
		void *more = reallocarray(ranges->ranges, room, size);

		if (!more)
			return -ENOMEM;
		ranges->ranges = more;
		ranges->room = room;
	}
	if (family == AF_INET)
		((struct filter_range4 *)ranges->ranges)[ranges->count++] =
			(struct filter_range4){ .start = (uint32_t)start.low, .row = row };
	else
		((struct filter_range6 *)ranges->ranges)[ranges->count++] =
			(struct filter_range6){ .high = start.high, .low = start.low, .row = row };
	return 0;
}

/* ---- Nodes and slots ----------------------------------------------------------------- */

/* Ranges that a node is about: all but the first one begin where the node can tell them apart. */
struct span {
	uint32_t first, last;
	bool lower; /* by the lower halves of their addresses */
};

/* Where a range begins, in the half that a node is about. */
static uint64_t start_of(const struct address_ranges *ranges, uint32_t range, bool lower)
{
	if (ranges->family == AF_INET)
		return ((const struct filter_range4 *)ranges->ranges)[range].start;
	return lower ? ((const struct filter_range6 *)ranges->ranges)[range].low :
		       ((const struct filter_range6 *)ranges->ranges)[range].high;
}

/* Does a range begin behind the first of the addresses that have `value` in that half? */
static bool begins_within(const struct address_ranges *ranges, uint32_t range, bool lower)
{
	return ranges->family == AF_INET6 && !lower &&
	       ((const struct filter_range6 *)ranges->ranges)[range].low;
}

static int make_slots(struct address_ranges *ranges, uint32_t count)
{
	const uint32_t room = 2 * ranges->slot_room + count;
	struct filter_slot *slots;

	if (ranges->slot_count + count > ranges->slot_room) {
		slots = reallocarray(ranges->slots, room, sizeof(*slots));
		if (!slots)
			return -ENOMEM;
		ranges->slots = slots;
		ranges->slot_room = room;
	}
	ranges->slot_count += count;
	return 0;
}

static int make_node(struct address_ranges *ranges, struct filter_node node)
{
	const uint32_t room = 2 * ranges->node_room + 16;
	struct filter_node *nodes;

	if (ranges->node_count == ranges->node_room) {
		nodes = reallocarray(ranges->nodes, room, sizeof(*nodes));
		if (!nodes)
			return -ENOMEM;
		ranges->nodes = nodes;
		ranges->node_room = room;
	}
	ranges->nodes[ranges->node_count++] = node;
	return 0;
}

/* About two slots for each range that begins in the node. */
static struct filter_node shape(const struct address_ranges *ranges, const struct span *span)
{
	struct filter_node node = { .slots = ranges->slot_count, .lower = span->lower };
	uint64_t width;

	if (span->first == span->last)
		return node; /* one slot, that of the values before and behind any base */
	node.base = start_of(ranges, span->first + 1, span->lower);
	width = start_of(ranges, span->last, span->lower) - node.base;
	while (width >> node.shift >= 2 * (uint64_t)(span->last - span->first))
		node.shift++;
	node.last = (uint32_t)(width >> node.shift) + 2;
	return node;
}

/* The last range that is there when a slot begins; its base is `value`. */
static uint32_t skip_to(const struct address_ranges *ranges, const struct span *span,
			uint32_t range, uint64_t value)
{
	while (range < span->last) {
		uint64_t start = start_of(ranges, range + 1, span->lower);

		if (start > value ||
		    (start == value && begins_within(ranges, range + 1, span->lower)))
			break;
		range++;
	}
	return range;
}

/* The last range that begins at `value` or before it, whatever its lower half. */
static uint32_t skip_over(const struct address_ranges *ranges, const struct span *span,
			  uint32_t range, uint64_t value)
{
	while (range < span->last && start_of(ranges, range + 1, span->lower) <= value)
		range++;
	return range;
}

/* The last value of a slot that begins at `value`. */
static uint64_t end_of(uint64_t value, uint32_t shift)
{
	const uint64_t end = value + ((UINT64_C(1) << shift) - 1);

	return end < value ? UINT64_MAX : end;
}

/* Slots whose nodes are still to be made. */
struct pending {
	struct span span;
	uint32_t slot;
	unsigned int depth;
};

struct queue {
	struct pending *entries;
	uint32_t count, room;
};

static int put_off(struct queue *queue, struct pending entry)
{
	const uint32_t room = 2 * queue->room + 16;
	struct pending *entries;

	if (queue->count == queue->room) {
		entries = reallocarray(queue->entries, room, sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		queue->entries = entries;
		queue->room = room;
	}
	queue->entries[queue->count++] = entry;
	return 0;
}

static uint32_t row_of(const struct address_ranges *ranges, uint32_t range)
{
	return ranges->family == AF_INET ?
		       ((const struct filter_range4 *)ranges->ranges)[range].row :
		       ((const struct filter_range6 *)ranges->ranges)[range].row;
}

static void fill_with_row(struct address_ranges *ranges, uint32_t slot, uint32_t range)
{
	ranges->slots[slot] = (struct filter_slot){ row_of(ranges, range), FILTER_SLOT_ROW };
}

/* A slot of a few ranges, or one that is to lead to a node of its own. */
static int fill_slot(struct address_ranges *ranges, struct queue *queue, struct pending entry)
{
	const struct span *span = &entry.span;

	if (span->first == span->last) {
		fill_with_row(ranges, entry.slot, span->first);
		return 0;
	}
	ranges->slots[entry.slot] = (struct filter_slot){ span->first, span->last };
	if (span->last - span->first < SLOT_RANGES || entry.depth == FILTER_NODE_DEPTH)
		return 0;
	return put_off(queue, entry);
}

static int fill_slots(struct address_ranges *ranges, struct queue *queue,
		      const struct filter_node *node, const struct pending *of)
{
	const struct span *span = &of->span;
	/* Of one value of the upper halves: only the lower ones can tell them apart. */
	const bool lower = span->lower || (ranges->family == AF_INET6 && !node->shift);
	uint32_t range = span->first;
	int err = 0;

	fill_with_row(ranges, node->slots, span->first);
	for (uint32_t i = 1; i < node->last && !err; i++) {
		const uint64_t value = node->base + ((uint64_t)(i - 1) << node->shift);
		struct pending inner = { .slot = node->slots + i, .depth = of->depth + 1 };

		inner.span.lower = lower;
		inner.span.first = skip_to(ranges, span, range, value);
		inner.span.last =
			skip_over(ranges, span, inner.span.first, end_of(value, node->shift));
		range = inner.span.last;
		err = fill_slot(ranges, queue, inner);
	}
	if (node->last)
		fill_with_row(ranges, node->slots + node->last, span->last);
	return err;
}

static int add_node(struct address_ranges *ranges, struct queue *queue, const struct pending *of)
{
	const struct filter_node node = shape(ranges, &of->span);
	int err;

	if (ranges->node_count) /* not of the root, which no slot leads to */
		ranges->slots[of->slot] =
			(struct filter_slot){ ranges->node_count, FILTER_SLOT_NODE };
	err = make_slots(ranges, node.last + 1);
	err = err ? err : make_node(ranges, node);
	return err ? err : fill_slots(ranges, queue, &node, of);
}

int address_ranges_index(struct address_ranges *ranges)
{
	struct queue queue = { 0 };
	int err = put_off(&queue, (struct pending){ .span.last = ranges->count - 1 });

	for (uint32_t i = 0; i < queue.count && !err; i++) {
		const struct pending next = queue.entries[i];

		err = add_node(ranges, &queue, &next);
	}
	free(queue.entries);
	return err;
}

void address_ranges_free(struct address_ranges *ranges)
{
	free(ranges->nodes);
	free(ranges->slots);
	free(ranges->ranges);
}
