/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter's rules: what is read into which field, what is printed where iptables-save would
 * lose something, and each refusal with its message. That the rest is printed as iptables-save
 * does it is tests/filter/save_test.py's.
 */
#include "unit.h"

#include <errno.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/ruleset.h"
#include "util.h"

#define TABLE(rules) "*filter\n:one - [0:0]\n:two - [0:0]\n" rules "COMMIT\n"

static char said[2048]; /* all messages, one a line; warnings begin with "warning: " */
static struct ruleset ruleset;

static void say(void *context, bool warning, const char *message)
{
	size_t used = strlen(said);

	(void)context;
	snprintf(said + used, sizeof(said) - used, "%s%s\n", warning ? "warning: " : "", message);
}

static const struct ruleset_report report = { .say = say, .file = "f" };

static int parse(const char *text, size_t size, uint8_t family)
{
	said[0] = '\0';
	return ruleset_parse(&ruleset, text, size, family, &report);
}

static int end(void **state)
{
	(void)state;
	ruleset_free(&ruleset);
	return 0;
}

/* The rules of the text between the table's lines, which are right */
static const struct rule *rules_of(const char *rules, uint8_t family)
{
	char text[1024];

	ruleset_free(&ruleset);
	snprintf(text, sizeof(text), TABLE("%s\n"), rules);
	if (parse(text, strlen(text), family))
		print_message("# %s", said);
	assert_string_equal(said, "");
	return ruleset.rules;
}

static const struct match *match_of(const char *match)
{
	char rule[512];
	const struct rule *rules;

	snprintf(rule, sizeof(rule), "-A INPUT %s", match);
	rules = rules_of(rule, AF_INET);
	assert_int_equal(ruleset.rule_count, 1);
	return rules->matches;
}

/* ---- Fields ------------------------------------------------------------------ */

static void test_basic(void **state)
{
	const struct rule *rule =
		rules_of("[7:8] -A FORWARD ! -s 10.1.2.3/255.0.255.0 -d 192.0.2.1 "
			 "-i eth+ ! -o lo -p 17 ! -f -g two",
			 AF_INET);

	(void)state;
	assert_int_equal(ruleset.rule_count, 1);
	assert_memory_equal(rule->source.value.bytes, "\x0a\0\x02\0\0\0\0\0", 8);
	assert_memory_equal(rule->source.mask.bytes, "\xff\0\xff\0\0\0\0\0", 8);
	assert_true(rule->source.given && rule->source.invert);
	assert_memory_equal(rule->destination.value.bytes, "\xc0\0\x02\x01", 4);
	assert_true(rule->destination.given && !rule->destination.invert);
	assert_string_equal(rule->in.name, "eth");
	assert_int_equal(rule->in.length, 3);
	assert_true(rule->in.given && rule->in.wildcard && !rule->in.invert);
	assert_string_equal(rule->out.name, "lo");
	assert_true(rule->out.given && !rule->out.wildcard && rule->out.invert);
	assert_true(rule->protocol.given && rule->protocol.number == 17);
	assert_true(rule->fragment.given && rule->fragment.invert);
	assert_int_equal(rule->target.kind, TARGET_GOTO);
	assert_string_equal(ruleset.chains[rule->target.chain].name, "two");
	assert_int_equal(rule->packets, 7);
	assert_int_equal(rule->bytes, 8);
	assert_int_equal(rule->chain, CHAIN_FORWARD);
	assert_int_equal(rule->line, 4);
	assert_int_equal(rule->column, 7);
	assert_int_equal(rule->source.column, 23);
}

/* What matches anything is not given; what matches nothing is. */
static void test_any(void **state)
{
	const struct rule *rule = rules_of("-A INPUT -s 10.0.0.1/0 -i + -p all", AF_INET);

	(void)state;
	assert_false(rule->source.given || rule->in.given || rule->protocol.given);
	assert_int_equal(rule->source.value.words[0], 0);
	rule = rules_of("-A INPUT ! -s 10.0.0.1/0 ! -i +", AF_INET);
	assert_true(rule->source.given && rule->source.invert && !rule->source.mask.words[0]);
	assert_true(rule->in.given && rule->in.invert && rule->in.wildcard && !rule->in.length);
}

static void test_old_negation(void **state)
{
	const struct rule *rule = rules_of("-A INPUT -s ! 10.0.0.1 -i ! lo -p ! udp", AF_INET);
	const struct match *match;

	(void)state;
	assert_true(rule->source.invert && rule->in.invert && rule->protocol.invert);
	match = match_of("-p tcp --dport ! 22 -m mark --mark ! 5");
	assert_true(match[0].tcp.destination.invert && match[1].mark.invert);
}

static void test_addresses(void **state)
{
	const struct rule *rules =
		rules_of("-A INPUT -s 2001:db8::1,2001:db8::2 -d ::1,::2 -j DROP", AF_INET6);
	unsigned int i;

	(void)state;
	assert_int_equal(ruleset.rule_count, 4);
	for (i = 0; i < 4; i++) {
		assert_int_equal(rules[i].source.value.bytes[15], i / 2 + 1);
		assert_int_equal(rules[i].destination.value.bytes[15], i % 2 + 1);
		assert_int_equal(rules[i].source.mask.bytes[15], 0xff);
	}
}

