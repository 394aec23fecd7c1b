/* SPDX-License-Identifier: GPL-2.0-only */
/* The BPF objects in the skeletons, which are compressed (scripts/pack-skeleton.c). */
#ifndef BPFW_SKELETON_H
#define BPFW_SKELETON_H

#include <stddef.h>

/*
 * An object's bytes, `size` of them, which are valid until the next call: libbpf has copied what it
 * needs when NAME_bpf__open() returns. NULL, with errno set, where there is no memory.
 */
const void *skeleton_unpack(const void *packed, size_t packed_size, size_t size,
			    size_t *unpacked_size);

/* No object is opened any more: give the memory back. */
void skeleton_release(void);

#endif /* BPFW_SKELETON_H */
