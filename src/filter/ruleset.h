/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter table of an iptables-save or ip6tables-save text: chains, and rules with typed
 * matches, each with its place in the text; and what the table nat does to destinations before.
 *
 * Numbers are in the kernel's terms (include/uapi/linux/netfilter*), so that what a match means
 * is what its module in the kernel does with them. Addresses are in network byte order,
 * everything else is in host byte order. Records are zeroed before they are filled in: two
 * that mean the same are the same bytes, but for places and pointers.
 */
#ifndef BPFW_FILTER_RULESET_H
#define BPFW_FILTER_RULESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Bounds. iptables-restore takes lines of 10239 bytes and 255 words; there is room for more, as
 * what is printed is longer than what people write. Names are XT_EXTENSION_MAXNAMELEN's and
 * ipset's with their terminating zero.
 */
#define RULESET_LINE_MAX 65534
#define RULESET_WORDS_MAX 1024
#define RULESET_TEXT_MAX (256u << 20)
#define RULESET_RULES_MAX (1u << 18)
#define RULESET_CHAINS_MAX (1u << 14)
#define RULESET_MATCHES_MAX 64    /* of one rule */
#define RULESET_ADDRESSES_MAX 64  /* of one -s or -d: each makes rules of its own */
#define RULESET_INTERFACE_NAME 16 /* IFNAMSIZ; <net/if.h> and <linux/if.h> quarrel */
#define RULESET_CHAIN_NAME 29
#define RULESET_SET_NAME 32
#define RULESET_SET_DIMENSIONS 6
#define RULESET_PORTS 15 /* of one multiport; a range takes two */
#define RULESET_U32 10   /* tests, and locations and values of a test */

/* ---- Parts of matches ---------------------------------------------------------- */

/* Network byte order; an IPv4 address is the first four bytes, the rest is zero. */
union ruleset_address {
	uint8_t bytes[16];
	uint32_t words[4];
};

/* address & mask == value. The mask need not be a prefix; value has no bit outside of it. */
struct match_address {
	union ruleset_address value;
	union ruleset_address mask;
	uint16_t column;
	bool given; /* false: any address, the rest is zero */
	bool invert;
};

/* An interface, or all whose names begin so (eth+; a lone + is an empty name: all of them) */
struct match_interface {
	char name[RULESET_INTERFACE_NAME];
	uint16_t column;
	uint8_t length; /* without the + */
	bool given;
	bool wildcard;
	bool invert;
};

struct match_protocol {
	uint16_t column;
	uint8_t number; /* not 0 if given */
	bool given;     /* false: any */
	bool invert;
};

/* -f: the second and further fragments of IPv4, or (invert) all others */
struct match_fragment {
	uint16_t column;
	bool given;
	bool invert;
};

/* low <= value <= high, or (invert) not */
struct range16 {
	uint16_t low, high;
	bool given; /* false: any value (0 to 65535) */
	bool invert;
};

/* ---- Matches (-m): one record for each module ------------------------------------ */

enum match_kind {
	MATCH_TCP,
	MATCH_UDP,
	MATCH_SCTP,
	MATCH_ICMP, /* IPv4 */
	MATCH_ICMPV6,
	MATCH_MULTIPORT,
	MATCH_IPRANGE,
	MATCH_MARK,
	MATCH_DSCP,
	MATCH_TOS,
	MATCH_ECN,
	MATCH_TTL, /* IPv4 */
	MATCH_HL,  /* IPv6 */
	MATCH_LENGTH,
	MATCH_TCPMSS,
	MATCH_PKTTYPE,
	MATCH_MAC,
	MATCH_ADDRTYPE,
	MATCH_LIMIT,
	MATCH_HASHLIMIT,
	MATCH_CONNLIMIT,
	MATCH_SET,
	MATCH_COMMENT, /* matches always */
	MATCH_U32,
	MATCH_STATISTIC,
	MATCH_TIME,
	MATCH_CONNTRACK,
	MATCH_STATE,
	MATCH_RT, /* IPv6 */
	MATCH_RECENT,
	MATCH_KINDS,
};

/*
 * The rule has -p tcp. Ports, flags and option each hold or do not. As in the kernel
 * (xt_tcpudp.c): a non-first fragment never matches, not even inverted; one with offset 1
 * is dropped; a TCP header that is cut short is dropped.
 */
