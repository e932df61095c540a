"""Weak to strong (arXiv 2312.09390): how much of the gap between a weak sampler and a ceiling its student closes."""

from __future__ import annotations

from collections.abc import Iterable

from loop.records import Record
from loop.seats import Seat

NO_CEILING = "there is no control, and so no ceiling"
NO_GAP = "on gold alone the student does not get beyond the sampler, so there is no gap"


class Recovered(Record):
    """The performance gap recovered on dev, from one weak sampler."""

    sampler: str
    weak: float
    """Share of dev that the sampler solves, greedily."""
    strong: float
    """What the best round's student solves, which learnt from its rows."""
    ceiling: float | None
    """What the control solves: the same student, as many tokens, on gold responses alone, its best look at dev."""
    gap: float | None
    """The share of the gap; above 1 where the sampler's rows bring more than gold alone does. None where it is not
    defined."""
    reason: str = ""
    """Why it is not."""


def gap_recovered(weak: float, strong: float, ceiling: float) -> float | None:
    """(w2s − weak) / (ceiling − weak) of three shares of right answers; None unless the ceiling is above the weak."""
    return (strong - weak) / (ceiling - weak) if ceiling > weak else None


def recovered(sampler: str, weak: float, strong: float, ceiling: float | None) -> Recovered:
    """The record; a ceiling of None is no control, or one without gold."""
    gap = None if ceiling is None else gap_recovered(weak, strong, ceiling)
    reason = NO_CEILING if ceiling is None else NO_GAP if gap is None else ""
    return Recovered(sampler=sampler, weak=weak, strong=strong, ceiling=ceiling, gap=gap, reason=reason)


def weaker(seats: Iterable[Seat | None], parameters: int) -> list[Seat]:
    """The models that are known to be smaller than one of so many parameters."""
    return [seat for seat in dict.fromkeys(seats) if seat is not None and 0 < seat.parameters < parameters]
