"""Scoring a table of the size of 2017: the board of `harness score` against the plain pandas way.

156 attacks, 91 of them untargeted, 107 defenses, 5000 images, one epsilon: 83 million answers. Attacks and defenses
are of many strengths, images easy or hard for all of them. Ours is `build_leaderboard` as it is: every number of
`leaderboard.json`; labels lie in a file, as in a run. The plain way is a long table, `groupby` for the same counts,
scores and shares, and a loop of 1000 resamples of its image x submission sums for their intervals; it has no worst
cases with intervals, tests, tiers, game or difficulty. Making the table is left out of both. Each runs in a process of
its own, one after the other in turn; peak memory is that of the process, the table included. `--ways files` writes the
CSVs and the Parquet tables instead, into a temporary folder.

    python benchmarks/scoring.py [--repeat 3] [--images 5000] [--attacks 156] [--alike]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the harness of this tree

from harness.assembly import AUDIT_COLUMNS, Measures, Texts  # noqa: E402
from harness.dataset import LabelSpace  # noqa: E402
from harness.round import Round, RoundAttack, RoundDefense, RoundImage  # noqa: E402
from harness.scoring import Flags, ScoreTable, let_go  # noqa: E402

Run = Callable[[], object]

ATTACKS, UNTARGETED, DEFENSES, IMAGES, DRAWS = 156, 91 / 156, 107, 5000, 1000


def make_table(attacks: int, images: int, alike: bool) -> ScoreTable:
    """alike: all attacks, and all defenses, of one strength, so that everybody may be somebody's hardest opponent."""
    generator, untargeted = np.random.default_rng(1), round(attacks * UNTARGETED)
    attack, defense = (generator.normal(0, 0 if alike else 0.7, size) for size in (attacks, DEFENSES))
    image = generator.normal(0, 1.5, images)
    true, target = generator.integers(1, 501, images), generator.integers(501, 1001, images)
    with tempfile.TemporaryFile() as file:
        labels = np.memmap(file, np.int32, "w+", shape=(DEFENSES, attacks, 1, images)).transpose(1, 2, 0, 3)
    for number, strength in enumerate(attack):
        logits = (defense[:, None] - strength + image[None]).astype(np.float32)
        right = generator.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))
        hit = generator.random(logits.shape, dtype=np.float32) < (0.4 if number >= untargeted else 0.0)
        labels[number, 0] = np.where(right, true, np.where(hit, target, 1 + true % 500))
        let_go(labels)
    clean = np.where(generator.random((DEFENSES, images)) < 0.93, true, 1 + true % 500)
    names = (
        tuple(f"{kind}{number:04}" for number in range(count))
        for kind, count in (("attack", attacks), ("defense", DEFENSES), ("image", images))
    )
    attackers, defenses, pictures = names
    return ScoreTable(
        attackers, untargeted, defenses, ("16",), pictures, labels, np.ones((attacks, 1, images), dtype=bool),
        clean.astype(np.int32), true.astype(np.int32), target.astype(np.int32),
    )  # fmt: skip


def make_round(table: ScoreTable) -> Round:
    attacks = tuple(
        RoundAttack(name, number >= table.untargeted, name, name, (("key",),))
        for number, name in enumerate(table.attacks)
    )
    images = tuple(
        RoundImage(name, name, name, int(true), int(target))
        for name, true, target in zip(table.images, table.true_labels, table.target_classes, strict=True)
    )
    return Round(
        tournament="scale", dataset="scale", labels=LabelSpace(), image_size=(299, 299), seed=0, rules="fair",
        batch_size=len(images), epsilons=("16",), budgets=((16,),), images=images, attacks=attacks,
        defenses=tuple(RoundDefense(name, name, name) for name in table.defenses), store="store",
    )  # fmt: skip


class Made:
    """Audits in the place of an index, made where they are asked for."""

    def __init__(self, table: ScoreTable) -> None:
        self._images = len(table.images)
        self.valid: Flags = table.valid

    def digests_of(self, attack: int) -> Texts:
        return np.array([[f"{attack:032x}{number:032x}" for number in range(self._images)]], dtype=object)

    def faults_of(self, attack: int) -> Texts:
        return np.full((1, self._images), "", dtype=object)

    def measures_of(self, attack: int) -> Measures:
        return {name: np.ones((1, self._images)) for name in AUDIT_COLUMNS}


def our_way(table: ScoreTable) -> Run:
    from harness.leaderboard import build_leaderboard

    round_ = make_round(table)
    return lambda: build_leaderboard(round_, table, Made(table), "fair")


