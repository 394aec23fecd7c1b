/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of numbers in rules. The records hold no pointers, which would take relocations. */
#ifndef BPFW_FILTER_NAMES_H
#define BPFW_FILTER_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of a word; not terminated. */
struct slice {
	const char *at;
	size_t length;
};

struct name {
	char name[16];
	uint16_t value;
};

struct long_name {
	char name[24];
	uint8_t value;
};

struct icmp_name {
	char name[27];
	uint8_t type, code_low, code_high;
};

/* Lists end with an empty name. Where several names mean the same, the first one is printed. */
extern const struct name protocol_names[], service_names[], tcp_flag_names[], dscp_names[],
	pkttype_names[], addrtype_names[], state_names[], status_names[], log_level_names[],
	hashlimit_mode_names[];
extern const struct long_name tos_names[];
extern const struct icmp_name icmp_names[], icmpv6_names[];

/* By the numbers of enum reject_with; each has an older, shorter name. */
extern const char reject_names[][24], reject_aliases[][16];

/* Is text the name, or an abbreviation of it, in either case? */
bool name_begins(const char *name, struct slice text);

/* Is text the name, in either case? */
bool name_is(const char *name, struct slice text);

/* Is text exactly this? */
bool slice_is(struct slice text, const char *expected);

/* The entry whose name text is (or begins, where names may be cut short); NULL if none */
const struct name *name_find(const struct name *list, struct slice text, bool cut_short);

/* The first name of a value; NULL if none */
const char *name_of(const struct name *list, unsigned int value);

/* The part of *rest before the separator, which is taken off; false if nothing is left. */
bool slice_next(struct slice *rest, char separator, struct slice *part);

#endif /* BPFW_FILTER_NAMES_H */
