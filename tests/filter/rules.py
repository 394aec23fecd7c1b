# SPDX-License-Identifier: GPL-2.0-only
"""Rulesets from a seed: text as people and programs write it, which iptables accepts.

What is left out is what iptables itself prints wrongly (src/filter/printer.c names it), and what
its two variants do not agree on.
"""

import random

SETS = {  # name: type; hash:ip's family is added
    "hosts": "hash:ip",
    "nets": "hash:net",
    "pairs": "hash:ip,port",
    "timed": "hash:net,port timeout 60",
}

# Names that iptables has in a list of its own; others depend on /etc/protocols.
PROTOCOLS = ["tcp", "udp", "udplite", "sctp", "esp", "ah", "6", "17", "TCP", "136"]
STATES = ["INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED"]
TYPES = ["UNSPEC", "UNICAST", "LOCAL", "ANYCAST", "MULTICAST", "UNREACHABLE"]
TYPES_OF_IPV4 = TYPES + ["BROADCAST", "BLACKHOLE", "PROHIBIT", "THROW", "NAT", "XRESOLVE"]
FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"]
DSCP = ["CS0", "CS1", "CS7", "BE", "AF11", "AF43", "EF", "ef"]
TOS = ["Minimize-Delay", "Maximize-Throughput", "Maximize-Reliability", "Minimize-Cost",
       "Normal-Service"]
REJECT = {
    4: ["icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable",
        "icmp-port-unreachable", "icmp-net-prohibited", "icmp-host-prohibited",
        "icmp-admin-prohibited", "net-unreach", "admin-prohib"],
    6: ["icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable",
        "icmp6-port-unreachable", "icmp6-policy-fail", "icmp6-reject-route", "no-route"],
}
ICMP = {
    4: ["any", "echo-request", "ping", "3", "3/4", "fragmentation-needed", "11/0", "0x8", "255",
        "destination-unreachable", "TOS-host-redirect", "18/7"],
    6: ["echo-request", "1", "1/3", "packet-too-big", "neighbour-solicitation",
        "neighbor-advertisement", "4/2", "255", "135/0", "redirect"],
}
COMMENTS = ["plain", "two words", "it's", 'say \\"hi\\"', "back\\\\slash", "-j DROP", "!", "a=b",
            "ümläut", "x" * 255, "--", "#", "under_score-dash", "\\t"]
INTERFACES = ["lo", "eth0", "wan+", "br-lan", "eth0.100", "a23456789012345", "veth+", "+"]


