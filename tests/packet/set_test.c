/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets as rules see them: filled by `bpfw set`'s own code, looked up by bpf/set.h through
 * BPF_PROG_TEST_RUN, against lists that are searched from the longest prefix to the shortest, and
 * against the kernel's own ipset where there is one. The bpffs is one that only this process
 * sees.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "filter/set.h"
#include "filter/set_command.h"
#include "filter/set_parse.h"
#include "filter/set_tree.h"
#include "probe/set_probe.h"
#include "set_probe.skel.h"
#include "tap.h"
#include "util.h"

#define QUERIES (1U << 18)
#define LIST_MAX 120000

static struct set_store store;
static struct set_probe_bpf *probe;
static struct set_probe *queries;
static uint64_t seed;
static uint32_t lookups = QUERIES; /* of a comparison; BPFW_TEST_LOOKUPS: fewer, under emulation */

static uint32_t draw(uint32_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed * 0x2545f4914f6cdd1dULL >> 32) * limit >> 32);
}

/* ---- The model: a sorted list for each question -------------------------------------- */

static struct set_entry list[LIST_MAX];
static uint32_t listed;

static int compare(const void *a, const void *b)
{
	const struct set_entry *x = a, *y = b;
	int order = memcmp(x->addr, y->addr, sizeof(x->addr));

	order = order ? order : x->length - y->length;
	order = order ? order : x->protocol - y->protocol;
	return order ? order : x->port - y->port;
}

