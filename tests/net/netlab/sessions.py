# SPDX-License-Identifier: GPL-2.0-only
"""Flows of hosts behind the client and behind the server, which exist in frames only."""

import contextlib
import dataclasses

from . import frames
from .frames import ACK, PSH, SYN

NEAR_SEQ, FAR_SEQ = 1000, 900_000
PROTOCOLS = {"tcp": 6, "udp": 17}


def report_every_error(router):
    """No ICMP error is left out: a rate limit would choose by the clock."""
    router.sysctl("ipv4/icmp_ratelimit", 0)
    router.sysctl("ipv6/icmp/ratelimit", 0)
    for name in ("icmp_msgs_per_sec", "icmp_msgs_burst"):
        # Not of a namespace before Linux 6.10; the default is far from reached.
        with contextlib.suppress(FileNotFoundError):
            router.sysctl(f"ipv4/{name}", 1_000_000)


def payload_of(size, number):
    return (number.to_bytes(4, "big") * (size // 4 + 1))[:size]


@dataclasses.dataclass(frozen=True)
class Session:
    """near dials an address; the router makes it far, and near to outside. All (address, port)."""
    family: int
    protocol: str
    near: tuple
    dialled: tuple
    far: tuple
    outside: tuple

    def sent(self, up):
        """Source and destination as sent towards the router."""
        return (self.near, self.dialled) if up else (self.far, self.outside)

    def emitted(self, up):
        """Source and destination as the router emits them."""
        return (self.outside, self.far) if up else (self.dialled, self.near)

    @property
    def overhead(self):
        return (20 if self.family == 4 else 40) + (8 if self.protocol == "udp" else 20)

    def layer4(self, up, payload=b"", flags=ACK | PSH, csum=None, ahead=1, **extra):
        (src, sport), (dst, dport) = self.sent(up)
        if self.protocol == "udp":
            return frames.udp(src, dst, sport, dport, payload, csum)
        seq, ack = (NEAR_SEQ, FAR_SEQ) if up else (FAR_SEQ, NEAR_SEQ)
        return frames.tcp(src, dst, sport, dport, seq + ahead, ack + 1 if flags & ACK else 0, flags,
                          payload, **extra)

    def unfinished(self, up, payload):
        """Layer 4 whose checksum is left to hardware: the pseudo header's sum stands there."""
        layer4, at = self.layer4(up, payload), self.checksum_at
        (src, _), (dst, _) = self.sent(up)
        pseudo = 0xffff ^ frames.checksum(
            frames.pseudo_header(src, dst, PROTOCOLS[self.protocol], len(layer4)))
        return layer4[:at] + pseudo.to_bytes(2, "big") + layer4[at + 2:]

    @property
    def checksum_at(self):
        return 6 if self.protocol == "udp" else 16

    def offload(self, frame, layer4, segment):
        """What the frame's virtio header says of an unfinished layer 4; segment 0: only that."""
        start = len(frame) - len(layer4)
        return {"gso_type": frames.GSO_TYPES[self.protocol, self.family] if segment else 0,
                "gso_size": segment, "csum_start": start, "csum_offset": self.checksum_at,
                "hdr_len": start + (8 if self.protocol == "udp" else 20)}

    def packet(self, up, number, layer4, **header):
        """number is the IPv4 identification or the flow label: it tells packets from each other."""
        (src, _), (dst, _) = self.sent(up)
        if self.family == 4:
            return frames.ipv4(src, dst, PROTOCOLS[self.protocol], layer4, ident=number, **header)
        return frames.ipv6(src, dst, PROTOCOLS[self.protocol], layer4, flow_label=number, **header)

    def data(self, up, number, size=64, header=None, **layer4):
        return self.packet(up, number, self.layer4(up, payload_of(size, number), **layer4),
                           **(header or {}))

    def opening(self, number):
        """(up, packet) of what makes conntrack call the flow established."""
        if self.protocol == "udp":
            steps = [(True, {}), (False, {})]
        else:
            steps = [(True, dict(flags=SYN, ahead=0)), (False, dict(flags=SYN | ACK, ahead=0)),
                     (True, dict(flags=ACK))]
        return [(up, self.data(up, number, 0, **how)) for up, how in steps]
