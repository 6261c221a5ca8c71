#!/usr/bin/env python3
"""It waits without end."""

import time

from report import FACTS, got_out

time.sleep(4 * FACTS["seconds"] + 20)
got_out("it outlived its time")
