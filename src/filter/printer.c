/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules as iptables-save prints them (1.8, variant nft; legacy prints the same but for "! -i +",
 * which it leaves out). Where iptables-save leaves out what a rule means, it is printed here, for
 * the text must load again to the same rules: ranges of ICMP's codes, "! --sport 0:65535",
 * "--tcp-flags NONE" with flags, "--nflog-size 0", "! --rt-segsleft 0:4294967295", a "--datestop" of
 * 1970-01-01T00:00:00.
 */
#include <inttypes.h>
#include <linux/netfilter/xt_LOG.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <linux/netfilter/xt_recent.h>
#include <linux/netfilter/xt_statistic.h>
#include <linux/netfilter/xt_time.h>
#include <linux/netfilter/xt_u32.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "filter/option.h"
#include "filter/value.h"
#include "util.h"

struct printer {
	FILE *stream;
	uint8_t family;
};

#define put(printer, ...) fprintf((printer)->stream, __VA_ARGS__)

/* ---- Parts ------------------------------------------------------------------ */

/* "[ !] --name", without what follows */
static void put_option(const struct printer *printer, bool invert, const char *name)
{
	put(printer, "%s %s", invert ? " !" : "", name);
}

/* A text that may hold anything, in quotes if it has to be; xtables_save_string() */
static void put_text(const struct printer *printer, const char *text)
{
	static const char plain[] =
		"_-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	if (*text && !text[strspn(text, plain)]) {
		put(printer, " %s", text);
		return;
	}
	put(printer, " \"");
	for (; *text; text++)
		put(printer, "%s%c", strchr("\"\\'", *text) ? "\\" : "", *text);
	put(printer, "\"");
}

static void put_address(const struct printer *printer, const union ruleset_address *address)
{
	char buffer[VALUE_ADDRESS];

	put(printer, "%s", value_print_address(address, printer->family, buffer));
}

/* "/24", or the whole mask if it is none of a prefix */
static void put_mask(const struct printer *printer, const union ruleset_address *mask)
{
	int length = value_prefix(mask, printer->family);

	put(printer, "/");
	if (length < 0)
		put_address(printer, mask);
	else
		put(printer, "%d", length);
}

static void put_range(const struct printer *printer, uint32_t low, uint32_t high)
{
	put(printer, low == high ? " %u" : " %u:%u", low, high);
}

/* The names of the bits of a set, in the order of the list */
static void put_names(const struct printer *printer, const struct name *list, unsigned int set)
{
	const char *separator = " ";

	for (; *list->name; list++) {
		if (!(list->value & set))
			continue;
		put(printer, "%s%s", separator, list->name);
		set &= ~list->value;
		separator = ",";
	}
	if (*separator == ' ')
		put(printer, " NONE");
}

static void put_mark(const struct printer *printer, uint32_t value, uint32_t mask)
{
	put(printer, mask == UINT32_MAX ? " 0x%x" : " 0x%x/0x%x", value, mask);
}

static void put_set(const struct printer *printer, const struct set_reference *set)
{
	unsigned int i;

	put(printer, " %s", set->name);
	for (i = 0; i < set->dimensions; i++)
		put(printer, "%c%s", i ? ',' : ' ', set->sources & 1u << i ? "src" : "dst");
}

/* ---- Matches ---------------------------------------------------------------- */

static void put_ports(const struct printer *printer, const char *name, const struct range16 *range)
{
	if (!range->given)
		return;
	put_option(printer, range->invert, name);
	put_range(printer, range->low, range->high);
}

static void put_tcp(const struct printer *printer, const struct match_tcp *tcp)
{
	put_ports(printer, "--sport", &tcp->source);
	put_ports(printer, "--dport", &tcp->destination);
	if (tcp->option_given) {
		put_option(printer, tcp->option_invert, "--tcp-option");
		put(printer, " %u", tcp->option);
	}
	if (tcp->flags_given) {
		put_option(printer, tcp->flags_invert, "--tcp-flags");
		put_names(printer, tcp_flag_names, tcp->flags_mask);
		put_names(printer, tcp_flag_names, tcp->flags);
	}
}

