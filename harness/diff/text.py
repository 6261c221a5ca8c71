"""A comparison of two runs in plain words: the headline, what is different, and who moved because of what."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from harness.errors import printable
from harness.publish.cells import TITLES

Row = dict[str, Any]

MOST = 20
"""Submissions of one ranking that are told of one by one."""

NAMES = 8
"""Names that are listed in one line."""

KINDS = {"added": "new", "removed": "gone", "holes": "unknown answers"}
OWN = {"code": "own code", "container": "own container", "conditions": "own conditions"}
PARTS = {
    "opponents": "who plays",
    "images": "images",
    "epsilons": "budgets",
    "labels": "labels",
    "rules": "rules",
    "holes": "unknown answers",
    "opponents_changed": "changed opponents",
    "both_changed": "both sides changed",
}


class Line(NamedTuple):
    """indent: of the first line; hanging: of those that it is broken into. mood: 1 better, -1 worse, 0 neither."""

    text: str
    indent: int = 0
    hanging: int = 0
    mood: int = 0
    title: bool = False


def lines_of(diff: Row) -> Iterator[Line]:
    """The whole comparison, most important first."""
    yield Line(_headline(diff), title=True)
    for key in ("before", "after"):
        yield Line(f"{key + ':':<8}{_about(diff[key])}", hanging=8)
    if diff["causes"]:
        yield Line("")
        yield Line("What is different", title=True)
        for cause in diff["causes"]:
            yield Line(f"{KINDS.get(cause['kind'], cause['kind'].replace('_', ' ')):<18}{_cause(cause, diff)}", 2, 20)
    for key, title in TITLES.items():
        yield from _ranking(title, diff[key], diff["tests"]["alpha"])


def _headline(diff: Row) -> str:
    moved, rows = diff["moved"], [row for key in TITLES for row in diff[key]]
    if not moved["any"]:
        return "nothing moved"
    ranks = sum(row["status"] == "both" and row["rank_change"] != 0 for row in rows)
    scores = sum(bool(row["change"]) for row in rows)
    alpha = diff["tests"]["alpha"]
    counts = {
        "new": sum(row["status"] == "added" for row in rows),
        "gone": sum(row["status"] == "removed" for row in rows),
        "moved in rank": ranks,
        "in score": scores,
        "by more than chance": sum(_is_significant(row, alpha) for row in rows),
    }
    told = [f"{count} {words}" for words, count in counts.items() if count]
    return f"of {len(rows)} submissions {', '.join(told)}" if told else "no rank and no score moved"


def _about(side: Row) -> str:
    unfinished = "" if side["complete"] else f", incomplete: {side['missing_answers']} answers are not known"
    dataset, epsilons = side["dataset"], ", ".join(side["epsilons"])
    images = f"{dataset['images']} images of {dataset['name']}"
    return f"{side['tournament']}: {images}, epsilon {epsilons}, rules {side['rules']}{unfinished}"


# --- what is different


def _cause(cause: Row, diff: Row) -> str:
    tell = CAUSES.get(cause["kind"], _values)
    return tell(cause, diff)


def _values(cause: Row, diff: Row) -> str:
    return f"{_plain(cause['before'])} → {_plain(cause['after'])}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "none" if value is None else str(value)


def _facts(cause: Row, diff: Row) -> str:
    """Only the entries that are not equal."""
    before, after = cause["before"], cause["after"]
    names = [name for name in before if before[name] != after[name]]
    return ", ".join(f"{name} {_plain(before[name])} → {_plain(after[name])}" for name in names)


def _who(cause: Row, diff: Row) -> str:
    names = [f"{one['type'].replace('_', ' ')} {one['name']}" for one in cause["submissions"]]
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


def _digests(cause: Row, diff: Row) -> str:
    before, after = (one.removeprefix("process:").removeprefix("sha256:")[:12] for one in _ends(cause))
    return f"{_who(cause, diff)} ({before} → {after})"


def _ends(cause: Row) -> tuple[str, str]:
    return cause["before"], cause["after"]


def _renamed(cause: Row, diff: Row) -> str:
    return f"{cause['submissions'][0]['type'].replace('_', ' ')} {cause['before']} → {cause['after']}"


def _unavailable(cause: Row, diff: Row) -> str:
    when = "before" if cause["after"] is None else "after"
    return f"{_who(cause, diff)}, only {when}: {cause[when]}"


def _images(cause: Row, diff: Row) -> str:
    shared = diff["shared"]
    other = f"; {shared['other_pixels']} have the same id and other pixels" if shared["other_pixels"] else ""
    if shared["only_before"] == shared["only_after"] == 0:
        return f"the same {shared['images']} under other names or in another order"
    return f"{shared['images']} shared, {shared['only_before']} only before, {shared['only_after']} only after{other}"


def _labels(cause: Row, diff: Row) -> str:
    shared = diff["shared"]
    true, target = shared["other_true_labels"], shared["other_target_classes"]
    return f"of the shared images {true} have another true label, {target} another target class"


def _chance(cause: Row, diff: Row) -> str:
    return f"{_who(cause, diff)}: asked the same again, and not all of the output is the same"


def _conditions(cause: Row, diff: Row) -> str:
    return f"{_who(cause, diff)}: the same code, another player (seed, limits, GPU or container)"


CAUSES: dict[str, Callable[[Row, Row], str]] = {
    "added": _who,
    "removed": _who,
    "code": _digests,
    "renamed": _renamed,
    "unavailable": _unavailable,
    "images": _images,
    "labels": _labels,
    "label_space": _facts,
    "chance": _chance,
    "container": _digests,
    "conditions": _conditions,
    "limits": _facts,
    "versions": _facts,
    "machine": _facts,
}
"""How each kind is told; those that are not here are told by their values."""


# --- who moved


def _ranking(title: str, rows: list[Row], alpha: float) -> Iterator[Line]:
    moved = sorted((row for row in rows if _has_moved(row)), key=lambda row: _importance(row, alpha))
    if not moved:
        return
    yield Line("")
    yield Line(title, title=True)
    for row in moved[:MOST]:
        yield from _entry(row, alpha)
    if len(moved) > MOST:
        yield Line(f"and {len(moved) - MOST} more that moved; --json has all of them", 2)
    if len(rows) > len(moved):
        yield Line(f"{len(rows) - len(moved)} did not move", 2)


def _has_moved(row: Row) -> bool:
    return bool(row["status"] != "both" or row["rank_change"] or row["change"] or any(row["parts"].values()))


def _importance(row: Row, alpha: float) -> tuple[bool, bool, int, float, str]:
    """The lowest comes first."""
    one = row["status"] != "both"
    return one, not _is_significant(row, alpha), -abs(row["rank_change"] or 0), -abs(row["change"] or 0), row["name"]


def _is_significant(row: Row, alpha: float) -> bool:
    return row["like_with_like"] is not None and row["like_with_like"]["p_adjusted"] <= alpha


def _entry(row: Row, alpha: float) -> Iterator[Line]:
    name = row["name"] if row["renamed_from"] is None else f"{row['name']} (was {row['renamed_from']})"
    if row["status"] != "both":
        word, place = ("new", row["after"]) if row["status"] == "added" else ("gone", row["before"])
        yield Line(f"{word}: {name}, rank {place['rank']}, score {place['normalised']:.3f}", 2, 6)
        return
    before, after, change = row["before"], row["after"], row["change"]
    ranks = f"#{after['rank']}" if row["rank_change"] == 0 else f"#{before['rank']} → #{after['rank']}"
    score = f"{before['normalised']:.3f} → {after['normalised']:.3f} ({change:+.3f})"
    yield Line(f"{ranks}  {name}  {score}", 2, 6, (change > 0) - (change < 0))
    yield Line("; ".join(_reasons(row, alpha)), 6, 6)


def _reasons(row: Row, alpha: float) -> Iterator[str]:
    if any(row["parts"].values()):
        yield f"because of {_because(row)}"
    if row["like_with_like"]:
        yield _alike(row["like_with_like"], alpha)
    if row["rank_change"]:
        overlap = "they overlap" if row["rank_intervals_overlap"] else "they do not overlap"
        yield f"possible ranks {_range(row['before'])} before, {_range(row['after'])} after, {overlap}"


def _because(row: Row) -> str:
    parts = sorted(((name, value) for name, value in row["parts"].items() if value), key=lambda one: -abs(one[1]))
    return ", ".join(f"{PARTS.get(name) or _own(row['own'])} {value:+.3f}" for name, value in parts)


def _own(own: Row) -> str:
    """Why its own answers are others."""
    return OWN.get(own["differs_in"]) or ("chance" if own["by_chance"] else "other batches")


def _alike(alike: Row, alpha: float) -> str:
    if alike["difference"] == 0 and alike["p"] == 1:
        return "like with like no difference"
    low, high = alike["interval"]
    judged = "more than chance" if alike["p_adjusted"] <= alpha else "may be chance"
    return (
        f"like with like {alike['difference']:+.3f} ({low:+.3f} to {high:+.3f}), p {alike['p_adjusted']:.3f}, {judged}"
    )


def _range(place: Row) -> str:
    low, high = place["rank_interval"]
    return str(low) if low == high else f"{low}-{high}"


def safe(line: Line) -> Line:
    """Names and reasons are anybody's."""
    return line._replace(text=printable(line.text))