static uint8_t whole(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

static void mask(struct set_entry *entry, uint8_t family)
{
	for (unsigned int bit = entry->length; bit < whole(family); bit++)
		entry->addr[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static const struct set_entry *find(const struct set_entry *wanted)
{
	return bsearch(wanted, list, listed, sizeof(*list), compare);
}

/* The list has no entries that have ended, and prefixes or addresses with or without ports. */
static bool model_match(const struct set_entry *query, uint8_t family)
{
	for (int length = whole(family); length >= 0; length--) {
		struct set_entry wanted = *query;
		const struct set_entry *found;

		wanted.length = (uint8_t)length;
		mask(&wanted, family);
		found = find(&wanted);
		if (found)
			return !found->nomatch;
	}
	return false;
}

static void sort_list(void)
{
	uint32_t kept = 0;

	qsort(list, listed, sizeof(*list), compare);
	for (uint32_t i = 0; i < listed; i++)
		if (!kept || compare(&list[kept - 1], &list[i]))
			list[kept++] = list[i];
	listed = kept;
}

/* ---- Queries ------------------------------------------------------------------------- */

static void put_query(uint32_t number, const struct set_entry *entry, uint8_t family)
{
	struct set_probe *query = &queries[number];

	memset(query, 0, sizeof(*query));
	memcpy(query->addr, entry->addr, sizeof(query->addr));
	query->port = htons(entry->port);
	query->protocol = entry->protocol;
	query->family = family;
	query->ported = 1;
	query->answer = 2;
}

static bool run(const struct bpf_program *program, uint32_t count)
{
	unsigned char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)count);

	probe->bss->next = 0;
	probe->bss->last = count - 1;
	return !bpf_prog_test_run_opts(bpf_program__fd(program), &opts);
}

static bool ask(uint32_t number, uint32_t count)
{
	probe->bss->set = number;
	return run(probe->progs.probe_match, count);
}

static bool ask_one(uint32_t number, const struct set_entry *entry, uint8_t family)
{
	put_query(0, entry, family);
	if (!ask(number, 1))
		tap_bail_out("BPF_PROG_TEST_RUN: %s", strerror(errno));
	return queries[0].answer;
}

/* Where few bits vary, so that entries lie in each other; a quarter anywhere. */
static void draw_address(struct set_entry *entry, uint8_t family)
{
	static const uint8_t bases[2][16] = { { 10 }, { 0x20, 0x01, 0x0d, 0xb8 } };
	const size_t bytes = whole(family) / 8;

	memset(entry->addr, 0, sizeof(entry->addr));
	memcpy(entry->addr, bases[family == AF_INET6], bytes);
	entry->addr[bytes - 1] = (uint8_t)draw(256);
	entry->addr[bytes - 2] = (uint8_t)draw(4);
	if (family == AF_INET6 && draw(2))
		entry->addr[7] = (uint8_t)draw(8);
	if (!draw(4))
		for (size_t i = 0; i < bytes; i++)
			entry->addr[i] = (uint8_t)draw(256);
}

static void draw_entry(struct set_entry *entry, uint8_t family, uint8_t kind)
{
	const bool net = kind == SET_HASH_NET || kind == SET_HASH_NET_PORT;

	memset(entry, 0, sizeof(*entry));
	draw_address(entry, family);
	entry->length = whole(family);
	if (net)
		entry->length =
			(uint8_t)(draw(3) ? whole(family) - draw(14) : draw(whole(family) + 1U));
	if (kind == SET_HASH_IP_PORT || kind == SET_HASH_NET_PORT) {
		entry->protocol = draw(2) ? IPPROTO_TCP : IPPROTO_UDP;
		entry->port = (uint16_t)(80 + draw(2));
	}
	entry->nomatch = net && !draw(5);
	mask(entry, family);
}

/* An edge of an entry, one beside it, or anything. */
static void draw_query(struct set_entry *query, uint8_t family, uint8_t kind)
{
	const struct set_entry *from = &list[draw(listed ? listed : 1)];
	const size_t bytes = whole(family) / 8;

	draw_entry(query, family, kind);
	query->length = whole(family);
	query->nomatch = false;
	if (!listed || !draw(4))
		return;
	memcpy(query->addr, from->addr, sizeof(query->addr));
	for (unsigned int bit = from->length; bit < whole(family); bit++)
		if (from->port % 2 == 0 ? draw(2) : 1)
			query->addr[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	query->addr[bytes - 1] = (uint8_t)(query->addr[bytes - 1] + draw(3) - 1);
	if (draw(4)) {
		query->port = from->port;
		query->protocol = from->protocol;
	}
}

/* How many of so many questions the set and the list answer differently. */
static uint32_t count_wrong(uint32_t number, uint32_t count)
{
	const struct set_info *info = &store.info[number];
	struct set_entry *asked = calloc(count, sizeof(*asked));
	uint32_t wrong = 0;

	if (!asked)
		tap_bail_out("out of memory");
	for (uint32_t i = 0; i < count; i++) {
		draw_query(&asked[i], info->family, info->kind);
		put_query(i, &asked[i], info->family);
	}
	if (!ask(number, count))
		wrong = count;
	for (uint32_t i = 0; i < count; i++) {
		const bool expected = model_match(&asked[i], info->family);

		if (queries[i].answer != expected && !wrong++)
			tap_note("set of kind %s, query %u: %u instead of %u",
				 set_kind_name(info->kind), i, queries[i].answer, expected);
		if (i < 200 && set_test(&store, number, &asked[i]) != expected)
			wrong++;
	}
	free(asked);
	return wrong;
}

static int make(const char *name, uint8_t kind, uint8_t family, uint8_t flags, uint32_t timeout,
		uint32_t maxelem)
{
	struct set_info info = { .kind = kind,
				 .family = family,
				 .flags = flags,
				 .timeout = timeout,
				 .maxelem = maxelem,
				 .last = 65535 };

	snprintf(info.name, sizeof(info.name), "%s", name);
	return set_create(&store, &info);
}

/* ---- The kinds ------------------------------------------------------------------------ */

static const uint8_t kinds[] = { SET_HASH_IP, SET_HASH_NET, SET_HASH_IP_PORT, SET_HASH_NET_PORT };
static const uint8_t families[] = { AF_INET, AF_INET6 };

/* Some entries are forever, others end in an hour: both are there. */
static void draw_list(uint8_t kind, uint8_t family, uint32_t count)
{
	listed = 0;
	while (listed < count) {
		draw_entry(&list[listed], family, kind);
		list[listed].timed = draw(2);
		list[listed].timeout = list[listed].timed ? 3600 : 0;
		listed++;
	}
	sort_list();
}

static bool change_some(uint32_t number, uint8_t kind, uint8_t family)
{
	for (int i = 0; i < 40; i++) {
		struct set_entry entry;
		const struct set_entry *there;
		int err;

		draw_entry(&entry, family, kind);
		if (draw(2) && listed)
			entry = list[draw(listed)];
		there = find(&entry);
		err = draw(2) ? set_add(&store, number, &entry, false) :
				set_del(&store, number, &entry);
		if (err && err != (there ? -EEXIST : -ENOENT)) {
			tap_note("a change: %s", strerror(-err));
			return false;
		}
		if (!err && there)
			list[there - list] = list[--listed];
		else if (!err)
			list[listed++] = entry;
		sort_list();
	}
	return true;
}

static void test_kind(uint8_t kind, uint8_t family, uint32_t count)
{
	int number = make("kind", kind, family, SET_WITH_TIMEOUT, 0, count + 1000);
	const char *name = set_kind_name(kind);
	const int version = family == AF_INET ? 4 : 6;
	bool changed = true;
	uint32_t wrong = 0;

	draw_list(kind, family, count);
	if (number < 0 || set_fill(&store, (uint32_t)number, list, listed, true))
		tap_bail_out("a set of kind %s cannot be made", name);
	tap(count_wrong((uint32_t)number, lookups) == 0, "%s, IPv%d, %u entries: as the list says",
	    name, version, listed);
	for (int i = 0; i < 5 && changed; i++) {
		changed = change_some((uint32_t)number, kind, family);
		wrong += count_wrong((uint32_t)number, 20000);
	}
	tap(changed && !wrong, "%s, IPv%d: still so after live changes", name, version);
	set_destroy(&store, (uint32_t)number);
}

static void test_ports(void)
{
	int number = make("ports", SET_BITMAP_PORT, 0, SET_WITH_TIMEOUT, 0, 65536);
	struct set_entry range = { .port = 1000, .port_last = 2999, .protocol = IPPROTO_UDP };
	uint32_t wrong = 0;

	set_add(&store, (uint32_t)number, &range, false);
	range = (struct set_entry){ .port = 1500, .port_last = 1500 };
	set_del(&store, (uint32_t)number, &range);
	for (uint32_t port = 0; port < 65536; port++) {
		range.port = (uint16_t)port;
		range.protocol = port & 1 ? IPPROTO_TCP : IPPROTO_UDP;
		put_query(port, &range, AF_INET);
	}
	queries[2000].ported = 0; /* a later fragment */
	queries[2001].protocol = IPPROTO_SCTP;
	ask((uint32_t)number, 65536);
	for (uint32_t port = 0; port < 65536; port++)
		wrong += queries[port].answer != (port >= 1000 && port <= 2999 && port != 1500 &&
						  port != 2000 && port != 2001);
	tap(number >= 0 && !wrong,
	    "bitmap:port: every port of TCP and UDP, and none of other packets");
	set_destroy(&store, (uint32_t)number);
}

/* ---- Time ------------------------------------------------------------------------------ */

/* A short exception in a longer block in one for ever: each decides as long as it lasts. */
static void test_end(void)
{
	static const struct set_entry wide = { .addr = { 10 }, .length = 8 };
	static const struct set_entry hole = {
		.addr = { 10, 1 }, .length = 16, .nomatch = true, .timed = true, .timeout = 1
	};
	static const struct set_entry host = {
		.addr = { 192, 0, 2, 1 }, .length = 32, .timed = true, .timeout = 1
	};
	static const struct set_entry in_hole = { .addr = { 10, 1, 2, 3 }, .length = 32 };
	static const uint8_t net_kinds[] = { SET_HASH_NET, SET_HASH_NET_PORT };

	for (size_t i = 0; i < ARRAY_SIZE(net_kinds); i++) {
		int number = make("end", net_kinds[i], AF_INET, SET_WITH_TIMEOUT, 0, 100);
		bool before, after = false;

		set_add(&store, (uint32_t)number, &wide, false);
		set_add(&store, (uint32_t)number, &hole, false);
		set_add(&store, (uint32_t)number, &host, false);
		before = !ask_one((uint32_t)number, &in_hole, AF_INET) &&
			 ask_one((uint32_t)number, &host, AF_INET);
		for (int tries = 0; tries < 100 && !after; tries++) {
			usleep(100000);
			after = ask_one((uint32_t)number, &in_hole, AF_INET) &&
				!ask_one((uint32_t)number, &host, AF_INET);
		}
		tap(before && after,
		    "%s: entries end by themselves, and what lies beneath counts again",
		    set_kind_name(net_kinds[i]));
		tap(set_add(&store, (uint32_t)number, &hole, false) == 0,
		    "%s: what has ended can be added anew", set_kind_name(net_kinds[i]));
		set_destroy(&store, (uint32_t)number);
	}
}

/* ---- Rules that change sets -------------------------------------------------------------- */

static void test_rules(void)
{
	int number = make("rules", SET_HASH_IP, AF_INET, SET_WITH_TIMEOUT, 1, 100);
	struct set_entry entry = { .length = 32 };
	uint32_t found = 0;

	probe->bss->set = (uint32_t)number;
	probe->bss->change = 0; /* SET_ADD of bpf/set.h */
	probe->bss->timeout = 3600;
	for (uint32_t i = 0; i < 150; i++) {
		entry.addr[3] = (uint8_t)i;
		put_query(i, &entry, AF_INET);
	}
	run(probe->progs.probe_change, 150);
	ask((uint32_t)number, 150);
	for (uint32_t i = 0; i < 150; i++)
		found += queries[i].answer;
	tap(found == 100 && store.info[number].refused == 50,
	    "a full set takes nothing from rules (%u of 100 are in), and %u refusals are counted",
	    found, (unsigned int)store.info[number].refused);
	probe->bss->change = 2; /* SET_DEL */
	run(probe->progs.probe_change, 50);
	ask((uint32_t)number, 100);
	for (uint32_t i = found = 0; i < 100; i++)
		found += queries[i].answer;
	tap(found == 50, "rules take entries out");
	probe->bss->change = 0;
	probe->bss->timeout = -1;
	run(probe->progs.probe_change, 50);
	ask((uint32_t)number, 50);
	for (uint32_t i = found = 0; i < 50; i++)
		found += queries[i].answer;
	for (int tries = 0; tries < 100 && found == 50; tries++) {
		usleep(100000);
		ask((uint32_t)number, 50);
		found = 50 - !queries[0].answer;
	}
	tap(found == 49, "the set's own timeout holds for what rules add");
	entry.addr[3] = 200;
	tap(set_add(&store, (uint32_t)number, &entry, false) == 0,
	    "what has ended makes room for what is added to a full set");
	set_destroy(&store, (uint32_t)number);
}

/* Nothing runs in the background: what has ended goes when its place is needed. */
static void test_room(void)
{
	int number = make("room", SET_HASH_IP_PORT, AF_INET6, SET_WITH_TIMEOUT, 1, 100);
	struct set_entry entry = { .length = 128, .protocol = IPPROTO_UDP, .port = 53 };
	uint32_t found = 0;

	probe->bss->change = 0;
	probe->bss->timeout = -1;
	for (uint8_t round = 0; round < 3; round++) {
		probe->bss->set = (uint32_t)number;
		for (uint32_t i = 0; i < 100; i++) {
			entry.addr[0] = (uint8_t)(0x20 + round);
			entry.addr[15] = (uint8_t)i;
			put_query(i, &entry, AF_INET6);
		}
		run(probe->progs.probe_change, 100);
		ask((uint32_t)number, 100);
		for (uint32_t i = 0; i < 100; i++)
			found += queries[i].answer;
		usleep(1500000);
	}
	tap(found == 300 && !store.info[number].refused,
	    "rules make room of what they added and has ended (%u of 300 were in)", found);
	set_destroy(&store, (uint32_t)number);
}

/* ---- Lookups beside changes -------------------------------------------------------------- */

static volatile bool stop;
static uint32_t disturbed;
static uint64_t asked_beside;

static void *ask_on(void *context)
{
	uint32_t number = *(uint32_t *)context;

	while (!stop) {
		if (!ask(number, 1000))
			disturbed++;
		for (uint32_t i = 0; i < 1000; i++)
			disturbed += queries[i].answer != i % 2;
		asked_beside += 1000;
	}
	return NULL;
}

/* The queries are asked on and on while the set changes; it is destroyed afterwards. */
static void check_beside(uint32_t set, const char *type, uint8_t family,
			 int (*change)(uint32_t set, uint8_t family))
{
	struct timespec start, now;
	uint32_t changes = 0;
	pthread_t thread;
	int err;

	stop = false;
	disturbed = 0;
	asked_beside = 0;
	pthread_create(&thread, NULL, ask_on, &set);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		err = change(set, family);
		changes += !err;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((!err || err == -ENOENT) && now.tv_sec < start.tv_sec + 4);
	stop = true;
	pthread_join(thread, NULL);
	tap((!err || err == -ENOENT) && changes && asked_beside && !disturbed,
	    "%s, IPv%d: lookups beside changes are never wrong", type, family == AF_INET ? 4 : 6);
	tap_note("%llu lookups, %u changes, %u wrong", (unsigned long long)asked_beside, changes,
		 disturbed);
	set_destroy(&store, set);
}

/* Inside of those that are in, or far from all. */
static int change_net(uint32_t set, uint8_t family)
{
	struct set_entry entry = list[draw(500)];

	entry.addr[3] = (uint8_t)draw(256);
	entry.length = (uint8_t)(25 + draw(8));
	if (draw(2))
		entry.addr[0] = 0x30;
	mask(&entry, family);
	return draw(3) ? set_add(&store, set, &entry, true) : set_del(&store, set, &entry);
}

/* What stays in, stays in; what is never in is never found; whatever is changed around both. */
static void test_beside(uint8_t family)
{
	int number = make("beside", SET_HASH_NET, family, SET_WITH_TIMEOUT, 0, 200000);
	uint32_t set = (uint32_t)number;

	draw_list(SET_HASH_NET, family, 100);
	for (uint32_t i = 0; i < 1000; i++) {
		memset(&list[i], 0, sizeof(*list));
		list[i].addr[0] = 0x20;
		list[i].addr[1] = (uint8_t)(i >> 8);
		list[i].addr[2] = (uint8_t)i;
		list[i].length = 24;
		put_query(i, &list[i], family);
	}
	for (uint32_t i = 1; i < 1000; i += 2)
		list[i / 2] = list[i];
	for (listed = 500; listed < 1500; listed++) { /* so many that IPv4 has the fast way */
		memset(&list[listed], 0, sizeof(*list));
		list[listed].addr[0] = 0x40;
		list[listed].addr[1] = (uint8_t)(listed >> 8);
		list[listed].addr[2] = (uint8_t)listed;
		list[listed].length = 24;
	}
	if (number < 0 || set_fill(&store, set, list, listed, true))
		tap_bail_out("the set cannot be made");
	check_beside(set, "hash:net", family, change_net);
}

/* ---- Large hash maps, and what is in front of them ---------------------------------------- */

#define LARGE 4000

static struct set_entry large_entry(uint32_t i, uint8_t family)
{
	struct set_entry entry = { .addr = { 0x20, (uint8_t)(i >> 8), (uint8_t)i },
				   .length = whole(family) };

	if (family == AF_INET6)
		entry.addr[15] = (uint8_t)i;
	return entry;
}

static void put_large(uint8_t family, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct set_entry entry = large_entry(first + i, family);

		put_query(i, &entry, family);
	}
}

static uint32_t count_in(uint32_t set, uint8_t family, uint32_t first, uint32_t count)
{
	uint32_t found = 0;

	put_large(family, first, count);
	if (!ask(set, count))
		return count + 1;
	for (uint32_t i = 0; i < count; i++)
		found += queries[i].answer;
	return found;
}

static void rules_change(uint8_t family, uint32_t how, int64_t timeout, uint32_t first,
			 uint32_t count)
{
	put_large(family, first, count);
	probe->bss->change = how; /* enum set_change of bpf/set.h */
	probe->bss->timeout = timeout;
	run(probe->progs.probe_change, count);
}

/* Rules take out, add, and give those that stay for ever an end. */
static void test_large(uint8_t family)
{
	const uint32_t set =
		(uint32_t)make("large", SET_HASH_IP, family, SET_WITH_TIMEOUT, 0, 2 * LARGE);
	const uint32_t front = SET_FRONT + set;
	uint32_t id, found;

	for (listed = 0; listed < LARGE; listed++)
		list[listed] = large_entry(listed, family);
	if (set_fill(&store, set, list, listed, true) ||
	    bpf_map_lookup_elem(store.slots_fd[SET_SLOT_CELLS], &front, &id))
		tap_bail_out("a large set has nothing in front of it");
	rules_change(family, 2, -1, 0, 500);
	rules_change(family, 1, 1, 500, 500);
	rules_change(family, 0, 0, LARGE, 500);
	tap(count_in(set, family, 0, 500) == 0 && count_in(set, family, LARGE, 500) == 500 &&
		    count_in(set, family, 1000, LARGE - 1000) == LARGE - 1000 &&
		    count_in(set, family, LARGE + 500, LARGE) == 0,
	    "hash:ip, IPv%d: rules change a large set", family == AF_INET ? 4 : 6);
	found = count_in(set, family, 500, 500);
	for (int tries = 0; tries < 100 && found; tries++) {
		usleep(100000);
		found = count_in(set, family, 500, 500);
	}
	tap(!found, "... and what they gave an end ends");
	rules_change(family, 0, 0, 0, 10);
	list[0] = large_entry(3 * LARGE, family);
	tap(count_in(set, family, 0, 20) == 10 && !set_del(&store, set, &list[2000]) &&
		    count_in(set, family, 2000, 2) == 1 &&
		    !set_add(&store, set, &list[2000], false) &&
		    count_in(set, family, 2000, 2) == 2,
	    "... what was taken out can be added again, by rules and from outside");
	for (uint32_t i = 0; i < 100; i++)
		list[i] = large_entry(3 * LARGE + i, family);
	tap(!set_fill(&store, set, list, 100, false) &&
		    count_in(set, family, 3 * LARGE, 200) == 100 &&
		    count_in(set, family, 0, 20) == 10 &&
		    count_in(set, family, 1000, LARGE - 1000) == LARGE - 1000 &&
		    count_in(set, family, LARGE, 1000) == 500,
	    "... and a file that adds keeps all of it");
	tap(!set_fill(&store, set, list, 10, true) && count_in(set, family, 0, 2 * LARGE) == 0 &&
		    count_in(set, family, 3 * LARGE, 200) == 10 &&
		    bpf_map_lookup_elem(store.slots_fd[SET_SLOT_CELLS], &front, &id),
	    "... and a small one that replaces leaves nothing behind");
	set_destroy(&store, set);
}

static uint32_t set_exist(uint32_t set, uint8_t family, uint32_t timeout, uint32_t first,
			  uint32_t count)
{
	uint32_t failed = 0;

	for (uint32_t i = first; i < first + count; i++) {
		struct set_entry entry = large_entry(i, family);

		entry.timed = true;
		entry.timeout = timeout;
		failed += set_add(&store, set, &entry, true) != 0;
	}
	return failed;
}

static size_t count_listed(uint32_t set)
{
	struct set_entry *entries;
	size_t count = 0;

	if (!set_list(&store, set, &entries, &count))
		set_entries_free(entries, count);
	return count;
}

/* Those up to 120 and from 620 on stay in, but for 810 to 819; the others end within 4 seconds. */
static uint32_t change_ends(uint32_t set, uint8_t family)
{
	const uint32_t in = count_in(set, family, 0, LARGE);
	uint32_t failed = in != LARGE;

	rules_change(family, 1, 3600, 0, 100);
	failed += set_exist(set, family, 3600, 100, 20);
	rules_change(family, 1, 2, 500, 100);
	failed += set_exist(set, family, 2, 600, 20);
	rules_change(family, 1, 0, 700, 10);
	rules_change(family, 0, 2, 800, 10);
	rules_change(family, 2, -1, 810, 10);
	return failed;
}

static bool ended(uint32_t set, uint8_t family)
{
	return count_in(set, family, 0, 120) == 120 && count_in(set, family, 120, 500) == 0 &&
	       count_in(set, family, 620, 190) == 190 && count_in(set, family, 810, 10) == 0 &&
	       count_in(set, family, 820, LARGE) == LARGE - 820;
}

/* What is in front of a large set knows ends, which rules and `set add --exist` change. */
static void test_large_ends(uint8_t family)
{
	const uint32_t set =
		(uint32_t)make("ends", SET_HASH_IP, family, SET_WITH_TIMEOUT, 3600, 2 * LARGE);
	uint32_t failed, tries = 0;

	for (listed = 0; listed < LARGE; listed++) {
		list[listed] = large_entry(listed, family);
		list[listed].timed = listed < 500;
		list[listed].timeout = 4;
	}
	if (set_fill(&store, set, list, listed, true))
		tap_bail_out("the set cannot be made");
	failed = change_ends(set, family);
	while (!ended(set, family) && tries++ < 100)
		usleep(100000);
	tap(!failed && tries > 5 && tries < 100,
	    "hash:ip, IPv%d: entries of a large set end when it is time, and not before",
	    family == AF_INET ? 4 : 6);
	tap(count_listed(set) == LARGE - 510, "... and are not listed (%zu are)",
	    count_listed(set));
	rules_change(family, 0, 3600, 120, 10);
	failed = set_exist(set, family, 3600, 130, 10);
	tap(!failed && count_in(set, family, 0, 140) == 140 && count_in(set, family, 140, 480) == 0,
	    "... and can be added again");
	tap(!set_fill(&store, set, &list[1000], 100, false) &&
		    count_in(set, family, 0, 140) == 140 && count_in(set, family, 140, 480) == 0 &&
		    count_in(set, family, 620, LARGE) == LARGE - 630,
	    "... and are as they were after a file has added to the set");
	set_destroy(&store, set);
}

static struct set_entry large_net(uint32_t i, uint32_t timeout)
{
	return (struct set_entry){ .addr = { 0x20, (uint8_t)(i >> 8), (uint8_t)i },
				   .length = 24,
				   .timed = timeout > 0,
				   .timeout = timeout };
}

static uint32_t net_exist(uint32_t set, uint32_t timeout, uint32_t first, uint32_t count)
{
	uint32_t failed = 0;

	for (uint32_t i = first; i < first + count; i++) {
		const struct set_entry net = large_net(i, timeout);

		failed += set_add(&store, set, &net, true) != 0;
	}
	return failed;
}

/* Prefixes end beside others that stay: what answers first knows the first end. */
static void test_net_ends(uint8_t family)
{
	const uint32_t set =
		(uint32_t)make("ends", SET_HASH_NET, family, SET_WITH_TIMEOUT, 0, 2 * LARGE);
	uint32_t failed, tries = 0;
	bool done;

	for (listed = 0; listed < LARGE; listed++)
		list[listed] = large_net(listed, listed % 4 ? 3600 : 3);
	if (set_fill(&store, set, list, listed, true))
		tap_bail_out("the set cannot be made");
	failed = count_in(set, family, 0, LARGE) != LARGE;
	failed += net_exist(set, 3600, 0, 1) + net_exist(set, 0, 4, 1) + net_exist(set, 2, 1, 2);
	do {
		usleep(100000);
		done = count_in(set, family, 0, 8) == 6 && count_in(set, family, 0, 1) == 1 &&
		       count_in(set, family, 4, 1) == 1 && count_in(set, family, 3, 1) == 1 &&
		       count_in(set, family, 8, LARGE) == (LARGE - 8) / 4 * 3;
	} while (!done && tries++ < 100);
	tap(!failed && done && tries > 5,
	    "hash:net, IPv%d: prefixes of a large set end when it is time, and not before",
	    family == AF_INET ? 4 : 6);
	failed = net_exist(set, 3600, 8, 1);
	tap(!failed && count_in(set, family, 8, 4) == 4, "... and can be added again");
	set_destroy(&store, set);
}

/* The set is filled with a front or without one, more is added to it, or one entry changes. */
static int change_ip(uint32_t set, uint8_t family)
{
	const struct set_entry other = large_entry(10000 + draw(3000), family);

	if (!draw(4))
		return set_fill(&store, set, list, 500 + draw(2) * 2000, true);
	if (!draw(3))
		return set_fill(&store, set, &list[500], 1000, false);
	return draw(2) ? set_add(&store, set, &other, true) : set_del(&store, set, &other);
}

/* The first 1000, each second of them in, as ask_on() wants it; others come and go. */
static void test_large_beside(uint8_t family)
{
	uint32_t set = (uint32_t)make("beside", SET_HASH_IP, family, SET_WITH_TIMEOUT, 0, 65536);

	put_large(family, 0, 1000);
	for (uint32_t i = 1; i < 1000; i += 2)
		list[i / 2] = large_entry(i, family);
	for (uint32_t i = 500; i < 2500; i++)
		list[i] = large_entry(1000 + i, family);
	if (set_fill(&store, set, list, 2500, true))
		tap_bail_out("the set cannot be made");
	check_beside(set, "hash:ip", family, change_ip);
}

/* ---- Killed writers, several writers ------------------------------------------------------ */

static void test_killed(void)
{
	int number = make("killed", SET_HASH_NET, AF_INET, 0, 0, 5000);
	struct set_entry extra = { .addr = { 203, 0, 113, 7 }, .length = 32 };
	uint32_t id, set = (uint32_t)number;
	struct set_cell *cells;
	int fd;

	draw_list(SET_HASH_NET, AF_INET, 500);
	set_fill(&store, set, list, listed, true);
	bpf_map_lookup_elem(store.slots_fd[SET_SLOT_CELLS], &set, &id);
	fd = bpf_map_get_fd_by_id(id);
	cells = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || cells == MAP_FAILED)
		tap_bail_out("the set's map cannot be seen");
	cells->head.state = SET_CHANGING; /* what a writer leaves that is killed in mid-change */
	munmap(cells, 4096);
	close(fd);
	tap(count_wrong(set, 20000) == 0, "a writer was killed: lookups go on");
	list[listed] = extra;
	tap(set_add(&store, set, &extra, false) == 0,
	    "a writer was killed: the next one mends the set");
	listed++;
	sort_list();
	tap(count_wrong(set, lookups) == 0, "a writer was killed: the set is whole again");
	set_destroy(&store, set);
}

