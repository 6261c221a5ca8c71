"""A trained network as a file: weights with what they came from, as advkit.networks loads them."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch
from torch import nn

from advkit.weights.files import digest_of
from advkit.weights.stored import serialise, without_counters
from training.data import Data
from training.recipe import Model
from training.speed import peak
from training.train import Progress


def save_network(
    path: Path,
    network: nn.Module,
    model: Model,
    data: Data,
    seed: int,
    sources: Mapping[str, Path],
    progress: Progress,
    operations: float,
) -> None:
    """Write the weights, float32, and their provenance, in one step. operations: those that an image takes."""
    images = len(data.train_x) // model.batch * model.batch * model.epochs
    metadata = {
        "architecture": model.architecture,
        "recipe": json.dumps(asdict(model), sort_keys=True),
        "seed": str(seed),
        "data": data.name,
        "data_digest": data.digest,
        "sources": json.dumps({name: digest_of(source) for name, source in sources.items()}, sort_keys=True),
        "dev_error": repr(progress.rows[-1]["dev_error"]),
        "seconds": f"{progress.seconds:.1f}",
        "images_per_second": f"{images / progress.seconds:.0f}",
        "operations_per_image": f"{operations:.4g}",
        "peak": f"{peak(model.precision):.4g}",
        "machine": machine(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "git_revision": git_revision(),
    }
    state = {name: tensor.cpu() for name, tensor in without_counters(network.state_dict()).items()}
    part = path.with_suffix(".part")
    part.write_bytes(serialise(state, metadata))
    part.replace(path)


def machine() -> str:
    """The processor or the GPU, and how many cores this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else 'an unknown processor'}"


@cache
def git_revision() -> str:
    """The commit of the kit when it was first asked for, `-changed` where files differ; empty outside a repository."""
    kit = Path(__file__).resolve().parents[1]
    try:
        commit = _git(kit, "rev-parse", "HEAD")
        return f"{commit}-changed" if _git(kit, "diff", "--name-only", "HEAD", "--", kit) else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str | Path) -> str:
    ended = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.strip()
