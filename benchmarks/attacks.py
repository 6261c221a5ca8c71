"""What the kit gains: MI-FGSM and plain classification on Inception v3, against torchattacks on the same network.

Ours is what a submission runs: the network as `advkit` loads it, with its batch size. Theirs is the same network as
PyTorch has it, with the attack of torchattacks in batches of the same size. Ten steps, epsilon 16; the weights are
random, which changes no time. Rounds are interleaved.

    pip install --no-deps torchattacks==3.5.1
    python benchmarks/attacks.py [--repeat 3] [--images 8] [--threads 2]

Prints images per second of both, and for each precision of ours the ratio and how far the attacked images agree
(rounding alone makes other images in ten steps; see tests/oracles/attacks.md).
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchattacks
from safetensors.torch import save_file
from torch import Tensor

from advkit.attacks import ascend, loss_gradient
from advkit.methods import Setting, momentum
from advkit.networks import in_precision, predict
from advkit.networks.inception_v3 import InceptionV3
from advkit.networks.loading import load_weights
from advkit.tensors import batch_size, device

EPSILON, STEP_SIZE, STEPS = 16, 1.6, 10
SIDE = 299

Work = Callable[[Tensor], Tensor]


def workers(folder: Path) -> dict[str, tuple[Work, Work]]:
    """Name -> (attack, classify), each on a batch."""
    bare = InceptionV3(1001).eval()
    path = folder / "inception_v3.safetensors"
    save_file(bare.state_dict(), path)
    loaded = load_weights("inception_v3", path).requires_grad_(False).to(device(), memory_format=torch.channels_last)
    found: dict[str, tuple[Work, Work]] = {"torchattacks": theirs(bare.to(device()))}
    for precision in ("float32", "bfloat16"):
        found[f"advkit {precision}"] = ours(in_precision(loaded, precision))
    return found


def theirs(network: torch.nn.Module) -> tuple[Work, Work]:
    attack = torchattacks.MIFGSM(network, eps=EPSILON / 255, alpha=STEP_SIZE / 255, steps=STEPS, decay=1.0)
    return lambda x: attack(x, predict(network, x)), lambda x: predict(network, x)


def ours(network: Work) -> tuple[Work, Work]:
    def attack(x: Tensor) -> Tensor:
        setting = Setting(x, EPSILON, STEP_SIZE, [np.random.default_rng(0)] * len(x), lambda: x)
        gradient = momentum(loss_gradient(network, predict(network, x)), setting)
        return ascend(x, gradient, epsilon=EPSILON, step_size=STEP_SIZE, steps=STEPS)

    return attack, lambda x: predict(network, x)


def measure(work: Work, images: Tensor, size: int) -> tuple[float, Tensor]:
    """Images per second, and the result."""
    began = time.monotonic()
    results = [work(batch) for batch in images.split(size)]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return len(images) / (time.monotonic() - began), torch.cat(results)


def main() -> None:
    parser = argparse.ArgumentParser(description="The kit against torchattacks, images per second.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    images = torch.rand(arguments.images, 3, SIDE, SIDE).to(device())
    with tempfile.TemporaryDirectory() as folder:
        contestants = workers(Path(folder))
        size = batch_size(InceptionV3(1001).eval().to(device()), SIDE, SIDE)
        for number, task in enumerate(("MI-FGSM", "classification")):
            compare(task, {name: work[number] for name, work in contestants.items()}, images, size, arguments.repeat)


def compare(task: str, contestants: dict[str, Work], images: Tensor, size: int, repeat: int) -> None:
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    results: dict[str, Tensor] = {}
    for work in contestants.values():
        work(images[:size])  # the first call compiles and allocates
    for _ in range(repeat):
        for name, work in contestants.items():
            speed, results[name] = measure(work, images, size)
            speeds[name].append(speed)
    base, *others = contestants
    for name, values in speeds.items():
        line = (
            f"{task:<15} {name:<17} {statistics.median(values):8.3f} images/s ({min(values):.3f} to {max(values):.3f})"
        )
        if name in others:
            ratio = statistics.median(a / b for a, b in zip(values, speeds[base], strict=True))
            line += f"  ratio {ratio:.2f}"
            if results[name].is_floating_point():
                agree = ((results[name] - results[base]).abs() * 255 <= 1.01).float().mean().item()
                line += f", the same within one level in {100 * agree:.1f} % of values"
        print(line, flush=True)


if __name__ == "__main__":
    main()