struct match_tcp {
	struct range16 source, destination;
	uint8_t flags_mask, flags; /* header byte 13: byte & flags_mask == flags */
	uint8_t option;            /* a TCP option of this kind is there */
	bool flags_given, flags_invert;
	bool option_given, option_invert; /* kind 0 is "not given" for the kernel */
};

/* udp and sctp; the rule has -p udp or -p sctp */
struct match_ports {
	struct range16 source, destination;
};

/* icmp and icmp6: the type, and code low to high of it. Type 255 of icmp: any. */
struct match_icmp {
	uint8_t type, code_low, code_high;
	bool invert;
};

enum multiport_of {
	MULTIPORT_SOURCE,
	MULTIPORT_DESTINATION,
	MULTIPORT_EITHER
};

/* A port that is in one of the ranges; the rule has a protocol that has ports. */
struct match_multiport {
	struct {
		uint16_t low, high;
	} ports[RULESET_PORTS];
	uint8_t count;
	uint8_t of; /* enum multiport_of */
	bool invert;
};

struct address_range {
	union ruleset_address low, high;
	bool given;
	bool invert;
};

struct match_iprange {
	struct address_range source, destination;
};

/* value & mask == mark; conntrack's mark is another match, which is not supported */
struct match_mark {
	uint32_t value, mask;
	bool invert;
};

/* The upper six bits of TOS or traffic class, as a number below 64 */
struct match_dscp {
	uint8_t value;
	bool invert;
};

/* TOS or traffic class: byte & mask == value */
struct match_tos {
	uint8_t value, mask;
	bool invert;
};

/* The rule has -p tcp if one of TCP's bits is asked for. */
struct match_ecn {
	uint8_t ect; /* the lower two bits of TOS or traffic class */
	bool ect_given, ect_invert;
	bool ece, ece_invert; /* TCP's flags are looked at */
	bool cwr, cwr_invert;
};

enum ttl_mode {
	TTL_EQUAL,
	TTL_NOT_EQUAL,
	TTL_LESS,
	TTL_GREATER
};

struct match_ttl {
	uint8_t mode; /* enum ttl_mode */
	uint8_t value;
};

/* length: of the packet from the network header on; tcpmss: of the TCP option (-p tcp) */
struct match_range {
	uint16_t low, high;
	bool invert;
};

/* type: PACKET_HOST (unicast), PACKET_BROADCAST or PACKET_MULTICAST of <linux/if_packet.h> */
struct match_pkttype {
	uint8_t type;
	bool invert;
};

/* The source address of the Ethernet header; never matches without one */
struct match_mac {
	uint8_t address[6];
	bool invert;
};

/* Sets of XT_ADDRTYPE_* of <linux/netfilter/xt_addrtype.h> (1 << RTN_*); 0: any */
struct match_addrtype {
	uint16_t source, destination;
	bool source_invert, destination_invert;
	bool limit_in, limit_out; /* only addresses of the interface it came in by, goes out by */
};

/*
 * A bucket of tokens of its own for each rule: holds burst at most, gets one in each cost/10000
 * of a second (XT_LIMIT_SCALE), matches while it has one.
 */
struct match_limit {
	uint32_t cost;  /* of one packet, in 1/10000 s */
	uint32_t burst; /* packets */
};

/*
 * The fields are those of struct hashlimit_cfg3 of <linux/netfilter/xt_hashlimit.h>, with the
 * values that iptables gives them in revision 3; mode holds XT_HASHLIMIT_*. size and max are 0
 * if not given (the kernel chooses). If mode has XT_HASHLIMIT_BYTES, average is a cost as
 * xt_hashlimit.c has it (2^32 / (bytes/16 + 1) of a second's bytes), and burst a multiple of the
 * rate (0: none). Rules with the same name and family share one table.
 */
struct match_hashlimit {
	const char *name;
	uint64_t average, burst;
	uint32_t mode;
	uint32_t size, max, gc_interval, expire; /* the last two in ms */
	uint32_t interval;                       /* s, of XT_HASHLIMIT_RATE_MATCH */
	uint32_t period;                         /* for the parser; 0 */
	uint8_t source_prefix, destination_prefix;
};

/* Connections of conntrack that have one address (under the mask); more than limit, or not */
struct match_connlimit {
	union ruleset_address mask;
	uint32_t limit;
	bool destination; /* else the source counts */
	bool upto;        /* at most limit; else above it */
};

