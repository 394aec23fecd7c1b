/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF side as the daemon sees it: load, heartbeat, signals, maps. */
#ifndef BPFW_DATAPATH_H
#define BPFW_DATAPATH_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "cpus.h"
#include "offload_map.h"
#include "tuple.h"

/* After the last heartbeat, packets take the fast path for this long at most. */
#define HEARTBEAT_VALID_MS 2000

struct datapath_config {
	uint32_t max_flows;      /* connections: each takes two entries */
	uint32_t candidate_sets; /* a power of two */
	bool detect_partial;     /* see maps.h */
	bool want_xdp;           /* which programs to load: a kernel may lack a type */
	bool want_tc;
	bool switched;           /* XDP may be attached to the conduit of a DSA switch */
	const struct cpus *cpus; /* XDP: to spread flows over; NULL or empty: none */
};

struct bpfw_bpf;
struct ring_buffer;

struct datapath {
	struct bpfw_bpf *skeleton;
	struct ring_buffer *ring;
	struct bpfw_candidate_set *candidates; /* the map's memory */
	size_t candidates_len;
	uint32_t candidate_mask;
	uint64_t candidate_seed;
	struct bpfw_daemon_counters *counters; /* the map's memory */
	struct jiffies_clock clock;
	struct offload_map map;
};

/* Returns whether it takes another one now. */
typedef bool (*signal_callback)(void *context, const struct bpfw_signal *signal);

/* Load and verify. Returns 0 or -errno; the reason has been logged. */
int datapath_load(struct datapath *datapath, const struct datapath_config *config);
void datapath_unload(struct datapath *datapath);

int datapath_xdp_fd(const struct datapath *datapath);

/* What stands behind the filter at XDP; it calls the program above for as long as this process is. */
int datapath_behind_fd(const struct datapath *datapath);
int datapath_tc_fd(const struct datapath *datapath, bool bare);

/* The cache may be trusted for HEARTBEAT_VALID_MS from now on. */
void datapath_heartbeat(struct datapath *datapath, uint64_t now_ms);

/*
 * Signals: a descriptor to poll, and a call that hands out those that are waiting, a few hundred
 * at most: the descriptor stays readable while there are more.
 */
int datapath_set_signals(struct datapath *datapath, signal_callback callback, void *context);
int datapath_signals_fd(const struct datapath *datapath);
void datapath_read_signals(struct datapath *datapath);

/* Tell the BPF side under which MACs the router receives on the port; or that it does not. */
int datapath_set_port(struct datapath *datapath, uint32_t ifindex, const struct bpfw_port *port);
int datapath_set_conduit(struct datapath *datapath, uint32_t ifindex,
			 const struct bpfw_conduit *conduit);
int datapath_clear_conduit(struct datapath *datapath, uint32_t ifindex);
int datapath_clear_port(struct datapath *datapath, uint32_t ifindex);

/* A row of what `bpfw status` shows. */
int datapath_set_plan_row(struct datapath *datapath, uint32_t index,
			  const struct bpfw_plan_row *row);

/* Let flows leave by this device from XDP. It is forgotten by itself when it is deleted. */
int datapath_add_egress(struct datapath *datapath, uint32_t ifindex);

/* Have the next packet of the tuple signalled, or none for a while. */
void datapath_arm_candidate(struct datapath *datapath, const struct tuple *tuple);
void datapath_defer_candidate(struct datapath *datapath, const struct tuple *tuple);

/* A tuple that was signalled in vain, and not put off since, is signalled at its next packet. */
void datapath_rearm_candidate(struct datapath *datapath, const struct tuple *tuple);

/* Let every tuple that was put off be signalled again: the reasons may have gone. */
void datapath_undefer_candidates(struct datapath *datapath);

/* The hash that candidates go by; the daemon uses it for its own tables as well. */
uint64_t datapath_hash(const struct datapath *datapath, const struct tuple *tuple);

static inline void datapath_count(struct datapath *datapath, enum daemon_counter counter,
				  uint64_t more)
{
	datapath->counters->count[counter] += more;
}

#endif /* BPFW_DATAPATH_H */
