"""The static site: pages that work from a file, offline and without JavaScript, and may ask no host for anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.publish.cells import TITLES
from harness.publish.site.pictures import Pictures
from harness.publish.site.players import players
from harness.publish.site.publication import Figure, Publication
from harness.publish.site.rankings import heat_maps, rankings
from harness.publish.site.writing import BAR_WIDTH, Writer, write_assets

__all__ = ["Figure", "Publication", "render", "render_overview", "render_tournament"]


def render(publications: Sequence[Publication], folder: Path) -> None:
    """Writes the whole site into `folder`: the entry page, the assets, and each tournament's pages."""
    render_overview(publications, folder)
    for publication in publications:
        render_tournament(publication, folder / publication.slug)


def render_overview(publications: Sequence[Publication], folder: Path) -> None:
    """Writes `index.html`, the list of tournaments, and `assets/`."""
    write_assets(folder / "assets")
    Writer(folder, "assets/", {"title": "Tournaments"}).write(
        "index.html",
        "overview.html",
        tournaments=[{"slug": one.slug, "board": one.board, "rankings": rankings(one)} for one in publications],
        titles=TITLES,
        bar_width=BAR_WIDTH,
    )


def render_tournament(publication: Publication, folder: Path) -> None:
    """Writes the pages of one tournament into its own folder; its assets are in the folder above."""
    writer = Writer(folder, "../assets/", _common(publication))
    writer.write(
        "index.html", "tournament.html", rankings=rankings(publication), heat_maps=list(heat_maps(publication))
    )
    writer.write("submissions.html", "submissions.html", players=players(publication))
    writer.write("figures.html", "figures.html", figures=publication.figures)
    writer.write("method.html", "method.html")
    pictures = Pictures(publication)
    tiles = dict(publication.gallery.overview())
    writer.write("gallery.html", "gallery.html", images=pictures.images, tiles=tiles)
    _write_images(writer, publication, pictures)
    for path, context in pictures.cells():
        writer.write(path, "cell.html", **context)


def _write_images(writer: Writer, publication: Publication, pictures: Pictures) -> None:
    images = pictures.images
    defenses = [row.name for row in publication.evidence.round.defenses]
    for number, image in enumerate(images):
        writer.write(
            image.page,
            "image.html",
            image=image,
            clean=publication.gallery.clean(image.id),
            clean_answers=pictures.clean_answers(image),
            attacked=list(pictures.attacked(image)),
            defenses=defenses,
            before=images[number - 1] if number else None,
            after=images[number + 1] if number + 1 < len(images) else None,
        )


def _common(publication: Publication) -> dict[str, Any]:
    """What every page of a tournament may use."""
    names = publication.class_names
    return {
        "title": publication.board["tournament"],
        "board": publication.board,
        "round": publication.evidence.round,
        "report": publication.report,
        "dataset": publication.evidence.provenance.get("dataset") or {},
        "gallery": publication.gallery,
        "downloads": publication.downloads,
        "class_name": lambda label: names.get(label, ""),
        "bar_width": BAR_WIDTH,
    }
