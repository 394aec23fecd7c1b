/* SPDX-License-Identifier: GPL-2.0-only */
/* Which line of the source an instruction was made from, as the object's BTF tells. */
#ifndef BENCH_LINES_H
#define BENCH_LINES_H

#include <bpf/libbpf.h>
#include <stdbool.h>

struct lines {
	struct btf *btf;
	struct btf_ext *ext;
};

struct line {
	const char *file; /* "parse.h"; NULL where nothing is known */
	uint32_t number;
};

/* From the bytes of an ELF file. Returns 0 or -errno. */
int lines_open(struct lines *lines, const void *elf, size_t size);
void lines_close(struct lines *lines);

/*
 * A line for each instruction of the program. Functions that are not inlined are appended to a
 * program by libbpf: of their instructions nothing is known. Returns NULL when memory is short.
 */
struct line *lines_of(const struct lines *lines, const struct bpf_program *program);

#endif
