/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpfw.skel.h"
#include "lab.h"
#include "nat.h"
#include "rtnl.h"
#include "tap.h"
#include "util.h"

#define CANDIDATE_SETS 8192

const char *const lab_hook_names[LAB_HOOKS] = { [LAB_XDP] = "xdp", [LAB_TC] = "tc" };

/* ---- Interfaces -------------------------------------------------------------- */

static int add_veth(struct rtnl *rtnl, const char *name, const char *peer)
{
	char buffer[1024];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nlattr *info, *data, *peer_info;

	request->nlmsg_type = RTM_NEWLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	info = mnl_attr_nest_start(request, IFLA_LINKINFO);
	mnl_attr_put_strz(request, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(request, IFLA_INFO_DATA);
	peer_info = mnl_attr_nest_start(request, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, peer);
	mnl_attr_nest_end(request, peer_info);
	mnl_attr_nest_end(request, data);
	mnl_attr_nest_end(request, info);
	return rtnl_request(rtnl, request, NULL, NULL);
}

/* if_nametoindex() by hand: <net/if.h> and <linux/if.h> exclude each other. */
static int keep_ifindex(const struct nlmsghdr *message, void *data)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);

	*(uint32_t *)data = (uint32_t)header->ifi_index;
	return MNL_CB_OK;
}

static uint32_t find_ifindex(struct rtnl *rtnl, const char *name)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	uint32_t ifindex = 0;

	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST;
	mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(request, IFLA_IFNAME, name);
	if (rtnl_request(rtnl, request, keep_ifindex, &ifindex) || !ifindex)
		tap_bail_out("no interface %s", name);
	return ifindex;
}

static void make_interfaces(struct lab *lab)
{
	static struct rtnl rtnl;
	int err = rtnl_open(&rtnl);

	if (err)
		tap_bail_out("rtnetlink: %s", strerror(-err));
	err = add_veth(&rtnl, "lan", "lan-host");
	if (err == -EOPNOTSUPP)
		tap_skip_all("the kernel has no veth");
	if (!err)
		err = add_veth(&rtnl, "wan", "wan-host");
	if (!err)
		err = add_veth(&rtnl, "elsewhere", "nowhere");
	if (err)
		tap_bail_out("cannot make a veth pair: %s", strerror(-err));
	lab->side[LAN].ifindex = find_ifindex(&rtnl, "lan");
	lab->side[WAN].ifindex = find_ifindex(&rtnl, "wan");
	lab->side[LAN].host = find_ifindex(&rtnl, "lan-host");
	lab->side[WAN].host = find_ifindex(&rtnl, "wan-host");
	lab->elsewhere = find_ifindex(&rtnl, "elsewhere");
	rtnl_close(&rtnl);
}

/* Set a device up, or delete it. */
static void change_link(uint16_t type, uint32_t ifindex)
{
	static struct rtnl rtnl;
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *header;
	int err = rtnl_open(&rtnl);

	request->nlmsg_type = type;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
	header->ifi_index = (int)ifindex;
	if (type == RTM_NEWLINK)
		header->ifi_flags = header->ifi_change = IFF_UP;
	if (!err)
		err = rtnl_request(&rtnl, request, NULL, NULL);
	if (err)
		tap_bail_out("cannot change an interface: %s", strerror(-err));
	rtnl_close(&rtnl);
}

static int keep_operstate(const struct nlmsghdr *message, void *data)
{
	const struct nlattr *attribute;

	mnl_attr_for_each(attribute, message, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(attribute) == IFLA_OPERSTATE)
			*(uint8_t *)data = mnl_attr_get_u8(attribute);
	return MNL_CB_OK;
}

