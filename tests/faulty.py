"""For tests of crashes: a harness that is killed at a moment of one's choice, and faults of disks and engines."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from builders import PYTHON_IMAGE, first_pixel_dataset, write_submission, write_tournament
from PIL import Image

STEPS = ("open", "os.", "shutil.", "subprocess.Popen", "sqlite3.connect", "http.client.send")
"""Audit events (PEP 578) that count as a step of the harness; so does every statement that SQLite is given."""

NO_STEPS = ("os.listdir/proc", "open/proc", "os.putenv", "os.fwalk")
NO_STEPS_IN = ("/lib/python3", "/harness/")
"""Imports, and the look at what is installed: hundreds of files, which would be most of the moments."""

PHASES = {
    "write_results": "writing the results",
    "record": "recording",
    "sweep": "sweeping",
    "remove_tree": "clearing away",
    "making": "taking an object in",
    "_collect": "reading output",
    "_collect_image": "reading output",
    "_stage": "staging",
    "run": "in a call",
    "take_in_images": "preparing",
    "take_in_submissions": "preparing",
    "prepare": "preparing",
    "opened": "opening",
}
"""Functions of the harness, the innermost of which says what it was doing."""


@dataclass(frozen=True)
class Death:
    """How one run ended. code: of the exit, negative for a signal. steps: that it made; phase: in which it died."""

    code: int
    steps: int
    phase: str
    output: str
    errors: str


class Forge:
    """Runs `harness ARGUMENTS` in children of a process that has it imported already.

    So a run takes no second to begin, and the moments at which it is killed are moments of its work. Otherwise
    a child is a harness like any other: in a session of its own, with its own threads and files.
    """

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, *arguments, after_steps=None, after_seconds=None, phase=None) -> Death:
        """A run that is killed after so many of its steps (of a phase) or seconds, if it has not ended by then."""
        order = {"arguments": [*map(str, arguments)], "steps": after_steps, "seconds": after_seconds, "phase": phase}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Death(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextlib.contextmanager
def open_forge():
    forge = Forge()
    try:
        yield forge
    finally:
        forge.close()


# --- inside the forge


def serve():
    """Reads orders, one a line, and answers each with how it ended."""
    import pyarrow.parquet  # noqa: F401 - what writing the results would import

    for line in sys.stdin:
        order = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            child = os.fork()
            if child == 0:
                _child(order, Path(folder))
            timer = subprocess.Popen(["sleep", str(order["seconds"])]) if order["seconds"] is not None else None
            code = _wait(child, timer)
            tell = [Path(folder, name) for name in ("phase", "out", "err")]
            phase, out, err = (path.read_text() if path.exists() else "" for path in tell)
        steps, _, phase = phase.partition(" ")
        ending = {"code": code, "steps": int(steps or 0), "phase": phase, "output": out, "errors": err}
        print(json.dumps(ending), flush=True)


def _wait(child, timer):
    """The exit code of `child`, which is killed when `timer` ends."""
    code = None
    while code is None:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
        elif timer is not None and pid == timer.pid:
            os.kill(child, signal.SIGKILL)
    if timer is not None:
        timer.kill()
        timer.wait()
    return code


def _child(order, folder):
    code = 70
    try:
        os.setsid()
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        steps = _Steps(order["steps"], order["phase"], os.open(folder / "phase", os.O_RDWR | os.O_CREAT))
        sys.addaudithook(steps.audit)
        steps.watch_statements()
        from harness.cli import main

        code = main(order["arguments"])
        steps.tell("the end")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Steps:
    """Counts the steps of this process, and kills it at the last one that it may make."""

    def __init__(self, last, phase, file):
        self._last, self._phase, self._file = last, phase, file
        self._made, self._numbers = 0, itertools.count(1)

    def audit(self, event, arguments):
        if event.startswith(STEPS) and not self._is_none(event, arguments):
            self.step()

    def _is_none(self, event, arguments):
        first = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        return f"{event}{first}".startswith(NO_STEPS) or any(part in first for part in NO_STEPS_IN)

    def step(self, *_):
        phase = phase_of(sys._getframe())
        if self._phase in (None, phase):
            self._made = next(self._numbers)  # one step for one thread
            if self._made == self._last:
                self.tell(phase)
                os.kill(os.getpid(), signal.SIGKILL)

    def tell(self, phase):
        os.pwrite(self._file, f"{self._made} {phase}".encode(), 0)

    def watch_statements(self):
        import sqlite3

        connect = sqlite3.connect

        def watched(*arguments, **options):
            database = connect(*arguments, **options)
            database.set_trace_callback(self.step)
            return database

        sqlite3.connect = watched


def phase_of(frame):
    """What the harness was doing in `frame`: the innermost function that has a word for it."""
    while frame is not None:
        if "/harness/" in frame.f_code.co_filename and (phase := PHASES.get(frame.f_code.co_name)):
            return phase
        frame = frame.f_back
    return "else"


# --- a tournament

IMAGES, BATCH = 4, 2

TALLY = ">>../../../tally 2>/dev/null || true"
"""From the copy of the code of a call up to the store; in a container there is no such place."""

ATTACK = f"""#!/bin/sh
echo "$(cat name) $3 $(cd "$1" && echo *.png)" {TALLY}
for file in "$1"/*.png; do cp "made/${{file##*/}}" "$2"; done
"""

DEFENSE = f"""#!/bin/sh
for file in "$1"/*.png; do
    echo "$(cat name) $(sha256sum <"$file" | cut -c1-64)" {TALLY}
    sum=$(cat name "$file" | cksum)
    echo "${{file##*/}},$((1 + ${{sum%% *}} % 5))"
done >"$2"
"""


def write_small(folder, images=IMAGES, size=(8, 8), **keys):
    """Two attacks, a targeted one and two defenses on some images in batches of two; in shell, which is quick."""
    images = first_pixel_dataset(folder / "dataset", images, size) / "images"
    for name, role, shift in (("plus3", "attack", 3), ("minus9", "attack", -9), ("plus5", "targeted_attack", 5)):
        attack = write_submission(folder / "submissions" / name, ATTACK, role, PYTHON_IMAGE)
        (attack / "name").write_text(name)
        (attack / "made").mkdir()
        for path in images.iterdir():
            pixels = np.asarray(Image.open(path)).astype(int) + shift
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(attack / "made" / path.name)
    for name in ("one", "two"):
        write_defense(folder, name)
    return write_tournament(folder / "small.yaml", batch_size=BATCH, slots=2, **keys)


def write_defense(folder, name):
    """A defense more; its answers depend on its name and on every byte of an image."""
    defense = write_submission(folder / "submissions" / name, DEFENSE, "defense", PYTHON_IMAGE)
    (defense / "name").write_text(name)


if __name__ == "__main__":
    serve()
