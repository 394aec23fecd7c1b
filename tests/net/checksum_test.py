#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checksums that are not finished when bpfw meets the packet.

CHECKSUM_PARTIAL: the sender has left the checksum to the hardware, the packet carries the pseudo
header's sum alone. CHECKSUM_COMPLETE: the receiver has the sum of the whole packet beside it. At tc
both have to be kept true through the NAT. XDP sees neither: such packets are the stack's.
"""

import contextlib
import ipaddress
import json
import os
import socket
import struct
import tempfile
import time

from netlab import Lab, Skip, TcpFlow, UdpFlow, equal, expect, main, test
from netlab import frames
from netlab import lab as topology
from netlab.lab import run

BULK = 8 << 20
ETHERNET_MTU = 1500
UDP_SEGMENT = 103
SO_NO_CHECK = 11
GSO_SEGMENT, GSO_SEGMENTS = 1200, 10
CSUM_FAULT = "hw csum failure"

# Sees the frames that a device receives: does the skb have a sum, and is it that of the packet?
WATCH = """
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
#define MAX_WORDS 400

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)39;
static __s64 (*csum_update)(struct __sk_buff *skb, __u32 csum) = (void *)40;

struct watched {
	__u64 complete;
	__u64 wrong;
	__u64 without;
};

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	__u32 *key;
	struct watched *value;
} counts SEC(".maps");

static __u16 fold(__u64 sum)
{
	for (int i = 0; i < 4; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff ? 0 : sum;
}

SEC("tc") int watch(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct watched *seen = map_lookup(&counts, &zero);
	__s64 csum = csum_update(skb, 0);
	__u64 sum = 0;
	__u8 protocol;
	__u8 *data;

	if (!seen || skb_pull_data(skb, skb->len))
		return -1;
	data = (void *)(long)skb->data;
	if ((void *)(data + 34) > (void *)(long)skb->data_end)
		return -1;
	protocol = data[12] == 0x86 ? data[20] : data[23];
	if (protocol != 6 && protocol != 17)
		return -1;
	if (csum < 0) {
		seen->without++;
		return -1;
	}
	data += 14;
	for (int i = 0; i < MAX_WORDS; i++) {
		if ((void *)(data + 4) > (void *)(long)skb->data_end)
			break;
		sum += *(__u32 *)data;
		data += 4;
	}
	if ((void *)(data + 2) <= (void *)(long)skb->data_end) {
		sum += *(__u16 *)data;
		data += 2;
	}
	if ((void *)(data + 1) <= (void *)(long)skb->data_end) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
		sum += *data;
#else
		sum += *data << 8;
#endif
	}
	seen->complete++;
	if (fold((__u32)csum) != fold(sum))
		seen->wrong++;
	return -1;
}
char terms[] SEC("license") = "GPL";
"""


class Watch:
    """The program above on what a device receives."""

    def __init__(self, namespace, device):
        self._namespace = namespace
        with tempfile.TemporaryDirectory(prefix="bpfw-watch-") as folder:
            namespace.run("tc", "qdisc", "add", "dev", device, "clsact")
            namespace.run("tc", "filter", "add", "dev", device, "ingress", "bpf", "da", "obj",
                          self._compile(folder), "sec", "tc")
        hooks = namespace.json("bpftool", "-j", "net", "show")
        program = next(item["id"] for one in hooks for item in one["tc"]
                       if item["devname"] == device)
        shown = json.loads(run(["bpftool", "-j", "prog", "show", "id", str(program)]).stdout)
        self._map = str(shown["map_ids"][0])

    @staticmethod
    def _compile(folder):
        if run(["sh", "-c", "command -v clang"], check=False).returncode:
            raise Skip("clang is not installed, the program that checks sums cannot be made")
        source, target = (os.path.join(folder, name) for name in ("watch.c", "watch.o"))
        with open(source, "w", encoding="ascii") as file:
            file.write(WATCH)
        run(["clang", "-O2", "-g", "-target", "bpf",
             f"-I/usr/include/{os.uname().machine}-linux-gnu", "-c", source, "-o", target])
        return target

    def read(self):
        """Packets with a sum, with a wrong sum, without."""
        dumped = json.loads(run(["bpftool", "-j", "map", "dump", "id", self._map]).stdout)
        value = bytes(int(byte, 16) for byte in dumped[0]["value"])
        return struct.unpack("=3Q", value)


def csum_errors(namespace):
    """Packets that a host has thrown away for their checksum."""
    with namespace.enter():
        with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
            lines = [line.split() for line in file]
        with open("/proc/thread-self/net/snmp6", encoding="ascii") as file:
            numbers = dict(line.split() for line in file)
    for names, values in zip(lines[::2], lines[1::2]):
        numbers.update({names[0] + name: value for name, value in zip(names[1:], values[1:])})
    return sum(int(numbers[name]) for name in
               ("Tcp:InCsumErrors", "Udp:InCsumErrors", "Udp6InCsumErrors", "Ip:InHdrErrors"))


def expect_no_csum_errors(lab):
    equal([csum_errors(namespace) for namespace in (lab.client, lab.router, lab.server)],
          [0, 0, 0], "checksum errors of client, router and server")


def csum_faults():
    """Lines of the kernel's log about sums that did not fit their packets."""
    said = run(["dmesg"], check=False)
    return [line for line in said.stdout.splitlines() if CSUM_FAULT in line]


