/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/types.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "layout.h"
#include "log.h"
#include "options.h"
#include "util.h"

#define MAX_FLOWS_DEFAULT 65536

/* Flow maps take two entries per flow, and their size is 32 bits wide. */
#define MAX_FLOWS_LIMIT (1U << 24)
#define IDLE_LIMIT_S (7U * 24 * 3600)

static const char *const hook_names[] = {
	[HOOK_AUTO] = "auto",
	[HOOK_TC] = "tc",
	[HOOK_XDP] = "xdp",
	[HOOK_XDPGENERIC] = "xdpgeneric",
};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

const char *hook_name(enum hook hook)
{
	return hook_names[hook];
}

/* Index of `word` among `names`, or -1. */
static int find_name(const char *const *names, size_t count, const char *word)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], word))
			return (int)i;
	return -1;
}

static int parse_hook(const char *word, enum hook *hook, char *error)
{
	int found = find_name(hook_names, ARRAY_SIZE(hook_names), word);

	if (found < 0) {
		snprintf(error, OPTIONS_ERROR,
			 "unknown hook '%.40s': use tc, xdp, xdpgeneric or auto", word);
		return -EINVAL;
	}
	*hook = (enum hook)found;
	return 0;
}

static int parse_number(const char *option, const char *word, uint32_t most, uint32_t *number,
			char *error)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(word, &end, 10);
	if (errno || !isdigit((unsigned char)word[0]) || *end || !value || value > most) {
		snprintf(error, OPTIONS_ERROR, "%s takes a whole number from 1 to %u, not '%.40s'",
			 option, most, word);
		return -EINVAL;
	}
	*number = (uint32_t)value;
	return 0;
}

/* One NAME or NAME:HOOK. A hook of -1 stands for the one that --hook gives. */
static int add_interface(struct options *options, const char *word, int *hooks, char *error)
{
	struct interface_option *interface = &options->interface[options->interfaces];
	const char *colon = strchr(word, ':');
	size_t len = colon ? (size_t)(colon - word) : strlen(word);
	enum hook hook = HOOK_AUTO;

	if (options->interfaces == MAX_INTERFACES) {
		snprintf(error, OPTIONS_ERROR, "more than %d interfaces", MAX_INTERFACES);
		return -EINVAL;
	}
	if (!len || len >= IFNAMSIZ) {
		snprintf(error, OPTIONS_ERROR,
			 "--iface: '%.40s' is no interface name: it takes 1 to %d characters", word,
			 IFNAMSIZ - 1);
		return -EINVAL;
	}
	if (colon && parse_hook(colon + 1, &hook, error))
		return -EINVAL;
	memcpy(interface->name, word, len);
	interface->name[len] = '\0';
	for (size_t i = 0; i < options->interfaces; i++) {
		if (strcmp(options->interface[i].name, interface->name))
			continue;
		snprintf(error, OPTIONS_ERROR, "interface '%s' is named twice: name it once",
			 interface->name);
		return -EINVAL;
	}
	hooks[options->interfaces++] = colon ? (int)hook : -1;
	return 0;
}

static int add_interfaces(struct options *options, const char *words, int *hooks, char *error)
{
	_cleanup_free_ char *copy = strdup(words);
	char *rest = copy, *word;

	if (!copy)
		return -ENOMEM;
	while ((word = strsep(&rest, ","))) {
		int err = add_interface(options, word, hooks, error);

		if (err)
			return err;
	}
	return 0;
}

/* "auto" stands for every interface that forwards, so it goes with no other name. */
static int check_automatic(struct options *options, char *error)
{
	for (size_t i = 0; i < options->interfaces; i++)
		options->automatic |= !strcmp(options->interface[i].name, "auto");
	if (!options->automatic || options->interfaces == 1)
		return 0;
	snprintf(error, OPTIONS_ERROR,
		 "--iface auto means every interface that forwards: name no other, or leave "
		 "'auto' out");
	return -EINVAL;
}

