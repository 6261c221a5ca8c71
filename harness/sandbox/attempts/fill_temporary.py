#!/usr/bin/env python3
"""It fills the folder for temporary files with four times the memory that it may use."""

import tempfile
import time

from report import FACTS, contained, got_out

written = 0
try:
    while written < 4 * FACTS["memory"]:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            written += file.write(bytes(1 << 20))
        time.sleep(0.002)
except OSError as error:
    if written <= FACTS["memory"]:
        contained(f"a write was refused after {written} bytes ({error.strerror})")
time.sleep(2)
got_out(f"it wrote {written} bytes")
