/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The plan: which ports the named interfaces stand on, what is to be attached there, and
 * what is left out for which reason. Computed from what is known in memory; nothing is
 * attached here (port.h does that).
 */
#ifndef BPFW_PLAN_H
#define BPFW_PLAN_H

#include "layout.h"
#include "link.h"
#include "options.h"
#include "pppoe.h"

#define MAX_PORTS 128

/* What the kernel has to be asked for; tests answer themselves. */
struct plan_probes {
	/* IPv4 or IPv6 is forwarded from this interface. */
	bool (*forwards)(void *context, const struct link *link);
	/* The port's hardware takes VLAN tags out of the frames that it hands over. */
	bool (*strips_vlans)(void *context, const struct link *link);
	/* A veth, and the kernel does not say whether it takes frames from XDP. */
	bool (*hides_xdp_target)(void *context, const struct link *link);
	/* XDP would meet frames there that the loaded program was not made for. */
	bool (*unfit_for_xdp)(void *context, const struct link *link);
	void *context;
};

struct plan_port {
	uint32_t ifindex;
	char name[IFNAMSIZ];
	char interface[IFNAMSIZ]; /* that named it, the first of those with the hook below */
	enum hook hook;           /* as asked for; HOOK_TC where nothing else is possible */
	bool strips_vlans;        /* XDP: stripping is to be switched off first */
	bool bare;                /* without a link layer */
	bool tags_from_peer;      /* a veth, whose peer may leave tags beside the frame */
	struct bpfw_port receives;
	uint32_t conduit;             /* of a switch's port: where its frames are met, else 0 */
	struct bpfw_conduit switched; /* a conduit: the switch's ports behind it */
};

struct plan {
	struct bpfw_plan_row row[PLAN_ROWS]; /* with the mode that is to be tried */
	size_t rows;
	struct plan_port port[MAX_PORTS];
	size_t ports;
	size_t existing;      /* named interfaces that exist */
	size_t waiting;       /* rows that may get a port later */
	bool auto_is_tc;      /* an automatic port cannot do XDP: all of them go to TC */
	bool truncated;       /* there was more than fits */
	bool switched;        /* there are conduits of switches among the ports */
	char cpus[CPUS_TEXT]; /* that flows are spread over at XDP, empty: none */
	bool only_wires;      /* all ports are hardware, and will be as long as they exist */
};

/*
 * Compute the plan anew. `auto_is_tc` says that the automatic ports have gone to TC
 * already, where they stay.
 */
void plan_make(struct plan *plan, const struct options *options, const struct links *links,
	       const struct pppoe_sessions *sessions, const struct plan_probes *probes,
	       bool auto_is_tc);

/* An automatic port could not do XDP after all. */
void plan_move_to_tc(struct plan *plan);

/* Would the same be attached, and the same be shown? */
bool plan_equal(const struct plan *a, const struct plan *b);

/* Nothing can be attached, now or later: log why. Returns 0 or -errno. */
int plan_check(const struct plan *plan, const struct options *options);

/* The answers of the kernel, for struct plan_probes. */
bool plan_ask_forwards(void *context, const struct link *link);
bool plan_ask_strips_vlans(void *context, const struct link *link);

const struct plan_port *plan_find_port(const struct plan *plan, uint32_t ifindex);

const char *plan_hook_name(uint8_t hook);
const char *plan_mode_name(uint8_t mode);

#endif /* BPFW_PLAN_H */
