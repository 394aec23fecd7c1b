/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pack-skeleton OBJECT < NAME.skel.h > NAME.skel.h
 *
 * bpftool's skeleton has the object as it is; here it becomes a compressed one (pack.h), a fifth
 * of it, that skeleton_unpack() (src/skeleton.h) makes whole again. Nothing else of the skeleton
 * changes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack.h"

#define OBJECT_MAX (16u << 20)
#define LINE_SIZE 4096
#define BYTES_IN_LINE 16

static const char data_begins[] = "\tstatic const char data[]";
static const char data_ends[] = "\";";
static const char size_is[] = "\t*sz = sizeof(data) - 1;";
static const char data_is[] = "\treturn (const void *)data;";

static void fail(const char *reason)
{
	fprintf(stderr, "pack-skeleton: %s\n", reason);
	exit(1);
}

static unsigned char *read_object(const char *path, size_t *size)
{
	unsigned char *bytes = malloc(OBJECT_MAX);
	FILE *file = fopen(path, "rb");

	if (!bytes || !file)
		fail("the object cannot be read");
	*size = fread(bytes, 1, OBJECT_MAX, file);
	if (ferror(file) || !*size || *size == OBJECT_MAX)
		fail("the object cannot be read, or is too large");
	fclose(file);
	return bytes;
}

static void print_packed(const char *path)
{
	struct packed_object object;
	size_t size;
	unsigned char *bytes = read_object(path, &size), *packed;

	packed = pack_object(bytes, size, &object);
	if (!packed)
		fail("the object cannot be compressed");
	/* A text, not numbers: of these clang-tidy would look at each. */
	printf("\tstatic const char packed[] =");
	for (size_t i = 0; i < object.packed_size; i++)
		printf("%s\\%03o",
		       i % BYTES_IN_LINE ? "" :
		       i                 ? "\"\n\t\t\"" :
					   "\n\t\t\"",
		       packed[i]);
	printf("\";\n\tstatic const struct packed_object object = {\n"
	       "\t\t.bytes = packed,\n\t\t.packed_size = sizeof(packed) - 1,\n"
	       "\t\t.size = %zu,\n\t\t.code_at = %zu,\n\t\t.code_size = %zu,\n\t};\n\n"
	       "\treturn skeleton_unpack(&object, sz);\n",
	       object.size, object.code_at, object.code_size);
	free(packed);
	free(bytes);
}

static int begins(const char *line, const char *with)
{
	return !strncmp(line, with, strlen(with));
}

/* The data's last line ends with a quote and a semicolon; within it both would be escaped. */
static int ends(const char *line)
{
	const char *end = strchr(line, '\n');
	const size_t len = strlen(data_ends);

	return end && (size_t)(end - line) >= len && !strncmp(end - len, data_ends, len);
}

int main(int argc, char **argv)
{
	char line[LINE_SIZE];
	int inside = 0, replaced = 0;

	if (argc != 2)
		fail("usage: pack-skeleton OBJECT < SKELETON > SKELETON");
	printf("#include \"skeleton.h\"\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (begins(line, data_begins)) {
			print_packed(argv[1]);
			inside = 1;
			replaced++;
		}
		if (!inside && !(replaced && (begins(line, size_is) || begins(line, data_is))))
			fputs(line, stdout);
		if (inside && ends(line))
			inside = 0;
	}
	if (replaced != 1 || inside)
		fail("the skeleton has another form than bpftool gives it");
	return fclose(stdout) ? 1 : 0;
}
