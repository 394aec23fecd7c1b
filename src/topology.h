/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How devices are stacked: from the wire of a port up to the interface on which the
 * kernel receives the packet, and from the interface that a route names down to the port
 * and the frame that leaves there. What the kernel does with VLAN devices, bridges and
 * PPPoE on the way is decided here and nowhere else.
 */
#ifndef BPFW_TOPOLOGY_H
#define BPFW_TOPOLOGY_H

#include "bridge.h"
#include "filter/view.h"
#include "link.h"
#include "pppoe.h"
#include "tuple.h"

struct topology {
	struct links *links;
	struct bridges *bridges;
	struct pppoe_sessions *sessions;
	const struct filter_view *filter; /* or NULL */
};

/* The kernel's view of what comes in on a segment, addressed to the router. */
struct reception {
	uint32_t device;         /* ifindex of the interface that receives it */
	uint8_t mac[6];          /* frames to any other MAC are not for the router */
	uint8_t session_mac[6];  /* of the peer of the PPPoE session, if there is one */
	const struct link *vlan; /* the VLAN device that took the innermost tag, or NULL */
	bool filtered;           /* a device above the port is: it would have judged the packet */
};

/* False if the kernel would not take it, or in a way that is left to it. */
bool topology_receive(const struct topology *topology, const struct segment *segment,
		      struct reception *reception);

/* The frame that leaves for a next hop, and where. */
struct transmission {
	struct segment segment; /* what the answers come in on */
	uint32_t egress;        /* ifindex: the segment's port, or a switch's conduit below it */
	uint8_t switch_egress;  /* as in struct bpfw_action */
	uint32_t gso_egress;    /* ifindex of the ppp device, 0 if there is none */
	uint32_t mtu;           /* the least of all devices on the way, in bytes of IP */
	uint8_t tags;
	uint8_t link_len; /* 0: the device has no link layer */
	uint8_t link[LINK_HEADER_MAX];
	const struct link_vlan *priority[MAX_VLAN_TAGS]; /* who sets the tags' PCP, or NULL */
	bool filtered; /* a device above the one that the packet leaves by is */
	bool shaped;   /* a device on the way has a queueing discipline that shapes or sorts */
};

enum transmission_refusal {
	TRANSMISSION_OK,
	TRANSMISSION_UNKNOWN, /* a bridge has not learned the MAC: worth another try soon */
	TRANSMISSION_DEVICE,  /* a device is down, or of a kind that is left to the stack */
};

/* Does the interface need a next hop's MAC? PPPoE and devices without a link layer do not. */
bool topology_needs_neighbour(const struct link *device);

/*
 * From interface `ifindex` down to the port, for the next hop `mac` (NULL where none is
 * needed). With `keep_queues` (TC) it ends at the first device that shapes, which then does
 * the rest as it does for the stack; else (XDP) to->shaped tells of it.
 */
enum transmission_refusal topology_send(const struct topology *topology, uint32_t ifindex,
					const uint8_t *mac, uint8_t family, bool keep_queues,
					struct transmission *to);

#endif /* BPFW_TOPOLOGY_H */
