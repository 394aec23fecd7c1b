/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <linux/netfilter/xt_recent.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter/xt_time.h>
#include <linux/netfilter/xt_u32.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/addrtype.h"
#include "filter/hashlimit.h"
#include "filter/operations.h"
#include "filter/recent.h"
#include "filter/set.h"
#include "filter/state.h"
#include "filter/value.h"
#include "util.h"

/* Byte 13 of the TCP header */
#define TCP_ECE 0x40
#define TCP_CWR 0x80

#define LIMIT_SCALE_NS UINT64_C(100000) /* 1 / XT_LIMIT_SCALE of a second */

/* Operations of one rule at most: those of its matches, then the target. */
#define MATCH_OPERATIONS (2 * RULESET_U32 * RULESET_U32) /* u32 has most */
#define RULE_OPERATIONS (MATCH_OPERATIONS * RULESET_MATCHES_MAX + 8)

static void add_operation(struct image *image, struct filter_op op)
{
	image->operations[image->operation_count++] = op;
}

/* An operation that says no more than that the transport header is there. */
static void need_transport(struct image *image, const struct rule *rule)
{
	if (!rule_tells_ports(rule))
		add_operation(image, (struct filter_op){ .kind = FILTER_OP_TCP_FLAGS,
							 .flags = FILTER_OP_NEEDS_L4 });
}

static void compile_tcp(struct image *image, const struct rule *rule, const struct match_tcp *tcp)
{
	image->drops_bad_tcp = true;
	if (tcp->flags_given)
		add_operation(image, (struct filter_op){
					     .kind = FILTER_OP_TCP_FLAGS,
					     .flags = FILTER_OP_NEEDS_L4 |
						      (tcp->flags_invert ? FILTER_OP_NEGATED : 0),
					     .a = tcp->flags_mask,
					     .b = tcp->flags,
				     });
	else
		need_transport(image, rule);
	if (!tcp->option_given || !tcp->option)
		return;
	add_operation(image, (struct filter_op){
				     .kind = FILTER_OP_TCP_OPTION,
				     .flags = FILTER_OP_NEEDS_L4 | FILTER_OP_NEEDS_OPTIONS |
					      (tcp->option_invert ? FILTER_OP_NEGATED : 0),
				     .a = tcp->option,
			     });
}

/* Type 255 is any type in IPv4 (icmp_type_code_match()), and no more than itself in IPv6. */
static void compile_icmp(struct image *image, const struct match_icmp *icmp)
{
	if (icmp->type == 255 && image->family == AF_INET) {
		add_operation(image, (struct filter_op){
					     .kind = FILTER_OP_TCP_FLAGS,
					     .flags = FILTER_OP_NEEDS_L4 |
						      (icmp->invert ? FILTER_OP_NEGATED : 0) });
		return;
	}
	add_operation(image,
		      (struct filter_op){
			      .kind = FILTER_OP_ICMP,
			      .flags = FILTER_OP_NEEDS_L4 | (icmp->invert ? FILTER_OP_NEGATED : 0),
			      .a = icmp->type,
			      .b = icmp->code_low,
			      .c = icmp->code_high,
		      });
}

static void compile_ttl(struct image *image, const struct match_ttl *ttl)
{
	struct filter_op op = { .kind = FILTER_OP_TTL, .a = ttl->value, .b = ttl->value };

	if (ttl->mode == TTL_NOT_EQUAL)
		op.flags = FILTER_OP_NEGATED;
	if (ttl->mode == TTL_LESS || ttl->mode == TTL_GREATER) {
		/* ttl < value is not (value <= ttl); none is greater than 255 */
		op.b = 255;
		op.a = ttl->mode == TTL_LESS ? ttl->value : ttl->value + 1u;
		op.flags = ttl->mode == TTL_LESS ? FILTER_OP_NEGATED : 0;
	}
	add_operation(image, op);
}

