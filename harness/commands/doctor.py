"""`harness doctor`: what this machine offers, and what `auto` would choose on it."""

import argparse
import os
from pathlib import Path

from harness import machine
from harness.errors import EXPECTED_ERROR, OK
from harness.executors.local import count_slots
from harness.records import Limits
from harness.sandbox import choose_sandbox
from harness.sandbox.docker import describe_engine
from harness.weights import SUFFIX, weights_folder

ENOUGH_DISK = 5 << 30
"""Bytes; less is enough for a small round, but a container image alone takes one or two GiB."""


def main(arguments: argparse.Namespace) -> int:
    cores, gpus, memory = machine.usable_cores(), machine.gpus(), machine.total_memory()
    disk = machine.free_disk(Path(arguments.output).resolve())
    engine = describe_engine()
    slots = count_slots(len(cores), len(gpus), memory, Limits.memory, None)
    _say("cores", f"{len(cores)} usable of {os.cpu_count()}")
    _say("memory", f"{memory / (1 << 30):.1f} GiB")
    _say("GPU", ", ".join(gpus) or "none (nvidia-smi lists no GPU)")
    enough = disk >= ENOUGH_DISK
    _say("disk", f"{disk / (1 << 30):.1f} GiB free{'' if enough else '; make room or choose another output folder'}")
    _say("weights", _weights())
    _say("engine", engine or "no Docker engine answers; start one or set DOCKER_HOST to isolate submissions")
    _say("auto", f"sandbox {choose_sandbox('auto')}, {slots} slots, GPU {'used' if gpus else 'not used'}")
    return OK if enough else EXPECTED_ERROR


def _weights() -> str:
    """How many files there are, without a word about what is in them."""
    folder = weights_folder()
    count = sum(path.is_file() for path in folder.glob(f"*{SUFFIX}"))
    return f"{count} files in {folder}"


def _say(name: str, text: str) -> None:
    print(f"{name:>8}  {text}")
