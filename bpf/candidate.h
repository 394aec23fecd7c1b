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
 * Functions that the rare paths call are not inlined: they would be there once for each copy of
 * the walk, and what they are given would be kept in memory on the common path. None returns a
 * candidate, lest the verifier follow each one of a set through the rest of the walk.
 */
static __always_inline struct bpfw_candidate *candidate_of(const union flow_key *key, __u64 seed,
							   __u32 now, bool v6)
{
	return candidate_find(
		v6 ? candidate_hash6(&key->v6, seed) : candidate_hash4(&key->v4, seed), now);
}

/*
 * One more packet of the tuple: is it time to signal the daemon? The first signal comes with packet
 * `threshold`, each further one after twice the time.
 */
static __noinline bool candidate_due(const union flow_key *key, __u64 seed, __u32 now,
				     __u32 threshold, bool v6)
{
	struct bpfw_candidate *candidate = candidate_of(key, seed, now, v6);

	if (!candidate)
		return false;
	candidate->last = now;
	if (candidate->count < threshold) {
		candidate->count++;
		if (candidate->count < threshold)
			return false;
	}
	return (__s32)(now - candidate->next) >= 0;
}

/* The next signal has to wait, 2^limit jiffies at most. */
static __noinline int candidate_signalled(const union flow_key *key, __u64 seed, __u32 now,
					  __u32 limit, bool v6)
{
	struct bpfw_candidate *candidate = candidate_of(key, seed, now, v6);
	__u32 backoff;

	if (!candidate)
		return 0;
	backoff = candidate->attempts < limit ? candidate->attempts : limit;
	candidate->next = now + (1U << (backoff & 31));
	candidate->attempts++;
	return 0;
}

/* What a packet has to tell beside its key. Zeroed before it is filled in: UDP has nothing. */
struct segment {
	struct tcp_progress progress;
	__u8 tcp_flags;
	__u8 verdict; /* enum control_verdict */
};

static __always_inline void segment_fill(struct segment *segment, const struct packet *p, bool v6)
{
	segment->progress = packet_tcp_progress(p, v6);
	segment->tcp_flags = p->tcp_flags;
	segment->verdict = CONTROL_ASK;
}

static __noinline bool signal_send(const union flow_key *key, const struct segment *segment,
				   __u8 kind, bool v6)
{
	struct bpfw_signal signal = { 0 }; /* its gaps are sent as well */
	bool sent;

	signal.kind = kind;
	signal.family = v6 ? AF_INET6 : AF_INET;
	signal.verdict = segment->verdict;
	signal.tcp_flags = segment->tcp_flags;
	signal.seq = segment->progress.seq_end;
	signal.seq_start = segment->progress.seq;
	signal.ack = segment->progress.ack;
	signal.window = segment->progress.window;
	if (v6)
		signal.key.v6 = key->v6;
	else
		signal.key.v4 = key->v4;
	sent = !bpf_ringbuf_output(&signals, &signal, sizeof(signal), 0);
	count_exit(sent ? EXIT_SIGNAL : EXIT_SIGNAL_LOST);
	return sent;
}

/* A candidate is due. If the ring is full its next packet tries again. */
static __noinline int signal_candidate(const union flow_key *key, const struct segment *segment,
				       __u32 now, bool v6)
{
	if (signal_send(key, segment, SIGNAL_CANDIDATE, v6))
		candidate_signalled(key, candidate_seed, now, backoff_limit, v6);
	return 0;
}

/* A forged FIN or RST may come at any rate; the daemon hears of it this often at most. */
#define CONTROL_BACKOFF_LIMIT 5 /* 2^5 jiffies, 320 ms at 100 Hz */

static __noinline int signal_control(const union flow_key *key, const struct segment *segment,
				     __u32 now, bool v6)
{
	const __u64 seed = ~candidate_seed;
	const bool always = segment->verdict == CONTROL_GENUINE;

	if (!always && !candidate_due(key, seed, now, 1, v6))
		return 0;
	if (signal_send(key, segment, SIGNAL_CONTROL, v6) && !always)
		candidate_signalled(key, seed, now, CONTROL_BACKOFF_LIMIT, v6);
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
