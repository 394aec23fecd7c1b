/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A copy of the programs in force that judges a packet as they would, and tells which rules it
 * meets. It has their constants and reads their maps, but counts for itself.
 */
#ifndef BPFW_FILTER_COPY_H
#define BPFW_FILTER_COPY_H

#include "filter/connlimit.h"
#include "filter/track.h"

struct copy {
	struct filter_bpf *filter;
	struct track track;
	struct connlimit connlimit;
	int blocked; /* a map: what the block list has dropped; -1: there is none */
};

/* Where the packet is met. */
struct copy_place {
	uint32_t in, out; /* ifindex: assumed_in, assumed_out in bpf/filter_maps.h */
	bool outgoing;    /* met where it goes out */
	bool xdp;
	uint32_t mark; /* of the packet, at TC */
};

struct copy_answer {
	bool drops;
	bool by_policy;
	bool blocked;            /* by the block list, before all rules */
	struct filter_walk walk; /* its generation is 0 if no rule was asked */
	struct filter_met met[FILTER_TRACES];
	uint32_t met_count;
};

/*
 * Make a copy of a family's ruleset of this generation. Returns 0 or -errno: -ENOENT (no rules),
 * -EAGAIN (other rules are in force by now), -EPROTO (another version has loaded them).
 */
int copy_open(struct copy *copy, uint8_t family, uint32_t generation,
	      const struct copy_place *place);

/* Judge an Ethernet frame. Returns 0 or -errno. */
int copy_judge(const struct copy *copy, const struct copy_place *place, const void *frame,
	       size_t size, struct copy_answer *answer);

void copy_close(struct copy *copy);

#endif /* BPFW_FILTER_COPY_H */
