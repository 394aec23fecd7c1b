#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Conntrack stays truthful: flows begin, end and expire as they do without the fast path."""

import os
import time

from netlab import HOOKS, TcpFlow, UdpFlow, entries, equal, expect, find_entry, main, test
from netlab import wait_until
from netlab import frames
from netlab import lab as topology

# The contract says 2 s; the rest is for a machine that runs other tests at the same time.
SETTLED = 4.0
# Conntrack gives data that it has not seen acknowledged 300 s, an RST that it doubts 10 s.
LONG = 200
AHEAD = 1 << 30


def entry_of(lab, flow):
    return find_entry(lab.router, *flow.entry_key())


def expect_established(lab, flow, why):
    """The entry is established, with the timeout of an established connection."""
    def healthy():
        entry = entry_of(lab, flow)
        return entry and entry.state == "ESTABLISHED" and entry.timeout > LONG
    expect(wait_until(healthy, SETTLED), f"{why}: {entry_of(lab, flow)}")


def expect_ended(lab, flow, why):
    """The entry has left ESTABLISHED, and nothing gives it new time."""
    def ended():
        entry = entry_of(lab, flow)
        return entry is None or entry.state != "ESTABLISHED"
    expect(wait_until(ended, SETTLED), f"{why}: {entry_of(lab, flow)}")
    first = entry_of(lab, flow)
    time.sleep(2.2)
    second = entry_of(lab, flow)
    expect(first is None or second is None
           or (second.timeout < first.timeout and second.state == first.state),
           f"{why}: {first}, and 2 s later {second}")


