#!/usr/bin/env python3
"""It changes, replaces, renames and removes its own input."""

from __future__ import annotations

import os

from report import INPUTS, OUTPUT, all_refused

path = os.path.join(INPUTS, os.listdir(INPUTS)[0])


def write(name: str, mode: str) -> None:
    with open(name, mode) as file:
        file.write("x")


all_refused(
    {
        "overwrite": lambda: write(path, "r+"),
        "append": lambda: write(path, "a"),
        "truncate": lambda: os.truncate(path, 0),
        "chmod": lambda: os.chmod(path, 0o777),
        "touch": lambda: os.utime(path, (1, 1)),
        "a second name": lambda: os.link(path, os.path.join(OUTPUT, "linked")),
        "rename": lambda: os.rename(path, path + "2"),
        "remove": lambda: os.unlink(path),
        "a new file": lambda: write(os.path.join(INPUTS, "new"), "w"),
        "a new folder": lambda: os.mkdir(os.path.join(INPUTS, "folder")),
    }
)
