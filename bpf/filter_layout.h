/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter's maps as both sides see them: a ruleset of one family, compiled.
 *
 * The rules of all chains are numbered in one row, a chain after the other, so that a chain is a
 * range of numbers. Each field of a packet (enum filter_field) has a class; a class is a row of
 * bits, one for each rule: may the rule match as far as this field goes? The rules that are left
 * are those with a bit in the rows of all fields, and the first of them from the walk's position
 * on is the next one to look at. What the fields do not decide, the rule's operations do.
 *
 * Rows are cut into blocks of 512 rules. Blocks are shared: most are all zeros, or what many
 * other rows have there too.
 */
#ifndef BPFW_FILTER_LAYOUT_H
#define BPFW_FILTER_LAYOUT_H

#ifndef __bpf__
#include <linux/bpf.h>
#include <linux/types.h>
#endif

#define FILTER_WORD_RULES 64
#define FILTER_BLOCK_WORDS 8
#define FILTER_BLOCK_RULES (FILTER_WORD_RULES * FILTER_BLOCK_WORDS)
#define FILTER_BLOCKS_MAX 64 /* a row's summary is one word */
#define FILTER_RULES_MAX (FILTER_BLOCKS_MAX * FILTER_BLOCK_RULES)
#define FILTER_DEPTH 16 /* chains that a packet can be in at once, beside the first */

/* What a packet is classified by. A field that no rule asks about is not looked up. */
enum filter_field {
	FILTER_SOURCE,
	FILTER_DESTINATION,
	FILTER_PROTOCOL,
	FILTER_SOURCE_PORT,
	FILTER_DESTINATION_PORT,
	FILTER_IN,
	FILTER_OUT,
	FILTER_STATE,
	FILTER_FIELDS,
};

/* A block of a row: 512 rules. Block 0 is all zeros. */
struct filter_block {
	__u64 word[FILTER_BLOCK_WORDS]; /* rule 0 is bit 0 of word 0 */
};

/* A part of a row: one of its blocks. */
struct filter_part {
	__u32 block; /* its number */
	__u32 words; /* bit N: its word N is not zero */
};

/* A row. Most have one part that is not zero, and that is `part`: there is no more to look up. */
struct filter_row {
	__u64 summary; /* bit N: part N is not zero */
	union {
		struct filter_part part;
		struct {
			__u32 parts; /* where the row's parts begin, zeros and all */
			__u32 zero;  /* as the words of no part are */
		};
	};
};

/*
 * A row of one rule, as those of hosts mostly are, is nowhere: its number says which rule it is.
 * Nothing but that number has to be in the CPU's cache then.
 */
#define FILTER_ROW_OF_ONE 0x80000000

/*
 * Addresses: the row of the range that an address lies in. Ranges are sorted. Nodes lead to the
 * few that an address can lie in: a node cuts the values from its base on into slots of 2^shift
 * of them. Slot 0 is for the values before the base, the last one for all after the others.
 */
struct filter_node {
	__u64 base;  /* host byte order; of IPv6, half an address */
	__u32 slots; /* where its slots begin */
	__u32 last;  /* how many there are after the first */
	__u32 shift;
	__u32 lower; /* 1: it is about the lower halves of IPv6 addresses */
};

struct filter_slot {
	__u32 first; /* range, or the node that goes on */
	__u32 last;  /* range, or: */
};

#define FILTER_SLOT_NODE 0xffffffff
#define FILTER_SLOT_ROW 0xfffffffe /* of all that lie in it, `first` is the row */
#define FILTER_NODE_DEPTH 4        /* nodes on the way to a slot of ranges */

struct filter_range4 {
	__u32 start; /* host byte order; the range ends where the next one begins */
	__u32 row;
};

struct filter_range6 {
	__u64 high, low; /* host byte order */
	__u32 row;
	__u32 unused;
};

/* The chains that packets begin in, by where they are met. */
enum filter_hook {
	FILTER_HOOK_INPUT,
	FILTER_HOOK_FORWARD,
	FILTER_HOOK_OUTPUT,
	FILTER_HOOKS,
};

/* A chain, by its number; the built-in ones come first, as in enum filter_hook. */
struct filter_chain {
	__u32 start; /* its rules */
	__u32 end;
	__u32 policy;  /* built-in: enum filter_verdict */
	__u32 counter; /* built-in: of packets that the policy decided about */
};

