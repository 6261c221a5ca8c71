#!/usr/bin/env python3
"""It makes devices of its own that lead to the host's disk and memory."""

from __future__ import annotations

import os
import stat
import tempfile

from report import OUTPUT, all_refused

DEVICES = {"disk": (stat.S_IFBLK, 8, 0), "virtual disk": (stat.S_IFBLK, 254, 0), "memory": (stat.S_IFCHR, 1, 1)}


def make(folder: str, kind: int, major: int, minor: int) -> None:
    path = os.path.join(folder, f"device{major}")
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    os.unlink(path)


folders = (OUTPUT, tempfile.gettempdir(), os.getcwd())
all_refused(
    {
        f"{name} in {folder}": lambda folder=folder, device=device: make(folder, *device)
        for name, device in DEVICES.items()
        for folder in folders
    }
)
