/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "clsact.h"
#include "compat.h"
#include "filter/attach.h"
#include "filter/pins.h"
#include "log.h"
#include "util.h"

#define ATTEMPTS 3      /* where the daemon may do something at the same time */
#define TCX_PROGRAMS 64 /* that the kernel allows at a hook */

struct attacher {
	int pins;
	const struct filter_bpf *skeleton;
	int filtered; /* the map */
};

/* ---- Links ---------------------------------------------------------------------------- */

static const char *pin_name(char name[32], const char *kind, uint32_t ifindex)
{
	snprintf(name, 32, "%s-%u", kind, ifindex);
	return name;
}

static int link_info(int link, struct bpf_link_info *info)
{
	uint32_t len = sizeof(*info);

	memset(info, 0, len);
	return bpf_link_get_info_by_fd(link, info, &len);
}

/* The device of a link at XDP or tcx: both say it first. 0: it is gone, or the link detached. */
static uint32_t link_device(const struct bpf_link_info *info)
{
	return info->xdp.ifindex;
}

/* A pinned link that is attached; else -ENOENT, and the name is free. */
static int open_link(int pins, const char *pin)
{
	_cleanup_close_ int link = pins_get(pins, pin);
	struct bpf_link_info info;

	if (link >= 0 && !link_info(link, &info) && link_device(&info))
		return take_fd(&link);
	if (link != -ENOENT)
		pins_remove(pins, pin);
	return -ENOENT;
}

/* Others may hold the link as well (the fast path, whose it was): it would outlive the pin. */
static void detach_link(int pins, const char *pin)
{
	_cleanup_close_ int link = pins_get(pins, pin);

	if (link >= 0)
		bpf_link_detach(link);
	pins_remove(pins, pin);
}

/* A new link, or the program of the one that is there is exchanged. */
static int set_link(int pins, const char *pin, const struct bpf_program *program, uint32_t ifindex,
		    enum bpf_attach_type type, const struct bpf_link_create_opts *options)
{
	_cleanup_close_ int link = open_link(pins, pin);

	if (link >= 0)
		return bpf_link_update(link, bpf_program__fd(program), NULL);
	link = bpf_link_create(bpf_program__fd(program), (int)ifindex, type, options);
	return link < 0 ? link : pins_put(pins, pin, link);
}

/* ---- The fast path at XDP --------------------------------------------------------------- */

static bool is_fast_path(uint32_t program)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd < 0 || bpf_prog_get_info_by_fd(fd, &info, &len))
		return false;
	return !strncmp(info.name, "bpfw_", strlen("bpfw_"));
}

/* The id of the fast path's program at XDP of the device, 0 if there is none. */
static uint32_t fast_path_at(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	uint32_t program;

	query.sz = offsetof(struct bpf_xdp_query_opts, feature_flags);
	if (bpf_xdp_query((int)ifindex, 0, &query))
		return 0;
	program = query.drv_prog_id ? query.drv_prog_id : query.skb_prog_id;
	return program && is_fast_path(program) ? program : 0;
}

/*
 * The link that it is attached by, or -errno. The daemon serves one network namespace, so that the
 * program and the number of the device tell it from all others.
 */
static int find_fast_path(uint32_t ifindex, uint32_t program)
{
	struct bpf_link_info info;
	uint32_t id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		_cleanup_close_ int link = bpf_link_get_fd_by_id(id);

		if (link == -EPERM)
			return link;
		if (link >= 0 && !link_info(link, &info) && info.type == BPF_LINK_TYPE_XDP &&
		    info.prog_id == program && info.xdp.ifindex == ifindex)
			return take_fd(&link);
	}
	return -ENOENT;
}

/*
 * The fast path's link becomes the filter's: it is pinned first, so that it cannot end with the
 * daemon once the filter is in it. The daemon finds its program gone there, and stands behind.
 */
