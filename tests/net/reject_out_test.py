#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, REJECT of packets that go out, of connections with NAT, and on devices without a
link layer: iptables is the oracle.

What a local process is told has to be the same, and so have the answers that hosts get, but for
what docs/filter.md names: where an ICMP answer to a packet that was forwarded comes from.
"""

import contextlib
import errno
import select
import socket
import struct

from filter_test import FAR, FILTER_HOOKS, NEAR, NO_RULES, NOISE, iptables_variant
from netlab import equal, expect, frames, main, test
from netlab import lab as topology
from reject_test import (BY_ICMP, CODES, FIRST_CODE, ICMP, KERNEL, RESET, Packets, answer_to,
                         expect_right_sums, quiet_router)

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


# ---- A local process ------------------------------------------------------------------------------


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


# ---- What is forwarded ------------------------------------------------------------------------------


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


if __name__ == "__main__":
    main(jobs=2)
