/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interfaces that bpfw is attached to. Links are not pinned: when the process ends,
 * by whatever signal, the programs are gone (on kernels without tcx the TC filter stays,
 * passes everything once the heartbeat is stale, and is replaced by the next start).
 */
#ifndef BPFW_PORT_H
#define BPFW_PORT_H

#include "datapath.h"
#include "filter/view.h"
#include "link.h"
#include "options.h"
#include "plan.h"

/* How a program is attached. */
enum attach_mode {
	ATTACH_NONE, /* not (any more) attached */
	ATTACH_XDP,
	ATTACH_XDPGENERIC,
	ATTACH_TCX,
	ATTACH_CLSACT,
};

struct port {
	char name[IFNAMSIZ];
	char interface[IFNAMSIZ]; /* that named it */
	uint32_t ifindex;
	enum hook hook; /* as planned */
	enum attach_mode mode;
	int link_fd;      /* BPF link, -1 if none */
	int lock_fd;      /* socket whose name keeps a second bpfw off the interface */
	uint32_t conduit; /* of a switch's port: where it is attached, else 0 */
	bool switched;    /* a conduit */
	bool behind;      /* the filter, which stands at XDP there: without a link of our own */
	bool created_clsact;
	bool bare;              /* without a link layer */
	bool strips_vlans;      /* XDP: the hardware's stripping has to be off */
	uint32_t stripping_off; /* enum ethtool_stripping: what was switched off here */
};

struct ports {
	struct port port[MAX_PORTS];
	size_t count;
	const struct options *options;
	const struct links *links;
	struct plan plan;                      /* that the ports above follow */
	struct plan next;                      /* the one being made */
	struct bpfw_plan_row shown[PLAN_ROWS]; /* as the map has them */
	struct filter_view filter;             /* as it was when the ports were attached */
	bool auto_is_tc; /* an interface that cannot do XDP is among the automatic ones */
	bool switched;   /* the XDP program knows the tags of switches */
	bool only_wires; /* the program was loaded for ports of hardware only */
	bool running;    /* from here on a failure is not the end */
};

/*
 * Plan, before anything is loaded. Options and links have to outlive the ports. Returns 0 or
 * -errno, logged: nothing can be attached, now or later.
 */
int ports_plan(struct ports *ports, const struct options *options, const struct links *links,
	       const struct pppoe_sessions *sessions);

/*
 * For struct plan_probes: a veth whose peer does not poll loses what XDP redirects to it, and
 * the kernel says since 6.3 only which one does.
 */
bool port_hides_xdp_target(void *context, const struct link *link);

/* Can a port be attached as XDP, or at TC, also one that comes later? What to load. */
bool ports_want_xdp(const struct ports *ports);
bool ports_want_tc(const struct ports *ports);

/* Can frames reach XDP there whose checksum was left to hardware (checksum.h)? */
bool ports_may_lack_checksums(const struct ports *ports);

/* Attach all, or none. Returns 0 or -errno, logged. */
int ports_attach(struct ports *ports, struct datapath *datapath, const struct links *links);
void ports_detach(struct ports *ports);

/* What following a change has come to. */
enum ports_change {
	PORTS_SAME,
	PORTS_MORE,  /* ports came; those that were there are as before */
	PORTS_OTHER, /* ports went, or are attached in another way */
};

/* Follow what changed: devices, their masters, MACs, PPPoE sessions, forwarding, options. */
enum ports_change ports_update(struct ports *ports, struct datapath *datapath,
			       const struct links *links, const struct pppoe_sessions *sessions);

/*
 * Has the filter come, gone or changed since, or has a load taken the fast path away from a port?
 * The ports then have to follow; before that no flow may be left in the fast path, since what is
 * right at one hook need not be at another. To be asked about once a second.
 */
bool ports_filter_changed(struct ports *ports, const struct datapath *datapath);
void ports_follow_filter(struct ports *ports, struct datapath *datapath);

/* Is the port attached at TC, whose packets pass the egress device's queueing discipline? */
bool port_is_tc(const struct port *port);

struct port *ports_find(struct ports *ports, uint32_t ifindex);

/*
 * Can a frame that came in on this port be redirected to that device? Native XDP needs a
 * device that takes frames without an skb; elsewhere they would vanish.
 */
bool port_can_redirect(const struct ports *ports, const struct port *ingress, struct link *egress,
		       struct datapath *datapath);

/*
 * The answer changes without an event (GRO switched at a veth's peer, say): ask again for
 * every device that was asked about, and report those whose answer is another now.
 */
void ports_review_targets(const struct ports *ports, const struct links *links,
			  struct datapath *datapath,
			  void (*changed)(void *context, const struct link *link), void *context);

const char *attach_mode_name(enum attach_mode mode);

#endif /* BPFW_PORT_H */
