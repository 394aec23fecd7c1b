/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a service manager is told (the protocol of sd_notify(3)): a datagram of NAME=VALUE
 * lines to the socket that NOTIFY_SOCKET names. Without that variable nothing is sent.
 */
#ifndef BPFW_NOTIFY_H
#define BPFW_NOTIFY_H

#include <stdint.h>

struct notify {
	int fd;               /* connected, -1 if there is nobody to tell */
	uint64_t watchdog_ms; /* a sign of life is due this often, 0: none is */
	uint64_t next_ms;
};

/* Read the environment. A socket that cannot be reached is no error. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

void notify_ready(const struct notify *notify);
void notify_reloading(const struct notify *notify);
void notify_stopping(const struct notify *notify);

/* From the event loop, at least four times a second: the sign of life, when it is due. */
void notify_alive(struct notify *notify, uint64_t now_ms);

#endif /* BPFW_NOTIFY_H */
