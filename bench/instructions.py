# SPDX-License-Identifier: GPL-2.0-only
"""Executed instructions of the BPF program: counted, sorted into stages, compared with a record."""

import pathlib
import re
import subprocess
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "bench" / "instructions.tsv"
COST = ROOT / "build" / "bench" / "cost"
COMPILER = ROOT / "build" / "stamp" / "bpf"  # the command that built the object
HIT = "hit"
SAME = "same"
NOT_RUN = "not run by the kernel"
LIMIT = 1.05
TIMEOUT = 300


class Unavailable(Exception):
    """Nothing can be counted here, for the reason that the text gives."""


class Key(typing.NamedTuple):
    program: str
    exit: str  # or "hit"
    packet: str


class Count(typing.NamedTuple):
    instructions: int
    helpers: int  # the calls among them
    said: str  # "same" as what the kernel did, or what the difference is
    trace: str  # file:line*count, in order of execution


def build(built=False):
    """bpfw's half by the Makefile of the tree, unless it is built, and `cost` by bench's."""
    commands = [["make", "-s", "-C", ROOT, "build/libbpfw.a"],
                ["make", "-s", "-C", ROOT / "bench", "../build/bench/cost"]]
    for command in commands[built:]:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}:\n{done.stdout}")


def run_cost(*arguments, timeout=TIMEOUT):
    """The fields of its lines. It ends like a packet test where it cannot run: by TAP."""
    done = subprocess.run([COST, *arguments], text=True, capture_output=True, timeout=timeout,
                          check=False)
    lines = done.stdout.splitlines()
    for line in lines:
        if line.startswith("1..0 # SKIP "):
            raise Unavailable(line.removeprefix("1..0 # SKIP "))
        if line.startswith("Bail out!"):
            raise RuntimeError(line)
    if done.returncode or not lines:
        raise RuntimeError(f"{COST.name} ended with {done.returncode}: {done.stderr}")
    return [line.split("\t") for line in lines if "\t" in line]


def count():
    """{key: count}, in the order of the table in cost.c."""
    return {Key(*row[:3]): Count(int(row[3]), int(row[4]), row[5], row[6])
            for row in run_cost("instructions")}


def compiler():
    """The version of clang that built the programs."""
    words = COMPILER.read_text(encoding="utf-8").split(" -target ")[0].split()
    said = subprocess.run([*words, "--version"], text=True, capture_output=True, check=True).stdout
    return re.search(r"version (\S+)", said).group(1)


# ---- Record --------------------------------------------------------------------


def read_record():
    """The clang that it is of, and {key: instructions}."""
    version, table = "", {}
    for line in RECORD.read_text(encoding="ascii").splitlines():
        if line.startswith("# clang "):
            version = line.removeprefix("# clang ")
        elif line and not line.startswith("#"):
            *key, instructions, _helpers = line.split("\t")
            table[Key(*key)] = int(instructions)
    return version, table


def write_record(counts):
    head = f"# Written by bench/program --record\n# clang {compiler()}\n"
    head += "# program\texit\tpacket\tinstructions\thelpers\n"
    rows = ("\t".join((*key, str(of.instructions), str(of.helpers)))
            for key, of in counts.items())
    RECORD.write_text(head + "".join(f"{row}\n" for row in rows), encoding="ascii")


class Comparison(typing.NamedTuple):
    good: bool
    key: Key
    text: str


def compare(counts, recorded):
    """What became of each hit. Exits may cost more: they are not what the program is for."""
    for key, of in counts.items():
        if key.exit != HIT:
            continue
        old = recorded.get(key)
        if old is None:
            yield Comparison(False, key, f"{of.instructions}, not recorded")
        elif of.instructions > old * LIMIT:
            yield Comparison(False, key, f"{of.instructions}, over 5 % more than the recorded "
                             f"{old}")
        else:
            hint = ""
            if of.instructions * LIMIT < old:
                hint = ": better than recorded, bench/program --record"
            yield Comparison(True, key, f"{of.instructions}, recorded {old}{hint}")
    for key in recorded:
        if key not in counts:
            yield Comparison(False, key, "recorded, but not counted any more")


# ---- Stages --------------------------------------------------------------------

STAGES = ("entry", "parse", "lookup", "check", "egress", "link", "account", "rewrite")
BY_FILE = {
    "bpfw.bpf.c": "entry", "parse.h": "parse", "flow.h": "lookup", "layout.h": "lookup",
    "encapsulation.h": "link", "rewrite.h": "rewrite",
}
BY_FUNCTION = {
    "walk": "entry", "walk_ip": "lookup", "is_control": "lookup",
    "hit": "check", "addressed_to_flow": "check", "check_hit": "check", "check_packet": "check",
    "header_ok": "check", "may_lack_checksum": "check", "looks_partial": "check",
    "csum_ipv4_ok": "check", "csum_looks_partial4": "check", "csum_looks_partial6": "check",
    "forward": "egress", "packet_aim": "egress",
    "choose_link": "link", "needs_ppp_device": "link",
    "track": "account", "account": "account",
    "csum_apply": "rewrite",
}
DEFINITION = re.compile(r"^\w[\w\s*]*?\b(\w+)\(")


class Stages:
    """Which stage of the walk a line of the source belongs to.

    A function of no stage of its own (a fold, a look at the packet) works for the one that was
    executed last. So do instructions of which the compiler tells no line.
    """

    def __init__(self):
        self.functions = {}  # file: [(first line, function)]
        for path in sorted((ROOT / "bpf").glob("*.[ch]")):
            found = []
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                definition = DEFINITION.match(line)
                if definition and not line.endswith(";"):
                    found.append((number, definition.group(1)))
            self.functions[path.name] = found

    def function(self, file, number):
        name = ""
        for first, function in self.functions.get(file, []):
            if first > number:
                break
            name = function
        return name

    def stage(self, file, number):
        if number == 0:
            return None
        return BY_FUNCTION.get(self.function(file, number)) or BY_FILE.get(file)

    def split(self, trace):
        """{stage: instructions} of a hit. Instructions that clang shares between a hit and an exit
        may have the line of the exit."""
        sums, now = dict.fromkeys(STAGES, 0), STAGES[0]
        for step in trace.split():
            place, times = step.rsplit("*", 1)
            file, number = place.rsplit(":", 1)
            stage = self.stage(file, int(number))
            now = stage if stage in STAGES else now
            sums[now] += int(times)
        return sums
