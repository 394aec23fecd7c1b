#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter: frames with anything in them, and iptables is the oracle of what comes out.

Frames of filter_test.py get wrong lengths, options, extension headers, fragments' fields and random
bytes. What docs/filter.md says is dropped without asking rules may be missing; nothing else, and
nothing may come out that iptables keeps back.

BPFW_TEST_SEED chooses rulesets and frames, BPFW_TEST_RULESETS and BPFW_TEST_PACKETS how many.
"""

import collections
import contextlib
import os
import random
import struct

from filter_test import (FILTER_HOOKS, LOCAL, NO_RULES, SEED, Frames, Router, Ruleset,
                         iptables_variant)
from netlab import Skip, expect, frames, main, test

RULESETS = int(os.environ.get("BPFW_TEST_RULESETS", "3"))
PACKETS = int(os.environ.get("BPFW_TEST_PACKETS", "700"))
TCP, UDP, SCTP, DCCP, UDPLITE = 6, 17, 132, 33, 136
ICMP = {4: 1, 6: 58}
FRAGMENT, AUTHENTICATION, NO_NEXT = 44, 51, 59
EXTENSIONS = (0, 43, FRAGMENT, AUTHENTICATION, 60)
SHORTEST = {TCP: 20, UDP: 8, UDPLITE: 8, SCTP: 12, DCCP: 12, 1: 8, 58: 8}
MOST_EXTENSIONS = 8
ATTEMPTS = 3
IPV4_TIMESTAMP, ICMP_TIMESTAMP_REPLY = 68, 14
# Errors that come seconds later (no neighbour has answered, fragments are missing), and of IPv4's
# of routing there are five at once.
BY_TIME = {4: [(3, 0), (3, 1), (11, 1)], 6: [(1, 3), (3, 1)]}


class Spoiler:
    """Takes frames and makes something else of them; most IPv4 headers keep a right checksum."""

    def __init__(self, number, version):
        self.random = random.Random(f"{SEED} spoiler {number} {version}")
        self.version = version

    def spoil(self, frame):
        link, packet = frame[:14], frame[14:]
        for _ in range(self.random.randint(0, 3)):
            change = self.random.choice([self.byte, self.byte, self.length, self.protocol,
                                         self.fragment, self.more_headers, self.cut, self.lengthen])
            packet = change(packet) if len(packet) >= 20 else packet
        if self.version == 4 and len(packet) >= 20 and self.random.random() < 0.9:
            packet = with_checksum(packet)
        return self.tags(link, packet)

    def tags(self, link, packet):
        tag = struct.pack("!HH", self.random.choice([0x8100, 0x88a8]),
                          self.random.choice([0, 0xe000, 7]))
        count = self.random.choice([0] * 20 + [1, 2])
        return link[:12] + tag * count + link[12:] + packet

    def byte(self, packet):
        at = self.random.randrange(min(len(packet), 80))
        return packet[:at] + bytes([self.random.randrange(256)]) + packet[at + 1:]

    def length(self, packet):
        at = 2 if self.version == 4 else 4
        by = self.random.choice([-40, -8, -4, -1, 1, 8])
        told = int.from_bytes(packet[at:at + 2], "big") + by
        return packet[:at] + max(told, 0).to_bytes(2, "big") + packet[at + 2:]

    def protocol(self, packet):
        at = 9 if self.version == 4 else 6
        usual = [TCP, UDP, SCTP, UDPLITE, DCCP, ICMP[self.version], 50, NO_NEXT, 4, 41, 47]
        return packet[:at] + bytes([self.random.choice([*usual, *EXTENSIONS])]) + packet[at + 1:]

    def fragment(self, packet):
        field = self.random.choice([0x2000, 0x0001, 0x2001, 0x0002, 0x2005, 0x8000, 0x1fff])
        if self.version == 4:
            return packet[:6] + field.to_bytes(2, "big") + packet[8:]
        units = (field & 0x1fff) << 3 | bool(field & 0x2000)
        header = struct.pack("!BBHL", packet[6], 0, units & 0xffff, self.random.getrandbits(32))
        return with_header(packet, FRAGMENT, header)

    def more_headers(self, packet):
        if self.version == 4:
            return self.with_options(packet)
        for _ in range(self.random.choice([1, 2, 3, 8, 9])):
            kind = self.random.choice(EXTENSIONS)
            words = self.random.choice([0, 0, 1, 2])
            words = 0 if kind == FRAGMENT else words
            size = words * (4 if kind == AUTHENTICATION else 8) + 8
            body = self.random.choice([b"\1", b"\0", b"\0", self.random.randbytes(1)]) * (size - 2)
            if kind in (0, 60):  # padding, or options that nobody knows
                body = self.random.choice([struct.pack("BB", 1, size - 4) + bytes(size - 4), body])
            packet = with_header(packet, kind, bytes([packet[6], words]) + body)
        return packet

    def with_options(self, packet):
        header, words = packet[0] % 16 * 4, self.random.randint(1, 5)
        if header != 20:
            return packet
        kinds = [b"\1" * 4, b"\7\7\4" + bytes(4), b"\x83\7\4\x0a\0\1\1", b"\x44\4\5\0",
                 b"\x94\4\0\0", b"\0" * 4, self.random.randbytes(4), b"\x89\7\4\x0a\0\1\1"]
        options = b"".join(self.random.choices(kinds, k=words))[:words * 4].ljust(words * 4, b"\0")
        total = int.from_bytes(packet[2:4], "big") + words * 4
        return (bytes([0x45 + words]) + packet[1:2] + (total & 0xffff).to_bytes(2, "big")
                + packet[4:20] + options + packet[20:])

    def cut(self, packet):
        return packet[:self.random.randint(20, len(packet))]

    def lengthen(self, packet):
        return packet + self.random.randbytes(self.random.randint(1, 30))


def with_checksum(packet):
    size = packet[0] % 16 * 4
    if not 20 <= size <= len(packet):
        return packet
    header = packet[:10] + bytes(2) + packet[12:size]
    return packet[:10] + frames.checksum(header).to_bytes(2, "big") + packet[12:]


def with_header(packet, kind, header):
    """IPv6 with one more extension header in front."""
    length = int.from_bytes(packet[4:6], "big") + len(header)
    return (packet[:4] + (length & 0xffff).to_bytes(2, "big") + bytes([kind]) + packet[7:40]
            + header + packet[40:])


Parsed = collections.namedtuple("Parsed", "protocol payload fragment offset ttl headers whole")


def parse4(packet):
    size, total = packet[0] % 16 * 4, int.from_bytes(packet[2:4], "big")
    field = int.from_bytes(packet[6:8], "big")
    return Parsed(packet[9], packet[size:total], bool(field & 0x3fff), field & 0x1fff, packet[8], 0,
                  True)


def parse6(packet):
    length = int.from_bytes(packet[4:6], "big")
    rest = packet[40:40 + length] if length or packet[6] else packet[40:]  # a jumbogram's
    kind, offset, fragment, headers = packet[6], 0, False, 0
    while kind in EXTENSIONS:
        if offset:
            return Parsed(kind, rest, fragment, offset, packet[7], headers, False)
        headers += 1
        if len(rest) < 8:
            return Parsed(kind, rest, fragment, offset, packet[7], headers, False)
        size = rest[1] * 8 + 8
        if kind == FRAGMENT:
            field, size, fragment = int.from_bytes(rest[2:4], "big"), 8, True
            offset = field >> 3
        elif kind == AUTHENTICATION:
            size = rest[1] * 4 + 8
        kind, rest = rest[0], rest[size:]
    return Parsed(kind, rest, fragment, offset, packet[7], headers, True)


def may_differ(frame, version, forwarded):
    """Why docs/filter.md says that rules may not be asked, or (second) otherwise; or None."""
    _, packet = frames.peel(frame)
    if len(packet) < (20 if version == 4 else 40):
        return None, None
    parsed = parse4(packet) if version == 4 else parse6(packet)
    if parsed.headers >= MOST_EXTENSIONS or not parsed.whole:
        return "extension headers", None
    if not parsed.offset and len(parsed.payload) < SHORTEST.get(parsed.protocol, 0):
        return None, "the transport header is cut short"
    if parsed.fragment and (not forwarded or parsed.protocol == TCP):
        return None, "a fragment"
    return ("its time is over" if parsed.ttl < 2 else None), None


@contextlib.contextmanager
def on_one_cpu():
    """A frame waits for the CPU that has sent it. The question whether all have arrived, sent by
    another one, would overtake it."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cpus)[os.getpid() % len(cpus)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


