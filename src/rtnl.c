/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/netconf.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "log.h"
#include "rtnl.h"
#include "util.h"

/* A burst of 100,000 route changes should not overrun the socket. */
#define EVENTS_BUFFER (4 << 20)

static const unsigned int event_groups[] = {
	RTNLGRP_LINK,         RTNLGRP_NEIGH,        RTNLGRP_IPV4_ROUTE,
	RTNLGRP_IPV6_ROUTE,   RTNLGRP_IPV4_RULE,    RTNLGRP_IPV6_RULE,
	RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF, RTNLGRP_NEXTHOP,
};

static struct mnl_socket *open_socket(int flags)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, flags | SOCK_CLOEXEC);

	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(socket);
		return NULL;
	}
	return socket;
}

static void set_receive_buffer(const struct mnl_socket *socket, int size)
{
	int fd = mnl_socket_get_fd(socket);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int subscribe(const struct mnl_socket *socket)
{
	for (size_t i = 0; i < ARRAY_SIZE(event_groups); i++) {
		int group = (int)event_groups[i];

		/* Next hop objects came with 5.3: an older kernel has none to change. */
		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) &&
		    group != RTNLGRP_NEXTHOP)
			return -errno;
	}
	return 0;
}

int rtnl_open(struct rtnl *rtnl)
{
	const struct timeval patience = { .tv_sec = 2 };
	int one = 1;

	rtnl->query = open_socket(0);
	rtnl->events = open_socket(SOCK_NONBLOCK);
	if (!rtnl->query || !rtnl->events)
		return -errno;
	/* Filters in the kernel, and errors with their reasons, where it can. */
	mnl_socket_setsockopt(rtnl->query, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	setsockopt(mnl_socket_get_fd(rtnl->query), SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	set_receive_buffer(rtnl->events, EVENTS_BUFFER);
	rtnl->seq = (uint32_t)time(NULL);
	return subscribe(rtnl->events);
}

void rtnl_close(struct rtnl *rtnl)
{
	if (rtnl->query)
		mnl_socket_close(rtnl->query);
	if (rtnl->events)
		mnl_socket_close(rtnl->events);
	rtnl->query = NULL;
	rtnl->events = NULL;
}

int rtnl_events_fd(const struct rtnl *rtnl)
{
	return mnl_socket_get_fd(rtnl->events);
}

int rtnl_request(struct rtnl *rtnl, struct nlmsghdr *request, mnl_cb_t callback, void *data)
{
	unsigned int port = mnl_socket_get_portid(rtnl->query);
	bool single = !(request->nlmsg_flags & (NLM_F_DUMP | NLM_F_ACK));

	request->nlmsg_seq = ++rtnl->seq;
	if (mnl_socket_sendto(rtnl->query, request, request->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t len = mnl_socket_recvfrom(rtnl->query, rtnl->buffer, sizeof(rtnl->buffer));
		const struct nlmsghdr *first = (void *)rtnl->buffer;
		int more;

		if (len < 0)
			return -errno;
		/* The answer to a question that timed out earlier */
		if ((size_t)len >= sizeof(*first) && first->nlmsg_seq != rtnl->seq)
			continue;
		more = mnl_cb_run(rtnl->buffer, (size_t)len, rtnl->seq, port, callback, data);
		if (more < 0)
			return -errno;
		if (more == MNL_CB_STOP || single)
			return 0;
	}
}

static void route_event(const struct nlmsghdr *message, const struct rtnl_events *events)
{
	const struct nlattr *table[RTA_MAX + 1];
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);
	struct address prefix = { 0 };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*route))
		return;
	if (route->rtm_family != AF_INET && route->rtm_family != AF_INET6)
		return;
	if (route->rtm_flags & RTM_F_CLONED)
		return; /* a cache entry of one destination, not a decision */
	rtnl_attributes(message, sizeof(*route), table, RTA_MAX);
	if (table[RTA_DST] && !rtnl_address(table[RTA_DST], route->rtm_family, &prefix))
		return;
	events->route(events->context, message, &prefix);
}

static void netconf_event(const struct nlmsghdr *message, const struct rtnl_events *events)
{
	const struct nlattr *table[NETCONFA_MAX + 1];

	rtnl_attributes(message, sizeof(struct netconfmsg), table, NETCONFA_MAX);
	if (table[NETCONFA_FORWARDING] && table[NETCONFA_IFINDEX])
		events->forwarding(events->context, (int)rtnl_u32(table[NETCONFA_IFINDEX], 0));
}

static int dispatch(const struct nlmsghdr *message, void *data)
{
	const struct rtnl_events *events = data;

	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		events->link(events->context, message);
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		events->neighbour(events->context, message);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		route_event(message, events);
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		events->everything(events->context, "routing rules changed");
		break;
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		events->everything(events->context, "next hop objects changed");
		break;
	case RTM_NEWNETCONF:
		netconf_event(message, events);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

/* Events may come as fast as they are read: the loop has other things to do in between. */
#define EVENT_READS 256

void rtnl_read_events(struct rtnl *rtnl, const struct rtnl_events *events)
{
	char buffer[32768]; /* its own: the callbacks may ask questions */

	for (int i = 0; i < EVENT_READS; i++) {
		ssize_t len = mnl_socket_recvfrom(rtnl->events, buffer, sizeof(buffer));

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && (errno == ENOBUFS || errno == ENOSPC)) {
			events->lost(events->context);
			continue;
		}
		if (len <= 0)
			return;
		mnl_cb_run(buffer, (size_t)len, 0, 0, dispatch, (void *)events);
	}
}

struct attribute_table {
	const struct nlattr **table;
	unsigned int max;
};

static int collect_attribute(const struct nlattr *attribute, void *data)
{
	const struct attribute_table *into = data;
	unsigned int type = mnl_attr_get_type(attribute);

	if (type <= into->max)
		into->table[type] = attribute;
	return MNL_CB_OK;
}

void rtnl_attributes(const struct nlmsghdr *message, size_t header_len, const struct nlattr **table,
		     unsigned int max)
{
	struct attribute_table into = { table, max };

	memset(table, 0, (max + 1) * sizeof(*table));
	mnl_attr_parse(message, (unsigned int)header_len, collect_attribute, &into);
}

void rtnl_nested(const struct nlattr *nest, const struct nlattr **table, unsigned int max)
{
	struct attribute_table into = { table, max };

	memset(table, 0, (max + 1) * sizeof(*table));
	if (nest)
		mnl_attr_parse_nested(nest, collect_attribute, &into);
}

uint32_t rtnl_u32(const struct nlattr *attribute, uint32_t absent)
{
	if (!attribute || mnl_attr_get_payload_len(attribute) < sizeof(uint32_t))
		return absent;
	return mnl_attr_get_u32(attribute);
}

size_t rtnl_address_len(uint8_t family)
{
	return family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
}

bool rtnl_address(const struct nlattr *attribute, uint8_t family, struct address *address)
{
	size_t len = rtnl_address_len(family);

	if (!attribute || mnl_attr_get_payload_len(attribute) != len)
		return false;
	memset(address, 0, sizeof(*address));
	memcpy(address, mnl_attr_get_payload(attribute), len);
	return true;
}
