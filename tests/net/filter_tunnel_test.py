#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter on tunnel devices: what is in front of a packet's IP header there is the device's
own affair, in each direction, and differs by kernel."""

import contextlib
import ipaddress
import select
import socket

from filter_test import FAR, LOCAL, NO_RULES
from netlab import Skip, equal, expect, main, test
from netlab.bpfw import binary, environment
from netlab.networks import LACKING

INNER = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd09::1", "fd09::2")}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PREFIX = {4: 24, 6: 64}
DROPPED, PASSED = 9, 10  # ports
ARRIVAL = 1.0

# Kind of device, IP version of the tunnel, of the packets, and whether the other end is fixed.
TUNNELS = {
    "ipip": ("ipip", 4, (4,), True),
    "sit": ("sit", 4, (6,), True),
    "ip6tnl": ("ip6tnl mode any", 6, (4, 6), True),
    "gre": ("gre", 4, (4, 6), True),
    "gre to many": ("gre", 4, (4,), False),
    "gre with keys to many": ("gre key 7", 4, (4,), False),
    "ip6gre": ("ip6gre", 6, (4, 6), True),
}


def add_tunnel(lab, name):
    kind, version, inner, is_fixed = TUNNELS[name]
    ends = (LOCAL[version][1], FAR[version][0])
    for host, number in ((lab.router, 0), (lab.server, 1)):
        remote = f"remote {ends[1 - number]}" if is_fixed else ""
        made = host.run("ip", "link", "add", "tun0", "type", *kind.split(), "local", ends[number],
                        *remote.split(), check=False)
        if made.returncode:
            expect(LACKING.search(made.stderr), f"no {kind}: {made.stderr}")
            raise Skip(f"the kernel cannot make {kind}: {made.stderr.strip()}")
        for each in inner:
            host.ip(f"addr add {INNER[each][number]}/{PREFIX[each]} dev tun0"
                    f"{' nodad' if each == 6 else ''}")
        host.ip("link set tun0 up")
        for each in inner if not is_fixed else ():
            far = ipaddress.ip_address(ends[1 - number]).packed.hex(":")
            host.ip(f"neigh replace {INNER[each][1 - number]} lladdr {far} dev tun0 nud permanent")
    return inner


def rules():
    """Neither mac nor its negation holds on such devices."""
    lines = [f"-A INPUT -i tun0 -p udp -m udp --dport {DROPPED} -j DROP",
             "-A INPUT -i tun0 -p udp -m mac ! --mac-source 02:00:00:00:00:77 -j DROP",
             f"-A OUTPUT -o tun0 -p udp -m udp --dport {DROPPED} -j DROP"]
    return NO_RULES.replace("COMMIT", "\n".join([*lines, "COMMIT"]))


def cross(lab, version, outgoing):
    """The ports whose datagrams come through the tunnel."""
    source, target = (lab.router, lab.server) if outgoing else (lab.server, lab.router)
    address = INNER[version][1 if outgoing else 0]
    came = set()
    with contextlib.ExitStack() as sockets:
        waiting = {}
        for port in (DROPPED, PASSED):
            receiver = target.socket(FAMILY[version], socket.SOCK_DGRAM)
            waiting[sockets.enter_context(receiver)] = port
            receiver.bind((address, port))
        sender = sockets.enter_context(source.socket(FAMILY[version], socket.SOCK_DGRAM))
        for port in (DROPPED, PASSED):
            sender.sendto(b"ask", (address, port))
        while waiting and (ready := select.select(list(waiting), [], [], ARRIVAL)[0]):
            for receiver in ready:
                receiver.recv(100)
                came.add(waiting.pop(receiver))
    return came


@test(*TUNNELS)
def packets_are_found_in_tunnels(context, name):
    lab = context.lab("tc", "none")
    inner = add_tunnel(lab, name)

    def bpfw(*words, stdin=None, check=True):
        return lab.router.run("nsenter", f"--net={lab.router.path}", binary(), "filter", *words,
                              stdin=stdin, check=check, env=environment())

    for version in inner:
        for outgoing in (False, True):
            equal(cross(lab, version, outgoing), {DROPPED, PASSED},
                  f"without rules, IPv{version}, {'out' if outgoing else 'in'}")
    try:
        for version in inner:
            bpfw("load", "-", f"-{version}", "--iface", "tun0", "--hook", "tc", stdin=rules())
            for outgoing in (False, True):
                equal(cross(lab, version, outgoing), {PASSED},
                      f"IPv{version}, {'out' if outgoing else 'in'}")
            counted = [line.split()[0] for line in bpfw("show", f"-{version}", "--counters").stdout
                       .splitlines() if " -A " in line]
            size = 31 if version == 4 else 51
            equal(counted, [f"[1:{size}]", "[0:0]", f"[1:{size}]"], "counters")
    finally:
        bpfw("unload", check=False)


if __name__ == "__main__":
    main(jobs=2)
