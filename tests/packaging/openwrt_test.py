#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""OpenWrt's package: UCI configuration in, settings and command line out; reload and stop; the
daemon in procd's jail forwards beside firewall4's rules.

The init script runs under busybox ash with the stand-ins of tests/packaging/openwrt, which say
what of OpenWrt they imitate. The daemon is the real one. openwrt/cases holds input and expected
output side by side; BPFW_RECORD=1 writes the output of this run there, to be looked at.
"""

import os
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Bpfw, Skip, TcpFlow, UdpFlow, binary, equal, expect, main, test  # noqa: E402
from netlab import wait_until  # noqa: E402
from netlab.bpfw import environment  # noqa: E402
from netlab.lab import CLIENT, WAN0  # noqa: E402
from openwrt import Message, Procd, Router  # noqa: E402
from openwrt.router import busybox  # noqa: E402

CASES = os.path.join(HERE, "openwrt", "cases")
SETTINGS = "var/run/bpfw/bpfw.conf"
NETWORKS = ["lan br-lan br-lan", "wan pppoe-wan eth1", "wan6 pppoe-wan eth1"]
CONFIG_NETWORK = "".join(f"config interface '{name}'\n\toption proto '{proto}'\n\n" for name, proto
                         in (("lan", "static"), ("wan", "pppoe"), ("wan6", "dhcpv6")))
CONFIG_FIREWALL = "config defaults\n\toption input 'REJECT'\n\toption forward 'REJECT'\n"


def router(context):
    if os.geteuid():
        raise Skip("takes root: chroot and namespaces")
    if not busybox():
        raise Skip("no statically linked busybox is installed")
    made = context.keep(Router(binary()))
    made.networks(NETWORKS)
    made.write("etc/config/network", CONFIG_NETWORK)
    made.write("etc/config/firewall", CONFIG_FIREWALL)
    return made


def configure(made, *lines):
    text = "".join(f"\t{line}\n" for line in lines)
    made.write("etc/config/bpfw", f"config bpfw 'main'\n{text}")


# ---- Golden output -------------------------------------------------------------------


def read_case(name):
    """A case's sections by name: files of the router, action, message, expected."""
    with open(os.path.join(CASES, name), encoding="utf-8") as file:
        parts = re.split(r"^== (.*)\n", file.read(), flags=re.MULTILINE)
    return parts[0], dict(zip(parts[1::2], parts[2::2]))


def render(done, procd, log, settings):
    """The outcome as text. What bpfw itself says is not the script's: it is left out here."""
    log = re.sub(r"(is refused: ).*(?:\n(?!daemon\.).*)*", r"\1...", log)
    parts = [("exit status", f"{done.returncode}\n"), ("settings", settings), ("procd", procd),
             ("log", log)]
    return "".join(f"{title}:\n" + "".join(f"  {line}\n" for line in text.splitlines())
                   for title, text in parts)


def record(name, comment, sections, seen):
    with open(os.path.join(CASES, name), "w", encoding="utf-8") as file:
        file.write(comment)
        for title, text in {**sections, "expected": seen}.items():
            file.write(f"== {title}\n{text}")


@test(*sorted(os.listdir(CASES)))
def configuration(context, name):
    comment, sections = read_case(name)
    made = router(context)
    for path, text in sections.items():
        if "/" in path:
            made.write(path, text)
    done, procd, log = made.service("start", env=environment())
    seen = render(done, procd, log, made.read(SETTINGS))
    for word in sections.get("says", "").splitlines():
        expect(word in log, f"{word!r} is not in the log: {log}")
    context.note(done.stderr)
    if os.environ.get("BPFW_RECORD"):
        record(name, comment, sections, seen)
    equal(seen, sections.get("expected", ""), "outcome")


@test()
def settings_are_what_the_daemon_knows(context):
    """Every option of the package's own configuration, commented out or not, is accepted."""
    made = router(context)
    text = made.read("etc/config/bpfw")
    options = re.findall(r"^\s*(?:# )?((?:option|list) \w+ '[^']*')$", text, re.MULTILINE)
    expect(len(options) > 10, f"the configuration names only {options}")
    configure(made, *options)
    done, procd, log = made.service("start", env=environment())
    expect(Message.read(procd).instances, f"nothing is started: {log}{done.stderr}")
    written = made.read(SETTINGS)
    for option in options:
        _, name, value = option.split(" ", 2)
        if name in ("enabled", "interface", "device"):
            continue
        wanted = name.replace("_", "-") + ("" if name == "rxvlan_off" else f" {value[1:-1]}")
        expect(f"{wanted}\n" in written, f"{option} is not among the settings:\n{written}")


@test("000", "077")
def settings_are_not_for_others_to_write(context, umask):
    """Whatever umask the script is started with: bpfw would refuse them otherwise."""
    made = router(context)
    configure(made, "option enabled '1'", "list device 'eth1'")
    _, procd, log = made.service("start", env=environment(), umask=int(umask, 8))
    expect(Message.read(procd).instances, f"nothing is started: {log}")
    for path, mode in ((SETTINGS, 0o644), (os.path.dirname(SETTINGS), 0o755)):
        found = os.stat(made.path(path))
        equal((found.st_mode & 0o7777, found.st_uid), (mode, 0), f"mode and owner of {path}")


# ---- Life cycle ----------------------------------------------------------------------


