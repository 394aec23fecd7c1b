/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/dead.h"
#include "filter/dump.h"
#include "util.h"

static const struct {
	enum filter_field field;
	const char *name;
} fields[] = {
	{ FILTER_SOURCE, "source" },
	{ FILTER_DESTINATION, "destination" },
	{ FILTER_PROTOCOL, "protocol" },
	{ FILTER_SOURCE_PORT, "source port" },
	{ FILTER_DESTINATION_PORT, "destination port" },
};

static bool is_address(enum filter_field field)
{
	return field == FILTER_SOURCE || field == FILTER_DESTINATION;
}

static void put_value(enum filter_field field, uint8_t family, struct value value, FILE *to)
{
	const uint32_t words[] = { htonl((uint32_t)(value.high >> 32)), htonl((uint32_t)value.high),
				   htonl((uint32_t)(value.low >> 32)), htonl((uint32_t)value.low) };
	char text[INET6_ADDRSTRLEN];

	if (!is_address(field))
		fprintf(to, "%llu", (unsigned long long)value.low);
	else if (inet_ntop(family, family == AF_INET ? &words[3] : words, text, sizeof(text)))
		fputs(text, to);
}

static void put_place(const struct ruleset *ruleset, uint32_t rule, FILE *to)
{
	fprintf(to, "%u %s", rule, ruleset->chains[ruleset->rules[rule].chain].name);
}

/* ---- Rules --------------------------------------------------------------------------- */

static void put_intervals(const struct rule *rule, size_t index, uint8_t family, FILE *to)
{
	const enum filter_field field = fields[index].field;
	struct intervals set;

	if (rule_intervals(&set, rule, field, family) ||
	    intervals_is_all(&set, field_maximum(field, family)))
		return;
	fprintf(to, ", %s", fields[index].name);
	if (!set.count)
		fputs(" none", to);
	for (size_t i = 0; i < set.count; i++) {
		fputc(' ', to);
		put_value(field, family, set.interval[i].first, to);
		if (value_compare(set.interval[i].first, set.interval[i].last) == 0)
			continue;
		fputc('-', to);
		put_value(field, family, set.interval[i].last, to);
	}
}

static void put_interface(const char *way, const struct match_interface *match, FILE *to)
{
	if (match->given)
		fprintf(to, ", %s %s%s%s", way, match->invert ? "! " : "", match->name,
			match->wildcard ? "+" : "");
}

static void put_target(const struct ruleset *ruleset, const struct target *target, FILE *to)
{
	if (target->kind == TARGET_JUMP || target->kind == TARGET_GOTO)
		fprintf(to, "%s %s", target->kind == TARGET_JUMP ? "jump" : "goto",
			ruleset->chains[target->chain].name);
	else
		fputs(target->kind == TARGET_NONE    ? "count" :
		      target->kind == TARGET_UNKNOWN ? "unknown" :
						       target_name(target->kind),
		      to);
}

static void dump_rules(const struct ruleset *ruleset, const struct image *image, FILE *to)
{
	for (uint32_t i = 0; i < ruleset->rule_count; i++) {
		const struct rule *rule = &ruleset->rules[i];

		put_place(ruleset, i, to);
		for (size_t field = 0; field < ARRAY_SIZE(fields); field++)
			put_intervals(rule, field, image->family, to);
		put_interface("in", &rule->in, to);
		put_interface("out", &rule->out, to);
		fputs(": ", to);
		put_target(ruleset, &rule->target, to);
		fputc('\n', to);
	}
}

/* ---- Dead rules ---------------------------------------------------------------------- */

static void dump_dead(const struct ruleset *ruleset, const struct image *image, FILE *to)
{
	for (uint32_t i = 0; i < ruleset->rule_count; i++) {
		if (image->dead[i] == DEAD_NOT)
			continue;
		put_place(ruleset, i, to);
		if (image->dead[i] == DEAD_CHAIN)
			fputs(": no packet gets to the chain\n", to);
		else
			fprintf(to, ": rule %u takes all of it\n", image->dead[i]);
	}
}

/* ---- Fields -------------------------------------------------------------------------- */

/* The rules of a row, as ranges of numbers. */
static void put_row(const struct image *image, uint32_t row, FILE *to)
{
	for (uint32_t i = 0; i < image->rule_count; i++) {
		uint32_t first = i;

		if (!rows_get(&image->rows, row, i))
			continue;
		while (i + 1 < image->rule_count && rows_get(&image->rows, row, i + 1))
			i++;
		if (i == first)
			fprintf(to, " %u", first);
		else
			fprintf(to, " %u-%u", first, i);
	}
	fputc('\n', to);
}

