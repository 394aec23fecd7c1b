/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What conntrack is going to say about a TCP segment: the part of nf_conntrack_tcp_packet() and
 * tcp_in_window() (net/netfilter/nf_conntrack_proto_tcp.c) that decides whether it is valid.
 * Nothing is written: conntrack does that when the segment gets there.
 */
#ifndef BPFW_TRACK_TCP_H
#define BPFW_TRACK_TCP_H

#include "filter_parse.h"
#include "track_conntrack.h"

#define TCP_URG 0x20

/* enum tcp_conntrack */
enum tcp_state {
	TCP_STATE_NONE,
	TCP_STATE_SYN_SENT,
	TCP_STATE_SYN_RECV,
	TCP_STATE_ESTABLISHED,
	TCP_STATE_FIN_WAIT,
	TCP_STATE_CLOSE_WAIT,
	TCP_STATE_LAST_ACK,
	TCP_STATE_TIME_WAIT,
	TCP_STATE_CLOSE,
	TCP_STATE_SYN_SENT2,
};

#define IN(state) (1U << TCP_STATE_##state)

/* enum tcp_bit_set: what a segment is by its flags */
enum tcp_kind {
	TCP_KIND_SYN,
	TCP_KIND_SYN_ACK,
	TCP_KIND_FIN,
	TCP_KIND_ACK,
	TCP_KIND_RST,
	TCP_KIND_NONE,
};

/* IP_CT_TCP_FLAG_* */
#define SEEN_CLOSE_INIT 0x04
#define SEEN_LIBERAL 0x08
#define SEEN_MAXACK 0x20
#define SEEN_CHALLENGE_ACK 0x40 /* of last_flags: one is expected */

struct segment {
	__u32 seq, ack, end; /* host byte order; end is behind its data, SYN and FIN */
	__u16 window;
	__u8 flags;
};

enum tcp_verdict {
	TCP_VALID,
	TCP_INVALID,
	TCP_REOPENS, /* conntrack forgets the entry, and the segment begins a connection */
};

static __always_inline bool before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static __always_inline bool after(__u32 a, __u32 b)
{
	return before(b, a);
}

static __always_inline enum tcp_kind tcp_kind(__u8 flags)
{
	if (flags & TCP_RST)
		return TCP_KIND_RST;
	if (flags & TCP_SYN)
		return flags & TCP_ACK ? TCP_KIND_SYN_ACK : TCP_KIND_SYN;
	if (flags & TCP_FIN)
		return TCP_KIND_FIN;
	return flags & TCP_ACK ? TCP_KIND_ACK : TCP_KIND_NONE;
}

/* tcp_valid_flags[]: without ECE, CWR and PSH there are nine sets that make sense. */
static __always_inline bool has_valid_flags(__u8 flags)
{
	const __u64 valid = 1ULL << TCP_SYN | 1ULL << (TCP_SYN | TCP_URG) |
			    1ULL << (TCP_SYN | TCP_ACK) | 1ULL << TCP_RST |
			    1ULL << (TCP_RST | TCP_ACK) | 1ULL << (TCP_FIN | TCP_ACK) |
			    1ULL << (TCP_FIN | TCP_ACK | TCP_URG) | 1ULL << TCP_ACK |
			    1ULL << (TCP_ACK | TCP_URG);

	return valid >> (flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG)) & 1;
}

/* tcp_error(), but for the checksum. False: the segment is malformed. */
static __always_inline bool read_segment(struct segment *segment, const struct filter_walk *walk,
					 struct frame *frame)
{
	const __u8 *header = frame_bytes(frame, walk->l4, TCP_HLEN);
	__u32 length = walk->length - (walk->l4 - walk->l3), header_len;

