/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of numbers; see names.h. The lists are those of iptables 1.8 and of netbase. */
#include "filter/names.h"

#include <linux/if_packet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_hashlimit.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>

#include "filter/ruleset.h"

/* iptables asks its own list first, then /etc/protocols: this is Debian's. */
const struct name protocol_names[] = {
	{ "tcp", 6 },        { "sctp", 132 },
	{ "udp", 17 },       { "udplite", 136 },
	{ "icmp", 1 },       { "ipv6-icmp", 58 },
	{ "icmpv6", 58 },    { "esp", 50 },
	{ "ah", 51 },        { "mobility-header", 135 },
	{ "ipv6-mh", 135 },  { "mh", 135 },
	{ "all", 0 },        { "igmp", 2 },
	{ "ggp", 3 },        { "ipencap", 4 },
	{ "st", 5 },         { "egp", 8 },
	{ "igp", 9 },        { "pup", 12 },
	{ "hmp", 20 },       { "xns-idp", 22 },
	{ "rdp", 27 },       { "iso-tp4", 29 },
	{ "dccp", 33 },      { "xtp", 36 },
	{ "ddp", 37 },       { "idpr-cmtp", 38 },
	{ "ipv6", 41 },      { "ipv6-route", 43 },
	{ "ipv6-frag", 44 }, { "idrp", 45 },
	{ "rsvp", 46 },      { "gre", 47 },
	{ "skip", 57 },      { "ipv6-nonxt", 59 },
	{ "ipv6-opts", 60 }, { "rspf", 73 },
	{ "vmtp", 81 },      { "eigrp", 88 },
	{ "ospf", 89 },      { "ax.25", 93 },
	{ "ipip", 94 },      { "etherip", 97 },
	{ "encap", 98 },     { "pim", 103 },
	{ "ipcomp", 108 },   { "vrrp", 112 },
	{ "l2tp", 115 },     { "isis", 124 },
	{ "fc", 133 },       { "mpls-in-ip", 137 },
	{ "manet", 138 },    { "hip", 139 },
	{ "shim6", 140 },    { "wesp", 141 },
	{ "rohc", 142 },     { "ethernet", 143 },
	{ "", 0 },
};

/* What people write by name; iptables-save prints numbers. */
const struct name service_names[] = {
	{ "ftp-data", 20 },
	{ "ftp", 21 },
	{ "ssh", 22 },
	{ "telnet", 23 },
	{ "smtp", 25 },
	{ "domain", 53 },
	{ "bootps", 67 },
	{ "bootpc", 68 },
	{ "tftp", 69 },
	{ "http", 80 },
	{ "www", 80 },
	{ "kerberos", 88 },
	{ "pop3", 110 },
	{ "sunrpc", 111 },
	{ "auth", 113 },
	{ "ntp", 123 },
	{ "netbios-ns", 137 },
	{ "netbios-dgm", 138 },
	{ "netbios-ssn", 139 },
	{ "imap2", 143 },
	{ "imap", 143 },
	{ "snmp", 161 },
	{ "snmp-trap", 162 },
	{ "bgp", 179 },
	{ "ldap", 389 },
	{ "https", 443 },
	{ "microsoft-ds", 445 },
	{ "submissions", 465 },
	{ "isakmp", 500 },
	{ "syslog", 514 },
	{ "submission", 587 },
	{ "ldaps", 636 },
	{ "domain-s", 853 },
	{ "rsync", 873 },
	{ "imaps", 993 },
	{ "pop3s", 995 },
	{ "openvpn", 1194 },
	{ "nfs", 2049 },
	{ "mysql", 3306 },
	{ "ms-wbt-server", 3389 },
	{ "ipsec-nat-t", 4500 },
	{ "sip", 5060 },
	{ "sip-tls", 5061 },
	{ "mdns", 5353 },
	{ "postgresql", 5432 },
	{ "http-alt", 8080 },
	{ "", 0 },
};

const struct name tcp_flag_names[] = {
	{ "FIN", 0x01 }, { "SYN", 0x02 }, { "RST", 0x04 }, { "PSH", 0x08 }, { "ACK", 0x10 },
	{ "URG", 0x20 }, { "ALL", 0x3f }, { "NONE", 0 },   { "", 0 },
};

