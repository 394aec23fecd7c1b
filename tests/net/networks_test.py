#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Networks as routers have them: VLANs, bridges, PPPoE and tunnels on either side are offloaded, or
left to the stack with a reason, and never harmed."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import tempfile
import time

from netlab import Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test, wait_until
from netlab import frames, networks, pppoe
from netlab import lab as topology
from netlab.bpfw import die_with_parent
from netlab.networks import CLIENT2
from netlab.sessions import PROTOCOLS

BULK = 2 << 20
DATAGRAMS = 160
OFFLOADED = 0.95
NOTHING_COMES = 0.5
SERVICE_PORT = 8080
SECOND = {4: "10.0.1.66", 6: "fd00:1::66"}
ROUTED = ({4: "10.0.5.1", 6: "fd00:5::1"}, {4: "10.0.5.2", 6: "fd00:5::2"})

# Every LAN with at least two WANs, and every WAN with at least two LANs.
PAIRS = (
    ("plain", "vlan"), ("plain", "pppoe"), ("vlan", "plain"), ("vlan", "pppoe-vlan"),
    ("qinq", "vlan"), ("qinq", "pppoe"), ("bridge", "pppoe"), ("bridge", "qinq"),
    ("bridge-pvid", "vlan"), ("bridge-pvid", "pppoe-vlan"), ("bridge-vlan", "plain"),
    ("bridge-vlan", "pppoe"), ("vlan-on-bridge", "vlan"), ("vlan-on-bridge", "pppoe-vlan"),
    ("bridge-on-vlans", "plain"), ("bridge-on-vlans", "qinq"), ("pppoe", "vlan"),
    ("pppoe", "bridge"), ("pppoe-vlan", "plain"), ("pppoe-vlan", "bridge-pvid"),
    ("macvlan", "plain"), ("macvlan", "vlan"), ("bridge", "macvlan"), ("bond", "vlan"),
    ("bond", "pppoe"), ("bridge", "bond"), ("vrf", "vlan"), ("bridge", "vrf"), ("vrf", "pppoe"),
    ("bridge", "wireguard"), ("plain", "wireguard"), ("wireguard", "vlan"), ("vlan", "tun"),
    ("tun", "bridge"), ("wireguard", "pppoe"), ("tun", "wireguard"), ("vlan", "ipip"),
    ("bridge", "ip6tnl"), ("ip6tnl", "plain"),
)
GENERIC = (("plain", "pppoe"), ("vlan", "plain"), ("bridge", "vlan"), ("bridge-pvid", "pppoe-vlan"))
ALL = [(*pair, hook) for hook in ("tc", "xdp") for pair in PAIRS] + [
    (*pair, "xdpgeneric") for pair in GENERIC]


def start(context, network, hook, interfaces=None, **options):
    return context.running(network, hook, interfaces=interfaces or network.interfaces, **options)


def open_flows(context, network):
    """A TCP and a UDP flow of each family from each host of the LAN to the server."""
    return [(end, context.keep(kind(network.seen_by(end.namespace), family, port=5000 + index)))
            for index, end in enumerate(network.lan.ends) for family in network.families
            for kind in (TcpFlow, UdpFlow)]


def wait_offloaded(bpfw, flows, timeout=10.0):
    """Both directions of every flow are in use in the fast path."""
    def missing():
        shown = bpfw.snapshot()
        waiting = [flow for _, flow in flows
                   if sum(one["packets"] > 0 for one in flow.in_map(shown)) < 2]
        for flow in waiting:
            flow.touch()
        return waiting
    for _, flow in flows:
        flow.touch()
    expect(wait_until(lambda: not missing(), timeout, 0.05),
           f"not offloaded: {[flow.name() for flow in missing()]}\n{bpfw.flows()}\n{bpfw.stats()}")


def transfer(network, flows):
    """Data in both directions, each byte checked at the other end."""
    most = min(side.mtu for side in network.sides) - 48
    for _, flow in flows:
        if isinstance(flow, TcpFlow):
            flow.exchange(BULK)
        else:
            flow.exchange(DATAGRAMS, (512, 1000, 1200, most))


