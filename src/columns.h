/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * BPF code as it is compressed: all operation codes, then all registers, all offsets, all immediate
 * values (struct bpf_insn's fields, by place: the byte order makes no difference). The programs
 * for XDP and for TC are nearly the same code, farther apart than the 32 KB that zlib looks back.
 * Half of a column is not; and within one bytes of the same kind follow each other.
 */
#ifndef BPFW_COLUMNS_H
#define BPFW_COLUMNS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COLUMNS 4
#define INSTRUCTION_SIZE 8 /* bytes */

static inline size_t column_width(size_t column)
{
	static const size_t width[COLUMNS] = { 1, 1, 2, 4 };

	return width[column];
}

/* `size` is a multiple of INSTRUCTION_SIZE; the two do not overlap. */
static inline void columns_from_code(uint8_t *columns, const uint8_t *code, size_t size)
{
	for (size_t column = 0, at = 0; column < COLUMNS; at += column_width(column++))
		for (size_t i = at; i < size; i += INSTRUCTION_SIZE) {
			memcpy(columns, code + i, column_width(column));
			columns += column_width(column);
		}
}

/* The other way. */
static inline void code_from_columns(uint8_t *code, const uint8_t *columns, size_t size)
{
	for (size_t column = 0, at = 0; column < COLUMNS; at += column_width(column++))
		for (size_t i = at; i < size; i += INSTRUCTION_SIZE) {
			memcpy(code + i, columns, column_width(column));
			columns += column_width(column);
		}
}

#endif /* BPFW_COLUMNS_H */
