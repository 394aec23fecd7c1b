/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers what a rule with REJECT has met, as nf_send_unreach(), nf_send_reset() and their IPv6
 * namesakes do. The judge calls it at its end; it belongs to no ruleset. A packet that is not
 * answered is dropped.
 *
 * Where a packet came in, the answer goes back by the same device. A packet that goes out is
 * answered as if its destination did it: the answer comes in by the device that the packet was to
 * leave by, and the stack does the rest. It passes rp_filter, conntrack knows what it belongs to
 * and takes NAT back, and it is delivered here or forwarded to where the packet came from. With an
 * address of the machine's own for its source it would be a martian.
 */
#include "checksum.h"
#include "filter_packet.h"

#define ICMP_HLEN 8
#define ICMP_ANSWER 576   /* icmp_send(): RFC 1812, 4.3.2.3 */
#define ICMP6_ANSWER 1280 /* icmpv6_send(): RFC 4443, 2.4 */
#define QUOTED (ICMP_ANSWER - IPV4_HLEN - ICMP_HLEN)
#define QUOTED6 (ICMP6_ANSWER - IPV6_HLEN - ICMP_HLEN)
#define SUMMED 2047 /* bytes that a checksum is computed over; a mask */
#define PIECE 64U
#define TTL 64
#define TOS_SERVICE 0x1e /* the bits that an ICMP answer takes over (RT_TOS()) */
#define PRECEDENCE_CONTROL 0xc0
#define IPPROTO_ICMPV6 58
#define ICMPV6_INFORMATION 0x80
#define ICMP_TYPES 18
#define ICMP_ERRORS (1 << 3 | 1 << 4 | 1 << 5 | 1 << 11 | 1 << 12) /* RFC 1122, 3.2.2 */
#define PACKET_HOST 0

/* See filter_layout.h; written before the program is put into its slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct filter_address);
	__type(value, __u32); /* 1: it is the machine's own, 0: a broadcast address */
} reject_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32); /* ifindex */
	__type(value, struct filter_reject_device);
} reject_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64); /* ns: an ICMP answer may be sent from then on */
} reject_next SEC(".maps");

/* What is known of the packet once it has been changed. */
struct rejected {
	struct ethhdr eth;
	struct filter_address source, destination; /* as on the wire */
	struct filter_address own;                 /* where an ICMP answer comes from */
	__u8 ttl;                                  /* of the answer */
};

/* ---- Access to the packet ----------------------------------------------------------- */

/* Nothing goes out at XDP. */
static __always_inline bool is_outgoing(const struct frame *frame, const struct filter_walk *walk)
{
	return !frame->is_xdp && walk->outgoing;
}

/* All that is looked at has to be in the linear part. */
static __always_inline bool pull(struct frame *frame)
{
	__u32 len;

	if (!frame->is_xdp) {
		len = frame->skb->len;
		if (bpf_skb_pull_data(frame->skb, len < SUMMED ? len : SUMMED))
			return false;
	}
	frame_load(frame);
	return true;
}

/*
 * As frame_bytes(), of what has been pulled. The compiler is kept from adding offset and size first,
 * which old verifiers take for another pointer, and from dropping the mask.
 */
static __always_inline void *bytes_at(const struct frame *frame, __u32 offset, __u32 size)
{
	void *bytes;

	asm volatile("" : "+r"(offset));
	bytes = frame->data + (offset & SUMMED);
	asm volatile("" : "+r"(bytes));
	return bytes + size <= frame->data_end ? bytes : NULL;
}

/* ---- Is there to be an answer? ------------------------------------------------------ */

static __always_inline bool is_same_mac(const __u8 *a, const __u8 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) | (a[4] ^ b[4]) |
		 (a[5] ^ b[5]));
}

