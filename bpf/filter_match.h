/* SPDX-License-Identifier: GPL-2.0-only */
/* Does an operation of a rule hold for the packet? What the fields' rows do not decide. */
#ifndef BPFW_FILTER_MATCH_H
#define BPFW_FILTER_MATCH_H

#include "filter_bucket.h"
#include "filter_hashlimit.h"
#include "filter_packet.h"
#include "filter_recent.h"
#include "filter_time.h"
#include "filter_u32.h"

static __always_inline bool within(__u32 value, __u32 low, __u32 high)
{
	return value >= low && value <= high;
}

static __always_inline bool in_range16(__u16 value, __u32 range)
{
	return within(value, range >> 16, range & 0xffff);
}

static __always_inline bool port_matches(__u16 port, const struct filter_op *op)
{
	return in_range16(port, op->a) || in_range16(port, op->b) || in_range16(port, op->c);
}

/* Negated it is behind one that has found the header. */
static __always_inline bool routing_matches(const struct filter_walk *walk,
					    const struct filter_op *op)
{
	return walk->has_routing &&
	       within(op->c == FILTER_ROUTING_TYPE ? walk->routing_type : walk->segments_left,
		      op->a, op->b);
}

static __always_inline bool operation_matches(struct filter_walk *walk, const struct frame *frame,
					      const struct filter_op *op)
{
	switch (op->kind) {
	case FILTER_OP_TCP_FLAGS:
		return (walk->tcp_flags & op->a) == op->b;
	case FILTER_OP_ICMP:
		return walk->icmp_type == op->a && within(walk->icmp_code, op->b, op->c);
	case FILTER_OP_LENGTH:
		return within(walk->length, op->a, op->b);
	case FILTER_OP_TTL:
		return within(walk->ttl, op->a, op->b);
	case FILTER_OP_TOS:
		return (walk->tos & op->a) == op->b;
	case FILTER_OP_FRAGMENT:
		return walk->fragment;
	case FILTER_OP_SOURCE_MASK:
		return (walk->source[op->c & 3] & op->a) == op->b;
	case FILTER_OP_DESTINATION_MASK:
		return (walk->destination[op->c & 3] & op->a) == op->b;
	case FILTER_OP_PORTS:
		if (!uses_operation(FILTER_OP_PORTS))
			return false;
		return port_matches(walk->source_port, op) ||
		       port_matches(walk->destination_port, op);
	case FILTER_OP_MARK:
		/* Nobody has marked a packet before XDP. */
		return ((frame->is_xdp ? 0 : frame->skb->mark) & op->a) == op->b;
	case FILTER_OP_PACKET_TYPE:
		return walk->packet_type == op->a;
	case FILTER_OP_TCP_OPTION:
		return walk->options[op->a >> 5 & 7] & (1U << (op->a & 31));
	case FILTER_OP_MSS:
		return walk->has_mss && within(walk->mss, op->a, op->b);
	case FILTER_OP_MAC:
		return walk->mac_high == op->a && walk->mac_low == op->b;
	case FILTER_OP_RANDOM:
		return uses_operation(FILTER_OP_RANDOM) && random_matches(op);
	case FILTER_OP_U32:
		u32_number(walk, op);
		return true;
	case FILTER_OP_U32_VALUE:
		return within(walk->u32_value, op->a, op->b);
	case FILTER_OP_ROUTING:
		return is_ipv6 && uses_operation(FILTER_OP_ROUTING) && routing_matches(walk, op);
	case FILTER_OP_SET:
		return uses_operation(FILTER_OP_SET) &&
		       walk->answer[(op->a - walk->asked_first) & (FILTER_QUESTIONS - 1)];
	case FILTER_OP_CONNLIMIT:
		return uses_operation(FILTER_OP_CONNLIMIT) && walk->exceeds;
	default:
		return op->kind == FILTER_OP_SET_CHANGE; /* it is done */
	}
}

static __always_inline bool heavy_matches(struct filter_walk *walk, const struct frame *frame,
					  const struct filter_op *op, enum filter_op_kind last)
{
	switch (op->kind) {
	case FILTER_OP_U32_WORD:
		return uses_operation(FILTER_OP_U32_WORD) && u32_word(walk, frame, op);
	case FILTER_OP_NTH:
		return uses_operation(FILTER_OP_NTH) && nth_matches(op);
	case FILTER_OP_LIMIT:
		return uses_operation(FILTER_OP_LIMIT) && limit_matches(op);
	case FILTER_OP_HASHLIMIT:
		return last >= FILTER_OP_HASHLIMIT && uses_operation(FILTER_OP_HASHLIMIT) &&
		       hashlimit_matches(walk, op->a);
	case FILTER_OP_RECENT:
		return last >= FILTER_OP_RECENT && uses_operation(FILTER_OP_RECENT) &&
		       recent_matches(walk, op);
	case FILTER_OP_DATE:
		return uses_operation(FILTER_OP_DATE) && date_matches(op);
	case FILTER_OP_TIME:
		return uses_operation(FILTER_OP_TIME) && time_matches(op);
	default:
		return false;
	}
}

/*
 * The matches of a header do not hold without one, not even when negated. No kind beyond `last`
 * gets here.
 */
static __always_inline bool match(struct filter_walk *walk, const struct frame *frame,
				  const struct filter_op *op, enum filter_op_kind last)
{
	if ((op->flags & FILTER_OP_NEEDS_L4) && !walk->has_l4)
		return false;
	if ((op->flags & FILTER_OP_NEEDS_MAC) && !walk->has_mac)
		return false;
	if (last >= FILTER_OP_HEAVY && op->kind >= FILTER_OP_HEAVY)
		return heavy_matches(walk, frame, op, last) != !!(op->flags & FILTER_OP_NEGATED);
	return operation_matches(walk, frame, op) != !!(op->flags & FILTER_OP_NEGATED);
}

#endif /* BPFW_FILTER_MATCH_H */
