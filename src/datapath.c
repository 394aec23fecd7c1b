/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "bpf_log.h"
#include "bpfw.skel.h"
#include "datapath.h"
#include "log.h"
#include "skeleton.h"
#include "util.h"

/* A tuple that is refused again and again is signalled this rarely. */
#define BACKOFF_LIMIT_S 16

/* A FIN or RST is not judged by an acknowledgement that is so much older than its flow. */
#define CONTROL_STALE_S 5

/*
 * Frames that may wait for a CPU, in the memory of the device they came by: a few polls of a
 * NIC, and 2 ms at a million frames a second. What finds the queue full is dropped.
 */
#define CPU_QUEUE 2048

/* Attempts to read the monotonic clock and jiffies at the same time. */
#define CLOCK_READINGS 10

static uint32_t backoff_limit(uint64_t hz)
{
	uint32_t limit = 0;

	while ((1ULL << limit) < hz * BACKOFF_LIMIT_S)
		limit++;
	return limit;
}

/*
 * Where the kernel has HAVE_EFFICIENT_UNALIGNED_ACCESS; its verifier insists on alignment
 * elsewhere. 32-bit ARM has it from ARMv6 on, which cannot be told here.
 */
static bool has_wide_access(void)
{
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__s390x__) || \
	defined(__powerpc64__)
	return true;
#else
	return false;
#endif
}

static struct bpf_program *walk_program(const struct bpfw_bpf *skeleton, bool switched)
{
	return switched ? skeleton->progs.bpfw_xdp_dsa : skeleton->progs.bpfw_xdp;
}

/*
 * The walk is either attached to devices or run by the CPU map, behind a program that chooses the
 * CPU: the same code, loaded for another attach point.
 */
static void configure_spread(struct bpfw_bpf *skeleton, const struct datapath_config *config)
{
	const struct cpus *cpus = config->cpus;
	bool used = config->want_xdp && cpus && cpus->count;
	uint32_t highest = 0;

	bpf_program__set_autoload(skeleton->progs.bpfw_spread, used);
	bpf_map__set_autocreate(skeleton->maps.cpus, used);
	if (!used)
		return;
	for (size_t i = 0; i < cpus->count; i++) {
		skeleton->rodata->spread_cpu[i] = cpus->cpu[i];
		if (cpus->cpu[i] > highest)
			highest = cpus->cpu[i];
	}
	skeleton->rodata->spread_switched = config->switched;
	skeleton->rodata->spread_count = (uint32_t)cpus->count;
	bpf_map__set_max_entries(skeleton->maps.cpus, highest + 1);
	bpf_program__set_expected_attach_type(walk_program(skeleton, config->switched),
					      BPF_XDP_CPUMAP);
}

static int configure(struct datapath *datapath, const struct datapath_config *config)
{
	struct bpfw_bpf *skeleton = datapath->skeleton;

	if (getrandom(&datapath->candidate_seed, sizeof(datapath->candidate_seed), 0) < 0 ||
	    getrandom(&datapath->map.seed, sizeof(datapath->map.seed), 0) < 0)
		return -errno;
	skeleton->rodata->flow_seed = datapath->map.seed;
	skeleton->rodata->wide_access = has_wide_access();
	datapath->map.slots = offload_map_slots(config->max_flows * 2);
	datapath->map.set_mask = offload_map_sets(config->max_flows * 2) - 1;
	skeleton->rodata->flow_set_mask = datapath->map.set_mask;
	datapath->candidate_mask = config->candidate_sets - 1;
	skeleton->rodata->candidate_seed = datapath->candidate_seed;
	skeleton->rodata->candidate_mask = datapath->candidate_mask;
	skeleton->rodata->backoff_limit = backoff_limit(datapath->clock.hz);
	skeleton->rodata->control_stale = (uint32_t)(datapath->clock.hz * CONTROL_STALE_S);
	skeleton->rodata->detect_partial = config->detect_partial;
	bpf_program__set_autoload(skeleton->progs.bpfw_xdp, config->want_xdp && !config->switched);
	bpf_program__set_autoload(skeleton->progs.bpfw_xdp_dsa,
				  config->want_xdp && config->switched);
	bpf_program__set_autoload(skeleton->progs.bpfw_behind, config->want_xdp);
	bpf_program__set_autoload(skeleton->progs.bpfw_tc, config->want_tc);
	bpf_program__set_autoload(skeleton->progs.bpfw_tc_l3, config->want_tc);
	bpf_map__set_max_entries(skeleton->maps.flows, datapath->map.slots);
	bpf_map__set_max_entries(skeleton->maps.flow_index, datapath->map.set_mask + 1);
	bpf_map__set_max_entries(skeleton->maps.candidates, config->candidate_sets);
	configure_spread(skeleton, config);
	return 0;
}

