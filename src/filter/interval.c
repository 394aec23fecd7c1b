/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>

#include "interval.h"

void intervals_all(struct intervals *set, struct value maximum)
{
	set->count = 1;
	set->interval[0] = (struct interval){ .last = maximum };
}

static bool is_before(struct value last, struct value first)
{
	return value_compare(last, first) < 0 && value_compare(value_next(last), first) < 0;
}

/* Does `a` end before `b` begins, with something between them? */
int intervals_add(struct intervals *set, struct value first, struct value last)
{
	struct interval *into;
	size_t at = 0, end;

	while (at < set->count && is_before(set->interval[at].last, first))
		at++;
	end = at;
	while (end < set->count && !is_before(last, set->interval[end].first)) {
		if (value_compare(set->interval[end].first, first) < 0)
			first = set->interval[end].first;
		if (value_compare(set->interval[end].last, last) > 0)
			last = set->interval[end].last;
		end++;
	}
	if (end == at && set->count == INTERVALS_MAX)
		return -E2BIG;
	into = &set->interval[at];
	memmove(into + 1, &set->interval[end], (set->count - end) * sizeof(*into));
	set->count = set->count - (end - at) + 1;
	*into = (struct interval){ first, last };
	return 0;
}

/* What is not used of a set is not worth the copying. */
static void assign(struct intervals *set, const struct intervals *from)
{
	set->count = from->count;
	memcpy(set->interval, from->interval, from->count * sizeof(*from->interval));
}

int intervals_invert(struct intervals *set, struct value maximum)
{
	struct intervals inverted;
	struct value next = { 0 };
	bool over = false; /* `next` is beyond the last value */
	int err = 0;

	inverted.count = 0;
	for (size_t i = 0; i < set->count && !err; i++) {
		const struct interval *one = &set->interval[i];

		if (value_compare(next, one->first) < 0)
			err = intervals_add(&inverted, next, value_previous(one->first));
		over = !value_compare(one->last, maximum);
		next = value_next(one->last);
	}
	if (!err && !over)
		err = intervals_add(&inverted, next, maximum);
	assign(set, &inverted);
	return err;
}

int intervals_intersect(struct intervals *set, const struct intervals *other)
{
	struct intervals both;
	size_t i = 0, j = 0;
	int err = 0;

	both.count = 0;
	while (i < set->count && j < other->count && !err) {
		const struct interval *a = &set->interval[i], *b = &other->interval[j];
		struct value first = value_compare(a->first, b->first) > 0 ? a->first : b->first;
		struct value last = value_compare(a->last, b->last) < 0 ? a->last : b->last;

		if (value_compare(first, last) <= 0)
			err = intervals_add(&both, first, last);
		if (value_compare(a->last, b->last) < 0)
			i++;
		else
			j++;
	}
	assign(set, &both);
	return err;
}

bool intervals_is_all(const struct intervals *set, struct value maximum)
{
	return set->count == 1 && !set->interval[0].first.high && !set->interval[0].first.low &&
	       !value_compare(set->interval[0].last, maximum);
}
