"""Weights that a submission names instead of carrying: where they lie, and whether they are still what they were."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from harness.digest import digest_file
from harness.errors import UserError

VARIABLE = "HARNESS_WEIGHTS"
DEFAULT_FOLDER = "~/.cache/adversarial-harness/weights"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Weights:
    """One weights file of a submission. path: where it lies. digest: of its bytes, as `sha256sum` prints it."""

    name: str
    path: Path
    digest: str

    @property
    def place(self) -> str:
        """Where the submission finds it, relative to its own folder."""
        return f"weights/{self.name}{SUFFIX}"

    def within(self, folder: Path) -> "Weights":
        """The same file, where it belongs in a copy of the submission."""
        return replace(self, path=folder / self.place)


def weights_folder() -> Path:
    """Where weights are kept for all submissions: $HARNESS_WEIGHTS, else DEFAULT_FOLDER. It need not be there."""
    return Path(os.environ.get(VARIABLE) or DEFAULT_FOLDER).expanduser()


def find_weights(folder: Path, names: Iterable[str]) -> tuple[tuple[Weights, ...], list[str]]:
    """What is in the submission's own folder or else in the weights folder, and the names of what is in neither.

    The user's weights folder may hold links: the file that they lead to is what is found.
    Raises: UserError with a line for each that is no regular file, a submission's own link, or cannot be read.
    """
    found: list[Weights] = []
    missing: list[str] = []
    faults: list[str] = []
    for name in names:
        try:
            weights = _find(folder, name)
        except UserError as error:
            faults += error.faults
            continue
        if weights:
            found.append(weights)
        else:
            missing.append(name)
    if faults:
        raise UserError(faults)
    return tuple(found), missing


def _find(folder: Path, name: str) -> Weights | None:
    own, users = (place / f"{name}{SUFFIX}" for place in (folder / "weights", weights_folder()))
    for path in (own, users):
        try:
            real = path if path is own else Path(os.path.realpath(path, strict=True))
            if not stat.S_ISREG(real.lstat().st_mode):
                raise UserError(f"{path}: is a link or no regular file; replace it by the file itself")
            return Weights(name, real, digest_file(real))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{path}: the weights cannot be read ({error.strerror}); mend that") from None
    return None


def rewritten(weights: Iterable[Weights]) -> list[str]:
    """The names of those that are gone, cannot be read, or have other bytes by now."""
    return [one.name for one in weights if not _is_intact(one)]


def _is_intact(weights: Weights) -> bool:
    try:
        return not weights.path.is_symlink() and digest_file(weights.path) == weights.digest
    except OSError:
        return False


def fetch_command(names: Iterable[str]) -> str:
    """What puts these into the weights folder."""
    return f"harness weights fetch {' '.join(names)}"
