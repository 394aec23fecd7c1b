/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter's programs against a naive model: generated rulesets, and packets aimed at what their
 * rules tell apart. The model goes over the rules one by one, as the kernel's x_tables does;
 * verdicts, and the counters of all rules and policies, have to be the same. tests/net/filter_test.py
 * has iptables itself as the oracle. BPFW_TEST_SEED chooses rulesets and packets,
 * BPFW_TEST_RULESETS and BPFW_TEST_PACKETS how many.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "filter/dead.h"
#include "filter/load.h"
#include "filter/ruleset.h"
#include "tap.h"
#include "util.h"

#define RULESETS 12
#define PACKETS 600 /* of each ruleset, and as many broken ones */
#define LARGE 6000  /* rules, of which a packet meets few */
#define DEPTH 64

static uint32_t seed = 20261121;
static uint32_t packets_each = PACKETS;

static uint32_t from_environment(const char *name, uint32_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static uint32_t below(uint32_t limit)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % limit;
}

/* ---- Rulesets: few addresses and ports, so that rules overlap ---------------------------- */

static const char *address(char text[64], uint8_t family)
{
	uint32_t a = below(4), b = below(3), c = below(8);

	if (family == AF_INET)
		snprintf(text, 64, "10.%u.%u.%u", a, b, c);
	else
		snprintf(text, 64, "fd00:%x::%x:0:%x", a, b, c);
	return text;
}

static void put_address(FILE *to, const char *option, uint8_t family)
{
	static const char *const masks[2][8] = {
		{ "32", "30", "24", "16", "8", "31", "1", "255.0.0.255" },
		{ "128", "126", "64", "48", "32", "127", "1", "80" },
	};
	char text[64];

	if (below(3))
		fprintf(to, " %s%s %s/%s", below(5) ? "" : "! ", option, address(text, family),
			masks[family == AF_INET6][below(8)]);
}

static void put_ports(FILE *to, const char *option)
{
	uint32_t first = below(20);

	if (below(2))
		fprintf(to, "%s %s %u:%u", below(4) ? "" : " !", option, first, first + below(10));
}

static void put_tcp(FILE *to)
{
	static const char *const flags[] = { "SYN", "ACK", "SYN,ACK", "NONE" };

	fprintf(to, " -p tcp -m tcp");
	put_ports(to, "--sport");
	put_ports(to, "--dport");
	if (!below(3))
		fprintf(to, "%s --tcp-flags SYN,ACK,FIN %s", below(3) ? "" : " !", flags[below(4)]);
}

static void put_matches(FILE *to, uint8_t family)
{
	put_address(to, "-s", family);
	put_address(to, "-d", family);
	switch (below(5)) {
	case 0:
	case 1:
		put_tcp(to);
		break;
	case 2:
		fprintf(to, " -p udp -m multiport%s --%sports %u,%u,%u:%u", below(3) ? "" : " !",
			below(2) ? "d" : "", below(10), 10 + below(5), 16, 17 + below(5));
		break;
	case 3:
		fprintf(to, "%s -p %s", below(2) ? "" : " !", below(2) ? "udp" : "tcp");
		break;
	default:
		break;
	}
	if (!below(5)) {
		uint32_t least = 40 + below(60);

		fprintf(to, " -m length%s --length %u:%u", below(2) ? "" : " !", least,
			least + below(60));
	}
}

/* Chains call those that come after them only. */
static void put_target(FILE *to, uint32_t chain, uint32_t chains)
{
	uint32_t choice = below(10);

	if (choice < 2)
		fprintf(to, " -j ACCEPT\n");
	else if (choice < 3)
		fprintf(to, " -j DROP\n");
	else if (choice < 4)
		fprintf(to, " -j RETURN\n");
	else if (choice < 7 && chain + 1 < chains)
		fprintf(to, " -%c c%02u\n", below(4) ? 'j' : 'g',
			chain + 1 + below(chains - chain - 1));
	else
		fprintf(to, "\n");
}