/* Neither for many nor for another host, as far as the link layer says. */
static __always_inline bool is_for_us(struct frame *frame,
				      const struct filter_reject_device *device)
{
	const struct ethhdr *eth;

	if (!frame->is_xdp)
		return frame->skb->pkt_type == PACKET_HOST;
	eth = bytes_at(frame, 0, ETH_HLEN);
	return eth && is_same_mac(eth->h_dest, device->mac);
}

/* The addresses of the packet itself: those of the walk may be what NAT makes of them. */
static __always_inline bool read_addresses(struct frame *frame, __u32 l3, struct rejected *packet)
{
	const struct iphdr *ip;
	const struct ipv6hdr *ip6;

	if (is_ipv6) {
		ip6 = bytes_at(frame, l3, IPV6_HLEN);
		if (!ip6)
			return false;
		__builtin_memcpy(&packet->source, &ip6->saddr, sizeof(packet->source));
		__builtin_memcpy(&packet->destination, &ip6->daddr, sizeof(packet->destination));
		return true;
	}
	ip = bytes_at(frame, l3, IPV4_HLEN);
	if (!ip || (*(const __u8 *)ip == 0x45 && !csum_ipv4_ok(ip)))
		return false; /* ip_rcv() drops it before any rule */
	packet->source.word[0] = ip->saddr;
	packet->destination.word[0] = ip->daddr;
	return true;
}

/* One host, as far as the address itself says, and not this one by its loopback address. */
static __always_inline bool is_host(const struct filter_address *address)
{
	const __u8 first = *(const __u8 *)address;

	if (!is_ipv6)
		return first && first != 127 && first < 224;
	return first != 0xff && (address->word[0] | address->word[1] | address->word[2] |
				 (address->word[3] & ~bpf_htonl(1)));
}

static __always_inline bool is_other_host(const struct filter_address *address)
{
	return is_host(address) && !bpf_map_lookup_elem(&reject_addresses, address);
}

/* Does NAT give the packet another destination? Then the walk has that one (track.bpf.c). */
static __always_inline bool is_translated(struct frame *frame, const struct filter_walk *walk,
					  const struct rejected *packet)
{
	const __be16 *port;

	for (int i = 0; i < (is_ipv6 ? 4 : 1); i++)
		if (walk->destination[i] != packet->destination.word[i])
			return true;
	if (!walk->has_ports)
		return false;
	port = bytes_at(frame, walk->l4 + 2, sizeof(*port));
	return port && *port != bpf_htons(walk->destination_port);
}

/*
 * Where an ICMP answer comes from. What NAT sends elsewhere is answered by the address that its
 * sender knows, as nf_nat_icmp_reply_translation() has it. Routing may have sent to INPUT what is
 * for nobody here.
 */
static __always_inline bool choose_own(struct frame *frame, const struct filter_walk *walk,
				       const struct filter_reject_device *device,
				       struct rejected *packet)
{
	const __u32 *own = bpf_map_lookup_elem(&reject_addresses, &packet->destination);

	if ((own && *own) || is_translated(frame, walk, packet)) {
		packet->own = packet->destination;
		return true;
	}
	if (walk->hook != FILTER_HOOK_FORWARD)
		return false;
	if (is_ipv6)
		packet->own = device->address6;
	else
		packet->own.word[0] = device->address4;
	return true;
}

static __always_inline bool can_answer_in(struct frame *frame, const struct filter_walk *walk,
					  struct rejected *packet)
{
	const struct filter_reject_device *device;
	__u32 ifindex = walk->in;

	packet->ttl = TTL;
	device = bpf_map_lookup_elem(&reject_devices, &ifindex);
	return device && is_for_us(frame, device) && is_other_host(&packet->source) &&
	       choose_own(frame, walk, device, packet);
}

/* From the machine's own address, or from behind it. An answer that is forwarded loses a hop. */
static __always_inline bool can_answer_out(const struct filter_walk *walk, struct rejected *packet)
{
	const __u32 *own = bpf_map_lookup_elem(&reject_addresses, &packet->source);

	packet->ttl = walk->hook == FILTER_HOOK_FORWARD ? TTL + 1 : TTL;
	packet->own = packet->destination;
	return (!own || *own) && is_host(&packet->source) && is_other_host(&packet->destination);
}

