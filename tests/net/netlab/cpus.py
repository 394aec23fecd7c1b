# SPDX-License-Identifier: GPL-2.0-only
"""The CPUs of the machine, for --cpus."""

from .tap import Skip

ONLINE = "/sys/devices/system/cpu/online"


def online():
    """The numbers of those online."""
    with open(ONLINE, encoding="ascii") as file:
        text = file.read().strip()
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def all_online():
    """As --cpus takes them."""
    return ",".join(map(str, online()))


def need_two():
    if len(online()) < 2:
        raise Skip("there is one CPU only")
