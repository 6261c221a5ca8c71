"""EfficientNet-Lite0 in Keras: a defense that shares nothing with the participant kit but the contract."""

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from network import load_network, prepare
from PIL import Image

WEIGHTS = Path("/opt/efficientnet_lite0.npz")
BATCH_SIZE = 8
FIRST_LABEL = 1  # label 0 is background


def main(input_dir: str, output_file: str) -> None:
    """Label every PNG of the folder."""
    network = load_network(WEIGHTS)
    paths = sorted(Path(input_dir).glob("*.png"))
    with open(output_file, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for batch in batches(paths):
            logits = network.predict_on_batch(prepare(np.stack([read(path) for path in batch])))
            writer.writerows(zip([path.name for path in batch], logits.argmax(axis=1) + FIRST_LABEL, strict=True))


def batches(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The paths in order, BATCH_SIZE at a time."""
    for start in range(0, len(paths), BATCH_SIZE):
        yield paths[start : start + BATCH_SIZE]


def read(path: Path) -> np.ndarray:
    """uint8, height x width x 3."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: defense.py INPUT_DIR OUTPUT_FILE")
    main(*sys.argv[1:])
