#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The static binary on kernels of each architecture (tests/vm), alone in a root: it loads, and
offloads flows with NAT at each hook. x86_64 on the oldest kernel it is to run on.

    tests/packaging/static_vm_test.py aarch64       that architecture only

STATIC_SOURCES names a directory with sources that cannot be had otherwise (docs/building.md).
"""

import io
import os
import platform
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "vm")]

import static_build as static  # noqa: E402
from static_root import CONTENTS  # noqa: E402
from vmlab import Unavailable  # noqa: E402
from vmlab.foreign import ARCHITECTURES, ForeignMachine  # noqa: E402
from vmlab.kernels import kernel  # noqa: E402
from vmlab.machine import Machine, default_environment  # noqa: E402

OLDEST = "5.10"
TESTS = "offload both"
CASES = tuple(f"{TESTS} {hook}" for hook in ("tc", "xdp", "xdpgeneric"))
LIMIT = 570  # seconds for all; tests/run ends a file after 600
MACHINE_TIMEOUT = 240
FAILED_TESTS = 1  # exit status of a test file


class Late(Exception):
    """LIMIT is over."""


class X86:
    """This machine's files, another kernel."""

    name = "x86_64"

    def machine(self):
        if platform.machine() != self.name:
            raise Unavailable(f"the machine with kernel {OLDEST} runs what is installed here, "
                              f"which is for {platform.machine()}")
        return Machine(kernel(OLDEST)), default_environment()

    def place(self, binary):
        return binary


class Foreign:
    """Debian's files for that architecture; of what is built here it sees its own directory."""

    def __init__(self, architecture):
        self.name = architecture.name
        self._architecture = architecture

    def machine(self):
        return ForeignMachine(self._architecture), self._architecture.environment()

    def place(self, binary):
        build = self._architecture.tree / "build"
        copy = build / "static" / "bpfw"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(binary, copy)
        return static.ROOT / "build" / copy.relative_to(build)


KINDS = (X86(), *map(Foreign, ARCHITECTURES.values()))


def boot(kind):
    """Kernel's release, exit status of the cases, and what they have printed."""
    static.sysroot(kind.name)
    machine, environment = kind.machine()
    binary = static.make(kind.name, static.ROOT, os.environ.get("STATIC_SOURCES", ""))
    inside = kind.place(binary)
    out, err = io.BytesIO(), io.BytesIO()
    status = machine.run(
        ["python3", "tests/packaging/static_root.py", str(inside),
         "python3", "tests/net/offload_test.py", "-k", TESTS, "-j", "1"],
        environment, MACHINE_TIMEOUT, out, err)
    said = (out.getvalue() + err.getvalue()).decode(errors="replace")
    return machine.kernel.release, status, said


class Report:
    """TAP, and the results by case."""

    def __init__(self):
        self.number = self.failed = 0

    def skip(self, kind, reason):
        for case in CASES:
            self._line("ok", f"{kind.name} {case}", f" # SKIP {reason}")

    def results(self, kind, release, status, said):
        alone = f"# in the root: {' '.join(CONTENTS)}\n" in said
        good = [case for case in CASES if passed(said, case)]
        if not alone or status not in (0, FAILED_TESTS) or status and len(good) == len(CASES):
            good = []
        for case in CASES:
            self._line("ok" if case in good else "not ok",
                       f"{kind.name} {case}, alone on {release}", "")
        if len(good) < len(CASES):
            self.failed += len(CASES) - len(good)
            self.note(f"exit status {status}\n{said}")

    def note(self, text):
        print("\n".join(f"# {line}" for line in text.splitlines()), flush=True)

    def _line(self, mark, name, directive):
        self.number += 1
        print(f"{mark} {self.number} - static {name}{directive}", flush=True)


def passed(said, case):
    lines = [line for line in said.splitlines() if f" - {case} #" in line]
    return len(lines) == 1 and lines[0].startswith("ok ") and "# SKIP" not in lines[0]


def run(report, kind):
    try:
        result = boot(kind)
    except (static.Missing, Unavailable) as reason:
        report.skip(kind, str(reason))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        report.results(kind, "no kernel", "of make", str(error))
    else:
        report.results(kind, *result)


def run_all(report):
    """First sources and packages have to be fetched, which may take any time."""
    left = [kind for kind in KINDS if kind.name in (sys.argv[1:] or kind.name)]
    try:
        signal.alarm(LIMIT)
        static.fetch_sources()
        while left:
            run(report, left[0])
            del left[0]
        signal.alarm(0)
    except (static.Missing, Late) as reason:
        for kind in left:
            report.skip(kind, str(reason))


def late(*_):
    raise Late("no time was left")


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGALRM, late)
    if os.geteuid():
        print("1..0 # SKIP needs root")
        return 0
    report = Report()
    run_all(report)
    print(f"1..{report.number}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
