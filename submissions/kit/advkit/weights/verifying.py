"""Looks again at weights that are stored: their bytes, what they are for, and how well they classify clean images."""

import csv
from dataclasses import dataclass
from math import exp, inf, lgamma, log
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from advkit.errors import KitError
from advkit.images import list_images, read_batches
from advkit.labels import IMAGENET
from advkit.networks import predict
from advkit.networks.loading import load_weights
from advkit.tensors import batch_size, device, to_tensor
from advkit.weights.files import digest_of, read_metadata, recorded_digest, weights_path
from advkit.weights.registry import Model
from advkit.weights.stored import check_tensors, read_tensors


@dataclass(frozen=True)
class Dataset:
    """Clean images of a folder, and the label 1..1000 of each."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]


def verify(folder: Path, model: Model) -> dict[str, str]:
    """The metadata of stored weights that are what they were when they were imported.

    Raises KitError where there are none, where a byte is another one, where names or shapes are not exactly those of
    the network or a value is not finite, and where the metadata is of other weights.
    """
    path = weights_path(folder, model.name)
    if not path.is_file():
        raise KitError(f"{path}: no such file; get it with: harness weights fetch {model.name}")
    digest, recorded = digest_of(path), recorded_digest(path)
    if digest != recorded:
        raise KitError(f"{path}: sha256 {digest}, but {recorded} when it was imported; fetch or import it again")
    metadata = read_metadata(path)
    classes = check_tensors(str(path), model.architecture, read_tensors(path, model.architecture))
    expected = {"name": model.name, "architecture": model.architecture, "classes": str(classes)}
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise KitError(f"{path}: {key} {metadata.get(key)!r} instead of {value!r}; fetch or import it again")
    return metadata


def read_dataset(folder: Path, table: Path | None = None) -> Dataset:
    """The images of a folder, or of `images/` in it, with the labels of a CSV that has ImageId and TrueLabel.

    Without `table` it is the one CSV of the folder. Raises KitError where there is none or more than one, and for
    a label outside 1..1000 or an image without one.
    """
    images = folder / "images"
    paths = list_images(images if images.is_dir() else folder)
    labels = _read_labels(table or _only_table(folder))
    if missing := [path.name for path in paths if path.stem not in labels]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise KitError(f"{folder}: no TrueLabel for {missing[0]}{more}; name the right --metadata")
    return Dataset(tuple(paths), tuple(labels[path.stem] for path in paths))


def measure(folder: Path, model: Model, dataset: Dataset) -> NDArray[np.int64]:
    """What stored weights answer, as labels 1..1000, N."""
    network = load_weights(model.architecture, weights_path(folder, model.name)).requires_grad_(False)
    network = network.to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = batch_size(network, 299, 299)
    with torch.inference_mode():
        found = [predict(network, to_tensor(pixels)) for _, pixels in read_batches(dataset.paths, size)]
    return torch.cat(found).cpu().numpy() + IMAGENET.first


def judge(model: Model, answers: NDArray[np.int64], dataset: Dataset) -> tuple[bool, str]:
    """Whether the accuracy is the published one, and a line that says so or hints at why not.

    It is, when the number of correct answers lies in the 95 % interval of a binomial distribution around the
    published share. Without a published share nothing is expected.
    """
    count = len(answers)
    truth = np.array(dataset.labels)
    correct = int((answers == truth).sum())
    said = f"{100 * correct / count:.1f} % of {count} images are classified correctly"
    if model.accuracy is None:
        return True, f"{said}; no figure is published"
    lowest, highest = binomial_interval(count, model.accuracy.percent / 100)
    said += f"; published: {model.accuracy.percent} % of {model.accuracy.images}, "
    said += f"so {100 * lowest / count:.1f} to {100 * highest / count:.1f} % are expected (95 % interval)"
    return (True, said) if lowest <= correct <= highest else (False, f"{said}; {_hint(answers, truth)}")


def binomial_interval(count: int, share: float) -> tuple[int, int]:
    """The smallest and the largest number of successes of `count` that are not among the 2.5 % at either end."""
    chances = np.array([exp(_log_chance(count, share, successes)) for successes in range(count + 1)])
    below = chances.cumsum()
    return int((below < 0.025).sum()), int((below < 0.975).sum())


def _log_chance(count: int, share: float, successes: int) -> float:
    ways = lgamma(count + 1) - lgamma(successes + 1) - lgamma(count - successes + 1)
    return ways + _times_log(successes, share) + _times_log(count - successes, 1 - share)


def _times_log(times: int, share: float) -> float:
    return 0.0 if times == 0 else times * (log(share) if share > 0 else -inf)


def _hint(answers: NDArray[np.int64], truth: NDArray[np.int64]) -> str:
    """Labels that start at another number are recognised; of the rest the usual cause is named."""
    shares = {shift: float((answers + shift == truth).mean()) for shift in (-1, 0, 1)}
    best = max(shares, key=shares.__getitem__)
    if best != 0 and shares[best] > 0.5:
        direction = "high" if best > 0 else "low"
        return f"the labels look one too {direction} ({100 * shares[best]:.1f} % would be right); they must be 1..1000"
    return "are these the 1000 images of the development set, untouched? mean and deviation of ImageNet cost 8 points"


def _only_table(folder: Path) -> Path:
    tables = sorted(folder.glob("*.csv"))
    if len(tables) != 1:
        raise KitError(f"{folder}: {len(tables)} CSV files in this folder; name one with --metadata")
    return tables[0]


def _read_labels(table: Path) -> dict[str, int]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row["ImageId"], int(row["TrueLabel"])) for row in csv.DictReader(file)]
    except OSError as error:
        raise KitError(f"{table}: cannot be read: {error.strerror}") from error
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise KitError(f"{table}: expected the columns ImageId and TrueLabel, the latter a number") from error
    for name, label in rows:
        if label not in IMAGENET:
            raise KitError(f"{table}: TrueLabel {label} of {name}: labels are {IMAGENET}, 0 is background")
    return {name.removesuffix(".png"): label for name, label in rows}
