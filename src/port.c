/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "compat.h"
#include "log.h"
#include "port.h"
#include "util.h"

/* Where the clsact filter stands, so that the next start finds a leftover. */
#define CLSACT_HANDLE 0xb9
#define CLSACT_PRIORITY 0xb9

const char *attach_mode_name(enum attach_mode mode)
{
	static const char *const names[] = {
		[ATTACH_NONE] = "not attached",     [ATTACH_XDP] = "xdp",
		[ATTACH_XDPGENERIC] = "xdpgeneric", [ATTACH_TCX] = "tc (tcx)",
		[ATTACH_CLSACT] = "tc (clsact)",
	};

	return names[mode];
}

/* ---- Which interfaces ------------------------------------------------------- */

static int refuse(const char *name, const char *why)
{
	log_error("interface '%s': %s", name, why);
	return -EINVAL;
}

static int check_interface(const char *name, const struct link *link, const struct links *links)
{
	const struct link *master;
	char text[128];

	if (!link)
		return refuse(name, "there is no such interface; 'ip link' lists those there are");
	if (link->flags & IFF_LOOPBACK)
		return refuse(name, "is the loopback, which forwards nothing; name the interfaces "
				    "between which the router forwards");
	if (link->type != ARPHRD_ETHER)
		return refuse(name, "carries no Ethernet frames, so there is no link layer to "
				    "rewrite; leave it out, its traffic goes on through the stack");
	if (!link->master)
		return 0;
	master = links_find(links, link->master);
	snprintf(text, sizeof(text),
		 "belongs to '%s', which receives in its place; name '%s' "
		 "(with --hook tc) or leave it out",
		 master ? master->name : "another device", master ? master->name : "that");
	return refuse(name, text);
}

int ports_plan(struct ports *ports, const struct options *options, const struct links *links)
{
	ports->count = 0;
	for (size_t i = 0; i < options->interfaces; i++) {
		const struct interface_option *option = &options->interface[i];
		const struct link *link = links_find_name(links, option->name);
		struct port *port = &ports->port[ports->count];
		int err = check_interface(option->name, link, links);

		if (err)
			return err;
		*port = (struct port){
			.ifindex = link->ifindex,
			.hook = option->hook,
			.link_fd = -1,
			.lock_fd = -1,
		};
		memcpy(port->name, link->name, sizeof(port->name));
		ports->count++;
	}
	return 0;
}

bool ports_want_xdp(const struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].hook != HOOK_TC)
			return true;
	return false;
}

bool ports_want_tc(const struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].hook == HOOK_TC || ports->port[i].hook == HOOK_AUTO)
			return true;
	return false;
}

bool ports_may_lack_checksums(const struct ports *ports, const struct links *links)
{
	for (size_t i = 0; i < ports->count; i++) {
		const struct link *link = links_find(links, ports->port[i].ifindex);

		/* Hardware drivers hand native XDP whole frames; virtual devices, and what
		 * an skb already went through before generic XDP (GRO), do not. */
		if (ports->port[i].hook == HOOK_XDPGENERIC || (link && link->kind[0]))
			return true;
	}
	return false;
}

struct port *ports_find(struct ports *ports, uint32_t ifindex)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].ifindex == ifindex)
			return &ports->port[i];
	return NULL;
}

/* ---- Who else is there ------------------------------------------------------ */

/*
 * An abstract socket name belongs to the network namespace and goes with the process, so
 * it can neither be left behind nor be hidden by a mount namespace.
 */
static int lock_port(struct port *port)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int len;

	if (fd < 0)
		return -errno;
	len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "bpfw.port.%u",
		       port->ifindex);
	if (bind(fd, (struct sockaddr *)&address,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len)))
		return -errno;
	port->lock_fd = take_fd(&fd);
	return 0;
}

/* "program 'NAME' (id N)" */
static void describe_program(uint32_t id, char *text, size_t size)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd >= 0 && !bpf_prog_get_info_by_fd(fd, &info, &len))
		snprintf(text, size, "program '%s' (id %u)", info.name, id);
	else
		snprintf(text, size, "a program (id %u)", id);
}

static uint32_t attached_xdp(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	if (bpf_xdp_query((int)ifindex, 0, &query))
		return 0;
	if (query.drv_prog_id)
		return query.drv_prog_id;
	return query.skb_prog_id ? query.skb_prog_id : query.prog_id;
}

/* What the device can do with XDP (enum netdev_xdp_act), 0 where the kernel does not say. */
static uint64_t xdp_features(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	return bpf_xdp_query((int)ifindex, 0, &query) ? 0 : query.feature_flags;
}

/* The first program of that name at tcx ingress, 0 if there is none. */
static uint32_t attached_tcx(uint32_t ifindex, const char *name)
{
	uint32_t ids[64];
	LIBBPF_OPTS(bpf_prog_query_opts, query, .prog_ids = ids, .count = ARRAY_SIZE(ids));

	if (bpf_prog_query_opts((int)ifindex, COMPAT_BPF_TCX_INGRESS, &query))
		return 0;
	for (uint32_t i = 0; i < query.count && i < ARRAY_SIZE(ids); i++) {
		_cleanup_close_ int fd = bpf_prog_get_fd_by_id(ids[i]);
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);

		if (fd >= 0 && !bpf_prog_get_info_by_fd(fd, &info, &len) &&
		    !strcmp(info.name, name))
			return ids[i];
	}
	return 0;
}

