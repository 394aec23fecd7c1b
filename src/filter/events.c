/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "filter/events.h"
#include "filter/inforce.h"
#include "filter/listing.h"
#include "filter/pins.h"
#include "filter/value.h"
#include "json.h"
#include "log.h"
#include "util.h"

#define POLL_MS 1000 /* how often what was lost, and what is in force, is looked at */
#define KNOWN 8      /* rulesets that events may still be of */
#define NS_PER_S UINT64_C(1000000000)

/* The rules that an event's numbers mean. */
struct known {
	uint32_t generation; /* 0: none */
	struct ruleset ruleset;
};

struct follower {
	struct ring_buffer *ring;
	int events, state; /* maps */
	uint32_t events_id;
	int lock; /* two readers would take each other's events away */
	struct known known[KNOWN];
	unsigned int next_known; /* the one to forget next */
	uint64_t begun;          /* ns, CLOCK_MONOTONIC */
	uint64_t lost;           /* events, as far as they were told */
	bool json;
};

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* ---- Rules ---------------------------------------------------------------------------- */

static const struct ruleset *find_known(const struct follower *follower, uint32_t generation)
{
	for (size_t i = 0; i < KNOWN; i++)
		if (follower->known[i].generation == generation)
			return &follower->known[i].ruleset;
	return NULL;
}

static void ignore(void *context, bool warning, const char *message)
{
	(void)context;
	(void)warning;
	(void)message;
}

/* Are other rules in force than those that are known? All of them need not be read for that. */
static bool is_news(const struct follower *follower, uint8_t family)
{
	_cleanup_close_ int pins = pins_open(false);
	uint32_t generation = 0;

	return pins >= 0 && !in_force_generation(pins, family, &generation) && generation &&
	       !find_known(follower, generation);
}

/* The ruleset in force, unless it is known. Without it its events are told without its text. */
static void learn_family(struct follower *follower, uint8_t family)
{
	const struct ruleset_report report = { ignore, NULL, "rules in force" };
	struct known *known = &follower->known[follower->next_known];
	struct ruleset ruleset = { 0 };
	struct in_force in_force;

	if (!is_news(follower, family))
		return;
	if (!in_force_read(&in_force, family) && !find_known(follower, in_force.generation) &&
	    !in_force_parse(&in_force, family, &report, &ruleset)) {
		ruleset_free(&known->ruleset);
		known->generation = in_force.generation;
		known->ruleset = ruleset;
		follower->next_known = (follower->next_known + 1) % KNOWN;
	}
	in_force_free(&in_force);
}

static void learn(struct follower *follower)
{
	learn_family(follower, AF_INET);
	learn_family(follower, AF_INET6);
}

static const struct rule *find_rule(const struct ruleset *ruleset, uint32_t number)
{
	return ruleset && number < ruleset->rule_count ? &ruleset->rules[number] : NULL;
}

/* ---- Parts of an event ------------------------------------------------------------------ */

static const char *const hooks[FILTER_HOOKS] = {
	[FILTER_HOOK_INPUT] = "INPUT",
	[FILTER_HOOK_FORWARD] = "FORWARD",
	[FILTER_HOOK_OUTPUT] = "OUTPUT",
};

/* In the order in which the kernel's LOG has them. */
static const struct {
	char name[4];
	uint8_t bit;
} tcp_flags[] = {
	{ "CWR", 0x80 }, { "ECE", 0x40 }, { "URG", 0x20 }, { "ACK", 0x10 },
	{ "PSH", 0x08 }, { "RST", 0x04 }, { "SYN", 0x02 }, { "FIN", 0x01 },
};

static const char *address(const struct filter_event *event, const __be32 *words,
			   char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(event->is_ipv6 ? AF_INET6 : AF_INET, words, text, INET6_ADDRSTRLEN);
}

/* "" of no interface, "#7" of one that is gone */
static const char *interface(uint32_t ifindex, char text[IF_NAMESIZE])
{
	text[0] = '\0';
	if (ifindex && !if_indextoname(ifindex, text))
		snprintf(text, IF_NAMESIZE, "#%u", ifindex);
	return text;
}

