/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "filter/pins.h"
#include "filter/set.h"
#include "filter/set_front.h"
#include "filter/set_parse.h"
#include "filter/set_tree.h"
#include "filter_layout.h"
#include "log.h"
#include "util.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define PURPOSE "sets-" TEXT(SET_LAYOUT)

#ifndef BPF_F_INNER_MAP /* Linux 5.10 */
#define BPF_F_INNER_MAP (1U << 12)
#endif

/* The built-in block list takes that many. */
#define BLOCK_MAXELEM (1U << 21)

/* From so many entries that have ended on, and at an eighth of all, a change drops them. */
#define SWEEP_MIN 64

/* So many new entries are put into the tree one by one; each waits for programs that run. */
#define FEW_ENTRIES 4

struct comment_key {
	struct set_key key;
	__u32 length; /* of the prefix */
};

static uint32_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint32_t)(((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >>
			  SET_CLOCK_SHIFT);
}

/* ---- Pins ------------------------------------------------------------------------ */

/* What the slots of a map of maps hold. */
static const struct slot_kind {
	const char *name;
	enum bpf_map_type type;
	uint32_t key_size, value_size, flags;
} slot_kinds[SET_SLOTS] = {
	[SET_SLOT_CELLS] = { "set_cells", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct set_cell),
			     BPF_F_MMAPABLE | BPF_F_INNER_MAP },
	[SET_SLOT_HASH] = { "set_hash", BPF_MAP_TYPE_HASH, sizeof(struct set_key),
			    sizeof(struct set_value), BPF_F_NO_PREALLOC },
	[SET_SLOT_TRIE] = { "set_trie", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct set_trie_key),
			    sizeof(struct set_value), BPF_F_NO_PREALLOC },
	[SET_SLOT_COMMENTS] = { "set_comments", BPF_MAP_TYPE_HASH, sizeof(struct comment_key),
				SET_COMMENT_LEN, BPF_F_NO_PREALLOC },
};

static int create_map(enum set_slots slot, uint32_t entries)
{
	const struct slot_kind *kind = &slot_kinds[slot];
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = kind->flags);
	int fd = bpf_map_create(kind->type, kind->name, kind->key_size, kind->value_size, entries,
				&options);

	return fd < 0 ? -errno : fd;
}

static int create_slots(int slot)
{
	_cleanup_close_ int inner = create_map((enum set_slots)slot, 1);
	LIBBPF_OPTS(bpf_map_create_opts, options, .inner_map_fd = (uint32_t)inner);
	int fd;

	if (inner < 0)
		return inner;
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, slot_kinds[slot].name, 4, 4,
			    slot == SET_SLOT_CELLS ? 2 * SET_MAX : SET_MAX, &options);
	return fd < 0 ? -errno : fd;
}

static int create_counts(int unused)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "block_counts", 4,
				sizeof(struct filter_counter), SET_FIRST, NULL);

	(void)unused;
	return fd < 0 ? -errno : fd;
}

static int create_info(int unused)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "set_info", 4, sizeof(struct set_info), SET_MAX,
				&options);

	(void)unused;
	return fd < 0 ? -errno : fd;
}

/* The pinned map, or one that `create` makes now (NULL: none is made). */
static int open_pin(int directory, const char *name, int (*create)(int slot), int slot)
{
	_cleanup_close_ int fd = pins_get(directory, name);
	int err;

	if (fd != -ENOENT || !create)
		return take_fd(&fd);
	fd = create(slot);
	if (fd < 0)
		return fd;
	err = pins_put(directory, name, fd);
	return err ? err : take_fd(&fd);
}

static int open_maps(struct set_store *store, bool create)
{
	void *info;

	for (int i = 0; i < SET_SLOTS; i++) {
		store->slots_fd[i] = open_pin(store->directory, slot_kinds[i].name,
					      create ? create_slots : NULL, i);
		if (store->slots_fd[i] < 0)
			return store->slots_fd[i];
	}
	store->counts_fd =
		open_pin(store->directory, "block_counts", create ? create_counts : NULL, 0);
	if (store->counts_fd < 0)
		return store->counts_fd;
	store->info_fd = open_pin(store->directory, "set_info", create ? create_info : NULL, 0);
	if (store->info_fd < 0)
		return store->info_fd;
	info = mmap(NULL, SET_MAX * sizeof(*store->info), PROT_READ | PROT_WRITE, MAP_SHARED,
		    store->info_fd, 0);
	if (info == MAP_FAILED)
		return -errno;
	store->info = info;
	return 0;
}

int set_find(const struct set_store *store, const char *name)
{
	for (int i = 0; i < SET_MAX; i++)
		if (store->info[i].kind != SET_NONE &&
		    !strncmp(store->info[i].name, name, SET_NAME_LEN))
			return i;
	return -ENOENT;
}

static void empty_slots(const struct set_store *store, uint32_t number)
{
	const uint32_t front = SET_FRONT + number;

	for (size_t i = 0; i < SET_SLOTS; i++)
		bpf_map_delete_elem(store->slots_fd[i], &number);
	bpf_map_delete_elem(store->slots_fd[SET_SLOT_CELLS], &front);
}

static void end_set(const struct set_store *store, uint32_t number)
{
	struct set_info *info = &store->info[number];

	__atomic_store_n(&info->kind, SET_NONE, __ATOMIC_SEQ_CST);
	empty_slots(store, number);
	memset(info, 0, sizeof(*info));
}

/* What a set_replace() that was killed has left: two sets of a name, or one that has none yet. */
static void drop_unfinished(const struct set_store *store)
{
	for (uint32_t i = SET_FIRST; i < SET_MAX; i++)
		if (store->info[i].kind != SET_NONE &&
		    (!store->info[i].name[0] || set_find(store, store->info[i].name) != (int)i))
			end_set(store, i);
}

int set_store_open(struct set_store *store, bool create)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int err;

	*store = (struct set_store){ .info_fd = -1,
				     .counts_fd = -1,
				     .slots_fd = { -1, -1, -1, -1 } };
	/* Before 5.11 maps are charged to it. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	store->directory = pins_open_of(PURPOSE, create);
	err = store->directory < 0 ? store->directory : open_maps(store, create);
	if (!err) {
		drop_unfinished(store);
		return 0;
	}
	set_store_close(store);
	if (err != -ENOENT || create)
		log_error("cannot use the sets in the bpffs: %s%s", strerror(-err),
			  err == -EPERM || err == -EACCES ? "; it takes root" : "");
	return err;
}

static bool is_empty(const struct set_store *store)
{
	for (uint32_t i = 0; i < SET_MAX; i++)
		if (store->info[i].kind != SET_NONE)
			return false;
	return true;
}

static bool is_filter_loaded(void)
{
	_cleanup_close_ int pins = pins_open(false);

	return pins >= 0;
}

void set_store_close(struct set_store *store)
{
	if (store->info && is_empty(store) && !is_filter_loaded())
		pins_remove_all_of(PURPOSE, take_fd(&store->directory));
	if (store->info)
		munmap(store->info, SET_MAX * sizeof(*store->info));
	store->info = NULL;
	cleanup_close(&store->info_fd);
	cleanup_close(&store->counts_fd);
	for (size_t i = 0; i < SET_SLOTS; i++)
		cleanup_close(&store->slots_fd[i]);
	cleanup_close(&store->directory); /* ends the lock */
}

/* ---- Sets ------------------------------------------------------------------------ */

