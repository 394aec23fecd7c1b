#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel decides for each packet, and bpfw cannot: routing by TOS, IPsec policies."""

from netlab import Skip, TcpFlow, UdpFlow, equal, expect, main, test, wait_until
from netlab import lab as topology

HOOKS = ("tc", "xdp")


def exchange(flow):
    flow.exchange(100_000 if isinstance(flow, TcpFlow) else 60)


def check_stays(lab, bpfw, counter, family=4):
    for kind in (TcpFlow, UdpFlow):
        with kind(lab, family, port=6000) as flow:
            exchange(flow)
            equal(flow.in_map(bpfw), [], f"entries of {flow.name()}")
    counted = wait_until(lambda: bpfw.stats()["daemon"][counter])
    expect(counted, f"{counter}: {bpfw.stats()['daemon']}")


def check_offloaded(lab, bpfw, family=4):
    for kind in (TcpFlow, UdpFlow):
        with kind(lab, family, port=6000) as flow:
            flow.wait_offloaded(bpfw)
            exchange(flow)


@test(*[(hook, family) for hook in HOOKS for family in (4, 6)])
def rule_by_tos(context, hook, family):
    """A rule that comes takes the flows back, and one that goes gives them back."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    with UdpFlow(lab, family) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        lab.router.run("ip", f"-{family}", "rule", "add", "tos", "0x10", "lookup", "main")
        flow.wait_not_offloaded(bpfw)
        check_stays(lab, bpfw, "refused_per_packet", family)
        check_offloaded(lab, bpfw, 10 - family)
        flow.goes_on()
        lab.router.run("ip", f"-{family}", "rule", "del", "tos", "0x10", "lookup", "main")
        flow.wait_offloaded(bpfw)
        flow.stop()


@test(*HOOKS)
def route_by_tos(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    with UdpFlow(lab) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        lab.router.ip(f"route add {topology.SERVICE[4]} tos 0x10 via {topology.SERVER[4]}")
        flow.wait_not_offloaded(bpfw)
        check_stays(lab, bpfw, "refused_per_packet")
        flow.goes_on()
        flow.stop()


@test(*HOOKS)
def route_by_tos_is_there(context, hook):
    lab = context.lab(hook)
    lab.router.ip(f"route add {topology.SERVICE[4]} tos 0x10 via {topology.SERVER[4]}")
    bpfw = context.running(lab, hook)
    check_stays(lab, bpfw, "refused_per_packet")
    check_offloaded(lab, bpfw, 6)


def policy(lab, action, direction, family, *words, selector=()):
    done = lab.router.run("ip", "xfrm", "policy", action,
                          "src", topology.CLIENT[family], "dst", topology.SERVER[family], *selector,
                          "dir", direction, *words, check=False)
    if done.returncode:
        raise Skip(f"this kernel has no IPsec policies: {done.stderr.strip()}")


@test(*[(hook, family, direction) for hook in HOOKS for family in (4, 6)
        for direction in ("fwd", "out")])
def ipsec_policy(context, hook, family, direction):
    """One that comes while the flow is offloaded: from then on the kernel's word counts."""
    lab = context.lab(hook, "none")
    bpfw = context.running(lab, hook)
    with UdpFlow(lab, family) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        policy(lab, "add", direction, family, "action", "block")
        flow.wait_not_offloaded(bpfw)
        expect(flow.silent(), "the policy blocks, and packets go through")
        expect(bpfw.stats()["daemon"]["refused_ipsec"] > 0, f"{bpfw.stats()['daemon']}")
        policy(lab, "delete", direction, family)
        flow.wait_offloaded(bpfw)
        flow.goes_on()
        flow.stop(check=False)


@test(*HOOKS)
def ipsec_policy_of_others(context, hook):
    """A policy for other addresses is no reason to stay in the stack."""
    lab = context.lab(hook, "none")
    policy(lab, "add", "out", 4, "action", "block", selector=("proto", "tcp", "dport", "9"))
    bpfw = context.running(lab, hook)
    check_offloaded(lab, bpfw)


if __name__ == "__main__":
    main()