static const char *protocol(uint8_t number, char text[16])
{
	const char *name = name_of(protocol_names, number);

	if (name)
		snprintf(text, 16, "%s", name);
	else
		snprintf(text, 16, "%u", number);
	return text;
}

static bool has_icmp(const struct filter_event *event)
{
	return event->has_l4 && event->protocol == (event->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static bool has_tcp(const struct filter_event *event)
{
	return event->has_l4 && event->protocol == IPPROTO_TCP;
}

static const char *prefix(const struct rule *rule)
{
	if (!rule)
		return "";
	return rule->target.kind == TARGET_NFLOG ? rule->target.nflog.prefix :
						   rule->target.log.prefix;
}

/* Nanoseconds since 1970 */
static uint64_t wall_time(const struct filter_event *event)
{
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC) + event->time;
}

/* ---- As the kernel's LOG prints it --------------------------------------------------------- */

static void print_time(uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	char text[32];
	struct tm tm;

	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
	printf("%s.%06uZ", text, (unsigned int)(ns % NS_PER_S / 1000));
}

/* What a terminal might take for something else is \xNN. */
static void print_prefix(const char *text)
{
	for (; *text; text++) {
		if (isprint((unsigned char)*text) && *text != '\\')
			putchar(*text);
		else
			printf("\\x%02x", (unsigned char)*text);
	}
}

static void print_network(const struct filter_event *event)
{
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];

	printf(" SRC=%s DST=%s LEN=%u", address(event, event->source, source),
	       address(event, event->destination, destination), event->length);
	if (event->is_ipv6)
		printf(" TC=%u HOPLIMIT=%u", event->tos, event->ttl);
	else
		printf(" TOS=0x%02X PREC=0x%02X TTL=%u", event->tos & 0x1e, event->tos & 0xe0,
		       event->ttl);
}

static void print_transport(const struct filter_event *event)
{
	char text[16];

	protocol(event->protocol, text);
	for (char *at = text; *at; at++)
		*at = (char)toupper((unsigned char)*at);
	printf("%s PROTO=%s", event->fragment ? " FRAG" : "",
	       event->protocol == IPPROTO_ICMPV6 ? "ICMPv6" : text);
	if (event->has_ports)
		printf(" SPT=%u DPT=%u", event->source_port, event->destination_port);
	if (has_icmp(event))
		printf(" TYPE=%u CODE=%u", event->icmp_type, event->icmp_code);
	for (size_t i = 0; has_tcp(event) && i < ARRAY_SIZE(tcp_flags); i++)
		if (event->tcp_flags & tcp_flags[i].bit)
			printf(" %s", tcp_flags[i].name);
}

static void print_line(const struct filter_event *event, const struct ruleset *ruleset,
		       const struct rule *rule)
{
	char in[IF_NAMESIZE], out[IF_NAMESIZE];

	print_time(wall_time(event));
	if (rule)
		printf(" %s:%u ", ruleset->chains[rule->chain].name,
		       listing_rule_number(ruleset, rule));
	else
		printf(" %s:? ", hooks[event->hook % FILTER_HOOKS]);
	print_prefix(prefix(rule));
	printf("IN=%s OUT=%s", interface(event->in, in), interface(event->out, out));
	print_network(event);
	print_transport(event);
	printf(" VERDICT=%s\n", event->verdict == FILTER_DROP ? "DROP" : "ACCEPT");
}

/* ---- As JSON ------------------------------------------------------------------------------- */

