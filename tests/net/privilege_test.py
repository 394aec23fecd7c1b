#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the daemon keeps after its start, and what it can do with less from the beginning."""

import os
import shutil
import signal

from netlab import Skip, TcpFlow, UdpFlow, attachments, binary, equal, expect, main, test
from netlab import wait_until
from netlab.bpfw import ROOT
from netlab.filter import ACCEPT, AT_XDP, REFUSE, Filter, stops
from netlab.lab import run

CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_PERFMON, CAP_BPF = 12, 19, 38, 39
NOBODY = 65534


def status(bpfw):
    with open(f"/proc/{bpfw.process.pid}/status", encoding="ascii") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return fields


def capabilities(bpfw, kind):
    value = int(status(bpfw)[kind], 16)
    return {number for number in range(64) if value >> number & 1}


def wanted():
    pppoe = {CAP_SYS_PTRACE} if os.path.exists("/proc/net/pppoe") else set()
    return {CAP_BPF, CAP_NET_ADMIN} | pppoe


def is_sanitized(program):
    """The filter of system calls is not for builds with sanitizers."""
    with open(program, "rb") as file:
        return b"AddressSanitizer" in file.read()


def take_filtering_build():
    """For the rest of this test, which has a process of its own."""
    if is_sanitized(binary()):
        os.environ["BPFW"] = os.path.join(ROOT, "build", "bpfw")
        if not os.path.exists(binary()):
            raise Skip("there is no build/bpfw, and that with sanitizers filters no system calls")


@test("tc", "xdp")
def kept_capabilities(context, hook):
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        equal(capabilities(bpfw, kind), wanted(), kind)
    for kind in ("CapInh", "CapAmb"):
        equal(capabilities(bpfw, kind), set(), kind)
    equal(status(bpfw)["NoNewPrivs"], "1", "NoNewPrivs")
    if not is_sanitized(f"/proc/{bpfw.process.pid}/exe"):
        equal(status(bpfw)["Seccomp"], "2", "Seccomp")
    for kind in (TcpFlow, UdpFlow):
        with kind(lab) as flow:
            flow.wait_offloaded(bpfw)


@test("tc", "xdp")
def works_behind_the_filter(context, hook):
    """What the daemon does while it runs, from learning a flow to the end."""
    take_filtering_build()
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    equal(status(bpfw)["Seccomp"], "2", "Seccomp")
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(lab, family) as flow:
                flow.wait_offloaded(bpfw)
                flow.exchange(100_000 if kind is TcpFlow else 100)
    bpfw.send_signal(signal.SIGHUP)
    lab.router.ip("link set wan0 down", "link set wan0 up")
    with TcpFlow(lab, 4) as flow:
        flow.wait_offloaded(bpfw)
    bpfw.stop(signal.SIGTERM)


@test()
def switched_off(context):
    take_filtering_build()
    lab = context.lab("tc")
    bpfw = context.running(lab, "tc", args=("--no-sandbox",))
    with open("/proc/self/status", encoding="ascii") as file:
        own = next(line for line in file if line.startswith("CapEff")).split()[1]
    equal(status(bpfw)["CapEff"], own, "CapEff")
    equal(status(bpfw)["Seccomp"], "0", "Seccomp")


