#!/usr/bin/env python3
"""It looks for the socket of a container engine, from which the whole host could be had."""

from __future__ import annotations

import os
import socket
import stat

from report import FACTS, all_refused


def sockets() -> list[str]:
    found = [*FACTS["engines"], "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]
    for folder, folders, names in os.walk("/"):
        if folder == "/":
            folders[:] = [name for name in folders if name not in ("proc", "sys")]
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith(".sock") and stat.S_ISSOCK(os.lstat(path).st_mode):
                found.append(path)
    return found


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as near:
        near.connect(path)


all_refused({path: lambda path=path: connect(path) for path in dict.fromkeys(sockets())})
