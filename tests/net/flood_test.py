#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Spoofed and one-packet traffic takes no room among the flows and pushes none of them out."""

import random
import struct
import time

from netlab import HOOKS, Skip, TcpFlow, UdpFlow, equal, expect, main, test
from netlab import frames
from netlab import lab as topology

FLOOD = 200_000
TCP_FLOOD = 20_000
REPEATED = 10_000
# Behind the server, with nobody there: no answers, no ICMP errors.
NOBODY = {4: "10.0.9.200", 6: "fd00:9::200"}


def open_way_to_nobody(lab):
    """Frames to it reach the server's side, which is no router and stays silent."""
    lab.router.ip(f"route add {NOBODY[4]}/32 via {topology.SERVER[4]}",
                  f"route add {NOBODY[6]}/128 via {topology.SERVER[6]}")


def conntrack_room(lab):
    """Conntrack itself must have room, or it is its own limit that is measured."""
    room = int(lab.router.sysctl("netfilter/nf_conntrack_max"))
    if room < FLOOD + TCP_FLOOD + 2 * REPEATED + 1000:
        raise Skip(f"nf_conntrack_max {room} is too small for {FLOOD} flows")


def _template(protocol):
    if protocol == "udp":
        layer4 = frames.udp("0.0.0.0", NOBODY[4], 0, 0, b"x" * 18, csum=0)
        number = 17
    else:
        layer4 = frames.tcp("0.0.0.0", NOBODY[4], 0, 0, 1, 1, frames.ACK)
        number = 6
    packet = frames.ipv4("0.0.0.0", NOBODY[4], number, layer4)
    return bytearray(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))


def _fold(value):
    value = (value & 0xffff) + (value >> 16)
    return (value & 0xffff) + (value >> 16)


def flood(port, protocol, count, repeat=1):
    """Frames from random addresses and ports of 172.16.0.0/12, every checksum right."""
    frame = _template(protocol)
    ip_sum = 0xffff ^ struct.unpack_from("!H", frame, 24)[0]
    tcp_sum = 0xffff ^ struct.unpack_from("!H", frame, 50)[0] if protocol == "tcp" else 0
    for _ in range(count):
        number = random.getrandbits(52)
        high, low = 0xac10 | number >> 48, number >> 32 & 0xffff
        sport, dport = number >> 16 & 0xffff | 1, number & 0xffff | 1
        struct.pack_into("!HHHH", frame, 24, 0xffff ^ _fold(ip_sum + high + low), high, low,
                         struct.unpack_from("!H", frame, 30)[0])
        struct.pack_into("!HH", frame, 34, sport, dport)
        if protocol == "tcp":
            struct.pack_into("!H", frame, 50, 0xffff ^ _fold(
                tcp_sum + high + low + sport + dport))
        for _ in range(repeat):
            port.send(frame)


def daemon_cpu(bpfw):
    """Seconds of CPU time that the daemon has used."""
    with open(f"/proc/{bpfw.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def established(context, lab, bpfw):
    flows = [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    return flows


def expect_undisturbed(lab, bpfw, flows):
    """The flows of before are still in the table, alone, and still used there."""
    shown = {(one["protocol"], one["family"], one["sport"]) for one in
             bpfw.flows(direction="original")}
    wanted = {(flow.protocol, f"ipv{flow.family}", flow.near.getsockname()[1]) for flow in flows}
    strange = shown - wanted
    equal(wanted - shown, set(), "flows of before that have left the table")
    expect(not strange, f"{len(strange)} flows of the flood are in the table: "
                        f"{[one for one in bpfw.flows() if one['src'].startswith('172.')][:2]}")
    meter = lab.meter()
    for flow in flows:
        flow.exchange(100_000 if isinstance(flow, TcpFlow) else 200)
    expect(meter.read().offloaded_share > 0.9, f"flows of before the flood: {meter}")


@test(*HOOKS)
def one_packet_flows(context, hook):
    lab = context.lab(hook)
    conntrack_room(lab)
    open_way_to_nobody(lab)
    bpfw = context.running(lab, hook)
    flows = established(context, lab, bpfw)
    cpu, started = daemon_cpu(bpfw), time.monotonic()
    before = lab.counter("forwarded")[0]
    with frames.Port(lab.client, "eth0") as port:
        flood(port, "udp", FLOOD)
        flood(port, "tcp", TCP_FLOOD)
    passed = lab.counter("forwarded")[0] - before
    known = int(lab.router.sysctl("netfilter/nf_conntrack_count"))
    expect(min(passed, known) > 0.9 * (FLOOD + TCP_FLOOD),
           f"the flood did not arrive: {passed} packets, {known} entries")
    context.note(f"{passed} packets in {time.monotonic() - started:.1f} s, "
                 f"daemon {daemon_cpu(bpfw) - cpu:.2f} s of CPU")
    expect_undisturbed(lab, bpfw, flows)
    for kind in (TcpFlow, UdpFlow):
        with kind(lab, port=5009) as flow:
            flow.wait_offloaded(bpfw)


@test(*HOOKS)
def flows_that_nobody_answers(context, hook):
    """Enough packets for the candidate signal, yet no answer: never offloaded."""
    lab = context.lab(hook)
    conntrack_room(lab)
    open_way_to_nobody(lab)
    bpfw = context.running(lab, hook)
    flows = established(context, lab, bpfw)
    cpu = daemon_cpu(bpfw)
    with frames.Port(lab.client, "eth0") as port:
        flood(port, "udp", REPEATED, repeat=5)
        flood(port, "tcp", REPEATED, repeat=5)
    context.note(f"daemon {daemon_cpu(bpfw) - cpu:.2f} s of CPU for {10 * REPEATED} packets")
    expect_undisturbed(lab, bpfw, flows)
    with TcpFlow(lab, port=5009) as flow:
        flow.wait_offloaded(bpfw)


if __name__ == "__main__":
    main(jobs=1)