# The plan.

def named_rows(plan, network):
    return [row for row in plan if row["interface"] in network.interfaces]


def check_plan(plan, network, hook):
    """The ports underneath what the user named, on the hook that was asked for, or the reason."""
    rows = named_rows(plan, network)
    for side in network.sides:
        shown = [row for row in rows if row["interface"] == side.device]
        equal(sorted(row["path"] for row in shown), sorted(side.paths), f"paths of {side.kind}")
        for row in shown:
            if side.left_out:
                equal((row["port"], row["mode"]), (None, "left out"), f"plan of {row}")
                expect("tunnel" in row["note"], f"no word why {side.device} is left out: {row}")
                continue
            equal(row["port"], row["path"][-1], f"port of {row}")
            if side.offloadable(hook):
                equal(row["hook"], "tc" if hook == "tc" else "xdp", f"hook of {row}")
            else:
                equal(row["hook"], "tc", f"hook of {row}")
                expect(row["note"], f"no word why not {hook}: {row}")


def check_status(bpfw, network, hook):
    plan = bpfw.status()["plan"]
    check_plan(plan, network, hook)
    wanted = {"tc": ("tcx", "clsact"), "xdp": ("xdp",), "xdpgeneric": ("xdpgeneric",)}[hook]
    for side in network.sides:
        for row in named_rows(plan, network):
            if row["interface"] == side.device and side.offloadable(hook):
                expect(row["mode"] in wanted, f"mode of {row} on hook {hook}")


# The flows.

def wire_of(end):
    """(port, tags, session) as `bpfw flows` has to show them for packets of this host."""
    side = end.side
    port = end.port if end.port in side.ports else side.ports[0]
    return port, end.json_vlans(), end.session


def check_flow(shown, network, end, flow):
    """Both directions name the port, the tags and the session that the hosts really have."""
    near, far = wire_of(end), wire_of(network.wan.end)
    shown = {one["direction"]: one for one in flow.in_map(shown)}
    for direction, ingress, egress in (("original", near, far), ("reply", far, near)):
        one = shown[direction]
        equal((one["ingress"], one["ingress_vlans"], one["ingress_session"]), ingress,
              f"where {flow.name()} comes in, {direction}")
        equal((one["egress"], one["egress_vlans"], one["egress_session"]), egress,
              f"where {flow.name()} goes out, {direction}")


def check_offloaded(bpfw, network, flows):
    """The data goes around the forward hook, and `bpfw flows` says how."""
    wait_offloaded(bpfw, flows)
    shown = bpfw.snapshot()
    for end, flow in flows:
        check_flow(shown, network, end, flow)
    meter, before = network.meter(), bpfw.fast_packets()
    transfer(network, flows)
    meter.read()
    fast = bpfw.fast_packets() - before
    expect(meter.offloaded_share > OFFLOADED, f"{meter}, {fast} packets fast; {bpfw.stats()}")
    expect(fast > 0, f"bpfw counts no packet; {meter}")


@test(*ALL)
def offload(context, lan, wan, hook):
    network = networks.for_test(context, lan, wan, hook)
    bpfw = start(context, network, hook)
    check_status(bpfw, network, hook)
    flows = open_flows(context, network)
    if network.offloadable(hook):
        check_offloaded(bpfw, network, flows)
    else:
        transfer(network, flows)
        check_the_other_way(bpfw, network, flows, hook)


def check_the_other_way(bpfw, network, flows, hook):
    """XDP does not send to a device without a link layer. TC, which is what such a device has,
    sends from there to the ports of XDP."""
    bare = [side for side in network.sides if side.layer3 and not side.left_out]
    if hook != "xdp" or len(bare) != 1:
        return
    direction = "original" if bare[0] is network.lan else "reply"

    def waiting():
        shown = bpfw.snapshot()
        found = [flow for _, flow in flows
                 if not any(one["direction"] == direction and one["packets"]
                            for one in flow.in_map(shown))]
        for flow in found:
            flow.touch()
        return found
    expect(wait_until(lambda: not waiting(), 10, 0.05),
           f"not offloaded, {direction}: {[flow.name() for flow in waiting()]}; {bpfw.stats()}")
    shown = bpfw.snapshot()
    equal({one["direction"] for _, flow in flows for one in flow.in_map(shown)}, {direction},
          "directions in the fast path")


