#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Rules are printed as iptables-save prints them.

The oracle is iptables itself, both variants, in a network namespace of its own: what it saves after
it has restored a text must be, byte for byte, what build/asan/tests/filter/print makes of that
text. The texts are those of golden/ and generated ones. What our parser refuses for what it means
(refused.rules) must be refused by iptables as well.

BPFW_TEST_SEED chooses the generated texts, BPFW_TEST_RULESETS how many there are of each family.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "tests"))

from rules import SETS, Rules  # noqa: E402
from tap import Report  # noqa: E402

PRINT = ROOT / "build" / "asan" / "tests" / "filter" / "print"
HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = {4: ("iptables", "inet"), 6: ("ip6tables", "inet6")}
VARIANTS = ("nft", "legacy")
RULESETS = int(os.environ.get("BPFW_TEST_RULESETS", "75"))
RULES = 30
TIMEOUT = 60

# What iptables and the kernel say of a match or target they do not have
LACKING = re.compile(r"No chain/target/match|couldn't load|not supported|No such file|"
                     r"missing kernel module|Unknown arg|Kernel module|incompatible|unknown option")

# A namespace, sets in it, one restore, one save
SCRIPT = """
{create}
{command}-{variant}-restore -c <"$1" || exit 1
{command}-{variant}-save -c -t filter
"""