	if (!header)
		return false;
	header_len = (header[TCP_OFFSET_BYTE] >> 4) * 4;
	if (header_len < TCP_HLEN || header_len > length)
		return false;
	segment->flags = header[TCP_FLAG_BYTE];
	segment->seq = bpf_ntohl(*(const __be32 *)(header + 4));
	segment->ack = bpf_ntohl(*(const __be32 *)(header + 8));
	segment->window = bpf_ntohs(*(const __be16 *)(header + 14));
	segment->end = segment->seq + length - header_len + !!(segment->flags & TCP_SYN) +
		       !!(segment->flags & TCP_FIN);
	return has_valid_flags(segment->flags);
}

/* tcp_new(): may conntrack begin with it? */
static __always_inline bool can_begin(const struct segment *segment, const struct frame *frame)
{
	enum tcp_kind kind = tcp_kind(segment->flags);

	return kind == TCP_KIND_SYN || (kind == TCP_KIND_ACK && is_loose(frame));
}

/* ---- In the window? ------------------------------------------------------------------- */

struct side {
	__u32 end, maxend, maxwin, maxack;
	__u8 scale, flags;
};

/* struct ip_ct_tcp of an entry, host byte order; sides as they are to the segment in hand */
struct tracked_tcp {
	struct side sender, receiver;
	__u32 last_ack, last_end;
	__u8 state, last_dir, last_index, last_flags;
};

/*
 * The record is in a union, into which verifiers before Linux 6.3 or so let nobody look: it is
 * copied, and its fields are taken from where CO-RE says that they are.
 */
#define TCP_COPY_MAX 96

#define COPIED(copy, type, field) \
	(*(const type *)((copy) + bpf_core_field_offset(struct ip_ct_tcp___bpfw, field)))

#define READ_SIDE(side, copy, direction)                                         \
	do {                                                                     \
		(side)->end = COPIED(copy, __u32, seen[direction].td_end);       \
		(side)->maxend = COPIED(copy, __u32, seen[direction].td_maxend); \
		(side)->maxwin = COPIED(copy, __u32, seen[direction].td_maxwin); \
		(side)->maxack = COPIED(copy, __u32, seen[direction].td_maxack); \
		(side)->scale = COPIED(copy, __u8, seen[direction].td_scale);    \
		(side)->flags = COPIED(copy, __u8, seen[direction].flags);       \
	} while (0)

static __always_inline void read_tracked(struct tracked_tcp *tracked,
					 const struct nf_conn___bpfw *ct, bool reply)
{
	char copy[TCP_COPY_MAX] __attribute__((aligned(8))) = {};

	bpf_probe_read_kernel(copy, bpf_core_type_size(struct ip_ct_tcp___bpfw),
			      __builtin_preserve_access_index(&ct->proto.tcp));
	READ_SIDE(&tracked->sender, copy, 0);
	READ_SIDE(&tracked->receiver, copy, 1);
	if (reply) {
		const struct side original = tracked->sender;

		tracked->sender = tracked->receiver;
		tracked->receiver = original;
	}
	tracked->last_ack = COPIED(copy, __u32, last_ack);
	tracked->last_end = COPIED(copy, __u32, last_end);
	tracked->state = COPIED(copy, __u8, state);
	tracked->last_dir = COPIED(copy, __u8, last_dir);
	tracked->last_index = COPIED(copy, __u8, last_index);
	tracked->last_flags = COPIED(copy, __u8, last_flags);
}

static __always_inline bool is_liberal(const struct side *sender, const struct nf_conn___bpfw *ct)
{
	const struct net___bpfw *net = ct->ct_net.net;

	return (sender->flags & SEEN_LIBERAL) || net->ct.nf_ct_proto.tcp.tcp_be_liberal;
}

/*
 * As if the segment were the first of its direction, or one that begins anew: what tcp_in_window()
 * does before it compares. Returns false where it then compares nothing.
 */
