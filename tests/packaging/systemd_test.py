#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The Debian package under a real systemd, which boots in namespaces of its own (systemd_boot.sh)
with the network of a lab's router: installed, started, reloaded, watched, stopped, purged."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test  # noqa: E402
from netlab import wait_until  # noqa: E402
from netlab.bpfw import Snapshot, die_with_parent  # noqa: E402

ROOT = pathlib.Path(HERE).parent.parent
BINARY = pathlib.Path(os.environ.get("BPFW_PACKED") or ROOT / "build" / "bpfw")
SYSTEMD = "/lib/systemd/systemd"
BOOT_TIMEOUT, TIMEOUT = 30, 60
CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF = 12, 19, 38, 39
CONFIG = "iface lan0\niface wan0\nhook tc\n"
# What the watchdog's time is in the test; its unit says ten seconds.
DROPIN = "[Service]\nWatchdogSec=2\n"


def cgroup_root():
    """Where the unified hierarchy is mounted."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            if line.split()[2] == "cgroup2":
                return pathlib.Path(line.split()[1])
    raise Skip("no cgroup2 is mounted")


def check_machine():
    if os.geteuid():
        raise Skip("takes root: namespaces and mounts")
    for tool in ("dpkg-deb", "dpkg-shlibdeps", "unshare", "nsenter"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")
    if not os.path.exists(SYSTEMD):
        raise Skip("systemd is not installed")
    if "overlay\n" not in pathlib.Path("/proc/filesystems").read_text(encoding="ascii"):
        raise Skip("this kernel has no overlayfs")
    if not BINARY.exists():
        raise Skip("there is no build/bpfw")


def remove_cgroups(top):
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    return not top.exists()


def remove_stale_cgroups():
    """Those of tests that were killed; what ran in them died with them."""
    for path in cgroup_root().glob("bpfw-t[0-9]*"):
        if not os.path.exists(f"/proc/{path.name.removeprefix('bpfw-t')}"):
            remove_cgroups(path)


class Machine:
    """A systemd on the network of a namespace."""

    def __init__(self, namespace):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="bpfw-systemd-"))
        self.cgroup = cgroup_root() / f"bpfw-t{os.getpid()}"
        remove_stale_cgroups()
        self.log = tempfile.TemporaryFile()
        self.process = self.init = None
        try:
            self.cgroup.mkdir()
        except OSError as error:
            raise Skip(f"no cgroup can be made: {error}") from None
        self.process = subprocess.Popen(
            ["nsenter", f"--net={namespace.path}", "unshare", "--cgroup", "--mount", "--pid",
             "--ipc", "--uts", "--fork", "--kill-child", "sh",
             os.path.join(HERE, "systemd_boot.sh"), str(self.directory)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=self._begin)

    def _begin(self):
        die_with_parent()
        (self.cgroup / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    def wait_booted(self):
        if not wait_until(self._is_running, BOOT_TIMEOUT, interval=0.1):
            raise Skip(f"systemd does not boot in namespaces here: {self.said()}")

    def _is_running(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError, IndexError):
            self.init = children.read_text(encoding="ascii").split()[0]
            return self.run("systemctl", "is-system-running", check=False).stdout == "running\n"
        return False

    def said(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    def run(self, *command, check=True, stdin=None):
        done = subprocess.run(
            ["nsenter", "--target", self.init, "--mount", "--pid", "--net", "--cgroup", "--",
             *command], input=stdin, text=True, capture_output=True, timeout=TIMEOUT, check=False)
        expect(not check or not done.returncode,
               f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.said()}")
        return done

    def write(self, path, text):
        self.run("sh", "-c", "mkdir -p \"$(dirname \"$1\")\" && cat >\"$1\"", "sh", path,
                 stdin=text)

    def install(self, package):
        subprocess.run(["nsenter", "--target", self.init, "--mount", "--", "sh", "-c",
                        "cat >/tmp/bpfw.deb"], input=pathlib.Path(package).read_bytes(),
                       check=True, timeout=TIMEOUT)
        self.run("dpkg", "--force-depends", "-i", "/tmp/bpfw.deb")

    def show(self, name):
        """A property of the unit."""
        return self.run("systemctl", "show", "--value", "-p", name, "bpfw").stdout.strip()

    def close(self):
        if self.process:
            if self.init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(self.init), signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        wait_until(lambda: remove_cgroups(self.cgroup))
        self.directory.rmdir()


class Service:
    """The running daemon as netlab's flows want to ask it; asked on its machine."""

    def __init__(self, machine):
        self.machine = machine

    def _query(self, what):
        return json.loads(self.machine.run("bpfw", what, "--json").stdout)

    @property
    def log(self):
        return self.machine.said()

    def stats(self):
        return self._query("stats")

    def flows(self, **fields):
        return Snapshot(self._query("flows")["flows"]).flows(**fields)

    def pid(self):
        return int(self.machine.show("MainPID"))

    def status(self):
        """/proc/PID/status as a dictionary."""
        text = self.machine.run("cat", f"/proc/{self.pid()}/status").stdout
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def build(context):
    """The package, made once for each test of this file."""
    output = context.keep(Output()).path
    done = subprocess.run([str(ROOT / "packaging" / "deb" / "build"), output], text=True,
                          env={**os.environ, "BINARY": str(BINARY)}, capture_output=True,
                          check=False, timeout=TIMEOUT)
    expect(not done.returncode, done.stderr)
    return done.stdout.strip()