/* The filter that bpfw puts where there is no tcx; 0 if there is none. */
static uint32_t attached_clsact(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	return bpf_tc_query(&hook, &filter) ? 0 : filter.prog_id;
}

/* The interface is locked by another bpfw: say which of its programs is there. */
static int refuse_second(const struct port *port)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (!id)
		id = attached_tcx(port->ifindex, "bpfw_tc");
	if (!id)
		id = attached_clsact(port->ifindex);
	if (id)
		describe_program(id, program, sizeof(program));
	else
		snprintf(program, sizeof(program), "its programs");
	log_error("interface '%s': another bpfw has attached %s there; stop it first, or name "
		  "other interfaces",
		  port->name, program);
	return -EEXIST;
}

/* ---- Attaching -------------------------------------------------------------- */

static int attach_xdp(struct port *port, const struct datapath *datapath, enum attach_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, create,
		    .flags = mode == ATTACH_XDP ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int fd = bpf_link_create(datapath_xdp_fd(datapath), (int)port->ifindex, BPF_XDP, &create);

	if (fd < 0)
		return fd;
	port->link_fd = fd;
	port->mode = mode;
	return 0;
}

static int attach_clsact(struct port *port, const struct datapath *datapath)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)port->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY,
		    .prog_fd = datapath_tc_fd(datapath), .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	port->created_clsact = !err;
	err = bpf_tc_attach(&hook, &filter);
	if (err)
		return err;
	port->mode = ATTACH_CLSACT;
	return 0;
}

static void detach_clsact(const struct port *port)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)port->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_HANDLE, .priority = CLSACT_PRIORITY);

	bpf_tc_detach(&hook, &filter);
	if (!port->created_clsact)
		return;
	/* Both directions at once: the whole qdisc, but only if it came with us. */
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
}

/* The port stays locked. */
static void detach_port(struct port *port)
{
	if (port->mode == ATTACH_CLSACT)
		detach_clsact(port);
	if (port->link_fd >= 0)
		close(port->link_fd);
	port->link_fd = -1;
	port->mode = ATTACH_NONE;
}

static int attach_tc(struct port *port, const struct datapath *datapath)
{
	int fd = bpf_link_create(datapath_tc_fd(datapath), (int)port->ifindex,
				 COMPAT_BPF_TCX_INGRESS, NULL);

	if (fd >= 0) {
		port->link_fd = fd;
		port->mode = ATTACH_TCX;
		return 0;
	}
	/* tcx came with 6.6; before, the kernel does not know the attach type. */
	if (fd != -EINVAL && fd != -EOPNOTSUPP)
		return fd;
	return attach_clsact(port, datapath);
}

static int explain_xdp(const struct port *port, int err)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (id) {
		describe_program(id, program, sizeof(program));
		log_error("interface '%s': the XDP %s is attached there, and the kernel takes "
			  "only one; detach it ('ip link set dev %s xdp off') or use --iface "
			  "%s:tc",
			  port->name, program, port->name, port->name);
	} else {
		log_error("interface '%s': cannot attach XDP: %s; the driver may not support it, "
			  "or not with this MTU: use --iface %s:tc",
			  port->name, strerror(-err), port->name);
	}
	return err;
}

/* XDP native where the driver can, unless a program of somebody else's is there. */
static int attach_auto(struct port *port, const struct datapath *datapath)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (!id)
		return attach_xdp(port, datapath, ATTACH_XDP);
	describe_program(id, program, sizeof(program));
	log_warn("interface '%s': the XDP %s is attached there: using TC", port->name, program);
	return -EBUSY;
}

static int attach_tc_logged(struct port *port, const struct datapath *datapath)
{
	int err = attach_tc(port, datapath);

	if (err)
		log_error("interface '%s': cannot attach at TC: %s; it needs tcx (Linux 6.6) or "
			  "the clsact qdisc (kmod-sched-core, kmod-sched-bpf)",
			  port->name, strerror(-err));
	return err;
}

/*
 * What comes in by XDP can leave only by devices that take XDP's frames. So one interface
 * that cannot do XDP moves all the automatic ones to TC, lest each flow be offloaded in one
 * direction only.
 */
static int move_auto_to_tc(struct ports *ports, const struct datapath *datapath)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		int err;

		if (port->hook != HOOK_AUTO || port->lock_fd < 0)
			continue;
		detach_port(port);
		err = attach_tc_logged(port, datapath);
		if (err)
			return err;
	}
	ports->auto_is_tc = true;
	return 0;
}

