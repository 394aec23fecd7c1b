/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "json.h"
#include "log.h"
#include "util.h"
#include "filter/set.h"
#include "filter/set_command.h"
#include "filter/set_parse.h"
#include "filter/set_stage.h"

#define FILE_MAX (512UL << 20) /* bytes; ten million lines are fewer */
#define WORDS 64

enum {
	STATUS_OK,
	STATUS_FAILED,
	STATUS_USAGE
};

enum {
	OPTION_JSON = 1,
	OPTION_TERSE = 2,
	OPTION_EXIST = 4,
	OPTION_FOR = 8,
	OPTION_COMMENT = 16,
};

struct arguments {
	char *word[WORDS]; /* what is no option */
	int words;
	unsigned int options; /* OPTION_*, those that were given */
	const char *duration, *comment;
	char *text; /* the file's, read before the store is locked: it may come from another bpfw */
	size_t len;
};

static const char set_usage[] =
	"Usage: bpfw set load FILE|-               what ipset save prints; sets that the file\n"
	"                                          creates hold what it says, and nothing else\n"
	"       bpfw set create NAME TYPE [OPTION...]\n"
	"       bpfw set add NAME ENTRY [timeout S] [comment TEXT] [nomatch] [--exist]\n"
	"       bpfw set del NAME ENTRY [--exist]\n"
	"       bpfw set test NAME ENTRY           status 0: it is in the set, 1: it is not\n"
	"       bpfw set list [NAME...] [--json] [--terse]\n"
	"       bpfw set destroy NAME...\n"
	"Types: hash:ip hash:net hash:ip,port hash:net,port bitmap:port. Options: family inet|inet6,\n"
	"maxelem N, timeout S, comment, range FIRST-LAST (bitmap:port). The built-in block list is\n"
	"block4 and block6. --exist: what is there, or is not, is no error.\n";

static const char block_usage[] =
	"Usage: bpfw block add PREFIX... [--for 1h] [--comment TEXT]\n"
	"       bpfw block del PREFIX...\n"
	"       bpfw block load FILE|-             a prefix a line, instead of what is blocked\n"
	"       bpfw block test ADDRESS            status 0: it is blocked, 1: it is not\n"
	"       bpfw block list [--json]\n"
	"Durations: 90, 90s, 10m, 1h30m, 2d, 1w.\n";

/* ---- Arguments ------------------------------------------------------------------- */

static bool has(const struct arguments *arguments, unsigned int option)
{
	return arguments->options & option;
}

static int wrong_usage(const char *command, const char *reason)
{
	log_error("%s; try 'bpfw %s --help'", reason, command);
	return STATUS_USAGE;
}

static const struct set_option {
	const char *name;
	unsigned int bit;
	bool has_value;
} set_options[] = {
	{ "--json", OPTION_JSON, false },   { "--terse", OPTION_TERSE, false },
	{ "--exist", OPTION_EXIST, false }, { "-exist", OPTION_EXIST, false },
	{ "--for", OPTION_FOR, true },      { "--comment", OPTION_COMMENT, true },
};

/* The option that a word names, "NAME=VALUE" too; NULL if there is none. */
static const struct set_option *find_option(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(set_options); i++) {
		const struct set_option *option = &set_options[i];
		const size_t len = strlen(option->name);

		if (!strncmp(word, option->name, len) &&
		    (!word[len] || (word[len] == '=' && option->has_value)))
			return option;
	}
	return NULL;
}

/* False if its value is missing. */
static bool take_option(struct arguments *arguments, const struct set_option *option, int argc,
			char *const argv[], int *i)
{
	const char *value = option->has_value ? strchr(argv[*i], '=') : NULL;

	arguments->options |= option->bit;
	if (!option->has_value)
		return true;
	if (!value && *i + 1 == argc)
		return false;
	value = value ? value + 1 : argv[++*i];
	*(option->bit == OPTION_FOR ? &arguments->duration : &arguments->comment) = value;
	return true;
}

