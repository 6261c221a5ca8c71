"""What no run could have written: numbers of the evidence that contradict one another."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from harness.assembly import image_budgets
from harness.publish.evidence import ATTACK_IMAGES, PREDICTIONS, PROVENANCE, Evidence
from harness.scoring import UNKNOWN

MOST = 20
"""Contradictions of one kind that are named."""


def contradictions(evidence: Evidence) -> Iterator[str]:
    """Lines that begin with a file's name."""
    yield from _other_submissions(evidence)
    yield from _two_answers(evidence)
    yield from _answers_to_nothing(evidence)
    yield from _beyond_budget(evidence)


def _other_submissions(evidence: Evidence) -> Iterator[str]:
    """What the provenance names, the manifest lists."""
    round_ = evidence.round
    played = Counter(
        ("targeted_attack" if one.targeted else "attack", one.name, one.submission) for one in round_.attacks
    )
    played.update(("defense", one.name, one.submission) for one in round_.defenses)
    named = Counter((one["type"], one["name"], one["digest"]) for one in evidence.provenance["submissions"])
    for some, words in ((named - played, "is named and did not play"), (played - named, "played and is not named")):
        for role, name, digest in sorted(some)[:MOST]:
            yield f"{PROVENANCE}: {role} {name} of the digest {digest} {words}"


def _two_answers(evidence: Evidence) -> Iterator[str]:
    """A defense is a function of one image: what it has labelled once is never sent again."""
    table = evidence.table
    clean = np.array([image.clean for image in evidence.round.images], dtype=object)
    every = np.concatenate([clean, evidence.audits.digests.ravel()]).astype(str)
    digests, codes = np.unique(every, return_inverse=True)
    for number, name in enumerate(table.defenses):
        answers = np.concatenate([table.clean[number], table.labels[:, :, number].ravel()])
        least, most = np.empty(len(digests), np.int32), np.empty(len(digests), np.int32)
        least[codes] = most[codes] = answers
        np.minimum.at(least, codes, answers)
        np.maximum.at(most, codes, answers)
        for place in np.flatnonzero((least != most) & (digests != ""))[:MOST]:
            yield f"{PREDICTIONS}: {name} answers {least[place]} and {most[place]} on one image, {digests[place]}"


def _answers_to_nothing(evidence: Evidence) -> Iterator[str]:
    """Nobody is asked about an image that nobody has."""
    table, absent = evidence.table, evidence.audits.digests == ""
    answered = (table.labels != UNKNOWN).any(axis=2)
    for attack, epsilon, image in np.argwhere(absent & answered)[:MOST]:
        where = f"{table.attacks[attack]} on {table.images[image]} at epsilon {table.epsilons[epsilon]}"
        yield f"{PREDICTIONS}: holds answers about {where}, whose image is not known"


def _beyond_budget(evidence: Evidence) -> Iterator[str]:
    """Every image was forced into the budget before it was shown, and the clean one stands in for an invalid one."""
    audits, table, round_ = evidence.audits, evidence.table, evidence.round
    clean = np.array([image.clean for image in round_.images], dtype=object)
    beyond = audits.measures["linf"] > image_budgets(round_)
    for attack, epsilon, image in np.argwhere(beyond)[:MOST]:
        far = audits.measures["linf"][attack, epsilon, image]
        yield f"{ATTACK_IMAGES}: {table.attacks[attack]} is {far:g} from {table.images[image]}, more than its budget"
    foreign = (audits.faults != "") & (audits.digests != clean)
    for attack, epsilon, image in np.argwhere(foreign)[:MOST]:
        fault = audits.faults[attack, epsilon, image]
        yield f"{ATTACK_IMAGES}: {table.attacks[attack]} on {table.images[image]} is {fault} and not the clean image"
