/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One rule. The grammar of its words, after the counters that may be in front of it:
 *
 *	rule      = ( "-A" | "--append" ) CHAIN { option }
 *	option    = [ "!" ] basic | "-m" MATCH | [ "!" ] extension
 *	          | ( "-j" | "-g" ) TARGET | "-c" PACKETS BYTES
 *	basic     = ( "-s" | "-d" ) [ "!" ] ADDRESS [ "/" MASK ] { "," ADDRESS [ "/" MASK ] }
 *	          | ( "-i" | "-o" ) [ "!" ] INTERFACE [ "+" ]
 *	          | "-p" [ "!" ] PROTOCOL | "-f"
 *	extension = "--" NAME [ "!" ] [ VALUE [ VALUE ] ]
 *
 * with the long names of basic options, and "--NAME=VALUE" as well as two words. What extensions
 * there are, and what their values are, is in option.c and reader.c. An extension belongs to the
 * last match with such an option, or to the target; to the match that -p brings if there is none.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "filter/parser.h"
#include "filter/value.h"
#include "util.h"

/* What is known of a rule while its words are read */
struct building {
	struct parser *parser;
	struct rule rule;
	const struct module *modules[RULESET_MATCHES_MAX];
	struct match matches[RULESET_MATCHES_MAX];
	uint32_t seen[RULESET_MATCHES_MAX]; /* bits of options */
	const struct module *target;
	uint32_t target_seen;
	struct match_address sources[RULESET_ADDRESSES_MAX], destinations[RULESET_ADDRESSES_MAX];
	unsigned int source_count, destination_count;
	unsigned int basic_seen; /* bits by the order of basic_options[] */
	unsigned int finished;   /* matches, as far as module_finish() is concerned */
	uint8_t doubt;           /* enum doubt: while an option is read */
	bool invert;             /* a ! is before the option */
	uint16_t invert_column;
};

/* What of a rule says too much if an option cannot be read: less is let through than should be. */
enum doubt {
	DOUBT_NOTHING,
	DOUBT_MATCHES,
	DOUBT_ALL,
};

enum basic {
	BASIC_SOURCE,
	BASIC_DESTINATION,
	BASIC_IN,
	BASIC_OUT,
	BASIC_PROTOCOL,
	BASIC_FRAGMENT,
	BASIC_MATCH,
	BASIC_JUMP,
	BASIC_GOTO,
	BASIC_COUNTERS,
	BASIC_APPEND,
	BASIC_OTHER,
};

static const struct {
	char name[14]; /* without dashes; one letter: the short form */
	uint8_t basic;
} basic_options[] = {
	{ "A", BASIC_APPEND },
	{ "append", BASIC_APPEND },
	{ "s", BASIC_SOURCE },
	{ "source", BASIC_SOURCE },
	{ "src", BASIC_SOURCE },
	{ "d", BASIC_DESTINATION },
	{ "destination", BASIC_DESTINATION },
	{ "dst", BASIC_DESTINATION },
	{ "i", BASIC_IN },
	{ "in-interface", BASIC_IN },
	{ "o", BASIC_OUT },
	{ "out-interface", BASIC_OUT },
	{ "p", BASIC_PROTOCOL },
	{ "protocol", BASIC_PROTOCOL },
	{ "proto", BASIC_PROTOCOL },
	{ "f", BASIC_FRAGMENT },
	{ "fragments", BASIC_FRAGMENT },
	{ "m", BASIC_MATCH },
	{ "match", BASIC_MATCH },
	{ "j", BASIC_JUMP },
	{ "jump", BASIC_JUMP },
	{ "g", BASIC_GOTO },
	{ "goto", BASIC_GOTO },
	{ "c", BASIC_COUNTERS },
	{ "set-counters", BASIC_COUNTERS },
};

/* ---- Words ------------------------------------------------------------------ */

static int fail(const struct building *building, const struct word *word, const char *reason)
{
	return parser_fail(building->parser, word->column, word->text, -EINVAL, "%s", reason);
}

static const struct word *peek(const struct building *building)
{
	const struct lexer *lexer = building->parser->lexer;

	return building->parser->next < lexer->count ? &lexer->words[building->parser->next] : NULL;
}

/* The value of an option that is word, with a ! before it if there may be one. */
static int take_value(struct building *building, const struct word *word, bool may_invert,
		      struct word *value)
{
	const struct word *next = peek(building);

