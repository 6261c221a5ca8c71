"""Small builders for unit tests: pictures, datasets, submissions, tables of answers, and a sandbox in this process."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from harness.assembly import AUDIT_COLUMNS, AuditTable
from harness.calls import Arena
from harness.config import Tournament
from harness.dataset import LabelSpace
from harness.images import read_png
from harness.plan import Player
from harness.preparation import Prepared, prepare
from harness.records import Limits, Role, Slot, Verdict
from harness.round import Round, RoundAttack, RoundDefense, RoundImage
from harness.runner import Runner
from harness.sandbox import RESULT_FILE, Ending
from harness.scoring import NO_ANSWER, ScoreTable
from harness.store import Store
from harness.submission import Metadata, Submission

ROOT = Path(__file__).resolve().parents[1]

LABELS = LabelSpace()

COPY = '#!/bin/sh\ncp "$1"/*.png "$2"\n'
"""An attack that changes nothing."""

ANSWER = '#!/bin/sh\nfor file in "$1"/*.png; do echo "${file##*/},%d"; done >"$2"\n'
"""A defense that says one and the same label."""


def data_folder(name):
    """A folder of the test data that lies beside the project; the test is skipped where it is missing."""
    folder = Path(os.environ.get("HARNESS_TEST_DATA", ROOT.parent / "shared" / "data")) / name
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set HARNESS_TEST_DATA to the folder that holds {name}")
    return folder


def random_pixels(seed=0, size=(8, 6)):
    """Height x width x 3 for a (width, height)."""
    width, height = size
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_dataset(folder, count=4, size=(8, 6), *, seed=0, description="name: tiny\n"):
    """Random PNGs img0.. with true labels 1.. and target classes 501..; no `dataset.yaml` where it is None."""
    (folder / "images").mkdir(parents=True)
    for number in range(count):
        pixels = random_pixels([seed, number], size)
        Image.fromarray(pixels).save(folder / "images" / f"img{number}.png")
    rows = [f"img{number},{1 + number},{501 + number}\n" for number in range(count)]
    (folder / "dataset.csv").write_text("ImageId,TrueLabel,TargetClass\n" + "".join(rows))
    if description is not None:
        (folder / "dataset.yaml").write_text(description)
    return folder


def write_submission(folder, role="attack", program=COPY, *, executable=True, files=None, **metadata):
    """A submission whose entry point `run.sh` is `program`; `metadata` adds keys, or takes one away with None."""
    folder.mkdir(parents=True)
    keys = {"type": role, "container": "busybox:1", "entry_point": "run.sh"} | metadata
    keys = {key: value for key, value in keys.items() if value is not None}
    (folder / "metadata.json").write_text(json.dumps(keys))
    for name, text in ({"run.sh": program} | (files or {})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "run.sh").chmod(0o755 if executable else 0o644)
    return folder


def make_player(role="defense", name="player", *, digest="d" * 64, seed=1, limits=None):
    metadata = Metadata(type=role, container="busybox:1", entry_point="run.sh")
    submission = Submission(name, Role(role), metadata, Path("code"), digest)
    return Player(submission, Path("code"), "container", seed, limits or Limits())


def score_table(labels, *, valid=None, clean=None, true=None, target=None, untargeted=None):
    """A ScoreTable around `labels` (A x E x D x N), with names a0.., d0.., i0.. and budgets as epsilons."""
    labels = np.asarray(labels, dtype=np.int32)
    attacks, epsilons, defenses, images = labels.shape
    return ScoreTable(
        attacks=tuple(f"a{number}" for number in range(attacks)),
        untargeted=attacks if untargeted is None else untargeted,
        defenses=tuple(f"d{number}" for number in range(defenses)),
        epsilons=tuple(str(4 + number) for number in range(epsilons)),
        images=tuple(f"i{number}" for number in range(images)),
        labels=labels,
        valid=np.ones((attacks, epsilons, images), dtype=bool) if valid is None else np.asarray(valid, dtype=bool),
        clean=np.ones((defenses, images), dtype=np.int32) if clean is None else np.asarray(clean, dtype=np.int32),
        true_labels=np.ones(images, dtype=np.int32) if true is None else np.asarray(true, dtype=np.int32),
        target_classes=np.full(images, 2, dtype=np.int32) if target is None else np.asarray(target, dtype=np.int32),
    )


ANSWERS = st.sampled_from([NO_ANSWER, 0, 1, 2, 3])
EITHER = st.booleans()


@st.composite
def tables(draw, labels=ANSWERS, valid=EITHER, min_attacks=0):
    """Any table of up to 3 attacks, 2 budgets, 3 defenses and 4 images with three classes."""
    attacks, defenses = draw(st.integers(min_attacks, 3)), draw(st.integers(0, 3))
    epsilons, images = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    true = draw(arrays(np.int32, images, elements=st.integers(1, 3)))
    target = draw(arrays(np.int32, images, elements=st.integers(1, 3)))
    return score_table(
        draw(arrays(np.int32, (attacks, epsilons, defenses, images), elements=labels)),
        valid=draw(arrays(np.bool_, (attacks, epsilons, images), elements=valid)),
        clean=draw(arrays(np.int32, (defenses, images), elements=labels)),
        true=true,
        target=target,
        untargeted=draw(st.integers(0, attacks)),
    )


def make_round(table, batch_size=None):
    """The Round that `table` may have come from: epsilons are the budgets, keys are made of positions."""
    size = batch_size or len(table.images)
    batches = range(-(-len(table.images) // size))
    attacks = tuple(
        RoundAttack(
            name,
            number >= table.untargeted,
            f"submission of {name}",
            f"player of {name}",
            tuple(tuple(f"{name}-{epsilon}-{batch}" for batch in batches) for epsilon in table.epsilons),
        )
        for number, name in enumerate(table.attacks)
    )
    return Round(
        tournament="tiny",
        dataset="tiny",
        labels=LABELS,
        image_size=(8, 6),
        seed=1,
        rules="fair",
        batch_size=size,
        epsilons=table.epsilons,
        budgets=tuple((int(epsilon),) * len(batches) for epsilon in table.epsilons),
        images=tuple(
            RoundImage(name, f"file of {name}", f"clean {name}", int(true), int(target))
            for name, true, target in zip(table.images, table.true_labels, table.target_classes, strict=True)
        ),
        attacks=attacks,
        defenses=tuple(RoundDefense(name, f"submission of {name}", f"player of {name}") for name in table.defenses),
        store="store",
    )


def make_audits(table, seed=0):
    """An AuditTable with random measures, a digest for every image, and a fault where it is not `valid`."""
    shape = table.valid.shape
    generator = np.random.default_rng(seed)
    digests = np.array([f"image {number}" for number in range(table.valid.size)], dtype=object).reshape(shape)
    faults = np.where(table.valid, "", "missing").astype(object)
    measures = {column: generator.integers(0, 50, shape).astype(float) * table.valid for column in AUDIT_COLUMNS}
    return AuditTable(digests, faults, measures)


# --- a whole round in this process


def label_of(pixels):
    """What the defense `sum` of `FakeSandbox` answers: a function of every pixel."""
    return 1 + int(np.asarray(pixels, dtype=np.int64).sum()) % 1000


class FakeSandbox:
    """Plays programs that are one line of words: an attack `noop`, `shift 3` (adds 3 to all values) or `nothing`,
    a defense `sum`. `trouble(job)` may raise what our own side would."""

    name = "fake"
    isolates = True

    def __init__(self, trouble=lambda job: None):
        self.jobs = []
        self.seen = []
        self.checks = 0
        self._trouble = trouble

    def prepare(self, submission, use_gpu):
        return "fake:1"

    def run(self, job, stop):
        self._trouble(job)
        self.jobs.append(job)
        self.seen.append(sorted(path.name for path in job.inputs.iterdir()))
        word, *numbers = (job.code / job.entry_point).read_text().split()[1:]
        if word == "sum":
            rows = [f"{path.name},{label_of(Image.open(path))}\n" for path in job.inputs.glob("*.png")]
            (job.output / RESULT_FILE).write_text("".join(rows))
        elif word != "nothing":
            for path in job.inputs.glob("*.png"):
                with Image.open(path) as image:
                    pixels = np.asarray(image).astype(int) + int(*numbers or [0])
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(job.output / path.name)
        return Ending(Verdict.OK, 0, 0.5, 1 << 20, "")

    def sweep(self):
        return 0

    def check(self):
        self.checks += 1

    def close(self):
        pass


class ShuffledExecutor:
    """Plays calls in the order of a random draw among those that run; see `harness.executors.Executor`.

    ground: the sandbox that is asked whether it answers; `Field.play` sets it.
    """

    ground = None

    def __init__(self, play, slots=1, seed=0):
        self._play, self._slots, self._random = play, slots, Random(seed)
        self._running = []
        self.submitted = []
        self.closed = False

    @property
    def free_slots(self):
        return self._slots - len(self._running)

    @property
    def running(self):
        return tuple(self._running)

    def submit(self, call):
        assert self.free_slots > 0
        self._running.append(call)
        self.submitted.append(call)

    def wait(self, seconds):
        if not self._running:
            return None
        call = self._running.pop(self._random.randrange(len(self._running)))
        try:
            return call, self._play(call, Slot(0, (0,)), None)
        except Exception as error:  # noqa: BLE001 - as an executor does
            return call, error

    def close(self):
        self.closed = True

    def check(self):
        self.ground.check()

    def sweep(self):
        return self.ground.sweep()


class Listener:
    """A display that keeps what it is told."""

    def __init__(self):
        self.lines, self.progresses, self.ends, self.failures = [], [], [], []

    def say(self, line):
        self.lines.append(line)

    def progress(self, progress, running):
        self.progresses.append(progress)

    def ended(self, call, outcome, progress):
        self.ends.append((call, outcome))

    def failed(self, call, error, again):
        self.failures.append((call, error, again))


def predictions(index, player):
    """Digest of a canonical image -> label, None where there was none that counts, of all that a defense was asked."""
    numbers, labels = index.answers(player)
    answers = (None if label == NO_ANSWER else label for label in labels.tolist())
    return dict(zip(index.digests(numbers), answers, strict=True))


@dataclass
class Field:
    """A round that is ready to be played in this process."""

    tournament: Tournament
    store: Store
    sandbox: FakeSandbox
    prepared: Prepared
    arena: Arena
    listener: Listener

    def play(self, executor=None, **options):
        """Plays the round, by default one call after the other; the runner is returned."""
        prepared = self.prepared
        runner = Runner(prepared.round, prepared.attacks, prepared.defenses, self.store, self.listener, **options)
        executor = executor or ShuffledExecutor(self.arena.play)
        if isinstance(executor, ShuffledExecutor):
            executor.ground = self.sandbox
        runner.play(executor)
        return runner

    def predictions(self):
        """What is known: (player, digest) -> label."""
        players = {entry.player for entry in self.prepared.round.defenses}
        return {
            (player, digest): label
            for player in players
            for digest, label in predictions(self.store.index, player).items()
        }

    def answers(self):
        """What must be known at the end: every defense's answer on every clean and every adversarial image."""
        digests = {image.clean for image in self.prepared.round.images}
        for key in self.prepared.round.unit_keys():
            digests |= {audit.digest for audit in self.store.index.audits(key)}
        return {
            (entry.player, digest): label_of(self.pixels(digest))
            for entry in self.prepared.round.defenses
            for digest in digests
        }

    def pixels(self, digest):
        return read_png(self.store.objects.read(digest), self.prepared.round.image_size)