/* Until the kernel's link watch has been there, a device that is up drops what it sends. */
static void wait_until_up(uint32_t ifindex)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	uint64_t end = clock_ms() + 10000;
	static struct rtnl rtnl;
	uint8_t operstate = 0;

	if (rtnl_open(&rtnl))
		tap_bail_out("rtnetlink");
	while (operstate != IF_OPER_UP && clock_ms() < end) {
		char buffer[256];
		struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
		struct ifinfomsg *header;

		request->nlmsg_type = RTM_GETLINK;
		request->nlmsg_flags = NLM_F_REQUEST;
		header = mnl_nlmsg_put_extra_header(request, sizeof(*header));
		header->ifi_index = (int)ifindex;
		if (rtnl_request(&rtnl, request, keep_operstate, &operstate))
			tap_bail_out("an interface is gone");
		if (operstate != IF_OPER_UP)
			nanosleep(&pause, NULL);
	}
	rtnl_close(&rtnl);
}

void lab_go_live(struct lab *lab)
{
	_cleanup_close_ int fd =
		open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
	_cleanup_close_ int all =
		open("/proc/sys/net/ipv6/conf/all/disable_ipv6", O_WRONLY | O_CLOEXEC);

	/* Without it, multicast of the kernel's own shows up, which the tests can stand. */
	if (write(fd, "1", 1) != 1 || write(all, "1", 1) != 1)
		tap_note("IPv6 cannot be switched off in the namespace");
	for (size_t i = 0; i < LAB_SIDES; i++) {
		change_link(RTM_NEWLINK, lab->side[i].ifindex);
		change_link(RTM_NEWLINK, lab->side[i].host);
	}
	for (size_t i = 0; i < LAB_SIDES; i++) {
		wait_until_up(lab->side[i].ifindex);
		wait_until_up(lab->side[i].host);
	}
}

void lab_delete_elsewhere(struct lab *lab)
{
	change_link(RTM_DELLINK, lab->elsewhere);
	lab->elsewhere = 0;
}

/* ---- The programs ------------------------------------------------------------ */

static bool keep_signal(void *context, const struct bpfw_signal *signal)
{
	struct lab *lab = context;

	lab->signal[lab->signals++ % LAB_SIGNALS] = *signal;
	return true;
}

void lab_set_port(struct lab *lab, enum lab_side_id id)
{
	const struct lab_side *side = &lab->side[id];
	struct bpfw_port port = { .macs = 2 };

	memcpy(port.mac[0], side->mac, 6);
	memcpy(port.mac[1], side->upper, 6);
	if (datapath_set_port(&lab->datapath, side->ifindex, &port))
		tap_bail_out("cannot set a port");
}

static void set_ports(struct lab *lab)
{
	static const uint8_t mac[LAB_SIDES][6] = { { 2, 0, 0, 0, 0, 0x10 },
						   { 2, 0, 0, 0, 0, 0x20 } };

	for (size_t i = 0; i < LAB_SIDES; i++) {
		struct lab_side *side = &lab->side[i];

		memcpy(side->mac, mac[i], 6);
		memcpy(side->upper, mac[i], 6);
		memcpy(side->peer, mac[i], 6);
		side->upper[5] |= 2;
		side->peer[5] |= 1;
		lab_set_port(lab, i);
		if (datapath_add_egress(&lab->datapath, side->ifindex))
			tap_bail_out("cannot set an egress");
	}
}

static void read_exits(const struct lab *lab, uint64_t exits[EXIT_REASONS])
{
	struct bpfw_exit_counters counters[256];
	int cpus = libbpf_num_possible_cpus();
	uint32_t zero = 0;

	if (cpus < 1 || (size_t)cpus > ARRAY_SIZE(counters) ||
	    bpf_map_lookup_elem(bpf_map__fd(lab->datapath.skeleton->maps.exits), &zero, counters))
		tap_bail_out("cannot read the exit counters");
	memset(exits, 0, EXIT_REASONS * sizeof(*exits));
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < EXIT_REASONS; i++)
			exits[i] += counters[cpu].count[i];
}