	if (next && may_invert && !next->quoted && slice_is(next->text, "!")) {
		if (building->invert)
			return fail(building, next, "the option has a ! already");
		building->invert = true;
		building->parser->next++;
		next = peek(building);
	}
	if (!next)
		return fail(building, word, "its value is missing");
	*value = *next;
	building->parser->next++;
	return 0;
}

/* "--name=value" in one word: cut off the value, for which true is returned. */
static bool cut_value(struct slice *name, const struct word *word, struct word *value)
{
	const char *equals = memchr(name->at, '=', name->length);

	if (!equals)
		return false;
	value->quoted = word->quoted;
	value->text.at = equals + 1;
	value->text.length = (size_t)(name->at + name->length - value->text.at);
	value->column = (uint16_t)(word->column + (value->text.at - word->text.at));
	name->length = (size_t)(equals - name->at);
	return true;
}

/* Once only, and no ! if there cannot be one */
static int check_basic(struct building *building, const struct word *word, enum basic basic)
{
	unsigned int bit = 1u << (basic == BASIC_GOTO ? BASIC_JUMP : basic);

	if (building->invert && basic > BASIC_FRAGMENT)
		return parser_fail(building->parser, building->invert_column, word->text, -EINVAL,
				   "there is no ! before this option");
	if (basic == BASIC_MATCH)
		return 0;
	if (building->basic_seen & bit)
		return fail(building, word, "the rule has such an option already");
	building->basic_seen |= bit;
	return 0;
}

/* ---- Addresses, interfaces, protocol ---------------------------------------- */

static const char *read_network(struct slice text, uint8_t family, struct match_address *match)
{
	unsigned int i;

	if (!value_network(text, family, &match->value, &match->mask))
		return family == AF_INET ?
			       "not an IPv4 address or network (names are not looked up)" :
			       "not an IPv6 address or network (names are not looked up)";
	for (i = 0; i < ARRAY_SIZE(match->mask.words); i++) {
		match->value.words[i] &= match->mask.words[i];
		match->given |= match->mask.words[i] != 0;
	}
	return NULL;
}

static int read_addresses(struct building *building, const struct word *value,
			  struct match_address *list, unsigned int *count)
{
	struct slice rest = value->text, part;

	while (slice_next(&rest, ',', &part)) {
		struct match_address *match = &list[*count];
		const char *reason;

		if (*count == RULESET_ADDRESSES_MAX)
			return fail(building, value, "more than 64 addresses");
		reason = read_network(part, building->parser->ruleset->family, match);
		if (reason)
			return parser_fail(building->parser,
					   (uint16_t)(value->column + (part.at - value->text.at)),
					   part, -EINVAL, "%s", reason);
		match->column = value->column;
		match->invert = building->invert;
		match->given |= building->invert;
		++*count;
	}
	if (building->invert && *count > 1)
		return fail(building, value, "no ! is possible with several addresses");
	return 0;
}

static int read_interface(struct building *building, const struct word *value,
			  struct match_interface *match)
{
	struct slice name = value->text;

	if (!name.length || strpbrk(name.at, "/ \t\""))
		return fail(building, value, "not the name of an interface");
	if (name.length >= RULESET_INTERFACE_NAME)
		return fail(building, value,
			    "longer than 15 bytes, which is all that an interface's "
			    "name can have");
	match->wildcard = name.at[name.length - 1] == '+';
	match->length = (uint8_t)(name.length - match->wildcard);
	memcpy(match->name, name.at, match->length);
	match->column = value->column;
	match->invert = building->invert;
	match->given = match->length || match->invert;
	if (!match->given)
		match->wildcard = false;
	return 0;
}

static int read_protocol(struct building *building, const struct word *value)
{
	struct match_protocol *match = &building->rule.protocol;

	if (!value_protocol(value->text, &match->number))
		return fail(building, value, "no protocol's name or number (0 to 255)");
	match->column = value->column;
	match->invert = building->invert;
	match->given = match->number;
	if (!match->number && building->invert)
		return fail(building, value, "the rule would match no protocol");
	if (building->parser->ruleset->family == AF_INET6 && !match->invert &&
	    (match->number == 43 || match->number == 44 || match->number == 51 ||
	     match->number == 60))
		parser_warn(building->parser, value->column, value->text,
			    "never matches: it is an extension header of IPv6");
	return 0;
}

