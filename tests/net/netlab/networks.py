# SPDX-License-Identifier: GPL-2.0-only
"""Networks as routers have them: a LAN side and a WAN side, each built from layers.

    client  ---- lan0 --+                        +-- wan0 ---- server
    client2 ---- lan1 --+-- LAN device | WAN device --+
             (with a bridge)

A kind of side is a list of layers on top of Ethernet: each takes the router's devices and those of
the hosts at the other end, and puts its own on top. Any kind can be either side.
"""

import contextlib
import dataclasses
import re

from . import frames, pppoe, wireguard
from . import lab as topology
from .lab import ETH_HLEN, Lab, run, wait_until
from .tap import Skip
from .tun import Wire

ETHERTYPES = {"802.1Q": 0x8100, "802.1ad": 0x88a8}
# What ip(8) says when the kernel lacks a kind of device, or a feature of one.
LACKING = re.compile(r"Unknown device type|Operation not supported|not supported|does not exist")

VRF_TABLE = 100
VLAN_OFFLOADS = ("txvlan", "off", "tx-vlan-stag-hw-insert", "off",
                 "rxvlan", "off", "rx-vlan-stag-hw-parse", "off")
CLIENT2 = {4: "10.0.1.3", 6: "fd00:1::3"}
SERVER2 = {4: "10.0.2.3", 6: "fd00:2::3"}
# What a tunnel runs over, per side.
OUTER = {"lan": ("10.9.1.1", "10.9.1.2"), "wan": ("10.9.2.1", "10.9.2.2")}
OUTER6 = {"lan": ("fd00:a1::1", "fd00:a1::2"), "wan": ("fd00:a2::1", "fd00:a2::2")}
PORTS = {"lan": 1, "wan": 2}
SESSION = {"lan": 0x11, "wan": 0x1234}


@dataclasses.dataclass
class End:
    """A host at the far end of a side, and how its frames look on the wire."""
    namespace: object
    wire: str
    port: str
    mac: str
    addresses: dict
    device: str = ""
    vlans: tuple = ()
    session: int = None
    side: object = None

    def wrap(self, packet, dst_mac=None, vlans=None, session=None, priority=0):
        """The packet as the host sends it to the router; other tags or session on demand."""
        if self.side.layer3:
            return packet
        vlans = self.vlans if vlans is None else vlans
        session = self.session if session is None else session
        frame = frames.ethernet(dst_mac or self.side.mac, self.mac, packet)
        if session is not None:
            protocol = pppoe.PPP_IPV6 if packet[0] >> 4 == 6 else pppoe.PPP_IP
            frame = frames.ethernet(dst_mac or self.side.mac, self.mac,
                                    pppoe.payload(session, protocol, packet), pppoe.ETH_P_PPP_SES)
        for protocol, vid in reversed(vlans):
            frame = frames.tagged(frame, priority << 13 | vid, ETHERTYPES[protocol])
        return frame

    def capture(self):
        """Where the router's frames to this host are seen: on the wire, or after decryption."""
        return frames.Port(self.namespace, self.device if self.side.layer3 else self.wire,
                           layer3=self.side.layer3)

    def json_vlans(self):
        """As `bpfw flows --json` shows them."""
        return [{"protocol": protocol, "id": vid} for protocol, vid in self.vlans]


