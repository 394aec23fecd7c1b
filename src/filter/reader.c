/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The values of options, read into records of matches and targets. What a text means is what
 * iptables 1.8 makes of it; where that is an accident (a truncated number, an empty range), the
 * text is refused.
 */
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <linux/netfilter/xt_recent.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter/xt_time.h>
#include <linux/netfilter/xt_u32.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/option.h"
#include "filter/value.h"
#include "util.h"

#define LIMIT_SCALE 10000
#define LIMIT_COST_DEFAULT (LIMIT_SCALE * 3600 / 3)
#define LIMIT_BURST_DEFAULT 5
#define BURST_MAX 1000000
#define COMMENT_MAX 255

/* Seconds after which a hashlimit in bytes forgets, without and with a burst */
#define BYTES_EXPIRE 15
#define BYTES_BURST_EXPIRE 60

/* What a burst of bytes can be written as */
#define BYTES_BURST_MAX ((uint64_t)UINT32_MAX << 20)

const char reason_memory[] = "memory is short";

static const char not_number[] = "not a number, or out of range";
static const char not_rate[] = "not a rate: NUMBER, or NUMBER/second, /minute, /hour or /day";

static const char *read_u32(const struct reading *reading, uint32_t max, uint32_t *field)
{
	uint64_t number;

	if (!value_number(reading->value, max, &number))
		return not_number;
	*field = (uint32_t)number;
	return NULL;
}

static const char *read_u16(const struct reading *reading, uint16_t *field)
{
	uint32_t number;
	const char *reason = read_u32(reading, UINT16_MAX, &number);

	if (!reason)
		*field = (uint16_t)number;
	return reason;
}

/* Names of a list, separated by commas, as a set of their values */
static const char *read_names(struct reading *reading, const struct name *list, bool cut_short,
			      uint16_t *set)
{
	struct slice rest = reading->value;

	*set = 0;
	while (slice_next(&rest, ',', &reading->blame)) {
		const struct name *name = name_find(list, reading->blame, cut_short);

		if (!name)
			return "";
		*set |= name->value;
	}
	return NULL;
}

static char *keep_text(struct ruleset *ruleset, struct slice text, size_t max)
{
	size_t length = text.length < max ? text.length : max;
	char *copy = ruleset_alloc(ruleset, length + 1);

	if (copy)
		memcpy(copy, text.at, length);
	return copy;
}

/* ---- Ports, protocols' headers ---------------------------------------------- */

static const char *read_ports(const struct reading *reading, struct range16 *range)
{
	if (!value_port_range(reading->value, &range->low, &range->high))
		return "not a port or a range of ports (LOW:HIGH)";
	/* tcp and udp do not keep that all ports were given; sctp does */
	range->given = range->low > 0 || range->high < UINT16_MAX || reading->invert ||
		       reading->module->kind == MATCH_SCTP;
	range->invert = reading->invert;
	return NULL;
}

static const char *read_tcp_flags(struct reading *reading, struct match_tcp *tcp)
{
	static const char reason[] = "no flag of TCP; there are FIN SYN RST PSH ACK URG ALL NONE";
	uint16_t mask, flags;

	if (read_names(reading, tcp_flag_names, false, &mask))
		return reason;
	reading->value = reading->second;
	if (read_names(reading, tcp_flag_names, false, &flags))
		return reason;
	tcp->flags_mask = (uint8_t)mask;
	tcp->flags = (uint8_t)flags;
	tcp->flags_given = mask || flags || reading->invert;
	tcp->flags_invert = reading->invert;
	return NULL;
}

static const char *read_syn(const struct reading *reading, struct match_tcp *tcp)
{
	tcp->flags_mask = 0x17; /* FIN,SYN,RST,ACK */
	tcp->flags = 0x02;
	tcp->flags_given = true;
	tcp->flags_invert = reading->invert;
	return NULL;
}

static const char *read_tcp_option(const struct reading *reading, struct match_tcp *tcp)
{
	uint64_t number;

	if (!value_number(reading->value, UINT8_MAX, &number) || !number)
		return "not the kind of an option of TCP (1 to 255)";
	tcp->option = (uint8_t)number;
	tcp->option_given = true;
	tcp->option_invert = reading->invert;
	return NULL;
}

static const char *icmp_by_name(const struct reading *reading, struct match_icmp *icmp)
{
	const struct icmp_name *list = reading->option->argument ? icmpv6_names : icmp_names;
	const struct icmp_name *found = NULL;

	for (; *list->name; list++) {
		if (!name_begins(list->name, reading->value))
			continue;
		if (found)
			return "could be several types of ICMP: not enough of the name";
		found = list;
	}
	if (!found)
		return "no type of ICMP: a name, TYPE, TYPE/CODE or TYPE/CODE:CODE";
	icmp->type = found->type;
	icmp->code_low = found->code_low;
	icmp->code_high = found->code_high;
	return NULL;
}

static const char *read_icmp(const struct reading *reading, struct match_icmp *icmp)
{
	struct slice rest = reading->value, type;
	uint32_t low = 0, high = UINT8_MAX;
	uint64_t number;

	icmp->invert = reading->invert;
	slice_next(&rest, '/', &type);
	if (!value_number(type, UINT8_MAX, &number))
		return icmp_by_name(reading, icmp);
	if (rest.at && !value_range(rest, UINT8_MAX, &low, &high))
		return "not a code of ICMP or a range of codes (LOW:HIGH)";
	icmp->type = (uint8_t)number;
	icmp->code_low = (uint8_t)low;
	icmp->code_high = (uint8_t)high;
	return NULL;
}

static const char *read_multiport(struct reading *reading, struct match_multiport *multiport)
{
	struct slice rest = reading->value;
	unsigned int used = 0;

	multiport->of = reading->option->argument;
	multiport->invert = reading->invert;
	while (slice_next(&rest, ',', &reading->blame)) {
		bool range = memchr(reading->blame.at, ':', reading->blame.length);
		struct slice high = reading->blame, low;
		uint16_t from, to;

		used += range ? 2 : 1;
		if (used > RULESET_PORTS)
			return "more than 15 ports, of which a range takes two";
		slice_next(&high, ':', &low);
		if (!value_port(low, &from) || !value_port(range ? high : low, &to) || from > to ||
		    (range && from == to))
			return "not a port or a range of ports (LOW:HIGH)";
		multiport->ports[multiport->count].low = from;
		multiport->ports[multiport->count++].high = to;
	}
	return NULL;
}

