"""The pages about attacks and defenses name every submission, and every key, method and transform that they can use."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from advkit import classify, perturb
from advkit.attacks import LOSSES
from advkit.config import parameters_of
from advkit.methods import METHODS, make_methods
from advkit.networks import NETWORKS
from advkit.transforms import TRANSFORMS, make_transforms

ROOT = Path(__file__).resolve().parents[2]
ATTACKS, DEFENSES, MODELS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("attacks", "defenses", "models"))
GIVEN = {"gradient", "setting", "pixels", "generators"}
"""Parameters that the programs fill in."""


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (ATTACKS, [path.name for path in ROOT.glob("submissions/*attacks/*") if path.is_dir()]),
        (ATTACKS, [field.name for field in fields(perturb.Config)]),
        (ATTACKS, [*METHODS, *LOSSES, *perturb.OBJECTIVES, *perturb.STARTS]),
        (ATTACKS, [name for method in METHODS.values() for name in parameters_of(method) if name not in GIVEN]),
        (DEFENSES, [field.name for field in fields(classify.Config)]),
        (DEFENSES, [f"`{name}`" for name in TRANSFORMS]),
        (DEFENSES, [name for one in TRANSFORMS.values() for name in parameters_of(one) if name not in GIVEN]),
        (MODELS, [f"`{name}`" for name in NETWORKS]),
    ],
    ids=[
        "attacks", "attack keys", "choices", "method parameters", "defense keys", "transforms",
        "transform parameters", "networks",
    ],
)  # fmt: skip
def test_a_page_names_all(page, names):
    assert names
    assert [name for name in names if name not in page] == []


def test_the_page_of_defenses_names_every_submission():
    names = [path.name for path in ROOT.glob("submissions/defenses/*") if path.is_dir()]
    shortened = [name.replace("efficientnet_lite1_", "_") for name in names]
    missing = [
        name
        for name, short in zip(names, shortened, strict=True)
        if f"`{name}`" not in DEFENSES and f"`{short}`" not in DEFENSES
    ]
    assert missing == []


def test_the_examples_are_valid():
    attack, defense = (yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]) for page in (ATTACKS, DEFENSES))
    assert set(attack) == {field.name for field in fields(perturb.Config)}
    assert set(defense) == {field.name for field in fields(classify.Config)}
    make_methods(attack["methods"])
    for voter in defense["vote"]:
        make_transforms([*defense["transforms"], *voter])
    assert [name for name in (*attack["surrogates"], *defense["networks"]) if name not in NETWORKS] == []
