#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""make release: what it leaves, its checksums, that everything is of one version, and that a
package holds the binary beside it.

STATIC_SOURCES names a directory with sources that cannot be had otherwise (docs/building.md).
The release is made before the tests run, of each architecture that can be built here.
"""

import gzip
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "net")]

from netlab import Skip, equal, expect, main, test  # noqa: E402
from static_build import (ARCHES, BUILD_TIMEOUT, ROOT, Missing, binary, build_all,  # noqa: E402
                          built, check_copyright, copy_tree, emulated, make_environment, offline,
                          run, scratch, succeed)

DEBIAN = {"x86_64": "amd64", "aarch64": "arm64", "s390x": "s390x"}
SUMS = "SHA256SUMS"

release = {}  # "directory", and "done": how make has ended, if it was run


def release_here():
    """The architectures that are missing here are left out, and their tests skipped."""
    arches = [arch for arch in ARCHES if not isinstance(built[arch], Exception)]
    if not arches:
        return
    release["done"] = run("make", "-C", ROOT, "release", f"RELEASE_DIR={release['directory']}",
                          f"RELEASE_ARCHES={' '.join(arches)}",
                          f"STATIC_SOURCES={os.environ.get('STATIC_SOURCES', '')}",
                          timeout=BUILD_TIMEOUT, env=make_environment())


def released():
    """The directory, if there is a release."""
    if "done" not in release:
        binary(next((arch for arch in ARCHES if not isinstance(built[arch], Missing)), ARCHES[0]))
    done = release["done"]
    expect(not done.returncode, f"make release: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return release["directory"]


def arches():
    return [arch for arch in ARCHES if not isinstance(built[arch], Exception)]


def only(pattern):
    found = list(released().glob(pattern))
    equal(len(found), 1, f"files like {pattern}: {[path.name for path in found]}")
    return found[0]


def binary_of(arch):
    binary(arch)
    return only(f"bpfw-*-{arch}")


def package_of(arch):
    binary(arch)
    return only(f"bpfw_*_{DEBIAN[arch]}.deb")


def field(package, name):
    return succeed("dpkg-deb", "-f", package, name).strip()


# ---- What is in the directory ----


@test()
def a_binary_and_a_package_of_each_architecture(_context):
    wanted = {SUMS, "CHANGELOG.md"}
    wanted |= {path.name for arch in arches() for path in (binary_of(arch), package_of(arch))}
    equal({path.name for path in released().iterdir()}, wanted, "files")
    equal((released() / "CHANGELOG.md").read_bytes(), (ROOT / "CHANGELOG.md").read_bytes(),
          "changelog")


@test()
def every_file_has_its_checksum(_context):
    """As sha256sum -c reads them."""
    lines = (released() / SUMS).read_text(encoding="ascii").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    equal(len(listed), len(lines), "one line for each file")
    counted = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
               for path in released().iterdir() if path.name != SUMS}
    equal(listed, counted, "checksums")
    succeed("sha256sum", "--check", "--strict", SUMS, cwd=released())


# ---- Of one version ----


def described():
    """What the tree calls its version."""
    said = run("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "describe", "--tags", "--always",
               "--dirty").stdout.strip()
    return said or (ROOT / "VERSION").read_text(encoding="ascii").strip()


@test(*ARCHES)
def binary_tells_the_version_of_its_name(_context, arch):
    program = binary_of(arch)
    version = program.name.removeprefix("bpfw-").removesuffix(f"-{arch}")
    equal(version, described(), "version in the file's name")
    equal(succeed(*emulated(arch), program, "--version", env={}).strip(), f"bpfw {version}", arch)


@test(*ARCHES)
def package_is_of_the_same_version(_context, arch):
    package = package_of(arch)
    version = field(package, "Version")
    equal(package.name, f"bpfw_{version}_{DEBIAN[arch]}.deb", "name of the file")
    equal({field(package_of(other), "Version") for other in arches()}, {version}, "versions")
    number, _, commit = version.partition("~git")
    equal(number, (ROOT / "VERSION").read_text(encoding="ascii").strip(), "number of the version")
    expect(commit.rpartition(".")[2] in described(),
           f"{version} names another commit than {described()}")


# ---- What is in a package ----


@test(*ARCHES)
def package_holds_that_binary(context, arch):
    package = package_of(arch)
    root = scratch(context) / "root"
    succeed("dpkg-deb", "-x", package, root)
    equal((root / "usr/sbin/bpfw").read_bytes() == binary_of(arch).read_bytes(), True,
          "the package's program and the one beside it are the same")
    equal(field(package, "Architecture"), DEBIAN[arch], "architecture")
    equal(field(package, "Depends"), "", "a static program depends on")
    changes = gzip.decompress((root / "usr/share/doc/bpfw/changelog.gz").read_bytes())
    equal(changes, (ROOT / "CHANGELOG.md").read_bytes(), "changelog")
    check_copyright(root / "usr/share/doc/bpfw/copyright")


# ---- Without sources ----


@test()
def without_sources_there_is_none(context):
    """In a copy of the tree, which has fetched none, and without a network."""
    if (ROOT / "libbpf" / "src").exists():
        raise Skip("the submodules are checked out, and take long to build")
    directory = scratch(context)
    copy_tree(directory / "tree", "9.9.9")
    done = run("make", "-C", directory / "tree", "release", "STATIC_SOURCES=",
               env={**make_environment(), "PATH": offline(directory)["PATH"]})
    equal(done.returncode, 2, done.stdout + done.stderr)
    for source in "elfutils", "zlib", "libmnl", "libnfnetlink", "libnetfilter_conntrack":
        expect(f"no source of {source} " in done.stderr, f"{source} is not named:\n{done.stderr}")
    equal(list((directory / "tree" / "build" / "release").iterdir()), [], "what it leaves")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix=f"bpfw-release-{os.getpid()}-") as scratch_directory:
        if not {"--list", "-h", "--help"}.intersection(sys.argv) and not os.geteuid():
            release["directory"] = pathlib.Path(scratch_directory)
            build_all()
            release_here()
        main()
