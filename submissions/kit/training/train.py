"""The training of one network, from top to bottom.

Standard, adversarial and ensemble adversarial training are one loop: they differ in where a batch's adversarial
examples come from, if it has any (training.adversary).
"""

import csv
import hashlib
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from advkit.errors import KitError
from advkit.networks import in_precision
from advkit.networks.small import SMALL
from advkit.tensors import device
from training.adversary import Crafter
from training.data import Data
from training.recipe import Model

Rows = list[dict[str, float]]
About = Mapping[str, Any]
"""Recipe, seed, data and static sources of a training."""

MOMENTUM = 0.9
WARM_UP = 0.25
"""The share of one_cycle in which the learning rate rises."""


CUT, GREY = 8, np.uint8(128)
"""The side of the square that is painted over, in pixels, and with what."""


class Report(Protocol):
    """Told how many of all batches are done, and the row of the log of each epoch."""

    def __call__(self, done: int, total: int, row: Mapping[str, float] | None = None) -> None: ...


@dataclass
class History:
    """What a checkpoint holds beside network and optimizer: epochs done, seconds of training, the log so far."""

    epoch: int = 0
    seconds: float = 0.0
    rows: Rows = field(default_factory=list)


def train(
    model: Model, data: Data, static: Sequence[nn.Module], seed: int, checkpoint: Path, report: Report
) -> tuple[nn.Module, History]:
    """The trained network in evaluation mode.

    A checkpoint, and a log beside it, are written after every epoch; where there is a checkpoint, the training goes on
    from it, to the same weights. Every random draw of an epoch depends on the seed and on its number. Raises KitError
    for a checkpoint of another training, for fewer images than a batch has, and for a loss that is no number.
    """
    if not (per_epoch := len(data.train_x) // model.batch):
        count = len(data.train_x)
        raise KitError(f"batch {model.batch} is larger than the {count} images of {data.name}; take a smaller one")
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    network = SMALL[model.architecture]().to(device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, network)
    about = {"recipe": model.keys, "seed": seed, "data": data.digest, "sources": [_digest(one) for one in static]}
    history = resume(checkpoint, about, network, optimizer)
    computed = in_precision(torch.compile(network) if model.compile else network, model.precision)
    crafter = Crafter(model.adversary, network, static, model.precision) if model.adversary else None
    total = model.all_epochs * per_epoch

    for epoch in range(history.epoch, model.all_epochs):
        if epoch == model.epochs:
            optimizer = make_optimizer(model, network)
        torch.manual_seed(_number(seed, epoch))
        generator = np.random.default_rng([seed, epoch])
        started, losses = time.perf_counter(), []
        for number, (x, y) in enumerate(batches(model, data, generator), start=epoch * per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(model, (number + 0.5) / per_epoch)
            network.train()
            images, classes, clean = crafter.mixed(x, y, generator) if crafter else (x, y, len(x))
            loss = F.cross_entropy(computed(images), classes, reduction="none", label_smoothing=model.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.mean().backward()
            optimizer.step()
            losses.append([part.mean() for part in loss.detach().split([clean, len(loss) - clean]) if len(part)])
            report(number + 1, total)
        history.epoch = epoch + 1
        history.seconds += time.perf_counter() - started
        history.rows.append(_row(history, losses, error(network, data.dev_x, data.dev_y)))
        write_log(checkpoint.with_suffix(".csv"), history.rows)  # first: what is in a checkpoint is not done again
        save_checkpoint(checkpoint, about, network, optimizer, history)
        report(history.epoch * per_epoch, total, history.rows[-1])
    return network.eval(), history


def make_optimizer(model: Model, network: nn.Module) -> torch.optim.Optimizer:
    """Adam as the authors' program has it, or stochastic gradient descent with Nesterov's momentum."""
    arguments = {"lr": model.learning_rate, "weight_decay": model.weight_decay}
    if model.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), fused=True, **arguments)
    return torch.optim.SGD(network.parameters(), momentum=MOMENTUM, nesterov=True, **arguments)


def learning_rate(model: Model, epochs: float) -> float:
    """After so many epochs, begun ones included."""
    done, peak, whole = epochs, model.learning_rate, model.epochs
    if model.restart and epochs > model.epochs:
        done, peak, whole = epochs - model.epochs, model.restart.learning_rate, model.restart.epochs
    return peak * SCHEDULES[model.schedule](done / whole)


SCHEDULES = {
    "constant": lambda done: 1.0,
    "one_cycle": lambda done: min(done / WARM_UP, (1 - done) / (1 - WARM_UP)),
}
"""The learning rate as a share of its peak, by the share of the training that is done."""


def batches(model: Model, data: Data, generator: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """x, float32 N x channels x height x width, 0..1, and y, int64, N, in an order drawn anew; all of one size."""
    order = generator.permutation(len(data.train_x))
    for start in range(0, len(order) - model.batch + 1, model.batch):
        chosen = order[start : start + model.batch]
        pixels = augmented(data.train_x[chosen], model, generator)
        yield as_tensor(pixels), torch.from_numpy(data.train_y[chosen]).to(device())


def augmented(pixels: NDArray[np.uint8], model: Model, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Each image shifted by up to `shift` pixels, what comes in being black, every second one mirrored, and one square
    of each painted over: as far as `augment` says."""
    if model.augment == "nothing":
        return pixels
    count, height, width, _ = pixels.shape
    margin = model.shift
    padded = np.pad(pixels, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    down, right = generator.integers(2 * margin + 1, size=(2, count))
    rows, columns = down[:, None] + np.arange(height), right[:, None] + np.arange(width)
    if model.augment != "shift":
        columns = np.where(generator.random((count, 1)) < 0.5, columns[:, ::-1], columns)
    moved = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cut(moved, generator) if model.augment == "shift_flip_cut" else moved


def cut(pixels: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Each image with a square of CUT pixels painted grey; its centre may lie anywhere, so that edges cut it short.

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, arXiv:1708.04552.
    """
    count, height, width, _ = pixels.shape
    top, left = (generator.integers(size, size=(count, 1)) - CUT // 2 for size in (height, width))
    rows, columns = np.arange(height), np.arange(width)
    down, across = (rows >= top) & (rows < top + CUT), (columns >= left) & (columns < left + CUT)
    return np.where(down[:, :, None, None] & across[:, None, :, None], GREY, pixels)


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 N x height x width x channels as float32 N x channels x height x width, 0..1, on `device()`."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device()).permute(0, 3, 1, 2).float() / 255


def error(network: nn.Module, pixels: NDArray[np.uint8], classes: NDArray[np.int64], batch: int = 500) -> float:
    """The share of images whose answer is wrong, in float32."""
    network.eval()
    with torch.inference_mode():
        parts = [pixels[start : start + batch] for start in range(0, len(pixels), batch)]
        answers = torch.cat([network(as_tensor(part)).argmax(dim=1) for part in parts])
    return float((answers.cpu().numpy() != classes).mean())


def resume(checkpoint: Path, about: About, network: nn.Module, optimizer: torch.optim.Optimizer) -> History:
    """Take network and optimizer from the checkpoint, where there is one. Raises KitError if it is about another."""
    if not checkpoint.exists():
        return History()
    state = _read(checkpoint)
    if state.get("about") != about:
        raise KitError(f"{checkpoint}: is of another recipe, seed, data or source; remove it, or go on with those")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return History(**state["progress"])


def save_checkpoint(
    checkpoint: Path, about: About, network: nn.Module, optimizer: torch.optim.Optimizer, history: History
) -> None:
    """Whole or not at all."""
    part = checkpoint.with_suffix(".part")
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(history)}
    torch.save({**state, "about": about}, part)
    part.replace(checkpoint)


def write_log(path: Path, rows: Rows) -> None:
    """One row an epoch, as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if name := archive.testzip():  # PyTorch compares no checksum
                raise zipfile.BadZipFile(name)
        state: dict[str, Any] = torch.load(checkpoint, map_location=device(), weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise KitError(
            f"{checkpoint}: cannot be read as a checkpoint; remove it, and the training begins anew"
        ) from error
    return state


def _row(history: History, losses: Sequence[Sequence[Tensor]], dev_error: float) -> dict[str, float]:
    means = [torch.stack(column).mean().item() for column in zip(*losses, strict=True)]
    if not np.isfinite(means).all():
        raise KitError(f"epoch {history.epoch}: the loss is no number any more; take a smaller learning rate")
    row = {"epoch": history.epoch, "seconds": round(history.seconds, 1), "dev_error": dev_error}
    return row | dict(zip(("loss", "adversarial_loss"), means, strict=False))


def _digest(network: nn.Module) -> str:
    """SHA-256 of the weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _number(seed: int, epoch: int) -> int:
    """A seed for PyTorch of an epoch: neighbouring seeds share none."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
