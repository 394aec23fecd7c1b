/* SPDX-License-Identifier: GPL-2.0-only */
/* What scripts/pack-skeleton.c packs comes out of skeleton_unpack() as it was, whatever it is. */
#include "unit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../scripts/pack.h"
#include "util.h"

#define ROOM 200000u
#define SECTIONS 3
#define BEYOND 40000 /* farther than zlib looks back */

static uint8_t bytes[ROOM];

struct file {
	size_t size;
	size_t end; /* of what is in use, without the table of sections */
	bool big;
};

static void write_number(const struct file *file, size_t at, size_t width, uint64_t number)
{
	for (size_t i = 0; i < width; i++)
		bytes[at + i] = (uint8_t)(number >> 8 * (file->big ? width - 1 - i : i));
}

#define write_field(file, at, type, name, number) \
	write_number(file, (at) + offsetof(type, name), sizeof(((type *)NULL)->name), number)

static void begin_file(struct file *file, bool big)
{
	static const uint8_t magic[SELFMAG] = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3 };

	*file = (struct file){ .end = sizeof(Elf64_Ehdr), .big = big };
	for (size_t i = 0; i < ROOM; i++)
		bytes[i] = (uint8_t)unit_below(16);
	memset(bytes, 0, sizeof(Elf64_Ehdr));
	memcpy(bytes, magic, sizeof(magic));
	bytes[EI_CLASS] = ELFCLASS64;
	bytes[EI_DATA] = big ? ELFDATA2MSB : ELFDATA2LSB;
}

/* A table of sections of code, which lie behind each other, each after `gap` bytes. */
static void end_file(struct file *file, const size_t *lengths, size_t count, size_t gap)
{
	size_t at = file->end + gap;

	for (size_t i = 0; i < count; i++)
		file->end += gap + lengths[i];
	write_field(file, 0, Elf64_Ehdr, e_shoff, file->end);
	write_field(file, 0, Elf64_Ehdr, e_shnum, count);
	write_field(file, 0, Elf64_Ehdr, e_shentsize, sizeof(Elf64_Shdr));
	for (size_t i = 0; i < count; i++) {
		const size_t header = file->end + i * sizeof(Elf64_Shdr);

		write_field(file, header, Elf64_Shdr, sh_type, SHT_PROGBITS);
		write_field(file, header, Elf64_Shdr, sh_flags, SHF_ALLOC | SHF_EXECINSTR);
		write_field(file, header, Elf64_Shdr, sh_offset, at);
		write_field(file, header, Elf64_Shdr, sh_size, lengths[i]);
		at += lengths[i] + gap;
	}
	file->size = file->end + count * sizeof(Elf64_Shdr);
	assert_in_range(file->size, 1, ROOM);
}

/* Packs and unpacks the first `size` bytes; tells how small they were meanwhile. */
static size_t there_and_back(size_t size, struct packed_object *object)
{
	_cleanup_free_ uint8_t *packed = pack_object(bytes, size, object);
	size_t unpacked_size = 0;
	const void *unpacked;

	assert_non_null(packed);
	assert_int_equal(object->size, size);
	unpacked = skeleton_unpack(object, &unpacked_size);
	assert_non_null(unpacked);
	assert_int_equal(unpacked_size, size);
	assert_memory_equal(unpacked, bytes, size);
	skeleton_release();
	return object->packed_size;
}

static void sections_of_any_length(void **state)
{
	(void)state;
	for (unsigned int turn = 0; turn < 200; turn++) {
		const size_t count = unit_below(SECTIONS + 1), gap = unit_below(20);
		size_t lengths[SECTIONS], span = 0;
		struct packed_object object;
		struct file file;

		begin_file(&file, turn % 2);
		for (size_t i = 0; i < count; i++) {
			lengths[i] = 1 + unit_below(turn % 3 ? 30 : 3000);
			span += lengths[i] + (i ? gap : 0);
		}
		end_file(&file, lengths, count, gap);
		there_and_back(file.size, &object);
		assert_int_equal(object.code_size, span / INSTRUCTION_SIZE * INSTRUCTION_SIZE);
		if (count)
			assert_int_equal(object.code_at, sizeof(Elf64_Ehdr) + gap);
	}
}

