#!/usr/bin/env python3
"""It looks for a folder of the root file system that it can write to."""

import contextlib
import os

from report import OUTPUT, contained, got_out

mine = ("/tmp", "/proc", "/dev/shm", "/dev/mqueue", OUTPUT, os.getcwd())
looked = 0
for folder, folders, _ in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in mine]
    looked += 1
    path = os.path.join(folder, "harness-proof")
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.unlink(path)
        got_out(f"it can write to {folder}")
for path in ("/etc/passwd", "/etc/shadow", "/etc/ld.so.preload"):
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY))
        got_out(f"it can write to {path}")
contained(f"{looked} folders were tried, none can be written to")