static void put_range(const struct image *image, enum filter_field field, struct value start,
		      uint32_t row, FILE *to)
{
	fputs("  ", to);
	put_value(field, image->family, start, to);
	fputc(':', to);
	put_row(image, row, to);
}

static void put_addresses(const struct image *image, enum filter_field field, FILE *to)
{
	const struct address_ranges *ranges = field == FILTER_SOURCE ? &image->source :
								       &image->destination;

	for (uint32_t i = 0; i < ranges->count; i++) {
		const struct filter_range4 *range4 = ranges->ranges;
		const struct filter_range6 *range6 = ranges->ranges;

		if (image->family == AF_INET)
			put_range(image, field, (struct value){ 0, range4[i].start }, range4[i].row,
				  to);
		else
			put_range(image, field, (struct value){ range6[i].high, range6[i].low },
				  range6[i].row, to);
	}
}

static void put_table(const struct image *image, enum filter_field field, FILE *to)
{
	const uint32_t *table = field == FILTER_PROTOCOL    ? image->protocols :
				field == FILTER_SOURCE_PORT ? image->source_ports :
							      image->destination_ports;
	const uint64_t last = field_maximum(field, image->family).low;

	if (field != FILTER_PROTOCOL) {
		fputs("  no ports:", to);
		put_row(image, image->no_port_rows[field == FILTER_DESTINATION_PORT], to);
	}
	for (uint64_t value = 0; value <= last; value++)
		if (!value || table[value] != table[value - 1])
			put_range(image, field, (struct value){ 0, value }, table[value], to);
}

static void dump_fields(const struct ruleset *ruleset, const struct image *image, FILE *to)
{
	(void)ruleset;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!(image->used_fields & (1u << fields[i].field)))
			continue;
		fprintf(to, "%s\n", fields[i].name);
		if (is_address(fields[i].field))
			put_addresses(image, fields[i].field, to);
		else
			put_table(image, fields[i].field, to);
	}
}

/* ---- Operations ---------------------------------------------------------------------- */

static const char *const operations[] = {
	[FILTER_OP_TCP_FLAGS] = "tcp-flags",
	[FILTER_OP_ICMP] = "icmp",
	[FILTER_OP_LENGTH] = "length",
	[FILTER_OP_TTL] = "ttl",
	[FILTER_OP_TOS] = "tos",
	[FILTER_OP_FRAGMENT] = "fragment",
	[FILTER_OP_SOURCE_MASK] = "source-mask",
	[FILTER_OP_DESTINATION_MASK] = "destination-mask",
};

/* Its arguments are hexadecimal; of addresses, as they are in memory. */
static void put_operation(const struct filter_op *op, FILE *to)
{
	fputs(op->flags & FILTER_OP_NEGATED ? "not " : "", to);
	if (op->kind < ARRAY_SIZE(operations) && operations[op->kind])
		fputs(operations[op->kind], to);
	else
		fprintf(to, "operation %u", op->kind);
	fprintf(to, " %x %x %x%s; ", op->a, op->b, op->c,
		op->flags & FILTER_OP_NEEDS_L4 ? " with header" : "");
}

static void dump_operations(const struct ruleset *ruleset, const struct image *image, FILE *to)
{
	for (uint32_t i = 0; i < image->rule_count; i++) {
		const struct filter_op *op = &image->operations[image->rules[i]];

		put_place(ruleset, i, to);
		fputs(": ", to);
		for (; op->kind >= FILTER_OP_MATCHES; op++)
			put_operation(op, to);
		put_target(ruleset, &ruleset->rules[i].target, to);
		fputc('\n', to);
	}
}

/* ---- Passes -------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*dump)(const struct ruleset *ruleset, const struct image *image, FILE *to);
} passes[] = {
	{ "rules", dump_rules },
	{ "dead", dump_dead },
	{ "fields", dump_fields },
	{ "operations", dump_operations },
};

bool dump_is_pass(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(passes); i++)
		if (!strcmp(passes[i].name, name))
			return true;
	return false;
}

void dump_pass(const char *name, const struct ruleset *ruleset, const struct image *image, FILE *to)
{
	for (size_t i = 0; i < ARRAY_SIZE(passes); i++)
		if (!strcmp(passes[i].name, name))
			passes[i].dump(ruleset, image, to);
}
