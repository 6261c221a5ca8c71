"""A trained network as a file: weights with what they came from, as advkit.networks loads them."""

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import nn

from advkit.errors import KitError
from advkit.weights.files import digest_of, read_metadata
from advkit.weights.stored import serialise, without_counters
from training.data import Data
from training.recipe import Model
from training.train import History


def save_network(
    path: Path,
    network: nn.Module,
    model: Model,
    data: Data,
    seed: int,
    sources: Mapping[str, Path],
    history: History,
    speed: Mapping[str, str],
) -> None:
    """Write the weights, float32, and their provenance, in one step. speed: what training.speed says."""
    images = len(data.train_x) // model.batch * model.batch * model.all_epochs
    metadata = {
        **provenance(model, data, seed, sources),
        "dev_error": repr(history.rows[-1]["dev_error"]),
        "seconds": f"{history.seconds:.1f}",
        "images_per_second": f"{images / history.seconds:.0f}",
        **speed,
        "machine": machine(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "git_revision": git_revision(),
    }
    state = {name: tensor.cpu() for name, tensor in without_counters(network.state_dict()).items()}
    part = path.with_suffix(".part")
    part.write_bytes(serialise(state, metadata))
    part.replace(path)


def provenance(model: Model, data: Data, seed: int, sources: Mapping[str, Path]) -> dict[str, str]:
    """What decides the weights, but for the machine and the versions of programs."""
    return {
        "architecture": model.architecture,
        "recipe": json.dumps(model.keys, sort_keys=True),
        "seed": str(seed),
        "data": data.name,
        "data_digest": data.digest,
        "sources": json.dumps({name: digest_of(source) for name, source in sources.items()}, sort_keys=True),
    }


def check_same(path: Path, expected: Mapping[str, str]) -> None:
    """Raise KitError where a saved network is not what `provenance` says now."""
    found = read_metadata(path)
    if other := [key for key, value in expected.items() if found.get(key) != value]:
        raise KitError(f"{path}: was trained with another {' and '.join(other)}; remove it, or name another --to")


def machine() -> str:
    """The processor or the GPU, and how many cores there are."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else 'an unknown processor'}"


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
