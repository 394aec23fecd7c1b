/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line: every option, in every form, and every way to get it wrong. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "options.h"

#define MOST_ARGUMENTS 80

static struct options options;
static char error[OPTIONS_ERROR];

/* Parse words given one by one, NULL at the end. The first is not the program's name. */
static int parse_list(const char *const *words)
{
	static char text[MOST_ARGUMENTS][512];
	char *argv[MOST_ARGUMENTS + 2] = { (char[]){ "bpfw" } };
	int argc = 1;

	for (; *words; words++) {
		assert_in_range(argc, 1, MOST_ARGUMENTS);
		snprintf(text[argc - 1], sizeof(text[0]), "%s", *words);
		argv[argc] = text[argc - 1];
		argc++;
	}
	memset(&options, 0xaa, sizeof(options));
	memset(error, 0xaa, sizeof(error));
	return options_parse(&options, argc, argv, error);
}

#define parse(...) parse_list((const char *const[]){ __VA_ARGS__, NULL })

static void expect_interface(size_t i, const char *name, enum hook hook)
{
	assert_true(i < options.interfaces);
	assert_string_equal(options.interface[i].name, name);
	assert_int_equal(options.interface[i].hook, hook);
}

/* Refused, with a message that holds `why`. */
#define refuse(why, ...)                                                \
	do {                                                            \
		assert_int_equal(parse(__VA_ARGS__), -EINVAL);          \
		assert_non_null(memchr(error, '\0', sizeof(error)));    \
		if (!strstr(error, why))                                \
			fail_msg("'%s' does not say '%s'", error, why); \
	} while (0)

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "lan0"), 0);
	assert_string_equal(error, "");
	assert_int_equal(options.interfaces, 1);
	expect_interface(0, "lan0", HOOK_AUTO);
	assert_int_equal(options.max_flows, 65536);
	assert_int_equal(options.tcp_idle_s, 300);
	assert_int_equal(options.udp_idle_s, 60);
	assert_int_equal(options.log_level, LOG_LEVEL_WARN);
	assert_false(options.help);
	assert_false(options.version);
	assert_false(options.automatic);
	assert_int_equal(options.excludes, 0);
	assert_int_equal(options.exclude_mark, 0);
	assert_int_equal(options.exclude_mask, 0);
	assert_int_equal(options.only_protocol, 0);
	assert_false(options.rxvlan_off);
	assert_int_equal(options.cpus.count, 0);
	assert_false(options.dry_run);
	assert_false(options.json);
}

static void test_cpus(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "a", "--cpus", "0-2,7"), 0);
	assert_int_equal(options.cpus.count, 4);
	assert_int_equal(options.cpus.cpu[2], 2);
	assert_int_equal(options.cpus.cpu[3], 7);
	/* The last one counts, as with other settings. */
	assert_int_equal(parse("--cpus=0-2", "--iface", "a:xdp", "--cpus=5"), 0);
	assert_int_equal(options.cpus.count, 1);
	assert_int_equal(options.cpus.cpu[0], 5);
	assert_int_equal(parse("--iface", "a:tc,b:xdp", "--cpus", "0"), 0);
	assert_int_equal(parse("--iface", "auto", "--cpus", "0"), 0);
	refuse("'0-'", "--iface", "a", "--cpus", "0-");
	refuse("such as", "--iface", "a", "--cpus", "");
	refuse("twice", "--iface", "a", "--cpus", "1,0-3");
	refuse("64", "--iface", "a", "--cpus", "0-64");
	refuse("rps_cpus", "--iface", "a:tc", "--cpus", "0");
	refuse("rps_cpus", "--hook", "tc", "--iface", "auto", "--cpus", "0");
	refuse("xdpgeneric", "--hook", "xdpgeneric", "--iface", "a", "--cpus", "0");
	refuse("needs a value", "--iface", "a", "--cpus");
}

