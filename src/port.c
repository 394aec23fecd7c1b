/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "clsact.h"
#include "compat.h"
#include "ethtool.h"
#include "genl.h"
#include "log.h"
#include "port.h"
#include "util.h"

const char *attach_mode_name(enum attach_mode mode)
{
	static const char *const names[] = {
		[ATTACH_NONE] = "not attached",     [ATTACH_XDP] = "xdp",
		[ATTACH_XDPGENERIC] = "xdpgeneric", [ATTACH_TCX] = "tc (tcx)",
		[ATTACH_CLSACT] = "tc (clsact)",
	};

	return names[mode];
}

static uint8_t shown_mode(enum attach_mode mode)
{
	static const uint8_t modes[] = {
		[ATTACH_NONE] = PLAN_NOT_ATTACHED,     [ATTACH_XDP] = PLAN_XDP,
		[ATTACH_XDPGENERIC] = PLAN_XDPGENERIC, [ATTACH_TCX] = PLAN_TCX,
		[ATTACH_CLSACT] = PLAN_CLSACT,
	};

	return modes[mode];
}

/* A failure at the start is the end; later it is one port less. */
#define complain(ports, ...) \
	log_message((ports)->running ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, __VA_ARGS__)

/* ---- The plan --------------------------------------------------------------- */

static bool was_stripping(void *context, const struct link *link)
{
	const struct ports *ports = context;

	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].ifindex == link->ifindex && ports->port[i].stripping_off)
			return true;
	return plan_ask_strips_vlans(NULL, link);
}

static bool is_unfit_for_xdp(void *context, const struct link *link)
{
	const struct ports *ports = context;

	if (!ports->running)
		return false;
	if (link->switch_tag)
		return !ports->switched;
	return ports->only_wires && link->kind[0];
}

/* Linux 6.3 and later say what a device can do with XDP. */
static bool kernel_tells_xdp_features(void)
{
	static enum {
		UNKNOWN,
		NO,
		YES
	} known;

	if (known == UNKNOWN)
		known = genl_has_family("netdev") ? YES : NO;
	return known == YES;
}

/* What the device can do with XDP (enum netdev_xdp_act), 0 where the kernel does not say. */
static uint64_t xdp_features(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	/* libbpf asks for the family by name; see genl.h for what that would cost every time. */
	if (!kernel_tells_xdp_features())
		return 0;
	return bpf_xdp_query((int)ifindex, 0, &query) ? 0 : query.feature_flags;
}

bool port_hides_xdp_target(void *context, const struct link *link)
{
	(void)context;
	return link_is(link, "veth") && !xdp_features(link->ifindex);
}

static void make_plan(struct ports *ports, const struct links *links,
		      const struct pppoe_sessions *sessions)
{
	const struct plan_probes probes = {
		.forwards = plan_ask_forwards,
		.strips_vlans = was_stripping,
		.hides_xdp_target = port_hides_xdp_target,
		.unfit_for_xdp = is_unfit_for_xdp,
		.context = ports,
	};

	plan_make(&ports->next, ports->options, links, sessions, &probes, ports->auto_is_tc);
}

static bool has_row(const struct plan *plan, const struct bpfw_plan_row *wanted)
{
	for (size_t i = 0; i < plan->rows; i++)
		if (!memcmp(&plan->row[i], wanted, sizeof(*wanted)))
			return true;
	return false;
}

/* The new plan, and what it says that the old one did not. */
static void take_plan(struct ports *ports)
{
	for (size_t i = 0; i < ports->next.rows; i++) {
		const struct bpfw_plan_row *row = &ports->next.row[i];
		bool named = !ports->options->automatic;

		if (row->port || has_row(&ports->plan, row))
			continue;
		log_message(named ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "interface '%s': %s%s",
			    row->path[row->depth - 1],
			    row->mode == PLAN_LEFT_OUT ? "left out: " : "", row->note);
	}
	if (ports->next.truncated && !ports->plan.truncated)
		log_warn("more than %d ports or %d paths down to them: the rest is left out",
			 MAX_PORTS, PLAN_ROWS);
	ports->plan = ports->next;
	ports->auto_is_tc = ports->plan.auto_is_tc;
}

int ports_plan(struct ports *ports, const struct options *options, const struct links *links,
	       const struct pppoe_sessions *sessions)
{
	int err;

	memset(ports, 0, sizeof(*ports));
	ports->options = options;
	ports->links = links;
	make_plan(ports, links, sessions);
	err = plan_check(&ports->next, options);
	if (err)
		return err;
	take_plan(ports);
	return 0;
}

