# SPDX-License-Identifier: GPL-2.0-only
"""Which test files run on which machine, and of the long ones which cases.

A processor in software is ten to twenty times slower than the one that emulates it, and the host's
own kernel runs every case anyway. So a file that goes through many values of one thing (kinds of
NAT, networks, kinds of change) is cut here to cases that meet every hook and every path in the
kernel. One kernel gets every network there is; what the others may differ in is less.

A case is a text that the name of the test holds; no cases are the whole file. Files that are not
named here run on the host only.
"""

import pathlib

from .foreign import ARCHITECTURES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent

PACKET = tuple((str(path.relative_to(ROOT)), ())
               for path in sorted((ROOT / "tests" / "packet").glob("*_test.c")))
VERIFIER = (("tests/verifier/verifier_test.py", ()),)

CORE = (
    ("tests/net/changes_test.py", (
        "route to second uplink 4 tc", "route to second uplink 6 xdp",
        "neighbour has new mac server tc")),
    ("tests/net/bare_test.py", ("offload at tc masquerade",)),
    ("tests/net/clsact_test.py", ()),
    ("tests/net/cpus_test.py", ("every cpu works", "order in the fast path", "status says so")),
    ("tests/net/decision_test.py", ("ipsec policy tc 4 out", "rule by tos xdp 6")),
    ("tests/net/exclusion_test.py", ("flowtable", "zone tc", "sequence adjustment xdp")),
    ("tests/net/lifecycle_test.py", ("close by fin tc", "close by fin xdp", "tuple used again tc")),
    ("tests/net/mtu_test.py", ("mtu route before tc", "connection learns the mtu 6 xdp")),
    ("tests/net/networks_changes_test.py", (
        "session redials pppoe-vlan tc", "session redials pppoe xdp", "pvid of a port changes tc",
        "host moves to another port xdp")),
    ("tests/net/networks_oracle_test.py", (
        "same frames qinq pppoe-vlan", "same frames bridge-pvid vlan", "same frames bridge pppoe")),
    ("tests/net/nobtf_test.py", ()),
    ("tests/net/offload_test.py", (
        "offload masquerade", "offload both xdp", "hook is chosen auto",
        "conntrack keeps its nat")),
    ("tests/net/privilege_test.py", ("kept capabilities tc", "not root xdp")),
    ("tests/net/routing_test.py", (
        "rule mark 4 tc", "rule source 6 tc", "uplinks share the connections 4 xdp",
        "multipath 4 0 tc", "refused unreachable rule 6 tc")),
    ("tests/net/survive_test.py", ("killed in mid flow tc", "hangs and recovers xdp")),
)

FILTER = (
    ("tests/net/connlimit_test.py", (
        "counts connections as iptables tc 4 masquerade",
        "counts connections as iptables xdp 6 plain", "refuses by name")),
    ("tests/net/dispatch_test.py", ("filter first", "fast path first", "order among others")),
    ("tests/net/filter_evasion_test.py", ()),
    ("tests/net/filter_nat_test.py", (
        "judges first packets as iptables tc 4 docker",
        "judges first packets as iptables xdp 6 forwards")),
    ("tests/net/filter_random_test.py", ()),
    ("tests/net/filter_state_test.py", (
        "tells states as iptables tc 4 masquerade", "tells states as iptables tc 6 dnat",
        "tells states as iptables xdp 6 plain", "fragments have the state", "refuses by name")),
    ("tests/net/filter_test.py", (
        "judges as iptables tc 4", "judges as iptables xdp 6", "remembers addresses",
        "keeps count", "counts bytes", "follows routes", "load show and unload",
        "no packet between", "stays without a process")),
    ("tests/net/filter_tunnel_test.py", ()),
    ("tests/net/reject_test.py", ("answers as iptables", "limits icmp")),
    ("tests/net/set_test.py", ("judges as ipset tc 4", "judges as ipset xdp 6", "sets change while",
                               "a rule blocks")),
    ("tests/net/swap_test.py", ("killed at every step swap",)),
)

NETWORKS = "tests/net/networks_test.py"
EVERY_NETWORK = "6.12"
SOME_NETWORKS = (
    "offload vlan pppoe-vlan", "offload qinq vlan", "offload bridge pppoe",
    "offload bridge-pvid vlan", "offload vlan-on-bridge vlan", "offload plain wireguard",
    "offload plain pppoe xdpgeneric", "automatic interfaces auto",
    "frames for others on the bridge 4", "real ppp daemon")
ALL_NETWORKS = ("offload", *SOME_NETWORKS[-3:], "hosts on the bridge talk", "control frames of ppp",
                "foreign tags and sessions", "hairpin bridge", "vrf has its own network")

# What byte order (s390x) or another compiler of BPF in the kernel (aarch64) could break: every
# header, every counter and number in the maps, every rewrite
FOREIGN = (*PACKET, *VERIFIER, ("tests/net/offload_test.py", (
    "offload masquerade", "offload both", "conntrack keeps its nat")))

# In `make check`: two kernels (the last without tcx, and Debian's), and the big-endian machine
QUICK_KERNELS = ("6.12", "6.1", "s390x")
SLOW_PACKET = ("tests/packet/random_test.c", "tests/packet/rewrite_test.c",
               "tests/packet/set_test.c")
QUICK = (
    *(one for one in PACKET if one[0] not in SLOW_PACKET),
    *VERIFIER,
    ("tests/net/offload_test.py", ("offload masquerade", "hook is chosen auto")),
    (NETWORKS, ("offload vlan pppoe-vlan tc", "offload qinq vlan xdp", "offload bridge pppoe xdp",
                "offload bridge-pvid vlan tc", "offload plain wireguard tc")),
    ("tests/net/filter_tunnel_test.py", ("in tunnels ipip", "in tunnels gre to many")),
)
QUICK_FOREIGN = (
    *(one for one in PACKET if one[0] not in SLOW_PACKET),
    *VERIFIER,
    ("tests/net/offload_test.py", ("offload both tc", "offload both xdp")),
)


def complete(machine):
    """Files and cases for that machine."""
    if machine in ARCHITECTURES:
        return list(FOREIGN)
    networks = ALL_NETWORKS if machine == EVERY_NETWORK else SOME_NETWORKS
    return sorted((*PACKET, *VERIFIER, *CORE, *FILTER, (NETWORKS, networks)))


def quick(machine):
    return list(QUICK_FOREIGN if machine in ARCHITECTURES else QUICK)
