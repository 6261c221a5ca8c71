"""Small pictures of a round: one sheet for each image, with what every attack made of it, and sheets of the clean ones.

A picture of 299x299 takes 30 kB, and 10 attacks on 1000 images make 21,000 of them, so tiles get as small as the
budget asks for; where the smallest are still too many, fewer images are shown.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from harness.assembly import image_budgets
from harness.atomic import write_atomic
from harness.errors import StoreDamagedError, UserError
from harness.images import GREY, Pixels, encode_picture, fit_square, read_png
from harness.publish.evidence import Evidence
from harness.publish.similarity import evenly
from harness.publish.slugs import file_stem
from harness.store import Store

FOLDER = "images"
INDEX = "gallery.json"

COLUMNS, ROWS = 8, 64
"""Tiles of a sheet; the style sheet has a rule for each column and each row."""

SMALL = 64
"""Images up to this edge are shown pixel by pixel."""

EDGES = (208, 160, 128, 96, 80, 64, 48)
"""Edges of tiles, in pixels: multiples of 16, so that no block of a JPEG holds parts of two of them."""

QUALITY, LOW_QUALITY = 75, 60
LOW_EDGE = 96
"""Tiles up to this edge are kept in LOW_QUALITY: more pixels look better than finer ones."""

CLEAN_EDGE = 64

MAX_BYTES = 22 << 20
"""Of all sheets together; with pages, tables and evidence a site of 20 submissions and 1000 images is under 50 MB."""

MAX_ANSWERS = 150_000
"""Answers that pages of images show one by one; with more of them, fewer images are shown."""

SAMPLE = 12


@dataclass(frozen=True)
class Form:
    """How tiles are kept. edge: pixels. quality: of the JPEG, None for lossless WebP."""

    edge: int
    quality: int | None

    @property
    def suffix(self) -> str:
        return "webp" if self.quality is None else "jpg"


@dataclass(frozen=True)
class Tile:
    """A square of a sheet. path: from the tournament's folder; columns and rows of the sheet, then the tile's."""

    path: str
    columns: int
    rows: int
    column: int
    row: int
    edge: int


@dataclass(frozen=True)
class Gallery:
    """Which images of a round are shown, and how. images: their ids, in the order of the round."""

    form: Form
    pixelated: bool
    attacks: int
    epsilons: int
    images: tuple[str, ...]

    @property
    def tiles(self) -> int:
        """How many tiles the sheet of an image has: the clean one, and two for each attack and budget."""
        return 1 + 2 * min(self.attacks * self.epsilons, (COLUMNS * ROWS - 1) // 2)

    def sheet(self, image: str) -> str:
        """Where the sheet of an image is, from the tournament's folder."""
        return f"{FOLDER}/{file_stem(image)}.{self.form.suffix}"

    def clean(self, image: str) -> Tile:
        return self._tile(image, 0)

    def adversarial(self, image: str, attack: int, epsilon: int) -> Tile | None:
        """None for the last of very many attacks, which are not shown."""
        return self._pair(image, attack, epsilon, 1)

    def difference(self, image: str, attack: int, epsilon: int) -> Tile | None:
        """The change, as grey where there was none and black or white where it used the whole budget."""
        return self._pair(image, attack, epsilon, 2)

    def overview(self) -> Iterator[tuple[str, Tile]]:
        """Each image with its tile on the sheets of clean images."""
        edge = min(self.form.edge, CLEAN_EDGE)
        for number, image in enumerate(self.images):
            sheet, position = divmod(number, COLUMNS * ROWS)
            rows = _rows(min(len(self.images) - sheet * COLUMNS * ROWS, COLUMNS * ROWS))
            row, column = divmod(position, COLUMNS)
            yield image, Tile(f"{FOLDER}/clean-{sheet}.{self.form.suffix}", COLUMNS, rows, column, row, edge)

    def _pair(self, image: str, attack: int, epsilon: int, which: int) -> Tile | None:
        number = 2 * (attack * self.epsilons + epsilon) + which
        return self._tile(image, number) if number < self.tiles else None

    def _tile(self, image: str, number: int) -> Tile:
        row, column = divmod(number, COLUMNS)
        return Tile(self.sheet(image), COLUMNS, _rows(self.tiles), column, row, self.form.edge)


EMPTY = Gallery(Form(1, None), pixelated=False, attacks=0, epsilons=0, images=())


def make_thumbnails(evidence: Evidence, store: Store | None, folder: Path) -> Gallery:
    """Writes the sheets below `folder`, the tournament's own. Images that the store lost are left out."""
    if store is None:
        return EMPTY
    forms, candidates = _forms(evidence), _candidates(evidence)
    with ThreadPoolExecutor() as pool:
        there = pool.map(partial(_is_there, evidence, store), candidates)
        positions = [position for position, is_there in zip(candidates, there, strict=True) if is_there]
    form, most = _fitting(evidence, store, forms, positions)
    positions = _evenly(positions, most)
    round_ = evidence.round
    ids = tuple(round_.images[position].id for position in positions)
    gallery = Gallery(form, _is_small(evidence), len(round_.attacks), len(round_.epsilons), ids)
    _write_sheets(evidence, store, gallery, positions, folder)
    if not ids:
        return EMPTY
    write_atomic(folder / FOLDER / INDEX, json.dumps(asdict(gallery), indent=1) + "\n", durable=False)
    return gallery


