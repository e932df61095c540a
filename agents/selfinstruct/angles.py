"""Angles: what the challenger is told of a refused question, and whether its next one is new."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from agents.prompts import render
from agents.selfinstruct.bands import Refusal
from agents.selfinstruct.rows import Round, Tried, scores_of


def feedback(refusal: Refusal, weak: Sequence[Tried], strong: Sequence[Tried]) -> str:
    """What the challenger is told of a refused question; what models said in it is quoted."""
    means = {
        name: f"{fmean(scores):.2f}" if (scores := scores_of(tried)) else ""
        for name, tried in (("weak", weak), ("strong", strong))
    }
    return render(
        "self_instruct_feedback", heading=refusal.heading.value, reason=refusal.reason, **means
    ).text.strip()


def nearest(question: str, earlier: Sequence[Round], near: float) -> int:
    """The number of the first earlier round with nearly this question, or 0.

    By the share of words in common (Dice's coefficient over words with their counts), whatever their order.
    """
    words = _words(question)
    for past in earlier:
        if past.challenge is not None:
            other = _words(past.challenge.question)
            if 2 * (words & other).total() >= near * (words.total() + other.total()):
                return past.number
    return 0


def _words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.casefold()))
