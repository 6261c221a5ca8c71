#!/usr/bin/env python3
"""It looks through every file that it can reach, at the places where the host keeps the secret first."""

from __future__ import annotations

import os
import stat
import time

from report import FACTS, contained, got_out, token

LARGEST, RECENT_SECONDS = 1 << 20, 3600
secret = token(FACTS["wanted"]).encode()
oldest = time.time() - RECENT_SECONDS


def look(path: str) -> None:
    with open(path, "rb") as file:
        if secret in file.read(LARGEST):
            got_out(f"{path} can be read, and holds what was to stay secret")


def is_worth_it(path: str) -> bool:
    status = os.lstat(path)
    fresh = max(status.st_mtime, status.st_ctime) > oldest or path.endswith((".csv", ".txt"))
    return stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST and fresh


tried = 0
for root in ("", "/proc/1/root", "/proc/self/root/..", "/proc/1/cwd/../../../../../../../../.."):
    for path in FACTS["paths"]:
        try:
            tried += 1
            look(root + path)
        except OSError:
            continue
for folder, folders, names in os.walk("/"):
    if folder == "/":
        folders[:] = [name for name in folders if name not in ("proc", "sys", "dev")] + ["dev/shm"]
    for name in names:
        path = os.path.join(folder, name)
        try:
            if is_worth_it(path):
                tried += 1
                look(path)
        except OSError:
            continue
contained(f"{tried} files were tried, none holds it")
