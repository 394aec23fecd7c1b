#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Policy routing, several uplinks, multipath routes, and routes that refuse.

What is right is what the kernel does: each test goes through its changes with the kernel alone,
and then once more with the flows in the fast path."""

import collections
import functools
import socket
import time

from netlab import TcpFlow, UdpFlow, equal, expect, main, test, wait_until
from netlab import frames
from netlab import lab as topology
from netlab.sessions import Session, report_every_error

HOOKS = ("tc", "xdp")
FOLLOWED = 5.0
SECOND = {4: "10.0.1.66", 6: "fd00:1::66"}
LAN1, OTHER = {4: "10.0.4.1", 6: "fd00:4::1"}, {4: "10.0.4.2", 6: "fd00:4::2"}
LAN1_MAC, OTHER_MAC = "02:00:00:00:04:01", "02:00:00:00:04:02"
PREFIX = {4: "10.0.20.0/24", 6: "fd00:20::/64"}
HOST = {4: 32, 6: 128}
SERVICES = 16
# What the uplinks' tables are called; the main table sends everything by wan0.
TABLES = {"wan0": 101, "wan1": 102}
VIA = {"wan0": topology.SERVER, "wan1": topology.SERVER1}
# Hosts that exist in frames only.
NEAR_NET, FAR_NET = {4: "192.168.7.", 6: "fd00:77::"}, {4: "203.0.113.", 6: "fd00:f0::"}
RAW_PREFIX = {"near": {4: "192.168.7.0/24", 6: "fd00:77::/64"},
              "far": {4: "203.0.113.0/24", 6: "fd00:f0::/64"}}
UPLINKS = {"eth0": "wan0", "eth1": "wan1"}
LANS = {"eth0": "lan0", "eth1": "lan1"}
UNREACHABLE = {4: 1, 6: 58}


def service(number, family):
    """One of many addresses behind either uplink."""
    return f"10.0.20.{number}" if family == 4 else f"fd00:20::{number:x}"


def entry_port(flow):
    """By which a flow is known on either side, whatever NAT does."""
    return flow.original()["dport"]


def sourced(kind, source):
    """A kind of flow whose initiator has this address."""
    class Sourced(kind):
        """The acceptor is bound as before."""

        def _bound(self, namespace, kind, port, address=None):
            if namespace is self._initiator and address is None:
                address = source
            return super()._bound(namespace, kind, port, address)
    return Sourced


class Scene:
    """A router with two LANs and two uplinks, and where each flow's packets really arrive."""

    def __init__(self, context, hook, nat="none"):
        self.context, self.hook = context, hook
        self.lab = context.lab(hook, nat)
        self.router = self.lab.router
        self.lab.add_second_uplink()
        self._second_lan()
        self._services()
        self._tables()
        report_every_error(self.router)
        self.ups = self._ports(self.lab.server, UPLINKS)
        self.downs = self._ports(self.lab.client, LANS)
        self.flows, self.bpfw = [], None

    def _second_lan(self):
        lab, client = self.lab, self.lab.client
        # pylint: disable-next=protected-access
        lab._veth("lan1", LAN1_MAC, client, "eth1", OTHER_MAC)
        for namespace, device, own in ((lab.router, "lan1", LAN1), (client, "eth1", OTHER)):
            namespace.ip(f"addr add {own[4]}/24 dev {device}",
                         f"addr add {own[6]}/64 dev {device} nodad", f"link set {device} up")
        client.ip(f"addr add {SECOND[4]}/24 dev eth0", f"addr add {SECOND[6]}/64 dev eth0 nodad")
        for family in (4, 6):
            client.ip(f"route add default via {LAN1[family]} dev eth1 table 50" if family == 4 else
                      f"route add ::/0 via {LAN1[family]} dev eth1 table 50")
            client.run("ip", f"-{family}", "rule", "add", "from", OTHER[family], "lookup", "50")

    def _services(self):
        self.lab.server.ip(*(f"addr add {service(number, family)}/{HOST[family]} dev lo"
                             + " nodad" * (family == 6)
                             for family in (4, 6) for number in range(1, SERVICES + 1)))

    def _tables(self):
        for family in (4, 6):
            self.route(f"via {VIA['wan0'][family]} dev wan0", family)
            for device, table in TABLES.items():
                self.route(f"via {VIA[device][family]} dev {device}", family, table)

    def _ports(self, namespace, devices):
        return {name: self.context.keep(frames.Port(namespace, device))
                for device, name in devices.items()}

    def route(self, path, family, table="main", prefix=None):
        """path: what comes after the prefix, or after its type where it begins with one."""
        kind, _, rest = path.partition(" ")
        prefix = prefix or PREFIX[family]
        words = f"{prefix} table {table} {path}" if kind in ("via", "nexthop", "nhid", "dev") \
            else f"{kind} {prefix} table {table} {rest}"
        self.router.ip(f"route replace {words}")

    def rule(self, action, selector, family):
        self.router.run("ip", f"-{family}", "rule", action, "pref", "100", *selector.split())

    def neighbours(self):
        """No question is asked of the hosts, so that the first packets are not held up."""
        for family in (4, 6):
            self.router.ip(*(f"neigh replace {host[family]} lladdr {mac} dev {device}"
                             for host, mac, device in (
                                 (topology.CLIENT, topology.CLIENT_MAC, "lan0"),
                                 (topology.SERVER, topology.SERVER_MAC, "wan0"),
                                 (topology.SERVER1, topology.SERVER1_MAC, "wan1"))))

    def add_raw_flows(self, family, count=12):
        self.neighbours()
        self.router.ip(f"route add {RAW_PREFIX['near'][family]} via {topology.CLIENT[family]}")
        self.route(f"via {VIA['wan0'][family]} dev wan0", family, prefix=RAW_PREFIX["far"][family])
        for number in range(count):
            self.flows.append(RawFlow(self, family, ("udp", "tcp")[number % 2]))

    def add_flow(self, kind, family, source=None):
        """Each has a port and an address of the service of its own."""
        number = len(self.flows) + 1
        made = sourced(kind, source) if source else kind
        target = service(number, family)
        self.flows.append(self.context.keep(
            made(self.lab, family, target=target, port=5000 + number, bind=target)))
        return self.flows[-1]

    def start_bpfw(self, offloads=True):
        self.bpfw = self.context.running(self.lab, self.hook,
                                         interfaces=("lan0", "lan1", "wan0", "wan1"))
        for flow in self.flows:
            if offloads:
                flow.wait_offloaded(self.bpfw, 10)

    def ways(self):
        """By flow: the uplinks and the LANs by which its packets leave the router."""
        for port in (*self.ups.values(), *self.downs.values()):
            port.drain(0)
        for flow in self.flows:
            flow.touch()
        seen = {"dport": collections.defaultdict(set), "sport": collections.defaultdict(set)}
        time.sleep(0.02)
        for field, ports in (("dport", self.ups), ("sport", self.downs)):
            for name, port in ports.items():
                for captured in port.drain(0.02):
                    found = frames.fields(captured)
                    seen[field][found.get(field)].add(name)
        return {flow: (sorted(seen["dport"][entry_port(flow)]),
                       sorted(seen["sport"][entry_port(flow)])) for flow in self.flows}

    def egresses(self):
        """The same by what is in use in the fast path."""
        shown = self.bpfw.snapshot()
        found = {}
        for flow in self.flows:
            used = [one for one in flow.in_map(shown) if one["packets"]]
            found[flow] = tuple(sorted(one["egress"] for one in used
                                       if one["direction"] == direction)
                                for direction in ("original", "reply"))
        return found

    def named(self, ways):
        return {flow.name(): way for flow, way in ways.items()}

    def follows(self, wanted, offloads):
        """The flows take the ways that they took with the kernel alone, in the fast path or, where
        it does not have to be that, in none that is another."""
        expect(wait_until(lambda: self.ways() == wanted, FOLLOWED),
               f"ways {self.named(self.ways())}, with the kernel alone {self.named(wanted)}")

        def in_use():
            self.ways()
            used = self.egresses()
            if offloads:
                return used == wanted
            return all(found in ([], right) for flow, ways in wanted.items()
                       for found, right in zip(used[flow], ways))
        expect(wait_until(in_use, FOLLOWED), f"offloaded to {self.named(self.egresses())}, the "
               f"packets take {self.named(wanted)}; {self.bpfw.stats()}")
        for _ in range(1 if offloads else 8):
            equal(self.named(self.ways()), self.named(wanted), "ways after the change")

    def both_uplinks(self, ways):
        equal({up for ups, _ in ways.values() for up in ups}, {"wan0", "wan1"},
              "uplinks in use with the kernel alone")

    def walk_through(self, *steps, offloads=True):
        """Each change by itself: the kernel alone, and then with bpfw. The first has to use both
        uplinks, and the last must leave things as they were."""
        alone = []
        for step in steps:
            step()
            alone.append(self.ways())
            expect(all(len(up) == len(down) == 1 for up, down in alone[-1].values()),
                   f"flows without a path of their own: {self.named(alone[-1])}")
        self.both_uplinks(alone[0])
        self.start_bpfw(offloads)
        for step, wanted in zip(steps, alone):
            step()
            self.follows(wanted, offloads)


