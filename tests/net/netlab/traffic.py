# SPDX-License-Identifier: GPL-2.0-only
"""Real TCP and UDP flows between two namespaces, each byte checked at the other end.

Both sockets of a flow live in this process; each belongs to the namespace it was made in.
"""

import hashlib
import os
import random
import select
import socket
import struct
import threading
import time

from . import lab as topology
from .lab import wait_until

CHUNK = 256 * 1024
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
LINGER_RESET = struct.pack("ii", 1, 0)


class TrafficError(AssertionError):
    """Data was lost, changed, or did not arrive in time."""


class Flow:
    """What TCP and UDP have in common: the ends, their tuples, and traffic in the background."""

    protocol = None
    PACE = 0.001

    def __init__(self, lab, family=4, target=None, port=5000, listen_port=None, reverse=False,
                 source_port=0, bind=None):
        """target and port are what the initiator dials; reverse lets the server side dial; bind is
        the far end's own address where it has several."""
        self.lab, self.family = lab, family
        self.reverse = reverse
        self._initiator = lab.server if reverse else lab.client
        self._acceptor = lab.client if reverse else lab.server
        self._target = (target or topology.SERVER[family], port)
        self._listen_port = port if listen_port is None else listen_port
        self._source_port = source_port
        self._far_address = bind or ANY[family]
        self.near = self.far = None
        self.rounds = 0
        self.error = None
        self._thread = None
        self._halt = threading.Event()

    def _bound(self, namespace, kind, port, address=None):
        sock = namespace.socket(FAMILIES[self.family], kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address or ANY[self.family], port))
        return sock

    def far_view(self):
        """(own, peer) addresses as the far end sees them: the truth about the NAT."""
        raise NotImplementedError

    def original(self):
        """The fields that `bpfw flows` has to show for the original direction."""
        return self._fields("original", self.near.getsockname()[:2], self._target,
                            self.far_view()[1], self.far_view()[0])

    def reply(self):
        return self._fields("reply", self.far_view()[0], self.far_view()[1],
                            self._target, self.near.getsockname()[:2])

    def _fields(self, direction, src, dst, nat_src, nat_dst):
        inward = (direction == "original") == self.reverse
        return {
            "family": f"ipv{self.family}", "protocol": self.protocol, "direction": direction,
            "ingress": "wan0" if inward else "lan0", "egress": "lan0" if inward else "wan0",
            "src": src[0], "sport": src[1], "dst": dst[0], "dport": dst[1],
            "nat_src": nat_src[0], "nat_sport": nat_src[1],
            "nat_dst": nat_dst[0], "nat_dport": nat_dst[1],
        }

    def entry_key(self):
        """(protocol, source address, source port) of the conntrack entry."""
        return (self.protocol, *self.near.getsockname()[:2])

    def in_map(self, bpfw):
        """The flow's entries in the fast path, by its ports; whatever the direction."""
        source, port = self.near.getsockname()[:2]
        return [flow for flow in bpfw.flows(protocol=self.protocol)
                if (flow["src"], flow["sport"]) == (source, port)
                or (flow["nat_dst"], flow["nat_dport"]) == (source, port)]

    def wait_offloaded(self, bpfw, timeout=5.0):
        """Send traffic until both directions of the flow are in the fast path and used there."""
        def used():
            if not self._thread:
                self.touch()
            flows = self.in_map(bpfw)
            return len(flows) == 2 and all(flow["packets"] for flow in flows)
        if not wait_until(used, timeout):
            raise TrafficError(f"{self.name()} is not offloaded after {timeout} s: "
                               f"{bpfw.flows()}\n{bpfw.stats()}\n{bpfw.log}")

    def wait_not_offloaded(self, bpfw, timeout=5.0):
        if not wait_until(lambda: not self.in_map(bpfw), timeout):
            raise TrafficError(f"{self.name()} is still offloaded after {timeout} s: "
                               f"{self.in_map(bpfw)}\n{bpfw.log}")

    def name(self):
        return f"{self.protocol}{self.family} {self.near.getsockname()[1]} -> {self._target}"

    def touch(self):
        """A few packets in both directions."""
        raise NotImplementedError

    def start(self):
        """Traffic in the background until stop()."""
        self._halt.clear()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self):
        try:
            while not self._halt.is_set():
                self._round()
                self._halt.wait(self.PACE)
        except (OSError, TrafficError) as error:
            self.error = error

    def _round(self):
        raise NotImplementedError

    def goes_on(self, rounds=30, timeout=10.0):
        """Wait until so many more rounds of background traffic have come through."""
        goal = self.rounds + rounds
        if not wait_until(lambda: self.rounds >= goal or self.error, timeout) or self.error:
            raise TrafficError(f"{self.name()} came to a halt after {self.rounds} rounds: "
                               f"{self.error or 'time is up'}")

    def stop(self, check=True):
        if self._thread:
            self._halt.set()
            self._thread.join(30)
            self._thread = None
        if check and self.error:
            raise TrafficError(f"{self.name()}: {self.error}")

    def close(self):
        self.stop(check=False)
        for sock in (self.near, self.far):
            if sock:
                sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TcpFlow(Flow):
    """An established TCP connection."""

    protocol = "tcp"

    def __init__(self, lab, *args, **kwargs):
        super().__init__(lab, *args, **kwargs)
        with self._bound(self._acceptor, socket.SOCK_STREAM, self._listen_port,
                         self._far_address) as listener:
            listener.listen(1)
            listener.settimeout(10)
            self.near = self._bound(self._initiator, socket.SOCK_STREAM, self._source_port)
            self.near.settimeout(10)
            self.near.connect(self._target)
            self.far = listener.accept()[0]
        for sock in (self.near, self.far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)

    def far_view(self):
        return self.far.getsockname()[:2], self.far.getpeername()[:2]

    def exchange(self, size, timeout=30.0):
        """Send size bytes each way at once; compare SHA-256 of what was sent and received."""
        _Exchange((self.near, self.far), size, self.name()).run(timeout)

    def one_way(self, size, upwards, timeout=30.0):
        """Bulk in one direction only, the other carries acknowledgements."""
        pair = (self.near, self.far) if upwards else (self.far, self.near)
        _Exchange(pair, (size, 0), self.name()).run(timeout)

    def touch(self):
        for _ in range(4):
            self.exchange(200)

    def _round(self):
        self.exchange(8192, timeout=25)
        self.rounds += 1

    def finish(self, far_first=False):
        """Close both ends in order, by FIN. The first one is left in TIME_WAIT."""
        self.stop()
        first, second = (self.far, self.near) if far_first else (self.near, self.far)
        for closing, other in ((first, second), (second, first)):
            closing.shutdown(socket.SHUT_WR)
            other.settimeout(5)
            while other.recv(65536):
                pass

    def reset(self, far=False):
        """Close one end by a genuine RST."""
        self.stop()
        sock = self.far if far else self.near
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        sock.close()


