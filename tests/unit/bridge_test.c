/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bridges' tables: what messages about FDB entries and VLANs are taken for, that no
 * length in them makes anybody read beyond them, and a dump of a bridge of the kernel's.
 */
#include "unit.h"

#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bridge.h"
#include "feed.h"
#include "util.h"

#define ROUNDS 60000

#define BRIDGE 3
#define PORT_A 7
#define PORT_B 8

static const uint8_t host[6] = { 2, 0, 0, 0, 0, 7 };
static const uint8_t other[6] = { 2, 0, 0, 0, 0, 8 };

static struct bridges bridges;
static char buffer[32768];

static struct nlmsghdr *start(uint16_t type)
{
	struct nlmsghdr *message;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	return message;
}

static bool tell(const struct nlmsghdr *message)
{
	return bridges_event(&bridges, message);
}

static int begin(void **state)
{
	(void)state;
	memset(&bridges, 0, sizeof(bridges));
	return 0;
}

static int end(void **state)
{
	(void)state;
	bridges_free(&bridges);
	assert_int_equal(bridges.hosts, 0);
	return 0;
}

/* ---- Hosts ------------------------------------------------------------------- */

static struct nlmsghdr *put_host(uint16_t type, uint32_t port, const uint8_t *mac, uint16_t vlan)
{
	struct nlmsghdr *message = start(type);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct nda_cacheinfo info = { 0 };

	header->ndm_family = AF_BRIDGE;
	header->ndm_ifindex = (int)port;
	header->ndm_state = NUD_REACHABLE;
	mnl_attr_put(message, NDA_LLADDR, 6, mac);
	mnl_attr_put_u32(message, NDA_MASTER, BRIDGE);
	mnl_attr_put(message, NDA_CACHEINFO, sizeof(info), &info);
	if (vlan)
		mnl_attr_put_u16(message, NDA_VLAN, vlan);
	return message;
}

static struct ndmsg *header_of(struct nlmsghdr *message)
{
	return mnl_nlmsg_get_payload(message);
}

static void test_host(void **state)
{
	(void)state;
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
	assert_false(tell(put_host(RTM_DELNEIGH, PORT_A, host, 0)));
	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, host, 0)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), PORT_A);
	assert_int_equal(bridges_port(&bridges, BRIDGE + 1, host, 0), 0);
	assert_int_equal(bridges_port(&bridges, BRIDGE, other, 0), 0);
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 10), 0);
	/* Said again it is no news, behind another port it is. */
	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, host, 0)));
	assert_true(tell(put_host(RTM_NEWNEIGH, PORT_B, host, 0)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), PORT_B);
	assert_int_equal(bridges.hosts, 1);
	assert_true(tell(put_host(RTM_DELNEIGH, PORT_B, host, 0)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
	assert_false(tell(put_host(RTM_DELNEIGH, PORT_B, host, 0)));
	/* Each VLAN by itself */
	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, host, 10)));
	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_B, host, 20)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 10), PORT_A);
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 20), PORT_B);
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
	assert_true(tell(put_host(RTM_DELNEIGH, PORT_A, host, 10)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 20), PORT_B);
}

/* A port that leaves takes what is behind it along, and a bridge everything. */
static void test_port_leaves(void **state)
{
	struct nlmsghdr *message;
	struct ifinfomsg *header;

	(void)state;
	tell(put_host(RTM_NEWNEIGH, PORT_A, host, 0));
	tell(put_host(RTM_NEWNEIGH, PORT_B, other, 0));
	message = start(RTM_DELLINK);
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->ifi_family = AF_BRIDGE;
	header->ifi_index = PORT_A;
	assert_true(tell(message));
	assert_false(tell(message));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
	assert_int_equal(bridges_port(&bridges, BRIDGE, other, 0), PORT_B);
	header->ifi_index = BRIDGE;
	header->ifi_family = AF_UNSPEC;
	assert_true(tell(message));
	assert_int_equal(bridges_port(&bridges, BRIDGE, other, 0), 0);
}