class RawFlow:
    """A flow of hosts behind the client and the server, in frames only. What a socket sends brings
    a hash along that a multipath route goes by (skb->l4_hash), as from many NICs; these do not."""

    def __init__(self, scene, family, protocol):
        self.family, self.protocol = family, protocol
        self._scene = scene
        number = len(scene.flows) + 1
        near = f"{NEAR_NET[family]}{number}", 1000 + number
        far = f"{FAR_NET[family]}{number}", 5000 + number
        self._session = Session(family, protocol, near, far, far, near)
        for up, packet in self._session.opening(0xfff1):
            self._send(up, packet)

    def original(self):
        return {"dport": self._session.far[1]}

    def name(self):
        return f"{self.protocol}{self.family} to {self._session.far}"

    def _send(self, up, packet):
        if up:
            macs, port = (topology.LAN0_MAC, topology.CLIENT_MAC), self._scene.downs["lan0"]
        else:
            macs, port = (topology.WAN0_MAC, topology.SERVER_MAC), self._scene.ups["wan0"]
        port.send(frames.ethernet(*macs, packet))

    def touch(self):
        for _ in range(3):
            for up in (True, False):
                self._send(up, self._session.data(up, 0xfff2, 32))

    def in_map(self, bpfw):
        return [one for one in bpfw.flows(protocol=self.protocol)
                if self._session.far[1] in (one["sport"], one["dport"])]

    def wait_offloaded(self, bpfw, timeout):
        def used():
            self.touch()
            return sum(one["packets"] > 0 for one in self.in_map(bpfw)) == 2
        expect(wait_until(used, timeout, 0.05), f"{self.name()} is not offloaded: {bpfw.flows()}\n"
               f"{bpfw.stats()}")

    def close(self):
        """Nothing is open."""


