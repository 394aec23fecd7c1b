#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, the target REJECT: iptables is the oracle.

A router gets the same packets with the kernel's rules and with bpfw's. What comes back has to be the
same, but for IPv4's ID of ICMP answers, which the kernel counts up; and so have the counters of rules.
"""

import collections
import ipaddress
import json
import os
import re
import socket
import struct
import time

from filter_test import (FAR, FILTER_HOOKS, LOCAL, NEAR, NO_RULES, NOISE, Router, first_differences,
                         iptables_variant)
from netlab import equal, expect, frames, main, test
from netlab import lab as topology

CHAINS = ("INPUT", "FORWARD")
CODES = {4: ["icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable",
             "icmp-port-unreachable", "icmp-net-prohibited", "icmp-host-prohibited",
             "icmp-admin-prohibited"],
         6: ["icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable",
             "icmp6-port-unreachable", "icmp6-policy-fail", "icmp6-reject-route"]}
ICMP = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
FIRST_CODE, RESET, BY_ICMP, PASSED = 100, 1, 2, 3  # destination ports
PATIENCE = {"answered": 2.0, "not": 0.02}  # seconds
KERNEL = "the kernel"
BURST = 50  # FILTER_REJECT_BURST

Case = collections.namedtuple("Case", "name frame")


def rules(version):
    lines = []
    for chain in CHAINS:
        lines += [f"-A {chain} -p udp -m udp --dport {FIRST_CODE + number} -j REJECT "
                  f"--reject-with {code}" for number, code in enumerate(CODES[version])]
        lines += [f"-A {chain} -p tcp -m tcp --dport {RESET} -j REJECT --reject-with tcp-reset",
                  f"-A {chain} -p tcp -m tcp --dport {BY_ICMP} -j REJECT --reject-with "
                  f"{CODES[version][3]}",
                  f"-A {chain} -p udp -m udp --dport {PASSED} -j ACCEPT",
                  f"-A {chain} -j REJECT --reject-with {CODES[version][3]}"]
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(), *NOISE[version], *lines, "COMMIT",
                      ""])


class Packets:
    """For one chain, from the near side."""

    def __init__(self, version, chain):
        self.version = version
        self.src = NEAR[version][0]
        self.dst = FAR[version][0] if chain == "FORWARD" else LOCAL[version][0]

    def frame(self, protocol, data, src=None, dst=None, mac=topology.LAN0_MAC, tos=0, **more):
        src, dst = src or self.src, dst or self.dst
        packet = (frames.ipv4(src, dst, protocol, data, tos=tos, **more) if self.version == 4 else
                  frames.ipv6(src, dst, protocol, data, traffic_class=tos, **more))
        return frames.ethernet(mac, topology.CLIENT_MAC, packet)

    def udp(self, dport, size=0, src=None, dst=None, csum=None, **more):
        data = frames.udp(src or self.src, dst or self.dst, 5000, dport,
                          (bytes(range(1, 256)) * 6)[:size], csum)
        return self.frame(socket.IPPROTO_UDP, data, src, dst, **more)

    def tcp(self, dport, flags, payload=b"", options=b"", **more):
        data = frames.tcp(self.src, self.dst, 5001, dport, 0xfffffff0, 0x12345678, flags, payload,
                          options)
        return self.frame(socket.IPPROTO_TCP, data, **more)

    def icmp(self, kind, code=0, size=20):
        message = bytes([kind, code, 0, 0, 0, 1, 0, 1]) + bytes(range(size))
        covered = message if self.version == 4 else frames.pseudo_header(
            self.src, self.dst, ICMP[6], len(message)) + message
        check = struct.pack("!H", frames.checksum(covered))
        return self.frame(ICMP[self.version], message[:2] + check + message[4:])

    def answered(self):
        for number, code in enumerate(CODES[self.version]):
            yield Case(code, self.udp(FIRST_CODE + number, 10 + number))
        for size in (0, 1, 2, 3, 12, 511, 519, 520, 521, 522, 600, 1183, 1184, 1185, 1400):
            yield Case(f"UDP, {size} bytes", self.udp(FIRST_CODE, size))
        for tos in (0x10, 0xb8, 3):
            yield Case(f"TOS {tos:#x}", self.udp(FIRST_CODE, 5, tos=tos))
        for flags in (frames.SYN, frames.ACK, frames.SYN | frames.ACK, frames.FIN,
                      frames.FIN | frames.ACK, frames.SYN | frames.FIN, 0, frames.PSH | frames.ACK):
            for payload in (b"", b"0123456"):
                yield Case(f"RST to {flags:#x}, {len(payload)}", self.tcp(RESET, flags, payload))
        mss = b"\x02\x04\x05\xb4\x01\x03\x03\x07"
        yield Case("RST to options", self.tcp(RESET, frames.SYN, b"abc", mss, tos=0x10))
        yield Case("ICMP to TCP", self.tcp(BY_ICMP, frames.SYN, b"", mss))
        yield Case("ICMP to RST", self.tcp(BY_ICMP, frames.RST))
        yield Case("echo request", self.icmp(8 if self.version == 4 else 128))
        yield Case("echo reply", self.icmp(0 if self.version == 4 else 129))
        for protocol in (socket.IPPROTO_ESP, 132, 136):
            yield Case(f"protocol {protocol}", self.frame(protocol, bytes(range(31))))
        if self.version == 4:
            yield Case("IP options", self.udp(FIRST_CODE, 7, options=b"\1\1\1\1"))
            data = frames.tcp(self.src, self.dst, 5001, RESET, 7, 0, frames.SYN, b"xy")
            yield Case("RST behind IP options",
                       self.frame(socket.IPPROTO_TCP, data, options=b"\1\1\1\1"))
            yield Case("timestamp request", self.icmp(13))
        else:
            for protocol, data in ((socket.IPPROTO_UDP, frames.udp(self.src, self.dst, 5000,
                                                                    FIRST_CODE, b"abcde")),
                                   (socket.IPPROTO_TCP, frames.tcp(self.src, self.dst, 5001, RESET,
                                                                   7, 0, frames.SYN, b"xy"))):
                options = bytes([protocol, 0, 1, 4, 0, 0, 0, 0])
                yield Case(f"protocol {protocol} behind destination options",
                           self.frame(socket.IPPROTO_DSTOPTS, options + data))

    def unanswered(self):
        for flags in (frames.RST, frames.RST | frames.ACK):
            yield Case(f"RST {flags:#x}", self.tcp(RESET, flags))
        for kind in (3, 4, 5, 11, 12, 19, 41, 255) if self.version == 4 else (1, 2, 3, 4, 100):
            yield Case(f"ICMP {kind}", self.icmp(kind))
        yield Case("nothing behind ICMP's name", self.frame(ICMP[self.version], b""))
        for mac in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:77:77"):
            yield Case(f"UDP to {mac}", self.udp(FIRST_CODE, 5, mac=mac))
        wrong = (["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
                  *LOCAL[4][:2]] if self.version == 4 else ["::", "::1", "ff02::1"])
        for src in wrong:
            yield Case(f"UDP from {src}", self.udp(FIRST_CODE, 5, src=src))
        there = (["10.0.1.255", "255.255.255.255", "224.0.0.1"] if self.version == 4
                 else ["ff02::1", "ff0e::7"])
        for dst in there:
            yield Case(f"UDP to {dst}", self.udp(FIRST_CODE, 5, dst=dst))
        yield Case("UDP, broken", self.udp(FIRST_CODE, 5, csum=0x1234))
        broken = bytearray(self.tcp(RESET, frames.SYN, b"0123456"))
        broken[-1] ^= 1
        yield Case("TCP, broken", bytes(broken))
        data = frames.udp(self.src, self.dst, 5000, FIRST_CODE, bytes(40))
        if self.version == 4:
            yield Case("first fragment", self.frame(socket.IPPROTO_UDP, data[:24], frag=0x2000))
            yield Case("last fragment", self.frame(socket.IPPROTO_UDP, data[24:], frag=3, ident=9))
        else:
            for name, offset, part in (("first", 1, data[:24]), ("last", 24, data[24:])):
                header = struct.pack("!BBHL", socket.IPPROTO_UDP, 0, offset, 7)
                yield Case(f"{name} fragment", self.frame(socket.IPPROTO_FRAGMENT, header + part))
            yield Case("no next header", self.frame(socket.IPPROTO_NONE, b""))


def completed(captured):
    """As it would be on a wire."""
    data = captured.data
    if not captured.csum_start:
        return data
    at = captured.csum_start + captured.csum_offset
    check = struct.pack("!H", frames.checksum(data[captured.csum_start:]))
    return data[:at] + check + data[at + 2:]


def essence(frame):
    """Without the ID of an ICMP answer (its checksum depends on it, and is looked at here)."""
    if frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_ICMP:
        equal(frames.checksum(frame[14:34]), 0, "sum of an answer's IP header")
        return frame[:18] + bytes(2) + frame[20:24] + bytes(2) + frame[26:]
    return frame


def answer_to(router, case, patience):
    """What comes back, None if nothing does. What XDP sends may be overtaken by the stack."""
    router.near.send(case.frame)
    seen = router.settle()[0]
    late = router.near.receive(0 if seen else patience)
    seen = [essence(completed(captured)) for captured in [*seen, *([late] if late else [])]]
    equal(len(seen) <= 1, True, f"{case.name}: at most one answer")
    return seen[0] if seen else None


def answers(router, version, who):
    """By chain and name of the packet."""
    router.near.drain(0.1)
    found = {}
    for chain in CHAINS:
        packets = Packets(version, chain)
        for kind, cases in (("answered", packets.answered()), ("not", packets.unanswered())):
            for case in cases:
                # It puts them together, or answers some of them: not all kernels are the same.
                if who == KERNEL and "fragment" in case.name:
                    continue
                answer = answer_to(router, case, PATIENCE[kind])
                equal(answer is not None, kind == "answered",
                      f"{chain}, IPv{version}, {case.name}: {who} answers")
                found[f"{chain}, IPv{version}, {case.name}"] = answer
    return found


def counted(text):
    return [line for line in text.splitlines() if re.search(r"--dport \d+ .*REJECT", line)]


def by_iptables(router, version):
    iptables = iptables_variant(router.namespace, version)
    router.namespace.run(f"{iptables}-restore", stdin=rules(version))
    found = answers(router, version, KERNEL)
    counters = router.namespace.run(f"{iptables}-save", "-c", "-t", "filter").stdout
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    return found, counted(counters)


def quiet_router(context, hook):
    router = Router(context, hook)
    router.namespace.sysctl("ipv6/auto_flowlabels", 0)
    return router


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def answers_as_iptables(context, hook, version):
    router = quiet_router(context, hook)
    theirs, their_counters = by_iptables(router, version)
    router.load(rules(version), version)
    ours = answers(router, version, "bpfw")
    our_counters = counted(router.bpfw("show", f"-{version}", "--counters").stdout)
    for what, wanted in theirs.items():
        seen = ours[what]
        equal(seen.hex(" ") if seen else None, wanted.hex(" ") if wanted else None,
              f"{what}: the answer")
    context.note(f"{sum(frame is not None for frame in ours.values())} of {len(ours)} answered")
    # What the kernel drops before any rule is counted there by the first code, if at all.
    seen, wanted = ([line for line in lines if f"--dport {FIRST_CODE} " not in line]
                    for lines in (our_counters, their_counters))
    expect(seen == wanted, f"counters differ\n{first_differences(seen, wanted)}")


def expect_right_sums(frame, version, what):
    """Of an answer as it is on a wire: its IP header's, and the transport's."""
    packet = frame[14:]
    head = 20 if version == 4 else 40
    if version == 4:
        equal(frames.checksum(packet[:head]), 0, f"{what}: sum of the IP header")
    protocol = packet[9 if version == 4 else 6]
    ends = packet[12:20] if version == 4 else packet[8:40]
    src, dst = (ipaddress.ip_address(part) for part in (ends[:len(ends) // 2],
                                                        ends[len(ends) // 2:]))
    covered = packet[head:]
    if protocol != socket.IPPROTO_ICMP:
        covered = frames.pseudo_header(src, dst, protocol, len(covered)) + covered
    equal(frames.checksum(covered), 0, f"{what}: sum of protocol {protocol}")


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def answers_what_has_no_checksum_yet(context, hook, version):
    """A sender in another namespace leaves it to its device: the answer has one all the same."""
    router = quiet_router(context, hook)
    router.load(rules(version), version)
    for chain in CHAINS:
        packets = Packets(version, chain)
        for name, frame, offset, sizes in (
                ("RST", packets.tcp(RESET, frames.SYN, b"abc"), 16, (20,)),
                ("ICMP to TCP", packets.tcp(BY_ICMP, frames.SYN, b"abc"), 16, ()),
                ("ICMP to UDP", packets.udp(FIRST_CODE, 7), 6, ()),
                ("ICMP to long UDP", packets.udp(FIRST_CODE, 1300), 6, ())):
            what = f"{chain}, IPv{version}, {name}"
            start = 34 if version == 4 else 54
            protocol = socket.IPPROTO_UDP if offset == 6 else socket.IPPROTO_TCP
            pseudo = frames.pseudo_header(packets.src, packets.dst, protocol, len(frame) - start)
            left = struct.pack("!H", frames.checksum(pseudo) ^ 0xffff)
            frame = frame[:start + offset] + left + frame[start + offset + 2:]
            router.near.drain(0.05)
            router.near.send(frame, csum_start=start, csum_offset=offset)
            answer = router.near.receive(2)
            expect(answer is not None, f"{what}: no answer")
            expect_right_sums(completed(answer), version, what)
            equal(len(answer.data) - start in sizes or not sizes, True, f"{what}: its length")


@test(*FILTER_HOOKS)
def limits_icmp_but_not_resets(context, hook):
    router = quiet_router(context, hook)
    router.load(rules(4))
    packets = Packets(4, "FORWARD")
    came = {}
    for name, frame in (("ICMP", packets.udp(FIRST_CODE)), ("RST", packets.tcp(RESET, frames.SYN))):
        router.near.drain(0.1)
        began = time.monotonic()
        seen = []
        for _ in range(4):
            for _ in range(100):  # what the queues of a busy machine hold
                router.near.send(frame)
            seen += router.settle()[0]
        passed = time.monotonic() - began
        came[name] = len(seen) + len(router.near.drain(0.3))
        context.note(f"{name}: {came[name]} answers to 400 packets within {passed * 1000:.0f} ms")
        if name == "ICMP":
            most = (os.cpu_count() or 1) * (BURST + passed * 1000 + 1)
            expect(BURST <= came[name] <= most, f"{came[name]} answers, not {BURST} to {most:.0f}")
    equal(came["RST"], 400, "RSTs")


@test(*FILTER_HOOKS)
def broadcast_addresses_are_not_answered(context, hook):
    """Those of the router's networks, as the documentation says."""
    router = quiet_router(context, hook)
    router.load(NO_RULES.replace("COMMIT", "-A INPUT -p udp -j REJECT\nCOMMIT"))
    router.near.send(Packets(4, "INPUT").udp(PASSED, src="10.0.1.255"))
    near, far = router.settle()
    equal([len(near + router.near.drain(0.1)), len(far)], [0, 0], "packets that came out")
    shown = router.bpfw("show", "--counters").stdout
    expect("[1:28] -A INPUT -p udp -j REJECT" in shown, f"it has not been counted:\n{shown}")


@test(*FILTER_HOOKS)
def why_says_reject_and_sends_nothing(context, hook):
    router = quiet_router(context, hook)
    router.load(rules(4))
    router.near.drain(0.1)
    for protocol, port, dst in (("udp", FIRST_CODE, FAR[4][0]), ("tcp", RESET, LOCAL[4][0])):
        words = ("why", "--in", "lan0", "--proto", protocol, "--src", NEAR[4][0], "--dst", dst,
                 "--dport", str(port))
        expect("verdict: REJECT by rule" in router.bpfw(*words).stdout, "the verdict as text")
        said = json.loads(router.bpfw(*words, "--json").stdout)
        equal((said["verdict"], said["by"]), ("REJECT", "rule"), "the verdict as JSON")
    equal(len(router.near.drain(0.2)), 0, "packets that came out")
    expect(all(line.startswith("[0:0]") for line in
               counted(router.bpfw("show", "--counters").stdout)), "why has counted")


if __name__ == "__main__":
    main(jobs=2)