enum odd {
	ODD_LOCAL,
	ODD_OF_BRIDGE,
	ODD_LOCKED,
	ODD_FLAGS_CUT,
	ODD_COUNT,
};

/* An entry of the bridge's own that is no host behind a port. */
static struct nlmsghdr *put_odd(enum odd odd)
{
	struct nlmsghdr *message = put_host(RTM_NEWNEIGH, PORT_A, host, 0);

	if (odd == ODD_LOCAL)
		header_of(message)->ndm_state = NUD_PERMANENT;
	else if (odd == ODD_OF_BRIDGE)
		header_of(message)->ndm_ifindex = BRIDGE;
	else if (odd == ODD_LOCKED)
		mnl_attr_put_u32(message, NDA_FLAGS_EXT, NTF_EXT_LOCKED);
	else
		mnl_attr_put_u8(message, NDA_FLAGS_EXT, 0);
	return message;
}

static void test_no_host(void **state)
{
	(void)state;
	for (enum odd odd = 0; odd < ODD_COUNT; odd++) {
		assert_false(tell(put_odd(odd)));
		assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
		/* A host that becomes one is not where it was. */
		assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, host, 0)));
		assert_true(tell(put_odd(odd)));
		assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), 0);
	}
}

static void test_states(void **state)
{
	static const uint16_t states[] = { NUD_REACHABLE, NUD_STALE, NUD_NOARP };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		struct nlmsghdr *message = put_host(RTM_NEWNEIGH, PORT_A, host, 0);

		header_of(message)->ndm_state = states[i];
		header_of(message)->ndm_flags = NTF_EXT_LEARNED | NTF_OFFLOADED;
		assert_false(tell(message));
		assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), PORT_A);
		assert_true(tell(put_host(RTM_DELNEIGH, PORT_A, host, 0)));
	}
}

/* What is not the bridge's, or makes no sense, neither adds an entry nor removes one. */
static void check_ignored(struct nlmsghdr *message)
{
	struct nlmsghdr *copy = message_copy(message, message->nlmsg_len);

	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_B, host, 0)));
	copy->nlmsg_type = RTM_NEWNEIGH;
	assert_false(tell(copy));
	copy->nlmsg_type = RTM_DELNEIGH;
	assert_false(tell(copy));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 0), PORT_B);
	assert_int_equal(bridges.hosts, 1);
	free(copy);
}

static struct nlmsghdr *put_without(bool lladdr, bool master)
{
	struct nlmsghdr *message = start(RTM_NEWNEIGH);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ndm_family = AF_BRIDGE;
	header->ndm_ifindex = PORT_A;
	header->ndm_state = NUD_REACHABLE;
	if (lladdr)
		mnl_attr_put(message, NDA_LLADDR, 6, host);
	if (master)
		mnl_attr_put_u32(message, NDA_MASTER, BRIDGE);
	return message;
}

static void test_host_refused(void **state)
{
	static const uint8_t long_mac[8] = { 2, 0, 0, 0, 0, 7 };
	static const uint8_t multicast[6] = { 1, 0, 0x5e, 0, 0, 7 };
	struct nlmsghdr *message = put_host(RTM_NEWNEIGH, PORT_A, host, 0);

	(void)state;
	header_of(message)->ndm_flags = NTF_SELF;
	check_ignored(message);
	message = put_host(RTM_NEWNEIGH, PORT_A, host, 0);
	header_of(message)->ndm_family = AF_INET;
	check_ignored(message);
	check_ignored(put_host(RTM_NEWNEIGH, 0, host, 0));
	check_ignored(put_host(RTM_NEWNEIGH, (uint32_t)-5, host, 0));
	check_ignored(put_host(RTM_NEWNEIGH, PORT_A, multicast, 0));
	check_ignored(put_host(RTM_NEWNEIGH, PORT_A, host, 4095));
	check_ignored(put_without(false, true));
	check_ignored(put_without(true, false));
	message = put_without(false, true);
	mnl_attr_put(message, NDA_LLADDR, sizeof(long_mac), long_mac);
	check_ignored(message);
	message = put_without(true, false);
	mnl_attr_put_u16(message, NDA_MASTER, BRIDGE);
	check_ignored(message);
	message = put_without(true, true);
	mnl_attr_put_u8(message, NDA_VLAN, 0);
	check_ignored(message);
}