const struct name dscp_names[] = {
	{ "CS0", 0x00 },  { "CS1", 0x08 },  { "CS2", 0x10 },  { "CS3", 0x18 },  { "CS4", 0x20 },
	{ "CS5", 0x28 },  { "CS6", 0x30 },  { "CS7", 0x38 },  { "BE", 0x00 },   { "AF11", 0x0a },
	{ "AF12", 0x0c }, { "AF13", 0x0e }, { "AF21", 0x12 }, { "AF22", 0x14 }, { "AF23", 0x16 },
	{ "AF31", 0x1a }, { "AF32", 0x1c }, { "AF33", 0x1e }, { "AF41", 0x22 }, { "AF42", 0x24 },
	{ "AF43", 0x26 }, { "EF", 0x2e },   { "", 0 },
};

const struct long_name tos_names[] = {
	{ "Minimize-Delay", 0x10 },       { "Maximize-Throughput", 0x08 },
	{ "Maximize-Reliability", 0x04 }, { "Minimize-Cost", 0x02 },
	{ "Normal-Service", 0 },          { "", 0 },
};

const struct name pkttype_names[] = {
	{ "unicast", PACKET_HOST },        { "broadcast", PACKET_BROADCAST },
	{ "multicast", PACKET_MULTICAST }, { "otherhost", PACKET_OTHERHOST },
	{ "bcast", PACKET_BROADCAST },     { "mcast", PACKET_MULTICAST },
	{ "host", PACKET_HOST },           { "", 0 },
};

const struct name addrtype_names[] = {
	{ "UNSPEC", XT_ADDRTYPE_UNSPEC },
	{ "UNICAST", XT_ADDRTYPE_UNICAST },
	{ "LOCAL", XT_ADDRTYPE_LOCAL },
	{ "BROADCAST", XT_ADDRTYPE_BROADCAST },
	{ "ANYCAST", XT_ADDRTYPE_ANYCAST },
	{ "MULTICAST", XT_ADDRTYPE_MULTICAST },
	{ "BLACKHOLE", XT_ADDRTYPE_BLACKHOLE },
	{ "UNREACHABLE", XT_ADDRTYPE_UNREACHABLE },
	{ "PROHIBIT", XT_ADDRTYPE_PROHIBIT },
	{ "THROW", XT_ADDRTYPE_THROW },
	{ "NAT", XT_ADDRTYPE_NAT },
	{ "XRESOLVE", XT_ADDRTYPE_XRESOLVE },
	{ "", 0 },
};

/* In the order in which they are printed */
const struct name state_names[] = {
	{ "INVALID", XT_CONNTRACK_STATE_INVALID },
	{ "NEW", XT_CONNTRACK_STATE_BIT(IP_CT_NEW) },
	{ "RELATED", XT_CONNTRACK_STATE_BIT(IP_CT_RELATED) },
	{ "ESTABLISHED", XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED) },
	{ "UNTRACKED", XT_CONNTRACK_STATE_UNTRACKED },
	{ "SNAT", XT_CONNTRACK_STATE_SNAT },
	{ "DNAT", XT_CONNTRACK_STATE_DNAT },
	{ "", 0 },
};

const struct name status_names[] = {
	{ "EXPECTED", IPS_EXPECTED },
	{ "SEEN_REPLY", IPS_SEEN_REPLY },
	{ "ASSURED", IPS_ASSURED },
	{ "CONFIRMED", IPS_CONFIRMED },
	{ "NONE", 0 },
	{ "", 0 },
};

