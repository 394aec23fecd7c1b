/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The prefixes of a hash:net set in the memory of its map (set_layout.h), as its only writer sees
 * it: nothing here takes a system call, but for a grace period where cells are to be used again.
 *
 * How it stays true while programs read it on other CPUs, and whenever the writer is killed: new
 * leaves and a new directory are written beside the old ones, then one word is stored, the root.
 * What the writer needs to know of free leaves it finds by what the directory does not name. The
 * prefixes, which are written first, are the authority: from them all the rest can be built.
 */
#ifndef BPFW_SET_TREE_H
#define BPFW_SET_TREE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "set_layout.h"

/* An address as a number: IPv4 is below 2^32, in the upper half alone; IPv6 fills both. */
struct set_addr {
	uint64_t high;
	uint64_t low;
};

/* Bits behind the length are 0. */
struct set_net {
	struct set_addr addr;
	uint32_t end; /* SET_FOREVER, or when it ends */
	uint8_t length;
	uint8_t flags;  /* SET_NOMATCH */
	uint32_t order; /* of equal ones the last one counts; for the caller's use */
};

/* Returns when every BPF program that was running has ended: 0 or -errno. */
typedef int (*set_grace)(void *context);

struct set_tree {
	struct set_cell *cells;
	set_grace wait;
	void *wait_context;
};

struct set_addr set_addr_read(uint8_t family, const uint8_t *bytes);
void set_addr_write(uint8_t family, const struct set_addr *addr, uint8_t *bytes);

/* Clears what lies behind the length. Returns whether anything did. */
bool set_net_mask(uint8_t family, struct set_net *net);

/* Sorts by address, shorter ones first; of equal ones the one of the highest order stays. */
uint32_t set_nets_sort(struct set_net *nets, uint32_t count);

/* Cells that hold so many prefixes, with room for changes. 0: too many for a map. */
uint32_t set_tree_cells(uint8_t family, uint32_t prefixes);

/*
 * Build in zeroed memory, which nobody reads yet. `nets` is sorted and has no prefix twice.
 * 0, -ENOSPC (not as many cells as set_tree_cells() says) or -ENOMEM.
 */
int set_tree_build(struct set_cell *cells, uint32_t count, uint8_t family,
		   const struct set_net *nets, uint32_t nets_count);

/* Number of the prefix, 0 if it is not there. Those that have ended are. */
uint32_t set_tree_find(const struct set_tree *tree, const struct set_net *net);
const struct set_prefix *set_tree_prefix(const struct set_tree *tree, uint32_t number);

/*
 * Add a prefix, or give the one that is there another end and other flags; take one out. 0, or
 *	-ENOSPC	there is no room: build anew with the change, which may or may not be noted
 *	-ESTALE	a writer ended in mid-change: build anew
 *	-ENOENT	(set_tree_remove) it is not there
 *	-ENOMEM, or what the grace period returned
 */
int set_tree_put(struct set_tree *tree, const struct set_net *net);
int set_tree_remove(struct set_tree *tree, const struct set_net *net);

/* Is the address in the set at that time? As the BPF programs say. */
bool set_tree_test(const struct set_tree *tree, const struct set_addr *addr, uint32_t now);

/*
 * All prefixes that have not ended by then, in no order: an array that the caller frees. Works in
 * every state. Returns how many, or -ENOMEM.
 */
int64_t set_tree_export(const struct set_tree *tree, uint32_t now, struct set_net **nets);

#endif /* BPFW_SET_TREE_H */
