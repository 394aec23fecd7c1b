#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, REJECT of packets that go out, of connections with NAT, and on devices without a
link layer: iptables is the oracle.

What a local process is told has to be the same, and so have the answers that hosts get, but for
what docs/filter.md names: where an ICMP answer to a packet that was forwarded comes from.
"""

import contextlib
import errno
import ipaddress
import select
import socket
import struct

from bare_test import TunLab
from filter_state_test import TRACK, needs_kfuncs
from filter_test import (FAR, FILTER_HOOKS, NEAR, NO_RULES, NOISE, SILENT, Router,
                         iptables_variant)
from netlab import equal, expect, frames, main, test
from netlab import lab as topology
from reject_test import (BY_ICMP, CODES, FIRST_CODE, ICMP, KERNEL, RESET, Packets, answer_to,
                         completed, essence, expect_right_sums, quiet_router)

RECVERR = {4: (socket.IPPROTO_IP, 11), 6: (socket.IPPROTO_IPV6, 25)}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
TOLD = 20.0  # seconds until a process is told; without an answer it is not at all


def rules(version, chain):
    """TCP's ports RESET and, as UDP's, FIRST_CODE on. bpfw's answers come in by wan0, and are not
    judged there."""
    lines = [f"-A {judges} -i wan0 -j DROP" for judges in ("INPUT", "FORWARD")]
    lines += [f"-A {chain} -p {protocol} -m {protocol} --dport {FIRST_CODE + number} -j REJECT "
             f"--reject-with {code}" for protocol in ("udp", "tcp")
             for number, code in enumerate(CODES[version])]
    lines += [f"-A {chain} -p tcp -m tcp --dport {RESET} -j REJECT --reject-with tcp-reset",
              f"-A {chain} -p tcp -m tcp --dport {BY_ICMP} -j REJECT --reject-with "
              f"{CODES[version][3]}"]
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(), *NOISE[version], *lines,
                      "COMMIT", ""])


def forwarding_rules(version):
    """All that leaves by wan0 is rejected."""
    last = f"-A FORWARD -o wan0 -j REJECT --reject-with {CODES[version][3]}"
    return rules(version, "FORWARD -o wan0").replace("COMMIT", f"{last}\nCOMMIT")


@contextlib.contextmanager
def in_iptables(namespace, version, text):
    iptables = iptables_variant(namespace, version)
    namespace.run(f"{iptables}-restore", stdin=text)
    try:
        yield
    finally:
        namespace.run(f"{iptables}-restore", stdin=NO_RULES)


# ---- A local process -------------------------------------------------------------------------


def queued_error(sock):
    """(errno, origin, type, code) of the error queue, as with IP_RECVERR."""
    ancillary = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)[1]
    return struct.unpack_from("=IBBB", ancillary[0][2])


def readable_errors(sock, milliseconds):
    poll = select.poll()
    poll.register(sock, 0)
    return poll.poll(milliseconds)


def told_udp(namespace, version, address, port):
    with namespace.socket(FAMILY[version], socket.SOCK_DGRAM) as sock:
        sock.setsockopt(*RECVERR[version], 1)
        sock.connect((address, port))
        with contextlib.suppress(PermissionError):  # as netfilter's hook tells the sender
            sock.send(b"hello")
        if not readable_errors(sock, TOLD * topology.SLOW * 1000):
            return None
        number, *rest = queued_error(sock)
        return errno.errorcode[number], *rest


def told_tcp(namespace, version, address, port):
    with namespace.socket(FAMILY[version], socket.SOCK_STREAM) as sock:
        sock.settimeout(TOLD * topology.SLOW)
        try:
            return errno.errorcode.get(sock.connect_ex((address, port)))
        except TimeoutError:
            return None


def what_processes_are_told(router, version):
    address = FAR[version][0]
    told = {"tcp-reset": told_tcp(router.namespace, version, address, RESET)}
    for number, code in enumerate(CODES[version]):
        told[f"UDP, {code}"] = told_udp(router.namespace, version, address, FIRST_CODE + number)
    for number in (0, 3):  # IPv6 believes the answer to the second SYN, after a second
        told[f"TCP, {CODES[version][number]}"] = told_tcp(router.namespace, version, address,
                                                          FIRST_CODE + number)
    return told


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def a_local_process_is_told(context, hook, version):
    router = quiet_router(context, hook)
    router.namespace.sysctl("ipv4/conf/all/rp_filter", 1)
    with in_iptables(router.namespace, version, rules(version, "OUTPUT")):
        theirs = what_processes_are_told(router, version)
    expect(None not in theirs.values(), f"with iptables somebody is told nothing: {theirs}")
    router.load(rules(version, "OUTPUT"), version)
    ours = what_processes_are_told(router, version)
    for what, wanted in theirs.items():
        equal(ours[what], wanted, what)
    near, far = router.settle()
    equal([len(near), len(far)], [0, 0], "packets that came out")


@test(*FILTER_HOOKS)
def for_many_nobody_answers(context, hook):
    """Broadcasts and multicasts are dropped and counted."""
    router = quiet_router(context, hook)
    router.load(NO_RULES.replace("COMMIT", "-A OUTPUT -p udp -j REJECT\nCOMMIT"))
    for address in ("10.0.2.255", "255.255.255.255", "224.0.0.5"):
        with router.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wan0")
            sock.setsockopt(*RECVERR[4], 1)
            sock.connect((address, FIRST_CODE))
            with contextlib.suppress(OSError):  # the device's queue has dropped it
                sock.send(b"hello")
            near, far = router.settle()
            equal(len(near) + len(far), 0, f"packets to {address} that came out")
            expect(not readable_errors(sock, 50), f"somebody has answered for {address}")
    shown = router.bpfw("show", "--counters").stdout
    expect("[3:99] -A OUTPUT -p udp -j REJECT" in shown, f"they have not been counted:\n{shown}")


# ---- What is forwarded -----------------------------------------------------------------------


def without_source(frame, version, what):
    """An ICMP answer without its source, and what depends on it; its sums are looked at here."""
    if frame is None or frame[23 if version == 4 else 20] != ICMP[version]:
        return frame
    if version == 4:
        return frame[:24] + bytes(6) + frame[30:]
    expect_right_sums(frame, version, what)
    return frame[:22] + bytes(16) + frame[38:56] + bytes(2) + frame[58:]


def forwarded_answers(router, version, who):
    """By name of the packet."""
    router.near.drain(0.1)
    packets, found = Packets(version, "FORWARD"), {}
    for kind, patience, cases in (("answered", 2.0, packets.answered()),
                                  ("not", 0.02, packets.unanswered())):
        for case in cases:
            if "fragment" in case.name:
                continue
            what = f"IPv{version}, {case.name}"
            answer = answer_to(router, case, patience)
            equal(answer is not None, kind == "answered", f"{what}: {who} answers")
            found[what] = without_source(answer, version, what)
    return found


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def forwarded_from_where_nothing_is_filtered(context, hook, version):
    router = quiet_router(context, hook)
    router.namespace.sysctl("ipv4/conf/all/rp_filter", 1)
    text = forwarding_rules(version)
    with in_iptables(router.namespace, version, text):
        theirs = forwarded_answers(router, version, KERNEL)
    router.bpfw("load", "-", f"-{version}", "--iface", "wan0", "--hook", hook, stdin=text)
    ours = forwarded_answers(router, version, "bpfw")
    for what, wanted in theirs.items():
        equal(ours[what].hex(" ") if ours[what] else None, wanted.hex(" ") if wanted else None,
              f"{what}: the answer")


# ---- Connections with NAT --------------------------------------------------------------------

DIALED, SERVED, LONG = 8080, 7, 200  # ports, and what is rejected: datagrams so long
VIRTUAL = topology.VIRTUAL
NAT = {
    "masquerade": """
	chain postrouting { type nat hook postrouting priority srcnat; oifname "wan0" masquerade; }""",
    "dnat": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {VIRTUAL[4]} udp dport {DIALED} dnat ip to {FAR[4][0]}:{SERVED}
		ip daddr {VIRTUAL[4]} tcp dport {DIALED} dnat ip to {FAR[4][0]}:{SERVED}
		ip6 daddr {VIRTUAL[6]} udp dport {DIALED} dnat ip6 to [{FAR[6][0]}]:{SERVED}
		ip6 daddr {VIRTUAL[6]} tcp dport {DIALED} dnat ip6 to [{FAR[6][0]}]:{SERVED}
	}}""",
    "port": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		iifname "lan0" udp dport {DIALED} dnat to :{SERVED}
		iifname "lan0" tcp dport {DIALED} dnat to :{SERVED}
	}}""",
}


def stateful_rules(version):
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(), *NOISE[version],
                      "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
                      f"-A FORWARD -p udp -m length --length {LONG}:2000 -m conntrack --ctstate "
                      f"ESTABLISHED -j REJECT --reject-with {CODES[version][3]}",
                      "-A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -m conntrack --ctstate "
                      "ESTABLISHED -j REJECT --reject-with tcp-reset",
                      "COMMIT", ""])


class Connection:
    """From the near side; what comes out at the far side says what NAT has made of it."""

    def __init__(self, router, version, nat, protocol, sport):
        self.router, self.version, self.protocol = router, version, protocol
        address = VIRTUAL if nat == "dnat" else {number: FAR[number][0] for number in (4, 6)}
        port = SERVED if nat == "masquerade" else DIALED
        self.near = (NEAR[version][0], address[version], sport, port)
        self.far = None  # as above: source, destination, their ports

    def send(self, near, *data):
        ends = self.near if near else self.far
        made = (frames.tcp if self.protocol == socket.IPPROTO_TCP else frames.udp)(*ends, *data)
        packet = (frames.ipv4 if self.version == 4 else frames.ipv6)(*ends[:2], self.protocol, made)
        if near:
            self.router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
        else:
            self.router.far.send(frames.ethernet(topology.WAN0_MAC, topology.SERVER_MAC, packet))

    def passes(self, near, *data):
        """It comes out at the other side."""
        self.send(near, *data)
        seen = self.router.settle()
        equal([len(side) for side in seen], [0, 1] if near else [1, 0], "packets that came out")
        if near:
            packet, size = seen[1][0].data[14:], 4 if self.version == 4 else 16
            at, l4 = (12, 20) if self.version == 4 else (8, 40)
            src, dst = (str(ipaddress.ip_address(packet[at + size * n:at + size * n + size]))
                        for n in (0, 1))
            sport, dport = struct.unpack_from("!HH", packet, l4)
            self.far = (dst, src, dport, sport)

    def answer(self, near, *data):
        """What is sent back for it; nothing comes out at the other side."""
        self.send(near, *data)
        sides = self.router.settle()
        mine, port = (0, self.router.near) if near else (1, self.router.far)
        equal(len(sides[1 - mine]), 0, "packets that came out at the other side")
        late = None if sides[mine] else port.receive(2)
        seen = [*sides[mine], *([late] if late else [])]
        equal(len(seen), 1, "answers")
        return essence(completed(seen[0]))


def answers_with_nat(router, version, nat):
    """By name, what comes back where both directions of connections are rejected."""
    found = {}
    connection = Connection(router, version, nat, socket.IPPROTO_UDP, 5000)
    connection.passes(True, b"hello")
    connection.passes(False, b"hello")
    for near, side in ((True, "near"), (False, "far")):
        found[f"UDP, {side}"] = connection.answer(near, bytes(range(LONG)))
    for near, side in ((True, "near"), (False, "far")):
        connection = Connection(router, version, nat, socket.IPPROTO_TCP, 6000 + near)
        connection.passes(True, 100, 0, frames.SYN)
        connection.passes(False, 500, 101, frames.SYN | frames.ACK)
        connection.passes(True, 101, 501, frames.ACK)
        said = (101, 501) if near else (501, 101)
        found[f"TCP, {side}"] = connection.answer(near, *said, frames.PSH | frames.ACK, b"hello")
    return found


def nat_router(context, hook, version, nat):
    """Each time a new one: nothing is left of connections."""
    router = quiet_router(context, hook)
    needs_kfuncs(router)
    router.namespace.ip(f"route add {VIRTUAL[version]} via {FAR[version][0]}")
    router.namespace.run("nft", "-f", "-", stdin=f"table inet nat {{{NAT[nat]}\n}}\n{TRACK}")
    return router


@test(*(("tc", version, nat, "lan0", "wan0") for version in (4, 6) for nat in NAT),
      *(("tc", 4, nat, "wan0") for nat in NAT), ("tc", 6, "masquerade", "wan0"),
      ("xdp", 4, "dnat", "lan0", "wan0"))
def connections_with_nat(context, hook, version, nat, *devices):
    """Where only wan0 is filtered, what goes to the far side is judged where it goes out."""
    text = stateful_rules(version)
    router = nat_router(context, hook, version, nat)
    with in_iptables(router.namespace, version, text):
        theirs = answers_with_nat(router, version, nat)
    router = nat_router(context, hook, version, nat)
    router.bpfw("load", "-", f"-{version}", "--hook", hook,
                *(word for name in devices for word in ("--iface", name)), stdin=text)
    ours = answers_with_nat(router, version, nat)
    for what, wanted in theirs.items():
        seen = ours[what]
        # What goes out to the far side is answered from there, unless NAT hides who answers.
        if "lan0" not in devices and nat == "masquerade" and what == "UDP, near":
            wanted, seen = (without_source(one, version, what) for one in (wanted, seen))
        equal(seen.hex(" "), wanted.hex(" "), f"{what}: the answer")


# ---- Devices without a link layer ------------------------------------------------------------


class BareRouter(Router):
    """The router's wan0 has no link header."""

    def __init__(self, context, lab):
        self.lab, self.hook, self.namespace = lab, "tc", lab.router
        self.namespace.run("nft", "flush", "ruleset")
        for key in ("ipv4/icmp_ratemask", "ipv6/icmp/ratelimit", "ipv6/auto_flowlabels"):
            self.namespace.sysctl(key, 0)
        self.namespace.sysctl("ipv4/conf/all/rp_filter", 1)
        for version in (4, 6):
            self.namespace.ip(f"neigh replace {NEAR[version][0]} lladdr {topology.CLIENT_MAC} "
                              "dev lan0 nud permanent")
        for host in (lab.client, lab.server):
            host.run("nft", "-f", "-", stdin=SILENT)
        self.near = context.keep(frames.Port(lab.client, "eth0"))
        self.far = context.keep(frames.Port(lab.server, "eth0", layer3=True))
        context.keep(self)


