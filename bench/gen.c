// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loader of the benchmark's traffic: "gen send" generates frames, "gen sink" counts them, "gen
 * answer" sends them back, "gen drop" drops them. Results are one JSON object a line on standard
 * output.
 */
#include <bpf/bpf.h>
#include <getopt.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "common.h"
#include "frame.h"
#include "gen.skel.h"

/* Frames that enter the router at once: the NAPI budget of a poll. */
#define BATCH_FRAMES 64
#define MAX_FRAMES 1000000000

/* "Simple IMIX": 7 frames of 64 bytes, 4 of 594, 1 of 1518, the FCS included. */
#define FCS_LEN 4
#define MIDDLE_LEN (594 - FCS_LEN)
#define LONG_LEN (1518 - FCS_LEN)
_Static_assert(LONG_LEN == MAX_FRAME_LEN, "the mix is cut from its longest frame");

struct frame {
	unsigned char data[MAX_FRAME_LEN] __attribute__((aligned(2)));
	unsigned int len;
};

struct options {
	unsigned int ifindex;
	unsigned int flows;
	struct address src;
	struct address dst;
	unsigned short sport;
	unsigned short dport;
	unsigned char ttl;
	unsigned char dmac[ETH_ALEN];
	unsigned char smac[ETH_ALEN];
	unsigned char mark;
	unsigned int frames;
	unsigned int seconds;
	unsigned int rate;
	unsigned int lifetime;
	unsigned int flood;
	bool imix;
	bool hosts;
	bool sources;
};

static const char usage[] =
	"usage: gen send --dev NAME --dmac MAC --smac MAC --src ADDRESS --dst ADDRESS\n"
	"                --sport PORT --dport PORT --flows N (--frames N | --seconds N)\n"
	"                [--rate N] [--lifetime N] [--flood N] [--ttl N] [--imix] [--hosts | --sources]\n"
	"       gen sink --dev NAME --dmac MAC --src ADDRESS --dst ADDRESS --dport PORT [--ttl N]\n"
	"       gen answer --dev NAME --dmac MAC --src ADDRESS --dst ADDRESS --sport PORT --dport PORT\n"
	"                  --flows N [--mark TOS]\n"
	"       gen drop --dev NAME\n"
	"send: UDP frames of N flows in turn (32768 source ports from PORT on, then the next\n"
	"      destination) out of a device, at a rate; each flow makes place for a new one after\n"
	"      so many frames; between two frames so many of a flood from random sources. Frames\n"
	"      are as short as can be: 60 bytes, 62 of IPv6; or --imix: 7 of 64, 4 of 594, 1 of 1518\n"
	"      with the FCS; with --hosts each flow has a destination of its own, with\n"
	"      --sources a source\n"
	"sink: count and drop them; prints the counts for every line on stdin, ends with it\n"
	"answer: send them back; prints the same way, and how long flows had the TOS of the stack\n"
	"drop: drop every frame that comes in, unseen\n";

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
		opts->src = parse_any_address("--src", text);
		break;
	case 'A':
		opts->dst = parse_any_address("--dst", text);
		break;
	case 'p':
		opts->sport = (unsigned short)parse_number("--sport", text, 1, 65535);
		break;
	case 'P':
		opts->dport = (unsigned short)parse_number("--dport", text, 1, 65535);
		break;
	case 'f':
		opts->flows = (unsigned int)parse_number("--flows", text, 1, MAX_FLOWS);
		break;
	case 't':
		opts->ttl = (unsigned char)parse_number("--ttl", text, 1, 255);
		break;
	case 'n':
		opts->frames = (unsigned int)parse_number("--frames", text, 1, MAX_FRAMES);
		break;
	case 's':
		opts->seconds = (unsigned int)parse_number("--seconds", text, 1, 3600);
		break;
	case 'r':
		opts->rate = (unsigned int)parse_number("--rate", text, 1, MAX_FRAMES);
		break;
	case 'l':
		opts->lifetime = (unsigned int)parse_number("--lifetime", text, 1, UINT_MAX);
		break;
	case 'F':
		opts->flood = (unsigned int)parse_number("--flood", text, 1, UINT_MAX);
		break;
	case 'k':
		opts->mark = (unsigned char)parse_number("--mark", text, 1, 255);
		break;
	case 'x':
		opts->imix = true;
		break;
	case 'H':
		opts->hosts = true;
		break;
	case 'S':
		opts->sources = true;
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
		{ "seconds", required_argument, NULL, 's' },
		{ "rate", required_argument, NULL, 'r' },
		{ "lifetime", required_argument, NULL, 'l' },
		{ "flood", required_argument, NULL, 'F' },
		{ "mark", required_argument, NULL, 'k' },
		{ "imix", no_argument, NULL, 'x' },
		{ "hosts", no_argument, NULL, 'H' },
		{ "sources", no_argument, NULL, 'S' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longopts, NULL)) != -1)
		parse_option(opt, optarg, opts);
	if (!opts->ifindex)
		bad_usage();
}