static void test_ports(void **state)
{
	const struct match *match = match_of("-p tcp --sport :1023 ! --dport 0xff --syn");

	(void)state;
	assert_int_equal(match->kind, MATCH_TCP);
	assert_int_equal(match->tcp.source.low, 0);
	assert_int_equal(match->tcp.source.high, 1023);
	assert_true(match->tcp.destination.given && match->tcp.destination.invert);
	assert_int_equal(match->tcp.destination.low, 255);
	assert_int_equal(match->tcp.flags_mask, 0x17);
	assert_int_equal(match->tcp.flags, 2);
	match = match_of("-p udp --sport 5");
	assert_int_equal(match->ports.source.low, 5);
	assert_false(match->ports.destination.given);
	assert_int_equal(match->ports.destination.high, 65535);
	match = match_of("-p udplite -m multiport ! --ports 1,5:7,http");
	assert_int_equal(match->multiport.count, 3);
	assert_int_equal(match->multiport.of, MULTIPORT_EITHER);
	assert_int_equal(match->multiport.ports[1].low, 5);
	assert_int_equal(match->multiport.ports[1].high, 7);
	assert_int_equal(match->multiport.ports[2].low, 80);
	assert_true(match->multiport.invert);
}

static void test_rates(void **state)
{
	const struct match *match =
		match_of("-m limit --limit 6/minute --limit-burst 9 -m hashlimit "
			 "--hashlimit-above 4/s --hashlimit-name n "
			 "--hashlimit-mode srcip,dstport");

	(void)state;
	assert_int_equal(match[0].limit.cost, 100000);
	assert_int_equal(match[0].limit.burst, 9);
	assert_int_equal(match[1].hashlimit->average, 250000);
	assert_int_equal(match[1].hashlimit->burst, 5);
	assert_int_equal(match[1].hashlimit->mode,
			 XT_HASHLIMIT_INVERT | XT_HASHLIMIT_HASH_SIP | XT_HASHLIMIT_HASH_DPT);
	assert_int_equal(match[1].hashlimit->expire, 1000);
	assert_int_equal(match[1].hashlimit->source_prefix, 32);
	match = match_of(
		"-m hashlimit --hashlimit-upto 16b/s --hashlimit-burst 33b --hashlimit-name n");
	assert_int_equal(match->hashlimit->average, UINT32_MAX / 2);
	assert_int_equal(match->hashlimit->burst, 3);
	assert_int_equal(match->hashlimit->expire, 60000);
}

static void test_others(void **state)
{
	const struct match *match;

	(void)state;
	match = match_of(
		"-m time --datestart 2000-02-29T12:34:56 ! --weekdays Sa,7 --timestop 1:2");
	assert_int_equal(match->time.date_start, 951827696);
	assert_int_equal(match->time.date_stop, INT32_MAX);
	assert_int_equal(match->time.week_days, 0x3e);
	assert_int_equal(match->time.day_stop, 3720);
	match = match_of("-m statistic --mode random --probability 0.25");
	assert_int_equal(match->statistic.probability, 1u << 29);
	match = match_of("-m set --match-set s src,dst,src");
	assert_int_equal(match->set.set.dimensions, 3);
	assert_int_equal(match->set.set.sources, 5);
	match = match_of("-m conntrack ! --ctstate NEW --ctorigsrc 10.1.1.1/8 --ctdir REPLY");
	assert_int_equal(match->conntrack->match,
			 XT_CONNTRACK_STATE | XT_CONNTRACK_ORIGSRC | XT_CONNTRACK_DIRECTION);
	assert_int_equal(match->conntrack->invert, XT_CONNTRACK_STATE | XT_CONNTRACK_DIRECTION);
	assert_int_equal(match->conntrack->original_source.value.bytes[3], 1);
}

static void test_u32(void **state)
{
	const struct match *match = match_of("-m u32 --u32 \"0>>22&0x3C @ 12 = 5 , 7:9 && 4=1\"");

	(void)state;
	assert_int_equal(match->u32->count, 2);
	assert_int_equal(match->u32->tests[0].locations, 4);
	assert_int_equal(match->u32->tests[0].location[2].number, 0x3c);
	assert_int_equal(match->u32->tests[0].value[1].high, 9);
	assert_int_equal(match->u32->tests[1].values, 1);
}

static void test_targets(void **state)
{
	const struct rule *rules =
		rules_of("-A INPUT -j MARK --set-mark 0x10/0x3\n"
			 "-A INPUT -j MARK --and-mark 0xff\n"
			 "-A INPUT -j LOG --log-prefix \"a b\" --log-level info\n"
			 "-A INPUT -j SET --add-set s src --timeout 9 --exist\n"
			 "-A INPUT -p tcp -j REJECT --reject-with tcp-reset\n"
			 "-A INPUT",
			 AF_INET);

	(void)state;
	assert_int_equal(rules[0].target.mark.value, 0x10);
	assert_int_equal(rules[0].target.mark.mask, 0x13);
	assert_int_equal(rules[1].target.mark.value, 0);
	assert_int_equal(rules[1].target.mark.mask, 0xffffff00);
	assert_string_equal(rules[2].target.log.prefix, "a b");
	assert_int_equal(rules[2].target.log.level, 6);
	assert_string_equal(rules[3].target.set->add.name, "s");
	assert_true(rules[3].target.set->timeout_given && rules[3].target.set->exist);
	assert_int_equal(rules[3].target.set->timeout, 9);
	assert_int_equal(rules[4].target.reject, REJECT_TCP_RESET);
	assert_int_equal(rules[5].target.kind, TARGET_NONE);
}

