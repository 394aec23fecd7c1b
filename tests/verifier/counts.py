# SPDX-License-Identifier: GPL-2.0-only
"""counts.tsv: what each program has cost on each kernel when it was last recorded."""

import pathlib
import typing

FILE = pathlib.Path(__file__).resolve().parent / "counts.tsv"


class Key(typing.NamedTuple):
    machine: str
    kernel: str  # series: "6.12"
    compiler: str  # clang's major version
    program: str
    constants: str  # those that are true, or "none"


class Costs(typing.NamedTuple):
    processed: int
    translated: int

    def __str__(self):
        return f"{self.processed} processed, {self.translated} translated"


def parse(text):
    table = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            *key, processed, translated = line.split("\t")
            table[Key(*key)] = Costs(int(processed), int(translated))
    return table


def read():
    return parse(FILE.read_text(encoding="ascii")) if FILE.exists() else {}


def _order(item):
    key = item[0]
    series = tuple(map(int, key.kernel.split(".")))
    return (key.machine != "x86_64", key.machine, series, int(key.compiler), key.program,
            key.constants)


def text(table):
    return "".join("\t".join(map(str, (*key, *costs))) + "\n"
                   for key, costs in sorted(table.items(), key=_order))


def write(table):
    head = "# " + "\t".join((*Key._fields, *Costs._fields)) + "\n"
    FILE.write_text("# Written by tests/verifier/record\n" + head + text(table), encoding="ascii")
