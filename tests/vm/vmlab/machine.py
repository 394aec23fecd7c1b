# SPDX-License-Identifier: GPL-2.0-only
"""One virtual machine that runs one command.

The command's output, its errors and its exit status each have a virtio port, so that the kernel's
messages on the serial console are not mixed with them. The root file system is the host's,
read-only over 9p, under an overlay in memory: what the command changes goes with the machine.
"""

import ctypes
import io
import os
import pathlib
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

from . import Unavailable, cpio
from .kernels import module_image
from .packages import require

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
GUEST = pathlib.Path(__file__).resolve().parent.parent / "guest"
TIMED_OUT = 124
LOST = 125  # the machine ended before the command did
CONSOLE_TAIL = 40
PR_SET_PDEATHSIG = 1

BOOT_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")

_libc = ctypes.CDLL(None, use_errno=True)
_running = set()
_stopping = threading.Event()


class Stopped(Exception):
    """stop_all() has ended the machine."""


def stop_all():
    """End the machines that run in other threads, and start no more."""
    _stopping.set()
    for process in list(_running):
        process.kill()


def default_environment():
    """What is found here is found there: the machine has the same files."""
    python = os.path.dirname(os.path.realpath(sys.executable))
    path = os.environ.get("PATH", "/usr/bin:/bin")
    environment = {"PATH": f"{python}:{path}:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8"}
    if not os.environ.get("BPFW_VM_ACCEL", "").startswith("kvm"):
        environment["BPFW_TEST_SLOW"] = "5"  # about as slow is a processor in software
    return environment


def command_script(command, environment):
    lines = ["#!/bin/sh"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(str(ROOT))} || exit 126", "exec " + shlex.join(command)]
    return "\n".join(lines) + "\n"


class Machine:
    """A machine like this one, with one of Debian's kernels and this host's files."""

    bus = "pci"
    # When the host is busy the emulated timer is late, and the kernel's check of it would panic.
    command_line = "console=ttyS0 panic=-1 no_timer_check"
    serial = ("-serial", "chardev:console")

    def __init__(self, kernel, smp=2, memory=2048):
        self.kernel = kernel
        self.smp = smp
        self.memory = memory

    # ---- What it is made of ----

    def qemu(self):
        accelerator = os.environ.get("BPFW_VM_ACCEL") or "tcg,thread=multi"
        host = accelerator.startswith("kvm")
        return ["qemu-system-x86_64", "-machine", "q35", "-cpu", "host" if host else "max",
                "-accel", accelerator]

    def shares(self):
        """What the machine mounts over 9p: tag and path."""
        return {"hostroot": "/", "modules": self.kernel.modules}

    def busybox(self):
        for path in map(pathlib.Path, ("/bin/busybox", "/usr/bin/busybox")):
            if path.exists():
                image = path.read_bytes()
                if b"/ld-linux" in image[:4096]:
                    raise Unavailable(f"{path} is not static (scripts/install-deps vm)")
                return image
        raise Unavailable("no busybox (scripts/install-deps vm)")

    def _devices(self):
        words = ["-device", f"virtio-serial-{self.bus}"]
        for tag, path in self.shares().items():
            if "," in str(path):
                raise Unavailable(f"{path}: QEMU takes no path with a comma")
            words += ["-fsdev", f"local,id={tag},path={path},security_model=none,readonly=on,"
                                "multidevs=remap",
                      "-device", f"virtio-9p-{self.bus},fsdev={tag},mount_tag={tag}"]
        return words

    def initramfs(self, file, script):
        archive = cpio.Archive(file)
        for name in ("bin", "dev", "lower", "modules", "newroot", "overlay", "proc", "repository",
                     "sys", "vm"):
            archive.directory(name)
        archive.console()
        archive.file("bin/busybox", self.busybox(), 0o755)
        archive.file("init", (GUEST / "init").read_bytes(), 0o755)
        archive.file("vm/boot", (GUEST / "boot").read_bytes(), 0o755)
        self._contents(archive, script)
        archive.close()

    def _contents(self, archive, script):
        archive.file("vm/command", script.encode(), 0o755)
        archive.file("vm/repository", str(ROOT).encode())
        archive.file("vm/shares", " ".join(self.shares()).encode())
        names = []
        for path in self.kernel.module_files(*BOOT_MODULES):
            names.append(path.name.partition(".")[0] + ".ko")
            archive.file("modules/" + names[-1], module_image(path))
        archive.file("modules/list", "\n".join(names).encode() + b"\n")

    # ---- Running it ----

    def run(self, command, environment, timeout, out, err):
        """The command's exit status; what it prints goes to out and err as it comes."""
        program = self.qemu()
        require(program[0])
        with tempfile.TemporaryDirectory(prefix="bpfw-vm-") as directory:
            initrd = pathlib.Path(directory, "initrd")
            with open(initrd, "wb") as file:
                self.initramfs(file, command_script(command, environment))
            console = pathlib.Path(directory, "console")
            words = [*program, "-smp", str(self.smp), "-m", str(self.memory), "-nodefaults",
                     "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
                     "-kernel", str(self.kernel.vmlinuz), "-initrd", str(initrd),
                     "-append", self.command_line,
                     "-chardev", f"file,id=console,path={console}", *self.serial,
                     *self._devices()]
            return self._watch(words, console, timeout, out, err)

    def _watch(self, words, console, timeout, out, err):
        status = io.BytesIO()
        reads, writes = {}, []
        for name, sink in ("stdout", out), ("stderr", err), ("status", status):
            read, write = os.pipe()
            reads[read] = sink
            writes.append(write)
            words = [*words, "-chardev", f"file,id={name},path=/dev/fd/{write},append=on",
                     "-device", f"virtserialport,chardev={name},name={name}"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=writes,
                                   stdout=sys.stderr, preexec_fn=_die_with_parent)
        _running.add(process)
        if _stopping.is_set():
            process.kill()
        try:
            for write in writes:
                os.close(write)
            in_time = _copy(reads, time.monotonic() + timeout)
        finally:
            process.kill()
            process.wait()
            _running.discard(process)
        if _stopping.is_set():
            raise Stopped
        return self._status(status.getvalue(), in_time, timeout, console, err)

    @staticmethod
    def _status(written, in_time, timeout, console, err):
        if written.strip().isdigit():
            return int(written)
        said = console.read_text(errors="replace").splitlines()[-CONSOLE_TAIL:]
        end = "ended before the command did" if in_time else f"not finished after {timeout:g} s"
        message = "".join(f"vm: | {line}\n" for line in said) + f"vm: {end}\n"
        err.write(message.encode())
        err.flush()
        return LOST if in_time else TIMED_OUT


class CountingMachine(Machine):
    """Its clock is the number of instructions that it has executed, a nanosecond each: what takes
    so long there takes so many, on whatever host. That needs one processor, in software."""

    def __init__(self, kernel, memory=2048):
        super().__init__(kernel, 1, memory)

    def qemu(self):
        return ["qemu-system-x86_64", "-machine", "q35", "-cpu", "max",
                "-accel", "tcg,thread=single", "-icount", "shift=0"]


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _copy(reads, deadline):
    """Move bytes from pipes to sinks until all are closed. False if the time ran out first."""
    with selectors.DefaultSelector() as selector:
        for read, sink in reads.items():
            selector.register(read, selectors.EVENT_READ, sink)
        try:
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                for key, _ in selector.select(left):
                    data = os.read(key.fd, 65536)
                    if data:
                        key.data.write(data)
                        key.data.flush()
                    else:
                        selector.unregister(key.fd)
        finally:
            for read in reads:
                os.close(read)
    return True
