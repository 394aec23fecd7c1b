/* SPDX-License-Identifier: GPL-2.0-only */
/* The plan: from made-up devices and options to ports, hooks, reasons and MACs. */
#include "unit.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "plan.h"

#define DEVICES 512

static struct link device[DEVICES]; /* by ifindex */
static bool forwards[DEVICES], strips[DEVICES], hides[DEVICES], unfit[DEVICES];
static struct links links;
static struct pppoe_sessions sessions;
static struct options options;
static struct plan plan;

static bool probe_forwards(void *context, const struct link *link)
{
	assert_ptr_equal(context, &links);
	return forwards[link->ifindex];
}

static bool probe_strips(void *context, const struct link *link)
{
	assert_ptr_equal(context, &links);
	return strips[link->ifindex];
}

static bool probe_hides(void *context, const struct link *link)
{
	assert_ptr_equal(context, &links);
	return hides[link->ifindex];
}

static bool probe_unfit(void *context, const struct link *link)
{
	assert_ptr_equal(context, &links);
	return unfit[link->ifindex];
}

static const struct plan_probes probes = { probe_forwards, probe_strips, probe_hides, probe_unfit,
					   &links };

static int reset(void **state)
{
	(void)state;
	memset(device, 0, sizeof(device));
	memset(forwards, 0, sizeof(forwards));
	memset(strips, 0, sizeof(strips));
	memset(hides, 0, sizeof(hides));
	memset(unfit, 0, sizeof(unfit));
	memset(&links, 0, sizeof(links));
	memset(&sessions, 0, sizeof(sessions));
	memset(&options, 0, sizeof(options));
	memset(&plan, 0xaa, sizeof(plan));
	return 0;
}

static struct link *add(uint32_t ifindex, const char *name, const char *kind)
{
	struct link *link = &device[ifindex];

	assert_true(ifindex < DEVICES && !link->ifindex);
	link->ifindex = ifindex;
	link->type = ARPHRD_ETHER;
	link->flags = IFF_UP;
	link->mac[0] = 2;
	link->mac[4] = (uint8_t)(ifindex >> 8);
	link->mac[5] = (uint8_t)ifindex;
	snprintf(link->name, sizeof(link->name), "%s", name);
	snprintf(link->kind, sizeof(link->kind), "%s", kind);
	link->next = links.bucket[ifindex % LINK_BUCKETS];
	links.bucket[ifindex % LINK_BUCKETS] = link;
	return link;
}

static void remove_device(uint32_t ifindex)
{
	struct link **at = &links.bucket[ifindex % LINK_BUCKETS];

	while (*at != &device[ifindex])
		at = &(*at)->next;
	*at = device[ifindex].next;
	memset(&device[ifindex], 0, sizeof(device[ifindex]));
}

static struct link *add_port(uint32_t ifindex, const char *name, const char *kind, uint32_t master)
{
	struct link *link = add(ifindex, name, kind);

	link->master = master;
	return link;
}

static struct link *add_vlan(uint32_t ifindex, const char *name, uint32_t lower, uint16_t id)
{
	struct link *link = add(ifindex, name, "vlan");

	link->lower = lower;
	link->vlan.id = id;
	return link;
}

static void add_ppp(uint32_t ifindex, const char *name, uint32_t lower)
{
	add(ifindex, name, "ppp")->type = ARPHRD_PPP;
	if (lower)
		sessions.session[sessions.count++] =
			(struct pppoe_session){ .ppp = ifindex, .lower = lower, .id = 0x1200 };
}

static void name_interface(const char *name, enum hook hook)
{
	struct interface_option *option = &options.interface[options.interfaces++];

	snprintf(option->name, sizeof(option->name), "%s", name);
	option->hook = hook;
	options.automatic = !strcmp(name, "auto");
}

static void make(void)
{
	plan_make(&plan, &options, &links, &sessions, &probes, false);
	assert_true(plan.rows <= PLAN_ROWS && plan.ports <= MAX_PORTS);
}

static void make_for(const char *name, enum hook hook)
{
	options.interfaces = 0;
	name_interface(name, hook);
	make();
}

/* The port `number` of a switch */
static struct link *add_user(uint32_t ifindex, const char *name, uint32_t conduit, uint8_t number)
{
	struct link *link = add(ifindex, name, "dsa");

	link->lower = conduit;
	link->switch_tag = SWITCH_TAG_MTK;
	link->switch_port = number;
	return link;
}

/* Row `i`: interface, path with '>' between the names, mode, a part of the note. */
static void expect_row(size_t i, const char *path, uint8_t mode, const char *note)
{
	const struct bpfw_plan_row *row = &plan.row[i];
	char text[PLAN_DEPTH * PLAN_NAME] = "";
	uint8_t hook = mode == PLAN_TC                             ? PLAN_HOOK_TC :
		       mode == PLAN_XDP || mode == PLAN_XDPGENERIC ? PLAN_HOOK_XDP :
								     PLAN_HOOK_NONE;

	assert_true(i < plan.rows);
	for (size_t name = 0; name < row->depth; name++) {
		strcat(text, name ? ">" : "");
		strcat(text, row->path[name]);
	}
	assert_string_equal(text, path);
	assert_string_equal(row->interface, row->path[0]);
	assert_string_equal(plan_mode_name(row->mode), plan_mode_name(mode));
	assert_int_equal(row->hook, hook);
	assert_int_equal(!row->port, hook == PLAN_HOOK_NONE);
	if (row->port)
		assert_string_equal(device[row->port].name, row->path[row->depth - 1]);
	if (!strstr(row->note, note) || (!note[0] && row->note[0]))
		fail_msg("the note of %s is '%s', not '%s'", path, row->note, note);
}

/* A table with one row. */
static void expect_only(const char *path, uint8_t mode, const char *note)
{
	assert_int_equal(plan.rows, 1);
	expect_row(0, path, mode, note);
	assert_int_equal(plan.ports, plan.row[0].port ? 1 : 0);
}

