/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF objects in the skeletons, which are compressed (scripts/pack-skeleton.c). */
#ifndef BPFW_SKELETON_H
#define BPFW_SKELETON_H

#include <stddef.h>

/* In bytes: what is in front of the code, what is behind it, the code in columns (columns.h). */
struct packed_object {
	const void *bytes; /* zlib's format (RFC 1950) */
	size_t packed_size;
	size_t size;      /* unpacked */
	size_t code_at;   /* in the unpacked object */
	size_t code_size; /* a multiple of INSTRUCTION_SIZE; 0: nothing is in columns */
};

/*
 * The object's bytes, which are valid until the next call: libbpf has copied what it needs when
 * NAME_bpf__open() returns. NULL, with errno set: ENOMEM; EINVAL where the sizes are wrong.
 */
const void *skeleton_unpack(const struct packed_object *object, size_t *unpacked_size);

/* No object is opened any more: give the memory back. */
void skeleton_release(void);

#endif /* BPFW_SKELETON_H */
