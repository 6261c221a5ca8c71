"""A tournament of the size of 2017, and larger, on one machine: everything but the submissions and the pixels.

156 attacks (91 of them untargeted), 107 defenses, 5000 images, batches of 100, on 64 slots: 7800 calls of attacks and
84 million answers. The planner, the runner, the store's index and the scoring are the real ones; an executor with a
clock of its own takes the place of machines. What calls take is drawn: for each player a start-up of 3 to 15 s and the
seconds for 100 images, log-normal around 20 for defenses and 120 for attacks (sigma 0.8, at most 450); each call is
10 % off, log-normal. Attacks leave one image in 200 out, and one in 100 as it was.

Three processes, one after the other: the first plans and is broken off when half of the answers are there, the second
plans what is left and plays it, the third makes the board. For each: seconds and peak memory; then the makespan on the
executor's clock against the ideal, all seconds of all calls shared evenly by the slots.

    python benchmarks/replay.py [--images 5000] [--attacks 156] [--defenses 107] [--slots 64] [--filled | --agenda]

With `--filled` most of the play is left out, which would take hours with a thousand million answers: half of the
attacks' calls are recorded, and what they made is written into the index as answered, 250 answers a call; the rest is
planned, and a piece of it is played; then all is filled in and scored. With `--agenda` there is nothing but the order
of calls and the makespan, without store and bytes; a defense gets two batches a call.
"""

import argparse
import cProfile
import hashlib
import heapq
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the harness of this tree

from harness.assembly import StoredAudits, assemble_in_file  # noqa: E402
from harness.config import Tournament  # noqa: E402
from harness.dataset import LabelSpace  # noqa: E402
from harness.index import CALL_BITS  # noqa: E402
from harness.leaderboard import build_leaderboard  # noqa: E402
from harness.plan import Player, attack_call, player_seed  # noqa: E402
from harness.preparation import _round as make_round  # noqa: E402
from harness.records import Call, Fault, ImageAudit, Limits, Outcome, Prediction, Role, Verdict  # noqa: E402
from harness.round import Round, RoundImage, read_round, write_round  # noqa: E402
from harness.rows import ANSWER  # noqa: E402
from harness.runner import Progress, Runner  # noqa: E402
from harness.schedule import Agenda, AttackTask  # noqa: E402
from harness.store import Store  # noqa: E402
from harness.submission import Metadata, Submission  # noqa: E402

BATCH = 100
PIECE = 2_000_000
"""Answers that are played of a round that is filled in."""

PLAYED = ("first half", "resumed", "score")
FILLED = ("planned", "half filled", "a piece", "filled", "score")
UNTARGETED = 91 / 156
MEDIAN = {Role.DEFENSE: 20.0, Role.ATTACK: 120.0, Role.TARGETED_ATTACK: 120.0}
CLASSES = 1000


@dataclass(frozen=True)
class Size:
    images: int
    attacks: int
    defenses: int
    slots: int

    @property
    def answers(self) -> int:
        """At most: images that are as they were are not asked again."""
        return self.images * (1 + self.attacks) * self.defenses


