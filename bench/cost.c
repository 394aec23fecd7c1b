// SPDX-License-Identifier: GPL-2.0-only
/*
 * cost instructions     what each packet of a table costs, in executed instructions
 * cost time ROUNDS      the same in nanoseconds, by BPF_PROG_TEST_RUN
 *
 * A line for each packet and program, its fields separated by tabs. "instructions": program, "hit"
 * or the exit's name, packet, instructions, helpers called among them, "same" or what the kernel
 * made of the packet otherwise, and where the instructions are: file:line*count, in order. "time":
 * program, "hit" or exit, packet, round, nanoseconds, and those of the empty program, which have
 * been subtracted. Where a hit changes the link layer, its time is the mean of there and back.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpfw.skel.h"
#include "emulation.h"
#include "lab.h"
#include "lines.h"
#include "tap.h"
#include "util.h"

#define HIT (-1)
#define TRIES 1000
#define TEXT 200

#define FIRST_TTL 255
#define TIME_TRIES 5

/* The programs under test, and how they are configured. */
struct setting {
	const char *names[LAB_HOOKS]; /* NULL: another setting has it */
	bool detect_partial;
	bool switched;
};

static const struct setting settings[] = {
	{ { "bpfw_xdp", "bpfw_tc" }, false, false },
	{ { "bpfw_xdp, detect_partial", NULL }, true, false },
	{ { "bpfw_xdp_dsa", NULL }, false, true },
};

static const struct setting *setting;
static struct lab lab;
static struct emulation emulation;

/* ---- Packets ---------------------------------------------------------------- */

enum base {
	UDP4,
	TCP4,
	UDP6,
	TCP6,
	BASES,
};

static const char *const base_names[BASES] = { "UDP/IPv4", "TCP/IPv4", "UDP/IPv6", "TCP/IPv6" };

static const char *link_name(enum link_kind kind)
{
	switch (kind) {
	case LINK_PLAIN:
		return "plain";
	case LINK_Q:
		return "vlan";
	case LINK_AD_Q:
		return "qinq";
	default:
		return "pppoe";
	}
}

static const char *const tag_names[] = { "", "mtk ", "qca ", "gswip " };

enum flow_presence {
	FLOW_THERE,
	FLOW_MISSING,
	FLOW_WITHOUT_EGRESS,
};

enum afterwards {
	LEAVE_CHECKSUM,
	FIX_CHECKSUM, /* of the IPv4 header, which has been changed */
};

/* A change of 16 bits of the frame. */
struct poke {
	bool done;
	uint16_t at;
	uint16_t value;
	enum afterwards afterwards;
};

/* A packet, and what it meets. */
struct sample {
	const char *name;
	enum base base;
	int exit;
	bool nat;
	enum link_kind in, out;
	enum switch_tag tag_in, tag_out;
	enum flow_presence flow;
	enum flow_verdict verdict;
	bool stale;        /* the heartbeat */
	uint8_t tcp_flags; /* 0: ACK */
	uint16_t mtu;      /* 0: 1492 */
	uint8_t before;    /* so many packets of the same tuple came before */
	struct poke poke;
};

#define POKE(at_, ...) .poke = { true, at_, __VA_ARGS__ }
#define MISSING .flow = FLOW_MISSING

