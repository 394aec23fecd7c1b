/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <getopt.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/copy.h"
#include "filter/inforce.h"
#include "filter/listing.h"
#include "filter/packet.h"
#include "filter/value.h"
#include "filter/why.h"
#include "json.h"
#include "log.h"
#include "util.h"

#define EXIT_USAGE 2
#define TRIES 3 /* while others load */

struct question {
	const char *in, *out; /* names */
	const char *packet;   /* digits, or a file */
	uint32_t mark;
	struct packet_description description;
	bool described; /* some option says what the packet is like */
	bool has_source, has_destination, has_icmp;
	bool json;
};

/* Rules of one family, with a copy of what judges by them. */
struct judge {
	struct ruleset ruleset;
	struct copy copy;
	bool open;
};

/* ---- Arguments ----------------------------------------------------------------------- */

enum {
	OPTION_IN = 256,
	OPTION_OUT,
	OPTION_PROTOCOL,
	OPTION_SOURCE,
	OPTION_DESTINATION,
	OPTION_SPORT,
	OPTION_DPORT,
	OPTION_FLAGS,
	OPTION_ICMP,
	OPTION_TTL,
	OPTION_TOS,
	OPTION_LENGTH,
	OPTION_FRAGMENT,
	OPTION_MARK,
	OPTION_PACKET,
	OPTION_JSON,
};

static const struct option options[] = {
	{ "in", required_argument, NULL, OPTION_IN },
	{ "out", required_argument, NULL, OPTION_OUT },
	{ "proto", required_argument, NULL, OPTION_PROTOCOL },
	{ "src", required_argument, NULL, OPTION_SOURCE },
	{ "dst", required_argument, NULL, OPTION_DESTINATION },
	{ "sport", required_argument, NULL, OPTION_SPORT },
	{ "dport", required_argument, NULL, OPTION_DPORT },
	{ "tcp-flags", required_argument, NULL, OPTION_FLAGS },
	{ "icmp-type", required_argument, NULL, OPTION_ICMP },
	{ "ttl", required_argument, NULL, OPTION_TTL },
	{ "tos", required_argument, NULL, OPTION_TOS },
	{ "length", required_argument, NULL, OPTION_LENGTH },
	{ "fragment", no_argument, NULL, OPTION_FRAGMENT },
	{ "mark", required_argument, NULL, OPTION_MARK },
	{ "packet", required_argument, NULL, OPTION_PACKET },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ 0 },
};

static int refuse(const char *option, const char *value, const char *reason)
{
	log_error("--%s '%.60s': %s", option, value, reason);
	return -EINVAL;
}

static struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

static int take_number(const char *option, const char *text, uint32_t max, uint32_t *number)
{
	uint64_t value;

	if (!value_number(slice_of(text), max, &value))
		return refuse(option, text, "not a number, or too large");
	*number = (uint32_t)value;
	return 0;
}

static int take_byte(const char *option, const char *text, uint8_t *byte)
{
	uint32_t number;
	int err = take_number(option, text, UINT8_MAX, &number);

	if (!err)
		*byte = (uint8_t)number;
	return err;
}

static int take_port(const char *option, const char *text, uint16_t *port)
{
	return value_port(slice_of(text), port) ? 0 : refuse(option, text, "not a port");
}

static int take_address(struct question *question, const char *option, const char *text,
			union ruleset_address *address)
{
	const uint8_t family = strchr(text, ':') ? AF_INET6 : AF_INET;
	struct packet_description *description = &question->description;

	if (!value_address(slice_of(text), family, address))
		return refuse(option, text, "not an address");
	if (description->family && description->family != family)
		return refuse(option, text, "the other address is of another family");
	description->family = family;
	return 0;
}

static int take_flags(const char *text, uint8_t *flags)
{
	struct slice rest = slice_of(text), part;

	*flags = 0;
	while (slice_next(&rest, ',', &part)) {
		const struct name *name = name_find(tcp_flag_names, part, false);

		if (!name)
			return refuse("tcp-flags", text,
				      "not a list of FIN,SYN,RST,PSH,ACK,URG (or NONE)");
		*flags |= (uint8_t)name->value;
	}
	return 0;
}

static const struct icmp_name *find_icmp(uint8_t family, const char *text)
{
	const struct icmp_name *list = family == AF_INET6 ? icmpv6_names : icmp_names;

	for (; *list->name; list++)
		if (name_is(list->name, slice_of(text)))
			return list;
	return NULL;
}

