#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, rules that ask about the state of connections: iptables is the oracle.

The same dialogues (TCP from its beginning to its end and with segments that do not belong there,
UDP, ICMP, its errors) go through a router with the kernel's rules, and again with bpfw's; once as
they are, once with NAT. What comes out after each packet has to be the same, and so have the counters of
rules that tell all states apart.

BPFW_TEST_SEED chooses the dialogues, BPFW_TEST_STEPS how long they are.
"""

import os
import random
import select
import socket
import struct
import threading
import time

from filter_test import (FAR, NEAR, NO_RULES, NOISE, Router, first_differences, iptables_variant,
                         without_noise)
from netlab import Skip, equal, expect, main, test
from netlab import frames
from netlab import lab as topology
from netlab.bpfw import binary, environment
from netlab.lab import run
from nobtf_test import KERNEL_BTF, without_btf

SEED = int(os.environ.get("BPFW_TEST_SEED", "1"))
STEPS = int(os.environ.get("BPFW_TEST_STEPS", "120"))
SWAPS = 30
HOOKS = ("tc", "xdp")
MARKER = 4242  # the port of what is sent behind a frame, to know that it has been dealt with
LAN0 = {4: topology.LAN0[4], 6: topology.LAN0[6]}
WAN0 = {4: topology.WAN0[4], 6: topology.WAN0[6]}
VIRTUAL = topology.VIRTUAL
ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
ECHO, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
WITH_ENDS = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, *ICMP.values())  # ports, or an echo's number
UNREACHABLE, PORT = {4: 3, 6: 1}, {4: 3, 6: 4}

# Conntrack has to be at work, with or without rules of iptables that call for it.
TRACK = """table inet track {
	chain look { type filter hook prerouting priority 0; ct state new counter; }
	chain out { type filter hook output priority 0; ct state new counter; }
}
"""

NAT = {
    "plain": "",
    "masquerade": """table inet nat {
	chain postrouting { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }
}
""",
    "dnat": f"""table inet nat {{
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {VIRTUAL[4]} dnat ip to {FAR[4][0]}
		ip6 daddr {VIRTUAL[6]} dnat ip6 to {FAR[6][0]}
	}}
}}
""",
}

# All states apart, and what NAT does to the addresses that rules see.
COUNTING = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
{noise}
{rules}
COMMIT
"""

CHAINS = ("INPUT", "FORWARD", "OUTPUT")
MATCHES = (
    "-m conntrack --ctstate INVALID",
    "-m conntrack --ctstate NEW",
    "-m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate RELATED",
    "-m conntrack --ctstate UNTRACKED",
    "-m conntrack ! --ctstate RELATED,ESTABLISHED",
    "-m conntrack --ctstate SNAT -m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate DNAT -m conntrack --ctstate ESTABLISHED",
    "-m conntrack --ctstate ESTABLISHED --ctstatus SEEN_REPLY",
    "-m conntrack ! --ctstatus EXPECTED",
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL",
    "-m state --state NEW,ESTABLISHED",
    "-m state ! --state INVALID",
)