static enum set_slots slot_of(const struct set_info *info)
{
	switch (info->kind) {
	case SET_HASH_NET:
	case SET_BITMAP_PORT:
		return SET_SLOT_CELLS;
	case SET_HASH_NET_PORT:
		return SET_SLOT_TRIE;
	default:
		return SET_SLOT_HASH;
	}
}

static int open_slot(const struct set_store *store, enum set_slots slot, uint32_t number)
{
	uint32_t id;
	int fd;

	if (bpf_map_lookup_elem(store->slots_fd[slot], &number, &id))
		return -errno;
	fd = bpf_map_get_fd_by_id(id);
	return fd < 0 ? -errno : fd;
}

/* The kernel returns when no program uses the map that was there any more. */
static int put_slot(const struct set_store *store, enum set_slots slot, uint32_t number, int fd)
{
	return bpf_map_update_elem(store->slots_fd[slot], &number, &fd, BPF_ANY) ? -errno : 0;
}

/* ---- Cells ----------------------------------------------------------------------- */

struct cells {
	struct set_cell *cell;
	size_t bytes;
	uint32_t count;
};

static void unmap_cells(struct cells *cells)
{
	if (cells->cell)
		munmap(cells->cell, cells->bytes);
	cells->cell = NULL;
}

#define _cleanup_cells_ __attribute__((cleanup(unmap_cells)))

static int map_cells(int fd, struct cells *cells)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	void *memory;

	if (bpf_map_get_info_by_fd(fd, &info, &len))
		return -EBADF;
	cells->count = info.max_entries;
	cells->bytes = ((size_t)info.max_entries * sizeof(struct set_cell) + page - 1) &
		       ~(page - 1);
	memory = mmap(NULL, cells->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	cells->cell = memory;
	return 0;
}

static int open_cells(const struct set_store *store, uint32_t number, struct cells *cells)
{
	_cleanup_close_ int fd = open_slot(store, SET_SLOT_CELLS, number);

	return fd < 0 ? fd : map_cells(fd, cells);
}

static int create_cells(uint32_t count, struct cells *cells)
{
	_cleanup_close_ int fd = create_map(SET_SLOT_CELLS, count);
	int err = fd < 0 ? fd : map_cells(fd, cells);

	return err ? err : take_fd(&fd);
}

/* ---- Entries and what they are in maps ------------------------------------------- */

/* Until when, by the set's own timeout if the entry has none. */
static uint32_t end_of(const struct set_info *info, const struct set_entry *entry, uint32_t now)
{
	const uint64_t seconds = entry->timed ? entry->timeout : info->timeout;

	if (!(info->flags & SET_WITH_TIMEOUT) || !seconds)
		return SET_FOREVER;
	return now + (uint32_t)((seconds * 1000000000) >> SET_CLOCK_SHIFT) + 1;
}

/*
 * Seconds that are left, rounded up: what is there still is not said to be over. That may be more than
 * `load` takes.
 */
static void set_left(struct set_entry *entry, uint32_t end, uint32_t now)
{
	const uint64_t left = (((uint64_t)(end - now) << SET_CLOCK_SHIFT) + 999999999) / 1000000000;

	entry->timed = end != SET_FOREVER;
	if (entry->timed)
		entry->timeout = left < SET_TIMEOUT_MAX ? (uint32_t)left : SET_TIMEOUT_MAX;
}

static struct set_net entry_to_net(const struct set_info *info, const struct set_entry *entry,
				   uint32_t now)
{
	struct set_net net = {
		.addr = set_addr_read(info->family, entry->addr),
		.end = end_of(info, entry, now),
		.length = entry->length,
		.flags = entry->nomatch ? SET_NOMATCH : 0,
	};

	set_net_mask(info->family, &net);
	return net;
}

static struct set_key entry_to_key(const struct set_entry *entry)
{
	struct set_key key = { .port = htons(entry->port), .protocol = entry->protocol };

	memcpy(key.addr, entry->addr, sizeof(key.addr));
	return key;
}

static struct set_trie_key entry_to_trie_key(const struct set_entry *entry)
{
	struct set_trie_key key = {
		.bits = SET_TRIE_PORT + entry->length,
		.protocol = entry->protocol,
		.port = htons(entry->port),
	};

	memcpy(key.addr, entry->addr, sizeof(key.addr));
	return key;
}

static struct set_value entry_to_value(const struct set_info *info, const struct set_entry *entry,
				       uint32_t now)
{
	return (struct set_value){
		.end = end_of(info, entry, now),
		.length = info->kind == SET_HASH_NET_PORT ? entry->length : 0,
		.flags = entry->nomatch ? SET_NOMATCH : 0,
	};
}

/* A key of set_hash or set_trie. */
union map_key {
	struct set_key hash;
	struct set_trie_key trie;
};

static union map_key entry_to_map_key(const struct set_info *info, const struct set_entry *entry)
{
	union map_key key = { 0 };

	if (info->kind == SET_HASH_NET_PORT)
		key.trie = entry_to_trie_key(entry);
	else
		key.hash = entry_to_key(entry);
	return key;
}

static struct set_entry map_key_to_entry(const struct set_info *info, const union map_key *key)
{
	struct set_entry entry = { .length = info->family == AF_INET ? 32 : 128 };

	if (info->kind == SET_HASH_NET_PORT) {
		entry.length = (uint8_t)(key->trie.bits - SET_TRIE_PORT);
		entry.protocol = key->trie.protocol;
		entry.port = ntohs(key->trie.port);
		memcpy(entry.addr, key->trie.addr, sizeof(entry.addr));
	} else {
		entry.protocol = key->hash.protocol;
		entry.port = ntohs(key->hash.port);
		memcpy(entry.addr, key->hash.addr, sizeof(entry.addr));
	}
	return entry;
}

/* ---- Comments -------------------------------------------------------------------- */

static struct comment_key comment_key(const struct set_entry *entry)
{
	return (struct comment_key){ .key = entry_to_key(entry), .length = entry->length };
}

static int put_comment(int fd, const struct set_entry *entry)
{
	struct comment_key key = comment_key(entry);
	char text[SET_COMMENT_LEN] = "";

	if (fd < 0)
		return 0;
	if (!entry->comment || !entry->comment[0])
		return bpf_map_delete_elem(fd, &key) && errno != ENOENT ? -errno : 0;
	snprintf(text, sizeof(text), "%s", entry->comment);
	if (!bpf_map_update_elem(fd, &key, text, BPF_ANY))
		return 0;
	return errno == E2BIG ? -ENOSPC : -errno;
}

static int get_comment(int fd, struct set_entry *entry)
{
	struct comment_key key = comment_key(entry);
	char text[SET_COMMENT_LEN];

	if (fd < 0 || bpf_map_lookup_elem(fd, &key, text))
		return 0;
	entry->comment = strdup(text);
	return entry->comment ? 0 : -ENOMEM;
}

/* -1 where the set has none. */
static int open_comments(const struct set_store *store, uint32_t number)
{
	if (!(store->info[number].flags & SET_WITH_COMMENT))
		return -1;
	return open_slot(store, SET_SLOT_COMMENTS, number);
}

/* ---- hash:net -------------------------------------------------------------------- */

static int grace_period(void *context)
{
	const struct set_store *store = context;
	const uint32_t number = SET_MAX - 1;
	_cleanup_close_ int fd = create_map(SET_SLOT_CELLS, 1);

	/* The last slot is nobody's: updating it makes the kernel wait (put_slot()). */
	return fd < 0 ? fd : put_slot(store, SET_SLOT_CELLS, number, fd);
}

