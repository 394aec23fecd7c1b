/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the kernel's nat table is going to send the first packet of a connection: its rules are a
 * walk of their own, in front of the filter's.
 */
#ifndef BPFW_FILTER_NAT_H
#define BPFW_FILTER_NAT_H

#include "filter_maps.h"
#include "filter_packet.h"

/* As walk->nat is while the packet is in a program whose ruleset has such rules. */
static __always_inline bool nat_is(const struct filter_walk *walk, enum filter_nat nat)
{
	return nat_chain && walk->nat == nat;
}

/* The address of the device that it came in by; where there is none known, it keeps its own. */
static __always_inline bool redirect(struct filter_walk *walk)
{
	const struct filter_device *device = bpf_map_lookup_elem(&devices, &walk->in);
	bool changed = false;

	walk->nat = FILTER_NAT_REDIRECTED;
	if (!device ||
	    !(device->address[0] | device->address[1] | device->address[2] | device->address[3]))
		return false;
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		changed |= walk->destination[i] != device->address[i];
		walk->destination[i] = device->address[i];
	}
	return changed;
}

static __always_inline bool change_address(struct filter_walk *walk,
					   const struct filter_translation *to)
{
	bool changed = false;

	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		const __be32 word = (walk->destination[i] & to->keep[i]) | to->address[i];

		changed |= walk->destination[i] != word;
		walk->destination[i] = word;
	}
	return changed;
}

/* nf_nat_setup_info(): a connection that keeps its ends is not one that was translated. */
static __always_inline void translate(struct filter_walk *walk)
{
	const __u32 number = walk->translation;
	const struct filter_translation *to = bpf_map_lookup_elem(&translations, &number);
	bool changed;

	walk->nat = FILTER_NAT_DONE;
	if (!number || !to)
		return;
	changed = to->redirects ? redirect(walk) : change_address(walk, to);
	if (to->port && walk->has_ports) {
		changed |= walk->destination_port != to->port;
		walk->destination_port = to->port;
	}
	if (changed)
		walk->state |= FILTER_STATE_DNAT;
}

#endif /* BPFW_FILTER_NAT_H */
