"""The command line: one parser; commands are plain functions that return an exit code."""

import argparse
import errno
import importlib
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from harness import __version__
from harness.errors import BUG, EXPECTED_ERROR, INTERRUPTED, OK, InfrastructureError, UserError, printable

CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; whatever goes wrong ends in one clear line and a fixed exit code."""
    arguments = build_parser().parse_args(argv)
    with _interruptible():
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        command: Command = importlib.import_module(f"harness.commands.{arguments.command}").main
        code = command(arguments)
        sys.stdout.flush()  # here, where a pipe that nobody reads any more is no error
        return code
    except (UserError, InfrastructureError) as error:
        _print_error(str(error))
        return EXPECTED_ERROR
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            return _bug(error)
        where = error.filename or "the output folder"
        _print_error(f"{where}: cannot be written ({error.strerror}); make room or mend its rights, and run again")
        return EXPECTED_ERROR
    except KeyboardInterrupt:
        _print_error("stopped; what is recorded is kept, and the same command goes on from there")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last line of defence: a log instead of a traceback
        return _bug(error)


def _bug(error: Exception) -> int:
    _print_error(f"this is a bug of the harness ({type(error).__name__}: {error}); please report {_write_log()}")
    return BUG


@contextmanager
def _interruptible() -> Iterator[None]:
    """STOPPING signals interrupt the block, once: an impatient second one must not cut the clean-up short.

    After an interrupt they stay ignored, for the rest of the process is clean-up, too.
    """
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, handler or signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for later in STOPPING:
        signal.signal(later, _pass_over)
    raise KeyboardInterrupt


def _pass_over(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN: Python complains about a signal that came just before it was set."""


def _print_error(text: str) -> None:
    for line in text.splitlines():
        print(f"harness: {printable(line)}", file=sys.stderr)


def _write_log() -> str:
    """Writes what a report needs to a file, whose path is returned."""
    with tempfile.NamedTemporaryFile("w", prefix="harness-bug-", suffix=".log", delete=False) as file:
        file.write(f"harness {__version__}, Python {sys.version}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}")
        return file.name


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Pairs every attack with every defense, in sandboxes, and ranks them.",
        epilog="Exit codes: 0 fine, 1 an expected error, 2 wrong usage, 3 a bug, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="play a tournament, as far as it is not known yet"))
    _add_plan(_with_tournament(commands.add_parser("plan", help="what run would do, what is known, and what it takes")))
    _with_run(commands.add_parser("status", help="how far a run is, its ledger, and what failed"))
    score = _with_run(commands.add_parser("score", help="score a run again from its store"))
    score.add_argument(
        "--rules", choices=["fair", "nips17-dev", "nips17-final"], help="instead of those it was played by"
    )
    _add_diff(commands.add_parser("diff", help="what moved between two runs, and why"))
    _add_publish(commands.add_parser("publish", help="tables, figures and a site of finished runs"))
    _add_verify(commands.add_parser("verify", help="recompute every number of what was published"))
    _add_check(commands.add_parser("check", help="what would go wrong with a submission, before it is handed in"))
    _add_dataset(commands.add_parser("dataset", help="build or check a dataset"))
    _add_weights(commands.add_parser("weights", help="published weights of networks: list, fetch, import, verify"))
    doctor = commands.add_parser("doctor", help="engine, GPU, disk, and what auto would choose")
    _add_doctor(doctor)
    gc = _with_run(commands.add_parser("gc", help="remove what no run of a store needs"))
    gc.add_argument("--forget", action="store_true", help="runs whose output folder is gone need nothing any more")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    return parser


