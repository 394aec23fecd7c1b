/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The text as a whole: tables, chains, lines. The grammar (words as in lexer.h; lines end with a
 * line feed, which the last one may lack):
 *
 *	text     = { blank-line | comment | table }
 *	comment  = '#' { any byte }                         at the first column
 *	table    = "*" NAME line-end
 *	           { blank-line | comment | chain | rule } "COMMIT" line-end
 *	chain    = ":" NAME ( policy | "-" ) [ counters ] line-end
 *	policy   = "ACCEPT" | "DROP"
 *	counters = "[" NUMBER ":" NUMBER "]"
 *	rule     = [ counters ] append { option } line-end  (rule.c)
 *	append   = ( "-A" | "--append" ) NAME
 *
 * The tables filter and nat come once; of the others lines and quotes are looked at, no more. A
 * rule of nat that cannot be read is kept as far as it can. A chain is declared before a rule is
 * appended to it or leads to it; built-in chains need not be declared.
 */
#include "filter/parser.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "filter/value.h"
#include "util.h"

#define TOKEN_SHOWN 40
#define MESSAGE_MAX (PARSER_MESSAGE / 2)
#define GROWTH_FIRST 64u

static const char builtin_names[][8] = { "INPUT", "FORWARD", "OUTPUT" };
static const char nat_names[][12] = { "PREROUTING", "INPUT", "OUTPUT", "POSTROUTING" };
static const struct slice no_token;

/* ---- Messages --------------------------------------------------------------- */

/* The token as printable text in quotes, cut if it is long */
static void quote_token(char *out, struct slice token)
{
	size_t i, shown = token.length > TOKEN_SHOWN ? TOKEN_SHOWN : token.length;

	*out++ = '\'';
	for (i = 0; i < shown; i++) {
		unsigned char byte = (unsigned char)token.at[i];

		if (isprint(byte))
			*out++ = (char)byte;
		else
			out += sprintf(out, "\\x%02x", byte);
	}
	memcpy(out, i < token.length ? "...': " : "': ", i < token.length ? 7 : 4);
}

__attribute__((format(printf, 5, 0))) static void say(const struct parser *parser, bool warning,
						      uint16_t column, struct slice token,
						      const char *format, va_list arguments)
{
	char quoted[TOKEN_SHOWN * 4 + 8] = "", reason[MESSAGE_MAX], message[2 * MESSAGE_MAX];
	char place[32] = "";

	if (parser->line && column)
		snprintf(place, sizeof(place), ":%u:%u", parser->line, column);
	else if (parser->line)
		snprintf(place, sizeof(place), ":%u", parser->line);
	if (token.at)
		quote_token(quoted, token);
	vsnprintf(reason, sizeof(reason), format, arguments);
	snprintf(message, sizeof(message), "%.256s%s: %s%s", parser->report->file, place, quoted,
		 reason);
	if (!parser->reason)
		parser->report->say(parser->report->context, warning, message);
	else if (!warning)
		memcpy(parser->reason, message, sizeof(message));
}

int parser_fail(const struct parser *parser, uint16_t column, struct slice token, int error,
		const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(parser, false, column, token, format, arguments);
	va_end(arguments);
	return error;
}

void parser_warn(const struct parser *parser, uint16_t column, struct slice token,
		 const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(parser, true, column, token, format, arguments);
	va_end(arguments);
}

static int fail_word(const struct parser *parser, const struct word *word, const char *reason)
{
	return parser_fail(parser, word->column, word->text, -EINVAL, "%s", reason);
}

/* ---- Chains ----------------------------------------------------------------- */

#define INDEX_SIZE (4 * (size_t)RULESET_CHAINS_MAX)

/* Where the name is in the index, or would be (FNV-1a, linear probing) */
static uint16_t *index_slot(const struct parser *parser, struct slice name)
{
	uint32_t hash = 2166136261u;
	size_t i;

	for (i = 0; i < name.length; i++)
		hash = (hash ^ (unsigned char)name.at[i]) * 16777619u;
	for (;; hash++) {
		uint16_t *slot = &parser->chain_index[hash % INDEX_SIZE];
		const struct chain *chain;

		if (!*slot)
			return slot;
		chain = &parser->ruleset->chains[*slot - 1];
		if (slice_is(name, chain->name))
			return slot;
	}
}

