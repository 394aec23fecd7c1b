/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dsa.h"
#include "ethtool.h"
#include "log.h"
#include "plan.h"
#include "util.h"

/* Devices above a port that are looked at: bridges and VLAN devices */
#define MAX_ABOVE 64

const char *plan_hook_name(uint8_t hook)
{
	return hook == PLAN_HOOK_XDP ? "xdp" : hook == PLAN_HOOK_TC ? "tc" : NULL;
}

const char *plan_mode_name(uint8_t mode)
{
	static const char *const names[] = {
		[PLAN_LEFT_OUT] = "left out",
		[PLAN_NOT_ATTACHED] = "not attached",
		[PLAN_XDP] = "xdp",
		[PLAN_XDPGENERIC] = "xdpgeneric",
		[PLAN_TC] = "tc",
		[PLAN_TCX] = "tcx",
		[PLAN_CLSACT] = "clsact",
	};

	return mode < ARRAY_SIZE(names) ? names[mode] : "unknown";
}

/* ---- Questions to the kernel ------------------------------------------------ */

static bool is_set(const char *family, const char *name)
{
	char path[96], value = '0';
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/forwarding", family, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 && read(fd, &value, 1) == 1 && value != '0';
}

bool plan_ask_forwards(void *context, const struct link *link)
{
	(void)context;
	return is_set("ipv4", link->name) || is_set("ipv6", link->name);
}

bool plan_ask_strips_vlans(void *context, const struct link *link)
{
	(void)context;
	return ethtool_stripping(link->ifindex);
}

/* ---- Devices ---------------------------------------------------------------- */

/* The next device by ifindex, NULL at the end: what is shown does not depend on buckets. */
static const struct link *next_link(const struct links *links, uint32_t after)
{
	const struct link *next = NULL;

	for (size_t i = 0; i < LINK_BUCKETS; i++)
		for (const struct link *link = links->bucket[i]; link; link = link->next)
			if (link->ifindex > after && (!next || link->ifindex < next->ifindex))
				next = link;
	return next;
}

/* What the device is, for a message. */
static const char *kind_of(const struct link *link)
{
	return link->kind[0] ? link->kind : "hardware";
}

/*
 * Ethernet devices whose driver may have XDP. Others (bond, macvlan, vxlan, ...) deliver
 * frames that were received elsewhere: TC is where they can be taken.
 */
