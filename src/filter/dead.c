/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/compile.h"
#include "filter/dead.h"
#include "util.h"

/*
 * A rule as a box: an interval for each field. One that ends its chain and is nothing but a box of
 * prefixes takes all that later boxes inside it could match. Such covers are kept in a hash table by
 * their addresses, so that a rule is looked up once for each pair of prefix lengths that covers
 * have; there are few of these.
 */
enum side {
	SOURCE,
	DESTINATION,
	PROTOCOL,
	SOURCE_PORT,
	DESTINATION_PORT,
	SIDES
};

struct box {
	struct interval side[SIDES];
};

struct cover {
	struct box box;
	const struct match_interface *in, *out;
	uint32_t rule;
	uint32_t next; /* of the same slot; number + 1 */
};

/* Bits that the prefixes of a cover leave open, source and destination. */
struct lengths {
	uint8_t open[2];
};

#define LENGTHS_MAX 64       /* pairs of them in a chain; covers with others are left out */
#define COMPARISONS_MAX 1024 /* of a rule with covers of its addresses */

struct search {
	const struct ruleset *ruleset;
	struct cover *covers; /* of the chain in hand */
	uint32_t *slots;      /* number of a cover + 1 */
	uint32_t cover_count, slot_count;
	struct lengths lengths[LENGTHS_MAX];
	uint32_t length_count;
};

/* ---- Boxes ----------------------------------------------------------------------------- */

static const enum filter_field fields[SIDES] = {
	[SOURCE] = FILTER_SOURCE,
	[DESTINATION] = FILTER_DESTINATION,
	[PROTOCOL] = FILTER_PROTOCOL,
	[SOURCE_PORT] = FILTER_SOURCE_PORT,
	[DESTINATION_PORT] = FILTER_DESTINATION_PORT,
};

/*
 * The smallest box around what a rule lets through by its fields. `whole`: the rule's fields let all
 * of the box through. False: nothing, or it cannot be said.
 */
static bool make_box(struct box *box, const struct rule *rule, uint8_t family, bool *whole)
{
	struct intervals set;

	*whole = true;
	for (int i = 0; i < SIDES; i++) {
		if (rule_intervals(&set, rule, fields[i], family) || !set.count)
			return false;
		box->side[i] = (struct interval){ set.interval[0].first,
						  set.interval[set.count - 1].last };
		*whole &= set.count == 1;
	}
	return true;
}

static bool is_inside(const struct box *box, const struct box *around)
{
	for (int i = 0; i < SIDES; i++)
		if (value_compare(box->side[i].first, around->side[i].first) < 0 ||
		    value_compare(box->side[i].last, around->side[i].last) > 0)
			return false;
	return true;
}

/* Does each interface that the rule lets through pass the cover's match? */
static bool covers_interface(const struct match_interface *cover,
			     const struct match_interface *rule)
{
	if (!cover->given)
		return true;
	return rule->given && rule->invert == cover->invert && rule->wildcard == cover->wildcard &&
	       !strcmp(rule->name, cover->name);
}

/* ---- Covers ------------------------------------------------------------------------------ */

static bool ends_chain(const struct rule *rule)
{
	switch (rule->target.kind) {
	case TARGET_ACCEPT:
	case TARGET_DROP:
	case TARGET_REJECT:
	case TARGET_RETURN:
	case TARGET_GOTO:
		return true;
	default:
		return false;
	}
}

/* Do the fields decide alone? Without ports, -m tcp asks for a header that may not be there. */
static bool is_fields_only(const struct rule *rule, uint8_t family)
{
	if (rule->fragment.given ||
	    (rule->source.given && !address_is_prefix(&rule->source, family)) ||
	    (rule->destination.given && !address_is_prefix(&rule->destination, family)))
		return false;
	for (size_t i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];

		switch (match->kind) {
		case MATCH_TCP:
			if (match->tcp.flags_given || match->tcp.option_given)
				return false;
			break;
		case MATCH_MULTIPORT:
			if (match->multiport.of == MULTIPORT_EITHER)
				return false;
			break;
		case MATCH_UDP:
		case MATCH_SCTP:
		case MATCH_IPRANGE:
		case MATCH_COMMENT:
			break;
		default:
			return false;
		}
	}
	return !rule->match_count || rule_tells_ports(rule) ||
	       (rule->match_count == 1 && rule->matches[0].kind == MATCH_COMMENT);
}

