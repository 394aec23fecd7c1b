#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Routes, rules, neighbours, addresses and links change under running flows."""

import socket
import struct
import time

from netlab import HOOKS, TcpFlow, UdpFlow, entries, equal, expect, find_entry, main, test
from netlab import wait_until
from netlab import frames
from netlab import lab as topology

FOLLOWED = 5.0
NEW_MAC = "02:00:00:00:0e:0e"
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0
SERVICE_PORT = 5000


def service_flow(context, lab, kind=UdpFlow, family=4):
    """A flow to the address that either uplink reaches."""
    return context.keep(kind(lab, family, target=topology.SERVICE[family], port=SERVICE_PORT,
                             bind=topology.SERVICE[family]))


def wait_egress(bpfw, flow, device):
    """The fast path itself sends the flow's original direction out of the device."""
    def found():
        return any(one["egress"] == device and one["direction"] == "original" and one["packets"]
                   for one in flow.in_map(bpfw))
    expect(wait_until(found, FOLLOWED), f"{flow.name()} not offloaded to {device}: {bpfw.flows()}")


def leaks(port, flow, rounds=50):
    """Frames of the flow that still come out of a port that it has left."""
    port.drain(0.05)
    flow.goes_on(rounds)
    found = [frames.fields(captured) for captured in port.drain(0.05)]
    return [one for one in found if one.get("dport") == SERVICE_PORT]


def route_service(lab, path, family=4):
    prefix = f"{topology.SERVICE[family]}/{32 if family == 4 else 128}"
    kind, _, rest = path.partition(" ")
    if kind in ("blackhole", "unreachable", "prohibit"):
        lab.router.ip(f"route replace {kind} {prefix} {rest}")
    else:
        lab.router.ip(f"route replace {prefix} {path}")


def check_moves(context, hook, family, move_there, move_back):
    """Flows follow the two changes to the second uplink and back, in the fast path."""
    lab = context.lab(hook, "none")
    lab.add_second_uplink()
    flows = [service_flow(context, lab, kind, family) for kind in (UdpFlow, TcpFlow)]
    bpfw = context.running(lab, hook, interfaces=("lan0", "wan0", "wan1"))
    first = context.keep(frames.Port(lab.server, "eth0"))
    second = context.keep(frames.Port(lab.server, "eth1"))
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    for change, device, left in ((move_there, "wan1", first), (move_back, "wan0", second)):
        change(lab)
        for flow in flows:
            flow.goes_on()
            wait_egress(bpfw, flow, device)
        for flow in flows:
            equal(leaks(left, flow), [], "frames on the uplink that the flow has left")
    for flow in flows:
        flow.stop()


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def route_to_second_uplink(context, family, hook):
    check_moves(
        context, hook, family,
        lambda lab: route_service(lab, f"via {topology.SERVER1[family]} dev wan1", family),
        lambda lab: route_service(lab, f"via {topology.SERVER[family]} dev wan0", family))


@test(*HOOKS)
def more_specific_route(context, hook):
    """The old route stays; a better one appears, and goes again."""
    def there(lab):
        lab.router.ip("route del 10.0.9.9/32", f"route add 10.0.9.0/24 via {topology.SERVER1[4]}")

    def back(lab):
        lab.router.ip(f"route add 10.0.9.9/32 via {topology.SERVER[4]}")
    check_moves(context, hook, 4, there, back)


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def rule_to_second_uplink(context, family, hook):
    option = "-6" if family == 6 else "-4"
    selector = f"from {topology.CLIENT[family]} lookup 100"

    def there(lab):
        lab.router.ip(f"route add {topology.SERVICE[family]} via {topology.SERVER1[family]} "
                      "dev wan1 table 100")
        lab.router.run("ip", option, "rule", "add", *selector.split())
    check_moves(context, hook, family, there,
                lambda lab: lab.router.run("ip", option, "rule", "del", *selector.split()))


@test(*HOOKS)
def masquerade_follows_the_route(context, hook):
    """The kernel gives up a masqueraded entry whose route leaves by another device: the next
    packets get the other uplink's address."""
    lab = context.lab(hook)
    lab.add_second_uplink()
    bpfw = context.running(lab, hook, interfaces=("lan0", "wan0", "wan1"))
    flow = service_flow(context, lab)
    flow.wait_offloaded(bpfw)
    equal(flow.peer()[0], topology.WAN0[4], "source address before")
    flow.start()
    route_service(lab, f"via {topology.SERVER1[4]} dev wan1")
    expect(wait_until(lambda: flow.peer()[0] == topology.WAN1[4], FOLLOWED),
           f"source address after: {flow.peer()}")
    flow.goes_on()
    wait_egress(bpfw, flow, "wan1")
    flow.stop()


