"""The scripted challenger: it writes sums with their working, and texts of a few sentences."""

from __future__ import annotations

import json
import random

from agents.engines.scripted import work_out
from agents.talk import Question

WORDS = "a sum is the whole of its parts and each part may be taken away again without loss of any other".split()


def answer(question: Question) -> str:
    """A problem in its three parts where one is wanted, alone where it goes on with a bare text; {"same": false} to a
    comparison, else a text.
    """
    luck = random.Random(question.seed)
    prompt = question.messages[-1].content if question.messages else ""
    if question.schema is not None:
        return json.dumps({"same": False})
    if "## Problem" not in prompt and question.whole is None:
        return ". ".join(" ".join(luck.choices(WORDS, k=12)).capitalize() for _ in range(5)) + "."
    numbers = [luck.randint(1000, 9999), luck.randint(1, 9), -luck.randint(1, 9)]
    asked = f"What is {numbers[0]} + {numbers[1]} - {-numbers[2]} ?"
    if question.whole is not None:
        return asked
    total = sum(numbers)
    last = f"\n## Answer\n{total}" if "## Answer" in prompt else ""
    return f"## Problem\n{asked}\n## Solution\n{work_out(numbers)}{last}"
