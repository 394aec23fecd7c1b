/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --cpus: which frames are handed to another CPU, and that the choice goes by the flow alone. Of
 * two CPUs only the first is in the map: a frame for the other one passes, which shows the choice.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bpfw.skel.h"
#include "lab.h"
#include "tap.h"
#include "util.h"

#define FLOWS 512
#define CHOICES 2

static struct bpfw_bpf *skeleton;
static uint64_t exits[EXIT_REASONS];

static void fail(const char *what, int err)
{
	if (err == -EPERM)
		tap_skip_all("loading BPF programs needs root");
	tap_bail_out("%s: %s", what, strerror(-err));
}

static void open_program(void)
{
	const struct bpf_cpumap_val value = { .qsize = 64 };
	struct bpf_program *program;
	uint32_t first = 0;

	skeleton = bpfw_bpf__open();
	if (!skeleton)
		fail("the object cannot be opened", -errno);
	bpf_object__for_each_program(program, skeleton->obj)
		bpf_program__set_autoload(program, program == skeleton->progs.bpfw_spread);
	skeleton->rodata->flow_seed = (uint64_t)lab_random() << 32 | lab_random();
	skeleton->rodata->spread_count = CHOICES;
	for (uint32_t i = 0; i < CHOICES; i++)
		skeleton->rodata->spread_cpu[i] = i;
	bpf_map__set_max_entries(skeleton->maps.cpus, CHOICES);
	if (bpfw_bpf__load(skeleton))
		fail("the program cannot be loaded", -errno);
	if (bpf_map_update_elem(bpf_map__fd(skeleton->maps.cpus), &first, &value, BPF_ANY))
		fail("there is no place in the CPU map", -errno);
}

static void read_exits(uint64_t sum[EXIT_REASONS])
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct bpfw_exit_counters *counters =
		calloc((size_t)cpus, sizeof(*counters));
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.exits), &zero, counters))
		fail("the counters cannot be read", -errno);
	memset(sum, 0, EXIT_REASONS * sizeof(*sum));
	for (int cpu = 0; cpu < cpus; cpu++)
		for (int i = 0; i < EXIT_REASONS; i++)
			sum[i] += counters[cpu].count[i];
}

#define NONE (-1)

/* The CPU that the frame is for, NONE where it stays and `reason` is counted. */
static int choose(const struct frame *frame, int *reason)
{
	static uint8_t out[FRAME_ROOM + 512];
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data,
		    .data_size_in = (uint32_t)frame->len, .data_out = out,
		    .data_size_out = sizeof(out));
	uint64_t now[EXIT_REASONS];
	int err = bpf_prog_test_run_opts(bpf_program__fd(skeleton->progs.bpfw_spread), &run);

	if (err)
		fail("the program cannot be run", err);
	if (run.data_size_out != frame->len || memcmp(out, frame->data, frame->len))
		tap_bail_out("the program has changed a frame");
	read_exits(now);
	*reason = NONE;
	for (int i = 0; i < EXIT_REASONS; i++)
		if (now[i] != exits[i])
			*reason = i;
	memcpy(exits, now, sizeof(exits));
	if (run.retval == XDP_REDIRECT)
		return 0;
	return *reason == NONE ? 1 : NONE;
}

static int choice_of(const struct frame *frame)
{
	int reason;

	return choose(frame, &reason);
}

static struct tuple random_tuple(bool v6)
{
	struct tuple tuple = {
		.family = v6 ? AF_INET6 : AF_INET,
		.protocol = lab_random_below(2) ? IPPROTO_TCP : IPPROTO_UDP,
		.sport = (uint16_t)lab_random(),
		.dport = (uint16_t)lab_random(),
	};

	for (size_t i = 0; i < (v6 ? 4 : 1); i++) {
		tuple.src.word[i] = lab_random();
		tuple.dst.word[i] = lab_random();
	}
	return tuple;
}

static struct frame_spec spec_of(const struct tuple *tuple)
{
	return (struct frame_spec){
		.tuple = *tuple,
		.dst_mac = { 2, 0, 0, 0, 0, 1 },
		.src_mac = { 2, 0, 0, 0, 0, 2 },
		.ttl = 64,
		.tcp_flags = FLAG_ACK,
		.payload = 40,
	};
}

static int choice_of_spec(const struct frame_spec *spec)
{
	static struct frame frame;

	frame_build(spec, &frame);
	return choice_of(&frame);
}

static struct tuple reverse(const struct tuple *tuple)
{
	struct tuple other = *tuple;

	other.src = tuple->dst;
	other.dst = tuple->src;
	other.sport = tuple->dport;
	other.dport = tuple->sport;
	return other;
}

