#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""bpfw filter beside load: show --json, flush, log, why."""

import collections
import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from filter_state_test import needs_kfuncs
from filter_test import (ACCEPT_WEB, FAR, FILTER_HOOKS, NEAR, NOISE, NO_RULES, Frames, Router,
                         Ruleset, arrives, datagram, without_noise)
from netlab import equal, expect, frames, main, test
from netlab import lab as topology
from netlab.bpfw import binary, environment

WHY_PACKETS = int(os.environ.get("BPFW_TEST_PACKETS", "250"))

RICH = """*filter
:INPUT ACCEPT [3:180]
:FORWARD DROP [12345678901:9876543210987]
:OUTPUT ACCEPT [0:0]
:odd - [0:0]
:web - [0:0]
[1:40] -A INPUT -s 10.0.1.0/24 ! -d 10.0.1.1/32 -i lan+ -p tcp -m tcp --sport 1024:65535 \
! --dport 22 -m comment --comment "it\\'s \\"odd\\" \\\\ \u00fc" -j DROP
[18446744073709551615:5] -A FORWARD ! -o wan0 -p udp -m multiport --dports 53,67:68 -j web
[0:0] -A FORWARD ! -p esp -g odd
[7:700] -A odd -s 10.0.0.1/255.0.0.255
[0:0] -A web -j RETURN
COMMIT
"""
FLUSHED = """*filter
:INPUT ACCEPT [3:180]
:FORWARD DROP [12345678901:9876543210987]
:OUTPUT ACCEPT [0:0]
:odd - [0:0]
:web - [0:0]
COMMIT
"""


def listing(router, *words):
    return json.loads(router.bpfw("show", "--json", *words).stdout)


@test(*FILTER_HOOKS)
def counters_of_the_file_are_what_counting_begins_with(context, hook):
    """What show prints loads again to the same thing, counters included."""
    router = Router(context, hook)
    router.load(RICH)
    equal(router.bpfw("show", "--counters").stdout, RICH, "rules and counters after the load")
    router.load(router.bpfw("show", "--counters").stdout)
    equal(router.bpfw("show", "--counters").stdout, RICH, "after loading what show prints")
    text = ACCEPT_WEB.format(port=80).replace("-A FORWARD -p udp -m udp --dport 80",
                                              "[10:1000] -A FORWARD -p udp -m udp --dport 80")
    router.load(text)
    expect(arrives(router, 80), "the rule does not accept")
    shown = router.bpfw("show", "--counters").stdout
    expect("[11:1028] -A FORWARD -p udp -m udp --dport 80" in shown, f"counters:\n{shown}")


@test(4, 6)
def generated_rules_show_and_load_again(context, version):
    """With whatever the packets have counted."""
    router = Router(context, "tc")
    for number in range(2):
        router.load(Ruleset(1000 + number, version, True).text(), version)
        router.pass_frames(number, version, False)
        before = router.bpfw("show", f"-{version}", "--counters").stdout
        router.load(before, version)
        equal(without_noise(router.bpfw("show", f"-{version}", "--counters").stdout, version),
              without_noise(before, version), "what was shown, loaded and shown again")