/* ---- Order -------------------------------------------------------------------- */

static void test_order(void **state)
{
	static const char text[] =
		"*filter\n:z - [0:0]\n:B - [0:0]\n:FORWARD DROP [1:2]\n:a - [0:0]\n"
		"-A a -j RETURN\n-A INPUT -j z\n-A z -j a\n-A INPUT -g a\n-A z\n"
		"-A OUTPUT -j B\nCOMMIT\n";
	static const struct {
		const char *name;
		uint32_t first, count, depth;
		uint8_t policy, hooks;
	} expected[] = {
		{ "INPUT", 0, 2, 2, POLICY_ACCEPT, 1 },  { "FORWARD", 2, 0, 0, POLICY_DROP, 2 },
		{ "OUTPUT", 2, 1, 1, POLICY_ACCEPT, 4 }, { "B", 3, 0, 0, POLICY_NONE, 4 },
		{ "a", 3, 1, 0, POLICY_NONE, 1 },        { "z", 4, 2, 1, POLICY_NONE, 1 },
	};
	unsigned int i;

	(void)state;
	assert_int_equal(parse(text, strlen(text), AF_INET), 0);
	assert_int_equal(ruleset.chain_count, ARRAY_SIZE(expected));
	for (i = 0; i < ruleset.chain_count; i++) {
		const struct chain *chain = &ruleset.chains[i];

		assert_string_equal(chain->name, expected[i].name);
		assert_int_equal(chain->first, expected[i].first);
		assert_int_equal(chain->count, expected[i].count);
		assert_int_equal(chain->depth, expected[i].depth);
		assert_int_equal(chain->policy, expected[i].policy);
		assert_int_equal(chain->hooks, expected[i].hooks);
	}
	assert_int_equal(ruleset.rules[0].target.chain, 5);
	assert_int_equal(ruleset.rules[1].target.chain, 4);
	assert_int_equal(ruleset.rules[4].chain, 5);
	assert_int_equal(ruleset.rules[4].line, 8);
	assert_int_equal(ruleset.rules[5].line, 10);
}

/* ---- Printing ------------------------------------------------------------------- */

/* What iptables-save loses, and what it prints in a form of its own */
static void test_print(void **state)
{
	static const char *const rules[] = {
		"-A INPUT ! -s 0.0.0.0/0 -j DROP",
		"-A INPUT ! -i + -j DROP",
		"-A INPUT -m time --datestop 1970-01-01T00:00:00 -j DROP",
		"-A INPUT -p tcp -m tcp ! --dport 0:65535 -j DROP",
		"-A INPUT -p tcp -m tcp --tcp-flags NONE SYN -j DROP",
		"-A INPUT -p icmp -m icmp --icmp-type 3/0:5 -j DROP",
		"-A INPUT -j NFLOG --nflog-size 0",
		"-A INPUT -m comment --comment \"\\\\ \\\" \\' !\" -j DROP",
	};
	size_t i, size;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *rule = rules_of(rules[i], AF_INET);
		char *printed = NULL;
		FILE *stream = open_memstream(&printed, &size);

		ruleset_print_rule(&ruleset, rule, stream);
		fclose(stream);
		assert_string_equal(printed, rules[i]);
		free(printed);
	}
}

static void test_print_table(void **state)
{
	static const char expected[] = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"
				       ":OUTPUT ACCEPT [0:0]\n:one - [0:0]\n:two - [0:0]\n"
				       "-A INPUT -j one\nCOMMIT\n";
	char *printed = NULL;
	size_t size;
	FILE *stream;

	(void)state;
	rules_of("[1:2] -A INPUT -j one", AF_INET);
	stream = open_memstream(&printed, &size);
	ruleset_print(&ruleset, false, stream);
	fclose(stream);
	assert_string_equal(printed, expected);
	free(printed);
}

/* ---- Messages --------------------------------------------------------------------- */

struct refusal {
	const char *text; /* a rule, or a whole text if it begins with another character than - */
	const char *message;
	int error;
};

#define WRONG -EINVAL
#define LACKING -EOPNOTSUPP
#define MATCHES                                                                                       \
	" there are tcp udp sctp icmp multiport iprange mark dscp tos ecn ttl length tcpmss pkttype " \
	"mac addrtype limit hashlimit connlimit set comment u32 statistic time conntrack state "      \
	"recent"
#define TARGETS " there are ACCEPT DROP RETURN LOG NFLOG SET MARK REJECT"

