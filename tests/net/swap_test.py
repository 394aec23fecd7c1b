#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""One ruleset in the place of another: no packet in between, and no state that lasts when the load
is killed.

Two rulesets agree about two kinds of packets and differ in two others; and what one of them numbers
as accepting, the other one numbers as dropping, so that a mixture of both shows.

BPFW_TEST_LOADS says how many loads at each hook there are while packets arrive, BPFW_TEST_SWAPS how
many swaps, BPFW_TEST_STEPS at how many of its system calls each kind of change is killed (0: all of
them).
"""

import contextlib
import ctypes
import os
import re
import shutil
import socket
import struct
import threading
import time

from netlab import Skip, TcpFlow, equal, expect, main, test
from netlab import frames
from netlab import live
from netlab import xdp
from netlab import lab as topology
from netlab.filter import AT_XDP, Filter, directory_of, load_words
from netlab.lab import wait_until

LOADS = int(os.environ.get("BPFW_TEST_LOADS") or 10)
LOADS_TIME = 15 if LOADS <= 10 else 3600  # seconds; the verifier takes most of them
SWAPS = int(os.environ.get("BPFW_TEST_SWAPS") or 1000)
STEPS = int(os.environ.get("BPFW_TEST_STEPS") or "3")
LAST_CALLS = 20  # of a load: what is changed there is what it puts in force
BATCH = 64
FAMILIES = 2  # as filter_layout.h has them
KINDS = FIRST, SECOND, NEITHER, BOTH = range(80, 84)
OWN_KINDS = OWN_FIRST, OWN_SECOND, OWN_BOTH = range(90, 93)  # packets of the router itself
HOOKS = ("tc", "xdp")

RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -p tcp -j ACCEPT
-A FORWARD -p udp -m udp --dport {0} -j {1}
-A FORWARD -p udp -m udp --dport {2} -j {3}
-A FORWARD -p udp -m udp --dport {4} -j ACCEPT
-A OUTPUT -p udp -m udp --dport {5} -j DROP
COMMIT
"""
TEXTS = (RULES.format(NEITHER, "DROP", BOTH, "ACCEPT", FIRST, OWN_SECOND),
         RULES.format(BOTH, "ACCEPT", NEITHER, "DROP", SECOND, OWN_FIRST))
VERDICTS = ({BOTH, FIRST, OWN_BOTH, OWN_FIRST}, {BOTH, SECOND, OWN_BOTH, OWN_SECOND})
NO_RULES = {*KINDS, *OWN_KINDS}

COUNTED = (*KINDS, *OWN_KINDS)
COUNTERS = "\n".join(f"	counter port{kind} {{ }}" for kind in COUNTED)
COUNT = "\n".join(f"		udp dport {kind} counter name port{kind} drop" for kind in COUNTED)
CHANGE = re.compile("BPF_MAP_(UPDATE|DELETE)_ELEM")
COUNTING = f"""flush ruleset
table inet arrivals {{
{COUNTERS}
	chain input {{
		type filter hook input priority 0;
{COUNT}
	}}
}}
"""


def datagram(kind):
    packet = frames.ipv4(topology.CLIENT[4], topology.SERVER[4], socket.IPPROTO_UDP,
                         frames.udp(topology.CLIENT[4], topology.SERVER[4], 5000, kind))
    return frames.ethernet(topology.LAN0_MAC, topology.CLIENT_MAC, packet)


