#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, rules with connlimit: iptables is the oracle.

The same connections (TCP, UDP, ICMP; opened, closed, begun anew, forgotten by conntrack) of several
hosts go through a router with the kernel's rules, and again with bpfw's. What comes out after each
packet has to be the same, and so have the counters of all rules.

BPFW_TEST_SEED chooses the connections, BPFW_TEST_STEPS how many steps there are.
"""

import os
import random
import socket
import struct
import time

from filter_state_test import (COUNTING, ECHO, ECHO_REPLY, ICMP, LAN0, NAT, TRACK, Tcp, Udp, Wire,
                               essence, icmp, met, needs_kfuncs)
from filter_test import (FAR, NEAR, NO_RULES, NOISE, Router, first_differences, iptables_variant,
                         without_noise)
from netlab import equal, expect, main, test
from netlab import frames
from netlab import lab as topology
from netlab.bpfw import binary, environment
from netlab.lab import run
from nobtf_test import KERNEL_BTF, without_btf

SEED = int(os.environ.get("BPFW_TEST_SEED", "1"))
STEPS = int(os.environ.get("BPFW_TEST_STEPS", "40"))
HOOKS = ("tc", "xdp")
VIRTUAL = topology.VIRTUAL
TICKS = 0.012  # the kernel looks through a list once in a jiffy, and believes what is two old
YOUNG = 0.13   # what bpfw believes without conntrack's word: 100 ms, in units of 1.05

DNAT = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
{rule}
COMMIT
"""

SYN = "-p tcp -m tcp{port} --tcp-flags FIN,SYN,RST,ACK SYN"


def limit(words, number, mask, side="s"):
    return (f"-m connlimit --connlimit-{words} {number} --connlimit-mask {mask} "
            f"--connlimit-{side}addr")


def with_rule(rule):
    return NO_RULES.replace("COMMIT", f"{rule}\nCOMMIT")


def kinds(version):
    """What begins a connection, by protocol: the list is looked through to its end for it."""
    echo = ("-p icmp -m icmp --icmp-type 8" if version == 4
            else "-p ipv6-icmp -m icmp6 --icmpv6-type 128")
    new = "-m conntrack --ctstate NEW"
    return (SYN.format(port=""), f"-p udp -m udp --dport 7 {new}", f"{echo} {new}")


def rules_of(version):
    """Rules that count, for all lengths of masks and both sides, and then some that drop."""
    whole, part = (32, 24) if version == 4 else (128, 64)
    rules = []
    for chain in ("INPUT", "FORWARD"):
        for kind in kinds(version):
            rules += [f"-A {chain} {kind} {limit(*asked)}" for asked in (
                ("above", 0, whole), ("above", 1, whole), ("above", 2, part), ("upto", 1, whole),
                ("upto", 3, 0), ("above", 2, whole, "d"), ("upto", 1, part, "d"))]
        rules += [f"-A {chain} {SYN.format(port=' --dport 22')} -j DROP",
                  f"-A {chain} {SYN.format(port=' --dport 80')} {limit('above', 2, whole)} -j DROP",
                  f"-A {chain} {kinds(version)[1]} {limit('upto', 2, part)} -j ACCEPT",
                  f"-A {chain} {kinds(version)[1]} -j DROP"]
    return COUNTING.format(noise="\n".join(NOISE[version]), rules="\n".join(rules))


class Connection(Tcp):
    """Steps of a connection, each of them more than one segment."""

    def attempt(self):
        return [self.segment(False, frames.SYN, 0)]

    def open(self):
        outs = self.attempt()
        if outs[0][self.other]:
            outs += [self.segment(True, frames.SYN | frames.ACK, 0),
                     self.segment(False, frames.ACK, 0)]
        return outs

    def insist(self):
        """The same SYN twice: it is one connection."""
        remembered = list(self.next)
        outs = self.attempt()
        self.next = remembered
        time.sleep(TICKS)
        return outs + self.attempt()

    def finish(self):
        return [self.segment(answer, frames.FIN | frames.ACK if fin else frames.ACK, 0)
                for answer, fin in ((False, True), (True, True), (False, False))]

    def reset(self):
        return [self.segment(False, frames.RST | frames.ACK, 0)]

    def anew(self):
        """The same ends again, as after TIME_WAIT: later sequence numbers."""
        self.next = [(number + 100000) % 2**32 for number in self.next]
        return self.attempt()


class Question(Udp):
    def open(self):
        return [self.say(False, socket.IPPROTO_UDP, self.make)]

    def answer(self):
        return [self.say(True, socket.IPPROTO_UDP, self.make)] if self.last else []

    @staticmethod
    def make(src, dst, sport, dport):
        return frames.udp(src, dst, sport, dport, b"hallo")


class Ping(Udp):
    def open(self):
        return [self.echo(False, self.sport)]

    def answer(self):
        if not self.last:
            return []
        header = 20 if self.version == 4 else 40
        return [self.echo(True, struct.unpack_from("!H", self.last, header + 4)[0])]

    def echo(self, answer, identifier):
        kind = (ECHO_REPLY if answer else ECHO)[self.version]

        def make(src, dst, _sport, _dport):
            return icmp(self.version, src, dst, kind, 0,
                        struct.pack("!HH", identifier, 1) + b"hallo")
        return self.say(answer, ICMP[self.version], make)