class Side:
    """The LAN or the WAN of a router."""

    def __init__(self, network, role, kind):
        self.network, self.role, self.kind = network, role, kind
        self.router = network.router
        self.addresses = {"lan": topology.LAN0, "wan": topology.WAN0}[role]
        self.ends, self.paths = [], []
        self.families = (4, 6)
        self.layer3 = self.tc_only = self.left_out = False
        self.sessions, self._session_lower = {}, None
        self.primaries = {}  # by bond
        self.mtu = 1500
        self.mac = f"02:00:00:00:{PORTS[role]:02x}:01"
        for layer, *arguments in KINDS[kind]:
            layer(self, *arguments)

    @property
    def device(self):
        """The router's device of layer 3, the one that a user would name."""
        return self.paths[0][0]

    @property
    def end(self):
        return self.ends[0]

    @property
    def ports(self):
        """What bpfw attaches to."""
        return [path[-1] for path in self.paths]

    @property
    def counted(self):
        """The devices whose counters say what comes in."""
        return self.ports if self.layer3 else [f"{self.role}0", f"{self.role}1"]

    def offloadable(self, hook):
        """Both directions: XDP cannot serve a device without XDP of its own, and tunnels whose way
        out depends on the packet are left to the stack."""
        return not self.left_out and (hook == "tc" or not (self.tc_only or self.layer3))

    def header_length(self):
        """Of a received frame, as the port's counter sees it: an accelerated tag is not in it."""
        if self.layer3:
            return 0
        tags = len(self.end.vlans)
        if self.network.offloads and tags:
            tags -= 1
        return ETH_HLEN + 4 * tags + pppoe.OVERHEAD * (self.end.session is not None)

    def stack(self, device):
        """The device is on top of each of the paths from now on."""
        self.paths = [[device, *path] for path in self.paths]

    def ip(self, namespace, *lines):
        self.network.later(namespace, *lines)

    def settle(self):
        """Its bonds use the link that they are to prefer, which takes them a moment."""
        for name, primary in self.primaries.items():
            if not wait_until(lambda name=name, primary=primary: self._active(name) == primary):
                raise RuntimeError(f"{name} uses {self._active(name)}, not {primary}")

    def _active(self, bond):
        shown = self.router.json("ip", "-j", "-d", "link", "show", "dev", bond)[0]
        return shown["linkinfo"]["info_data"].get("active_slave")

    def configure(self):
        """Addresses and routes of both ends; once more after a device was made anew."""
        self.configure_router()
        for end in self.ends:
            self.configure_end(end)

    def configure_router(self):
        self.ip(self.router, *self._address(self.device, self.addresses, self.end.addresses),
                f"link set {self.device} up", *self._router_routes())

    def _router_routes(self):
        table = f" table {VRF_TABLE}" if self.network.vrf else ""
        far = self.end.addresses
        lines = []
        for family in self.families:
            if self.role == "wan":
                suffix = 32 if family == 4 else 128
                lines.append(f"route replace {topology.SERVICE[family]}/{suffix} "
                             f"via {far[family]} dev {self.device}{table}")
        return lines

    def configure_end(self, end):
        lines = self._address(end.device, end.addresses, self.addresses)
        lines += [f"link set {end.device} up", "link set lo up"]
        for family in self.families:
            prefix = "0.0.0.0/0" if family == 4 else "::/0"
            lines.append(f"route replace {prefix} via {self.addresses[family]} dev {end.device}")
            if self.role == "wan":
                suffix = 32 if family == 4 else 128
                lines.append(f"addr replace {topology.SERVICE[family]}/{suffix} dev lo "
                             + "nodad" * (family == 6))
        self.ip(end.namespace, *lines)

    def _address(self, device, own, peer):
        """With PPP the other end is all there is; elsewhere a network."""
        lines = []
        if 4 in self.families:
            lines.append(f"addr replace {own[4]}/32 peer {peer[4]} dev {device}"
                         if self.sessions else f"addr replace {own[4]}/24 dev {device}")
        if 6 in self.families:
            lines.append(f"addr replace {own[6]}/64 dev {device} nodad")
        return lines

    def fix_neighbours(self):
        """Both ends know each other from now on: no question, no answer, no timer."""
        if self.layer3 or self.sessions:
            return
        for end in self.ends:
            self.ip(self.router, *(f"neigh replace {end.addresses[family]} lladdr {end.mac} "
                                   f"dev {self.device}" for family in self.families))
            self.ip(end.namespace, *(f"neigh replace {self.addresses[family]} lladdr {self.mac} "
                                     f"dev {end.device}" for family in self.families))

    def dial(self, session):
        """A PPPoE session, or a new one in the place of the old, on both ends."""
        for old in self.sessions.values():
            old.close()
        name, end = f"pppoe-{self.role}", self.end
        if not self.sessions:
            self._session_lower = self.device, end.device
        lower, far_lower = self._session_lower
        self.network.flush()
        hold = self.network.hold
        far = hold(pppoe.Session(end.namespace, far_lower, session, self.mac, name))
        near = hold(pppoe.Session(self.router, lower, session, end.mac, name))
        self.sessions = {"far": far, "near": near}
        end.session, end.device = session, name


# The layers.

