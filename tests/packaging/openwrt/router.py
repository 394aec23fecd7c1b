# SPDX-License-Identifier: GPL-2.0-only
"""A root directory with busybox, the stand-ins of OpenWrt's shell functions, bpfw and its package.

The init script runs in it under busybox ash, by chroot, so the absolute paths that it uses are its
own. Each run has a mount namespace of its own: nothing stays mounted.
"""

import os
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(HERE, "..", "..", "..", "packaging", "openwrt", "files")
TIMEOUT = 60

# Where the files of the package go, as its Makefile says
INSTALLED = {"bpfw.init": "etc/init.d/bpfw", "bpfw.config": "etc/config/bpfw",
             "bpfw.capabilities.json": "etc/capabilities/bpfw.json"}
STANDINS = {"rc.common": "etc/rc.common", "functions.sh": "lib/functions.sh",
            "network.sh": "lib/functions/network.sh", "procd.sh": "lib/functions/procd.sh"}
APPLETS = ("cat", "chroot", "grep", "head", "mkdir", "mount", "mv", "rm", "sh", "tr")


def busybox():
    """A busybox that runs without libraries, or None."""
    path = shutil.which("busybox")
    if not path:
        return None
    with open(path, "rb") as file:
        return path if b"/ld-linux" not in file.read() else None


def libraries(program):
    """The files that the dynamic loader maps for a program, itself included."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return sorted({word for word in listed.split() if word.startswith("/")})


class Router:
    """Files of the router; /var/run is its /run, as /var is in memory on OpenWrt."""

    def __init__(self, bpfw):
        self.bpfw = bpfw
        self.root = tempfile.mkdtemp(prefix="bpfw-openwrt-")
        for directory in ("bin", "usr/sbin", "var/run", "tmp", "proc", "sys", "dev"):
            os.makedirs(self.path(directory), exist_ok=True)
        shutil.copy(busybox(), self.path("bin/busybox"))
        for applet in APPLETS:
            os.symlink("busybox", self.path("bin", applet))
        self.place(bpfw, "usr/sbin/bpfw", 0o755)
        for library in libraries(bpfw):
            self.place(library, library, 0o755)
        for name, path in STANDINS.items():
            self.place(os.path.join(HERE, "shell", name), path, 0o644)
        for name, path in INSTALLED.items():
            self.place(os.path.join(PACKAGE, name), path, 0o644)
        # The script only asks whether it is there: procd.py runs jail.py.
        self.place(os.path.join(HERE, "jail.py"), "sbin/ujail", 0o755)
        for name in ("network", "procd", "log"):
            self.write(f"tmp/{name}", "")

    def path(self, *names):
        return os.path.join(self.root, *(name.lstrip("/") for name in names))

    def place(self, source, path, mode):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        shutil.copyfile(source, self.path(path))
        os.chmod(self.path(path), mode)

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, path):
        try:
            with open(self.path(path), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def networks(self, lines):
        """What netifd tells, see shell/network.sh."""
        self.write("tmp/network", "".join(f"{line}\n" for line in lines))

    def service(self, action, namespace=None, env=None, umask=0o022):
        """`service bpfw ACTION`; what procd was asked for and what was logged, newly."""
        self.write("tmp/procd", "")
        self.write("tmp/log", "")
        enter = [f"--net={namespace.path}"] if namespace else []
        inside = ("mount -t proc proc \"$1/proc\" && mount -t sysfs sysfs \"$1/sys\" && "
                  "mount --bind /dev \"$1/dev\" && "
                  "exec chroot \"$1\" /bin/busybox ash /etc/rc.common /etc/init.d/bpfw \"$2\"")
        done = subprocess.run(
            [*(["nsenter", *enter] if enter else []), "unshare", "--mount",
             *([] if enter else ["--net"]), "sh", "-c", inside, "sh", self.root, action],
            capture_output=True, text=True, timeout=TIMEOUT, check=False, umask=umask,
            env={**(env or {}), "PATH": "/bin:/sbin:/usr/bin:/usr/sbin"})
        return done, self.read("tmp/procd"), self.read("tmp/log")

    def close(self):
        shutil.rmtree(self.root)
