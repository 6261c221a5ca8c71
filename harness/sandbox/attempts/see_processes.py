#!/usr/bin/env python3
"""It looks for processes that are not its own, the harness first of all."""

import os

from report import FACTS, contained, got_out

seen = 0
for name in os.listdir("/proc"):
    if not name.isdigit():
        continue
    try:
        with open(f"/proc/{name}/stat") as file:
            started = file.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        continue
    seen += 1
    if started == FACTS["harness_started"]:
        got_out(f"the harness is process {name} here")
if seen > FACTS["family"]:
    got_out(f"{seen} processes can be seen")
contained(f"{seen} processes can be seen: its own and the one that buries its dead")
