/* SPDX-License-Identifier: GPL-2.0-only */
/* The sets that a ruleset names: found before it is compiled, held as long as it is in force. */
#ifndef BPFW_FILTER_SET_USE_H
#define BPFW_FILTER_SET_USE_H

#include "filter/ruleset.h"
#include "filter/set.h"

struct set_use {
	struct set_store store;
	bool is_open;
	uint8_t family;
	uint32_t *numbers; /* of the sets, some of them several times */
	size_t count, room;
	uint8_t flags[SET_MAX]; /* of all sets, as they were */
};

/*
 * Open the store, if there is one, find the sets that the rules name and tell the rules their
 * numbers; hold them besides those that are held. Returns 0 or -errno, reported: -ENOENT, -EINVAL
 * (of the other family), -EOPNOTSUPP (rules cannot change a set of this type). `look` is for a
 * ruleset that will not be put in force: nothing is held, and nothing opened if the rules name no
 * set.
 */
int set_use_begin(struct set_use *use, struct ruleset *ruleset, bool look,
		  const struct ruleset_report *report);

/*
 * The ruleset is in force: its sets are held, and no others for its family. If it is not, all is as
 * it was. Closes the store.
 */
void set_use_end(struct set_use *use, bool in_force);

#endif /* BPFW_FILTER_SET_USE_H */
