#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Ports, VLANs, sessions and bridges change under running flows on real networks.

Traffic goes on as it does with the kernel alone, the fast path is in use again afterwards, and
nothing leaves by the old way once the change has had a second to arrive."""

import socket
import time

from netlab import TcpFlow, UdpFlow, entries, equal, expect, main, test, wait_until
from netlab import frames, networks

GRACE = 1.0
PACE = 0.02  # leaves an emulated processor to what is tested
FOLLOWED = 20.0
HOOKS = ("tc", "xdp")
NEW_WAN = {4: "10.0.2.99", 6: "fd00:2::99"}
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0


class Scene:
    """A network with bpfw and offloaded flows in both families, under traffic."""

    def __init__(self, context, lan, wan, hook, kinds=(UdpFlow, TcpFlow), prepare=None):
        self.context = context
        self.network = networks.for_test(context, lan, wan, hook)
        if prepare:
            prepare(self.network)
        self.router, self.client = self.network.router, self.network.client
        self.lan, self.wan = self.network.sides
        self.bpfw = context.running(self.network, hook, interfaces=self.network.interfaces)
        self.flows = [context.keep(kind(self.network, family))
                      for kind in kinds for family in self.network.families]
        for flow in self.flows:
            flow.wait_offloaded(self.bpfw)
        for flow in self.flows:
            flow.PACE = PACE
            flow.start()

    def goes_on(self, rounds=10):
        for flow in self.flows:
            flow.goes_on(rounds, FOLLOWED)

    def offloaded_again(self):
        """Both directions of every flow are in use in the fast path, again or still."""
        self.goes_on()
        before = self.packets()

        def used():
            now = self.packets()
            return all(len(now[flow]) == 2 and
                       all(count != before[flow].get(name, 0)
                           for name, count in now[flow].items()) for flow in self.flows)
        expect(wait_until(used, FOLLOWED, 0.2), f"not in the fast path any more: {self.packets()}\n"
               f"{self.bpfw.flows()}\n{self.bpfw.stats()}")
        self.goes_on()

    def packets(self):
        """By flow and direction."""
        shown = self.bpfw.snapshot()
        return {flow: {one["direction"]: one["packets"] for one in flow.in_map(shown)}
                for flow in self.flows}

    def shown(self, direction, *fields):
        """What `bpfw flows` says of this direction of the flows: the set of the fields' values."""
        snapshot = self.bpfw.snapshot()
        return {tuple(str(one[name]) for name in fields) for flow in self.flows
                for one in flow.in_map(snapshot) if one["direction"] == direction}

    def wait_shown(self, direction, fields, value):
        wanted = {tuple(str(one) for one in value)}
        expect(wait_until(lambda: self.shown(direction, *fields) == wanted, FOLLOWED, 0.1),
               f"{fields} of {direction}: {self.shown(direction, *fields)}, not {wanted}")

    def silent(self):
        """No flow comes through any more."""
        def quiet():
            before = [flow.rounds for flow in self.flows]
            time.sleep(0.5)
            return before == [flow.rounds for flow in self.flows]
        return wait_until(quiet, FOLLOWED, 0)

    def nothing_by_the_old_way(self, namespace, device, is_old, duration=1.0):
        """After the grace, under traffic, no frame of the flows that looks as before."""
        port = self.context.keep(frames.Port(namespace, device))
        time.sleep(GRACE)
        port.drain(0)
        time.sleep(duration)
        found = [one for one in self.captured(port) if is_old(one)]
        equal([one.data.hex() for one in found], [], f"{len(found)} frames by the old way")

    @staticmethod
    def captured(port):
        """Frames with a packet in them, without waiting for the end of the traffic."""
        found, deadline = [], time.monotonic() + 2
        while time.monotonic() < deadline and (one := port.receive(0)) is not None:
            if frames.peel(one.data)[1]:
                found.append(one)
        return found

    def stop(self):
        for flow in self.flows:
            flow.stop()


def link_header(captured):
    return frames.peel(captured.data)[0]


# Bridges.

def roaming_client(network):
    """A second way to the first client, through another port of the bridge: the client's address is
    on a switch of its own, which has one of the two links at a time."""
    lan, end = network.lan, network.lan.end
    network.wire("lan2", "02:00:00:00:01:21", end.namespace, "eth2", "02:00:00:00:01:22", 1500)
    network.later(end.namespace,
                  f"link add name host address {end.mac} type bridge forward_delay 0",
                  "link set eth0 address 02:00:00:00:01:77", "addr flush dev eth0",
                  "link set eth0 master host", "link set host up")
    network.later(network.router, f"link set lan2 master {lan.device}")
    end.device = "host"
    lan.configure_end(end)
    network.flush()
    lan.paths.append([lan.device, "lan2"])