static void expect_port(size_t i, uint32_t ifindex, enum hook hook)
{
	assert_true(i < plan.ports);
	assert_int_equal(plan.port[i].ifindex, ifindex);
	assert_string_equal(plan.port[i].name, device[ifindex].name);
	assert_int_equal(plan.port[i].hook, hook);
	assert_ptr_equal(plan_find_port(&plan, ifindex), &plan.port[i]);
}

/* ---- Down to the port -------------------------------------------------------- */

static void test_port(void **state)
{
	(void)state;
	add(3, "lan0", "veth");
	add(4, "eth0", "");
	make_for("lan0", HOOK_AUTO);
	expect_only("lan0", PLAN_XDP, "");
	expect_port(0, 3, HOOK_AUTO);
	make_for("lan0", HOOK_TC);
	expect_only("lan0", PLAN_TC, "");
	make_for("eth0", HOOK_XDP);
	expect_only("eth0", PLAN_XDP, "");
	expect_port(0, 4, HOOK_XDP);
	make_for("eth0", HOOK_XDPGENERIC);
	expect_only("eth0", PLAN_XDPGENERIC, "");
	assert_int_equal(plan.existing, 1);
	assert_int_equal(plan.waiting, 0);
}

static void test_bridge(void **state)
{
	(void)state;
	add(9, "br-lan", "bridge");
	make_for("br-lan", HOOK_AUTO);
	expect_only("br-lan", PLAN_NOT_ATTACHED, "no ports yet");
	/* In the order of their numbers, whatever bucket they are in */
	add_port(LINK_BUCKETS + 1, "lan3", "veth", 9);
	add_port(20, "lan2", "veth", 9);
	add_port(8, "lan1", "veth", 9);
	add(7, "other", "veth");
	make_for("br-lan", HOOK_AUTO);
	assert_int_equal(plan.rows, 3);
	expect_row(0, "br-lan>lan1", PLAN_XDP, "");
	expect_row(1, "br-lan>lan2", PLAN_XDP, "");
	expect_row(2, "br-lan>lan3", PLAN_XDP, "");
	assert_int_equal(plan.ports, 3);
	expect_port(0, 8, HOOK_AUTO);
	expect_port(1, 20, HOOK_AUTO);
	expect_port(2, LINK_BUCKETS + 1, HOOK_AUTO);
	/* A port of it by its own name */
	make_for("lan2", HOOK_TC);
	expect_only("lan2", PLAN_TC, "");
}

static void test_vlan(void **state)
{
	(void)state;
	add(2, "eth0", "veth");
	add_vlan(3, "eth0.10", 2, 10);
	add_vlan(4, "eth0.10.20", 3, 20);
	add_vlan(5, "three", 4, 30);
	add_vlan(6, "elsewhere", 0, 5);
	make_for("eth0.10", HOOK_TC);
	expect_only("eth0.10>eth0", PLAN_TC, "");
	make_for("eth0.10.20", HOOK_TC);
	expect_only("eth0.10.20>eth0.10>eth0", PLAN_TC, "");
	make_for("three", HOOK_TC);
	expect_only("three>eth0.10.20>eth0.10", PLAN_LEFT_OUT, "more than 2 VLAN tags");
	make_for("elsewhere", HOOK_TC);
	expect_only("elsewhere", PLAN_LEFT_OUT, "another network namespace");
}

static void test_vlan_and_bridge(void **state)
{
	(void)state;
	/* A VLAN device on a bridge */
	add(10, "br0", "bridge");
	add_port(11, "p1", "veth", 10);
	add_port(12, "p2", "veth", 10);
	add_vlan(13, "br0.7", 10, 7);
	make_for("br0.7", HOOK_TC);
	assert_int_equal(plan.rows, 2);
	expect_row(0, "br0.7>br0>p1", PLAN_TC, "");
	expect_row(1, "br0.7>br0>p2", PLAN_TC, "");
	/* A bridge on VLAN devices of one port: the port is there once */
	add(20, "br1", "bridge");
	add(21, "q", "veth");
	add_vlan(22, "q.1", 21, 1)->master = 20;
	add_vlan(23, "q.2", 21, 2)->master = 20;
	make_for("br1", HOOK_TC);
	assert_int_equal(plan.rows, 2);
	expect_row(0, "br1>q.1>q", PLAN_TC, "");
	expect_row(1, "br1>q.2>q", PLAN_TC, "");
	assert_int_equal(plan.ports, 1);
	expect_port(0, 21, HOOK_TC);
}

static void test_pppoe(void **state)
{
	(void)state;
	add(2, "eth1", "veth");
	add_vlan(3, "eth1.7", 2, 7);
	add_ppp(4, "pppoe-wan", 3);
	add_ppp(5, "ppp1", 2);
	add_ppp(6, "modem", 0);
	add_ppp(7, "stale", 99);
	make_for("pppoe-wan", HOOK_TC);
	expect_only("pppoe-wan>eth1.7>eth1", PLAN_TC, "");
	make_for("ppp1", HOOK_TC);
	expect_only("ppp1>eth1", PLAN_TC, "");
	assert_false(plan.port[0].bare);
	/* No PPPoE, or a session whose wire is not known: what comes out of the device itself */
	make_for("modem", HOOK_TC);
	expect_only("modem", PLAN_TC, "");
	assert_true(plan.port[0].bare);
	make_for("stale", HOOK_TC);
	expect_only("stale", PLAN_TC, "");
	assert_true(plan.port[0].bare);
	assert_int_equal(plan_check(&plan, &options), 0);
	/* The wire has come. */
	add(99, "eth2", "veth");
	make_for("stale", HOOK_TC);
	expect_only("stale>eth2", PLAN_TC, "");
	assert_false(plan.port[0].bare);
}