static bool asks_for(const struct options *options, enum hook hook)
{
	for (size_t i = 0; i < options->interfaces; i++)
		if (options->interface[i].hook == hook)
			return true;
	return false;
}

/*
 * What was asked for by name has to load; what may come in handy is loaded where the
 * kernel has the type.
 */
bool ports_want_xdp(const struct ports *ports)
{
	const struct options *options = ports->options;

	return asks_for(options, HOOK_XDP) || asks_for(options, HOOK_XDPGENERIC) ||
	       (asks_for(options, HOOK_AUTO) &&
		libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_XDP, NULL) > 0);
}

bool ports_want_tc(const struct ports *ports)
{
	for (size_t i = 0; i < ports->plan.ports; i++)
		if (ports->plan.port[i].hook == HOOK_TC)
			return true;
	return libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SCHED_CLS, NULL) > 0;
}

bool ports_may_lack_checksums(const struct ports *ports)
{
	/* Hardware drivers hand native XDP whole frames; virtual devices, and what an skb
	 * already went through before generic XDP (GRO), do not. */
	return !ports->plan.only_wires || asks_for(ports->options, HOOK_XDPGENERIC);
}

bool port_is_tc(const struct port *port)
{
	return port->mode == ATTACH_TCX || port->mode == ATTACH_CLSACT;
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

	query.sz = offsetof(struct bpf_xdp_query_opts, feature_flags); /* not these */
	if (bpf_xdp_query((int)ifindex, 0, &query))
		return 0;
	if (query.drv_prog_id)
		return query.drv_prog_id;
	return query.skb_prog_id ? query.skb_prog_id : query.prog_id;
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
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FAST_PATH_HANDLE,
		    .priority = CLSACT_FAST_PATH_PRIORITY);

	return bpf_tc_query(&hook, &filter) ? 0 : filter.prog_id;
}

/* The interface is locked by another bpfw: say which of its programs is there. */
static int refuse_second(const struct ports *ports, const struct port *port)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (!id)
		id = attached_tcx(port->ifindex, port->bare ? "bpfw_tc_l3" : "bpfw_tc");
	if (!id)
		id = attached_clsact(port->ifindex);
	if (id)
		describe_program(id, program, sizeof(program));
	else
		snprintf(program, sizeof(program), "its programs");
	complain(ports,
		 "interface '%s': another bpfw has attached %s there; stop it first, or name "
		 "other interfaces",
		 port->name, program);
	return -EEXIST;
}

/* ---- Attaching -------------------------------------------------------------- */

/* With consent (--rxvlan-off), and only for as long as XDP is attached. */
static int stop_stripping(struct port *port)
{
	uint32_t which = port->strips_vlans ? ethtool_stripping(port->ifindex) : 0;
	int err;

	if (!which)
		return 0;
	err = ethtool_switch_stripping(port->ifindex, which, false);
	if (err)
		log_warn("interface '%s': its stripping of VLAN tags cannot be switched off: %s",
			 port->name, strerror(-err));
	else
		log_info("interface '%s': stripping of VLAN tags is switched off", port->name);
	port->stripping_off = err ? 0 : which;
	return err;
}

static void restore_stripping(struct port *port)
{
	if (port->stripping_off &&
	    ethtool_switch_stripping(port->ifindex, port->stripping_off, true) == -EOPNOTSUPP)
		log_warn("interface '%s': its stripping of VLAN tags cannot be switched on again",
			 port->name);
	port->stripping_off = 0;
}

static int create_xdp_link(struct port *port, int program, enum attach_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, create,
		    .flags = mode == ATTACH_XDP ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int err = stop_stripping(port), fd;

	if (err)
		return err;
	fd = bpf_link_create(program, (int)port->ifindex, BPF_XDP, &create);
	if (fd < 0) {
		restore_stripping(port);
		return fd;
	}
	port->link_fd = fd;
	port->mode = mode;
	return 0;
}

/*
 * Both directions at once: the whole qdisc, but only if it came with us, and nobody has put a
 * filter there since.
 */
static void remove_clsact(struct port *port)
{
	if (port->created_clsact && !clsact_remove_empty(port->ifindex))
		filter_view_give_qdisc(port->ifindex);
	port->created_clsact = false;
}

