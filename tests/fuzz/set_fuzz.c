/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The set parser on any bytes (libFuzzer). What it reads it prints, and reads the same again; a
 * hash:net set's prefixes become a tree that finds each of them.
 */
#include <linux/types.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "filter/set_parse.h"
#include "filter/set_tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *print(const struct set_file *file, size_t *len)
{
	char *text = NULL;
	FILE *to = open_memstream(&text, len);

	if (!to)
		abort();
	for (size_t i = 0; i < file->count; i++) {
		set_print_create(to, &file->parts[i].info);
		for (size_t k = 0; k < file->parts[i].count; k++)
			set_print_add(to, &file->parts[i].info, &file->parts[i].entries[k]);
	}
	fclose(to);
	return text;
}

static void check_again(const struct set_file *file)
{
	char error[SET_ERROR];
	struct set_file again;
	size_t len, len_again;
	char *text = print(file, &len), *text_again;

	if (set_parse("printed", text, len, NULL, NULL, &again, error))
		abort();
	text_again = print(&again, &len_again);
	if (len != len_again || memcmp(text, text_again, len))
		abort();
	free(text);
	free(text_again);
	set_file_free(&again);
}

static void check_tree(const struct set_part *part)
{
	const uint8_t family = part->info.family;
	struct set_net *nets = calloc(part->count + 1, sizeof(*nets));
	struct set_tree tree = { 0 };
	uint32_t count = 0, cells;

	if (!nets)
		abort();
	for (size_t i = 0; i < part->count; i++, count++)
		nets[i] = (struct set_net){ .addr = set_addr_read(family, part->entries[i].addr),
					    .length = part->entries[i].length,
					    .end = SET_FOREVER,
					    .order = count };
	count = set_nets_sort(nets, count);
	cells = set_tree_cells(family, count);
	tree.cells = calloc(cells, sizeof(*tree.cells));
	if (!tree.cells || set_tree_build(tree.cells, cells, family, nets, count))
		abort();
	for (uint32_t i = 0; i < count; i++)
		if (!set_tree_find(&tree, &nets[i]) || !set_tree_test(&tree, &nets[i].addr, 1))
			abort();
	free(tree.cells);
	free(nets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char error[SET_ERROR] = "";
	struct set_file file;

	if (!set_parse("fuzz", (const char *)data, size, NULL, NULL, &file, error)) {
		check_again(&file);
		for (size_t i = 0; i < file.count; i++)
			if (file.parts[i].info.kind == SET_HASH_NET)
				check_tree(&file.parts[i]);
	} else if (!error[0]) {
		abort();
	}
	set_file_free(&file);
	return 0;
}