/* A name, TYPE or TYPE/CODE. Names are known once the family is. */
static int take_icmp(struct packet_description *description, const char *text)
{
	const struct icmp_name *name = find_icmp(description->family, text);
	struct slice rest = slice_of(text), part;
	uint64_t type = 0, code = 0;

	if (name) {
		description->icmp_type = name->type;
		description->icmp_code = name->code_low;
		return 0;
	}
	if (!slice_next(&rest, '/', &part) || !value_number(part, UINT8_MAX, &type) ||
	    (rest.at && rest.length && !value_number(rest, UINT8_MAX, &code)))
		return refuse("icmp-type", text, "not a type of ICMP: a name, TYPE or TYPE/CODE");
	description->icmp_type = (uint8_t)type;
	description->icmp_code = (uint8_t)code;
	return 0;
}

static int take_protocol(const char *text, uint8_t *protocol)
{
	if (!value_protocol(slice_of(text), protocol) || !*protocol)
		return refuse("proto", text, "not a protocol");
	return 0;
}

static int take_description(struct question *question, int option, const char **icmp)
{
	struct packet_description *description = &question->description;

	question->described = true;
	switch (option) {
	case OPTION_PROTOCOL:
		return take_protocol(optarg, &description->protocol);
	case OPTION_SOURCE:
		question->has_source = true;
		return take_address(question, "src", optarg, &description->source);
	case OPTION_DESTINATION:
		question->has_destination = true;
		return take_address(question, "dst", optarg, &description->destination);
	case OPTION_SPORT:
		return take_port("sport", optarg, &description->source_port);
	case OPTION_DPORT:
		return take_port("dport", optarg, &description->destination_port);
	case OPTION_FLAGS:
		return take_flags(optarg, &description->tcp_flags);
	case OPTION_ICMP:
		*icmp = optarg;
		return 0;
	case OPTION_TTL:
		return take_byte("ttl", optarg, &description->ttl);
	case OPTION_TOS:
		return take_byte("tos", optarg, &description->tos);
	case OPTION_LENGTH:
		return take_number("length", optarg, UINT16_MAX, &description->length);
	case OPTION_FRAGMENT:
		description->fragment = true;
		return 0;
	default:
		return -EINVAL; /* getopt has said why */
	}
}

static int take_option(struct question *question, int option, const char **icmp)
{
	switch (option) {
	case OPTION_IN:
		question->in = optarg;
		return 0;
	case OPTION_OUT:
		question->out = optarg;
		return 0;
	case OPTION_MARK:
		return take_number("mark", optarg, UINT32_MAX, &question->mark);
	case OPTION_PACKET:
		question->packet = optarg;
		return 0;
	case OPTION_JSON:
		question->json = true;
		return 0;
	default:
		return take_description(question, option, icmp);
	}
}

/* What is not said is as packets often are: an opening TCP packet, an echo request. */
static int finish_description(struct question *question, const char *icmp)
{
	struct packet_description *description = &question->description;
	const bool v6 = description->family == AF_INET6;

	if (!question->has_source || !question->has_destination || !description->protocol) {
		log_error("bpfw filter why takes --proto, --src and --dst, or --packet");
		return -EINVAL;
	}
	/* Both names mean the protocol of the family. */
	if (v6 && description->protocol == IPPROTO_ICMP)
		description->protocol = IPPROTO_ICMPV6;
	description->icmp_type = v6 ? 128 : 8;
	return icmp ? take_icmp(description, icmp) : 0;
}

static int check_question(struct question *question, const char *icmp)
{
	if (!question->in && !question->out) {
		log_error("bpfw filter why takes --in NAME, or --out NAME for the router's own");
		return -EINVAL;
	}
	if (question->packet && question->described) {
		log_error("--packet says what the packet is like: no other option may");
		return -EINVAL;
	}
	return question->packet ? 0 : finish_description(question, icmp);
}

static int parse_arguments(struct question *question, int argc, char *const argv[])
{
	const char *icmp = NULL;
	int option, err = 0;

	memset(question, 0, sizeof(*question));
	question->description.ttl = 64;
	question->description.tcp_flags = 0x02; /* SYN */
	optind = 1;
	while (!err && (option = getopt_long(argc, argv, "", options, NULL)) != -1)
		err = take_option(question, option, &icmp);
	if (!err && optind < argc) {
		log_error("'%.40s' is one argument too many", argv[optind]);
		err = -EINVAL;
	}
	return err ? err : check_question(question, icmp);
}

/* ---- Where it is met ------------------------------------------------------------------- */