static const struct refusal refusals[] = {
	/* The text */
	{ "", "f: has no table filter", WRONG },
	{ "# nothing\n\n", "f: has no table filter", WRONG },
	{ "*mangle\nCOMMIT\n",
	  "warning: f:1:1: '*mangle': this table stays with the kernel\n"
	  "f: has no table filter",
	  WRONG },
	{ "*filter\n", "f:2: COMMIT of the table of line 1 is missing", WRONG },
	{ "*filter\nCOMMIT\n*filter\n", "f:3:1: '*filter': there was one before", WRONG },
	{ "*filter x\n", "f:1:9: 'x': not expected here", WRONG },
	{ ":INPUT ACCEPT\n", "f:1:1: ':INPUT': outside of a table: *filter was expected first",
	  WRONG },
	{ "*filter\nACCEPT\n",
	  "f:2:1: 'ACCEPT': not expected here: a chain (:NAME), a rule (-A) or COMMIT", WRONG },
	{ "*filter\nCOMMIT \n",
	  "f:2:1: 'COMMIT': not expected here: a chain (:NAME), a rule (-A) or COMMIT", WRONG },
	{ "*filter\r\n", "f:1: ends with a carriage return: only line feeds end lines", WRONG },
	/* Chains */
	{ "*filter\n:INPUT\n", "f:2:1: ':INPUT': a policy is missing: ACCEPT, DROP or -", WRONG },
	{ "*filter\n:INPUT QUEUE\n",
	  "f:2:8: 'QUEUE': no policy of a built-in chain: ACCEPT or DROP", WRONG },
	{ "*filter\n:mine DROP\n", "f:2:7: 'DROP': only built-in chains have a policy: -", WRONG },
	{ "*filter\n:INPUT DROP [1]\n", "f:2:13: '[1]': not counters: [PACKETS:BYTES]", WRONG },
	{ "*filter\n:INPUT DROP [1:18446744073709551616]\n",
	  "f:2:13: '[1:18446744073709551616]': not counters: [PACKETS:BYTES]", WRONG },
	{ "*filter\n:INPUT DROP [1:1] x\n", "f:2:19: 'x': not expected here", WRONG },
	{ "*filter\n:a - [0:0]\n:a - [0:0]\n", "f:3:2: 'a': declared before, in line 2", WRONG },
	{ "*filter\n:a2345678901234567890123456789 -\n",
	  "f:2:2: 'a2345678901234567890123456789': longer than 28 bytes, which is all that a chain's "
	  "name can have",
	  WRONG },
	{ "*filter\n:-a -\n", "f:2:2: '-a': a chain's name does not begin so", WRONG },
	{ "*filter\n:DNAT -\n", "f:2:2: 'DNAT': the name of a target cannot be that of a chain",
	  WRONG },
	{ "*filter\n: -\n", "f:2:2: '': a chain has a name", WRONG },
	{ "*filter\n[1:2]\n", "f:2:1: '[1:2]': a rule is missing after this", WRONG },
	{ "*filter\n[1:x] -A INPUT\n", "f:2:1: '[1:x]': not counters: [PACKETS:BYTES]", WRONG },
	/* Words */
	{ "-A INPUT -m comment --comment \"x", "f:4:31: the quote is not closed", WRONG },
	{ "-A INPUT -m comment --comment \"\x01\x7f\xff\" x",
	  "f:4:37: 'x': an option was expected here", WRONG },
	{ "-A INPUT \x01\xff", "f:4:10: '\\x01\\xff': an option was expected here", WRONG },
	{ "-A INPUT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
	  "f:4:10: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': an option was expected here",
	  WRONG },
	/* Rules */
	{ "-I INPUT -j DROP",
	  "f:4:1: '-I': a rule begins with -A (other commands are not supported)", LACKING },
	{ "-A", "f:4:1: '-A': its value is missing", WRONG },
	{ "-A three", "f:4:4: 'three': no chain that was declared before", WRONG },
	{ "-A INPUT -A INPUT", "f:4:10: '-A': the rule has such an option already", WRONG },
	{ "-A INPUT -x", "f:4:10: '-x': not an option of a rule: -s -d -i -o -p -f -m -j -g -c",
	  WRONG },
	{ "-A INPUT -s", "f:4:10: '-s': its value is missing", WRONG },
	{ "-A INPUT -s host",
	  "f:4:13: 'host': not an IPv4 address or network (names are not looked up)", WRONG },
	{ "-A INPUT -s 10.0.0.1,10.0.0.01",
	  "f:4:22: '10.0.0.01': not an IPv4 address or network (names are not looked up)", WRONG },
	{ "-A INPUT -s 10.0.0.0/8/8",
	  "f:4:13: '10.0.0.0/8/8': not an IPv4 address or network (names are not looked up)",
	  WRONG },
	{ "-A INPUT ! -s 1.1.1.1,2.2.2.2",
	  "f:4:15: '1.1.1.1,2.2.2.2': no ! is possible with several addresses", WRONG },
	{ "-A INPUT -i eth0/1", "f:4:13: 'eth0/1': not the name of an interface", WRONG },
	{ "-A INPUT -i \"\"", "f:4:13: '': not the name of an interface", WRONG },
	{ "-A INPUT -p nothing", "f:4:13: 'nothing': no protocol's name or number (0 to 255)",
	  WRONG },
	{ "-A INPUT ! ! -p tcp", "f:4:12: '!': there is one before it already", WRONG },
	{ "-A INPUT ! -p ! tcp", "f:4:15: '!': the option has a ! already", WRONG },
	{ "-A INPUT !", "f:4:10: '!': an option is missing after it", WRONG },
	{ "-A INPUT ! -j DROP", "f:4:10: '-j': there is no ! before this option", WRONG },
	{ "-A INPUT -c 1", "f:4:10: '-c': its value is missing", WRONG },
	{ "-A INPUT -c a b", "f:4:13: 'a': not counters: PACKETS BYTES", WRONG },
	{ "-A INPUT -m string --algo bm",
	  "f:4:13: 'string': not a match that is supported;" MATCHES, LACKING },
	{ "-A INPUT -m udplite", "f:4:13: 'udplite': not a match that is supported;" MATCHES,
	  LACKING },
	{ "-A INPUT -m recent --set --hitcount 3",
	  "f:4:13: 'recent': --seconds, --hitcount, --rttl and --reap are for --rcheck and --update",
	  WRONG },
	{ "-A INPUT -m recent --rcheck --hitcount 256", "f:4:40: '256': not a number from 0 to 255",
	  WRONG },
	{ "-A INPUT -j DNAT", "f:4:13: 'DNAT': not a target that is supported;" TARGETS, LACKING },
	{ "-A INPUT -j QUEUE", "f:4:13: 'QUEUE': not a target that is supported;" TARGETS,
	  LACKING },
	{ "-A INPUT -g DROP", "f:4:13: 'DROP': -g leads to chains, not to targets;" TARGETS,
	  LACKING },
	{ "-A INPUT -j three", "f:4:13: 'three': no target, and no chain that was declared before",
	  WRONG },
	{ "-A INPUT -j OUTPUT", "f:4:13: 'OUTPUT': rules cannot lead to a built-in chain", WRONG },
	{ "-A INPUT -j DROP -g one", "f:4:18: '-g': the rule has such an option already", WRONG },
	{ "-A INPUT --dport 22",
	  "f:4:10: '--dport': this option is one of tcp, which has to come before it", WRONG },
	{ "-A INPUT --log-prefix x",
	  "f:4:10: '--log-prefix': this option is one of LOG, which has to come before it", WRONG },
	{ "-A INPUT --uid-owner 5", "f:4:10: '--uid-owner': not an option that is supported",
	  LACKING },
	/* Options that are not supported */
	{ "-A INPUT -p sctp --chunk-types all INIT",
	  "f:4:18: '--chunk-types': this option of sctp is not supported", LACKING },
	{ "-A INPUT -m set --match-set s src --return-nomatch",
	  "f:4:35: '--return-nomatch': this option of set is not supported", LACKING },
	{ "-A INPUT -m set --match-set s src ! --update-counters",
	  "f:4:37: '--update-counters': this option of set is not supported", LACKING },
	{ "-A INPUT -j SET --map-set s src",
	  "f:4:17: '--map-set': this option of SET is not supported", LACKING },
	/* Values */
	{ "-A INPUT -p tcp --dport 80:79",
	  "f:4:25: '80:79': not a port or a range of ports (LOW:HIGH)", WRONG },
	{ "-A INPUT -p tcp --dport 010", "f:4:25: '010': not a port or a range of ports (LOW:HIGH)",
	  WRONG },
	{ "-A INPUT -p tcp --dport 1 --dport 2",
	  "f:4:27: '--dport': the match or target has this option, or one that excludes it, already",
	  WRONG },
	{ "-A INPUT -p tcp --syn=5", "f:4:23: '5': the option has no value", WRONG },
	{ "-A INPUT -p tcp --tcp-flags SYN,FOO SYN",
	  "f:4:33: 'FOO': no flag of TCP; there are FIN SYN RST PSH ACK URG ALL NONE", WRONG },
	{ "-A INPUT -p tcp --tcp-flags SYN BAR",
	  "f:4:33: 'BAR': no flag of TCP; there are FIN SYN RST PSH ACK URG ALL NONE", WRONG },
	{ "-A INPUT -p tcp -m multiport --dports 1,x",
	  "f:4:41: 'x': not a port or a range of ports (LOW:HIGH)", WRONG },
	{ "-A INPUT -m limit ! --limit 5/s", "f:4:19: '--limit': there is no ! before this option",
	  WRONG },
	{ "-A INPUT -m limit --limit 5/year",
	  "f:4:27: '5/year': not a rate: NUMBER, or NUMBER/second, /minute, /hour or /day", WRONG },
	{ "-A INPUT -m connlimit --connlimit-upto 5 --connlimit-mask 33",
	  "f:4:59: '33': not the length of a prefix", WRONG },
	{ "-A INPUT -m set --match-set s here", "f:4:31: 'here': not a list of src and dst",
	  WRONG },
	{ "-A INPUT -m u32 --u32 \"0&1=2|3\"", "f:4:23: '|3': , or && was expected here", WRONG },
	{ "-A INPUT -m u32 --u32 0<<32=1", "f:4:28: '=1': a shift is by 31 bits at most", WRONG },
	{ "-A INPUT -m statistic --mode random --probability 1e-3",
	  "f:4:51: '1e-3': not a number from 0 to 1, like 0.25", WRONG },
	{ "-A INPUT -m state --state OLD",
	  "f:4:27: 'OLD': no state; there are INVALID NEW ESTABLISHED RELATED UNTRACKED", WRONG },
	{ "-A INPUT -j REJECT --reject-with tcp",
	  "f:4:13: 'REJECT': tcp-reset needs -p tcp, without a !", WRONG },
	{ "-A INPUT -m hashlimit --hashlimit-upto 1023mb/s --hashlimit-burst 4294967295mb "
	  "--hashlimit-name n",
	  "f:4:13: 'hashlimit': the burst is more than can be counted", WRONG },
	{ "-A INPUT -m hashlimit --hashlimit-upto 16b/s --hashlimit-burst 65536mb "
	  "--hashlimit-name n",
	  "f:4:13: 'hashlimit': the burst is more than can be counted", WRONG },
	/* Matches and rules as a whole */
	{ "-A INPUT -m mark", "f:4:13: 'mark': an option is missing that it must have", WRONG },
	{ "-A INPUT -m ecn", "f:4:13: 'ecn': an option is missing: it has none", WRONG },
	{ "-A INPUT ! -p tcp -m tcp",
	  "f:4:22: 'tcp': needs -p of the same protocol (-p tcp for tcpmss), without a !", WRONG },
	{ "-A INPUT -o eth0", "f:4:13: 'eth0': -o is not possible in INPUT", WRONG },
	{ "-A OUTPUT -i eth0", "f:4:14: 'eth0': -i is not possible in OUTPUT", WRONG },
	{ "-A one -j two\n-A two -g one", "f:4:11: 'two': chains lead back to themselves", WRONG },
	{ "-A one -m mac --mac-source 2:0:0:0:0:1\n-A OUTPUT -j one",
	  "f:4:11: 'mac': there is no source address in OUTPUT", WRONG },
};

