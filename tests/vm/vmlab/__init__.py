# SPDX-License-Identifier: GPL-2.0-only
"""Debian's kernels under QEMU: fetch one, boot it, run a command in it."""


class Unavailable(Exception):
    """A tool, a package or a mirror is missing here: what needs it is skipped, with the reason."""


class BuildFailed(Exception):
    """What a machine is to run cannot be built for it. The text is what the compiler has said."""