static const char *read_iprange(const struct reading *reading, uint8_t family,
				struct address_range *range)
{
	struct slice high = reading->value, low;

	slice_next(&high, '-', &low);
	if (!value_address(low, family, &range->low) ||
	    !value_address(high.at ? high : low, family, &range->high))
		return "not a range of addresses (LOW-HIGH)";
	if (memcmp(&range->low, &range->high, sizeof(range->low)) > 0)
		return "the range begins after its end";
	range->given = true;
	range->invert = reading->invert;
	return NULL;
}

static const char *read_mark(const struct reading *reading, struct match_mark *mark)
{
	mark->invert = reading->invert;
	return value_mark(reading->value, &mark->value, &mark->mask) ?
		       NULL :
		       "not a mark (VALUE or VALUE/MASK of 32 bits)";
}

static const char *read_dscp(const struct reading *reading, struct match_dscp *dscp)
{
	uint64_t number;

	if (!value_number(reading->value, 63, &number))
		return "not a number from 0 to 63";
	dscp->value = (uint8_t)number;
	dscp->invert = reading->invert;
	return NULL;
}

static const char *read_dscp_class(const struct reading *reading, struct match_dscp *dscp)
{
	const struct name *name = name_find(dscp_names, reading->value, false);

	if (!name)
		return "no class; there are BE EF CS0 to CS7 AF11 to AF43";
	dscp->value = (uint8_t)name->value;
	dscp->invert = reading->invert;
	return NULL;
}

static const char *read_tos(const struct reading *reading, struct match_tos *tos)
{
	struct slice mask = reading->value, value;
	const struct long_name *name;
	uint64_t number;

	tos->invert = reading->invert;
	for (name = tos_names; *name->name; name++) {
		if (name_is(name->name, reading->value)) {
			tos->value = name->value;
			tos->mask = 0x3f;
			return NULL;
		}
	}
	slice_next(&mask, '/', &value);
	if (!value_number(value, UINT8_MAX, &number))
		return "no TOS; VALUE, VALUE/MASK, Minimize-Delay, Maximize-Throughput, "
		       "Maximize-Reliability, Minimize-Cost or Normal-Service";
	tos->value = (uint8_t)number;
	tos->mask = UINT8_MAX;
	if (mask.at && !value_number(mask, UINT8_MAX, &number))
		return not_number;
	if (mask.at)
		tos->mask = (uint8_t)number;
	return NULL;
}

static const char *read_ect(const struct reading *reading, struct match_ecn *ecn)
{
	uint64_t number;

	if (!value_number(reading->value, 3, &number))
		return "not a number from 0 to 3";
	ecn->ect = (uint8_t)number;
	ecn->ect_given = true;
	ecn->ect_invert = reading->invert;
	return NULL;
}

static const char *read_ttl(const struct reading *reading, struct match_ttl *ttl)
{
	uint64_t number;

	if (!value_number(reading->value, UINT8_MAX, &number))
		return "not a number from 0 to 255";
	ttl->value = (uint8_t)number;
	ttl->mode = reading->invert ? TTL_NOT_EQUAL : reading->option->argument;
	return NULL;
}

static const char *read_range(const struct reading *reading, struct match_range *range)
{
	uint32_t low, high;

	if (!value_range(reading->value, UINT16_MAX, &low, &high))
		return "not a number or a range (LOW:HIGH) from 0 to 65535";
	range->low = (uint16_t)low;
	range->high = (uint16_t)high;
	range->invert = reading->invert;
	return NULL;
}

static const char *read_pkttype(const struct reading *reading, struct match_pkttype *pkttype)
{
	const struct name *name = name_find(pkttype_names, reading->value, false);

	if (!name)
		return "no type; there are unicast broadcast multicast otherhost";
	pkttype->type = (uint8_t)name->value;
	pkttype->invert = reading->invert;
	return NULL;
}

static const char *read_mac(const struct reading *reading, struct match_mac *mac)
{
	struct slice rest = reading->value, part;
	unsigned int i;

	for (i = 0; i < sizeof(mac->address) && slice_next(&rest, ':', &part); i++) {
		char text[5] = "0x";
		uint64_t number;

		if (!part.length || part.length > 2)
			break;
		memcpy(text + 2, part.at, part.length);
		if (!value_number((struct slice){ text, part.length + 2 }, UINT8_MAX, &number))
			break;
		mac->address[i] = (uint8_t)number;
	}
	mac->invert = reading->invert;
	return i < sizeof(mac->address) || rest.at ? "not a MAC address" : NULL;
}

static const char *read_addrtype(struct reading *reading, struct match_addrtype *addrtype)
{
	bool source = !reading->option->argument;

	if (read_names(reading, addrtype_names, true,
		       source ? &addrtype->source : &addrtype->destination))
		return "no type; there are UNSPEC UNICAST LOCAL BROADCAST ANYCAST MULTICAST BLACKHOLE "
		       "UNREACHABLE PROHIBIT THROW NAT XRESOLVE";
	*(source ? &addrtype->source_invert : &addrtype->destination_invert) = reading->invert;
	return NULL;
}

/* ---- Rates ------------------------------------------------------------------ */

/* NUMBER[/unit]: the cost of one, in 1/scale of a second; *period is the unit in seconds. */
static bool read_rate(struct slice text, uint64_t scale, uint64_t *cost, uint32_t *period)
{
	static const struct {
		char name[7];
		uint32_t seconds;
	} units[] = { { "second", 1 }, { "minute", 60 }, { "hour", 3600 }, { "day", 86400 } };
	uint64_t number;
	size_t i;

	*period = 1;
	if (!value_decimal(&text, INT32_MAX, &number) || !number)
		return false;
	if (text.length) {
		if (*text.at != '/')
			return false;
		text.at++;
		text.length--;
		for (i = 0; i < ARRAY_SIZE(units) && !name_begins(units[i].name, text); i++)
			;
		if (i == ARRAY_SIZE(units))
			return false;
		*period = units[i].seconds;
	}
	*cost = scale * *period / number;
	return true;
}

