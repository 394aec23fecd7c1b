# SPDX-License-Identifier: GPL-2.0-only
"""Programs that pass everything, at XDP and tcx, by bpf(2) alone: no compiler, no library."""

import contextlib
import ctypes
import os
import platform
import resource
import struct

BPF_PROG_LOAD, BPF_LINK_CREATE = 5, 28
PROG_TYPE_XDP, ATTACH_TYPE_XDP = 6, 37
PROG_TYPE_SCHED_CLS, ATTACH_TYPE_TCX_INGRESS = 3, 46
XDP_PASS, TCX_NEXT = 2, -1
NUMBER = {"x86_64": 321, "s390x": 351, "aarch64": 280}

_libc = ctypes.CDLL(None, use_errno=True)

# Before Linux 5.11 BPF memory counts against this limit, and all that root has counts together. A
# root that may not raise it is on a later kernel, or fails below with EPERM.
with contextlib.suppress(ValueError):
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def bpf(command, attributes):
    """bpf(2): a descriptor or 0. `attributes` are those of union bpf_attr for the command."""
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    number = NUMBER[platform.machine()]
    value = _libc.syscall(number, command, buffer, len(buffer))
    if value < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf: {os.strerror(error)}")
    return value


def _instruction(opcode, immediate):
    return struct.pack("=BBhi", opcode, 0, 0, immediate)


def _load_constant(kind, value):
    """A program of that type that returns the value."""
    code = ctypes.create_string_buffer(_instruction(0xb7, value) + _instruction(0x95, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack("=LLQQ", kind, 2, ctypes.addressof(code),
                                          ctypes.addressof(licence)))


def _attach_constant(ifindex, kind, value, hook):
    program = _load_constant(kind, value)
    try:
        return bpf(BPF_LINK_CREATE, struct.pack("=LLLL", program, ifindex, hook, 0))
    finally:
        os.close(program)


def attach_pass(ifindex):
    """A descriptor; closing it detaches. The caller is in the device's network namespace."""
    return _attach_constant(ifindex, PROG_TYPE_XDP, XDP_PASS, ATTACH_TYPE_XDP)


def attach_tcx_next(ifindex):
    """The same at tcx ingress (Linux 6.6)."""
    return _attach_constant(ifindex, PROG_TYPE_SCHED_CLS, TCX_NEXT, ATTACH_TYPE_TCX_INGRESS)
