#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The quick part of the matrix (tests/vm/check --quick) as TAP: one result a kernel and file.

Time is bounded: what would not fit is skipped, and says so.
"""

import signal
import sys

from vmlab import machines, plan
from vmlab.matrix import Matrix

LIMIT = 840  # seconds for all; tests/run ends a file after 900


def say(text):
    print("\n".join(f"# {line}" for line in text.splitlines()), flush=True)


def report(matrix):
    """A file none of whose tests can run there is skipped, and so is a kernel that is not there."""
    number = failed = 0
    for column in matrix.columns:
        cells = column.cells.items()
        if column.unavailable and not cells:
            number += 1
            print(f"ok {number} - {column.name} # SKIP {column.unavailable}")
        for source, cell in cells:
            number += 1
            failed += bool(cell.count("failed"))
            mark = "not ok" if cell.count("failed") else "ok"
            skipped = "" if cell.count("passed") or cell.count("failed") else " # SKIP " + (
                cell.results[0][2] or "no reason given")
            print(f"{mark} {number} - {column.name} {source}: {cell.words()}{skipped}")
    print(f"1..{number}", flush=True)
    return failed


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    matrix = Matrix(say)
    for name in plan.QUICK_KERNELS:
        matrix.add(name, lambda limit, name=name: machines.make(name, limit), plan.quick(name))
    matrix.run(machines=2, file_limit=LIMIT, limit=LIMIT, total=LIMIT)
    for line in matrix.table():
        say(line)
    return 1 if report(matrix) else 0


if __name__ == "__main__":
    sys.exit(main())