static void compile_masked(struct image *image, enum filter_op_kind kind, uint32_t mask,
			   uint32_t value, bool invert)
{
	add_operation(image, (struct filter_op){ .kind = (uint8_t)kind,
						 .flags = invert ? FILTER_OP_NEGATED : 0,
						 .a = mask,
						 .b = value });
}

/*
 * One of the ports is in one of the ranges. Three ranges an operation: one that holds passes over
 * those behind it, and one that does not goes on to the next. Negated, all have to fail.
 */
static void compile_ports(struct image *image, const struct match_multiport *multiport)
{
	const uint8_t count = (uint8_t)((multiport->count + 2) / 3);

	for (uint8_t i = 0; i < count; i++) {
		struct filter_op op = { .kind = FILTER_OP_PORTS, .flags = FILTER_OP_NEEDS_L4 };
		uint32_t ranges[3];

		for (uint8_t j = 0; j < 3; j++) {
			const uint8_t port = (uint8_t)(3 * i + j);

			ranges[j] = port < multiport->count ?
					    (uint32_t)multiport->ports[port].low << 16 |
						    multiport->ports[port].high :
					    1u << 16; /* from 1 to 0: none */
		}
		op.a = ranges[0];
		op.b = ranges[1];
		op.c = ranges[2];
		if (multiport->invert)
			op.flags |= FILTER_OP_NEGATED;
		else
			op.skip = (uint8_t)(count - 1 - i);
		op.otherwise = !multiport->invert && i + 1 < count;
		add_operation(image, op);
	}
}

/* Are these perhaps all ports there are, so that a packet without any would be as good? */
static bool has_low_port(const struct match_multiport *multiport)
{
	for (uint8_t i = 0; i < multiport->count; i++)
		if (!multiport->ports[i].low)
			return true;
	return false;
}

/* xt_ecn: the bits of IP, and those of TCP, each by itself. */
static void compile_ecn(struct image *image, const struct match_ecn *ecn)
{
	const struct {
		bool given, invert;
		uint32_t bit;
	} flags[] = { { ecn->ece, ecn->ece_invert, TCP_ECE },
		      { ecn->cwr, ecn->cwr_invert, TCP_CWR } };

	if (ecn->ect_given)
		compile_masked(image, FILTER_OP_TOS, 3, ecn->ect, ecn->ect_invert);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (flags[i].given)
			add_operation(image, (struct filter_op){
						     .kind = FILTER_OP_TCP_FLAGS,
						     .flags = FILTER_OP_NEEDS_L4,
						     .a = flags[i].bit,
						     .b = flags[i].invert ? 0 : flags[i].bit });
}

static void compile_mac(struct image *image, const struct match_mac *mac)
{
	struct filter_op op = {
		.kind = FILTER_OP_MAC,
		.flags = FILTER_OP_NEEDS_MAC | (mac->invert ? FILTER_OP_NEGATED : 0),
	};
	uint16_t low;

	memcpy(&op.a, mac->address, sizeof(op.a));
	memcpy(&low, mac->address + sizeof(op.a), sizeof(low));
	op.b = low;
	add_operation(image, op);
}

static void compile_limit(struct image *image, const struct match_limit *limit)
{
	add_operation(image, (struct filter_op){ .kind = FILTER_OP_LIMIT,
						 .a = image->tally_count++,
						 .b = limit->cost,
						 .c = limit->burst });
}

static void compile_statistic(struct image *image, const struct match_statistic *statistic)
{
	struct filter_op op = { .flags = statistic->invert ? FILTER_OP_NEGATED : 0 };

	if (statistic->mode == XT_STATISTIC_MODE_RANDOM) {
		op.kind = FILTER_OP_RANDOM;
		op.a = statistic->probability;
	} else {
		op.kind = FILTER_OP_NTH;
		op.a = image->tally_count++;
		op.b = statistic->every;
		op.c = statistic->every - statistic->packet; /* where the count begins */
	}
	add_operation(image, op);
}

