/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PPPoE sessions and the ppp devices on top of them. The kernel lists both, but not which
 * belongs to which: what cannot be paired for certain is not here, and stays in the stack.
 */
#ifndef BPFW_PPPOE_H
#define BPFW_PPPOE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

/* More sessions than that are those of a PPPoE server: none is paired by exclusion then. */
#define PPPOE_SESSIONS_MAX 256

struct pppoe_session {
	uint32_t ppp;   /* ifindex of the ppp device */
	uint32_t lower; /* ifindex of the Ethernet device that carries it */
	__be16 id;      /* as on the wire */
	uint8_t remote[6];
};

/* All zero is an empty table. */
struct pppoe_sessions {
	size_t count;
	struct pppoe_session session[PPPOE_SESSIONS_MAX]; /* by ppp */
};

/*
 * Read the sessions anew from the kernel, and pair them with the ppp devices that are up.
 * Returns true if something changed.
 */
bool pppoe_read(struct pppoe_sessions *sessions, const struct links *links);

/* The same from other places than the running system's. */
struct pppoe_sources {
	const char *list;       /* the kernel's list of sessions */
	const char *const *run; /* directories where pppd leaves IFNAME.pid, up to NULL */
};

bool pppoe_read_from(struct pppoe_sessions *sessions, const struct links *links,
		     const struct pppoe_sources *sources);

/* The session that carries the device, NULL if it is not known. */
const struct pppoe_session *pppoe_by_device(const struct pppoe_sessions *sessions, uint32_t ppp);

/* The session with this id on the Ethernet device, NULL if it is not known. */
const struct pppoe_session *pppoe_by_wire(const struct pppoe_sessions *sessions, uint32_t lower,
					  __be16 id);

#endif /* BPFW_PPPOE_H */
