"""What a recipe's networks withstand: every attack on every surrogate against every network, for one seed."""

import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from advkit.errors import KitError
from advkit.networks import frozen
from advkit.networks.loading import load_trained
from advkit.weights.files import digest_of, weights_path
from training.evaluate import Images, clean_errors, losses, read_attacks, transfer_errors
from training.recipe import Study

SINGLE_STEP = ("fgsm", "step_ll", "r_fgsm", "r_step_ll")
WHITE_BOX = (*SINGLE_STEP, "pgd20")
LATER = ("ifgsm", "mi_fgsm", "di_fgsm", "ti_fgsm", "si_ni_fgsm", "vmi_fgsm", "ssa", "si_di_ti_mi")
STRONG = ("fgsm", "r_fgsm", "ifgsm", "pgd20", "pgd20", "pgd20")
"""Among them the largest loss in the ball is sought; three of them begin at points of their own."""

CLEAN, LOSS_STEP, LOSS_BEST = "clean", "loss_step", "loss_best"
TOGETHER = " + "
"""Joins the names of surrogates that are averaged."""

ABOUT = "about"


@dataclass(frozen=True)
class Key:
    """What a row is about; `surrogate` is the network itself for a white box, several names when averaged."""

    epsilon: float
    surrogate: str
    attack: str
    network: str

    def __str__(self) -> str:
        return "|".join((f"{self.epsilon:g}", self.surrogate, self.attack, self.network))

    @classmethod
    def parse(cls, text: str) -> "Key":
        """The inverse of `str`."""
        epsilon, *names = text.split("|")
        return cls(float(epsilon), *names)


Rows = dict[Key, NDArray[np.generic]]
"""One number an image, of the first ones: whether it is misclassified, bool; under LOSS_... a loss, float32."""


def measure(study: Study, folder: Path, images: Images) -> Rows:
    """folder: with a file for each network. images: held out. Raises KitError where a network is not there."""
    networks = {name: _load(folder, name) for name in study.networks}
    configs = read_attacks(study.relative_start_size)
    started, plans = time.monotonic(), list(_plans(study))
    found: Rows = {}
    for done, plan in enumerate(plans, start=1):
        chosen = {name: networks[name] for name in plan.targets}
        source = frozen([networks[name] for name in plan.members])
        shown = images.first(study.images if plan.attack in SINGLE_STEP else study.later_images)
        flags = transfer_errors(chosen, source, configs[plan.attack], plan.epsilon, shown)
        surrogate = TOGETHER.join(plan.members)
        found |= {Key(plan.epsilon, surrogate, plan.attack, name): flags[name] for name in plan.targets}
        left = (time.monotonic() - started) / done * (len(plans) - done)
        print(f"{plan.attack} on {surrogate}: {done} of {len(plans)}, {left / 60:.1f} min left", flush=True)
    defended = {name: networks[name] for name in study.defended}
    clean = clean_errors(defended, images.first(study.images))
    found |= {Key(0, CLEAN, CLEAN, name): flags for name, flags in clean.items()}
    return found | _losses(study, defended, images.first(study.later_images))


def about(study: Study, folder: Path) -> str:
    """What decides the rows: the study, and the networks by their digests."""
    digests = {name: digest_of(weights_path(folder, name)) for name in study.networks}
    return json.dumps({"study": asdict(study), "networks": digests}, sort_keys=True)


def save_rows(path: Path, rows: Rows, about: str) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **{ABOUT: np.array(about)}, **{str(key): row for key, row in rows.items()})
    part.replace(path)


def is_about(path: Path, about: str) -> bool:
    """Whether rows are there, and were measured of the same networks by the same study."""
    return path.exists() and _about(path) == about


def is_of(path: Path, study: Study) -> bool:
    """Whether rows were measured by that study, of whichever networks."""
    return bool(json.loads(_about(path))["study"] == asdict(study))


def _about(path: Path) -> str:
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            return str(file[ABOUT])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise KitError(f"{path}: cannot be read as measurements; remove it, and measure again") from error


@dataclass(frozen=True)
class _Plan:
    """members: surrogates to average; targets: networks that see the result."""

    epsilon: float
    members: tuple[str, ...]
    attack: str
    targets: list[str]


def _plans(study: Study) -> Iterator[_Plan]:
    for epsilon in study.epsilons:
        for plain, family in study.families.items():
            targets = family.members(plain)
            yield from (_Plan(epsilon, (name,), attack, [name]) for name in targets for attack in WHITE_BOX)
            attacks = (*SINGLE_STEP, *LATER)
            yield from (_Plan(epsilon, group, attack, targets) for group in family.surrogates for attack in attacks)


def _losses(study: Study, networks: Mapping[str, nn.Module], images: Images) -> Rows:
    """Of FGSM, and the largest that any strong attack found."""
    configs = read_attacks(study.relative_start_size)
    found: Rows = {}
    for epsilon in study.epsilons:
        for name, network in networks.items():
            rows = losses(network, [configs[attack] for attack in STRONG], epsilon, images)
            found[Key(epsilon, name, LOSS_STEP, name)] = rows[0]
            found[Key(epsilon, name, LOSS_BEST, name)] = rows.max(axis=0)
    return found


def _load(folder: Path, name: str) -> nn.Module:
    path = weights_path(folder, name)
    if not path.is_file():
        raise KitError(f"{path}: is not there; begin with: python -m training train RECIPE --networks {name}")
    return frozen([load_trained(path)])
