/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Next hops of offloaded flows: the neighbour entries that the fast path copied. The
 * kernel's table stays the authority: each is asked for when a flow first needs it, and
 * events keep it true. The fast path does not exercise the kernel's entry as traffic
 * does, so an entry that goes stale while flows use it is sent to be confirmed.
 */
#ifndef BPFW_NEIGHBOUR_H
#define BPFW_NEIGHBOUR_H

#include "rtnl.h"
#include "util.h"

struct neighbour {
	struct neighbour *next; /* in its bucket */
	struct list users;      /* the flow directions that go this way, linked by their owner */
	struct address address;
	uint32_t ifindex;
	uint8_t family;
	uint8_t mac[6];
};

#define NEIGHBOUR_BUCKETS 1024

struct neighbours {
	struct neighbour *bucket[NEIGHBOUR_BUCKETS];
};

/*
 * The neighbour with a valid MAC, from memory or from the kernel. Returns 0, -EAGAIN while
 * the kernel has not resolved it (a packet through the stack makes it), or -errno. It
 * lives as long as it has users: neighbour_release() after the last has left.
 */
int neighbour_get(struct neighbours *neighbours, struct rtnl *rtnl, uint32_t ifindex,
		  uint8_t family, const struct address *address, struct neighbour **found);

/* Free the neighbour if nobody uses it. */
void neighbour_release(struct neighbours *neighbours, struct neighbour *neighbour);

/*
 * Apply an event. Returns the neighbour when its copy is no longer true (another MAC, or
 * none): the caller takes its users off it and releases it. Else NULL.
 */
struct neighbour *neighbours_event(struct neighbours *neighbours, struct rtnl *rtnl,
				   const struct nlmsghdr *message);

void neighbours_free(struct neighbours *neighbours);

#endif /* BPFW_NEIGHBOUR_H */
