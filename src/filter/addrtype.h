/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel takes addresses for (xt_addrtype): the machine's own, broadcast, multicast ... It
 * asks its routes for each packet; here it is asked once, and what comes of it are ranges.
 */
#ifndef BPFW_FILTER_ADDRTYPE_H
#define BPFW_FILTER_ADDRTYPE_H

#include <linux/netfilter/xt_addrtype.h>
#include <sys/socket.h>

#include "filter/interval.h"
#include "filter/ruleset.h"

struct address_type {
	struct interval range;
	uint8_t prefix; /* its length */
	uint8_t type;   /* RTN_* of <linux/rtnetlink.h> */
};

/* The local routing table of this network namespace; broader prefixes first. */
struct address_types {
	struct address_type *types;
	uint32_t count, room;
};

/* Returns 0 or -errno; address_types_free() is for all of them. */
int address_types_read(struct address_types *types, uint8_t family);
void address_types_free(struct address_types *types);

/* Types of IPv6 addresses that the address alone decides, and those that are in the local table. */
#define ADDRTYPES6 \
	(XT_ADDRTYPE_UNSPEC | XT_ADDRTYPE_UNICAST | XT_ADDRTYPE_MULTICAST | XT_ADDRTYPE_LOCAL)

/* Can it be told by ranges? */
static inline bool addrtype_is_supported(const struct match_addrtype *match, uint8_t family)
{
	if (match->limit_in || match->limit_out)
		return false;
	return family == AF_INET || !((match->source | match->destination) & ~ADDRTYPES6);
}

/* Leave in the set the addresses that are of one of the types `mask`. Returns 0 or -E2BIG. */
int addrtype_narrow(struct intervals *set, const struct address_types *types, uint16_t mask,
		    bool invert, uint8_t family);

#endif /* BPFW_FILTER_ADDRTYPE_H */