/* Its table or a section then ends behind the end; the shortest are no ELF file. */
static void a_file_cut_off_anywhere(void **state)
{
	static const size_t lengths[] = { 77, 130, 8 };
	struct packed_object object;
	struct file file;

	(void)state;
	for (int big = 0; big < 2; big++) {
		begin_file(&file, big);
		end_file(&file, lengths, SECTIONS, 3);
		for (size_t size = 1; size < file.size; size++) {
			there_and_back(size, &object);
			assert_int_equal(object.code_size, 0);
		}
	}
}

static void a_section_that_is_the_whole_file_or_lies_outside(void **state)
{
	static const size_t length = 64;
	struct packed_object object;
	struct file file;

	(void)state;
	begin_file(&file, false);
	end_file(&file, &length, 1, 0);
	write_field(&file, file.end, Elf64_Shdr, sh_offset, 0);
	write_field(&file, file.end, Elf64_Shdr, sh_size, file.size);
	there_and_back(file.size, &object);
	assert_int_equal(object.code_size, file.size);

	write_field(&file, file.end, Elf64_Shdr, sh_size, file.size + 1);
	there_and_back(file.size, &object);
	assert_int_equal(object.code_size, 0);
	write_field(&file, file.end, Elf64_Shdr, sh_size, UINT64_MAX);
	write_field(&file, file.end, Elf64_Shdr, sh_offset, 8);
	there_and_back(file.size, &object);
	assert_int_equal(object.code_size, 0);
}

static void the_same_code_twice_costs_little(void **state)
{
	static const size_t lengths[] = { BEYOND, BEYOND };
	struct packed_object object;
	struct file file;
	size_t once, twice;

	(void)state;
	begin_file(&file, false);
	memcpy(bytes + sizeof(Elf64_Ehdr) + BEYOND, bytes + sizeof(Elf64_Ehdr), BEYOND);
	end_file(&file, lengths, 1, 0);
	once = there_and_back(file.size, &object);

	begin_file(&file, false);
	memcpy(bytes + sizeof(Elf64_Ehdr) + BEYOND, bytes + sizeof(Elf64_Ehdr), BEYOND);
	end_file(&file, lengths, 2, 0);
	twice = there_and_back(file.size, &object);
	assert_in_range(twice, once, once + once / 10);
}

static void expect_refused(const struct packed_object *object)
{
	size_t size = 0;

	errno = 0;
	assert_null(skeleton_unpack(object, &size));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(size, 0);
}

static void wrong_sizes_and_wrong_bytes_are_refused(void **state)
{
	static const size_t lengths[] = { 800, 800 };
	struct packed_object object, wrong;
	uint8_t *packed;
	struct file file;

	(void)state;
	begin_file(&file, true);
	end_file(&file, lengths, 2, 0);
	packed = pack_object(bytes, file.size, &object);
	assert_non_null(packed);
	wrong = object;
	wrong.code_at = object.size + 1;
	expect_refused(&wrong);
	wrong = object;
	wrong.code_size = object.size - object.code_at + INSTRUCTION_SIZE;
	expect_refused(&wrong);
	wrong = object;
	wrong.code_size--;
	expect_refused(&wrong);
	wrong = object;
	wrong.size--;
	expect_refused(&wrong);
	wrong = object;
	wrong.size++;
	expect_refused(&wrong);
	wrong = object;
	wrong.packed_size /= 2;
	expect_refused(&wrong);
	packed[object.packed_size - 1] ^= 1; /* the sum over all */
	expect_refused(&object);
	free(packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sections_of_any_length),
		cmocka_unit_test(a_file_cut_off_anywhere),
		cmocka_unit_test(a_section_that_is_the_whole_file_or_lies_outside),
		cmocka_unit_test(the_same_code_twice_costs_little),
		cmocka_unit_test(wrong_sizes_and_wrong_bytes_are_refused),
	};

	unit_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
