/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "instance.h"
#include "json.h"
#include "link.h"
#include "log.h"
#include "plan.h"
#include "port.h"
#include "pppoe.h"
#include "rtnl.h"
#include "show.h"
#include "tuple.h"
#include "util.h"

/* One direction of a flow, the same for both families. */
struct row {
	struct tuple tuple;
	struct tuple emitted;
	struct bpfw_action action;
	struct segment ingress;
};

typedef void (*row_printer)(const struct row *row, uint64_t idle_ms, bool first);

static const char *address_text(uint8_t family, const struct address *address,
				char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(family, address, text, INET6_ADDRSTRLEN);
}

static const char *interface_text(uint32_t ifindex, char text[IF_NAMESIZE])
{
	if (!ifindex)
		return "-";
	if (!if_indextoname(ifindex, text))
		snprintf(text, IF_NAMESIZE, "#%u", ifindex);
	return text;
}

static const char *verdict_text(uint8_t verdict)
{
	return verdict == FLOW_FORWARD ? "forward" : verdict == FLOW_DROP ? "drop" : "pass";
}

static const char *protocol_text(const struct tuple *tuple)
{
	return tuple->protocol == IPPROTO_TCP ? "tcp" : "udp";
}

/* ---- The link layer of a flow ----------------------------------------------- */

/* What stands on the wire, in or out. */
struct wire {
	uint32_t port;
	uint16_t vlan[MAX_VLAN_TAGS]; /* as in struct segment */
	uint16_t session;             /* host byte order, 0 for none */
};

static uint16_t read_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static struct wire ingress_wire(const struct row *row)
{
	struct wire wire = { .port = row->ingress.port, .session = ntohs(row->ingress.session) };

	memcpy(wire.vlan, row->ingress.vlan, sizeof(wire.vlan));
	return wire;
}

/* Read back from the header that the packets leave with. */
static struct wire egress_wire(const struct row *row)
{
	const struct bpfw_action *action = &row->action;
	struct wire wire = { .port = action->egress };

	for (size_t i = 0; i < MAX_VLAN_TAGS && i < action->tags; i++) {
		const uint8_t *tag = action->link + ETH_HLEN - 2 + 4 * i;

		wire.vlan[i] = (uint16_t)((read_be16(tag + 2) & VLAN_ID_MASK) | VLAN_TAGGED |
					  (read_be16(tag) == ETH_P_8021AD ? VLAN_SERVICE : 0));
	}
	/* It ends with version and code, session, length, protocol: two bytes each. */
	if (action->flags & FLOW_PPPOE && action->link_len >= ETH_HLEN + 8 &&
	    action->link_len <= sizeof(action->link))
		wire.session = read_be16(action->link + action->link_len - 6);
	return wire;
}

/* "lan0", "lan0 vlan 10", "wan0 svlan 100 vlan 10 pppoe 0x12" */
#define WIRE_TEXT 80

static const char *wire_text(const struct wire *wire, char text[WIRE_TEXT])
{
	char name[IF_NAMESIZE];
	int used = snprintf(text, WIRE_TEXT, "%s", interface_text(wire->port, name));

	for (size_t i = 0; i < MAX_VLAN_TAGS && wire->vlan[i]; i++)
		used += snprintf(text + used, WIRE_TEXT - (size_t)used, " %s %u",
				 wire->vlan[i] & VLAN_SERVICE ? "svlan" : "vlan",
				 wire->vlan[i] & VLAN_ID_MASK);
	if (wire->session)
		snprintf(text + used, WIRE_TEXT - (size_t)used, " pppoe 0x%x", wire->session);
	return text;
}

static void print_json_wire(const char *side, const struct wire *wire)
{
	printf(",\"%s_vlans\":[", side);
	for (size_t i = 0; i < MAX_VLAN_TAGS && wire->vlan[i]; i++)
		printf("%s{\"protocol\":\"%s\",\"id\":%u}", i ? "," : "",
		       wire->vlan[i] & VLAN_SERVICE ? "802.1ad" : "802.1Q",
		       wire->vlan[i] & VLAN_ID_MASK);
	printf("],\"%s_session\":", side);
	if (wire->session)
		printf("%u", wire->session);
	else
		printf("null");
}

