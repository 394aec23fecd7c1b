/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter in the kernel: entry programs at the hooks of interfaces, by pinned links, and the
 * programs of the rulesets, by slots of pinned maps. No process is needed to keep it in force.
 *
 * A ruleset's maps belong to its program. The word in `turns` names the slots, a slot names the
 * program, the program names its maps: what is in force is found from there, and there is no other
 * record that could disagree.
 */
#ifndef BPFW_FILTER_STAGE_H
#define BPFW_FILTER_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "filter/compile.h"
#include "filter/set.h"

enum stage_hook {
	STAGE_AS_BEFORE, /* where the interface is filtered so far, else TC */
	STAGE_XDP,       /* native, else generic */
	STAGE_TC,
};

#define STAGE_INTERFACES 64

struct stage_options {
	const char *interfaces[STAGE_INTERFACES]; /* none: those that are filtered already */
	uint32_t interface_count;
	enum stage_hook hook;
	const struct set_store *sets; /* NULL: there are none */
	uint32_t replaces; /* only what has this generation (inforce.h); 0: whatever is there */
};

/*
 * Put a compiled ruleset in force, whose iptables-save text `text` is (kept beside it, for
 * showing). The rules before stay in force until the new ones are, and if anything fails. Returns
 * 0 or -errno, logged; -EAGAIN (not logged): what is in force is not what was to be replaced.
 */
int stage_load(const struct image *image, const char *text, size_t text_size,
	       const struct stage_options *options);

/* Detach all and forget all rules. Returns 0 or -errno, logged; -ENOENT: there is none. */
int stage_unload(void);

#endif /* BPFW_FILTER_STAGE_H */
