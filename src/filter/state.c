/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/xt_conntrack.h>

#include "filter/state.h"
#include "util.h"

#define STATUS_KNOWN (IPS_EXPECTED | IPS_SEEN_REPLY)

/* The bits of match_conntrack.match that a state decides. */
#define MATCH_KNOWN                                                            \
	(XT_CONNTRACK_STATE | XT_CONNTRACK_STATE_ALIAS | XT_CONNTRACK_STATUS | \
	 XT_CONNTRACK_DIRECTION)

const char *state_unsupported(const struct match_conntrack *conntrack)
{
	static const struct {
		unsigned int flag;
		const char *option;
	} options[] = {
		{ XT_CONNTRACK_PROTO, "--ctproto" },
		{ XT_CONNTRACK_ORIGSRC, "--ctorigsrc" },
		{ XT_CONNTRACK_ORIGDST, "--ctorigdst" },
		{ XT_CONNTRACK_REPLSRC, "--ctreplsrc" },
		{ XT_CONNTRACK_REPLDST, "--ctrepldst" },
		{ XT_CONNTRACK_EXPIRES, "--ctexpire" },
		{ XT_CONNTRACK_ORIGSRC_PORT, "--ctorigsrcport" },
		{ XT_CONNTRACK_ORIGDST_PORT, "--ctorigdstport" },
		{ XT_CONNTRACK_REPLSRC_PORT, "--ctreplsrcport" },
		{ XT_CONNTRACK_REPLDST_PORT, "--ctrepldstport" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (conntrack->match & options[i].flag)
			return options[i].option;
	if (conntrack->match & ~(unsigned int)MATCH_KNOWN)
		return "an unknown option";
	/* The packet that makes a connection assured or confirmed is judged before it does. */
	if (conntrack->match & XT_CONNTRACK_STATUS && conntrack->status & IPS_ASSURED)
		return "--ctstatus ASSURED";
	if (conntrack->match & XT_CONNTRACK_STATUS && conntrack->status & ~STATUS_KNOWN)
		return "--ctstatus CONFIRMED";
	return NULL;
}

/* ---- What xt_conntrack.c makes of a packet in this state ----------------------------------- */

static bool has_entry(uint16_t state)
{
	const unsigned int kind = state & FILTER_STATE_KIND;

	return kind != FILTER_STATE_INVALID && kind != FILTER_STATE_UNTRACKED;
}

/* XT_CONNTRACK_STATE_*; conntrack_mt() */
static unsigned int state_set(uint16_t state)
{
	unsigned int set = XT_CONNTRACK_STATE_INVALID;

	switch (state & FILTER_STATE_KIND) {
	case FILTER_STATE_UNTRACKED:
		return XT_CONNTRACK_STATE_UNTRACKED;
	case FILTER_STATE_NEW:
		set = XT_CONNTRACK_STATE_BIT(IP_CT_NEW);
		break;
	case FILTER_STATE_ESTABLISHED:
		set = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED);
		break;
	case FILTER_STATE_RELATED:
		set = XT_CONNTRACK_STATE_BIT(IP_CT_RELATED);
		break;
	default:
		return set;
	}
	return set | (state & FILTER_STATE_SNAT ? XT_CONNTRACK_STATE_SNAT : 0) |
	       (state & FILTER_STATE_DNAT ? XT_CONNTRACK_STATE_DNAT : 0);
}

static unsigned int status_set(uint16_t state)
{
	return (state & FILTER_STATE_EXPECTED ? IPS_EXPECTED : 0) |
	       (state & FILTER_STATE_SEEN_REPLY ? IPS_SEEN_REPLY : 0);
}

static bool is_inverted(const struct match_conntrack *conntrack, unsigned int flag)
{
	return conntrack->invert & flag;
}

static bool conntrack_matches(uint16_t state, const struct match_conntrack *conntrack)
{
	const bool asks_state = conntrack->match & XT_CONNTRACK_STATE;

	if (asks_state &&
	    !!(conntrack->states & state_set(state)) == is_inverted(conntrack, XT_CONNTRACK_STATE))
		return false;
	/* Without a connection the kernel looks at nothing else. */
	if (!has_entry(state))
		return asks_state;
	if (conntrack->match & XT_CONNTRACK_DIRECTION &&
	    !(state & FILTER_STATE_REPLY) == is_inverted(conntrack, XT_CONNTRACK_DIRECTION))
		return false;
	return !(conntrack->match & XT_CONNTRACK_STATUS) ||
	       !!(conntrack->status & status_set(state)) !=
		       is_inverted(conntrack, XT_CONNTRACK_STATUS);
}

bool state_matches_rule(uint16_t state, const struct rule *rule)
{
	for (size_t i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];

		if (match->kind == MATCH_CONNTRACK && !conntrack_matches(state, match->conntrack))
			return false;
		if (match->kind == MATCH_STATE &&
		    !!(match->state.states & state_set(state)) == match->state.invert)
			return false;
	}
	return true;
}

/* ---- What is asked ------------------------------------------------------------------------- */

static uint16_t nat_bits(unsigned int states)
{
	return (states & XT_CONNTRACK_STATE_SNAT ? FILTER_STATE_SNAT : 0) |
	       (states & XT_CONNTRACK_STATE_DNAT ? FILTER_STATE_DNAT : 0);
}

static uint16_t status_bits(unsigned int status)
{
	return (status & IPS_EXPECTED ? FILTER_STATE_EXPECTED : 0) |
	       (status & IPS_SEEN_REPLY ? FILTER_STATE_SEEN_REPLY : 0);
}

uint16_t state_bits_asked(const struct rule *rule)
{
	uint16_t bits = 0;

	for (size_t i = 0; i < rule->match_count; i++) {
		const struct match *match = &rule->matches[i];

		if (match->kind != MATCH_CONNTRACK && match->kind != MATCH_STATE)
			continue;
		bits |= FILTER_STATE_KIND;
		if (match->kind == MATCH_STATE)
			continue;
		bits |= nat_bits(match->conntrack->states) | status_bits(match->conntrack->status);
		if (match->conntrack->match & XT_CONNTRACK_DIRECTION)
			bits |= FILTER_STATE_REPLY;
	}
	return bits;
}
