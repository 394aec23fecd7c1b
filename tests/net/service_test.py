#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The daemon as a service: its configuration file, reloading, what it tells its manager."""

import os
import signal
import socket
import tempfile
import time

from netlab import TcpFlow, UdpFlow, equal, expect, main, test, wait_until
from netlab import lab as topology


class Config:
    """A configuration file that a test rewrites."""

    def __init__(self, *lines):
        self._directory = tempfile.TemporaryDirectory(prefix="bpfw-config-")
        self.path = os.path.join(self._directory.name, "bpfw.conf")
        self.write(*lines)

    def write(self, *lines):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(self.path, 0o644)

    def close(self):
        self._directory.cleanup()


def start(context, lab, config, **kwargs):
    return context.running(lab, None, interfaces=(), args=("--config", config.path), **kwargs)


def reload(bpfw):
    bpfw.send_signal(signal.SIGHUP)


def counted(bpfw, flow):
    """Packets by direction; they start anew when an entry is made anew."""
    return {one["direction"]: one["packets"] for one in flow.in_map(bpfw)}


def was_kept(before, after):
    return before.keys() == after.keys() and all(after[name] > before[name] for name in before)


@test("tc", "xdp")
def flows_stay(context, hook):
    """What is as valid by the new options as by the old ones is not touched."""
    lab = context.lab(hook)
    config = context.keep(Config("# the first", f"hook {hook}", "iface lan0", "iface=wan0"))
    bpfw = start(context, lab, config)
    with UdpFlow(lab) as flow, UdpFlow(lab, port=5001) as other:
        for one in (flow, other):
            one.start()
            one.wait_offloaded(bpfw)
        before = counted(bpfw, flow)
        source, port = other.near.getsockname()[:2]
        lab.router.run("conntrack", "-U", "-p", "udp", "-s", source, "--orig-port-src", str(port),
                       "-m", "9")
        config.write(f"hook {hook}", "iface lan0,wan0", "exclude-mark 9", "exclude 192.0.2.0/24",
                     "udp-idle 50")
        reload(bpfw)
        other.wait_not_offloaded(bpfw)
        flow.goes_on()
        other.goes_on()
        expect(was_kept(before, counted(bpfw, flow)), f"{before}, then {counted(bpfw, flow)}")
        equal(other.in_map(bpfw), [], "entries of what is excluded")
        config.write(f"hook {hook}", "iface lan0,wan0")
        reload(bpfw)
        other.wait_offloaded(bpfw)
        expect(was_kept(before, counted(bpfw, flow)), f"{before}, then {counted(bpfw, flow)}")
        for one in (flow, other):
            one.stop()


@test("tc", "xdp")
def interfaces_come_and_go(context, hook):
    lab = context.lab(hook, "none")
    lab.add_second_uplink()
    lab.router.ip(f"route replace {topology.SERVICE[4]} via {topology.SERVER1[4]}")
    config = context.keep(Config(f"hook {hook}", "iface lan0", "iface wan0"))
    bpfw = start(context, lab, config)
    with UdpFlow(lab) as flow, UdpFlow(lab, target=topology.SERVICE[4], port=5001,
                                       bind=topology.SERVICE[4]) as second:
        flow.start()
        flow.wait_offloaded(bpfw)
        before = counted(bpfw, flow)
        config.write(f"hook {hook}", "iface lan0", "iface wan0", "iface wan1")
        reload(bpfw)
        second.wait_offloaded(bpfw)
        expect(was_kept(before, counted(bpfw, flow)), f"{before}, then {counted(bpfw, flow)}")
        config.write(f"hook {hook}", "iface lan0", "iface wan1")
        reload(bpfw)
        gone = wait_until(lambda: "wan0" not in {row["interface"] for row in
                                                 bpfw.status()["plan"]})
        expect(gone, f"{bpfw.status()}")
        equal([one for one in flow.in_map(bpfw) if one["ingress"] == "wan0"], [], "entries")
        flow.goes_on()
        second.exchange(100)
        flow.stop()


@test()
def mistakes_change_nothing(context):
    lab = context.lab("tc")
    config = context.keep(Config("hook tc", "iface lan0", "iface wan0"))
    bpfw = start(context, lab, config)
    with UdpFlow(lab) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        before = counted(bpfw, flow)
        for lines, said in (((), "no interface"),
                            (("iface lan0", "hok tc"), r":2: unknown option '--hok=tc'"),
                            (("iface lan0", "", "hook fast"), ":3: unknown hook 'fast'"),
                            (("iface lan0", "help"), ":2: 'help' is for the command line only"),
                            (("iface lan0", "config x"), ":2: 'config=x' is no setting"),
                            (("iface lan0", "exclude"), ":2: option '--exclude' needs a value")):
            config.write(*lines)
            reload(bpfw)
            expect(wait_until(lambda said=said: said in bpfw.log), f"{said}:\n{bpfw.log}")
        os.unlink(config.path)
        reload(bpfw)
        expect(wait_until(lambda: "cannot read" in bpfw.log), bpfw.log)
        flow.goes_on()
        expect(was_kept(before, counted(bpfw, flow)), f"{before}, then {counted(bpfw, flow)}")
        flow.stop()


