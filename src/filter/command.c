/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <getopt.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/command.h"
#include "filter/compile.h"
#include "filter/dump.h"
#include "filter/events.h"
#include "filter/inforce.h"
#include "filter/listing.h"
#include "filter/names.h"
#include "filter/ruleset.h"
#include "filter/set_use.h"
#include "filter/stage.h"
#include "filter/track.h"
#include "filter/why.h"
#include "ipsec.h"
#include "log.h"
#include "util.h"

#define EXIT_USAGE 2
#define MESSAGE_MAX 1024

struct arguments {
	const char *file;
	uint8_t family; /* 0: not given */
	bool check;
	const char *pass; /* to dump; NULL: none */
	bool counters;
	bool json;
	struct stage_options stage;
};

static void print_usage(FILE *to)
{
	fputs("Usage: bpfw filter load FILE|- [-4|-6] [--iface NAME ...] [--hook xdp|tc] [--check]\n"
	      "       bpfw filter show [-4|-6] [--counters | --json]\n"
	      "       bpfw filter zero|flush [-4|-6]\n"
	      "       bpfw filter why --in NAME [--out NAME] --proto P --src A --dst B [--sport N]\n"
	      "               [--dport N] [--tcp-flags LIST] [--icmp-type T] [--ttl N] [--tos N]\n"
	      "               [--length N] [--fragment] [--mark N] [--json]\n"
	      "       bpfw filter why --in NAME [--out NAME] --packet HEX|FILE [--mark N] [--json]\n"
	      "       bpfw filter log [--json]\n"
	      "       bpfw filter unload\n"
	      "\n"
	      "Enforces rules as iptables-save and ip6tables-save print them, at the first hook of the\n"
	      "named interfaces. What was loaded stays in force without any process.\n"
	      "\n"
	      "  load FILE       the filter table of FILE takes the place of the rules in force; if\n"
	      "                  anything is wrong, these stay\n"
	      "  -4, -6          the family of the rules; by default as the file says that wrote it\n"
	      "  --iface NAME    interface to filter on; repeat. None: those filtered so far\n"
	      "  --hook HOOK     where packets that come in by these are met: xdp or tc; by\n"
	      "                  default as they were met before, else tc\n"
	      "  --check         say what is wrong with FILE, and change nothing\n"
	      "  --dump PASS     with --check: what the compiler's pass has made of FILE; rules, dead,\n"
	      "                  fields or operations\n"
	      "  --counters      with the packets and bytes of each rule and policy\n"
	      "  --json          all that is known, counters too, as one JSON document\n"
	      "  zero            set the counters to zero\n"
	      "  flush           remove all rules; chains and policies stay\n"
	      "  why             which rules such a packet would meet, and what becomes of it; nothing\n"
	      "                  is sent or counted. FILE is one of tcpdump's\n"
	      "  log             print the events of LOG and NFLOG rules until it is interrupted\n"
	      "  unload          detach the filter, forget all rules\n"
	      "\n"
	      "Exit status: 0 success, 1 failure, 2 wrong usage.\n",
	      to);
}

/* ---- Arguments ------------------------------------------------------------------- */

static int add_interface(struct stage_options *stage, const char *name)
{
	if (stage->interface_count == STAGE_INTERFACES) {
		log_error("more than %d interfaces", STAGE_INTERFACES);
		return -E2BIG;
	}
	stage->interfaces[stage->interface_count++] = name;
	return 0;
}

static int take_hook(struct stage_options *stage, const char *word)
{
	if (!strcmp(word, "xdp"))
		stage->hook = STAGE_XDP;
	else if (!strcmp(word, "tc"))
		stage->hook = STAGE_TC;
	else {
		log_error("unknown hook '%.40s': use xdp or tc", word);
		return -EINVAL;
	}
	return 0;
}

