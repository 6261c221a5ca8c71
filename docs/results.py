"""Write docs/results.md and its picture from the output folder of a run of tournaments/transfer.yaml.

python docs/results.py RUN_FOLDER        # or, with the tournament: make results DEV=FOLDER
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

DOCS = Path(__file__).resolve().parent
SURROGATE = "efficientnet_lite0"
WHITE_BOX = (SURROGATE, "keras_efficientnet_lite0")
"""Defenses that are the surrogate itself; the ensemble holds it too, and is no black box either."""

MIXED = ("efficientnet_lite_ensemble",)
COMPARED = (("mi_fgsm", "ifgsm"), ("di_fgsm", "mi_fgsm"), ("si_di_ti_mi", "di_fgsm"))
DRAWS, CONFIDENCE, SEED = 10_000, 0.95, 2017
NO_ANSWER = -1
UNATTACKED = ("noop",)

HEAD = """\
# Which attacks transfer

Every attack of the project, made on `{surrogate}` alone with epsilon 16, against every defense that runs without
further weights: the first {images} images of the 2017 development set. Made by one command, which plays the tournament
and writes this page:

    make results DEV=FOLDER      # FOLDER holds images/ and dev_dataset.csv

A cell is the share of all images on which the attack reached its aim. *Black box* is the mean over the defenses that
hold no part of the surrogate, with the 95 % percentile interval of a bootstrap over images; the last column counts only
images that the defense classifies correctly when they are clean. No image is removed, no parameter was tuned on these
images, and an attack knows no true label: it goes by the surrogate's answer."""

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Games:
    """wins[attack]: bool defenses x images, whether the attack reached its aim; correct: the clean images' answers."""

    defenses: tuple[str, ...]
    correct: Flags
    wins: dict[str, Flags]
    targeted: frozenset[str]

    def black_box(self) -> list[int]:
        return [n for n, name in enumerate(self.defenses) if name not in WHITE_BOX + MIXED]


def read_games(run: Path) -> Games:
    """From predictions.parquet: an untargeted attack wins with a wrong answer, a targeted one with its target."""
    table = pd.read_parquet(run / "predictions.parquet")
    table["label"] = table["label"].fillna(NO_ANSWER).astype(int)
    defenses = tuple(sorted(table["defense"].unique(), key=lambda name: (name not in WHITE_BOX, name)))

    def by_defense(games: pd.DataFrame, flags: pd.Series) -> Flags:
        return (
            games.assign(flag=flags)
            .pivot(index="defense", columns="image", values="flag")
            .loc[[*defenses]]
            .to_numpy(bool)
        )

    right, answered = table["label"] == table["true_label"], table["label"] != NO_ANSWER
    aims = (answered & ~right).where(~table["targeted"], table["label"] == table["target_class"])
    played = {str(name): games for name, games in table.groupby("attack", sort=False)}
    clean = played.pop("clean")
    wins = {name: by_defense(games, aims[games.index]) for name, games in played.items()}
    targeted = frozenset(name for name, games in played.items() if games["targeted"].any())
    return Games(defenses, by_defense(clean, right[clean.index]), wins, targeted)