class Afternoon:
    """What came out of all steps of a generated afternoon, and what the rules had counted."""

    def __init__(self, router, wire, counters):
        self.router, self.wire, self.counters = router, wire, counters
        self.random = random.Random(f"{SEED} {wire.nat} {wire.version}")
        self.open_ones, self.seen, self.port = [], [], 2000

    def there(self):
        version = self.wire.version
        if self.wire.nat == "dnat":
            return self.random.choice([VIRTUAL[version], LAN0[version]])
        return self.random.choice([FAR[version][0], FAR[version][0], LAN0[version]])

    def begin(self, kind, port=80):
        dialogue = kind(self.wire, self.random, "near", self.there(), port)
        # NAT answers to one host only, and then all hosts are this one.
        dialogue.here = self.random.choice(NEAR[self.wire.version][:2])
        self.port += 1
        dialogue.sport = self.port
        self.open_ones.append(dialogue)
        return dialogue

    def forget(self, dialogue):
        protocol = {Connection: "tcp", Question: "udp"}.get(type(dialogue))
        if protocol:
            self.router.namespace.run("conntrack", "-D", "-f", f"ipv{self.wire.version}", "-p",
                                      protocol, "--orig-port-src", str(dialogue.sport), check=False)
        return []

    def first_steps(self):
        """The same ends again after TIME_WAIT: while this is the only connection. The kernel does
        not look at what stands behind a packet's own connection in its list."""
        first = self.begin(Connection, 443)
        first.there = FAR[self.wire.version][0] if self.wire.nat != "dnat" else first.there
        yield "open", first.open()
        yield "finish", first.finish()
        yield "anew", first.anew()
        yield "open", self.begin(Connection, 443).open()

    def step(self):
        connections = [one for one in self.open_ones if isinstance(one, Connection)]
        asked = [one for one in self.open_ones if not isinstance(one, Connection)]
        chance = self.random.random()
        if chance < 0.55 or not asked or not connections:
            kind, port = self.random.choice([(Connection, 80), (Connection, 80), (Connection, 443),
                                             (Connection, 22), (Question, 7), (Question, 7),
                                             (Ping, 0), (Ping, 0)])
            dialogue = self.begin(kind, port)
            if kind is Connection and chance < 0.2:
                return "insist", dialogue.insist()
            return f"open {kind.__name__}", dialogue.open()
        if chance < 0.9:
            way = self.random.choice(["finish", "reset", "finish", "reset", "forget"])
            one = self.random.choice(self.open_ones if way == "forget" else connections)
            # What belongs to no connection any more would begin another one (tcp_loose).
            self.open_ones.remove(one)
            return way, self.forget(one) if way == "forget" else getattr(one, way)()
        return "answer", self.random.choice(asked).answer()

    def all_steps(self):
        yield from self.first_steps()
        for _ in range(STEPS):
            yield self.step()

    def pass_by(self):
        for name, outs in self.all_steps():
            # What was dropped by a rule behind, answered by a RST or forgotten still counts.
            alive = name in ("finish", "reset", "answer") or (outs and outs[0]["far"])
            time.sleep(TICKS if alive else YOUNG)
            self.seen.append((name, outs, self.counters()))
        return self.seen


def with_rules(router, version, nat, load, counters, unload):
    nft = NAT[nat] if nat == "masquerade" else ""
    router.namespace.run("nft", "-f", "-", stdin=f"flush ruleset\n{TRACK}{nft}")
    load()
    router.namespace.run("conntrack", "-F", check=False)
    wire = Wire(router, version, nat, True)
    seen = Afternoon(router, wire, lambda: without_noise(counters(), version)).pass_by()
    unload()
    return seen


def differences(ours, theirs, nat):
    """The first step after which something else came out, or was counted."""
    for number, (mine, other) in enumerate(zip(ours, theirs)):
        said = f"step {number} of {[step[0] for step in ours[:number + 1]]}: "
        if mine[2] != other[2]:
            return said + "counters\n" + str(first_differences(mine[2], other[2]))
        for out, wanted in zip(mine[1], other[1]):
            for side in ("near", "far"):
                got = [[essence(packet, nat) for packet in which[side]] for which in (out, wanted)]
                if got[0] != got[1]:
                    return f"{said}at the {side} side {got}"
    return None


@test(*((hook, version, "plain") for hook in HOOKS for version in (4, 6)),
      ("tc", 4, "masquerade"), ("xdp", 6, "masquerade"), ("tc", 6, "dnat"), ("xdp", 4, "dnat"))
