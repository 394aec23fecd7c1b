/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xt_recent: tables of addresses, and of when packets had them. A table is one value of a map: its
 * head, heads of chains by the addresses' hash, and slots of addresses, which are in one chain each
 * and in the order in which they were last met. Nothing else is looked up while its lock is held.
 * Numbers of slots begin with 1; 0 is none.
 */
#ifndef BPFW_FILTER_RECENT_H
#define BPFW_FILTER_RECENT_H

#include "filter_maps.h"
#include "filter_packet.h"

#define RECENT_CHAIN 16 /* addresses of a chain that are looked at: more do not come together */
#define NS_PER_RECENT_SECOND 1000000000ULL

/* A table, and where its parts are; the sizes are constants to the verifier. */
struct recent {
	struct filter_recent *head;
	void *chains, *slots;
};

static __always_inline __u32 *recent_chain(const struct recent *recent, __u64 chain)
{
	chain &= recent_chains - 1;
	return recent->chains + chain * sizeof(__u32);
}

/* The slot of that number; NULL: none. */
static __always_inline struct filter_recent_slot *recent_slot(const struct recent *recent,
							      __u64 number)
{
	const __u64 size = FILTER_RECENT_SLOT_SIZE(recent_stamps);
	__u64 at = number - 1;

	asm volatile("" : "+r"(at)); /* what is compared is what is used */
	if (at >= recent_slots)
		return NULL;
	/* Old verifiers know nothing of a product whose second factor is no constant to them. */
	asm volatile("%0 *= %1" : "+r"(at) : "r"(size));
	return recent->slots + at;
}

static __always_inline __u64 *recent_stamp(struct filter_recent_slot *slot, __u64 index)
{
	index &= recent_stamps - 1;
	return (void *)(slot + 1) + index * sizeof(__u64);
}

/* ---- Lists ----------------------------------------------------------------------- */

static __always_inline void leave_chain(const struct recent *recent,
					const struct filter_recent_slot *slot)
{
	struct filter_recent_slot *next = recent_slot(recent, slot->next);
	struct filter_recent_slot *before = recent_slot(recent, slot->before);

	if (next)
		next->before = slot->before;
	if (before)
		before->next = slot->next;
	else
		*recent_chain(recent, slot->chain) = slot->next;
}

static __always_inline void join_chain(const struct recent *recent, struct filter_recent_slot *slot,
				       __u32 number, __u32 chain)
{
	__u32 *first = recent_chain(recent, chain);
	struct filter_recent_slot *next = recent_slot(recent, *first);

	slot->chain = chain;
	slot->before = 0;
	slot->next = *first;
	if (next)
		next->before = number;
	*first = number;
}

static __always_inline void leave_order(const struct recent *recent,
					const struct filter_recent_slot *slot)
{
	struct filter_recent_slot *newer = recent_slot(recent, slot->newer);
	struct filter_recent_slot *older = recent_slot(recent, slot->older);

	if (newer)
		newer->older = slot->older;
	else
		recent->head->newest = slot->older;
	if (older)
		older->newer = slot->newer;
	else
		recent->head->oldest = slot->newer;
}

static __always_inline void become_newest(const struct recent *recent,
					  struct filter_recent_slot *slot, __u32 number)
{
	struct filter_recent_slot *older = recent_slot(recent, recent->head->newest);

	slot->newer = 0;
	slot->older = recent->head->newest;
	if (older)
		older->newer = number;
	else
		recent->head->oldest = number;
	recent->head->newest = number;
}

/* ---- Addresses --------------------------------------------------------------------- */

/* The kernel lets a packet's address stand in its table once, whatever its TTL. */
static __always_inline __u32 recent_find(const struct recent *recent, const __be32 *address,
					 __u32 chain)
{
	__u32 number = *recent_chain(recent, chain);

	for (int i = 0; i < RECENT_CHAIN; i++) {
		const struct filter_recent_slot *slot = recent_slot(recent, number);

		if (!slot)
			return 0;
		if (slot->address[0] == address[0] && slot->address[1] == address[1] &&
		    slot->address[2] == address[2] && slot->address[3] == address[3])
			return number;
		number = slot->next;
	}
	return 0;
}

/* recent_entry_remove(): the slot is the first that is taken again. */
static __always_inline void recent_remove(const struct recent *recent,
					  struct filter_recent_slot *slot, __u32 number)
{
	leave_chain(recent, slot);
	leave_order(recent, slot);
	slot->count = 0;
	slot->next = recent->head->free;
	recent->head->free = number;
}

/* A slot that is free, or that of the address that was not met for longest. */
static __always_inline __u32 take_slot(const struct recent *recent)
{
	struct filter_recent *head = recent->head;
	struct filter_recent_slot *slot;
	__u32 number = head->free;

	if (!number && head->used < recent_slots)
		return ++head->used;
	if (!number) {
		number = head->oldest;
		slot = recent_slot(recent, number);
		if (!slot)
			return 0;
		recent_remove(recent, slot, number);
	}
	slot = recent_slot(recent, number);
	if (slot)
		head->free = slot->next;
	return number;
}

/* recent_entry_update() */
static __always_inline void recent_update(const struct recent *recent,
					  struct filter_recent_slot *slot, __u32 number, __u64 now)
{
	__u32 index = slot->index & recent->head->stamp_mask;

