#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""make static: what the binary is made of, its form and size, and that it works alone in a root.

STATIC_SOURCES names a directory with sources that cannot be had otherwise (docs/building.md).
Each architecture for which there is a compiler is built, before the tests run.
"""

import os
import shutil
import stat
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, equal, expect, main, test  # noqa: E402
from static_build import (ARCHES, BUILD_TIMEOUT, FETCH, HERE_ARCH, ORDER, ROOT,  # noqa: E402
                          STATIC, binary, build_all, copy_packages, copy_tree, emulated, make,
                          offline, run, scratch, succeed)
from static_root import CONTENTS, EmptyRoot, mount_bpffs  # noqa: E402

FOREIGN_BPFTOOL = ROOT / "scripts" / "foreign-bpftool"
SIZE_LIMIT = 900 * 1024  # as flash is counted
MACHINE = {"x86_64": 62, "aarch64": 183, "s390x": 22}

ET_DYN, EM_BPF = 3, 247
ZLIB_BEST = b"\x78\xda"  # what a stream of the best compression begins with (RFC 1950)
PT_DYNAMIC, PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 2, 3, 0x6474e551, 0x6474e552
PF_X = 1
SHT_SYMTAB = 2
STT_NOTYPE, STT_FUNC = 0, 2
STB_LOCAL, STB_GLOBAL = 0, 1
DT_NEEDED, DT_FLAGS_1 = 1, 0x6ffffffb
DF_1_PIE = 0x08000000

# ---- Where the sources come from ----


def fetch(directory, *names):
    return run(FETCH, "--sources", directory / "given", directory / "out", *names,
               env=offline(directory))


@test()
def an_archive_with_another_sum_is_refused(context):
    directory = scratch(context)
    (directory / "given").mkdir()
    archive = directory / "given" / "libmnl-1.0.5.tar.bz2"
    succeed("tar", "-C", HERE, "-cjf", archive, os.path.basename(__file__))
    done = fetch(directory, "libmnl")
    equal(done.returncode, 1, done.stderr)
    expect(f"{archive} is not libmnl 1.0.5: its SHA-256 sum is another" in done.stderr, done.stderr)
    expect("no source of libmnl 1.0.5" in done.stderr, done.stderr)
    expect(not (directory / "out" / "libmnl").exists(), "it has been unpacked all the same")


@test()
def a_directory_given_is_used_and_the_missing_ones_are_named(context):
    directory = scratch(context)
    (directory / "given" / "libmnl").mkdir(parents=True)
    done = fetch(directory, "libmnl", "libnfnetlink", "zlib")
    equal(done.returncode, 1, done.stderr)
    equal(os.readlink(directory / "out" / "libmnl"), str(directory / "given" / "libmnl"), "link")
    missing = [line.split()[4] for line in done.stderr.splitlines() if ": no source of " in line]
    equal(missing, ["libnfnetlink", "zlib"], done.stderr)
    leftover = [path.name for path in (directory / "out").iterdir() if path.name != "libmnl"]
    equal(leftover, [], "left behind")


# ---- Who links the BPF object ----


@test()
def a_bpftool_that_links_the_object_is_used(context):
    directory = scratch(context)
    target = {"little": "bpfel", "big": "bpfeb"}[sys.byteorder]
    installed = bpftool_here()
    succeed(FOREIGN_BPFTOOL, target, directory, installed, env=offline(directory))
    equal(os.readlink(directory / "bpftool"), os.path.realpath(installed), "link")
    equal(sorted(os.listdir(directory)), ["bpftool", "tools"], "left behind")


def bpftool_here():
    built_here = ROOT / "build" / "bpftool" / "bootstrap" / "bpftool"
    found = built_here if built_here.exists() else shutil.which(
        "bpftool", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not found:
        raise Skip("no bpftool")
    return found


@test("bpfel", "bpfeb")
def one_that_does_not_and_no_package_are_named(context, target):
    directory = scratch(context)
    done = run(FOREIGN_BPFTOOL, target, directory / "out", "false", env=offline(directory))
    equal(done.returncode, 1, done.stderr)
    expect(f"false makes no object for {target}" in done.stderr, done.stderr)
    expect("Debian's for " in done.stderr, done.stderr)
    equal(os.listdir(directory / "out"), [], "left behind")


# ---- Form and size ----


class Elf:
    """The parts of a 64-bit ELF file that tell how it is linked."""

    def __init__(self, image, order):
        self._image, self._order = image, order
        (self.type, self.machine, _, _, program, section, _, _, size, count, section_size,
         section_count, _) = self._unpack("HHIQQQIHHHHHH", 16)
        self.segments = [self._unpack("IIQQQQQQ", program + size * i) for i in range(count)]
        self.sections = [self._unpack("IIQQQQIIQQ", section + section_size * i)
                         for i in range(section_count)]

    def _unpack(self, layout, offset):
        return struct.unpack_from(self._order + layout, self._image, offset)

    def segment_types(self):
        return [segment[0] for segment in self.segments]

    def dynamic(self):
        _, _, offset, _, _, size, _, _ = next(
            segment for segment in self.segments if segment[0] == PT_DYNAMIC)
        return [self._unpack("qQ", offset + i) for i in range(0, size, 16)]


    def symbols(self):
        """Type, binding, section of each but the first, which stands for none."""
        for _, kind, _, _, offset, size, _, _, _, each in self.sections:
            for at in range(offset + each, offset + size, each) if kind == SHT_SYMTAB else ():
                _, info, _, section = self._unpack("IBBH", at)
                yield info & 15, info >> 4, section


def built_bpf(arch):
    """The BPF objects that the binary was made with, by name."""
    return {path.name: path.read_bytes()
            for path in (STATIC / arch / "tree" / "build" / "bpf").glob("*.bpf.o")}


def packed_bpf(image):
    """What is packed in the binary (scripts/pack.h), each inflated, its code in columns."""
    at = image.find(ZLIB_BEST)
    while at >= 0:
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(image[at:])
        except zlib.error:
            content = b""
        if stream.eof and content.startswith(b"\x7fELF"):
            yield content
        at = image.find(ZLIB_BEST, at + 1)


def bpf_order(image):
    """The byte order of a BPF object; of its first bytes, which are as they were."""
    order = {1: "<", 2: ">"}[image[5]]
    equal(struct.unpack_from(order + "H", image, 18)[0], EM_BPF, "machine")
    return order


@test(*ARCHES)
def static_stripped_and_position_independent(_context, arch):
    path = binary(arch)
    image = path.read_bytes()
    equal(image[:6], b"\x7fELF\x02" + bytes([1 if ORDER[arch] == "<" else 2]), "class, byte order")
    elf = Elf(image, ORDER[arch])
    equal((elf.type, elf.machine), (ET_DYN, MACHINE[arch]), "type, machine")
    expect(PT_INTERP not in elf.segment_types(), "it asks for a dynamic linker")
    dynamic = elf.dynamic()
    expect(not [tag for tag, _ in dynamic if tag == DT_NEEDED], f"it needs a library: {dynamic}")
    expect(dict(dynamic).get(DT_FLAGS_1, 0) & DF_1_PIE, f"not marked as an executable: {dynamic}")
    expect(SHT_SYMTAB not in [section[1] for section in elf.sections], "it has symbols")
    expect(PT_GNU_RELRO in elf.segment_types(), "relocated data stays writable")
    stack = [segment[1] for segment in elf.segments if segment[0] == PT_GNU_STACK]
    expect(stack and not stack[0] & PF_X, "its stack is executable")
    expect(path.stat().st_mode & stat.S_IXUSR, "not executable")


@test(*ARCHES)
def holds_the_bpf_objects_in_its_byte_order(_context, arch):
    """Packing moves bytes, and neither adds nor loses any."""
    inside = [(bytes(sorted(content)), bpf_order(content))
              for content in packed_bpf(binary(arch).read_bytes())]
    wanted = [(bytes(sorted(image)), ORDER[arch]) for image in built_bpf(arch).values()]
    expect(wanted, f"no BPF object has been built for {arch}")
    sizes = [[(len(content), order) for content, order in some] for some in (inside, wanted)]
    equal(sorted(inside) == sorted(wanted), True, f"{sizes[0]} inside are {sizes[1]}")


@test(*ARCHES)
def the_bpf_objects_name_functions_and_no_labels(_context, arch):
    """clang before version 19 names every basic block. By functions libbpf finds subprograms."""
    binary(arch)
    functions = set()
    for name, image in built_bpf(arch).items():
        symbols = list(Elf(image, ORDER[arch]).symbols())
        labels = [one for one in symbols if one[:2] == (STT_NOTYPE, STB_LOCAL)]
        equal(labels, [], f"labels in {name}")
        functions |= {binding for kind, binding, _ in symbols if kind == STT_FUNC}
    equal(functions, {STB_LOCAL, STB_GLOBAL}, "symbols of functions: programs, and what they call")


@test(*ARCHES)
def is_small_enough(_context, arch):
    size = binary(arch).stat().st_size
    print(f"# {arch}: {size} bytes")
    expect(size <= SIZE_LIMIT, f"{size} bytes, {SIZE_LIMIT} at most (docs/building.md)")


@test(*ARCHES)
def names_no_path_of_this_machine(_context, arch):
    image = binary(arch).read_bytes()
    for path in str(ROOT), os.environ.get("STATIC_SOURCES") or str(ROOT):
        expect(os.fsencode(path) not in image, f"{path} is in the binary")


# This machine's, and of the others one whose byte order is another: all that a cross build adds
REPRODUCED = (HERE_ARCH, next(arch for arch in ARCHES if ORDER[arch] != ORDER[HERE_ARCH]))


@test(*REPRODUCED)
def another_directory_gives_the_same_bytes(context, arch):
    """From another copy of the tree, with the same sources in another place."""
    here = binary(arch)
    copy = scratch(context) / "another" / "tree"
    copy_tree(copy, succeed(*emulated(arch), here, "--version", env={}).split()[1])
    copy_packages(copy, arch)
    there = make(arch, copy, STATIC / "src")
    equal(there.read_bytes() == here.read_bytes(), True, f"{here} and {there} are the same")


# ---- At work ----


@test(*ARCHES)
def tells_its_version_and_usage(_context, arch):
    path = binary(arch)
    command = [*emulated(arch), path]
    version = succeed(*command, "--version", env={}).split()
    equal(version[0], "bpfw", "what it calls itself")
    expect(os.fsencode(version[1]) in path.read_bytes(), f"version {version}")
    usage = succeed(*command, "--help", env={})
    for word in "--iface", "--hook", "flows", "stats":
        expect(word in usage, f"{word} is not in --help:\n{usage}")
    wrong = run(*command, "--no-such-option", env={})
    equal((wrong.returncode, wrong.stdout), (2, ""), wrong.stderr)


@test("tc", "xdp")
def works_alone_in_an_empty_root(context, hook):
    """The network tests' flows with NAT, each direction, both families, TCP and UDP."""
    program = binary(HERE_ARCH)
    mount_bpffs()
    root = EmptyRoot(scratch(context), program)
    equal(root.files, CONTENTS, "what is in the root")
    name = f"offload masquerade {hook}"
    done = run(sys.executable, ROOT / "tests" / "net" / "offload_test.py", "-k", name, "-j", "1",
               env={**os.environ, "BPFW": str(root.command)})
    said = done.stdout + done.stderr
    equal(done.returncode, 0, said)
    results = [line for line in done.stdout.splitlines() if line.startswith(("ok", "not ok"))]
    expect(results and all(line.startswith("ok") for line in results), said)
    expect(f"{name} #" in done.stdout and "SKIP" not in done.stdout, said)


if __name__ == "__main__":
    if not {"--list", "-h", "--help"}.intersection(sys.argv) and not os.geteuid():
        build_all()
    main(limit=BUILD_TIMEOUT)
