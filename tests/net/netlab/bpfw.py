# SPDX-License-Identifier: GPL-2.0-only
"""The program under test, run in a router namespace and watched from outside."""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import tempfile
import time

from .lab import SLOW, run, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
READY_TIMEOUT = 20
STOP_TIMEOUT = 2 * SLOW
PR_SET_PDEATHSIG = 1
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer|runtime error:")

_libc = ctypes.CDLL(None, use_errno=True)


class BpfwError(AssertionError):
    """bpfw did not do what its command line promises."""


def binary():
    return os.path.abspath(os.environ.get("BPFW") or os.path.join(ROOT, "build", "bpfw"))


def environment(**extra):
    env = dict(os.environ)  # the runner's own sanitizer options come first
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    env.update(extra)
    return env


def attachments(namespace):
    """What bpftool sees attached to devices of the namespace, as (device, kind, program name)."""
    listed = json.loads(namespace.run("bpftool", "-j", "net", "show").stdout or "[]")
    found = []
    for hooks in listed:
        for kind in ("xdp", "tc"):
            for item in hooks.get(kind, []):
                found.append((item["devname"], item.get("kind") or item.get("mode") or kind,
                              item.get("name") or _program_name(item)))
    return sorted(found)


def _program_name(item):
    """bpftool shows only the number of an XDP program."""
    number = item.get("id") or item.get("prog_id")
    shown = run(["bpftool", "-j", "prog", "show", "id", str(number)], check=False).stdout
    return json.loads(shown or "{}").get("name", "")


def die_with_parent(number=signal.SIGKILL):
    """A test that is killed must not leave its daemon behind, nor a runner its tests."""
    _libc.prctl(PR_SET_PDEATHSIG, number)


class Snapshot:
    """What `bpfw flows` said once; it is asked as the running instance is."""

    def __init__(self, flows):
        self._flows = flows

    def flows(self, **fields):
        return [flow for flow in self._flows
                if all(flow[name] == value for name, value in fields.items())]


class Bpfw:
    """One running instance."""

    def __init__(self, namespace, hook, interfaces=("lan0", "wan0"), args=(), ready=True,
                 launcher=None):
        self.namespace = namespace
        self._log = tempfile.TemporaryFile()
        words = ["--hook", hook] if hook else []
        for name in interfaces:
            words += ["--iface", name]
        command = list(launcher or ["nsenter", f"--net={namespace.path}"])
        self.process = subprocess.Popen(
            command + [binary(), *words, *args], stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, env=environment(), preexec_fn=die_with_parent)
        if ready:
            self.wait_ready()

    @property
    def log(self):
        # pread leaves the offset alone, which the process shares for its own writing.
        data = os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0)
        return data.decode(errors="replace")

    def logged(self, pattern):
        return re.search(pattern, self.log, re.MULTILINE)

    def wait_ready(self):
        ready = r"^bpfw: ready.*\n"  # the whole line: it comes in pieces
        wait_until(lambda: self.logged(ready) or self.process.poll() is not None, READY_TIMEOUT)
        if not self.logged(ready):
            raise BpfwError(f"bpfw is not ready (exit status {self.process.poll()}):\n{self.log}")

    def _query(self, what):
        done = run(["nsenter", f"--net={self.namespace.path}", binary(), what, "--json"],
                   check=False, env=environment())
        if done.returncode:
            raise BpfwError(f"bpfw {what} --json: exit {done.returncode}: {done.stderr}")
        if SANITIZER.search(done.stderr):
            raise BpfwError(f"bpfw {what} --json: sanitizer report:\n{done.stderr}")
        return json.loads(done.stdout)

    def flows(self, **fields):
        """The offloaded flows whose fields have these values."""
        return self.snapshot().flows(**fields)

    def snapshot(self):
        """The flows of this moment, to be asked more than once."""
        return Snapshot(self._query("flows")["flows"])

    def stats(self):
        return self._query("stats")

    def status(self):
        """The plan of the running instance."""
        return self._query("status")

    def plan(self):
        """What --dry-run --json has printed."""
        return json.loads(self.log[self.log.index("{"):])

    def fast_packets(self):
        return self.stats()["fast_path"]["packets"]

    def send_signal(self, number):
        self.process.send_signal(number)

    def freeze(self):
        self.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.send_signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and wait until the process is gone."""
        self.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def alive(self):
        return self.process.poll() is None

    def stop(self, number=signal.SIGTERM):
        """Stop in order: exit status 0 within 2 s, no sanitizer report."""
        if not self.alive():
            raise BpfwError(f"bpfw ended by itself ({self.process.returncode}):\n{self.log}")
        started = time.monotonic()
        self.send_signal(number)
        try:
            status = self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise BpfwError(f"bpfw runs on {STOP_TIMEOUT:g} s after signal {number}:\n"
                            f"{self.log}") from None
        if status:
            raise BpfwError(f"bpfw stopped with exit status {status}:\n{self.log}")
        self.check_sanitizer()
        return time.monotonic() - started

    def check_sanitizer(self):
        if SANITIZER.search(self.log):
            raise BpfwError(f"sanitizer report:\n{self.log}")

    def close(self):
        """End the process whatever its state; the log stays readable until discard()."""
        with contextlib.suppress(ProcessLookupError):
            self.thaw()
        if self.alive():
            self.kill()

    def discard(self):
        self._log.close()
