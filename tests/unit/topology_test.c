/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacked devices, made up: from the wire of a port up to the interface that receives,
 * from the interface of a route down to the frame that leaves, and that the way down is
 * the way up again.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "topology.h"
#include "util.h"

/* Interface indices; a device's MAC ends with its index. */
enum {
	LAN = 2,
	LAN2,
	WAN,
	VLAN,
	VLAN2,
	BRIDGE,
	BRIDGE2,
	CONDUIT,
	PPP,
	VRF,
	OTHER,
	/* In the bucket of LAN */
	COLLIDES = LAN + LINK_BUCKETS,
};

#define Q(id) (VLAN_TAGGED | (id))
#define AD(id) (VLAN_TAGGED | VLAN_SERVICE | (id))

static const uint8_t next_hop[6] = { 2, 1, 1, 1, 1, 1 };
static const uint8_t concentrator[6] = { 2, 2, 2, 2, 2, 2 };

static struct links links;
static struct bridges bridges;
static struct pppoe_sessions sessions;
static const struct topology topology = { &links, &bridges, &sessions, NULL };

/* ---- Devices ------------------------------------------------------------------ */

static struct link *add(uint32_t ifindex, const char *kind)
{
	struct link *link = calloc(1, sizeof(*link));
	struct link **bucket = &links.bucket[ifindex % LINK_BUCKETS];

	assert_non_null(link);
	link->ifindex = ifindex;
	link->flags = IFF_UP | IFF_LOWER_UP;
	link->mtu = 1500;
	link->type = ARPHRD_ETHER;
	link->mac[0] = 2;
	link->mac[5] = (uint8_t)ifindex;
	strcpy(link->kind, kind);
	strcpy(link->qdisc, "noqueue");
	link->next = *bucket;
	*bucket = link;
	return link;
}

static struct link *at(uint32_t ifindex)
{
	struct link *link = links_find(&links, ifindex);

	assert_non_null(link);
	return link;
}

static struct link *add_port(uint32_t ifindex, uint32_t master)
{
	struct link *port = add(ifindex, "veth");

	port->master = master;
	port->bridge_port.forwarding = true;
	return port;
}

/* `tag` as in the keys */
static struct link *add_vlan(uint32_t ifindex, uint32_t lower, uint16_t tag)
{
	struct link *vlan = add(ifindex, "vlan");

	vlan->lower = lower;
	vlan->vlan.id = tag & VLAN_ID_MASK;
	vlan->vlan.service = tag & VLAN_SERVICE;
	return vlan;
}

static struct link *add_ppp(uint32_t ifindex)
{
	struct link *ppp = add(ifindex, "ppp");

	ppp->type = ARPHRD_PPP;
	ppp->flags |= IFF_NOARP | IFF_POINTOPOINT;
	ppp->mtu = 1492;
	memset(ppp->mac, 0, sizeof(ppp->mac));
	return ppp;
}

/* Port `number` of the switch behind the conduit */
static struct link *add_user(uint32_t ifindex, uint8_t tag, uint8_t number)
{
	struct link *user = add(ifindex, "dsa");

	user->lower = CONDUIT;
	user->switch_tag = tag;
	user->switch_port = number;
	return user;
}

static void add_session(uint32_t ppp, uint32_t lower, uint16_t id)
{
	struct pppoe_session *session = &sessions.session[sessions.count++];

	session->ppp = ppp;
	session->lower = lower;
	session->id = htons(id);
	memcpy(session->remote, concentrator, 6);
}

static char buffer[4096];

static struct nlmsghdr *start(uint16_t type)
{
	struct nlmsghdr *message;

	memset(buffer, 0, sizeof(buffer));
	message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = type;
	return message;
}

static void learn(uint32_t bridge, uint32_t port, const uint8_t mac[6], uint16_t vlan)
{
	struct nlmsghdr *message = start(RTM_NEWNEIGH);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ndm_family = AF_BRIDGE;
	header->ndm_ifindex = (int)port;
	header->ndm_state = NUD_REACHABLE;
	mnl_attr_put(message, NDA_LLADDR, 6, mac);
	mnl_attr_put_u32(message, NDA_MASTER, bridge);
	if (vlan)
		mnl_attr_put_u16(message, NDA_VLAN, vlan);
	bridges_event(&bridges, message);
	assert_int_equal(bridges_port(&bridges, bridge, mac, vlan), port);
}

struct membership {
	uint16_t vlan;
	uint16_t flags;
};

#define PVID BRIDGE_VLAN_INFO_PVID
#define UNTAGGED BRIDGE_VLAN_INFO_UNTAGGED

static void join(uint32_t device, const struct membership *memberships, size_t count)
{
	struct nlmsghdr *message = start(RTM_NEWLINK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct nlattr *nest;

	header->ifi_family = AF_BRIDGE;
	header->ifi_index = (int)device;
	nest = mnl_attr_nest_start(message, IFLA_AF_SPEC);
	for (size_t i = 0; i < count; i++) {
		struct bridge_vlan_info info = { memberships[i].flags, memberships[i].vlan };

		mnl_attr_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof(info), &info);
	}
	mnl_attr_nest_end(message, nest);
	bridges_event(&bridges, message);
}

#define JOIN(device, ...)                                        \
	join(device, (const struct membership[]){ __VA_ARGS__ }, \
	     sizeof((const struct membership[]){ __VA_ARGS__ }) / sizeof(struct membership))

static int begin(void **state)
{
	(void)state;
	memset(&links, 0, sizeof(links));
	memset(&bridges, 0, sizeof(bridges));
	memset(&sessions, 0, sizeof(sessions));
	return 0;
}

