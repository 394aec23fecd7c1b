# SPDX-License-Identifier: GPL-2.0-only
"""Tables for docs/performance.md from figures in the format of results.py: those of the targets,
and one for each kind of measurement. Cells of what has not been measured are a dash."""

import typing

UNMEASURED = "-"
SETS = ("v4", "v6", "imix", "imix6")
CASES = ("kernel", "kernel-masq", "bpfw-tc", "bpfw-xdp", "redirect", "redirect-tc")
RULES_CASES = ("kernel-masq", "kernel-masq-100", "bpfw-tc-100", "bpfw-xdp-100", "bpfw-xdp",
               "redirect")
TCP_CASES = ("tcp-kernel-masq", "tcp-bpfw-tc", "tcp-redirect-tc", "tcp-mtu-kernel-masq",
             "tcp-mtu-bpfw-tc", "tcp-mtu-redirect-tc", "tcp-mtu-bpfw-xdp",
             "tcp-mtu-kernel-masq-nogro", "tcp-mtu-bpfw-tc-nogro")
SCALE_CASES = ("kernel-masq", "bpfw-tc", "bpfw-xdp", "redirect")
FILTER_SYSTEMS = ("bpfw-xdp", "bpfw-tc", "nft-set", "iptables-legacy", "iptables-nft")
FILTER_PLACES = ("first", "last", "random")
STAGES = ("entry", "parse", "lookup", "check", "egress", "link", "account", "rewrite")


class Target(typing.NamedTuple):
    """A row of the issue's table. form: how its number is written; factor: for the reader."""
    text: str
    key: tuple  # bench, case, figure
    at_least: bool
    aim: float
    form: str = "{:.2f}"
    factor: float = 1
    also: tuple = ()  # another figure that has to be zero, and what it counts

    def met(self, table):
        """None if it has not been measured."""
        figure = table.get(*self.key)
        if figure is None or (self.also and table.get(*self.also[0]) is None):
            return None
        good = figure.median >= self.aim if self.at_least else figure.median <= self.aim
        return good and (not self.also or table.get(*self.also[0]).median == 0)

    def write(self, value):
        return self.form.format(value * self.factor)


def percent(text, key, aim, form="{:.1f} %", **more):
    return Target(text, key, False, aim, form, 100, **more)


VM = "6.12/time"
FILTERED = (("drop", "in a router"), ("input", "on a server"))