static void test_messages(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *refusal = &refusals[i];
		bool rule = *refusal->text == '-';
		char text[512], expected[512];
		int error;

		snprintf(text, sizeof(text), rule ? TABLE("%s\n") : "%s", refusal->text);
		snprintf(expected, sizeof(expected), "%s\n", refusal->message);
		error = parse(text, strlen(text), AF_INET);
		if (error != refusal->error || strcmp(said, expected) != 0)
			print_message("# for: %s\n# said: %s", refusal->text, said);
		assert_int_equal(error, refusal->error);
		assert_string_equal(said, expected);
		assert_null(ruleset.chains);
		assert_null(ruleset.memory);
	}
}

static void test_zero_byte(void **state)
{
	static const char text[] = "*filter\n-A INPUT \0 -j DROP\nCOMMIT\n";
	static const char comment[] = "*filter\n# \0\nCOMMIT\n";

	(void)state;
	assert_int_equal(parse(text, sizeof(text) - 1, AF_INET), -EINVAL);
	assert_string_equal(said, "f:2: a zero byte is in it\n");
	assert_int_equal(parse(comment, sizeof(comment) - 1, AF_INET), 0);
}

static void test_never(void **state)
{
	static const char text[] = TABLE("-A INPUT -p ah -j DROP\n");

	(void)state;
	assert_int_equal(parse(text, strlen(text), AF_INET6), 0);
	assert_string_equal(said,
			    "warning: f:4:13: 'ah': never matches: it is an extension header of "
			    "IPv6\n");
}