@test(*FILTER_HOOKS)
def json_has_chains_rules_and_counters(context, hook):
    router = Router(context, hook)
    router.load(RICH)
    shown = listing(router)
    equal([(row["name"], row["hook"]) for row in sorted(shown["interfaces"],
                                                        key=lambda row: row["name"])],
          [("lan0", hook), ("wan0", hook)], "interfaces")
    equal([family["family"] for family in shown["families"]], ["ipv4"], "families")
    chains = {chain["name"]: chain for chain in shown["families"][0]["chains"]}
    equal([(name, chain["policy"], chain["packets"], chain["bytes"], len(chain["rules"]))
           for name, chain in chains.items()],
          [("INPUT", "ACCEPT", 3, 180, 1), ("FORWARD", "DROP", 12345678901, 9876543210987, 2),
           ("OUTPUT", "ACCEPT", 0, 0, 0), ("odd", None, 0, 0, 1), ("web", None, 0, 0, 1)],
          "chains")
    lines = [line.split("] ", 1)[1] for line in RICH.splitlines() if line.startswith("[")]
    equal([rule["text"] for chain in chains.values() for rule in chain["rules"]], lines, "texts")
    equal(chains["INPUT"]["rules"][0],
          {"number": 1, "packets": 1, "bytes": 40, "text": lines[0], "source": "10.0.1.0/24",
           "destination": "!10.0.1.1/32", "in": "lan+", "out": None, "protocol": "tcp",
           "sport": "1024:65535", "dport": "!22", "matches": ["tcp", "comment"],
           "comment": "it's \"odd\" \\ \u00fc", "target": "DROP", "chain": None}, "first rule")
    equal([(rule["number"], rule["packets"], rule["out"], rule["protocol"], rule["dport"],
            rule["target"], rule["chain"]) for rule in chains["FORWARD"]["rules"]],
          [(1, 18446744073709551615, "!wan0", "udp", "53,67:68", "jump", "web"),
           (2, 0, None, "!esp", None, "goto", "odd")], "rules of FORWARD")
    equal((chains["odd"]["rules"][0]["source"], chains["odd"]["rules"][0]["target"]),
          ("10.0.0.1/255.0.0.255", None), "source and target of a rule that counts")


@test()
def json_has_both_families(context):
    router = Router(context, "tc")
    router.load(RICH)
    router.load("*filter\n-A FORWARD -s fd00::/8 -j DROP\nCOMMIT\n", 6)
    equal([family["family"] for family in listing(router)["families"]], ["ipv4", "ipv6"],
          "families")
    shown = listing(router, "-6")["families"]
    equal([family["family"] for family in shown], ["ipv6"], "families with -6")
    equal(shown[0]["chains"][1]["rules"][0]["source"], "fd00::/8", "source of the IPv6 rule")


@test()
def bytes_that_are_no_utf8_are_no_harm(context):
    """JSON is valid whatever a comment holds."""
    router = Router(context, "tc")
    rules = context.keep(tempfile.NamedTemporaryFile())
    rules.write(b'*filter\n-A INPUT -m comment --comment "\xff\xe4\t1" -j DROP\nCOMMIT\n')
    rules.flush()
    router.bpfw("load", rules.name, "--iface", "lan0")
    rule = listing(router)["families"][0]["chains"][0]["rules"][0]
    equal(rule["comment"], "\u00ff\u00e4\t1", "comment")


@test(*FILTER_HOOKS)
def flush_leaves_chains_and_policies(context, hook):
    router = Router(context, hook)
    router.load(RICH)
    router.load("*filter\n:INPUT DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n", 6)
    router.bpfw("flush", "-4")
    equal(router.bpfw("show", "-4", "--counters").stdout, FLUSHED, "IPv4 after flush -4")
    expect("-A FORWARD -j DROP" in router.bpfw("show", "-6").stdout, "flush -4 takes IPv6's rules")
    expect(not arrives(router, 80), "flush changes the policy")
    router.bpfw("flush")
    text = router.bpfw("show", "-6").stdout
    expect("-A" not in text and ":INPUT DROP" in text, f"IPv6 after flush:\n{text}")
    router.load(RICH.replace(":FORWARD DROP", ":FORWARD ACCEPT").replace(
        "-A web -j RETURN", "-A web -j DROP").replace("! -o wan0 ", "").replace("53,67:68", "80"))
    expect(not arrives(router, 80), "the rules are not in force")
    router.bpfw("flush")
    expect(arrives(router, 80), "flush leaves rules in force")