/* ---- Hooks ------------------------------------------------------------------- */

static void test_kinds_without_xdp(void **state)
{
	static const char *const kinds[] = { "bond", "macvlan", "vxlan", "team", "gretap", "dsa" };
	static const enum hook hooks[] = { HOOK_XDP, HOOK_XDPGENERIC };

	(void)state;
	for (uint32_t i = 0; i < 6; i++) {
		reset(NULL);
		add(2, "dev", kinds[i]);
		add(3, "lan0", "veth");
		make_for("dev", HOOK_TC);
		expect_only("dev", PLAN_TC, "");
		for (size_t j = 0; j < 2; j++) {
			make_for("dev", hooks[j]);
			expect_only("dev", PLAN_TC, "behind XDP");
			assert_non_null(strstr(plan.row[0].note, kinds[i]));
			expect_port(0, 2, HOOK_TC);
		}
		/* One that cannot takes the automatic ones with it, and only those. */
		make_for("dev", HOOK_AUTO);
		name_interface("lan0", HOOK_AUTO);
		make();
		assert_true(plan.auto_is_tc);
		expect_row(0, "dev", PLAN_TC, "behind XDP");
		expect_row(1, "lan0", PLAN_TC, "as for all");
		expect_port(1, 3, HOOK_AUTO);
		options.interface[1].hook = HOOK_XDP;
		make();
		expect_row(1, "lan0", PLAN_XDP, "");
		options.interface[0].hook = HOOK_TC;
		options.interface[1].hook = HOOK_AUTO;
		make();
		assert_false(plan.auto_is_tc);
		expect_row(1, "lan0", PLAN_XDP, "");
	}
}

/* What nobody can be sure of is not chosen, but it is done if it is asked for. */
static void test_hidden_target(void **state)
{
	(void)state;
	add(2, "lan0", "veth");
	hides[2] = true;
	make_for("lan0", HOOK_AUTO);
	expect_only("lan0", PLAN_TC, "does not say");
	assert_true(plan.auto_is_tc);
	make_for("lan0", HOOK_XDP);
	expect_only("lan0", PLAN_XDP, "");
}

/* Automatic ports that have gone to TC stay there. */
static void test_auto_stays_at_tc(void **state)
{
	(void)state;
	add(3, "lan0", "veth");
	add(4, "wan0", "veth");
	make_for("lan0", HOOK_AUTO);
	name_interface("wan0", HOOK_XDP);
	plan_make(&plan, &options, &links, &sessions, &probes, true);
	assert_true(plan.auto_is_tc);
	expect_row(0, "lan0", PLAN_TC, "as for all");
	expect_row(1, "wan0", PLAN_XDP, "");
	make();
	expect_row(0, "lan0", PLAN_XDP, "");
	plan_move_to_tc(&plan);
	expect_row(0, "lan0", PLAN_TC, "as for all");
	expect_row(1, "wan0", PLAN_XDP, "");
}

static void test_one_port_of_two(void **state)
{
	(void)state;
	add(2, "eth0", "veth");
	add_vlan(3, "eth0.10", 2, 10);
	make_for("eth0", HOOK_TC);
	name_interface("eth0.10", HOOK_TC);
	make();
	assert_int_equal(plan.rows, 2);
	expect_row(0, "eth0", PLAN_TC, "");
	expect_row(1, "eth0.10>eth0", PLAN_TC, "the port of 'eth0' too");
	assert_int_equal(plan.ports, 1);
	/* What one of them says goes before what the other leaves open. */
	options.interface[0].hook = HOOK_AUTO;
	make();
	assert_int_equal(plan.ports, 1);
	expect_port(0, 2, HOOK_TC);
	expect_row(0, "eth0", PLAN_TC, "the port of 'eth0.10' too");
	expect_row(1, "eth0.10>eth0", PLAN_TC, "");
	/* If both say something, the first. */
	options.interface[0].hook = HOOK_XDP;
	make();
	expect_port(0, 2, HOOK_XDP);
	expect_row(0, "eth0", PLAN_XDP, "the peer writes them");
	expect_row(1, "eth0.10>eth0", PLAN_XDP, "the port of 'eth0' too");
}

static void test_stripping(void **state)
{
	(void)state;
	add(2, "hard", "");
	add(3, "soft", "veth");
	add(4, "tagged", "veth");
	add_vlan(5, "tagged.5", 4, 5);
	add(6, "br", "bridge");
	add_port(7, "member", "veth", 6);
	memset(strips, true, sizeof(strips));
	/* Hardware: anybody may send tags there. */
	make_for("hard", HOOK_XDP);
	expect_only("hard", PLAN_LEFT_OUT, "ethtool -K hard rxvlan off");
	make_for("hard", HOOK_XDPGENERIC);
	expect_only("hard", PLAN_LEFT_OUT, "--rxvlan-off");
	make_for("hard", HOOK_TC);
	expect_only("hard", PLAN_TC, "");
	make_for("hard", HOOK_AUTO);
	expect_only("hard", PLAN_TC, "--rxvlan-off");
	assert_true(plan.auto_is_tc);
	/* Others: only if somebody uses tags. */
	make_for("soft", HOOK_XDP);
	expect_only("soft", PLAN_XDP, "");
	make_for("tagged", HOOK_XDP);
	expect_only("tagged", PLAN_LEFT_OUT, "ethtool -K tagged rxvlan off");
	make_for("tagged.5", HOOK_XDP);
	expect_only("tagged.5>tagged", PLAN_LEFT_OUT, "ethtool -K tagged rxvlan off");
	make_for("br", HOOK_XDP);
	expect_only("br>member", PLAN_XDP, "");
	device[6].bridge.vlan_filtering = true;
	make();
	expect_only("br>member", PLAN_LEFT_OUT, "VLAN tags are stripped");
	device[6].bridge.vlan_filtering = false;
	add_vlan(8, "br.8", 6, 8);
	make();
	expect_only("br>member", PLAN_LEFT_OUT, "VLAN tags are stripped");
	/* A port that does not strip is fine, used for tags or not. */
	memset(strips, false, sizeof(strips));
	make_for("hard", HOOK_XDP);
	expect_only("hard", PLAN_XDP, "");
	make_for("tagged", HOOK_XDP);
	expect_only("tagged", PLAN_XDP, "the peer writes them");
}