def plug(network, device):
    """The client's cable is in this socket now."""
    other = {"eth0": "eth2", "eth2": "eth0"}[device]
    network.client.ip(f"link set {other} nomaster", f"link set {device} master host")


@test(*HOOKS)
def host_moves_to_another_port(context, hook):
    """Its own frames tell the bridge where it is."""
    scene = Scene(context, "bridge", "plain", hook, prepare=roaming_client)
    for device, port, old in (("eth2", "lan2", "eth0"), ("eth0", "lan0", "eth2")):
        plug(scene.network, device)
        scene.goes_on()
        scene.wait_shown("reply", ("egress",), (port,))
        scene.wait_shown("original", ("ingress",), (port,))
        scene.offloaded_again()
        scene.nothing_by_the_old_way(scene.client, old, lambda one: True)
    scene.stop()


@test(*HOOKS)
def port_leaves_the_bridge_and_comes_back(context, hook):
    scene = Scene(context, "bridge", "plain", hook, kinds=(UdpFlow,))
    scene.router.ip("link set lan0 nomaster")
    expect(scene.silent(), "flows through a port that is not in the bridge")
    scene.router.ip(f"link set lan0 master {scene.lan.device}")
    scene.offloaded_again()
    scene.stop()


@test(*HOOKS)
def port_is_added_to_the_bridge(context, hook):
    """bpfw finds it, and the hosts behind it are offloaded like the others."""
    def alone(network):
        network.router.ip("link set lan1 nomaster")
    scene = Scene(context, "bridge", "plain", hook, prepare=alone)
    second = scene.lan.ends[1]
    scene.router.ip(f"link set lan1 master {scene.lan.device}")
    for family in (4, 6):
        flow = context.keep(UdpFlow(scene.network.seen_by(second.namespace), family, port=5001))
        expect(wait_until(flow.echo, FOLLOWED), "the added port carries nothing")
        flow.wait_offloaded(scene.bpfw, FOLLOWED)
        equal({one["ingress"] for one in flow.in_map(scene.bpfw)
               if one["direction"] == "original"}, {"lan1"}, "ingress port")
    attached = {row["port"] for row in scene.bpfw.status()["plan"]}
    expect({"lan0", "lan1", "wan0"} <= attached, f"the plan has {attached}")
    scene.offloaded_again()
    scene.stop()


@test(*[(state, hook) for hook in HOOKS for state in (0, 1, 2)])
def spanning_tree_closes_a_port(context, state, hook):
    """Disabled (0), listening (1) and learning (2): the bridge takes and sends nothing there."""
    scene = Scene(context, "bridge", "plain", hook, kinds=(UdpFlow,))
    scene.router.run("bridge", "link", "set", "dev", "lan0", "state", str(state))
    expect(scene.silent(), f"flows through a port in state {state}")
    scene.nothing_by_the_old_way(scene.client, "eth0", lambda one: True)
    scene.router.run("bridge", "link", "set", "dev", "lan0", "state", "3")
    scene.offloaded_again()
    scene.stop()


def bridge_vlan(scene, *lines):
    scene.router.run("bridge", "-batch", "-", stdin="".join(f"vlan {line}\n" for line in lines))


def untagged(captured):
    return len(link_header(captured)) == 14


@test(*[(lan, hook) for hook in HOOKS for lan in ("bridge-pvid", "bridge-vlan")])
def vlan_of_a_port_becomes_tagged(context, lan, hook):
    """The first client's port had VLAN 10 untagged; it is tagged now, there and back."""
    scene = Scene(context, lan, "plain", hook)
    end = scene.lan.end
    bridge_vlan(scene, "add dev lan0 vid 10")
    end.device, end.vlans = "eth0.10", (("802.1Q", 10),)
    scene.client.ip(f"addr del {end.addresses[4]}/24 dev eth0",
                    f"addr del {end.addresses[6]}/64 dev eth0",
                    "link add link eth0 name eth0.10 type vlan id 10",
                    "link set eth0.10 up")
    scene.lan.configure_end(end)
    scene.network.flush()
    scene.wait_shown("original", ("ingress_vlans",), (end.json_vlans(),))
    scene.wait_shown("reply", ("egress_vlans",), (end.json_vlans(),))
    scene.offloaded_again()
    scene.nothing_by_the_old_way(scene.client, "eth0", untagged)
    scene.stop()


