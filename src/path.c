/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "path.h"
#include "util.h"

#define SETTINGS_FRESH_MS 1000

#define VLAN_TAG_LEN 4

/* The kernel's answer to a route question. */
struct route {
	uint8_t type; /* RTN_* */
	uint32_t egress;
	uint32_t mtu; /* 0: the device's */
	bool encapsulated;
	bool several; /* next hops to choose from (asked with RTM_F_FIB_MATCH) */
	bool has_gateway;
	uint8_t gateway_family;
	struct address gateway;
};

static bool parse_via(const struct nlattr *attribute, struct route *route)
{
	const struct rtvia *via = mnl_attr_get_payload(attribute);
	size_t len = mnl_attr_get_payload_len(attribute);
	uint8_t family;

	if (len < sizeof(*via))
		return false;
	family = (uint8_t)via->rtvia_family;
	if ((family != AF_INET && family != AF_INET6) ||
	    len != sizeof(*via) + rtnl_address_len(family))
		return false;
	route->gateway_family = family;
	memcpy(&route->gateway, via->rtvia_addr, rtnl_address_len(family));
	return true;
}

static int parse_route(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *table[RTA_MAX + 1], *metrics[RTAX_MAX + 1];
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	struct route *route = data;

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header))
		return MNL_CB_ERROR;
	rtnl_attributes(message, sizeof(*header), table, RTA_MAX);
	rtnl_nested(table[RTA_METRICS], metrics, RTAX_MAX);
	memset(route, 0, sizeof(*route));
	route->type = header->rtm_type;
	route->egress = rtnl_u32(table[RTA_OIF], 0);
	route->mtu = rtnl_u32(metrics[RTAX_MTU], 0);
	route->encapsulated = table[RTA_ENCAP] != NULL;
	/* A group of next hop objects may come as its number only. */
	route->several = table[RTA_MULTIPATH] || !table[RTA_OIF];
	route->gateway_family = header->rtm_family;
	if (table[RTA_GATEWAY])
		route->has_gateway =
			rtnl_address(table[RTA_GATEWAY], header->rtm_family, &route->gateway);
	else if (table[RTA_VIA])
		route->has_gateway = parse_via(table[RTA_VIA], route);
	return MNL_CB_OK;
}

static struct nlmsghdr *put_route_request(char *buffer, const struct path_query *query)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct rtmsg *header;

	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_REQUEST;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->rtm_family = query->family;
	header->rtm_dst_len = (uint8_t)(rtnl_address_len(query->family) * 8);
	mnl_attr_put(request, RTA_DST, rtnl_address_len(query->family), &query->dst);
	if (query->mark)
		mnl_attr_put_u32(request, RTA_MARK, query->mark);
	return request;
}

/*
 * The decision for a packet that `ingress` receives: rules, rp_filter and all. With
 * RTM_F_FIB_MATCH in `flags` the entry of the table, before a next hop is chosen.
 */
static int ask_input_route(struct rtnl *rtnl, const struct path_query *query, uint32_t ingress,
			   uint32_t flags, struct route *route)
{
	char buffer[512];
	struct nlmsghdr *request = put_route_request(buffer, query);
	struct rtmsg *header = mnl_nlmsg_get_payload(request);

	header->rtm_src_len = header->rtm_dst_len;
	header->rtm_flags = flags;
	mnl_attr_put(request, RTA_SRC, rtnl_address_len(query->family), &query->src);
	mnl_attr_put_u32(request, RTA_IIF, ingress);
	/* Forwarded packets count as uid 0; a question for IPv6 has none otherwise. */
	mnl_attr_put_u32(request, RTA_UID, 0);
	mnl_attr_put_u8(request, RTA_IP_PROTO, query->protocol);
	mnl_attr_put_u16(request, RTA_SPORT, query->sport);
	mnl_attr_put_u16(request, RTA_DPORT, query->dport);
	return rtnl_request(rtnl, request, parse_route, route);
}

/*
 * An input route answers -EINVAL for a blackhole (fib_props[] of the kernel), but also for
 * a source that the kernel takes for martian. Where the route to the destination alone
 * says the same, it is a blackhole; what is in doubt goes to the stack.
 */
static bool is_blackhole(struct rtnl *rtnl, const struct path_query *query)
{
	struct route route;
	char buffer[512];

	return rtnl_request(rtnl, put_route_request(buffer, query), parse_route, &route) == -EINVAL;
}

/* The first character of a setting, '\0' if there is none. */
static char read_setting(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = '\0';

	return fd >= 0 && read(fd, &value, 1) == 1 ? value : '\0';
}

/* ip6_dst_mtu_maybe_forward(): IPv6 has an MTU of its own, which routers advertise; 0: none. */
static uint32_t ipv6_mtu(const struct link *device)
{
	char path[64 + IFNAMSIZ], value[16] = "";
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/mtu", device->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, value, sizeof(value) - 1) <= 0)
		return 0;
	return (uint32_t)strtoul(value, NULL, 10);
}

/* What sysctl says, first characters only; a process is in one network namespace. */
static struct {
	uint64_t read_ms; /* 0: not to be trusted */
	char multipath_hash;
	char forwards_ipv6;
} settings;

void path_forget_settings(void)
{
	settings.read_ms = 0;
}

/* Read at most once a second: that takes longer than asking for a route. */
static void freshen_settings(void)
{
	uint64_t now = clock_ms();

	if (settings.read_ms && now - settings.read_ms < SETTINGS_FRESH_MS)
		return;
	settings.read_ms = now;
	settings.multipath_hash = read_setting("/proc/sys/net/ipv4/fib_multipath_hash_policy");
	settings.forwards_ipv6 = read_setting("/proc/sys/net/ipv6/conf/all/forwarding");
}