static int take_over_link(int pins, const char *pin, const struct bpf_program *entry,
			  uint32_t ifindex)
{
	uint32_t program = fast_path_at(ifindex);
	_cleanup_close_ int link = program ? find_fast_path(ifindex, program) : -EBUSY;
	int err;

	if (link < 0)
		return link == -ENOENT ? -EBUSY : link;
	err = pins_put(pins, pin, link);
	if (err)
		return err;
	err = bpf_link_update(link, bpf_program__fd(entry), NULL);
	if (err)
		pins_remove(pins, pin);
	return err;
}

/* The daemon may be about to detach by itself: what was seen just now need not be there any more. */
static int stand_down_at_xdp(uint32_t ifindex)
{
	int err = 0;

	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		uint32_t program = fast_path_at(ifindex);
		_cleanup_close_ int link = program ? find_fast_path(ifindex, program) : -1;

		if (!program)
			return 0;
		err = link < 0 ? link : bpf_link_detach(link);
		if (err != -ENOENT)
			return err;
	}
	return err;
}

static int stand_down_at_tcx(uint32_t ifindex)
{
	uint32_t programs[TCX_PROGRAMS] = { 0 }, links[TCX_PROGRAMS] = { 0 };
	LIBBPF_OPTS(bpf_prog_query_opts, query, .prog_ids = programs, .link_ids = links,
		    .count = TCX_PROGRAMS);
	int err = 0;

	if (bpf_prog_query_opts((int)ifindex, COMPAT_BPF_TCX_INGRESS, &query))
		return 0; /* no tcx */
	for (uint32_t i = 0; i < query.count && i < TCX_PROGRAMS && !err; i++) {
		_cleanup_close_ int link = -1;

		if (!is_fast_path(programs[i]))
			continue;
		link = bpf_link_get_fd_by_id(links[i]);
		err = link < 0 ? link : bpf_link_detach(link);
	}
	return err;
}

static void stand_down_at_clsact(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FAST_PATH_HANDLE,
		    .priority = CLSACT_FAST_PATH_PRIORITY);

	bpf_tc_detach(&hook, &filter);
}

/* Flows may cross a device above the port that is filtered from now on. */
static int stand_down_elsewhere(const struct attacher *to, uint32_t ifindex)
{
	bpf_map_delete_elem(bpf_map__fd(to->skeleton->maps.next_stage), &ifindex);
	stand_down_at_clsact(ifindex);
	return stand_down_at_tcx(ifindex);
}

/*
 * The fast path at XDP of a device that is not filtered there sends packets out without the filter
 * at TC. It is detached; the daemon goes on at TC, behind the filter. A daemon that is just
 * attaching looks for the filter's pins afterwards, which have been there for some time.
 *
 * Where devices have become filtered (`more`), it is taken away from all hooks: its flows were
 * chosen when these devices had no rules. It comes back by itself, without them.
 */
static int stand_down_fast_paths(const struct attacher *to, bool more)
{
	struct if_nameindex *all = if_nameindex();
	int err = all ? 0 : -errno;

	if (err)
		log_error("cannot list the interfaces: %s", strerror(-err));
	for (size_t i = 0; all && all[i].if_index && !err; i++) {
		err = stand_down_at_xdp(all[i].if_index);
		if (!err && more)
			err = stand_down_elsewhere(to, all[i].if_index);
		if (err)
			log_error("interface '%s': bpfw's fast path is attached there, would go "
				  "around the filter and cannot be detached (%s): stop it first",
				  all[i].if_name, strerror(-err));
	}
	if (all)
		if_freenameindex(all);
	return err;
}

/* ---- Hooks ------------------------------------------------------------------------------ */

