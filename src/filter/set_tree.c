/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"
#include "filter/set_fast6.h"
#include "filter/set_tree.h"

#define NODE 8      /* children of an index node, ranges of a leaf */
#define NODE_FILL 6 /* ranges of a leaf that is built, so that it can take some more */
#define SPARE 64    /* leaves and prefixes, in the smallest set */
#define FIRST_CELL 3
#define FAST_TABLE ((1U << SET_FAST_BITS) / SET_FAST_WORDS) /* cells */
#define FAST_SPARE 1024
#define FAST_OPEN (32 - SET_FAST_BITS) /* bits that a word of the table leaves open */
#define DEPTH 129                      /* prefixes that can cover one address */

static const uint64_t all_ones = ~0ULL;

/* ---- Addresses ------------------------------------------------------------------- */

struct set_addr set_addr_read(uint8_t family, const uint8_t *bytes)
{
	struct set_addr addr = { 0, 0 };

	if (family == AF_INET) {
		for (size_t i = 0; i < 4; i++)
			addr.high = addr.high << 8 | bytes[i];
		return addr;
	}
	for (size_t i = 0; i < 8; i++) {
		addr.high = addr.high << 8 | bytes[i];
		addr.low = addr.low << 8 | bytes[i + 8];
	}
	return addr;
}

void set_addr_write(uint8_t family, const struct set_addr *addr, uint8_t *bytes)
{
	if (family == AF_INET) {
		for (size_t i = 0; i < 4; i++)
			bytes[i] = (uint8_t)(addr->high >> (24 - 8 * i));
		return;
	}
	for (size_t i = 0; i < 8; i++) {
		bytes[i] = (uint8_t)(addr->high >> (56 - 8 * i));
		bytes[i + 8] = (uint8_t)(addr->low >> (56 - 8 * i));
	}
}

static bool below(const struct set_addr *a, const struct set_addr *b)
{
	return a->high < b->high || (a->high == b->high && a->low < b->low);
}

static bool equal(const struct set_addr *a, const struct set_addr *b)
{
	return a->high == b->high && a->low == b->low;
}

/* Of one family's numbers the ones that a prefix leaves open; shifts by all bits are undefined. */
static struct set_addr open_bits(uint8_t family, uint8_t length)
{
	if (family == AF_INET)
		return (struct set_addr){ 0xffffffffULL >> length, 0 };
	return (struct set_addr){
		.high = length >= 64 ? 0 : all_ones >> length,
		.low = length >= 128 ? 0 :
		       length > 64   ? all_ones >> (length - 64) :
				       all_ones,
	};
}

static struct set_addr last_of(uint8_t family, const struct set_net *net)
{
	const struct set_addr open = open_bits(family, net->length);

	return (struct set_addr){ net->addr.high | open.high, net->addr.low | open.low };
}

/* The address before, which there is. */
static struct set_addr before(uint8_t family, const struct set_addr *addr)
{
	if (family == AF_INET)
		return (struct set_addr){ addr->high - 1, 0 };
	return (struct set_addr){ addr->high - !addr->low, addr->low - 1 };
}

/* The address behind, which nobody asks for behind the last one. */
static struct set_addr after(uint8_t family, const struct set_addr *addr)
{
	if (family == AF_INET)
		return (struct set_addr){ addr->high + 1, 0 };
	return (struct set_addr){ addr->high + !(addr->low + 1), addr->low + 1 };
}

bool set_net_mask(uint8_t family, struct set_net *net)
{
	const struct set_addr open = open_bits(family, net->length);
	const bool any = (net->addr.high & open.high) || (net->addr.low & open.low);

	net->addr.high &= ~open.high;
	net->addr.low &= ~open.low;
	return any;
}

static bool same_net(const struct set_net *a, const struct set_net *b)
{
	return equal(&a->addr, &b->addr) && a->length == b->length;
}

static int compare_nets(const void *a, const void *b)
{
	const struct set_net *x = a, *y = b;

	if (!equal(&x->addr, &y->addr))
		return below(&x->addr, &y->addr) ? -1 : 1;
	if (x->length != y->length)
		return x->length - y->length;
	return x->order < y->order ? -1 : x->order > y->order;
}

uint32_t set_nets_sort(struct set_net *nets, uint32_t count)
{
	uint32_t kept = 0, i = 1;

	while (i < count && compare_nets(&nets[i - 1], &nets[i]) < 0)
		i++;
	if (i < count)
		qsort(nets, count, sizeof(*nets), compare_nets);
	for (i = 0; i < count; i++) {
		if (kept && same_net(&nets[kept - 1], &nets[i]))
			kept--;
		nets[kept++] = nets[i];
	}
	return kept;
}

/* ---- Nodes ----------------------------------------------------------------------- */

static uint32_t fan_of(uint8_t family)
{
	return family == AF_INET ? 16 : 8;
}

static uint32_t node_cells(uint8_t family)
{
	return family == AF_INET ? 1 : 3;
}

static uint32_t level_cells(uint8_t family)
{
	return family == AF_INET ? 1 : 2;
}

static uint8_t family_of(const struct set_cell *cells)
{
	return cells->head.family;
}

/* Of an index node or leaf. */
static struct set_addr node_last(uint8_t family, const struct set_cell *node, uint32_t i)
{
	if (family == AF_INET)
		return (struct set_addr){ node->node4.last[i], 0 };
	return (struct set_addr){ node->quad[i], node[2].quad[i] };
}

static uint32_t node_value(uint8_t family, const struct set_cell *node, uint32_t i)
{
	return family == AF_INET ? node->node4.value[i] : node[1].word[i];
}

