#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter: iptables is the oracle.

Generated rulesets are given to iptables and to bpfw in turn, and each gets the same frames, from
both sides of a router. What comes out has to be the same, and so have the counters of all rules and
policies: the text of iptables-save -c is that of bpfw filter show --counters.

BPFW_TEST_SEED chooses rulesets and frames, BPFW_TEST_RULESETS and BPFW_TEST_PACKETS how many.
"""

import collections
import functools
import json
import os
import random
import re
import socket
import threading
import time

from netlab import Skip, equal, expect, main, test, wait_until
from netlab import frames
from netlab import lab as topology
from netlab.bpfw import binary, environment
from netlab.tun import Device

SEED = int(os.environ.get("BPFW_TEST_SEED", "1"))
RULESETS = int(os.environ.get("BPFW_TEST_RULESETS", "20"))
# Of each ruleset, for each family at each hook; fewer on machines that are told to be slow.
PACKETS = int(os.environ.get("BPFW_TEST_PACKETS", "1000" if topology.SLOW > 1 else "2500"))
BATCHES = 4  # tests that share the rulesets, so that they can run at the same time
SWAPS = 40
AT_ONCE = 100  # frames on their way; the queues of a busy machine do not hold 1,000
FILTER_HOOKS = ("tc", "xdp")
IPTABLES = {4: "iptables", 6: "ip6tables"}

NEAR = {4: ["10.0.1.2", "10.0.1.66", "10.5.0.9"], 6: ["fd00:1::2", "fd00:1::66", "fd00:5::9"]}
FAR = {4: ["10.0.2.2", "10.0.9.9"], 6: ["fd00:2::2", "fd00:9::9"]}
LOCAL = {4: ["10.0.1.1", "10.0.2.1", "10.0.1.255"], 6: ["fd00:1::1", "fd00:2::1"]}
ICMPV6_PACKET_TOO_BIG = 2  # never limited, and no limit for anything else
OTHER_MAC = "02:00:00:00:09:09"
MASKS = {4: ["32", "31", "24", "16", "8", "255.0.255.255"], 6: ["128", "127", "64", "48", "16"]}

# Headers, as far as they are the same whatever has come before; 8, 10 and 11 are changed on the way.
U32 = {4: ["6&0xff=6,17", "8>>24=1:63", "5&0xff=0x3f:0x40", "7>>8&0xff=0x28",
           "0>>22&0x3c@0>>16=1:11",
           "0>>22&0x3c@0&0xffff=5 && 6&0xff=17", "2>>16=40:90 && 16=0:0xffffffff && 6&0xff=6",
           "200=0", "0>>22&0x3c@12>>26&0x3c@0=0", "12&0xff=2,66 && 19&0xff=1:9", "0&0xff@0=0", "65535=1", "0=0:0xffffffff"],
       6: ["4&0xff=1:63", "7>>24=1:63", "5&0xffff=0:0x4000", "6>>24=6,17", "4=0:0x00201140",
           "40>>16=1:11", "40&0xffff=5 && 6>>24=17", "4>>16=20:60 && 3&0xff=0", "200=0",
           "36=0:0xffffffff", "4>>16@40=0", "0=0x60000000:0x6fffffff && 8>>16=0xfd00"]}

# IPv4's checksum: that of the router's own packets goes by their ID, which is any.
U32_CHECKSUM = ["8&0xffff=0:0x7fff", "10>>16=0:0x5fff", "11=0:0x60000000", "9>>16&0xff=0:0x80"]

# Hosts whose answers would come through the router as well, or not (their ICMP has a limit).
SILENT = """table inet silent {
	chain input { type filter hook input priority 0; policy drop; }
}
"""

# Neighbour discovery (with its redirects, of which there is one a second) and multicast listeners
# speak whenever they like.
NOISE = {4: [], 6: ["-A INPUT -s fe80::/10 -j ACCEPT", "-A INPUT -s ::/128 -j ACCEPT",
                    "-A OUTPUT -s fe80::/10 -j ACCEPT", "-A OUTPUT -d ff00::/8 -j ACCEPT",
                    "-A OUTPUT -d fe80::/10 -j ACCEPT"]}


def times():
    """Around now, and beside it, by hours: nobody is to see the hands move."""
    now = time.time()
    if (now + 300) % 86400 < 600:
        raise Skip("it is about midnight (UTC)")

    def clock(hours):
        return time.strftime("%H:%M", time.gmtime(now + hours * 3600))

    def date(days):
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now + days * 86400))

    # The stop has to be before the start, and midnight lies between the two before 23:00.
    start, stop = (2, 1) if clock(2) > clock(1) else (1, -1)
    today, tomorrow = (time.strftime("%a", time.gmtime(now + days * 86400)) for days in (0, 1))
    day, other = time.gmtime(now).tm_mday, time.gmtime(now + 86400).tm_mday
    return [["--timestart", clock(-1), "--timestop", clock(1)],
            ["--timestart", clock(2), "--timestop", clock(3)],
            ["--timestart", clock(1), "--timestop", clock(-1)],
            ["--timestart", clock(start), "--timestop", clock(stop), "--contiguous"],
            ["--timestart", clock(start), "--timestop", clock(stop), "--contiguous", "--weekdays",
             today],
            ["--datestart", date(-1)], ["--datestart", date(1)], ["--datestop", date(-1)],
            ["--datestart", date(-1), "--datestop", date(1), "--weekdays", today],
            ["--weekdays", tomorrow], ["--weekdays", f"{today},{tomorrow}", "--kerneltz"],
            ["--monthdays", str(day)], ["--monthdays", str(other)]]


class Ruleset:
    """Text that asks about what the frames below differ in."""

    def __init__(self, number, version, marks):
        self.random = random.Random(f"{SEED} {number} {version}")
        self.marks = marks
        self.version = version
        # Rules that ask for much at once are seldom met: half of the rulesets ask for little.
        self.conditions = 1 if number // 2 % 2 else 9
        self.chains = ["INPUT", "FORWARD", "OUTPUT"]
        self.chains += [f"chain{n:02}" for n in range(self.random.randint(0, 6))]

    def chance(self, share=0.5):
        return self.random.random() < share

    def negated(self, words, share=0.25):
        return (["!"] if self.chance(share) else []) + words

    def address(self, option):
        pool = NEAR[self.version] + FAR[self.version] + LOCAL[self.version]
        return self.negated([option, f"{self.random.choice(pool)}/"
                                     f"{self.random.choice(MASKS[self.version])}"])

    def devices(self, chain):
        words = []
        names = ["lan0", "wan0", "lan+", "w+", "eth7"]
        if self.chance(0.2) and chain not in ("OUTPUT",):
            words += self.negated(["-i", self.random.choice(names)])
        if self.chance(0.2) and chain not in ("INPUT",):
            words += self.negated(["-o", self.random.choice(names)])
        return words if chain in ("FORWARD",) or len(words) <= 3 else []

    def ports(self, *options):
        low = self.random.randint(0, 12)
        high = low + self.random.randint(0, 8)
        text = str(low) if low == high else f"{low}:{high}"
        # iptables-nft makes another range of a negated one that begins with 0.
        return self.negated([self.random.choice(options), text], 0.25 if low else 0)

    def transport(self):
        kind = self.random.choice(["tcp", "tcp", "udp", "multiport", "icmp", "any", "any", "other"])
        if kind == "tcp":
            words = ["-p", "tcp", "-m", "tcp"]
            if self.chance(0.7):
                words += self.ports("--dport", "--sport")
            if self.chance(0.4):
                words += self.negated(["--tcp-flags", "FIN,SYN,RST,ACK",
                                       self.random.choice(["SYN", "ACK", "SYN,ACK", "NONE"])])
            return words + self.more_of_tcp()
        if kind == "udp":
            return ["-p", "udp", "-m", "udp"] + self.ports("--dport", "--sport")
        if kind == "multiport":
            ports = sorted(self.random.sample(range(1, 20), 3))
            if self.chance(0.3):
                ports = [*ports, "20:21", "30:40", "50:60", "70", "0:1"][:self.random.randint(1, 8)]
            protocol = self.random.choice(["tcp", "udp", "udplite", "sctp", "dccp"])
            return ["-p", protocol, "-m", "multiport"] + self.negated(
                [self.random.choice(["--dports", "--sports", "--ports", "--ports"]),
                 ",".join(map(str, ports))])
        if kind == "icmp":
            name, option = (("icmp", "--icmp-type") if self.version == 4
                            else ("ipv6-icmp", "--icmpv6-type"))
            types = ["8", "0", "3/3", "11"] if self.version == 4 else ["128", "129", "1/4", "3"]
            module = "icmp" if self.version == 4 else "icmp6"
            return ["-p", name, "-m", module] + self.negated([option, self.random.choice(types)])
        if kind == "other":
            return self.negated(["-p", self.random.choice(["tcp", "udp", "esp", "17"])])
        return []

    def range_of_addresses(self):
        """In front of what looks at TCP options, behind which it is not supported."""
        if not self.chance(0.2):
            return []
        if self.chance():
            return self.types_of_addresses()
        first, last = sorted(self.random.sample(range(1, 250), 2))
        base = "10.0.1." if self.version == 4 else "fd00:1::"
        return ["-m", "iprange"] + self.negated(["--src-range", f"{base}{first}-{base}{last}"])

    def types_of_addresses(self):
        types = ["LOCAL", "UNICAST", "MULTICAST", "UNSPEC", "LOCAL,UNICAST"]
        if self.version == 4:
            types += ["BROADCAST", "LOCAL,BROADCAST", "UNICAST,ANYCAST", "BLACKHOLE,MULTICAST"]
        words = []
        if self.chance(0.8):
            words += self.negated(["--dst-type", self.random.choice(types)])
        if not words or self.chance(0.3):
            words += self.negated(["--src-type", self.random.choice(types)])
        return ["-m", "addrtype", *words]

    def more_of_tcp(self):
        words = []
        if self.chance(0.15):
            words += self.negated(["--tcp-option", self.random.choice(["2", "3", "4", "8", "254"])])
        if self.chance(0.15):
            low = self.random.choice([535, 536, 1400, 1460])
            words += ["-m", "tcpmss"] + self.negated(["--mss", f"{low}:{low + 60}"])
        if self.chance(0.1):
            words += ["-m", "ecn"] + self.negated(["--ecn-tcp-ece"]) + self.negated(
                self.random.choice([[], ["--ecn-tcp-cwr"]]), 0)
        return words

    def of_the_link(self, chain):
        words = []
        if self.chance(0.1):
            words += ["-m", "pkttype"] + self.negated(
                ["--pkt-type", self.random.choice(["unicast", "broadcast", "multicast"])])
        # There is none in OUTPUT, and a chain of a user's own may be met from there.
        if chain in ("INPUT", "FORWARD") and self.chance(0.1):
            words += ["-m", "mac"] + self.negated(
                ["--mac-source", self.random.choice([topology.CLIENT_MAC, OTHER_MAC])])
        return words

    def more(self, chain):
        words = []
        if self.chance(0.15):
            low = self.random.randint(20, 120)
            words += ["-m", "length"] + self.negated(["--length", f"{low}:{low + 40}"])
        if self.chance(0.1):
            module, prefix = ("ttl", "--ttl") if self.version == 4 else ("hl", "--hl")
            words += ["-m", module] + [f"{prefix}-{self.random.choice(['eq', 'lt', 'gt'])}",
                                       self.random.choice(["1", "2", "64"])]
        if self.chance(0.1):
            words += ["-m", "tos"] + self.negated(["--tos", "0x10/0x3f"])
        if self.chance(0.1):
            words += ["-m", "dscp"] + self.negated(["--dscp", "0x2e"])
        if self.chance(0.1):
            words += ["-m", "ecn"] + self.negated(["--ecn-ip-ect", str(self.random.randint(0, 3))])
        if self.chance(0.1):
            words += ["-m", "mark"] + self.negated(
                ["--mark", self.random.choice(["0x0", "0x1", "0x2/0x2", "0xff"])])
        if self.chance(0.1):
            tests = U32[self.version]
            if self.version == 4 and chain in ("INPUT", "FORWARD"):
                tests = tests + U32_CHECKSUM
            words += ["-m", "u32"] + self.negated(["--u32", f'"{self.random.choice(tests)}"'])
        if self.chance(0.1):
            words += ["-m", "time", *self.random.choice(times())]
        if self.version == 4 and self.chance(0.07):
            words += self.negated(["-f"])
        if self.version == 6 and self.chance(0.15):
            words += self.routing_header()
        return words

    def routing_header(self):
        words = ["-m", "rt"]
        if self.chance(0.7):
            words += self.negated(["--rt-type", self.random.choice(["0", "2", "4"])])
        if self.chance():
            words += self.negated(["--rt-segsleft", self.random.choice(["0", "1", "1:3", ":2"])])
        return words

    def target(self, place):
        choice = self.random.random()
        if choice < 0.25:
            return ["-j", self.random.choice(["ACCEPT", "DROP"])]
        if choice < 0.35:
            return ["-j", "RETURN"]
        if choice < 0.45 and self.marks:
            return ["-j", "MARK", "--set-xmark", self.random.choice(["0x1/0xf", "0x2/0x2", "0xff"])]
        later = self.chains[max(place + 1, 3):]
        if later and choice < 0.7:
            return [self.random.choice(["-j", "-j", "-g"]), self.random.choice(later)]
        return ["-j", self.random.choice(["LOG", "NFLOG"])] if self.chance(0.3) else []

    def rule(self, place):
        chain = self.chains[place]
        parts = [self.address(option) for option in ("-s", "-d") if self.chance(0.4)]
        # A chain of a user's own may be met from anywhere: its rules name no devices.
        if place < 3:
            parts.append(self.devices(chain))
        parts += [self.range_of_addresses(), self.transport(), self.of_the_link(chain),
                  self.more(chain)]
        parts = [part for part in parts if part]
        kept = sorted(self.random.sample(range(len(parts)), min(len(parts), self.conditions)))
        return " ".join(["-A", chain, *(word for part in kept for word in parts[part]),
                         *self.target(place)])

    def text(self):
        lines = ["*filter"]
        lines += [f":{name} {self.random.choice(['ACCEPT', 'DROP'])} [0:0]"
                  for name in self.chains[:3]]
        lines += [f":{name} - [0:0]" for name in self.chains[3:]]
        lines += NOISE[self.version]
        for place in range(len(self.chains)):
            lines += [self.rule(place) for _ in range(self.random.randint(1, 12))]
        return "\n".join([*lines, "COMMIT", ""])


class Frames:
    """Packets for every chain."""

    def __init__(self, number, version, fragments):
        self.random = random.Random(f"{SEED} frames {number} {version}")
        self.version = version
        self.fragments = fragments

    def payload(self):
        return bytes(self.random.randint(0, 60))

    def transport(self, src, dst):
        kind = self.random.choice(["tcp", "tcp", "tcp", "udp", "udp", "icmp", "esp", "other"])
        sport, dport = self.random.randint(1, 22), self.random.randint(1, 22)
        if kind == "tcp":
            flags = self.random.choice([frames.SYN, frames.ACK, frames.SYN | frames.ACK,
                                        frames.RST, frames.FIN | frames.ACK, 0, 0xc2, 0x50])
            return socket.IPPROTO_TCP, self.segment(
                frames.tcp(src, dst, sport, dport, 1, 1, flags, self.payload(), self.options()))
        if kind == "udp":
            return socket.IPPROTO_UDP, frames.udp(src, dst, sport, dport, self.payload())
        if kind == "icmp":
            return self.echo(src, dst)
        if kind == "other":
            ports = sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
            return self.random.choice([132, 136, 33]), ports + bytes(20)
        return socket.IPPROTO_ESP, bytes(40)

    def options(self):
        """Of TCP, not all of them as they should be."""
        known = [b"\x01", b"\x02\x04\x05\xb4", b"\x02\x04\x02\x18", b"\x03\x03\x07", b"\x04\x02",
                 b"\x08\x0a12345678", b"\xfe\x04ab", b"\x00", b"\x02\x03\x05", b"\x05\xff",
                 b"\x06\x00", b"\x02"]
        taken = b"".join(self.random.choices(known, k=self.random.choice([0, 0, 1, 2, 5])))
        return (taken + b"\1" * (-len(taken) % 4))[:40]

    def segment(self, segment):
        """Now and then its header claims to be longer than the packet, or shorter than can be."""
        if self.random.random() > 0.05:
            return segment
        return segment[:12] + self.random.choice([b"\xf0", b"\x40", b"\x00"]) + segment[13:]

    def echo(self, src, dst):
        protocol = socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6
        kind = self.random.choice([8, 0] if self.version == 4 else [128, 129])
        message = bytes([kind, 0, 0, 0, 0, 1, 0, 1]) + self.payload()
        covered = message if self.version == 4 else frames.pseudo_header(
            src, dst, protocol, len(message)) + message
        check = frames.checksum(covered)
        return protocol, message[:2] + check.to_bytes(2, "big") + message[4:]

    def routing_header(self, protocol, data):
        units = self.random.choice([0, 2])
        kind = self.random.choice([0, 0, 2, 3, 4])
        left = self.random.choice([0, 0, 1, 3])
        if protocol == socket.IPPROTO_ROUTING and (units, kind, left) == MOBILE:
            left = 0
        return (socket.IPPROTO_ROUTING,
                bytes([protocol, units, kind, left]) + bytes(4 + 8 * units) + data)

    def packet(self, src, dst, forwarded):
        protocol, data = self.transport(src, dst)
        # What would be forwarded if its time were not over, bpfw asks rules about.
        ttl = self.random.choice([2 if forwarded else 1, 2, 64, 64, 64])
        tos = self.random.choice([0, 0, 0x10, 0xb8, 1, 2, 3])
        if self.version == 6:
            for _ in range(self.random.choice([0, 0, 0, 0, 0, 1, 1, 2])):
                protocol, data = self.routing_header(protocol, data)
            return frames.ipv6(src, dst, protocol, data, ttl, tos)
        # What is for the router itself is put together before INPUT; here fragments are judged.
        frag = self.random.choice([0x4000, 0x4000, 0x4000, 0x2000, 0x0009])
        if not forwarded or not self.fragments:
            frag = 0x4000
        options = self.random.choice([b"", b"", b"", b"\x01\x01\x01\x01"])
        return frames.ipv4(src, dst, protocol, data, ttl, tos, frag=frag, options=options)

    def __iter__(self):
        """(comes from the near side, frame)"""
        for _ in range(PACKETS):
            near = self.random.random() < 0.7
            forwarded = self.random.random() < 0.6
            ends = [NEAR[self.version], FAR[self.version]]
            src = self.random.choice(ends[0] if near else ends[1])
            there = self.random.choice((ends[1] if near else ends[0][:2]) if forwarded
                                       else LOCAL[self.version])
            source = self.random.choice([topology.CLIENT_MAC if near else topology.SERVER_MAC,
                                         OTHER_MAC])
            to = topology.LAN0_MAC if near else topology.WAN0_MAC
            if not forwarded:
                to = self.random.choice([to, to, to, "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"])
            yield near, frames.ethernet(to, source, self.packet(src, there, forwarded))


# Units, type and segments left of Mobile IPv6's routing header. Behind it a kernel that has that looks
# at the next one, and others answer; bpfw takes no chances.
MOBILE = 2, 2, 1


class Router:
    """The lab's router without rules, and neighbours that need not be asked for."""

    def __init__(self, context, hook):
        self.lab = lab = context.lab(hook, "none")
        self.hook = hook
        self.near_only = False  # frames from the far side are left out
        self.namespace = lab.router
        self.namespace.run("nft", "flush", "ruleset")
        # No kind of answer is limited: neither by host, nor by the limit for all of them.
        self.namespace.sysctl("ipv4/icmp_ratemask", 0)
        self.namespace.sysctl("ipv6/icmp/ratemask", ICMPV6_PACKET_TOO_BIG)
        for version in (4, 6):
            for address, mac, device in ((NEAR[version][0], topology.CLIENT_MAC, "lan0"),
                                         (NEAR[version][1], topology.CLIENT_MAC, "lan0"),
                                         (FAR[version][0], topology.SERVER_MAC, "wan0")):
                self.namespace.ip(f"neigh replace {address} lladdr {mac} dev {device} "
                                  "nud permanent")
            self.namespace.ip(f"route replace {NEAR[version][2]} via {NEAR[version][0]}")
        for host in (lab.client, lab.server):
            host.run("nft", "-f", "-", stdin=SILENT)
            # Nor do they complain of fragments that are missing, half a minute later.
            host.sysctl("ipv4/ipfrag_time", 3600)
            host.sysctl("ipv6/ip6frag_time", 3600)
        self.near = context.keep(frames.Port(lab.client, "eth0"))
        self.far = context.keep(frames.Port(lab.server, "eth0"))
        context.keep(self)

    @functools.cached_property
    def fragments_pass(self):
        """On Linux 5.10 conntrack, once in use, goes on to put them together before FORWARD.

        Asked for first when no rules are in force."""
        packet = frames.ipv4(NEAR[4][0], FAR[4][0], socket.IPPROTO_UDP, bytes(8), frag=0x2000)
        self.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
        return bool(self.settle()[1])

    def may_fragment(self, iptables):
        """What iptables-nft makes of ports looks into fragments that have none."""
        return "legacy" in iptables and self.fragments_pass

    def close(self):
        """What is pinned would outlive the namespace."""
        self.bpfw("unload", check=False)

    def bpfw(self, *words, stdin=None, check=True):
        return self.namespace.run("nsenter", f"--net={self.namespace.path}", binary(), "filter",
                                  *words, stdin=stdin, check=check, env=environment())

    def load(self, text, version=4):
        return self.bpfw("load", "-", f"-{version}", "--iface", "lan0", "--iface", "wan0", "--hook",
                         self.hook, stdin=text)

    def settle(self):
        """What came out on both sides so far; all that was sent has been judged."""
        return [self.near.settle(topology.LAN0_MAC, LOCAL[4][0], topology.CLIENT_MAC, NEAR[4][0]),
                self.far.settle(topology.WAN0_MAC, LOCAL[4][1], topology.SERVER_MAC, FAR[4][0])]

    def pass_frames(self, *which):
        """What came out on both sides, sorted: answers of the router are among it."""
        seen = [[], []]
        for number, (near, frame) in enumerate(Frames(*which)):
            if self.near_only and not near:
                continue
            (self.near if near else self.far).send(frame)
            if number % AT_ONCE == 0:
                for side, captured in zip(seen, self.settle()):
                    side += captured
        for side, captured, port in zip(seen, self.settle(), (self.near, self.far)):
            side += captured + port.drain(0.15)
        # Answers have numbers of their own (IPv4's ID): they are counted, not compared.
        return [sorted(self.essence(captured.data) for captured in side) for side in seen]

    @staticmethod
    def essence(frame):
        return frame[12:18] + frame[20:24] + frame[26:] if frame[12:14] == b"\x08\x00" else frame


