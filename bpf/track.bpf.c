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
#include "track_fragment.h"
#include "track_icmp.h"
#include "track_other.h"
#include "track_tcp.h"

const volatile __u32 judge_stage = 0;    /* of the ruleset's judges */
const volatile bool used_tuples = false; /* rules count connections */

/* ---- Which connection it is, for connlimit ---------------------------------------- */

/* nf_ct_get_tuplepr(): what conntrack would call the packet if it had not seen it. */
static __always_inline void note_packet(struct filter_walk *walk, struct frame *frame)
{
	const __u8 *header;

	for (int i = 0; i < 4; i++) {
		walk->own.source[i] = !i || is_ipv6 ? walk->source[i] : 0;
		walk->own.destination[i] = !i || is_ipv6 ? walk->destination[i] : 0;
	}
	walk->own.protocol = walk->protocol;
	walk->own.source_port = 0;
	walk->own.destination_port = 0;
	walk->has_own = !walk->fragment;
	walk->reopens = 0;
	if (walk->has_ports) {
		walk->own.source_port = bpf_htons(walk->source_port);
		walk->own.destination_port = bpf_htons(walk->destination_port);
	} else if (has_conntrack_ports(walk->protocol)) {
		walk->has_own = 0;
	} else if (is_icmp(walk->protocol) && walk->has_own) {
		header = packet_bytes(walk, frame, walk->l4, ICMP_HLEN);
		walk->has_own = !!header;
		if (!header)
			return;
		walk->own.source_port = *(const __be16 *)(header + 4);
		walk->own.destination_port = type_and_code(header[0], header[1]);
	}
}

/* An entry's, in the direction in which it began. */
static __always_inline void note_entry(struct filter_walk *walk, const struct nf_conn___bpfw *ct)
{
	struct filter_tuple *own = &walk->own;

	if (!used_tuples)
		return;
	bpf_core_read(own->source, sizeof(own->source), &ct->tuplehash[0].tuple.src.u3);
	bpf_core_read(own->destination, sizeof(own->destination), &ct->tuplehash[0].tuple.dst.u3);
	bpf_core_read(&own->source_port, sizeof(own->source_port),
		      &ct->tuplehash[0].tuple.src.u.all);
	bpf_core_read(&own->destination_port, sizeof(own->destination_port),
		      &ct->tuplehash[0].tuple.dst.u.all);
	bpf_core_read(&own->protocol, sizeof(own->protocol), &ct->tuplehash[0].tuple.dst.protonum);
	walk->has_own = 1;
}

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
		asm volatile("" ::: "memory"); /* branches stay apart: fixed offsets */
	} else {
		port = ct->tuplehash[1].tuple.src.u.all;
		walk->destination[0] = ct->tuplehash[1].tuple.src.u3.all[0];
		if (is_ipv6) {
			walk->destination[1] = ct->tuplehash[1].tuple.src.u3.all[1];
			walk->destination[2] = ct->tuplehash[1].tuple.src.u3.all[2];
			walk->destination[3] = ct->tuplehash[1].tuple.src.u3.all[3];
		}
	}
	if (walk->has_ports)
		walk->destination_port = bpf_ntohs(port);
}

/* The same for an entry that is known by its address only. */
static __always_inline void translate_other(struct filter_walk *walk, const struct other *other)
{
	const struct nf_conn___bpfw *ct = other->ct;
	__be32 address[4] = {};

	if (other->reply)
		bpf_core_read(address, sizeof(address), &ct->tuplehash[0].tuple.src.u3);
	else
		bpf_core_read(address, sizeof(address), &ct->tuplehash[1].tuple.src.u3);
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		walk->destination[i] = address[i];
}

static __always_inline void fill_ends(struct ends *ends, const struct filter_walk *walk)
{
	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++) {
		ends->source[i] = walk->source[i];
		ends->destination[i] = walk->destination[i];
	}
	if (walk->has_ports) {
		ends->source_port = bpf_htons(walk->source_port);
		ends->destination_port = bpf_htons(walk->destination_port);
	}
}

