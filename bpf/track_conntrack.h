/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's conntrack entries: the part of its records that is read, relocated by the kernel's
 * BTF when the program is loaded (CO-RE; what is behind ___ in a name is not compared), and the
 * functions that look them up, net/netfilter/nf_conntrack_bpf.c (Linux 6.0).
 */
#ifndef BPFW_TRACK_CONNTRACK_H
#define BPFW_TRACK_CONNTRACK_H

#include "filter_packet.h"
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct nf_conntrack_man___bpfw {
	struct {
		__be32 all[4];
	} u3;
	struct {
		__be16 all; /* port, or what takes its place */
	} u;
};

struct nf_conntrack_tuple___bpfw {
	struct nf_conntrack_man___bpfw src;
};

struct nf_conntrack_tuple_hash___bpfw {
	struct nf_conntrack_tuple___bpfw tuple;
};

struct nf_conn___bpfw {
	struct nf_conntrack_tuple_hash___bpfw tuplehash[2];
	unsigned long status;
};

struct sk_buff___bpfw {
	unsigned long _nfct;
};

#pragma clang attribute pop

/*
 * <linux/netfilter/nf_conntrack_common.h>, under names of our own because vmlinux.h has them if the
 * kernel it is made from does: the status of an entry, and what is in skb->_nfct.
 */
#define CT_EXPECTED (1UL << 0)
#define CT_SEEN_REPLY (1UL << 1)
#define CT_SRC_NAT (1UL << 4)
#define CT_DST_NAT (1UL << 5)

#define CT_INFO_MASK 7UL

enum ct_info {
	CT_INFO_ESTABLISHED,
	CT_INFO_RELATED,
	CT_INFO_NEW,
	CT_INFO_ESTABLISHED_REPLY,
	CT_INFO_RELATED_REPLY,
	CT_INFO_UNTRACKED = 7,
};

/* struct bpf_ct_opts without zones: the 12 bytes that all kernels take. */
struct ct_options {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir; /* told: 0 original, 1 reply */
	__u8 reserved[2];
};

extern struct nf_conn___bpfw *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple,
						__u32 tuple__sz, struct ct_options *options,
						__u32 options__sz) __ksym;
extern struct nf_conn___bpfw *bpf_skb_ct_lookup(struct __sk_buff *ctx, struct bpf_sock_tuple *tuple,
						__u32 tuple__sz, struct ct_options *options,
						__u32 options__sz) __ksym;
extern void bpf_ct_release(struct nf_conn___bpfw *ct) __ksym;

/* Addresses and ports, network byte order. */
struct ends {
	__be32 source[4], destination[4];
	__be16 source_port, destination_port;
};

static __always_inline __u32 fill_tuple(struct bpf_sock_tuple *tuple, const struct ends *ends)
{
	if (!is_ipv6) {
		tuple->ipv4.saddr = ends->source[0];
		tuple->ipv4.daddr = ends->destination[0];
		tuple->ipv4.sport = ends->source_port;
		tuple->ipv4.dport = ends->destination_port;
		return sizeof(tuple->ipv4);
	}
	for (int i = 0; i < 4; i++) {
		tuple->ipv6.saddr[i] = ends->source[i];
		tuple->ipv6.daddr[i] = ends->destination[i];
	}
	tuple->ipv6.sport = ends->source_port;
	tuple->ipv6.dport = ends->destination_port;
	return sizeof(tuple->ipv6);
}

/*
 * The entry of a TCP or UDP packet between these ends, or NULL; to be given back by
 * bpf_ct_release(). `*reply`: the packet is one of the direction of replies.
 */
static __always_inline struct nf_conn___bpfw *find_connection(const struct frame *frame,
							      const struct ends *ends,
							      __u8 protocol, bool *reply)
{
	struct ct_options options = { .netns_id = BPF_F_CURRENT_NETNS, .l4proto = protocol };
	struct bpf_sock_tuple tuple = {};
	struct nf_conn___bpfw *ct;
	__u32 size = fill_tuple(&tuple, ends);

	if (frame->is_xdp)
		ct = bpf_xdp_ct_lookup(frame->xdp, &tuple, size, &options, sizeof(options));
	else
		ct = bpf_skb_ct_lookup(frame->skb, &tuple, size, &options, sizeof(options));
	*reply = options.dir;
	return ct;
}

#endif /* BPFW_TRACK_CONNTRACK_H */