static void test_stripping_with_consent(void **state)
{
	(void)state;
	add(2, "hard", "");
	add(3, "soft", "veth");
	add(4, "bond0", "bond");
	memset(strips, true, sizeof(strips));
	options.rxvlan_off = true;
	make_for("hard", HOOK_XDP);
	expect_only("hard", PLAN_XDP, "stripping is switched off");
	assert_true(plan.port[0].strips_vlans);
	make_for("hard", HOOK_AUTO);
	expect_only("hard", PLAN_XDP, "stripping is switched off");
	assert_true(plan.port[0].strips_vlans);
	/* Nothing is switched where there is no need. */
	make_for("hard", HOOK_TC);
	expect_only("hard", PLAN_TC, "");
	assert_false(plan.port[0].strips_vlans);
	make_for("soft", HOOK_XDP);
	expect_only("soft", PLAN_XDP, "");
	assert_false(plan.port[0].strips_vlans);
	make_for("hard", HOOK_AUTO);
	name_interface("bond0", HOOK_AUTO);
	make();
	expect_row(0, "hard", PLAN_TC, "as for all");
	assert_false(plan.port[0].strips_vlans);
	assert_false(plan.port[1].strips_vlans);
}

/* ---- What is left out -------------------------------------------------------- */

static void test_left_out(void **state)
{
	static const struct {
		const char *kind;
		uint16_t type;
		uint32_t flags;
		const char *note;
	} cases[] = {
		{ "", ARPHRD_LOOPBACK, IFF_LOOPBACK, "loopback" },
		{ "vrf", ARPHRD_ETHER, 0, "VRF" },
		{ "dummy", ARPHRD_ETHER, 0, "dummy" },
		{ "ifb", ARPHRD_ETHER, 0, "ifb" },
		{ "ipip", ARPHRD_TUNNEL, 0, "a tunnel (ipip)" },
		{ "gre", ARPHRD_IPGRE, 0, "a tunnel (gre)" },
		{ "sit", ARPHRD_SIT, 0, "a tunnel (sit)" },
		{ "ip6tnl", ARPHRD_TUNNEL6, 0, "a tunnel (ip6tnl)" },
		{ "xfrm", ARPHRD_NONE, 0, "only the stack knows" },
		{ "", ARPHRD_INFINIBAND, 0, "only the stack knows" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct link *link;

		reset(NULL);
		link = add(2, "dev", cases[i].kind);
		link->type = cases[i].type;
		link->flags |= cases[i].flags;
		make_for("dev", HOOK_AUTO);
		expect_only("dev", PLAN_LEFT_OUT, cases[i].note);
		assert_false(plan.auto_is_tc);
		assert_int_equal(plan_check(&plan, &options), -ENODEV);
		/* With another one beside it, it is no reason to stop. */
		add(3, "lan0", "veth");
		name_interface("lan0", HOOK_AUTO);
		make();
		assert_int_equal(plan.rows, 2);
		expect_row(1, "lan0", PLAN_XDP, "");
		assert_int_equal(plan_check(&plan, &options), 0);
	}
}

/* ---- Devices without a link layer --------------------------------------------- */

static void check_bare(uint32_t ifindex, enum hook hook, const char *note)
{
	const char *name = device[ifindex].name;

	make_for(name, hook);
	expect_only(name, PLAN_TC, note);
	expect_port(0, ifindex, HOOK_TC);
	assert_true(plan.port[0].bare);
	assert_false(plan.port[0].strips_vlans);
	assert_false(plan.auto_is_tc);
	assert_false(plan.only_wires);
	assert_int_equal(plan_check(&plan, &options), 0);
}

static void test_bare(void **state)
{
	static const struct {
		const char *kind;
		uint16_t type;
	} kinds[] = { { "wireguard", ARPHRD_NONE }, { "tun", ARPHRD_NONE }, { "ppp", ARPHRD_PPP } };

	(void)state;
	add(3, "lan0", "veth");
	add(4, "red", "vrf");
	memset(strips, true, sizeof(strips));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		add(2, "dev", kinds[i].kind)->type = kinds[i].type;
		check_bare(2, HOOK_TC, "");
		check_bare(2, HOOK_XDP, "no Ethernet header");
		check_bare(2, HOOK_XDPGENERIC, "no Ethernet header");
		check_bare(2, HOOK_AUTO, "no Ethernet header");
		/* The others keep XDP. */
		name_interface("lan0", HOOK_AUTO);
		make();
		expect_row(1, "lan0", PLAN_XDP, "");
		expect_port(1, 3, HOOK_AUTO);
		assert_false(plan.port[1].bare);
		assert_false(plan.auto_is_tc);
		device[2].master = 4;
		check_bare(2, HOOK_TC, "");
		remove_device(2);
	}
	/* The other mode of a tun device has frames. */
	add(2, "tap0", "tun");
	make_for("tap0", HOOK_XDP);
	expect_only("tap0", PLAN_XDP, "");
	assert_false(plan.port[0].bare);
}

/* ---- Ports of a switch ---------------------------------------------------------- */

/* Port `i` of the plan is the conduit, with these ports of its switch and no others. */
static void expect_conduit(size_t i, uint32_t ifindex, enum hook hook, const uint32_t user[])
{
	const struct plan_port *port = &plan.port[i];

	expect_port(i, ifindex, hook);
	assert_int_equal(port->conduit, 0);
	assert_int_equal(port->switched.tag, SWITCH_TAG_MTK);
	assert_memory_equal(port->switched.user, user, sizeof(port->switched.user));
	assert_true(plan.switched);
}

