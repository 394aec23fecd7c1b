#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The kernel is the oracle: the same frames, with and without bpfw, leave the router alike.

Hosts behind the client and behind the server talk through the router. They exist in these frames
only, so that no socket answers; conntrack, NAT and the routes of the router are real.
"""

import collections
import dataclasses
import struct

from netlab import HOOKS, equal, expect, main, test, wait_until
from netlab import frames
from netlab import lab as topology
from netlab.cpus import all_online
from netlab.frames import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG

NEAR = {4: "192.168.7.10", 6: "fd00:77::10"}
FAR = {4: "203.0.113.10", 6: "fd00:f0::10"}
VIRTUAL, OUTSIDE = topology.VIRTUAL, topology.SNAT
WAN_MTU = 1400
NEAR_SEQ, FAR_SEQ = 1000, 900_000
OTHER_MAC, MULTICAST_MAC = "02:00:00:00:77:77", "01:00:5e:00:00:01"

# Port on the near side -> what becomes of the source and of the destination. The ports of NAT are
# given, not chosen by the kernel: both runs must have the same.
SNAT_PORTS = {2000: None, 3000: 23000, 6000: 26000}
DNAT_PORTS = {4000: 4000, 5000: 15000, 6000: 16000}
PLAIN, ENDING = 1000, range(7000, 7012)


def ruleset():
    """SNAT and DNAT by the near side's port, in both families."""
    source, destination = [], []
    for family, match in ((4, "ip"), (6, "ip6")):
        def at(address, port, match=match):
            wrapped = f"[{address}]" if match == "ip6" else address
            return f"{wrapped}:{port}" if port else address
        for protocol in ("tcp", "udp"):
            for sport, port in SNAT_PORTS.items():
                source.append(f"meta nfproto ipv{family} {protocol} sport {sport} iifname lan0 "
                              f"snat {match} to {at(OUTSIDE[family], port)}")
            for dport, port in DNAT_PORTS.items():
                destination.append(f"{match} daddr {VIRTUAL[family]} {protocol} dport {dport} "
                                   f"dnat {match} to {at(FAR[family], port)}")
    return ("chain prerouting {\n type nat hook prerouting priority dstnat;\n"
            + "\n".join(destination) + "\n}\n"
            "chain postrouting {\n type nat hook postrouting priority srcnat;\n"
            + "\n".join(source) + "\n}\n")


@dataclasses.dataclass(frozen=True)
class Session:
    """An established flow; near dials and the router translates as the ruleset says."""
    family: int
    protocol: str
    port: int

    @property
    def near(self):
        return NEAR[self.family], self.port

    @property
    def dialled(self):
        return (VIRTUAL if self.port in DNAT_PORTS else FAR)[self.family], self.port

    @property
    def far(self):
        return FAR[self.family], DNAT_PORTS.get(self.port, self.port)

    @property
    def outside(self):
        if self.port in SNAT_PORTS:
            return OUTSIDE[self.family], SNAT_PORTS[self.port] or self.port
        return self.near

    def sent(self, up):
        """Source and destination as sent towards the router."""
        return (self.near, self.dialled) if up else (self.far, self.outside)

    def emitted(self, up):
        """Source and destination as the router emits them."""
        return (self.outside, self.far) if up else (self.dialled, self.near)

    def layer4(self, up, payload=b"", ends=None, flags=ACK | PSH, csum=None, ahead=1, **extra):
        (src, sport), (dst, dport) = ends or self.sent(up)
        if self.protocol == "udp":
            return frames.udp(src, dst, sport, dport, payload, csum)
        seq, ack = (NEAR_SEQ, FAR_SEQ) if up else (FAR_SEQ, NEAR_SEQ)
        return frames.tcp(src, dst, sport, dport, seq + ahead, ack + 1 if flags & ACK else 0, flags,
                          payload, **extra)

    def packet(self, up, number, layer4, **header):
        (src, _), (dst, _) = self.sent(up)
        protocol = 6 if self.protocol == "tcp" else 17
        if self.family == 4:
            return frames.ipv4(src, dst, protocol, layer4, ident=number, **header)
        return frames.ipv6(src, dst, header.pop("next_header", protocol), layer4,
                           flow_label=number, **header)

    def frame(self, up, number, payload=b"", header=None, **layer4):
        packet = self.packet(up, number, self.layer4(up, payload, **layer4), **(header or {}))
        return to_router(up, packet)


