# SPDX-License-Identifier: GPL-2.0-only
"""What the tests of static binaries share: each architecture's is built once, if it can be."""

import fcntl
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, expect  # noqa: E402

ROOT = pathlib.Path(HERE).parent.parent
STATIC = ROOT / "build" / "static"
FETCH = ROOT / "scripts" / "fetch-sources"
HERE_ARCH = platform.machine()
ORDER = {"x86_64": "<", "aarch64": "<", "s390x": ">"}
ARCHES = tuple(ORDER)
BUILD_TIMEOUT = 280
RUN_TIMEOUT = 110

SOURCE_FILES = ("Makefile", "VERSION", "LICENSE", "CHANGELOG.md", "bpf", "libbpf", "bpftool", "docs",
                "mk", "packaging", "scripts", "src", "vmlinux", "tests/packaging")

NO_BPFTOOL = " makes no object for bpf"  # scripts/foreign-bpftool

built = {}  # architecture: the binary, or why there is none


class Missing(Exception):
    """Something that this machine lacks."""


def linked_libraries():
    """What a static binary is linked to: what is fetched for it, and the C library."""
    pinned = re.search(r"^PINNED='\n(.*?)^'", FETCH.read_text(encoding="ascii"), re.M | re.S)
    return [line.split()[0] for line in pinned[1].splitlines()] + ["musl"]


LICENSES = ("GPL-2.0-only", "GPL-2.0-or-later", "LGPL-2.1", "MIT", "Zlib")
COMMON_LICENSE = re.compile(r"/usr/share/common-licenses/(\S+)")


def check_copyright(path):
    """A package's: every library that is in its program with its license, and that one's text."""
    text = pathlib.Path(path).read_text(encoding="ascii")
    for name in linked_libraries():
        paragraph = re.search(rf"^{name}\b.*\n((?:    .*\n)+)", text, re.M)
        expect(paragraph, f"{path} names no {name}:\n{text}")
        expect("Copyright " in paragraph[1], f"{name}: no copyright: {paragraph[1]}")
        said = paragraph[1].splitlines()[-1].strip()
        expect(any(one in said for one in LICENSES), f"{name}: no license: {said}")
        there = COMMON_LICENSE.search(said)
        own = re.search(rf"^{said.split(',')[0]}\n\n(?:(?:  .*)?\n)+", text, re.M)
        expect(there and there[1] in ("GPL-2", "LGPL-2.1") or own and len(own[0]) > 500,
               f"{name}: the text of {said!r} is not there")


def run(*command, timeout=RUN_TIMEOUT, **how):
    return subprocess.run([str(word) for word in command], text=True, capture_output=True,
                          timeout=timeout, check=False, stdin=subprocess.DEVNULL, **how)


def succeed(*command, **how):
    done = run(*command, **how)
    expect(not done.returncode, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_environment():
    """A make that a test starts is its own, and builds what is released."""
    unwanted = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CFLAGS", "LDFLAGS", "ARCH")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def fetch_sources():
    done = run(FETCH, "--sources", os.environ.get("STATIC_SOURCES", ""), STATIC / "src",
               timeout=BUILD_TIMEOUT)
    if done.returncode:
        named = re.findall(r"no source of (\S+ [^:]+):", done.stderr)
        expect(named, f"{FETCH.name} fails and names nothing: {done.stderr}")
        raise Missing(f"no source of {', '.join(named)} (docs/building.md, STATIC_SOURCES)")


def sysroot(arch):
    compiler = "gcc" if arch == HERE_ARCH else f"{arch}-linux-gnu-gcc"
    if not shutil.which(compiler):
        raise Missing(f"no {compiler}")
    done = run(ROOT / "scripts" / "musl-sysroot", arch, STATIC / arch / "sysroot")
    if done.returncode:
        raise Missing(done.stderr.strip().splitlines()[-1])


def make(arch, directory, sources):
    done = run("make", "-j2", "-C", directory, "static", f"ARCH={arch}",
               f"STATIC_SOURCES={sources}", timeout=BUILD_TIMEOUT, env=make_environment())
    said = done.stdout + done.stderr
    if done.returncode and NO_BPFTOOL in said:
        raise Missing(next(line for line in said.splitlines() if NO_BPFTOOL in line))
    expect(not done.returncode, f"make static ARCH={arch}: exit {done.returncode}\n{said}")
    return pathlib.Path(directory, "build", "static", arch, "bpfw")


def build(arch):
    """What keeps it from being built here is no failure; a build that fails is one."""
    try:
        sysroot(arch)
        return make(arch, ROOT, os.environ.get("STATIC_SOURCES", ""))
    except (Missing, AssertionError, subprocess.TimeoutExpired) as error:
        return error


def build_all():
    """Every architecture, into `built`. Other test files wait."""
    STATIC.mkdir(parents=True, exist_ok=True)
    with open(STATIC / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            fetch_sources()
        except Missing as error:
            built.update((arch, error) for arch in ARCHES)
            return
        built.update((arch, build(arch)) for arch in (HERE_ARCH, *ARCHES) if arch not in built)


def binary(arch):
    """What build_all() has left; without it the test is skipped, or fails as the build did."""
    result = built[arch]
    if isinstance(result, Missing):
        raise Skip(str(result))
    if isinstance(result, Exception):
        raise result
    return result


class Scratch:
    """A directory that goes with the test."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=f"bpfw-static-{os.getpid()}-"))

    def close(self):
        shutil.rmtree(self.path)


def scratch(context):
    return context.keep(Scratch()).path


def offline(directory):
    """Programs that would use the network fail, as they do without one."""
    tools = directory / "tools"
    tools.mkdir()
    for name in "apt-get", "curl", "wget":
        (tools / name).write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
        (tools / name).chmod(0o755)
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}


def copy_tree(copy, version):
    """The tree without its history, which names the version otherwise."""
    for name in SOURCE_FILES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True)
        elif (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / "VERSION").write_text(version + "\n", encoding="ascii")


def copy_packages(copy, arch):
    """What was unpacked to build for that architecture: only the links and the files that are made
    of it name directories, and are made anew."""
    for part in "sysroot/root", "bpftool/root":
        if (STATIC / arch / part).is_dir():
            shutil.copytree(STATIC / arch / part, copy / "build/static" / arch / part,
                            symlinks=True)


def emulated(arch):
    """What a program of that architecture is started by."""
    if arch == HERE_ARCH:
        return []
    program = shutil.which(f"qemu-{arch}") or shutil.which(f"qemu-{arch}-static")
    if not program:
        raise Skip(f"no qemu-{arch}")
    return [program]
