/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets in the pinned maps of set_layout.h. Every invocation of bpfw opens the store, changes what
 * it wants to and goes away: nothing runs in the background, and what a later one needs is in the
 * maps. One at a time has the store: it is locked from opening to closing.
 *
 * A change of one entry is made in place; a change of many builds a new map beside the old one
 * and puts it into the set's slot, which programs see as one step. Entries that have ended are
 * dropped whenever a map is built, and when there is no room for a new one.
 */
#ifndef BPFW_FILTER_SET_H
#define BPFW_FILTER_SET_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "set_layout.h"

/* The maps of maps, in this order. */
enum set_slots {
	SET_SLOT_CELLS,
	SET_SLOT_HASH,
	SET_SLOT_TRIE,
	SET_SLOT_COMMENTS,
	SET_SLOTS,
};

struct set_store {
	int directory; /* of the pins; the lock is on it */
	int info_fd;
	int slots_fd[SET_SLOTS];
	int counts_fd;         /* of what the block lists have dropped */
	struct set_info *info; /* SET_MAX of them, the map's own memory */
};

#define SET_COMMENT_LEN 256      /* with the 0: IPSET_MAX_COMMENT_SIZE is one less */
#define SET_TIMEOUT_MAX 2147483U /* seconds, as ipset's */

/* An entry as text names it. What its set's kind does not have is 0. */
struct set_entry {
	uint8_t addr[16]; /* network byte order, IPv4: the first four */
	uint8_t length;   /* of the prefix; 32 or 128 for an address */
	uint8_t protocol;
	uint16_t port;      /* host byte order */
	uint16_t port_last; /* bitmap:port: the end of a range of ports */
	bool nomatch;
	bool timed;       /* `timeout` was given, else it is the set's */
	uint32_t timeout; /* seconds; 0: for ever */
	char *comment;    /* NULL for none */
};

/*
 * Opens and locks the pinned store, and makes what is missing of it if `create` says so. 0,
 * -ENOENT (there is none), or another -errno, for which there is a message already.
 */
int set_store_open(struct set_store *store, bool create);

/* A store without sets goes, unless a filter is loaded, whose programs may have its maps. */
void set_store_close(struct set_store *store);

/* Number of the set with this name; -ENOENT. */
int set_find(const struct set_store *store, const char *name);

/*
 * Make a set, empty, of name, kind, family, flags, timeout, maxelem, first and last of `wanted`.
 * Returns its number, -EEXIST, -ENFILE (no number is free), or another -errno.
 */
int set_create(struct set_store *store, const struct set_info *wanted);

/* What the built-in block list of a family is. */
struct set_info set_block_info(uint8_t family);

/* The built-in block list of a family; made if it is not there. Its number or -errno. */
int set_block_list(struct set_store *store, uint8_t family);

/* Has one been made? */
bool set_has_block_list(const struct set_store *store, uint8_t family);

/* -EBUSY if a filter in force uses it. */
int set_destroy(struct set_store *store, uint32_t number);

/*
 * The rules of a family that are in force, or about to be, use these sets, and no others if `only`
 * says so. Sets that no rules use can be destroyed.
 */
void set_hold(struct set_store *store, uint8_t family, const uint32_t *numbers, size_t count,
	      bool only);

/* Packets and bytes that the block list of a family has dropped. 0 or -errno. */
int set_blocked(const struct set_store *store, uint8_t family, uint64_t *packets, uint64_t *bytes);

/*
 * Change one entry. 0, or -EEXIST (`exist` would give it the new timeout and comment), -ENOENT,
 * -ENOSPC (maxelem), -errno: then the set is as it was.
 */
int set_add(struct set_store *store, uint32_t number, const struct set_entry *entry, bool exist);
int set_del(struct set_store *store, uint32_t number, const struct set_entry *entry);

/* 1 if the address (and port) is in the set, as rules would find it, 0 if not, or -errno. */
int set_test(struct set_store *store, uint32_t number, const struct set_entry *entry);

/*
 * Add many, of which a later one goes before an equal one, or give the set these and no others, in
 * one step. 0, -ENOSPC (maxelem), -errno: then the set is as it was.
 */
int set_fill(struct set_store *store, uint32_t number, const struct set_entry *entries,
	     size_t count, bool replace);

/*
 * Give a set other options (not another kind or family: -EINVAL) and, in the same step as
 * set_fill(), these entries instead of its own. After an error it has its own options and entries.
 */
int set_alter(struct set_store *store, uint32_t number, const struct set_info *wanted,
	      const struct set_entry *entries, size_t count);

/*
 * A set of another kind or family in the place of one that no filter uses. 0, -EBUSY or another
 * -errno, and then the old one is there as it was.
 */
int set_replace(struct set_store *store, uint32_t number, const struct set_info *wanted,
		const struct set_entry *entries, size_t count);

/*
 * All entries in ascending order, in an array for set_entries_free() (set_parse.h). `timeout` is
 * what is left, `timed` whether it ends. 0 or -errno.
 */
int set_list(struct set_store *store, uint32_t number, struct set_entry **entries, size_t *count);

#endif /* BPFW_FILTER_SET_H */
