#!/usr/bin/env python3
"""It takes memory bit by bit, four times what it may."""

import time

from report import FACTS, got_out

kept = []
for _ in range(32):
    kept.append(bytearray(b"x") * (FACTS["memory"] // 8))
    time.sleep(0.05)
got_out(f"it holds {sum(map(len, kept))} bytes")