@test()
def flush_and_load_do_not_mix(context):
    """Of two that run at the same time, flush does not bring the policy of the older one back."""
    router = Router(context, "tc")
    accepts = ACCEPT_WEB.format(port=80).replace(":FORWARD DROP", ":FORWARD ACCEPT")
    drops = ACCEPT_WEB.format(port=80)
    for _ in range(3):
        router.load(accepts)
        flushing = threading.Thread(target=router.bpfw, args=("flush",))
        flushing.start()
        time.sleep(0.01)
        router.load(drops)
        flushing.join()
        text = router.bpfw("show").stdout
        expect(":FORWARD DROP" in text, f"the older policy is back:\n{text}")


class Log:
    """bpfw filter log, running."""

    def __init__(self, context, router, *words):
        context.keep(self)
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            ["nsenter", f"--net={router.namespace.path}", binary(), "filter", "log", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        self.said = self.process.stderr.readline().decode()
        expect("listening" in self.said, f"bpfw filter log: {self.said}")
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.decode(errors="replace").rstrip("\n"))

    def next(self, timeout=5):
        try:
            return self.lines.get(timeout=timeout)
        except queue.Empty:
            return None

    def drain(self, timeout=1.5):
        lines = []
        while (line := self.next(timeout)) is not None:
            lines.append(line)
        return lines

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


