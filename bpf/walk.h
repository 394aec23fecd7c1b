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
#include "encapsulation.h"
#include "parse.h"
#include "rewrite.h"

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

/*
 * Is the frame addressed to the MAC that the flow came in for? A PPPoE session is one
 * with its peer's MAC as well (get_item() of the kernel's pppoe.c).
 */
static __always_inline bool addressed_to_flow(const struct packet *p,
					      const struct bpfw_action *action)
{
	const struct ethhdr *eth = p->data;

	if (p->bare)
		return true;
	if ((void *)(eth + 1) > p->data_end || !mac_equal(eth->h_dest, action->ingress_mac))
		return false;
	return !p->session || mac_equal(eth->h_source, action->session_mac);
}

/* Is the flow one for this packet? Returns the reason to pass, or PARSE_OK. */
static __always_inline int check_hit(const struct packet *p, const struct bpfw_action *action)
{
	if (!addressed_to_flow(p, action))
		return REASON(EXIT_OTHER_MAC);
	if (action->verdict == FLOW_PASS)
		return REASON(EXIT_FLOW_PASS);
	return PARSE_OK;
}

/* ip_rcv() drops a packet whose header checksum is wrong. IPv6 has none. */
static __always_inline bool header_ok(const struct packet *p, bool v6)
{
	const struct iphdr *ip = p->l3;

	return v6 || ((void *)(ip + 1) <= p->data_end && csum_ipv4_ok(ip));
}

/* Can this packet's checksum have been left to hardware, unseen (see checksum.h)? */
static __always_inline bool may_lack_checksum(const struct packet *p)
{
	return p->xdp && detect_partial;
}

/* Does the checksum look as if it had been left to hardware? */
static __always_inline bool looks_partial(const struct packet *p, __u16 check, bool v6)
{
	return v6 ? csum_looks_partial6(p->l3, p->l3_len - IPV6_HLEN, check) :
		    csum_looks_partial4(p->l3, p->l3_len - IPV4_HLEN, check);
}

/* May the packet leave as it is? Returns the reason to pass, or PARSE_OK. */
static __always_inline int check_packet(const struct packet *p, const struct bpfw_action *action,
					bool v6)
{
	const __u32 l3_header_len = v6 ? IPV6_HLEN : IPV4_HLEN;
	const __sum16 *check = p->l3 + l3_header_len + l4_check_offset(p);

	if (p->l3 + l3_header_len > p->data_end || (void *)(check + 1) > p->data_end)
		return REASON(EXIT_TRUNCATED);
	if (!header_ok(p, v6))
		return REASON(EXIT_IP_CHECKSUM);
	if (packet_segment_len(p, l3_header_len) > action->mtu)
		return REASON(EXIT_MTU);
	if (may_lack_checksum(p) && looks_partial(p, *check, v6))
		return REASON(EXIT_PARTIAL);
	return PARSE_OK;
}

/*
 * The flow is active, and its TCP has come this far. That holds for a packet that is left
 * to the stack as well: what control_judge() goes by must not be older than the flow.
 */
static __always_inline void track(const struct packet *p, struct bpfw_action *action, bool v6)
{
	action->last_seen = p->now;
	if (p->protocol == IPPROTO_TCP) {
		const struct tcp_progress progress = packet_tcp_progress(p, v6);

		action->seq_end = progress.seq_end;
		action->ack = progress.ack;
		action->window = progress.window;
	}
}

/* A packet of a flow that the stack has to forward. */
static __always_inline int pass_tracked(const struct packet *p, struct bpfw_action *action,
					enum exit_reason reason, bool v6)
{
	if (reason != EXIT_IP_CHECKSUM) {
		track(p, action, v6);
		action->flags |= FLOW_TRACKED;
	}
	return pass(p, reason);
}

/*
 * Counters are plain words: a flow's packets come in on one CPU at a time (RSS, RPS),
 * and where two CPUs do race, a packet more or less in a counter is cheaper than a
 * locked instruction on every packet.
 */
static __always_inline void account(const struct packet *p, struct bpfw_action *action, bool v6)
{
	track(p, action, v6);
	action->packets++;
	action->bytes += p->l3_len;
}

/* No flow. A packet for this port's own MAC makes its tuple a candidate. */
static __always_inline int miss(const struct packet *p, const union flow_key *key, bool v6)
{
	const union flow_key copy = *key; /* of which the calls may have the address */
	struct segment segment = { 0 };

	if (!addressed_to_port(p))
		return pass(p, EXIT_OTHER_MAC);
	if (candidate_due(&copy, candidate_seed, p->now, candidate_threshold, v6)) {
		segment_fill(&segment, p, v6);
		signal_candidate(&copy, &segment, p->now, v6);
	}
	return pass(p, EXIT_MISS);
}

/*
 * Only a segment that conntrack will see counts. A closing flow has had its say; a SYN is
 * news, as it takes over the ports.
 */
static __always_inline bool is_worth_judging(const struct packet *p,
					     const struct bpfw_action *action, bool v6)
{
	if (!addressed_to_flow(p, action) || !header_ok(p, v6))
		return false;
	if (action->verdict == FLOW_PASS)
		return p->tcp_flags & TCP_SYN;
	return p->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST);
}