/* The dimensions of a set, first to last: taken from the source or from the destination */
struct set_reference {
	char name[RULESET_SET_NAME]; /* empty: none */
	uint8_t dimensions;
	uint8_t sources; /* bit N: dimension N, counted from 0, is a source's */
	uint32_t number; /* of the set; set_use_begin() finds it */
};

struct match_set {
	struct set_reference set;
	bool invert;
};

struct match_comment {
	const char *text; /* without zero bytes; up to 255 bytes of any other kind */
};

/* XT_U32_* of <linux/netfilter/xt_u32.h>; all tests must hold, then invert */
struct match_u32 {
	struct u32_test {
		struct {
			uint32_t number;
			uint8_t operation; /* before the number; the first has none */
		} location[RULESET_U32];
		struct {
			uint32_t low, high;
		} value[RULESET_U32];
		uint8_t locations, values;
	} tests[RULESET_U32];
	uint8_t count;
	bool invert;
};

/* XT_STATISTIC_MODE_* of <linux/netfilter/xt_statistic.h> */
struct match_statistic {
	uint32_t probability;   /* of 2^31, random */
	uint32_t every, packet; /* of nth: every is one less than what the text says */
	uint16_t mode;
	bool invert;
};

/*
 * The values of struct xt_time_info of <linux/netfilter/xt_time.h>: seconds since 1970 and
 * since midnight, bit N of days is day N (Monday is 1), flags are XT_TIME_*. UTC, but with
 * XT_TIME_LOCAL_TZ the kernel's time zone.
 */
struct match_time {
	uint32_t date_start, date_stop;
	uint32_t day_start, day_stop;
	uint32_t month_days;
	uint8_t week_days;
	uint8_t flags;
};

/*
 * The values of struct xt_conntrack_mtinfo3 of <linux/netfilter/xt_conntrack.h>: match and
 * invert are sets of XT_CONNTRACK_*, of which each one in match is looked at; states are
 * XT_CONNTRACK_STATE_*, status is IPS_*.
 */
struct match_conntrack {
	struct {
		union ruleset_address value, mask; /* (address ^ value) & mask == 0 */
	} original_source, original_destination, reply_source, reply_destination;
	struct {
		uint16_t low, high;
	} original_source_port, original_destination_port, reply_source_port,
		reply_destination_port;
	uint32_t expires_low, expires_high;
	uint16_t match, invert;
	uint16_t states, status;
	uint8_t protocol;
};

/* The states of XT_CONNTRACK_STATE_*; state is conntrack --ctstate by an older name. */
struct match_state {
	uint16_t states;
	bool invert;
};

/*
 * The first routing header: its type, and the segments that are left of it. Both are bytes there;
 * the kernel keeps 32 bits.
 */
struct match_rt {
	struct range32 {
		uint32_t low, high;
		bool given; /* false: any value */
		bool invert;
	} type, segments;
};

/*
 * checks is a set of XT_RECENT_* of <linux/netfilter/xt_recent.h>: one of SET, CHECK, UPDATE and
 * REMOVE, and perhaps TTL and REAP. Rules with the same name and family share one table, of addresses
 * under the mask.
 */
struct match_recent {
	const char *name;
	union ruleset_address mask;
	uint32_t seconds, hits; /* 0: not given */
	uint8_t checks;
	bool destination; /* else the source */
	bool invert;
};

struct match {
	uint8_t kind;    /* enum match_kind */
	uint16_t column; /* of the module's name, or of the option that called for it */
	union {
		struct match_tcp tcp;
		struct match_ports ports; /* MATCH_UDP, MATCH_SCTP */
		struct match_icmp icmp;   /* MATCH_ICMP, MATCH_ICMPV6 */
		struct match_multiport multiport;
		struct match_iprange *iprange;
		struct match_mark mark;
		struct match_dscp dscp;
		struct match_tos tos;
		struct match_ecn ecn;
		struct match_ttl ttl;     /* MATCH_TTL, MATCH_HL */
		struct match_range range; /* MATCH_LENGTH, MATCH_TCPMSS */
		struct match_pkttype pkttype;
		struct match_mac mac;
		struct match_addrtype addrtype;
		struct match_limit limit;
		struct match_hashlimit *hashlimit;
		struct match_connlimit connlimit;
		struct match_set set;
		struct match_comment comment;
		struct match_u32 *u32;
		struct match_statistic statistic;
		struct match_time time;
		struct match_conntrack *conntrack;
		struct match_state state;
		struct match_rt rt;
		struct match_recent *recent;
	};
};

