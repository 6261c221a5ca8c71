"""A module imports only from lower layers, and a library that may be replaced, or that takes long to import, is known
to one module: one convenient import undoes either, and nobody notices."""

import ast
import sys

import pytest
from helpers import ROOT

LAYERS = (
    # 0: hashing, files, exceptions, and what needs nothing of ours
    {"", "atomic", "digest", "errors", "line", "machine", "schedule", "scoring"},
    {"bucket", "database", "records", "schema", "archive", "trees", "weights"},
    {"object_folder", "pace", "rows", "simulation"},
    {"cluster", "objects"},
    {"depot"},
    {"statistics", "statistics.bootstrap", "statistics.clones", "statistics.game", "statistics.difficulty"},
    {"statistics.pareto"},
    {"statistics.wins"},
    {"statistics.ranking", "statistics.stability"},
    {"statistics.hardest"},
    {"statistics.curves"},
    # 1: what a stranger wrote, and the nouns of a round
    {"config", "executors", "executors.marks", "executors.ray_room", "images", "submission", "validation"},
    {"dataset", "executors.local"},
    {"predictions", "round"},
    {"plan"},
    {"order"},
    {"forecast"},
    # 2: where it runs and where it is kept
    {"index", "sandbox"},
    {
        "executors.cores",
        "sandbox.docker_images",
        "sandbox.environment",
        "sandbox.failure",
        "sandbox.held",
        "sandbox.launch",
        "sandbox.listener",
        "sandbox.rules",
        "store",
    },
    {"sandbox.bench", "sandbox.docker_container", "sandbox.watch"},
    {"sandbox.docker", "sandbox.process", "sandbox.proof"},
    # 3: playing and publishing
    {"known"},
    {"assembly", "calls", "intake", "runner"},
    {"leaderboard", "preparation", "publish"},
    {"executors.field", "executors.ray_archives"},
    {"executors.local_ground", "executors.ray_node"},
    {"executors.ray_nodes"},
    {"executors.ray", "executors.ray_ground"},
    {"publish.cells", "publish.compare", "publish.provenance", "publish.similarity", "publish.slugs"},
    {"publish.costs", "publish.likeness", "publish.plots.labels", "publish.plots.style", "publish.plots.words"},
    {"publish.border", "publish.latex", "publish.markdown", "publish.parquet"},
    {"bench", "publish.bibtex", "publish.evidence", "publish.signature", "publish.tables"},
    {"publish.consistency", "publish.gallery", "publish.manifest", "publish.report"},
    {"publish.site.publication", "publish.site.writing"},
    {"publish.site.players", "publish.site.rankings"},
    {"publish.site.pictures"},
    {"publish.site"},
    {"publish.plots.budget", "publish.plots.cost", "publish.plots.forest"},
    {"publish.plots.heatmap", "publish.plots.profile"},
    {"publish.plots"},
    {"publish.bundle", "publish.folder"},
    {"publish.press", "publish.verify"},
    {"diff", "diff.match"},
    {"diff.causes", "diff.own", "diff.views"},
    {"diff.parts"},
    {"diff.rows"},
    {"diff.build", "diff.text", "grid"},
    {"board"},
    {"baseline", "terminal", "tournament"},
    {"check", "check.report"},
    {"check.budget", "check.conditions", "check.labels", "check.smoke", "check.static", "check.timing"},
    {"check.honesty", "check.opponents"},
    {"check.attack", "check.defense"},
    {"check.session"},
    # 4: commands
    {"commands", "commands.options"},
    {"commands.dataset", "commands.weights"},
    {
        "commands.check",
        "commands.diff",
        "commands.doctor",
        "commands.gc",
        "commands.plan",
        "commands.publish",
        "commands.run",
        "commands.score",
        "commands.status",
        "commands.verify",
    },
    # 5: the command line, which finds commands by their names
    {"cli"},
    {"__main__"},
)

LAYER = {module: number for number, layer in enumerate(LAYERS) for module in layer}

CHOOSES_A_BACKEND = {("sandbox", "sandbox.docker")}
"""Imports upwards, inside a function: `auto` asks the backend whether there is an engine."""

