"""Pair: what preference is learnt from, right attempts against wrong ones at the same problem."""

from __future__ import annotations

from collections.abc import Iterable

from agents.training import DPO
from loop.contamination import Exams
from loop.errors import NothingToLearn
from loop.pairing import pair_up
from loop.preference import Pair
from loop.tried import Tried


def pair_attempts(tried: Iterable[Tried], way: DPO, exams: Exams) -> list[Pair]:
    """The pairs of all rounds; see `pair_up`.

    Raises: NothingToLearn when there is none.
    """
    pairs = pair_up(tried, way.pairs_per_problem, exams)
    if not pairs:
        raise NothingToLearn(
            "no pair: no problem has a right attempt and a wrong one; draw more samples of problems that are solved"
            " now and then, or let the plan train by sft"
        )
    return pairs
