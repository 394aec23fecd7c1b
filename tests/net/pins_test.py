#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The directory of pinned maps: whose it is, what is left of others, what is not followed; and the
name by which an instance of another layout is recognized."""

import json
import os
import re
import sys

from netlab import TcpFlow, binary, equal, expect, main, test
from netlab.bpfw import ROOT, environment
from netlab.lab import run

PINS = {"flows", "exits", "counters", "plan"}
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


# What may be found under the name that the daemon is to use: the shell becomes the daemon.
MOUNT = "mount -t bpf -o mode=777 bpffs /sys/fs/bpf && cd /sys/fs/bpf || exit 1\n"
TAKEN = {
    "leftover": """
mkdir bpfw-$$ &&
bpftool map create bpfw-$$/flows type array key 4 value 8 entries 1 name old &&
bpftool map create bpfw-$$/of_another_version type array key 4 value 4 entries 1 name old""",
    "link": """
mkdir elsewhere &&
bpftool map create elsewhere/flows type array key 4 value 4 entries 1 name other &&
ln -s elsewhere bpfw-$$""",
    "somebody else's": """
mkdir bpfw-$$ &&
bpftool map create bpfw-$$/flows type array key 4 value 4 entries 1 name foreign &&
chown 65534 bpfw-$$"""}


def start(context, lab, prepare=PREPARE):
    return context.running(lab, "tc", launcher=[
        "nsenter", f"--net={lab.router.path}", "unshare", "--mount", "sh", "-c",
        prepare, "bpfw-with-bpffs"])


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
    equal(set(inside(bpfw, "ls", own).split()), PINS, "maps")
    keeper = context.keep(Keeper(bpfw))
    bpfw.stop()
    expect(os.path.basename(own) not in keeper.names(), f"left behind: {keeper.names()}")


def map_name(bpfw, path):
    shown = inside(bpfw, "bpftool", "-j", "map", "show", "pinned", f"/sys/fs/bpf/{path}")
    return json.loads(shown)["name"]


@test(*TAKEN)
def its_name_is_taken(context, by):
    """A leftover is replaced whatever is in it; through a link, or at others' things, nothing is
    touched, and bpfw forwards without pins."""
    lab = context.lab("tc")
    bpfw = start(context, lab, f'{MOUNT}{{ {TAKEN[by]}; }} || exit 1\ncd / && exec "$@"')
    own = f"bpfw-{bpfw.process.pid}"
    if by == "leftover":
        equal(set(inside(bpfw, "ls", f"/sys/fs/bpf/{own}").split()), PINS, "maps")
        expect(map_name(bpfw, f"{own}/flows") == "flows", "the old map is still there")
    else:
        there, name = ("elsewhere", "other") if by == "link" else (own, "foreign")
        equal(inside(bpfw, "ls", f"/sys/fs/bpf/{there}").split(), ["flows"], "what was there")
        equal(map_name(bpfw, f"{there}/flows"), name, "name of the map that was there")
        expect(bpfw.logged("the maps are not pinned"), f"it says nothing: {bpfw.log}")
    with TcpFlow(lab, 4) as flow:
        flow.wait_offloaded(bpfw)
    bpfw.stop()


ANNOUNCE = """
import socket, subprocess, sys
name = socket.socket(socket.AF_UNIX)
name.bind(f"\\0bpfw.instance.{sys.argv[1]}.{sys.argv[2]}.3.4.5.6")
sys.exit(subprocess.run(sys.argv[3:], check=False).returncode)
"""


@test("flows", "stats", "status")
def another_layout_is_recognized(context, command):
    """Its maps are not looked into; one of this layout beside it is shown."""
    lab = context.lab("tc")
    with open(os.path.join(ROOT, "src", "instance.h"), encoding="utf-8") as header:
        layout = int(re.search(r"^#define INSTANCE_LAYOUT (\d+)$", header.read(), re.M).group(1))
    ask = ["nsenter", f"--net={lab.router.path}", sys.executable, "-c", ANNOUNCE, str(layout + 1),
           str(os.getpid()), binary(), command, "--json"]
    alone = run(ask, check=False, env=environment())
    equal(alone.returncode, 1, alone.stderr)
    equal(alone.stdout, "", "what is shown without an instance that can be read")
    said = f"bpfw with pid {os.getpid()} is of another version"
    expect(said in alone.stderr, alone.stderr)
    context.running(lab, "tc")
    beside = run(ask, check=False, env=environment())
    equal(beside.returncode, 0, beside.stderr)
    expect(said in beside.stderr, beside.stderr)
    json.loads(beside.stdout)


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
