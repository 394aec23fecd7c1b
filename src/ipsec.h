/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's IPsec policies (XFRM), in memory: whether a forwarded packet would be
 * encrypted, dropped, or let through only if it came encrypted. The kernel asks them for each
 * packet, and so a flow that they concern is left to it.
 */
#ifndef BPFW_IPSEC_H
#define BPFW_IPSEC_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtnl.h"
#include "tuple.h"

/* With more policies than that everything counts as covered: they are looked through in turn. */
#define IPSEC_POLICIES_MAX 4096

/* The kernel's checks of a forwarded packet. */
enum ipsec_check {
	IPSEC_FORWARD, /* may it be forwarded as it came in? (direction "fwd") */
	IPSEC_OUTPUT,  /* may it leave as it is? (direction "out") */
	IPSEC_CHECKS,
};

struct ipsec_policy {
	struct address src; /* prefixes */
	struct address dst;
	__be32 src_mask; /* of their first words, where most packets differ */
	__be32 dst_mask;
	uint32_t priority; /* the lowest number that matches decides */
	uint32_t egress;   /* ifindex, 0: any */
	__be16 sport, sport_mask;
	__be16 dport, dport_mask;
	uint8_t src_len, dst_len;
	uint8_t family;
	uint8_t protocol; /* 0: any */
	bool plain;       /* lets the packet pass as it is */
};

struct ipsec_table {
	struct ipsec_policy *policy;
	size_t count;
	size_t room;
	bool refuse; /* what no policy matches is dropped */
};

/* All zero is no policies. */
struct ipsec_policies {
	struct ipsec_table table[IPSEC_CHECKS];
	bool unknown; /* too many, or they cannot be read: everything is covered */
};

/* All zero is closed. */
struct ipsec {
	struct rtnl netlink; /* both sockets are of NETLINK_XFRM */
	struct ipsec_policies policies;
	bool warned; /* that everything is covered */
};

/*
 * Open the sockets and subscribe. Returns 0 or -errno; ipsec_close() is always allowed. A
 * kernel without IPsec is no error: it has no policies, and there is nothing to wait for.
 */
int ipsec_open(struct ipsec *ipsec);
void ipsec_close(struct ipsec *ipsec);

/* To be polled; -1 where the kernel has no IPsec. */
int ipsec_events_fd(const struct ipsec *ipsec);

/* Read the policies anew. Returns 0 or -errno; after an error everything is covered. */
int ipsec_dump(struct ipsec *ipsec);

/*
 * Read all events that are waiting, and the policies anew if they are about those or were
 * lost. Returns true if the policies are not as before: flows must be judged anew.
 */
bool ipsec_read_events(struct ipsec *ipsec);

/*
 * Do the policies concern the packet? Selectors are compared as by the kernel, and the policy
 * of the highest priority decides; where two are equal, the one that concerns the packet. An
 * `egress` (ifindex) of 0 is not known: policies for one device concern the packet then. So do
 * those that go by the packet's mark or by security context, neither of which is known here.
 * Those of XFRM interfaces (if_id) do not count: their packets pass a device that is left to
 * the stack. Neither do those of single sockets.
 */
bool ipsec_covers(const struct ipsec_policies *policies, const struct tuple *packet,
		  uint32_t egress);

/*
 * Do they concern a flow's packets of either direction, before, between or after destination
 * and source NAT? `original` and `reply` are conntrack's tuples of the flow.
 */
bool ipsec_covers_flow(const struct ipsec_policies *policies, const struct tuple *original,
		       const struct tuple *reply);

/*
 * Take in a policy that a dump lists (XFRM_MSG_NEWPOLICY). One that makes no sense could be
 * about anything: everything is covered then.
 */
void ipsec_policies_learn(struct ipsec_policies *policies, const struct nlmsghdr *message);
void ipsec_policies_free(struct ipsec_policies *policies);

#endif /* BPFW_IPSEC_H */