/* `takes`: the options that the command knows. False after a message about one that it does not. */
static bool take_arguments(const char *command, unsigned int takes, int argc, char *const argv[],
			   struct arguments *arguments)
{
	*arguments = (struct arguments){ 0 };
	for (int i = 0; i < argc; i++) {
		const bool is_option = argv[i][0] == '-' && argv[i][1];
		const struct set_option *option = is_option ? find_option(argv[i]) : NULL;

		if (is_option && (!option || !(option->bit & takes))) {
			log_error("bpfw %s does not take %.40s", command, argv[i]);
			return false;
		}
		if (option && !take_option(arguments, option, argc, argv, &i)) {
			log_error("%s: its value is missing", option->name);
			return false;
		}
		if (!option && arguments->words == WORDS) {
			log_error("'%.40s' is one word too many", argv[i]);
			return false;
		}
		if (!option)
			arguments->word[arguments->words++] = argv[i];
	}
	return true;
}

/* "1h30m", seconds without a letter. */
static bool read_duration(const char *text, uint32_t *seconds)
{
	static const struct {
		char letter;
		uint32_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	uint64_t total = 0;

	do {
		char *end;
		unsigned long number = strtoul(text, &end, 10);
		uint64_t unit = *end ? 0 : 1;

		for (size_t i = 0; i < ARRAY_SIZE(units); i++)
			if (*end == units[i].letter)
				unit = units[i].seconds;
		if (end == text || text[0] < '0' || text[0] > '9' || !unit ||
		    number > SET_TIMEOUT_MAX)
			return false;
		total += number * unit;
		text = *end ? end + 1 : end;
	} while (*text);
	*seconds = (uint32_t)total;
	return total && total <= SET_TIMEOUT_MAX;
}

/* ---- Files ----------------------------------------------------------------------- */

static int read_stream(FILE *from, char **text, size_t *len)
{
	size_t room = 0;

	*text = NULL;
	*len = 0;
	do {
		char *grown;

		if (*len == FILE_MAX)
			return -EFBIG;
		room = room ? room * 2 : 65536;
		grown = realloc(*text, room);
		if (!grown)
			return -ENOMEM;
		*text = grown;
		*len += fread(grown + *len, 1, room - *len, from);
	} while (*len == room);
	return ferror(from) ? -errno : 0;
}

static int read_file(const char *name, char **text, size_t *len)
{
	const bool standard = !strcmp(name, "-");
	FILE *from = standard ? stdin : fopen(name, "re");
	int err = from ? read_stream(from, text, len) : -errno;

	if (from && !standard)
		fclose(from);
	if (err)
		log_error("cannot read %s: %s", name, strerror(-err));
	return err;
}

/* ---- Messages -------------------------------------------------------------------- */

static int say(const char *name, const char *what, int err)
{
	switch (err) {
	case -EEXIST:
		log_error("set %s: %s is there already (--exist: no error)", name, what);
		break;
	case -ENOENT:
		log_error("set %s: %s is not there", name, what);
		break;
	case -ENOSPC:
		log_error("set %s is full: %s does not fit; create it with a larger maxelem", name,
			  what);
		break;
	case -ENFILE:
		log_error("set %s: there are %u sets already, and no more fit", name,
			  SET_MAX - SET_FIRST - 1);
		break;
	case -EBUSY:
		log_error("set %s is used by a filter in force", name);
		break;
	default:
		log_error("set %s: %s: %s", name, what, strerror(-err));
	}
	return STATUS_FAILED;
}

/* The number of the set, or an error that has been told. */
static int need_set(const struct set_store *store, const char *name)
{
	int number = set_find(store, name);

	if (number < 0)
		log_error("there is no set %s", name);
	return number;
}

/* ---- Listing --------------------------------------------------------------------- */

static void print_json_entry(const struct set_info *info, const struct set_entry *entry, bool first)
{
	char text[SET_ENTRY_TEXT];

	set_print_entry(info, entry, text);
	printf("%s{\"entry\":\"%s\"", first ? "" : ",", text);
	if (entry->timed)
		printf(",\"timeout\":%u", entry->timeout);
	if (entry->nomatch)
		printf(",\"nomatch\":true");
	if (entry->comment) {
		putchar(',');
		json_member(stdout, "comment", entry->comment);
	}
	putchar('}');
}

/* What the list has dropped: a comment that `load` skips. */
static void print_blocked(const struct set_store *store, const struct set_info *info)
{
	uint64_t packets, bytes;

	if (!set_blocked(store, info->family, &packets, &bytes))
		printf("# %s: %" PRIu64 " packets, %" PRIu64 " bytes blocked\n", info->name,
		       packets, bytes);
}

static void print_json_blocked(const struct set_store *store, const struct set_info *info)
{
	uint64_t packets, bytes;

	if (!set_blocked(store, info->family, &packets, &bytes))
		printf(",\"blocked\":{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", packets,
		       bytes);
}

static void print_json_set(const struct set_store *store, const struct set_info *info,
			   bool is_block_list)
{
	putchar('{');
	json_member(stdout, "name", info->name);
	printf(",\"type\":\"%s\"", set_kind_name(info->kind));
	if (info->kind == SET_BITMAP_PORT)
		printf(",\"range\":[%u,%u]", info->first, info->last);
	else
		printf(",\"family\":\"%s\",\"maxelem\":%u",
		       info->family == AF_INET ? "inet" : "inet6", info->maxelem);
	if (info->flags & SET_WITH_TIMEOUT)
		printf(",\"timeout\":%u", info->timeout);
	printf(",\"held\":%s,\"refused\":%llu", info->flags & SET_HELD ? "true" : "false",
	       (unsigned long long)info->refused);
	if (is_block_list)
		print_json_blocked(store, info);
	fputs(",\"entries\":[", stdout);
}

static int list_set(struct set_store *store, uint32_t number, const struct arguments *arguments,
		    bool first)
{
	const struct set_info *info = &store->info[number];
	struct set_entry *entries = NULL;
	size_t count = 0;
	int err = has(arguments, OPTION_TERSE) ? 0 : set_list(store, number, &entries, &count);

	if (err)
		return say(info->name, "the list", err);
	if (has(arguments, OPTION_JSON)) {
		fputs(first ? "" : ",\n", stdout);
		print_json_set(store, info, number < SET_FIRST);
	} else {
		if (number < SET_FIRST)
			print_blocked(store, info);
		set_print_create(stdout, info);
	}
	for (size_t i = 0; i < count; i++) {
		if (has(arguments, OPTION_JSON))
			print_json_entry(info, &entries[i], i == 0);
		else
			set_print_add(stdout, info, &entries[i]);
	}
	if (has(arguments, OPTION_JSON))
		fputs("]}", stdout);
	set_entries_free(entries, count);
	return STATUS_OK;
}

static bool is_named(const struct arguments *arguments, const char *name)
{
	for (int i = 0; i < arguments->words; i++)
		if (!strcmp(arguments->word[i], name))
			return true;
	return !arguments->words;
}

static int list_sets(struct set_store *store, const struct arguments *arguments)
{
	int status = STATUS_OK;
	bool first = true;

	for (int i = 0; i < arguments->words; i++)
		if (need_set(store, arguments->word[i]) < 0)
			return STATUS_FAILED;
	if (has(arguments, OPTION_JSON))
		putchar('[');
	for (uint32_t i = 0; i < SET_MAX && status == STATUS_OK; i++) {
		if (store->info[i].kind == SET_NONE || !is_named(arguments, store->info[i].name))
			continue;
		status = list_set(store, i, arguments, first);
		first = false;
	}
	if (has(arguments, OPTION_JSON))
		puts("]");
	return status;
}

/* ---- Loading --------------------------------------------------------------------- */

static const struct set_info *known_set(void *context, const char *name)
{
	struct set_store *store = context;
	int number = set_find(store, name);

	return number < 0 ? NULL : &store->info[number];
}

static int load_new(struct set_store *store, const struct set_part *part)
{
	int number = set_create(store, &part->info), err;

	if (number < 0)
		return number;
	err = set_fill(store, (uint32_t)number, part->entries, part->count, true);
	if (err)
		set_destroy(store, (uint32_t)number);
	return err;
}

static int load_part(struct set_store *store, const struct set_part *part)
{
	int number = set_find(store, part->info.name), err;

	if (number < 0)
		return load_new(store, part);
	if (!part->create)
		return set_fill(store, (uint32_t)number, part->entries, part->count, false);
	err = set_alter(store, (uint32_t)number, &part->info, part->entries, part->count);
	if (err == -EINVAL)
		err = set_replace(store, (uint32_t)number, &part->info, part->entries, part->count);
	return err;
}

static int load_parts(struct set_store *store, const struct set_file *file)
{
	for (size_t i = 0; i < file->count; i++) {
		int err = load_part(store, &file->parts[i]);

		if (err)
			return say(file->parts[i].info.name, "what the file holds", err);
	}
	return STATUS_OK;
}

static int load_sets(struct set_store *store, const struct arguments *arguments)
{
	char error[SET_ERROR] = "";
	struct set_file file;
	int status = STATUS_FAILED;

	if (set_parse(arguments->word[0], arguments->text, arguments->len, known_set, store, &file,
		      error))
		log_error("%s", error);
	else
		status = load_parts(store, &file);
	set_file_free(&file);
	return status;
}

/* ---- One entry ------------------------------------------------------------------- */

typedef int (*entry_action)(struct set_store *store, uint32_t number, const struct set_entry *entry,
			    const struct arguments *arguments);

static int add_action(struct set_store *store, uint32_t number, const struct set_entry *entry,
		      const struct arguments *arguments)
{
	return set_add(store, number, entry, has(arguments, OPTION_EXIST));
}

static int del_action(struct set_store *store, uint32_t number, const struct set_entry *entry,
		      const struct arguments *arguments)
{
	int err = set_del(store, number, entry);

	return err == -ENOENT && has(arguments, OPTION_EXIST) ? 0 : err;
}

/* Not in the set: 1, and a line that says so, as ipset does. */
static int test_action(struct set_store *store, uint32_t number, const struct set_entry *entry,
		       const struct arguments *arguments)
{
	const char *name = store->info[number].name;
	char text[SET_ENTRY_TEXT];
	int found = set_test(store, number, entry);

	(void)arguments;
	if (found < 0)
		return found;
	set_print_entry(&store->info[number], entry, text);
	fprintf(stderr, found ? "%s is in set %s.\n" : "%s is NOT in set %s.\n", text, name);
	return found ? STATUS_OK : STATUS_FAILED;
}

/* An entry and its options, in words from `first` on. */
static int read_entry(const struct set_info *info, const struct arguments *arguments, int first,
		      struct set_entry *entry)
{
	const int count = arguments->words - first;
	char error[SET_ERROR] = "";
	int err = set_parse_entry(info, count, &arguments->word[first], entry, error);

	if (err)
		log_error("set %s: %s", info->name, err == -ENOMEM ? "out of memory" : error);
	return err;
}

/* The entry's comment is freed. */
static int act(struct set_store *store, uint32_t number, struct set_entry *entry,
	       const struct arguments *arguments, entry_action action)
{
	const struct set_info *info = &store->info[number];
	char text[SET_ENTRY_TEXT];
	int err = action(store, number, entry, arguments);

	set_print_entry(info, entry, text);
	free(entry->comment);
	return err < 0 ? say(info->name, text, err) : err;
}

static int act_on_set(struct set_store *store, const struct arguments *arguments,
		      entry_action action)
{
	int number = need_set(store, arguments->word[0]);
	struct set_entry entry;

	if (number < 0 || read_entry(&store->info[number], arguments, 1, &entry))
		return STATUS_FAILED;
	return act(store, (uint32_t)number, &entry, arguments, action);
}

/* ---- bpfw set -------------------------------------------------------------------- */

static int create_set(struct set_store *store, const struct arguments *arguments)
{
	char error[SET_ERROR] = "";
	struct set_info info;
	int number;

	if (set_parse_create(arguments->words, arguments->word, &info, error)) {
		log_error("%s", error);
		return STATUS_FAILED;
	}
	number = set_create(store, &info);
	if (number >= 0 || (number == -EEXIST && has(arguments, OPTION_EXIST)))
		return STATUS_OK;
	return say(info.name, "the set", number);
}

static int destroy_sets(struct set_store *store, const struct arguments *arguments)
{
	for (int i = 0; i < arguments->words; i++) {
		int number = need_set(store, arguments->word[i]), err;

		if (number < 0)
			return STATUS_FAILED;
		err = set_destroy(store, (uint32_t)number);
		if (err)
			return say(arguments->word[i], "the set", err);
	}
	return STATUS_OK;
}

static int add_entry(struct set_store *store, const struct arguments *arguments)
{
	return act_on_set(store, arguments, add_action);
}

static int del_entry(struct set_store *store, const struct arguments *arguments)
{
	return act_on_set(store, arguments, del_action);
}

static int test_entry(struct set_store *store, const struct arguments *arguments)
{
	return act_on_set(store, arguments, test_action);
}

/* ---- bpfw block ------------------------------------------------------------------ */

/* The list of a family, made and put in force if it was not there; an error has been told. */
static int need_block_list(struct set_store *store, uint8_t family)
{
	int number = set_block_list(store, family);

	if (number < 0) {
		say("block", "the list", number);
		return number;
	}
	return set_stage_block(store, family) ? -EIO : number;
}

/* One prefix, of either family: a set entry with what --for and --comment say. */
static int act_on_block(struct set_store *store, const struct arguments *arguments, char *prefix,
			entry_action action)
{
	const uint8_t family = strchr(prefix, ':') ? AF_INET6 : AF_INET;
	const struct set_info block = set_block_info(family);
	struct arguments words = { .options = arguments->options & OPTION_EXIST };
	char timeout[] = "timeout", comment[] = "comment", number_text[16];
	struct set_entry entry;
	uint32_t seconds;
	int number;

	words.word[words.words++] = prefix;
	if (arguments->duration && read_duration(arguments->duration, &seconds)) {
		snprintf(number_text, sizeof(number_text), "%u", seconds);
		words.word[words.words++] = timeout;
		words.word[words.words++] = number_text;
	}
	if (arguments->comment) {
		words.word[words.words++] = comment;
		words.word[words.words++] = (char *)(uintptr_t)arguments->comment;
	}
	if (read_entry(&block, &words, 0, &entry))
		return STATUS_FAILED;
	number = need_block_list(store, family);
	if (number < 0) {
		free(entry.comment);
		return STATUS_FAILED;
	}
	return act(store, (uint32_t)number, &entry, &words, action);
}

static int act_on_blocks(struct set_store *store, const struct arguments *arguments,
			 entry_action action)
{
	int status = STATUS_OK;

	for (int i = 0; i < arguments->words && status == STATUS_OK; i++)
		status = act_on_block(store, arguments, arguments->word[i], action);
	return status;
}

/* What is blocked already is blocked for another time then. */
static int add_blocks(struct set_store *store, const struct arguments *arguments)
{
	struct arguments renew = *arguments;

	renew.options |= OPTION_EXIST;
	return act_on_blocks(store, &renew, add_action);
}

static int del_blocks(struct set_store *store, const struct arguments *arguments)
{
	return act_on_blocks(store, arguments, del_action);
}

static int test_block(struct set_store *store, const struct arguments *arguments)
{
	return act_on_blocks(store, arguments, test_action);
}

static int open_block_lists(struct set_store *store, struct set_info infos[2])
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };

	for (size_t i = 0; i < 2; i++) {
		int number = need_block_list(store, families[i]);

		if (number < 0)
			return STATUS_FAILED;
		infos[i] = store->info[number];
	}
	return STATUS_OK;
}