static const struct sample exits[] = {
	{ "broadcast", .exit = EXIT_GROUP_ADDRESS, POKE(0, 0xffff) },
	{ "ARP", .exit = EXIT_ETHERTYPE, POKE(12, 0x0806) },
	{ "priority tag", .exit = EXIT_VLAN, .in = LINK_Q, POKE(14, 0xe000) },
	{ "PPPoE, LCP", .exit = EXIT_PPPOE, .in = LINK_PPPOE, POKE(20, 0xc021) },
	{ "no heartbeat", .exit = EXIT_STALE, .stale = true },
	{ "cut short", .exit = EXIT_TRUNCATED, POKE(16, 0x0fff, FIX_CHECKSUM) },
	{ "IP version 5", .exit = EXIT_IP_HEADER, POKE(14, 0x5500, FIX_CHECKSUM) },
	{ "IPv4 options", .exit = EXIT_IP_OPTIONS, POKE(14, 0x4600, FIX_CHECKSUM) },
	{ "IPv6 hop-by-hop", UDP6, EXIT_IP_OPTIONS, POKE(20, 0x0040) },
	{ "fragment", .exit = EXIT_FRAGMENT, POKE(20, 0x2000, FIX_CHECKSUM) },
	{ "ICMP", .exit = EXIT_PROTOCOL, POKE(22, 0x4001, FIX_CHECKSUM) },
	{ "TTL 1", .exit = EXIT_TTL, POKE(22, 0x0111, FIX_CHECKSUM) },
	{ "UDP length 4", .exit = EXIT_L4_HEADER, POKE(38, 4) },
	{ "SYN, no flow", TCP4, EXIT_TCP_CONTROL, MISSING, .tcp_flags = FLAG_SYN },
	{ "SYN of a flow", TCP4, EXIT_TCP_CONTROL, .tcp_flags = FLAG_SYN },
	{ "RST of a flow", TCP4, EXIT_TCP_CONTROL, .tcp_flags = FLAG_RST },
	{ "FIN of a closing flow", TCP4, EXIT_TCP_CONTROL, .verdict = FLOW_PASS,
	  .tcp_flags = FLAG_FIN | FLAG_ACK },
	{ "another MAC, no flow", .exit = EXIT_OTHER_MAC, MISSING, POKE(4, 0x9999) },
	{ "another MAC", .exit = EXIT_OTHER_MAC, POKE(4, 0x9999) },
	{ "first packet", .exit = EXIT_MISS, MISSING },
	{ "first packet, IPv6", UDP6, EXIT_MISS, MISSING },
	{ "packet that is signalled", .exit = EXIT_MISS, MISSING, .before = 2 },
	{ "later packet", .exit = EXIT_MISS, MISSING, .before = 3 },
	{ "later packet, IPv6", UDP6, EXIT_MISS, MISSING, .before = 3 },
	{ "flow that is closing", .exit = EXIT_FLOW_PASS, .verdict = FLOW_PASS },
	{ "wrong header checksum", .exit = EXIT_IP_CHECKSUM, POKE(24, 0xbad0) },
	{ "longer than the MTU", .exit = EXIT_MTU, .mtu = 50 },
	{ "egress is gone", .exit = EXIT_NO_EGRESS, .flow = FLOW_WITHOUT_EGRESS },
	{ "blackhole", .exit = EXIT_BLACKHOLE, .verdict = FLOW_DROP },
};

/* From one kind of link to another; each there and back, for the time of both. */
static const enum link_kind links[][2] = {
	{ LINK_PLAIN, LINK_Q },
	{ LINK_PLAIN, LINK_AD_Q },
	{ LINK_PLAIN, LINK_PPPOE },
	{ LINK_PPPOE, LINK_Q },
};

static const enum switch_tag switches[] = { SWITCH_TAG_MTK, SWITCH_TAG_QCA, SWITCH_TAG_GSWIP };

/* ---- Frames and flows ------------------------------------------------------- */

#define IN_PORT 1
#define OUT_PORT 2

/* No device has this number. */
static uint32_t user_port(enum lab_side_id side, unsigned int port)
{
	return 100000U * (side + 1U) + port;
}

static struct tuple make_tuple(enum base base, bool translated)
{
	uint8_t protocol = base == TCP4 || base == TCP6 ? IPPROTO_TCP : IPPROTO_UDP;
	uint16_t port = translated ? 51000 : 40000;

	if (base == UDP4 || base == TCP4)
		return lab_tuple(protocol, translated ? "198.51.100.1" : "10.0.1.2", port,
				 "203.0.113.5", 443);
	return lab_tuple(protocol, translated ? "2001:db8::1" : "fd00:1::2", port, "2001:db8:5::5",
			 443);
}

static struct lab_flow make_flow(const struct sample *sample)
{
	struct lab_flow flow = {
		.from = make_tuple(sample->base, false),
		.to = make_tuple(sample->base, sample->nat),
		.egress = WAN,
		.mtu = sample->mtu ? sample->mtu : 1492,
		.verdict = sample->verdict,
		.link_in = frame_links[sample->in],
		.link_out = frame_links[sample->out],
	};