# Rules.

MARKS = ("chain classify {\n type filter hook prerouting priority mangle;\n"
         " ct state new ct mark set th dport map {"
         + ", ".join(f"{5000 + number} : {mark:#x}" for number in range(1, 30)
                     for mark in ((0, 0x1, 0x13)[number % 3],)) + "}\n"
         " meta mark set ct mark\n}\n")
SELECTORS = {
    "mark": lambda family: "fwmark 0x1",
    "part of a mark": lambda family: "fwmark 0x10/0xf0",
    "source": lambda family: f"from {SECOND[family]}",
    "another source": lambda family: f"not from {SECOND[family]}",
    "ingress": lambda family: "iif lan1",
    "protocol": lambda family: "ipproto udp",
    "port": lambda family: "dport 5002-5005",
    "destination": lambda family: f"to {service(3, family)}",
}


def flows_of_all_hosts(scene, family):
    for source in (None, SECOND[family], OTHER[family]):
        for kind in (UdpFlow, TcpFlow):
            scene.add_flow(kind, family, source)


# Where a flow goes is asked alike for both hooks.
@test(*[(selector, family, "tc") for family in (4, 6) for selector in SELECTORS],
      *[(selector, family, "xdp") for family in (4, 6) for selector in ("mark", "ingress")])