def write_players(folder, attacks=("noop", "shift 3"), targeted=(), defenses=("sum",)):
    """Submissions for `FakeSandbox`, named a0.., t0.., d0.."""
    roles = (("attack", "a", attacks), ("targeted_attack", "t", targeted), ("defense", "d", defenses))
    for role, letter, programs in roles:
        for number, program in enumerate(programs):
            write_submission(folder / f"{letter}{number}", role, f"#!fake {program}")


@contextmanager
def open_field(folder, sandbox=None, *, dataset="dataset", players="players", output="out", **keys):
    """The dataset and the players below `folder`, resolved to a round in a store below `output`."""
    defaults = {
        "name": "field",
        "dataset": {"path": folder / dataset},
        "submissions": [str(folder / players / "*")],
        "epsilon": 4,
        "output": folder / output,
    }
    tournament = Tournament.model_validate(defaults | keys)
    tournament.output.mkdir(parents=True, exist_ok=True)
    sandbox, listener = sandbox or FakeSandbox(), Listener()
    with closing(Store(tournament.store_path)) as store, store.writing(), ThreadPoolExecutor(1) as pixels:
        prepared = prepare(tournament, store, sandbox, pixels, False, listener.say)
        arena = Arena(sandbox, store, prepared.round.image_size, prepared.round.labels, pixels)
        yield Field(tournament, store, sandbox, prepared, arena, listener)
