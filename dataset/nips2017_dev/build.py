"""Make the data set `nips2017-dev` from the list that the competition published.

    python build.py                       download the photographs that are not there yet, cut and check them
    python build.py --from-folder DIR     take over PNGs that somebody made already; nothing is downloaded

Writes images/IMAGE_ID.png (299x299 RGB), dev_dataset.csv (the list, byte for byte) and missing.csv (what is not
there and why). Stop it at any moment: the same command goes on with the rest. A part of the set is usable as it is,
so the exit code is 0 where there is any image, and 1 where there is none or the list cannot be had.
"""

import argparse
import csv
import fcntl
import io
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from dev_list import NAME, PUBLISHED, read_list
from photo import Host, Patience, Reason, Row, UnusableError, digest_in, fault_of
from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

HERE = Path(__file__).resolve().parent
GIVE_UP_AFTER = 20
"""Photographs in a row whose host gave no answer at all: then it is the network, and the rest is not tried."""

PLAIN_LINES = 20

Missing = dict[str, UnusableError]
"""ImageId -> why there is no image."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    images = options.output / "images"
    patience = Patience(options.timeout, options.attempts, options.backoff)
    with _alone(options.output), Host(patience, options.workers) as host:
        rows = _take_list(options, host)
        images.mkdir(exist_ok=True)
        kept, wrong = _look(rows, images)
        print(f"{options.output}: {len(rows)} images in the list, {len(kept)} of them are there", flush=True)
        todo = [row for row in rows if row.id not in kept | wrong.keys()]
        missing: Missing = {row.id: UnusableError(Reason.NOT_TRIED, "the build was stopped") for row in todo}
        try:
            if options.from_folder:
                _copy(todo, options.from_folder, images, options.link, missing)
            else:
                _download(todo, images, host, patience, options.workers, missing)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", flush=True)
            return 130
        finally:
            absent = {name: why for name, why in missing.items() if not _png(images, name).exists()}
            there = _report(rows, absent | wrong | _remove_placeholders(rows, images), options.output)
    return 0 if there else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", metavar="CSV", help="the competition's list: a file, a URL, or 'published'")
    parser.add_argument("--from-folder", metavar="DIR", type=Path, help="PNGs, in DIR or DIR/images, to take over")
    parser.add_argument("--link", action="store_true", help="with --from-folder: hard links instead of copies")
    parser.add_argument("--output", metavar="DIR", type=Path, default=HERE, help="default: the folder of this script")
    parser.add_argument("--workers", metavar="N", type=_positive, default=8, help="downloads side by side (default 8)")
    parser.add_argument("--timeout", metavar="S", type=float, default=Patience.timeout, help="seconds without a byte")
    parser.add_argument(
        "--attempts", metavar="N", type=_positive, default=Patience.attempts, help="tries, where it may help"
    )
    parser.add_argument("--backoff", metavar="S", type=float, default=Patience.backoff, help="wait after the first try")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("at least 1")
    return number


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Holds the folder for one build, and clears what one that was killed left half written."""
    output.mkdir(parents=True, exist_ok=True)
    handle = os.open(output, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for leftover in output.rglob(".*.part"):
            leftover.unlink()
        yield
    except BlockingIOError:
        raise SystemExit(f"error: {output}: another build is at work there; wait for it to end") from None
    finally:
        os.close(handle)


def _take_list(options: argparse.Namespace, host: Host) -> list[Row]:
    """The rows of the list, which then lies in the output folder: as given, else that of --from-folder, else the one
    that is there already, else the published one."""
    folders = [options.from_folder, options.output] if options.from_folder else [options.output]
    near = (str(folder / NAME) for folder in folders if (folder / NAME).exists())
    data, rows = read_list(options.list or next(near, PUBLISHED), host)
    _write_whole(options.output / NAME, data)
    if not (options.output / "dataset.yaml").exists():
        shutil.copyfile(HERE / "dataset.yaml", options.output / "dataset.yaml")
    return rows


# --- the images


def _look(rows: Sequence[Row], images: Path) -> tuple[set[str], Missing]:
    """The images that are there, each decoded, and those that are no images of the set: somebody's, left alone.

    What a crash cut short is removed, to be made again.
    """
    present = {row.id: _png(images, row.id) for row in rows if _png(images, row.id).exists()}
    with ThreadPoolExecutor() as pool:
        found = dict(zip(present, pool.map(fault_of, present.values()), strict=True))
    faults = {name: fault for name, fault in found.items() if fault}
    wrong = {name: fault for name, fault in faults.items() if fault.reason is Reason.WRONG_SIZE}
    for name in faults.keys() - wrong.keys():
        present[name].unlink()
    left = {name: UnusableError(fault.reason, f"{fault.detail}; move it away") for name, fault in wrong.items()}
    return present.keys() - faults.keys(), left


def _download(
    todo: Sequence[Row], images: Path, host: Host, patience: Patience, workers: int, missing: Missing
) -> None:
    """Makes the image of every row; what was made leaves `missing`, the others get their reason there."""

    unanswered = 0
    with ThreadPoolExecutor(workers) as pool, _progress(len(todo)) as advance:
        calls = {pool.submit(_make, row, host, images): row.id for row in todo}
        try:
            for call in as_completed(calls):
                _settle(call.exception(), calls[call], missing)
                error = missing.get(calls[call])
                unanswered = unanswered + 1 if error and error.reason is Reason.UNREACHABLE else 0
                advance(calls[call] not in missing)
                if unanswered >= GIVE_UP_AFTER:
                    print(f"no answer for {unanswered} photographs in a row; the rest is not tried", flush=True)
                    break
        finally:
            patience.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _make(row: Row, host: Host, images: Path) -> None:
    _write_whole(_png(images, row.id), host.png(row))


def _settle(error: BaseException | None, name: str, missing: Missing) -> None:
    if error is None:
        missing.pop(name, None)
    elif isinstance(error, UnusableError):
        missing[name] = error
    else:
        raise error


def _copy(todo: Sequence[Row], source: Path, images: Path, link: bool, missing: Missing) -> None:
    """Takes over the PNGs of `source` that are what the set holds."""
    if not source.is_dir():
        raise SystemExit(f"error: {source}: no such folder; check --from-folder")
    folder = source / "images" if (source / "images").is_dir() else source
    for row in todo:
        origin, target = _png(folder, row.id), _png(images, row.id)
        if not origin.exists():
            missing[row.id] = UnusableError(Reason.ABSENT, f"{folder} has none")
        elif fault := fault_of(origin):
            missing[row.id] = fault
        else:
            os.link(origin, target) if link else _write_whole(target, origin.read_bytes())
            del missing[row.id]


def _remove_placeholders(rows: Sequence[Row], images: Path) -> Missing:
    """Removes images that were cut from the same bytes though their addresses differ: no two photographs are equal,
    but one picture that says 'not available' is sent for all that are gone."""
    origins: dict[str, list[Row]] = {}
    for row in rows:
        if _png(images, row.id).exists() and (digest := digest_in(_png(images, row.id))):
            origins.setdefault(digest, []).append(row)
    found: Missing = {}
    for same in origins.values():
        if len({row.url for row in same}) > 1:
            for row in same:
                _png(images, row.id).unlink()
                found[row.id] = UnusableError(Reason.PLACEHOLDER, f"the same bytes for {len(same)} addresses")
    return found


def _png(folder: Path, name: str) -> Path:
    return folder / f"{name}.png"


def _write_whole(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


# --- what a person sees


@contextmanager
def _progress(total: int) -> Iterator[Callable[[bool], None]]:
    """Yields what is to be called after each photograph: a bar in a terminal, some plain lines elsewhere."""
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    plain = not get_console().is_terminal
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), disable=plain) as bars:
        task = bars.add_task("", total=total)
        began, done, lost = time.monotonic(), 0, 0

        def advance(good: bool) -> None:
            nonlocal done, lost
            done, lost = done + 1, lost + (not good)
            bars.update(task, advance=1, description=f"{lost} missing")
            if plain and (done == total or done % max(1, total // PLAIN_LINES) == 0):
                minutes, seconds = divmod(round((time.monotonic() - began) / done * (total - done)), 60)
                print(f"{done} of {total}, {lost} missing, about {minutes}:{seconds:02d} to go", flush=True)

        yield advance


def _report(rows: Sequence[Row], missing: Missing, output: Path) -> int:
    """Writes missing.csv (none where nothing is missing), says what came of it; how many are there is returned."""
    path = output / "missing.csv"
    there = len(rows) - len(missing)
    if not missing:
        path.unlink(missing_ok=True)
        print(f"{output}: all {there} images are there", flush=True)
        return there
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ImageId", "URL", "Reason", "Detail"])
    writer.writerows(
        [row.id, row.url, missing[row.id].reason, missing[row.id].detail] for row in rows if row.id in missing
    )
    _write_whole(path, text.getvalue().encode())
    kinds = Counter(error.reason.value for error in missing.values()).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in kinds)
    print(f"{output}: {there} of {len(rows)} images are there, {len(missing)} are missing ({reasons}); {path} says why")
    return there


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, csv.Error) as trouble:
        sys.exit(f"error: {trouble}; mend that and run the same command again")
