/* SPDX-License-Identifier: GPL-2.0-only */
/* Matches that keep something from packet to packet: limit and statistic, for each rule by itself. */
#ifndef BPFW_FILTER_BUCKET_H
#define BPFW_FILTER_BUCKET_H

#include "filter_maps.h"
#include "filter_packet.h"

#define NS_PER_LIMIT_SCALE 100000 /* XT_LIMIT_SCALE parts of a second */

static __always_inline struct filter_tally *rule_tally(__u32 number)
{
	return bpf_map_lookup_elem(&tallies, &number);
}

/* xt_limit: one bucket for all CPUs. It counts in jiffies, here it is nanoseconds. */
static __always_inline bool limit_matches(const struct filter_op *op)
{
	struct filter_tally *tally = rule_tally(op->a);
	__u64 cost = (__u64)op->b * NS_PER_LIMIT_SCALE, most = cost * op->c;
	__u64 now = bpf_ktime_get_ns(), credit;
	bool within_limit;

	if (!tally)
		return false;
	bpf_spin_lock(&tally->lock);
	/* Another CPU may have come first with a later time. */
	credit = now > tally->last ? now - tally->last : 0;
	if (credit > most)
		credit = most;
	credit += tally->credit;
	if (credit > most)
		credit = most;
	within_limit = credit >= cost;
	tally->credit = within_limit ? credit - cost : credit;
	if (now > tally->last)
		tally->last = now;
	bpf_spin_unlock(&tally->lock);
	return within_limit;
}

/* xt_statistic: one packet of b + 1 */
static __always_inline bool nth_matches(const struct filter_op *op)
{
	struct filter_tally *tally = rule_tally(op->a);
	__u32 count;

	if (!tally)
		return false;
	bpf_spin_lock(&tally->lock);
	count = tally->count == op->b ? 0 : tally->count + 1;
	tally->count = count;
	bpf_spin_unlock(&tally->lock);
	return !count;
}

static __always_inline bool random_matches(const struct filter_op *op)
{
	return (bpf_get_prandom_u32() & 0x7fffffff) < op->a;
}

#endif /* BPFW_FILTER_BUCKET_H */
