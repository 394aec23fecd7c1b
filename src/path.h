/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The path of a flow's direction: the interface that receives it, the kernel's routing
 * decision there, the next hop, and the frame that leaves (topology.h).
 */
#ifndef BPFW_PATH_H
#define BPFW_PATH_H

#include "ipsec.h"
#include "link.h"
#include "neighbour.h"
#include "rtnl.h"
#include "rule.h"
#include "topology.h"

/* What the route says. */
enum path_kind {
	PATH_FORWARD,
	PATH_BLACKHOLE,
};

struct path {
	enum path_kind kind;
	struct reception reception;
	/* For a blackhole all that follows is 0. */
	uint16_t mtu;
	struct transmission transmission;
	uint8_t pcp_at; /* both as in struct bpfw_action */
	uint32_t pcp;
	struct neighbour *neighbour; /* NULL where the next hop has no MAC of its own to ask for */
};

/* Why there is no path. */
enum path_refusal {
	PATH_OK,
	PATH_LATER,         /* next hop not resolved or not in the FDB: worth another try soon */
	PATH_NOT_FORWARDED, /* local, broadcast, unreachable, prohibited, rp_filter, ... */
	PATH_PER_PACKET,    /* a rule or route goes by what a flow's packets differ in */
	PATH_MULTIPATH,     /* which next hop the kernel takes cannot be asked */
	PATH_DEVICE,        /* a device is down or of a kind that is left to the stack */
	PATH_QDISC,         /* the packets would miss a queueing discipline that shapes them */
};

struct path_context {
	struct rtnl *rtnl;
	struct topology topology;
	struct neighbours *neighbours;
	const struct rules *rules;
	const struct ipsec_policies *policies; /* flows that they cover have no path */
};

/* What the kernel routes by, as the packet is between destination and source NAT. */
struct path_query {
	uint8_t family;
	uint8_t protocol;
	bool keep_queues; /* TC: the packet passes the egress device's queueing discipline */
	struct segment segment;
	uint32_t mark;
	struct address src; /* as received */
	struct address dst; /* after destination NAT */
	__be16 sport;
	__be16 dport;
};

/* Fill in `path`, or say why not. `path->neighbour` needs a user or neighbour_release(). */
enum path_refusal path_resolve(const struct path_context *context, const struct path_query *query,
			       struct path *path);

/* What is known of sysctl's settings may be old: an event says that something has changed. */
void path_forget_settings(void);

#endif /* BPFW_PATH_H */
