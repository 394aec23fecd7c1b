/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The offloaded flows: learned from candidates, kept true to conntrack and routing, and
 * taken back. A flow is a conntrack entry; each of its two directions has a slot of the
 * datapath's table once its path is known.
 */
#ifndef BPFW_FLOW_H
#define BPFW_FLOW_H

#include "conntrack.h"
#include "datapath.h"
#include "deadline.h"
#include "options.h"
#include "path.h"
#include "port.h"
#include "told.h"

enum direction {
	ORIGINAL,
	REPLY,
	DIRECTIONS,
};

struct flow_direction {
	struct flow_direction *hash_next;
	struct flow *flow;
	struct tuple tuple;          /* what its packets carry when they come in */
	uint32_t slot;               /* in the datapath's table, 0 while not installed */
	struct segment segment;      /* where they come in */
	uint32_t egress;             /* ifindex of the port, 0 for a blackhole */
	uint8_t next_hop_mac[6];     /* all 0 where the egress device has no link layer */
	struct neighbour *neighbour; /* NULL for a blackhole and where none was asked for */
	struct list neighbour_user;  /* in neighbour->users */
	struct list by_mac;          /* while installed */
	struct list by_destination;
	uint8_t wscale; /* of its sender */
};

struct flow {
	struct list all;
	struct list eventless; /* while no conntrack event has been seen of it */
	struct deadline deadline;
	struct flow_direction direction[DIRECTIONS];
	uint32_t ct_id;
	uint32_t ct_status;
	uint32_t mark;
	uint32_t timeout_s; /* that an active entry of this kind has */
	uint64_t learned_ms;
	uint64_t expires_ms;   /* when conntrack drops the entry, as it was told last */
	uint64_t forged_ms;    /* when a forged FIN or RST was seen last, 0 never */
	uint64_t reset_ms;     /* when a genuine RST was seen, 0 never; packets pass since */
	uint32_t seen_in_dump; /* number of the last dump that had it */
};

/* Lists of directions that have something in common, so that a change finds them. */
#define FLOW_LISTS 1024

struct flow_prefix {
	struct address address;
	unsigned int length;
	uint8_t family;
};

/* Signals of tuples that conntrack has not told of, until its events have been read. */
#define UNTOLD_AT_ONCE 96

/* Short prefixes whose routes changed, for one walk over all flows. */
#define CHANGED_PREFIXES 16

struct flows {
	const struct options *options;
	struct datapath *datapath;
	struct conntrack *conntrack;
	struct path_context paths;
	struct ports *ports;
	struct flow_direction **bucket;
	uint32_t buckets; /* a power of two */
	struct list all;
	struct list eventless;
	uint32_t eventless_count;
	struct deadlines deadlines;
	struct told told; /* entries that no flow is for so far */
	uint32_t count;
	uint32_t max;
	uint64_t tcp_idle_ms;
	uint64_t udp_idle_ms;
	uint32_t vain;    /* lookups that may be in vain until there are more */
	uint64_t vain_ms; /* when it was raised last */
	uint32_t untold_count;
	struct bpfw_signal untold[UNTOLD_AT_ONCE];
	uint32_t timeouts[CT_TIMEOUTS];
	uint64_t timeouts_read_ms;
	uint32_t dump; /* number of the dump under way, or the last */
	uint32_t dump_entries;
	bool comparing; /* flows that the last dump did not have are being looked up */
	bool full_warned;
	struct list destination[FLOW_LISTS];
	struct list mac[FLOW_LISTS];
	struct flow_prefix changed_prefix[CHANGED_PREFIXES];
	size_t changed_prefixes;
};

/* Returns 0 or -ENOMEM. The modules and options given must outlive the table. */
int flows_init(struct flows *flows, const struct options *options, struct datapath *datapath,
	       struct conntrack *conntrack, const struct path_context *paths, struct ports *ports);

/* Take everything back, leaving conntrack's timeouts as if the stack had seen it all. */
void flows_free(struct flows *flows);

/*
 * A signal of the BPF side: a candidate, or a TCP control segment of a flow. Returns false when
 * flows_untold() must be called before the next.
 */
bool flows_signal(struct flows *flows, const struct bpfw_signal *signal);

/*
 * Go back to the candidates that conntrack had not told of, once its events have been read.
 * Returns true when some were passed over, which only happens under a flood: then it is to be
 * called no more than once a millisecond.
 */
bool flows_untold(struct flows *flows);

/* A conntrack event. */
void flows_conntrack_event(struct flows *flows, const struct ct_entry *entry, bool destroyed);

/*
 * Compare with a dump of conntrack: start, hand in every entry, finish. A flow that the
 * dump did not have is looked up again, and taken back if it is gone.
 */
void flows_dump_start(struct flows *flows);
void flows_dump_entry(struct flows *flows, const struct ct_entry *entry);
void flows_dump_finish(struct flows *flows); /* flows_work() does the rest */

/* Take flows back because what they were derived from changed; their next packet returns them. */
void flows_forget_all(struct flows *flows);
void flows_forget_excluded(struct flows *flows); /* by options that are new */
void flows_forget_link(struct flows *flows, uint32_t ifindex);
void flows_forget_mac(struct flows *flows, const uint8_t mac[6]);
void flows_forget_neighbour(struct flows *flows, struct neighbour *neighbour);

/*
 * A route of the prefix changed. Flows of short prefixes wait for flows_forget_changed(), one walk
 * for all of them: call it before flows are learned again.
 */
void flows_forget_route(struct flows *flows, uint8_t family, const struct address *address,
			unsigned int length);
void flows_forget_changed(struct flows *flows);

/* What the options say of time, when they are new. */
void flows_take_options(struct flows *flows);

/*
 * Refresh and expire what is due, and compare with a dump: a slice of it, about a millisecond.
 * True while more is to be done.
 */
bool flows_work(struct flows *flows, uint64_t now_ms);

/*
 * Entries that are older than our subscription send no events, not even when they are deleted.
 * A few of them are looked up in turn, some at each call. Too many for that need dumps of
 * conntrack, which cost less an entry.
 */
void flows_watch_eventless(struct flows *flows);
bool flows_has_eventless(const struct flows *flows);
bool flows_need_dumps(const struct flows *flows);

#endif /* BPFW_FLOW_H */
