/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Routing rules that tell the packets of one flow apart. The route of a flow is asked for
 * once (path.h), by what all of its packets have: addresses, ports, protocol, mark and the
 * device they come in by. A rule that goes by anything else decides for each packet.
 */
#ifndef BPFW_RULE_H
#define BPFW_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "rtnl.h"

/* All zero is no such rule, and no such route. */
struct rules {
	bool ipv4;
	bool ipv6;
	bool routes; /* of IPv4 */
};

/*
 * Look at all rules anew, at start and when rules changed. Returns 0 or -errno. If they
 * cannot be read there may be such rules: both families have them then.
 */
int rules_dump(struct rules *rules, struct rtnl *rtnl);

/*
 * Look for routes that are for one TOS only, which IPv4 has (in any table), at start and when
 * events were lost. It takes a third of a second with the million routes of the Internet: in
 * between rules_learn_route() follows the events. Returns 0 or -errno, with an error as above.
 */
int rules_dump_routes(struct rules *rules, struct rtnl *rtnl);

/*
 * Does a rule of the family (AF_INET or AF_INET6) go by TOS or DSCP, by flow label or by the
 * tunnel key that the packet came with, or a route by TOS? No flow of the family has one route
 * then.
 */
bool rules_per_packet(const struct rules *rules, uint8_t family);

/* Take in a rule that a dump lists (RTM_NEWRULE). What is cut short may be such a rule. */
void rules_learn(struct rules *rules, const struct nlmsghdr *message);

/*
 * The same with a route (RTM_NEWROUTE), of a dump or an event. Returns true if it is the first
 * that is for one TOS only: flows of IPv4 must be judged anew. It is remembered until the next
 * dump, even if the route goes.
 */
bool rules_learn_route(struct rules *rules, const struct nlmsghdr *message);

#endif /* BPFW_RULE_H */
