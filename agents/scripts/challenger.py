"""The scripted challenger: it writes sums with their working, and texts of a few sentences."""

from __future__ import annotations

import json
import random
from typing import Any

from agents.engines.scripted import work_out
from agents.talk import Question

WORDS = "a sum is the whole of its parts and each part may be taken away again without loss of any other".split()
POINTS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def answer(question: Question) -> str:
    """The reply that a schema asks for; else a problem in its three parts where one is wanted, alone where it goes on
    with a bare text; else a text.
    """
    luck = random.Random(question.seed)
    prompt = question.messages[-1].content if question.messages else ""
    if question.schema is not None:
        return json.dumps(_reply(question.schema["properties"], luck))
    if question.whole is not None:
        return _sum(luck)[0]
    if "## Problem" not in prompt:
        return ". ".join(" ".join(luck.choices(WORDS, k=12)).capitalize() for _ in range(5)) + "."
    asked, numbers = _sum(luck)
    last = f"\n## Answer\n{sum(numbers)}" if "## Answer" in prompt else ""
    return f"## Problem\n{asked}\n## Solution\n{work_out(numbers)}{last}"


def _reply(keys: dict[str, Any], luck: random.Random) -> dict[str, Any]:
    """A question with its reference, no fault in one, or that two problems are not the same."""
    if "question" in keys:
        asked, numbers = _sum(luck)
        points = [{"name": f"{point}_step", "text": f"Its {point} step holds.", "weight": 1} for point in POINTS]
        challenge = {"context": "", "question": asked, "reference": str(sum(numbers))}
        return challenge | ({"criteria": points} if "criteria" in keys else {})
    if "hidden" in keys:
        return {key: {"reason": "It does.", "holds": True} for key in keys}
    return {"same": False}


def _sum(luck: random.Random) -> tuple[str, list[int]]:
    numbers = [luck.randint(1000, 9999), luck.randint(1, 9), -luck.randint(1, 9)]
    return f"What is {numbers[0]} + {numbers[1]} - {-numbers[2]} ?", numbers