static int compile_hashlimit(struct image *image, const struct match_hashlimit *hashlimit)
{
	struct filter_op op = { .kind = FILTER_OP_HASHLIMIT };
	int err = hashlimit_table(image, hashlimit, &op.a);

	if (hashlimit->mode & XT_HASHLIMIT_INVERT)
		op.flags = FILTER_OP_NEGATED;
	if (hashlimit->mode & (XT_HASHLIMIT_HASH_SPT | XT_HASHLIMIT_HASH_DPT))
		op.flags |= FILTER_OP_NEEDS_PORTS;
	if (!err)
		add_operation(image, op);
	return err;
}

static void compile_time(struct image *image, const struct match_time *time)
{
	const bool local = time->flags & XT_TIME_LOCAL_TZ;

	if (time->date_start || time->date_stop != UINT32_MAX)
		add_operation(image, (struct filter_op){ .kind = FILTER_OP_DATE,
							 .a = time->date_start,
							 .b = time->date_stop,
							 .c = local });
	add_operation(image,
		      (struct filter_op){
			      .kind = FILTER_OP_TIME,
			      .a = time->day_start |
				   (uint32_t)time->week_days << FILTER_TIME_WEEK_DAYS |
				   (local ? FILTER_TIME_LOCAL : 0) |
				   (time->flags & XT_TIME_CONTIGUOUS ? FILTER_TIME_CONTIGUOUS : 0),
			      .b = time->day_stop,
			      .c = time->month_days,
		      });
}

/*
 * One test, with `rest` operations of others behind it. Negated, a test that does not hold is enough,
 * and all others are passed over; the last one's values must not hold.
 */
static void compile_u32_test(struct image *image, const struct u32_test *test, bool invert,
			     bool last, uint8_t rest)
{
	for (uint8_t i = 0; i < test->locations; i++) {
		const uint8_t to_end = (uint8_t)(test->locations - i + test->values + rest);

		const uint32_t does = i ? test->location[i].operation : FILTER_U32_LOAD;
		const bool is_word = does == FILTER_U32_LOAD || does == FILTER_U32_AT;

		add_operation(image, (struct filter_op){ .kind = is_word ? FILTER_OP_U32_WORD :
									   FILTER_OP_U32,
							 .otherwise = invert ? to_end : 0,
							 .a = test->location[i].number,
							 .c = does });
	}
	for (uint8_t i = 0; i < test->values; i++) {
		const uint8_t left = (uint8_t)(test->values - 1 - i);
		struct filter_op op = { .kind = FILTER_OP_U32_VALUE,
					.a = test->value[i].low,
					.b = test->value[i].high };

		if (invert && last) {
			op.flags = FILTER_OP_NEGATED;
		} else {
			op.skip = left;
			op.otherwise = (uint8_t)(invert ? rest + 1 : 0);
			if (left)
				op.otherwise = 1;
		}
		add_operation(image, op);
	}
}

static void compile_u32(struct image *image, const struct match_u32 *u32)
{
	for (uint8_t i = 0; i < u32->count; i++) {
		uint8_t rest = 0;

		for (uint8_t j = (uint8_t)(i + 1); j < u32->count; j++)
			rest = (uint8_t)(rest + u32->tests[j].locations + u32->tests[j].values);
		compile_u32_test(image, &u32->tests[i], u32->invert, i + 1 == u32->count, rest);
	}
}

static int compile_recent(struct image *image, const struct match_recent *recent)
{
	struct filter_op op = { .kind = FILTER_OP_RECENT,
				.b = recent->seconds,
				.c = recent_asks(recent) };
	int err = recent_table(image, recent, &op.a);

	if (!err)
		add_operation(image, op);
	return err;
}

static void compile_routing(struct image *image, const struct range32 *range, uint32_t what)
{
	if (range->given)
		add_operation(image,
			      (struct filter_op){ .kind = FILTER_OP_ROUTING,
						  .flags = range->invert ? FILTER_OP_NEGATED : 0,
						  .a = range->low,
						  .b = range->high,
						  .c = what });
}