@test()
def forbidden_calls_end_it(_context):
    """The cases of privilege_test.c in the build without sanitizers."""
    program = os.path.join(ROOT, "build", "tests", "unit", "privilege_test")
    if not os.path.exists(program):
        raise Skip("build/tests/unit/privilege_test is not built")
    done = run([program], check=False, env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT"))
    said = done.stdout + done.stderr
    expect(done.returncode == 0 and "PASSED  ] 5" in said, said)


@test("tc", "xdp")
def forbidden_call_ends_the_daemon(context, hook):
    """strace puts a call that is not allowed, and harmless, in the place of the next wait."""
    if not shutil.which("strace"):
        raise Skip("no strace here")
    take_filtering_build()
    lab = context.lab(hook)
    bpfw = context.running(lab, hook)
    expect(attachments(lab.router), "nothing is attached")
    waiting = "?epoll_wait,epoll_pwait"
    traced = run(["strace", "-p", str(bpfw.process.pid), "-e", f"trace={waiting}",
                  "-e", f"inject={waiting}:retval=0:syscall=getuid"], check=False)
    expect(wait_until(lambda: not bpfw.alive()), f"it goes on: {traced.stderr}")
    equal(bpfw.process.returncode, -signal.SIGSYS, f"exit status; {traced.stderr}")
    equal(attachments(lab.router), [], "what is left attached")


def modes(bpfw):
    return {row["mode"] for row in bpfw.status()["plan"]}


@test()
def follows_the_filter_without_privileges(context):
    """The daemon that gave them up stands behind what is loaded then, and alone again after it."""
    take_filtering_build()
    lab = context.lab("xdp", "none")
    bpfw = context.running(lab, AT_XDP)
    equal(status(bpfw)["Seccomp"], "2", "Seccomp")
    equal(modes(bpfw), {"xdp"}, "modes of the ports")
    filter_ = Filter(context, lab)
    for hook in ("xdp", "tc"):
        filter_.load(ACCEPT, hook)
        wanted = {"xdp"} if hook == "xdp" else {"tcx", "clsact"}
        expect(wait_until(lambda: modes(bpfw) <= wanted and filtered_fast(lab, bpfw, filter_)),
               f"behind the filter at {hook}: {modes(bpfw)}\n{bpfw.log}")
    filter_("unload")
    expect(wait_until(lambda: modes(bpfw) == {"xdp"}), f"without the filter: {modes(bpfw)}")
    with TcpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)


def filtered_fast(lab, bpfw, filter_):
    """A flow is forwarded by the fast path while the filter counts its packets."""
    with TcpFlow(lab, port=5002) as flow:
        flow.wait_offloaded(bpfw)
        judged = filter_.packets()
        flow.exchange(100_000)
        return filter_.packets() - judged >= 30


def without_privileges(lab):
    """What bpfw is started by: three capabilities, and a user that owns nothing."""
    three = "-all,+bpf,+perfmon,+net_admin"
    return ["nsenter", f"--net={lab.router.path}", "setpriv", f"--reuid={NOBODY}",
            f"--regid={NOBODY}", "--clear-groups", f"--inh-caps={three}",
            f"--ambient-caps={three}", f"--bounding-set={three}"]


@test("tc", "xdp")
def not_root(context, hook):
    """Three capabilities are enough, and a user that owns nothing."""
    if not shutil.which("setpriv"):
        raise Skip("no setpriv here")
    lab = context.lab(hook)
    bpfw = context.running(lab, hook, launcher=without_privileges(lab))
    equal(status(bpfw)["Uid"].split(), [str(NOBODY)] * 4, "user")
    equal(capabilities(bpfw, "CapEff"), {CAP_BPF, CAP_NET_ADMIN}, "CapEff")
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            with kind(lab, family) as flow:
                flow.wait_offloaded(bpfw)
                flow.exchange(100_000 if kind is TcpFlow else 100)
    lab.router.ip("link set wan0 down", "link set wan0 up")
    bpfw.stop(signal.SIGTERM)


@test(*((first, hook) for first in ("filter", "fast path") for hook in ("tc", "xdp")))
def not_root_beside_the_filter(context, first, hook):
    """Who may not look at the filter's pins keeps to TC, behind it."""
    if not shutil.which("setpriv"):
        raise Skip("no setpriv here")
    lab = context.lab("xdp", "none")
    filter_ = Filter(context, lab)
    if first == "filter":
        filter_.load(ACCEPT, hook)
    bpfw = context.running(lab, AT_XDP, launcher=without_privileges(lab))
    if first != "filter":
        equal(modes(bpfw), {"xdp"}, "modes before the filter is loaded")
        filter_.load(ACCEPT, hook)
    expect(wait_until(lambda: modes(bpfw) <= {"tcx", "clsact"}), f"{modes(bpfw)}\n{bpfw.log}")
    expect(filtered_fast(lab, bpfw, filter_),
           "the filter does not judge what the fast path forwards")
    with UdpFlow(lab) as flow:
        flow.wait_offloaded(bpfw)
        filter_.load(REFUSE)
        stops(flow)
    filter_("unload")
    expect(wait_until(lambda: modes(bpfw) == {"xdp"}), f"{modes(bpfw)}\n{bpfw.log}")


if __name__ == "__main__":
    main()