def checksum_is_right(captured):
    """The checksum of a captured frame, whole or left to hardware."""
    packet = captured.data[14:]
    if packet[0] >> 4 == 4:
        header, protocol = packet[0] % 16 * 4, packet[9]
        if frames.checksum(packet[:header]):
            return False
        src, dst = packet[12:16], packet[16:20]
        segment = packet[header:int.from_bytes(packet[2:4], "big")]
    else:
        protocol, src, dst = packet[6], packet[8:24], packet[24:40]
        segment = packet[40:40 + int.from_bytes(packet[4:6], "big")]
    pseudo = frames.pseudo_header(ipaddress.ip_address(src), ipaddress.ip_address(dst), protocol,
                                  len(segment))
    offset = 16 if protocol == socket.IPPROTO_TCP else 6
    stored = int.from_bytes(segment[offset:offset + 2], "big")
    if captured.csum_start:
        return stored == frames.checksum(pseudo) ^ 0xffff
    return frames.checksum(pseudo + segment) == 0


def send_segmented(flow):
    """Datagrams that leave the socket as one packet; they must all arrive, in order."""
    flow.near.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, GSO_SEGMENT)
    payload = os.urandom(GSO_SEGMENT * GSO_SEGMENTS)
    flow.near.send(payload)
    flow.near.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    parts = []
    try:
        for _ in range(GSO_SEGMENTS):
            parts.append(flow.far.recv(65536))
    except TimeoutError:
        pass
    equal([len(part) for part in parts], [GSO_SEGMENT] * GSO_SEGMENTS, "segments that arrived")
    expect(b"".join(parts) == payload, "segments differ from what was sent")


def bytes_per_packet(bpfw, flow, direction, transfer):
    """Of the packets that took the fast path during the transfer."""
    def counts():
        found = [one for one in flow.in_map(bpfw) if one["direction"] == direction]
        equal(len(found), 1, f"entries of {flow.name()}, {direction}")
        return found[0]["packets"], found[0]["bytes"]
    before = counts()
    transfer()
    after = counts()
    expect(after[0] > before[0], f"{flow.name()}, {direction}: no packet took the fast path")
    return (after[1] - before[1]) / (after[0] - before[0])


# Who finishes the checksum: the receiving end, which trusts what comes over a veth, or the router
# on the way out, so that the receiver has a checksum to judge.
@test(*[(nat, finisher) for nat in ("masquerade", "snat-port") for finisher in ("end", "router")])
def partial_at_tc(context, nat, finisher):
    lab = context.lab("tc", nat)
    if finisher == "router":
        for device in ("lan0", "wan0"):
            lab.router.run("ethtool", "-K", device, "tx", "off")
    bpfw = context.running(lab, "tc")
    for family in (4, 6):
        with TcpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            for direction in ("original", "reply"):
                size = bytes_per_packet(bpfw, flow, direction, lambda: flow.one_way(
                    BULK, direction == "original"))
                expect(size > 2 * ETHERNET_MTU, f"{flow.name()}, {direction}: {size:.0f} bytes per "
                       "packet in the fast path: segmentation offload was not in use")
            flow.finish()
        with UdpFlow(lab, family) as flow:
            flow.wait_offloaded(bpfw)
            flow.exchange(400)
            size = bytes_per_packet(bpfw, flow, "original", lambda: send_segmented(flow))
            expect(size > 2 * ETHERNET_MTU, f"{flow.name()}: {size:.0f} bytes per packet")
    expect_no_csum_errors(lab)


