#!/usr/bin/env python3
"""It asks the kernel for what only the owner of the machine may: programs, modules, clock, log, reboot.

No call would do harm if it were allowed: each carries an argument that the kernel then dislikes, or changes nothing.
"""

import ctypes
import socket
import struct
import time

from kernel import call
from report import all_refused


def count_cycles() -> None:
    """A counter of software events of this process itself: struct perf_event_attr of linux/perf_event.h."""
    about = ctypes.create_string_buffer(struct.pack("<IIQQQQQ", 1, 112, 0, 0, 0, 0, 96), 112)
    call("perf_event_open", about, 0, -1, -1, 0)


def open_host_root() -> None:
    """By a forged handle of the directory with number 2, the root of most file systems."""
    with open("report.py") as file:
        call("open_by_handle_at", file.fileno(), ctypes.create_string_buffer(struct.pack("<IiII", 8, 1, 2, 0)), 0)


all_refused(
    {
        "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(struct.pack("<IIII", 2, 4, 4, 1), 48), 48),
        "perf_event_open": count_cycles,
        "open_by_handle_at": open_host_root,
        "init_module": lambda: call("init_module", 0, 0, b""),
        "finit_module": lambda: call("finit_module", -1, b"", 0),
        "kexec_load": lambda: call("kexec_load", 0, 1000, 0, 0),
        "reboot": lambda: call("reboot", 0, 0, 0, 0),
        "swapon": lambda: call("swapon", b"/nowhere", 0),
        "acct": lambda: call("acct", b"/nowhere"),
        "kernel log": lambda: call("syslog", 10, 0, 0) and call("syslog", 3, ctypes.create_string_buffer(64), 64),
        "clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME)),
        "host name": lambda: socket.sethostname(socket.gethostname()),
    }
)
