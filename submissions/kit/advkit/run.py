"""The two programs of the contract, as a submission sees them: a job with batches to work on.

An attack is called with INPUT_DIR OUTPUT_DIR MAX_EPSILON, a defense with INPUT_DIR OUTPUT_FILE. A fault is
one line on standard error and exit code 1; a wrong number of arguments is exit code 2.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from advkit.config import read_config
from advkit.errors import KitError
from advkit.images import Pixels, clip_to_ball, list_images, read_batches, read_images, write_image
from advkit.labels import IMAGENET, LabelSpace, read_labels, write_labels

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Batch:
    """Some images: file names, and pixels uint8, N x height x width x 3, 0..255."""

    names: tuple[str, ...]
    pixels: Pixels


@dataclass(frozen=True)
class Job:
    """What both programs have: the submission's own folder, and images to read."""

    folder: Path
    input_dir: Path

    def read_config(self, kind: type[Kind]) -> Kind:
        """The submission's `config.yaml` as the dataclass `kind`."""
        return read_config(self.folder / "config.yaml", kind)

    @cached_property
    def image_paths(self) -> list[Path]:
        """Every input image, sorted by name."""
        return list_images(self.input_dir)

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the first image, and so of all of them."""
        height, width, _ = read_images(self.image_paths[:1]).shape[1:]
        return height, width

    def batches(self, size: int = 4) -> Iterator[Batch]:
        """Every input image once, `size` at a time."""
        for paths, pixels in read_batches(self.image_paths, size):
            yield Batch(tuple(path.name for path in paths), pixels)


@dataclass(frozen=True)
class AttackJob(Job):
    """One call of an attack. `epsilon` is an integer on the 0..255 scale."""

    output_dir: Path
    epsilon: int
    seed: int

    def target_labels(self, space: LabelSpace = IMAGENET) -> dict[str, int]:
        """Image name -> target label of the space, for a targeted attack."""
        path = self.input_dir / "target_class.csv"
        labels = read_labels(path, space)
        if missing := [image.name for image in self.image_paths if image.name not in labels]:
            raise KitError(f"{path}: no target for {missing[0]}")
        return labels

    def generator(self, name: str) -> np.random.Generator:
        """The random stream of one image: it depends on the seed and on the image's name, on nothing else."""
        digest = hashlib.sha256(name.encode()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:16])])

    def save(self, batch: Batch, pixels: Pixels) -> None:
        """Write the adversarial version, uint8, of a batch, forced into the ball around the clean one."""
        for name, image in zip(batch.names, clip_to_ball(pixels, batch.pixels, self.epsilon), strict=True):
            write_image(self.output_dir / name, image)


@dataclass(frozen=True)
class DefenseJob(Job):
    """One call of a defense."""

    seed: int
    labels: dict[str, int] = field(default_factory=dict)

    def generator(self, image: Pixels) -> np.random.Generator:
        """The random stream of one image: it depends on the seed and on the image's pixels, on nothing else.

        So a defense stays a function of one image, whatever its name and whichever others are in the call.
        """
        digest = hashlib.sha256(image.tobytes()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:16])])

    def answer(self, batch: Batch, labels: Sequence[int]) -> None:
        """Note the labels (not class indices: advkit.labels) of a batch."""
        self.labels.update(zip(batch.names, labels, strict=True))


def attack_main(attack: Callable[[AttackJob], None], script: str) -> None:
    """Run an attack as the program of the submission that `script`, its `__file__`, lies in."""

    def program(input_dir: str, output_dir: str, max_epsilon: str) -> None:
        epsilon = _integer(max_epsilon, "MAX_EPSILON", highest=255)
        seed = _integer(os.environ.get("HARNESS_SEED", "0"), "HARNESS_SEED")
        attack(AttackJob(_folder(script), _existing(input_dir), _existing(output_dir), epsilon, seed))

    _run(program, "INPUT_DIR OUTPUT_DIR MAX_EPSILON")


def defense_main(defense: Callable[[DefenseJob], None], script: str) -> None:
    """Run a defense as the program of the submission that `script`, its `__file__`, lies in."""

    def program(input_dir: str, output_file: str) -> None:
        _existing(str(Path(output_file).parent))
        seed = _integer(os.environ.get("HARNESS_SEED", "0"), "HARNESS_SEED")
        job = DefenseJob(_folder(script), _existing(input_dir), seed)
        defense(job)
        write_labels(Path(output_file), job.labels)

    _run(program, "INPUT_DIR OUTPUT_FILE")


def _run(program: Callable[..., None], arguments: str) -> None:
    if len(sys.argv) - 1 != len(arguments.split()):
        print(f"usage: {Path(sys.argv[0]).name} {arguments}", file=sys.stderr)
        raise SystemExit(2)
    try:
        program(*sys.argv[1:])
    except KitError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}")


def _fail(line: str) -> NoReturn:
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(1) from None


def _folder(script: str) -> Path:
    return Path(script).resolve().parent


def _existing(folder: str) -> Path:
    if not Path(folder).is_dir():
        raise KitError(f"{folder}: no such folder")
    return Path(folder)


def _integer(text: str, what: str, highest: int | None = None) -> int:
    limit = "" if highest is None else f" to {highest}"
    if not text.isascii() or not text.isdigit() or (highest is not None and int(text) > highest):
        raise KitError(f"{what} must be an integer from 0{limit}, not {text!r}")
    return int(text)