def digest_of(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def image_digest(picture: int, *words: object) -> str:
    """It ends with the position of its picture, so that whoever answers knows the true label."""
    return f"{digest_of(picture, *words)[:56]}{picture:08x}"


def true_label(picture: int) -> int:
    return 1 + picture * 7919 % CLASSES


def make_player(role: Role, number: int) -> Player:
    metadata = Metadata(type=role, container="replay:1", entry_point="run")
    submission = Submission(f"{role} {number:04}", role, metadata, Path("code"), digest_of(role, number))
    return Player(submission, Path("code"), digest_of("container"), player_seed(0, submission), Limits())


def make_players(size: Size) -> tuple[list[Player], list[Player]]:
    untargeted = round(size.attacks * UNTARGETED)
    attacks = [make_player(Role.ATTACK, number) for number in range(untargeted)]
    attacks += [make_player(Role.TARGETED_ATTACK, number) for number in range(size.attacks - untargeted)]
    return attacks, [make_player(Role.DEFENSE, number) for number in range(size.defenses)]


def plan(size: Size, folder: Path) -> Round:
    """The round, as `harness run` makes it when everything is read."""
    attacks, defenses = make_players(size)
    images = tuple(
        RoundImage(
            f"image{number:06}", digest_of("source", number), image_digest(number), true_label(number),
            1 + (true_label(number) + 500) % CLASSES,
        )
        for number in range(size.images)
    )  # fmt: skip
    tournament = Tournament.model_validate({
        "name": "replay", "dataset": {"path": folder}, "submissions": ["none"], "output": folder, "batch_size": BATCH,
    })  # fmt: skip
    dataset = cast(Any, SimpleNamespace(name="replay", labels=LabelSpace()))
    round_ = make_round(tournament, dataset, images, (299, 299), attacks, defenses, ())
    write_round(round_, folder)
    return round_


# --- what takes the place of machines


class Durations:
    """Seconds of each call."""

    def __init__(self) -> None:
        self._players: dict[str, tuple[float, float]] = {}
        self._noise = np.random.default_rng(1)

    def of(self, player: Player, images: int) -> float:
        if player.key not in self._players:
            generator = np.random.default_rng(player.seed)
            each = min(450.0, MEDIAN[player.submission.role] * generator.lognormal(0, 0.8)) / 100
            self._players[player.key] = generator.uniform(3, 15), each
        start_up, each = self._players[player.key]
        return float((start_up + each * images) * self._noise.lognormal(0, 0.1))


class Recorded:
    """An executor whose clock jumps to the end of the next call. answers: after so many it is broken off."""

    def __init__(self, size: Size, answers: float) -> None:
        self._slots, self._left = size.slots, answers
        self._players = {player.key: player for players in make_players(size) for player in players}
        self._durations = Durations()
        self._running: list[tuple[float, int, float, Call]] = []
        self.now = self.busy = 0.0
        self.calls = self.answers = 0

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._running)

    @property
    def running(self) -> tuple[Call, ...]:
        return tuple(call for *_, call in self._running)

    def submit(self, call: Call) -> None:
        self.calls += 1
        seconds = self._durations.of(self._players[call.unit.player], len(call.images))
        heapq.heappush(self._running, (self.now + seconds, self.calls, seconds, call))

    def wait(self, seconds: float) -> tuple[Call, Outcome | Exception] | None:
        if self._left <= 0:
            raise KeyboardInterrupt
        self.now, _, took, call = heapq.heappop(self._running)
        self.busy += took
        if call.unit.role is not Role.DEFENSE:
            return call, outcome_of(call, took, images=tuple(attacked(call)))
        self.answers += len(call.images)
        self._left -= len(call.images)
        return call, outcome_of(call, took, predictions=tuple(answered(call)))

    def close(self) -> None:
        self._running.clear()

    def check(self) -> None:
        pass

    def sweep(self) -> int:
        return 0


def outcome_of(call: Call, seconds: float, **produced: Any) -> Outcome:
    return Outcome(call.unit.key, Verdict.OK, 0, seconds, 1 << 30, "", **produced)


def attacked(call: Call) -> Iterator[ImageAudit]:
    for name, clean in call.images.items():
        draw = int(clean[:8], 16) ^ call.unit.seed & 0xFFFFFFFF
        if draw % 200 == 0:
            yield ImageAudit(name.removesuffix(".png"), clean, Fault.MISSING)
        elif draw % 100 == 1:
            yield ImageAudit(name.removesuffix(".png"), clean)
        else:
            digest = image_digest(int(clean[56:], 16), call.unit.key)
            yield ImageAudit(name.removesuffix(".png"), digest, None, 16, 0, 16, 4000.0 + draw % 1000, 12.5)