static int attach_clsact(struct port *port, const struct datapath *datapath)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)port->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FAST_PATH_HANDLE,
		    .priority = CLSACT_FAST_PATH_PRIORITY,
		    .prog_fd = datapath_tc_fd(datapath, port->bare), .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	port->created_clsact = !err;
	err = bpf_tc_attach(&hook, &filter);
	if (err) {
		remove_clsact(port);
		return err;
	}
	port->mode = ATTACH_CLSACT;
	return 0;
}

static void detach_clsact(struct port *port)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)port->ifindex,
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FAST_PATH_HANDLE,
		    .priority = CLSACT_FAST_PATH_PRIORITY);

	bpf_tc_detach(&hook, &filter);
	remove_clsact(port);
}

/* The port stays locked. */
static void detach_port(struct port *port)
{
	if (port->behind)
		filter_view_leave(port->ifindex);
	port->behind = false;
	if (port->mode == ATTACH_CLSACT)
		detach_clsact(port);
	if (port->link_fd >= 0)
		close(port->link_fd);
	port->link_fd = -1;
	port->mode = ATTACH_NONE;
	restore_stripping(port);
}

static int attach_tc(struct port *port, const struct datapath *datapath)
{
	int program = datapath_tc_fd(datapath, port->bare), fd;

	if (program < 0)
		return -EOPNOTSUPP; /* this kernel has no BPF at TC */
	fd = bpf_link_create(program, (int)port->ifindex, COMPAT_BPF_TCX_INGRESS, NULL);
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

static int explain_xdp(const struct ports *ports, const struct port *port, int err)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (id) {
		describe_program(id, program, sizeof(program));
		complain(ports,
			 "interface '%s': the XDP %s is attached there, and the kernel takes "
			 "only one; detach it ('ip link set dev %s xdp off') or use --iface "
			 "%s:tc",
			 port->name, program, port->name, port->interface);
	} else {
		complain(ports,
			 "interface '%s': cannot attach XDP: %s; the driver may not support it, "
			 "or not with this MTU: use --iface %s:tc",
			 port->name, strerror(-err), port->interface);
	}
	return err;
}

static int attach_tc_logged(const struct ports *ports, struct port *port,
			    const struct datapath *datapath)
{
	int err = attach_tc(port, datapath);

	if (err)
		complain(ports,
			 "interface '%s': cannot attach at TC: %s; it needs tcx (Linux 6.6) or "
			 "the clsact qdisc (kmod-sched-core, kmod-sched-bpf)",
			 port->name, strerror(-err));
	return err;
}

/* ---- Beside the filter -------------------------------------------------------- */

/* Does the filter stand at XDP there, so that the fast path can go behind it? */
static const struct filter_view_device *filter_at_xdp(const struct ports *ports, uint32_t ifindex)
{
	const struct filter_view_device *device = filter_view_find(&ports->filter, ifindex);

	return device && device->xdp_program ? device : NULL;
}

/* Are there VLAN devices or PPPoE on the port? The filter at XDP hands their frames to the stack. */
static bool has_tagged_path(const struct ports *ports, uint32_t ifindex)
{
	for (size_t i = 0; i < ports->plan.rows; i++) {
		const struct bpfw_plan_row *row = &ports->plan.row[i];

		for (uint8_t level = 0; row->port == ifindex && level < row->depth; level++) {
			const struct link *link = links_find_name(ports->links, row->path[level]);

			if (link && (link_is(link, "vlan") || link->type == ARPHRD_PPP))
				return true;
		}
	}
	return false;
}

/*
 * With a filter loaded, packets that the fast path takes at XDP have to have been judged at XDP.
 * One automatic port where they have not moves all of them to TC, for as long as the filter is
 * loaded; the reason is that of move_auto_to_tc().
 */
static bool filter_keeps_at_tc(const struct ports *ports)
{
	for (size_t i = 0; ports->filter.loaded && i < ports->plan.ports; i++) {
		const struct plan_port *planned = &ports->plan.port[i];

		if (planned->hook == HOOK_AUTO && (!filter_at_xdp(ports, planned->ifindex) ||
						   has_tagged_path(ports, planned->ifindex)))
			return true;
	}
	return false;
}