static int try_xdp(const struct attacher *to, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
	LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
	const struct bpf_program *entry = to->skeleton->progs.entry_xdp;
	char pin[32];
	int err;

	pin_name(pin, "xdp", ifindex);
	err = set_link(to->pins, pin, entry, ifindex, BPF_XDP, &native);
	if (err == -EOPNOTSUPP || err == -EINVAL)
		err = set_link(to->pins, pin, entry, ifindex, BPF_XDP, &generic);
	/* -EEXIST: a program in the other mode. */
	if (err == -EBUSY || err == -EEXIST)
		err = take_over_link(to->pins, pin, entry, ifindex);
	return err;
}

/* Once more if the fast path has left the hook in between. */
static int attach_xdp(const struct attacher *to, uint32_t ifindex)
{
	int err = -EBUSY;

	for (int attempt = 0; attempt < ATTEMPTS && err == -EBUSY; attempt++)
		err = try_xdp(to, ifindex);
	return err;
}

/* Before all others: what the filter drops, nobody sees. */
static int attach_tcx(const struct attacher *to, const char *pin, const struct bpf_program *program,
		      uint32_t ifindex, enum bpf_attach_type type)
{
	LIBBPF_OPTS(bpf_link_create_opts, first, .flags = COMPAT_BPF_F_BEFORE);

	return set_link(to->pins, pin, program, ifindex, type, &first);
}

static int attach_clsact(const struct bpf_program *program, uint32_t ifindex,
			 enum bpf_tc_attach_point point, struct filter_port *port)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FILTER_HANDLE,
		    .priority = CLSACT_FILTER_PRIORITY, .prog_fd = bpf_program__fd(program),
		    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	if (err && err != -EEXIST)
		return err;
	port->made_qdisc |= !err;
	return bpf_tc_attach(&hook, &filter);
}

static int attach_tc(const struct attacher *to, uint32_t ifindex, bool out,
		     struct filter_port *port)
{
	const struct bpf_program *program = out ? to->skeleton->progs.entry_tc_out :
						  to->skeleton->progs.entry_tc_in;
	char pin[32];
	int err;

	err = attach_tcx(to, pin_name(pin, out ? "tc-out" : "tc-in", ifindex), program, ifindex,
			 out ? COMPAT_BPF_TCX_EGRESS : COMPAT_BPF_TCX_INGRESS);
	if (err != -EINVAL && err != -EOPNOTSUPP)
		return err;
	return attach_clsact(program, ifindex, out ? BPF_TC_EGRESS : BPF_TC_INGRESS, port);
}

static void detach_clsact(uint32_t ifindex, enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FILTER_HANDLE,
		    .priority = CLSACT_FILTER_PRIORITY);

	bpf_tc_detach(&hook, &filter);
}

static void detach_xdp(int pins, uint32_t ifindex)
{
	char pin[32];

	detach_link(pins, pin_name(pin, "xdp", ifindex));
}

static void detach_tc(int pins, uint32_t ifindex, bool out)
{
	char pin[32];

	detach_link(pins, pin_name(pin, out ? "tc-out" : "tc-in", ifindex));
	detach_clsact(ifindex, out ? BPF_TC_EGRESS : BPF_TC_INGRESS);
}

/* ---- Interfaces --------------------------------------------------------------------------- */

/*
 * Do the device's packets begin with their IP header? -errno. /sys may be that of another network
 * namespace.
 */
static int is_bare(uint32_t ifindex)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };

	if (fd < 0 || !if_indextoname(ifindex, request.ifr_name) ||
	    ioctl(fd, SIOCGIFHWADDR, &request))
		return -errno;
	return request.ifr_hwaddr.sa_family != ARPHRD_ETHER &&
	       request.ifr_hwaddr.sa_family != ARPHRD_LOOPBACK;
}

/* The program that stands at XDP by the pinned link, 0 if there is none. */
static uint32_t pinned_xdp(int pins, uint32_t ifindex)
{
	char pin[32];
	_cleanup_close_ int link = open_link(pins, pin_name(pin, "xdp", ifindex));
	struct bpf_link_info info;

	return link >= 0 && !link_info(link, &info) ? info.prog_id : 0;
}