/* ip6t_rt: without such a header nothing holds, not even what is negated. */
static void compile_rt(struct image *image, const struct match_rt *rt)
{
	const struct range32 any = { .high = UINT8_MAX, .given = true };

	compile_routing(image, &any, FILTER_ROUTING_SEGMENTS);
	compile_routing(image, &rt->type, FILTER_ROUTING_TYPE);
	compile_routing(image, &rt->segments, FILTER_ROUTING_SEGMENTS);
}

/* Each rule has lists of its own, as in the kernel. Returns 0 or -EOPNOTSUPP. */
static int compile_connlimit(struct image *image, const struct match_connlimit *connlimit)
{
	const int prefix = value_prefix(&connlimit->mask, image->family);

	if (connlimit->limit > FILTER_CONNLIMIT_MAX)
		return -EOPNOTSUPP;
	add_operation(image,
		      (struct filter_op){
			      .kind = FILTER_OP_CONNLIMIT,
			      .flags = FILTER_OP_NEEDS_TUPLE |
				       (connlimit->upto ? FILTER_OP_NEGATED : 0),
			      .a = connlimit->limit,
			      .b = image->connlimit_count++,
			      .c = (uint32_t)prefix |
				   (connlimit->destination ? FILTER_CONNLIMIT_DESTINATION : 0),
		      });
	if (image->connlimit_most < connlimit->limit)
		image->connlimit_most = connlimit->limit;
	image->is_tracked = true;
	return 0;
}

static uint32_t question_asks(const struct set_reference *reference)
{
	return (uint32_t)reference->dimensions << FILTER_SET_DIMENSIONS |
	       (reference->sources & (FILTER_SET_SOURCE(0) | FILTER_SET_SOURCE(1)));
}

/* A question that rules ask again has one number, so that its answer serves for all of them. */
static int number_question(struct image *image, const struct filter_question *wanted,
			   uint32_t *number)
{
	struct filter_question *questions;
	uint32_t room;

	for (*number = 0; *number < image->question_count; ++*number)
		if (image->questions[*number].set == wanted->set &&
		    image->questions[*number].asks == wanted->asks)
			return 0;
	if (image->question_count == image->question_room) {
		room = image->question_room ? image->question_room * 2 : 16;
		questions = reallocarray(image->questions, room, sizeof(*questions));
		if (!questions)
			return -ENOMEM;
		image->questions = questions;
		image->question_room = room;
	}
	image->questions[image->question_count++] = *wanted;
	return 0;
}

static int compile_set(struct image *image, const struct match_set *set)
{
	const struct filter_question question = { .set = set->set.number,
						  .asks = question_asks(&set->set) };
	uint32_t number;
	int err = number_question(image, &question, &number);

	if (!err)
		add_operation(image,
			      (struct filter_op){ .kind = FILTER_OP_SET,
						  .flags = set->invert ? FILTER_OP_NEGATED : 0,
						  .a = number });
	return err;
}

/* --timeout as set_target_v3() takes it. */
static void compile_change(struct image *image, const struct target_set *target,
			   const struct set_reference *set, bool del)
{
	struct filter_op op = { .kind = FILTER_OP_SET_CHANGE,
				.a = set->number,
				.b = question_asks(set),
				.c = UINT32_MAX };

	if (!set->name[0])
		return;
	if (del)
		op.b |= FILTER_SET_DELETE;
	else if (target->exist)
		op.b |= FILTER_SET_EXIST;
	if (!del && target->timeout_given)
		op.c = target->timeout < SET_TIMEOUT_MAX ? target->timeout : SET_TIMEOUT_MAX;
	add_operation(image, op);
}