static __always_inline bool begin_side(struct side *sender, struct side *receiver,
				       const struct segment *segment, __u8 state, bool reply)
{
	const bool syn = segment->flags & TCP_SYN, ack = segment->flags & TCP_ACK;
	__u32 window = segment->window;

	if (sender->maxwin && !(syn && after(segment->end, sender->end) &&
				(state == TCP_STATE_SYN_SENT || state == TCP_STATE_SYN_RECV)))
		return true;
	if (syn) {
		const bool simultaneous = !sender->maxwin || reply;

		sender->end = segment->end;
		sender->maxend = segment->end;
		sender->maxwin = window ? window : 1;
		return ack || !simultaneous;
	}
	window <<= sender->scale & 15;
	sender->end = segment->end;
	sender->maxwin = window ? window : 1;
	sender->maxend = segment->end + sender->maxwin;
	if (!receiver->maxwin)
		receiver->end = segment->ack;
	else if (segment->ack == receiver->end + 1)
		receiver->end++;
	return true;
}

#define MAXACKWINDOW 66000

/* More than the receiver's window allows, but not much: conntrack lets it pass. */
static __always_inline bool is_little_more(const struct side *sender, const struct side *receiver,
					   const struct segment *segment, __u32 ack)
{
	const __u32 overshot = segment->end - sender->maxend + 1;
	const __u32 window = sender->maxwin > MAXACKWINDOW ? sender->maxwin : MAXACKWINDOW;

	return receiver->maxwin && after(segment->end, sender->end - receiver->maxwin - 1) &&
	       after(ack, receiver->end - window - 1) && overshot <= receiver->maxwin &&
	       before(ack, receiver->end + 1);
}

/* What is below the window conntrack ignores, and lets pass: only upper bounds are asked here. */
static __always_inline bool is_in_window(struct tracked_tcp *tracked, const struct segment *segment,
					 const struct nf_conn___bpfw *ct, bool reply)
{
	struct side *sender = &tracked->sender, *receiver = &tracked->receiver;
	const __u8 flags = segment->flags;
	__u32 ack = segment->ack, seq = segment->seq;

	/* Helpers of NAT change sequence numbers: the window is then not known here. */
	if (ct->status & CT_SEQ_ADJUST)
		return true;
	if (!begin_side(sender, receiver, segment, tracked->state, reply))
		return true;
	if (!(flags & TCP_ACK) || ((flags & TCP_RST) && !ack))
		ack = receiver->end;
	if ((flags & TCP_RST) && !seq && tracked->state == TCP_STATE_SYN_SENT)
		seq = sender->end;
	if (!before(seq, sender->maxend + 1) && !is_little_more(sender, receiver, segment, ack))
		return is_liberal(sender, ct);
	return before(ack, receiver->end + 1) || is_liberal(sender, ct);
}

/* ---- In the connection's state -------------------------------------------------------------- */

/* The transitions of tcp_conntracks[][][], by what comes of them. */
enum tcp_course {
	COURSE_INVALID,
	COURSE_PASS, /* ignored: no window is compared */
	COURSE_REOPEN,
	COURSE_RESET,
	COURSE_WINDOW,
};

static __always_inline enum tcp_course tcp_course(enum tcp_kind kind, __u8 state, bool reply)
{
	const __u32 in = 1U << (state & 15);
	const __u32 opening = IN(SYN_SENT) | IN(SYN_SENT2);

	switch (kind) {
	case TCP_KIND_SYN:
		if (in & opening)
			return COURSE_WINDOW;
		if (in & IN(TIME_WAIT))
			return COURSE_REOPEN;
		if (reply)
			return COURSE_INVALID;
		return in & IN(CLOSE) ? COURSE_REOPEN :
					(in & IN(NONE) ? COURSE_WINDOW : COURSE_PASS);
	case TCP_KIND_SYN_ACK:
		if (in & IN(NONE))
			return COURSE_INVALID;
		if (reply)
			return in & opening ? COURSE_WINDOW : COURSE_PASS;
		return in & (IN(SYN_RECV) | IN(SYN_SENT2)) ? COURSE_WINDOW : COURSE_INVALID;
	case TCP_KIND_FIN:
		return in & (opening | IN(NONE)) ? COURSE_INVALID : COURSE_WINDOW;
	case TCP_KIND_ACK:
		if (in & opening)
			return reply ? COURSE_PASS : COURSE_INVALID;
		return COURSE_WINDOW;
	case TCP_KIND_RST:
		return in & IN(NONE) ? COURSE_INVALID : COURSE_RESET;
	default:
		return COURSE_INVALID;
	}
}

