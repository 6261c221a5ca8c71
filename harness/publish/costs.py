"""What each submission's calls cost, from the ledger: time, memory, failures, and room below the time limit."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from harness.index import CallRecord
from harness.records import Role, Verdict
from harness.round import Round

DIGITS = 6

Row = dict[str, Any]


def cost_rows(
    round_: Round, ledger: Iterable[CallRecord], provenance: Mapping[str, Any], scores: Mapping[tuple[Role, str], float]
) -> list[Row]:
    """One row for each submission, in the order of the round; what is not known is None.

    Calls of an attack are those of this round; those of a defense are all that its answers in the store came of.
    `seconds_per_100_images` is all its time by all its images; `spread` holds the least, the median and the most of
    that over single calls. `headroom` is the least over calls of the time limit by the time taken: below 1 a call was
    stopped, at 2 one twice as slow would have ended in time.
    """
    units = set(round_.unit_keys())
    calls: dict[str, list[CallRecord]] = defaultdict(list)
    for call in ledger:
        if call.role is Role.DEFENSE or call.key in units:
            calls[call.player].append(call)
    limit = (provenance.get("limits") or {}).get("seconds")
    return [
        {"name": name, "type": role.value, "score": round(scores[role, name], DIGITS)}
        | _cost(calls[player], limit, round_.batch_size)
        for role, name, player in players(round_)
    ]


def players(round_: Round) -> Iterable[tuple[Role, str, str]]:
    """(role, name, player) of every submission that played."""
    for attack in round_.attacks:
        yield Role.TARGETED_ATTACK if attack.targeted else Role.ATTACK, attack.name, attack.player
    for defense in round_.defenses:
        yield Role.DEFENSE, defense.name, defense.player


def _cost(calls: list[CallRecord], limit: float | None, batch_size: int) -> Row:
    seconds, images = sum(call.seconds for call in calls), sum(call.images for call in calls)
    each = sorted(100 * call.seconds / call.images for call in calls if call.images)
    rooms = [_headroom(call, limit, batch_size) for call in calls if limit and call.seconds > 0]
    return {
        "calls": len(calls),
        "failed_calls": sum(call.verdict is not Verdict.OK for call in calls),
        "images": images,
        "seconds": round(seconds, DIGITS),
        "seconds_per_100_images": round(100 * seconds / images, DIGITS) if images else None,
        "spread": [round(value, DIGITS) for value in (each[0], _median(each), each[-1])] if each else None,
        "slowest_call": round(max(call.seconds for call in calls), DIGITS) if calls else None,
        "peak_memory": max((call.peak_memory for call in calls), default=0) or None,
        "seconds_limit": limit,
        "headroom": round(min(rooms), DIGITS) if rooms else None,
    }


def _headroom(call: CallRecord, limit: float, batch_size: int) -> float:
    """A call with more images than a batch has the limit of each batch, as `plan` gives it."""
    return limit * max(1, -(-call.images // batch_size)) / call.seconds


def _median(ordered: list[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