static void print_json_rule(const struct ruleset *ruleset, const struct rule *rule)
{
	_cleanup_free_ char *text = rule ? listing_rule_text(ruleset, rule) : NULL;

	json_member(stdout, "chain", rule ? ruleset->chains[rule->chain].name : NULL);
	if (rule)
		printf(",\"rule\":%u,", listing_rule_number(ruleset, rule));
	else
		printf(",\"rule\":null,");
	json_member(stdout, "text", text);
	putchar(',');
	json_member(stdout, "target", rule ? target_name(rule->target.kind) : NULL);
	putchar(',');
	json_member(stdout, "prefix", rule ? prefix(rule) : NULL);
	if (rule && rule->target.kind == TARGET_NFLOG)
		printf(",\"level\":null,\"group\":%u", rule->target.nflog.group);
	else if (rule)
		printf(",\"level\":%u,\"group\":null", rule->target.log.level);
	else
		printf(",\"level\":null,\"group\":null");
}

static void print_json_network(const struct filter_event *event)
{
	char in[IF_NAMESIZE], out[IF_NAMESIZE], text[16];
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];

	printf(",\"verdict\":\"%s\",\"hook\":\"%s\",",
	       event->verdict == FILTER_DROP ? "DROP" : "ACCEPT",
	       hooks[event->hook % FILTER_HOOKS]);
	json_member(stdout, "in", event->in ? interface(event->in, in) : NULL);
	putchar(',');
	json_member(stdout, "out", event->out ? interface(event->out, out) : NULL);
	printf(",\"family\":\"%s\",\"src\":\"%s\",\"dst\":\"%s\",\"length\":%u,\"tos\":%u,"
	       "\"ttl\":%u,\"fragment\":%s,\"protocol\":\"%s\"",
	       event->is_ipv6 ? "ipv6" : "ipv4", address(event, event->source, source),
	       address(event, event->destination, destination), event->length, event->tos,
	       event->ttl, event->fragment ? "true" : "false", protocol(event->protocol, text));
}

/* Members of a header that the packet has not are null. */
static void print_json_transport(const struct filter_event *event)
{
	const char *separator = "";

	if (event->has_ports)
		printf(",\"sport\":%u,\"dport\":%u", event->source_port, event->destination_port);
	else
		printf(",\"sport\":null,\"dport\":null");
	if (has_icmp(event))
		printf(",\"icmp_type\":%u,\"icmp_code\":%u", event->icmp_type, event->icmp_code);
	else
		printf(",\"icmp_type\":null,\"icmp_code\":null");
	printf(",\"tcp_flags\":%s", has_tcp(event) ? "[" : "null");
	for (size_t i = 0; has_tcp(event) && i < ARRAY_SIZE(tcp_flags); i++) {
		if (!(event->tcp_flags & tcp_flags[i].bit))
			continue;
		printf("%s\"%s\"", separator, tcp_flags[i].name);
		separator = ",";
	}
	printf("%s", has_tcp(event) ? "]" : "");
}

static void print_json(const struct filter_event *event, const struct ruleset *ruleset,
		       const struct rule *rule)
{
	uint64_t time = wall_time(event);

	printf("{\"time\":%" PRIu64 ".%06u,", time / NS_PER_S,
	       (unsigned int)(time % NS_PER_S / 1000));
	print_json_rule(ruleset, rule);
	print_json_network(event);
	print_json_transport(event);
	printf("}\n");
}

/* ---- Reading --------------------------------------------------------------------------------- */

static int take_event(void *context, void *data, size_t size)
{
	struct follower *follower = context;
	const struct filter_event *event = data;
	const struct ruleset *ruleset;

	if (size < sizeof(*event) || event->time < follower->begun)
		return 0;
	ruleset = find_known(follower, event->generation);
	if (!ruleset) {
		learn(follower);
		ruleset = find_known(follower, event->generation);
	}
	for (uint32_t i = 0; i < event->rules && i < FILTER_EVENT_RULES; i++) {
		const struct rule *rule = find_rule(ruleset, event->rule[i]);

		if (follower->json)
			print_json(event, ruleset, rule);
		else
			print_line(event, ruleset, rule);
	}
	return 0;
}

