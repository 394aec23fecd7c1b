# SPDX-License-Identifier: GPL-2.0-only
"""Machines of other architectures: Debian's kernel and user space, and bpfw built for them.

    CACHE/ARCH/root-LIST    unpacked packages: the machine's root, and what bpfw is built against
    build/ARCH/             links to the sources, and a build/ of its own
"""

import dataclasses
import hashlib
import os
import shlex
import shutil
import subprocess

from . import BuildFailed, Unavailable
from .kernels import SUITES, kernel
from .machine import ROOT, Machine
from .packages import Suite, cache, locked, require

KERNEL = "6.12"
TIMED_OUT = 124  # of timeout(1)
SOURCES = ("Makefile", "VERSION", "bpf", "libbpf", "mk", "packaging", "scripts", "src", "tests",
           "vmlinux")

# What the tests call, and what bpfw is linked to
PACKAGES = (
    "base-files", "bpftool", "busybox-static", "conntrack", "coreutils", "dash", "ethtool", "grep",
    "iproute2", "kmod", "mount", "nftables", "procps", "python3", "sed", "strace", "util-linux",
    "libbpf-dev", "libc6-dev", "libelf-dev", "libmnl-dev", "libnetfilter-conntrack-dev",
    "zlib1g-dev")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What the machines differ in."""

    name: str  # as uname has it, and the names of compilers and emulators
    debian: str
    qemu: tuple
    serial: tuple  # what prints the kernel's messages, as QEMU and as the kernel call it
    console: str
    bus: str
    processors: int  # more are no faster
    slow: int  # how much slower than this machine is it about?

    @property
    def triplet(self):
        return f"{self.name}-linux-gnu"

    @property
    def tree(self):
        return ROOT / "build" / self.name

    def root(self):
        """The unpacked user space, another one for another list of packages."""
        packages = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:8]
        directory = cache() / self.name / f"root-{packages}"
        with locked(directory.parent):
            if not directory.exists():
                partial = directory.with_name("root.partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                suite = Suite(SUITES[KERNEL], self.debian).open()
                for package in suite.fetch_with_dependencies(PACKAGES):
                    subprocess.run(["dpkg-deb", "--extract", str(package), str(partial)],
                                   check=True)
                    package.unlink()
                _finish(partial)
                partial.rename(directory)
        return directory

    def build(self, sources, limit):
        """bpfw and the packet tests among the sources, within so many seconds."""
        require("timeout", "make", "clang", "llvm-strip", "pkg-config", f"{self.triplet}-gcc",
                f"{self.triplet}-ar")
        sysroot = self.root()
        (self.tree / "build").mkdir(parents=True, exist_ok=True)
        for name in SOURCES:
            if (ROOT / name).exists() and not (self.tree / name).is_symlink():
                (self.tree / name).symlink_to(os.path.join("..", "..", name))
        targets = ["build/bpfw", "verifier-tests"]
        targets += [f"build/{source[:-2]}" for source in sources if source.endswith(".c")]
        done = subprocess.run(
            ["timeout", f"{limit:.0f}", "make", f"-j{os.cpu_count()}", "-C", str(self.tree),
             f"CC={self.triplet}-gcc --sysroot={sysroot}", f"AR={self.triplet}-ar",
             f"BPFTOOL={self.bpftool()}", *targets],
            env=self._make_environment(sysroot), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode == TIMED_OUT:
            raise Unavailable(f"the build for {self.name} was not finished after {limit:.0f} s")
        if done.returncode:
            raise BuildFailed(f"the build for {self.name}:\n{done.stdout}")

    def _make_environment(self, sysroot):
        libraries = (f"{sysroot}/usr/lib/{self.triplet}/pkgconfig:"
                     f"{sysroot}/usr/share/pkgconfig")
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("MAKE")}
        return {**inherited, "PKG_CONFIG_SYSROOT_DIR": str(sysroot),
                "PKG_CONFIG_LIBDIR": libraries}

    def bpftool(self):
        """The machine's own, by emulation: older ones refuse objects of the other byte order."""
        require(f"qemu-{self.name}")
        sysroot = self.root()
        self.tree.mkdir(parents=True, exist_ok=True)
        script = self.tree / f"bpftool-{self.name}"
        script.write_text(f"#!/bin/sh\nexec qemu-{self.name} -L {shlex.quote(str(sysroot))} "
                          f"{shlex.quote(str(sysroot / 'usr/sbin/bpftool'))} \"$@\"\n",
                          encoding="utf-8")
        script.chmod(0o755)
        return script

    def environment(self):
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
                "BPFW_TEST_SLOW": str(self.slow)}


def _finish(directory):
    """What the packages' scripts would have done."""
    shell = directory / "usr" / "bin" / "sh"
    if not shell.exists():
        shell.symlink_to("dash")
    for name in "run", "tmp", "proc", "sys", "dev":
        (directory / name).mkdir(exist_ok=True)


ARCHITECTURES = {one.name: one for one in (
    # The big-endian one. With the vector facility QEMU 7.2 computes wrong checksums.
    Architecture(
        "s390x", "s390x",
        ("qemu-system-s390x", "-machine", "s390-ccw-virtio", "-cpu", "max,vx=off", "-accel", "tcg"),
        serial=("-device", "sclpconsole,chardev=console"), console="ttyS0", bus="ccw",
        processors=1, slow=10),
    # Pointer authentication by the architecture's own algorithm is slow in software.
    Architecture(
        "aarch64", "arm64",
        ("qemu-system-aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on", "-accel",
         "tcg,thread=multi"),
        serial=("-serial", "chardev:console"), console="ttyAMA0", bus="pci", processors=2, slow=5),
)}


class ForeignMachine(Machine):
    """Has the repository, and in place of its build/ that of the architecture."""

    def __init__(self, architecture, smp=2, memory=2048):
        super().__init__(kernel(KERNEL, architecture.debian), min(smp, architecture.processors),
                         memory)
        self._architecture = architecture
        self._root = architecture.root()
        self.bus = architecture.bus
        self.serial = architecture.serial
        self.command_line = f"console={architecture.console} panic=-1"

    def qemu(self):
        return self._architecture.qemu

    def shares(self):
        build = self._architecture.tree / "build"
        build.mkdir(parents=True, exist_ok=True)
        return {"hostroot": self._root, "modules": self.kernel.modules, "repository": ROOT,
                "build": build}

    def busybox(self):
        return (self._root / "usr" / "bin" / "busybox").read_bytes()
