#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""--cpus: flows are spread over CPUs, each keeps its order, and nothing else changes.

That the frames are those of the kernel is in oracle_test.py.
"""

import json
import os
import re

from netlab import TcpFlow, UdpFlow, attachments, equal, expect, main, test
from netlab import lab as topology
from netlab import xdp
from netlab.cpus import all_online, need_two, online
from netlab.frames import Port, ethernet, fields, ipv4, ipv6, udp

CPUMAP = 16  # BPF_MAP_TYPE_CPUMAP
FLOWS, FRAMES, BURST = 16, 120, 8
FIRST_PORT = 20000


def cpumaps(bpfw):
    """The ids of the daemon's CPU maps."""
    found, fdinfo = set(), f"/proc/{bpfw.process.pid}/fdinfo"
    for number in os.listdir(fdinfo):
        with open(f"{fdinfo}/{number}", encoding="ascii") as file:
            text = file.read()
        if re.search(rf"^map_type:\s+{CPUMAP}$", text, re.MULTILINE):
            found.add(int(re.search(r"^map_id:\s+(\d+)$", text, re.MULTILINE)[1]))
    return found


def worked(bpfw):
    """{CPU: nanoseconds that the map's thread there has run}."""
    number, = cpumaps(bpfw)
    ran = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
                name = file.read().strip()
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                nanoseconds = int(file.read().split()[0])
        except OSError:  # ended meanwhile
            continue
        found = re.match(r"cpumap/(\d+)/", name)
        # Before Linux 5.17 a name has 15 characters.
        if found and f"cpumap/{found[1]}/map:{number}".startswith(name):
            ran[int(found[1])] = nanoseconds
    return ran


def exchange(lab, bpfw):
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(4 << 20)
            flow.finish()
        with UdpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(1500)


@test("none", "masquerade", "both")
def flows_are_offloaded(context, nat):
    lab = context.lab("xdp", nat)
    bpfw = context.running(lab, "xdp", args=("--cpus", all_online()))
    for family in (4, 6):
        target = (topology.VIRTUAL if nat == "both" else topology.SERVER)[family]
        port = 8080 if nat == "both" else 5000
        for kind, amount in ((TcpFlow, 4 << 20), (UdpFlow, 800)):
            with kind(lab, family, target=target, port=port, listen_port=5000) as flow:
                flow.wait_offloaded(bpfw)
                before, meter = bpfw.fast_packets(), lab.meter()
                flow.exchange(amount)
                expect(meter.read().offloaded_share > 0.95, f"{flow.name()}: {meter}")
                expect(bpfw.fast_packets() > before, f"{flow.name()}: nothing is counted")


@test()
def every_cpu_works(context):
    need_two()
    lab = context.lab("xdp")
    bpfw = context.running(lab, "xdp", args=("--cpus", all_online()))
    flows = [context.keep(UdpFlow(lab, port=5000 + index)) for index in range(FLOWS)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    before = worked(bpfw)
    equal(set(before), set(online()), "CPUs with a thread")
    for flow in flows:
        flow.exchange(40)
    for cpu, ran in worked(bpfw).items():
        expect(ran > before[cpu], f"CPU {cpu} did nothing: {before}, then {worked(bpfw)}")


@test()
def one_cpu_of_all(context):
    """The last one only: the others' threads are not even there."""
    last = max(online())
    lab = context.lab("xdp")
    bpfw = context.running(lab, "xdp", args=("--cpus", str(last)))
    exchange(lab, bpfw)
    equal(set(worked(bpfw)), {last}, "CPUs with a thread")


class Stream:
    """A UDP flow of frames that carry their number."""

    def __init__(self, family, index):
        self.family, self.port, self.sent = family, FIRST_PORT + index, 0

    def frame(self):
        src, dst = topology.CLIENT[self.family], topology.SERVER[self.family]
        datagram = udp(src, dst, self.port, self.port, b"number %06d" % self.sent)
        self.sent += 1
        packet = (ipv4 if self.family == 4 else ipv6)(src, dst, 17, datagram)
        return ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet)