class RandomRouter(Router):
    """Answers do not depend on the time, or on what has come before."""

    def __init__(self, context, hook):
        super().__init__(context, hook)
        for key, value in (("ipv4/ipfrag_time", 600), ("ipv6/ip6frag_time", 600),
                           ("ipv6/auto_flowlabels", 0), ("ipv4/conf/all/accept_redirects", 0),
                           *((f"ipv4/conf/{device}/send_redirects", 0)
                             for device in ("all", "lan0", "wan0"))):
            self.namespace.sysctl(key, value)

    def came_out(self, sent, version):
        """What came out on both sides because of each frame."""
        found = []
        with on_one_cpu():
            for near, frame in sent:
                (self.near if near else self.far).send(frame)
                found.append([[comparable(captured.data) for captured in side
                               if not goes_by_time(captured.data, version)]
                              for side in self.settle()])
        return found


def goes_by_time(frame, version):
    _, packet = frames.peel(frame)
    if not packet:
        return False
    protocol, at = (packet[9], packet[0] % 16 * 4) if version == 4 else (packet[6], 40)
    return protocol == ICMP[version] and tuple(packet[at:at + 2]) in BY_TIME[version]


def comparable(frame):
    """Without what is a number of its own, or the time: IPv4's ID and options, ICMP's time."""
    link, packet = frames.peel(frame)
    if not packet or packet[0] >> 4 != 4:
        return frame
    size = packet[0] % 16 * 4
    rest = packet[size:]
    if packet[9] == ICMP[4] and rest[:1] == bytes([ICMP_TIMESTAMP_REPLY]):
        rest = rest[:1] + rest[4:12]
    elif packet[9] == ICMP[4]:
        rest = rest[:2] + rest[4:8]  # quotes what is left out here
    return link + packet[:4] + packet[6:10] + packet[12:20] + rest