STRICT = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:fresh - [0:0]
{noise}
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lan0 -m conntrack --ctstate NEW -j fresh
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport {marker} -j ACCEPT
-A FORWARD -i lan0 -m conntrack --ctstate NEW -j fresh
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -m conntrack --ctstate NEW -j ACCEPT
-A fresh -p tcp -m tcp --dport 22 -j DROP
-A fresh -p tcp -j ACCEPT
-A fresh -p udp -m udp ! --dport 22 -j ACCEPT
-A fresh -p {icmp} -j ACCEPT
-A fresh -p 47 -j ACCEPT
COMMIT
"""


def counting(version, nat):
    """The first packet of what DNAT is going to send elsewhere is met before it: rules that would
    tell leave it out."""
    rules = [f"-A {chain} {match}" for chain in CHAINS for match in MATCHES]
    known = " -m conntrack ! --ctstate NEW" if nat == "dnat" else ""
    length = 32 if version == 4 else 128
    rules += [f"-A FORWARD -{flag} {address}/{length}{known}" for flag in "sd"
              for address in (NEAR[version][0], FAR[version][0], WAN0[version])]
    return COUNTING.format(noise="\n".join(NOISE[version]), rules="\n".join(rules))


def strict(version, _nat="plain"):
    return STRICT.format(noise="\n".join(NOISE[version]), marker=MARKER,
                         icmp="icmp" if version == 4 else "ipv6-icmp")


RULESETS = {"counting": counting, "strict": strict}


def icmp(version, src, dst, kind, code, rest):
    message = struct.pack("!BBH", kind, code, 0) + rest
    covered = message if version == 4 else frames.pseudo_header(
        src, dst, ICMP[6], len(message)) + message
    return message[:2] + struct.pack("!H", frames.checksum(covered)) + message[4:]


class Wire:
    """Both ends of the router, one packet at a time."""

    def __init__(self, router, version, nat, drops):
        self.version, self.nat, self.drops = version, nat, drops
        self.ports = {"near": router.near, "far": router.far}
        self.macs = {"near": (topology.LAN0_MAC, topology.CLIENT_MAC),
                     "far": (topology.WAN0_MAC, topology.SERVER_MAC)}

    def frame(self, side, src, dst, protocol, data):
        if self.version == 4:
            packet = frames.ipv4(src, dst, protocol, data)
        else:
            packet = frames.ipv6(src, dst, protocol, data)
        return frames.ethernet(*self.macs[side], packet)

    def marker(self, side):
        ends = NEAR[self.version][1], FAR[self.version][0]
        src, dst = ends if side == "near" else ends[::-1]
        sport = MARKER if side == "near" else MARKER + 1  # no answers to the others: NAT
        return self.frame(side, src, dst, socket.IPPROTO_UDP,
                          frames.udp(src, dst, sport, MARKER, b"marker"))

    def send(self, side, frame):
        """Returns what came out: {side: [packets]}, all of it, because markers went behind it."""
        if frame:
            self.ports[side].send(frame)
        out = {}
        for came_by, goes_to in (("near", "far"), ("far", "near")):
            self.ports[came_by].send(self.marker(came_by))
            out[goes_to] = list(self.until_marker(goes_to))
        return out

    def until_marker(self, side):
        while True:
            captured = self.ports[side].receive(5)
            if captured is None:
                raise AssertionError(f"a marker got lost at the {side} side")
            if captured.data.endswith(b"marker"):
                return
            yield captured.data[14:]


class Dialogue:
    """One side opens a connection to an address; answers go to where its packets came from."""

    def __init__(self, wire, generator, side, there, port):
        self.wire, self.random, self.side = wire, generator, side
        self.other = "far" if side == "near" else "near"
        self.version = wire.version
        self.here = (NEAR if side == "near" else FAR)[self.version][0]
        self.there = there
        self.sport, self.dport = generator.randint(1024, 60000), port
        self.seen = None  # the ends of a packet as the other side has got it
        self.last = b""   # that packet
        self.errors = 0

    def ends(self, answer):
        if not answer:
            return self.here, self.there, self.sport, self.dport
        if not self.seen:
            # Nothing got there: an answer to what would have been sent without NAT.
            return (FAR if self.other == "far" else NEAR)[self.version][0], self.here, self.dport, \
                self.sport
        src, dst, sport, dport = self.seen
        return dst, src, dport, sport

    def notice(self, out, protocol):
        """Take the ends from what has arrived at the other side."""
        for packet in out[self.other]:
            header = 20 if self.version == 4 else 40
            if packet[9 if self.version == 4 else 6] != protocol:
                continue
            size = 4 if self.version == 4 else 16
            at = 12 if self.version == 4 else 8
            family = socket.AF_INET if self.version == 4 else socket.AF_INET6
            src, dst = (socket.inet_ntop(family, packet[at + n * size:at + (n + 1) * size])
                        for n in range(2))
            # NAT does not touch what is invalid: nothing is to be answered.
            if self.wire.nat != "plain" and (src, dst) == (self.here, self.there):
                continue
            self.seen = (src, dst, *struct.unpack_from("!HH", packet, header))
            self.last = packet

    def say(self, answer, protocol, make):
        # Who does not know where NAT has put a packet cannot answer.
        answer &= bool(self.seen) or self.wire.nat == "plain"
        src, dst, sport, dport = self.ends(answer)
        side = self.other if answer else self.side
        out = self.wire.send(side, self.wire.frame(side, src, dst, protocol,
                                                   make(src, dst, sport, dport)))
        if not answer:
            self.notice(out, protocol)
        return out

    def error(self, from_third=False):
        """The other side complains of what it got last: an ICMP error to its sender. Of each third
        one the packet ends in the ports that it quotes, which go on in the frame behind it."""
        version = self.version
        self.errors += 1
        packet = self.last or self.wire.frame(self.side, self.here, self.there,
                                              socket.IPPROTO_UDP, bytes(8))[14:]
        # Of other protocols conntrack wants no more than the addresses. What masquerading
        # wants it misses before FORWARD, where bpfw has counted the packet already.
        cut = not self.errors % 3 and (self.wire.nat != "masquerade" or
                                       packet[9 if version == 4 else 6] in WITH_ENDS)
        quoted = (22 if version == 4 else 42) if cut else 60
        src = FAR[version][1] if from_third else self.ends(True)[0]
        dst = self.ends(True)[1]
        data = icmp(version, src, dst, UNREACHABLE[version], PORT[version],
                    bytes(4) + packet[:quoted])
        return self.wire.send(self.other, self.wire.frame(self.other, src, dst, ICMP[version], data)
                              + packet[quoted:60])


class Tcp(Dialogue):
    """A connection; `steps` are the sides and flags of an ordinary life."""

    LIFE = [(False, frames.SYN, 0), (True, frames.SYN | frames.ACK, 0), (False, frames.ACK, 0),
            (False, frames.ACK | frames.PSH, 30), (True, frames.ACK, 0),
            (True, frames.ACK | frames.PSH, 200), (False, frames.ACK, 0),
            (False, frames.FIN | frames.ACK, 0), (True, frames.ACK, 0),
            (True, frames.FIN | frames.ACK, 0), (False, frames.ACK, 0)]

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.next = [self.random.randint(0, 2**32 - 1) for _ in range(2)]
        self.step = 0

    def segment(self, answer, flags, length, seq=0, ack=0):
        mine, theirs = self.next[answer] + seq, self.next[not answer] + ack
        if not flags & frames.ACK:
            theirs = 0
        options = bytes([2, 4, 5, 180, 1, 3, 3, 5]) if flags & frames.SYN else b""

        def make(src, dst, sport, dport):
            return frames.tcp(src, dst, sport, dport, mine, theirs, flags, bytes(length), options)
        out = self.say(answer, socket.IPPROTO_TCP, make)
        if not seq and not ack:
            self.next[answer] = (mine + length + bool(flags & frames.SYN)
                                 + bool(flags & frames.FIN)) % 2**32
        return out

    def go_on(self):
        if self.step == len(self.LIFE):
            if not self.wire.drops and self.random.random() < 0.6:
                return self.go_astray()
            # The same ends begin again, or the last acknowledgement is repeated.
            self.step = len(self.LIFE) - 1 if self.wire.drops else 0
        answer, flags, length = self.LIFE[self.step]
        self.step += 1
        return self.segment(answer, flags, length)

    def go_astray(self):
        """A segment that need not belong to the connection.

        What bpfw drops conntrack does not see. Where rules drop, that leaves out what would have
        changed it all the same: a SYN that ends a closed connection, the first segments of a side.
        """
        if self.wire.drops and (self.step < 3 or self.side == "far"):
            return self.go_on()
        flags = self.random.choice([
            frames.SYN | frames.ACK if self.wire.drops else frames.SYN,
            frames.SYN | frames.ACK, frames.ACK, frames.RST, frames.RST | frames.ACK,
            frames.FIN, frames.FIN | frames.ACK, 0, frames.SYN | frames.FIN,
            frames.ACK | frames.PSH, 0x3f])
        away = [0, 1, -1, 1000, -1000, 70000, -70000, 2**30, 2**31 - 7]
        answer, seq, ack = self.random.random() < 0.5, *self.random.choices(away, k=2)
        remembered = list(self.next)
        out = self.segment(answer, flags, self.random.choice([0, 0, 20]), seq, ack)
        self.next = remembered
        return out


class Udp(Dialogue):
    def go_on(self):
        answer = self.random.random() < 0.4
        length = self.random.choice([None, None, None, 4, 2000])

        def make(src, dst, sport, dport):
            datagram = frames.udp(src, dst, sport, dport, b"hallo")
            if length:
                datagram = datagram[:4] + struct.pack("!HH", length, 0) + datagram[8:]
            return datagram
        return self.say(answer, socket.IPPROTO_UDP, make)

    go_astray = go_on


class Echo(Dialogue):
    """Questions and answers, each with an identifier where others have ports."""

    def go_on(self, question=True):
        answer = self.random.random() < 0.5
        kind = (ECHO_REPLY if answer == question else ECHO)[self.version]
        kind = kind if self.random.random() < 0.9 else self.random.choice([15, 17, 42, 139, 200])

        def make(src, dst, _sport, _dport):
            rest = struct.pack("!HH", self.identifier(answer), 1) + b"hallo"
            return icmp(self.version, src, dst, kind, 0, rest)
        return self.say(answer, ICMP[self.version], make)

    def identifier(self, answer):
        if not answer or not self.last:
            return self.sport
        return struct.unpack_from("!H", self.last, (20 if self.version == 4 else 40) + 4)[0]

    def go_astray(self):
        return self.go_on(False)


class Plain(Dialogue):
    """A protocol that conntrack knows the addresses of only."""

    def go_on(self):
        protocol = self.random.choice([socket.IPPROTO_GRE, socket.IPPROTO_ESP])
        return self.say(self.random.random() < 0.4, protocol, lambda *_: bytes(40))

    go_astray = go_on


def talk(wire, number, nat):
    """What came out of all steps of a generated afternoon."""
    generator = random.Random(f"{SEED} {number} {nat} {wire.version}")
    version, seen, open_ones = wire.version, [], []
    inside = [VIRTUAL[version]] if nat == "dnat" else [FAR[version][0], FAR[version][0],
                                                       LAN0[version]]
    for _ in range(STEPS):
        if len(open_ones) < 4 or generator.random() < 0.03:
            kind = generator.choice([Tcp, Tcp, Tcp, Udp, Udp, Echo, Echo, Plain])
            # What is behind a masquerade is not to be reached from outside.
            side = "near" if nat != "plain" or generator.random() < 0.7 else "far"
            there = generator.choice(inside if side == "near" else [NEAR[version][0],
                                                                    WAN0[version]])
            open_ones.append(kind(wire, generator, side, there, generator.choice([22, 80, 443])))
            open_ones = open_ones[-6:]
        dialogue = generator.choice(open_ones)
        chance = generator.random()
        if chance < 0.12:
            out = dialogue.error(generator.random() < 0.5)
        elif chance < 0.35:
            out = dialogue.go_astray()
        else:
            out = dialogue.go_on()
        seen.append((type(dialogue).__name__, dialogue.there, out))
    return seen


def essence(packet, nat):
    """Without the ID that the router gives its own packets, and what depends on it; and without
    ports (and what depends on them) that NAT may choose as it likes."""
    header = 20 if packet[0] >> 4 == 4 else 40
    if header == 20:
        packet = packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet if nat == "plain" else (packet[:header], len(packet))


def with_rules(router, dialogues, load, counters, unload):
    name, number, version, nat = dialogues
    namespace = router.namespace
    namespace.run("nft", "-f", "-", stdin=f"flush ruleset\n{TRACK}{NAT[nat]}")
    load()
    namespace.run("conntrack", "-F", check=False)
    wire = Wire(router, version, nat, name == "strict")
    try:
        seen = talk(wire, number, nat)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{counters()}") from error
    counted = counters()
    unload()
    return seen, counted


def first_step(ours, theirs, nat):
    """The first step after which something else came out."""
    for number, (mine, other) in enumerate(zip(ours, theirs)):
        for side in ("near", "far"):
            if [essence(p, nat) for p in mine[2][side]] != [essence(p, nat)
                                                            for p in other[2][side]]:
                return (f"step {number}, {mine[0]} to {mine[1]}: at the {side} side\n"
                        f"bpfw:     {[p.hex() for p in mine[2][side]]}\n"
                        f"iptables: {[p.hex() for p in other[2][side]]}")
    return None


def met(counters, rule):
    """Packets that a rule has counted."""
    return sum(int(line[1:line.index(":")]) for line in counters if line.endswith(f"] {rule}"))


def compare(router, *dialogues):
    name, _, version, nat = dialogues
    text = RULESETS[name](version, nat)
    iptables = iptables_variant(router.namespace, version)
    run = router.namespace.run

    def clean():
        run(f"{iptables}-restore", stdin=NO_RULES)
        run("nft", "flush", "ruleset", check=False)
    theirs, wanted = with_rules(
        router, dialogues, lambda: run(f"{iptables}-restore", stdin=text),
        lambda: run(f"{iptables}-save", "-c", "-t", "filter").stdout, clean)
    ours, counted = with_rules(
        router, dialogues, lambda: router.load(text, version),
        lambda: router.bpfw("show", f"-{version}", "--counters").stdout,
        lambda: router.bpfw("unload"))
    counted, wanted = without_noise(counted, version), without_noise(wanted, version)
    differs = first_step(ours, theirs, nat)
    expect(not differs, f"{name}, {nat}: {differs}\n{first_differences(counted, wanted)}")
    expect(counted == wanted, f"{name}, {nat}: counters differ\n"
                              f"{first_differences(counted, wanted, 20)}")
    for match in MATCHES[:4] if name == "counting" else ():
        expect(any(met(counted, f"-A {chain} {match}") for chain in CHAINS),
               f"{name}, {nat}: no packet was met by {match}")


def needs_kfuncs(router):
    done = router.bpfw("load", "-", "--iface", "lan0", stdin=strict(4), check=False)
    if done.returncode and "Linux 6.0" in done.stderr:
        raise Skip("this kernel cannot tell states: needs Linux 6.0 with BTF")
    router.bpfw("unload", check=False)


@test(*((hook, version, nat) for hook in HOOKS for version in (4, 6) for nat in NAT))
def tells_states_as_iptables(context, hook, version, nat):
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.ip(f"route add {VIRTUAL[version]} via {FAR[version][0]}")
    for number, name in enumerate(RULESETS):
        compare(router, name, number, version, nat)


def tracked(context, hook, version=4):
    """A router whose conntrack is at work, and what is on its wires."""
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.run("nft", "-f", "-", stdin=TRACK)
    return router, Wire(router, version, "plain", True)


BY_STATE = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport {marker} -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport 7 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
"""

