#!/usr/bin/env python3
"""It mounts, unmounts and changes its root."""

import os

from kernel import call
from report import INPUTS, all_refused

inputs = os.fsencode(INPUTS)
all_refused(
    {
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, b""),
        "mount again for writing": lambda: call("mount", b"none", inputs, b"none", 32 | 4096, b""),
        "umount": lambda: call("umount2", inputs, 2),
        "open_tree": lambda: call("open_tree", -100, b"/", 1),
        "fsopen": lambda: call("fsopen", b"tmpfs", 0),
        "pivot_root": lambda: call("pivot_root", b".", b"."),
        "chroot": lambda: call("chroot", b"/tmp"),
    }
)
