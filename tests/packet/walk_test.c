/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every way through the program: a table of frames, what becomes of each, and the one
 * counter that tells why. Both hooks run the same table.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lab.h"
#include "model.h"
#include "tap.h"
#include "util.h"

enum base {
	TCP4,
	UDP4,
	TCP6,
	UDP6,
	BASES,
};

static const char *const base_names[BASES] = { "TCP/IPv4", "UDP/IPv4", "TCP/IPv6", "UDP/IPv6" };

/* Offsets for the patches of the table */
enum {
	ETH_DST = 0,
	ETH_TYPE = 12,
	IP = FRAME_L3,
	TOT_LEN = IP + 2,
	FRAG = IP + 6,
	TTL = IP + 8,
	PROTO = IP + 9,
	IP_CHECK = IP + 10,
	L4 = IP + 20,
	IP6_LEN = IP + 4,
	NEXTHDR = IP + 6,
	HOPS = IP + 7,
	L4_6 = IP + 40,
};

enum fix {
	FIX_IP = 1 << 0, /* recompute the IPv4 header's checksum after patching */
	FIX_L4 = 1 << 1, /* and the transport checksum */
};

enum arrives_by {
	BY_LAN,
	BY_WAN,
	BY_ELSEWHERE,
};

struct patch {
	uint16_t at;
	uint8_t bytes; /* 0: no patch */
	uint32_t value;
};

struct packet_case {
	const char *name;
	enum base base;
	int exit; /* expected; NO_EXIT: forwarded */
	struct patch patch[3];
	unsigned int fix;
	uint16_t payload;     /* 0: 26 */
	uint8_t tcp_options;  /* bytes */
	uint16_t padding;     /* bytes behind the packet */
	uint16_t gso_size;    /* TC only: the case runs there alone */
	enum arrives_by from; /* LAN, where the flows come in */
};

#define CASE(name_, base_, exit_, ...)                                         \
	{                                                                      \
		.name = (name_), .base = (base_), .exit = (exit_), __VA_ARGS__ \
	}
#define PUT(at_, bytes_, value_)                                  \
	{                                                         \
		.at = (at_), .bytes = (bytes_), .value = (value_) \
	}
#define FLAGS(flags) PUT(L4 + 13, 1, flags)
#define FLAGS6(flags) PUT(L4_6 + 13, 1, flags)