/* The first packet of a connection: conntrack asks the table nat where to. */
static __always_inline void begin_connection(struct filter_walk *walk)
{
	walk->state = FILTER_STATE_NEW;
	walk->nat = FILTER_NAT_ASK;
}

static __always_inline void track_tcp(struct filter_walk *walk, struct frame *frame)
{
	enum tcp_verdict verdict;
	struct nf_conn___bpfw *ct;
	struct segment segment;
	struct ends ends = {};
	bool reply;

	if (!walk->has_ports || !read_segment(&segment, walk, frame))
		return;
	fill_ends(&ends, walk);
	ct = find_connection(frame, &ends, IPPROTO_TCP, &reply);
	if (!ct) {
		if (can_begin(&segment, frame))
			begin_connection(walk);
		return;
	}
	verdict = judge_segment(ct, reply, &segment);
	if (verdict == TCP_VALID) {
		walk->state = state_of_entry(ct->status, reply);
		note_entry(walk, ct);
		translate_destination(walk, ct, reply);
	} else if (verdict == TCP_REOPENS) {
		walk->reopens = 1;
		begin_connection(walk);
	}
	bpf_ct_release(ct);
}

/* udp_error(), but for the checksum. A first fragment is looked at when all are together. */
static __always_inline bool is_valid_udp(const struct filter_walk *walk, struct frame *frame)
{
	const __u8 *header = packet_bytes(walk, frame, walk->l4, UDP_HLEN);
	__u32 length;

	if (!header)
		return false;
	length = bpf_ntohs(*(const __be16 *)(header + 4));
	return walk->first_of_many ||
	       (length >= UDP_HLEN && length <= walk->length - (walk->l4 - walk->l3));
}

static __always_inline void track_udp(struct filter_walk *walk, struct frame *frame)
{
	struct nf_conn___bpfw *ct;
	struct ends ends = {};
	bool reply;

	if (!walk->has_ports || !is_valid_udp(walk, frame))
		return;
	fill_ends(&ends, walk);
	ct = find_connection(frame, &ends, IPPROTO_UDP, &reply);
	if (!ct) {
		begin_connection(walk);
		return;
	}
	walk->state = state_of_entry(ct->status, reply);
	note_entry(walk, ct);
	translate_destination(walk, ct, reply);
	bpf_ct_release(ct);
}

/* A packet with this tuple, of a protocol of which only learnt entries are known. */
static __always_inline bool track_known(struct filter_walk *walk, const struct frame *frame,
					const struct other_tuple *tuple)
{
	struct other other;

	if (!find_other(&other, frame, tuple))
		return false;
	walk->state = state_of_entry(other.status, other.reply);
	note_entry(walk, other.ct);
	translate_other(walk, &other);
	return true;
}

static __always_inline __u16 related(unsigned long status, bool reply)
{
	return FILTER_STATE_RELATED | (reply ? FILTER_STATE_REPLY : 0) | status_bits(status);
}

static __always_inline void track_icmp_error(struct filter_walk *walk, struct frame *frame)
{
	struct other_tuple answer = {};
	struct nf_conn___bpfw *ct;
	struct other other;
	bool reply;

	if (!read_quoted(&answer, walk, frame) || !goes_where_answers_go(&answer, walk))
		return;
	if (answer.protocol == IPPROTO_TCP || answer.protocol == IPPROTO_UDP) {
		ct = find_connection(frame, &answer.ends, answer.protocol, &reply);
		if (!ct)
			return;
		walk->state = related(ct->status, reply);
		note_entry(walk, ct);
		translate_destination(walk, ct, reply);
		bpf_ct_release(ct);
		return;
	}
	if (!find_other(&other, frame, &answer))
		return;
	walk->state = related(other.status, other.reply);
	note_entry(walk, other.ct);
	translate_other(walk, &other);
}