static void put_icmp(const struct printer *printer, const char *name, const struct match_icmp *icmp)
{
	put_option(printer, icmp->invert, name);
	if (icmp->type == 255 && printer->family == AF_INET) {
		put(printer, " any");
		return;
	}
	put(printer, " %u", icmp->type);
	if (icmp->code_low || icmp->code_high != UINT8_MAX)
		put(printer, "/%u", icmp->code_low);
	if (icmp->code_high != icmp->code_low && (icmp->code_low || icmp->code_high != UINT8_MAX))
		put(printer, ":%u", icmp->code_high);
}

static void put_multiport(const struct printer *printer, const struct match_multiport *multiport)
{
	static const char names[][9] = {
		[MULTIPORT_SOURCE] = "--sports",
		[MULTIPORT_DESTINATION] = "--dports",
		[MULTIPORT_EITHER] = "--ports",
	};
	unsigned int i;

	put_option(printer, multiport->invert, names[multiport->of]);
	for (i = 0; i < multiport->count; i++) {
		uint16_t low = multiport->ports[i].low, high = multiport->ports[i].high;

		put(printer, low == high ? "%c%u" : "%c%u:%u", i ? ',' : ' ', low, high);
	}
}

static void put_address_range(const struct printer *printer, const char *name,
			      const struct address_range *range)
{
	if (!range->given)
		return;
	put_option(printer, range->invert, name);
	put(printer, " ");
	put_address(printer, &range->low);
	put(printer, "-");
	put_address(printer, &range->high);
}

static void put_ecn(const struct printer *printer, const struct match_ecn *ecn)
{
	if (ecn->ece)
		put_option(printer, ecn->ece_invert, "--ecn-tcp-ece");
	if (ecn->cwr)
		put_option(printer, ecn->cwr_invert, "--ecn-tcp-cwr");
	if (ecn->ect_given) {
		put_option(printer, ecn->ect_invert, "--ecn-ip-ect");
		put(printer, " %u", ecn->ect);
	}
}

static void put_ttl(const struct printer *printer, const char *name, const struct match_ttl *ttl)
{
	static const char modes[][3] = {
		[TTL_EQUAL] = "eq",
		[TTL_NOT_EQUAL] = "eq",
		[TTL_LESS] = "lt",
		[TTL_GREATER] = "gt",
	};

	put_option(printer, ttl->mode == TTL_NOT_EQUAL, name);
	put(printer, "-%s %u", modes[ttl->mode], ttl->value);
}

static void put_mac(const struct printer *printer, const struct match_mac *mac)
{
	unsigned int i;

	put_option(printer, mac->invert, "--mac-source");
	for (i = 0; i < sizeof(mac->address); i++)
		put(printer, "%c%02x", i ? ':' : ' ', mac->address[i]);
}

static void put_addrtype(const struct printer *printer, const struct match_addrtype *addrtype)
{
	if (addrtype->source) {
		put_option(printer, addrtype->source_invert, "--src-type");
		put_names(printer, addrtype_names, addrtype->source);
	}
	if (addrtype->destination) {
		put_option(printer, addrtype->destination_invert, "--dst-type");
		put_names(printer, addrtype_names, addrtype->destination);
	}
	if (addrtype->limit_in)
		put(printer, " --limit-iface-in");
	if (addrtype->limit_out)
		put(printer, " --limit-iface-out");
}

/*
 * The rate that a cost was made of, in the unit that tells it best; returns the unit in seconds.
 * The costs of a unit are up to scale * 86400.
 */
static uint32_t put_rate(const struct printer *printer, uint64_t cost, uint64_t scale)
{
	static const struct {
		char name[5];
		uint32_t seconds;
	} units[] = { { "day", 86400 }, { "hour", 3600 }, { "min", 60 }, { "sec", 1 } };
	unsigned int i;

	for (i = 1; i < ARRAY_SIZE(units); i++) {
		uint64_t unit = scale * units[i].seconds;

		if (cost > unit || unit / cost < unit % cost)
			break;
	}
	i--;
	put(printer, " %" PRIu64 "/%s", scale * units[i].seconds / cost, units[i].name);
	return units[i].seconds;
}

static void put_limit(const struct printer *printer, const struct match_limit *limit)
{
	put(printer, " --limit");
	put_rate(printer, limit->cost, 10000);
	if (limit->burst != 5)
		put(printer, " --limit-burst %u", limit->burst);
}