static void put_number(uint8_t *mac, uint32_t number)
{
	mac[0] = 2;
	mac[1] = 0;
	memcpy(mac + 2, &number, sizeof(number));
}

static void test_bound(void **state)
{
	uint8_t mac[6];

	(void)state;
	for (uint32_t i = 0; i < BRIDGE_HOSTS_MAX + 100; i++) {
		put_number(mac, i);
		assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, mac, 0)));
	}
	assert_int_equal(bridges.hosts, BRIDGE_HOSTS_MAX);
	for (uint32_t i = 0; i < BRIDGE_HOSTS_MAX + 100; i++) {
		put_number(mac, i);
		assert_int_equal(bridges_port(&bridges, BRIDGE, mac, 0),
				 i < BRIDGE_HOSTS_MAX ? PORT_A : 0);
	}
	/* Those that are known still move, and one that goes makes room. */
	put_number(mac, 5);
	assert_true(tell(put_host(RTM_NEWNEIGH, PORT_B, mac, 0)));
	assert_true(tell(put_host(RTM_DELNEIGH, PORT_B, mac, 0)));
	put_number(mac, BRIDGE_HOSTS_MAX + 7);
	assert_false(tell(put_host(RTM_NEWNEIGH, PORT_A, mac, 0)));
	assert_int_equal(bridges_port(&bridges, BRIDGE, mac, 0), PORT_A);
}

static void test_host_hostile(void **state)
{
	struct nlmsghdr *message = put_host(RTM_NEWNEIGH, PORT_A, host, 10), *copy;
	uint32_t len = message->nlmsg_len;

	(void)state;
	for (uint32_t cut = sizeof(*message); cut < len; cut++) {
		copy = message_copy(message, cut);
		tell(copy);
		free(copy);
		/* libmnl takes the last word for whole. */
		if (cut <= len - MNL_ALIGNTO)
			assert_int_equal(bridges_port(&bridges, BRIDGE, host, 10), 0);
	}
	assert_false(tell(message));
	assert_int_equal(bridges_port(&bridges, BRIDGE, host, 10), PORT_A);
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		copy->nlmsg_type = unit_below(4) ? RTM_NEWNEIGH : RTM_DELNEIGH;
		tell(copy);
		free(copy);
	}
	assert_true(bridges.hosts <= BRIDGE_HOSTS_MAX);
}

/* ---- VLANs ------------------------------------------------------------------- */

struct vlan {
	uint16_t vid;
	uint16_t flags;
};

#define BEGIN BRIDGE_VLAN_INFO_RANGE_BEGIN
#define END BRIDGE_VLAN_INFO_RANGE_END
#define PVID BRIDGE_VLAN_INFO_PVID
#define UNTAGGED BRIDGE_VLAN_INFO_UNTAGGED

static struct nlmsghdr *put_device(uint16_t type, uint32_t device)
{
	struct nlmsghdr *message = start(type);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ifi_family = AF_BRIDGE;
	header->ifi_index = (int)device;
	mnl_attr_put_strz(message, IFLA_IFNAME, "lan1");
	mnl_attr_put_u32(message, IFLA_MASTER, BRIDGE);
	return message;
}

static struct nlmsghdr *put_vlans(uint32_t device, const struct vlan *vlans, size_t count)
{
	struct nlmsghdr *message = put_device(RTM_NEWLINK, device);
	struct nlattr *nest = mnl_attr_nest_start(message, IFLA_AF_SPEC);

	for (size_t i = 0; i < count; i++) {
		struct bridge_vlan_info info = { vlans[i].flags, vlans[i].vid };

		mnl_attr_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof(info), &info);
	}
	mnl_attr_nest_end(message, nest);
	return message;
}