static void test_hooks(void **state)
{
	static const enum hook hooks[] = { HOOK_AUTO, HOOK_TC, HOOK_XDP, HOOK_XDPGENERIC };
	static const char *const names[] = { "auto", "tc", "xdp", "xdpgeneric" };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(hook_name(hooks[i]), names[i]);
		assert_int_equal(parse("--hook", names[i], "--iface", "lan0"), 0);
		expect_interface(0, "lan0", hooks[i]);
		/* --hook holds for what was named before it as well. */
		assert_int_equal(parse("--iface", "lan0", "--hook", names[i], "--iface", "w"), 0);
		expect_interface(0, "lan0", hooks[i]);
		expect_interface(1, "w", hooks[i]);
	}
	/* The last one counts. */
	assert_int_equal(parse("--hook", "tc", "--iface", "a", "--hook=xdp"), 0);
	expect_interface(0, "a", HOOK_XDP);
	refuse("unknown hook 'bpf'", "--hook", "bpf", "--iface", "a");
	refuse("unknown hook ''", "--hook", "", "--iface", "a");
	refuse("unknown hook 'XDP'", "--hook", "XDP", "--iface", "a");
	refuse("unknown hook 'xdpg'", "--hook", "xdpg", "--iface", "a");
	refuse("use tc, xdp, xdpgeneric or auto", "--hook", "tc,xdp", "--iface", "a");
}

static void test_interface_lists(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "a,b,c"), 0);
	assert_int_equal(options.interfaces, 3);
	expect_interface(0, "a", HOOK_AUTO);
	expect_interface(1, "b", HOOK_AUTO);
	expect_interface(2, "c", HOOK_AUTO);
	assert_int_equal(parse("--iface=a,b", "--iface", "c"), 0);
	assert_int_equal(options.interfaces, 3);
	assert_int_equal(
		parse("--hook", "tc", "--iface", "a:xdp,b,c:auto", "--iface", "d:xdpgeneric"), 0);
	expect_interface(0, "a", HOOK_XDP);
	expect_interface(1, "b", HOOK_TC);
	expect_interface(2, "c", HOOK_AUTO);
	expect_interface(3, "d", HOOK_XDPGENERIC);
	assert_int_equal(parse("--iface", "eth0.10,br-lan,wlan0_1,a@b"), 0);
	assert_int_equal(options.interfaces, 4);
	expect_interface(0, "eth0.10", HOOK_AUTO);
	refuse("unknown hook 'fast'", "--iface", "a,b:fast");
	refuse("unknown hook ''", "--iface", "a:");
	refuse("unknown hook 'tc:xdp'", "--iface", "a:tc:xdp");
}

static void test_interface_names(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "exactly15-chars"), 0);
	expect_interface(0, "exactly15-chars", HOOK_AUTO);
	assert_int_equal(parse("--iface", "exactly15-chars:tc"), 0);
	expect_interface(0, "exactly15-chars", HOOK_TC);
	refuse("no interface name", "--iface", "sixteen-is-more!");
	refuse("1 to 15 characters", "--iface", "sixteen-is-more!:tc");
	refuse("no interface name", "--iface", "");
	refuse("no interface name", "--iface", ":tc");
	refuse("no interface name", "--iface", "a,");
	refuse("no interface name", "--iface", ",a");
	refuse("no interface name", "--iface", "a,,b");
	refuse("no interface name", "--iface", ",");
}

static void test_duplicates(void **state)
{
	(void)state;
	refuse("'a' is named twice", "--iface", "a", "--iface", "a");
	refuse("'a' is named twice", "--iface", "a,b,a");
	refuse("'a' is named twice", "--iface", "a:tc", "--iface", "a:xdp");
	refuse("'lan0' is named twice", "--iface", "lan0", "--iface", "b,lan0:tc");
	assert_int_equal(parse("--iface", "a,aa,A"), 0);
}

static void name_many(char *text, size_t size, unsigned int count)
{
	size_t used = 0;

	for (unsigned int i = 0; i < count; i++)
		used += (size_t)snprintf(text + used, size - used, "%se%u", i ? "," : "", i);
	assert_true(used < size);
}

