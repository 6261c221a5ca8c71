"""What is different about two runs, from their digests and what they noted; nothing is concluded from scores."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from harness.diff.match import Entrant, Field, SharedCells
from harness.publish.evidence import Evidence
from harness.publish.provenance import published_provenance
from harness.records import Role
from harness.round import Round


class Kind(StrEnum):
    """What may be different, most important first; `docs/diff.md` has a row for each."""

    ADDED = "added"
    REMOVED = "removed"
    CODE = "code"
    RENAMED = "renamed"
    UNAVAILABLE = "unavailable"
    IMAGES = "images"
    LABELS = "labels"
    LABEL_SPACE = "label_space"
    RULES = "rules"
    EPSILONS = "epsilons"
    HOLES = "holes"
    CHANCE = "chance"
    CONTAINER = "container"
    CONDITIONS = "conditions"
    SEED = "seed"
    LIMITS = "limits"
    BATCH_SIZE = "batch_size"
    VERSIONS_PER_CALL = "versions_per_call"
    SANDBOX = "sandbox"
    VERSIONS = "versions"
    MACHINE = "machine"


@dataclass(frozen=True)
class Cause:
    """before, after: plain JSON, None where that says nothing. submissions: (role, name) of those concerned."""

    kind: Kind
    before: Any = None
    after: Any = None
    submissions: tuple[tuple[Role, str], ...] = ()

    def plain(self) -> dict[str, Any]:
        submissions = [{"type": role.value, "name": name} for role, name in self.submissions]
        return {"kind": self.kind.value, "before": self.before, "after": self.after, "submissions": submissions}


def of_submissions(field: Field) -> Iterator[Cause]:
    """Who came, who went, and who is not what it was."""
    for kind, ones in ((Kind.ADDED, field.added), (Kind.REMOVED, field.removed)):
        yield from (Cause(kind, submissions=(one.who,)) for one in ones)
    for one, other in field.both:
        yield from _of_pair(one, other)


def of_unavailable(before: Round, after: Round) -> Iterator[Cause]:
    """Who could not be played in one of the two, with the reason."""
    old, new = ({(one.type, one.name): one.reason for one in round_.unavailable} for round_ in (before, after))
    for who in sorted(old.keys() ^ new.keys()):
        yield Cause(Kind.UNAVAILABLE, old.get(who), new.get(who), (who,))


def _of_pair(before: Entrant, after: Entrant) -> Iterator[Cause]:
    who = (after.who,)
    if before.name != after.name:
        yield Cause(Kind.RENAMED, before.name, after.name, who)
    if before.submission != after.submission:
        yield Cause(Kind.CODE, before.submission, after.submission, who)
    if _differ(before.container, after.container):
        yield Cause(Kind.CONTAINER, before.container, after.container, who)
    if identity(before, after) == Kind.CONDITIONS:
        yield Cause(Kind.CONDITIONS, submissions=who)


def identity(before: Entrant, after: Entrant) -> Kind | None:
    """What makes one submission another player, None where it is the same: code, else container, else conditions."""
    if before.player == after.player:
        return None
    if before.submission != after.submission:
        return Kind.CODE
    return Kind.CONTAINER if _differ(before.container, after.container) else Kind.CONDITIONS


def of_rounds(before: Evidence, after: Evidence, cells: SharedCells) -> Iterator[Cause]:
    """What the two tournaments set differently."""
    old, new = before.round, after.round
    if [(one.id, one.clean) for one in old.images] != [(one.id, one.clean) for one in new.images]:
        yield Cause(Kind.IMAGES, _dataset(old), _dataset(new))
    if any(other_labels(before, after, cells)):
        yield Cause(Kind.LABELS)
    if _other_budgets(before, after, cells):
        yield Cause(Kind.EPSILONS, list(old.epsilons), list(new.epsilons))
    values: tuple[tuple[Kind, Callable[[Round], Any]], ...] = (
        (Kind.LABEL_SPACE, lambda one: one.labels.model_dump(mode="json")),
        (Kind.SEED, lambda one: one.seed),
        (Kind.BATCH_SIZE, lambda one: one.batch_size),
    )
    for kind, value in values:
        if value(old) != value(new):
            yield Cause(kind, value(old), value(new))
    if before.table.holes != after.table.holes:
        yield Cause(Kind.HOLES, before.table.holes, after.table.holes)


def other_labels(before: Evidence, after: Evidence, cells: SharedCells) -> tuple[int, int]:
    """Of how many shared pictures the true label is another, and of how many the target class."""
    old, new = cells.images_before, cells.images_after
    true = before.table.true_labels[old] != after.table.true_labels[new]
    target = before.table.target_classes[old] != after.table.target_classes[new]
    return int(np.count_nonzero(true)), int(np.count_nonzero(target))


def other_pixels(before: Round, after: Round) -> int:
    """How many pictures have the same id in both runs and other pixels."""
    known = {image.id: image.clean for image in before.images}
    return sum(image.clean != known.get(image.id, image.clean) for image in after.images)


def _other_budgets(before: Evidence, after: Evidence, cells: SharedCells) -> bool:
    axes = before.round.epsilons, after.round.epsilons
    return axes[0] != axes[1] or len(cells.image) != len(axes[0]) * cells.images


def _dataset(round_: Round) -> dict[str, Any]:
    return {"name": round_.dataset, "digest": round_.dataset_digest, "images": len(round_.images)}


def of_provenance(before: Evidence, after: Evidence) -> Iterator[Cause]:
    """What the two runs noted of how they were played; what one of them did not note is not compared."""
    old, new = (_noted(published_provenance(evidence.provenance)) for evidence in (before, after))
    for kind in (Kind.LIMITS, Kind.VERSIONS_PER_CALL, Kind.SANDBOX):
        if _differ(old[kind], new[kind]):
            yield Cause(kind, old[kind], new[kind])
    for kind in (Kind.VERSIONS, Kind.MACHINE):
        names = [name for name in sorted(old[kind] | new[kind]) if _differ(old[kind].get(name), new[kind].get(name))]
        if names:
            before_facts, after_facts = ({name: one[kind][name] for name in names} for one in (old, new))
            yield Cause(kind, before_facts, after_facts)


def _noted(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """By kind; None, or without the key, where the run did not note it."""
    machine, slots = provenance["machine"], provenance["slots"]
    versions = {"harness": provenance["harness"], "python": machine["python"]} | provenance["packages"]
    facts = {name: machine[name] for name in ("system", "cores", "memory")}
    facts |= {"slots": len(slots), "cores of each slot": [len(one["cores"]) for one in slots]}
    gpu = {"gpu": any(one["gpu"] for one in slots)} if slots else {}
    return {
        Kind.LIMITS: provenance["limits"],
        Kind.VERSIONS_PER_CALL: provenance["versions_per_call"],
        Kind.SANDBOX: provenance["sandbox"] or None,
        Kind.VERSIONS: {name: value for name, value in versions.items() if value},
        Kind.MACHINE: {name: value for name, value in facts.items() if value} | gpu,
    }


def _differ(before: Any, after: Any) -> bool:
    """Whether both are known and are not equal."""
    return before is not None and after is not None and before != after


def grouped(causes: Iterable[Cause]) -> list[Cause]:
    """Most important first; those that differ in nothing but the submission are one."""
    groups: dict[tuple[Kind, str], list[Cause]] = {}
    for cause in causes:
        what = json.dumps([cause.before, cause.after], sort_keys=True)
        groups.setdefault((cause.kind, what), []).append(cause)
    merged = [
        Cause(same[0].kind, same[0].before, same[0].after, tuple(who for cause in same for who in cause.submissions))
        for same in groups.values()
    ]
    return sorted(merged, key=lambda cause: list(Kind).index(cause.kind))
