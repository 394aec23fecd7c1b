/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <string.h>

#include "link.h"
#include "util.h"

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

static void copy_text(const struct nlattr *attribute, char *text, size_t size)
{
	size_t len = attribute ? mnl_attr_get_payload_len(attribute) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		memcpy(text, mnl_attr_get_payload(attribute), len);
	text[len] = '\0';
}

/* The device that a message describes. Returns false if it describes none. */
static bool parse_link(const struct nlmsghdr *message, struct link *link)
{
	const struct nlattr *table[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);

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
	copy_text(table[IFLA_IFNAME], link->name, sizeof(link->name));
	copy_text(info[IFLA_INFO_KIND], link->kind, sizeof(link->kind));
	if (table[IFLA_ADDRESS] && mnl_attr_get_payload_len(table[IFLA_ADDRESS]) == 6)
		memcpy(link->mac, mnl_attr_get_payload(table[IFLA_ADDRESS]), 6);
	return true;
}

static bool same_for_forwarding(const struct link *a, const struct link *b)
{
	const uint32_t flags = IFF_UP | IFF_LOWER_UP | IFF_RUNNING;

	return (a->flags & flags) == (b->flags & flags) && a->mtu == b->mtu &&
	       a->master == b->master && a->type == b->type &&
	       !memcmp(a->mac, b->mac, sizeof(a->mac)) && !strcmp(a->name, b->name);
}

static enum link_change store(struct links *links, const struct link *news)
{
	struct link *link = links_find(links, news->ifindex);
	bool same = link && same_for_forwarding(link, news);
	enum xdp_target target;
	struct link *next;

	if (!link) {
		link = calloc(1, sizeof(*link));
		if (!link)
			return LINK_SAME;
		link->next = *bucket_of(links, news->ifindex);
		*bucket_of(links, news->ifindex) = link;
	}
	next = link->next;
	target = link->xdp_target;
	*link = *news;
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

enum link_change links_event(struct links *links, const struct nlmsghdr *message, uint32_t *ifindex)
{
	struct link news;

	*ifindex = 0;
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

bool link_is_ethernet(const struct link *link)
{
	return link->type == ARPHRD_ETHER && !(link->flags & (IFF_LOOPBACK | IFF_NOARP));
}
