/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/socket.h>

#include "topology.h"
#include "util.h"

/* Devices on top of each other; the kernel itself allows no more than eight. */
#define MAX_DEPTH 8

#define PPPOE_VERSION_TYPE 0x1100
#define PPP_IPV4 0x0021
#define PPP_IPV6 0x0057

struct tag {
	uint16_t id;
	bool service;
	const struct link_vlan *priority;
};

/* The tags of a frame, outermost first. */
struct tags {
	struct tag tag[MAX_VLAN_TAGS + 1];
	size_t count;
};

static bool push_tag(struct tags *tags, struct tag tag)
{
	if (tags->count == MAX_VLAN_TAGS)
		return false;
	memmove(&tags->tag[1], &tags->tag[0], tags->count * sizeof(tags->tag[0]));
	tags->tag[0] = tag;
	tags->count++;
	return true;
}

static void pop_tag(struct tags *tags)
{
	tags->count--;
	memmove(&tags->tag[0], &tags->tag[1], tags->count * sizeof(tags->tag[0]));
}

static struct tags tags_from_segment(const struct segment *segment)
{
	struct tags tags = { 0 };

	for (size_t i = 0; i < MAX_VLAN_TAGS && segment->vlan[i]; i++)
		tags.tag[tags.count++] = (struct tag){
			.id = segment->vlan[i] & VLAN_ID_MASK,
			.service = segment->vlan[i] & VLAN_SERVICE,
		};
	return tags;
}

/* A change of a device that a flow passed through takes the flow back. */
static const struct link *visit(const struct topology *topology, uint32_t ifindex)
{
	struct link *link = links_find(topology->links, ifindex);

	if (!link)
		return NULL;
	link->in_path = true;
	return link_running(link) ? link : NULL;
}

static bool is_filtered(const struct topology *topology, uint32_t ifindex)
{
	return filter_view_find(topology->filter, ifindex);
}

static bool has_link_layer(const struct link *link)
{
	return link->type == ARPHRD_ETHER;
}

/* ---- Up --------------------------------------------------------------------- */

/*
 * A frame enters the bridge by one of its ports and is addressed to the bridge itself
 * (br_handle_ingress_vlan(), br_pass_frame_up()).
 */
static bool enter_bridge(const struct topology *topology, const struct link *port,
			 const struct link *bridge, struct tags *tags)
{
	bool untagged, tagged = tags->count && tags->tag[0].service == bridge->bridge.service;
	uint16_t vlan;

	if (!port->bridge_port.forwarding || port->bridge_port.special)
		return false;
	if (!bridge->bridge.vlan_filtering)
		return true;
	if (tags->count && !tagged)
		return false; /* a foreign protocol's tag inside the PVID: left to the bridge */
	vlan = tagged ? tags->tag[0].id : bridges_pvid(topology->bridges, port->ifindex);
	if (!vlan || !bridges_has_vlan(topology->bridges, port->ifindex, vlan, &untagged) ||
	    !bridges_has_vlan(topology->bridges, bridge->ifindex, vlan, &untagged))
		return false;
	if (tagged && untagged)
		pop_tag(tags);
	else if (!tagged && !untagged)
		return push_tag(tags, (struct tag){ vlan, bridge->bridge.service, NULL });
	return true;
}

/* vrf_ip_rcv(): a VRF receives what comes in on its ports. */
static uint32_t receiver(const struct link *link)
{
	return link->master ? link->master : link->ifindex;
}

static bool receive_session(const struct topology *topology, const struct link *link,
			    const struct segment *segment, struct reception *reception)
{
	const struct pppoe_session *session =
		pppoe_by_wire(topology->sessions, link->ifindex, segment->session);

	const struct link *ppp = session ? visit(topology, session->ppp) : NULL;

	if (!ppp)
		return false;
	memcpy(reception->mac, link->mac, sizeof(reception->mac));
	memcpy(reception->session_mac, session->remote, sizeof(reception->session_mac));
	reception->device = receiver(ppp);
	reception->filtered |= is_filtered(topology, ppp->ifindex);
	return true;
}

static bool receive(const struct topology *topology, const struct segment *segment,
		    struct reception *reception)
{
	const struct link *link = visit(topology, segment->port);
	struct tags tags = tags_from_segment(segment);