/* Returns 0, -EOPNOTSUPP, or what hashlimit_table() and recent_table() do. */
static int compile_match(struct image *image, const struct rule *rule, const struct match *match)
{
	switch (match->kind) {
	case MATCH_TCP:
		compile_tcp(image, rule, &match->tcp);
		return 0;
	case MATCH_UDP:
	case MATCH_SCTP:
		image->drops_cut |= match->kind == MATCH_UDP ? FILTER_CUT_UDP : FILTER_CUT_SCTP;
		need_transport(image, rule);
		return 0;
	case MATCH_MULTIPORT:
		image->drops_cut |= FILTER_CUT_PORTS;
		if (match->multiport.of == MULTIPORT_EITHER)
			compile_ports(image, &match->multiport);
		else if (has_low_port(&match->multiport))
			need_transport(image, rule);
		return 0;
	case MATCH_ICMP:
	case MATCH_ICMPV6:
		image->drops_cut |= FILTER_CUT_ICMP;
		compile_icmp(image, &match->icmp);
		return 0;
	case MATCH_LENGTH:
		add_operation(image, (struct filter_op){
					     .kind = FILTER_OP_LENGTH,
					     .flags = match->range.invert ? FILTER_OP_NEGATED : 0,
					     .a = match->range.low,
					     .b = match->range.high });
		return 0;
	case MATCH_TTL:
	case MATCH_HL:
		compile_ttl(image, &match->ttl);
		return 0;
	case MATCH_TOS:
		compile_masked(image, FILTER_OP_TOS, match->tos.mask, match->tos.value,
			       match->tos.invert);
		return 0;
	case MATCH_DSCP:
		compile_masked(image, FILTER_OP_TOS, 0xfc, (uint32_t)match->dscp.value << 2,
			       match->dscp.invert);
		return 0;
	case MATCH_ECN:
		compile_ecn(image, &match->ecn);
		return 0;
	case MATCH_MARK:
		compile_masked(image, FILTER_OP_MARK, match->mark.mask, match->mark.value,
			       match->mark.invert);
		return 0;
	case MATCH_TCPMSS:
		image->drops_bad_tcp = true;
		add_operation(image, (struct filter_op){
					     .kind = FILTER_OP_MSS,
					     .flags = FILTER_OP_NEEDS_L4 | FILTER_OP_NEEDS_OPTIONS |
						      (match->range.invert ? FILTER_OP_NEGATED : 0),
					     .a = match->range.low,
					     .b = match->range.high });
		return 0;
	case MATCH_PKTTYPE:
		add_operation(image, (struct filter_op){
					     .kind = FILTER_OP_PACKET_TYPE,
					     .flags = match->pkttype.invert ? FILTER_OP_NEGATED : 0,
					     .a = match->pkttype.type });
		return 0;
	case MATCH_MAC:
		compile_mac(image, &match->mac);
		return 0;
	case MATCH_LIMIT:
		compile_limit(image, &match->limit);
		return 0;
	case MATCH_STATISTIC:
		compile_statistic(image, &match->statistic);
		return 0;
	case MATCH_HASHLIMIT:
		return compile_hashlimit(image, match->hashlimit);
	case MATCH_CONNLIMIT:
		return compile_connlimit(image, &match->connlimit);
	case MATCH_TIME:
		compile_time(image, &match->time);
		return 0;
	case MATCH_U32:
		compile_u32(image, match->u32);
		return 0;
	case MATCH_RECENT:
		return compile_recent(image, match->recent);
	case MATCH_RT:
		compile_rt(image, &match->rt);
		return 0;
	case MATCH_SET:
		return compile_set(image, &match->set);
	case MATCH_ADDRTYPE:
		return addrtype_is_supported(&match->addrtype, image->family) ? 0 : -EOPNOTSUPP;
	case MATCH_IPRANGE:
	case MATCH_COMMENT:
	case MATCH_STATE:
		return 0;
	case MATCH_CONNTRACK:
		return state_unsupported(match->conntrack) ? -EOPNOTSUPP : 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* Masks that are no prefixes. An IPv6 address is four words, each an operation of its own. */
static int compile_mask(struct image *image, const struct rule *rule,
			const struct match_address *address, enum filter_op_kind kind,
			const struct ruleset_report *report)
{
	const uint8_t family = image->family;

	if (!address->given || address_is_prefix(address, family))
		return 0;
	if (family == AF_INET6 && address->invert)
		return rule_refuse(report, rule, address->column, -EOPNOTSUPP,
				   "an inverted IPv6 mask that is no prefix is not supported");
	for (uint32_t word = 0; word < (family == AF_INET ? 1 : 4); word++)
		add_operation(image,
			      (struct filter_op){ .kind = (uint8_t)kind,
						  .flags = address->invert ? FILTER_OP_NEGATED : 0,
						  .a = address->mask.words[word],
						  .b = address->value.words[word],
						  .c = word });
	return 0;
}

/* As reject_tg() and reject_tg6() have them. */
static uint32_t reject_answer(uint8_t with)
{
	static const uint32_t answers[REJECT_WITHS] = {
		[REJECT_ICMP_NET_UNREACHABLE] = ICMP_DEST_UNREACH << 8 | ICMP_NET_UNREACH,
		[REJECT_ICMP_HOST_UNREACHABLE] = ICMP_DEST_UNREACH << 8 | ICMP_HOST_UNREACH,
		[REJECT_ICMP_PROTO_UNREACHABLE] = ICMP_DEST_UNREACH << 8 | ICMP_PROT_UNREACH,
		[REJECT_ICMP_PORT_UNREACHABLE] = ICMP_DEST_UNREACH << 8 | ICMP_PORT_UNREACH,
		[REJECT_ICMP_NET_PROHIBITED] = ICMP_DEST_UNREACH << 8 | ICMP_NET_ANO,
		[REJECT_ICMP_HOST_PROHIBITED] = ICMP_DEST_UNREACH << 8 | ICMP_HOST_ANO,
		[REJECT_ICMP_ADMIN_PROHIBITED] = ICMP_DEST_UNREACH << 8 | ICMP_PKT_FILTERED,
		[REJECT_ICMP6_NO_ROUTE] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_NOROUTE,
		[REJECT_ICMP6_ADM_PROHIBITED] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_ADM_PROHIBITED,
		[REJECT_ICMP6_ADDR_UNREACHABLE] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_ADDR_UNREACH,
		[REJECT_ICMP6_PORT_UNREACHABLE] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_PORT_UNREACH,
		[REJECT_ICMP6_POLICY_FAIL] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_POLICY_FAIL,
		[REJECT_ICMP6_REJECT_ROUTE] = ICMPV6_DEST_UNREACH << 8 | ICMPV6_REJECT_ROUTE,
		[REJECT_TCP_RESET] = FILTER_REJECT_RESET,
	};

	return answers[with];
}

/* What a rule of the table nat does to destinations; the operation's number for it in *number. */
static int add_translation(struct image *image, const struct target *target, uint32_t *number)
{
	const uint32_t count = image->translation_count ? image->translation_count : 1;
	struct filter_translation *translations =
		reallocarray(image->translations, count + 1, sizeof(*translations));
	struct filter_translation translation = { .port = target->nat->port,
						  .redirects = target->kind == TARGET_REDIRECT };

	if (!translations)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(translation.keep); i++) {
		translation.keep[i] = ~target->nat->mask.words[i];
		translation.address[i] = target->nat->address.words[i];
	}
	memset(&translations[FILTER_NO_TRANSLATION], 0, sizeof(*translations));
	translations[count] = translation;
	image->translations = translations;
	image->translation_count = count + 1;
	*number = count;
	return 0;
}

static int compile_target(struct image *image, const struct rule *rule,
			  const struct ruleset_report *report)
{
	static const uint8_t kinds[TARGET_KINDS] = {
		[TARGET_NONE] = FILTER_OP_CONTINUE, [TARGET_ACCEPT] = FILTER_OP_ACCEPT,
		[TARGET_DROP] = FILTER_OP_DROP,     [TARGET_RETURN] = FILTER_OP_RETURN,
		[TARGET_JUMP] = FILTER_OP_JUMP,     [TARGET_GOTO] = FILTER_OP_GOTO,
		[TARGET_LOG] = FILTER_OP_LOG,       [TARGET_NFLOG] = FILTER_OP_LOG,
		[TARGET_MARK] = FILTER_OP_SET_MARK, [TARGET_SET] = FILTER_OP_CONTINUE,
		[TARGET_REJECT] = FILTER_OP_REJECT, [TARGET_DNAT] = FILTER_OP_DNAT,
		[TARGET_REDIRECT] = FILTER_OP_DNAT, [TARGET_NETMAP] = FILTER_OP_DNAT,
	};
	struct filter_op op = { 0 };
	int err = 0;

	if (rule->target.kind > TARGET_GOTO && rule->target.kind != TARGET_UNKNOWN &&
	    !kinds[rule->target.kind])
		return rule_refuse(report, rule, rule->target.column, -EOPNOTSUPP,
				   "target '%s' is not supported", target_name(rule->target.kind));
	if (rule->target.kind == TARGET_SET) {
		compile_change(image, rule->target.set, &rule->target.set->add, false);
		compile_change(image, rule->target.set, &rule->target.set->del, true);
	}
	op.kind = kinds[rule->target.kind];
	if (rule->target.kind == TARGET_JUMP || rule->target.kind == TARGET_GOTO)
		op.a = rule->target.chain;
	if (op.kind == FILTER_OP_DNAT)
		err = add_translation(image, &rule->target, &op.a);
	if (rule->target.kind == TARGET_REJECT)
		op.a = reject_answer(rule->target.reject);
	if (rule->target.kind == TARGET_MARK) {
		op.a = rule->target.mark.value;
		op.b = rule->target.mark.mask;
		image->mark_line = rule->line;
	}
	add_operation(image, op);
	return err;
}

static int refuse_match(const struct ruleset_report *report, const struct rule *rule,
			const struct match *match, int err)
{
	if (match->kind == MATCH_CONNTRACK)
		return rule_refuse(report, rule, match->column, err,
				   "match 'conntrack' is not supported with %s",
				   state_unsupported(match->conntrack));
	if (match->kind == MATCH_CONNLIMIT)
		return rule_refuse(report, rule, match->column, err,
				   "match 'connlimit' is not supported with a limit above %d",
				   FILTER_CONNLIMIT_MAX);
	return rule_refuse(report, rule, match->column, err,
			   "match '%s' is not supported in this form", match_name(match->kind));
}

/*
 * Those that do something, and so only for packets that the matches in front have let through: they
 * take a token, remember a connection, or drop a packet whose options are cut short (xt_tcpudp.c,
 * xt_tcpmss.c).
 */
static bool has_effect(const struct match *match)
{
	switch (match->kind) {
	case MATCH_TCP:
		return match->tcp.option;
	case MATCH_STATISTIC:
		return match->statistic.mode == XT_STATISTIC_MODE_NTH;
	case MATCH_RECENT:
		return match->recent->checks != XT_RECENT_CHECK;
	case MATCH_TCPMSS:
	case MATCH_LIMIT:
	case MATCH_HASHLIMIT:
	case MATCH_CONNLIMIT:
		return true;
	default:
		return false;
	}
}

/* Those that the fields of a packet decide, before any operation. */
static bool is_field(const struct match *match)
{
	switch (match->kind) {
	case MATCH_MULTIPORT:
		return match->multiport.of != MULTIPORT_EITHER;
	case MATCH_TCP:
	case MATCH_UDP:
	case MATCH_SCTP:
	case MATCH_ADDRTYPE:
	case MATCH_IPRANGE:
	case MATCH_CONNTRACK:
	case MATCH_STATE:
		return true;
	default:
		return false;
	}
}

/* What the fields decide comes first here; in the kernel it is what stands first. */
static int check_order(const struct ruleset_report *report, const struct rule *rule)
{
	const struct match *effect = NULL;

	for (size_t i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];

		if (effect && is_field(match))
			return rule_refuse(report, rule, match->column, -EOPNOTSUPP,
					   "match '%s' is not supported behind '%s': put it first",
					   match_name(match->kind), match_name(effect->kind));
		if (has_effect(match))
			effect = match;
	}
	return 0;
}

