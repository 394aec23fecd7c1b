/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "columns.h"
#include "skeleton.h"
#include "util.h"

static void *unpacked;

static bool sizes_fit(const struct packed_object *object)
{
	return object->code_at <= object->size &&
	       object->code_size <= object->size - object->code_at &&
	       !(object->code_size % INSTRUCTION_SIZE);
}

static int inflate_into(uint8_t *parts, const struct packed_object *object)
{
	uLongf size = object->size;

	switch (uncompress(parts, &size, object->bytes, object->packed_size)) {
	case Z_OK:
		return size == object->size ? 0 : -EINVAL;
	case Z_MEM_ERROR:
		return -ENOMEM;
	default:
		return -EINVAL;
	}
}

static void order(uint8_t *bytes, const uint8_t *parts, const struct packed_object *object)
{
	const size_t code_ends = object->code_at + object->code_size;
	const size_t behind = object->size - code_ends;

	memcpy(bytes, parts, object->code_at);
	memcpy(bytes + code_ends, parts + object->code_at, behind);
	code_from_columns(bytes + object->code_at, parts + object->code_at + behind,
			  object->code_size);
}

static int unpack(const struct packed_object *object)
{
	_cleanup_free_ uint8_t *parts = NULL;
	int err;

	if (!sizes_fit(object))
		return -EINVAL;
	parts = malloc(object->size);
	unpacked = malloc(object->size);
	if (!parts || !unpacked)
		return -ENOMEM;
	err = inflate_into(parts, object);
	if (!err)
		order(unpacked, parts, object);
	return err;
}

const void *skeleton_unpack(const struct packed_object *object, size_t *unpacked_size)
{
	int err;

	skeleton_release();
	err = unpack(object);
	if (err) {
		skeleton_release();
		errno = -err;
		return NULL;
	}
	*unpacked_size = object->size;
	return unpacked;
}

void skeleton_release(void)
{
	free(unpacked);
	unpacked = NULL;
}
