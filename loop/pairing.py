"""Pairing: which right attempt stands against which wrong one, and which pairs are hard."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from loop.contamination import Exams
from loop.preference import Pair
from loop.records import digest
from loop.tasks import folded
from loop.tried import Tried


def pair_up(tried: Iterable[Tried], most: int, exams: Exams) -> list[Pair]:
    """Up to `most` pairs of each problem, the hardest first; none of an exam, and none from a tie.

    A wrong attempt stands against the right one that it shares the longest path with, so that the pair differs from
    the first wrong step on (Step-DPO, arXiv 2406.18629). It is the harder the longer that path is, as a share of it,
    and the more of the problem's attempts give its answer: the answer that a vote would take, or with wrong working
    the right one. `hardness` is the mean of both, 0 to 1.
    """
    problems: defaultdict[str, list[Tried]] = defaultdict(list)
    for one in tried:
        problems[folded(one.prompt)].append(one)
    pairs = [pair for attempts in problems.values() for pair in _pairs(attempts)[:most]]
    return [
        pair
        for pair in sorted(pairs, key=_order)
        if not any(exams.find(pair.prompt, text) for text in (pair.chosen, pair.rejected))
    ]


def _pairs(attempts: Sequence[Tried]) -> list[Pair]:
    """All wrong texts of a problem, each with the right one nearest to it, the hardest first."""
    right = {one.text: one for one in attempts if one.right}
    wrong = {one.text: one for one in attempts if not one.right and one.text not in right}
    if not right:
        return []
    agreed = Counter(one.answer for one in attempts)
    pairs = []
    for one in wrong.values():
        best = max(right.values(), key=lambda other: (_shared(one.text, other.text), other.round, other.id))
        hardness = (_shared(one.text, best.text) / len(one.text) + agreed[one.answer] / len(attempts)) / 2
        pairs.append(
            Pair(
                id=digest("pair", one.prompt, best.text, one.text),
                prompt=one.prompt,
                chosen=best.text,
                rejected=one.text,
                chosen_id=best.id,
                rejected_id=one.id,
                round=one.round,
                hardness=hardness,
            )
        )
    return sorted(pairs, key=_order)


def _order(pair: Pair) -> tuple[float, int, str]:
    """Hard ones first, of these the newest."""
    return -pair.hardness, -pair.round, pair.id


def _shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    together = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(together) if a != b), min(len(one), len(other)))