enum filter_verdict {
	FILTER_ACCEPT,
	FILTER_DROP,
};

/* What a rule does, one operation after the other: matches, then the target. At most 64 kinds. */
enum filter_op_kind {
	FILTER_OP_ACCEPT, /* targets: the rule has matched */
	FILTER_OP_DROP,
	FILTER_OP_RETURN,
	FILTER_OP_JUMP,                          /* a: chain */
	FILTER_OP_GOTO,                          /* a: chain */
	FILTER_OP_CONTINUE,                      /* a rule that only counts */
	FILTER_OP_LOG,                           /* go on, and tell of the packet */
	FILTER_OP_SET_MARK,                      /* mark = (mark & ~b) ^ a; go on */
	FILTER_OP_REJECT,                        /* a: FILTER_REJECT_RESET, or type << 8 | code */
	FILTER_OP_DNAT,                          /* table nat. a: struct filter_translation */
	FILTER_OP_MATCHES,                       /* from here on: matches */
	FILTER_OP_TCP_FLAGS = FILTER_OP_MATCHES, /* (flags & a) == b */
	FILTER_OP_ICMP,                          /* type a, code from b to c */
	FILTER_OP_LENGTH,                        /* the packet's, from a to b */
	FILTER_OP_TTL,                           /* from a to b */
	FILTER_OP_TOS,                           /* (tos & a) == b */
	FILTER_OP_FRAGMENT,                      /* any but the first */
	FILTER_OP_SOURCE_MASK,                   /* IPv4: (address & a) == b, network byte order */
	FILTER_OP_DESTINATION_MASK,
	FILTER_OP_PORTS, /* the source or the destination port is in a, b or c: low << 16 | high */
	FILTER_OP_MARK,  /* (mark & a) == b */
	FILTER_OP_PACKET_TYPE, /* a: PACKET_* of <linux/if_packet.h> */
	FILTER_OP_TCP_OPTION,  /* there is one of kind a */
	FILTER_OP_MSS,         /* there is one, from a to b */
	FILTER_OP_MAC,         /* source: a is the first four bytes, b the last two, as in memory */
	FILTER_OP_RANDOM,      /* a in 2^31 packets */
	FILTER_OP_U32,         /* what is there, and number a: c (enum filter_u32); holds always */
	FILTER_OP_U32_VALUE,   /* what has come of that is from a to b */
	FILTER_OP_ROUTING,     /* IPv6's routing header is there: c (filter_routing) from a to b */
	FILTER_OP_SET,         /* question a holds */
	FILTER_OP_SET_CHANGE,  /* no match: add to set a or take out of it; b, c: filter_question */
	FILTER_OP_CONNLIMIT,   /* struct filter_connlimit: more than a, in lists b, by c */
	FILTER_OP_HEAVY,       /* from here on: not in every turn of the loop */
	FILTER_OP_U32_WORD =
		FILTER_OP_HEAVY, /* the word at a, from where c says; not beyond the end */
	FILTER_OP_NTH,   /* a: its struct filter_tally; one packet in b + 1, counted from c */
	FILTER_OP_LIMIT, /* a: its struct filter_tally; b: XT_LIMIT_SCALE of a packet; c: burst */
	FILTER_OP_DATE,  /* from a to b, in seconds since 1970; c: local time */
	FILTER_OP_TIME,  /* a: FILTER_TIME_*, b: seconds of the day, c: days of the month */
	FILTER_OP_HEAVIEST, /* from here on: in even fewer of them */
	FILTER_OP_HASHLIMIT = FILTER_OP_HEAVIEST,
	FILTER_OP_RECENT, /* table a, in b seconds (0: ever); c: FILTER_RECENT_*, and how often */
	FILTER_OP_LAST = FILTER_OP_RECENT,
};

/* What u32 does with a number, as XT_U32_* has it; the last is for the first word of a test. */
enum filter_u32 {
	FILTER_U32_AND,
	FILTER_U32_LEFT,
	FILTER_U32_RIGHT,
	FILTER_U32_AT,   /* what there is so far is an offset, which the number is added to */
	FILTER_U32_LOAD, /* the number is an offset from the IP header on */
};

enum filter_routing {
	FILTER_ROUTING_TYPE,
	FILTER_ROUTING_SEGMENTS, /* left */
};