@test(*[(side, hook) for hook in HOOKS for side in ("client", "server")])
def neighbour_has_new_mac(context, side, hook):
    """Told by the administrator: the old address is useless from one moment to the next."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    namespace, device = (lab.client, "lan0") if side == "client" else (lab.server, "wan0")
    addresses = topology.CLIENT if side == "client" else topology.SERVER
    flows = [context.keep(kind(lab, family)) for kind in (UdpFlow, TcpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    namespace.ip(f"link set eth0 address {NEW_MAC}")
    lab.router.ip(*(f"neigh replace {addresses[family]} lladdr {NEW_MAC} dev {device}"
                    for family in (4, 6)))
    for flow in flows:
        flow.goes_on()
        flow.wait_offloaded(bpfw)
    meter = lab.meter()
    for flow in flows:
        flow.goes_on(50)
        flow.stop()
    expect(meter.read().offloaded_share > 0.8, f"after the change: {meter}")


@test(*HOOKS)
def neighbour_announces_new_mac(context, hook):
    """The kernel learns it from a gratuitous ARP; its table is what the flow has to follow."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    lab.server.ip(f"link set eth0 address {NEW_MAC}")
    address = socket.inet_aton(topology.SERVER[4])
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + 2 * (frames.mac_bytes(NEW_MAC) + address)
    port = context.keep(frames.Port(lab.server, "eth0"))

    def learned():
        port.send(frames.ethernet("ff:ff:ff:ff:ff:ff", NEW_MAC, arp, 0x0806))
        time.sleep(0.3)
        shown = lab.router.json("ip", "-j", "neigh", "show", topology.SERVER[4])
        return shown and shown[0].get("lladdr") == NEW_MAC
    expect(wait_until(learned, 10), "the kernel did not learn the new address")
    flow.goes_on()
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*[(side, hook) for hook in HOOKS for side in ("client", "server")])
def neighbour_deleted(context, side, hook):
    """The kernel asks for it again, and the flow goes on."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    addresses, device = ((topology.CLIENT, "lan0") if side == "client"
                         else (topology.SERVER, "wan0"))
    flows = [context.keep(kind(lab, family)) for kind in (UdpFlow, TcpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    lab.router.ip(*(f"neigh del {addresses[family]} dev {device}" for family in (4, 6)))
    for flow in flows:
        flow.goes_on()
        flow.wait_offloaded(bpfw)
        flow.stop()


@test(*HOOKS)
def neighbour_is_gone(context, hook):
    """Nobody answers for the next hop: the kernel sends nothing to the address of old."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    lab.server.ip("link set eth0 arp off")
    lab.router.ip(f"neigh del {topology.SERVER[4]} dev wan0")
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), "flows to a neighbour that is gone")
    lab.server.ip("link set eth0 arp on")
    flow.goes_on(timeout=15)
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def blackhole_and_back(context, family, hook):
    lab = context.lab(hook, "none")
    flow = service_flow(context, lab, family=family)
    bpfw = context.running(lab, hook)
    flow.wait_offloaded(bpfw)
    flow.start()
    prefix = f"{topology.SERVICE[family]}/{32 if family == 4 else 128}"
    lab.router.ip(f"route del {prefix}", f"route add blackhole {prefix}")
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), "flows into a blackhole")
    lab.router.ip(f"route del {prefix}")
    route_service(lab, f"via {topology.SERVER[family]}", family)
    flow.goes_on(timeout=15)
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*[(kind, hook) for hook in HOOKS for kind in ("unreachable", "prohibit")])
def refused_by_route(context, kind, hook):
    """The stack answers with ICMP: it has to see the packets."""
    lab = context.lab(hook, "none")
    flow = service_flow(context, lab)
    bpfw = context.running(lab, hook)
    flow.wait_offloaded(bpfw)
    flow.start()
    port = context.keep(frames.Port(lab.client, "eth0"))
    route_service(lab, kind)

    def refused():
        captured = port.receive(0.5)
        return captured and frames.fields(captured).get("protocol") == socket.IPPROTO_ICMP
    expect(wait_until(refused, FOLLOWED), "no ICMP error for a refused packet")
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), f"flows along a route of type {kind}")
    route_service(lab, f"via {topology.SERVER[4]}")
    flow.goes_on(timeout=15)
    flow.wait_offloaded(bpfw)
    flow.stop()


def big_up_small_down(flow):
    """A large datagram up; the answer is small, as the way back has its own MTU."""
    flow.send(1200)
    flow.receive()
    flow.answer(b"small")
    equal(flow.near.recv(100), b"small", "answer")