def rule(context, selector, family, hook):
    """A rule sends some of the flows by the other uplink; it goes, and comes with another table."""
    scene = Scene(context, hook, MARKS)
    flows_of_all_hosts(scene, family)
    chosen = SELECTORS[selector](family)
    add = functools.partial(scene.rule, "add", family=family)
    delete = functools.partial(scene.rule, "del", family=family)

    def replaced():
        delete(f"{chosen} lookup {TABLES['wan1']}")
        add(f"{chosen} lookup {TABLES['wan0']}")
    scene.walk_through(
        lambda: add(f"{chosen} lookup {TABLES['wan1']}"), replaced,
        lambda: delete(f"{chosen} lookup {TABLES['wan0']}"))


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def connection_gets_another_mark(context, family, hook):
    """Set by conntrack(8), as by whoever balances load: the connection takes the other uplink."""
    scene = Scene(context, hook, MARKS)
    # Else entries that are older than bpfw tell nobody of their changes.
    scene.router.sysctl("netfilter/nf_conntrack_events", 1)
    flows_of_all_hosts(scene, family)
    scene.rule("add", f"fwmark 0x1 lookup {TABLES['wan1']}", family)

    scene.ways()

    def mark(value, flows):
        """conntrack(8) calls it an error where the mark is the same already."""
        for flow in flows:
            scene.router.run("conntrack", "-U", "-f", f"ipv{family}", "-p", flow.protocol,
                             "--orig-port-dst", str(entry_port(flow)), "--mark", str(value),
                             check=False)
    some, others = scene.flows[:3], scene.flows[3:]
    scene.walk_through(lambda: (mark(1, some), mark(0, others)),
                       lambda: (mark(0, some), mark(1, others)),
                       lambda: mark(1, some), lambda: mark(2, others))


TRAFFIC_CLASS = {4: (socket.IPPROTO_IP, socket.IP_TOS),
                 6: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)}


@test((4, "tc"), (6, "tc"), (4, "xdp"))
def rule_by_traffic_class(context, family, hook):
    """No question for a whole flow has the answer: flows stay in the stack while there is one."""
    scene = Scene(context, hook)
    for value in (0, 0x10):
        for kind in (UdpFlow, TcpFlow):
            flow = scene.add_flow(kind, family)
            flow.near.setsockopt(*TRAFFIC_CLASS[family], value)
    chosen = f"tos 0x10 lookup {TABLES['wan1']}"
    scene.walk_through(lambda: scene.rule("add", chosen, family),
                       lambda: scene.rule("del", chosen, family), offloads=False)
    for flow in scene.flows:
        flow.wait_offloaded(scene.bpfw, 10)
    scene.rule("add", chosen, family)
    for flow in scene.flows:
        flow.wait_not_offloaded(scene.bpfw)


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def rules_without_a_table(context, family, hook):
    """goto, nop and the length of a prefix decide as well."""
    scene = Scene(context, hook)
    flows_of_all_hosts(scene, family)

    def rules(action, *lines):
        for pref, line in enumerate(lines, 200):
            scene.router.run("ip", f"-{family}", "rule", action, "pref", str(pref), *line.split())
    jump = (f"from {SECOND[family]} goto 202", "lookup main", f"lookup {TABLES['wan1']}")
    length = "64" if family == 6 else "24"
    short = (f"lookup main suppress_prefixlength {length}", f"iif lan1 lookup {TABLES['wan1']}")
    # The hosts of the LANs keep their way through the main table: it is longer than the prefix.
    for host, device in ((topology.CLIENT, "lan0"), (SECOND, "lan0"), (OTHER, "lan1")):
        scene.route(f"dev {device}", family, prefix=f"{host[family]}/{HOST[family]}")
    scene.walk_through(
        lambda: rules("add", *jump), lambda: rules("del", *jump),
        lambda: rules("add", *short), lambda: rules("del", *short))