static void *map_memory(const struct bpf_map *map, size_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static size_t flows_len(const struct datapath *datapath)
{
	return datapath->map.slots * sizeof(*datapath->map.flows);
}

static size_t sets_len(const struct datapath *datapath)
{
	return (datapath->map.set_mask + 1UL) * sizeof(*datapath->map.sets);
}

static int grace_period_by_map(void *context)
{
	const struct datapath *datapath = context;
	int token = bpf_map__fd(datapath->skeleton->maps.grace_token);
	uint32_t zero = 0;

	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.grace), &zero, &token,
				   BPF_ANY);
}

static int map_flows(struct datapath *datapath)
{
	struct bpfw_bpf *skeleton = datapath->skeleton;
	struct offload_map *map = &datapath->map;

	map->unused = 1;
	map->wait = grace_period_by_map;
	map->wait_context = datapath;
	map->flows = map_memory(skeleton->maps.flows, flows_len(datapath));
	if (!map->flows)
		return -errno;
	map->sets = map_memory(skeleton->maps.flow_index, sets_len(datapath));
	return map->sets ? 0 : -errno;
}

static int map_arrays(struct datapath *datapath, const struct datapath_config *config)
{
	struct bpfw_bpf *skeleton = datapath->skeleton;

	datapath->candidates_len = config->candidate_sets * sizeof(*datapath->candidates);
	datapath->candidates = map_memory(skeleton->maps.candidates, datapath->candidates_len);
	if (!datapath->candidates)
		return -errno;
	datapath->counters = map_memory(skeleton->maps.counters, sizeof(*datapath->counters));
	return datapath->counters ? map_flows(datapath) : -errno;
}

static bool spreads(const struct bpfw_bpf *skeleton)
{
	return bpf_program__autoload(skeleton->progs.bpfw_spread);
}

/* Each CPU's entry is a thread of the kernel's there, which runs the walk. */
static int start_cpus(const struct datapath *datapath, const struct datapath_config *config)
{
	const struct bpfw_bpf *skeleton = datapath->skeleton;
	const struct bpf_cpumap_val value = {
		.qsize = CPU_QUEUE,
		.bpf_prog.fd = bpf_program__fd(walk_program(skeleton, config->switched)),
	};

	for (size_t i = 0; spreads(skeleton) && i < config->cpus->count; i++) {
		int err = bpf_map_update_elem(bpf_map__fd(skeleton->maps.cpus),
					      &config->cpus->cpu[i], &value, BPF_ANY);

		if (!err)
			continue;
		log_error("--cpus: CPU %u cannot be used: %s", config->cpus->cpu[i],
			  strerror(-err));
		return err;
	}
	return 0;
}

/* One reading of both clocks, by running a program that looks at jiffies. Returns its error. */
static int read_clocks_once(struct datapath *datapath)
{
	char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame));

	datapath->clock.ms = clock_ms();
	return bpf_prog_test_run_opts(bpf_program__fd(datapath->skeleton->progs.bpfw_clock), &run);
}

/* The daemon may lose its CPU between the two: it tries until both were read in a millisecond. */
static int read_clock(struct datapath *datapath)
{
	int err = 0;

	for (int i = 0; i < CLOCK_READINGS && !err; i++) {
		err = read_clocks_once(datapath);
		if (clock_ms() - datapath->clock.ms <= 1)
			break;
	}
	datapath->clock.jiffies = datapath->skeleton->bss->clock_jiffies;
	datapath->counters->clock_jiffies = datapath->clock.jiffies;
	datapath->counters->clock_ms = datapath->clock.ms;
	datapath->counters->clock_hz = datapath->clock.hz;
	return err;
}

static int fill_fast_path(const struct datapath *datapath)
{
	int program = datapath_xdp_fd(datapath);
	uint32_t zero = 0;

	if (program < 0)
		return 0;
	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.fast_path), &zero, &program,
				   BPF_ANY);
}