@test("masquerade", "snat-port")
def partial_at_tc_on_the_wire(context, nat):
    """What the ends receive, frame by frame: the sum of the pseudo header after NAT."""
    lab = context.lab("tc", nat)
    bpfw = context.running(lab, "tc")
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(lab, family) as flow:
                flow.wait_offloaded(bpfw)
                ports = [context.keep(frames.Port(namespace, "eth0"))
                         for namespace in (lab.client, lab.server)]
                flow.exchange(1 << 20 if kind is TcpFlow else 100)
                for port in ports:
                    received = port.drain(0.1)
                    expect(sum(one.csum_start > 0 for one in received) >= 10,
                           f"{flow.name()}: no frames whose checksum is left to the receiver")
                    bad = [frames.fields(one) for one in received if not checksum_is_right(one)]
                    equal(bad, [], f"{flow.name()}: frames with a wrong checksum")
                    port.close()


@test()
def wrong_checksum_is_noticed(context):
    """What the other tests rely on: the ends count a datagram whose checksum is wrong."""
    lab = context.lab("tc")
    with UdpFlow(lab) as flow:
        flow.touch()
        good = frames.udp(topology.WAN0[4], topology.SERVER[4], 5001, 5000, b"datagram")
        bad = good[:6] + bytes([good[6] ^ 1]) + good[7:]
        with frames.Port(lab.router, "wan0") as port, frames.Port(lab.server, "eth0") as far:
            for datagram in (good, bad):
                port.send(frames.ethernet(topology.SERVER_MAC, topology.WAN0_MAC, frames.ipv4(
                    topology.WAN0[4], topology.SERVER[4], socket.IPPROTO_UDP, datagram)))
            received = far.drain()
        equal([checksum_is_right(one) for one in received], [True, False], "frames received")
        equal(flow.receive(), b"datagram", "the good datagram")
        # The receiver looks at a short datagram's checksum at once, or when it is read.
        flow.far.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            raise AssertionError(f"received {flow.far.recv(100)}")
        equal(csum_errors(lab.server), 1, "checksum errors of the server")


TUNNEL_CLIENT = {4: "10.0.5.2", 6: "fd00:5::2"}
TUNNEL_ROUTER = {4: "10.0.5.1", 6: "fd00:5::1"}
TUNNEL_NAT = {
    "none": "none",
    "masquerade": "masquerade",
    # Addresses and ports of both ends.
    "both": f"""
	chain prerouting {{
		type nat hook prerouting priority dstnat;
		ip daddr {topology.VIRTUAL[4]} udp dport 8080 dnat ip to {topology.SERVER[4]}:5000
		ip6 daddr {topology.VIRTUAL[6]} udp dport 8080 dnat ip6 to [{topology.SERVER[6]}]:5000
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat;
		oifname "wan0" meta l4proto udp masquerade to :40000-40999
	}}""",
}


def tunnel_lab(context, nat):
    """The client reaches the router through a tunnel with checksums: when the router has verified
    the outer checksum in software, it has the sum of the inner packet as well."""
    lab = context.lab("tc", TUNNEL_NAT[nat])
    lab.client.run("ethtool", "-K", "eth0", "tx", "off")
    for namespace, own, peer, device, inner in (
            (lab.client, topology.CLIENT, topology.LAN0, "eth0", TUNNEL_CLIENT),
            (lab.router, topology.LAN0, topology.CLIENT, "lan0", TUNNEL_ROUTER)):
        namespace.ip(f"link add vx0 type vxlan id 7 local {own[4]} remote {peer[4]} dev {device} "
                     "dstport 4789 udpcsum", "link set vx0 up",
                     f"addr add {inner[4]}/24 dev vx0", f"addr add {inner[6]}/64 dev vx0 nodad")
    lab.client.ip(f"route replace default via {TUNNEL_ROUTER[4]}",
                  f"route replace ::/0 via {TUNNEL_ROUTER[6]}")
    return lab