static void node_set(uint8_t family, struct set_cell *node, uint32_t i, const struct set_addr *last,
		     uint32_t value)
{
	if (family == AF_INET) {
		node->node4.last[i] = (uint32_t)last->high;
		node->node4.value[i] = value;
	} else {
		node->quad[i] = last->high;
		node[1].word[i] = value;
		node[2].quad[i] = last->low;
	}
}

static void node_clear(struct set_cell *node, uint32_t cells)
{
	memset(node, SET_LAST_PAD, cells * sizeof(*node));
}

/* The first child that does not end before the address. */
static uint32_t node_find(uint8_t family, const struct set_cell *node, const struct set_addr *addr)
{
	uint32_t i = 0;

	for (; i < NODE - 1; i++) {
		const struct set_addr last = node_last(family, node, i);

		if (!below(&last, addr))
			break;
	}
	return i;
}

/* ---- Sizes ----------------------------------------------------------------------- */

static uint32_t nodes_for(uint32_t leaves)
{
	return (leaves + NODE - 1) / NODE;
}

static uint64_t directory_cells(uint8_t family, uint32_t leaves)
{
	const uint32_t fan = fan_of(family);
	uint32_t nodes = nodes_for(leaves);
	uint64_t cells = (uint64_t)nodes * node_cells(family);

	while (nodes > 1) {
		nodes = (nodes + fan - 1) / fan;
		cells += (uint64_t)nodes * level_cells(family);
	}
	return cells;
}

static uint32_t leaves_for(uint32_t prefixes)
{
	const uint64_t leaves = (2ULL * prefixes + 1) / NODE_FILL + 1;

	return (uint32_t)(leaves + leaves / 8 + SPARE);
}

static uint32_t slots_for(uint32_t prefixes)
{
	return 1 + prefixes + prefixes / 8 + SPARE;
}

/*
 * A leaf for each word of the table, at most, and for prefixes that are close together some more.
 */
static uint32_t fast_cells(uint32_t prefixes)
{
	const uint32_t most = 1U << SET_FAST_BITS;

	return (prefixes < most / 2 ? prefixes * 2 : most) + prefixes / 4 + FAST_SPARE;
}

/* Fills the head but for what changes. Returns the cells that it takes. */
static uint64_t lay_out(struct set_head *head, uint8_t family, uint32_t prefixes)
{
	const uint32_t leaves = leaves_for(prefixes);
	const uint64_t directory = directory_cells(family, leaves);
	uint64_t at = FIRST_CELL;

	memset(head, 0, sizeof(*head));
	head->family = family;
	at += 2 * directory;
	head->first_leaf = (uint32_t)at;
	head->max_leaves = leaves;
	at += (uint64_t)leaves * node_cells(family);
	head->first_prefix = (uint32_t)at;
	head->max_prefixes = slots_for(prefixes);
	at += (head->max_prefixes + SET_PREFIXES - 1) / SET_PREFIXES;
	if (prefixes >= SET_FAST_MIN) {
		head->fast = (uint32_t)at;
		head->fast_unused = (uint32_t)at + (family == AF_INET ? FAST_TABLE : 1);
		at += family == AF_INET ? FAST_TABLE + fast_cells(prefixes) :
					  set_fast6_cells(prefixes);
	}
	head->cells = (uint32_t)at;
	return at;
}

uint32_t set_tree_cells(uint8_t family, uint32_t prefixes)
{
	struct set_head head;
	uint64_t cells;

	/* An array's memory is counted in 32 bits by older kernels. */
	if (prefixes > 1U << 24)
		return 0;
	cells = lay_out(&head, family, prefixes);
	return cells * SET_CELL > 0xffffffffULL - 65536 ? 0 : (uint32_t)cells;
}

/* ---- Prefixes -------------------------------------------------------------------- */

static struct set_prefix *prefix_at(const struct set_cell *cells, uint32_t number)
{
	/* The map is ours to write; `cells` is const for those who only look. */
	struct set_cell *cell = (struct set_cell *)(uintptr_t)cells + cells->head.first_prefix +
				number / SET_PREFIXES;

	return &cell->prefix[number % SET_PREFIXES];
}

const struct set_prefix *set_tree_prefix(const struct set_tree *tree, uint32_t number)
{
	return prefix_at(tree->cells, number);
}

static uint32_t label_of(const struct set_cell *cells, uint32_t number)
{
	const struct set_prefix *prefix = prefix_at(cells, number);

	if (!number)
		return 0;
	return number << SET_LABEL_SHIFT |
	       (prefix->end != SET_FOREVER || prefix->flags & SET_NOMATCH ? SET_LABEL_LOOK : 0);
}

static struct set_net net_of(uint8_t family, const struct set_prefix *prefix)
{
	return (struct set_net){
		.addr = set_addr_read(family, (const uint8_t *)prefix->addr),
		.end = prefix->end,
		.length = prefix->length,
		.flags = prefix->flags & SET_NOMATCH,
	};
}

/* It is there, for those who read all prefixes, as soon as SET_USED is. */
static void fill_prefix(struct set_cell *cells, uint32_t number, const struct set_net *net,
			uint32_t parent)
{
	struct set_prefix *prefix = prefix_at(cells, number);

	memset(prefix, 0, sizeof(*prefix));
	set_addr_write(family_of(cells), &net->addr, (uint8_t *)prefix->addr);
	prefix->end = net->end;
	prefix->parent = parent;
	prefix->length = net->length;
	__atomic_store_n(&prefix->flags, (uint8_t)(net->flags | SET_USED), __ATOMIC_RELEASE);
	cells->head.count++;
	cells->head.wide_prefixes += net->length > 64;
}

