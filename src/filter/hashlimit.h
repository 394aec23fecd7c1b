/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables of hashlimit: from what rules say to what the programs count with. */
#ifndef BPFW_FILTER_HASHLIMIT_H
#define BPFW_FILTER_HASHLIMIT_H

#include "filter/compile.h"

/*
 * The number of the table that a match names, in *number; it is made of the first that does. Returns
 * 0, -ENOMEM, or -EEXIST: the table is there with other values.
 */
int hashlimit_table(struct image *image, const struct match_hashlimit *match, uint32_t *number);

/* How many groups all tables of the image hold together. */
uint32_t hashlimit_groups(const struct image *image);

#endif /* BPFW_FILTER_HASHLIMIT_H */