/* ---- Bounds ------------------------------------------------------------------------ */

/* A text of head, count times part, and tail */
static int parse_repeated(const char *head, const char *part, unsigned int count, const char *tail)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	unsigned int i;
	int error;

	fputs(head, stream);
	for (i = 0; i < count; i++)
		fprintf(stream, part, i);
	fputs(tail, stream);
	fclose(stream);
	ruleset_free(&ruleset);
	error = parse(text, size, AF_INET);
	free(text);
	return error;
}

static void test_bounds(void **state)
{
	static const char end_of_table[] = "\nCOMMIT\n";

	(void)state;
	assert_int_equal(parse_repeated("*filter\n-A INPUT -m comment --comment ", "x", 65504,
					end_of_table),
			 0);
	assert_int_equal(parse_repeated("*filter\n-A INPUT -m comment --comment ", "x", 65505,
					end_of_table),
			 -E2BIG);
	assert_string_equal(said, "f:2: longer than 65534 bytes\n");
	assert_int_equal(
		parse_repeated("*filter\n-A INPUT", " -m mark --mark %u", 64, end_of_table), 0);
	assert_int_equal(parse_repeated("*filter\n-A INPUT", " -m mark --mark %u", 65,
					end_of_table),
			 -EINVAL);
	assert_string_equal(said, "f:2:1155: 'mark': more than 64 matches in a rule\n");
	assert_int_equal(parse_repeated("*filter\n-A INPUT", " a", 1025, end_of_table), -EINVAL);
	assert_string_equal(said, "f:2:2054: more than 1024 words in a line\n");
	assert_int_equal(
		parse_repeated("*filter\n-A INPUT -s 1.1.1.1", ",2.2.2.2", 63, end_of_table), 0);
	assert_int_equal(ruleset.rule_count, 64);
	assert_int_equal(parse_repeated("*filter\n-A INPUT -s 1.1.1.1", ",2.2.2.2", 64,
					end_of_table),
			 -EINVAL);
	assert_int_equal(parse_repeated("*filter\n", ":c%u - [0:0]\n", 16381, "COMMIT\n"), 0);
	assert_int_equal(ruleset.chain_count, RULESET_CHAINS_MAX);
	assert_int_equal(parse_repeated("*filter\n", ":c%u - [0:0]\n", 16382, "COMMIT\n"), -E2BIG);
	assert_string_equal(said, "f:16383: more than 16384 chains\n");
	assert_int_equal(parse_repeated("*filter\n", "-A INPUT\n", 262144, "COMMIT\n"), 0);
	assert_int_equal(parse_repeated("*filter\n", "-A INPUT\n", 262145, "COMMIT\n"), -E2BIG);
	assert_string_equal(said, "f:262146: more than 262144 rules\n");
}

