#!/usr/bin/env python3
"""It fills /dev/shm with four times the memory that it may use."""

from report import FACTS, contained, got_out

written, piece = 0, bytes(1 << 20)
try:
    for number in range(4 * FACTS["memory"] >> 20):
        with open(f"/dev/shm/flood{number}", "wb", buffering=0) as file:
            written += file.write(piece)
except OSError as error:
    if written <= FACTS["memory"]:
        contained(f"a write was refused after {written} bytes ({error.strerror})")
got_out(f"it wrote {written} bytes")