static void test_interface_limit(void **state)
{
	char text[512];

	(void)state;
	name_many(text, sizeof(text), MAX_INTERFACES);
	assert_int_equal(parse("--iface", text), 0);
	assert_int_equal(options.interfaces, MAX_INTERFACES);
	expect_interface(MAX_INTERFACES - 1, "e63", HOOK_AUTO);
	name_many(text, sizeof(text), MAX_INTERFACES + 1);
	refuse("more than 64", "--iface", text);
	name_many(text, sizeof(text), MAX_INTERFACES);
	refuse("more than 64", "--iface", text, "--iface", "one-more");
}

static void test_none(void **state)
{
	(void)state;
	refuse("no interface", "--hook", "tc");
	assert_int_equal(parse_list((const char *const[]){ NULL }), -EINVAL);
	assert_non_null(strstr(error, "--iface"));
}

struct number_option {
	const char *name;
	uint32_t *value;
	const char *most;
	const char *more;
};

static const struct number_option numbers[] = {
	{ "--max-flows", &options.max_flows, "16777216", "16777217" },
	{ "--tcp-idle", &options.tcp_idle_s, "604800", "604801" },
	{ "--udp-idle", &options.udp_idle_s, "604800", "604801" },
};

static void check_number(const struct number_option *number)
{
	static const char *const wrong[] = {
		"0",
		"-1",
		"",
		"x",
		"1x",
		"1.5",
		" ",
		"1 ",
		"0x10",
		"00",
		"-0",
		"1e3",
		"--",
		"4294967296",
		"4294967297",
		"18446744073709551615",
		"18446744073709551616",
		"99999999999999999999999999",
		"-18446744073709551615",
		" -18446744073709551615",
		"\t-18446744073709551300",
	};

	assert_int_equal(parse("--iface", "a", number->name, "1"), 0);
	assert_int_equal(*number->value, 1);
	assert_int_equal(parse("--iface", "a", number->name, number->most), 0);
	assert_int_equal(*number->value, strtoul(number->most, NULL, 10));
	assert_int_equal(parse("--iface", "a", number->name, "0000123"), 0);
	assert_int_equal(*number->value, 123);
	refuse("whole number", "--iface", "a", number->name, number->more);
	refuse(number->name, "--iface", "a", number->name, number->more);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuse("takes a whole number from 1 to", "--iface", "a", number->name, wrong[i]);
}

static void test_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		check_number(&numbers[i]);
	assert_int_equal(parse("--iface", "a", "--max-flows=7", "--tcp-idle=8", "--udp-idle=9"), 0);
	assert_int_equal(options.max_flows, 7);
	assert_int_equal(options.tcp_idle_s, 8);
	assert_int_equal(options.udp_idle_s, 9);
}

static void test_log_level(void **state)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	static const enum log_level levels[] = { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
						 LOG_LEVEL_DEBUG };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(parse("--iface", "a", "--log-level", names[i]), 0);
		assert_int_equal(options.log_level, levels[i]);
	}
	refuse("unknown log level 'loud'", "--iface", "a", "--log-level", "loud");
	refuse("error, warn, info or debug", "--iface", "a", "--log-level", "");
	refuse("unknown log level '1'", "--iface", "a", "--log-level", "1");
}

static void test_help(void **state)
{
	(void)state;
	assert_int_equal(parse("--help"), 0);
	assert_true(options.help);
	assert_false(options.version);
	assert_int_equal(parse("--version"), 0);
	assert_true(options.version);
	assert_int_equal(parse("--iface", "a", "--help"), 0);
	assert_true(options.help);
	refuse("unknown option", "--help", "--nonsense");
}

