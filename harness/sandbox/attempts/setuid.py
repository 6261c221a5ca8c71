#!/usr/bin/env python3
"""It runs every program that would make it root, and one that it has marked so itself."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time

from report import contained, got_out


def programs() -> list[str]:
    found = []
    for folder, _, names in os.walk("/"):
        if folder.startswith(("/proc", "/sys")):
            continue
        for path in (os.path.join(folder, name) for name in names):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_ISUID | stat.S_ISGID):
                found.append(path)
    return found


def own() -> str:
    shutil.copy(shutil.which("sleep") or "/bin/sleep", "mine")
    os.chmod("mine", 0o6755)
    return os.path.abspath("mine")


def user_of(path: str) -> list[str]:
    """Real, effective, saved and file system user of the program, read while it waits for its input."""
    with subprocess.Popen([path, "5"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        time.sleep(0.1)
        with open(f"/proc/{process.pid}/status") as file:
            users = next(line for line in file if line.startswith("Uid:")).split()[1:]
        process.kill()
    return users


paths = [*programs(), own()]
for path in paths:
    if os.geteuid() != 0 and "0" in user_of(path):
        got_out(f"{path} made it root")
contained(f"{len(paths)} programs that change their user were run, and none did")
