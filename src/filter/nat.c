/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table nat: what it does to the destinations of packets that come in. The kernel does that
 * when a packet gets there; the filter, which meets the packet before, has to know what will come
 * of it. So a rule whose outcome only the kernel can tell stops all packets that it may match, and
 * these are judged by the address that they came to.
 */
#include <errno.h>
#include <linux/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/addrtype.h"
#include "filter/parser.h"
#include "filter/state.h"
#include "filter/value.h"
#include "util.h"

/* ---- Whose outcome can be told ---------------------------------------------------------- */

/*
 * Limits and chance are the kernel's to count and to draw, sets are those of its ipset, and marks
 * are not there yet. TCP options may be cut short, and then the packet is dropped.
 */
static bool can_tell(const struct match *match, uint8_t family)
{
	switch (match->kind) {
	case MATCH_TCP:
		return !match->tcp.option_given;
	case MATCH_UDP:
	case MATCH_SCTP:
	case MATCH_ICMP:
	case MATCH_ICMPV6:
	case MATCH_MULTIPORT:
	case MATCH_IPRANGE:
	case MATCH_DSCP:
	case MATCH_TOS:
	case MATCH_ECN:
	case MATCH_TTL:
	case MATCH_HL:
	case MATCH_LENGTH:
	case MATCH_PKTTYPE:
	case MATCH_MAC:
	case MATCH_COMMENT:
	case MATCH_TIME:
	case MATCH_STATE:
		return true;
	case MATCH_ADDRTYPE:
		return addrtype_is_supported(&match->addrtype, family);
	case MATCH_CONNTRACK:
		return !state_unsupported(match->conntrack);
	default:
		return false;
	}
}

static bool has_ports(const struct rule *rule)
{
	switch (rule->protocol.given && !rule->protocol.invert ? rule->protocol.number : 0) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return true;
	default:
		return false;
	}
}

/* Returns NULL, or why what the target does cannot be told. */
static const char *target_problem(const struct rule *rule)
{
	switch (rule->target.kind) {
	case TARGET_DROP:
	case TARGET_REJECT:
		return "no target of the table nat";
	case TARGET_DNAT:
	case TARGET_REDIRECT:
		return rule->target.nat->port && !has_ports(rule) ?
			       "a port needs -p tcp, udp, udplite, sctp or dccp" :
			       NULL;
	default:
		return NULL;
	}
}

/* Masks of IPv6 that are no prefixes are four operations, of which one negated is none. */
static bool can_tell_address(struct match_address *address, uint8_t family)
{
	if (!address->given || family == AF_INET || !address->invert ||
	    value_prefix(&address->mask, family) >= 0)
		return true;
	*address = (struct match_address){ 0 };
	return false;
}

static void note_problem(const struct parser *nat, uint16_t column, const char *name,
			 const char *problem)
{
	parser_fail(nat, column, (struct slice){ name, strlen(name) }, -EOPNOTSUPP, "%s", problem);
}

/* Leave out what cannot be told. Returns whether that was anything, and why in nat->reason. */
static bool leave_out(struct parser *nat, struct rule *rule)
{
	const uint8_t family = nat->ruleset->family, count = rule->match_count;
	const char *problem = target_problem(rule);
	bool left_out = problem;

	if (problem)
		note_problem(nat, rule->target.column, target_name(rule->target.kind), problem);
	if (!can_tell_address(&rule->source, family) ||
	    !can_tell_address(&rule->destination, family)) {
		left_out = true;
		note_problem(nat, rule->column, "!",
			     "an inverted IPv6 mask that is no prefix is not supported");
	}
	rule->match_count = 0;
	for (uint8_t i = 0; i < count; i++) {
		if (can_tell(&rule->matches[i], family)) {
			rule->matches[rule->match_count++] = rule->matches[i];
			continue;
		}
		left_out = true;
		note_problem(nat, rule->matches[i].column, match_name(rule->matches[i].kind),
			     "what this match will say only the kernel can tell");
	}
	return left_out;
}

/* Does the rule do anything to a packet's way through the table? */
static bool only_goes_on(const struct rule *rule)
{
	switch (rule->target.kind) {
	case TARGET_NONE:
	case TARGET_LOG:
	case TARGET_NFLOG:
	case TARGET_SET:
	case TARGET_MARK:
		return true;
	default:
		return false;
	}
}

