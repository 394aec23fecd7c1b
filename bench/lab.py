# SPDX-License-Identifier: GPL-2.0-only
"""The benchmark's world: three network namespaces in a row, and the processes that run in them.

    generator             router                sink
    client0 ------------- lan0  wan0 ------------- server0
    10.0.1.2         10.0.1.1    10.0.2.1         10.0.2.2

Every namespace name holds the pid of its run, so that what a killed run left behind can be told
from what a live one uses. Every process is killed by the kernel when its parent dies.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import socket
import subprocess
import time

CLIENT = "10.0.1.2"
LAN = "10.0.1.1"
WAN = "10.0.2.1"
SERVER = "10.0.2.2"

FLOWS = 64
FIRST_PORT = 10000
SERVER_PORT = 9000

COMMAND_SECONDS = 20
NETNS_DIR = "/run/netns"

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


class Lab:
    """One generator - router - sink row."""

    def __init__(self, tag):
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
        for netns in self.generator, self.router, self.sink:
            if os.path.exists(f"{NETNS_DIR}/{netns}"):
                run(["ip", "netns", "del", netns])

    def _build(self):
        for netns in self.generator, self.router, self.sink:
            run(["ip", "netns", "add", netns])
            self.set_sysctls(netns, {"net/ipv6/conf/all/disable_ipv6": 1,
                                     "net/ipv6/conf/default/disable_ipv6": 1})
        self.set_sysctls(self.router, {"net/ipv4/ip_forward": 1})
        self._ip(self.router,
                 f"link add lan0 type veth peer name client0 netns {self.generator}",
                 f"link add wan0 type veth peer name server0 netns {self.sink}",
                 f"addr add {LAN}/24 dev lan0", f"addr add {WAN}/24 dev wan0",
                 "link set lan0 up", "link set wan0 up")
        self._ip(self.generator, f"addr add {CLIENT}/24 dev client0", "link set client0 up",
                 f"route add default via {LAN}")
        self._ip(self.sink, f"addr add {SERVER}/24 dev server0", "link set server0 up",
                 f"route add default via {WAN}")
        self._set_neighbours()

    def _set_neighbours(self):
        """Static ones: while the sink or the generator owns an end, nobody answers ARP there."""
        for netns, device, address, owner, its_device in (
                (self.generator, "client0", LAN, self.router, "lan0"),
                (self.router, "lan0", CLIENT, self.generator, "client0"),
                (self.router, "wan0", SERVER, self.sink, "server0"),
                (self.sink, "server0", WAN, self.router, "wan0")):
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

    def masquerade(self, count_stack):
        """nft masquerade on wan0. What the stack forwards there is counted only where asked for:
        a rule in the forward hook would make the stack look slower than it is."""
        count = """
            counter stack { }
            chain forward {
                type filter hook forward priority filter
                oifname "wan0" counter name stack
            }""" if count_stack else ""
        run(inside(self.router, ["nft", "-f", "-"]), f"""
            table ip bench {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat
                    oifname "wan0" masquerade
                }}{count}
            }}""")
        # Generated frames lack the checksum verdict that a NIC would give them, and the stack
        # must not pay for that.
        self.set_sysctls(self.router, {"net/netfilter/nf_conntrack_checksum": 0})

    def stack_counter(self):
        """(packets, bytes) that the stack forwarded to wan0."""
        said = run(inside(self.router, ["nft", "-j", "list", "counter", "ip", "bench", "stack"]))
        for item in json.loads(said)["nftables"]:
            if "counter" in item:
                return item["counter"]["packets"], item["counter"]["bytes"]
        raise BenchError("nft does not list the counter of the forward hook")


class Conversation:
    """Real UDP sockets at both ends of the flows: gives conntrack replies to see."""

    def __init__(self, lab):
        self.clients = {}
        with contextlib.ExitStack() as opened:
            with entered(lab.sink):
                self.server = opened.enter_context(self._socket(SERVER, SERVER_PORT))
            with entered(lab.generator):
                for port in range(FIRST_PORT, FIRST_PORT + FLOWS):
                    self.clients[port] = opened.enter_context(self._socket(CLIENT, port))
            self._opened = opened.pop_all()

    @staticmethod
    def _socket(address, port):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
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
                client.sendto(text, (SERVER, SERVER_PORT))
                heard, source = self.server.recvfrom(64)
                if heard != text or source[0] != WAN:
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

    def __init__(self, binary, lab, hook, cpu, log):
        self.binary, self.lab, self.hook, self.cpu, self.log = binary, lab, hook, cpu, log
        self.process = None

    def __enter__(self):
        argv = [self.binary, "--hook", self.hook, "--iface", "lan0", "--iface", "wan0"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = start(self.lab.router, argv, self.cpu, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log)
        try:
            self._wait_ready(10)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, kind, *_):
        status = stop(self.process)
        if status != 0 and kind is None:
            raise BenchError(f"bpfw ended with status {status}, not 0 within 5 s: see {self.log}")

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

    def offloaded(self):
        """Packets so far of every flow of the benchmark that is offloaded, by its port.

        A flow counts only with its NAT: source rewritten to the router's address, to wan0."""
        packets = {}
        for flow in self._query("flows")["flows"]:
            seen = (flow["protocol"], flow["src"], flow["dst"], flow["dport"], flow["ingress"])
            sent = (flow["action"], flow["nat_src"], flow["nat_dst"], flow["egress"])
            if seen == ("udp", CLIENT, SERVER, SERVER_PORT, "lan0") and \
                    sent == ("forward", WAN, SERVER, "wan0"):
                packets[flow["sport"]] = flow["packets"]
        ours = range(FIRST_PORT, FIRST_PORT + FLOWS)
        return {port: packets[port] for port in ours if port in packets}
