# SPDX-License-Identifier: GPL-2.0-only
"""Test laboratory of bpfw: namespaces, traffic, frames and TAP, on the standard library alone."""

from .bpfw import Bpfw, BpfwError, attachments, binary
from .conntrack import Entry, entries, find_entry
from .lab import Lab, Namespace, remove_stale_labs, wait_until
from .tap import HOOKS, Context, Skip, equal, expect, main, test
from .traffic import TcpFlow, UdpFlow

__all__ = [
    "Bpfw", "BpfwError", "Context", "Entry", "HOOKS", "Lab", "Namespace", "Skip", "TcpFlow",
    "UdpFlow", "attachments", "binary", "entries", "equal", "expect", "find_entry", "main",
    "remove_stale_labs", "test", "wait_until",
]