static const char *read_limit(const struct reading *reading, struct match_limit *limit)
{
	uint64_t cost;
	uint32_t period;

	if (!read_rate(reading->value, LIMIT_SCALE, &cost, &period))
		return not_rate;
	limit->cost = (uint32_t)cost;
	return cost ? NULL : "more than the kernel counts: 10000/second";
}

static const char *read_limit_burst(const struct reading *reading, struct match_limit *limit)
{
	if (read_u32(reading, 10000, &limit->burst) || !limit->burst)
		return "not a number from 1 to 10000";
	return NULL;
}

static uint64_t rate_factor(struct slice *text)
{
	char unit = text->length ? (char)*text->at : '\0';

	if (unit != 'k' && unit != 'm')
		return 1;
	text->at++;
	text->length--;
	return unit == 'k' ? 1024 : 1024 * 1024;
}

/* NUMBER[k|m]b/s as a cost of 16 bytes, as the kernel counts them; false if it is none */
static bool read_byte_rate(struct slice text, uint64_t *cost)
{
	uint64_t number, factor;

	if (!value_decimal(&text, UINT32_MAX, &number))
		return false;
	factor = rate_factor(&text);
	if (text.length != 3 || memcmp(text.at, "b/s", 3))
		return false;
	number = number * factor >> XT_HASHLIMIT_BYTE_SHIFT;
	*cost = number && number < UINT32_MAX ? UINT32_MAX / (number + 1) : 0;
	return true;
}

static const char *read_hashlimit_rate(const struct reading *reading,
				       struct match_hashlimit *hashlimit)
{
	bool above = reading->option->argument != reading->invert;

	if (above)
		hashlimit->mode |= XT_HASHLIMIT_INVERT;
	if (read_byte_rate(reading->value, &hashlimit->average)) {
		hashlimit->mode |= XT_HASHLIMIT_BYTES;
		hashlimit->period = BYTES_EXPIRE;
		return hashlimit->average ? NULL :
					    "less than 16b/s, or more than the kernel counts";
	}
	if (!read_rate(reading->value, XT_HASHLIMIT_SCALE_v2, &hashlimit->average,
		       &hashlimit->period))
		return "not a rate: NUMBER[/second, /minute, /hour or /day], NUMBER[k|m]b/s";
	return hashlimit->average ? NULL : "more than the kernel counts: 1000000/second";
}

static const char *read_hashlimit_mode(struct reading *reading, struct match_hashlimit *hashlimit)
{
	uint16_t mode;

	if (read_names(reading, hashlimit_mode_names, false, &mode))
		return "no mode; there are srcip srcport dstip dstport";
	hashlimit->mode |= mode;
	return NULL;
}

/* It is printed as it is, and names a file in /proc. */
static bool is_table_name(struct slice name, size_t max)
{
	return name.length && name.length <= max && !strpbrk(name.at, " \t\"/") &&
	       !slice_is(name, ".") && !slice_is(name, "..");
}

static const char *read_hashlimit_name(const struct reading *reading,
				       struct match_hashlimit *hashlimit)
{
	if (!is_table_name(reading->value, 254))
		return "not a name: 1 to 254 bytes without blanks, quotes and slashes";
	hashlimit->name = keep_text(reading->ruleset, reading->value, 254);
	return hashlimit->name ? NULL : reason_memory;
}

static const char *read_hashlimit_burst(const struct reading *reading,
					struct match_hashlimit *hashlimit)
{
	struct slice text = reading->value;
	uint64_t number;

	if (!value_decimal(&text, UINT32_MAX, &number) || !number)
		return not_number;
	if (!text.length && number > BURST_MAX)
		return "more than 1000000";
	hashlimit->burst = number * rate_factor(&text);
	return !text.length || (text.length == 1 && *text.at == 'b') ?
		       NULL :
		       "not a burst: NUMBER, or NUMBER[k|m]b";
}

static const char *read_hashlimit_interval(const struct reading *reading,
					   struct match_hashlimit *hashlimit)
{
	if (read_u32(reading, INT32_MAX, &hashlimit->interval) || !hashlimit->interval)
		return "not a number of seconds from 1 on";
	return NULL;
}

static const char *read_prefix_length(const struct reading *reading, uint8_t family, int *length)
{
	union ruleset_address mask;

	if (!value_mask(reading->value, family, &mask))
		return "not the length of a prefix";
	*length = value_prefix(&mask, family);
	return *length < 0 ? "not the mask of a prefix" : NULL;
}

static const char *read_connlimit(const struct reading *reading, struct match_connlimit *connlimit)
{
	connlimit->upto = reading->option->argument == reading->invert;
	return read_u32(reading, UINT32_MAX, &connlimit->limit);
}

static const char *read_connlimit_mask(const struct reading *reading, uint8_t family,
				       struct match_connlimit *connlimit)
{
	int length;
	const char *reason = read_prefix_length(reading, family, &length);

	if (!reason)
		value_mask(reading->value, family, &connlimit->mask);
	return reason;
}

/* ---- Sets ------------------------------------------------------------------- */

static const char *read_set_reference(struct reading *reading, struct set_reference *set)
{
	struct slice name = reading->value, rest = reading->second;

	if (!name.length || name.length >= sizeof(set->name) || strpbrk(name.at, " \t\","))
		return "not the name of a set: 1 to 31 bytes without blanks, quotes and commas";
	while (slice_next(&rest, ',', &reading->blame)) {
		bool source = slice_is(reading->blame, "src");

		if (!source && !slice_is(reading->blame, "dst"))
			return "not a list of src and dst";
		if (set->dimensions == RULESET_SET_DIMENSIONS)
			return "more than 6 dimensions";
		set->sources |= (uint8_t)(source << set->dimensions++);
	}
	memcpy(set->name, name.at, name.length);
	return NULL;
}

static const char *read_set(struct reading *reading, struct match_set *set)
{
	set->invert = reading->invert;
	return read_set_reference(reading, &set->set);
}

/* ---- u32 -------------------------------------------------------------------- */

/* What is left of the text, without blanks in front of it */
static struct slice u32_rest(struct slice *text)
{
	while (text->length && (*text->at == ' ' || *text->at == '\t')) {
		text->at++;
		text->length--;
	}
	return *text;
}

static bool u32_take(struct slice *text, const char *token)
{
	struct slice rest = u32_rest(text);
	size_t length = strlen(token);

	if (rest.length < length || memcmp(rest.at, token, length))
		return false;
	text->at += length;
	text->length -= length;
	return true;
}

