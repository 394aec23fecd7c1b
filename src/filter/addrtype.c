/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "filter/addrtype.h"
#include "rtnl.h"

#define DUMP_TRIES 5

static struct value family_maximum(uint8_t family)
{
	return family == AF_INET6 ? (struct value){ UINT64_MAX, UINT64_MAX } :
				    (struct value){ 0, UINT32_MAX };
}

/* ---- The local table ----------------------------------------------------------------- */

static struct interval prefix_range(const struct address *address, uint8_t prefix, uint8_t family)
{
	const unsigned int open = (family == AF_INET6 ? 128 : 32) - prefix;
	struct interval range = { 0 };
	uint32_t words[4];

	memcpy(words, address, rtnl_address_len(family));
	if (family == AF_INET) {
		range.first.low = ntohl(words[0]);
	} else {
		range.first.high = (uint64_t)ntohl(words[0]) << 32 | ntohl(words[1]);
		range.first.low = (uint64_t)ntohl(words[2]) << 32 | ntohl(words[3]);
	}
	range.last = range.first;
	range.last.low |= open >= 64 ? UINT64_MAX : (UINT64_C(1) << open) - 1;
	if (open > 64)
		range.last.high |= open >= 128 ? UINT64_MAX : (UINT64_C(1) << (open - 64)) - 1;
	return range;
}

static int add_type(struct address_types *types, const struct address_type *type)
{
	if (types->count == types->room) {
		uint32_t room = types->room ? types->room * 2 : 64;
		struct address_type *more = reallocarray(types->types, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		types->types = more;
		types->room = room;
	}
	types->types[types->count++] = *type;
	return 0;
}

static int take_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	const struct nlattr *table[RTA_MAX + 1];
	struct address address = { 0 };
	struct address_type type;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*route))
		return MNL_CB_OK;
	rtnl_attributes(message, sizeof(*route), table, RTA_MAX);
	if (rtnl_u32(table[RTA_TABLE], route->rtm_table) != RT_TABLE_LOCAL ||
	    route->rtm_flags & RTM_F_CLONED ||
	    route->rtm_dst_len > 8 * rtnl_address_len(route->rtm_family) ||
	    (route->rtm_dst_len && !rtnl_address(table[RTA_DST], route->rtm_family, &address)))
		return MNL_CB_OK;
	type.range = prefix_range(&address, route->rtm_dst_len, route->rtm_family);
	type.prefix = route->rtm_dst_len;
	type.type = route->rtm_type;
	if (!add_type(data, &type))
		return MNL_CB_OK;
	errno = ENOMEM;
	return MNL_CB_ERROR;
}

static int compare_prefixes(const void *a, const void *b)
{
	const struct address_type *x = a, *y = b;

	return x->prefix - y->prefix;
}

static int dump(struct rtnl *rtnl, struct address_types *types, uint8_t family)
{
	char buffer[NLMSG_SPACE(sizeof(struct rtmsg))];
	int err = -EINTR;

	for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
		struct rtmsg *route;

		request->nlmsg_type = RTM_GETROUTE;
		request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		route = mnl_nlmsg_put_extra_header(request, sizeof(*route));
		route->rtm_family = family;
		types->count = 0;
		err = rtnl_request(rtnl, request, take_route, types);
	}
	return err;
}

int address_types_read(struct address_types *types, uint8_t family)
{
	struct rtnl rtnl;
	int err;

	memset(types, 0, sizeof(*types));
	err = rtnl_open(&rtnl);
	err = err ? err : dump(&rtnl, types, family);
	rtnl_close(&rtnl);
	if (types->count)
		qsort(types->types, types->count, sizeof(*types->types), compare_prefixes);
	return err;
}

void address_types_free(struct address_types *types)
{
	free(types->types);
	memset(types, 0, sizeof(*types));
}

/* ---- Ranges ----------------------------------------------------------------------------- */

static int set_range(struct intervals *set, struct interval range, bool in, struct value maximum)
{
	struct intervals others = { .count = 1 };
	int err;

	if (in)
		return intervals_add(set, range.first, range.last);
	others.interval[0] = range;
	err = intervals_invert(&others, maximum);
	return err ? err : intervals_intersect(set, &others);
}

/* __inet_dev_addr_type(): routes that are errors find nothing, and what is not found is unicast. */
static uint16_t type_bit(uint8_t type)
{
	switch (type) {
	case RTN_LOCAL:
	case RTN_BROADCAST:
	case RTN_ANYCAST:
	case RTN_MULTICAST:
		return (uint16_t)(1u << type);
	default:
		return XT_ADDRTYPE_UNICAST;
	}
}

static int add_types4(struct intervals *set, const struct address_types *types, uint16_t mask)
{
	const struct value maximum = family_maximum(AF_INET);
	static const struct address_type fixed[] = {
		{ { { 0, 0xe0000000 }, { 0, 0xefffffff } }, 4, RTN_MULTICAST },
		{ { { 0, 0 }, { 0, 0x00ffffff } }, 8, RTN_BROADCAST },
		{ { { 0, UINT32_MAX }, { 0, UINT32_MAX } }, 32, RTN_BROADCAST },
	};
	int err = set_range(set, (struct interval){ { 0, 0 }, maximum }, mask & XT_ADDRTYPE_UNICAST,
			    maximum);

	for (uint32_t i = 0; i < types->count && !err; i++)
		err = set_range(set, types->types[i].range, mask & type_bit(types->types[i].type),
				maximum);
	for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed) && !err; i++)
		err = set_range(set, fixed[i].range, mask & type_bit(fixed[i].type), maximum);
	return err;
}

/* match_type6(): all types that are asked for have to hold. */
static int add_types6(struct intervals *set, const struct address_types *types, uint16_t mask)
{
	const struct value maximum = family_maximum(AF_INET6);
	const struct interval multicast = { { UINT64_C(0xff) << 56, 0 }, maximum };
	const struct interval unspecified = { { 0, 0 }, { 0, 0 } };
	const struct interval mapped = { { 0, UINT64_C(0xffff) << 32 },
					 { 0, UINT64_C(0xffffffffffff) } };
	struct intervals local = { .count = 0 };
	int err = 0;

	intervals_all(set, maximum);
	if (mask & XT_ADDRTYPE_MULTICAST)
		err = intervals_intersect(set, &(struct intervals){ 1, { multicast } });
	if (!err && mask & XT_ADDRTYPE_UNICAST) {
		err = set_range(set, multicast, false, maximum);
		err = err ? err : set_range(set, unspecified, false, maximum);
		err = err ? err : set_range(set, mapped, false, maximum);
	}
	if (!err && mask & XT_ADDRTYPE_UNSPEC)
		err = intervals_intersect(set, &(struct intervals){ 1, { unspecified } });
	if (err || !(mask & XT_ADDRTYPE_LOCAL))
		return err;
	for (uint32_t i = 0; i < types->count && !err; i++)
		err = set_range(&local, types->types[i].range, types->types[i].type == RTN_LOCAL,
				maximum);
	return err ? err : intervals_intersect(set, &local);
}

int addrtype_narrow(struct intervals *set, const struct address_types *types, uint16_t mask,
		    bool invert, uint8_t family)
{
	struct intervals wanted = { .count = 0 };
	int err;

	if (!mask)
		return 0;
	err = family == AF_INET6 ? add_types6(&wanted, types, mask) :
				   add_types4(&wanted, types, mask);
	if (!err && invert)
		err = intervals_invert(&wanted, family_maximum(family));
	return err ? err : intervals_intersect(set, &wanted);
}