static int end(void **state)
{
	(void)state;
	links_free(&links);
	bridges_free(&bridges);
	return 0;
}

/* ---- Checks -------------------------------------------------------------------- */

static struct segment wire(uint32_t port, uint16_t outer, uint16_t inner, uint16_t session)
{
	return (struct segment){ port, { outer, inner }, htons(session) };
}

/* The segment is received by `device`, under the MAC of `addressed`. */
static struct reception check_up(const struct segment segment, uint32_t device, uint32_t addressed)
{
	static const uint8_t nobody[6];
	struct reception reception;

	assert_true(topology_receive(&topology, &segment, &reception));
	assert_int_equal(reception.device, device);
	assert_memory_equal(reception.mac, at(addressed)->mac, 6);
	assert_memory_equal(reception.session_mac, segment.session ? concentrator : nobody, 6);
	assert_true(at(segment.port)->in_path);
	assert_true(at(device)->in_path);
	return reception;
}

static void check_no_way_up(const struct segment segment)
{
	struct reception reception;

	assert_false(topology_receive(&topology, &segment, &reception));
}

static void check_refused(uint32_t device, bool keep_queues, enum transmission_refusal refusal)
{
	struct transmission to;

	assert_int_equal(topology_send(&topology, device, next_hop, AF_INET, keep_queues, &to),
			 refusal);
}

static void put16(uint8_t *header, size_t *len, uint16_t value)
{
	header[(*len)++] = (uint8_t)(value >> 8);
	header[(*len)++] = (uint8_t)value;
}

/* The link header by the book. */
static size_t make_header(const struct segment *segment, uint32_t sender, uint8_t family,
			  uint8_t header[LINK_HEADER_MAX])
{
	bool pppoe = segment->session;
	size_t len = 12;

	memcpy(header, pppoe ? concentrator : next_hop, 6);
	memcpy(header + 6, at(sender)->mac, 6);
	for (size_t i = 0; i < MAX_VLAN_TAGS && segment->vlan[i]; i++) {
		put16(header, &len, segment->vlan[i] & VLAN_SERVICE ? 0x88a8 : 0x8100);
		put16(header, &len, segment->vlan[i] & 0xfff);
	}
	if (!pppoe) {
		put16(header, &len, family == AF_INET ? 0x0800 : 0x86dd);
		return len;
	}
	put16(header, &len, 0x8864);
	put16(header, &len, 0x1100);
	put16(header, &len, ntohs(segment->session));
	put16(header, &len, 0);
	put16(header, &len, family == AF_INET ? 0x0021 : 0x0057);
	return len;
}

/* XDP sends to the conduit what is to leave by a port of its switch. */
static void check_egress(const struct transmission *to, bool keep_queues)
{
	const struct link *port = at(to->segment.port);
	bool by_switch = port->switch_tag && !keep_queues;

	assert_int_equal(to->egress, by_switch ? port->lower : port->ifindex);
	assert_int_equal(to->switch_egress,
			 by_switch ? port->switch_tag << 4 | port->switch_port : 0);
}

static struct transmission check_family(uint32_t device, const struct segment *segment,
					uint32_t sender, uint8_t family, bool keep_queues)
{
	const uint8_t *mac = segment->session ? NULL : next_hop;
	uint8_t header[LINK_HEADER_MAX];
	size_t len = make_header(segment, sender, family, header);
	struct transmission to;

	assert_int_equal(topology_send(&topology, device, mac, family, keep_queues, &to),
			 TRANSMISSION_OK);
	assert_true(segment_equal(&to.segment, segment));
	assert_int_equal(to.link_len, len);
	assert_memory_equal(to.link, header, len);
	assert_int_equal(to.tags, !!segment->vlan[0] + !!segment->vlan[1]);
	assert_int_equal(to.gso_egress, segment->session ? device : 0);
	assert_true(at(segment->port)->in_path);
	check_egress(&to, keep_queues);
	return to;
}

/* A packet that is routed to `device` leaves on the segment, with the MAC of `sender`. */
static struct transmission check_down(uint32_t device, const struct segment segment,
				      uint32_t sender)
{
	check_family(device, &segment, sender, AF_INET6, false);
	check_family(device, &segment, sender, AF_INET6, true);
	check_family(device, &segment, sender, AF_INET, true);
	return check_family(device, &segment, sender, AF_INET, false);
}

static void check_both(uint32_t device, const struct segment segment, uint32_t addressed)
{
	check_up(segment, device, addressed);
	check_down(device, segment, addressed);
}

/* Each of the devices is needed on the way, in both directions. */
static void check_needed(uint32_t device, const struct segment segment, const uint32_t *needed,
			 size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct link *link = at(needed[i]);

		link->in_path = false;
		link->flags &= ~(unsigned int)IFF_LOWER_UP;
		check_no_way_up(segment);
		assert_true(link->in_path);
		link->in_path = false;
		check_refused(device, false, TRANSMISSION_DEVICE);
		check_refused(device, true, TRANSMISSION_DEVICE);
		assert_true(link->in_path);
		link->flags |= IFF_LOWER_UP;
	}
	check_up(segment, device, segment.session ? at(device)->lower : device);
}

/* ---- Without bridges ------------------------------------------------------------ */