/* ---- What stays in the stack ------------------------------------------------ */

/* Clear the bits behind the prefix, as a route's destination has none either. */
static void trim_prefix(struct prefix_option *prefix)
{
	uint8_t *byte = (uint8_t *)prefix->address.word;

	for (size_t bit = prefix->length; bit < sizeof(prefix->address) * 8; bit++)
		byte[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static bool parse_prefix_length(const char *word, unsigned int most, uint8_t *length)
{
	char *end;
	unsigned long value = strtoul(word, &end, 10);

	if (!isdigit((unsigned char)word[0]) || *end || value > most)
		return false;
	*length = (uint8_t)value;
	return true;
}

static bool parse_prefix(const char *word, struct prefix_option *prefix)
{
	const char *slash = strchr(word, '/');
	size_t len = slash ? (size_t)(slash - word) : strlen(word);
	char text[INET6_ADDRSTRLEN];

	if (len >= sizeof(text))
		return false;
	memcpy(text, word, len);
	text[len] = '\0';
	*prefix = (struct prefix_option){ .family = AF_INET, .length = 32 };
	if (inet_pton(AF_INET, text, &prefix->address) != 1) {
		*prefix = (struct prefix_option){ .family = AF_INET6, .length = 128 };
		if (inet_pton(AF_INET6, text, &prefix->address) != 1)
			return false;
	}
	if (slash && !parse_prefix_length(slash + 1, prefix->length, &prefix->length))
		return false;
	trim_prefix(prefix);
	return true;
}

static int add_exclude(struct options *options, const char *word, char *error)
{
	if (options->excludes == MAX_EXCLUDES) {
		snprintf(error, OPTIONS_ERROR, "--exclude: more than %d prefixes", MAX_EXCLUDES);
		return -EINVAL;
	}
	if (!parse_prefix(word, &options->exclude[options->excludes])) {
		snprintf(error, OPTIONS_ERROR,
			 "--exclude takes an address or a prefix such as 192.0.2.0/24 or "
			 "2001:db8::/32, not '%.60s'",
			 word);
		return -EINVAL;
	}
	options->excludes++;
	return 0;
}

/* Up to `stop`, decimal or with 0x in front. A leading 0 does not make it octal. */
static bool parse_mark(const char *word, char stop, uint32_t *value)
{
	bool hex = word[0] == '0' && (word[1] == 'x' || word[1] == 'X');
	unsigned long long number;
	char *end;

	if (hex ? !isxdigit((unsigned char)word[2]) : !isdigit((unsigned char)word[0]))
		return false;
	errno = 0;
	number = strtoull(word, &end, hex ? 16 : 10);
	if (errno || *end != stop || number > UINT32_MAX)
		return false;
	*value = (uint32_t)number;
	return true;
}

static int parse_exclude_mark(struct options *options, const char *word, char *error)
{
	const char *slash = strchr(word, '/');

	options->exclude_mask = UINT32_MAX;
	if (!parse_mark(word, slash ? '/' : '\0', &options->exclude_mark) ||
	    (slash && !parse_mark(slash + 1, '\0', &options->exclude_mask))) {
		snprintf(error, OPTIONS_ERROR,
			 "--exclude-mark takes VALUE or VALUE/MASK, such as 0x10/0xf0, not '%.60s'",
			 word);
		return -EINVAL;
	}
	if (options->exclude_mask && !(options->exclude_mark & ~options->exclude_mask))
		return 0;
	snprintf(error, OPTIONS_ERROR, "--exclude-mark: %s in '%.60s'",
		 options->exclude_mask ?
			 "the value has bits that the mask lacks, so nothing matches" :
			 "a mask of 0 matches everything",
		 word);
	return -EINVAL;
}

static int parse_only(struct options *options, const char *word, char *error)
{
	if (!strcmp(word, "tcp"))
		options->only_protocol = IPPROTO_TCP;
	else if (!strcmp(word, "udp"))
		options->only_protocol = IPPROTO_UDP;
	else {
		snprintf(error, OPTIONS_ERROR, "--only takes tcp or udp, not '%.40s'", word);
		return -EINVAL;
	}
	return 0;
}

/* ---- CPUs ------------------------------------------------------------------- */

static int parse_cpus(struct options *options, const char *word, char *error)
{
	switch (cpus_parse(&options->cpus, word)) {
	case 0:
		return 0;
	case -EEXIST:
		snprintf(error, OPTIONS_ERROR, "--cpus: a CPU is named twice in '%.60s'", word);
		return -EINVAL;
	case -E2BIG:
		snprintf(error, OPTIONS_ERROR, "--cpus: more than %d CPUs", SPREAD_CPUS);
		return -EINVAL;
	default:
		snprintf(error, OPTIONS_ERROR,
			 "--cpus takes a list of CPUs such as 0-3 or 1,3, not '%.60s'", word);
		return -EINVAL;
	}
}

/* Spreading is native XDP's. With hook auto a port may turn out to be one for TC: see plan.c. */
static int check_cpus(const struct options *options, char *error)
{
	bool native = false;

	if (!options->cpus.count)
		return 0;
	for (size_t i = 0; i < options->interfaces; i++) {
		enum hook hook = options->interface[i].hook;

		native |= hook == HOOK_XDP || hook == HOOK_AUTO;
		if (hook != HOOK_XDPGENERIC)
			continue;
		snprintf(error, OPTIONS_ERROR,
			 "--cpus goes with native XDP, not with xdpgeneric: use hook xdp or auto");
		return -EINVAL;
	}
	if (native || !options->interfaces)
		return 0;
	snprintf(error, OPTIONS_ERROR,
		 "--cpus spreads what XDP receives, not with hook tc: use xdp or auto, or the "
		 "kernel's RPS (/sys/class/net/NAME/queues/rx-0/rps_cpus)");
	return -EINVAL;
}

/* ---- All options ------------------------------------------------------------ */

enum option_id {
	OPTION_CONFIG = 256,
	OPTION_CPUS,
	OPTION_DRY_RUN,
	OPTION_EXCLUDE,
	OPTION_EXCLUDE_MARK,
	OPTION_HOOK,
	OPTION_IFACE,
	OPTION_JSON,
	OPTION_LOG_LEVEL,
	OPTION_MAX_FLOWS,
	OPTION_NO_SANDBOX,
	OPTION_ONLY,
	OPTION_RXVLAN_OFF,
	OPTION_TCP_IDLE,
	OPTION_UDP_IDLE,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, OPTION_CONFIG },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "dry-run", no_argument, NULL, OPTION_DRY_RUN },
	{ "exclude", required_argument, NULL, OPTION_EXCLUDE },
	{ "exclude-mark", required_argument, NULL, OPTION_EXCLUDE_MARK },
	{ "hook", required_argument, NULL, OPTION_HOOK },
	{ "iface", required_argument, NULL, OPTION_IFACE },
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
	{ "max-flows", required_argument, NULL, OPTION_MAX_FLOWS },
	{ "no-sandbox", no_argument, NULL, OPTION_NO_SANDBOX },
	{ "only", required_argument, NULL, OPTION_ONLY },
	{ "rxvlan-off", no_argument, NULL, OPTION_RXVLAN_OFF },
	{ "tcp-idle", required_argument, NULL, OPTION_TCP_IDLE },
	{ "udp-idle", required_argument, NULL, OPTION_UDP_IDLE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

struct parse {
	bool again; /* SIGHUP: the daemon runs, and must not wait for who writes the file */
	enum hook hook;
	int hooks[MAX_INTERFACES];
};

static int parse_log_level(struct options *options, const char *word, char *error)
{
	options->log_level = find_name(level_names, ARRAY_SIZE(level_names), word);
	if (options->log_level >= 0)
		return 0;
	snprintf(error, OPTIONS_ERROR, "unknown log level '%.40s': use error, warn, info or debug",
		 word);
	return -EINVAL;
}

/* Options without a value. Returns false if `id` is none of them. */
static bool parse_flag(struct options *options, int id)
{
	switch (id) {
	case OPTION_DRY_RUN:
		options->dry_run = true;
		return true;
	case OPTION_JSON:
		options->json = true;
		return true;
	case OPTION_NO_SANDBOX:
		options->no_sandbox = true;
		return true;
	case OPTION_RXVLAN_OFF:
		options->rxvlan_off = true;
		return true;
	case OPTION_HELP:
		options->help = true;
		return true;
	case OPTION_VERSION:
		options->version = true;
		return true;
	default:
		return false;
	}
}

static int parse_option(struct options *options, struct parse *parse, int id, char *const argv[],
			char *error)
{
	if (parse_flag(options, id))
		return 0;
	switch (id) {
	case OPTION_CONFIG:
		return 0; /* has been read by now */
	case OPTION_CPUS:
		return parse_cpus(options, optarg, error);
	case OPTION_EXCLUDE:
		return add_exclude(options, optarg, error);
	case OPTION_EXCLUDE_MARK:
		return parse_exclude_mark(options, optarg, error);
	case OPTION_ONLY:
		return parse_only(options, optarg, error);
	case OPTION_HOOK:
		return parse_hook(optarg, &parse->hook, error);
	case OPTION_IFACE:
		return add_interfaces(options, optarg, parse->hooks, error);
	case OPTION_LOG_LEVEL:
		return parse_log_level(options, optarg, error);
	case OPTION_MAX_FLOWS:
		return parse_number("--max-flows", optarg, MAX_FLOWS_LIMIT, &options->max_flows,
				    error);
	case OPTION_TCP_IDLE:
		return parse_number("--tcp-idle", optarg, IDLE_LIMIT_S, &options->tcp_idle_s,
				    error);
	case OPTION_UDP_IDLE:
		return parse_number("--udp-idle", optarg, IDLE_LIMIT_S, &options->udp_idle_s,
				    error);
	case ':':
		snprintf(error, OPTIONS_ERROR, "option '%.60s' needs a value", argv[optind - 1]);
		return -EINVAL;
	default:
		snprintf(error, OPTIONS_ERROR, "unknown option '%.60s'", argv[optind - 1]);
		return -EINVAL;
	}
}

/* ---- The file --------------------------------------------------------------- */

#define CONFIG_LINES_MAX 1000

/* What --config says; the last counts. Errors are left to the second reading. */
static const char *find_config(int argc, char *const argv[])
{
	const char *config = NULL;
	int id;

	optind = 0; /* start afresh: tests parse many times */
	while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1)
		if (id == OPTION_CONFIG)
			config = optarg;
	return config;
}

/* "iface  lan1 # comment" to "--iface=lan1", a word without value to "--rxvlan-off". */
static bool line_to_word(char *line, char *word, size_t size)
{
	char *name = line + strspn(line, " \t"), *value;
	size_t len;

	name[strcspn(name, "#\r\n")] = '\0';
	len = strlen(name);
	while (len && isspace((unsigned char)name[len - 1]))
		name[--len] = '\0';
	value = name + strcspn(name, " \t=");
	if (*value)
		*value++ = '\0';
	value += strspn(value, " \t=");
	snprintf(word, size, *value ? "--%s=%s" : "--%s", name, value);
	return *name;
}

/* Those that say what to do now have no place in a file. */
static bool is_setting(const struct options *options)
{
	return !options->help && !options->version && !options->dry_run && !options->json;
}

static int parse_line(struct options *options, struct parse *parse, char *word, char *error)
{
	char *const argv[] = { word, word, NULL };
	int id, err;

	optind = 0;
	id = getopt_long(2, argv, ":", long_options, NULL);
	if (id == -1 || id == OPTION_CONFIG || !strcmp(word, "--")) {
		snprintf(error, OPTIONS_ERROR, "'%.60s' is no setting", word + 2);
		return -EINVAL;
	}
	err = parse_option(options, parse, id, argv, error);
	if (!err && !is_setting(options)) {
		snprintf(error, OPTIONS_ERROR, "'%.60s' is for the command line only", word + 2);
		return -EINVAL;
	}
	return err;
}

static int parse_lines(struct options *options, struct parse *parse, FILE *file, char *error)
{
	char line[512], word[600], why[OPTIONS_ERROR];

	for (unsigned int number = 1; fgets(line, sizeof(line), file); number++) {
		int err = 0;

		if (number > CONFIG_LINES_MAX || (!strchr(line, '\n') && !feof(file))) {
			snprintf(why, sizeof(why), "too long");
			err = -EINVAL;
		} else if (line_to_word(line, word, sizeof(word))) {
			err = parse_line(options, parse, word, why);
		}
		if (err) {
			snprintf(error, OPTIONS_ERROR, "%.80s:%u: %.150s", options->config, number,
				 why);
			return err;
		}
	}
	return 0;
}

/* Who can write to the file decides what bypasses the firewall's rules. */
static int check_writers(const char *name, const struct stat *file, char *error)
{
	if (file->st_uid && file->st_uid != geteuid()) {
		snprintf(error, OPTIONS_ERROR,
			 "'%.100s' is refused: it belongs to user %u, not to root or user %u, as "
			 "which bpfw runs: chown it to one of these",
			 name, (unsigned int)file->st_uid, (unsigned int)geteuid());
		return -EINVAL;
	}
	if (file->st_mode & (S_IWGRP | S_IWOTH)) {
		snprintf(error, OPTIONS_ERROR,
			 "'%.100s' is refused: others than its owner may write to it (mode %04o): "
			 "chmod go-w it",
			 name, (unsigned int)(file->st_mode & 07777));
		return -EINVAL;
	}
	return 0;
}

/* Where standard input was closed, its number is that of the file that was just opened. */
static bool is_standard_input(int fd, const struct stat *file)
{
	struct stat input;

	return fd != STDIN_FILENO && !fstat(STDIN_FILENO, &input) && input.st_dev == file->st_dev &&
	       input.st_ino == file->st_ino;
}

/*
 * A regular file, or at the start a pipe or what standard input is. Whoever starts bpfw has
 * chosen its standard input, so that one may have any owner unless it is a file, which
 * changes later and is read again.
 */
static int check_source(const char *name, int fd, bool again, char *error)
{
	struct stat file;
	bool regular;

	if (fstat(fd, &file)) {
		snprintf(error, OPTIONS_ERROR, "cannot read '%.120s': %s", name, strerror(errno));
		return -EINVAL;
	}
	regular = S_ISREG(file.st_mode);
	if (!regular && again) {
		snprintf(error, OPTIONS_ERROR,
			 "'%.120s' cannot be read again: it is no regular file", name);
		return -EINVAL;
	}
	if (!regular && is_standard_input(fd, &file))
		return 0;
	if (!regular && !S_ISFIFO(file.st_mode)) {
		snprintf(error, OPTIONS_ERROR,
			 "'%.120s' is neither a regular file nor a pipe nor standard input", name);
		return -EINVAL;
	}
	return check_writers(name, &file, error);
}

/* What is checked is what was opened, whatever takes its name meanwhile. */
static int open_config(const char *name, bool again, char *error)
{
	_cleanup_close_ int fd = open(name, O_RDONLY | O_CLOEXEC | (again ? O_NONBLOCK : 0));
	int err;

	if (fd < 0) {
		snprintf(error, OPTIONS_ERROR, "cannot read '%.120s': %s", name, strerror(errno));
		return -EINVAL;
	}
	err = check_source(name, fd, again, error);
	return err ? err : take_fd(&fd);
}

static int parse_file(struct options *options, struct parse *parse, FILE *file, char *error)
{
	int err = parse_lines(options, parse, file, error);

	if (err || !ferror(file))
		return err;
	snprintf(error, OPTIONS_ERROR, "cannot read '%.120s' to its end", options->config);
	return -EINVAL;
}

static int parse_config(struct options *options, struct parse *parse, char *error)
{
	_cleanup_close_ int fd = -1;
	FILE *file;
	int err;

	if (!options->config)
		return 0;
	fd = open_config(options->config, parse->again, error);
	if (fd < 0)
		return fd;
	file = fdopen(fd, "r");
	if (!file) {
		snprintf(error, OPTIONS_ERROR, "cannot read '%.120s': %s", options->config,
			 strerror(errno));
		return -EINVAL;
	}
	take_fd(&fd);
	err = parse_file(options, parse, file, error);
	fclose(file);
	return err;
}

/* ---- Both ------------------------------------------------------------------- */

static int parse_command_line(struct options *options, struct parse *parse, char *error)
{
	int id;

	optind = 0;
	while ((id = getopt_long(options->argc, options->argv, ":", long_options, NULL)) != -1) {
		int err = parse_option(options, parse, id, options->argv, error);

		if (err)
			return err;
	}
	if (optind == options->argc)
		return 0;
	snprintf(error, OPTIONS_ERROR,
		 "unexpected argument '%.60s': an interface is given by --iface NAME",
		 options->argv[optind]);
	return -EINVAL;
}

/* What only all options together tell. */
static int check_options(struct options *options, const struct parse *parse, char *error)
{
	for (size_t i = 0; i < options->interfaces; i++)
		options->interface[i].hook = parse->hooks[i] < 0 ? parse->hook :
								   (enum hook)parse->hooks[i];
	if (check_automatic(options, error) || check_cpus(options, error))
		return -EINVAL;
	if (options->json && !options->dry_run) {
		snprintf(error, OPTIONS_ERROR,
			 "--json goes with --dry-run; the commands flows, stats and status take it "
			 "behind their name");
		return -EINVAL;
	}
	if (options->interfaces || options->help || options->version)
		return 0;
	snprintf(error, OPTIONS_ERROR,
		 "no interface: name at least one, for example --iface lan1 --iface wan, or all "
		 "that forward by --iface auto");
	return -EINVAL;
}

/*
 * The table's memory is taken at the start: of a small device's, no more than a 32nd. A flow is two
 * slots and their place in the index. Asked once: a reload may not make that system call any more.
 */
static uint32_t default_max_flows(void)
{
	const uint64_t flow_size = 2 * (sizeof(struct bpfw_flow) * 9 / 8 + 16);
	static uint32_t flows;
	struct sysinfo info;
	uint64_t fitting;

	if (flows)
		return flows;
	flows = MAX_FLOWS_DEFAULT;
	if (sysinfo(&info))
		return flows;
	fitting = (uint64_t)info.totalram * info.mem_unit / 32 / flow_size;
	if (fitting > 0 && fitting < flows)
		flows = (uint32_t)fitting;
	return flows;
}

static int parse_all(struct options *options, int argc, char *const argv[], bool again,
		     char error[OPTIONS_ERROR])
{
	struct parse parse = { .again = again, .hook = HOOK_AUTO };
	int err;

	*options = (struct options){
		.max_flows = default_max_flows(),
		.tcp_idle_s = 300,
		.udp_idle_s = 60,
		.log_level = LOG_LEVEL_WARN,
		.config = find_config(argc, argv),
		.argc = argc,
		.argv = argv,
	};
	error[0] = '\0';
	err = parse_config(options, &parse, error);
	err = err ? err : parse_command_line(options, &parse, error);
	return err ? err : check_options(options, &parse, error);
}

int options_parse(struct options *options, int argc, char *const argv[], char error[OPTIONS_ERROR])
{
	return parse_all(options, argc, argv, false, error);
}

int options_reload(struct options *options, const struct options *old, char error[OPTIONS_ERROR])
{
	return parse_all(options, old->argc, old->argv, true, error);
}
