/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"
#include "filter/set_fast6.h"

#define LEAF_USUAL 8 /* a table has so many bits that its words get so many pieces each, or fewer */
#define SPLIT_BITS 3 /* of a leaf, at most */
#define TABLE_BITS 20 /* at most */
#define SMALL_BITS 4
#define SKIP_MIN 3 /* fewer bits become part of the table behind */
#define FIRST_SKIP_MAX 32
#define HALF 64                            /* bits */
#define FIRST_LEAF (HALF - SET_FAST6_BITS) /* from here on the bits of a leaf reach to the 64th */

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
	uint32_t *word = &cells->head.fast_word, *next;
	uint32_t bits = cells->head.fast_skip;

	if (length < bits || (bits && (high ^ cells->head.fast_bits) >> (HALF - bits)))
		return NULL;
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
	uint32_t whole; /* the last leaf without prefixes, 0 for none, and its end: windows share it */
	uint32_t whole_end;
};

/* Number of the first of so many new cells, 0 if there is no room. */
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

/* Pieces that are whole windows of so many bits, in each other. */
struct nest {
	uint32_t depth;
	struct {
		uint64_t last;
		struct set_says says;
	} open[HALF + 1];
};

/* What holds for addresses from `high` on that are in no longer piece. */
static struct set_says innermost(struct nest *nest, uint64_t high)
{
	while (nest->depth > 1 && nest->open[nest->depth - 1].last < high)
		nest->depth--;
	return nest->open[nest->depth - 1].says;
}

static void nest_piece(struct nest *nest, const struct set_piece *piece)
{
	innermost(nest, piece->high);
	nest->open[nest->depth].last = piece->high | shift_right(~0ULL, piece->length);
	nest->open[nest->depth++].says = piece->says;
}

/* A window, cut into smaller ones by its next few bits. */
struct parts {
	const struct task *task;
	const struct set_piece *piece; /* the next one */
	uint32_t bits, next;
	struct nest nest;
};

static void cut(struct parts *parts, const struct task *task, uint32_t bits)
{
	parts->task = task;
	parts->piece = task->piece;
	parts->bits = bits;
	parts->next = 0;
	parts->nest.depth = 1;
	parts->nest.open[0].last = ~0ULL;
	parts->nest.open[0].says = task->window.other;
}

/* The next one of the smaller windows, all but its word; false behind the last one. */
static bool next_part(struct parts *parts, struct task *part)
{
	const struct task *task = parts->task;
	const uint32_t inner = task->window.bits + parts->bits;
	const uint64_t high = task->window.high | shift_left(parts->next, HALF - inner);
	const uint64_t last = high | shift_right(~0ULL, inner);
	const struct set_piece *piece = parts->piece, *end = task->piece + task->count;

	if (parts->next++ >> parts->bits)
		return false;
	for (; piece < end && piece->high == high && piece->length <= inner; piece++)
		nest_piece(&parts->nest, piece);
	part->window = (struct set_window){ high, inner, innermost(&parts->nest, high) };
	part->piece = piece;
	while (piece < end && piece->high <= last)
		piece++;
	part->count = (uint32_t)(piece - part->piece);
	parts->piece = piece;
	return true;
}

/* Can a cell hold it? */
static bool is_cell(const struct task *task)
{
	if (task->count > SET_FAST6_ENTRIES)
		return false;
	for (uint32_t i = 0; i < task->count; i++)
		if (task->piece[i].length > task->window.bits + SET_FAST6_BITS)
			return false;
	return true;
}

static bool are_cells(const struct task *task, uint32_t bits)
{
	struct parts parts;
	struct task part;

	cut(&parts, task, bits);
	while (next_part(&parts, &part))
		if (!is_cell(&part))
			return false;
	return true;
}

/* By how many bits a leaf's cells are found; -1 if it is none. */
static int leaf_bits(const struct task *task)
{
	const uint32_t left = HALF - task->window.bits;

	if (is_cell(task))
		return 0;
	if (task->count > SET_FAST6_ENTRIES << SPLIT_BITS)
		return -1;
	for (uint32_t bits = 1; bits <= SPLIT_BITS && bits <= left; bits++)
		if (are_cells(task, bits))
			return (int)bits;
	return -1;
}

static void sort_by_length(const struct task *task, struct set_piece sorted[SET_FAST6_ENTRIES])
{
	for (uint32_t i = 0; i < task->count; i++) {
		uint32_t place = i;

		for (; place && sorted[place - 1].length > task->piece[i].length; place--)
			sorted[place] = sorted[place - 1];
		sorted[place] = task->piece[i];
	}
}

static void set_state(struct set_fast6 *leaf, uint8_t bits, const struct set_says *says)
{
	if (says->state & SET_FAST_IN)
		leaf->in |= bits;
	if (says->state & SET_FAST_LOOK)
		leaf->look |= bits;
	if (says->state == SET_FAST_UNTIL && says->end < leaf->until)
		leaf->until = says->end;
}

