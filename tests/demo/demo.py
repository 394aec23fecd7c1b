#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The main job, shown: a router with nft masquerade forwards real traffic without bpfw, with
bpfw at tc and with bpfw at xdp. Ends with a table of what was offloaded and what it gained.

Client, router and server are network namespaces of this machine and share its CPUs: the CPU time
is that of the whole machine, senders and receivers included, so the router's own gain is larger
than what is shown. bench/ measures the router alone.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "net"))

from netlab import Bpfw, BpfwError, Lab, TcpFlow, UdpFlow, binary  # noqa: E402
from netlab import remove_stale_labs  # noqa: E402
from netlab import lab as topology  # noqa: E402
from netlab.bpfw import environment  # noqa: E402

SECONDS = 3
ROUNDS = 2
SIZE, BURST, STREAMS = 64, 60, 8
UDP_SEGMENT = 103
# Traffic and kind of links -> the ways of forwarding that are compared on them.
CELLS = {
    "TCP, GSO links": ("kernel", "tc"),
    "TCP": ("kernel", "tc", "xdp"),
    f"UDP {SIZE} B": ("kernel", "tc", "xdp"),
}
TITLES = {"kernel": "without bpfw", "tc": "bpfw --hook tc", "xdp": "bpfw --hook xdp"}


def busy_seconds():
    """Time that all CPUs have worked since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Run:
    """Measures of one run of traffic through a lab."""

    def __init__(self, lab, bpfw):
        self._lab, self._bpfw = lab, bpfw
        self._fast = bpfw.fast_packets() if bpfw else 0
        self.meter = lab.meter()
        self.flows = 0
        self._sampler = threading.Timer(SECONDS / 2, self._count_flows)
        if bpfw:
            self._sampler.start()
        self._delivered = lab.server.received("eth0")
        self._busy, self._started = busy_seconds(), time.monotonic()

    def _count_flows(self):
        """In the middle of the run, while the flows are there: one entry for each direction."""
        self.flows = len(self._bpfw.flows()) // 2

    def finish(self):
        self.busy = busy_seconds() - self._busy
        self.seconds = time.monotonic() - self._started
        delivered = self._lab.server.received("eth0")
        self.packets, self.bytes = (now - then for now, then in zip(delivered, self._delivered))
        self.meter.read()
        if self._bpfw:
            self._sampler.join()
        self.fast = self._bpfw.fast_packets() - self._fast if self._bpfw else 0
        return self


@contextlib.contextmanager
def iperf_server(lab):
    with lab.server.enter():
        process = subprocess.Popen(["iperf3", "-s", "-p", "5201"], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def iperf(lab):
    """Run an iperf3 client; the server may not be listening yet."""
    words = ["iperf3", "-c", topology.SERVER[4], "-p", "5201", "-t", str(SECONDS), "-J", "-P", "2"]
    for _ in range(20):
        done = lab.client.run(*words, check=False, timeout=SECONDS + 20)
        error = json.loads(done.stdout).get("error")
        if not error:
            return
        if "refused" not in error:
            raise RuntimeError(f"iperf3: {error}")
        time.sleep(0.2)
    raise RuntimeError("the iperf3 server does not listen")


def run_tcp(lab, bpfw):
    """Bulk TCP from iperf3."""
    with iperf_server(lab):
        measure = Run(lab, bpfw)
        iperf(lab)
        return measure.finish()


def run_udp(lab, bpfw):
    """Small datagrams, as many as go. The sender's kernel cuts them from large ones: that is cheap,
    and leaves the CPU to the router. Nobody reads them; the server's interface counts."""
    flows = [UdpFlow(lab, port=7000 + index) for index in range(STREAMS)]
    try:
        for flow in flows:
            flow.exchange(8)
            if bpfw:
                flow.wait_offloaded(bpfw)
            flow.near.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
            flow.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        measure = Run(lab, bpfw)
        burst, ends = bytes(SIZE * BURST), time.monotonic() + SECONDS
        while time.monotonic() < ends:
            for flow in flows:
                flow.near.send(burst)
        return measure.finish()
    finally:
        for flow in flows:
            flow.close()


def show(title, text, lines):
    print(f"\n  $ {title}")
    shown = text.rstrip().splitlines()
    for line in shown[:lines]:
        print(f"    {line}")
    if len(shown) > lines:
        print(f"    ... {len(shown) - lines} more lines")


def ask(lab, command):
    return lab.router.run(binary(), command, env=environment()).stdout


def show_flows(lab, bpfw):
    """A few live flows, the way a person looks at them; how many entries there were."""
    with contextlib.ExitStack() as stack:
        for index, kind in enumerate((TcpFlow, UdpFlow)):
            for family in (4, 6):
                flow = stack.enter_context(kind(lab, family, port=6000 + index))
                flow.wait_offloaded(bpfw)
                flow.exchange(2 << 20 if kind is TcpFlow else 200)
        show("bpfw flows", ask(lab, "flows"), 10)
        counted = [line for line in ask(lab, "stats").splitlines() if not re.search(r"\s0\s", line)]
        show("bpfw stats   (without the zeros)", "\n".join(counted), 20)
        print(flush=True)


