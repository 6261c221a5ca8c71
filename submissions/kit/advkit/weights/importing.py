"""From a published file, of whichever format, to the stored one."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from advkit.errors import KitError
from advkit.weights.checkpoints import Checkpoint, checkpoint_files, prefix_of, unpacked
from advkit.weights.files import digest_of, one_line, store
from advkit.weights.npy import read_port
from advkit.weights.registry import NPY_PORT, TF_CHECKPOINT, TIMM_SAFETENSORS, Model, Registry, Source
from advkit.weights.stored import check_tensors, read_tensors, serialise, without_counters
from advkit.weights.tf_slim import convert, convert_port

IMPORTER = "advkit.weights 1"
"""Part of the provenance; the number rises when the same source would give other tensors."""

GZIP, NPY, TABLE_END = b"\x1f\x8b", b"\x93NUMPY", bytes.fromhex("57fb808b247547db")
"""How files of three formats begin or end: the last is of the tables that checkpoints and their indices are."""


def import_file(
    registry: Registry,
    model: Model,
    path: Path,
    folder: Path,
    *,
    kind: str | None = None,
    sha256: str | None = None,
    accept_unknown: bool = False,
    origin: Source | None = None,
) -> Path:
    """Store the weights of a file as NAME.safetensors in the folder; returns the path.

    `sha256` is what the file must have; else its digest must be one of the registry's, unless `accept_unknown`.
    `origin` is where the file was fetched from, which has been looked at then. Raises KitError where nothing vouches
    for the file, or where it is of another format or another model, cannot be read, or does not fit the network.
    """
    found = recognise(path)
    if kind not in (None, found):
        raise KitError(f"{path}: this is {found}, not {kind}; leave out --format or name the right file")
    digest = digest_of(*source_files(path))
    source = _registered(registry, model, path, digest) or origin
    if sha256 is not None and digest != sha256:
        raise KitError(f"{path}: sha256 {digest} instead of {sha256}; fetch the file again")
    if source is None and sha256 is None and not accept_unknown:
        raise _unknown(model, path, found, digest)
    tensors = without_counters(READERS[found](model, path))
    metadata = {
        "name": model.name,
        "architecture": model.architecture,
        "classes": str(check_tensors(str(path), model.architecture, tensors)),
        "source": source.url if source else path.name,
        "source_sha256": digest,
        "source_format": found,
        "licence": _licence(model, found, source),
        "importer": IMPORTER,
    }
    return store(folder, model.name, serialise(tensors, metadata))


def recognise(path: Path) -> str:
    """The format of a file, one of KINDS, by its content. Raises KitError where it is none of them."""
    files = source_files(path)
    try:
        with files[0].open("rb") as file:
            start = file.read(9)
            size = file.seek(0, 2)
            file.seek(max(0, size - 8))
            end = file.read()
    except OSError as error:
        raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    if start.startswith(GZIP) or end == TABLE_END:
        return TF_CHECKPOINT
    if start.startswith(NPY):
        return NPY_PORT
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
        return TIMM_SAFETENSORS
    raise KitError(f"{path}: neither a checkpoint, an archive of one, a port in .npy nor safetensors, or cut short")


def source_files(path: Path) -> list[Path]:
    """The file, or both of a checkpoint: its index and its data. Raises KitError where there is none."""
    if files := checkpoint_files(path):
        return files
    raise KitError(f"{path}: no such file; a checkpoint has .index and .data-00000-of-00001, in one folder")


def _registered(registry: Registry, model: Model, path: Path, digest: str) -> Source | None:
    """The source that the registry has for exactly this file. Raises KitError where it is another model's."""
    of = {source.sha256: (owner, source) for owner in registry.models.values() for source in owner.sources}
    owner, source = of.get(digest, (model, None))
    if owner.name != model.name:
        raise KitError(f"{path}: these are the weights {owner.name}, not {model.name}; name the right file")
    return source


def _unknown(model: Model, path: Path, kind: str, digest: str) -> KitError:
    known = [source.sha256 for source in model.sources if source.kind == kind and source.sha256]
    published = f"the published file has {known[0]}" if known else "nothing vouches for it: none is known of this file"
    command = shlex.join(["harness", "weights", "import", model.name, str(path), "--accept-unknown-checksum"])
    return KitError(f"{path}: sha256 {digest}, but {published}; fetch the file again, or take it as it is: {command}")


def _licence(model: Model, kind: str, source: Source | None) -> str:
    of_kind = [one.licence for one in model.sources if one.kind == kind]
    return source.licence if source else (of_kind or [model.licence])[0]


def _read_checkpoint(model: Model, path: Path) -> Mapping[str, Tensor]:
    with source_files(path)[0].open("rb") as file:
        is_archive = file.read(2) == GZIP
    if not is_archive:
        return _named(path, lambda: convert(model.architecture, Checkpoint(prefix_of(path))))
    members = [source.member for source in model.sources if source.member]
    if not members:
        raise KitError(f"{path}: no archive of {model.name} is known; unpack it and name the checkpoint inside")
    with unpacked(path, members[0]) as prefix:
        return _named(path, lambda: convert(model.architecture, Checkpoint(prefix)))


def _read_port(model: Model, path: Path) -> Mapping[str, Tensor]:
    variables = read_port(path)
    return _named(path, lambda: convert_port(model.architecture, variables))


def _read_safetensors(model: Model, path: Path) -> Mapping[str, Tensor]:
    return read_tensors(path, model.architecture)


def _named(path: Path, read: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Names the file in whatever is said of its content."""
    try:
        return read()
    except KitError as error:
        raise KitError(f"{path}: {one_line(error)}") from error


READERS: Mapping[str, Callable[[Model, Path], Mapping[str, Tensor]]] = {
    TF_CHECKPOINT: _read_checkpoint,
    NPY_PORT: _read_port,
    TIMM_SAFETENSORS: _read_safetensors,
}
