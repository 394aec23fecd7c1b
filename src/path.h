/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The path of a flow's direction: the kernel's routing decision, taken down to the
 * egress device, its next hop and what the frame's link layer looks like. All that is
 * known about egress devices is in here.
 */
#ifndef BPFW_PATH_H
#define BPFW_PATH_H

#include "link.h"
#include "neighbour.h"
#include "rtnl.h"

/* What the route says. */
enum path_kind {
	PATH_FORWARD,
	PATH_BLACKHOLE,
};

struct path {
	enum path_kind kind;
	uint32_t egress; /* ifindex; for a blackhole 0, as is all below */
	uint16_t mtu;
	uint8_t src_mac[6];
	struct neighbour *neighbour;
};

/* Why there is no path. */
enum path_refusal {
	PATH_OK,
	PATH_LATER,         /* the neighbour is not resolved yet: worth another try soon */
	PATH_NOT_FORWARDED, /* local, broadcast, unreachable, prohibited, rp_filter, ... */
	PATH_DEVICE,        /* the egress device is down or of a kind that is left to the stack */
};

struct path_context {
	struct rtnl *rtnl;
	struct links *links;
	struct neighbours *neighbours;
};

/* What the kernel routes by, as the packet is between destination and source NAT. */
struct path_query {
	uint8_t family;
	uint8_t protocol;
	uint32_t ingress; /* ifindex */
	uint32_t mark;
	struct address src; /* as received */
	struct address dst; /* after destination NAT */
	__be16 sport;
	__be16 dport;
};

/* Fill in `path`, or say why not. `path->neighbour` needs a user or neighbour_release(). */
enum path_refusal path_resolve(const struct path_context *context, const struct path_query *query,
			       struct path *path);

#endif /* BPFW_PATH_H */
