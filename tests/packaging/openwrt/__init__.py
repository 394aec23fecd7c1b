# SPDX-License-Identifier: GPL-2.0-only
"""A router's userland as small as bpfw's init script needs it: stand-ins of OpenWrt's parts."""

from .procd import Message, Procd
from .router import Router

__all__ = ["Message", "Procd", "Router"]
