"""System calls that Python has no function for. Lies beside every attempt."""

from __future__ import annotations

import ctypes
import errno
import os

from report import not_tried

# Name -> number on x86_64 and on aarch64.
NUMBERS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "finit_module": (313, 273),
    "fsopen": (430, 430),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
}

MACHINES = ("x86_64", "aarch64")

REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENODEV)
"""Other errors say that the kernel listened and only disliked an argument."""

LIBC = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """The result, or a negative error number. Raises: OSError where it is refused."""
    machine = os.uname().machine
    if machine not in MACHINES:
        not_tried(f"the numbers of system calls on {machine} are not known here")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name][MACHINES.index(machine)]), *words)
    if result >= 0:
        return int(result)
    code = ctypes.get_errno()
    if code in REFUSALS:
        raise OSError(code, os.strerror(code))
    return -code
