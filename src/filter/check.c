/* SPDX-License-Identifier: GPL-2.0-only */
/* What iptables and the kernel refuse although each word is right; see parser.h. */
#include <errno.h>
#include <linux/in.h>
#include <linux/netfilter/xt_addrtype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/parser.h"
#include "util.h"

#define HOOK(chain) (1u << (chain))

static const struct slice no_token;

static int fail_rule(struct parser *parser, const struct rule *rule, uint16_t column,
		     const char *name, const char *reason)
{
	parser->line = rule->line;
	return parser_fail(parser, column, (struct slice){ name, strlen(name) }, -EINVAL, "%s",
			   reason);
}

/* ---- Where rules lead to ---------------------------------------------------- */

static bool leads_on(const struct rule *rule)
{
	return rule->target.kind == TARGET_JUMP || rule->target.kind == TARGET_GOTO;
}

/*
 * A rule of a loop. waiting[] says which chains are on a loop or behind one: going back from
 * such a chain, rule by rule, ends on a loop. came[] is for the rules gone by.
 */
static const struct rule *find_loop(const struct ruleset *ruleset, const uint32_t *waiting,
				    uint32_t *came)
{
	uint32_t i, chain = 0;

	for (i = 0; i < ruleset->rule_count; i++) {
		const struct rule *rule = &ruleset->rules[i];

		if (leads_on(rule) && waiting[rule->chain]) {
			came[rule->target.chain] = i;
			chain = rule->target.chain;
		}
	}
	for (i = 0; i < ruleset->chain_count; i++)
		chain = ruleset->rules[came[chain]].chain;
	return &ruleset->rules[came[chain]];
}

/*
 * Order the chains so that rules lead to later ones only (Kahn's algorithm). waiting[] holds for
 * each chain how many rules lead to it from chains that have no place yet. Returns how many
 * chains got a place: all, if there is no loop.
 */
static uint32_t order_chains(const struct ruleset *ruleset, uint32_t *order, uint32_t *waiting)
{
	uint32_t placed = 0, done, i;

	for (i = 0; i < ruleset->rule_count; i++) {
		if (leads_on(&ruleset->rules[i]))
			waiting[ruleset->rules[i].target.chain]++;
	}
	for (i = 0; i < ruleset->chain_count; i++) {
		if (!waiting[i])
			order[placed++] = i;
	}
	for (done = 0; done < placed; done++) {
		const struct chain *chain = &ruleset->chains[order[done]];
		const struct rule *rule = ruleset->rules + chain->first;

		for (i = 0; i < chain->count; i++, rule++) {
			if (leads_on(rule) && !--waiting[rule->target.chain])
				order[placed++] = rule->target.chain;
		}
	}
	return placed;
}

/* Hooks come from the chains before, the depth from those behind. */
static void follow_chains(struct ruleset *ruleset, uint32_t builtin, const uint32_t *order)
{
	struct chain *chains = ruleset->chains;
	uint32_t i, j;

	for (i = 0; i < builtin; i++)
		chains[i].hooks = (uint8_t)HOOK(i);
	for (i = 0; i < ruleset->chain_count; i++) {
		const struct chain *chain = &chains[order[i]];

		for (j = chain->first; j < chain->first + chain->count; j++) {
			if (leads_on(&ruleset->rules[j]))
				chains[ruleset->rules[j].target.chain].hooks |= chain->hooks;
		}
	}
	for (i = ruleset->chain_count; i-- > 0;) {
		struct chain *chain = &chains[order[i]];

		for (j = chain->first; j < chain->first + chain->count; j++) {
			const struct target *target = &ruleset->rules[j].target;
			uint32_t depth;

			if (!leads_on(&ruleset->rules[j]))
				continue;
			depth = chains[target->chain].depth + (target->kind == TARGET_JUMP);
			if (depth > chain->depth)
				chain->depth = depth;
		}
	}
}

static int check_graph(struct parser *parser)
{
	struct ruleset *ruleset = parser->ruleset;
	_cleanup_free_ uint32_t *order = calloc(ruleset->chain_count, sizeof(*order));
	_cleanup_free_ uint32_t *waiting = calloc(ruleset->chain_count, sizeof(*waiting));
	const struct rule *rule;

	if (!order || !waiting)
		return parser_fail(parser, 0, no_token, -ENOMEM, "%s", reason_memory);
	if (order_chains(ruleset, order, waiting) == ruleset->chain_count) {
		follow_chains(ruleset, parser->builtin, order);
		return 0;
	}
	rule = find_loop(ruleset, waiting, order);
	return fail_rule(parser, rule, rule->target.column,
			 ruleset->chains[rule->target.chain].name,
			 "chains lead back to themselves");
}