class _Exchange:
    """One transfer between two connected sockets, in one thread."""

    def __init__(self, sockets, size, name):
        sizes = size if isinstance(size, tuple) else (size, size)
        self._name = name
        self._sockets = sockets
        self._data = [memoryview(random.randbytes(count)) for count in sizes]
        self._sent = [0, 0]
        self._left = [sizes[1], sizes[0]]
        self._hashes = [hashlib.sha256(), hashlib.sha256()]

    def run(self, timeout):
        deadline = time.monotonic() + timeout
        poll = select.poll()
        ends = {sock.fileno(): index for index, sock in enumerate(self._sockets)}
        while any(self._interest(index) for index in (0, 1)):
            if time.monotonic() > deadline:
                raise TrafficError(f"{self._name}: {self._left} bytes missing after {timeout} s")
            for descriptor, index in ends.items():
                poll.register(descriptor, self._interest(index))
            for descriptor, events in poll.poll(500):
                self._serve(ends[descriptor], events)
        for index in (0, 1):
            if self._hashes[1 - index].digest() != hashlib.sha256(self._data[index]).digest():
                raise TrafficError(f"{self._name}: data differs from what was sent")

    def _interest(self, index):
        wanted = select.POLLIN if self._left[index] else 0
        if self._sent[index] < len(self._data[index]):
            wanted |= select.POLLOUT
        return wanted

    def _serve(self, index, events):
        sock = self._sockets[index]
        if events & select.POLLERR:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            raise TrafficError(f"{self._name}: {os.strerror(error)}")
        if events & select.POLLOUT:
            begin = self._sent[index]
            self._sent[index] += sock.send(self._data[index][begin:begin + CHUNK])
        if events & select.POLLIN:
            received = sock.recv(min(CHUNK, self._left[index]))
            if not received:
                raise TrafficError(f"{self._name}: closed with {self._left[index]} bytes missing")
            self._hashes[index].update(received)
            self._left[index] -= len(received)