static int load_blocks(struct set_store *store, const struct arguments *arguments)
{
	char error[SET_ERROR] = "";
	struct set_info infos[2];
	struct set_file file;
	int status = open_block_lists(store, infos);

	if (status != STATUS_OK)
		return status;
	if (set_parse_plain(arguments->word[0], arguments->text, arguments->len, infos, &file,
			    error)) {
		log_error("%s", error);
		status = STATUS_FAILED;
	}
	for (size_t i = 0; i < file.count && status == STATUS_OK; i++)
		file.parts[i].create = true;
	if (status == STATUS_OK)
		status = load_parts(store, &file);
	set_file_free(&file);
	return status;
}

static int list_blocks(struct set_store *store, const struct arguments *arguments)
{
	struct arguments both = *arguments;
	struct set_info infos[2];

	if (open_block_lists(store, infos) != STATUS_OK)
		return STATUS_FAILED;
	for (size_t i = 0; i < 2; i++)
		both.word[both.words++] = infos[i].name;
	return list_sets(store, &both);
}

/* ---- Dispatch -------------------------------------------------------------------- */

struct verb {
	const char *name;
	int (*run)(struct set_store *store, const struct arguments *arguments);
	int least, most;      /* words */
	bool create;          /* makes the store if there is none */
	bool file;            /* the first word is one */
	unsigned int options; /* OPTION_*, those that it takes */
};

