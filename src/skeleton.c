/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "skeleton.h"

static void *unpacked;

const void *skeleton_unpack(const void *packed, size_t packed_size, size_t size,
			    size_t *unpacked_size)
{
	uLongf length = size;

	skeleton_release();
	unpacked = malloc(size);
	if (!unpacked)
		return NULL;
	if (uncompress(unpacked, &length, packed, packed_size) != Z_OK || length != size) {
		skeleton_release();
		errno = ENOMEM; /* what else zlib may lack: the data is our own */
		return NULL;
	}
	*unpacked_size = size;
	return unpacked;
}

void skeleton_release(void)
{
	free(unpacked);
	unpacked = NULL;
}