def without_noise(text, version):
    """Comments gone, and the counters of what comes at any time."""
    lines = []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if any(line.endswith(noise) for noise in NOISE[version]):
            line = re.sub(r"^\[\d+:\d+\]", "[?:?]", line)
        lines.append(line)
    return lines


def first_differences(ours, theirs, most=6):
    pairs = [(a, b) for a, b in zip(ours, theirs) if a != b]
    return "\n".join(f"bpfw:     {a}\niptables: {b}" for a, b in pairs[:most])


def iptables_variant(namespace, version, number=1):
    """They take turns, where this kernel has both."""
    for variant in ("legacy", "nft") if number % 2 else ("nft", "legacy"):
        probe = namespace.run(f"{IPTABLES[version]}-{variant}-save", "-t", "filter", check=False)
        if not probe.returncode:
            return f"{IPTABLES[version]}-{variant}"
    raise Skip("neither variant of iptables works on this kernel")


NO_RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


def with_both(router, text, number, version):
    """What comes out and the counters afterwards: of iptables, of bpfw."""
    iptables = iptables_variant(router.namespace, version, number)
    which = number, version, router.may_fragment(iptables)
    restored = router.namespace.run(f"{iptables}-restore", stdin=text, check=False)
    expect(not restored.returncode, f"iptables refuses the rules: {restored.stderr}\n{text}")
    theirs = router.pass_frames(*which)
    their_counters = router.namespace.run(f"{iptables}-save", "-c", "-t", "filter").stdout
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    router.namespace.run("nft", "flush", "ruleset", check=False)
    router.load(text, version)
    ours = router.pass_frames(*which)
    our_counters = router.bpfw("show", f"-{version}", "--counters").stdout
    router.bpfw("unload")
    return theirs, their_counters, ours, our_counters


