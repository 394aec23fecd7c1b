#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What bpfw filter says of the rules in force: show --json, and what flush leaves of them."""

import json
import tempfile
import threading
import time

from filter_test import (ACCEPT_WEB, FILTER_HOOKS, Router, Ruleset, arrives,
                         without_noise)
from netlab import equal, expect, main, test

RICH = """*filter
:INPUT ACCEPT [3:180]
:FORWARD DROP [12345678901:9876543210987]
:OUTPUT ACCEPT [0:0]
:odd - [0:0]
:web - [0:0]
[1:40] -A INPUT -s 10.0.1.0/24 ! -d 10.0.1.1/32 -i lan+ -p tcp -m tcp --sport 1024:65535 ! --dport 22 \
-m comment --comment "it\\'s \\"odd\\" \\\\ \u00fc" -j DROP
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
        router.load(Ruleset(1000 + number, version).text(), version)
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


if __name__ == "__main__":
    main(jobs=2)