/* ICMP errors, and what might be one. */
static __always_inline bool is_icmp_error(const struct filter_walk *walk)
{
	if (is_ipv6)
		return walk->protocol == IPPROTO_ICMPV6 &&
		       (!walk->has_l4 || !(walk->icmp_type & ICMPV6_INFORMATION));
	return walk->protocol == IPPROTO_ICMP && (!walk->has_l4 || walk->icmp_type > ICMP_TYPES ||
						  (1U << (walk->icmp_type & 31) & ICMP_ERRORS));
}

/* FILTER_REJECT_BURST answers at once, then one each FILTER_REJECT_INTERVAL, on each CPU. */
static __always_inline bool is_within_rate(void)
{
	__u32 zero = 0;
	__u64 *next = bpf_map_lookup_elem(&reject_next, &zero);
	const __u64 now = bpf_ktime_get_ns();
	const __u64 earliest = now - FILTER_REJECT_BURST * FILTER_REJECT_INTERVAL;

	if (!next)
		return false;
	if (*next < earliest)
		*next = earliest;
	if (*next > now)
		return false;
	*next += FILTER_REJECT_INTERVAL;
	return true;
}

/* ---- Checksums ---------------------------------------------------------------------- */

/* The sum of a pseudo header; as checksums are, it is the same for both directions. */
static __always_inline __u64 sum_pseudo(const struct filter_address *a,
					const struct filter_address *b, __u8 protocol, __u16 len)
{
	__u64 sum = (__u64)bpf_htons(protocol) + bpf_htons(len) + a->word[0] + b->word[0];

	if (is_ipv6)
		for (int i = 1; i < 4; i++)
			sum += (__u64)a->word[i] + b->word[i];
	return sum;
}

/* Up to three bytes, whose first is in the place of a sum's even one. */
static __always_inline __u32 sum_rest(const struct frame *frame, const __u8 *bytes, __u32 count)
{
	__u32 sum = 0;

	if (count > 0 && bytes + 1 <= (__u8 *)frame->data_end)
		sum += bpf_htons((__u16)(bytes[0] << 8));
	if (count > 1 && bytes + 2 <= (__u8 *)frame->data_end)
		sum += bpf_htons(bytes[1]);
	if (count > 2 && bytes + 3 <= (__u8 *)frame->data_end)
		sum += bpf_htons((__u16)(bytes[2] << 8));
	return sum;
}

/*
 * The sum of `len` bytes from `at` on, which are at most SUMMED: pieces of 64 bytes, words, bytes. Few
 * turns, since old verifiers remember the way out of each one.
 */
static __always_inline bool sum_bytes(const struct frame *frame, __u32 at, __u32 len, __u64 *sum)
{
	const __u8 *begin, *words, *piece;
	__u32 pieces_end = len, words_end = len;

	/* See bytes_at(); nor is a loop to end by what the compiler knows of the length. */
	asm volatile("" : "+r"(at), "+r"(len), "+r"(pieces_end), "+r"(words_end));
	begin = frame->data + (at & SUMMED);
	for (__u32 i = 0; i < SUMMED / PIECE; i++) {
		if (PIECE * (i + 1) > len)
			break;
		piece = begin + PIECE * i;
		if (piece + PIECE > (const __u8 *)frame->data_end)
			return false;
		*sum += (__u32)bpf_csum_diff(NULL, 0, (__be32 *)piece, PIECE, 0);
	}
	words = begin + (pieces_end & SUMMED & ~(PIECE - 1));
	for (__u32 i = 0; i < PIECE / 4 - 1; i++) {
		if (4 * (i + 1) > (len & (PIECE - 1)))
			break;
		piece = words + 4 * i;
		if (piece + 4 > (const __u8 *)frame->data_end)
			return false;
		*sum += *(const __u32 *)piece;
	}
	*sum += sum_rest(frame, begin + (words_end & SUMMED & ~3U), len & 3);
	return true;
}