static void need_flow(const struct options *opts)
{
	unsigned int ports = opts->hosts || opts->sources ? 1 : 1 << PORT_BITS;

	if (!opts->src.family || opts->src.family != opts->dst.family || !opts->dport ||
	    opts->sport + (opts->flows < ports ? opts->flows : ports) > 65536)
		bad_usage();
}

static __u32 sum_words(const __u16 *word, size_t words, __u32 sum)
{
	for (size_t i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

static __u16 fold(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

static const struct layout *layout_of(const struct options *opts)
{
	return opts->src.family == AF_INET ? &layout4 : &layout6;
}

/* What all frames share: no low halves of addresses, ports and lengths. */
static void clear_differences(const struct layout *at, __u16 *word)
{
	word[at->ip_len] = word[at->source] = word[at->dest] = 0;
	word[at->udp + UDP_SOURCE] = word[at->udp + UDP_DEST] = word[at->udp + UDP_LEN] = 0;
}

/* Of an IPv4 header, which ends with the destination. */
static __u16 sum_ip(const struct layout *at, const __u16 *header)
{
	__u16 word[MAX_HEADER_WORDS];

	memcpy(word, header, sizeof(word));
	clear_differences(at, word);
	return fold(sum_words(word + 7, at->dest - 6, 0));
}

/* Of the pseudo header; the payload is zero. */
static __u16 sum_udp(const struct layout *at, const __u16 *header)
{
	__u16 word[MAX_HEADER_WORDS];

	memcpy(word, header, sizeof(word));
	clear_differences(at, word);
	return fold(
		sum_words(word + at->addresses, at->dest - at->addresses + 1, htons(IPPROTO_UDP)));
}

static void build_ip4(const struct options *opts, unsigned char *data)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = sizeof(ip) / 4,
		.frag_off = htons(0x4000), /* do not fragment, as most hosts send */
		.ttl = opts->ttl,
		.protocol = IPPROTO_UDP,
	};

	memcpy(&ip.saddr, opts->src.bytes, sizeof(ip.saddr));
	memcpy(&ip.daddr, opts->dst.bytes, sizeof(ip.daddr));
	memcpy(data, &ip, sizeof(ip));
}

static void build_ip6(const struct options *opts, unsigned char *data)
{
	struct ipv6hdr ip = { .version = 6, .nexthdr = IPPROTO_UDP, .hop_limit = opts->ttl };

	memcpy(&ip.saddr, opts->src.bytes, sizeof(ip.saddr));
	memcpy(&ip.daddr, opts->dst.bytes, sizeof(ip.daddr));
	memcpy(data, &ip, sizeof(ip));
}

/* Without lengths and checksums, which the programs write; so they do a flow's source port. */
static void build_frame(const struct options *opts, struct frame *frame)
{
	const struct layout *at = layout_of(opts);
	struct ethhdr eth = { .h_proto = htons(at->ethertype) };
	struct udphdr udp = { .dest = htons(opts->dport) };

	memset(frame, 0, sizeof(*frame));
	memcpy(eth.h_dest, opts->dmac, ETH_ALEN);
	memcpy(eth.h_source, opts->smac, ETH_ALEN);
	memcpy(frame->data, &eth, sizeof(eth));
	if (at == &layout4)
		build_ip4(opts, frame->data + sizeof(eth));
	else
		build_ip6(opts, frame->data + sizeof(eth));
	memcpy(frame->data + sizeof(__u16) * at->udp, &udp, sizeof(udp));
	frame->len = at == &layout4 ? SHORT_FRAME_LEN : SHORT_FRAME6_LEN;
	if (opts->imix)
		frame->len = MAX_FRAME_LEN;
}

/* Evenly spread over the round. */
static void choose_lengths(const struct options *opts, struct gen_bpf *skel)
{
	__u16 least = layout_of(opts) == &layout4 ? SHORT_FRAME_LEN : SHORT_FRAME6_LEN;
	const __u16 lens[MIX_FRAMES] = {
		least, MIDDLE_LEN, least, least,    MIDDLE_LEN, least,
		least, MIDDLE_LEN, least, LONG_LEN, MIDDLE_LEN, least,
	};

	skel->rodata->mixed = opts->imix;
	memcpy((void *)skel->rodata->frame_lens, lens, sizeof(lens));
}

/* Load one of the programs with the frame it sends or expects. */
static struct gen_bpf *load(const struct options *opts, const struct frame *frame, const char *name)
{
	struct gen_bpf *skel = gen_bpf__open();
	struct bpf_program *prog;

	if (!skel)
		goto fail;
	_Static_assert(sizeof(skel->rodata->header) == HEADER6_LEN, "one frame, one layout");
	memcpy((void *)skel->rodata->header, frame->data, HEADER6_LEN);
	skel->rodata->ip_sum = sum_ip(layout_of(opts), (const void *)frame->data);
	skel->rodata->udp_sum = sum_udp(layout_of(opts), (const void *)frame->data);
	choose_lengths(opts, skel);
	skel->rodata->flows = opts->flows;
	skel->rodata->first_port = opts->sport;
	skel->rodata->out_ifindex = opts->ifindex;
	skel->rodata->gap_ns = opts->rate ? 1000000000 / opts->rate : 0;
	skel->rodata->limit = opts->frames;
	skel->rodata->lifetime = opts->lifetime;
	skel->rodata->flood = opts->flood;
	skel->rodata->stack_mark = opts->mark;
	skel->rodata->port_bits = opts->hosts || opts->sources ? 0 : PORT_BITS;
	skel->rodata->by_source = opts->sources;
	bpf_map__set_max_entries(skel->maps.times, opts->flows);
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), name));
	if (!gen_bpf__load(skel))
		return skel;