int parser_chain(const struct parser *parser, struct slice name)
{
	return *index_slot(parser, name) - 1;
}

/* Room for one more in an array of *room elements; as large as max at most */
static int make_room(void **array, uint32_t used, uint32_t *room, uint32_t max, size_t size)
{
	uint32_t wanted = *room ? *room * 2 : GROWTH_FIRST;
	void *larger;

	if (used < *room)
		return 0;
	if (used >= max)
		return -E2BIG;
	larger = realloc(*array, (size_t)wanted * size);
	if (!larger)
		return -ENOMEM;
	*array = larger;
	*room = wanted;
	return 0;
}

static int add_chain(struct parser *parser, struct slice name)
{
	struct ruleset *ruleset = parser->ruleset;
	void *chains = ruleset->chains;
	struct chain *chain;
	int error = make_room(&chains, ruleset->chain_count, &parser->chains_room,
			      RULESET_CHAINS_MAX, sizeof(*chain));

	ruleset->chains = chains;
	if (error)
		return parser_fail(parser, 0, no_token, error,
				   error == -E2BIG ? "more than 16384 chains" : "memory is short");
	chain = &ruleset->chains[ruleset->chain_count];
	memset(chain, 0, sizeof(*chain));
	memcpy(chain->name, name.at, name.length);
	*index_slot(parser, name) = (uint16_t)++ruleset->chain_count;
	return 0;
}

static int add_builtin_chains(struct parser *parser)
{
	unsigned int i;

	parser->chain_index = calloc(INDEX_SIZE, sizeof(*parser->chain_index));
	if (!parser->chain_index)
		return parser_fail(parser, 0, no_token, -ENOMEM, "memory is short");
	for (i = 0; i < parser->builtin; i++) {
		const char *text = parser->nat ? nat_names[i] : builtin_names[i];
		struct slice name = { text, strlen(text) };
		int error = add_chain(parser, name);

		if (error)
			return error;
		parser->ruleset->chains[i].policy = POLICY_ACCEPT;
	}
	return 0;
}

int parser_add_rule(struct parser *parser, const struct rule *rule)
{
	struct ruleset *ruleset = parser->ruleset;
	void *rules = ruleset->rules;
	int error = make_room(&rules, ruleset->rule_count, &parser->rules_room, RULESET_RULES_MAX,
			      sizeof(*rule));

	ruleset->rules = rules;
	if (error)
		return parser_fail(parser, 0, no_token, error,
				   error == -E2BIG ? "more than 262144 rules" : "memory is short");
	ruleset->rules[ruleset->rule_count++] = *rule;
	return 0;
}

/* ---- Lines ------------------------------------------------------------------ */

/* "[PACKETS:BYTES]" */
static bool read_counters(struct slice text, uint64_t *packets, uint64_t *bytes)
{
	struct slice part;

	if (text.length < 5 || text.at[0] != '[' || text.at[text.length - 1] != ']')
		return false;
	text.at++;
	text.length -= 2;
	slice_next(&text, ':', &part);
	return text.at && value_decimal(&part, UINT64_MAX, packets) && !part.length &&
	       value_decimal(&text, UINT64_MAX, bytes) && !text.length;
}

/* What iptables says of the names of chains, and what it should say: quotes */
static const char *name_problem(struct slice name)
{
	size_t i;

	if (!name.length)
		return "a chain has a name";
	if (name.length >= RULESET_CHAIN_NAME)
		return "longer than 28 bytes, which is all that a chain's name can have";
	if (name.at[0] == '-' || name.at[0] == '!')
		return "a chain's name does not begin so";
	for (i = 0; i < name.length; i++) {
		if (isspace((unsigned char)name.at[i]) || name.at[i] == '"')
			return "a chain's name has no blanks and quotes";
	}
	return module_is_target_name(name) ? "the name of a target cannot be that of a chain" :
					     NULL;
}

