"""Whether a publication follows from its evidence: every file is looked at, and everything is computed again.

A publication is a stranger's: nothing of it is executed, no link is followed, no path that it names is opened, and what
is read is bounded and checked first.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from harness.digest import digest_file
from harness.errors import UserError
from harness.publish.border import read_plain, read_value
from harness.publish.bundle import EVIDENCE, FIGURES, IMAGES, write_bundle
from harness.publish.compare import MOST, differences, value_differences
from harness.publish.consistency import contradictions
from harness.publish.evidence import FILES, SIMILARITY, Evidence, read_evidence
from harness.publish.folder import ENTRY, SITE, name_fault, site_files, write_site_list
from harness.publish.gallery import EMPTY, INDEX, Gallery, make_thumbnails
from harness.publish.manifest import FILE_NAME, SIGNATURE, Entry, Manifest, is_plain, made_with, read_manifest, walk
from harness.publish.parquet import similarity_table, write_table
from harness.publish.signature import signature_fault
from harness.publish.similarity import measure_similarity
from harness.publish.site import Publication, render_overview
from harness.store import Store

INDEX_PATH = f"{IMAGES}/{INDEX}"

MAX_SIGNATURE_BYTES = 1 << 16
MAX_EDGE = 1 << 14
MAX_FILE_BYTES = 4 << 30
"""Of a larger file of a stranger no digest is made."""

DRAWN_WITH = {FIGURES: ("matplotlib", "numpy"), IMAGES: ("pillow",)}
"""The folders whose bytes depend on more than the harness, and on which libraries."""

NUMBERS = (".json", ".csv", ".parquet")
"""Files that another version of the harness has to write alike."""

REST = "pages, figures and tables in Markdown, LaTeX and BibTeX"


@dataclass
class Findings:
    """What a look at a bundle or at the entry page came to. faults: differences, a line each, that begins with the
    file. notes: what was not looked at, and why.
    """

    name: str
    files: int = 0
    answers: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Means:
    """What a verifier has beside the publication. store: with the images. signer: a file with public keys."""

    store: Store | None = None
    signer: Path | None = None


def verify(folder: Path, means: Means, say: Callable[[str], None]) -> list[Findings]:
    """Looks at a bundle, or at a site: its bundles and its entry page. Raises: UserError where there is neither."""
    if os.path.lexists(folder / FILE_NAME):
        return [_look(folder, means, say)[0]]
    if not os.path.lexists(folder / SITE):
        raise UserError(f"{folder}: is neither a bundle ({FILE_NAME}) nor a site ({SITE}); name what was published")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in OWN)
    looks = [_look(path, means, say) for path in entries]
    for path, (findings, publication) in zip(entries, looks, strict=True):
        if publication and (fault := name_fault(path, publication.board["tournament"])):
            findings.faults.append(f"{FILE_NAME}: {fault}")
    page = Findings(folder.name)
    try:
        _compare_entry(folder, [publication for _, publication in looks], page)
    except UserError as error:
        page.faults += error.faults
    return [*(findings for findings, _ in looks), page]


OWN = (SITE, *ENTRY)


def _look(folder: Path, means: Means, say: Callable[[str], None]) -> tuple[Findings, Publication | None]:
    """One bundle; what cannot be read of it is a fault like any other."""
    findings = Findings(folder.name)
    say(f"{folder.name}: computing everything again")
    try:
        if folder.is_symlink() or not folder.is_dir():
            raise UserError(f"{folder}: is no folder; a site has folders of tournaments and its entry page only")
        return findings, _verify_bundle(folder, means, findings)
    except UserError as error:
        findings.faults += [fault.removeprefix(f"{folder}/") for fault in error.faults]
        return findings, None


def _verify_bundle(folder: Path, means: Means, findings: Findings) -> Publication:
    manifest = read_manifest(folder)
    there = dict(walk(folder))
    findings.files = len(there)
    findings.faults += _file_faults(manifest, there)
    _check_signature(folder, there, means.signer, findings)
    _check_readable(folder, there)
    evidence = read_evidence(folder / EVIDENCE)
    findings.answers = int(evidence.table.labels.size + evidence.table.clean.size)
    findings.faults += [f"{EVIDENCE}/{fault}" for fault in contradictions(evidence)]
    gallery = _gallery(folder, evidence)
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as temporary:
        again = Path(temporary)
        publication = write_bundle(evidence, gallery, again, lambda line: None)
        _compare(folder, again, manifest, there, pictures(gallery), findings)
    _check_pixels(evidence, means.store, manifest, there, findings)
    return publication


# --- the files themselves


def _file_faults(manifest: Manifest, there: Mapping[str, Path]) -> Iterator[str]:
    for name, path in sorted(there.items()):
        if not is_plain(path):
            yield f"{name}: is a link, or no plain file"
        elif name in manifest.files:
            yield from _entry_faults(name, path, manifest.files[name])
        elif name not in (FILE_NAME, SIGNATURE):
            yield f"{name}: is not listed in {FILE_NAME}"
    for name in sorted(set(manifest.files) - set(there)):
        outside = PurePosixPath(name).is_absolute() or ".." in name.split("/")
        yield f"{FILE_NAME}: lists {name}, outside of the bundle" if outside else f"{name}: is missing"


def _entry_faults(name: str, path: Path, entry: Entry) -> Iterator[str]:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        yield f"{name}: has {size} bytes, more than the {MAX_FILE_BYTES} that are read"
    elif size != entry.bytes:
        yield f"{name}: has {size} bytes, {FILE_NAME} says {entry.bytes}"
    elif (digest := digest_file(path)) != entry.sha256:
        yield f"{name}: has the SHA-256 {digest}, {FILE_NAME} says {entry.sha256}"


def _check_signature(folder: Path, there: Mapping[str, Path], signer: Path | None, findings: Findings) -> None:
    path = there.get(SIGNATURE)
    if signer is None:
        state = "not looked at: name the key with --signer" if path else "there is none"
        findings.notes.append(f"signature: {state}")
    elif path is None or not is_plain(path) or path.stat().st_size > MAX_SIGNATURE_BYTES:
        findings.faults.append(f"{SIGNATURE}: there is no signature that could be {signer.name}'s")
    elif fault := signature_fault(folder / FILE_NAME, path, signer):
        findings.faults.append(f"{SIGNATURE}: {fault}")


def _check_readable(folder: Path, there: Mapping[str, Path]) -> None:
    """Raises: UserError where evidence is not there, or lies behind a link."""
    names = [f"{EVIDENCE}/{name}" for name in FILES]
    names += [name for name in (f"{EVIDENCE}/{SIMILARITY}", INDEX_PATH) if os.path.lexists(folder / name)]
    lost = [name for name in names if name not in there or not is_plain(there[name])]
    if lost:
        raise UserError([f"{name}: is missing or a link, and without it nothing can be computed" for name in lost])


# --- what is computed again


def _compare(
    folder: Path, again: Path, manifest: Manifest, there: Mapping[str, Path], images: Iterable[str], findings: Findings
) -> None:
    """Every file but the pictures of images, whose names alone are compared."""
    due = {name: path for name, path in walk(again) if name != FILE_NAME}
    findings.faults += [f"{name}: is missing" for name in sorted({*due, *images} - {*there, *manifest.files})]
    foreign = set(there) & set(manifest.files) - {*due, *images}
    findings.faults += [f"{name}: is no file of a publication" for name in sorted(foreign)]
    unlike = _unlike(manifest)
    for name in sorted(set(due) & set(there)):
        if is_plain(there[name]) and not _is_excused(name, unlike):
            findings.faults += [f"{name}: {line}" for line in differences(there[name], due[name])]
    findings.notes += unlike.values()
    findings.faults += _manifest_faults(folder, again)


def _unlike(manifest: Manifest) -> dict[str, str]:
    """Folder ('' for all but numbers) -> why its files cannot be compared."""
    own, found = made_with(), manifest.made_with
    unlike = {}
    for folder, names in (("", ("harness",)), *DRAWN_WITH.items()):
        others = [name for name in names if own[name] != found.get(name)]
        if others:
            versions = ", ".join(f"{name} {found.get(name)} and not {own[name]}" for name in others)
            unlike[folder] = f"{folder or REST}: not compared, they were made with {versions}"
    return unlike


def _is_excused(name: str, unlike: Mapping[str, str]) -> bool:
    return name.split("/")[0] in unlike or ("" in unlike and not name.endswith(NUMBERS))


def _manifest_faults(folder: Path, again: Path) -> Iterator[str]:
    found, due = (
        {key: value for key, value in read_plain(path / FILE_NAME).items() if key not in ("files", "made_with")}
        for path in (folder, again)
    )
    return (f"{FILE_NAME}: {line}" for line in islice(value_differences(found, due), MOST))


# --- what needs pixels


def pictures(gallery: Gallery) -> set[str]:
    """The files of a gallery."""
    sheets = {gallery.sheet(image) for image in gallery.images}
    return sheets | {tile.path for _, tile in gallery.overview()} | ({INDEX_PATH} if sheets else set())


def _gallery(folder: Path, evidence: Evidence) -> Gallery:
    """Which pictures the bundle says that it has. Raises: UserError where no pages could be made with that."""
    path, round_ = folder / INDEX_PATH, evidence.round
    if not os.path.lexists(path):
        return EMPTY
    gallery = read_value(path, Gallery)
    shown = set(gallery.images)
    if gallery.images != tuple(image.id for image in round_.images if image.id in shown) or not shown:
        raise UserError(f"{path}: does not list images of the round, in its order; get the bundle again")
    if (gallery.attacks, gallery.epsilons) != (len(round_.attacks), len(round_.epsilons)):
        raise UserError(f"{path}: has other attacks or budgets than the round; get the bundle again")
    if not 1 <= gallery.form.edge <= MAX_EDGE or not 1 <= (gallery.form.quality or 1) <= 100:
        raise UserError(f"{path}: has pictures of no size or quality; get the bundle again")
    return gallery


def _check_pixels(
    evidence: Evidence, store: Store | None, manifest: Manifest, there: Mapping[str, Path], findings: Findings
) -> None:
    """Pictures and similarities once more from the images themselves."""
    similar = f"{EVIDENCE}/{SIMILARITY}"
    if not {similar, INDEX_PATH} & set(there):
        findings.notes.append("pictures: there are none")
        return
    if store is None:
        findings.notes.append("pictures: not made again: name a run that has the images with --store")
        return
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as temporary:
        fresh = Path(temporary)
        make_thumbnails(evidence, store, fresh)
        (fresh / EVIDENCE).mkdir()
        measured = measure_similarity(evidence.round, evidence.audits, store)
        write_table([similarity_table(measured)], fresh / similar)
        unlike = _unlike(manifest)
        for name, path in walk(fresh):
            if name not in there:
                findings.faults.append(f"{name}: is missing")
            elif is_plain(there[name]) and not _is_excused(name, unlike):
                findings.faults += [f"{name}: {line}" for line in differences(there[name], path)]


# --- the entry page of a site


def _compare_entry(folder: Path, publications: Sequence[Publication | None], findings: Findings) -> None:
    """Raises: UserError where its list of files is none."""
    listed = {SITE: "", **site_files(folder)}
    there = {name: path for entry in OWN for name, path in _below(folder, entry)}
    findings.files = len(there)
    findings.faults += [f"{name}: is not listed in {SITE}" for name in sorted(set(there) - set(listed))]
    readable = [one for one in publications if one is not None]
    if len(readable) < len(publications):
        findings.notes.append("entry page: not compared, for a tournament cannot be read")
        return
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as temporary:
        again = Path(temporary)
        render_overview(sorted(readable, key=lambda one: one.slug), again)
        write_site_list(again)
        due = dict(walk(again))
        findings.faults += [f"{name}: is missing" for name in sorted(set(due) - set(there))]
        findings.faults += [f"{name}: is no file of a site" for name in sorted(set(there) & set(listed) - set(due))]
        for name in sorted(set(due) & set(there)):
            plain = is_plain(there[name])
            lines = differences(there[name], due[name]) if plain else ["is a link, or no plain file"]
            findings.faults += [f"{name}: {line}" for line in lines]


def _below(folder: Path, entry: str) -> Iterator[tuple[str, Path]]:
    path = folder / entry
    if path.is_dir() and not path.is_symlink():
        yield from ((f"{entry}/{name}", one) for name, one in walk(path))
    elif os.path.lexists(path):
        yield entry, path
