#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Kernels without tcx: bpfw falls back to a filter of the clsact qdisc.

The kernel that runs the test has tcx. strace makes the creation of the tcx links fail there, as it
does on kernels that do not know the attach type. Which of bpfw's bpf() calls these are is learned
by runs before: a call that is made to fail is followed by others than one that succeeds.
"""

import os
import re
import tempfile
import time

from netlab import Bpfw, Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test
from netlab import wait_until
from netlab.bpfw import BpfwError
from netlab.lab import run

PORTS = ("lan0", "wan0")
BULK = 4 << 20
CALL = re.compile(r"^(?P<pid>\d+) +bpf\((?P<rest>.*)$", re.MULTILINE)
TCX_LINK = re.compile(r"BPF_LINK_CREATE\b.*attach_type=(0x2e\b|BPF_TCX_INGRESS\b)")
INJECTED = "(INJECTED)"
ATTEMPTS = 5
# The filter is known by these: the next start has to find the one that a killed run has left.
FILTERS = [(port, "clsact/ingress", "bpfw_tc") for port in PORTS]
LINKS = [(port, "tcx/ingress", "bpfw_tc") for port in PORTS]


class Traced(Bpfw):
    """bpfw under strace. Signals go to bpfw itself, which strace has started."""

    def __init__(self, namespace, when=None, **kwargs):
        self._trace = tempfile.NamedTemporaryFile(prefix="bpfw-trace-", mode="r")
        inject = ["-e", f"inject=bpf:error=EINVAL:when={when}"] if when else []
        # LeakSanitizer does not work on a process that is traced. strace that is killed lets its
        # child run on: the child has to ask for its own end.
        super().__init__(namespace, "tc", launcher=[
            "nsenter", f"--net={namespace.path}",
            "strace", "-f", "-e", "trace=bpf", *inject, "-o", self._trace.name,
            "env", "ASAN_OPTIONS=detect_leaks=0", "setpriv", "--pdeathsig", "KILL"], **kwargs)

    def calls(self):
        """What follows the parenthesis of each bpf() call."""
        with open(self._trace.name, encoding="utf-8", errors="replace") as file:
            return list(CALL.finditer(file.read()))

    def link_calls(self):
        """The numbers, from 1 on, of the calls that create a tcx link."""
        return [number for number, call in enumerate(self.calls(), 1)
                if TCX_LINK.search(call["rest"])]

    def injected(self):
        return [number for number, call in enumerate(self.calls(), 1)
                if INJECTED in call["rest"]]

    def send_signal(self, number):
        calls = self.calls()
        if not self.alive():
            raise ProcessLookupError
        if calls:
            os.kill(int(calls[0]["pid"]), number)
        else:
            self.process.send_signal(number)

    def discard(self):
        self._trace.close()
        super().discard()


def attached(lab):
    """As attachments(); a filter's name has the program's number in it."""
    return [(device, kind, name.partition(":")[0])
            for device, kind, name in attachments(lab.router)]


def need_strace():
    if run(["sh", "-c", "command -v strace && command -v setpriv"], check=False).returncode:
        raise Skip("strace or setpriv is not installed, no system call can be made to fail")


def need_tcx(context, lab):
    bpfw = context.running(lab, "tc")
    bpfw.stop()
    if not bpfw.logged(r"ready:.*tcx"):
        raise Skip("this kernel has no tcx: every interface falls back")


class Missed(Exception):
    """Other calls failed than those that were meant."""


def attempts(attempt):
    """bpfw reads its clocks once more, by a bpf() call, if reading them was interrupted: a run in
    which that moved the calls says nothing, and is repeated."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return attempt()
        except (Missed, BpfwError):
            if not left:
                raise


def faulty(context, lab, when, count):
    """A running bpfw whose first attempts to create a tcx link have failed, and nothing else."""
    traced = context.keep(Traced(lab.router, when))
    if traced.injected() == traced.link_calls()[:count]:
        return traced
    traced.stop()
    raise Missed(f"calls {traced.injected()} failed, links were made by {traced.link_calls()}")


def trial(context, lab, when=None):
    """The numbers of the calls that create tcx links in a run in which this one fails, if any."""
    traced = faulty(context, lab, when, 1 if when else 0)
    calls = traced.link_calls()
    traced.stop()
    equal(len(calls), len(PORTS), "tcx links that a run creates, by its system calls")
    return calls


def faults(context, lab):
    """strace's expression for the calls by which both links are created, and for the first."""
    need_strace()
    first, second = attempts(lambda: trial(context, lab, trial(context, lab)[0]))
    return f"{first}..{second}+{second - first}", str(first)