static bool u32_number(struct slice *text, uint32_t *field)
{
	struct slice number = u32_rest(text);
	uint64_t value;

	number.length = strspn(number.at, "0123456789abcdefABCDEFxX");
	if (!value_number(number, UINT32_MAX, &value))
		return false;
	*field = (uint32_t)value;
	text->at += number.length;
	text->length -= number.length;
	return true;
}

static bool is_shift(uint8_t operation)
{
	return operation == XT_U32_LEFTSH || operation == XT_U32_RIGHTSH;
}

static const char *u32_location(struct slice *text, struct u32_test *test)
{
	static const char operators[][3] = {
		[XT_U32_AND] = "&",
		[XT_U32_LEFTSH] = "<<",
		[XT_U32_RIGHTSH] = ">>",
		[XT_U32_AT] = "@",
	};

	for (;;) {
		unsigned int i = 0, n = test->locations;

		if (n == RULESET_U32)
			return "more than 10 numbers in a location";
		if (!u32_number(text, &test->location[n].number))
			return "a number was expected here";
		if (is_shift(test->location[n].operation) && test->location[n].number > 31)
			return "a shift is by 31 bits at most";
		test->locations++;
		if (u32_take(text, "="))
			return NULL;
		while (i < ARRAY_SIZE(operators) && !u32_take(text, operators[i]))
			i++;
		if (i == ARRAY_SIZE(operators))
			return "one of & << >> @ = was expected here";
		if (n + 1 < RULESET_U32)
			test->location[n + 1].operation = (uint8_t)i;
	}
}

static const char *u32_values(struct slice *text, struct u32_test *test)
{
	do {
		unsigned int n = test->values;

		if (n == RULESET_U32)
			return "more than 10 values in a test";
		if (!u32_number(text, &test->value[n].low))
			return "a number was expected here";
		test->value[n].high = test->value[n].low;
		if (u32_take(text, ":") && !u32_number(text, &test->value[n].high))
			return "a number was expected here";
		test->values++;
	} while (u32_take(text, ","));
	return NULL;
}

static const char *read_u32_tests(struct reading *reading, struct match_u32 *u32)
{
	struct slice text = reading->value;
	const char *reason;

	u32->invert = reading->invert;
	do {
		struct u32_test *test = &u32->tests[u32->count];

		reason = u32->count == RULESET_U32 ? "more than 10 tests" :
						     u32_location(&text, test);
		if (!reason)
			reason = u32_values(&text, test);
		u32->count++;
	} while (!reason && u32_take(&text, "&&"));
	if (!reason && u32_rest(&text).length)
		reason = ", or && was expected here";
	reading->blame = text.length ? text : reading->value;
	return reason;
}

/* ---- statistic and time ----------------------------------------------------- */

static const char *read_statistic_mode(const struct reading *reading,
				       struct match_statistic *statistic)
{
	bool nth = slice_is(reading->value, "nth");

	statistic->mode = nth ? XT_STATISTIC_MODE_NTH : XT_STATISTIC_MODE_RANDOM;
	return nth || slice_is(reading->value, "random") ? NULL : "neither random nor nth";
}

/* value / unit of 2^31, rounded; both are below 2^37 */
static uint32_t of_two_to_31(uint64_t value, uint64_t unit)
{
	uint64_t high = (value << 27) / unit, rest = (value << 27) % unit;
	uint64_t half = (high << 5) + (rest << 5) / unit;

	return (uint32_t)((half + 1) / 2);
}

/* Without floating point: digits after the 11th, which is what is printed, do not count. */
static const char *read_probability(const struct reading *reading,
				    struct match_statistic *statistic)
{
	uint64_t value = 0, unit = 1;
	bool point = false;
	const char *at;

	for (at = reading->value.at; *at; at++) {
		if (*at == '.' && !point) {
			point = true;
			continue;
		}
		if (*at < '0' || *at > '9' || (!point && value > 1))
			break;
		if (unit == 100000000000)
			continue;
		value = value * 10 + (uint64_t)(*at - '0');
		unit *= point ? 10 : 1;
	}
	if (*at || reading->value.length < point + 1u || value > unit)
		return "not a number from 0 to 1, like 0.25";
	statistic->probability = of_two_to_31(value, unit);
	statistic->invert = reading->invert;
	return NULL;
}

static const char *read_every(const struct reading *reading, struct match_statistic *statistic)
{
	uint32_t number;

	if (read_u32(reading, UINT32_MAX, &number) || !number)
		return "not a number from 1 on";
	statistic->every = number - 1;
	statistic->invert = reading->invert;
	return NULL;
}

/* Digits, of which the first ones may be zero; what follows is left in *text. */
static bool read_digits(struct slice *text, uint32_t min, uint32_t max, uint32_t *number)
{
	size_t count = 0;

	*number = 0;
	for (; text->length && *text->at >= '0' && *text->at <= '9'; text->at++, text->length--) {
		*number = *number * 10 + (uint32_t)(*text->at - '0');
		if (++count > 4)
			return false;
	}
	return count && *number >= min && *number <= max;
}

/* A separator and a number; true as well if the text has ended */
static bool read_next_digits(struct slice *text, char separator, uint32_t min, uint32_t max,
			     uint32_t *number)
{
	if (!text->length)
		return true;
	if (*text->at != separator)
		return false;
	text->at++;
	text->length--;
	return read_digits(text, min, max, number);
}

/* Days since 1970 of a day of the Gregorian calendar */
static uint32_t days_since_1970(uint32_t year, uint32_t month, uint32_t day)
{
	/* Years that begin with March have the leap day last. */
	uint32_t y = month > 2 ? year : year - 1, m = (month + 9) % 12;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468;
}

static const char *read_date(const struct reading *reading, uint32_t *date)
{
	uint32_t year, month = 1, day = 1, hour = 0, minute = 0, second = 0;
	struct slice text = reading->value;
	uint64_t seconds;

	if (!read_digits(&text, 1970, 2038, &year) ||
	    !read_next_digits(&text, '-', 1, 12, &month) ||
	    !read_next_digits(&text, '-', 1, 31, &day) ||
	    !read_next_digits(&text, 'T', 0, 23, &hour) ||
	    !read_next_digits(&text, ':', 0, 59, &minute) ||
	    !read_next_digits(&text, ':', 0, 59, &second) || text.length)
		return "not a date: YYYY[-MM[-DD[Thh[:mm[:ss]]]]]";
	second += hour * 3600 + minute * 60;
	seconds = days_since_1970(year, month, day) * 86400ull + second;
	if (seconds > INT32_MAX)
		return "after 2038-01-19T03:14:07";
	*date = (uint32_t)seconds;
	return NULL;
}

