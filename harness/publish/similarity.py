"""How alike the attacks' perturbations are: exact inner products for each pair and image, kept as evidence.

The cosines follow from them, so whoever has the products computes the same means without any pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.assembly import AuditTable, image_budgets
from harness.errors import StoreDamagedError, UserError
from harness.images import read_png
from harness.round import Round
from harness.store import Store

MOST_IMAGES = 100
"""Of a larger round, so many images are looked at: the mean of a hundred cosines is sure to a few hundredths."""

CHUNK = 1 << 16
"""Colour values of each attack that are multiplied at once, as float64: 0.5 MiB an attack."""

Watch = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""


def look_away(done: int, total: int) -> None:
    """The watch that sees nothing."""


@dataclass(frozen=True)
class Similarity:
    """Inner products of perturbations (adversarial minus clean, colour values) on some images.

    attacks: A names, in the order of the round. epsilon: the name of the one that was looked at. images: M names.
    products: int64 M x A x A, symmetric; squared lengths on the diagonal, 0 where an attack changed nothing.
    """

    attacks: tuple[str, ...]
    epsilon: str
    images: tuple[str, ...]
    products: npt.NDArray[np.int64]


def measure_similarity(round_: Round, audits: AuditTable, store: Store, watch: Watch = look_away) -> Similarity:
    """Reads the pixels of at most MOST_IMAGES images, evenly chosen, of every attack.

    Of several budgets the largest is looked at: the rounding to whole colour values blurs it least. An image that is
    missing, invalid or not known yet has its clean stand-in, so a perturbation of nothing.
    Raises: UserError where the store lost pixels.
    """
    epsilon, chosen = _largest_budget(round_), _chosen(round_)
    products = np.empty((len(chosen), len(round_.attacks), len(round_.attacks)), dtype=np.int64)
    for done, position in enumerate(chosen):
        watch(done, len(chosen))
        clean = round_.images[position].clean
        adversarial = [digest or clean for digest in audits.digests[:, epsilon, position]]
        try:
            store.objects.bring({clean, *adversarial})
            products[done] = _products(_perturbations(store, round_.image_size, clean, adversarial))
        except StoreDamagedError as error:
            raise UserError(f"{store.path}: {error}; run the tournament again, which makes it anew") from None
    watch(len(chosen), len(chosen))
    names = tuple(attack.name for attack in round_.attacks)
    return Similarity(names, round_.epsilons[epsilon], tuple(round_.images[number].id for number in chosen), products)


def _largest_budget(round_: Round) -> int:
    """Its position on the epsilon axis, of budgets that are dealt out by batch the largest on average."""
    return int(image_budgets(round_).mean(axis=1).argmax())


def _chosen(round_: Round) -> list[int]:
    return evenly(len(round_.images)) if round_.attacks else []


def evenly(images: int, most: int = MOST_IMAGES) -> list[int]:
    """At most `most` positions of so many images, from the first on at equal distances but for rounding down."""
    count = min(images, most)
    return [number * images // count for number in range(count)]


def _perturbations(store: Store, size: tuple[int, int], clean: str, adversarial: list[str]) -> npt.NDArray[np.int16]:
    """A x colour values."""
    before = _pixels(store, size, clean)
    changes = np.zeros((len(adversarial), before.size), dtype=np.int16)
    for row, digest in enumerate(adversarial):
        if digest != clean:
            changes[row] = _pixels(store, size, digest) - before
    return changes


def _pixels(store: Store, size: tuple[int, int], digest: str) -> npt.NDArray[np.int16]:
    return read_png(store.objects.read(digest), size).astype(np.int16).ravel()


def _products(changes: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """Inner products of all rows. Sums of whole numbers below 2**53 are exact in float64, in whatever order."""
    total = np.zeros((len(changes),) * 2)
    for start in range(0, changes.shape[1], CHUNK):
        part = changes[:, start : start + CHUNK].astype(np.float64)
        total += part @ part.T
    return total.astype(np.int64)
