/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk of a packet: parse, look up, decide, and only then rewrite and redirect.
 * Until rewrite_ipv4()/rewrite_ipv6() a packet is as it came, so that every way to
 * pass() hands the stack what the wire brought.
 */
#ifndef BPFW_WALK_H
#define BPFW_WALK_H

#include "candidate.h"
#include "control.h"
#include "parse.h"
#include "rewrite.h"

/* A forged FIN or RST may come at any rate; the daemon hears of it this often at most. */
#define CONTROL_BACKOFF_LIMIT 5 /* 2^5 jiffies, 320 ms at 100 Hz */

static __always_inline int pass(const struct packet *p, enum exit_reason reason)
{
	count_exit(reason);
	return packet_pass(p);
}

/* TCP that is not plain data or acknowledgement, as tcp_valid_flags[] of conntrack has it. */
static __always_inline bool is_control(const struct packet *p)
{
	return p->protocol == IPPROTO_TCP &&
	       (p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK)) != TCP_ACK;
}

/* Is the flow one for this packet? Returns the reason to pass, or PARSE_OK. */
static __always_inline int check_hit(const struct packet *p, const struct bpfw_action *action)
{
	const struct ethhdr *eth = p->data;

	if ((void *)(eth + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	if (!mac_equal(eth->h_dest, action->ingress_mac))
		return REASON(EXIT_OTHER_MAC);
	if (action->verdict == FLOW_PASS)
		return REASON(EXIT_FLOW_PASS);
	return PARSE_OK;
}

/* Can this packet's checksum have been left to hardware, unseen (see checksum.h)? */
static __always_inline bool may_lack_checksum(const struct packet *p)
{
	return p->xdp && detect_partial;
}

/* May the packet leave as it is? Returns the reason to pass, or PARSE_OK. */
static __always_inline int check_ipv4(const struct packet *p, const struct bpfw_action *action)
{
	const struct iphdr *ip = p->data + ETH_HLEN;
	const __sum16 *check = (void *)(ip + 1) + l4_check_offset(p);

	if ((void *)(ip + 1) > p->data_end || (void *)(check + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	if (!csum_ipv4_ok(ip))
		return REASON(EXIT_IP_CHECKSUM);
	if (packet_segment_len(p, IPV4_HLEN) > action->mtu)
		return REASON(EXIT_MTU);
	if (may_lack_checksum(p) && csum_looks_partial4(ip, p->l3_len - IPV4_HLEN, *check))
		return REASON(EXIT_PARTIAL);
	return PARSE_OK;
}

static __always_inline int check_ipv6(const struct packet *p, const struct bpfw_action *action)
{
	const struct ipv6hdr *ip6 = p->data + ETH_HLEN;
	const __sum16 *check = (void *)(ip6 + 1) + l4_check_offset(p);

	if ((void *)(ip6 + 1) > p->data_end || (void *)(check + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	if (packet_segment_len(p, IPV6_HLEN) > action->mtu)
		return REASON(EXIT_MTU);
	if (may_lack_checksum(p) && csum_looks_partial6(ip6, p->l3_len - IPV6_HLEN, *check))
		return REASON(EXIT_PARTIAL);
	return PARSE_OK;
}

/*
 * The flow is active, and its TCP has come this far. That holds for a packet that is left
 * to the stack as well: what control_judge() goes by must not be older than the flow.
 */
static __always_inline void track(const struct packet *p, struct bpfw_action *action)
{
	action->last_seen = p->now;
	if (p->protocol == IPPROTO_TCP) {
		action->seq_end = p->seq_end;
		action->ack = p->ack;
		action->window = p->window;
	}
}

/* A packet of a flow that the stack has to forward. */
static __always_inline int pass_tracked(const struct packet *p, struct bpfw_action *action,
					enum exit_reason reason)
{
	if (reason != EXIT_IP_CHECKSUM) {
		track(p, action);
		action->flags |= FLOW_TRACKED;
	}
	return pass(p, reason);
}

/*
 * Counters are plain words: a flow's packets come in on one CPU at a time (RSS, RPS),
 * and where two CPUs do race, a packet more or less in a counter is cheaper than a
 * locked instruction on every packet.
 */
static __always_inline void account(const struct packet *p, struct bpfw_action *action)
{
	track(p, action);
	action->packets++;
	action->bytes += p->l3_len;
}

static __always_inline void ipv4_miss(const struct packet *p, const struct bpfw_flow4_key *key)
{
	struct bpfw_signal *signal;

	if (!candidate_due(candidate_hash4(key, candidate_seed), p->now, candidate_threshold,
			   backoff_limit))
		return;
	signal = signal_reserve(p, SIGNAL_CANDIDATE, AF_INET);
	if (!signal)
		return;
	signal->key.v4 = *key;
	bpf_ringbuf_submit(signal, 0);
}

/* A closing flow has had its say; only a SYN is news, as it takes over the ports. */
static __always_inline bool is_worth_judging(const struct packet *p,
					     const struct bpfw_action *action)
{
	if (action->verdict == FLOW_PASS)
		return p->tcp_flags & TCP_SYN;
	return p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST);
}

static __always_inline void ipv4_control(const struct packet *p, const struct bpfw_flow4_key *key)
{
	struct bpfw_flow4 *flow = bpf_map_lookup_elem(&flows4, key);
	struct bpfw_flow4_key reverse;
	struct bpfw_signal *signal;
	struct bpfw_flow4 *other;
	__u8 verdict;

	if (!flow || !is_worth_judging(p, &flow->action))
		return;
	flow4_reverse_key(&reverse, flow, key->protocol);
	other = bpf_map_lookup_elem(&flows4, &reverse);
	verdict = control_decide(p, &flow->action, other ? &other->action : NULL, IPV4_HLEN);
	if (verdict != CONTROL_GENUINE &&
	    !candidate_due(candidate_hash4(key, ~candidate_seed), p->now, 1, CONTROL_BACKOFF_LIMIT))
		return;
	signal = signal_reserve(p, SIGNAL_CONTROL, AF_INET);
	if (!signal)
		return;
	signal->verdict = verdict;
	signal->key.v4 = *key;
	bpf_ringbuf_submit(signal, 0);
}

static __always_inline int walk_ipv4(struct packet *p)
{
	struct bpfw_flow4_key key;
	struct bpfw_flow4 *flow;
	int reason = parse_ipv4(p, &key);
	int verdict;

	if (reason != PARSE_OK)
		return pass(p, reason);
	if (is_control(p)) {
		ipv4_control(p, &key);
		return pass(p, EXIT_TCP_CONTROL);
	}
	flow = bpf_map_lookup_elem(&flows4, &key);
	if (!flow) {
		if (!addressed_to_port(p))
			return pass(p, EXIT_OTHER_MAC);
		ipv4_miss(p, &key);
		return pass(p, EXIT_MISS);
	}
	reason = check_hit(p, &flow->action);
	if (reason != PARSE_OK)
		return pass(p, reason);
	reason = check_ipv4(p, &flow->action);
	if (reason != PARSE_OK)
		return pass_tracked(p, &flow->action, reason);
	if (flow->action.verdict == FLOW_DROP) {
		account(p, &flow->action);
		count_exit(EXIT_BLACKHOLE);
		return packet_drop(p);
	}
	if (!packet_aim(p, flow->action.egress, &verdict))
		return pass(p, EXIT_NO_EGRESS);
	if (!packet_trim(p, ETH_HLEN + IPV4_HLEN + p->l4_header_len))
		return pass(p, EXIT_ADJUST);
	account(p, &flow->action);
	rewrite_ipv4(p, flow);
	return verdict;
}

static __always_inline void ipv6_miss(const struct packet *p, const struct bpfw_flow6_key *key)
{
	struct bpfw_signal *signal;

	if (!candidate_due(candidate_hash6(key, candidate_seed), p->now, candidate_threshold,
			   backoff_limit))
		return;
	signal = signal_reserve(p, SIGNAL_CANDIDATE, AF_INET6);
	if (!signal)
		return;
	signal->key.v6 = *key;
	bpf_ringbuf_submit(signal, 0);
}

static __always_inline void ipv6_control(const struct packet *p, const struct bpfw_flow6_key *key)
{
	struct bpfw_flow6 *flow = bpf_map_lookup_elem(&flows6, key);
	struct bpfw_flow6_key reverse;
	struct bpfw_signal *signal;
	struct bpfw_flow6 *other;
	__u8 verdict;

	if (!flow || !is_worth_judging(p, &flow->action))
		return;
	flow6_reverse_key(&reverse, flow, key->protocol);
	other = bpf_map_lookup_elem(&flows6, &reverse);
	verdict = control_decide(p, &flow->action, other ? &other->action : NULL, IPV6_HLEN);
	if (verdict != CONTROL_GENUINE &&
	    !candidate_due(candidate_hash6(key, ~candidate_seed), p->now, 1, CONTROL_BACKOFF_LIMIT))
		return;
	signal = signal_reserve(p, SIGNAL_CONTROL, AF_INET6);
	if (!signal)
		return;
	signal->verdict = verdict;
	signal->key.v6 = *key;
	bpf_ringbuf_submit(signal, 0);
}

static __always_inline int walk_ipv6(struct packet *p)
{
	struct bpfw_flow6_key key;
	struct bpfw_flow6 *flow;
	int reason = parse_ipv6(p, &key);
	int verdict;

	if (reason != PARSE_OK)
		return pass(p, reason);
	if (is_control(p)) {
		ipv6_control(p, &key);
		return pass(p, EXIT_TCP_CONTROL);
	}
	flow = bpf_map_lookup_elem(&flows6, &key);
	if (!flow) {
		if (!addressed_to_port(p))
			return pass(p, EXIT_OTHER_MAC);
		ipv6_miss(p, &key);
		return pass(p, EXIT_MISS);
	}
	reason = check_hit(p, &flow->action);
	if (reason != PARSE_OK)
		return pass(p, reason);
	reason = check_ipv6(p, &flow->action);
	if (reason != PARSE_OK)
		return pass_tracked(p, &flow->action, reason);
	if (flow->action.verdict == FLOW_DROP) {
		account(p, &flow->action);
		count_exit(EXIT_BLACKHOLE);
		return packet_drop(p);
	}
	if (!packet_aim(p, flow->action.egress, &verdict))
		return pass(p, EXIT_NO_EGRESS);
	if (!packet_trim(p, ETH_HLEN + IPV6_HLEN + p->l4_header_len))
		return pass(p, EXIT_ADJUST);
	account(p, &flow->action);
	rewrite_ipv6(p, flow);
	return verdict;
}

static __always_inline int walk(struct packet *p)
{
	const struct ethhdr *eth = p->data;
	__u64 now = bpf_jiffies64();
	__be16 type;

	if (!packet_has(p, ETH_HLEN))
		return pass(p, EXIT_TRUNCATED);
	eth = p->data;
	if (eth->h_dest[0] & 1)
		return pass(p, EXIT_GROUP_ADDRESS);
	type = eth->h_proto;
	/* TC: a tag that hardware took off the frame, or that the kernel untagged early */
	if ((p->skb && p->skb->vlan_present) || type == bpf_htons(ETH_P_8021Q) ||
	    type == bpf_htons(ETH_P_8021AD))
		return pass(p, EXIT_VLAN);
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6))
		return pass(p, EXIT_ETHERTYPE);
	if ((__s64)(valid_until - now) < 0)
		return pass(p, EXIT_STALE);
	p->now = (__u32)now;
	return type == bpf_htons(ETH_P_IP) ? walk_ipv4(p) : walk_ipv6(p);
}

#endif /* BPFW_WALK_H */