/* As deep as chains can be, and a loop of all of them: nothing recurses. */
static void test_deep(void **state)
{
	unsigned int count = RULESET_CHAINS_MAX - CHAIN_BUILTIN, i, loop;

	(void)state;
	for (loop = 0; loop < 2; loop++) {
		char *text = NULL;
		size_t size;
		FILE *stream = open_memstream(&text, &size);

		fprintf(stream, "*filter\n");
		for (i = 0; i < count; i++)
			fprintf(stream, ":c%u - [0:0]\n", i);
		fprintf(stream, "-A INPUT -j c0\n");
		for (i = 0; i + 1 < count + loop; i++)
			fprintf(stream, "-A c%u -j c%u\n", i, (i + 1) % count);
		fprintf(stream, "COMMIT\n");
		fclose(stream);
		assert_int_equal(parse(text, size, AF_INET), loop ? -EINVAL : 0);
		if (!loop)
			assert_int_equal(ruleset.chains[CHAIN_INPUT].depth, count);
		ruleset_free(&ruleset);
		free(text);
	}
}

/* ---- The table nat --------------------------------------------------------------- */

#define NAT(rules)                                                                            \
	"*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:b - [0:0]\n:a - [0:0]\n" \
	":c - [0:0]\n" rules "COMMIT\n"

static void parse_nat(const char *text, uint8_t family)
{
	ruleset_free(&ruleset);
	if (parse(text, strlen(text), family))
		print_message("# %s", said);
	assert_string_equal(said, "");
}

/* Behind the filter's: PREROUTING, and the chains that it leads to. */
static void test_nat_order(void **state)
{
	static const char text[] =
		NAT("-A c -j ACCEPT\n-A a -p tcp -j DNAT --to-destination 10.0.0.1:80\n"
		    "-A PREROUTING -p udp -j REDIRECT --to-ports 53\n-A PREROUTING -g a\n"
		    "-A POSTROUTING -j b\n-A b -j MASQUERADE\n") TABLE("-A FORWARD -j one\n");
	const struct rule *rules;

	(void)state;
	parse_nat(text, AF_INET);
	assert_true(ruleset.translates);
	assert_int_equal(ruleset.nat_chain, 5);
	assert_int_equal(ruleset.chain_count, 7);
	assert_string_equal(ruleset.chains[5].name, "PREROUTING");
	assert_string_equal(ruleset.chains[6].name, "a");
	assert_int_equal(ruleset_filter_rules(&ruleset), 1);
	assert_int_equal(ruleset.rule_count, 4);
	rules = ruleset.rules;
	assert_int_equal(rules[1].target.kind, TARGET_REDIRECT);
	assert_int_equal(rules[1].target.nat->port, 53);
	assert_int_equal(rules[2].target.chain, 6);
	assert_int_equal(rules[3].chain, 6);
	assert_int_equal(rules[3].target.nat->port, 80);
	assert_int_equal(rules[3].target.nat->address.bytes[3], 1);
	assert_int_equal(rules[3].target.nat->mask.words[0], UINT32_MAX);
	assert_int_equal(ruleset.nat_size, strstr(text, "\n*filter") - text);
	ruleset_forget_nat(&ruleset);
	assert_int_equal(ruleset.rule_count, 1);
	assert_int_equal(ruleset.nat_chain, 0);
}

/* Sources only: there is nothing to translate, but connections are to be known. */
static void test_nat_sources(void **state)
{
	(void)state;
	parse_nat(NAT("-A POSTROUTING -j MASQUERADE\n") TABLE(""), AF_INET);
	assert_true(ruleset.translates);
	assert_int_equal(ruleset.nat_chain, 0);
	assert_int_equal(ruleset.chain_count, 5);
	parse_nat(NAT("-A PREROUTING -j ACCEPT\n-A PREROUTING -j LOG\n") TABLE(""), AF_INET);
	assert_false(ruleset.translates);
	assert_int_equal(ruleset.rule_count, 0);
}

struct nat_case {
	const char *rule;
	const char *message; /* NULL: it is understood */
	uint8_t matches;     /* that are left */
	bool protocol;       /* the rule's is */
};