#define FILTER_TIME_OF_DAY 0x1ffff /* seconds */
#define FILTER_TIME_WEEK_DAYS 17   /* bit 17 + N: day N, Monday is 1 */
#define FILTER_TIME_LOCAL (1U << 25)
#define FILTER_TIME_CONTIGUOUS (1U << 26) /* beyond midnight it is still the day before */

/*
 * What a rule wants to know of a set, or to have done. Dimensions are those that the rule names;
 * a set that has more is not asked.
 */
struct filter_question {
	__u32 set;     /* its number */
	__u32 asks;    /* FILTER_SET_*, dimensions from FILTER_SET_DIMENSIONS on */
	__s32 timeout; /* seconds of an addition, -1: the set's own */
};

#define FILTER_SET_SOURCE(dimension) (1U << (dimension)) /* else the destination */
#define FILTER_SET_DELETE 0x100
#define FILTER_SET_EXIST 0x200
#define FILTER_SET_DIMENSIONS 16

#define FILTER_QUESTIONS 4 /* that are answered at once, but for the first one of a packet */

#define FILTER_OP_NEGATED 0x01
#define FILTER_OP_NEEDS_L4 0x02      /* holds for no packet without a transport header */
#define FILTER_OP_NEEDS_PORTS 0x10   /* drops a packet that has none where they should be */
#define FILTER_OP_NEEDS_OPTIONS 0x08 /* drops a packet whose TCP options are cut short */
#define FILTER_OP_NEEDS_MAC 0x04     /* holds for no packet without an Ethernet source */
#define FILTER_OP_NEEDS_TUPLE 0x20   /* drops a packet that can be of no connection */

struct filter_op {
	__u8 kind;
	__u8 flags;
	__u8 skip;      /* operations to pass over if it holds: of several only one has to */
	__u8 otherwise; /* how far to go on if it does not hold; 0: the rule does not match */
	__u32 a, b, c;
};

/* What a limit or a statistic of one rule keeps. */
struct filter_tally {
	struct bpf_spin_lock lock;
	__u32 count;  /* statistic: packets since the last one that matched */
	__u64 credit; /* limit: ns; when it is filled up */
	__u64 last;
};

/* A table of hashlimit: all rules that name it. */
struct filter_hashlimit {
	__u64 cost;       /* of a packet in ns, or of 16 bytes of it in parts of a second */
	__u64 most;       /* a full bucket; by_rate: what is within an interval */
	__u64 full_after; /* ns, in which a bucket is full again at the latest */
	__u64 expire;     /* ns, after which a group is forgotten */
	__u64 interval;   /* by_rate: ns */
	__u64 rate;       /* by_rate: in a second */
	__u32 bursts;     /* bytes: full buckets beyond the first */
	__u32 bytes;      /* bytes are limited, not packets */
	__u32 by_rate;    /* --hashlimit-rate-match */
	__u32 port_mask;  /* source << 16 | destination */
	__be32 source_mask[4];
	__be32 destination_mask[4];
};

#define FILTER_BYTES_SECOND 4194304000ULL /* as the kernel counts where HZ is 250 or 1000 */

/* Packets of one group share a bucket. */
struct filter_group {
	__u32 table; /* struct filter_hashlimit */
	__u32 ports;
	__be32 source[4];
	__be32 destination[4];
};

struct filter_bucket {
	__u64 credit;
	__u64 last; /* when that was */
	__u64 expires;
	__u64 current; /* by_rate: in this interval */
	__u32 bursts;
	__u32 over; /* by_rate: the last interval was */
};

/*
 * A table of xt_recent (filter_recent.h): behind this are heads of chains (__u32, a power of two of
 * them), then slots. Numbers of slots begin with 1, 0 is none.
 */
struct filter_recent {
	__u32 used;           /* slots that have been taken so far */
	__u32 free;           /* of these: the first that is free again */
	__u32 newest, oldest; /* slots in the order in which their addresses were met last */
	__be32 mask[4];
	__u32 stamp_mask; /* one less than the stamps that an address keeps, a power of two */
	__u32 unused;
	char name[200]; /* XT_RECENT_NAME_LEN */
};

