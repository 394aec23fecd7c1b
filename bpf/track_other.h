/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Connections of protocols that bpf_*_ct_lookup() does not know (ICMP, GRE, ESP, ...): a map from
 * their tuples to conntrack's entries, filled by what goes out, for a packet that goes out has its
 * entry with it.
 *
 * The map holds no reference. An entry that is gone is told by its memory: conntrack marks it
 * before it lets it go, and another entry there has other tuples. Memory that has become something
 * else reads as no entry, by the tuple, the namespace, the status and the reference count, all of
 * which have to be right. It is read by bpf_probe_read_kernel(), whatever is there.
 */
#ifndef BPFW_TRACK_OTHER_H
#define BPFW_TRACK_OTHER_H

#include "filter_parse.h"
#include "track_conntrack.h"

#define OTHERS_MAX 16384 /* two of each connection */

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMP_TIMESTAMP 13
#define ICMP_INFO_REQUEST 15
#define ICMP_ADDRESS 17
#define ICMP_ADDRESS_REPLY 18
#define ICMPV6_ECHO 128
#define ICMPV6_NI_QUERY 139

/* struct nf_conntrack_tuple */
struct other_tuple {
	struct ends ends; /* in place of ports: the ICMP identifier; type and code */
	__u8 protocol;
	__u8 family; /* AF_INET, AF_INET6 */
	__u8 unused[2];
};

struct other_entry {
	__u64 ct; /* address of the struct nf_conn */
	__u32 reply;
	__u32 unused;
};

/* Pinned, so that another ruleset knows them, too. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OTHERS_MAX);
	__type(key, struct other_tuple);
	__type(value, struct other_entry);
} others SEC(".maps");

/* ---- Tuples ------------------------------------------------------------------------------ */

