#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Routes with several next hops. The kernel chooses by a hash of each packet; where bpfw cannot
know it, the flow stays in the stack and on its uplink."""

from netlab import TcpFlow, UdpFlow, equal, expect, main, test
from netlab import lab as topology

FLOWS = 8
PORTS = ("wan0", "wan1")


def two_uplinks(context, hook):
    lab = context.lab(hook, "none")
    lab.add_second_uplink()
    for family in (4, 6):
        lab.router.ip(f"route replace {topology.SERVICE[family]} "
                      f"nexthop via {topology.SERVER[family]} dev wan0 "
                      f"nexthop via {topology.SERVER1[family]} dev wan1")
    # IPv4 hashes the addresses alone: several of them, so that both uplinks are used.
    lab.server.ip(*(f"addr add {address}/32 dev lo" for address in addresses()))
    lab.router.ip(*(f"route replace {address} nexthop via {topology.SERVER[4]} dev wan0 "
                    f"nexthop via {topology.SERVER1[4]} dev wan1" for address in addresses()))
    return lab


def addresses():
    return [f"10.0.9.{number}" for number in range(20, 20 + FLOWS)]


def uplinks_of(lab, flow):
    """By which uplinks the router sends the flow's packets: what the server's ports receive."""
    before = [lab.server.received(port)[1] for port in ("eth0", "eth1")]
    flow.exchange(60_000 if isinstance(flow, TcpFlow) else 60)
    after = [lab.server.received(port)[1] for port in ("eth0", "eth1")]
    counts = [now - then for now, then in zip(after, before)]
    return [port for port, count in zip(PORTS, counts) if count > 4000]


def upwards(bpfw, flow):
    return [one for one in flow.in_map(bpfw) if one["ingress"] == "lan0"]


def start(context, lab, hook):
    return context.running(lab, hook, interfaces=("lan0", *PORTS))


@test("tc", "xdp")
def addresses_decide(context, hook):
    """IPv4 as it is by default: each flow leaves the stack and stays on its uplink."""
    lab = two_uplinks(context, hook)
    flows = [context.keep(kind(lab, 4, target=address, bind=address))
             for address in addresses() for kind in (TcpFlow, UdpFlow)]
    before = [uplinks_of(lab, flow) for flow in flows]
    bpfw = start(context, lab, hook)
    for flow, uplinks in zip(flows, before):
        flow.wait_offloaded(bpfw)
        equal(uplinks_of(lab, flow), uplinks, f"uplinks of {flow.name()}")
        flow.wait_offloaded(bpfw)
        equal([[one["egress"]] for one in upwards(bpfw, flow)], [uplinks],
              f"egress of {flow.name()} in the map; {bpfw.stats()['daemon']}")
    equal({uplink for uplinks in before for uplink in uplinks}, set(PORTS), "uplinks used")


@test(*[(hook, family, policy) for hook in ("tc", "xdp") for family, policy in
        ((6, 0), (6, 1), (4, 1))])
def packet_decides(context, hook, family, policy):
    """By its flow label, or by a hash that came with it: that is left to the kernel."""
    lab = two_uplinks(context, hook)
    lab.router.sysctl(f"ipv{family}/fib_multipath_hash_policy", policy)
    if family == 6:
        # One setting for both families is what bpfw reads; IPv6 is never predictable.
        lab.router.sysctl("ipv4/fib_multipath_hash_policy", 0)
    bpfw = start(context, lab, hook)
    target = topology.SERVICE[family]
    for number in range(FLOWS):
        with TcpFlow(lab, family, target=target, bind=target, port=5000 + number) as flow:
            before = uplinks_of(lab, flow)
            equal(uplinks_of(lab, flow), before, f"uplinks of {flow.name()}")
            equal(upwards(bpfw, flow), [], f"entries of {flow.name()}")
    refused = bpfw.stats()["daemon"]["refused_multipath"]
    expect(refused > 0, f"nothing was refused: {bpfw.stats()}")


@test("tc", "xdp")
def one_next_hop_is_enough(context, hook):
    """A route that is left with one next hop is like any other."""
    lab = two_uplinks(context, hook)
    bpfw = start(context, lab, hook)
    target = topology.SERVICE[6]
    with TcpFlow(lab, 6, target=target, bind=target) as flow:
        flow.touch()
        lab.router.ip(f"route replace {target} via {topology.SERVER[6]} dev wan0")
        flow.wait_offloaded(bpfw)
        equal(uplinks_of(lab, flow), ["wan0"], "uplinks")


if __name__ == "__main__":
    main()
