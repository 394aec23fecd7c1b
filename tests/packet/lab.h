/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs under test: loaded by the daemon's own code, run frame by frame through
 * BPF_PROG_TEST_RUN. The network namespace with the interfaces that the runs name has
 * no name itself: it ends with the process, however that ends.
 */
#ifndef BPFW_TEST_LAB_H
#define BPFW_TEST_LAB_H

#include "datapath.h"
#include "frame.h"
#include "untag.h"

enum lab_hook {
	LAB_XDP,
	LAB_TC,
	LAB_HOOKS,
};

extern const char *const lab_hook_names[LAB_HOOKS];

/* The router's two interfaces: what they are called, and who is out there. */
enum lab_side_id {
	LAN,
	WAN,
	LAB_SIDES,
};

struct lab_side {
	uint32_t ifindex;
	uint32_t host;    /* ifindex of the other end of the wire */
	uint8_t mac[6];   /* the router's, as it is made known to the programs */
	uint8_t upper[6]; /* another one of the router's, as of a bridge above */
	uint8_t peer[6];  /* the host's or next hop's */
};

#define LAB_SIGNALS 64

struct lab {
	struct datapath datapath;
	struct untag untag;
	struct lab_side side[LAB_SIDES];
	uint32_t elsewhere; /* ifindex of a third interface, which is no port */
	uint64_t exits[EXIT_REASONS];
	struct bpfw_signal signal[LAB_SIGNALS]; /* the last ones read */
	unsigned int signals;                   /* how many since lab_forget_signals() */
	bool no_xdp_runs;                       /* this kernel takes no ingress for them */
};

/* One direction of a flow as the tests see it. */
struct lab_flow {
	struct tuple from; /* as it comes in */
	struct tuple to;   /* as it goes out */
	enum lab_side_id ingress;
	enum lab_side_id egress;
	uint16_t mtu;
	uint8_t verdict; /* enum flow_verdict */
	uint8_t wscale;
	struct encapsulation link_in; /* of the tags' TCI only the VLAN id counts */
	struct encapsulation link_out;
	uint8_t pcp_tag; /* which outgoing tag's priority is set: 1 the outermost, 0 none */
	uint32_t pcp;
	uint32_t user_port;    /* ifindex in the key where the ingress is a conduit, else 0 */
	uint8_t switch_egress; /* as in struct bpfw_action */
};

enum lab_verdict {
	VERDICT_PASS,
	VERDICT_REDIRECT,
	VERDICT_DROP,
	VERDICT_OTHER,
};

/*
 * How a frame comes in. Where `ingress` is 0, by the LAN side. At TC the outermost tag is
 * taken out of the frame before, as the kernel does, unless it is to be kept there.
 */
struct lab_arrival {
	uint32_t ingress;  /* ifindex */
	uint32_t gso_size; /* TC only */
	bool keep_tag;     /* TC only */
};

struct lab_outcome {
	int err; /* the kernel refused to run it: -errno */
	enum lab_verdict verdict;
	struct frame frame;           /* TC: with the tag that is beside the data */
	uint32_t priority;            /* TC: skb->priority */
	uint16_t protocol;            /* TC: skb->protocol, the EtherType in the data */
	uint64_t exits[EXIT_REASONS]; /* how far each counter went up */
};

/* Enter a namespace and load. Skips the whole program where that cannot be done. */
void lab_open(struct lab *lab, bool detect_partial);

/* The same with the XDP program that knows the tags of switches. */
void lab_open_switched(struct lab *lab);
void lab_close(struct lab *lab);

/* Have frames travel: set all interfaces up. The namespace stays silent by itself. */
void lab_go_live(struct lab *lab);

/* Take the third interface away. */
void lab_delete_elsewhere(struct lab *lab);

/* Make the router's MACs on a side known to the programs, as lab_open() does. */
void lab_set_port(struct lab *lab, enum lab_side_id id);

/* The heartbeat that the daemon gives: call it now and then. */
void lab_heartbeat(struct lab *lab);

/* As if the daemon had not been heard of for HEARTBEAT_VALID_MS. */
void lab_expire_heartbeat(struct lab *lab);

/* Can the kernel run frames through this hook? If not, the next result is a skipped one. */
bool lab_can_run(const struct lab *lab, enum lab_hook hook);

/* Where the kernel cannot run it, the same. */
void lab_run(struct lab *lab, enum lab_hook hook, const struct lab_arrival *arrival,
	     const struct frame *in, struct lab_outcome *outcome);

/* A counter as it is now, for frames that were not sent by lab_run(). */
uint64_t lab_exit_count(const struct lab *lab, int reason);

/* The counter that went up by one while all others stayed, or -1. Signals are ignored. */
int lab_only_exit(const struct lab_outcome *outcome);

const char *lab_exit_name(int reason);

void lab_install(struct lab *lab, const struct lab_flow *flow);
void lab_remove(struct lab *lab, const struct lab_flow *flow);

/* The map entry's action as it is now; aborts if there is no such entry. */
struct bpfw_action lab_action(struct lab *lab, const struct lab_flow *flow);
void lab_set_action(struct lab *lab, const struct lab_flow *flow, const struct bpfw_action *action);

/* The link of the packets of a flow as they come in. */
struct segment lab_segment(const struct lab *lab, const struct lab_flow *flow);

/* What the programs take for now, the low 32 bits. */
uint32_t lab_jiffies(const struct lab *lab);

/* The opposite direction of a flow. */
struct lab_flow lab_opposite(const struct lab_flow *flow);

/* Frames of a flow: TTL 64, ACK, and MAC addresses as its ingress side has them. */
struct frame_spec lab_frame_spec(const struct lab *lab, const struct lab_flow *flow);

/* Read what waits in the ring buffer. Returns how many signals have come in all. */
unsigned int lab_read_signals(struct lab *lab);
void lab_forget_signals(struct lab *lab);

/* As if no packet had ever missed. */
void lab_forget_candidates(struct lab *lab);

/* "192.0.2.1" or "2001:db8::1", 1234 */
struct tuple lab_tuple(uint8_t protocol, const char *src, uint16_t sport, const char *dst,
		       uint16_t dport);

/* Random numbers: seeded from BPFW_TEST_SEED, else from the clock, and said. */
void lab_seed(void);
uint32_t lab_random(void);
uint32_t lab_random_below(uint32_t limit);

#endif /* BPFW_TEST_LAB_H */
