/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "dsa.h"
#include "link.h"
#include "util.h"

/* enum of IFLA_BRPORT_*: what the headers of the build machine may not know */
#define BRPORT_LOCKED 39
#define BRPORT_MAX 47

static struct link **bucket_of(struct links *links, uint32_t ifindex)
{
	return &links->bucket[ifindex % LINK_BUCKETS];
}

struct link *links_find(const struct links *links, uint32_t ifindex)
{
	struct link *link = links->bucket[ifindex % LINK_BUCKETS];

	while (link && link->ifindex != ifindex)
		link = link->next;
	return link;
}

struct link *links_find_name(const struct links *links, const char *name)
{
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		for (struct link *link = links->bucket[i]; link; link = link->next)
			if (!strcmp(link->name, name))
				return link;
	return NULL;
}

bool link_exists(uint32_t ifindex)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_ifindex = (int)ifindex };

	return fd < 0 || !ioctl(fd, SIOCGIFNAME, &request) || errno != ENODEV;
}

static void copy_text(const struct nlattr *attribute, char *text, size_t size)
{
	size_t len = attribute ? mnl_attr_get_payload_len(attribute) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(text, mnl_attr_get_payload(attribute), len);
	text[len] = '\0';
}

bool link_is(const struct link *link, const char *kind)
{
	return link && !strcmp(link->kind, kind);
}

struct link *links_find_vlan(const struct links *links, uint32_t lower, uint16_t id, bool service)
{
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		for (struct link *link = links->bucket[i]; link; link = link->next)
			if (link->vlan.id == id && link->lower == lower &&
			    link->vlan.service == service && link_is(link, "vlan"))
				return link;
	return NULL;
}

void links_each(const struct links *links, void (*each)(void *context, struct link *link),
		void *context)
{
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		for (struct link *link = links->bucket[i]; link; link = link->next)
			each(context, link);
}

struct qos_map {
	struct link_vlan *vlan;
	bool ingress;
};

/* An entry of a VLAN device's priority map; what is not in it maps to 0. */
static int parse_qos(const struct nlattr *attribute, void *data)
{
	const struct ifla_vlan_qos_mapping *entry = mnl_attr_get_payload(attribute);
	const struct qos_map *map = data;

	if (mnl_attr_get_payload_len(attribute) < sizeof(*entry))
		return MNL_CB_OK;
	if (map->ingress && entry->from < ARRAY_SIZE(map->vlan->ingress))
		map->vlan->ingress[entry->from] = entry->to;
	else if (!map->ingress && entry->from < ARRAY_SIZE(map->vlan->egress))
		map->vlan->egress[entry->from] = entry->to & 7;
	if (entry->to)
		map->vlan->maps_priority = true;
	return MNL_CB_OK;
}

static void parse_vlan(const struct nlattr *data, struct link_vlan *vlan)
{
	const struct nlattr *table[IFLA_VLAN_MAX + 1];
	struct qos_map ingress = { vlan, true }, egress = { vlan, false };

	rtnl_nested(data, table, IFLA_VLAN_MAX);
	if (!table[IFLA_VLAN_ID] || mnl_attr_get_payload_len(table[IFLA_VLAN_ID]) < 2)
		return;
	vlan->id = mnl_attr_get_u16(table[IFLA_VLAN_ID]);
	if (table[IFLA_VLAN_PROTOCOL] && mnl_attr_get_payload_len(table[IFLA_VLAN_PROTOCOL]) >= 2)
		vlan->service = mnl_attr_get_u16(table[IFLA_VLAN_PROTOCOL]) == htons(ETH_P_8021AD);
	if (table[IFLA_VLAN_INGRESS_QOS])
		mnl_attr_parse_nested(table[IFLA_VLAN_INGRESS_QOS], parse_qos, &ingress);
	if (table[IFLA_VLAN_EGRESS_QOS])
		mnl_attr_parse_nested(table[IFLA_VLAN_EGRESS_QOS], parse_qos, &egress);
}

static uint8_t get_u8(const struct nlattr *attribute)
{
	return attribute && mnl_attr_get_payload_len(attribute) ? mnl_attr_get_u8(attribute) : 0;
}

