/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the BPF programs and the daemon share: map keys and values, signals,
 * exit reasons. All addresses and ports are in network byte order, everything
 * else is in host byte order. The file includes nothing, so that vmlinux.h (BPF)
 * or linux/types.h (user space) can come before it.
 */
#ifndef BPFW_LAYOUT_H
#define BPFW_LAYOUT_H

/*
 * A VLAN tag in a key: its id, that there is one, and whose. Priority is no part of it.
 * 0 is no tag.
 */
#define VLAN_ID_MASK 0x0fff
#define VLAN_TAGGED 0x1000
#define VLAN_SERVICE 0x2000 /* 802.1ad, else 802.1Q */

#define MAX_VLAN_TAGS 2

/*
 * Key of one direction of a flow: what is really seen on the wire of the
 * ingress port, before any NAT. No padding: map keys are compared as bytes.
 */
struct bpfw_flow4_key {
	__u32 ingress;             /* ifindex of the port the packet came in on */
	__u16 vlan[MAX_VLAN_TAGS]; /* outermost first */
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
	__be16 session; /* PPPoE session, 0 for none (RFC 2516 starts at 1) */
	__u16 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
} __attribute__((aligned(8)));

struct bpfw_flow6_key {
	__u32 ingress;
	__u16 vlan[MAX_VLAN_TAGS];
	__be32 src[4];
	__be32 dst[4];
	__be16 sport;
	__be16 dport;
	__be16 session;
	__u16 protocol;
} __attribute__((aligned(8)));

/* What happens to a packet that hits an entry. */
enum flow_verdict {
	FLOW_FORWARD, /* rewrite and redirect */
	FLOW_PASS,    /* to the stack: the connection is closing, or the daemon is to look at it */
	FLOW_DROP,    /* the route is a blackhole */
};

enum flow_flags {
	FLOW_REPLY = 1 << 0,   /* the reply direction of the conntrack entry */
	FLOW_NAT = 1 << 1,     /* addresses or ports change */
	FLOW_TRACKED = 1 << 2, /* seq_end, ack and window below hold what a packet carried */
	FLOW_PPPOE = 1 << 3,   /* the link header ends with that of PPPoE */
	FLOW_SESSION = 1 << 4, /* comes in by PPPoE: session_mac is the only sender */
};

/* Ethernet, two tags, PPPoE with its protocol field */
#define LINK_HEADER_MAX (14 + MAX_VLAN_TAGS * 4 + 8)

/*
 * XDP on the conduit of a DSA switch meets the tags by which the switch and the CPU name
 * the switch's ports to each other (the kernel's net/dsa/tag_*.c).
 */
enum switch_tag {
	SWITCH_TAG_NONE,
	SWITCH_TAG_MTK,   /* 4 bytes behind the MACs; going out it takes the place of a TPID */
	SWITCH_TAG_QCA,   /* 2 bytes behind the MACs */
	SWITCH_TAG_GSWIP, /* before the MACs: 8 bytes coming in, 4 going out */
};

#define SWITCH_PORTS 8

/* A conduit, keyed by its ifindex. */
struct bpfw_conduit {
	__u32 tag;                /* enum switch_tag */
	__u32 user[SWITCH_PORTS]; /* ifindex of the user port by its number, 0: not ours */
};

/* In struct bpfw_action: the tag's format and the switch's port in one byte. */
#define SWITCH_EGRESS(tag, port) ((tag) << 4 | (port))
#define SWITCH_EGRESS_TAG(egress) ((egress) >> 4)
#define SWITCH_EGRESS_PORT(egress) ((egress) & (SWITCH_PORTS - 1))

/*
 * What a hit needs, the same for both families. It is written by the daemon and only
 * read here, but for verdict (a closing segment sets it to FLOW_PASS), FLOW_TRACKED, and
 * what every packet leaves: last_seen to window.
 *
 * `link` is the header that the packet leaves with, as it stands on the wire: MACs of the
 * next hop and of the egress interface, tags, EtherType, PPPoE. The length field of
 * PPPoE is filled in for each packet. TC only: link_len 0 for an egress device without a
 * link layer. XDP only: a switch's tag is no part of it, see switch_egress.
 */
