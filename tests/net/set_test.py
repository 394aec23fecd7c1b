#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sets in rules, and the block list: ipset and iptables are the oracle.

The same sets are given to ipset and to bpfw, the same generated rules ask for them and change them,
and the same frames are sent (filter_test.py). What comes out, the counters, and in the end what the
sets hold, has to be the same.
"""

import bisect
import ipaddress
import json
import os
import random
import re
import shutil
import socket
import time

import filter_test
from filter_test import ACCEPT_WEB, FAR, FILTER_HOOKS, LOCAL, NEAR, NO_RULES, SEED, Router
from netlab import Skip, equal, expect, frames, main, test
from netlab import lab as topology
from netlab.bpfw import binary, environment

RULESETS = max(filter_test.RULESETS // 10, 1)
BATCHES = 2
MILLION = 1000000
# bpf() calls of a load that are made to fail; 0: all of them
STEPS = int(os.environ.get("BPFW_TEST_STEPS") or "4")
PROBES = 400  # packets that meet the million

FAMILY = {4: "inet", 6: "inet6"}
PORTS = ["tcp:{}", "udp:{}", "sctp:{}", "udplite:{}"]
DIRECTIONS = {"ip": 1, "changed": 1, "nets": 1, "ports": 1, "pairs": 2, "netports": 2,
              "added": 2}


class SetRouter(Router):
    """The router, and what its bpfw and ipset keep."""

    def command(self, *words, stdin=None, check=True):
        return self.namespace.run("nsenter", f"--net={self.namespace.path}", binary(), *words,
                                  stdin=stdin, check=check, env=environment())

    def sets(self):
        done = self.command("set", "list", "--terse", check=False)
        return re.findall(r"^create (\S+)", done.stdout, re.MULTILINE)

    def close(self):
        super().close()
        names = self.sets()
        if names:
            self.command("set", "destroy", *names)


class Sets:
    """Text as ipset save prints it, about what the frames differ in."""

    def __init__(self, number, version):
        self.random = random.Random(f"{SEED} sets {number} {version}")
        self.version = version

    def some(self, pool, share=0.5):
        return [item for item in pool if self.random.random() < share]

    def addresses(self):
        return NEAR[self.version] + FAR[self.version] + LOCAL[self.version][:2]

    def prefixes(self):
        lengths = [8, 16, 24, 31, 32] if self.version == 4 else [16, 48, 64, 127, 128]
        found = {}
        for address in self.some(self.addresses(), 0.6):
            for length in self.some(lengths, 0.3):
                net = ipaddress.ip_network(f"{address}/{length}", strict=False)
                found[str(net)] = self.random.random() < 0.3
        return found

    def ports(self):
        icmp = "icmp:echo-request" if self.version == 4 else "ipv6-icmp:echo-request"
        named = [form.format(port) for form in PORTS for port in self.some(range(1, 23), 0.3)]
        return named + self.some([icmp, "esp:0"])

    def lines(self):
        family = f"family {FAMILY[self.version]}"
        yield f"create ip hash:ip {family}"
        yield from (f"add ip {address}" for address in self.some(self.addresses()))
        yield f"create changed hash:ip {family} timeout 600"
        yield f"create nets hash:net {family}"
        yield from (f"add nets {net}{' nomatch' if invert else ''}"
                    for net, invert in self.prefixes().items())
        yield "create ports bitmap:port range 0-100"
        yield from (f"add ports {port}" for port in self.some(range(23)))
        yield f"create pairs hash:ip,port {family}"
        yield f"create netports hash:net,port {family}"
        yield f"create added hash:ip,port {family} timeout 600"
        for port in self.ports():
            yield from (f"add pairs {address},{port}" for address in self.some(self.addresses()))
            yield from (f"add netports {net},{port}{' nomatch' if invert else ''}"
                        for net, invert in self.prefixes().items())

    def text(self):
        return "\n".join([*self.lines(), ""])


class SetRuleset(filter_test.Ruleset):
    """Rules that ask sets and change them, among others."""

    def reference(self, names):
        name = self.random.choice(names)
        count = self.random.choice([DIRECTIONS[name], DIRECTIONS[name], 1, 2])
        return [name, ",".join(self.random.choice(["src", "dst"]) for _ in range(count))]

    def more(self, chain):
        words = super().more(chain)
        while self.chance(0.45):
            words += ["-m", "set"] + self.negated(
                ["--match-set", *self.reference(list(DIRECTIONS))])
        return words

    def target(self, place):
        if self.chance(0.8):
            return super().target(place)
        reference = self.reference(["changed", "added", "ports"])
        if self.chance(0.3):
            return ["-j", "SET", "--del-set", *reference]
        words = ["-j", "SET", "--add-set", *reference]
        if self.chance(0.3):
            words += ["--exist"]
        return words + (["--timeout", "300"] if self.chance(0.3) else [])


def ipset(router, *words, **how):
    return router.namespace.run("ipset", *words, **how)


def need_ipset(router):
    probe = ipset(router, "create", "probe", "hash:ip", check=False)
    if probe.returncode:
        raise Skip(f"ipset does not work here: {probe.stderr.strip()}")
    ipset(router, "destroy", "probe")


def entries(text):
    """What the sets hold; the seconds that are left are nobody's to compare."""
    kept = [line for line in text.splitlines() if line.startswith("add ")]
    for pattern, plain in ((r" timeout \d+", ""), (r",esp:", ",50:"), (r",dccp:", ",33:"),
                           ("ipv6-icmp:", "icmpv6:"), ("icmp:echo-request", "icmp:8/0"),
                           ("icmp:echo-reply", "icmp:0/0"), ("icmpv6:echo-request", "icmpv6:128/0"),
                           ("icmpv6:echo-reply", "icmpv6:129/0")):
        kept = [re.sub(pattern, plain, line) for line in kept]
    return set(kept)


