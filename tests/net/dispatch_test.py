#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The filter and the fast path on the same interfaces, whoever comes first, whoever ends.

Real flows are forwarded by the fast path behind the filter; the counters of both say so.
"""

import os
import re
import signal
import threading
import time

from netlab import TcpFlow, UdpFlow, attachments, binary, equal, expect, main, test
from netlab import wait_until
from netlab.bpfw import environment
from netlab.lab import SLOW

PORTS = ("lan0", "wan0")
NOTICED = 5.0  # the daemon looks once a second
MODES = {"tc": ("tcx", "clsact"), "xdp": ("xdp",)}

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
:OUTPUT ACCEPT [0:0]
{rules}COMMIT
"""


def rules(*lines, policy="DROP"):
    return RULES.format(policy=policy, rules="".join(f"{line}\n" for line in lines))


# What the tests' flows need; the second one drops them.
ACCEPT = rules("-A FORWARD -p tcp -j ACCEPT", "-A FORWARD -p udp -j ACCEPT")
REFUSE = rules("-A FORWARD -p tcp -m tcp --dport 5000 -j DROP",
               "-A FORWARD -p udp -m udp --dport 5000 -j DROP", policy="ACCEPT")


class Filter:
    """bpfw filter in a lab's router."""

    def __init__(self, context, lab):
        self.namespace = lab.router
        context.keep(self)

    def close(self):
        """What is pinned would outlive the namespace."""
        self("unload", check=False)

    def __call__(self, *words, stdin=None, check=True):
        command = ["nsenter", f"--net={self.namespace.path}", binary(), "filter", *words]
        return self.namespace.run(*command, stdin=stdin, check=check, env=environment())

    def load(self, text, hook=None, ports=PORTS, check=True):
        words = [word for port in ports for word in ("--iface", port)]
        return self("load", "-", *words, *(["--hook", hook] if hook else []), stdin=text,
                    check=check)

    def packets(self, chain="FORWARD"):
        """What the chain's rules and policy have counted."""
        shown = self("show", "-4", "--counters").stdout
        counted = re.findall(rf"^\[(\d+):\d+\] -A {chain} ", shown, re.MULTILINE)
        counted += re.findall(rf"^:{chain} \w+ \[(\d+):", shown, re.MULTILINE)
        return sum(map(int, counted))


def modes(bpfw):
    return {row["path"][-1]: (row["mode"], row.get("note", "")) for row in bpfw.status()["plan"]}


def stands(bpfw, **wanted):
    """Wait until the ports are attached so: tc, xdp, or behind (the filter, at XDP)."""
    def right():
        seen = modes(bpfw)
        return all(seen[port][0] in MODES["xdp" if how == "behind" else how]
                   and ("behind the filter" in seen[port][1]) == (how == "behind")
                   for port, how in wanted.items())
    expect(wait_until(right, NOTICED), f"ports are {modes(bpfw)}, not {wanted}\n{bpfw.log}")


def goes_fast(flow, bpfw, filter_):
    """The fast path forwards the flow, and the filter has judged each of its packets."""
    flow.wait_offloaded(bpfw)
    # A late ACK in between may be judged twice, but not be missed.
    judged, fast = filter_.packets(), bpfw.fast_packets()
    for _ in range(5):
        flow.touch()
    fast, judged = bpfw.fast_packets() - fast, filter_.packets() - judged
    expect(fast >= 20, f"the fast path forwarded {fast} packets")
    expect(judged >= fast, f"the filter judged {judged} of {fast} packets that were forwarded")


def goes(flow):
    """It goes, by whatever way."""
    flow.touch()


def stops(flow):
    """Nothing of a flow arrives any more."""
    if isinstance(flow, UdpFlow):
        flow.silent()
        return
    try:
        flow.exchange(200, timeout=1)
    except AssertionError:
        return
    raise AssertionError(f"{flow.name()} goes on")


def both_flows(context, lab, family=4):
    return [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow)]


def attached_programs(lab):
    return {(device, name) for device, _, name in attachments(lab.router)}


@test("tc", "xdp")
def filter_first(context, hook):
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, hook)
    bpfw = context.running(lab, None)
    how = "behind" if hook == "xdp" else "tc"
    stands(bpfw, lan0=how, wan0=how)
    for flow in both_flows(context, lab):
        goes_fast(flow, bpfw, filter_)
        filter_.load(REFUSE)
        stops(flow)
        filter_.load(ACCEPT)
    with TcpFlow(lab, 6) as flow:  # a family without rules
        flow.wait_offloaded(bpfw)


@test("tc", "xdp")
def fast_path_first(context, hook):
    """Rules hold for offloaded flows at once, before the daemon can know of them."""
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, None)
    stands(bpfw, lan0="xdp", wan0="xdp")
    filter_ = Filter(context, lab)
    flows = both_flows(context, lab)
    for flow in flows:
        flow.wait_offloaded(bpfw)
    bpfw.freeze()
    filter_.load(REFUSE, hook)
    for flow in flows:
        stops(flow)
    filter_.load(ACCEPT)
    bpfw.thaw()
    how = "behind" if hook == "xdp" else "tc"
    stands(bpfw, lan0=how, wan0=how)
    with UdpFlow(lab, port=5001) as flow:
        goes_fast(flow, bpfw, filter_)


