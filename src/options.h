/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of the daemon, and the file that may say the same. */
#ifndef BPFW_OPTIONS_H
#define BPFW_OPTIONS_H

#include <linux/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpus.h"
#include "tuple.h"

enum hook {
	HOOK_AUTO,
	HOOK_TC,
	HOOK_XDP,
	HOOK_XDPGENERIC,
};

#define MAX_INTERFACES 64

struct interface_option {
	char name[IFNAMSIZ];
	enum hook hook;
};

#define MAX_EXCLUDES 64

/* A prefix whose flows stay in the stack. Bits behind its length are 0. */
struct prefix_option {
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t length;
	struct address address;
};

struct options {
	struct interface_option interface[MAX_INTERFACES];
	size_t interfaces;
	bool automatic; /* --iface auto: interface[0] has the hook, and no name of a device */
	struct prefix_option exclude[MAX_EXCLUDES];
	size_t excludes;
	uint32_t exclude_mark; /* of conntrack entries, with the mask below */
	uint32_t exclude_mask; /* 0: no mark is excluded */
	uint8_t only_protocol; /* IPPROTO_TCP or IPPROTO_UDP, 0 for both */
	bool rxvlan_off;       /* hardware may be told to leave VLAN tags in frames for XDP */
	struct cpus cpus;      /* that flows are spread over, none: the CPU that receives */
	bool no_sandbox;       /* keep all privileges, for debugging */
	bool dry_run;
	bool json;
	uint32_t max_flows;  /* connections, both directions counted as one */
	uint32_t tcp_idle_s; /* a flow that is idle for so long leaves the fast path */
	uint32_t udp_idle_s;
	int log_level; /* enum log_level */
	bool help;
	bool version;
	/* Where all this came from, to be read anew: not copied, argv outlives the daemon. */
	const char *config; /* file, NULL if there is none */
	int argc;
	char *const *argv;
};

/* Room for the message of options_parse(). */
#define OPTIONS_ERROR 256

/*
 * Parse argv (argv[0] is the program's name), and before it the file that --config names:
 * lines of a long option without its dashes and its value, '#' starts a comment. What
 * argv says of a setting goes before what the file says; interfaces and exclusions add up.
 * The file has to belong to root or the effective user and be writable by nobody else; it
 * may be standard input or a pipe. Opening those may wait for who writes to them.
 * Returns 0, or -EINVAL with a message that says what was wrong, where and what to do.
 */
int options_parse(struct options *options, int argc, char *const argv[], char error[OPTIONS_ERROR]);

/*
 * Read the file and the command line again, as they were given at the start. Never waits: what
 * is no regular file cannot be read again. Returns as options_parse() does.
 */
int options_reload(struct options *options, const struct options *old, char error[OPTIONS_ERROR]);

const char *hook_name(enum hook hook);

#endif /* BPFW_OPTIONS_H */