static const struct packet_case cases[] = {
	/* What is forwarded */
	CASE("plain data", TCP4, NO_EXIT),
	CASE("plain datagram", UDP4, NO_EXIT),
	CASE("plain data", TCP6, NO_EXIT),
	CASE("plain datagram", UDP6, NO_EXIT),
	CASE("one byte of data", TCP4, NO_EXIT, .payload = 1),
	CASE("an odd length", UDP6, NO_EXIT, .payload = 33),
	CASE("TCP options", TCP4, NO_EXIT, .tcp_options = 12),
	CASE("40 bytes of TCP options", TCP6, NO_EXIT, .tcp_options = 40),

	/* Ethernet */
	CASE("broadcast MAC", TCP4, EXIT_GROUP_ADDRESS,
	     .patch = { PUT(ETH_DST, 4, 0xffffffff), PUT(ETH_DST + 4, 2, 0xffff) }),
	CASE("IPv4 multicast MAC", UDP4, EXIT_GROUP_ADDRESS,
	     .patch = { PUT(ETH_DST, 4, 0x01005e01) }),
	CASE("IPv6 multicast MAC", UDP6, EXIT_GROUP_ADDRESS,
	     .patch = { PUT(ETH_DST, 4, 0x33330000) }),
	CASE("another MAC, first byte", TCP4, EXIT_OTHER_MAC, .patch = { PUT(ETH_DST, 1, 0x06) }),
	CASE("another MAC, last byte", UDP6, EXIT_OTHER_MAC,
	     .patch = { PUT(ETH_DST + 5, 1, 0x99) }),
	CASE("another MAC, middle", TCP6, EXIT_OTHER_MAC, .patch = { PUT(ETH_DST + 2, 2, 0x1234) }),
	CASE("another MAC and no flow", UDP4, EXIT_OTHER_MAC,
	     .patch = { PUT(ETH_DST + 5, 1, 0x99), PUT(L4 + 2, 2, 9) }),
	CASE("802.1Q priority tag", TCP4, EXIT_VLAN,
	     .patch = { PUT(ETH_TYPE, 2, 0x8100), PUT(IP, 2, 0xe000) }),
	CASE("802.1ad priority tag", TCP6, EXIT_VLAN,
	     .patch = { PUT(ETH_TYPE, 2, 0x88a8), PUT(IP, 2, 0) }),
	CASE("ARP", TCP4, EXIT_ETHERTYPE, .patch = { PUT(ETH_TYPE, 2, 0x0806) }),
	CASE("PPPoE session", UDP4, EXIT_PPPOE, .patch = { PUT(ETH_TYPE, 2, 0x8864) }),
	CASE("MPLS", TCP6, EXIT_ETHERTYPE, .patch = { PUT(ETH_TYPE, 2, 0x8847) }),
	CASE("802.3 length", TCP4, EXIT_ETHERTYPE, .patch = { PUT(ETH_TYPE, 2, 0x0040) }),

	CASE("another MAC of the router's, and a flow", TCP4, EXIT_OTHER_MAC,
	     .patch = { PUT(ETH_DST + 5, 1, 0x12) }),
	CASE("another MAC of the router's, no flow", UDP4, EXIT_MISS,
	     .patch = { PUT(ETH_DST + 5, 1, 0x12), PUT(L4 + 2, 2, 9) }),
	CASE("another MAC of the router's, no flow", UDP6, EXIT_MISS,
	     .patch = { PUT(ETH_DST + 5, 1, 0x12), PUT(L4_6 + 2, 2, 9) }),

	/* Where it comes from */
	CASE("by the egress port", TCP4, EXIT_OTHER_MAC, .from = BY_WAN),
	CASE("by the egress port, to its MAC", TCP4, EXIT_MISS,
	     .patch = { PUT(ETH_DST + 5, 1, 0x20) }, .from = BY_WAN),
	CASE("by the egress port, to its MAC", UDP6, EXIT_MISS,
	     .patch = { PUT(ETH_DST + 5, 1, 0x20) }, .from = BY_WAN),
	CASE("by an interface that is no port", UDP4, EXIT_OTHER_MAC, .from = BY_ELSEWHERE),
	CASE("by an interface that is no port", TCP6, EXIT_OTHER_MAC, .from = BY_ELSEWHERE),

	/* Flows that differ in one field */
	CASE("another source address", TCP4, EXIT_MISS, .patch = { PUT(IP + 15, 1, 3) },
	     .fix = FIX_IP),
	CASE("another destination address", UDP4, EXIT_MISS, .patch = { PUT(IP + 16, 1, 11) },
	     .fix = FIX_IP),
	CASE("another source port", TCP4, EXIT_MISS, .patch = { PUT(L4, 2, 40001) }),
	CASE("another destination port", UDP4, EXIT_MISS, .patch = { PUT(L4 + 2, 2, 54) }),
	CASE("UDP with the ports of TCP", TCP4, EXIT_MISS,
	     .patch = { PUT(PROTO, 1, 17), PUT(L4 + 4, 2, 46) }),
	CASE("another source address, first word", UDP6, EXIT_MISS,
	     .patch = { PUT(IP + 8, 1, 0x21) }),
	CASE("another source address, last word", TCP6, EXIT_MISS,
	     .patch = { PUT(IP + 23, 1, 0x77) }),
	CASE("another destination address, last byte", UDP6, EXIT_MISS,
	     .patch = { PUT(IP + 39, 1, 0x77) }),
	CASE("another destination port", TCP6, EXIT_MISS, .patch = { PUT(L4_6 + 2, 2, 1) }),

	/* IPv4 header */
	CASE("IP version 5", TCP4, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x55) }, .fix = FIX_IP),
	CASE("IP version 6 in an IPv4 frame", UDP4, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x65) },
	     .fix = FIX_IP),
	CASE("IP header of 16 bytes", TCP4, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x44) },
	     .fix = FIX_IP),
	CASE("IP header of 0 bytes", UDP4, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x40) },
	     .fix = FIX_IP),
	CASE("IP options", TCP4, EXIT_IP_OPTIONS, .patch = { PUT(IP, 1, 0x46) }, .fix = FIX_IP),
	CASE("40 bytes of IP options", UDP4, EXIT_IP_OPTIONS, .patch = { PUT(IP, 1, 0x4f) },
	     .fix = FIX_IP),
	CASE("total length 0", TCP4, EXIT_IP_HEADER, .patch = { PUT(TOT_LEN, 2, 0) },
	     .fix = FIX_IP),
	CASE("total length 19", UDP4, EXIT_IP_HEADER, .patch = { PUT(TOT_LEN, 2, 19) },
	     .fix = FIX_IP),
	CASE("total length 20", TCP4, EXIT_L4_HEADER, .patch = { PUT(TOT_LEN, 2, 20) },
	     .fix = FIX_IP),
	CASE("total length one too long", UDP4, EXIT_TRUNCATED, .patch = { PUT(TOT_LEN, 2, 55) },
	     .fix = FIX_IP),
	CASE("total length 65535", TCP4, EXIT_TRUNCATED, .patch = { PUT(TOT_LEN, 2, 65535) },
	     .fix = FIX_IP),
	CASE("wrong checksum", TCP4, EXIT_IP_CHECKSUM, .patch = { PUT(IP_CHECK, 2, 0xbad0) }),
	CASE("wrong checksum, TOS changed", UDP4, EXIT_IP_CHECKSUM,
	     .patch = { PUT(IP + 1, 1, 0x10) }),
	CASE("wrong checksum and no flow", UDP4, EXIT_MISS, .patch = { PUT(IP + 15, 1, 3) }),

	/* Fragments */
	CASE("first fragment", TCP4, EXIT_FRAGMENT, .patch = { PUT(FRAG, 2, 0x2000) },
	     .fix = FIX_IP),
	CASE("middle fragment", UDP4, EXIT_FRAGMENT, .patch = { PUT(FRAG, 2, 0x2010) },
	     .fix = FIX_IP),
	CASE("last fragment", UDP4, EXIT_FRAGMENT, .patch = { PUT(FRAG, 2, 0x0010) },
	     .fix = FIX_IP),
	CASE("last fragment, highest offset", TCP4, EXIT_FRAGMENT,
	     .patch = { PUT(FRAG, 2, 0x1000) }, .fix = FIX_IP),
	CASE("DF clear", TCP4, NO_EXIT, .patch = { PUT(FRAG, 2, 0) }, .fix = FIX_IP),
	CASE("DF set", UDP4, NO_EXIT, .patch = { PUT(FRAG, 2, 0x4000) }, .fix = FIX_IP),

	/* Protocols */
	CASE("ICMP", UDP4, EXIT_PROTOCOL, .patch = { PUT(PROTO, 1, 1) }, .fix = FIX_IP),
	CASE("ESP", TCP4, EXIT_PROTOCOL, .patch = { PUT(PROTO, 1, 50) }, .fix = FIX_IP),
	CASE("SCTP", TCP4, EXIT_PROTOCOL, .patch = { PUT(PROTO, 1, 132) }, .fix = FIX_IP),
	CASE("UDP-Lite", UDP4, EXIT_PROTOCOL, .patch = { PUT(PROTO, 1, 136) }, .fix = FIX_IP),
	CASE("ICMPv6", UDP6, EXIT_PROTOCOL, .patch = { PUT(NEXTHDR, 1, 58) }),
	CASE("ESP", TCP6, EXIT_PROTOCOL, .patch = { PUT(NEXTHDR, 1, 50) }),
	CASE("no next header", TCP6, EXIT_PROTOCOL, .patch = { PUT(NEXTHDR, 1, 59) }),
	CASE("IPv4 in IPv6", UDP6, EXIT_PROTOCOL, .patch = { PUT(NEXTHDR, 1, 4) }),

	/* IPv6 header */
	CASE("IP version 4 in an IPv6 frame", TCP6, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x40) }),
	CASE("IP version 7", UDP6, EXIT_IP_HEADER, .patch = { PUT(IP, 1, 0x70) }),
	CASE("hop-by-hop options", TCP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 0) }),
	CASE("routing header", UDP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 43) }),
	CASE("fragment header", UDP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 44) }),
	CASE("authentication header", TCP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 51) }),
	CASE("destination options", TCP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 60) }),
	CASE("mobility header", UDP6, EXIT_IP_OPTIONS, .patch = { PUT(NEXTHDR, 1, 135) }),
	CASE("payload length 0", UDP6, EXIT_L4_HEADER, .patch = { PUT(IP6_LEN, 2, 0) }),
	CASE("payload length one too long", UDP6, EXIT_TRUNCATED, .patch = { PUT(IP6_LEN, 2, 35) }),
	CASE("payload length 65535", TCP6, EXIT_TRUNCATED, .patch = { PUT(IP6_LEN, 2, 65535) }),
	CASE("another flow label", TCP6, NO_EXIT,
	     .patch = { PUT(IP + 1, 1, 0x0f), PUT(IP + 2, 2, 0x1111) }),

	/* TTL and hop limit */
	CASE("TTL 0", TCP4, EXIT_TTL, .patch = { PUT(TTL, 1, 0) }, .fix = FIX_IP),
	CASE("TTL 1", UDP4, EXIT_TTL, .patch = { PUT(TTL, 1, 1) }, .fix = FIX_IP),
	CASE("TTL 2", TCP4, NO_EXIT, .patch = { PUT(TTL, 1, 2) }, .fix = FIX_IP),
	CASE("TTL 255", UDP4, NO_EXIT, .patch = { PUT(TTL, 1, 255) }, .fix = FIX_IP),
	CASE("hop limit 0", UDP6, EXIT_TTL, .patch = { PUT(HOPS, 1, 0) }),
	CASE("hop limit 1", TCP6, EXIT_TTL, .patch = { PUT(HOPS, 1, 1) }),
	CASE("hop limit 2", UDP6, NO_EXIT, .patch = { PUT(HOPS, 1, 2) }),
	CASE("hop limit 255", TCP6, NO_EXIT, .patch = { PUT(HOPS, 1, 255) }),
	CASE("TTL 1 and no flow", UDP4, EXIT_TTL, .patch = { PUT(TTL, 1, 1), PUT(L4, 2, 1) },
	     .fix = FIX_IP),

	/* Transport headers */
	CASE("TCP header of 16 bytes", TCP4, EXIT_L4_HEADER, .patch = { PUT(L4 + 12, 1, 0x40) }),
	CASE("TCP header of 0 bytes", TCP6, EXIT_L4_HEADER, .patch = { PUT(L4_6 + 12, 1, 0) }),
	CASE("TCP header longer than the packet", TCP4, EXIT_L4_HEADER,
	     .patch = { PUT(L4 + 12, 1, 0xc0) }),
	CASE("TCP header as long as the packet", TCP4, NO_EXIT, .patch = { PUT(L4 + 12, 1, 0xb0) },
	     .fix = FIX_L4, .payload = 24),
	CASE("TCP in 19 bytes", TCP4, EXIT_L4_HEADER, .patch = { PUT(TOT_LEN, 2, 39) },
	     .fix = FIX_IP),
	CASE("TCP in 20 bytes", TCP4, NO_EXIT, .patch = { PUT(TOT_LEN, 2, 40) },
	     .fix = FIX_IP | FIX_L4),
	CASE("TCP in 19 bytes", TCP6, EXIT_L4_HEADER, .patch = { PUT(IP6_LEN, 2, 19) }),
	CASE("TCP in 20 bytes", TCP6, NO_EXIT, .patch = { PUT(IP6_LEN, 2, 20) }, .fix = FIX_L4),
	CASE("UDP length 0", UDP4, EXIT_L4_HEADER, .patch = { PUT(L4 + 4, 2, 0) }),
	CASE("UDP length 7", UDP6, EXIT_L4_HEADER, .patch = { PUT(L4_6 + 4, 2, 7) }),
	CASE("UDP length one too long", UDP4, EXIT_L4_HEADER, .patch = { PUT(L4 + 4, 2, 35) }),
	CASE("UDP length one too short", UDP4, NO_EXIT, .patch = { PUT(L4 + 4, 2, 33) }),
	CASE("UDP length 8, no data", UDP6, NO_EXIT, .patch = { PUT(L4_6 + 4, 2, 8) },
	     .fix = FIX_L4),
	CASE("UDP in 7 bytes", UDP4, EXIT_L4_HEADER, .patch = { PUT(TOT_LEN, 2, 27) },
	     .fix = FIX_IP),
	CASE("UDP in 7 bytes", UDP6, EXIT_L4_HEADER, .patch = { PUT(IP6_LEN, 2, 7) }),
	CASE("wrong TCP checksum stays wrong", TCP4, NO_EXIT, .patch = { PUT(L4 + 16, 2, 0x1234) }),
	CASE("wrong UDP checksum stays wrong", UDP4, NO_EXIT, .patch = { PUT(L4 + 6, 2, 0x1234) }),
	CASE("wrong TCP checksum stays wrong", TCP6, NO_EXIT,
	     .patch = { PUT(L4_6 + 16, 2, 0xffff) }),
	CASE("TCP checksum 0 that is wrong", TCP4, NO_EXIT, .patch = { PUT(L4 + 16, 2, 0) }),
	CASE("UDP without a checksum", UDP4, NO_EXIT, .patch = { PUT(L4 + 6, 2, 0) }),
	CASE("UDP without a checksum", UDP6, NO_EXIT, .patch = { PUT(L4_6 + 6, 2, 0) }),

	/* TCP flags */
	CASE("SYN", TCP4, EXIT_TCP_CONTROL, .patch = { FLAGS(FLAG_SYN) }),
	CASE("SYN ACK", TCP6, EXIT_TCP_CONTROL, .patch = { FLAGS6(FLAG_SYN | FLAG_ACK) }),
	CASE("no flags", TCP4, EXIT_TCP_CONTROL, .patch = { FLAGS(0) }),
	CASE("PSH without ACK", TCP6, EXIT_TCP_CONTROL, .patch = { FLAGS6(FLAG_PSH) }),
	CASE("URG without ACK", TCP4, EXIT_TCP_CONTROL, .patch = { FLAGS(FLAG_URG) }),
	CASE("RST without ACK, forged", TCP4, EXIT_TCP_CONTROL, .patch = { FLAGS(FLAG_RST) }),
	CASE("FIN ACK", TCP6, EXIT_TCP_CONTROL, .patch = { FLAGS6(FLAG_FIN | FLAG_ACK) }),
	CASE("SYN and no flow", TCP4, EXIT_TCP_CONTROL,
	     .patch = { FLAGS(FLAG_SYN), PUT(L4, 2, 4711) }),
	CASE("SYN to another MAC", TCP4, EXIT_TCP_CONTROL,
	     .patch = { FLAGS(FLAG_SYN), PUT(ETH_DST + 5, 1, 0x99) }),
	CASE("PSH ACK", TCP4, NO_EXIT, .patch = { FLAGS(FLAG_PSH | FLAG_ACK) }, .fix = FIX_L4),
	CASE("URG ACK", TCP6, NO_EXIT, .patch = { FLAGS6(FLAG_URG | FLAG_ACK) }, .fix = FIX_L4),
	CASE("ECE ACK", TCP4, NO_EXIT, .patch = { FLAGS(FLAG_ECE | FLAG_ACK) }, .fix = FIX_L4),
	CASE("CWR PSH ACK", TCP6, NO_EXIT, .patch = { FLAGS6(FLAG_CWR | FLAG_PSH | FLAG_ACK) },
	     .fix = FIX_L4),

	/* Padding */
	CASE("6 bytes of padding", TCP4, NO_EXIT, .padding = 6),
	CASE("28 bytes of padding", UDP4, NO_EXIT, .payload = 4, .padding = 28),
	CASE("one byte of padding", TCP6, NO_EXIT, .padding = 1),
	CASE("100 bytes of padding", UDP6, NO_EXIT, .padding = 100),
	CASE("padding and no flow", UDP4, EXIT_MISS, .patch = { PUT(L4, 2, 1) }, .padding = 18),
	CASE("padding and TTL 1", UDP4, EXIT_TTL, .patch = { PUT(TTL, 1, 1) }, .fix = FIX_IP,
	     .padding = 18),
	CASE("padding beyond the MTU", UDP4, NO_EXIT, .payload = 1400, .padding = 200),

	/* MTU: 1500 for the flows of this table */
	CASE("as long as the MTU", TCP4, NO_EXIT, .payload = 1460),
	CASE("longer than the MTU by 1", TCP4, EXIT_MTU, .payload = 1461),
	CASE("as long as the MTU", UDP4, NO_EXIT, .payload = 1472),
	CASE("longer than the MTU by 1", UDP4, EXIT_MTU, .payload = 1473),
	CASE("as long as the MTU", TCP6, NO_EXIT, .payload = 1428, .tcp_options = 12),
	CASE("longer than the MTU by 1", TCP6, EXIT_MTU, .payload = 1429, .tcp_options = 12),
	CASE("as long as the MTU", UDP6, NO_EXIT, .payload = 1452),
	CASE("longer than the MTU by 1", UDP6, EXIT_MTU, .payload = 1453),
	CASE("DF clear, longer than the MTU", UDP4, EXIT_MTU, .patch = { PUT(FRAG, 2, 0) },
	     .fix = FIX_IP, .payload = 1473),

	/* GSO: the segments count */
	CASE("segments fit", TCP4, NO_EXIT, .payload = 2800, .gso_size = 1460),
	CASE("segments are longer by 1", TCP4, EXIT_MTU, .payload = 2800, .gso_size = 1461),
	CASE("segments fit", TCP4, NO_EXIT, .payload = 2800, .gso_size = 1448, .tcp_options = 12),
	CASE("segments are longer by 1", TCP4, EXIT_MTU, .payload = 2800, .gso_size = 1449,
	     .tcp_options = 12),
	CASE("segments fit", TCP6, NO_EXIT, .payload = 2800, .gso_size = 1440),
	CASE("segments are longer by 1", TCP6, EXIT_MTU, .payload = 2800, .gso_size = 1441),
	CASE("segments fit", UDP4, NO_EXIT, .payload = 2800, .gso_size = 1472),
	CASE("segments are longer by 1", UDP4, EXIT_MTU, .payload = 2800, .gso_size = 1473),
	CASE("segments fit", UDP6, NO_EXIT, .payload = 2800, .gso_size = 1452),
	CASE("segments are longer by 1", UDP6, EXIT_MTU, .payload = 2800, .gso_size = 1453),
};

