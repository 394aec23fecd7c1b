/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables of matches, targets and their options; see option.h. */
#include "filter/option.h"

#include <linux/netfilter/xt_LOG.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_recent.h>
#include <linux/netfilter/xt_time.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

#define INVERT OPTION_INVERT
#define BARE OPTION_BARE
#define TWO OPTION_TWO
#define BIT(number) (1u << (number))
#define AT(record, member) offsetof(struct record, member)

/* XT_CONNTRACK_* of ports do not fit a byte as they are */
#define PORT_BIT(flag) ((flag) >> 8)

/* clang-format off */
static const struct option module_options[] = {
	{ "sport", MATCH_UDP, READ_PORTS, INVERT, 0, 0, AT(match_tcp, source) },
	{ "source-port", MATCH_UDP, READ_PORTS, INVERT, 0, 0, AT(match_tcp, source) },
	{ "dport", MATCH_UDP, READ_PORTS, INVERT, 1, 0, AT(match_tcp, destination) },
	{ "destination-port", MATCH_UDP, READ_PORTS, INVERT, 1, 0, AT(match_tcp, destination) },
	{ "chunk-types", MATCH_SCTP, READ_REFUSED, INVERT | TWO, 2, 0, 0 },
	{ "tcp-flags", MATCH_TCP, READ_TCP_FLAGS, INVERT | TWO, 3, 0, 0 },
	{ "syn", MATCH_TCP, READ_SYN, INVERT | BARE, 3, 0, 0 },
	{ "tcp-option", MATCH_TCP, READ_TCP_OPTION, INVERT, 4, 0, 0 },
	{ "icmp-type", MATCH_ICMP, READ_ICMP, INVERT, 0, 0, 0 },
	{ "icmpv6-type", MATCH_ICMPV6, READ_ICMP, INVERT, 0, 1, 0 },
	{ "sports", MATCH_MULTIPORT, READ_MULTIPORT, INVERT, 0, MULTIPORT_SOURCE, 0 },
	{ "source-ports", MATCH_MULTIPORT, READ_MULTIPORT, INVERT, 0, MULTIPORT_SOURCE, 0 },
	{ "dports", MATCH_MULTIPORT, READ_MULTIPORT, INVERT, 0, MULTIPORT_DESTINATION, 0 },
	{ "destination-ports", MATCH_MULTIPORT, READ_MULTIPORT, INVERT, 0,
	  MULTIPORT_DESTINATION, 0 },
	{ "ports", MATCH_MULTIPORT, READ_MULTIPORT, INVERT, 0, MULTIPORT_EITHER, 0 },
	{ "src-range", MATCH_IPRANGE, READ_IPRANGE, INVERT, 0, 0, AT(match_iprange, source) },
	{ "dst-range", MATCH_IPRANGE, READ_IPRANGE, INVERT, 1, 0, AT(match_iprange, destination) },
	{ "mark", MATCH_MARK, READ_MARK, INVERT, 0, 0, 0 },
	{ "dscp", MATCH_DSCP, READ_DSCP, INVERT, 0, 0, 0 },
	{ "dscp-class", MATCH_DSCP, READ_DSCP_CLASS, INVERT, 0, 0, 0 },
	{ "tos", MATCH_TOS, READ_TOS, INVERT, 0, 0, 0 },
	{ "ecn-tcp-ece", MATCH_ECN, READ_ECN, INVERT | BARE, 0, 0, AT(match_ecn, ece) },
	{ "ecn-tcp-cwr", MATCH_ECN, READ_ECN, INVERT | BARE, 1, 0, AT(match_ecn, cwr) },
	{ "ecn-ip-ect", MATCH_ECN, READ_ECT, INVERT, 2, 0, 0 },
	{ "ttl-eq", MATCH_TTL, READ_TTL, INVERT, 0, TTL_EQUAL, 0 },
	{ "ttl", MATCH_TTL, READ_TTL, INVERT, 0, TTL_EQUAL, 0 },
	{ "ttl-lt", MATCH_TTL, READ_TTL, 0, 0, TTL_LESS, 0 },
	{ "ttl-gt", MATCH_TTL, READ_TTL, 0, 0, TTL_GREATER, 0 },
	{ "hl-eq", MATCH_HL, READ_TTL, INVERT, 0, TTL_EQUAL, 0 },
	{ "hl", MATCH_HL, READ_TTL, INVERT, 0, TTL_EQUAL, 0 },
	{ "hl-lt", MATCH_HL, READ_TTL, 0, 0, TTL_LESS, 0 },
	{ "hl-gt", MATCH_HL, READ_TTL, 0, 0, TTL_GREATER, 0 },
	{ "length", MATCH_LENGTH, READ_RANGE, INVERT, 0, 0, 0 },
	{ "mss", MATCH_TCPMSS, READ_RANGE, INVERT, 0, 0, 0 },
	{ "pkt-type", MATCH_PKTTYPE, READ_PKTTYPE, INVERT, 0, 0, 0 },
	{ "mac-source", MATCH_MAC, READ_MAC, INVERT, 0, 0, 0 },
	{ "src-type", MATCH_ADDRTYPE, READ_ADDRTYPE, INVERT, 0, 0, 0 },
	{ "dst-type", MATCH_ADDRTYPE, READ_ADDRTYPE, INVERT, 1, 1, 0 },
	{ "limit-iface-in", MATCH_ADDRTYPE, READ_FLAG, BARE, 2, 0, AT(match_addrtype, limit_in) },
	{ "limit-iface-out", MATCH_ADDRTYPE, READ_FLAG, BARE, 2, 0, AT(match_addrtype, limit_out) },
	{ "limit", MATCH_LIMIT, READ_LIMIT, 0, 0, 0, 0 },
	{ "limit-burst", MATCH_LIMIT, READ_LIMIT_BURST, 0, 1, 0, 0 },
	{ "hashlimit-upto", MATCH_HASHLIMIT, READ_HASHLIMIT_RATE, INVERT, 0, 0, 0 },
	{ "hashlimit-above", MATCH_HASHLIMIT, READ_HASHLIMIT_RATE, INVERT, 0, 1, 0 },
	{ "hashlimit", MATCH_HASHLIMIT, READ_HASHLIMIT_RATE, INVERT, 0, 0, 0 },
	{ "hashlimit-name", MATCH_HASHLIMIT, READ_HASHLIMIT_NAME, 0, 1, 0, 0 },
	{ "hashlimit-mode", MATCH_HASHLIMIT, READ_HASHLIMIT_MODE, 0, 2, 0, 0 },
	{ "hashlimit-burst", MATCH_HASHLIMIT, READ_HASHLIMIT_BURST, 0, 3, 0, 0 },
	{ "hashlimit-htable-size", MATCH_HASHLIMIT, READ_U32, 0, 4, 0, AT(match_hashlimit, size) },
	{ "hashlimit-htable-max", MATCH_HASHLIMIT, READ_U32, 0, 5, 0, AT(match_hashlimit, max) },
	{ "hashlimit-htable-gcinterval", MATCH_HASHLIMIT, READ_U32, 0, 6, 0,
	  AT(match_hashlimit, gc_interval) },
	{ "hashlimit-htable-expire", MATCH_HASHLIMIT, READ_U32, 0, 7, 0,
	  AT(match_hashlimit, expire) },
	{ "hashlimit-srcmask", MATCH_HASHLIMIT, READ_HASHLIMIT_PREFIX, 0, 8, 0,
	  AT(match_hashlimit, source_prefix) },
	{ "hashlimit-dstmask", MATCH_HASHLIMIT, READ_HASHLIMIT_PREFIX, 0, 9, 0,
	  AT(match_hashlimit, destination_prefix) },
	{ "hashlimit-rate-match", MATCH_HASHLIMIT, READ_HASHLIMIT_RATE_MATCH, BARE, 10, 0, 0 },
	{ "hashlimit-rate-interval", MATCH_HASHLIMIT, READ_HASHLIMIT_INTERVAL, 0, 11, 0, 0 },
	{ "connlimit-upto", MATCH_CONNLIMIT, READ_CONNLIMIT, INVERT, 0, 0, 0 },
	{ "connlimit-above", MATCH_CONNLIMIT, READ_CONNLIMIT, INVERT, 0, 1, 0 },
	{ "connlimit-mask", MATCH_CONNLIMIT, READ_CONNLIMIT_MASK, 0, 1, 0, 0 },
	{ "connlimit-saddr", MATCH_CONNLIMIT, READ_CONNLIMIT_SIDE, BARE, 2, 0, 0 },
	{ "connlimit-daddr", MATCH_CONNLIMIT, READ_CONNLIMIT_SIDE, BARE, 2, 1, 0 },
	{ "match-set", MATCH_SET, READ_SET, INVERT | TWO, 0, 0, 0 },
	{ "set", MATCH_SET, READ_SET, INVERT | TWO, 0, 0, 0 },
	{ "return-nomatch", MATCH_SET, READ_REFUSED, BARE, 1, 0, 0 },
	{ "update-counters", MATCH_SET, READ_REFUSED, INVERT | BARE, 2, 0, 0 },
	{ "update-subcounters", MATCH_SET, READ_REFUSED, INVERT | BARE, 3, 0, 0 },
	{ "packets-eq", MATCH_SET, READ_REFUSED, INVERT, 4, 0, 0 },
	{ "packets-lt", MATCH_SET, READ_REFUSED, INVERT, 4, 0, 0 },
	{ "packets-gt", MATCH_SET, READ_REFUSED, INVERT, 4, 0, 0 },
	{ "bytes-eq", MATCH_SET, READ_REFUSED, INVERT, 5, 0, 0 },
	{ "bytes-lt", MATCH_SET, READ_REFUSED, INVERT, 5, 0, 0 },
	{ "bytes-gt", MATCH_SET, READ_REFUSED, INVERT, 5, 0, 0 },
	{ "comment", MATCH_COMMENT, READ_COMMENT, 0, 0, 0, 0 },
	{ "u32", MATCH_U32, READ_U32_TESTS, INVERT, 0, 0, 0 },
	{ "mode", MATCH_STATISTIC, READ_STATISTIC_MODE, 0, 0, 0, 0 },
	{ "probability", MATCH_STATISTIC, READ_PROBABILITY, INVERT, 1, 0, 0 },
	{ "every", MATCH_STATISTIC, READ_EVERY, INVERT, 2, 0, 0 },
	{ "packet", MATCH_STATISTIC, READ_U32, 0, 3, 0, AT(match_statistic, packet) },
	{ "timestart", MATCH_TIME, READ_DAYTIME, 0, 0, 0, AT(match_time, day_start) },
	{ "timestop", MATCH_TIME, READ_DAYTIME, 0, 1, 0, AT(match_time, day_stop) },
	{ "datestart", MATCH_TIME, READ_DATE, 0, 2, 0, AT(match_time, date_start) },
	{ "datestop", MATCH_TIME, READ_DATE, 0, 3, 0, AT(match_time, date_stop) },
	{ "monthdays", MATCH_TIME, READ_MONTHDAYS, INVERT, 4, 0, 0 },
	{ "weekdays", MATCH_TIME, READ_WEEKDAYS, INVERT, 5, 0, 0 },
	{ "contiguous", MATCH_TIME, READ_BIT, BARE, 6, XT_TIME_CONTIGUOUS, AT(match_time, flags) },
	{ "kerneltz", MATCH_TIME, READ_BIT, BARE, 7, XT_TIME_LOCAL_TZ, AT(match_time, flags) },
	{ "localtz", MATCH_TIME, READ_BIT, BARE, 7, XT_TIME_LOCAL_TZ, AT(match_time, flags) },
	{ "utc", MATCH_TIME, READ_IGNORED, BARE, 7, 0, 0 },
	{ "ctstate", MATCH_CONNTRACK, READ_CT_STATES, INVERT, 0, 0, 0 },
	{ "ctproto", MATCH_CONNTRACK, READ_CT_PROTOCOL, INVERT, 1, 0, 0 },
	{ "ctorigsrc", MATCH_CONNTRACK, READ_CT_ADDRESS, INVERT, 2, XT_CONNTRACK_ORIGSRC,
	  AT(match_conntrack, original_source) },
	{ "ctorigdst", MATCH_CONNTRACK, READ_CT_ADDRESS, INVERT, 3, XT_CONNTRACK_ORIGDST,
	  AT(match_conntrack, original_destination) },
	{ "ctreplsrc", MATCH_CONNTRACK, READ_CT_ADDRESS, INVERT, 4, XT_CONNTRACK_REPLSRC,
	  AT(match_conntrack, reply_source) },
	{ "ctrepldst", MATCH_CONNTRACK, READ_CT_ADDRESS, INVERT, 5, XT_CONNTRACK_REPLDST,
	  AT(match_conntrack, reply_destination) },
	{ "ctorigsrcport", MATCH_CONNTRACK, READ_CT_PORTS, INVERT, 6, PORT_BIT(XT_CONNTRACK_ORIGSRC_PORT),
	  AT(match_conntrack, original_source_port) },
	{ "ctorigdstport", MATCH_CONNTRACK, READ_CT_PORTS, INVERT, 7, PORT_BIT(XT_CONNTRACK_ORIGDST_PORT),
	  AT(match_conntrack, original_destination_port) },
	{ "ctreplsrcport", MATCH_CONNTRACK, READ_CT_PORTS, INVERT, 8, PORT_BIT(XT_CONNTRACK_REPLSRC_PORT),
	  AT(match_conntrack, reply_source_port) },
	{ "ctrepldstport", MATCH_CONNTRACK, READ_CT_PORTS, INVERT, 9, PORT_BIT(XT_CONNTRACK_REPLDST_PORT),
	  AT(match_conntrack, reply_destination_port) },
	{ "ctstatus", MATCH_CONNTRACK, READ_CT_STATUS, INVERT, 10, 0, 0 },
	{ "ctexpire", MATCH_CONNTRACK, READ_CT_EXPIRES, INVERT, 11, 0, 0 },
	{ "ctdir", MATCH_CONNTRACK, READ_CT_DIRECTION, 0, 12, 0, 0 },
	{ "state", MATCH_STATE, READ_STATES, INVERT, 0, 0, 0 },
	{ "rt-type", MATCH_RT, READ_RT, INVERT, 0, 0, AT(match_rt, type) },
	{ "rt-segsleft", MATCH_RT, READ_RT, INVERT, 1, 1, AT(match_rt, segments) },
	{ "rt-len", MATCH_RT, READ_REFUSED, INVERT, 2, 0, 0 },
	{ "rt-0-res", MATCH_RT, READ_REFUSED, BARE, 3, 0, 0 },
	{ "rt-0-addrs", MATCH_RT, READ_REFUSED, INVERT, 4, 0, 0 },
	{ "rt-0-not-strict", MATCH_RT, READ_REFUSED, BARE, 5, 0, 0 },
	{ "set", MATCH_RECENT, READ_RECENT, INVERT | BARE, 0, XT_RECENT_SET, 0 },
	{ "rcheck", MATCH_RECENT, READ_RECENT, INVERT | BARE, 0, XT_RECENT_CHECK, 0 },
	{ "update", MATCH_RECENT, READ_RECENT, INVERT | BARE, 0, XT_RECENT_UPDATE, 0 },
	{ "remove", MATCH_RECENT, READ_RECENT, INVERT | BARE, 0, XT_RECENT_REMOVE, 0 },
	{ "seconds", MATCH_RECENT, READ_RECENT_SECONDS, 0, 1, 0, 0 },
	{ "reap", MATCH_RECENT, READ_BIT, BARE, 2, XT_RECENT_REAP, AT(match_recent, checks) },
	{ "hitcount", MATCH_RECENT, READ_RECENT_HITS, 0, 3, 0, 0 },
	{ "rttl", MATCH_RECENT, READ_BIT, BARE, 4, XT_RECENT_TTL, AT(match_recent, checks) },
	{ "name", MATCH_RECENT, READ_RECENT_NAME, 0, 5, 0, 0 },
	{ "mask", MATCH_RECENT, READ_RECENT_MASK, 0, 6, 0, 0 },
	{ "rsource", MATCH_RECENT, READ_RECENT_SIDE, BARE, 7, 0, 0 },
	{ "rdest", MATCH_RECENT, READ_RECENT_SIDE, BARE, 7, 1, 0 },
	{ "log-level", TARGET(TARGET_LOG), READ_LOG_LEVEL, 0, 0, 0, 0 },
	{ "log-prefix", TARGET(TARGET_LOG), READ_PREFIX, 0, 1, 29, AT(target_log, prefix) },
	{ "log-tcp-sequence", TARGET(TARGET_LOG), READ_BIT, BARE, 2, XT_LOG_TCPSEQ,
	  AT(target_log, flags) },
	{ "log-tcp-options", TARGET(TARGET_LOG), READ_BIT, BARE, 3, XT_LOG_TCPOPT,
	  AT(target_log, flags) },
	{ "log-ip-options", TARGET(TARGET_LOG), READ_BIT, BARE, 4, XT_LOG_IPOPT,
	  AT(target_log, flags) },
	{ "log-uid", TARGET(TARGET_LOG), READ_BIT, BARE, 5, XT_LOG_UID, AT(target_log, flags) },
	{ "log-macdecode", TARGET(TARGET_LOG), READ_BIT, BARE, 6, XT_LOG_MACDECODE,
	  AT(target_log, flags) },
	{ "nflog-group", TARGET(TARGET_NFLOG), READ_U16, 0, 0, 0, AT(target_nflog, group) },
	{ "nflog-prefix", TARGET(TARGET_NFLOG), READ_PREFIX, 0, 1, 127, AT(target_nflog, prefix) },
	{ "nflog-size", TARGET(TARGET_NFLOG), READ_NFLOG_SIZE, 0, 2, 0, 0 },
	{ "nflog-range", TARGET(TARGET_NFLOG), READ_IGNORED, 0, 2, 0, 0 },
	{ "nflog-threshold", TARGET(TARGET_NFLOG), READ_U16, 0, 3, 0, AT(target_nflog, threshold) },
	{ "add-set", TARGET(TARGET_SET), READ_SET_REFERENCE, TWO, 0, 0, AT(target_set, add) },
	{ "del-set", TARGET(TARGET_SET), READ_SET_REFERENCE, TWO, 1, 0, AT(target_set, del) },
	{ "exist", TARGET(TARGET_SET), READ_FLAG, BARE, 2, 0, AT(target_set, exist) },
	{ "timeout", TARGET(TARGET_SET), READ_SET_TIMEOUT, 0, 3, 0, 0 },
	{ "map-set", TARGET(TARGET_SET), READ_REFUSED, TWO, 4, 0, 0 },
	{ "map-mark", TARGET(TARGET_SET), READ_REFUSED, BARE, 5, 0, 0 },
	{ "map-prio", TARGET(TARGET_SET), READ_REFUSED, BARE, 6, 0, 0 },
	{ "map-queue", TARGET(TARGET_SET), READ_REFUSED, BARE, 7, 0, 0 },
	{ "set-xmark", TARGET(TARGET_MARK), READ_SET_MARK, 0, 0, MARK_XSET, 0 },
	{ "set-mark", TARGET(TARGET_MARK), READ_SET_MARK, 0, 0, MARK_SET, 0 },
	{ "and-mark", TARGET(TARGET_MARK), READ_SET_MARK, 0, 0, MARK_AND, 0 },
	{ "or-mark", TARGET(TARGET_MARK), READ_SET_MARK, 0, 0, MARK_OR, 0 },
	{ "xor-mark", TARGET(TARGET_MARK), READ_SET_MARK, 0, 0, MARK_XOR, 0 },
	{ "reject-with", TARGET(TARGET_REJECT), READ_REJECT, 0, 0, 0, 0 },
	{ "to-destination", TARGET(TARGET_DNAT), READ_DESTINATION, 0, 0, 0, 0 },
	{ "persistent", TARGET(TARGET_DNAT), READ_IGNORED, BARE, 1, 0, 0 },
	{ "random", TARGET(TARGET_DNAT), READ_REFUSED, BARE, 2, 0, 0 },
	{ "to-ports", TARGET(TARGET_REDIRECT), READ_REDIRECT, 0, 0, 0, 0 },
	{ "random", TARGET(TARGET_REDIRECT), READ_REFUSED, BARE, 1, 0, 0 },
	{ "to", TARGET(TARGET_NETMAP), READ_NETMAP, 0, 0, 0, 0 },
};