@test("tc", "xdp")
def traffic_goes_on(context, hook):
    """The filter comes, is loaded anew and goes: every echo of a flow arrives."""
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, None)
    filter_ = Filter(context, lab)
    flow = context.keep(TcpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    for _ in range(2):
        filter_.load(ACCEPT, hook)
        stands(bpfw, lan0="behind" if hook == "xdp" else "tc")
        flow.wait_offloaded(bpfw)
        filter_.load(ACCEPT)
        flow.goes_on()
        filter_("unload")
        stands(bpfw, lan0="xdp", wan0="xdp")
        flow.wait_offloaded(bpfw)
        flow.goes_on()
    flow.stop()
    equal({name for _, name in attached_programs(lab)}, {"bpfw_xdp"}, "programs attached at last")


@test("tc", "xdp")
def unloaded_before_it_was_noticed(context, hook):
    """The daemon's link was taken and given up while the daemon slept."""
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, None)
    filter_ = Filter(context, lab)
    bpfw.freeze()
    filter_.load(REFUSE, hook)
    filter_("unload")
    flow = context.keep(TcpFlow(lab))
    goes(flow)
    bpfw.thaw()
    stands(bpfw, lan0="xdp", wan0="xdp")
    flow.wait_offloaded(bpfw)
    filter_.load(ACCEPT, hook)
    stands(bpfw, lan0="behind" if hook == "xdp" else "tc")
    bpfw.freeze()  # and now its place behind the filter
    filter_("unload")
    filter_.load(ACCEPT, hook)
    goes(flow)
    bpfw.thaw()
    goes_fast(flow, bpfw, filter_)


@test(*((hook, end) for hook in ("tc", "xdp") for end in ("ended", "killed", "stopped")))
def without_the_daemon(context, hook, end):
    """The filter stays in force, flows take the stack, and the next daemon stands behind it."""
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, hook)
    bpfw = context.running(lab, None)
    flow = context.keep(TcpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    if end == "stopped":
        bpfw.freeze()
    else:
        bpfw.send_signal(signal.SIGKILL if end == "killed" else signal.SIGTERM)
        bpfw.process.wait(20)
    flow.goes_on()
    if end == "stopped":  # its heart beat for two seconds more
        time.sleep(2.5)
    flow.stop()
    meter = lab.meter()
    flow.exchange(1 << 20)
    expect(meter.read().offloaded_share < 0.1, f"not by the stack: {meter}")
    judged = filter_.packets()
    goes(flow)
    expect(filter_.packets() - judged >= 8, "the filter does not judge what goes by the stack")
    filter_.load(REFUSE)
    stops(flow)
    filter_.load(ACCEPT)
    if end == "stopped":
        bpfw.thaw()
    else:
        bpfw = context.running(lab, None)
    with UdpFlow(lab, port=5001) as other:
        goes_fast(other, bpfw, filter_)


@test()
def ports_that_are_not_filtered(context):
    """From them nothing goes out at XDP while a filter is loaded: it judges where packets leave."""
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, "xdp")
    filter_ = Filter(context, lab)
    flows = both_flows(context, lab)
    for flow in flows:
        flow.wait_offloaded(bpfw)
    bpfw.freeze()
    filter_.load(REFUSE, "xdp", ports=("wan0",))
    equal(attached_programs(lab), {("wan0", "entry_xdp"), ("wan0", "entry_tc_out")},
          "programs attached before the daemon can know")
    for flow in flows:
        stops(flow)
    bpfw.thaw()
    stands(bpfw, lan0="tc", wan0="behind")
    for flow in flows:
        stops(flow)
    filter_.load(ACCEPT)
    with UdpFlow(lab, port=5001) as flow:
        goes_fast(flow, bpfw, filter_)
        bpfw.freeze()
        filter_.load(REFUSE.replace("5000", "5001"))
        stops(flow)
        bpfw.thaw()


@test()
def filter_moves_to_another_hook(context):
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, "tc")
    bpfw = context.running(lab, None)
    flow = context.keep(TcpFlow(lab))
    flow.start()
    for hook, how, entry in (("xdp", "behind", "entry_xdp"), ("tc", "tc", "entry_tc_in")):
        filter_.load(ACCEPT, hook)
        stands(bpfw, lan0=how, wan0=how)
        flow.wait_offloaded(bpfw)
        flow.goes_on()
        names = {name for _, name in attached_programs(lab) if name.startswith("entry")}
        equal(names, {entry, "entry_tc_out"}, "programs of the filter")
    flow.stop()


if __name__ == "__main__":
    main(jobs=2)
