#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The filter and the fast path on the same interfaces, whoever comes first, whoever ends.

Real flows are forwarded by the fast path behind the filter; the counters of both say so.
"""

import os
import signal
import time

from netlab import Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test, wait_until
from netlab import xdp
from netlab.filter import ACCEPT, AT_XDP, PORTS, REFUSE, Filter, directory_of, stops
from netlab.lab import SLOW, kernel_version

NOTICED = 5.0  # the daemon looks once a second
MODES = {"tc": ("tcx", "clsact"), "xdp": ("xdp",)}

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
    # In this order: whatever is on its way meanwhile counts as judged.
    judged, fast = filter_.packets(), bpfw.fast_packets()
    for _ in range(5):
        flow.touch()
    fast = bpfw.fast_packets() - fast
    judged = filter_.packets() - judged
    expect(fast >= 20, f"the fast path forwarded {fast} packets")
    expect(judged >= fast, f"the filter judged {judged} of {fast} packets that were forwarded")


def goes(flow):
    """It goes, by whatever way."""
    flow.touch()


def both_flows(context, lab, family=4):
    return [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow)]


def attached_programs(lab):
    return {(device, name) for device, _, name in attachments(lab.router)}


@test("tc", "xdp")
def filter_first(context, hook):
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, hook)
    bpfw = context.running(lab, AT_XDP)
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
    bpfw = context.running(lab, AT_XDP)
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
    bpfw = context.running(lab, AT_XDP)
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
    bpfw = context.running(lab, AT_XDP)
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
    bpfw = context.running(lab, AT_XDP)
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
        bpfw = context.running(lab, AT_XDP)
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
    filter_.load(ACCEPT, ports=())
    with UdpFlow(lab, port=5001) as flow:
        goes_fast(flow, bpfw, filter_)
        bpfw.freeze()
        filter_.load(REFUSE.replace("5000", "5001"), ports=())
        stops(flow)
        bpfw.thaw()


@test()
def filter_moves_to_another_hook(context):
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, "tc")
    bpfw = context.running(lab, AT_XDP)
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


@test("gone", "alive")
def pins_of_another_namespace(context, state):
    """A load removes what a namespace has left that is gone, and nothing else."""
    first = context.lab("tc", "none")
    Filter(context, first).load(ACCEPT, "xdp")
    directory = directory_of(first.router)
    expect(os.path.isdir(directory), f"there is no {directory}")
    if state == "gone":
        first.close()
    second = Filter(context, context.lab("tc", "none"))

    def left_by_a_load():
        second.load(ACCEPT)
        return os.path.isdir(directory)

    if state == "alive":
        expect(left_by_a_load(), f"{directory} of a namespace in use is gone")
    else:  # the kernel takes its devices down some time after the namespace, and links with them
        expect(wait_until(lambda: not left_by_a_load()), f"{directory} is still there")


def ingress_programs(lab, device):
    """At tcx, in the order in which they see packets; that of somebody else has no name."""
    hooks = lab.router.json("bpftool", "-j", "net", "show")[0]["tc"]
    return [hook.get("name", "") for hook in hooks
            if hook["devname"] == device and hook["kind"] == "tcx/ingress"]


@test()
def order_among_others_at_tcx(context):
    """The filter comes before all that is there, and stays where it is when it is loaded anew."""
    if kernel_version() < (6, 6):
        raise Skip("no tcx here")
    lab = context.lab("tc", "none")
    with lab.router.enter():
        context.keep(os.fdopen(xdp.attach_tcx_next(lab.router.ifindex("lan0")), "rb"))
    bpfw = context.running(lab, "tc")
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT)
    expect(wait_until(lambda: "bpfw_tc" in ingress_programs(lab, "lan0"), NOTICED),
           "the fast path does not come back")
    with lab.router.enter():
        context.keep(os.fdopen(xdp.attach_tcx_next(lab.router.ifindex("lan0")), "rb"))
    wanted = ["entry_tc_in", "", "bpfw_tc", ""]
    equal(ingress_programs(lab, "lan0"), wanted, "programs at lan0")
    filter_.load(ACCEPT)
    equal(ingress_programs(lab, "lan0"), wanted, "programs at lan0 after another load")
    with TcpFlow(lab) as flow:
        goes_fast(flow, bpfw, filter_)
    filter_("unload")
    equal(ingress_programs(lab, "lan0"), wanted[1:], "programs at lan0 after the filter")


@test("tc", "xdp")
def rules_above_offloaded_flows(context, hook):
    """A bridge becomes filtered: flows that pass below it meet its rules at once."""
    lab = context.lab("xdp", "none")
    take_address_to_bridge(lab)
    filter_ = Filter(context, lab)
    if hook == "xdp":
        filter_.load(ACCEPT, "xdp", ports=("lan0",))
    bpfw = context.running(lab, "tc" if hook == "tc" else "xdp", interfaces=("br0", "wan0"))
    stands(bpfw, lan0="behind" if hook == "xdp" else "tc")
    flow = context.keep(TcpFlow(lab))
    flow.wait_offloaded(bpfw)
    bpfw.freeze()
    filter_.load(ACCEPT, "tc", ports=("br0",))
    judged = filter_.packets()
    goes(flow)
    expect(filter_.packets() - judged >= (16 if hook == "xdp" else 8),
           "br0's rules do not see what comes in by it")
    filter_.load(REFUSE, ports=())
    stops(flow)
    filter_("unload")
    bpfw.thaw()
    flow = context.keep(TcpFlow(lab, port=5001))
    flow.wait_offloaded(bpfw, 10)


def with_qdisc(lab):
    return [port for port in PORTS
            if "clsact" in lab.router.run("tc", "qdisc", "show", "dev", port).stdout]


@test(*((first, last) for first in ("filter", "fast path") for last in ("filter", "fast path")))
def qdisc_goes_with_the_last(context, first, last):
    """Whoever made clsact (before Linux 6.6), and whoever ends last."""
    lab = context.lab("tc", "none")
    filter_ = Filter(context, lab)
    if first == "filter":
        filter_.load(ACCEPT, "tc")
    bpfw = context.running(lab, "tc")
    if first != "filter":
        filter_.load(ACCEPT, "tc")
    flow = context.keep(TcpFlow(lab))
    flow.wait_offloaded(bpfw)
    time.sleep(1.2 * SLOW)  # the daemon has seen the filter
    if last == "filter":
        bpfw.stop()
        filter_.load(REFUSE)
        stops(flow)
        filter_("unload")
    else:
        filter_("unload")
        flow.wait_offloaded(bpfw)
        time.sleep(1.2 * SLOW)  # and that it is gone
        bpfw.stop()
    equal(with_qdisc(lab), [], "interfaces with a clsact qdisc")
    equal(attachments(lab.router), [], "what is attached")


def take_address_to_bridge(lab):
    """br0 on lan0, which routes from now on."""
    lab.router.ip("link add br0 type bridge", "link set br0 address 02:00:00:00:01:01 up",
                  "addr flush dev lan0", "link set lan0 master br0",
                  "addr add 10.0.1.1/24 dev br0")


@test("br0", "lan0", "wan0")
def rules_of_stacked_devices(context, filtered):
    """The fast path would pass below the bridge; what is judged at the port may take it."""
    lab = context.lab("xdp", "none")
    take_address_to_bridge(lab)
    filter_ = Filter(context, lab)
    filter_.load(ACCEPT, "tc", ports=(filtered,))
    bpfw = context.running(lab, "tc", interfaces=("br0", "wan0"))
    flow = context.keep(TcpFlow(lab))
    goes(flow)
    if filtered == "lan0":
        goes_fast(flow, bpfw, filter_)
    else:
        refused = wait_until(lambda: bpfw.stats()["daemon"]["refused_filter"], NOTICED)
        expect(refused, f"no flow was left to the stack: {bpfw.stats()}")
        goes(flow)
        upwards = [entry for entry in flow.in_map(bpfw) if entry["ingress"] in ("br0", "lan0")]
        equal(upwards, [], "the direction from the bridge in the fast path")
    filter_.load(REFUSE, ports=())
    stops(flow)
    filter_("unload")
    flow = context.keep(TcpFlow(lab, port=5001))
    flow.wait_offloaded(bpfw, 10)


if __name__ == "__main__":
    main(jobs=2)
