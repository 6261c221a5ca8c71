"""What a recipe's networks withstand: every attack on every surrogate against every network, for one seed."""

import json
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
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


def measure(study: Study, folder: Path, images: Images, found: Rows, keep: Callable[[Rows], None]) -> Rows:
    """All rows of the study, of which those in `found` are not measured again.

    folder: with a file for each network. images: held out. keep: is given all rows so far whenever there are more, so
    that a stopped measuring goes on where it was. Raises KitError where a network is not there.
    """
    networks = {name: _load(folder, name) for name in study.networks}
    parts = [part for part in _parts(study, networks, images) if not found.keys() >= set(part.keys)]
    started = time.monotonic()
    for done, part in enumerate(parts, start=1):
        found = found | dict(zip(part.keys, part.rows(), strict=True))
        keep(found)
        left = (time.monotonic() - started) / done * (len(parts) - done)
        print(f"{part.text}: {done} of {len(parts)}, {left / 60:.1f} min left", flush=True)
    return found


def about(study: Study, folder: Path) -> str:
    """What decides the rows: the study, and the networks by their digests."""
    digests = {name: digest_of(weights_path(folder, name)) for name in study.networks}
    return json.dumps({"study": asdict(study), "networks": digests}, sort_keys=True)


def read_rows(path: Path) -> Rows:
    """What `save_rows` wrote."""
    with np.load(path) as file:
        return {Key.parse(name): file[name] for name in file if name != ABOUT}


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
class _Part:
    """A row for each key, which are made together."""

    text: str
    keys: list[Key]
    rows: Callable[[], Iterable[NDArray[np.generic]]]


def _parts(study: Study, networks: Mapping[str, nn.Module], images: Images) -> Iterator[_Part]:
    configs = read_attacks(study.relative_start_size)
    many, few = images.first(study.images), images.first(study.later_images)

    def crafted(epsilon: float, members: tuple[str, ...], attack: str, targets: list[str]) -> _Part:
        """members: surrogates to average; targets: networks that see the result."""

        def rows() -> Iterable[NDArray[np.generic]]:
            source = frozen([networks[name] for name in members])
            shown = many if attack in SINGLE_STEP else few
            return transfer_errors(_of(networks, targets), source, configs[attack], epsilon, shown).values()

        surrogate = TOGETHER.join(members)
        return _Part(f"{attack} on {surrogate}", [Key(epsilon, surrogate, attack, name) for name in targets], rows)

    def lost(epsilon: float, name: str) -> _Part:
        """The loss of FGSM, and the largest that any strong attack found."""

        def rows() -> Iterable[NDArray[np.generic]]:
            values = losses(networks[name], [configs[attack] for attack in STRONG], epsilon, few)
            return values[0], values.max(axis=0)

        return _Part(f"losses of {name}", [Key(epsilon, name, kind, name) for kind in (LOSS_STEP, LOSS_BEST)], rows)

    for epsilon in study.epsilons:
        for plain, family in study.families.items():
            targets = family.members(plain)
            yield from (crafted(epsilon, (name,), attack, [name]) for name in targets for attack in WHITE_BOX)
            attacks = (*SINGLE_STEP, *LATER)
            yield from (crafted(epsilon, group, attack, targets) for group in family.surrogates for attack in attacks)
    defended = study.defended
    unchanged = [Key(0, CLEAN, CLEAN, name) for name in defended]
    yield _Part(CLEAN, unchanged, lambda: clean_errors(_of(networks, defended), many).values())
    yield from (lost(epsilon, name) for epsilon in study.epsilons for name in defended)


def _of(networks: Mapping[str, nn.Module], names: Iterable[str]) -> dict[str, nn.Module]:
    return {name: networks[name] for name in names}


def _load(folder: Path, name: str) -> nn.Module:
    path = weights_path(folder, name)
    if not path.is_file():
        raise KitError(f"{path}: is not there; begin with: python -m training train RECIPE --networks {name}")
    return frozen([load_trained(path)])
