# SPDX-License-Identifier: GPL-2.0-only
"""Debian's kernels under QEMU: fetch one, boot it, run a command in it."""


class Unavailable(Exception):
    """A tool, a package or a mirror is missing here: what needs it is skipped, with the reason."""