static int load_and_map(struct datapath *datapath, const struct datapath_config *config)
{
	int err = configure(datapath, config);

	err = err ? err : bpfw_bpf__load(datapath->skeleton);
	err = err ? err : map_arrays(datapath, config);
	err = err ? err : fill_fast_path(datapath);
	return err ? err : read_clock(datapath);
}

int datapath_load(struct datapath *datapath, const struct datapath_config *config)
{
	int err;

	bpf_log_take();
	datapath->clock.hz = clock_hz();
	datapath->skeleton = bpfw_bpf__open();
	if (!datapath->skeleton)
		return -errno;
	skeleton_release();
	err = load_and_map(datapath, config);
	if (!err)
		return start_cpus(datapath, config);
	log_error("cannot load the BPF programs: %s; %s", strerror(-err),
		  err == -EPERM || err == -EACCES ?
			  "the kernel does not allow it (capabilities, lockdown), or its "
			  "verifier refused: see --log-level debug" :
			  "a kernel from 5.10 on with CONFIG_BPF_SYSCALL is needed; "
			  "--log-level debug says more");
	return err;
}

void datapath_unload(struct datapath *datapath)
{
	ring_buffer__free(datapath->ring);
	datapath->ring = NULL;
	if (datapath->candidates)
		munmap(datapath->candidates, datapath->candidates_len);
	if (datapath->counters)
		munmap(datapath->counters, sizeof(*datapath->counters));
	if (datapath->map.flows)
		munmap(datapath->map.flows, flows_len(datapath));
	if (datapath->map.sets)
		munmap(datapath->map.sets, sets_len(datapath));
	datapath->candidates = NULL;
	datapath->counters = NULL;
	datapath->map = (struct offload_map){ 0 };
	bpfw_bpf__destroy(datapath->skeleton);
	datapath->skeleton = NULL;
}

int datapath_xdp_fd(const struct datapath *datapath)
{
	const struct bpfw_bpf *skeleton = datapath->skeleton;
	bool switched = bpf_program__autoload(skeleton->progs.bpfw_xdp_dsa);

	return bpf_program__fd(spreads(skeleton) ? skeleton->progs.bpfw_spread :
						   walk_program(skeleton, switched));
}

int datapath_behind_fd(const struct datapath *datapath)
{
	return bpf_program__fd(datapath->skeleton->progs.bpfw_behind);
}

int datapath_tc_fd(const struct datapath *datapath, bool bare)
{
	const struct bpfw_bpf *skeleton = datapath->skeleton;

	return bpf_program__fd(bare ? skeleton->progs.bpfw_tc_l3 : skeleton->progs.bpfw_tc);
}

void datapath_heartbeat(struct datapath *datapath, uint64_t now_ms)
{
	datapath->skeleton->bss->valid_until =
		clock_to_jiffies(&datapath->clock, now_ms + HEARTBEAT_VALID_MS);
}

struct signal_receiver {
	signal_callback callback;
	void *context;
	uint32_t received; /* in this round */
};

/* Some milliseconds of work at most, then the loop looks at what else there is. */
#define SIGNALS_PER_ROUND 256

static struct signal_receiver receiver; /* one ring buffer per process */

static int receive_signal(void *context, void *data, size_t size)
{
	struct signal_receiver *to = context;

	bool more = size < sizeof(struct bpfw_signal) || to->callback(to->context, data);

	return more && ++to->received < SIGNALS_PER_ROUND ? 0 : -ECANCELED;
}

int datapath_set_signals(struct datapath *datapath, signal_callback callback, void *context)
{
	receiver = (struct signal_receiver){ .callback = callback, .context = context };
	datapath->ring = ring_buffer__new(bpf_map__fd(datapath->skeleton->maps.signals),
					  receive_signal, &receiver, NULL);
	return datapath->ring ? 0 : -errno;
}

int datapath_signals_fd(const struct datapath *datapath)
{
	return ring_buffer__epoll_fd(datapath->ring);
}

void datapath_read_signals(struct datapath *datapath)
{
	receiver.received = 0;
	ring_buffer__consume(datapath->ring);
}

int datapath_set_port(struct datapath *datapath, uint32_t ifindex, const struct bpfw_port *port)
{
	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.ports), &ifindex, port,
				   BPF_ANY);
}

int datapath_set_conduit(struct datapath *datapath, uint32_t ifindex,
			 const struct bpfw_conduit *conduit)
{
	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.conduits), &ifindex,
				   conduit, BPF_ANY);
}

