/* SPDX-License-Identifier: GPL-2.0-only */
/* An ELF object of BPF, packed for src/skeleton.h: of scripts/pack-skeleton.c, and of its test. */
#ifndef BPFW_PACK_H
#define BPFW_PACK_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "columns.h"
#include "skeleton.h"

struct elf {
	const uint8_t *bytes;
	size_t size;
};

/* The number of `width` bytes at `at`, in the object's byte order. */
static uint64_t elf_number(const struct elf *elf, uint64_t at, size_t width)
{
	const bool big = elf->bytes[EI_DATA] == ELFDATA2MSB;
	uint64_t number = 0;

	for (size_t i = 0; i < width; i++)
		number |= (uint64_t)elf->bytes[at + i] << 8 * (big ? width - 1 - i : i);
	return number;
}

#define elf_field(elf, at, type, name) \
	elf_number(elf, (at) + offsetof(type, name), sizeof(((type *)NULL)->name))

static bool is_elf(const struct elf *elf)
{
	return elf->size >= sizeof(Elf64_Ehdr) && !memcmp(elf->bytes, ELFMAG, SELFMAG) &&
	       elf->bytes[EI_CLASS] == ELFCLASS64;
}

/* Widens what `object` has for code to the section that is described at `header`, if it is code. */
static void add_section(const struct elf *elf, uint64_t header, struct packed_object *object)
{
	const uint64_t at = elf_field(elf, header, Elf64_Shdr, sh_offset);
	const uint64_t size = elf_field(elf, header, Elf64_Shdr, sh_size);
	size_t begin = at, end = at + size;

	if (elf_field(elf, header, Elf64_Shdr, sh_type) != SHT_PROGBITS ||
	    !(elf_field(elf, header, Elf64_Shdr, sh_flags) & SHF_EXECINSTR) || !size ||
	    at > elf->size || size > elf->size - at)
		return;
	if (object->code_size && object->code_at < begin)
		begin = object->code_at;
	if (object->code_size && object->code_at + object->code_size > end)
		end = object->code_at + object->code_size;
	object->code_at = begin;
	object->code_size = end - begin;
}

/*
 * From the first section of code to the end of the last: clang and bpftool put them side by side,
 * and whatever else might lie between is put back as well. None in a file of another form.
 */
static void find_code(const struct elf *elf, struct packed_object *object)
{
	uint64_t table, count;

	if (!is_elf(elf))
		return;
	table = elf_field(elf, 0, Elf64_Ehdr, e_shoff);
	count = elf_field(elf, 0, Elf64_Ehdr, e_shnum);
	if (elf_field(elf, 0, Elf64_Ehdr, e_shentsize) != sizeof(Elf64_Shdr) || table > elf->size ||
	    count > (elf->size - table) / sizeof(Elf64_Shdr))
		return;
	for (uint64_t i = 0; i < count; i++)
		add_section(elf, table + i * sizeof(Elf64_Shdr), object);
	object->code_size -= object->code_size % INSTRUCTION_SIZE;
}

/* A block of its own, that is with codes of its own (RFC 1951), for the `size` bytes at `part`. */
static bool deflate_part(z_stream *stream, uint8_t *part, size_t size, bool last)
{
	stream->next_in = part;
	stream->avail_in = (uInt)size;
	return deflate(stream, last ? Z_FINISH : Z_BLOCK) == (last ? Z_STREAM_END : Z_OK) &&
	       !stream->avail_in;
}

/* `parts`: what is around the code, then its columns. */
static bool deflate_parts(z_stream *stream, uint8_t *parts, const struct packed_object *object)
{
	const size_t around = object->size - object->code_size;
	bool done = deflate_part(stream, parts, around, !object->code_size);

	parts += around;
	for (size_t i = 0; object->code_size && i < COLUMNS && done; i++) {
		const size_t size = object->code_size / INSTRUCTION_SIZE * column_width(i);

		done = deflate_part(stream, parts, size, i == COLUMNS - 1);
		parts += size;
	}
	return done;
}

static uint8_t *in_parts(const struct elf *elf, const struct packed_object *object)
{
	const size_t code_ends = object->code_at + object->code_size;
	const size_t around = object->size - object->code_size;
	uint8_t *parts = malloc(object->size);

	if (!parts)
		return NULL;
	memcpy(parts, elf->bytes, object->code_at);
	memcpy(parts + object->code_at, elf->bytes + code_ends, around - object->code_at);
	columns_from_code(parts + around, elf->bytes + object->code_at, object->code_size);
	return parts;
}

/* Fills in `object`; the result is what its `bytes` points to, for free(). NULL: no memory. */
static uint8_t *pack_object(const uint8_t *bytes, size_t size, struct packed_object *object)
{
	const struct elf elf = { bytes, size };
	z_stream stream = { 0 };
	uint8_t *parts, *packed;
	size_t room;
	bool done;

	*object = (struct packed_object){ .size = size };
	find_code(&elf, object);
	if (deflateInit(&stream, Z_BEST_COMPRESSION) != Z_OK)
		return NULL;
	room = deflateBound(&stream, size) + 64; /* more blocks than it reckons with */
	parts = in_parts(&elf, object);
	packed = malloc(room);
	stream.next_out = packed;
	stream.avail_out = (uInt)room;
	done = parts && packed && deflate_parts(&stream, parts, object);
	object->bytes = packed;
	object->packed_size = stream.total_out;
	deflateEnd(&stream);
	free(parts);
	if (!done)
		free(packed);
	return done ? packed : NULL;
}

#endif /* BPFW_PACK_H */
