# SPDX-License-Identifier: GPL-2.0-only
"""The machines by name: a kernel's series for one like this host, s390x for the big-endian one."""

from . import plan, s390x
from .kernels import SUITES, kernel
from .machine import Machine, default_environment

BIG_ENDIAN = "s390x"
NAMES = (*SUITES, BIG_ENDIAN)


def make(name, smp=2, memory=2048):
    """(machine, environment of its commands). For s390x this builds bpfw."""
    if name != BIG_ENDIAN:
        return Machine(kernel(name), smp, memory), default_environment()
    s390x.build([source for source, _ in plan.BIG_ENDIAN])
    return s390x.S390x(memory), s390x.environment()