static int declare_chain(struct parser *parser, const struct word *word, uint32_t *number)
{
	struct slice name = { word->text.at + 1, word->text.length - 1 };
	const char *problem = name_problem(name);
	int found = problem ? -1 : parser_chain(parser, name);
	int error;

	if (problem)
		return parser_fail(parser, word->column + 1, name, -EINVAL, "%s", problem);
	if (found >= 0 && parser->ruleset->chains[found].line)
		return parser_fail(parser, word->column + 1, name, -EINVAL,
				   "declared before, in line %u",
				   parser->ruleset->chains[found].line);
	error = found < 0 ? add_chain(parser, name) : 0;
	*number = found < 0 ? parser->ruleset->chain_count - 1 : (uint32_t)found;
	return error;
}

static int read_policy(const struct parser *parser, const struct word *word, struct chain *chain)
{
	bool builtin = chain < parser->ruleset->chains + parser->builtin;

	if (!builtin)
		return slice_is(word->text, "-") ?
			       0 :
			       fail_word(parser, word, "only built-in chains have a policy: -");
	if (slice_is(word->text, "DROP"))
		chain->policy = POLICY_DROP;
	else if (!slice_is(word->text, "ACCEPT"))
		return fail_word(parser, word, "no policy of a built-in chain: ACCEPT or DROP");
	return 0;
}

static int chain_line(struct parser *parser)
{
	const struct word *words = parser->lexer->words;
	unsigned int count = parser->lexer->count;
	struct chain *chain;
	uint32_t number = 0;
	int error = declare_chain(parser, &words[0], &number);

	if (error)
		return error;
	chain = &parser->ruleset->chains[number];
	chain->line = parser->line;
	if (count < 2)
		return fail_word(parser, &words[0], "a policy is missing: ACCEPT, DROP or -");
	if (count > 3)
		return fail_word(parser, &words[3], "not expected here");
	error = read_policy(parser, &words[1], chain);
	if (!error && count == 3 && !read_counters(words[2].text, &chain->packets, &chain->bytes))
		error = fail_word(parser, &words[2], "not counters: [PACKETS:BYTES]");
	return error;
}

static int rule_line(struct parser *parser, struct slice counters)
{
	uint64_t packets = 0, bytes = 0;

	if (counters.at && !read_counters(counters, &packets, &bytes))
		return parser_fail(parser, 1, counters, -EINVAL, "not counters: [PACKETS:BYTES]");
	parser->next = 0;
	return parser_rule(parser, packets, bytes);
}

int parser_doubt(const struct parser *parser, struct rule *rule)
{
	const size_t size = strlen(parser->reason) + 1;
	char *message = ruleset_alloc(parser->ruleset, size);

	if (!message)
		return -ENOMEM;
	rule->target.kind = TARGET_UNKNOWN;
	rule->target.unknown = memcpy(message, parser->reason, size);
	return 0;
}

/* Why a rule is not understood is kept with it; what is left are errors. */
static int nat_rule_line(struct parser *parser, struct slice counters)
{
	char reason[PARSER_MESSAGE] = "";
	int error;

	parser->reason = reason;
	error = rule_line(parser, counters);
	parser->reason = NULL;
	if (error)
		parser->report->say(parser->report->context, false, reason);
	return error;
}

/* Cut the line into words, without counters in front of it. */
static int split_line(struct parser *parser, struct slice line, struct slice *counters)
{
	const char *end = line.at[0] == '[' ? memchr(line.at, ']', line.length) : NULL;
	size_t offset = end ? (size_t)(end - line.at) + 1 : 0;
	uint16_t column = 0;
	const char *reason;

	*counters = end ? (struct slice){ line.at, offset } : no_token;
	if (line.length > RULESET_LINE_MAX)
		return parser_fail(parser, 0, no_token, -E2BIG, "longer than %u bytes",
				   RULESET_LINE_MAX);
	if (memchr(line.at, '\0', line.length))
		return parser_fail(parser, 0, no_token, -EINVAL, "a zero byte is in it");
	if (line.at[line.length - 1] == '\r')
		return parser_fail(parser, 0, no_token, -EINVAL,
				   "ends with a carriage return: only line feeds end lines");
	reason = lexer_split(parser->lexer, line, offset, &column);
	return reason ? parser_fail(parser, column, no_token, -EINVAL, "%s", reason) : 0;
}

