"""What a recipe's networks withstand: every attack on every surrogate against every network, for one seed."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from advkit.errors import KitError
from advkit.networks import frozen
from advkit.networks.loading import load_trained
from advkit.weights.files import weights_path
from training.evaluate import Flags, Images, clean_errors, loss_ratios, read_attacks, transfer_errors
from training.recipe import Study

SINGLE_STEP = ("fgsm", "step_ll", "r_fgsm", "r_step_ll")
WHITE_BOX = (*SINGLE_STEP, "pgd20")
LATER = ("ifgsm", "mi_fgsm", "di_fgsm", "ti_fgsm", "si_ni_fgsm", "vmi_fgsm", "ssa", "si_di_ti_mi")
CLEAN = "clean"
TOGETHER = " + "
"""Joins the names of surrogates that are averaged."""


@dataclass(frozen=True)
class Key:
    """What one row of flags is about; `surrogate` is the network itself for a white box, several names when joined."""

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


def measure(study: Study, folder: Path, images: Images) -> dict[str, Flags]:
    """Flags by key: which images are misclassified. Ratios of losses stand under the attack `loss_ratio`.

    folder: with a file for each network. images: held out. Raises KitError where a network is not there.
    """
    networks = {name: _load(folder, name) for name in study.networks}
    configs = read_attacks(study.relative_start_size)
    started, found = time.monotonic(), {}
    plans = list(_plans(study))
    for done, (epsilon, members, attack, targets) in enumerate(plans, start=1):
        chosen = {name: networks[name] for name in targets}
        source = frozen([networks[name] for name in members])
        shown = images.first(study.later_images if attack in LATER else study.images)
        flags = transfer_errors(chosen, source, configs[attack], epsilon, shown)
        surrogate = TOGETHER.join(members)
        found.update({str(Key(epsilon, surrogate, attack, name)): flags[name] for name in targets})
        left = (time.monotonic() - started) / done * (len(plans) - done)
        print(f"{attack} on {surrogate}: {done} of {len(plans)}, {left / 60:.1f} min left", flush=True)
    defended = {name: networks[name] for name in study.defended}
    clean = clean_errors(defended, images.first(study.images))
    found.update({str(Key(0, CLEAN, CLEAN, name)): flags for name, flags in clean.items()})
    return found | _ratios(study, defended, images.first(study.later_images))


Plan = tuple[float, tuple[str, ...], str, list[str]]
"""epsilon, surrogates to average, attack, networks that see the result."""


def _plans(study: Study) -> Iterator[Plan]:
    for epsilon in study.epsilons:
        for plain, family in study.families.items():
            targets = family.members(plain)
            yield from ((epsilon, (target,), attack, [target]) for target in targets for attack in WHITE_BOX)
            yield from ((epsilon, (name,), attack, targets) for name in family.holdouts for attack in SINGLE_STEP)
            yield from ((epsilon, group, attack, targets) for group in family.surrogates for attack in LATER)


def _ratios(study: Study, networks: Mapping[str, nn.Module], images: Images) -> dict[str, Flags]:
    configs = read_attacks(study.relative_start_size)
    strong = [configs["r_fgsm"], configs["ifgsm"], *[configs["pgd20"]] * 3]
    return {
        str(Key(epsilon, name, "loss_ratio", name)): loss_ratios(network, configs["fgsm"], strong, epsilon, images)
        for epsilon in study.epsilons
        for name, network in networks.items()
    }


def _load(folder: Path, name: str) -> nn.Module:
    path = weights_path(folder, name)
    if not path.is_file():
        raise KitError(f"{path}: is not there; train it first: python -m training train RECIPE --networks {name}")
    return frozen([load_trained(path)])
