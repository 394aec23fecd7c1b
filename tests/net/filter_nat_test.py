#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter, first packets of connections that the kernel's table nat translates: iptables is the
oracle.

The kernel has the table nat, and the filter table once in iptables, once in bpfw. The same
dialogues go through both, most of them to addresses that nat sends elsewhere. What comes out after
each packet and what the rules count has to be the same.

BPFW_TEST_SEED chooses the dialogues, BPFW_TEST_STEPS how long they are.
"""

import json
import os
import random
import re
import socket

from filter_commands_test import capture, why
from filter_state_test import (Echo, MARKER, MATCHES, Plain, Tcp, Udp, Wire, first_step, met,
                               needs_kfuncs)
from filter_test import (FAR, NEAR, NO_RULES, NOISE, Router, first_differences, iptables_variant,
                         without_noise)
from netlab import Skip, equal, expect, frames, main, test
from netlab import lab as topology
from netlab.bpfw import binary, environment
from netlab.lab import run as run_here
from nobtf_test import without_btf

SEED = int(os.environ.get("BPFW_TEST_SEED", "1"))
STEPS = int(os.environ.get("BPFW_TEST_STEPS", "100"))
HOOKS = ("tc", "xdp")
LAN0, WAN0, VIRTUAL = topology.LAN0, topology.WAN0, topology.VIRTUAL
BLOCK = {4: "10.0.7.0/24", 6: "fd00:7::/64"}  # NETMAP makes NEAR of it
MAPPED = {4: "10.0.7.2", 6: "fd00:7::2"}
INSIDE = {4: "10.0.1.0/24", 6: "fd00:1::/64"}

DOCKER = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {inside} -o wan0 -j MASQUERADE
-A DOCKER -i lan0 -j RETURN
-A DOCKER ! -i lan0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination {host}:80
-A DOCKER ! -i lan0 -p udp -m udp --dport 8053 -j DNAT --to-destination {host2}:53
-A DOCKER ! -i lan0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination {host}:81
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
{noise}
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 8081 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p udp -m udp --dport {marker} -j ACCEPT
-A FORWARD -o lan0 -j DOCKER
-A FORWARD -i lan0 ! -o lan0 -j ACCEPT
-A DOCKER -d {host} ! -i lan0 -o lan0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER -d {host2} ! -i lan0 -o lan0 -p udp -m udp --dport 53 -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
"""