def change_owner(path):
    os.chown(path, 65534, -1)


def change_mode(path):
    os.chmod(path, 0o664)


def make_a_pipe_of_it(path):
    """That nobody writes to: the daemon must not wait for one."""
    os.unlink(path)
    os.mkfifo(path, 0o600)


SPOILT = {
    "owner": (change_owner, "user 65534"),
    "mode": (change_mode, "mode 0664"),
    "pipe": (make_a_pipe_of_it, "cannot be read again"),
}


@test(*SPOILT)
def a_file_of_others_changes_nothing(context, what):
    """Who may write to it is looked at each time."""
    spoil, said = SPOILT[what]
    lab = context.lab("tc")
    config = context.keep(Config("hook tc", "iface lan0", "iface wan0"))
    bpfw = start(context, lab, config)
    with UdpFlow(lab) as flow:
        flow.start()
        flow.wait_offloaded(bpfw)
        before = counted(bpfw, flow)
        config.write("hook tc", "iface lan0", "iface wan0", "only tcp")
        spoil(config.path)
        reload(bpfw)
        expect(wait_until(lambda: said in bpfw.log), bpfw.log)
        expect(bpfw.logged("nothing is changed: "), bpfw.log)
        flow.goes_on()
        expect(was_kept(before, counted(bpfw, flow)), f"{before}, then {counted(bpfw, flow)}")
        os.unlink(config.path)
        config.write("hook tc", "iface lan0", "iface wan0", "only tcp")
        reload(bpfw)
        flow.wait_not_offloaded(bpfw)
        flow.stop()


@test()
def no_start_with_a_mistake(context):
    lab = context.lab("tc")
    config = context.keep(Config("hook tc", "iface lan0", "iface"))
    bpfw = context.bpfw(lab, None, interfaces=(), args=("--config", config.path))
    equal(bpfw.process.wait(20), 2, "exit status")
    expect(":3: option '--iface' needs a value" in bpfw.log, bpfw.log)


class Manager:
    """The socket of a service manager."""

    def __init__(self, abstract, namespace):
        self._directory = tempfile.TemporaryDirectory(prefix="bpfw-notify-")
        name = os.path.join(self._directory.name, "notify")
        # The abstract namespace is the network namespace's own.
        self._socket = namespace.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name if abstract else name)
        self._socket.settimeout(0.1)
        self.variable = f"NOTIFY_SOCKET={'@' if abstract else ''}{name}"
        self.said = []

    def heard(self, *words, timeout=10):
        def all_of_them():
            try:
                self.said += self._socket.recv(4096).decode().split("\n")
            except TimeoutError:
                pass
            return all(any(said.startswith(word) for said in self.said) for word in words)
        return wait_until(all_of_them, timeout)

    def forget(self):
        self.said = []

    def close(self):
        self._socket.close()
        self._directory.cleanup()


@test("path", "abstract")
def manager_is_told(context, name):
    lab = context.lab("tc")
    manager = context.keep(Manager(name == "abstract", lab.router))
    launcher = ["env", manager.variable, "WATCHDOG_USEC=1000000", "nsenter",
                f"--net={lab.router.path}"]
    config = context.keep(Config("iface lan0", "iface wan0", "hook tc"))
    bpfw = start(context, lab, config, launcher=launcher)
    expect(manager.heard("READY=1"), f"at the start: {manager.said}")
    manager.forget()
    started = time.monotonic()
    for _ in range(3):
        expect(manager.heard("WATCHDOG=1"), f"while it runs: {manager.said}")
        manager.forget()
    expect(time.monotonic() - started > 0.6, "signs of life without end")
    reload(bpfw)
    expect(manager.heard("RELOADING=1", "MONOTONIC_USEC=", "READY=1"), f"{manager.said}")
    bpfw.freeze()
    manager.heard("nothing", timeout=1)
    manager.forget()
    expect(not manager.heard("WATCHDOG=1", timeout=2), "a sign of life of one that is frozen")
    bpfw.thaw()
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
    bpfw.stop()
    expect(manager.heard("STOPPING=1"), f"at the end: {manager.said}")


if __name__ == "__main__":
    main()