static void make_flows(struct lab_flow flow[BASES])
{
	flow[TCP4].from = lab_tuple(IPPROTO_TCP, "10.0.1.2", 40000, "203.0.113.5", 443);
	flow[TCP4].to = lab_tuple(IPPROTO_TCP, "198.51.100.1", 51000, "203.0.113.5", 443);
	flow[UDP4].from = lab_tuple(IPPROTO_UDP, "10.0.1.2", 40000, "10.0.1.1", 53);
	flow[UDP4].to = lab_tuple(IPPROTO_UDP, "10.0.1.2", 40000, "192.0.2.53", 5353);
	flow[TCP6].from = lab_tuple(IPPROTO_TCP, "fd00:1::2", 40000, "2001:db8:5::5", 443);
	flow[TCP6].to = lab_tuple(IPPROTO_TCP, "2001:db8::1", 51000, "2001:db8:5::5", 443);
	flow[UDP6].from = lab_tuple(IPPROTO_UDP, "2001:db8:1::2", 40000, "2001:db8:5::5", 443);
	flow[UDP6].to = flow[UDP6].from;
	for (size_t i = 0; i < BASES; i++) {
		flow[i].ingress = LAN;
		flow[i].egress = WAN;
		flow[i].mtu = 1500;
	}
}

static void apply(struct frame *frame, const struct patch *patch)
{
	for (size_t i = 0; i < patch->bytes; i++)
		frame->data[patch->at + i] = (uint8_t)(patch->value >> 8 * (patch->bytes - 1 - i));
}

