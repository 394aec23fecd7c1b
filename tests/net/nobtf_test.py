#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Kernels without BTF, as routers have: nothing in bpfw may need it.

The kernel that runs the test has BTF. In a mount namespace of bpfw's own, an empty file hides it,
and the other files that libbpf looks into.
"""

import os

from netlab import Skip, TcpFlow, UdpFlow, binary, equal, expect, main, test
from netlab.bpfw import ROOT
from netlab.lab import kernel_version, run

HOOKS = ("tc", "xdp", "auto")
KERNEL_BTF = "/sys/kernel/btf/vmlinux"
# Where libbpf looks for BTF, or an image with it, in this order.
PLACES = (KERNEL_BTF, "/boot/vmlinux-{0}", "/lib/modules/{0}/vmlinux-{0}",
          "/lib/modules/{0}/build/vmlinux", "/usr/lib/modules/{0}/kernel/vmlinux",
          "/usr/lib/debug/boot/vmlinux-{0}", "/usr/lib/debug/boot/vmlinux-{0}.debug",
          "/usr/lib/debug/lib/modules/{0}/vmlinux")
BULK = 8 << 20


def binaries():
    """The build that is shipped and $BPFW; one if they are the same."""
    plain = os.path.join(ROOT, "build", "bpfw")
    if os.path.realpath(plain) == os.path.realpath(binary()):
        return {"plain": plain}
    return {"plain": plain, "$BPFW": binary()}


BINARIES = binaries()


def btf_places():
    release = os.uname().release
    places = [place.format(release) for place in PLACES]
    return [place for place in places if os.path.exists(place)]


def without_btf(namespace):
    """Words that start a command in the network namespace, without the kernel's BTF."""
    script = "".join(f"mount --bind /dev/null {place} && " for place in btf_places())
    return ["nsenter", f"--net={namespace.path}", "unshare", "--mount", "sh", "-c",
            script + 'exec "$@"', "bpfw-without-btf"]


def expect_hidden(namespace):
    """A tool that needs the kernel's BTF finds none."""
    look = ["bpftool", "btf", "dump", "file", KERNEL_BTF, "format", "raw"]
    expect(run(look, check=False).returncode == 0, "the kernel's BTF cannot be read at all")
    expect(run(without_btf(namespace) + look, check=False).returncode != 0,
           "the kernel's BTF is not hidden")


@test(*[(name, hook) for name in BINARIES for hook in HOOKS])
def offload(context, name, hook):
    if not os.path.exists(KERNEL_BTF):
        context.note("this kernel has no BTF to be hidden: all the better")
    if not os.path.exists(BINARIES[name]) and len(BINARIES) > 1:
        raise Skip(f"{os.path.relpath(BINARIES[name], ROOT)} has not been built")
    os.environ["BPFW"] = BINARIES[name]
    lab = context.lab("tc" if hook == "tc" else "xdp")
    if os.path.exists(KERNEL_BTF):
        expect_hidden(lab.router)
    bpfw = context.running(lab, hook, launcher=without_btf(lab.router))
    # Before 6.3 auto trusts no veth with XDP.
    at_tc = hook == "tc" or (hook == "auto" and kernel_version() < (6, 3))
    expect(bpfw.logged("^bpfw: ready.*" + ("tc" if at_tc else "xdp")),
           f"attached elsewhere: {bpfw.log}")
    for family in (4, 6):
        for kind in (TcpFlow, UdpFlow):
            flow = context.keep(kind(lab, family))
            flow.wait_offloaded(bpfw)
            meter = lab.meter()
            flow.exchange(BULK if kind is TcpFlow else 1000)
            expect(meter.read().offloaded_share > 0.9, f"{flow.name()}: {meter}")
    equal(len(bpfw.flows()), 8, "entries in the fast path")


if __name__ == "__main__":
    main()
