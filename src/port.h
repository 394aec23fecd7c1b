/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interfaces that bpfw is attached to. Links are not pinned: when the process ends,
 * by whatever signal, the programs are gone (on kernels without tcx the TC filter stays,
 * passes everything once the heartbeat is stale, and is replaced by the next start).
 */
#ifndef BPFW_PORT_H
#define BPFW_PORT_H

#include "datapath.h"
#include "link.h"
#include "options.h"

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
	uint32_t ifindex;
	enum hook hook; /* as asked for */
	enum attach_mode mode;
	int link_fd; /* BPF link, -1 if none */
	int lock_fd; /* socket whose name keeps a second bpfw off the interface */
	bool created_clsact;
};

struct ports {
	struct port port[MAX_INTERFACES];
	size_t count;
	bool auto_is_tc; /* an interface that cannot do XDP is among the automatic ones */
};

/* What the interface takes, before anything is loaded. Returns 0 or -errno, logged. */
int ports_plan(struct ports *ports, const struct options *options, const struct links *links);

/* Could a port be attached as XDP, or at TC? Decides which programs are loaded. */
bool ports_want_xdp(const struct ports *ports);
bool ports_want_tc(const struct ports *ports);

/* Can frames reach XDP there whose checksum was left to hardware (checksum.h)? */
bool ports_may_lack_checksums(const struct ports *ports, const struct links *links);

/* Attach all, or none. Returns 0 or -errno, logged. */
int ports_attach(struct ports *ports, struct datapath *datapath, const struct links *links);
void ports_detach(struct ports *ports);

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