@test(*[(kind, hook) for hook in ("tc", "xdp")
        for kind in ("bridge", "bridge-vlan", "pppoe-vlan", "wireguard", "bond")])
def dry_run(context, kind, hook):
    """The plan is printed and nothing is attached."""
    network = networks.for_test(context, kind, "plain", hook)
    bpfw = context.bpfw(network, hook, interfaces=network.interfaces, args=("--dry-run", "--json"))
    equal(bpfw.process.wait(20), 0, f"exit status of --dry-run:\n{bpfw.log}")
    check_plan(bpfw.plan()["plan"], network, hook)
    equal(attachments(network.router), [], "programs attached by --dry-run")


@test("tc", "xdp", "auto")
def automatic_interfaces(context, hook):
    """A home router: `--iface auto` is all that its owner has to say."""
    network = networks.for_test(context, "bridge", "pppoe", "tc" if hook == "tc" else "xdp")
    bpfw = start(context, network, hook, interfaces=["auto"])
    plan = bpfw.status()["plan"]
    attached = {row["port"] for row in plan if row["mode"] not in ("not attached", "left out")}
    expect({"lan0", "lan1", "wan0"} <= attached, f"attached: {plan}")
    expect(all(row["note"] for row in plan if row["mode"] == "left out"),
           f"something is left out without a word: {plan}")
    check_offloaded(bpfw, network, open_flows(context, network))


@test("tc", "xdp")
def vrf_has_its_own_network(context, hook):
    """Flows between ports of a VRF are offloaded. A port outside of it, on which a host has the
    same address, is another network; and the VRF device itself has no port underneath."""
    network = networks.for_test(context, "vrf", "vlan", hook)
    network.wire("lan9", "02:00:00:00:09:01", network.client, "eth9", "02:00:00:00:09:02", 1500)
    network.later(network.router, f"addr add {topology.LAN0[4]}/24 dev lan9")
    network.flush()
    bpfw = start(context, network, hook, interfaces=[*network.interfaces, "lan9", "vrf0"])
    check_status(bpfw, network, hook)
    rows = [row for row in bpfw.status()["plan"] if row["interface"] == "vrf0"]
    equal([(row["mode"], "ports" in row["note"]) for row in rows], [("left out", True)],
          "plan of vrf0")
    flows = open_flows(context, network)
    check_offloaded(bpfw, network, flows)
    _, original, _ = offloaded_udp(context, bpfw, network)
    stray, uplink = (context.keep(frames.Port(network.client, "eth9")),
                     context.keep(network.wan.end.capture()))
    fast = bpfw.fast_packets()
    stray.send(frames.ethernet("02:00:00:00:09:01", "02:00:00:00:09:02", original))
    equal(numbered(uplink), [], "frames from outside the VRF on its uplink")
    equal(bpfw.fast_packets(), fast, "packets in the fast path")


# What is not the router's to forward.

def raw_udp(family, src, dst, sport, dport, payload=b"raw", number=0x4242):
    layer4 = frames.udp(src, dst, sport, dport, payload)
    if family == 4:
        return frames.ipv4(src, dst, PROTOCOLS["udp"], layer4, ident=number)
    return frames.ipv6(src, dst, PROTOCOLS["udp"], layer4, flow_label=number)


def offloaded_udp(context, bpfw, network, family=4):
    """(flow, packet of its original direction, packet of its reply direction)"""
    flow = context.keep(UdpFlow(network, family))
    flow.wait_offloaded(bpfw)
    near, peer = flow.near.getsockname()[:2], flow.near.getpeername()[:2]
    own, outside = flow.far_view()
    return (flow, raw_udp(family, near[0], peer[0], near[1], peer[1]),
            raw_udp(family, own[0], outside[0], own[1], outside[1]))