def _with_tournament(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("tournament", nargs="?", metavar="TOURNAMENT.yaml", help="see docs/formats.md")
    return parser


def _with_run(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("run", metavar="RUN", help="a run's output folder, or its tournament file")
    return parser


def _add_diff(parser: argparse.ArgumentParser) -> None:
    for name in ("before", "after"):
        parser.add_argument(name, metavar=name.upper(), help="a run's output folder, its tournament file, or a bundle")
    parser.add_argument("--json", metavar="FILE", help="write it for programs, too, - for the standard output")
    parser.add_argument("--fail-on", choices=["rank", "score", "significant", "any"], help="exit code 1 where it moved")
    parser.add_argument("--rules", choices=["fair", "nips17-dev", "nips17-final"], help="count both runs by these")


def _add_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's output folder, or its tournament file")
    parser.add_argument("--to", required=True, metavar="DIR", help="the folder of the site; made where it is missing")
    parser.add_argument("--incomplete", action="store_true", help="even where answers are not known yet; it is marked")
    parser.add_argument("--sign", metavar="KEY", help="an SSH key that signs what is published")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("published", metavar="BUNDLE", help="what harness publish wrote: one tournament, or the site")
    parser.add_argument("--store", metavar="RUN", help="a run that has the images: pictures are made again, too")
    parser.add_argument("--signer", metavar="PUBKEY", help="the public SSH key that must have signed it")


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster", metavar="KEY=N,...", help="what it would take: nodes=, gpus= and cpus= of each, price=, and more"
    )
    _add_play_options(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_play_options(_with_tournament(parser))


def _add_play_options(parser: argparse.ArgumentParser) -> None:
    """Options that stand over the tournament file, and the 2017 toolkit's own flags (underscores serve too)."""
    over = parser.add_argument_group("instead of what the tournament file says")
    over.add_argument("--name", help="the tournament's name")
    over.add_argument(
        "--sandbox", choices=["auto", "docker", "process"], help="default: $HARNESS_SANDBOX, or the file's"
    )
    _add_engine_options(over)
    over.add_argument("--epsilon", type=_epsilon, metavar="N|N,N|rotate", help="budget on the 0..255 scale")
    over.add_argument("--batch-size", type=int, metavar="N", help="images for each call of an attack")
    over.add_argument("--limit", type=int, metavar="N", help="only the first N images of the dataset")
    over.add_argument("--slots", type=int, metavar="N", help="calls side by side")
    over.add_argument("--seed", type=int, metavar="N")
    over.add_argument("--rules", choices=["fair", "nips17-dev", "nips17-final"])
    over.add_argument(
        "--versions-per-call", choices=["1", "all"], help="how many versions of a picture a call may hold"
    )
    over.add_argument("--trust-submissions", action="store_true", help="play strangers' code without isolation")
    over.add_argument("--store", metavar="DIR", help="keep what is computed here, to share it between runs")
    over.add_argument("--executor", choices=["local", "ray"], help="where calls are played: this machine, or Ray")
    over.add_argument("--ray-address", metavar="HOST:PORT", help="of a Ray cluster (default: one is started here)")
    over.add_argument("--objects", metavar="DIR|URL", help="where a new store keeps its images: s3://BUCKET/PATH")
    toolkit = parser.add_argument_group("the 2017 toolkit's flags")
    toolkit.add_argument("--attacks-dir", "--attacks_dir", metavar="DIR")
    toolkit.add_argument("--targeted-attacks-dir", "--targeted_attacks_dir", metavar="DIR")
    toolkit.add_argument("--defenses-dir", "--defenses_dir", metavar="DIR")
    toolkit.add_argument("--dataset-dir", "--dataset_dir", metavar="DIR", help="folder with the PNG images")
    toolkit.add_argument("--dataset-metadata", "--dataset_metadata", metavar="CSV")
    toolkit.add_argument("--output-dir", "--output_dir", "--output", metavar="DIR")
    toolkit.add_argument(
        "--intermediate-results-dir",
        "--intermediate_results_dir",
        dest="store",
        metavar="DIR",
        help="the same as --store",
    )
    toolkit.add_argument("--gpu", action="store_true", default=None, dest="gpu", help="a GPU is required")
    toolkit.add_argument("--nogpu", action="store_false", default=None, dest="gpu", help="no GPU is used")
    toolkit.add_argument(
        "--save-all-classification", "--save_all_classification", "--nosave_all_classification",
        action="store_true", help="accepted; all_classification.csv is always written",
    )  # fmt: skip


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", metavar="SUBMISSION", help="a folder with metadata.json, or an archive of one")
    parser.add_argument("--full", action="store_true", help="all images, budgets 4, 8, 12 and 16, and an opponent")
    parser.add_argument("--static", action="store_true", help="look at the files only, run nothing")
    parser.add_argument("--strict", action="store_true", help="a warning is an error, too")
    parser.add_argument("--json", metavar="FILE", help="write a report for programs, - for the standard output")
    parser.add_argument("--tournament", metavar="FILE.yaml", help="check under the conditions of this tournament")
    parser.add_argument("--dataset", metavar="DIR", help="default: the project's own in the submission's label space")
    parser.add_argument("--images", type=int, metavar="N", help="how many images are played (default: 8)")
    parser.add_argument("--epsilon", type=_epsilon, metavar="N|N,N|rotate", help="budget on the 0..255 scale")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images of a full batch (default: 100)")
    parser.add_argument("--seconds", type=float, metavar="S", help="the limit of a call (default: 500)")
    parser.add_argument("--memory", metavar="SIZE", help="the limit of its memory (default: 4 GiB)")
    parser.add_argument("--cpus", type=int, metavar="N", help="cores of a call (default: all of this machine)")
    parser.add_argument("--sandbox", choices=["auto", "docker", "process"], help="default: $HARNESS_SANDBOX, or auto")
    parser.add_argument("--trust-submissions", action="store_true", help="play it without isolation, too")


def _add_engine_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--runtime", metavar="NAME", help="the engine's runtime for containers, such as gVisor's runsc")
    parser.add_argument("--seccomp", metavar="JSON", help="a seccomp profile instead of the engine's own")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="DIR", default=".", help="where the disk is looked at (default: here)")
    parser.add_argument("--prove-sandbox", action="store_true", help="make escape attempts in a sandbox, and judge it")
    prove = parser.add_argument_group("with --prove-sandbox")
    prove.add_argument("--sandbox", choices=["auto", "docker", "process"], help="default: $HARNESS_SANDBOX, or auto")
    prove.add_argument("--image", metavar="NAME", help="with python3 in it (default: the participant kit's)")
    _add_engine_options(prove)


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make the images with the folder's own script")
    check = actions.add_parser("check", help="look at every image and row, and compare the labels with a baseline")
    for action in (build, check):
        action.add_argument("folder", metavar="DIR", help="a folder with dataset.yaml, such as dataset/photos")
    build.add_argument("script_arguments", nargs="*", default=[], metavar="ARGUMENT", help="for the script, after --")
    check.add_argument("--images", metavar="DIR", help="the PNG images, where they are not in DIR/images")
    check.add_argument("--metadata", metavar="CSV", help="the labels, where they are not the CSV of DIR")
    check.add_argument("--limit", type=int, metavar="N", help="only the first N images of the dataset")
    check.add_argument("--baseline", metavar="DEFENSE", help="the submission whose answers the labels must fit")
    check.add_argument("--no-baseline", action="store_true", help="images and rows only")
    check.add_argument("--sandbox", choices=["docker", "process"], help="for a baseline that is not the project's own")
    check.add_argument("--trust-submissions", action="store_true", help="play the baseline without isolation")


def _add_weights(parser: argparse.ArgumentParser) -> None:
    """What follows the action is the participant kit's to understand."""
    parser.add_argument("action", choices=["list", "fetch", "import", "verify"], help="each has its own --help")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=argparse.SUPPRESS)


def _epsilon(text: str) -> int | list[int] | str:
    """'16' -> 16, '4,8' -> [4, 8], 'rotate' stays; anything else is left for the validation to refuse."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        return text
    return values if len(values) > 1 else values[0]