/* ---- Rows of flows ---------------------------------------------------------- */

static void print_json_row(const struct row *row, uint64_t idle, bool first)
{
	const struct tuple *in = &row->tuple, *out = &row->emitted;
	const struct wire ingress = ingress_wire(row), egress = egress_wire(row);
	char name[IF_NAMESIZE], src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN],
		nat_src[INET6_ADDRSTRLEN], nat_dst[INET6_ADDRSTRLEN];

	printf("%s\n  {\"family\":\"%s\",\"protocol\":\"%s\",\"direction\":\"%s\",",
	       first ? "" : ",", in->family == AF_INET ? "ipv4" : "ipv6", protocol_text(in),
	       row->action.flags & FLOW_REPLY ? "reply" : "original");
	json_member(stdout, "ingress", interface_text(ingress.port, name));
	print_json_wire("ingress", &ingress);
	putchar(',');
	json_member(stdout, "egress", interface_text(egress.port, name));
	print_json_wire("egress", &egress);
	printf(",\"src\":\"%s\",\"dst\":\"%s\",\"sport\":%u,\"dport\":%u,"
	       "\"nat_src\":\"%s\",\"nat_dst\":\"%s\",\"nat_sport\":%u,\"nat_dport\":%u,"
	       "\"action\":\"%s\",\"packets\":%llu,\"bytes\":%llu,\"idle_ms\":%" PRIu64 "}",
	       address_text(in->family, &in->src, src), address_text(in->family, &in->dst, dst),
	       ntohs(in->sport), ntohs(in->dport), address_text(in->family, &out->src, nat_src),
	       address_text(in->family, &out->dst, nat_dst), ntohs(out->sport), ntohs(out->dport),
	       verdict_text(row->action.verdict), (unsigned long long)row->action.packets,
	       (unsigned long long)row->action.bytes, idle);
}

static void print_text_row(const struct row *row, uint64_t idle, bool first)
{
	const struct wire ingress = ingress_wire(row), egress = egress_wire(row);
	char in[WIRE_TEXT], out[WIRE_TEXT], from[TUPLE_TEXT], to[TUPLE_TEXT];

	(void)first;
	printf("%s  %s -> %s  %llu packets  %llu bytes  idle %" PRIu64 ".%" PRIu64 " s%s\n",
	       tuple_print(&row->tuple, from), wire_text(&ingress, in), wire_text(&egress, out),
	       (unsigned long long)row->action.packets, (unsigned long long)row->action.bytes,
	       idle / 1000, idle % 1000 / 100, row->action.flags & FLOW_REPLY ? "  [reply]" : "");
	if (row->action.flags & FLOW_NAT)
		/* without the protocol, which is the same */
		printf("    nat %s\n", tuple_print(&row->emitted, to) + 4);
	if (row->action.verdict != FLOW_FORWARD)
		printf("    %s\n", row->action.verdict == FLOW_DROP ?
					   "dropped: the route is a blackhole" :
					   "closing: packets take the stack");
}

/* ---- Reading the maps ------------------------------------------------------- */

struct listing {
	const char *head; /* comes before the first instance that can be read */
	row_printer print;
	struct jiffies_clock clock;
	bool any;
};

static void list_row(struct listing *listing, const struct row *row)
{
	listing->print(row, clock_age_ms(&listing->clock, clock_ms(), row->action.last_seen),
		       !listing->any);
	listing->any = true;
}

static struct row row4(const struct bpfw_flow4 *flow)
{
	struct row row = {
		.tuple = tuple_from_key4(&flow->key),
		.action = flow->action,
		.ingress = segment_from_key4(&flow->key),
	};

	row.emitted = row.tuple;
	row.emitted.src.word[0] = flow->src;
	row.emitted.dst.word[0] = flow->dst;
	row.emitted.sport = flow->action.sport;
	row.emitted.dport = flow->action.dport;
	return row;
}

static struct row row6(const struct bpfw_flow6 *flow)
{
	struct row row = {
		.tuple = tuple_from_key6(&flow->key),
		.action = flow->action,
		.ingress = segment_from_key6(&flow->key),
	};