BALANCED = ("chain classify {\n type filter hook prerouting priority mangle;\n"
            " ct state new iifname lan0 ct mark set th dport map {"
            + ", ".join(f"{5000 + number} : {number % 2 + 1}" for number in range(1, 30)) + "}\n"
            " meta mark set ct mark\n}\n"
            "chain postrouting {\n type nat hook postrouting priority srcnat;\n"
            " oifname { wan0, wan1 } masquerade\n}\n")


def balanced_uplinks(context, hook, family, kinds):
    """Each connection belongs to an uplink, with its address."""
    scene = Scene(context, hook, BALANCED)
    for number, device in ((1, "wan0"), (2, "wan1")):
        scene.router.run("ip", f"-{family}", "rule", "add", "pref", str(90 + number), "fwmark",
                         str(number), "iif", "lan0", "lookup", str(TABLES[device]))
    for kind in kinds:
        scene.add_flow(kind, family)
    return scene


def uplinks_by_address(scene, family):
    """The uplink whose address the server sees, by flow."""
    uplink = {topology.WAN0[family]: "wan0", topology.SNAT[family]: "wan0",
              topology.WAN1[family]: "wan1"}
    return {flow.name(): [uplink[flow.far_view()[1][0]]] for flow in scene.flows}


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def uplink_fails(context, family, hook):
    """Its connections go on by the other one, with that one's address, and back again."""
    scene = balanced_uplinks(context, hook, family, 4 * [UdpFlow])

    def down():
        scene.router.ip("link set wan1 down")

    def up():
        scene.router.ip("link set wan1 up",
                        f"addr replace {topology.WAN1[6]}/64 dev wan1 nodad")
        scene.route(f"via {VIA['wan1'][family]} dev wan1", family, TABLES["wan1"])

    def settled():
        """A datagram of each flow may be the one with which the kernel gives up an entry."""
        return wait_until(lambda: all(flow.echo() for flow in scene.flows), FOLLOWED)
    for change in (lambda: None, down, up):
        change()
        expect(settled(), "flows stop with the kernel alone")
        wanted = scene.ways()
        equal(uplinks_by_address(scene, family), {flow.name(): way[0] for flow, way in
                                                  wanted.items()}, "addresses, kernel alone")
    scene.both_uplinks(wanted)
    scene.start_bpfw()
    for change, uplinks in ((down, {"wan0"}), (up, {"wan0", "wan1"})):
        change()
        expect(settled(), "flows stop")
        expect(wait_until(lambda: offloaded_uplinks(scene) == uplinks, FOLLOWED),
               f"offloaded to {offloaded_uplinks(scene)}; {scene.bpfw.stats()}")
        ways = scene.ways()
        equal(uplinks_by_address(scene, family),
              {flow.name(): way[0] for flow, way in ways.items()}, "addresses")
    equal(scene.named(ways), scene.named(wanted), "ways after the uplink is back")