static uint64_t byte_rate(uint64_t cost)
{
	return (uint64_t)(UINT32_MAX / cost - 1) << XT_HASHLIMIT_BYTE_SHIFT;
}

/* Is it the same cost if the rate's last bytes, below the unit, are left out? */
static bool fits_unit(uint64_t bytes, uint32_t unit, uint64_t cost)
{
	uint32_t sixteens = (uint32_t)((bytes & ~(uint64_t)(unit - 1)) >> XT_HASHLIMIT_BYTE_SHIFT);

	return bytes >= unit && UINT32_MAX / (sixteens + 1) == cost;
}

/* Returns the seconds after which such a table forgets if nothing else is said. */
static uint32_t put_byte_rate(const struct printer *printer,
			      const struct match_hashlimit *hashlimit)
{
	static const struct {
		char name[2];
		uint32_t size;
	} units[] = { { "m", 1024 * 1024 }, { "k", 1024 }, { "", 1 } };
	uint64_t bytes = byte_rate(hashlimit->average);
	unsigned int i = 0;

	while (i < 2 && !fits_unit(bytes, units[i].size, hashlimit->average))
		i++;
	put(printer, " %" PRIu64 "%sb/s", bytes / units[i].size, units[i].name);
	if (!hashlimit->burst)
		return 15;
	bytes *= hashlimit->burst;
	for (i = 0; i < 2 && bytes < units[i].size; i++)
		;
	put(printer, " --hashlimit-burst %" PRIu64 "%sb", bytes / units[i].size, units[i].name);
	return 60;
}

static void put_u32_option(const struct printer *printer, const char *name, uint32_t value,
			   uint32_t usual)
{
	if (value != usual)
		put(printer, " --hashlimit-%s %u", name, value);
}

static void put_hashlimit(const struct printer *printer, const struct match_hashlimit *hashlimit)
{
	uint8_t whole = printer->family == AF_INET ? 32 : 128;
	uint32_t seconds;

	put(printer, " --hashlimit-%s", hashlimit->mode & XT_HASHLIMIT_INVERT ? "above" : "upto");
	if (hashlimit->mode & XT_HASHLIMIT_BYTES) {
		seconds = put_byte_rate(printer, hashlimit);
	} else {
		seconds = put_rate(printer, hashlimit->average, XT_HASHLIMIT_SCALE_v2);
		put(printer, " --hashlimit-burst %" PRIu64, hashlimit->burst);
	}
	if (hashlimit->mode & (XT_HASHLIMIT_HASH_SIP | XT_HASHLIMIT_HASH_SPT |
			       XT_HASHLIMIT_HASH_DIP | XT_HASHLIMIT_HASH_DPT)) {
		put(printer, " --hashlimit-mode");
		put_names(printer, hashlimit_mode_names, hashlimit->mode);
	}
	put(printer, " --hashlimit-name %s", hashlimit->name);
	put_u32_option(printer, "htable-size", hashlimit->size, 0);
	put_u32_option(printer, "htable-max", hashlimit->max, 0);
	put_u32_option(printer, "htable-gcinterval", hashlimit->gc_interval, 1000);
	put_u32_option(printer, "htable-expire", hashlimit->expire, seconds * 1000);
	put_u32_option(printer, "srcmask", hashlimit->source_prefix, whole);
	put_u32_option(printer, "dstmask", hashlimit->destination_prefix, whole);
	if (hashlimit->mode & XT_HASHLIMIT_RATE_MATCH) {
		put(printer, " --hashlimit-rate-match");
		put_u32_option(printer, "rate-interval", hashlimit->interval, 1);
	}
}

static void put_connlimit(const struct printer *printer, const struct match_connlimit *connlimit)
{
	put(printer, " --connlimit-%s %u --connlimit-mask %d --connlimit-%caddr",
	    connlimit->upto ? "upto" : "above", connlimit->limit,
	    value_prefix(&connlimit->mask, printer->family), connlimit->destination ? 'd' : 's');
}