const struct name log_level_names[] = {
	{ "emerg", LOG_EMERG },     { "alert", LOG_ALERT },
	{ "crit", LOG_CRIT },       { "error", LOG_ERR },
	{ "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
	{ "info", LOG_INFO },       { "debug", LOG_DEBUG },
	{ "panic", LOG_EMERG },     { "", 0 },
};

/* In the order in which they are printed */
const struct name hashlimit_mode_names[] = {
	{ "srcip", XT_HASHLIMIT_HASH_SIP },
	{ "srcport", XT_HASHLIMIT_HASH_SPT },
	{ "dstip", XT_HASHLIMIT_HASH_DIP },
	{ "dstport", XT_HASHLIMIT_HASH_DPT },
	{ "", 0 },
};

const struct icmp_name icmp_names[] = {
	{ "any", 255, 0, 255 },
	{ "echo-reply", 0, 0, 255 },
	{ "pong", 0, 0, 255 },
	{ "destination-unreachable", 3, 0, 255 },
	{ "network-unreachable", 3, 0, 0 },
	{ "host-unreachable", 3, 1, 1 },
	{ "protocol-unreachable", 3, 2, 2 },
	{ "port-unreachable", 3, 3, 3 },
	{ "fragmentation-needed", 3, 4, 4 },
	{ "source-route-failed", 3, 5, 5 },
	{ "network-unknown", 3, 6, 6 },
	{ "host-unknown", 3, 7, 7 },
	{ "network-prohibited", 3, 9, 9 },
	{ "host-prohibited", 3, 10, 10 },
	{ "TOS-network-unreachable", 3, 11, 11 },
	{ "TOS-host-unreachable", 3, 12, 12 },
	{ "communication-prohibited", 3, 13, 13 },
	{ "host-precedence-violation", 3, 14, 14 },
	{ "precedence-cutoff", 3, 15, 15 },
	{ "source-quench", 4, 0, 255 },
	{ "redirect", 5, 0, 255 },
	{ "network-redirect", 5, 0, 0 },
	{ "host-redirect", 5, 1, 1 },
	{ "TOS-network-redirect", 5, 2, 2 },
	{ "TOS-host-redirect", 5, 3, 3 },
	{ "echo-request", 8, 0, 255 },
	{ "ping", 8, 0, 255 },
	{ "router-advertisement", 9, 0, 255 },
	{ "router-solicitation", 10, 0, 255 },
	{ "time-exceeded", 11, 0, 255 },
	{ "ttl-exceeded", 11, 0, 255 },
	{ "ttl-zero-during-transit", 11, 0, 0 },
	{ "ttl-zero-during-reassembly", 11, 1, 1 },
	{ "parameter-problem", 12, 0, 255 },
	{ "ip-header-bad", 12, 0, 0 },
	{ "required-option-missing", 12, 1, 1 },
	{ "timestamp-request", 13, 0, 255 },
	{ "timestamp-reply", 14, 0, 255 },
	{ "address-mask-request", 17, 0, 255 },
	{ "address-mask-reply", 18, 0, 255 },
	{ "", 0, 0, 0 },
};

/* Two names are spelt both ways: they are iptables's. */
const struct icmp_name icmpv6_names[] = {
	{ "destination-unreachable", 1, 0, 255 },
	{ "no-route", 1, 0, 0 },
	{ "communication-prohibited", 1, 1, 1 },
	{ "beyond-scope", 1, 2, 2 },
	{ "address-unreachable", 1, 3, 3 },
	{ "port-unreachable", 1, 4, 4 },
	{ "failed-policy", 1, 5, 5 },
	{ "reject-route", 1, 6, 6 },
	{ "packet-too-big", 2, 0, 255 },
	{ "time-exceeded", 3, 0, 255 },
	{ "ttl-exceeded", 3, 0, 255 },
	{ "ttl-zero-during-transit", 3, 0, 0 },
	{ "ttl-zero-during-reassembly", 3, 1, 1 },
	{ "parameter-problem", 4, 0, 255 },
	{ "bad-header", 4, 0, 0 },
	{ "unknown-header-type", 4, 1, 1 },
	{ "unknown-option", 4, 2, 2 },
	{ "echo-request", 128, 0, 255 },
	{ "ping", 128, 0, 255 },
	{ "echo-reply", 129, 0, 255 },
	{ "pong", 129, 0, 255 },
	{ "router-solicitation", 133, 0, 255 },
	{ "router-advertisement", 134, 0, 255 },
	{ "neighbour-solicitation", 135, 0, 255 },
	{ "neighbor-solicitation", 135, 0, 255 },
	{ "neighbour-advertisement", 136, 0, 255 },
	{ "neighbor-advertisement", 136, 0, 255 },
	{ "redirect", 137, 0, 255 },
	{ "", 0, 0, 0 },
};

const char reject_names[][24] = {
	[REJECT_ICMP_NET_UNREACHABLE] = "icmp-net-unreachable",
	[REJECT_ICMP_HOST_UNREACHABLE] = "icmp-host-unreachable",
	[REJECT_ICMP_PROTO_UNREACHABLE] = "icmp-proto-unreachable",
	[REJECT_ICMP_PORT_UNREACHABLE] = "icmp-port-unreachable",
	[REJECT_ICMP_NET_PROHIBITED] = "icmp-net-prohibited",
	[REJECT_ICMP_HOST_PROHIBITED] = "icmp-host-prohibited",
	[REJECT_ICMP_ADMIN_PROHIBITED] = "icmp-admin-prohibited",
	[REJECT_ICMP6_NO_ROUTE] = "icmp6-no-route",
	[REJECT_ICMP6_ADM_PROHIBITED] = "icmp6-adm-prohibited",
	[REJECT_ICMP6_ADDR_UNREACHABLE] = "icmp6-addr-unreachable",
	[REJECT_ICMP6_PORT_UNREACHABLE] = "icmp6-port-unreachable",
	[REJECT_ICMP6_POLICY_FAIL] = "icmp6-policy-fail",
	[REJECT_ICMP6_REJECT_ROUTE] = "icmp6-reject-route",
	[REJECT_TCP_RESET] = "tcp-reset",
};

const char reject_aliases[][16] = {
	[REJECT_ICMP_NET_UNREACHABLE] = "net-unreach",
	[REJECT_ICMP_HOST_UNREACHABLE] = "host-unreach",
	[REJECT_ICMP_PROTO_UNREACHABLE] = "proto-unreach",
	[REJECT_ICMP_PORT_UNREACHABLE] = "port-unreach",
	[REJECT_ICMP_NET_PROHIBITED] = "net-prohib",
	[REJECT_ICMP_HOST_PROHIBITED] = "host-prohib",
	[REJECT_ICMP_ADMIN_PROHIBITED] = "admin-prohib",
	[REJECT_ICMP6_NO_ROUTE] = "no-route",
	[REJECT_ICMP6_ADM_PROHIBITED] = "adm-prohibited",
	[REJECT_ICMP6_ADDR_UNREACHABLE] = "addr-unreach",
	[REJECT_ICMP6_PORT_UNREACHABLE] = "port-unreach",
	[REJECT_ICMP6_POLICY_FAIL] = "policy-fail",
	[REJECT_ICMP6_REJECT_ROUTE] = "reject-route",
	[REJECT_TCP_RESET] = "tcp-rst",
};

bool name_begins(const char *name, struct slice text)
{
	return text.length && !strncasecmp(name, text.at, text.length);
}

bool name_is(const char *name, struct slice text)
{
	return name_begins(name, text) && !name[text.length];
}

bool slice_is(struct slice text, const char *expected)
{
	return strlen(expected) == text.length && !memcmp(expected, text.at, text.length);
}

const struct name *name_find(const struct name *list, struct slice text, bool cut_short)
{
	for (; *list->name; list++) {
		if (cut_short ? name_begins(list->name, text) : name_is(list->name, text))
			return list;
	}
	return NULL;
}

const char *name_of(const struct name *list, unsigned int value)
{
	for (; *list->name; list++) {
		if (list->value == value)
			return list->name;
	}
	return NULL;
}

bool slice_next(struct slice *rest, char separator, struct slice *part)
{
	const char *end;

	if (!rest->at)
		return false;
	*part = *rest;
	end = memchr(rest->at, separator, rest->length);
	if (!end) {
		rest->at = NULL;
		return true;
	}
	part->length = (size_t)(end - rest->at);
	rest->length -= part->length + 1;
	rest->at = end + 1;
	return true;
}