/* A new map of these prefixes in the set's slot. */
static int put_tree(const struct set_store *store, uint32_t number, const struct set_net *nets,
		    uint32_t count)
{
	const uint8_t family = store->info[number].family;
	_cleanup_cells_ struct cells cells = { 0 };
	const uint32_t size = set_tree_cells(family, count);
	_cleanup_close_ int fd = size ? create_cells(size, &cells) : -E2BIG;
	int err;

	if (fd < 0)
		return fd;
	err = set_tree_build(cells.cell, cells.count, family, nets, count);
	return err ? err : put_slot(store, SET_SLOT_CELLS, number, fd);
}

static bool same_entry(const struct set_entry *a, const struct set_entry *b)
{
	return a->length == b->length && a->port == b->port && a->protocol == b->protocol &&
	       !memcmp(a->addr, b->addr, sizeof(a->addr));
}

static struct set_entry net_to_entry(uint8_t family, const struct set_net *net, uint32_t now)
{
	struct set_entry entry = { .length = net->length, .nomatch = net->flags & SET_NOMATCH };

	set_addr_write(family, &net->addr, entry.addr);
	set_left(&entry, net->end, now);
	return entry;
}

/* What has ended goes, with its comment. */
static uint32_t drop_ended(const struct set_store *store, uint32_t number, struct set_net *nets,
			   uint32_t count)
{
	_cleanup_close_ int comments = open_comments(store, number);
	const uint32_t now = clock_now();
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct set_entry entry = net_to_entry(store->info[number].family, &nets[i], now);

		if (nets[i].end > now)
			nets[kept++] = nets[i];
		else
			put_comment(comments, &entry);
	}
	return kept;
}

/* What a set is to hold besides what it holds, or instead of it, and what not. */
struct rebuild {
	const struct set_entry *entries;
	size_t count;
	const struct set_entry *without;
	bool replace;
};

static int64_t read_old(const struct set_store *store, uint32_t number, const struct rebuild *what,
			struct set_net **nets)
{
	_cleanup_cells_ struct cells cells = { 0 };
	struct set_tree tree;
	int64_t count;
	int err;

	*nets = NULL;
	if (what->replace)
		return 0;
	err = open_cells(store, number, &cells);
	if (err)
		return err;
	tree.cells = cells.cell;
	count = set_tree_export(&tree, 0, nets);
	if (count <= 0 || !*nets)
		return count;
	return drop_ended(store, number, *nets, (uint32_t)count);
}

static uint32_t drop_net(struct set_net *nets, uint32_t count, const struct set_net *without)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < count; i++)
		if (nets[i].length != without->length || nets[i].addr.high != without->addr.high ||
		    nets[i].addr.low != without->addr.low)
			nets[kept++] = nets[i];
	return kept;
}

static int rebuild_tree(const struct set_store *store, uint32_t number, const struct rebuild *what)
{
	const struct set_info *info = &store->info[number];
	_cleanup_free_ struct set_net *old = NULL, *nets = NULL;
	int64_t count = read_old(store, number, what, &old);
	const uint32_t now = clock_now();
	uint32_t total;

	if (count < 0)
		return (int)count;
	if (what->count > UINT32_MAX / 2)
		return -ENOSPC;
	total = (uint32_t)count + (uint32_t)what->count;
	nets = realloc(old, (total + 1UL) * sizeof(*nets));
	if (!nets)
		return -ENOMEM;
	old = NULL;
	memset(nets + count, 0, (what->count + 1) * sizeof(*nets));
	for (uint32_t i = 0; i < what->count; i++) {
		nets[count + i] = entry_to_net(info, &what->entries[i], now);
		nets[count + i].order = i + 1;
	}
	if (what->without) {
		const struct set_net without = entry_to_net(info, what->without, now);

		total = drop_net(nets, total, &without);
	}
	total = set_nets_sort(nets, total);
	return total > info->maxelem ? -ENOSPC : put_tree(store, number, nets, total);
}

/* So many have ended that it pays to build anew. */
static bool has_many_ended(const struct set_info *info, const struct set_tree *tree, uint32_t now)
{
	const struct set_head *head = &tree->cells->head;
	uint32_t ended = 0;

	if (!(info->flags & SET_WITH_TIMEOUT))
		return false;
	for (uint32_t i = 1; i < head->unused; i++) {
		const struct set_prefix *prefix = set_tree_prefix(tree, i);

		ended += prefix->flags & SET_USED && prefix->end <= now;
	}
	return ended >= SWEEP_MIN && ended >= head->count / 8;
}

static bool is_there(const struct set_tree *tree, const struct set_net *net, uint32_t now)
{
	uint32_t found = set_tree_find(tree, net);

	return found && set_tree_prefix(tree, found)->end > now;
}

/* The set's tree, to be changed; built anew if a writer has ended in mid-change. */
static int open_tree(const struct set_store *store, uint32_t number, struct cells *cells,
		     struct set_tree *tree)
{
	int err = open_cells(store, number, cells);

	if (!err && cells->cell && cells->cell->head.state == SET_CHANGING) {
		unmap_cells(cells);
		err = rebuild_tree(store, number, &(struct rebuild){ 0 });
		err = err ? err : open_cells(store, number, cells);
	}
	*tree = (struct set_tree){ .cells = cells->cell,
				   .wait = grace_period,
				   .wait_context = (void *)store };
	return err;
}

static int add_net(const struct set_store *store, uint32_t number, const struct set_entry *entry,
		   bool exist)
{
	const struct set_info *info = &store->info[number];
	const struct rebuild rebuild = { .entries = entry, .count = 1 };
	const uint32_t now = clock_now();
	const struct set_net net = entry_to_net(info, entry, now);
	_cleanup_cells_ struct cells cells = { 0 };
	struct set_tree tree;
	int err = open_tree(store, number, &cells, &tree);

	if (err)
		return err;
	if (!exist && is_there(&tree, &net, now))
		return -EEXIST;
	if ((!set_tree_find(&tree, &net) && tree.cells->head.count >= info->maxelem) ||
	    has_many_ended(info, &tree, now))
		return rebuild_tree(store, number, &rebuild);
	err = set_tree_put(&tree, &net);
	return err == -ENOSPC ? rebuild_tree(store, number, &rebuild) : err;
}

static int del_net(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const struct rebuild rebuild = { .without = entry };
	const uint32_t now = clock_now();
	const struct set_net net = entry_to_net(&store->info[number], entry, now);
	_cleanup_cells_ struct cells cells = { 0 };
	struct set_tree tree;
	int err = open_tree(store, number, &cells, &tree);

	if (err)
		return err;
	if (!is_there(&tree, &net, now))
		return -ENOENT;
	err = set_tree_remove(&tree, &net);
	return err == -ENOSPC ? rebuild_tree(store, number, &rebuild) : err;
}

/* An address is looked for in all prefixes, a prefix is itself there or not. */
static int test_net(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const struct set_info *info = &store->info[number];
	const uint32_t now = clock_now();
	const struct set_net net = entry_to_net(info, entry, now);
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(store, number, &cells);
	struct set_tree tree = { .cells = cells.cell };

	if (err)
		return err;
	if (entry->length == (info->family == AF_INET ? 32 : 128))
		return set_tree_test(&tree, &net.addr, now);
	return is_there(&tree, &net, now) &&
	       !(set_tree_prefix(&tree, set_tree_find(&tree, &net))->flags & SET_NOMATCH);
}

