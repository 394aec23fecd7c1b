#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Each fuzz target (libFuzzer, with ASan and UBSan) runs for a while without a finding.

It starts with corpus/NAME and the texts of tests/filter/golden, and learns in a directory of its
own: nothing in the tree changes. BPFW_FUZZ_SECONDS says how long each runs (60). What it finds is
printed in base64.
"""

import base64
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "tests"))

from tap import Report  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BUILT = ROOT / "build" / "tests" / "fuzz"
SECONDS = int(os.environ.get("BPFW_FUZZ_SECONDS", "60"))
MEMORY = 1024  # MB
LONGEST = 20000  # bytes of an input; longer ones are for the unit tests


def seeds(name, directory):
    for path in sorted((HERE / "corpus" / name).iterdir()):
        shutil.copy(path, directory)
    if name != "ruleset":
        return
    for path in sorted((ROOT / "tests" / "filter" / "golden").glob("*.rules")):
        family = b"6" if ".v6." in path.name else b"4"
        (directory / path.name).write_bytes(family + path.read_bytes())


def fuzz(report, program):
    name = program.name
    with tempfile.TemporaryDirectory(prefix="bpfw-fuzz-") as work:
        corpus = pathlib.Path(work) / "corpus"
        corpus.mkdir()
        seeds(name, corpus)
        done = subprocess.run(
            [program, f"-max_total_time={SECONDS}", f"-max_len={LONGEST}", "-timeout=20",
             f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={work}/", "-print_final_stats=1",
             *[f"-dict={path}" for path in HERE.glob(f"{name}.dict")], corpus],
            text=True, errors="replace", capture_output=True, timeout=SECONDS * 3 + 120,
            check=False)
        stats = [line for line in done.stderr.splitlines() if line.startswith("stat::")]
        report.note("\n".join(stats[:1]))
        if done.returncode:
            report.note("\n".join(done.stderr.splitlines()[-60:]))
            for path in pathlib.Path(work).iterdir():
                if path.is_file():
                    report.note(f"{path.name}: "
                                + base64.b64encode(path.read_bytes()).decode()[:4000])
    report.result(not done.returncode, f"{name}: {SECONDS} s without a finding")


def main():
    report = Report()
    for source in sorted(HERE.glob("*_fuzz.c")):
        program = BUILT / source.name.removesuffix("_fuzz.c")
        if program.exists():
            fuzz(report, program)
        else:
            report.result(True, program.name, "not built: clang has no library of libFuzzer here")
    print(f"1..{report.number}")
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