class Rules:
    """One ruleset. kinds are the matches and targets that may be in it; None: all."""

    def __init__(self, seed, version, kinds=None):
        self.random = random.Random(f"{seed}-{version}")
        self.version = version
        self.kinds = kinds
        self.chain_names = []

    # ---- Scalars ---------------------------------------------------------------

    def chance(self, share=0.5):
        return self.random.random() < share

    def pick(self, values):
        return self.random.choice(values)

    def some(self, values, most=3):
        return self.random.sample(values, self.random.randint(1, min(most, len(values))))

    def number(self, low, high):
        """Mostly at the ends."""
        ends = [low, low + 1, high - 1, high]
        value = self.pick(ends) if self.chance(0.3) else self.random.randint(low, high)
        return max(low, min(high, value))

    def written(self, low, high):
        value = self.number(low, high)
        return hex(value) if self.chance(0.2) else str(value)

    def negate(self, share=0.25):
        return ["!"] if self.chance(share) else []

    def port(self):
        return self.number(1, 65534)

    def ports(self):
        """Never all of them: iptables forgets that they were given."""
        low, high = sorted((self.port(), self.port()))
        return self.pick([f"{low}", f"{low}", f"{low}:{high}", f":{high}", f"{low}:"])

    def address(self):
        if self.version == 4:
            return ".".join(str(self.number(0, 255)) for _ in range(4))
        words = [f"{self.number(0, 65535):x}" for _ in range(8)]
        if self.chance():
            first = self.random.randint(0, 6)
            words[first:self.random.randint(first + 1, 8)] = [""]
            text = ":".join(words)
            if len(words) == 1:
                return "::"
            return f":{text}" if not words[0] else f"{text}:" if not words[-1] else text
        return ":".join(words)

    def mask(self):
        if self.version == 4:
            if self.chance(0.3):
                return self.pick(["255.255.0.0", "255.0.255.0", "0.0.0.255", "255.255.255.255",
                                  "255.255.255.128"])
            return str(self.number(1, 32))
        if self.chance(0.2):
            return self.pick(["ffff:ffff::", "ffff:0:ffff::", "::ffff", "ffff:fff0::"])
        return str(self.number(1, 128))

    def network(self):
        return f"{self.address()}/{self.mask()}" if self.chance(0.6) else self.address()

    def mark(self):
        value = self.written(0, 2**32 - 1)
        return f"{value}/{self.written(0, 2**32 - 1)}" if self.chance() else value

    def rate(self, most):
        unit = self.pick(["", "/s", "/sec", "/second", "/m", "/min", "/minute", "/h", "/hour",
                          "/d", "/day"])
        return f"{self.number(1, most)}{unit}"

    def quoted(self, text):
        return f'"{text}"'

    # ---- Matches: each gives the words after "-m NAME" -------------------------

    def port_option(self, *names):
        """iptables-nft turns a ! with a range up to an end into the other range."""
        negated, ports = self.negate(), self.ports()
        if negated and (ports[0] == ":" or ports[-1] == ":"):
            ports = str(self.port())
        return negated + [self.pick(names), ports]

    def tcp(self):
        words = []
        if self.chance():
            words.append(self.port_option("--sport", "--source-port"))
        if self.chance(0.8):
            words.append(self.port_option("--dport", "--destination-port"))
        if self.chance(0.3):
            mask = self.some(FLAGS, 6)
            words.append(self.negate() + self.pick([
                ["--syn"], ["--tcp-flags", ",".join(mask), ",".join(self.some(mask))],
                ["--tcp-flags", ",".join(mask), "NONE"], ["--tcp-flags", "ALL", "ALL"]]))
        if self.chance(0.1):
            words.append(self.negate() + ["--tcp-option", self.written(1, 255)])
        self.random.shuffle(words)
        return sum(words, [])

    def udp(self):
        words = []
        if self.chance():
            words += self.port_option("--sport", "--source-port")
        return words + self.port_option("--dport", "--destination-port")

    sctp = udp

    def icmp(self):
        name = "--icmp-type" if self.version == 4 else "--icmpv6-type"
        return self.negate() + [name, self.pick(ICMP[self.version])]

    def multiport(self):
        parts, room = [], self.random.randint(1, 15)
        while room > 0:
            low, high = sorted((self.port(), self.port()))
            if room > 1 and low < high and self.chance(0.3):
                parts.append(f"{low}:{high}")
                room -= 2
            else:
                parts.append(str(low))
                room -= 1
        name = self.pick(["--sports", "--dports", "--ports", "--source-ports",
                          "--destination-ports"])
        return self.negate() + [name, ",".join(parts)]

    def range_of_addresses(self):
        if self.version == 4:
            low, high = sorted(self.random.randint(0, 2**32 - 1) for _ in range(2))
            texts = [".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))
                     for value in (low, high)]
        else:
            low, high = sorted(self.random.randint(1, 65535) for _ in range(2))
            texts = [f"2001:db8::{value:x}:1" for value in (low, high)]
        return "-".join(texts) if self.chance(0.8) else texts[0]

    def iprange(self):
        words = self.negate() + [self.pick(["--src-range", "--dst-range"])]
        words.append(self.range_of_addresses())
        if self.chance(0.2):
            other = "--dst-range" if words[-2] == "--src-range" else "--src-range"
            words += self.negate() + [other, self.range_of_addresses()]
        return words

    def mark_match(self):
        return self.negate() + ["--mark", self.mark()]

    def dscp(self):
        return self.negate() + self.pick([["--dscp", self.written(0, 63)],
                                          ["--dscp-class", self.pick(DSCP)]])

    def tos(self):
        value = self.written(0, 255)
        return self.negate() + ["--tos", self.pick([
            value, f"{value}/{self.written(0, 255)}", self.pick(TOS)])]

    def ecn(self):
        return self.negate() + ["--ecn-ip-ect", str(self.number(0, 3))]

    def ecn_tcp(self):
        words = self.negate() + ["--ecn-tcp-ece"]
        if self.chance():
            words = self.negate() + ["--ecn-tcp-cwr"] + words
        return words

    def ttl(self):
        name = "--ttl" if self.version == 4 else "--hl"
        return self.pick([self.negate() + [f"{name}-eq"], [f"{name}-lt"], [f"{name}-gt"],
                          [name]]) + [str(self.number(0, 255))]

    def length(self):
        low, high = sorted((self.number(0, 65535), self.number(0, 65535)))
        return self.negate() + ["--length", self.pick([f"{low}", f"{low}:{high}", f"{low}:",
                                                       f":{high}"])]

    def tcpmss(self):
        low, high = sorted((self.number(0, 65535), self.number(0, 65535)))
        return self.negate() + ["--mss", self.pick([f"{low}", f"{low}:{high}"])]

    def pkttype(self):
        return self.negate() + ["--pkt-type", self.pick(["unicast", "broadcast", "multicast",
                                                         "otherhost", "bcast", "host"])]

    def mac(self):
        address = ":".join(f"{self.number(0, 255):02x}" for _ in range(6))
        return self.negate() + ["--mac-source", self.pick([address, address.upper()])]

    def addrtype(self):
        types = TYPES_OF_IPV4 if self.version == 4 else TYPES
        words = self.negate() + ["--src-type", ",".join(self.some(types))]
        if self.chance():
            words += self.negate() + ["--dst-type", ",".join(self.some(types)).lower()]
        return words

    def limit(self):
        words = ["--limit", self.rate(10000)] if self.chance(0.9) else []
        # xt_limit counts in 32 bits
        if "/d" not in "".join(words) and "/h" not in "".join(words) and self.chance():
            words += ["--limit-burst", str(self.number(1, 100))]
        return ["--limit", "7/hour"] if "/d" in "".join(words) else words

    def hashlimit(self):
        words = self.negate() + [self.pick(["--hashlimit-upto", "--hashlimit-above",
                                            "--hashlimit"])]
        if self.chance(0.7):
            rate = self.rate(1000000)
            # The kernel counts no more than about a day, in which a bucket fills.
            words.append(rate if "/d" not in rate else "6/day")
            if self.chance() and rate.partition("/")[2][:1] in ("", "s"):
                words += ["--hashlimit-burst", str(self.number(1, 50000))]
        else:
            kilo = self.number(1, 4096)
            words.append(self.pick([f"{kilo}kb/s", f"{kilo * 1000}b/s", f"{kilo % 64 + 1}mb/s"]))
            if self.chance():
                words += ["--hashlimit-burst", f"{self.number(100, 200)}mb"]
        modes = ["srcip", "dstip", "srcport", "dstport"]
        if self.chance(0.8):
            words += ["--hashlimit-mode", ",".join(self.some(modes, 4))]
        words += ["--hashlimit-name", f"table-{self.random.randrange(10**9)}"]
        for name, low, high in (("htable-size", 1, 5000), ("htable-max", 1, 100000),
                                ("htable-gcinterval", 1, 9999), ("htable-expire", 1, 99999)):
            if self.chance(0.15):
                words += [f"--hashlimit-{name}", str(self.number(low, high))]
        for name in ("srcmask", "dstmask"):
            if self.chance(0.2):
                words += [f"--hashlimit-{name}", str(self.number(0, 32))]
        if self.chance(0.1):
            words += ["--hashlimit-rate-match"]
            if self.chance():
                words += ["--hashlimit-rate-interval", str(self.number(1, 3600))]
        return words

    def connlimit(self):
        words = self.negate() + [self.pick(["--connlimit-upto", "--connlimit-above"])]
        words.append(str(self.number(0, 1000)))
        if self.chance():
            words += ["--connlimit-mask", str(self.number(0, 32))]
        if self.chance():
            words.append(self.pick(["--connlimit-saddr", "--connlimit-daddr"]))
        return words

    def directions(self, most=2):
        return ",".join(self.pick(["src", "dst"]) for _ in range(self.random.randint(1, most)))

    def set(self):
        return self.negate() + ["--match-set", self.pick(list(SETS)), self.directions(6)]

    def comment(self):
        return ["--comment", self.quoted(self.pick(COMMENTS))]

    def u32_number(self):
        return self.written(0, 2**32 - 1)

    def u32(self):
        tests = []
        most = self.pick([[1, 9, 10], [10, 1, 1], [3, 3, 3]])  # in 1023 bytes as printed
        for _ in range(self.random.randint(1, most[0])):
            location = self.u32_number()
            for _ in range(self.random.randint(0, most[1])):
                operator = self.pick(["&", "<<", ">>", "@"])
                location += operator + (self.u32_number() if operator in "&@" else
                                        self.written(0, 31))
            values = []
            for _ in range(self.random.randint(1, most[2])):
                values.append(self.u32_number())
                if self.chance(0.3):
                    values[-1] += ":" + self.u32_number()
            tests.append(f"{location}={','.join(values)}")
        return self.negate() + ["--u32", self.quoted(self.pick([" && ", "&&"]).join(tests))]

    def statistic(self):
        if self.chance():
            value = f"{self.random.random():.{self.random.randint(1, 11)}f}"
            return ["--mode", "random"] + self.negate() + [
                "--probability", self.pick([value, value, "0", "1", "0.5", "1.0"])]
        every = self.number(1, 2**32 - 1)
        return ["--mode", "nth"] + self.negate() + [
            "--every", str(every), "--packet", str(self.random.randrange(min(every, 1000)))]

    def date(self):
        year = self.random.randint(1970, 2037)
        month, day = self.random.randint(1, 12), self.random.randint(1, 28)
        hour, minute, second = (self.number(1, top) for top in (23, 59, 59))
        return self.pick([f"{year + 1}", f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}",
                          f"{year}-{month:02}-{day + 0:02}T{hour}:{minute}:{second}"])

    def daytime(self):
        return f"{self.number(0, 23):02}:{self.number(0, 59):02}" + self.pick(
            ["", f":{self.number(0, 59):02}"])

    def time(self):
        words = []
        for name, value in (("--timestart", self.daytime()), ("--timestop", self.daytime()),
                            ("--datestart", self.date()), ("--datestop", self.date())):
            if self.chance(0.4):
                words += [name, value]
        if self.chance(0.4):
            words += self.negate() + ["--weekdays", ",".join(self.some(
                ["Mon", "Tu", "Wed", "4", "Fri", "6", "Su"], 6))]
        if self.chance(0.3):
            words += self.negate() + ["--monthdays", ",".join(
                str(day) for day in self.some(range(1, 32), 8))]
        if self.chance(0.2):
            words.append(self.pick(["--kerneltz", "--utc"]))
        return words

    def conntrack(self):
        words = []
        if self.chance(0.6):
            words += self.negate() + ["--ctstate", ",".join(self.some(STATES + ["SNAT", "DNAT"]))]
        if self.chance(0.2):
            words += self.negate() + ["--ctproto", self.pick(["tcp", "17", "132"])]
        for name in ("ctorigsrc", "ctorigdst", "ctreplsrc", "ctrepldst"):
            if self.chance(0.15):
                mask = f"/{self.number(0, 32)}" if self.chance() else ""
                words += self.negate() + [f"--{name}", self.address() + mask]
            if self.chance(0.1):
                words += self.negate() + [f"--{name}port", self.ports()]
        if self.chance(0.15):
            words += self.negate() + ["--ctstatus", ",".join(self.some(
                ["EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"]))]
        if self.chance(0.15):
            low, high = sorted((self.number(0, 2**32 - 1), self.number(0, 2**32 - 1)))
            words += self.negate() + ["--ctexpire", self.pick([f"{low}", f"{low}:{high}",
                                                               f"{low}:"])]
        if self.chance(0.15) or not words:
            words += ["--ctdir", self.pick(["ORIGINAL", "REPLY", "reply"])]
        return words

    def state(self):
        return self.negate() + ["--state", ",".join(self.some(STATES))]

    def rt(self):
        words = []
        if self.chance(0.6):
            words += self.negate() + ["--rt-type", self.written(0, 255)]
        if self.chance():
            low, high = sorted((self.number(0, 255), self.number(1, 2**32 - 1)))
            value = self.pick([f"{low}", f"{low}:{high}", f":{high}", f"{low + 1}:"])
            # ip6tables-save says nothing of a range of all numbers, negated or not.
            everything = value in ("0:4294967295", ":4294967295")
            words += ([] if everything else self.negate()) + ["--rt-segsleft", value]
        return words

    def recent(self):
        """A mask is a table's, as far as we are concerned: one for each name."""
        check = self.pick(["--set", "--rcheck", "--update", "--remove"])
        words = [self.negate() + [check]]
        if check in ("--rcheck", "--update"):
            if self.chance():
                words.append(["--seconds", self.written(1, 2**31 - 1)])
                words += [["--reap"]] if self.chance(0.3) else []
            if self.chance():
                words.append(["--hitcount", self.written(0, 255)])
            if self.chance(0.3):
                words.append(["--rttl"])
        if self.chance(0.3):
            words.append(["--mask", self.pick(["255.255.255.0", "255.0.255.0", "0.0.0.0"]
                                              if self.version == 4 else ["ffff::", "::", "::ffff"])])
        if self.chance(0.6):
            words.append(["--name", self.pick(["DEFAULT", "scan", "UDP-PORTSCAN", "x.y_z", "22",
                                               "n" * 199])])
        if self.chance():
            words.append([self.pick(["--rsource", "--rdest"])])
        self.random.shuffle(words)
        return sum(words, [])

    # ---- Targets ---------------------------------------------------------------

    def log(self):
        words = []
        if self.chance(0.7):
            words += ["--log-prefix", self.quoted(self.pick(
                ["drop: ", "x", "it's", "a prefix that is longer than what LOG can hold"]))]
        if self.chance(0.4):
            words += ["--log-level", self.pick(["debug", "info", "0", "7", "4", "panic"])]
        return words + self.random.sample(
            ["--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid",
             "--log-macdecode"], self.random.choice([0, 0, 1, 5]))

    def nflog(self):
        words = []
        if self.chance(0.7):
            words += ["--nflog-prefix", self.quoted(self.pick(["nf: ", "x", "y" * 60]))]
        if self.chance():
            words += ["--nflog-group", str(self.number(0, 65535))]
        if self.chance(0.3):
            words += ["--nflog-size", str(self.number(1, 65535))]
        if self.chance(0.3):
            words += ["--nflog-threshold", str(self.number(0, 65535))]
        return words

    def set_target(self):
        words = ["--add-set", self.pick(list(SETS)), self.directions()]
        if self.chance():
            words += ["--exist"]
        if self.chance():
            words += ["--timeout", str(self.number(0, 2147483))]
        if self.chance(0.3):
            words += ["--del-set", self.pick(list(SETS)), self.directions()]
        return words

    def mark_target(self):
        name = self.pick(["--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"])
        return [name, self.mark() if name.startswith("--set") else self.written(0, 2**32 - 1)]

    # ---- Rules -----------------------------------------------------------------

    MATCHES = {
        "iprange": iprange, "mark": mark_match, "dscp": dscp, "tos": tos, "ecn": ecn,
        "length": length, "pkttype": pkttype, "addrtype": addrtype, "limit": limit,
        "hashlimit": hashlimit, "connlimit": connlimit, "set": set, "comment": comment, "u32": u32,
        "statistic": statistic, "time": time, "conntrack": conntrack, "state": state, "mac": mac,
        "ttl": ttl, "rt": rt, "recent": recent,
    }
    OF_PROTOCOL = {
        "tcp": [("tcp", tcp), ("multiport", multiport), ("tcpmss", tcpmss), ("ecn", ecn_tcp)],
        "udp": [("udp", udp), ("multiport", multiport)],
        "udplite": [("multiport", multiport)],
        "sctp": [("sctp", sctp), ("multiport", multiport)],
    }
    TARGETS = {"LOG": log, "NFLOG": nflog, "SET": set_target, "MARK": mark_target}

    def allowed(self, names):
        return [name for name in names if self.kinds is None or name in self.kinds]

    def basic(self, name, value):
        return self.negate() + [name, value]

    def match(self, name, chain):
        if (name == "mac" and chain != "INPUT") or (name == "rt" and self.version == 4):
            return []
        module = name if name != "ttl" or self.version == 4 else "hl"
        return ["-m", module] + self.MATCHES[name](self)

    def protocol(self):
        """-p and what belongs to it"""
        icmp = "icmp" if self.version == 4 else self.pick(["ipv6-icmp", "icmpv6", "58"])
        name = self.pick(PROTOCOLS + ["tcp", "udp", icmp, icmp])
        plain = {"6": "tcp", "17": "udp", "136": "udplite", "TCP": "tcp"}.get(name, name)
        if name == icmp:
            module = "icmp" if self.version == 4 else "icmp6"
            return ["-p", name] + (["-m", module] if self.chance() else []) + self.icmp()
        options = [option for option in self.OF_PROTOCOL.get(plain, [])
                   if option[0] in self.allowed([option[0]])]
        if not options or self.chance(0.2):
            return self.negate() + ["-p", name]
        module, words = self.pick(options)
        words = words(self)
        implied = module == plain and words and self.chance()
        return ["-p", name] + ([] if implied else ["-m", module]) + words

    def target(self, protocol):
        names = self.allowed(["LOG", "NFLOG", "SET", "MARK", "REJECT"])
        name = self.pick(["ACCEPT", "DROP", "RETURN", "ACCEPT", "DROP", ""] + names)
        if not name:
            return []
        if name == "REJECT":
            answers = list(REJECT[self.version])
            if protocol[:2] == ["-p", "tcp"]:
                answers.append("tcp-reset")
            return ["-j", "REJECT"] + (["--reject-with", self.pick(answers)]
                                       if self.chance(0.8) else [])
        return ["-j", name] + (self.TARGETS[name](self) if name in self.TARGETS else [])

    def rule(self, chain, later):
        words = []
        if self.chance(0.4):
            words.append(self.basic(self.pick(["-s", "--source"]), self.network()))
        if self.chance(0.4):
            words.append(self.basic(self.pick(["-d", "--destination"]), self.network()))
        if self.chance(0.3) and chain != "OUTPUT":
            words.append(["-i", self.pick(INTERFACES)] if self.chance() else
                         self.basic("--in-interface", self.pick(INTERFACES[:-1])))
        if self.chance(0.3) and chain != "INPUT":
            words.append(self.basic("-o", self.pick(INTERFACES[:-1])))
        if self.chance(0.1) and self.version == 4:
            words.append(self.negate() + ["-f"])
        protocol = self.protocol() if self.chance(0.6) else []
        words.append(protocol)
        self.random.shuffle(words)
        names = self.allowed(self.MATCHES)
        for name in self.random.sample(names, self.random.choice([0, 0, 1, 1, 2, 3])):
            words.append(self.match(name, chain))
        if later and self.chance(0.3):
            words.append([self.pick(["-j", "-g"]), self.pick(later)])
        else:
            words.append(self.target(protocol))
        return f"-A {chain} " + " ".join(sum(words, []))

    def text(self, count):
        """The table filter with that many rules or a few more"""
        self.chain_names = [f"{self.pick(['chain', 'Zone', 'a-b', '_', 'DROP'])}.{i}"
                            for i in range(self.random.randint(0, 8))]
        lines = ["# from a seed", "*filter"]
        for name in ("INPUT", "FORWARD", "OUTPUT"):
            if self.chance(0.8):
                lines.append(f":{name} {self.pick(['ACCEPT', 'DROP'])} "
                             f"[{self.number(0, 2**63)}:{self.number(0, 2**63)}]")
        lines += [f":{name} - [0:0]" for name in self.chain_names]
        for _ in range(count):
            chain = self.pick(["INPUT", "FORWARD", "OUTPUT"] + self.chain_names)
            later = self.chain_names[self.chain_names.index(chain) + 1:] \
                if chain in self.chain_names else self.chain_names
            counters = f"[{self.number(0, 2**63)}:{self.number(0, 2**63)}] " \
                if self.chance(0.5) else ""
            lines.append(counters + self.rule(chain, later))
        return "\n".join(lines + ["COMMIT"]) + "\n"