static void test_automatic(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "auto"), 0);
	assert_true(options.automatic);
	assert_int_equal(options.interfaces, 1);
	expect_interface(0, "auto", HOOK_AUTO);
	assert_int_equal(parse("--iface", "auto:tc", "--hook", "xdp"), 0);
	assert_true(options.automatic);
	expect_interface(0, "auto", HOOK_TC);
	assert_int_equal(parse("--iface", "auto", "--hook", "xdp"), 0);
	expect_interface(0, "auto", HOOK_XDP);
	/* Names that only begin so */
	assert_int_equal(parse("--iface", "auto0,aut,Auto"), 0);
	assert_false(options.automatic);
	refuse("name no other", "--iface", "auto", "--iface", "lan0");
	refuse("name no other", "--iface", "lan0,auto");
	refuse("name no other", "--iface", "lan0,auto:tc,wan0");
	refuse("named twice", "--iface", "auto", "--iface", "auto");
}

static void expect_exclude(size_t i, const char *address, uint8_t length)
{
	char text[INET6_ADDRSTRLEN];
	const struct prefix_option *prefix = &options.exclude[i];

	assert_true(i < options.excludes);
	assert_non_null(inet_ntop(prefix->family, &prefix->address, text, sizeof(text)));
	assert_string_equal(text, address);
	assert_int_equal(prefix->length, length);
	assert_int_equal(prefix->family, strchr(address, ':') ? AF_INET6 : AF_INET);
	for (size_t word = 1; prefix->family == AF_INET && word < 4; word++)
		assert_int_equal(prefix->address.word[word], 0);
}

static void test_exclude(void **state)
{
	static const char *const wrong[] = {
		"",
		"x",
		"10.0.0",
		"10.0.0.256",
		"10.0.0.1/33",
		"10.0.0.1/",
		"10.0.0.1/-1",
		"10.0.0.1/ 8",
		"10.0.0.1/8x",
		"2001:db8::/129",
		"2001:db8:::",
		"/8",
		"10.0.0.1/8/8",
		"lan0",
		"10.0.0.1,10.0.0.2",
		"10.0.0.1/0x8",
		"2001:db8::/",
		" 10.0.0.1",
		"::ffff:1.2.3.4.5",
		"10.0.0.1/18446744073709551624",
	};

	(void)state;
	assert_int_equal(parse("--iface", "a", "--exclude", "192.0.2.0/24",
			       "--exclude=2001:db8::/32", "--exclude", "10.1.2.3", "--exclude",
			       "fd00::1"),
			 0);
	assert_int_equal(options.excludes, 4);
	expect_exclude(0, "192.0.2.0", 24);
	expect_exclude(1, "2001:db8::", 32);
	expect_exclude(2, "10.1.2.3", 32);
	expect_exclude(3, "fd00::1", 128);
	/* Bits behind the prefix do not count. */
	assert_int_equal(parse("--iface", "a", "--exclude", "10.255.255.255/9", "--exclude",
			       "ffff:ffff:ffff::1/33", "--exclude", "1.2.3.4/0", "--exclude",
			       "::1/0", "--exclude", "255.255.255.255/31", "--exclude",
			       "ff::ff/127"),
			 0);
	expect_exclude(0, "10.128.0.0", 9);
	expect_exclude(1, "ffff:ffff:8000::", 33);
	expect_exclude(2, "0.0.0.0", 0);
	expect_exclude(3, "::", 0);
	expect_exclude(4, "255.255.255.254", 31);
	expect_exclude(5, "ff::fe", 127);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuse("--exclude takes an address or a prefix", "--iface", "a", "--exclude",
		       wrong[i]);
}

static void test_exclude_limit(void **state)
{
	const char *words[2 + MAX_EXCLUDES + 2] = { "--iface", "a" };

	(void)state;
	for (size_t i = 0; i < MAX_EXCLUDES; i++)
		words[2 + i] = "--exclude=10.0.0.1";
	assert_int_equal(parse_list(words), 0);
	assert_int_equal(options.excludes, MAX_EXCLUDES);
	expect_exclude(MAX_EXCLUDES - 1, "10.0.0.1", 32);
	words[2 + MAX_EXCLUDES] = "--exclude=10.0.0.1";
	assert_int_equal(parse_list(words), -EINVAL);
	assert_non_null(strstr(error, "--exclude: more than 64"));
}