def forget_raw(flow):
    """The raw packets that were let through are waiting at the flow's ends."""
    for sock in (flow.near, flow.far):
        sock.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                equal(sock.recv(2000), b"raw", "datagram that the flow did not send")
        sock.settimeout(1)


def numbered(port, duration=NOTHING_COMES, number=0x4242):
    """Captured frames that came from a raw one, whatever became of their link header."""
    found, deadline = [], time.monotonic() + duration
    while (left := deadline - time.monotonic()) > 0:
        captured = port.receive(left)
        packet = frames.peel(captured.data)[1] if captured else b""
        if packet and (packet[4:6] == struct.pack("!H", number) or packet[0] >> 4 == 6
                       and int.from_bytes(packet[1:4], "big") & 0xfffff == number):
            found.append(captured)
    return found


@test(*[(family, hook) for hook in ("tc", "xdp") for family in (4, 6)], (4, "xdpgeneric"))
def frames_for_others_on_the_bridge(context, family, hook):
    """The same tuple as an offloaded flow, but for another host's MAC address."""
    network = networks.for_test(context, "bridge", "plain", hook)
    bpfw = start(context, network, hook)
    first, second = network.lan.ends
    with UdpFlow(network.seen_by(second.namespace), family) as known:
        known.touch()  # the bridge learns where the second client is
    _, original, _ = offloaded_udp(context, bpfw, network, family)
    other, uplink = (context.keep(end.capture()) for end in (second, network.wan.end))
    fast = bpfw.fast_packets()
    frame = first.wrap(original, dst_mac=second.mac)
    wire = context.keep(first.capture())
    wire.send(frame)
    equal([one.data for one in numbered(other)], [frame], "what the other host on the bridge gets")
    equal(numbered(uplink, 0.2), [], "frames of the LAN on the uplink")
    equal(bpfw.fast_packets(), fast, "packets in the fast path")
    wire.send(first.wrap(original))
    equal(len(numbered(uplink)), 1, "the same packet sent to the router")


@test("tc", "xdp", "xdpgeneric")
def hosts_on_the_bridge_talk(context, hook):
    """What the bridge forwards is not a flow of the router."""
    network = networks.for_test(context, "bridge", "plain", hook)
    bpfw = start(context, network, hook)
    second = network.lan.ends[1]
    local = network.seen_by(network.client, second.namespace)
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(local, family, target=CLIENT2[family]) as flow:
                for _ in range(5):
                    flow.touch()
                if kind is TcpFlow:
                    flow.exchange(BULK)
                equal(flow.in_map(bpfw), [], "entries for bridged traffic")


@test(*[(wan, hook) for hook in ("tc", "xdp") for wan in ("pppoe", "pppoe-vlan")],
      ("pppoe", "xdpgeneric"))
def control_frames_of_ppp(context, wan, hook):
    """LCP reaches pppd, discovery reaches who listens, and PADT ends the session."""
    network = networks.for_test(context, "plain", wan, hook)
    bpfw = start(context, network, hook)
    flow, *_ = offloaded_udp(context, bpfw, network)
    end, router = network.wan.end, network.router
    wire = context.keep(end.capture())
    listener = context.keep(router.socket(socket.AF_PACKET, socket.SOCK_RAW))
    with router.enter():
        listener.bind((network.wan.paths[0][1], pppoe.ETH_P_PPP_DISC))
    listener.settimeout(3)

    def send(ethertype, body, mac=network.wan.mac):
        frame = frames.ethernet(mac, end.mac, body, ethertype)
        for protocol, vid in reversed(end.vlans):
            frame = frames.tagged(frame, vid, networks.ETHERTYPES[protocol])
        wire.send(frame)

    for number in range(1, 4):
        request = pppoe.echo_request(number)
        send(pppoe.ETH_P_PPP_SES, pppoe.payload(end.session, pppoe.PPP_LCP, request))
        equal(network.wan.sessions["near"].control(3), (pppoe.PPP_LCP, request), "LCP echo")
    padi = pppoe.discovery(pppoe.PADI, tags=b"\1\1\0\0")
    send(pppoe.ETH_P_PPP_DISC, padi, "ff:ff:ff:ff:ff:ff")
    equal(listener.recv(2000)[14:14 + len(padi)], padi, "discovery frame")
    flow.exchange(50)
    send(pppoe.ETH_P_PPP_DISC, pppoe.discovery(pppoe.PADT, end.session))
    expect(wait_until(network.wan.sessions["near"].ended, 3), "PADT did not end the session")