/* Without a context, frames come from the loopback device. */
static bool takes_xdp_ingress(const struct lab *lab)
{
	const uint8_t frame[64] = { 0 };
	struct xdp_md xdp = { .data_end = sizeof(frame),
			      .ingress_ifindex = lab->side[LAN].ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &xdp, .ctx_size_in = sizeof(xdp));

	return bpf_prog_test_run_opts(datapath_xdp_fd(&lab->datapath), &run) != -EINVAL;
}

static void open_lab(struct lab *lab, bool detect_partial, bool switched)
{
	const struct datapath_config config = {
		.max_flows = 4096,
		.candidate_sets = CANDIDATE_SETS,
		.detect_partial = detect_partial,
		.want_xdp = true,
		.want_tc = true,
		.switched = switched,
	};
	int err;

	memset(lab, 0, sizeof(*lab));
	if (geteuid())
		tap_skip_all("BPF_PROG_TEST_RUN needs root");
	if (unshare(CLONE_NEWNET))
		tap_skip_all("no network namespaces here");
	make_interfaces(lab);
	if (datapath_load(&lab->datapath, &config) ||
	    datapath_set_signals(&lab->datapath, keep_signal, lab))
		tap_bail_out("the programs cannot be loaded");
	err = untag_open(&lab->untag, lab->datapath.skeleton->progs.bpfw_tc);
	if (err)
		tap_bail_out("the program for TC's tags cannot be loaded: %s", strerror(-err));
	set_ports(lab);
	lab_heartbeat(lab);
	lab->no_xdp_runs = !takes_xdp_ingress(lab);
	read_exits(lab, lab->exits);
}

void lab_open(struct lab *lab, bool detect_partial)
{
	open_lab(lab, detect_partial, false);
}

void lab_open_switched(struct lab *lab)
{
	open_lab(lab, false, true);
}

void lab_close(struct lab *lab)
{
	untag_close(&lab->untag);
	datapath_unload(&lab->datapath);
}

void lab_heartbeat(struct lab *lab)
{
	datapath_heartbeat(&lab->datapath, clock_ms());
}

void lab_expire_heartbeat(struct lab *lab)
{
	/* The two clocks may differ by a tick. */
	lab->datapath.skeleton->bss->valid_until =
		clock_to_jiffies(&lab->datapath.clock, clock_ms()) - 3;
}

/* ---- Runs -------------------------------------------------------------------- */

static enum lab_verdict name_verdict(enum lab_hook hook, uint32_t value)
{
	static const uint32_t values[LAB_HOOKS][VERDICT_OTHER] = {
		[LAB_XDP] = { XDP_PASS, XDP_REDIRECT, XDP_DROP },
		[LAB_TC] = { (uint32_t)TC_ACT_UNSPEC, TC_ACT_REDIRECT, TC_ACT_SHOT },
	};

	for (int i = 0; i < VERDICT_OTHER; i++)
		if (values[hook][i] == value)
			return (enum lab_verdict)i;
	return VERDICT_OTHER;
}

uint64_t lab_exit_count(const struct lab *lab, int reason)
{
	uint64_t exits[EXIT_REASONS];

	read_exits(lab, exits);
	return exits[reason];
}

static void read_changes(struct lab *lab, struct lab_outcome *outcome)
{
	uint64_t now[EXIT_REASONS];

	read_exits(lab, now);
	for (size_t i = 0; i < EXIT_REASONS; i++)
		outcome->exits[i] = now[i] - lab->exits[i];
	memcpy(lab->exits, now, sizeof(now));
}

/* Has the frame a tag that the kernel takes out before TC (skb_vlan_untag())? */
static bool has_outer_tag(const struct frame *frame)
{
	uint16_t type = frame_get16(frame, 12);

	return frame->len >= FRAME_L3 + 6 && (type == 0x8100 || type == 0x88a8);
}

