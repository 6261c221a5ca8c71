"""`harness doctor`: what this machine offers, what `auto` would choose on it, and what its sandbox withstands."""

import argparse
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from harness import machine
from harness.errors import EXPECTED_ERROR, OK, UserError
from harness.executors.local import count_slots
from harness.records import Limits
from harness.sandbox import Sandbox, Setting, choose_sandbox, open_sandbox, read_profile
from harness.sandbox.docker import describe_engine, has_image
from harness.sandbox.proof import Finding, State, prove
from harness.sandbox.rules import ATTEMPTS
from harness.terminal import Terminal
from harness.weights import SUFFIX, weights_folder

ENOUGH_DISK = 5 << 30
"""Bytes; less is enough for a small round, but a container image alone takes one or two GiB."""


KIT_IMAGE = "advkit:0.1.0"
"""Where nobody names an image; it is never pulled, for on a registry that name may be anybody's."""

ETA_LINES = 10
"""How many findings stand between two lines of progress, where there is no terminal."""


def main(arguments: argparse.Namespace) -> int:
    return _prove(arguments) if arguments.prove_sandbox else _look(arguments)


def _look(arguments: argparse.Namespace) -> int:
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


def _prove(arguments: argparse.Namespace) -> int:
    """Every attempt in the sandbox that is in front of us; an error where something is not contained."""
    place = Path(arguments.output).resolve()
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; --output names one on the file system that rounds are played on")
    terminal = Terminal()
    name = choose_sandbox(arguments.sandbox or os.environ.get("HARNESS_SANDBOX") or "auto")
    profile = read_profile(Path(arguments.seccomp) if arguments.seccomp else None)
    setting = Setting(secrets.token_hex(8), {}, terminal.say, runtime=arguments.runtime, seccomp=profile)
    with closing(open_sandbox(name, setting)) as sandbox, TemporaryDirectory(prefix="harness-proof-", dir=place) as own:
        image = _image(arguments, sandbox)
        cores = tuple(machine.usable_cores()[:1])
        found = Counter(_show(prove(sandbox, image, Path(own), cores), terminal))
    terminal.say(_summary(found, name, image, arguments))
    if not sandbox.isolates:
        terminal.say("the process sandbox does not isolate: play only submissions that you trust")
    return EXPECTED_ERROR if found[State.OUT] else OK


def _image(arguments: argparse.Namespace, sandbox: Sandbox) -> str:
    if sandbox.isolates and not arguments.image and not has_image(KIT_IMAGE):
        raise UserError(f"{KIT_IMAGE}: is not there; make kit-image builds it, or --image names one that has python3")
    return arguments.image or KIT_IMAGE


def _show(findings: Iterable[Finding], terminal: Terminal) -> Iterator[State]:
    """Shows each finding as it comes, and how long the rest may take."""
    began, total = time.monotonic(), len(ATTEMPTS) + 1
    columns = (TextColumn("attempts"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    live = terminal.console.is_terminal
    with Progress(*columns, console=terminal.console, transient=True, disable=not live) as bars:
        bar = bars.add_task("", total=total, note="")
        for done, one in enumerate(findings, 1):
            terminal.say(f"{one.state:<18} {one.attempt.words}: {one.attempt.rule}; {one.what}")
            minutes, seconds = divmod(round((time.monotonic() - began) / done * (total - done)), 60)
            note = f"about {minutes}:{seconds:02d} to go"
            bars.update(bar, completed=done, note=note)
            if not live and done % ETA_LINES == 0:
                terminal.say(f"{done} of {total} attempts, {note}")
            yield one.state


def _summary(found: Counter[State], name: str, image: str, arguments: argparse.Namespace) -> str:
    counts = ", ".join(f"{found[state]} {state}" for state in State if found[state] or state is State.OUT)
    if name != "docker":
        return f"sandbox {name}: {found.total()} attempts: {counts}"
    runtime, profile = arguments.runtime or "the default", arguments.seccomp or "the engine's own"
    return f"sandbox docker, image {image}, runtime {runtime}, seccomp {profile}: {found.total()} attempts: {counts}"