LOGGING = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:deep - [0:0]
-A FORWARD -s 10.0.1.66 -j DROP
-A FORWARD -p udp -j LOG --log-prefix "all udp: " --log-level 7 --log-ip-options
-A FORWARD -p udp -m udp --dport 9 -j deep
-A FORWARD -p tcp -m tcp --tcp-flags SYN SYN -j NFLOG \
--nflog-prefix "syn \\"1\\" \\\\ \u00fc" --nflog-group 7
-A FORWARD -p icmp -j LOG
-A deep -m ttl --ttl-gt 1 -j LOG
-A deep -j DROP
COMMIT
"""


def logged_packets():
    """(packet, the rules that log it, its verdict)"""
    near, far = NEAR[4][0], FAR[4][0]

    def packet(protocol, payload, ttl=64, tos=0, src=near, frag=0x4000):
        return frames.ipv4(src, far, protocol, payload, ttl, tos, frag=frag)
    udp, tcp = socket.IPPROTO_UDP, socket.IPPROTO_TCP
    yield packet(udp, frames.udp(near, far, 1000, 7, b"x" * 11)), [("FORWARD", 2)], "ACCEPT"
    yield packet(udp, frames.udp(near, far, 1001, 9), 2), [("FORWARD", 2)], "DROP"
    yield (packet(udp, frames.udp(near, far, 1002, 9), 9, 0xb8),
           [("FORWARD", 2), ("deep", 1)], "DROP")
    yield packet(udp, frames.udp(near, far, 1003, 9), src=NEAR[4][1]), [], "DROP"
    yield packet(udp, bytes(16), frag=0x0009), [("FORWARD", 2)], "ACCEPT"
    for flags in (frames.SYN, frames.SYN | frames.ECE | frames.CWR):
        yield (packet(tcp, frames.tcp(near, far, 5, 80, 1, 0, flags)), [("FORWARD", 4)], "ACCEPT")
    yield packet(tcp, frames.tcp(near, far, 5, 80, 1, 1, frames.ACK)), [], "ACCEPT"
    yield (packet(socket.IPPROTO_ICMP, bytes([8, 0, 0xf7, 0xff, 0, 0, 0, 0])), [("FORWARD", 5)],
           "ACCEPT")


def flag_names(value):
    names = {frames.CWR: "CWR", frames.ECE: "ECE", frames.URG: "URG", frames.ACK: "ACK",
             frames.PSH: "PSH", frames.RST: "RST", frames.SYN: "SYN", frames.FIN: "FIN"}
    return [name for bit, name in names.items() if value & bit]


def expected_event(packet, chain, rule, verdict):
    """What an event of the packet has to say, read from the packet."""
    protocol, first = packet[9], packet[20:]
    fragment = bool(int.from_bytes(packet[6:8], "big") & 0x1fff)
    ports = protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP) and not fragment
    return {"chain": chain, "rule": rule, "verdict": verdict, "hook": "FORWARD", "in": "lan0",
            "out": "wan0", "family": "ipv4", "src": socket.inet_ntoa(packet[12:16]),
            "dst": socket.inet_ntoa(packet[16:20]), "length": len(packet), "tos": packet[1],
            "ttl": packet[8] - 1, "fragment": fragment,
            "protocol": {6: "tcp", 17: "udp", 1: "icmp"}[protocol],
            "sport": int.from_bytes(first[:2], "big") if ports else None,
            "dport": int.from_bytes(first[2:4], "big") if ports else None,
            "icmp_type": first[0] if protocol == 1 else None,
            "icmp_code": first[1] if protocol == 1 else None,
            "tcp_flags": flag_names(first[13]) if protocol == 6 else None}


@test(*FILTER_HOOKS)
def events_are_the_packets_that_were_sent(context, hook):
    router = Router(context, hook)
    router.load(LOGGING)
    log = Log(context, router, "--json")
    wanted, begun = [], time.time()
    for packet, rules, verdict in logged_packets():
        router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
        wanted += [expected_event(packet, *rule, verdict) for rule in rules]
    events = [json.loads(line) for line in log.drain()]
    equal([{key: event[key] for key in wanted[0]} for event in events], wanted, "events")
    for event in events:
        expect(begun - 1 < event["time"] < time.time() + 1, f"time: {event['time']}")
    texts = {(event["chain"], event["rule"]): (event["text"], event["target"], event["prefix"],
                                               event["level"], event["group"]) for event in events}
    shown = router.bpfw("show").stdout.splitlines()
    rules = [line for line in shown if line.startswith("-A FORWARD")]
    equal(texts, {
        ("FORWARD", 2): (rules[1], "LOG", "all udp: ", 7, None),
        ("FORWARD", 4): (rules[3], "NFLOG", "syn \"1\" \\ \u00fc", None, 7),
        ("FORWARD", 5): (rules[4], "LOG", "", 4, None),
        ("deep", 1): ("-A deep -m ttl --ttl-gt 1 -j LOG", "LOG", "", 4, None)}, "rules of events")
    counted = {row["text"]: row["packets"] for chain in listing(router)["families"][0]["chains"]
               for row in chain["rules"]}
    for rule in ((1, 4), (3, 2), (4, 1)):
        equal(counted[rules[rule[0]]], rule[1], f"packets of {rules[rule[0]]}")
    equal(log.stop(), 0, "exit status after SIGINT")


@test()
def lines_are_as_the_kernels(context):
    router = Router(context, "tc")
    router.load(LOGGING.replace("all udp", "\x1b[31m"))
    log = Log(context, router)
    for packet, rules, _ in logged_packets():
        if rules:
            router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
    line = log.next()
    expect(line is not None, "no line while the pipe is open")
    stamp, rest = line.split(" ", 1)
    expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp), f"time: {stamp}")
    equal(rest, "FORWARD:2 \\x1b[31m: IN=lan0 OUT=wan0 SRC=10.0.1.2 DST=10.0.2.2 LEN=39 TOS=0x00 "
                "PREC=0x00 TTL=63 PROTO=UDP SPT=1000 DPT=7 VERDICT=ACCEPT", "line")
    lines = [line.split(" ", 1)[1] for line in log.drain()]
    equal(lines[2], "deep:1 IN=lan0 OUT=wan0 SRC=10.0.1.2 DST=10.0.2.2 LEN=28 TOS=0x18 PREC=0xA0 "
                    "TTL=8 PROTO=UDP SPT=1002 DPT=9 VERDICT=DROP", "line of a chain's rule")
    expect(lines[5].endswith("PROTO=TCP SPT=5 DPT=80 CWR ECE SYN VERDICT=ACCEPT"), lines[5])
    equal(log.stop(signal.SIGTERM), 0, "exit status after SIGTERM")
    again = Log(context, router)
    equal(again.drain(), [], "events from before the reader came")


@test(*FILTER_HOOKS)
def too_many_events_are_counted(context, hook):
    """A burst is more than is let through: what is missing is told."""
    router = Router(context, hook)
    router.load(LOGGING)
    for _ in range(3000):  # nobody listens: these are not told later
        router.near.send(datagram(7))
    log = Log(context, router, "--json")
    time.sleep(0.5)  # and the burst is whole again
    sent = 3000
    for _ in range(sent):
        router.near.send(datagram(7))
    rows = [json.loads(line) for line in log.drain()]
    events = sum("lost" not in row for row in rows)
    lost = sum(row.get("lost", 0) for row in rows)
    context.note(f"{sent} packets: {events} events, {lost} lost")
    equal(events + lost, sent, "events and what was lost of them")
    expect(events >= 250, "fewer than one burst")
    expect(lost, "all were let through")
    expect(arrives(router, 7), "packets are not forwarded")


@test()
def one_reader_swap_and_unload(context):
    router = Router(context, "tc")
    router.load(LOGGING)
    log = Log(context, router, "--json")
    refused = router.bpfw("log", check=False)
    equal(refused.returncode, 1, "exit status of a second reader")
    expect("another" in refused.stderr, f"no reason: {refused.stderr}")
    router.load(LOGGING.replace("all udp", "after"))
    router.near.send(datagram(7))
    equal(json.loads(log.next() or "{}").get("prefix"), "after: ", "prefix after a swap")
    router.bpfw("unload")
    equal(log.process.wait(20), 1, "exit status after unload")
    expect("unloaded" in log.process.stderr.read().decode(), "it does not say why")


@test()
def ipv6_events(context):
    router = Router(context, "tc")
    router.load("*filter\n-A FORWARD -j LOG --log-prefix six\nCOMMIT\n", 6)
    log = Log(context, router, "--json")
    near, far = NEAR[6][0], FAR[6][0]
    packet = frames.ipv6(near, far, socket.IPPROTO_UDP, frames.udp(near, far, 1, 2), 5, 0x20)
    router.near.send(frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet))
    event = json.loads(log.next() or "{}")
    keys = ("family", "src", "dst", "length", "tos", "ttl", "sport", "prefix")
    equal([event.get(key) for key in keys], ["ipv6", near, far, 48, 0x20, 4, 1, "six"], "event")


# ---- why --------------------------------------------------------------------------------------

def records(context, *given):
    """A file as tcpdump writes it: what each record holds, and what it says of the lengths."""
    file = context.keep(tempfile.NamedTemporaryFile())
    file.write(struct.pack("=LHHlLLL", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
    for data, captured, length in given:
        file.write(struct.pack("=LLLL", 0, 0, captured, length) + data)
    file.flush()
    return file.name


def whole(packet):
    return packet, len(packet), len(packet)


def capture(context, packets):
    return records(context, *map(whole, packets))


def why(router, *words):
    said = router.bpfw("why", "--json", *words).stdout
    return [json.loads(line) for line in said.splitlines()]


def is_counted_by_policy(answer):
    """What has a source route is held back after INPUT, rule or policy, has accepted it."""
    if answer["hook"] != "INPUT" or "source route" not in (answer["reason"] or ""):
        return answer["by"] == "policy"
    return not any(met["match"] and met["text"].endswith("-j ACCEPT") for met in answer["met"])


def tally(answers):
    """How often each rule matches, and each policy decides, as counters would say."""
    counted = collections.Counter()
    for answer in answers:
        counted.update(met["text"] for met in answer["met"] if met["match"])
        if is_counted_by_policy(answer):
            counted[answer["hook"]] += 1
        if answer["by"] == "rule":
            text = answer["met"][-1]["text"]
            expect(text.endswith(f"-j {answer['verdict']}"), f"{answer['verdict']} by {text}")
    return counted


def counters(router, version):
    """What the counters of the rules in force say; rules that are the same count together."""
    counted = collections.Counter()
    for chain in listing(router, f"-{version}")["families"][0]["chains"]:
        counted[chain["name"]] += chain["packets"]
        for rule in chain["rules"]:
            counted[rule["text"]] += rule["packets"]
    return counted


def without_output(text, version):
    """What the router answers is not asked about, and neighbour discovery counts for itself."""
    lines = [line for line in text.splitlines() if not line.startswith("-A OUTPUT")]
    lines.insert(lines.index("COMMIT"), "-A OUTPUT -j ACCEPT")
    return "\n".join([*lines, ""]), {*NOISE[version], "-A OUTPUT -j ACCEPT", "OUTPUT"}


@test(*((hook, version) for hook in FILTER_HOOKS for version in (4, 6)))
def why_says_what_becomes_of_a_packet(context, hook, version):
    """First asked, then sent: the counters are what the answers said, and not what asking did."""
    router = Router(context, hook)
    for number in range(2):
        text = Ruleset(500 + number, version, hook == "tc").text()
        text, ignored = without_output(text, version)
        router.load(text, version)
        before = counters(router, version)
        sent = list(Frames(number, version, True))[:WHY_PACKETS]
        answers = []
        for near, device in ((True, "lan0"), (False, "wan0")):
            path = capture(context, [frame for side, frame in sent if side == near])
            answers += why(router, "--in", device, "--packet", path)
        equal(len(answers), len(sent), "answers")
        after = counters(router, version)
        for name in ignored:
            before.pop(name, None)
            after.pop(name, None)
        equal(after, before, "counters after asking")
        for near, frame in sent:
            (router.near if near else router.far).send(frame)
        for port in (router.near, router.far):
            port.drain(0.2)
        seen, wanted = counters(router, version), tally(answers)
        different = {name: (seen[name], wanted[name]) for name in set(seen) | set(wanted)
                     if name not in ignored and seen[name] != wanted[name]}
        equal(different, {}, f"ruleset {number}: counted, and told by why\n{text}\n")
        verdicts = collections.Counter(answer["verdict"] for answer in answers)
        context.note(f"ruleset {number}: {dict(verdicts)}")


@test(*FILTER_HOOKS)
def why_explains(context, hook):
    router = Router(context, hook)
    router.load(LOGGING.replace(":INPUT ACCEPT", ":INPUT DROP"))
    said = router.bpfw("why", "--in", "lan0", "--proto", "udp", "--src", NEAR[4][0], "--dst",
                       FAR[4][0], "--dport", "9", "--ttl", "2").stdout.splitlines()
    equal([" ".join(line.split()) for line in said], [
        "FORWARD, in by lan0, out by wan0",
        'FORWARD:2 match -A FORWARD -p udp -j LOG --log-prefix "all udp: " --log-level 7 '
        "--log-ip-options",
        "FORWARD:3 match -A FORWARD -p udp -m udp --dport 9 -j deep",
        "deep:1 no match -A deep -m ttl --ttl-gt 1 -j LOG",
        "deep:2 match -A deep -j DROP", "verdict: DROP by rule deep:2"], "text")
    ends = ["--src", NEAR[4][0], "--dst", FAR[4][0]]
    for words, wanted in (
            (["--in", "lan0", "--proto", "tcp", *ends, "--dport", "80"],
             ("FORWARD", "lan0", "wan0", "ACCEPT", "policy")),
            (["--in", "lan0", "--proto", "udp", "--src", NEAR[4][0], "--dst", "10.0.1.1"],
             ("INPUT", "lan0", None, "DROP", "policy")),
            (["--in", "lan0", "--out", "lo", "--proto", "udp", *ends],
             ("FORWARD", "lan0", "lo", "ACCEPT", "policy")),
            (["--out", "wan0", "--proto", "udp", *ends],
             ("OUTPUT", None, "wan0", "ACCEPT", "policy")),
            (["--in", "lo", "--out", "wan0", "--proto", "icmp", *ends],
             ("FORWARD", "lo", "wan0", "ACCEPT", "policy")),
            (["--in", "lan0", "--proto", "udp", *ends, "--ttl", "1"],
             ("FORWARD", "lan0", "wan0", "ACCEPT", "policy")),
            (["--in", "lan0", "--proto", "udp", "--src", "fd00::1", "--dst", "fd00::2"],
             (None, None, None, "ACCEPT", None)),
            (["--in", "lan0", "--packet", bytes(12).hex() + "88a8" + bytes(40).hex()],
             (None, None, None, "ACCEPT", None))):
        answer, = why(router, *words)
        equal(tuple(answer[key] for key in ("hook", "in", "out", "verdict", "by")), wanted,
              f"answer to {words}")
        equal(answer["reason"] is None, wanted[-1] is not None, f"a reason: {answer}")
    equal(sum(counters(router, 4).values()), 0, "what is counted")
    log = Log(context, router, "--json")
    why(router, "--in", "lan0", "--proto", "udp", *ends)
    equal(log.drain(), [], "events of packets that were asked about")


@test(*FILTER_HOOKS)
def why_goes_on_behind_packets_that_cannot_be(context, hook):
    """Each is named by its number; the others are answered, as far as the file can be read."""
    router = Router(context, hook)
    router.load(NO_RULES)
    frame = frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, frames.ipv4(
        NEAR[4][0], FAR[4][0], socket.IPPROTO_UDP, frames.udp(NEAR[4][0], FAR[4][0], 5000, 7)))
    good = whole(frame)
    runts = [whole(frame[:size]) for size in range(35)]
    for given, answers, said in (
            ((good, *runts, good), None, ["packet 2 ", "packet 15 "]),
            ((good, (frame, len(frame), 20), good), 2, ["packet 2 "]),
            ((good, (b"", 0, 4000), good), 2, ["packet 2 "]),
            ((good, good, (b"", 0xfffffff0, 0xfffffff0), good), 2, ["packet 3:"]),
            ((good, (b"", 0x7ffffff0, 0xfffffff0)), 1, ["packet 2:"]),
            ((good, (frame, 5000, 5000)), 1, ["packet 2:"]),
            ((good, (frame, 100, 100)), 1, ["packet 2:"])):
        done = router.bpfw("why", "--in", "lan0", "--json", "--packet", records(context, *given),
                           check=False)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        left_out = len(re.findall(r"packet \d+", done.stderr))
        equal(len(found), answers or len(given) - left_out, f"answers beside\n{done.stderr}")
        expect(all(text in done.stderr for text in said), f"{said} are not in: {done.stderr}")
        verdicts = "".join(answer["verdict"][0] for answer in found)
        expect(re.fullmatch("AA?|AD+A", verdicts), f"the whole ones are not let through: {verdicts}")
        equal(done.returncode, 1, f"exit status beside\n{done.stderr}")


@test()
def why_takes_marks_and_states(context):
    """What a packet has beside its bytes: a mark, and its place in conntrack's table."""
    router = Router(context, "tc")
    router.load("*filter\n-A FORWARD -m mark --mark 0x10/0xf0 -j DROP\nCOMMIT\n")
    words = ["--in", "lan0", "--proto", "tcp", "--src", NEAR[4][0], "--dst", FAR[4][0]]
    for mark, verdict in (("0x1f", "DROP"), ("0x2f", "ACCEPT")):
        equal(why(router, *words, "--mark", mark)[0]["verdict"], verdict, f"verdict of {mark}")
    needs_kfuncs(router)
    router.load("*filter\n-A FORWARD -m conntrack --ctstate NEW -j DROP\n"
                "-A FORWARD -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n")
    for flags, rule in (("SYN", 1), ("RST", 2)):
        answer, = why(router, *words, "--tcp-flags", flags)
        equal((answer["rule"], answer["verdict"]), (rule, "DROP"), f"answer to {flags}")


