#!/usr/bin/env python3
"""It types into the terminal of whoever started it."""

import fcntl
import os
import termios

from report import all_refused


def push(descriptor: int) -> None:
    """Of an empty character: where it is allowed, nothing is typed."""
    fcntl.ioctl(descriptor, termios.TIOCSTI, b"\0")


all_refused(
    {"/dev/tty": lambda: os.close(os.open("/dev/tty", os.O_RDWR))}
    | {f"stream {number}": lambda number=number: push(number) for number in range(3)}
)
