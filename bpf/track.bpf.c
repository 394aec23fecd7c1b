/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of a packet's connection, for rulesets that ask about it: stands between the filter's
 * entry program and its judge, and tells by the kernel's own conntrack entries. An object of its
 * own, because it needs the kernel's BTF, which the filter does without.
 *
 * A packet that comes in is judged before conntrack has seen it: its state is what conntrack is
 * going to say, nf_conntrack_in() and resolve_normal_ct() in net/netfilter/nf_conntrack_core.c. A
 * packet that goes out brings what conntrack has said.
 */
#include "filter_parse.h"
#include "track_conntrack.h"

const volatile __u32 judge_stages[2] = {}; /* of the ruleset's judges: at TC, at XDP */

/* ---- What an entry says ----------------------------------------------------------- */

static __always_inline __u16 status_bits(unsigned long status)
{
	return (status & CT_EXPECTED ? FILTER_STATE_EXPECTED : 0) |
	       (status & CT_SEEN_REPLY ? FILTER_STATE_SEEN_REPLY : 0) |
	       (status & CT_SRC_NAT ? FILTER_STATE_SNAT : 0) |
	       (status & CT_DST_NAT ? FILTER_STATE_DNAT : 0);
}

/* resolve_normal_ct(); a reply makes it one that has seen replies before rules are asked. */
static __always_inline __u16 state_of_entry(unsigned long status, bool reply)
{
	__u16 bits = status_bits(status);

	if (reply)
		return FILTER_STATE_ESTABLISHED | FILTER_STATE_REPLY | FILTER_STATE_SEEN_REPLY |
		       bits;
	if (status & CT_SEEN_REPLY)
		return FILTER_STATE_ESTABLISHED | bits;
	return (status & CT_EXPECTED ? FILTER_STATE_RELATED : FILTER_STATE_NEW) | bits;
}

/* ---- Packets that come in ------------------------------------------------------------ */

static __always_inline __u16 state_without_entry(const struct filter_walk *walk)
{
	if (walk->protocol == IPPROTO_UDP)
		return FILTER_STATE_NEW;
	if (walk->protocol == IPPROTO_TCP &&
	    (walk->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN)
		return FILTER_STATE_NEW;
	return FILTER_STATE_INVALID;
}

/*
 * Where NAT before routing (nf_nat_packet(), NF_NAT_MANIP_DST) will send the packet: to where
 * packets of the other direction come from. Rules are asked after it.
 */
static __always_inline void translate_destination(struct filter_walk *walk,
						  const struct nf_conn___bpfw *ct, bool reply)
{
	__be16 port;

	if (reply) {
		port = ct->tuplehash[0].tuple.src.u.all;
		walk->destination[0] = ct->tuplehash[0].tuple.src.u3.all[0];
		if (is_ipv6) {
			walk->destination[1] = ct->tuplehash[0].tuple.src.u3.all[1];
			walk->destination[2] = ct->tuplehash[0].tuple.src.u3.all[2];
			walk->destination[3] = ct->tuplehash[0].tuple.src.u3.all[3];
		}
		asm volatile("" ::: "memory"); /* keep the branches apart: fixed offsets */
	} else {
		port = ct->tuplehash[1].tuple.src.u.all;
		walk->destination[0] = ct->tuplehash[1].tuple.src.u3.all[0];
		if (is_ipv6) {
			walk->destination[1] = ct->tuplehash[1].tuple.src.u3.all[1];
			walk->destination[2] = ct->tuplehash[1].tuple.src.u3.all[2];
			walk->destination[3] = ct->tuplehash[1].tuple.src.u3.all[3];
		}
	}
	walk->destination_port = bpf_ntohs(port);
}

static __always_inline void fill_ends(struct ends *ends, const struct filter_walk *walk)
{
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		ends->source[i] = walk->source[i];
		ends->destination[i] = walk->destination[i];
	}
	ends->source_port = bpf_htons(walk->source_port);
	ends->destination_port = bpf_htons(walk->destination_port);
}

