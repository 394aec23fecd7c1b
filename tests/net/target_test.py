#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Devices that cannot take a frame from XDP, and devices that are not plain ports.

A veth hands a redirected frame to its peer only if the peer polls, which an XDP program or GRO
makes it do. The lab's server end has no program: its GRO decides.
"""

import platform
import socket

from netlab import HOOKS, Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test, wait_until
from netlab import lab as topology

RECOVERED = 5.0
KINDS = [(kind, family) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]


def set_gro(namespace, state):
    namespace.run("ethtool", "-K", "eth0", "gro", state)


def need_xdp_features():
    """Only then does bpfw know which veth takes frames."""
    release = tuple(int(word) for word in platform.release().split(".")[:2])
    if release < (6, 3):
        raise Skip("this kernel does not say which device takes frames from XDP (6.3)")


def tc_mode(bpfw):
    """tcx, or what kernels without it have."""
    return "clsact" if bpfw.logged(r"ready:.*clsact") else "tcx"


def directions(bpfw, flow):
    return sorted(one["direction"] for one in flow.in_map(bpfw))


def refused_target(bpfw):
    return bpfw.stats()["daemon"]["refused_target"]


def exchange(flow):
    """Data in both directions; returns how many bytes at least."""
    if isinstance(flow, TcpFlow):
        flow.exchange(1 << 20)
        return 2 << 20
    flow.exchange(300, (600,))
    return 2 * 300 * 600


def offloaded_bytes(bpfw, flow):
    return sum(one["bytes"] for one in flow.in_map(bpfw))


def check_both_directions(bpfw, flow):
    """Both directions leave the stack, by the flow's own counters, and the data is whole."""
    flow.wait_offloaded(bpfw)
    before = offloaded_bytes(bpfw, flow)
    least = 0.95 * exchange(flow)
    equal(directions(bpfw, flow), ["original", "reply"], f"directions of {flow.name()}")
    expect(offloaded_bytes(bpfw, flow) - before > least, f"hardly used: {flow.in_map(bpfw)}")


def check_traffic(context, lab, bpfw):
    for kind, family in KINDS:
        check_both_directions(bpfw, context.keep(kind(lab, family)))


def check_offloaded_directions(bpfw, flow, wanted):
    """These directions leave the stack, another is refused, and the data is whole."""
    refused = refused_target(bpfw)

    def settled():
        exchange(flow)
        return directions(bpfw, flow) == wanted and refused_target(bpfw) > refused
    expect(wait_until(settled, 5), f"{flow.name()}: {bpfw.flows()}; {bpfw.stats()['daemon']}")
    exchange(flow)
    equal(directions(bpfw, flow), wanted, f"offloaded directions of {flow.name()}")


@test("client", "server", "both")
def end_without_gro(context, end):
    """The direction to that end stays in the stack, the other one does not have to."""
    need_xdp_features()
    lab = context.lab("xdp")
    stays = {"client": ["reply"], "server": ["original"], "both": ["original", "reply"]}[end]
    for namespace, direction in ((lab.client, "reply"), (lab.server, "original")):
        if direction in stays:
            set_gro(namespace, "off")
    bpfw = context.running(lab, "xdp")
    wanted = [one for one in ("original", "reply") if one not in stays]
    for kind, family in KINDS:
        check_offloaded_directions(bpfw, context.keep(kind(lab, family)), wanted)
    if end == "both":
        equal(bpfw.fast_packets(), 0, "packets in the fast path")


@test()
def generic_xdp_does_not_mind(context):
    """Generic XDP sends an skb, which any device takes."""
    lab = context.lab("xdpgeneric")
    for namespace in (lab.client, lab.server):
        set_gro(namespace, "off")
    bpfw = context.running(lab, "xdpgeneric")
    check_traffic(context, lab, bpfw)
    equal(refused_target(bpfw), 0, "refused for their target")


@test()
def gro_switched_off_in_mid_flow(context):
    """The kernel sends no event for that: frames vanish until bpfw has noticed by itself."""
    need_xdp_features()
    lab = context.lab("xdp")
    bpfw = context.running(lab, "xdp")
    flows = [context.keep(kind(lab, family)) for kind, family in KINDS]
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    for flow in flows:
        flow.goes_on()
    set_gro(lab.server, "off")
    for flow in flows:
        if isinstance(flow, UdpFlow):
            flow.goes_on(timeout=RECOVERED)
    # TCP's own retransmission has backed off meanwhile.
    for flow in flows:
        flow.goes_on()
        expect("original" not in directions(bpfw, flow), f"still offloaded: {flow.in_map(bpfw)}")
    expect(bpfw.logged(r"interface 'wan0' takes no more frames"), f"says nothing: {bpfw.log}")
    for flow in flows:
        flow.stop()