static int take_option(struct arguments *arguments, int option)
{
	switch (option) {
	case '4':
		arguments->family = AF_INET;
		return 0;
	case '6':
		arguments->family = AF_INET6;
		return 0;
	case 'i':
		return add_interface(&arguments->stage, optarg);
	case 'k':
		return take_hook(&arguments->stage, optarg);
	case 'c':
		arguments->check = true;
		return 0;
	case 'j':
		arguments->json = true;
		return 0;
	case 'd':
		if (!dump_is_pass(optarg)) {
			log_error("--dump %.40s: there is no such pass", optarg);
			return -EINVAL;
		}
		arguments->pass = optarg;
		return 0;
	case 'n':
		arguments->counters = true;
		return 0;
	default:
		return -EINVAL; /* getopt has said why */
	}
}

static const char *option_name(const struct option *options, int letter)
{
	while (options->name && options->val != letter)
		options++;
	return options->name;
}

/* `takes`: the options that the command knows, by their letters; - is for a file. */
static int parse_arguments(struct arguments *arguments, const char *takes, int argc,
			   char *const argv[])
{
	static const struct option options[] = {
		{ "iface", required_argument, NULL, 'i' },
		{ "hook", required_argument, NULL, 'k' },
		{ "check", no_argument, NULL, 'c' },
		{ "counters", no_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "ipv4", no_argument, NULL, '4' },
		{ "ipv6", no_argument, NULL, '6' },
		{ "dump", required_argument, NULL, 'd' },
		{ 0 },
	};
	int option, err = 0;

	memset(arguments, 0, sizeof(*arguments));
	optind = 1;
	while (!err && (option = getopt_long(argc, argv, "46", options, NULL)) != -1) {
		err = take_option(arguments, option);
		if (!err && !strchr(takes, option)) {
			log_error("bpfw filter %s does not take --%s", argv[0],
				  option_name(options, option));
			err = -EINVAL;
		}
	}
	if (!err && optind < argc && strchr(takes, '-'))
		arguments->file = argv[optind++];
	if (!err && optind < argc) {
		log_error("'%.40s' is one argument too many", argv[optind]);
		err = -EINVAL;
	}
	return err;
}

/* ---- load ------------------------------------------------------------------------- */

static void say(void *context, bool warning, const char *message)
{
	(void)context;
	log_message(warning ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "%s", message);
}

/*
 * ip6tables-save says so in a comment at the beginning, perhaps behind other lines that are
 * comments or blank.
 */
static uint8_t family_of(const char *text, size_t size)
{
	static const char name[] = "# Generated by ip6tables";
	struct slice rest = { text, size }, line;

	while (slice_next(&rest, '\n', &line) && (!line.length || line.at[0] == '#'))
		if (line.length >= sizeof(name) && !memcmp(line.at, name, sizeof(name) - 1))
			return AF_INET6;
	return AF_INET;
}

/* The caller frees the list. */
static int list_interfaces(struct filter_interface **list, size_t *count)
{
	struct if_nameindex *all = if_nameindex();
	size_t room = 0;
	int err = all ? 0 : -errno;

	while (all && all[room].if_index)
		room++;
	*count = 0;
	*list = err ? NULL : calloc(room + 1, sizeof(**list));
	if (!err && !*list)
		err = -ENOMEM;
	for (size_t i = 0; i < room && !err; i++) {
		struct filter_interface *interface = &(*list)[(*count)++];

		snprintf(interface->name, sizeof(interface->name), "%s", all[i].if_name);
		interface->ifindex = all[i].if_index;
	}
	if (all)
		if_freenameindex(all);
	if (err)
		log_error("cannot list the interfaces: %s", strerror(-err));
	return err;
}