/* ---- bitmap:port ----------------------------------------------------------------- */

#define PORTS 65536
#define PORT_CELLS (PORTS / 16)

static uint32_t *port_word(const struct cells *cells, uint32_t port)
{
	return &cells->cell[port / 16].word[port % 16];
}

static int put_ports(const struct set_store *store, uint32_t number, const struct set_entry *entry,
		     bool exist)
{
	const uint32_t now = clock_now(), end = end_of(&store->info[number], entry, now);
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(store, number, &cells);

	if (err)
		return err;
	for (uint32_t port = entry->port; port <= entry->port_last && !exist; port++)
		if (*port_word(&cells, port) > now)
			return -EEXIST;
	for (uint32_t port = entry->port; port <= entry->port_last; port++)
		__atomic_store_n(port_word(&cells, port), end, __ATOMIC_RELAXED);
	return 0;
}

static int del_ports(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const uint32_t now = clock_now();
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(store, number, &cells);

	if (err)
		return err;
	for (uint32_t port = entry->port; port <= entry->port_last; port++)
		if (*port_word(&cells, port) <= now)
			return -ENOENT;
	for (uint32_t port = entry->port; port <= entry->port_last; port++)
		__atomic_store_n(port_word(&cells, port), 0, __ATOMIC_RELAXED);
	return 0;
}

/* Of a range all have to be there. */
static int test_ports(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const uint32_t now = clock_now();
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(store, number, &cells);
	bool there = true;

	for (uint32_t port = entry->port; port <= entry->port_last && !err; port++)
		there &= *port_word(&cells, port) > now;
	return err ? err : there;
}

/* The first port from `port` on that has nothing yet, PORTS: none. Ways that were gone get shorter. */
static uint32_t next_free(uint32_t *next, uint32_t port)
{
	while (next[port] != port) {
		next[port] = next[next[port]];
		port = next[port];
	}
	return port;
}

/*
 * Of each port the number + 1 of the entry that is the last one to name it, 0: none does. Ranges may
 * lie over each other as often as a file has lines: each port is gone to once. NULL: no memory.
 */
static uint32_t *last_entries(const struct set_entry *entries, size_t count)
{
	uint32_t *last = calloc(PORTS, sizeof(*last));
	_cleanup_free_ uint32_t *next = calloc(PORTS + 1, sizeof(*next));

	if (!last || !next) {
		free(last);
		return NULL;
	}
	for (uint32_t port = 0; port <= PORTS; port++)
		next[port] = port;
	for (size_t i = count; i-- > 0;) {
		uint32_t port = next_free(next, entries[i].port);

		for (; port <= entries[i].port_last; port = next_free(next, port)) {
			last[port] = (uint32_t)i + 1;
			next[port] = port + 1;
		}
	}
	return last;
}

static int fill_ports(const struct set_store *store, uint32_t number,
		      const struct set_entry *entries, size_t count, bool replace)
{
	const uint32_t now = clock_now();
	_cleanup_free_ uint32_t *last = last_entries(entries, count);
	_cleanup_cells_ struct cells old = { 0 }, cells = { 0 };
	_cleanup_close_ int fd = create_cells(PORT_CELLS, &cells);
	int err = fd < 0 ? fd : !last ? -ENOMEM : open_cells(store, number, &old);

	if (err)
		return err;
	if (!replace)
		memcpy(cells.cell, old.cell, PORT_CELLS * sizeof(*cells.cell));
	for (uint32_t port = 0; port < PORTS; port++)
		if (last[port])
			*port_word(&cells, port) =
				end_of(&store->info[number], &entries[last[port] - 1], now);
	return put_slot(store, SET_SLOT_CELLS, number, fd);
}

/* ---- Hash map and trie ----------------------------------------------------------- */

/* The entry's value; of a prefix the trie may find a shorter one. */
static bool lookup_value(const struct set_info *info, int fd, const struct set_entry *entry,
			 struct set_value *value)
{
	union map_key key = entry_to_map_key(info, entry);

	return !bpf_map_lookup_elem(fd, &key, value) &&
	       (info->kind != SET_HASH_NET_PORT || value->length == entry->length);
}

struct scan {
	const struct set_info *info;
	int fd;
	union map_key key;
	bool any;
	uint64_t left; /* keys; a scan that programs disturb begins anew, not for ever */
	struct set_entry entry;
	struct set_value value;
};

static struct scan start_scan(const struct set_info *info, int fd)
{
	return (struct scan){ .info = info, .fd = fd, .left = 2ULL * info->maxelem + 64 };
}

static bool next_entry(struct scan *scan)
{
	union map_key key;

	while (scan->left-- &&
	       !bpf_map_get_next_key(scan->fd, scan->any ? &scan->key : NULL, &key)) {
		scan->key = key;
		scan->any = true;
		scan->entry = map_key_to_entry(scan->info, &key);
		if (lookup_value(scan->info, scan->fd, &scan->entry, &scan->value))
			return true;
	}
	return false;
}

/* Takes out what has ended. A key is taken out when the scan is past it. Returns how many stay. */
static uint64_t sweep_map(const struct set_store *store, uint32_t number, int fd)
{
	_cleanup_close_ int comments = open_comments(store, number);
	struct scan scan = start_scan(&store->info[number], fd);
	const uint32_t now = clock_now();
	struct set_entry ended;
	union map_key gone;
	bool have = false;
	uint64_t stay = 0;

	do {
		bool more = next_entry(&scan);

		if (have) {
			bpf_map_delete_elem(fd, &gone);
			put_comment(comments, &ended);
		}
		if (!more)
			break;
		have = scan.value.end <= now;
		gone = scan.key;
		ended = scan.entry;
		stay += !have;
	} while (true);
	return stay;
}

/* ---- In front of a hash map -------------------------------------------------------- */

/* The front of a set, if it has one. */
struct front {
	struct set_front of;
	struct cells cells;
};

static void close_front(struct front *front)
{
	unmap_cells(&front->cells);
	front->of.cells = NULL;
}

#define _cleanup_front_ __attribute__((cleanup(close_front)))

static bool is_narrow(const struct set_info *info)
{
	return info->kind == SET_HASH_IP && info->family == AF_INET;
}

static int open_front(const struct set_store *store, uint32_t number, struct front *front)
{
	int err;

	*front = (struct front){ .of.narrow = is_narrow(&store->info[number]) };
	if (slot_of(&store->info[number]) != SET_SLOT_HASH)
		return 0;
	err = open_cells(store, SET_FRONT + number, &front->cells);
	front->of.cells = front->cells.cell;
	return err == -ENOENT ? 0 : err;
}

static void touch_front(const struct front *front, const struct set_entry *entry)
{
	const struct set_key key = entry_to_key(entry);

	if (front->of.cells)
		set_front_touch(&front->of, &key);
}

/* Without it the map is asked for everything. Returns when no program uses it any more. */
static int drop_front(const struct set_store *store, uint32_t number)
{
	const uint32_t slot = SET_FRONT + number;

	if (!bpf_map_delete_elem(store->slots_fd[SET_SLOT_CELLS], &slot))
		return grace_period((void *)(uintptr_t)store);
	return errno == ENOENT ? 0 : -errno;
}

