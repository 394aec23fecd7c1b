#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The MTU of a route: what does not fit goes to the stack, packet by packet or segment by segment.

The same frames, with and without bpfw: what comes out, and which errors their senders get, is the
same."""

import collections
import dataclasses
import socket
import struct
import time

from netlab import TcpFlow, equal, expect, main, test, wait_until
from netlab import frames
from netlab import lab as topology
from netlab.sessions import Session, payload_of, report_every_error

HOOKS = ("tc", "xdp")
FOLLOWED = 5.0
NEAR, FAR = {4: "192.168.7.10", 6: "fd00:77::10"}, {4: "203.0.113.10", 6: "fd00:f0::10"}
FAR_NET = {4: "203.0.113.0/24", 6: "fd00:f0::/64"}
HOST = {4: 32, 6: 128}
ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
MTU = 1300
DONT_FRAGMENT = 0x4000


@dataclasses.dataclass(frozen=True)
class Shot:
    """A frame; fast: it fits by any reading of the MTU."""
    name: str
    session: object
    up: bool
    fast: bool
    frame: bytes
    offload: dict = dataclasses.field(default_factory=dict)


class Wire:
    """The plain lab, and two hosts that exist in frames only: every ICMP error is seen."""

    def __init__(self, context, hook):
        self.lab = context.lab(hook, "none")
        self.router = self.lab.router
        self.ports = {True: context.keep(frames.Port(self.lab.client, "eth0")),
                      False: context.keep(frames.Port(self.lab.server, "eth0"))}
        self.sessions = [Session(family, protocol, (NEAR[family], 1000), (FAR[family], 7000),
                                 (FAR[family], 7000), (NEAR[family], 1000))
                         for family in (4, 6) for protocol in ("udp", "tcp")]
        report_every_error(self.router)
        self._routes()

    def _routes(self):
        for family in (4, 6):
            self.router.ip(
                f"neigh replace {topology.CLIENT[family]} lladdr {topology.CLIENT_MAC} dev lan0",
                f"neigh replace {topology.SERVER[family]} lladdr {topology.SERVER_MAC} dev wan0",
                f"route add {NEAR[family]}/{HOST[family]} via {topology.CLIENT[family]} dev lan0")
            self.to_far(family)

    def to_far(self, family, options=""):
        self.router.ip(f"route replace {FAR[family]}/{HOST[family]} via {topology.SERVER[family]} "
                       f"dev wan0 {options}")

    def frame(self, up, packet):
        macs = ((topology.LAN0_MAC, topology.CLIENT_MAC) if up
                else (topology.WAN0_MAC, topology.SERVER_MAC))
        return frames.ethernet(*macs, packet)

    def establish(self):
        for session in self.sessions:
            for up, packet in session.opening(0xfff1):
                self.ports[up].send(self.frame(up, packet))
                expect(self.ports[not up].receive(2), f"no way through the router for {session}")

    def offload(self, bpfw):
        def step():
            for session in self.sessions:
                for up in (True, False):
                    self.ports[up].send(self.frame(up, session.data(up, 0xfff2, 4)))
            return sum(one["packets"] > 0 for one in bpfw.flows()) == 2 * len(self.sessions)
        expect(wait_until(step, 10, 0.05), f"not offloaded: {bpfw.flows()}\n{bpfw.stats()}")
        self.drain()

    def drain(self):
        return {up: port.drain(0.2) for up, port in self.ports.items()}

    def shoot(self, shots):
        self.drain()
        seen = {True: [], False: []}
        for shot in shots:
            self.ports[shot.up].send(shot.frame, **shot.offload)
            if found := self.ports[not shot.up].receive(0.01):
                seen[not shot.up].append(found)
        for up, found in self.drain().items():
            seen[up] += found
        return {up: collections.Counter(map(comparable, found)) for up, found in seen.items()}


def comparable(captured):
    """Without the random identification of the router's own ICMP errors, and of IPv6 fragments."""
    data = captured.data
    if data[12:14] == b"\x08\x00" and data[23] == 1:
        equal(frames.checksum(data[14:14 + (data[14] & 15) * 4]), 0, "IP checksum of an ICMP error")
        data = data[:18] + b"\0\0" + data[20:24] + b"\0\0" + data[26:]
    return dataclasses.replace(captured, data=data)


