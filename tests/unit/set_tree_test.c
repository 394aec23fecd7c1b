/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prefixes of a set in plain memory: built, changed and looked up as the BPF programs do, by
 * the levels of plain keys, against a list that is searched from its longest prefix to its
 * shortest. And a reader beside a writer: what a change does not touch is never answered wrongly.
 */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/set_tree.h"

#define NOW 1000 /* on the sets' clock */
#define MODEL_MAX 4096

/* ---- The model --------------------------------------------------------------------- */

struct model {
	uint8_t family;
	struct set_net net[MODEL_MAX];
	uint32_t count;
};

static unsigned int bits_of(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

static bool bit_of(uint8_t family, const struct set_addr *addr, unsigned int bit)
{
	if (family == AF_INET)
		return addr->high >> (31 - bit) & 1;
	return bit < 64 ? addr->high >> (63 - bit) & 1 : addr->low >> (127 - bit) & 1;
}

static bool covers(uint8_t family, const struct set_net *net, const struct set_addr *addr)
{
	for (unsigned int bit = 0; bit < net->length; bit++)
		if (bit_of(family, &net->addr, bit) != bit_of(family, addr, bit))
			return false;
	return true;
}

static bool model_test(const struct model *model, const struct set_addr *addr, uint32_t now)
{
	int best = -1;
	bool match = false;

	for (uint32_t i = 0; i < model->count; i++) {
		const struct set_net *net = &model->net[i];

		if (net->end > now && net->length > best && covers(model->family, net, addr)) {
			best = net->length;
			match = !(net->flags & SET_NOMATCH);
		}
	}
	return match;
}

static struct set_net *model_find(struct model *model, const struct set_net *net)
{
	for (uint32_t i = 0; i < model->count; i++)
		if (model->net[i].length == net->length &&
		    model->net[i].addr.high == net->addr.high &&
		    model->net[i].addr.low == net->addr.low)
			return &model->net[i];
	return NULL;
}

static void model_put(struct model *model, const struct set_net *net)
{
	struct set_net *there = model_find(model, net);

	if (!there)
		there = &model->net[model->count++];
	*there = *net;
}

/* ---- Random prefixes ---------------------------------------------------------------- */

/* Few bits vary, so that prefixes lie in each other and side by side; some are anywhere. */
static struct set_addr random_addr(uint8_t family)
{
	static const uint64_t bases[] = { 0, 0x20010db800000000, 0xfffffffffffffff0 };
	const uint64_t base = bases[unit_below(3)];
	struct set_addr addr;

	if (family == AF_INET) {
		addr.high = unit_below(4) ? (0x0a000000 | unit_below(4096)) : unit_random();
		addr.low = 0;
		if (!unit_below(50))
			addr.high = unit_below(2) ? 0xffffffff : 0;
		return addr;
	}
	addr.high = base ^ (uint64_t)unit_below(16) << 12 * unit_below(4);
	addr.low = unit_below(2) ? unit_below(16) : (uint64_t)unit_below(16) << 60;
	if (!unit_below(50))
		addr = (struct set_addr){ ~0ULL, ~0ULL };
	return addr;
}

static struct set_net random_net(uint8_t family)
{
	struct set_net net = { .addr = random_addr(family), .end = SET_FOREVER };

	net.length = (uint8_t)unit_below(bits_of(family) + 1);
	if (unit_below(4))
		net.length = (uint8_t)(bits_of(family) - unit_below(14));
	if (unit_below(4) && family == AF_INET6)
		net.length = (uint8_t)(unit_below(3) ? 65 - unit_below(50) : 60 + unit_below(9));
	if (!unit_below(4))
		net.end = NOW - 20 + unit_below(40);
	if (!unit_below(5))
		net.flags = SET_NOMATCH;
	set_net_mask(family, &net);
	return net;
}

/* An address at an edge of a prefix, or any. */
static struct set_addr random_edge(const struct model *model)
{
	struct set_addr addr = random_addr(model->family);
	const struct set_net *net = &model->net[unit_below(model->count)];
	struct set_net mask = { .addr = { ~0ULL, ~0ULL }, .length = net->length };

	if (!model->count || !unit_below(4))
		return addr;
	if (model->family == AF_INET)
		mask.addr = (struct set_addr){ 0xffffffff, 0 };
	set_net_mask(model->family, &mask);
	addr = net->addr;
	if (unit_below(2)) {
		addr.high |= model->family == AF_INET ? ~mask.addr.high & 0xffffffff :
							~mask.addr.high;
		addr.low |= model->family == AF_INET ? 0 : ~mask.addr.low;
	}
	if (model->family == AF_INET)
		addr.high = (addr.high + unit_below(3) - 1) & 0xffffffff;
	else
		addr.low += unit_below(3) - 1ULL;
	return addr;
}

/* ---- The search, by the words of set_layout.h ---------------------------------------- */

static bool before(uint64_t high, uint64_t low, const struct set_addr *addr)
{
	return high < addr->high || (high == addr->high && low < addr->low);
}

static uint32_t search4(const struct set_cell *cells, uint32_t addr)
{
	const uint32_t root = __atomic_load_n(&cells->head.root, __ATOMIC_ACQUIRE);
	const struct set_directory *directory = &cells[root].directory;
	uint32_t node = 0, at;

	for (uint32_t level = 0; level < directory->levels; level++) {
		const struct set_cell *cell = &cells[directory->level[level] + node];
		uint32_t child = 0;

		while (child < 16 && cell->word[child] < addr)
			child++;
		node = node * 16 + child;
	}
	at = directory->index + node;
	for (int i = 0; i < 2; i++) {
		uint32_t place = 0;

		while (cells[at].node4.last[place] < addr)
			place++;
		assert_in_range(place, 0, 7);
		at = cells[at].node4.value[place];
	}
	return at;
}

static uint32_t search6(const struct set_cell *cells, const struct set_addr *addr)
{
	const uint32_t root = __atomic_load_n(&cells->head.root, __ATOMIC_ACQUIRE);
	const struct set_directory *directory = &cells[root].directory;
	uint32_t node = 0, at;

	for (uint32_t level = 0; level < directory->levels; level++) {
		const struct set_cell *cell = &cells[directory->level[level] + 2 * node];
		uint32_t child = 0;

		while (child < 8 && before(cell->quad[child],
					   directory->wide ? cell[1].quad[child] : ~0ULL, addr))
			child++;
		node = node * 8 + child;
	}
	at = directory->index + 3 * node;
	for (int i = 0; i < 2; i++) {
		uint32_t place = 0;

		while (before(cells[at].quad[place],
			      directory->wide ? cells[at + 2].quad[place] : ~0ULL, addr))
			place++;
		assert_in_range(place, 0, 7);
		at = cells[at + 1].word[place];
	}
	return at;
}

static unsigned long fast_answers, skips, split_leaves, until_answers;

static uint32_t state_now(uint32_t state, uint32_t until, uint32_t now)
{
	if (state != SET_FAST_UNTIL)
		return state;
	until_answers += until > now;
	return until > now ? SET_FAST_IN : SET_FAST_LOOK;
}

/* SET_FAST_LOOK where there is no fast way. */
static uint32_t search_fast4(const struct set_cell *cells, uint32_t addr, uint32_t now)
{
	const uint32_t *words = cells[cells->head.fast].word;
	unsigned int shift = 32 - SET_FAST_BITS;
	uint32_t word, place = 0;
	const struct set_fast4 *leaf;

	if (!cells->head.fast)
		return SET_FAST_LOOK;
	word = __atomic_load_n(&words[addr >> shift], __ATOMIC_ACQUIRE);
	while ((word & 7) == SET_FAST_TABLE) {
		shift -= 4;
		word = cells[word >> 3].word[addr >> shift & 15];
	}
	if ((word & 7) != SET_FAST_LEAF)
		return word;
	leaf = &cells[word >> 3].fast4;
	while (place < SET_FAST_LASTS && leaf->last[place] < (addr & 0xffff))
		place++;
	return state_now(leaf->states >> 2 * place & 3, leaf->until, now);
}

/* What the last entry of a leaf says that has the bits. */
static uint32_t search_leaf6(const struct set_fast6 *leaf, uint64_t bits, uint32_t now)
{
	unsigned int i = 0, open;

	for (; i < SET_FAST6_ENTRIES; i++) {
		open = leaf->entry[SET_FAST6_ENTRIES - 1 - i] & 63;
		if (leaf->entry[SET_FAST6_ENTRIES - 1 - i] >> open == bits >> open)
			break;
	}
	return state_now((leaf->in >> i & 1) + (leaf->look >> i & 1) * 2U, leaf->until, now);
}

static uint32_t search_fast6(const struct set_cell *cells, uint64_t bits, uint32_t now)
{
	const struct set_head *head = &cells->head;
	const struct set_cell *trie = &cells[head->fast], *cell;
	uint32_t word = __atomic_load_n(&head->fast_word, __ATOMIC_ACQUIRE);

	if (!head->fast)
		return SET_FAST_LOOK;
	if (head->fast_skip && (bits ^ head->fast_bits) >> (64 - head->fast_skip))
		return head->fast_other;
	bits <<= head->fast_skip;
	for (int step = 0; step < SET_FAST6_STEPS; step++) {
		const unsigned int count = word >> 3 & 63;

		cell = &trie[word >> 9];
		if ((word & 7) == SET_FAST_TABLE) {
			word = __atomic_load_n(&cell->word[bits >> (64 - count)], __ATOMIC_ACQUIRE);
		} else if ((word & 7) == SET_FAST_SKIP) {
			word = bits >> (64 - count) == cell->skip.bits >> (64 - count) ?
				       __atomic_load_n(&cell->skip.same, __ATOMIC_ACQUIRE) :
				       cell->skip.other;
			skips++;
		} else {
			break;
		}
		bits <<= count;
	}
	if ((word & 7) == SET_FAST_LEAF) {
		const unsigned int count = word >> 3 & 63;

		split_leaves += count > 0;
		cell = &trie[(word >> 9) + (count ? bits >> (64 - count) : 0)];
		return search_leaf6(&cell->fast6, bits << count, now);
	}
	return (word & 7) < SET_FAST_LOOK ? word : SET_FAST_LOOK;
}

static bool search(const struct set_cell *cells, const struct set_addr *addr, uint32_t now)
{
	const uint32_t fast = cells->head.family == AF_INET ?
				      search_fast4(cells, (uint32_t)addr->high, now) :
				      search_fast6(cells, addr->high, now);
	uint32_t label = cells->head.family == AF_INET ? search4(cells, (uint32_t)addr->high) :
							 search6(cells, addr);
	uint32_t number;

	fast_answers += (fast & 7) != SET_FAST_LOOK;
	if ((fast & 7) < SET_FAST_LOOK)
		return (fast & 7) == SET_FAST_IN;
	number = label >> SET_LABEL_SHIFT;
	if (!(label & SET_LABEL_LOOK))
		return number;
	while (number) {
		const struct set_prefix *prefix =
			&cells[cells->head.first_prefix + number / SET_PREFIXES]
				 .prefix[number % SET_PREFIXES];

		if (prefix->end > now)
			return !(prefix->flags & SET_NOMATCH);
		number = prefix->parent;
	}
	return false;
}

/* ---- Trees --------------------------------------------------------------------------- */

static unsigned int graces;

static int count_grace(void *context)
{
	(void)context;
	graces++;
	return 0;
}

static struct set_tree build(uint8_t family, const struct set_net *nets, uint32_t count)
{
	const uint32_t cells = set_tree_cells(family, count);
	struct set_tree tree = { .wait = count_grace };
	struct set_net *sorted = malloc((count + 1) * sizeof(*sorted));

	assert_non_null(sorted);
	if (count)
		memcpy(sorted, nets, count * sizeof(*sorted));
	tree.cells = calloc(cells, sizeof(*tree.cells));
	assert_non_null(tree.cells);
	count = set_nets_sort(sorted, count);
	assert_int_equal(set_tree_build(tree.cells, cells, family, sorted, count), 0);
	free(sorted);
	return tree;
}

/*
 * Of what the tree gives out, but for the one that was being changed: that may be as before, or
 * as after.
 */
static void rebuild(struct set_tree *tree, struct model *model)
{
	struct set_net *nets;
	int64_t count = set_tree_export(tree, 0, &nets);

	assert_in_range(count, model->count - 1, model->count + 1);
	free(nets);
	free(tree->cells);
	*tree = build(model->family, model->net, model->count);
}

static void check(const struct set_tree *tree, const struct model *model, unsigned int lookups)
{
	while (lookups--) {
		const struct set_addr addr = random_edge(model);
		const uint32_t now = NOW - 25 + unit_below(50);
		const bool expected = model_test(model, &addr, now);

		assert_int_equal(search(tree->cells, &addr, now), expected);
		assert_int_equal(set_tree_test(tree, &addr, now), expected);
	}
}

static void fill_model(struct model *model, uint8_t family, uint32_t count)
{
	*model = (struct model){ .family = family };
	while (count--) {
		const struct set_net net = random_net(family);

		model_put(model, &net);
	}
}

static struct model model;
static const uint8_t families[] = { AF_INET, AF_INET6 };

static void test_build(void **state)
{
	static const uint32_t counts[] = { 0, 1, 2, 3, 7, 8, 9, 50, 400, 3000 };

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (size_t f = 0; f < 2; f++) {
			struct set_tree tree;

			fill_model(&model, families[f], counts[i]);
			tree = build(families[f], model.net, model.count);
			check(&tree, &model, 3000);
			free(tree.cells);
		}
	}
}