static int settle_rule(struct parser *nat, struct rule *rule)
{
	char reason[PARSER_MESSAGE] = "";
	int err = 0;

	if (only_goes_on(rule)) /* the kernel does that, when the packet gets there */
		rule->target = (struct target){ .kind = TARGET_NONE };
	nat->reason = reason;
	nat->line = rule->line;
	/* Of several reasons the first is kept. */
	if (leave_out(nat, rule) && rule->target.kind != TARGET_NONE &&
	    rule->target.kind != TARGET_UNKNOWN)
		err = parser_doubt(nat, rule);
	nat->reason = NULL;
	return err;
}

static bool translates(const struct rule *rule)
{
	switch (rule->target.kind) {
	case TARGET_DNAT:
	case TARGET_REDIRECT:
	case TARGET_NETMAP:
	case TARGET_UNKNOWN:
		return true;
	default:
		return false;
	}
}

int nat_settle(struct parser *nat)
{
	struct ruleset *ruleset = nat->ruleset;
	int err = 0;

	for (uint32_t i = 0; i < ruleset->rule_count && !err; i++) {
		err = settle_rule(nat, &ruleset->rules[i]);
		ruleset->translates |= translates(&ruleset->rules[i]);
	}
	nat->line = 0;
	return err;
}

/* ---- Behind the filter's rules ----------------------------------------------------------- */

/* Does a packet that comes in get there? */
static bool is_reached(const struct chain *chain)
{
	return chain->hooks & 1u << NAT_PREROUTING;
}

/* Is there anything to tell, or to warn of? */
static bool is_needed(const struct ruleset *nat)
{
	for (uint32_t i = 0; i < nat->rule_count; i++)
		if (is_reached(&nat->chains[nat->rules[i].chain]) && translates(&nat->rules[i]))
			return true;
	return false;
}

static int make_room(struct ruleset *ruleset, const struct ruleset *nat)
{
	const size_t chain_room = (size_t)ruleset->chain_count + nat->chain_count;
	const size_t rule_room = (size_t)ruleset->rule_count + nat->rule_count + 1;
	struct chain *chains = reallocarray(ruleset->chains, chain_room, sizeof(*chains));
	struct rule *rules;

	if (!chains)
		return -ENOMEM;
	ruleset->chains = chains;
	rules = reallocarray(ruleset->rules, rule_room, sizeof(*rules));
	if (!rules)
		return -ENOMEM;
	ruleset->rules = rules;
	return 0;
}

static void append_chains(struct ruleset *ruleset, const struct ruleset *nat, uint32_t *numbers)
{
	for (uint32_t i = 0; i < nat->chain_count; i++) {
		if (!is_reached(&nat->chains[i]))
			continue;
		numbers[i] = ruleset->chain_count;
		ruleset->chains[ruleset->chain_count] = nat->chains[i];
		ruleset->chains[ruleset->chain_count].first = ruleset->rule_count;
		ruleset->chain_count++;
		for (uint32_t j = 0; j < nat->chains[i].count; j++)
			ruleset->rules[ruleset->rule_count++] =
				nat->rules[nat->chains[i].first + j];
	}
}

/* What the rules point to goes with them. */
static void take_memory(struct ruleset *ruleset, struct ruleset *nat)
{
	ruleset->nat_text = nat->nat_text;
	ruleset->nat_size = nat->nat_size;
	ruleset->nat_line = nat->nat_line;
	ruleset_take_memory(ruleset, nat);
}

int nat_append(struct ruleset *ruleset, struct ruleset *nat)
{
	_cleanup_free_ uint32_t *numbers = calloc(nat->chain_count, sizeof(*numbers));
	const uint32_t first_chain = ruleset->chain_count, first_rule = ruleset->rule_count;

	ruleset->translates = nat->translates;
	if (!nat->translates)
		return 0;
	if (!numbers)
		return -ENOMEM;
	take_memory(ruleset, nat);
	if (!is_needed(nat))
		return 0;
	if (make_room(ruleset, nat))
		return -ENOMEM;
	ruleset->nat_chain = first_chain;
	append_chains(ruleset, nat, numbers);
	for (uint32_t i = first_rule; i < ruleset->rule_count; i++) {
		struct rule *rule = &ruleset->rules[i];

		rule->chain = numbers[rule->chain];
		if (rule->target.kind == TARGET_JUMP || rule->target.kind == TARGET_GOTO)
			rule->target.chain = numbers[rule->target.chain];
	}
	return 0;
}