static int read_fragment(struct building *building, const struct word *word)
{
	struct match_fragment *match = &building->rule.fragment;

	if (building->parser->ruleset->family == AF_INET6)
		return fail(building, word, "there is no -f in IPv6");
	match->given = true;
	match->column = word->column;
	match->invert = building->invert;
	return 0;
}

static int read_counters(struct building *building, const struct word *word,
			 const struct word *value)
{
	struct word bytes = { .text = { NULL, 0 } };
	int error = take_value(building, word, false, &bytes);

	if (error)
		return error;
	if (!value_number(value->text, UINT64_MAX, &building->rule.packets) ||
	    !value_number(bytes.text, UINT64_MAX, &building->rule.bytes))
		return fail(building, value, "not counters: PACKETS BYTES");
	return 0;
}

/* ---- Matches and targets ---------------------------------------------------- */

static int refuse_unknown(const struct building *building, const struct word *word, bool target,
			  const char *what)
{
	uint8_t family = building->parser->ruleset->family;
	char list[400] = "";
	size_t used = 0;
	unsigned int index = 0;
	const char *name;

	/* Of the table nat it is a warning, and not everything that is there is of use in it. */
	if (building->parser->nat)
		return parser_fail(building->parser, word->column, word->text, -EOPNOTSUPP, "%s",
				   what);
	while ((name = module_next_name(target, family, &index)))
		used += (size_t)snprintf(list + used, sizeof(list) - used, " %s", name);
	return parser_fail(building->parser, word->column, word->text, -EOPNOTSUPP, "%s;%s%s", what,
			   " there are", list);
}

/* The record of a match or target: in the match, or what it points to */
static void *new_record(struct building *building, const struct module *module, bool target,
			void *place)
{
	struct ruleset *ruleset = building->parser->ruleset;
	void *record = place;

	if (module->size) {
		record = ruleset_alloc(ruleset, module->size);
		if (!record)
			return NULL;
		memcpy(place, &record, sizeof(record));
	}
	module_defaults(module, target, ruleset->family, record);
	return record;
}

static int add_match(struct building *building, const struct word *word,
		     const struct module *module)
{
	struct rule *rule = &building->rule;
	struct match *match = &building->matches[rule->match_count];

	if (rule->match_count == RULESET_MATCHES_MAX)
		return fail(building, word, "more than 64 matches in a rule");
	match->kind = module->kind;
	match->column = word->column;
	if (!new_record(building, module, false, &match->tcp))
		return parser_fail(building->parser, word->column, word->text, -ENOMEM, "%s",
				   reason_memory);
	building->modules[rule->match_count++] = module;
	return 0;
}

static int read_match(struct building *building, const struct word *value)
{
	const struct module *module = module_match(value->text, building->parser->ruleset->family);

	if (!module)
		return refuse_unknown(building, value, false, "not a match that is supported");
	return add_match(building, value, module);
}

static int read_goto(struct building *building, const struct word *value, bool jump)
{
	int chain = parser_chain(building->parser, value->text);

	if (chain < 0 && module_is_target_name(value->text))
		return refuse_unknown(building, value, true,
				      jump ? "not a target that is supported" :
					     "-g leads to chains, not to targets");
	if (chain < 0)
		return fail(building, value, "no target, and no chain that was declared before");
	if ((uint32_t)chain < building->parser->builtin)
		return fail(building, value, "rules cannot lead to a built-in chain");
	building->rule.target.kind = jump ? TARGET_JUMP : TARGET_GOTO;
	building->rule.target.chain = (uint32_t)chain;
	return 0;
}

static int read_target(struct building *building, const struct word *value, bool jump)
{
	const struct module *module = module_target(value->text, building->parser->ruleset->family);
	struct target *target = &building->rule.target;

	if (!module && building->parser->nat)
		module = module_nat_target(value->text);
	target->column = value->column;
	if (!module || !jump)
		return read_goto(building, value, jump);
	target->kind = module->kind;
	building->target = module;
	if (!new_record(building, module, true, &target->log))
		return parser_fail(building->parser, value->column, value->text, -ENOMEM, "%s",
				   reason_memory);
	return 0;
}

/* ---- Options ---------------------------------------------------------------- */

