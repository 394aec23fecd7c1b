/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a lookup in a set costs a BPF program: `build/bench/set [ROUNDS [ENTRIES...]]`, as root.
 * Sets of random prefixes, random addresses (any, or those of entries), so that caches are as cold
 * as they are for a router's packets; each lookup waits for the one before. The program without
 * the lookup is measured alternately and subtracted. Tab-separated: kind, family, prefixes,
 * options, addresses, ns of a lookup (median, least, most), seconds to build, megabytes, share
 * of addresses that were in.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <sys/resource.h>

#include "filter/set.h"
#include "filter/set_parse.h"
#include "set_probe.skel.h"

#define QUERIES (1U << 20)
#define ROUNDS_MAX 51

static unsigned int rounds = 5;
static uint64_t seed = 1;
static struct set_probe_bpf *probe_bpf;

/* As the probe's draw_query(): the set's entries are the addresses of 0, 1, 2 and so on. */
static uint64_t mix(uint64_t word)
{
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
	word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
	return word ^ (word >> 31);
}

static uint64_t draw(void)
{
	return mix(seed += 0x9e3779b97f4a7c15ULL);
}

static void fail(const char *what, int err)
{
	fprintf(stderr, "set: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void draw_address(uint8_t family, uint32_t number, uint8_t *addr)
{
	const uint64_t word = mix(number * 0x9e3779b97f4a7c15ULL);
	const uint32_t words[4] = { htonl(0x20000000 | (word & 0x1fffffff)), (uint32_t)(word >> 32),
				    (uint32_t)(word * 3), (uint32_t)(word * 5) };
	const uint32_t word4 = (uint32_t)word;

	if (family == AF_INET)
		memcpy(addr, &word4, sizeof(word4));
	else
		memcpy(addr, words, sizeof(words));
}

/* IPv4: /20 to /32, most of them /24; IPv6: /32 to /64 of 2000::/3, most of them /48. */
static void draw_prefix(uint8_t family, struct set_entry *entry, uint32_t number, bool whole)
{
	unsigned int bits;

	memset(entry, 0, sizeof(*entry));
	draw_address(family, number, entry->addr);
	if (family == AF_INET)
		entry->length = draw() % 2 ? 24 : (uint8_t)(20 + draw() % 13);
	else
		entry->length = draw() % 2 ? 48 : (uint8_t)(32 + draw() % 33);
	if (whole)
		entry->length = family == AF_INET ? 32 : 128;
	for (bits = entry->length; bits < (family == AF_INET ? 32U : 128U); bits++)
		entry->addr[bits / 8] &= (uint8_t) ~(0x80 >> bits % 8);
}

static double run(int program)
{
	unsigned char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = QUERIES);
	int err = bpf_prog_test_run_opts(program, &run);

	if (err)
		fail("BPF_PROG_TEST_RUN", err);
	return run.duration;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* What the kernel says that the map in a slot takes, 0 if there is none. */
static double slot_megabytes(int slots_fd, uint32_t slot)
{
	char path[64], line[128];
	long bytes = 0;
	uint32_t id;
	FILE *info;
	int fd;

	if (bpf_map_lookup_elem(slots_fd, &slot, &id))
		return 0;
	fd = bpf_map_get_fd_by_id(id);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info))
		sscanf(line, "memlock: %ld", &bytes);
	if (info)
		fclose(info);
	close(fd);
	return (double)bytes / 1e6;
}

static double megabytes(const struct set_store *store, uint32_t number)
{
	double all = slot_megabytes(store->slots_fd[SET_SLOT_CELLS], SET_FRONT + number);

	for (int i = 0; i < SET_SLOT_COMMENTS; i++)
		all += slot_megabytes(store->slots_fd[i], number);
	return all;
}

static void fill(struct set_store *store, uint32_t number, uint32_t count)
{
	const struct set_info *info = &store->info[number];
	struct set_entry *entries = calloc(count, sizeof(*entries));
	int err;

	if (!entries)
		fail("entries", ENOMEM);
	for (uint32_t i = 0; i < count; i++)
		draw_prefix(info->family, &entries[i], i, info->kind == SET_HASH_IP);
	err = set_fill(store, number, entries, count, true);
	if (err)
		fail("set_fill", err);
	free(entries);
}