static void change_one(struct set_tree *tree)
{
	struct set_net net = random_net(model.family);
	struct set_net *there;
	int err;

	if (unit_below(2) && model.count)
		net = model.net[unit_below(model.count)];
	there = model_find(&model, &net);
	assert_int_equal(set_tree_find(tree, &net) != 0, there != NULL);
	if (unit_below(2) && model.count > 30) {
		err = set_tree_remove(tree, &net);
		assert_int_equal(err == -ENOENT, !there);
		if (there)
			*there = model.net[--model.count];
	} else {
		net.end = unit_below(3) ? SET_FOREVER : NOW - 20 + unit_below(40);
		net.flags = unit_below(4) ? 0 : SET_NOMATCH;
		err = set_tree_put(tree, &net);
		model_put(&model, &net);
	}
	if (err == -ENOSPC)
		rebuild(tree, &model);
	else
		assert_true(!err || err == -ENOENT);
}

static void test_changes(void **state)
{
	/* With the fast way, and without it. */
	static const uint32_t counts[] = { 100, 3000 };

	(void)state;
	for (size_t n = 0; n < 4; n++) {
		const uint8_t family = families[n % 2];
		struct set_tree tree;

		fill_model(&model, family, counts[n / 2]);
		tree = build(family, model.net, model.count);
		assert_int_equal(tree.cells->head.fast != 0, n / 2);
		for (int i = 0; i < 2000; i++) {
			change_one(&tree);
			check(&tree, &model, 10);
		}
		assert_true(graces > 100);
		free(tree.cells);
	}
	assert_true(fast_answers > 1000);
	assert_true(until_answers > 300 && skips > 1000 && split_leaves > 100);
}