def compare(router, number, version):
    text = Ruleset(number, version, router.hook == "tc").text()
    theirs, their_counters, ours, our_counters = with_both(router, text, number, version)
    seen, wanted = without_noise(our_counters, version), without_noise(their_counters, version)
    expect(seen == wanted, f"ruleset {number}, IPv{version}: counters differ\n"
                           f"{first_differences(seen, wanted)}\n{text}")
    equal([len(side) for side in ours], [len(side) for side in theirs],
          f"ruleset {number}, IPv{version}: frames that came out on each side")
    expect(ours == theirs, f"ruleset {number}, IPv{version}: other frames came out")
    return collections.Counter(
        rules=sum(" -A " in line for line in wanted), frames=sum(map(len, theirs)),
        met=sum(" -A " in line and not line.startswith("[0:0]") for line in wanted))


@test(*((hook, version, batch) for hook in FILTER_HOOKS for version in (4, 6)
        for batch in range(BATCHES)))
def judges_as_iptables(context, hook, version, batch):
    router = Router(context, hook)
    total = collections.Counter()
    for number in range(batch, RULESETS, BATCHES):
        total += compare(router, number, version)
    context.note(f"{total['rules']} rules, of which {total['met']} were met; "
                 f"{total['frames']} frames came out"
                 f"{'' if router.fragments_pass else '; no fragments, the kernel holds them'}")