static int attach_behind(const struct ports *ports, struct port *port,
			 const struct datapath *datapath)
{
	const struct filter_view_device *device = filter_at_xdp(ports, port->ifindex);
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int err;

	/* Frames with a switch's tag are no business of the filter's, and go to the stack. */
	if (!device || port->switched)
		return -EADDRINUSE;
	query.sz = offsetof(struct bpf_xdp_query_opts, feature_flags);
	err = bpf_xdp_query((int)port->ifindex, 0, &query);
	if (err ||
	    (query.drv_prog_id != device->xdp_program && query.skb_prog_id != device->xdp_program))
		return -EADDRINUSE;
	err = filter_view_enter(port->ifindex, datapath_behind_fd(datapath));
	if (err)
		return -EADDRINUSE;
	port->behind = true;
	port->mode = query.drv_prog_id == device->xdp_program ? ATTACH_XDP : ATTACH_XDPGENERIC;
	return 0;
}

/* Returns 0 or -errno; -EADDRINUSE: it would go around the filter. */
static int attach_xdp(const struct ports *ports, struct port *port, const struct datapath *datapath,
		      enum attach_mode mode)
{
	int program = datapath_xdp_fd(datapath), err;
	struct filter_view now;

	if (program < 0)
		return -EOPNOTSUPP; /* this kernel has no XDP */
	if (ports->filter.loaded)
		return attach_behind(ports, port, datapath);
	err = create_xdp_link(port, program, mode);
	if (err)
		return err;
	/* Whoever loads a filter makes its pins, and then looks for links: one of us sees it. */
	filter_view_read(&now, ports->links);
	if (!now.loaded)
		return 0;
	detach_port(port);
	return -EADDRINUSE;
}

static int attach_tc_for_filter(const struct ports *ports, struct port *port,
				const struct datapath *datapath)
{
	log_warn(
		"interface '%s': a filter is loaded that does not meet packets at XDP there, which "
		"the fast path at XDP would go around: using TC",
		port->name);
	return attach_tc_logged(ports, port, datapath);
}

/* ---- The hook that was asked for ------------------------------------------------ */

/* XDP native where the driver can, unless a program of somebody else's is there. */
static int attach_auto(const struct ports *ports, struct port *port,
		       const struct datapath *datapath)
{
	uint32_t id = attached_xdp(port->ifindex);
	char program[96];

	if (!id || filter_at_xdp(ports, port->ifindex))
		return attach_xdp(ports, port, datapath, ATTACH_XDP);
	describe_program(id, program, sizeof(program));
	log_warn("interface '%s': the XDP %s is attached there: using TC", port->name, program);
	return -EBUSY;
}

/*
 * What comes in by XDP can leave only by devices that take XDP's frames. So one interface
 * that cannot do XDP moves all the automatic ones to TC, lest each flow be offloaded in one
 * direction only.
 */
static int move_auto_to_tc(struct ports *ports, const struct datapath *datapath)
{
	int first_err = 0;

	ports->auto_is_tc = true;
	plan_move_to_tc(&ports->plan);
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		int err;

		if (port->hook != HOOK_AUTO || port->lock_fd < 0)
			continue;
		detach_port(port);
		port->strips_vlans = false;
		err = attach_tc_logged(ports, port, datapath);
		first_err = first_err ? first_err : err;
	}
	return first_err;
}

static int attach_as_asked(struct ports *ports, struct port *port, const struct datapath *datapath)
{
	enum attach_mode mode = port->hook == HOOK_XDPGENERIC ? ATTACH_XDPGENERIC : ATTACH_XDP;
	int err;

	switch (port->hook) {
	case HOOK_XDP:
	case HOOK_XDPGENERIC:
		err = attach_xdp(ports, port, datapath, mode);
		if (err == -EADDRINUSE)
			return attach_tc_for_filter(ports, port, datapath);
		return err ? explain_xdp(ports, port, err) : 0;
	case HOOK_AUTO:
		if (ports->auto_is_tc || filter_keeps_at_tc(ports))
			return attach_tc_logged(ports, port, datapath);
		err = attach_auto(ports, port, datapath);
		if (err == -EADDRINUSE)
			return attach_tc_logged(ports, port, datapath);
		return err ? move_auto_to_tc(ports, datapath) : 0;
	default:
		return attach_tc_logged(ports, port, datapath);
	}
}

static int attach_port(struct ports *ports, struct port *port, const struct datapath *datapath)
{
	int err = lock_port(port);

	if (err == -EADDRINUSE)
		return refuse_second(ports, port);
	if (err) {
		complain(ports, "interface '%s': cannot lock it: %s", port->name, strerror(-err));
		return err;
	}
	return attach_as_asked(ports, port, datapath);
}

