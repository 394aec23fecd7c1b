/* SPDX-License-Identifier: GPL-2.0-only */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "model.h"
#include "tap.h"

/* ---- Forwarding -------------------------------------------------------------- */

static void put_tuple(struct frame *frame, const struct tuple *tuple)
{
	size_t addresses = FRAME_L3 + (frame_is_ipv6(frame) ? 8 : 12);
	size_t len = frame_is_ipv6(frame) ? 16 : 4;

	memcpy(frame->data + addresses, &tuple->src, len);
	memcpy(frame->data + addresses + len, &tuple->dst, len);
	memcpy(frame->data + frame_l4(frame), &tuple->sport, 2);
	memcpy(frame->data + frame_l4(frame) + 2, &tuple->dport, 2);
}

/*
 * NAT must keep an error in the checksum, or it would hide that the packet is damaged:
 * the new checksum is as far from the right one as the old one was.
 */
static uint16_t translate_checksum(const struct frame *in, const struct frame *out)
{
	uint16_t was = frame_get16(in, frame_l4_check(in));
	uint16_t error = ones_add(was, (uint16_t)~frame_l4_checksum(in));
	uint16_t now = ones_add(frame_l4_checksum(out), error);
	bool udp = frame_protocol(in) == IPPROTO_UDP;

	if (udp && !was)
		return 0;
	if (now == 0xffff && !udp)
		return 0;
	return !now && udp ? 0xffff : now;
}

/* The class that a tag's priority goes by: VLAN devices of the kernel's do the same. */
static uint32_t priority_class(const struct frame *plain, const struct encapsulation *link)
{
	if (!frame_is_ipv6(plain))
		return (plain->data[FRAME_L3 + 1] >> 3) & 3;
	return link->tags ? link->tag[link->tags - 1].tci >> 13 : 0;
}

static struct encapsulation leaving_link(const struct lab_flow *flow, const struct frame *plain,
					 const struct encapsulation *came_in)
{
	struct encapsulation link = flow->link_out;
	uint32_t class = priority_class(plain, came_in);

	for (size_t i = 0; i < link.tags; i++) {
		link.tag[i].tci &= 0xfff;
		if (flow->pcp_tag == i + 1)
			link.tag[i].tci |= (uint16_t)((flow->pcp >> (4 * class) & 7) << 13);
	}
	return link;
}

/* The packet's own part of it: what is in the frame behind the link header. */
static void forward_plain(const struct lab_flow *flow, const struct frame *in, struct frame *out)
{
	*out = *in;
	out->len = FRAME_L3 + frame_l3_len(in);
	out->data[FRAME_L3 + (frame_is_ipv6(in) ? 7 : 8)]--;
	put_tuple(out, &flow->to);
	frame_fix_ip_checksum(out);
	if (!tuple_equal(&flow->from, &flow->to))
		frame_put16(out, frame_l4_check(out), translate_checksum(in, out));
}

static void forward(const struct lab *lab, const struct lab_flow *flow, bool segmented_later,
		    const struct opened *opened, struct frame *out)
{
	const struct encapsulation link = leaving_link(flow, &opened->plain, &opened->link);
	const struct lab_side *egress = &lab->side[flow->egress];

	forward_plain(flow, &opened->plain, out);
	if (segmented_later)
		return; /* the ppp device gives it a link header */
	memcpy(out->data, egress->peer, 6);
	memcpy(out->data + 6, egress->mac, 6);
	frame_encapsulate(out, &link);
}

void model_forward(const struct lab *lab, const struct lab_flow *flow, const struct frame *in,
		   struct frame *out)
{
	struct opened opened;

	if (model_open(in, &opened) != NO_EXIT)
		tap_bail_out("a frame of the tests is not one of a flow");
	forward(lab, flow, false, &opened, out);
}

/* ---- The link layer ----------------------------------------------------------- */

