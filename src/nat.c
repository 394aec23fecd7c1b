/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <string.h>

#include "nat.h"

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t csum_delta(const void *from, const void *to, size_t len)
{
	const uint8_t *old = from, *new = to;
	uint64_t sum = 0;

	if (!memcmp(from, to, len))
		return 0;
	for (size_t i = 0; i + 1 < len; i += 2) {
		uint16_t m, n;

		memcpy(&m, old + i, sizeof(m));
		memcpy(&n, new + i, sizeof(n));
		sum += (uint16_t)~m;
		sum += n;
	}
	return fold(sum);
}

static uint16_t add_deltas(uint16_t a, uint16_t b)
{
	return fold((uint64_t)a + b);
}

void nat_fill_action(const struct tuple *from, const struct tuple *to, struct bpfw_action *action)
{
	const __be16 old_ports[] = { from->sport, from->dport };
	const __be16 new_ports[] = { to->sport, to->dport };
	/* The TTL is the high byte of its word: one less is 0x0100 less. */
	const __be16 one_hop[] = { htons(0x0100), 0 };
	uint16_t hop = csum_delta(&one_hop[0], &one_hop[1], sizeof(__be16));
	uint16_t src = csum_delta(&from->src, &to->src, sizeof(from->src));
	uint16_t dst = csum_delta(&from->dst, &to->dst, sizeof(from->dst));

	action->sport = to->sport;
	action->dport = to->dport;
	action->l4_addr_delta = add_deltas(src, dst);
	action->l4_port_delta = csum_delta(old_ports, new_ports, sizeof(old_ports));
	action->l3_delta = add_deltas(action->l4_addr_delta, hop);
	action->flags &= (uint8_t)~FLOW_NAT;
	if (action->l4_addr_delta || action->l4_port_delta)
		action->flags |= FLOW_NAT;
}