class Router:
    """A lab with neighbours that need not be asked for, and `bpfw filter` in its router."""

    def __init__(self, context):
        self.lab = context.lab("xdp", "none")
        self.namespace = self.lab.router
        for host, mac, device in ((topology.CLIENT, topology.CLIENT_MAC, "lan0"),
                                  (topology.SERVER, topology.SERVER_MAC, "wan0")):
            self.namespace.ip(f"neigh replace {host[4]} lladdr {mac} dev {device} nud permanent")
        if live.POSSIBLE:  # frames that a program sends need a receiver that polls
            self.lab.tune_endpoint(self.namespace, "lan0")
        self.lab.server.run("nft", "-f", "-", stdin=COUNTING)
        self._own = context.keep(self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.near = context.keep(frames.Port(self.lab.client, "eth0"))
        self.filter = Filter(context, self.lab)
        self.load = self.filter.load

    def arrivals(self):
        listed = self.lab.server.json("nft", "-j", "list", "counters")["nftables"]
        return {int(item["counter"]["name"][4:]): item["counter"]["packets"] for item in listed
                if "counter" in item}

    def dropped(self):
        """Frames that a queue had no room for, on the way to the router and from there."""
        lost = 0
        for namespace, device in ((self.lab.client, "eth0"), (self.namespace, "wan0")):
            links = namespace.json("ip", "-j", "-s", "link", "show", "dev", device)
            lost += links[0]["stats64"]["tx"]["dropped"]
        return lost

    def verdicts(self):
        """Which kinds of packets arrive: the last to be sent are those that always should.

        What the router sends itself is judged at TC, whatever the hook of what comes in."""
        before = self.arrivals()
        for kind in OWN_KINDS:
            with contextlib.suppress(PermissionError):
                self._own.sendto(b"", (topology.SERVER[4], kind))
        for kind in KINDS:
            self.near.send(datagram(kind))
        wait_until(lambda: all(self.arrivals()[kind] > before[kind]
                               for kind in (BOTH, OWN_BOTH)), 1)
        after = self.arrivals()
        return {kind for kind in after if after[kind] > before[kind]}


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """struct msghdr"""
    _fields_ = [("name", ctypes.c_void_p), ("name_len", ctypes.c_uint32),
                ("vector", ctypes.POINTER(_Vector)), ("vectors", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("control_len", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class _Message(ctypes.Structure):
    """struct mmsghdr"""
    _fields_ = [("header", _Header), ("sent", ctypes.c_uint)]


class Sender(threading.Thread):
    """Packets of all kinds in turn, as fast as one CPU sends them, until stop()."""

    def __init__(self, namespace):
        super().__init__(daemon=True)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with namespace.enter():
            self._socket.bind(("eth0", 0))
        self._buffers = [ctypes.create_string_buffer(datagram(kind)) for kind in KINDS]
        self._vectors = (_Vector * len(KINDS))(*(
            _Vector(ctypes.addressof(buffer), len(buffer) - 1) for buffer in self._buffers))
        self._messages = (_Message * BATCH)()
        for number, message in enumerate(self._messages):
            message.header.vector = ctypes.pointer(self._vectors[number % len(KINDS)])
            message.header.vectors = 1
        self._halt = threading.Event()
        self.sent = dict.fromkeys(KINDS, 0)

    def run(self):
        while not self._halt.is_set():
            # The kernel leaves off at the first frame that it has no room for.
            count = self._libc.sendmmsg(self._socket.fileno(), self._messages, BATCH, 0)
            for number, kind in enumerate(KINDS):
                self.sent[kind] += max(count - number + len(KINDS) - 1, 0) // len(KINDS)

    def stop(self):
        self._halt.set()
        self.join(10)
        self._socket.close()


class Turn:
    """Which of two rulesets of IPv4 is in force, at all hooks: a swap is one update of it."""

    def __init__(self, namespace):
        directory = directory_of(namespace)
        self._word = xdp.Map(path=os.path.join(directory, "turns"))
        self._slots = [xdp.Map(path=os.path.join(directory, f"stages_{hook}")) for hook in HOOKS]

    def get(self):
        return self._word[0]

    def set(self, turn):
        self._word[0] = turn

    def programs(self):
        """Descriptors of the programs in force, by hook."""
        slot = self.get() * FAMILIES
        return [xdp.bpf(xdp.BPF_PROG_GET_FD_BY_ID, struct.pack("=L", slots[slot]))
                for slots in self._slots]

    def fill(self, turn, programs):
        """The next load has emptied these slots."""
        for slots, program in zip(self._slots, programs):
            slots[turn * FAMILIES] = program


class Traffic:
    """Packets of all kinds while swaps go on, and what came of them."""

    def __init__(self, context, router):
        self._router, self._dropped, self._sink = router, router.dropped(), None
        if live.POSSIBLE:
            self._sink = context.keep(live.Sink(router.lab.server, "eth0", KINDS))
            self._sender = live.Generator(router.lab.client, "eth0", datagram(BOTH), KINDS)
        else:
            self._sender = Sender(router.lab.client)
        self._before = self._arrivals()
        self._started = time.monotonic()
        self._sender.start()

    def _arrivals(self):
        return self._sink.arrived() if self._sink else self._router.arrivals()

    def judge(self, context, swaps):
        """What both rulesets accept has arrived, what both drop has not."""
        before = self._before
        self._sender.stop()
        duration, sent = time.monotonic() - self._started, self._sender.sent
        wait_until(lambda: self._arrivals()[BOTH] - before[BOTH] >= sent[BOTH], 0.5)
        after, dropped = self._arrivals(), self._router.dropped() - self._dropped
        arrived, packets = {kind: after[kind] - before[kind] for kind in KINDS}, sum(sent.values())
        context.note(f"{swaps} swaps in {duration:.1f} s, {packets} packets "
                     f"({packets / duration / 1e6:.2f} million a second), "
                     f"queues dropped {dropped}; sent: {sent}, arrived: {arrived}")
        expect(sent[BOTH] >= swaps, f"only {sent} were sent")
        equal(arrived[NEITHER], 0, "packets that both rulesets drop, and that arrived")
        lost = sent[BOTH] - arrived[BOTH]
        expect(0 <= lost <= dropped, f"{lost} packets that both rulesets accept were lost")
        expect(arrived[FIRST] and arrived[SECOND], "only one of the rulesets was in force")


@test(*HOOKS)
def loads_under_traffic(context, hook):
    router = Router(context)
    router.load(TEXTS[0], hook)
    traffic, deadline, loads = Traffic(context, router), time.monotonic() + LOADS_TIME, 0
    while loads < LOADS and (loads < 2 or time.monotonic() < deadline):
        loads += 1
        router.filter("load", "-", stdin=TEXTS[loads % 2])
    traffic.judge(context, loads)


@test(*HOOKS)
def swaps_under_traffic(context, hook):
    """What a load does last, over and over, with the programs of two loads."""
    router = Router(context)
    router.load(TEXTS[0], hook)
    turn = Turn(router.namespace)
    first, programs = turn.get(), turn.programs()
    router.load(TEXTS[1])
    equal(turn.get(), 1 - first, "turn of the second load")
    turn.fill(first, programs)
    traffic = Traffic(context, router)
    for swap in range(SWAPS):
        turn.set(swap % 2)
        time.sleep(0.001)
    traffic.judge(context, SWAPS)


def calls_of(router, *words, stdin=None):
    """The bpf() commands of a change, traced in a run that is not killed."""
    traced = router.filter(*words, stdin=stdin, launcher=("strace", "-f", "-e", "trace=bpf"))
    return re.findall(r"\bbpf\((\w+)", traced.stderr)


def steps_of(router, words, stdin, last=0):
    """The numbers of those from which on it matters: what comes before makes maps and programs.

    Among the last ones, all those after a change."""
    commands = calls_of(router, *words, stdin=stdin)
    loads = [at for at, command in enumerate(commands, 1) if command == "BPF_PROG_LOAD"]
    steps = list(range(loads[-1] + 1 if loads else 1, len(commands) + 1))
    expect(len(steps) > 3, f"no steps in {commands}")
    if STEPS and len(steps) > STEPS:
        spacing = len(steps) / STEPS
        changes = {at + 1 for at in steps[-last - 1:-1] if CHANGE.match(commands[at - 1])}
        steps = {steps[int(number * spacing)] for number in range(STEPS)} | {steps[-1]}
        steps = sorted(steps | (changes if last else set()))
    return steps


def kill_at(router, step, words, stdin):
    """Run the change and kill it in the place of that bpf() call."""
    inject = ("strace", "-f", "-o", "/dev/null", "-e", "trace=bpf", "-e",
              f"inject=bpf:signal=KILL:when={step}")
    return router.filter(*words, stdin=stdin, check=False, launcher=inject).returncode


class Change:
    """Something to be killed in: what is in force before it, and which verdicts may hold then."""

    def __init__(self, router, name, hook):
        other = HOOKS[hook == "tc"]
        self.router = router
        self._first, self._before = name == "first load", other if name == "move" else hook
        self.words = ["unload"] if name == "unload" else load_words(hook)
        self.text = None if name == "unload" else TEXTS[1]
        self._allowed = ((NO_RULES if self._first else VERDICTS[0]),
                         (NO_RULES if name == "unload" else VERDICTS[1]))
        # Hooks are attached to one after the other, but rules change at all of them at once.
        self._by_hook = name in ("first load", "unload")
        self.last = LAST_CALLS if name == "swap" else 0

    def allows(self, verdicts):
        if not self._by_hook:
            return verdicts in self._allowed
        return all(any(verdicts & kinds == allowed & kinds for allowed in self._allowed)
                   for kinds in (set(KINDS), set(OWN_KINDS)))

    def prepare(self):
        """From whatever state: a load is as if nothing had been, and so is an unload after it."""
        self.router.load(TEXTS[0], self._before)
        equal(self.router.verdicts(), VERDICTS[0], "arriving after the next load")
        if self._first:
            self.router.filter("unload")
            equal(self.router.verdicts(), NO_RULES, "arriving after the next unload")


@test(*((name, hook) for name in ("first load", "swap", "move", "unload") for hook in HOOKS))
def killed_at_every_step(context, name, hook):
    """Old or new rules hold, traffic is never stuck, and the next load mends all."""
    if not shutil.which("strace"):
        raise Skip("no strace here")
    change = Change(Router(context), name, hook)
    change.prepare()
    steps = steps_of(change.router, change.words, change.text, change.last)
    killed, seen = 0, set()
    for step in steps:
        change.prepare()
        killed += kill_at(change.router, step, change.words, change.text) != 0
        verdicts = change.router.verdicts()
        expect(change.allows(verdicts), f"killed at bpf() call {step}: arriving {verdicts}")
        seen.add(tuple(sorted(verdicts)))
    change.prepare()
    # A load also removes what others have left behind: it takes some calls more or less each time.
    expect(killed > len(steps) // 2, f"{killed} of {len(steps)} runs were killed")
    context.note(f"killed at {len(steps)} calls ({steps[0]} to {steps[-1]}); then arrived: {seen}")


@test()
def pins_of_another_version(context):
    """A load does not go on with maps of another shape, and says what to do."""
    router = Router(context)
    router.load(TEXTS[0], "tc")
    stages = os.path.join(directory_of(router.namespace), "stages_xdp")
    os.unlink(stages)
    other = context.keep(xdp.Map(xdp.MAP_TYPE_PROG_ARRAY, entries=2))
    other.pin(stages)
    refused = router.load(TEXTS[1], check=False)
    equal(refused.returncode, 1, "exit status")
    expect("another version" in refused.stderr and "filter unload" in refused.stderr,
           refused.stderr)
    equal(router.verdicts(), VERDICTS[0], "arriving after a load that was refused")
    router.filter("unload")
    router.load(TEXTS[1], "tc")
    equal(router.verdicts(), VERDICTS[1], "arriving after the next load")


@test(*HOOKS)
def fast_path_goes_on_when_the_load_is_killed(context, hook):
    """The load takes links over from the daemon: none is left without a program, or a dead one."""
    if not shutil.which("strace"):
        raise Skip("no strace here")
    router = Router(context)
    bpfw = context.running(router.lab, AT_XDP)
    words = load_words(hook)
    steps = steps_of(router, words, TEXTS[0])
    flow, killed = context.keep(TcpFlow(router.lab)), 0
    flow.start()
    for step in steps:
        router.filter("unload", check=False)
        wait_until(lambda: "xdp" in {row["mode"] for row in bpfw.status()["plan"]})
        killed += kill_at(router, step, words, TEXTS[0]) != 0
        flow.goes_on(5)
        router.load(TEXTS[1], hook)
        flow.goes_on(5)
        equal(router.verdicts(), VERDICTS[1], f"arriving after the load that followed call {step}")
    flow.stop()
    # Looking for the daemon's links takes as many calls as there are links on the machine.
    expect(killed > len(steps) // 4, f"{killed} of {len(steps)} runs were killed")


if __name__ == "__main__":
    main(jobs=2)