/* By enum match_kind. tcp and sctp have the options of udp as well as their own. */
static const struct module matches[] = {
	{ "tcp", MATCH_TCP, MATCH_TCP, MATCH_UDP, 0, IPPROTO_TCP, 0, 0, 0 },
	{ "udp", MATCH_UDP, MATCH_UDP, MATCH_UDP, 0, IPPROTO_UDP, 0, 0, 0 },
	{ "sctp", MATCH_SCTP, MATCH_SCTP, MATCH_UDP, 0, IPPROTO_SCTP, 0, 0, 0 },
	{ "icmp", MATCH_ICMP, MATCH_ICMP, MATCH_ICMP, AF_INET, IPPROTO_ICMP, 0, BIT(0), 0 },
	{ "icmp6", MATCH_ICMPV6, MATCH_ICMPV6, MATCH_ICMPV6, AF_INET6, IPPROTO_ICMPV6, 0, BIT(0), 0 },
	{ "multiport", MATCH_MULTIPORT, MATCH_MULTIPORT, MATCH_MULTIPORT, 0, 0, 0, BIT(0), 0 },
	{ "iprange", MATCH_IPRANGE, MATCH_IPRANGE, MATCH_IPRANGE, 0, 0,
	  sizeof(struct match_iprange), 0, 3 },
	{ "mark", MATCH_MARK, MATCH_MARK, MATCH_MARK, 0, 0, 0, BIT(0), 0 },
	{ "dscp", MATCH_DSCP, MATCH_DSCP, MATCH_DSCP, 0, 0, 0, BIT(0), 0 },
	{ "tos", MATCH_TOS, MATCH_TOS, MATCH_TOS, 0, 0, 0, BIT(0), 0 },
	{ "ecn", MATCH_ECN, MATCH_ECN, MATCH_ECN, 0, 0, 0, 0, 7 },
	{ "ttl", MATCH_TTL, MATCH_TTL, MATCH_TTL, AF_INET, 0, 0, BIT(0), 0 },
	{ "hl", MATCH_HL, MATCH_HL, MATCH_HL, AF_INET6, 0, 0, BIT(0), 0 },
	{ "length", MATCH_LENGTH, MATCH_LENGTH, MATCH_LENGTH, 0, 0, 0, BIT(0), 0 },
	{ "tcpmss", MATCH_TCPMSS, MATCH_TCPMSS, MATCH_TCPMSS, 0, IPPROTO_TCP, 0, BIT(0), 0 },
	{ "pkttype", MATCH_PKTTYPE, MATCH_PKTTYPE, MATCH_PKTTYPE, 0, 0, 0, BIT(0), 0 },
	{ "mac", MATCH_MAC, MATCH_MAC, MATCH_MAC, 0, 0, 0, BIT(0), 0 },
	{ "addrtype", MATCH_ADDRTYPE, MATCH_ADDRTYPE, MATCH_ADDRTYPE, 0, 0, 0, 0, 3 },
	{ "limit", MATCH_LIMIT, MATCH_LIMIT, MATCH_LIMIT, 0, 0, 0, 0, 0 },
	{ "hashlimit", MATCH_HASHLIMIT, MATCH_HASHLIMIT, MATCH_HASHLIMIT, 0, 0,
	  sizeof(struct match_hashlimit), 3, 0 },
	{ "connlimit", MATCH_CONNLIMIT, MATCH_CONNLIMIT, MATCH_CONNLIMIT, 0, 0, 0, BIT(0), 0 },
	{ "set", MATCH_SET, MATCH_SET, MATCH_SET, 0, 0, 0, BIT(0), 0 },
	{ "comment", MATCH_COMMENT, MATCH_COMMENT, MATCH_COMMENT, 0, 0, 0, BIT(0), 0 },
	{ "u32", MATCH_U32, MATCH_U32, MATCH_U32, 0, 0, sizeof(struct match_u32), BIT(0), 0 },
	{ "statistic", MATCH_STATISTIC, MATCH_STATISTIC, MATCH_STATISTIC, 0, 0, 0, BIT(0), 0 },
	{ "time", MATCH_TIME, MATCH_TIME, MATCH_TIME, 0, 0, 0, 0, 0 },
	{ "conntrack", MATCH_CONNTRACK, MATCH_CONNTRACK, MATCH_CONNTRACK, 0, 0,
	  sizeof(struct match_conntrack), 0, 0x1fff },
	{ "state", MATCH_STATE, MATCH_STATE, MATCH_STATE, 0, 0, 0, BIT(0), 0 },
	{ "rt", MATCH_RT, MATCH_RT, MATCH_RT, AF_INET6, 0, 0, 0, 0 },
	{ "recent", MATCH_RECENT, MATCH_RECENT, MATCH_RECENT, 0, 0, sizeof(struct match_recent),
	  BIT(0), 0 },
};