static void expect_user(size_t i, uint32_t ifindex, enum hook hook, uint32_t conduit)
{
	const struct bpfw_conduit none = { 0 };

	expect_port(i, ifindex, hook);
	assert_int_equal(plan.port[i].conduit, conduit);
	assert_memory_equal(&plan.port[i].switched, &none, sizeof(none));
	assert_false(plan.port[i].bare);
}

static void test_switch(void **state)
{
	const uint32_t one[SWITCH_PORTS] = { [1] = 3 }, both[SWITCH_PORTS] = { [0] = 4, [1] = 3 };

	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1);
	add_user(4, "lan0", 2, 0);
	make_for("lan1", HOOK_XDP);
	assert_int_equal(plan.rows, 1);
	expect_row(0, "lan1>eth0", PLAN_XDP, "port 1 behind the switch, tag mtk");
	assert_int_equal(plan.ports, 2);
	expect_conduit(0, 2, HOOK_XDP, one);
	expect_user(1, 3, HOOK_XDP, 2);
	assert_true(plan.only_wires);
	assert_int_equal(plan_check(&plan, &options), 0);
	make_for("lan1", HOOK_XDPGENERIC);
	expect_row(0, "lan1>eth0", PLAN_XDPGENERIC, "port 1 behind the switch, tag mtk");
	expect_conduit(0, 2, HOOK_XDPGENERIC, one);
	expect_user(1, 3, HOOK_XDPGENERIC, 2);
	name_interface("lan0", HOOK_XDPGENERIC);
	make();
	assert_int_equal(plan.ports, 3);
	expect_row(1, "lan0>eth0", PLAN_XDPGENERIC, "port 0 behind the switch, tag mtk");
	expect_conduit(0, 2, HOOK_XDPGENERIC, both);
	expect_user(2, 4, HOOK_XDPGENERIC, 2);
	/* Named by itself, the conduit has no ports of ours behind it. */
	make_for("eth0", HOOK_XDP);
	expect_only("eth0", PLAN_XDP, "");
	assert_int_equal(plan.port[0].switched.tag, SWITCH_TAG_NONE);
	assert_false(plan.switched);
}

static void test_switch_formats(void **state)
{
	static const struct {
		uint8_t tag;
		const char *note;
	} formats[] = {
		{ SWITCH_TAG_MTK, "tag mtk" },
		{ SWITCH_TAG_QCA, "tag qca" },
		{ SWITCH_TAG_GSWIP, "tag gswip" },
	};

	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan7", 2, 7);
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		device[3].switch_tag = formats[i].tag;
		make_for("lan7", HOOK_XDP);
		expect_row(0, "lan7>eth0", PLAN_XDP, formats[i].note);
		assert_int_equal(plan.port[0].switched.tag, formats[i].tag);
		assert_int_equal(plan.port[0].switched.user[7], 3);
	}
	/* A format that is not known, and a conduit that is not */
	device[3].switch_tag = SWITCH_TAG_NONE;
	make_for("lan7", HOOK_XDP);
	expect_only("lan7", PLAN_TC, "behind XDP");
	device[3].switch_tag = SWITCH_TAG_MTK;
	device[3].lower = 77;
	make_for("lan7", HOOK_XDP);
	expect_only("lan7", PLAN_TC, "behind XDP");
	assert_false(plan.switched);
}

/* At TC the kernel has taken the tag off already: the switch's port is one as any other. */
static void test_switch_at_tc(void **state)
{
	static const enum hook hooks[] = { HOOK_TC, HOOK_AUTO };

	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1);
	add(4, "wan0", "veth");
	for (size_t i = 0; i < 2; i++) {
		bool automatic = hooks[i] == HOOK_AUTO;

		make_for("lan1", hooks[i]);
		expect_only("lan1", PLAN_TC, automatic ? "behind XDP" : "");
		expect_user(0, 3, HOOK_TC, 0);
		assert_false(plan.switched);
		name_interface("wan0", HOOK_AUTO);
		make();
		expect_row(1, "wan0", automatic ? PLAN_TC : PLAN_XDP,
			   automatic ? "as for all" : "");
		assert_int_equal(plan.auto_is_tc, automatic);
	}
}

static void test_switch_bridged(void **state)
{
	const uint32_t user[SWITCH_PORTS] = { [1] = 3, [2] = 4, [5] = 8 };

	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1)->master = 5;
	add_user(4, "lan2", 2, 2)->master = 5;
	add(5, "br-lan", "bridge");
	add_port(6, "ap0", "veth", 5);
	add_vlan(7, "br-lan.7", 5, 7);
	add_user(8, "wan", 2, 5);
	add_vlan(9, "wan.9", 8, 9);
	add_ppp(10, "pppoe-wan", 9);
	make_for("br-lan.7", HOOK_XDP);
	name_interface("pppoe-wan", HOOK_XDP);
	make();
	assert_int_equal(plan.rows, 4);
	expect_row(0, "br-lan.7>br-lan>lan1>eth0", PLAN_XDP, "port 1 behind the switch");
	expect_row(1, "br-lan.7>br-lan>lan2>eth0", PLAN_XDP, "port 2 behind the switch");
	expect_row(2, "br-lan.7>br-lan>ap0", PLAN_XDP, "the peer writes them");
	expect_row(3, "pppoe-wan>wan.9>wan>eth0", PLAN_XDP, "port 5 behind the switch");
	assert_int_equal(plan.ports, 5);
	expect_conduit(0, 2, HOOK_XDP, user);
	expect_user(1, 3, HOOK_XDP, 2);
	expect_user(2, 4, HOOK_XDP, 2);
	expect_user(3, 6, HOOK_XDP, 0);
	expect_user(4, 8, HOOK_XDP, 2);
	/* What is above a port of the switch is above no other, nor above the conduit. */
	assert_int_equal(plan.port[0].receives.macs, 1);
	assert_int_equal(plan.port[1].receives.macs, 3);
	assert_int_equal(plan.port[4].receives.macs, 2);
	assert_memory_equal(plan.port[4].receives.mac[0], device[8].mac, 6);
	/* Only one of the hooks meets the tags. */
	make_for("br-lan.7", HOOK_TC);
	assert_int_equal(plan.rows, 3);
	expect_row(0, "br-lan.7>br-lan>lan1", PLAN_TC, "");
	expect_user(0, 3, HOOK_TC, 0);
	assert_false(plan.switched);
}