static void test_room(void **state)
{
	struct set_tree tree = build(AF_INET, NULL, 0);
	const uint32_t room = tree.cells->head.max_prefixes - 1;
	struct set_net net = { .end = SET_FOREVER, .length = 32 };
	uint32_t added = 0;
	int err;

	(void)state;
	do {
		net.addr.high = added * 2;
		err = set_tree_put(&tree, &net);
		added += !err;
	} while (!err);
	assert_int_equal(err, -ENOSPC);
	assert_true(added >= 30 && added <= room);
	/* The writer gave up in mid-change: nothing but building anew is possible. */
	assert_int_equal(set_tree_put(&tree, &net), -ESTALE);
	for (uint32_t i = 0; i < added; i++) {
		const struct set_addr in = { i * 2, 0 }, out = { i * 2 + 1, 0 };

		assert_true(search(tree.cells, &in, NOW));
		assert_false(search(tree.cells, &out, NOW));
	}
	free(tree.cells);
}

static void test_sizes(void **state)
{
	(void)state;
	assert_true(set_tree_cells(AF_INET, 1000000) > 0);
	assert_true(set_tree_cells(AF_INET6, 1000000) > 0);
	/* What an older kernel cannot make a map of is refused. */
	assert_int_equal(set_tree_cells(AF_INET6, 0xffffffff), 0);
	for (uint32_t count = 0; count < 100; count++) {
		struct set_cell cells[4];

		memset(cells, 0, sizeof(cells));
		assert_int_equal(set_tree_build(cells, 4, AF_INET, NULL, 0), -ENOSPC);
	}
}

