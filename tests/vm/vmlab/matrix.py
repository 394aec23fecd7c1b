# SPDX-License-Identifier: GPL-2.0-only
"""The same test files on several kernels, and one table of what came out."""

import collections
import concurrent.futures
import dataclasses
import json
import math
import threading
import time

from . import BuildFailed, Unavailable
from .machine import LOST, TIMED_OUT, stop_all

STATUSES = ("passed", "failed", "skipped")


@dataclasses.dataclass
class Cell:
    """What one file gave on one kernel."""

    results: list  # of (status, name, reason)
    seconds: float = 0.0
    output: str = ""
    again: tuple = ()  # names of the results that passed at the second run only

    def count(self, status):
        return sum(result[0] == status for result in self.results)

    def __str__(self):
        return "/".join(str(self.count(status)) for status in STATUSES)

    def words(self):
        """As tests/run puts it: "31 passed, 2 skipped"."""
        words = [f"{self.count(status)} {status}" for status in STATUSES if self.count(status)]
        if self.again:
            words.append(f"{len(self.again)} at the second run")
        return ", ".join(words)


class _Listener:
    """The machine's standard output: takes the lines of guest/suite apart."""

    def __init__(self, on_done):
        self._rest = b""
        self._on_done = on_done
        self.current = None

    def write(self, data):
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def flush(self):
        """Nothing is held back."""

    def _take(self, message):
        if "begin" in message:
            self.current = message["begin"]
            return
        self.current = None
        self._on_done(message["done"], Cell([tuple(one) for one in message["results"]],
                                            message["seconds"], message["output"],
                                            tuple(message["again"])))


class _Errors:
    """The machine's standard error, kept for the case that the machine is lost."""

    def __init__(self):
        self._data = b""

    def write(self, data):
        self._data = (self._data + data)[-16384:]

    def flush(self):
        """Nothing is held back."""

    def text(self):
        return self._data.decode(errors="replace")


LEAST_SECONDS = 60  # a machine that has less does not come to its tests


class Column:
    """One kernel: the files that are left, and the cells of those that are done."""

    def __init__(self, name, make, plan, report):
        self.name = name
        self.release = ""
        self.unavailable = ""
        self.cells = {}
        self._make = make
        self._plan = dict(plan)
        self._environment = {}
        self._report = report

    def cases(self):
        return sum(len(cases) or 1 for cases in self._plan.values())

    def _done(self, source, cell):
        self.cells[source] = cell
        self._report(self, source, cell)

    def _left(self):
        return [(source, cases) for source, cases in self._plan.items() if source not in self.cells]

    def run(self, file_limit, limit):
        """Boot, run what is left, and boot again if a test took the machine with it."""
        deadline = time.monotonic() + limit
        if limit < LEAST_SECONDS:
            self.unavailable = f"no time was left for {self.name}"
            return self
        try:
            machine, self._environment = self._make(limit)
        except Unavailable as reason:
            self.unavailable = str(reason)
            return self
        except BuildFailed as error:
            self._done("build", Cell([("failed", "the build", "")], 0.0, str(error)))
            return self
        self.release = machine.kernel.release
        while self._left():
            left = deadline - time.monotonic()
            if left <= 0 or not self._boot(machine, file_limit, left):
                break
        for source, _ in self._left():
            self._done(source, Cell([("skipped", "all", f"no time was left for {self.name}")]))
        return self

    def _boot(self, machine, file_limit, limit):
        """False if the next boot would come to the same."""
        errors = _Errors()
        listener = _Listener(self._done)
        command = ["tests/vm/guest/suite", json.dumps(self._left()), str(file_limit)]
        before = len(self.cells)
        try:
            status = machine.run(command, self._environment, limit, listener, errors)
        except Unavailable as reason:
            self.unavailable = str(reason)
            return False
        if listener.current and status != TIMED_OUT:
            what = "the machine was lost" if status == LOST else f"exit status {status}"
            self._done(listener.current, Cell([("failed", what, "")], 0.0, errors.text()))
        elif status and status != TIMED_OUT and len(self.cells) == before:
            source = self._left()[0][0]
            self._done(source, Cell([("failed", f"not started: exit status {status}", "")], 0.0,
                                    errors.text()))
        return status != TIMED_OUT


