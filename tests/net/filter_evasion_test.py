#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter: packets that are made to get around rules.

What stands behind a packet's end, tags that the kernel takes off, routes that are not what a lookup
says: iptables is the oracle, or what the docs say of them.
"""

import collections
import socket
import struct

from filter_test import (FAR, FILTER_HOOKS, LOCAL, NEAR, NOISE, NO_RULES, Router,
                         first_differences, iptables_variant, without_noise)
from netlab import Skip, equal, expect, frames, main, test
from netlab import lab as topology

HOP_OPTIONS, FRAGMENT, DESTINATION_OPTIONS = 0, 44, 60
MORE = 1
DROPPED, PASSED = 9, 10  # ports
FLOWS = 48
DECOYS = {4: "10.0.77.7", 6: "fd00:77::7"}  # the router has a route of its own kind for each

Case = collections.namedtuple("Case", "name frames")


def ruleset(*rules, policy="ACCEPT"):
    """All chains with this policy, but OUTPUT."""
    text = NO_RULES.replace("INPUT ACCEPT", f"INPUT {policy}")
    text = text.replace("FORWARD ACCEPT", f"FORWARD {policy}")
    return "\n".join([text.partition("COMMIT")[0].rstrip(), *rules, "COMMIT", ""])


EVADED = {version: ruleset(
    *NOISE[version],
    "-A INPUT -p icmp -j ACCEPT" if version == 4 else "-A INPUT -p ipv6-icmp -j ACCEPT",
    f"-A INPUT -p udp -m udp --dport {DROPPED} -j DROP",
    f"-A FORWARD -p udp -m udp --dport {DROPPED} -j DROP",
    "-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    "-A FORWARD -p udp -m length --length 300:400 -j DROP",
    f"-A FORWARD -p sctp -m sctp --dport {DROPPED} -j DROP",
    f"-A FORWARD -p dccp -m multiport --dports {DROPPED} -j DROP",
    f"-A FORWARD -p 136 -m multiport --dports {DROPPED} -j DROP",
    "-A FORWARD -p icmp -m icmp --icmp-type 13 -j DROP" if version == 4 else
    "-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 200 -j DROP",
    # any type in IPv4, no more than itself in IPv6
    "-A FORWARD -p icmp -m icmp --icmp-type 255 -j DROP" if version == 4 else
    "-A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 255 -j DROP") for version in (4, 6)}


def to_router(packet, trailer=b"", tags=()):
    frame = frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet) + trailer
    for tci, ethertype in tags:
        frame = frames.tagged(frame, tci, ethertype)
    return frame


def ip(version, dst, protocol, data, **more):
    make = frames.ipv4 if version == 4 else frames.ipv6
    return make(NEAR[version][0], dst, protocol, data, **more)


def datagram(version, dst, dport, size=28, **more):
    data = frames.udp(NEAR[version][0], dst, 5000, dport, bytes(size))
    return ip(version, dst, socket.IPPROTO_UDP, data, **more)


def segment(version, flags):
    return frames.tcp(NEAR[version][0], FAR[version][0], 5001, 80, 7, 0, flags, b"x" * 12)


def first_fragment(data, following):
    header = struct.pack("!BBHL", following, 0, MORE, 0x1234)
    return ip(6, FAR[6][0], FRAGMENT, header + data)


def behind_the_end(version):
    """The packet is too short; what the frame has behind it would do."""
    syn, ack = segment(version, frames.SYN), segment(version, frames.ACK)
    if version == 4:
        short = ip(4, FAR[4][0], socket.IPPROTO_TCP, syn[:8], frag=0)
        yield Case("TCP header continues behind the packet", [to_router(short, ack[8:])])
        return
    options = bytes([socket.IPPROTO_TCP, 0, 1, 4, 0, 0, 0, 0])
    yield Case("TCP header continues behind the first fragment",
               [to_router(first_fragment(syn[:8], socket.IPPROTO_TCP), ack[8:])])
    yield Case("TCP header begins behind the first fragment",
               [to_router(first_fragment(options, DESTINATION_OPTIONS), ack)])


def priority_tagged(version):
    for name, tags in (("802.1p", [(0xe000, frames.ETH_P_8021Q)]),
                       ("802.1p by 802.1ad", [(0, frames.ETH_P_8021AD)]),
                       ("802.1p twice", [(0, frames.ETH_P_8021Q)] * 2)):
        for where, dst in (("to the router", LOCAL), ("forwarded", FAR)):
            yield Case(f"{name} {where}", [to_router(datagram(version, dst[version][0], port),
                                                     tags=tags) for port in (DROPPED, PASSED)])
    yield Case("of another VLAN",
               [to_router(datagram(version, dst[version][0], PASSED),
                          tags=[(7, frames.ETH_P_8021Q)]) for dst in (LOCAL, FAR)])


def without_a_length(version):
    """ipv6_rcv() takes all that there is where a jumbogram might say how long it is. Up to Linux 6.2
    length_mt6() believes the header, and would let the longer one through."""
    if version == 4 or topology.kernel_version() < (6, 3):
        return
    options = bytes([socket.IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0])
    for size in (100, 300):
        data = frames.udp(NEAR[6][0], FAR[6][0], 5000, PASSED, bytes(size))
        packet = ip(6, FAR[6][0], HOP_OPTIONS, options + data)
        yield Case(f"{size} bytes and no length",
                   [to_router(packet[:4] + bytes(2) + packet[6:])])


def headless_fragments(version):
    """A later fragment whose fragment header names another extension header."""
    for following in () if version == 4 else (0, 43, 44, 51, DESTINATION_OPTIONS):
        header = struct.pack("!BBHL", following, 0, 64 << 3, 0x4321)
        yield Case(f"later fragment, header {following}",
                   [to_router(ip(6, FAR[6][0], FRAGMENT, header + bytes(40)))])


def cut_short(version):
    """Headers that end too early, or just not; a rule looks into each kind."""
    icmp = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    for protocol in (socket.IPPROTO_UDP, 132, 33, 136, icmp):
        for size in (0, 3, 4, 7, 8, *((11, 12) if protocol == 132 else ())):
            data = struct.pack("!HHHHHH", 0x8000, PASSED, size, 0, 0, 0)[:size]
            yield Case(f"protocol {protocol}, {size} bytes",
                       [to_router(ip(version, FAR[version][0], protocol, data))])


def type_255(version):
    icmp = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    for kind in (100, 255):
        data = struct.pack("!BBHL", kind, 0, 0, 0)
        yield Case(f"ICMP of type {kind}", [to_router(ip(version, FAR[version][0], icmp, data))])


def cases(version):
    yield from type_255(version)
    yield from behind_the_end(version)
    yield from priority_tagged(version)
    yield from without_a_length(version)
    yield from headless_fragments(version)
    yield from cut_short(version)


def came_out(router, case):
    for frame in case.frames:
        router.near.send(frame)
    return [[router.essence(captured.data) for captured in side.drain(0.1)]
            for side in (router.near, router.far)]



def all_cases(router, version):
    return {case.name: came_out(router, case) for case in cases(version)}


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def judges_evasions_as_iptables(context, hook, version):
    router = Router(context, hook)
    iptables = iptables_variant(router.namespace, version)
    router.namespace.run(f"{iptables}-restore", stdin=EVADED[version])
    wanted = all_cases(router, version)
    counted = router.namespace.run(f"{iptables}-save", "-c", "-t", "filter").stdout
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    router.load(EVADED[version], version)
    seen = all_cases(router, version)
    for name, sides in wanted.items():
        equal([len(side) for side in seen[name]], [len(side) for side in sides],
              f"IPv{version}, {name}: frames that came out on each side")
        expect(seen[name] == sides, f"IPv{version}, {name}: other frames came out")
    shown = router.bpfw("show", f"-{version}", "--counters").stdout
    ours, theirs = (without_noise(text, version) for text in (shown, counted))
    expect(ours == theirs, f"counters differ\n{first_differences(ours, theirs)}")


@test(*FILTER_HOOKS)
def too_many_tags_are_dropped(context, hook):
    """The kernel takes off all there are."""
    router = Router(context, hook)
    router.load(ruleset())
    for number in (2, 4):
        frame = to_router(datagram(4, FAR[4][0], PASSED), tags=[(0, frames.ETH_P_8021Q)] * number)
        router.near.send(frame)
        equal(len(router.far.drain(0.3)), int(number == 2), f"packets with {number} tags")


GROUPS = ["224.0.0.18", "239.1.2.3"]
MANY = {4: [*GROUPS, "255.255.255.255", "0.0.0.0"], 6: ["ff02::1"]}


def for_many(version):
    """A rule for each address and chain, and packets whose time is over among the others."""
    lines = [f"-A {chain} -d {address} -p udp" for chain in ("INPUT", "FORWARD")
             for address in MANY[version]]
    packets = []
    for address in MANY[version]:
        src = "0.0.0.0" if address == "0.0.0.0" else NEAR[version][0]
        data = frames.udp(src, address, 5000, PASSED, bytes(8))
        for ttl in (1, 2, 64):
            packets.append(frames.ipv4(src, address, socket.IPPROTO_UDP, data, ttl) if version == 4
                           else frames.ipv6(src, address, socket.IPPROTO_UDP, data, ttl))
    return ruleset(*NOISE[version], *lines), packets


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def many_are_not_behind_a_default_route(context, hook, version):
    """Routing asks no route of multicast and broadcast; a lookup would find the default one."""
    router = Router(context, hook)
    router.namespace.ip(f"route add default via {FAR[version][0]} dev wan0")
    text, packets = for_many(version)
    iptables = iptables_variant(router.namespace, version)
    member = context.keep(router.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for group in GROUPS:
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                          socket.inet_aton(group) + socket.inet_aton(LOCAL[4][0]))

    def send():
        for packet in packets:
            router.near.send(frames.ethernet("01:00:5e:00:00:12", topology.CLIENT_MAC, packet))
        router.far.drain(0.3)

    router.namespace.run(f"{iptables}-restore", stdin=text)
    send()
    counted = router.namespace.run(f"{iptables}-save", "-c", "-t", "filter").stdout
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    router.load(text, version)
    send()
    shown = router.bpfw("show", f"-{version}", "--counters").stdout
    theirs, ours = ([line for line in without_noise(text, version) if " OUTPUT " not in line and
                     not line.startswith(":OUTPUT")] for text in (counted, shown))
    expect(ours == theirs, f"counters differ\n{first_differences(ours, theirs, 20)}")
    expect(not any(line.startswith("[0:0] -A INPUT -d") for line in theirs),
           "rules of INPUT that no packet has met")


# What a lookup takes for the end of the way, or for no way at all, DNAT sends elsewhere.
DNAT = """table ip nat {{
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {decoy4} dnat to {far4}
	}}
}}
table ip6 nat {{
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip6 daddr {decoy6} dnat to {far6}
	}}
}}
"""


@test(*((hook, kind) for hook in FILTER_HOOKS
        for kind in ("blackhole", "unreachable", "prohibit")))
def dnat_in_front_of_routes_to_nowhere(context, hook, kind):
    """A router that announces a prefix has such a route for it, and DNAT for some addresses."""
    router = Router(context, hook)
    router.namespace.run("nft", "-f", "-", stdin=DNAT.format(
        decoy4=DECOYS[4], decoy6=DECOYS[6], far4=FAR[4][0], far6=FAR[6][0]))
    for version in (4, 6):
        router.namespace.ip(f"route add {kind} {DECOYS[version]}")
        for policy, arrives in (("ACCEPT", True), ("DROP", False)):
            router.load(ruleset("-A INPUT -p ipv6-icmp -j ACCEPT" if version == 6 else
                                "-A INPUT -p icmp -j ACCEPT", policy=policy), version)
            router.near.send(to_router(datagram(version, DECOYS[version], PASSED)))
            equal(len(router.far.drain(0.3)), int(arrives),
                  f"IPv{version}: packets that arrive, policy {policy}")


REDIRECT = """table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		udp dport %d redirect to :4000
	}
}
"""


@test(*FILTER_HOOKS)
def time_is_not_over_for_what_is_redirected(context, hook):
    """A packet that a lookup would forward, and whose time would be over, may be delivered here."""
    router = Router(context, hook)
    router.namespace.run("nft", "-f", "-", stdin=REDIRECT % PASSED)
    for policy, answered in (("ACCEPT", 1), ("DROP", 0)):
        router.load(ruleset(policy=policy))
        for ttl in (0, 1, 2):
            router.near.send(to_router(datagram(4, FAR[4][0], PASSED, ttl=ttl)))
            seen = [one.data[34:36] for one in router.near.drain(0.3)]
            equal(seen, [b"\x03\x03"] * answered, f"answers from the closed port, TTL {ttl}")


@test(*FILTER_HOOKS)
def device_is_that_of_multipath(context, hook):
    """IPv6 chooses by the flow label, too; on Linux 5.10 rather the device a packet came by."""
    router = Router(context, hook)
    router.namespace.ip("link add wan1 type veth peer name far1", "link set far1 up",
                        "link set wan1 up", "addr add fd00:3::1/64 dev wan1 nodad",
                        f"neigh replace fd00:3::2 lladdr {topology.SERVER_MAC} dev wan1 "
                        "nud permanent",
                        f"route add fd00:66::/64 nexthop via {FAR[6][0]} dev wan0 "
                        "nexthop via fd00:3::2 dev wan1")
    others = context.keep(frames.Port(router.namespace, "far1"))
    packets = [datagram(6, "fd00:66::1", PASSED, flow_label=label * 7919) for label in range(FLOWS)]

    def sides():
        for packet in packets:
            router.near.send(to_router(packet))
        _, far = router.settle()
        return [len([one for one in seen if one.data[12:14] == b"\x86\xdd" and
                     one.data[20] == socket.IPPROTO_UDP]) for seen in (others.drain(), far)]

    unfiltered = sides()
    expect(min(unfiltered) > FLOWS // 8, f"all take one of both ways: {unfiltered}")
    router.load(ruleset("-A INPUT -p ipv6-icmp -j ACCEPT", "-A FORWARD -o wan0 -j DROP"), 6)
    equal(sides(), [unfiltered[0], 0], "packets that leave by wan1 and by wan0, which is dropped")


def first_fragments(version):
    """Of many hosts, with other ports each."""
    for number in range(FLOWS):
        dst = f"10.66.0.{number}" if version == 4 else f"fd00:66::{number:x}"
        data = frames.udp(NEAR[version][0], dst, 5000 + 77 * number, PASSED, bytes(40))[:24]
        if version == 4:
            yield ip(4, dst, socket.IPPROTO_UDP, data, frag=0x2000)
        else:
            header = struct.pack("!BBHL", socket.IPPROTO_UDP, 0, MORE, number)
            yield ip(6, dst, FRAGMENT, header + data)


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def ports_of_fragments_do_not_choose_the_way(context, hook, version):
    """Where several ways are chosen from by addresses and ports."""
    router = Router(context, hook)
    router.namespace.sysctl(f"ipv{version}/fib_multipath_hash_policy", 1)
    router.namespace.ip(f"route add {'10.66.0.0/24' if version == 4 else 'fd00:66::/64'} "
                        f"nexthop via {FAR[version][0]} dev wan0 "
                        f"nexthop via {NEAR[version][0]} dev lan0")
    router.namespace.sysctl("ipv4/conf/lan0/send_redirects", 0)
    router.namespace.sysctl("ipv4/conf/all/send_redirects", 0)
    packets = list(first_fragments(version))

    def sides():
        for packet in packets:
            router.near.send(to_router(packet))
        return [len([one for one in side.drain(0.2)
                     if one.data[12:14] == (b"\x08\x00", b"\x86\xdd")[version == 6]])
                for side in (router.near, router.far)]

    unfiltered = sides()
    if unfiltered == [0, 0]:
        raise Skip("the kernel waits for the other fragments: it goes on to once it has tracked")
    expect(min(unfiltered) > FLOWS // 8, f"all take one of both ways: {unfiltered}")
    router.load(ruleset(*NOISE[version], "-A FORWARD -o wan0 -j DROP"), version)
    equal(sides(), [unfiltered[0], 0], "packets that leave by lan0 and by wan0, which is dropped")


@test(*FILTER_HOOKS)
def encapsulating_routes(context, hook):
    """The kernel does not say where they lead: rules with -o cannot be asked, others can."""
    router = Router(context, hook)
    router.namespace.ip(f"route add fd00:55::/64 encap seg6 mode encap segs {FAR[6][0]} dev wan0")
    input_rule = "-A INPUT -p ipv6-icmp -j ACCEPT"
    for rule, arrive in (("-A FORWARD -d fd00:56::/64 -j DROP", 1),
                         ("-A FORWARD -o wan0 -j DROP", 0),
                         ("-A FORWARD -d fd00:55::1 -j DROP", 0)):
        router.load(ruleset(input_rule, rule), 6)
        router.near.send(to_router(datagram(6, "fd00:55::1", PASSED)))
        equal(len(router.far.drain(0.3)), arrive, f"packets that arrive with {rule}")


LOOSE, STRICT = b"\x83", b"\x89"
SEGMENT_ROUTING = 4


def source_routed(version):
    """To the router, which is to send them on."""
    if version == 4:
        data = frames.udp(NEAR[4][0], LOCAL[4][0], 5000, PASSED, bytes(8))
        options = [kind + b"\7\4" + socket.inet_aton(FAR[4][0]) for kind in (LOOSE, STRICT)]
        return [ip(4, LOCAL[4][0], socket.IPPROTO_UDP, data, options=before + option)
                for option in options for before in (b"", b"\1", b"\7\7\4" + bytes(4))]
    segments = b"".join(socket.inet_pton(socket.AF_INET6, hop) for hop in (FAR[6][0], LOCAL[6][0]))
    header = struct.pack("!BBBBBxxx", socket.IPPROTO_UDP, len(segments) // 8, SEGMENT_ROUTING, 1, 1)
    data = frames.udp(NEAR[6][0], FAR[6][0], 5000, PASSED, bytes(8))
    return [ip(6, LOCAL[6][0], socket.IPPROTO_ROUTING, header + segments + data)]


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def source_routes_do_not_lead_around_forward(context, hook, version):
    """INPUT is for what stays here."""
    router = Router(context, hook)
    for device in ("all", "lan0"):
        key = "ipv4/conf/{}/accept_source_route" if version == 4 else "ipv6/conf/{}/seg6_enabled"
        try:
            router.namespace.sysctl(key.format(device), 1)
        except FileNotFoundError as error:
            raise Skip("this kernel has no segment routing") from error
    packets = source_routed(version)

    def arrived():
        for packet in packets:
            router.near.send(to_router(packet))
        return len(router.far.drain(0.3))

    equal(arrived(), len(packets), "packets that arrive without rules")
    router.load(NO_RULES.replace("FORWARD ACCEPT", "FORWARD DROP"), version)
    equal(arrived(), 0, "packets that arrive with FORWARD's policy DROP")
    said = router.bpfw("why", "--in", "lan0", "--packet", packets[0].hex()).stdout
    expect("source route" in said, f"no reason: {said}")
    if version == 6:  # INPUT is asked before
        router.load(ruleset("-A INPUT -m rt --rt-type 4 --rt-segsleft 1 -j ACCEPT"), version)
        equal(arrived(), 0, "packets that arrive with INPUT's ACCEPT")
        shown = router.bpfw("show", "-6", "--counters").stdout
        expect("[1:96] -A INPUT" in shown, f"INPUT has not counted it: {shown}")
    # Other options and headers are none.
    data = frames.udp(NEAR[version][0], LOCAL[version][0], 5000, PASSED, bytes(8))
    other = (ip(4, LOCAL[4][0], socket.IPPROTO_UDP, data, options=b"\7\7\4" + bytes(4))
             if version == 4 else ip(6, LOCAL[6][0], DESTINATION_OPTIONS, struct.pack(
                 "!BBBBL", socket.IPPROTO_UDP, 0, 1, 4, 0) + data))
    router.load(ruleset("-A INPUT -p udp"), version)
    router.near.send(to_router(other))
    router.near.drain(0.1)
    shown = router.bpfw("show", f"-{version}", "--counters").stdout
    expect("[1:" in shown.split("-A INPUT")[0].splitlines()[-1],
           f"what has other options was dropped: {shown}")


if __name__ == "__main__":
    main(jobs=2)