/* ---- Rules ------------------------------------------------------------------ */

static bool has_protocol(const struct rule *rule, uint8_t protocol)
{
	return rule->protocol.given && !rule->protocol.invert && rule->protocol.number == protocol;
}

static bool has_ports(const struct rule *rule)
{
	return has_protocol(rule, IPPROTO_TCP) || has_protocol(rule, IPPROTO_UDP) ||
	       has_protocol(rule, IPPROTO_UDPLITE) || has_protocol(rule, IPPROTO_SCTP) ||
	       has_protocol(rule, IPPROTO_DCCP);
}

/* addrtype_mt_checkentry_v1() */
static const char *check_addrtype(const struct match_addrtype *addrtype, uint8_t family,
				  uint8_t hooks)
{
	unsigned int types = addrtype->source | addrtype->destination;

	if (addrtype->limit_out && hooks & HOOK(CHAIN_INPUT))
		return "--limit-iface-out is not possible in INPUT";
	if (addrtype->limit_in && hooks & HOOK(CHAIN_OUTPUT))
		return "--limit-iface-in is not possible in OUTPUT";
	if (family == AF_INET6 && (types & (XT_ADDRTYPE_BLACKHOLE | XT_ADDRTYPE_BROADCAST) ||
				   types >= XT_ADDRTYPE_PROHIBIT))
		return "IPv6 has no BROADCAST, BLACKHOLE, PROHIBIT, THROW, NAT and XRESOLVE";
	return NULL;
}

static const char *check_match(const struct ruleset *ruleset, const struct rule *rule,
			       const struct match *match)
{
	uint8_t protocol = module_of_match(match->kind)->protocol;
	uint8_t hooks = ruleset->chains[rule->chain].hooks;

	if (protocol && !has_protocol(rule, protocol))
		return "needs -p of the same protocol (-p tcp for tcpmss), without a !";
	switch (match->kind) {
	case MATCH_MULTIPORT:
		return has_ports(rule) ? NULL : "needs -p tcp, udp, udplite, sctp or dccp";
	case MATCH_ECN:
		return !(match->ecn.ece || match->ecn.cwr) || has_protocol(rule, IPPROTO_TCP) ?
			       NULL :
			       "bits of TCP need -p tcp";
	case MATCH_MAC:
		return hooks & HOOK(CHAIN_OUTPUT) ? "there is no source address in OUTPUT" : NULL;
	case MATCH_ADDRTYPE:
		return check_addrtype(&match->addrtype, ruleset->family, hooks);
	default:
		return NULL;
	}
}

static int check_rule(struct parser *parser, const struct rule *rule)
{
	const struct ruleset *ruleset = parser->ruleset;
	unsigned int i;

	if (rule->chain == CHAIN_INPUT && rule->out.given)
		return fail_rule(parser, rule, rule->out.column, rule->out.name,
				 "-o is not possible in INPUT");
	if (rule->chain == CHAIN_OUTPUT && rule->in.given)
		return fail_rule(parser, rule, rule->in.column, rule->in.name,
				 "-i is not possible in OUTPUT");
	for (i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];
		const char *reason = check_match(ruleset, rule, match);

		if (reason)
			return fail_rule(parser, rule, match->column, match_name(match->kind),
					 reason);
	}
	if (rule->target.kind == TARGET_REJECT && rule->target.reject == REJECT_TCP_RESET &&
	    !has_protocol(rule, IPPROTO_TCP))
		return fail_rule(parser, rule, rule->target.column, target_name(TARGET_REJECT),
				 "tcp-reset needs -p tcp, without a !");
	return 0;
}

/* nat's built-in chains are in an order in which what is said of the filter's holds for them. */
static int check_nat_rule(struct parser *parser, struct rule *rule)
{
	char reason[PARSER_MESSAGE] = "";
	int error;

	parser->reason = reason;
	error = rule->target.kind == TARGET_UNKNOWN ? 0 : check_rule(parser, rule);
	if (error)
		error = parser_doubt(parser, rule);
	parser->reason = NULL;
	return error;
}

int parser_check(struct parser *parser)
{
	uint32_t i;
	int error = check_graph(parser);

	for (i = 0; i < parser->ruleset->rule_count && !error; i++)
		error = parser->nat ? check_nat_rule(parser, &parser->ruleset->rules[i]) :
				      check_rule(parser, &parser->ruleset->rules[i]);
	return error;
}