static const struct verb set_verbs[] = {
	{ "load", load_sets, 1, 1, true, true, 0 },
	{ "create", create_set, 2, WORDS, true, false, OPTION_EXIST },
	{ "add", add_entry, 2, WORDS, false, false, OPTION_EXIST },
	{ "del", del_entry, 2, WORDS, false, false, OPTION_EXIST },
	{ "test", test_entry, 2, WORDS, false, false, 0 },
	{ "list", list_sets, 0, WORDS, false, false, OPTION_JSON | OPTION_TERSE },
	{ "destroy", destroy_sets, 1, WORDS, false, false, 0 },
	{ NULL, NULL, 0, 0, false, false, 0 },
};

static const struct verb block_verbs[] = {
	{ "add", add_blocks, 1, WORDS, true, false, OPTION_FOR | OPTION_COMMENT | OPTION_EXIST },
	{ "del", del_blocks, 1, WORDS, true, false, OPTION_EXIST },
	{ "test", test_block, 1, 1, true, false, 0 },
	{ "load", load_blocks, 1, 1, true, true, 0 },
	{ "list", list_blocks, 0, 0, true, false, OPTION_JSON | OPTION_TERSE },
	{ NULL, NULL, 0, 0, false, false, 0 },
};

static int run_verb(const struct verb *verb, const struct arguments *arguments)
{
	struct set_store store;
	int err = set_store_open(&store, verb->create), status;

	if (err == -ENOENT && verb->run == list_sets && !arguments->words) {
		fputs(has(arguments, OPTION_JSON) ? "[]\n" : "", stdout);
		return STATUS_OK;
	}
	if (err == -ENOENT)
		log_error("there are no sets");
	if (err)
		return STATUS_FAILED;
	status = verb->run(&store, arguments);
	set_store_close(&store);
	return status;
}