	if (sample->tag_in)
		flow.user_port = user_port(LAN, IN_PORT);
	if (sample->tag_out)
		flow.switch_egress = SWITCH_EGRESS(sample->tag_out, OUT_PORT);
	return flow;
}

/* As the switch gives it to the CPU. */
static void put_switch_tag(struct frame *frame, enum switch_tag tag)
{
	switch (tag) {
	case SWITCH_TAG_MTK:
		frame_insert(frame, 12, 4);
		frame_put16(frame, 12, IN_PORT);
		break;
	case SWITCH_TAG_QCA:
		frame_insert(frame, 12, 2);
		frame_put16(frame, 12, 0x8000 | IN_PORT);
		break;
	case SWITCH_TAG_GSWIP:
		frame_insert(frame, 0, 8);
		frame->data[7] = IN_PORT << 4;
		break;
	case SWITCH_TAG_NONE:
		break;
	}
}

static void make_frame(const struct sample *sample, const struct lab_flow *flow, uint8_t ttl,
		       struct frame *frame)
{
	struct frame_spec spec = lab_frame_spec(&lab, flow);

	spec.ttl = ttl;
	if (sample->tcp_flags)
		spec.tcp_flags = sample->tcp_flags;
	frame_build(&spec, frame);
	if (sample->poke.done)
		frame_put16(frame, sample->poke.at, sample->poke.value);
	if (sample->poke.afterwards == FIX_CHECKSUM)
		frame_fix_ip_checksum(frame);
	put_switch_tag(frame, sample->tag_in);
}

static void set_conduit(enum lab_side_id side, enum switch_tag tag)
{
	struct bpfw_conduit conduit = { .tag = tag };

	datapath_clear_conduit(&lab.datapath, lab.side[side].ifindex);
	if (!tag)
		return;
	for (unsigned int i = 0; i < SWITCH_PORTS; i++)
		conduit.user[i] = user_port(side, i);
	if (datapath_set_conduit(&lab.datapath, lab.side[side].ifindex, &conduit))
		tap_bail_out("cannot set a conduit");
}

static void uninstall(const struct lab_flow *flow)
{
	struct lab_flow opposite = lab_opposite(flow);

	lab_remove(&lab, flow);
	lab_remove(&lab, &opposite);
}

/* Both directions, as the daemon installs them. */
static void install(const struct sample *sample, const struct lab_flow *flow)
{
	struct lab_flow opposite = lab_opposite(flow);
	struct bpfw_action action;

	uninstall(flow);
	if (sample->flow == FLOW_MISSING)
		return;
	lab_install(&lab, flow);
	lab_install(&lab, &opposite);
	if (sample->flow != FLOW_WITHOUT_EGRESS)
		return;
	action = lab_action(&lab, flow);
	action.egress = lab.elsewhere;
	lab_set_action(&lab, flow, &action);
}

/* All is as it is to be when the packet comes. */
static void prepare(const struct sample *sample, enum lab_hook hook, const struct lab_flow *flow,
		    const struct frame *in)
{
	static struct lab_outcome outcome;

	lab_heartbeat(&lab);
	lab_forget_candidates(&lab);
	if (setting->switched) {
		set_conduit(LAN, sample->tag_in);
		set_conduit(WAN, sample->tag_out);
	}
	install(sample, flow);
	if (sample->stale)
		lab_expire_heartbeat(&lab);
	for (unsigned int i = 0; i < sample->before; i++)
		lab_run(&lab, hook, NULL, in, &outcome);
	lab_forget_signals(&lab);
}

/* ---- The same packet, interpreted and in the kernel ------------------------- */

static const struct bpf_program *program_of(enum lab_hook hook)
{
	const struct bpfw_bpf *skeleton = lab.datapath.skeleton;

	if (hook == LAB_TC)
		return skeleton->progs.bpfw_tc;
	return setting->switched ? skeleton->progs.bpfw_xdp_dsa : skeleton->progs.bpfw_xdp;
}

