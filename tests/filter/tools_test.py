#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What well-known programs and recipes put into iptables: does `bpfw filter load` take it?

tools/*.rules are small rulesets in the words of iptables-save, written after what these programs
do. What is expected of each says below: that it loads, with which warnings, or the one token that
it is refused for. `show` has to give back what was loaded: tests/filter/print makes the same of what
it has printed.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(1, str(ROOT / "tests"))

from tap import Report  # noqa: E402

BPFW = ROOT / "build" / "bpfw"
PRINT = ROOT / "build" / "asan" / "tests" / "filter" / "print"
TOOLS = pathlib.Path(__file__).resolve().parent / "tools"
TIMEOUT = 60

# The tokens that messages name: of tables that stay with the kernel, and of what is refused.
LOADS = {
    "csf.v4": [],
    "docker-27.v4": [],
    "docker-28.v4": ["*raw"],
    "fail2ban-xt_recent.v4": [],
    "firewalld.v4": [],
    "knock.v4": [],
    "kubernetes-1.29.v4": [],
    "libvirt.v4": ["*mangle"],
    "openwrt-fw3.v4": [],
    "rates.v4": [],
    "stateful.v4": [],
    "tailscale.v4": [],
    "ufw.v4": [],
    "ufw.v6": [],
    "wireguard.v4": ["*mangle"],
}
REFUSED = {
    "csf-smtp.v4": "owner",  # who sends it is not known at the hook
    "ids.v4": "string",
    "kubernetes.v4": "nfacct",
    "libvirt-nwfilter.v4": "physdev",
    "openwrt-fw3-offload.v4": "FLOWOFFLOAD",
    "strongswan.v4": "policy",
}
# They load once these sets are there ('bpfw set').
WANTS_SET = {
    "calico.v4": "cali40all-hosts-net",
    "fail2ban.v4": "f2b-nginx",
}


def run(*words):
    return subprocess.run(words, text=True, capture_output=True, timeout=TIMEOUT, check=False)


def named(messages, kind):
    """The first token of each message of a kind."""
    return [token for line in messages.splitlines() if f" {kind}: " in line
            for token in re.findall(r":\d+:\d+: (?:\w+ )?'([^']*)'", line)[:1]]


def is_expected(name, done):
    """Has only what is expected been warned of, or refused?"""
    warned, refused = (named(done.stderr, kind) for kind in ("warning", "error"))
    wanted = REFUSED.get(name) or WANTS_SET.get(name)
    if name in LOADS:
        return not done.returncode and not refused and warned == LOADS[name]
    return done.returncode == 1 and refused == [wanted]


def rules_of(text):
    """Those of the table filter in their order, each chain's together, as 'show' has them."""
    text = re.sub(r"^\*(?!filter).*?^COMMIT$", "", text, flags=re.M | re.S)
    return sorted((line for line in text.splitlines() if line.startswith("-A")),
                  key=lambda line: line.split()[1])


def is_kept(path):
    """Are the printed rules those of the file, and does what is printed stay so?"""
    words = [PRINT] + (["-6"] if path.stem.endswith("6") else [])
    first = run(*words, path)
    again = subprocess.run([*words, "/dev/stdin"], input=first.stdout, text=True,
                           capture_output=True, timeout=TIMEOUT, check=False)
    return (not first.returncode and again.stdout == first.stdout
            and rules_of(first.stdout) == rules_of(path.read_text()))


def main():
    report = Report()
    known = LOADS.keys() | REFUSED.keys() | WANTS_SET.keys()
    found = {path.stem for path in TOOLS.glob("*.rules")}
    report.result(found == known, "each of tools/*.rules has something that is expected of it")
    for path in sorted(TOOLS.glob("*.rules")):
        done = run(BPFW, "filter", "load", f"-{path.stem[-1]}", "--check", path)
        good = path.stem in known and is_expected(path.stem, done)
        what = "loads" if path.stem in LOADS else \
            f"is refused for '{REFUSED[path.stem]}'" if path.stem in REFUSED else \
            f"wants the set '{WANTS_SET.get(path.stem)}'"
        report.result(good, f"{path.stem} {what}")
        if not good:
            report.note(f"exit status {done.returncode}: {done.stderr}")
        if path.stem in LOADS:
            report.result(is_kept(path), f"{path.stem} is printed as it is")
    print(f"1..{report.number}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