TARGETS = (
    Target("bpfw xdp / bare static redirect, packets per second",
           ("run", "v4/bpfw-xdp", "of-redirect"), True, 0.92),
    Target("stack with masquerade / bpfw xdp, cost per packet",
           ("run", "v4/bpfw-xdp", "times-cheaper"), True, 5.7, "{:.1f}"),
    Target("stack with masquerade / bpfw tc, cost per packet",
           ("run", "v4/bpfw-tc", "times-cheaper"), True, 1.7),
    Target("stack with masquerade and 113 rules / bpfw xdp, cost per packet",
           ("run", "rules/bpfw-xdp-100", "times-cheaper"), True, 8, "{:.1f}"),
    Target("flowtable / bpfw xdp, cost per packet (VM)",
           ("peers", f"{VM}/bpfw-xdp", "flowtable-ratio"), True, 3),
    Target("flowtable / bpfw tc, cost per packet (VM)",
           ("peers", f"{VM}/bpfw-tc", "flowtable-ratio"), True, 1.2),
    Target("bpfw tc / stack, bulk TCP with GRO, throughput",
           ("run", "tcp/tcp-mtu-bpfw-tc", "of-stack"), True, 1.3),
    Target("1M flows / 64 flows, rate of bpfw xdp, flows visited round robin",
           ("scale", "bpfw-xdp/1000000", "of-fewest"), True, 0.5),
    Target("established to offloaded, p99, where 20,000 set-ups a second are asked for",
           ("change", "udp/xdp/20000", "p99_ms"), False, 5, "{:.2f} ms"),
    Target("set-ups per second with half a core of daemon time",
           ("change", "udp", "half-core"), True, 20000, "{:,.0f}"),
    percent("daemon CPU, 100,000 active UDP flows", ("daemon", "active-flows", "cpu_share"), 0.02,
            "{:.2f} %"),
    percent("daemon CPU, 100,000 idle flows", ("daemon", "idle-flows", "cpu_share"), 0.001,
            "{:.3f} %"),
    percent("daemon CPU under the one-packet flood, no offloaded flow displaced",
            ("daemon", "flood", "cpu_share"), 0.05, "{:.2f} %",
            also=(("daemon", "flood", "displaced"), "displaced")),
    Target("start with 100,000 conntrack entries: until ready",
           ("change", "table/xdp", "first_s"), False, 1, "{:.2f} s"),
    Target("kernel memory per offloaded direction, IPv4",
           ("scale", "bpfw-xdp/100000", "table_bytes"), False, 256, "{:.0f} bytes"),
    *(Target(f"filter at XDP {where}, 10,000 rules hit at random / 1 rule{about}, cost of a drop",
             ("filter", f"{kind}-random/bpfw-xdp/10000", figure), False, 1.5)
      for kind, where in FILTERED
      for about, figure in ((" that takes the same packets", "of-network"),
                            (", hit by one flow", "of-one"))),
    Target("cheaper iptables / filter at XDP in a router, 1 rule, cost of a drop",
           ("filter", "drop-random/bpfw-xdp/1", "times-cheaper"), True, 5, "{:.1f}"),
    Target("cheaper iptables / filter at XDP on a server, 1 rule, cost of a drop",
           ("filter", "input-random/bpfw-xdp/1", "times-cheaper"), True, 5, "{:.1f}"),
    *(Target(f"{other} / filter at XDP {where}, 1,000 rules hit at random, cost of a drop",
             ("filter", f"{kind}-random/bpfw-xdp/1000", f"{other}-ratio"), True, 50, "{:.1f}")
      for kind, where in FILTERED
      for other in ("iptables-nft", "iptables-legacy")),
    Target("filter: load of 10,000 rules",
           ("filter", "load/bpfw-xdp/10000", "time"), False, 2, "{:.2f} s"),
)


def quartiles(figure, write):
    if figure.q1 is None:
        return ""
    return f" [{write(figure.q1)}..{write(figure.q3)}]"


def target_row(table, target):
    figure, met = table.get(*target.key), target.met(table)
    aim = f"{'>=' if target.at_least else '<='} {target.write(target.aim)}"
    if met is None:
        return [target.text, aim, UNMEASURED, "not measured"]
    said = target.write(figure.median) + quartiles(figure, target.write)
    if target.also:
        key, what = target.also
        said += f", {table.get(*key).median:.0f} {what}"
    return [target.text, aim, said, "met" if met else "**missed**"]


def targets(table):
    return [["figure", "target", "measured", ""]] + [target_row(table, one) for one in TARGETS]


# ---- One table for each kind of measurement ------------------------------------------------


def cell(figure, form="{:.2f}", factor=1, spread=True):
    if figure is None:
        return UNMEASURED

    def write(value):
        return form.format(value * factor)

    return write(figure.median) + (quartiles(figure, write) if spread else "")


def cost_rows(table, name, cases, stack):
    rows = [["case", "Mpps", "ns/packet", "of the redirect's rate", f"{stack} / it, cost",
             "above its limit, ns"]]
    for case in cases:
        key = "run", f"{name}/{case}"
        if table.get(*key, "rate"):
            rows.append([case, cell(table.get(*key, "rate"), "{:.3f}", 1e-6),
                         cell(table.get(*key, "cost"), "{:.0f}"),
                         cell(table.get(*key, "of-redirect")),
                         cell(table.get(*key, "times-cheaper"), "{:.1f}"),
                         cell(table.get(*key, "above-limit"), "{:.0f}")])
    return rows


def tcp(table):
    rows = [["case", "Gbit/s", "of the stack's", "retransmits"]]
    for case in TCP_CASES:
        key = "run", f"tcp/{case}"
        if table.get(*key, "throughput"):
            rows.append([case, cell(table.get(*key, "throughput")),
                         cell(table.get(*key, "of-stack")),
                         cell(table.get(*key, "retransmits"), "{:.0f}", spread=False)])
    return rows


def parts(table, bench):
    """The cases of a benchmark, in order, split at their slashes."""
    return list(dict.fromkeys(tuple(row.case.split("/")) for row in table.of(bench)))


def flow_counts(table):
    return sorted({int(case[1]) for case in parts(table, "scale")})