@test(*HOOKS)
def close_by_fin(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(1 << 20)
            flow.finish()
            flow.wait_not_offloaded(bpfw)
            expect(wait_until(lambda: entry_of(lab, flow).state in ("TIME_WAIT", "CLOSE"), SETTLED),
                   f"after FIN: {entry_of(lab, flow)}")
            expect_ended(lab, flow, "after FIN")


@test(*HOOKS)
def half_closed(context, hook):
    """One end has closed, the other goes on sending."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        flow.near.shutdown(1)
        flow.one_way(4 << 20, upwards=False)
        flow.far.shutdown(1)
        flow.wait_not_offloaded(bpfw)
        expect_ended(lab, flow, "after both FIN")


@test(*[(side, hook) for hook in HOOKS for side in ("client", "server")])
def genuine_rst(context, side, hook):
    """Conntrack's own window is stale by then, yet the entry has to go."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(4 << 20)
            name = flow.entry_key()
            flow.reset(far=side == "server")
            flow.entry_key = lambda name=name: name
            expect_ended(lab, flow, f"after a genuine RST of the {side}")
            expect(not bpfw.flows(protocol="tcp"), f"still offloaded: {bpfw.flows()}")


def fill(sock):
    """Send until neither the far end nor the window takes more."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 0.3:
        try:
            sock.send(bytes(65536))
            quiet_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)


@test(*[(side, hook) for hook in HOOKS for side in ("client", "server")])
def genuine_rst_on_unread_data(context, side, hook):
    """The window is closed and data is left in both queues when one end gives up."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for sender in ("near", "far"):
        with TcpFlow(lab) as flow:
            flow.wait_offloaded(bpfw)
            fill(getattr(flow, sender))
            name = flow.entry_key()
            flow.reset(far=side == "server")
            flow.entry_key = lambda name=name: name
            expect_ended(lab, flow, f"after a genuine RST of the {side}, {sender} end sending")


def forge(lab, flow, side, flags, offset):
    """Inject a segment whose numbers are out of the window by offset, as one end.

    The numbers in use are learned from a segment that this end receives. The acknowledgement has to
    be wrong as well: where conntrack takes the segment for the router's own, the router answers
    with an RST that has this number."""
    namespace, gateway = ((lab.client, topology.LAN0_MAC) if side == "client"
                          else (lab.server, topology.WAN0_MAC))
    with frames.Port(namespace, "eth0") as port:
        flow.touch()
        seen = [frames.fields(captured) for captured in port.drain(0.1)]
        last = [one for one in seen if "seq" in one][-1]
        segment = frames.tcp(last["dst"], last["src"], last["dport"], last["sport"],
                             last["ack"] + offset, last["seq"] + offset, flags)
        packet = (frames.ipv4 if flow.family == 4 else frames.ipv6)(
            last["dst"], last["src"], 6, segment)
        port.send(frames.ethernet(gateway, namespace.mac("eth0"), packet))


FORGERIES = {
    "rst": (frames.RST, AHEAD), "rst-ack": (frames.RST | frames.ACK, AHEAD),
    "old-rst": (frames.RST, -AHEAD), "fin": (frames.FIN | frames.ACK, AHEAD),
    "old-fin": (frames.FIN | frames.ACK, -AHEAD),
}


@test(*[(side, hook) for hook in HOOKS for side in ("client", "server")])
def forged_end(context, side, hook):
    """A forged RST or FIN ends nothing: not the flow, not the entry."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            for name, (flags, offset) in FORGERIES.items():
                flow.wait_offloaded(bpfw)
                forge(lab, flow, side, flags, offset)
                flow.exchange(256 << 10)
                expect_established(lab, flow, f"after a forged {name} from the {side}")
            flow.wait_offloaded(bpfw)
            flow.finish()
            expect_ended(lab, flow, "after FIN")


@test(*[(name, hook) for hook in HOOKS for name in ("rst", "fin")])
def forged_end_on_idle_connection(context, name, hook):
    """The kernel gives an entry 10 s after an RST that it only suspects. No packet of the
    connection comes to correct that; it has to be corrected all the same."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = {side: context.keep(TcpFlow(lab)) for side in ("client", "server")}
    for side, flow in flows.items():
        flow.wait_offloaded(bpfw)
        forge(lab, flow, side, *FORGERIES[name])
    time.sleep(13)
    for side, flow in flows.items():
        expect_established(lab, flow, f"13 s after a forged {name} from the {side}")
        flow.exchange(100_000)


@test(*HOOKS)
def unanswered_udp(context, hook):
    """A stream that nobody answers stays in the stack, and leaves it once it is answered."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    with UdpFlow(lab) as flow:
        for _ in range(100):
            flow.send()
            flow.receive()
            time.sleep(0.005)
        expect(not bpfw.flows(), f"unanswered, yet offloaded: {bpfw.flows()}")
        flow.answer(b"answer")
        equal(flow.near.recv(100), b"answer", "the answer")

        def sends_fast():
            flow.send()
            flow.receive()
            return any(one["packets"] for one in bpfw.flows(direction="original"))
        expect(wait_until(sends_fast, 5), f"answered, but not offloaded: {bpfw.stats()}")


@test(*[(when, hook) for hook in HOOKS for when in ("before", "after")])
def entry_deleted(context, when, hook):
    """conntrack -D and -F take flows out of the fast path, also those of entries older than bpfw:
    with nf_conntrack_events=2 these emit no event."""
    lab = context.lab(hook)
    flows = []

    def make():
        for family in (4, 6):
            flows.extend(context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow))
        for flow in flows:
            flow.touch()
    if when == "before":
        make()
    bpfw = context.running(lab, hook)
    if when == "after":
        make()
    for flow in flows:
        flow.wait_offloaded(bpfw)
    # A delayed acknowledgement after the deletion would rightly begin a new entry.
    time.sleep(0.3)
    for flow in flows[:2]:
        protocol, source, port = flow.entry_key()
        lab.router.run("conntrack", "-D", "-p", protocol, "-s", source, "--sport", str(port))
        flow.wait_not_offloaded(bpfw, 1.0)
    for flow in flows[2:]:
        equal(len(flow.in_map(bpfw)), 2, f"entries of {flow.name()}, which was not deleted")
    for flow in flows[:2]:
        equal(flow.in_map(bpfw), [], f"entries of {flow.name()}, which was deleted")
    lab.router.run("conntrack", "-F")
    expect(wait_until(lambda: not bpfw.flows(), 1.0), f"after conntrack -F: {bpfw.flows()}")
    for flow in flows:
        if isinstance(flow, UdpFlow):
            flow.wait_offloaded(bpfw)


@test(*HOOKS)
def idle_flows_leave(context, hook):
    """--tcp-idle and --udp-idle; the conntrack entries stay as they are."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, args=("--tcp-idle", "2", "--udp-idle", "2"))
    flows = [context.keep(kind(lab)) for kind in (TcpFlow, UdpFlow)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    expect(wait_until(lambda: not bpfw.flows(), 10), f"idle, yet offloaded: {bpfw.flows()}")
    equal(entry_of(lab, flows[0]).state, "ESTABLISHED", "TCP entry")
    expect(entry_of(lab, flows[0]).timeout > LONG, f"timeout of {entry_of(lab, flows[0])}")
    for flow in flows:
        flow.wait_offloaded(bpfw)


@test(*HOOKS)
def active_flows_do_not_expire(context, hook):
    """Conntrack's own timeouts are shorter than the test: traffic that takes the fast path keeps
    the entries alive, and nothing does once it ends."""
    lab = context.lab(hook)
    for key in ("udp_timeout", "udp_timeout_stream", "tcp_timeout_established"):
        lab.router.sysctl(f"netfilter/nf_conntrack_{key}", 5)
    bpfw = context.running(lab, hook)
    flows = [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    first = {flow: entry_of(lab, flow).reply for flow in flows}
    meter = lab.meter()
    for flow in flows:
        flow.PACE = 0.02
        flow.start()
    ends = time.monotonic() + 11
    while time.monotonic() < ends:
        time.sleep(0.25)
        for flow in flows:
            entry = entry_of(lab, flow)
            expect(entry and entry.reply == first[flow], f"{flow.name()} expired: {entry}")
    for flow in flows:
        flow.stop()
        if isinstance(flow, UdpFlow):
            equal(flow.lost, 0, f"lost datagrams of {flow.name()}")
            expect(flow.peers == {flow.peer()}, f"NAT changed: {flow.peers}")
    meter.read()
    expect(meter.offloaded_share > 0.8, f"the fast path was hardly used: {meter}")
    for flow in flows:
        expect(wait_until(lambda: not entry_of(lab, flow), 15), f"kept: {entry_of(lab, flow)}")
        flow.wait_not_offloaded(bpfw)


@test(*HOOKS)
def start_in_mid_flow(context, hook):
    """Flows that were there before bpfw are offloaded at their next packets."""
    lab = context.lab(hook)
    flows = [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
    for flow in flows:
        flow.touch()
        flow.start()
    bpfw = context.running(lab, hook)
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.goes_on()
    meter = lab.meter()
    for flow in flows:
        flow.goes_on(100)
        flow.stop()
    meter.read()
    expect(meter.offloaded_share > 0.8, f"not offloaded in mid-flow: {meter}")
    flows[0].exchange(4 << 20)


def sysctls(lab):
    """Every sysctl of netfilter and of forwarding, without what only counts."""
    values = {}
    with lab.router.enter():
        for top in ("netfilter", "ipv4", "ipv6", "core"):
            for folder, _, names in os.walk(f"/proc/sys/net/{top}"):
                for name in names:
                    path = os.path.join(folder, name)
                    if name not in ("nf_conntrack_count", "flush", "stable_secret"):
                        values[path] = _read(path)
    return values


def _read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return None


@test(*HOOKS)
def system_is_left_as_it_was(context, hook):
    """No sysctl changes; window tracking is made liberal on offloaded entries alone."""
    lab = context.lab(hook)
    before = sysctls(lab)
    idle = context.keep(TcpFlow(lab, port=5001))
    with lab.router.socket(2, 1) as listener:
        listener.bind((topology.LAN0[4], 5002))
        listener.listen(1)
        local = context.keep(lab.client.socket(2, 1))
        local.connect((topology.LAN0[4], 5002))
        local_port = local.getsockname()[1]
    bpfw = context.running(lab, hook)
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        expect(wait_until(lambda: entry_of(lab, flow).liberal, 2),
               f"an offloaded flow whose window conntrack would judge: {entry_of(lab, flow)}")
        offloaded = {one["sport"] for one in bpfw.flows(direction="original")}
        for entry in entries(lab.router):
            expect(not entry.liberal or entry.original.sport in offloaded,
                   f"liberal, but not offloaded: {entry}")
        expect(not find_entry(lab.router, "tcp", topology.CLIENT[4], local_port).liberal,
               "a connection to the router itself was made liberal")
        changed = {path for path, value in sysctls(lab).items() if before.get(path) != value}
        expect(not changed, f"sysctls changed: {changed}")
        flow.exchange(1 << 20)
        bpfw.stop()
        flow.exchange(1 << 20)
    idle.exchange(100_000)
    changed = {path for path, value in sysctls(lab).items() if before.get(path) != value}
    expect(not changed, f"sysctls changed: {changed}")


@test(*HOOKS)
def tuple_used_again(context, hook):
    """A new connection with the ports of an old one, at once: offloaded anew, data whole."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for end in 4 * ("reset", "finish"):
        with TcpFlow(lab, source_port=34567) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(1 << 20)
            if end == "reset":
                flow.reset()
            else:
                flow.finish(far_first=True)


if __name__ == "__main__":
    main(jobs=4)
