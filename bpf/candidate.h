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
 * One more packet of the tuple: returns its candidate when it is time to signal the daemon, else
 * NULL. The first signal comes with packet `threshold`, each further one after twice the time,
 * 2^limit jiffies at most.
 */
static __always_inline struct bpfw_candidate *candidate_due(__u64 hash, __u32 now, __u32 threshold)
{
	struct bpfw_candidate *candidate = candidate_find(hash, now);

	if (!candidate)
		return NULL;
	candidate->last = now;
	if (candidate->count < threshold) {
		candidate->count++;
		if (candidate->count < threshold)
			return NULL;
	}
	return (__s32)(now - candidate->next) < 0 ? NULL : candidate;
}

/* A signal that found the ring full does not count: the next packet tries again. */
static __always_inline void candidate_signalled(struct bpfw_candidate *candidate, __u32 now,
						__u32 limit)
{
	__u32 backoff = candidate->attempts < limit ? candidate->attempts : limit;

	candidate->next = now + (1U << (backoff & 31));
	candidate->attempts++;
}

static __always_inline bool signal_send(const struct bpfw_signal *signal)
{
	bool sent = !bpf_ringbuf_output(&signals, (void *)signal, sizeof(*signal), 0);

	count_exit(sent ? EXIT_SIGNAL : EXIT_SIGNAL_LOST);
	return sent;
}

/* What the packet has to tell; `signal` is all zero before, its gaps are sent as well. */
static __always_inline void signal_fill(struct bpfw_signal *signal, const struct packet *p,
					const union flow_key *key, __u8 kind, bool v6)
{
	const struct tcp_progress progress = packet_tcp_progress(p, v6);

	signal->kind = kind;
	signal->family = v6 ? AF_INET6 : AF_INET;
	signal->verdict = CONTROL_ASK;
	signal->tcp_flags = p->tcp_flags;
	signal->seq = progress.seq_end;
	signal->seq_start = progress.seq;
	signal->ack = progress.ack;
	signal->window = progress.window;
	if (v6)
		signal->key.v6 = key->v6;
	else
		signal->key.v4 = key->v4;
}

/*
 * Functions that the rare paths call are not inlined: they would be there once for each copy of
 * the walk, and what they are given would be kept in memory on the common path.
 */
static __noinline int signal_candidate(const struct bpfw_signal *signal, __u32 now)
{
	__u64 hash = signal->family == AF_INET6 ? candidate_hash6(&signal->key.v6, candidate_seed) :
						  candidate_hash4(&signal->key.v4, candidate_seed);

	struct bpfw_candidate *candidate = candidate_due(hash, now, candidate_threshold);

	if (candidate && signal_send(signal))
		candidate_signalled(candidate, now, backoff_limit);
	return 0;
}

/* A forged FIN or RST may come at any rate; the daemon hears of it this often at most. */
#define CONTROL_BACKOFF_LIMIT 5 /* 2^5 jiffies, 320 ms at 100 Hz */

static __noinline int signal_control(const struct bpfw_signal *signal, __u32 now)
{
	__u64 hash = signal->family == AF_INET6 ?
			     candidate_hash6(&signal->key.v6, ~candidate_seed) :
			     candidate_hash4(&signal->key.v4, ~candidate_seed);
	struct bpfw_candidate *candidate;

	if (signal->verdict == CONTROL_GENUINE) {
		signal_send(signal);
		return 0;
	}
	candidate = candidate_due(hash, now, 1);
	if (candidate && signal_send(signal))
		candidate_signalled(candidate, now, CONTROL_BACKOFF_LIMIT);
	return 0;
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