/* ip6_forward() asks this setting; the route question of IPv6 does not (that of IPv4 does). */
static bool forwards_ipv6(void)
{
	freshen_settings();
	return settings.forwards_ipv6 && settings.forwards_ipv6 != '0';
}

/*
 * Among several next hops the kernel chooses by a hash of the packet (fib_multipath_hash(),
 * rt6_multipath_hash()). For IPv4 it is one of the addresses, unless set otherwise, and a
 * route question leads to the same. IPv6 adds the flow label, which a question cannot hold,
 * and other settings take the hash that the hardware made. The question might answer with
 * another uplink than the one that the flow is on.
 */
static bool is_choice_hidden(struct rtnl *rtnl, const struct path_query *query, uint32_t ingress)
{
	struct route route;

	freshen_settings();
	if (query->family == AF_INET &&
	    (!settings.multipath_hash || settings.multipath_hash == '0'))
		return false;
	return !ask_input_route(rtnl, query, ingress, RTM_F_FIB_MATCH, &route) && route.several;
}

static enum path_refusal use_neighbour(const struct path_context *context,
				       const struct path_query *query, const struct route *route,
				       struct path *path)
{
	uint8_t family = route->has_gateway ? route->gateway_family : query->family;
	const struct address *next_hop = route->has_gateway ? &route->gateway : &query->dst;
	int err = neighbour_get(context->neighbours, context->rtnl, route->egress, family, next_hop,
				&path->neighbour);

	return err ? PATH_LATER : PATH_OK;
}

/* rt_tos2priority() by packet_class() of the BPF side. */
static const uint32_t ipv4_priority[] = { 0, 2, 6, 4 };
#define CLASSES 8

/* The skb's priority on the way out for the class. */
static uint32_t class_priority(uint8_t family, const struct reception *reception, uint32_t class)
{
	if (family == AF_INET)
		return ipv4_priority[class % ARRAY_SIZE(ipv4_priority)];
	return reception->vlan ? reception->vlan->vlan.ingress[class] : 0;
}

static uint32_t priority_map(uint8_t family, const struct reception *reception,
			     const struct link_vlan *vlan)
{
	uint32_t map = 0;

	for (uint32_t class = 0; class < CLASSES; class ++) {
		uint32_t priority = class_priority(family, reception, class);

		if (priority < ARRAY_SIZE(vlan->egress))
			map |= (uint32_t)vlan->egress[priority] << (class * 4);
	}
	return map;
}

/* One tag's priority may depend on the packet. Two that do are left to the stack. */
static enum path_refusal use_priorities(const struct path_query *query, struct path *path)
{
	for (size_t i = 0; i < path->transmission.tags; i++) {
		const struct link_vlan *vlan = path->transmission.priority[i];
		uint32_t map = vlan ? priority_map(query->family, &path->reception, vlan) : 0;

		if (!map)
			continue;
		if (path->pcp_at)
			return PATH_DEVICE;
		path->pcp = map;
		path->pcp_at = (uint8_t)(ETH_HLEN + VLAN_TAG_LEN * i);
	}
	return PATH_OK;
}

static uint16_t least_mtu(const struct path_query *query, const struct link *device,
			  const struct route *route, const struct transmission *transmission)
{
	const uint32_t mtus[] = { transmission->mtu, route->mtu,
				  query->family == AF_INET6 ? ipv6_mtu(device) : 0 };
	uint32_t least = UINT16_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++)
		if (mtus[i] && mtus[i] < least)
			least = mtus[i];
	return (uint16_t)least;
}

static enum path_refusal use_device(const struct path_context *context,
				    const struct path_query *query, const struct route *route,
				    struct path *path)
{
	const struct link *device = links_find(context->topology.links, route->egress);
	enum path_refusal refusal = PATH_OK;

	if (!device)
		return PATH_DEVICE;
	if (topology_needs_neighbour(device))
		refusal = use_neighbour(context, query, route, path);
	if (refusal != PATH_OK)
		return refusal;
	switch (topology_send(&context->topology, route->egress,
			      path->neighbour ? path->neighbour->mac : NULL, query->family,
			      query->keep_queues, &path->transmission)) {
	case TRANSMISSION_UNKNOWN:
		return PATH_LATER;
	case TRANSMISSION_DEVICE:
		return PATH_DEVICE;
	case TRANSMISSION_OK:
		break;
	}
	if (path->transmission.shaped && !query->keep_queues)
		return PATH_QDISC;
	path->mtu = least_mtu(query, device, route, &path->transmission);
	return use_priorities(query, path);
}

enum path_refusal path_resolve(const struct path_context *context, const struct path_query *query,
			       struct path *path)
{
	enum path_refusal refusal;
	struct route route;
	int err;

	memset(path, 0, sizeof(*path));
	if (query->family == AF_INET6 && !forwards_ipv6())
		return PATH_NOT_FORWARDED;
	if (rules_per_packet(context->rules, query->family))
		return PATH_PER_PACKET;
	if (!topology_receive(&context->topology, &query->segment, &path->reception))
		return PATH_DEVICE;
	err = ask_input_route(context->rtnl, query, path->reception.device, 0, &route);
	if (err == -EINVAL && is_blackhole(context->rtnl, query)) {
		path->kind = PATH_BLACKHOLE;
		return PATH_OK;
	}
	if (err || route.type != RTN_UNICAST || route.encapsulated)
		return PATH_NOT_FORWARDED;
	if (is_choice_hidden(context->rtnl, query, path->reception.device))
		return PATH_MULTIPATH;
	path->kind = PATH_FORWARD;
	refusal = use_device(context, query, &route, path);
	if (refusal != PATH_OK && path->neighbour)
		neighbour_release(context->neighbours, path->neighbour);
	return refusal;
}