static void warn_of_no_spread(const struct ports *ports, const struct port *port)
{
	if (!ports->options->cpus.count || port->mode == ATTACH_XDP)
		return;
	log_warn("interface '%s' is attached at %s: --cpus does nothing there; the kernel's RPS "
		 "spreads packets over CPUs (/sys/class/net/%s/queues/rx-0/rps_cpus)",
		 port->name, attach_mode_name(port->mode), port->name);
}

static void warn_of_silent_veth(const struct port *port, const struct link *link)
{
	if (!link || port->mode != ATTACH_XDP || !port_hides_xdp_target(NULL, link))
		return;
	log_warn("interface '%s': this kernel (before 6.3) does not say whether a veth takes "
		 "frames from XDP: its peer needs GRO (before 5.13 an XDP program), or use "
		 "--iface %s:tc",
		 port->name, port->interface);
}

/* Flows will leave by the port: ask now what it takes, not when the first flow waits. */
static void prime_target(const struct ports *ports, const struct port *port,
			 struct datapath *datapath, const struct links *links)
{
	struct link *link = links_find(links, port->ifindex);

	log_info("interface '%s': attached at %s%s", port->name, attach_mode_name(port->mode),
		 port->behind ? ", behind the filter" : "");
	warn_of_silent_veth(port, link);
	warn_of_no_spread(ports, port);
	for (size_t i = 0; link && i < ports->count; i++)
		port_can_redirect(ports, &ports->port[i], link, datapath);
}

static void release_port(struct port *port)
{
	detach_port(port);
	if (port->lock_fd >= 0)
		close(port->lock_fd);
	port->lock_fd = -1;
}

static void remove_port(struct ports *ports, struct port *port, struct datapath *datapath)
{
	release_port(port);
	datapath_clear_port(datapath, port->ifindex);
	if (port->switched)
		datapath_clear_conduit(datapath, port->ifindex);
	*port = ports->port[--ports->count];
}

/* What the programs have to know of it. */
static int show_port(const struct plan_port *planned, struct datapath *datapath)
{
	int err = datapath_set_port(datapath, planned->ifindex, &planned->receives);

	if (!err && planned->switched.tag)
		err = datapath_set_conduit(datapath, planned->ifindex, &planned->switched);
	return err;
}

static enum attach_mode mode_behind(struct ports *ports, const struct port *port)
{
	const struct port *conduit = ports_find(ports, port->conduit);

	return conduit ? conduit->mode : ATTACH_NONE;
}

/* A switch's port is attached as its conduit is, which comes before it in the plan. */
static int stand_behind(struct ports *ports, struct port *port)
{
	int err = lock_port(port);

	if (err == -EADDRINUSE)
		return refuse_second(ports, port);
	if (err)
		return err;
	port->mode = mode_behind(ports, port);
	return port->mode == ATTACH_NONE ? -ENODEV : 0;
}

static int add_port(struct ports *ports, const struct plan_port *planned, struct datapath *datapath,
		    const struct links *links)
{
	const struct link *link = links_find(links, planned->ifindex);
	struct port *port = &ports->port[ports->count++];
	int err;

	*port = (struct port){
		.ifindex = planned->ifindex,
		.hook = planned->hook,
		.conduit = planned->conduit,
		.switched = planned->switched.tag,
		.bare = planned->bare,
		.strips_vlans = planned->strips_vlans,
		.link_fd = -1,
		.lock_fd = -1,
	};
	memcpy(port->name, planned->name, sizeof(port->name));
	memcpy(port->interface, planned->interface, sizeof(port->interface));
	err = planned->conduit ? stand_behind(ports, port) : attach_port(ports, port, datapath);
	err = err ? err : show_port(planned, datapath);
	if (!err && link && !(link->flags & IFF_UP) && !ports->running)
		log_message(ports->options->automatic ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
			    "interface '%s' is down: attached all the same, its flows follow "
			    "when it comes up",
			    port->name);
	return err;
}

/* ---- What is shown of it ---------------------------------------------------- */