/* The kernel's clock, by the program that the daemon reads it with. */
static uint64_t read_jiffies(void)
{
	char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame));
	const struct bpfw_bpf *skeleton = lab.datapath.skeleton;

	if (bpf_prog_test_run_opts(bpf_program__fd(skeleton->progs.bpfw_clock), &run))
		tap_bail_out("cannot read the clock");
	return skeleton->bss->clock_jiffies;
}

static enum lab_verdict verdict_of(enum lab_hook hook, uint32_t value)
{
	if (value == (hook == LAB_TC ? (uint32_t)-1 : XDP_PASS))
		return VERDICT_PASS;
	if (value == (hook == LAB_TC ? (uint32_t)TC_ACT_REDIRECT : XDP_REDIRECT))
		return VERDICT_REDIRECT;
	if (value == (hook == LAB_TC ? (uint32_t)TC_ACT_SHOT : XDP_DROP))
		return VERDICT_DROP;
	return VERDICT_OTHER;
}

/* The exits that the kernel's program counted are those that the interpreted one did. */
static bool same_exits(const struct lab_outcome *outcome)
{
	static const uint64_t none[EXIT_REASONS];
	int fd = bpf_map__fd(lab.datapath.skeleton->maps.exits);
	const void *counted = none;

	for (size_t i = 0; i < emulation.entries; i++)
		if (emulation.entry[i].fd == fd)
			counted = emulation.entry[i].value;
	return !memcmp(counted, outcome->exits, sizeof(outcome->exits));
}

/* What the two left in the maps, with packets, bytes, and the time of the last packet. */
static bool same_maps(void)
{
	uint8_t value[EMULATION_VALUE];

	for (size_t i = 0; i < emulation.entries; i++) {
		const struct emulated_entry *entry = &emulation.entry[i];
		bool is_there;

		if (entry->per_cpu)
			continue;
		is_there = !bpf_map_lookup_elem(entry->fd, entry->key, value);
		if (is_there != entry->is_there ||
		    (is_there && memcmp(value, entry->value, entry->value_size)))
			return false;
	}
	return true;
}

static bool same_signals(void)
{
	unsigned int signals = lab_read_signals(&lab);

	return signals == emulation.submitted && emulation.signals == signals &&
	       !memcmp(lab.signal, emulation.signal, signals * sizeof(lab.signal[0]));
}

/* What is not the same, or "same". */
static const char *compare(enum lab_hook hook, uint32_t result, const struct lab_outcome *outcome)
{
	static struct frame frame;

	emulation_frame(&emulation, &frame);
	if (emulation.vm.error[0])
		return emulation.vm.error;
	if (outcome->err)
		return "not run by the kernel";
	if (verdict_of(hook, result) != outcome->verdict)
		return "another verdict";
	if (!frame_equal(&frame, &outcome->frame))
		return "another frame";
	if (hook == LAB_TC && (ntohs((uint16_t)emulation.skb.protocol) != outcome->protocol ||
			       emulation.skb.priority != outcome->priority))
		return "another protocol or priority of the skb";
	if (!same_exits(outcome))
		return "another exit";
	if (!same_signals())
		return "another signal";
	return same_maps() ? "same" : "another entry of a map";
}

/* Both within one tick of the clock, so that they write the same time. */
static const char *run_both(const struct sample *sample, enum lab_hook hook,
			    struct lab_outcome *outcome)
{
	const struct bpf_program *program = program_of(hook);
	const struct lab_flow flow = make_flow(sample);
	static struct frame in;
	uint32_t result;

	const char *said = "no tick was long enough";

	make_frame(sample, &flow, 64, &in);
	for (int i = 0; i < TRIES; i++) {
		uint64_t jiffies;

		prepare(sample, hook, &flow, &in);
		jiffies = read_jiffies();
		emulation_receive(&emulation, hook, lab.side[LAN].ifindex, &in);
		emulation_run(&emulation, bpf_program__insns(program),
			      bpf_program__insn_cnt(program), jiffies, &result);
		lab_run(&lab, hook, NULL, &in, outcome);
		if (read_jiffies() != jiffies)
			continue;
		said = compare(hook, result, outcome);
		break;
	}
	uninstall(&flow);
	return said;
}

