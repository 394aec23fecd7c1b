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

struct nf_tcp_net___bpfw {
	__u8 tcp_loose;
	__u8 tcp_be_liberal;
	__u8 tcp_ignore_invalid_rst;
};

struct nf_ip_net___bpfw {
	struct nf_tcp_net___bpfw tcp;
};

struct netns_ct___bpfw {
	struct nf_ip_net___bpfw nf_ct_proto;
};

struct net___bpfw {
	struct netns_ct___bpfw ct;
};

struct possible_net___bpfw {
	struct net___bpfw *net;
};

struct nf_conntrack_man___bpfw {
	struct {
		__be32 all[4];
	} u3;
	struct {
		__be16 all; /* port, or what takes its place */
	} u;
};

struct nf_conntrack_dst___bpfw {
	struct {
		__be32 all[4];
	} u3;
	struct {
		__be16 all;
	} u;
	__u8 protonum;
};

struct nf_conntrack_tuple___bpfw {
	struct nf_conntrack_man___bpfw src;
	struct nf_conntrack_dst___bpfw dst;
};

struct nf_conntrack_tuple_hash___bpfw {
	struct nf_conntrack_tuple___bpfw tuple;
};

/* What has been seen of one direction; host byte order. */
struct ip_ct_tcp_state___bpfw {
	__u32 td_end;
	__u32 td_maxend;
	__u32 td_maxwin;
	__u32 td_maxack;
	__u8 td_scale;
	__u8 flags;
};

struct ip_ct_tcp___bpfw {
	struct ip_ct_tcp_state___bpfw seen[2];
	__u8 state;
	__u8 last_dir;
	__u8 last_index;
	__u32 last_ack;
	__u32 last_end;
	__u8 last_flags;
};

struct refcount___bpfw {
	struct {
		int counter;
	} refs;
};

struct nf_conntrack___bpfw {
	struct refcount___bpfw use;
};

struct nf_conn___bpfw {
	struct nf_conntrack___bpfw ct_general;
	__u32 timeout; /* when it expires, in jiffies */
	struct nf_conntrack_tuple_hash___bpfw tuplehash[2];
	unsigned long status;
	struct possible_net___bpfw ct_net;
	struct {
		struct ip_ct_tcp___bpfw tcp;
	} proto;
};

struct net_device___bpfw {
	struct possible_net___bpfw nd_net;
};

struct sk_buff___bpfw {
	unsigned long _nfct;
	struct net_device___bpfw *dev;
};

struct xdp_rxq_info___bpfw {
	struct net_device___bpfw *dev;
};

struct xdp_buff___bpfw {
	struct xdp_rxq_info___bpfw *rxq;
};

#pragma clang attribute pop

/*
 * <linux/netfilter/nf_conntrack_common.h>, under names of our own because vmlinux.h has them if the
 * kernel it is made from does: the status of an entry, and what is in skb->_nfct.
 */
#define CT_EXPECTED (1UL << 0)
#define CT_SEEN_REPLY (1UL << 1)
#define CT_ASSURED (1UL << 2)
#define CT_CONFIRMED (1UL << 3)
#define CT_SRC_NAT (1UL << 4)
#define CT_DST_NAT (1UL << 5)
#define CT_SEQ_ADJUST (1UL << 6)
#define CT_DYING (1UL << 9)

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

/*
 * The namespace that the packet came in by. The contexts of programs are these records, although
 * programs do not see them so.
 */
static __always_inline const struct net___bpfw *own_net(const struct frame *frame)
{
	const struct net_device___bpfw *dev = NULL;
	const struct net___bpfw *net = NULL;

	if (frame->is_xdp) {
		const struct xdp_buff___bpfw *xdp = (const void *)frame->xdp;
		const struct xdp_rxq_info___bpfw *rxq = NULL;

		bpf_core_read(&rxq, sizeof(rxq), &xdp->rxq);
		bpf_core_read(&dev, sizeof(dev), &rxq->dev);
	} else {
		const struct sk_buff___bpfw *skb = (const void *)frame->skb;

		bpf_core_read(&dev, sizeof(dev), &skb->dev);
	}
	bpf_core_read(&net, sizeof(net), &dev->nd_net.net);
	return net;
}

/* net.netfilter.nf_conntrack_tcp_loose: are connections picked up that have begun before? */
static __always_inline bool is_loose(const struct frame *frame)
{
	const struct net___bpfw *net = own_net(frame);
	__u8 loose = 0;

	bpf_core_read(&loose, sizeof(loose), &net->ct.nf_ct_proto.tcp.tcp_loose);
	return loose;
}

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