static int find_interface(const char *name, uint32_t *ifindex)
{
	*ifindex = name ? if_nametoindex(name) : 0;
	if (!name || *ifindex)
		return 0;
	log_error("interface '%s': there is no such interface", name);
	return -ENODEV;
}

static const struct in_force_interface *find_filtered(const struct in_force_interface *list,
						      int count, uint32_t ifindex)
{
	for (int i = 0; i < count; i++)
		if (ifindex && list[i].ifindex == ifindex)
			return &list[i];
	return NULL;
}

/* As the entry programs have it: what comes in is met there, if it is met at all. */
static int choose_place(const struct question *question, struct copy_place *place)
{
	struct in_force_interface list[FILTER_PORTS];
	int count = in_force_interfaces(list, FILTER_PORTS);
	const struct in_force_interface *in;
	int err = find_interface(question->in, &place->in);

	err = err ? err : find_interface(question->out, &place->out);
	if (err)
		return err;
	in = find_filtered(list, count, place->in);
	place->mark = question->mark;
	place->xdp = in && in->xdp;
	place->outgoing = !in || !in->judged;
	if (!place->outgoing || find_filtered(list, count, place->out))
		return 0;
	if (count < 0)
		in_force_explain(count);
	else if (!question->out)
		log_error("interface '%s' is not filtered: say by --out where the packet leaves",
			  question->in);
	else
		log_error("neither interface is filtered: no rule is asked");
	return -EINVAL;
}

/* ---- Answers ------------------------------------------------------------------------------ */

struct explanation {
	const struct ruleset *ruleset; /* NULL: the family has no rules */
	const struct rule *rule;       /* that has decided, or NULL */
	bool by_policy;
	const char *reason; /* if no rule and no policy has decided */
};

static const char *const hooks[FILTER_HOOKS] = {
	[FILTER_HOOK_INPUT] = "INPUT",
	[FILTER_HOOK_FORWARD] = "FORWARD",
	[FILTER_HOOK_OUTPUT] = "OUTPUT",
};

static bool is_asked(const struct copy_answer *answer)
{
	return answer->walk.generation != 0;
}

static const char broken[] =
	"it is broken, or what the rules look at cannot be found: behind its extension headers, or "
	"where an encapsulating route leads";

static const char source_route[] =
	"it has a source route: sent on from here it would not meet FORWARD";

/* Why no rule was asked */
static const char *why_not(const struct copy_answer *answer)
{
	if (answer->blocked)
		return "its source is on the block list";
	if (answer->walk.bad_tcp)
		return "rules look at TCP, and its header is cut short or would be overwritten by "
		       "a fragment";
	if (answer->walk.goes_on)
		return source_route;
	if (answer->walk.cut)
		return "rules look at its transport header, which is cut short";
	return broken;
}

/* Why no rule has decided */
static const char *why_no_end(const struct copy_answer *answer)
{
	if (answer->walk.bad_options)
		return "a rule looks at its TCP options, which are cut short";
	if (answer->walk.bad_ports)
		return "a rule groups packets by ports, and it has none";
	if (answer->walk.no_tuple)
		return "a rule counts connections, and it can be of none";
	return "the rules came to no end: it meets more of them than a packet may";
}

static bool decides(const struct rule *rule)
{
	return rule->target.kind == TARGET_ACCEPT || rule->target.kind == TARGET_DROP ||
	       rule->target.kind == TARGET_REJECT;
}

static const struct rule *met_rule(const struct ruleset *ruleset, const struct filter_met *met)
{
	return met->rule < ruleset->rule_count ? &ruleset->rules[met->rule] : NULL;
}

/* INPUT has accepted it, but it would not stay here. */
static bool is_held_back(const struct explanation *explanation, const struct copy_answer *answer)
{
	const struct chain *input = &explanation->ruleset->chains[FILTER_HOOK_INPUT];

	if (!answer->drops || !answer->walk.goes_on || answer->walk.hook != FILTER_HOOK_INPUT)
		return false;
	if (explanation->rule)
		return explanation->rule->target.kind == TARGET_ACCEPT;
	return explanation->by_policy && input->policy == POLICY_ACCEPT;
}