	row.emitted = row.tuple;
	memcpy(&row.emitted.src, flow->src, sizeof(flow->src));
	memcpy(&row.emitted.dst, flow->dst, sizeof(flow->dst));
	row.emitted.sport = flow->action.sport;
	row.emitted.dport = flow->action.dport;
	return row;
}

/* A slot may be given up, and even used anew, while it is read: the row is from a copy. */
static void list_slot(struct listing *listing, const struct bpfw_flow *slot)
{
	const struct bpfw_flow flow = *slot;
	struct row row;

	if (flow.family != AF_INET && flow.family != AF_INET6)
		return;
	row = flow.family == AF_INET ? row4(&flow.v4) : row6(&flow.v6);
	list_row(listing, &row);
}

/* The daemon's own memory is looked at, so that this takes no time of its. */
static int list_flows(struct listing *listing, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	const struct bpfw_flow *flows;
	size_t size;
	int err = bpf_map_get_info_by_fd(fd, &info, &len);

	if (err)
		return err;
	size = info.max_entries * sizeof(*flows);
	flows = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (flows == MAP_FAILED)
		return -errno;
	if (listing->head)
		fputs(listing->head, stdout);
	listing->head = NULL;
	for (uint32_t i = 0; i < info.max_entries; i++)
		list_slot(listing, &flows[i]);
	munmap((void *)flows, size);
	return 0;
}

static int read_counters(const struct instance_maps *maps, struct bpfw_daemon_counters *counters)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(maps->counters, &zero, counters);
}

static int list_instance(struct listing *listing, const struct instance_maps *maps)
{
	struct bpfw_daemon_counters counters;
	int err = read_counters(maps, &counters);

	if (err)
		return err;
	listing->clock = (struct jiffies_clock){
		.jiffies = counters.clock_jiffies,
		.ms = counters.clock_ms,
		.hz = counters.clock_hz ? counters.clock_hz : 100,
	};
	return list_flows(listing, maps->flows);
}

/* ---- Statistics ------------------------------------------------------------- */

struct statistics {
	uint64_t exits[EXIT_REASONS];
	uint64_t daemon[DAEMON_COUNTERS];
	uint64_t packets;
	uint64_t bytes;
};

static struct statistics total; /* of all instances; the row printer below adds to it */

static void add_row(const struct row *row, uint64_t idle, bool first)
{
	(void)idle;
	(void)first;
	total.packets += row->action.packets;
	total.bytes += row->action.bytes;
}

static int add_exits(int fd)
{
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct bpfw_exit_counters *counters = NULL;
	uint32_t zero = 0;
	int err;

	if (cpus < 0)
		return cpus;
	counters = calloc((size_t)cpus, sizeof(*counters));
	if (!counters)
		return -ENOMEM;
	err = bpf_map_lookup_elem(fd, &zero, counters);
	if (err)
		return err;
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < EXIT_REASONS; i++)
			total.exits[i] += counters[cpu].count[i];
	return 0;
}

static int add_instance(const struct instance_maps *maps)
{
	struct listing listing = { .print = add_row };
	struct bpfw_daemon_counters counters;
	int err = read_counters(maps, &counters);

	if (!err)
		err = add_exits(maps->exits);
	if (!err)
		err = list_instance(&listing, maps);
	if (err)
		return err;
	for (size_t i = 0; i < DAEMON_COUNTERS; i++)
		total.daemon[i] += counters.count[i];
	total.packets += counters.count[COUNT_RETIRED_PACKETS];
	total.bytes += counters.count[COUNT_RETIRED_BYTES];
	return 0;
}

struct counter_text {
	const char *name;
	const char *text;
};

static const struct counter_text exit_texts[] = {
#define EXIT_TEXT(id, name, text) { name, text },
	BPFW_EXITS(EXIT_TEXT)
};

static const struct counter_text daemon_texts[] = {
#define DAEMON_TEXT(id, name, text) { name, text },
	BPFW_COUNTERS(DAEMON_TEXT)
};

static void print_json_counters(const char *title, const struct counter_text *texts,
				const uint64_t *values, size_t number)
{
	printf(",\n \"%s\":{", title);
	for (size_t i = 0; i < number; i++)
		printf("%s\"%s\":%" PRIu64, i ? "," : "", texts[i].name, values[i]);
	printf("}");
}