@test(*[(lan, wan, hook) for hook in ("tc", "xdp")
        for lan, wan in (("vlan", "pppoe"), ("qinq", "pppoe-vlan"), ("bridge-pvid", "vlan"))],
      ("vlan", "pppoe", "xdpgeneric"))
def foreign_tags_and_sessions(context, lan, wan, hook):
    """The tuple alone is not the flow: another network may have the same addresses."""
    network = networks.for_test(context, lan, wan, hook)
    bpfw = start(context, network, hook)
    flow, original, reply = offloaded_udp(context, bpfw, network)
    near, far = network.lan.end, network.wan.end
    near_port, far_port = context.keep(near.capture()), context.keep(far.capture())
    foreign = (("802.1Q", 99),)
    for own, mine, other, packet in ((near, near_port, far_port, original),
                                     (far, far_port, near_port, reply)):
        wrong = [own.wrap(packet, vlans=foreign)]
        if own.vlans:
            inner = (*own.vlans[:-1], (own.vlans[-1][0], own.vlans[-1][1] + 1))
            wrong += [own.wrap(packet, vlans=inner)]
        if len(own.vlans) < 2:
            wrong += [own.wrap(packet, vlans=(*foreign, *own.vlans))]
        if own.session:
            wrong += [own.wrap(packet, session=own.session + 1)]
        fast = bpfw.fast_packets()
        for frame in wrong:
            mine.send(frame)
        equal(numbered(other), [], f"frames from another network than {own.vlans} {own.session}")
        equal(bpfw.fast_packets(), fast, "packets in the fast path")
        mine.send(own.wrap(packet))
        equal(len(numbered(other)), 1, "the same packet in its own network")
    forget_raw(flow)
    flow.exchange(50)


# Back through the port it came from.

def hairpin_ruleset(network, target):
    """A service of the LAN under the router's outer address, for the LAN itself too."""
    def chains(family, match):
        wrapped = f"[{target[family]}]" if match == "ip6" else target[family]
        outer = topology.WAN0[family]
        return "".join(f"{match} daddr {outer} {protocol} dport {SERVICE_PORT} "
                       f"dnat {match} to {wrapped}:5000\n" for protocol in ("tcp", "udp"))
    return ("chain prerouting {\n type nat hook prerouting priority dstnat;\n"
            + chains(4, "ip") + chains(6, "ip6") + "}\n"
            "chain postrouting {\n type nat hook postrouting priority srcnat;\n"
            f"oifname {{ {network.lan.device}, {network.wan.device} }} masquerade\n}}\n")


def check_ports(bpfw, flows, *ports):
    """Ingress and egress of the original direction; the reply has them the other way round."""
    shown = bpfw.snapshot()
    for _, flow in flows:
        for one in flow.in_map(shown):
            equal((one["ingress"], one["egress"]),
                  ports if one["direction"] == "original" else ports[::-1],
                  f"ports of {flow.name()}, {one['direction']}")


@test(*[(lan, where, hook) for hook in ("tc", "xdp")
        for lan, where in (("plain", "same port"), ("bridge", "same port"), ("vlan", "same port"),
                           ("bridge", "other port"), ("bridge-pvid", "other port"))],
      ("plain", "same port", "xdpgeneric"))
