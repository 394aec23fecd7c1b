# SPDX-License-Identifier: GPL-2.0-only
"""Small programs at XDP and tcx, by bpf(2) alone: no compiler, no library."""

import contextlib
import ctypes
import os
import platform
import resource
import struct
import sys

BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_PIN, BPF_OBJ_GET = 0, 1, 2, 6, 7
BPF_PROG_LOAD, BPF_PROG_TEST_RUN, BPF_PROG_GET_FD_BY_ID, BPF_LINK_CREATE = 5, 10, 13, 28
MAP_TYPE_ARRAY, MAP_TYPE_PROG_ARRAY = 2, 3
TEST_XDP_LIVE_FRAMES = 1 << 1
PROG_TYPE_XDP, ATTACH_TYPE_XDP = 6, 37
PROG_TYPE_SCHED_CLS, ATTACH_TYPE_TCX_INGRESS = 3, 46
XDP_DROP, XDP_PASS, TCX_NEXT = 1, 2, -1
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


class Map:
    """A map whose keys and values are integers of these sizes. `path`: one that is pinned there."""

    def __init__(self, kind=MAP_TYPE_ARRAY, entries=1, value_size=4, path=None):
        self._key, self._value = ctypes.c_uint32(), (ctypes.c_uint8 * value_size)()
        if path:
            text = ctypes.create_string_buffer(path.encode())
            self.fd = bpf(BPF_OBJ_GET, struct.pack("=Q", ctypes.addressof(text)))
        else:
            self.fd = bpf(BPF_MAP_CREATE, struct.pack("=LLLL", kind, 4, value_size, entries))

    def _element(self, command, key):
        self._key.value = key
        bpf(command, struct.pack("=LLQQQ", self.fd, 0, ctypes.addressof(self._key),
                                 ctypes.addressof(self._value), 0))

    def __getitem__(self, key):
        self._element(BPF_MAP_LOOKUP_ELEM, key)
        return int.from_bytes(bytes(self._value), sys.byteorder)

    def __setitem__(self, key, value):
        self._value[:] = value.to_bytes(len(self._value), sys.byteorder)
        self._element(BPF_MAP_UPDATE_ELEM, key)

    def pin(self, path):
        text = ctypes.create_string_buffer(path.encode())
        bpf(BPF_OBJ_PIN, struct.pack("=QL", ctypes.addressof(text), self.fd))

    def close(self):
        os.close(self.fd)


def instruction(opcode, dst=0, src=0, offset=0, immediate=0):
    """struct bpf_insn"""
    registers = dst | src << 4 if sys.byteorder == "little" else dst << 4 | src
    return struct.pack("=BBhi", opcode, registers, offset, immediate)


def load(kind, *instructions):
    """A descriptor of the program."""
    code = ctypes.create_string_buffer(b"".join(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    return bpf(BPF_PROG_LOAD, struct.pack("=LLQQ", kind, (len(code) - 1) // 8,
                                          ctypes.addressof(code), ctypes.addressof(licence)))


def attach(ifindex, program, hook=ATTACH_TYPE_XDP):
    """A descriptor of the link; the program's is closed."""
    try:
        return bpf(BPF_LINK_CREATE, struct.pack("=LLLL", program, ifindex, hook, 0))
    finally:
        os.close(program)


def _load_constant(kind, value):
    """A program of that type that returns the value."""
    return load(kind, instruction(0xb7, immediate=value), instruction(0x95))


def attach_pass(ifindex):
    """A descriptor; closing it detaches. The caller is in the device's network namespace."""
    return attach(ifindex, _load_constant(PROG_TYPE_XDP, XDP_PASS))


def attach_tcx_next(ifindex):
    """The same at tcx ingress (Linux 6.6)."""
    return attach(ifindex, _load_constant(PROG_TYPE_SCHED_CLS, TCX_NEXT), ATTACH_TYPE_TCX_INGRESS)