static void fill_row(struct ports *ports, struct bpfw_plan_row *row)
{
	const struct port *port = ports_find(ports, row->port);

	if (!row->port)
		return;
	row->mode = port ? shown_mode(port->mode) : PLAN_NOT_ATTACHED;
	if (row->mode == PLAN_NOT_ATTACHED)
		snprintf(row->note, sizeof(row->note), "attaching failed: see bpfw's messages");
	else
		row->hook = row->mode == PLAN_TCX || row->mode == PLAN_CLSACT ? PLAN_HOOK_TC :
										PLAN_HOOK_XDP;
	if (port && port->behind && !row->note[0])
		snprintf(row->note, sizeof(row->note), "behind the filter");
}

static void show_rows(struct ports *ports, struct datapath *datapath)
{
	for (uint32_t i = 0; i < PLAN_ROWS; i++) {
		struct bpfw_plan_row row = { 0 };

		if (i < ports->plan.rows)
			row = ports->plan.row[i];
		fill_row(ports, &row);
		if (!memcmp(&row, &ports->shown[i], sizeof(row)))
			continue;
		if (!datapath_set_plan_row(datapath, i, &row))
			ports->shown[i] = row;
	}
}

/* ---- Start, changes, end ---------------------------------------------------- */

int ports_attach(struct ports *ports, struct datapath *datapath, const struct links *links)
{
	filter_view_read(&ports->filter, ports->links);
	for (size_t i = 0; i < ports->plan.ports; i++) {
		int err = add_port(ports, &ports->plan.port[i], datapath, links);

		if (err) {
			ports_detach(ports);
			return err;
		}
	}
	for (size_t i = 0; i < ports->count; i++)
		prime_target(ports, &ports->port[i], datapath, links);
	ports->only_wires = ports->plan.only_wires;
	ports->switched = ports->plan.switched;
	ports->running = true;
	show_rows(ports, datapath);
	return 0;
}

/* Those that are gone, that no interface stands on any more, or that need another hook. */
static bool drop_ports(struct ports *ports, struct datapath *datapath, const struct links *links)
{
	bool changed = false;

	for (size_t i = ports->count; i-- > 0;) {
		struct port *port = &ports->port[i];
		const struct plan_port *planned = plan_find_port(&ports->plan, port->ifindex);

		if (planned && planned->hook == port->hook && planned->conduit == port->conduit &&
		    (planned->strips_vlans == port->strips_vlans || port->hook == HOOK_AUTO))
			continue;
		if (!planned)
			log_warn("interface '%s' %s: its packets take the stack", port->name,
				 links_find(links, port->ifindex) ?
					 "is no port of a named interface any more" :
					 "is gone");
		remove_port(ports, port, datapath);
		changed = true;
	}
	return changed;
}

static void refresh_port(struct port *port, const struct plan_port *planned,
			 struct datapath *datapath)
{
	memcpy(port->name, planned->name, sizeof(port->name));
	memcpy(port->interface, planned->interface, sizeof(port->interface));
	if (port->switched && !planned->switched.tag)
		datapath_clear_conduit(datapath, port->ifindex);
	port->switched = planned->switched.tag;
	show_port(planned, datapath);
}

static bool add_ports(struct ports *ports, struct datapath *datapath, const struct links *links)
{
	bool changed = false;

	for (size_t i = 0; i < ports->plan.ports; i++) {
		const struct plan_port *planned = &ports->plan.port[i];
		struct port *port = ports_find(ports, planned->ifindex);

		if (port) {
			refresh_port(port, planned, datapath);
			if (port->conduit)
				port->mode = mode_behind(ports, port);
			continue;
		}
		changed = true;
		if (!add_port(ports, planned, datapath, links))
			prime_target(ports, ports_find(ports, planned->ifindex), datapath, links);
	}
	return changed;
}

static bool has_auto_at_xdp(const struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		if (ports->port[i].hook == HOOK_AUTO && ports->port[i].mode == ATTACH_XDP)
			return true;
	return false;
}

enum ports_change ports_update(struct ports *ports, struct datapath *datapath,
			       const struct links *links, const struct pppoe_sessions *sessions)
{
	bool auto_was_tc, other, more;

	make_plan(ports, links, sessions);
	/* A port that could not be attached gets another chance at every change of devices. */
	if (plan_equal(&ports->next, &ports->plan) && ports->count == ports->plan.ports)
		return PORTS_SAME;
	auto_was_tc = ports->auto_is_tc;
	take_plan(ports);
	other = drop_ports(ports, datapath, links);
	if (ports->auto_is_tc && has_auto_at_xdp(ports)) {
		log_warn("a port cannot do XDP: all automatic ones move to TC");
		move_auto_to_tc(ports, datapath);
	}
	more = add_ports(ports, datapath, links);
	for (size_t i = ports->count; i-- > 0;)
		if (ports->port[i].mode == ATTACH_NONE)
			remove_port(ports, &ports->port[i], datapath);
	show_rows(ports, datapath);
	if (other || ports->auto_is_tc != auto_was_tc)
		return PORTS_OTHER;
	return more ? PORTS_MORE : PORTS_SAME;
}