FORWARDS = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:further - [0:0]
-A PREROUTING -p tcp -m tcp --dport 8083 -j ACCEPT
-A PREROUTING -i wan0 -d {wan} -p tcp -m tcp --dport 8080 -j DNAT --to-destination {host}:80
-A PREROUTING -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 22
-A PREROUTING -p udp -m udp --dport 8082 -j REDIRECT
-A PREROUTING -p tcp -m tcp --dport 8080:8090 -j LOG --log-prefix "new "
-A PREROUTING -i wan0 -g further
-A PREROUTING -p tcp -m tcp --dport 8084 -j DNAT --to-destination {host2}
-A POSTROUTING -s {inside} -o wan0 -j MASQUERADE
-A further -d {block} -j NETMAP --to {inside}
-A further -p tcp -m tcp --dport 8084 -m conntrack --ctstate NEW -j DNAT --to-destination {host}
-A further -p udp -m multiport --dports 8085,8086 -j DNAT --to-destination {lan}:53
-A further -p tcp -m tcp --dport 8083 -j DNAT --to-destination {host}:80
-A further -d {virtual} -j DNAT --to-destination {host}
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
{noise}
{rules}
COMMIT
"""


def bracketed(version, address):
    return address if version == 4 else f"[{address}]"


def values(version):
    return {"noise": "\n".join(NOISE[version]), "marker": MARKER, "inside": INSIDE[version],
            "block": BLOCK[version], "virtual": VIRTUAL[version], "wan": WAN0[version]}


def docker(version):
    hosts = [bracketed(version, address) for address in NEAR[version][:2]]
    text = DOCKER.format(host=hosts[0], host2=hosts[1], **values(version))
    return text.replace("-d [", "-d ").replace("] !", " !")


def counting_rules(version):
    rules = [f"-A {chain} {match}" for chain in ("INPUT", "FORWARD", "OUTPUT")
             for match in (*MATCHES, "-m conntrack --ctstate DNAT")]
    addresses = (*NEAR[version][:2], FAR[version][0], WAN0[version], LAN0[version],
                 VIRTUAL[version], MAPPED[version])
    length = 32 if version == 4 else 128
    rules += [f"-A {chain} -d {address}/{length} -m conntrack --ctstate NEW"
              for address in addresses for chain in ("INPUT", "FORWARD")]
    rules += [f"-A {chain} -p {protocol} -m {protocol} --dport {port} -m conntrack --ctstate NEW"
              for port in (22, 53, 80, *range(8080, 8087)) for chain in ("INPUT", "FORWARD")
              for protocol in ("tcp", "udp")]
    return "\n".join(rules)


def forwards(version):
    def plain(address):
        return address
    host, host2 = NEAR[version][:2]
    text = FORWARDS.format(rules=counting_rules(version), host=bracketed(version, host),
                           host2=plain(host2), lan=bracketed(version, LAN0[version]),
                           **values(version))
    # An address in brackets has a port.
    return text.replace(f"[{host}]\n", f"{host}\n")


RULESETS = {"docker": docker, "forwards": forwards}


def only_nat(text):
    return text[:text.index("*filter")] + NO_RULES


def destinations(version):
    """Where dialogues go: the side they come from, address, port."""
    wan, near = WAN0[version], NEAR[version][0]
    there = [("far", wan, port) for port in (22, 80, 8053, *range(8080, 8087))]
    there += [("far", VIRTUAL[version], 80), ("far", MAPPED[version], 80), ("far", near, 80)]
    there += [("near", wan, 8080), ("near", LAN0[version], 8081), ("near", FAR[version][0], 8084),
              ("near", FAR[version][0], 80), ("near", LAN0[version], 8082)]
    return there


def talk(wire, number):
    """What came out of all steps of a generated afternoon."""
    generator = random.Random(f"{SEED} {number} {wire.version}")
    seen, open_ones, places = [], [], destinations(wire.version)
    for _ in range(STEPS):
        if len(open_ones) < 6 or generator.random() < 0.4:
            kind = generator.choice([Tcp, Tcp, Tcp, Udp, Udp, Udp, Echo, Plain])
            side, there, port = generator.choice(places)
            open_ones.append(kind(wire, generator, side, there, port))
            open_ones = open_ones[-6:]
            dialogue = open_ones[-1]
        else:
            dialogue = generator.choice(open_ones)
        chance = generator.random()
        if chance < 0.05:
            out = dialogue.error(generator.random() < 0.5)
        else:
            out = dialogue.go_on()
        seen.append((type(dialogue).__name__, (dialogue.there, dialogue.dport), out))
    return seen


def with_rules(router, name, number, load, counters):
    load()
    router.namespace.run("conntrack", "-F", check=False)
    wire = Wire(router, number[1], "nat", name == "docker")
    try:
        seen = talk(wire, number[0])
    except AssertionError as error:
        raise AssertionError(f"{error}\n{counters()}") from error
    return seen, counters()


def compare(router, name, number, version):
    text = RULESETS[name](version)
    iptables = iptables_variant(router.namespace, version, number)
    run = router.namespace.run

    def restore(rules):
        run(f"{iptables}-restore", stdin=rules)

    def load():
        restore(only_nat(text))
        said = router.load(text, version).stderr
        equal(said, "", "what bpfw says of rules that it understands")

    theirs, wanted = with_rules(router, name, (number, version), lambda: restore(text),
                                lambda: run(f"{iptables}-save", "-c", "-t", "filter").stdout)
    ours, counted = with_rules(router, name, (number, version), load,
                               lambda: router.bpfw("show", f"-{version}", "--counters").stdout)
    router.bpfw("unload")
    restore(NO_RULES)
    run("nft", "flush", "ruleset", check=False)
    counted, wanted = without_noise(counted, version), without_noise(wanted, version)
    differs = first_step(ours, theirs, "nat")
    expect(not differs, f"{name}: {differs}\n{first_differences(counted, wanted, 20)}")
    expect(counted == wanted, f"{name}: counters differ\n{first_differences(counted, wanted, 20)}")
    if name == "forwards":
        for chain in ("INPUT", "FORWARD"):
            expect(met(counted, f"-A {chain} -m conntrack --ctstate DNAT"),
                   f"no packet was translated to get to {chain}")


@test(*((hook, version, name) for hook in HOOKS for version in (4, 6) for name in RULESETS))
def judges_first_packets_as_iptables(context, hook, version, name):
    router = Router(context, hook)
    needs_kfuncs(router)
    for virtual in (VIRTUAL[version], BLOCK[version]):  # what cannot be routed is judged by INPUT
        router.namespace.ip(f"route add {virtual} via {NEAR[version][0]}")
    for number in range(2):  # with both variants of iptables
        compare(router, name, number, version)


def tcp_from_outside(router, version, port):
    """What becomes of a segment that begins a connection to the router's outer address."""
    answer, = why(router, "--in", "wan0", "--proto", "tcp", "--src", FAR[version][0],
                  "--dst", WAN0[version], "--dport", str(port))
    return answer