static __always_inline bool is_icmp(__u8 protocol)
{
	return protocol == (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* The type of the answer to an ICMP question, or of the question to an answer; 0xffff: none. */
static __always_inline __u16 inverse_type(__u8 type)
{
	if (is_ipv6)
		return type == ICMPV6_ECHO || type == ICMPV6_NI_QUERY         ? type + 1 :
		       type == ICMPV6_ECHO + 1 || type == ICMPV6_NI_QUERY + 1 ? type - 1 :
										0xffff;
	if (type == ICMP_ECHO)
		return ICMP_ECHO_REPLY;
	if (type == ICMP_ECHO_REPLY)
		return ICMP_ECHO;
	if (type < ICMP_TIMESTAMP || type > ICMP_ADDRESS_REPLY)
		return 0xffff;
	return type & 1 ? type + 1 : type - 1;
}

/* valid_new[]: may an ICMP connection begin with it? */
static __always_inline bool is_question(__u8 type)
{
	if (is_ipv6)
		return type == ICMPV6_ECHO || type == ICMPV6_NI_QUERY;
	return type == ICMP_ECHO || type == ICMP_TIMESTAMP || type == ICMP_INFO_REQUEST ||
	       type == ICMP_ADDRESS;
}

static __always_inline __be16 type_and_code(__u8 type, __u8 code)
{
	return bpf_htons((__u16)(type << 8 | code));
}

/* Does it have ports in conntrack's tuples? */
static __always_inline bool has_conntrack_ports(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return true;
	default:
		return false;
	}
}

/* ---- Entries ------------------------------------------------------------------------------ */

#define READ_TUPLE(tuple, ct, direction)                                                    \
	do {                                                                                \
		bpf_core_read((tuple)->ends.source, sizeof((tuple)->ends.source),           \
			      &(ct)->tuplehash[direction].tuple.src.u3);                    \
		bpf_core_read((tuple)->ends.destination, sizeof((tuple)->ends.destination), \
			      &(ct)->tuplehash[direction].tuple.dst.u3);                    \
		bpf_core_read(&(tuple)->ends.source_port, sizeof(__be16),                   \
			      &(ct)->tuplehash[direction].tuple.src.u.all);                 \
		bpf_core_read(&(tuple)->ends.destination_port, sizeof(__be16),              \
			      &(ct)->tuplehash[direction].tuple.dst.u.all);                 \
		bpf_core_read(&(tuple)->protocol, sizeof(__u8),                             \
			      &(ct)->tuplehash[direction].tuple.dst.protonum);              \
	} while (0)

static __always_inline void read_tuple(struct other_tuple *tuple, const struct nf_conn___bpfw *ct,
				       bool reply, __u8 family)
{
	__builtin_memset(tuple, 0, sizeof(*tuple));
	tuple->family = family;
	if (reply)
		READ_TUPLE(tuple, ct, 1);
	else
		READ_TUPLE(tuple, ct, 0);
}

static __always_inline bool is_same(const struct other_tuple *a, const struct other_tuple *b)
{
	bool same = a->protocol == b->protocol && a->ends.source_port == b->ends.source_port &&
		    a->ends.destination_port == b->ends.destination_port;

	for (int i = 0; i < 4; i++)
		same &= a->ends.source[i] == b->ends.source[i] &&
			a->ends.destination[i] == b->ends.destination[i];
	return same;
}

/* nf_ct_is_expired(), nf_ct_is_dying(), and a reference that somebody holds */
static __always_inline bool is_alive(const struct nf_conn___bpfw *ct, unsigned long status)
{
	__u32 timeout = 0;
	int use = 0;

	bpf_core_read(&use, sizeof(use), &ct->ct_general.use.refs.counter);
	bpf_core_read(&timeout, sizeof(timeout), &ct->timeout);
	return use > 0 && (status & CT_CONFIRMED) && !(status & CT_DYING) &&
	       (__s32)(timeout - (__u32)bpf_jiffies64()) > 0;
}

struct other {
	const struct nf_conn___bpfw *ct;
	unsigned long status;
	bool reply;
};

/* The entry that a packet with this tuple belongs to; false if none is known. */
static __always_inline bool find_other(struct other *other, const struct frame *frame,
				       const struct other_tuple *tuple)
{
	const struct other_entry *entry = bpf_map_lookup_elem(&others, tuple);
	const struct net___bpfw *net = NULL;
	const struct nf_conn___bpfw *ct;
	unsigned long status = 0;
	struct other_tuple there;

	if (!entry)
		return false;
	ct = (const void *)(unsigned long)entry->ct;
	other->reply = entry->reply;
	bpf_core_read(&status, sizeof(status), &ct->status);
	bpf_core_read(&net, sizeof(net), &ct->ct_net.net);
	read_tuple(&there, ct, other->reply, tuple->family);
	other->ct = ct;
	other->status = status;
	return is_same(tuple, &there) && net == own_net(frame) && is_alive(ct, status);
}

/* ---- Learning ----------------------------------------------------------------------------- */

static __always_inline void learn_direction(const struct nf_conn___bpfw *ct, bool reply,
					    __u8 family)
{
	const struct other_entry entry = { .ct = (unsigned long)ct, .reply = reply };
	const struct other_entry *known;
	struct other_tuple tuple;

	read_tuple(&tuple, ct, reply, family);
	known = bpf_map_lookup_elem(&others, &tuple);
	if (!known || known->ct != entry.ct || known->reply != entry.reply)
		bpf_map_update_elem(&others, &tuple, &entry, BPF_ANY);
}

/* A packet that goes out belongs to this entry. */
static __always_inline void learn(const struct nf_conn___bpfw *ct, __u8 family)
{
	__u8 protocol = 0;

	bpf_core_read(&protocol, sizeof(protocol), &ct->tuplehash[0].tuple.dst.protonum);
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP)
		return;
	learn_direction(ct, false, family);
	learn_direction(ct, true, family);
}

#endif /* BPFW_TRACK_OTHER_H */