static void test_exclude_mark(void **state)
{
	static const struct {
		const char *word;
		uint32_t mark;
		uint32_t mask;
	} right[] = {
		{ "0x10/0xf0", 0x10, 0xf0 },
		{ "16", 16, UINT32_MAX },
		{ "0X1F", 0x1f, UINT32_MAX },
		{ "0/0x1", 0, 1 },
		{ "0", 0, UINT32_MAX },
		{ "4294967295", UINT32_MAX, UINT32_MAX },
		{ "010", 10, UINT32_MAX },
		{ "8/12", 8, 12 },
		{ "0xffffffff/0xffffffff", UINT32_MAX, UINT32_MAX },
	};
	static const char *const wrong[] = {
		"",           "x",   "0x",   "0x1g", "-1",    "1 ",
		" 1",         "1/",  "/1",   "1//1", "1/1/1", "0x100000000",
		"4294967296", "1/x", "0x/1", "0x-1", "0x 1",  "18446744073709551617",
		"1.5",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_int_equal(parse("--iface", "a", "--exclude-mark", right[i].word), 0);
		assert_int_equal(options.exclude_mark, right[i].mark);
		assert_int_equal(options.exclude_mask, right[i].mask);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refuse("--exclude-mark takes VALUE or VALUE/MASK", "--iface", "a", "--exclude-mark",
		       wrong[i]);
	refuse("nothing matches", "--iface", "a", "--exclude-mark", "0x10/0x0f");
	refuse("matches everything", "--iface", "a", "--exclude-mark", "0/0");
	refuse("matches everything", "--iface", "a", "--exclude-mark", "1/0x0");
}

static void test_only(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "a", "--only", "tcp"), 0);
	assert_int_equal(options.only_protocol, IPPROTO_TCP);
	assert_int_equal(parse("--iface", "a", "--only=udp"), 0);
	assert_int_equal(options.only_protocol, IPPROTO_UDP);
	/* The last one counts. */
	assert_int_equal(parse("--iface", "a", "--only", "udp", "--only", "tcp"), 0);
	assert_int_equal(options.only_protocol, IPPROTO_TCP);
	refuse("--only takes tcp or udp, not 'icmp'", "--iface", "a", "--only", "icmp");
	refuse("not 'TCP'", "--iface", "a", "--only", "TCP");
	refuse("not 'tcp,udp'", "--iface", "a", "--only", "tcp,udp");
	refuse("not ''", "--iface", "a", "--only", "");
}

static void test_dry_run(void **state)
{
	(void)state;
	assert_int_equal(parse("--iface", "a", "--dry-run"), 0);
	assert_true(options.dry_run);
	assert_false(options.json);
	assert_int_equal(parse("--json", "--iface", "a", "--dry-run", "--rxvlan-off"), 0);
	assert_true(options.dry_run);
	assert_true(options.json);
	assert_true(options.rxvlan_off);
	refuse("--json goes with --dry-run", "--iface", "a", "--json");
	refuse("--json goes with --dry-run", "--json");
	refuse("no interface", "--dry-run");
	refuse("--dry-run=yes", "--iface", "a", "--dry-run=yes");
	refuse("--rxvlan-off=1", "--iface", "a", "--rxvlan-off=1");
}

static void test_unknown(void **state)
{
	(void)state;
	refuse("unknown option '--nonsense'", "--nonsense", "--iface", "a");
	refuse("unknown option '-x'", "--iface", "a", "-x");
	refuse("unexpected argument 'wan'", "--iface", "lan", "wan");
	refuse("--iface NAME", "lan", "wan");
	refuse("unexpected argument 'tc'", "--iface", "a", "--", "tc");
	refuse("'--iface' needs a value", "--iface");
	refuse("'--hook' needs a value", "--iface", "a", "--hook");
	refuse("'--max-flows' needs a value", "--iface", "a", "--max-flows");
	refuse("--help=yes", "--help=yes");
}