static const struct module targets[] = {
	{ "ACCEPT", TARGET_ACCEPT, TARGET(TARGET_ACCEPT), TARGET(TARGET_ACCEPT), 0, 0, 0, 0, 0 },
	{ "DROP", TARGET_DROP, TARGET(TARGET_DROP), TARGET(TARGET_DROP), 0, 0, 0, 0, 0 },
	{ "RETURN", TARGET_RETURN, TARGET(TARGET_RETURN), TARGET(TARGET_RETURN), 0, 0, 0, 0, 0 },
	{ "LOG", TARGET_LOG, TARGET(TARGET_LOG), TARGET(TARGET_LOG), 0, 0, 0, 0, 0 },
	{ "NFLOG", TARGET_NFLOG, TARGET(TARGET_NFLOG), TARGET(TARGET_NFLOG), 0, 0, 0, 0, 0 },
	{ "SET", TARGET_SET, TARGET(TARGET_SET), TARGET(TARGET_SET), 0, 0,
	  sizeof(struct target_set), 0, 3 },
	{ "MARK", TARGET_MARK, TARGET(TARGET_MARK), TARGET(TARGET_MARK), 0, 0, 0, BIT(0), 0 },
	{ "REJECT", TARGET_REJECT, TARGET(TARGET_REJECT), TARGET(TARGET_REJECT), 0, 0, 0, 0, 0 },
};