def tunnel_flow(context, lab, nat, family):
    dial = dict(target=topology.VIRTUAL[family], port=8080) if nat == "both" else {}
    return context.keep(UdpFlow(lab, family, listen_port=5000, **dial))


@test(*TUNNEL_NAT)
def complete_at_tc(context, nat):
    lab = tunnel_lab(context, nat)
    faults = csum_faults()
    bpfw = context.running(lab, "tc", interfaces=("vx0", "wan0"))
    watch = Watch(lab.server, "eth0")
    for family in (4, 6):
        flow = tunnel_flow(context, lab, nat, family)
        flow.wait_offloaded(bpfw)
        complete, fast = watch.read()[0], bpfw.fast_packets()
        for size in (8, 9, 10, 11, 18, 64, 513, 1200):
            flow.exchange(40, (size,))
        # Both ways; what keeps the conntrack entry alive may have taken the stack.
        expect(bpfw.fast_packets() - fast > 600, f"not offloaded: {bpfw.stats()}")
        expect(watch.read()[0] - complete > 100,
               f"family {family}: packets with, with a wrong, without a sum: {watch.read()}")
    equal(watch.read()[1], 0, "packets whose sum is not theirs")
    expect_no_csum_errors(lab)
    equal(csum_faults()[len(faults):], [], "the kernel's complaints")


@test("masquerade", "both")
def without_checksum(context, nat):
    """UDP over IPv4 may do without: the 0 has to stay."""
    lab = tunnel_lab(context, nat)
    faults = csum_faults()
    bpfw = context.running(lab, "tc", interfaces=("vx0", "wan0"))
    watch = Watch(lab.server, "eth0")
    flow = tunnel_flow(context, lab, nat, 4)
    for sock in (flow.near, flow.far):
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    flow.wait_offloaded(bpfw)
    fast = bpfw.fast_packets()
    ends = [context.keep(frames.Port(lab.server, "eth0")),
            context.keep(frames.Port(lab.client, "vx0"))]
    flow.exchange(100, (8, 9, 18, 64, 1200))
    for port in ends:
        seen = [frames.fields(one).get("udp checksum") for one in port.drain(0.1)]
        equal((len(seen), set(seen)), (100, {"0000"}), "datagrams and their checksums")
    expect(bpfw.fast_packets() - fast > 190, f"not offloaded: {bpfw.stats()}")
    expect(watch.read()[0] > 40, f"packets with, with a wrong, without a sum: {watch.read()}")
    equal(watch.read()[1], 0, "packets whose sum is not theirs")
    expect_no_csum_errors(lab)
    equal(csum_faults()[len(faults):], [], "the kernel's complaints")


@test(*[(family, hook) for hook in ("xdp", "xdpgeneric") for family in (4, 6)])
def partial_at_xdp(context, family, hook):
    """The ends leave their checksums to the veth, as they do by default. Nothing may be redirected:
    the receiver would get what is not a checksum."""
    lab = context.keep(Lab("masquerade", offloads=True))
    for namespace in (lab.client, lab.server):
        namespace.run("ethtool", "-K", "eth0", "gro", "on")
    bpfw = context.running(lab, hook)
    for kind in (UdpFlow, TcpFlow):
        with kind(lab, family) as flow:
            flow.touch()
            deadline = time.monotonic() + 5
            while len(flow.in_map(bpfw)) < 2 and time.monotonic() < deadline:
                flow.touch()
            equal(len(flow.in_map(bpfw)), 2, f"entries of {flow.name()}")
            before, meter = bpfw.stats(), lab.meter()
            flow.exchange(1 << 20 if kind is TcpFlow else 200)
            after = bpfw.stats()
            meter.read()
            expect(meter.offloaded_share < 0.05, f"{flow.name()}: {meter}; {after}")
            exits = {name: after["exits"][name] - before["exits"][name]
                     for name in ("partial_checksum", "mtu", "miss")}
            context.note(f"{flow.name()}: {exits}")
            equal(after["fast_path"], before["fast_path"], f"{flow.name()}: fast path")
            expect(exits["partial_checksum"] > 20, f"{flow.name()}: exits {exits}")
            if kind is UdpFlow:
                equal(exits["partial_checksum"], 400, "datagrams left to the stack for their sum")
    expect_no_csum_errors(lab)


if __name__ == "__main__":
    main()