/* Frames from the switch have VLAN tags as well, which must come with them. */
static void test_switch_strips(void **state)
{
	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1);
	strips[2] = true;
	make_for("lan1", HOOK_XDP);
	expect_only("lan1>eth0", PLAN_LEFT_OUT, "ethtool -K eth0 rxvlan off");
	assert_false(plan.switched);
	assert_int_equal(plan_check(&plan, &options), -ENODEV);
	options.rxvlan_off = true;
	make();
	expect_row(0, "lan1>eth0", PLAN_XDP, "port 1 behind the switch");
	assert_true(plan.port[0].strips_vlans);
	assert_false(plan.port[1].strips_vlans);
	assert_true(plan.switched);
}

/* The program that is loaded knows no tags, and cannot be exchanged. */
static void test_switch_is_new(void **state)
{
	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1);
	add(4, "wan0", "veth");
	unfit[3] = true;
	make_for("lan1", HOOK_XDP);
	expect_only("lan1>eth0", PLAN_LEFT_OUT, "start bpfw again");
	assert_false(plan.switched);
	name_interface("wan0", HOOK_XDP);
	make();
	expect_row(1, "wan0", PLAN_XDP, "");
	make_for("lan1", HOOK_TC);
	expect_only("lan1", PLAN_TC, "");
}

static void test_switch_captured(void **state)
{
	(void)state;
	add(2, "eth0", "")->master = 5;
	add_user(3, "lan1", 2, 1);
	add_user(4, "lan2", 2, 2)->master = 5;
	add(5, "bond0", "bond");
	make_for("lan1", HOOK_XDP);
	expect_only("lan1>eth0", PLAN_LEFT_OUT, "name 'bond0'");
	device[2].master = 0;
	make_for("lan2", HOOK_XDP);
	expect_only("lan2", PLAN_LEFT_OUT, "name 'bond0'");
	assert_false(plan.switched);
}

/* The first that says something counts, and nothing is shown at the conduit that is not there. */
static void test_switch_two_hooks(void **state)
{
	const uint32_t user[SWITCH_PORTS] = { [2] = 4 };
	const struct plan_port *lan1;

	(void)state;
	add(2, "eth0", "");
	add_user(3, "lan1", 2, 1)->master = 5;
	add_user(4, "lan2", 2, 2)->master = 5;
	add(5, "br-lan", "bridge");
	make_for("lan1", HOOK_TC);
	name_interface("br-lan", HOOK_XDP);
	make();
	lan1 = plan_find_port(&plan, 3);
	assert_non_null(lan1);
	assert_int_equal(lan1->hook, HOOK_TC);
	assert_int_equal(lan1->conduit, 0);
	assert_memory_equal(plan_find_port(&plan, 2)->switched.user, user, sizeof(user));
	assert_int_not_equal(plan.row[1].port, 2);
	/* The other way round both are at XDP. */
	make_for("br-lan", HOOK_XDP);
	name_interface("lan1", HOOK_TC);
	make();
	expect_row(2, "lan1", PLAN_XDP, "the port of 'br-lan' too");
	expect_user(1, 3, HOOK_XDP, 2);
	/* TC at the conduit comes before the tags are read. */
	make_for("eth0", HOOK_TC);
	name_interface("lan1", HOOK_XDP);
	make();
	expect_port(0, 2, HOOK_TC);
	assert_false(plan.switched);
	assert_int_not_equal(plan.row[1].port, 2);
}

static void test_captured(void **state)
{
	(void)state;
	add(2, "bond0", "bond");
	add_port(3, "eth0", "", 2);
	add(4, "blue", "vrf");
	add_port(5, "eth1", "veth", 4);
	add_port(6, "eth2", "veth", 77);
	add_vlan(7, "eth0.7", 3, 7);
	make_for("eth0", HOOK_TC);
	expect_only("eth0", PLAN_LEFT_OUT, "name 'bond0'");
	make_for("eth1", HOOK_TC);
	expect_only("eth1", PLAN_TC, "");
	make_for("eth2", HOOK_TC);
	expect_only("eth2", PLAN_LEFT_OUT, "another device");
	make_for("eth0.7", HOOK_TC);
	expect_only("eth0.7>eth0", PLAN_LEFT_OUT, "name 'bond0'");
	make_for("bond0", HOOK_TC);
	expect_only("bond0", PLAN_TC, "");
}

static void test_missing(void **state)
{
	(void)state;
	make_for("wan0", HOOK_AUTO);
	expect_only("wan0", PLAN_NOT_ATTACHED, "does not exist yet");
	assert_int_equal(plan_check(&plan, &options), -ENODEV);
	name_interface("br0", HOOK_AUTO);
	make();
	assert_int_equal(plan.rows, 2);
	assert_int_equal(plan_check(&plan, &options), -ENODEV);
	/* A bridge is enough to wait with, ports or not. */
	add(2, "br0", "bridge");
	make();
	assert_int_equal(plan_check(&plan, &options), 0);
	add_port(3, "wan0", "veth", 0);
	make();
	expect_row(0, "wan0", PLAN_XDP, "");
	expect_row(1, "br0", PLAN_NOT_ATTACHED, "no ports yet");
	assert_int_equal(plan_check(&plan, &options), 0);
	remove_device(3);
	add(4, "wan0", "veth");
	make();
	expect_port(0, 4, HOOK_AUTO);
}

