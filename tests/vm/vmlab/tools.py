# SPDX-License-Identifier: GPL-2.0-only
"""A program of another Debian suite than the host's, with the libraries it needs.

    CACHE/xdp-tools-VERSION/    unpacked packages
"""

import hashlib
import shutil
import subprocess

from . import Unavailable
from .packages import Suite, cache, locked, require

SUITE = "trixie"
VERSION = "1.5.4-1"
# What is measured, as it was when it was first measured. The libraries under it (of C, libbpf,
# libelf, libpcap) are the suite's of the day; apt has checked their signatures.
PINNED = {
    "xdp-tools": "92ea2053075ca300adc68c1c1a8e11cda8ab7d58b43241b7a40b0c8d7e0ceab3",
    "libxdp1": "f76c5565a96a486e7de5c187427bb4849f5a96b58e6e881aa662b22cadaefc5d",
}


def xdp_tools():
    """The directory where Debian's xdp-tools are unpacked, or Unavailable."""
    directory = cache() / f"xdp-tools-{VERSION}"
    with locked(cache()):
        if not directory.exists():
            _fetch(directory)
    return directory


def _fetch(directory):
    require("dpkg-deb")
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    suite = Suite(SUITE, "amd64").open()
    packages = suite.fetch_with_dependencies([f"{name}={VERSION}" for name in PINNED])
    for name, wanted in PINNED.items():
        _check(name, wanted, packages)
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", str(package), str(partial)], check=True)
        package.unlink()
    partial.rename(directory)


def _check(name, wanted, packages):
    for package in packages:
        if package.name.startswith(f"{name}_{VERSION}_"):
            if hashlib.sha256(package.read_bytes()).hexdigest() == wanted:
                return
            raise Unavailable(f"{package.name} is another file than the one written down: its "
                              "SHA-256 sum differs")
    raise Unavailable(f"{SUITE} has no {name} {VERSION}")


def xdp_forward(directory):
    """The command, run by the C library it was built for, and not the host's."""
    return [str(directory / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path",
            str(directory / "usr/lib/x86_64-linux-gnu"), str(directory / "usr/sbin/xdp-forward")]