/* ---- Instructions ----------------------------------------------------------- */

static bool same_line(const struct line *a, const struct line *b)
{
	return a->number == b->number && a->file && b->file && !strcmp(a->file, b->file);
}

static void print_trace(const struct line *lines)
{
	const struct interpreter *vm = &emulation.vm;

	for (uint32_t i = 0, first = 0; i < vm->executed; i++) {
		const struct line *line = &lines[vm->trace[i]];

		if (i + 1 < vm->executed && same_line(line, &lines[vm->trace[i + 1]]))
			continue;
		printf("%s%s:%u*%u", first ? " " : "", line->file ? line->file : "-", line->number,
		       i + 1 - first);
		first = i + 1;
	}
	putchar('\n');
}

static const char *exit_name(const struct sample *sample)
{
	return sample->exit == HIT ? "hit" : lab_exit_name(sample->exit);
}

/* A hit is counted nowhere else, and an exit under its own name. */
static const char *check_exit(const struct sample *sample, const struct lab_outcome *outcome)
{
	bool right = sample->exit == HIT ? outcome->verdict == VERDICT_REDIRECT :
					   lab_only_exit(outcome) == sample->exit;

	return right ? "same" : "not the exit that it should take";
}

static struct line *line_table[LAB_HOOKS];

static void count_instructions(const struct sample *sample, const char *name, enum lab_hook hook)
{
	static struct lab_outcome outcome;
	const char *said = run_both(sample, hook, &outcome);

	if (!strcmp(said, "same"))
		said = check_exit(sample, &outcome);
	printf("%s\t%s\t%s\t%u\t%u\t%s\t", setting->names[hook], exit_name(sample), name,
	       emulation.vm.executed, emulation.vm.helpers, said);
	print_trace(line_table[hook]);
}

/* ---- All packets ------------------------------------------------------------ */

typedef void (*sample_function)(const struct sample *sample, const char *name, enum lab_hook hook);

static void for_hit(sample_function visit, const struct sample *sample, enum lab_hook hook)
{
	char name[TEXT];

	snprintf(name, sizeof(name), "%s, %s, %s%s > %s%s", base_names[sample->base],
		 sample->nat ? "NAT" : "routed", tag_names[sample->tag_in], link_name(sample->in),
		 tag_names[sample->tag_out], link_name(sample->out));
	visit(sample, name, hook);
}

static void for_links(sample_function visit, struct sample sample, enum lab_hook hook)
{
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		for (size_t way = 0; way < 2; way++) {
			sample.in = links[i][way];
			sample.out = links[i][!way];
			for_hit(visit, &sample, hook);
		}
	}
}

static void for_switches(sample_function visit, struct sample sample)
{
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
		sample.tag_in = switches[i];
		sample.tag_out = SWITCH_TAG_NONE;
		for_hit(visit, &sample, LAB_XDP);
		sample.tag_in = SWITCH_TAG_NONE;
		sample.tag_out = switches[i];
		for_hit(visit, &sample, LAB_XDP);
	}
}

static void for_hits(sample_function visit, enum lab_hook hook)
{
	for (enum base base = 0; base < BASES; base++) {
		struct sample sample = { .base = base, .exit = HIT, .nat = true };

		for_hit(visit, &sample, hook);
		sample.nat = false;
		for_hit(visit, &sample, hook);
	}
	for_links(visit, (struct sample){ .base = UDP4, .exit = HIT, .nat = true }, hook);
	for_links(visit, (struct sample){ .base = UDP6, .exit = HIT }, hook);
}

static void for_exits(sample_function visit, enum lab_hook hook)
{
	for (size_t i = 0; i < ARRAY_SIZE(exits); i++)
		if (hook == LAB_XDP || exits[i].flow != FLOW_WITHOUT_EGRESS)
			visit(&exits[i], exits[i].name, hook);
}