static __always_inline void track_in(struct filter_walk *walk, struct frame *frame)
{
	struct nf_conn___bpfw *ct;
	struct ends ends = {};
	bool reply;

	if (!walk->has_ports || (walk->protocol != IPPROTO_TCP && walk->protocol != IPPROTO_UDP))
		return;
	fill_ends(&ends, walk);
	ct = find_connection(frame, &ends, walk->protocol, &reply);
	if (!ct) {
		walk->state = state_without_entry(walk);
		return;
	}
	walk->state = state_of_entry(ct->status, reply);
	translate_destination(walk, ct, reply);
	bpf_ct_release(ct);
}

/* ---- Packets that go out --------------------------------------------------------------- */

static __always_inline __u16 state_of_info(__u32 info, unsigned long status)
{
	__u16 bits = status_bits(status);

	switch (info) {
	case CT_INFO_ESTABLISHED:
		return FILTER_STATE_ESTABLISHED | bits;
	case CT_INFO_ESTABLISHED_REPLY:
		return FILTER_STATE_ESTABLISHED | FILTER_STATE_REPLY | bits;
	case CT_INFO_RELATED:
		return FILTER_STATE_RELATED | bits;
	case CT_INFO_RELATED_REPLY:
		return FILTER_STATE_RELATED | FILTER_STATE_REPLY | bits;
	case CT_INFO_NEW:
		/* What NAT behind routing has done to the first packet, rules did not see. */
		return FILTER_STATE_NEW | (bits & ~FILTER_STATE_SNAT);
	default:
		return FILTER_STATE_INVALID;
	}
}

/* Where the packet came from before NAT behind routing: rules were asked before it. */
static __always_inline void translate_source(struct filter_walk *walk,
					     const struct nf_conn___bpfw *ct, bool reply)
{
	struct {
		__be32 address[4];
		__be16 port;
	} source = {};

	if (reply) {
		bpf_core_read(&source.address, sizeof(source.address),
			      &ct->tuplehash[1].tuple.src.u3);
		bpf_core_read(&source.port, sizeof(source.port), &ct->tuplehash[1].tuple.src.u.all);
	} else {
		bpf_core_read(&source.address, sizeof(source.address),
			      &ct->tuplehash[0].tuple.src.u3);
		bpf_core_read(&source.port, sizeof(source.port), &ct->tuplehash[0].tuple.src.u.all);
	}
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		walk->source[i] = source.address[i];
	if (walk->has_ports)
		walk->source_port = bpf_ntohs(source.port);
}

static __always_inline void track_out(struct filter_walk *walk, struct frame *frame)
{
	const struct sk_buff___bpfw *skb = (const void *)frame->skb;
	const struct nf_conn___bpfw *ct;
	unsigned long nfct = 0, status = 0;
	__u32 info;

	bpf_core_read(&nfct, sizeof(nfct), &skb->_nfct);
	info = nfct & CT_INFO_MASK;
	ct = (const void *)(nfct & ~CT_INFO_MASK);
	if (!ct) {
		walk->state = info == CT_INFO_UNTRACKED ? FILTER_STATE_UNTRACKED :
							  state_without_entry(walk);
		return;
	}
	bpf_core_read(&status, sizeof(status), &ct->status);
	walk->state = state_of_info(info, status);
	translate_source(walk, ct, info >= CT_INFO_ESTABLISHED_REPLY);
}

/* ---- Programs ---------------------------------------------------------------------------- */

static __always_inline int track(struct frame *frame)
{
	struct filter_walk *walk = own_walk();

	use_whole_stack();
	if (!walk)
		return frame_drop(frame);
	frame_load(frame);
	walk->state = FILTER_STATE_INVALID;
	walk->parsed = parse_packet(walk, frame);
	if (walk->parsed == PARSED && !frame->is_xdp && walk->outgoing)
		track_out(walk, frame);
	else if (walk->parsed == PARSED)
		track_in(walk, frame);
	call_stage(frame, judge_stages[frame->is_xdp]);
	/* The judge's place is empty: other rules are in force now. */
	call_stage(frame, family_stage());
	return frame_drop(frame);
}

SEC("xdp")
int track_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };

	return track(&frame);
}

SEC("tc")
int track_tc(struct __sk_buff *ctx)
{
	struct frame frame = { .skb = ctx };

	return track(&frame);
}

char LICENSE[] SEC("license") = "GPL";
