/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rtnetlink messages about devices, neighbours and routes: what they are taken for, and
 * that no length in them, true or false, makes anybody read beyond them.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"
#include "link.h"
#include "neighbour.h"
#include "rtnl.h"

#define ROUNDS 60000

static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 7 };
static const uint8_t other_mac[6] = { 2, 0, 0, 0, 0, 8 };

static char buffer[4096];

static struct nlmsghdr *start(uint16_t type)
{
	struct nlmsghdr *message;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	return message;
}

/* ---- Devices ----------------------------------------------------------------- */

struct device {
	int ifindex;
	uint32_t flags;
	uint32_t mtu;
	uint32_t master;
	const char *name;
	const char *kind;
};

static const struct device lan = { 7, IFF_UP | IFF_LOWER_UP, 1500, 3, "lan0", "veth" };

static struct nlmsghdr *put_device(uint16_t type, const struct device *device)
{
	struct nlmsghdr *message = start(type);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct nlattr *info;

	header->ifi_index = device->ifindex;
	header->ifi_type = ARPHRD_ETHER;
	header->ifi_flags = device->flags;
	mnl_attr_put_strz(message, IFLA_IFNAME, device->name);
	mnl_attr_put_u32(message, IFLA_MTU, device->mtu);
	if (device->master)
		mnl_attr_put_u32(message, IFLA_MASTER, device->master);
	info = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put_strz(message, IFLA_INFO_KIND, device->kind);
	mnl_attr_nest_end(message, info);
	mnl_attr_put(message, IFLA_ADDRESS, sizeof(mac), mac);
	return message;
}

static enum link_change tell(struct links *links, const struct nlmsghdr *message, uint32_t expected)
{
	uint32_t ifindex = 0xdead;
	enum link_change change = links_event(links, message, &ifindex);

	assert_int_equal(ifindex, expected);
	return change;
}

static void test_device(void **state)
{
	struct links links = { 0 };
	const struct link *link;

	(void)state;
	assert_null(links_find(&links, 7));
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &lan), 7), LINK_CHANGED);
	link = links_find(&links, 7);
	assert_non_null(link);
	assert_ptr_equal(links_find_name(&links, "lan0"), link);
	assert_null(links_find_name(&links, "lan"));
	assert_null(links_find(&links, 7 + LINK_BUCKETS));
	assert_int_equal(link->mtu, 1500);
	assert_int_equal(link->master, 3);
	assert_int_equal(link->type, ARPHRD_ETHER);
	assert_string_equal(link->kind, "veth");
	assert_memory_equal(link->mac, mac, 6);
	assert_true(link_running(link));
	assert_true(link_is_ethernet(link));
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &lan), 7), LINK_SAME);
	assert_int_equal(tell(&links, put_device(RTM_DELLINK, &lan), 7), LINK_GONE);
	assert_null(links_find(&links, 7));
	assert_int_equal(tell(&links, put_device(RTM_DELLINK, &lan), 7), LINK_GONE);
	links_free(&links);
}

static void test_device_changes(void **state)
{
	struct links links = { 0 };
	struct device device = lan;

	(void)state;
	tell(&links, put_device(RTM_NEWLINK, &device), 7);
	device.mtu = 1400;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 7), LINK_CHANGED);
	device.master = 0;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 7), LINK_CHANGED);
	device.flags = IFF_UP;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 7), LINK_CHANGED);
	assert_false(link_running(links_find(&links, 7)));
	device.flags |= IFF_PROMISC;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 7), LINK_SAME);
	device.flags |= IFF_NOARP;
	tell(&links, put_device(RTM_NEWLINK, &device), 7);
	assert_false(link_is_ethernet(links_find(&links, 7)));
	device.name = "renamed";
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 7), LINK_CHANGED);
	assert_null(links_find_name(&links, "lan0"));
	assert_non_null(links_find_name(&links, "renamed"));
	/* Others in the same bucket come and go by themselves. */
	for (int i = 1; i < 4; i++) {
		device.ifindex = 7 + i * LINK_BUCKETS;
		tell(&links, put_device(RTM_NEWLINK, &device), (uint32_t)device.ifindex);
	}
	device.ifindex = 7 + 2 * LINK_BUCKETS;
	tell(&links, put_device(RTM_DELLINK, &device), (uint32_t)device.ifindex);
	assert_non_null(links_find(&links, 7));
	assert_non_null(links_find(&links, 7 + LINK_BUCKETS));
	assert_null(links_find(&links, 7 + 2 * LINK_BUCKETS));
	assert_non_null(links_find(&links, 7 + 3 * LINK_BUCKETS));
	links_free(&links);
	assert_null(links_find(&links, 7));
}

