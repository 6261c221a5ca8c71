"""What each image is like: how hard, whether anybody defends it, and whether its label may be wrong."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.scoring import Bits, Flags, Labels

SUSPICIOUS = 0.5
"""The share of defenses that agree on one other label for the clean image, above which its own is suspected."""


@dataclass(frozen=True)
class Suspect:
    """An image that most defenses, undisturbed, call something else. votes: how many say `label`."""

    image: int
    label: int
    votes: int


def difficulty(correct: Flags, counted: Flags | None = None) -> npt.NDArray[np.float64]:
    """Share of wrong answers on each image: float64 N, of bool A x E x D x N; nan where there is none.

    counted: which answers to count, of the same shape (or one that broadcasts to it); all of them by default.
    """
    taken = np.broadcast_to(np.True_ if counted is None else counted, correct.shape)
    with np.errstate(invalid="ignore"):
        return np.asarray((~correct & taken).sum(axis=(0, 1, 2)) / taken.sum(axis=(0, 1, 2)))


def lost_to_best(correct: Flags | Bits, known: Flags | Bits) -> npt.NDArray[np.float64]:
    """Share of defenses that lose the image to at least one attack: float64 N, of A x E x D x N; nan of none.

    An answer that is not known yet loses no image.
    """
    defenses, images = correct.shape[2:]
    lost = np.zeros(images, dtype=np.int64)
    for defense in range(defenses):
        lost += ~(correct[:, :, defense] | ~known[:, :, defense]).all(axis=(0, 1))
    return lost / defenses if defenses else np.full(images, np.nan)


def undefended(correct: Flags | Bits, known: Flags | Bits) -> npt.NDArray[np.intp]:
    """Images that every defense loses to at least one attack: positions, of A x E x D x N."""
    return np.flatnonzero(lost_to_best(correct, known) == 1)


def label_suspects(clean: Labels, true_labels: Labels) -> list[Suspect]:
    """Images that more than SUSPICIOUS of the defenses give one and the same other label when clean; clean: D x N."""
    found = []
    for image, answers in enumerate(clean.T):
        wrong, votes = np.unique(answers[(answers >= 0) & (answers != true_labels[image])], return_counts=True)
        if len(wrong) and votes.max() > SUSPICIOUS * len(clean):
            found.append(Suspect(image, int(wrong[votes.argmax()]), int(votes.max())))
    return found
