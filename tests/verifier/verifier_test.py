#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Every BPF program, by each compiler and with every combination of its boolean configuration
constants, passes the verifier of the running kernel, at a cost near to that in counts.tsv.

A cost is what the verifier had to process, and the instructions of the program as the kernel has
rewritten it. The table knows a kernel by machine and series; where it does not know the kernel or
the compiler, the programs are loaded all the same, and the result is skipped; so are programs that
need what the kernel has not (functions of conntrack, BTF). After a change of the BPF side
`tests/verifier/record` writes the table anew.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "tests"))

import counts  # noqa: E402
from tap import Report  # noqa: E402

OBJECTS = ROOT / "build" / "bpf" / "verifier"
VERIFY = ROOT / "build" / "tests" / "verifier" / "verify"

COMPILERS = ("14", "19")  # what the BPF side is to be built by
GROWTH = 1.10
REFUSED, LACKING = "refused", "lacking"
TIMEOUT = 500


def this_kernel():
    """Machine and series, as in the table's first two columns."""
    system = os.uname()
    return system.machine, ".".join(re.findall(r"\d+", system.release)[:2])


def objects():
    """Compiler's major version and object, as `make tests` has built them."""
    found = [(path.name.split("-")[-1].partition(".")[0], path) for path in
             OBJECTS.glob("*-clang-*.bpf.o")]
    return sorted(found, key=lambda one: (int(one[0]), one[1]))


def measure(path):
    """Rows of (program, constants, processed, translated), and what the verifier has said."""
    done = subprocess.run([VERIFY, path], text=True, capture_output=True, timeout=TIMEOUT,
                          check=False)
    if done.returncode or not done.stdout:
        raise RuntimeError(f"{VERIFY.name} ended with {done.returncode}: {done.stderr}")
    return [line.split("\t") for line in done.stdout.splitlines()], done.stderr


def result_of(first, second):
    """Costs; None where the kernel refuses; a text where it lacks that."""
    if first == LACKING:
        return second
    return None if first == REFUSED else counts.Costs(int(first), int(second))


def measure_all():
    """{key: result_of()}, what the verifier has said."""
    measured, said = {}, ""
    for compiler, path in objects():
        rows, errors = measure(path)
        said += errors
        for program, constants, *costs in rows:
            key = counts.Key(*this_kernel(), compiler, program, constants)
            measured[key] = result_of(*costs)
    return measured, said


def unknown(table, key):
    """Why the table has nothing to say about this kernel or compiler, or an empty text."""
    if not any(known[:2] == key[:2] for known in table):
        return f"no counts of Linux {key.kernel} on {key.machine} are recorded"
    if not any(known[:3] == key[:3] for known in table):
        return f"no counts of clang {key.compiler} are recorded"
    return ""


def compare(report, table, key, costs):
    name = f"clang {key.compiler}: {key.program}, {key.constants}"
    if costs is None:
        report.result(False, f"{name}: refused")
        return
    if isinstance(costs, str):
        report.result(True, name, costs)
        return
    seen = f"{name}: {costs}"
    if unknown(table, key):
        report.result(True, seen, unknown(table, key))
    elif key not in table:
        report.result(False, f"{seen}: not in the table; tests/verifier/record records it")
    else:
        wanted = table[key]
        grown = any(new > old * GROWTH for new, old in zip(costs, wanted))
        report.result(not grown, seen if not grown else
                      f"{seen}: over 10 % more than {wanted}")


def run():
    report = Report()
    built = [compiler for compiler, _ in objects()]
    for compiler in COMPILERS:
        if compiler not in built:
            report.result(True, f"clang {compiler}", f"clang-{compiler} is not installed")
    measured, said = measure_all()
    table = counts.read()
    for key, costs in measured.items():
        compare(report, table, key, costs)
    report.note(said)
    print(f"1..{report.number}")
    return 1 if report.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="what this kernel gives, as the table "
                        "has it")
    arguments = parser.parse_args()
    if os.geteuid():
        print("1..0 # SKIP loading BPF programs needs root")
        return 0
    if not VERIFY.exists() or not objects():
        print("Bail out! nothing is built: run `make tests`")
        return 1
    if not arguments.print:
        return run()
    measured, said = measure_all()
    sys.stderr.write(said)
    print(counts.text({key: costs for key, costs in measured.items()
                       if isinstance(costs, counts.Costs)}), end="")
    return 1 if None in measured.values() else 0


if __name__ == "__main__":
    sys.exit(main())