/*
 * A front for so many entries, not ready, with those of a list in it already, which the map has
 * since `now`. When this returns all programs touch it. A small set gets none.
 */
static int put_front(const struct set_store *store, uint32_t number, uint64_t size,
		     const struct set_entry *entries, size_t count, uint32_t now,
		     struct front *front)
{
	const struct set_info *info = &store->info[number];
	_cleanup_close_ int fd = -1;
	struct timespec seed;
	uint32_t cells;

	*front = (struct front){ .of.narrow = is_narrow(info) };
	if (size < SET_FRONT_MIN || slot_of(info) != SET_SLOT_HASH)
		return drop_front(store, number);
	cells = set_front_cells(front->of.narrow, (uint32_t)size);
	fd = create_cells(cells, &front->cells);
	if (fd < 0)
		return fd;
	front->of.cells = front->cells.cell;
	clock_gettime(CLOCK_MONOTONIC, &seed);
	set_front_init(&front->of, cells, (uint64_t)seed.tv_nsec * 0x9e3779b97f4a7c15ULL, now);
	for (size_t i = 0; i < count; i++) {
		const struct set_key key = entry_to_key(&entries[i]);

		set_front_add(&front->of, &key, end_of(info, &entries[i], now));
	}
	return put_slot(store, SET_SLOT_CELLS, SET_FRONT + number, fd);
}

/* What the map holds, which rules may change meanwhile. */
static int fill_front(const struct set_store *store, uint32_t number, int fd, struct front *front)
{
	struct scan scan = start_scan(&store->info[number], fd);
	int err;

	while (next_entry(&scan))
		set_front_add(&front->of, &scan.key.hash, scan.value.end);
	/* Programs that touched a key before it was added have ended then. */
	err = grace_period((void *)(uintptr_t)store);
	if (err)
		return err;
	set_front_clear_touched(&front->of);
	set_front_ready(&front->of);
	return 0;
}

/* ---- Changes of hash map and trie -------------------------------------------------- */

static int update_value(const struct set_info *info, int fd, const struct set_entry *entry,
			uint32_t now)
{
	union map_key key = entry_to_map_key(info, entry);
	struct set_value value = entry_to_value(info, entry, now);

	if (!bpf_map_update_elem(fd, &key, &value, BPF_ANY))
		return 0;
	return errno == E2BIG ? -ENOSPC : -errno; /* a hash map's is the former */
}

static int add_value(const struct set_store *store, uint32_t number, const struct set_entry *entry,
		     bool exist)
{
	const struct set_info *info = &store->info[number];
	const uint32_t now = clock_now();
	_cleanup_close_ int fd = open_slot(store, slot_of(info), number);
	_cleanup_front_ struct front front = { 0 };
	struct set_value value;
	bool there;
	int err;

	if (fd < 0)
		return fd;
	there = lookup_value(info, fd, entry, &value);
	if (!exist && there && value.end > now)
		return -EEXIST;
	err = open_front(store, number, &front);
	if (err)
		return err;
	if (!there || end_of(info, entry, now) < value.end)
		touch_front(&front, entry);
	err = update_value(info, fd, entry, now);
	if (err != -ENOSPC)
		return err;
	sweep_map(store, number, fd);
	return update_value(info, fd, entry, now);
}

static int del_value(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const struct set_info *info = &store->info[number];
	_cleanup_close_ int fd = open_slot(store, slot_of(info), number);
	_cleanup_front_ struct front front = { 0 };
	union map_key key = entry_to_map_key(info, entry);
	struct set_value value;
	int err;

	if (fd < 0)
		return fd;
	if (!lookup_value(info, fd, entry, &value) || value.end <= clock_now())
		return -ENOENT;
	err = open_front(store, number, &front);
	if (err)
		return err;
	touch_front(&front, entry);
	return bpf_map_delete_elem(fd, &key) ? -errno : 0;
}

/* From the longest prefix on, the first that has not ended decides (set_match_net_port()). */
static int test_trie(int fd, const struct set_entry *entry)
{
	struct set_trie_key key = entry_to_trie_key(entry);
	const uint32_t now = clock_now();
	struct set_value value;

	while (!bpf_map_lookup_elem(fd, &key, &value)) {
		if (value.end > now)
			return !(value.flags & SET_NOMATCH);
		if (!value.length)
			break;
		key.bits = SET_TRIE_PORT - 1 + value.length;
	}
	return 0;
}

static int test_value(const struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	const struct set_info *info = &store->info[number];
	_cleanup_close_ int fd = open_slot(store, slot_of(info), number);
	struct set_value value;

	if (fd < 0)
		return fd;
	if (info->kind == SET_HASH_NET_PORT &&
	    entry->length == (info->family == AF_INET ? 32 : 128))
		return test_trie(fd, entry);
	return lookup_value(info, fd, entry, &value) && value.end > clock_now() &&
	       !(value.flags & SET_NOMATCH);
}

/*
 * Rules may add to the map that is there: it is filled up, if there is room for all. The front is
 * built anew, from what the map holds then.
 */
static int extend_map(const struct set_store *store, uint32_t number,
		      const struct set_entry *entries, size_t count)
{
	const struct set_info *info = &store->info[number];
	_cleanup_close_ int fd = open_slot(store, slot_of(info), number);
	_cleanup_front_ struct front front = { 0 };
	const uint32_t now = clock_now();
	struct set_value value;
	uint64_t total;
	int err;

	if (fd < 0)
		return fd;
	total = sweep_map(store, number, fd);
	for (size_t i = 0; i < count; i++)
		total += !lookup_value(info, fd, &entries[i], &value);
	if (total > info->maxelem)
		return -ENOSPC;
	err = put_front(store, number, total, NULL, 0, now, &front);
	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		err = update_value(info, fd, &entries[i], now);
	if (front.of.cells) {
		int filled = fill_front(store, number, fd, &front);

		err = err ? err : filled;
	}
	return err;
}

/*
 * The keys that rules add, and of these entries those that end: rules make room when they have.
 * Returns a map for the set's slot, -ENOENT (such a set has none), or another -errno.
 */
static int create_ring(const struct set_info *info, const struct set_entry *entries, size_t count)
{
	_cleanup_cells_ struct cells cells = { 0 };
	_cleanup_close_ int fd = -1;
	uint32_t place = 0;

	if (!(info->flags & SET_WITH_TIMEOUT) || slot_of(info) != SET_SLOT_HASH)
		return -ENOENT;
	fd = create_cells(1 + (info->maxelem + SET_RING_KEYS - 1) / SET_RING_KEYS, &cells);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < count && place < info->maxelem; i++) {
		if (end_of(info, &entries[i], 0) == SET_FOREVER)
			continue;
		cells.cell[1 + place / SET_RING_KEYS].key[place % SET_RING_KEYS] =
			entry_to_key(&entries[i]);
		place++;
	}
	cells.cell->word[0] = place;
	return take_fd(&fd);
}

