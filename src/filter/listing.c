/* SPDX-License-Identifier: GPL-2.0-only */
#include <inttypes.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/listing.h"
#include "filter/value.h"
#include "json.h"
#include "util.h"

/* As it is in the text, without counters: parts of it may not be understood. */
static void put_nat_rule(const struct ruleset *ruleset, const struct rule *rule, FILE *to)
{
	struct slice rest = { ruleset->nat_text, ruleset->nat_size }, line = { "", 0 };

	for (uint32_t i = ruleset->nat_line; i <= rule->line; i++)
		if (!slice_next(&rest, '\n', &line))
			return;
	if (line.length >= rule->column)
		fwrite(line.at + rule->column - 1, line.length - rule->column + 1, 1, to);
}

char *listing_rule_text(const struct ruleset *ruleset, const struct rule *rule)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	if (ruleset->nat_chain && rule->chain >= ruleset->nat_chain)
		put_nat_rule(ruleset, rule, stream);
	else
		ruleset_print_rule(ruleset, rule, stream);
	if (!fclose(stream))
		return text;
	free(text);
	return NULL;
}

uint32_t listing_rule_number(const struct ruleset *ruleset, const struct rule *rule)
{
	return (uint32_t)(rule - ruleset->rules) - ruleset->chains[rule->chain].first + 1;
}

/* ---- Parts of a rule: a text, "!" in front if it is negated, or null ------------------- */

static void put_part(const char *name, bool given, bool invert, const char *text, FILE *to)
{
	char part[256];

	snprintf(part, sizeof(part), "%s%s", invert ? "!" : "", text);
	putc(',', to);
	json_member(to, name, given ? part : NULL);
}

static void put_network(const char *name, const struct match_address *address, uint8_t family,
			FILE *to)
{
	char value[VALUE_ADDRESS], mask[VALUE_ADDRESS], text[2 * VALUE_ADDRESS];
	int length = value_prefix(&address->mask, family);

	value_print_address(&address->value, family, value);
	if (length < 0)
		snprintf(text, sizeof(text), "%s/%s", value,
			 value_print_address(&address->mask, family, mask));
	else
		snprintf(text, sizeof(text), "%s/%d", value, length);
	put_part(name, address->given, address->invert, text, to);
}

static void put_interface(const char *name, const struct match_interface *interface, FILE *to)
{
	char text[RULESET_INTERFACE_NAME + 1];

	snprintf(text, sizeof(text), "%s%s", interface->name, interface->wildcard ? "+" : "");
	put_part(name, interface->given, interface->invert, text, to);
}

static void put_protocol(const struct match_protocol *protocol, FILE *to)
{
	const char *name = name_of(protocol_names, protocol->number);
	char text[16];

	if (name)
		snprintf(text, sizeof(text), "%s", name);
	else
		snprintf(text, sizeof(text), "%u", protocol->number);
	put_part("protocol", protocol->given, protocol->invert, text, to);
}

/* Of tcp, udp and sctp: the first match that asks. */
static const struct range16 *port_range(const struct rule *rule, bool source)
{
	for (size_t i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];
		const struct range16 *range = NULL;

		if (match->kind == MATCH_TCP)
			range = source ? &match->tcp.source : &match->tcp.destination;
		else if (match->kind == MATCH_UDP || match->kind == MATCH_SCTP)
			range = source ? &match->ports.source : &match->ports.destination;
		if (range && range->given)
			return range;
	}
	return NULL;
}

static const struct match_multiport *multiport(const struct rule *rule, bool source)
{
	const uint8_t other = source ? MULTIPORT_DESTINATION : MULTIPORT_SOURCE;

	for (size_t i = 0; i < rule->match_count; i++)
		if (rule->matches[i].kind == MATCH_MULTIPORT &&
		    rule->matches[i].multiport.of != other)
			return &rule->matches[i].multiport;
	return NULL;
}

static int print_range(char *text, size_t size, uint16_t low, uint16_t high)
{
	return low == high ? snprintf(text, size, "%u", low) :
			     snprintf(text, size, "%u:%u", low, high);
}