	*recent_stamp(slot, index) = now;
	slot->index = index + 1;
	if (slot->count < index + 1)
		slot->count = index + 1;
	leave_order(recent, slot);
	become_newest(recent, slot, number);
}

/* recent_entry_init(); false: there is no slot, and the kernel drops the packet. */
static __always_inline bool recent_add(const struct recent *recent, const __be32 *address,
				       __u32 chain, __u32 ttl, __u64 now)
{
	__u32 number = take_slot(recent);
	struct filter_recent_slot *slot = recent_slot(recent, number);

	if (!slot)
		return false;
	for (int i = 0; i < 4; i++)
		slot->address[i] = address[i];
	slot->ttl = ttl;
	slot->index = 1;
	slot->count = 1;
	*recent_stamp(slot, 0) = now;
	join_chain(recent, slot, number, chain);
	become_newest(recent, slot, number);
	return true;
}

/* ---- What a rule asks ---------------------------------------------------------------- */

/*
 * Are there as many stamps as the rule wants, from `since` on? They follow each other in time, so
 * that it depends on one of them. since: 0 if the rule gives no seconds.
 */
static __always_inline bool has_hits(const struct recent *recent, struct filter_recent_slot *slot,
				     __u32 wanted, __u64 since)
{
	__u32 hits = wanted ? wanted : 1;

	if (slot->count < hits)
		return false;
	return *recent_stamp(slot, (slot->index - hits) & recent->head->stamp_mask) >= since;
}

/* recent_entry_reap(): the address that was not met for longest, if that is before `since` */
static __always_inline void recent_reap(const struct recent *recent, __u64 since, __u32 spared)
{
	__u32 number = recent->head->oldest;
	struct filter_recent_slot *slot = recent_slot(recent, number);

	if (!slot || number == spared)
		return;
	if (*recent_stamp(slot, slot->index - 1) < since)
		recent_remove(recent, slot, number);
}

/* The rest of recent_mt() for an address that is there. */
static __always_inline bool ask_slot(const struct recent *recent, struct filter_recent_slot *slot,
				     __u32 number, const struct filter_op *op, __u32 ttl, __u64 now)
{
	const __u64 past = op->b * NS_PER_RECENT_SECOND;
	const __u64 since = op->b && past < now ? now - past : 0;
	bool matches = true;

	if (op->c & FILTER_RECENT_REMOVE) {
		recent_remove(recent, slot, number);
		return !(op->c & FILTER_RECENT_INVERT);
	}
	if (!(op->c & FILTER_RECENT_SET))
		matches = has_hits(recent, slot, op->c & FILTER_RECENT_HITS, since);
	matches = matches != !!(op->c & FILTER_RECENT_INVERT);
	if (op->c & FILTER_RECENT_REAP)
		recent_reap(recent, since, (op->c & FILTER_RECENT_UPDATE) && matches ? number : 0);
	if ((op->c & FILTER_RECENT_SET) || ((op->c & FILTER_RECENT_UPDATE) && matches)) {
		recent_update(recent, slot, number, now);
		slot->ttl = ttl;
	}
	return matches;
}

/* recent_mt(), with the lock held */
static __always_inline bool ask_recent(const struct recent *recent, const __be32 *address,
				       __u32 chain, const struct filter_op *op, __u32 ttl,
				       __u64 now)
{
	const bool inverted = op->c & FILTER_RECENT_INVERT;
	__u32 number = recent_find(recent, address, chain);
	struct filter_recent_slot *slot = recent_slot(recent, number);

	if (slot && (op->c & FILTER_RECENT_TTL) && ttl && slot->ttl && slot->ttl != ttl)
		slot = NULL;
	if (slot)
		return ask_slot(recent, slot, number, op, ttl, now);
	if (!(op->c & FILTER_RECENT_SET))
		return inverted;
	recent_add(recent, address, chain, ttl, now);
	return !inverted;
}

/* The kernel takes the TTL that the packet came with (FORWARD sees one less). */
static __always_inline __u32 first_ttl(const struct filter_walk *walk)
{
	return (walk->ttl + (walk->hook == FILTER_HOOK_FORWARD)) & 0xff;
}

static __always_inline bool recent_matches(const struct filter_walk *walk,
					   const struct filter_op *op)
{
	__u32 number = op->a, lock_number = op->a & ((1U << FILTER_LOCKS_SHIFT) - 1), chain;
	struct filter_recent *head = bpf_map_lookup_elem(&recents, &number);
	struct filter_lock *lock = bpf_map_lookup_elem(&locks, &lock_number);
	__u64 now = bpf_ktime_get_ns();
	__u32 ttl = first_ttl(walk);
	__be32 address[4] = {};
	struct recent recent;
	bool matches;

	if (!head || !lock)
		return false;
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		address[i] = (op->c & FILTER_RECENT_DESTINATION ? walk->destination[i] :
								  walk->source[i]) &
			     head->mask[i];
	chain = filter_recent_chain(address, recent_seed);
	recent.head = head;
	recent.chains = head + 1;
	recent.slots = recent.chains + recent_chains * sizeof(__u32);
	bpf_spin_lock(&lock->lock);
	matches = ask_recent(&recent, address, chain, op, ttl, now);
	bpf_spin_unlock(&lock->lock);
	return matches;
}

#endif /* BPFW_FILTER_RECENT_H */