static int attach_port(struct ports *ports, struct port *port, const struct datapath *datapath)
{
	int err = lock_port(port);

	if (err == -EADDRINUSE)
		return refuse_second(port);
	if (err) {
		log_error("interface '%s': cannot lock it: %s", port->name, strerror(-err));
		return err;
	}
	switch (port->hook) {
	case HOOK_XDP:
	case HOOK_XDPGENERIC:
		err = attach_xdp(port, datapath,
				 port->hook == HOOK_XDP ? ATTACH_XDP : ATTACH_XDPGENERIC);
		return err ? explain_xdp(port, err) : 0;
	case HOOK_AUTO:
		if (ports->auto_is_tc)
			return attach_tc_logged(port, datapath);
		err = attach_auto(port, datapath);
		return err ? move_auto_to_tc(ports, datapath) : 0;
	default:
		return attach_tc_logged(port, datapath);
	}
}

/* A veth loses redirected frames if its peer does not poll; older kernels do not tell. */
static void warn_of_silent_veth(const struct port *port, const struct link *link)
{
	if (!link || port->mode != ATTACH_XDP || strcmp(link->kind, "veth") ||
	    xdp_features(port->ifindex))
		return;
	log_warn("interface '%s': this kernel (before 6.3) does not say whether a veth takes "
		 "frames from XDP: switch GRO on at its peer, or use --iface %s:tc",
		 port->name, port->name);
}

/* Flows will leave by the ports: ask now what they take, not when the first flow waits. */
static void prime_targets(const struct ports *ports, struct datapath *datapath,
			  const struct links *links)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct link *link = links_find(links, ports->port[i].ifindex);

		log_info("interface '%s': attached at %s", ports->port[i].name,
			 attach_mode_name(ports->port[i].mode));
		warn_of_silent_veth(&ports->port[i], link);
		for (size_t j = 0; link && j < ports->count; j++)
			port_can_redirect(ports, &ports->port[j], link, datapath);
	}
}

int ports_attach(struct ports *ports, struct datapath *datapath, const struct links *links)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		const struct link *link = links_find(links, port->ifindex);
		int err = attach_port(ports, port, datapath);

		if (!err && link)
			err = datapath_set_port(datapath, port->ifindex, link->mac);
		if (err) {
			ports_detach(ports);
			return err;
		}
		if (link && !(link->flags & IFF_UP))
			log_warn("interface '%s' is down: attached all the same, its flows follow "
				 "when it comes up",
				 port->name);
	}
	prime_targets(ports, datapath, links);
	return 0;
}

void ports_detach(struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];

		detach_port(port);
		if (port->lock_fd >= 0)
			close(port->lock_fd);
		port->lock_fd = -1;
	}
}

/* ---- Redirecting ------------------------------------------------------------ */

/*
 * The kernel says since 6.3 what a device can do with XDP. Before, the features of every
 * device read as none, that of one with native XDP attached as well: then only a device
 * that does native XDP itself, as a port of ours, is taken for one that takes frames.
 */
static bool takes_xdp_frames(const struct ports *ports, const struct port *ingress, uint32_t egress)
{
	if (xdp_features(egress) & COMPAT_NETDEV_XDP_ACT_NDO_XMIT)
		return true;
	if (xdp_features(ingress->ifindex))
		return false;
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].ifindex == egress)
			return ports->port[i].mode == ATTACH_XDP;
	return false;
}

/* Ask, and remember the answer. A device that flows can leave by from XDP is made known. */
static void learn_target(const struct ports *ports, const struct port *ingress, struct link *egress,
			 struct datapath *datapath)
{
	bool takes = takes_xdp_frames(ports, ingress, egress->ifindex);

	if (datapath_add_egress(datapath, egress->ifindex))
		return;
	egress->xdp_target = takes ? XDP_TARGET_YES : XDP_TARGET_NO;
}

bool port_can_redirect(const struct ports *ports, const struct port *ingress, struct link *egress,
		       struct datapath *datapath)
{
	if (ingress->mode == ATTACH_TCX || ingress->mode == ATTACH_CLSACT)
		return true;
	if (ingress->mode == ATTACH_NONE)
		return false;
	if (egress->xdp_target == XDP_TARGET_UNKNOWN)
		learn_target(ports, ingress, egress, datapath);
	if (egress->xdp_target == XDP_TARGET_UNKNOWN)
		return false;
	/* Generic XDP sends an skb, as the stack would: any device will do. */
	return ingress->mode == ATTACH_XDPGENERIC || egress->xdp_target == XDP_TARGET_YES;
}

static const struct port *first_native_port(const struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].mode == ATTACH_XDP)
			return &ports->port[i];
	return NULL;
}

void ports_review_targets(const struct ports *ports, const struct links *links,
			  struct datapath *datapath,
			  void (*changed)(void *context, const struct link *link), void *context)
{
	const struct port *ingress = first_native_port(ports);

	for (size_t i = 0; ingress && i < LINK_BUCKETS; i++) {
		for (struct link *link = links->bucket[i]; link; link = link->next) {
			enum xdp_target before = link->xdp_target;

			if (before == XDP_TARGET_UNKNOWN)
				continue;
			learn_target(ports, ingress, link, datapath);
			if (link->xdp_target != before)
				changed(context, link);
		}
	}
}