def to_router(up, packet, dst_mac=None, ethertype=None):
    router, host = ((topology.LAN0_MAC, topology.CLIENT_MAC) if up
                    else (topology.WAN0_MAC, topology.SERVER_MAC))
    return frames.ethernet(dst_mac or router, host, packet, ethertype)


def payload_of(size, number):
    return (struct.pack("!L", number) * (size // 4 + 1))[:size]


@dataclasses.dataclass(frozen=True)
class Shot:
    """A frame to send, and how: offload is what the sending device is asked to complete."""
    name: str
    up: bool
    fast: bool
    frame: bytes
    offload: dict = dataclasses.field(default_factory=dict)


class Catalogue:
    """Every frame of the test for one session and direction."""

    def __init__(self, session, up, numbers):
        self.session, self.up, self._numbers = session, up, numbers
        self.shots = []
        self._limit = "hop_limit" if session.family == 6 else "ttl"
        self._tos = "traffic_class" if session.family == 6 else "tos"
        self._overhead = ((20 if session.family == 4 else 40)
                          + (8 if session.protocol == "udp" else 20))

    def _add(self, name, frame, fast=False, **offload):
        self.shots.append(Shot(f"{name} of {self.session} {'up' if self.up else 'down'}", self.up,
                               fast, frame, offload))

    def _plain(self, name, size=64, header=None, fast=False, **layer4):
        number = next(self._numbers)
        self._add(name, self.session.frame(self.up, number, payload_of(size, number), header,
                                           **layer4), fast)

    def _packet(self, size=64, **header):
        number = next(self._numbers)
        return self.session.packet(self.up, number, self.session.layer4(
            self.up, payload_of(size, number)), **header)

    def build(self):
        self._sizes()
        self._headers()
        self._link_layer()
        self._lengths()
        if self.session.protocol == "udp":
            self._udp()
        else:
            self._tcp()
        if self.session.family == 4:
            self._ipv4()
        else:
            self._ipv6()
        return self.shots

    def _sizes(self):
        for size in (0, 1, 2, 17, 63, 64, 65, 500, 1001, WAN_MTU - self._overhead):
            self._plain(f"payload {size}", size, fast=True)
        if self.up:
            for size in (WAN_MTU - self._overhead + 1, 1500 - self._overhead):
                self._plain(f"payload {size} against the MTU", size)
        for ahead in (1, 200, 4000):
            self._plain(f"sequence number {ahead}", 10, fast=True, ahead=ahead)

    def _headers(self):
        for tos in (0x02, 0x01, 0x03, 0xb8, 0xff):
            self._plain(f"tos {tos:#x}", header={self._tos: tos}, fast=True)
        for limit in (2, 3, 128, 255):
            self._plain(f"ttl {limit}", header={self._limit: limit}, fast=True)
        for limit in (1, 0):
            self._plain(f"ttl {limit}", header={self._limit: limit})

    def _link_layer(self):
        for name, mac in (("other", OTHER_MAC), ("broadcast", "ff:ff:ff:ff:ff:ff"),
                          ("multicast", MULTICAST_MAC)):
            self._add(f"MAC of {name}", to_router(self.up, self._packet(), mac))
        frame = to_router(self.up, self._packet())
        for name, tci in (("VLAN 100", 100), ("priority tag", 5 << 13)):
            self._add(name, frames.tagged(frame, tci))
        self._add("two tags", frames.tagged(frames.tagged(frame, 100), 200, 0x88a8))
        self._add("other ethertype", to_router(self.up, self._packet(), ethertype=0x0801))
        swapped = frames.ETH_P_IPV6 if self.session.family == 4 else frames.ETH_P_IP
        self._add("ethertype of the other family", to_router(self.up, self._packet(),
                                                             ethertype=swapped))

    def _lengths(self):
        small = to_router(self.up, self._packet(0))
        self._add("padded to 60", small.ljust(60, b"\0"), fast=False)
        self._add("padded by garbage", small + b"\xa5" * 37)
        self._add("long trailer", to_router(self.up, self._packet(100)) + b"\x5a" * 401)
        whole = to_router(self.up, self._packet(100))
        header = 14 + (20 if self.session.family == 4 else 40)
        for cut in (header - 8, header, header + 4, header + 8, header + 16, len(whole) - 1):
            self._add(f"cut to {cut}", whole[:cut])

    def _udp(self):
        self._plain("UDP checksum 0", csum=0, fast=True)
        self._result_zero("translated UDP checksum 0", self.session.emitted(self.up))
        self._result_zero("UDP checksum 0xffff as sent", self.session.sent(self.up))
        for name, length in (("longer", 100), ("shorter", 40), ("below its header", 7)):
            number = next(self._numbers)
            datagram = self.session.layer4(self.up, payload_of(64, number), csum=0)
            datagram = datagram[:4] + struct.pack("!H", length) + datagram[6:]
            self._add(f"UDP length {name}", to_router(
                self.up, self.session.packet(self.up, number, datagram)))

    def _result_zero(self, name, ends):
        """A payload that makes the checksum come out as 0 between these ends."""
        number = next(self._numbers)
        start = 6 if self.session.protocol == "udp" else 16
        blank = self.session.layer4(self.up, b"\0\0", ends)
        self._add(name, self.session.frame(self.up, number, blank[start:start + 2]), fast=True)

    def _tcp(self):
        for flags in (ACK, ACK | URG, ACK | PSH | ECE, ACK | CWR, ACK | ECE | CWR | PSH | URG):
            self._plain(f"TCP flags {flags:#04x}", flags=flags, fast=True)
        for flags in (0, PSH, URG, ECE, PSH | URG):
            self._plain(f"TCP flags {flags:#04x}", 0, flags=flags)
        self._plain("timestamps", options=b"\1\1\x08\x0a" + bytes(range(8)), fast=True)
        self._plain("SACK", 0, options=b"\1\1\5\x0a" + struct.pack("!LL", 500, 600), flags=ACK,
                    fast=True)
        self._plain("40 bytes of options", options=b"\1" * 40, fast=True)
        self._result_zero("translated TCP checksum 0", self.session.emitted(self.up))
        for offset in (4, 15):
            number = next(self._numbers)
            segment = self.session.layer4(self.up, b"1234")
            segment = segment[:12] + bytes([offset << 4]) + segment[13:]
            self._add(f"TCP data offset {offset}", to_router(
                self.up, self.session.packet(self.up, number, segment)))

    def _ipv4(self):
        for name, options in (("no operation", b"\1\1\1\1"), ("end", b"\0\0\0\0"),
                              ("record route", b"\x07\x0b\x04" + bytes(8)),
                              ("router alert", b"\x94\x04\0\0"),
                              # Full: the router counts the overflow, the time stays out of it.
                              ("timestamp", b"\x44\x08\x09\0" + bytes(4)),
                              ("loose source route", b"\x83\x07\x04\x0a\0\x02\x02"),
                              ("malformed", b"\x07\xff\x04\0")):
            self._add(f"option {name}", to_router(self.up, self._packet(options=options)))
        self._plain("no DF", header={"frag": 0}, fast=True)
        if self.up:
            self._plain("no DF against the MTU", 1450 - self._overhead, header={"frag": 0})
        self._plain("reserved bit", header={"frag": 0x8000})
        for value in (0, 0xffff, 0x1234):
            self._plain(f"IP checksum {value:#x}", header={"csum": value})
        self._plain("total length over the frame", header={"total": 1000})
        self._plain("total length under the headers", header={"total": 24})
        self._plain("total length 0", header={"total": 0})
        for name, first in (("version 5", 0x55), ("header length 4", 0x44),
                            ("header length 15", 0x4f)):
            packet = bytes([first]) + self._packet()[1:]
            packet = packet[:10] + b"\0\0" + packet[12:]
            csum = frames.checksum(packet[:(first & 15) * 4])
            self._add(name, to_router(self.up, packet[:10] + struct.pack("!H", csum) + packet[12:]))
        self._fragments4()

    def _fragments4(self):
        """Conntrack puts them together, and the router takes them apart again."""
        number = next(self._numbers)
        layer4 = self._layer4_in_layer4(number)
        for name, part, frag in (("first", layer4[:120], 0x2000), ("last", layer4[120:], 15)):
            self._add(f"{name} fragment", to_router(self.up, self.session.packet(
                self.up, number, part, frag=frag)))

    def _layer4_in_layer4(self, number):
        """Cut at 120, its second part looks like a packet of the same flow."""
        inner = self.session.layer4(self.up, payload_of(32, number))
        header = 8 if self.session.protocol == "udp" else 20
        return self.session.layer4(self.up, payload_of(120 - header, number) + inner)

    def _ipv6(self):
        number = next(self._numbers)
        layer4 = self.session.layer4(self.up, payload_of(64, number))
        own = 6 if self.session.protocol == "tcp" else 17
        for name, header, extension in (
                ("hop-by-hop", 0, b"\1\4\0\0\0\0"), ("destination options", 60, b"\1\4\0\0\0\0"),
                ("routing", 43, b"\0\0\0\0\0\0"), ("unknown option", 60, b"\xc1\4\0\0\0\0")):
            number = next(self._numbers)
            self._add(f"extension {name}", to_router(self.up, self.session.packet(
                self.up, number, bytes([own, 0]) + extension + layer4, next_header=header)))
        self._plain("no next header", header={"next_header": 59})
        number = next(self._numbers)
        layer4 = self._layer4_in_layer4(number)
        for name, part, frag in (("first", layer4[:120], 1), ("last", layer4[120:], 120),
                                 ("only", layer4, 0)):
            # The only fragment has its own identification: it is a packet by itself.
            ident = number + (frag == 0)
            header = struct.pack("!BBHL", own, 0, frag, ident)
            self._add(f"{name} fragment", to_router(self.up, self.session.packet(
                self.up, next(self._numbers), header + part, next_header=44)))
        packet = self._packet(100)
        for name, length in (("over the frame", 1000), ("under the headers", 4), ("0", 0)):
            self._add(f"payload length {name}", to_router(
                self.up, packet[:4] + struct.pack("!H", length) + packet[6:]))
        self._add("version 5", to_router(self.up, b"\x50" + self._packet()[1:]))

    def build_offloaded(self):
        """Frames that the stack hands to its drivers unfinished; at tc the program sees them."""
        self._unfinished("checksum to be completed", 700, 0)
        if not frames.segments_can_be_sent(self.session.protocol):
            return self.shots
        kind = frames.GSO_TYPES[self.session.protocol, self.session.family]
        for size, segment in ((2500, 1000), (14000, WAN_MTU - self._overhead)):
            self._unfinished(f"{size} in segments of {segment}", size, kind, segment)
        self._unfinished("segments over the MTU", 4000, kind, WAN_MTU - self._overhead + 1,
                         fast=not self.up)
        return self.shots

    def _unfinished(self, name, size, kind, segment=0, fast=True):
        number = next(self._numbers)
        (src, _), (dst, _) = self.session.sent(self.up)
        layer4 = self.session.layer4(self.up, payload_of(size, number))
        protocol, offset = (17, 6) if self.session.protocol == "udp" else (6, 16)
        pseudo = 0xffff ^ frames.checksum(frames.pseudo_header(src, dst, protocol, len(layer4)))
        layer4 = layer4[:offset] + struct.pack("!H", pseudo) + layer4[offset + 2:]
        frame = to_router(self.up, self.session.packet(self.up, number, layer4))
        start = len(frame) - len(layer4)
        header = start + (8 if self.session.protocol == "udp" else 20)
        self._add(name, frame, fast, gso_type=kind, gso_size=segment, csum_start=start,
                  csum_offset=offset, hdr_len=header)

    def build_ending(self, flags):
        """A segment that begins or ends something, then data as before."""
        self._plain(f"TCP flags {flags:#04x}", 0, flags=flags)
        self._plain("data after it", 100)
        return self.shots


def numbers():
    """Each frame has its own IPv4 identification, or IPv6 flow label."""
    yield from range(1, 0xfff0)


def sessions():
    ports = [PLAIN, *sorted({*SNAT_PORTS, *DNAT_PORTS})]
    return [Session(family, protocol, port)
            for family in (4, 6) for protocol in ("udp", "tcp") for port in ports]


# FIN and RST at the right place, SYN at the wrong time, and what no host sends.
ENDINGS = (FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, FIN, SYN | FIN, FIN | RST | ACK,
           FIN | PSH | URG, SYN | RST, FIN | ACK | PSH | URG, 0xff)


def ending_sessions():
    return {Session(family, "tcp", port): flags
            for family in (4, 6) for port, flags in zip(ENDING, ENDINGS)}


# "cpus" is XDP whose flows are spread over all CPUs.
WAYS = (*HOOKS, "cpus")


class Bench:
    """A lab with all sessions established; frames are shot through it and captured."""

    def __init__(self, context, hook):
        self.lab = context.lab(hook, ruleset())
        self._silence()
        self._routes()
        self.ports = {True: context.keep(frames.Port(self.lab.client, "eth0")),
                      False: context.keep(frames.Port(self.lab.server, "eth0"))}

    def _silence(self):
        """Every ICMP error is sent: a rate limit would choose by the clock."""
        router = self.lab.router
        router.sysctl("ipv4/icmp_ratelimit", 0)
        router.sysctl("ipv6/icmp/ratelimit", 0)
        router.sysctl("ipv4/icmp_msgs_per_sec", 1_000_000)
        router.sysctl("ipv4/icmp_msgs_burst", 1_000_000)

    def _routes(self):
        lab = self.lab
        lab.router.ip(*(f"route add {address}/{24 if family == 4 else 64} via {via[family]}"
                        for family in (4, 6)
                        for address, via in ((("192.168.7.0", "fd00:77::")[family == 6],
                                              topology.CLIENT),
                                             (("203.0.113.0", "fd00:f0::")[family == 6],
                                              topology.SERVER))))
        lab.router.ip(f"link set wan0 mtu {WAN_MTU}")
        # The neighbours are there before the first frame: a queue for an unknown one is short.
        lab.router.ip(*(f"neigh replace {addresses[family]} lladdr {mac} dev {device}"
                        for family in (4, 6) for addresses, mac, device in (
                            (topology.CLIENT, topology.CLIENT_MAC, "lan0"),
                            (topology.SERVER, topology.SERVER_MAC, "wan0"))))

    def _send(self, up, frame, **offload):
        self.ports[up].send(frame, **offload)

    def establish(self, session):
        """Handshake of a TCP session; question and answer of a UDP one."""
        if session.protocol == "udp":
            steps = [(True, {}), (False, {})]
        else:
            steps = [(True, dict(flags=SYN, ahead=0)), (False, dict(flags=SYN | ACK, ahead=0)),
                     (True, dict(flags=ACK))]
        for up, tweak in steps:
            self._send(up, session.frame(up, 0xfff1, **tweak))
            captured = self.ports[not up].receive(2)
            expect(captured, f"no way through the router for {session}, {tweak}")
            (src, sport), (dst, dport) = session.emitted(up)
            seen = frames.fields(captured)
            equal((seen["src"], seen["sport"], seen["dst"], seen["dport"]),
                  (src, sport, dst, dport), f"tuple of {session} as emitted")

    def warm_up(self, bpfw, wanted):
        """Both directions of every session are in the fast path."""
        def all_offloaded():
            for session in wanted:
                for up in (True, False):
                    self._send(up, session.frame(up, 0xfff2, b"warm"))
            shown = {(one["protocol"], one["src"], one["sport"], one["dst"], one["dport"])
                     for one in bpfw.flows() if one["packets"]}
            return not (missing() - shown)

        def missing():
            return {(session.protocol, *session.sent(up)[0], *session.sent(up)[1])
                    for session in wanted for up in (True, False)}
        expect(wait_until(all_offloaded, 10, 0.05), f"not offloaded: {bpfw.stats()}\n{bpfw.log}")
        for port in self.ports.values():
            port.drain(0.3)

    def shoot(self, shots):
        """Send each frame and wait for what it brings about; everything captured, by side."""
        seen = {True: [], False: []}
        for shot in shots:
            self._send(shot.up, shot.frame, **shot.offload)
            far = self.ports[not shot.up].receive(0.015)
            if far:
                seen[not shot.up].append(far)
        for side, port in self.ports.items():
            seen[side] += port.drain(0.3)
        return {side: collections.Counter(map(comparable, found)) for side, found in seen.items()}


def comparable(captured):
    """The captured frame without what the router chooses at random, so that two runs of the kernel
    differ in it as well. All else counts.

    - The identification of its own ICMP errors, and with it their IP checksum, which is checked.
    - The identification of the IPv6 fragments into which it takes a reassembled packet apart."""
    data = captured.data
    if data[12:14] == b"\x08\x00" and data[23] == 1:
        header = 14 + (data[14] & 15) * 4
        equal(frames.checksum(data[14:header]), 0, "IP checksum of an ICMP error")
        data = data[:18] + b"\0\0" + data[20:24] + b"\0\0" + data[26:]
    elif data[12:14] == b"\x86\xdd" and data[20] == 44:
        data = data[:58] + bytes(4) + data[62:]
    return dataclasses.replace(captured, data=data)


def label(captured):
    """The number of the frame that this one came from, where it still shows."""
    data = captured.data
    if data[12:14] == b"\x08\x00":
        return int.from_bytes(data[18:20], "big")
    if data[12:14] == b"\x86\xdd":
        return int.from_bytes(data[15:18], "big") & 0xfffff
    return None


def differences(kernel, bpfw):
    """What one of the two has and the other has not, as text; matched by the frames' numbers."""
    found = []
    for side in (True, False):
        where = "near" if side else "far"
        missing = list((kernel[side] - bpfw[side]).elements())
        for extra in (bpfw[side] - kernel[side]).elements():
            twin = next((one for one in missing if label(one) == label(extra)), None)
            if twin:
                missing.remove(twin)
                found.append(f"{where} side, number {label(extra)}: kernel != bpfw: "
                             f"{frames.difference(twin, extra)}")
            else:
                found.append(f"{where} side, only with bpfw: {frames.fields(extra)}")
        found += [f"{where} side, only without bpfw: {frames.fields(one)}" for one in missing]
    return found


def run(context, hook, shots, wanted, with_bpfw):
    args = ()
    if hook == "cpus":
        hook, args = "xdp", ("--cpus", all_online())
    bench = Bench(context, hook)
    bpfw = context.running(bench.lab, hook, args=args) if with_bpfw else None
    for session in wanted:
        bench.establish(session)
    fast = 0
    if bpfw:
        bench.warm_up(bpfw, wanted)
        fast = bpfw.fast_packets()
    seen = bench.shoot(shots)
    if bpfw:
        fast = bpfw.fast_packets() - fast
    return seen, fast


def compare(context, hook, shots, wanted, share=0.95):
    kernel, _ = run(context, hook, shots, wanted, False)
    expect(kernel[True].total() + kernel[False].total() > len(shots) / 3,
           f"the kernel forwards next to nothing: {kernel}")
    with_bpfw, fast = run(context, hook, shots, wanted, True)
    found = differences(kernel, with_bpfw)
    names = {label(frames.Captured(shot.frame)): shot.name for shot in shots}
    context.note(f"{len(shots)} frames, {fast} in the fast path")
    expect(not found, f"{len(found)} differences:\n" + "\n".join(
        f"{text[:600]} [{_name(text, names)}]" for text in found[:15]))
    ready = sum(shot.fast for shot in shots)
    # One packet in a while takes the stack on purpose, to keep the conntrack entry alive.
    expect(fast >= share * ready, f"only {fast} of {ready} ordinary frames took the fast path")
    return fast


def _name(text, names):
    word = text.partition("number ")[2].partition(":")[0]
    return names.get(int(word), "") if word.isdigit() else ""


@test(*[(family, protocol, hook) for hook in WAYS for family in (4, 6)
        for protocol in ("udp", "tcp")])
def same_frames(context, family, protocol, hook):
    count = numbers()
    wanted = [one for one in sessions() if (one.family, one.protocol) == (family, protocol)]
    shots = [shot for session in wanted for up in (True, False)
             for shot in Catalogue(session, up, count).build()]
    compare(context, hook, shots, wanted)


@test(*[(family, "tc") for family in (4, 6)])
def unfinished_checksums_and_segments(context, family, hook):
    count = numbers()
    wanted = [one for one in sessions() if one.family == family]
    shots = [shot for session in wanted for up in (True, False)
             for shot in Catalogue(session, up, count).build_offloaded()]
    compare(context, hook, shots, wanted)


@test(*[(side, hook) for hook in WAYS for side in ("near", "far")])
def flags_that_end_flows(context, side, hook):
    """The stack sees them; what comes after them is treated as the kernel treats it."""
    count = numbers()
    wanted = ending_sessions()
    shots = [shot for session, flags in wanted.items()
             for shot in Catalogue(session, side == "near", count).build_ending(flags)]
    compare(context, hook, shots, list(wanted), share=0)


@test(*HOOKS)
def wrong_layer4_checksum(context, hook):
    """Conntrack drops it, the fast path does not look at payloads. What matters: a wrong checksum
    stays wrong, so the receiver drops the packet at last."""
    bench = Bench(context, hook)
    bpfw = context.running(bench.lab, hook)
    wanted = sessions()
    for session in wanted:
        bench.establish(session)
    bench.warm_up(bpfw, wanted)
    for session in wanted:
        for up in (True, False):
            frame = bytearray(session.frame(up, 0xfff3, b"damaged on the way"))
            frame[-1] ^= 0x5a
            bench.ports[up].send(bytes(frame))
            captured = bench.ports[not up].receive(0.05)
            if captured:
                header = 34 if session.family == 4 else 54
                (src, _), (dst, _) = session.emitted(up)
                layer4 = captured.data[header:]
                sum_of_all = frames.checksum(frames.pseudo_header(
                    src, dst, 6 if session.protocol == "tcp" else 17, len(layer4)) + layer4)
                expect(sum_of_all, f"the checksum of a damaged packet was made right: {session}")


if __name__ == "__main__":
    main(jobs=4)
