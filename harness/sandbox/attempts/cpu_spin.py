#!/usr/bin/env python3
"""It computes without end."""

import time

from report import FACTS, got_out

deadline = time.monotonic() + 4 * FACTS["seconds"] + 20
while time.monotonic() < deadline:
    pass
got_out("it outlived its time")
