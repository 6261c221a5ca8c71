#!/usr/bin/env python3
"""It takes four times the memory that it may in one go."""

import time

from report import FACTS, got_out

kept = bytearray(b"x") * (4 * FACTS["memory"])
time.sleep(2)
got_out(f"it holds {len(kept)} bytes")