def _ethernet(side, count=1, mtu=1500):
    for index in range(count):
        namespace = side.network.far(side.role, index)
        port = f"{side.role}{index}"
        mac = f"02:00:00:00:{PORTS[side.role]:02x}:{index << 4 | 2:02x}"
        port_mac = f"02:00:00:00:{PORTS[side.role]:02x}:{index << 4 | 1:02x}"
        side.network.wire(port, port_mac, namespace, "eth0", mac, mtu)
        addresses = {("lan", 0): topology.CLIENT, ("lan", 1): CLIENT2,
                     ("wan", 0): topology.SERVER, ("wan", 1): SERVER2}[side.role, index]
        side.ends.append(End(namespace, "eth0", port, mac, addresses, "eth0", side=side))
        side.paths.append([port])


def add_vlan(side, namespace, lower, vid, protocol="802.1Q", options=""):
    name = f"{lower}.{vid}"
    side.ip(namespace, f"link add link {lower} name {name} type vlan protocol {protocol} id {vid} "
            + options, f"link set {name} mtu 1500 up")
    return name


def _vlan(side, vid, protocol="802.1Q", options=""):
    """On every device of the router, which is one after a bridge and one a port before it."""
    made = {top: add_vlan(side, side.router, top, vid, protocol, options)
            for top in dict.fromkeys(path[0] for path in side.paths)}
    side.paths = [[made[path[0]], *path] for path in side.paths]
    for end in side.ends:
        end.device = add_vlan(side, end.namespace, end.device, vid, protocol)
        end.vlans += ((protocol, vid),)


def _bridge(side, options=""):
    """The bridge has a MAC address of its own: frames to its ports' are not for the router."""
    name = f"br-{side.role}"
    side.mac = f"02:00:00:00:{PORTS[side.role]:02x}:b0"
    side.ip(side.router, f"link add name {name} address {side.mac} type bridge forward_delay 0 "
            + options, *(f"link set {path[0]} master {name}" for path in side.paths),
            f"link set {name} up")
    side.stack(name)


def _filtering_bridge(side, tagged_device):
    """Port 0 untagged in VLAN 10, port 1 tagged; the router in it by PVID or by br.10."""
    _bridge(side, "vlan_filtering 1")
    name = side.device
    own = "10" if tagged_device else "10 pvid untagged"
    lines = [f"vlan add dev {name} vid {own} self", f"vlan del dev {name} vid 1 self"]
    for path, rest in zip(side.paths, ("10 pvid untagged", "10")):
        lines += [f"vlan add dev {path[-1]} vid {rest}", f"vlan del dev {path[-1]} vid 1"]
    side.network.flush()
    side.router.run("bridge", "-batch", "-", stdin="\n".join(lines) + "\n")
    if tagged_device:
        side.stack(add_vlan(side, side.router, name, 10))
    end = side.ends[1]
    end.device = add_vlan(side, end.namespace, end.device, 10)
    end.vlans = (("802.1Q", 10),)


def _pppoe(side):
    pppoe.load()
    side.dial(SESSION[side.role])
    side.stack(f"pppoe-{side.role}")
    side.mtu = pppoe.MTU


def _macvlan(side):
    name = f"mv-{side.role}"
    side.mac = f"02:00:00:00:{PORTS[side.role]:02x}:c0"
    side.ip(side.router, f"link add link {side.device} name {name} address {side.mac} type macvlan "
            "mode bridge", f"link set {name} up")
    side.paths = [[name]]
    side.tc_only = True


def _bond(side):
    """Active-backup over two links to a switch, behind which the host is."""
    name, end = f"bond-{side.role}", side.end
    side.mac = f"02:00:00:00:{PORTS[side.role]:02x}:d0"
    port = f"{side.role}1"
    side.network.wire(port, f"02:00:00:00:{PORTS[side.role]:02x}:11", end.namespace, "eth1",
                      f"02:00:00:00:{PORTS[side.role]:02x}:12", 1500)
    side.ip(side.router, f"link add name {name} address {side.mac} type bond mode active-backup "
            "miimon 100", *(line for slave in (side.device, port) for line in (
                f"link set {slave} down", f"link set {slave} master {name}",
                f"link set {slave} up")),
            f"link set {name} type bond primary {side.device}", f"link set {name} up")
    end.mac = f"02:00:00:00:{PORTS[side.role]:02x}:d2"
    side.ip(end.namespace, f"link add name switch address {end.mac} type bridge forward_delay 0",
            "link set eth0 master switch", "link set eth1 master switch", "link set switch up")
    end.device = end.wire = "switch"
    side.primaries[name] = side.device
    side.paths = [[name]]
    side.tc_only = True