static uint32_t take_prefix(struct set_head *head, const struct set_cell *cells)
{
	uint32_t number = head->free;

	if (number) {
		head->free = prefix_at(cells, number)->next;
		return number;
	}
	return head->unused < head->max_prefixes ? head->unused++ : 0;
}

/* Readers may still come by: they need its end, flags and parent until the next change. */
static void give_prefix(struct set_cell *cells, uint32_t number)
{
	struct set_prefix *prefix = prefix_at(cells, number);

	prefix->flags &= (uint8_t)~SET_USED;
	prefix->next = cells->head.free;
	cells->head.free = number;
	cells->head.count--;
	cells->head.wide_prefixes -= prefix->length > 64;
}

int64_t set_tree_export(const struct set_tree *tree, uint32_t now, struct set_net **nets)
{
	const struct set_cell *cells = tree->cells;
	uint32_t count = 0;

	*nets = malloc((cells->head.unused + 1UL) * sizeof(**nets));
	if (!*nets)
		return -ENOMEM;
	for (uint32_t i = 1; i < cells->head.unused; i++) {
		const struct set_prefix *prefix = prefix_at(cells, i);

		if (prefix->flags & SET_USED && prefix->end > now)
			(*nets)[count++] = net_of(family_of(cells), prefix);
	}
	return count;
}

/* ---- The directory --------------------------------------------------------------- */

struct leaf {
	struct set_addr last;
	uint32_t cell;
};

/* A growing array of leaves. */
struct leaves {
	struct leaf *leaf;
	uint32_t count;
};

static void write_index(struct set_cell *cells, uint32_t at, const struct leaves *leaves)
{
	const uint8_t family = family_of(cells);
	const uint32_t size = node_cells(family);

	for (uint32_t i = 0; i < leaves->count; i++) {
		struct set_cell *node = &cells[at + i / NODE * size];

		if (i % NODE == 0)
			node_clear(node, size);
		node_set(family, node, i % NODE, &leaves->leaf[i].last, leaves->leaf[i].cell);
	}
}

/* The level above `count` nodes, of which each spans `leaves_each` leaves. */
static void write_level(struct set_cell *cells, uint32_t at, uint32_t count, uint64_t leaves_each,
			const struct leaves *leaves)
{
	const uint8_t family = family_of(cells);
	const uint32_t fan = fan_of(family), size = level_cells(family);

	for (uint32_t i = 0; i < count; i++) {
		struct set_cell *node = &cells[at + i / fan * size];
		uint64_t end = (i + 1) * leaves_each;
		const struct set_addr *last =
			&leaves->leaf[(end < leaves->count ? end : leaves->count) - 1].last;

		if (i % fan == 0)
			node_clear(node, size);
		if (family == AF_INET) {
			node->word[i % fan] = (uint32_t)last->high;
		} else {
			node->quad[i % fan] = last->high;
			node[1].quad[i % fan] = last->low;
		}
	}
}

/* Writes the directory that is not in force, whole. */
static uint32_t write_directory(struct set_cell *cells, const struct leaves *leaves)
{
	struct set_head *head = &cells->head;
	const uint32_t fan = fan_of(family_of(cells)), root = head->root == 1 ? 2 : 1;
	struct set_directory *directory = &cells[root].directory;
	uint32_t at = FIRST_CELL, count = nodes_for(leaves->count), levels = 0;
	uint32_t start[SET_LEVELS];
	uint64_t each = NODE;

	if (root == 2)
		at += (head->first_leaf - FIRST_CELL) / 2;
	memset(directory, 0, sizeof(*directory));
	directory->index = at;
	directory->prefixes = head->first_prefix;
	directory->wide = head->wide_prefixes > 0;
	directory->leaves = leaves->count;
	directory->nodes = count;
	write_index(cells, at, leaves);
	at += count * node_cells(family_of(cells));
	for (; count > 1; each *= fan) {
		write_level(cells, at, count, each, leaves);
		start[levels++] = at;
		count = (count + fan - 1) / fan;
		at += count * level_cells(family_of(cells));
	}
	directory->levels = levels;
	for (uint32_t i = 0; i < levels; i++)
		directory->level[i] = start[levels - 1 - i];
	return root;
}

/* The leaves of the directory in force, with room for `more` of them. */
static int read_directory(const struct set_cell *cells, uint32_t more, struct leaves *leaves)
{
	const uint8_t family = family_of(cells);
	const struct set_directory *directory = &cells[cells->head.root].directory;

	leaves->count = directory->leaves;
	leaves->leaf = calloc((size_t)leaves->count + more, sizeof(*leaves->leaf));
	if (!leaves->leaf)
		return -ENOMEM;
	for (uint32_t i = 0; i < leaves->count; i++) {
		const struct set_cell *node =
			&cells[directory->index + i / NODE * node_cells(family)];

		leaves->leaf[i].last = node_last(family, node, i % NODE);
		leaves->leaf[i].cell = node_value(family, node, i % NODE);
	}
	return 0;
}

/* ---- The fast way ---------------------------------------------------------------- */

/* Ranges of one word of the table, merged where nothing but the prefix differs. */
struct fast {
	struct set_cell *cells;
	uint32_t ranges;
	struct {
		uint32_t last;
		struct set_says says;
	} range[1U << FAST_OPEN];
	uint32_t whole; /* the last leaf of one range, 0 for none, and its end: words share it */
	uint32_t whole_end;
};