# --- how many, and how large


def _is_small(evidence: Evidence) -> bool:
    return max(evidence.round.image_size) <= SMALL


def _forms(evidence: Evidence) -> list[Form]:
    """From the best to the smallest."""
    native = max(evidence.round.image_size)
    if native <= SMALL:
        return [Form(native, None), Form(native, QUALITY), Form(native, LOW_QUALITY)]
    return [Form(edge, LOW_QUALITY if edge <= LOW_EDGE else QUALITY) for edge in EDGES if edge <= native]


def _candidates(evidence: Evidence) -> list[int]:
    attacks, epsilons, defenses, images = evidence.table.labels.shape
    return _evenly(range(images), MAX_ANSWERS // max(attacks * epsilons * defenses, 1))


def _evenly(positions: Sequence[int], most: int) -> list[int]:
    """At most so many of them, at even distances."""
    return [positions[number] for number in evenly(len(positions), most)]


def _fitting(evidence: Evidence, store: Store, forms: Sequence[Form], positions: Sequence[int]) -> tuple[Form, int]:
    """The first form in which all images fit, judged by some of them; else the last, and how many fit in that."""
    mean = float(MAX_BYTES)
    for form in forms:
        sizes = [len(_sheet(evidence, store, form, position)) for position in _evenly(positions, SAMPLE)]
        mean = max(sum(sizes) / max(len(sizes), 1), 1.0)
        if mean * len(positions) <= MAX_BYTES:
            return form, len(positions)
    return forms[-1], int(MAX_BYTES / mean)


# --- pixels


def _is_there(evidence: Evidence, store: Store, position: int) -> bool:
    digests = {evidence.round.images[position].clean, *evidence.audits.digests[:, :, position].ravel()} - {""}
    return all(store.objects.has(digest) for digest in digests)


def _write_sheets(evidence: Evidence, store: Store, gallery: Gallery, positions: Sequence[int], folder: Path) -> None:
    """One sheet for each image, and those of the clean ones."""
    edge = min(gallery.form.edge, CLEAN_EDGE)
    encode = partial(_sheet, evidence, store, gallery.form)
    with ThreadPoolExecutor() as pool:
        for image, data in zip(gallery.images, pool.map(encode, positions), strict=True):
            write_atomic(folder / gallery.sheet(image), data, durable=False)
    for start in range(0, len(positions), COLUMNS * ROWS):
        some = positions[start : start + COLUMNS * ROWS]
        sheet = _arranged(fit_square(_clean(evidence, store, position), edge) for position in some)
        name = f"clean-{start // (COLUMNS * ROWS)}.{gallery.form.suffix}"
        write_atomic(folder / FOLDER / name, encode_picture(sheet, gallery.form.quality), durable=False)


def _sheet(evidence: Evidence, store: Store, form: Form, position: int) -> bytes:
    tiles = (fit_square(pixels, form.edge) for pixels in _pictures(evidence, store, position))
    return encode_picture(_arranged(tiles), form.quality)


def _pictures(evidence: Evidence, store: Store, position: int) -> Iterator[Pixels]:
    """The clean image, then each attack's and the difference, budgets of an attack side by side."""
    clean = _clean(evidence, store, position)
    yield clean
    budgets = image_budgets(evidence.round)[:, position]
    digests = evidence.audits.digests[:, :, position]
    for attack, epsilon in list(np.ndindex(*digests.shape))[: (COLUMNS * ROWS - 1) // 2]:
        digest = digests[attack, epsilon]
        picture = _read(evidence, store, str(digest)) if digest else clean
        yield picture
        yield _difference(picture, clean, int(budgets[epsilon]))


def _difference(adversarial: Pixels, clean: Pixels, epsilon: int) -> Pixels:
    """Grey where nothing changed; black or white where a colour value changed by the whole budget."""
    table = np.clip(GREY + np.arange(-255, 256) * (GREY - 1) / max(epsilon, 1), 0, 255).astype(np.uint8)
    return np.asarray(table[np.subtract(adversarial, clean, dtype=np.int16) + 255])


def _clean(evidence: Evidence, store: Store, position: int) -> Pixels:
    return _read(evidence, store, evidence.round.images[position].clean)


def _read(evidence: Evidence, store: Store, digest: str) -> Pixels:
    """Raises: UserError where the object is damaged."""
    try:
        return read_png(store.objects.read(digest), evidence.round.image_size)
    except StoreDamagedError as error:
        raise UserError(f"{store.path}: {error}; run the tournament again, which mends it") from None


def _arranged(tiles: Iterable[Pixels]) -> Pixels:
    """Square tiles, line by line on one sheet."""
    squares = list(tiles)
    edge = len(squares[0])
    sheet = np.full((_rows(len(squares)) * edge, COLUMNS * edge, 3), GREY, dtype=np.uint8)
    for number, square in enumerate(squares):
        row, column = divmod(number, COLUMNS)
        sheet[row * edge : (row + 1) * edge, column * edge : (column + 1) * edge] = square
    return sheet


def _rows(tiles: int) -> int:
    return -(-tiles // COLUMNS)
