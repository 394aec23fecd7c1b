#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Executed instructions of the BPF program: bench's interpreter makes of each packet what the
kernel makes of it, and no hit costs over 5 % more of them than bench/instructions.tsv tells.

The record is of one version of clang; with another, the counts are printed and the comparison is
skipped. After a change of the BPF side `bench/program --record` writes it anew.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests")]
sys.dont_write_bytecode = True

import instructions  # noqa: E402
from instructions import HIT, Count, Key  # noqa: E402
from tap import Report  # noqa: E402


def verdicts(old, new):
    """What the comparison says of one hit and one exit, when both go from old to new."""
    keys = [Key("program", exit_name, "packet") for exit_name in (HIT, "miss")]
    return list(instructions.compare({key: Count(new, 0, "", "") for key in keys},
                                     {key: old for key in keys}))


def test_comparison(report):
    (grown,), (same,), (better,) = verdicts(100, 106), verdicts(100, 105), verdicts(100, 95)
    report.result(not grown.good, "6 % more instructions of a hit are too many")
    report.result(same.good and "--record" not in same.text, "5 % more are not")
    report.result(better.good and "--record" in better.text, "5 % less are to be recorded")
    key = Key("program", HIT, "packet")
    unknown, = instructions.compare({key: Count(1, 0, "", "")}, {})
    gone, = instructions.compare({}, {key: 1})
    report.result(not unknown.good and not gone.good, "what is not on record, and what is on it "
                  "alone, fails")


def test_stages(report, counts):
    """No hit is without the stages that each hit has, and none of its instructions gets lost."""
    stages, wrong = instructions.Stages(), []
    for key, of in counts.items():
        split = stages.split(of.trace)
        if sum(split.values()) != of.instructions:
            wrong.append(key)
        if key.exit == HIT and not all(split.values()):
            wrong.append(key)
    report.result(not wrong, "each instruction belongs to a stage, and each stage has some"
                  + (f": not so for {wrong[0]}" if wrong else ""))


def test_kernel(report, counts):
    for key, of in counts.items():
        name = f"{key.program}: {key.packet} ({key.exit}): as the kernel"
        if of.said == instructions.NOT_RUN:
            report.result(True, name, "BPF_PROG_TEST_RUN takes no ingress for XDP before 5.14")
        else:
            same = of.said == instructions.SAME
            report.result(same, name if same else f"{name}: {of.said}")


def test_record(report, counts):
    version, recorded = instructions.read_record()
    built_by, skip = instructions.compiler(), ""
    if version != built_by:
        skip = f"the record is of clang {version}, this is {built_by}"
    for result in instructions.compare(counts, recorded):
        report.result(result.good or skip, f"{result.key.program}: {result.key.packet}: "
                      f"{result.text}", skip)


def main():
    if os.geteuid():
        print("1..0 # SKIP loading BPF programs needs root")
        return 0
    report = Report()
    try:
        instructions.build()
        counts = instructions.count()
    except instructions.Unavailable as reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    except RuntimeError as error:
        print(f"Bail out! {str(error).splitlines()[0]}")
        print(error, file=sys.stderr)
        return 1
    test_comparison(report)
    test_stages(report, counts)
    test_kernel(report, counts)
    test_record(report, counts)
    print(f"1..{report.number}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