/* Bring the tag beside the data back to where it is on the wire. */
static void finish_skb(const struct __sk_buff *skb, struct lab_outcome *outcome)
{
	struct frame *frame = &outcome->frame;

	outcome->priority = skb->priority;
	outcome->protocol = ntohs((uint16_t)skb->cb[UNTAG_PROTOCOL]);
	if (!skb->cb[UNTAG_PRESENT])
		return;
	frame_insert(frame, 12, 4);
	frame_put16(frame, 12, ntohs((uint16_t)skb->cb[UNTAG_OUT_TYPE]));
	frame_put16(frame, 14, (uint16_t)skb->cb[UNTAG_OUT_TCI]);
}

static void run_tc(struct lab *lab, const struct lab_arrival *arrival, uint32_t ingress,
		   const struct frame *in, struct lab_outcome *outcome)
{
	uint32_t gso_size = arrival ? arrival->gso_size : 0;
	struct __sk_buff skb = {
		.ifindex = ingress,
		.gso_size = gso_size,
		.gso_segs = gso_size ? 2 : 0,
	}, skb_out = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = in->data, .data_size_in = (uint32_t)in->len,
		    .data_out = outcome->frame.data, .data_size_out = FRAME_ROOM, .ctx_in = &skb,
		    .ctx_size_in = sizeof(skb), .ctx_out = &skb_out,
		    .ctx_size_out = sizeof(skb_out));

	if (has_outer_tag(in) && !(arrival && arrival->keep_tag)) {
		skb.cb[UNTAG_TYPE] = htons(frame_get16(in, 12));
		skb.cb[UNTAG_TCI] = frame_get16(in, 14);
	}
	outcome->err = bpf_prog_test_run_opts(lab->untag.fd, &run);
	outcome->frame.len = run.data_size_out;
	outcome->verdict = name_verdict(LAB_TC, run.retval);
	finish_skb(&skb_out, outcome);
}

static void run_xdp(struct lab *lab, uint32_t ingress, const struct frame *in,
		    struct lab_outcome *outcome)
{
	struct xdp_md xdp = { .data_end = (uint32_t)in->len, .ingress_ifindex = ingress };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = in->data, .data_size_in = (uint32_t)in->len,
		    .data_out = outcome->frame.data, .data_size_out = FRAME_ROOM, .ctx_in = &xdp,
		    .ctx_size_in = sizeof(xdp));

	outcome->err = bpf_prog_test_run_opts(datapath_xdp_fd(&lab->datapath), &run);
	outcome->frame.len = run.data_size_out;
	outcome->verdict = name_verdict(LAB_XDP, run.retval);
}

bool lab_can_run(const struct lab *lab, enum lab_hook hook)
{
	if (hook != LAB_XDP || !lab->no_xdp_runs)
		return true;
	tap_skip_next("BPF_PROG_TEST_RUN takes no ingress for XDP before Linux 5.14");
	return false;
}

void lab_run(struct lab *lab, enum lab_hook hook, const struct lab_arrival *arrival,
	     const struct frame *in, struct lab_outcome *outcome)
{
	uint32_t ingress = arrival && arrival->ingress ? arrival->ingress : lab->side[LAN].ifindex;

	if (!lab_can_run(lab, hook)) {
		*outcome = (struct lab_outcome){ .err = -EOPNOTSUPP, .verdict = VERDICT_OTHER };
		return;
	}
	if (hook == LAB_XDP)
		run_xdp(lab, ingress, in, outcome);
	else
		run_tc(lab, arrival, ingress, in, outcome);
	read_changes(lab, outcome);
}

int lab_only_exit(const struct lab_outcome *outcome)
{
	int only = -1;

	for (int i = 0; i < EXIT_REASONS; i++) {
		if (i == EXIT_SIGNAL || i == EXIT_SIGNAL_LOST || i == EXIT_FORGED ||
		    !outcome->exits[i])
			continue;
		if (only >= 0 || outcome->exits[i] > 1)
			return -1;
		only = i;
	}
	return only;
}

const char *lab_exit_name(int reason)
{
	static const char *const names[] = {
#define NAME(id, name, text) name,
		BPFW_EXITS(NAME)
#undef NAME
	};

	return reason >= 0 && reason < EXIT_REASONS ? names[reason] : "none, or several";
}