def counting_rules(version):
    """Rules that keep something from packet to packet, and do nothing else: what they have counted
    does not depend on the order in which packets come from both sides. At an hour each, nothing is
    added to a bucket meanwhile."""
    matches = [f"-m limit --limit 1/hour --limit-burst {burst}" for burst in (1, 3, 20)]
    matches += [f"-m statistic --mode nth{invert} --every {every} --packet {packet}"
                for invert, every, packet in (("", 1, 0), ("", 2, 1), ("", 3, 0), ("", 7, 6),
                                              (" !", 5, 2))]
    matches += ["-m statistic --mode random --probability 0",
                "-m statistic --mode random --probability 1"]
    bits = [8, 24] if version == 4 else [16, 64]
    modes = ["", "--hashlimit-mode srcip", "--hashlimit-mode dstip,dstport",
             "--hashlimit-mode srcip,dstip,srcport,dstport",
             f"--hashlimit-mode srcip --hashlimit-srcmask {bits[0]}",
             f"--hashlimit-mode dstip,srcport --hashlimit-dstmask {bits[1]}"]
    for number, mode in enumerate(modes):
        for above, burst in (("upto", 1 + number), ("above", 3)):
            matches.append(f"-m hashlimit --hashlimit-{above} 1/hour --hashlimit-burst {burst} {mode} "
                           f"--hashlimit-name {above}{number} --hashlimit-htable-expire 900000")
    matches.append("-m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-mode srcip "
                   "--hashlimit-name rate --hashlimit-rate-match --hashlimit-rate-interval 3600")
    lines = [f"-A {chain} -p {protocol} {match}" for match in matches
             for chain, protocol in (("FORWARD", "udp"), ("INPUT", "tcp"))
             if chain == "FORWARD" or "hashlimit" not in match]
    # Two rules, one table
    shared = ("-m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 4 --hashlimit-mode dstip "
              "--hashlimit-name shared --hashlimit-htable-expire 900000")
    lines += [f"-A FORWARD -p udp {shared}", f"-A FORWARD -p udp {shared} -s {NEAR[version][0]}"]
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(), *lines, "COMMIT", ""])