class Service:
    """The package on the router of a lab: init script, procd and daemon."""

    def __init__(self, context, lab, *options):
        self.lab, self.router = lab, router(context)
        self.router.networks(["lan lan0 lan0", "wan wan0 wan0"])
        configure(self.router, "option enabled '1'", "list interface 'lan'",
                  "list interface 'wan'", *options)
        self.watched = context.keep(Watched(lab.router))
        self.procd = context.keep(Procd(self.router, lab.router, self.watched.file, environment()))

    def __call__(self, action):
        """What procd did."""
        done, procd, log = self.router.service(action, self.lab.router, environment())
        self.watched.said += f"{action}: {log}{done.stderr}\n"
        return self.procd.act(Message.read(procd))

    def start(self):
        equal(self("start"), ["start main"], "what procd did at the start")
        self.watched.process = self.procd.processes["main"]
        self.watched.wait_ready()


class Watched(Bpfw):
    """A daemon that procd started, asked and watched as one that the test started."""

    def __init__(self, namespace):  # pylint: disable=super-init-not-called
        self.namespace, self.said = namespace, ""
        self.file = self._log = tempfile.TemporaryFile()
        self.process = None

    def alive(self):
        return bool(self.process) and self.process.poll() is None

    def close(self):
        if self.alive():
            self.kill()


def offloads(lab, service, context):
    flow = context.keep(TcpFlow(lab, 4))
    before = service.watched.fast_packets()
    flow.wait_offloaded(service.watched)
    expect(wait_until(lambda: service.watched.fast_packets() > before),
           "no packet took the fast path")
    return flow


@test("jail", "no jail")
def daemon_forwards_and_stops(context, where):
    lab = context.lab("tc")
    service = Service(context, lab, "option hook 'tc'",
                      f"option jail '{int(where == 'jail')}'")
    service.start()
    offloads(lab, service, context)
    equal(service("stop"), ["stop main"], "what procd did at the stop")
    equal(service.watched.process.returncode, 0, "exit status")
    service.watched.check_sanitizer()


@test()
def reload_keeps_flows(context):
    lab = context.lab("tc")
    service = Service(context, lab, "option hook 'tc'")
    service.start()
    flow = offloads(lab, service, context)
    datagrams = context.keep(UdpFlow(lab, 4))
    datagrams.wait_offloaded(service.watched)
    pid, learned = service.watched.process.pid, service.watched.stats()["daemon"]["learned"]
    equal(service("reload"), [], "what procd did though nothing has changed")
    configure(service.router, "option enabled '1'", "list interface 'lan'",
              "list interface 'wan'", "option hook 'tc'", "option only 'tcp'")
    equal(service("reload"), ["signal main SIGHUP"], "what procd did")
    datagrams.wait_not_offloaded(service.watched)
    before = service.watched.fast_packets()
    flow.touch()
    expect(wait_until(lambda: service.watched.fast_packets() > before),
           "the TCP flow has left the fast path")
    equal(service.watched.stats()["daemon"]["learned"], learned, "flows learned")
    expect(service.watched.alive(), "the daemon has ended")
    equal(service.procd.processes["main"].pid, pid, "pid")


@test()
def beside_firewall4(context):
    """The rules decide about new connections, before, while and after bpfw runs."""
    lab = context.lab("tc", nat="")
    with open(os.path.join(HERE, "openwrt", "fw4.nft"), encoding="utf-8") as rules:
        lab.router.run("nft", "-f", "-", stdin=rules.read())
    service = Service(context, lab, "option hook 'tc'")
    service.start()
    outward = offloads(lab, service, context)
    inward = context.keep(TcpFlow(lab, 4, WAN0[4], 8080, 5000, reverse=True))
    inward.wait_offloaded(service.watched)
    try:
        context.keep(TcpFlow(lab, 4, CLIENT[4], 5001, reverse=True))
    except ConnectionRefusedError:
        pass  # by the rules: somebody listens there
    else:
        raise AssertionError("wan may open a connection to lan")
    equal(service("stop"), ["stop main"], "what procd did at the stop")
    for flow in outward, inward:
        flow.exchange(100_000)


@test()
def refused_settings_leave_the_daemon_alone(context):
    lab = context.lab("tc")
    service = Service(context, lab, "option hook 'tc'")
    service.start()
    settings = service.router.read(SETTINGS)
    configure(service.router, "option enabled '1'", "list interface 'lan'", "option hook 'tx'")
    equal(service("reload"), [], "what procd did")
    expect("'tx'" in service.watched.said, f"the reason is not named: {service.watched.said}")
    equal(service.router.read(SETTINGS), settings, "settings")
    offloads(lab, service, context)


@test()
def networks_that_come_and_go(context):
    lab = context.lab("tc")
    service = Service(context, lab, "option hook 'tc'")
    service.start()
    service.router.networks([])
    equal(service("reload"), [], "what procd did while every network was down")
    service.router.networks(["lan lan0 lan0"])
    equal(service("reload"), ["signal main SIGHUP"], "what procd did when lan was back")
    equal(service.router.read(SETTINGS), "iface lan0\nhook tc\n", "settings")
    configure(service.router, "option enabled '0'")
    equal(service("reload"), ["stop main"], "what procd did when the service was disabled")


if __name__ == "__main__":
    main()
