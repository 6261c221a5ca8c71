"""Whatever moment the harness is killed at, the same command goes on: nothing that was recorded is called again, and
the leaderboard ends as the same bytes as that of a run which nobody interrupted."""

import os
import random
import signal
import time
from dataclasses import dataclass

import pytest
from builders import (
    harness_process,
    read_index,
    store_identity,
)
from engine import assert_gone, containers
from faulty import BATCH, PHASES, open_forge, write_small

SEEDS, KILLS = range(10), 10
"""A hundred kills; each seed draws its moments."""


@dataclass
class Played:
    """A tournament that is being played, perhaps in several runs."""

    path: object

    @property
    def output(self):
        return self.path.parent / "out"

    @property
    def store(self):
        return self.output / "store"

    def rows(self, query):
        return read_index(self.store, query) if (self.store / "index.sqlite").exists() else []

    def ledger(self):
        return self.rows("SELECT number, key, finished FROM calls ORDER BY number")

    def attacked(self):
        """Labels of the attack calls that are recorded, as the tally has them: name, epsilon, images."""
        labels = self.rows("SELECT label FROM calls WHERE role != 'defense'")
        return {_tally_line(label) for (label,) in labels}

    def predictions(self):
        return self.rows("SELECT player, digest, label FROM predictions ORDER BY player, digest")

    def answered(self):
        """What the defenses were asked and answered, as the tally has it: name, digest of the image."""
        names = dict(self.rows("SELECT player, label FROM calls WHERE role = 'defense'"))
        return {f"{names[player].split()[0]} {digest}" for player, digest, _ in self.predictions()}

    def tally(self):
        """What submissions were shown, in all runs; under `process` they write it down themselves."""
        path = self.store / "tally"
        return path.read_text().splitlines() if path.exists() else []

    def board(self):
        return (self.output / "leaderboard.json").read_bytes()


def _tally_line(label):
    name, _, epsilon, _, batch = label.split()
    first = (int(batch) - 1) * BATCH + 1
    return f"{name} {epsilon} " + " ".join(f"img{number}.png" for number in range(first, first + BATCH))


@pytest.fixture(scope="module")
def forge():
    with open_forge() as forge:
        yield forge


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Played by a plain `harness run`, which nobody interrupts."""
    played = Played(write_small(tmp_path_factory.mktemp("reference")))
    with harness_process("run", played.path) as harness:
        _, errors = harness.communicate(timeout=120)
    assert (harness.returncode, errors) == (0, "")
    assert len(played.ledger()) == 22
    return played


@pytest.fixture(scope="module")
def whole(forge, tmp_path_factory):
    """How many steps and seconds a run takes that nobody interrupts."""
    began = time.monotonic()
    death = forge.run("run", write_small(tmp_path_factory.mktemp("whole")))
    assert (death.code, death.errors) == (0, "")
    return death.steps, time.monotonic() - began


def run(forge, played, **moment):
    """One run; whatever becomes of it, nothing that was recorded before is called or recorded again."""
    ledger, attacked, answered, told = played.ledger(), played.attacked(), played.answered(), len(played.tally())
    death = forge.run("run", played.path, **moment)
    assert death.code == -signal.SIGKILL or (death.code, death.errors) == (0, "")
    assert played.ledger()[: len(ledger)] == ledger
    assert not set(played.tally()[told:]) & (attacked | answered)
    return death


def assert_whole(played, reference):
    """The tournament ended as if it had never been interrupted, and left nothing but its results."""
    assert played.board() == reference.board()
    assert played.attacked() | played.answered() == reference.attacked() | reference.answered()
    for folder in ("work", "code", "objects"):
        assert [path.name for path in (played.store / folder).rglob(".*")] == []
    assert list((played.store / "work").iterdir()) == []
    assert_gone(store_identity(played.output))


def moment(draw, whole):
    """Two of three times a step of the harness, else a moment of the clock."""
    steps, seconds = whole
    if draw.random() < 2 / 3:
        return {"after_steps": draw.randint(1, steps // 2)}
    return {"after_seconds": draw.uniform(0, seconds / 2)}


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_random_moments(tmp_path, forge, reference, whole, seed):
    draw, kills, number = random.Random(seed), 0, 0
    while kills < KILLS:
        number += 1
        played = Played(write_small(tmp_path / str(number)))
        while run(forge, played, **moment(draw, whole) if kills < KILLS else {}).code:
            kills += 1
        assert_whole(played, reference)


@pytest.mark.parametrize("phase", sorted(set(PHASES.values())))
def test_killed_while_it_is(tmp_path, forge, reference, phase):
    """At two random steps of each kind of work; what was in a call is left alive before, so that there is something
    to sweep."""
    draw, played = random.Random(phase), Played(write_small(tmp_path))
    for _ in range(2):
        run(forge, played, after_steps=draw.randint(1, 30), phase="in a call")
        death = run(forge, played, after_steps=draw.randint(1, 5), phase=phase)
        assert (death.code, death.phase) == (-signal.SIGKILL, phase)
    assert run(forge, played).code == 0
    assert_whole(played, reference)


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut(tmp_path, forge, reference, whole, seed):
    """Objects lose their bytes, the index its last outcomes; one command is enough to mend all that."""
    draw, played = random.Random(seed), Played(write_small(tmp_path))
    for _ in range(2):
        forge.run("run", played.path, after_steps=draw.randint(whole[0] // 4, whole[0]))
        objects = sorted(played.store.glob("objects/??/*"))
        for path in draw.sample(objects, len(objects) // 3):
            cut_off(path, draw)
        for path in played.store.glob("index.sqlite-wal"):
            cut_off(path, draw)
    last = forge.run("run", played.path)
    assert (last.code, last.errors) == (0, "")
    assert_whole(played, reference)


def cut_off(path, draw):
    path.chmod(0o644)
    os.truncate(path, draw.choice([0, draw.randint(0, path.stat().st_size)]))


@pytest.mark.docker
def test_killed_at_random_moments_with_containers(tmp_path, forge, reference, docker_engine):
    """Also in calls, whose containers go on without the harness until the next one removes them."""
    draw, played = random.Random(2017), Played(write_small(tmp_path, sandbox="docker"))
    in_a_call, sweeping, anywhere = ("in a call", 9, 20), ("sweeping", 1, 1), (None, 1, 400)
    for phase, first, last in (in_a_call, sweeping, anywhere, in_a_call, sweeping, in_a_call):
        death = run(forge, played, after_steps=draw.randint(first, last), phase=phase)
        assert (death.code, death.phase) == (-signal.SIGKILL, phase or death.phase)
    death = run(forge, played)
    assert "that an earlier run left behind in the docker sandbox" in death.output
    assert_whole(played, reference)
    assert containers(docker_engine, store_identity(played.output)) == []