static void build_case(const struct lab *lab, const struct lab_flow *flow,
		       const struct packet_case *packet, struct frame *frame)
{
	struct frame_spec spec = lab_frame_spec(lab, flow);

	spec.payload = packet->payload ? packet->payload : 26;
	spec.tcp_options = packet->tcp_options;
	spec.padding = packet->padding;
	frame_build(&spec, frame);
	for (size_t i = 0; i < ARRAY_SIZE(packet->patch); i++)
		apply(frame, &packet->patch[i]);
	if (packet->fix & FIX_IP)
		frame_fix_ip_checksum(frame);
	if (packet->fix & FIX_L4)
		frame_fix_l4_checksum(frame);
}

static void run_case(struct lab *lab, enum lab_hook hook, const struct lab_flow flow[BASES],
		     const struct packet_case *packet)
{
	const struct model model = { .lab = lab, .flow = flow, .flows = BASES };
	const uint32_t from[] = { lab->side[LAN].ifindex, lab->side[WAN].ifindex, lab->elsewhere };
	const struct lab_arrival arrival = { from[packet->from], packet->gso_size, false };
	static struct frame frame;
	static struct expectation expected, modelled;
	static struct lab_outcome outcome;
	bool ok;

	lab_heartbeat(lab);
	for (size_t i = 0; i < BASES; i++)
		lab_install(lab, &flow[i]);
	build_case(lab, &flow[packet->base], packet, &frame);
	expected.frame = frame;
	expected.exit = packet->exit;
	expected.verdict = packet->exit == NO_EXIT ? VERDICT_REDIRECT : VERDICT_PASS;
	if (packet->exit == NO_EXIT)
		model_forward(lab, &flow[packet->base], &frame, &expected.frame);
	ok = check_run(lab, hook, &arrival, &frame, &expected, &outcome);
	/* The table keeps the model honest that the random tests go by. */
	model_walk(&model, hook, &arrival, &frame, &modelled);
	if (modelled.exit != packet->exit || modelled.verdict != expected.verdict) {
		tap_note("the model says %s", lab_exit_name(modelled.exit));
		ok = false;
	}
	tap(ok, "%s: %s: %s -> %s", lab_hook_names[hook], base_names[packet->base], packet->name,
	    packet->exit == NO_EXIT ? "forwarded" : lab_exit_name(packet->exit));
}

