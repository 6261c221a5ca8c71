"""What is left of a round, and what of it is done next: pictures, images, attacks and defenses are numbers here.

The size of 2017 is 107 defenses that each have 780,000 images to label. So what a defense was asked already is one bit
an image, all defenses share one table of the versions of each picture, and counts are kept and never made anew.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIXED_VERSIONS = 3
"""Versions of each picture that are waited for before a call, while attacks are still to be begun."""

Places = npt.NDArray[np.integer]
"""Positions of pictures in the round."""

Numbers = npt.NDArray[np.uint32]
"""Images by the numbers of the index, from 1."""


@dataclass(frozen=True)
class AttackTask:
    """The call of an attack for one batch of pictures, under one budget: positions on the axes of the round."""

    attack: int
    epsilon: int
    batch: int
    pictures: range

    @property
    def images(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class DefenseTask:
    """A call of a defense (its position in the round): the images that it is asked about."""

    defense: int
    asked: Numbers

    @property
    def images(self) -> int:
        return len(self.asked)


Task = AttackTask | DefenseTask

Choose = Callable[[Sequence[int]], int]
"""Which of these attacks is called next."""


class Agenda:
    """What is left, and what of it is done next. It knows nothing of names, files and clocks.

    A call of a defense takes at most one version of a picture (unless `all_versions`), drawn at random, so that the
    defense can neither average several versions nor tell the attacks apart by what comes together.

    pictures, attacks: how many. seeds: of each defense, for its draws. to_make: int64 by attack, images of calls that
    have not ended. to_answer: int64 by defense, images that are there and whose answers are not. batches: int64 by
    defense, as many times `batch_size` pictures a call has at most; it may be changed at any time.
    """

    def __init__(
        self, pictures: int, batch_size: int, attacks: int, seeds: Sequence[int], *, all_versions: bool = False
    ) -> None:
        self._pictures, self._batch_size, self._all_versions = pictures, batch_size, all_versions
        self._random = [np.random.default_rng(seed) for seed in seeds]
        self._attacks: dict[int, deque[AttackTask]] = {}
        self._versions = np.zeros((pictures, 4), dtype=np.uint32)
        self._used = np.zeros(pictures, dtype=np.intp)
        self._offered = np.zeros(0, dtype=np.bool_)
        self._asked = np.zeros((len(seeds), 0), dtype=np.uint8)
        self._open = np.zeros((len(seeds), pictures), dtype=np.int32)
        self._deep = np.zeros(len(seeds), dtype=np.int64)
        self._unasked = np.zeros(len(seeds), dtype=np.int64)
        self.batches = np.ones(len(seeds), dtype=np.int64)
        self.to_answer = np.zeros(len(seeds), dtype=np.int64)
        self.to_make = np.zeros(attacks, dtype=np.int64)

    # --- what there is

    def add_attack(self, task: AttackTask) -> None:
        """An attack's call that is to be made."""
        self._attacks.setdefault(task.attack, deque()).append(task)
        self.to_make[task.attack] += task.images

    def know(self, defense: int, images: Numbers) -> None:
        """The defense has labelled these images already; said before they are offered."""
        self._reach(int(images.max(initial=0)))
        flags = np.zeros(self._asked.shape[1] * 8, dtype=np.bool_)
        flags[images] = True
        self._asked[defense] |= np.packbits(flags, bitorder="little")

    def offer(self, pictures: Places, images: Numbers) -> None:
        """Images that are there, each a version of one of these different pictures; every defense is asked about each
        once, whatever it is a version of.
        """
        self._reach(int(images.max(initial=0)))
        fresh = np.zeros(len(images), dtype=np.bool_)
        fresh[np.unique(images, return_index=True)[1]] = True
        fresh &= ~self._offered[images]
        pictures, images = pictures[fresh], images[fresh]
        self._offered[images] = True
        self._add_versions(pictures, images)
        unasked = ~self._is_asked(slice(None), images)
        before = self._open[:, pictures]
        after = before + unasked
        self._open[:, pictures] = after
        self._deep += ((before < MIXED_VERSIONS) & (after >= MIXED_VERSIONS)).sum(axis=1)
        self._unasked += unasked.sum(axis=1)
        self.to_answer += unasked.sum(axis=1)

    # --- what is next

    def take(self, choose: Choose = min) -> Task | None:
        """A defense whose next call is full and mixed, else an attack, else the defense with the most to label."""
        if len(self._unasked) and (mixed := self._is_mixed()).any():
            return self._ask(int(np.where(mixed, self._unasked, 0).argmax()))
        if self._attacks:
            return self._next_attack(choose)
        if self._unasked.any():
            return self._ask(int(self._unasked.argmax()))
        return None

    def is_empty(self) -> bool:
        """Whether `take` has nothing to give now."""
        return not self._attacks and not self._unasked.any()

    def settle(self, task: Task) -> None:
        """A task that was taken is over: recorded, or given up."""
        if isinstance(task, AttackTask):
            self.to_make[task.attack] -= task.images
        else:
            self.to_answer[task.defense] -= task.images

    def _is_mixed(self) -> npt.NDArray[np.bool_]:
        """Which defenses have enough versions of enough pictures for a call of full size that mixes attacks."""
        full = np.minimum(self._pictures, self._batch_size * self.batches)
        return (self._deep >= full) & (not self._all_versions)

    def _next_attack(self, choose: Choose) -> AttackTask:
        attack = choose(list(self._attacks))
        task = self._attacks[attack].popleft()
        if not self._attacks[attack]:
            del self._attacks[attack]
        return task

    def _ask(self, defense: int) -> DefenseTask:
        chosen = self._all(defense) if self._all_versions else self._draw(defense)
        self._mark(defense, chosen)
        self._unasked[defense] -= len(chosen)
        return DefenseTask(defense, chosen)

    def _all(self, defense: int) -> Numbers:
        images: Numbers = self._versions[self._versions > 0]
        self._open[defense] = 0
        return images[~self._is_asked(defense, images)]

    def _draw(self, defense: int) -> Numbers:
        """One version of each of the pictures that have most of them: so there are no more calls than needed."""
        left = self._open[defense]
        pictures = _fullest(left, self._batch_size * int(self.batches[defense]))
        versions = self._versions[pictures, : self._used[pictures].max()]
        free = (versions > 0) & ~self._is_asked(defense, versions)
        rank = (self._random[defense].random(len(pictures)) * left[pictures]).astype(np.int64)
        which = (free.cumsum(axis=1) > rank[:, None]).argmax(axis=1)
        self._deep[defense] -= np.count_nonzero(left[pictures] == MIXED_VERSIONS)
        left[pictures] -= 1
        drawn: Numbers = versions[np.arange(len(pictures)), which]
        return drawn

    # --- tables

    def _is_asked(self, defense: int | slice, images: Numbers) -> npt.NDArray[np.bool_]:
        """Whether the defense was asked about each image; one more axis in front where all defenses are meant."""
        found: npt.NDArray[np.bool_] = (self._asked[defense, images >> 3] >> (images & 7).astype(np.uint8) & 1) > 0
        return found

    def _mark(self, defense: int, images: Numbers) -> None:
        bits = np.left_shift(1, images & 7).astype(np.uint8)
        np.bitwise_or.at(self._asked[defense], images >> 3, bits)

    def _add_versions(self, pictures: Places, images: Numbers) -> None:
        places = self._used[pictures]
        width = self._versions.shape[1]
        if places.max(initial=0) >= width:
            self._versions = np.pad(self._versions, ((0, 0), (0, width)))
        self._versions[pictures, places] = images
        self._used[pictures] += 1

    def _reach(self, image: int) -> None:
        """Makes room for images up to this number."""
        if image >= len(self._offered):
            size = 8 * max(64, len(self._offered) // 4, image // 8 + 1)
            self._offered = _wider(self._offered, size)
            self._asked = _wider(self._asked, size // 8)


def _fullest(left: npt.NDArray[np.int32], most: int) -> Places:
    """At most `most` positions where something is left, of those where most is; the first of equal ones."""
    chosen: list[Places] = []
    level, room = int(left.max(initial=0)), most
    while level > 0 and room > 0:
        chosen.append(np.flatnonzero(left == level)[:room])
        room -= len(chosen[-1])
        level = int(left.max(initial=0, where=left < level))
    return np.concatenate(chosen)


def _wider(table: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The same with a last axis of `size`; pages that nobody writes to take no memory."""
    wide = np.zeros((*table.shape[:-1], size), dtype=table.dtype)
    wide[..., : table.shape[-1]] = table
    return wide