static const struct module nat_targets[] = {
	{ "DNAT", TARGET_DNAT, TARGET(TARGET_DNAT), TARGET(TARGET_DNAT), 0, 0,
	  sizeof(struct target_nat), BIT(0), 0 },
	{ "REDIRECT", TARGET_REDIRECT, TARGET(TARGET_REDIRECT), TARGET(TARGET_REDIRECT), 0, 0,
	  sizeof(struct target_nat), 0, 0 },
	{ "NETMAP", TARGET_NETMAP, TARGET(TARGET_NETMAP), TARGET(TARGET_NETMAP), 0, 0,
	  sizeof(struct target_nat), BIT(0), 0 },
};
/* clang-format on */

/* Other targets of iptables: no chain can have their names. */
static const char foreign_targets[] =
	"AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK "
	"IDLETIMER LED MASQUERADE MIRROR NETMAP NFQUEUE NOTRACK QUEUE RATEEST REDIRECT SAME SECMARK "
	"SNAT SNPT SYNPROXY TCPMSS TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG";

static const struct module *find_module(const struct module *list, size_t count, struct slice name,
					uint8_t family)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (slice_is(name, list[i].name) && (!list[i].family || list[i].family == family))
			return &list[i];
	}
	return NULL;
}

const struct module *module_match(struct slice name, uint8_t family)
{
	const struct name *alias = name_find(protocol_names, name, false);

	/* ipv6-icmp and icmpv6 are names of icmp6 */
	if (alias && alias->value == IPPROTO_ICMPV6)
		return module_of_protocol(IPPROTO_ICMPV6, family);
	return find_module(matches, ARRAY_SIZE(matches), name, family);
}