def make_frames(number, version):
    spoiler = Spoiler(number, version)
    return [(near, spoiler.spoil(frame))
            for (near, frame), _ in zip(Frames(number, version, True), range(PACKETS))]


def is_forwarded(frame, version):
    _, packet = frames.peel(frame)
    at, size = (16, 4) if version == 4 else (24, 16)
    return packet[at:at + size] not in {frames.ipaddress.ip_address(address).packed
                                        for address in LOCAL[version]}


def only_errors(sides, version):
    """What the router says about a packet that goes nowhere, and no rule has been asked."""
    for frame in [frame for side in sides for frame in side]:
        packet = frames.peel(frame)[1] if version == 6 else frame[14:]
        kind = packet[6] if version == 6 else packet[7]
        if kind != ICMP[version]:
            return False
    return True


def judge(version, frame, wanted, seen):
    """None, or why what has come out is wrong."""
    if seen == wanted:
        return None
    missing, other = may_differ(frame, version, is_forwarded(frame, version))
    if other or (missing and not any(seen)):
        return None
    # What cannot be routed is judged by INPUT, and the kernel says so only if that accepts it.
    if not any(seen) and only_errors(wanted, version):
        return None
    return f"came out: {seen}\niptables: {wanted}\nframe:    {frame.hex()}"


def pass_both(router, iptables, text, version, sent):
    """What comes out because of each frame: by iptables, by bpfw."""
    restored = router.namespace.run(f"{iptables}-restore", stdin=text, check=False)
    expect(not restored.returncode, f"iptables refuses the rules: {restored.stderr}\n{text}")
    wanted = router.came_out(sent, version)
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    router.load(text, version)
    seen = router.came_out(sent, version)
    router.bpfw("unload")
    return list(zip((frame for _, frame in sent), wanted, seen))


def compare(router, iptables, number, version):
    text = Ruleset(number, version, router.hook == "tc").text()
    sent = make_frames(number, version)
    passed = pass_both(router, iptables, text, version, sent)
    wrong = [place for place, one in enumerate(passed) if judge(version, *one)]
    again, retried = passed, len(wrong)
    for _ in range(ATTEMPTS):  # what a busy machine has lost or kept too long comes another time
        if wrong:
            again = pass_both(router, iptables, text, version, [sent[place] for place in wrong])
            wrong = [place for place, one in zip(wrong, again) if judge(version, *one)]
    for one in again:
        said = judge(version, *one)
        expect(not said, f"ruleset {number}, IPv{version}: {said}\n{text}")
    return collections.Counter(
        sent=len(sent), retried=retried, out=sum(any(wanted) for _, wanted, _ in passed),
        differ=sum(wanted != seen for _, wanted, seen in passed))


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def keeps_back_what_iptables_keeps_back(context, hook, version):
    router = RandomRouter(context, hook)
    # What iptables-nft makes of ports looks into fragments and behind the end of a packet.
    iptables = iptables_variant(router.namespace, version)
    if "legacy" not in iptables:
        raise Skip("this kernel has no legacy iptables")
    total = collections.Counter()
    for number in (4 * n + 2 for n in range(RULESETS)):  # those that ask for little let frames through
        total += compare(router, iptables, number, version)
    context.note(f"{total['sent']} frames, {total['out']} of which had something come out, "
                 f"{total['differ']} otherwise for a documented reason, "
                 f"{total['retried']} of which had to be sent again")
    expect(total["out"] > total["sent"] / 20, "hardly any frame gets through")
    expect(total["differ"] < total["sent"] / 10, "too much is excused")


if __name__ == "__main__":
    main(jobs=2)
