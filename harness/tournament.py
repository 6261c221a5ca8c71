"""The whole of it: play a tournament, or score again what was played, and write the results."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import harness
from harness import machine
from harness.assembly import StoredAudits, assemble_in_file
from harness.atomic import write_atomic
from harness.config import Tournament
from harness.dataset import Description, describe
from harness.errors import UserError
from harness.executors.field import Field, Ground, open_ground
from harness.executors.marks import MARKS, sweep_marks
from harness.index import CallRecord
from harness.intake import check_untouched
from harness.leaderboard import build_leaderboard
from harness.plan import Player
from harness.preparation import prepare
from harness.publish.cells import Board
from harness.publish.tables import write_results
from harness.records import Verdict
from harness.round import FILE_NAME, Round, read_round, write_round
from harness.runner import Display, Runner
from harness.sandbox import Setting, choose_sandbox, open_sandbox, read_profile
from harness.store import Store

PACKAGES = ("docker", "numpy", "pillow", "pyarrow", "pydantic", "pyyaml", "scipy")


class Audience(Display, Protocol):
    """A display that also takes lines before the play begins."""

    def say(self, line: str) -> None:
        """A line that stays."""


@dataclass(frozen=True)
class Result:
    """What a run came to. calls: made in this run, by name of the submission. failed: calls, of this run or
    an earlier one, that their submission is to blame for. given_up: our own failures of this run.
    """

    board: Board
    round: Round
    output: Path
    calls: dict[str, int]
    failed: tuple[CallRecord, ...] = ()
    given_up: tuple[str, ...] = ()


@contextmanager
def opened(tournament: Tournament, audience: Audience) -> Iterator[tuple[Field, Ground]]:
    """A round that is ready to be played, and where it can be."""
    with closing(open_ground(tournament)) as ground, resolved(tournament, audience, ground.has_gpus) as field:
        yield field, ground


@contextmanager
def resolved(tournament: Tournament, audience: Audience, has_gpus: bool) -> Iterator[Field]:
    """The store held for writing, the sandbox, and the round. has_gpus: whether calls may have one."""
    output = tournament.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: the output folder cannot be made ({error.strerror}); choose another") from None
    with (
        closing(Store(tournament.store_path, tournament.objects)) as store,
        store.writing(),
        ThreadPoolExecutor(len(machine.usable_cores()), "pixels") as pixels,
    ):
        name = choose_sandbox(tournament.sandbox)
        setting = Setting(
            store.identity, tournament.images, audience.say, store.index.built_images(), tournament.runtime,
            read_profile(tournament.seccomp),
        )  # fmt: skip
        with closing(open_sandbox(name, setting)) as sandbox:
            if swept := sandbox.sweep() + sweep_workers(store, name, setting):
                audience.say(f"removed {swept} that an earlier run left behind in the {name} sandbox")
            prepared = prepare(tournament, store, sandbox, pixels, has_gpus, audience.say)
            store.index.add_built_images(setting.built)
            yield Field(tournament, store, sandbox, prepared, pixels, audience.say)


def sweep_workers(store: Store, name: str, setting: Setting) -> int:
    """Removes what other processes of this machine left behind that played calls in the store's own folder."""

    def sweep(mark: str) -> int:
        with closing(open_sandbox(name, replace(setting, store_identity=mark))) as sandbox:
            return sandbox.sweep()

    return sweep_marks(store.path / MARKS, sweep)


def play(tournament: Tournament, audience: Audience) -> Result:
    """Plays what is not known yet, scores, and writes the results into the output folder.

    Raises: UserError, or InfrastructureError when our own side is gone; all that was recorded stays.
    """
    began, clock = time.time(), time.monotonic()
    machine.keep_freed_memory()
    with opened(tournament, audience) as (field, ground):
        store, sandbox, prepared = field.store, field.sandbox, field.prepared
        about = describe(tournament.dataset.path)
        write_round(prepared.round, tournament.output)
        store.add_round(tournament.output)
        if not sandbox.isolates:
            audience.say("the process sandbox does not isolate: play only submissions that you trust")
        runner = Runner(
            prepared.round, prepared.attacks, prepared.defenses, store, audience,
            all_versions=tournament.versions_per_call == "all",
        )  # fmt: skip
        runner.play(ground.executor(field))
        check_untouched(prepared.round.images, prepared.dataset)
        board = _write(prepared.round, store, tournament.output, tournament.rules)
        names = {player.key: player.name for player in field.players}
        failed = [call for call in store.index.calls(names) if call.verdict is not Verdict.OK]
        clocks: dict[str, Any] = {
            "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
        }
        provenance = _provenance(about, field, clocks | ground.facts())
        write_atomic(tournament.output / "provenance.json", json.dumps(provenance, indent=2) + "\n")
    calls = {names[key]: count for key, count in runner.calls.items()}
    return Result(board, prepared.round, tournament.output, calls, tuple(failed), tuple(runner.given_up))


def score(output: Path, rules: str | None) -> Result:
    """Scores the round of an output folder again from the store; nothing is called."""
    round_ = read_round(output)
    store = open_store(output, round_)
    try:
        board = _write(round_, store, output, rules or round_.rules)
    finally:
        store.close()
    return Result(board, round_, output, {})


def find_store(output: Path, round_: Round) -> Store | None:
    """The store that a round was played into, None where it is gone."""
    path = (output / round_.store).resolve()
    return Store(path) if (path / "index.sqlite").exists() else None


def open_store(output: Path, round_: Round) -> Store:
    """The store that a round was played into. Raises: UserError when it is gone."""
    store = find_store(output, round_)
    if store is None:
        path = (output / round_.store).resolve()
        raise UserError(f"{path}: the store of this run is gone; run the tournament again ({FILE_NAME} names it)")
    return store


def _write(round_: Round, store: Store, output: Path, rules: str) -> Board:
    audits = StoredAudits(round_, store.index)
    table = assemble_in_file(round_, store.index, audits, output)
    board = build_leaderboard(round_, table, audits, rules)
    write_results(output, round_, board, table, audits)
    return board


def _provenance(about: Description, field: Field, facts: dict[str, Any]) -> dict[str, Any]:
    """Clocks, hosts, limits and versions: everything about a run that must not be in its leaderboard."""
    tournament = field.tournament
    return {
        "schema_version": 1,
        **facts,
        "harness": harness.__version__,
        "machine": machine.describe(),
        "packages": {name: version(name) for name in PACKAGES},
        "sandbox": field.sandbox.name,
        "executor": tournament.executor,
        "rules": tournament.rules,
        "versions_per_call": str(tournament.versions_per_call),
        "limits": asdict(tournament.limits.resolve()),
        "dataset": {
            "name": about.name,
            "description": about.description,
            "source": about.source,
            "licence": about.licence,
            "class_names": {str(label): name for label, name in sorted(about.class_names.items())},
        },
        "submissions": [_participant(player) for player in field.players],
    }


def _participant(player: Player) -> dict[str, Any]:
    submission, metadata = player.submission, player.submission.metadata
    return {
        "name": player.name,
        "type": submission.role,
        "digest": submission.digest,
        "container": player.container,
        "authors": [metadata.authors] if isinstance(metadata.authors, str) else metadata.authors,
        "description": metadata.description,
        "url": metadata.url,
        "labels": metadata.labels,
        "deterministic": metadata.deterministic,
        "weights": {one.name: one.digest for one in submission.weights},
    }