struct bpfw_action {
	__u8 link[LINK_HEADER_MAX];
	__u8 link_len;
	__u8 tags;           /* VLAN tags in `link` */
	__u32 egress;        /* ifindex; of the conduit, where a switch is behind it */
	__u8 ingress_mac[6]; /* a frame addressed to any other MAC is not ours */
	__u16 mtu;           /* of the route, in bytes from the IP header on */
	__u16 l3_delta;      /* IPv4 header checksum: addresses and TTL, see checksum.h */
	__u16 l4_addr_delta; /* TCP/UDP checksum: the pseudo header's addresses */
	__u16 l4_port_delta; /* TCP/UDP checksum: ports */
	__u8 verdict;        /* enum flow_verdict */
	__u8 flags;          /* enum flow_flags */
	__be16 sport;        /* ports as emitted */
	__be16 dport;
	__u32 last_seen; /* jiffies, the low 32 bits */
	__u64 packets;   /* packets that took the fast path (a GSO packet is one) */
	__u64 bytes;     /* their IP lengths */
	__u32 seq_end;   /* TCP: sequence number that follows the last segment */
	__u32 ack;       /* TCP: its acknowledgement number */
	__u16 window;    /* TCP: its window, unscaled */
	__u8 wscale;     /* TCP: window scale of this direction's sender, from conntrack */
	__u8 pcp_at;     /* where in `link` the TCI is whose priority pcp tells, 0 for none */
	__u32 pcp;       /* a priority per class of packets, 4 bits each: packet_class() */
	/* From here on: rarely needed, and for IPv4 in another cache line. */
	__u8 session_mac[6];
	__u8 switch_egress; /* XDP: SWITCH_EGRESS(), 0 where the packet leaves without a tag */
	__u8 pad;
	__u32 gso_egress; /* TC: the ppp device, for what has to be segmented before PPPoE */
	__u32 pad2;
} __attribute__((aligned(8)));

/* One direction of a flow: its key, the addresses as emitted, and what is done. */
struct bpfw_flow4 {
	struct bpfw_flow4_key key;
	__be32 src;
	__be32 dst;
	struct bpfw_action action;
};

struct bpfw_flow6 {
	struct bpfw_flow6_key key;
	__be32 src[4];
	__be32 dst[4];
	struct bpfw_action action;
};

/*
 * A slot of the flow table. An IPv4 packet needs its first two cache lines only: what is
 * left of the action in the third one is for PPPoE and switches. The BPF side takes a slot for
 * what the index says; family and next are the daemon's.
 */
struct bpfw_flow {
	union {
		struct bpfw_flow4 v4;
		struct bpfw_flow6 v6;
	};
	__u32 family; /* AF_INET or AF_INET6; 0: not in use */
	__u32 next;   /* not in use: the next slot of the list it is in, 0 for none */
};

/*
 * The index of the flow table: sets of one cache line. A key's hash names two sets; its tag
 * stands in one of them, beside the number of the slot that holds the flow. Slot 0 is
 * never used, so that 0 is none. The daemon is the only writer (see offload_map.h for the
 * order it writes in), and a slot that it gave up is not used again before every program
 * that can still hold it has ended.
 */
#define FLOW_WAYS 8

struct bpfw_flow_set {
	__u32 tag[FLOW_WAYS]; /* 0: way not in use */
	__u32 slot[FLOW_WAYS];
};

/*
 * Multiply and fold by an odd constant, from a random seed per run: nobody outside can choose
 * keys that fall into the same sets as somebody else's.
 */
static inline __attribute__((always_inline)) __u64 hash_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

/* Keys as words: as they lie in memory. */
static inline __attribute__((always_inline)) __u64 flow_hash4(const __u64 key[3], __u64 seed)
{
	return hash_mix(hash_mix(hash_mix(seed, key[0]), key[1]), key[2]);
}

/* Two halves that do not wait for each other. */
static inline __attribute__((always_inline)) __u64 flow_hash6(const __u64 key[6], __u64 seed)
{
	__u64 src = hash_mix(hash_mix(hash_mix(seed, key[0]), key[1]), key[2]);
	__u64 dst = hash_mix(hash_mix(hash_mix(~seed, key[5]), key[3]), key[4]);

	return hash_mix(src, dst);
}

