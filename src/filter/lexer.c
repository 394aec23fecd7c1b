/* SPDX-License-Identifier: GPL-2.0-only */
/* Words of a line; see lexer.h. */
#include "filter/lexer.h"

static bool is_blank(char character)
{
	return character == ' ' || character == '\t';
}

/*
 * One word from *at on, copied to out. Each byte of it was one of the line's, and the end of a
 * word was a blank, a quote or the end of the line: the copies with their zeros are no longer
 * than the line with its end.
 */
static const char *lex_word(struct slice line, size_t *at, struct word *word, char *out)
{
	bool quote = false;

	word->text = (struct slice){ out, 0 };
	word->quoted = false;
	for (; *at < line.length && (quote || !is_blank(line.at[*at])); ++*at) {
		char character = line.at[*at];

		if (character == '"') {
			word->quoted = true;
			quote = !quote;
			if (quote)
				continue;
			++*at;
			break;
		}
		if (quote && character == '\\' && ++*at == line.length)
			break;
		out[word->text.length++] = line.at[*at];
	}
	out[word->text.length] = '\0';
	return quote ? "the quote is not closed" : NULL;
}

const char *lexer_split(struct lexer *lexer, struct slice line, size_t offset, uint16_t *column)
{
	char *out = lexer->buffer;
	const char *reason;

	lexer->count = 0;
	for (;;) {
		struct word *word = &lexer->words[lexer->count];

		while (offset < line.length && is_blank(line.at[offset]))
			offset++;
		if (offset == line.length)
			return NULL;
		*column = (uint16_t)(offset + 1);
		if (lexer->count == RULESET_WORDS_MAX)
			return "more than 1024 words in a line";
		word->column = *column;
		reason = lex_word(line, &offset, word, out);
		if (reason)
			return reason;
		out += word->text.length + 1;
		lexer->count++;
	}
}
