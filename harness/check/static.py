"""The rules that a submission's files break or keep, seen without running anything."""

import difflib
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.archive import MAX_ENTRIES, MAX_UNPACKED_BYTES, unpack
from harness.check.report import Check, Level, Report, count, some
from harness.digest import tree_files
from harness.errors import UserError
from harness.submission import Entry, Submission, UnavailableError, archive_name, is_archive, load_submission

HEAD_BYTES = 512
MAX_SCRIPT_BYTES = 1 << 20
SCRIPTS = (".py", ".sh", ".bash")

EXECUTABLE_MAGIC = b"\x7fELF"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

NETWORK = re.compile(
    r"\b(pip3? install|conda install|apt-get |curl |wget |git clone|requests\.(get|post)\(|urlopen\(|urlretrieve\("
    r"|torch\.hub\.load|load_state_dict_from_url\(|hf_hub_download\(|snapshot_download\(|pretrained=True)"
)
"""What needs a network, as it is commonly written."""


@contextmanager
def opened(path: Path, report: Report) -> Iterator[Path | None]:
    """The submission's folder, unpacked where `path` is an archive; None where that cannot be done."""
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="harness-check-") as place:
        yield _unpacked(path, Path(place) / archive_name(path), report)


def _unpacked(path: Path, target: Path, report: Report) -> Path | None:
    target.mkdir()
    try:
        folder = unpack(path, target)
    except UserError as error:
        _add_faults(error, Check.ARCHIVE, report)
        return None
    report.add(Level.OK, Check.ARCHIVE, f"{path.name}: unpacks to plain files within the limits")
    return folder


def check_files(folder: Path, name: str, images: Mapping[str, Path], report: Report) -> Entry | None:
    """Every static rule; what was handed in is returned, where it can be told.

    images: those that the organiser builds, by name.
    """
    entry = _check_contract(folder, name, report)
    files = [(relative, path) for relative, path in tree_files(folder) if path.is_file() and not path.is_symlink()]
    _check_size(files, report)
    _check_names([relative for relative, _ in files], report)
    if entry:
        _check_interpreter(entry, report)
        _check_container(entry, images, report)
    scripts = {relative: _text(path) for relative, path in files if relative.endswith(SCRIPTS)}
    _check_line_ends(entry, scripts, report)
    _check_network(scripts, report)
    return entry


def _add_faults(error: UserError, check: Check, report: Report) -> None:
    for fault in error.faults:
        report.add(Level.ERROR, check, fault)


def _check_contract(folder: Path, name: str, report: Report) -> Entry | None:
    """metadata.json, the entry point, the kinds of files and the weights, all as a tournament takes them in."""
    entry: Entry
    try:
        entry = load_submission(folder, name)
    except UnavailableError as error:
        entry = error.entry
        report.add(Level.ERROR, Check.WEIGHTS, f"{error.reason}; use {error.remedy}, or put them into weights/")
    except UserError as error:
        _add_faults(error, Check.CONTRACT, report)
        return None
    start = entry.metadata.entry_point
    text = f"{entry.name}: metadata.json is in order; {entry.role}, started by {start}"
    report.add(Level.OK, Check.CONTRACT, text)
    if isinstance(entry, Submission) and entry.weights:
        names = some(one.name for one in entry.weights)
        report.add(Level.OK, Check.WEIGHTS, f"the weights that it names are there: {names}")
    return entry


def _check_size(files: list[tuple[str, Path]], report: Report) -> None:
    total = sum(path.stat().st_size for _, path in files)
    values = {"files": len(files), "bytes": total}
    size = f"{total / (1 << 20):.1f} MiB" if total >= 1 << 20 else f"{-(-total // 1024)} KiB"
    text = f"{count(len(files), 'file')}, {size}"
    if len(files) > MAX_ENTRIES:
        report.add(Level.ERROR, Check.SIZE, f"{text}: more than {MAX_ENTRIES} files; hand in fewer", values=values)
    elif total > MAX_UNPACKED_BYTES:
        most = MAX_UNPACKED_BYTES >> 30
        report.add(Level.ERROR, Check.SIZE, f"{text}: more than {most} GiB; leave out what is not used", values=values)
    else:
        report.add(Level.OK, Check.SIZE, text, values=values)


def _check_names(names: list[str], report: Report) -> None:
    unsafe = [name for name in names if _is_unsafe(name)]
    for name in unsafe:
        text = f"the file name {name!a} has control, direction or undecodable characters, or a backslash"
        report.add(Level.ERROR, Check.NAMES, f"{text}; rename it")
    folded = _alike(names)
    for group in folded:
        listed = ", ".join(map(ascii, group))
        text = f"{listed} are one name where letter case does not count, as on macOS and Windows; rename one"
        report.add(Level.WARNING, Check.NAMES, text)
    if not unsafe and not folded:
        report.add(Level.OK, Check.NAMES, "all file names are safe")


def _is_unsafe(name: str) -> bool:
    return "\\" in name or any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in name)


