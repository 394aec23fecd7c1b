/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * strip-line-info < .BTF.ext > .BTF.ext
 *
 * Leaves the line numbers out of an object's .BTF.ext section (Documentation/bpf/btf.rst), which are
 * a third of it and serve the verifier's log only. Functions and relocations stay. Either byte order.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BTF_MAGIC 0xeb9f
#define SECTION_MAX (16u << 20)

/* struct btf_ext_header, version 1 */
struct header {
	uint16_t magic;
	uint8_t version, flags;
	uint32_t len;
	uint32_t func_off, func_len; /* from the end of the header */
	uint32_t line_off, line_len;
	uint32_t core_off, core_len;
};

static int swapped;

static uint32_t number(uint32_t value)
{
	return swapped ? __builtin_bswap32(value) : value;
}

static void fail(const char *reason)
{
	fprintf(stderr, "strip-line-info: %s\n", reason);
	exit(1);
}

/* A table of the section; fails unless all of it is there. */
static void check(const struct header *header, uint32_t off, uint32_t len, size_t size)
{
	if ((uint64_t)number(header->len) + number(off) + number(len) > size)
		fail("a table is not within the section");
}

int main(void)
{
	static char section[SECTION_MAX];
	size_t size = fread(section, 1, sizeof(section), stdin);
	struct header header, stripped;
	const char *tables;

	if (size < sizeof(header) || size == sizeof(section))
		fail("no .BTF.ext section, or one that is too large");
	memcpy(&header, section, sizeof(header));
	swapped = header.magic != BTF_MAGIC;
	if (swapped && __builtin_bswap16(header.magic) != BTF_MAGIC)
		fail("no .BTF.ext section");
	if (number(header.len) != sizeof(header))
		fail("a header of another version");
	check(&header, header.func_off, header.func_len, size);
	check(&header, header.core_off, header.core_len, size);
	tables = section + sizeof(header);
	stripped = header;
	stripped.func_off = 0;
	stripped.line_off = header.func_len;
	stripped.line_len = 0;
	stripped.core_off = header.func_len;
	if (fwrite(&stripped, sizeof(stripped), 1, stdout) != 1 ||
	    fwrite(tables + number(header.func_off), 1, number(header.func_len), stdout) !=
		    number(header.func_len) ||
	    fwrite(tables + number(header.core_off), 1, number(header.core_len), stdout) !=
		    number(header.core_len) ||
	    fflush(stdout))
		fail("cannot write");
	return 0;
}
