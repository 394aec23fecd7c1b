# SPDX-License-Identifier: GPL-2.0-only
"""Client - router - server in three network namespaces joined by veth pairs.

    client eth0 ---- lan0 router wan0 ---- eth0 server
                            (wan1 ---- eth1)      second uplink, on demand

Names hold the pid of the process that made them, so that the namespaces of a dead process
can be told from those of a running one and removed.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time

from . import xdp

CLONE_NEWNET = 0x40000000
NETNS_DIR = "/run/netns"
PREFIX = "bpfw-t"
# How much longer than on a machine of its own things may take: under emulation, for example.
SLOW = float(os.environ.get("BPFW_TEST_SLOW") or 1)
COMMAND_TIMEOUT = 30 * SLOW
ETH_HLEN = 14

_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(probe, timeout=5.0, interval=0.01):
    """Poll until probe() is true; return its value, or the last false one after the timeout."""
    deadline = time.monotonic() + timeout * SLOW
    while True:
        value = probe()
        if value or time.monotonic() >= deadline:
            return value
        time.sleep(interval)


def run(command, stdin=None, check=True, timeout=COMMAND_TIMEOUT, env=None):
    """Run a command; its output is text. A failure shows the command and what it said."""
    done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=timeout,
                          env=env, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}\n"
                           f"{done.stdout}{done.stderr}{stdin or ''}")
    return done


def kernel_version():
    """(major, minor) of the running kernel."""
    return tuple(int(word) for word in os.uname().release.split(".")[:2])


class Namespace:
    """A network namespace. Sockets made inside enter() belong to it for good."""

    def __init__(self, name):
        self.name = name
        self.path = os.path.join(NETNS_DIR, name)
        run(["ip", "netns", "add", name])
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def enter(self):
        """Move the calling thread (and what it starts) into the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._fd)
            try:
                yield self
            finally:
                _setns(home)
        finally:
            os.close(home)

    def run(self, *command, stdin=None, check=True, timeout=COMMAND_TIMEOUT, env=None):
        with self.enter():
            return run(list(command), stdin, check, timeout, env)

    def ip(self, *lines):
        """Run ip(8) once for all the lines."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def json(self, *command):
        return json.loads(self.run(*command).stdout or "[]")

    def sysctl(self, key, value=None):
        """Read, or write, a sysctl of this namespace; key is a path under /proc/sys/net."""
        with self.enter():
            with open(f"/proc/sys/net/{key}", "r" if value is None else "w",
                      encoding="ascii") as file:
                if value is None:
                    return file.read().strip()
                return file.write(str(value))

    def socket(self, family, kind, protocol=0):
        with self.enter():
            return socket.socket(family, kind, protocol)

    def mac(self, device):
        return self.json("ip", "-j", "link", "show", "dev", device)[0]["address"]

    def ifindex(self, device):
        with self.enter():
            return socket.if_nametoindex(device)

    def received(self, *devices):
        """(packets, bytes) that the devices have received."""
        links = self.json("ip", "-j", "-s", "link", "show")
        stats = [link["stats64"]["rx"] for link in links if link["ifname"] in devices]
        return sum(s["packets"] for s in stats), sum(s["bytes"] for s in stats)

    def close(self):
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        _remove_namespace(self.name)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _remove_namespace(name):
    """Kill what still runs in a namespace of ours, then delete it."""
    listed = run(["ip", "netns", "pids", name], check=False).stdout.split()
    for pid in (int(word) for word in listed):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    run(["ip", "netns", "delete", name], check=False)


def labs_of(pid):
    names = os.listdir(NETNS_DIR) if os.path.isdir(NETNS_DIR) else []
    return [name for name in names if re.fullmatch(rf"{PREFIX}{pid}-\d+-\w+", name)]


def remove_labs_of(pid):
    for name in labs_of(pid):
        _remove_namespace(name)


def remove_stale_labs():
    """Remove the namespaces that a killed test run left behind."""
    for name in labs_of(r"\d+"):
        pid = re.match(rf"{PREFIX}(\d+)-", name).group(1)
        if not os.path.exists(f"/proc/{pid}"):
            _remove_namespace(name)


CLIENT_MAC = "02:00:00:00:01:02"
LAN0_MAC = "02:00:00:00:01:01"
WAN0_MAC = "02:00:00:00:02:01"
SERVER_MAC = "02:00:00:00:02:02"
WAN1_MAC = "02:00:00:00:03:01"
SERVER1_MAC = "02:00:00:00:03:02"

CLIENT = {4: "10.0.1.2", 6: "fd00:1::2"}
LAN0 = {4: "10.0.1.1", 6: "fd00:1::1"}
WAN0 = {4: "10.0.2.1", 6: "fd00:2::1"}
SERVER = {4: "10.0.2.2", 6: "fd00:2::2"}
WAN1 = {4: "10.0.3.1", 6: "fd00:3::1"}
SERVER1 = {4: "10.0.3.2", 6: "fd00:3::2"}
# An address on the server's loopback: it is reached through either uplink.
SERVICE = {4: "10.0.9.9", 6: "fd00:9::9"}
# An address that nobody has: the destination of what DNAT redirects.
VIRTUAL = {4: "10.0.8.8", 6: "fd00:8::8"}
# A second address of the router's wan side, the source that SNAT gives.
SNAT = {4: "10.0.2.77", 6: "fd00:2::77"}

_PREFIX_LEN = {4: 24, 6: 64}

# Drops what conntrack calls invalid, as careful routers do: a packet that comes back from the
# fast path to the stack must still be within what conntrack accepts.
FORWARD = """
table inet lab {
	counter forwarded { }
	counter invalid { }
	chain forward {
		type filter hook forward priority filter; policy drop;
		counter name forwarded
		ct state invalid counter name invalid drop
		ct state established,related accept
		ct state new accept
	}
}
"""

_NAT = {
    "none": "",
    "masquerade": """
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname { "wan0", "wan1" } masquerade
	}""",
    "snat": f"""
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		iifname "lan0" meta nfproto ipv4 snat ip to {SNAT[4]}
		iifname "lan0" meta nfproto ipv6 snat ip6 to {SNAT[6]}
	}}""",
    "snat-port": f"""
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		iifname "lan0" ip protocol {{ tcp, udp }} snat ip to {SNAT[4]}:40000-40999
		iifname "lan0" ip6 nexthdr {{ tcp, udp }} snat ip6 to [{SNAT[6]}]:40000-40999
	}}""",
    "dnat": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {VIRTUAL[4]} dnat ip to {SERVER[4]}
		ip6 daddr {VIRTUAL[6]} dnat ip6 to {SERVER[6]}
	}}""",
    "dnat-port": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {VIRTUAL[4]} tcp dport 8080 dnat ip to {SERVER[4]}:5000
		ip daddr {VIRTUAL[4]} udp dport 8080 dnat ip to {SERVER[4]}:5000
		ip6 daddr {VIRTUAL[6]} tcp dport 8080 dnat ip6 to [{SERVER[6]}]:5000
		ip6 daddr {VIRTUAL[6]} udp dport 8080 dnat ip6 to [{SERVER[6]}]:5000
	}}""",
    # The address stays, only the destination port is another.
    "redirect": """
	chain prerouting {
		type nat hook prerouting priority dstnat;
		iifname "lan0" tcp dport 8080 dnat to :5000
		iifname "lan0" udp dport 8080 dnat to :5000
	}""",
    # Both ends, addresses and ports.
    "both": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {VIRTUAL[4]} tcp dport 8080 dnat ip to {SERVER[4]}:5000
		ip daddr {VIRTUAL[4]} udp dport 8080 dnat ip to {SERVER[4]}:5000
		ip6 daddr {VIRTUAL[6]} tcp dport 8080 dnat ip6 to [{SERVER[6]}]:5000
		ip6 daddr {VIRTUAL[6]} udp dport 8080 dnat ip6 to [{SERVER[6]}]:5000
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		iifname "lan0" ip protocol {{ tcp, udp }} snat ip to {SNAT[4]}:40000-40999
		iifname "lan0" ip6 nexthdr {{ tcp, udp }} snat ip6 to [{SNAT[6]}]:40000-40999
	}}""",
    # A service of the client, opened to the server's side.
    "port-forward": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		iifname "wan0" ip daddr {WAN0[4]} tcp dport 8080 dnat ip to {CLIENT[4]}:5000
		iifname "wan0" ip daddr {WAN0[4]} udp dport 8080 dnat ip to {CLIENT[4]}:5000
		iifname "wan0" ip6 daddr {WAN0[6]} tcp dport 8080 dnat ip6 to [{CLIENT[6]}]:5000
		iifname "wan0" ip6 daddr {WAN0[6]} udp dport 8080 dnat ip6 to [{CLIENT[6]}]:5000
	}}""",
}


class Meter:
    """What the router received and what of it passed its forward hook."""

    def __init__(self, lab):
        self._lab = lab
        self.start()

    def start(self):
        self._received = self._lab.received()
        self._forwarded = self._lab.counter("forwarded")

    def read(self):
        received = self._lab.received()
        forwarded = self._lab.counter("forwarded")
        self.received_packets, self.received_bytes = (
            now - then for now, then in zip(received, self._received))
        self.forwarded_packets, self.forwarded_bytes = (
            now - then for now, then in zip(forwarded, self._forwarded))
        return self

    @property
    def offloaded_share(self):
        """Share of the bytes that went around the stack. Bytes, not packets: GRO lets the forward
        hook count one packet for many."""
        return 1 - self.forwarded_bytes / max(self.received_bytes, 1)

    def __str__(self):
        return (f"received {self.received_packets} packets {self.received_bytes} bytes, forward "
                f"hook {self.forwarded_packets} packets {self.forwarded_bytes} bytes, "
                f"offloaded {self.offloaded_share:.1%}")


class Lab:
    """The three namespaces with addresses, routes and a ruleset."""

    _count = 0

    def __init__(self, nat="masquerade", offloads=True):
        Lab._count += 1
        prefix = f"{PREFIX}{os.getpid()}-{Lab._count}-"
        self._namespaces = []
        self._second_uplink = False
        self._links_held = []
        self.offloads = offloads
        try:
            self.client = self._namespace(prefix + "c")
            self.router = self._namespace(prefix + "r")
            self.server = self._namespace(prefix + "s")
            self._sysctls()
            self._links()
            self._addresses()
            self.load_ruleset(nat)
        except BaseException:
            self.close()
            raise

    @classmethod
    def for_hook(cls, hook, nat="masquerade"):
        """A lab whose veth pairs suit the hook: segmentation and checksum offload stay on for tc,
        which has to cope with them; frames at XDP carry whole checksums, as on real drivers."""
        return cls(nat, offloads=hook in ("tc", None))

    def _namespace(self, name):
        namespace = Namespace(name)
        self._namespaces.append(namespace)
        return namespace

    def _sysctls(self):
        for namespace in self._namespaces:
            self._quieten(namespace)
        self.set_forwarding(1)

    @staticmethod
    def _quieten(namespace):
        for scope in ("all", "default"):
            namespace.sysctl(f"ipv6/conf/{scope}/accept_dad", 0)
            namespace.sysctl(f"ipv6/conf/{scope}/accept_ra", 0)
            namespace.sysctl(f"ipv4/conf/{scope}/rp_filter", 0)

    def set_forwarding(self, on):
        self.router.sysctl("ipv4/ip_forward", on)
        self.router.sysctl("ipv6/conf/all/forwarding", on)

    def _veth(self, name, mac, peer, peer_name, peer_mac):
        run(["ip", "link", "add", name, "address", mac, "netns", self.router.name, "type", "veth",
             "peer", "name", peer_name, "address", peer_mac, "netns", peer.name])
        self.tune_endpoint(peer, peer_name)

    def tune_endpoint(self, namespace, device):
        """GRO gives the endpoint the NAPI context without which veth drops redirected frames."""
        if self.offloads:
            return
        namespace.run("ethtool", "-K", device, "gro", "on", "tx", "off")
        if kernel_version() < (5, 13):
            self.hold_xdp(namespace, device)

    def hold_xdp(self, namespace, device):
        """Before 5.13 it takes an XDP program to make a veth poll."""
        with namespace.enter():
            self._links_held.append(xdp.attach_pass(namespace.ifindex(device)))

    def _links(self):
        self._veth("lan0", LAN0_MAC, self.client, "eth0", CLIENT_MAC)
        self._veth("wan0", WAN0_MAC, self.server, "eth0", SERVER_MAC)

    def _addresses(self):
        self.router.ip("link set lo up", *_up("lan0", LAN0), *_up("wan0", WAN0),
                       f"addr add {SNAT[4]}/32 dev wan0", f"addr add {SNAT[6]}/128 dev wan0 nodad",
                       *_routes(SERVICE, f"via {SERVER[4]}", f"via {SERVER[6]}"))
        self.client.ip("link set lo up", *_up("eth0", CLIENT), *_default_via(LAN0))
        self.server.ip("link set lo up", *_up("eth0", SERVER), *_default_via(WAN0),
                       f"addr add {SERVICE[4]}/32 dev lo",
                       f"addr add {SERVICE[6]}/128 dev lo nodad")

    def add_second_uplink(self):
        self._veth("wan1", WAN1_MAC, self.server, "eth1", SERVER1_MAC)
        self.router.ip(*_up("wan1", WAN1))
        self.server.ip(*_up("eth1", SERVER1))
        self._second_uplink = True

    def router_ports(self):
        return ("lan0", "wan0", "wan1") if self._second_uplink else ("lan0", "wan0")

    def received(self):
        """(packets, bytes) that the router's ports have received. The forward hook's counter starts
        at the network header, the interface's at the link header."""
        packets, length = self.router.received(*self.router_ports())
        return packets, length - ETH_HLEN * packets

    def load_ruleset(self, nat):
        """nat is the name of a prepared ruleset, or the chains themselves."""
        chains = _NAT.get(nat, nat)
        self.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{FORWARD}\n"
                                                f"table inet nat {{\n{chains}\n}}\n")

    def counter(self, name):
        """(packets, bytes) of a named counter of the forward chain."""
        reply = self.router.json("nft", "-j", "list", "counter", "inet", "lab", name)
        found = [item["counter"] for item in reply["nftables"] if "counter" in item]
        return found[0]["packets"], found[0]["bytes"]

    def meter(self):
        return Meter(self)

    def close(self):
        for namespace in reversed(self._namespaces):
            namespace.close()
        self._namespaces = []
        while self._links_held:
            os.close(self._links_held.pop())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _up(device, addresses):
    return [f"addr add {addresses[4]}/{_PREFIX_LEN[4]} dev {device}",
            f"addr add {addresses[6]}/{_PREFIX_LEN[6]} dev {device} nodad",
            f"link set {device} up"]


def _routes(addresses, path4, path6):
    return [f"route replace {addresses[4]}/32 {path4}",
            f"route replace {addresses[6]}/128 {path6}"]


def _default_via(gateways):
    return [f"route add default via {gateways[4]}", f"route add ::/0 via {gateways[6]}"]