/* An address. Behind this are stamps, in ns: those before `index` are the last ones. */
struct filter_recent_slot {
	__be32 address[4];
	__u32 chain;        /* its hash */
	__u32 next, before; /* of the chain; next: of those that are free */
	__u32 newer, older;
	__u32 index; /* where the next stamp goes, before it is masked */
	__u32 count; /* of stamps; 0: the slot is free */
	__u32 ttl;
};

#define FILTER_RECENT_SLOT_SIZE(stamps) \
	(sizeof(struct filter_recent_slot) + (stamps) * sizeof(__u64))

#define FILTER_RECENT_HITS 0xffff
#define FILTER_RECENT_SET 0x10000 /* none of these three: --rcheck */
#define FILTER_RECENT_UPDATE 0x20000
#define FILTER_RECENT_REMOVE 0x40000
#define FILTER_RECENT_REAP 0x80000
#define FILTER_RECENT_TTL 0x100000
#define FILTER_RECENT_DESTINATION 0x200000
#define FILTER_RECENT_INVERT 0x400000

/* The chain of an address, before it is masked. The seed keeps others from making long ones. */
static inline __attribute__((always_inline)) __u32 filter_recent_chain(const __be32 address[4],
								       const __u32 seed)
{
	__u32 hash = seed;

	for (int i = 0; i < 4; i++) {
		hash = (hash ^ address[i]) * 0x9e3779b1U;
		hash ^= hash >> 15;
	}
	hash *= 0x85ebca6bU;
	return hash ^ hash >> 13;
}

struct filter_lock {
	struct bpf_spin_lock lock;
};

#define FILTER_LOCKS_SHIFT 8

/* Programs and slots of a family are found by its number: 0 is IPv4, 1 is IPv6. */
#define FILTER_FAMILIES 2

/*
 * A family's rules are in one of two turns: 0 or 1, as the map `turns` says. A load fills the slots
 * of the other turn at all hooks, and then changes that word.
 */
#define FILTER_TURNS 2

/*
 * What the programs tail-call: those of the rulesets, which judge, or which find the packet's state
 * before they call a judge of their own, and those that belong to no ruleset.
 */
enum filter_stage {
	FILTER_STAGE_RULES, /* IPv4 and IPv6 in the first turn, then in the other one */
	FILTER_STAGE_JUDGES = FILTER_STAGE_RULES + FILTER_FAMILIES * FILTER_TURNS, /* the same */
	/* Sees packets go out that have been judged where they came in. */
	FILTER_STAGE_LEARN = FILTER_STAGE_JUDGES + FILTER_FAMILIES * FILTER_TURNS,
	FILTER_STAGE_SETS, /* looks sets up for the judges (sets.bpf.c): IPv4, IPv6 */
	FILTER_STAGE_CHANGES = FILTER_STAGE_SETS + FILTER_FAMILIES, /* changes sets */
	FILTER_STAGE_BLOCKS =
		FILTER_STAGE_CHANGES + FILTER_FAMILIES, /* the block list, before all */
	FILTER_STAGE_REJECTS = FILTER_STAGE_BLOCKS + FILTER_FAMILIES, /* answers (reject.bpf.c) */
	/* Count connections for the judges (connlimit.bpf.c); as FILTER_STAGE_RULES. */
	FILTER_STAGE_COUNTS = FILTER_STAGE_REJECTS + FILTER_FAMILIES,
	FILTER_STAGES = FILTER_STAGE_COUNTS + FILTER_FAMILIES * FILTER_TURNS,
};

#define FILTER_RULES_STAGE(family, turn) (FILTER_STAGE_RULES + (turn)*FILTER_FAMILIES + (family))
#define FILTER_JUDGE_STAGE(family, turn) (FILTER_STAGE_JUDGES + (turn)*FILTER_FAMILIES + (family))
#define FILTER_COUNT_STAGE(family, turn) (FILTER_STAGE_COUNTS + (turn)*FILTER_FAMILIES + (family))

/*
 * What a rule of the table nat makes of a packet's destination. The first packet of a connection
 * meets the rules of nat's PREROUTING before those of the filter, as in the kernel, which does the
 * translating: to them it then has the new destination.
 */
struct filter_translation {
	__be32 keep[4];    /* bits that the destination keeps; the others are those of: */
	__be32 address[4]; /* IPv4: the first word, the others 0 */
	__u16 port;        /* host byte order; 0: as it is */
	__u16 redirects;   /* the address is the device's, struct filter_device */
};

