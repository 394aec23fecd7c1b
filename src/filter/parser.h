/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the parser share: its state, of one table, and its messages */
#ifndef BPFW_FILTER_PARSER_H
#define BPFW_FILTER_PARSER_H

#include "filter/lexer.h"
#include "filter/option.h"

struct parser {
	struct ruleset *ruleset;
	const struct ruleset_report *report;
	struct lexer *lexer;
	uint32_t line;                    /* the current one, from 1; 0: the text as a whole */
	uint32_t chains_room, rules_room; /* of the arrays of the ruleset */
	uint16_t *chain_index;            /* hash of a name -> number of the chain + 1; 0: empty */
	unsigned int next;                /* the word to be looked at next */
	uint32_t builtin;                 /* how many of the chains are built-in */
	bool nat;     /* the table nat: rules that are not understood are TARGET_UNKNOWN */
	char *reason; /* room for PARSER_MESSAGE bytes: where an error goes; NULL: to report */
};

#define PARSER_MESSAGE 1024

/* nat's built-in chains: those from which a packet that comes in gets on are the first one's. */
#define NAT_PREROUTING 0

/*
 * Report an error at a place (column 0: the line as a whole), with the token there (none if its
 * at is NULL). Returns error, which is negative.
 */
int parser_fail(const struct parser *parser, uint16_t column, struct slice token, int error,
		const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The same as a warning */
void parser_warn(const struct parser *parser, uint16_t column, struct slice token,
		 const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Another rule at the end of the ruleset, a copy of this one. Returns 0 or -errno. */
int parser_add_rule(struct parser *parser, const struct rule *rule);

/* The rule that the lexer's words are, from parser->next on (rule.c). Returns 0 or -errno. */
int parser_rule(struct parser *parser, uint64_t packets, uint64_t bytes);

/* The number of the chain of this name; -1 if none was declared so far */
int parser_chain(const struct parser *parser, struct slice name);

/*
 * Look at the rules as a whole (check.c): what chains they lead to, loops, what a chain's hooks
 * allow; sets hooks and depth of the chains. Rules are in their final order. Returns 0 or -errno.
 */
int parser_check(struct parser *parser);

/* A rule of the table nat is not understood, as parser->reason says. Returns 0 or -ENOMEM. */
int parser_doubt(const struct parser *parser, struct rule *rule);

/*
 * nat.c: find rules of the table nat that are understood, but not of a kind whose outcome can be
 * told (TARGET_UNKNOWN), and put what is left behind the filter's rules. Returns 0 or -errno.
 */
int nat_settle(struct parser *nat);
int nat_append(struct ruleset *ruleset, struct ruleset *nat);

#endif /* BPFW_FILTER_PARSER_H */
