// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loader of the benchmark's traffic: "gen send" generates frames, "gen sink" counts them.
 * Results are one JSON object a line on standard output.
 */
#include <bpf/bpf.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <sys/resource.h>
#include <time.h>

#include "common.h"
#include "frame.h"
#include "gen.skel.h"

/* Frames of one system call: long enough to hide its set-up, short enough to keep the time. */
#define RUN_FRAMES (1u << 17)
/* Frames that enter the router at once: the NAPI budget of a poll. */
#define BATCH_FRAMES 64
#define MAX_FRAMES 1000000000

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	unsigned char payload[FRAME_LEN - HEADER_LEN];
} __attribute__((packed, aligned(2)));

_Static_assert(sizeof(struct frame) == FRAME_LEN, "one frame, one layout");
_Static_assert(offsetof(struct frame, udp.source) == sizeof(__u16) * WORD_UDP_SOURCE,
	       "place of the port");
_Static_assert(offsetof(struct frame, udp.check) == sizeof(__u16) * WORD_UDP_CHECK,
	       "place of the checksum");

struct options {
	unsigned int ifindex;
	unsigned int flows;
	in_addr_t src;
	in_addr_t dst;
	unsigned short sport;
	unsigned short dport;
	unsigned char ttl;
	unsigned char dmac[ETH_ALEN];
	unsigned char smac[ETH_ALEN];
	unsigned int frames;
};

static const char usage[] =
	"usage: gen send --dev NAME --dmac MAC --smac MAC --src ADDRESS --dst ADDRESS\n"
	"                --sport PORT --dport PORT --flows N --frames N [--ttl N]\n"
	"       gen sink --dev NAME --dmac MAC --src ADDRESS --dst ADDRESS --dport PORT [--ttl N]\n"
	"send: 60-byte UDP frames of N flows (source ports from PORT on) out of a device\n"
	"sink: count and drop them; prints the counts for every line on stdin, ends with it\n";

static _Noreturn void bad_usage(void)
{
	fputs(usage, stderr);
	exit(STATUS_USAGE);
}

static void parse_option(int opt, const char *text, struct options *opts)
{
	switch (opt) {
	case 'd':
		opts->ifindex = parse_device("--dev", text);
		break;
	case 'm':
		parse_mac("--dmac", text, opts->dmac);
		break;
	case 'M':
		parse_mac("--smac", text, opts->smac);
		break;
	case 'a':
		opts->src = parse_address("--src", text);
		break;
	case 'A':
		opts->dst = parse_address("--dst", text);
		break;
	case 'p':
		opts->sport = (unsigned short)parse_number("--sport", text, 1, 65535);
		break;
	case 'P':
		opts->dport = (unsigned short)parse_number("--dport", text, 1, 65535);
		break;
	case 'f':
		opts->flows = (unsigned int)parse_number("--flows", text, 1, 65535);
		break;
	case 't':
		opts->ttl = (unsigned char)parse_number("--ttl", text, 1, 255);
		break;
	case 'n':
		opts->frames = (unsigned int)parse_number("--frames", text, 1, MAX_FRAMES);
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default:
		bad_usage();
	}
}

static void parse_options(int argc, char **argv, struct options *opts)
{
	static const struct option longopts[] = {
		{ "dev", required_argument, NULL, 'd' },
		{ "dmac", required_argument, NULL, 'm' },
		{ "smac", required_argument, NULL, 'M' },
		{ "src", required_argument, NULL, 'a' },
		{ "dst", required_argument, NULL, 'A' },
		{ "sport", required_argument, NULL, 'p' },
		{ "dport", required_argument, NULL, 'P' },
		{ "flows", required_argument, NULL, 'f' },
		{ "ttl", required_argument, NULL, 't' },
		{ "frames", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longopts, NULL)) != -1)
		parse_option(opt, optarg, opts);
	if (!opts->ifindex || !opts->src || !opts->dst || !opts->dport)
		bad_usage();
}

static __u32 sum_words(const void *data, size_t len, __u32 sum)
{
	const unsigned char *byte = data;
	__u16 word;

	for (size_t i = 0; i + 1 < len; i += 2) {
		memcpy(&word, byte + i, sizeof(word));
		sum += word;
	}
	return sum;
}