#define FILTER_NO_TRANSLATION 0 /* the first one is no rule's */

/* What the table nat has to do with a packet. */
enum filter_nat {
	FILTER_NAT_NONE,
	FILTER_NAT_ASK, /* it begins a connection */
	FILTER_NAT_ASKED,
	FILTER_NAT_DONE,
	FILTER_NAT_REDIRECTED, /* it is for this machine, whatever its destination */
};

/*
 * The state of a packet's connection, as the kernel's conntrack has it: a kind, and bits. The two
 * that belong to no connection have no bits.
 */
enum filter_state {
	FILTER_STATE_INVALID,
	FILTER_STATE_UNTRACKED,
	FILTER_STATE_NEW,
	FILTER_STATE_ESTABLISHED,
	FILTER_STATE_RELATED,
};

#define FILTER_STATE_KIND 0x007
#define FILTER_STATE_REPLY 0x008 /* in the direction of replies */
#define FILTER_STATE_EXPECTED 0x010
#define FILTER_STATE_SEEN_REPLY 0x020
#define FILTER_STATE_SNAT 0x040
#define FILTER_STATE_DNAT 0x080
#define FILTER_STATES 0x100

#define FILTER_PORTS 256 /* devices that are filtered at once */

struct filter_port {
	__u32 bare;   /* no Ethernet: packets begin with their IP header, or one of the device's */
	__u32 judged; /* packets that come in are met there: not again where they go out */
	__u32 xdp_program; /* the id of the entry program that stands at XDP there, 0: at TC */
	__u32 made_qdisc;  /* clsact, which goes with the filter if nobody else is in it */
};

/*
 * Behind the filter at XDP there may be a next stage for each device, by its ifindex; others than
 * those below have none.
 */
#define FILTER_NEXT_STAGES 4096

/* Rows of a device, as the one that packets came in by, and as the one that they go out by. */
struct filter_device {
	__u32 in_row;
	__u32 out_row;
	__be32 address[4]; /* where REDIRECT sends packets; zeros if it is not known */
};

#define FILTER_NO_OPERATION 0xffffffff

/* ---- Answers of REJECT ------------------------------------------------------------- */

#define FILTER_REJECT_RESET 0x10000 /* a TCP RST; else it is an ICMP type, which is never 0 */

/*
 * The mark by which an answer that comes in (reject.bpf.c) is known to the entry program, which takes
 * it away. What comes from a wire or from another namespace has none (skb_scrub_packet()).
 */
#define FILTER_ANSWER_MARK 0xb9fae5ed

/* ICMP answers, on each CPU. */
#define FILTER_REJECT_INTERVAL 1000000ULL /* ns */
#define FILTER_REJECT_BURST 50ULL

struct filter_address {
	__be32 word[4]; /* IPv4: the first, the others 0 */
};

/* A device that packets come in by; zeros where it has none. */
struct filter_reject_device {
	__be32 address4;
	struct filter_address address6; /* not of the link */
	__u8 mac[6];
	__u16 unused;
};

/* ---- Connections that connlimit counts -------------------------------------------- */

#define FILTER_CONNLIMIT_MAX 256  /* limits above it are refused */
#define FILTER_CONNLIMIT_SPARE 16 /* connections beyond the limit that a list has room for */
#define FILTER_CONNLIMIT_SLOTS (FILTER_CONNLIMIT_MAX + FILTER_CONNLIMIT_SPARE)

/* What a rule asks. */
struct filter_connlimit {
	__u32 limit;
	__u32 table; /* the rule's own lists, one for each address */
	__u32 by;    /* prefix length, and: */
};

#define FILTER_CONNLIMIT_PREFIX 0xff
#define FILTER_CONNLIMIT_DESTINATION 0x100 /* else by the source */

/* A connection in its original direction, as conntrack has it before NAT. */
struct filter_tuple {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port, destination_port; /* ICMP: the identifier; type and code */
	__u8 protocol;
	__u8 unused[3];
};

/* Connections of one rule with one address; behind it are its slots. */
struct filter_connections {
	__u32 stamp; /* of the slot that was written last */
	__u32 top;   /* from there on all slots are free */
	__u64 jiffy; /* in which conntrack was asked last */
};

