/* SPDX-License-Identifier: GPL-2.0-only */
/* The network devices, in memory: a dump at start, kept true by events. */
#ifndef BPFW_LINK_H
#define BPFW_LINK_H

#include <linux/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "rtnl.h"

#define LINK_KIND_LEN 24
#define LINK_QDISC_LEN 16

/* Does the device take frames that XDP redirects to it? Found out when first needed. */
enum xdp_target {
	XDP_TARGET_UNKNOWN,
	XDP_TARGET_YES,
	XDP_TARGET_NO,
};

/* What a VLAN device tags with (kind "vlan"). */
struct link_vlan {
	uint16_t id;         /* 0: the device is no VLAN device */
	bool service;        /* 802.1ad, else 802.1Q */
	bool maps_priority;  /* one of the two maps below is not all zero */
	uint32_t ingress[8]; /* skb priority by the tag's PCP */
	uint8_t egress[16];  /* PCP by skb priority; higher priorities map to 0 here */
};

/* Kind "bridge". */
struct link_bridge {
	bool vlan_filtering;
	bool service; /* filters 802.1ad tags, else 802.1Q */
	uint16_t default_pvid;
};

/* A port of a bridge, as the bridge sees it. */
struct link_bridge_port {
	bool forwarding; /* STP state; a port without STP forwards */
	bool special;    /* isolated, locked, VLAN tunnel, ...: left to the stack */
	bool hairpin;    /* may send back where it received */
};

struct link {
	struct link *next; /* in its bucket */
	uint32_t ifindex;
	uint32_t flags; /* IFF_* */
	uint32_t mtu;
	uint32_t master; /* ifindex of a bridge, bond or VRF, 0 if none */
	uint32_t lower;  /* ifindex of the device below (VLAN, macvlan), 0 if none or elsewhere */
	uint16_t type;   /* ARPHRD_* */
	uint8_t switch_tag;  /* user port of a DSA switch: enum switch_tag */
	uint8_t switch_port; /* and its number there */
	uint8_t mac[6];
	char name[IFNAMSIZ];
	char kind[LINK_KIND_LEN];   /* "veth", "bridge", ... empty for hardware */
	char qdisc[LINK_QDISC_LEN]; /* "noqueue", "fq_codel", ... */
	struct link_vlan vlan;
	struct link_bridge bridge;
	struct link_bridge_port bridge_port; /* if the master is a bridge */
	enum xdp_target xdp_target;
	bool in_path; /* a flow may pass through the device */
	bool dumped;  /* seen by the dump under way */
};

#define LINK_BUCKETS 256

struct links {
	struct link *bucket[LINK_BUCKETS];
};

/* Learn all devices. Returns 0 or -errno. Devices that are gone are forgotten. */
int links_dump(struct links *links, struct rtnl *rtnl);
void links_free(struct links *links);

struct link *links_find(const struct links *links, uint32_t ifindex);
struct link *links_find_name(const struct links *links, const char *name);

/* Ask the kernel itself, ahead of the events: false only if it says that there is none. */
bool link_exists(uint32_t ifindex);

/* The VLAN device with this tag on top of the device, NULL if there is none. */
struct link *links_find_vlan(const struct links *links, uint32_t lower, uint16_t id, bool service);

/* Call `each` for all devices, which must not add or remove any. */
void links_each(const struct links *links, void (*each)(void *context, struct link *link),
		void *context);

/* The device is of this kind ("bridge", "vlan", "ppp", ...). */
bool link_is(const struct link *link, const char *kind);

/* What an event did to a device. */
enum link_change {
	LINK_SAME,    /* nothing that matters to forwarding */
	LINK_CHANGED, /* new, or another MAC, MTU, master, type or state */
	LINK_GONE,
};

/* Apply an event. `ifindex` is set to the device's, 0 if the message makes no sense. */
enum link_change links_event(struct links *links, const struct nlmsghdr *message,
			     uint32_t *ifindex);

/* Is the device up with a carrier, as far as the kernel knows? */
bool link_running(const struct link *link);

/*
 * Does the device carry bare IP packets, from and to anywhere? A tunnel without a fixed
 * peer is not among them: it asks the route that the stack attaches to the packet.
 */
bool link_is_bare(const struct link *link);

/* Does the device carry Ethernet frames with a MAC of its own? */
bool link_is_ethernet(const struct link *link);

#endif /* BPFW_LINK_H */
