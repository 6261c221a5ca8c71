"""A recipe: a YAML file with the data of a task, and the networks to train in their order.

data: digits
defaults: {epochs: 30, batch: 128}
networks:
  digits_inception: {architecture: digits_inception}
  digits_inception_adv: {architecture: digits_inception, adversary: {epsilon: 76.5}}
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from advkit.config import Range, check_arguments, parameters_of, pick, read_config
from advkit.errors import KitError
from advkit.networks.small import SMALL
from advkit.perturb import make_attack
from training.adversary import DRAWS, Adversary, attack_config

NotNegative = Annotated[float, Range(0)]

FILE_NAME = re.compile("[a-z0-9_]+")
"""Of a network: its weights are kept as NAME.safetensors."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("adam", "sgd"),
    "schedule": ("constant", "one_cycle"),
    "augment": ("nothing", "shift", "shift_flip", "shift_flip_cut"),
    "precision": ("float32", "bfloat16"),
}

PARTS = ("adversary", "restart")
"""Keys of a network that are mappings themselves."""


@dataclass(frozen=True)
class Restart:
    """A warm restart (Loshchilov and Hutter, arXiv:1608.03983): the optimizer begins anew, with weights as they are."""

    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Model:
    """Keys of a network in a recipe."""

    architecture: str  # one of advkit.networks.small.SMALL
    epochs: int
    batch: int
    learning_rate: float
    optimizer: str = "adam"  # or sgd, with Nesterov's momentum of 0.9
    schedule: str = "constant"  # or one_cycle: up to the learning rate, then down to nothing
    weight_decay: NotNegative = 0.0
    label_smoothing: Annotated[float, Range(0, 1)] = 0.0
    augment: str = "nothing"  # or shift, shift_flip, shift_flip_cut, by up to `shift` pixels
    shift: int = 2
    precision: str = "float32"  # or bfloat16, by autocast
    compile: bool = False  # by torch.compile, for GPUs
    adversary: Adversary | None = None  # what makes adversarial examples; without it the training is the standard one
    restart: Restart | None = None  # one more run of the schedule; without it there is none

    @property
    def all_epochs(self) -> int:
        """Those of the restart included."""
        return self.epochs + (self.restart.epochs if self.restart else 0)

    @property
    def keys(self) -> dict[str, Any]:
        """As in a recipe, with defaults; `restart` only if there is one: some trained networks are older than it."""
        return {key: value for key, value in asdict(self).items() if value is not None or key != "restart"}

    @property
    def sources(self) -> list[str]:
        """The networks that must have been trained before."""
        return self.adversary.sources if self.adversary else []


@dataclass(frozen=True)
class Family:
    """A plain network, by whose name the family goes, its two trainings, and surrogates that neither learned from."""

    adversarial: str
    ensemble: str
    holdouts: list[str]
    adversarial_holdouts: list[str] = field(default_factory=list)

    @property
    def surrogates(self) -> list[tuple[str, ...]]:
        """What transfer attacks are made on: each hold-out, those of a kind averaged, and all averaged."""
        plain, adversarial = tuple(self.holdouts), tuple(self.adversarial_holdouts)
        groups = [(name,) for name in (*plain, *adversarial)]
        return list(dict.fromkeys([*groups, *(group for group in (plain, adversarial, plain + adversarial) if group)]))

    def members(self, plain: str) -> list[str]:
        """The three networks whose errors are compared."""
        return [plain, self.adversarial, self.ensemble]


@dataclass(frozen=True)
class Study:
    """What is measured of the trained networks.

    relative_start_size: of the random step of R+FGSM. images: held out, for single steps; later_images: for iterative
    attacks, which take longer.
    """

    epsilons: list[float]  # 0..255 scale
    relative_start_size: float
    images: int
    later_images: int
    families: Mapping[str, Family]

    @property
    def defended(self) -> list[str]:
        """The networks whose errors are measured."""
        return [name for plain, family in self.families.items() for name in family.members(plain)]

    @property
    def networks(self) -> list[str]:
        """All that must have been trained."""
        surrogates = [name for family in self.families.values() for group in family.surrogates for name in group]
        return list(dict.fromkeys([*self.defended, *surrogates]))


@dataclass(frozen=True)
class Recipe:
    """data: one of training.data. networks: in the order of their training, sources first."""

    data: str
    networks: Mapping[str, Model]
    study: Study | None


