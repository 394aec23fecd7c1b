/* SPDX-License-Identifier: GPL-2.0-only */
/* What is in force: the ruleset's text and counters, found by the programs in the slots. */
#ifndef BPFW_FILTER_INFORCE_H
#define BPFW_FILTER_INFORCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filter/ruleset.h"
#include "filter_layout.h"

struct bpf_map_info;

struct in_force {
	char *text; /* as it was loaded */
	size_t size;
	struct filter_counter *counters; /* of rules, then of built-in chains: sums over CPUs */
	uint32_t counter_count;
	uint32_t generation; /* no two rulesets have the same; not 0 */
};

struct in_force_interface {
	uint32_t ifindex;
	bool judged; /* what comes in is */
	bool xdp;    /* at XDP, else at TC */
};

/*
 * The ruleset of a family. Returns 0, -ENOENT (the family has no rules), or another -errno.
 * in_force_free() is for all of them.
 */
int in_force_read(struct in_force *in_force, uint8_t family);
void in_force_free(struct in_force *in_force);

/*
 * The rules of what was read, with their counters. Returns 0 or -errno, reported; ruleset_free()
 * after success.
 */
int in_force_parse(const struct in_force *in_force, uint8_t family,
		   const struct ruleset_report *report, struct ruleset *ruleset);

/*
 * The generation of the family's ruleset in the slots of `pins` (pins_open()), 0 if there is none.
 * Returns 0 or -errno.
 */
int in_force_generation(int pins, uint8_t family, uint32_t *generation);

/* The interfaces that are filtered, `max` at most: how many, or -errno (-ENOENT: no filter). */
int in_force_interfaces(struct in_force_interface *interfaces, int max);

/* Set all its counters to zero. Packets that are counted meanwhile may be lost. */
int in_force_zero(uint8_t family);

/*
 * A descriptor of the program that judges the packets of a family at TC, where there is one for
 * every hook. -ENOENT: there is none; -EPROTO: another version has loaded it.
 */
int in_force_program(int pins, uint8_t family);

/* The one that counts connections for it at TC. -ENOENT: none of its rules wants that. */
int in_force_counter(int pins, uint8_t family);

/*
 * A descriptor of a program's map by its name, or -ENOENT or another -errno. The constants are
 * ".rodata". Names of which the kernel keeps the same part are told apart by `value_size` (0: any).
 */
int in_force_map(int program, const char *name, uint32_t value_size, struct bpf_map_info *info);

/* Say why one of these functions has failed. */
void in_force_explain(int err);

#endif /* BPFW_FILTER_INFORCE_H */