def scale(table):
    counts = flow_counts(table)
    rows = [["case"] + [f"{count:,} flows" for count in counts] + ["most / fewest"]]
    for case in SCALE_CASES:
        cells = [cell(table.get("scale", f"{case}/{count}", "rate"), "{:.2f}", 1e-6)
                 for count in counts]
        last = counts and table.get("scale", f"{case}/{counts[-1]}", "of-fewest")
        if last:
            rows.append([case, *cells, cell(last)])
    return rows


def memory(table):
    rows = [["flows", "flow table, bytes/direction", "all maps, bytes/direction", "daemon, MB",
             "daemon, bytes/flow"]]
    for count in flow_counts(table):
        key = "scale", f"bpfw-xdp/{count}"
        if table.get(*key, "daemon_pss"):
            rows.append([f"{count:,}", cell(table.get(*key, "table_bytes"), "{:.0f}"),
                         cell(table.get(*key, "all_bytes"), "{:.0f}"),
                         cell(table.get(*key, "daemon_pss"), "{:.1f}", 1e-6),
                         cell(table.get(*key, "daemon_bytes"), "{:.0f}")])
    return rows


def daemon(table):
    rows = [["part", "flows", "frames/s", "daemon CPU", "flows left", "lost"]]
    for (part,) in parts(table, "daemon"):
        get = [table.get("daemon", part, name)
               for name in ("flows", "rate", "cpu_share", "left", "lost")]
        rows.append([part, cell(get[0], "{:,.0f}"), cell(get[1], "{:,.0f}"),
                     cell(get[2], "{:.3f} %", 100), cell(get[3], "{:,.0f}"),
                     cell(get[4], "{:.2f} %", 100)])
    return rows


def set_ups(table):
    rows = [["set-ups", "a second", "offloaded", "p50, ms", "p99, ms", "max, ms", "daemon CPU",
             "us each", "lost"]]
    for case in parts(table, "change"):
        if case[0] in ("udp", "tcp") and len(case) > 1:
            get = {name: table.get("change", "/".join(case), name) for name in
                   ("per_second", "fast", "p50_ms", "p99_ms", "max_ms", "cpu_share", "cpu_us",
                    "lost")}
            rows.append([f"{case[0].upper()}, {case[1]}", cell(get["per_second"], "{:,.0f}"),
                         cell(get["fast"], "{:.1f} %", 100), cell(get["p50_ms"]),
                         cell(get["p99_ms"]), cell(get["max_ms"]),
                         cell(get["cpu_share"], "{:.1f} %", 100), cell(get["cpu_us"], "{:.1f}"),
                         cell(get["lost"], "{:.3f} %", 100)])
    return rows


CHANGES = (("table/xdp", "start with a table of entries: ready / all offloaded"),
           ("flush/xdp", "`conntrack -F`: returned / no flow left"),
           ("old-flush/xdp", "`conntrack -F`, entries older than bpfw: returned / no flow left"),
           ("flap/xdp", "route changes: last frame the old way / all in the fast path again"))


def changes(table):
    rows = [["change", "flows", "first, s", "all, s", "daemon CPU", "us each"]]
    for case, title in CHANGES:
        if table.get("change", case, "flows"):
            rows.append([title] + [cell(table.get("change", case, name), form, factor)
                                   for name, form, factor in
                                   (("flows", "{:,.0f}", 1), ("first_s", "{:.3f}", 1),
                                    ("all_s", "{:.2f}", 1), ("cpu_share", "{:.0f} %", 100),
                                    ("cpu_us", "{:.1f}", 1))])
    return rows


def stages(table):
    """Of the hits at XDP."""
    rows = [["packet", *STAGES, "all", "ns"]]
    for row in table.of("program", "bpfw_xdp/hit/"):
        if row.figure == "instructions":
            rows.append([row.case.split("/", 2)[2]]
                        + [cell(table.get("program", row.case, stage), "{:.0f}")
                           for stage in STAGES]
                        + [f"{row.median:.0f}",
                           cell(table.get("program", row.case, "time"), "{:.0f}")])
    return rows


LATENCY = (("offloading", "first UDP reply -> fast path"),
           ("deletion", "`conntrack -D` -> in the stack"),
           ("deletion_without_events", "the same, entry older than bpfw"),
           ("route_change", "route change -> new egress"),
           ("neighbour_change", "neighbour change -> new MAC"))