def rules_of_all(version):
    """Both ways in, and the way out."""
    heads = [rules(version, chain).splitlines() for chain in ("INPUT", "FORWARD", "OUTPUT")]
    kept = [line for lines in heads for line in lines if "REJECT" in line]
    return "\n".join([NO_RULES.partition("COMMIT")[0].rstrip(), *NOISE[version], *kept, "COMMIT",
                      ""])


def bare_frames(version, dst):
    """(name, packet, its protocol), from the far side."""
    src = FAR[version][0]
    ip = frames.ipv4 if version == 4 else frames.ipv6
    for number, code in enumerate(CODES[version]):
        data = frames.udp(src, dst, 5000, FIRST_CODE + number, bytes(range(number * 9)))
        yield code, ip(src, dst, socket.IPPROTO_UDP, data)
    for size in (600, 1400):
        data = frames.udp(src, dst, 5000, FIRST_CODE, bytes(size))
        yield f"UDP, {size} bytes", ip(src, dst, socket.IPPROTO_UDP, data)
    for name, port in (("RST", RESET), ("ICMP to TCP", BY_ICMP)):
        data = frames.tcp(src, dst, 5001, port, 7, 0, frames.SYN)
        yield name, ip(src, dst, socket.IPPROTO_TCP, data)


def bare_answers(router, version):
    """By name, what comes back by the bare device, and by the other one for what leaves by it."""
    found = {}
    for chain, dst in (("INPUT", topology.WAN0[version]), ("FORWARD", NEAR[version][0])):
        for name, packet in bare_frames(version, dst):
            router.far.send(packet)
            answer = router.far.receive(5)
            expect(answer, f"{chain}, {name}: no answer")
            found[f"{chain}, {name}"] = essence(completed(answer))
    packets = Packets(version, "FORWARD")
    for name, frame in (("UDP", packets.udp(FIRST_CODE, 40)),
                        ("TCP", packets.tcp(RESET, frames.SYN))):
        router.near.send(frame)
        answer = router.near.receive(5)
        expect(answer, f"out by it, {name}: no answer")
        found[f"out by it, {name}"] = without_source(essence(completed(answer)), version, name)
    return found


@test(4, 6)
def devices_without_a_link_layer(context, version):
    router = BareRouter(context, context.keep(TunLab("none")))
    text = rules_of_all(version)
    router.near.drain(0.1)
    with in_iptables(router.namespace, version, text):
        theirs = bare_answers(router, version), what_processes_are_told(router, version)
    router.bpfw("load", "-", f"-{version}", "--iface", "wan0", "--hook", "tc", stdin=text)
    ours = bare_answers(router, version), what_processes_are_told(router, version)
    for wanted, seen in zip(theirs, ours):
        equal(seen, wanted, "what has come back")


if __name__ == "__main__":
    main(jobs=2)