static void for_all(sample_function visit)
{
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
		if (!setting->names[hook])
			continue;
		for_hits(visit, hook);
		if (setting->switched)
			for_switches(visit, (struct sample){ .exit = HIT, .nat = true });
		if (setting == settings)
			for_exits(visit, hook);
	}
}

/* ---- Nanoseconds ------------------------------------------------------------ */

/*
 * The kernel runs a program on one packet again and again, without making it anew. So hits come in
 * pairs: a flow leads to where a second one leads back from, and the packet goes to and fro until
 * its TTL is used up. Its way out has the addresses of its way in, of which the ingress interface
 * is one and the same.
 */
static struct lab_flow way_back(const struct lab_flow *flow)
{
	struct lab_flow back = *flow;

	back.from = flow->to;
	back.to = flow->from;
	back.link_in = flow->link_out;
	back.link_out = flow->link_in;
	return back;
}

static void turn_round(void)
{
	memcpy(lab.side[WAN].peer, lab.side[LAN].mac, sizeof(lab.side[WAN].peer));
	memcpy(lab.side[WAN].mac, lab.side[LAN].peer, sizeof(lab.side[WAN].mac));
}

/* A program that does nothing but return. Subtracted is what it takes to run it. */
static int load_empty(enum lab_hook hook)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = hook == LAB_TC ? -1 : XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(hook == LAB_TC ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_XDP,
			       "empty", "GPL", insns, ARRAY_SIZE(insns), NULL);

	if (fd < 0)
		tap_bail_out("cannot load the empty program: %s", strerror(-fd));
	return fd;
}

/*
 * The kernel is asked for so many runs, and for more: what the first ones cost, which find the
 * caches cold, is in both and drops out of the difference. A hit's TTL limits them.
 */
struct repeats {
	uint32_t few;
	uint32_t many;
};

static const struct repeats hit_repeats = { 50, 250 }, exit_repeats = { 500, 5000 };

static const struct repeats *repeats_of(const struct sample *sample)
{
	return sample->exit == HIT ? &hit_repeats : &exit_repeats;
}

/* Nanoseconds of all runs together. */
static double take_time(int fd, enum lab_hook hook, const struct frame *in, uint32_t repeat,
			uint32_t *result)
{
	struct __sk_buff skb = { .ifindex = lab.side[LAN].ifindex };
	struct xdp_md xdp = { .data_end = (uint32_t)in->len,
			      .ingress_ifindex = lab.side[LAN].ifindex };
	static struct frame out;
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = in->data, .data_size_in = (uint32_t)in->len,
		    .data_out = out.data, .data_size_out = FRAME_ROOM, .repeat = (int)repeat);

	run.ctx_in = hook == LAB_TC ? (void *)&skb : (void *)&xdp;
	run.ctx_size_in = hook == LAB_TC ? sizeof(skb) : sizeof(xdp);
	if (bpf_prog_test_run_opts(fd, &run))
		tap_bail_out("BPF_PROG_TEST_RUN: %s", strerror(errno));
	*result = run.retval;
	return (double)run.duration * repeat;
}

static uint64_t count_exits(int reason)
{
	uint64_t sum = 0;

	for (int i = 0; i < EXIT_REASONS; i++)
		if (reason == HIT || i == reason)
			sum += lab_exit_count(&lab, i);
	return sum;
}

static void prepare_time(const struct sample *sample, enum lab_hook hook, struct frame *in)
{
	const struct lab_flow flow = make_flow(sample), back = way_back(&flow);

	uninstall(&back);
	make_frame(sample, &flow, FIRST_TTL, in);
	prepare(sample, hook, &flow, in);
	if (sample->exit == HIT)
		lab_install(&lab, &back);
}

static void forget_time(const struct sample *sample)
{
	const struct lab_flow flow = make_flow(sample), back = way_back(&flow);

	uninstall(&flow);
	uninstall(&back);
}

/* Returns false where not each run was a hit, or took the exit: the heartbeat may be old. */
static bool time_runs(const struct sample *sample, enum lab_hook hook, uint32_t repeat,
		      double *time)
{
	static struct frame in;
	uint32_t result;
	uint64_t more;

	prepare_time(sample, hook, &in);
	more = -count_exits(sample->exit);
	*time = take_time(bpf_program__fd(program_of(hook)), hook, &in, repeat, &result);
	more += count_exits(sample->exit);
	if (sample->exit != HIT)
		return more == repeat;
	return more == 0 && verdict_of(hook, result) == VERDICT_REDIRECT;
}

