#!/usr/bin/env python3
"""It asks for every core of the machine."""

import os

from report import FACTS, contained, got_out, not_tried

if os.cpu_count() == FACTS["cores"]:
    not_tried("the call has all cores of this machine")
try:
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
except OSError as error:
    contained(f"refused ({error.strerror})")
mine = len(os.sched_getaffinity(0))
if mine > FACTS["cores"]:
    got_out(f"it runs on {mine} cores instead of {FACTS['cores']}")
contained(f"it asked for all and has {mine}")