static int read_basic(struct building *building, const struct word *word, enum basic basic,
		      struct word *value)
{
	struct rule *rule = &building->rule;
	bool may_invert = basic < BASIC_FRAGMENT;
	int error;

	building->doubt = basic <= BASIC_FRAGMENT ? DOUBT_ALL : DOUBT_NOTHING;
	error = check_basic(building, word, basic);

	if (!error && basic != BASIC_FRAGMENT && !value->text.at)
		error = take_value(building, word, may_invert, value);
	if (error)
		return error;
	switch (basic) {
	case BASIC_SOURCE:
		return read_addresses(building, value, building->sources, &building->source_count);
	case BASIC_DESTINATION:
		return read_addresses(building, value, building->destinations,
				      &building->destination_count);
	case BASIC_IN:
		return read_interface(building, value, &rule->in);
	case BASIC_OUT:
		return read_interface(building, value, &rule->out);
	case BASIC_PROTOCOL:
		return read_protocol(building, value);
	case BASIC_FRAGMENT:
		return read_fragment(building, word);
	case BASIC_MATCH:
		return read_match(building, value);
	case BASIC_JUMP:
	case BASIC_GOTO:
		return read_target(building, value, basic == BASIC_JUMP);
	case BASIC_COUNTERS:
		return read_counters(building, word, value);
	default:
		return fail(building, word, "a rule begins with -A, and has it once");
	}
}

/* What an extension option belongs to */
struct owner {
	const struct option *option;
	uint32_t *seen;
	void *record;
	const struct module *module;
};

static void *record_of(const struct module *module, void *place)
{
	void *record = place;

	if (module->size)
		memcpy(&record, place, sizeof(record));
	return record;
}

static bool find_owner(struct building *building, struct slice name, struct owner *owner)
{
	unsigned int i;

	for (i = building->rule.match_count; i-- > 0;) {
		owner->module = building->modules[i];
		owner->option = module_option(owner->module, name);
		if (!owner->option)
			continue;
		owner->seen = &building->seen[i];
		owner->record = record_of(owner->module, &building->matches[i].tcp);
		return true;
	}
	owner->module = building->target;
	owner->option = owner->module ? module_option(owner->module, name) : NULL;
	if (!owner->option)
		return false;
	owner->seen = &building->target_seen;
	owner->record = record_of(owner->module, &building->rule.target.log);
	return true;
}

/* The match that the protocol brings, if it has the option and the rule does not have it yet */
static int add_match_of_protocol(struct building *building, const struct word *word,
				 struct slice name)
{
	uint8_t family = building->parser->ruleset->family;
	const struct match_protocol *protocol = &building->rule.protocol;
	const struct module *module =
		protocol->given ? module_of_protocol(protocol->number, family) : NULL;
	const char *other = module_with_option(name, family);
	unsigned int i;

	for (i = 0; module && i < building->rule.match_count; i++) {
		if (building->modules[i] == module)
			module = NULL;
	}
	if (module && module_option(module, name))
		return add_match(building, word, module);
	if (other)
		return parser_fail(building->parser, word->column, word->text, -EINVAL,
				   "this option is one of %s, which has to come before it", other);
	return parser_fail(building->parser, word->column, word->text, -EOPNOTSUPP,
			   "not an option that is supported");
}

static int check_extension(struct building *building, const struct word *word,
			   const struct owner *owner)
{
	const struct option *option = owner->option;

	if (option->reader == READ_REFUSED)
		return parser_fail(building->parser, word->column, word->text, -EOPNOTSUPP,
				   "this option of %s is not supported", owner->module->name);
	if (*owner->seen & 1u << option->bit)
		return fail(
			building, word,
			"the match or target has this option, or one that excludes it, already");
	if (building->invert && !(option->flags & OPTION_INVERT))
		return parser_fail(building->parser, building->invert_column, word->text, -EINVAL,
				   "there is no ! before this option");
	*owner->seen |= 1u << option->bit;
	return 0;
}

/* Where in the line the part of a value is; with escapes in it the word's place has to do. */
static uint16_t column_in(const struct word *word, struct slice part)
{
	return (uint16_t)(word->quoted ? word->column : word->column + (part.at - word->text.at));
}