fail:
	fprintf(stderr, "load %s: %s\n", name, strerror(errno));
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

/* The system call that generates frames ends with a signal. */
static volatile sig_atomic_t over;

static void end_run(int number)
{
	(void)number;
	over = 1;
}

static void end_by_signals(const struct options *opts)
{
	const struct itimerval timer = { .it_value.tv_sec = opts->seconds };
	const struct sigaction action = { .sa_handler = end_run };

	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

struct watch {
	const struct gen_bpf *skel;
	unsigned int frames;
	pthread_t sender;
};

/* A generator with a rate spins between frames: only the count of those sent tells the end. */
static void *watch_frames(void *data)
{
	const struct watch *watch = data;
	const volatile __u64 *sent = &watch->skel->bss->sent;

	while (*sent < watch->frames && !over)
		usleep(1000);
	pthread_kill(watch->sender, SIGTERM);
	return NULL;
}

static bool is_spinning(const struct options *opts)
{
	return opts->rate || opts->seconds;
}

/* Run until the frames are sent or the time is over. */
static int generate(const struct options *opts, struct gen_bpf *skel, struct bpf_test_run_opts *run)
{
	const struct bpf_program *prog = layout_of(opts) == &layout4 ? skel->progs.generate :
								       skel->progs.generate6;
	struct watch watch = { skel, opts->frames, pthread_self() };
	pthread_t watcher;
	int err;

	end_by_signals(opts);
	if (!is_spinning(opts))
		return bpf_prog_test_run_opts(bpf_program__fd(prog), run);
	if (opts->frames && pthread_create(&watcher, NULL, watch_frames, &watch))
		return -EAGAIN;
	do {
		err = bpf_prog_test_run_opts(bpf_program__fd(prog), run);
	} while (!err && !over);
	if (opts->frames)
		pthread_join(watcher, NULL);
	return err == -EINTR && over ? 0 : err;
}

/*
 * All frames in one system call: setting a live-frame run up and taking it down waits for RCU,
 * tens of milliseconds that many short runs would be measured with.
 */
static int run_generator(const struct options *opts, struct frame *frame, struct gen_bpf *skel)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data, .data_size_in = frame->len,
		    .repeat = is_spinning(opts) ? INT_MAX : (int)opts->frames,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH_FRAMES);
	double cpu = cpu_seconds();
	double start = now();
	int err = generate(opts, skel, &run);

	if (err) {
		fprintf(stderr, "generate live frames: %s\n", strerror(-err));
		return err;
	}
	printf("{\"sent\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"frame_ns\": %u}\n",
	       (unsigned long long)skel->bss->sent, now() - start, cpu_seconds() - cpu,
	       run.duration);
	return 0;
}