/* ---- Targets ------------------------------------------------------------------- */

enum target_kind {
	TARGET_NONE, /* counts, and goes on */
	TARGET_ACCEPT,
	TARGET_DROP,
	TARGET_RETURN, /* in a built-in chain: the policy */
	TARGET_JUMP,
	TARGET_GOTO,
	TARGET_LOG,
	TARGET_NFLOG,
	TARGET_SET,
	TARGET_MARK,
	TARGET_REJECT,
	TARGET_DNAT, /* table nat, as those behind it */
	TARGET_REDIRECT,
	TARGET_NETMAP,
	TARGET_UNKNOWN, /* the rule, or a part of it; what may match it is not translated */
	TARGET_KINDS,
};

struct target_log {
	const char *prefix; /* "" if none; up to 29 bytes */
	uint8_t level;      /* of syslog(3); 4 if not given */
	uint8_t flags;      /* XT_LOG_* of <linux/netfilter/xt_LOG.h> */
};

struct target_nflog {
	const char *prefix;        /* "" if none; up to 63 bytes */
	uint32_t size;             /* bytes to copy, of --nflog-size */
	uint16_t group, threshold; /* threshold 0: not given */
	bool size_given;           /* --nflog-size */
	bool range_given; /* --nflog-range, which does nothing in the kernel; size holds it */
};

struct target_set {
	struct set_reference add, del; /* one of them may be missing */
	uint32_t timeout;              /* s */
	bool timeout_given;            /* else that of the set */
	bool exist;                    /* an entry that is there gets the timeout anew */
};

/* mark = (mark & ~mask) ^ value */
struct target_mark {
	uint32_t value, mask;
};

enum reject_with {
	/* IPv4: ICMP, type 3 */
	REJECT_ICMP_NET_UNREACHABLE,
	REJECT_ICMP_HOST_UNREACHABLE,
	REJECT_ICMP_PROTO_UNREACHABLE,
	REJECT_ICMP_PORT_UNREACHABLE, /* default */
	REJECT_ICMP_NET_PROHIBITED,
	REJECT_ICMP_HOST_PROHIBITED,
	REJECT_ICMP_ADMIN_PROHIBITED,
	/* IPv6: ICMPv6, type 1 */
	REJECT_ICMP6_NO_ROUTE,
	REJECT_ICMP6_ADM_PROHIBITED,
	REJECT_ICMP6_ADDR_UNREACHABLE,
	REJECT_ICMP6_PORT_UNREACHABLE, /* default */
	REJECT_ICMP6_POLICY_FAIL,
	REJECT_ICMP6_REJECT_ROUTE,
	/* both; the rule has -p tcp */
	REJECT_TCP_RESET,
	REJECT_WITHS,
};

/* destination = (destination & ~mask) | address */
struct target_nat {
	union ruleset_address address, mask;
	uint16_t port; /* 0: as it is */
};

struct target {
	uint8_t kind; /* enum target_kind */
	uint16_t column;
	union {
		uint32_t chain; /* number of the chain of TARGET_JUMP and TARGET_GOTO */
		struct target_log log;
		struct target_nflog nflog;
		struct target_set *set;
		struct target_mark mark;
		uint8_t reject; /* enum reject_with */
		struct target_nat *nat;
		const char *unknown; /* why: a message, with the place in the text */
	};
};

/* ---- Chains and rules ------------------------------------------------------------ */

/*
 * All matches hold: those of the rule itself first, then matches[] in this order. A line with
 * several addresses (-s A,B) makes several rules, which share their matches' memory; what a
 * match keeps (the tokens of a limit) is each rule's own.
 */
struct rule {
	struct match_address source, destination;
	struct match_interface in, out;
	struct match_protocol protocol;
	struct match_fragment fragment;
	struct match *matches;
	struct target target;
	uint64_t packets, bytes; /* counters of the text, 0 if it has none */
	uint32_t line;           /* in the text, from 1; columns are bytes, from 1 */
	uint32_t chain;          /* the number of the chain it is in */
	uint16_t column;         /* of -A */
	uint8_t match_count;
};

enum chain_policy {
	POLICY_NONE,
	POLICY_ACCEPT,
	POLICY_DROP
}; /* none: a user's chain */