def _vrf(side):
    """Both sides are in it: Network enslaves them when they are complete."""
    side.ip(side.router, f"link add name vrf0 type vrf table {VRF_TABLE}", "link set vrf0 up")
    side.network.vrf = True


def _outer(side, addresses, suffix):
    """The addresses of a tunnel's ends; the underlay is a plain Ethernet."""
    nodad = " nodad" * (":" in addresses[0])
    side.ip(side.router, f"addr add {addresses[0]}/{suffix} dev {side.device}{nodad}")
    side.ip(side.end.namespace, f"addr add {addresses[1]}/{suffix} dev {side.end.device}{nodad}")


def _tunnel_on_top(side, name, mtu):
    for namespace in (side.router, side.end.namespace):
        side.ip(namespace, f"link set {name} mtu {mtu} up")
    side.end.device = name
    side.paths = [[name]]
    side.layer3 = True
    side.mtu = mtu


def _wireguard(side):
    name = f"wg-{side.role}"
    _outer(side, OUTER[side.role], 24)
    devices = []
    for namespace, port in ((side.router, 51820), (side.end.namespace, 51821)):
        side.ip(namespace, f"link add name {name} type wireguard")
        side.network.flush()
        devices.append(side.network.hold(wireguard.Device(namespace, name, port)))
    near, far = devices
    near.add_peer(far, OUTER[side.role][1])
    far.add_peer(near, OUTER[side.role][0])
    _tunnel_on_top(side, name, 1420)


def _ip_tunnel(side, kind, mtu, families, options=""):
    name = f"{kind}-{side.role}"
    outer = OUTER6[side.role] if kind == "ip6tnl" else OUTER[side.role]
    _outer(side, outer, 64 if kind == "ip6tnl" else 24)
    for namespace, (local, remote) in ((side.router, outer), (side.end.namespace, outer[::-1])):
        side.ip(namespace, f"link add name {name} type {kind} local {local} remote {remote} "
                + options)
    _tunnel_on_top(side, name, mtu)
    side.families = families
    side.left_out = True


def _tun(side):
    """A VPN whose wire is a thread of this process."""
    name = f"tun-{side.role}"
    side.ends = [End(side.network.far(side.role, 0), name, name, None,
                     topology.CLIENT if side.role == "lan" else topology.SERVER, name, side=side)]
    try:
        side.network.hold(Wire([(side.router, name), (side.end.namespace, name)]))
    except OSError as error:
        raise Skip(f"the kernel offers no tun ({error.strerror})") from None
    _tunnel_on_top(side, name, 1500)


# Tags need room beside 1500 bytes, as operators give them on their switches.
KINDS = {
    "plain": ((_ethernet,),),
    "vlan": ((_ethernet,), (_vlan, 10)),
    "qinq": ((_ethernet, 1, 1508), (_vlan, 100, "802.1ad"), (_vlan, 5)),
    "bridge": ((_ethernet, 2), (_bridge,)),
    "bridge-pvid": ((_ethernet, 2), (_filtering_bridge, False)),
    "bridge-vlan": ((_ethernet, 2), (_filtering_bridge, True)),
    "vlan-on-bridge": ((_ethernet, 2), (_bridge,), (_vlan, 20)),
    "bridge-on-vlans": ((_ethernet, 2), (_vlan, 10), (_bridge,)),
    "pppoe": ((_ethernet,), (_pppoe,)),
    "pppoe-vlan": ((_ethernet,), (_vlan, 7), (_pppoe,)),
    "wireguard": ((_ethernet,), (_wireguard,)),
    "macvlan": ((_ethernet,), (_macvlan,)),
    "bond": ((_ethernet,), (_bond,)),
    "vrf": ((_ethernet,), (_vrf,)),
    "tun": ((_tun,),),
    "ipip": ((_ethernet,), (_ip_tunnel, "ipip", 1480, (4,))),
    "ip6tnl": ((_ethernet,), (_ip_tunnel, "ip6tnl", 1440, (4, 6),
                              "mode any encaplimit none")),
    # The kernel's own idea of a priority on the tag, by that of the packet.
    "vlan-qos": ((_ethernet,), (_vlan, 10, "802.1Q",
                                "egress-qos-map 0:3 2:4 4:5 6:7 ingress-qos-map 3:4 5:6 7:2")),
}