static void put_u32_test(const struct printer *printer, const struct u32_test *test)
{
	static const char operators[][3] = {
		[XT_U32_AND] = "&",
		[XT_U32_LEFTSH] = "<<",
		[XT_U32_RIGHTSH] = ">>",
		[XT_U32_AT] = "@",
	};
	unsigned int i;

	for (i = 0; i < test->locations; i++)
		put(printer, "%s0x%x", i ? operators[test->location[i].operation] : "",
		    test->location[i].number);
	for (i = 0; i < test->values; i++) {
		uint32_t low = test->value[i].low, high = test->value[i].high;

		put(printer, low == high ? "%c0x%x" : "%c0x%x:0x%x", i ? ',' : '=', low, high);
	}
}

static void put_u32(const struct printer *printer, const struct match_u32 *u32)
{
	unsigned int i;

	put_option(printer, u32->invert, "--u32");
	put(printer, " \"");
	for (i = 0; i < u32->count; i++) {
		put(printer, "%s", i ? "&&" : "");
		put_u32_test(printer, &u32->tests[i]);
	}
	put(printer, "\"");
}

static void put_statistic(const struct printer *printer, const struct match_statistic *statistic)
{
	if (statistic->mode == XT_STATISTIC_MODE_NTH) {
		put(printer, " --mode nth");
		put_option(printer, statistic->invert, "--every");
		put(printer, " %" PRIu64 " --packet %u", (uint64_t)statistic->every + 1,
		    statistic->packet);
		return;
	}
	put(printer, " --mode random");
	put_option(printer, statistic->invert, "--probability");
	put(printer, " %.11f", 1.0 * statistic->probability / 0x80000000);
}

static void put_daytime(const struct printer *printer, const char *name, uint32_t seconds)
{
	put(printer, " --%s %02u:%02u:%02u", name, seconds / 3600, seconds / 60 % 60, seconds % 60);
}

static void put_date(const struct printer *printer, const char *name, uint32_t date)
{
	time_t seconds = (time_t)date;
	char text[32];
	struct tm tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
	put(printer, " --%s %s", name, text);
}

static void put_days(const struct printer *printer, const struct match_time *time)
{
	static const char names[][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun" };
	const char *separator = " --monthdays ";
	unsigned int i;

	if (time->month_days == XT_TIME_ALL_MONTHDAYS)
		separator = NULL;
	for (i = 1; i <= 31 && separator; i++) {
		if (time->month_days & 1u << i) {
			put(printer, "%s%u", separator, i);
			separator = ",";
		}
	}
	separator = time->week_days == XT_TIME_ALL_WEEKDAYS ? NULL : " --weekdays ";
	for (i = 1; i <= 7 && separator; i++) {
		if (time->week_days & 1u << i) {
			put(printer, "%s%s", separator, names[i - 1]);
			separator = ",";
		}
	}
}

static void put_time(const struct printer *printer, const struct match_time *time)
{
	if (time->day_start || time->day_stop != XT_TIME_MAX_DAYTIME) {
		put_daytime(printer, "timestart", time->day_start);
		put_daytime(printer, "timestop", time->day_stop);
	}
	put_days(printer, time);
	if (time->date_start)
		put_date(printer, "datestart", time->date_start);
	put_date(printer, "datestop", time->date_stop);
	if (time->flags & XT_TIME_LOCAL_TZ)
		put(printer, " --kerneltz");
	if (time->flags & XT_TIME_CONTIGUOUS)
		put(printer, " --contiguous");
}

static void put_ct_addresses(const struct printer *printer, const struct match_conntrack *conntrack)
{
	static const char names[][12] = { "--ctorigsrc", "--ctorigdst", "--ctreplsrc",
					  "--ctrepldst" };
	const union ruleset_address *const addresses[] = {
		&conntrack->original_source.value,
		&conntrack->original_destination.value,
		&conntrack->reply_source.value,
		&conntrack->reply_destination.value,
	};
	int whole = printer->family == AF_INET ? 32 : 128;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		unsigned int flag = (unsigned int)XT_CONNTRACK_ORIGSRC << i;

		if (!(conntrack->match & flag))
			continue;
		put_option(printer, conntrack->invert & flag, names[i]);
		put(printer, " ");
		put_address(printer, &addresses[i][0]);
		if (value_prefix(&addresses[i][1], printer->family) != whole)
			put_mask(printer, &addresses[i][1]);
	}
}