@test(*HOOKS)
def pvid_of_a_port_changes(context, hook):
    """VLAN 20 is another network: the flow stops, as the bridge has it, until the PVID is back."""
    scene = Scene(context, "bridge-pvid", "plain", hook, kinds=(UdpFlow,))
    bridge_vlan(scene, "add dev lan0 vid 20 pvid untagged", "del dev lan0 vid 10")
    expect(scene.silent(), "flows from a VLAN that the router is not in")
    scene.nothing_by_the_old_way(scene.client, "eth0", lambda one: True)
    bridge_vlan(scene, "add dev lan0 vid 10 pvid untagged", "del dev lan0 vid 20")
    scene.offloaded_again()
    scene.stop()


@test(*HOOKS)
def vlan_is_renumbered(context, hook):
    """Router and host agree on another id; the interface has the name that it had."""
    scene = Scene(context, "vlan", "plain", hook)
    end = scene.lan.end
    for namespace, lower in ((scene.router, "lan0"), (scene.client, "eth0")):
        namespace.ip(f"link del {lower}.10",
                     f"link add link {lower} name {lower}.10 type vlan id 30",
                     f"link set {lower}.10 mtu 1500 up")
    end.vlans = (("802.1Q", 30),)
    scene.lan.configure()
    scene.network.flush()
    scene.wait_shown("original", ("ingress_vlans",), (end.json_vlans(),))
    scene.wait_shown("reply", ("egress_vlans",), (end.json_vlans(),))
    scene.offloaded_again()
    scene.nothing_by_the_old_way(scene.client, "eth0",
                                 lambda one: link_header(one)[14:16] != b"\0\x1e")
    scene.stop()


# VLAN devices.

@test(*[(lan, wan, hook) for hook in HOOKS
        for lan, wan in (("vlan", "plain"), ("bridge", "vlan"), ("qinq", "plain"))])
def vlan_device_is_made_anew(context, lan, wan, hook):
    """Deleted, and created under the same name: another interface index."""
    scene = Scene(context, lan, wan, hook, kinds=(UdpFlow,))
    side = scene.lan if lan != "bridge" else scene.wan
    name, lower = side.paths[0][0], side.paths[0][1]
    vid = name.rpartition(".")[2]
    scene.router.ip(f"link del {name}")
    expect(scene.silent(), "flows through a VLAN that is gone")
    scene.router.ip(f"link add link {lower} name {name} type vlan id {vid}",
                    f"link set {name} mtu 1500 up")
    side.configure_router()
    scene.network.flush()
    scene.offloaded_again()
    scene.stop()


@test(*HOOKS)
def vlan_device_is_made_later(context, hook):
    """A name that does not exist yet is waited for."""
    network = networks.for_test(context, "vlan", "plain", hook)
    network.router.ip("link del lan0.10")
    bpfw = context.running(network, hook, interfaces=network.interfaces)
    expect(bpfw.logged(r"lan0\.10"), f"no word about lan0.10:\n{bpfw.log}")
    network.router.ip("link add link lan0 name lan0.10 type vlan id 10")
    network.lan.configure_router()
    network.flush()
    for family in (4, 6):
        with UdpFlow(network, family) as flow:
            expect(wait_until(flow.echo, FOLLOWED), "the new VLAN carries nothing")
            flow.wait_offloaded(bpfw, FOLLOWED)


# PPPoE.

@test(*[(wan, hook) for hook in HOOKS for wan in ("pppoe", "pppoe-vlan")])
def session_redials(context, wan, hook):
    """A new session id under the same name; the address is the same."""
    scene = Scene(context, "bridge", wan, hook, kinds=(UdpFlow,))
    end, old = scene.wan.end, scene.wan.end.session
    for number in (0x4321, 0x0777):
        scene.wan.dial(number)
        scene.wan.configure()
        scene.network.flush()
        scene.goes_on()
        scene.wait_shown("original", ("egress_session",), (number,))
        scene.wait_shown("reply", ("ingress_session",), (number,))
        scene.offloaded_again()
        scene.nothing_by_the_old_way(
            scene.network.server, end.wire,
            lambda one, old=old: old.to_bytes(2, "big") == link_header(one)[-6:-4])
        old = number
    scene.stop()