#define PUT_VLANS(device, ...)                                  \
	put_vlans(device, (const struct vlan[]){ __VA_ARGS__ }, \
		  sizeof((const struct vlan[]){ __VA_ARGS__ }) / sizeof(struct vlan))

/* '-': no member, 't': tagged, 'u': untagged */
static char membership(uint32_t device, uint16_t vlan)
{
	bool untagged = true;

	if (!bridges_has_vlan(&bridges, device, vlan, &untagged)) {
		assert_false(untagged);
		return '-';
	}
	return untagged ? 'u' : 't';
}

static void test_vlans(void **state)
{
	(void)state;
	assert_int_equal(membership(PORT_A, 1), '-');
	assert_int_equal(bridges_pvid(&bridges, PORT_A), 0);
	assert_true(tell(PUT_VLANS(PORT_A, { 1, PVID | UNTAGGED }, { 10, 0 }, { 20, UNTAGGED })));
	assert_int_equal(bridges_pvid(&bridges, PORT_A), 1);
	assert_int_equal(membership(PORT_A, 1), 'u');
	assert_int_equal(membership(PORT_A, 10), 't');
	assert_int_equal(membership(PORT_A, 20), 'u');
	assert_int_equal(membership(PORT_A, 11), '-');
	assert_int_equal(membership(PORT_A, 0), '-');
	assert_int_equal(membership(PORT_A, 4095), '-');
	assert_int_equal(membership(PORT_A, 0xffff), '-');
	/* Of this device alone, whether or not others are in the same bucket */
	assert_int_equal(membership(PORT_B, 10), '-');
	assert_int_equal(membership(PORT_A + BRIDGE_VLAN_BUCKETS, 10), '-');
	assert_true(tell(PUT_VLANS(PORT_A + BRIDGE_VLAN_BUCKETS, { 30, 0 })));
	assert_true(tell(PUT_VLANS(BRIDGE, { 10, 0 })));
	assert_int_equal(membership(PORT_A, 30), '-');
	assert_int_equal(membership(PORT_A + BRIDGE_VLAN_BUCKETS, 30), 't');
	assert_int_equal(membership(BRIDGE, 10), 't');
	assert_int_equal(bridges_pvid(&bridges, BRIDGE), 0);
}

static void test_vlan_changes(void **state)
{
	(void)state;
	assert_true(tell(PUT_VLANS(PORT_A, { 1, PVID | UNTAGGED }, { 10, 0 })));
	assert_false(tell(PUT_VLANS(PORT_A, { 1, PVID | UNTAGGED }, { 10, 0 })));
	assert_true(tell(PUT_VLANS(PORT_A, { 1, UNTAGGED }, { 10, 0 })));
	assert_int_equal(bridges_pvid(&bridges, PORT_A), 0);
	assert_true(tell(PUT_VLANS(PORT_A, { 1, UNTAGGED }, { 10, UNTAGGED })));
	assert_int_equal(membership(PORT_A, 10), 'u');
	assert_true(tell(PUT_VLANS(PORT_A, { 10, UNTAGGED })));
	assert_int_equal(membership(PORT_A, 1), '-');
	/* No list is no VLAN, be the nest there or not. */
	assert_true(tell(put_vlans(PORT_A, NULL, 0)));
	assert_int_equal(membership(PORT_A, 10), '-');
	assert_false(tell(put_vlans(PORT_A, NULL, 0)));
	tell(PUT_VLANS(PORT_A, { 10, 0 }));
	assert_true(tell(put_device(RTM_NEWLINK, PORT_A)));
	assert_int_equal(membership(PORT_A, 10), '-');
	tell(PUT_VLANS(PORT_A, { 10, 0 }));
	tell(PUT_VLANS(PORT_B, { 10, 0 }));
	assert_true(tell(put_device(RTM_DELLINK, PORT_A)));
	assert_false(tell(put_device(RTM_DELLINK, PORT_A)));
	assert_int_equal(membership(PORT_A, 10), '-');
	assert_int_equal(membership(PORT_B, 10), 't');
}

