/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"
#include "filter/set_fast6.h"

#define LEAF_MAX (SET_FAST6_ENTRIES * SET_FAST6_CELLS)
#define LEAF_USUAL 8 /* a table has so many bits that its words get so many pieces each, or fewer */
#define TABLE_BITS 20 /* at most */
#define SMALL_BITS 4
#define SKIP_MIN 3    /* fewer bits become part of the table behind */
#define FIRST_LEAF 16 /* bits; from here on those of a leaf reach to the 64th */
#define HALF 64       /* bits */

uint32_t set_fast6_cells(uint32_t prefixes)
{
	return 1 + prefixes / 4 + prefixes / 8 + SET_FAST6_SPARE;
}

static uint64_t shift_right(uint64_t bits, uint32_t count)
{
	return count < HALF ? bits >> count : 0;
}

static uint64_t shift_left(uint64_t bits, uint32_t count)
{
	return count < HALF ? bits << count : 0;
}

static uint32_t word_of(uint32_t number, uint32_t argument, enum set_fast kind)
{
	return number << SET_FAST6_SHIFT | argument << SET_FAST_SHIFT | kind;
}

/* ---- Finding ------------------------------------------------------------------------ */

static uint32_t argument_of(uint32_t word)
{
	return word >> SET_FAST_SHIFT & SET_FAST6_ARGUMENT;
}

/* The word behind a table or skip, if all of the prefix is there. */
static uint32_t *next_word(struct set_cell *trie, const uint32_t *word, uint64_t high,
			   uint8_t length, uint32_t bits)
{
	const uint32_t kind = *word & SET_FAST_KIND, count = argument_of(*word);
	struct set_cell *cell = &trie[*word >> SET_FAST6_SHIFT];
	const uint64_t behind = shift_left(high, bits);

	if ((kind != SET_FAST_TABLE && kind != SET_FAST_SKIP) || length < bits + count)
		return NULL;
	if (kind == SET_FAST_TABLE)
		return &cell->word[shift_right(behind, HALF - count)];
	return shift_right(behind ^ cell->skip.bits, HALF - count) ? NULL : &cell->skip.same;
}

uint32_t *set_fast6_find(struct set_cell *cells, uint64_t high, uint8_t length,
			 struct set_window *window)
{
	struct set_cell *trie = &cells[cells->head.fast];
	uint32_t *word = trie->word, *next;
	uint32_t bits = 0;

	while ((next = next_word(trie, word, high, length, bits))) {
		bits += argument_of(*word);
		word = next;
	}
	*window = (struct set_window){ .high = bits ? high & ~shift_right(~0ULL, bits) : 0,
				       .bits = bits };
	return word;
}

/* ---- Writing ------------------------------------------------------------------------ */

/* A word to be written: what its window is, and the pieces in it. */
struct task {
	uint32_t *word;
	const struct set_piece *piece;
	uint32_t count;
	struct set_window window;
};

struct writer {
	struct set_cell *cells;
	struct task *task; /* those that are larger than a leaf */
	uint32_t tasks;
	bool full;
};

/* Number of the first of so many new cells; 0, where the root is, if there is no room. */
static uint32_t take_cells(struct writer *w, uint32_t count)
{
	struct set_head *head = &w->cells->head;
	uint32_t number = head->fast_unused - head->fast;

	if (head->fast_unused >= head->cells || head->cells - head->fast_unused < count) {
		w->full = true;
		return 0;
	}
	memset(&w->cells[head->fast_unused], 0, count * sizeof(*w->cells));
	head->fast_unused += count;
	return number;
}

static struct set_cell *cell_at(const struct writer *w, uint32_t number)
{
	return &w->cells[w->cells->head.fast + number];
}

/* The longest ones first: the first that has an address decides. */
static void sort_by_length(const struct task *task, struct set_piece sorted[LEAF_MAX])
{
	for (uint32_t i = 0; i < task->count; i++) {
		uint32_t place = i;

		for (; place && sorted[place - 1].length < task->piece[i].length; place--)
			sorted[place] = sorted[place - 1];
		sorted[place] = task->piece[i];
	}
}