/* A line of a table that is no comment and not the end */
static int table_line(struct parser *parser, struct slice line, bool skipped)
{
	struct slice counters;
	int error = split_line(parser, line, &counters);

	if (error || (!parser->lexer->count && !counters.at))
		return error;
	if (line.at[0] == ':')
		return skipped ? 0 : chain_line(parser);
	if (parser->lexer->count && parser->lexer->words[0].text.at[0] == '-')
		return skipped     ? 0 :
		       parser->nat ? nat_rule_line(parser, counters) :
				     rule_line(parser, counters);
	return parser->lexer->count ?
		       fail_word(parser, &parser->lexer->words[0],
				 "not expected here: a chain (:NAME), a rule (-A) or COMMIT") :
		       parser_fail(parser, 1, counters, -EINVAL, "a rule is missing after this");
}

struct tables {
	struct parser *parser; /* of the table; the filter's if it is skipped */
	struct parser *nat;
	bool inside, skipped;     /* in a table; in one that is not looked at */
	bool has_filter, has_nat; /* were there */
	uint32_t line;            /* where the table began */
	const char *begin;        /* that line */
};

/* The table nat is kept as it is. */
static int keep_nat(const struct tables *tables, const char *end)
{
	struct ruleset *ruleset = tables->nat->ruleset;
	const size_t size = (size_t)(end - tables->begin);
	char *text = ruleset_alloc(ruleset, size + 1);

	if (!text)
		return parser_fail(tables->nat, 0, no_token, -ENOMEM, "memory is short");
	ruleset->nat_text = memcpy(text, tables->begin, size);
	ruleset->nat_size = size;
	ruleset->nat_line = tables->line;
	return 0;
}

static int choose_table(struct parser *parser, const struct word *word, struct tables *tables)
{
	const bool is_nat = slice_is(word->text, "*nat"),
		   is_filter = slice_is(word->text, "*filter");

	tables->parser = is_nat ? tables->nat : parser;
	tables->skipped = !is_nat && !is_filter;
	if (tables->skipped)
		parser_warn(parser, 1, word->text, "this table stays with the kernel");
	else if (is_nat ? tables->has_nat : tables->has_filter)
		return fail_word(parser, word, "there was one before");
	tables->has_nat |= is_nat;
	tables->has_filter |= is_filter;
	return 0;
}

/* A line outside of tables */
static int begin_table(struct parser *parser, struct slice line, struct tables *tables)
{
	const struct word *words = parser->lexer->words;
	struct slice counters;
	int error = split_line(parser, line, &counters);

	if (error || !parser->lexer->count)
		return error;
	if (words[0].text.at[0] != '*' || words[0].text.length < 2 || words[0].column != 1)
		return fail_word(parser, &words[0],
				 "outside of a table: *filter was expected first");
	if (parser->lexer->count > 1)
		return fail_word(parser, &words[1], "not expected here");
	tables->inside = true;
	tables->line = parser->line;
	tables->begin = line.at;
	return choose_table(parser, &words[0], tables);
}

static int parse_line(struct parser *parser, struct slice line, struct tables *tables)
{
	if (!line.length || line.at[0] == '#')
		return 0;
	if (!tables->inside)
		return begin_table(parser, line, tables);
	if (!slice_is(line, "COMMIT"))
		return table_line(tables->parser, line, tables->skipped);
	tables->inside = false;
	return tables->parser->nat ? keep_nat(tables, line.at + line.length) : 0;
}

static int parse_lines(struct parser *parser, struct parser *nat, struct slice text)
{
	struct tables tables = { .nat = nat };
	struct slice line;
	int error = 0;

	while (!error && slice_next(&text, '\n', &line)) {
		nat->line = ++parser->line;
		error = parse_line(parser, line, &tables);
	}
	if (error)
		return error;
	if (tables.inside)
		return parser_fail(parser, 0, no_token, -EINVAL,
				   "COMMIT of the table of line %u is missing", tables.line);
	parser->line = nat->line = 0;
	return tables.has_filter ? 0 :
				   parser_fail(parser, 0, no_token, -EINVAL, "has no table filter");
}

/* ---- Order ------------------------------------------------------------------ */

