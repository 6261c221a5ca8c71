#!/usr/bin/env python3
"""It writes one file of sixteen times what it may write."""

import os
import time

from report import FACTS, OUTPUT, contained, got_out

written, piece = 0, bytes(1 << 16)
try:
    with open(os.path.join(OUTPUT, "flood"), "wb", buffering=0) as file:
        while written < 16 * FACTS["output"]:
            written += file.write(piece)
except OSError as error:
    time.sleep(1)
    contained(f"a write was refused after {written} bytes ({error.strerror})")
time.sleep(2)
got_out(f"it wrote {written} bytes")
