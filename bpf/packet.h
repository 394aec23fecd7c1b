/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One packet on its way through the program, and all that differs between XDP and
 * TC. The walk is written once over struct packet; each entry point fills in one of
 * the two contexts, and since that is a constant after inlining, the compiler drops
 * the other hook's code.
 */
#ifndef BPFW_PACKET_H
#define BPFW_PACKET_H

#include "maps.h"

struct packet {
	struct xdp_md *xdp; /* one of these two is NULL */
	struct __sk_buff *skb;
	bool switched; /* XDP: the frame may have a DSA switch's tag */
	bool bare;     /* the device has no link layer: the packet starts with its IP header */
	void *data;    /* the Ethernet header, if there is one */
	void *data_end;
	__u64 prefix;   /* XDP: bytes before the Ethernet header, a switch's tag */
	void *l3;       /* the IP header */
	__u64 link_len; /* bytes before it; 64 bits wide, so that old verifiers follow it */
	__u32 ingress;  /* ifindex */
	__u32 now;      /* jiffies, the low 32 bits */
	__u32 l3_len;   /* bytes from the IP header on, as the header says */
	__u16 vlan[MAX_VLAN_TAGS]; /* as in the keys */
	__be16 session;
	__u16 session_len; /* the PPPoE header's length field */
	__u8 tags;         /* VLAN tags; at TC the outermost is not in the frame */
	__u8 pcp;          /* priority of the innermost */
	__u8 protocol;     /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 tcp_flags;    /* as in the header's byte */
	__u8 l4_header_len;
};

/* How far a TCP segment has come; as in struct bpfw_action. */
struct tcp_progress {
	__u32 seq;
	__u32 seq_end;
	__u32 ack;
	__u16 window;
};

/*
 * The masks tell the verifier what is true anyhow: a link header has 30 bytes at most, and
 * a switch's tag 8.
 */
static __always_inline void packet_load(struct packet *p)
{
	if (p->xdp) {
		p->data = (void *)(long)p->xdp->data;
		p->data_end = (void *)(long)p->xdp->data_end;
	} else {
		const struct __sk_buff *skb = p->skb;

		/*
		 * The verifier wants fields of the context by constant offsets; the compiler,
		 * meeting a field often, would keep its address.
		 */
		asm volatile("" : "+r"(skb));
		p->data = (void *)(long)skb->data;
		p->data_end = (void *)(long)skb->data_end;
	}
	if (p->switched) {
		p->data += p->prefix & 15;
		p->l3 = p->data + (p->link_len & 63);
	} else {
		p->l3 = p->data + (p->link_len & 31);
	}
}

/* Bytes of the frame, from the Ethernet header on, whether linear or not. */
static __always_inline __u32 packet_frame_len(const struct packet *p)
{
	return p->xdp ? p->data_end - p->data : p->skb->len;
}

/*
 * Are the first `len` bytes there to be read? At TC they may have to be pulled into
 * the linear part first, which changes where they are but not what they are.
 */
static __always_inline bool packet_has(struct packet *p, __u32 len)
{
	if (p->data + len <= p->data_end)
		return true;
	if (p->xdp || p->skb->len < len || bpf_skb_pull_data(p->skb, len))
		return false;
	packet_load(p);
	return p->data + len <= p->data_end;
}

/* The same for the first `len` bytes after the link header. */
static __always_inline bool packet_has_l3(struct packet *p, __u32 len)
{
	if (p->l3 + len <= p->data_end)
		return true;
	return packet_has(p, (__u32)p->link_len + len) && p->l3 + len <= p->data_end;
}

/* The IP packet and its padding; within PPPoE, what that header's length field leaves. */
static __always_inline __u32 packet_l3_room(const struct packet *p)
{
	__u32 room = packet_frame_len(p) - (__u32)p->link_len;

	if (!p->session || p->session_len > room + PPP_HLEN)
		return p->session ? 0 : room;
	return p->session_len < PPP_HLEN ? 0 : p->session_len - PPP_HLEN;
}

/*
 * The longest IP packet that will leave the router for this one: a GSO packet is cut
 * into segments on the way out (skb_gso_validate_network_len() in the kernel).
 */
static __always_inline __u32 packet_segment_len(const struct packet *p, __u32 l3_header_len)
{
	if (p->skb && p->skb->gso_size)
		return l3_header_len + p->l4_header_len + p->skb->gso_size;
	return p->l3_len;
}

/* Read when it is needed, not kept: UDP has nothing of it. */
static __always_inline struct tcp_progress packet_tcp_progress(const struct packet *p, bool v6)
{
	const __u32 l3_header_len = v6 ? IPV6_HLEN : IPV4_HLEN;
	const struct tcphdr *tcp = p->l3 + l3_header_len;
	struct tcp_progress progress = { 0 };

	if (p->protocol != IPPROTO_TCP || (void *)(tcp + 1) > p->data_end)
		return progress; /* parse_l4() has made sure */
	progress.seq = bpf_ntohl(tcp->seq);
	progress.seq_end = progress.seq + p->l3_len - l3_header_len - p->l4_header_len;
	progress.ack = bpf_ntohl(tcp->ack_seq);
	progress.window = bpf_ntohs(tcp->window);
	return progress;
}

/* A GSO packet cannot be given a PPPoE header: the kernel could not segment it any more. */
static __always_inline bool packet_is_gso(const struct packet *p)
{
	return p->skb && p->skb->gso_size;
}

/*
 * Ethernet headers are aligned to 2 bytes, no better (NET_IP_ALIGN). Which of the two ways
 * is in the program is decided when it is loaded.
 */
static __always_inline bool mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const void *)a;
	const __u16 *y = (const void *)b;

	if (wide_access)
		return *(const __u32 *)a == *(const __u32 *)b && x[2] == y[2];
	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

/* Both MACs; `from` is aligned to 4 bytes. */
static __always_inline void macs_copy(void *to, const void *from)
{
	__u16 *half = to;

	if (wide_access) {
		*(__u64 *)to = *(const __u64 *)from;
		*(__u32 *)(to + 8) = *(const __u32 *)(from + 8);
		return;
	}
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		half[i] = ((const __u16 *)from)[i];
}

/*
 * Name the device that the packet is to leave by. It goes there when the program returns
 * `verdict`; until then nothing has happened, so this comes before the packet is changed.
 * Returns false if there is no such device any more.
 */
static __always_inline bool packet_aim(const struct packet *p, __u32 egress, int *verdict)
{
	if (!p->xdp) {
		*verdict = (int)bpf_redirect(egress, 0);
		return true;
	}
	*verdict = (int)bpf_redirect_map(&egresses, egress, XDP_PASS);
	return *verdict == XDP_REDIRECT;
}

static __always_inline int packet_pass(const struct packet *p)
{
	return p->xdp ? XDP_PASS : TC_NEXT;
}

static __always_inline int packet_drop(const struct packet *p)
{
	return p->xdp ? XDP_DROP : TC_DROP;
}

#endif /* BPFW_PACKET_H */