static void run_table(struct lab *lab, const struct lab_flow flow[BASES])
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++)
			if (!cases[i].gso_size || hook == LAB_TC)
				run_case(lab, hook, flow, &cases[i]);
}

/*
 * A frame that ends anywhere is passed as it came; only the whole of it is forwarded. The
 * kernel does not take every length for a test run: such a length is counted, not tested.
 */
static bool run_truncated(struct lab *lab, enum lab_hook hook, const struct lab_flow *flow,
			  const struct frame *whole, size_t len, unsigned int *refused)
{
	static struct frame frame;
	static struct expectation expected;
	static struct lab_outcome outcome;

	frame = *whole;
	frame.len = len;
	expected.frame = frame;
	expected.exit = len < whole->len ? EXIT_TRUNCATED : NO_EXIT;
	expected.verdict = len < whole->len ? VERDICT_PASS : VERDICT_REDIRECT;
	if (len == whole->len)
		model_forward(lab, flow, whole, &expected.frame);
	lab_run(lab, hook, NULL, &frame, &outcome);
	if (outcome.err == -EINVAL && len < frame_l4(whole)) {
		(*refused)++;
		return true;
	}
	return check_outcome(&expected, &outcome);
}

static void run_truncations(struct lab *lab, enum lab_hook hook, enum base base,
			    const struct lab_flow *flow)
{
	struct frame_spec spec = lab_frame_spec(lab, flow);
	unsigned int refused = 0;
	struct frame whole;
	bool ok = true;

	lab_heartbeat(lab);
	lab_install(lab, flow);
	spec.tcp_options = spec.tuple.protocol == IPPROTO_TCP ? 12 : 0;
	frame_build(&spec, &whole);
	for (size_t len = FRAME_L3; len <= whole.len; len++) {
		if (run_truncated(lab, hook, flow, &whole, len, &refused))
			continue;
		tap_note("at %zu of %zu bytes", len, whole.len);
		ok = false;
	}
	if (refused)
		tap_note("%u lengths are not taken by BPF_PROG_TEST_RUN of this kernel", refused);
	/* From the transport header on, every length must have been run. */
	tap(ok && refused <= frame_l4(&whole) - FRAME_L3, "%s: %s cut after every byte",
	    lab_hook_names[hook], base_names[base]);
}