static int compare_chains(const void *left, const void *right)
{
	return strcmp(((const struct chain *)left)->name, ((const struct chain *)right)->name);
}

/* Sort the user's chains by name. numbers[old] becomes the new number of a chain. */
static void sort_chains(struct ruleset *ruleset, uint32_t builtin, uint32_t *numbers)
{
	uint32_t i;

	for (i = 0; i < ruleset->chain_count; i++)
		ruleset->chains[i].first = i;
	qsort(ruleset->chains + builtin, ruleset->chain_count - builtin, sizeof(*ruleset->chains),
	      compare_chains);
	for (i = 0; i < ruleset->chain_count; i++)
		numbers[ruleset->chains[i].first] = i;
}

/* Give rules the new numbers of chains, and count those of each chain. */
static void renumber(struct ruleset *ruleset, const uint32_t *numbers)
{
	uint32_t i, first = 0;

	for (i = 0; i < ruleset->rule_count; i++) {
		struct rule *rule = &ruleset->rules[i];

		rule->chain = numbers[rule->chain];
		ruleset->chains[rule->chain].count++;
		if (rule->target.kind == TARGET_JUMP || rule->target.kind == TARGET_GOTO)
			rule->target.chain = numbers[rule->target.chain];
	}
	for (i = 0; i < ruleset->chain_count; i++) {
		ruleset->chains[i].first = first;
		first += ruleset->chains[i].count;
	}
}

/* Chains and rules into the order that ruleset.h says */
static int put_in_order(struct parser *parser)
{
	struct ruleset *ruleset = parser->ruleset;
	_cleanup_free_ uint32_t *numbers = calloc(ruleset->chain_count, sizeof(*numbers));
	struct rule *rules = calloc(ruleset->rule_count + 1, sizeof(*rules));
	uint32_t i;

	if (!numbers || !rules) {
		free(rules);
		return parser_fail(parser, 0, no_token, -ENOMEM, "memory is short");
	}
	sort_chains(ruleset, parser->builtin, numbers);
	renumber(ruleset, numbers);
	for (i = 0; i < ruleset->chain_count; i++)
		numbers[i] = ruleset->chains[i].first;
	for (i = 0; i < ruleset->rule_count; i++)
		rules[numbers[ruleset->rules[i].chain]++] = ruleset->rules[i];
	free(ruleset->rules);
	ruleset->rules = rules;
	return 0;
}

static int parse_text(struct parser *parser, struct parser *nat, struct slice text)
{
	int error = add_builtin_chains(parser);

	error = error ? error : add_builtin_chains(nat);
	if (!error && text.length > RULESET_TEXT_MAX)
		error = parser_fail(parser, 0, no_token, -E2BIG, "longer than 256 MiB");
	if (!error)
		error = parse_lines(parser, nat, text);
	error = error ? error : put_in_order(parser);
	error = error ? error : parser_check(parser);
	error = error ? error : put_in_order(nat);
	error = error ? error : parser_check(nat);
	if (error)
		return error;
	error = nat_settle(nat);
	error = error ? error : nat_append(parser->ruleset, nat->ruleset);
	return error ? parser_fail(parser, 0, no_token, error, "memory is short") : 0;
}

int ruleset_parse(struct ruleset *ruleset, const char *text, size_t size, uint8_t family,
		  const struct ruleset_report *report)
{
	_cleanup_free_ struct lexer *lexer = malloc(sizeof(*lexer));
	struct ruleset nat_ruleset = { .family = family };
	struct parser parser = { .ruleset = ruleset,
				 .report = report,
				 .lexer = lexer,
				 .builtin = ARRAY_SIZE(builtin_names) };
	struct parser nat = parser;
	int error;

	nat.ruleset = &nat_ruleset;
	nat.builtin = ARRAY_SIZE(nat_names);
	nat.nat = true;
	memset(ruleset, 0, sizeof(*ruleset));
	ruleset->family = family;
	if (!lexer)
		return parser_fail(&parser, 0, no_token, -ENOMEM, "memory is short");
	error = parse_text(&parser, &nat, (struct slice){ text, size });
	free(parser.chain_index);
	free(nat.chain_index);
	ruleset_free(&nat_ruleset);
	if (error)
		ruleset_free(ruleset);
	return error;
}