/* Everything of a frame that is not its flow. */
static void vary(struct frame_spec *spec)
{
	spec->link = frame_links[lab_random_below(LINK_KINDS)];
	spec->tos = (uint8_t)lab_random();
	spec->ttl = (uint8_t)lab_random();
	spec->tcp_flags = (uint8_t)lab_random();
	spec->tcp_options = (uint8_t)(4 * lab_random_below(11));
	spec->seq = lab_random();
	spec->ack = lab_random();
	spec->window = (uint16_t)lab_random();
	spec->payload = (uint16_t)lab_random_below(1200);
	spec->padding = (uint16_t)lab_random_below(20);
}

static const char *family_name(bool v6)
{
	return v6 ? "IPv6" : "IPv4";
}

static void test_one_flow_one_cpu(bool v6)
{
	unsigned int strays = 0, backwards = 0;

	for (int i = 0; i < FLOWS; i++) {
		struct tuple tuple = random_tuple(v6), back = reverse(&tuple);
		struct frame_spec spec = spec_of(&tuple), other = spec_of(&back);
		int choice = choice_of_spec(&spec);

		for (int j = 0; j < 8; j++) {
			vary(&spec);
			strays += choice_of_spec(&spec) != choice;
		}
		backwards += choice_of_spec(&other) != choice;
	}
	tap(!strays, "%s: all frames of a flow have one CPU, whatever else is in them (%u strays)",
	    family_name(v6), strays);
	tap(!backwards, "%s: so have both directions (%u have not)", family_name(v6), backwards);
}

/* Flows that differ in `what` only go to both CPUs, each to be expected for a quarter at least. */
static void check_balance(bool v6, const char *what, void (*change)(struct tuple *tuple))
{
	struct tuple tuple = random_tuple(v6);
	unsigned int chosen[CHOICES] = { 0 };

	for (int i = 0; i < FLOWS; i++) {
		struct frame_spec spec;
		int choice;

		change(&tuple);
		spec = spec_of(&tuple);
		choice = choice_of_spec(&spec);
		if (choice != NONE)
			chosen[choice]++;
	}
	tap(chosen[0] + chosen[1] == FLOWS && chosen[0] > FLOWS / 4 && chosen[1] > FLOWS / 4,
	    "%s: flows of another %s go to both CPUs (%u and %u)", family_name(v6), what, chosen[0],
	    chosen[1]);
}

static void next_port(struct tuple *tuple)
{
	tuple->sport = htons((uint16_t)(ntohs(tuple->sport) + 1));
}

static void next_host(struct tuple *tuple)
{
	uint32_t *word = &tuple->src.word[tuple->family == AF_INET6 ? 3 : 0];

	*word = htonl(ntohl(*word) + 1);
}

static void next_pair(struct tuple *tuple)
{
	next_host(tuple);
	tuple->dst.word[tuple->family == AF_INET6 ? 3 : 0] =
		htonl(ntohl(tuple->dst.word[tuple->family == AF_INET6 ? 3 : 0]) - 1);
}

/* Whose sum and whose exclusive or are the same: the bits of the one are the other's gaps. */
static void next_mirrored(struct tuple *tuple)
{
	const size_t word = tuple->family == AF_INET6 ? 3 : 0;

	next_host(tuple);
	tuple->dst.word[word] = ~tuple->src.word[word];
}

static void any_flow(struct tuple *tuple)
{
	*tuple = random_tuple(tuple->family == AF_INET6);
}

static void test_balance(bool v6)
{
	check_balance(v6, "port", next_port);
	check_balance(v6, "source", next_host);
	check_balance(v6, "source and destination", next_pair); /* whose sum is the same */
	check_balance(v6, "source, which the destination mirrors", next_mirrored);
	check_balance(v6, "kind", any_flow);
}

/* Make a fragment of a whole packet; what follows the headers stays, only looks do. */
static void make_fragment(struct frame *frame, bool v6, uint16_t field)
{
	if (!v6) {
		frame_put16(frame, FRAME_L3 + 6, field);
		frame_fix_ip_checksum(frame);
		return;
	}
	frame_insert(frame, FRAME_L3 + 40, 8);
	frame->data[FRAME_L3 + 40] = frame->data[FRAME_L3 + 6];
	frame->data[FRAME_L3 + 6] = IPPROTO_FRAGMENT;
	frame_put16(frame, FRAME_L3 + 42, field);
	frame_put16(frame, FRAME_L3 + 4, (uint16_t)(frame->len - FRAME_L3 - 40));
}

