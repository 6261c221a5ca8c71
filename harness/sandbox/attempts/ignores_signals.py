#!/usr/bin/env python3
"""It ignores every signal that can be ignored, and waits."""

import signal
import time

from report import FACTS, got_out

for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
deadline = time.monotonic() + 4 * FACTS["seconds"] + 20
while time.monotonic() < deadline:
    time.sleep(1)
got_out("it outlived its time")