/* The first address of an interface is the one that REDIRECT sends packets to. */
static void note_address(struct filter_interface *interface, const struct sockaddr *address)
{
	const union ruleset_address none = { .words = { 0 } };

	if (memcmp(&interface->address, &none, sizeof(none)) != 0)
		return;
	if (address->sa_family == AF_INET6)
		memcpy(&interface->address,
		       &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
	else
		memcpy(&interface->address,
		       &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
}

static int find_addresses(struct filter_interface *list, size_t count, uint8_t family)
{
	struct ifaddrs *all;

	if (getifaddrs(&all))
		return -errno;
	for (const struct ifaddrs *entry = all; entry; entry = entry->ifa_next) {
		if (!entry->ifa_addr || entry->ifa_addr->sa_family != family)
			continue;
		for (size_t i = 0; i < count; i++)
			if (!strcmp(list[i].name, entry->ifa_name))
				note_address(&list[i], entry->ifa_addr);
	}
	freeifaddrs(all);
	return 0;
}

static bool redirects(const struct ruleset *ruleset)
{
	for (uint32_t i = ruleset_filter_rules(ruleset); i < ruleset->rule_count; i++)
		if (ruleset->rules[i].target.kind == TARGET_REDIRECT)
			return true;
	return false;
}

static void keep_message(void *context, bool warning, const char *message)
{
	if (!warning)
		snprintf(context, MESSAGE_MAX, "%s", message);
}

/* What is beyond the filter's bounds in the table nat is no reason to refuse its own rules. */
static int compile(struct image *image, struct ruleset *ruleset,
		   const struct ruleset_report *report)
{
	_cleanup_free_ struct filter_interface *interfaces = NULL;
	char message[MESSAGE_MAX] = "";
	const struct ruleset_report quiet = { keep_message, message, report->file };
	size_t count;
	int err = list_interfaces(&interfaces, &count);

	if (!err && redirects(ruleset))
		err = find_addresses(interfaces, count, ruleset->family);
	if (err || !ruleset->nat_chain)
		return err ? err : image_compile(image, ruleset, interfaces, count, report);
	err = image_compile(image, ruleset, interfaces, count, &quiet);
	if (!err || err == -ENOMEM)
		return err;
	ruleset_forget_nat(ruleset);
	err = image_compile(image, ruleset, interfaces, count, report);
	if (!err)
		log_warn("%s; so all first packets that the table nat translates are judged by the "
			 "address they came to",
			 message);
	return err;
}

/* Where the kernel cannot tell connections it is the addresses on the wire, as without that table. */
static void probe_tracking(struct image *image)
{
	if (!image->is_tracked || image->states || image->connlimit_count ||
	    !track_probe(image->family))
		return;
	log_warn("so the rules see the addresses before the table nat has changed them");
	image->is_tracked = false;
}

/* With the table nat, for the loads that begin with what is in force. */
static int print_all(const struct ruleset *ruleset, char **text, size_t *size)
{
	FILE *stream = open_memstream(text, size);

	if (!stream)
		return -ENOMEM;
	ruleset_print(ruleset, true, stream);
	if (ruleset->translates) {
		fwrite(ruleset->nat_text, 1, ruleset->nat_size, stream);
		putc('\n', stream);
	}
	return fclose(stream) ? -ENOMEM : 0;
}

static int compile_and_load(struct ruleset *ruleset, const struct arguments *arguments,
			    const struct ruleset_report *report)
{
	_cleanup_free_ char *text = NULL;
	struct image image;
	size_t size = 0;
	int err = compile(&image, ruleset, report);

	if (err)
		return err;
	if (arguments->pass)
		dump_pass(arguments->pass, ruleset, &image, stdout);
	if (!arguments->check) {
		probe_tracking(&image);
		err = print_all(ruleset, &text, &size);
		err = err ? err : stage_load(&image, text, size, &arguments->stage);
	}
	image_free(&image);
	return err;
}

static int put_in_force(struct ruleset *ruleset, const struct arguments *arguments,
			const struct ruleset_report *report)
{
	struct arguments with_sets = *arguments;
	struct set_use use;
	int err = set_use_begin(&use, ruleset, arguments->check, report);

	if (err)
		return err;
	with_sets.stage.sets = use.is_open ? &use.store : NULL;
	err = compile_and_load(ruleset, &with_sets, report);
	set_use_end(&use, !err && !arguments->check);
	return err;
}

/* Whoever forgets --iface would take the machine for protected. */
static void warn_of_no_interface(void)
{
	struct in_force_interface interface;

	if (!in_force_interfaces(&interface, 1))
		log_warn("no interface is filtered so far: load again with --iface NAME");
}

static bool is_any_at_xdp(void)
{
	struct in_force_interface interfaces[FILTER_PORTS];
	int count = in_force_interfaces(interfaces, FILTER_PORTS);

	for (int i = 0; i < count; i++)
		if (interfaces[i].xdp)
			return true;
	return false;
}

/* What the kernel takes out of an IPsec packet never comes by XDP. */
static void warn_of_ipsec(void)
{
	struct ipsec ipsec = { 0 };

	if (is_any_at_xdp() && !ipsec_open(&ipsec) && !ipsec_dump(&ipsec) &&
	    ipsec.policies.table[IPSEC_FORWARD].count)
		log_warn(
			"there are IPsec policies, and at XDP rules do not meet what was encrypted: "
			"use --hook tc");
	ipsec_close(&ipsec);
}

static int load(const struct arguments *arguments)
{
	const struct ruleset_report report = { say, NULL, arguments->file };
	_cleanup_free_ char *text = NULL;
	struct ruleset ruleset = { 0 };
	uint8_t family;
	size_t size = 0;
	int err;

	if (!arguments->file) {
		log_error("load takes a file, or - for standard input");
		return EXIT_USAGE;
	}
	if (arguments->pass && !arguments->check) {
		log_error("--dump is for --check");
		return EXIT_USAGE;
	}
	if (arguments->stage.hook != STAGE_AS_BEFORE && !arguments->stage.interface_count) {
		log_error("--hook is for the interfaces that --iface names");
		return EXIT_USAGE;
	}
	if (ruleset_read_text(arguments->file, &text, &size, &report))
		return EXIT_FAILURE;
	family = arguments->family ? arguments->family : family_of(text, size);
	err = ruleset_parse(&ruleset, text, size, family, &report);
	if (!err)
		ruleset_warn_of_nat(&ruleset, &report);
	err = err ? err : put_in_force(&ruleset, arguments, &report);
	if (err == -ENOMEM)
		log_error("%s: not enough memory", arguments->file);
	ruleset_free(&ruleset);
	if (!err && !arguments->check) {
		warn_of_no_interface();
		warn_of_ipsec();
	}
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- show, zero, flush, unload -------------------------------------------------------- */

/* What is done for one family after the other. */
struct round {
	const struct arguments *arguments;
	FILE *to;
	unsigned int done; /* families */
};

/* For the family that was given, or for each that has rules. Returns the exit status. */
static int for_families(struct round *round, int (*act)(struct round *round, uint8_t family))
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	const uint8_t only = round->arguments->family;

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		int err = only && only != families[i] ? -ENOENT : act(round, families[i]);

		if (err && err != -ENOENT) {
			in_force_explain(err);
			return EXIT_FAILURE;
		}
		round->done += !err;
	}
	if (round->done)
		return EXIT_SUCCESS;
	if (only)
		log_error("no %s rules are in force in this network namespace",
			  only == AF_INET6 ? "IPv6" : "IPv4");
	else
		in_force_explain(-ENOENT);
	return EXIT_FAILURE;
}

/* Returns 0, -ENOENT, or another -errno; ruleset_free() is for all of them. */
static int read_rules(struct ruleset *ruleset, uint8_t family, uint32_t *generation)
{
	const struct ruleset_report report = { say, NULL, "rules in force" };
	struct in_force in_force;
	int err = in_force_read(&in_force, family);

	memset(ruleset, 0, sizeof(*ruleset));
	if (!err)
		err = in_force_parse(&in_force, family, &report, ruleset);
	if (generation)
		*generation = in_force.generation;
	in_force_free(&in_force);
	return err;
}

static int show_family(struct round *round, uint8_t family)
{
	struct ruleset ruleset;
	int err = read_rules(&ruleset, family, NULL);

	if (!err && round->arguments->json) {
		fputs(round->done ? ",\n  " : "\n  ", round->to);
		listing_put_ruleset(&ruleset, round->to);
	} else if (!err) {
		ruleset_print(&ruleset, round->arguments->counters, round->to);
	}
	ruleset_free(&ruleset);
	return err;
}

static void put_interfaces(FILE *to)
{
	struct in_force_interface interfaces[FILTER_PORTS];
	int count = in_force_interfaces(interfaces, FILTER_PORTS);

	listing_put_interfaces(interfaces, count < 0 ? 0 : count, to);
}

/* One document, or none: nothing is printed before all of it is known. */
static int show(const struct arguments *arguments)
{
	_cleanup_free_ char *document = NULL;
	struct round round = { .arguments = arguments };
	size_t size = 0;
	int status;

	round.to = open_memstream(&document, &size);
	if (!round.to) {
		log_error("not enough memory");
		return EXIT_FAILURE;
	}
	if (arguments->json) {
		fputs("{\"interfaces\":", round.to);
		put_interfaces(round.to);
		fputs(",\"families\":[", round.to);
	}
	status = for_families(&round, show_family);
	if (arguments->json)
		fputs("\n]}\n", round.to);
	if (fclose(round.to)) {
		log_error("not enough memory");
		return EXIT_FAILURE;
	}
	if (status == EXIT_SUCCESS)
		fwrite(document, size, 1, stdout);
	return status;
}

static int zero_family(struct round *round, uint8_t family)
{
	(void)round;
	return in_force_zero(family);
}

static int zero(const struct arguments *arguments)
{
	struct round round = { .arguments = arguments };

	return for_families(&round, zero_family);
}

/* Of the filter table; what the kernel's nat does it goes on doing. */
static void remove_rules(struct ruleset *ruleset)
{
	const uint32_t chains = ruleset_filter_chains(ruleset),
		       rules = ruleset_filter_rules(ruleset);

	ruleset->rule_count -= rules;
	memmove(ruleset->rules, ruleset->rules + rules,
		ruleset->rule_count * sizeof(*ruleset->rules));
	for (uint32_t i = 0; i < chains; i++) {
		ruleset->chains[i].first = 0;
		ruleset->chains[i].count = 0;
		ruleset->chains[i].depth = 0;
	}
	for (uint32_t i = chains; i < ruleset->chain_count; i++)
		ruleset->chains[i].first -= rules;
}

/* A load of what was read, without its rules; if others load meanwhile, of what they have loaded. */
static int flush_family(struct round *round, uint8_t family)
{
	const struct ruleset_report report = { say, NULL, "rules in force" };
	struct arguments arguments = *round->arguments;
	int err;

	do {
		struct ruleset ruleset;

		err = read_rules(&ruleset, family, &arguments.stage.replaces);
		if (!err) {
			remove_rules(&ruleset);
			err = put_in_force(&ruleset, &arguments, &report);
		}
		ruleset_free(&ruleset);
	} while (err == -EAGAIN);
	return err;
}

static int flush(const struct arguments *arguments)
{
	struct round round = { .arguments = arguments };

	return for_families(&round, flush_family);
}

static int unload(const struct arguments *arguments)
{
	struct set_store sets;
	bool has_sets = !set_store_open(&sets, false);
	int err = stage_unload();

	(void)arguments;
	if (has_sets && !err) {
		set_hold(&sets, AF_INET, NULL, 0, true);
		set_hold(&sets, AF_INET6, NULL, 0, true);
	}
	if (has_sets)
		set_store_close(&sets);
	if (err == -ENOENT)
		log_error("no filter is in force in this network namespace");
	else if (err)
		log_error("cannot unload the filter: %s", strerror(-err));
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int follow_log(const struct arguments *arguments)
{
	return events_follow(arguments->json);
}

int filter_command(int argc, char *const argv[])
{
	static const struct {
		const char *name;
		const char *takes; /* see parse_arguments() */
		int (*run)(const struct arguments *arguments);
	} commands[] = {
		{ "load", "46ikcd-", load }, { "show", "46nj", show },   { "zero", "46", zero },
		{ "flush", "46", flush },    { "log", "j", follow_log }, { "unload", "", unload },
	};
	struct arguments arguments;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			print_usage(stdout);
			return EXIT_SUCCESS;
		}
	}
	if (argc > 1 && !strcmp(argv[1], "why"))
		return why_command(argc - 1, argv + 1);
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (parse_arguments(&arguments, commands[i].takes, argc - 1, argv + 1))
			return EXIT_USAGE;
		return commands[i].run(&arguments);
	}
	log_error("bpfw filter takes a command: load, show, why, zero, flush, log or unload");
	fputs("Try 'bpfw filter --help'.\n", stderr);
	return EXIT_USAGE;
}