@test(*HOOKS)
def session_ends(context, hook):
    """Nothing is sent into a session that is gone."""
    scene = Scene(context, "plain", "pppoe", hook, kinds=(UdpFlow,))
    for session in scene.wan.sessions.values():
        session.close()
    expect(scene.silent(), "flows through a session that is gone")
    scene.nothing_by_the_old_way(scene.network.server, "eth0", lambda one: True)
    for flow in scene.flows:
        flow.wait_not_offloaded(scene.bpfw)
    scene.wan.dial(0x99)
    scene.wan.configure()
    scene.network.flush()
    scene.offloaded_again()
    scene.stop()


# Links, addresses, rules.

@test(*[(lan, wan, device, hook) for hook in HOOKS for lan, wan, device in (
    ("bridge", "vlan", "lan0"), ("bridge", "vlan", "br-lan"), ("bridge", "vlan", "wan0.10"),
    ("bridge", "vlan", "wan0"), ("plain", "pppoe", "pppoe-wan"))])
def interface_down_and_up(context, lan, wan, device, hook):
    """Any device of the path: with it go its routes, which whoever sets it up brings back."""
    scene = Scene(context, lan, wan, hook, kinds=(UdpFlow,))
    scene.router.ip(f"link set {device} down")
    expect(scene.silent(), f"flows through {device}, which is down")
    scene.router.ip(f"link set {device} up")
    for side in scene.network.sides:
        side.configure_router()
    scene.network.flush()
    scene.offloaded_again()
    scene.stop()


def send_large(flow):
    flow.send(1200)
    flow.receive()
    flow.answer(b"small")
    equal(flow.near.recv(100), b"small", "answer")


@test(*[(wan, hook) for hook in HOOKS for wan in ("vlan", "pppoe", "pppoe-vlan")])
def mtu_of_the_uplink_becomes_smaller(context, wan, hook):
    """The layer-3 device's MTU counts, not the port's: what is longer goes to the stack, which
    fragments it."""
    scene = Scene(context, "bridge", wan, hook, kinds=(UdpFlow,))
    scene.stop()
    flow = scene.flows[0]
    flow.near.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    for _ in range(5):
        send_large(flow)
    port = context.keep(scene.wan.end.capture())

    def longest():
        scene.captured(port)
        for _ in range(5):
            send_large(flow)
        return max(len(frames.peel(one.data)[1]) for one in scene.captured(port))
    expect(longest() > 1200, "large packets do not arrive whole")
    for mtu, followed in ((1000, lambda: longest() <= 1000),
                          (scene.wan.mtu, lambda: longest() > 1200)):
        scene.router.ip(f"link set {scene.wan.device} mtu {mtu}")
        expect(wait_until(followed, FOLLOWED), f"packets of {longest()} bytes, the MTU is {mtu}")
        before = scene.bpfw.fast_packets()
        flow.exchange(100, (64, 500))
        expect(scene.bpfw.fast_packets() - before > 150, "small packets have left the fast path")


@test(*[(wan, hook) for hook in HOOKS for wan in ("vlan", "pppoe")])
def masquerade_gets_another_address(context, wan, hook):
    """The kernel gives up the entries with the old one: when the address goes, or with PPP, where
    it does not look at the address, with the interface, as pppd has it."""
    scene = Scene(context, "bridge", wan, hook, kinds=(UdpFlow,))
    if wan == "pppoe":
        scene.wan.dial(0x55)
    else:
        scene.router.ip(f"addr flush dev {scene.wan.device} scope global")
    scene.wan.addresses = NEW_WAN
    scene.wan.configure()
    scene.network.flush()
    scene.goes_on()

    def renamed():
        return all(flow.peer()[0] == NEW_WAN[flow.family] for flow in scene.flows)
    expect(wait_until(renamed, FOLLOWED), f"from {[flow.peer() for flow in scene.flows]}")
    scene.offloaded_again()
    scene.stop()


@test(*[(lan, wan, hook) for hook in HOOKS
        for lan, wan in (("bridge", "pppoe"), ("bridge-vlan", "vlan"))])
def ruleset_and_conntrack_are_flushed(context, lan, wan, hook):
    """As a firewall does when it starts anew."""
    scene = Scene(context, lan, wan, hook, kinds=(UdpFlow,))
    for _ in range(3):
        scene.router.run("nft", "flush", "ruleset")
        scene.router.run("conntrack", "-F")
        scene.network.load_ruleset("masquerade")
        scene.router.run("conntrack", "-F")
        scene.goes_on()
    scene.offloaded_again()
    scene.stop()
    known = {entry.original.sport for entry in entries(scene.router)}
    offloaded = {one["sport"] for one in scene.bpfw.flows(direction="original")}
    expect(offloaded <= known, f"offloaded {offloaded}, conntrack has {known}")


if __name__ == "__main__":
    main()
