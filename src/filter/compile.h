/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a ruleset to the contents of the BPF maps (bpf/filter_layout.h). The fields of a packet are
 * partitioned: for each field the distinct ranges of values that the rules tell apart, and for
 * each range the row of the rules that it leaves.
 */
#ifndef BPFW_FILTER_COMPILE_H
#define BPFW_FILTER_COMPILE_H

#include "filter/rows.h"
#include "filter/ruleset.h"
#include "filter/slots.h"
#include "filter/table_names.h"

/* A device that is there now; rules name devices, packets have their ifindex. */
struct filter_interface {
	char name[RULESET_INTERFACE_NAME];
	uint32_t ifindex;
	union ruleset_address address; /* where REDIRECT sends packets; zeros: not known */
};

struct device_rows {
	uint32_t ifindex; /* 0: of all that have no rows of their own */
	struct filter_device rows;
};

struct image {
	uint8_t family;
	bool drops_bad_tcp;
	uint8_t drops_cut; /* enum filter_cut */
	uint32_t used_fields;
	uint32_t no_port_rows[2];
	struct rows rows;
	struct filter_chain *chains;
	uint32_t *rules;
	uint32_t *dead; /* of each rule, as dead_find() says */
	struct filter_op *operations;
	uint32_t chain_count, rule_count, operation_count;
	uint32_t operation_room;
	uint32_t tally_count; /* of rules that keep something from packet to packet */
	struct filter_hashlimit *hashlimits;
	const struct match_hashlimit **hashlimit_of; /* of the ruleset: those that made them */
	uint32_t hashlimit_count;
	struct table_names hashlimit_names;
	struct filter_recent *recents;
	uint32_t recent_count;
	struct table_names recent_names;
	uint32_t connlimit_count; /* of rules that count connections, */
	uint32_t connlimit_most;  /* and the highest limit */
	uint32_t mark_line; /* of a rule that sets a mark, which XDP has not; 0: there is none */
	uint32_t counter_count;          /* rules, then the policies of the built-in chains */
	struct filter_counter *counters; /* what they begin with */
	struct address_ranges source, destination;
	uint32_t *source_ports, *destination_ports, *protocols; /* NULL: nobody asks */
	uint32_t *states;                                       /* FILTER_STATES, or NULL */
	struct filter_question *questions;                      /* about sets */
	uint32_t question_count, question_room;
	struct filter_translation *translations; /* of the table nat; the first is no rule's */
	uint32_t translation_count;
	uint32_t nat_chain; /* the number of its PREROUTING; 0: it has no rules */
	bool is_tracked;    /* the programs have to know what connections packets belong to */
	struct device_rows *devices;
	uint32_t device_count;
};

/*
 * Compile. Returns 0, or -errno with nothing left in *image: -EOPNOTSUPP and -E2BIG after one
 * error was reported, -ENOMEM.
 */
int image_compile(struct image *image, const struct ruleset *ruleset,
		  const struct filter_interface *interfaces, size_t interface_count,
		  const struct ruleset_report *report);
void image_free(struct image *image);

/* The greatest value of a field. */
struct value field_maximum(enum filter_field field, uint8_t family);

/*
 * The values of a field that a rule lets through, or more: addrtype, which depends on the machine's
 * addresses, is left out. Returns 0, or -E2BIG: more than INTERVALS_MAX.
 */
int rule_intervals(struct intervals *set, const struct rule *rule, enum filter_field field,
		   uint8_t family);

/* Is the mask of an address a prefix's? */
bool address_is_prefix(const struct match_address *address, uint8_t family);

/*
 * Do the ports decide whether the rule can match? Then it matches no packet that has none, and its
 * operations need not ask for a transport header.
 */
bool rule_tells_ports(const struct rule *rule);

/* Say why a rule is refused, with the place in the text. Returns err. */
int rule_refuse(const struct ruleset_report *report, const struct rule *rule, unsigned int column,
		int err, const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif /* BPFW_FILTER_COMPILE_H */
