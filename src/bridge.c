/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "bridge.h"
#include "util.h"

#define VLAN_MAX 4094 /* 4095 is reserved */
#define DUMP_TRIES 5

/* What the headers of the build machine may not know */
#define FLAGS_EXT 15 /* NDA_FLAGS_EXT */
#define ATTRIBUTE_MAX FLAGS_EXT

/* ---- Hosts ------------------------------------------------------------------- */

/* What a message says of a host. */
struct report {
	uint32_t bridge;
	uint32_t port;
	uint16_t vlan;
	uint8_t mac[6];
	bool behind_port; /* else the entry is gone, or not of a host behind a port */
};

static size_t bucket_of(const struct bridges *bridges, uint32_t bridge, const uint8_t *mac,
			uint16_t vlan)
{
	uint64_t key = vlan;

	for (int i = 0; i < 6; i++)
		key = key << 8 | mac[i];
	/* Multiply-shift: universal for a random odd multiplier */
	key = (key ^ (uint64_t)bridge << 32) * bridges->multiplier;
	return (size_t)(key >> (64 - BRIDGE_HOST_BITS));
}

static bool is_host(const struct bridge_host *host, uint32_t bridge, const uint8_t *mac,
		    uint16_t vlan)
{
	return host->bridge == bridge && host->vlan == vlan && !memcmp(host->mac, mac, 6);
}

/* Where the pointer to the host is; to NULL if the host is not known. */
static struct bridge_host **find_host(struct bridges *bridges, const struct report *report)
{
	struct bridge_host **at =
		&bridges->host[bucket_of(bridges, report->bridge, report->mac, report->vlan)];

	while (*at && !is_host(*at, report->bridge, report->mac, report->vlan))
		at = &(*at)->next;
	return at;
}

static void drop_host(struct bridges *bridges, struct bridge_host **at)
{
	struct bridge_host *host = *at;

	*at = host->next;
	free(host);
	bridges->hosts--;
}

static void choose_multiplier(struct bridges *bridges)
{
	/* Without random numbers the hash is only predictable. */
	if (getrandom(&bridges->multiplier, sizeof(bridges->multiplier), GRND_NONBLOCK) < 0)
		bridges->multiplier = 0x9e3779b97f4a7c15ULL;
	bridges->multiplier |= 1;
}

static void insert_host(struct bridges *bridges, const struct report *report)
{
	struct bridge_host *host, **bucket;

	if (bridges->hosts >= BRIDGE_HOSTS_MAX)
		return;
	host = calloc(1, sizeof(*host));
	if (!host)
		return;
	if (!bridges->multiplier)
		choose_multiplier(bridges);
	bucket = &bridges->host[bucket_of(bridges, report->bridge, report->mac, report->vlan)];
	host->bridge = report->bridge;
	host->port = report->port;
	host->vlan = report->vlan;
	memcpy(host->mac, report->mac, sizeof(host->mac));
	host->dumped = true;
	host->next = *bucket;
	*bucket = host;
	bridges->hosts++;
}

/* Returns true if the host is no longer where it was. */
static bool apply_host(struct bridges *bridges, const struct report *report)
{
	struct bridge_host **at = find_host(bridges, report);
	bool moved;

	if (!report->behind_port) {
		if (!*at)
			return false;
		drop_host(bridges, at);
		return true;
	}
	if (!*at) {
		insert_host(bridges, report);
		return false;
	}
	moved = (*at)->port != report->port;
	(*at)->port = report->port;
	(*at)->dumped = true;
	return moved;
}

static bool copy_mac(const struct nlattr *attribute, uint8_t mac[6])
{
	if (!attribute || mnl_attr_get_payload_len(attribute) != 6)
		return false;
	memcpy(mac, mnl_attr_get_payload(attribute), 6);
	return !(mac[0] & 1);
}

