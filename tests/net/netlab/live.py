# SPDX-License-Identifier: GPL-2.0-only
"""UDP at the rate of a link: frames made by one XDP program, and counted by another one.

BPF_PROG_TEST_RUN makes a program's frames real (Linux 5.18): each of its runs sends one out of a
device. They go to several ports, which differ in their last bits, in no order.
"""

import ctypes
import os
import socket
import struct
import threading
import time

from . import xdp
from .lab import kernel_version
from .xdp import instruction

POSSIBLE = kernel_version() >= (5, 18)
FRAME = 60  # bytes, without FCS
HEADERS, WORDS = 42, 44  # of Ethernet, IPv4 and UDP; in whole words
PORT_AT, PROTOCOL_AT, UDP_CHECK_AT = 37, 23, 40
FIRST_RUN, BATCH = 10_000, 64  # frames
RUN_TIME = 0.4  # seconds at least: to begin and to end a run takes tens of milliseconds
CONTEXT, DATA, END = 6, 7, 8  # registers
REDIRECT, LOOKUP, RANDOM = 23, 1, 7  # helper functions


def _packet(size, last):
    """Load where the frame begins; unless it has that many bytes, jump over `last` instructions."""
    return [instruction(0xbf, CONTEXT, 1), instruction(0x61, DATA, CONTEXT, 0),
            instruction(0x61, END, CONTEXT, 4), instruction(0xbf, 1, DATA),
            instruction(0x07, 1, immediate=size), instruction(0x2d, 1, END, last)]


def _count(counts, last):
    """Add one to the element whose number is in register 0, or jump over `last` instructions."""
    return [instruction(0x63, 10, 0, -4), instruction(0x18, 1, 1, 0, counts.fd), instruction(0),
            instruction(0xbf, 2, 10), instruction(0x07, 2, immediate=-4),
            instruction(0x85, immediate=LOOKUP), instruction(0x15, 0, 0, last),
            instruction(0xb7, 1, immediate=1), instruction(0xdb, 0, 1)]


def _end(value):
    return [instruction(0xb7, 0, immediate=value), instruction(0x95)]


class Ports:
    """How many frames there were for each port; the lowest ends in as many bits as are needed."""

    def __init__(self, ports):
        self._ports = sorted(ports)
        self.first, self.mask = self._ports[0], len(self._ports) - 1
        assert self._ports == list(range(self.first, self.first + self.mask + 1))
        assert not self.mask & len(self._ports) and self.first + self.mask < 256
        self.counts = xdp.Map(entries=len(self._ports), value_size=8)

    def read(self):
        return {port: self.counts[port - self.first] for port in self._ports}


class Generator(threading.Thread):
    """Frames out of a device, as fast as one CPU makes them, until stop()."""

    def __init__(self, namespace, device, frame, ports):
        super().__init__(daemon=True)
        self._namespace, self._ports = namespace, Ports(ports)
        self._halt, self._error = threading.Event(), None
        words = bytearray(frame.ljust(FRAME, b"\0"))
        words[UDP_CHECK_AT:UDP_CHECK_AT + 2] = b"\0\0"  # none
        self._frame = ctypes.create_string_buffer(bytes(words), FRAME)
        self._program = xdp.load(xdp.PROG_TYPE_XDP, *self._code(namespace.ifindex(device), words))

    def _code(self, ifindex, words):
        """A page that is used again holds what the router made of the last frame: write all."""
        send = [instruction(0xb7, 1, immediate=ifindex), instruction(0xb7, 2),
                instruction(0x85, immediate=REDIRECT), instruction(0x95)]
        headers = [instruction(0x62, DATA, 0, at, *struct.unpack_from("=i", words, at))
                   for at in range(0, WORDS, 4)]
        port = [instruction(0x85, immediate=RANDOM),
                instruction(0x57, 0, immediate=self._ports.mask), instruction(0xbf, 1, 0),
                instruction(0x07, 1, immediate=self._ports.first),
                instruction(0x73, DATA, 1, PORT_AT)]
        code = [*headers, *port, *_count(self._ports.counts, 2 + len(send)), *send]
        return [*_packet(WORDS, len(code)), *code, *_end(xdp.XDP_DROP)]

    @property
    def sent(self):
        return self._ports.read()

    def run(self):
        frames = FIRST_RUN
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        try:
            with self._namespace.enter():
                while not self._halt.is_set():
                    started = time.monotonic()
                    self._send(frames)
                    frames *= 2 if time.monotonic() - started < RUN_TIME else 1
        except OSError as error:
            self._error = error

    def _send(self, frames):
        xdp.bpf(xdp.BPF_PROG_TEST_RUN,
                struct.pack("=LLLLQQLLLLQQLLL", self._program, 0, FRAME, 0,
                            ctypes.addressof(self._frame), 0, frames, 0, 0, 0, 0, 0,
                            xdp.TEST_XDP_LIVE_FRAMES, 0, BATCH))

    def stop(self):
        self._halt.set()
        self.join(60)
        os.close(self._program)
        if self._error:
            raise self._error


class Sink:
    """Counts what arrives at a device for these ports, and takes it."""

    def __init__(self, namespace, device, ports):
        self._ports = Ports(ports)
        count = _count(self._ports.counts, 2)
        taken = [*count, *_end(xdp.XDP_DROP)]
        rest = [instruction(0x07, 0, immediate=-self._ports.first),
                instruction(0x25, 0, 0, len(taken), self._ports.mask), *taken]
        checks = [instruction(0x71, 0, DATA, PROTOCOL_AT),
                  instruction(0x55, 0, 0, 3 + len(rest), socket.IPPROTO_UDP),
                  instruction(0x71, 0, DATA, PORT_AT - 1), instruction(0x55, 0, 0, 1 + len(rest)),
                  instruction(0x71, 0, DATA, PORT_AT)]
        code = [*_packet(HEADERS, len(checks) + len(rest)), *checks, *rest, *_end(xdp.XDP_PASS)]
        with namespace.enter():
            self._link = xdp.attach(namespace.ifindex(device), xdp.load(xdp.PROG_TYPE_XDP, *code))

    def arrived(self):
        return self._ports.read()

    def close(self):
        os.close(self._link)
