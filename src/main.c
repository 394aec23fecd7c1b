/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "filter/command.h"
#include "filter/set_command.h"
#include "log.h"
#include "options.h"
#include "show.h"
#include "util.h"

#define EXIT_USAGE 2

static void print_usage(FILE *to)
{
	fputs("Usage: bpfw [OPTIONS] --iface NAME[:HOOK] [--iface NAME[:HOOK] ...]\n"
	      "       bpfw flows [--json]\n"
	      "       bpfw stats [--json]\n"
	      "       bpfw status [--json]\n"
	      "       bpfw filter load|show|why|zero|flush|log|unload ...\n"
	      "       bpfw set load|create|add|del|test|list|destroy ...\n"
	      "       bpfw block add|del|test|load|list ...\n"
	      "\n"
	      "Takes established TCP and UDP flows, NAT included, out of the network stack: a BPF\n"
	      "program forwards their packets, as long as conntrack, routing and neighbours say so.\n"
	      "\n"
	      "  --iface NAME[:HOOK]  interface to forward between: a port, bridge, VLAN, PPPoE, ...;\n"
	      "                       repeat, or separate by commas; auto: all that can forward\n"
	      "  --hook HOOK          tc, xdp, xdpgeneric or auto (XDP native, else TC; default)\n"
	      "  --rxvlan-off         switch hardware VLAN stripping off where XDP is to be used\n"
	      "  --cpus LIST          at XDP: spread flows over these CPUs, such as 0-3 or 1,3\n"
	      "  --exclude CIDR       flows from or to these addresses stay in the stack; repeat\n"
	      "  --exclude-mark V[/M] flows with this conntrack mark stay in the stack\n"
	      "  --only PROTOCOL      tcp or udp: flows of the other one stay in the stack\n"
	      "  --max-flows N        connections to offload at most (default 65536,\n"
	      "                       less where memory is short)\n"
	      "  --tcp-idle S         idle TCP flows leave the fast path after S seconds (300)\n"
	      "  --udp-idle S         idle UDP flows leave the fast path after S seconds (60)\n"
	      "  --config FILE        options, one a line without dashes; SIGHUP reads it again\n"
	      "  --log-level LEVEL    error, warn (default), info or debug\n"
	      "  --no-sandbox         keep all privileges after the start, for debugging\n"
	      "  --dry-run [--json]   show what would be attached where, and exit\n"
	      "  --help, --version\n"
	      "\n"
	      "bpfw flows             list the offloaded flows of the running instance\n"
	      "bpfw stats             show every counted exit by reason\n"
	      "bpfw status            show what is attached where\n"
	      "bpfw filter            enforce iptables-save rules: bpfw filter --help\n"
	      "bpfw set, bpfw block   sets of addresses for rules, and the block list\n"
	      "\n"
	      "Exit status: 0 success, 1 failure, 2 wrong usage.\n",
	      to);
}

struct command {
	const char *name;
	int (*run)(int argc, char *const argv[]);
};

static const struct command commands[] = {
	{ "block", block_command }, { "filter", filter_command }, { "flows", show_flows },
	{ "set", set_command },     { "stats", show_stats },      { "status", show_status },
};

static int run_daemon(int argc, char *const argv[])
{
	struct options options;
	char error[OPTIONS_ERROR];

	if (options_parse(&options, argc, argv, error)) {
		log_error("%s", error);
		fputs("Try 'bpfw --help'.\n", stderr);
		return EXIT_USAGE;
	}
	if (options.help) {
		print_usage(stdout);
		return EXIT_SUCCESS;
	}
	if (options.version) {
		puts("bpfw " BPFW_VERSION);
		return EXIT_SUCCESS;
	}
	log_level = (enum log_level)options.log_level;
	if (options.dry_run)
		return show_dry_run(&options);
	return daemon_run(&options) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(int argc, char *const argv[])
{
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	return run_daemon(argc, argv);
}

/* What was printed may be somebody's only copy of the rules: it has to be written. */
int main(int argc, char *argv[])
{
	int status = run(argc, argv);

	if (fflush(stdout))
		log_error("cannot write to standard output: %s", strerror(errno));
	else if (ferror(stdout))
		log_error("cannot write to standard output");
	else
		return status;
	return status ? status : EXIT_FAILURE;
}
