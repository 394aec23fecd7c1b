/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Misses: count a tuple's packets and signal the daemon, with back-off. A tuple of one
 * packet never reaches user space, and one that the daemon refuses comes back ever more
 * rarely, so neither a flood nor steady traffic that cannot be offloaded costs the
 * daemon anything per packet.
 */
#ifndef BPFW_CANDIDATE_H
#define BPFW_CANDIDATE_H

#include "flow.h"
#include "packet.h"

static __always_inline struct bpfw_candidate *candidate_find(__u64 hash, __u32 now)
{
	__u32 index = (__u32)hash & candidate_mask;
	struct bpfw_candidate_set *set = bpf_map_lookup_elem(&candidates, &index);
	__u32 tag = candidate_tag(hash);
	struct bpfw_candidate *oldest;

	if (!set)
		return NULL;
	oldest = &set->way[0];
	for (int i = 0; i < CANDIDATE_WAYS; i++) {
		struct bpfw_candidate *way = &set->way[i];

		if (way->tag == tag)
			return way;
		if (!way->tag || (oldest->tag && (__s32)(way->last - oldest->last) < 0))
			oldest = way;
	}
	oldest->tag = tag;
	oldest->count = 0;
	oldest->attempts = 0;
	oldest->next = now;
	return oldest;
}

/*
 * One more packet of the tuple: is it time to signal the daemon? The first signal comes
 * with packet `threshold`, each further one after twice the time, 2^limit jiffies at most.
 */
static __always_inline bool candidate_due(__u64 hash, __u32 now, __u32 threshold, __u32 limit)
{
	struct bpfw_candidate *candidate = candidate_find(hash, now);
	__u32 backoff;

	if (!candidate)
		return false;
	candidate->last = now;
	if (candidate->count < threshold) {
		candidate->count++;
		if (candidate->count < threshold)
			return false;
	}
	if ((__s32)(now - candidate->next) < 0)
		return false;
	backoff = candidate->attempts < limit ? candidate->attempts : limit;
	candidate->next = now + (1U << (backoff & 31));
	candidate->attempts++;
	return true;
}

static __always_inline void signal_send(const struct packet *p, const union flow_key *key,
					__u8 kind, __u8 verdict, bool v6)
{
	struct bpfw_signal *signal = bpf_ringbuf_reserve(&signals, sizeof(*signal), 0);

	if (!signal) {
		count_exit(EXIT_SIGNAL_LOST);
		return;
	}
	count_exit(EXIT_SIGNAL);
	signal->kind = kind;
	signal->family = v6 ? AF_INET6 : AF_INET;
	signal->verdict = verdict;
	signal->tcp_flags = p->tcp_flags;
	signal->seq = p->seq_end;
	signal->ack = p->ack;
	signal->window = p->window;
	signal->pad = 0;
	if (v6)
		signal->key.v6 = key->v6;
	else
		signal->key.v4 = key->v4;
	bpf_ringbuf_submit(signal, 0);
}

/* Is the frame addressed to the router? Only misses ask: a flow knows the MAC. */
static __always_inline bool addressed_to_port(const struct packet *p)
{
	const struct ethhdr *eth = p->data;
	__u32 ingress = p->ingress; /* p's own address must not leave the function */
	const struct bpfw_port *port = bpf_map_lookup_elem(&ports, &ingress);

	if (p->bare)
		return true;
	if ((void *)(eth + 1) > p->data_end || !port)
		return false;
	for (__u32 i = 0; i < PORT_MACS; i++)
		if (i < port->macs && mac_equal(eth->h_dest, port->mac[i]))
			return true;
	return false;
}

#endif /* BPFW_CANDIDATE_H */
