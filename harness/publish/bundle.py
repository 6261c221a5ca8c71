"""A bundle: all that is published of one tournament, a pure function of its evidence (and pictures of pixels)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.atomic import write_atomic
from harness.leaderboard import build_leaderboard
from harness.publish.bibtex import bibtex
from harness.publish.evidence import Evidence, write_evidence, write_json
from harness.publish.gallery import Gallery
from harness.publish.latex import latex_files
from harness.publish.manifest import plain_files, write_manifest
from harness.publish.plots import draw
from harness.publish.report import build_report
from harness.publish.site import Publication, render_tournament
from harness.publish.slugs import slug
from harness.publish.tables import write_tables

EVIDENCE, TABLES, FIGURES, IMAGES = "evidence", "tables", "figures", "images"
"""The folders of a bundle."""

SCHEMAS = ("leaderboard", "report", "manifest")
"""Each is published as `tables/NAME.schema.json`."""

HERE = Path(__file__).parent

Say = Callable[[str], None]


def write_bundle(evidence: Evidence, gallery: Gallery, folder: Path, say: Say) -> Publication:
    """Writes all but the pictures of images, which lie below `folder` already as `gallery` says."""
    write_evidence(evidence, folder / EVIDENCE)
    publication = summarise(evidence, gallery)
    _write_tables(publication, folder / TABLES)
    say("figures")
    figures = draw(evidence, publication.board, publication.report, folder / FIGURES)
    downloads = sorted(name for name, _ in plain_files(folder) if name.split("/")[0] in (EVIDENCE, TABLES))
    whole = replace(publication, figures=figures, downloads=downloads)
    say("pages")
    render_tournament(whole, folder)
    write_manifest(evidence, folder)
    return whole


def summarise(evidence: Evidence, gallery: Gallery) -> Publication:
    """What is computed from the evidence: board and report."""
    board = build_leaderboard(evidence.round, evidence.table, evidence.audits, evidence.round.rules)
    names = (evidence.provenance.get("dataset") or {}).get("class_names", {})
    return Publication(
        slug(evidence.round.tournament),
        evidence,
        board,
        build_report(evidence),
        gallery=gallery,
        class_names={int(label): name for label, name in names.items()},
    )


def _write_tables(publication: Publication, folder: Path) -> None:
    board, evidence = dict(publication.board), publication.evidence
    write_tables(folder, board, evidence.table)
    write_json(publication.report, folder / "report.json")
    write_atomic(folder / "methods.bib", bibtex(publication.slug, evidence.provenance))
    for name, text in latex_files(board, publication.slug).items():
        write_atomic(folder / name, text)
    for name in SCHEMAS:
        write_atomic(folder / f"{name}.schema.json", (HERE / f"{name}.schema.json").read_bytes())