/* The longest ones last. Places that are left are the shortest one's, before it. */
static void write_cell(struct set_fast6 *leaf, const struct task *task)
{
	const uint32_t from = SET_FAST6_ENTRIES - task->count;
	struct set_piece sorted[SET_FAST6_ENTRIES];

	*leaf = (struct set_fast6){ .until = SET_FOREVER };
	if (!task->count) {
		set_state(leaf, 0xff, &task->window.other);
		return;
	}
	sort_by_length(task, sorted);
	set_state(leaf, 1 << SET_FAST6_ENTRIES, &task->window.other);
	for (uint32_t i = 0; i < SET_FAST6_ENTRIES; i++) {
		const struct set_piece *piece = &sorted[i < from ? 0 : i - from];
		const uint32_t length = piece->length - task->window.bits;

		leaf->entry[i] = shift_left(piece->high, task->window.bits) | (HALF - length);
		set_state(leaf, (uint8_t)(1 << (SET_FAST6_ENTRIES - 1 - i)), &piece->says);
	}
}

static uint32_t write_leaf(struct writer *w, const struct task *task, uint32_t bits)
{
	const uint32_t number = take_cells(w, 1U << bits);
	struct parts parts;
	struct task part;

	if (!number)
		return SET_FAST_LOOK;
	cut(&parts, task, bits);
	for (uint32_t i = 0; next_part(&parts, &part); i++)
		write_cell(&cell_at(w, number + i)->fast6, &part);
	return word_of(number, bits, SET_FAST_LEAF);
}

/* The word for what is in none of a window's pieces. */
static uint32_t write_whole(struct writer *w, const struct set_window *window)
{
	const struct set_says *other = &window->other;
	const struct task task = { .window = *window };

	if (other->state != SET_FAST_UNTIL)
		return other->state;
	if (!w->whole || w->whole_end != other->end) {
		w->whole = write_leaf(w, &task, 0);
		w->whole_end = other->end;
	}
	return w->whole;
}

/* Writes the word, or leaves it for later if there are too many pieces for a leaf. */
static void write_word(struct writer *w, const struct task *task)
{
	const int bits = leaf_bits(task);

	if (!task->count)
		*task->word = write_whole(w, &task->window);
	else if (bits >= 0)
		*task->word = write_leaf(w, task, (uint32_t)bits);
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
	if (task->count <= SET_FAST6_ENTRIES && common > FIRST_LEAF)
		common = FIRST_LEAF;
	return common - task->window.bits;
}

/* The window of so many bits more that all pieces are in. */
static void narrow(struct task *task, uint32_t bits)
{
	task->window.bits += bits;
	task->window.high = task->piece->high & ~shift_right(~0ULL, task->window.bits);
	if (task->piece->length == task->window.bits) { /* all of it */
		task->window.other = task->piece->says;
		task->piece++;
		task->count--;
	}
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
	skip->other = write_whole(w, &task->window);
	next.word = &skip->same;
	narrow(&next, bits);
	write_word(w, &next);
	*task->word = word_of(number, bits, SET_FAST_SKIP);
}

static uint32_t table_bits(const struct task *task, uint32_t common)
{
	const uint32_t left = HALF - task->window.bits;
	uint32_t bits = SMALL_BITS; /* one cell */

	while (bits < TABLE_BITS && task->count >> bits > LEAF_USUAL)
		bits++;
	bits = bits + common < TABLE_BITS ? bits + common : TABLE_BITS;
	return bits < left ? bits : left;
}

static void write_table(struct writer *w, const struct task *task, uint32_t bits)
{
	const uint32_t number = take_cells(w, ((1U << bits) + SET_FAST_WORDS - 1) / SET_FAST_WORDS);
	struct parts parts;
	struct task part;

	*task->word = SET_FAST_LOOK;
	if (!number)
		return;
	cut(&parts, task, bits);
	for (uint32_t i = 0; next_part(&parts, &part); i++) {
		part.word = &cell_at(w, number)->word[i];
		write_word(w, &part);
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
	 * What is left for later has pieces of its own: more than a cell has, or fewer in one of
	 * the windows of so few bits that a leaf's do not reach to the end.
	 */
	w.task = task = calloc(count / SET_FAST6_ENTRIES + (1U << FIRST_LEAF) + 2, sizeof(*task));
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

int set_fast6_build(struct set_cell *cells, const struct set_piece *pieces, uint32_t count,
		    const struct set_says *other)
{
	struct task task = { .piece = pieces, .count = count, .window.other = *other };
	struct set_head *head = &cells->head;
	uint32_t skip = count ? common_bits(&task) : 0;

	skip = skip < FIRST_SKIP_MAX ? skip : FIRST_SKIP_MAX;
	if (skip)
		narrow(&task, skip);
	head->fast_bits = task.window.high;
	head->fast_skip = (uint8_t)skip;
	head->fast_other = other->state == SET_FAST_UNTIL ? SET_FAST_LOOK : other->state;
	return set_fast6_write(cells, task.piece, task.count, &task.window, &head->fast_word);
}