def answered(call: Call) -> Iterator[Prediction]:
    """Every defense has a strength of its own, and every image an ease."""
    strength = call.unit.seed % 1000
    for digest in call.images.values():
        ease, true = int(digest[:4], 16), true_label(int(digest[56:], 16))
        right = ease * 1000 < (300 + strength // 2) << 16
        yield Prediction(digest, true if right else 1 + (true + ease) % CLASSES)


class Origin:
    """Says that every object is there that the index knows; reading a folder of so many files is measured beside it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def digests(self) -> Iterator[str]:
        for first in range(256):
            yield from (value.hex() for value in self._store.index.numbers_from(first))


class Silent:
    """A display that counts."""

    def progress(self, progress: Progress, running: tuple[Call, ...]) -> None:
        self.last = progress

    def ended(self, call: Call, outcome: Outcome, progress: Progress) -> None:
        pass

    def failed(self, call: Call, error: Exception, again: bool) -> None:
        raise RuntimeError(f"{call.label}: {error}")


# --- the three processes


def play(size: Size, folder: Path, answers: float) -> dict[str, float]:
    began, busy = time.perf_counter(), time.process_time()
    round_ = plan(size, folder)
    keyed = time.perf_counter()
    with closing(Store(folder / "store")) as store, store.writing():
        store.objects = cast(Any, Origin(store))
        runner = Runner(round_, *make_players(size), store, Silent())
        planned, planned_busy, memory = time.perf_counter(), time.process_time(), peak()
        executor = Recorded(size, answers)
        with suppress(KeyboardInterrupt):
            runner.play(executor)
    ended = time.perf_counter()
    return {
        "planning s": planned - began,
        "planning CPU s": planned_busy - busy,
        "of them keys of calls s": keyed - began,
        "planning peak MB": memory,
        "playing s": ended - planned,
        "playing CPU s": time.process_time() - planned_busy,
        "playing peak MB": peak(),
        "calls": executor.calls,
        "answers": executor.answers,
        "clock s": executor.now,
        "busy s": executor.busy,
    }


def fill(size: Size, folder: Path, share: float) -> dict[str, float]:
    """Records this share of the attacks' calls, and an answer of every defense on every image that is there."""
    began = time.perf_counter()
    round_ = plan(size, folder)
    attacks, defenses = make_players(size)
    with closing(Store(folder / "store")) as store, store.writing():
        index = store.index
        index.add_images(image.clean for image in round_.images)
        calls = [(player, number) for number in range(len(round_.batches)) for player in attacks]
        known = index.known_calls(round_.unit_keys())
        for player, number in calls[: int(share * len(calls))]:
            call = attack_call(player, round_.budgets[0][number], number, round_.batches[number])
            if call.unit.key not in known:
                index.record(call.unit, call.label, outcome_of(call, 120.0, images=tuple(attacked(call))), "")
        for player in defenses:
            answer_all(store, player)
    return {"filling s": time.perf_counter() - began}


def answer_all(store: Store, player: Player) -> None:
    """What thousands of calls of `Index.record` would leave behind, in one transaction."""
    index, unit = store.index, player.unit
    known = index.answers(player.key)[0]
    index.record(unit, "filled", Outcome(unit.key, Verdict.OK, 0, 1.0, 0, ""), "")
    number = index._player(player.key)
    left = np.setdiff1d(np.arange(1, index.last_image + 1, dtype=np.uint32), known)
    generator = np.random.default_rng(player.seed)
    rows = np.empty(len(left), dtype=ANSWER)
    rows["image"], rows["label"] = generator.permutation(left), generator.integers(1, 1 + CLASSES, len(left))
    call = index._last("calls")
    pieces = [(call + 1 + start // 250, rows[start : start + 250]) for start in range(0, len(rows), 250)]
    columns = f"{number}, 'filled', 'ok', 0, 30.0, 0, ?, '{{}}', 0, '', ''"
    with index._writing():
        index._database.executemany(
            f"INSERT INTO calls VALUES (?, ?, 'defense', {columns})",
            ((place, bytes.fromhex(digest_of(number, place)), len(piece)) for place, piece in pieces),
        )
        index._database.executemany(
            "INSERT INTO answers VALUES (?, ?)",
            ((number << CALL_BITS | place, piece.tobytes()) for place, piece in pieces),
        )


def agenda(size: Size) -> dict[str, float]:
    """The order of all calls alone: which attack is next is not weighed, and images have the next free number."""
    attacks, defenses = make_players(size)
    started = time.perf_counter()
    left = Agenda(size.images, BATCH, len(attacks), [player.seed for player in defenses])
    left.batches[:] = 2
    for batch in range(size.images // BATCH):
        for attack in range(len(attacks)):
            left.add_attack(AttackTask(attack, 0, batch, range(batch * BATCH, (batch + 1) * BATCH)))
    left.offer(np.arange(size.images), np.arange(1, size.images + 1, dtype=np.uint32))
    durations, running = Durations(), []
    made, now, busy, calls = size.images, 0.0, 0.0, 0
    while True:
        while len(running) < size.slots and (task := left.take()):
            player = attacks[task.attack] if isinstance(task, AttackTask) else defenses[task.defense]
            seconds = durations.of(player, task.images)
            busy, calls = busy + seconds, calls + 1
            heapq.heappush(running, (now + seconds, calls, task))
        if not running:
            break
        now, _, task = heapq.heappop(running)
        left.settle(task)
        if isinstance(task, AttackTask):
            left.offer(np.asarray(task.pictures), np.arange(made + 1, made + 1 + BATCH, dtype=np.uint32))
            made += BATCH
    seconds = time.perf_counter() - started
    return {"agenda s": seconds, "agenda peak MB": peak(), "calls": calls, "clock s": now, "busy s": busy}


def score(size: Size, folder: Path) -> dict[str, float]:
    began, busy = time.perf_counter(), time.process_time()
    round_ = read_round(folder)
    with closing(Store(folder / "store")) as store:
        audits = StoredAudits(round_, store.index)
        table = assemble_in_file(round_, store.index, audits, folder)
        read, memory = time.perf_counter(), peak()
        board = build_leaderboard(round_, table, audits, "fair")
    ended = time.perf_counter()
    if not board["complete"]:
        raise RuntimeError("answers are missing")
    return {
        "reading s": read - began,
        "reading peak MB": memory,
        "board s": ended - read,
        "reading and board CPU s": time.process_time() - busy,
        "scoring peak MB": peak(),
    }


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def run_phase(phase: str, size: Size, folder: Path) -> dict[str, float]:
    phases: dict[str, Callable[[], dict[str, float]]] = {
        "first half": lambda: play(size, folder, size.answers / 2),
        "resumed": lambda: play(size, folder, float("inf")),
        "planned": lambda: play(size, folder, 0),
        "half filled": lambda: fill(size, folder, 0.5),
        "a piece": lambda: play(size, folder, PIECE),
        "filled": lambda: fill(size, folder, 1),
        "agenda": lambda: agenda(size),
        "score": lambda: score(size, folder),
    }
    return phases[phase]()


def profiled(phase: str, size: Size, folder: Path) -> dict[str, float]:
    with cProfile.Profile() as profile:
        found = run_phase(phase, size, folder)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--attacks", type=int, default=156)
    parser.add_argument("--defenses", type=int, default=107)
    parser.add_argument("--slots", type=int, default=64)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--filled", action="store_true", help="plays a piece of it alone")
    kind.add_argument("--agenda", action="store_true", help="the order of calls alone")
    parser.add_argument("--profile", action="store_true", help="says where time goes, and takes twice as long")
    parser.add_argument("--folder", type=Path, help="where the store is made (default: a temporary folder)")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = Size(arguments.images, arguments.attacks, arguments.defenses, arguments.slots)
    if arguments.phase:
        run = profiled if arguments.profile else run_phase
        print(json.dumps(run(arguments.phase, size, arguments.folder)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        phases = FILLED if arguments.filled else ("agenda",) if arguments.agenda else PLAYED
        report(size, Path(name), phases, sys.argv[1:])


def report(size: Size, folder: Path, phases: Iterable[str], options: Iterable[str]) -> None:
    print(f"{size.attacks} attacks x {size.defenses} defenses x {size.images} images: {size.answers} answers")
    found = {}
    for phase in phases:
        command = [sys.executable, __file__, *options, "--folder", str(folder), "--phase", phase]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[phase] = json.loads(done.stdout)
        for name, value in found[phase].items():
            print(f"{phase:>10}  {name:<24} {value:,.1f}", flush=True)
    whole = [found[phase] for phase in ("first half", "resumed", "agenda") if phase in found]
    if whole:
        clock, busy = (sum(part[name] for part in whole) for name in ("clock s", "busy s"))
        print(f"makespan over ideal {clock / (busy / size.slots):.4f}")
    index = sum(path.stat().st_size for path in (folder / "store").glob("index.sqlite*"))
    print(f"index {index / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