/* ---- Flows ------------------------------------------------------------------- */

uint32_t lab_jiffies(const struct lab *lab)
{
	return (uint32_t)clock_to_jiffies(&lab->datapath.clock, clock_ms());
}

static void put16(struct bpfw_action *action, uint16_t value)
{
	action->link[action->link_len++] = (uint8_t)(value >> 8);
	action->link[action->link_len++] = (uint8_t)value;
}

/* The link header that the flow leaves with, as it stands on the wire. */
static void put_link(const struct lab *lab, const struct lab_flow *flow, struct bpfw_action *action)
{
	const struct encapsulation *link = &flow->link_out;
	bool ipv6 = flow->to.family == AF_INET6;

	memcpy(action->link, lab->side[flow->egress].peer, 6);
	memcpy(action->link + 6, lab->side[flow->egress].mac, 6);
	action->link_len = 12;
	action->tags = link->tags;
	for (size_t i = 0; i < link->tags; i++) {
		put16(action, link->tag[i].type);
		if (flow->pcp_tag == i + 1)
			action->pcp_at = action->link_len;
		put16(action, link->tag[i].tci & 0xfff);
	}
	action->pcp = flow->pcp;
	if (!link->session) {
		put16(action, ipv6 ? 0x86dd : 0x0800);
		return;
	}
	put16(action, 0x8864);
	put16(action, 0x1100);
	put16(action, link->session);
	put16(action, 0); /* the program's to fill in */
	put16(action, ipv6 ? 0x0057 : 0x0021);
	action->flags |= FLOW_PPPOE;
	action->gso_egress = lab->side[flow->egress].ifindex;
}

struct segment lab_segment(const struct lab *lab, const struct lab_flow *flow)
{
	const struct encapsulation *link = &flow->link_in;
	struct segment segment = {
		.port = flow->user_port ? flow->user_port : lab->side[flow->ingress].ifindex,
		.session = htons(link->session),
	};

	for (size_t i = 0; i < link->tags && i < MAX_VLAN_TAGS; i++) {
		segment.vlan[i] = (link->tag[i].tci & 0xfff) | VLAN_TAGGED;
		if (link->tag[i].type == 0x88a8)
			segment.vlan[i] |= VLAN_SERVICE;
	}
	return segment;
}

static struct bpfw_action make_action(const struct lab *lab, const struct lab_flow *flow)
{
	struct bpfw_action action = {
		.egress = lab->side[flow->egress].ifindex,
		.mtu = flow->mtu,
		.verdict = flow->verdict,
		.wscale = flow->wscale,
		.switch_egress = flow->switch_egress,
		.last_seen = lab_jiffies(lab),
	};

	put_link(lab, flow, &action);
	if (flow->link_in.session) {
		action.flags |= FLOW_SESSION;
		memcpy(action.session_mac, lab->side[flow->ingress].peer, 6);
	}
	memcpy(action.ingress_mac, lab->side[flow->ingress].mac, 6);
	nat_fill_action(&flow->from, &flow->to, &action);
	return action;
}

/* The slot that has the flow's key, 0 for none. */
static uint32_t find_slot(const struct lab *lab, const struct lab_flow *flow)
{
	const struct segment segment = lab_segment(lab, flow);
	const struct bpfw_action nothing = { 0 };
	struct bpfw_flow wanted;

	offload_map_fill(&wanted, &flow->from, &segment, &flow->to, &nothing);
	for (uint32_t slot = 1; slot < lab->datapath.map.unused; slot++) {
		const struct bpfw_flow *have = &lab->datapath.map.flows[slot];
		bool ipv4 = wanted.family == AF_INET;

		if (have->family == wanted.family &&
		    !memcmp(have, &wanted, ipv4 ? sizeof(wanted.v4.key) : sizeof(wanted.v6.key)))
			return slot;
	}
	return 0;
}