/* Exceptions that end are left to the ranges. */
static struct set_says says_of(const struct set_cell *cells, uint32_t label)
{
	const struct set_prefix *prefix = prefix_at(cells, label >> SET_LABEL_SHIFT);
	struct set_says says = { .end = SET_FOREVER, .state = SET_FAST_IN };

	if (!label)
		return (struct set_says){ SET_FOREVER, SET_FAST_OUT };
	if (prefix->end == SET_FOREVER) {
		if (prefix->flags & SET_NOMATCH)
			says.state = SET_FAST_OUT;
		return says;
	}
	says.end = prefix->end;
	says.state = prefix->flags & SET_NOMATCH ? SET_FAST_LOOK : SET_FAST_UNTIL;
	return says;
}

/* The index node that has the address. */
static uint32_t find_index(const struct set_cell *cells, const struct set_addr *addr)
{
	const uint8_t family = family_of(cells);
	const struct set_directory *directory = &cells[cells->head.root].directory;
	uint32_t low = 0, high = directory->nodes - 1;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct set_addr last = node_last(
			family, &cells[directory->index + middle * node_cells(family)], NODE - 1);

		if (below(&last, addr))
			low = middle + 1;
		else
			high = middle;
	}
	return directory->index + low * node_cells(family);
}

static void fast_append(struct fast *fast, uint32_t last, uint32_t label)
{
	struct set_says says = says_of(fast->cells, label);

	if (!fast->ranges || fast->range[fast->ranges - 1].says.state != says.state)
		fast->ranges++;
	else if (fast->range[fast->ranges - 1].says.end < says.end)
		says.end = fast->range[fast->ranges - 1].says.end;
	fast->range[fast->ranges - 1].last = last;
	fast->range[fast->ranges - 1].says = says;
}

/* All ranges from the first address to the last one, which ends the last range. */
static void fast_collect(struct fast *fast, uint32_t first, uint32_t last)
{
	const struct set_cell *cells = fast->cells;
	struct set_addr addr = { first, 0 };
	uint32_t index = find_index(cells, &addr);
	uint32_t child = node_find(AF_INET, &cells[index], &addr);

	fast->ranges = 0;
	while (true) {
		const struct set_node4 *leaf = &cells[cells[index].node4.value[child]].node4;

		for (uint32_t i = 0; i < NODE; i++) {
			if (leaf->last[i] >= first)
				fast_append(fast, leaf->last[i], leaf->value[i]);
			if (leaf->last[i] >= last)
				return;
			if (leaf->last[i] == cells[index].node4.last[child])
				break;
		}
		if (++child == NODE) {
			child = 0;
			index++;
		}
	}
}

/* Readers look closer where there is no room. */
static uint32_t fast_take(struct set_head *head)
{
	return head->fast_unused < head->cells ? head->fast_unused++ : 0;
}

static uint32_t fast_leaf(const struct fast *fast, uint32_t from, uint32_t to)
{
	const uint32_t number = fast_take(&fast->cells->head);
	struct set_fast4 *leaf = &fast->cells[number].fast4;

	if (!number)
		return SET_FAST_LOOK;
	memset(leaf->last, SET_LAST_PAD, sizeof(leaf->last));
	leaf->states = 0;
	leaf->until = SET_FOREVER;
	for (uint32_t i = from; i <= to; i++) {
		const struct set_says *says = &fast->range[i].says;

		leaf->states |= (__u64)says->state << (i - from) * 2;
		if (says->state == SET_FAST_UNTIL && says->end < leaf->until)
			leaf->until = says->end;
		if (i < to)
			leaf->last[i - from] = (__u16)fast->range[i].last;
	}
	return number << SET_FAST_SHIFT | SET_FAST_LEAF;
}

static uint32_t fast_whole(struct fast *fast, uint32_t range)
{
	const struct set_says *says = &fast->range[range].says;

	if (says->state != SET_FAST_UNTIL)
		return says->state;
	if (!fast->whole || fast->whole_end != says->end) {
		fast->whole = fast_leaf(fast, range, range);
		fast->whole_end = says->end;
	}
	return fast->whole;
}

/* A word to be written: of what begins with `first` and leaves so many bits open. */
struct fast_task {
	uint32_t *word;
	uint32_t first, bits;
	uint32_t from, to; /* its ranges */
};

/* Each of the levels below the first table leaves 15 words for later, and the last one all. */
#define FAST_TASKS (FAST_OPEN / 4 * SET_FAST_WORDS + 1)

/* The words of a new table, to be written; the table's own word, or SET_FAST_LOOK. */
static uint32_t fast_table(const struct fast *fast, const struct fast_task *task,
			   struct fast_task tasks[FAST_TASKS], uint32_t *count)
{
	const uint32_t number = fast_take(&fast->cells->head), bits = task->bits - 4;
	uint32_t from = task->from;

	if (!number)
		return SET_FAST_LOOK;
	for (uint32_t i = 0; i < SET_FAST_WORDS; i++) {
		const uint32_t start = task->first + (i << bits), end = start + (1U << bits) - 1;
		uint32_t stop = from;

		while (stop < task->to && fast->range[stop].last < end)
			stop++;
		tasks[(*count)++] =
			(struct fast_task){ &fast->cells[number].word[i], start, bits, from, stop };
		from = fast->range[stop].last == end && stop < task->to ? stop + 1 : stop;
	}
	return number << SET_FAST_SHIFT | SET_FAST_TABLE;
}