/* The open bits of an interval that is a prefix; false if it is none. */
static bool open_bits_of(const struct interval *interval, uint8_t *count)
{
	const struct value open = { interval->first.high ^ interval->last.high,
				    interval->first.low ^ interval->last.low };
	const struct value next = value_next(open);

	if ((open.high & next.high) || (open.low & next.low) ||
	    (interval->first.high & open.high) || (interval->first.low & open.low))
		return false;
	*count = (uint8_t)(__builtin_popcountll(open.high) + __builtin_popcountll(open.low));
	return true;
}

/* The prefix of `value` that leaves so many bits open. */
static struct value cut(struct value value, uint8_t open)
{
	if (open >= 64)
		return (struct value){ open == 128 ? 0 : value.high >> (open - 64) << (open - 64),
				       0 };
	return (struct value){ value.high, value.low >> open << open };
}

static uint32_t slot_of(const struct search *search, const struct box *box, struct lengths lengths)
{
	const struct value source = cut(box->side[SOURCE].first, lengths.open[0]);
	const struct value destination = cut(box->side[DESTINATION].first, lengths.open[1]);
	const uint64_t words[] = { source.high, source.low, destination.high, destination.low,
				   (uint64_t)lengths.open[0] << 8 | lengths.open[1] };
	uint64_t hash = 0;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return (uint32_t)(hash % search->slot_count);
}

/* False if the chain has too many pairs of lengths. */
static bool know_lengths(struct search *search, struct lengths lengths)
{
	for (uint32_t i = 0; i < search->length_count; i++)
		if (!memcmp(&search->lengths[i], &lengths, sizeof(lengths)))
			return true;
	if (search->length_count == LENGTHS_MAX)
		return false;
	search->lengths[search->length_count++] = lengths;
	return true;
}

static void keep_cover(struct search *search, uint32_t number, const struct box *box)
{
	const struct rule *rule = &search->ruleset->rules[number];
	struct cover *cover = &search->covers[search->cover_count];
	struct lengths lengths;
	uint32_t *slot;

	if (!ends_chain(rule) || !is_fields_only(rule, search->ruleset->family) ||
	    !open_bits_of(&box->side[SOURCE], &lengths.open[0]) ||
	    !open_bits_of(&box->side[DESTINATION], &lengths.open[1]) ||
	    !know_lengths(search, lengths))
		return;
	slot = &search->slots[slot_of(search, box, lengths)];
	*cover = (struct cover){ *box, &rule->in, &rule->out, number, *slot };
	*slot = ++search->cover_count;
}

/* ---- Rules ------------------------------------------------------------------------------- */

static uint32_t find_in_slot(const struct search *search, const struct rule *rule,
			     const struct box *box, uint32_t slot)
{
	uint32_t number = search->slots[slot], compared = 0;

	for (; number && compared < COMPARISONS_MAX; compared++) {
		const struct cover *cover = &search->covers[number - 1];

		if (is_inside(box, &cover->box) && covers_interface(cover->in, &rule->in) &&
		    covers_interface(cover->out, &rule->out))
			return cover->rule;
		number = cover->next;
	}
	return DEAD_NOT;
}

static uint32_t find_cover(const struct search *search, const struct rule *rule,
			   const struct box *box)
{
	uint32_t found = DEAD_NOT;

	for (uint32_t i = 0; i < search->length_count && found == DEAD_NOT; i++)
		found = find_in_slot(search, rule, box, slot_of(search, box, search->lengths[i]));
	return found;
}

static void search_chain(struct search *search, const struct chain *chain, uint32_t *why)
{
	struct box box;
	bool whole;

	search->slot_count = 2 * chain->count + 1;
	memset(search->slots, 0, search->slot_count * sizeof(*search->slots));
	search->cover_count = search->length_count = 0;
	for (uint32_t i = chain->first; i < chain->first + chain->count; i++) {
		const struct rule *rule = &search->ruleset->rules[i];

		why[i] = chain->hooks ? DEAD_NOT : DEAD_CHAIN;
		if (!chain->hooks || !make_box(&box, rule, search->ruleset->family, &whole))
			continue;
		why[i] = find_cover(search, rule, &box);
		if (whole && why[i] == DEAD_NOT)
			keep_cover(search, i, &box);
	}
}

int dead_find(const struct ruleset *ruleset, uint32_t *why)
{
	struct search search = { .ruleset = ruleset };
	int err = 0;

	search.covers = calloc(ruleset->rule_count + 1, sizeof(*search.covers));
	search.slots = calloc(2 * (size_t)ruleset->rule_count + 1, sizeof(*search.slots));
	if (search.covers && search.slots)
		for (uint32_t i = 0; i < ruleset->chain_count; i++)
			search_chain(&search, &ruleset->chains[i], why);
	else
		err = -ENOMEM;
	free(search.covers);
	free(search.slots);
	return err;
}
