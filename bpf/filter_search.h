/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which rule comes next? Each field of the packet has a row of bits (filter_layout.h); the rules
 * that are left are where all rows have a bit.
 */
#ifndef BPFW_FILTER_SEARCH_H
#define BPFW_FILTER_SEARCH_H

#include "filter_maps.h"

static __always_inline bool uses(enum filter_field field)
{
	return used_fields & (1U << field);
}

/* By the six upper bits of a power of two times a de Bruijn sequence: the power. */
static const __u8 powers[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42,
	22, 9,  24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
	23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

/* The number of the lowest bit that is set; `word` is not 0. Old clang has no code for it. */
static __always_inline __u32 lowest_bit(__u64 word)
{
	return powers[((word & -word) * 0x022fdd63cc95386dULL) >> 58];
}

/* ---- Rows of a packet ------------------------------------------------------------ */

/* The maps of an address. */
struct address_maps {
	void *nodes, *slots, *ranges;
};

/* The slot that a value lies in; of IPv6, by its halves. NULL: the compiler has made no such maps. */
static __always_inline const struct filter_slot *find_slot(const struct address_maps *maps,
							   __u64 upper, __u64 lower)
{
	__u32 number = 0;

#pragma unroll
	for (int i = 0; i < FILTER_NODE_DEPTH; i++) {
		const struct filter_node *node = bpf_map_lookup_elem(maps->nodes, &number);
		const struct filter_slot *slot;
		__u64 value = upper, step;
		__u32 at;

		if (!node)
			return NULL;
		if (is_ipv6 && node->lower)
			value = lower;
		at = node->slots;
		if (value >= node->base) {
			step = ((value - node->base) >> (node->shift & 63)) + 1;
			at += step < node->last ? (__u32)step : node->last;
		}
		slot = bpf_map_lookup_elem(maps->slots, &at);
		if (!slot)
			return NULL;
		if (slot->last != FILTER_SLOT_NODE)
			return slot;
		number = slot->first;
	}
	return NULL;
}

/* One of 17 halvings leaves one of at most 65,537 ranges; IPv6 has at most 2^18 of them. */
#define HALVINGS4 17
#define HALVINGS6 19

/* The row of the range that `address` (host byte order) is in. */
static __always_inline __u32 address_row4(const struct address_maps *maps, __u32 address)
{
	const struct filter_slot *slot = find_slot(maps, address, 0);
	const struct filter_range4 *range;
	__u32 low, high;

	if (!slot)
		return 0;
	if (slot->last == FILTER_SLOT_ROW)
		return slot->first;
	/* The last range that begins at the address or before it; the one at `low` does. */
	low = slot->first;
	high = slot->last + 1;
	for (int i = 0; i < HALVINGS4 && high - low > 1; i++) {
		__u32 middle = low + (high - low) / 2;

		range = bpf_map_lookup_elem(maps->ranges, &middle);
		if (!range)
			return 0;
		if (range->start <= address)
			low = middle;
		else
			high = middle;
	}
	range = bpf_map_lookup_elem(maps->ranges, &low);
	return range ? range->row : 0;
}

static __always_inline __u32 address_row6(const struct address_maps *maps, const __be32 *address)
{
	__u64 upper = (__u64)bpf_ntohl(address[0]) << 32 | bpf_ntohl(address[1]);
	__u64 lower = (__u64)bpf_ntohl(address[2]) << 32 | bpf_ntohl(address[3]);
	const struct filter_slot *slot = find_slot(maps, upper, lower);
	const struct filter_range6 *range;
	__u32 low, high;

	if (!slot)
		return 0;
	if (slot->last == FILTER_SLOT_ROW)
		return slot->first;
	low = slot->first;
	high = slot->last + 1;
	for (int i = 0; i < HALVINGS6 && high - low > 1; i++) {
		__u32 middle = low + (high - low) / 2;

		range = bpf_map_lookup_elem(maps->ranges, &middle);
		if (!range)
			return 0;
		if (range->high < upper || (range->high == upper && range->low <= lower))
			low = middle;
		else
			high = middle;
	}
	range = bpf_map_lookup_elem(maps->ranges, &low);
	return range ? range->row : 0;
}

static __always_inline __u32 indexed_row(void *map, __u32 value)
{
	__u32 *row = bpf_map_lookup_elem(map, &value);

	return row ? *row : 0;
}

static __always_inline __u32 device_row(__u32 ifindex, bool out)
{
	struct filter_device *device = bpf_map_lookup_elem(&devices, &ifindex);
	__u32 other = 0;

	if (!device)
		device = bpf_map_lookup_elem(&devices, &other);
	if (!device)
		return 0;
	return out ? device->out_row : device->in_row;
}

static __always_inline __u32 source_row(const struct filter_walk *walk)
{
	const struct address_maps maps4 = { &source_nodes, &source_slots, &source_ranges4 };
	const struct address_maps maps6 = { &source_nodes, &source_slots, &source_ranges6 };

	if (is_ipv6)
		return address_row6(&maps6, walk->source);
	return address_row4(&maps4, bpf_ntohl(walk->source[0]));
}

static __always_inline __u32 destination_row(const struct filter_walk *walk)
{
	const struct address_maps maps4 = { &destination_nodes, &destination_slots,
					    &destination_ranges4 };
	const struct address_maps maps6 = { &destination_nodes, &destination_slots,
					    &destination_ranges6 };

	if (is_ipv6)
		return address_row6(&maps6, walk->destination);
	return address_row4(&maps4, bpf_ntohl(walk->destination[0]));
}

/* A row of one rule as if it were stored: its one word is that of `block`, see common_rules(). */
static __always_inline void make_row(struct filter_row *row, __u32 number)
{
	row->summary = 1ULL << (number / FILTER_BLOCK_RULES & (FILTER_BLOCKS_MAX - 1));
	row->part.block = number;
	row->part.words = 1U << (number / FILTER_WORD_RULES % FILTER_BLOCK_WORDS);
}

/* Add a field's row; false once no rule is left. */
static __always_inline bool take_row(struct filter_walk *walk, enum filter_field field,
				     __u32 number)
{
	const struct filter_row *found;

	if (number & FILTER_ROW_OF_ONE) {
		make_row(&walk->row[field], number);
	} else {
		found = bpf_map_lookup_elem(&rows, &number);
		if (!found) {
			walk->summary = 0;
			return false;
		}
		walk->row[field] = *found;
	}
	walk->summary &= walk->row[field].summary;
	return walk->summary;
}

/* By what most rules tell packets apart first: where none of them is left, no more is looked up. */
static __always_inline bool classify_addresses(struct filter_walk *walk)
{
	return (!uses(FILTER_SOURCE) || take_row(walk, FILTER_SOURCE, source_row(walk))) &&
	       (!uses(FILTER_DESTINATION) ||
		take_row(walk, FILTER_DESTINATION, destination_row(walk)));
}

static __always_inline void classify(struct filter_walk *walk)
{
	walk->summary = ~0ULL;
	if (!classify_addresses(walk))
		return;
	if (uses(FILTER_PROTOCOL))
		take_row(walk, FILTER_PROTOCOL, indexed_row(&protocols, walk->protocol));
	if (uses(FILTER_SOURCE_PORT))
		take_row(walk, FILTER_SOURCE_PORT,
			 walk->has_ports ? indexed_row(&source_ports, walk->source_port) :
					   no_port_rows[0]);
	if (uses(FILTER_DESTINATION_PORT))
		take_row(walk, FILTER_DESTINATION_PORT,
			 walk->has_ports ? indexed_row(&destination_ports, walk->destination_port) :
					   no_port_rows[1]);
	if (uses(FILTER_IN))
		take_row(walk, FILTER_IN, device_row(walk->in, false));
	if (uses(FILTER_OUT))
		take_row(walk, FILTER_OUT, device_row(walk->out, true));
	if (uses(FILTER_STATE))
		take_row(walk, FILTER_STATE, indexed_row(&states, walk->state));
}

/* ---- Candidates ------------------------------------------------------------------ */

/* Part `part` of a row that has it. */
static __always_inline const struct filter_part *part_of(const struct filter_row *row, __u32 part)
{
	__u32 at = row->parts + part;

	return row->part.words ? &row->part : bpf_map_lookup_elem(&parts, &at);
}

/*
 * What the fields' rows have in common in part `part`, which all of them have: the words that are
 * not zero in all. `block` gets each row's block there, or the number of a row of one rule.
 */
static __always_inline __u32 common_words(const struct filter_walk *walk, __u32 part,
					  __u32 block[FILTER_FIELDS])
{
	__u32 words = (1U << FILTER_BLOCK_WORDS) - 1;

#pragma unroll
	for (int field = 0; field < FILTER_FIELDS; field++) {
		const struct filter_part *found;

		if (!uses(field))
			continue;
		found = part_of(&walk->row[field], part);
		if (!found)
			return 0;
		block[field] = found->block;
		words &= found->words;
	}
	return words;
}

static __always_inline __u64 common_rules(__u32 word, const __u32 block[FILTER_FIELDS])
{
	__u64 common = ~0ULL;

#pragma unroll
	for (int field = 0; field < FILTER_FIELDS; field++) {
		struct filter_block *found;

		if (!uses(field))
			continue;
		if (block[field] & FILTER_ROW_OF_ONE) {
			common &= 1ULL << (block[field] % FILTER_WORD_RULES);
			continue;
		}
		found = bpf_map_lookup_elem(&blocks, &block[field]);
		if (!found)
			return 0;
		common &= found->word[word & (FILTER_BLOCK_WORDS - 1)];
	}
	return common;
}

/*
 * From walk->position on: the next word that may hold a candidate, into walk->word (which may be
 * 0 all the same), and position behind it. Returns false when the chain has no more of them.
 */
static __always_inline bool next_word(struct filter_walk *walk)
{
	__u32 part = walk->position / FILTER_BLOCK_RULES, word, words;
	__u32 block[FILTER_FIELDS] = {};
	__u64 left;

	if (walk->position >= walk->end || part >= FILTER_BLOCKS_MAX)
		return false;
	left = walk->summary & (~0ULL << (part & 63));
	if (!left)
		return false;
	if (!(left & (1ULL << (part & 63)))) {
		part = lowest_bit(left);
		walk->position = part * FILTER_BLOCK_RULES;
	}
	words = common_words(walk, part, block);
	word = walk->position / FILTER_WORD_RULES % FILTER_BLOCK_WORDS;
	words &= ~0U << word;
	if (!words) {
		walk->position = (part + 1) * FILTER_BLOCK_RULES;
		return true;
	}
	word = lowest_bit(words);
	walk->base = part * FILTER_BLOCK_RULES + word * FILTER_WORD_RULES;
	walk->word = common_rules(word, block);
	if (walk->position > walk->base)
		walk->word &= ~0ULL << (walk->position & 63);
	walk->position = walk->base + FILTER_WORD_RULES;
	return true;
}

#endif /* BPFW_FILTER_SEARCH_H */
