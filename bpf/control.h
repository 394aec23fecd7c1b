/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TCP segments with SYN, FIN or RST always take the stack: conntrack has to see them.
 * But its window tracking has seen nothing of an offloaded flow's segments, and was told
 * to be liberal, so it takes a forged FIN or RST for a genuine one. What the fast path
 * saw last of both directions decides here; the daemon then sets conntrack right.
 */
#ifndef BPFW_CONTROL_H
#define BPFW_CONTROL_H

#include "maps.h"
#include "packet.h"

static __always_inline bool is_tracked(const struct bpfw_action *action)
{
	return action->packets || action->flags & FLOW_TRACKED;
}

/*
 * `own` is the direction of the segment, `other` the opposite one. A receiver obeys a RST
 * whose sequence number is exactly what it acknowledged (RFC 5961, section 3.2), or, when
 * data is still on the way to it, one that directly follows that data. A FIN may come
 * with or before retransmitted data: anywhere in the receiver's window will do.
 */
static __always_inline __u8 control_judge(const struct packet *p, const struct bpfw_action *own,
					  const struct bpfw_action *other, __u32 seq)
{
	__u32 window, beyond;

	if (p->tcp_flags & TCP_SYN || !is_tracked(other))
		return CONTROL_ASK;
	/* The other direction may have moved to where we do not see it. */
	if ((__s32)(own->last_seen - other->last_seen) > (__s32)control_stale)
		return CONTROL_ASK;
	window = (__u32)other->window << (other->wscale & 15);
	beyond = seq - other->ack;
	if (p->tcp_flags & TCP_RST) {
		if (beyond == 0)
			return CONTROL_GENUINE;
		if (is_tracked(own) && seq == own->seq_end && beyond <= window)
			return CONTROL_GENUINE;
		return CONTROL_FORGED;
	}
	/* One more than the window: a FIN on a closed window, one less: a keep-alive's. */
	return beyond + 1 <= window + 2 ? CONTROL_GENUINE : CONTROL_FORGED;
}

static __always_inline void control_close(struct bpfw_action *own, struct bpfw_action *other)
{
	own->verdict = FLOW_PASS;
	other->verdict = FLOW_PASS;
}

/* Judge the segment and act on it; `other` is NULL where the opposite direction has no entry. */
static __always_inline __u8 control_decide(const struct packet *p, struct bpfw_action *own,
					   struct bpfw_action *other, __u32 seq)
{
	__u8 verdict = CONTROL_ASK;

	if (other)
		verdict = control_judge(p, own, other, seq);
	if (verdict == CONTROL_GENUINE)
		control_close(own, other);
	else if (verdict == CONTROL_FORGED)
		count_exit(EXIT_FORGED);
	return verdict;
}

#endif /* BPFW_CONTROL_H */