static __always_inline int control(const struct packet *p, const union flow_key *key, bool v6)
{
	struct bpfw_action *own = flow_lookup_rarely(key, v6);
	const union flow_key copy = *key;
	struct segment segment = { 0 };
	union flow_key reverse;

	if (!own || !is_worth_judging(p, own, v6))
		return pass(p, EXIT_TCP_CONTROL);
	flow_reverse_key(&reverse, own, IPPROTO_TCP, p->switched, v6);
	segment_fill(&segment, p, v6);
	segment.verdict =
		control_decide(p, own, flow_lookup_rarely(&reverse, v6), segment.progress.seq);
	signal_control(&copy, &segment, p->now, v6);
	return pass(p, EXIT_TCP_CONTROL);
}

/*
 * TC: what has to be segmented, or get its checksum, before it gets a PPPoE header goes
 * through the ppp device, which sees to that. A checksum that looks unfinished by chance
 * takes that way too, and no harm is done.
 */
static __always_inline bool needs_ppp_device(const struct packet *p,
					     const struct bpfw_action *action, bool v6)
{
	const __sum16 *check = p->l3 + (v6 ? IPV6_HLEN : IPV4_HLEN) + l4_check_offset(p);

	if (p->xdp || !(action->flags & FLOW_PPPOE))
		return false;
	if (packet_is_gso(p))
		return true;
	return (void *)(check + 1) <= p->data_end && looks_partial(p, *check, v6);
}

/* The link header to leave with. */
static __always_inline struct link_out choose_link(const struct packet *p,
						   const struct bpfw_action *action, bool v6)
{
	struct link_out out = {
		.egress = action->egress,
		.len = action->link_len,
		.tags = action->tags,
		.pppoe = action->flags & FLOW_PPPOE,
	};

	if (p->switched && action->switch_egress)
		switch_resize(action, &out);
	if (needs_ppp_device(p, action, v6))
		out = (struct link_out){ .egress = action->gso_egress };
	return out;
}

/* Everything is decided: name the egress device, then change the packet. */
static __always_inline int forward(struct packet *p, struct bpfw_action *action, bool v6)
{
	const __u32 l3_header_len = v6 ? IPV6_HLEN : IPV4_HLEN;
	const struct link_out out = choose_link(p, action, v6);
	int verdict;

	if (!packet_aim(p, out.egress, &verdict))
		return pass(p, EXIT_NO_EGRESS);
	switch (link_resize(p, action, &out, l3_header_len + p->l4_header_len, v6)) {
	case LINK_READY:
		break;
	case LINK_REFUSED:
		return pass(p, EXIT_ADJUST);
	case LINK_BROKEN:
		count_exit(EXIT_ADJUST_DROP);
		return packet_drop(p);
	}
	account(p, action, v6);
	link_write(p, action, &out, v6);
	if (v6)
		rewrite_ipv6(p, flow6_of(action));
	else
		rewrite_ipv4(p, flow4_of(action));
	return verdict;
}

static __always_inline int hit(struct packet *p, struct bpfw_action *action, bool v6)
{
	int reason = check_hit(p, action);

	if (reason != PARSE_OK)
		return pass(p, reason);
	reason = check_packet(p, action, v6);
	if (reason != PARSE_OK)
		return pass_tracked(p, action, reason, v6);
	if (action->verdict == FLOW_DROP) {
		account(p, action, v6);
		count_exit(EXIT_BLACKHOLE);
		return packet_drop(p);
	}
	return forward(p, action, v6);
}

static __always_inline int walk_ip(struct packet *p, __u64 now, bool plain, bool v6)
{
	struct bpfw_action *action;
	union flow_key key;
	int reason;

	if ((__s64)(valid_until - now) < 0)
		return pass(p, EXIT_STALE);
	p->now = (__u32)now;
	reason = v6 ? parse_ipv6(p, &key) : parse_ipv4(p, &key);
	if (reason != PARSE_OK)
		return pass(p, reason);
	if (is_control(p))
		return control(p, &key, v6);
	action = plain ? flow_lookup(&key, v6) : flow_lookup_rarely(&key, v6);
	return action ? hit(p, action, v6) : miss(p, &key, v6);
}

/*
 * Frames without tags and PPPoE have a copy of the walk of their own, in which the compiler
 * knows that, and where the IP header is.
 */
static __always_inline int walk(struct packet *p)
{
	__u64 now = bpf_jiffies64();
	__be16 type;
	int reason;

	p->link_len = p->bare ? 0 : ETH_HLEN;
	packet_load(p);
	reason = p->bare ? parse_bare(p, &type) : parse_ethernet(p, &type);
	if (reason != PARSE_OK)
		return pass(p, reason);
	if (!p->bare) {
		if (is_plain(p, type, ETH_P_IP))
			return walk_ip(p, now, true, false);
		if (is_plain(p, type, ETH_P_IPV6))
			return walk_ip(p, now, true, true);
		reason = parse_encapsulation(p, &type);
		if (reason != PARSE_OK)
			return pass(p, reason);
	}
	if (type == bpf_htons(ETH_P_IP))
		return walk_ip(p, now, false, false);
	if (type == bpf_htons(ETH_P_IPV6))
		return walk_ip(p, now, false, true);
	return pass(p, EXIT_ETHERTYPE);
}

#endif /* BPFW_WALK_H */