static int send_frames(const struct options *opts)
{
	struct gen_bpf *skel;
	struct frame frame;
	int err;

	if (!opts->sport || !opts->frames == !opts->seconds)
		bad_usage();
	build_frame(opts, &frame);
	skel = load(opts, &frame, layout_of(opts) == &layout4 ? "generate" : "generate6");
	if (!skel)
		return STATUS_FAILURE;
	err = run_generator(opts, &frame, skel);
	gen_bpf__destroy(skel);
	return err ? STATUS_FAILURE : 0;
}

/* The sum of a per-CPU map's only entry, which is made of 64-bit counters. */
static int sum_percpu(const struct bpf_map *map, __u64 *sum, size_t counters)
{
	int err, cpus = libbpf_num_possible_cpus();
	__u64 *percpu;
	__u32 key = 0;

	if (cpus < 0)
		return cpus;
	percpu = calloc((size_t)cpus * counters, sizeof(*percpu));
	if (!percpu)
		return -ENOMEM;
	err = bpf_map__lookup_elem(map, &key, sizeof(key), percpu,
				   (size_t)cpus * counters * sizeof(*percpu), 0);
	memset(sum, 0, counters * sizeof(*sum));
	for (size_t i = 0; !err && i < (size_t)cpus * counters; i++)
		sum[i % counters] += percpu[i];
	free(percpu);
	return err;
}

#define COUNTERS(type) (sizeof(type) / sizeof(__u64))

static int print_counts(const struct options *opts, const struct gen_bpf *skel)
{
	struct sink_counts sum;
	int err = sum_percpu(skel->maps.counts, (__u64 *)&sum, COUNTERS(sum));

	(void)opts;
	if (err)
		return err;
	printf("{\"delivered\": %llu, \"wrong_source\": %llu, \"corrupt\": %llu, "
	       "\"flood\": %llu, \"other\": %llu}\n",
	       (unsigned long long)sum.delivered, (unsigned long long)sum.wrong_source,
	       (unsigned long long)sum.corrupt, (unsigned long long)sum.flood,
	       (unsigned long long)sum.other);
	return fflush(stdout) ? -errno : 0;
}

static int compare_times(const void *a, const void *b)
{
	const __u64 *one = a, *other = b;

	return (*one > *other) - (*one < *other);
}

struct waits {
	__u64 seen; /* flows */
	__u64 fast;
	__u64 *ns; /* of each fast flow, in order */
};