static double time_lookups(double *with)
{
	probe_bpf->bss->hits = 0;
	for (unsigned int i = 0; i < rounds; i++) {
		double without = run(bpf_program__fd(probe_bpf->progs.probe_nothing));

		with[i] = run(bpf_program__fd(probe_bpf->progs.probe_random)) - without;
	}
	qsort(with, rounds, sizeof(*with), compare);
	return (double)probe_bpf->bss->hits / QUERIES / rounds;
}

static void measure(struct set_store *store, uint8_t kind, uint8_t family, uint32_t count,
		    uint32_t timeout)
{
	const struct set_info wanted = {
		.name = "bench",
		.kind = kind,
		.family = family,
		.flags = timeout ? SET_WITH_TIMEOUT : 0,
		.timeout = timeout,
		.maxelem = count,
	};
	double start = seconds(), built;
	int number = set_create(store, &wanted);

	if (number < 0)
		fail("set_create", number);
	fill(store, (uint32_t)number, count);
	built = seconds() - start;
	probe_bpf->bss->set = (uint32_t)number;
	probe_bpf->bss->family = family;
	for (int entries = 0; entries < 2; entries++) {
		double with[ROUNDS_MAX], share;

		probe_bpf->bss->among = entries ? count : 0;
		share = time_lookups(with);
		printf("%s\t%s\t%u\t%s\t%s\t%.0f\t%.0f\t%.0f\t%.2f\t%.1f\t%.2f\n",
		       set_kind_name(kind), family == AF_INET ? "inet" : "inet6", count,
		       timeout ? "timeout" : "-", entries ? "entries" : "any", with[rounds / 2],
		       with[0], with[rounds - 1], built, megabytes(store, (uint32_t)number), share);
	}
	fflush(stdout);
	set_destroy(store, (uint32_t)number);
}

/* A bpffs that nobody else sees: sets of this machine are left alone. */
static void hide(void)
{
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpffs", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		fail("a bpffs of its own", errno);
}

static void load(const struct set_store *store)
{
	int err;

	probe_bpf = set_probe_bpf__open();
	if (!probe_bpf)
		fail("open", errno);
	bpf_map__reuse_fd(probe_bpf->maps.set_info, store->info_fd);
	bpf_map__reuse_fd(probe_bpf->maps.set_cells, store->slots_fd[SET_SLOT_CELLS]);
	bpf_map__reuse_fd(probe_bpf->maps.set_hash, store->slots_fd[SET_SLOT_HASH]);
	bpf_map__reuse_fd(probe_bpf->maps.set_trie, store->slots_fd[SET_SLOT_TRIE]);
	err = set_probe_bpf__load(probe_bpf);
	if (err)
		fail("load", err);
}

int main(int argc, char *argv[])
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct set_store store;
	int err;

	if (argc > 1)
		rounds = (unsigned int)atoi(argv[1]);
	if (rounds < 1 || rounds > ROUNDS_MAX)
		return 2;
	hide();
	err = set_store_open(&store, true);
	if (err)
		fail("set_store_open", err);
	load(&store);
	puts("kind\tfamily\tentries\toptions\taddresses\tns\tleast\tmost\tbuild_s\tMB\thits");
	for (int i = 2; i < argc || (i == 2 && argc <= 2); i++) {
		uint32_t count = argc > 2 ? (uint32_t)atoi(argv[i]) : 1000000;

		for (size_t f = 0; f < 2; f++) {
			measure(&store, SET_HASH_NET, families[f], count, 0);
			measure(&store, SET_HASH_NET, families[f], count, 3600);
			measure(&store, SET_HASH_NET_PORT, families[f], count, 0);
			measure(&store, SET_HASH_IP, families[f], count, 0);
			measure(&store, SET_HASH_IP, families[f], count, 3600);
		}
	}
	set_store_close(&store);
	return 0;
}