/* The counters that a table of single packets cannot reach are named, so that none is forgotten. */
static void check_coverage(void)
{
	static const struct {
		int exit;
		const char *where;
	} elsewhere[] = {
		{ EXIT_STALE, "flow_test" },
		{ EXIT_FLOW_PASS, "flow_test" },
		{ EXIT_BLACKHOLE, "flow_test" },
		{ EXIT_NO_EGRESS, "flow_test" },
		{ EXIT_SWITCH, "switch_test" },
		{ EXIT_PARTIAL, "partial_test" },
		{ EXIT_SIGNAL, "candidate_test" },
		{ EXIT_SIGNAL_LOST, "candidate_test" },
		{ EXIT_FORGED, "control_test" },
		{ EXIT_TRUNCATED, "run_truncations()" },
		{ EXIT_ADJUST, "no frame is known that the kernel refuses to trim" },
		{ EXIT_ADJUST_DROP, "nor one that it fails on later: memory is not short" },
	};
	bool covered[EXIT_REASONS] = { false };
	bool ok = true;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (cases[i].exit != NO_EXIT)
			covered[cases[i].exit] = true;
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		covered[elsewhere[i].exit] = true;
	for (int i = 0; i < EXIT_REASONS; i++) {
		if (covered[i])
			continue;
		tap_note("no case for %s", lab_exit_name(i));
		ok = false;
	}
	tap(ok, "the tables cover every reason");
}

int main(void)
{
	static struct lab lab;
	struct lab_flow flow[BASES] = { 0 };

	lab_open(&lab, false);
	make_flows(flow);
	run_table(&lab, flow);
	for (enum lab_hook hook = 0; hook < LAB_HOOKS; hook++)
		for (enum base base = 0; base < BASES; base++)
			run_truncations(&lab, hook, base, &flow[base]);
	check_coverage();
	lab_close(&lab);
	return tap_end();
}