/* The tags are taken away from the frame that is being opened. */
static int open_tags(struct opened *opened)
{
	struct frame *frame = &opened->plain;
	uint16_t type;

	while ((type = frame_get16(frame, 12)) == 0x8100 || type == 0x88a8) {
		struct frame_tag tag = { .type = type };

		if (opened->link.tags == 2)
			return EXIT_VLAN;
		if (frame->len < FRAME_L3 + 4)
			return EXIT_TRUNCATED;
		tag.tci = frame_get16(frame, 14);
		if (!(tag.tci & 0xfff))
			return EXIT_VLAN;
		opened->link.tag[opened->link.tags++] = tag;
		frame_remove(frame, 12, 4);
	}
	return NO_EXIT;
}

static int open_pppoe(struct opened *opened)
{
	struct frame *frame = &opened->plain;
	uint16_t len, protocol, type;

	if (frame->len < FRAME_L3 + 8)
		return EXIT_TRUNCATED;
	len = frame_get16(frame, 18);
	protocol = frame_get16(frame, 20);
	type = protocol == 0x0021 ? 0x0800 : protocol == 0x0057 ? 0x86dd : 0;
	opened->link.session = frame_get16(frame, 16);
	if (frame_get16(frame, 14) != 0x1100 || !opened->link.session || !type)
		return EXIT_PPPOE;
	frame_remove(frame, 14, 8);
	frame_put16(frame, 12, type);
	/* What lies behind PPPoE's payload is padding, whatever IP says. */
	opened->room = len < 2 ? 0 : len - 2U;
	if (opened->room > frame->len - FRAME_L3)
		opened->room = 0;
	return NO_EXIT;
}

int model_open(const struct frame *in, struct opened *opened)
{
	int reason;

	opened->plain = *in;
	memset(&opened->link, 0, sizeof(opened->link));
	reason = open_tags(opened);
	opened->room = opened->plain.len - FRAME_L3;
	if (reason == NO_EXIT && frame_get16(&opened->plain, 12) == 0x8864)
		reason = open_pppoe(opened);
	return reason;
}

/* ---- Reasons to pass --------------------------------------------------------- */

static int judge_link(enum lab_hook hook, const struct lab_arrival *arrival, const struct frame *in,
		      struct opened *opened)
{
	uint16_t type = frame_get16(in, 12);
	bool tagged = type == 0x8100 || type == 0x88a8;
	int reason;

	if (in->data[0] & 1)
		return EXIT_GROUP_ADDRESS;
	/* TC: the kernel would have taken the tag out, or not have come that far. */
	if (hook == LAB_TC && tagged && (in->len < FRAME_L3 + 6 || (arrival && arrival->keep_tag)))
		return EXIT_VLAN;
	reason = model_open(in, opened);
	if (reason != NO_EXIT)
		return reason;
	type = frame_get16(&opened->plain, 12);
	return type == 0x0800 || type == 0x86dd ? NO_EXIT : EXIT_ETHERTYPE;
}