def measure(traffic, mode):
    """One run in a fresh lab."""
    with Lab(offloads="GSO" in traffic) as lab:
        bpfw = None if mode == "kernel" else Bpfw(lab.router, mode)
        try:
            result = (run_udp if "UDP" in traffic else run_tcp)(lab, bpfw)
            if bpfw:
                bpfw.stop()
            return result
        finally:
            if bpfw:
                bpfw.close()
                bpfw.discard()


def show_tools():
    for mode in ("tc", "xdp"):
        with Lab.for_hook(mode) as lab:
            print(f"\n{TITLES[mode]} --iface lan0 --iface wan0")
            bpfw = Bpfw(lab.router, mode)
            try:
                show_flows(lab, bpfw)
                bpfw.stop()
            finally:
                bpfw.close()
                bpfw.discard()


def median(runs, pick):
    return statistics.median(map(pick, runs))


def rate(run):
    return run.bytes * 8 / run.seconds / 1e9


def packet_rate(run):
    return run.packets / run.seconds / 1e3


def cost(run):
    """CPU seconds for each gigabyte delivered."""
    return run.busy / (run.bytes / 1e9)


def packet_cost(run):
    """CPU microseconds for each packet delivered."""
    return run.busy / run.packets * 1e6


def row(traffic, mode, runs, kernel):
    udp = "UDP" in traffic
    how_fast, how_dear = (packet_rate, packet_cost) if udp else (rate, cost)
    speed, price = median(runs, how_fast), median(runs, how_dear)
    cells = [traffic, TITLES[mode], f"{speed:.0f} kpps" if udp else f"{speed:.2f} Gbit/s",
             f"{price:.2f} us/packet" if udp else f"{price:.2f} s/GB"]
    if mode == "kernel":
        return cells + ["", "", "", "", str(sum(one.meter.forwarded_packets for one in runs)), ""]
    return cells + [
        f"{speed / median(kernel, how_fast):.2f} x", f"{price / median(kernel, how_dear):.2f} x",
        str(max(one.flows for one in runs)), str(sum(one.fast for one in runs)),
        str(sum(one.meter.forwarded_packets for one in runs)),
        f"{min(one.meter.offloaded_share for one in runs):.1%}"]


def table(rows):
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
    for cells in rows:
        print("  " + "  ".join(text.ljust(width) if column < 2 else text.rjust(width)
                               for column, (text, width) in enumerate(zip(cells, widths))))


def report(results):
    print(f"\nWhat was offloaded and what it gained; masquerade, {SECONDS} s a run, median of "
          f"{ROUNDS}\n")
    head = ["traffic", "router", "throughput", "CPU", "throughput", "CPU", "flows", "fast path",
            "forward hook", "offloaded"]
    unit = ["", "", "", "", "to kernel", "to kernel", "", "packets", "packets", "bytes"]
    table([head, unit] + [row(traffic, mode, results[traffic, mode], results[traffic, "kernel"])
                          for traffic, modes in CELLS.items() for mode in modes])
    print("\n  CPU is the whole machine's: the senders and receivers run on it too."
          "\n  offloaded: the smallest share, of any run, that went around the forward hook."
          "\n  GSO links hand large packets over whole; the others carry frames as a wire does."
          f"\n  UDP: {STREAMS} streams; what exceeds the CPU is lost, what arrives is counted.")


def check(results):
    """Nothing offloaded is a failure, however nice the table."""
    for (traffic, mode), runs in results.items():
        for one in runs:
            if mode != "kernel" and (not one.fast or one.meter.offloaded_share < 0.5):
                print(f"\ndemo: FAILED: {TITLES[mode]} has not offloaded {traffic}: {one.meter}, "
                      f"{one.fast} packets in the fast path", file=sys.stderr)
                return 1
    return 0


def main():
    if os.geteuid():
        sys.exit("demo: needs root, for network namespaces")
    if not shutil.which("iperf3"):
        sys.exit("demo: iperf3 is not installed")
    if not os.access(binary(), os.X_OK):
        sys.exit(f"demo: {binary()} is not there: run make")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    remove_stale_labs()
    print("client - router - server in network namespaces, nft masquerade on the router")
    results = {(traffic, mode): [] for traffic, modes in CELLS.items() for mode in modes}
    try:
        show_tools()
        for number in range(ROUNDS):
            # All ways in turn: what disturbs the machine for a while disturbs each of them.
            for traffic, mode in results:
                print(f"round {number + 1}: {traffic}, {TITLES[mode]}", flush=True)
                results[traffic, mode].append(measure(traffic, mode))
    except (BpfwError, AssertionError) as error:
        sys.exit(f"demo: {error}")
    report(results)
    return check(results)


if __name__ == "__main__":
    sys.exit(main())