def ours(path, version):
    done = subprocess.run([PRINT, "-c"] + (["-6"] if version == 6 else []) + [path], text=True,
                          capture_output=True, timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout, done.stderr


def theirs(path, version, variant, with_sets=True):
    """Exit status, what was saved without comments, and the messages"""
    command, family = FAMILIES[version]
    create = "\n".join(f"ipset create {name} {kind} family {family} || exit 1"
                       for name, kind in SETS.items()) if with_sets else ""
    script = SCRIPT.format(create=create, command=command, variant=variant)
    done = subprocess.run(["unshare", "--net", "sh", "-c", script, "sh", path], text=True,
                          capture_output=True, timeout=TIMEOUT, check=False)
    saved = "".join(line for line in done.stdout.splitlines(True) if not line.startswith("#"))
    return done.returncode, saved, done.stderr


def first_difference(one, other):
    """The first lines that differ, for the reader of a failure"""
    left, right = one.splitlines() + ["(end)"], other.splitlines() + ["(end)"]
    for number, (a, b) in enumerate(zip(left, right), 1):
        if a != b:
            return f"line {number}:\nours:   {a}\ntheirs: {b}"
    return "the lengths differ"


class Oracle:
    """One family, one variant"""

    def __init__(self, report, work, version, variant):
        self.report, self.work = report, work
        self.version, self.variant = version, variant
        self.command = f"{FAMILIES[version][0]}-{variant}"
        self.kinds = None
        self.sets = True

    def write(self, text):
        path = self.work / f"{self.version}.rules"
        path.write_text(text)
        return path

    def lacks(self):
        """Why there is no oracle of this kind here, or an empty text"""
        if not shutil.which(f"{self.command}-restore"):
            return f"there is no {self.command}"
        status, _, message = theirs(self.write("*filter\nCOMMIT\n"), self.version, self.variant,
                                    False)
        return f"{self.command} does not work: {message.strip()}" if status else ""

    def probe(self, name, rule):
        with_sets = name in ("set", "SET")
        text = f"*filter\n-A INPUT {rule}\nCOMMIT\n"
        status, _, message = theirs(self.write(text), self.version, self.variant, with_sets)
        if status and (LACKING.search(message) or with_sets):
            self.report.result(True, f"{self.command}: {name}", "iptables or this kernel lacks it: "
                               + " ".join(message.split())[-120:])
            return False
        return True

    def find_kinds(self):
        """The matches and targets that can be compared; the others are skipped results"""
        rules = Rules(0, self.version)
        samples = {name: " ".join(rules.match(name, "INPUT")) for name in Rules.MATCHES}
        samples |= {name: f"-p {name if name != 'multiport' else 'tcp'} -m {name} {option} 5"
                    for name, option in (("tcp", "--dport"), ("udp", "--dport"),
                                         ("sctp", "--dport"), ("multiport", "--dports"))}
        samples["tcpmss"] = "-p tcp -m tcpmss --mss 5"
        samples |= {name: f"-j {name} " + " ".join(words(rules))
                    for name, words in Rules.TARGETS.items()}
        samples["REJECT"] = "-j REJECT"
        self.kinds = {name for name, rule in samples.items() if self.probe(name, rule)}
        self.sets = bool({"set", "SET"} & self.kinds)

    def counters(self, text):
        """ip6tables-nft 1.8.9 forgets the counters of rules."""
        return re.sub(r"^\[\d+:\d+\] ", "", text, flags=re.MULTILINE) \
            if (self.version, self.variant) == (6, "nft") else text

    def compare(self, name, path):
        status, printed, message = ours(path, self.version)
        if status:
            return self.fail(name, f"we refuse it: {message}", path)
        status, saved, message = theirs(path, self.version, self.variant, self.sets)
        if status:
            return self.fail(name, f"{self.command} refuses it: {message}", path)
        wanted, seen = self.counters(saved), self.counters(printed)
        if seen != wanted:
            return self.fail(name, first_difference(seen, wanted), path)
        again = self.work / "again.rules"
        again.write_text(printed)
        if ours(again, self.version)[1] != printed:
            return self.fail(name, "what is printed is not printed the same way", again)
        return True

    def fail(self, name, why, path):
        self.report.note(f"{self.command}, {name}: {why}")
        line = re.search(r"line:? (\d+)", why)
        lines = path.read_text().splitlines()
        if line and "refuse" in why and int(line[1]) <= len(lines):
            self.report.note(lines[int(line[1]) - 1])
        return False

    def golden(self):
        for path in sorted((HERE / "golden").glob(f"*.v{self.version}.rules")):
            lacking = needed(path.read_text()) - self.kinds
            name = f"{self.command}: {path.name}"
            if lacking:
                self.report.result(True, name, f"it takes {', '.join(sorted(lacking))}")
            else:
                self.report.result(self.compare(path.name, path), name)

    def generated(self, seed):
        good = sum(self.compare(f"seed {seed + i}", self.write(
            Rules(seed + i, self.version, self.kinds).text(RULES))) for i in range(RULESETS))
        self.report.result(good == RULESETS,
                           f"{self.command}: {good} of {RULESETS} generated rulesets, seed {seed}")

    def refused(self):
        lines = (HERE / "refused.rules").read_text().splitlines()
        accepted = []
        for line in lines:
            version, _, rule = line.partition(" ")
            if not rule or version != str(self.version):
                continue
            if needed(rule) - self.kinds:
                continue
            path = self.write(f"*filter\n:one - [0:0]\n:two - [0:0]\n{rule.replace('; ', chr(10))}"
                              "\nCOMMIT\n")
            if not ours(path, self.version)[0]:
                accepted.append(f"we accept: {rule}")
            if not theirs(path, self.version, self.variant, self.sets)[0]:
                accepted.append(f"{self.command} accepts: {rule}")
        for line in accepted:
            self.report.note(line)
        self.report.result(not accepted, f"{self.command}: refused.rules are refused")


def needed(text):
    """The matches and targets of the table filter that a kernel or iptables may lack"""
    text = re.sub(r"^\*(?!filter).*?^COMMIT$", "", text, flags=re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"-m (\w+)", text)) | set(re.findall(r"-j ([A-Z]+)", text))
    return {{"hl": "ttl"}.get(name, name) for name in names} - {
        "ACCEPT", "DROP", "RETURN", "icmp", "icmp6", "icmpv6"}


def golden_output(report):
    """What is printed is what is kept, with counters and without"""
    for path in sorted((HERE / "golden").glob("*.rules")):
        version = 6 if ".v6." in path.name else 4
        status, printed, message = ours(path, version)
        kept = path.with_suffix(".save")
        expected = kept.read_text() if kept.exists() else ""
        if status or printed != expected:
            report.note(message or first_difference(printed, expected))
        report.result(not status and printed == expected, f"golden/{path.name}")


def main():
    report = Report()
    golden_output(report)
    seed = int(os.environ.get("BPFW_TEST_SEED", str(int(time.time()) % 10**6)))
    report.note(f"seed: BPFW_TEST_SEED={seed}")
    with tempfile.TemporaryDirectory(prefix="bpfw-save-") as directory:
        for version in FAMILIES:
            for variant in VARIANTS:
                oracle = Oracle(report, pathlib.Path(directory), version, variant)
                lacking = oracle.lacks() if os.geteuid() == 0 else "needs root"
                if lacking:
                    report.result(True, oracle.command, lacking)
                    continue
                oracle.find_kinds()
                oracle.golden()
                oracle.generated(seed)
                oracle.refused()
    print(f"1..{report.number}")
    return report.failed > 0


if __name__ == "__main__":
    sys.exit(main())