/* The word for what begins with `first` and leaves so many bits open: all ranges collected. */
static uint32_t fast_word(struct fast *fast, uint32_t first, uint32_t bits)
{
	struct fast_task tasks[FAST_TASKS];
	uint32_t count = 1, word = SET_FAST_LOOK;

	tasks[0] = (struct fast_task){ &word, first, bits, 0, fast->ranges - 1 };
	while (count) {
		const struct fast_task task = tasks[--count];

		if (task.from == task.to)
			*task.word = fast_whole(fast, task.from);
		else if (task.to - task.from <= SET_FAST_LASTS)
			*task.word = fast_leaf(fast, task.from, task.to);
		else
			*task.word = fast_table(fast, &task, tasks, &count);
	}
	return word;
}

static int write_fast4(struct set_cell *cells, uint32_t first, uint32_t last)
{
	_cleanup_free_ struct fast *fast = NULL;

	fast = calloc(1, sizeof(*fast));
	if (!fast)
		return -ENOMEM;
	fast->cells = cells;
	for (uint32_t i = first >> FAST_OPEN; i <= last >> FAST_OPEN; i++) {
		const uint32_t start = i << FAST_OPEN, end = start + (1U << FAST_OPEN) - 1;
		uint32_t *word =
			&cells[cells->head.fast + i / SET_FAST_WORDS].word[i % SET_FAST_WORDS];

		fast_collect(fast, start, end);
		__atomic_store_n(word, fast_word(fast, start, FAST_OPEN), __ATOMIC_RELEASE);
	}
	return 0;
}

/* Prefixes of a window of the trie, in ascending order, as ranges bring them. */
struct pieces {
	const struct set_cell *cells;
	struct set_window window;
	struct set_piece *piece;
	uint32_t count, room;
	bool look_all; /* the window is a /64 with longer prefixes */
	uint32_t depth;
	struct {
		uint32_t number;
		struct set_addr last;
	} open[DEPTH];
};

/* Does one piece come before another? */
static bool is_sooner(const struct set_piece *a, const struct set_piece *b)
{
	// clang-tidy 14 takes what realloc() keeps for garbage
	// NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
	return a->high != b->high ? a->high < b->high : a->length < b->length;
}