def without_tcx(context, lab, when):
    """A running bpfw whose attempts to create a tcx link have all failed, and nothing else."""
    traced = attempts(lambda: faulty(context, lab, when, len(PORTS)))
    expect(traced.logged("^bpfw: ready.*clsact.*clsact"), f"does not say clsact: {traced.log}")
    equal(attached(lab), FILTERS, "attached programs")
    return traced


def clsact_ports(lab):
    return [port for port in PORTS
            if "clsact" in lab.router.run("tc", "qdisc", "show", "dev", port).stdout]


def make_flows(context, lab):
    return [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]


def check_offload(lab, bpfw, flow):
    flow.wait_offloaded(bpfw)
    meter = lab.meter()
    flow.exchange(BULK if isinstance(flow, TcpFlow) else 1000)
    expect(meter.read().offloaded_share > 0.9, f"{flow.name()}: {meter}; {bpfw.stats()}")


@test()
def offloads_and_cleans_up(context):
    lab = context.lab("tc")
    when, _ = faults(context, lab)
    bpfw = without_tcx(context, lab, when)
    equal(clsact_ports(lab), list(PORTS), "interfaces with a clsact qdisc")
    flows = make_flows(context, lab)
    for flow in flows:
        check_offload(lab, bpfw, flow)
    bpfw.stop()
    equal(attached(lab), [], "attached programs after SIGTERM")
    equal(clsact_ports(lab), [], "interfaces with a clsact qdisc after SIGTERM")
    for flow in flows:
        flow.touch()


@test()
def one_interface_without_tcx(context):
    lab = context.lab("tc")
    need_tcx(context, lab)
    _, first = faults(context, lab)
    bpfw = attempts(lambda: faulty(context, lab, first, 1))
    equal(attached(lab), sorted([FILTERS[0], LINKS[1]]), "attached programs")
    for flow in make_flows(context, lab):
        check_offload(lab, bpfw, flow)
    bpfw.stop()
    equal(attached(lab), [], "attached programs after SIGTERM")
    equal(clsact_ports(lab), [], "interfaces with a clsact qdisc after SIGTERM")


@test()
def qdisc_of_somebody_else_stays(context):
    lab = context.lab("tc")
    lab.router.run("tc", "qdisc", "add", "dev", "wan0", "clsact")
    when, _ = faults(context, lab)
    bpfw = without_tcx(context, lab, when)
    check_offload(lab, bpfw, context.keep(TcpFlow(lab)))
    bpfw.stop()
    equal(attached(lab), [], "attached programs after SIGTERM")
    equal(clsact_ports(lab), ["wan0"], "interfaces with a clsact qdisc after SIGTERM")


def program_ids(lab):
    listed = lab.router.json("bpftool", "-j", "net", "show")
    return sorted(item["id"] for hooks in listed for item in hooks.get("tc", []))


def through_stack(lab, flows):
    """The background traffic goes on, and the forward hook sees it."""
    meter = lab.meter()
    time.sleep(0.3)
    meter.read()
    return (not any(flow.error for flow in flows) and meter.forwarded_packets > 50
            and meter.offloaded_share < 0.2)


@test()
def killed_and_started_again(context):
    """Nothing takes the filter away with the process: the heartbeat makes it pass everything, and
    the next start puts its own in the same place."""
    lab = context.lab("tc")
    when, _ = faults(context, lab)
    bpfw = without_tcx(context, lab, when)
    flows = make_flows(context, lab)
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    bpfw.kill()
    equal(attached(lab), FILTERS, "programs left by the killed bpfw")
    left = program_ids(lab)
    expect(wait_until(lambda: through_stack(lab, flows), 8), "the fast path goes on by itself")
    for flow in flows:
        flow.goes_on()
    bpfw = without_tcx(context, lab, when)
    expect(not set(left) & set(program_ids(lab)), "the leftover was not replaced")
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.goes_on()
    bpfw.stop()
    equal(attached(lab), [], "attached programs after SIGTERM")
    for flow in flows:
        flow.goes_on()
        flow.stop()
    equal(lab.counter("invalid")[0], 0, "packets that conntrack calls invalid")


@test()
def second_instance_is_refused(context):
    lab = context.lab("tc")
    when, _ = faults(context, lab)
    without_tcx(context, lab, when)
    try:
        context.keep(Traced(lab.router, when))
    except BpfwError as error:
        expect("lan0" in str(error) and "exit status 1" in str(error), f"said: {error}")
    else:
        raise AssertionError("a second bpfw was attached")
    equal(attached(lab), FILTERS, "attached programs")


if __name__ == "__main__":
    main()
