#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Flows to and from a device without a link layer: a tun device is the router's uplink."""

from netlab import TcpFlow, UdpFlow, equal, expect, main, test
from netlab import lab as topology
from netlab.lab import Lab
from netlab.tun import Wire

BULK = 2 << 20
DATAGRAMS = 600
OFFLOADED = 0.9


class TunLab(Lab):
    """client eth0 ---- lan0 router wan0 (tun) ==== eth0 (tun) server"""

    def _links(self):
        self._veth("lan0", topology.LAN0_MAC, self.client, "eth0", topology.CLIENT_MAC)
        self._wire = Wire([(self.router, "wan0"), (self.server, "eth0")])

    def close(self):
        super().close()
        wire, self._wire = getattr(self, "_wire", None), None
        if wire:
            wire.close()


def exchange(flow):
    flow.exchange(BULK if isinstance(flow, TcpFlow) else DATAGRAMS)


@test("none", "masquerade", "both")
def offload_at_tc(context, nat):
    lab = context.keep(TunLab(nat))
    bpfw = context.running(lab, "tc")
    dial = dict(target=topology.VIRTUAL, port=8080) if nat == "both" else dict(
        target=topology.SERVER, port=5000)
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(lab, family, listen_port=5000,
                      **dict(dial, target=dial["target"][family])) as flow:
                flow.wait_offloaded(bpfw)
                meter = lab.meter()
                exchange(flow)
                expect(meter.read().offloaded_share > OFFLOADED, f"{flow.name()}: {meter}")
                for wanted in (flow.original(), flow.reply()):
                    found = bpfw.flows(**{name: wanted[name] for name in
                                          ("family", "protocol", "direction", "src", "sport")})
                    equal([{name: one[name] for name in wanted} for one in found], [wanted],
                          f"entries of {flow.name()}")
                    equal(found[0]["egress_vlans"], [], "tags")


@test()
def xdp_ports_stay_at_xdp(context):
    """What comes by XDP cannot be sent there; the answers still leave the stack."""
    lab = context.keep(TunLab("masquerade", offloads=False))
    bpfw = context.running(lab, "auto")
    modes = {row["interface"]: row["mode"] for row in bpfw.status()["plan"]}
    equal(modes["lan0"], "xdp", "mode of lan0")
    expect(modes["wan0"] in ("tcx", "clsact"), f"mode of wan0: {modes['wan0']}")
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(lab, family) as flow:
                exchange(flow)
                found = [(one["ingress"], one["egress"]) for one in flow.in_map(bpfw)]
                equal(found, [("wan0", "lan0")], f"entries of {flow.name()}")
                before = bpfw.fast_packets()
                exchange(flow)
                expect(bpfw.fast_packets() > before, f"{flow.name()} takes the stack")


@test()
def device_comes_back(context):
    """The program that waits for it is the one for devices without a link layer."""
    lab = context.keep(TunLab("masquerade"))
    bpfw = context.running(lab, "tc")
    with UdpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        lab.router.ip("link set wan0 down")
        flow.wait_not_offloaded(bpfw)
        lab.router.ip("link set wan0 up",
                      *(f"route replace {topology.SERVICE[f]} via {topology.SERVER[f]}"
                        for f in (4,)))
        flow.wait_offloaded(bpfw)
        flow.exchange(100)


if __name__ == "__main__":
    main()
