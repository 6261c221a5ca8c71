#!/usr/bin/env python3
"""It starts process after process, four times as many as it may."""

import os
import time

from report import FACTS, contained, got_out

started = 0
try:
    while started < 4 * FACTS["pids"]:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        started += 1
except OSError as error:
    if started <= FACTS["pids"]:
        contained(f"fork was refused after {started} processes ({error.strerror})")
time.sleep(3)
got_out(f"{started} processes ran at one time")
