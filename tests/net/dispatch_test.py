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
    fast, judged = bpfw.fast_packets(), filter_.packets()
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


@test("tc", "xdp")
def filter_first(context, hook):
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, hook)
    bpfw = context.running(lab, None)
    how = "behind" if hook == "xdp" else "tc"
    stands(bpfw, lan0=how, wan0=how)
    for kind in (TcpFlow, UdpFlow):
        with kind(lab) as flow:
            goes_fast(flow, bpfw, filter_)
            filter_.load(REFUSE)
            stops(flow)
            filter_.load(ACCEPT)


if __name__ == "__main__":
    main(jobs=2)