static int add_in_child(uint8_t byte)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	for (int i = 0; i < 25; i++) {
		char text[32];
		char *argv[] = { (char[]){ "set" }, (char[]){ "add" }, (char[]){ "many" }, text };

		snprintf(text, sizeof(text), "10.%u.0.%d", byte, i);
		if (set_command(4, argv))
			_exit(1);
	}
	_exit(0);
}

static void test_many_writers(void)
{
	int number = make("many", SET_HASH_NET, AF_INET, 0, 0, 1000), status, failed = 0;
	struct set_entry *entries;
	size_t count = 0;
	pid_t pids[3];

	set_store_close(&store); /* the lock is theirs */
	for (uint8_t i = 0; i < 3; i++)
		pids[i] = add_in_child(i);
	for (int i = 0; i < 3; i++)
		failed += waitpid(pids[i], &status, 0) < 0 || status;
	if (set_store_open(&store, false))
		tap_bail_out("the store cannot be opened again");
	if (!set_list(&store, (uint32_t)number, &entries, &count))
		set_entries_free(entries, count);
	tap(!failed && count == 75, "three writers at a time: all 75 entries are in (%zu)", count);
	set_destroy(&store, (uint32_t)number);
}

/* ---- The commands ------------------------------------------------------------------------- */

#define OUTPUT 65536

