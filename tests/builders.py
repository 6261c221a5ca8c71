"""Tiny tournaments for tests: submissions, datasets and tournament files, written in a few lines each."""

import contextlib
import inspect
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import psutil
import yaml
from PIL import Image

from harness.config import load_tournament
from harness.index import CALL_BITS
from harness.rows import ANSWER, FAULTS, unpack_audits
from harness.tournament import play

NUMPY_IMAGE = "harness-test/python-numpy:1"
PYTHON_IMAGE = "python:3.11-slim"

ATTACK = """\
#!/usr/bin/env python3
import sys
from pathlib import Path

import numpy as np
from PIL import Image

source, target, epsilon = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
names = sorted(path.name for path in source.glob("*.png"))
targets = source / "target_class.csv"
wanted = dict(line.split(",") for line in targets.read_text().split()) if targets.exists() else {}


def read(name):
    return np.asarray(Image.open(source / name)).astype(int)


def write(name, pixels):
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(target / name)

"""

DEFENSE = """\
#!/usr/bin/env python3
import sys
from pathlib import Path

import numpy as np
from PIL import Image

names = sorted(path.name for path in Path(sys.argv[1]).glob("*.png"))


def read(name):
    return np.asarray(Image.open(Path(sys.argv[1]) / name)).astype(int)


def answer(rows):
    Path(sys.argv[2]).write_text("".join(f"{name},{label}\\n" for name, label in rows))

"""


def write_submission(folder, program, role="attack", container=NUMPY_IMAGE, **more):
    """A folder of the contract whose entry point `run` is `program`, written as it is."""
    folder.mkdir(parents=True)
    metadata = {"type": role, "container": container, "container_gpu": container, "entry_point": "run"}
    (folder / "metadata.json").write_text(json.dumps(metadata | more))
    (folder / "run").write_text(program)
    (folder / "run").chmod(0o755)
    return folder


def write_attack(folder, body, role="attack", **more):
    """An attack; `body` has `names`, `read`, `write`, `epsilon` and `wanted` (file name -> target class)."""
    return write_submission(folder, ATTACK + textwrap.dedent(body), role, **more)


def write_defense(folder, body, **more):
    """A defense; `body` has `names`, `read` and `answer(rows)`."""
    return write_submission(folder, DEFENSE + textwrap.dedent(body), "defense", **more)


def rule_defense(folder, rule, **more):
    """A defense that answers `rule(pixels)` for every image and leaves out those where it is None."""
    body = f"\n{inspect.getsource(rule)}\nrows = [(name, {rule.__name__}(read(name))) for name in names]\n"
    return write_defense(folder, body + "answer([row for row in rows if row[1] is not None])\n", **more)


def write_dataset(folder, pixels, true, target, **description):
    """A dataset folder: `pixels` maps ImageId to a height x width x 3 uint8 array; labels likewise."""
    (folder / "images").mkdir(parents=True)
    for name, array in pixels.items():
        Image.fromarray(np.asarray(array, dtype=np.uint8)).save(folder / "images" / f"{name}.png")
    rows = [f"{name},{true[name]},{target[name]}\n" for name in pixels]
    (folder / "dataset.csv").write_text("ImageId,TrueLabel,TargetClass\n" + "".join(rows))
    (folder / "dataset.yaml").write_text(yaml.safe_dump({"name": "tiny"} | description))
    return folder


def first_pixel_dataset(folder, count=4, size=(8, 8), **description):
    """Pictures whose first colour value is ten times their true label; every target is the next label."""
    shape = (size[1], size[0], 3)
    pixels = {f"img{number}": np.full(shape, 40 + number) for number in range(1, count + 1)}
    true = {name: 1 + number for number, name in enumerate(pixels)}
    for name, array in pixels.items():
        array[0, 0, 0] = 10 * true[name]
    return write_dataset(folder, pixels, true, {name: label + 1 for name, label in true.items()}, **description)


def first_pixel(pixels):
    return int(pixels[0, 0, 0] // 10)


def write_tournament(path, **keys):
    """A tournament file; paths in it are relative to its folder."""
    defaults = {
        "dataset": "dataset",
        "submissions": ["submissions/*"],
        "epsilon": 16,
        "sandbox": "process",
        "trust_submissions": True,
        "output": "out",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(defaults | keys))
    return path


class Listener:
    """A display that keeps what it is told."""

    def __init__(self):
        self.lines, self.calls = [], []

    def say(self, line):
        self.lines.append(line)

    def progress(self, progress, running):
        pass

    def ended(self, call, outcome, progress):
        self.calls.append((call, outcome))

    def failed(self, call, error, again):
        self.lines.append(f"failed: {call.label}: {error}")


def play_file(path, **overrides):
    """Plays a tournament file in this process; its Result is returned."""
    return play(load_tournament(path, overrides), Listener())


@contextlib.contextmanager
def harness_process(*arguments):
    """`python -m harness ARGUMENTS` in a session of its own, as a shell starts a job; over with the block."""
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def read_board(output):
    return json.loads((output / "leaderboard.json").read_text())


PLAIN_TABLES = """
BEGIN;
CREATE TEMP TABLE audits (key, image, digest, fault, raw_linf, clipped, linf, l2, mean_abs);
CREATE TEMP TABLE predictions (player, digest, label, fault);
CREATE TEMP TABLE plain AS SELECT * FROM main.calls;
UPDATE plain SET key = lower(hex(key)),
    player = (SELECT lower(hex(value)) FROM players WHERE players.number = plain.player);
ALTER TABLE plain RENAME TO calls;
"""


def read_index(store, query):
    """The rows of an SQL query to the index of a store, over texts instead of numbers: `calls`, `audits` (a row for
    each image) and `predictions` (a row for each answer, the last one of each image)."""
    with contextlib.closing(sqlite3.connect(f"file:{store}/index.sqlite?mode=ro", uri=True)) as database:
        database.executescript(PLAIN_TABLES)
        images, names, players = (
            dict(database.execute(f"SELECT number, value FROM {table}")) for table in ("images", "names", "players")
        )
        faults = dict(enumerate(FAULTS, start=1))
        for key, rows in database.execute(
            "SELECT calls.key, rows FROM main.audits JOIN calls ON call = number"
        ).fetchall():
            for name, image, fault, *measures in unpack_audits(rows).tolist():
                audit = key, names[name], images[image].hex(), faults.get(fault), *measures
                database.execute(f"INSERT INTO temp.audits VALUES (?{', ?' * 8})", audit)
        answers = {}
        for place, rows in database.execute("SELECT place, rows FROM answers ORDER BY place"):
            for image, label in np.frombuffer(rows, dtype=ANSWER).tolist():
                answers[players[place >> CALL_BITS].hex(), images[image].hex()] = label
        for key, label in answers.items():
            fault = faults.get(-1 - label)
            database.execute("INSERT INTO predictions VALUES (?, ?, ?, ?)", (*key, None if label < 0 else label, fault))
        return database.execute(query).fetchall()


def read_ledger(store):
    """(key, role, label) of every recorded call, oldest first."""
    return read_index(store, "SELECT key, role, label FROM calls ORDER BY number")


def living(mark):
    """Processes, zombies left out, whose command line or environment holds `mark`."""
    found = []
    for process in psutil.process_iter():
        try:
            texts = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(mark in text for text in texts):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.pid != os.getpid()]


def store_identity(output) -> str:
    path = Path(output) / "store" / "identity"
    return path.read_text() if path.exists() else ""
