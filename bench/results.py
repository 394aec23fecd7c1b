# SPDX-License-Identifier: GPL-2.0-only
"""Figures of all benchmarks in one long CSV format, which bench/plot and bench/targets read.

    # date 2026-11-21
    # kernel 6.18.5 x86_64
    # machine AMD EPYC, 2 CPUs
    bench,case,figure,unit,n,median,q1,q3
    run,v4/bpfw-xdp,cost,ns,9,100.1,99.9,100.5

A case may have parts, separated by "/". n is the number of samples; quartiles are empty where they
do not apply (one sample, or a percentile of n samples).

    figures = Figures("cpus")
    figures.add("2 CPUs/xdp", "rate", "packets/s", samples)    # median and quartiles of samples
    figures.put("2 CPUs/xdp", "p99", "ms", value, n=10000)     # what is one number
    figures.write(options.csv)                                 # does nothing if that is None

results.add_option(parser) gives a benchmark its --csv option.
"""

import csv
import os
import platform
import time
import typing

import report

FIELDS = ["bench", "case", "figure", "unit", "n", "median", "q1", "q3"]


class Figure(typing.NamedTuple):
    """One row. q1 and q3 are None where there are none."""
    bench: str
    case: str
    figure: str
    unit: str
    n: int
    median: float
    q1: typing.Optional[float] = None
    q3: typing.Optional[float] = None

    @property
    def key(self):
        return self.bench, self.case, self.figure


class FormatError(Exception):
    """A file that is not in the format, or two files that contradict each other."""


def add_option(parser):
    parser.add_argument("--csv", metavar="FILE",
                        help="write medians and quartiles there, in the format of bench/results.py")


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown CPU"


def conditions():
    """What the figures depend on besides bpfw."""
    return {"date": time.strftime("%Y-%m-%d"),
            "kernel": f"{platform.release()} {platform.machine()}",
            "machine": f"{cpu_model()}, {os.cpu_count()} CPUs"}


class Figures:
    """What one benchmark has measured. note: a condition that a reader has to know."""

    def __init__(self, bench, note=""):
        self.bench, self.note = bench, note
        self.rows = []

    def add(self, case, figure, unit, samples):
        """Samples are numbers, or a report.Spread; without any there is no row."""
        of = samples if isinstance(samples, report.Spread) else report.spread(samples or ())
        if not of:
            return
        quartiles = (of.q1, of.q3) if len(of.values) > 1 else (None, None)
        self.rows.append(Figure(self.bench, case, figure, unit, len(of.values), of.median,
                                *quartiles))

    def put(self, case, figure, unit, value, n=1):
        """One number; None is no row."""
        if value is not None:
            self.rows.append(Figure(self.bench, case, figure, unit, n, value))

    def put_all(self, case, values, units):
        """Those of the values, by name, that have a unit."""
        for name, unit in units.items():
            self.put(case, name, unit, values.get(name))

    def write(self, path):
        """A path of None is an option that was not given."""
        if not path:
            return
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        said = {**conditions(), **({"note": self.note} if self.note else {})}
        with open(path, "w", newline="", encoding="utf-8") as file:
            file.writelines(f"# {name} {value}\n" for name, value in said.items())
            table = csv.writer(file, lineterminator="\n")
            table.writerow(FIELDS)
            table.writerows([*row[:5], *map(number, row[5:])] for row in self.rows)


def number(value):
    """Six significant digits, without an exponent where there need be none."""
    if value is None:
        return ""
    value = float(f"{value:.6g}")
    return str(int(value)) if value.is_integer() else repr(value)


class Table:
    """The rows of one file or of several."""

    def __init__(self):
        self.rows = {}  # by bench, case, figure
        self._conditions = {}  # by bench, and by the first part of the case

    def get(self, bench, case, figure):
        """None if it has not been measured."""
        return self.rows.get((bench, case, figure))

    def of(self, bench, prefix=""):
        """The rows of a benchmark whose case begins so, in order."""
        return [row for row in self.rows.values()
                if row.bench == bench and row.case.startswith(prefix)]

    def conditions(self, bench, part=None):
        """What the file said that has the figures of a benchmark, or of those cases of it whose
        first part is given. Empty if there are none."""
        return next((said for key, said in self._conditions.items()
                     if key[0] == bench and part in (None, key[1])), {})

    def read(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            lines = file.read().splitlines()
        said = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
        table = csv.DictReader(line for line in lines if not line.startswith("#"))
        if table.fieldnames != FIELDS:
            raise FormatError(f"{path}: its columns are not {','.join(FIELDS)}")
        for row in table:
            self._take(path, row, said)

    def _take(self, path, row, said):
        try:
            figure = Figure(row["bench"], row["case"], row["figure"], row["unit"], int(row["n"]),
                            float(row["median"]), *(float(row[name]) if row[name] else None
                                                    for name in ("q1", "q3")))
        except (TypeError, ValueError) as error:
            raise FormatError(f"{path}: {row}: {error}") from error
        if figure.key in self.rows:
            raise FormatError(f"{path}: {', '.join(figure.key)} is in another row, too: of two "
                              "runs keep one")
        self.rows[figure.key] = figure
        self._conditions[figure.bench, figure.case.split("/")[0]] = said


def read_directory(directory):
    """All of its .csv files as one table."""
    table = Table()
    for name in sorted(os.listdir(directory)):
        if name.endswith(".csv"):
            table.read(os.path.join(directory, name))
    return table