static int compile_rule(struct image *image, const struct rule *rule,
			const struct ruleset_report *report)
{
	int err = check_order(report, rule);

	err = err ? err : compile_mask(image, rule, &rule->source, FILTER_OP_SOURCE_MASK, report);

	if (!err)
		err = compile_mask(image, rule, &rule->destination, FILTER_OP_DESTINATION_MASK,
				   report);
	if (!err && rule->fragment.given)
		add_operation(image, (struct filter_op){ .kind = FILTER_OP_FRAGMENT,
							 .flags = rule->fragment.invert ?
									  FILTER_OP_NEGATED :
									  0 });
	for (size_t i = 0; i < rule->match_count && !err; i++) {
		const struct match *match = &rule->matches[i];

		err = compile_match(image, rule, match);
		if (err == -EEXIST && match->kind == MATCH_RECENT)
			return rule_refuse(report, rule, match->column, -EOPNOTSUPP,
					   "recent '%s' has another mask in a rule before",
					   match->recent->name);
		if (err == -EEXIST)
			return rule_refuse(report, rule, match->column, -EOPNOTSUPP,
					   "hashlimit '%s' has other values in a rule before",
					   match->hashlimit->name);
		if (err == -EOPNOTSUPP)
			return refuse_match(report, rule, match, err);
	}
	return err ? err : compile_target(image, rule, report);
}