static const char *read_daytime(const struct reading *reading, uint32_t *seconds)
{
	struct slice text = reading->value;
	uint32_t hour, minute = 60, second = 0;

	if (!read_digits(&text, 0, 23, &hour) || !read_next_digits(&text, ':', 0, 59, &minute) ||
	    minute == 60 || !read_next_digits(&text, ':', 0, 59, &second) || text.length)
		return "not a time of day: hh:mm[:ss]";
	*seconds = hour * 3600 + minute * 60 + second;
	return NULL;
}

static const char *read_monthdays(struct reading *reading, struct match_time *time)
{
	struct slice rest = reading->value;
	uint32_t number;

	time->month_days = 0;
	while (slice_next(&rest, ',', &reading->blame)) {
		struct slice day = reading->blame;

		if (!read_digits(&day, 1, 31, &number) || day.length)
			return "not a day of a month (1 to 31)";
		time->month_days |= 1u << number;
	}
	if (reading->invert)
		time->month_days ^= XT_TIME_ALL_MONTHDAYS;
	return NULL;
}

/* By number, or the first two letters of the name */
static bool read_weekday(struct slice text, uint32_t *number)
{
	static const char names[][3] = { "", "Mo", "Tu", "We", "Th", "Fr", "Sa", "Su" };
	struct slice digits = text;

	if (read_digits(&digits, 1, 7, number) && !digits.length)
		return true;
	for (*number = 1; *number <= 7; ++*number) {
		if (text.length > 1 && !memcmp(text.at, names[*number], 2))
			return true;
	}
	return false;
}

static const char *read_weekdays(struct reading *reading, struct match_time *time)
{
	struct slice rest = reading->value;
	uint32_t number;

	time->week_days = 0;
	while (slice_next(&rest, ',', &reading->blame)) {
		if (!read_weekday(reading->blame, &number))
			return "not a day of the week: Mon Tue Wed Thu Fri Sat Sun, or 1 to 7";
		time->week_days |= (uint8_t)(1u << number);
	}
	if (reading->invert)
		time->week_days ^= XT_TIME_ALL_WEEKDAYS;
	return NULL;
}

/* ---- recent ----------------------------------------------------------------- */

#define RECENT_HITS_MAX 255

static const char *read_recent(const struct reading *reading, struct match_recent *recent)
{
	recent->checks |= reading->option->argument;
	recent->invert = reading->invert;
	return NULL;
}

static const char *read_recent_seconds(const struct reading *reading, struct match_recent *recent)
{
	if (read_u32(reading, UINT32_MAX, &recent->seconds) || !recent->seconds)
		return "not a number of seconds from 1 on";
	return NULL;
}

/* Later kernels keep more; all of them take that many. */
static const char *read_recent_hits(const struct reading *reading, struct match_recent *recent)
{
	return read_u32(reading, RECENT_HITS_MAX, &recent->hits) ? "not a number from 0 to 255" :
								   NULL;
}

static const char *read_recent_name(const struct reading *reading, struct match_recent *recent)
{
	if (!is_table_name(reading->value, XT_RECENT_NAME_LEN - 1))
		return "not a name: 1 to 199 bytes without blanks, quotes and slashes";
	recent->name = keep_text(reading->ruleset, reading->value, XT_RECENT_NAME_LEN - 1);
	return recent->name ? NULL : reason_memory;
}

static const char *read_recent_mask(const struct reading *reading, uint8_t family,
				    struct match_recent *recent)
{
	memset(&recent->mask, 0, sizeof(recent->mask));
	return value_address(reading->value, family, &recent->mask) ?
		       NULL :
		       "not a mask (of the form of an address; the length of a prefix is none)";
}

/* ---- Routing headers -------------------------------------------------------- */

static const char *read_rt(const struct reading *reading, struct range32 *range)
{
	const bool is_range = reading->option->argument;

	if (is_range && !value_range(reading->value, UINT32_MAX, &range->low, &range->high))
		return "not a number or a range (LOW:HIGH)";
	if (!is_range && read_u32(reading, UINT32_MAX, &range->low))
		return not_number;
	if (!is_range)
		range->high = range->low;
	range->invert = reading->invert;
	range->given = range->low || range->high < UINT32_MAX || range->invert;
	return NULL;
}

/* ---- conntrack -------------------------------------------------------------- */

static void conntrack_flag(const struct reading *reading, unsigned int flag)
{
	struct match_conntrack *conntrack = reading->record;

	conntrack->match |= (uint16_t)flag;
	if (reading->invert)
		conntrack->invert |= (uint16_t)flag;
}

static const char *read_states(struct reading *reading, bool nat, uint16_t *states)
{
	uint16_t others = XT_CONNTRACK_STATE_SNAT | XT_CONNTRACK_STATE_DNAT;

	if (read_names(reading, state_names, true, states) || (!nat && *states & others))
		return nat ? "no state; there are INVALID NEW ESTABLISHED RELATED UNTRACKED SNAT DNAT" :
			     "no state; there are INVALID NEW ESTABLISHED RELATED UNTRACKED";
	return NULL;
}

static const char *read_ct_status(struct reading *reading, struct match_conntrack *conntrack)
{
	if (read_names(reading, status_names, true, &conntrack->status))
		return "no status; there are NONE EXPECTED SEEN_REPLY ASSURED CONFIRMED";
	conntrack_flag(reading, XT_CONNTRACK_STATUS);
	return NULL;
}

static const char *read_ct_protocol(const struct reading *reading,
				    struct match_conntrack *conntrack)
{
	conntrack_flag(reading, XT_CONNTRACK_PROTO);
	return value_protocol(reading->value, &conntrack->protocol) ? NULL : "no protocol's name";
}

static const char *read_ct_address(const struct reading *reading, uint8_t family,
				   union ruleset_address *address)
{
	conntrack_flag(reading, reading->option->argument);
	if (!value_network(reading->value, family, &address[0], &address[1]))
		return "not an address or network (names are not looked up)";
	return value_prefix(&address[1], family) < 0 ? "not the mask of a prefix" : NULL;
}

