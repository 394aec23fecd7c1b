#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run a test with bpfw alone in a root: a directory with nothing but it, /proc and /sys.

    tests/packaging/static_root.py PROGRAM COMMAND...

COMMAND finds in $BPFW a command that runs PROGRAM there. What is in the root is printed first.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CONTENTS = ["bpfw", "proc", "sys"]


class EmptyRoot:
    """A directory with nothing but bpfw, /proc and /sys, and a command that runs bpfw in it.

    The mounts are in a namespace of the command's process and go with it.
    """

    def __init__(self, directory, program):
        root = directory / "root"
        for name in "proc", "sys":
            (root / name).mkdir(parents=True)
        shutil.copy2(program, root / "bpfw")
        self.command = directory / "bpfw"
        self.command.write_text(
            "#!/bin/sh\n"
            "exec unshare --mount sh -c '\n"
            f"mount --rbind /proc {root}/proc && mount --rbind /sys {root}/sys &&\n"
            f"exec chroot {root} /bpfw \"$@\"' sh \"$@\"\n", encoding="utf-8")
        self.command.chmod(0o755)
        self.files = sorted(str(path.relative_to(root)) for path in root.iterdir())


def mount_bpffs():
    """As in a root that an init has made ready: bpfw and its queries have to see the same one."""
    if not os.path.ismount("/sys/fs/bpf"):
        subprocess.run(["mount", "-t", "bpf", "bpffs", "/sys/fs/bpf"], check=True)


def main():
    program, *command = sys.argv[1:]
    mount_bpffs()
    with tempfile.TemporaryDirectory(prefix=f"bpfw-root-{os.getpid()}-") as directory:
        root = EmptyRoot(pathlib.Path(directory), program)
        print(f"# in the root: {' '.join(root.files)}", flush=True)
        return subprocess.run(command, check=False,
                              env={**os.environ, "BPFW": str(root.command)}).returncode


if __name__ == "__main__":
    sys.exit(main())
