/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lines of iptables-save text, cut into words as iptables-restore does:
 *
 *	line  = { blank } [ word { blank { blank } word } ] { blank }
 *	word  = { plain } ( plain | quote )
 *	quote = '"' { any byte but '"' and '\' | '\' any byte } '"'
 *	plain = any byte but blank and '"'
 *	blank = ' ' | tab
 *
 * So a closing quote ends a word, and a backslash outside of quotes stands for itself. There is
 * no zero byte in a line.
 */
#ifndef BPFW_FILTER_LEXER_H
#define BPFW_FILTER_LEXER_H

#include "filter/names.h"
#include "filter/ruleset.h"

struct word {
	struct slice text; /* zero-terminated, in the lexer's buffer */
	uint16_t column;   /* of its first byte, from 1 */
	bool quoted;
};

struct lexer {
	struct word words[RULESET_WORDS_MAX];
	unsigned int count;
	char buffer[RULESET_LINE_MAX + 1];
};

/*
 * Cut a line, from an offset on, into words. Returns NULL, or what is wrong, at *column. Columns
 * are those of the whole line, which is not longer than RULESET_LINE_MAX.
 */
const char *lexer_split(struct lexer *lexer, struct slice line, size_t offset, uint16_t *column);

#endif /* BPFW_FILTER_LEXER_H */
