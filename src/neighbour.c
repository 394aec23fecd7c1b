/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "neighbour.h"

/* NUD_VALID of the kernel's include/net/neighbour.h */
#define STATES_VALID (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

/* What a message says of an entry. */
struct report {
	uint32_t ifindex;
	uint8_t family;
	uint16_t state;
	struct address address;
	bool has_mac;
	uint8_t mac[6];
};

static struct neighbour **bucket_of(struct neighbours *neighbours, uint32_t ifindex,
				    const struct address *address)
{
	uint32_t hash = ifindex;

	for (int i = 0; i < 4; i++)
		hash = (hash ^ address->word[i]) * 0x9e3779b1U;
	return &neighbours->bucket[(hash >> 16) % NEIGHBOUR_BUCKETS];
}

static struct neighbour *find(struct neighbours *neighbours, uint32_t ifindex, uint8_t family,
			      const struct address *address)
{
	struct neighbour *neighbour = *bucket_of(neighbours, ifindex, address);

	while (neighbour && (neighbour->ifindex != ifindex || neighbour->family != family ||
			     !address_equal(&neighbour->address, address)))
		neighbour = neighbour->next;
	return neighbour;
}

static bool parse_report(const struct nlmsghdr *message, struct report *report)
{
	const struct nlattr *table[NDA_MAX + 1];
	const struct ndmsg *header = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*header) ||
	    (header->ndm_family != AF_INET && header->ndm_family != AF_INET6))
		return false;
	rtnl_attributes(message, sizeof(*header), table, NDA_MAX);
	memset(report, 0, sizeof(*report));
	report->ifindex = (uint32_t)header->ndm_ifindex;
	report->family = header->ndm_family;
	report->state = message->nlmsg_type == RTM_DELNEIGH ? NUD_NONE : header->ndm_state;
	if (!rtnl_address(table[NDA_DST], header->ndm_family, &report->address))
		return false;
	report->has_mac = table[NDA_LLADDR] && mnl_attr_get_payload_len(table[NDA_LLADDR]) == 6;
	if (report->has_mac)
		memcpy(report->mac, mnl_attr_get_payload(table[NDA_LLADDR]), 6);
	return true;
}

static int keep_report(const struct nlmsghdr *message, void *data)
{
	return parse_report(message, data) ? MNL_CB_OK : MNL_CB_ERROR;
}

static struct nlmsghdr *put_request(char *buffer, uint16_t type, uint32_t ifindex, uint8_t family,
				    const struct address *address)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ndmsg *header;

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ndm_family = family;
	header->ndm_ifindex = (int)ifindex;
	mnl_attr_put(request, NDA_DST, rtnl_address_len(family), address);
	return request;
}

/* As if a packet had gone that way: the kernel confirms the entry by a unicast probe. */
static void confirm(struct rtnl *rtnl, const struct neighbour *neighbour)
{
	char buffer[256];
	struct nlmsghdr *request = put_request(buffer, RTM_NEWNEIGH, neighbour->ifindex,
					       neighbour->family, &neighbour->address);
	struct ndmsg *header = mnl_nlmsg_get_payload(request);
	int err;

	header->ndm_flags = NTF_USE;
	request->nlmsg_flags |= NLM_F_ACK;
	err = rtnl_request(rtnl, request, NULL, NULL);
	if (err)
		log_debug("cannot have a neighbour confirmed: %s", strerror(-err));
}

static struct neighbour *insert(struct neighbours *neighbours, const struct report *report)
{
	struct neighbour **bucket = bucket_of(neighbours, report->ifindex, &report->address);
	struct neighbour *neighbour = calloc(1, sizeof(*neighbour));

	if (!neighbour)
		return NULL;
	list_init(&neighbour->users);
	neighbour->ifindex = report->ifindex;
	neighbour->family = report->family;
	neighbour->address = report->address;
	memcpy(neighbour->mac, report->mac, sizeof(neighbour->mac));
	neighbour->next = *bucket;
	*bucket = neighbour;
	return neighbour;
}

int neighbour_get(struct neighbours *neighbours, struct rtnl *rtnl, uint32_t ifindex,
		  uint8_t family, const struct address *address, struct neighbour **found)
{
	struct report report;
	char buffer[256];
	int err;

	*found = find(neighbours, ifindex, family, address);
	if (*found)
		return 0;
	err = rtnl_request(rtnl, put_request(buffer, RTM_GETNEIGH, ifindex, family, address),
			   keep_report, &report);
	if (err == -ENOENT || err == -ENXIO)
		return -EAGAIN;
	if (err)
		return err;
	if (!(report.state & STATES_VALID) || !report.has_mac)
		return -EAGAIN;
	*found = insert(neighbours, &report);
	if (!*found)
		return -ENOMEM;
	if (report.state & NUD_STALE)
		confirm(rtnl, *found);
	return 0;
}

void neighbour_release(struct neighbours *neighbours, struct neighbour *neighbour)
{
	struct neighbour **at = bucket_of(neighbours, neighbour->ifindex, &neighbour->address);

	if (!list_empty(&neighbour->users))
		return;
	while (*at != neighbour)
		at = &(*at)->next;
	*at = neighbour->next;
	free(neighbour);
}

struct neighbour *neighbours_event(struct neighbours *neighbours, struct rtnl *rtnl,
				   const struct nlmsghdr *message)
{
	struct neighbour *neighbour;
	struct report report;

	if (!parse_report(message, &report))
		return NULL;
	neighbour = find(neighbours, report.ifindex, report.family, &report.address);
	if (!neighbour)
		return NULL;
	if (!(report.state & STATES_VALID) || !report.has_mac ||
	    memcmp(report.mac, neighbour->mac, sizeof(report.mac)))
		return neighbour;
	if (report.state & NUD_STALE)
		confirm(rtnl, neighbour);
	return NULL;
}

void neighbours_free(struct neighbours *neighbours)
{
	for (size_t i = 0; i < NEIGHBOUR_BUCKETS; i++) {
		while (neighbours->bucket[i]) {
			struct neighbour *neighbour = neighbours->bucket[i];

			neighbours->bucket[i] = neighbour->next;
			free(neighbour);
		}
	}
}