int datapath_clear_conduit(struct datapath *datapath, uint32_t ifindex)
{
	return bpf_map_delete_elem(bpf_map__fd(datapath->skeleton->maps.conduits), &ifindex);
}

int datapath_clear_port(struct datapath *datapath, uint32_t ifindex)
{
	return bpf_map_delete_elem(bpf_map__fd(datapath->skeleton->maps.ports), &ifindex);
}

int datapath_set_plan_row(struct datapath *datapath, uint32_t index,
			  const struct bpfw_plan_row *row)
{
	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.plan), &index, row,
				   BPF_ANY);
}

int datapath_add_egress(struct datapath *datapath, uint32_t ifindex)
{
	return bpf_map_update_elem(bpf_map__fd(datapath->skeleton->maps.egresses), &ifindex,
				   &ifindex, BPF_ANY);
}

uint64_t datapath_hash(const struct datapath *datapath, const struct tuple *tuple)
{
	const struct segment nowhere = { 0 };

	if (tuple->family == AF_INET) {
		struct bpfw_flow4_key key = tuple_to_key4(tuple, &nowhere);

		return candidate_hash4(&key, datapath->candidate_seed);
	} else {
		struct bpfw_flow6_key key = tuple_to_key6(tuple, &nowhere);

		return candidate_hash6(&key, datapath->candidate_seed);
	}
}

static struct bpfw_candidate_set *candidates_of(const struct datapath *datapath, uint64_t hash)
{
	return &datapath->candidates[(uint32_t)hash & datapath->candidate_mask];
}

/* The tuple's candidate, made if there is none: as candidate_find() of the BPF side. */
static struct bpfw_candidate *find_candidate(struct datapath *datapath, const struct tuple *tuple,
					     uint32_t now)
{
	uint64_t hash = datapath_hash(datapath, tuple);
	struct bpfw_candidate_set *set = candidates_of(datapath, hash);
	struct bpfw_candidate *oldest = &set->way[0];

	for (size_t i = 0; i < CANDIDATE_WAYS; i++) {
		struct bpfw_candidate *way = &set->way[i];

		if (way->tag == candidate_tag(hash))
			return way;
		if (!way->tag || (oldest->tag && (int32_t)(way->last - oldest->last) < 0))
			oldest = way;
	}
	*oldest = (struct bpfw_candidate){
		.tag = candidate_tag(hash),
		.last = now,
		.next = now,
	};
	return oldest;
}

static uint32_t jiffies_now(const struct datapath *datapath)
{
	return (uint32_t)clock_to_jiffies(&datapath->clock, clock_ms());
}

void datapath_arm_candidate(struct datapath *datapath, const struct tuple *tuple)
{
	uint32_t now = jiffies_now(datapath);
	struct bpfw_candidate *candidate = find_candidate(datapath, tuple, now);

	candidate->next = now - 1;
	candidate->attempts = 0;
	candidate->count = (uint16_t)datapath->skeleton->rodata->candidate_threshold;
}

void datapath_rearm_candidate(struct datapath *datapath, const struct tuple *tuple)
{
	uint64_t hash = datapath_hash(datapath, tuple);
	struct bpfw_candidate_set *set = candidates_of(datapath, hash);

	for (size_t i = 0; i < CANDIDATE_WAYS; i++) {
		struct bpfw_candidate *way = &set->way[i];

		if (way->tag != candidate_tag(hash) || !way->attempts)
			continue;
		way->attempts = 0;
		way->next = jiffies_now(datapath);
	}
}

void datapath_defer_candidate(struct datapath *datapath, const struct tuple *tuple)
{
	uint32_t now = jiffies_now(datapath);
	uint32_t limit = datapath->skeleton->rodata->backoff_limit;
	struct bpfw_candidate *candidate = find_candidate(datapath, tuple, now);

	candidate->attempts = (uint16_t)limit;
	candidate->next = now + (1U << limit);
}

void datapath_undefer_candidates(struct datapath *datapath)
{
	uint32_t now = jiffies_now(datapath);

	for (uint32_t i = 0; i <= datapath->candidate_mask; i++) {
		for (size_t way = 0; way < CANDIDATE_WAYS; way++) {
			struct bpfw_candidate *candidate = &datapath->candidates[i].way[way];

			candidate->attempts = 0;
			candidate->next = now;
		}
	}
}