static void test_device_refused(void **state)
{
	struct links links = { 0 };
	struct device device = lan;
	struct nlmsghdr *message = put_device(RTM_NEWLINK, &device);
	struct ifinfomsg *header = mnl_nlmsg_get_payload(message);

	(void)state;
	header->ifi_family = AF_BRIDGE;
	assert_int_equal(tell(&links, message, 0), LINK_SAME);
	device.ifindex = 0;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 0), LINK_SAME);
	device.ifindex = -5;
	assert_int_equal(tell(&links, put_device(RTM_NEWLINK, &device), 0), LINK_SAME);
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		assert_null(links.bucket[i]);
}

/* Attributes that are too long, too short, or not terminated. */
static void test_device_attributes(void **state)
{
	static const uint8_t infiniband[20] = { 0xff };
	struct links links = { 0 };
	struct nlmsghdr *message = start(RTM_NEWLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	const struct link *link;
	struct nlattr *info;
	char name[100];

	(void)state;
	memset(name, 'n', sizeof(name));
	header->ifi_index = 9;
	mnl_attr_put(message, IFLA_IFNAME, sizeof(name), name);
	mnl_attr_put_u16(message, IFLA_MTU, 1500);
	mnl_attr_put_u8(message, IFLA_MASTER, 1);
	info = mnl_attr_nest_start(message, IFLA_LINKINFO);
	mnl_attr_put(message, IFLA_INFO_KIND, sizeof(name), name);
	mnl_attr_nest_end(message, info);
	mnl_attr_put(message, IFLA_ADDRESS, sizeof(infiniband), infiniband);
	message = message_copy(message, message->nlmsg_len);
	assert_int_equal(tell(&links, message, 9), LINK_CHANGED);
	link = links_find(&links, 9);
	assert_int_equal(strlen(link->name), IFNAMSIZ - 1);
	assert_int_equal(strlen(link->kind), LINK_KIND_LEN - 1);
	assert_int_equal(link->mtu, 0);
	assert_int_equal(link->master, 0);
	assert_memory_equal(link->mac, "\0\0\0\0\0\0", 6);
	free(message);
	links_free(&links);
}

static void test_device_hostile(void **state)
{
	struct nlmsghdr *message = put_device(RTM_NEWLINK, &lan), *copy;
	struct links links = { 0 };
	uint32_t ifindex, len = message->nlmsg_len;

	(void)state;
	for (uint32_t cut = sizeof(*message); cut <= len; cut++) {
		copy = message_copy(message, cut);
		links_event(&links, copy, &ifindex);
		assert_int_equal(ifindex, cut < NLMSG_LENGTH(sizeof(struct ifinfomsg)) ? 0 : 7);
		free(copy);
	}
	/* The last one was whole. */
	assert_memory_equal(links_find(&links, 7)->mac, mac, 6);
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		copy->nlmsg_type = unit_below(4) ? RTM_NEWLINK : RTM_DELLINK;
		links_event(&links, copy, &ifindex);
		free(copy);
	}
	links_free(&links);
}

/* ---- Neighbours -------------------------------------------------------------- */

static struct neighbours neighbours;
static struct neighbour known;
static struct rtnl rtnl;

static struct nlmsghdr *put_neighbour(uint16_t type, uint8_t family, const char *address,
				      uint16_t nud, const uint8_t *lladdr)
{
	struct nlmsghdr *message = start(type);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct address dst = { 0 };

	assert_int_equal(inet_pton(family, address, &dst), 1);
	header->ndm_family = family;
	header->ndm_ifindex = 7;
	header->ndm_state = nud;
	mnl_attr_put(message, NDA_DST, family == AF_INET ? 4 : 16, &dst);
	if (lladdr)
		mnl_attr_put(message, NDA_LLADDR, 6, lladdr);
	return message;
}

/* The one neighbour that is known, to be found whatever bucket it belongs to. */
static void know(uint8_t family, const char *address)
{
	memset(&known, 0, sizeof(known));
	list_init(&known.users);
	known.ifindex = 7;
	known.family = family;
	memcpy(known.mac, mac, sizeof(mac));
	assert_int_equal(inet_pton(family, address, &known.address), 1);
	for (size_t i = 0; i < NEIGHBOUR_BUCKETS; i++)
		neighbours.bucket[i] = &known;
}

static bool lost(const struct nlmsghdr *message)
{
	struct neighbour *neighbour = neighbours_event(&neighbours, &rtnl, message);

	assert_true(!neighbour || neighbour == &known);
	return neighbour;
}