class Network(Lab):
    """A lab whose two sides are of the given kinds."""

    def __init__(self, lan="plain", wan="plain", hook="tc", nat="masquerade"):
        self.kinds = lan, wan
        self.vrf = False
        self._held, self._later = [], {}
        self.lan = self.wan = None
        super().__init__(nat, offloads=hook == "tc")

    @property
    def sides(self):
        return self.lan, self.wan

    @property
    def families(self):
        return [family for family in (4, 6) if all(family in side.families for side in self.sides)]

    @property
    def interfaces(self):
        """The names that a user would give bpfw."""
        return [self.lan.device, self.wan.device]

    def offloadable(self, hook):
        """Between two devices without a link layer TC is at work, whatever the hook."""
        if all(side.layer3 and not side.left_out for side in self.sides):
            return True
        return all(side.offloadable(hook) for side in self.sides)

    def far(self, role, index):
        """The namespace of a host; the first of each side is there already."""
        if index == 0:
            return self.client if role == "lan" else self.server
        namespace = self._namespace(f"{self.router.name[:-1]}{role}{index}")
        self._quieten(namespace)
        return namespace

    def hold(self, item):
        """Close the item before the namespaces go."""
        self._held.append(item)
        return item

    def later(self, namespace, *lines):
        """Lines for ip(8), of which flush() makes one run: starting one is slow in emulation."""
        self._later.setdefault(namespace, []).extend(lines)

    def flush(self):
        """Run what is left to do, or SKIP if the kernel does not know how."""
        waiting, self._later = self._later, {}
        for namespace, lines in waiting.items():
            try:
                namespace.ip(*lines)
            except RuntimeError as error:
                lacking = LACKING.search(str(error))
                if not lacking:
                    raise
                raise Skip(f"the kernel cannot make {' and '.join(self.kinds)} "
                           f"({lacking.group()})") from None

    def wire(self, port, port_mac, namespace, device, mac, mtu):
        """A veth pair between the router and a host."""
        self._veth(port, port_mac, namespace, device, mac)
        self.later(self.router, f"link set {port} mtu {mtu} up")
        self.later(namespace, f"link set {device} mtu {mtu} up")
        if not self.offloads:
            # At XDP a tag is in the frame, as it is on real drivers once stripping is off.
            self.router.run("ethtool", "-K", port, *VLAN_OFFLOADS[4:])

    def tune_endpoint(self, namespace, device):
        super().tune_endpoint(namespace, device)
        if not self.offloads:
            namespace.run("ethtool", "-K", device, *VLAN_OFFLOADS)

    def _links(self):
        lan, wan = self.kinds
        self.lan = Side(self, "lan", lan)
        self.wan = Side(self, "wan", wan)
        if self.vrf:
            self.later(self.router,
                       *(f"link set {side.device} master vrf0" for side in self.sides))

    def _addresses(self):
        """Bridged frames are the bridge's affair, as on routers: not the forward hook's."""
        for name in ("arptables", "iptables", "ip6tables"):
            with contextlib.suppress(FileNotFoundError):
                self.router.sysctl(f"bridge/bridge-nf-call-{name}", 0)
        self.later(self.router, "link set lo up")
        for side in self.sides:
            side.configure()
        self.flush()
        for side in self.sides:
            side.settle()

    def load_ruleset(self, nat):
        if nat == "masquerade":
            nat = f"""
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		oifname "{self.wan.device}" masquerade
	}}"""
        super().load_ruleset(nat)

    def received(self):
        packets = length = 0
        for side in self.sides:
            count, size = self.router.received(*side.counted)
            packets += count
            length += size - side.header_length() * count
        return packets, length

    def seen_by(self, client=None, server=None):
        """The network as flows between other hosts than the first ones see it."""
        return View(self, client or self.client, server or self.server)

    def close(self):
        for item in reversed(self._held):
            item.close()
        self._held = []
        super().close()


class View:
    """A lab in which others are the client and the server."""

    def __init__(self, lab, client, server):
        self.lab, self.client, self.server = lab, client, server
        self.router = lab.router


def for_test(context, lan, wan, hook, **options):
    """The network, closed at the end of the test; SKIP where the kernel cannot make it."""
    return context.keep(Network(lan, wan, hook, **options))


def have(command):
    return not run(["sh", "-c", f"command -v {command}"], check=False).returncode
