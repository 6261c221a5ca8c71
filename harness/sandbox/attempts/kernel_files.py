#!/usr/bin/env python3
"""It opens the kernel's switches for writing and its memory for reading."""

from __future__ import annotations

import glob
import os

from report import all_refused

SWITCHES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sysrq-trigger",
    "/proc/bus/pci",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/power/state",
    "/sys/fs/cgroup/cgroup.procs",
    *glob.glob("/sys/fs/cgroup/*/release_agent"),
    *glob.glob("/sys/fs/cgroup/*/notify_on_release"),
)


def open_file(path: str, flags: int) -> None:
    os.close(os.open(path, flags))


def read_memory() -> None:
    """A file of devices stands before it in containers, which is empty."""
    with open("/proc/kcore", "rb") as file:
        if not file.read(16):
            raise OSError("empty")


def read_addresses() -> None:
    """Whoever may not know them sees zeros."""
    with open("/proc/kallsyms") as file:
        if not int(file.readline().split()[0], 16):
            raise OSError("zeros")


tries = {path: lambda path=path: open_file(path, os.O_WRONLY) for path in SWITCHES if os.path.exists(path)}
all_refused(tries | {"/proc/kcore": read_memory, "/proc/kallsyms": read_addresses})
