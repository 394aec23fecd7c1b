/* SPDX-License-Identifier: GPL-2.0-only */
/* `bpfw filter why`: which rules a packet would meet, and what would become of it. */
#ifndef BPFW_FILTER_WHY_H
#define BPFW_FILTER_WHY_H

/* argv[0] is "why". Returns the exit status. */
int why_command(int argc, char *const argv[]);

#endif /* BPFW_FILTER_WHY_H */