static void test_vlan_ranges(void **state)
{
	(void)state;
	assert_true(tell(PUT_VLANS(PORT_A, { 1, PVID | UNTAGGED }, { 2, BEGIN }, { 63, END },
				   { 64, UNTAGGED | BEGIN }, { 128, UNTAGGED | END },
				   { 4000, BEGIN }, { 4094, END })));
	assert_int_equal(bridges_pvid(&bridges, PORT_A), 1);
	for (uint16_t vlan = 1; vlan <= 4095; vlan++) {
		char expected = vlan == 1 || (vlan >= 64 && vlan <= 128)                   ? 'u' :
				(vlan >= 2 && vlan <= 63) || (vlan >= 4000 && vlan < 4095) ? 't' :
											     '-';

		assert_int_equal(membership(PORT_A, vlan), expected);
	}
	/* The same one by one is the same. */
	tell(PUT_VLANS(PORT_A, { 5, BEGIN }, { 7, END }));
	assert_false(tell(PUT_VLANS(PORT_A, { 5, 0 }, { 6, 0 }, { 7, 0 })));
}

static void test_vlans_malformed(void **state)
{
	static const struct vlan lists[][3] = {
		{ { 1, 0 }, { 0, 0 }, { 2, 0 } },
		{ { 1, 0 }, { 4095, 0 }, { 2, 0 } },
		{ { 1, 0 }, { 0xffff, 0 }, { 2, 0 } },
		{ { 1, 0 }, { 5, BEGIN }, { 4095, END } },
		{ { 1, 0 }, { 5, BEGIN }, { 5, END } },
		{ { 1, 0 }, { 5, BEGIN }, { 4, END } },
		{ { 1, 0 }, { 5, BEGIN }, { 9, BEGIN } },
		{ { 1, 0 }, { 5, BEGIN }, { 9, 0 } },
		{ { 1, 0 }, { 5, 0 }, { 9, END } },
		{ { 1, 0 }, { 5, 0 }, { 9, BEGIN } },
		{ { 1, 0 }, { 5, BEGIN | END }, { 9, END } },
		{ { 1, 0 }, { 5, BEGIN | PVID }, { 9, END } },
		{ { 1, 0 }, { 5, BEGIN }, { 9, END | PVID } },
	};
	struct nlmsghdr *message;
	struct nlattr *nest;

	(void)state;
	/* What was known before may be false now: nothing is, until a sound message comes. */
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		assert_true(tell(PUT_VLANS(PORT_A, { 1, PVID }, { 9, 0 })));
		assert_true(tell(put_vlans(PORT_A, lists[i], 3)));
		assert_int_equal(membership(PORT_A, 1), '-');
		assert_int_equal(membership(PORT_A, 9), '-');
		assert_int_equal(bridges_pvid(&bridges, PORT_A), 0);
	}
	tell(PUT_VLANS(PORT_A, { 9, 0 }));
	message = put_device(RTM_NEWLINK, PORT_A);
	nest = mnl_attr_nest_start(message, IFLA_AF_SPEC);
	mnl_attr_put_u16(message, IFLA_BRIDGE_VLAN_INFO, 0);
	mnl_attr_nest_end(message, nest);
	assert_true(tell(message));
	assert_int_equal(membership(PORT_A, 9), '-');
}