def hairpin(context, lan, where, hook):
    """Client and server are both in the LAN, behind one port of the router or behind two."""
    network = networks.for_test(context, lan, "plain", hook)
    same = where == "same port"
    end = network.lan.ends[0 if same else 1]
    target = SECOND if same else CLIENT2
    if same:
        end.namespace.ip(f"addr add {SECOND[4]}/24 dev {end.device}",
                         f"addr add {SECOND[6]}/64 dev {end.device} nodad")
    network.load_ruleset(hairpin_ruleset(network, target))
    bpfw = start(context, network, hook)
    view = network.seen_by(network.client, end.namespace)
    flows = [(end, context.keep(kind(view, family, target=topology.WAN0[family], port=SERVICE_PORT,
                                     listen_port=5000, bind=target[family])))
             for family in (4, 6) for kind in (TcpFlow, UdpFlow)]
    wait_offloaded(bpfw, flows)
    check_ports(bpfw, flows, network.lan.end.port, end.port)
    meter = network.meter()
    transfer(network, flows)
    expect(meter.read().offloaded_share > OFFLOADED, f"{meter}; {bpfw.stats()}")


@test(*[(lan, hook) for hook in ("tc", "xdp")
        for lan in ("bridge", "bridge-vlan", "bridge-on-vlans")], ("bridge", "xdpgeneric"))
def routed_between_ports_of_a_bridge(context, lan, hook):
    """Two networks on one bridge: what goes from one port to the other passes the router."""
    network = networks.for_test(context, lan, "plain", hook)
    second = network.lan.ends[1]
    own, theirs = ROUTED
    network.router.ip(f"addr add {own[4]}/24 dev {network.lan.device}",
                      f"addr add {own[6]}/64 dev {network.lan.device} nodad")
    second.namespace.ip(f"addr flush dev {second.device} scope global",
                        f"addr add {theirs[4]}/24 dev {second.device}",
                        f"addr add {theirs[6]}/64 dev {second.device} nodad",
                        f"route replace default via {own[4]}", f"route replace ::/0 via {own[6]}")
    # The router tells of the shorter way, and the hosts do not take it.
    for end in network.lan.ends:
        for family in ("ipv4", "ipv6"):
            for name in ("all", end.device):
                end.namespace.sysctl(f"{family}/conf/{name}/accept_redirects", 0)
    bpfw = start(context, network, hook)
    view = network.seen_by(network.client, second.namespace)
    flows = [(second, context.keep(kind(view, family, target=theirs[family])))
             for family in (4, 6) for kind in (TcpFlow, UdpFlow)]
    wait_offloaded(bpfw, flows)
    check_ports(bpfw, flows, network.lan.end.port, second.port)
    meter = network.meter()
    transfer(network, flows)
    expect(meter.read().offloaded_share > OFFLOADED, f"{meter}; {bpfw.stats()}")


# Tags that a driver hides.

@test()
def stripped_tags_at_xdp(context):
    """A driver that takes the tag out of the frame hides it from XDP: the port is left out, or
    stripping is switched off if the user agrees. Traffic flows either way."""
    network = networks.for_test(context, "vlan", "plain", "xdp")
    network.router.run("ethtool", "-K", "lan0", "rxvlan", "on")
    bpfw = start(context, network, "xdp")
    row = next(row for row in bpfw.status()["plan"] if row["interface"] == "lan0.10")
    expect(row["hook"] != "xdp" or row["mode"] == "not attached", f"XDP on stripped tags: {row}")
    expect("rxvlan" in row["note"], f"no word about stripping: {row}")
    flows = open_flows(context, network)
    transfer(network, flows)
    bpfw.stop()
    bpfw = start(context, network, "xdp", args=("--rxvlan-off",))
    shown = network.router.run("ethtool", "-k", "lan0").stdout
    expect(re.search(r"^rx-vlan-offload: off", shown, re.MULTILINE), f"stripping is on:\n{shown}")
    check_status(bpfw, network, "xdp")
    check_offloaded(bpfw, network, flows)