void lab_set_action(struct lab *lab, const struct lab_flow *flow, const struct bpfw_action *action)
{
	const struct segment segment = lab_segment(lab, flow);
	struct bpfw_flow slot;

	lab_remove(lab, flow);
	offload_map_fill(&slot, &flow->from, &segment, &flow->to, action);
	if (!offload_map_add(&lab->datapath.map, &slot))
		tap_bail_out("no room for a flow");
}

void lab_install(struct lab *lab, const struct lab_flow *flow)
{
	struct bpfw_action action = make_action(lab, flow);

	lab_set_action(lab, flow, &action);
}

void lab_remove(struct lab *lab, const struct lab_flow *flow)
{
	uint32_t slot = find_slot(lab, flow);

	if (slot)
		offload_map_remove(&lab->datapath.map, slot);
}

struct bpfw_action lab_action(struct lab *lab, const struct lab_flow *flow)
{
	uint32_t slot = find_slot(lab, flow);

	if (!slot)
		tap_bail_out("a flow that was installed is gone");
	return *offload_map_action(&lab->datapath.map, slot);
}

struct lab_flow lab_opposite(const struct lab_flow *flow)
{
	struct lab_flow opposite = *flow;

	opposite.from = tuple_inverse(&flow->to);
	opposite.to = tuple_inverse(&flow->from);
	opposite.ingress = flow->egress;
	opposite.egress = flow->ingress;
	opposite.link_in = flow->link_out;
	opposite.link_out = flow->link_in;
	opposite.pcp_tag = 0;
	return opposite;
}

struct frame_spec lab_frame_spec(const struct lab *lab, const struct lab_flow *flow)
{
	struct frame_spec spec = {
		.tuple = flow->from,
		.link = flow->link_in,
		.ttl = 64,
		.tcp_flags = FLAG_ACK,
		.seq = 1000000,
		.ack = 2000000,
		.window = 512,
		.payload = 26,
		.fill = 0x5a,
	};

	memcpy(spec.dst_mac, lab->side[flow->ingress].mac, 6);
	memcpy(spec.src_mac, lab->side[flow->ingress].peer, 6);
	return spec;
}

/* ---- Signals ----------------------------------------------------------------- */

/* All that there are: a call hands out some hundred. */
unsigned int lab_read_signals(struct lab *lab)
{
	unsigned int before;

	do {
		before = lab->signals;
		datapath_read_signals(&lab->datapath);
	} while (lab->signals != before);
	return lab->signals;
}

void lab_forget_signals(struct lab *lab)
{
	lab_read_signals(lab);
	lab->signals = 0;
}

void lab_forget_candidates(struct lab *lab)
{
	memset(lab->datapath.candidates, 0, lab->datapath.candidates_len);
}

/* ---- Small things ------------------------------------------------------------ */

struct tuple lab_tuple(uint8_t protocol, const char *src, uint16_t sport, const char *dst,
		       uint16_t dport)
{
	struct tuple tuple = {
		.family = strchr(src, ':') ? AF_INET6 : AF_INET,
		.protocol = protocol,
		.sport = htons(sport),
		.dport = htons(dport),
	};

	if (inet_pton(tuple.family, src, &tuple.src) != 1 ||
	    inet_pton(tuple.family, dst, &tuple.dst) != 1)
		tap_bail_out("bad address in a test: %s or %s", src, dst);
	return tuple;
}

static uint64_t random_state;

void lab_seed(void)
{
	const char *given = getenv("BPFW_TEST_SEED");

	random_state = given ? strtoull(given, NULL, 0) : clock_ms() ^ (uint64_t)getpid() << 32;
	tap_note("seed: BPFW_TEST_SEED=%llu", (unsigned long long)random_state);
}

/* splitmix64 */
uint32_t lab_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (uint32_t)((z ^ (z >> 31)) >> 32);
}

uint32_t lab_random_below(uint32_t limit)
{
	return (uint32_t)((uint64_t)lab_random() * limit >> 32);
}