static int note_port(int filtered, uint32_t ifindex, const struct filter_port *port)
{
	return bpf_map_update_elem(filtered, &ifindex, port, BPF_ANY);
}

/* One hook first, then the other is left: packets are judged twice in between, never not at all. */
static int attach_ingress(const struct attacher *to, uint32_t ifindex, enum stage_hook hook,
			  struct filter_port *port)
{
	int err = hook == STAGE_XDP ? attach_xdp(to, ifindex) : attach_tc(to, ifindex, false, port);

	if (err)
		return err;
	port->judged = true;
	port->xdp_program = hook == STAGE_XDP ? pinned_xdp(to->pins, ifindex) : 0;
	err = note_port(to->filtered, ifindex, port);
	if (err)
		return err;
	if (hook == STAGE_XDP)
		detach_tc(to->pins, ifindex, false);
	else
		detach_xdp(to->pins, ifindex);
	return 0;
}

/*
 * Whatever was there before: nothing, all, or what a load that was killed has left. Returns 0 or
 * -errno; -EPROTOTYPE: at XDP the program takes what it meets for Ethernet, which this is not.
 */
static int attach_interface(const struct attacher *to, uint32_t ifindex, enum stage_hook hook)
{
	struct filter_port port = { 0 };
	uint32_t made_qdisc;
	int err, bare = is_bare(ifindex);

	if (bare < 0)
		return bare;
	if (bare && hook == STAGE_XDP)
		return -EPROTOTYPE;
	bpf_map_lookup_elem(to->filtered, &ifindex, &port);
	port.bare = (uint32_t)bare;
	err = note_port(to->filtered, ifindex, &port);
	err = err ? err : attach_ingress(to, ifindex, hook, &port);
	made_qdisc = port.made_qdisc;
	err = err ? err : attach_tc(to, ifindex, true, &port);
	if (!err && port.made_qdisc != made_qdisc)
		err = note_port(to->filtered, ifindex, &port);
	return err;
}

static void detach_interface(int pins, int filtered, uint32_t ifindex)
{
	struct filter_port port = { 0 };

	/* From here on what comes in there is judged where it goes out. */
	if (!bpf_map_lookup_elem(filtered, &ifindex, &port) && port.judged) {
		port.judged = false;
		note_port(filtered, ifindex, &port);
	}
	detach_xdp(pins, ifindex);
	detach_tc(pins, ifindex, false);
	detach_tc(pins, ifindex, true);
	if (port.made_qdisc)
		clsact_remove_empty(ifindex);
	bpf_map_delete_elem(filtered, &ifindex);
}

/* The numbers of all devices in the map: it changes while one goes through them. */
static uint32_t list_filtered(int filtered, uint32_t ifindexes[FILTER_PORTS])
{
	uint32_t count = 0, *previous = NULL;

	while (count < FILTER_PORTS && !bpf_map_get_next_key(filtered, previous, &ifindexes[count]))
		previous = &ifindexes[count++];
	return count;
}

static void explain(uint32_t ifindex, enum stage_hook hook, int err)
{
	char name[IFNAMSIZ] = "?";

	if_indextoname(ifindex, name);
	if (err == -EPROTOTYPE)
		log_error("interface '%s': its packets have no Ethernet header: use --hook tc",
			  name);
	else
		log_error("interface '%s': cannot attach the filter: %s%s", name, strerror(-err),
			  hook == STAGE_XDP && err == -EBUSY ?
				  "; another XDP program is there, use --hook tc" :
				  "");
}

static bool is_attached(int pins, uint32_t ifindex, const struct filter_port *port)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = CLSACT_FILTER_HANDLE,
		    .priority = CLSACT_FILTER_PRIORITY);
	char pin[32], name[IFNAMSIZ];
	_cleanup_close_ int link = -1;

	/* A device in another namespace takes its links along. */
	if (!if_indextoname(ifindex, name))
		return false;
	link = open_link(pins, pin_name(pin, port->xdp_program ? "xdp" : "tc-in", ifindex));
	return link >= 0 || (!port->xdp_program && !bpf_tc_query(&hook, &filter));
}