/* Chain 0 is INPUT. */
static char *make_text(uint8_t family, uint32_t rules, uint32_t chains, size_t *size)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, size);

	if (!to)
		tap_bail_out("no memory");
	fprintf(to, "*filter\n:INPUT %s [0:0]\n", below(2) ? "ACCEPT" : "DROP");
	for (uint32_t i = 1; i < chains; i++)
		fprintf(to, ":c%02u - [0:0]\n", i);
	for (uint32_t i = 0; i < rules; i++) {
		uint32_t chain = below(chains);

		if (chain)
			fprintf(to, "-A c%02u", chain);
		else
			fprintf(to, "-A INPUT");
		put_matches(to, family);
		put_target(to, chain, chains);
	}
	fprintf(to, "COMMIT\n");
	fclose(to);
	return text;
}

static void say(void *context, bool warning, const char *message)
{
	(void)context;
	(void)warning;
	tap_note("%s", message);
}

/* ---- Packets ------------------------------------------------------------------------------ */

struct sample {
	uint8_t frame[256];
	size_t size;
	struct in6_addr source, destination; /* IPv4: the first word */
	uint8_t protocol, flags;
	uint16_t sport, dport, length;
};

static void set_addresses(struct sample *sample, uint8_t family, uint8_t *at, size_t size)
{
	char text[64];

	inet_pton(family, address(text, family), &sample->source);
	inet_pton(family, address(text, family), &sample->destination);
	memcpy(at, &sample->source, size);
	memcpy(at + size, &sample->destination, size);
}

static uint8_t *put_network(struct sample *sample, uint8_t family)
{
	uint8_t *ip = sample->frame + ETH_HLEN;

	if (family == AF_INET) {
		ip[0] = 0x45;
		ip[2] = (uint8_t)(sample->length >> 8);
		ip[3] = (uint8_t)sample->length;
		ip[8] = 64;
		ip[9] = sample->protocol;
		set_addresses(sample, family, ip + 12, 4);
		return ip + 20;
	}
	ip[0] = 0x60;
	ip[4] = (uint8_t)((sample->length - 40) >> 8);
	ip[5] = (uint8_t)(sample->length - 40);
	ip[6] = sample->protocol;
	ip[7] = 64;
	set_addresses(sample, family, ip + 8, 16);
	return ip + 40;
}

static void make_sample(struct sample *sample, uint8_t family)
{
	static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_TCP, IPPROTO_TCP, IPPROTO_UDP,
					     IPPROTO_ESP };
	uint8_t *transport;

	memset(sample, 0, sizeof(*sample));
	sample->protocol = protocols[below(ARRAY_SIZE(protocols))];
	sample->sport = (uint16_t)below(30);
	sample->dport = (uint16_t)below(30);
	sample->flags = (uint8_t)below(64);
	sample->length = (uint16_t)((family == AF_INET ? 40 : 60) + below(60));
	sample->size = ETH_HLEN + sample->length;
	sample->frame[12] = family == AF_INET ? 0x08 : 0x86;
	sample->frame[13] = family == AF_INET ? 0x00 : 0xdd;
	transport = put_network(sample, family);
	if (sample->protocol == IPPROTO_ESP)
		return;
	transport[1] = (uint8_t)sample->sport;
	transport[3] = (uint8_t)sample->dport;
	if (sample->protocol == IPPROTO_TCP) {
		transport[12] = 0x50;
		transport[13] = sample->flags;
	}
}

/* ---- The model ------------------------------------------------------------------------------ */

static bool in_range(const struct range16 *range, uint16_t value)
{
	return !range->given || (value >= range->low && value <= range->high) != range->invert;
}

static bool address_matches(const struct match_address *match, const struct in6_addr *address)
{
	bool same = true;

	for (size_t i = 0; i < 4; i++)
		same &= (address->s6_addr32[i] & match->mask.words[i]) == match->value.words[i];
	return !match->given || same != match->invert;
}