/* What may fail comes first: the set keeps its map and ring until the new ones are complete. */
static int fill_map(const struct set_store *store, uint32_t number, const struct set_entry *entries,
		    size_t count, bool replace)
{
	const struct set_info *info = &store->info[number];
	const uint32_t now = clock_now();
	_cleanup_front_ struct front front = { 0 };
	_cleanup_close_ int fd = -1, ring = -1;
	int err = 0;

	if (!replace)
		return extend_map(store, number, entries, count);
	fd = create_map(slot_of(info), info->maxelem);
	if (fd < 0)
		return fd;
	ring = create_ring(info, entries, count);
	if (ring < 0 && ring != -ENOENT)
		return ring;
	for (size_t i = 0; i < count && !err; i++)
		err = update_value(info, fd, &entries[i], now);
	/* Until the map is there the one that was there is asked. */
	if (!err)
		err = put_front(store, number, count, entries, count, now, &front);
	if (!err && ring >= 0)
		err = put_slot(store, SET_SLOT_CELLS, number, ring);
	if (!err)
		err = put_slot(store, slot_of(info), number, fd);
	if (!err && front.of.cells)
		set_front_ready(&front.of);
	return err;
}

/* ---- Making and ending sets ------------------------------------------------------ */

/* A comment for each port of the ranges. */
static int put_port_comments(int fd, const struct set_entry *entries, size_t count)
{
	_cleanup_free_ uint32_t *last = last_entries(entries, count);
	int err = last ? 0 : -ENOMEM;

	for (uint32_t port = 0; port < PORTS && !err; port++) {
		struct set_entry one;

		if (!last[port])
			continue;
		one = entries[last[port] - 1];
		one.port = (uint16_t)port;
		err = put_comment(fd, &one);
	}
	return err;
}

static int put_comments(int fd, const struct set_info *info, const struct set_entry *entries,
			size_t count)
{
	int err = 0;

	if (fd >= 0 && info->kind == SET_BITMAP_PORT)
		return put_port_comments(fd, entries, count);
	for (size_t i = 0; i < count && !err && fd >= 0; i++)
		err = put_comment(fd, &entries[i]);
	return err;
}

/* A map of these comments and no others; -ENOENT: the set has none. */
static int create_comments(const struct set_info *info, const struct set_entry *entries,
			   size_t count)
{
	_cleanup_close_ int fd = -1;
	int err;

	if (!(info->flags & SET_WITH_COMMENT))
		return -ENOENT;
	fd = create_map(SET_SLOT_COMMENTS, info->kind == SET_BITMAP_PORT ? PORTS : info->maxelem);
	if (fd < 0)
		return fd;
	err = put_comments(fd, info, entries, count);
	return err ? err : take_fd(&fd);
}

static int replace_comments(const struct set_store *store, uint32_t number,
			    const struct set_entry *entries, size_t count)
{
	_cleanup_close_ int fd = create_comments(&store->info[number], entries, count);

	if (fd == -ENOENT)
		return 0;
	return fd < 0 ? fd : put_slot(store, SET_SLOT_COMMENTS, number, fd);
}

static int fill_set(const struct set_store *store, uint32_t number, const struct set_entry *entries,
		    size_t count, bool replace)
{
	const struct rebuild rebuild = { .entries = entries, .count = count, .replace = replace };

	switch (store->info[number].kind) {
	case SET_HASH_NET:
		return rebuild_tree(store, number, &rebuild);
	case SET_BITMAP_PORT:
		return fill_ports(store, number, entries, count, replace);
	default:
		return fill_map(store, number, entries, count, replace);
	}
}

static int create_at(struct set_store *store, uint32_t number, const struct set_info *wanted)
{
	struct set_info *info = &store->info[number];
	struct set_info fresh = *wanted;
	_cleanup_close_ int cells = -1;
	int err = 0;

	fresh.kind = SET_NONE;
	*info = fresh;
	/* What a killed bpfw may have left; readers who see the kind are to find nothing yet. */
	empty_slots(store, number);
	__atomic_store_n(&info->kind, wanted->kind, __ATOMIC_SEQ_CST);
	if (wanted->kind == SET_BITMAP_PORT) {
		cells = create_map(SET_SLOT_CELLS, PORT_CELLS);
		err = cells < 0 ? cells : put_slot(store, SET_SLOT_CELLS, number, cells);
	} else {
		err = fill_set(store, number, NULL, 0, true);
	}
	if (!err)
		err = replace_comments(store, number, NULL, 0);
	if (err)
		info->kind = SET_NONE;
	return err;
}

static const char *const block_names[] = { [SET_BLOCK4] = "block4", [SET_BLOCK6] = "block6" };

int set_create(struct set_store *store, const struct set_info *wanted)
{
	int number = SET_FIRST, err;

	if (set_find(store, wanted->name) >= 0)
		return -EEXIST;
	for (size_t i = 0; i < ARRAY_SIZE(block_names); i++)
		if (!strcmp(wanted->name, block_names[i]))
			return -EEXIST;
	while (number < SET_MAX - 1 && store->info[number].kind != SET_NONE)
		number++;
	if (number == SET_MAX - 1) /* grace_period()'s */
		return -ENFILE;
	err = create_at(store, (uint32_t)number, wanted);
	return err ? err : number;
}

struct set_info set_block_info(uint8_t family)
{
	struct set_info block = {
		.kind = SET_HASH_NET,
		.family = family,
		.flags = SET_WITH_TIMEOUT | SET_WITH_COMMENT,
		.maxelem = BLOCK_MAXELEM,
		.hashsize = 1024,
	};

	snprintf(block.name, sizeof(block.name), "%s",
		 block_names[family == AF_INET ? SET_BLOCK4 : SET_BLOCK6]);
	return block;
}

int set_block_list(struct set_store *store, uint8_t family)
{
	const int number = family == AF_INET ? SET_BLOCK4 : SET_BLOCK6;
	const struct set_info block = set_block_info(family);
	int err = 0;

	if (store->info[number].kind == SET_NONE)
		err = create_at(store, (uint32_t)number, &block);
	return err ? err : number;
}

bool set_has_block_list(const struct set_store *store, uint8_t family)
{
	return store->info[family == AF_INET6 ? SET_BLOCK6 : SET_BLOCK4].kind != SET_NONE;
}

static void set_options(struct set_info *info, const struct set_info *wanted)
{
	info->flags = (__u8)((wanted->flags & ~SET_HELD) | (info->flags & SET_HELD));
	info->timeout = wanted->timeout;
	info->maxelem = wanted->maxelem;
	info->hashsize = wanted->hashsize;
	info->first = wanted->first;
	info->last = wanted->last;
}

int set_alter(struct set_store *store, uint32_t number, const struct set_info *wanted,
	      const struct set_entry *entries, size_t count)
{
	struct set_info *info = &store->info[number];
	const struct set_info old = *info;
	int err;

	if (old.kind != wanted->kind || old.family != wanted->family)
		return -EINVAL;
	set_options(info, wanted);
	err = set_fill(store, number, entries, count, true);
	if (err)
		set_options(info, &old);
	return err;
}

int set_destroy(struct set_store *store, uint32_t number)
{
	struct set_info *info = &store->info[number];

	if (info->flags & SET_HELD)
		return -EBUSY;
	end_set(store, number);
	return 0;
}

int set_replace(struct set_store *store, uint32_t number, const struct set_info *wanted,
		const struct set_entry *entries, size_t count)
{
	struct set_info nameless = *wanted;
	int fresh, err;

	if (store->info[number].flags & SET_HELD)
		return -EBUSY;
	memset(nameless.name, 0, sizeof(nameless.name));
	fresh = set_create(store, &nameless);
	if (fresh < 0)
		return fresh;
	err = set_fill(store, (uint32_t)fresh, entries, count, true);
	if (err) {
		end_set(store, (uint32_t)fresh);
		return err;
	}
	memcpy(store->info[fresh].name, wanted->name, sizeof(wanted->name));
	end_set(store, number);
	return 0;
}