REMEMBERING = """*filter
-A FORWARD -m set --match-set bad src -j DROP
-A FORWARD -m limit --limit 1/hour --limit-burst 1 -j SET --add-set seen src
-A FORWARD -p udp -m hashlimit --hashlimit-upto 1/hour --hashlimit-burst 1 --hashlimit-mode srcip \
--hashlimit-name x -j ACCEPT
-A FORWARD -j DROP
COMMIT
"""
SETS = """create bad hash:ip family inet
add bad 10.0.1.66
create seen hash:ip family inet timeout 100
"""


def command(router, *words, stdin=None):
    return router.namespace.run("nsenter", f"--net={router.namespace.path}", binary(), *words,
                                stdin=stdin, env=environment()).stdout


@test(*FILTER_HOOKS)
def why_uses_up_nothing(context, hook):
    """Limits, sets and the block list are as they were, and the answer is by what they are now."""
    router = Router(context, hook)
    command(router, "set", "load", "-", stdin=SETS)
    context.keep(Sets(router))
    router.load(REMEMBERING)
    words = ["--in", "lan0", "--proto", "udp", "--src", NEAR[4][0], "--dst", FAR[4][0]]

    def matched():
        answer, = why(router, *words)
        return [met["rule"] for met in answer["met"] if met["match"]], answer["verdict"]

    equal([matched(), matched()], [([2, 3], "ACCEPT")] * 2, "answers before any packet")
    expect("10.0.1.2" not in command(router, "set", "list", "seen"), "asking changes a set")
    expect(arrives(router, 9), "the first packet is not forwarded")
    expect("10.0.1.2" in command(router, "set", "list", "seen"), "a packet does not change a set")
    equal([matched(), matched()], [([4], "DROP")] * 2, "answers after a packet")
    answer, = why(router, *words[:5], "10.0.1.66", *words[6:])
    equal(answer["rule"], 1, "rule about a source in a set")
    command(router, "block", "add", "10.0.1.2")
    answer, = why(router, *words)
    equal((answer["verdict"], answer["met"]), ("DROP", []), "answer about a blocked source")
    expect("block list" in answer["reason"], f"reason: {answer['reason']}")
    expect(" 0 packets" in command(router, "block", "list"), "asking counts as blocked")


