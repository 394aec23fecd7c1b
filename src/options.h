/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of the daemon. */
#ifndef BPFW_OPTIONS_H
#define BPFW_OPTIONS_H

#include <linux/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

struct options {
	struct interface_option interface[MAX_INTERFACES];
	size_t interfaces;
	uint32_t max_flows;  /* connections, both directions counted as one */
	uint32_t tcp_idle_s; /* a flow that is idle for so long leaves the fast path */
	uint32_t udp_idle_s;
	int log_level; /* enum log_level */
	bool help;
	bool version;
};

/* Room for the message of options_parse(). */
#define OPTIONS_ERROR 256

/*
 * Parse argv (argv[0] is the program's name). Returns 0, or -EINVAL with a message that
 * says what was wrong and what to do.
 */
int options_parse(struct options *options, int argc, char *const argv[], char error[OPTIONS_ERROR]);

const char *hook_name(enum hook hook);

#endif /* BPFW_OPTIONS_H */