class Output:
    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="bpfw-deb-")

    def close(self):
        shutil.rmtree(self.path)


def installed(context):
    check_machine()
    package = build(context)
    lab = context.lab("tc")
    machine = context.keep(Machine(lab.router))
    machine.wait_booted()
    machine.install(package)
    machine.write("/etc/bpfw/bpfw.conf", CONFIG)
    return lab, machine, Service(machine)


@test()
def starts_reloads_stops_and_goes(context):
    lab, machine, service = installed(context)
    equal(machine.show("ActiveState"), "inactive", "state after the installation")
    machine.run("systemctl", "start", "bpfw")
    # Type=notify: the start has waited for READY=1.
    equal(machine.show("ActiveState"), "active", "state after the start")
    equal(len(attachments(lab.router)), 2, "attached programs when systemctl returned")
    flow = context.keep(TcpFlow(lab, 4))
    datagrams = context.keep(UdpFlow(lab, 4))
    flow.wait_offloaded(service)
    datagrams.wait_offloaded(service)

    pid, learned = service.pid(), service.stats()["daemon"]["learned"]
    machine.write("/etc/bpfw/bpfw.conf", CONFIG + "only tcp\n")
    machine.run("systemctl", "reload", "bpfw")
    datagrams.wait_not_offloaded(service)
    flow.wait_offloaded(service)
    equal((service.pid(), service.stats()["daemon"]["learned"]), (pid, learned),
          "process and flows learned")

    machine.run("systemctl", "stop", "bpfw")
    equal((machine.show("ActiveState"), machine.show("Result")), ("inactive", "success"),
          "state after the stop")
    equal(attachments(lab.router), [], "attached programs")
    flow.touch()
    machine.run("dpkg", "-P", "bpfw")
    equal(machine.show("LoadState"), "not-found", "the unit")


@test()
def runs_as_nobody_special(context):
    _, machine, service = installed(context)
    machine.run("systemctl", "start", "bpfw")
    status = service.status()
    expect(all(int(uid) >= 1000 for uid in status["Uid"].split()), f"user {status['Uid']}")
    allowed = sum(1 << bit for bit in (CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF))
    for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        equal(int(status[name], 16) & ~allowed, 0, f"capabilities beyond the unit's in {name}")
    expect(int(status["CapEff"], 16) & 1 << CAP_NET_ADMIN, "CAP_NET_ADMIN is gone")
    equal(status["NoNewPrivs"].strip(), "1", "no new privileges")
    equal(status["Seccomp"].strip(), "2", "system call filter")


@test()
def is_started_again_when_it_dies_or_hangs(context):
    lab, machine, service = installed(context)
    machine.write("/etc/systemd/system/bpfw.service.d/test.conf", DROPIN)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "bpfw")
    context.keep(TcpFlow(lab, 4)).wait_offloaded(service)
    for number, wanted in ((signal.SIGKILL, "1"), (signal.SIGSTOP, "2")):
        pid = service.pid()
        machine.run("kill", f"-{int(number)}", str(pid))
        again = wait_until(lambda: (machine.show("ActiveState"), machine.show("NRestarts"))
                           == ("active", wanted), 30, interval=0.2)
        expect(again, f"not started again after {number.name}: {machine.said()}")
    equal(len(attachments(lab.router)), 2, "attached programs")
    # A daemon that works feeds the watchdog: for longer than its time nothing happens.
    pid = service.pid()
    expect(not wait_until(lambda: service.pid() != pid, 5, interval=0.5),
           f"a working daemon was ended: {machine.said()}")


@test()
def wrong_configuration_is_told(context):
    _, machine, _ = installed(context)
    machine.write("/etc/bpfw/bpfw.conf", "iface lan0\nhook nfqueue\n")
    done = machine.run("systemctl", "start", "bpfw", check=False)
    expect(done.returncode, "a wrong configuration was accepted")
    expect(wait_until(lambda: machine.show("ExecMainStatus") == "2"),
           f"exit status {machine.show('ExecMainStatus')}")


if __name__ == "__main__":
    main()
