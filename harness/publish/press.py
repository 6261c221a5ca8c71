"""From finished runs to a site: bundles are made aside of what is there, and everything is put in place at once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UserError
from harness.publish.bundle import EVIDENCE, Say, summarise, write_bundle
from harness.publish.evidence import PROVENANCE, Evidence, collect, collect_files, read_evidence, without_place
from harness.publish.folder import ENTRY, SITE, bundles_in, put_in_place, staged, write_site_list
from harness.publish.gallery import EMPTY, make_thumbnails
from harness.publish.manifest import FILE_NAME, read_manifest, walk
from harness.publish.signature import sign
from harness.publish.similarity import measure_similarity
from harness.publish.site import Publication, render_overview
from harness.publish.slugs import slug
from harness.round import Round
from harness.store import Store

RESERVED = frozenset(ENTRY)


@dataclass(frozen=True)
class Source:
    """A finished run: its output folder, its round, and its store, None where that is gone."""

    output: Path
    round: Round
    store: Store | None


def publish(
    sources: Sequence[Source], target: Path, say: Say, *, incomplete: bool = False, key: Path | None = None
) -> list[Path]:
    """Publishes runs into `target`, beside what was published there before; their folders are returned.

    incomplete: whether rounds with unknown answers are published, too. key: signs the manifests.
    Raises: UserError, and then `target` is as it was.
    """
    names = _slugs(sources, target)
    with staged(target) as staging:
        published = [
            _publish(source, staging / name, _naming(name, say), incomplete, key)
            for source, name in zip(sources, names, strict=True)
        ]
        others = [_published(path) for path in bundles_in(target) if path.name not in names]
        render_overview(sorted([*published, *others], key=lambda one: one.slug), staging)
        write_site_list(staging)
        put_in_place([*names, *ENTRY, SITE], staging, target)
    return [target / name for name in names]


def _naming(name: str, say: Say) -> Say:
    return lambda line: say(f"{name}: {line}")


def _slugs(sources: Sequence[Source], target: Path) -> list[str]:
    """The name of each run's folder. Raises: UserError where two are one, or another tournament has it."""
    names: dict[str, Path] = {}
    there = {path.name: path for path in bundles_in(target)}
    for source in sources:
        name = slug(source.round.tournament)
        if name in names or name in RESERVED:
            other = f"{names[name]} would be, too" if name in names else "the site itself has that"
            raise UserError(f"{source.output}: would be published as {name}, and {other}; run it with another --name")
        if name in there and (title := _title(there[name])) != source.round.tournament:
            raise UserError(f"{there[name]}: holds another tournament, {title}; name another --to")
        names[name] = source.output
    return list(names)


def _publish(source: Source, folder: Path, say: Say, incomplete: bool, key: Path | None) -> Publication:
    say("answers")
    evidence = _placeless(_evidence(source, say), source.output)
    if evidence.table.holes and not incomplete:
        raise UserError(
            f"{source.output}: {evidence.table.holes} answers are not known yet; run the tournament again to its end, "
            "or publish it as it is with --incomplete"
        )
    if source.store is not None:
        say("pictures")
    gallery = make_thumbnails(evidence, source.store, folder)
    publication = write_bundle(evidence, gallery, folder, say)
    if key is not None:
        sign(folder / FILE_NAME, key)
    return publication


def _placeless(evidence: Evidence, output: Path) -> Evidence:
    try:
        return without_place(evidence)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{output / PROVENANCE}: is not what a run writes; run the tournament again") from None


def _evidence(source: Source, say: Say) -> Evidence:
    if source.store is None:
        say("its store is gone, so there will be no pictures of images, no ledger and no costs")
        return collect_files(source.output)
    evidence = collect(source.output, source.store)
    try:
        similarity = measure_similarity(evidence.round, evidence.audits, source.store)
    except UserError as error:
        say(f"no attacks are compared: {error}")
        return evidence
    return replace(evidence, similarity=similarity)


def _published(folder: Path) -> Publication:
    """One that stays as it is, as far as the entry page shows it."""
    return summarise(read_evidence(folder / EVIDENCE), EMPTY)


def _title(folder: Path) -> str:
    return read_manifest(folder).tournament


def size_of(folder: Path) -> tuple[int, int]:
    """How many files lie below a folder, and their bytes."""
    sizes = [path.lstat().st_size for _, path in walk(folder)]
    return len(sizes), sum(sizes)