static void parse_bridge(const struct nlattr *data, struct link_bridge *bridge)
{
	const struct nlattr *table[IFLA_BR_MAX + 1];

	rtnl_nested(data, table, IFLA_BR_MAX);
	bridge->vlan_filtering = get_u8(table[IFLA_BR_VLAN_FILTERING]);
	if (table[IFLA_BR_VLAN_DEFAULT_PVID] &&
	    mnl_attr_get_payload_len(table[IFLA_BR_VLAN_DEFAULT_PVID]) >= 2)
		bridge->default_pvid = mnl_attr_get_u16(table[IFLA_BR_VLAN_DEFAULT_PVID]);
	if (table[IFLA_BR_VLAN_PROTOCOL] &&
	    mnl_attr_get_payload_len(table[IFLA_BR_VLAN_PROTOCOL]) >= 2)
		bridge->service = mnl_attr_get_u16(table[IFLA_BR_VLAN_PROTOCOL]) ==
				  htons(ETH_P_8021AD);
}

static void parse_bridge_port(const struct nlattr *data, struct link_bridge_port *port)
{
	const struct nlattr *table[BRPORT_MAX + 1];

	rtnl_nested(data, table, BRPORT_MAX);
	port->forwarding = get_u8(table[IFLA_BRPORT_STATE]) == BR_STATE_FORWARDING;
	port->hairpin = get_u8(table[IFLA_BRPORT_MODE]);
	port->special = get_u8(table[IFLA_BRPORT_ISOLATED]) ||
			get_u8(table[IFLA_BRPORT_VLAN_TUNNEL]) || get_u8(table[BRPORT_LOCKED]);
}

/* The device that a message describes. Returns false if it describes none. */
static bool parse_link(const struct nlmsghdr *message, struct link *link)
{
	const struct nlattr *table[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	char slave_kind[LINK_KIND_LEN], port_name[IFNAMSIZ];

	/* Bridges send AF_BRIDGE messages about their ports, with other contents. */
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    header->ifi_family != AF_UNSPEC || header->ifi_index <= 0)
		return false;
	rtnl_attributes(message, sizeof(*header), table, IFLA_MAX);
	rtnl_nested(table[IFLA_LINKINFO], info, IFLA_INFO_MAX);
	memset(link, 0, sizeof(*link));
	link->ifindex = (uint32_t)header->ifi_index;
	link->flags = header->ifi_flags;
	link->type = header->ifi_type;
	link->mtu = rtnl_u32(table[IFLA_MTU], 0);
	link->master = rtnl_u32(table[IFLA_MASTER], 0);
	if (!table[IFLA_LINK_NETNSID]) /* else it is an index of another namespace */
		link->lower = rtnl_u32(table[IFLA_LINK], 0);
	copy_text(table[IFLA_IFNAME], link->name, sizeof(link->name));
	copy_text(info[IFLA_INFO_KIND], link->kind, sizeof(link->kind));
	copy_text(table[IFLA_QDISC], link->qdisc, sizeof(link->qdisc));
	copy_text(info[IFLA_INFO_SLAVE_KIND], slave_kind, sizeof(slave_kind));
	copy_text(table[IFLA_PHYS_PORT_NAME], port_name, sizeof(port_name));
	dsa_identify(link, port_name);
	if (link_is(link, "vlan"))
		parse_vlan(info[IFLA_INFO_DATA], &link->vlan);
	else if (link_is(link, "bridge"))
		parse_bridge(info[IFLA_INFO_DATA], &link->bridge);
	if (!strcmp(slave_kind, "bridge"))
		parse_bridge_port(info[IFLA_INFO_SLAVE_DATA], &link->bridge_port);
	if (table[IFLA_ADDRESS] && mnl_attr_get_payload_len(table[IFLA_ADDRESS]) == 6)
		memcpy(link->mac, mnl_attr_get_payload(table[IFLA_ADDRESS]), 6);
	return true;
}

static bool same_for_forwarding(const struct link *a, const struct link *b)
{
	const uint32_t flags = IFF_UP | IFF_LOWER_UP | IFF_RUNNING;

	return (a->flags & flags) == (b->flags & flags) && a->mtu == b->mtu &&
	       a->master == b->master && a->lower == b->lower && a->type == b->type &&
	       !memcmp(a->mac, b->mac, sizeof(a->mac)) && !strcmp(a->name, b->name) &&
	       a->switch_tag == b->switch_tag && a->switch_port == b->switch_port &&
	       !strcmp(a->qdisc, b->qdisc) && !memcmp(&a->vlan, &b->vlan, sizeof(a->vlan)) &&
	       !memcmp(&a->bridge, &b->bridge, sizeof(a->bridge)) &&
	       !memcmp(&a->bridge_port, &b->bridge_port, sizeof(a->bridge_port));
}