void set_hold(struct set_store *store, uint8_t family, const uint32_t *numbers, size_t count,
	      bool only)
{
	const uint8_t flag = family == AF_INET6 ? SET_HELD6 : SET_HELD4;

	for (uint32_t i = 0; i < SET_MAX && only; i++)
		store->info[i].flags &= (__u8)~flag;
	for (size_t i = 0; i < count; i++)
		store->info[numbers[i]].flags |= flag;
}

int set_blocked(const struct set_store *store, uint8_t family, uint64_t *packets, uint64_t *bytes)
{
	const uint32_t number = family == AF_INET6 ? SET_BLOCK6 : SET_BLOCK4;
	_cleanup_free_ struct filter_counter *each = NULL;
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 0)
		return cpus;
	each = calloc((size_t)cpus, sizeof(*each));
	if (!each)
		return -ENOMEM;
	if (bpf_map_lookup_elem(store->counts_fd, &number, each))
		return -errno;
	*packets = *bytes = 0;
	for (int cpu = 0; cpu < cpus; cpu++) {
		*packets += each[cpu].packets;
		*bytes += each[cpu].bytes;
	}
	return 0;
}

/* ---- Undoing --------------------------------------------------------------------- */

/* What a change that fails in its middle puts back. */
struct undo {
	const struct set_store *store;
	uint32_t number;
	const struct set_entry *entries; /* of the change */
	size_t count;
	struct set_value *values; /* of each of them; `end` 0: it was not there */
	struct cells ports;       /* bitmap:port: all of them, in memory of our own */
	int tree;                 /* hash:net, where many change: its map, which stays as it is */
	struct set_entry *comments;
	size_t comment_count;
};

static void undo_free(struct undo *undo)
{
	set_entries_free(undo->comments, undo->comment_count);
	free(undo->values);
	free(undo->ports.cell);
	cleanup_close(&undo->tree);
}

#define _cleanup_undo_ __attribute__((cleanup(undo_free)))

static int save_ports(struct undo *undo)
{
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(undo->store, undo->number, &cells);

	if (err)
		return err;
	undo->ports.cell = malloc(PORT_CELLS * sizeof(*cells.cell));
	if (!undo->ports.cell)
		return -ENOMEM;
	memcpy(undo->ports.cell, cells.cell, PORT_CELLS * sizeof(*cells.cell));
	return 0;
}

static int save_nets(struct undo *undo)
{
	const struct set_info *info = &undo->store->info[undo->number];
	_cleanup_cells_ struct cells cells = { 0 };
	struct set_tree tree;
	int err = open_tree(undo->store, undo->number, &cells, &tree);

	for (size_t i = 0; i < undo->count && !err; i++) {
		const struct set_net net = entry_to_net(info, &undo->entries[i], 0);
		uint32_t found = set_tree_find(&tree, &net);

		if (found)
			undo->values[i] = (struct set_value){
				.end = set_tree_prefix(&tree, found)->end,
				.flags = set_tree_prefix(&tree, found)->flags & SET_NOMATCH,
			};
	}
	return err;
}

static int save_values(struct undo *undo)
{
	const struct set_info *info = &undo->store->info[undo->number];
	_cleanup_close_ int fd = -1;

	undo->values = calloc(undo->count + 1, sizeof(*undo->values));
	if (!undo->values)
		return -ENOMEM;
	if (info->kind == SET_HASH_NET)
		return save_nets(undo);
	fd = open_slot(undo->store, slot_of(info), undo->number);
	for (size_t i = 0; i < undo->count && fd >= 0; i++)
		if (!lookup_value(info, fd, &undo->entries[i], &undo->values[i]))
			undo->values[i].end = 0;
	return fd < 0 ? fd : 0;
}

/* Of ports all from the first one that changes to the last one. */
static int save_comments(struct undo *undo)
{
	const bool ports = undo->store->info[undo->number].kind == SET_BITMAP_PORT;
	_cleanup_close_ int fd = open_comments(undo->store, undo->number);
	uint16_t first = UINT16_MAX, last = 0;
	size_t count = undo->count;
	int err = 0;

	if (fd < 0 || !count)
		return fd == -1 || !count ? 0 : fd;
	for (size_t i = 0; i < undo->count && ports; i++) {
		first = undo->entries[i].port < first ? undo->entries[i].port : first;
		last = undo->entries[i].port_last > last ? undo->entries[i].port_last : last;
		count = last - first + 1U;
	}
	undo->comments = calloc(count, sizeof(*undo->comments));
	if (!undo->comments)
		return -ENOMEM;
	for (; undo->comment_count < count && !err; undo->comment_count++) {
		struct set_entry *entry = &undo->comments[undo->comment_count];

		if (ports)
			entry->port = (uint16_t)(first + undo->comment_count);
		else
			*entry = undo->entries[undo->comment_count];
		entry->comment = NULL;
		err = get_comment(fd, entry);
	}
	return err;
}

/* `many`: the change will put a new map into the slot of a hash:net set. */
static int undo_begin(struct undo *undo, bool many)
{
	const struct set_info *info = &undo->store->info[undo->number];
	int err = 0;

	if (info->kind == SET_BITMAP_PORT) {
		err = save_ports(undo);
	} else if (info->kind == SET_HASH_NET && many) {
		undo->tree = open_slot(undo->store, SET_SLOT_CELLS, undo->number);
		err = undo->tree < 0 ? undo->tree : 0;
	} else {
		err = save_values(undo);
	}
	return err ? err : save_comments(undo);
}

static void undo_ports(const struct undo *undo)
{
	_cleanup_cells_ struct cells cells = { 0 };
	bool changed[PORTS] = { false };

	if (open_cells(undo->store, undo->number, &cells))
		return;
	for (size_t i = 0; i < undo->count; i++)
		memset(&changed[undo->entries[i].port], true,
		       undo->entries[i].port_last - undo->entries[i].port + 1U);
	for (uint32_t port = 0; port < PORTS; port++)
		if (changed[port])
			__atomic_store_n(port_word(&cells, port), *port_word(&undo->ports, port),
					 __ATOMIC_RELAXED);
}

static void undo_net(const struct undo *undo, size_t i)
{
	const struct set_info *info = &undo->store->info[undo->number];
	struct set_net net = entry_to_net(info, &undo->entries[i], 0);
	_cleanup_cells_ struct cells cells = { 0 };
	struct set_tree tree;

	if (!undo->values[i].end) {
		del_net(undo->store, undo->number, &undo->entries[i]);
		return;
	}
	net.end = undo->values[i].end;
	net.flags = undo->values[i].flags;
	if (!open_tree(undo->store, undo->number, &cells, &tree))
		set_tree_put(&tree, &net);
}

static void undo_value(const struct undo *undo, size_t i)
{
	const struct set_info *info = &undo->store->info[undo->number];
	union map_key key = entry_to_map_key(info, &undo->entries[i]);
	_cleanup_close_ int fd = -1;

	if (!undo->values[i].end) {
		del_value(undo->store, undo->number, &undo->entries[i]);
		return;
	}
	/* The front has been told of the key when it was added. */
	fd = open_slot(undo->store, slot_of(info), undo->number);
	if (fd >= 0)
		bpf_map_update_elem(fd, &key, &undo->values[i], BPF_ANY);
}