static int add_piece(struct pieces *p, const struct set_piece *piece)
{
	struct set_piece *grown;
	uint32_t place = p->count;

	if (p->count == p->room) {
		p->room = p->room ? p->room * 2 : 64;
		grown = realloc(p->piece, p->room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		p->piece = grown;
	}
	/* A prefix whose beginning belongs to longer ones comes behind them. */
	for (; place && is_sooner(piece, &p->piece[place - 1]); place--)
		p->piece[place] = p->piece[place - 1];
	p->piece[place] = *piece;
	p->count++;
	return 0;
}

static struct set_piece *last_piece(struct pieces *p, uint64_t high, uint8_t length)
{
	struct set_piece *last = p->count ? &p->piece[p->count - 1] : NULL;

	return last && last->high == high && last->length == length ? last : NULL;
}

/* All of the /64 is left to the ranges, also where it is a prefix itself. */
static int add_long(struct pieces *p, uint64_t high)
{
	struct set_piece *last = last_piece(p, high, 64);

	if (last)
		last->says.state = SET_FAST_LOOK;
	else if (p->window.bits == 64)
		p->look_all = true;
	else
		return add_piece(p, &(struct set_piece){ high, { .state = SET_FAST_LOOK }, 64 });
	return 0;
}

static int add_range(struct pieces *p, const struct set_addr *start, uint32_t label)
{
	const uint32_t number = label >> SET_LABEL_SHIFT;
	const struct set_prefix *prefix = prefix_at(p->cells, number);
	struct set_says says;
	struct set_net net;

	if (!number)
		return 0;
	if (prefix->length > 64)
		return add_long(p, start->high);
	while (p->depth && below(&p->open[p->depth - 1].last, start))
		p->depth--;
	if (p->depth && p->open[p->depth - 1].number == number)
		return 0;
	says = says_of(p->cells, label);
	if (prefix->length <= p->window.bits) {
		p->window.other = says;
		return 0;
	}
	net = net_of(AF_INET6, prefix);
	p->open[p->depth].last = last_of(AF_INET6, &net);
	p->open[p->depth++].number = number;
	if (net.length == 64 && last_piece(p, net.addr.high, 64)) /* with longer ones */
		return 0;
	return add_piece(p, &(struct set_piece){ net.addr.high, says, net.length });
}

/* All ranges that have an address of the window. */
static int collect_pieces(struct pieces *p)
{
	const struct set_cell *cells = p->cells;
	const uint64_t open = p->window.bits < 64 ? all_ones >> p->window.bits : 0;
	const struct set_addr last = { p->window.high | open, all_ones };
	struct set_addr start = { p->window.high, 0 };
	uint32_t index = find_index(cells, &start);
	uint32_t child = node_find(AF_INET6, &cells[index], &start);
	int err = 0;

	while (!err) {
		const struct set_addr leaf_last = node_last(AF_INET6, &cells[index], child);
		const struct set_cell *leaf = &cells[node_value(AF_INET6, &cells[index], child)];

		for (uint32_t i = node_find(AF_INET6, leaf, &start); i < NODE && !err; i++) {
			const struct set_addr end = node_last(AF_INET6, leaf, i);

			err = add_range(p, &start, node_value(AF_INET6, leaf, i));
			if (!below(&end, &last))
				return err;
			start = after(AF_INET6, &end);
			if (equal(&end, &leaf_last))
				break;
		}
		if (++child == NODE) {
			child = 0;
			index += node_cells(AF_INET6);
		}
	}
	return err;
}

static int build_fast6(struct set_cell *cells)
{
	struct pieces pieces = { .cells = cells };
	int err = collect_pieces(&pieces);

	err = err ? err : set_fast6_build(cells, pieces.piece, pieces.count, &pieces.window.other);
	free(pieces.piece);
	return err;
}

/* -ENOSPC: there was no room for all of them, and the word leaves what is missing to the ranges. */
static int write_pieces(struct pieces *pieces, struct set_cell *cells, uint32_t *word)
{
	if (pieces->look_all)
		pieces->window.other.state = SET_FAST_LOOK;
	return set_fast6_write(cells, pieces->piece, pieces->count, &pieces->window, word);
}

static int write_fast6(struct set_cell *cells, uint64_t high, uint8_t length)
{
	struct pieces pieces = { .cells = cells };
	uint32_t *at = set_fast6_find(cells, high, length < 64 ? length : 64, &pieces.window), word;
	int err = at ? collect_pieces(&pieces) : -ERANGE;

	err = err ? err : write_pieces(&pieces, cells, &word);
	/* Until here lookups meet the old ones. */
	if (!err || err == -ENOSPC)
		__atomic_store_n(at, word, __ATOMIC_RELEASE);
	free(pieces.piece);
	return err;
}

/* -ENOSPC as set_fast6_write(). */
static int build_fast(struct set_cell *cells)
{
	if (!cells->head.fast)
		return 0;
	return family_of(cells) == AF_INET6 ? build_fast6(cells) : write_fast4(cells, 0, ~0U);
}

/*
 * Says anew what the leaves in force say of these addresses. -ENOSPC: the set has to be built anew.
 */
static int write_fast(struct set_cell *cells, const struct set_addr *first,
		      const struct set_addr *last, uint8_t length)
{
	int err;

	if (!cells->head.fast)
		return 0;
	if (family_of(cells) == AF_INET)
		return write_fast4(cells, (uint32_t)first->high, (uint32_t)last->high);
	err = write_fast6(cells, first->high, length);
	if (err == -ENOSPC && cells->head.fast_unused == SET_FAST_PARTIAL)
		return 0;
	return err == -ERANGE ? -ENOSPC : err;
}

/* So little room that it is time to build anew; where even that did not help, no matter. */
static bool fast_is_full(const struct set_head *head)
{
	return head->fast && head->fast_unused != SET_FAST_PARTIAL &&
	       head->cells - head->fast_unused <
		       (head->family == AF_INET ? FAST_SPARE : SET_FAST6_SPARE) / 4;
}

/* ---- Building -------------------------------------------------------------------- */

struct builder {
	struct set_cell *cells;
	struct leaves leaves;
	uint32_t ranges; /* in the last leaf */
	uint32_t next_leaf;
	bool any;
	struct set_addr last; /* up to where there are ranges, if there are any */
	uint32_t depth;
	struct {
		uint32_t number;
		struct set_addr last;
	} open[DEPTH];
};

/* What lies between the last range and `last` belongs to the innermost open prefix. */
static void emit(struct builder *b, const struct set_addr *last)
{
	const uint8_t family = family_of(b->cells);
	const uint32_t owner = b->depth ? b->open[b->depth - 1].number : 0;
	struct leaf *leaf;

	if (b->any && !below(&b->last, last))
		return;
	if (!b->any || b->ranges == NODE_FILL) {
		leaf = &b->leaves.leaf[b->leaves.count++];
		leaf->cell = b->next_leaf;
		b->next_leaf += node_cells(family);
		node_clear(&b->cells[leaf->cell], node_cells(family));
		b->ranges = 0;
	}
	leaf = &b->leaves.leaf[b->leaves.count - 1];
	leaf->last = *last;
	node_set(family, &b->cells[leaf->cell], b->ranges++, last, label_of(b->cells, owner));
	b->last = *last;
	b->any = true;
}

static void close_prefix(struct builder *b)
{
	emit(b, &b->open[b->depth - 1].last);
	b->depth--;
}

static void open_prefix(struct builder *b, const struct set_net *net)
{
	const uint8_t family = family_of(b->cells);
	const uint32_t number = b->cells->head.unused++;
	struct set_addr gap;

	while (b->depth && below(&b->open[b->depth - 1].last, &net->addr))
		close_prefix(b);
	if (net->addr.high || net->addr.low) {
		gap = before(family, &net->addr);
		emit(b, &gap);
	}
	fill_prefix(b->cells, number, net, b->depth ? b->open[b->depth - 1].number : 0);
	b->open[b->depth].number = number;
	b->open[b->depth++].last = last_of(family, net);
}

int set_tree_build(struct set_cell *cells, uint32_t count, uint8_t family,
		   const struct set_net *nets, uint32_t nets_count)
{
	_cleanup_free_ struct leaf *leaf = NULL;
	struct builder b = { .cells = cells };
	const struct set_addr end = open_bits(family, 0);
	int err;

	if (count < set_tree_cells(family, nets_count))
		return -ENOSPC;
	lay_out(&cells->head, family, nets_count);
	cells->head.unused = 1;
	leaf = malloc(cells->head.max_leaves * sizeof(*leaf));
	if (!leaf)
		return -ENOMEM;
	b.leaves.leaf = leaf;
	b.next_leaf = cells->head.first_leaf;
	for (uint32_t i = 0; i < nets_count; i++)
		open_prefix(&b, &nets[i]);
	while (b.depth)
		close_prefix(&b);
	emit(&b, &end);
	cells->head.root = write_directory(cells, &b.leaves);
	err = build_fast(cells);
	if (err == -ENOSPC)
		cells->head.fast_unused = SET_FAST_PARTIAL;
	return err == -ENOSPC ? 0 : err;
}

/* ---- Looking --------------------------------------------------------------------- */

static uint32_t label_at(const struct set_cell *cells, const struct set_addr *addr)
{
	const uint8_t family = family_of(cells);
	const struct set_cell *node = &cells[find_index(cells, addr)];

	node = &cells[node_value(family, node, node_find(family, node, addr))];
	return node_value(family, node, node_find(family, node, addr));
}

bool set_tree_test(const struct set_tree *tree, const struct set_addr *addr, uint32_t now)
{
	uint32_t number = label_at(tree->cells, addr) >> SET_LABEL_SHIFT;
	const struct set_prefix *prefix;

	for (; number; number = prefix->parent) {
		prefix = prefix_at(tree->cells, number);
		if (prefix->end > now)
			return !(prefix->flags & SET_NOMATCH);
	}
	return false;
}

/* The longest prefix that covers the net, be it the net itself. */
static uint32_t find_cover(const struct set_cell *cells, const struct set_net *net)
{
	uint32_t number = label_at(cells, &net->addr) >> SET_LABEL_SHIFT;

	while (number && prefix_at(cells, number)->length > net->length)
		number = prefix_at(cells, number)->parent;
	return number;
}

uint32_t set_tree_find(const struct set_tree *tree, const struct set_net *net)
{
	uint32_t number = find_cover(tree->cells, net);

	return number && prefix_at(tree->cells, number)->length == net->length ? number : 0;
}

/* ---- Changing -------------------------------------------------------------------- */

struct range {
	struct set_addr last;
	uint32_t label;
};

/* A stretch of addresses in which what belonged to prefix `from` goes to `to`. */
struct change {
	struct set_cell *cells;
	struct set_addr first, last;
	uint8_t length; /* of the prefix that it is */
	uint32_t from, to;
	struct range *range;
	uint32_t ranges;
};

static int begin_change(struct set_tree *tree)
{
	struct set_head *head = &tree->cells->head;
	int err;

	if (head->state == SET_CHANGING)
		return -ESTALE;
	if (fast_is_full(head))
		return -ENOSPC;
	if (head->state == SET_RETIRED) {
		err = tree->wait(tree->wait_context);
		if (err)
			return err;
	}
	__atomic_store_n(&head->state, SET_CHANGING, __ATOMIC_SEQ_CST);
	return 0;
}

static void end_change(struct set_head *head)
{
	__atomic_store_n(&head->state, SET_RETIRED, __ATOMIC_SEQ_CST);
}

/* The new label of a range, or of those inside of it the new parent. */
static uint32_t relabel(const struct change *c, uint32_t label)
{
	uint32_t number = label >> SET_LABEL_SHIFT, parent;

	if (number == c->from)
		return label_of(c->cells, c->to);
	while (number) {
		parent = prefix_at(c->cells, number)->parent;
		if (parent == c->from || parent == c->to)
			break;
		number = parent;
	}
	if (number)
		__atomic_store_n(&prefix_at(c->cells, number)->parent, c->to, __ATOMIC_RELEASE);
	return label;
}

static void append(struct change *c, const struct set_addr *last, uint32_t label)
{
	if (!c->ranges || c->range[c->ranges - 1].label != label)
		c->ranges++;
	c->range[c->ranges - 1] = (struct range){ *last, label };
}

/* One range as it was, in up to three parts. */
static void append_parts(struct change *c, const struct set_addr *start, const struct range *range)
{
	struct set_addr edge;

	if (below(&range->last, &c->first) || below(&c->last, start)) {
		append(c, &range->last, range->label);
		return;
	}
	if (below(start, &c->first)) {
		edge = before(family_of(c->cells), &c->first);
		append(c, &edge, range->label);
	}
	if (below(&c->last, &range->last)) {
		append(c, &c->last, relabel(c, range->label));
		append(c, &range->last, range->label);
	} else {
		append(c, &range->last, relabel(c, range->label));
	}
}

static void append_leaf(struct change *c, const struct leaf *leaf, struct set_addr *start)
{
	const uint8_t family = family_of(c->cells);
	const struct set_cell *node = &c->cells[leaf->cell];
	struct range range;

	for (uint32_t i = 0; i < NODE; i++) {
		range.last = node_last(family, node, i);
		range.label = node_value(family, node, i);
		append_parts(c, start, &range);
		*start = after(family, &range.last);
		if (equal(&range.last, &leaf->last))
			break;
	}
}

/* The first leaf from `from` on that does not end before the address. */
static uint32_t find_leaf(const struct leaves *leaves, uint32_t from, const struct set_addr *addr)
{
	uint32_t high = leaves->count - 1;

	while (from < high) {
		uint32_t middle = from + (high - from) / 2;

		if (below(&leaves->leaf[middle].last, addr))
			from = middle + 1;
		else
			high = middle;
	}
	return from;
}

/* Cells of leaves that the directory does not name. -ENOSPC if there are not so many. */
static int find_free(const struct set_cell *cells, const struct leaves *leaves, uint32_t wanted,
		     struct leaf *found)
{
	const uint32_t size = node_cells(family_of(cells)), max = cells->head.max_leaves;
	_cleanup_free_ bool *used = calloc(max, sizeof(*used));
	uint32_t count = 0;

	if (!used)
		return -ENOMEM;
	for (uint32_t i = 0; i < leaves->count; i++)
		used[(leaves->leaf[i].cell - cells->head.first_leaf) / size] = true;
	for (uint32_t i = 0; i < max && count < wanted; i++)
		if (!used[i])
			found[count++].cell = cells->head.first_leaf + i * size;
	return count < wanted ? -ENOSPC : 0;
}

/* The ranges of a change, evenly in new leaves. */
static void write_leaves(const struct change *c, struct leaf *leaf, uint32_t count)
{
	const uint8_t family = family_of(c->cells);
	uint32_t done = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct set_cell *node = &c->cells[leaf[i].cell];
		uint32_t end = (uint32_t)((uint64_t)c->ranges * (i + 1) / count);

		node_clear(node, node_cells(family));
		for (uint32_t k = 0; done < end; k++, done++)
			node_set(family, node, k, &c->range[done].last, c->range[done].label);
		leaf[i].last = c->range[done - 1].last;
	}
}