def oracle(router, version, text, sets, which):
    """What iptables and ipset make of it: frames, counters, sets."""
    iptables = filter_test.iptables_variant(router.namespace, version)
    fragments = router.may_fragment(iptables)
    ipset(router, "restore", stdin=sets)
    restored = router.namespace.run(f"{iptables}-restore", stdin=text, check=False)
    expect(not restored.returncode, f"iptables refuses: {restored.stderr}\n{text}")
    seen = router.pass_frames(*which, fragments)
    counters = router.namespace.run(f"{iptables}-save", "-c", "-t", "filter").stdout
    router.namespace.run(f"{iptables}-restore", stdin=NO_RULES)
    router.namespace.run("nft", "flush", "ruleset", check=False)
    held = ipset(router, "save").stdout
    ipset(router, "destroy")
    return seen, filter_test.without_noise(counters, version), entries(held), fragments


def compare(router, number, version):
    text = SetRuleset(1000 + number, version, False).text()
    sets = Sets(number, version).text()
    theirs, wanted, their_entries, fragments = oracle(router, version, text, sets,
                                                      (number, version))
    router.command("set", "load", "-", stdin=sets)
    router.load(text, version)
    ours = router.pass_frames(number, version, fragments)
    counters = router.bpfw("show", f"-{version}", "--counters").stdout
    our_entries = entries(router.command("set", "list").stdout)
    router.bpfw("unload")
    seen = filter_test.without_noise(counters, version)
    expect(seen == wanted, f"ruleset {number}, IPv{version}: counters differ\n"
                           f"{filter_test.first_differences(seen, wanted)}\n{sets}{text}")
    expect(ours == theirs, f"ruleset {number}, IPv{version}: other frames came out")
    expect(our_entries == their_entries, f"ruleset {number}, IPv{version}: the sets hold only here "
           f"{sorted(our_entries - their_entries)}, only there "
           f"{sorted(their_entries - our_entries)}\n{text}")


@test(*((hook, version, batch) for hook in FILTER_HOOKS for version in (4, 6)
        for batch in range(BATCHES)))
def judges_as_ipset(context, hook, version, batch):
    router = SetRouter(context, hook)
    need_ipset(router)
    for number in range(batch, RULESETS, BATCHES):
        compare(router, number, version)


