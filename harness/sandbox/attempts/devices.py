#!/usr/bin/env python3
"""It opens disks, memory and other devices of the host."""

from __future__ import annotations

import os
import stat

from report import all_refused

NAMES = ("mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "sda", "vda", "nvme0n1", "loop0", "mapper/control",
         "snapshot", "hpet", "nvram", "cpu/0/msr", "vhost-net", "uinput", "vfio/vfio", "snd/seq")  # fmt: skip


def disks() -> list[str]:
    found = []
    for folder, _, names in os.walk("/dev"):
        found += [os.path.join(folder, name) for name in names]
    return [path for path in found if os.path.exists(path) and stat.S_ISBLK(os.stat(path).st_mode)]


def open_device(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


paths = dict.fromkeys([f"/dev/{name}" for name in NAMES] + disks())
all_refused({path: lambda path=path: open_device(path) for path in paths})