/* Puts the change's leaves in the place of those from `low` to `high`. */
static int replace_leaves(struct change *c, struct leaves *leaves, uint32_t low, uint32_t high)
{
	const uint32_t count = c->ranges <= NODE ? 1 : (c->ranges + NODE_FILL - 1) / NODE_FILL;
	_cleanup_free_ struct leaf *fresh = malloc(count * sizeof(*fresh));
	int err;

	if (!fresh)
		return -ENOMEM;
	if (leaves->count - (high - low + 1) + count > c->cells->head.max_leaves)
		return -ENOSPC;
	err = find_free(c->cells, leaves, count, fresh);
	if (err)
		return err;
	write_leaves(c, fresh, count);
	memmove(&leaves->leaf[low + count], &leaves->leaf[high + 1],
		(leaves->count - high - 1) * sizeof(*fresh));
	memcpy(&leaves->leaf[low], fresh, count * sizeof(*fresh));
	leaves->count += count - (high - low + 1);
	return 0;
}

static int apply_change(struct change *c)
{
	const uint8_t family = family_of(c->cells);
	_cleanup_free_ struct leaf *leaf = NULL;
	_cleanup_free_ struct range *range = NULL;
	struct set_addr start = { 0, 0 };
	struct leaves leaves;
	uint32_t low, high;
	int err;

	/*
	 * Two ranges more, so two leaves more at most, and evenly filled ones some more than
	 * full.
	 */
	err = read_directory(c->cells, c->cells->head.max_leaves + 4, &leaves);
	if (err)
		return err;
	leaf = leaves.leaf;
	low = find_leaf(&leaves, 0, &c->first);
	high = find_leaf(&leaves, low, &c->last);
	range = malloc(((high - low + 1UL) * NODE + 2) * sizeof(*range));
	if (!range)
		return -ENOMEM;
	c->range = range;
	if (low)
		start = after(family, &leaf[low - 1].last);
	for (uint32_t i = low; i <= high; i++)
		append_leaf(c, &leaf[i], &start);
	err = replace_leaves(c, &leaves, low, high);
	if (err)
		return err;
	__atomic_store_n(&c->cells->head.root, write_directory(c->cells, &leaves),
			 __ATOMIC_SEQ_CST);
	err = write_fast(c->cells, &c->first, &c->last, c->length);
	if (!err)
		end_change(&c->cells->head);
	return err;
}

