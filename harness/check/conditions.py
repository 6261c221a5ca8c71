"""Under which conditions a submission is checked: those of a tournament, but for what the command line says."""

import glob
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.baseline import sample
from harness.config import ROTATION, DatasetConfig, Tournament, load_tournament
from harness.dataset import Dataset, describe
from harness.errors import UserError
from harness.preparation import OWN_SUBMISSIONS, is_own
from harness.sandbox import choose_sandbox
from harness.schema import validate

PROJECT = OWN_SUBMISSIONS.parent
DEFAULT_TOURNAMENT = PROJECT / "tournaments" / "photos.yaml"
FIRST_CHOICE = "photos"
FEW_IMAGES = 8


@dataclass(frozen=True)
class Conditions:
    """path: the submission. tournament: limits, budgets and images to check under; its data set counts where
    `dataset_named`, all its budgets where `epsilon_named`. images: how many to play, None for few or, if `full`, all.
    """

    path: Path
    tournament: Tournament
    dataset_named: bool = False
    epsilon_named: bool = False
    images: int | None = None
    full: bool = False
    static: bool = False

    @property
    def budgets(self) -> tuple[int, ...]:
        """The epsilons that an attack is played with, on the 0..255 scale."""
        given = self.tournament.epsilon
        listed = ROTATION if given == "rotate" else (given,) if isinstance(given, int) else tuple(given)
        if self.epsilon_named:
            return listed
        return ROTATION if self.full else (max(listed),)

    @property
    def sandbox_name(self) -> str:
        """Strangers' code is isolated, unless one says that one trusts its authors."""
        if self.tournament.sandbox != "auto":
            return self.tournament.sandbox
        if is_own(self.path):
            return "process"
        return choose_sandbox("auto" if self.tournament.trust_submissions else "docker")

    def part(self, dataset: Dataset) -> Dataset:
        """With the pictures that are played only, spread over the list."""
        size = self.images or (len(dataset.pictures) if self.full else FEW_IMAGES)
        return replace(dataset, pictures=tuple(sample(dataset.pictures, size)))

    def dataset(self, labels: str | None) -> DatasetConfig:
        """The data set that was named, else the project's first that is labelled in `labels`, where any is.

        Raises: UserError where its images are not there.
        """
        if self.dataset_named:
            return self.tournament.dataset
        spaces = {folder: describe(folder).labels.space for folder in own_datasets()}
        fitting = [folder for folder, space in spaces.items() if space == labels] or list(spaces)
        if not fitting:
            raise UserError("there is no dataset to check on; name one with --dataset")
        ready = [folder for folder in fitting if (folder / "images").is_dir()]
        if not ready:
            raise UserError(f"{fitting[0]}: its images are not there; run: harness dataset build {fitting[0]}")
        return DatasetConfig(path=ready[0])

    def seated(self, folder: Path) -> Tournament:
        """The same tournament with no other submission than that in `folder`."""
        return self.tournament.model_copy(update={"submissions": [glob.escape(str(folder.resolve()))]})


def own_datasets() -> list[Path]:
    """The project's, the one that comes first at first."""
    found = sorted(path.parent for path in PROJECT.glob("dataset/*/dataset.yaml"))
    return sorted(found, key=lambda folder: folder.name != FIRST_CHOICE)


def label_spaces() -> set[str]:
    """Every label space that a data set of the project has."""
    return {describe(folder).labels.space for folder in own_datasets()}


def tournament_for(
    file: Path | None, dataset: Path | None, limits: Mapping[str, Any], options: Mapping[str, Any]
) -> Tournament:
    """The tournament to check under: `file`, else the project's own photos, else the defaults.

    limits, options: keys from the command line, None where it does not name them. Raises: UserError.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if dataset is not None:
        given["dataset"] = {"path": str(dataset.resolve())}
    file = file or (DEFAULT_TOURNAMENT if DEFAULT_TOURNAMENT.exists() else None)
    if file:
        base = load_tournament(file, given).model_dump()
    else:
        least = {"name": "check", "dataset": {"path": str(PROJECT)}, "submissions": ["none"], "output": "check"}
        base = validate(Tournament, least | given, "command line").model_dump()
    named = {key: value for key, value in limits.items() if value is not None}
    return validate(Tournament, base | {"limits": base["limits"] | named}, "command line")
