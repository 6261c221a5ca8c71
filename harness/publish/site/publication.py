"""What the site of one tournament is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.publish.evidence import Evidence
from harness.publish.gallery import EMPTY, Gallery


class Figure(Protocol):
    """A drawing in `figures/`: STEM.svg, STEM.png, and STEM-dark.svg for a dark ground. alt: what it shows.

    width, height: in pixels of CSS.
    """

    @property
    def stem(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def alt(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True)
class Publication:
    """One tournament. slug: its folder's name. board: as in `leaderboard.json`; report: as in `report.json`.

    downloads: paths of files to offer, from the tournament's folder. class_names: label -> name, where they are known.
    """

    slug: str
    evidence: Evidence
    board: Mapping[str, Any]
    report: Mapping[str, Any] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    gallery: Gallery = EMPTY
    downloads: Sequence[str] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