static int judge_ipv4(const struct frame *in, size_t room)
{
	const uint8_t *ip = in->data + FRAME_L3;

	if (in->len < FRAME_L3 + 20)
		return EXIT_TRUNCATED;
	if (ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return EXIT_IP_HEADER;
	if ((ip[0] & 15) > 5)
		return EXIT_IP_OPTIONS;
	if (frame_l3_len(in) < 20)
		return EXIT_IP_HEADER;
	if (frame_l3_len(in) > room)
		return EXIT_TRUNCATED;
	if (frame_get16(in, FRAME_L3 + 6) & 0x3fff)
		return EXIT_FRAGMENT;
	if (ip[9] != IPPROTO_TCP && ip[9] != IPPROTO_UDP)
		return EXIT_PROTOCOL;
	return ip[8] < 2 ? EXIT_TTL : NO_EXIT;
}

static int judge_ipv6(const struct frame *in, size_t room)
{
	static const uint8_t extensions[] = { 0, 43, 44, 51, 60, 135 };
	const uint8_t *ip6 = in->data + FRAME_L3;

	if (in->len < FRAME_L3 + 40)
		return EXIT_TRUNCATED;
	if (ip6[0] >> 4 != 6)
		return EXIT_IP_HEADER;
	if (frame_l3_len(in) > room)
		return EXIT_TRUNCATED;
	if (memchr(extensions, ip6[6], sizeof(extensions)))
		return EXIT_IP_OPTIONS;
	if (ip6[6] != IPPROTO_TCP && ip6[6] != IPPROTO_UDP)
		return EXIT_PROTOCOL;
	return ip6[7] < 2 ? EXIT_TTL : NO_EXIT;
}

static size_t l4_header_len(const struct frame *in)
{
	return frame_protocol(in) == IPPROTO_TCP ? in->data[frame_l4(in) + 12] / 16U * 4U : 8;
}

static int judge_l4(const struct frame *in)
{
	size_t l4 = frame_l4(in), len = FRAME_L3 + frame_l3_len(in) - l4;

	if (frame_protocol(in) == IPPROTO_UDP) {
		if (len < 8 || frame_get16(in, l4 + 4) < 8 || frame_get16(in, l4 + 4) > len)
			return EXIT_L4_HEADER;
		return NO_EXIT;
	}
	if (len < 20 || l4_header_len(in) < 20 || l4_header_len(in) > len)
		return EXIT_L4_HEADER;
	return NO_EXIT;
}

static bool is_control(const struct frame *in)
{
	const uint8_t asked = FLAG_SYN | FLAG_FIN | FLAG_RST | FLAG_ACK;

	return frame_protocol(in) == IPPROTO_TCP &&
	       (in->data[frame_l4(in) + 13] & asked) != FLAG_ACK;
}

/* ---- The walk ---------------------------------------------------------------- */

static bool same_link(const struct encapsulation *a, const struct encapsulation *b)
{
	bool same = a->tags == b->tags && a->session == b->session;

	for (size_t i = 0; same && i < a->tags; i++)
		same = a->tag[i].type == b->tag[i].type &&
		       (a->tag[i].tci & 0xfff) == (b->tag[i].tci & 0xfff);
	return same;
}

static const struct lab_flow *find_flow(const struct model *model, uint32_t ingress,
					const struct opened *opened)
{
	const struct frame *in = &opened->plain;
	struct tuple tuple = {
		.family = frame_is_ipv6(in) ? AF_INET6 : AF_INET,
		.protocol = frame_protocol(in),
	};
	size_t addresses = FRAME_L3 + (frame_is_ipv6(in) ? 8 : 12);
	size_t len = frame_is_ipv6(in) ? 16 : 4;

	memcpy(&tuple.src, in->data + addresses, len);
	memcpy(&tuple.dst, in->data + addresses + len, len);
	memcpy(&tuple.sport, in->data + frame_l4(in), 2);
	memcpy(&tuple.dport, in->data + frame_l4(in) + 2, 2);
	for (size_t i = 0; i < model->flows; i++)
		if (model->lab->side[model->flow[i].ingress].ifindex == ingress &&
		    same_link(&model->flow[i].link_in, &opened->link) &&
		    tuple_equal(&model->flow[i].from, &tuple))
			return &model->flow[i];
	return NULL;
}

static int judge_miss(const struct lab *lab, uint32_t ingress, const struct frame *in)
{
	for (size_t i = 0; i < LAB_SIDES; i++)
		if (lab->side[i].ifindex == ingress && (!memcmp(in->data, lab->side[i].mac, 6) ||
							!memcmp(in->data, lab->side[i].upper, 6)))
			return EXIT_MISS;
	return EXIT_OTHER_MAC;
}

static int judge_hit(const struct model *model, enum lab_hook hook, uint32_t gso_size,
		     const struct lab_flow *flow, const struct frame *in)
{
	const struct lab_side *side = &model->lab->side[flow->ingress];
	size_t longest = frame_l3_len(in);

	if (memcmp(in->data, side->mac, 6))
		return EXIT_OTHER_MAC;
	if (flow->link_in.session && memcmp(in->data + 6, side->peer, 6))
		return EXIT_OTHER_MAC;
	if (flow->verdict == FLOW_PASS)
		return EXIT_FLOW_PASS;
	if (hook == LAB_TC && gso_size)
		longest = frame_l4(in) - FRAME_L3 + l4_header_len(in) + gso_size;
	if (!frame_ip_checksum_ok(in))
		return EXIT_IP_CHECKSUM;
	if (longest > flow->mtu)
		return EXIT_MTU;
	if (hook == LAB_XDP && model->detect_partial &&
	    frame_get16(in, frame_l4_check(in)) == frame_pseudo_sum(in))
		return EXIT_PARTIAL;
	return flow->verdict == FLOW_DROP ? EXIT_BLACKHOLE : NO_EXIT;
}

static int judge(const struct model *model, enum lab_hook hook, const struct lab_arrival *arrival,
		 const struct frame *in, struct opened *opened, struct expectation *expected)
{
	uint32_t ingress = arrival && arrival->ingress ? arrival->ingress :
							 model->lab->side[LAN].ifindex;
	const struct frame *plain = &opened->plain;
	int reason = judge_link(hook, arrival, in, opened);

	if (reason == NO_EXIT)
		reason = frame_is_ipv6(plain) ? judge_ipv6(plain, opened->room) :
						judge_ipv4(plain, opened->room);
	if (reason == NO_EXIT)
		reason = judge_l4(plain);
	if (reason != NO_EXIT)
		return reason;
	expected->hit = find_flow(model, ingress, opened);
	if (is_control(plain))
		return EXIT_TCP_CONTROL;
	if (!expected->hit)
		return judge_miss(model->lab, ingress, plain);
	return judge_hit(model, hook, arrival ? arrival->gso_size : 0, expected->hit, plain);
}

/* TC: what is segmented, or gets its checksum, before PPPoE leaves by the ppp device, bare. */
static bool leaves_by_ppp(enum lab_hook hook, const struct lab_arrival *arrival,
			  const struct lab_flow *flow, const struct frame *plain)
{
	if (hook != LAB_TC || !flow->link_out.session)
		return false;
	return (arrival && arrival->gso_size) ||
	       frame_get16(plain, frame_l4_check(plain)) == frame_pseudo_sum(plain);
}

void model_walk(const struct model *model, enum lab_hook hook, const struct lab_arrival *arrival,
		const struct frame *in, struct expectation *expected)
{
	struct opened opened;

	expected->hit = NULL;
	expected->verdict = VERDICT_PASS;
	expected->frame = *in;
	expected->exit = judge(model, hook, arrival, in, &opened, expected);
	if (expected->exit == EXIT_BLACKHOLE)
		expected->verdict = VERDICT_DROP;
	if (expected->exit != NO_EXIT)
		return;
	expected->verdict = VERDICT_REDIRECT;
	forward(model->lab, expected->hit,
		leaves_by_ppp(hook, arrival, expected->hit, &opened.plain), &opened,
		&expected->frame);
}

/* ---- Comparing --------------------------------------------------------------- */

static bool check_exits(const struct expectation *expected, const struct lab_outcome *outcome)
{
	bool ok = true;

	for (int i = 0; i < EXIT_REASONS; i++) {
		uint64_t want = i == expected->exit;

		if (i == EXIT_SIGNAL || i == EXIT_SIGNAL_LOST || i == EXIT_FORGED ||
		    outcome->exits[i] == want)
			continue;
		tap_note("counter %s: expected +%llu, got +%llu", lab_exit_name(i),
			 (unsigned long long)want, (unsigned long long)outcome->exits[i]);
		ok = false;
	}
	return ok;
}

bool check_outcome(const struct expectation *expected, const struct lab_outcome *outcome)
{
	bool ok;

	if (outcome->err) {
		tap_note("the kernel refuses to run it: %s", strerror(-outcome->err));
		return false;
	}
	ok = check_exits(expected, outcome);
	if (outcome->verdict != expected->verdict) {
		tap_note("verdict: expected %d, got %d", (int)expected->verdict,
			 (int)outcome->verdict);
		ok = false;
	}
	if (!frame_equal(&expected->frame, &outcome->frame)) {
		frame_note_difference(&expected->frame, &outcome->frame);
		ok = false;
	}
	return ok;
}

bool check_run(struct lab *lab, enum lab_hook hook, const struct lab_arrival *arrival,
	       const struct frame *in, const struct expectation *expected,
	       struct lab_outcome *outcome)
{
	lab_run(lab, hook, arrival, in, outcome);
	return check_outcome(expected, outcome);
}