static int change_owner(struct set_cell *cells, const struct set_net *net, uint32_t from,
			uint32_t to)
{
	struct change change = {
		.cells = cells,
		.first = net->addr,
		.last = last_of(family_of(cells), net),
		.length = net->length,
		.from = from,
		.to = to,
	};

	return apply_change(&change);
}

static int renew_fast(struct set_cell *cells, const struct set_net *net)
{
	const struct set_addr last = last_of(family_of(cells), net);
	int err = write_fast(cells, &net->addr, &last, net->length);

	if (!err)
		end_change(&cells->head);
	return err;
}

/* Its ranges get a new label only if readers are to look closer, or need not any more. */
static int renew(struct set_cell *cells, uint32_t number, const struct set_net *net)
{
	struct set_prefix *prefix = prefix_at(cells, number);
	const uint32_t label = label_of(cells, number);

	if (net->end == SET_FOREVER && !(net->flags & SET_NOMATCH) && label & SET_LABEL_LOOK) {
		/* Readers that still look are not to find the old end. */
		__atomic_store_n(&prefix->end, net->end, __ATOMIC_RELEASE);
		__atomic_store_n(&prefix->flags, (uint8_t)(net->flags | SET_USED),
				 __ATOMIC_RELEASE);
		return change_owner(cells, net, number, number);
	}
	__atomic_store_n(&prefix->flags, (uint8_t)(net->flags | SET_USED), __ATOMIC_RELEASE);
	__atomic_store_n(&prefix->end, net->end, __ATOMIC_RELEASE);
	if (label != label_of(cells, number))
		return change_owner(cells, net, number, number);
	return renew_fast(cells, net);
}

int set_tree_put(struct set_tree *tree, const struct set_net *net)
{
	struct set_cell *cells = tree->cells;
	uint32_t cover, number;
	int err = begin_change(tree);

	if (err)
		return err;
	cover = find_cover(cells, net);
	if (cover && prefix_at(cells, cover)->length == net->length)
		return renew(cells, cover, net);
	number = take_prefix(&cells->head, cells);
	if (!number)
		return -ENOSPC;
	fill_prefix(cells, number, net, cover);
	return change_owner(cells, net, cover, number);
}

int set_tree_remove(struct set_tree *tree, const struct set_net *net)
{
	struct set_cell *cells = tree->cells;
	uint32_t number = set_tree_find(tree, net);
	int err;

	if (!number)
		return -ENOENT;
	err = begin_change(tree);
	if (err)
		return err;
	give_prefix(cells, number);
	return change_owner(cells, net, number, prefix_at(cells, number)->parent);
}
