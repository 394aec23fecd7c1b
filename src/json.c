/* SPDX-License-Identifier: GPL-2.0-only */
#include <stddef.h>
#include <stdint.h>

#include "json.h"

/* How long the character at `text` is in UTF-8 (RFC 3629); 0 if it is none. */
static size_t character_length(const unsigned char *text)
{
	/* The least and the most that the second byte may be: no detours, surrogates, nothing above
	 * U+10FFFF */
	unsigned char low = text[0] == 0xe0 ? 0xa0 : text[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char high = text[0] == 0xed ? 0x9f : text[0] == 0xf4 ? 0x8f : 0xbf;
	size_t length;

	if (text[0] < 0x80)
		return 1;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	length = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	if (text[1] < low || text[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

void json_string(FILE *to, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	putc('"', to);
	while (*at) {
		size_t length = character_length(at);

		if (!length || *at < ' ' || *at == 0x7f) {
			fprintf(to, "\\u%04x", *at++);
			continue;
		}
		if (*at == '"' || *at == '\\')
			putc('\\', to);
		fwrite(at, length, 1, to);
		at += length;
	}
	putc('"', to);
}

void json_member(FILE *to, const char *name, const char *text)
{
	fprintf(to, "\"%s\":", name);
	if (text)
		json_string(to, text);
	else
		fputs("null", to);
}