static bool in_ports(const struct match_multiport *multiport, const struct sample *sample)
{
	const uint16_t ports[] = { sample->dport, multiport->of == MULTIPORT_EITHER ?
							  sample->sport :
							  sample->dport };
	bool found = false;

	for (size_t i = 0; i < 2 * multiport->count; i++)
		found |= ports[i & 1] >= multiport->ports[i / 2].low &&
			 ports[i & 1] <= multiport->ports[i / 2].high;
	return found != multiport->invert;
}

static bool match_holds(const struct match *match, const struct sample *sample)
{
	switch (match->kind) {
	case MATCH_TCP:
		return in_range(&match->tcp.source, sample->sport) &&
		       in_range(&match->tcp.destination, sample->dport) &&
		       (!match->tcp.flags_given || ((sample->flags & match->tcp.flags_mask) ==
						    match->tcp.flags) != match->tcp.flags_invert);
	case MATCH_MULTIPORT:
		return in_ports(&match->multiport, sample);
	case MATCH_LENGTH:
		return (sample->length >= match->range.low &&
			sample->length <= match->range.high) != match->range.invert;
	default:
		tap_bail_out("the model does not know match '%s'", match_name(match->kind));
	}
}

static bool rule_holds(const struct rule *rule, const struct sample *sample)
{
	if (!address_matches(&rule->source, &sample->source) ||
	    !address_matches(&rule->destination, &sample->destination))
		return false;
	if (rule->protocol.given &&
	    (sample->protocol == rule->protocol.number) == rule->protocol.invert)
		return false;
	for (size_t i = 0; i < rule->match_count; i++)
		if (!match_holds(&rule->matches[i], sample))
			return false;
	return true;
}

struct place {
	uint32_t chain, rule;
};

/* Back to the caller; false from the first chain. */
static bool leave(struct place *at, const struct place *callers, size_t *depth)
{
	if (!*depth)
		return false;
	*at = callers[--*depth];
	return true;
}

/* Does INPUT drop it? Counts what it meets. */
static bool model_drops(const struct ruleset *ruleset, const struct sample *sample,
			uint64_t *counts)
{
	struct place at = { CHAIN_INPUT, ruleset->chains[CHAIN_INPUT].first }, callers[DEPTH];
	size_t depth = 0;

	for (;;) {
		const struct chain *chain = &ruleset->chains[at.chain];
		const struct rule *rule = &ruleset->rules[at.rule];
		bool over = at.rule == chain->first + chain->count;

		if (!over && !rule_holds(rule, sample)) {
			at.rule++;
			continue;
		}
		if (!over) {
			counts[at.rule++]++;
			if (rule->target.kind == TARGET_ACCEPT || rule->target.kind == TARGET_DROP)
				return rule->target.kind == TARGET_DROP;
			if (rule->target.kind == TARGET_JUMP)
				callers[depth++] = at;
			if (rule->target.kind == TARGET_JUMP || rule->target.kind == TARGET_GOTO)
				at = (struct place){ rule->target.chain,
						     ruleset->chains[rule->target.chain].first };
		}
		if ((over || rule->target.kind == TARGET_RETURN) && !leave(&at, callers, &depth)) {
			counts[ruleset->rule_count + CHAIN_INPUT]++;
			return ruleset->chains[CHAIN_INPUT].policy == POLICY_DROP;
		}
	}
}

/* ---- Comparison ------------------------------------------------------------------------------ */

static unsigned int dropped, accepted; /* of all packets */
static unsigned int dead;              /* of all rules */

struct trial {
	struct ruleset ruleset;
	struct image image;
	struct filter_bpf *skeleton;
	uint64_t *counts;
	unsigned int wrong, drops;
};

static int set_stage(const struct bpf_map *map, uint32_t stage, const struct bpf_program *program)
{
	int fd = bpf_program__fd(program);

	return bpf_map_update_elem(bpf_map__fd(map), &stage, &fd, BPF_ANY);
}