static const char *read_ct_ports(const struct reading *reading, uint16_t *range)
{
	conntrack_flag(reading, (unsigned int)reading->option->argument << 8);
	return value_port_range(reading->value, &range[0], &range[1]) ?
		       NULL :
		       "not a port or a range of ports (LOW:HIGH)";
}

static const char *read_ct_expires(const struct reading *reading, struct match_conntrack *conntrack)
{
	conntrack_flag(reading, XT_CONNTRACK_EXPIRES);
	return value_range(reading->value, UINT32_MAX, &conntrack->expires_low,
			   &conntrack->expires_high) ?
		       NULL :
		       "not a number or a range (LOW:HIGH) of seconds";
}

static const char *read_ct_direction(const struct reading *reading,
				     struct match_conntrack *conntrack)
{
	conntrack->match |= XT_CONNTRACK_DIRECTION;
	if (name_is("REPLY", reading->value))
		conntrack->invert |= XT_CONNTRACK_DIRECTION;
	else if (!name_is("ORIGINAL", reading->value))
		return "neither ORIGINAL nor REPLY";
	return NULL;
}

static const char *read_ct_states(struct reading *reading, struct match_conntrack *conntrack)
{
	conntrack_flag(reading, XT_CONNTRACK_STATE);
	return read_states(reading, true, &conntrack->states);
}

static const char *read_state(struct reading *reading, struct match_state *state)
{
	state->invert = reading->invert;
	return read_states(reading, false, &state->states);
}

/* ---- Targets ---------------------------------------------------------------- */

static const char *read_log_level(const struct reading *reading, struct target_log *log)
{
	const struct name *name = name_find(log_level_names, reading->value, false);
	uint64_t number;

	if (value_number(reading->value, 7, &number))
		log->level = (uint8_t)number;
	else if (name)
		log->level = (uint8_t)name->value;
	else
		return "no level; there are emerg alert crit error warning notice info debug, 0 to 7";
	return NULL;
}

/* What is too long is cut, as iptables does. */
static const char *read_text(const struct reading *reading, size_t max, bool may_be_empty,
			     const char **text)
{
	if (!reading->value.length && !may_be_empty)
		return "empty";
	*text = keep_text(reading->ruleset, reading->value, max);
	return *text ? NULL : reason_memory;
}

static const char *read_nflog_size(const struct reading *reading, struct target_nflog *nflog)
{
	nflog->size_given = true;
	return read_u32(reading, UINT32_MAX, &nflog->size);
}

static const char *read_set_timeout(const struct reading *reading, struct target_set *set)
{
	set->timeout_given = true;
	return read_u32(reading, UINT32_MAX - 1, &set->timeout);
}

static const char *read_set_mark(const struct reading *reading, struct target_mark *mark)
{
	uint8_t operation = reading->option->argument;
	uint32_t value, mask;

	if (!value_mark(reading->value, &value, &mask))
		return "not a mark (VALUE or VALUE/MASK of 32 bits)";
	if (operation > MARK_XSET && memchr(reading->value.at, '/', reading->value.length))
		return "a mask was not expected";
	mark->value = operation == MARK_AND ? 0 : value;
	mark->mask = operation == MARK_SET ? value | mask :
		     operation == MARK_AND ? ~value :
		     operation == MARK_OR  ? value :
		     operation == MARK_XOR ? 0 :
					     mask;
	return NULL;
}

static const char *read_reject(const struct reading *reading, uint8_t family, uint8_t *reject)
{
	unsigned int first = family == AF_INET ? 0 : REJECT_ICMP6_NO_ROUTE;
	unsigned int last = family == AF_INET ? REJECT_ICMP_ADMIN_PROHIBITED :
						REJECT_ICMP6_REJECT_ROUTE;
	unsigned int i;

	for (i = first; i < REJECT_WITHS; i = i == last ? REJECT_TCP_RESET : i + 1) {
		if (name_begins(reject_names[i], reading->value) ||
		    name_begins(reject_aliases[i], reading->value)) {
			*reject = (uint8_t)i;
			return NULL;
		}
	}
	return family == AF_INET ?
		       "no answer; there are icmp-{net,host,proto,port}-unreachable, "
		       "icmp-{net,host,admin}-prohibited, tcp-reset" :
		       "no answer; there are icmp6-{no-route,adm-prohibited,addr-unreachable,"
		       "port-unreachable,policy-fail,reject-route}, tcp-reset";
}

/* ---- The table nat ---------------------------------------------------------- */

static const char *read_single_port(struct slice text, struct target_nat *nat)
{
	uint64_t number;

	if (!value_number(text, UINT16_MAX, &number) || !number)
		return "not one port (which of a range it is, the kernel decides)";
	nat->port = (uint16_t)number;
	return NULL;
}

/* ADDRESS[:PORT] or [ADDRESS][:PORT] of IPv6; either may be missing */
static const char *read_destination(const struct reading *reading, uint8_t family,
				    struct target_nat *nat)
{
	struct slice address = reading->value, port = { NULL, 0 };
	const char *end;

	if (family == AF_INET6 && address.length && *address.at == '[') {
		end = memchr(address.at, ']', address.length);
		if (!end)
			return "the ] is missing";
		port = (struct slice){ end + 1, address.length - (size_t)(end + 1 - address.at) };
		address = (struct slice){ address.at + 1, (size_t)(end - address.at) - 1 };
		if (port.length && *port.at != ':')
			return "behind the ] a : was expected";
		port = port.length ? (struct slice){ port.at + 1, port.length - 1 } :
				     (struct slice){ NULL, 0 };
	} else if (family == AF_INET) {
		struct slice rest = address;

		slice_next(&rest, ':', &address);
		port = rest;
	}
	if (address.length) {
		if (!value_address(address, family, &nat->address))
			return "not one address (which of a range it is, the kernel decides)";
		memset(&nat->mask, 0xff, family == AF_INET ? 4 : 16);
	}
	return port.at ? read_single_port(port, nat) : NULL;
}

static const char *read_netmap(const struct reading *reading, uint8_t family,
			       struct target_nat *nat)
{
	if (!value_network(reading->value, family, &nat->address, &nat->mask))
		return "not a network";
	for (unsigned int i = 0; i < ARRAY_SIZE(nat->mask.words); i++)
		nat->address.words[i] &= nat->mask.words[i];
	return NULL;
}