/* The tag; never 0, and odd, so that both sets of a key differ. */
static inline __attribute__((always_inline)) __u32 flow_tag(__u64 hash)
{
	return (__u32)(hash >> 32) | 1;
}

/* The first set, to be masked; from either set the tag leads to the other one. */
static inline __attribute__((always_inline)) __u32 flow_first_set(__u64 hash)
{
	return (__u32)hash;
}

static inline __attribute__((always_inline)) __u32 flow_other_set(__u32 set, __u32 tag)
{
	return set ^ tag;
}

/*
 * Candidates: packets that could be offloaded but have no flow are counted in an
 * array of small sets, indexed and tagged by a hash of the tuple. It takes no
 * memory per flow, so a flood of spoofed packets can only make it forget. The
 * daemon maps it into its memory and writes to it without system calls; both sides
 * race on single words, the worst that follows is a signal too many or too few.
 */
#define CANDIDATE_WAYS 4

struct bpfw_candidate {
	__u32 tag;      /* of the tuple's hash, never 0 in a used slot */
	__u32 last;     /* jiffies of the last packet: the oldest slot is reused */
	__u32 next;     /* jiffies before which no further signal is sent */
	__u16 count;    /* packets seen, stops at the threshold */
	__u16 attempts; /* signals sent: each doubles the time to the next */
};

struct bpfw_candidate_set {
	struct bpfw_candidate way[CANDIDATE_WAYS];
};

/*
 * An interface that bpfw is attached to, keyed by its ifindex: the MACs under which the
 * router receives there, its own and those of the bridge and the VLAN devices above. With
 * any other the packet is somebody else's, and no reason to wake the daemon.
 */
#define PORT_MACS 8

struct bpfw_port {
	__u8 mac[PORT_MACS][6];
	__u32 macs;
};

/* CPUs that flows can be spread over (--cpus), a power of two. */
#define SPREAD_CPUS 64

/* Why the daemon is woken. */
enum signal_kind {
	SIGNAL_CANDIDATE, /* a tuple worth a look */
	SIGNAL_CONTROL,   /* a TCP SYN, FIN or RST of an offloaded flow went to the stack */
};

/* What the fast path makes of a FIN or RST, from what it saw of both directions. */
enum control_verdict {
	CONTROL_ASK,     /* cannot tell: conntrack has seen as much as we have */
	CONTROL_GENUINE, /* the sequence number fits: both directions now pass */
	CONTROL_FORGED,  /* it does not: the flow goes on */
};

struct bpfw_signal {
	__u8 kind;       /* enum signal_kind */
	__u8 family;     /* AF_INET or AF_INET6 */
	__u8 verdict;    /* enum control_verdict */
	__u8 tcp_flags;  /* of the segment, as in the header */
	__u32 seq_start; /* TCP: the segment's sequence number */
	__u32 seq;       /* and these as in struct bpfw_action: seq is seq_end */
	__u32 ack;
	__u16 window;
	__u16 pad[3];
	union {
		struct bpfw_flow4_key v4;
		struct bpfw_flow6_key v6;
	} key;
};

/*
 * Every way out of the program but the forwarding of a flow (which the flow counts
 * itself). Text: the name that `bpfw stats` prints, then what it means.
 */
