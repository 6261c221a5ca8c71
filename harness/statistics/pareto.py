"""Who is worth its cost."""

from collections.abc import Sequence


def front(scores: Sequence[float], costs: Sequence[float | None]) -> list[int]:
    """Positions of those whom nobody beats: no other scores as much for less, or more for as little.

    A submission whose cost is not known is on no front and beats nobody.
    """
    known = [
        (score, cost, place) for place, (score, cost) in enumerate(zip(scores, costs, strict=True)) if cost is not None
    ]
    return [
        place
        for score, cost, place in known
        if not any(s >= score and c <= cost and (s > score or c < cost) for s, c, _ in known)
    ]