def recent_rules(version):
    """What a rule finds depends on what was there before: all packets come from one side. What one
    rule keeps another one asks for, in tables of whole addresses and of networks."""
    mask = "255.255.0.0" if version == 4 else "ffff:ffff::"
    lines = []
    for name, side in (("plain", ""), ("nets", f" --mask {mask}"), ("ends", " --rdest")):
        table = f"--name {name}{side}"
        checks = ["--rcheck", "! --rcheck", "--rcheck --hitcount 3", "--rcheck --seconds 3600",
                  "--rcheck --seconds 3600 --hitcount 20", "! --rcheck --hitcount 33",
                  "--rcheck --rttl", "--rcheck --seconds 3600 --reap --hitcount 7 --rttl"]
        lines += [f"-p {protocol} -m recent {check} {table}" for check in checks
                  for protocol in ("udp", "tcp")]
        lines += [f"-p udp -m recent --set {table}", f"-p tcp -m recent --update {table}",
                  f"-p tcp -m recent --update --hitcount 5 --rttl {table}",
                  f"-p 132 -m recent ! --set {table}", f"-p 50 -m recent --remove {table}",
                  f"-p 33 -m recent ! --remove {table}",
                  f"-p 136 -m recent ! --update --seconds 3600 --hitcount 9 {table}"]
    # One that keeps 4 stamps only, and one that keeps 64
    for hits in (4, 50):
        lines += [f"-p tcp -m recent --update --hitcount {hits} --name few{hits}",
                  f"-p tcp -m recent --rcheck --hitcount {hits} --name few{hits}"]
    lines += ["-p udp -m recent --set --name few50"]
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(),
                      *(f"-A {chain} {line}" for chain in ("FORWARD", "INPUT") for line in lines),
                      "COMMIT", ""])


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def remembers_addresses_as_iptables(context, hook, version):
    router = Router(context, hook)
    text = recent_rules(version)
    router.near_only = True
    _, wanted, _, seen = with_both(router, text, 0, version)
    seen, wanted = seen.splitlines(), wanted.splitlines()
    seen, wanted = ([line for line in lines if line.startswith("[")] for lines in (seen, wanted))
    expect(seen == wanted, f"counters differ\n{first_differences(seen, wanted, 20)}")
    expect(sum(not line.startswith("[0:") for line in seen) > len(seen) / 2,
           "most rules have counted nothing")


MANY = NO_RULES.replace("COMMIT", """-A FORWARD -p udp -m udp --dport 1 -m recent --set --name many
-A FORWARD -p udp -m udp --dport 2 -m recent --rcheck --name many
-A FORWARD -p udp -m udp --dport 3 -m recent --update --name many
-A FORWARD -p udp -m udp --dport 4 -m recent --remove --name many
-A FORWARD -p udp -m udp --dport 5 -m recent --rcheck --seconds 1 --name many
-A FORWARD -p udp -m udp --dport 6 -m recent --update --seconds 1 --reap --name many
-A FORWARD -p udp -m udp --dport 7 -m recent --update --seconds 3600 --hitcount 2 --name many
COMMIT""")