/* Messages of AF_BRIDGE that are about something else */
static void test_vlans_untouched(void **state)
{
	static const uint16_t others[] = { IFLA_BRIDGE_FLAGS, IFLA_BRIDGE_MODE, IFLA_BRIDGE_MRP,
					   IFLA_BRIDGE_CFM };
	struct nlmsghdr *message;
	struct ifinfomsg *header;

	(void)state;
	tell(PUT_VLANS(PORT_A, { 10, 0 }));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct nlattr *nest;

		message = put_device(RTM_NEWLINK, PORT_A);
		nest = mnl_attr_nest_start(message, IFLA_AF_SPEC);
		mnl_attr_put_u16(message, others[i], 2);
		mnl_attr_nest_end(message, nest);
		assert_false(tell(message));
	}
	message = put_device(RTM_NEWLINK, PORT_A);
	header = mnl_nlmsg_get_payload(message);
	header->ifi_family = AF_UNSPEC;
	assert_false(tell(message));
	message = put_device(RTM_DELLINK, 0);
	assert_false(tell(message));
	assert_int_equal(membership(PORT_A, 10), 't');
	message = put_device(RTM_NEWLINK, 0);
	assert_false(tell(message));
	assert_false(tell(start(RTM_NEWROUTE)));
}

static void test_vlans_hostile(void **state)
{
	static const struct vlan vlans[] = { { 1, PVID | UNTAGGED }, { 5, BEGIN }, { 9, END } };
	struct nlmsghdr *message = put_vlans(PORT_A, vlans, ARRAY_SIZE(vlans)), *copy;
	uint32_t len = message->nlmsg_len;

	(void)state;
	for (uint32_t cut = sizeof(*message); cut <= len; cut++) {
		copy = message_copy(message, cut);
		tell(copy);
		free(copy);
		/* All of it or nothing; libmnl takes the last word for whole. */
		if (cut <= len - MNL_ALIGNTO || cut == len) {
			assert_int_equal(membership(PORT_A, 1), cut < len ? '-' : 'u');
			assert_int_equal(membership(PORT_A, 7), cut < len ? '-' : 't');
		}
	}
	for (int i = 0; i < ROUNDS; i++) {
		copy = message_copy(message, len);
		for (uint32_t wounds = 1 + unit_below(4); wounds; wounds--)
			message_damage(copy);
		copy->nlmsg_type = unit_below(4) ? RTM_NEWLINK : RTM_DELLINK;
		tell(copy);
		free(copy);
	}
}

/* ---- The kernel's ------------------------------------------------------------ */

static struct rtnl rtnl;

static int ask(struct nlmsghdr *request, uint16_t flags)
{
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return rtnl_request(&rtnl, request, NULL, NULL);
}

static int create_bridge(const char *name, bool filtering)
{
	struct nlmsghdr *request = start(RTM_NEWLINK);
	struct nlattr *info, *data;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_strz(request, IFLA_INFO_KIND, "bridge");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	if (filtering)
		mnl_attr_put_u8(request, IFLA_BR_VLAN_FILTERING, 1);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	return ask(request, NLM_F_CREATE | NLM_F_EXCL);
}