def hooks_of(context, router, version, ports):
    """The same of many ports at once: the chains that are asked."""
    ends = FAR[version][0], WAN0[version]
    make = frames.ipv4 if version == 4 else frames.ipv6
    packets = [frames.ethernet(topology.WAN0_MAC, topology.SERVER_MAC, make(
        *ends, socket.IPPROTO_TCP, frames.tcp(*ends, 1000, port, 1, 0, frames.SYN)))
        for port in ports]
    return [answer["hook"] for answer in why(router, "--in", "wan0", "--packet",
                                             capture(context, packets))]


def prepared(context, hook, version, name="docker"):
    """A router with the rules of that name in bpfw; of iptables with the table nat only."""
    router = Router(context, hook)
    needs_kfuncs(router)
    text = RULESETS[name](version)
    iptables = iptables_variant(router.namespace, version)
    router.namespace.run(f"{iptables}-restore", stdin=only_nat(text))
    router.load(text, version)
    return router, text


@test(*((hook, version) for hook in HOOKS for version in (4, 6)))
def why_tells_where_nat_sends_it(context, hook, version):
    router, text = prepared(context, hook, version)
    answer = tcp_from_outside(router, version, 8080)
    inner = f"{bracketed(version, NEAR[version][0])}:80"
    equal((answer["hook"], answer["destination"], answer["out"]), ("FORWARD", inner, "lan0"),
          "where it goes")
    equal((answer["verdict"], answer["chain"], answer["rule"]), ("ACCEPT", "DOCKER", 1), "verdict")
    rules = [line for line in text.splitlines() if line.startswith("-A ")]
    asked = [found for found in answer["met"] if found["table"] == "nat"]
    equal([(found["chain"], found["rule"]) for found in asked], [("PREROUTING", 1), ("DOCKER", 2)],
          "nat's rules")
    expect(all(found["text"] in rules for found in asked),
           f"not the rules' text: {answer['met']}")
    said = router.bpfw("why", "--in", "wan0", "--proto", "tcp", "--src", FAR[version][0], "--dst",
                       WAN0[version], "--dport", "8080").stdout
    expect(f"its destination becomes {inner}\n" in said, said)
    answer = tcp_from_outside(router, version, 22)
    equal((answer["hook"], answer["destination"], answer["verdict"]), ("INPUT", None, "ACCEPT"),
          "what nat leaves as it is")


@test(("tc", 4), ("xdp", 6))
def other_commands_keep_the_table(context, hook, version):
    router, _ = prepared(context, hook, version)
    shown = router.bpfw("show", f"-{version}").stdout
    expect("DNAT --to" not in shown and "PREROUTING" not in shown, f"nat is shown:\n{shown}")
    listed = json.loads(router.bpfw("show", f"-{version}", "--json").stdout)
    chains, = (family["chains"] for family in listed["families"])
    equal([chain["name"] for chain in chains], ["INPUT", "FORWARD", "OUTPUT", "DOCKER"], "chains")
    router.bpfw("zero", f"-{version}")
    for _ in range(2):
        equal(router.bpfw("flush", f"-{version}").stderr, "", "what flush says")
    expect("-A" not in router.bpfw("show", f"-{version}").stdout, "flush has left rules")
    answer = tcp_from_outside(router, version, 8080)
    equal((answer["hook"], answer["by"]), ("FORWARD", "policy"), "what decides after flush")
    router.load(shown, version)
    equal(tcp_from_outside(router, version, 8080)["hook"], "INPUT",
          "hook of a ruleset without a table nat")


