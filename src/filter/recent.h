/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables of recent (bpf/filter_recent.h): from what rules say to what the programs work with. */
#ifndef BPFW_FILTER_RECENT_H
#define BPFW_FILTER_RECENT_H

#include "filter.skel.h"
#include "filter/compile.h"

/*
 * The number of the table that a match names, in *number; it is made of the first that does. Returns
 * 0, -ENOMEM, or -EEXIST: the table is there with another mask.
 */
int recent_table(struct image *image, const struct match_recent *match, uint32_t *number);

/* The operation of a match but for its table: c, which holds flags and hits. */
uint32_t recent_asks(const struct match_recent *match);

/* Before the programs are loaded: how large the tables are. */
void recent_configure(struct filter_bpf *skeleton, const struct image *image);

/* Afterwards: tables without addresses. Returns 0 or -errno. */
int recent_fill(const struct filter_bpf *skeleton, const struct image *image);

/*
 * Take over the addresses of tables of the same name and mask from a program in force
 * (in_force_program()). What packets change there meanwhile may be missed. Returns 0 or -errno; it is
 * no error if there is nothing that can be taken over.
 */
int recent_take_over(const struct filter_bpf *skeleton, int program);

#endif /* BPFW_FILTER_RECENT_H */
