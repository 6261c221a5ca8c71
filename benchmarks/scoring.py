"""Scoring a table of the size of 2017: the board of `harness score` against the plain pandas way.

156 attacks, 91 of them untargeted, 107 defenses, 5000 images, one epsilon: 83 million answers. Attacks and defenses
are of many strengths, images easy or hard for all of them. Ours is `build_leaderboard` as it is: every number of
`leaderboard.json`. The plain way is a long table, `groupby` for the same counts, scores and shares, and a loop of 1000
resamples of its image x submission sums for their intervals; it has no worst cases with intervals, tests, tiers, game
or difficulty. Making the table is left out of both. Each runs in a process of its own, one after the other in turn;
peak memory is that of the process, the table included.

    python benchmarks/scoring.py [--repeat 3] [--images 5000] [--alike]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the harness of this tree

from harness.assembly import AUDIT_COLUMNS, AuditTable  # noqa: E402
from harness.dataset import LabelSpace  # noqa: E402
from harness.round import Round, RoundAttack, RoundDefense, RoundImage  # noqa: E402
from harness.scoring import ScoreTable  # noqa: E402

Run = Callable[[], object]

ATTACKS, UNTARGETED, DEFENSES, IMAGES, DRAWS = 156, 91, 107, 5000, 1000


def make_table(images: int, alike: bool) -> ScoreTable:
    """alike: all attacks, and all defenses, of one strength, so that everybody may be somebody's hardest opponent."""
    generator = np.random.default_rng(1)
    attack, defense = (generator.normal(0, 0 if alike else 0.7, size) for size in (ATTACKS, DEFENSES))
    image = generator.normal(0, 1.5, images)
    true, target = generator.integers(1, 501, images), generator.integers(501, 1001, images)
    labels = np.empty((ATTACKS, 1, DEFENSES, images), dtype=np.int32)
    for number, strength in enumerate(attack):
        logits = (defense[:, None] - strength + image[None]).astype(np.float32)
        right = generator.random(logits.shape, dtype=np.float32) < 1 / (1 + np.exp(-logits))
        hit = generator.random(logits.shape, dtype=np.float32) < (0.4 if number >= UNTARGETED else 0.0)
        labels[number, 0] = np.where(right, true, np.where(hit, target, 1 + true % 500))
    clean = np.where(generator.random((DEFENSES, images)) < 0.93, true, 1 + true % 500)
    attacks, defenses, pictures = (
        tuple(f"{kind}{number:04}" for number in range(count))
        for kind, count in (("attack", ATTACKS), ("defense", DEFENSES), ("image", images))
    )
    return ScoreTable(
        attacks, UNTARGETED, defenses, ("16",), pictures, labels, np.ones((ATTACKS, 1, images), dtype=bool),
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


def make_audits(table: ScoreTable) -> AuditTable:
    shape = table.valid.shape
    digests = np.array([f"{number:064x}" for number in range(table.valid.size)], dtype=object).reshape(shape)
    return AuditTable(digests, np.full(shape, "", dtype=object), {name: np.ones(shape) for name in AUDIT_COLUMNS})


def our_way(table: ScoreTable) -> Run:
    from harness.leaderboard import build_leaderboard

    round_, audits = make_round(table), make_audits(table)
    return lambda: build_leaderboard(round_, table, audits, "fair")


def plain_way(table: ScoreTable) -> Run:
    import pandas as pd

    attack, defense, image = np.indices((ATTACKS, DEFENSES, len(table.images)), dtype=np.int16).reshape(3, -1)
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


WAYS = {"harness": our_way, "pandas": plain_way}


def measure(way: str, images: int, alike: bool) -> None:
    """Prints what one run cost: seconds of wall and CPU (all threads), and peak memory in bytes."""
    run = WAYS[way](make_table(images, alike))
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
    parser.add_argument("--alike", action="store_true", help="all submissions of one strength")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.images, arguments.alike)
        return
    results: dict[str, list[dict[str, float]]] = {way: [] for way in arguments.ways}
    for _ in range(arguments.repeat):
        for way, runs in results.items():
            command = [sys.executable, __file__, "--way", way, "--images", str(arguments.images)]
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