static void test_plain(void **state)
{
	const uint32_t needed[] = { LAN };

	(void)state;
	add(COLLIDES, "veth");
	add(LAN, "");
	check_both(LAN, wire(LAN, 0, 0, 0), LAN);
	check_needed(LAN, wire(LAN, 0, 0, 0), needed, ARRAY_SIZE(needed));
	check_no_way_up(wire(LAN, Q(10), 0, 0));
	check_no_way_up(wire(LAN, Q(10), AD(20), 0));
	check_no_way_up(wire(LAN, 0, 0, 1));
	check_no_way_up(wire(OTHER, 0, 0, 0));
	check_refused(OTHER, false, TRANSMISSION_DEVICE);
	at(LAN)->flags = IFF_LOWER_UP;
	check_no_way_up(wire(LAN, 0, 0, 0));
	check_refused(LAN, true, TRANSMISSION_DEVICE);
}

static void test_vlan(void **state)
{
	const uint32_t needed[] = { LAN, VLAN };
	struct reception reception;
	struct transmission to;

	(void)state;
	add(LAN, "");
	add(WAN, "");
	add_vlan(VLAN, LAN, Q(10));
	add_vlan(VLAN2, LAN, AD(10))->mac[4] = 7;
	check_both(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	check_both(VLAN2, wire(LAN, AD(10), 0, 0), VLAN2);
	check_both(LAN, wire(LAN, 0, 0, 0), LAN);
	check_needed(VLAN, wire(LAN, Q(10), 0, 0), needed, ARRAY_SIZE(needed));
	check_no_way_up(wire(LAN, Q(11), 0, 0));
	check_no_way_up(wire(WAN, Q(10), 0, 0));
	check_no_way_up(wire(LAN, Q(10), Q(10), 0));
	reception = check_up(wire(LAN, Q(10), 0, 0), VLAN, VLAN);
	assert_ptr_equal(reception.vlan, at(VLAN));
	to = check_down(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	assert_ptr_equal(to.priority[0], &at(VLAN)->vlan);
	assert_null(to.priority[1]);
	/* A lower device in another namespace */
	at(VLAN)->lower = 0;
	check_refused(VLAN, false, TRANSMISSION_DEVICE);
}

static void test_qinq(void **state)
{
	const uint32_t needed[] = { LAN, VLAN, VLAN2 };
	const struct segment segment = wire(LAN, AD(100), Q(10), 0);
	struct transmission to;

	(void)state;
	add(LAN, "");
	add_vlan(VLAN, LAN, AD(100));
	add_vlan(VLAN2, VLAN, Q(10));
	check_both(VLAN2, segment, VLAN2);
	check_both(VLAN, wire(LAN, AD(100), 0, 0), VLAN);
	check_needed(VLAN2, segment, needed, ARRAY_SIZE(needed));
	assert_ptr_equal(check_up(segment, VLAN2, VLAN2).vlan, at(VLAN2));
	to = check_down(VLAN2, segment, VLAN2);
	assert_ptr_equal(to.priority[0], &at(VLAN)->vlan);
	assert_ptr_equal(to.priority[1], &at(VLAN2)->vlan);
	check_no_way_up(wire(LAN, Q(10), AD(100), 0));
	check_no_way_up(wire(LAN, Q(10), 0, 0));
	/* A third tag */
	add_vlan(OTHER, VLAN2, Q(3));
	check_refused(OTHER, false, TRANSMISSION_DEVICE);
	check_refused(OTHER, true, TRANSMISSION_DEVICE);
}

static void test_pppoe(void **state)
{
	const uint32_t needed[] = { WAN, PPP };
	const struct segment segment = wire(WAN, 0, 0, 0x1234);

	(void)state;
	add(WAN, "");
	add(LAN, "");
	add_ppp(PPP)->lower = WAN;
	add_session(PPP, WAN, 0x1234);
	check_both(PPP, segment, WAN);
	check_needed(PPP, segment, needed, ARRAY_SIZE(needed));
	check_both(WAN, wire(WAN, 0, 0, 0), WAN);
	check_no_way_up(wire(WAN, 0, 0, 0x1235));
	check_no_way_up(wire(LAN, 0, 0, 0x1234));
	check_no_way_up(wire(WAN, Q(7), 0, 0x1234));
	assert_int_equal(check_down(PPP, segment, WAN).mtu, 1492);
	at(WAN)->mtu = 1400;
	assert_int_equal(check_down(PPP, segment, WAN).mtu, 1392);
	at(PPP)->mtu = 1280;
	assert_int_equal(check_down(PPP, segment, WAN).mtu, 1280);
	assert_false(topology_needs_neighbour(at(PPP)));
	assert_true(topology_needs_neighbour(at(WAN)));
}

static void test_pppoe_on_vlans(void **state)
{
	const uint32_t needed[] = { WAN, VLAN, VLAN2, PPP };
	const struct segment segment = wire(WAN, AD(835), Q(35), 0xffff);

	(void)state;
	add(WAN, "");
	add_vlan(VLAN, WAN, AD(835));
	add_vlan(VLAN2, VLAN, Q(35));
	add_ppp(PPP)->lower = VLAN2;
	add_session(PPP, VLAN2, 0xffff);
	check_both(PPP, segment, VLAN2);
	check_needed(PPP, segment, needed, ARRAY_SIZE(needed));
	check_no_way_up(wire(WAN, 0, 0, 0xffff));
	check_no_way_up(wire(WAN, AD(835), 0, 0xffff));
	at(VLAN)->mtu = 1496;
	assert_int_equal(check_down(PPP, segment, VLAN2).mtu, 1488);
}

/* Tags do not count against a device's MTU. */
static void test_mtu(void **state)
{
	(void)state;
	add(LAN, "");
	add_vlan(VLAN, LAN, Q(1));
	assert_int_equal(check_down(VLAN, wire(LAN, Q(1), 0, 0), VLAN).mtu, 1500);
	at(LAN)->mtu = 1400;
	assert_int_equal(check_down(VLAN, wire(LAN, Q(1), 0, 0), VLAN).mtu, 1400);
	at(VLAN)->mtu = 1300;
	assert_int_equal(check_down(VLAN, wire(LAN, Q(1), 0, 0), VLAN).mtu, 1300);
}

static void test_vrf(void **state)
{
	(void)state;
	add(VRF, "vrf");
	add(LAN, "")->master = VRF;
	add_vlan(VLAN, LAN, Q(10));
	check_up(wire(LAN, 0, 0, 0), VRF, LAN);
	check_down(LAN, wire(LAN, 0, 0, 0), LAN);
	check_up(wire(LAN, Q(10), 0, 0), VLAN, VLAN);
	at(VLAN)->master = VRF;
	check_up(wire(LAN, Q(10), 0, 0), VRF, VLAN);
	check_down(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	at(VRF)->flags = 0;
	check_no_way_up(wire(LAN, 0, 0, 0));
}

/* Masters that take their ports' frames and are attached to by themselves */
static void test_other_masters(void **state)
{
	static const char *const kinds[] = { "bond", "team", "openvswitch", "" };

	(void)state;
	add(OTHER, "");
	add(LAN, "veth")->master = OTHER;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		strcpy(at(OTHER)->kind, kinds[i]);
		check_no_way_up(wire(LAN, 0, 0, 0));
	}
	strcpy(at(OTHER)->kind, "bond");
	check_both(OTHER, wire(OTHER, 0, 0, 0), OTHER);
	/* A master that is not known */
	at(LAN)->master = WAN;
	check_no_way_up(wire(LAN, 0, 0, 0));
}

static void check_bare(uint32_t device, bool taken)
{
	struct transmission to;
	enum transmission_refusal wanted = taken ? TRANSMISSION_OK : TRANSMISSION_DEVICE;

	assert_int_equal(topology_send(&topology, device, NULL, AF_INET, true, &to), wanted);
	if (taken) {
		assert_int_equal(to.link_len, 0);
		assert_int_equal(to.tags, 0);
		assert_int_equal(to.segment.port, device);
		assert_int_equal(to.segment.session, 0);
		check_egress(&to, true);
	}
	/* XDP has nothing to give them. */
	assert_int_equal(topology_send(&topology, device, NULL, AF_INET, false, &to),
			 TRANSMISSION_DEVICE);
	assert_false(topology_needs_neighbour(at(device)));
}

static void test_bare(void **state)
{
	static const struct {
		const char *kind;
		uint16_t type;
		bool taken;
	} kinds[] = {
		{ "wireguard", ARPHRD_NONE, true }, { "tun", ARPHRD_NONE, true },
		{ "ipip", ARPHRD_TUNNEL, false },   { "ip6tnl", ARPHRD_TUNNEL6, false },
		{ "gre", ARPHRD_IPGRE, false },     { "xfrm", ARPHRD_NONE, false },
	};

	(void)state;
	add(OTHER, "")->flags |= IFF_NOARP;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		strcpy(at(OTHER)->kind, kinds[i].kind);
		at(OTHER)->type = kinds[i].type;
		check_bare(OTHER, kinds[i].taken);
	}
	/* A session that is not known, or no PPPoE: the ppp device does it all. */
	add_ppp(PPP);
	check_bare(PPP, true);
}

static void check_bare_up(uint32_t port, uint32_t device)
{
	static const uint8_t nobody[6];
	const struct segment segment = wire(port, 0, 0, 0);
	struct reception reception;

	at(port)->in_path = false;
	assert_true(topology_receive(&topology, &segment, &reception));
	assert_int_equal(reception.device, device);
	assert_memory_equal(reception.mac, nobody, 6);
	assert_memory_equal(reception.session_mac, nobody, 6);
	assert_null(reception.vlan);
	assert_true(at(port)->in_path);
	/* Nothing stands before IP there. */
	check_no_way_up(wire(port, Q(10), 0, 0));
	check_no_way_up(wire(port, AD(10), Q(1), 0));
	check_no_way_up(wire(port, 0, 0, 1));
	check_no_way_up(wire(port, Q(10), 0, 1));
}

/* What comes out of a device without a link layer */
static void test_bare_up(void **state)
{
	static const struct {
		const char *kind;
		uint16_t type;
	} kinds[] = { { "wireguard", ARPHRD_NONE }, { "tun", ARPHRD_NONE }, { "ppp", ARPHRD_PPP } };

	(void)state;
	add(OTHER, "")->flags |= IFF_NOARP;
	add(VRF, "vrf");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		strcpy(at(OTHER)->kind, kinds[i].kind);
		at(OTHER)->type = kinds[i].type;
		at(OTHER)->master = 0;
		check_bare_up(OTHER, OTHER);
		at(OTHER)->master = VRF;
		check_bare_up(OTHER, VRF);
		at(OTHER)->flags &= ~(unsigned int)IFF_LOWER_UP;
		check_no_way_up(wire(OTHER, 0, 0, 0));
		at(OTHER)->flags |= IFF_LOWER_UP;
	}
	/* Tunnels ask the route that the stack attaches to a packet. */
	at(OTHER)->type = ARPHRD_TUNNEL;
	check_no_way_up(wire(OTHER, 0, 0, 0));
	strcpy(at(OTHER)->kind, "xfrm");
	at(OTHER)->type = ARPHRD_NONE;
	check_no_way_up(wire(OTHER, 0, 0, 0));
	/* A VLAN device on top would have no frames to take. */
	strcpy(at(OTHER)->kind, "wireguard");
	at(OTHER)->master = 0;
	add_vlan(VLAN, OTHER, Q(10));
	check_bare_up(OTHER, OTHER);
}

