"""What is known: objects, and an SQLite index of outcomes and predictions.

The index names an object only after it is there, and one transaction records one outcome. So the harness may be
killed at any moment: what was recorded stays, what was not is done again.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.atomic import write_atomic
from harness.depot import Depot
from harness.errors import UserError
from harness.index import Index
from harness.objects import OWNER, claim, folder_of, open_objects
from harness.trees import remove_tree

ABOUT = """This folder is a store of the adversarial-harness: images and answers that were computed once.
It can be deleted whole; everything in it is then computed again. `harness gc` removes what no run needs.
"""

PLACE = "place"
"""The file that says where the objects are, if not in the store itself."""


class Store(Depot):
    """One process writes at a time (`writing`); any number may read. Objects may be added from any thread."""

    def __init__(self, path: Path, objects: str | None = None) -> None:
        """Opens the store at `path`, making it where there is none.

        objects: the place of its objects (see `objects.open_objects`); None: where they are, in the store itself at
        first. It is for life from the first `writing` on. Raises: UserError where the store cannot be written, has its
        objects elsewhere, or there can be none.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            super().__init__(path, open_objects(_agreed_place(path, objects), path / "objects"))
            if not (path / "README.txt").exists():
                write_atomic(path / "README.txt", ABOUT)
        except OSError as error:
            raise UserError(f"{path}: the store cannot be written ({error.strerror}); choose another output") from None
        self.index = Index(path / "index.sqlite")

    @property
    def identity(self) -> str:
        """A random name that this store has for life; what it starts is labelled with it."""
        path = self.path / "identity"
        if not path.exists():
            write_atomic(path, secrets.token_hex(8))
        return path.read_text()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the store for one process; the lock is gone with the process, however it ends.

        Raises: UserError where another process has it, or the place of its objects cannot be used.
        """
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{self.path}: another harness is at work on this store; wait for it to end") from None
            self._take_place()
            self._clear_work()
            self.objects.remove_unfinished()
            try:
                yield
            finally:  # again: what a killed harness left alive may have gone on writing until it was swept
                self._clear_work()

    def _take_place(self) -> None:
        """The place is noted when it is known to be one, and ours: a slip of the pen is not for life."""
        place, own = self.objects.place, self.objects.place == str(self.path / "objects")
        _agreed_place(self.path, place)  # another process may have held the store since it was opened
        claim(self.objects, self.identity, used=not own and self.index.last_image > 0)
        if not own and not (self.path / PLACE).exists():
            write_atomic(self.path / PLACE, place)

    def _clear_work(self) -> None:
        for leftover in (*self.work.iterdir(), *self.code.glob(".*")):
            remove_tree(leftover)
        for listing in self.listings.iterdir():
            if not (self.code / listing.name).exists():
                listing.unlink()

    # --- rounds

    def add_round(self, output: Path) -> None:
        """Notes that a round was played into `output`; as a relative path, so that both may be moved together."""
        self.index.add_round(os.path.relpath(output.resolve(), self.path.resolve()))

    def forget_round(self, output: Path) -> None:
        """Takes back `add_round`."""
        self.index.forget_round(os.path.relpath(output.resolve(), self.path.resolve()))

    def rounds(self) -> list[Path]:
        """The output folders of all rounds that were played from this store, without links in their paths."""
        return [(self.path / output).resolve() for output in self.index.rounds()]

    def close(self) -> None:
        self.index.close()


def _agreed_place(store: Path, wanted: str | None) -> str:
    """Where its objects are, or shall be. Raises: UserError where it has them elsewhere."""
    own, note = str(store / "objects"), store / PLACE
    known = note.read_text() if note.exists() else own
    if wanted is None or _same(wanted, known):
        return known
    if note.exists() or (store / "objects" / OWNER).exists():
        raise UserError(f"{store}: its objects are at {known} and not at {wanted}; name that, or another store")
    return wanted


def _same(one: str, other: str) -> bool:
    folders = folder_of(one), folder_of(other)
    if folders[0] is None or folders[1] is None:
        return one.rstrip("/") == other.rstrip("/")
    return folders[0].resolve() == folders[1].resolve()
