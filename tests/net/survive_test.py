#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Whatever happens to the daemon, traffic goes on; whatever else is attached stays."""

import os
import signal
import tempfile
import time

from netlab import HOOKS, Skip, TcpFlow, UdpFlow, attachments, equal, expect, main, test
from netlab import wait_until
from netlab.lab import run

FOREIGN = """
#include <linux/bpf.h>
#define SEC(name) __attribute__((section(name), used))
SEC("xdp") int foreign_pass(struct xdp_md *ctx) { return XDP_PASS; }
char terms[] SEC("license") = "GPL";
"""


def running_flows(context, lab, bpfw):
    flows = [context.keep(kind(lab, family)) for kind in (TcpFlow, UdpFlow) for family in (4, 6)]
    for flow in flows:
        flow.wait_offloaded(bpfw)
        flow.start()
    return flows


def finish(flows):
    for flow in flows:
        flow.goes_on()
        flow.stop()


def expect_detached(lab, why):
    expect(wait_until(lambda: not attachments(lab.router), 2),
           f"{why}, yet attached: {attachments(lab.router)}")


@test(*HOOKS)
def killed_in_mid_flow(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    equal(len(attachments(lab.router)), 2, f"attached programs {attachments(lab.router)}")
    if bpfw.logged(r"ready:.*clsact"):
        raise Skip("this kernel has no tcx, so a filter outlives its daemon: see clsact_test")
    flows = running_flows(context, lab, bpfw)
    bpfw.kill()
    expect_detached(lab, "killed")
    finish(flows)
    meter = lab.meter()  # two counters, read one after the other: nothing else runs meanwhile
    flows[0].exchange(4 << 20)
    expect(meter.read().offloaded_share < 0.2, f"something still forwards: {meter}")
    equal(lab.counter("invalid")[0], 0, "packets that conntrack calls invalid")


@test(*HOOKS)
def killed_and_started_again(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = running_flows(context, lab, bpfw)
    bpfw.kill()
    bpfw = context.running(lab, hook)
    for flow in flows:
        flow.wait_offloaded(bpfw)
    finish(flows)
    equal(lab.counter("invalid")[0], 0, "packets that conntrack calls invalid")


@test(*HOOKS)
def hangs_and_recovers(context, hook):
    """A stopped daemon cannot follow anything: after 2 s everything takes the stack."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = running_flows(context, lab, bpfw)
    bpfw.freeze()

    def through_stack():
        meter = lab.meter()
        time.sleep(0.3)
        meter.read()
        return meter.forwarded_packets > 50 and meter.offloaded_share < 0.2
    expect(wait_until(through_stack, 8), "the fast path goes on without its daemon")
    for flow in flows:
        flow.goes_on()
    bpfw.thaw()
    stale = [count for reason, count in bpfw.stats()["exits"].items()
             if "stale" in reason or "heartbeat" in reason]
    expect(sum(stale) > 50, f"exits for the stale heartbeat: {bpfw.stats()['exits']}")
    fast = bpfw.fast_packets()
    expect(wait_until(lambda: bpfw.fast_packets() > fast + 100, 10), "no recovery")
    finish(flows)


@test(*HOOKS)
def entry_deleted_while_hanging(context, hook):
    """What was missed while the daemon stood still is made up for."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    with UdpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        bpfw.freeze()
        lab.router.run("conntrack", "-F")
        time.sleep(0.5)
        bpfw.thaw()
        flow.wait_not_offloaded(bpfw)
        flow.wait_offloaded(bpfw)


@test(*[(number.name, hook) for hook in HOOKS for number in (signal.SIGTERM, signal.SIGINT)])
def stopped_in_order(context, number, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = running_flows(context, lab, bpfw)
    context.note(f"stopped in {bpfw.stop(signal.Signals[number]):.2f} s")
    equal(attachments(lab.router), [], "attached programs")
    finish(flows)
    equal(lab.counter("invalid")[0], 0, "packets that conntrack calls invalid")


@test(*HOOKS)
def stopped_and_started_in_mid_flow(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    flows = running_flows(context, lab, bpfw)
    for _ in range(3):
        bpfw.stop()
        bpfw = context.running(lab, hook)
        for flow in flows:
            flow.wait_offloaded(bpfw)
    finish(flows)


def refused(context, lab, hook, **kwargs):
    """Run bpfw, which must give up with exit status 1; what it said."""
    second = context.bpfw(lab, hook, **kwargs)
    status = wait_until(lambda: second.process.poll(), 15)
    equal(status, 1, f"exit status; it said:\n{second.log}")
    second.check_sanitizer()
    return second.log


@test(*HOOKS)
def second_instance_is_refused(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    attached = attachments(lab.router)
    said = refused(context, lab, hook)
    expect("lan0" in said, f"names no interface: {said}")
    # a filter's name has the program's number in it
    expect(any(name and name.partition(":")[0] in said for _, _, name in attached),
           f"names none of {attached}: {said}")
    equal(attachments(lab.router), attached, "attached programs")
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)


@test(*HOOKS)
def second_interface_is_taken(context, hook):
    """The first interface is free, the second is not: nothing stays on the first."""
    lab = context.lab(hook)
    lab.add_second_uplink()
    context.running(lab, hook, interfaces=("wan0",))
    attached = attachments(lab.router)
    said = refused(context, lab, hook, interfaces=("wan1", "wan0"))
    expect("wan0" in said, f"does not name wan0: {said}")
    equal(attachments(lab.router), attached, "attached programs")


@test(*HOOKS)
def instances_on_different_interfaces(context, hook):
    """Other interfaces, or the same names in another namespace, are nobody's business."""
    lab, other = context.lab(hook), context.lab(hook)
    lab.add_second_uplink()
    bpfw = context.running(lab, hook)
    elsewhere = context.running(other, hook)
    for place, instance in ((lab, bpfw), (other, elsewhere)):
        flow = context.keep(TcpFlow(place))
        flow.wait_offloaded(instance)
        equal(len(instance.flows()), 2, "entries, in this namespace alone")
    context.running(lab, hook, interfaces=("wan1",))


def foreign_program(context):
    """An XDP program that is not ours, as an object file."""
    if run(["sh", "-c", "command -v clang"], check=False).returncode:
        raise Skip("clang is not installed, no foreign program can be made")
    folder = tempfile.TemporaryDirectory(prefix="bpfw-foreign-")
    folder.close = folder.cleanup
    context.keep(folder)
    source, target = (os.path.join(folder.name, name) for name in ("foreign.c", "foreign.o"))
    with open(source, "w", encoding="ascii") as file:
        file.write(FOREIGN)
    machine = os.uname().machine
    run(["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{machine}-linux-gnu",
         "-c", source, "-o", target])
    return target


@test(*[(mode, hook) for hook in ("xdp", "xdpgeneric") for mode in ("xdp", "xdpgeneric")])
def foreign_program_is_named(context, mode, hook):
    lab = context.lab(hook)
    lab.router.run("ip", "link", "set", "dev", "wan0", mode, "obj", foreign_program(context),
                   "sec", "xdp")
    said = refused(context, lab, hook)
    expect("wan0" in said and "foreign_pass" in said, f"names not wan0 and foreign_pass: {said}")
    equal([(device, name) for device, _, name in attachments(lab.router)],
          [("wan0", "foreign_pass")], "attached programs")


@test(*HOOKS)
def started_by_ip_netns_exec(context, hook):
    """ip netns exec hides the BPF file system: no reason to fail."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, launcher=["ip", "netns", "exec", lab.router.name])
    flows = running_flows(context, lab, bpfw)
    finish(flows)
    bpfw.stop()
    equal(attachments(lab.router), [], "attached programs")


@test(*HOOKS)
def bpf_file_system_cannot_be_mounted(context, hook):
    """Without CAP_SYS_ADMIN nothing can be mounted: bpfw goes on without pins."""
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, launcher=[
        "nsenter", f"--net={lab.router.path}", "unshare", "--mount", "sh", "-c",
        "mount -t sysfs -o ro none /sys && exec setpriv --bounding-set "
        "-all,+bpf,+net_admin,+net_raw,+perfmon,+ipc_lock,+sys_resource "
        '--inh-caps -all "$@"', "bpfw-without-bpffs"])
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        flow.exchange(1 << 20)


if __name__ == "__main__":
    main(jobs=4)