def files_way(table: ScoreTable) -> Run:
    from harness.publish.tables import write_results

    round_, board = make_round(table), our_way(table)()

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_results(Path(folder), round_, board, table, Made(table))

    return write


def plain_way(table: ScoreTable) -> Run:
    import pandas as pd

    shape = len(table.attacks), DEFENSES, len(table.images)
    attack, defense, image = np.indices(shape, dtype=np.int16).reshape(3, -1)
    frame = pd.DataFrame({
        "attack": pd.Categorical.from_codes(attack, table.attacks),
        "defense": pd.Categorical.from_codes(defense, table.defenses),
        "image": pd.Categorical.from_codes(image, table.images),
        "label": table.labels.ravel(),
    })  # fmt: skip
    clean = pd.DataFrame(table.clean == table.true_labels, index=table.defenses, columns=table.images)
    return lambda: score_frame(frame, table, clean)


def score_frame(frame: Any, table: ScoreTable, clean: Any) -> dict[str, Any]:
    """Counts, scores, shares and their intervals from the long table."""
    import pandas as pd

    codes = frame["image"].cat.codes.to_numpy()
    frame["correct"] = frame["label"].to_numpy() == table.true_labels[codes]
    frame["hit"] = frame["label"].to_numpy() == table.target_classes[codes]
    targeted = frame["attack"].cat.codes.to_numpy() >= table.untargeted
    frame["won"] = np.where(targeted, frame["hit"], ~frame["correct"] & (frame["label"].to_numpy() >= 0))
    frame["fair"] = clean.to_numpy()[frame["defense"].cat.codes.to_numpy(), codes]
    frame["fair_won"] = frame["won"] & frame["fair"]

    def by(*keys: str) -> Any:
        return frame.groupby(list(keys), observed=True)

    found = {
        "matrix": by("attack", "defense")[["correct", "hit", "won"]].sum(),
        "epsilon": by("defense")["correct"].mean(),
        "every": by("defense", "image")["correct"].all().unstack(),
        "image": by("image")["correct"].mean(),
    }
    sums = {
        "defenses": by("defense", "image")["correct"].sum().unstack(),
        "attacks": by("attack", "image")["won"].sum().unstack(),
        "where_clean": by("attack", "image")["fair_won"].sum().unstack(),
        "clean": clean,
    }
    generator = np.random.default_rng(0)
    drawn: dict[str, list[Any]] = {name: [] for name in sums}
    for _ in range(DRAWS):
        chosen = generator.integers(0, len(table.images), len(table.images))
        for name, values in sums.items():
            drawn[name].append(values.iloc[:, chosen].mean(axis=1))
    return found | {name: pd.concat(rows, axis=1).quantile([0.025, 0.975], axis=1) for name, rows in drawn.items()}


WAYS = {"harness": our_way, "pandas": plain_way, "files": files_way}


def measure(way: str, attacks: int, images: int, alike: bool) -> None:
    """Prints what one run cost: seconds of wall and CPU (all threads), and peak memory in bytes."""
    run = WAYS[way](make_table(attacks, images, alike))
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({
        "wall seconds": seconds,
        "user CPU seconds": after.ru_utime - before.ru_utime,
        "system CPU seconds": after.ru_stime - before.ru_stime,
        "peak MB": after.ru_maxrss * 1024 / 1e6,
    }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--attacks", type=int, default=ATTACKS)
    parser.add_argument("--alike", action="store_true", help="all submissions of one strength")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["harness", "pandas"])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.attacks, arguments.images, arguments.alike)
        return
    results: dict[str, list[dict[str, float]]] = {way: [] for way in arguments.ways}
    for _ in range(arguments.repeat):
        for way, runs in results.items():
            command = [sys.executable, __file__, "--way", way]
            command += ["--images", str(arguments.images), "--attacks", str(arguments.attacks)]
            command += ["--alike"] * arguments.alike
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout))
            print(way, {name: round(value, 2) for name, value in runs[-1].items()}, file=sys.stderr)
    report(results)


def report(results: dict[str, list[dict[str, float]]]) -> None:
    for quantity in next(iter(results.values()))[0]:
        medians = {}
        for way, runs in results.items():
            values = sorted(run[quantity] for run in runs)
            medians[way] = statistics.median(values)
            print(f"{quantity:>18}  {way:<8} min {values[0]:.2f}  median {medians[way]:.2f}  max {values[-1]:.2f}")
        if len(medians) == 2:
            print(f"{quantity:>18}  ratio of medians, harness / pandas: {medians['harness'] / medians['pandas']:.3f}")


if __name__ == "__main__":
    main()
