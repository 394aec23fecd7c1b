# SPDX-License-Identifier: GPL-2.0-only
"""The machines by name: a kernel's series for one like this host, an architecture for another."""

from . import plan
from .foreign import ARCHITECTURES, ForeignMachine
from .kernels import SUITES, kernel
from .machine import Machine, default_environment

NAMES = (*SUITES, *ARCHITECTURES)


BUILD_SECONDS = 600


def make(name, limit=BUILD_SECONDS, smp=2, memory=2048):
    """(machine, environment of its commands). For another architecture this builds bpfw, within
    the limit of seconds."""
    if name not in ARCHITECTURES:
        return Machine(kernel(name), smp, memory), default_environment()
    architecture = ARCHITECTURES[name]
    architecture.build([source for source, _ in plan.FOREIGN], min(limit, BUILD_SECONDS))
    return ForeignMachine(architecture, smp, memory), architecture.environment()