/* A SYN after the end: TCP_CONNTRACK_SYN_SENT of nf_conntrack_tcp_packet(). */
static __always_inline enum tcp_verdict judge_reopen(const struct tracked_tcp *tracked, bool reply)
{
	if ((tracked->sender.flags | tracked->receiver.flags) & SEEN_CLOSE_INIT)
		return TCP_REOPENS;
	if (tracked->last_dir == reply && tracked->last_index == TCP_KIND_RST)
		return TCP_REOPENS;
	return TCP_VALID;
}

/* A RST: TCP_CONNTRACK_CLOSE of nf_conntrack_tcp_packet(); COURSE_WINDOW: the window decides. */
static __always_inline enum tcp_course judge_reset(const struct tracked_tcp *tracked,
						   const struct segment *segment,
						   const struct nf_conn___bpfw *ct)
{
	const __u8 state = tracked->state, last = tracked->last_index;
	const unsigned long status = ct->status;
	const bool established = state == TCP_STATE_ESTABLISHED && (status & CT_ASSURED);
	const __u32 seq = segment->seq;

	if (state >= TCP_STATE_FIN_WAIT && state <= TCP_STATE_CLOSE)
		return COURSE_PASS;
	if ((tracked->receiver.flags & SEEN_MAXACK) && last != TCP_KIND_SYN) {
		const struct net___bpfw *net = ct->ct_net.net;

		if (!seq && !established)
			return COURSE_WINDOW;
		if (before(seq, tracked->receiver.maxack) &&
		    !net->ct.nf_ct_proto.tcp.tcp_ignore_invalid_rst)
			return COURSE_INVALID;
		if (!established || seq == tracked->receiver.maxack)
			return COURSE_WINDOW;
	}
	if ((((status & CT_SEEN_REPLY) && last == TCP_KIND_SYN) ||
	     (!(status & CT_ASSURED) && last == TCP_KIND_ACK)) &&
	    segment->ack == tracked->last_end)
		return COURSE_PASS;
	if (state == TCP_STATE_SYN_SENT && last == TCP_KIND_ACK && tracked->last_dir == 1 &&
	    seq == tracked->last_ack)
		return COURSE_PASS;
	return COURSE_WINDOW;
}

/* An ACK that answers a SYN which conntrack has ignored (RFC 5961): it is let pass. */
static __always_inline bool is_challenge_ack(const struct tracked_tcp *tracked, bool reply)
{
	return tracked->state == TCP_STATE_LAST_ACK && tracked->last_dir != reply &&
	       tracked->last_index == TCP_KIND_SYN && (tracked->last_flags & SEEN_CHALLENGE_ACK);
}

/*
 * A segment of an entry's connection, `reply`: in the direction of replies. The entry may change
 * meanwhile, by packets on other CPUs: then conntrack may see it either way, too.
 */
static __always_inline enum tcp_verdict judge_segment(const struct nf_conn___bpfw *ct, bool reply,
						      const struct segment *segment)
{
	const enum tcp_kind kind = tcp_kind(segment->flags);
	struct tracked_tcp tracked;
	enum tcp_course course;

	read_tracked(&tracked, ct, reply);
	course = tcp_course(kind, tracked.state, reply);
	if (course == COURSE_REOPEN)
		return judge_reopen(&tracked, reply);
	if (course == COURSE_RESET)
		course = judge_reset(&tracked, segment, ct);
	else if (kind == TCP_KIND_ACK && is_challenge_ack(&tracked, reply))
		course = COURSE_PASS;
	if (course == COURSE_WINDOW)
		return is_in_window(&tracked, segment, ct, reply) ? TCP_VALID : TCP_INVALID;
	return course == COURSE_PASS ? TCP_VALID : TCP_INVALID;
}

#endif /* BPFW_TRACK_TCP_H */
