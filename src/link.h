/* SPDX-License-Identifier: GPL-2.0-only */
/* The network devices, in memory: a dump at start, kept true by events. */
#ifndef BPFW_LINK_H
#define BPFW_LINK_H

#include <linux/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "rtnl.h"

#define LINK_KIND_LEN 24

/* Does the device take frames that XDP redirects to it? Found out when first needed. */
enum xdp_target {
	XDP_TARGET_UNKNOWN,
	XDP_TARGET_YES,
	XDP_TARGET_NO,
};

struct link {
	struct link *next; /* in its bucket */
	uint32_t ifindex;
	uint32_t flags; /* IFF_* */
	uint32_t mtu;
	uint32_t master; /* ifindex of a bridge, bond or VRF, 0 if none */
	uint16_t type;   /* ARPHRD_* */
	uint8_t mac[6];
	char name[IFNAMSIZ];
	char kind[LINK_KIND_LEN]; /* "veth", "bridge", ... empty for hardware */
	enum xdp_target xdp_target;
	bool dumped; /* seen by the dump under way */
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

/* Does the device carry Ethernet frames with a MAC of its own? */
bool link_is_ethernet(const struct link *link);

#endif /* BPFW_LINK_H */
