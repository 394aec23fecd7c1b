#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Flows that stay in the stack: because the user says so, or because the kernel does more to
their packets than bpfw does."""

from netlab import Skip, TcpFlow, UdpFlow, equal, expect, main, test, wait_until
from netlab import lab as topology

HOOKS = ("tc", "xdp")


def exchange(flow):
    flow.exchange(100_000 if isinstance(flow, TcpFlow) else 60)


def check(lab, bpfw, kind, family, offloaded, port=5000, **dial):
    """The flow goes through, and leaves the stack or does not."""
    with kind(lab, family, port=port, **dial) as flow:
        if offloaded:
            flow.wait_offloaded(bpfw)
        exchange(flow)
        if not offloaded:
            equal(flow.in_map(bpfw), [], f"entries of {flow.name()}")


def refused(bpfw, counter):
    """The daemon hears of it by a signal of its own time."""
    counted = wait_until(lambda: bpfw.stats()["daemon"][counter])
    expect(counted, f"{counter}: {bpfw.stats()}")


def rules(lab, text):
    done = lab.router.run("nft", "-f", "-", stdin=f"table inet special {{\n{text}\n}}\n",
                          check=False)
    if done.returncode and "syntax" in done.stderr:
        raise AssertionError(done.stderr)
    if done.returncode:
        raise Skip(f"this kernel cannot do that: {done.stderr.splitlines()[0]}")


@test(*[(hook, where) for hook in HOOKS for where in ("client", "server", "before dnat", "snat")])
def by_address(context, hook, where):
    """--exclude goes by every address that a connection has, on either side of the NAT."""
    prefixes = {"client": topology.CLIENT, "server": topology.SERVER,
                "before dnat": topology.VIRTUAL, "snat": topology.SNAT}[where]
    lab = context.lab(hook, "both")
    args = [word for family, length in ((4, 24 if where == "client" else 32), (6, 128))
            for word in ("--exclude", f"{prefixes[family]}/{length}")]
    bpfw = context.running(lab, hook, args=args)
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            check(lab, bpfw, kind, family, False, target=topology.VIRTUAL[family], port=8080,
                  listen_port=5000)
    refused(bpfw, "refused_excluded")


@test(*HOOKS)
def others_are_not_excluded(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, args=("--exclude", "10.0.1.3", "--exclude", "fd00:1::/127"))
    for family in (4, 6):
        check(lab, bpfw, TcpFlow, family, True)


@test(*HOOKS)
def by_mark(context, hook):
    """VALUE/MASK of the conntrack mark."""
    lab = context.lab(hook)
    rules(lab, "chain marks { type filter hook forward priority -1;\n"
               "tcp dport 5000 ct state new ct mark set 0x1310\n"
               "tcp dport 5001 ct state new ct mark set 0x1320\n"
               "udp dport 5000 ct state new ct mark set 0x10\n}")
    bpfw = context.running(lab, hook, args=("--exclude-mark", "0x10/0xf0"))
    for family in (4, 6):
        check(lab, bpfw, TcpFlow, family, False)
        check(lab, bpfw, UdpFlow, family, False)
        check(lab, bpfw, TcpFlow, family, True, port=5001)
    refused(bpfw, "refused_excluded")


@test(*HOOKS)
def mark_set_later(context, hook):
    """A flow that gets the mark while it is offloaded goes back to the stack."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, args=("--exclude-mark", "7/7"))
    with UdpFlow(lab) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        source, port = flow.near.getsockname()[:2]
        lab.router.run("conntrack", "-U", "-p", "udp", "-s", source, "--orig-port-src", str(port),
                       "-m", "7")
        flow.wait_not_offloaded(bpfw)
        flow.goes_on()
        equal(flow.in_map(bpfw), [], "entries")
        flow.stop()


@test(*[(hook, only) for hook in HOOKS for only in ("tcp", "udp")])
def only_one_protocol(context, hook, only):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, args=("--only", only))
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            check(lab, bpfw, kind, family, kind.protocol == only)
    refused(bpfw, "refused_excluded")


@test(*HOOKS)
def zone(context, hook):
    """The packet alone does not tell which zone it belongs to."""
    lab = context.lab(hook, "none")
    rules(lab, "chain zones { type filter hook prerouting priority raw;\n"
               "meta l4proto { tcp, udp } th dport 5000 ct zone set 7\n"
               "meta l4proto { tcp, udp } th sport 5000 ct zone set 7\n}")
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            check(lab, bpfw, kind, family, False)
            check(lab, bpfw, kind, family, True, port=5001)


@test(*HOOKS)
def helper(context, hook):
    """A connection that a helper reads along."""
    lab = context.lab(hook)
    rules(lab, 'ct helper watch {\ntype "ftp" protocol tcp\n}\n'
               "chain helpers { type filter hook prerouting priority filter;\n"
               'tcp dport 5000 ct helper set "watch"\n}')
    bpfw = context.running(lab, hook)
    check(lab, bpfw, TcpFlow, 4, False)
    refused(bpfw, "refused_helper")
    check(lab, bpfw, TcpFlow, 4, True, port=5001)


@test(*HOOKS)
def sequence_adjustment(context, hook):
    """A SYN proxy answers for the server: every sequence number changes from then on."""
    lab = context.lab(hook, "none")
    lab.router.sysctl("netfilter/nf_conntrack_tcp_loose", 0)
    rules(lab, "chain untracked { type filter hook prerouting priority raw;\n"
               "iifname lan0 tcp dport 5000 tcp flags syn notrack\n}\n"
               "chain proxy { type filter hook forward priority -1;\n"
               "tcp dport 5000 ct state invalid,untracked synproxy mss 1400 wscale 7\n}")
    # The lab's own chain would drop what the proxy has to see.
    lab.router.run("nft", "flush", "chain", "inet", "lab", "forward")
    lab.router.run("nft", "chain", "inet", "lab", "forward", "{ policy accept;\n}")
    bpfw = context.running(lab, hook)
    check(lab, bpfw, TcpFlow, 4, False)
    refused(bpfw, "refused_helper")
    check(lab, bpfw, TcpFlow, 4, True, port=5001)


@test(*HOOKS)
def flowtable(context, hook):
    """In a flowtable of the kernel's: [OFFLOAD] in `conntrack -L`."""
    lab = context.lab(hook)
    rules(lab, "flowtable fast { hook ingress priority 0; devices = { lan0, wan0 }\n}\n"
               "chain offloads { type filter hook forward priority 1;\n"
               "meta l4proto { tcp, udp } th dport 5000 flow add @fast\n}")
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        check(lab, bpfw, TcpFlow, family, False)
        check(lab, bpfw, TcpFlow, family, True, port=5001)
    refused(bpfw, "refused_kernel_offload")


if __name__ == "__main__":
    main()
