#!/usr/bin/env python3
"""It uses the kernel's keyrings, which are not divided among containers."""

from kernel import call
from report import all_refused

all_refused(
    {
        "add_key": lambda: call("add_key", b"user", b"harness-proof", b"x", 1, -3),
        "keyctl": lambda: call("keyctl", 0, -3, 1),
        "request_key": lambda: call("request_key", b"user", b"harness-proof", b"", -3),
    }
)
