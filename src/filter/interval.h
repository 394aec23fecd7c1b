/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets of values of a packet's field (an address, a port, a protocol), as sorted intervals. */
#ifndef BPFW_FILTER_INTERVAL_H
#define BPFW_FILTER_INTERVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 128 bits, for IPv6; smaller fields use the low half. */
struct value {
	uint64_t high, low;
};

struct interval {
	struct value first, last; /* both are in it */
};

/* Sorted, disjoint and not adjacent. A multiport has 15 ranges, inverted 16. */
#define INTERVALS_MAX 256

struct intervals {
	size_t count;
	struct interval interval[INTERVALS_MAX];
};

static inline int value_compare(struct value a, struct value b)
{
	if (a.high != b.high)
		return a.high < b.high ? -1 : 1;
	return a.low < b.low ? -1 : a.low > b.low;
}

static inline struct value value_next(struct value value)
{
	value.low++;
	value.high += !value.low;
	return value;
}

static inline struct value value_previous(struct value value)
{
	value.high -= !value.low;
	value.low--;
	return value;
}

/* All values up to `maximum`. */
void intervals_all(struct intervals *set, struct value maximum);

/* Add first to last. Returns 0 or -E2BIG: more than INTERVALS_MAX of them. */
int intervals_add(struct intervals *set, struct value first, struct value last);

/* All the values up to `maximum` that are not in the set. Returns 0 or -E2BIG. */
int intervals_invert(struct intervals *set, struct value maximum);

/* Leave in the set what is in `other` too. Returns 0 or -E2BIG. */
int intervals_intersect(struct intervals *set, const struct intervals *other);

bool intervals_is_all(const struct intervals *set, struct value maximum);

#endif /* BPFW_FILTER_INTERVAL_H */
