/* SPDX-License-Identifier: GPL-2.0-only */
/* What `ipset save` prints is read and printed again; what is wrong or not supported is named. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/set_parse.h"

/* ---- There and back ------------------------------------------------------------------ */

struct golden {
	const char *name, *text;
	const char *printed; /* NULL: the text itself */
};

static const struct golden goldens[] = {
	{ "nothing", "", NULL },
	{ "empty lines and comments", "\n# a comment\n  \t\n\r\n", "" },
	{ "hash:ip",
	  "create a hash:ip family inet hashsize 1024 maxelem 65536\n"
	  "add a 192.0.2.1\nadd a 192.0.2.255\n",
	  NULL },
	{ "hash:net of IPv6, with all options",
	  "create b-6.x hash:net family inet6 hashsize 64 maxelem 1000000 timeout 600 comment\n"
	  "add b-6.x 2001:db8::/32 timeout 12\n"
	  "add b-6.x 2001:db8:1::/48 timeout 0 nomatch\n"
	  "add b-6.x 2001:db8::1 timeout 2147483 comment \"one host, # no comment\"\n",
	  NULL },
	{ "options of newer versions that change nothing",
	  "create c hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 "
	  "initval 0xdeadbeef\nadd c 0.0.0.0/0\nadd c 10.1.2.3/8\n",
	  "create c hash:net family inet hashsize 1024 maxelem 65536\n"
	  "add c 0.0.0.0/0\nadd c 10.0.0.0/8\n" },
	{ "defaults are said",
	  "create d hash:ip,port\nadd d 192.0.2.1,80\nadd d 192.0.2.1,udp:53\n"
	  "add d 192.0.2.1,icmp:ping\nadd d 192.0.2.1,gre:0\nadd d 192.0.2.1/32,sctp:65535",
	  "create d hash:ip,port family inet hashsize 1024 maxelem 65536\n"
	  "add d 192.0.2.1,tcp:80\nadd d 192.0.2.1,udp:53\n"
	  "add d 192.0.2.1,icmp:8/0\nadd d 192.0.2.1,47:0\nadd d 192.0.2.1,sctp:65535\n" },
	{ "hash:net,port",
	  "create e hash:net,port family inet6 hashsize 1024 maxelem 10\n"
	  "add e 2001:db8::/32,tcp:443\nadd e ::/0,icmpv6:128/0\n"
	  "add e 2001:db8::1,udplite:1 nomatch\n",
	  NULL },
	{ "bitmap:port",
	  "create f bitmap:port range 1024-65535 timeout 0\n"
	  "add f 1024 timeout 10\nadd f 2000-2010 timeout 0\n",
	  NULL },
	{ "blanks and carriage returns", "create\tg  hash:ip \r\nadd g 192.0.2.1  \r\n",
	  "create g hash:ip family inet hashsize 1024 maxelem 65536\nadd g 192.0.2.1\n" },
	{ "the longest name",
	  "create abcdefghijklmnopqrstuvwxyz12345 hash:ip family inet hashsize 1 maxelem 1\n",
	  NULL },
};

static char *print_file(const struct set_file *file)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	for (size_t i = 0; i < file->count; i++) {
		set_print_create(to, &file->parts[i].info);
		for (size_t k = 0; k < file->parts[i].count; k++)
			set_print_add(to, &file->parts[i].info, &file->parts[i].entries[k]);
	}
	fclose(to);
	return text;
}

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
		const struct golden *golden = &goldens[i];
		const char *expected = golden->printed ? golden->printed : golden->text;
		char error[SET_ERROR] = "";
		struct set_file file;
		char *printed;

		print_message("%s\n", golden->name);
		assert_int_equal(set_parse("sets", golden->text, strlen(golden->text), NULL, NULL,
					   &file, error),
				 0);
		assert_string_equal(error, "");
		printed = print_file(&file);
		assert_string_equal(printed, expected);
		free(printed);
		set_file_free(&file);
	}
}

/* ---- Messages ------------------------------------------------------------------------- */

struct wrong {
	const char *text, *message;
};

#define IP "create a hash:ip\n"
#define NET "create a hash:net\n"
#define PORT "create a hash:ip,port\n"
#define BITMAP "create a bitmap:port range 1-100\n"

