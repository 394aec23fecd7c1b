#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Figures, charts and tables: docs/performance.md and the charts beside it are those of the CSV
files in docs/performance, the charts are well-formed and depend on the figures alone, and a target
is met only by a figure that meets it."""

import pathlib
import re
import sys
import tempfile
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests")]
sys.dont_write_bytecode = True

import plots  # noqa: E402
import results  # noqa: E402
import tables  # noqa: E402
from tap import Report  # noqa: E402

FIGURES = ROOT / "docs" / "performance"
DOCUMENT = ROOT / "docs" / "performance.md"
SVG = "{http://www.w3.org/2000/svg}"
AGAIN = "bench/plot && bench/targets --document docs/performance.md"


def samples(middle):
    return [0.9 * middle, middle, 1.1 * middle]


def write_everything(directory, value=None):
    """Figures of every chart and table; each target's is just met, or value times that."""
    figures = {name: results.Figures(name) for name in
               ("run", "scale", "change", "daemon", "peers", "program", "filter")}
    for target in tables.TARGETS:
        bench, case, figure = target.key
        figures[bench].put(case, figure, "unit", target.aim * (value or 1))
        for key, _ in [target.also] if target.also else ():
            figures[key[0]].put(*key[1:], "flows", 0 if value is None else 3)
    for name in (*tables.SETS, "rules"):
        for case in {*tables.CASES, *tables.RULES_CASES}:
            figures["run"].add(f"{name}/{case}", "cost", "ns", samples(100))
            figures["run"].add(f"{name}/{case}", "rate", "packets/s", samples(1e6))
    for case in tables.TCP_CASES:
        figures["run"].add(f"tcp/{case}", "throughput", "Gbit/s", samples(5))
    for case in tables.SCALE_CASES:
        for flows in (64, 1000, 1000000):
            figures["scale"].add(f"{case}/{flows}", "rate", "packets/s", samples(3e6))
    for system in tables.FILTER_SYSTEMS:
        for rules in (1, 100, 10000):
            figures["filter"].add(f"drop-random/{system}/{rules}", "cost", "ns", samples(9 * rules))
    for rate in (1000, 40000):
        for percentile in ("p50_ms", "p99_ms"):
            figures["change"].put(f"udp/xdp/{rate}", percentile, "ms", 2)
    for stage in (*tables.STAGES, "instructions"):
        figures["program"].put("bpfw_xdp/hit/UDP/IPv4, NAT, a < b & c", stage, "instructions", 9)
    for name, of in figures.items():
        of.write(f"{directory}/{name}.csv")


def test_charts(report, directory):
    charts = plots.all_charts(results.read_directory(directory))
    report.result(len(charts) == 12, f"a chart of each kind: {len(charts)}")
    again = plots.all_charts(results.read_directory(directory))
    report.result(charts == again, "the same figures make the same charts")
    for name, image in charts:
        check_chart(report, name, image)


def check_chart(report, name, image):
    """What a reader without eyes needs, and nothing beyond the edges."""
    try:
        root = xml.fromstring(image)
    except xml.ParseError as error:
        report.result(False, f"{name}: {error}")
        return
    told = [root.findtext(SVG + tag) for tag in ("title", "desc")]
    named = root.get("aria-labelledby") == "title desc" and root.get("role") == "img"
    width, height = (float(root.get(name)) for name in ("width", "height"))
    outside = [item for item in root.iter() for axis, most in (("x", width), ("y", height))
               if item.get(axis) and not 0 <= float(item.get(axis)) <= most]
    report.result(all(told) and named and not outside and len(list(root.iter(SVG + "text"))) > 4,
                  f"{name}: well-formed, says what it shows, inside its edges")


def test_targets(report, directory):
    met = results.read_directory(directory)
    report.result(all(target.met(met) for target in tables.TARGETS),
                  "a figure that is just the target's meets it")
    for value, what in ((0.9, "at_least"), (1.1, "at most")):
        with tempfile.TemporaryDirectory() as other:
            write_everything(other, value)
            table = results.read_directory(other)
        wrong = [target.text for target in tables.TARGETS
                 if target.met(table) != (target.at_least != (what == "at_least")
                                          and not target.also)]
        report.result(not wrong, f"{value} of it: only where that is better: {wrong}")
    with tempfile.TemporaryDirectory() as empty:
        table = results.read_directory(empty)
    report.result({target.met(table) for target in tables.TARGETS} == {None}
                  and all("not measured" in row for row in tables.targets(table)[1:]),
                  "without figures nothing is said of a target")
    report.result(len(tables.TARGETS) == 26, "all targets are there")


def refuses(directory, text):
    path = pathlib.Path(directory) / "more.csv"
    path.write_text(text, encoding="utf-8")
    try:
        results.read_directory(directory)
    except results.FormatError:
        return True
    finally:
        path.unlink()
    return False


def test_format(report, directory):
    head = ",".join(results.FIELDS)
    report.result(refuses(directory, f"{head}\nrun,v4/bpfw-xdp,cost,ns,3,1,1,1\n"),
                  "two rows of one figure are refused")
    report.result(refuses(directory, f"{head}\nrun,new,cost,ns,3,much,,\n"),
                  "what is no number is refused")
    report.result(refuses(directory, "case,cost\nnew,3\n"), "other columns are refused")
    of = results.Figures("run")
    of.add("case", "cost", "ns", [1.23456789, 2, 3])
    path = pathlib.Path(directory) / "one.csv"
    of.write(path)
    table = results.Table()
    table.read(path)
    path.unlink()
    row = table.get("run", "case", "cost")
    report.result((row.n, row.median, row.q1, row.q3) == (3, 2, 1.61728, 2.5)
                  and table.conditions("run", "case")["kernel"],
                  "what is written is read, with its conditions")


def test_committed(report):
    table = results.read_directory(FIGURES)
    charts = {f"{name}.svg": image for name, image in plots.all_charts(table)}
    committed = {path.name: path.read_text(encoding="utf-8") for path in FIGURES.glob("*.svg")}
    wrong = [name for name in {**charts, **committed} if charts.get(name) != committed.get(name)]
    report.result(charts and not wrong, "docs/performance: the charts are those of the figures"
                  + (f": not {', '.join(sorted(wrong))}; {AGAIN}" if wrong else ""))
    text = DOCUMENT.read_text(encoding="utf-8")
    names = [name.removesuffix(".svg") for name in charts]
    report.result(text == tables.fill(text, table, names),
                  f"docs/performance.md: the tables are those of the figures, else: {AGAIN}")
    blocks = re.findall(r"^<!-- from the figures: ([\w-]+) -->$", text, re.MULTILINE)
    report.result(set(blocks) == {*tables.TABLES, "at-a-glance"} and len(blocks) == len(set(blocks))
                  and text.count("<!-- from") == text.count("<!-- end -->"),
                  "docs/performance.md: every table is there, once")
    shown = re.findall(r"^<!-- from the figures: chart ([\w-]+): ", text, re.MULTILINE)
    report.result(set(names) <= set(shown), "docs/performance.md: every chart is shown")


def main():
    report = Report()
    with tempfile.TemporaryDirectory() as directory:
        write_everything(directory)
        test_charts(report, directory)
        test_targets(report, directory)
        test_format(report, directory)
    test_committed(report)
    print(f"1..{report.number}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