/* ---- All of them ------------------------------------------------------------ */

const char *option_read(struct reading *reading)
{
	const struct option *option = reading->option;
	uint8_t family = reading->ruleset->family;
	void *record = reading->record;
	void *field = (char *)record + option->offset;
	const char *reason;
	int length;

	switch ((enum reader)option->reader) {
	case READ_REFUSED:
	case READ_IGNORED:
		return NULL;
	case READ_FLAG:
		*(bool *)field = true;
		return NULL;
	case READ_BIT:
		*(uint8_t *)field |= option->argument;
		return NULL;
	case READ_U16:
		return read_u16(reading, field);
	case READ_U32:
		return read_u32(reading, UINT32_MAX, field);
	case READ_PORTS:
		return read_ports(reading, field);
	case READ_RANGE:
		return read_range(reading, record);
	case READ_TCP_FLAGS:
		return read_tcp_flags(reading, record);
	case READ_SYN:
		return read_syn(reading, record);
	case READ_TCP_OPTION:
		return read_tcp_option(reading, record);
	case READ_ICMP:
		return read_icmp(reading, record);
	case READ_MULTIPORT:
		return read_multiport(reading, record);
	case READ_IPRANGE:
		return read_iprange(reading, family, field);
	case READ_MARK:
		return read_mark(reading, record);
	case READ_DSCP:
		return read_dscp(reading, record);
	case READ_DSCP_CLASS:
		return read_dscp_class(reading, record);
	case READ_TOS:
		return read_tos(reading, record);
	case READ_ECT:
		return read_ect(reading, record);
	case READ_ECN:
		((bool *)field)[0] = true;
		((bool *)field)[1] = reading->invert;
		return NULL;
	case READ_TTL:
		return read_ttl(reading, record);
	case READ_PKTTYPE:
		return read_pkttype(reading, record);
	case READ_MAC:
		return read_mac(reading, record);
	case READ_ADDRTYPE:
		return read_addrtype(reading, record);
	case READ_LIMIT:
		return read_limit(reading, record);
	case READ_LIMIT_BURST:
		return read_limit_burst(reading, record);
	case READ_HASHLIMIT_RATE:
		return read_hashlimit_rate(reading, record);
	case READ_HASHLIMIT_RATE_MATCH:
		((struct match_hashlimit *)record)->mode |= XT_HASHLIMIT_RATE_MATCH;
		return NULL;
	case READ_HASHLIMIT_MODE:
		return read_hashlimit_mode(reading, record);
	case READ_HASHLIMIT_NAME:
		return read_hashlimit_name(reading, record);
	case READ_HASHLIMIT_BURST:
		return read_hashlimit_burst(reading, record);
	case READ_HASHLIMIT_INTERVAL:
		return read_hashlimit_interval(reading, record);
	case READ_HASHLIMIT_PREFIX:
		reason = read_prefix_length(reading, family, &length);
		if (!reason)
			*(uint8_t *)field = (uint8_t)length;
		return reason;
	case READ_CONNLIMIT:
		return read_connlimit(reading, record);
	case READ_CONNLIMIT_MASK:
		return read_connlimit_mask(reading, family, record);
	case READ_CONNLIMIT_SIDE:
		((struct match_connlimit *)record)->destination = option->argument;
		return NULL;
	case READ_SET:
		return read_set(reading, record);
	case READ_COMMENT:
		return read_text(reading, COMMENT_MAX, true, field);
	case READ_U32_TESTS:
		return read_u32_tests(reading, record);
	case READ_STATISTIC_MODE:
		return read_statistic_mode(reading, record);
	case READ_PROBABILITY:
		return read_probability(reading, record);
	case READ_EVERY:
		return read_every(reading, record);
	case READ_DATE:
		return read_date(reading, field);
	case READ_DAYTIME:
		return read_daytime(reading, field);
	case READ_MONTHDAYS:
		return read_monthdays(reading, record);
	case READ_WEEKDAYS:
		return read_weekdays(reading, record);
	case READ_RECENT:
		return read_recent(reading, record);
	case READ_RECENT_SECONDS:
		return read_recent_seconds(reading, record);
	case READ_RECENT_HITS:
		return read_recent_hits(reading, record);
	case READ_RECENT_NAME:
		return read_recent_name(reading, record);
	case READ_RECENT_MASK:
		return read_recent_mask(reading, family, record);
	case READ_RECENT_SIDE:
		((struct match_recent *)record)->destination = option->argument;
		return NULL;
	case READ_RT:
		return read_rt(reading, field);
	case READ_STATES:
		return read_state(reading, record);
	case READ_CT_STATES:
		return read_ct_states(reading, record);
	case READ_CT_STATUS:
		return read_ct_status(reading, record);
	case READ_CT_PROTOCOL:
		return read_ct_protocol(reading, record);
	case READ_CT_ADDRESS:
		return read_ct_address(reading, family, field);
	case READ_CT_PORTS:
		return read_ct_ports(reading, field);
	case READ_CT_EXPIRES:
		return read_ct_expires(reading, record);
	case READ_CT_DIRECTION:
		return read_ct_direction(reading, record);
	case READ_LOG_LEVEL:
		return read_log_level(reading, record);
	case READ_PREFIX:
		return read_text(reading, option->argument, false, field);
	case READ_NFLOG_SIZE:
		return read_nflog_size(reading, record);
	case READ_SET_REFERENCE:
		return read_set_reference(reading, field);
	case READ_SET_TIMEOUT:
		return read_set_timeout(reading, record);
	case READ_SET_MARK:
		return read_set_mark(reading, record);
	case READ_REJECT:
		return read_reject(reading, family, record);
	case READ_DESTINATION:
		return read_destination(reading, family, record);
	case READ_REDIRECT:
		return read_single_port(reading->value, record);
	case READ_NETMAP:
		return read_netmap(reading, family, record);
	}
	return NULL;
}

/* ---- Before and after the options ------------------------------------------- */

