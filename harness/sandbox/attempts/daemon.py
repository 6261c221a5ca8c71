#!/usr/bin/env python3
"""It leaves a process behind that has another session, another parent and an empty environment."""

import os
import sys
import time

from report import FACTS, contained

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
        os.execve(sys.executable, [sys.executable, "-c", program, FACTS["mark"]], {})
    os._exit(0)
time.sleep(0.5)
contained("it was ended with its call")
