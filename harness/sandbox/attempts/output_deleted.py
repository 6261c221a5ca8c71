#!/usr/bin/env python3
"""It fills the disk with files that it has deleted and keeps open."""

import os
import time

from report import FACTS, OUTPUT, got_out

path, kept = os.path.join(OUTPUT, "hidden"), []
for _ in range(16):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.unlink(path)
    os.write(file, bytes(FACTS["output"]))
    kept.append(file)
time.sleep(5)
got_out(f"it holds {16 * FACTS['output']} bytes of the disk that have no name")