def filter_sizes(table):
    return sorted({int(case[-1]) for case in parts(table, "filter") if case[-1].isdigit()})


def filter_costs(table, kind):
    """By place of the rule that is hit; a ruleset of one has but one."""
    sizes = filter_sizes(table)
    rows = [["rule, system"] + [f"{size:,}" for size in sizes]
            + ["most / 1", "iptables-legacy / it", "iptables-nft / it"]]
    for place in FILTER_PLACES:
        for system in FILTER_SYSTEMS:
            case = f"{kind}-{place}/{system}"
            costs = [table.get("filter", f"{case}/{size}", "cost") for size in sizes]
            if any(costs):
                most = f"{case}/{sizes[-1]}"
                rows.append([f"{place}, {system}"] + [cell(cost, "{:.0f}") for cost in costs]
                            + [cell(table.get("filter", most, "of-one"))]
                            + [cell(table.get("filter", most, f"{other}-ratio"), "{:,.1f}")
                               for other in ("iptables-legacy", "iptables-nft")])
    return rows


def filter_loads(table):
    sizes = filter_sizes(table)
    rows = [["load, ms; kernel memory, KB"] + [f"{size:,}" for size in sizes]]
    for system in FILTER_SYSTEMS:
        keys = [("filter", f"load/{system}/{size}") for size in sizes]
        if any(table.get(*key, "time") for key in keys):
            rows.append([system] + [
                f"{cell(table.get(*key, 'time'), '{:.0f}', 1e3)}; "
                f"{cell(table.get(*key, 'memory'), '{:,.0f}', 1 / 1024, spread=False)}"
                for key in keys])
    return rows


def latency(table):
    rows = [["change", "hook", "median, ms", "p99", "max"]]
    for case, title in LATENCY:
        for hook in ("tc", "xdp"):
            key = "latency", f"{case}/{hook}"
            if table.get(*key, "time"):
                rows.append([title, hook, cell(table.get(*key, "time"), spread=False),
                             cell(table.get(*key, "p99")), cell(table.get(*key, "max"))])
    return rows


def follow(table):
    """Median / maximum."""
    rows = [["change", "kernel alone", "bpfw tc", "bpfw xdp", "fast again, tc", "fast again, xdp"]]
    for title in dict.fromkeys(row.case.rsplit("/", 1)[0] for row in table.of("follow")):
        cells = [title]
        for figure, hook in (("follows", "kernel"), ("follows", "tc"), ("follows", "xdp"),
                             ("fast-again", "tc"), ("fast-again", "xdp")):
            median = table.get("follow", f"{title}/{hook}", figure)
            most = table.get("follow", f"{title}/{hook}", f"{figure}-max")
            cells.append(f"{cell(median, spread=False)} / {cell(most)}" if median else UNMEASURED)
        rows.append(cells)
    return rows


def peers(table):
    rows = [["case", "flowtable / it, cost", "stack with masquerade / it", "fast path",
             "flowtable / it, instructions"]]
    for case in parts(table, "peers"):
        if case[:2] == tuple(VM.split("/")):
            key = "peers", "/".join(case)
            count = table.get("peers", f"{case[0]}/instructions/{case[2]}", "flowtable-ratio")
            rows.append([case[2], cell(table.get(*key, "flowtable-ratio")),
                         cell(table.get(*key, "stack-ratio")),
                         cell(table.get(*key, "fast-path"), "{:.0f} %", 100), cell(count)])
    return rows


def anything(table, bench):
    """Every figure of a benchmark that has no table of its own."""
    return [["case", "figure", "median", "unit", "n"]] + [
        [row.case, row.figure, cell(row, "{:,.6g}"), row.unit, str(row.n)]
        for row in table.of(bench)]


