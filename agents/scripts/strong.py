"""The scripted strong solver: it works out the sum that is asked for, and never slips."""

from __future__ import annotations

from agents.engines.scripted import work_out
from agents.scripts.weak import numbers_of
from agents.talk import Question


def answer(question: Question) -> str:
    """The running totals and the answer; "" where no sum is asked for."""
    return work_out(numbers_of(question))