#define BPFW_EXITS(X)                                                                     \
	X(TRUNCATED, "truncated", "shorter than its headers say")                         \
	X(GROUP_ADDRESS, "group_address", "broadcast or multicast frame")                 \
	X(VLAN, "vlan", "more than two VLAN tags, or a priority tag (VLAN id 0)")         \
	X(PPPOE, "pppoe", "PPPoE, but no session packet with IPv4 or IPv6")               \
	X(SWITCH, "switch", "XDP on a DSA conduit: not from a port that is ours")         \
	X(ETHERTYPE, "ethertype", "neither IPv4 nor IPv6")                                \
	X(IP_HEADER, "ip_header", "wrong version, header or total length")                \
	X(IP_OPTIONS, "ip_options", "IPv4 options or IPv6 extension headers")             \
	X(FRAGMENT, "fragment", "IPv4 fragment")                                          \
	X(PROTOCOL, "protocol", "neither TCP nor UDP")                                    \
	X(TTL, "ttl", "TTL or hop limit would reach zero")                                \
	X(L4_HEADER, "l4_header", "malformed TCP or UDP header")                          \
	X(TCP_CONTROL, "tcp_control", "TCP segment with SYN, FIN, RST or without ACK")    \
	X(STALE, "stale_heartbeat", "the daemon does not answer: cache not trusted")      \
	X(OTHER_MAC, "other_mac", "addressed to another MAC than the interface's")        \
	X(MISS, "miss", "no flow: the stack decides")                                     \
	X(FLOW_PASS, "flow_pass", "flow is closing or under review")                      \
	X(IP_CHECKSUM, "ip_checksum", "wrong IPv4 header checksum")                       \
	X(PARTIAL, "partial_checksum", "XDP: checksum left to hardware, cannot be moved") \
	X(MTU, "mtu", "longer than the MTU of its route")                                 \
	X(ADJUST, "adjust", "the kernel refused to resize the packet")                    \
	X(ADJUST_DROP, "adjust_drop", "dropped: no memory to change its link layer")      \
	X(NO_EGRESS, "no_egress", "XDP: the egress device is gone")                       \
	X(BLACKHOLE, "blackhole", "dropped: the route is a blackhole")                    \
	X(SIGNAL, "signal", "signals sent to the daemon (not an exit)")                   \
	X(SIGNAL_LOST, "signal_lost", "signals lost: ring buffer full (not an exit)")     \
	X(FORGED, "forged_control", "FIN or RST out of sequence (also in tcp_control)")

enum exit_reason {
#define BPFW_EXIT_ENUM(id, name, text) EXIT_##id,
	BPFW_EXITS(BPFW_EXIT_ENUM)
#undef BPFW_EXIT_ENUM
	EXIT_REASONS,
};

struct bpfw_exit_counters {
	__u64 count[EXIT_REASONS];
};

/*
 * What the daemon counts. It writes them to a map as well, where `bpfw stats` finds
 * them even when the daemon hangs.
 */
#define BPFW_COUNTERS(X)                                                                    \
	X(FLOWS, "flows", "flows that are offloaded now")                                   \
	X(LEARNED, "learned", "flows offloaded since the start")                            \
	X(CLOSED, "closed", "flows that ended by FIN or RST")                               \
	X(DELETED, "deleted", "flows whose conntrack entry was deleted or expired")         \
	X(IDLE, "idle", "flows that left the fast path because they were idle")             \
	X(CHANGED, "changed", "flows taken back because their path changed")                \
	X(RETIRED_PACKETS, "retired_packets", "packets of flows that have left")            \
	X(RETIRED_BYTES, "retired_bytes", "bytes of flows that have left")                  \
	X(REFRESHED, "refreshed", "conntrack timeouts brought up to date")                  \
	X(REPAIRED, "repaired", "conntrack entries set right after a forged FIN or RST")    \
	X(RECONCILED, "reconciled", "dumps of the conntrack table to compare with")         \
	X(EVENTS_LOST, "events_lost", "times that conntrack events were lost")              \
	X(NO_ENTRY, "refused_no_entry", "candidates without a conntrack entry")             \
	X(NOT_ESTABLISHED, "refused_not_established", "TCP not ESTABLISHED")                \
	X(UNREPLIED, "refused_unreplied", "no packet of the opposite direction so far")     \
	X(HELPER, "refused_helper", "conntrack helper or sequence adjustment")              \
	X(ZONE, "refused_zone", "in a conntrack zone")                                      \
	X(KERNEL_OFFLOAD, "refused_kernel_offload", "in a flowtable of the kernel's")       \
	X(NOT_FORWARDED, "refused_not_forwarded", "the routing decision is not to forward") \
	X(PER_PACKET, "refused_per_packet", "routed by TOS, flow label or tunnel key")      \
	X(MULTIPATH, "refused_multipath", "IPv6 next hop chosen by flow label")             \
	X(NO_NEIGHBOUR, "refused_neighbour", "next hop not resolved yet")                   \
	X(DEVICE, "refused_device", "egress device down or left to the stack")              \
	X(TARGET, "refused_target", "egress device takes no frames from XDP")               \
	X(FILTER, "refused_filter", "a filtered device on top of a port would miss it")     \
	X(QDISC, "refused_qdisc", "XDP would bypass the shaper of an egress device")        \
	X(IPSEC, "refused_ipsec", "covered by an IPsec policy")                             \
	X(EXCLUDED, "refused_excluded", "excluded by --exclude, --exclude-mark or --only")  \
	X(FULL, "refused_full", "table full (--max-flows)")

