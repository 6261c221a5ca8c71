#!/usr/bin/env python3
"""It makes files that claim to hold a terabyte and take no room."""

import os

from report import OUTPUT, all_refused

path = os.path.join(OUTPUT, "sparse")
open(path, "w").close()


def write_far_away() -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(1 << 40)
        file.write(b"x")


all_refused({"truncate": lambda: os.truncate(path, 1 << 40), "write at the end": write_far_away})