RULE = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m set --match-set {name} {directions} -j DROP
COMMIT
"""


def datagram(version, dst, port, src=None):
    src = src or NEAR[version][0]
    data = frames.udp(src, dst, 5000, port)
    packet = (frames.ipv4(src, dst, socket.IPPROTO_UDP, data) if version == 4 else
              frames.ipv6(src, dst, socket.IPPROTO_UDP, data))
    return frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet)


def arrived(router, version, datagrams):
    """The destination ports of those that came through."""
    at = 36 if version == 4 else 56
    router.far.drain(0.05)
    ports = set()
    for number, frame in enumerate(datagrams):
        router.near.send(frame)
        if number % filter_test.AT_ONCE == 0:
            ports |= {captured.data[at:at + 2] for captured in router.settle()[1]}
    last = router.settle()[1] + router.far.drain(0.15)
    ports |= {captured.data[at:at + 2] for captured in last}
    return {int.from_bytes(port, "big") for port in ports}


def passes(router, dst=FAR[4][0], version=4):
    return 7 in arrived(router, version, [datagram(version, dst, 7)])


@test(*FILTER_HOOKS)
def sets_change_while_rules_are_in_force(context, hook):
    router = SetRouter(context, hook)
    router.command("set", "create", "bad", "hash:net")
    router.load(RULE.format(name="bad", directions="dst"))
    expect(passes(router), "an empty set matches")
    router.command("set", "add", "bad", FAR[4][0])
    expect(not passes(router), "an entry that was added is not found")
    router.command("set", "del", "bad", FAR[4][0])
    expect(passes(router), "an entry that was taken out is found")
    router.command("set", "load", "-", stdin=f"create bad hash:net\nadd bad {FAR[4][0]}/30\n")
    expect(not passes(router), "a set that was replaced has not changed")


@test()
def sets_in_use_stay(context):
    router = SetRouter(context, "tc")
    router.command("set", "create", "bad", "hash:net")
    router.load(RULE.format(name="bad", directions="dst"))
    for words, stdin in ((("set", "destroy", "bad"), None),
                         (("set", "load", "-"), "create bad hash:ip\n")):
        done = router.command(*words, stdin=stdin, check=False)
        equal(done.returncode, 1, f"exit status of {words}")
        expect("bad" in done.stderr and "used" in done.stderr, f"no reason: {done.stderr}")
    router.load(NO_RULES, 6)
    equal(router.command("set", "destroy", "bad", check=False).returncode, 1,
          "exit status of destroy, after a load of the other family's rules")
    router.load(NO_RULES)
    router.command("set", "destroy", "bad")
    router.command("set", "create", "bad", "hash:net")
    router.load(RULE.format(name="bad", directions="dst"))
    router.bpfw("unload")
    router.command("set", "destroy", "bad")


@test()
def sets_are_refused_by_name(context):
    router = SetRouter(context, "tc")
    router.command("set", "create", "nets", "hash:net")
    text = RULE.format(name="nets", directions="src")
    router.load(text)
    add = text.replace("-j DROP", "-j SET --add-set nets src")
    router.command("set", "create", "six", "hash:ip", "family", "inet6")
    for wrong, said in ((RULE.format(name="six", directions="src"), r":5:\d+: set 'six' .*IPv6"),
                        (RULE.format(name="nosuch", directions="src"), r":5:\d+: set 'nosuch'"),
                        (add, "set 'nets'.*hash:net"),
                        (add.replace("add-set nets", "add-set nosuch"), "set 'nosuch'")):
        for check in ((), ("--check",)):
            done = router.bpfw("load", "-", *check, stdin=wrong, check=False)
            equal(done.returncode, 1, "exit status")
            expect(re.search(said, done.stderr), f"the message is not about {said}: {done.stderr}")
    equal(router.bpfw("show").stdout, text, "rules in force afterwards")


@test()
def a_range_of_ports_is_in_the_set_as_a_whole(context):
    router = SetRouter(context, "tc")
    router.command("set", "create", "ports", "bitmap:port", "range", "1-1000")
    router.command("set", "add", "ports", "80-90")
    for entry, status in (("80", 0), ("80-90", 0), ("80-91", 1), ("79-90", 1), ("91", 1)):
        done = router.command("set", "test", "ports", entry, check=False)
        equal(done.returncode, status, f"status of {entry}: {done.stderr}")


@test(False, True)
def the_last_of_many_ranges_of_a_port_counts(context, there):
    """As many lines as a set of ports takes, over each other: each port is put once, not by each line."""
    router = SetRouter(context, "tc")
    create = "create ports bitmap:port range 0-65535 timeout 0 comment\n"
    lines = [f'add ports {i % 2}-65535 timeout {100000 + i} comment "{i}"' for i in range(65533)]
    lines += ['add ports 80-90 timeout 1000 comment "some"', "add ports 85", "add ports 3-3"]
    if there:
        router.command("set", "load", "-", stdin=create)
    began = time.monotonic()
    router.command("set", "load", "-",
                   stdin=("" if there else create) + "\n".join(lines) + "\n")
    took = time.monotonic() - began
    listed = router.command("set", "list", "ports").stdout.splitlines()[1:]
    equal(len(listed), 65536, "ports in the set")
    shown = {int(line.split()[2]): re.sub(r" timeout (\d+)", "", line) for line in listed}
    for port, comment in ((0, "65532"), (1, "65532"), (3, None), (79, "65532"), (80, "some"),
                          (85, None), (90, "some"), (91, "65532"), (65535, "65532")):
        equal(shown[port], f"add ports {port}" + (f' comment "{comment}"' if comment else ""),
              f"port {port}")
    expect(took < 60, f"the load took {took:.0f} s")


@test()
def the_longest_timeout_is_listed_as_what_loads_again(context):
    """Some are listed in the tick of the clock in which they were added, and have most left."""
    router = SetRouter(context, "tc")
    for _ in range(20):
        router.command("set", "load", "-", stdin="create long hash:ip timeout 0\n"
                       "add long 192.0.2.1 timeout 2147483\n")
        router.command("set", "load", "-", stdin=router.command("set", "list", "long").stdout)


@test()
def comments_are_json_whatever_they_hold(context):
    """Bytes that are not UTF-8 as in `bpfw filter show --json`: as the character of that number."""
    router = SetRouter(context, "tc")
    router.command("set", "create", "noted", "hash:ip", "comment")
    router.command("set", "add", "noted", "192.0.2.1", "comment", "gr\udcfc\u00dfe \\")
    listed = json.loads(router.command("set", "list", "--json").stdout)
    equal(listed[0]["entries"], [{"entry": "192.0.2.1", "comment": "gr\u00fc\u00dfe \\"}], "entries")


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def the_block_list_is_before_all_rules(context, hook, version):
    """Whether it was there before the rules or not, and where the family has no rules at all."""
    router = SetRouter(context, hook)
    source = NEAR[version][0]
    router.load(ACCEPT_WEB.format(port=80).replace("FORWARD DROP", "FORWARD ACCEPT"), 4)
    expect(passes(router, FAR[version][0], version), "blocked without a list")
    router.command("block", "add", source, "--for", "1h")
    expect(not passes(router, FAR[version][0], version), "the block list is not in force")
    blocked = [part["blocked"] for part in json.loads(router.command("block", "list", "--json").stdout)
               if part["family"] == FAMILY[version]]
    equal(blocked, [{"packets": 1, "bytes": 28 if version == 4 else 48}], "what was blocked")
    router.command("block", "del", source)
    expect(passes(router, FAR[version][0], version), "what is blocked no more")
    router.bpfw("unload")
    router.command("block", "add", f"{source}/{24 if version == 4 else 64}")
    expect(passes(router, FAR[version][0], version), "blocked without a filter")
    router.load(ACCEPT_WEB.format(port=7), 4)
    expect(not passes(router, FAR[version][0], version), "the list is not in force after a load")


@test(*FILTER_HOOKS)
def a_rule_blocks_for_a_while(context, hook):
    """Who asks for port 9 is in the set for two seconds."""
    router = SetRouter(context, hook)
    router.command("set", "create", "seen", "hash:ip", "timeout", "600")
    rules = ["-A FORWARD -m set --match-set seen src -j DROP",
             "-A FORWARD -p udp -m udp --dport 9 -j SET --add-set seen src --exist --timeout 2"]
    router.load(NO_RULES.replace("COMMIT", "\n".join([*rules, "COMMIT"])))
    expect(passes(router), "dropped before")
    arrived(router, 4, [datagram(4, FAR[4][0], 9)])
    expect(not passes(router), "the rule has added nothing")
    time.sleep(2.5)
    expect(passes(router), "the entry has not ended")


@test(*FILTER_HOOKS)
def why_looks_sets_up_and_changes_none(context, hook):
    router = SetRouter(context, hook)
    router.command("set", "create", "seen", "hash:ip")
    rules = ["-A FORWARD -m set ! --match-set seen src -j SET --add-set seen src",
             "-A FORWARD -m set --match-set seen src -j DROP"]
    router.load(NO_RULES.replace("COMMIT", "\n".join([*rules, "COMMIT"])))
    question = ("why", "--in", "lan0", "--proto", "udp", "--src", NEAR[4][0], "--dst", FAR[4][0],
                "--sport", "1", "--dport", "7")
    said = router.bpfw(*question).stdout
    expect(re.search(r"FORWARD:1 +match ", said), f"the set holds nothing yet:\n{said}")
    equal(entries(router.command("set", "list").stdout), set(), "entries after why")
    router.command("set", "add", "seen", NEAR[4][0])
    expect("DROP by rule FORWARD:2" in router.bpfw(*question).stdout, "the set was not looked up")
    router.command("block", "add", NEAR[4][0])
    expect("block list" in router.bpfw(*question).stdout, "the block list is not named")
    blocked = json.loads(router.command("block", "list", "--json").stdout)[0]["blocked"]
    equal(blocked["packets"], 0, "packets that why has counted as blocked")


# Of each kind: what the set holds before, more that is added to it, and another kind.
HELD = {
    "hash:ip": ("192.0.2.{}", "hash:net"),
    "hash:net": ("192.0.{}.0/24", "hash:ip"),
    "hash:ip,port": ("192.0.2.{},udp:53", "bitmap:port range 0-100"),
    "hash:net,port": ("192.0.{}.0/24,tcp:80", "hash:ip"),
    "bitmap:port": ("{}", "hash:ip"),
}


def noted(kind, number, text):
    return f'add held {HELD[kind][0].format(number)} comment "{text}"\n'


def create(kind, more=""):
    ports = " range 0-100" if kind == "bitmap:port" else ""
    return f"create held {kind}{ports} comment{more}\n"


def failing_change(kind, change):
    """The text of a load that is made to fail."""
    if change == "other kind":
        return f"create held {HELD[kind][1]} comment\n"
    count = {"few": 4, "many": 7, "replace": 3}[change]
    begin = create(kind) if change == "replace" else ""
    return begin + "".join(noted(kind, number, "new") for number in range(2, 2 + count))


@test(*((kind, change) for kind in HELD for change in ("few", "many", "replace", "other kind")))
def a_load_that_fails_changes_nothing(context, kind, change):
    """The kernel has no memory for a map, an entry or a comment, whichever it is."""
    if not shutil.which("strace"):
        raise Skip("no strace here")
    router = SetRouter(context, "tc")
    before = create(kind) + "".join(noted(kind, number, "old") for number in (1, 2, 3))
    text = failing_change(kind, change)

    def load(*strace):
        return router.namespace.run(
            "nsenter", f"--net={router.namespace.path}", "strace", "-f", *strace, binary(), "set",
            "load", "-", stdin=text, check=False,
            # LeakSanitizer does not work on a process that is traced.
            env=environment(ASAN_OPTIONS="detect_leaks=0"))

    def held():
        return router.command("set", "list", "held").stdout

    router.command("set", "load", "-", stdin=before)
    old = held()
    commands = re.findall(r"\bbpf\((\w+)", load("-e", "trace=bpf").stderr)
    router.command("set", "destroy", "held")
    router.command("set", "load", "-", stdin=before)
    steps = [at for at, command in enumerate(commands, 1)
             if command in ("BPF_MAP_CREATE", "BPF_MAP_UPDATE_ELEM")]
    expect(len(steps) > 3, f"the load does nothing: {commands}")
    failed = 0
    for step in steps[::max(len(steps) // STEPS, 1)] + steps[-1:] if STEPS else steps:
        done = load("-o", "/dev/null", "-e", f"inject=bpf:error=ENOMEM:when={step}")
        failed += done.returncode
        if done.returncode:
            equal(held(), old, f"the set after bpf() call {step} of {commands} failed")
        router.command("set", "load", "-", stdin=before)
        equal(held(), old, "the set as it was")
    expect(failed, "no load has failed")


@test(*(kind for kind in HELD if kind != "bitmap:port"))
def a_load_that_does_not_fit_changes_nothing(context, kind):
    router = SetRouter(context, "tc")
    before = create(kind, " maxelem 5") + "".join(noted(kind, n, "old") for n in (1, 2, 3))
    router.command("set", "load", "-", stdin=before)
    old = router.command("set", "list", "held").stdout
    for change in ("few", "many"):
        text = failing_change(kind, change).replace(noted(kind, 2, "new"), noted(kind, 9, "new"))
        done = router.command("set", "load", "-", stdin=text, check=False)
        equal(done.returncode, 1, f"status of {change}")
        expect("maxelem" in done.stderr, f"no reason: {done.stderr}")
        equal(router.command("set", "list", "held").stdout, old, f"the set after {change}")


@test()
def first_loads_at_once_use_one_bpffs(context):
    """No mount hides what another one has pinned; strace makes mounts slow."""
    if not shutil.which("strace"):
        raise Skip("no strace here")
    router = SetRouter(context, "tc")
    script = f"""
        while umount /sys/fs/bpf 2>/dev/null; do :; done
        for n in 1 2 3; do
            echo "create held$n hash:ip" |
                strace -f -o /dev/null -e inject=mount:delay_enter=200000 {binary()} set load - &
            pids="$pids $!"
        done
        for pid in $pids; do wait $pid || exit; done
        grep -c ' /sys/fs/bpf ' /proc/self/mounts
        {binary()} set list --terse"""
    done = router.namespace.run("nsenter", f"--net={router.namespace.path}", "unshare", "--mount",
                                "sh", "-c", script, env=environment(ASAN_OPTIONS="detect_leaks=0"))
    mounts, listed = done.stdout.split("\n", 1)
    equal(mounts, "1", "mounts of bpffs")
    equal(sorted(re.findall(r"^create (\S+)", listed, re.MULTILINE)),
          [f"held{n}" for n in (1, 2, 3)], "sets")


class Million:
    """Random prefixes, as text and as ranges."""

    def __init__(self, version):
        self.random = random.Random(f"{SEED} million {version}")
        self.version = version
        self.bits = 32 if version == 4 else 128
        prefixes = [self.prefix() for _ in range(MILLION)]
        self.text = "\n".join([f"create million hash:net family {FAMILY[version]} "
                               f"maxelem {MILLION}", *map(self.line, prefixes), ""])
        self.first, self.last = [], []
        prefixes.sort()
        for first, length in prefixes:
            last = first | (1 << self.bits - length) - 1
            if self.last and first <= self.last[-1] + 1:
                self.last[-1] = max(self.last[-1], last)
            else:
                self.first.append(first)
                self.last.append(last)

    def prefix(self):
        if self.version == 4:
            length = self.random.choice([24, 24, 24, 20, 22, 28, 30, 32])
            address = self.random.randrange(11 << 24, 100 << 24)
        else:
            length = self.random.choice([48, 48, 48, 36, 44, 56, 64, 128])
            address = 0x2a << 120 | self.random.getrandbits(120)
        return address >> self.bits - length << self.bits - length, length

    def name(self, address):
        return str(ipaddress.ip_address(address.to_bytes(self.bits // 8, "big")))

    def line(self, prefix):
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        address = socket.inet_ntop(family, prefix[0].to_bytes(self.bits // 8, "big"))
        return f"add million {address}/{prefix[1]}"

    def holds(self, address):
        place = bisect.bisect_right(self.first, address) - 1
        return place >= 0 and address <= self.last[place]

    def probes(self):
        """Where ranges begin and end, and the addresses beside."""
        for _ in range(PROBES // 4):
            place = self.random.randrange(len(self.first))
            yield from (self.first[place] - 1, self.first[place], self.last[place],
                        self.last[place] + 1)


@test(("xdp", 4), ("tc", 6))
def a_million_prefixes(context, hook, version):
    router = SetRouter(context, hook)
    router.namespace.ip(f"route replace default via {FAR[version][0]} dev wan0")
    million = Million(version)
    begin = time.monotonic()
    router.command("set", "load", "-", stdin=million.text)
    context.note(f"{MILLION} prefixes loaded in {time.monotonic() - begin:.1f} s")
    router.load(RULE.format(name="million", directions="dst"), version)
    probes = list(million.probes())
    came = arrived(router, version, (datagram(version, million.name(address), 1000 + number)
                                     for number, address in enumerate(probes)))
    wrong = [million.name(address) for number, address in enumerate(probes)
             if (1000 + number in came) == million.holds(address)]
    expect(0 < len(came) < len(probes), f"{len(came)} of {len(probes)} packets came through")
    equal(wrong, [], "addresses that were judged wrongly")


if __name__ == "__main__":
    main(jobs=2)