/* Runs a command line as main() would; its output and messages into `output`. */
static int command(char *output, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int command(char *output, const char *format, ...)
{
	char line[512], *argv[32], *at = line;
	int argc = 0, status, out = dup(1), err = dup(2), file;
	va_list args;
	ssize_t len;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	while ((argv[argc] = strsep(&at, " ")))
		argc++;
	file = memfd_create("output", 0);
	fflush(stdout);
	dup2(file, 1);
	dup2(file, 2);
	status = strcmp(argv[0], "set") ? block_command(argc, argv) : set_command(argc, argv);
	fflush(stdout);
	dup2(out, 1);
	dup2(err, 2);
	len = pread(file, output, OUTPUT - 1, 0);
	output[len < 0 ? 0 : len] = '\0';
	close(file);
	close(out);
	close(err);
	return status;
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	if (!file || fputs(text, file) < 0 || fclose(file))
		tap_bail_out("%s: %s", path, strerror(errno));
}

static const char saved[] =
	"create host hash:ip family inet hashsize 1024 maxelem 100\n"
	"add host 192.0.2.1\n"
	"add host 192.0.2.9\n"
	"create nets hash:net family inet6 hashsize 1024 maxelem 65536 comment\n"
	"add nets 2001:db8::/32 comment \"all of it\"\n"
	"add nets 2001:db8:1::/48 nomatch\n"
	"create serve hash:net,port family inet hashsize 1024 maxelem 65536\n"
	"add serve 0.0.0.0/0,tcp:443\n"
	"add serve 198.51.100.0/24,udp:53 nomatch\n"
	"create pair hash:ip,port family inet hashsize 1024 maxelem 65536\n"
	"add pair 192.0.2.1,icmp:8/0\n"
	"add pair 192.0.2.1,tcp:80\n"
	"create high bitmap:port range 1024-65535\n"
	"add high 2000\n"
	"add high 2001\n";

static void test_commands(const char *directory)
{
	static char out[OUTPUT];
	char file[256];

	snprintf(file, sizeof(file), "%s/saved", directory);
	write_text(file, saved);
	tap(command(out, "set load %s", file) == 0 && !out[0], "set load");
	tap(command(out, "set list") == 0 && !strcmp(out, saved),
	    "set list prints what was loaded");
	tap(command(out, "set load %s", file) == 0, "set load of the same file again");
	tap(command(out, "set list") == 0 && !strcmp(out, saved), "... changes nothing");
	tap(command(out, "set test host 192.0.2.1") == 0, "set test: in the set, 0");
	tap(command(out, "set test host 192.0.2.2") == 1 && strstr(out, "is NOT in set host"),
	    "set test: not in the set, 1");
	tap(command(out, "set test nets 2001:db8:2::1") == 0 &&
		    command(out, "set test nets 2001:db8:1::1") == 1,
	    "set test: exceptions");
	tap(command(out, "set add host 192.0.2.1") == 1 && strstr(out, "is there already"),
	    "set add of what is there: 1, and it is said");
	tap(command(out, "set add host 192.0.2.1 --exist") == 0, "set add --exist");
	tap(command(out, "set del host 192.0.2.77") == 1 &&
		    command(out, "set del host 192.0.2.77 --exist") == 0,
	    "set del of what is not there: 1, with --exist 0");
	tap(command(out, "set add nowhere 192.0.2.1") == 1 &&
		    strstr(out, "there is no set nowhere"),
	    "a set that is not there");
	tap(command(out, "set add host 192.0.2.1.1") == 1 && strstr(out, "no IPv4 address"),
	    "an entry that is none");
	tap(command(out, "set") == 2 && command(out, "set frob") == 2 &&
		    command(out, "set load") == 2 && command(out, "set list --bad") == 2 &&
		    command(out, "block add 10.0.0.1 --for 3y") == 2,
	    "wrong usage: 2");
	tap(command(out, "set --help") == 0 && strstr(out, "Usage:"), "help");
	write_text(file, "create host hash:ip\nadd host 192.0.2.300\n");
	tap(command(out, "set load %s", file) == 1 && strstr(out, ":2:10: '192.0.2.300'"),
	    "a file with an error is refused, with its place");
	tap(command(out, "set list host") == 0 && strstr(out, "add host 192.0.2.9"),
	    "... and nothing has changed");
	write_text(file, "create host hash:ip\nadd host 192.0.2.50\n");
	tap(command(out, "set load %s", file) == 0 && command(out, "set list host") == 0 &&
		    strstr(out, "192.0.2.50") && !strstr(out, "192.0.2.9"),
	    "a file that creates a set replaces its entries");
	write_text(file, "add host 192.0.2.51\nadd host 192.0.2.52\n");
	tap(command(out, "set load %s", file) == 0 && command(out, "set list host") == 0 &&
		    strstr(out, "192.0.2.50") && strstr(out, "192.0.2.52"),
	    "a file that only adds, adds");
	tap(command(out, "set list --json nets") == 0 &&
		    strstr(out, "{\"entry\":\"2001:db8::/32\",\"comment\":\"all of it\"}"),
	    "set list --json");
	tap(command(out, "set destroy host nets serve pair high") == 0 &&
		    command(out, "set list") == 0 && !out[0],
	    "set destroy");
}

static bool blocked(const char *address)
{
	struct set_entry entry = { 0 };
	uint8_t family = strchr(address, ':') ? AF_INET6 : AF_INET;

	inet_pton(family, address, entry.addr);
	put_query(0, &entry, family);
	run(probe->progs.probe_blocked, 1);
	return queries[0].answer;
}

static void test_block(const char *directory)
{
	static char out[OUTPUT];
	char file[256];

	tap(!blocked("203.0.113.5"), "nothing is blocked before there is a list");
	tap(command(out, "block add 203.0.113.0/24 2001:db8:bad::/48 --for 1h30m") == 0 &&
		    blocked("203.0.113.5") && blocked("2001:db8:bad::1") && !blocked("203.0.112.5"),
	    "block add, of both families");
	tap(command(out, "block test 203.0.113.9") == 0 && command(out, "block test 10.0.0.1") == 1,
	    "block test");
	tap(command(out, "block list") == 0 && strstr(out, "add block4 203.0.113.0/24 timeout 5") &&
		    strstr(out, "add block6 2001:db8:bad::/48 timeout 5"),
	    "block list");
	tap(command(out, "block list --json") == 0 && strstr(out, "\"entry\":\"203.0.113.0/24\""),
	    "block list --json");
	tap(command(out, "block add 203.0.113.0/24") == 0 && command(out, "block list") == 0 &&
		    strstr(out, "203.0.113.0/24 timeout 0"),
	    "block add of what is there gives it another time");
	tap(command(out, "block del 203.0.113.0/24") == 0 && !blocked("203.0.113.5") &&
		    blocked("2001:db8:bad::1"),
	    "block del");
	snprintf(file, sizeof(file), "%s/list", directory);
	write_text(file, "# a list\n198.51.100.0/24\n2001:db8:2::/48\n192.0.2.1\n");
	tap(command(out, "block load %s", file) == 0 && blocked("198.51.100.200") &&
		    blocked("192.0.2.1") && blocked("2001:db8:2::1") && !blocked("2001:db8:bad::1"),
	    "block load");
	write_text(file, "");
	tap(command(out, "block load %s", file) == 0 && !blocked("198.51.100.200"),
	    "block load of an empty list");
}

static void test_held(void)
{
	int number = make("held", SET_HASH_IP, AF_INET, 0, 0, 10);
	uint32_t held = (uint32_t)number;

	set_hold(&store, AF_INET6, &held, 1, false);
	tap(set_destroy(&store, held) == -EBUSY, "a set that a filter uses cannot be destroyed");
	set_hold(&store, AF_INET6, NULL, 0, true);
	tap(set_destroy(&store, held) == 0, "... but can be when it does not any more");
}

/* ---- The kernel's ipset --------------------------------------------------------------------- */

static int ipset(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int ipset(const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	return system(line); // NOLINT(cert-env33-c): no word of it comes from outside
}

/* The same lines in both, but for /0, which ipset does not take. */
static void test_ipset_kind(uint8_t kind, uint8_t family, const char *directory)
{
	int number = make("oracle", kind, family, 0, 0, 65536);
	struct set_info info = store.info[number];
	const int asked = lookups < QUERIES ? 30 : 250;
	uint32_t wrong = 0, in = 0;
	char file[256];
	FILE *to;

	snprintf(file, sizeof(file), "%s/oracle", directory);
	draw_list(kind, family, 60);
	for (uint32_t i = 0; i < listed; i++)
		if (!list[i].length)
			list[i--] = list[--listed];
	to = fopen(file, "we");
	set_print_create(to, &info);
	for (uint32_t i = 0; i < listed; i++)
		set_print_add(to, &info, &list[i]);
	fclose(to);
	if (set_fill(&store, (uint32_t)number, list, listed, true) ||
	    ipset("ipset restore -exist <%s", file))
		tap_bail_out("ipset or bpfw does not take the entries");
	for (int i = 0; i < asked; i++) {
		char text[SET_ENTRY_TEXT];
		struct set_entry query;
		bool here, there;

		draw_query(&query, family, kind);
		set_print_entry(&info, &query, text);
		here = ask_one((uint32_t)number, &query, family);
		there = !ipset("ipset test oracle %s >/dev/null 2>&1", text);
		in += there;
		if (here != there && !wrong++)
			tap_note("%s: %d, ipset says %d", text, here, there);
	}
	tap(!wrong && in, "%s, IPv%d: as the kernel's ipset says (%d queries, %u of them in)",
	    set_kind_name(kind), family == AF_INET ? 4 : 6, asked, in);
	ipset("ipset destroy oracle");
	set_destroy(&store, (uint32_t)number);
}

static void test_ipset(const char *directory)
{
	if (ipset("ipset list -n >/dev/null 2>&1")) {
		tap_skip_next("the ipset tool, or the kernel's part of it, is not there");
		tap(true, "as the kernel's ipset says");
		return;
	}
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t f = 0; f < ARRAY_SIZE(families); f++)
			test_ipset_kind(kinds[k], families[f], directory);
}

/* ---- The laboratory -------------------------------------------------------------------------- */

/* The maps go with the last set, and with them what the probe has. */
static void open_store(void)
{
	int err;

	set_probe_bpf__destroy(probe);
	err = set_store_open(&store, true);
	if (err)
		tap_bail_out("set_store_open: %s", strerror(-err));
	probe = set_probe_bpf__open();
	if (!probe)
		tap_bail_out("the object cannot be opened");
	bpf_map__set_max_entries(probe->maps.queries, QUERIES);
	bpf_map__reuse_fd(probe->maps.set_info, store.info_fd);
	bpf_map__reuse_fd(probe->maps.set_cells, store.slots_fd[SET_SLOT_CELLS]);
	bpf_map__reuse_fd(probe->maps.set_hash, store.slots_fd[SET_SLOT_HASH]);
	bpf_map__reuse_fd(probe->maps.set_trie, store.slots_fd[SET_SLOT_TRIE]);
	err = set_probe_bpf__load(probe);
	if (err)
		tap_bail_out("the object cannot be loaded: %s", strerror(-err));
	queries = mmap(NULL, QUERIES * sizeof(*queries), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(probe->maps.queries), 0);
	if (queries == MAP_FAILED)
		tap_bail_out("mmap: %s", strerror(errno));
}

static void prepare(void)
{
	const char *given = getenv("BPFW_TEST_SEED"), *fewer = getenv("BPFW_TEST_LOOKUPS");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	tap_note("seed: BPFW_TEST_SEED=%llu", (unsigned long long)seed);
	seed |= 1;
	if (fewer && strtoul(fewer, NULL, 10) >= 200 && strtoul(fewer, NULL, 10) < QUERIES)
		lookups = (uint32_t)strtoul(fewer, NULL, 10);
	if (geteuid())
		tap_skip_all("needs root");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpffs", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		tap_bail_out("a bpffs and a network of its own: %s", strerror(errno));
}

int main(void)
{
	char directory[] = "/tmp/bpfw-set-XXXXXX", file[64];

	prepare();
	open_store();
	if (!mkdtemp(directory))
		tap_bail_out("%s: %s", directory, strerror(errno));
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (size_t f = 0; f < ARRAY_SIZE(families); f++)
			test_kind(kinds[k], families[f], 400);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++)
		test_kind(SET_HASH_NET, families[f], lookups < QUERIES ? 5000 : 100000);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		test_kind(SET_HASH_IP, families[f], lookups < QUERIES ? 2000 : 5000);
		test_kind(SET_HASH_IP_PORT, families[f], lookups < QUERIES ? 2000 : 5000);
	}
	test_ports();
	test_end();
	test_rules();
	test_room();
	for (size_t f = 0; f < ARRAY_SIZE(families); f++)
		test_beside(families[f]);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		test_large(families[f]);
		test_large_ends(families[f]);
		test_net_ends(families[f]);
		test_large_beside(families[f]);
	}
	test_killed();
	test_held();
	test_many_writers();
	test_ipset(directory);
	set_store_close(&store); /* the commands open it themselves */
	test_commands(directory);
	open_store();
	make("stays", SET_HASH_IP, AF_INET, 0, 0, 10);
	set_store_close(&store);
	test_block(directory);
	snprintf(file, sizeof(file), "%s/saved", directory);
	unlink(file);
	snprintf(file, sizeof(file), "%s/list", directory);
	unlink(file);
	snprintf(file, sizeof(file), "%s/oracle", directory);
	unlink(file);
	rmdir(directory);
	return tap_end();
}
