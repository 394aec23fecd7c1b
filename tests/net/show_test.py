#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""`bpfw flows`, `stats` and `status`, and how they find the running instance."""

import json
import os
import re
import signal
import subprocess

from netlab import TcpFlow, UdpFlow, binary, equal, expect, main, test, wait_until
from netlab.bpfw import ROOT, SANITIZER, environment
from netlab.lab import run

BPFFS = "/sys/fs/bpf"
PINS = ["counters", "exits", "flows", "plan"]
# Only what goes to port 5001 gets another address.
PARTLY_NAT = """
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "wan0" meta l4proto { tcp, udp } th dport 5001 masquerade
	}"""
KINDS = [(kind, family) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
FIELDS = ("family", "protocol", "direction", "ingress", "egress", "src", "dst", "sport", "dport",
          "nat_src", "nat_dst", "nat_sport", "nat_dport", "action")
COUNTS = ("packets", "bytes", "idle_ms")
NO_LINK = {"ingress_vlans": [], "ingress_session": None, "egress_vlans": [], "egress_session": None}
# Counters among the exits that are not exits, and exits of what the lab itself says (ARP, ND).
NOT_EXITS = {"signal", "signal_lost", "forged_control"}
NOISE = {"group_address", "ethertype", "protocol"}
ROW = re.compile(r"^(?P<protocol>tcp|udp) (?P<src>\S+) -> (?P<dst>\S+)  (?P<ingress>\S+) -> "
                 r"(?P<egress>\S+)  (?P<packets>\d+) packets  (?P<bytes>\d+) bytes  "
                 r"idle (?P<idle>\d+\.\d) s(?P<reply>  \[reply\])?$")
NAT_ROW = re.compile(r"^    nat (?P<src>\S+) -> (?P<dst>\S+)$")


def nsenter(namespace):
    return ["nsenter", f"--net={namespace.path}"]


def netns_exec(namespace):
    return ["ip", "netns", "exec", namespace.name]


ENTRANCES = {"nsenter": nsenter, "ip-netns-exec": netns_exec}


def ask(namespace, *words, entrance=nsenter, status=0):
    """What `bpfw words` says in the namespace: (stdout, stderr)."""
    done = run(entrance(namespace) + [binary(), *words], check=False, env=environment())
    said = f"bpfw {' '.join(words)}: {done.stdout}{done.stderr}"
    expect(not SANITIZER.search(done.stderr), said)
    equal(done.returncode, status, f"exit status; {said}")
    return done.stdout, done.stderr


def offloaded_flows(context, lab, bpfw, ports=(5000, 5001)):
    flows = [context.keep(kind(lab, family, port=port))
             for kind, family in KINDS for port in ports]
    for flow in flows:
        flow.wait_offloaded(bpfw)
    return flows


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def has_nat(flow):
    return any(flow[name] != flow[f"nat_{name}"] for name in ("src", "dst", "sport", "dport"))


@test("tc", "xdp")
def flows_as_json(context, hook):
    lab = context.lab(hook, PARTLY_NAT)
    bpfw = context.running(lab, hook)
    flows = offloaded_flows(context, lab, bpfw)
    shown = json.loads(ask(lab.router, "flows", "--json")[0])
    equal(list(shown), ["flows"], "members")
    equal(len(shown["flows"]), 2 * len(flows), "entries")
    for one in shown["flows"]:
        equal(sorted(one), sorted((*FIELDS, *COUNTS, *NO_LINK)), "members of a flow")
        equal({name: one[name] for name in NO_LINK}, NO_LINK, "tags and sessions")
        expect(all(isinstance(one[name], int) and one[name] >= 0 for name in COUNTS),
               f"counts of {one}")
        expect(one["idle_ms"] < 60000, f"idle time of {one}")
        expect(one["bytes"] > 28 * one["packets"] > 0, f"counters of {one}")
    wanted = [one for flow in flows for one in (flow.original(), flow.reply())]
    equal(sorted(tuple(one[name] for name in FIELDS[:-1]) for one in shown["flows"]),
          sorted(tuple(one[name] for name in FIELDS[:-1]) for one in wanted), "flows")
    equal(sum(map(has_nat, shown["flows"])), len(flows), "entries with NAT, half of them")


def read_rows(text):
    """The rows of the text, each with the NAT row that follows it or None."""
    rows = []
    for line in text.splitlines():
        nat, row = NAT_ROW.match(line), ROW.match(line)
        expect(nat or row, f"a line of another form: {line!r}")
        if row:
            rows.append([row, None])
        else:
            expect(rows and rows[-1][1] is None, f"a NAT line that follows no flow: {line!r}")
            rows[-1][1] = nat
    return rows


@test("tc", "xdp")
def flows_as_text(context, hook):
    lab = context.lab(hook, PARTLY_NAT)
    bpfw = context.running(lab, hook)
    equal(ask(lab.router, "flows"), ("no flow is offloaded at the moment\n", ""), "without flows")
    flows = offloaded_flows(context, lab, bpfw)
    rows = read_rows(ask(lab.router, "flows")[0])
    equal(len(rows), 2 * len(flows), "rows")
    seen = {}
    for row, nat in rows:
        expect(int(row["packets"]) > 0 and float(row["idle"]) < 60, row[0])
        seen[row["protocol"], row["src"], row["dst"], row["ingress"], row["egress"],
             bool(row["reply"])] = (nat["src"], nat["dst"]) if nat else None
    wanted = {}
    for one in (one for flow in flows for one in (flow.original(), flow.reply())):
        key = (one["protocol"], endpoint(one["src"], one["sport"]),
               endpoint(one["dst"], one["dport"]), one["ingress"], one["egress"],
               one["direction"] == "reply")
        wanted[key] = (endpoint(one["nat_src"], one["nat_sport"]),
                       endpoint(one["nat_dst"], one["nat_dport"])) if has_nat(one) else None
    equal(seen, wanted, "rows and their NAT")
    equal(sum(nat is not None for nat in seen.values()), len(flows), "rows with NAT, half of them")


@test("tc", "xdp")
def other_actions(context, hook):
    """What is not forwarded is shown as what it is."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    lab.router.ip("route add blackhole 10.0.2.2/32")

    def dropped():
        flow.send()
        return bpfw.flows(action="drop", direction="original")
    expect(wait_until(dropped, 5), f"not dropped: {bpfw.flows()}")
    equal(bpfw.flows(action="drop")[0]["egress"], "-", "egress of what is dropped")
    expect("    dropped: the route is a blackhole\n" in ask(lab.router, "flows")[0],
           ask(lab.router, "flows")[0])
    before = bpfw.stats()["exits"]["blackhole"]
    flow.send()
    expect(wait_until(lambda: bpfw.stats()["exits"]["blackhole"] > before, 2),
           f"not counted: {bpfw.stats()}")


def names_in_layout(macro):
    """The counters as their one definition lists them."""
    with open(os.path.join(ROOT, "bpf", "layout.h"), encoding="utf-8") as file:
        text = file.read()
    body = re.search(rf"#define {macro}\(X\)(.*?)\n\n", text, re.DOTALL).group(1)
    return re.findall(r'X\(\w+, "(\w+)"', body)


@test("tc", "xdp")
def stats_list_everything(context, hook):
    """Every reason is listed, also those that never occurred; text and JSON agree."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for flow in offloaded_flows(context, lab, bpfw, (5000,)):
        flow.stop()
    # Neighbour discovery goes on by itself: compare what has not moved meanwhile.
    def both():
        first = ask(lab.router, "stats", "--json")[0]
        text = ask(lab.router, "stats")[0]
        return first == ask(lab.router, "stats", "--json")[0] and (json.loads(first), text)
    seen = wait_until(both, 10, 0.2)
    expect(seen, "the numbers never stand still")
    stats, text = seen
    exits, counters = names_in_layout("BPFW_EXITS"), names_in_layout("BPFW_COUNTERS")
    expect(len(exits) > 10 and len(counters) > 10, f"read from layout.h: {exits} {counters}")
    equal(list(stats), ["fast_path", "exits", "daemon"], "members")
    equal(list(stats["exits"]), exits, "exits")
    equal(list(stats["daemon"]), counters, "counters of the daemon")
    for name, value in {**stats["exits"], **stats["daemon"]}.items():
        expect(re.search(rf"^  {name} +{value}  \S", text, re.MULTILINE),
               f"{name} {value} is not in:\n{text}")
    expect(f"fast path: {stats['fast_path']['packets']} packets, "
           f"{stats['fast_path']['bytes']} bytes\n" in text, f"totals in:\n{text}")
    equal(stats["daemon"]["flows"], 4, "flows")
    equal(stats["daemon"]["learned"], 4, "flows learned")


@test(*[(family, hook) for hook in ("tc", "xdp") for family in (4, 6)])
def packets_add_up(context, family, hook):
    """Every packet sent took the fast path or one counted exit: none is missing, none twice."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    size, header = 100, 28 if family == 4 else 48
    with UdpFlow(lab, family) as flow:
        sent = 0
        while len(flow.in_map(bpfw)) < 2:
            flow.exchange(8, (size,))
            sent += 2 * 8
            expect(sent < 5000, f"not offloaded: {bpfw.stats()}")
        flow.exchange(500, (size,))
        sent += 2 * 500
        stats = bpfw.stats()
        exits = {name: count for name, count in stats["exits"].items()
                 if count and name not in NOT_EXITS | NOISE}
        fast = stats["fast_path"]
        context.note(f"fast path {fast}, exits {exits}")
        equal(fast["packets"] + sum(exits.values()), sent, f"packets in {stats}")
        expect(fast["packets"] > 990, f"the fast path was hardly used: {stats}")
        equal(fast["bytes"], fast["packets"] * (size + header), "bytes, from the IP header on")
        flows = flow.in_map(bpfw)
        for name in ("packets", "bytes"):
            equal(sum(one[name] for one in flows), fast[name], f"{name} of {flows}")
        lab.router.run("conntrack", "-F")
        flow.wait_not_offloaded(bpfw)
        equal(bpfw.stats()["fast_path"], fast, "totals when the flow has left")
        retired = bpfw.stats()["daemon"]
        equal((retired["retired_packets"], retired["retired_bytes"]),
              (fast["packets"], fast["bytes"]), "retired")


@test(*[(started, asked) for started in ENTRANCES for asked in ENTRANCES])
def entrances(context, started, asked):
    """However one got into the network namespace: with or without the host's /sys."""
    lab = context.lab("tc")
    bpfw = context.running(lab, "tc", launcher=ENTRANCES[started](lab.router))
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    entrance = ENTRANCES[asked]
    flows = json.loads(ask(lab.router, "flows", "--json", entrance=entrance)[0])["flows"]
    equal(len(flows), 2, "entries")
    stats = json.loads(ask(lab.router, "stats", "--json", entrance=entrance)[0])
    equal(stats["fast_path"]["packets"], sum(one["packets"] for one in flows), "packets")
    equal(len(read_rows(ask(lab.router, "flows", entrance=entrance)[0])), 2, "rows")


@test("tc", "xdp")
def two_instances(context, hook):
    """Both are shown, their numbers added; that of another namespace is not."""
    lab, other = context.lab(hook), context.lab(hook)
    first = context.running(lab, hook, interfaces=("lan0",))
    second = context.running(lab, hook, interfaces=("wan0",))
    context.running(other, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(first)
    shown = sorted((one["direction"], one["ingress"]) for one in first.flows())
    equal(shown, [("original", "lan0"), ("reply", "wan0")], "entries of both instances")
    stats = first.stats()
    equal(stats["daemon"]["flows"], 2, "flows, one of each instance")
    equal(stats["fast_path"]["packets"], sum(one["packets"] for one in first.flows()), "packets")
    equal(json.loads(ask(other.router, "flows", "--json")[0])["flows"], [], "elsewhere")
    second.stop()
    equal([one["ingress"] for one in first.flows()], ["lan0"], "ingress of what is left")


@test("flows", "stats", "status")
def no_instance(context, command):
    lab = context.lab("tc")
    for words in ((command,), (command, "--json")):
        stdout, stderr = ask(lab.router, *words, status=1)
        expect(re.match(r"bpfw: error: no bpfw is running .*\n$", stderr), f"{words}: {stderr!r}")
        expect(not stdout or not json.loads(stdout).get("flows"), f"{words}: {stdout!r}")
    bpfw = context.running(lab, "tc")
    ask(lab.router, command)
    bpfw.stop()
    ask(lab.router, command, status=1)


@test("flows", "stats", "status")
def wrong_arguments(context, command):
    """Wrong usage is told before anything else, with or without an instance."""
    lab = context.lab("tc")
    for running in (False, True):
        if running:
            context.running(lab, "tc")
        for words in (("--xml",), ("lan0",), ("--json", "--all"), ("",)):
            stdout, stderr = ask(lab.router, command, *words, status=2)
            equal(stdout, "", "output")
            expect(f"unknown argument '{words[-1]}'" in stderr and "Usage" in stderr,
                   f"{words}: {stderr!r}")
        stdout, _ = ask(lab.router, command, "--help")
        expect(f"bpfw {command} [--json]" in stdout, f"help: {stdout!r}")


def process_state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


@test("tc", "xdp")
def daemon_stands_still(context, hook):
    """Looking does not take the daemon's help."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    bpfw.freeze()
    expect(wait_until(lambda: process_state(bpfw.process.pid) == "T", 5), "it runs on")
    equal(len(bpfw.flows()), 2, "entries")
    before = bpfw.stats()
    flow.touch()
    after = bpfw.stats()
    moved = (after["fast_path"]["packets"] - before["fast_path"]["packets"]
             + after["exits"]["stale_heartbeat"] - before["exits"]["stale_heartbeat"])
    expect(moved >= 16, f"the numbers stand still as well: {before} {after}")
    bpfw.thaw()


class MountNamespace:
    """A mount namespace that outlives what runs in it, with or without a BPF file system."""

    def __init__(self, bpffs):
        script = (f"while mountpoint -q {BPFFS}; do umount {BPFFS}; done; "
                  + (f"mount -t bpf bpffs {BPFFS}; " if bpffs else "") + "echo there; exec cat")
        self._holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        equal(self._holder.stdout.readline(), "there\n", "mount namespace")

    def entrance(self, namespace):
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net={namespace.path}"]

    def pins(self):
        """What is pinned there, by directory."""
        top = f"/proc/{self._holder.pid}/root{BPFFS}"
        return {name: sorted(os.listdir(os.path.join(top, name)))
                for name in os.listdir(top) if name.startswith("bpfw-")}

    def is_bpffs(self):
        found = run(["stat", "-f", "-c", "%T", f"/proc/{self._holder.pid}/root{BPFFS}"])
        return found.stdout.strip() == "bpf_fs"

    def close(self):
        self._holder.stdin.close()
        self._holder.wait(10)
        self._holder.stdout.close()


def pinned(context, mounts, lab, **kwargs):
    """A running bpfw in the mount namespace, and the name of its directory there."""
    bpfw = context.running(lab, "tc", launcher=mounts.entrance(lab.router), **kwargs)
    return bpfw, f"bpfw-{bpfw.process.pid}"


@test(signal.SIGTERM.name, signal.SIGINT.name)
def pins_come_and_go(context, number):
    lab, mounts = context.lab("tc"), context.keep(MountNamespace(bpffs=True))
    expect(mounts.is_bpffs() and not mounts.pins(), f"pins before: {mounts.pins()}")
    bpfw, name = pinned(context, mounts, lab, args=("--max-flows", "4"))
    equal(mounts.pins(), {name: PINS}, "pins")
    flow = context.keep(UdpFlow(lab))
    flow.wait_offloaded(bpfw)
    dumped = run(mounts.entrance(lab.router) + ["bpftool", "-j", "map", "dump", "pinned",
                                                f"{BPFFS}/{name}/flows"]).stdout
    used = [slot for slot in json.loads(dumped) if slot["formatted"]["value"]["family"]]
    equal(len(used), 2, "slots in use of the pinned map")
    bpfw.stop(signal.Signals[number])
    equal(mounts.pins(), {}, f"pins after {number}")


@test()
def pins_of_a_killed_one(context):
    """The next start removes them, those of an instance that runs stay."""
    lab, mounts = context.lab("tc"), context.keep(MountNamespace(bpffs=True))
    killed, left = pinned(context, mounts, lab, interfaces=("wan0",))
    _, alive = pinned(context, mounts, lab, interfaces=("lan0",))
    killed.kill()
    equal(mounts.pins(), {left: PINS, alive: PINS}, "pins after kill -9")
    _, name = pinned(context, mounts, lab, interfaces=("wan0",))
    equal(mounts.pins(), {name: PINS, alive: PINS}, "pins after the next start")


@test()
def bpffs_is_mounted(context):
    """Where there is none, bpfw mounts one, and goes without pins where it cannot."""
    lab, mounts = context.lab("tc"), context.keep(MountNamespace(bpffs=False))
    expect(not mounts.is_bpffs(), "there is one already")
    bpfw, name = pinned(context, mounts, lab)
    expect(mounts.is_bpffs(), "none was mounted")
    equal(mounts.pins(), {name: PINS}, "pins")
    bpfw.stop()
    equal(mounts.pins(), {}, "pins after SIGTERM")


if __name__ == "__main__":
    main(jobs=4)