static void test_automatic(void **state)
{
	(void)state;
	memset(forwards, true, sizeof(forwards));
	add(1, "lo", "")->flags |= IFF_LOOPBACK;
	make_for("auto", HOOK_AUTO);
	expect_only("lo", PLAN_LEFT_OUT, "loopback");
	assert_int_equal(plan_check(&plan, &options), -ENODEV);
	add(2, "eth0", "");
	add(3, "br-lan", "bridge");
	add_port(4, "lan1", "veth", 3);
	add(5, "bond0", "bond");
	add_port(6, "slave", "", 5);
	add(7, "wg0", "wireguard")->type = ARPHRD_NONE;
	add_vlan(8, "eth0.8", 2, 8);
	add(9, "still", "veth");
	add(10, "red", "vrf");
	add_port(11, "inred", "veth", 10);
	forwards[9] = forwards[4] = false; /* the bridge's port need not forward itself */
	make_for("auto", HOOK_TC);
	assert_int_equal(plan.rows, 9);
	expect_row(0, "lo", PLAN_LEFT_OUT, "loopback");
	expect_row(1, "eth0", PLAN_TC, "");
	expect_row(2, "br-lan>lan1", PLAN_TC, "");
	expect_row(3, "bond0", PLAN_TC, "");
	expect_row(4, "wg0", PLAN_TC, "");
	expect_row(5, "eth0.8>eth0", PLAN_TC, "the port of 'eth0' too");
	expect_row(6, "still", PLAN_LEFT_OUT, "forwarding is off");
	expect_row(7, "red", PLAN_LEFT_OUT, "VRF");
	expect_row(8, "inred", PLAN_TC, "");
	assert_int_equal(plan.ports, 5);
	assert_int_equal(plan_check(&plan, &options), 0);
	/* A device may have that name: it is not meant. */
	add(12, "auto", "veth");
	forwards[12] = false;
	make();
	expect_row(9, "auto", PLAN_LEFT_OUT, "forwarding is off");
	assert_int_equal(plan.rows, 10);
}

/* ---- MACs -------------------------------------------------------------------- */

static bool receives(const struct plan_port *port, uint32_t ifindex)
{
	for (uint32_t i = 0; i < port->receives.macs; i++)
		if (!memcmp(port->receives.mac[i], device[ifindex].mac, 6))
			return true;
	return false;
}

static void test_macs(void **state)
{
	(void)state;
	add(2, "br0", "bridge");
	add_port(3, "p", "veth", 2);
	add_vlan(4, "p.4", 3, 4);
	add_vlan(5, "br0.5", 2, 5);
	add(6, "br1", "bridge");
	add_vlan(7, "p.7", 3, 7)->master = 6;
	add_port(8, "neighbour", "veth", 2);
	make_for("p", HOOK_TC);
	assert_int_equal(plan.port[0].receives.macs, 6);
	for (uint32_t ifindex = 2; ifindex <= 7; ifindex++)
		assert_true(receives(&plan.port[0], ifindex));
	assert_false(receives(&plan.port[0], 8));
	/* VLAN devices have their device's MAC as a rule: it is there once. */
	memcpy(device[4].mac, device[3].mac, 6);
	memcpy(device[5].mac, device[2].mac, 6);
	memset(device[7].mac, 0, 6);
	make();
	assert_int_equal(plan.port[0].receives.macs, 3);
	/* The port's own comes first, and no more than there is room for. */
	for (uint32_t i = 0; i < 60; i++) {
		char name[IFNAMSIZ];

		snprintf(name, sizeof(name), "v%u", i);
		add_vlan(100 + i, name, 3, (uint16_t)(100 + i));
	}
	make();
	assert_int_equal(plan.port[0].receives.macs, PORT_MACS);
	assert_memory_equal(plan.port[0].receives.mac[0], device[3].mac, 6);
	assert_true(receives(&plan.port[0], 2));
}

/* ---- Bounds and changes ------------------------------------------------------ */

static void test_bounds(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	add(1, "br0", "bridge");
	for (uint32_t i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		add_port(2 + i, name, "veth", 1);
	}
	make_for("br0", HOOK_AUTO);
	assert_true(plan.truncated);
	assert_int_equal(plan.ports, MAX_PORTS);
	name_interface("p399", HOOK_AUTO);
	make();
	assert_int_equal(plan.ports, MAX_PORTS);
	/* Rows without ports have a bound of their own. */
	for (uint32_t i = 0; i < 400; i++)
		snprintf(device[2 + i].kind, sizeof(device[0].kind), "dummy");
	make();
	assert_true(plan.truncated);
	assert_int_equal(plan.rows, PLAN_ROWS);
	assert_int_equal(plan.ports, 0);
}

static void test_depth(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	/* br0 > v1 > br2 > v3 > ... cannot be tags without end, so ppp devices do. */
	for (uint32_t i = 1; i <= PLAN_DEPTH; i++) {
		snprintf(name, sizeof(name), "ppp%u", i);
		add_ppp(i, name, i + 1);
	}
	add(PLAN_DEPTH + 1, "end", "veth");
	make_for("ppp1", HOOK_TC);
	assert_int_equal(plan.rows, 1);
	assert_int_equal(plan.row[0].depth, PLAN_DEPTH);
	assert_int_equal(plan.row[0].mode, PLAN_LEFT_OUT);
	make_for("ppp2", HOOK_TC);
	expect_only("ppp2>ppp3>ppp4>ppp5>ppp6>ppp7>ppp8>end", PLAN_TC, "");
}