static const struct wrong wrongs[] = {
	{ "flush a\n",
	  "sets:1:1: 'flush': a line begins with create or add, as ipset save prints them" },
	{ "create\n", "sets:1:1: 'create': the name of a set is missing behind it" },
	{ "create a\n", "sets:1:8: 'a': the type of the set is missing behind it" },
	{ "create a list:set\n",
	  "sets:1:10: 'list:set': this type is not supported: hash:ip, hash:net, hash:ip,port, "
	  "hash:net,port and bitmap:port are" },
	{ "create abcdefghijklmnopqrstuvwxyz123456 hash:ip\n",
	  "sets:1:8: 'abcdefghijklmnopqrstuvwxyz123456': a name has 1 to 31 characters" },
	{ "create \"\" hash:ip\n", "sets:1:8: '': a name has 1 to 31 characters" },
	{ "create \"a b\" hash:ip\n",
	  "sets:1:8: 'a b': a name has no blanks, quotation marks and commas" },
	{ "create a,b hash:ip\n",
	  "sets:1:8: 'a,b': a name has no blanks, quotation marks and commas" },
	{ "create -x hash:ip\n", "sets:1:8: '-x': a name does not begin with '-', and is not '!'" },
	{ "create ! hash:ip\n", "sets:1:8: '!': a name does not begin with '-', and is not '!'" },
	{ "create a hash:ip counters\n", "sets:1:18: 'counters': this option is not supported" },
	{ "create a hash:ip netmask 24\n", "sets:1:18: 'netmask': this option is not supported" },
	{ "create a hash:ip forceadd\n", "sets:1:18: 'forceadd': this option is not supported" },
	{ "create a hash:net skbinfo\n", "sets:1:19: 'skbinfo': this option is not supported" },
	{ "create a hash:ip range 1-2\n", "sets:1:18: 'range': no option of hash:ip" },
	{ "create a hash:ip family inet4\n", "sets:1:25: 'inet4': a family is inet or inet6" },
	{ "create a hash:ip maxelem 0\n",
	  "sets:1:26: '0': maxelem is a number from 1 to 16777216" },
	{ "create a hash:ip maxelem 99999999999999999999\n",
	  "sets:1:26: '99999999999999999999': maxelem is a number from 1 to 16777216" },
	{ "create a hash:ip timeout\n", "sets:1:18: 'timeout': timeout is missing behind it" },
	{ "create a hash:ip timeout 2147484\n",
	  "sets:1:26: '2147484': timeout is a number from 0 to 2147483" },
	{ "create a bitmap:port\n", "sets:1:10: 'bitmap:port': bitmap:port needs a range" },
	{ "create a bitmap:port range 9-8\n",
	  "sets:1:28: '9-8': a range of ports is FIRST-LAST, from 0 to 65535" },
	{ "create a bitmap:port range 1-65536\n",
	  "sets:1:28: '1-65536': a range of ports is FIRST-LAST, from 0 to 65535" },
	{ "create a bitmap:port maxelem 3\n", "sets:1:22: 'maxelem': no option of bitmap:port" },
	{ IP IP, "sets:2:8: 'a': the set is in this file already" },
	{ "add b 192.0.2.1\n", "sets:1:5: 'b': there is no such set: create it before" },
	{ IP "add a\n", "sets:2:5: 'a': an entry is missing behind it" },
	{ IP "add a 192.0.2\n", "sets:2:7: '192.0.2': no IPv4 address" },
	{ IP "add a 2001:db8::1\n", "sets:2:7: '2001:db8::1': no IPv4 address" },
	{ IP "add a 192.0.2.1-192.0.2.9\n",
	  "sets:2:7: '192.0.2.1-192.0.2.9': ranges of addresses are not supported" },
	{ IP "add a 192.0.2.0/24\n",
	  "sets:2:7: '192.0.2.0/24': a set of type hash:ip takes addresses, no prefixes" },
	{ IP "add a 192.0.2.1,80\n",
	  "sets:2:7: '192.0.2.1,80': a set of type hash:ip has no ports" },
	{ IP "add a 192.0.2.1 nomatch\n", "sets:2:17: 'nomatch': only prefixes can be exceptions" },
	{ IP "add a 192.0.2.1 timeout 3\n",
	  "sets:2:17: 'timeout': the set was created without timeout" },
	{ IP "add a 192.0.2.1 comment \"x\"\n",
	  "sets:2:17: 'comment': the set was created without comment" },
	{ IP "add a 192.0.2.1 packets 3 bytes 4\n",
	  "sets:2:17: 'packets': this option of an entry is not supported: timeout, comment and "
	  "nomatch are" },
	{ NET "add a 192.0.2.0/33\n",
	  "sets:2:7: '192.0.2.0/33': the length of a prefix is 0 to 32" },
	{ NET "add a 192.0.2.0/\n", "sets:2:7: '192.0.2.0/': the length of a prefix is 0 to 32" },
	{ PORT "add a 192.0.2.1\n",
	  "sets:2:7: '192.0.2.1': a port is missing: ADDRESS,PROTOCOL:PORT" },
	{ PORT "add a 192.0.2.1,tcp:http\n",
	  "sets:2:17: 'tcp:http': a port is a number from 0 to 65535" },
	{ PORT "add a 192.0.2.1,tcp:80-90\n",
	  "sets:2:17: 'tcp:80-90': a port is a number from 0 to 65535" },
	{ PORT "add a 192.0.2.1,nosuch:0\n",
	  "sets:2:17: 'nosuch:0': no protocol's name or number (1 to 255)" },
	{ PORT "add a 192.0.2.1,47:1\n", "sets:2:17: '47:1': a protocol without ports has port 0" },
	{ PORT "add a 192.0.2.1,icmp:8\n",
	  "sets:2:17: 'icmp:8': an ICMP type is TYPE/CODE, in numbers" },
	{ BITMAP "add a 101\n", "sets:2:7: '101': the set's range is 1-100" },
	{ BITMAP "add a tcp:80\n", "sets:2:7: 'tcp:80': an entry is PORT or FIRST-LAST" },
	{ "create a hash:ip comment\nadd a 192.0.2.1 comment \"x\n",
	  "sets:2:25: 'x': the quotation is not closed" },
	{ "create a hash:ip maxelem 1\nadd a 192.0.2.1\nadd a 192.0.2.2\n",
	  "sets:3:7: '192.0.2.2': more than maxelem, 1 entries" },
	{ "create \x01 hash:ip\n", "sets:1:8: '\x01': a control character" },
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
		char error[SET_ERROR] = "";
		struct set_file file;

		assert_int_equal(set_parse("sets", wrongs[i].text, strlen(wrongs[i].text), NULL,
					   NULL, &file, error),
				 -EINVAL);
		assert_string_equal(error, wrongs[i].message);
		set_file_free(&file);
	}
}

