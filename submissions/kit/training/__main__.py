"""`python -m training`: train the networks of a recipe, one after another, and keep each as a file."""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from advkit.config import pick
from advkit.errors import KitError
from advkit.networks import TRAINED, frozen
from advkit.networks.loading import load_trained
from advkit.weights.files import read_metadata, weights_path
from training.card import write_card
from training.data import Data, load
from training.evaluate import Images
from training.findings import Results
from training.measure import about, is_about, is_of, measure, read_rows, save_rows
from training.paper import Part, figures, write_page
from training.recipe import Recipe, Study, read_recipe
from training.saving import check_same, git_revision, provenance, save_network
from training.speed import operations_per_image, peak
from training.train import train

RECIPES = Path(__file__).resolve().parent / "recipes"
FLAGS = "flags.npz"
BEGUN = "flags.begun.npz"
"""What a stopped measuring has measured so far."""

OK, EXPECTED_ERROR, INTERRUPTED = 0, 1, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one of the actions; an expected error ends in one line on standard error."""
    arguments = build_parser().parse_args(argv)
    try:
        run: Callable[[argparse.Namespace], None] = arguments.run
        run(arguments)
        return OK
    except KitError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXPECTED_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Adversarial training of small networks.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    training = actions.add_parser("train", help="train what is not there yet; stopped, it goes on where it was")
    measuring = actions.add_parser(
        "measure", help="train, then attack all networks of the recipe's study; stopped, it goes on"
    )
    writing = actions.add_parser("paper", help="write the page of what was measured")
    shipping = actions.add_parser("ship", help="put networks of one seed, with a card each, where advkit finds them")
    for action, run in ((training, _train), (measuring, _measure), (writing, _paper), (shipping, _ship)):
        action.set_defaults(run=run)
        action.add_argument(
            "--to", type=Path, default=Path("runs/training"), metavar="DIR", help="default: %(default)s"
        )
    for action in (training, measuring):
        action.add_argument("recipe", metavar="RECIPE", help=f"{', '.join(names())}, or a YAML file")
        action.add_argument("--from", dest="source", type=Path, metavar="PLACE", help="folder or archive of the data")
        action.add_argument("--seeds", type=_seed, nargs="+", default=[0], metavar="N", help="default: 0")
    training.add_argument("--networks", nargs="+", default=[], metavar="NAME", help="and their sources; default: all")
    writing.add_argument("recipes", nargs="+", metavar="RECIPE", help="what was measured")
    shipping.add_argument("recipe", metavar="RECIPE", help="what they were trained by")
    shipping.add_argument("networks", nargs="+", metavar="NAME")
    shipping.add_argument("--seed", type=_seed, default=0, metavar="N", help="default: 0")
    writing.add_argument(
        "--page", type=Path, default=Path("docs/paper.md"), metavar="FILE", help="default: %(default)s"
    )
    return parser


def names() -> list[str]:
    """The recipes of the project."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_path(name: str) -> Path:
    """A recipe of the project by its name, or any by its path."""
    return RECIPES / f"{name}.yaml" if name in names() else Path(name)


def seed_folder(folder: Path, recipe: str, seed: int) -> Path:
    """Where the networks of a recipe and what was measured of them lie."""
    return folder / Path(recipe).stem / f"seed-{seed}"