/* How long each flow took from its first frame to the first that the stack had not marked. */
static int read_waits(const struct options *opts, const struct gen_bpf *skel, struct waits *waits)
{
	size_t size = opts->flows * sizeof(struct flow_times);
	const struct flow_times *times =
		mmap(NULL, size, PROT_READ, MAP_SHARED, bpf_map__fd(skel->maps.times), 0);

	if (times == MAP_FAILED)
		return -errno;
	waits->ns = calloc(opts->flows, sizeof(*waits->ns));
	for (unsigned int i = 0; waits->ns && i < opts->flows; i++) {
		waits->seen += times[i].first != 0;
		if (times[i].fast)
			waits->ns[waits->fast++] = times[i].fast - times[i].first;
	}
	munmap((void *)times, size);
	if (!waits->ns)
		return -ENOMEM;
	qsort(waits->ns, waits->fast, sizeof(*waits->ns), compare_times);
	return 0;
}

static double percentile_ms(const struct waits *waits, double share)
{
	size_t rank = (size_t)((double)waits->fast * share);

	if (!waits->fast)
		return 0;
	return (double)waits->ns[rank < waits->fast ? rank : waits->fast - 1] / 1e6;
}

static int print_answers(const struct options *opts, const struct gen_bpf *skel)
{
	struct waits waits = { 0 };
	struct answer_counts sum;
	int err = sum_percpu(skel->maps.answers, (__u64 *)&sum, COUNTERS(sum));

	err = err ? err : read_waits(opts, skel, &waits);
	if (err)
		return err;
	printf("{\"answered\": %llu, \"other_mac\": %llu, \"other_mac_last\": %.6f, "
	       "\"seen\": %llu, \"fast\": %llu, "
	       "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
	       (unsigned long long)sum.answered, (unsigned long long)sum.other_mac,
	       (double)sum.other_mac_last / 1e9, (unsigned long long)waits.seen,
	       (unsigned long long)waits.fast, percentile_ms(&waits, 0.5),
	       percentile_ms(&waits, 0.99), percentile_ms(&waits, 1));
	free(waits.ns);
	return fflush(stdout) ? -errno : 0;
}

typedef int (*print_function)(const struct options *opts, const struct gen_bpf *skel);

/* One line in, one line of counts out. */
static int answer_requests(const struct options *opts, const struct gen_bpf *skel,
			   print_function print)
{
	int c, err = 0;

	say_ready();
	while (!err && (c = getchar()) != EOF) {
		if (c == '\n')
			err = print(opts, skel);
	}
	return err;
}

/* Attach a program to a device until the standard input ends. */
static int attach(const struct options *opts, const char *name, print_function print)
{
	struct bpf_link *link = NULL;
	struct bpf_program *prog;
	struct gen_bpf *skel;
	struct frame frame;
	int err = -EINVAL;

	build_frame(opts, &frame);
	skel = load(opts, &frame, name);
	if (!skel)
		return STATUS_FAILURE;
	prog = bpf_object__find_program_by_name(skel->obj, name);
	link = attach_xdp(prog, opts->ifindex);
	if (link) {
		err = answer_requests(opts, skel, print);
		if (err)
			fprintf(stderr, "read the counts: %s\n", strerror(-err));
	}
	bpf_link__destroy(link);
	gen_bpf__destroy(skel);
	return err ? STATUS_FAILURE : 0;
}

int main(int argc, char **argv)
{
	struct options opts = { .ttl = 64, .flows = 1 };

	if (argc < 2)
		bad_usage();
	parse_options(argc - 1, argv + 1, &opts);
	if (!strcmp(argv[1], "drop"))
		return attach(&opts, "drop", print_counts);
	need_flow(&opts);
	if (!strcmp(argv[1], "send"))
		return send_frames(&opts);
	if (!strcmp(argv[1], "sink"))
		return attach(&opts, layout_of(&opts) == &layout4 ? "sink" : "sink6", print_counts);
	if (!strcmp(argv[1], "answer") && layout_of(&opts) == &layout4)
		return attach(&opts, "answer", print_answers);
	bad_usage();
}
