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

/* All zero is no such rule. */
struct rules {
	bool ipv4;
	bool ipv6;
};

/*
 * Look at all rules anew, at start and when rules changed. Returns 0 or -errno. If they
 * cannot be read there may be such rules: both families have them then.
 */
int rules_dump(struct rules *rules, struct rtnl *rtnl);

/*
 * Does a rule of the family (AF_INET or AF_INET6) go by TOS or DSCP, by flow label or by the
 * tunnel key that the packet came with? No flow of the family has one route then.
 */
bool rules_per_packet(const struct rules *rules, uint8_t family);

/* Take in a rule that a dump lists (RTM_NEWRULE). What is cut short may be such a rule. */
void rules_learn(struct rules *rules, const struct nlmsghdr *message);

#endif /* BPFW_RULE_H */