ONLY_IN = {
    "yaml": {"config"},
    "fsspec": {"bucket"},
    "docker": {"sandbox.docker", "sandbox.docker_container", "sandbox.docker_images"},
    "ray": {"executors.ray", "executors.ray_node", "executors.ray_nodes"},
    "requests": {"sandbox.docker", "sandbox.docker_container"},
    "jinja2": {"publish.site.writing"},
    "PIL": {"images"},
    "matplotlib": {
        "publish.plots",
        "publish.plots.budget",
        "publish.plots.cost",
        "publish.plots.forest",
        "publish.plots.heatmap",
        "publish.plots.labels",
        "publish.plots.profile",
        "publish.plots.style",
    },
    "scipy": {
        "statistics.bootstrap",
        "statistics.clones",
        "statistics.game",
        "statistics.hardest",
        "statistics.ranking",
    },
    "sqlite3": {"database"},
    "psutil": {"machine", "sandbox.process"},
    "pyarrow": {"publish.compare", "publish.parquet"},
    "pydantic": {"cluster", "config", "dataset", "publish.border", "publish.provenance", "schema", "submission"},
    "rich": {"board", "grid", "terminal", "commands.doctor", "commands.plan"},
}

NOWHERE = {
    "pandas",
    "torch",
    "torchvision",
    "tensorflow",
    "jax",
    "foolbox",
    "advkit",
    "submissions",
    "tests",
}


def name_of(path):
    parts = path.relative_to(ROOT / "harness").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


ATTEMPTS = ROOT / "harness/sandbox/attempts"
"""No modules: programs that are copied into a sandbox, two helpers beside each."""

MODULES = {
    name_of(path): ast.parse(path.read_text())
    for path in sorted((ROOT / "harness").rglob("*.py"))
    if path.parent != ATTEMPTS
}


def imports(tree):
    """(full name, whether it happens when the module is imported) of everything that is imported."""
    later = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.If)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in later) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from ((f"{node.module}.{alias.name}", node not in later) for alias in node.names)


def own_imports(module):
    """(module of ours, whether at once): `from harness import x` and `from harness.x import y` are both of x."""
    for name, at_once in imports(MODULES[module]):
        if name == "harness" or name.startswith("harness."):
            parts = name.split(".")[1:]
            while ".".join(parts) not in MODULES:
                parts = parts[:-1]
            yield ".".join(parts), at_once


def test_every_module_has_a_layer():
    assert set(MODULES) == set(LAYER)
    assert len(LAYER) == sum(map(len, LAYERS))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_layers(module):
    upwards = {(module, other) for other, _ in own_imports(module) if LAYER[other] >= LAYER[module]}
    assert upwards <= CHOOSES_A_BACKEND


def test_the_exceptions_are_made_use_of_and_only_inside_functions():
    found = {(module, other): at_once for module in MODULES for other, at_once in own_imports(module)}
    assert [found[pair] for pair in sorted(CHOOSES_A_BACKEND)] == [False]


def test_libraries_are_known_to_their_modules_alone():
    found = {library: set() for library in ONLY_IN}
    for module, tree in MODULES.items():
        for name, _ in imports(tree):
            library = name.split(".")[0]
            if library in found:
                found[library].add(module)
    assert found == ONLY_IN


@pytest.mark.parametrize("module", MODULES)
def test_what_the_referee_never_imports(module):
    assert not {name.split(".")[0] for name, _ in imports(MODULES[module])} & NOWHERE


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__main__"])
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(MODULES[module])


def test_nothing_is_checked_by_assert():
    """`python -O` leaves them out."""
    asserting = [name for name, tree in MODULES.items() if any(isinstance(node, ast.Assert) for node in ast.walk(tree))]
    assert asserting == []


@pytest.mark.parametrize("path", sorted(ATTEMPTS.glob("*.py")), ids=lambda path: path.stem)
def test_an_attempt_stands_alone(path):
    """In the container there is nothing but Python, and the helpers beside it."""
    tree = ast.parse(path.read_text())
    needed = {name.split(".")[0] for name, _ in imports(tree)} - {"report", "kernel"}
    assert needed <= sys.stdlib_module_names
    assert ast.get_docstring(tree)