def offloaded_uplinks(scene):
    """Empty as long as a flow is in the stack."""
    for flow in scene.flows:
        flow.echo()
    found = scene.egresses().values()
    return {up for ups, _ in found for up in ups} if all(all(one) for one in found) else set()


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def uplinks_share_the_connections(context, family, hook):
    """Masqueraded by the address of its uplink, a connection comes back by it, too."""
    scene = balanced_uplinks(context, hook, family, 3 * (UdpFlow, TcpFlow))
    scene.walk_through(lambda: None)
    ways = scene.ways()
    equal(uplinks_by_address(scene, family), {flow.name(): way[0] for flow, way in ways.items()},
          "uplinks by the flows' addresses")
    meter = scene.lab.meter()
    for flow in scene.flows:
        flow.exchange(1 << 20 if isinstance(flow, TcpFlow) else 200)
    meter.read()
    expect(meter.forwarded_packets < 0.2 * meter.received_packets, f"{meter}")
    shown = scene.bpfw.snapshot()
    for flow in scene.flows:
        by = {one["direction"]: one for one in flow.in_map(shown)}
        equal(by["reply"]["ingress"], by["original"]["egress"], f"uplink of {flow.name()}, replies")


# Multipath.

def nexthops(family, *weights):
    return " ".join(f"nexthop via {VIA[device][family]} dev {device} weight {weight}"
                    for device, weight in zip(("wan0", "wan1"), weights))


def multipath_scene(context, family, policy, hook):
    scene = Scene(context, hook)
    scene.router.sysctl(f"ipv{family}/fib_multipath_hash_policy", policy)
    return scene


def to_far(scene, family):
    """Routes to the hosts of the raw flows."""
    return lambda path: lambda: scene.route(path, family, prefix=RAW_PREFIX["far"][family])


def certain(family, policy):
    """A routing question surely has the answer that a packet gets. Else a hash that the packet
    brings along (skb->l4_hash: of a NIC, or of the socket that sent it) or the flow label come
    before the tuple, or the kernel works the hash out in another way."""
    return (family, policy) == (4, 0)


@test(*[(family, policy, hook) for hook in HOOKS
        for family, policy in ((4, 0), (4, 1), (4, 3), (6, 0), (6, 1), (6, 3))])
def multipath(context, family, policy, hook):
    """Several flows use both uplinks, and each stays on the one that the kernel has for it."""
    scene = multipath_scene(context, family, policy, hook)
    scene.add_raw_flows(family)
    route = to_far(scene, family)
    scene.walk_through(route(nexthops(family, 1, 1)), route(nexthops(family, 1, 20)),
                       route(f"via {VIA['wan1'][family]} dev wan1"), route(nexthops(family, 5, 3)),
                       offloads=certain(family, policy))


@test(*[(family, policy, hook) for hook in HOOKS
        for family, policy in ((4, 0), (4, 1), (6, 0), (6, 1), (6, 3))])
def multipath_of_sockets(context, family, policy, hook):
    """Packets that bring a hash along."""
    scene = multipath_scene(context, family, policy, hook)
    for kind in 4 * (UdpFlow, TcpFlow, UdpFlow):
        scene.add_flow(kind, family)
    scene.walk_through(lambda: scene.route(nexthops(family, 1, 1), family),
                       offloads=certain(family, policy))


@test(*[(family, hook) for hook in HOOKS for family in (4, 6)])
def multipath_loses_an_uplink(context, family, hook):
    """A next hop whose link is down is left out, and is back when its route is."""
    scene = multipath_scene(context, family, 0, hook)
    scene.add_raw_flows(family)
    route = to_far(scene, family)(nexthops(family, 1, 1))

    def down():
        scene.router.ip("link set wan1 down")

    def up():
        scene.router.ip("link set wan1 up")
        if family == 6:
            scene.router.ip(f"addr replace {topology.WAN1[6]}/64 dev wan1 nodad")
        scene.neighbours()
        route()
    scene.walk_through(route, down, up, offloads=certain(family, 0))