/* The hook that was asked for; or that the device is filtered at, or TC. */
static enum stage_hook choose_hook(const struct stage_options *options, uint32_t ifindex,
				   const struct filter_port *port)
{
	for (uint32_t i = 0; options->hook != STAGE_AS_BEFORE && i < options->interface_count; i++)
		if (if_nametoindex(options->interfaces[i]) == ifindex)
			return options->hook;
	return port->xdp_program ? STAGE_XDP : STAGE_TC;
}

/*
 * Devices that are filtered already get the new entry programs, those that are gone are forgotten,
 * and so is what a killed load had begun to attach.
 */
static int refresh_interfaces(const struct attacher *to, const struct stage_options *options)
{
	uint32_t ifindexes[FILTER_PORTS], count = list_filtered(to->filtered, ifindexes);
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++) {
		const uint32_t ifindex = ifindexes[i];
		struct filter_port port = { 0 };

		bpf_map_lookup_elem(to->filtered, &ifindex, &port);
		if (port.judged && is_attached(to->pins, ifindex, &port))
			err = attach_interface(to, ifindex, choose_hook(options, ifindex, &port));
		else
			detach_interface(to->pins, to->filtered, ifindex);
		if (err)
			explain(ifindex, choose_hook(options, ifindex, &port), err);
	}
	return err;
}

/* Those that are not filtered so far; `attached` and `count` tell which were begun with. */
static int attach_new(const struct attacher *to, const struct stage_options *options,
		      uint32_t attached[STAGE_INTERFACES], uint32_t *count)
{
	struct filter_port port = { 0 };
	int err = 0;

	for (uint32_t i = 0; i < options->interface_count && !err; i++) {
		uint32_t ifindex = if_nametoindex(options->interfaces[i]);

		if (!ifindex) {
			log_error("interface '%s': there is no such interface",
				  options->interfaces[i]);
			return -ENODEV;
		}
		if (!bpf_map_lookup_elem(to->filtered, &ifindex, &port))
			continue;
		attached[(*count)++] = ifindex;
		err = attach_interface(to, ifindex,
				       options->hook == STAGE_XDP ? STAGE_XDP : STAGE_TC);
		if (err)
			explain(ifindex, options->hook, err);
	}
	return err;
}

int attach_interfaces(int pins, const struct filter_bpf *skeleton,
		      const struct stage_options *options)
{
	const struct attacher to = { pins, skeleton, bpf_map__fd(skeleton->maps.filtered) };
	uint32_t attached[STAGE_INTERFACES], count = 0;
	int err = refresh_interfaces(&to, options);

	err = err ? err : attach_new(&to, options, attached, &count);
	err = err ? err : stand_down_fast_paths(&to, count);
	while (err && count)
		detach_interface(pins, to.filtered, attached[--count]);
	return err;
}

/* Links of devices that are gone, or now are in another namespace. */
static void detach_pinned(int pins, const char *name, void *context)
{
	(void)context;
	if (!strncmp(name, "xdp-", 4) || !strncmp(name, "tc-in-", 6) ||
	    !strncmp(name, "tc-out-", 7))
		detach_link(pins, name);
}

void detach_interfaces(int pins)
{
	uint32_t ifindexes[FILTER_PORTS], count;
	_cleanup_close_ int filtered = pins_get(pins, "filtered");

	count = filtered < 0 ? 0 : list_filtered(filtered, ifindexes);
	for (uint32_t i = 0; i < count; i++)
		detach_interface(pins, filtered, ifindexes[i]);
	pins_for_each(pins, detach_pinned, NULL);
}