/* Words of any length end up in messages of limited length. */
static void test_long_words(void **state)
{
	char word[400];

	(void)state;
	memset(word, 'x', sizeof(word));
	word[sizeof(word) - 1] = '\0';
	refuse("xxxx", "--iface", word);
	refuse("xxxx", "--hook", word);
	refuse("xxxx", "--log-level", word);
	refuse("xxxx", "--iface", "a", "--max-flows", word);
	refuse("xxxx", "--iface", "a", word);
	refuse("xxxx", "--iface", "a", "--exclude", word);
	refuse("xxxx", "--iface", "a", "--exclude-mark", word);
	refuse("xxxx", "--iface", "a", "--only", word);
	word[0] = word[1] = '-';
	refuse("xxxx", "--iface", "a", word);
	memset(word, '%', sizeof(word) - 1);
	refuse("%%%%", "--hook", word);
}

/* Random words out of pieces that mean something: an answer, and no report of a sanitizer. */
static void test_random(void **state)
{
	static const char *const pieces[] = {
		"--iface",
		"--hook",
		"--max-flows",
		"--tcp-idle",
		"--log-level",
		"--exclude",
		"--exclude-mark",
		"--only",
		"--dry-run",
		"--json",
		"auto",
		"10.0.0.1",
		"::1",
		"/8",
		"=",
		",",
		":",
		"a",
		"lan0",
		"tc",
		"xdp",
		"0",
		"1",
		"-",
		"--",
		"99999999999999999999",
		"debug",
		"%s%n",
		" ",
	};

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[8][128] = { "" };
		const char *words[9] = { NULL };
		uint32_t count = unit_below(8);
		int result;

		for (uint32_t i = 0; i < count; i++) {
			for (uint32_t j = unit_below(4); j <= 3; j++)
				strcat(text[i],
				       pieces[unit_below(sizeof(pieces) / sizeof(*pieces))]);
			words[i] = text[i];
		}
		result = parse_list(words);
		assert_true(result == 0 || result == -EINVAL);
		assert_int_equal(!result, !error[0]);
		assert_true(options.interfaces <= MAX_INTERFACES);
		assert_true(options.excludes <= MAX_EXCLUDES);
	}
}

/* Every mode with which its owner can read it; only root may be somebody else as well. */
static void test_config_modes(void **state)
{
	char name[] = "/tmp/bpfw-options-XXXXXX";
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "iface lan0\n", 11), 11);
	for (mode_t mode = 0; mode <= 07777; mode++) {
		/* who is not root may not set every bit on every file system */
		if (!(mode & S_IRUSR) || fchmod(fd, mode))
			continue;
		if (mode & (S_IWGRP | S_IWOTH)) {
			refuse("chmod go-w", "--config", name);
			continue;
		}
		assert_int_equal(parse("--config", name), 0);
		expect_interface(0, "lan0", HOOK_AUTO);
	}
	close(fd);
	unlink(name);
}

/* What is checked at the start is checked at a reload; only then a pipe is refused. */
static void test_config_again(void **state)
{
	char name[] = "/tmp/bpfw-options-XXXXXX";
	static struct options again;
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_int_equal(parse("--config", name, "--iface", "lan0"), 0);
	assert_int_equal(options_reload(&again, &options, error), 0);
	assert_int_equal(fchmod(fd, 0620), 0);
	assert_int_equal(options_reload(&again, &options, error), -EINVAL);
	assert_non_null(strstr(error, "mode 0620"));
	close(fd);
	unlink(name);
	assert_int_equal(mkfifo(name, 0600), 0);
	assert_int_equal(options_reload(&again, &options, error), -EINVAL);
	assert_non_null(strstr(error, "cannot be read again"));
	unlink(name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_cpus),
		cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_interface_lists),
		cmocka_unit_test(test_interface_names),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_interface_limit),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_log_level),
		cmocka_unit_test(test_help),
		cmocka_unit_test(test_automatic),
		cmocka_unit_test(test_exclude),
		cmocka_unit_test(test_exclude_limit),
		cmocka_unit_test(test_exclude_mark),
		cmocka_unit_test(test_only),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_config_modes),
		cmocka_unit_test(test_config_again),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
