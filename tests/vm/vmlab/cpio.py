# SPDX-License-Identifier: GPL-2.0-only
"""Archives in the format of an initramfs (cpio newc)."""

import os
import stat


class Archive:
    """Written to a file piece by piece; whole after close()."""

    def __init__(self, file):
        self._file = file
        self._inode = 0

    def _pad(self):
        self._file.write(bytes(-self._file.tell() % 4))

    def _entry(self, name, mode, data, device=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._file.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
        self._pad()
        self._file.write(data)
        self._pad()

    def directory(self, name):
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name, data, mode=0o644):
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self):
        self._entry("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))

    def tree(self, root):
        """Everything below a directory, under the same names."""
        for directory, names, files in os.walk(root):
            for name in sorted(names + files):
                path = os.path.join(directory, name)
                self._add(path, os.path.relpath(path, root))

    def _add(self, path, name):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            self.link(name, os.readlink(path))
        elif stat.S_ISDIR(mode):
            self.directory(name)
        elif stat.S_ISREG(mode):
            with open(path, "rb") as file:
                self.file(name, file.read(), stat.S_IMODE(mode))

    def close(self):
        self._entry("TRAILER!!!", 0, b"")
