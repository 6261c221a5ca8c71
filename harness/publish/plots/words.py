"""What each figure shows, in words: its main finding, from the same numbers, for those who do not see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import printable

Row = Mapping[str, Any]
Matrix = npt.NDArray[np.float64]

NAMED = 3
"""So many are named one by one; of more the text says how many."""

NOUNS = {"attacks": "attack", "targeted_attacks": "targeted attack", "defenses": "defense"}


def about_accuracy(values: Matrix, rows: Sequence[str], columns: Sequence[str]) -> str:
    """values: attacks x defenses."""
    text = f"Heat map of accuracy: {plural(len(columns), 'defense')} under {plural(len(rows), 'attack')}."
    row, column = divmod(int(np.argmin(values)), values.shape[1])
    means = values.mean(axis=0)
    best = int(means.argmax())
    return (
        f"{text} The lowest is {percent(values[row, column])}, of {named(columns[column])} under {named(rows[row])}. "
        f"The highest average is {percent(means[best])}, of {named(columns[best])}."
    )


def about_hits(values: Matrix, rows: Sequence[str], columns: Sequence[str]) -> str:
    """values: targeted attacks x defenses."""
    row, column = divmod(int(np.argmax(values)), values.shape[1])
    return (
        f"Heat map of target hits: {plural(len(rows), 'targeted attack')} against {plural(len(columns), 'defense')}. "
        f"The highest is {percent(values[row, column])}, of {named(rows[row])} against {named(columns[column])}."
    )


def about_ranks(side: str, rows: Sequence[Row]) -> str:
    """rows: of the board, the best first."""
    first = rows[0]
    low, high = first["interval"]
    others, (best, worst) = len(rows) - 1, first["rank_interval"]
    alike = f"cannot be told from {worst - best} of {plural(others, 'other')}"
    rest = alike if worst > best else "stands apart from all others"
    tiers = plural(max(row["tier"] for row in rows), "tier")
    told = f" and {rest}" if len(rows) > 1 else ""
    score = f"{percent(first['normalised'])} ({percent(low)} to {percent(high)})"
    return (
        f"Scores and ranks of {plural(len(rows), NOUNS[side])} with their intervals, in {tiers}. "
        f"The best is {named(first['name'])} with {score}{told}."
    )


def about_costs(side: str, rows: Sequence[Row]) -> str:
    """rows: of the report's costs, each with a time."""
    best = sorted((row for row in rows if row["on_front"]), key=lambda row: (-row["score"], row["name"]))
    words = [f"{named(row['name'])} ({percent(row['score'])} in {row['seconds_per_100_images']:.3g} s)" for row in best]
    return (
        f"Score against seconds per 100 images of {plural(len(rows), NOUNS[side])}. "
        f"Nobody has both a higher score and less time than {listed(words)}."
    )


def about_curves(side: str, budgets: Sequence[int], rows: Sequence[Row]) -> str:
    """rows: of the report's curves."""
    known = [row for row in rows if row["mean"][-1] is not None]
    text = f"Panels of {plural(len(rows), NOUNS[side])} at epsilon {listed([str(b) for b in budgets], len(budgets))}."
    if not known:
        return text
    best = max(known, key=lambda row: row["mean"][-1]["normalised"])
    share = "accuracy over all attacks" if side == "defenses" else "share of answers won"
    before, after = best["mean"][0], best["mean"][-1]
    return (
        f"{text} At {budgets[-1]} the highest {share} is {percent(after['normalised'])}, of {named(best['name'])}, "
        f"which has {percent(before['normalised'] if before else None)} where nobody attacks."
    )


def about_images(average: Sequence[float], best: Sequence[float]) -> str:
    """Shares of each image."""
    lost, safe = sum(share == 1 for share in best), sum(share == 0 for share in best)
    return (
        f"Two sorted curves over {plural(len(best), 'image')}. {lost} are lost by every defense to at least one attack "
        f"and {safe} are lost by none to any. For half of the images at most {percent(float(np.median(average)))} "
        "of all answers are wrong."
    )


def about_likeness(side: str, table: Mapping[str, Any]) -> str:
    """table: of the report's likeness, with a measure."""
    names, values = table["names"], np.array(table[table["judged"]], dtype=float)
    one, other = np.triu_indices(len(names), k=1)
    measure = "mean cosine of perturbations" if side == "attacks" else "share of errors in common"
    text = f"Heat map of the {measure} between {plural(len(names), NOUNS[side])}."
    pairs = values[one, other]
    if np.isnan(pairs).all():
        return text
    top = int(np.nanargmax(pairs))
    clones = int(np.nansum(pairs >= table["threshold"]))
    verdict = f"{plural(clones, 'pair')} of clones" if clones else "no pair of clones"
    return (
        f"{text} The most alike are {named(names[one[top]])} and {named(names[other[top]])} with {pairs[top]:.2f}; "
        f"from {table['threshold']:.2f} on there is {verdict}."
    )


def about_game(game: Mapping[str, Any]) -> str:
    """game: of the board."""
    sides = [
        listed([f"{named(name)} {percent(share)}" for name, share in mixture if share > 0])
        for mixture in (_largest_first(game["attack_mixture"]), _largest_first(game["defense_mixture"]))
    ]
    return (
        f"Shares with which each side plays if both mix at their best; {percent(game['value'])} of the images are then "
        f"fooled. Attacks: {sides[0]}. Defenses: {sides[1]}."
    )


def _largest_first(mixture: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(mixture.items(), key=lambda item: (-item[1], item[0]))


def named(name: str) -> str:
    """One line, whoever wrote it."""
    return " ".join(printable(name, 120).split())


def percent(share: float | None) -> str:
    """A share in words: 91.6 %."""
    return "an unknown share" if share is None else f"{100 * share:.1f} %"


def listed(items: Sequence[str], most: int = NAMED) -> str:
    """`a, b and c`, or `a, b, c and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
