/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw flows`, `stats` and `status`: what the running instances do; and `bpfw --dry-run`. */
#ifndef BPFW_SHOW_H
#define BPFW_SHOW_H

#include "options.h"

/* Each takes the arguments from the command's own name on; returns an exit status. */
int show_flows(int argc, char *const argv[]);
int show_stats(int argc, char *const argv[]);
int show_status(int argc, char *const argv[]);

/* Print what the daemon would do with these options. Returns an exit status. */
int show_dry_run(const struct options *options);

#endif /* BPFW_SHOW_H */