static int make_room(struct image *image)
{
	const uint32_t room = image->operation_room * 2 + RULE_OPERATIONS;
	struct filter_op *operations;

	if (image->operation_count + RULE_OPERATIONS <= image->operation_room)
		return 0;
	operations = reallocarray(image->operations, room, sizeof(*operations));
	if (!operations)
		return -ENOMEM;
	image->operations = operations;
	image->operation_room = room;
	return 0;
}

int operations_add(struct image *image, const struct rule *rule,
		   const struct ruleset_report *report)
{
	int err = make_room(image);

	return err ? err : compile_rule(image, rule, report);
}

struct filter_tally operations_tally(const struct filter_op *op)
{
	struct filter_tally tally = { .count = op->c };

	if (op->kind == FILTER_OP_LIMIT)
		tally = (struct filter_tally){ .credit = op->b * LIMIT_SCALE_NS * op->c };
	return tally;
}

/* ---- Sharing --------------------------------------------------------------------------- */

int operation_lists_init(struct operation_lists *lists, uint32_t rule_count)
{
	lists->slot_count = 64;
	while (lists->slot_count < 2 * rule_count)
		lists->slot_count *= 2;
	lists->slots = calloc(lists->slot_count, sizeof(*lists->slots));
	return lists->slots ? 0 : -ENOMEM;
}