BY_PORT = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -m udp --dport {marker} -j ACCEPT
-A FORWARD -p udp -m multiport --ports 7 -j ACCEPT
COMMIT
"""


def by_state():
    return BY_STATE.format(marker=MARKER)


def datagram(wire, side, sport, dport, payload=b"hallo"):
    ends = NEAR[wire.version][0], FAR[wire.version][0]
    src, dst = ends if side == "near" else ends[::-1]
    return wire.frame(side, src, dst, socket.IPPROTO_UDP,
                      frames.udp(src, dst, sport, dport, payload))


@test(*HOOKS)
def no_packet_between_two_rulesets(context, hook):
    """Rules that ask about states and rules that do not, in turn: what both accept arrives, what
    both drop does not."""
    router, wire = tracked(context, hook)
    texts = by_state(), BY_PORT.format(marker=MARKER), by_state()
    router.load(texts[0])
    wire.send("near", datagram(wire, "near", 5000, 7))
    wire.send("far", datagram(wire, "far", 7, 5000))
    sent, swaps, deadline = 0, 0, time.monotonic() + 4
    while time.monotonic() < deadline and swaps < SWAPS:
        swap = threading.Thread(target=router.load, args=(texts[swaps % 3],))
        swaps += 1
        swap.start()
        while swap.is_alive():
            wire.ports["far"].send(datagram(wire, "far", 7, 5000))
            wire.ports["far"].send(datagram(wire, "far", 9, 5000))
            sent += 1
            time.sleep(0.001)  # the loads want their share of the machine
        swap.join()
    got = [packet[20:22] for packet in wire.send("near", None)["near"]]
    context.note(f"{swaps} swaps, {sent} packets of each kind, {len(got)} arrived")
    expect(sent >= swaps, "no packets were sent meanwhile")
    equal(got.count(bytes([0, 7])), sent, "packets that both rulesets accept")
    equal(len(got), sent, "packets that arrived")


@test(*((hook, version) for hook in HOOKS for version in (4, 6)))
def fragments_have_the_state_of_the_first(context, hook, version):
    router, wire = tracked(context, hook, version)
    text = by_state()
    router.load(text, version)

    def parts(ident, sport, dport):
        """The fragments of a datagram from the near side."""
        whole = datagram(wire, "near", sport, dport, bytes(2000))[14:]
        header, data = (whole[:20], whole[20:]) if version == 4 else (whole[:40], whole[40:])
        made = []
        for offset in (0, 1024):
            piece, more = data[offset:offset + 1024], offset == 0
            if version == 4:
                made.append(frames.ipv4(*addresses(), socket.IPPROTO_UDP, piece, ident=ident,
                                        frag=offset // 8 | (0x2000 if more else 0)))
            else:
                extension = struct.pack("!BBHL", socket.IPPROTO_UDP, 0, offset | more, ident)
                made.append(frames.ipv6(*addresses(), socket.IPPROTO_FRAGMENT, extension + piece))
        expect(len(header) in (20, 40), "the header of a datagram")
        return [frames.ethernet(*wire.macs["near"], packet) for packet in made]

    def addresses():
        return NEAR[version][0], FAR[version][0]

    def arrived(*pieces):
        for piece in pieces:
            wire.ports["near"].send(piece)
        return sum(len(packet) for packet in wire.send("near", None)["far"])

    whole = 2008 + 2 * (20 if version == 4 else 48)
    equal(arrived(*parts(1, 5000, 9)), 0, "bytes of a datagram that no rule accepts")
    equal(arrived(parts(2, 5000, 7)[1]), 0, "bytes of a fragment that came alone")
    # The first of a connection's datagrams is accepted by its port, which the rest has not.
    equal(arrived(*parts(3, 5000, 7)), 0, "bytes of a new connection's fragments")
    wire.send("near", datagram(wire, "near", 5000, 7))
    wire.send("far", datagram(wire, "far", 7, 5000))
    equal(arrived(*parts(4, 5000, 7)), whole, "bytes of an established connection's fragments")
    equal(arrived(*parts(5, 5000, 9)), 0, "bytes of another datagram that no rule accepts")


@test(*((hook, version) for hook in HOOKS for version in (4, 6)))
def connections_of_its_own(context, hook, version):
    """What the router asks for is answered; nobody else gets in."""
    router, wire = tracked(context, hook, version)
    router.load(by_state(), version)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with router.namespace.socket(family, socket.SOCK_DGRAM) as asking:
        asking.bind((WAN0[version], 0))
        asking.settimeout(5)
        port = asking.getsockname()[1]
        answer = wire.frame("far", FAR[version][0], WAN0[version], socket.IPPROTO_UDP, frames.udp(
            FAR[version][0], WAN0[version], 53, port, b"answer"))
        wire.send("far", answer)
        expect(not select.select([asking], [], [], 0)[0], "an answer got in before the question")
        asking.sendto(b"question", (FAR[version][0], 53))
        wire.send("far", None)
        wire.send("far", answer)
        equal(asking.recv(100), b"answer", "what the router was answered")
    kinds = ICMP[version], ECHO[version]
    with router.namespace.socket(family, socket.SOCK_RAW, kinds[0]) as asking:
        asking.bind((WAN0[version], 0))
        question = icmp(version, WAN0[version], FAR[version][0], kinds[1], 0,
                        struct.pack("!HH", 77, 1))

        def answered():
            data = icmp(version, FAR[version][0], WAN0[version], ECHO_REPLY[version], 0,
                        struct.pack("!HH", 77, 1))
            wire.send("far", wire.frame("far", FAR[version][0], WAN0[version], kinds[0], data))
            return met(router.bpfw("show", f"-{version}", "--counters").stdout.splitlines(),
                       "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT")
        equal(answered(), 1, "accepted packets before the echo request")
        asking.sendto(question, (FAR[version][0], 0))
        wire.send("far", None)
        equal(answered(), 2, "accepted packets after it")
        router.namespace.run("conntrack", "-D", "-f", f"ipv{version}", "-p",
                             "icmp" if version == 4 else "icmpv6", check=False)
        equal(answered(), 2, "accepted packets after conntrack has forgotten it")


@test("tc")
def refuses_by_name(context, hook):
    router, _ = tracked(context, hook)
    router.load(by_state())
    rules = router.bpfw("show").stdout
    for option, said in (("--ctexpire 1:20", "--ctexpire"),
                         ("--ctorigsrc 10.0.0.0/8", "--ctorigsrc"),
                         ("--ctstatus ASSURED", "ASSURED"), ("--ctproto 6", "--ctproto")):
        text = rules.replace("--ctstate ESTABLISHED", option)
        done = router.bpfw("load", "-", stdin=text, check=False)
        equal(done.returncode, 1, f"exit status with {option}")
        expect(":5:" in done.stderr and said in done.stderr, f"not by name: {done.stderr}")
    if os.path.exists(KERNEL_BTF):
        done = run([*without_btf(router.namespace), binary(), "filter", "load", "-"], stdin=rules,
                   check=False, env=environment())
        equal(done.returncode, 1, "exit status without the kernel's BTF")
        expect("a kernel with BTF" in done.stderr, f"not by name: {done.stderr}")
    equal(router.bpfw("show").stdout, rules, "rules in force afterwards")


@test("tc")
def says_that_nothing_is_tracked(context, hook):
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.run("conntrack", "-F", check=False)
    said = router.load(by_state()).stderr
    expect("no packet is ever ESTABLISHED" in said, f"no warning: {said}")
    router.namespace.run("nft", "-f", "-", stdin=TRACK)
    wire = Wire(router, 4, "plain", True)
    wire.send("near", None)
    expect("conntrack" not in router.load(by_state()).stderr, "a warning although there is one")


if __name__ == "__main__":
    main(jobs=2)
