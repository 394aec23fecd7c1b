/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The conntrack entries that events have told of, as far as the memory goes: the youngest ones.
 * An entry found here sends events; one that is not may be older than our subscription, may never
 * have had an answer (whose events are filtered), or has been pushed out by younger ones.
 */
#ifndef BPFW_TOLD_H
#define BPFW_TOLD_H

#include <stdbool.h>
#include <stdint.h>

#define TOLD_WAYS 2

struct told_entry {
	uint32_t tag; /* of the tuple's hash, 0 where nothing is */
	uint32_t id;  /* conntrack's */
};

struct told {
	struct told_entry (*set)[TOLD_WAYS]; /* the youngest first */
	uint32_t mask;
};

/* Room for about so many tuples. Returns 0 or -ENOMEM. */
int told_init(struct told *told, uint32_t tuples);
void told_free(struct told *told);

/* `hash` is the tuple's datapath_hash(). */
void told_add(struct told *told, uint64_t hash, uint32_t id);

/* Has an event told of any entry with this tuple; of this very entry? */
bool told_has(const struct told *told, uint64_t hash);
bool told_has_entry(const struct told *told, uint64_t hash, uint32_t id);

#endif /* BPFW_TOLD_H */
