/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter. An entry program stands at each hook and stays; it finds the IP header and calls the
 * program of the family's ruleset, in the turn that is in force: a load changes that word. A slot
 * is filled before its entry is attached: one that is empty all the same drops.
 */
#include "filter_parse.h"
#include "filter_connlimit.h"
#include "filter_link.h"
#include "filter_nat.h"
#include "filter_options.h"
#include "filter_route.h"
#include "filter_sets.h"
#include "filter_step.h"

#define STEPS 32         /* of one program; then it calls itself */
#define HEAVY_TURN 8     /* each so manieth step may be a heavy one, */
#define HEAVIEST_TURN 16 /* or one of the heaviest */
#define ROUNDS 29        /* the kernel allows 33 tail calls in all */

/* ---- Entry ----------------------------------------------------------------------- */

#define PRIORITY_TAGS 2

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/*
 * EtherType and length of the link header; 0 if the rules are not about such frames. A tag of no
 * VLAN (802.1p) is taken off by the kernel, and the packet is the port's like any other
 * (__netif_receive_skb_core()); what is left of more than PRIORITY_TAGS is a tag's type. At TC the
 * kernel has taken the first one off, and goes by skb->protocol, whatever the header says.
 */
static __always_inline __be16 network_type(struct frame *frame, bool outgoing, __u32 *l3)
{
	const struct ethhdr *eth;
	const __be16 *tag;
	__be16 type;

	*l3 = ETH_HLEN;
	if (!frame->is_xdp && frame->skb->vlan_present &&
	    (outgoing || (frame->skb->vlan_tci & VLAN_VID_MASK)))
		return 0;
	eth = frame_bytes(frame, 0, ETH_HLEN);
	if (!eth)
		return 0;
	type = frame->is_xdp || outgoing ? eth->h_proto : (__be16)frame->skb->protocol;
	for (int i = 0; i < PRIORITY_TAGS && is_vlan(type); i++) {
		tag = frame_bytes(frame, *l3, VLAN_HLEN);
		if (!tag || outgoing || (tag[0] & bpf_htons(VLAN_VID_MASK)))
			return 0;
		type = tag[1];
		*l3 += VLAN_HLEN;
	}
	return type;
}

/* What comes in meets the block list first; where there is none, its slot is empty. */
static __always_inline void enter_family(const struct frame *frame, __u32 family, bool outgoing)
{
	if (!outgoing)
		call_stage(frame, FILTER_STAGE_BLOCKS + family);
	call_rules(frame, family);
}

static __always_inline int enter_hook(struct frame *frame, bool bare, bool outgoing)
{
	struct filter_walk *walk = own_walk();
	__be16 type;
	__u32 l3 = 0;

	use_whole_stack();
	if (!walk)
		return frame_drop(frame);
	frame_load(frame);
	if (bare) {
		type = (__be16)frame->skb->protocol;
		l3 = find_network(frame);
	} else {
		type = network_type(frame, outgoing, &l3);
	}
	walk->generation = 0;
	walk->l3 = l3;
	walk->bare = bare;
	walk->outgoing = outgoing;
	walk->rounds = 0;
	if (bare && l3 > OWN_HEADER &&
	    (type == bpf_htons(ETH_P_IP) || type == bpf_htons(ETH_P_IPV6)))
		return frame_drop(frame);
	if (type == bpf_htons(ETH_P_IP))
		enter_family(frame, 0, outgoing);
	else if (type == bpf_htons(ETH_P_IPV6))
		enter_family(frame, 1, outgoing);
	else if (!is_vlan(type))
		return frame_pass(frame);
	return frame_drop(frame); /* or too many tags */
}

SEC("xdp")
int entry_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };

	return enter_hook(&frame, false, false);
}

static __always_inline int enter_tc(struct __sk_buff *ctx, __u32 ifindex, bool outgoing)
{
	struct frame frame = { .skb = ctx };
	const struct filter_port *port = bpf_map_lookup_elem(&filtered, &ifindex);

	return enter_hook(&frame, port && port->bare, outgoing);
}

SEC("tc")
int entry_tc_in(struct __sk_buff *ctx)
{
	/* REJECT's answer to a packet that was to go out. */
	if (ctx->mark == FILTER_ANSWER_MARK) {
		ctx->mark = 0;
		return TC_NEXT;
	}
	return enter_tc(ctx, ctx->ifindex, false);
}

SEC("tc")
int entry_tc_out(struct __sk_buff *ctx)
{
	__u32 ingress = ctx->ingress_ifindex;
	const struct filter_port *port = ingress ? bpf_map_lookup_elem(&filtered, &ingress) : NULL;

	/* What came in by a filtered device has been judged there. */
	if (port && port->judged) {
		bpf_tail_call(ctx, &stages_tc, FILTER_STAGE_LEARN);
		return TC_NEXT;
	}
	return enter_tc(ctx, ctx->ifindex, true);
}

/* An accepted packet goes on to the stage behind the filter, or to the stack. */
static __always_inline int accept(const struct frame *frame)
{
	if (frame->is_xdp)
		bpf_tail_call(frame->xdp, &next_stage, frame->xdp->ingress_ifindex);
	return frame_pass(frame);
}

/* A family without rules. */
SEC("xdp")
int pass_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };

	use_whole_stack();
	return accept(&frame);
}

SEC("tc")
int pass_tc(struct __sk_buff *ctx __attribute__((unused)))
{
	return TC_NEXT;
}

/* ---- Judging --------------------------------------------------------------------- */

/*
 * Which chain the walk begins in: the number of a hook, or nat_chain; UNKNOWN_HOOK. The walk
 * through the table nat is traced together with the one behind it.
 */