static void explain(struct explanation *explanation, const struct ruleset *ruleset,
		    const struct copy_answer *answer)
{
	const struct filter_met *last = NULL;

	memset(explanation, 0, sizeof(*explanation));
	explanation->ruleset = ruleset;
	explanation->by_policy = answer->by_policy;
	if (!is_asked(answer)) {
		explanation->reason = why_not(answer);
		return;
	}
	if (answer->met_count)
		last = &answer->met[answer->met_count - 1];
	if (!answer->by_policy && last && last->matches)
		explanation->rule = met_rule(ruleset, last);
	if (explanation->rule && !decides(explanation->rule))
		explanation->rule = NULL;
	if (is_held_back(explanation, answer)) {
		explanation->rule = NULL;
		explanation->by_policy = false;
		explanation->reason = source_route;
	} else if (!explanation->rule && !answer->by_policy) {
		explanation->reason = why_no_end(answer);
	}
}

static const char *verdict(const struct explanation *explanation, const struct copy_answer *answer)
{
	if (!answer->drops)
		return "ACCEPT";
	return explanation->rule && explanation->rule->target.kind == TARGET_REJECT ? "REJECT" :
										      "DROP";
}

static const char *name_of_interface(uint32_t ifindex, char name[IF_NAMESIZE])
{
	return ifindex ? if_indextoname(ifindex, name) : NULL;
}

/* ---- As text --------------------------------------------------------------------------------- */

static void print_way(const struct copy_answer *answer)
{
	char in[IF_NAMESIZE], out[IF_NAMESIZE];
	const char *from = name_of_interface(answer->walk.in, in);
	const char *to = name_of_interface(answer->walk.out, out);

	printf("%s%s%s%s%s\n", hooks[answer->walk.hook % FILTER_HOOKS], from ? ", in by " : "",
	       from ? from : "", to ? ", out by " : "", to ? to : "");
}

static bool is_of_nat(const struct ruleset *ruleset, const struct filter_met *met)
{
	return met->rule >= ruleset_filter_rules(ruleset);
}

/* Where the table nat sends it; NULL: it leaves it as it is. */
static const char *new_destination(const struct explanation *explanation,
				   const struct copy_answer *answer, char text[VALUE_ADDRESS + 8])
{
	const struct filter_walk *walk = &answer->walk;
	const struct ruleset *ruleset = explanation->ruleset;
	union ruleset_address address = { .words = { 0 } };
	char number[VALUE_ADDRESS];
	bool v6;

	if (!ruleset || !walk->translation || !(walk->state & FILTER_STATE_DNAT))
		return NULL;
	v6 = ruleset->family == AF_INET6;
	memcpy(&address, walk->destination, v6 ? 16 : 4);
	value_print_address(&address, ruleset->family, number);
	if (!walk->has_ports)
		snprintf(text, VALUE_ADDRESS + 8, "%s", number);
	else
		snprintf(text, VALUE_ADDRESS + 8, v6 ? "[%s]:%u" : "%s:%u", number,
			 walk->destination_port);
	return text;
}

static int print_met(const struct ruleset *ruleset, const struct filter_met *met)
{
	const struct rule *rule = met_rule(ruleset, met);
	_cleanup_free_ char *text = rule ? listing_rule_text(ruleset, rule) : NULL;
	char place[RULESET_CHAIN_NAME + 20];

	if (!text)
		return -ENOMEM;
	snprintf(place, sizeof(place), "%s%s:%u", is_of_nat(ruleset, met) ? "nat " : "",
		 ruleset->chains[rule->chain].name, listing_rule_number(ruleset, rule));
	printf("  %-16s %-8s  %s\n", place, met->matches ? "match" : "no match", text);
	return 0;
}

/* The table nat's rules come first. */
static int print_all_met(const struct explanation *explanation, const struct copy_answer *answer)
{
	const struct ruleset *ruleset = explanation->ruleset;
	char text[VALUE_ADDRESS + 8];
	const char *destination = new_destination(explanation, answer, text);
	int err = 0;

	for (uint32_t i = 0; i < answer->met_count && !err; i++) {
		err = print_met(ruleset, &answer->met[i]);
		if (destination && is_of_nat(ruleset, &answer->met[i]) &&
		    (i + 1 == answer->met_count || !is_of_nat(ruleset, &answer->met[i + 1])))
			printf("  its destination becomes %s\n", destination);
	}
	return err;
}

static int print_text(const struct explanation *explanation, const struct copy_answer *answer)
{
	int err;

	if (is_asked(answer))
		print_way(answer);
	err = print_all_met(explanation, answer);
	printf("verdict: %s", verdict(explanation, answer));
	if (explanation->rule)
		printf(" by rule %s:%u\n",
		       explanation->ruleset->chains[explanation->rule->chain].name,
		       listing_rule_number(explanation->ruleset, explanation->rule));
	else if (explanation->by_policy)
		printf(" by the policy of %s\n", hooks[answer->walk.hook % FILTER_HOOKS]);
	else
		printf(": %s\n", explanation->reason);
	return err;
}