@test()
def gro_switched_on_in_mid_flow(context):
    """A target that comes back is used again, without the wait of a refused candidate."""
    need_xdp_features()
    lab = context.lab("xdp")
    set_gro(lab.server, "off")
    bpfw = context.running(lab, "xdp")
    with UdpFlow(lab) as flow:
        check_offloaded_directions(bpfw, flow, ["reply"])
        set_gro(lab.server, "on")
        flow.PACE = 0.02
        flow.start()
        expect(wait_until(lambda: directions(bpfw, flow) == ["original", "reply"], 8, 0.2),
               f"not offloaded: {bpfw.flows()}")
        flow.stop()
        equal(flow.lost, 0, "lost datagrams")


def modes(bpfw):
    """How each interface is attached, by the line that says so."""
    line = bpfw.logged(r"^bpfw: ready: (.*)$").group(1)
    return dict(part.strip().split(" at ") for part in line.split(","))


@test("lan0 wan0", "br0 wan0", "wan0 br0", "vx0 wan0", "wan0 vx0")
def auto_picks(context, interfaces):
    """XDP where the devices can, TC on all of them where one cannot. A bridge stands for lan0."""
    lab = context.lab("xdp")
    if "br0" in interfaces:
        put_into_bridge(lab)
    if "vx0" in interfaces:
        put_into_tunnel(lab)
    bpfw = context.running(lab, "auto", interfaces=interfaces.split())
    mode = f"tc ({tc_mode(bpfw)})" if "vx0" in interfaces else "xdp"
    ports = interfaces.replace("br0", "lan0").split()
    equal(modes(bpfw), {name: mode for name in ports}, "attached")
    equal([(name, kind.partition("/")[0]) for name, kind, _ in attachments(lab.router)],
          sorted((name, "driver" if mode == "xdp" else tc_mode(bpfw)) for name in ports),
          "attached programs")
    check_traffic(context, lab, bpfw)


@test()
def xdp_towards_a_bridge(context):
    """The bridge's port takes them in its place."""
    lab = context.lab("xdp")
    put_into_bridge(lab)
    bpfw = context.running(lab, None, interfaces=("br0:tc", "wan0:xdp"))
    check_traffic(context, lab, bpfw)
    for one in bpfw.flows(direction="reply"):
        equal((one["ingress"], one["egress"]), ("wan0", "lan0"), "ports of the reply direction")


@test("lan0:tc wan0:xdp", "lan0:xdp wan0:tc", "lan0:tc wan0:xdpgeneric")
def mixed_hooks(context, interfaces):
    if "xdp" in (word.split(":")[1] for word in interfaces.split()):
        need_xdp_features()  # else only another native XDP port is taken for a target
    lab = context.lab("xdp")
    bpfw = context.running(lab, None, interfaces=interfaces.split())
    kinds = {(name, kind.partition("/")[0]) for name, kind, _ in attachments(lab.router)}
    equal(sorted(device for device, _ in kinds), ["lan0", "wan0"], f"attached devices of {kinds}")
    wanted = {name: hook.replace("tc", f"tc ({tc_mode(bpfw)})")
              for name, hook in (word.split(":") for word in interfaces.split())}
    equal(modes(bpfw), wanted, "attached")
    check_traffic(context, lab, bpfw)


def put_into_bridge(lab):
    """The lan veth becomes the port of br0, which takes over its address."""
    lab.router.ip("addr flush dev lan0", "link add br0 type bridge",
                  f"link set br0 address {topology.LAN0_MAC}", "link set lan0 master br0",
                  "link set br0 up", f"addr add {topology.LAN0[4]}/24 dev br0",
                  f"addr add {topology.LAN0[6]}/64 dev br0 nodad")
    # A port that has just come up does not forward at once.
    expect(wait_until(lambda: reaches_router(lab), 10), "the bridge does not forward")


def reaches_router(lab):
    """A connection to a port that nobody listens on is refused as soon as frames get through."""
    with lab.client.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.2)
        try:
            probe.connect((topology.LAN0[4], 9))
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False


def put_into_tunnel(lab):
    """Client and router are joined by vx0, over the lan veth."""
    for namespace, own, peer, device, inner in (
            (lab.client, topology.CLIENT, topology.LAN0, "eth0", ("10.0.5.2", "fd00:5::2")),
            (lab.router, topology.LAN0, topology.CLIENT, "lan0", ("10.0.5.1", "fd00:5::1"))):
        namespace.ip(f"link add vx0 type vxlan id 7 local {own[4]} remote {peer[4]} dev {device} "
                     "dstport 4789", "link set vx0 up", f"addr add {inner[0]}/24 dev vx0",
                     f"addr add {inner[1]}/64 dev vx0 nodad")
    lab.client.ip("route replace default via 10.0.5.1", "route replace ::/0 via fd00:5::1")


@test()
def tc_on_a_bridge(context):
    lab = context.lab("tc")
    put_into_bridge(lab)
    bpfw = context.running(lab, "tc", interfaces=("br0", "wan0"))
    check_traffic(context, lab, bpfw)
    for one in bpfw.flows(direction="original"):
        equal((one["ingress"], one["egress"]), ("lan0", "wan0"), "ports of the original direction")


if __name__ == "__main__":
    main(jobs=4)