static bool parse_host(const struct nlmsghdr *message, struct report *report)
{
	const struct nlattr *table[ATTRIBUTE_MAX + 1];
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);

	/* What a device keeps for itself (a VXLAN's remotes, a NIC's filter) is NTF_SELF. */
	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    header->ndm_family != AF_BRIDGE || header->ndm_ifindex <= 0 ||
	    header->ndm_flags & NTF_SELF)
		return false;
	rtnl_attributes(message, sizeof(*header), table, ATTRIBUTE_MAX);
	memset(report, 0, sizeof(*report));
	report->port = (uint32_t)header->ndm_ifindex;
	report->bridge = rtnl_u32(table[NDA_MASTER], 0);
	if (!report->bridge || !copy_mac(table[NDA_LLADDR], report->mac))
		return false;
	if (table[NDA_VLAN]) {
		if (mnl_attr_get_payload_len(table[NDA_VLAN]) != sizeof(uint16_t))
			return false;
		report->vlan = mnl_attr_get_u16(table[NDA_VLAN]);
		if (report->vlan > VLAN_MAX)
			return false;
	}
	/* Extended flags make an entry special (locked, ...): for the bridge to know how. */
	report->behind_port = message->nlmsg_type == RTM_NEWNEIGH &&
			      !(header->ndm_state & NUD_PERMANENT) &&
			      report->port != report->bridge &&
			      (!table[FLAGS_EXT] || !rtnl_u32(table[FLAGS_EXT], 1));
	return true;
}

static bool host_event(struct bridges *bridges, const struct nlmsghdr *message)
{
	struct report report;

	return parse_host(message, &report) && apply_host(bridges, &report);
}

uint32_t bridges_port(const struct bridges *bridges, uint32_t bridge, const uint8_t mac[6],
		      uint16_t vlan)
{
	const struct bridge_host *host = bridges->host[bucket_of(bridges, bridge, mac, vlan)];

	while (host && !is_host(host, bridge, mac, vlan))
		host = host->next;
	return host ? host->port : 0;
}

/* ---- VLANs ------------------------------------------------------------------- */

static bool test_vlan(const uint64_t *set, uint16_t vlan)
{
	return set[vlan / 64] >> (vlan % 64) & 1;
}

static void set_vlan(uint64_t *set, uint16_t vlan)
{
	set[vlan / 64] |= 1ULL << (vlan % 64);
}

/* Where the pointer to the device's VLANs is; to NULL if it has none. */
static struct bridge_vlans **find_vlans(struct bridges *bridges, uint32_t device)
{
	struct bridge_vlans **at = &bridges->vlans[device % BRIDGE_VLAN_BUCKETS];

	while (*at && (*at)->device != device)
		at = &(*at)->next;
	return at;
}

static bool drop_vlans(struct bridges *bridges, uint32_t device)
{
	struct bridge_vlans **at = find_vlans(bridges, device), *vlans = *at;

	if (!vlans)
		return false;
	*at = vlans->next;
	free(vlans);
	return true;
}

static bool same_vlans(const struct bridge_vlans *a, const struct bridge_vlans *b)
{
	return a->pvid == b->pvid && !memcmp(a->member, b->member, sizeof(a->member)) &&
	       !memcmp(a->untagged, b->untagged, sizeof(a->untagged));
}

static bool has_vlans(const struct bridge_vlans *vlans)
{
	for (size_t i = 0; i < BRIDGE_VLAN_WORDS; i++)
		if (vlans->member[i])
			return true;
	return false;
}

/* Returns true if they are not as before. */
static bool store_vlans(struct bridges *bridges, const struct bridge_vlans *news)
{
	struct bridge_vlans **at = find_vlans(bridges, news->device), *vlans = *at, *next;
	bool same = vlans && same_vlans(vlans, news);

	if (!has_vlans(news))
		return drop_vlans(bridges, news->device);
	if (!vlans) {
		vlans = calloc(1, sizeof(*vlans));
		if (!vlans)
			return false;
		*at = vlans;
	}
	next = vlans->next;
	*vlans = *news;
	vlans->next = next;
	vlans->dumped = true;
	return !same;
}