class Sets:
    """Of a namespace: they outlive it, too."""

    def __init__(self, router):
        self.router = router

    def close(self):
        self.router.bpfw("unload", check=False)
        command(self.router, "block", "del", "10.0.1.2")
        command(self.router, "set", "destroy", "bad", "seen")


@test()
def why_refuses(context):
    router = Router(context, "tc")
    ends = ["--src", "192.0.2.1", "--dst", "192.0.2.2", "--proto", "udp"]
    for words, said in ((["--in", "lan0", *ends], "no filter"),
                        (["--in", "nosuch0", *ends], "nosuch0")):
        done = router.bpfw("why", *words, check=False)
        equal(done.returncode, 1, "exit status")
        expect(said in done.stderr, f"'{said}' is not in: {done.stderr}")
    router.load("*filter\nCOMMIT\n")
    for words, said in ((["--in", "lo", *ends], "--out"), (["--out", "lo", *ends], "neither"),
                        (["--in", "lan0", *ends, "--length", "27"], "shorter"),
                        (["--in", "lan0", *ends, "--length", "9000"], "longer"),
                        (["--in", "lan0", "--packet", "no-such.pcap"], "no such file"),
                        (["--in", "lan0", "--packet", "/dev/null"], "libpcap")):
        done = router.bpfw("why", *words, check=False)
        equal(done.returncode, 1, f"exit status of {words}")
        expect(said in done.stderr, f"'{said}' is not in: {done.stderr}")


if __name__ == "__main__":
    main(jobs=2)