def shoot(lab_ports, streams, count):
    """Bursts of all streams in turn; the numbers that arrive of each, in the order of arrival."""
    near, far = lab_ports
    arrived = {(stream.family, stream.port): [] for stream in streams}

    def collect(quiet):
        for captured in far.drain(quiet):
            seen = fields(captured)
            number = re.search(rb"number (\d{6})", captured.data)
            if number and seen.get("dport", 0) >= FIRST_PORT:
                family = 6 if ":" in seen["src"] else 4
                arrived[family, seen["dport"]].append(int(number[1]))
    for _ in range(count // BURST):
        for stream in streams:
            for _ in range(BURST):
                near.send(stream.frame())
        collect(0.001)
    collect(0.3)
    return arrived


def check_order(arrived, streams):
    for stream in streams:
        numbers = arrived[stream.family, stream.port]
        equal(numbers, sorted(numbers), f"order of flow {stream.family} {stream.port}")
        equal(len(numbers), stream.sent, f"frames of flow {stream.family} {stream.port}")


def establish(context, lab, stream):
    """Real sockets, so that conntrack sees an answer."""
    return context.keep(UdpFlow(lab, stream.family, target=topology.SERVER[stream.family],
                                port=stream.port, source_port=stream.port))


def order(context, args):
    need_two()
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, "xdp", args=("--cpus", all_online(), *args))
    streams = [Stream(family, index) for index in range(FLOWS // 2) for family in (4, 6)]
    for stream in streams:
        flow = establish(context, lab, stream)
        if args:
            flow.exchange(8)
        else:
            flow.wait_offloaded(bpfw)
    ports = context.keep(Port(lab.client, "eth0")), context.keep(Port(lab.server, "eth0"))
    ports[1].drain(0.3)
    fast, before = bpfw.fast_packets(), worked(bpfw)
    check_order(shoot(ports, streams, FRAMES), streams)
    for cpu, ran in worked(bpfw).items():
        expect(ran > before[cpu], f"CPU {cpu} did nothing")
    return bpfw.fast_packets() - fast


@test()
def order_in_the_fast_path(context):
    fast = order(context, ())
    expect(fast >= 0.95 * FLOWS * FRAMES, f"only {fast} of {FLOWS * FRAMES} took the fast path")


@test()
def order_in_the_stack(context):
    """What bpfw leaves to the stack is spread as well."""
    equal(order(context, ("--only", "tcp")), 0, "packets in the fast path")


@test()
def without_the_option(context):
    """Nothing of it is loaded."""
    lab = context.lab("xdp")
    bpfw = context.running(lab, "xdp")
    equal(cpumaps(bpfw), set(), "CPU maps")
    names = {name for _, _, name in attachments(lab.router)}
    equal(names, {"bpfw_xdp"}, "attached programs")


@test()
def status_says_so(context):
    lab = context.lab("xdp")
    last = str(max(online()))
    interfaces = ("lan0:xdp", "wan0:tc")
    dry = context.bpfw(lab, None, interfaces=interfaces,
                       args=("--cpus", last, "--dry-run", "--json"))
    equal(dry.process.wait(20), 0, dry.log)
    bpfw = context.running(lab, None, interfaces=interfaces, args=("--cpus", last))
    for rows in (json.loads(dry.log)["plan"], bpfw.status()["plan"]):
        notes = {row["port"]: row["note"] for row in rows}
        expect(f"spread over CPUs {last}" in notes["lan0"], notes)
        expect("--cpus is for XDP only" in notes["wan0"], notes)
    expect(bpfw.logged(r"'wan0' is attached at tc.*--cpus does nothing there"), bpfw.log)
    # Whether flows leave from XDP by a port at TC, older kernels do not say.
    with UdpFlow(lab) as flow:
        flow.exchange(100)


@test()
def automatic_ports_at_tc(context):
    """Somebody else's XDP program moves the automatic ports to TC, where there is no spreading."""
    lab = context.lab("xdp")
    with lab.router.enter():
        held = xdp.attach_pass(lab.router.ifindex("wan0"))
    try:
        bpfw = context.running(lab, "auto", args=("--cpus", all_online()))
        for name in ("lan0", "wan0"):
            expect(bpfw.logged(rf"'{name}' is attached at tc.*--cpus"), bpfw.log)
        notes = [row["note"] for row in bpfw.status()["plan"]]
        expect(all("--cpus is for XDP only" in note for note in notes), notes)
        exchange(lab, bpfw)
    finally:
        os.close(held)


@test()
def cpus_stay_on_reload(context):
    lab = context.lab("xdp")
    path = f"/tmp/bpfw-cpus-{os.getpid()}.conf"
    with open(path, "w", encoding="ascii") as file:
        file.write(f"cpus {max(online())}\n")
    try:
        bpfw = context.running(lab, "xdp", args=("--config", path))
        with open(path, "w", encoding="ascii") as file:
            file.write("udp-idle 30\n")
        bpfw.send_signal(1)
        expect(topology.wait_until(lambda: bpfw.logged(r"--cpus stays as it is")), bpfw.log)
        exchange(lab, bpfw)
        equal(set(worked(bpfw)), {max(online())}, "CPUs with a thread")
    finally:
        os.unlink(path)


if __name__ == "__main__":
    main(jobs=1)