UNKNOWN = """*nat
:PREROUTING ACCEPT [0:0]
:elsewhere - [0:0]
-A PREROUTING -p tcp -m tcp --dport 9000 -m statistic --mode random --probability 0.5 -j RETURN
-A PREROUTING -p tcp -m tcp --dport 9001 -j DNAT --to-destination {host}-{host2}
-A PREROUTING -p tcp -m tcp --dport 9002 -j DNAT --to-destination {bracketed}:80-90
-A PREROUTING -p tcp -m tcp --dport 9003 -m nothing --known -j ACCEPT
-A PREROUTING -p tcp -m tcp --dport 9004 -j DNAT --to-destination {bracketed}:80 --random
-A PREROUTING -p tcp -m tcp --dport 9005 -m set --match-set here src -j elsewhere
-A PREROUTING -p tcp -m limit --limit 5/sec -m tcp --dport 9006 -j ACCEPT
-A PREROUTING -p tcp -m tcp --dport 9007 -j TPROXY --on-port 80
-A PREROUTING -p tcp -m tcp --dport 9000:9009 -j DNAT --to-destination {bracketed}:80
-A PREROUTING -s {nowhere} -p nothing -j ACCEPT
-A elsewhere -p tcp -j DNAT --to-destination {bracketed}:80
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
COMMIT
"""


@test("tc", "xdp")
def what_only_the_kernel_can_tell(context, hook):
    """Such rules are named; what may match them is not translated, not by a later rule either."""
    router = Router(context, hook)
    needs_kfuncs(router)
    for version in (4, 6):
        host, host2 = NEAR[version][:2]
        text = UNKNOWN.format(host=host, host2=host2, bracketed=bracketed(version, host),
                              nowhere=MAPPED[version])
        said = router.load(text, version).stderr
        warned = [line for line in said.splitlines() if "of the table nat may translate" in line]
        equal([int(re.search(r"-:(\d+):\d+: ", line).group(1)) for line in warned],
              [4, 5, 6, 7, 8, 9, 10, 11, 13], f"lines that are warned of:\n{said}")
        for token in ("'statistic'", f"'{host}-{host2}'", "80-90'", "'nothing'", "'--random'",
                      "'set'", "'limit'", "'TPROXY'"):
            expect(token in said, f"{token} is not named:\n{said}")
        equal(hooks_of(context, router, version, range(9000, 9010)),
              ["INPUT"] * 8 + ["FORWARD"] * 2, f"IPv{version}: hooks of the ports from 9000 on")


@test("tc", "xdp")
def replies_are_for_forward(context, hook):
    """A router that masquerades: its rules ask for no state, and see the inner addresses."""
    router, _ = prepared(context, hook, 4)
    text = (only_nat(docker(4)).split("*filter", maxsplit=1)[0].replace("-A PREROUTING", "#")
            + "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"
            f"-A FORWARD -p udp -m udp --dport {MARKER} -j ACCEPT\n"
            f"-A FORWARD -i lan0 -s {NEAR[4][0]}/32 -j ACCEPT\n"
            f"-A FORWARD -i wan0 -d {NEAR[4][0]}/32 -j ACCEPT\nCOMMIT\n")
    router.load(text)
    wire = Wire(router, 4, "nat", True)
    talking = Udp(wire, random.Random(1), "near", FAR[4][0], 7)

    def hallo(answer):
        out = talking.say(answer, socket.IPPROTO_UDP, lambda *ends: frames.udp(*ends, b"hallo"))
        return len(out["near" if answer else "far"])
    equal(hallo(False), 1, "packets that went out")
    equal(talking.seen[0], WAN0[4], "the source that the other side sees")
    equal(hallo(True), 1, "answers that came back")


@test("tc")
def loads_where_nothing_is_tracked(context, hook):
    """Without BTF, or before Linux 6.0, the rest is in force, and the load says what is not."""
    router, text = Router(context, hook), docker(4)
    try:
        needs_kfuncs(router)
        command = [*without_btf(router.namespace), binary()]
    except Skip:
        command = ["nsenter", f"--net={router.namespace.path}", binary()]
    stateless = "\n".join(line for line in text.splitlines() if "conntrack" not in line) + "\n"
    done = run_here([*command, "filter", "load", "-", "--iface", "lan0", "--iface", "wan0"],
                    stdin=stateless, check=False, env=environment())
    equal(done.returncode, 0, f"exit status of a load that cannot track: {done.stderr}")
    expect("Linux 6.0" in done.stderr and "table nat" in done.stderr, done.stderr)
    equal(tcp_from_outside(router, 4, 8081)["hook"], "INPUT", "hook without tracking")
    if command[0] == "nsenter":
        return
    router.load(stateless)
    equal(tcp_from_outside(router, 4, 8081)["hook"], "FORWARD", "hook with tracking")


if __name__ == "__main__":
    main(jobs=2)
