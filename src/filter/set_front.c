/* SPDX-License-Identifier: GPL-2.0-only */
#include <stddef.h>
#include <string.h>

#include "filter/set_front.h"

/* Entries of a bucket of 12, on average in 2 buckets: 1 in 60 buckets is full. */
#define NARROW_FILL 13
#define WIDE_FILL 4 /* ... of three buckets of 3 each: 1 in 20 is */

uint32_t set_front_cells(bool narrow, uint32_t entries)
{
	const uint64_t buckets = narrow ? 2ULL * entries / NARROW_FILL : 3ULL * entries / WIDE_FILL;

	return (uint32_t)buckets + 2;
}

void set_front_init(const struct set_front *front, uint32_t cells, uint64_t seed, uint32_t now)
{
	struct set_front_head *head = &front->cells->front;

	*head = (struct set_front_head){ .seed = seed,
					 .buckets = cells - 1,
					 .since = now >> SET_SPAN_SHIFT };
	for (uint32_t i = 1; i < cells && !front->narrow; i++)
		for (uint32_t k = 0; k < SET_FRONT_KEYS; k++)
			front->cells[i].wide.key[k].pad = 1;
}

static struct set_cell *bucket_of(const struct set_front *front, const struct set_key *key)
{
	return &front->cells[1 + set_front_bucket(&front->cells->front, key)];
}

static uint32_t places(const struct set_front *front)
{
	return front->narrow ? SET_FRONT_ADDRS : SET_FRONT_KEYS;
}

static bool is_at(const struct set_front *front, const struct set_cell *bucket, uint32_t place,
		  const struct set_key *key)
{
	if (front->narrow)
		return bucket->front4.addr[place] == key->addr[0];
	return !memcmp(&bucket->wide.key[place], key, sizeof(*key));
}

static bool is_free(const struct set_front *front, const struct set_cell *bucket, uint32_t place)
{
	return front->narrow ? !bucket->front4.addr[place] : bucket->wide.key[place].pad;
}

/* The padding, which says that the place is in use, is stored last. */
static void put_at(const struct set_front *front, struct set_cell *bucket, uint32_t place,
		   const struct set_key *key)
{
	struct set_key *to;

	if (front->narrow) {
		__atomic_store_n(&bucket->front4.addr[place], key->addr[0], __ATOMIC_RELEASE);
		return;
	}
	to = &bucket->wide.key[place];
	memcpy(to, key, offsetof(struct set_key, pad));
	__atomic_store_n(&to->pad, 0, __ATOMIC_RELEASE);
}

static void free_at(const struct set_front *front, struct set_cell *bucket, uint32_t place)
{
	if (front->narrow)
		__atomic_store_n(&bucket->front4.addr[place], 0, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&bucket->wide.key[place].pad, 1, __ATOMIC_RELEASE);
}

/* The longest span that is over before the end has come. */
static uint8_t span_until(const struct set_front *front, uint32_t end)
{
	const uint32_t since = front->cells->front.since, stop = end >> SET_SPAN_SHIFT;
	uint8_t low = 0, high = SET_SPAN_FOREVER - 1;

	if (end == SET_FOREVER)
		return SET_SPAN_FOREVER;
	while (low < high) {
		const uint8_t middle = (uint8_t)((low + high + 1) / 2);

		if (stop > since && set_span_units(middle) <= stop - since)
			low = middle;
		else
			high = (uint8_t)(middle - 1);
	}
	return low;
}

static uint8_t *span_at(const struct set_front *front, struct set_cell *bucket, uint32_t place)
{
	return front->narrow ? &bucket->front4.span[place] : &bucket->wide.span[place];
}

void set_front_add(const struct set_front *front, const struct set_key *key, uint32_t end)
{
	struct set_cell *bucket = bucket_of(front, key);
	uint32_t place = 0;

	while (place < places(front) && !is_at(front, bucket, place, key) &&
	       !is_free(front, bucket, place))
		place++;
	if (place == places(front) || (front->narrow && !key->addr[0])) {
		__atomic_fetch_or(&bucket->front4.ask, SET_FRONT_FULL, __ATOMIC_SEQ_CST);
		return;
	}
	*span_at(front, bucket, place) = span_until(front, end);
	if (!is_at(front, bucket, place, key))
		put_at(front, bucket, place, key);
}

void set_front_touch(const struct set_front *front, const struct set_key *key)
{
	struct set_cell *bucket = bucket_of(front, key);

	__atomic_store_n(&bucket->front4.ask, SET_FRONT_TOUCHED, __ATOMIC_SEQ_CST);
	for (uint32_t place = 0; place < places(front); place++)
		if (is_at(front, bucket, place, key))
			free_at(front, bucket, place);
}

void set_front_clear_touched(const struct set_front *front)
{
	for (uint32_t i = 0; i < front->cells->front.buckets; i++) {
		struct set_cell *bucket = &front->cells[1 + i];

		if (__atomic_load_n(&bucket->front4.ask, __ATOMIC_SEQ_CST) != SET_FRONT_TOUCHED)
			continue;
		for (uint32_t place = 0; place < places(front); place++)
			free_at(front, bucket, place);
	}
}

void set_front_ready(const struct set_front *front)
{
	__atomic_store_n(&front->cells->front.ready, 1, __ATOMIC_SEQ_CST);
}
