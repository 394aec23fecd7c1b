/* SPDX-License-Identifier: GPL-2.0-only */
/* NAT as bpfw sees it: the difference between conntrack's two tuples, as a rewrite. */
#ifndef BPFW_NAT_H
#define BPFW_NAT_H

#include "tuple.h"

/* Sum of ~m + m' of every 16-bit word that changes, folded; 0 if none does (RFC 1624). */
uint16_t csum_delta(const void *from, const void *to, size_t len);

/*
 * Fill in the rewrite of a direction: ports, checksum deltas, FLOW_NAT. `from` is the
 * direction's own tuple; `to`, what the stack emits, is the inverse of the tuple that
 * conntrack expects of the opposite direction: source NAT changes what the answer is
 * addressed to, destination NAT where it comes from.
 */
void nat_fill_action(const struct tuple *from, const struct tuple *to, struct bpfw_action *action);

#endif /* BPFW_NAT_H */
