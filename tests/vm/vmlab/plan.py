# SPDX-License-Identifier: GPL-2.0-only
"""Which test files run on which kernel, and of the long ones which cases.

A processor in software is ten to twenty times slower than the one that emulates it, and the host's
own kernel runs every case anyway. So a file that goes through many values of one thing (kinds of
NAT, kinds of change) is cut here to cases that meet every hook and every path in the kernel; a file
that is not named runs whole.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent

DIRECTORIES = ("tests/packet", "tests/net")

# Floods measure how the daemon stands load: an emulated machine is under load by itself.
LEFT_OUT = ("tests/net/flood_test.py",)

CASES = {
    "tests/net/offload_test.py": (
        "offload masquerade", "offload both", "hook is chosen", "table is full",
        "conntrack keeps its nat"),
}

QUICK_KERNELS = ("6.1", "6.12")

QUICK = {
    "tests/packet/control_test.c": (),
    "tests/packet/encapsulation_test.c": (),
    "tests/packet/flow_test.c": (),
    "tests/packet/live_test.c": (),
    "tests/packet/walk_test.c": (),
    "tests/net/clsact_test.py": (),
    "tests/net/offload_test.py": ("offload masquerade", "hook is chosen"),
}


def complete():
    """Every file with its cases (none: all of them)."""
    found = [str(path.relative_to(ROOT)) for directory in DIRECTORIES
             for path in sorted((ROOT / directory).glob("*_test.*"))
             if re.fullmatch(r".*_test\.(c|py)", path.name)]
    return [(source, CASES.get(source, ())) for source in found if source not in LEFT_OUT]


def quick():
    return list(QUICK.items())
