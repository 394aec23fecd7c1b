# SPDX-License-Identifier: GPL-2.0-only
"""Runs test functions in processes of their own and prints TAP."""

import argparse
import dataclasses
import os
import selectors
import signal
import sys
import time
import traceback

from .bpfw import Bpfw, die_with_parent
from .lab import SLOW, Lab, remove_labs_of, remove_stale_labs, run

HOOKS = ("tc", "xdp", "xdpgeneric")
LIMIT = 120 * SLOW

_tests = []


class Skip(Exception):
    """The test cannot run here; the text says why."""


def expect(condition, message):
    if not condition:
        raise AssertionError(message)


def equal(seen, wanted, what):
    if seen != wanted:
        raise AssertionError(f"{what}: {seen!r}, not {wanted!r}")


@dataclasses.dataclass
class _Case:
    name: str
    function: object
    arguments: tuple


def test(*parameters):
    """Register a test; with parameters once for each of them (a tuple is several arguments).

    A file that another one imports lends its helpers, not its tests."""
    def register(function):
        if function.__module__ != "__main__":
            return function
        name = function.__name__.replace("_", " ")
        for parameter in parameters or ((),):
            arguments = parameter if isinstance(parameter, tuple) else (parameter,)
            _tests.append(_Case(" ".join([name, *map(str, arguments)]), function, arguments))
        return function
    return register


class Context:
    """What a test makes, taken down in the reverse order whatever happens."""

    def __init__(self):
        self._made = []
        self.notes = []

    def note(self, text):
        self.notes.append(str(text))

    def keep(self, item):
        """Close the item at the end of the test."""
        self._made.append(item)
        return item

    def lab(self, hook=None, nat="masquerade"):
        return self.keep(Lab.for_hook(hook, nat))

    def bpfw(self, lab, hook, **kwargs):
        return self.keep(Bpfw(lab.router, hook, ready=False, **kwargs))

    def running(self, lab, hook, **kwargs):
        """A bpfw that is ready."""
        bpfw = self.bpfw(lab, hook, **kwargs)
        bpfw.wait_ready()
        return bpfw

    def finish(self, passed):
        """Stop what runs: a daemon that is left must end in order, or the test has failed."""
        failure = None
        for item in reversed(self._made):
            try:
                if isinstance(item, Bpfw) and passed and item.alive():
                    item.stop()
                if isinstance(item, Bpfw) and passed:
                    item.check_sanitizer()
            except AssertionError as error:
                failure = error
            item.close()
        if not passed or failure:
            self._show_logs()
        for item in self._made:
            if isinstance(item, Bpfw):
                item.discard()
        if failure:
            raise failure

    def _show_logs(self):
        for item in self._made:
            if isinstance(item, Bpfw):
                self.note("log of bpfw:\n" + item.log[-4000:])


def _run_case(case):
    """(result, lines of explanation) of one test, in this process."""
    context = Context()
    result, passed = "ok", False
    try:
        case.function(context, *case.arguments)
        passed = True
    except Skip as skip:
        result = f"skip {skip}"
    except AssertionError as failure:
        result = "not ok"
        context.note(failure)
        context.note(_where(failure))
    except BaseException:  # pylint: disable=broad-except
        result = "not ok"
        context.note(traceback.format_exc())
    try:
        context.finish(passed)
    except AssertionError as failure:
        result = "not ok"
        context.note(failure)
    return result, context.notes


def _where(failure):
    """The line of the test itself that failed."""
    for frame in traceback.extract_tb(failure.__traceback__):
        if frame.filename.endswith("_test.py"):
            return f"at {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"
    return "".join(traceback.format_tb(failure.__traceback__))


class _Child:
    """A test in a process of its own: its labs carry that process's pid."""

    limit = LIMIT

    def __init__(self, case):
        self.case, self.started, self.output = case, time.monotonic(), b""
        self.pipe, write_end = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            # Nothing may get past here: it would run on as a second copy of the runner.
            try:
                os.close(self.pipe)
                _in_child(case, write_end)
            finally:
                os._exit(0)
        os.close(write_end)

    def read(self):
        data = os.read(self.pipe, 65536)
        self.output += data
        return bool(data)

    def overdue(self):
        return time.monotonic() - self.started > self.limit

    def end(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def collect(self):
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        remove_labs_of(self.pid)
        lines = self.output.decode(errors="replace").splitlines()
        if not lines:
            return "not ok", [f"the test's process died, or took longer than {self.limit:g} s"]
        return lines[0], lines[1:]


def _in_child(case, write_end):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(signal.SIGTERM)
    result, notes = _run_case(case)
    with os.fdopen(write_end, "w", encoding="utf-8") as pipe:
        pipe.write("\n".join([result.replace("\n", " "), *notes]))


class _Runner:
    """Keeps a number of tests going and prints their results in the order of their ends."""

    def __init__(self, cases, jobs):
        self._waiting, self._jobs = list(cases), jobs
        self._running = {}
        self._number = self._failed = self._skipped = 0

    def run(self):
        print(f"1..{len(self._waiting)}", flush=True)
        with selectors.DefaultSelector() as selector:
            try:
                while self._waiting or self._running:
                    self._fill(selector)
                    self._poll(selector)
            finally:
                for child in list(self._running.values()):
                    child.end()
                    child.collect()
        if self._failed or self._skipped:
            print(f"# failed {self._failed}, skipped {self._skipped} of {self._number}", flush=True)
        return 1 if self._failed else 0

    def _fill(self, selector):
        while self._waiting and len(self._running) < self._jobs:
            child = _Child(self._waiting.pop(0))
            self._running[child.pipe] = child
            selector.register(child.pipe, selectors.EVENT_READ)

    def _poll(self, selector):
        for key, _ in selector.select(1):
            child = self._running[key.fd]
            if not child.read():
                selector.unregister(key.fd)
                del self._running[key.fd]
                self._report(child)
        for child in self._running.values():
            if child.overdue():
                child.end()

    def _report(self, child):
        result, notes = child.collect()
        self._number += 1
        label = f"{self._number} - {child.case.name}"
        duration = f"{time.monotonic() - child.started:.1f} s"
        if result.startswith("skip"):
            self._skipped += 1
            print(f"ok {label} # SKIP {result[5:]}")
        else:
            self._failed += result != "ok"
            print(f"{result} {label} # {duration}")
        for line in notes:
            print(f"# {line}")
        sys.stdout.flush()


def main(jobs=2, limit=LIMIT):
    """Run the registered tests of this file, each for `limit` seconds at most."""
    _Child.limit = limit
    parser = argparse.ArgumentParser(description="Prints TAP. $BPFW names the binary.")
    parser.add_argument("-k", metavar="TEXT", default="", help="only tests whose name holds TEXT")
    parser.add_argument("-j", metavar="JOBS", type=int, default=jobs, help="tests at a time")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
    options = parser.parse_args()
    # A test file may be imported for what it holds; its tests are not those of the one that runs.
    cases = [case for case in _tests
             if options.k in case.name and case.function.__module__ == "__main__"]
    if options.list:
        print("\n".join(case.name for case in cases))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(1))
    if os.geteuid():
        print("1..0 # SKIP needs root, for network namespaces")
        return
    _check_tools()
    remove_stale_labs()
    sys.exit(_Runner(cases, options.j).run())


def _check_tools():
    for tool in ("ip", "nft", "conntrack", "ethtool", "nsenter", "bpftool"):
        if run(["sh", "-c", f"command -v {tool}"], check=False).returncode:
            print(f"Bail out! {tool} is not installed")
            sys.exit(1)