@test(*[(where, hook) for hook in HOOKS for where in ("link", "route")])
def mtu_becomes_smaller(context, where, hook):
    """Packets over the egress MTU go to the stack, which fragments them; the others stay."""
    lab = context.lab(hook, "none")
    flow = service_flow(context, lab)
    flow.near.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    bpfw = context.running(lab, hook)
    flow.wait_offloaded(bpfw)
    for _ in range(5):
        big_up_small_down(flow)
    if where == "link":
        lab.router.ip("link set wan0 mtu 1000")
    else:
        route_service(lab, f"via {topology.SERVER[4]} dev wan0 mtu 1000")
    port = context.keep(frames.Port(lab.server, "eth0"))

    def too_long():
        """The change has a moment to arrive; then no frame may be longer."""
        port.drain(0.05)
        for _ in range(10):
            big_up_small_down(flow)
        return [len(one.data) for one in port.drain(0.05) if len(one.data) > 14 + 1000]
    expect(wait_until(lambda: not too_long(), 2), "frames longer than the MTU of 1000")
    equal(too_long(), [], "frames longer than the MTU")
    fast = bpfw.fast_packets()
    flow.exchange(100, (64, 500))
    expect(bpfw.fast_packets() - fast > 150, f"small packets have left too: {bpfw.stats()}")
    if where == "link":
        lab.router.ip("link set wan0 mtu 1500")
    else:
        route_service(lab, f"via {topology.SERVER[4]} dev wan0")

    def whole():
        port.drain(0.05)
        big_up_small_down(flow)
        return any(len(one.data) > 1200 for one in port.drain(0.05))
    expect(wait_until(whole, FOLLOWED), "packets stay fragmented after the MTU is back")


@test(*[(device, hook) for hook in HOOKS for device in ("lan0", "wan0")])
def link_down_and_up(context, device, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    lab.router.ip(f"link set {device} down")
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), "flows through a link that is down")
    lab.router.ip(f"link set {device} up")
    flow.goes_on(timeout=20)
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*HOOKS)
def address_removed(context, hook):
    """With the address go the masqueraded entries: the kernel deletes them."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    flow.start()
    lab.router.ip(f"addr del {topology.WAN0[4]}/24 dev wan0")
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), "flows with an address that is gone")
    flow.wait_not_offloaded(bpfw)
    lab.router.ip(f"addr add {topology.WAN0[4]}/24 dev wan0")
    flow.goes_on(timeout=20)
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def forwarding_switched_off(context, family, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab, family))
    flow.wait_offloaded(bpfw)
    flow.start()
    lab.set_forwarding(0)
    expect(wait_until(lambda: flow.silent(0.3), FOLLOWED), "forwards what the kernel would not")
    lab.set_forwarding(1)
    flow.goes_on(timeout=20)
    flow.wait_offloaded(bpfw)
    flow.stop()


@test(*HOOKS)
def interface_deleted(context, hook):
    """bpfw survives, says so, and serves the others."""
    lab = context.lab(hook, "none")
    lab.add_second_uplink()
    bpfw = context.running(lab, hook, interfaces=("lan0", "wan0", "wan1"))
    flow = service_flow(context, lab)
    flow.wait_offloaded(bpfw)
    flow.start()
    seen = len(bpfw.log)
    lab.router.ip("link del wan0")
    lab.server.ip("route replace default via 10.0.3.1")
    route_service(lab, f"via {topology.SERVER1[4]} dev wan1")
    flow.goes_on(timeout=20)
    wait_egress(bpfw, flow, "wan1")
    expect("wan0" in bpfw.log[seen:], f"no word about wan0:\n{bpfw.log}")
    flow.stop()
    bpfw.stop()


@test(*HOOKS)
def entry_of_old_stays_away(context, hook):
    """After all the changes of one run no flow is left that conntrack does not know."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    for _ in range(5):
        flow.wait_offloaded(bpfw)
        lab.router.run("conntrack", "-F")
        lab.router.ip(f"neigh replace {topology.SERVER[4]} lladdr {topology.SERVER_MAC} dev wan0",
                      f"route replace {topology.SERVICE[4]} via {topology.SERVER[4]}")
    flow.wait_offloaded(bpfw)
    expect(find_entry(lab.router, *flow.entry_key()), "the flow without its entry")
    known = {entry.original.sport for entry in entries(lab.router)}
    shown = {one["sport"] for one in bpfw.flows(direction="original")}
    expect(shown <= known, f"offloaded {shown}, conntrack has {known}")


if __name__ == "__main__":
    main(jobs=4)