	memset(reception, 0, sizeof(*reception));
	if (link && link_is_bare(link)) {
		reception->device = receiver(link);
		return !tags.count && !segment->session;
	}
	for (int depth = 0; link && has_link_layer(link) && depth < MAX_DEPTH; depth++) {
		const struct link *above = NULL;

		if (depth)
			reception->filtered |= is_filtered(topology, link->ifindex);
		/* Like __netif_receive_skb_core(): a VLAN device first, then the bridge */
		if (tags.count)
			above = links_find_vlan(topology->links, link->ifindex, tags.tag[0].id,
						tags.tag[0].service);
		if (above) {
			pop_tag(&tags);
			reception->vlan = above;
			link = visit(topology, above->ifindex);
			continue;
		}
		if (!link->master)
			break;
		above = visit(topology, link->master);
		if (link_is(above, "vrf"))
			break; /* in whose name the kernel receives: below */
		if (!link_is(above, "bridge") || !enter_bridge(topology, link, above, &tags))
			return false;
		link = above;
	}
	if (!link || !has_link_layer(link) || tags.count ||
	    (link->master && !link_is(links_find(topology->links, link->master), "vrf")))
		return false;
	if (segment->session)
		return receive_session(topology, link, segment, reception);
	memcpy(reception->mac, link->mac, sizeof(reception->mac));
	reception->device = receiver(link);
	return true;
}

bool topology_receive(const struct topology *topology, const struct segment *segment,
		      struct reception *reception)
{
	if (!receive(topology, segment, reception))
		return false;
	if (reception->device != segment->port)
		reception->filtered |= is_filtered(topology, reception->device);
	return true;
}

/* ---- Down ------------------------------------------------------------------- */

/* Queueing disciplines that the kernel puts there by itself, and that change nothing else. */
static bool is_plain_queue(const char *qdisc)
{
	static const char *const plain[] = {
		"", "noqueue", "noop", "mq", "pfifo_fast", "pfifo", "bfifo", "fq_codel", "fq",
	};

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (!strcmp(qdisc, plain[i]))
			return true;
	return false;
}

/* The way down so far. */
struct descent {
	const struct topology *topology;
	const struct link *link;
	struct tags tags;
	const struct pppoe_session *session;
	const uint8_t *mac; /* of the next hop */
	uint8_t src[6];
	bool has_src;
};

/* br_dev_xmit(): the frame comes from the bridge device itself. */
static enum transmission_refusal leave_bridge(struct descent *way)
{
	const struct link *bridge = way->link, *port;
	const struct bridges *bridges = way->topology->bridges;
	struct tag tag = { .service = bridge->bridge.service };
	bool untagged = true;
	uint32_t ifindex;

	if (!way->mac) /* a bridge without ARP: no next hop was asked for */
		return TRANSMISSION_DEVICE;
	if (bridge->bridge.vlan_filtering) {
		if (way->tags.count && way->tags.tag[0].service == tag.service) {
			tag = way->tags.tag[0];
			pop_tag(&way->tags);
		} else if (way->tags.count) {
			return TRANSMISSION_DEVICE;
		} else {
			tag.id = bridges_pvid(bridges, bridge->ifindex);
		}
		if (!tag.id || !bridges_has_vlan(bridges, bridge->ifindex, tag.id, &untagged))
			return TRANSMISSION_DEVICE;
	}
	ifindex = bridges_port(bridges, bridge->ifindex, way->mac, tag.id);
	if (!ifindex)
		return TRANSMISSION_UNKNOWN;
	port = visit(way->topology, ifindex);
	if (!port || port->master != bridge->ifindex || !port->bridge_port.forwarding ||
	    port->bridge_port.special)
		return TRANSMISSION_DEVICE;
	if (tag.id && !bridges_has_vlan(bridges, ifindex, tag.id, &untagged))
		return TRANSMISSION_DEVICE;
	if (tag.id && !untagged && !push_tag(&way->tags, tag))
		return TRANSMISSION_DEVICE;
	way->link = port;
	return TRANSMISSION_OK;
}

static enum transmission_refusal leave_vlan(struct descent *way)
{
	const struct link_vlan *vlan = &way->link->vlan;

	if (!push_tag(&way->tags, (struct tag){ vlan->id, vlan->service, vlan }))
		return TRANSMISSION_DEVICE;
	way->link = visit(way->topology, way->link->lower);
	return way->link ? TRANSMISSION_OK : TRANSMISSION_DEVICE;
}

static enum transmission_refusal leave_ppp(struct descent *way)
{
	way->session = pppoe_by_device(way->topology->sessions, way->link->ifindex);
	if (!way->session)
		return TRANSMISSION_DEVICE;
	way->mac = way->session->remote;
	way->link = visit(way->topology, way->session->lower);
	return way->link ? TRANSMISSION_OK : TRANSMISSION_DEVICE;
}

static bool is_stacked(const struct link *link)
{
	return link_is(link, "vlan") || link_is(link, "bridge") || link->type == ARPHRD_PPP;
}

static enum transmission_refusal step_down(struct descent *way)
{
	if (way->link->type == ARPHRD_PPP)
		return leave_ppp(way);
	if (!way->has_src)
		memcpy(way->src, way->link->mac, sizeof(way->src));
	way->has_src = true;
	return link_is(way->link, "bridge") ? leave_bridge(way) : leave_vlan(way);
}