def counts_connections_as_iptables(context, hook, version, nat):
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.ip(f"route add {VIRTUAL[version]} via {FAR[version][0]}")
    iptables, command = iptables_variant(router.namespace, version), router.namespace.run
    table = DNAT.format(rule=f"-A PREROUTING -d {VIRTUAL[version]} -j DNAT --to-destination "
                             f"{FAR[version][0]}" if nat == "dnat" else "")
    text = table + rules_of(version)

    def clean():
        command(f"{iptables}-restore", stdin=DNAT.format(rule="") + NO_RULES)
        command("nft", "flush", "ruleset", check=False)

    def load():
        # The kernel goes on doing NAT.
        command(f"{iptables}-restore", stdin=table + NO_RULES)
        router.load(text, version)
    theirs = with_rules(router, version, nat, lambda: command(f"{iptables}-restore", stdin=text),
                        lambda: command(f"{iptables}-save", "-c", "-t", "filter").stdout, clean)
    ours = with_rules(router, version, nat, load,
                      lambda: router.bpfw("show", f"-{version}", "--counters").stdout,
                      lambda: router.bpfw("unload"))
    differs = differences(ours, theirs, nat)
    expect(not differs, differs)
    equal(len(ours), len(theirs), "steps")
    for kind in kinds(version):
        for words in ("above 0", "upto 1") + (("above 1",) if kind == kinds(version)[0] else ()):
            asked = limit(*words.split(), 32 if version == 4 else 128)
            expect(any(met(ours[-1][2], f"-A {chain} {kind} {asked}") for chain in (
                "FORWARD", "INPUT")), f"nothing was met by {kind} {asked}")


OF_ITS_OWN = with_rule(f"-A OUTPUT -p udp -m udp --dport 7 {limit('above', 2, 32, 'd')} -j DROP")


@test(*HOOKS)
def counts_what_goes_out(context, hook):
    """Of the router's own: conntrack has what is dropped here, and it does not count."""
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.run("nft", "-f", "-", stdin=TRACK)
    router.load(OF_ITS_OWN)
    wire = Wire(router, 4, "plain", True)
    opened = [context.keep(router.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
              for _ in range(5)]

    def arrive(*which):
        for number in which:
            opened[number].sendto(b"hallo", (FAR[4][0], 7))
            time.sleep(TICKS)
        return len(wire.send("near", None)["far"])
    equal(arrive(0, 1, 2, 3), 2, "connections of four that were let out")
    equal(arrive(0, 1, 1, 2), 3, "packets of two connections that count and one that does not")
    router.namespace.run("conntrack", "-D", "-p", "udp", "--orig-port-src",
                         str(opened[0].getsockname()[1]), check=False)
    time.sleep(YOUNG)
    equal(arrive(4, 2), 1, "connections of two, after one is gone")


LIMITED = with_rule(f"-A FORWARD {SYN.format(port=' --dport 80')} {limit('above', 2, 32)} -j DROP")


def attempt(wire, port):
    """Does a SYN get to the other side?"""
    dialogue = Connection(wire, random.Random(port), "near", FAR[4][0], 80)
    dialogue.sport = port
    out = dialogue.attempt()
    time.sleep(YOUNG)
    return bool(out[0]["far"])


@test(*HOOKS)
def why_counts_nothing(context, hook):
    router = Router(context, hook)
    needs_kfuncs(router)
    router.namespace.run("nft", "-f", "-", stdin=TRACK)
    router.load(LIMITED)
    wire = Wire(router, 4, "plain", True)

    def verdict(port):
        said = router.bpfw("why", "--in", "lan0", "--proto", "tcp", "--src", NEAR[4][0], "--dst",
                           FAR[4][0], "--sport", str(port), "--dport", "80").stdout
        return said.splitlines()[-1]
    expect(attempt(wire, 5000), "the first connection was dropped")
    for port in (6000, 6001):
        equal(verdict(port), "verdict: ACCEPT by the policy of FORWARD", "of a second connection")
    expect(attempt(wire, 5001), "the second connection was dropped: why has counted")
    equal(verdict(6004), "verdict: DROP by rule FORWARD:1", "of a third connection")
    expect(not attempt(wire, 5002), "the third connection was let in")


@test("tc")
def refuses_by_name(context, hook):
    router = Router(context, hook)
    needs_kfuncs(router)
    router.load(LIMITED)
    wrong = LIMITED.replace("above 2", "above 257")
    done = router.bpfw("load", "-", stdin=wrong, check=False)
    equal(done.returncode, 1, "exit status with a limit of 257")
    expect(":5:" in done.stderr and "a limit above 256" in done.stderr,
           f"not by name: {done.stderr}")
    if os.path.exists(KERNEL_BTF):
        done = run([*without_btf(router.namespace), binary(), "filter", "load", "-"],
                   stdin=LIMITED, check=False, env=environment())
        equal(done.returncode, 1, "exit status without the kernel's BTF")
        expect("'connlimit' need" in done.stderr and "a kernel with BTF" in done.stderr,
               f"not by name: {done.stderr}")
    equal(router.bpfw("show").stdout, LIMITED, "rules in force afterwards")
    router.load(LIMITED.replace("above 2", "above 256"))


if __name__ == "__main__":
    main(jobs=2)