/*
 * Another namespace's packet may come with the pseudo header's sum only (see checksum.h), and then
 * the checksum is put in when the answer leaves: where it is in the packet, over all that is
 * behind. At XDP that state is lost, the packet looks the same.
 */
static __always_inline bool looks_partial(struct frame *frame, const struct filter_walk *walk,
					  __be16 *check)
{
	const __u32 at = walk->protocol == IPPROTO_TCP ? 16 : 6;
	const __u16 len = (__u16)(walk->length - (walk->l4 - walk->l3));
	const __be16 *field;
	const void *ip;

	if (!walk->has_l4 || (walk->protocol != IPPROTO_TCP && walk->protocol != IPPROTO_UDP))
		return false;
	field = bytes_at(frame, walk->l4 + at, sizeof(*field));
	if (!field)
		return false;
	*check = *field;
	ip = bytes_at(frame, walk->l3, is_ipv6 ? IPV6_HLEN : IPV4_HLEN);
	if (!ip)
		return false;
	return is_ipv6 ? csum_looks_partial6(ip, len, *check) :
			 csum_looks_partial4(ip, len, *check);
}

/*
 * nf_reject_verify_csum(): of protocols that have one. What is longer than SUMMED is taken for right: at TC
 * GRO has put it together, and looked at it.
 */
