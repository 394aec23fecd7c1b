# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's conntrack table, read by ctnetlink: conntrack(8) does not show the TCP flags."""

import dataclasses
import ipaddress
import socket
import struct

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CT_GET = 1 << 8 | 1

TCP_STATES = ("NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
              "TIME_WAIT", "CLOSE", "SYN_SENT2")
BE_LIBERAL = 0x08
SEEN_REPLY, ASSURED = 0x02, 0x04


@dataclasses.dataclass(frozen=True)
class Tuple:
    src: str
    dst: str
    sport: int
    dport: int


@dataclasses.dataclass(frozen=True)
class Entry:
    protocol: str
    original: Tuple
    reply: Tuple
    status: int
    timeout: int
    state: str
    flags: tuple

    @property
    def liberal(self):
        return any(flags & BE_LIBERAL for flags in self.flags)


def _attributes(data):
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3fff] = data[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return found


def _tuple(data):
    parts = _attributes(data)
    address, proto = _attributes(parts[1]), _attributes(parts[2])
    src, dst = (address[1], address[2]) if 1 in address else (address[3], address[4])
    return proto[1][0], Tuple(
        str(ipaddress.ip_address(src)), str(ipaddress.ip_address(dst)),
        int.from_bytes(proto.get(2, b""), "big"), int.from_bytes(proto.get(3, b""), "big"))


def _number(attributes, kind):
    return int.from_bytes(attributes.get(kind, b""), "big")


def _entry(message):
    attributes = _attributes(message[4:])
    number, original = _tuple(attributes[1])
    if number not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return None
    state, flags = "", (0, 0)
    if number == socket.IPPROTO_TCP:
        tcp = _attributes(_attributes(attributes.get(4, b"")).get(1, b""))
        state = TCP_STATES[_number(tcp, 1)]
        flags = tuple(tcp.get(kind, b"\0")[0] for kind in (4, 5))
    return Entry({6: "tcp", 17: "udp"}[number], original, _tuple(attributes[2])[1],
                 _number(attributes, 3), _number(attributes, 7), state, flags)


def entries(namespace):
    """Every TCP and UDP entry of the namespace."""
    with namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5)
        netlink.send(struct.pack("=LHHLL", 20, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + bytes(4))
        found = []
        while True:
            data, offset = netlink.recv(1 << 20), 0
            while offset < len(data):
                length, kind = struct.unpack_from("=LH", data, offset)
                body = data[offset + 16:offset + length]
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "conntrack dump")
                found.append(_entry(body))
                offset += (length + 3) & ~3
            found = [entry for entry in found if entry]


def find_entry(namespace, protocol, src, sport):
    """The entry whose original direction has this source, or None."""
    for entry in entries(namespace):
        original = entry.original
        if (entry.protocol, original.src, original.sport) == (protocol, src, sport):
            return entry
    return None
