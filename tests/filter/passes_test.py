#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What each pass of the filter's compiler makes of golden/passes/*.rules is what is recorded beside
them. To record anew what has changed on purpose: BPFW_TEST_RECORD=1 tests/filter/passes_test.py

And rulesets that would take the compiler long if it compared everything with everything.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "tests"))

from tap import Report  # noqa: E402

BPFW = ROOT / "build" / "bpfw"
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden" / "passes"
PASSES = ("rules", "dead", "fields", "operations")
TIMEOUT = 60
RULES = 32000
LONG = 10  # seconds; they take less than one, or 20 and more


def bpfw(*arguments, seconds=TIMEOUT):
    return subprocess.run([BPFW, "filter", "load", *arguments], text=True, capture_output=True,
                          timeout=seconds, check=False)


def golden(report, rules, name):
    path = rules.with_name(f"{rules.name}.{name}")
    done = bpfw(f"-{rules.stem[1]}", "--check", "--dump", name, rules)
    if os.environ.get("BPFW_TEST_RECORD"):
        path.write_text(done.stdout, encoding="utf-8")
    expected = path.read_text(encoding="utf-8")
    good = done.returncode == 0 and done.stdout == expected
    report.result(good, f"{rules.name}: pass {name}")
    if not good:
        lines = zip(done.stdout.splitlines() + [""], expected.splitlines() + [""])
        for made, wanted in [pair for pair in lines if pair[0] != pair[1]][:3]:
            print(f"#   made '{made}', recorded '{wanted}'")
        print(f"#   {done.stderr.strip()}")


def usage(report):
    rules = next(GOLDEN.glob("v?.rules"))
    for arguments, what in ((("--dump", "rules", rules), "--dump without --check"),
                            (("--check", "--dump", "chains", rules), "a pass that is not there")):
        done = bpfw(*arguments)
        report.result(done.returncode == 2 and not done.stdout and "--dump" in done.stderr,
                      f"{what} is wrong usage")


def many_names(report, match, length):
    """As many tables as rules, whose names differ in their ends"""
    rules = "".join(f"-A INPUT {match} {'x' * length}{i}\n" for i in range(RULES))
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write(f"*filter\n{rules}COMMIT\n")
        file.flush()
        try:
            done = bpfw("-4", "--check", file.name, seconds=LONG)
        except subprocess.TimeoutExpired:
            return report.result(False, f"{RULES} names: {match}: takes more than {LONG} s")
    return report.result(done.returncode == 0, f"{RULES} names: {match} {done.stderr.strip()}")


def main():
    report = Report()
    for rules in sorted(GOLDEN.glob("v?.rules")):
        for name in PASSES:
            golden(report, rules, name)
    usage(report)
    many_names(report, "-m recent --set --name", 190)
    many_names(report, "-m hashlimit --hashlimit-upto 5/s --hashlimit-name", 240)
    print(f"1..{report.number}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
