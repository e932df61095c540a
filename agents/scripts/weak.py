"""The scripted weak solver: it slips at most sums, at some of them always and at others now and then."""

from __future__ import annotations

import random
import re

from agents.engines.scripted import work_out
from agents.talk import Question

SLIPS = 0.8
"""Share of its attempts in which the last step is wrong."""


def answer(question: Question) -> str:
    """The running totals and the answer, by luck one too high; "" where no sum is asked for."""
    numbers = numbers_of(question)
    luck = random.Random(f"{numbers} {question.seed}").random()
    return work_out(numbers, slip=luck < SLIPS)


def numbers_of(question: Question) -> list[int]:
    """The terms of the sum after "Question:", with their signs."""
    asked = question.messages[-1].content.rpartition("Question:")[2].partition("\n")[0]
    return [int(number.replace(" ", "")) for number in re.findall(r"[+-]?\s*\d+", asked)]