static enum link_change store(struct links *links, const struct link *news)
{
	struct link *link = links_find(links, news->ifindex);
	bool same = link && same_for_forwarding(link, news);
	enum xdp_target target;
	struct link *next;
	bool in_path;

	if (!link) {
		link = calloc(1, sizeof(*link));
		if (!link)
			return LINK_SAME;
		link->next = *bucket_of(links, news->ifindex);
		*bucket_of(links, news->ifindex) = link;
	}
	next = link->next;
	target = link->xdp_target;
	in_path = link->in_path;
	*link = *news;
	link->in_path = in_path;
	link->next = next;
	link->xdp_target = same ? target : XDP_TARGET_UNKNOWN;
	link->dumped = true;
	return same ? LINK_SAME : LINK_CHANGED;
}

static void drop_link(struct links *links, uint32_t ifindex)
{
	for (struct link **at = bucket_of(links, ifindex); *at; at = &(*at)->next) {
		struct link *link = *at;

		if (link->ifindex != ifindex)
			continue;
		*at = link->next;
		free(link);
		return;
	}
}

static bool is_bridge_message(const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);

	return mnl_nlmsg_get_payload_len(message) >= sizeof(*header) &&
	       header->ifi_family == AF_BRIDGE;
}

/*
 * A bridge reports the STP state and flags of its port (br_ifinfo_notify()). The message has
 * the family AF_BRIDGE and says nothing else about the device.
 */
static enum link_change bridge_port_event(struct links *links, const struct nlmsghdr *message,
					  uint32_t *ifindex)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *table[IFLA_MAX + 1];
	struct link_bridge_port before;
	struct link *link;

	if (message->nlmsg_type != RTM_NEWLINK || header->ifi_index <= 0)
		return LINK_SAME;
	link = links_find(links, (uint32_t)header->ifi_index);
	rtnl_attributes(message, sizeof(*header), table, IFLA_MAX);
	if (!link || !table[IFLA_PROTINFO])
		return LINK_SAME;
	before = link->bridge_port;
	parse_bridge_port(table[IFLA_PROTINFO], &link->bridge_port);
	if (!memcmp(&before, &link->bridge_port, sizeof(before)))
		return LINK_SAME;
	*ifindex = link->ifindex;
	return LINK_CHANGED;
}

enum link_change links_event(struct links *links, const struct nlmsghdr *message, uint32_t *ifindex)
{
	struct link news;

	*ifindex = 0;
	if (is_bridge_message(message))
		return bridge_port_event(links, message, ifindex);
	if (!parse_link(message, &news))
		return LINK_SAME;
	*ifindex = news.ifindex;
	if (message->nlmsg_type == RTM_NEWLINK)
		return store(links, &news);
	drop_link(links, news.ifindex);
	return LINK_GONE;
}

static int dump_one(const struct nlmsghdr *message, void *data)
{
	struct link news;

	if (parse_link(message, &news))
		store(data, &news);
	return MNL_CB_OK;
}

static void drop_undumped(struct links *links)
{
	for (size_t i = 0; i < LINK_BUCKETS; i++) {
		struct link *link = links->bucket[i];

		while (link) {
			struct link *next = link->next;

			if (!link->dumped)
				drop_link(links, link->ifindex);
			link = next;
		}
	}
}

int links_dump(struct links *links, struct rtnl *rtnl)
{
	char buffer[256];
	int err = -EINTR;

	for (int tries = 0; err == -EINTR && tries < 5; tries++) {
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
		struct ifinfomsg *header;

		request->nlmsg_type = RTM_GETLINK;
		request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
		header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
		header->ifi_family = AF_UNSPEC;
		for (size_t i = 0; i < LINK_BUCKETS; i++)
			for (struct link *link = links->bucket[i]; link; link = link->next)
				link->dumped = false;
		err = rtnl_request(rtnl, request, dump_one, links);
	}
	if (!err)
		drop_undumped(links);
	return err;
}

void links_free(struct links *links)
{
	for (size_t i = 0; i < LINK_BUCKETS; i++)
		while (links->bucket[i])
			drop_link(links, links->bucket[i]->ifindex);
}

bool link_running(const struct link *link)
{
	return link->flags & IFF_UP && link->flags & IFF_LOWER_UP;
}

bool link_is_bare(const struct link *link)
{
	return link->type == ARPHRD_PPP ||
	       (link->type == ARPHRD_NONE && (link_is(link, "wireguard") || link_is(link, "tun")));
}

bool link_is_ethernet(const struct link *link)
{
	return link->type == ARPHRD_ETHER && !(link->flags & (IFF_LOOPBACK | IFF_NOARP));
}