/* ---- A reader beside the writer -------------------------------------------------------- */

struct race {
	struct set_tree *tree;
	unsigned long lookups, wrong; /* by the reader; even: it is in none */
	bool stop;
};

/* A grace period: the reader has ended the lookup that it was in. */
static int wait_for_reader(void *context)
{
	struct race *race = context;
	unsigned long seen = __atomic_load_n(&race->lookups, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&race->lookups, __ATOMIC_SEQ_CST) < seen + 2 &&
	       !__atomic_load_n(&race->stop, __ATOMIC_SEQ_CST))
		;
	return 0;
}

/* 10.0.0.0/24 stays, 10.0.1.0/24 is never there; what is changed lies in both and around. */
static void *read_on(void *context)
{
	struct race *race = context;
	uint32_t i = 0;

	while (!__atomic_load_n(&race->stop, __ATOMIC_SEQ_CST)) {
		const struct set_addr in = { 0x0a000000 + i++ % 256, 0 };
		const struct set_addr out = { 0x0a000100 + i % 256, 0 };

		race->wrong += !search(race->tree->cells, &in, NOW);
		race->wrong += search(race->tree->cells, &out, NOW);
		__atomic_add_fetch(&race->lookups, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void test_race(void **state)
{
	const struct set_net stays = { .addr = { 0x0a000000, 0 },
				       .end = SET_FOREVER,
				       .length = 24 };
	struct set_tree tree = build(AF_INET, &stays, 1);
	struct race race = { .tree = &tree };
	pthread_t reader;

	(void)state;
	tree.wait = wait_for_reader;
	tree.wait_context = &race;
	assert_int_equal(pthread_create(&reader, NULL, read_on, &race), 0);
	for (uint32_t i = 0; i < 3000; i++) {
		struct set_net net = { .end = i % 3 ? SET_FOREVER : NOW - 1 };

		/* Inside of what stays, or beyond both. */
		net.addr.high = i % 2 ? 0x0a000000 + unit_below(256) : 0x0a000200 + unit_below(256);
		net.length = (uint8_t)(25 + unit_below(8));
		set_net_mask(AF_INET, &net);
		if (unit_below(2) && tree.cells->head.count < 40)
			assert_int_equal(set_tree_put(&tree, &net), 0);
		else if (set_tree_find(&tree, &net))
			assert_int_equal(set_tree_remove(&tree, &net), 0);
	}
	__atomic_store_n(&race.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(reader, NULL);
	assert_true(race.lookups > 1000);
	assert_int_equal(race.wrong, 0);
	free(tree.cells);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build), cmocka_unit_test(test_changes),
		cmocka_unit_test(test_room),  cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_race),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