static uint32_t state_of(uint32_t word, bool have_words)
{
	const uint32_t kind = word & SET_FAST_KIND;

	if (kind < SET_FAST_LOOK)
		return kind;
	return have_words ? SET_FAST6_WORD : SET_FAST_LOOK;
}

static void write_entries(const struct writer *w, uint32_t number, uint32_t cells,
			  const struct set_piece sorted[LEAF_MAX], const struct task *task,
			  bool have_words)
{
	for (uint32_t i = 0; i < cells * SET_FAST6_ENTRIES; i++) {
		/* What is left is filled with the last one, once more. */
		const struct set_piece *piece = &sorted[i < task->count ? i : task->count - 1];
		struct set_fast6 *leaf = &cell_at(w, number + i / SET_FAST6_ENTRIES)->fast6;
		const uint64_t bits = shift_left(piece->high, task->window.bits) >>
				      (HALF - SET_FAST6_BITS);
		const uint32_t shift = SET_FAST6_BITS - (piece->length - task->window.bits);

		leaf->high[i % SET_FAST6_ENTRIES] = (uint32_t)(bits >> 16);
		leaf->low[i % SET_FAST6_ENTRIES] = (uint16_t)bits;
		leaf->entry[i % SET_FAST6_ENTRIES] =
			(uint8_t)(state_of(piece->word, have_words) << SET_FAST6_STATE_SHIFT |
				  shift);
		leaf->other = (uint8_t)state_of(task->window.other, have_words);
	}
}

static uint32_t write_leaf(struct writer *w, const struct task *task)
{
	const uint32_t cells = (task->count + SET_FAST6_ENTRIES - 1) / SET_FAST6_ENTRIES;
	const uint32_t words = task->count / SET_FAST_WORDS + 1;
	bool need_words = (task->window.other & SET_FAST_KIND) == SET_FAST_PREFIX;
	struct set_piece sorted[LEAF_MAX];
	uint32_t number;

	for (uint32_t i = 0; i < task->count; i++)
		need_words |= (task->piece[i].word & SET_FAST_KIND) == SET_FAST_PREFIX;
	number = take_cells(w, cells + (need_words ? words : 0));
	if (!number)
		return SET_FAST_LOOK;
	sort_by_length(task, sorted);
	write_entries(w, number, cells, sorted, task, need_words);
	if (need_words) {
		uint32_t *word = cell_at(w, number + cells)->word;

		word[0] = task->window.other;
		for (uint32_t i = 0; i < task->count; i++)
			word[i + 1] = sorted[i].word;
	}
	return word_of(number, cells, SET_FAST_LEAF);
}

static bool is_leaf(const struct task *task)
{
	if (task->count > LEAF_MAX)
		return false;
	for (uint32_t i = 0; i < task->count; i++)
		if (task->piece[i].length > task->window.bits + SET_FAST6_BITS)
			return false;
	return true;
}

/* Writes the word, or leaves it for later if there are too many pieces for a leaf. */
static void write_word(struct writer *w, const struct task *task)
{
	if (!task->count)
		*task->word = task->window.other;
	else if (is_leaf(task))
		*task->word = write_leaf(w, task);
	else
		w->task[w->tasks++] = *task;
}

/* Bits behind those of the window with which all its pieces begin. */
static uint32_t common_bits(const struct task *task)
{
	const uint64_t differ = task->piece[0].high ^ task->piece[task->count - 1].high;
	uint32_t common = differ ? (uint32_t)__builtin_clzll(differ) : HALF;

	for (uint32_t i = 0; i < task->count && common > task->window.bits; i++)
		if (task->piece[i].length < common)
			common = task->piece[i].length;
	/* Few pieces become a leaf as soon as they can. */
	if (task->count <= LEAF_MAX && common > FIRST_LEAF)
		common = FIRST_LEAF;
	return common - task->window.bits;
}