static void open_trial(struct trial *trial, uint8_t family, uint32_t rules, uint32_t chains)
{
	const struct ruleset_report report = { say, NULL, "generated" };
	const uint32_t stage = FILTER_RULES_STAGE(family == AF_INET6, 0);
	_cleanup_free_ char *text = NULL;
	size_t size = 0;

	memset(trial, 0, sizeof(*trial));
	text = make_text(family, rules, chains, &size);
	trial->skeleton = filter_bpf__open();
	if (!trial->skeleton || ruleset_parse(&trial->ruleset, text, size, family, &report) ||
	    image_compile(&trial->image, &trial->ruleset, NULL, 0, &report))
		tap_bail_out("the ruleset cannot be compiled");
	trial->skeleton->rodata->own_stage = stage;
	if (ruleset_load(trial->skeleton, &trial->image) ||
	    set_stage(trial->skeleton->maps.stages_xdp, stage, trial->skeleton->progs.filter_xdp) ||
	    set_stage(trial->skeleton->maps.stages_tc, stage, trial->skeleton->progs.filter_tc))
		tap_bail_out("the ruleset cannot be loaded");
	trial->counts = calloc(trial->image.counter_count, sizeof(*trial->counts));
	if (!trial->counts)
		tap_bail_out("no memory");
}

static void close_trial(struct trial *trial)
{
	filter_bpf__destroy(trial->skeleton);
	image_free(&trial->image);
	ruleset_free(&trial->ruleset);
	free(trial->counts);
}

static void compare_verdict(struct trial *trial, const struct sample *sample, bool at_xdp)
{
	const struct bpf_program *entry = at_xdp ? trial->skeleton->progs.entry_xdp :
						   trial->skeleton->progs.entry_tc_in;
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = sample->frame,
		    .data_size_in = (uint32_t)sample->size, .repeat = 1);
	bool drops = model_drops(&trial->ruleset, sample, trial->counts);
	uint32_t drop = at_xdp ? 1 : 2; /* XDP_DROP, TC_ACT_SHOT */

	trial->drops += drops;
	if (bpf_prog_test_run_opts(bpf_program__fd(entry), &run))
		tap_bail_out("BPF_PROG_TEST_RUN: %s", strerror(errno));
	if ((run.retval == drop) != drops && trial->wrong++ < 3)
		tap_note("the model %s, the program returned %d", drops ? "drops" : "accepts",
			 (int)run.retval);
}

/* The model knows nothing of dead rules. */
static unsigned int wrong_dead(const struct trial *trial)
{
	unsigned int wrong = 0;

	for (uint32_t i = 0; i < trial->image.rule_count; i++) {
		dead += trial->image.dead[i] != DEAD_NOT;
		if (trial->image.dead[i] != DEAD_NOT && trial->counts[i] && wrong++ < 3)
			tap_note("rule %u is said to be dead, and the model meets it", i);
	}
	return wrong;
}

static unsigned int wrong_counters(const struct trial *trial)
{
	int cpus = libbpf_num_possible_cpus(), map = bpf_map__fd(trial->skeleton->maps.counters);
	_cleanup_free_ struct filter_counter *each = calloc((size_t)cpus, sizeof(*each));
	unsigned int wrong = 0;

	if (!each)
		tap_bail_out("no memory");
	for (uint32_t i = 0; i < trial->image.counter_count; i++) {
		uint64_t packets = 0;

		if (bpf_map_lookup_elem(map, &i, each))
			tap_bail_out("no counter %u", i);
		for (int cpu = 0; cpu < cpus; cpu++)
			packets += each[cpu].packets;
		if (packets != trial->counts[i] && wrong++ < 3)
			tap_note("rule %u counted %llu packets, the model %llu", i,
				 (unsigned long long)packets, (unsigned long long)trial->counts[i]);
	}
	return wrong;
}

/* ---- Broken frames ------------------------------------------------------------------------- */

/* Headers with wrong lengths, options and extensions of any kind; frames that end anywhere. */
static void spoil(struct sample *sample, uint8_t family)
{
	const uint32_t header = family == AF_INET ? 20 : 40;

	for (uint32_t i = below(4); i < 4; i++)
		sample->frame[ETH_HLEN + below(sample->length)] = (uint8_t)below(256);
	if (!below(4))
		sample->frame[ETH_HLEN + 6] = (uint8_t)below(64); /* IPv6: which header is next */
	if (!below(4))
		sample->frame[ETH_HLEN] = (uint8_t)(sample->frame[ETH_HLEN] + below(11));
	/* BPF_PROG_TEST_RUN refuses what has not the whole IP header. */
	if (!below(3))
		sample->size = ETH_HLEN + header + below(sample->length - header + 1);
}

