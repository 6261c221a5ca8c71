"""`harness weights list | fetch | import | verify`, which is `python -m advkit.weights` with the same arguments."""

import argparse
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from advkit import weights
from advkit.errors import KitError
from advkit.weights.files import read_metadata, state_of, weights_path
from advkit.weights.registry import BUILT_IN, KINDS, Model, Registry, Shipped, is_sha256, read_registry

OK, EXPECTED_ERROR, BUG, INTERRUPTED = 0, 1, 3, 130
"""The exit codes that the harness documents."""

Row = tuple[str, str, str, str, str, str]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the four; an expected error ends in one line for each, on standard error."""
    arguments = build_parser().parse_args(argv)
    if fault := _usage_fault(arguments):
        arguments.parser.error(fault)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KitError as error:
        return _complain(error)
    except BrokenPipeError:
        sys.stderr.close()
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - the last line of defence: another exit code than that of an expected error
        traceback.print_exc()
        return BUG


def build_parser() -> argparse.ArgumentParser:
    """The command line; docs/commands.md describes all of it."""
    parser = argparse.ArgumentParser(prog="harness weights", description="Published weights of networks.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, and what is here")
    fetch = actions.add_parser("fetch", help="download, check, import")
    importing = actions.add_parser("import", help="import a file that is here")
    verify = actions.add_parser("verify", help="look at every byte, and perhaps classify images")
    for action, run in ((listing, _list), (fetch, _fetch), (importing, _import), (verify, _verify)):
        action.set_defaults(run=run, parser=action)
        action.add_argument("--folder", type=Path, metavar="DIR", help="default: $HARNESS_WEIGHTS, or the user's cache")
        action.add_argument("--registry", type=Path, default=BUILT_IN, metavar="YAML", help="instead of the kit's own")
    _add_choice(fetch)
    _add_choice(verify)
    fetch.add_argument("--source", choices=KINDS, help="only sources of this kind")
    fetch.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="that a host may say nothing")
    fetch.add_argument("--retries", type=int, default=3, metavar="N", help="before a host is given up")
    importing.add_argument("name", metavar="NAME")
    importing.add_argument("file", type=Path, metavar="FILE", help=".ckpt (its prefix), .tar.gz, .npy or .safetensors")
    importing.add_argument("--format", choices=KINDS, help="what the file must be; default: what its content says")
    _add_checksum(fetch)
    _add_checksum(importing)
    verify.add_argument("--dataset", type=Path, metavar="DIR", help="clean images to classify")
    verify.add_argument("--metadata", type=Path, metavar="CSV", help="ImageId and TrueLabel; default: the CSV in DIR")
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="as harness weights list has them")
    parser.add_argument("--all", action="store_true", help="instead of names")


def _add_checksum(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sha256", type=_sha256, metavar="HEX", help="the digest that the file must have")
    parser.add_argument("--accept-unknown-checksum", action="store_true", help="take a file that nothing vouches for")


def _usage_fault(arguments: argparse.Namespace) -> str | None:
    """What two arguments together have wrong."""
    if arguments.action in ("fetch", "verify") and bool(arguments.names) == arguments.all:
        return "name weights, or give --all"
    if arguments.action == "fetch" and arguments.sha256 and len(arguments.names) != 1:
        return "--sha256 is the digest of one file: name the weights that it belongs to"
    if arguments.action == "fetch" and (arguments.timeout <= 0 or arguments.retries < 0):
        return "--timeout is positive, and --retries not negative"
    if arguments.action == "verify" and arguments.metadata and not arguments.dataset:
        return "--metadata belongs to --dataset"
    return None


def _list(arguments: argparse.Namespace) -> int:
    registry, folder = read_registry(arguments.registry), _folder(arguments)
    rows = [("name", "state", "MiB", "accuracy", "licence", "source")]
    rows += [_row(model, folder) for model in registry.models.values()]
    rows += [_shipped_row(shipped) for shipped in registry.shipped.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"accuracy: published, % of the 1000 images of the development set; weights folder: {folder}")
    return OK


def _row(model: Model, folder: Path) -> Row:
    state, path = state_of(folder, model.name), weights_path(folder, model.name)
    preferred = next((source for source in model.sources if source.sha256), model.sources[0])
    here = read_metadata(path) if state == "ready" else {}
    size = path.stat().st_size if here else preferred.size
    accuracy = f"{model.accuracy.percent}" if model.accuracy else "-"
    source = here.get("source_format", preferred.kind + ("" if preferred.sha256 else ", no sha256 known"))
    return model.name, state, _mebibytes(size), accuracy, here.get("licence", model.licence), source


def _shipped_row(shipped: Shipped) -> Row:
    spec = find_spec(shipped.package)
    places = spec.submodule_search_locations or [] if spec else []
    size = sum(file.stat().st_size for place in places for file in Path(place).rglob("*.pth"))
    state = "shipped" if spec else "absent"
    return shipped.name, state, _mebibytes(size or None), "-", shipped.licence, f"package {shipped.package}"


def _fetch(arguments: argparse.Namespace) -> int:
    from advkit.weights.fetch import Patience
    from advkit.weights.obtaining import Choice, Fetcher

    registry, folder = read_registry(arguments.registry), _folder(arguments)
    models = _models(registry, arguments)
    fetcher = Fetcher(registry, folder, Patience(arguments.timeout, arguments.retries))
    choice = Choice(arguments.source, arguments.sha256, arguments.accept_unknown_checksum, _fetch_command(arguments))

    def is_here(model: Model) -> bool:
        return state_of(folder, model.name) == "ready"

    def fetch(model: Model) -> str:
        if is_here(model):
            return f"{model.name}: is there already; harness weights verify {model.name} looks at it"
        return f"{model.name}: {fetcher.fetch(model, choice)}"

    left = [model for model in models if arguments.all and not choice.sources(model) and not is_here(model)]
    code = _each([model for model in models if model not in left], fetch)
    for model in left:  # --all is whatever may be taken, so these are no failure
        _complain(choice.refusal(model))
    return code


def _fetch_command(arguments: argparse.Namespace) -> str:
    """The command as it was given, but for names and checksums."""
    words = ["harness", "weights", "fetch"]
    for option, value, default in (
        ("--folder", arguments.folder, None),
        ("--registry", arguments.registry, BUILT_IN),
        ("--source", arguments.source, None),
    ):
        words += [option, str(value)] if value != default else []
    return shlex.join(words)


def _import(arguments: argparse.Namespace) -> int:
    from advkit.weights.importing import import_file

    registry = read_registry(arguments.registry)
    path = import_file(
        registry,
        registry.model(arguments.name),
        arguments.file,
        _folder(arguments),
        kind=arguments.format,
        sha256=arguments.sha256,
        accept_unknown=arguments.accept_unknown_checksum,
    )
    metadata = read_metadata(path)
    print(f"{arguments.name}: {path} from {metadata['source_format']} with sha256 {metadata['source_sha256']}")
    return OK


def _verify(arguments: argparse.Namespace) -> int:
    from advkit.weights.verifying import judge, measure, read_dataset, verify

    registry, folder = read_registry(arguments.registry), _folder(arguments)
    models = _models(registry, arguments)
    if arguments.all:
        models = [model for model in models if state_of(folder, model.name) != "absent"]
        if not models:
            raise KitError(f"{folder}: no weights there; get them with: harness weights fetch --all")
    dataset = read_dataset(arguments.dataset, arguments.metadata) if arguments.dataset else None

    def look(model: Model) -> str:
        metadata = verify(folder, model)
        said = f"{model.name}: in order, {metadata['classes']} classes, from {metadata['source']}"
        if dataset is None:
            return said
        is_expected, measured = judge(model, measure(folder, model, dataset), dataset)
        if not is_expected:
            raise KitError(f"{model.name}: {measured}")
        return f"{said}\n{model.name}: {measured}"

    return _each(models, look)


def _each(models: Iterable[Model], act: Callable[[Model], str]) -> int:
    """Whatever happens to one, the others have their turn."""
    code = OK
    for model in models:
        try:
            print(act(model), flush=True)
        except KitError as error:
            code = _complain(error)
    return code


def _complain(error: KitError | str) -> int:
    for line in str(error).splitlines():
        print(f"harness weights: {line}", file=sys.stderr)
    return EXPECTED_ERROR


def _models(registry: Registry, arguments: argparse.Namespace) -> list[Model]:
    return list(registry.models.values()) if arguments.all else [registry.model(name) for name in arguments.names]


def _folder(arguments: argparse.Namespace) -> Path:
    return arguments.folder or weights.folder()


def _sha256(text: str) -> str:
    if not is_sha256(text.lower()):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits")
    return text.lower()


def _mebibytes(size: int | None) -> str:
    return "-" if size is None else f"{size / (1 << 20):.0f}"


if __name__ == "__main__":
    raise SystemExit(main())