def shots_for(wire, where, hook):
    """A device of a smaller MTU does not take larger frames from its own cable either."""
    numbers = iter(range(1, 0xfff0))
    found = [shot for session in wire.sessions for up in (True, False)
             for shot in shots_of(wire, session, up, hook, numbers)]
    return [shot for shot in found
            if where != "device" or shot.up or shot.offload or len(shot.frame) <= 14 + MTU]


def shots_of(wire, session, up, hook, numbers):
    """Around the MTU on the way up, and as large on the way down, where nothing is in the way."""
    def add(name, size, fast, **header):
        number = next(numbers)
        packet = session.data(up, number, size, header)
        found.append(Shot(name, session, up, fast, wire.frame(up, packet)))
    found, room = [], MTU - session.overhead
    for size in (100, room - 1, room, room + 1, 1500 - session.overhead):
        add(f"payload {size}", size, size <= room or not up)
        if session.family == 4:
            add(f"payload {size} without DF", size, size <= room or not up, frag=0)
    if hook == "tc":
        found += segments_of(wire, session, up, numbers)
    return found


def segments_of(wire, session, up, numbers):
    if not frames.segments_can_be_sent(session.protocol):
        return
    room = MTU - session.overhead
    for size, segment in ((3000, 1000), (9000, room), (9000, room + 1), (4000, 1420),
                          (1400, room + 1)):
        for frag in (DONT_FRAGMENT, 0)[:1 + (session.family == 4)]:
            yield unfinished(wire, session, up, next(numbers), size, segment, frag)


def unfinished(wire, session, up, number, size, segment, frag):
    """A GSO packet: its segments are cut, and their checksums made, by who sends it."""
    layer4 = session.unfinished(up, payload_of(size, number))
    header = {"frag": frag} if session.family == 4 else {}
    frame = wire.frame(up, session.packet(up, number, layer4, **header))
    return Shot(f"{size} in segments of {segment}, DF {frag:#x}", session, up,
                segment + session.overhead <= MTU or not up, frame,
                session.offload(frame, layer4, segment))


def route_option(options):
    def apply(wire):
        for family in (4, 6):
            wire.to_far(family, options)
    return apply


def device_option(wire):
    wire.router.ip(f"link set wan0 mtu {MTU}")


def ipv6_option(wire):
    """As a router advertisement sets it."""
    wire.router.sysctl("ipv6/conf/wan0/mtu", MTU)


def learned(forwarded):
    """The router was told for a connection of its own; whether what it forwards has to fit as well
    is a setting of IPv4's."""
    def apply(wire):
        wire.router.sysctl("ipv4/ip_forward_use_pmtu", forwarded)
        for family in (4, 6):
            learn_path_mtu(wire, family)
    return apply


def learn_path_mtu(wire, family):
    """An ICMP error about a datagram that the router itself has sent."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with wire.router.socket(kind, socket.SOCK_DGRAM) as own:
        own.connect((FAR[family], 9000))
        own.send(b"from the router")
        (src, sport), (dst, dport) = own.getsockname()[:2], own.getpeername()[:2]
        datagram = frames.udp(src, dst, sport, dport, b"from the router")
        wire.ports[False].send(wire.frame(False, too_big(family, src, dst, datagram)))
        def known():
            return f"mtu {MTU}" in wire.router.run("ip", "route", "get", FAR[family]).stdout
        expect(wait_until(known, 2), "the router has not learned the path's MTU")


def too_big(family, src, dst, datagram):
    if family == 4:
        inner = frames.ipv4(src, dst, 17, datagram)
        body = struct.pack("!BBHHH", 3, 4, 0, 0, MTU) + inner
        body = body[:2] + struct.pack("!H", frames.checksum(body)) + body[4:]
        return frames.ipv4(topology.SERVER[4], src, 1, body)
    inner = frames.ipv6(src, dst, 17, datagram)
    body = struct.pack("!BBHL", 2, 0, 0, MTU) + inner
    value = frames.checksum(frames.pseudo_header(topology.SERVER[6], src, 58, len(body)) + body)
    return frames.ipv6(topology.SERVER[6], src, 58, body[:2] + struct.pack("!H", value) + body[4:])


SMALLER = {
    "route": route_option(f"mtu {MTU}"), "locked": route_option(f"mtu lock {MTU}"),
    "device": device_option, "IPv6 of the device": ipv6_option,
    "learned": learned(0), "learned and used": learned(1),
}


# Of these the kernel tells nobody: they count when the flow's route is looked up the next time.
SILENT = ("IPv6 of the device", "learned", "learned and used")


def look_up_again(wire):
    """A route that covers the flows', and does not win, is a reason to ask again."""
    for family in (4, 6):
        wire.router.ip(f"route add {FAR_NET[family]} via {topology.SERVER[family]}")