const struct module *module_target(struct slice name, uint8_t family)
{
	return find_module(targets, ARRAY_SIZE(targets), name, family);
}

const struct module *module_nat_target(struct slice name)
{
	return find_module(nat_targets, ARRAY_SIZE(nat_targets), name, 0);
}

const struct module *module_of_protocol(uint8_t protocol, uint8_t family)
{
	size_t i;

	for (i = 0; i <= MATCH_ICMPV6; i++) {
		if (matches[i].protocol == protocol &&
		    (!matches[i].family || matches[i].family == family))
			return &matches[i];
	}
	return NULL;
}

const struct module *module_of_match(enum match_kind kind)
{
	return &matches[kind];
}

const struct option *module_option(const struct module *module, struct slice name)
{
	const struct option *option;

	for (option = module_options; option < module_options + ARRAY_SIZE(module_options);
	     option++) {
		if ((option->owner == module->owner || option->owner == module->also) &&
		    slice_is(name, option->name))
			return option;
	}
	return NULL;
}

const char *module_with_option(struct slice name, uint8_t family)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(matches); i++) {
		if ((!matches[i].family || matches[i].family == family) &&
		    module_option(&matches[i], name))
			return matches[i].name;
	}
	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		if (module_option(&targets[i], name))
			return targets[i].name;
	}
	return NULL;
}

const char *module_next_name(bool target, uint8_t family, unsigned int *index)
{
	const struct module *list = target ? targets : matches;
	size_t count = target ? ARRAY_SIZE(targets) : ARRAY_SIZE(matches);

	while (*index < count) {
		const struct module *module = &list[(*index)++];

		if (!module->family || module->family == family)
			return module->name;
	}
	return NULL;
}

bool module_is_target_name(struct slice name)
{
	struct slice rest = { foreign_targets, sizeof(foreign_targets) - 1 }, part;

	if (module_target(name, 0))
		return true;
	while (slice_next(&rest, ' ', &part)) {
		if (part.length == name.length && !memcmp(part.at, name.at, part.length))
			return true;
	}
	return false;
}

const char *match_name(enum match_kind kind)
{
	return matches[kind].name;
}

const char *target_name(enum target_kind kind)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		if (targets[i].kind == kind)
			return targets[i].name;
	}
	for (i = 0; i < ARRAY_SIZE(nat_targets); i++) {
		if (nat_targets[i].kind == kind)
			return nat_targets[i].name;
	}
	return kind == TARGET_JUMP ? "-j" : kind == TARGET_GOTO ? "-g" : "";
}