static int run_entry(const struct bpf_program *entry, const struct sample *sample)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = sample->frame,
		    .data_size_in = (uint32_t)sample->size, .repeat = 1);

	if (bpf_prog_test_run_opts(bpf_program__fd(entry), &run))
		tap_bail_out("BPF_PROG_TEST_RUN: %s", strerror(errno));
	return (int)run.retval;
}

/* Whatever is in a frame, both hooks come to a verdict, and to the same. */
static unsigned int wrong_spoilt(const struct trial *trial, uint8_t family)
{
	unsigned int wrong = 0;

	for (uint32_t i = 0; i < packets_each; i++) {
		struct sample sample;
		int xdp, tc;

		make_sample(&sample, family);
		spoil(&sample, family);
		xdp = run_entry(trial->skeleton->progs.entry_xdp, &sample);
		tc = run_entry(trial->skeleton->progs.entry_tc_in, &sample);
		if ((xdp == XDP_PASS && tc == -1) || (xdp == XDP_DROP && tc == 2))
			continue;
		if (!wrong++)
			tap_note("a frame of %zu bytes: %d at XDP, %d at TC", sample.size, xdp, tc);
	}
	return wrong;
}

static void try_ruleset(uint8_t family, uint32_t rules, uint32_t chains, uint32_t packets)
{
	struct sample sample;
	struct trial trial;
	unsigned int wrong;

	open_trial(&trial, family, rules, chains);
	for (uint32_t i = 0; i < packets; i++) {
		make_sample(&sample, family);
		compare_verdict(&trial, &sample, i & 1);
	}
	wrong = wrong_counters(&trial) + wrong_dead(&trial);
	tap(!wrong_spoilt(&trial, family), "IPv%d: both hooks judge broken frames alike",
	    family == AF_INET ? 4 : 6);
	dropped += trial.drops;
	accepted += packets - trial.drops;
	tap(!trial.wrong && !wrong,
	    "IPv%d: %u rules, %u chains: %u packets, %u dropped, %u wrong verdicts, %u wrong counters",
	    family == AF_INET ? 4 : 6, rules, chains, packets, trial.drops, trial.wrong, wrong);
	close_trial(&trial);
}

/* Fewer where the processor is emulated: loading a ruleset takes seconds there. */
static uint32_t ruleset_count(void)
{
	return from_environment("BPFW_TEST_RULESETS",
				from_environment("BPFW_TEST_SLOW", 1) > 1 ? 2 : RULESETS);
}

/* ---- All kinds of operations at once: what old verifiers have most to do with --------------- */

static const char everything[] =
	"*filter\n:INPUT ACCEPT [0:0]\n:user - [0:0]\n"
	"-A INPUT -s fd00::1/255.0.255.0 -i lo -p tcp -m tcp --dport 1:5 --tcp-option 3 -j user\n"
	"-A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m tcpmss --mss 5 -m mark --mark 4 -g user\n"
	"-A INPUT -m pkttype --pkt-type broadcast -m mac --mac-source 00:01:02:03:04:05 -j RETURN\n"
	"-A INPUT -p udp -m multiport --ports 3,4,5 -m tos --tos 0x10 -m ecn --ecn-ip-ect 2\n"
	"-A INPUT -p icmp -m icmp --icmp-type 3/4 -m ttl --ttl-gt 3 -j DROP\n"
	"-A INPUT -m limit --limit 5/min -m length --length 40:90 -j LOG\n"
	"-A INPUT -m statistic --mode nth --every 3 --packet 0 -j MARK --set-xmark 0x1\n"
	"-A INPUT -m statistic --mode random --probability 0.5\n"
	"-A INPUT -m time --timestart 10:00 --timestop 12:00 --weekdays Mon --monthdays 3\n"
	"-A INPUT -m time --datestart 2020-01-01 -f\n"
	"-A INPUT -m u32 --u32 \"6&0xff=1,2:3 && 0>>22&0x3c@4<<3=5:9\"\n"
	"-A INPUT -m hashlimit --hashlimit-upto 5/min --hashlimit-name x --hashlimit-mode srcip\n"
	"-A INPUT -m hashlimit --hashlimit-upto 5kb/s --hashlimit-name y --hashlimit-mode "
	"srcip,dstip,srcport\n"
	"-A INPUT -m recent --set --name x --rdest\n"
	"-A INPUT -m recent ! --update --seconds 5 --reap --hitcount 200 --rttl --name x --rdest\n"
	"-A INPUT -m recent --remove --name y\n"
	"-A INPUT -m addrtype --dst-type LOCAL -m iprange --src-range 10.0.0.1-10.0.0.9\n"
	"COMMIT\n";