@dataclass(frozen=True)
class _Keys:
    data: str
    networks: dict[str, Any]
    defaults: dict[str, Any] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _StudyKeys:
    epsilons: list[float]
    families: dict[str, Any]
    relative_start_size: Annotated[float, Range(0, 1)] = 0.5
    images: int = 10_000
    later_images: int = 1000


def read_recipe(path: Path) -> Recipe:
    """Raises KitError for a file that is no recipe: it names the file, the key and what was expected."""
    keys = read_config(path, _Keys)
    if not keys.networks:
        raise KitError(f"{path}: networks: there is none; name at least one")
    models: dict[str, Model] = {}
    for name, own in keys.networks.items():
        where = f"{path}: networks: {name}"
        if not (isinstance(name, str) and FILE_NAME.fullmatch(name)):
            raise KitError(f"{where}: is the name of a file; take small letters, digits and _ alone")
        models[name] = _model(where, {**keys.defaults, **_mapping(where, own)})
        if unknown := [source for source in models[name].sources if source not in list(models)[:-1]]:
            raise KitError(f"{where}: source {unknown[0]} is not above it in the recipe; add it there")
    return Recipe(keys.data, models, _study(f"{path}: study", keys.study, models) if keys.study else None)


def _model(where: str, keys: dict[str, Any]) -> Model:
    own = {key: value for key, value in keys.items() if key not in PARTS}
    check_arguments(where, own, {key: value for key, value in parameters_of(Model).items() if key not in PARTS})
    adversary = _adversary(f"{where}: adversary", keys["adversary"]) if "adversary" in keys else None
    restart = _restart(f"{where}: restart", keys["restart"]) if "restart" in keys else None
    model = Model(**own, adversary=adversary, restart=restart)
    pick(SMALL, model.architecture, f"{where}: architecture")
    if adversary and adversary.batches == "half" and model.batch < 2:
        raise KitError(f"{where}: batch {model.batch} has no half for adversary: batches; take a larger one")
    for key, choices in CHOICES.items():
        pick(dict.fromkeys(choices), getattr(model, key), f"{where}: {key}")
    return model


def _adversary(where: str, keys: object) -> Adversary:
    keys = _mapping(where, keys)
    check_arguments(where, keys, parameters_of(Adversary))
    adversary = Adversary(**keys)
    pick(DRAWS, adversary.drawn_epsilon, f"{where}: drawn_epsilon")
    pick(dict.fromkeys(("predicted", "given")), adversary.label, f"{where}: label")
    pick(dict.fromkeys(("half", "full")), adversary.batches, f"{where}: batches")
    try:
        make_attack(attack_config(adversary.attack))
    except KitError as error:
        raise KitError(f"{where}: {error}") from error
    return adversary


def _restart(where: str, keys: object) -> Restart:
    keys = _mapping(where, keys)
    check_arguments(where, keys, parameters_of(Restart))
    return Restart(**keys)


def _study(where: str, keys: dict[str, Any], models: Mapping[str, Model]) -> Study:
    check_arguments(where, keys, parameters_of(_StudyKeys))
    values = _StudyKeys(**keys)
    if values.later_images > values.images:
        raise KitError(f"{where}: later_images {values.later_images} is more than images {values.images}; name fewer")
    families = {name: _family(f"{where}: {name}", name, own, models) for name, own in values.families.items()}
    return Study(**{**vars(values), "families": families})


def _family(where: str, plain: str, keys: object, models: Mapping[str, Model]) -> Family:
    keys = _mapping(where, keys)
    check_arguments(where, keys, parameters_of(Family))
    family = Family(**keys)
    holdouts = [*family.holdouts, *family.adversarial_holdouts]
    for name in (*family.members(plain), *holdouts):
        pick(models, name, f"{where}: network")
    if not models[family.ensemble].sources:
        raise KitError(
            f"{where}: ensemble {family.ensemble} has no static sources, so it is none; name another network"
        )
    seen = {models[name].architecture for name in (family.ensemble, *models[family.ensemble].sources)}
    if leaked := [name for name in holdouts if models[name].architecture in seen]:
        raise KitError(
            f"{where}: hold-out {leaked[0]} has the architecture of a source of {family.ensemble}; take another"
        )
    return family


def _mapping(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise KitError(f"{where}: expected a mapping, found {value!r}")
    return value
