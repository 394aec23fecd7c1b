#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""jail.py ROOT PARAMETERS: run what procd was asked to run, the way that ujail does.

Stand-in for /sbin/ujail. What of it is imitated:
- With a jail: namespaces of its own for mounts, processes and IPC. Its root is an empty tmpfs
  that holds the program, the libraries that it needs, the files and directories of jail_mount
  (read only) and jail_mount_rw, each without what is mounted below it, /dev/null and the like,
  with the flags sysfs and procfs a new /sys (read only) and /proc. Nothing else.
- capabilities: a file with the bounding, effective, permitted, inheritable and ambient sets; being
  root adds none (securebits). no_new_privs.
- Signals that the jail gets go on to the process in it, and its exit status is that of the jail;
  it dies with the jail.

Paths are those of the router, whose root is ROOT; /proc and /sys are the machine's.
"""

import ctypes
import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from openwrt.router import libraries  # noqa: E402

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 24, 28
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 38, 47, 2
NOROOT_LOCKED = 0b11
CAPABILITY_VERSION = 0x20080522
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
MACHINE = ("/proc", "/sys")
BPFFS = "/sys/fs/bpf"

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source, target, kind=None, flags=0, data=None):
    call("mount", source.encode(), target.encode(), kind and kind.encode(),
         ctypes.c_ulong(flags), data and data.encode())


def bind(source, target, read_only):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            with open(target, "wb"):
                pass
    mount(source, target, flags=MS_BIND)
    if read_only:
        mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def mount_bpffs(target):
    """The one that the init script has mounted, in the test an instance of its own."""
    mount("bpffs", target, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700")


def complete_root(root):
    """The router's own, without a jail."""
    for path in MACHINE:
        bind(path, root + path, False)
    mount_bpffs(root + BPFFS)
    return root


def build_root(root, parameters):
    """Mount everything in the order of the paths, as ujail does."""
    jail = root + "/tmp/jail"
    os.makedirs(jail, exist_ok=True)
    mount("tmpfs", jail, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    program = parameters["command"][0]
    sources = {path: (root + path, True) for path in [program, *libraries(root + program)]}
    for kind in ("jail_mount", "jail_mount_rw"):
        for path in parameters.get(kind, []):
            own = path if path.startswith(MACHINE) else root + path
            if os.path.exists(own):
                sources[path] = (own, kind == "jail_mount")
    flags = parameters["jail"][1:]
    for path in sorted([*sources, *(f"/{flag[:-2]}" for flag in flags)]):
        if path == BPFFS:
            mount_bpffs(jail + path)
        elif path in sources:
            bind(sources[path][0], jail + path, sources[path][1])
        else:
            os.makedirs(jail + path, exist_ok=True)
            mount(path[1:] + "fs", jail + path, {"/sys": "sysfs", "/proc": "proc"}[path],
                  MS_NOSUID | MS_NODEV | MS_NOEXEC | (MS_RDONLY if path == "/sys" else 0))
    for device in ("null", "zero", "urandom"):
        bind(f"/dev/{device}", f"{jail}/dev/{device}", False)
    return jail


def read_capabilities(path):
    with open(path, encoding="ascii") as file:
        return {name: {CAPABILITIES[word] for word in words}
                for name, words in json.load(file).items()}


def limit_capabilities(sets):
    for number in range(64):
        if number not in sets["bounding"]:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # above the last one it fails
    call("prctl", PR_SET_SECUREBITS, NOROOT_LOCKED, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    masks = [sum(1 << number for number in sets[name])
             for name in ("effective", "permitted", "inheritable")]
    data = (ctypes.c_uint32 * 6)(*[mask >> shift & 0xffffffff for shift in (0, 32)
                                   for mask in masks])
    call("capset", header, data)
    for number in sets["ambient"]:
        call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)


def run_inside(root, parameters):
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    sets = None
    if "capabilities" in parameters:
        sets = read_capabilities(root + parameters["capabilities"][0])
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    os.chroot(build_root(root, parameters) if "jail" in parameters else complete_root(root))
    os.chdir("/")
    if sets:
        limit_capabilities(sets)
    if parameters.get("no_new_privs") == ["1"]:
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.execv(parameters["command"][0], parameters["command"])


def main():
    root, parameters = sys.argv[1], json.loads(sys.argv[2])
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    call("unshare", CLONE_NEWNS | (CLONE_NEWIPC | CLONE_NEWPID if "jail" in parameters else 0))
    child = os.fork()
    if not child:
        try:
            run_inside(root, parameters)
        except BaseException as error:  # pylint: disable=broad-except
            print(f"jail: {error}", file=sys.stderr, flush=True)
        os._exit(125)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, frame: os.kill(child, got))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