class UdpFlow(Flow):
    """A UDP client and an echoing server. Datagrams carry a sequence number and random bytes."""

    protocol = "udp"
    WINDOW = 8

    def __init__(self, lab, *args, bind=None, **kwargs):
        super().__init__(lab, *args, bind=bind, **kwargs)
        self.far = self._bound(self._acceptor, socket.SOCK_DGRAM, self._listen_port,
                               self._far_address)
        self.near = self._bound(self._initiator, socket.SOCK_DGRAM, self._source_port)
        self.near.connect(self._target)
        self._peer = None
        self._own = (bind, self._listen_port) if bind else None
        self._sequence = 0
        self.lost = 0
        self.peers = set()
        self.near.settimeout(1)
        self.far.settimeout(1)

    def far_view(self):
        return self._own, self._peer

    def peer(self):
        """Where the last datagram came from, as the far end sees it."""
        return self._peer

    def send(self, size=64):
        """One datagram from the initiator; returns it."""
        self._sequence += 1
        datagram = struct.pack("!Q", self._sequence) + random.randbytes(max(size - 8, 0))
        self.near.send(datagram)
        return datagram

    def receive(self):
        """The next datagram at the far end."""
        datagram, peer = self.far.recvfrom(65536)
        self._peer = peer[:2]
        self.peers.add(self._peer)
        # A wildcard socket does not say which of its addresses was dialled; a connected one does.
        if self._own is None:
            with self._acceptor.socket(FAMILIES[self.family], socket.SOCK_DGRAM) as probe:
                probe.connect(peer)
                self._own = (probe.getsockname()[0], self._listen_port)
        return datagram

    def answer(self, datagram):
        self.far.sendto(datagram, self._peer)

    def exchange(self, count=100, sizes=(16, 64, 512, 1200, 1400)):
        """Datagrams there and back, none may be lost or changed."""
        try:
            for begin in range(0, count, self.WINDOW):
                batch = range(begin, min(begin + self.WINDOW, count))
                sent = [self.send(sizes[index % len(sizes)]) for index in batch]
                arrived = [self.receive() for _ in sent]
                for datagram in arrived:
                    self.answer(datagram)
                returned = [self.near.recv(65536) for _ in sent]
                if not sorted(sent) == sorted(arrived) == sorted(returned):
                    raise TrafficError(f"{self.name()}: datagrams differ from what was sent")
        except TimeoutError:
            raise TrafficError(f"{self.name()}: datagrams are lost") from None

    def touch(self):
        self.exchange(8, (64,))

    def echo(self, size=64, timeout=0.2):
        """One datagram there and back; True if it came back whole."""
        deadline = time.monotonic() + timeout
        self.far.settimeout(timeout)
        self.near.settimeout(timeout)
        try:
            datagram = self.send(size)
            while (arrived := self.receive()) != datagram:
                _check_deadline(deadline)
            self.answer(arrived)
            while self.near.recv(65536) != datagram:
                _check_deadline(deadline)
            return True
        except (TimeoutError, OSError):
            return False
        finally:
            self.far.settimeout(1)
            self.near.settimeout(1)

    def _round(self):
        if self.echo():
            self.rounds += 1
        else:
            self.lost += 1

    def silent(self, duration=0.6):
        """True if no background traffic comes through for the duration."""
        before = self.rounds
        time.sleep(duration)
        return self.rounds == before


def _check_deadline(deadline):
    if time.monotonic() > deadline:
        raise TimeoutError
