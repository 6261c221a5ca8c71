#!/usr/bin/env python3
"""It connects to a program that listens on the host's own loopback address."""

import socket

from report import FACTS, all_refused


def connect(host: str) -> None:
    socket.create_connection((host, FACTS["port"]), timeout=3).close()


all_refused({host: lambda host=host: connect(host) for host in ("127.0.0.1", "0.0.0.0", "::1")})
