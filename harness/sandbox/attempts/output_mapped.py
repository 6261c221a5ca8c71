#!/usr/bin/env python3
"""It fills the disk with files that it has deleted and closed, and keeps mapped."""

import mmap
import os
import time

from report import FACTS, OUTPUT, got_out

path, kept = os.path.join(OUTPUT, "hidden"), []
for _ in range(16):
    with open(path, "w+b", buffering=0) as file:
        os.unlink(path)
        file.write(bytes(FACTS["output"]))
        kept.append(mmap.mmap(file.fileno(), FACTS["output"]))
time.sleep(5)
got_out(f"it holds {16 * FACTS['output']} bytes of the disk that have no name")
