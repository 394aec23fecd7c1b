# SPDX-License-Identifier: GPL-2.0-only
"""A big-endian machine: Debian's s390x kernel and user space, and bpfw built for them.

    CACHE/s390x/root        unpacked packages: the machine's root, and what bpfw is built against
    build/s390x/            links to the sources, and a build/ of its own
"""

import os
import shlex
import shutil
import subprocess

from . import BuildFailed
from .kernels import kernel
from .machine import ROOT, Machine
from .packages import Suite, cache, locked, require

KERNEL = "6.12"
SUITE = "trixie"
TRIPLET = "s390x-linux-gnu"
TREE = ROOT / "build" / "s390x"
BUILD_TIMEOUT = 600
SOURCES = ("Makefile", "VERSION", "bpf", "libbpf", "mk", "packaging", "scripts", "src", "tests",
           "vmlinux")

# What the tests call, and what bpfw is linked to
PACKAGES = (
    "base-files", "bpftool", "busybox-static", "conntrack", "coreutils", "dash", "ethtool", "grep",
    "iproute2", "kmod", "nftables", "procps", "python3", "sed", "strace", "util-linux",
    "libbpf-dev", "libc6-dev", "libelf-dev", "libmnl-dev", "libnetfilter-conntrack-dev",
    "zlib1g-dev")


def root():
    """The unpacked user space."""
    directory = cache() / "s390x" / "root"
    with locked(directory.parent):
        if not directory.exists():
            partial = directory.with_name("root.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            suite = Suite(SUITE, "s390x").open()
            for package in suite.fetch_with_dependencies(PACKAGES):
                subprocess.run(["dpkg-deb", "--extract", str(package), str(partial)], check=True)
                package.unlink()
            _finish(partial)
            partial.rename(directory)
    return directory


def _finish(directory):
    """What the packages' scripts would have done."""
    shell = directory / "usr" / "bin" / "sh"
    if not shell.exists():
        shell.symlink_to("dash")
    for name in "run", "tmp", "proc", "sys", "dev":
        (directory / name).mkdir(exist_ok=True)


def build(sources):
    """bpfw and the packet tests among the sources, for s390x."""
    require("make", "clang", f"{TRIPLET}-gcc", f"{TRIPLET}-ar", "pkg-config")
    sysroot = root()
    (TREE / "build").mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        if (ROOT / name).exists() and not (TREE / name).is_symlink():
            (TREE / name).symlink_to(os.path.join("..", "..", name))
    libraries = f"{sysroot}/usr/lib/{TRIPLET}/pkgconfig:{sysroot}/usr/share/pkgconfig"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment.update(PKG_CONFIG_SYSROOT_DIR=str(sysroot), PKG_CONFIG_LIBDIR=libraries)
    targets = ["build/bpfw", "verifier-tests"]
    targets += [f"build/{source[:-2]}" for source in sources if source.endswith(".c")]
    done = subprocess.run(
        ["make", f"-j{os.cpu_count()}", "-C", str(TREE), f"CC={TRIPLET}-gcc --sysroot={sysroot}",
         f"AR={TRIPLET}-ar", f"BPFTOOL={_bpftool(sysroot)}", *targets],
        env=environment, timeout=BUILD_TIMEOUT, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise BuildFailed(f"the build for s390x:\n{done.stdout}")


def _bpftool(sysroot):
    """That of s390x, by emulation: older ones refuse objects of the other byte order."""
    require("qemu-s390x")
    script = TREE / "bpftool-s390x"
    script.write_text(f"#!/bin/sh\nexec qemu-s390x -L {shlex.quote(str(sysroot))} "
                      f"{shlex.quote(str(sysroot / 'usr/sbin/bpftool'))} \"$@\"\n",
                      encoding="utf-8")
    script.chmod(0o755)
    return script


class S390x(Machine):
    """One processor: more of them are no faster here."""

    bus = "ccw"
    command_line = "console=ttyS0 panic=-1"

    def __init__(self, memory=2048):
        super().__init__(kernel(KERNEL, "s390x"), 1, memory)
        self._root = root()

    def qemu(self):
        # With the vector facility QEMU 7.2 computes wrong checksums.
        return ["qemu-system-s390x", "-machine", "s390-ccw-virtio", "-cpu", "max,vx=off",
                "-accel", "tcg"]

    def _serial(self, console):
        return ["-chardev", f"file,id=console,path={console}", "-device",
                "sclpconsole,chardev=console"]

    def shares(self):
        return {"hostroot": self._root, "modules": self.kernel.modules, "repository": ROOT,
                "build": TREE / "build"}

    def busybox(self):
        return (self._root / "usr" / "bin" / "busybox").read_bytes()


def environment():
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
            "BPFW_TEST_SLOW": "10"}