struct filter_list_key {
	__u32 table;
	__be32 address[4];
};

/* A slot of a list. IPv4's are cut short: see FILTER_SLOT_SIZE(). */
struct filter_connection {
	__u32 stamp; /* 0: free; else each time it is written another one */
	__u32 added; /* ms */
	__be16 source_port, destination_port;
	__u8 protocol;
	__u8 flags; /* FILTER_CONNECTION_* */
	__u16 unused;
	__be32 address[8]; /* source, destination: four words each, or one */
};

#define FILTER_SLOT_SIZE(is_ipv6)                              \
	((is_ipv6) ? (__u32)sizeof(struct filter_connection) : \
		     (__u32) __builtin_offsetof(struct filter_connection, address[2]))
#define FILTER_LIST_SIZE(is_ipv6, slots) \
	((__u32)sizeof(struct filter_connections) + (slots)*FILTER_SLOT_SIZE(is_ipv6))

#define FILTER_CONNECTION_KNOWN 0x01 /* conntrack has had it */
#define FILTER_CONNECTION_OVER 0x02  /* it came when there were too many: counts once it is known */
#define FILTER_CONNECTION_OUT \
	0x04 /* it was met going out, where conntrack has it, dropped or not */
#define FILTER_CONNECTION_ANEW \
	0x08 /* conntrack has a closed one in its place, and will forget it */

/* ---- Events of LOG and NFLOG rules ------------------------------------------------- */

#define FILTER_EVENT_RULES 8 /* of one packet; a power of two */

/* What is let through of them, on each CPU. */
#define FILTER_LOG_INTERVAL 1000000ULL /* ns */
#define FILTER_LOG_BURST 250ULL

#define FILTER_LOG_BYTES (256 * 1024) /* of the ring: some 1,800 events */

/* A packet that met such rules. Host byte order, but for addresses. */
struct filter_event {
	__u64 time; /* ns, CLOCK_MONOTONIC */
	__u32 generation;
	__u32 rules; /* how many; `rule` has the first FILTER_EVENT_RULES */
	__u32 rule[FILTER_EVENT_RULES];
	__be32 source[4];
	__be32 destination[4];
	__u32 in, out; /* ifindex, 0: none */
	__u32 length;
	__u16 source_port, destination_port;
	__u8 is_ipv6;
	__u8 verdict; /* enum filter_verdict */
	__u8 hook;    /* enum filter_hook */
	__u8 has_l4;  /* see struct filter_walk */
	__u8 has_ports;
	__u8 fragment;
	__u8 protocol;
	__u8 tos;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 icmp_type, icmp_code;
	__u32 unused;
};

/* ---- Copies that trace ------------------------------------------------------------- */

#define FILTER_TRACES 1024 /* rules that are told; a packet does not get that far */

struct filter_met {
	__u32 rule;
	__u32 operation; /* the one that does not match, or the target's */
	__u32 matches;
};

/* For each CPU. */
struct filter_log_state {
	__u64 next; /* ns: an event may be sent from then on */
	__u64 lost; /* events: too many, or the ring was full */
};

/* A device of which the kernel has said in that jiffy that it forwards nothing. */
struct filter_still {
	__u64 jiffy;
	__u64 device; /* ifindex */
};

/* One packet on its way through a ruleset; on the BPF side only, for each CPU. */
/* Transport headers that are cut short: the kernel's matches drop such packets. TCP: bad_tcp. */
enum filter_cut {
	FILTER_CUT_PORTS = 1, /* multiport: not even these */
	FILTER_CUT_UDP = 2,
	FILTER_CUT_SCTP = 4,
	FILTER_CUT_ICMP = 8,
};

struct filter_walk {
	struct filter_still still[FILTER_FAMILIES]; /* outlives the packet */
	__u32 generation; /* of the ruleset that the walk is in; 0: it has not begun */
	__u32 l3;         /* where the IP header is in the frame */
	__u32 outgoing;   /* 1 at TC egress */
	__u32 rounds;     /* programs that have worked on it */
	__u32 logged;     /* rules that want it told, of which `logs` holds the first */
	__u32 logs[FILTER_EVENT_RULES];
	__u32 met;         /* entries of `trace` */
	__u32 reject;      /* how the rule that has decided wants it answered; 0: not at all */
	__u32 translation; /* of the rule of the table nat that has decided */