static void put_ct_ports(const struct printer *printer, const struct match_conntrack *conntrack)
{
	static const char names[][16] = { "--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport",
					  "--ctrepldstport" };
	const uint16_t *const ports[] = {
		&conntrack->original_source_port.low,
		&conntrack->original_destination_port.low,
		&conntrack->reply_source_port.low,
		&conntrack->reply_destination_port.low,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		unsigned int flag = (unsigned int)XT_CONNTRACK_ORIGSRC_PORT << i;

		if (!(conntrack->match & flag))
			continue;
		put_option(printer, conntrack->invert & flag, names[i]);
		put_range(printer, ports[i][0], ports[i][1]);
	}
}

static void put_recent(const struct printer *printer, const struct match_recent *recent)
{
	const uint8_t checks = recent->checks;

	put_option(printer, recent->invert,
		   checks & XT_RECENT_SET    ? "--set" :
		   checks & XT_RECENT_CHECK  ? "--rcheck" :
		   checks & XT_RECENT_UPDATE ? "--update" :
					       "--remove");
	if (recent->seconds)
		put(printer, " --seconds %u", recent->seconds);
	if (checks & XT_RECENT_REAP)
		put(printer, " --reap");
	if (recent->hits)
		put(printer, " --hitcount %u", recent->hits);
	if (checks & XT_RECENT_TTL)
		put(printer, " --rttl");
	put(printer, " --name %s --mask ", recent->name);
	put_address(printer, &recent->mask);
	put(printer, recent->destination ? " --rdest" : " --rsource");
}

static void put_rt(const struct printer *printer, const struct match_rt *rt)
{
	if (rt->type.given) {
		put_option(printer, rt->type.invert, "--rt-type");
		put_range(printer, rt->type.low, rt->type.high);
	}
	if (rt->segments.given) {
		put_option(printer, rt->segments.invert, "--rt-segsleft");
		put_range(printer, rt->segments.low, rt->segments.high);
	}
}

static void put_conntrack(const struct printer *printer, const struct match_conntrack *conntrack)
{
	unsigned int invert = conntrack->invert;

	if (conntrack->match & XT_CONNTRACK_STATE) {
		put_option(printer, invert & XT_CONNTRACK_STATE, "--ctstate");
		put_names(printer, state_names, conntrack->states);
	}
	if (conntrack->match & XT_CONNTRACK_PROTO) {
		put_option(printer, invert & XT_CONNTRACK_PROTO, "--ctproto");
		put(printer, " %u", conntrack->protocol);
	}
	put_ct_addresses(printer, conntrack);
	put_ct_ports(printer, conntrack);
	if (conntrack->match & XT_CONNTRACK_STATUS) {
		put_option(printer, invert & XT_CONNTRACK_STATUS, "--ctstatus");
		put_names(printer, status_names, conntrack->status);
	}
	if (conntrack->match & XT_CONNTRACK_EXPIRES) {
		put_option(printer, invert & XT_CONNTRACK_EXPIRES, "--ctexpire");
		put_range(printer, conntrack->expires_low, conntrack->expires_high);
	}
	if (conntrack->match & XT_CONNTRACK_DIRECTION)
		put(printer, " --ctdir %s", invert & XT_CONNTRACK_DIRECTION ? "REPLY" : "ORIGINAL");
}

