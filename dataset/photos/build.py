"""Make the data set `photos` from the 20 ImageNet photographs in the package foolbox.

    python build.py [OUT_DIR]

Writes images/photo_NN.png (299x299 RGB) and dataset.csv (ImageId, TrueLabel, TargetClass; labels 1..1000).
The CSV comes last: where it is, the images are complete. The same package gives the same files again.
"""

import csv
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from random import Random

from PIL import Image

SIZE = 299
COUNT = 20
FIRST_LABEL = 1
CLASSES = 1000
TARGET_SEED = 2017


def build(out_dir: Path) -> None:
    """Build beside the final place, then move each file there whole."""
    photos = find_photos()
    images = out_dir / "images"
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".build-") as folder:
        for index, photo in enumerate(photos):
            square(photo).save(Path(folder, f"{image_id(index)}.png"))
        write_table(Path(folder, "dataset.csv"), photos)
        for path in sorted(Path(folder).glob("*.png")):
            path.replace(images / path.name)
        Path(folder, "dataset.csv").replace(out_dir / "dataset.csv")


def find_photos() -> list[Path]:
    """The photographs in the order of their numbers; foolbox is located, not imported: that takes long."""
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise SystemExit("error: the photographs are in the package foolbox, which is missing: pip install foolbox")
    photos = sorted((Path(spec.origin).parent / "data").glob("imagenet_*.jpg"))
    if len(photos) != COUNT:
        raise SystemExit(f"error: foolbox should hold {COUNT} files data/imagenet_*.jpg, found {len(photos)}")
    return photos


def square(photo: Path) -> Image.Image:
    """The largest centred square of the photograph, SIZE x SIZE."""
    with Image.open(photo) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)


def write_table(path: Path, photos: list[Path]) -> None:
    """One row an image; its file name in the package ends in the true class, 0-based."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["ImageId", "TrueLabel", "TargetClass"])
        classes = [int(photo.stem.rpartition("_")[2]) for photo in photos]
        for index, (true, target) in enumerate(zip(classes, draw_targets(classes), strict=True)):
            writer.writerow([image_id(index), true + FIRST_LABEL, target + FIRST_LABEL])


def draw_targets(classes: list[int]) -> Iterator[int]:
    """For each class one of the others, uniformly."""
    generator = Random(TARGET_SEED)
    for true in classes:
        # Of Random's methods only random() promises the same numbers in every Python.
        yield (true + 1 + int(generator.random() * (CLASSES - 1))) % CLASSES


def image_id(index: int) -> str:
    """The name of an image, which says nothing about its label."""
    return f"photo_{index:02d}"


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