def train_all(recipe: Recipe, chosen: Sequence[str], data: Data, folder: Path, seed: int) -> None:
    """Train the networks that have no file in `folder` yet, and before each its sources."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KitError(f"{folder}: cannot be made ({error.strerror}); name another place with --to") from error
    from training.progress import shown  # needs rich, which nothing else does

    git_revision()  # that of the code which is running, whatever changes meanwhile
    peaks: dict[str, float] = {}
    for name in _with_sources(recipe, chosen or list(recipe.networks)):
        path = weights_path(folder, name)
        model = recipe.networks[name]
        sources = {source: weights_path(folder, source) for source in model.sources}
        if path.exists():
            check_same(path, provenance(model, data, seed, sources))
            print(f"{name}: is there already: {path}")
            continue
        if model.precision not in peaks:
            peaks[model.precision] = peak(model.precision)
        static = [frozen([load_trained(source)]) for source in sources.values()]
        checkpoint = folder / f"{name}.checkpoint"
        with shown(name, model.all_epochs) as report:
            network, history = train(model, data, static, seed_of(name, seed), checkpoint, report)
        operations = operations_per_image(model, recipe.networks)
        speed = {"operations_per_image": f"{operations:.4g}", "peak": f"{peaks[model.precision]:.4g}"}
        save_network(path, network, model, data, seed, sources, history, speed)
        checkpoint.unlink()


def seed_of(name: str, seed: int) -> int:
    """Another seed for each network: two that begin alike, or see images in one order, are no strangers."""
    return int.from_bytes(hashlib.sha256(f"{name} {seed}".encode()).digest()[:4])


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def _train(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(recipe_path(arguments.recipe))
    for name in arguments.networks:
        pick(recipe.networks, name, "network")
    data = load(recipe.data, arguments.source)
    for seed in arguments.seeds:
        train_all(recipe, arguments.networks, data, seed_folder(arguments.to, arguments.recipe, seed), seed)


def _measure(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(recipe_path(arguments.recipe))
    study = _study(arguments.recipe, recipe)
    data = load(recipe.data, arguments.source)
    images = Images(data.dev_x, data.dev_y)
    for seed in arguments.seeds:
        folder = seed_folder(arguments.to, arguments.recipe, seed)
        train_all(recipe, study.networks, data, folder, seed)
        if is_about(folder / FLAGS, now := about(study, folder)):
            print(f"seed {seed}: is measured already: {folder / FLAGS}")
            continue
        begun = folder / BEGUN
        found = read_rows(begun) if is_about(begun, now) else {}
        rows = measure(study, folder, images, found, partial(save_rows, begun, about=now))
        save_rows(folder / FLAGS, rows, now)
        begun.unlink()


def _paper(arguments: argparse.Namespace) -> None:
    parts = []
    for name in arguments.recipes:
        recipe = read_recipe(recipe_path(name))
        paths = sorted((arguments.to / Path(name).stem).glob(f"seed-*/{FLAGS}"))
        if not paths:
            raise KitError(
                f"{name}: nothing measured below {arguments.to}; begin with: python -m training measure {name}"
            )
        study = _study(name, recipe)
        for path in paths:
            if not is_of(path, study):
                raise KitError(f"{path}: is of another study; begin with: python -m training measure {name}")
        parts.append(Part(name, study, Results.read(paths)))
    for part in parts:
        figures(part, arguments.page.parent)
    arguments.page.write_text(write_page(parts), encoding="utf-8")


def _ship(arguments: argparse.Namespace) -> None:
    recipe = read_recipe(recipe_path(arguments.recipe))
    folder = seed_folder(arguments.to, arguments.recipe, arguments.seed)
    flags, study = folder / FLAGS, recipe.study
    if study and flags.exists() and not is_about(flags, about(study, folder)):
        again = f"python -m training measure {arguments.recipe}"
        raise KitError(f"{flags}: is of other networks or another study; begin with: {again}")
    results = Results.read([flags]) if flags.exists() else None
    TRAINED.mkdir(exist_ok=True)
    for name in arguments.networks:
        path = weights_path(folder, name)
        if not path.exists():
            raise KitError(f"{path}: is not there; begin with: python -m training train {arguments.recipe}")
        card = write_card(name, arguments.recipe, read_metadata(path), study, results)
        shutil.copyfile(path, weights_path(TRAINED, name))
        (TRAINED / f"{name}.md").write_text(card, encoding="utf-8")


def _study(name: str, recipe: Recipe) -> Study:
    if recipe.study is None:
        raise KitError(f"{name}: this recipe has no study, so nothing is to be measured; add one")
    return recipe.study


def _with_sources(recipe: Recipe, chosen: Sequence[str]) -> list[str]:
    """Those networks and all that they need, in the recipe's order."""
    wanted = set(chosen)
    for name in reversed(list(recipe.networks)):
        if name in wanted:
            wanted.update(recipe.networks[name].sources)
    return [name for name in recipe.networks if name in wanted]


if __name__ == "__main__":
    sys.exit(main())
