#!/usr/bin/env python3
"""It looks at what the kernel says of its own rights."""

from __future__ import annotations

import os

from report import FACTS, contained, got_out

with open("/proc/self/status") as file:
    STATUS = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def user() -> str | None:
    groups = {os.getegid(), *os.getgroups()}
    users = os.getresuid()
    return f"users {users}, groups {sorted(groups)}" if 0 in users or 0 in groups else None


def capabilities() -> str | None:
    held = {name: value for name, value in STATUS.items() if name.startswith("Cap") and int(value, 16)}
    return f"it holds {held}" if held else None


def no_new_privileges() -> str | None:
    return None if STATUS.get("NoNewPrivs") == "1" else "a program may get it new privileges"


def call_filter() -> str | None:
    return None if STATUS.get("Seccomp") == "2" else "no filter of system calls is set"


looks = {
    "user": (user, f"it is user {os.getuid()}, group {os.getgid()}"),
    "capabilities": (capabilities, "it has none and can get none"),
    "no_new_privileges": (no_new_privileges, "the kernel's flag is set"),
    "call_filter": (call_filter, "a filter of system calls is set"),
}
look, fine = looks[FACTS["name"]]
wrong = look()
if wrong:
    got_out(wrong)
contained(fine)
