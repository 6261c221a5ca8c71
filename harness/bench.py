"""A place to make a few calls of one submission, outside of any tournament; nothing of them is kept."""

import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import machine
from harness.calls import Arena, Witness, look_away
from harness.config import Tournament
from harness.dataset import Dataset, LabelSpace
from harness.executors.local import share_out
from harness.intake import take_in_images
from harness.plan import Player
from harness.preparation import Say, make_player, take_in_submissions
from harness.records import Call, Outcome, Slot
from harness.round import RoundImage
from harness.sandbox import Sandbox, Setting, open_sandbox, read_profile
from harness.store import Store
from harness.submission import Submission


@dataclass(frozen=True)
class Bench:
    """A store that is gone afterwards, with the pictures of a data set in it. size: (width, height)."""

    store: Store
    images: tuple[RoundImage, ...]
    size: tuple[int, int]
    labels: LabelSpace
    pixels: Executor


@dataclass(frozen=True)
class Seat:
    """One submission at a bench, ready to be called."""

    player: Player
    arena: Arena
    slot: Slot

    def play(self, call: Call) -> Outcome:
        """Raises: InfrastructureError or OSError when our own side failed."""
        return self.arena.play(call, self.slot, threading.Event())


@contextmanager
def open_bench(dataset: Dataset) -> Iterator[Bench]:
    """Raises: UserError for pictures that are no RGB PNGs of one size."""
    with (
        tempfile.TemporaryDirectory(prefix="harness-check-") as folder,
        closing(Store(Path(folder))) as store,
        store.writing(),
        ThreadPoolExecutor(len(machine.usable_cores()), "pixels") as pixels,
    ):
        images, size = take_in_images(dataset, store, pixels)
        yield Bench(store, images, size, dataset.labels, pixels)


@contextmanager
def open_seat(
    bench: Bench, tournament: Tournament, sandbox_name: str, say: Say, witness: Witness = look_away
) -> Iterator[Seat]:
    """The one submission that `tournament` names, with all cores that its limits leave it, and a GPU if there is one.

    Raises: UserError where it is none or may not play here, UnavailableError where it cannot.
    """
    seccomp = read_profile(tournament.seccomp)
    setting = Setting(bench.store.identity, tournament.images, say, runtime=tournament.runtime, seccomp=seccomp)
    with closing(open_sandbox(sandbox_name, setting)) as sandbox:
        submission = _take_in(bench.store, tournament, sandbox, say)
        gpus = [] if tournament.gpu is False else machine.gpus()
        player = make_player(tournament, sandbox, submission, bool(gpus))
        slot = share_out(1, machine.usable_cores(), gpus, tournament.limits.resolve().cpus)[0]
        yield Seat(player, Arena(sandbox, bench.store, bench.size, bench.labels, bench.pixels, witness), slot)


def _take_in(store: Store, tournament: Tournament, sandbox: Sandbox, say: Say) -> Submission:
    found, lacking = take_in_submissions(tournament, store, sandbox.isolates, say)
    if lacking:
        raise lacking[0]
    return found[0]
