#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Flows of every kind of NAT leave the stack, and their data arrives unchanged."""

from netlab import HOOKS, TcpFlow, UdpFlow, equal, expect, find_entry, main, test
from netlab import lab as topology
from netlab.lab import kernel_version

BULK = 8 << 20
DATAGRAMS = 1500
# What still goes through the stack: the packets that keep the conntrack entry alive.
OFFLOADED = 0.95

# Name of the ruleset, then what the initiator dials.
KINDS = {
    "none": dict(target=topology.SERVER, port=5000),
    "masquerade": dict(target=topology.SERVER, port=5000),
    "snat": dict(target=topology.SERVER, port=5000),
    "snat-port": dict(target=topology.SERVER, port=5000),
    "dnat": dict(target=topology.VIRTUAL, port=5000),
    "dnat-port": dict(target=topology.VIRTUAL, port=8080),
    "redirect": dict(target=topology.SERVER, port=8080),
    "both": dict(target=topology.VIRTUAL, port=8080),
    "port-forward": dict(target=topology.WAN0, port=8080, reverse=True),
}


def make_flow(kind, lab, nat, family):
    dial = dict(KINDS[nat], target=KINDS[nat]["target"][family])
    return kind(lab, family, listen_port=5000, **dial)


def check_tuples(bpfw, flow):
    """`bpfw flows` shows the tuples and the NAT that the far end's socket has seen."""
    for wanted in (flow.original(), flow.reply()):
        found = bpfw.flows(**{name: wanted[name] for name in ("family", "protocol", "direction")})
        found = [one for one in found if one["src"] == wanted["src"]
                 and one["sport"] == wanted["sport"] and one["dport"] == wanted["dport"]]
        equal(len(found), 1, f"entries of {flow.name()}, {wanted['direction']}")
        equal({name: found[0][name] for name in wanted}, wanted, f"flow {flow.name()}")
        equal(found[0]["action"], "forward", "action")
        expect(found[0]["bytes"] > found[0]["packets"] > 0, f"counters of {found[0]}")


def check_share(lab, bpfw, transfer, what):
    """The transfer went around the forward hook, by its counter and by bpfw's own."""
    fast, meter = bpfw.fast_packets(), lab.meter()
    transfer()
    meter.read()
    fast = bpfw.fast_packets() - fast
    expect(meter.offloaded_share > OFFLOADED, f"{what}: {meter}; {bpfw.stats()}")
    expect(fast > 0, f"{what}: bpfw counts no packet; {meter}")


@test(*[(nat, hook) for hook in HOOKS for nat in KINDS])
def offload(context, nat, hook):
    lab = context.lab(hook, nat)
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        with make_flow(TcpFlow, lab, nat, family) as flow:
            flow.wait_offloaded(bpfw)
            check_share(lab, bpfw, lambda: flow.exchange(BULK), flow.name())
            check_tuples(bpfw, flow)
            flow.finish()
        with make_flow(UdpFlow, lab, nat, family) as flow:
            flow.wait_offloaded(bpfw)
            check_share(lab, bpfw, lambda: flow.exchange(DATAGRAMS), flow.name())
            check_tuples(bpfw, flow)


@test(*HOOKS)
def bulk_in_one_direction(context, hook):
    """Acknowledgements alone travel the other way: the smallest packets, on their own."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            for upwards in (True, False):
                check_share(lab, bpfw, lambda: flow.one_way(2 * BULK, upwards), flow.name())


@test(*HOOKS)
def many_flows_at_once(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = [context.keep(kind(lab, family, port=5000 + index))
             for index in range(20) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    for flow in flows:
        flow.exchange(100_000 if isinstance(flow, TcpFlow) else 40)
    equal(len(bpfw.flows()), 2 * len(flows), "entries in the fast path")
    for flow in flows:
        check_tuples(bpfw, flow)


@test("tc", "xdp")
def table_is_full(context, hook):
    """--max-flows is a limit on offloading, not on traffic: what does not fit uses the stack."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, args=("--max-flows", "4"))
    flows = [context.keep(UdpFlow(lab, port=5000 + index)) for index in range(12)]
    for _ in range(20):
        for flow in flows:
            flow.exchange(8)
    # Whether a flow is one or two entries is the program's own affair.
    expect(0 < len(bpfw.flows()) <= 8, f"{len(bpfw.flows())} entries with --max-flows 4")


@test("auto", "default")
def hook_is_chosen(context, hook):
    """On veth, native XDP is there: auto takes it, and is what happens without --hook. Where the
    kernel does not say whether a veth takes frames from XDP, it is TC."""
    lab = context.lab("xdp")
    mode = 1 if kernel_version() >= (6, 3) else None
    bpfw = context.running(lab, None if hook == "default" else hook)
    links = lab.router.json("ip", "-j", "link", "show")
    for name in ("lan0", "wan0"):
        link = next(link for link in links if link["ifname"] == name)
        equal(link.get("xdp", {}).get("mode"), mode, f"mode of XDP on {name}")
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        flow.exchange(BULK)


@test("comma", "suffix", "mixed")
def ways_to_name_interfaces(context, way):
    lab = context.lab("xdp")
    names = {"comma": ["lan0,wan0"], "suffix": ["lan0:tc", "wan0:tc"],
             "mixed": ["lan0:xdp", "wan0:tc"]}[way]
    bpfw = context.running(lab, "tc" if way == "comma" else None, interfaces=names)
    for kind in (TcpFlow, UdpFlow):
        with kind(lab) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(1 << 20 if kind is TcpFlow else 200)
            check_tuples(bpfw, flow)


@test("tc", "xdp")
def conntrack_keeps_its_nat(context, hook):
    """Offloading leaves the entry's tuples as they were."""
    lab = context.lab(hook, "both")
    bpfw = context.running(lab, hook)
    with make_flow(TcpFlow, lab, "both", 4) as flow:
        flow.touch()
        before = find_entry(lab.router, *flow.entry_key())
        flow.wait_offloaded(bpfw)
        flow.exchange(1 << 20)
        after = find_entry(lab.router, *flow.entry_key())
        equal((after.original, after.reply, after.state, after.status),
              (before.original, before.reply, before.state, before.status), "conntrack entry")


if __name__ == "__main__":
    main()
