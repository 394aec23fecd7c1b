/* SPDX-License-Identifier: GPL-2.0-only */
/* Command line values of the benchmark's loaders. A wrong value ends the program with status 2. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2
};

static inline _Noreturn void bad_value(const char *what, const char *text)
{
	fprintf(stderr, "%s: '%s' is not valid\n", what, text);
	exit(STATUS_USAGE);
}

static inline unsigned long parse_number(const char *what, const char *text, unsigned long min,
					 unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value < min || value > max)
		bad_value(what, text);
	return value;
}

static inline void parse_mac(const char *what, const char *text, unsigned char mac[ETH_ALEN])
{
	char rest;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &rest) != ETH_ALEN)
		bad_value(what, text);
}

static inline in_addr_t parse_address(const char *what, const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		bad_value(what, text);
	return address.s_addr;
}

/* Of either family, in the order of the wire. A family of 0: none. */
struct address {
	int family;
	unsigned char bytes[sizeof(struct in6_addr)];
};

static inline struct address parse_any_address(const char *what, const char *text)
{
	struct address address = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	if (inet_pton(address.family, text, address.bytes) != 1)
		bad_value(what, text);
	return address;
}

static inline unsigned int parse_device(const char *what, const char *text)
{
	unsigned int ifindex = if_nametoindex(text);

	if (!ifindex)
		bad_value(what, text);
	return ifindex;
}

/*
 * The link lives as long as this process. A failure is printed with the reason the kernel gives:
 * most often another XDP program on the device, or a device without XDP.
 */
static inline struct bpf_link *attach_xdp(struct bpf_program *prog, unsigned int ifindex)
{
	struct bpf_link *link = bpf_program__attach_xdp(prog, (int)ifindex);

	if (!link)
		fprintf(stderr, "attach %s to interface %u: %s\n", bpf_program__name(prog), ifindex,
			strerror(errno));
	return link;
}

/* Tell the parent that the program is attached. */
static inline void say_ready(void)
{
	puts("ready");
	fflush(stdout);
}

#endif