static uint64_t read_lost(const struct follower *follower)
{
	const uint32_t zero = 0;
	int cpus = libbpf_num_possible_cpus();
	_cleanup_free_ struct filter_log_state *each = NULL;
	uint64_t lost = 0;

	each = cpus < 0 ? NULL : calloc((size_t)cpus, sizeof(*each));
	if (!each || bpf_map_lookup_elem(follower->state, &zero, each))
		return follower->lost;
	for (int cpu = 0; cpu < cpus; cpu++)
		lost += each[cpu].lost;
	return lost;
}

static void tell_lost(struct follower *follower)
{
	uint64_t lost = read_lost(follower), more = lost - follower->lost;

	if (!more)
		return;
	follower->lost = lost;
	printf(follower->json ? "{\"lost\":%" PRIu64 "}\n" : "%" PRIu64 " events lost\n", more);
}

static uint32_t map_id(int map)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return map < 0 || bpf_map_get_info_by_fd(map, &info, &len) ? 0 : info.id;
}

/* Are the events still those of the filter in force? */
static bool is_loaded(const struct follower *follower)
{
	_cleanup_close_ int pins = pins_open(false), map = -1;

	if (pins >= 0)
		map = pins_get(pins, "log_events");
	return map >= 0 && map_id(map) == follower->events_id;
}

static int follow(struct follower *follower)
{
	fprintf(stderr, "bpfw: listening for events of LOG and NFLOG rules\n");
	while (!stopped) {
		int events = ring_buffer__poll(follower->ring, POLL_MS);

		if (events < 0 && events != -EINTR) {
			log_error("cannot read events: %s", strerror(-events));
			return EXIT_FAILURE;
		}
		tell_lost(follower);
		if (fflush(stdout) || ferror(stdout)) {
			log_error("cannot write events: %s", strerror(errno));
			return EXIT_FAILURE;
		}
		if (events)
			continue;
		if (!is_loaded(follower)) {
			log_error("the filter has been unloaded");
			return EXIT_FAILURE;
		}
		learn(follower);
	}
	return EXIT_SUCCESS;
}

/* ---- Beginning and end ------------------------------------------------------------------------ */

/* Returns 0 or -errno: -ENOENT (no filter), -EWOULDBLOCK (another reader). */
static int open_events(struct follower *follower)
{
	_cleanup_close_ int pins = pins_open(false);

	if (pins < 0)
		return pins;
	follower->events = pins_get(pins, "log_events");
	follower->state = pins_get(pins, "log_state");
	if (follower->events < 0 || follower->state < 0)
		return follower->events < 0 ? follower->events : follower->state;
	follower->events_id = map_id(follower->events);
	follower->lock = pins_lock(pins, "log-reader");
	return follower->lock < 0 ? follower->lock : 0;
}

/* What nobody has read is skipped, and what nobody could read was not lost. */
static int begin(struct follower *follower)
{
	int err;

	follower->ring = ring_buffer__new(follower->events, take_event, follower, NULL);
	if (!follower->ring)
		return -errno;
	learn(follower);
	follower->begun = clock_ns(CLOCK_MONOTONIC);
	err = ring_buffer__consume(follower->ring);
	follower->lost = read_lost(follower);
	return err < 0 ? err : 0;
}

static void end(struct follower *follower)
{
	const int descriptors[] = { follower->events, follower->state, follower->lock };

	ring_buffer__free(follower->ring);
	for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++)
		if (descriptors[i] >= 0)
			close(descriptors[i]);
	for (size_t i = 0; i < KNOWN; i++)
		ruleset_free(&follower->known[i].ruleset);
}

static void explain(int err)
{
	if (err == -EWOULDBLOCK)
		log_error("another bpfw filter log reads the events of this network namespace");
	else if (err == -ENOENT || err == -EACCES)
		in_force_explain(err);
	else
		log_error("cannot read events: %s", strerror(-err));
}

int events_follow(bool json)
{
	struct follower follower = { .events = -1, .state = -1, .lock = -1, .json = json };
	const struct sigaction action = { .sa_handler = stop };
	int err = open_events(&follower), status = EXIT_FAILURE;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	err = err ? err : begin(&follower);
	if (err)
		explain(err);
	else
		status = follow(&follower);
	end(&follower);
	return status;
}
