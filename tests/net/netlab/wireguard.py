# SPDX-License-Identifier: GPL-2.0-only
"""WireGuard's keys and peers over generic netlink: wg(8) is not on every machine."""

import os
import socket
import struct
import sys

NETLINK_GENERIC, GENL_ID_CTRL = 16, 0x10
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 3, 1, 2
WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE = 0, 1
DEVICE_IFNAME, DEVICE_PRIVATE_KEY, DEVICE_PUBLIC_KEY = 2, 3, 4
DEVICE_LISTEN_PORT, DEVICE_PEERS = 6, 8
PEER_PUBLIC_KEY, PEER_ENDPOINT, PEER_ALLOWEDIPS = 1, 4, 9
IP_FAMILY, IP_ADDRESS, IP_MASK = 1, 2, 3
NESTED = 0x8000


def _attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _attributes(data):
    found, offset = {}, 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3fff] = data[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return found


def _request(netlink, family, command, flags, attributes):
    """The attributes of the answer, {} where there is only an acknowledgement."""
    body = struct.pack("=BBH", command, 1, 0) + attributes
    netlink.send(struct.pack("=LHHLL", 16 + len(body), family, NLM_F_REQUEST | flags, 1, 0) + body)
    found = {}
    while True:
        data, offset = netlink.recv(1 << 16), 0
        while offset < len(data):
            length, kind = struct.unpack_from("=LH", data, offset)
            if kind == NLMSG_ERROR:
                error = -struct.unpack_from("=i", data, offset + 16)[0]
                if error:
                    raise OSError(error, f"WireGuard: {os.strerror(error)}")
                return found
            if kind == NLMSG_DONE:
                return found
            found |= _attributes(data[offset + 20:offset + length])
            offset += (length + 3) & ~3


class Device:
    """A device of the kind, whose private key is new; the kernel works out the public one."""

    def __init__(self, namespace, name, port):
        self.name, self.port = name, port
        self._netlink = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self._netlink.settimeout(5)
        wanted = _attribute(CTRL_ATTR_FAMILY_NAME, b"wireguard\0")
        answer = _request(self._netlink, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK, wanted)
        self._family = int.from_bytes(answer[CTRL_ATTR_FAMILY_ID][:2], sys.byteorder)
        self._set(_attribute(DEVICE_PRIVATE_KEY, os.urandom(32))
                  + _attribute(DEVICE_LISTEN_PORT, struct.pack("=H", port)))
        answer = _request(self._netlink, self._family, WG_CMD_GET_DEVICE, NLM_F_DUMP, self._named())
        self.public_key = answer[DEVICE_PUBLIC_KEY]

    def _named(self):
        return _attribute(DEVICE_IFNAME, self.name.encode() + b"\0")

    def _set(self, attributes):
        _request(self._netlink, self._family, WG_CMD_SET_DEVICE, NLM_F_ACK,
                 self._named() + attributes)

    def add_peer(self, other, address):
        """Everything goes to the peer, which listens at an IPv4 address."""
        endpoint = (struct.pack("=H", socket.AF_INET) + struct.pack("!H", other.port)
                    + socket.inet_aton(address) + bytes(8))
        allowed = b"".join(
            _attribute(NESTED, _attribute(IP_FAMILY, struct.pack("=H", family))
                       + _attribute(IP_ADDRESS, bytes(length)) + _attribute(IP_MASK, b"\0"))
            for family, length in ((socket.AF_INET, 4), (socket.AF_INET6, 16)))
        peer = (_attribute(PEER_PUBLIC_KEY, other.public_key)
                + _attribute(PEER_ENDPOINT, endpoint)
                + _attribute(NESTED | PEER_ALLOWEDIPS, allowed))
        self._set(_attribute(NESTED | DEVICE_PEERS, _attribute(NESTED, peer)))

    def close(self):
        self._netlink.close()
