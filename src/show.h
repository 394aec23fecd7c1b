/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw flows` and `bpfw stats`: what the running instances do. */
#ifndef BPFW_SHOW_H
#define BPFW_SHOW_H

/* Each takes the arguments from the command's own name on; returns an exit status. */
int show_flows(int argc, char *const argv[]);
int show_stats(int argc, char *const argv[]);

#endif /* BPFW_SHOW_H */