static int read_extension_value(struct building *building, const struct owner *owner,
				const struct word *values)
{
	struct reading reading = {
		.ruleset = building->parser->ruleset,
		.module = owner->module,
		.option = owner->option,
		.value = values[0].text,
		.second = values[1].text,
		.blame = values[0].text,
		.invert = building->invert,
		.record = owner->record,
	};
	const char *reason = option_read(&reading);
	bool second = reading.second.at && reading.blame.at >= reading.second.at &&
		      reading.blame.at <= reading.second.at + reading.second.length;

	if (!reason)
		return 0;
	return parser_fail(building->parser, column_in(&values[second], reading.blame),
			   reading.blame, reason == reason_memory ? -ENOMEM : -EINVAL, "%s",
			   reason);
}

static int read_extension(struct building *building, const struct word *word, struct slice name,
			  struct word *value)
{
	struct word values[2] = { *value };
	struct owner owner;
	uint8_t flags;
	int error = 0;

	building->doubt = building->target ? DOUBT_NOTHING : DOUBT_MATCHES;
	if (!find_owner(building, name, &owner))
		error = add_match_of_protocol(building, word, name);
	if (error || (!owner.option && !find_owner(building, name, &owner)))
		return error;
	if (owner.module != building->target)
		building->doubt = DOUBT_MATCHES;
	flags = owner.option->flags;
	if (value->text.at && flags & OPTION_BARE)
		return fail(building, value, "the option has no value");
	if (!value->text.at && !(flags & OPTION_BARE))
		error = take_value(building, word, flags & OPTION_INVERT, &values[0]);
	if (!error && flags & OPTION_TWO)
		error = take_value(building, word, false, &values[1]);
	if (!error)
		error = check_extension(building, word, &owner);
	return error ? error : read_extension_value(building, &owner, values);
}

static enum basic find_basic(struct slice name, bool is_long)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(basic_options); i++) {
		if (slice_is(name, basic_options[i].name) && (name.length > 1) == is_long)
			return basic_options[i].basic;
	}
	return BASIC_OTHER;
}

static int read_option(struct building *building, const struct word *word)
{
	bool is_long = word->text.length > 2 && word->text.at[1] == '-';
	struct slice name = { word->text.at + 1 + is_long, word->text.length - 1 - is_long };
	struct word value = { .text = { NULL, 0 } };
	enum basic basic;

	if (is_long)
		cut_value(&name, word, &value);
	basic = find_basic(name, is_long);
	if (basic != BASIC_OTHER)
		return read_basic(building, word, basic, &value);
	if (is_long)
		return read_extension(building, word, name, &value);
	return fail(building, word, "not an option of a rule: -s -d -i -o -p -f -m -j -g -c");
}

static int read_options(struct building *building)
{
	const struct word *word;

	while ((word = peek(building))) {
		int error;

		building->parser->next++;
		if (!word->quoted && slice_is(word->text, "!")) {
			if (building->invert)
				return fail(building, word, "there is one before it already");
			building->invert = true;
			building->invert_column = word->column;
			continue;
		}
		if (word->text.length < 2 || word->text.at[0] != '-')
			return fail(building, word, "an option was expected here");
		error = read_option(building, word);
		if (error)
			return error;
		building->invert = false;
		building->doubt = DOUBT_NOTHING;
	}
	if (building->invert)
		return parser_fail(building->parser, building->invert_column,
				   (struct slice){ "!", 1 }, -EINVAL,
				   "an option is missing after it");
	return 0;
}

/* ---- The rule as a whole ---------------------------------------------------- */

static int read_chain(struct building *building)
{
	const struct word *word = peek(building);
	struct word value = { .text = { NULL, 0 } };
	int chain, error;

	building->parser->next++;
	building->rule.column = word->column;
	if (!slice_is(word->text, "-A") && !slice_is(word->text, "--append"))
		return parser_fail(building->parser, word->column, word->text, -EOPNOTSUPP,
				   "a rule begins with -A (other commands are not supported)");
	error = take_value(building, word, false, &value);
	if (error)
		return error;
	chain = parser_chain(building->parser, value.text);
	if (chain < 0)
		return fail(building, &value, "no chain that was declared before");
	building->rule.chain = (uint32_t)chain;
	building->basic_seen = 1u << BASIC_APPEND;
	return 0;
}