def more_than_a_table_holds(router, version):
    """Which addresses a table remembers, and for how long: the same story for each side."""
    rng = random.Random(SEED)
    hosts = [f"10.0.1.{n}" if version == 4 else f"fd00:1::{n:x}" for n in range(2, 200)]

    def send(port, which):
        for number, host in enumerate(which):
            data = frames.udp(host, FAR[version][0], 1000, port)
            packet = (frames.ipv4 if version == 4 else frames.ipv6)(host, FAR[version][0],
                                                                   socket.IPPROTO_UDP, data)
            router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
            if number % AT_ONCE == 0:
                router.settle()
        router.settle()

    send(1, hosts[:90])
    send(3, hosts[10:20])  # these are newer than the others now
    send(1, hosts[90:120])
    send(2, hosts)
    send(4, rng.sample(hosts, 60))
    send(1, rng.sample(hosts, 60))
    send(7, hosts)
    send(2, hosts)
    time.sleep(2.5)  # older than the second that the rules ask about
    send(5, hosts)
    send(6, hosts)
    send(2, hosts)
    send(1, hosts[:3])
    send(6, hosts[100:])  # each takes the oldest one out
    send(2, hosts)


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def forgets_addresses_as_iptables(context, hook, version):
    router = Router(context, hook)
    router.pass_frames = lambda *_: more_than_a_table_holds(router, version)
    _, wanted, _, seen = with_both(router, MANY, 0, version)
    seen, wanted = ([line for line in text.splitlines() if line.startswith("[")]
                    for text in (seen, wanted))
    expect(seen == wanted, f"counters differ\n{first_differences(seen, wanted, 20)}")
    counted = [int(re.match(r"\[(\d+)", line)[1]) for line in seen]
    expect(all(counted[:4] + counted[6:]), f"rules have counted nothing: {counted}")
    equal(counted[4], 0, "packets within a second, more than two after it")


REMEMBERS = NO_RULES.replace("COMMIT", """-A FORWARD -p udp -m udp --dport 1 -m recent --set --name kept
-A FORWARD -p udp -m udp --dport 2 -m recent --rcheck --seconds 600 --hitcount 3 --name kept
-A FORWARD -p udp -m udp --dport 3 -m recent --rcheck --name kept{}
COMMIT""")


@test(*FILTER_HOOKS)
def a_load_keeps_what_recent_remembers(context, hook):
    """As long as a rule names the table; `why` asks it and changes nothing."""
    router = Router(context, hook)

    def counted():
        router.near.settle(topology.LAN0_MAC, LOCAL[4][0], topology.CLIENT_MAC, NEAR[4][0])
        shown = router.bpfw("show", "--counters").stdout
        return [int(packets) for packets in re.findall(r"^\[(\d+):", shown, re.MULTILINE)]

    def matches(source, port):
        said = router.bpfw("why", "--in", "lan0", "--proto", "udp", "--src", source, "--dst",
                           FAR[4][0], "--sport", "5000", "--dport", str(port)).stdout
        return re.search(r"^ +\S+ +(no )?match ", said, re.MULTILINE)[1] is None

    router.load(REMEMBERS.format(""))
    for port in (1, 1, 1, 2, 3):
        router.near.send(datagram(port))
    equal(counted(), [3, 1, 1], "packets before")
    equal([matches(NEAR[4][0], port) for port in (1, 2, 3)], [True] * 3, "why of what it remembers")
    equal([matches(NEAR[4][1], port) for port in (1, 3)], [True, False], "why of another address")
    router.load(REMEMBERS.format("\n-A FORWARD -m recent --rcheck --hitcount 100 --name other"))
    for port in (2, 3):
        router.near.send(datagram(port))
    equal(counted(), [0, 1, 1, 0], "packets after a load that names the table")
    router.load(NO_RULES)
    router.load(REMEMBERS.format(""))
    for port in (3, 1, 3):
        router.near.send(datagram(port))
    equal(counted(), [1, 0, 1], "packets after a load that did not")
    router.load(REMEMBERS.replace("--name kept", "--mask 255.255.255.0 --name kept").format(""))
    router.near.send(datagram(3))
    equal(counted(), [0, 0, 0], "packets after a load that gives it another mask")
    mixed = REMEMBERS.format(" --mask 255.0.0.0")
    done = router.bpfw("load", "-", stdin=mixed, check=False)
    expect(done.returncode == 1 and "'kept' has another mask" in done.stderr, done.stderr)


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def keeps_count_as_iptables(context, hook, version):
    router = Router(context, hook)
    text = counting_rules(version)
    _, wanted, _, seen = with_both(router, text, 0, version)

    def packets(counters):
        """Which ones of different lengths were counted depends on the order."""
        return [re.sub(r"^\[(\d+):\d+\]", r"[\1]", line)
                for line in counters.splitlines() if line.startswith("[")]

    seen, wanted = packets(seen), packets(wanted)
    expect(seen == wanted, f"counters differ\n{first_differences(seen, wanted, 20)}")
    expect(sum(not line.startswith("[0]") for line in seen) > len(seen) / 2,
           "most rules have counted nothing")


BYTES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -m hashlimit --hashlimit-upto {rate}b/s --hashlimit-burst {burst}b \
--hashlimit-mode srcip --hashlimit-name bytes
-A FORWARD -p udp -m statistic --mode random --probability 0.25
-A FORWARD -p udp -m limit --limit 20/second --limit-burst 10
COMMIT
""".replace("\\\n", "")


@test(*FILTER_HOOKS)
def counts_bytes_chance_and_time(context, hook):
    """What iptables counts itself differs from run to run: there are bounds."""
    router = Router(context, hook)
    rate, burst, sent = 1600, 8000, 400
    router.load(BYTES.format(rate=rate, burst=burst))
    began = time.monotonic()
    for _ in range(sent):
        router.near.send(datagram(80))
    equal(len(router.far.drain(0.5)), sent, "packets that arrived")
    passed = time.monotonic() - began
    lines = [line for line in router.bpfw("show", "--counters").stdout.splitlines() if "udp" in line]
    by_bytes, by_chance, by_time = (int(re.match(r"\[(\d+)", line)[1]) for line in lines)
    context.note(f"{passed:.1f} s: {by_bytes}, {by_chance}, {by_time} of {sent} packets")
    # A packet costs (length / 16 + 1) / (rate / 16 + 1) of a second; there is one, and the bursts.
    each = (28 // 16 + 1) / (rate // 16 + 1)
    least = int(1 / each) * (1 + burst // rate)
    expect(min(sent, least) <= by_bytes <= least + 6 + passed / each + burst // rate,
           f"{by_bytes} packets within the bytes, not about {least}")
    expect(sent * 0.1 < by_chance < sent * 0.4, f"{by_chance} of {sent} packets by chance")
    expect(10 <= by_time <= 11 + 20 * passed, f"{by_time} packets in {passed:.1f} s")


ACCEPT_WEB = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p udp -m udp --dport {port} -j ACCEPT
-A FORWARD -p udp -m udp --dport 7 -j ACCEPT
COMMIT
"""


def datagram(port):
    packet = frames.ipv4(NEAR[4][0], FAR[4][0], socket.IPPROTO_UDP,
                         frames.udp(NEAR[4][0], FAR[4][0], 5000, port))
    return frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet)


def arrives(router, port):
    router.far.drain(0.05)
    router.near.send(datagram(port))
    return router.far.receive(0.5) is not None


