"""Images as a data set of tournaments: PNG files and a table of labels and targets. dataset/*/build.py call it."""

import csv
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data_files import CLASS_COUNT

ORDER_SEED = 2016
TARGET_SEED = 2017


def write_folder(out_dir: Path, prefix: str, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Writes images/PREFIX_NNN.png (8-bit RGB) and dataset.csv (ImageId, TrueLabel, TargetClass; labels 0..9).

    pixels: N x height x width x channels, 0..255; of one channel, its level stands in all three. labels: N. The numbers
    are dealt under ORDER_SEED: in the order given, a choice by class could show at the ends.
    All is made beside its final place, then moved there whole. The CSV goes first and comes last: where it is, the
    images are complete and its own. Raises OSError.
    """
    order = shuffled(len(pixels))
    pixels, labels = pixels[order], labels[order]
    digits = len(str(len(pixels) - 1))
    names = [f"{prefix}_{index:0{digits}d}" for index in range(len(pixels))]
    images, table = out_dir / "images", out_dir / "dataset.csv"
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".build-") as folder:
        _write_images(Path(folder), names, pixels)
        _write_table(Path(folder, table.name), names, labels.tolist())
        table.unlink(missing_ok=True)
        for name in names:
            Path(folder, f"{name}.png").replace(images / f"{name}.png")
        Path(folder, table.name).replace(table)


def shuffled(count: int) -> list[int]:
    """The numbers 0..count-1 in an order drawn under ORDER_SEED."""
    generator = Random(ORDER_SEED)
    # Of Random's methods only random() promises the same numbers in every Python.
    return sorted(range(count), key=lambda _: generator.random())


def draw_targets(labels: Iterable[int]) -> Iterator[int]:
    """For each label one of the nine others, uniformly, under TARGET_SEED."""
    generator = Random(TARGET_SEED)
    for label in labels:
        yield (label + 1 + int(generator.random() * (CLASS_COUNT - 1))) % CLASS_COUNT


def _write_images(folder: Path, names: list[str], pixels: NDArray[np.uint8]) -> None:
    for name, image in zip(names, pixels, strict=True):
        rgb = np.broadcast_to(image, (*image.shape[:2], 3))
        Image.fromarray(np.ascontiguousarray(rgb)).save(folder / f"{name}.png")


def _write_table(path: Path, names: list[str], labels: list[int]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ImageId", "TrueLabel", "TargetClass"])
        writer.writerows(zip(names, labels, draw_targets(labels), strict=True))
