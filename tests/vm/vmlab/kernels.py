# SPDX-License-Identifier: GPL-2.0-only
"""Debian's kernel packages: image and modules, unpacked in the cache.

    CACHE/kernel/6.12-amd64/vmlinuz
    CACHE/kernel/6.12-amd64/modules/           what is at /lib/modules/RELEASE in the machine
    CACHE/kernel/6.12-amd64/release
"""

import lzma
import pathlib
import re
import shutil
import subprocess
import tarfile

from . import Unavailable
from .packages import Suite, cache, locked, require

SUITES = {
    "5.10": "bullseye",
    "6.1": "bookworm",
    "6.12": "trixie",
    "6.18": "trixie-backports",
    "7.2": "trixie-backports",
}

# Half of the modules by size, and none of them is for a network in a virtual machine
LEFT_OUT = re.compile(
    r"kernel/(sound|drivers/(ata|bluetooth|gpu|hid|hwmon|iio|infiniband|input|isdn|md|media|mmc|mtd"
    r"|nvme|power|scsi|staging|thunderbolt|usb|video|net/(wireless|can|usb))"
    r"|fs/(btrfs|ceph|cifs|gfs2|jfs|nfs|nfsd|ocfs2|smb|ubifs|udf|xfs))/")


class Kernel:
    """One unpacked kernel."""

    def __init__(self, directory):
        self.vmlinuz = directory / "vmlinuz"
        self.modules = directory / "modules"
        self.release = (directory / "release").read_text(encoding="ascii").strip()

    def module_files(self, *names):
        """These modules and what they need, in the order of loading. What is built in or does
        not exist is left out."""
        needs = {}
        for line in (self.modules / "modules.dep").read_text(encoding="ascii").splitlines():
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
        by_name = {_module_name(path): path for path in needs}
        files = []
        for name in names:
            path = by_name.get(name)
            for each in [*reversed(needs[path]), path] if path else []:
                if each not in files:
                    files.append(each)
        return [self.modules / path for path in files]


def _module_name(path):
    return pathlib.Path(path).name.partition(".")[0].replace("-", "_")


def module_image(path):
    """A module as insmod of busybox takes it: not compressed."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        require("zstd")
        return subprocess.run(["zstd", "-qdc", str(path)], check=True, capture_output=True).stdout
    return path.read_bytes()


def kernel(version, architecture="amd64"):
    """The newest kernel of that series in its suite at the time of the first use."""
    if version not in SUITES:
        raise Unavailable(f"no such kernel: {version} (there are {', '.join(SUITES)})")
    directory = cache() / "kernel" / f"{version}-{architecture}"
    with locked(directory.parent):
        if not (directory / "release").exists():
            _fetch(version, architecture, directory)
    return Kernel(directory)


def _fetch(version, architecture, directory):
    require("depmod", "dpkg-deb")
    suite = Suite(SUITES[version], architecture).open()
    packages = [_newest_image(suite, version, architecture)]
    # From 7.0 on the image's package is empty and depends on those that hold something. Before
    # that it may name one that a mirror of today no longer has, and that is not needed.
    there = set(suite.names("linux-"))
    packages += [name for name in suite.depends(packages[0])
                 if name in there and re.match(r"linux-(base|binary|modules)-\d", name)]
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for package in suite.fetch(packages):
        _unpack(package, partial / "root")
        package.unlink()
    _arrange(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def _newest_image(suite, version, architecture):
    # Not the cloud and rt flavours, which have a word more
    pattern = re.compile(rf"linux-image-{re.escape(version)}\.[^-]*(-\d+)?-{architecture}")
    found = [name for name in suite.names(f"linux-image-{version}.") if pattern.fullmatch(name)]
    if not found:
        raise Unavailable(f"no linux-image-{version}.* in {suite}")
    listed = subprocess.run(["sort", "-V"], input="\n".join(found), text=True, check=True,
                            capture_output=True).stdout.split()
    return listed[-1]


def _unpack(package, root):
    root.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)],
                          stdout=subprocess.PIPE) as unpacker:
        with tarfile.open(fileobj=unpacker.stdout, mode="r|") as archive:
            for member in archive:
                if re.search(r"/(vmlinuz\b|modules/)", member.name) and not LEFT_OUT.search(
                        member.name) and member.isfile():
                    archive.extract(member, root, set_attrs=False)
    if unpacker.returncode:
        raise Unavailable(f"dpkg-deb cannot unpack {package.name}")


def _arrange(directory):
    """vmlinuz and modules/ out of what the packages had."""
    root = directory / "root"
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")
    modules = next((root / "lib" / "modules").iterdir())
    subprocess.run(["depmod", "-b", str(root), modules.name], check=True)
    image = next(iter([*root.glob("boot/vmlinuz-*"), *modules.glob("vmlinuz")]), None)
    if not image:
        raise Unavailable(f"no vmlinuz in the packages of {modules.name}")
    image.rename(directory / "vmlinuz")
    modules.rename(directory / "modules")
    shutil.rmtree(root)
    (directory / "release").write_text(modules.name + "\n", encoding="ascii")