static void match_defaults(enum match_kind kind, uint8_t family, void *record)
{
	static const struct match_time always = {
		.date_stop = INT32_MAX,
		.day_stop = XT_TIME_MAX_DAYTIME,
		.month_days = XT_TIME_ALL_MONTHDAYS,
		.week_days = XT_TIME_ALL_WEEKDAYS,
	};
	struct match_hashlimit *hashlimit = record;
	struct match_tcp *tcp = record;

	switch (kind) {
	case MATCH_TCP:
	case MATCH_UDP:
	case MATCH_SCTP:
		tcp->source.high = UINT16_MAX;
		tcp->destination.high = UINT16_MAX;
		break;
	case MATCH_LIMIT:
		*(struct match_limit *)record =
			(struct match_limit){ LIMIT_COST_DEFAULT, LIMIT_BURST_DEFAULT };
		break;
	case MATCH_HASHLIMIT:
		hashlimit->burst = LIMIT_BURST_DEFAULT;
		hashlimit->gc_interval = 1000;
		hashlimit->source_prefix = family == AF_INET ? 32 : 128;
		hashlimit->destination_prefix = hashlimit->source_prefix;
		break;
	case MATCH_CONNLIMIT:
		memset(&((struct match_connlimit *)record)->mask, 0xff, family == AF_INET ? 4 : 16);
		break;
	case MATCH_TIME:
		*(struct match_time *)record = always;
		break;
	case MATCH_RECENT:
		((struct match_recent *)record)->name = "DEFAULT";
		memset(&((struct match_recent *)record)->mask, 0xff, family == AF_INET ? 4 : 16);
		break;
	default:
		break;
	}
}

void module_defaults(const struct module *module, bool target, uint8_t family, void *record)
{
	if (!target) {
		match_defaults(module->kind, family, record);
		return;
	}
	switch (module->kind) {
	case TARGET_LOG:
		*(struct target_log *)record = (struct target_log){ "", 4, 0 };
		break;
	case TARGET_NFLOG:
		((struct target_nflog *)record)->prefix = "";
		break;
	case TARGET_REJECT:
		*(uint8_t *)record = family == AF_INET ? REJECT_ICMP_PORT_UNREACHABLE :
							 REJECT_ICMP6_PORT_UNREACHABLE;
		break;
	default:
		break;
	}
}

/* The options' bits in option.c */
enum {
	BURST_GIVEN = 1 << 3,
	EXPIRE_GIVEN = 1 << 7
};

/* As xt_hashlimit.c's user space and hashlimit_mt_check_common() do it */
static const char *finish_hashlimit_burst(uint32_t seen, struct match_hashlimit *hashlimit)
{
	uint64_t bytes = (uint64_t)(UINT32_MAX / hashlimit->average - 1) << XT_HASHLIMIT_BYTE_SHIFT;

	if (!(hashlimit->mode & XT_HASHLIMIT_BYTES)) {
		if (hashlimit->burst > BURST_MAX)
			return "the burst is more than 1000000";
		return NULL;
	}
	if (!(seen & BURST_GIVEN)) {
		hashlimit->burst = 0;
		return NULL;
	}
	if (hashlimit->burst < bytes)
		return "the burst is less than what the rate is in a second";
	hashlimit->burst = (hashlimit->burst + bytes - 1) / bytes;
	hashlimit->period = BYTES_BURST_EXPIRE;
	/* What is printed is rounded up, and has to be read again; the programs count in 32 bits. */
	if (hashlimit->burst > UINT32_MAX || hashlimit->burst * bytes > BYTES_BURST_MAX)
		return "the burst is more than can be counted";
	return NULL;
}

static const char *finish_hashlimit(uint32_t seen, struct match_hashlimit *hashlimit)
{
	uint32_t period = hashlimit->period;
	const char *reason = finish_hashlimit_burst(seen, hashlimit);
	bool bytes = hashlimit->mode & XT_HASHLIMIT_BYTES;

	if (!(seen & EXPIRE_GIVEN))
		hashlimit->expire = hashlimit->period * 1000;
	hashlimit->period = 0;
	if (!hashlimit->expire || !hashlimit->gc_interval)
		return "an interval of 0 is not possible";
	if (hashlimit->mode & XT_HASHLIMIT_RATE_MATCH) {
		if (!bytes)
			hashlimit->average /= period;
		if (!hashlimit->interval)
			hashlimit->interval = bytes ? 1 : period;
		if (!hashlimit->average)
			return "more than the kernel counts: 1000000/second";
	} else {
		hashlimit->interval = 0;
	}
	return reason;
}

static const char *finish_statistic(uint32_t seen, struct match_statistic *statistic)
{
	enum {
		PROBABILITY = 2,
		EVERY = 4,
		PACKET = 8
	};
	uint32_t wanted = statistic->mode == XT_STATISTIC_MODE_NTH ? EVERY | PACKET : PROBABILITY;

	if ((seen & (PROBABILITY | EVERY | PACKET)) != wanted)
		return wanted == PROBABILITY ? "mode random takes --probability" :
					       "mode nth takes --every and --packet";
	return statistic->packet > statistic->every ? "--packet is not below --every" : NULL;
}

static const char *finish_time(const struct match_time *time)
{
	if (time->flags & XT_TIME_CONTIGUOUS && time->day_start < time->day_stop)
		return "--contiguous is for times that stop before they start";
	return NULL;
}

static const char *finish_recent(const struct match_recent *recent)
{
	if (recent->checks & (XT_RECENT_SET | XT_RECENT_REMOVE) &&
	    (recent->checks & XT_RECENT_MODIFIERS || recent->seconds || recent->hits))
		return "--seconds, --hitcount, --rttl and --reap are for --rcheck and --update";
	return recent->checks & XT_RECENT_REAP && !recent->seconds ? "--reap takes --seconds" :
								     NULL;
}

static const char *finish_set(uint32_t seen)
{
	enum {
		ADD = 1,
		EXIST = 4,
		TIMEOUT = 8
	};

	if (seen & (EXIST | TIMEOUT) && !(seen & ADD))
		return "--exist and --timeout are for --add-set";
	return NULL;
}

const char *module_finish(const struct module *module, bool target, uint32_t seen, void *record)
{
	if (target)
		return module->kind == TARGET_SET ? finish_set(seen) : NULL;
	switch (module->kind) {
	case MATCH_HASHLIMIT:
		return finish_hashlimit(seen, record);
	case MATCH_STATISTIC:
		return finish_statistic(seen, record);
	case MATCH_TIME:
		return finish_time(record);
	case MATCH_RECENT:
		return finish_recent(record);
	default:
		return NULL;
	}
}
