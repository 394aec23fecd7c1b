/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw set` and `bpfw block`. */
#ifndef BPFW_SET_COMMAND_H
#define BPFW_SET_COMMAND_H

/*
 * argv[0] is "set" or "block". Returns the exit status: 0, 1 (failed, not in the set), 2 (usage).
 */
int set_command(int argc, char *const argv[]);
int block_command(int argc, char *const argv[]);

#endif /* BPFW_SET_COMMAND_H */
