# SPDX-License-Identifier: GPL-2.0-only
"""Bare IP packets: tun devices, and a wire between two namespaces with one at each end."""

import contextlib
import fcntl
import os
import select
import struct
import threading

TUNSETIFF = 0x400454ca
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PACKET_MAX = 65536


def _open(namespace, name):
    with namespace.enter():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Device:
    """A tun device; the test is what is behind it."""

    def __init__(self, namespace, name):
        self._fd = _open(namespace, name)

    def send(self, packet):
        os.write(self._fd, packet)

    def close(self):
        os.close(self._fd)


class Wire:
    """Two tun devices; a thread carries the packets from one to the other."""

    def __init__(self, ends):
        """ends: two pairs of namespace and device name."""
        self._fds = [_open(namespace, name) for namespace, name in ends]
        self._halt, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self):
        other = dict(zip(self._fds, reversed(self._fds)))
        while True:
            ready = select.select([*self._fds, self._halt], [], [])[0]
            if self._halt in ready:
                return
            for fd in ready:
                # A device that is down, or whose queue is full, loses packets as a wire does.
                with contextlib.suppress(OSError):
                    os.write(other[fd], os.read(fd, PACKET_MAX))

    def close(self):
        os.close(self._woken)
        self._thread.join(5)
        for fd in (*self._fds, self._halt):
            os.close(fd)
