/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xt_hashlimit: a bucket for each group of addresses and ports. The kernel forgets entries that
 * have expired every now and then, and drops packets when a table is full; here an entry that has
 * expired begins anew when it is met, and a full table forgets those that were not met for longest.
 */
#ifndef BPFW_FILTER_HASHLIMIT_H
#define BPFW_FILTER_HASHLIMIT_H

#include "filter_maps.h"
#include "filter_packet.h"

#define NS_PER_MS 1000000ULL

static __always_inline void fill_group(struct filter_group *group, const struct filter_walk *walk,
				       const struct filter_hashlimit *limit, __u32 number)
{
	group->table = number;
	group->ports = walk->group_ports & limit->port_mask;
	group->source[0] = walk->source[0] & limit->source_mask[0];
	group->destination[0] = walk->destination[0] & limit->destination_mask[0];
	for (int i = 1; is_ipv6 && i < 4; i++) {
		group->source[i] = walk->source[i] & limit->source_mask[i];
		group->destination[i] = walk->destination[i] & limit->destination_mask[i];
	}
}

/* Those of a table are spread over some locks: a lock is not allowed in an LRU map. */
static __always_inline struct filter_lock *group_lock(const struct filter_group *group)
{
	__u32 hash = group->source[0] ^ group->source[3] * 3 ^ group->destination[0] * 5 ^
		     group->destination[3] * 7 ^ group->ports * 11 ^ group->table;

	hash = (hash * 0x9e3779b1U) >> (32 - FILTER_LOCKS_SHIFT);
	return bpf_map_lookup_elem(&locks, &hash);
}

/* The bucket of a group, which is made if it is new. */
static __always_inline struct filter_bucket *group_bucket(const struct filter_group *group,
							  const struct filter_hashlimit *limit,
							  __u64 now)
{
	struct filter_bucket *bucket = bpf_map_lookup_elem(&buckets, group);
	struct filter_bucket fresh = {};

	if (bucket)
		return bucket;
	fresh.credit = limit->most;
	fresh.bursts = limit->bursts;
	fresh.last = now;
	fresh.expires = now + limit->expire;
	bpf_map_update_elem(&buckets, group, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&buckets, group);
}

static __always_inline void begin_anew(struct filter_bucket *bucket,
				       const struct filter_hashlimit *limit, __u64 now)
{
	bucket->credit = limit->most;
	bucket->bursts = limit->bursts;
	bucket->last = now;
	bucket->current = 0;
	bucket->over = 0;
}

/* --hashlimit-rate-match: was it more than the rate in the interval before, or the burst in this? */
static __always_inline bool rate_is_within(struct filter_bucket *bucket,
					   const struct filter_hashlimit *limit, __u64 passed,
					   __u64 now, __u64 cost)
{
	if (passed >= limit->interval) {
		/* In milliseconds, and no more than can be multiplied. */
		__u64 interval = limit->interval / NS_PER_MS, time = passed / NS_PER_MS;

		if (time > 1ULL << 26)
			time = 1ULL << 26;
		bucket->over = bucket->current * interval > time * limit->rate;
		bucket->current = 0;
		bucket->last = now;
	}
	bucket->current += cost;
	return !bucket->over && bucket->current <= limit->most;
}

/* Packets: credit is in ns. Bytes: in parts of a second, of which there are FILTER_BYTES_SECOND. */
static __always_inline __u64 refill(const struct filter_hashlimit *limit, __u64 passed)
{
	if (passed > limit->full_after)
		return limit->most;
	if (limit->bytes)
		return passed * (FILTER_BYTES_SECOND / 1000) / 1000000;
	return passed;
}

static __always_inline bool bucket_has(struct filter_bucket *bucket,
				       const struct filter_hashlimit *limit, __u64 passed,
				       __u64 now, __u64 cost)
{
	__u64 credit = bucket->credit + refill(limit, passed);

	if (credit > limit->most)
		credit = limit->most;
	bucket->last = now;
	/* hashlimit_byte_cost(): a burst is a full bucket more, once for good. */
	if (credit < cost && bucket->bursts) {
		bucket->bursts--;
		credit = limit->most;
	}
	bucket->credit = credit >= cost ? credit - cost : credit;
	return credit >= cost;
}

static __always_inline __u64 packet_cost(const struct filter_walk *walk,
					 const struct filter_hashlimit *limit)
{
	__u64 cost;

	if (limit->by_rate)
		return limit->bytes ? walk->length : 1;
	if (!limit->bytes)
		return limit->cost;
	cost = limit->cost * ((walk->length >> 4) + 1);
	return cost < limit->most ? cost : limit->most;
}

/* Is the packet within its group's limit? */
static __always_inline bool hashlimit_matches(const struct filter_walk *walk, __u32 number)
{
	const struct filter_hashlimit *limit = bpf_map_lookup_elem(&hashlimits, &number);
	__u64 now = bpf_ktime_get_ns(), passed, cost;
	struct filter_group group = {};
	struct filter_bucket *bucket;
	struct filter_lock *lock;
	bool within_limit;

	if (!limit)
		return false;
	fill_group(&group, walk, limit, number);
	cost = packet_cost(walk, limit);
	bucket = group_bucket(&group, limit, now);
	lock = group_lock(&group);
	if (!bucket || !lock)
		return false;
	bpf_spin_lock(&lock->lock);
	if (now >= bucket->expires)
		begin_anew(bucket, limit, now);
	bucket->expires = now + limit->expire;
	passed = now > bucket->last ? now - bucket->last : 0;
	within_limit = limit->by_rate ? rate_is_within(bucket, limit, passed, now, cost) :
					bucket_has(bucket, limit, passed, now, cost);
	bpf_spin_unlock(&lock->lock);
	return within_limit;
}

/* proto_ports_offset(): where it finds ports, or a number that is as good; negative: there are none. */
static __always_inline int ports_offset(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
	case IPPROTO_ESP:
		return 0;
	case IPPROTO_AH:
		return 4;
	default:
		return -1;
	}
}

/*
 * What hashlimit takes for ports: of a later fragment of IPv4 it is its payload. Where it finds
 * nothing it drops the packet.
 */
static __always_inline void parse_group_ports(struct filter_walk *walk, struct frame *frame)
{
	int offset = ports_offset(walk->protocol);
	__u32 at = walk->l4 + offset;
	const __u32 *ports;

	if (!uses_operation(FILTER_OP_HASHLIMIT))
		return;
	walk->group_ports = 0;
	walk->bad_ports = is_ipv6 && walk->fragment;
	if (offset < 0 || walk->bad_ports)
		return;
	frame_load(frame);
	ports = frame_bytes(frame, at, sizeof(*ports));
	if (!ports || at - walk->l3 + sizeof(*ports) > walk->length) {
		walk->bad_ports = 1;
		return;
	}
	walk->group_ports = bpf_ntohl(*ports);
}

#endif /* BPFW_FILTER_HASHLIMIT_H */