static const struct nat_case nat_cases[] = {
	{ "-p tcp -m tcp --dport 1 -j DNAT --to-destination 10.0.0.1", NULL, 1, true },
	{ "-p tcp -m tcp --dport 1 -j DNAT --to-destination :80 --persistent", NULL, 1, true },
	{ "-d 10.1.0.0/16 -j NETMAP --to 10.2.0.0/16", NULL, 0, false },
	{ "-m addrtype --dst-type LOCAL -m conntrack --ctstate NEW -j REDIRECT", NULL, 2, false },
	{ "-p tcp -m tcp --dport 1 -j DNAT --to-destination 10.0.0.1-10.0.0.2",
	  "f:7:64: '10.0.0.1-10.0.0.2': not one address (which of a range it is, the kernel decides)",
	  1, true },
	{ "-p tcp -m tcp --dport 1 -j DNAT --to-destination 10.0.0.1:80-81",
	  "f:7:64: '10.0.0.1:80-81': not one port (which of a range it is, the kernel decides)", 1,
	  true },
	{ "-p tcp -j DNAT --to-destination 10.0.0.1 --random",
	  "f:7:56: '--random': this option of DNAT is not supported", 0, true },
	{ "-j DNAT --to-destination 10.0.0.1:80",
	  "f:7:18: 'DNAT': a port needs -p tcp, udp, udplite, sctp or dccp", 0, false },
	{ "-p tcp -m tcp --dport 1 -m nothing -j DNAT --to-destination 10.0.0.1",
	  "f:7:42: 'nothing'", 1, true },
	{ "-p tcp -m tcp --dport 1 -m multiport --sports 1,2,x -j a", "f:7:65: 'x'", 0, true },
	{ "-p tcp -m tcp --dport 1 -m multiport -j a", "f:7:42: 'multiport'", 1, true },
	{ "-p tcp -d 10.0.0.1,nobody -j a", "f:7:34: 'nobody'", 0, false },
	{ "-p tcp -m limit --limit 1/sec -m tcp --dport 1 -j a",
	  "f:7:25: 'limit': what this match will say only the kernel can tell", 1, true },
	{ "-p tcp -m set --match-set s src -j ACCEPT", "f:7:25: 'set'", 0, true },
	{ "-p tcp -j TPROXY --on-port 1", "f:7:25: 'TPROXY'", 0, true },
	{ "-p tcp -j DROP", "f:7:25: 'DROP': no target of the table nat", 0, true },
	{ "-p udp -m tcp --dport 1 -j a", "f:7:25: 'tcp'", 1, true },
};

/* What is not understood lets through what the rest of it does, and stops it. */
static void test_nat_unknown(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(nat_cases); i++) {
		const struct nat_case *wanted = &nat_cases[i];
		const struct rule *rule;
		char text[1024];

		snprintf(text, sizeof(text),
			 NAT("-A PREROUTING %s\n-A a -j DNAT --to-destination 10.0.0.9\n")
				 TABLE(""),
			 wanted->rule);
		parse_nat(text, AF_INET);
		ruleset_warn_of_nat(&ruleset, &report);
		rule = &ruleset.rules[0];
		if (!wanted->message)
			assert_string_equal(said, "");
		else if (!strstr(said, wanted->message))
			fail_msg("%s: %s", wanted->rule, said);
		assert_int_equal(rule->target.kind == TARGET_UNKNOWN, wanted->message != NULL);
		assert_int_equal(rule->match_count, wanted->matches);
		assert_int_equal(rule->protocol.given, wanted->protocol);
		assert_false(rule->target.kind == TARGET_UNKNOWN && rule->destination.given);
	}
}

static void test_nat_ipv6(void **state)
{
	const struct target_nat *nat;

	(void)state;
	parse_nat(NAT("-A PREROUTING -p tcp -j DNAT --to-destination [fd00::1]:80\n"
		      "-A PREROUTING -j DNAT --to-destination fd00::2\n"
		      "-A PREROUTING -p tcp -j DNAT --to-destination []:81\n") TABLE(""),
		  AF_INET6);
	nat = ruleset.rules[0].target.nat;
	assert_int_equal(nat->port, 80);
	assert_int_equal(nat->address.bytes[15], 1);
	nat = ruleset.rules[1].target.nat;
	assert_int_equal(nat->port, 0);
	assert_int_equal(nat->address.bytes[15], 2);
	nat = ruleset.rules[2].target.nat;
	assert_int_equal(nat->port, 81);
	assert_int_equal(nat->mask.words[3], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_basic, end),
		cmocka_unit_test_teardown(test_any, end),
		cmocka_unit_test_teardown(test_old_negation, end),
		cmocka_unit_test_teardown(test_addresses, end),
		cmocka_unit_test_teardown(test_ports, end),
		cmocka_unit_test_teardown(test_rates, end),
		cmocka_unit_test_teardown(test_others, end),
		cmocka_unit_test_teardown(test_u32, end),
		cmocka_unit_test_teardown(test_targets, end),
		cmocka_unit_test_teardown(test_order, end),
		cmocka_unit_test_teardown(test_print, end),
		cmocka_unit_test_teardown(test_print_table, end),
		cmocka_unit_test_teardown(test_messages, end),
		cmocka_unit_test_teardown(test_zero_byte, end),
		cmocka_unit_test_teardown(test_never, end),
		cmocka_unit_test_teardown(test_bounds, end),
		cmocka_unit_test_teardown(test_deep, end),
		cmocka_unit_test_teardown(test_nat_order, end),
		cmocka_unit_test_teardown(test_nat_sources, end),
		cmocka_unit_test_teardown(test_nat_unknown, end),
		cmocka_unit_test_teardown(test_nat_ipv6, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
