# SPDX-License-Identifier: GPL-2.0-only
"""PPPoE sessions made by hand: the kernel's PPPoE socket and PPP unit, without LCP and pppd.

Both ends of a link make one with the same id and each other's address, and IP flows. Frames of
PPP's control protocols end up in the channel, where a test reads them as pppd would.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct

from .frames import mac_bytes
from .lab import run
from .tap import Skip

AF_PPPOX, PX_PROTO_OE = 24, 0
PPPIOCGCHAN, PPPIOCATTCHAN = 0x80047437, 0x40047438
PPPIOCCONNECT, PPPIOCNEWUNIT, PPPIOCSNPMODE = 0x4004743a, 0xc004743e, 0x4008744b
NPMODE_PASS = 0
PPP_IP, PPP_IPV6, PPP_LCP = 0x0021, 0x0057, 0xc021
ETH_P_PPP_DISC, ETH_P_PPP_SES = 0x8863, 0x8864
# Version 1, type 1, code 0: session data. The length counts the PPP protocol field.
HEADER = struct.Struct("!BBHH")
SESSION_DATA, PADI, PADT = 0x00, 0x09, 0xa7
OVERHEAD = 8
MTU = 1500 - OVERHEAD

_libc = ctypes.CDLL(None, use_errno=True)


def payload(session, protocol, packet):
    """What follows the ethertype of a session frame."""
    return HEADER.pack(0x11, SESSION_DATA, session, 2 + len(packet)) \
        + struct.pack("!H", protocol) + packet


def discovery(code, session=0, tags=b""):
    """What follows the ethertype of a discovery frame."""
    return HEADER.pack(0x11, code, session, len(tags)) + tags


def echo_request(number):
    return struct.pack("!BBHL", 9, number, 8, 0x1234)


def _open_ppp():
    try:
        return os.open("/dev/ppp", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise
        raise Skip("no /dev/ppp: the kernel offers no PPP") from None


def need_kernel():
    """Skip where the kernel has no PPPoE."""
    try:
        socket.socket(AF_PPPOX, socket.SOCK_STREAM, PX_PROTO_OE).close()
    except OSError as error:
        raise Skip(f"the kernel offers no PPPoE ({error.strerror})") from None


def _connect(sock, session, remote_mac, device):
    """Python's own connect() does not know the family."""
    address = (struct.pack("=HI", AF_PPPOX, PX_PROTO_OE) + struct.pack("!H", session)
               + mac_bytes(remote_mac) + device.encode().ljust(16, b"\0"))
    if _libc.connect(sock.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise OSError(number, f"PPPoE session {session} on {device}: {os.strerror(number)}")


class Session:
    """One end of a session: an interface of the given name for as long as it is open."""

    def __init__(self, namespace, device, session, remote_mac, name, mtu=MTU):
        self.namespace, self.id, self.name = namespace, session, name
        self._channel = self._unit = None
        with namespace.enter():
            try:
                self._socket = socket.socket(AF_PPPOX, socket.SOCK_STREAM, PX_PROTO_OE)
            except OSError as error:
                raise Skip(f"the kernel offers no PPPoE ({error.strerror})") from None
            try:
                _connect(self._socket, session, remote_mac, device)
                self._attach()
            except BaseException:
                self.close()
                raise
        namespace.ip(f"link set {self._first_name} name {name}", f"link set {name} mtu {mtu} up")

    def _attach(self):
        """A channel over the socket, a unit over the channel, and IP allowed through it."""
        channel = struct.unpack("=i", fcntl.ioctl(self._socket, PPPIOCGCHAN, bytes(4)))[0]
        self._channel = _open_ppp()
        fcntl.ioctl(self._channel, PPPIOCATTCHAN, struct.pack("=i", channel))
        self._unit = _open_ppp()
        unit = fcntl.ioctl(self._unit, PPPIOCNEWUNIT, struct.pack("=i", -1))
        fcntl.ioctl(self._channel, PPPIOCCONNECT, unit)
        for protocol in (PPP_IP, PPP_IPV6):
            fcntl.ioctl(self._unit, PPPIOCSNPMODE, struct.pack("=ii", protocol, NPMODE_PASS))
        self._first_name = f"ppp{struct.unpack('=i', unit)[0]}"

    def control(self, timeout=1.0):
        """The next frame of a control protocol, as (protocol, data), or None."""
        if not select.select([self._channel], [], [], timeout)[0]:
            return None
        data = os.read(self._channel, 2048)
        return int.from_bytes(data[:2], "big"), data[2:]

    def ended(self):
        """The other side has ended the session (PADT)."""
        poll = select.poll()
        poll.register(self._channel, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def close(self):
        for descriptor in (self._unit, self._channel):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._unit = self._channel = None
        self._socket.close()


def load():
    """/dev/ppp appears with its module; nothing else asks for it before the first session."""
    if not os.path.exists("/dev/ppp"):
        run(["modprobe", "ppp_generic"], check=False)
