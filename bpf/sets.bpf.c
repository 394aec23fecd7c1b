/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that look sets up and change them for the judges, and the block list in front of them.
 * They belong to no ruleset: one that is put in force does not disturb them. Who asks gets back what
 * is in the walk; the set's maps are those that `bpfw set` has pinned.
 */
#include "filter_parse.h"
#include "set.h"

#define NO_NEXT_HEADER 59

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SET_FIRST); /* by the number of the block list */
	__type(key, __u32);
	__type(value, struct filter_counter);
} block_counts SEC(".maps");

/* Ports as ip_set_get_ip4_port() and ip_set_get_ip6_port() find them. */
static __always_inline bool is_ported(const struct filter_walk *walk)
{
	switch (walk->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		return walk->has_ports;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return walk->has_l4;
	default: /* port 0 */
		if (is_ipv6)
			return !walk->fragment && walk->protocol != NO_NEXT_HEADER;
		return walk->protocol;
	}
}

static __always_inline __u16 port_of(const struct filter_walk *walk, bool source)
{
	switch (walk->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		return source ? walk->source_port : walk->destination_port;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return (__u16)(walk->icmp_type << 8 | walk->icmp_code);
	default:
		return 0;
	}
}

/* How many dimensions a rule must name. */
static __always_inline __u32 dimensions_of(const struct set_info *info)
{
	return info->kind == SET_HASH_IP_PORT || info->kind == SET_HASH_NET_PORT ? 2 : 1;
}

/* A bitmap's only dimension is the port. */
static __always_inline void fill_query(struct set_query *query, const struct filter_walk *walk,
				       const struct filter_question *question,
				       const struct set_info *info)
{
	const bool is_bitmap = info->kind == SET_BITMAP_PORT;
	const __u32 port_at = is_bitmap ? FILTER_SET_SOURCE(0) : FILTER_SET_SOURCE(1);
	const __be32 *address = question->asks & FILTER_SET_SOURCE(0) ? walk->source :
									walk->destination;

	__builtin_memset(query, 0, sizeof(*query));
	query->addr[0] = address[0];
	if (is_ipv6) {
		query->addr[1] = address[1];
		query->addr[2] = address[2];
		query->addr[3] = address[3];
	}
	query->family = is_ipv6 ? AF_INET6 : AF_INET;
	query->protocol = walk->protocol;
	query->port = bpf_htons(port_of(walk, question->asks & port_at));
	query->ported = is_ported(walk);
}

/* The set, if it can be asked at all; ip_set_test() and ip_set_add() see to it that way. */
static __always_inline struct set_info *askable(const struct filter_question *question)
{
	__u32 number = question->set;
	struct set_info *info = bpf_map_lookup_elem(&set_info, &number);

	if (!info || question->asks >> FILTER_SET_DIMENSIONS < dimensions_of(info))
		return NULL;
	return info;
}

static __always_inline bool answer(const struct filter_walk *walk,
				   const struct filter_question *question)
{
	const struct set_info *info = askable(question);
	struct set_query query;

	if (!info)
		return false;
	fill_query(&query, walk, question, info);
	return set_match(question->set, &query);
}

static __always_inline int go_back(const struct filter_walk *walk, const struct frame *frame)
{
	call_stage(frame, walk->asker);
	return frame_drop(frame);
}

static __always_inline int answer_all(const struct frame *frame)
{
	struct filter_walk *walk = own_walk();

	if (!walk)
		return frame_drop(frame);
	for (__u32 i = 0; i < FILTER_QUESTIONS && i < walk->asked; i++)
		walk->answer[i] = answer(walk, &walk->question[i]);
	return go_back(walk, frame);
}

SEC("xdp")
int sets_xdp(struct xdp_md *ctx)
{
	const struct frame frame = { .is_xdp = true, .xdp = ctx };

	return answer_all(&frame);
}

SEC("tc")
int sets_tc(struct __sk_buff *ctx)
{
	const struct frame frame = { .skb = ctx };

	return answer_all(&frame);
}

/* ---- Changes ----------------------------------------------------------------------- */

static __always_inline int change_one(const struct frame *frame)
{
	struct filter_walk *walk = own_walk();
	const struct filter_question *question;
	const struct set_info *info;
	struct set_query query;

	if (!walk)
		return frame_drop(frame);
	question = &walk->question[0];
	info = askable(question);
	if (info) {
		fill_query(&query, walk, question, info);
		set_change(question->set, &query,
			   question->asks & FILTER_SET_DELETE ? SET_DEL :
			   question->asks & FILTER_SET_EXIST  ? SET_ADD_EXIST :
								SET_ADD,
			   question->timeout);
	}
	return go_back(walk, frame);
}

SEC("xdp")
int change_xdp(struct xdp_md *ctx)
{
	const struct frame frame = { .is_xdp = true, .xdp = ctx };

	return change_one(&frame);
}

SEC("tc")
int change_tc(struct __sk_buff *ctx)
{
	const struct frame frame = { .skb = ctx };

	return change_one(&frame);
}

/* ---- The block list ---------------------------------------------------------------- */

static __always_inline void count_blocked(__u32 bytes)
{
	const __u32 number = is_ipv6 ? SET_BLOCK6 : SET_BLOCK4;
	struct filter_counter *counter = bpf_map_lookup_elem(&block_counts, &number);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

/* The source, and the bytes from the IP header on; false if the header is not all there. */
static __always_inline bool read_source(struct frame *frame, __u32 l3, struct set_query *query,
					__u32 *bytes)
{
	const struct iphdr *ip;
	const struct ipv6hdr *ip6;

	if (is_ipv6) {
		ip6 = frame_bytes(frame, l3, IPV6_HLEN);
		if (!ip6)
			return false;
		__builtin_memcpy(query->addr, &ip6->saddr, sizeof(query->addr));
		*bytes = IPV6_HLEN + bpf_ntohs(ip6->payload_len);
		return true;
	}
	ip = frame_bytes(frame, l3, IPV4_HLEN);
	if (!ip)
		return false;
	query->addr[0] = ip->saddr;
	*bytes = bpf_ntohs(ip->tot_len);
	return true;
}

static __always_inline int block(struct frame *frame)
{
	struct set_query query = { .family = is_ipv6 ? AF_INET6 : AF_INET };
	const struct filter_walk *walk = own_walk();
	__u32 bytes;

	if (!walk)
		return frame_drop(frame);
	frame_load(frame);
	if (read_source(frame, walk->l3, &query, &bytes) &&
	    set_match_net(is_ipv6 ? SET_BLOCK6 : SET_BLOCK4, &query)) {
		count_blocked(bytes);
		return frame_drop(frame);
	}
	call_rules(frame, is_ipv6);
	return frame_drop(frame);
}

SEC("xdp")
int block_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };

	return block(&frame);
}

SEC("tc")
int block_tc(struct __sk_buff *ctx)
{
	struct frame frame = { .skb = ctx };

	return block(&frame);
}

char LICENSE[] SEC("license") = "GPL";
