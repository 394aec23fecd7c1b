# SPDX-License-Identifier: GPL-2.0-only
"""From samples to medians, tables and CSV files."""

import csv
import statistics

SAMPLE_FIELDS = ["case", "round", "rate_pps", "sent", "delivered", "loss", "cost_ns",
                 "gbit_per_s", "retransmits", "fast_share", "cpu_share", "tries", "seconds"]


class Spread:
    """Median and quartiles of a few numbers."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = statistics.median(self.values)
        if len(self.values) > 1:
            self.q1, _, self.q3 = statistics.quantiles(self.values, n=4, method="inclusive")
        else:
            self.q1 = self.q3 = self.median

    def text(self, digits):
        return f"{self.median:.{digits}f} [{self.q1:.{digits}f}..{self.q3:.{digits}f}]"


def spread(values):
    values = [value for value in values if value is not None]
    return Spread(values) if values else None


def text(of, digits):
    return of.text(digits) if of else "-"


class Results:
    """All samples of a run. What is compared is compared within a round: both samples were taken
    seconds apart, so a machine that gets slower or busier between rounds moves both."""

    def __init__(self):
        self.samples = {}

    def add(self, case, number, **values):
        self.samples.setdefault(case, {})[number] = values

    def finish(self):
        """The packet cost of every sample: its time less the generator's in the same round."""
        generator = self.samples.get("generator", {})
        for case, rounds in self.samples.items():
            for number, sample in rounds.items():
                base = generator.get(number)
                if base and case != "generator" and sample.get("rate_pps"):
                    sample["cost_ns"] = 1e9 / sample["rate_pps"] - 1e9 / base["rate_pps"]

    def spread(self, case, quantity):
        return spread(sample.get(quantity) for sample in self.samples.get(case, {}).values())

    def pairs(self, quantity, case, other):
        """(case, other) of every round that has both."""
        for number, sample in self.samples.get(case, {}).items():
            base = self.samples.get(other, {}).get(number, {})
            if sample.get(quantity) and base.get(quantity):
                yield sample[quantity], base[quantity]

    def ratio(self, quantity, case, other):
        return spread(a / b for a, b in self.pairs(quantity, case, other))

    def difference(self, quantity, case, other):
        return spread(a - b for a, b in self.pairs(quantity, case, other))

    def map(self, case, quantity, change):
        """The spread of what a function makes of each sample."""
        return spread(change(sample[quantity]) for sample in self.samples.get(case, {}).values()
                      if sample.get(quantity))

    def write_samples(self, path):
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, SAMPLE_FIELDS)
            table.writeheader()
            for case, rounds in self.samples.items():
                for number, sample in sorted(rounds.items()):
                    rounded = {name: shorten(value) for name, value in sample.items()}
                    table.writerow({"case": case, "round": number, **rounded})


def shorten(value):
    """Six significant digits say more than any of these measurements can."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def print_table(rows):
    """Left-aligned first column, the others right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join(cells).rstrip())


def percent(of, digits):
    return f"{100 * of.median:.{digits}f} %" if of else "-"


def udp_row(results, case, stack):
    rate = results.spread(case, "rate_pps")
    mpps = Spread([value / 1e6 for value in rate.values])
    is_base = case == "generator"
    return [case, mpps.text(3), percent(results.spread(case, "loss"), 2),
            "-" if is_base else text(results.spread(case, "cost_ns"), 0),
            "-" if is_base else text(results.ratio("rate_pps", case, "redirect"), 2),
            "-" if is_base else text(cheaper(results, case, stack), 1),
            percent(results.spread(case, "fast_share"), 2)]


def cheaper(results, case, stack="kernel-masq"):
    """How many times cheaper than the stack with masquerade a packet is."""
    return results.ratio("cost_ns", stack, case)


def print_udp(results, cases, title, stack):
    print(f"\n{title}; median [quartiles]. A packet's cost is its time less that of "
          "the generator alone.\n")
    rows = [["case", "Mpps delivered", "lost", "ns/packet", "of redirect's rate",
             f"cheaper than {stack}", "fast path"]]
    rows += [udp_row(results, case, stack) for case in cases if case in results.samples]
    print_table(rows)


def print_tcp(results, pairs):
    print("\nBulk TCP, one connection; median [quartiles].\n")
    rows = [["case", "Gbit/s", "of the stack's rate", "retransmits", "fast path"]]
    for case, base in pairs:
        if case in results.samples:
            rows.append([case, text(results.spread(case, "gbit_per_s"), 2),
                         text(results.ratio("gbit_per_s", case, base), 2) if base else "-",
                         text(results.spread(case, "retransmits"), 0),
                         percent(results.spread(case, "fast_share"), 2)])
    print_table(rows)


def print_aims(results):
    aims = (("bpfw-xdp, share of the bare redirect's rate",
             results.ratio("rate_pps", "bpfw-xdp", "redirect"), 0.92, 2),
            ("bpfw-xdp, times cheaper a packet than the stack with masquerade",
             cheaper(results, "bpfw-xdp"), 5.7, 1))
    print()
    for what, of, aim, digits in aims:
        verdict = "not measured" if not of else "met" if of.median >= aim else "not met"
        print(f"aim: {what} >= {aim}: {text(of, digits)}: {verdict}")
    for case, limit in (("bpfw-xdp", "redirect"), ("bpfw-tc", "redirect-tc")):
        more = results.difference("cost_ns", case, limit)
        if more:
            print(f"{case}: {text(more, 0)} ns a packet more than {limit}")
