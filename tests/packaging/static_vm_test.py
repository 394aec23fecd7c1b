#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The static binary on a big-endian kernel (tests/vm): it loads and offloads flows at both hooks."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "vm")]

import static_test as static  # noqa: E402
from vmlab import BuildFailed, Unavailable, s390x  # noqa: E402

ARCH = "s390x"
CASES = ("offload both tc", "offload both xdp")
MACHINE_TIMEOUT = 150  # for each case
SKIPPED = 77


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def give_bpftool():
    """The machine's own makes objects of its byte order."""
    with contextlib.suppress(Unavailable, BuildFailed):
        s390x.build(())
        os.environ.setdefault("BPFTOOL", str(s390x.TREE / "bpftool-s390x"))


def built():
    try:
        static.fetch_sources()
        give_bpftool()
        static.sysroot(ARCH)
        return static.make(ARCH, static.ROOT, os.environ.get("STATIC_SOURCES", ""))
    except static.Missing as error:
        return skip(str(error))


def boot(binary, case):
    """Exit status and output of the case. The machine's build/ is that of its own tree."""
    place = s390x.TREE / "build" / "static" / "bpfw"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(binary, place)
    inside = static.ROOT / "build" / place.relative_to(s390x.TREE / "build")
    process = subprocess.Popen(
        [sys.executable, str(static.ROOT / "tests" / "vm" / "run"), "--timeout",
         str(MACHINE_TIMEOUT), "--env", f"BPFW={inside}", ARCH, "--", "python3",
         "tests/net/offload_test.py", "-k", case, "-j", "1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=static.make_environment())
    try:
        said, _ = process.communicate()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process.returncode, said


def passed(said, case):
    results = [line for line in said.splitlines() if line.startswith(("ok", "not ok"))]
    named = any(f" - {case} #" in line for line in results)
    return named and all(line.startswith("ok") and "SKIP" not in line for line in results)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.geteuid():
        skip("needs root")
    binary = pathlib.Path(built())
    failed = 0
    for number, case in enumerate(CASES, 1):
        status, said = boot(binary, case)
        name = f"{number} - static {ARCH} {case}"
        if status == SKIPPED:
            print(f"ok {name} # SKIP {said.strip().splitlines()[-1]}", flush=True)
            continue
        good = not status and passed(said, case)
        failed += not good
        print(f"{'ok' if good else 'not ok'} {name}", flush=True)
        if not good:
            print("\n".join(f"# {line}" for line in said.splitlines()), flush=True)
    print(f"1..{len(CASES)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