static const char *missing_option(const struct module *module, uint32_t seen)
{
	if ((seen & module->all) != module->all)
		return "an option is missing that it must have";
	return module->any && !(seen & module->any) ? "an option is missing: it has none" : NULL;
}

static int finish_module(const struct building *building, const struct module *module, bool target,
			 uint32_t seen, uint16_t column, void *record)
{
	struct slice name = { module->name, strlen(module->name) };
	const char *reason = missing_option(module, seen);

	if (!reason)
		reason = module_finish(module, target, seen, record);
	return reason ? parser_fail(building->parser, column, name, -EINVAL, "%s", reason) : 0;
}

static int finish_modules(struct building *building)
{
	struct target *target = &building->rule.target;
	unsigned int i;
	int error = 0;

	for (i = 0; i < building->rule.match_count && !error; i++) {
		struct match *match = &building->matches[i];
		const struct module *module = building->modules[i];

		error = finish_module(building, module, false, building->seen[i], match->column,
				      record_of(module, &match->tcp));
		building->finished += !error;
	}
	if (!error && building->target)
		error = finish_module(building, building->target, true, building->target_seen,
				      target->column, record_of(building->target, &target->log));
	return error;
}

static int keep_matches(struct building *building)
{
	struct rule *rule = &building->rule;
	size_t size = rule->match_count * sizeof(*rule->matches);

	if (!size)
		return 0;
	rule->matches = ruleset_alloc(building->parser->ruleset, size);
	if (!rule->matches)
		return parser_fail(building->parser, 0, (struct slice){ NULL, 0 }, -ENOMEM, "%s",
				   reason_memory);
	memcpy(rule->matches, building->matches, size);
	return 0;
}

/* One rule for each pair of addresses, sources first, as iptables does */
static int add_rules(struct building *building)
{
	unsigned int source, destination;
	int error = 0;

	if (!building->source_count)
		building->source_count = 1;
	if (!building->destination_count)
		building->destination_count = 1;
	for (source = 0; source < building->source_count && !error; source++) {
		for (destination = 0; destination < building->destination_count && !error;
		     destination++) {
			building->rule.source = building->sources[source];
			building->rule.destination = building->destinations[destination];
			error = parser_add_rule(building->parser, &building->rule);
		}
	}
	return error;
}

/* ---- Rules that cannot be read ----------------------------------------------- */

/* The matches whose options are all there */
static void keep_finished(struct building *building)
{
	struct rule *rule = &building->rule;
	unsigned int kept = building->finished, i;

	for (i = kept; i < rule->match_count; i++) {
		const struct module *module = building->modules[i];
		struct match *match = &building->matches[i];

		if (!missing_option(module, building->seen[i]) &&
		    !module_finish(module, false, building->seen[i],
				   record_of(module, &match->tcp)))
			building->matches[kept++] = *match;
	}
	rule->match_count = (uint8_t)kept;
}

/*
 * Of the table nat: a rule that stops all packets that it may match, for it lets through whatever
 * is let through by what could be read of it.
 */
static int add_unknown(struct building *building)
{
	struct rule *rule = &building->rule;
	int error = parser_doubt(building->parser, rule);

	if (building->doubt == DOUBT_ALL) {
		building->source_count = building->destination_count = 0;
		building->sources[0] = building->destinations[0] = (struct match_address){ 0 };
		rule->in = rule->out = (struct match_interface){ 0 };
		rule->protocol = (struct match_protocol){ 0 };
		rule->fragment = (struct match_fragment){ 0 };
	}
	if (building->doubt == DOUBT_NOTHING)
		keep_finished(building);
	else
		rule->match_count = 0;
	error = error ? error : keep_matches(building);
	return error ? error : add_rules(building);
}

/* ---- All of it --------------------------------------------------------------- */

int parser_rule(struct parser *parser, uint64_t packets, uint64_t bytes)
{
	struct building building;
	int error;

	memset(&building, 0, sizeof(building));
	building.parser = parser;
	building.rule.line = parser->line;
	building.rule.packets = packets;
	building.rule.bytes = bytes;
	error = read_chain(&building);
	if (error)
		return error;
	error = read_options(&building);
	if (!error)
		error = finish_modules(&building);
	if (error && error != -ENOMEM && parser->nat)
		return add_unknown(&building);
	if (!error)
		error = keep_matches(&building);
	return error ? error : add_rules(&building);
}
