#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The kernel is the oracle on real networks too: the frames on the egress wire, with their tags and
PPPoE headers, are the same with and without bpfw."""

import collections
import dataclasses
import time

from netlab import expect, main, test, wait_until
from netlab import frames, networks
from netlab import lab as topology
from netlab.frames import ACK, PSH, URG
from netlab.sessions import Session, payload_of, report_every_error

# Hosts behind the first and the second client, and behind the server.
NEAR = ({4: "192.168.7.10", 6: "fd00:77::10"}, {4: "192.168.8.10", 6: "fd00:78::10"})
FAR = {4: "203.0.113.10", 6: "fd00:f0::10"}
VIRTUAL, OUTSIDE = topology.VIRTUAL, topology.SNAT
# The kinds of NAT by the port that near dials from and to; the ports given by NAT are fixed.
PLAIN, SNAT, BOTH = 1000, 3000, 6000
BATCH = 16
# One packet of a flow in a while takes the stack on purpose, to keep the conntrack entry alive: in
# emulation a while is not many packets.
OFFLOADED = 0.85


def ruleset(network):
    source, destination = [], []
    for family, match in ((4, "ip"), (6, "ip6")):
        def at(address, port, match=match):
            return f"[{address}]:{port}" if match == "ip6" else f"{address}:{port}"
        for protocol in ("tcp", "udp"):
            for index in range(len(network.lan.ends)):
                for sport, port in ((SNAT, 23000), (BOTH, 26000)):
                    source.append(f"meta nfproto ipv{family} {protocol} sport {sport + index} "
                                  f"oifname {network.wan.device} "
                                  f"snat {match} to {at(OUTSIDE[family], port + index)}")
                destination.append(f"{match} daddr {VIRTUAL[family]} {protocol} dport "
                                   f"{BOTH + index} dnat {match} to {at(FAR[family], 16000)}")
    return ("chain prerouting {\n type nat hook prerouting priority dstnat;\n"
            + "\n".join(destination) + "\n}\nchain postrouting {\n type nat hook postrouting "
            "priority srcnat;\n" + "\n".join(source) + "\n}\n")


def sessions(network):
    """(session, its client's end), every family, protocol and kind of NAT."""
    made = []
    for index, end in enumerate(network.lan.ends):
        for family in network.families:
            for protocol in ("udp", "tcp"):
                made += [(one, end) for one in sessions_of(index, family, protocol)]
    return made


def sessions_of(index, family, protocol):
    """Of the first client all kinds, of the second one."""
    near, far = NEAR[index][family], (FAR[family], 7000)
    kinds = {SNAT: (far, far, (OUTSIDE[family], 23000 + index))}
    if index == 0:
        kinds[PLAIN] = (far, far, (near, PLAIN))
        kinds[BOTH] = ((VIRTUAL[family], BOTH), (FAR[family], 16000), (OUTSIDE[family], 26000))
    return [Session(family, protocol, (near, port + index), *rest) for port, rest in kinds.items()]


@dataclasses.dataclass(frozen=True)
class Shot:
    """A frame and who sends it; offload is what the sending device is asked to complete. With it
    the frame is sent without tags, through the host's own VLAN device."""
    name: str
    end: object
    fast: bool
    frame: bytes
    offload: dict = dataclasses.field(default_factory=dict)


class Catalogue:
    """The frames of the test for one session and direction."""

    def __init__(self, network, session, end, up, numbers):
        self.session, self.up, self.numbers = session, up, numbers
        self.end = end if up else network.wan.end
        self.egress = network.wan if up else network.lan
        self.mtu = min(side.mtu for side in network.sides)
        self.layer3 = self.end.side.layer3
        self.thorough = session.near[1] not in (PLAIN, BOTH)
        self.shots = []
        self.limit = "hop_limit" if session.family == 6 else "ttl"
        self.tos = "traffic_class" if session.family == 6 else "tos"

    def add(self, name, frame, fast, **offload):
        self.shots.append(Shot(f"{name} of {self.session} {'up' if self.up else 'down'}", self.end,
                               fast, frame, offload))

    def plain(self, name, size=64, fast=True, wrap=None, header=None, **layer4):
        packet = self.session.data(self.up, next(self.numbers), size, header, **layer4)
        self.add(name, self.end.wrap(packet, **(wrap or {})), fast)

    def build(self):
        """All of them for the flows of one kind of NAT, the others show that theirs is right."""
        if not self.thorough:
            for size in (0, 17, 500, self.mtu - self.session.overhead):
                self.plain(f"payload {size}", size)
            return self.shots
        self.sizes()
        self.headers()
        self.tags()
        self.padding()
        if self.session.protocol == "udp":
            if self.session.family == 4:
                self.plain("UDP checksum 0", csum=0)
        else:
            self.plain("ACK alone", 0, flags=ACK)
            self.plain("timestamps", options=b"\1\1\x08\x0a" + bytes(range(8)))
            self.plain("URG", flags=ACK | URG | PSH)
        return self.shots

    def sizes(self):
        most = self.mtu - self.session.overhead
        for size in (0, 1, 17, 64, 501, 1000, most - 1, most):
            self.plain(f"payload {size}", size)
        own = self.end.side.mtu - self.session.overhead
        if own > most:
            self.plain("over the egress MTU", most + 1, fast=False)
            if self.session.family == 4:
                self.plain("over the egress MTU without DF", own, fast=False, header={"frag": 0})

    def headers(self):
        for tos in (0x10, 0x08, 0xb8, 0x02, 0xff):
            self.plain(f"tos {tos:#x}", header={self.tos: tos})
        for limit in (2, 255):
            self.plain(f"ttl {limit}", header={self.limit: limit})
        self.plain("ttl 1", header={self.limit: 1}, fast=False)
        if self.session.family == 4:
            self.plain("options", header={"options": b"\1\1\1\1"}, fast=False)

    def tags(self):
        if self.layer3:
            return
        if self.end.vlans:
            for priority in (1, 3, 5, 7):
                self.plain(f"PCP {priority}", wrap={"priority": priority})
            self.plain("PCP 5 and a TOS", wrap={"priority": 5}, header={self.tos: 0x10})
            self.plain("without its tags", wrap={"vlans": ()}, fast=False)
        tags = (("802.1Q", 77), *self.end.vlans)
        if len(tags) < 3:
            self.plain("a foreign tag", wrap={"vlans": tags}, fast=False)
        self.plain("another tag", wrap={"vlans": (("802.1Q", 99),)}, fast=False)
        self.plain("MAC of another host", wrap={"dst_mac": "02:00:00:00:77:77"}, fast=False)
        if self.end.session:
            self.plain("another session", wrap={"session": self.end.session + 1}, fast=False)

    def padding(self):
        """The stack cuts padding off; the fast path may, or leave the frame to the stack."""
        if self.layer3:
            return
        small = self.end.wrap(self.session.data(self.up, next(self.numbers), 0))
        self.add("padded to 60", small.ljust(60, b"\0"), False)
        long = self.end.wrap(self.session.data(self.up, next(self.numbers), 200))
        self.add("long trailer", long + b"\x5a" * 300, False)

    def build_segments(self):
        """What the stack hands to a driver unfinished. The host's PPP does not take it, nor do two
        VLAN devices on top of each other from a packet socket."""
        if self.end.session is None and len(self.end.vlans) < 2:
            most = self.mtu - self.session.overhead
            for size, segment in ((700, 0), (9000, most)):
                self.unfinished(size, segment, self.egress_finishes())
            if self.thorough:
                self.unfinished(2500, 1000, self.egress_finishes())
                self.unfinished(4000, most + 1, False)
        return self.shots

    def egress_finishes(self):
        """The ppp device does what has to be done before PPPoE, and a tunnel's what it needs."""
        return not self.egress.left_out

    def unfinished(self, size, segment, fast):
        if segment and not frames.segments_can_be_sent(self.session.protocol):
            return
        number = next(self.numbers)
        layer4 = self.session.unfinished(self.up, payload_of(size, number))
        frame = self.end.wrap(self.session.packet(self.up, number, layer4), vlans=())
        self.add(f"{size} in segments of {segment}", frame, fast,
                 **self.session.offload(frame, layer4, segment))


class Bench:
    """A network with all sessions established; frames are shot through it and captured."""

    def __init__(self, context, lan, wan, hook):
        self.network = networks.for_test(context, lan, wan, hook, nat="none")
        network = self.network
        network.load_ruleset(ruleset(network))
        for side in network.sides:
            side.fix_neighbours()
        network.flush()
        self._no_merging()
        report_every_error(network.router)
        self._routes()
        ends = [*network.lan.ends, network.wan.end]
        self.ports = {id(end): context.keep(end.capture()) for end in ends}
        # Unfinished packets get their tags from the host's own devices.
        self.tops = {id(end): context.keep(frames.Port(end.namespace, end.device))
                     for end in ends if not end.side.layer3 and end.session is None}
        self.ends = ends
        self.wanted = sessions(network)

    def _no_merging(self):
        """Whether packets come out of a tunnel one by one or merged (GRO) is a matter of time."""
        for side in self.network.sides:
            if side.layer3:
                for namespace, device in ((self.network.router, side.device),
                                          (side.end.namespace, side.end.device)):
                    namespace.run("ethtool", "-K", device, "gro", "off")

    def _routes(self):
        network = self.network
        table = f" table {networks.VRF_TABLE}" if network.vrf else ""
        lines = []
        for family in network.families:
            suffix = 24 if family == 4 else 64
            for addresses, end in ((FAR, network.wan.end), *zip(NEAR, network.lan.ends)):
                prefix = addresses[family].rpartition(".10" if family == 4 else "10")[0]
                lines.append(f"route add {prefix + '.0' if family == 4 else prefix}/{suffix} "
                             f"via {end.addresses[family]} dev {end.side.device}{table}")
        network.router.ip(*lines)

    def send(self, end, frame, offload=None):
        if offload and id(end) in self.tops:
            self.tops[id(end)].send(frame, **offload)
        else:
            self.ports[id(end)].send(frame, **(offload or {}))

    def pair(self, end, up):
        """(who sends, who receives)"""
        far = self.network.wan.end
        return (end, far) if up else (far, end)

    def establish(self):
        for session, end in self.wanted:
            for up, packet in session.opening(0xfff1):
                sender, receiver = self.pair(end, up)
                self.send(sender, sender.wrap(packet))
                found = self._next(receiver)
                expect(found, f"no way through the router for {session}, up {up}")
                seen = frames.fields(_untagged(found))
                (src, sport), (dst, dport) = session.emitted(up)
                expect((seen["src"], seen["sport"], seen["dst"], seen["dport"])
                       == (src, sport, dst, dport), f"{session} came out as {seen}")

    def _next(self, end):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            captured = self.ports[id(end)].receive(0.5)
            if captured and is_traffic(captured):
                return captured
        return None

    def missing(self, bpfw):
        """The tuples that are not in use in the fast path."""
        shown = {(one["protocol"], one["src"], one["sport"], one["dst"], one["dport"])
                 for one in bpfw.flows() if one["packets"]}
        return {(session.protocol, *session.sent(up)[0], *session.sent(up)[1])
                for session, _ in self.wanted for up in (True, False)} - shown

    def warm_up(self, bpfw, hook):
        def step():
            for session, end in self.wanted:
                for up in (True, False):
                    sender, _ = self.pair(end, up)
                    self.send(sender, sender.wrap(session.data(up, 0xfff2, 4)))
            return not self.missing(bpfw)
        if self.network.offloadable(hook):
            expect(wait_until(step, 15, 0.05), f"not offloaded: {sorted(self.missing(bpfw))}\n"
                   f"{bpfw.flows()[:4]}\n{bpfw.stats()}\n{bpfw.log}")
        else:
            wait_until(step, 2, 0.1)
        self.drain(0.3)

    def drain(self, quiet):
        return {index: self.ports[id(end)].drain(quiet) for index, end in enumerate(self.ends)}

    def shoot(self, shots):
        seen = collections.defaultdict(list)
        for begin in range(0, len(shots), BATCH):
            for shot in shots[begin:begin + BATCH]:
                self.send(shot.end, shot.frame, shot.offload)
            time.sleep(0.02)
            for index, found in self.drain(0).items():
                seen[index] += found
        for index, found in self.drain(0.4).items():
            seen[index] += found
        return {index: collections.Counter(comparable(one) for one in found if is_traffic(one))
                for index, found in seen.items()}


def is_traffic(captured):
    """Leaves out what hosts and router say to each other on their own: ND, MLD."""
    packet = frames.peel(captured.data)[1]
    if not packet:
        return False
    if packet[0] >> 4 == 6:
        return packet[6] != 0 and not (packet[6] == 58 and 130 <= packet[40] <= 143)
    return packet[9] != 2


def comparable(captured):
    """Without the identification of the router's own ICMP errors, which is random, and with it
    their IP checksum, which is checked. All else counts."""
    link, packet = frames.peel(captured.data)
    if packet[0] >> 4 == 4 and packet[9] == 1:
        expect(frames.checksum(packet[:(packet[0] & 15) * 4]) == 0, "IP checksum of an ICMP error")
        packet = packet[:4] + b"\0\0" + packet[6:10] + b"\0\0" + packet[12:]
    return dataclasses.replace(captured, data=link + packet)


def _untagged(captured):
    link, packet = frames.peel(captured.data)
    return dataclasses.replace(captured, data=link[:12] + (
        b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet)


def describe(captured):
    link, _ = frames.peel(captured.data)
    return {"link header": link.hex()} | frames.fields(_untagged(captured))


def label(captured):
    """The number of the frame that this one came from, where it still shows."""
    packet = frames.peel(captured.data)[1]
    if not packet:
        return None
    if packet[0] >> 4 == 4:
        return int.from_bytes(packet[4:6], "big")
    return int.from_bytes(packet[1:4], "big") & 0xfffff


def differences(one, other, names):
    """What one of the two runs has and the other has not, matched by the frames' numbers."""
    found = []
    for index in sorted({*one, *other}):
        missing = list((one[index] - other[index]).elements())
        for extra in (other[index] - one[index]).elements():
            twin = next((each for each in missing if label(each) == label(extra)), None)
            seen = describe(extra)
            if twin:
                missing.remove(twin)
                was = describe(twin)
                text = ", ".join(f"{name} {was.get(name)} != {seen.get(name)}"
                                 for name in {**was, **seen} if was.get(name) != seen.get(name))
                found.append(f"end {index}: {text[:600]} [{names.get(label(extra))}]")
            else:
                found.append(f"end {index}: only in the second run: {str(seen)[:600]} "
                             f"[{names.get(label(extra))}]")
        found += [f"end {index}: only in the first run: {str(describe(each))[:600]} "
                  f"[{names.get(label(each))}]" for each in missing]
    return found


def shots_for(bench, hook):
    network = bench.network
    numbers = iter(range(1, 0xfff0))
    shots = []
    for session, end in bench.wanted:
        for up in (True, False):
            shots += Catalogue(network, session, end, up, numbers).build()
            if hook == "tc":
                shots += Catalogue(network, session, end, up, numbers).build_segments()
    return shots


def run(context, lan, wan, hook, with_bpfw):
    """(frames by end, how many took the fast path, shots, network)"""
    bench = Bench(context, lan, wan, hook)
    bpfw = None
    if with_bpfw:
        bpfw = context.running(bench.network, hook, interfaces=bench.network.interfaces)
    bench.establish()
    bench.drain(0.2)
    if bpfw:
        bench.warm_up(bpfw, hook)
    shots = shots_for(bench, hook)
    fast = bpfw.fast_packets() if bpfw else 0
    seen = bench.shoot(shots)
    fast = bpfw.fast_packets() - fast if bpfw else 0
    return seen, fast, shots, bench.network


def compare(context, lan, wan, hook, with_bpfw=True):
    first, _, shots, network = run(context, lan, wan, hook, False)
    count = sum(found.total() for found in first.values())
    expect(count > 0.6 * len(shots), f"the kernel forwards {count} frames of {len(shots)}")
    second, fast, again, _ = run(context, lan, wan, hook, with_bpfw)
    names = {label(frames.Captured(shot.frame)): shot.name for shot in again}
    found = differences(first, second, names)
    context.note(f"{count} frames compared, {len(found)} differences ({len(shots)} frames sent, "
                 f"{fast} by the fast path)")
    expect(not found, f"{len(found)} differences:\n" + "\n".join(found[:12]))
    ready = sum(shot.fast for shot in shots)
    if with_bpfw and network.offloadable(hook):
        expect(fast >= OFFLOADED * ready, f"only {fast} of {ready} ordinary frames were fast")


# Every kind on either side, and what changes the link layer the most: tags pushed, popped and
# swapped, PPPoE on both sides of a tag.
TOPOLOGIES = (
    ("plain", "plain"), ("plain", "vlan"), ("vlan", "plain"), ("vlan", "qinq"),
    ("qinq", "pppoe-vlan"), ("bridge", "pppoe"), ("bridge", "plain"), ("bridge-pvid", "vlan"),
    ("bridge-vlan", "pppoe-vlan"),
    ("vlan-on-bridge", "pppoe"), ("bridge-on-vlans", "qinq"), ("pppoe", "bridge"),
    ("pppoe-vlan", "pppoe"), ("plain", "macvlan"), ("macvlan", "vlan"), ("bond", "pppoe"),
    ("bridge", "bond"), ("bridge", "wireguard"), ("wireguard", "vlan"),
    ("wireguard", "pppoe"), ("tun", "wireguard"), ("plain", "tun"), ("tun", "bridge"),
    ("vlan", "ipip"), ("ip6tnl", "plain"), ("vrf", "vlan"), ("bridge", "vrf"),
    ("vlan-qos", "vlan-qos"), ("plain", "vlan-qos"),
)


@test(*[(lan, wan, hook) for hook in ("tc", "xdp") for lan, wan in TOPOLOGIES])
def same_frames(context, lan, wan, hook):
    compare(context, lan, wan, hook)


@test(("bridge", "plain"), ("bridge-vlan", "pppoe-vlan"))
def same_frames_twice_without_bpfw(context, lan, wan):
    """The test of the test: two runs of the kernel alone do not differ."""
    compare(context, lan, wan, "tc", with_bpfw=False)


if __name__ == "__main__":
    main()