TABLES = {
    "targets": targets,
    "cost-v4": lambda table: cost_rows(table, "v4", CASES, "kernel-masq"),
    "cost-v6": lambda table: cost_rows(table, "v6", CASES, "kernel-masq"),
    "cost-imix": lambda table: cost_rows(table, "imix", CASES, "kernel-masq"),
    "cost-imix6": lambda table: cost_rows(table, "imix6", CASES, "kernel-masq"),
    "cost-rules": lambda table: cost_rows(table, "rules", RULES_CASES, "kernel-masq-100"),
    "tcp": tcp, "peers": peers, "stages": stages, "scale": scale, "memory": memory,
    "set-ups": set_ups, "changes": changes, "daemon": daemon, "latency": latency,
    "filter-drop": lambda table: filter_costs(table, "drop"),
    "filter-input": lambda table: filter_costs(table, "input"),
    "filter-accept": lambda table: filter_costs(table, "accept"), "filter-load": filter_loads,
    "follow": follow, "cpus": lambda table: anything(table, "cpus"),
}
SOURCES = {"targets": (None,), "tcp": ("run", "tcp"), "stages": ("program",),
           **{f"filter-{name}": ("filter",) for name in ("drop", "input", "accept", "load")},
           "memory": ("scale",), "set-ups": ("change", "udp"), "changes": ("change", "table"),
           **{name: ("run", name.removeprefix("cost-"))
              for name in TABLES if name.startswith("cost-")}}


def markdown(rows):
    head, *body = rows
    if not body:
        return "Not measured."
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def provenance(table, name):
    """When and where the figures of a table come from."""
    said = table.conditions(*SOURCES.get(name, (name,)))
    return f"\n\n{describe(said)}." if said else ""


def describe(said):
    if not said:
        return ""
    note = f"; {said['note']}" if "note" in said else ""
    return f"{said['date']}, Linux {said['kernel']}, {said['machine']}{note}"


# ---- The document --------------------------------------------------------------------------


def at_a_glance(table):
    """The first answers, each only if it has been measured."""
    def get(*key):
        return table.get(*key)

    said = []
    xdp, stack = get("run", "v4/bpfw-xdp", "cost"), get("run", "v4/kernel-masq", "cost")
    if xdp and stack:
        said.append(f"- A packet of 60 bytes costs the stack with masquerade {stack.median:.0f} "
                    f"ns, bpfw at XDP {xdp.median:.0f} ns: "
                    f"{cell(get('run', 'v4/bpfw-xdp', 'times-cheaper'), '{:.1f}', spread=False)} "
                    "times less. A bare static redirect, which is the limit, costs "
                    f"{cell(get('run', 'v4/redirect', 'cost'), '{:.0f}', spread=False)} ns; bpfw "
                    "reaches "
                    f"{cell(get('run', 'v4/bpfw-xdp', 'of-redirect'), spread=False)} of its rate.")
    hook = get("run", "v4/bpfw-tc", "cost")
    if hook:
        said.append(f"- bpfw at TC: {hook.median:.0f} ns, "
                    f"{cell(get('run', 'v4/bpfw-tc', 'times-cheaper'), '{:.1f}', spread=False)} "
                    "times less than the stack; the bare redirect at that hook costs "
                    f"{cell(get('run', 'v4/redirect-tc', 'cost'), '{:.0f}', spread=False)} ns.")
    most = get("scale", "bpfw-xdp/1000000", "of-fewest")
    if most:
        said.append("- With 1,000,000 flows visited round robin, the worst order for caches, bpfw "
                    f"at XDP keeps {cell(most)} of its rate with 64.")
    met = [target.met(table) for target in TARGETS]
    said.append(f"- Of {len(TARGETS)} targets {met.count(True)} are met, {met.count(False)} "
                f"missed, {met.count(None)} not measured.")
    return "\n".join(said)


def block(table, name, charts=()):
    """charts: the names of those that there are figures for."""
    if name.startswith("chart "):
        chart, title = name.removeprefix("chart ").split(": ")
        return f"![{title}](performance/{chart}.svg)" if chart in charts else ""
    if name == "at-a-glance":
        return at_a_glance(table)
    return markdown(TABLES[name](table)) + provenance(table, name)


def fill(text, table, charts):
    """The document with every block between its marks made anew."""
    lines, inside = [], False
    for line in text.splitlines():
        if line == "<!-- end -->":
            inside = False
        if not inside:
            lines.append(line)
        if line.startswith("<!-- from the figures: "):
            inside = True
            name = line.removeprefix("<!-- from the figures: ").removesuffix(" -->")
            made = block(table, name, charts)
            lines += ["", made, ""] if made else []
    return "\n".join(lines) + "\n"