static void write_skip(struct writer *w, const struct task *task, uint32_t bits)
{
	const uint32_t number = take_cells(w, 1);
	struct task next = *task;
	struct set_fast6_skip *skip;

	*task->word = SET_FAST_LOOK;
	if (!number)
		return;
	skip = &cell_at(w, number)->skip;
	skip->bits = shift_left(task->piece->high, task->window.bits);
	skip->other = task->window.other;
	next.word = &skip->same;
	next.window.bits += bits;
	next.window.high = task->piece->high & ~shift_right(~0ULL, next.window.bits);
	if (task->piece->length == next.window.bits) { /* all of the new window */
		next.window.other = task->piece->word;
		next.piece++;
		next.count--;
	}
	write_word(w, &next);
	*task->word = word_of(number, bits, SET_FAST_SKIP);
}

static uint32_t table_bits(const struct task *task, uint32_t common)
{
	const uint32_t left = HALF - task->window.bits;
	uint32_t bits = 1;

	if (task->count <= LEAF_MAX) /* too long ones for a leaf: one cell of words */
		return SMALL_BITS;
	while (bits < TABLE_BITS && task->count >> bits > LEAF_USUAL)
		bits++;
	bits = bits + common < TABLE_BITS ? bits + common : TABLE_BITS;
	return bits < left ? bits : left;
}

/* Pieces that are whole words of a table, in each other. */
struct nest {
	uint32_t depth;
	struct {
		uint64_t last;
		uint32_t word;
	} open[HALF + 1];
};

/* What holds for addresses from `high` on that are in no longer piece. */
static uint32_t innermost(struct nest *nest, uint64_t high)
{
	while (nest->depth > 1 && nest->open[nest->depth - 1].last < high)
		nest->depth--;
	return nest->open[nest->depth - 1].word;
}

static void nest_piece(struct nest *nest, const struct set_piece *piece)
{
	innermost(nest, piece->high);
	nest->open[nest->depth].last = piece->high | shift_right(~0ULL, piece->length);
	nest->open[nest->depth++].word = piece->word;
}

static void write_table(struct writer *w, const struct task *task, uint32_t bits)
{
	const uint32_t inner = task->window.bits + bits;
	const uint32_t number = take_cells(w, ((1U << bits) + SET_FAST_WORDS - 1) / SET_FAST_WORDS);
	const struct set_piece *piece = task->piece, *end = piece + task->count;
	struct nest nest = { 1, { { ~0ULL, task->window.other } } };

	*task->word = SET_FAST_LOOK;
	if (!number)
		return;
	for (uint32_t i = 0; i < 1U << bits; i++) {
		const uint64_t high = task->window.high | shift_left(i, HALF - inner);
		const uint64_t last = high | shift_right(~0ULL, inner);
		struct task next = { .word = &cell_at(w, number)->word[i] };

		for (; piece < end && piece->high == high && piece->length <= inner; piece++)
			nest_piece(&nest, piece);
		next.window = (struct set_window){ high, inner, innermost(&nest, high) };
		next.piece = piece;
		while (piece < end && piece->high <= last)
			piece++;
		next.count = (uint32_t)(piece - next.piece);
		write_word(w, &next);
	}
	*task->word = word_of(number, bits, SET_FAST_TABLE);
}

int set_fast6_write(struct set_cell *cells, const struct set_piece *pieces, uint32_t count,
		    const struct set_window *window, uint32_t *word)
{
	struct task first = { .piece = pieces, .count = count, .window = *window };
	_cleanup_free_ struct task *task = NULL;
	struct writer w = { .cells = cells };

	/*
	 * What is left for later has pieces of its own: more than a leaf has, or fewer in one of
	 * the windows of so few bits that a leaf's do not reach to the end.
	 */
	w.task = task =
		calloc(count / LEAF_MAX + (count >> FIRST_LEAF ? 1U << FIRST_LEAF : count) + 2,
		       sizeof(*task));
	if (!task)
		return -ENOMEM;
	first.word = word;
	write_word(&w, &first);
	while (w.tasks) {
		const struct task next = w.task[--w.tasks];
		uint32_t common = common_bits(&next);

		if (common >= SKIP_MIN || (common && !next.window.bits))
			write_skip(&w, &next, common);
		else
			write_table(&w, &next, table_bits(&next, common));
	}
	return w.full ? -ENOSPC : 0;
}