@test(*[(family, compatible, "tc") for family in (4, 6) for compatible in (1, 0)], (4, 0, "xdp"))
def nexthop_objects(context, family, compatible, hook):
    """The route stays, its next hops change; the kernel then tells of routes only if it is to."""
    scene = multipath_scene(context, family, 0, hook)
    scene.add_raw_flows(family)
    scene.router.sysctl("ipv4/nexthop_compat_mode", compatible)

    def nexthop(words):
        return lambda: scene.router.run("ip", "nexthop", "replace", *words.split())

    def hop(number, device):
        return nexthop(f"id {number} via {VIA[device][family]} dev {device}")
    for step in (hop(1, "wan0"), hop(2, "wan1"), nexthop("id 10 group 1/2"),
                 to_far(scene, family)("nhid 10")):
        step()
    scene.walk_through(
        nexthop("id 10 group 1/2"), hop(1, "wan1"), hop(1, "wan0"), nexthop("id 10 group 2"),
        nexthop("id 10 group 1,9/2,1"), offloads=certain(family, 0))


# Refusals.

def arrived(flow, count=6):
    """How many of a handful of datagrams come back."""
    return sum(flow.echo(timeout=0.1) for _ in range(count))


def errors(scene, flow, patience):
    """Type and code of the ICMP errors for the flow's sender. The kernel limits those for refusing
    routes to one a second, whatever the settings are."""
    client, found = scene.downs["lan0"], set()
    client.drain(0)
    deadline = time.monotonic() + patience
    while not found and time.monotonic() < deadline:
        flow.echo(timeout=0.1)
        for captured in client.drain(0.05):
            seen = frames.fields(captured)
            if UNREACHABLE[flow.family] in (seen.get("protocol"), seen.get("next header")):
                found.add(seen["rest"][:4])
    return found


def refusing_route(kind, where):
    """(how it is put there, how it goes) for a flow's destination."""
    def routes(scene, flow):
        family = flow.family
        via = f"via {VIA['wan0'][family]} dev wan0"
        host = f"{service(1, family)}/{HOST[family]}"
        if where == "instead":
            return lambda: _replace(scene, f"{kind}", family), lambda: _replace(scene, via, family)
        if where == "more specific":
            return (lambda: scene.route(kind, family, prefix=host),
                    lambda: scene.router.ip(f"route del {kind} {host}"))
        return (lambda: scene.rule("add", f"to {host} {kind}", family),
                lambda: scene.rule("del", f"to {host} {kind}", family))
    return routes


def _replace(scene, path, family):
    """Of IPv6 `replace` keeps a route of the other kind beside the new one."""
    scene.router.run("ip", f"-{family}", "route", "del", PREFIX[family])
    scene.route(path, family)


@test(*[(kind, where, family, "tc") for family in (4, 6)
        for kind in ("blackhole", "unreachable", "prohibit")
        for where in ("instead", "more specific", "rule")],
      *[(kind, "instead", family, "xdp") for family in (4, 6)
        for kind in ("blackhole", "unreachable", "prohibit")])
def refused(context, kind, where, family, hook):
    """The flow stops, and its sender is told, or not, as by the kernel alone."""
    scene = Scene(context, hook)
    flow = scene.add_flow(UdpFlow, family)
    refuse, allow = refusing_route(kind, where)(scene, flow)
    refuse()
    equal(arrived(flow), 0, "datagrams that arrive with the kernel alone")
    patience = 0.8 if kind == "blackhole" else 5
    alone = errors(scene, flow, patience)
    equal(bool(alone), kind != "blackhole", f"errors with the kernel alone {alone}")
    allow()
    expect(wait_until(flow.echo, FOLLOWED), "nothing arrives after the refusal is gone")
    scene.start_bpfw()
    refuse()
    expect(wait_until(lambda: not arrived(flow), FOLLOWED), "datagrams still arrive")
    equal(errors(scene, flow, patience), alone, "ICMP errors, and those of the kernel alone")
    equal(arrived(flow), 0, "datagrams that arrive")
    allow()
    expect(wait_until(flow.echo, FOLLOWED), "nothing arrives after the refusal is gone")
    flow.wait_offloaded(scene.bpfw)


if __name__ == "__main__":
    main()
