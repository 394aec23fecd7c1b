# SPDX-License-Identifier: GPL-2.0-only
"""Raw frames: built, sent and captured on AF_PACKET, and compared field by field."""

import contextlib
import dataclasses
import errno
import ipaddress
import select
import socket
import struct
import time

from .lab import kernel_version

NO_MAC = "00:00:00:00:00:00"
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, ETH_P_8021Q = 3, 0x0800, 0x86dd, 0x8100
ETH_P_8021AD, ETH_P_PPP_SES, ETH_P_ARP = 0x88a8, 0x8864, 0x0806
ARP_REPLY = 2
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR, PACKET_OUTGOING = 263, 8, 15, 4
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
# The ring of a veth is full for as long as the other CPU is behind.
FULL_RETRIES = 2000
TP_STATUS_VLAN_VALID = 0x10
VNET_HDR = struct.Struct("=BBHHHH")
NEEDS_CSUM = 1
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

# gso_type of a virtio header, by protocol and IP version
GSO_TYPES = {("tcp", 4): 1, ("tcp", 6): 4, ("udp", 4): 5, ("udp", 6): 5}


def segments_can_be_sent(protocol):
    """A packet socket takes UDP segments since Linux 6.2 (VIRTIO_NET_HDR_GSO_UDP_L4)."""
    return protocol == "tcp" or kernel_version() >= (6, 2)


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    """Internet checksum; 0 over data whose own checksum is right."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def pseudo_header(src, dst, protocol, length):
    src, dst = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    if len(src) == 4:
        return src + dst + struct.pack("!BBH", 0, protocol, length)
    return src + dst + struct.pack("!LL", length, protocol)


def udp(src, dst, sport, dport, payload=b"", csum=None):
    """A UDP datagram; csum None computes it, any number is put in as it is."""
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", sport, dport, length, 0) + payload
    if csum is None:
        csum = checksum(pseudo_header(src, dst, socket.IPPROTO_UDP, length) + datagram) or 0xffff
    return datagram[:6] + struct.pack("!H", csum) + payload


def tcp(src, dst, sport, dport, seq, ack, flags, payload=b"", options=b"", window=64000):
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack("!HHLLBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, offset,
                         flags, window, 0, 0)
    segment = header + options + payload
    csum = checksum(pseudo_header(src, dst, socket.IPPROTO_TCP, len(segment)) + segment)
    return segment[:16] + struct.pack("!H", csum) + segment[18:]


def ipv4(src, dst, protocol, payload, ttl=64, tos=0, ident=0, frag=0x4000, options=b"",
         csum=None, total=None):
    options += b"\0" * (-len(options) % 4)
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH", 0x40 | length // 4, tos,
                         length + len(payload) if total is None else total, ident, frag, ttl,
                         protocol, 0)
    header += ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed + options
    value = checksum(header) if csum is None else csum
    return header[:10] + struct.pack("!H", value) + header[12:] + payload


def ipv6(src, dst, next_header, payload, hop_limit=64, traffic_class=0, flow_label=0):
    return (struct.pack("!LHBB", 6 << 28 | traffic_class << 20 | flow_label, len(payload),
                        next_header, hop_limit)
            + ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed + payload)


def ethernet(dst_mac, src_mac, packet, ethertype=None):
    if ethertype is None:
        ethertype = ETH_P_IPV6 if packet[0] >> 4 == 6 else ETH_P_IP
    return mac_bytes(dst_mac) + mac_bytes(src_mac) + struct.pack("!H", ethertype) + packet


def arp_request(target_mac, target, sender_mac, sender):
    """A question to one host, whose answer needs no broadcast."""
    return ethernet(target_mac, sender_mac, struct.pack(
        "!HHBBH6s4s6s4s", 1, ETH_P_IP, 6, 4, 1, mac_bytes(sender_mac), socket.inet_aton(sender),
        bytes(6), socket.inet_aton(target)), ETH_P_ARP)


def tagged(frame, tci, ethertype=ETH_P_8021Q):
    """The frame with a VLAN tag in it."""
    return frame[:12] + struct.pack("!HH", ethertype, tci) + frame[12:]


@dataclasses.dataclass(frozen=True)
class Captured:
    """A frame as it was on the wire, its tag put back, and what is still left to be done to it."""
    data: bytes
    gso_type: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0


class Port:
    """An AF_PACKET socket on a device: sends frames, captures what the device receives.

    A device of layer 3 has no link header: captured packets get one of zeros."""

    def __init__(self, namespace, device, layer3=False):
        self._device, self._layer3 = device, layer3
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        with namespace.enter():
            self._socket.bind((device, ETH_P_ALL))

    def send(self, frame, gso_type=0, gso_size=0, csum_start=0, csum_offset=0, hdr_len=0):
        """Send a frame; with csum_start it is one whose checksum the device has to complete."""
        flags = NEEDS_CSUM if csum_start else 0
        data = VNET_HDR.pack(flags, gso_type, hdr_len, gso_size, csum_start, csum_offset) + frame
        for _ in range(FULL_RETRIES):
            try:
                self._socket.sendto(data, (self._device, self._protocol(frame)))
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                time.sleep(0.001)
        raise TimeoutError("the device takes no frame: its queue is full, or the frame too long")

    def _protocol(self, frame):
        """Nobody but the sender can say it where there is no link header."""
        if not self._layer3:
            return 0
        return ETH_P_IPV6 if frame[0] >> 4 == 6 else ETH_P_IP

    def receive(self, timeout=0.0):
        """The next captured frame that is IP or tagged, or None."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self._socket], [], [], left)[0]:
                return None
            captured = self._read()
            if captured and _is_traffic(captured.data):
                return captured

    def drain(self, quiet=0.2):
        """Everything captured until the device has been quiet for a while."""
        found = []
        while (captured := self.receive(quiet)) is not None:
            found.append(captured)
        return found

    def settle(self, target_mac, target, sender_mac, sender, timeout=10.0):
        """Everything captured until the neighbour has answered an ARP request.

        It has then taken all that was sent before: no queue on the way is filled up."""
        self.send(arp_request(target_mac, target, sender_mac, sender))
        found, deadline = [], time.monotonic() + timeout
        while select.select([self._socket], [], [], max(deadline - time.monotonic(), 0))[0]:
            captured = self._read()
            if captured and _is_arp_reply(captured.data):
                return found
            if captured and _is_traffic(captured.data):
                found.append(captured)
        raise TimeoutError(f"{target} does not answer to ARP requests")

    def _read(self):
        data, ancillary, _, address = self._socket.recvmsg(1 << 17, 256)
        if address[2] == PACKET_OUTGOING:
            return None
        _, gso_type, _, gso_size, start, offset = VNET_HDR.unpack_from(data)
        # hdr_len says how much of the skb is linear and DATA_VALID who has looked at the checksum:
        # the receiver's bookkeeping, not the frame's content.
        needs = data[0] & NEEDS_CSUM
        frame = data[VNET_HDR.size:]
        if self._layer3:
            frame = ethernet(NO_MAC, NO_MAC, frame)
        return Captured(_with_tag(frame, ancillary), gso_type, gso_size,
                        start if needs else 0, offset if needs else 0)

    def close(self):
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _with_tag(frame, ancillary):
    """AF_PACKET hands an accelerated tag over beside the frame: put it back."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack("=LLLHHHH", data[:20])
            if status & TP_STATUS_VLAN_VALID:
                return tagged(frame, tci, tpid or ETH_P_8021Q)
    return frame


def _is_arp_reply(frame):
    return struct.unpack_from("!H", frame, 12)[0] == ETH_P_ARP and frame[21] == ARP_REPLY


def _is_traffic(frame):
    """Leaves out ARP, neighbour discovery and multicast listener reports: the lab's own noise."""
    ethertype = struct.unpack_from("!H", frame, 12)[0]
    if ethertype == ETH_P_IPV6:
        next_header = frame[20]
        if next_header == 0 or frame[0] & 1:
            return False
        return not (next_header == 58 and len(frame) > 54 and 130 <= frame[54] <= 143)
    return ethertype in (ETH_P_IP, ETH_P_8021Q, ETH_P_8021AD, ETH_P_PPP_SES)