@test(*FILTER_HOOKS)
def load_show_and_unload(context, hook):
    router = Router(context, hook)
    text = ACCEPT_WEB.format(port=80)
    router.load(text)
    equal(router.bpfw("show").stdout, text, "what show prints")
    expect(arrives(router, 80) and not arrives(router, 81), "the rules are not in force")
    router.load(ACCEPT_WEB.format(port=81))
    expect(arrives(router, 81) and not arrives(router, 80), "the new rules are not in force")
    router.bpfw("zero")
    expect("[0:0] -A FORWARD -p udp -m udp --dport 81" in router.bpfw("show", "--counters").stdout,
           "zero leaves counters")
    router.bpfw("unload")
    expect(arrives(router, 80) and arrives(router, 81), "unload leaves the filter in force")
    equal(router.bpfw("show", check=False).returncode, 1, "exit status of show without rules")


COUNT_ROUTES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p udp -m udp --dport 80
-A FORWARD -o wan0 -p udp -m udp --dport 80
-A FORWARD -o lan0 -p udp -m udp --dport 80
COMMIT
"""
ROUTING_HEADERS = NO_RULES.replace("COMMIT", """-A FORWARD -s fd00::/16 -m rt{} --rt-type 0
-A FORWARD -s fd00::/16
COMMIT""")


@test(*FILTER_HOOKS)
def drops_routing_headers_that_are_longer_than_the_packet(context, hook):
    """As ip6t_rt of later kernels does; if nobody asks for them, they are let through."""
    router = Router(context, hook)
    source, destination = NEAR[6][0], FAR[6][0]
    payload = bytes(40)
    for text, claimed, counted, arrived in (
            (ROUTING_HEADERS.format(""), 5, [1, 1], 1), (ROUTING_HEADERS.format(""), 6, [0, 0], 0),
            (ROUTING_HEADERS.format(" !"), 5, [0, 1], 1), (ROUTING_HEADERS.format(" !"), 6, [0, 0], 0),
            (NO_RULES, 6, [], 1)):
        router.load(text, 6)
        header = bytes([socket.IPPROTO_ESP, claimed, 0, 1]) + bytes(4)
        packet = frames.ipv6(source, destination, socket.IPPROTO_ROUTING, header + payload)
        router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
        router.near.settle(topology.LAN0_MAC, LOCAL[4][0], topology.CLIENT_MAC, NEAR[4][0])
        out = [captured for captured in router.far.drain(0.2) if captured.data.endswith(payload)]
        shown = router.bpfw("show", "-6", "--counters").stdout
        equal((len(out), [int(packets) for packets in re.findall(r"^\[(\d+):", shown, re.MULTILINE)]),
              (arrived, counted), f"arrived, counted of a length of {claimed}\n{text}")


CLOCK_TICK = 0.02  # the longest one is half of it: as long routes are remembered


@test(*FILTER_HOOKS)
def follows_routes(context, hook):
    """The same packet again and again, while routes change where it goes."""
    router = Router(context, hook)
    router.load(COUNT_ROUTES)
    host = f"{FAR[4][0]}/32"
    sent = 20

    def counted():
        time.sleep(CLOCK_TICK)
        router.bpfw("zero")
        for _ in range(sent):
            router.near.send(datagram(80))
        router.near.settle(topology.LAN0_MAC, LOCAL[4][0], topology.CLIENT_MAC, NEAR[4][0])
        shown = router.bpfw("show", "--counters").stdout
        return [int(packets) for packets in re.findall(r"^\[(\d+):.*--dport 80", shown, re.MULTILINE)]

    equal(counted(), [0, sent, 0], "INPUT, FORWARD to wan0, FORWARD to lan0, by the first route")
    router.namespace.ip(f"route add {host} dev lan0")
    equal(counted(), [0, 0, sent], "by a route to lan0")
    router.namespace.ip(f"route replace local {host} dev lo table local")
    equal(counted(), [sent, 0, 0], "of an address of its own")
    router.namespace.ip(f"route del local {host} dev lo table local",
                        f"route replace blackhole {host}")
    equal(counted(), [sent, 0, 0], "by a route that leads nowhere: INPUT is asked")
    router.namespace.ip(f"route del blackhole {host}")
    equal(counted(), [0, sent, 0], "by the first route again")
    router.namespace.sysctl("ipv4/conf/lan0/forwarding", 0)
    equal(counted(), [sent, 0, 0], "where nothing is forwarded")
    router.namespace.sysctl("ipv4/conf/lan0/forwarding", 1)
    equal(counted(), [0, sent, 0], "where packets are forwarded again")


@test(*FILTER_HOOKS)
def warns_of_ipsec(context, hook):
    """Rules at XDP do not meet what a policy says has to come encrypted."""
    router = Router(context, hook)
    done = router.namespace.run("ip", "xfrm", "policy", "add", "src", FAR[4][0], "dst", NEAR[4][0],
                                "dir", "fwd", "action", "block", check=False)
    if done.returncode:
        raise Skip(f"this kernel has no IPsec policies: {done.stderr.strip()}")
    text = ACCEPT_WEB.format(port=80)
    said = router.bpfw("load", "-", "--iface", "lan0", "--hook", hook, stdin=text).stderr
    equal("IPsec" in said, hook == "xdp", f"a warning in '{said}'")
    router.namespace.run("ip", "xfrm", "policy", "flush")
    said = router.bpfw("load", "-", stdin=text).stderr
    expect("IPsec" not in said, f"warns of policies that are gone: {said}")


@test(*FILTER_HOOKS)
def what_is_wrong_changes_nothing(context, hook):
    router = Router(context, hook)
    text = ACCEPT_WEB.format(port=80)
    router.load(text)
    for wrong, said in (
            (text.replace("--dport 80", "--dport 80000"), ":5:"),
            (text.replace("-j ACCEPT", "-j NOWHERE"), "NOWHERE"),
            (text.replace("-m udp --dport 80", "-m connlimit --connlimit-above 257"), "connlimit"),
            (text.replace("-p udp", "-p udp -m limit"), "behind 'limit'"),
            (text.replace("-j ACCEPT", "-j NFQUEUE"), "NFQUEUE")):
        done = router.bpfw("load", "-", "--iface", "lan0", stdin=wrong, check=False)
        equal(done.returncode, 1, "exit status")
        expect(said in done.stderr, f"the message is not about '{said}': {done.stderr}")
        equal(router.bpfw("show").stdout, text, "rules in force afterwards")
    done = router.bpfw("load", "-", "--iface", "nosuch0", stdin=text, check=False)
    equal(done.returncode, 1, "exit status")
    expect("nosuch0" in done.stderr, f"the interface is not named: {done.stderr}")
    checked = router.bpfw("load", "-", "--check", stdin=ACCEPT_WEB.format(port=82))
    equal(checked.returncode, 0, "exit status of --check")
    equal(router.bpfw("show").stdout, text, "rules in force after --check")
    expect(arrives(router, 80) and not arrives(router, 82), "the rules are not in force any more")


TAKEN_AT_ONCE = 1000  # packets; the receiver's queue has room for 100 times as many


@test(*FILTER_HOOKS)
def no_packet_between_two_rulesets(context, hook):
    """While one takes the other's place again and again: what both accept arrives, what both drop
    does not."""
    router = Router(context, hook)
    texts = [ACCEPT_WEB.format(port=port) for port in (80, 81)]
    router.load(texts[0])
    router.far.drain(0.1)
    sent, deadline, swaps, got = 0, time.monotonic() + 8, 0, collections.Counter()

    def take(quiet):
        got.update(captured.data[36:38] for captured in router.far.drain(quiet))

    while time.monotonic() < deadline and swaps < SWAPS:
        swaps += 1
        swap = threading.Thread(target=router.load, args=(texts[swaps % 2],))
        swap.start()
        while swap.is_alive():
            for port in (7, 9):
                router.near.send(datagram(port))
            sent += 1
            if not sent % TAKEN_AT_ONCE:
                take(0)
        swap.join()
    take(0.3)
    context.note(f"{swaps} swaps, {sent} packets of each kind, {got.total()} arrived")
    expect(sent >= swaps, "no packets were sent meanwhile")
    equal(got[bytes([0, 7])], sent, "packets that both rulesets accept")
    equal(got.total(), sent, "packets that arrived")


@test(*FILTER_HOOKS)
def stays_without_a_process(context, hook):
    """Nobody is there but the kernel; a second load finds what the first has left."""
    router = Router(context, hook)
    router.load(ACCEPT_WEB.format(port=80))
    expect(arrives(router, 80) and not arrives(router, 81), "the rules are not in force")
    router.bpfw("load", "-", stdin=ACCEPT_WEB.format(port=81))
    expect(arrives(router, 81) and not arrives(router, 80), "a load without --iface changes nothing")


@test("tc", "xdp")
def a_device_without_ethernet(context, hook):
    """As VPNs have them. Without a header to look at, all would pass; at XDP it is refused."""
    router = Router(context, "tc")
    device = context.keep(Device(router.namespace, "vpn0"))
    router.namespace.run("ip", "link", "set", "vpn0", "up")
    drop = NO_RULES.replace("COMMIT", "-A FORWARD -p udp -j DROP\nCOMMIT")
    done = router.bpfw("load", "-", "--iface", "vpn0", "--hook", hook, stdin=drop, check=False)
    if hook == "xdp":
        expect(done.returncode == 1 and "vpn0" in done.stderr and "--hook tc" in done.stderr,
               f"exit status {done.returncode}: {done.stderr}")
        return
    device.send(datagram(80)[14:])
    wait_until(lambda: "[1:28] -A FORWARD" in router.bpfw("show", "--counters").stdout)
    expect("[1:28] -A FORWARD" in router.bpfw("show", "--counters").stdout, "the rule was not met")


@test(*FILTER_HOOKS)
def a_device_that_has_moved_to_another_namespace(context, hook):
    router = Router(context, hook)
    router.namespace.ip("link add moves0 type veth peer name moves1")
    router.bpfw("load", "-", "--iface", "lan0", "--iface", "moves0", "--hook", hook, stdin=NO_RULES)
    router.namespace.ip(f"link set moves0 netns {router.lab.client.name}")
    router.bpfw("load", "-", stdin=NO_RULES)
    filtered = json.loads(router.bpfw("show", "--json").stdout)["interfaces"]
    equal([interface["name"] for interface in filtered], ["lan0"], "interfaces that are filtered")


@test()
def an_unload_that_leaves_something_says_so(context):
    router = Router(context, "tc")
    router.load(NO_RULES)
    done = router.namespace.run(
        "nsenter", f"--net={router.namespace.path}", "unshare", "--mount", "sh", "-c",
        f"mount -o remount,bind,ro /sys/fs/bpf && exec {binary()} filter unload", check=False,
        env=environment())
    expect(done.returncode == 1 and "Read-only" in done.stderr,
           f"exit status {done.returncode}: {done.stderr}")
    router.bpfw("unload")
    equal(router.bpfw("show", check=False).returncode, 1, "exit status of show without rules")


@test()
def a_load_that_filters_nowhere_says_so(context):
    router = Router(context, "tc")
    for words, warned in ((("-4",), True), (("-4", "--iface", "lan0"), False), (("-6",), False)):
        done = router.bpfw("load", "-", *words, stdin=NO_RULES)
        equal("no interface is filtered" in done.stderr, warned, f"warning of {words}: {done.stderr}")
    router.bpfw("unload")
    router.bpfw("load", "-", "--iface", "lan0", stdin=NO_RULES)
    done = router.bpfw("show", "-6", check=False)
    expect(done.returncode == 1 and "no IPv6 rules" in done.stderr, f"show -6: {done.stderr}")


WRITES_IPV6 = "# Generated by ip6tables-save v1.8.9 (nf_tables) on Sat Nov 21 21:00:00 2026\n"
FAMILIES = {
    "ip6tables-save": (WRITES_IPV6, 6),
    "ip6tables-nft-save": (WRITES_IPV6.replace("-save", "-nft-save"), 6),
    "behind a warning": ("# Warning: ip6tables-legacy tables present, use ip6tables-legacy-save to "
                         "see them\n" + WRITES_IPV6, 6),
    "behind a blank line": ("\n" + WRITES_IPV6, 6),
    "behind a table": ("*raw\nCOMMIT\n" + WRITES_IPV6, 4),
    "another comment": ("# not of ip6tables-save\n", 4),
    "none": ("", 4),
}


@test(*FAMILIES)
def the_file_says_of_which_family_it_is(context, name):
    comments, version = FAMILIES[name]
    text = f"{comments}*filter\n-A INPUT -s {'::1' if version == 6 else '127.0.0.1'} -j DROP\nCOMMIT\n"
    Router(context, "tc").bpfw("load", "-", "--check", stdin=text)


if __name__ == "__main__":
    main(jobs=2)
