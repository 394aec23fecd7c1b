#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""OpenWrt's package Makefile, run by stand-ins of OpenWrt's makefiles (openwrt/mk) with the tools
of this machine: what it needs, what it builds, what it installs, and in which byte order."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, equal, expect, main, test  # noqa: E402

ROOT = pathlib.Path(HERE).parent.parent
PACKAGE = ROOT / "packaging" / "openwrt"
INSTALLED = {"usr/sbin/bpfw": 0o755, "etc/init.d/bpfw": 0o755, "etc/config/bpfw": 0o600,
             "etc/capabilities/bpfw.json": 0o644}
NEEDED = ("+libbpf", "+libnetfilter-conntrack", "+kmod-sched-core", "+kmod-sched-bpf",
          "+kmod-nf-conntrack-netlink", "+procd-ujail", "@HAS_BPF_TOOLCHAIN")
BIG_ENDIAN = "s390x-linux-gnu-gcc"
TIMEOUT = 600


class Tree:
    """OpenWrt's tree as far as the package looks into it."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="bpfw-openwrt-tree-"))
        makefiles = pathlib.Path(HERE) / "openwrt" / "mk"
        (self.path / "include").symlink_to(makefiles)
        (self.path / "rules.mk").symlink_to(makefiles / "rules.mk")
        (self.path / "host/usr/sbin").mkdir(parents=True)
        (self.path / "host/usr/sbin/bpftool").symlink_to(bpftool())

    def make(self, goal, **variables):
        words = [f"{name}={value}" for name, value in variables.items()]
        done = subprocess.run(["make", "--no-print-directory", "-s", "-C", PACKAGE,
                               f"TOPDIR={self.path}", goal, *words], text=True,
                              capture_output=True, timeout=TIMEOUT, check=False)
        expect(not done.returncode, f"make {goal}: exit {done.returncode}\n{done.stdout}"
                                    f"{done.stderr}")
        return done.stdout

    def built(self):
        return next((self.path / "build_dir").iterdir())

    def close(self):
        shutil.rmtree(self.path)


def bpftool():
    found = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        raise Skip("bpftool is not installed")
    return found


def tree(context, *tools):
    for tool in ("make", *tools):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")
    return context.keep(Tree())


@test()
def says_what_it_is(context):
    fields = dict(line.split(": ", 1) for line in tree(context).make("info").splitlines())
    version = (ROOT / "VERSION").read_text(encoding="ascii").strip()
    equal((fields["Package"], fields["Version"], fields["License"], fields["Conffiles"]),
          ("bpfw", f"{version}-r1", "GPL-2.0-only", "/etc/config/bpfw"), "fields")
    missing = [name for name in NEEDED if name not in fields["Depends"].split()]
    equal(missing, [], f"missing dependencies in {fields['Depends']}")


@test()
def builds_and_installs(context):
    made = tree(context, "gcc", "clang", "pkg-config")
    made.make("install")
    root = made.path / "root"
    seen = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode)
            for path in root.rglob("*") if path.is_file()}
    equal(seen, INSTALLED, "files and modes")
    said = subprocess.run([root / "usr/sbin/bpfw", "--version"], text=True, capture_output=True,
                          timeout=TIMEOUT, check=False).stdout
    expect(said.startswith("bpfw "), f"--version says {said!r}")


@test(("little", "gcc", 1), ("big", BIG_ENDIAN, 2))
def object_has_the_byte_order_of_the_target(context, _, compiler, wanted):
    made = tree(context, compiler, "clang")
    made.make("bpf-object", TARGET_CC=compiler)
    header = (made.built() / "build/bpf/bpfw.clang.o").read_bytes()[:6]
    equal((header[:4], header[5]), (b"\x7fELF", wanted), "magic and byte order of the ELF file")


if __name__ == "__main__":
    main(limit=TIMEOUT)
