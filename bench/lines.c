// SPDX-License-Identifier: GPL-2.0-only
#include <bpf/btf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lines.h"

#define LINE_NUMBER(line_col) ((line_col) >> 10)

/* The section .BTF.ext: a header, then records by the ELF section that they are about. */
struct ext_header {
	uint16_t magic;
	uint8_t version;
	uint8_t flags;
	uint32_t header_len;
	uint32_t function_offset;
	uint32_t function_len;
	uint32_t line_offset;
	uint32_t line_len;
};

struct ext_section {
	uint32_t name_offset;
	uint32_t count;
};

struct records {
	const uint8_t *first;
	size_t count;
	size_t size; /* of each */
};

int lines_open(struct lines *lines, const void *elf, size_t size)
{
	int fd = memfd_create("object", MFD_CLOEXEC), err = 0;
	char path[64];

	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, elf, size) != (ssize_t)size)
		err = -EIO;
	else if (!(lines->btf = btf__parse_elf(path, &lines->ext)))
		err = -errno;
	close(fd);
	return err ? err : lines->ext ? 0 : -ENODATA;
}

void lines_close(struct lines *lines)
{
	btf_ext__free(lines->ext);
	btf__free(lines->btf);
}

/* The records about an ELF section, of functions or of lines. */
static struct records find_records(const struct lines *lines, const char *section, uint32_t offset,
				   uint32_t len)
{
	struct records records = { 0 };
	uint32_t size;
	const uint8_t *raw = btf_ext__raw_data(lines->ext, &size);
	const uint8_t *at = raw + ((const struct ext_header *)raw)->header_len + offset;
	const uint8_t *end = at + len;

	if (at + sizeof(uint32_t) > raw + size || end > raw + size)
		return records;
	memcpy(&size, at, sizeof(size));
	records.size = size;
	for (at += sizeof(size); at + sizeof(struct ext_section) <= end;) {
		const struct ext_section *info = (const void *)at;

		records.first = at + sizeof(*info);
		records.count = info->count;
		if (!strcmp(btf__name_by_offset(lines->btf, info->name_offset), section))
			return records;
		at = records.first + records.count * records.size;
	}
	records.count = 0;
	return records;
}

struct extent {
	uint32_t start; /* in bytes, in the program's ELF section */
	uint32_t end;   /* where the next function starts */
};

static struct extent extent_of(const struct lines *lines, const struct bpf_program *program)
{
	struct extent extent = { UINT32_MAX, UINT32_MAX };
	uint32_t size;
	const struct ext_header *header = btf_ext__raw_data(lines->ext, &size);
	struct records records = find_records(lines, bpf_program__section_name(program),
					      header->function_offset, header->function_len);

	for (size_t i = 0; i < records.count; i++) {
		const struct bpf_func_info *info = (const void *)(records.first + i * records.size);
		const struct btf_type *type = btf__type_by_id(lines->btf, info->type_id);

		if (extent.start != UINT32_MAX) {
			extent.end = info->insn_off;
			break;
		}
		if (!strcmp(btf__name_by_offset(lines->btf, type->name_off),
			    bpf_program__name(program)))
			extent.start = info->insn_off;
	}
	return extent;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

struct line *lines_of(const struct lines *lines, const struct bpf_program *program)
{
	size_t count = bpf_program__insn_cnt(program), next = 0;
	const struct extent extent = extent_of(lines, program);
	uint32_t size;
	const struct ext_header *header = btf_ext__raw_data(lines->ext, &size);
	struct records records = find_records(lines, bpf_program__section_name(program),
					      header->line_offset, header->line_len);
	struct line *table = calloc(count, sizeof(*table)), line = { 0 };

	for (size_t i = 0; table && i < count; i++) {
		uint64_t offset = extent.start + i * sizeof(struct bpf_insn);

		if (offset >= extent.end)
			break;
		for (; next < records.count; next++) {
			const struct bpf_line_info *info =
				(const void *)(records.first + next * records.size);

			if (info->insn_off > offset)
				break;
			line.file = base_name(btf__name_by_offset(lines->btf, info->file_name_off));
			line.number = LINE_NUMBER(info->line_col);
		}
		table[i] = line;
	}
	return table;
}