static void print_counters(const char *title, const struct counter_text *texts,
			   const uint64_t *values, size_t number)
{
	printf("%s\n", title);
	for (size_t i = 0; i < number; i++)
		printf("  %-24s %14" PRIu64 "  %s\n", texts[i].name, values[i], texts[i].text);
}

static void print_statistics(bool json)
{
	if (json) {
		printf("{\"fast_path\":{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
		       total.packets, total.bytes);
		print_json_counters("exits", exit_texts, total.exits, EXIT_REASONS);
		print_json_counters("daemon", daemon_texts, total.daemon, DAEMON_COUNTERS);
		printf("}\n");
		return;
	}
	printf("fast path: %" PRIu64 " packets, %" PRIu64 " bytes\n", total.packets, total.bytes);
	print_counters("packets left to the stack or dropped, by reason:", exit_texts, total.exits,
		       EXIT_REASONS);
	print_counters("daemon:", daemon_texts, total.daemon, DAEMON_COUNTERS);
}

/* ---- The plan --------------------------------------------------------------- */

struct plan_rows {
	struct bpfw_plan_row *row;
	size_t count;
};

/* Names by " > ": no name holds a space. */
#define PATH_TEXT ((size_t)PLAN_DEPTH * (PLAN_NAME + 3))

static const char *path_text(const struct bpfw_plan_row *row, char text[PATH_TEXT])
{
	int used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < row->depth && i < PLAN_DEPTH; i++)
		used += snprintf(text + used, PATH_TEXT - (size_t)used, "%s%.15s", i ? " > " : "",
				 row->path[i]);
	return text;
}

static void print_json_plan_row(const struct bpfw_plan_row *row, bool first)
{
	printf("%s\n  {", first ? "" : ",");
	json_member(stdout, "interface", row->interface);
	printf(",\"path\":[");
	for (size_t i = 0; i < row->depth && i < PLAN_DEPTH; i++) {
		if (i)
			putchar(',');
		json_string(stdout, row->path[i]);
	}
	printf("],");
	json_member(stdout, "port", row->port && row->depth ? row->path[row->depth - 1] : NULL);
	putchar(',');
	json_member(stdout, "hook", plan_hook_name(row->hook));
	putchar(',');
	json_member(stdout, "mode", plan_mode_name(row->mode));
	putchar(',');
	json_member(stdout, "note", row->note);
	putchar('}');
}

static int wider(int width, const char *text)
{
	int len = (int)strlen(text);

	return len > width ? len : width;
}

static void print_plan_table(const struct bpfw_plan_row *rows, size_t count)
{
	int interface = (int)strlen("INTERFACE"), path = (int)strlen("PATH");
	char text[PATH_TEXT];

	for (size_t i = 0; i < count; i++) {
		interface = wider(interface, rows[i].interface);
		path = wider(path, path_text(&rows[i], text));
	}
	printf("%-*s  %-*s  %-4s  %-12s  %s\n", interface, "INTERFACE", path, "PATH", "HOOK",
	       "MODE", "NOTE");
	for (size_t i = 0; i < count; i++) {
		const char *hook = plan_hook_name(rows[i].hook);

		printf("%-*s  %-*s  %-4s  ", interface, rows[i].interface, path,
		       path_text(&rows[i], text), hook ? hook : "-");
		if (rows[i].note[0])
			printf("%-12s  %s\n", plan_mode_name(rows[i].mode), rows[i].note);
		else
			printf("%s\n", plan_mode_name(rows[i].mode));
	}
}

static void print_plan(const struct bpfw_plan_row *rows, size_t count, bool json)
{
	if (!json) {
		print_plan_table(rows, count);
		return;
	}
	printf("{\"plan\":[");
	for (size_t i = 0; i < count; i++)
		print_json_plan_row(&rows[i], !i);
	printf("\n]}\n");
}