def peel(frame):
    """(link header with its tags and PPPoE, IP packet), the packet empty where there is none."""
    offset = 12
    ethertype = int.from_bytes(frame[offset:offset + 2], "big")
    while ethertype in (ETH_P_8021Q, ETH_P_8021AD):
        offset += 4
        ethertype = int.from_bytes(frame[offset:offset + 2], "big")
    offset += 2
    if ethertype == ETH_P_PPP_SES:
        offset += 8
        protocol = int.from_bytes(frame[offset - 2:offset], "big")
        ethertype = {0x0021: ETH_P_IP, 0x0057: ETH_P_IPV6}.get(protocol)
    if ethertype not in (ETH_P_IP, ETH_P_IPV6):
        return frame, b""
    return frame[:offset], frame[offset:]


def fields(captured):
    """The frame taken apart, names in the order of the wire."""
    data = captured.data
    found = {"dst mac": data[0:6].hex(":"), "src mac": data[6:12].hex(":"),
             "ethertype": data[12:14].hex()}
    packet = data[14:]
    if data[12:14] == b"\x08\x00" and len(packet) >= 20:
        header = packet[0] % 16 * 4
        found |= {"version": packet[0], "tos": packet[1],
                  "length": int.from_bytes(packet[2:4], "big"), "id": packet[4:6].hex(),
                  "fragment": packet[6:8].hex(), "ttl": packet[8], "protocol": packet[9],
                  "ip checksum": packet[10:12].hex(),
                  "src": str(ipaddress.ip_address(packet[12:16])),
                  "dst": str(ipaddress.ip_address(packet[16:20])),
                  "options": packet[20:header].hex()}
        found |= _layer4(packet[9], packet[header:])
    elif data[12:14] == b"\x86\xdd" and len(packet) >= 40:
        found |= {"class and label": packet[0:4].hex(),
                  "length": int.from_bytes(packet[4:6], "big"),
                  "next header": packet[6], "hop limit": packet[7],
                  "src": str(ipaddress.ip_address(packet[8:24])),
                  "dst": str(ipaddress.ip_address(packet[24:40]))}
        found |= _layer4(packet[6], packet[40:])
    else:
        found["rest"] = packet.hex()
    return found | {"frame length": len(data), "gso type": captured.gso_type,
                    "gso size": captured.gso_size, "csum start": captured.csum_start,
                    "csum offset": captured.csum_offset}


def _layer4(protocol, data):
    if protocol == socket.IPPROTO_UDP and len(data) >= 8:
        sport, dport, length, csum = struct.unpack_from("!HHHH", data)
        return {"sport": sport, "dport": dport, "udp length": length,
                "udp checksum": f"{csum:04x}", "payload": data[8:].hex()}
    if protocol == socket.IPPROTO_TCP and len(data) >= 20:
        sport, dport, seq, ack, offset, flags, window, csum, urgent = struct.unpack_from(
            "!HHLLBBHHH", data)
        return {"sport": sport, "dport": dport, "seq": seq, "ack": ack, "offset": offset,
                "flags": f"{flags:02x}", "window": window, "tcp checksum": f"{csum:04x}",
                "urgent": urgent, "tcp options": data[20:(offset >> 4) * 4].hex(),
                "payload": data[(offset >> 4) * 4:].hex()}
    return {"rest": data.hex()}


def difference(one, other):
    """The fields in which two captured frames differ, as text."""
    left, right = fields(one), fields(other)
    return ", ".join(f"{name} {left.get(name)} != {right.get(name)}"
                     for name in {**left, **right} if left.get(name) != right.get(name))