def interval(by_image: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images, N."""
    generator = np.random.default_rng(SEED)
    weights = generator.multinomial(len(by_image), np.full(len(by_image), 1 / len(by_image)), size=DRAWS)
    means = weights @ by_image / len(by_image)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def black_box_rate(games: Games, attack: str) -> npt.NDArray[np.float64]:
    """For each image the share of black-box defenses that the attack wins against, float64 N."""
    return games.wins[attack][games.black_box()].mean(axis=0)


def with_interval(by_image: npt.NDArray[np.float64], sign: str = "") -> str:
    low, high = interval(by_image)
    return f"{100 * by_image.mean():{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def attack_table(games: Games, names: Sequence[str]) -> Iterable[str]:
    """Rows attacks, columns defenses, percent of all images; the last columns are the mean over black boxes."""
    heads = [short(name) for name in games.defenses]
    yield "| attack | " + " | ".join(heads) + " | black box, all images | black box, where clean is correct |"
    yield "|---|" + "---:|" * (len(heads) + 2)
    places = games.black_box()
    for name in sorted(names, key=lambda name: -black_box_rate(games, name).mean()):
        cells = [f"{100 * share:.0f}" for share in games.wins[name].mean(axis=1)]
        counted = games.wins[name][places][games.correct[places]].mean()
        yield f"| {name} | {' | '.join(cells)} | {with_interval(black_box_rate(games, name))} | {100 * counted:.1f} |"


def comparison_table(games: Games) -> Iterable[str]:
    """How much more often the better attack wins against black boxes, images resampled in pairs."""
    yield "| better | than | percentage points more, black box |"
    yield "|---|---|---:|"
    for better, other in COMPARED:
        difference = black_box_rate(games, better) - black_box_rate(games, other)
        yield f"| {better} | {other} | {with_interval(difference, '+')} |"


def defense_table(games: Games) -> Iterable[str]:
    untargeted = [won for name, won in games.wins.items() if name not in games.targeted and name not in UNATTACKED]
    yield "| defense | clean accuracy | mean accuracy under the untargeted attacks (without noop) |"
    yield "|---|---:|---:|"
    rows = [
        (np.mean([1 - won[number].mean() for won in untargeted]), games.correct[number], name)
        for number, name in enumerate(games.defenses)
    ]
    for robust, correct, name in sorted(rows, key=lambda row: -row[0]):
        yield f"| {name} | {with_interval(correct.astype(float))} | {100 * robust:.1f} |"


def not_played(games: Games) -> list[str]:
    """Submissions of tournaments/transfer.yaml that the run did not hold."""
    folder = DOCS.parent / "tournaments"
    patterns = yaml.safe_load((folder / "transfer.yaml").read_text())["submissions"]
    names = {path.name for pattern in patterns for path in folder.glob(pattern)}
    return sorted(names - {*games.defenses, *games.wins})


def short(name: str) -> str:
    return name.replace("efficientnet_", "").replace("_", " ")


def draw(games: Games, path: Path) -> None:
    """The untargeted attacks against the defenses as a map of colours."""
    names = [name for name in games.wins if name not in games.targeted]
    names.sort(key=lambda name: black_box_rate(games, name).mean())
    shares = np.array([100 * games.wins[name].mean(axis=1) for name in names])
    figure, axes = plt.subplots(
        figsize=(1.6 + 0.62 * len(games.defenses), 1.6 + 0.3 * len(names)), layout="constrained"
    )
    axes.imshow(shares, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(range(len(games.defenses)), map(short, games.defenses), rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{share:.0f}", ha="center", va="center", color="white" if share > 55 else "black", size=8
        )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    plt.rcParams["svg.hashsalt"] = "results"
    figure.savefig(path, metadata={"Date": None})


def targeted_part(games: Games) -> Iterable[str]:
    if games.targeted:
        yield "## Targeted attacks: images classified as the target, %"
        yield "\n".join(attack_table(games, sorted(games.targeted)))


def page(run: Path, games: Games) -> str:
    board = json.loads((run / "leaderboard.json").read_text())
    if not board["complete"]:
        raise SystemExit(f"error: {run}: {board['missing_answers']} answers are not known yet; finish the run first")
    untargeted = [name for name in games.wins if name not in games.targeted]
    images = board["dataset"]["images"]
    parts = [
        HEAD.format(images=images, surrogate=SURROGATE),
        *([f"**Not measured yet:** {', '.join(absent)}."] if (absent := not_played(games)) else []),
        "![Attack success](images/results.svg)",
        "## Untargeted attacks: images misclassified, %",
        "\n".join(attack_table(games, untargeted)),
        "## Does the next idea transfer better?",
        "\n".join(comparison_table(games)),
        *targeted_part(games),
        "## Defenses, %",
        "\n".join(defense_table(games)),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    run = Path(sys.argv[1])
    games = read_games(run)
    draw(games, DOCS / "images" / "results.svg")
    (DOCS / "results.md").write_text(page(run, games))


if __name__ == "__main__":
    main()