/* Nanoseconds of one run. */
static bool time_sample(const struct sample *sample, enum lab_hook hook, double *time)
{
	const struct repeats *repeats = repeats_of(sample);
	double few, many;

	if (!time_runs(sample, hook, repeats->few, &few) ||
	    !time_runs(sample, hook, repeats->many, &many))
		return false;
	*time = (many - few) / (repeats->many - repeats->few);
	return true;
}

static double time_empty(const struct sample *sample, enum lab_hook hook)
{
	const struct repeats *repeats = repeats_of(sample);
	static struct frame in;
	int fd = load_empty(hook);
	uint32_t result;
	double few, many;

	prepare_time(sample, hook, &in);
	few = take_time(fd, hook, &in, repeats->few, &result);
	many = take_time(fd, hook, &in, repeats->many, &result);
	close(fd);
	return (many - few) / (repeats->many - repeats->few);
}

static unsigned long current_round;

static void print_time(const struct sample *sample, const char *name, enum lab_hook hook)
{
	double full, empty = time_empty(sample, hook);

	for (int i = 0; i < TIME_TRIES; i++) {
		if (!time_sample(sample, hook, &full))
			continue;
		forget_time(sample);
		printf("%s\t%s\t%s\t%lu\t%.3f\t%.3f\n", setting->names[hook], exit_name(sample),
		       name, current_round, full - empty, empty);
		return;
	}
	tap_bail_out("%s, %s: not all packets took the same way", setting->names[hook], name);
}

/* Exits that the first packet takes and the next one does not have no time of their own. */
static bool has_time(const struct sample *sample, enum lab_hook hook)
{
	bool tagged = frame_links[sample->in].tags > 0;

	if (sample->tag_in || sample->tag_out)
		return false;
	if (sample->exit == HIT) /* else it is in the time of the way back */
		return sample->in == LINK_PLAIN || (!tagged && sample->out != LINK_PLAIN);
	if (sample->exit == EXIT_MISS)
		return sample->before > 2;
	if (sample->exit == EXIT_TCP_CONTROL)
		return sample->flow == FLOW_MISSING;
	return hook == LAB_XDP || !tagged;
}

static void visit_time(const struct sample *sample, const char *name, enum lab_hook hook)
{
	if (has_time(sample, hook))
		print_time(sample, name, hook);
}

/* ---- All settings ----------------------------------------------------------- */

static void open_setting(const struct setting *chosen)
{
	setting = chosen;
	if (setting->switched)
		lab_open_switched(&lab);
	else
		lab_open(&lab, setting->detect_partial);
}

static void count_all(void)
{
	struct lines lines = { 0 };
	size_t size;
	const void *elf = bpfw_bpf__elf_bytes(&size);

	if (lines_open(&lines, elf, size))
		tap_bail_out("the object has no line information");
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++) {
		line_table[hook] = lines_of(&lines, program_of(hook));
		if (!line_table[hook])
			tap_bail_out("out of memory");
	}
	for_all(count_instructions);
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++)
		free(line_table[hook]);
	lines_close(&lines);
}

static void time_all(unsigned long rounds)
{
	turn_round();
	for (current_round = 1; current_round <= rounds; current_round++)
		for_all(visit_time);
}

/* Returns the rounds to be timed, 0 for instructions. */
static unsigned long parse_arguments(int argc, char **argv)
{
	unsigned long rounds = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (argc == 2 && !strcmp(argv[1], "instructions"))
		return 0;
	if (argc == 3 && !strcmp(argv[1], "time") && rounds)
		return rounds;
	fprintf(stderr, "usage: cost instructions | cost time ROUNDS\n");
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned long rounds = parse_arguments(argc, argv);

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		open_setting(&settings[i]);
		if (rounds)
			time_all(rounds);
		else
			count_all();
		lab_close(&lab);
	}
	return 0;
}
