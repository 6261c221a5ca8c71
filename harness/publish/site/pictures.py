"""The pages of pictures: all images, one image under every attack, one attack against one defense."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.assembly import image_budgets
from harness.publish.gallery import Tile
from harness.publish.site.publication import Publication
from harness.publish.site.rankings import cell_page
from harness.publish.slugs import anchor, file_stem
from harness.scoring import NO_ANSWER, UNKNOWN, count_points

WRONG_EXAMPLES, RIGHT_EXAMPLES = 24, 8
"""Images that the page of a cell shows as pictures, for all budgets together."""

MAX_LINKS = 200
"""Of the others, so many are links: a thousand in each of a hundred cells would be most of a site."""


@dataclass(frozen=True)
class Image:
    """An image of the gallery. number: its position in the round. difficulty: share of wrong answers, if known."""

    number: int
    id: str
    page: str
    label: int
    target: int
    difficulty: float | None
    notes: Sequence[str]


@dataclass(frozen=True)
class Answer:
    """What a defense said. label: None where it said nothing that counts; kind: a class of the style sheet."""

    label: int | None
    kind: str


@dataclass(frozen=True)
class Attacked:
    """One image under one attack at one budget. fault: why there is no image of the attack's own, or ''."""

    attack: str
    anchor: str
    budget: int
    fault: str
    known: bool
    linf: int
    adversarial: Tile | None
    difference: Tile | None
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Example:
    """A picture on the page of a cell."""

    image: Image
    clean: Tile
    attacked: Attacked
    said: Answer
    said_clean: Answer


@dataclass(frozen=True)
class Group:
    """Images on which a defense was wrong, or right, at one budget. others: further ones; left: how many more."""

    wrong: bool
    epsilon: str
    count: int
    examples: Sequence[Example]
    others: Sequence[Image]
    left: int


class Pictures:
    """Looks up what the pages of one publication's gallery show."""

    def __init__(self, publication: Publication) -> None:
        self._publication, self._gallery = publication, publication.gallery
        self._table, self._audits = publication.evidence.table, publication.evidence.audits
        self._budgets = image_budgets(publication.evidence.round)
        rules = publication.evidence.round.rules
        self._correct = count_points(self._table, rules).correct
        self._shown = self._table.valid | (rules == "fair")

    @cached_property
    def images(self) -> list[Image]:
        """Those that have pictures, in the order of the round."""
        places = {image: number for number, image in enumerate(self._table.images)}
        return [self._image(places[image]) for image in self._gallery.images if image in places]

    @cached_property
    def _hardness(self) -> Mapping[str, float | None]:
        return {row["image"]: row["difficulty"] for row in self._publication.report.get("images", ())}

    def _image(self, number: int) -> Image:
        name, table, board = self._table.images[number], self._table, self._publication.board
        suspects = {row["image"]: row["label"] for row in board["images"]["label_suspects"]}
        notes = []
        if name in board["images"]["undefended"]:
            notes.append("nobody defends it")
        if name in suspects:
            notes.append(f"most defenses call it {suspects[name]}, even when it is clean")
        labels = int(table.true_labels[number]), int(table.target_classes[number])
        return Image(number, name, f"gallery/{file_stem(name)}.html", *labels, self._hardness.get(name), notes)

    def attacked(self, image: Image) -> Iterator[Attacked]:
        """The image under every attack, budgets of an attack one after the other."""
        for attack, epsilon in np.ndindex(*self._table.valid.shape[:2]):
            yield self._attacked(image, attack, epsilon, range(len(self._table.defenses)))

    def clean_answers(self, image: Image) -> list[Answer]:
        return [self._clean_answer(image, defense) for defense in range(len(self._table.defenses))]

    def _attacked(self, image: Image, attack: int, epsilon: int, defenses: Sequence[int]) -> Attacked:
        place = attack, epsilon, image.number
        return Attacked(
            self._table.attacks[attack],
            anchor(self._role(attack), self._table.attacks[attack]),
            int(self._budgets[epsilon, image.number]),
            str(self._audits.faults[place]),
            bool(self._audits.digests[place]),
            int(self._audits.measures["linf"][place]),
            self._gallery.adversarial(image.id, attack, epsilon),
            self._gallery.difference(image.id, attack, epsilon),
            [self._answer(image, self._label(attack, epsilon, one, image.number), attack) for one in defenses],
        )

    def _label(self, attack: int, epsilon: int, defense: int, image: int) -> int:
        """None that counts where the rules show an invalid image to nobody."""
        label = int(self._table.labels[attack, epsilon, defense, image])
        return label if label == UNKNOWN or self._shown[attack, epsilon, image] else NO_ANSWER

    def _role(self, attack: int) -> str:
        return "attack" if attack < self._table.untargeted else "targeted_attack"

    def _clean_answer(self, image: Image, defense: int) -> Answer:
        return self._answer(image, int(self._table.clean[defense, image.number]))

    def _answer(self, image: Image, label: int, attack: int = -1) -> Answer:
        """The target class is a hit only where somebody aimed at it."""
        if label < 0:
            return Answer(None, "none" if label == NO_ANSWER else "unknown")
        if label == image.label:
            return Answer(label, "right")
        return Answer(label, "hit" if label == image.target and attack >= self._table.untargeted else "wrong")

    # --- one attack against one defense

    def cells(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The path of each page, and what is on it."""
        for attack, defense in np.ndindex(len(self._table.attacks), len(self._table.defenses)):
            names = self._table.attacks[attack], self._table.defenses[defense]
            path = cell_page(self._publication, self._role(attack), *names)
            if path is not None:
                yield path, self._cell(attack, defense)

    def _cell(self, attack: int, defense: int) -> Mapping[str, Any]:
        correct = self._correct[attack, :, defense]
        known = self._table.labels[attack, :, defense] != UNKNOWN
        return {
            "attack": self._table.attacks[attack],
            "attack_role": self._role(attack),
            "attack_anchor": anchor(self._role(attack), self._table.attacks[attack]),
            "defense": self._table.defenses[defense],
            "defense_anchor": anchor("defense", self._table.defenses[defense]),
            "correct": int(correct.sum()),
            "possible": correct.size,
            "groups": [
                self._group(attack, defense, epsilon, some[epsilon], wrong)
                for epsilon in range(len(correct))
                for some, wrong in ((known & ~correct, True), (correct, False))
            ],
        }

    def _group(self, attack: int, defense: int, epsilon: int, members: Any, wrong: bool) -> Group:
        found = [image for image in self.images if members[image.number]]
        most = (WRONG_EXAMPLES if wrong else RIGHT_EXAMPLES) // len(self._table.epsilons) or 1
        shown = {found[number * len(found) // most].number for number in range(most) if found}
        examples = [
            Example(
                image,
                self._gallery.clean(image.id),
                attacked := self._attacked(image, attack, epsilon, [defense]),
                attacked.answers[0],
                self._clean_answer(image, defense),
            )
            for image in found
            if image.number in shown
        ]
        others = [image for image in found if image.number not in shown]
        most = MAX_LINKS // len(self._table.epsilons)
        count, left = int(members.sum()), max(len(others) - most, 0)
        return Group(wrong, self._table.epsilons[epsilon], count, examples, others[:most], left)
