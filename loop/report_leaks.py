"""The report's part on leaks: texts by which samples would have given an exam problem away, and how they matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from loop.room import ADMISSIONS, Room
from loop.rounds import Round
from loop.tasks import folded

REASON = "stands in an exam"
"""Why such samples are not admitted."""
MOST = 20
"""Texts that are shown; the others are counted."""
NAMED = 6
"""Samples of one text that are named in a round; the others are counted."""


class Leak(NamedTuple):
    """One text that stood in samples and in an exam."""

    kind: str
    """How it was found: see loop/contamination.py."""
    matched: str
    """As it stood in the samples."""
    exam: str
    """The exam problem or its reference code; "" where that is the same text."""
    samples: list[tuple[int, list[str], int]]
    """(round, ids of its first samples, how many more), for each round that had any."""


def leaks_of(rounds: Sequence[Round], room: Callable[[str], Room]) -> dict[str, Any]:
    """The page's variable `leaks`: the first texts, how many there are, and of how many samples.

    Raises: DamagedRunError when a file is not what the ledger vouches for.
    """
    found: dict[tuple[str, str, str], dict[int, list[str]]] = {}
    for closed in (closed for closed in rounds if closed.dropped.get(REASON)):
        for row in room(f"{closed.round:03}").fetch(ADMISSIONS):
            if row.reason == REASON:
                text = (row.matched_by, row.matched, row.exam)
                found.setdefault(text, {}).setdefault(closed.round, []).append(row.id)
    shown = [
        Leak(
            kind,
            matched,
            "" if folded(exam) == folded(matched) else exam,
            [(number, ids[:NAMED], len(ids) - NAMED) for number, ids in by_round.items()],
        )
        for (kind, matched, exam), by_round in list(found.items())[:MOST]
    ]
    total = sum(len(ids) for by_round in found.values() for ids in by_round.values())
    return {"shown": shown, "texts": len(found), "total": total}