# A real PPP daemon on both ends.

class Pppd:
    """pppoe-server at the far end and pppd with its plugin in the router."""

    OPTIONS = "noauth\nnoccp\nlcp-echo-interval 2\nlcp-echo-failure 20\nnoipdefault\n" \
              "nodefaultroute\nnodetach\n"

    def __init__(self, network):
        self._files = tempfile.TemporaryDirectory()
        options = os.path.join(self._files.name, "options")
        with open(options, "w", encoding="ascii") as file:
            file.write(self.OPTIONS)
        self._network = network
        far = topology.SERVER[4]
        self._processes = [self._start(
            network.server, "pppoe-server", "-I", "eth0", "-L", far, "-R", topology.WAN0[4],
            "-N", "1", "-O", options, "-X", os.path.join(self._files.name, "pid"))]
        self._processes.append(self._start(
            network.router, "pppd", "plugin", self._plugin(), "nic-wan0", "file", options,
            "+ipv6", "ifname", "pppoe-wan", "persist", "maxfail", "0", "holdoff", "1"))

    @staticmethod
    def _plugin():
        found = [os.path.join(where, name) for where, _, names in os.walk("/usr/lib/pppd")
                 for name in names if name in ("rp-pppoe.so", "pppoe.so")]
        if not found:
            raise Skip("pppd has no plugin for PPPoE here")
        return sorted(found)[0]

    def _start(self, namespace, *command):
        log = open(os.path.join(self._files.name, command[0] + ".log"), "wb")
        with log:
            return subprocess.Popen(
                ["nsenter", f"--net={namespace.path}", *command], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=die_with_parent)

    def log(self):
        text = ""
        for name in os.listdir(self._files.name):
            with open(os.path.join(self._files.name, name), encoding="utf-8",
                      errors="replace") as file:
                text += f"{name}:\n{file.read()}"
        return text

    def wait_up(self):
        def addresses():
            shown = self._network.router.run("ip", "-j", "addr", "show", "dev", "pppoe-wan",
                                             check=False).stdout
            return topology.WAN0[4] in shown
        expect(wait_until(addresses, 60, 0.2), f"no PPPoE session:\n{self.log()}")

    def close(self):
        """The server goes into the background; it ends with its namespace."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._files.cleanup()


@test("tc", "xdp")
def real_ppp_daemon(context, hook):
    """pppd's session is found as the kernel shows it, and its LCP echoes keep it alive."""
    for tool in ("pppd", "pppoe-server"):
        if not networks.have(tool):
            raise Skip(f"{tool} is not installed")
    pppoe.load()
    pppoe.need_kernel()
    network = networks.for_test(context, "bridge", "plain", hook)
    network.router.ip("addr flush dev wan0")
    network.server.ip("addr flush dev eth0")
    daemons = context.keep(Pppd(network))
    daemons.wait_up()
    network.router.ip(f"route replace {topology.SERVICE[4]}/32 dev pppoe-wan")
    network.load_ruleset("chain postrouting {\n type nat hook postrouting priority srcnat;\n"
                         "oifname pppoe-wan masquerade\n}\n")
    network.server.ip(f"route replace {topology.WAN0[4]}/32 dev ppp0")
    bpfw = start(context, network, hook, interfaces=["br-lan", "pppoe-wan"])
    flow = context.keep(TcpFlow(network, 4, target=topology.SERVICE[4],
                                bind=topology.SERVICE[4]))
    flow.wait_offloaded(bpfw)
    shown = flow.in_map(bpfw)
    sessions = {one["egress_session"] for one in shown if one["direction"] == "original"}
    expect(None not in sessions, f"no session in {shown}")
    meter = network.meter()
    flow.exchange(BULK)
    expect(meter.read().offloaded_share > OFFLOADED, f"{meter}; {bpfw.stats()}")
    # Longer than LCP waits for an answer, were it not let through.
    flow.start()
    time.sleep(5)
    flow.stop()
    flow.wait_offloaded(bpfw)


if __name__ == "__main__":
    main()
