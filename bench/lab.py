# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark's world: three network namespaces in a row, and the processes that run in them.

    generator             router                sink
    client0 ------------- lan0  wan0 ------------- server0
    10.0.1.2         10.0.1.1    10.0.2.1         10.0.2.2
    fd00:1::2        fd00:1::1   fd00:2::1        fd00:2::2

Every namespace name holds the pid of its run, so that what a killed run left behind can be told
from what a live one uses. Every process is killed by the kernel when its parent dies.
"""

import argparse
import contextlib
import csv
import ctypes
import importlib.machinery
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import report
import results

CLIENT = "10.0.1.2"
LAN = "10.0.1.1"
WAN = "10.0.2.1"
SERVER = "10.0.2.2"

ADDRESSES = {4: (CLIENT, LAN, WAN, SERVER),
             6: ("fd00:1::2", "fd00:1::1", "fd00:2::1", "fd00:2::2")}

FLOWS = 64
FIRST_PORT = 10000
SERVER_PORT = 9000

# Where many flows go: hosts behind the server, by a route.
REMOTE = "10.9.0.1"
REMOTE_NET = "10.9.0.0/16"
SENT_TTL = 64
STACK_MARK = 0x20  # cs1

# Frames of the generator are delivered only to a veth that polls, which GRO makes it do. The
# checksum offload is off because an XDP forwarder passes unfinished checksums on.
FRAMES = (("gro", "on"), ("tx", "off"))

COMMAND_SECONDS = 20
END_SECONDS = 60  # for bpfw with 1,000,000 flows, whose timeouts it writes back
LEARN_RATE = 80000  # frames a second
MAX_FLOWS = 1 << 20
NETNS_DIR = "/run/netns"
HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(HERE), "build")
CONNTRACK_MAX = "/proc/sys/net/netfilter/nf_conntrack_max"
CONNTRACK_BUCKETS = "/sys/module/nf_conntrack/parameters/hashsize"

ENDING_SIGNALS = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class BenchError(Exception):
    """A measurement that cannot be made, or must not be believed."""


def run(argv, text=None, seconds=COMMAND_SECONDS):
    """Runs a command and returns its standard output; a failure holds its messages."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=seconds,
                              check=False, preexec_fn=die_with_parent)
    except FileNotFoundError as error:
        raise BenchError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(argv)}: not done after {seconds:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise BenchError(f"{' '.join(argv)}: exit status {done.returncode}: {said}")
    return done.stdout


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def inside(netns, argv, cpu=None):
    """argv, to run in a namespace and on one CPU. Both tools end in exec: the pid stays."""
    pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
    return [*pin, "nsenter", f"--net={NETNS_DIR}/{netns}", *argv]


def start(netns, argv, cpu, **options):
    try:
        return subprocess.Popen(inside(netns, argv, cpu), text=True, preexec_fn=die_with_parent,
                                **options)
    except FileNotFoundError as error:
        raise BenchError(f"{error.filename} is not installed") from error


def stop(process, seconds=5.0):
    """SIGTERM, then SIGKILL. Returns the exit status, None if it had to be killed."""
    process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def read_line(process, seconds):
    """The next line a process prints; empty at its end. Unbuffered, since select() cannot see
    what a buffer already holds; the lines are few and short."""
    line, deadline = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        left = max(0.0, deadline - time.monotonic())
        if not select.select([process.stdout], [], [], left)[0]:
            raise BenchError(f"{' '.join(process.args)}: no answer in {seconds:.0f} s")
        byte = os.read(process.stdout.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace")


@contextlib.contextmanager
def entered(netns):
    """This thread in another network namespace. Sockets made there stay there."""
    with open("/proc/thread-self/ns/net", "rb") as home, \
            open(f"{NETNS_DIR}/{netns}", "rb") as away:
        set_netns(away.fileno())
        try:
            yield
        finally:
            set_netns(home.fileno())


def set_netns(fd):
    if LIBC.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def remove_stale():
    """Namespaces of runs that were killed before they could clean up."""
    for line in run(["ip", "netns", "list"]).splitlines():
        found = re.match(r"(bpfw-b(\d+)-\S+)", line)
        if found and not os.path.exists(f"/proc/{found[2]}"):
            run(["ip", "netns", "del", found[1]])


def program(name):
    """One of the benchmark's own, as bench/Makefile builds it."""
    return os.path.join(BUILD, "bench", name)


@contextlib.contextmanager
def conntrack_sizes(entries):
    """Room for so many entries in conntrack's table. It is the machine's, so the old sizes come
    back even if this process is killed: a shell that outlives it waits for its pipe to close."""
    sizes, back = {CONNTRACK_MAX: 2 * entries, CONNTRACK_BUCKETS: entries}, "cat"
    for path, size in sizes.items():
        with open(path, encoding="ascii") as file:
            old = int(file.read())
        back += f"; echo {old} >{path}"
        sizes[path] = max(old, size)
    keeper = subprocess.Popen(["sh", "-c", back], stdin=subprocess.PIPE, start_new_session=True)
    try:
        for path, size in sizes.items():
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{size}\n")
        yield
    finally:
        keeper.stdin.close()
        keeper.wait(COMMAND_SECONDS)


class Lab:
    """One generator - router - sink row, with addresses of one family."""

    def __init__(self, tag, family=4):
        self.family = family
        self.client, self.lan, self.wan, self.server = ADDRESSES[family]
        prefix = f"bpfw-b{os.getpid()}-{tag}"
        self.generator, self.router, self.sink = (f"{prefix}-{end}" for end in "grs")

    def __enter__(self):
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        """A signal to end waits until all is gone."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        try:
            for netns in self.generator, self.router, self.sink:
                if os.path.exists(f"{NETNS_DIR}/{netns}"):
                    run(["ip", "netns", "del", netns])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _build(self):
        for netns in self.generator, self.router, self.sink:
            run(["ip", "netns", "add", netns])
            self._choose_family(netns)
        self.set_sysctls(self.router, {"net/ipv4/ip_forward": 1} if self.family == 4 else
                         {"net/ipv6/conf/all/forwarding": 1})
        length = 24 if self.family == 4 else "64 nodad"
        self._ip(self.router,
                 f"link add lan0 type veth peer name client0 netns {self.generator}",
                 f"link add wan0 type veth peer name server0 netns {self.sink}",
                 f"addr add {self.lan}/{length} dev lan0", f"addr add {self.wan}/{length} dev wan0",
                 "link set lan0 up", "link set wan0 up")
        self._ip(self.generator, f"addr add {self.client}/{length} dev client0",
                 "link set client0 up", f"route add default via {self.lan}")
        self._ip(self.sink, f"addr add {self.server}/{length} dev server0", "link set server0 up",
                 f"route add default via {self.wan}")
        self._set_neighbours()

    def _choose_family(self, netns):
        """IPv6 only where it is measured, and then without link-local addresses and what the
        kernel says by them of itself."""
        wanted = ({"disable_ipv6": 1} if self.family == 4 else
                  {"disable_ipv6": 0, "addr_gen_mode": 1, "accept_ra": 0})
        self.set_sysctls(netns, {f"net/ipv6/conf/{scope}/{name}": value
                                 for scope in ("all", "default") for name, value in wanted.items()})

    def _set_neighbours(self):
        """Static ones: while the sink or the generator owns an end, nobody answers there."""
        for netns, device, address, owner, its_device in (
                (self.generator, "client0", self.lan, self.router, "lan0"),
                (self.router, "lan0", self.client, self.generator, "client0"),
                (self.router, "wan0", self.server, self.sink, "server0"),
                (self.sink, "server0", self.wan, self.router, "wan0")):
            self._ip(netns, f"neigh replace {address} lladdr {self.mac(owner, its_device)} "
                            f"dev {device} nud permanent")

    @staticmethod
    def _ip(netns, *commands):
        run(["ip", "-n", netns, "-batch", "-"], "\n".join(commands) + "\n")

    @staticmethod
    def set_sysctls(netns, values):
        with entered(netns):
            for key, value in values.items():
                with open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
                    file.write(f"{value}\n")

    @staticmethod
    def mac(netns, device):
        links = json.loads(run(["ip", "-n", netns, "-j", "link", "show", "dev", device]))
        return links[0]["address"]

    def ports(self):
        return ((self.generator, "client0"), (self.router, "lan0"), (self.router, "wan0"),
                (self.sink, "server0"))

    def set_features(self, features, ports=None):
        """ethtool -K on the given ends, all four unless told otherwise."""
        for netns, device in ports or self.ports():
            run(inside(netns, ["ethtool", "-K", device, *features]))

    def route_remote(self, gateway=SERVER):
        """The hosts that many flows go to, reached by a host of the sink's network."""
        self._ip(self.router, f"route replace {REMOTE_NET} via {gateway}")

    def add_gateway(self, address, mac):
        """Another next hop on wan0, which the sink's end knows by its MAC address only."""
        self._ip(self.router, f"neigh replace {address} lladdr {mac} dev wan0 nud permanent")

    @property
    def _table(self):
        return f"{'ip' if self.family == 4 else 'ip6'} bench"

    def masquerade(self, count_stack, mark_stack=False, ruleset=None):
        """nft masquerade on wan0, by one rule or by those of a file. What the stack forwards there
        is counted, or marked with a DSCP, only where asked for: a rule in the forward hook would
        make the stack look slower than it is."""
        mark = "ip dscp set cs1" if mark_stack else ""
        count = f"""
            counter stack {{ }}
            chain forward {{
                type filter hook forward priority filter
                oifname "wan0" counter name stack {mark}
            }}""" if count_stack or mark_stack else ""
        masquerade = "" if ruleset else """
            chain postrouting {
                type nat hook postrouting priority srcnat
                oifname "wan0" masquerade
            }"""
        if ruleset:
            run(inside(self.router, ["nft", "-f", ruleset]))
        run(inside(self.router, ["nft", "-f", "-"]),
            f"table {self._table} {{{masquerade}{count}\n}}")
        # Generated frames lack the checksum verdict that a NIC would give them, and the stack
        # must not pay for that.
        self.set_sysctls(self.router, {"net/netfilter/nf_conntrack_checksum": 0})

    def stack_counter(self):
        """(packets, bytes) that the stack forwarded to wan0."""
        said = run(inside(self.router, ["nft", "-j", "list", "counter", *self._table.split(),
                                         "stack"]))
        for item in json.loads(said)["nftables"]:
            if "counter" in item:
                return item["counter"]["packets"], item["counter"]["bytes"]
        raise BenchError("nft does not list the counter of the forward hook")

    def follow_many_flows(self, timeout):
        """Conntrack's timeout of UDP, and a route to where many flows go."""
        self.set_sysctls(self.router, {
            f"net/netfilter/nf_conntrack_{name}": timeout
            for name in ("udp_timeout", "udp_timeout_stream")})
        self.route_remote()

    @contextlib.contextmanager
    def no_events(self):
        """Conntrack entries of this time never send events. By itself the kernel would give them
        some if anybody listens anywhere on the machine, in whatever namespace."""
        setting = "net/netfilter/nf_conntrack_events"
        self.set_sysctls(self.router, {setting: 0})
        yield
        self.set_sysctls(self.router, {setting: 2})

    def conntrack(self, *arguments):
        """conntrack(8) in the router."""
        return run(inside(self.router, ["conntrack", *arguments])).strip()


class Traffic:
    """Frames of many flows through a lab: who sends them, and who takes them."""

    def __init__(self, lab, traffic_cpu, other_cpu):
        self.lab, self.traffic_cpu, self.other_cpu = lab, traffic_cpu, other_cpu

    def _flows(self, flows):
        return ["--dst", REMOTE, "--sport", str(FIRST_PORT), "--dport", str(SERVER_PORT),
                "--flows", str(flows)]

    def _generator(self, flows, **limits):
        """limits are options of `gen send`."""
        argv = [program("gen"), "send", "--dev", "client0",
                "--dmac", self.lab.mac(self.lab.router, "lan0"),
                "--smac", self.lab.mac(self.lab.generator, "client0"),
                "--src", CLIENT, "--ttl", str(SENT_TTL), *self._flows(flows)]
        for name, value in limits.items():
            argv += [f"--{name}", str(value)]
        return argv

    def send(self, flows, **limits):
        """Sends, and returns what the generator says of it, once the rings are empty."""
        argv = inside(self.lab.generator, self._generator(flows, **limits), self.traffic_cpu)
        least = limits.get("frames", 0) / limits.get("rate", 1)
        said = json.loads(run(argv, seconds=max(limits.get("seconds", 60), least)
                              + COMMAND_SECONDS))
        time.sleep(0.05)
        return said

    @contextlib.contextmanager
    def sending(self, flows, **limits):
        """The same meanwhile; what the generator says of it is in the dictionary at the end."""
        process = start(self.lab.generator, self._generator(flows, **limits), self.traffic_cpu,
                        stdout=subprocess.PIPE)
        said = {}
        try:
            yield said
            process.terminate()
            text = process.communicate(timeout=COMMAND_SECONDS)[0]
            if process.returncode:
                raise BenchError(f"the generator ended with status {process.returncode}")
            said.update(json.loads(text))
        finally:
            process.kill()
            process.communicate()

    def _sink(self, mode, netns, device, *options):
        return Helper(netns, [program("gen"), mode, "--dev", device,
                              "--dmac", self.lab.mac(netns, device), *options], self.other_cpu)

    def answering(self, flows, dmac=None):
        """Every frame goes back to where it came from, and how soon flows leave the stack is
        noted, if masquerade() has marked the stack's."""
        extra = ["--dmac", dmac] if dmac else []
        return self._sink("answer", self.lab.sink, "server0", "--src", WAN, *self._flows(flows),
                          "--mark", str(STACK_MARK), *extra)

    def counting(self, flows, source=WAN, routed=True):
        """Every frame is checked and counted."""
        return self._sink("sink", self.lab.sink, "server0", "--src", source, *self._flows(flows),
                          "--ttl", str(SENT_TTL - routed))

    def counting_at_door(self, flows):
        """The same at the router's door: the generator alone."""
        return self._sink("sink", self.lab.router, "lan0", "--src", CLIENT, *self._flows(flows),
                          "--ttl", str(SENT_TTL))


class Conversation:
    """Real UDP sockets at both ends of the flows: gives conntrack replies to see."""

    def __init__(self, lab):
        self.lab, self.clients = lab, {}
        with contextlib.ExitStack() as opened:
            with entered(lab.sink):
                self.server = opened.enter_context(self._socket(lab.server, SERVER_PORT))
            with entered(lab.generator):
                for port in range(FIRST_PORT, FIRST_PORT + FLOWS):
                    self.clients[port] = opened.enter_context(self._socket(lab.client, port))
            self._opened = opened.pop_all()

    @staticmethod
    def _socket(address, port):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(1.0)
        sock.bind((address, port))
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._opened.close()

    def exchange(self):
        """One packet and its answer in every flow."""
        for port, client in self.clients.items():
            text = f"flow {port}".encode()
            try:
                client.sendto(text, (self.lab.server, SERVER_PORT))
                heard, source = self.server.recvfrom(64)
                if heard != text or source[0] != self.lab.wan:
                    raise BenchError(f"flow {port}: the server got {heard!r} from {source[0]}")
                self.server.sendto(text, source)
                if client.recv(64) != text:
                    raise BenchError(f"flow {port}: the answer was changed")
            except socket.timeout as error:
                raise BenchError(f"flow {port}: a packet did not pass the router") from error


class Helper:
    """A program of ours that prints "ready" when attached and ends with its standard input."""

    def __init__(self, netns, argv, cpu):
        self.process = start(netns, argv, cpu, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        try:
            if read_line(self.process, 10) != "ready\n":
                raise BenchError(f"{self.process.args[-1]}: not attached, see the message above")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            stop(self.process)
        self.process.stdout.close()

    def ask(self):
        """One request, one JSON object."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(read_line(self.process, 5))


class Bpfw:
    """A running bpfw in the router. Its messages go to a file."""

    def __init__(self, binary, lab, hook, cpu, log, options=()):
        self.binary, self.lab, self.hook, self.cpu, self.log = binary, lab, hook, cpu, log
        self.options = options
        self.process = None

    def __enter__(self):
        argv = [self.binary, "--hook", self.hook, "--iface", "lan0", "--iface", "wan0",
                *self.options]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = start(self.lab.router, argv, self.cpu, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
        try:
            self._wait_ready(30)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, kind, *_):
        status = stop(self.process, END_SECONDS)
        if status != 0 and kind is None:
            raise BenchError(f"bpfw ended with status {status}, not 0 within {END_SECONDS} s: "
                             f"see {self.log}")

    def _wait_ready(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                if any(line.startswith("bpfw: ready") for line in log):
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        with open(self.log, encoding="utf-8", errors="replace") as log:
            said = " | ".join(log.read().strip().splitlines()[-3:])
        raise BenchError(f"bpfw --hook {self.hook} did not get ready: {said or 'no message'}")

    def _query(self, what):
        said = run(inside(self.lab.router, [self.binary, what, "--json"], self.cpu))
        try:
            return json.loads(said)
        except json.JSONDecodeError as error:
            raise BenchError(f"bpfw {what} --json: {error}") from error

    def stats(self):
        return self._query("stats")

    def flows(self):
        """How many are offloaded."""
        return self.stats()["daemon"]["flows"]

    def cpu_seconds(self):
        """That the daemon has used, and that it has waited for a CPU. It has one thread."""
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as file:
            ran, waited = file.read().split()[:2]
        return int(ran) / 1e9, int(waited) / 1e9

    def memory(self):
        """(RSS, PSS) in bytes."""
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as file:
            sizes = dict(re.findall(r"^(\w+): +(\d+) kB", file.read(), re.MULTILINE))
        return int(sizes["Rss"]) * 1024, int(sizes["Pss"]) * 1024

    def map_memory(self, names=None):
        """Bytes that the kernel says its maps take, or those of the names."""
        fdinfo, total = f"/proc/{self.process.pid}/fdinfo", 0
        wanted = names and map_ids(names)
        for number in os.listdir(fdinfo):
            with open(f"{fdinfo}/{number}", encoding="ascii") as file:
                said = dict(line.split(":", 1) for line in file if ":" in line)
            if "map_type" in said and (not names or int(said["map_id"]) in wanted):
                total += int(said["memlock"])
        return total

    def learn(self, traffic, flows, seconds):
        """Have it learn so many flows from their traffic, which is answered. New flows begin at a
        rate that it can follow; what is missing after them is sent in turn."""
        deadline = time.monotonic() + seconds
        begin, life = min(flows, 1000), 8
        traffic.send(begin, frames=begin * (life * (flows // begin - 1) + 1), lifetime=life,
                     rate=LEARN_RATE)
        while (learned := self.flows()) < flows:
            if time.monotonic() > deadline:
                raise BenchError(f"only {learned} of {flows} flows are offloaded after "
                                 f"{seconds:.0f} s")
            traffic.send(flows, frames=max(flows, 1000), rate=LEARN_RATE)

    def wait_flows(self, done, seconds, space=0.02):
        """Until the number of offloaded flows is as wanted; when that was."""
        deadline = time.monotonic() + seconds
        while True:
            flows, now = self.flows(), time.monotonic()
            if done(flows):
                return now
            if now > deadline:
                raise BenchError(f"{flows} flows are offloaded after {seconds:.0f} s")
            time.sleep(space)

    def offloaded(self):
        """Packets so far of every flow of the benchmark that is offloaded, by its port.

        A flow counts only with its NAT: source rewritten to the router's address, to wan0."""
        packets, lab = {}, self.lab
        for flow in self._query("flows")["flows"]:
            seen = (flow["protocol"], flow["src"], flow["dst"], flow["dport"], flow["ingress"])
            sent = (flow["action"], flow["nat_src"], flow["nat_dst"], flow["egress"])
            if seen == ("udp", lab.client, lab.server, SERVER_PORT, "lan0") and \
                    sent == ("forward", lab.wan, lab.server, "wan0"):
                packets[flow["sport"]] = flow["packets"]
        ours = range(FIRST_PORT, FIRST_PORT + FLOWS)
        return {port: packets[port] for port in ours if port in packets}


def map_ids(names):
    """Of all maps of the machine with one of these names."""
    places = (os.environ.get("PATH", ""), "/usr/sbin", os.path.join(BUILD, "bpftool"))
    tool = shutil.which("bpftool", path=":".join(places))
    if not tool:
        raise BenchError("bpftool is not installed")
    return {one["id"] for one in json.loads(run([tool, "-j", "map", "list"]))
            if one.get("name") in names}


def slab_bytes():
    """What the kernel's allocators of general sizes have given out."""
    with open("/proc/slabinfo", encoding="ascii") as file:
        rows = [line.split() for line in file if line.startswith("kmalloc-")]
    return sum(int(row[2]) * int(row[3]) for row in rows)


def load_script(name):
    """A benchmark beside this file as a module, for what another one shares with it."""
    path = os.path.join(HERE, name)
    loader = importlib.machinery.SourceFileLoader(f"bench_{name}", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


class Rows:
    """Results that are one table: printed as they come, written as CSV at the end."""

    def __init__(self, columns):
        """columns: name in the CSV file, heading, width, format of the value."""
        self.columns, self.rows = columns, []

    def heading(self):
        self._print([heading for _, heading, _, _ in self.columns])

    def add(self, **values):
        self.rows.append(values)
        self._print(["-" if values.get(name) is None else format(values[name], form)
                     for name, _, _, form in self.columns])

    def _print(self, cells):
        """The first column is text, the others are numbers."""
        widths = [width for _, _, width, _ in self.columns]
        cells = [cells[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in
                                               zip(cells[1:], widths[1:])]
        print("  ".join(cells).rstrip(), flush=True)

    def write(self, path):
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, [name for name, _, _, _ in self.columns])
            table.writeheader()
            for row in self.rows:
                table.writerow({name: report.shorten(row.get(name))
                                for name, _, _, _ in self.columns})

    def add_to(self, figures, case_of, units):
        """As figures; those without a unit are left out."""
        for row in self.rows:
            figures.put_all(case_of(row), row, units)


class Used:
    """What a daemon used and did in the time of a with statement."""

    def __init__(self, bpfw):
        self.bpfw = bpfw

    def __enter__(self):
        self._stats, (self._ran, self._waited), self._begun = self._now()
        return self

    def __exit__(self, kind, *_):
        if kind:
            return
        stats, (ran, waited), ended = self._now()
        self.seconds, self.cpu_seconds = ended - self._begun, ran - self._ran
        self.cpu_share = self.cpu_seconds / self.seconds
        self.wait_share = (waited - self._waited) / self.seconds
        self.counted = {name: count - self._stats[name] for name, count in stats.items()}

    def _now(self):
        stats = self.bpfw.stats()
        return {**stats["exits"], **stats["daemon"]}, self.bpfw.cpu_seconds(), time.monotonic()


class DaemonBench:
    """What the benchmarks of the daemon have in common: their labs, the CPUs, the options."""

    def __init__(self, options):
        self.options = options
        cpus = sorted(os.sched_getaffinity(0))
        self.traffic_cpu, self.other_cpu = cpus[-1], cpus[0]

    @contextlib.contextmanager
    def lab(self, timeout, mark_stack=False):
        """A lab with masquerade, and its traffic."""
        with Lab("d") as lab:
            for feature in FRAMES:
                lab.set_features(feature)
            lab.masquerade(count_stack=False, mark_stack=mark_stack)
            lab.follow_many_flows(timeout)
            yield lab, Traffic(lab, self.traffic_cpu, self.other_cpu)

    def bpfw(self, lab, *options, hook=None):
        log = os.path.join(self.options.out, "daemon.log")
        return Bpfw(self.options.bpfw, lab, hook or self.options.hook, self.other_cpu, log,
                    ["--max-flows", str(MAX_FLOWS), *options])

    def run_parts(self, parts, rows):
        """Those that --only names, else all. A part that fails is reported, the others go on."""
        wanted = [name for name in self.options.only.split(",") if name]
        for name in wanted:
            if name not in parts:
                raise BenchError(f"--only {name}: no such part; there are {', '.join(parts)}")
        failed = {}
        rows.heading()
        for name, part in parts.items():
            if wanted and name not in wanted:
                continue
            try:
                part(self, rows)
            except BenchError as error:
                failed[name] = error
                print(f"FAILED {name}: {error}", flush=True)
        return 1 if failed else 0


def options_parser(doc, parts=None):
    """The options that bench/scale, bench/change and bench/daemon share."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="small sizes and short times, to try it: the numbers mean nothing")
    if parts:
        parser.add_argument("--hook", choices=("xdp", "tc"), default="xdp", help="default xdp")
        parser.add_argument("--only", default="", metavar="NAME,...",
                            help=f"of the parts {', '.join(parts)} (default: all)")
    parser.add_argument("--out", default=os.path.join(BUILD, "bench"),
                        help="directory of the CSV file and logs (default build/bench)")
    results.add_option(parser)
    parser.add_argument("--bpfw", default=os.path.join(BUILD, "bpfw"), help="default build/bpfw")
    return parser


def figures(bench, options):
    """For the results of a benchmark with options_parser()'s options."""
    return results.Figures(bench, "quick: small sizes, short times" if options.quick else "")


def end_by_signal(number, _frame):
    """Unwinds, so that namespaces and processes go away."""
    sys.exit(128 + number)


def main(measure, options):
    """Runs a benchmark as root, with its programs built. Returns the exit status."""
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, end_by_signal)
    try:
        if os.geteuid():
            raise BenchError("must run as root: it makes network namespaces and loads BPF programs")
        if not os.access(options.bpfw, os.X_OK):
            raise BenchError(f"{options.bpfw} is not there: run make")
        if subprocess.run(["make", "-s", "-C", HERE], check=False).returncode:
            raise BenchError("the benchmark's own programs cannot be built, see above")
        os.makedirs(options.out, exist_ok=True)
        remove_stale()
        return measure(options)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