static void put_ports(const char *name, const struct rule *rule, bool source, FILE *to)
{
	const struct range16 *range = port_range(rule, source);
	const struct match_multiport *list = range ? NULL : multiport(rule, source);
	char text[RULESET_PORTS * 12] = "";
	size_t used = 0;

	if (range)
		print_range(text, sizeof(text), range->low, range->high);
	for (size_t i = 0; list && i < list->count; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", i ? "," : "");
		used += (size_t)print_range(text + used, sizeof(text) - used, list->ports[i].low,
					    list->ports[i].high);
	}
	put_part(name, range || list, range ? range->invert : list && list->invert, text, to);
}

static void put_matches(const struct rule *rule, FILE *to)
{
	fputs(",\"matches\":[", to);
	for (size_t i = 0; i < rule->match_count; i++) {
		fputs(i ? "," : "", to);
		json_string(to, match_name(rule->matches[i].kind));
	}
	putc(']', to);
}

static const char *comment(const struct rule *rule)
{
	for (size_t i = 0; i < rule->match_count; i++)
		if (rule->matches[i].kind == MATCH_COMMENT)
			return rule->matches[i].comment.text;
	return NULL;
}

/* The target, and the chain that a rule leads to. */
static void put_target(const struct ruleset *ruleset, const struct target *target, FILE *to)
{
	const bool leads_on = target->kind == TARGET_JUMP || target->kind == TARGET_GOTO;
	const char *name = target->kind == TARGET_JUMP ? "jump" :
			   target->kind == TARGET_GOTO ? "goto" :
							 target_name(target->kind);

	putc(',', to);
	json_member(to, "target", target->kind == TARGET_NONE ? NULL : name);
	putc(',', to);
	json_member(to, "chain", leads_on ? ruleset->chains[target->chain].name : NULL);
}

/* ---- Rules and chains -------------------------------------------------------------------- */

static void put_counters(uint64_t packets, uint64_t bytes, FILE *to)
{
	fprintf(to, ",\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64, packets, bytes);
}

static void put_rule(const struct ruleset *ruleset, const struct rule *rule, FILE *to)
{
	_cleanup_free_ char *text = listing_rule_text(ruleset, rule);

	fprintf(to, "{\"number\":%u", listing_rule_number(ruleset, rule));
	put_counters(rule->packets, rule->bytes, to);
	putc(',', to);
	json_member(to, "text", text);
	put_network("source", &rule->source, ruleset->family, to);
	put_network("destination", &rule->destination, ruleset->family, to);
	put_interface("in", &rule->in, to);
	put_interface("out", &rule->out, to);
	put_protocol(&rule->protocol, to);
	put_ports("sport", rule, true, to);
	put_ports("dport", rule, false, to);
	put_matches(rule, to);
	putc(',', to);
	json_member(to, "comment", comment(rule));
	put_target(ruleset, &rule->target, to);
	putc('}', to);
}

static void put_chain(const struct ruleset *ruleset, const struct chain *chain, FILE *to)
{
	const bool builtin = chain->policy != POLICY_NONE;

	fputs("\n   {", to);
	json_member(to, "name", chain->name);
	putc(',', to);
	json_member(to, "policy",
		    !builtin                     ? NULL :
		    chain->policy == POLICY_DROP ? "DROP" :
						   "ACCEPT");
	put_counters(chain->packets, chain->bytes, to);
	fputs(",\"rules\":[", to);
	for (uint32_t i = 0; i < chain->count; i++) {
		fputs(i ? ",\n     " : "\n     ", to);
		put_rule(ruleset, &ruleset->rules[chain->first + i], to);
	}
	fputs("]}", to);
}

void listing_put_ruleset(const struct ruleset *ruleset, FILE *to)
{
	fprintf(to, "{\"family\":\"%s\",\"chains\":[",
		ruleset->family == AF_INET6 ? "ipv6" : "ipv4");
	for (uint32_t i = 0; i < ruleset_filter_chains(ruleset); i++) {
		fputs(i ? "," : "", to);
		put_chain(ruleset, &ruleset->chains[i], to);
	}
	fputs("]}", to);
}

void listing_put_interfaces(const struct in_force_interface *interfaces, int count, FILE *to)
{
	putc('[', to);
	for (int i = 0; i < count; i++) {
		char name[IF_NAMESIZE];

		fprintf(to, "%s{\"ifindex\":%u,", i ? "," : "", interfaces[i].ifindex);
		json_member(to, "name", if_indextoname(interfaces[i].ifindex, name));
		fprintf(to, ",\"hook\":\"%s\"}", interfaces[i].xdp ? "xdp" : "tc");
	}
	putc(']', to);
}