/* No next hop's MAC, and none to do without */
static void test_no_neighbour(void **state)
{
	struct transmission to;

	(void)state;
	add(LAN, "");
	add_vlan(VLAN, LAN, Q(1));
	add(BRIDGE, "bridge");
	add_port(LAN2, BRIDGE);
	for (uint32_t device = LAN; device <= BRIDGE; device++) {
		if (!links_find(&links, device))
			continue;
		at(device)->flags |= IFF_NOARP;
		assert_false(topology_needs_neighbour(at(device)));
		for (int tc = 0; tc < 2; tc++)
			assert_int_equal(topology_send(&topology, device, NULL, AF_INET, tc, &to),
					 TRANSMISSION_DEVICE);
	}
	at(LAN)->flags = IFF_UP | IFF_LOWER_UP | IFF_LOOPBACK;
	check_refused(LAN, true, TRANSMISSION_DEVICE);
}

/* ---- Bridges --------------------------------------------------------------------- */

static void add_bridge(uint32_t bridge, uint32_t port, uint32_t port2)
{
	add(bridge, "bridge");
	add_port(port, bridge);
	add_port(port2, bridge);
}

static void test_bridge(void **state)
{
	const uint32_t needed[] = { LAN, BRIDGE };

	(void)state;
	add_bridge(BRIDGE, LAN, LAN2);
	check_refused(BRIDGE, false, TRANSMISSION_UNKNOWN);
	check_refused(BRIDGE, true, TRANSMISSION_UNKNOWN);
	learn(BRIDGE, LAN, next_hop, 0);
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	check_up(wire(LAN2, 0, 0, 0), BRIDGE, BRIDGE);
	check_needed(BRIDGE, wire(LAN, 0, 0, 0), needed, ARRAY_SIZE(needed));
	check_no_way_up(wire(LAN, Q(10), 0, 0));
	learn(BRIDGE, LAN2, next_hop, 0);
	check_down(BRIDGE, wire(LAN2, 0, 0, 0), BRIDGE);
	/* The FDB lags behind: the port has left, or is another bridge's. */
	at(LAN2)->master = 0;
	check_refused(BRIDGE, false, TRANSMISSION_DEVICE);
	at(LAN2)->master = BRIDGE2;
	check_refused(BRIDGE, true, TRANSMISSION_DEVICE);
}