class Matrix:
    """All columns, a number of machines at a time."""

    def __init__(self, say):
        self.columns = []
        self._say = say
        self._lock = threading.Lock()

    def add(self, name, make, plan):
        """make() gives the machine and the environment of its commands."""
        self.columns.append(Column(name, make, plan, self._report))

    def _report(self, column, source, cell):
        with self._lock:
            mark = "FAIL" if cell.count("failed") else "ok"
            self._say(f"{mark:4} {column.name:7} {source:36} {cell.seconds:6.1f} s  "
                      f"{cell.words()}")
            if cell.count("failed"):
                self._say("\n".join(f"    | {line}" for line in cell.output.splitlines()))

    def run(self, machines, file_limit, limit, total=math.inf):
        """The limits are seconds: for a file on a kernel, for a kernel, and for all kernels."""
        end = time.monotonic() + total

        def run_column(column):
            return column.run(file_limit, min(limit, end - time.monotonic()))

        with concurrent.futures.ThreadPoolExecutor(machines) as pool:
            # That with the most to do last would leave the other machines idle.
            waiting = [pool.submit(run_column, column)
                       for column in sorted(self.columns, key=Column.cases, reverse=True)]
            try:
                for one in waiting:
                    one.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                stop_all()
                raise

    def total(self, status):
        """Results of that status in all columns; a kernel that could not be had is one skipped."""
        total = sum(cell.count(status) for column in self.columns
                    for cell in column.cells.values())
        if status == "skipped":
            total += sum(bool(column.unavailable) for column in self.columns)
        return total

    def _rows(self):
        """A row a file, a column a kernel."""
        sources = {source for column in self.columns for source in column.cells}
        return [["passed/failed/skipped", *(column.name for column in self.columns)],
                *([source, *(str(column.cells.get(source, "-")) for column in self.columns)]
                  for source in sorted(sources))]

    def table(self):
        rows = self._rows()
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        return [f"{row[0]:{widths[0]}}  " + "  ".join(
            f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:])) for row in rows]

    def markdown(self, title):
        """The table for a document, with what was skipped and why."""
        head, *rows = self._rows()
        releases = ["release", *(column.release or "not to be had" for column in self.columns)]
        lines = [title, "", *("| " + " | ".join(row) + " |" for row in (
            head, ["---"] + ["---:"] * len(self.columns), releases,
            *([f"`{source}`", *cells] for source, *cells in rows)))]
        for name, reasons in (("Failed", self.failures()), ("Skipped", self.skips())):
            if reasons:
                lines += ["", f"{name}:", "", *(f"- {reason}" for reason in reasons)]
        return "\n".join(lines) + "\n"

    def skips(self):
        """Lines: each reason once, with how often and where."""
        found = collections.defaultdict(lambda: (collections.Counter(), set()))
        for column in self.columns:
            if column.unavailable:
                found[column.unavailable][0][column.name] += 1
            for source, cell in column.cells.items():
                for status, _, reason in cell.results:
                    if status == "skipped":
                        found[reason][0][column.name] += 1
                        found[reason][1].add(source.rpartition("/")[2])
        return [f"{reason}: " + ", ".join(f"{count} on {name}" for name, count in counts.items())
                + (f" ({', '.join(sorted(files))})" if files else "")
                for reason, (counts, files) in sorted(found.items())]

    def repeated(self):
        return [f"{column.name} {source}: {name}" for column in self.columns
                for source, cell in column.cells.items() for name in cell.again]

    def failures(self):
        return [f"{column.name} {source}: {name}" for column in self.columns
                for source, cell in column.cells.items()
                for status, name, _ in cell.results if status == "failed"]
