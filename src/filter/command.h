/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw filter`: the command line. */
#ifndef BPFW_FILTER_COMMAND_H
#define BPFW_FILTER_COMMAND_H

/* argv[0] is "filter". Returns the exit status. */
int filter_command(int argc, char *const argv[]);

#endif /* BPFW_FILTER_COMMAND_H */
