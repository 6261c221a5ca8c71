"""The dataset's pictures on their way into a round: each is judged, made canonical, and must stay what it was."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from harness.dataset import Dataset, Picture, first_faults
from harness.digest import digest_bytes, digest_file
from harness.errors import UserError
from harness.images import ImageFaultError, Pixels, png_size, read_png, write_png
from harness.round import FILE_NAME, RoundImage, read_round
from harness.store import Store

Item = TypeVar("Item")
Made = TypeVar("Made")


def check_pictures(dataset: Dataset, pixels: Executor) -> None:
    """Decodes every picture. Raises: UserError naming those that are not RGB PNGs of one size."""
    size = size_of(dataset)
    _gather(pixels, lambda picture: _decode(picture, _read(picture), size), dataset.pictures)


def take_in_images(dataset: Dataset, store: Store, pixels: Executor) -> tuple[tuple[RoundImage, ...], tuple[int, int]]:
    """Makes every picture canonical, unless the store knows it; pictures and their (width, height) are returned.

    Raises: UserError naming the pictures that cannot be read or are not RGB PNGs of one size.
    """
    size = size_of(dataset)
    sources = _gather(pixels, _digest, dataset.pictures)
    made_before = store.index.canonical_of(sources)
    present = set(made_before.values()).intersection(store.objects.digests())  # of which there may be millions
    known = {source: canonical for source, canonical in made_before.items() if canonical in present}
    unknown = [pair for pair in zip(dataset.pictures, sources, strict=True) if pair[1] not in known]
    made = _gather(pixels, lambda pair: _canonicalise(store, pair[0], pair[1], size), unknown)
    store.index.add_sources(made)
    known |= dict(made)
    images = tuple(
        RoundImage(picture.id, source, known[source], picture.true_label, picture.target_class)
        for picture, source in zip(dataset.pictures, sources, strict=True)
    )
    return images, size


def size_of(dataset: Dataset) -> tuple[int, int]:
    """(width, height) of every picture: what the description says, else what the first picture's header says."""
    if dataset.image_size:
        return dataset.image_size
    first = dataset.pictures[0]
    try:
        return png_size(_read(first))
    except ImageFaultError as error:
        raise UserError(_fault(first, error)) from None


def check_unchanged(images: Iterable[RoundImage], dataset: Dataset, output: Path) -> None:
    """A run goes on with the images that it began with, or not at all. Raises: UserError naming the first."""
    if not (output / FILE_NAME).exists():
        return
    try:
        began = read_round(output)
    except UserError:  # the record of another version, or damaged: this run writes it anew
        return
    before = {image.id: image.source for image in began.images} if began.dataset == dataset.name else {}
    changed = {image.id for image in images if before.get(image.id, image.source) != image.source}
    _refuse([picture for picture in dataset.pictures if picture.id in changed])


def check_untouched(images: Iterable[RoundImage], dataset: Dataset) -> None:
    """The same at a run's end. Every file is read again: times tell nothing where somebody sets the clock."""
    sources = {image.id: image.source for image in images}
    _refuse([picture for picture in dataset.pictures if _digest_or_none(picture.path) != sources[picture.id]])


def _refuse(changed: list[Picture]) -> None:
    if changed:
        others = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UserError(
            f"{changed[0].path}{others}: this image of the dataset changed since the run began; "
            "restore it, or begin a new run with another output"
        )


def _gather(pixels: Executor, function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """`function` of every item, in parallel. Raises: UserError with the faults of all of them."""

    def attempt(item: Item) -> Made | UserError:
        try:
            return function(item)
        except UserError as error:
            return error

    results = list(pixels.map(attempt, items))
    faults = [fault for result in results if isinstance(result, UserError) for fault in result.faults]
    if faults:
        raise UserError(first_faults(faults))
    return [result for result in results if not isinstance(result, UserError)]


def _canonicalise(store: Store, picture: Picture, source: str, size: tuple[int, int]) -> tuple[str, str]:
    """(source, canonical digest)."""
    data = _read(picture)
    if digest_bytes(data) != source:
        raise UserError(f"{picture.path}: changed while it was read; see who writes there and run again")
    return source, store.objects.add(write_png(_decode(picture, data, size)))


def _decode(picture: Picture, data: bytes, size: tuple[int, int]) -> Pixels:
    try:
        return read_png(data, size)
    except ImageFaultError as error:
        raise UserError(_fault(picture, error)) from None


def _fault(picture: Picture, error: ImageFaultError) -> str:
    return f"{picture.path}: {error.detail}; every image of a dataset is an RGB PNG of one size, so convert it"


def _read(picture: Picture) -> bytes:
    try:
        return picture.path.read_bytes()
    except OSError as error:
        raise UserError(f"{picture.path}: cannot be read ({error.strerror}); restore the image") from None


def _digest(picture: Picture) -> str:
    return digest_bytes(_read(picture))


def _digest_or_none(path: Path) -> str | None:
    try:
        return digest_file(path)
    except OSError:
        return None