static void put_match(const struct printer *printer, const struct match *match)
{
	put(printer, " -m %s", match_name(match->kind));
	switch ((enum match_kind)match->kind) {
	case MATCH_TCP:
		put_tcp(printer, &match->tcp);
		break;
	case MATCH_UDP:
	case MATCH_SCTP:
		put_ports(printer, "--sport", &match->ports.source);
		put_ports(printer, "--dport", &match->ports.destination);
		break;
	case MATCH_ICMP:
		put_icmp(printer, "--icmp-type", &match->icmp);
		break;
	case MATCH_ICMPV6:
		put_icmp(printer, "--icmpv6-type", &match->icmp);
		break;
	case MATCH_MULTIPORT:
		put_multiport(printer, &match->multiport);
		break;
	case MATCH_IPRANGE:
		put_address_range(printer, "--src-range", &match->iprange->source);
		put_address_range(printer, "--dst-range", &match->iprange->destination);
		break;
	case MATCH_MARK:
		put_option(printer, match->mark.invert, "--mark");
		put_mark(printer, match->mark.value, match->mark.mask);
		break;
	case MATCH_DSCP:
		put_option(printer, match->dscp.invert, "--dscp");
		put(printer, " 0x%02x", match->dscp.value);
		break;
	case MATCH_TOS:
		put_option(printer, match->tos.invert, "--tos");
		put(printer, " 0x%02x/0x%02x", match->tos.value, match->tos.mask);
		break;
	case MATCH_ECN:
		put_ecn(printer, &match->ecn);
		break;
	case MATCH_TTL:
		put_ttl(printer, "--ttl", &match->ttl);
		break;
	case MATCH_HL:
		put_ttl(printer, "--hl", &match->ttl);
		break;
	case MATCH_LENGTH:
		put_option(printer, match->range.invert, "--length");
		put_range(printer, match->range.low, match->range.high);
		break;
	case MATCH_TCPMSS:
		put_option(printer, match->range.invert, "--mss");
		put_range(printer, match->range.low, match->range.high);
		break;
	case MATCH_PKTTYPE:
		put_option(printer, match->pkttype.invert, "--pkt-type");
		put(printer, " %s", name_of(pkttype_names, match->pkttype.type));
		break;
	case MATCH_MAC:
		put_mac(printer, &match->mac);
		break;
	case MATCH_ADDRTYPE:
		put_addrtype(printer, &match->addrtype);
		break;
	case MATCH_LIMIT:
		put_limit(printer, &match->limit);
		break;
	case MATCH_HASHLIMIT:
		put_hashlimit(printer, match->hashlimit);
		break;
	case MATCH_CONNLIMIT:
		put_connlimit(printer, &match->connlimit);
		break;
	case MATCH_SET:
		put_option(printer, match->set.invert, "--match-set");
		put_set(printer, &match->set.set);
		break;
	case MATCH_COMMENT:
		put(printer, " --comment");
		put_text(printer, match->comment.text);
		break;
	case MATCH_U32:
		put_u32(printer, match->u32);
		break;
	case MATCH_STATISTIC:
		put_statistic(printer, &match->statistic);
		break;
	case MATCH_TIME:
		put_time(printer, &match->time);
		break;
	case MATCH_CONNTRACK:
		put_conntrack(printer, match->conntrack);
		break;
	case MATCH_STATE:
		put_option(printer, match->state.invert, "--state");
		put_names(printer, state_names, match->state.states);
		break;
	case MATCH_RECENT:
		put_recent(printer, match->recent);
		break;
	case MATCH_RT:
		put_rt(printer, &match->rt);
		break;
	case MATCH_KINDS:
		break;
	}
}

/* ---- Targets ---------------------------------------------------------------- */

static void put_log(const struct printer *printer, const struct target_log *log)
{
	static const struct {
		char name[17];
		uint8_t flag;
	} flags[] = {
		{ "log-tcp-sequence", XT_LOG_TCPSEQ }, { "log-tcp-options", XT_LOG_TCPOPT },
		{ "log-ip-options", XT_LOG_IPOPT },    { "log-uid", XT_LOG_UID },
		{ "log-macdecode", XT_LOG_MACDECODE },
	};
	unsigned int i;

	if (*log->prefix) {
		put(printer, " --log-prefix");
		put_text(printer, log->prefix);
	}
	if (log->level != 4)
		put(printer, " --log-level %u", log->level);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		if (log->flags & flags[i].flag)
			put(printer, " --%s", flags[i].name);
	}
}

static void put_nflog(const struct printer *printer, const struct target_nflog *nflog)
{
	if (*nflog->prefix) {
		put(printer, " --nflog-prefix");
		put_text(printer, nflog->prefix);
	}
	if (nflog->group)
		put(printer, " --nflog-group %u", nflog->group);
	if (nflog->size_given)
		put(printer, " --nflog-size %u", nflog->size);
	if (nflog->threshold)
		put(printer, " --nflog-threshold %u", nflog->threshold);
}