/* ---- As JSON ---------------------------------------------------------------------------------- */

static void print_place(const struct ruleset *ruleset, const struct rule *rule)
{
	json_member(stdout, "chain", rule ? ruleset->chains[rule->chain].name : NULL);
	if (rule)
		printf(",\"rule\":%u", listing_rule_number(ruleset, rule));
	else
		printf(",\"rule\":null");
}

static int print_json_met(const struct ruleset *ruleset, const struct filter_met *met)
{
	const struct rule *rule = met_rule(ruleset, met);
	_cleanup_free_ char *text = rule ? listing_rule_text(ruleset, rule) : NULL;

	if (!text)
		return -ENOMEM;
	putchar('{');
	json_member(stdout, "table", is_of_nat(ruleset, met) ? "nat" : "filter");
	putchar(',');
	print_place(ruleset, rule);
	printf(",\"match\":%s,", met->matches ? "true" : "false");
	json_member(stdout, "text", text);
	putchar('}');
	return 0;
}

/* One line for each packet */
static int print_json(const struct explanation *explanation, const struct copy_answer *answer)
{
	char name[IF_NAMESIZE], text[VALUE_ADDRESS + 8];
	int err = 0;

	putchar('{');
	json_member(stdout, "hook",
		    is_asked(answer) ? hooks[answer->walk.hook % FILTER_HOOKS] : NULL);
	putchar(',');
	json_member(stdout, "in", name_of_interface(answer->walk.in, name));
	putchar(',');
	json_member(stdout, "out", name_of_interface(answer->walk.out, name));
	putchar(',');
	json_member(stdout, "destination", new_destination(explanation, answer, text));
	printf(",\"met\":[");
	for (uint32_t i = 0; i < answer->met_count && !err; i++) {
		printf("%s", i ? "," : "");
		err = print_json_met(explanation->ruleset, &answer->met[i]);
	}
	printf("],");
	json_member(stdout, "verdict", verdict(explanation, answer));
	putchar(',');
	json_member(stdout, "by",
		    explanation->rule      ? "rule" :
		    explanation->by_policy ? "policy" :
					     NULL);
	putchar(',');
	print_place(explanation->ruleset, explanation->rule);
	putchar(',');
	json_member(stdout, "reason", explanation->reason);
	printf("}\n");
	return err;
}

static int print_answer(const struct question *question, const struct explanation *explanation,
			const struct copy_answer *answer)
{
	return question->json ? print_json(explanation, answer) : print_text(explanation, answer);
}

/* ---- Judging -------------------------------------------------------------------------------- */

static void say(void *context, bool warning, const char *message)
{
	(void)context;
	log_message(warning ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "%s", message);
}

/* Returns 0 or -errno; judge_close() is for all of them. */
static int judge_open(struct judge *judge, uint8_t family, const struct copy_place *place)
{
	const struct ruleset_report report = { say, NULL, "rules in force" };
	struct in_force in_force;
	int err, tries = 0;

	do {
		err = in_force_read(&in_force, family);
		if (!err)
			err = copy_open(&judge->copy, family, in_force.generation, place);
		judge->open = !err;
		if (!err)
			err = in_force_parse(&in_force, family, &report, &judge->ruleset);
		in_force_free(&in_force);
	} while (err == -EAGAIN && ++tries < TRIES);
	return err;
}

static void judge_close(struct judge *judge)
{
	if (judge->open)
		copy_close(&judge->copy);
	ruleset_free(&judge->ruleset);
}

/* Nobody is asked about it. */
static int answer_without(const struct question *question, const char *reason)
{
	_cleanup_free_ struct copy_answer *answer = calloc(1, sizeof(*answer));
	const struct explanation explanation = { .reason = reason };

	return answer ? print_answer(question, &explanation, answer) : -ENOMEM;
}

/* What the programs do with a packet that is shorter than an IP header. */
static int print_cut(const struct question *question)
{
	_cleanup_free_ struct copy_answer *answer = calloc(1, sizeof(*answer));
	const struct explanation explanation = { .reason = broken };

	if (!answer)
		return -ENOMEM;
	answer->drops = true;
	return print_answer(question, &explanation, answer);
}