/* All fragments between two hosts: whether ports are in them or data that looks like some. */
static void test_fragments(bool v6)
{
	const uint16_t fields[] = { v6 ? 1 : 0x2000, v6 ? 185 << 3 | 1 : 0x20b9,
				    v6 ? 370 << 3 : 0x0172 };
	unsigned int strays = 0;
	static struct frame frame;

	for (int i = 0; i < FLOWS / 8; i++) {
		struct tuple tuple = random_tuple(v6);
		int choice = NONE;

		for (int j = 0; j < 24; j++) {
			struct frame_spec spec = spec_of(&tuple);
			int now;

			frame_build(&spec, &frame);
			make_fragment(&frame, v6, fields[j % 3]);
			now = choice_of(&frame);
			strays += now == NONE || (j && now != choice);
			choice = now;
			next_port(&tuple);
		}
	}
	tap(!strays, "%s: addresses alone choose for fragments (%u strays)", family_name(v6),
	    strays);
}

/* IPv4 options move the ports, but not the flow. */
static void test_options(void)
{
	unsigned int strays = 0;
	static struct frame frame;

	for (int i = 0; i < FLOWS; i++) {
		struct tuple tuple = random_tuple(false);
		struct frame_spec spec = spec_of(&tuple);
		size_t len = 4 * (1 + lab_random_below(10));
		int choice = choice_of_spec(&spec);

		frame_build(&spec, &frame);
		frame_insert(&frame, FRAME_L3 + 20, len);
		memset(frame.data + FRAME_L3 + 20, 1, len);
		frame.data[FRAME_L3] = (uint8_t)(0x45 + len / 4);
		strays += choice_of(&frame) != choice;
	}
	tap(!strays, "IPv4: options do not move a flow (%u strays)", strays);
}

/* No ports to look at: other protocols, and what is cut short behind its addresses. */
static void test_portless(bool v6)
{
	const size_t header = v6 ? 40 : 20, protocol = FRAME_L3 + (v6 ? 6 : 9);
	unsigned int strays = 0;
	static struct frame frame;

	for (int i = 0; i < FLOWS / 8; i++) {
		struct tuple tuple = random_tuple(v6);
		struct frame_spec spec = spec_of(&tuple);
		int choice;

		frame_build(&spec, &frame);
		frame.data[protocol] = IPPROTO_ESP;
		choice = choice_of(&frame);
		strays += choice == NONE;
		frame_put32(&frame, FRAME_L3 + header, lab_random());
		strays += choice_of(&frame) != choice;
		frame.data[protocol] = IPPROTO_UDP;
		frame.len = FRAME_L3 + header + lab_random_below(4);
		strays += choice_of(&frame) != choice;
	}
	tap(!strays, "%s: addresses alone choose where there are no ports (%u strays)",
	    family_name(v6), strays);
}

static void check_stays(const struct frame *frame, int wanted, const char *what)
{
	int reason, choice = choose(frame, &reason);

	tap(choice == NONE && reason == wanted, "%s stays, as %s (choice %d, %s)", what,
	    lab_exit_name(wanted), choice, reason == NONE ? "none" : lab_exit_name(reason));
}

static void test_what_stays(void)
{
	struct tuple tuple = random_tuple(false);
	struct frame_spec spec = spec_of(&tuple);
	static struct frame frame;
	struct encapsulation priority = { .tags = 1, .tag = { { 0x8100, 5 << 13 } } };
	struct encapsulation three = { .tags = 3,
				       .tag = { { 0x88a8, 1 }, { 0x8100, 2 }, { 0x8100, 3 } } };

	frame_build(&spec, &frame);
	frame_put16(&frame, 12, 0x0806);
	check_stays(&frame, EXIT_ETHERTYPE, "ARP");
	frame_build(&spec, &frame);
	frame.data[0] |= 1;
	check_stays(&frame, EXIT_GROUP_ADDRESS, "a multicast frame");
	frame_build(&spec, &frame);
	frame_encapsulate(&frame, &priority);
	check_stays(&frame, EXIT_VLAN, "a priority tag");
	frame_build(&spec, &frame);
	frame_encapsulate(&frame, &three);
	check_stays(&frame, EXIT_VLAN, "a third tag");
	spec.link = frame_links[LINK_PPPOE];
	frame_build(&spec, &frame);
	frame_put16(&frame, FRAME_L3 + 6, 0xc021);
	check_stays(&frame, EXIT_PPPOE, "LCP in PPPoE");
	spec.link = frame_links[LINK_PLAIN];
	frame_build(&spec, &frame);
	frame.len = FRAME_L3 + 19;
	check_stays(&frame, EXIT_TRUNCATED, "half an IPv4 header");
}

int main(void)
{
	lab_seed();
	if (geteuid())
		tap_skip_all("BPF_PROG_TEST_RUN needs root");
	open_program();
	for (int v6 = 0; v6 < 2; v6++) {
		test_one_flow_one_cpu(v6);
		test_balance(v6);
		test_fragments(v6);
		test_portless(v6);
	}
	test_options();
	test_what_stays();
	bpfw_bpf__destroy(skeleton);
	return tap_end();
}
