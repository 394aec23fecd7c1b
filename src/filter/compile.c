/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/addrtype.h"
#include "filter/compile.h"
#include "filter/dead.h"
#include "filter/interval.h"
#include "filter/operations.h"
#include "filter/state.h"
#include "util.h"

struct compiler {
	struct image *image;
	const struct ruleset *ruleset;
	const struct ruleset_report *report;
	struct event *events; /* of the field in hand */
	size_t event_count, event_room;
	struct address_types types; /* read if some rule asks for them */
};

int rule_refuse(const struct ruleset_report *report, const struct rule *rule, unsigned int column,
		int err, const char *format, ...)
{
	char reason[256], message[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	snprintf(message, sizeof(message), "%s:%u:%u: %s", report->file, rule->line, column,
		 reason);
	report->say(report->context, false, message);
	return err;
}

/* ---- The values of a field that a rule lets through ------------------------------- */

struct value field_maximum(enum filter_field field, uint8_t family)
{
	switch (field) {
	case FILTER_SOURCE:
	case FILTER_DESTINATION:
		return family == AF_INET6 ? (struct value){ UINT64_MAX, UINT64_MAX } :
					    (struct value){ 0, UINT32_MAX };
	case FILTER_PROTOCOL:
		return (struct value){ 0, UINT8_MAX };
	default:
		return (struct value){ 0, UINT16_MAX };
	}
}

static struct value address_value(const union ruleset_address *address, uint8_t family)
{
	if (family == AF_INET)
		return (struct value){ 0, ntohl(address->words[0]) };
	return (struct value){
		(uint64_t)ntohl(address->words[0]) << 32 | ntohl(address->words[1]),
		(uint64_t)ntohl(address->words[2]) << 32 | ntohl(address->words[3]),
	};
}

/* The bits of an address that a mask leaves open, all of them set. */
static struct value open_bits(const struct match_address *address, uint8_t family)
{
	struct value mask = address_value(&address->mask, family);
	struct value all = field_maximum(FILTER_SOURCE, family);

	return (struct value){ all.high & ~mask.high, all.low & ~mask.low };
}

/* The open bits are one row at the end. */
bool address_is_prefix(const struct match_address *address, uint8_t family)
{
	struct value open = open_bits(address, family), next = value_next(open);

	return !(open.high & next.high) && !(open.low & next.low);
}

static int narrow(struct intervals *set, const struct interval *ranges, size_t count, bool invert,
		  struct value maximum)
{
	struct intervals wanted;
	int err = 0;

	wanted.count = 0;
	for (size_t i = 0; i < count && !err; i++)
		err = intervals_add(&wanted, ranges[i].first, ranges[i].last);
	if (!err && invert)
		err = intervals_invert(&wanted, maximum);
	return err ? err : intervals_intersect(set, &wanted);
}

static int narrow_by_prefix(struct intervals *set, const struct match_address *address,
			    uint8_t family)
{
	struct value first = address_value(&address->value, family);
	struct value open = open_bits(address, family);
	const struct interval range = { first, { first.high | open.high, first.low | open.low } };

	return narrow(set, &range, 1, address->invert, field_maximum(FILTER_SOURCE, family));
}

static int narrow_by_range(struct intervals *set, const struct address_range *given, uint8_t family)
{
	const struct interval range = { address_value(&given->low, family),
					address_value(&given->high, family) };

	if (!given->given)
		return 0;
	return narrow(set, &range, 1, given->invert, field_maximum(FILTER_SOURCE, family));
}

static int narrow_by_type(const struct address_types *types, struct intervals *set,
			  const struct match_addrtype *match, bool source, uint8_t family)
{
	return addrtype_narrow(set, types, source ? match->source : match->destination,
			       source ? match->source_invert : match->destination_invert, family);
}

static int address_intervals(const struct address_types *types, struct intervals *set,
			     const struct rule *rule, bool source, uint8_t family)
{
	const struct match_address *address = source ? &rule->source : &rule->destination;
	int err = 0;

	if (address->given && address_is_prefix(address, family))
		err = narrow_by_prefix(set, address, family);
	for (size_t i = 0; i < rule->match_count && !err; i++) {
		const struct match *match = &rule->matches[i];

		if (match->kind == MATCH_IPRANGE)
			err = narrow_by_range(set,
					      source ? &match->iprange->source :
						       &match->iprange->destination,
					      family);
		if (match->kind == MATCH_ADDRTYPE && types)
			err = narrow_by_type(types, set, &match->addrtype, source, family);
	}
	return err;
}

static int narrow_by_ports(struct intervals *set, const struct range16 *given)
{
	const struct interval range = { { 0, given->low }, { 0, given->high } };

	if (!given->given)
		return 0;
	return narrow(set, &range, 1, given->invert, (struct value){ 0, UINT16_MAX });
}

static int narrow_by_multiport(struct intervals *set, const struct match_multiport *multiport)
{
	struct interval ranges[RULESET_PORTS];

	for (size_t i = 0; i < multiport->count; i++)
		ranges[i] = (struct interval){ { 0, multiport->ports[i].low },
					       { 0, multiport->ports[i].high } };
	return narrow(set, ranges, multiport->count, multiport->invert,
		      (struct value){ 0, UINT16_MAX });
}

static int port_intervals(struct intervals *set, const struct rule *rule, bool source)
{
	int err = 0;

	for (size_t i = 0; i < rule->match_count && !err; i++) {
		const struct match *match = &rule->matches[i];

		switch (match->kind) {
		case MATCH_TCP:
			err = narrow_by_ports(set, source ? &match->tcp.source :
							    &match->tcp.destination);
			break;
		case MATCH_UDP:
		case MATCH_SCTP:
			err = narrow_by_ports(set, source ? &match->ports.source :
							    &match->ports.destination);
			break;
		case MATCH_MULTIPORT:
			if (match->multiport.of ==
			    (source ? MULTIPORT_SOURCE : MULTIPORT_DESTINATION))
				err = narrow_by_multiport(set, &match->multiport);
			break;
		default:
			break;
		}
	}
	return err;
}

/* `types` may be NULL: addrtype lets all through then. Returns 0 or -E2BIG. */
static int find_intervals(const struct address_types *types, struct intervals *set,
			  const struct rule *rule, enum filter_field field, uint8_t family)
{
	const struct value maximum = field_maximum(field, family);
	const struct value protocol = { 0, rule->protocol.number };

	intervals_all(set, maximum);
	switch (field) {
	case FILTER_SOURCE:
	case FILTER_DESTINATION:
		return address_intervals(types, set, rule, field == FILTER_SOURCE, family);
	case FILTER_SOURCE_PORT:
	case FILTER_DESTINATION_PORT:
		return port_intervals(set, rule, field == FILTER_SOURCE_PORT);
	case FILTER_PROTOCOL:
		if (!rule->protocol.given)
			return 0;
		return narrow(set, &(struct interval){ protocol, protocol }, 1,
			      rule->protocol.invert, maximum);
	default:
		return 0;
	}
}

int rule_intervals(struct intervals *set, const struct rule *rule, enum filter_field field,
		   uint8_t family)
{
	return find_intervals(NULL, set, rule, field, family);
}

bool rule_tells_ports(const struct rule *rule)
{
	const struct value maximum = field_maximum(FILTER_SOURCE_PORT, AF_INET);
	struct intervals source, destination;

	intervals_all(&source, maximum);
	intervals_all(&destination, maximum);
	return !port_intervals(&source, rule, true) && !port_intervals(&destination, rule, false) &&
	       (!intervals_is_all(&source, maximum) || !intervals_is_all(&destination, maximum));
}

/* ---- Partition of a field ---------------------------------------------------------- */

/* From `at` on, the rule's bit is `value`. */
struct event {
	struct value at;
	uint32_t rule;
	bool value;
};

static int compare_events(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return value_compare(x->at, y->at);
}

static int add_event(struct compiler *compiler, struct value at, uint32_t rule, bool value)
{
	if (compiler->event_count == compiler->event_room) {
		size_t room = compiler->event_room ? compiler->event_room * 2 : 1024;
		struct event *events = reallocarray(compiler->events, room, sizeof(*events));

		if (!events)
			return -ENOMEM;
		compiler->events = events;
		compiler->event_room = room;
	}
	compiler->events[compiler->event_count++] = (struct event){ at, rule, value };
	return 0;
}

static int add_rule_events(struct compiler *compiler, uint32_t rule, const struct intervals *set,
			   struct value maximum)
{
	int err = 0;

	for (size_t i = 0; i < set->count && !err; i++) {
		err = add_event(compiler, set->interval[i].first, rule, true);
		if (!err && value_compare(set->interval[i].last, maximum) != 0)
			err = add_event(compiler, value_next(set->interval[i].last), rule, false);
	}
	return err;
}

/*
 * Rules that do not ask about the field have their bits set; the others' events are sorted. Dead
 * rules have no bits.
 */
static int collect_events(struct compiler *compiler, enum filter_field field, bool *asked)
{
	const struct ruleset *ruleset = compiler->ruleset;
	const struct value maximum = field_maximum(field, ruleset->family);
	struct intervals set;
	int err = 0;

	compiler->event_count = 0;
	rows_clear(&compiler->image->rows);
	for (uint32_t i = 0; i < ruleset->rule_count && !err; i++) {
		const struct rule *rule = &ruleset->rules[i];

		err = find_intervals(&compiler->types, &set, rule, field, ruleset->family);
		if (err)
			return rule_refuse(compiler->report, rule, rule->column, err,
					   "more than %d ranges of addresses or ports in one rule",
					   INTERVALS_MAX);
		if (compiler->image->dead[i] != DEAD_NOT)
			continue;
		if (intervals_is_all(&set, maximum))
			rows_set(&compiler->image->rows, i, true);
		else {
			*asked = true;
			err = add_rule_events(compiler, i, &set, maximum);
		}
	}
	if (compiler->event_count)
		qsort(compiler->events, compiler->event_count, sizeof(*compiler->events),
		      compare_events);
	return err;
}

/* Called for each range of values, in order, with its first value and its row. */
typedef int take_range(struct image *image, enum filter_field field, struct value start,
		       uint32_t row);

static int sweep(struct compiler *compiler, enum filter_field field, take_range *take)
{
	struct rows *rows = &compiler->image->rows;
	struct value at = { 0 };
	size_t i = 0;

	for (;;) {
		uint32_t row;
		int err;

		for (; i < compiler->event_count && !value_compare(compiler->events[i].at, at); i++)
			rows_set(rows, compiler->events[i].rule, compiler->events[i].value);
		err = rows_intern(rows, &row);
		err = err ? err : take(compiler->image, field, at, row);
		if (err || i == compiler->event_count)
			return err;
		at = compiler->events[i].at;
	}
}

/* ---- Addresses --------------------------------------------------------------------- */

static int take_address(struct image *image, enum filter_field field, struct value start,
			uint32_t row)
{
	return address_ranges_add(field == FILTER_SOURCE ? &image->source : &image->destination,
				  image->family, start, row);
}

/* ---- Ports and protocols: a row for each value --------------------------------------- */

static uint32_t **table_of(struct image *image, enum filter_field field)
{
	switch (field) {
	case FILTER_SOURCE_PORT:
		return &image->source_ports;
	case FILTER_DESTINATION_PORT:
		return &image->destination_ports;
	default:
		return &image->protocols;
	}
}

static int take_value(struct image *image, enum filter_field field, struct value start,
		      uint32_t row)
{
	uint32_t **table = table_of(image, field);
	const size_t count = field == FILTER_PROTOCOL ? UINT8_MAX + 1 : UINT16_MAX + 1;

	if (!*table)
		*table = calloc(count, sizeof(**table));
	if (!*table)
		return -ENOMEM;
	for (size_t value = start.low; value < count; value++)
		(*table)[value] = row; /* the ranges to come write over it */
	return 0;
}

/* ---- Fields ------------------------------------------------------------------------- */

static int compile_field(struct compiler *compiler, enum filter_field field)
{
	struct image *image = compiler->image;
	const bool is_address = field == FILTER_SOURCE || field == FILTER_DESTINATION;
	bool asked = false;
	int err = collect_events(compiler, field, &asked);

	if (err || !asked)
		return err;
	image->used_fields |= 1u << field;
	if (field == FILTER_SOURCE_PORT || field == FILTER_DESTINATION_PORT)
		err = rows_intern(&image->rows,
				  &image->no_port_rows[field == FILTER_DESTINATION_PORT]);
	if (!err)
		err = sweep(compiler, field, is_address ? take_address : take_value);
	if (!err && is_address)
		err = address_ranges_index(field == FILTER_SOURCE ? &image->source :
								    &image->destination);
	return err;
}

/* ---- Devices -------------------------------------------------------------------------- */

static bool interface_matches(const struct match_interface *match, const char *name)
{
	bool same = match->wildcard ? !strncmp(match->name, name, match->length) :
				      !strcmp(match->name, name);

	return !match->given || same != match->invert;
}

static int device_row(struct compiler *compiler, const char *name, bool out, uint32_t *row)
{
	struct rows *rows = &compiler->image->rows;

	rows_clear(rows);
	for (uint32_t i = 0; i < compiler->ruleset->rule_count; i++) {
		const struct rule *rule = &compiler->ruleset->rules[i];

		rows_set(rows, i,
			 compiler->image->dead[i] == DEAD_NOT &&
				 interface_matches(out ? &rule->out : &rule->in, name));
	}
	return rows_intern(rows, row);
}

static int add_device(struct compiler *compiler, const struct filter_interface *interface)
{
	struct image *image = compiler->image;
	struct device_rows *device = &image->devices[image->device_count++];
	int err;

	device->ifindex = interface->ifindex;
	memcpy(device->rows.address, &interface->address, sizeof(device->rows.address));
	err = device_row(compiler, interface->name, false, &device->rows.in_row);
	return err ? err : device_row(compiler, interface->name, true, &device->rows.out_row);
}

static bool asks_for_device(const struct ruleset *ruleset, bool out)
{
	for (uint32_t i = 0; i < ruleset->rule_count; i++)
		if (out ? ruleset->rules[i].out.given : ruleset->rules[i].in.given)
			return true;
	return false;
}

/*
 * A packet without a device (none goes out that is for this machine) is compared with an empty
 * name by the kernel. A device that nobody names is like that.
 */
static int compile_devices(struct compiler *compiler, const struct filter_interface *interfaces,
			   size_t count)
{
	static const struct filter_interface others = { .name = "" };
	struct image *image = compiler->image;
	int err;

	image->devices = calloc(count + 1, sizeof(*image->devices));
	if (!image->devices)
		return -ENOMEM;
	if (asks_for_device(compiler->ruleset, false))
		image->used_fields |= 1u << FILTER_IN;
	if (asks_for_device(compiler->ruleset, true))
		image->used_fields |= 1u << FILTER_OUT;
	err = add_device(compiler, &others);
	for (size_t i = 0; i < count && !err; i++)
		err = add_device(compiler, &interfaces[i]);
	return err;
}

/* ---- States ---------------------------------------------------------------------------- */

static int state_row(struct compiler *compiler, uint16_t state, uint32_t *row)
{
	struct rows *rows = &compiler->image->rows;

	rows_clear(rows);
	for (uint32_t i = 0; i < compiler->ruleset->rule_count; i++)
		rows_set(rows, i, state_matches_rule(state, &compiler->ruleset->rules[i]));
	return rows_intern(rows, row);
}

static int compile_states(struct compiler *compiler)
{
	struct image *image = compiler->image;
	uint16_t asked = 0;
	int err = 0;

	for (uint32_t i = 0; i < compiler->ruleset->rule_count; i++)
		asked |= state_bits_asked(&compiler->ruleset->rules[i]);
	if (!asked)
		return 0;
	image->is_tracked = true;
	image->used_fields |= 1u << FILTER_STATE;
	image->states = calloc(FILTER_STATES, sizeof(*image->states));
	if (!image->states)
		return -ENOMEM;
	for (uint16_t state = 0; state < FILTER_STATES && !err; state++) {
		if ((state & asked) != state)
			image->states[state] = image->states[state & asked]; /* a lower one */
		else
			err = state_row(compiler, state, &image->states[state]);
	}
	return err;
}

static int compile_rules(struct compiler *compiler)
{
	struct image *image = compiler->image;
	struct operation_lists lists;
	int err = operation_lists_init(&lists, image->rule_count);

	for (uint32_t i = 0; i < image->rule_count && !err; i++) {
		const uint32_t first = image->operation_count;

		err = operations_add(image, &compiler->ruleset->rules[i], compiler->report);
		if (!err)
			image->rules[i] = operation_lists_share(&lists, image, first);
	}
	operation_lists_free(&lists);
	return err;
}

/* ---- Chains ------------------------------------------------------------------------------ */

static void compile_chains(struct image *image, const struct ruleset *ruleset)
{
	for (uint32_t i = 0; i < image->chain_count; i++) {
		const struct chain *chain = &ruleset->chains[i];
		struct filter_chain *into = &image->chains[i];

		into->start = chain->first;
		into->end = chain->first + chain->count;
		into->policy = chain->policy == POLICY_DROP ? FILTER_DROP : FILTER_ACCEPT;
		into->counter = image->rule_count + i; /* beyond the last: not counted */
	}
}

static int check_depth_of(const struct compiler *compiler, const struct chain *chain)
{
	if (chain->depth <= FILTER_DEPTH)
		return 0;
	return rule_refuse(compiler->report, &compiler->ruleset->rules[chain->first], 1, -E2BIG,
			   "chain '%s': chains are called more than %d deep", chain->name,
			   FILTER_DEPTH);
}

static int check_depth(const struct compiler *compiler)
{
	const struct ruleset *ruleset = compiler->ruleset;
	int err = 0;

	for (uint32_t i = 0; i < CHAIN_BUILTIN && !err; i++)
		err = check_depth_of(compiler, &ruleset->chains[i]);
	if (!err && ruleset->nat_chain)
		err = check_depth_of(compiler, &ruleset->chains[ruleset->nat_chain]);
	return err;
}

/* ---- Counters ----------------------------------------------------------------------------- */

static void take_counters(struct image *image, const struct ruleset *ruleset)
{
	struct filter_counter *policies = image->counters + image->rule_count;

	for (uint32_t i = 0; i < image->rule_count; i++)
		image->counters[i] = (struct filter_counter){ ruleset->rules[i].packets,
							      ruleset->rules[i].bytes };
	for (uint32_t i = 0; i < CHAIN_BUILTIN; i++)
		policies[i] = (struct filter_counter){ ruleset->chains[i].packets,
						       ruleset->chains[i].bytes };
}

/* ---- All of it ----------------------------------------------------------------------------- */

static int prepare(struct image *image, const struct ruleset *ruleset)
{
	image->family = ruleset->family;
	image->nat_chain = ruleset->nat_chain;
	image->is_tracked = ruleset->translates;
	image->rule_count = ruleset->rule_count;
	image->chain_count = ruleset->chain_count;
	image->counter_count = ruleset->rule_count + CHAIN_BUILTIN;
	image->counters = calloc(image->counter_count, sizeof(*image->counters));
	image->chains = calloc(image->chain_count, sizeof(*image->chains));
	image->dead = calloc(image->rule_count + 1, sizeof(*image->dead));
	image->rules = calloc(image->rule_count + 1, sizeof(*image->rules));
	if (!image->counters || !image->chains || !image->rules || !image->dead)
		return -ENOMEM;
	take_counters(image, ruleset);
	compile_chains(image, ruleset);
	return rows_init(&image->rows, ruleset->rule_count);
}

static int compile(struct compiler *compiler, const struct filter_interface *interfaces,
		   size_t interface_count)
{
	static const enum filter_field fields[] = { FILTER_SOURCE, FILTER_DESTINATION,
						    FILTER_PROTOCOL, FILTER_SOURCE_PORT,
						    FILTER_DESTINATION_PORT };
	int err = prepare(compiler->image, compiler->ruleset);

	err = err ? err : check_depth(compiler);
	err = err ? err : compile_rules(compiler);
	err = err ? err : dead_find(compiler->ruleset, compiler->image->dead);
	for (size_t i = 0; i < ARRAY_SIZE(fields) && !err; i++)
		err = compile_field(compiler, fields[i]);
	err = err ? err : compile_states(compiler);
	return err ? err : compile_devices(compiler, interfaces, interface_count);
}

static bool asks_for_types(const struct ruleset *ruleset)
{
	for (uint32_t i = 0; i < ruleset->rule_count; i++)
		for (size_t j = 0; j < ruleset->rules[i].match_count; j++)
			if (ruleset->rules[i].matches[j].kind == MATCH_ADDRTYPE)
				return true;
	return false;
}

static int read_types(struct compiler *compiler)
{
	char message[256];
	int err;

	if (!asks_for_types(compiler->ruleset))
		return 0;
	err = address_types_read(&compiler->types, compiler->ruleset->family);
	if (!err || err == -ENOMEM)
		return err;
	snprintf(message, sizeof(message), "%s: cannot read the local routing table: %s",
		 compiler->report->file, strerror(-err));
	compiler->report->say(compiler->report->context, false, message);
	return err;
}

int image_compile(struct image *image, const struct ruleset *ruleset,
		  const struct filter_interface *interfaces, size_t interface_count,
		  const struct ruleset_report *report)
{
	struct compiler compiler = { .image = image, .ruleset = ruleset, .report = report };
	int err;

	memset(image, 0, sizeof(*image));
	if (ruleset->rule_count > FILTER_RULES_MAX)
		return rule_refuse(report, &ruleset->rules[(size_t)FILTER_RULES_MAX], 1, -E2BIG,
				   "more than %d rules", FILTER_RULES_MAX);
	err = read_types(&compiler);
	err = err ? err : compile(&compiler, interfaces, interface_count);
	free(compiler.events);
	address_types_free(&compiler.types);
	if (err)
		image_free(image);
	return err;
}

void image_free(struct image *image)
{
	rows_free(&image->rows);
	free(image->chains);
	free(image->rules);
	free(image->dead);
	free(image->counters);
	free(image->operations);
	address_ranges_free(&image->source);
	address_ranges_free(&image->destination);
	free(image->hashlimits);
	free(image->hashlimit_of);
	table_names_free(&image->hashlimit_names);
	free(image->recents);
	table_names_free(&image->recent_names);
	free(image->source_ports);
	free(image->destination_ports);
	free(image->protocols);
	free(image->states);
	free(image->questions);
	free(image->translations);
	free(image->devices);
	memset(image, 0, sizeof(*image));
}
