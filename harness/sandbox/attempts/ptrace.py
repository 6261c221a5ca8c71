#!/usr/bin/env python3
"""It takes hold of the harness's own process."""

import ctypes
import os

from kernel import call
from report import FACTS, all_refused

SEIZE = 0x4206


def take_hold() -> None:
    """It is stopped by nothing and let go of when this process ends."""
    result = call("ptrace", SEIZE, FACTS["harness"], 0, 0)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def read_memory() -> None:
    buffer = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    remote = (ctypes.c_size_t * 2)(0x400000, 8)
    result = call("process_vm_readv", FACTS["harness"], local, 1, remote, 1, 0)
    if result == -3:
        raise OSError(3, os.strerror(3))


all_refused(
    {
        "ptrace": take_hold,
        "process_vm_readv": read_memory,
        "/proc/PID/mem": lambda: os.close(os.open(f"/proc/{FACTS['harness']}/mem", os.O_RDONLY)),
    }
)
