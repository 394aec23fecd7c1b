#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The directory of pinned maps: whose it is, what is left of others, what is not followed."""

import os

from netlab import equal, expect, main, test
from netlab.lab import run

DEAD = 4194304  # no process has so high a number: PID_MAX_LIMIT

# A bpffs of the test's own, with what is found there at the start; "$@" is the daemon.
PREPARE = f"""
mount -t bpf -o mode=777 bpffs /sys/fs/bpf && cd /sys/fs/bpf || exit 1
mkdir bpfw-{DEAD} &&
bpftool map create bpfw-{DEAD}/of_another_version type array key 4 value 4 entries 1 name old &&
mkdir elsewhere &&
bpftool map create elsewhere/flows type array key 4 value 4 entries 1 name other &&
ln -s elsewhere bpfw-{DEAD - 1} &&
mkdir bpfw-{DEAD - 2} &&
bpftool map create bpfw-{DEAD - 2}/flows type array key 4 value 4 entries 1 name foreign &&
chown 65534 bpfw-{DEAD - 2} || exit 1
cd / && exec "$@"
"""


def start(context, lab):
    return context.running(lab, "tc", launcher=[
        "nsenter", f"--net={lab.router.path}", "unshare", "--mount", "sh", "-c",
        PREPARE, "bpfw-with-bpffs"])


def inside(bpfw, *words):
    return run(["nsenter", "-t", str(bpfw.process.pid), "--mount", *words]).stdout


def names(bpfw):
    """Without those that the kernel makes."""
    return {name for name in inside(bpfw, "ls", "/sys/fs/bpf").split() if "." not in name}


@test()
def leftovers(context):
    """What a dead bpfw of whatever version left goes; a link and other people's things stay."""
    lab = context.lab("tc")
    bpfw = start(context, lab)
    own = f"bpfw-{bpfw.process.pid}"
    equal(names(bpfw), {own, "elsewhere", f"bpfw-{DEAD - 1}", f"bpfw-{DEAD - 2}"}, "names")
    equal(inside(bpfw, "ls", "/sys/fs/bpf/elsewhere").split(), ["flows"], "behind the link")
    equal(inside(bpfw, "ls", f"/sys/fs/bpf/bpfw-{DEAD - 2}").split(), ["flows"], "others' pins")


@test()
def own_pins(context):
    lab = context.lab("tc")
    bpfw = start(context, lab)
    own = f"/sys/fs/bpf/bpfw-{bpfw.process.pid}"
    equal(inside(bpfw, "stat", "-c", "%a %u", own).strip(), f"700 {os.geteuid()}", "directory")
    modes = set(inside(bpfw, "sh", "-c", f"stat -c '%a %u' {own}/*").splitlines())
    equal(modes, {f"600 {os.geteuid()}"}, "maps")
    equal(set(inside(bpfw, "ls", own).split()),
          {"flows", "exits", "counters", "plan"}, "maps")
    keeper = context.keep(Keeper(bpfw))
    bpfw.stop()
    expect(os.path.basename(own) not in keeper.names(), f"left behind: {keeper.names()}")


class Keeper:
    """Holds the daemon's mount namespace, to look into it when the daemon has ended."""

    def __init__(self, bpfw):
        self._fd = os.open(f"/proc/{bpfw.process.pid}/ns/mnt", os.O_RDONLY)

    def names(self):
        done = run(["nsenter", f"--mount=/proc/{os.getpid()}/fd/{self._fd}",
                    "ls", "/sys/fs/bpf"])
        return done.stdout.split()

    def close(self):
        os.close(self._fd)


if __name__ == "__main__":
    main()