static void explain_failure(int err)
{
	if (err == -EPROTO)
		in_force_explain(err);
	else if (err == -EAGAIN)
		log_error("other rules come into force all the time: try again");
	else
		log_error("cannot try the packet: %s", strerror(-err));
}

struct session {
	const struct question *question;
	struct copy_place place;
	struct judge judges[2]; /* IPv4, IPv6 */
};

static int answer_packet(struct session *session, const struct packet *packet)
{
	_cleanup_free_ struct copy_answer *answer = calloc(1, sizeof(*answer));
	struct judge *judge = &session->judges[packet->family == AF_INET6];
	struct explanation explanation;
	int err = 0;

	if (!answer)
		return -ENOMEM;
	if (packet->family == AF_UNSPEC)
		return answer_without(session->question, "rules are about IPv4 and IPv6 only");
	if (!judge->open)
		err = judge_open(judge, packet->family, &session->place);
	if (err == -ENOENT)
		return answer_without(session->question, "there are no rules for its family");
	if (!err && packet_is_cut(packet)) /* BPF_PROG_TEST_RUN does not take it at TC */
		return print_cut(session->question);
	if (!err)
		err = copy_judge(&judge->copy, &session->place, packet->frame, packet->size,
				 answer);
	if (err) {
		explain_failure(err);
		return err;
	}
	explain(&explanation, &judge->ruleset, answer);
	return print_answer(session->question, &explanation, answer);
}

/* A packet that cannot be tried, or the file's end in the middle of one. */
static void tell_left_out(const char *file, unsigned long number, int err)
{
	switch (err) {
	case -E2BIG:
		log_error("%s: packet %lu has more than %d bytes: left out", file, number,
			  PACKET_MAX);
		break;
	case -ENODATA:
		log_error("%s: packet %lu ends with its link header: left out", file, number);
		break;
	case -EINVAL:
		log_error("%s: packet %lu cannot be: more of it was captured than there was: "
			  "left out",
			  file, number);
		break;
	case -EPROTO:
		log_error("%s: packet %lu: nothing is as long as its record says: the file is "
			  "broken, and not read further",
			  file, number);
		break;
	default:
		log_error("%s: packet %lu: the file ends in the middle of it", file, number);
	}
}

static bool may_go_on(int err)
{
	return err == -E2BIG || err == -ENODATA || err == -EINVAL;
}

/* All that can be tried; the first error of the others. */
static int answer_capture(struct session *session, struct packet_capture *capture)
{
	struct packet packet;
	unsigned long number = 0;
	int found, first = 0;

	do {
		int err = 0;

		found = packet_capture_next(capture, &packet);
		number++;
		if (found < 0)
			tell_left_out(session->question->packet, number, found);
		else if (found)
			err = answer_packet(session, &packet);
		if (err)
			return err;
		first = first || found >= 0 ? first : found;
	} while (found > 0 || may_go_on(found));
	return first;
}

static int answer_file(struct session *session, int hex_error)
{
	struct packet_capture capture = { 0 };
	int err = packet_capture_open(&capture, session->question->packet);

	if (err == -ENOENT && hex_error)
		log_error("--packet '%.60s': no such file, and not the bytes of a packet",
			  session->question->packet);
	else if (err == -EINVAL)
		log_error("%s: not a file of libpcap", session->question->packet);
	else if (err == -EOPNOTSUPP)
		log_error("%s: holds neither Ethernet nor IP packets", session->question->packet);
	else if (err)
		log_error("%s: cannot be read: %s", session->question->packet, strerror(-err));
	else
		err = answer_capture(session, &capture);
	packet_capture_close(&capture);
	return err;
}

static int answer_question(struct session *session)
{
	const struct question *question = session->question;
	struct packet packet;
	int err;

	if (question->packet) {
		err = packet_from_hex(&packet, question->packet);
		return err ? answer_file(session, err) : answer_packet(session, &packet);
	}
	err = packet_build(&packet, &question->description);
	if (err)
		log_error("--length %u: %s", question->description.length,
			  err == -EINVAL ? "shorter than the packet's headers" :
					   "longer than a packet that can be tried");
	return err ? err : answer_packet(session, &packet);
}

int why_command(int argc, char *const argv[])
{
	struct session session = { 0 };
	struct question question;
	int err;

	if (parse_arguments(&question, argc, argv))
		return EXIT_USAGE;
	session.question = &question;
	if (choose_place(&question, &session.place))
		return EXIT_FAILURE;
	err = answer_question(&session);
	judge_close(&session.judges[0]);
	judge_close(&session.judges[1]);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