static void add_vlans(struct bridge_vlans *vlans, uint16_t first, uint16_t last, uint16_t flags)
{
	for (uint16_t vlan = first; vlan <= last; vlan++) {
		set_vlan(vlans->member, vlan);
		if (flags & BRIDGE_VLAN_INFO_UNTAGGED)
			set_vlan(vlans->untagged, vlan);
	}
	if (flags & BRIDGE_VLAN_INFO_PVID)
		vlans->pvid = first;
}

#define RANGE_FLAGS (BRIDGE_VLAN_INFO_RANGE_BEGIN | BRIDGE_VLAN_INFO_RANGE_END)

/* A VLAN, or one end of a range of them. Returns false if it makes no sense. */
static bool parse_info(const struct nlattr *attribute, struct bridge_vlans *vlans,
		       struct bridge_vlan_info *begin)
{
	struct bridge_vlan_info info;
	uint16_t range;

	if (mnl_attr_get_payload_len(attribute) != sizeof(info))
		return false;
	memcpy(&info, mnl_attr_get_payload(attribute), sizeof(info));
	range = info.flags & RANGE_FLAGS;
	if (!info.vid || info.vid > VLAN_MAX || (range && info.flags & BRIDGE_VLAN_INFO_PVID))
		return false;
	if (range == BRIDGE_VLAN_INFO_RANGE_BEGIN && !begin->vid) {
		*begin = info;
		return true;
	}
	if (range == BRIDGE_VLAN_INFO_RANGE_END && begin->vid && info.vid > begin->vid) {
		add_vlans(vlans, begin->vid, info.vid, info.flags);
		begin->vid = 0;
		return true;
	}
	if (range || begin->vid)
		return false;
	add_vlans(vlans, info.vid, info.vid, info.flags);
	return true;
}

/*
 * The VLANs that a message lists. Returns false if it is about something else: a NIC with a
 * switch of its own (flags, mode), or a protocol's state (MRP, CFM).
 */
static bool parse_vlans(const struct nlattr *nest, struct bridge_vlans *vlans)
{
	struct bridge_vlan_info begin = { 0 };
	bool listed = false, other = false, sound = true;
	const struct nlattr *attribute;

	if (!nest)
		return true;
	mnl_attr_for_each_nested(attribute, nest) {
		uint16_t type = mnl_attr_get_type(attribute);

		if (type == IFLA_BRIDGE_VLAN_INFO) {
			listed = true;
			sound = sound && parse_info(attribute, vlans, &begin);
		} else if (type != IFLA_BRIDGE_VLAN_TUNNEL_INFO) {
			other = true;
		}
	}
	if (!sound || begin.vid) { /* a member of nothing that is known for certain */
		memset(vlans->member, 0, sizeof(vlans->member));
		return true;
	}
	return listed || !other;
}

/* The device is gone, or no longer a port: so are the hosts behind it. */
static bool drop_device(struct bridges *bridges, uint32_t device)
{
	bool changed = drop_vlans(bridges, device);

	for (size_t i = 0; i < BRIDGE_HOST_BUCKETS; i++) {
		struct bridge_host **at = &bridges->host[i];

		while (*at) {
			if ((*at)->port == device || (*at)->bridge == device) {
				drop_host(bridges, at);
				changed = true;
			} else {
				at = &(*at)->next;
			}
		}
	}
	return changed;
}

static bool device_event(struct bridges *bridges, const struct nlmsghdr *message)
{
	const struct nlattr *table[IFLA_MAX + 1];
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	struct bridge_vlans news = { 0 };

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) || header->ifi_index <= 0)
		return false;
	news.device = (uint32_t)header->ifi_index;
	if (message->nlmsg_type == RTM_DELLINK)
		return drop_device(bridges, news.device);
	if (header->ifi_family != AF_BRIDGE)
		return false;
	rtnl_attributes(message, sizeof(*header), table, IFLA_MAX);
	return parse_vlans(table[IFLA_AF_SPEC], &news) && store_vlans(bridges, &news);
}

