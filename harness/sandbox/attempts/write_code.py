#!/usr/bin/env python3
"""It spoils every file of its own code, in place and anew."""

import contextlib
import os
from pathlib import Path

from report import contained

changed = 0
for name in os.listdir("."):
    for spoil in (
        lambda name: os.chmod(name, 0o777),
        lambda name: os.chown(name, os.getuid(), os.getgid()),
        lambda name: os.truncate(name, 0),
        lambda name: os.close(os.open(name, os.O_WRONLY | os.O_TRUNC)),
        lambda name: os.utime(name, (0, 0)),
        os.unlink,
        lambda name: Path(name).write_text("spoilt"),
    ):
        with contextlib.suppress(OSError):
            spoil(name)
            changed += 1
contained(f"{changed} changes to its own copy, none to what was handed in")