static void check_states(uint8_t family, const char *address, const char *other)
{
	static const uint16_t valid[] = { NUD_REACHABLE, NUD_PERMANENT, NUD_PROBE, NUD_DELAY,
					  NUD_NOARP };
	static const uint16_t invalid[] = { NUD_INCOMPLETE, NUD_FAILED, NUD_NONE };

	know(family, address);
	for (size_t i = 0; i < ARRAY_SIZE(valid); i++) {
		assert_false(lost(put_neighbour(RTM_NEWNEIGH, family, address, valid[i], mac)));
		assert_true(
			lost(put_neighbour(RTM_NEWNEIGH, family, address, valid[i], other_mac)));
		assert_true(lost(put_neighbour(RTM_NEWNEIGH, family, address, valid[i], NULL)));
		assert_true(lost(put_neighbour(RTM_DELNEIGH, family, address, valid[i], mac)));
		assert_false(lost(put_neighbour(RTM_NEWNEIGH, family, other, valid[i], other_mac)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++)
		assert_true(lost(put_neighbour(RTM_NEWNEIGH, family, address, invalid[i], mac)));
	known.ifindex = 8;
	assert_false(lost(put_neighbour(RTM_DELNEIGH, family, address, NUD_REACHABLE, mac)));
	known.ifindex = 7;
	known.family = family == AF_INET ? AF_INET6 : AF_INET;
	assert_false(lost(put_neighbour(RTM_DELNEIGH, family, address, NUD_REACHABLE, mac)));
}

static void test_neighbour(void **state)
{
	(void)state;
	check_states(AF_INET, "10.0.0.7", "10.0.0.8");
	check_states(AF_INET6, "fe80::7", "fe80::8");
}

/* A stale entry stays in use while the kernel is asked to confirm it. */
static void test_neighbour_stale(void **state)
{
	(void)state;
	if (!feed_enter_namespace())
		skip();
	assert_int_equal(rtnl_open(&rtnl), 0);
	know(AF_INET, "10.0.0.7");
	assert_false(lost(put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.7", NUD_STALE, mac)));
	assert_true(lost(put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.7", NUD_STALE, other_mac)));
	rtnl_close(&rtnl);
}

static void test_neighbour_attributes(void **state)
{
	struct nlmsghdr *message = start(RTM_NEWNEIGH);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	uint8_t bytes[32] = { 10, 0, 0, 7 };

	(void)state;
	know(AF_INET, "10.0.0.7");
	header->ndm_family = AF_INET;
	header->ndm_ifindex = 7;
	header->ndm_state = NUD_FAILED;
	assert_false(lost(message)); /* no address */
	mnl_attr_put(message, NDA_DST, 3, bytes);
	assert_false(lost(message));
	message = put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.7", NUD_FAILED, NULL);
	header = mnl_nlmsg_get_payload(message);
	header->ndm_family = AF_INET6; /* 4 bytes are no IPv6 address */
	assert_false(lost(message));
	header->ndm_family = AF_BRIDGE;
	assert_false(lost(message));
	/* A link-layer address of another length is none. */
	message = put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.7", NUD_REACHABLE, NULL);
	mnl_attr_put(message, NDA_LLADDR, sizeof(bytes), bytes);
	assert_true(lost(message));
	message = put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.7", NUD_REACHABLE, NULL);
	mnl_attr_put(message, NDA_LLADDR, 0, bytes);
	assert_true(lost(message));
}

static void test_neighbour_hostile(void **state)
{
	struct nlmsghdr *message, *copy;

	(void)state;
	/* A damaged message may ask for a confirmation: not from the machine's own kernel tables. */
	if (!feed_enter_namespace())
		skip();
	assert_int_equal(rtnl_open(&rtnl), 0);
	know(AF_INET6, "fe80::7");
	message = put_neighbour(RTM_NEWNEIGH, AF_INET6, "fe80::7", NUD_FAILED, mac);
	for (uint32_t cut = sizeof(*message); cut <= message->nlmsg_len; cut++) {
		copy = message_copy(message, cut);
		/* Whole up to and including the address, it means this neighbour. */
		assert_int_equal(lost(copy), cut >= NLMSG_LENGTH(sizeof(struct ndmsg)) + 4 + 16);
		free(copy);
	}
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, message->nlmsg_len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		lost(copy);
		free(copy);
	}
	rtnl_close(&rtnl);
}

/* ---- Events ------------------------------------------------------------------ */

static struct heard {
	unsigned int links, neighbours, routes, forwardings, everythings, lost;
	uint8_t family;
	struct address prefix;
	unsigned int length;
	int ifindex;
	const char *why;
} heard;

static void hear_link(void *context, const struct nlmsghdr *message)
{
	struct links links = { 0 };
	uint32_t ifindex;

	(void)context;
	links_event(&links, message, &ifindex);
	links_free(&links);
	heard.links++;
}

static void hear_neighbour(void *context, const struct nlmsghdr *message)
{
	(void)context;
	neighbours_event(&neighbours, &rtnl, message);
	heard.neighbours++;
}

static void hear_route(void *context, const struct nlmsghdr *message, const struct address *prefix)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);

	(void)context;
	assert_true(route->rtm_family == AF_INET || route->rtm_family == AF_INET6);
	heard.routes++;
	heard.family = route->rtm_family;
	heard.prefix = *prefix;
	heard.length = route->rtm_dst_len;
}

static void hear_forwarding(void *context, int ifindex)
{
	(void)context;
	heard.forwardings++;
	heard.ifindex = ifindex;
}

static void hear_everything(void *context, const char *why)
{
	(void)context;
	heard.everythings++;
	heard.why = why;
}

static void hear_lost(void *context)
{
	(void)context;
	heard.lost++;
}

static const struct rtnl_events events = {
	.link = hear_link,
	.neighbour = hear_neighbour,
	.route = hear_route,
	.forwarding = hear_forwarding,
	.everything = hear_everything,
	.lost = hear_lost,
};

static struct feed feed;

static void open_events(void)
{
	if (!feed_enter_namespace() || !feed_open(&feed))
		skip();
	memset(&neighbours, 0, sizeof(neighbours));
	rtnl.events = feed.socket;
}

static void close_events(void)
{
	rtnl.events = NULL;
	feed_close(&feed);
}

static void hear(const struct nlmsghdr *message)
{
	memset(&heard, 0, sizeof(heard));
	feed_send(&feed, message, message->nlmsg_len);
	rtnl_read_events(&rtnl, &events);
}

static struct nlmsghdr *put_route(uint16_t type, uint8_t family, const char *prefix, uint8_t length)
{
	struct nlmsghdr *message = start(type);
	struct rtmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct address dst = { 0 };

	header->rtm_family = family;
	header->rtm_dst_len = length;
	if (prefix) {
		assert_int_equal(inet_pton(family, prefix, &dst), 1);
		mnl_attr_put(message, RTA_DST, family == AF_INET ? 4 : 16, &dst);
	}
	mnl_attr_put_u32(message, RTA_OIF, 7);
	return message;
}

static void test_routes(void **state)
{
	struct address expected = { 0 };
	struct nlmsghdr *message;
	struct rtmsg *header;

	(void)state;
	open_events();
	hear(put_route(RTM_NEWROUTE, AF_INET, "192.0.2.0", 24));
	assert_int_equal(heard.routes, 1);
	assert_int_equal(heard.family, AF_INET);
	assert_int_equal(heard.length, 24);
	inet_pton(AF_INET, "192.0.2.0", &expected);
	assert_true(address_equal(&heard.prefix, &expected));
	hear(put_route(RTM_DELROUTE, AF_INET6, "2001:db8::", 32));
	assert_int_equal(heard.routes, 1);
	assert_int_equal(heard.family, AF_INET6);
	inet_pton(AF_INET6, "2001:db8::", &expected);
	assert_true(address_equal(&heard.prefix, &expected));
	/* A default route has no destination. */
	hear(put_route(RTM_NEWROUTE, AF_INET6, NULL, 0));
	assert_int_equal(heard.routes, 1);
	assert_int_equal(heard.length, 0);
	message = put_route(RTM_NEWROUTE, AF_INET6, "2001:db8::1", 128);
	header = mnl_nlmsg_get_payload(message);
	header->rtm_flags = RTM_F_CLONED;
	hear(message);
	assert_int_equal(heard.routes, 0);
	message = put_route(RTM_NEWROUTE, AF_INET, "192.0.2.0", 24);
	header = mnl_nlmsg_get_payload(message);
	header->rtm_family = AF_INET6; /* 4 bytes are no IPv6 prefix */
	hear(message);
	assert_int_equal(heard.routes, 0);
	header->rtm_family = AF_MPLS;
	hear(message);
	assert_int_equal(heard.routes, 0);
	close_events();
}

static struct nlmsghdr *put_netconf(int ifindex, bool forwarding)
{
	struct nlmsghdr *message = start(RTM_NEWNETCONF);
	struct netconfmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ncm_family = AF_INET;
	mnl_attr_put_u32(message, NETCONFA_IFINDEX, (uint32_t)ifindex);
	if (forwarding)
		mnl_attr_put_u32(message, NETCONFA_FORWARDING, 1);
	return message;
}

static void test_other_events(void **state)
{
	(void)state;
	open_events();
	hear(put_device(RTM_NEWLINK, &lan));
	assert_int_equal(heard.links, 1);
	hear(put_device(RTM_DELLINK, &lan));
	assert_int_equal(heard.links, 1);
	hear(put_neighbour(RTM_NEWNEIGH, AF_INET, "10.0.0.1", NUD_REACHABLE, mac));
	assert_int_equal(heard.neighbours, 1);
	hear(put_netconf(7, true));
	assert_int_equal(heard.forwardings, 1);
	assert_int_equal(heard.ifindex, 7);
	hear(put_netconf(NETCONFA_IFINDEX_ALL, true));
	assert_int_equal(heard.ifindex, -1);
	hear(put_netconf(7, false));
	assert_int_equal(heard.forwardings, 0);
	hear(put_route(RTM_NEWRULE, AF_INET, NULL, 0));
	assert_int_equal(heard.everythings, 1);
	hear(put_route(RTM_DELRULE, AF_INET6, NULL, 0));
	assert_int_equal(heard.everythings, 1);
	hear(start(RTM_NEWNEXTHOP));
	assert_int_equal(heard.everythings, 1);
	hear(start(RTM_DELNEXTHOP));
	assert_int_equal(heard.everythings, 1);
	hear(start(RTM_NEWQDISC));
	assert_int_equal(heard.links + heard.neighbours + heard.routes + heard.forwardings +
				 heard.everythings,
			 0);
	close_events();
}

static void test_lost_events(void **state)
{
	(void)state;
	open_events();
	memset(&heard, 0, sizeof(heard));
	feed_overflow(&feed);
	rtnl_read_events(&rtnl, &events);
	assert_int_equal(heard.lost, 1);
	/* And what comes then is read as ever. */
	hear(put_device(RTM_NEWLINK, &lan));
	assert_int_equal(heard.links, 1);
	assert_int_equal(heard.lost, 0);
	close_events();
}

static struct nlmsghdr *some_message(void)
{
	switch (unit_below(5)) {
	case 0:
		return put_device(RTM_NEWLINK, &lan);
	case 1:
		return put_neighbour(RTM_NEWNEIGH, AF_INET6, "fe80::1", NUD_REACHABLE, mac);
	case 2:
		return put_netconf(7, true);
	case 3:
		return put_route(RTM_NEWROUTE, AF_INET, "192.0.2.0", 24);
	default:
		return put_route(RTM_DELROUTE, AF_INET6, "2001:db8::", 32);
	}
}

/* Whole datagrams: damaged, cut, with false lengths, two messages in one. */
static void test_events_hostile(void **state)
{
	static char datagram[8192];
	unsigned int sent = 0;

	(void)state;
	open_events();
	for (int i = 0; i < ROUNDS; i++) {
		size_t len = 0;

		for (uint32_t count = 1 + unit_below(3); count; count--) {
			struct nlmsghdr *message = some_message();
			size_t message_len = NLMSG_ALIGN(message->nlmsg_len);

			for (uint32_t wounds = unit_below(4); wounds; wounds--)
				message_damage(message);
			if (!unit_below(8))
				message->nlmsg_len = unit_below(4) ? unit_below(300) :
								     unit_random();
			memcpy(datagram + len, message, message_len);
			len += message_len;
		}
		if (!unit_below(3))
			len = 1 + unit_below((uint32_t)len);
		if (!feed_is_walkable(datagram, len))
			continue;
		feed_send(&feed, datagram, len);
		sent++;
		if (!(i % 8))
			rtnl_read_events(&rtnl, &events);
	}
	rtnl_read_events(&rtnl, &events);
	assert_true(sent > ROUNDS / 2);
	/* After all that a good message is still understood. */
	hear(put_route(RTM_NEWROUTE, AF_INET, "192.0.2.0", 24));
	assert_int_equal(heard.routes, 1);
	close_events();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_device_changes),
		cmocka_unit_test(test_device_refused),
		cmocka_unit_test(test_device_attributes),
		cmocka_unit_test(test_device_hostile),
		cmocka_unit_test(test_neighbour),
		cmocka_unit_test(test_neighbour_stale),
		cmocka_unit_test(test_neighbour_attributes),
		cmocka_unit_test(test_neighbour_hostile),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_other_events),
		cmocka_unit_test(test_lost_events),
		cmocka_unit_test(test_events_hostile),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