/* Blocked by STP, or with settings that only the bridge knows what to do with */
static void test_bridge_port(void **state)
{
	(void)state;
	add_bridge(BRIDGE, LAN, LAN2);
	learn(BRIDGE, LAN, next_hop, 0);
	at(LAN)->bridge_port.forwarding = false;
	check_no_way_up(wire(LAN, 0, 0, 0));
	check_refused(BRIDGE, false, TRANSMISSION_DEVICE);
	at(LAN)->bridge_port.forwarding = true;
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	at(LAN)->bridge_port.special = true;
	check_no_way_up(wire(LAN, 0, 0, 0));
	check_refused(BRIDGE, true, TRANSMISSION_DEVICE);
	check_up(wire(LAN2, 0, 0, 0), BRIDGE, BRIDGE);
}

static void test_vlan_on_bridge(void **state)
{
	const uint32_t needed[] = { LAN, BRIDGE, VLAN };

	(void)state;
	add_bridge(BRIDGE, LAN, LAN2);
	add_vlan(VLAN, BRIDGE, Q(10));
	learn(BRIDGE, LAN, next_hop, 0);
	check_both(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	check_needed(VLAN, wire(LAN, Q(10), 0, 0), needed, ARRAY_SIZE(needed));
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	/* A VLAN device on the port comes first. */
	add_vlan(VLAN2, LAN, Q(10));
	check_up(wire(LAN, Q(10), 0, 0), VLAN2, VLAN2);
	check_up(wire(LAN2, Q(10), 0, 0), VLAN, VLAN);
	/* And is still the one that takes it when it is down. */
	at(VLAN2)->flags = 0;
	check_no_way_up(wire(LAN, Q(10), 0, 0));
}

static void test_bridge_on_vlan(void **state)
{
	const uint32_t needed[] = { LAN, VLAN, BRIDGE };
	struct link *vlan;

	(void)state;
	add(LAN, "");
	add(BRIDGE, "bridge");
	vlan = add_vlan(VLAN, LAN, Q(10));
	vlan->master = BRIDGE;
	vlan->bridge_port.forwarding = true;
	add_port(LAN2, BRIDGE);
	learn(BRIDGE, VLAN, next_hop, 0);
	check_both(BRIDGE, wire(LAN, Q(10), 0, 0), BRIDGE);
	check_needed(BRIDGE, wire(LAN, Q(10), 0, 0), needed, ARRAY_SIZE(needed));
	check_up(wire(LAN, 0, 0, 0), LAN, LAN);
	check_up(wire(LAN2, 0, 0, 0), BRIDGE, BRIDGE);
	/* A VLAN of the bridge's inside */
	add_vlan(VLAN2, BRIDGE, Q(20));
	check_both(VLAN2, wire(LAN, Q(10), Q(20), 0), VLAN2);
}

static void test_pppoe_on_bridge(void **state)
{
	(void)state;
	add_bridge(BRIDGE, LAN, LAN2);
	add_vlan(VLAN, BRIDGE, Q(7));
	add_ppp(PPP)->lower = VLAN;
	add_session(PPP, VLAN, 77);
	learn(BRIDGE, LAN2, concentrator, 0);
	check_both(PPP, wire(LAN2, Q(7), 0, 77), VLAN);
	check_up(wire(LAN, Q(7), 0, 77), PPP, VLAN);
	check_no_way_up(wire(LAN, 0, 0, 77));
}

/* ---- VLAN filtering ---------------------------------------------------------------- */

/*
 * LAN: untagged in VLAN 1, tagged in 10; LAN2: untagged in 10. The bridge: untagged in 1,
 * tagged in 10, of which VLAN is a device.
 */
static void add_filtering(void)
{
	add_bridge(BRIDGE, LAN, LAN2);
	at(BRIDGE)->bridge.vlan_filtering = true;
	add_vlan(VLAN, BRIDGE, Q(10));
	JOIN(LAN, { 1, PVID | UNTAGGED }, { 10, 0 }, { 30, 0 });
	JOIN(LAN2, { 10, PVID | UNTAGGED });
	JOIN(BRIDGE, { 1, PVID | UNTAGGED }, { 10, 0 });
}

static void test_filtering(void **state)
{
	(void)state;
	add_filtering();
	learn(BRIDGE, LAN, next_hop, 1);
	learn(BRIDGE, LAN, next_hop, 10);
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	check_both(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	/* The tag of the PVID is as good as none. */
	check_up(wire(LAN, Q(1), 0, 0), BRIDGE, BRIDGE);
	/* Not a member: the port, the bridge, neither */
	check_no_way_up(wire(LAN2, Q(1), 0, 0));
	check_no_way_up(wire(LAN, Q(30), 0, 0));
	check_no_way_up(wire(LAN, Q(99), 0, 0));
	/* Another host's MAC in this VLAN */
	check_refused(BRIDGE, false, TRANSMISSION_OK);
	learn(BRIDGE, LAN2, next_hop, 10);
	check_both(VLAN, wire(LAN2, 0, 0, 0), VLAN);
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	check_up(wire(LAN2, Q(10), 0, 0), VLAN, VLAN);
}

/* What a filtering bridge learned without VLANs is not what it goes by. */
static void test_filtering_unknown(void **state)
{
	(void)state;
	add_filtering();
	learn(BRIDGE, LAN, next_hop, 0);
	check_refused(BRIDGE, false, TRANSMISSION_UNKNOWN);
	check_refused(VLAN, false, TRANSMISSION_UNKNOWN);
	learn(BRIDGE, LAN, next_hop, 10);
	check_refused(BRIDGE, false, TRANSMISSION_UNKNOWN);
	check_down(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
}

static void test_filtering_membership(void **state)
{
	(void)state;
	add_filtering();
	learn(BRIDGE, LAN2, next_hop, 1);
	check_refused(BRIDGE, false, TRANSMISSION_DEVICE); /* LAN2 is not in VLAN 1 */
	learn(BRIDGE, LAN, next_hop, 1);
	check_down(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	/* Tagged on the port */
	JOIN(LAN, { 1, PVID });
	check_down(BRIDGE, wire(LAN, Q(1), 0, 0), BRIDGE);
	/* No PVID: nothing untagged comes in or goes out of the bridge */
	JOIN(LAN, { 1, UNTAGGED });
	check_no_way_up(wire(LAN, 0, 0, 0));
	check_up(wire(LAN, Q(1), 0, 0), BRIDGE, BRIDGE);
	JOIN(BRIDGE, { 1, UNTAGGED });
	check_refused(BRIDGE, false, TRANSMISSION_DEVICE);
	/* The bridge itself is not in the VLAN of its own VLAN device. */
	check_no_way_up(wire(LAN2, 0, 0, 0));
	check_refused(VLAN, true, TRANSMISSION_DEVICE);
}

/* Untagged on the port, tagged on the bridge: for a VLAN device of the bridge's PVID */
static void test_filtering_tagged_bridge(void **state)
{
	(void)state;
	add_filtering();
	JOIN(BRIDGE, { 1, PVID }, { 10, UNTAGGED });
	add_vlan(VLAN2, BRIDGE, Q(1));
	learn(BRIDGE, LAN, next_hop, 1);
	learn(BRIDGE, LAN2, next_hop, 10);
	check_both(VLAN2, wire(LAN, 0, 0, 0), VLAN2);
	/* VLAN 10 comes up untagged, but goes down by the device that tags it. */
	check_up(wire(LAN2, 0, 0, 0), BRIDGE, BRIDGE);
	check_down(VLAN, wire(LAN2, 0, 0, 0), VLAN);
}

/* The bridge filters the outer tag; the inner one is not its business. */
static void test_filtering_qinq(void **state)
{
	(void)state;
	add_filtering();
	at(BRIDGE)->bridge.service = true;
	at(VLAN)->vlan.service = true;
	add_vlan(VLAN2, VLAN, Q(5));
	learn(BRIDGE, LAN, next_hop, 10);
	learn(BRIDGE, LAN, next_hop, 1);
	check_both(VLAN2, wire(LAN, AD(10), Q(5), 0), VLAN2);
	check_both(VLAN, wire(LAN, AD(10), 0, 0), VLAN);
	check_up(wire(LAN2, 0, 0, 0), VLAN, VLAN);
	learn(BRIDGE, LAN2, next_hop, 10);
	check_down(VLAN2, wire(LAN2, Q(5), 0, 0), VLAN2);
	/* The other protocol's tag would be one inside the PVID's: left to the bridge. */
	check_no_way_up(wire(LAN, Q(10), 0, 0));
	add_vlan(OTHER, BRIDGE, Q(10));
	check_no_way_up(wire(LAN, Q(10), 0, 0));
	check_refused(OTHER, true, TRANSMISSION_DEVICE);
}

static void test_filtering_pppoe(void **state)
{
	(void)state;
	add_filtering();
	add_ppp(PPP)->lower = VLAN;
	add_session(PPP, VLAN, 1);
	learn(BRIDGE, LAN, concentrator, 10);
	check_both(PPP, wire(LAN, Q(10), 0, 1), VLAN);
	learn(BRIDGE, LAN2, concentrator, 10);
	check_both(PPP, wire(LAN2, 0, 0, 1), VLAN);
	check_no_way_up(wire(LAN, 0, 0, 1));
}

/* ---- Ports of a switch ------------------------------------------------------------- */

static void test_switch(void **state)
{
	const uint32_t needed[] = { LAN };

	(void)state;
	add(CONDUIT, "");
	add_user(LAN, SWITCH_TAG_MTK, 0);
	add_user(LAN2, SWITCH_TAG_MTK, 5);
	check_both(LAN, wire(LAN, 0, 0, 0), LAN);
	check_both(LAN2, wire(LAN2, 0, 0, 0), LAN2);
	check_needed(LAN, wire(LAN, 0, 0, 0), needed, ARRAY_SIZE(needed));
	assert_true(at(CONDUIT)->in_path);
	at(LAN2)->switch_tag = SWITCH_TAG_GSWIP;
	at(LAN2)->switch_port = 7;
	check_both(LAN2, wire(LAN2, 0, 0, 0), LAN2);
	at(LAN2)->switch_tag = SWITCH_TAG_QCA;
	check_both(LAN2, wire(LAN2, 0, 0, 0), LAN2);
	/* A format that is not known: a port as any other */
	at(LAN2)->switch_tag = SWITCH_TAG_NONE;
	check_both(LAN2, wire(LAN2, 0, 0, 0), LAN2);
	/* The conduit itself is none. */
	check_both(CONDUIT, wire(CONDUIT, 0, 0, 0), CONDUIT);
}

static void test_above_switch(void **state)
{
	(void)state;
	add(CONDUIT, "");
	add_bridge(BRIDGE, OTHER, COLLIDES);
	add_user(LAN, SWITCH_TAG_QCA, 1)->master = BRIDGE;
	at(LAN)->bridge_port.forwarding = true;
	add_vlan(VLAN, BRIDGE, Q(10));
	learn(BRIDGE, LAN, next_hop, 0);
	check_both(BRIDGE, wire(LAN, 0, 0, 0), BRIDGE);
	check_both(VLAN, wire(LAN, Q(10), 0, 0), VLAN);
	learn(BRIDGE, OTHER, next_hop, 0);
	check_both(VLAN, wire(OTHER, Q(10), 0, 0), VLAN);
	add_user(WAN, SWITCH_TAG_QCA, 4);
	add_vlan(VLAN2, WAN, AD(7));
	check_both(VLAN2, wire(WAN, AD(7), 0, 0), VLAN2);
	add_ppp(PPP)->lower = VLAN2;
	add_session(PPP, VLAN2, 99);
	check_both(PPP, wire(WAN, AD(7), 0, 99), VLAN2);
}

static void check_without_conduit(void)
{
	check_refused(LAN, false, TRANSMISSION_DEVICE);
	/* TC leaves by the port, and the kernel knows what to do. */
	check_family(LAN, &(const struct segment){ .port = LAN }, LAN, AF_INET, true);
	check_up(wire(LAN, 0, 0, 0), LAN, LAN);
}

static void test_conduit(void **state)
{
	struct transmission to;

	(void)state;
	add_user(LAN, SWITCH_TAG_MTK, 3);
	check_without_conduit();
	at(LAN)->lower = 0; /* of another namespace */
	check_without_conduit();
	at(LAN)->lower = CONDUIT;
	add(CONDUIT, "")->flags &= ~(unsigned int)IFF_UP;
	check_without_conduit();
	assert_true(at(CONDUIT)->in_path);
	at(CONDUIT)->flags |= IFF_UP;
	check_both(LAN, wire(LAN, 0, 0, 0), LAN);
	/* The queue that XDP goes past may be the conduit's. */
	assert_int_equal(topology_send(&topology, LAN, next_hop, AF_INET, false, &to),
			 TRANSMISSION_OK);
	assert_false(to.shaped);
	strcpy(at(CONDUIT)->qdisc, "cake");
	assert_int_equal(topology_send(&topology, LAN, next_hop, AF_INET, false, &to),
			 TRANSMISSION_OK);
	assert_true(to.shaped);
}

/* ---- Queues ------------------------------------------------------------------------- */

static void shape(uint32_t device, const char *qdisc)
{
	memset(at(device)->qdisc, 0, sizeof(at(device)->qdisc));
	strcpy(at(device)->qdisc, qdisc);
}

static void test_plain_queues(void **state)
{
	static const char *const plain[] = { "noqueue", "mq", "fq_codel", "pfifo_fast", "fq" };
	static const char *const shaping[] = { "htb", "tbf", "cake", "hfsc", "prio", "netem" };

	(void)state;
	add(LAN, "");
	add_vlan(VLAN, LAN, Q(10));
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		shape(VLAN, plain[i]);
		assert_false(check_down(VLAN, wire(LAN, Q(10), 0, 0), VLAN).shaped);
	}
	for (size_t i = 0; i < ARRAY_SIZE(shaping); i++) {
		struct transmission to;

		shape(VLAN, shaping[i]);
		assert_int_equal(topology_send(&topology, VLAN, next_hop, AF_INET, false, &to),
				 TRANSMISSION_OK);
		assert_true(to.shaped);
	}
}

/* TC: the frame is given to the device that shapes, as the stack would. */
static void check_ends_at(uint32_t device, uint32_t shaper, const struct segment segment,
			  uint32_t sender)
{
	struct transmission to;
	const uint8_t *mac = at(device)->type == ARPHRD_PPP ? NULL : next_hop;
	uint8_t header[LINK_HEADER_MAX];
	size_t len = make_header(&segment, sender, AF_INET, header);

	shape(shaper, "cake");
	assert_int_equal(topology_send(&topology, device, mac, AF_INET, true, &to),
			 TRANSMISSION_OK);
	assert_true(to.shaped);
	assert_true(segment_equal(&to.segment, &segment));
	assert_int_equal(to.link_len, len);
	assert_memory_equal(to.link, header, len);
	/* XDP goes past it, and says so. */
	assert_int_equal(topology_send(&topology, device, mac, AF_INET, false, &to),
			 TRANSMISSION_OK);
	assert_true(to.shaped);
	assert_int_equal(to.segment.port, LAN);
	shape(shaper, "noqueue");
}

static void test_shapers(void **state)
{
	(void)state;
	add_bridge(BRIDGE, LAN, LAN2);
	add_vlan(VLAN, BRIDGE, Q(10));
	add_vlan(VLAN2, VLAN, Q(20));
	learn(BRIDGE, LAN, next_hop, 0);
	check_ends_at(VLAN2, VLAN2, wire(VLAN2, 0, 0, 0), VLAN2);
	check_ends_at(VLAN2, VLAN, wire(VLAN, Q(20), 0, 0), VLAN2);
	check_ends_at(VLAN2, BRIDGE, wire(BRIDGE, Q(10), Q(20), 0), VLAN2);
	check_ends_at(VLAN2, LAN, wire(LAN, Q(10), Q(20), 0), VLAN2);
	assert_false(check_down(VLAN2, wire(LAN, Q(10), Q(20), 0), VLAN2).shaped);
}

static void test_shaped_pppoe(void **state)
{
	struct transmission to;

	(void)state;
	add(LAN, "");
	add_vlan(VLAN, LAN, Q(7));
	add_ppp(PPP)->lower = VLAN;
	add_session(PPP, VLAN, 5);
	check_ends_at(PPP, VLAN, wire(VLAN, 0, 0, 5), VLAN);
	shape(PPP, "cake");
	assert_int_equal(topology_send(&topology, PPP, NULL, AF_INET, true, &to), TRANSMISSION_OK);
	assert_int_equal(to.link_len, 0);
	assert_int_equal(to.segment.port, PPP);
	assert_int_equal(to.segment.session, 0);
	assert_int_equal(topology_send(&topology, PPP, NULL, AF_INET, false, &to), TRANSMISSION_OK);
	assert_true(to.shaped);
}

/* ---- Nonsense ----------------------------------------------------------------------- */

/* Events come one by one: for a moment the tables may say what cannot be. */
static void test_loops(void **state)
{
	(void)state;
	add_vlan(VLAN, VLAN, Q(10));
	check_refused(VLAN, false, TRANSMISSION_DEVICE);
	check_no_way_up(wire(VLAN, Q(11), 0, 0));
	add_vlan(VLAN2, OTHER, Q(10));
	add_vlan(OTHER, VLAN2, Q(11));
	check_refused(OTHER, true, TRANSMISSION_DEVICE);
	/* Bridges that are each other's ports */
	add_port(BRIDGE, BRIDGE2);
	add_port(BRIDGE2, BRIDGE);
	strcpy(at(BRIDGE)->kind, "bridge");
	strcpy(at(BRIDGE2)->kind, "bridge");
	learn(BRIDGE, BRIDGE2, next_hop, 0);
	learn(BRIDGE2, BRIDGE, next_hop, 0);
	check_no_way_up(wire(BRIDGE, 0, 0, 0));
	check_refused(BRIDGE, false, TRANSMISSION_DEVICE);
	/* Ports of a switch that are each other's conduit, and one that is its own */
	add_user(LAN, SWITCH_TAG_MTK, 1)->lower = LAN2;
	add_user(LAN2, SWITCH_TAG_MTK, 2)->lower = LAN;
	add_user(WAN, SWITCH_TAG_MTK, 3)->lower = WAN;
	check_both(LAN, wire(LAN, 0, 0, 0), LAN);
	check_both(LAN2, wire(LAN2, 0, 0, 0), LAN2);
	check_both(WAN, wire(WAN, 0, 0, 0), WAN);
	/* A session on top of itself */
	add_ppp(PPP)->lower = PPP;
	add_session(PPP, PPP, 9);
	check_refused(PPP, false, TRANSMISSION_DEVICE);
	check_no_way_up(wire(PPP, 0, 0, 9));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_plain),
		TEST(test_vlan),
		TEST(test_qinq),
		TEST(test_pppoe),
		TEST(test_pppoe_on_vlans),
		TEST(test_mtu),
		TEST(test_vrf),
		TEST(test_other_masters),
		TEST(test_bare),
		TEST(test_bare_up),
		TEST(test_no_neighbour),
		TEST(test_bridge),
		TEST(test_bridge_port),
		TEST(test_vlan_on_bridge),
		TEST(test_bridge_on_vlan),
		TEST(test_pppoe_on_bridge),
		TEST(test_filtering),
		TEST(test_filtering_unknown),
		TEST(test_filtering_membership),
		TEST(test_filtering_tagged_bridge),
		TEST(test_filtering_qinq),
		TEST(test_filtering_pppoe),
		TEST(test_switch),
		TEST(test_above_switch),
		TEST(test_conduit),
		TEST(test_plain_queues),
		TEST(test_shapers),
		TEST(test_shaped_pppoe),
		TEST(test_loops),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