static void undo_all(const struct undo *undo)
{
	const struct set_info *info = &undo->store->info[undo->number];
	_cleanup_close_ int comments = open_comments(undo->store, undo->number);

	if (undo->ports.cell)
		undo_ports(undo);
	if (undo->tree >= 0)
		put_slot(undo->store, SET_SLOT_CELLS, undo->number, undo->tree);
	for (size_t i = 0; i < undo->count && undo->values; i++) {
		if (info->kind == SET_HASH_NET)
			undo_net(undo, i);
		else
			undo_value(undo, i);
	}
	for (size_t i = 0; i < undo->comment_count; i++)
		put_comment(comments, &undo->comments[i]);
}

/* ---- Entries --------------------------------------------------------------------- */

static int add_one(const struct set_store *store, uint32_t number, const struct set_entry *entry,
		   bool exist)
{
	_cleanup_close_ int comments = open_comments(store, number);
	int err;

	switch (store->info[number].kind) {
	case SET_HASH_NET:
		err = add_net(store, number, entry, exist);
		break;
	case SET_BITMAP_PORT:
		err = put_ports(store, number, entry, exist);
		break;
	default:
		err = add_value(store, number, entry, exist);
	}
	return err ? err : put_comments(comments, &store->info[number], entry, 1);
}

static int add_many(const struct set_store *store, uint32_t number, const struct set_entry *entries,
		    size_t count)
{
	_cleanup_close_ int comments = open_comments(store, number);
	int err = fill_set(store, number, entries, count, false);

	return err ? err : put_comments(comments, &store->info[number], entries, count);
}

static int add_entries(const struct set_store *store, uint32_t number,
		       const struct set_entry *entries, size_t count, bool exist)
{
	const bool many = count > FEW_ENTRIES;
	_cleanup_undo_ struct undo undo = {
		.store = store, .number = number, .entries = entries, .count = count, .tree = -1
	};
	int err = undo_begin(&undo, many);

	if (err)
		return err;
	if (many)
		err = add_many(store, number, entries, count);
	for (size_t i = 0; i < count && !many && !err; i++)
		err = add_one(store, number, &entries[i], exist);
	if (err && err != -EEXIST)
		undo_all(&undo);
	return err;
}

int set_add(struct set_store *store, uint32_t number, const struct set_entry *entry, bool exist)
{
	return add_entries(store, number, entry, 1, exist);
}

int set_del(struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	_cleanup_close_ int comments = open_comments(store, number);
	struct set_entry bare = *entry;
	int err;

	bare.comment = NULL;
	switch (store->info[number].kind) {
	case SET_HASH_NET:
		err = del_net(store, number, entry);
		break;
	case SET_BITMAP_PORT:
		err = del_ports(store, number, entry);
		break;
	default:
		err = del_value(store, number, entry);
	}
	return err ? err : put_comments(comments, &store->info[number], &bare, 1);
}

int set_test(struct set_store *store, uint32_t number, const struct set_entry *entry)
{
	switch (store->info[number].kind) {
	case SET_HASH_NET:
		return test_net(store, number, entry);
	case SET_BITMAP_PORT:
		return test_ports(store, number, entry);
	default:
		return test_value(store, number, entry);
	}
}

/* Programs do not see comments: those that were there can be put back. */
static int replace_entries(const struct set_store *store, uint32_t number,
			   const struct set_entry *entries, size_t count)
{
	_cleanup_close_ int old = open_slot(store, SET_SLOT_COMMENTS, number);
	int err = replace_comments(store, number, entries, count);

	if (err)
		return err;
	err = fill_set(store, number, entries, count, true);
	if (err && old >= 0)
		put_slot(store, SET_SLOT_COMMENTS, number, old);
	return err;
}

int set_fill(struct set_store *store, uint32_t number, const struct set_entry *entries,
	     size_t count, bool replace)
{
	return replace ? replace_entries(store, number, entries, count) :
			 add_entries(store, number, entries, count, true);
}

/* ---- Listing --------------------------------------------------------------------- */

struct listing {
	struct set_entry *entry;
	size_t count, room;
	int comments;
};

static int list_entry(struct listing *list, const struct set_entry *entry, uint32_t end,
		      uint32_t now)
{
	struct set_entry *grown;

	if (end <= now)
		return 0;
	if (list->count == list->room) {
		list->room = list->room ? list->room * 2 : 64;
		grown = realloc(list->entry, list->room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		list->entry = grown;
	}
	list->entry[list->count] = *entry;
	set_left(&list->entry[list->count], end, now);
	return get_comment(list->comments, &list->entry[list->count++]);
}

static int list_tree(const struct set_store *store, uint32_t number, struct listing *list)
{
	_cleanup_free_ struct set_net *nets = NULL;
	int64_t count = read_old(store, number, &(struct rebuild){ 0 }, &nets);
	const uint32_t now = clock_now();
	int err = count < 0 ? (int)count : 0;

	for (uint32_t i = 0; nets && i < count && !err; i++) {
		struct set_entry entry = net_to_entry(store->info[number].family, &nets[i], now);

		err = list_entry(list, &entry, nets[i].end, now);
	}
	return err;
}

static int list_ports(const struct set_store *store, uint32_t number, struct listing *list)
{
	_cleanup_cells_ struct cells cells = { 0 };
	int err = open_cells(store, number, &cells);
	const uint32_t now = clock_now();

	for (uint32_t port = 0; port < PORTS && !err; port++) {
		const struct set_entry entry = { .port = (uint16_t)port,
						 .port_last = (uint16_t)port };

		err = list_entry(list, &entry, *port_word(&cells, port), now);
	}
	return err;
}

static int list_map(const struct set_store *store, uint32_t number, struct listing *list)
{
	const struct set_info *info = &store->info[number];
	_cleanup_close_ int fd = open_slot(store, slot_of(info), number);
	struct scan scan = start_scan(info, fd);
	const uint32_t now = clock_now();
	int err = fd < 0 ? fd : 0;

	while (!err && next_entry(&scan)) {
		scan.entry.nomatch = scan.value.flags & SET_NOMATCH;
		err = list_entry(list, &scan.entry, scan.value.end, now);
	}
	return err;
}

static int compare_entries(const void *a, const void *b)
{
	const struct set_entry *x = a, *y = b;
	int order = memcmp(x->addr, y->addr, sizeof(x->addr));

	if (!order)
		order = x->length - y->length;
	if (!order)
		order = x->protocol - y->protocol;
	return order ? order : x->port - y->port;
}

/* A scan that began anew has some twice. */
static size_t drop_twins(struct set_entry *entries, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept && same_entry(&entries[kept - 1], &entries[i]))
			free(entries[i].comment);
		else
			entries[kept++] = entries[i];
	}
	return kept;
}

int set_list(struct set_store *store, uint32_t number, struct set_entry **entries, size_t *count)
{
	_cleanup_close_ int comments = open_comments(store, number);
	struct listing list = { .comments = comments };
	int err;

	switch (store->info[number].kind) {
	case SET_HASH_NET:
		err = list_tree(store, number, &list);
		break;
	case SET_BITMAP_PORT:
		err = list_ports(store, number, &list);
		break;
	default:
		err = list_map(store, number, &list);
	}
	if (err) {
		set_entries_free(list.entry, list.count);
		return err;
	}
	if (list.count)
		qsort(list.entry, list.count, sizeof(*list.entry), compare_entries);
	*count = drop_twins(list.entry, list.count);
	*entries = list.entry;
	return 0;
}