def _alike(names: Iterable[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFC", name).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _check_interpreter(entry: Entry, report: Report) -> None:
    """The kernel takes the line as it is: with a carriage return at its end it names no program that there is."""
    name = entry.metadata.entry_point
    with (entry.folder / name).open("rb") as file:
        head = file.read(HEAD_BYTES)
    line = head.partition(b"\n")[0]
    fault = ""
    if head.startswith(BYTE_ORDER_MARK):
        fault = "begins with a byte order mark, so its first line names no interpreter; save it as UTF-8 without one"
    elif line.startswith(b"#!") and line.endswith(b"\r"):
        fault = f"has line ends of Windows (CRLF), so that its interpreter is not found; run: sed -i 's/\\r$//' {name}"
    elif line.startswith(b"#!") and line[2:].strip():
        report.add(Level.OK, Check.INTERPRETER, f"{name}: is run by {line[2:].strip().decode(errors='replace')}")
    elif head.startswith(EXECUTABLE_MAGIC):
        report.add(Level.OK, Check.INTERPRETER, f"{name}: is a program for Linux")
    else:
        fault = "has no interpreter line, so it cannot be started; let its first line be #!/bin/bash"
    if fault:
        report.add(Level.ERROR, Check.INTERPRETER, f"{name}: {fault}")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(MAX_SCRIPT_BYTES).decode(errors="replace")


def _check_line_ends(entry: Entry | None, scripts: Mapping[str, str], report: Report) -> None:
    """The entry point's own are an error of its own; Python does not mind, shells do."""
    own = entry.metadata.entry_point if entry else None
    for name, text in scripts.items():
        if name != own and name.endswith((".sh", ".bash")) and "\r\n" in text:
            fault = f"{name}: has line ends of Windows (CRLF), which shells take for a part of each line"
            report.add(Level.WARNING, Check.LINE_ENDS, f"{fault}; run: sed -i 's/\\r$//' {name}")


def _check_network(scripts: Mapping[str, str], report: Report) -> None:
    for name, text in scripts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            if found := NETWORK.search(line.partition("#")[0]):
                what = found[0].strip(" (")
                fault = f"{name}:{number}: {what} needs a network, and a tournament has none"
                report.add(Level.WARNING, Check.NETWORK, f"{fault}; put what it fetches into the image or the folder")


def _check_container(entry: Entry, images: Mapping[str, Path], report: Report) -> None:
    """Where its container comes from: the organiser's images stand over a Dockerfile, that over a registry."""
    name, dockerfile = entry.metadata.container, entry.folder / "Dockerfile"
    if name in images:
        report.add(Level.OK, Check.CONTAINER, f"container {name}: the organiser builds it")
    elif dockerfile.is_file():
        _check_dockerfile(dockerfile, images, report)
    else:
        _add_pulled(f"container {name}", name, report)


def _check_dockerfile(path: Path, images: Mapping[str, Path], report: Report) -> None:
    bases = base_images(_text(path))
    if not bases:
        report.add(Level.ERROR, Check.CONTAINER, "Dockerfile: has no FROM line; begin with FROM IMAGE")
    for base in bases:
        if base in images:
            report.add(Level.OK, Check.CONTAINER, f"Dockerfile: stands on {base}, which the organiser builds")
        elif "$" in base or not base:
            text = f"Dockerfile: FROM {base or '(nothing)'} needs a build argument, and none is given; write the name"
            report.add(Level.ERROR, Check.CONTAINER, text)
        elif base != "scratch":
            _add_pulled(f"Dockerfile: stands on {base}", base, report)


def _add_pulled(text: str, name: str, report: Report) -> None:
    """An image of a registry is the one that was meant only where its name says which."""
    if "@" in name or ":" in name.rpartition("/")[2]:
        report.add(Level.OK, Check.CONTAINER, f"{text}; it is not among the organiser's images, so it is pulled")
    else:
        why = "it is pulled without a tag, so it is another image next month; name a tag or a digest"
        report.add(Level.WARNING, Check.CONTAINER, f"{text}: {why}")


def base_images(dockerfile: str) -> list[str]:
    """What its FROM lines stand on, default arguments filled in, without the stages that it makes itself."""
    joined = re.sub(r"\\\s*\n", " ", dockerfile)
    arguments: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "ARG" and not found:
            name, _, value = rest.strip().partition("=")
            arguments[name] = value.strip("\"'")
        elif word.upper() == "FROM":
            parts = [part for part in rest.split() if not part.startswith("--")]
            base = _filled(parts[0] if parts else "", arguments)
            if base not in stages:
                found[base] = None
            if len(parts) == 3:
                stages.add(parts[2])
    return list(found)


def _filled(text: str, arguments: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: arguments.get(match[1]) or match[0], text)


def check_label_space(declared: str | None, space: str, known: Iterable[str], dataset: str, report: Report) -> bool:
    """Whether it answers in the label space of the data set that it is checked on."""
    if declared in (None, space):
        text = f"answers in {space}" if declared else f"names no label space; taken for {space}"
        report.add(Level.OK, Check.LABEL_SPACE, f"{text}, as {dataset} is labelled")
        return True
    spaces = sorted({*known, space})
    guess = difflib.get_close_matches(str(declared), spaces, n=1)
    if declared in spaces:
        rule = f"the dataset {dataset} is labelled in {space}; name one of {declared} with --dataset"
    else:
        hint = f"did you mean {guess[0]}?" if guess else f"known: {', '.join(spaces)}"
        rule = f"which no dataset here has; {hint}"
    report.add(Level.ERROR, Check.LABEL_SPACE, f"labels: answers in {declared}, {rule}")
    return False