static void put_word(struct transmission *to, uint16_t word)
{
	const __be16 be = htons(word);

	memcpy(&to->link[to->link_len], &be, sizeof(be));
	to->link_len += sizeof(be);
}

static void write_header(const struct descent *way, uint8_t family, struct transmission *to)
{
	memcpy(to->link, way->mac, ETH_ALEN);
	memcpy(to->link + ETH_ALEN, way->src, ETH_ALEN);
	to->link_len = 2 * ETH_ALEN;
	for (size_t i = 0; i < way->tags.count; i++) {
		const struct tag *tag = &way->tags.tag[i];

		put_word(to, tag->service ? ETH_P_8021AD : ETH_P_8021Q);
		put_word(to, tag->id);
		to->segment.vlan[i] =
			(uint16_t)(VLAN_TAGGED | tag->id | (tag->service ? VLAN_SERVICE : 0));
		to->priority[i] = tag->priority;
	}
	to->tags = (uint8_t)way->tags.count;
	if (!way->session) {
		put_word(to, family == AF_INET ? ETH_P_IP : ETH_P_IPV6);
		return;
	}
	put_word(to, ETH_P_PPP_SES);
	put_word(to, PPPOE_VERSION_TYPE);
	put_word(to, ntohs(way->session->id));
	put_word(to, 0); /* the length of each packet */
	put_word(to, family == AF_INET ? PPP_IPV4 : PPP_IPV6);
	to->segment.session = way->session->id;
	to->gso_egress = way->session->ppp;
}

bool topology_needs_neighbour(const struct link *device)
{
	return has_link_layer(device) && !(device->flags & IFF_NOARP);
}

static enum transmission_refusal end_bare(const struct link *link, struct transmission *to)
{
	to->segment.port = link->ifindex;
	to->egress = link->ifindex;
	return link_is_bare(link) ? TRANSMISSION_OK : TRANSMISSION_DEVICE;
}

static void note_device(const struct descent *way, struct transmission *to)
{
	uint32_t mtu = way->link->mtu;

	/* Tags do not count against an MTU, PPPoE's header does. */
	if (way->session && mtu > 8)
		mtu -= 8;
	if (mtu < to->mtu)
		to->mtu = mtu;
	if (!is_plain_queue(way->link->qdisc))
		to->shaped = true;
}

/* XDP sends to the conduit of a switch's port, which has no way to take XDP's frames itself. */
static enum transmission_refusal use_port(const struct descent *way, bool at_tc,
					  struct transmission *to)
{
	const struct link *port = way->link, *conduit = port;

	if (!at_tc && port->switch_tag) {
		conduit = visit(way->topology, port->lower);
		to->switch_egress =
			(uint8_t)SWITCH_EGRESS((unsigned int)port->switch_tag, port->switch_port);
	}
	if (!conduit)
		return TRANSMISSION_DEVICE;
	if (!is_plain_queue(conduit->qdisc))
		to->shaped = true;
	to->segment.port = port->ifindex;
	to->egress = conduit->ifindex;
	return TRANSMISSION_OK;
}

enum transmission_refusal topology_send(const struct topology *topology, uint32_t ifindex,
					const uint8_t *mac, uint8_t family, bool keep_queues,
					struct transmission *to)
{
	struct descent way = {
		.topology = topology,
		.link = visit(topology, ifindex),
		.mac = mac,
	};
	enum transmission_refusal refusal = TRANSMISSION_OK;

	memset(to, 0, sizeof(*to));
	to->mtu = UINT16_MAX;
	if (!way.link)
		return TRANSMISSION_DEVICE;
	for (int depth = 0;; depth++) {
		if (depth == MAX_DEPTH)
			return TRANSMISSION_DEVICE;
		note_device(&way, to);
		if (!is_stacked(way.link) || (keep_queues && to->shaped))
			break;
		/* A ppp device that is not PPPoE takes bare packets. */
		if (way.link->type == ARPHRD_PPP &&
		    !pppoe_by_device(topology->sessions, way.link->ifindex))
			break;
		to->filtered |= is_filtered(topology, way.link->ifindex);
		refusal = step_down(&way);
		if (refusal != TRANSMISSION_OK)
			return refusal;
	}
	if (!has_link_layer(way.link))
		return keep_queues ? end_bare(way.link, to) : TRANSMISSION_DEVICE;
	if (!way.mac || (way.link->flags & (IFF_LOOPBACK | IFF_NOARP)))
		return TRANSMISSION_DEVICE;
	if (!way.has_src)
		memcpy(way.src, way.link->mac, sizeof(way.src));
	write_header(&way, family, to);
	return use_port(&way, keep_queues, to);
}