static __always_inline void track_icmp(struct filter_walk *walk, struct frame *frame)
{
	struct other_tuple tuple = { .protocol = walk->protocol,
				     .family = is_ipv6 ? AF_INET6 : AF_INET };
	const __u8 *header = packet_bytes(walk, frame, walk->l4, ICMP_HLEN);

	if (!header)
		return;
	if (is_untracked_icmp(header[0])) {
		walk->state = FILTER_STATE_UNTRACKED;
		return;
	}
	if (is_icmp_error(header[0])) {
		track_icmp_error(walk, frame);
		return;
	}
	if (inverse_type(header[0]) > 0xff)
		return;
	fill_ends(&tuple.ends, walk);
	tuple.ends.source_port = *(const __be16 *)(header + 4);
	tuple.ends.destination_port = type_and_code(header[0], header[1]);
	if (!track_known(walk, frame, &tuple) && is_question(walk->icmp_type))
		begin_connection(walk);
}

/*
 * Protocols that conntrack has no more of than the addresses begin with any packet. Those whose
 * states are not known here (SCTP, DCCP) stay INVALID, and so does GRE's version 1 (PPTP).
 */
static __always_inline void track_generic(struct filter_walk *walk, struct frame *frame)
{
	struct other_tuple tuple = { .protocol = walk->protocol,
				     .family = is_ipv6 ? AF_INET6 : AF_INET };

	if (walk->protocol == IPPROTO_SCTP || walk->protocol == IPPROTO_DCCP)
		return;
	if (walk->protocol == IPPROTO_GRE) {
		const __u8 *header = packet_bytes(walk, frame, walk->l4, 4);

		if (!header || (header[1] & 7))
			return;
	}
	fill_ends(&tuple.ends, walk);
	if (!track_known(walk, frame, &tuple))
		begin_connection(walk);
}

static __always_inline void track_whole(struct filter_walk *walk, struct frame *frame)
{
	if (walk->protocol == IPPROTO_TCP)
		track_tcp(walk, frame);
	else if (walk->protocol == IPPROTO_UDP)
		track_udp(walk, frame);
	else if (is_icmp(walk->protocol))
		track_icmp(walk, frame);
	else
		track_generic(walk, frame);
}

static __always_inline void track_in(struct filter_walk *walk, struct frame *frame)
{
	struct fragment_key key = {};

	if (walk->fragment || walk->first_of_many)
		fill_fragment_key(&key, walk); /* before the addresses are translated */
	if (walk->fragment) {
		recall_fragment(&key, walk);
		return;
	}
	track_whole(walk, frame);
	if (walk->first_of_many && walk->state != FILTER_STATE_INVALID)
		remember_fragment(&key, walk);
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

/*
 * No entry: conntrack has called it invalid, or has not seen it, as what a packet socket sends. A
 * packet that would have begun a connection is of the second kind.
 */
static __always_inline __u16 state_of_unseen(const struct filter_walk *walk)
{
	bool begins = walk->has_l4 && (walk->protocol == IPPROTO_UDP ||
				       (walk->protocol == IPPROTO_TCP &&
					tcp_kind(walk->tcp_flags) == TCP_KIND_SYN) ||
				       (is_icmp(walk->protocol) && is_question(walk->icmp_type)));

	return begins ? FILTER_STATE_NEW : FILTER_STATE_INVALID;
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
							  state_of_unseen(walk);
		return;
	}
	learn(ct, is_ipv6 ? AF_INET6 : AF_INET);
	bpf_core_read(&status, sizeof(status), &ct->status);
	walk->state = state_of_info(info, status);
	note_entry(walk, ct);
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
	walk->nat = FILTER_NAT_NONE;
	walk->parsed = parse_packet(walk, frame);
	if (used_tuples && walk->parsed == PARSED)
		note_packet(walk, frame);
	if (walk->parsed == PARSED && !frame->is_xdp && walk->outgoing)
		track_out(walk, frame);
	else if (walk->parsed == PARSED)
		track_in(walk, frame);
	call_stage(frame, judge_stage);
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

/* A packet that goes out, and has been judged where it came in. */
SEC("tc")
int learn_tc(struct __sk_buff *ctx)
{
	const struct sk_buff___bpfw *skb = (const void *)ctx;
	unsigned long nfct = 0;
	const void *ct;

	bpf_core_read(&nfct, sizeof(nfct), &skb->_nfct);
	ct = (const void *)(nfct & ~CT_INFO_MASK);
	if (ct)
		learn(ct, ctx->protocol == bpf_htons(ETH_P_IPV6) ? AF_INET6 : AF_INET);
	return TC_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