/* The rows of an instance follow those of the ones before. */
static int add_plan(const struct instance_maps *maps, void *data)
{
	struct plan_rows *rows = data;
	struct bpfw_plan_row *grown =
		realloc(rows->row, (rows->count + PLAN_ROWS) * sizeof(*rows->row));

	if (!grown)
		return -ENOMEM;
	rows->row = grown;
	for (uint32_t i = 0; i < PLAN_ROWS; i++) {
		struct bpfw_plan_row *row = &rows->row[rows->count];
		int err = bpf_map_lookup_elem(maps->plan, &i, row);

		if (err)
			return err;
		if (!row->interface[0])
			break;
		rows->count++;
	}
	return 0;
}

int show_dry_run(const struct options *options)
{
	const struct plan_probes probes = {
		.forwards = plan_ask_forwards,
		.strips_vlans = plan_ask_strips_vlans,
		.hides_xdp_target = port_hides_xdp_target,
	};
	static struct pppoe_sessions sessions;
	static struct links links;
	static struct rtnl rtnl;
	static struct plan plan;
	int err = rtnl_open(&rtnl);

	if (!err)
		err = links_dump(&links, &rtnl);
	if (err) {
		log_error("cannot talk to the kernel's routing (rtnetlink): %s", strerror(-err));
	} else {
		pppoe_read(&sessions, &links);
		plan_make(&plan, options, &links, &sessions, &probes, false);
		print_plan(plan.row, plan.rows, options->json);
		err = plan_check(&plan, options);
		err = err ? err : cpus_check(&options->cpus);
	}
	links_free(&links);
	rtnl_close(&rtnl);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- Commands --------------------------------------------------------------- */

static void print_usage(FILE *to, const char *command, const char *what)
{
	fprintf(to, "Usage: bpfw %s [--json]\n%s of the bpfw running in this network namespace.\n",
		command, what);
}

/* 0 and `json`, or the exit status plus one. */
static int parse_arguments(int argc, char *const argv[], const char *what, bool *json)
{
	*json = false;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			*json = true;
		} else if (!strcmp(argv[i], "--help")) {
			print_usage(stdout, argv[0], what);
			return 1 + EXIT_SUCCESS;
		} else {
			log_error("%s: unknown argument '%.60s'", argv[0], argv[i]);
			print_usage(stderr, argv[0], what);
			return 1 + 2;
		}
	}
	return 0;
}

typedef int (*instance_reader)(const struct instance_maps *maps, void *data);

/* Read every instance. Returns an exit status. */
static int for_each_instance(instance_reader reader, void *data)
{
	struct instance_maps maps[MAX_INSTANCES];
	int number = instances_open(maps, MAX_INSTANCES);
	int status = number < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

	for (int i = 0; i < number; i++) {
		int err = reader(&maps[i], data);

		if (err) {
			log_error("cannot read the maps of bpfw with pid %d: %s", maps[i].pid,
				  strerror(-err));
			status = EXIT_FAILURE;
		}
		instance_close(&maps[i]);
	}
	return status;
}

static int read_flows(const struct instance_maps *maps, void *data)
{
	return list_instance(data, maps);
}

static int read_statistics(const struct instance_maps *maps, void *data)
{
	(void)data;
	return add_instance(maps);
}

int show_flows(int argc, char *const argv[])
{
	struct listing listing = { .print = print_text_row };
	bool json;
	int status = parse_arguments(argc, argv, "Lists the offloaded flows", &json);

	if (status)
		return status - 1;
	if (json) {
		listing.print = print_json_row;
		listing.head = "{\"flows\":[";
	}
	status = for_each_instance(read_flows, &listing);
	if (json && !listing.head)
		printf("\n]}\n");
	else if (!json && !status && !listing.any)
		printf("no flow is offloaded at the moment\n");
	return status;
}

int show_stats(int argc, char *const argv[])
{
	bool json;
	int status = parse_arguments(argc, argv, "Shows every counted exit", &json);

	if (status)
		return status - 1;
	status = for_each_instance(read_statistics, NULL);
	if (!status)
		print_statistics(json);
	return status;
}

int show_status(int argc, char *const argv[])
{
	struct plan_rows rows = { 0 };
	bool json;
	int status = parse_arguments(argc, argv, "Shows what is attached where", &json);

	if (status)
		return status - 1;
	status = for_each_instance(add_plan, &rows);
	if (!status)
		print_plan(rows.row, rows.count, json);
	free(rows.row);
	return status;
}
