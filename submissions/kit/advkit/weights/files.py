"""The weights folder: NAME.safetensors, beside it its digest, and a README that says whose folder it is."""

import hashlib
import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from advkit.errors import KitError

LARGEST_HEADER = 4 << 20
"""Bytes of a safetensors header. Those of the networks here have less than 0.2 MiB."""

README = """This folder belongs to adversarial-harness: published weights of networks, one NAME.safetensors for each.
NAME.safetensors.sha256 holds the digest that was recorded when the weights were imported. NAME.part is a download
that goes on where it was stopped. Whatever is removed here comes back with `harness weights fetch` or `import`.
"""


def weights_path(folder: Path, name: str) -> Path:
    """Where the weights of that name lie."""
    return folder / f"{name}.safetensors"


def digest_path(path: Path) -> Path:
    """The file with the digest of weights, in the form of the program sha256sum."""
    return path.with_name(f"{path.name}.sha256")


def state_of(folder: Path, name: str) -> str:
    """`absent`, `ready`, or `damaged`: cut short, of another name, or without digest. The bytes are not all read."""
    path = weights_path(folder, name)
    if not path.is_file():
        return "absent"
    try:
        recorded_digest(path)
        return "ready" if read_metadata(path).get("name") == name else "damaged"
    except KitError:
        return "damaged"


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, after a look at its header alone. Raises KitError where it is not whole."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise KitError(f"{path}: not a whole safetensors file; import or fetch it again")
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise KitError(f"{path}: not a whole safetensors file ({one_line(error)}); import or fetch it again") from error


def recorded_digest(path: Path) -> str:
    """The digest that was written when the weights were imported. Raises KitError where there is none."""
    try:
        return digest_path(path).read_text(encoding="ascii").split()[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise KitError(f"{path}: no digest beside it, so nothing says what it is; import its source again") from error


def digest_of(*paths: Path) -> str:
    """SHA-256, hexadecimal, of the bytes of a file, or of several one after another. Raises KitError."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise KitError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """The weights folder with its README. Raises KitError where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "README").exists():
            _write_whole(folder / "README", README.encode())
    except OSError as error:
        raise cannot_write(folder, error) from error


def store(folder: Path, name: str, data: bytes) -> Path:
    """Write NAME.safetensors and its digest, whole or not at all. Raises KitError where that cannot be done."""
    make_folder(folder)
    path = weights_path(folder, name)
    try:
        _write_whole(digest_path(path), f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode())
        _write_whole(path, data)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return path


def cannot_write(path: Path, error: OSError) -> KitError:
    """What to say when the weights folder has no room or is another user's."""
    return KitError(f"{path}: cannot be written ({error.strerror}); make room, or name another folder")


def how_to_install(extra: str) -> str:
    """The command that adds an extra of the kit to what is installed, at the project's versions."""
    return f"pip install --editable 'submissions/kit[{extra}]' --constraint constraints.txt (in the project's folder)"


def one_line(error: object) -> str:
    """The text of an error, printable, in one line of at most 600 characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(str(error).split()))[:600]


def _write_whole(path: Path, data: bytes) -> None:
    """Under another name first, then renamed: nobody sees half a file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