static __always_inline int find_start(struct filter_walk *walk, struct frame *frame)
{
	if (!frame->is_xdp && walk->outgoing)
		return route_out(walk, frame);
	if (nat_is(walk, FILTER_NAT_ASK)) {
		walk->nat = FILTER_NAT_ASKED;
		walk->translation = FILTER_NO_TRANSLATION;
		walk->in = ingress_device(frame);
		return (int)nat_chain;
	}
	if (nat_is(walk, FILTER_NAT_REDIRECTED)) {
		walk->in = ingress_device(frame);
		return FILTER_HOOK_INPUT;
	}
	return route_in(walk, frame);
}

/*
 * A fragment that is not the first, and begins with an extension header: of which protocol it is
 * only the first one tells. ip6_packet_match() drops it where a rule asks for one.
 */
static __always_inline bool hides_protocol(const struct filter_walk *walk)
{
	if (!is_ipv6 || !walk->fragment || !uses(FILTER_PROTOCOL))
		return false;
	return walk->protocol == NEXTHDR_HOP || walk->protocol == NEXTHDR_ROUTING ||
	       walk->protocol == NEXTHDR_FRAGMENT || walk->protocol == NEXTHDR_AUTH ||
	       walk->protocol == NEXTHDR_DEST;
}

/*
 * What is sent on from here would not meet FORWARD any more. The kernel drops it unless
 * accept_source_route or seg6_enabled is set (ip_rcv_options(), ipv6_rthdr_rcv()).
 */
static __always_inline bool is_held_back(const struct filter_walk *walk, __u32 hook)
{
	return hook == FILTER_HOOK_INPUT && walk->goes_on;
}

/* Begin: what is the packet, which chain is it for? Returns STEP_ON, or FILTER_DROP. */
static __always_inline int begin(struct filter_walk *walk, struct frame *frame)
{
	enum parsed parsed;
	int hook;

	walk->depth = 0;
	walk->logged = 0;
	if (!nat_is(walk, FILTER_NAT_DONE) && !nat_is(walk, FILTER_NAT_REDIRECTED))
		walk->met = 0;
	walk->reject = 0;
	walk->asked = 0;
	walk->asks = 0;
	walk->changed = 0;
	walk->counted = 0;
	walk->in = 0;
	walk->out = 0;
	parsed = is_tracked ? walk->parsed : parse_packet(walk, frame);
	if (parsed == PARSED_BROKEN)
		return FILTER_DROP;
	hook = find_start(walk, frame);
	if (hook < 0 || parsed == PARSED_UNKNOWN || (walk->bad_tcp && drops_bad_tcp) ||
	    (walk->cut & drops_cut) || hides_protocol(walk))
		return FILTER_DROP;
	if (uses_operation(FILTER_OP_ROUTING) && walk->bad_routing)
		return FILTER_DROP;
	/* ip_rcv_options() drops it before INPUT, or routes it on. */
	if (!is_ipv6 && is_held_back(walk, hook))
		return FILTER_DROP;
	parse_link(walk, frame);
	parse_options(walk, frame);
	parse_group_ports(walk, frame);
	walk->hook = hook;
	walk->generation = generation;
	classify(walk);
	return enter_start(walk, hook) ? STEP_ON : FILTER_DROP;
}

/* What a turn of the loop is for. Each is verified by itself: what is dear is in few of them. */
static __always_inline enum filter_op_kind last_kind(int turn)
{
	if (turn % HEAVIEST_TURN == HEAVIEST_TURN - 1)
		return FILTER_OP_LAST;
	return turn % HEAVY_TURN == HEAVY_TURN - 1 ? FILTER_OP_HEAVIEST - 1 : FILTER_OP_HEAVY - 1;
}

static __always_inline int judge(struct frame *frame)
{
	struct filter_walk *walk = own_walk();
	int verdict = STEP_ON;

	use_whole_stack();
	if (!walk)
		return frame_drop(frame);
	frame_load(frame);
	if (walk->generation != generation)
		verdict = begin(walk, frame);
	for (int i = 0; i < STEPS && verdict == STEP_ON; i++)
		verdict = step(walk, frame, last_kind(i));
	if (is_ipv6 && verdict == FILTER_ACCEPT && is_held_back(walk, walk->hook))
		verdict = FILTER_DROP;
	if (nat_is(walk, FILTER_NAT_ASKED) && verdict == FILTER_ACCEPT) {
		translate(walk);
		walk->generation = 0; /* from its beginning, with the new destination */
		verdict = STEP_ON;
	}
	if (uses_sets() && (verdict == STEP_ASK || verdict == STEP_CHANGE) &&
	    walk->rounds + 2 <= ROUNDS)
		call_sets(walk, frame, verdict);
	if (uses_operation(FILTER_OP_CONNLIMIT) && verdict == STEP_COUNT &&
	    walk->rounds + 2 <= ROUNDS)
		call_count(walk, frame);
	if (verdict == STEP_ON && walk->rounds++ < ROUNDS)
		call_stage(frame, own_stage);
	send_event(walk, verdict == FILTER_ACCEPT ? FILTER_ACCEPT : FILTER_DROP);
	if (uses_operation(FILTER_OP_REJECT) && !tracing && walk->reject)
		call_stage(frame, FILTER_STAGE_REJECTS + is_ipv6);
	return verdict == FILTER_ACCEPT ? accept(frame) : frame_drop(frame);
}

SEC("xdp")
int filter_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };

	return judge(&frame);
}

SEC("tc")
int filter_tc(struct __sk_buff *ctx)
{
	struct frame frame = { .skb = ctx };

	return judge(&frame);
}

char LICENSE[] SEC("license") = "GPL";