/* The same rules for the other family: its own words for what is IPv4's. */
static char *text_for(uint8_t family)
{
	static const char *const words[][2] = {
		{ "fd00::1/255.0.255.0", "10.0.0.1/255.0.255.0" },
		{ "fd00::1/255.0.255.0", "fd00::1/ffff:0:ffff::" },
		{ "-p icmp -m icmp --icmp-type 3/4 -m ttl --ttl-gt",
		  "-p ipv6-icmp -m icmp6 --icmpv6-type 1/4 -m hl --hl-gt" },
		{ " -f\n", "\n" },
		{ "10.0.0.1-10.0.0.9", "fd00::1-fd00::9" },
		{ "COMMIT\n", "-A INPUT -m rt ! --rt-type 0 --rt-segsleft 1:3 -j DROP\nCOMMIT\n" },
	};
	char *text = strdup(everything);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char *at = text ? strstr(text, words[i][0]) : NULL, *longer = NULL;

		if (!at || (family == AF_INET) != !i)
			continue;
		if (asprintf(&longer, "%.*s%s%s", (int)(at - text), text, words[i][1],
			     at + strlen(words[i][0])) < 0)
			tap_bail_out("no memory");
		free(text);
		text = longer;
	}
	if (!text)
		tap_bail_out("no memory");
	return text;
}

static void load_everything(uint8_t family)
{
	const struct ruleset_report report = { say, NULL, "everything" };
	_cleanup_free_ char *text = text_for(family);
	struct filter_bpf *skeleton = filter_bpf__open();
	struct ruleset ruleset;
	struct image image;
	int err;

	if (!skeleton || ruleset_parse(&ruleset, text, strlen(text), family, &report) ||
	    image_compile(&image, &ruleset, NULL, 0, &report))
		tap_bail_out("the ruleset with everything cannot be compiled");
	err = ruleset_load(skeleton, &image);
	tap(!err, "IPv%d: the verifier takes all kinds of operations at once (%s)",
	    family == AF_INET ? 4 : 6, err ? strerror(-err) : "loaded");
	filter_bpf__destroy(skeleton);
	image_free(&image);
	ruleset_free(&ruleset);
}

int main(void)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	const uint32_t rulesets = ruleset_count();

	seed = from_environment("BPFW_TEST_SEED", seed);
	packets_each = from_environment("BPFW_TEST_PACKETS", PACKETS);
	if (geteuid())
		tap_skip_all("BPF_PROG_TEST_RUN needs root");
	/* A namespace without routes: all that comes in is for INPUT. */
	if (unshare(CLONE_NEWNET))
		tap_skip_all("no network namespaces here");
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		for (uint32_t number = 0; number < rulesets; number++)
			try_ruleset(families[i], 5 + below(120), 1 + below(12), packets_each);
		try_ruleset(families[i], LARGE, 16, packets_each);
		load_everything(families[i]);
	}
	tap(dropped > accepted / 10 && accepted > dropped / 10, "both verdicts were met: %u, %u",
	    dropped, accepted);
	tap(dead, "%u rules are dead, and the model met none of them", dead);
	return tap_end();
}