static void create_veth(const char *name, const char *peer, uint32_t master)
{
	struct nlmsghdr *request = start(RTM_NEWLINK);
	struct nlattr *info, *data, *nest;

	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	mnl_attr_put_u32(request, IFLA_MASTER, master);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_strz(request, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	nest = mnl_attr_nest_start(request, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, peer);
	mnl_attr_nest_end(request, nest);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	assert_int_equal(ask(request, NLM_F_CREATE | NLM_F_EXCL), 0);
}

static void delete_link(uint32_t ifindex)
{
	struct nlmsghdr *request = start(RTM_DELLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->ifi_index = (int)ifindex;
	assert_int_equal(ask(request, 0), 0);
}

static void change_host(uint16_t type, uint32_t port, const uint8_t *mac, uint16_t vlan)
{
	struct nlmsghdr *request = start(type);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	header->ndm_family = AF_BRIDGE;
	header->ndm_ifindex = (int)port;
	header->ndm_state = NUD_NOARP;
	header->ndm_flags = NTF_MASTER;
	mnl_attr_put(request, NDA_LLADDR, 6, mac);
	if (vlan)
		mnl_attr_put_u16(request, NDA_VLAN, vlan);
	assert_int_equal(ask(request, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_REPLACE : 0), 0);
}

static void change_vlan(uint16_t type, uint32_t device, uint16_t vid, uint16_t flags, bool self)
{
	struct nlmsghdr *request = start(type);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	struct bridge_vlan_info info = { flags, vid };
	struct nlattr *nest;

	header->ifi_family = AF_BRIDGE;
	header->ifi_index = (int)device;
	nest = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	if (self)
		mnl_attr_put_u16(request, IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF);
	mnl_attr_put(request, IFLA_BRIDGE_VLAN_INFO, sizeof(info), &info);
	mnl_attr_nest_end(request, nest);
	assert_int_equal(ask(request, 0), 0);
}

static unsigned int changes;

static void hear(void *context, const struct nlmsghdr *message)
{
	(void)context;
	changes += bridges_event(&bridges, message);
}

static void hear_route(void *context, const struct nlmsghdr *message, const struct address *prefix)
{
	(void)context;
	(void)message;
	(void)prefix;
}

static void hear_forwarding(void *context, int ifindex)
{
	(void)context;
	(void)ifindex;
}

static void hear_lost(void *context)
{
	(void)context;
}

static void hear_everything(void *context, const char *why)
{
	(void)context;
	fail_msg("%s", why);
}

/* How many events that came meanwhile changed something? */
static unsigned int read_changes(void)
{
	static const struct rtnl_events events = {
		.link = hear,
		.neighbour = hear,
		.route = hear_route,
		.forwarding = hear_forwarding,
		.everything = hear_everything,
		.lost = hear_lost,
	};

	changes = 0;
	rtnl_read_events(&rtnl, &events);
	return changes;
}

static uint32_t bridge, port[2];

/* The ports' own addresses are in the FDB too, and are no hosts. */
static void check_macs(void)
{
	for (size_t i = 0; i < BRIDGE_HOST_BUCKETS; i++)
		for (const struct bridge_host *at = bridges.host[i]; at; at = at->next)
			assert_true(!memcmp(at->mac, host, 6) || !memcmp(at->mac, other, 6));
}

/* A bridge with two ports, if the kernel can. */
static void set_up(bool filtering)
{
	int err;

	if (!feed_enter_namespace())
		skip();
	assert_int_equal(rtnl_open(&rtnl), 0);
	err = create_bridge("br", filtering);
	if (err == -EOPNOTSUPP) {
		printf("# SKIP the kernel has no %sbridges\n", filtering ? "VLAN-filtering " : "");
		rtnl_close(&rtnl);
		skip();
	}
	assert_int_equal(err, 0);
	bridge = if_nametoindex("br");
	create_veth("lan0", "far0", bridge);
	create_veth("lan1", "far1", bridge);
	port[0] = if_nametoindex("lan0");
	port[1] = if_nametoindex("lan1");
}

static void tear_down(void)
{
	delete_link(port[0]);
	delete_link(port[1]);
	delete_link(bridge);
	rtnl_close(&rtnl);
}

/* A kernel with VLANs adds a host to the default one as well, filtering or not. */
static void test_kernel_hosts(void **state)
{
	(void)state;
	set_up(false);
	change_host(RTM_NEWNEIGH, port[0], host, 0);
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	check_macs();
	assert_int_equal(bridges_port(&bridges, bridge, host, 0), port[0]);
	read_changes();
	change_host(RTM_NEWNEIGH, port[1], host, 0);
	assert_true(read_changes() > 0);
	assert_int_equal(bridges_port(&bridges, bridge, host, 0), port[1]);
	change_host(RTM_NEWNEIGH, port[0], other, 0);
	assert_int_equal(read_changes(), 0);
	assert_int_equal(bridges_port(&bridges, bridge, other, 0), port[0]);
	change_host(RTM_DELNEIGH, port[1], host, 0);
	assert_true(read_changes() > 0);
	assert_int_equal(bridges_port(&bridges, bridge, host, 0), 0);
	check_macs();
	tear_down();
}

/* What happened unheard is known after another dump, and nothing that is no longer so. */
static void test_kernel_again(void **state)
{
	(void)state;
	set_up(false);
	change_host(RTM_NEWNEIGH, port[0], host, 0);
	change_host(RTM_NEWNEIGH, port[0], other, 0);
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	assert_int_equal(bridges_port(&bridges, bridge, other, 0), port[0]);
	change_host(RTM_NEWNEIGH, port[1], host, 0);
	change_host(RTM_DELNEIGH, port[0], other, 0);
	tell(PUT_VLANS(port[0] + 1000, { 10, 0 }));
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	check_macs();
	assert_int_equal(bridges_port(&bridges, bridge, host, 0), port[1]);
	assert_int_equal(bridges_port(&bridges, bridge, other, 0), 0);
	assert_int_equal(membership(port[0] + 1000, 10), '-');
	delete_link(port[1]);
	create_veth("lan1", "far1", bridge);
	port[1] = if_nametoindex("lan1");
	read_changes();
	assert_int_equal(bridges.hosts, 0);
	tear_down();
	/* A dump that fails leaves nothing that is not known to be true. */
	tell(put_host(RTM_NEWNEIGH, PORT_A, host, 0));
	memset(&rtnl, 0, sizeof(rtnl));
	assert_int_equal(rtnl_open(&rtnl), 0);
	close(mnl_socket_get_fd(rtnl.query));
	assert_int_equal(bridges_dump(&bridges, &rtnl), -EBADF);
	assert_int_equal(bridges.hosts, 0);
	rtnl_close(&rtnl);
}

static void check_vlans(void)
{
	assert_int_equal(bridges_pvid(&bridges, port[0]), 20);
	assert_int_equal(membership(port[0], 1), 'u');
	assert_int_equal(membership(port[0], 10), 't');
	assert_int_equal(membership(port[0], 20), 'u');
	for (uint16_t vlan = 2000; vlan <= 4000; vlan++)
		assert_int_equal(membership(port[0], vlan), vlan < 3000 ? 't' : '-');
	assert_int_equal(bridges_pvid(&bridges, port[1]), 1);
	assert_int_equal(membership(port[1], 10), '-');
	assert_int_equal(bridges_pvid(&bridges, bridge), 1);
	assert_int_equal(membership(bridge, 1), 'u');
	assert_int_equal(membership(bridge, 10), 't');
	assert_int_equal(bridges_port(&bridges, bridge, host, 10), port[0]);
	assert_int_equal(bridges_port(&bridges, bridge, host, 0), 0);
}

static void test_kernel_vlans(void **state)
{
	(void)state;
	set_up(true);
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	read_changes();
	assert_int_equal(membership(port[0], 1), 'u');
	change_vlan(RTM_SETLINK, port[0], 10, 0, false);
	assert_int_equal(read_changes(), 1);
	change_vlan(RTM_SETLINK, port[0], 20, PVID | UNTAGGED, false);
	for (uint16_t vlan = 2000; vlan < 3000; vlan++)
		change_vlan(RTM_SETLINK, port[0], vlan, 0, false);
	change_vlan(RTM_SETLINK, bridge, 10, 0, true);
	change_host(RTM_NEWNEIGH, port[0], host, 10);
	assert_true(read_changes() > 0);
	check_vlans();
	/* The dump says the same as the events did. */
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	check_vlans();
	bridges_free(&bridges);
	assert_int_equal(bridges_dump(&bridges, &rtnl), 0);
	check_vlans();
	change_vlan(RTM_DELLINK, port[0], 20, 0, false);
	assert_int_equal(read_changes(), 1);
	assert_int_equal(bridges_pvid(&bridges, port[0]), 0);
	assert_int_equal(membership(port[0], 20), '-');
	tear_down();
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_host),          TEST(test_port_leaves),     TEST(test_no_host),
		TEST(test_states),        TEST(test_host_refused),    TEST(test_bound),
		TEST(test_host_hostile),  TEST(test_vlans),           TEST(test_vlan_changes),
		TEST(test_vlan_ranges),   TEST(test_vlans_malformed), TEST(test_vlans_untouched),
		TEST(test_vlans_hostile), TEST(test_kernel_hosts),    TEST(test_kernel_again),
		TEST(test_kernel_vlans),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