def differences(kernel, bpfw, names):
    found = []
    for up, side in ((True, "near"), (False, "far")):
        for which, one, other in (("kernel alone", kernel, bpfw), ("with bpfw", bpfw, kernel)):
            for extra in (one[up] - other[up]).elements():
                seen = frames.fields(extra)
                found.append(f"{side} side, only {which}: {str(seen)[:400]} "
                             f"[{names.get(label(extra))}]")
    return found


def label(captured):
    data = captured.data
    if data[12:14] == b"\x08\x00":
        return int.from_bytes(data[18:20], "big")
    return int.from_bytes(data[15:18], "big") & 0xfffff


@test(*[(where, when, hook) for hook in HOOKS for where in SMALLER for when in ("before", "after")])
def mtu(context, where, when, hook):
    """Too large a packet goes to the stack, which tells its sender or takes it apart; a GSO packet
    is as large as its segments. The MTU is there before the flows are offloaded, or comes later."""
    alone = Wire(context, hook)
    alone.establish()
    SMALLER[where](alone)
    shots = shots_for(alone, where, hook)
    kernel = alone.shoot(shots)
    wire = Wire(context, hook)
    bpfw = context.running(wire.lab, hook)
    wire.establish()
    if when == "before":
        SMALLER[where](wire)
    wire.offload(bpfw)
    if when == "after":
        SMALLER[where](wire)
        if where in SILENT:
            look_up_again(wire)
        time.sleep(1)
        wire.offload(bpfw)
    fast = bpfw.fast_packets()
    seen = wire.shoot(shots)
    fast = bpfw.fast_packets() - fast
    names = {label(frames.Captured(shot.frame)): f"{shot.name} of {shot.session}"
             for shot in shots}
    found = differences(kernel, seen, names)
    ready = sum(shot.fast for shot in shots)
    context.note(f"{sum(one.total() for one in kernel.values())} frames compared, {len(found)} "
                 f"differences ({len(shots)} frames sent, {fast} by the fast path)")
    expect(not found, f"{len(found)} differences:\n" + "\n".join(found[:12]))
    expect(fast >= 0.9 * ready, f"only {fast} of {ready} frames that fit were fast")


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def connection_learns_the_mtu(context, family, hook):
    """The sender of too large segments is told, sends smaller ones, and they are fast again."""
    lab = context.lab(hook)
    flow = context.keep(TcpFlow(lab, family))
    bpfw = context.running(lab, hook)
    flow.wait_offloaded(bpfw)
    flow.exchange(1 << 20)
    lab.router.ip(f"route replace {topology.SERVER[family]}/{HOST[family]} dev wan0 "
                  f"mtu lock {MTU}")
    client, server = (context.keep(frames.Port(namespace, "eth0"))
                      for namespace in (lab.client, lab.server))

    def told():
        flow.exchange(200_000)
        return any(ICMP[family] in (found.get("protocol"), found.get("next header"))
                   for found in map(frames.fields, client.drain(0)))
    expect(wait_until(told, FOLLOWED), "no ICMP error for the sender")
    server.drain(0.1)
    meter = lab.meter()
    flow.exchange(4 << 20)
    meter.read()
    expect(meter.offloaded_share > 0.8, f"{meter}; {bpfw.stats()}")
    sizes = [segment_of(captured) for captured in server.drain(0.1)]
    expect(sizes and max(sizes) <= MTU, f"packets of {max(sizes, default=0)} bytes")


def segment_of(captured):
    """The size on the wire of the packet, or of what it is cut into."""
    data = captured.data[14:]
    if not captured.gso_size:
        return len(data)
    ip = 40 if data[0] >> 4 == 6 else (data[0] & 15) * 4
    return ip + (data[ip + 12] >> 4) * 4 + captured.gso_size


if __name__ == "__main__":
    main()