static void test_long(void **state)
{
	char text[1024] = "create a hash:ip comment\nadd a 192.0.2.1 comment \"", error[SET_ERROR];
	struct set_file file;

	(void)state;
	memset(text + strlen(text), 'x', 255);
	strcat(text, "\"\n");
	assert_int_equal(set_parse("s", text, strlen(text), NULL, NULL, &file, error), 0);
	assert_int_equal(strlen(file.parts[0].entries[0].comment), 255);
	set_file_free(&file);
	text[strlen(text) - 2] = '\0';
	strcat(text, "y\"\n");
	assert_int_equal(set_parse("s", text, strlen(text), NULL, NULL, &file, error), -EINVAL);
	assert_non_null(strstr(error, "a comment has 255 bytes at most"));
	set_file_free(&file);
}

/* ---- Sets that are there, plain lists, words ------------------------------------------- */

static const struct set_info known_info = {
	.name = "known",
	.kind = SET_HASH_NET,
	.family = AF_INET6,
	.maxelem = 3,
};

static const struct set_info *known(void *context, const char *name)
{
	(void)context;
	return strcmp(name, known_info.name) ? NULL : &known_info;
}

static void test_known(void **state)
{
	static const char text[] = "add known 2001:db8::/32\nadd known ::1\n";
	char error[SET_ERROR] = "";
	struct set_file file;

	(void)state;
	assert_int_equal(set_parse("s", text, strlen(text), known, NULL, &file, error), 0);
	assert_int_equal(file.count, 1);
	assert_false(file.parts[0].create);
	assert_int_equal(file.parts[0].count, 2);
	assert_int_equal(file.parts[0].entries[1].length, 128);
	set_file_free(&file);
}

static void test_plain(void **state)
{
	static const char text[] =
		"# bad ones\n192.0.2.0/24\n2001:db8::/32 timeout 60\n\n10.0.0.1\n";
	struct set_info infos[2] = { { .name = "4", .kind = SET_HASH_NET, .maxelem = 9 } };
	char error[SET_ERROR] = "";
	struct set_file file;

	(void)state;
	infos[0].flags = SET_WITH_TIMEOUT;
	infos[0].family = AF_INET;
	infos[1] = infos[0];
	infos[1].family = AF_INET6;
	assert_int_equal(set_parse_plain("s", text, strlen(text), infos, &file, error), 0);
	assert_int_equal(file.parts[0].count, 2);
	assert_int_equal(file.parts[1].count, 1);
	assert_int_equal(file.parts[1].entries[0].timeout, 60);
	set_file_free(&file);
	assert_int_equal(set_parse_plain("s", "10.0.0.1\nten\n", 13, infos, &file, error), -EINVAL);
	assert_string_equal(error, "s:2:1: 'ten': no IPv4 address");
	set_file_free(&file);
}

static void test_words(void **state)
{
	char *const good[] = { (char[]){ "2001:db8::5/32" }, (char[]){ "nomatch" } };
	char *const bad[] = { (char[]){ "2001:db8::/129" } };
	char *const create[] = { (char[]){ "x" }, (char[]){ "hash:net" }, (char[]){ "timeout" } };
	char error[SET_ERROR] = "", text[SET_ENTRY_TEXT];
	struct set_entry entry;
	struct set_info info;

	(void)state;
	assert_int_equal(set_parse_entry(&known_info, 2, good, &entry, error), 0);
	assert_true(entry.nomatch);
	set_print_entry(&known_info, &entry, text);
	assert_string_equal(text, "2001:db8::/32");
	assert_int_equal(set_parse_entry(&known_info, 1, bad, &entry, error), -EINVAL);
	assert_string_equal(error, "'2001:db8::/129': the length of a prefix is 0 to 128");
	assert_int_equal(set_parse_create(3, create, &info, error), -EINVAL);
	assert_string_equal(error, "'timeout': timeout is missing behind it");
	assert_int_equal(set_parse_create(2, create, &info, error), 0);
	assert_int_equal(info.maxelem, 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden), cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_long),   cmocka_unit_test(test_known),
		cmocka_unit_test(test_plain),  cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