static bool may_do_xdp(const struct link *link)
{
	static const char *const kinds[] = { "", "veth", "tun", "netdevsim" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (link_is(link, kinds[i]))
			return link->type == ARPHRD_ETHER;
	return false;
}

/* What receives the frames of a port: the port itself, bridges and VLAN devices above. */
struct above {
	const struct link *link[MAX_ABOVE];
	size_t count;
};

static void add_above(struct above *above, const struct link *link)
{
	for (size_t i = 0; i < above->count; i++)
		if (above->link[i] == link)
			return;
	if (above->count < MAX_ABOVE)
		above->link[above->count++] = link;
}

static void find_above(struct above *above, const struct links *links, const struct link *port)
{
	above->count = 0;
	add_above(above, port);
	for (size_t i = 0; i < above->count; i++) {
		const struct link *master = links_find(links, above->link[i]->master);

		if (link_is(master, "bridge"))
			add_above(above, master);
		for (size_t j = 0; j < LINK_BUCKETS; j++)
			for (const struct link *link = links->bucket[j]; link; link = link->next)
				if (link->lower == above->link[i]->ifindex && link_is(link, "vlan"))
					add_above(above, link);
	}
}

static void add_mac(struct bpfw_port *port, const uint8_t mac[6])
{
	static const uint8_t none[6];

	if (!memcmp(mac, none, sizeof(none)) || port->macs == PORT_MACS)
		return;
	for (uint32_t i = 0; i < port->macs; i++)
		if (!memcmp(port->mac[i], mac, 6))
			return;
	memcpy(port->mac[port->macs++], mac, 6);
}

static struct bpfw_port find_macs(const struct links *links, const struct link *link)
{
	struct bpfw_port port = { 0 };
	struct above above;

	find_above(&above, links, link);
	for (size_t i = 0; i < above.count; i++)
		add_mac(&port, above.link[i]->mac);
	return port;
}

/* Frames with and without a tag come in there, and the program has to tell them apart. */
static bool tags_matter(const struct links *links, const struct link *port)
{
	struct above above;

	/* On a wire anybody may send tags; made-up ones come from who made the devices. */
	if (!port->kind[0])
		return true;
	find_above(&above, links, port);
	for (size_t i = 0; i < above.count; i++)
		if (above.link[i]->vlan.id || above.link[i]->bridge.vlan_filtering)
			return true;
	return false;
}

/* ---- From an interface down ------------------------------------------------- */

/* A device of the path from the interface down to where the walk is. */
struct level {
	const struct link *link;
	bool entered;            /* what it stands on was looked at */
	const struct link *port; /* of a bridge: the one that was descended to last */
};

struct walk {
	struct plan *plan;
	const struct options *options;
	const struct links *links;
	const struct pppoe_sessions *sessions;
	const struct plan_probes *probes;
	enum hook hook; /* of the interface */
	char path[PLAN_DEPTH][PLAN_NAME];
	struct level level[PLAN_DEPTH];
	size_t depth;
};

static struct bpfw_plan_row *add_row(struct walk *walk, uint8_t mode)
{
	struct plan *plan = walk->plan;
	struct bpfw_plan_row *row = &plan->row[plan->rows];

	if (plan->rows == PLAN_ROWS) {
		plan->truncated = true;
		return NULL;
	}
	plan->rows++;
	memcpy(row->interface, walk->path[0], sizeof(row->interface));
	memcpy(row->path, walk->path, sizeof(row->path[0]) * walk->depth);
	row->depth = (uint8_t)walk->depth;
	row->mode = mode;
	return row;
}

__attribute__((format(printf, 3, 4))) static void end_walk(struct walk *walk, uint8_t mode,
							   const char *format, ...)
{
	struct bpfw_plan_row *row = add_row(walk, mode);
	va_list args;

	if (mode == PLAN_NOT_ATTACHED)
		walk->plan->waiting++;
	walk->plan->only_wires &= mode == PLAN_LEFT_OUT;
	if (!row)
		return;
	va_start(args, format);
	vsnprintf(row->note, sizeof(row->note), format, args);
	va_end(args);
}

#define leave_out(walk, ...) end_walk(walk, PLAN_LEFT_OUT, __VA_ARGS__)
#define wait_for(walk, ...) end_walk(walk, PLAN_NOT_ATTACHED, __VA_ARGS__)

/*
 * A port may be named by several interfaces. What one of them says about the hook goes
 * before what none says; else the first one counts.
 */
static struct plan_port *add_port(struct walk *walk, const struct link *link, enum hook hook)
{
	struct plan *plan = walk->plan;
	struct plan_port *port = (struct plan_port *)plan_find_port(plan, link->ifindex);
	bool is_new = !port;

	if (is_new) {
		if (plan->ports == MAX_PORTS) {
			plan->truncated = true;
			return NULL;
		}
		port = &plan->port[plan->ports++];
		port->ifindex = link->ifindex;
		memcpy(port->name, link->name, sizeof(port->name));
		port->receives = find_macs(walk->links, link);
	}
	if (is_new || (port->hook == HOOK_AUTO && hook != HOOK_AUTO)) {
		port->hook = hook;
		memcpy(port->interface, walk->path[0], sizeof(port->interface));
	}
	return port;
}

/* Why the port cannot have XDP, NULL if it may. */
static const char *why_not_xdp(const struct walk *walk, const struct link *link)
{
	if (link_is_bare(link))
		return "it has no Ethernet header; what comes in by XDP goes there by the stack";
	if (!may_do_xdp(link))
		return "frames come to such a device behind XDP";
	if (walk->hook == HOOK_AUTO && walk->probes->hides_xdp_target &&
	    walk->probes->hides_xdp_target(walk->probes->context, link))
		return "this kernel does not say whether a veth takes frames from XDP";
	if (walk->probes->unfit_for_xdp && walk->probes->unfit_for_xdp(walk->probes->context, link))
		return "virtual devices are new here: start bpfw again to have XDP";
	return NULL;
}

static void use_port(struct walk *walk, const struct link *link)
{
	const char *why_tc = walk->hook == HOOK_TC ? NULL : why_not_xdp(walk, link);
	bool tagged = walk->hook != HOOK_TC && !why_tc && tags_matter(walk->links, link);
	bool strips = tagged && walk->probes->strips_vlans(walk->probes->context, link);
	struct bpfw_plan_row *row;
	struct plan_port *port;

	if (strips && !walk->options->rxvlan_off) {
		if (walk->hook != HOOK_AUTO) {
			leave_out(walk,
				  "VLAN tags are stripped there before XDP sees them: add "
				  "--rxvlan-off, or 'ethtool -K %s rxvlan off'",
				  link->name);
			return;
		}
		why_tc = "VLAN tags are stripped before XDP sees them; see --rxvlan-off";
	}
	walk->plan->only_wires &= !link->kind[0];
	/* Other ports gain more from XDP than from reaching such a device without the stack. */
	if (!link_is_bare(link))
		walk->plan->auto_is_tc |= why_tc && walk->hook == HOOK_AUTO;
	port = add_port(walk, link, why_tc ? HOOK_TC : walk->hook);
	row = port ? add_row(walk, PLAN_TC) : NULL;
	if (!row)
		return;
	port->bare = link_is_bare(link);
	port->strips_vlans |= strips && !why_tc;
	port->tags_from_peer |= tagged && link_is(link, "veth");
	row->port = link->ifindex;
	if (why_tc)
		snprintf(row->note, sizeof(row->note), "TC (%s): %s", kind_of(link), why_tc);
}

/* What was named before has the switch's port attached by itself, or its conduit at TC. */
static bool is_taken(const struct plan *plan, const struct link *user, const struct link *conduit)
{
	const struct plan_port *own = plan_find_port(plan, user->ifindex);
	const struct plan_port *below = plan_find_port(plan, conduit->ifindex);

	return (own && !own->conduit) || (below && below->hook == HOOK_TC);
}

/* The switch's port itself is a port of ours too: packets and flows go by its name. */
static void use_switch_port(struct walk *walk, const struct link *user)
{
	const struct link *conduit = links_find(walk->links, user->lower);
	struct plan_port *behind, *port;

	if (walk->probes->unfit_for_xdp &&
	    walk->probes->unfit_for_xdp(walk->probes->context, user)) {
		leave_out(walk, "the switch is new here: start bpfw again to have XDP");
		return;
	}
	if (is_taken(walk->plan, user, conduit)) {
		leave_out(walk, "'%s' or '%s' was named before, and not for XDP at the switch",
			  user->name, conduit->name);
		return;
	}
	use_port(walk, conduit);
	port = (struct plan_port *)plan_find_port(walk->plan, conduit->ifindex);
	if (!port || port->hook == HOOK_TC)
		return;
	behind = add_port(walk, user, walk->hook);
	if (!behind)
		return;
	behind->conduit = conduit->ifindex;
	port->switched.tag = user->switch_tag;
	port->switched.user[user->switch_port] = user->ifindex;
	walk->plan->switched = true;
	if (!walk->plan->row[walk->plan->rows - 1].note[0])
		snprintf(walk->plan->row[walk->plan->rows - 1].note, PLAN_NOTE,
			 "port %u behind the switch, tag %s", user->switch_port,
			 dsa_tag_name(user->switch_tag));
}

/* XDP is attached below a switch's port where the tags are of a format that is known. */
static const struct link *below_switch(struct walk *walk, const struct link *link)
{
	if (!link->switch_tag || (walk->hook != HOOK_XDP && walk->hook != HOOK_XDPGENERIC))
		return NULL;
	return links_find(walk->links, link->lower);
}

static void end_at(struct walk *walk, const struct link *link)
{
	if (link->flags & IFF_LOOPBACK)
		leave_out(walk, "the loopback forwards nothing");
	else if (link_is(link, "vrf"))
		leave_out(walk, "a VRF receives by its ports: name those");
	else if (link_is(link, "dummy"))
		leave_out(walk, "a dummy device receives nothing");
	else if (link_is(link, "ifb"))
		leave_out(walk, "an ifb receives nothing from outside");
	else if (link->type != ARPHRD_ETHER && !link_is_bare(link))
		leave_out(walk, "a tunnel (%s), whose way out only the stack knows", kind_of(link));
	else if (walk->depth > 1 && below_switch(walk, walk->level[walk->depth - 2].link) == link)
		use_switch_port(walk, walk->level[walk->depth - 2].link);
	else
		use_port(walk, link);
}

/* Each of these returns the device to go on with below the level, NULL if there is none. */
static const struct link *below_bridge(struct walk *walk, struct level *level)
{
	const struct link *link = level->port;

	walk->plan->only_wires = false;
	do {
		link = next_link(walk->links, link ? link->ifindex : 0);
	} while (link && link->master != level->link->ifindex);
	if (!link && !level->port)
		wait_for(walk, "has no ports yet");
	level->port = link;
	return link;
}

static unsigned int count_tags(const struct walk *walk)
{
	unsigned int tags = 0;

	for (size_t i = 0; i < walk->depth; i++)
		tags += link_is(walk->level[i].link, "vlan");
	return tags;
}

static const struct link *below_vlan(struct walk *walk, const struct link *vlan)
{
	const struct link *lower = links_find(walk->links, vlan->lower);

	if (!lower)
		leave_out(walk, "the device below is in another network namespace");
	else if (count_tags(walk) > MAX_VLAN_TAGS)
		leave_out(walk, "more than %d VLAN tags are left to the stack", MAX_VLAN_TAGS);
	else
		return lower;
	return NULL;
}

/* A session's packets are met on the wire already; other PPP is met at the ppp device. */
static const struct link *below_ppp(struct walk *walk, const struct link *ppp)
{
	const struct pppoe_session *session = pppoe_by_device(walk->sessions, ppp->ifindex);
	const struct link *lower = session ? links_find(walk->links, session->lower) : NULL;

	if (!lower)
		end_at(walk, ppp);
	return lower;
}

/* The device belongs to another that receives in its place. Ports of a bridge or VRF are fine. */
static bool is_captured(struct walk *walk, const struct link *link)
{
	const struct link *master = links_find(walk->links, link->master);

	if (!link->master || link_is(master, "bridge") || link_is(master, "vrf"))
		return false;
	if (master)
		leave_out(walk, "belongs to '%s' (%s), which receives in its place: name '%s'",
			  master->name, kind_of(master), master->name);
	else
		leave_out(walk, "belongs to another device, which receives in its place");
	return true;
}

static const struct link *step_down(struct walk *walk, struct level *level)
{
	const struct link *link = level->link;
	bool again = level->entered;

	level->entered = true;
	if (again)
		return level->port ? below_bridge(walk, level) : NULL;
	if (is_captured(walk, link))
		return NULL;
	if (link_is(link, "bridge"))
		return below_bridge(walk, level);
	if (link_is(link, "vlan"))
		return below_vlan(walk, link);
	if (link->type == ARPHRD_PPP)
		return below_ppp(walk, link);
	if (below_switch(walk, link))
		return below_switch(walk, link);
	end_at(walk, link);
	return NULL;
}

static void enter(struct walk *walk, const struct link *link)
{
	if (walk->depth == PLAN_DEPTH) {
		leave_out(walk, "more than %d devices on top of each other", PLAN_DEPTH);
		return;
	}
	memset(walk->path[walk->depth], 0, PLAN_NAME);
	memcpy(walk->path[walk->depth], link->name, IFNAMSIZ);
	walk->level[walk->depth++] = (struct level){ .link = link };
}

/* All ways down from the interface, until there are more than can be kept. */
static void descend(struct walk *walk, const struct link *interface)
{
	enter(walk, interface);
	while (walk->depth) {
		const struct link *below = NULL;

		if (!walk->plan->truncated)
			below = step_down(walk, &walk->level[walk->depth - 1]);
		if (below)
			enter(walk, below);
		else
			walk->depth--;
	}
}

/* ---- All interfaces --------------------------------------------------------- */

static void plan_named(struct walk *walk, const struct interface_option *option)
{
	const struct link *link = links_find_name(walk->links, option->name);

	walk->hook = option->hook;
	if (link) {
		walk->plan->existing++;
		descend(walk, link);
		return;
	}
	memset(walk->path[0], 0, PLAN_NAME);
	memcpy(walk->path[0], option->name, IFNAMSIZ);
	walk->depth = 1;
	wait_for(walk, "does not exist yet");
	walk->depth = 0;
}

/* Ports of a bridge, bond or the like forward nothing by themselves. */
static bool is_automatic(const struct walk *walk, const struct link *link)
{
	const struct link *master = links_find(walk->links, link->master);

	return !link->master || link_is(master, "vrf");
}

static void plan_one_of_all(struct walk *walk, const struct link *link)
{
	if (link->flags & IFF_LOOPBACK || walk->probes->forwards(walk->probes->context, link)) {
		walk->plan->existing += !(link->flags & IFF_LOOPBACK);
		descend(walk, link);
		return;
	}
	enter(walk, link);
	leave_out(walk, "forwarding is off on it");
	walk->depth--;
}

static void plan_automatic(struct walk *walk)
{
	const struct link *link = NULL;

	walk->hook = walk->options->interface[0].hook;
	walk->plan->only_wires = false;
	while ((link = next_link(walk->links, link ? link->ifindex : 0))) {
		if (is_automatic(walk, link))
			plan_one_of_all(walk, link);
		if (walk->plan->truncated)
			return;
	}
}

static uint8_t mode_to_try(const struct plan *plan, enum hook hook)
{
	switch (hook) {
	case HOOK_XDP:
		return PLAN_XDP;
	case HOOK_XDPGENERIC:
		return PLAN_XDPGENERIC;
	case HOOK_AUTO:
		return plan->auto_is_tc ? PLAN_TC : PLAN_XDP;
	default:
		return PLAN_TC;
	}
}

/* Behind what is noted already. */
__attribute__((format(printf, 2, 3))) static void add_note(struct bpfw_plan_row *row,
							   const char *format, ...)
{
	size_t len = strlen(row->note);
	va_list args;

	if (len)
		len += (size_t)snprintf(row->note + len, sizeof(row->note) - len, "; ");
	if (len >= sizeof(row->note))
		return;
	va_start(args, format);
	vsnprintf(row->note + len, sizeof(row->note) - len, format, args);
	va_end(args);
}

/* What is known only when every port is: hooks, and whose word on them counts. */
static void note_port(const struct plan *plan, const struct plan_port *port,
		      struct bpfw_plan_row *row)
{
	if (row->note[0])
		return;
	if (strcmp(port->interface, row->interface))
		add_note(row, "the port of '%s' too", port->interface);
	else if (port->tags_from_peer && row->hook == PLAN_HOOK_XDP)
		add_note(row,
			 "XDP sees tags if the peer writes them: 'ethtool -K PEER txvlan off'");
	else if (port->strips_vlans && row->hook == PLAN_HOOK_XDP)
		add_note(row, "hardware VLAN stripping is switched off");
	else if (port->hook == HOOK_AUTO && plan->auto_is_tc)
		add_note(row, "TC, as for all: one cannot do XDP");
}

static void finish_row(const struct plan *plan, struct bpfw_plan_row *row)
{
	const struct plan_port *port = plan_find_port(plan, row->port);

	if (!port)
		return;
	row->mode = mode_to_try(plan, port->hook);
	row->hook = row->mode == PLAN_TC ? PLAN_HOOK_TC : PLAN_HOOK_XDP;
	note_port(plan, port, row);
	if (!plan->cpus[0])
		return;
	if (row->hook == PLAN_HOOK_XDP)
		add_note(row, "flows spread over CPUs %s", plan->cpus);
	else
		add_note(row, "--cpus is for XDP only, see RPS");
}

void plan_make(struct plan *plan, const struct options *options, const struct links *links,
	       const struct pppoe_sessions *sessions, const struct plan_probes *probes,
	       bool auto_is_tc)
{
	struct walk walk = {
		.plan = plan,
		.options = options,
		.links = links,
		.sessions = sessions,
		.probes = probes,
	};

	memset(plan, 0, sizeof(*plan));
	plan->auto_is_tc = auto_is_tc;
	plan->only_wires = true;
	cpus_print(&options->cpus, plan->cpus);
	if (options->automatic)
		plan_automatic(&walk);
	else
		for (size_t i = 0; i < options->interfaces && !plan->truncated; i++)
			plan_named(&walk, &options->interface[i]);
	for (size_t i = 0; i < plan->rows; i++)
		finish_row(plan, &plan->row[i]);
	if (plan->auto_is_tc)
		plan_move_to_tc(plan);
}

void plan_move_to_tc(struct plan *plan)
{
	plan->auto_is_tc = true;
	for (size_t i = 0; i < plan->ports; i++)
		plan->port[i].strips_vlans &= plan->port[i].hook != HOOK_AUTO;
	for (size_t i = 0; i < plan->rows; i++) {
		struct bpfw_plan_row *row = &plan->row[i];
		const struct plan_port *port = plan_find_port(plan, row->port);

		if (!port || port->hook != HOOK_AUTO)
			continue;
		memset(row->note, 0, sizeof(row->note));
		finish_row(plan, row);
	}
}

bool plan_equal(const struct plan *a, const struct plan *b)
{
	/* Both were zeroed before they were filled, so padding is no difference. */
	return a->rows == b->rows && a->ports == b->ports && a->auto_is_tc == b->auto_is_tc &&
	       !memcmp(a->row, b->row, a->rows * sizeof(a->row[0])) &&
	       !memcmp(a->port, b->port, a->ports * sizeof(a->port[0]));
}

const struct plan_port *plan_find_port(const struct plan *plan, uint32_t ifindex)
{
	for (size_t i = 0; i < plan->ports; i++)
		if (plan->port[i].ifindex == ifindex)
			return &plan->port[i];
	return NULL;
}

int plan_check(const struct plan *plan, const struct options *options)
{
	if (plan->ports || (plan->existing && plan->waiting))
		return 0;
	if (options->automatic && !plan->existing) {
		log_error("--iface auto: no interface forwards; switch forwarding on (sysctl -w "
			  "net.ipv4.ip_forward=1, net.ipv6.conf.all.forwarding=1) or name the "
			  "interfaces");
		return -ENODEV;
	}
	for (size_t i = 0; i < plan->rows; i++) {
		if (!plan->existing)
			log_error("interface '%s': there is no such interface; 'ip link' lists "
				  "those there are",
				  plan->row[i].interface);
		else if (!options->automatic || plan->row[i].mode == PLAN_LEFT_OUT)
			log_error("interface '%s': %s; name interfaces between which the router "
				  "forwards, with ports that carry Ethernet frames",
				  plan->row[i].interface, plan->row[i].note);
	}
	return -ENODEV;
}