static __always_inline bool is_checksum_right(struct frame *frame, const struct filter_walk *walk,
					      const struct rejected *packet)
{
	const __u32 len = walk->length - (walk->l4 - walk->l3);
	const __u8 protocol = walk->protocol;
	__be16 check = 0;
	__u64 sum = 0;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP &&
	    protocol != (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return true;
	if (!walk->has_l4)
		return false;
	if (walk->l3 + walk->length > SUMMED || looks_partial(frame, walk, &check) ||
	    (protocol == IPPROTO_UDP && !check))
		return true;
	if (is_ipv6 || protocol != IPPROTO_ICMP)
		sum = sum_pseudo(&packet->source, &packet->destination, protocol, (__u16)len);
	return sum_bytes(frame, walk->l4, len, &sum) && csum_fold64(sum) == 0xffff;
}

/* ---- Changing the frame ------------------------------------------------------------- */

/* `len` bytes of the packet are left, and `head` new ones in front of it. */
static __always_inline bool resize(struct frame *frame, __u32 l3, __u32 len, __u32 head)
{
	const int change = (int)(l3 + len) - (int)frame_len(frame);

	/* bpf_skb_change_tail() is what makes one packet of those that GSO would cut. */
	if (!frame->is_xdp && !change && frame->skb->gso_size)
		return false;
	if (frame->is_xdp) {
		if (change && bpf_xdp_adjust_tail(frame->xdp, change))
			return false;
		if (head && bpf_xdp_adjust_head(frame->xdp, -(int)head))
			return false;
	} else {
		if (change && bpf_skb_change_tail(frame->skb, l3 + len, 0))
			return false;
		if (head && bpf_skb_adjust_room(frame->skb, (__s32)head, BPF_ADJ_ROOM_MAC, 0))
			return false;
	}
	return pull(frame);
}

/* Back where it came from. The length of a link header is 0 or ETH_HLEN. */
static __always_inline bool write_ethernet(struct frame *frame, __u32 l3, const struct ethhdr *eth)
{
	struct ethhdr *to;

	if (!l3)
		return true;
	to = bytes_at(frame, 0, ETH_HLEN);
	if (!to)
		return false;
	__builtin_memcpy(to->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(to->h_source, eth->h_dest, ETH_ALEN);
	to->h_proto = eth->h_proto;
	return true;
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct rejected *packet, __be32 from,
				       __u16 len)
{
	const __u32 *word = (const void *)ip;

	*(__u8 *)ip = 0x45;
	ip->tot_len = bpf_htons(len);
	ip->ttl = packet->ttl;
	ip->check = 0;
	ip->saddr = from;
	ip->daddr = packet->source.word[0];
	ip->check = (__u16)~csum_fold64((__u64)word[0] + word[1] + word[2] + word[3] + word[4]);
}

static __always_inline void write_ipv6(struct ipv6hdr *ip6, const struct rejected *packet,
				       const struct filter_address *from, __u8 protocol, __u16 len)
{
	*(__be32 *)ip6 = bpf_htonl(6U << 28);
	ip6->payload_len = bpf_htons(len);
	ip6->nexthdr = protocol;
	ip6->hop_limit = packet->ttl;
	__builtin_memcpy(&ip6->saddr, from, sizeof(*from));
	__builtin_memcpy(&ip6->daddr, &packet->source, sizeof(packet->source));
}

/* ---- TCP RST ------------------------------------------------------------------------ */

struct reset {
	struct tcphdr tcp;
	bool partial;
};

/* nf_reject_ip_tcphdr_put(); false: no answer to this segment. */
static __always_inline bool make_reset(struct frame *frame, const struct filter_walk *walk,
				       const struct rejected *packet, struct reset *reset)
{
	const __u32 head = is_ipv6 ? IPV6_HLEN : IPV4_HLEN;
	const __u32 *word = (const void *)&reset->tcp;
	const struct tcphdr *old;
	__u32 len;
	__be16 check;
	__u64 sum;

	if (walk->protocol != IPPROTO_TCP || !walk->has_l4 || walk->tcp_flags & TCP_RST)
		return false;
	reset->partial = !frame->is_xdp && looks_partial(frame, walk, &check);
	if (reset->partial && walk->l4 - walk->l3 != head)
		return false; /* it would be put in somewhere else */
	old = bytes_at(frame, walk->l4, TCP_HLEN);
	if (!old)
		return false;
	__builtin_memset(&reset->tcp, 0, sizeof(reset->tcp));
	reset->tcp.source = old->dest;
	reset->tcp.dest = old->source;
	((__u8 *)&reset->tcp)[TCP_OFFSET_BYTE] = TCP_HLEN / 4 << 4;
	((__u8 *)&reset->tcp)[TCP_FLAG_BYTE] = TCP_RST;
	if (walk->tcp_flags & TCP_ACK) {
		reset->tcp.seq = old->ack_seq;
	} else {
		len = walk->length - (walk->l4 - walk->l3) -
		      (((const __u8 *)old)[TCP_OFFSET_BYTE] >> 4) * 4;
		len += !!(walk->tcp_flags & TCP_SYN) + !!(walk->tcp_flags & TCP_FIN);
		reset->tcp.ack_seq = bpf_htonl(bpf_ntohl(old->seq) + len);
		((__u8 *)&reset->tcp)[TCP_FLAG_BYTE] = TCP_RST | TCP_ACK;
	}
	sum = sum_pseudo(&packet->source, &packet->destination, IPPROTO_TCP, TCP_HLEN);
	if (reset->partial) {
		reset->tcp.check = csum_fold64(sum);
		return true;
	}
	reset->tcp.check =
		(__u16)~csum_fold64(sum + word[0] + word[1] + word[2] + word[3] + word[4]);
	return true;
}

static __always_inline bool answer_reset(struct frame *frame, const struct filter_walk *walk,
					 const struct rejected *packet)
{
	const __u32 head = is_ipv6 ? IPV6_HLEN : IPV4_HLEN;
	const __u32 l3 = walk->l3;
	struct reset reset;
	void *ip;

	if (!make_reset(frame, walk, packet, &reset) || !resize(frame, l3, head + TCP_HLEN, 0) ||
	    !write_ethernet(frame, l3, &packet->eth))
		return false;
	ip = bytes_at(frame, l3, is_ipv6 ? IPV6_HLEN + TCP_HLEN : IPV4_HLEN + TCP_HLEN);
	if (!ip)
		return false;
	if (is_ipv6) {
		write_ipv6(ip, packet, &packet->destination, IPPROTO_TCP, TCP_HLEN);
	} else {
		((struct iphdr *)ip)->tos = 0;
		((struct iphdr *)ip)->id = 0;
		((struct iphdr *)ip)->frag_off = bpf_htons(IP_DF);
		((struct iphdr *)ip)->protocol = IPPROTO_TCP;
		write_ipv4(ip, packet, packet->destination.word[0], IPV4_HLEN + TCP_HLEN);
	}
	__builtin_memcpy(ip + (is_ipv6 ? IPV6_HLEN : IPV4_HLEN), &reset.tcp, sizeof(reset.tcp));
	return true;
}

/* ---- ICMP --------------------------------------------------------------------------- */

/* As ip_forward() and ip6_forward() leave it, before the rules of FORWARD. */
static __always_inline bool take_hop(struct frame *frame, __u32 at)
{
	struct ipv6hdr *ip6;
	struct iphdr *ip;
	__u32 check;

	if (is_ipv6) {
		ip6 = bytes_at(frame, at, IPV6_HLEN);
		if (!ip6)
			return false;
		ip6->hop_limit--;
		return true;
	}
	ip = bytes_at(frame, at, IPV4_HLEN);
	if (!ip)
		return false;
	ip->ttl--;
	check = ip->check + bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	return true;
}

/* Type and code; the checksum is not there yet. */
static __always_inline bool write_icmp(struct frame *frame, const struct filter_walk *walk,
				       const struct rejected *packet, __u32 len)
{
	const __u32 head = is_ipv6 ? IPV6_HLEN : IPV4_HLEN;
	const __u32 l3 = walk->l3;
	struct iphdr *ip;
	__u8 *icmp;

	ip = bytes_at(frame, l3, is_ipv6 ? IPV6_HLEN + ICMP_HLEN : IPV4_HLEN + ICMP_HLEN);
	if (!ip)
		return false;
	if (is_ipv6) {
		write_ipv6((void *)ip, packet, &packet->own, IPPROTO_ICMPV6, (__u16)len);
	} else {
		ip->tos = (walk->tos & TOS_SERVICE) | PRECEDENCE_CONTROL;
		ip->id = (__be16)bpf_get_prandom_u32();
		ip->frag_off = 0;
		ip->protocol = IPPROTO_ICMP;
		write_ipv4(ip, packet, packet->own.word[0], (__u16)(head + len));
	}
	icmp = (void *)ip + (is_ipv6 ? IPV6_HLEN : IPV4_HLEN);
	__builtin_memset(icmp, 0, ICMP_HLEN);
	icmp[0] = (__u8)(walk->reject >> 8);
	icmp[1] = (__u8)walk->reject;
	return true;
}

/*
 * Over `len` bytes. Where the sender's checksum will be put in, what it covers comes to the
 * complement of what stands in its place now.
 */
static __always_inline bool write_icmp_checksum(struct frame *frame, const struct filter_walk *walk,
						const struct rejected *packet, __u32 len,
						bool partial, __be16 partial_check)
{
	const __u32 at = walk->l3 + (is_ipv6 ? IPV6_HLEN : IPV4_HLEN);
	__u32 summed = len;
	__u64 sum = 0;
	__be16 *check;

	if (partial) {
		summed = ICMP_HLEN + walk->l4 - walk->l3;
		sum = (__u16)~partial_check;
	}
	if (is_ipv6)
		sum += sum_pseudo(&packet->own, &packet->source, IPPROTO_ICMPV6, (__u16)len);
	if (!sum_bytes(frame, at, summed, &sum))
		return false;
	check = bytes_at(frame, at + 2, sizeof(*check));
	if (check)
		*check = (__u16)~csum_fold64(sum);
	return check;
}

static __always_inline bool answer_icmp(struct frame *frame, const struct filter_walk *walk,
					const struct rejected *packet)
{
	const __u32 most = is_ipv6 ? QUOTED6 : QUOTED;
	const __u32 head = (is_ipv6 ? IPV6_HLEN : IPV4_HLEN) + ICMP_HLEN;
	const __u32 quoted = walk->length < most ? walk->length : most;
	__be16 partial_check = 0;
	bool partial;

	/* icmpv6_send() is not called for a packet that ends with its headers. */
	if (is_icmp_error(walk) || (is_ipv6 && walk->l4 - walk->l3 >= walk->length))
		return false;
	partial = !frame->is_xdp && looks_partial(frame, walk, &partial_check);
	if (!is_within_rate() || !resize(frame, walk->l3, quoted, head) ||
	    !write_ethernet(frame, walk->l3, &packet->eth))
		return false;
	if (walk->hook == FILTER_HOOK_FORWARD && !is_outgoing(frame, walk) &&
	    !take_hop(frame, walk->l3 + head))
		return false;
	return write_icmp(frame, walk, packet, ICMP_HLEN + quoted) &&
	       write_icmp_checksum(frame, walk, packet, ICMP_HLEN + quoted, partial, partial_check);
}

/* ---- Programs ----------------------------------------------------------------------- */

static __always_inline bool answer(struct frame *frame, const struct filter_walk *walk)
{
	const struct ethhdr *eth;
	struct rejected packet = {};

	if (walk->fragment || walk->first_of_many || !read_addresses(frame, walk->l3, &packet))
		return false;
	if (walk->l3 && (walk->bare || walk->l3 != ETH_HLEN))
		return false; /* the tag or tunnel that it came with is not one to answer with */
	if (!(is_outgoing(frame, walk) ? can_answer_out(walk, &packet) :
					 can_answer_in(frame, walk, &packet)))
		return false;
	if (!is_checksum_right(frame, walk, &packet))
		return false;
	if (walk->l3) {
		eth = bytes_at(frame, 0, ETH_HLEN);
		if (!eth)
			return false;
		packet.eth = *eth;
	}
	if (walk->reject == FILTER_REJECT_RESET)
		return answer_reset(frame, walk, &packet);
	if (!(packet.own.word[0] | packet.own.word[1] | packet.own.word[2] | packet.own.word[3]))
		return false; /* the device has no address */
	return answer_icmp(frame, walk, &packet);
}

/* Rules are not asked about answers. At native XDP they are not met; nobody would take a mark away. */
static __always_inline __u32 answer_mark(__u32 ifindex)
{
	const struct filter_port *port = bpf_map_lookup_elem(&filtered, &ifindex);

	return port && port->judged && !port->xdp_program ? FILTER_ANSWER_MARK : 0;
}

/*
 * By bpf_redirect() at XDP as well: what a veth is told to XDP_TX its peer gets to see only if it has
 * an XDP program (veth_xdp_flush()).
 */
SEC("xdp")
int reject_xdp(struct xdp_md *ctx)
{
	struct frame frame = { .is_xdp = true, .xdp = ctx };
	const struct filter_walk *walk = own_walk();

	return walk && pull(&frame) && answer(&frame, walk) ?
		       (int)bpf_redirect(ctx->ingress_ifindex, 0) :
		       XDP_DROP;
}

SEC("tc")
int reject_tc(struct __sk_buff *ctx)
{
	struct frame frame = { .skb = ctx };
	const struct filter_walk *walk = own_walk();

	if (!walk || !pull(&frame) || !answer(&frame, walk))
		return TC_DROP;
	if (!walk->outgoing)
		return (int)bpf_redirect(ctx->ifindex, 0);
	ctx->mark = answer_mark(ctx->ifindex); /* the packet's own may have chosen its route */
	return (int)bpf_redirect(ctx->ifindex, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "GPL";