static __u16 fold(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* The UDP sum that every flow shares: the frame still has neither source port nor checksum. */
static __u16 sum_udp(const struct frame *frame)
{
	__u32 sum = htons(IPPROTO_UDP) + frame->udp.len;

	sum = sum_words(&frame->ip.saddr, 2 * sizeof(frame->ip.saddr), sum);
	sum = sum_words(&frame->udp, sizeof(frame->udp), sum);
	return fold(sum_words(frame->payload, sizeof(frame->payload), sum));
}

static void build_frame(const struct options *opts, struct frame *frame)
{
	memset(frame, 0, sizeof(*frame));
	memcpy(frame->eth.h_dest, opts->dmac, ETH_ALEN);
	memcpy(frame->eth.h_source, opts->smac, ETH_ALEN);
	frame->eth.h_proto = htons(ETH_P_IP);
	frame->ip.version = 4;
	frame->ip.ihl = sizeof(frame->ip) / 4;
	frame->ip.tot_len = htons(FRAME_LEN - sizeof(frame->eth));
	frame->ip.frag_off = htons(0x4000); /* do not fragment, as most hosts send */
	frame->ip.ttl = opts->ttl;
	frame->ip.protocol = IPPROTO_UDP;
	frame->ip.saddr = opts->src;
	frame->ip.daddr = opts->dst;
	frame->ip.check = (__u16)~fold(sum_words(&frame->ip, sizeof(frame->ip), 0));
	frame->udp.dest = htons(opts->dport);
	frame->udp.len = htons(FRAME_LEN - sizeof(frame->eth) - sizeof(frame->ip));
}

/* Load one of the two programs with the frame it sends or expects. */
static struct gen_bpf *load(const struct options *opts, const struct frame *frame, bool sender)
{
	struct gen_bpf *skel = gen_bpf__open();

	if (!skel)
		goto fail;
	_Static_assert(sizeof(skel->rodata->header) == HEADER_LEN, "one frame, one layout");
	memcpy(skel->rodata->header, frame, HEADER_LEN);
	skel->rodata->udp_sum = sum_udp(frame);
	skel->rodata->flows = opts->flows;
	skel->rodata->first_port = opts->sport;
	skel->rodata->out_ifindex = opts->ifindex;
	bpf_program__set_autoload(sender ? skel->progs.sink : skel->progs.generate, false);
	if (!gen_bpf__load(skel))
		return skel;
fail:
	fprintf(stderr, "load the %s: %s\n", sender ? "generator" : "sink", strerror(errno));
	gen_bpf__destroy(skel);
	return NULL;
}

static double seconds_of(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* CPU time of this process; the router's softirq work runs on its back and is part of it. */
static double cpu_seconds(void)
{
	struct rusage use;

	if (getrusage(RUSAGE_SELF, &use))
		return 0;
	return seconds_of(&use.ru_utime) + seconds_of(&use.ru_stime);
}

/*
 * All frames in one system call: setting a live-frame run up and taking it down waits for RCU,
 * tens of milliseconds that many short runs would be measured with.
 */
static int run_generator(const struct options *opts, struct frame *frame, int prog_fd)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(*frame),
		    .repeat = (int)opts->frames, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = BATCH_FRAMES);
	double cpu = cpu_seconds();
	double start = now();
	int err;

	err = bpf_prog_test_run_opts(prog_fd, &run);
	if (err) {
		fprintf(stderr, "generate live frames: %s\n", strerror(-err));
		return err;
	}
	printf("{\"sent\": %u, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"frame_ns\": %u}\n",
	       opts->frames, now() - start, cpu_seconds() - cpu, run.duration);
	return 0;
}

static int send_frames(const struct options *opts)
{
	struct gen_bpf *skel;
	struct frame frame;
	int err;

	if (!opts->sport || !opts->frames || opts->sport + opts->flows > 65536)
		bad_usage();
	build_frame(opts, &frame);
	skel = load(opts, &frame, true);
	if (!skel)
		return STATUS_FAILURE;
	err = run_generator(opts, &frame, bpf_program__fd(skel->progs.generate));
	gen_bpf__destroy(skel);
	return err ? STATUS_FAILURE : 0;
}

static int print_counts(struct bpf_map *map, struct sink_counts *percpu, int cpus)
{
	size_t size = (size_t)cpus * sizeof(*percpu);
	struct sink_counts sum = { 0 };
	__u32 key = 0;
	int err;

	err = bpf_map__lookup_elem(map, &key, sizeof(key), percpu, size, 0);
	if (err)
		return err;
	for (int i = 0; i < cpus; i++) {
		sum.delivered += percpu[i].delivered;
		sum.wrong_source += percpu[i].wrong_source;
		sum.corrupt += percpu[i].corrupt;
		sum.other += percpu[i].other;
	}
	printf("{\"delivered\": %llu, \"wrong_source\": %llu, \"corrupt\": %llu, \"other\": %llu}\n",
	       (unsigned long long)sum.delivered, (unsigned long long)sum.wrong_source,
	       (unsigned long long)sum.corrupt, (unsigned long long)sum.other);
	return fflush(stdout) ? -errno : 0;
}

/* One line in, one line of counts out. */
static int answer_requests(struct bpf_map *map)
{
	int cpus = libbpf_num_possible_cpus();
	struct sink_counts *percpu;
	int c, err = 0;

	if (cpus < 0)
		return cpus;
	percpu = calloc((size_t)cpus, sizeof(*percpu));
	if (!percpu)
		return -ENOMEM;
	say_ready();
	while (!err && (c = getchar()) != EOF) {
		if (c == '\n')
			err = print_counts(map, percpu, cpus);
	}
	free(percpu);
	return err;
}

static int count_frames(const struct options *opts)
{
	struct gen_bpf *skel;
	struct frame frame;
	int err;

	build_frame(opts, &frame);
	skel = load(opts, &frame, false);
	if (!skel)
		return STATUS_FAILURE;
	skel->links.sink = attach_xdp(skel->progs.sink, opts->ifindex);
	if (!skel->links.sink) {
		gen_bpf__destroy(skel);
		return STATUS_FAILURE;
	}
	err = answer_requests(skel->maps.counts);
	if (err)
		fprintf(stderr, "read the counts: %s\n", strerror(-err));
	gen_bpf__destroy(skel);
	return err ? STATUS_FAILURE : 0;
}

int main(int argc, char **argv)
{
	struct options opts = { .ttl = 64, .flows = 1 };

	if (argc < 2)
		bad_usage();
	parse_options(argc - 1, argv + 1, &opts);
	if (!strcmp(argv[1], "send"))
		return send_frames(&opts);
	if (!strcmp(argv[1], "sink"))
		return count_frames(&opts);
	bad_usage();
}
