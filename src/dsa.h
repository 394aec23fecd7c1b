/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DSA switches: which device is the conduit of which user port, and how frames are tagged
 * between the two. TC has nothing to do with it: the user ports are devices of their own
 * there. XDP is attached to the conduit and meets the tags (layout.h).
 */
#ifndef BPFW_DSA_H
#define BPFW_DSA_H

#include "link.h"

/*
 * Fill in link->switch_tag and link->switch_port from what the kernel says of the device:
 * `port_name` is its physical port's name ("p3"), link->lower its conduit. They stay 0 if
 * the device is no user port, or if the format of its tags is not one of ours.
 */
void dsa_identify(struct link *link, const char *port_name);

/* "mtk", "qca", "gswip" */
const char *dsa_tag_name(uint8_t tag);

#endif /* BPFW_DSA_H */