void operation_lists_free(struct operation_lists *lists)
{
	free(lists->slots);
}

static uint32_t hash_list(const struct image *image, uint32_t first)
{
	const unsigned char *bytes = (const unsigned char *)&image->operations[first];
	const size_t size = (image->operation_count - first) * sizeof(*image->operations);
	uint32_t hash = 2166136261;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * 16777619;
	return hash;
}

/* A list ends with its target, and has but one: none is the beginning of another. */
static bool is_list(const struct image *image, uint32_t at, uint32_t first)
{
	const uint32_t count = image->operation_count - first;

	return at + count <= first && !memcmp(&image->operations[at], &image->operations[first],
					      count * sizeof(*image->operations));
}

uint32_t operation_lists_share(struct operation_lists *lists, struct image *image, uint32_t first)
{
	uint32_t at = hash_list(image, first) & (lists->slot_count - 1);

	while (lists->slots[at] && !is_list(image, lists->slots[at] - 1, first))
		at = (at + 1) & (lists->slot_count - 1);
	if (!lists->slots[at]) {
		lists->slots[at] = first + 1;
		return first;
	}
	image->operation_count = first;
	return lists->slots[at] - 1;
}

uint64_t operations_used(const struct image *image)
{
	uint64_t used = 0;

	for (uint32_t i = 0; i < image->operation_count; i++)
		used |= UINT64_C(1) << image->operations[i].kind;
	return used;
}
