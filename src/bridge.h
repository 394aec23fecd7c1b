/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's bridges know, in memory: behind which port a host is (FDB), and which
 * VLANs a port, or the bridge itself, is a member of. Dumped at start, kept true by events.
 * What is not known here is left to the bridge.
 */
#ifndef BPFW_BRIDGE_H
#define BPFW_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtnl.h"

/* Hosts beyond that are not known here: anybody on a LAN can fill the kernel's FDB. */
#define BRIDGE_HOSTS_MAX 65536
#define BRIDGE_HOST_BITS 13
#define BRIDGE_HOST_BUCKETS (1 << BRIDGE_HOST_BITS)
#define BRIDGE_VLAN_BUCKETS 64
#define BRIDGE_VLAN_WORDS (4096 / 64)

/* A host behind a port. */
struct bridge_host {
	struct bridge_host *next; /* in its bucket */
	uint32_t bridge;          /* ifindex */
	uint32_t port;            /* ifindex */
	uint16_t vlan;            /* 0: the bridge does not tell VLANs apart */
	uint8_t mac[6];
	bool dumped; /* seen by the dump under way */
};

/* The VLANs of a port or of a bridge itself. */
struct bridge_vlans {
	struct bridge_vlans *next; /* in its bucket */
	uint64_t member[BRIDGE_VLAN_WORDS];
	uint64_t untagged[BRIDGE_VLAN_WORDS];
	uint32_t device; /* ifindex */
	uint16_t pvid;   /* 0: untagged frames are not let in */
	bool dumped;
};

/* All zero is an empty table. */
struct bridges {
	struct bridge_host *host[BRIDGE_HOST_BUCKETS];
	struct bridge_vlans *vlans[BRIDGE_VLAN_BUCKETS];
	size_t hosts;
	uint64_t multiplier; /* of the hash, random: nobody can choose MACs for one bucket */
};

/*
 * Learn everything anew, at start or after events were lost. Returns 0 or -errno. What the
 * kernel did not confirm is forgotten, on an error too.
 */
int bridges_dump(struct bridges *bridges, struct rtnl *rtnl);
void bridges_free(struct bridges *bridges);

/*
 * Apply an event: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWLINK or RTM_DELLINK. Those that are no
 * business of a bridge are ignored, but that a device is gone, of whatever family the message
 * is. Returns true if forwarding may differ from before: a host moved or went, or the VLANs
 * of a device changed. A host that is new is no change.
 */
bool bridges_event(struct bridges *bridges, const struct nlmsghdr *message);

/*
 * The port behind which the bridge has the MAC (vlan 0: the bridge does not filter VLANs).
 * 0 if that is unknown, or the MAC is the bridge's or a port's own.
 */
uint32_t bridges_port(const struct bridges *bridges, uint32_t bridge, const uint8_t mac[6],
		      uint16_t vlan);

/* Is the device, a port or the bridge itself, a member? `untagged`: frames leave it so. */
bool bridges_has_vlan(const struct bridges *bridges, uint32_t device, uint16_t vlan,
		      bool *untagged);

/* The VLAN of frames that enter the device untagged, 0 if it takes none. */
uint16_t bridges_pvid(const struct bridges *bridges, uint32_t device);

#endif /* BPFW_BRIDGE_H */
