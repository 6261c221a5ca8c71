#!/usr/bin/env python3
"""It asks to be served before everybody else."""

import os

from report import all_refused

all_refused(
    {
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    }
)
