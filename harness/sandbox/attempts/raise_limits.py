#!/usr/bin/env python3
"""It raises its own limits."""

from __future__ import annotations

import glob
import os
import resource

from report import all_refused


def raise_limit(limit: int) -> None:
    try:
        resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(str(error)) from None


tries = {"file size": lambda: raise_limit(resource.RLIMIT_FSIZE), "cores": lambda: raise_limit(resource.RLIMIT_CORE)}
names = ("memory.limit_in_bytes", "memory.max", "pids.max", "cpuset.cpus", "cgroup.procs", "release_agent")
for name in names:
    for path in glob.glob(f"/sys/fs/cgroup/{name}") + glob.glob(f"/sys/fs/cgroup/*/{name}"):
        tries[path] = lambda path=path: os.close(os.open(path, os.O_WRONLY))
all_refused(tries)