static const struct bridge_vlans *vlans_of(const struct bridges *bridges, uint32_t device)
{
	const struct bridge_vlans *vlans = bridges->vlans[device % BRIDGE_VLAN_BUCKETS];

	while (vlans && vlans->device != device)
		vlans = vlans->next;
	return vlans;
}

bool bridges_has_vlan(const struct bridges *bridges, uint32_t device, uint16_t vlan, bool *untagged)
{
	const struct bridge_vlans *vlans = vlans_of(bridges, device);
	bool member = vlans && vlan && vlan <= VLAN_MAX && test_vlan(vlans->member, vlan);

	*untagged = member && test_vlan(vlans->untagged, vlan);
	return member;
}

uint16_t bridges_pvid(const struct bridges *bridges, uint32_t device)
{
	const struct bridge_vlans *vlans = vlans_of(bridges, device);

	return vlans ? vlans->pvid : 0;
}

/* ---- Both -------------------------------------------------------------------- */

bool bridges_event(struct bridges *bridges, const struct nlmsghdr *message)
{
	switch (message->nlmsg_type) {
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		return host_event(bridges, message);
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return device_event(bridges, message);
	default:
		return false;
	}
}

static int dump_one(const struct nlmsghdr *message, void *data)
{
	bridges_event(data, message);
	return MNL_CB_OK;
}

static void unmark(struct bridges *bridges)
{
	for (size_t i = 0; i < BRIDGE_HOST_BUCKETS; i++)
		for (struct bridge_host *host = bridges->host[i]; host; host = host->next)
			host->dumped = false;
	for (size_t i = 0; i < BRIDGE_VLAN_BUCKETS; i++)
		for (struct bridge_vlans *vlans = bridges->vlans[i]; vlans; vlans = vlans->next)
			vlans->dumped = false;
}

static void drop_undumped(struct bridges *bridges)
{
	for (size_t i = 0; i < BRIDGE_HOST_BUCKETS; i++) {
		struct bridge_host **at = &bridges->host[i];

		while (*at) {
			if ((*at)->dumped)
				at = &(*at)->next;
			else
				drop_host(bridges, at);
		}
	}
	for (size_t i = 0; i < BRIDGE_VLAN_BUCKETS; i++) {
		struct bridge_vlans *vlans = bridges->vlans[i];

		while (vlans) {
			struct bridge_vlans *next = vlans->next;

			if (!vlans->dumped)
				drop_vlans(bridges, vlans->device);
			vlans = next;
		}
	}
}

static int dump_hosts(struct bridges *bridges, struct rtnl *rtnl)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ndmsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	request->nlmsg_type = RTM_GETNEIGH;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->ndm_family = AF_BRIDGE;
	return rtnl_request(rtnl, request, dump_one, bridges);
}

static int dump_vlans(struct bridges *bridges, struct rtnl *rtnl)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(request, sizeof(*header));

	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->ifi_family = AF_BRIDGE;
	/* Ranges, as in events: 4,094 single VLANs do not fit a message. */
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN_COMPRESSED);
	return rtnl_request(rtnl, request, dump_one, bridges);
}

int bridges_dump(struct bridges *bridges, struct rtnl *rtnl)
{
	int err = -EINTR;

	for (int tries = 0; err == -EINTR && tries < DUMP_TRIES; tries++) {
		unmark(bridges);
		err = dump_hosts(bridges, rtnl);
		err = err ? err : dump_vlans(bridges, rtnl);
	}
	drop_undumped(bridges);
	return err;
}

void bridges_free(struct bridges *bridges)
{
	unmark(bridges);
	drop_undumped(bridges);
}
