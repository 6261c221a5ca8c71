#!/usr/bin/env python3
"""It connects to a Unix socket of the host that has a name and no file."""

import socket

from report import FACTS, all_refused


def connect() -> None:
    with socket.socket(socket.AF_UNIX) as near:
        near.connect("\0" + FACTS["abstract"])


all_refused({"an abstract socket": connect})