static int command(int argc, char *const argv[], const struct verb *verb, const char *usage)
{
	_cleanup_free_ char *text = NULL;
	char name[32];
	struct arguments arguments;
	uint32_t seconds;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			fputs(usage, stdout);
			return STATUS_OK;
		}
	}
	while (verb->name && (argc < 2 || strcmp(verb->name, argv[1])))
		verb++;
	if (!verb->name)
		return wrong_usage(argv[0], argc < 2 ? "a command is missing" : "no such command");
	snprintf(name, sizeof(name), "%s %s", argv[0], verb->name);
	if (!take_arguments(name, verb->options, argc - 2, argv + 2, &arguments))
		return STATUS_USAGE;
	if (arguments.words < verb->least || arguments.words > verb->most)
		return wrong_usage(argv[0], "too few words, or too many");
	if (arguments.duration && !read_duration(arguments.duration, &seconds))
		return wrong_usage(argv[0],
				   "a duration is like 90, 10m, 1h30m or 2d, up to 24 days");
	if (verb->file && arguments.word[0] && read_file(arguments.word[0], &text, &arguments.len))
		return STATUS_FAILED;
	arguments.text = text;
	return run_verb(verb, &arguments);
}

int set_command(int argc, char *const argv[])
{
	return command(argc, argv, set_verbs, set_usage);
}

int block_command(int argc, char *const argv[])
{
	return command(argc, argv, block_verbs, block_usage);
}