/* The first chains; a text that does not name them has them empty, with POLICY_ACCEPT. */
enum {
	CHAIN_INPUT,
	CHAIN_FORWARD,
	CHAIN_OUTPUT,
	CHAIN_BUILTIN
};

struct chain {
	char name[RULESET_CHAIN_NAME];
	uint8_t policy; /* enum chain_policy */
	uint8_t hooks;  /* bit N: a packet of built-in chain N can get here */
	uint32_t line;  /* of its declaration; 0: a built-in one that the text does not name */
	uint32_t first, count;   /* its rules */
	uint32_t depth;          /* jumps from here on, at most: places to return to */
	uint64_t packets, bytes; /* of the policy */
};

struct ruleset_chunk;

/*
 * Chains: the three built-in ones, then the user's by name, as iptables-save has them. Rules:
 * those of the first chain, then those of the second ...; within a chain in the order of the
 * text. No chain can get back to itself by jumps.
 *
 * Behind the filter table's chains are nat's, if a rule of its PREROUTING may translate
 * destinations: PREROUTING first, then those that it leads to; and so are their rules behind the
 * filter's.
 */
struct ruleset {
	uint8_t family; /* AF_INET or AF_INET6 */
	struct chain *chains;
	uint32_t chain_count;
	struct rule *rules;
	uint32_t rule_count;
	struct ruleset_chunk *memory; /* what matches and targets point to */
	uint32_t nat_chain;           /* the first of nat's; 0: there is none */
	bool translates;      /* a rule of the table nat does, or may: of any of its chains */
	const char *nat_text; /* that table as it is in the text, if it translates */
	size_t nat_size;
	uint32_t nat_line; /* of its first line */
};

/* ---- Reading and printing ---------------------------------------------------------- */

/*
 * Where messages go: one line each without its line feed, printable, beginning with
 * "FILE:LINE:COLUMN: " ("FILE:LINE: ", "FILE: " where there is no more to say).
 */
struct ruleset_report {
	void (*say)(void *context, bool warning, const char *message);
	void *context;
	const char *file; /* the name that messages begin with */
};

/*
 * Parse a text of iptables-save (family AF_INET) or ip6tables-save (AF_INET6), size bytes of any
 * content. Returns 0, or -errno after one error was reported, with nothing left in *ruleset:
 * -EINVAL (wrong), -EOPNOTSUPP (right, but not supported), -E2BIG (beyond a bound), -ENOMEM.
 * Of the table nat rules that are not supported are taken as TARGET_UNKNOWN; other tables are
 * skipped with a warning. The text may go; ruleset_free() is the caller's to call after success.
 */
int ruleset_parse(struct ruleset *ruleset, const char *text, size_t size, uint8_t family,
		  const struct ruleset_report *report);

/*
 * All of a file ("-": standard input), for the caller to free; no zero byte is behind it. Returns 0
 * or -errno, reported.
 */
int ruleset_read_text(const char *path, char **text, size_t *size,
		      const struct ruleset_report *report);

/* Read a file ("-": standard input) and parse it; -errno of reading is reported as well. */
int ruleset_read(struct ruleset *ruleset, const char *path, uint8_t family,
		 const struct ruleset_report *report);

/* Free what a ruleset has; one that is all zero has nothing. */
void ruleset_free(struct ruleset *ruleset);

/* How many chains and rules are the filter table's. */
uint32_t ruleset_filter_chains(const struct ruleset *ruleset);
uint32_t ruleset_filter_rules(const struct ruleset *ruleset);

/* Warn of the rules of the table nat that may translate destinations, but are not understood. */
void ruleset_warn_of_nat(const struct ruleset *ruleset, const struct ruleset_report *report);

/* Leave out what the table nat does to destinations. */
void ruleset_forget_nat(struct ruleset *ruleset);

/*
 * Print the filter table as iptables-save does (variant nft), from "*filter" to "COMMIT"; counters
 * in front of the rules as with its option -c. Errors are the stream's (ferror()).
 */
void ruleset_print(const struct ruleset *ruleset, bool counters, FILE *stream);

/* Print one rule the same way, without its counters and a line feed. */
void ruleset_print_rule(const struct ruleset *ruleset, const struct rule *rule, FILE *stream);

/* The names that iptables has for them ("conntrack", "REJECT"), for messages */
const char *match_name(enum match_kind kind);
const char *target_name(enum target_kind kind);

#endif /* BPFW_FILTER_RULESET_H */
