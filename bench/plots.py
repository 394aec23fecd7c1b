# SPDX-License-Identifier: GPL-2.0-only
"""The charts of docs/performance.md, from figures in the format of results.py."""

import svg
import tables
from svg import Bar, Line

COLOURS = {"kernel": 0, "redirect": 0, "bpfw-tc": 2, "bpfw-xdp": 1}


def colour(case):
    """The same for the same thing in every chart; what is no fast path is grey."""
    case = case.removeprefix("tcp-").removeprefix("mtu-").removesuffix("-nogro")
    return COLOURS.get(case.removesuffix("-100"), 0)


def bar(table, key, label, form, aim=None, factor=1):
    figure = table.get(*key)
    if not figure:
        return None
    q1, q3 = (None if q is None else q * factor for q in (figure.q1, figure.q3))
    return Bar(label, figure.median * factor, form.format(figure.median * factor), colour(label),
               q1, q3, aim)


def note(table, *source):
    return tables.describe(table.conditions(*source))


def cost(table, name, title, cases):
    rows = [bar(table, ("run", f"{name}/{case}", "cost"), case, "{:.0f} ns") for case in cases]
    rows = [row and row._replace(text=row.text + times(table, name, row.label)) for row in rows]
    return chart(rows, title, note(table, "run", name),
                 "Nanoseconds a packet, less the generator's")


def times(table, name, case):
    figure = table.get("run", f"{name}/{case}", "times-cheaper")
    return f" (1/{figure.median:.1f})" if figure and figure.median >= 1.05 else ""


def chart(rows, *arguments, **options):
    """None without a row."""
    rows = [row for row in rows if row]
    return svg.bars(*arguments, rows, **options) if rows else None


def costs(table):
    titles = {"v4": "Cost of a packet: UDP over IPv4, 60 bytes",
              "v6": "Cost of a packet: UDP over IPv6, 62 bytes",
              "imix": "Cost of a packet: UDP over IPv4, mix of sizes",
              "imix6": "Cost of a packet: UDP over IPv6, mix of sizes"}
    for name, title in titles.items():
        yield f"cost-{name}", cost(table, name, title, tables.CASES)
    yield "cost-rules", cost(table, "rules", "Cost of a packet with firewall4's 113 rules",
                             tables.RULES_CASES)


def tcp(table):
    rows = [bar(table, ("run", f"tcp/{case}", "throughput"), case, "{:.1f} Gbit/s")
            for case in tables.TCP_CASES]
    return chart(rows, "Bulk TCP, one connection", note(table, "run", "tcp"), "Gbit/s")


def peers(table):
    rows = []
    for case in tables.parts(table, "peers"):
        if case[:2] == tuple(tables.VM.split("/")):
            rows.append(bar(table, ("peers", "/".join(case), "flowtable-ratio"), case[2],
                            "{:.2f} times"))
    return chart(rows, "How many times cheaper than nft's flowtable", note(table, "peers"),
                 "Cost of the flowtable / cost of the case")


def points(table, bench, prefix, figure, factor=1):
    """(number at the end of the case, median, q1, q3), by number."""
    found = []
    for row in table.of(bench, prefix):
        if row.figure == figure:
            values = (None if value is None else value * factor
                      for value in (row.median, row.q1, row.q3))
            found.append((int(row.case.rsplit("/", 1)[1]), *values))
    return sorted(found)


def scale(table):
    series = [Line(case, points(table, "scale", f"{case}/", "rate", 1e-6), index)
              for case, index in (("redirect", 0), ("bpfw-xdp", 1), ("bpfw-tc", 2),
                                  ("kernel-masq", 4))]
    series = [one for one in series if len(one.points) > 1]
    return svg.lines("Rate with ever more flows, visited round robin", note(table, "scale"),
                     "flows", "million packets a second", series) if series else None


def filter_cost(table):
    series = [Line(system, points(table, "filter", f"drop-random/{system}/", "cost"), index)
              for system, index in (("bpfw-xdp", 1), ("bpfw-tc", 2), ("nft-set", 3),
                                    ("iptables-legacy", 0), ("iptables-nft", 4))]
    series = [one for one in series if len(one.points) > 1]
    return svg.lines("Cost of a drop, rules hit at random", note(table, "filter"), "rules",
                     "nanoseconds a packet, less the generator's", series,
                     logarithmic=True) if series else None


def set_ups(table):
    series = [Line(name, points(table, "change", "udp/xdp/", figure), index)
              for name, figure, index in (("p99", "p99_ms", 1), ("p50", "p50_ms", 2))]
    series = [one for one in series if len(one.points) > 1]
    return svg.lines("From established to offloaded, bpfw at XDP", note(table, "change", "udp"),
                     "new UDP flows a second", "milliseconds", series) if series else None


def daemon(table):
    aims = {target.key[1]: 100 * target.aim for target in tables.TARGETS
            if target.key[0] == "daemon"}
    rows = [bar(table, ("daemon", part, "cpu_share"), part, "{:.3g} %", aims.get(part), 100)
            for (part,) in tables.parts(table, "daemon")]
    rows = [row and row._replace(colour=1, value=max(row.value, 1e-4)) for row in rows]
    return chart(rows, "CPU time of the daemon", note(table, "daemon")
                 + ("; the mark is the target" if aims else ""), "Per cent of a CPU",
                 logarithmic=True)


def stages(table):
    """The hit that a home router has most of: masquerade between plain frames."""
    case = next((row.case for row in table.of("program", "bpfw_xdp/hit/")
                 if "NAT" in row.case and "UDP" in row.case), None)
    if not case:
        return None
    rows = [bar(table, ("program", case, stage), stage, "{:.0f}") for stage in tables.STAGES]
    rows = [row and row._replace(colour=1) for row in rows]
    return chart(rows, "Executed instructions of a hit by stage", case, "instructions")


def all_charts(table):
    """(name, SVG) of every chart there are figures for."""
    charts = [*costs(table), ("tcp", tcp(table)), ("peers", peers(table)),
              ("scale", scale(table)), ("set-ups", set_ups(table)), ("daemon", daemon(table)),
              ("stages", stages(table)), ("filter", filter_cost(table))]
    return [(name, image) for name, image in charts if image]
