"""Is a defense a function of one image? The same pictures again, in another order, under other names, one by one.

What a defense has labelled once is never sent again, and the scores of all attacks rest on that (docs/rules.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from harness.baseline import wilson_interval
from harness.check.report import Check, Level, Report, count, some
from harness.check.smoke import all_well
from harness.digest import digest_value
from harness.records import Call, Outcome

SEED = 2017

LAST_BITS_SHARE = 0.05
"""The last bits of a sum depend on the size of a batch, and so may an answer between two classes that tie; more than
this share of the answers never does."""

Answers = Mapping[str, int | None]
"""Digest of the image -> label, None where there was none that counts."""


def answers_of(*outcomes: Outcome) -> dict[str, int | None]:
    return {answer.digest: answer.label for outcome in outcomes for answer in outcome.predictions}


def renamed(call: Call) -> Call:
    """Other names, of the same kind and in the same order."""
    names = sorted(f"{digest_value('check', [SEED, name])[:16]}.png" for name in call.images)
    return _showing(call, dict(zip(names, call.images.values(), strict=True)))


def reordered(call: Call) -> Call:
    """The same names, the images shuffled among them."""
    digests = list(call.images.values())
    shuffled = Random(SEED).sample(digests, len(digests))
    if shuffled == digests:
        shuffled.reverse()
    return _showing(call, dict(zip(call.images, shuffled, strict=True)))


def singles(call: Call, most: int) -> list[Call]:
    """One call for each of the first `most` images, under the name that it had."""
    return [_showing(call, {name: digest}) for name, digest in list(call.images.items())[:most]]


def first_of(call: Call, images: int) -> Call:
    """The same call with its first images only."""
    return _showing(call, dict(list(call.images.items())[:images]))


def _showing(call: Call, images: dict[str, str]) -> Call:
    unit = replace(call.unit, inputs=digest_value("inputs", list(images.items())))
    return replace(call, unit=unit, images=images)


@dataclass(frozen=True)
class Comparison:
    """compared: how many answers there are of both. changed: digests of those that differ."""

    compared: int
    changed: tuple[str, ...]

    @property
    def share(self) -> float:
        return len(self.changed) / self.compared if self.compared else 0.0

    def interval(self) -> tuple[float, float]:
        return wilson_interval(len(self.changed), self.compared)


def compare(before: Answers, outcomes: Iterable[Outcome]) -> Comparison:
    """What answers there are in `outcomes` against those of before; an image may have several, or none."""
    after = [(answer.digest, answer.label) for outcome in outcomes for answer in outcome.predictions]
    changed = {digest: None for digest, label in after if before[digest] != label}
    return Comparison(len({digest for digest, _ in after}), tuple(changed))


class Judge:
    """Compares each set of answers with the first ones. ids: digest -> image id. deterministic: what
    its metadata says: one that is random by its own word may change its mind, but not more where the order changes.
    """

    def __init__(self, first: Answers, ids: Mapping[str, str], *, deterministic: bool, report: Report) -> None:
        self._first, self._ids, self._deterministic, self._report = first, ids, deterministic, report
        self._noise = Comparison(0, ())

    def again(self, outcomes: Sequence[Outcome]) -> None:
        """The very same calls a second time."""
        how = "when the same call was made again"
        if not all_well(outcomes, Check.AGAIN, how, self._report):
            return
        found = self._noise = compare(self._first, outcomes)
        if found.changed and self._deterministic:
            why = (
                "a defense is a function of one image; seed what is random by HARNESS_SEED and the image, or say "
                "deterministic: false in metadata.json"
            )
            self._add(Level.ERROR, Check.AGAIN, how, found, why)
        elif found.changed:
            self._add(Level.OK, Check.AGAIN, how, found, "its metadata says that it is not deterministic")
        else:
            self._add(Level.OK, Check.AGAIN, how, found)

    def other(self, check: Check, how: str, outcomes: Sequence[Outcome], why: str) -> None:
        """Calls that should make no difference. how: 'in another order'. why: the rule, and what to do."""
        if not all_well(outcomes, check, how, self._report):
            return
        found = compare(self._first, outcomes)
        if not found.changed:
            self._add(Level.OK, check, how, found)
        elif self._noise.changed and not self._is_more_than_noise(found):
            same = f"no more than when nothing changed ({len(self._noise.changed)} of {self._noise.compared})"
            self._add(Level.SKIPPED, check, how, found, same)
        elif check is Check.BATCH and found.share <= LAST_BITS_SHARE:
            bits = "so few may be ties between two classes, decided by the last bits of a sum"
            self._add(Level.WARNING, check, how, found, bits)
        else:
            self._add(Level.ERROR, check, how, found, why)

    def _is_more_than_noise(self, found: Comparison) -> bool:
        return found.interval()[0] > self._noise.interval()[1]

    def _add(self, level: Level, check: Check, how: str, found: Comparison, why: str = "") -> None:
        changed = sorted(self._ids[digest] for digest in found.changed)
        verb = "was" if found.compared == 1 else "were"
        if changed:
            text = f"{len(changed)} of {count(found.compared, 'answer')} changed {how} ({some(changed)})"
        else:
            text = f"{count(found.compared, 'answer')} {verb} the same {how}"
        values = {"compared": found.compared, "changed": len(changed)}
        self._report.add(level, check, f"{text}; {why}" if why else text, images=changed, values=values)