	/* What is known of the packet. Host byte order, but for addresses. */
	__be32 source[4];
	__be32 destination[4];
	__u32 in, out; /* ifindex, 0: none */
	__u32 length;  /* from the IP header on */
	__u32 l4;      /* where the transport header is, if there is one: */
	__u8 has_l4;   /* no fragment but the first, and not cut short */
	__u8 fragment; /* a fragment, but not the first */
	__u8 bad_tcp;  /* the kernel's TCP match would drop it */
	__u8 protocol;
	__u8 tos;
	__u8 ttl;
	__u8 tcp_flags;
	__u8 has_ports;
	__u16 source_port, destination_port;
	__u8 icmp_type, icmp_code;
	__u16 state;        /* enum filter_state, with bits */
	__u8 parsed;        /* enum parsed, if a program before the judge has done it */
	__u8 first_of_many; /* a fragment, and the first */
	__u32 fragment_id;  /* of any fragment, as it is in the packet */
	__u8 has_mac;
	__u8 packet_type;
	__u16 mac_low; /* the Ethernet source's last two bytes; all as in memory */
	__u32 mac_high;
	__u8 goes_on;                 /* a source route: its destination is not its end; */
	__u8 route_ends;              /* or it is */
	__u8 bad_options;             /* the kernel drops it where a rule looks at TCP options */
	__u8 bare;                    /* in front of the IP header is no Ethernet header */
	__u16 option_at, options_end; /* in the frame, while options are gone over */
	__u8 has_mss;
	__u8 cut; /* enum filter_cut: what of the transport header is missing */
	__u16 mss;
	__u8 bad_ports;
	__u8 nat;         /* enum filter_nat */
	__u8 has_routing; /* IPv6's routing header: what is known is of the first */
	__u8 bad_routing; /* it is longer than the packet */
	__u8 routing_type;
	__u8 segments_left;
	__u32 group_ports; /* what hashlimit takes for ports: source << 16 | destination */
	__u32 u32_at;      /* while u32 is at work: an offset from the IP header on, */
	__u32 u32_value;   /* and what was made of the word there */
	__u32 options[8];  /* bit N: there is a TCP option of kind N */

	/* Where it is. */
	__u32 hook;      /* enum filter_hook */
	__u32 chain;     /* its number */
	__u32 position;  /* the first rule that is neither in `word` nor before it */
	__u32 end;       /* of the chain */
	__u32 base;      /* the rule that is bit 0 of `word` */
	__u32 operation; /* the next one of the rule in hand, or FILTER_NO_OPERATION */
	__u32 rule;      /* that one */
	__u32 depth;     /* of `callers` */
	__u64 word;      /* candidates */

	/* Sets: what the programs that have to do with them are asked, and the answers. */
	__u32 asker;       /* the stage to go back to */
	__u32 asked_first; /* number of the first question */
	__u32 asked;       /* that many have answers */
	__u32 changed;     /* the operation that has been done, and 1; 0: none */
	__u32 asks;        /* of this packet so far */
	struct filter_question question[FILTER_QUESTIONS];
	__u8 answer[FILTER_QUESTIONS];

	/* Connlimit: what is asked, and the answer. */
	struct filter_connlimit connlimit;
	struct filter_tuple own; /* the packet's connection, if has_own */
	__u8 has_own;
	__u8 reopens;  /* conntrack has it, closed, and will begin anew */
	__u8 no_tuple; /* the kernel's match would drop it */
	__u8 exceeds;  /* there are more than the limit */
	__u8 spare_is_free;
	__u32 counted;                    /* the operation that is answered, and 1; 0: none */
	__u32 connections;                /* while slots are gone over: those that count, */
	__u32 own_slot, spare_slot, used; /* which slots are of interest, and the top */
	struct filter_connection seen;    /* a copy of one */
	__u32 standing;                   /* what conntrack says of it */

	__u64 summary; /* of the rows, together; if it is 0, some of them are not there */
	struct filter_row row[FILTER_FIELDS];
	struct filter_caller {
		__u32 chain;
		__u32 position;
	} callers[FILTER_DEPTH];
};

struct filter_counter {
	__u64 packets;
	__u64 bytes; /* from the IP header on, as iptables counts */
};

#endif /* BPFW_FILTER_LAYOUT_H */