/* ---- The filter comes and goes -------------------------------------------------- */

static uint32_t own_program(const struct port *port, const struct datapath *datapath)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int program = port_is_tc(port) ? datapath_tc_fd(datapath, port->bare) :
					 datapath_xdp_fd(datapath);

	return bpf_prog_get_info_by_fd(program, &info, &len) ? 0 : info.id;
}

/* The link holds another program now, or is detached: whoever loads a filter does that. */
static bool has_lost_link(const struct port *port, const struct datapath *datapath)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	/* Links at XDP and at tcx say their device first. */
	return bpf_link_get_info_by_fd(port->link_fd, &info, &len) || !info.xdp.ifindex ||
	       info.prog_id != own_program(port, datapath);
}

/* Is the fast path not at the port's hook any more? */
static bool has_lost_hook(const struct port *port, const struct datapath *datapath)
{
	if (port->behind)
		return !filter_view_is_entered(port->ifindex, datapath_behind_fd(datapath));
	if (port->link_fd >= 0)
		return has_lost_link(port, datapath);
	return port->mode == ATTACH_CLSACT && !attached_clsact(port->ifindex);
}

/*
 * Did somebody take the hook away? A device that goes takes its links along, after its name
 * (unlist_netdevice() comes before dev_xdp_uninstall() and tcx's); that it is gone is for the
 * event of its link to say.
 */
static bool is_lost(const struct port *port, const struct datapath *datapath)
{
	return has_lost_hook(port, datapath) && link_exists(port->ifindex);
}

/* What the filter has made and could not remove, since we are in it, is ours to remove. */
static void take_qdiscs(struct ports *ports, const struct filter_view *now)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];
		const struct filter_view_device *before =
			filter_view_find(&ports->filter, port->ifindex);

		if (port->mode == ATTACH_CLSACT && before && before->made_qdisc &&
		    !filter_view_find(now, port->ifindex))
			port->created_clsact = true;
	}
}

bool ports_filter_changed(struct ports *ports, const struct datapath *datapath)
{
	struct filter_view now;
	bool changed = false;

	/* A load notes its devices first, then takes the fast path away: ask in the other order. */
	for (size_t i = 0; i < ports->count && !changed; i++)
		changed = is_lost(&ports->port[i], datapath);
	filter_view_read(&now, ports->links);
	changed |= !filter_view_equal(&now, &ports->filter);
	take_qdiscs(ports, &now);
	ports->filter = now;
	return changed;
}

static bool stands_right(const struct ports *ports, const struct port *port,
			 const struct datapath *datapath)
{
	const struct filter_view_device *at_xdp = filter_at_xdp(ports, port->ifindex);

	if (is_lost(port, datapath))
		return false;
	if (port->hook == HOOK_TC ||
	    (port->hook == HOOK_AUTO && (ports->auto_is_tc || filter_keeps_at_tc(ports))) ||
	    (ports->filter.loaded && (!at_xdp || port->switched)))
		return port_is_tc(port);
	if (ports->filter.loaded)
		return port->behind;
	return !port->behind && !port_is_tc(port);
}

void ports_follow_filter(struct ports *ports, struct datapath *datapath)
{
	for (size_t i = 0; i < ports->count; i++) {
		struct port *port = &ports->port[i];

		if (port->conduit || stands_right(ports, port, datapath))
			continue;
		detach_port(port);
		if (!attach_as_asked(ports, port, datapath))
			prime_target(ports, port, datapath, ports->links);
	}
	for (size_t i = ports->count; i-- > 0;) {
		struct port *port = &ports->port[i];

		if (port->conduit)
			port->mode = mode_behind(ports, port);
		if (port->mode == ATTACH_NONE)
			remove_port(ports, port, datapath);
	}
	show_rows(ports, datapath);
}

void ports_detach(struct ports *ports)
{
	for (size_t i = 0; i < ports->count; i++)
		release_port(&ports->port[i]);
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
	if (!ingress)
		return false; /* the port went meanwhile */
	if (port_is_tc(ingress))
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