static void test_equal(void **state)
{
	static struct plan before;

	(void)state;
	add(2, "br0", "bridge");
	add_port(3, "p", "veth", 2);
	make_for("br0", HOOK_AUTO);
	before = plan;
	make();
	assert_true(plan_equal(&before, &plan));
	device[3].mtu = 9000; /* no concern of the plan's */
	make();
	assert_true(plan_equal(&before, &plan));
	device[2].mac[3] = 1;
	make();
	assert_false(plan_equal(&before, &plan));
	before = plan;
	add_port(4, "q", "veth", 2);
	make();
	assert_false(plan_equal(&before, &plan));
	before = plan;
	device[4].master = 0;
	make();
	assert_false(plan_equal(&before, &plan));
	before = plan;
	/* The same name with another number */
	remove_device(3);
	add_port(30, "p", "veth", 2);
	make();
	assert_false(plan_equal(&before, &plan));
	/* The same port of a switch at another place */
	add_user(31, "lan1", 30, 1);
	make_for("lan1", HOOK_XDP);
	before = plan;
	make();
	assert_true(plan_equal(&before, &plan));
	device[31].switch_port = 2;
	make();
	assert_false(plan_equal(&before, &plan));
}

static void test_wires(void **state)
{
	(void)state;
	add(2, "eth0", "");
	add_vlan(3, "eth0.3", 2, 3);
	add(4, "lan0", "veth");
	add(5, "br0", "bridge");
	add_port(6, "eth1", "", 5);
	make_for("eth0.3", HOOK_XDP);
	assert_true(plan.only_wires);
	name_interface("lan0", HOOK_XDP);
	make();
	assert_false(plan.only_wires);
	/* These may get others at any time. */
	make_for("br0", HOOK_XDP);
	assert_false(plan.only_wires);
	make_for("eth0", HOOK_XDP);
	name_interface("later", HOOK_XDP);
	make();
	assert_false(plan.only_wires);
	forwards[2] = true;
	make_for("auto", HOOK_XDP);
	assert_false(plan.only_wires);
	/* A virtual one among wires, for which the program was not made */
	unfit[4] = true;
	make_for("lan0", HOOK_XDP);
	expect_only("lan0", PLAN_TC, "start bpfw again");
}

/* A conduit stands before the ports of its switch, and is told of each, or of a namesake. */
static void check_conduits(void)
{
	for (size_t i = 0; i < plan.ports; i++) {
		const struct plan_port *port = &plan.port[i];
		const struct plan_port *conduit = plan_find_port(&plan, port->conduit);

		assert_int_equal(!conduit, !port->conduit);
		if (!conduit)
			continue;
		assert_true(plan.switched);
		assert_true(conduit < port);
		assert_true(conduit->switched.tag);
		assert_true(conduit->switched.user[device[port->ifindex].switch_port]);
	}
}

/* Devices as no kernel would have them: loops, missing ends, anything above anything. */
static void test_random(void **state)
{
	static const char *const kinds[] = { "",     "veth",  "bridge", "vlan",
					     "bond", "dummy", "bridge", "vlan" };

	(void)state;
	for (int round = 0; round < 2000; round++) {
		uint32_t count = 1 + unit_below(24);

		reset(NULL);
		for (uint32_t i = 1; i <= count; i++) {
			struct link *link;
			char name[IFNAMSIZ];

			snprintf(name, sizeof(name), "d%u", i);
			link = add(i, name, kinds[unit_below(8)]);
			link->master = unit_below(2) ? unit_below(count + 2) : 0;
			link->lower = unit_below(count + 2);
			link->vlan.id = (uint16_t)unit_below(3);
			link->switch_tag = (uint8_t)(unit_below(3) ? 0 : unit_below(4));
			link->switch_port = (uint8_t)unit_below(SWITCH_PORTS);
			unfit[i] = !unit_below(8);
			link->type = unit_below(8) ? ARPHRD_ETHER : ARPHRD_PPP;
			strips[i] = unit_below(2);
			forwards[i] = unit_below(4);
			if (link->type == ARPHRD_PPP)
				sessions.session[sessions.count++] = (struct pppoe_session){
					.ppp = i,
					.lower = unit_below(count + 2),
				};
		}
		options.rxvlan_off = unit_below(2);
		if (unit_below(2)) {
			name_interface("auto", (enum hook)unit_below(4));
		} else {
			name_interface("d1", (enum hook)unit_below(4));
			name_interface("d2", (enum hook)unit_below(4));
		}
		make();
		for (size_t i = 0; i < plan.rows; i++) {
			assert_in_range(plan.row[i].depth, 1, PLAN_DEPTH);
			assert_int_equal(!plan.row[i].port, plan.row[i].hook == PLAN_HOOK_NONE);
			if (plan.row[i].port)
				assert_non_null(plan_find_port(&plan, plan.row[i].port));
			else
				assert_true(plan.row[i].note[0]);
		}
		check_conduits();
	}
}

#define test(function) cmocka_unit_test_setup(function, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(test_port),
		test(test_bridge),
		test(test_vlan),
		test(test_vlan_and_bridge),
		test(test_pppoe),
		test(test_kinds_without_xdp),
		test(test_hidden_target),
		test(test_auto_stays_at_tc),
		test(test_one_port_of_two),
		test(test_stripping),
		test(test_stripping_with_consent),
		test(test_left_out),
		test(test_bare),
		test(test_switch),
		test(test_switch_formats),
		test(test_switch_at_tc),
		test(test_switch_bridged),
		test(test_switch_strips),
		test(test_switch_is_new),
		test(test_switch_captured),
		test(test_switch_two_hooks),
		test(test_captured),
		test(test_missing),
		test(test_automatic),
		test(test_macs),
		test(test_bounds),
		test(test_depth),
		test(test_equal),
		test(test_wires),
		test(test_random),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