static void put_set_target(const struct printer *printer, const struct target_set *set)
{
	if (*set->add.name) {
		put(printer, " --add-set");
		put_set(printer, &set->add);
	}
	if (set->exist)
		put(printer, " --exist");
	if (set->timeout_given)
		put(printer, " --timeout %u", set->timeout);
	if (*set->del.name) {
		put(printer, " --del-set");
		put_set(printer, &set->del);
	}
}

static void put_target(const struct printer *printer, const struct ruleset *ruleset,
		       const struct target *target)
{
	switch ((enum target_kind)target->kind) {
	case TARGET_NONE:
	case TARGET_KINDS:
		return;
	case TARGET_JUMP:
	case TARGET_GOTO:
		put(printer, " %s %s", target_name(target->kind),
		    ruleset->chains[target->chain].name);
		return;
	default:
		put(printer, " -j %s", target_name(target->kind));
	}
	switch (target->kind) {
	case TARGET_LOG:
		put_log(printer, &target->log);
		break;
	case TARGET_NFLOG:
		put_nflog(printer, &target->nflog);
		break;
	case TARGET_SET:
		put_set_target(printer, target->set);
		break;
	case TARGET_MARK:
		put(printer, " --set-xmark 0x%x/0x%x", target->mark.value, target->mark.mask);
		break;
	case TARGET_REJECT:
		put(printer, " --reject-with %s", reject_names[target->reject]);
		break;
	default:
		break;
	}
}

/* ---- Rules and chains ------------------------------------------------------- */

static void put_network(const struct printer *printer, const char *name,
			const struct match_address *address)
{
	if (!address->given)
		return;
	put_option(printer, address->invert, name);
	put(printer, " ");
	put_address(printer, &address->value);
	put_mask(printer, &address->mask);
}

static void put_interface(const struct printer *printer, const char *name,
			  const struct match_interface *interface)
{
	if (!interface->given)
		return;
	put_option(printer, interface->invert, name);
	put(printer, " %s%s", interface->name, interface->wildcard ? "+" : "");
}

static void put_protocol(const struct printer *printer, const struct match_protocol *protocol)
{
	const char *name = name_of(protocol_names, protocol->number);

	if (!protocol->given)
		return;
	put_option(printer, protocol->invert, "-p");
	if (name)
		put(printer, " %s", name);
	else
		put(printer, " %u", protocol->number);
}

void ruleset_print_rule(const struct ruleset *ruleset, const struct rule *rule, FILE *stream)
{
	struct printer printer = { stream, ruleset->family };
	unsigned int i;

	put(&printer, "-A %s", ruleset->chains[rule->chain].name);
	put_network(&printer, "-s", &rule->source);
	put_network(&printer, "-d", &rule->destination);
	put_interface(&printer, "-i", &rule->in);
	put_interface(&printer, "-o", &rule->out);
	put_protocol(&printer, &rule->protocol);
	if (rule->fragment.given)
		put_option(&printer, rule->fragment.invert, "-f");
	for (i = 0; i < rule->match_count; i++)
		put_match(&printer, &rule->matches[i]);
	put_target(&printer, ruleset, &rule->target);
}

static void put_chain(const struct printer *printer, const struct chain *chain)
{
	static const char policies[][7] = {
		[POLICY_NONE] = "-",
		[POLICY_ACCEPT] = "ACCEPT",
		[POLICY_DROP] = "DROP",
	};
	bool builtin = chain->policy != POLICY_NONE;

	put(printer, ":%s %s [%" PRIu64 ":%" PRIu64 "]\n", chain->name, policies[chain->policy],
	    builtin ? chain->packets : 0, builtin ? chain->bytes : 0);
}

void ruleset_print(const struct ruleset *ruleset, bool counters, FILE *stream)
{
	struct printer printer = { stream, ruleset->family };
	uint32_t i;

	put(&printer, "*filter\n");
	for (i = 0; i < ruleset_filter_chains(ruleset); i++)
		put_chain(&printer, &ruleset->chains[i]);
	for (i = 0; i < ruleset_filter_rules(ruleset); i++) {
		const struct rule *rule = &ruleset->rules[i];

		if (counters)
			put(&printer, "[%" PRIu64 ":%" PRIu64 "] ", rule->packets, rule->bytes);
		ruleset_print_rule(ruleset, rule, stream);
		put(&printer, "\n");
	}
	put(&printer, "COMMIT\n");
}
