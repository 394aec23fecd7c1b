/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon: everything put together, and one event loop. */
#ifndef BPFW_DAEMON_H
#define BPFW_DAEMON_H

#include "options.h"

/* Run until SIGINT or SIGTERM. Returns 0, or -errno when it could not start (logged). */
int daemon_run(const struct options *options);

#endif /* BPFW_DAEMON_H */
