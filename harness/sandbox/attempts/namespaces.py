#!/usr/bin/env python3
"""It makes itself root of namespaces of its own, from where more of the kernel can be reached."""

from __future__ import annotations

import os

from kernel import call
from report import all_refused

KINDS = {"user": 0x10000000, "mount": 0x20000, "network": 0x40000000, "process": 0x20000000, "cgroup": 0x2000000}


def join(name: str) -> None:
    handle = os.open(f"/proc/1/ns/{name}", os.O_RDONLY)
    call("setns", handle, 0)


tries = {f"unshare {kind}": lambda flag=flag: call("unshare", flag) for kind, flag in KINDS.items()}
all_refused(tries | {f"setns {name}": lambda name=name: join(name) for name in ("mnt", "net", "pid")})