enum daemon_counter {
#define BPFW_COUNTER_ENUM(id, name, text) COUNT_##id,
	BPFW_COUNTERS(BPFW_COUNTER_ENUM)
#undef BPFW_COUNTER_ENUM
	DAEMON_COUNTERS,
};

struct bpfw_daemon_counters {
	__u64 count[DAEMON_COUNTERS];
	/* One reading of both clocks, and ticks per second: jiffies for other processes. */
	__u64 clock_jiffies;
	__u64 clock_ms; /* CLOCK_MONOTONIC */
	__u64 clock_hz;
};

/*
 * Hash of a tuple for the candidate sets: `words` are addresses, ports and protocol
 * as they stand in the keys above, without the ingress port. `seed` is random per run, so
 * that sets cannot be aimed at.
 */
static inline __attribute__((always_inline)) __u64 candidate_hash4(const struct bpfw_flow4_key *key,
								   __u64 seed)
{
	__u64 hash = hash_mix(seed, (__u64)key->src << 32 | key->dst);

	hash = hash_mix(hash,
			(__u64)key->sport << 32 | (__u64)key->dport << 16 | (key->protocol & 0xff));
	return hash_mix(hash, hash >> 32);
}

static inline __attribute__((always_inline)) __u64 candidate_hash6(const struct bpfw_flow6_key *key,
								   __u64 seed)
{
	__u64 hash = seed;

	hash = hash_mix(hash, (__u64)key->src[0] << 32 | key->src[1]);
	hash = hash_mix(hash, (__u64)key->src[2] << 32 | key->src[3]);
	hash = hash_mix(hash, (__u64)key->dst[0] << 32 | key->dst[1]);
	hash = hash_mix(hash, (__u64)key->dst[2] << 32 | key->dst[3]);
	hash = hash_mix(hash,
			(__u64)key->sport << 32 | (__u64)key->dport << 16 | (key->protocol & 0xff));
	return hash_mix(hash, hash >> 32);
}

/* The tag of a hash: its high half, with 0 kept for an unused slot. */
static inline __attribute__((always_inline)) __u32 candidate_tag(__u64 hash)
{
	return (__u32)(hash >> 32) | 1;
}

/*
 * What `bpfw status` shows, for people: one path from a named interface down to a port.
 * Written by the daemon; a row without an interface ends the list.
 */
#define PLAN_ROWS 256
#define PLAN_DEPTH 8
#define PLAN_NAME 16 /* IFNAMSIZ */
#define PLAN_NOTE 160

enum plan_hook {
	PLAN_HOOK_NONE,
	PLAN_HOOK_TC,
	PLAN_HOOK_XDP,
};

enum plan_mode {
	PLAN_LEFT_OUT,
	PLAN_NOT_ATTACHED, /* waiting, or it failed */
	PLAN_XDP,
	PLAN_XDPGENERIC,
	PLAN_TC, /* not attached so far: tcx, else clsact */
	PLAN_TCX,
	PLAN_CLSACT,
};

struct bpfw_plan_row {
	char interface[PLAN_NAME];
	char path[PLAN_DEPTH][PLAN_NAME]; /* from the interface itself down */
	__u32 port;                       /* ifindex of the last of the path, 0 if it is none */
	__u8 depth;                       /* names in the path */
	__u8 hook;                        /* enum plan_hook */
	__u8 mode;                        /* enum plan_mode */
	__u8 pad;
	char note[PLAN_NOTE];
};

#endif /* BPFW_LAYOUT_H */
