# SPDX-License-Identifier: GPL-2.0-only
"""`bpfw filter` in the router of a lab."""

import contextlib
import os
import re
import socket
import sys

from .bpfw import binary, environment
from .lab import kernel_version
from .traffic import UdpFlow

PORTS = ("lan0", "wan0")
SO_NETNS_COOKIE = 71
# Before 6.3 the automatic hook takes no veth to XDP.
AT_XDP = None if kernel_version() >= (6, 3) else "xdp"

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD {policy} [0:0]
:OUTPUT ACCEPT [0:0]
{rules}COMMIT
"""


def rules(*lines, policy="DROP"):
    return RULES.format(policy=policy, rules="".join(f"{line}\n" for line in lines))


# What the tests' flows need; the second one drops them.
ACCEPT = rules("-A FORWARD -p tcp -j ACCEPT", "-A FORWARD -p udp -j ACCEPT")
REFUSE = rules("-A FORWARD -p tcp -m tcp --dport 5000 -j DROP",
               "-A FORWARD -p udp -m udp --dport 5000 -j DROP", policy="ACCEPT")


class Filter:
    """bpfw filter in a lab's router."""

    def __init__(self, context, lab):
        self.namespace = lab.router
        context.keep(self)

    def close(self):
        """What is pinned would outlive the namespace."""
        if os.path.exists(self.namespace.path):
            self("unload", check=False)

    def __call__(self, *words, stdin=None, check=True, launcher=()):
        """launcher is for strace: leaks cannot be looked for in a traced process."""
        env = environment(**({"ASAN_OPTIONS": "detect_leaks=0"} if launcher else {}))
        return self.namespace.run(*launcher, "nsenter", f"--net={self.namespace.path}", binary(),
                                  "filter", *words, stdin=stdin, check=check, env=env)

    def load(self, text, hook=None, ports=PORTS, check=True):
        return self(*load_words(hook, ports), stdin=text, check=check)

    def packets(self, chain="FORWARD"):
        """What the chain's rules and policy have counted."""
        shown = self("show", "-4", "--counters").stdout
        counted = re.findall(rf"^\[(\d+):\d+\] -A {chain} ", shown, re.MULTILINE)
        counted += re.findall(rf"^:{chain} \w+ \[(\d+):", shown, re.MULTILINE)
        return sum(map(int, counted))


def load_words(hook=None, ports=PORTS):
    """The command that loads standard input; no port: where it is loaded already."""
    words = [word for port in ports for word in ("--iface", port)]
    return ["load", "-", *words, *(["--hook", hook] if hook else [])]


def directory_of(namespace):
    """The directory of the namespace's pins."""
    number = cookie = os.stat(namespace.path).st_ino
    with namespace.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        with contextlib.suppress(OSError):  # before Linux 5.14
            cookie = int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8),
                                    sys.byteorder)
    return f"/sys/fs/bpf/bpfw-filter-{cookie:x}-{number}"


def stops(flow):
    """Nothing of a flow arrives any more."""
    if isinstance(flow, UdpFlow):
        flow.silent()
        return
    try:
        flow.exchange(200, timeout=1)
    except AssertionError:
        return
    raise AssertionError(f"{flow.name()} goes on")
