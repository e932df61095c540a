"""The harness: what `loop evolve` may change of how problems are written. Who judges them is no part of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from agents.prompts import render
from agents.strategies import Reply
from agents.talk import Message, Question, Talker, ask_for

MOST_LINES = 16
BANK = (
    "Ask for what this very text says and no other: an insight, a reason or a consequence of its own.",
    "Nothing in the question or its context may give the answer away.",
    "Ask for two or more steps of reasoning that have to be joined.",
    "Ask for a decision between alternatives, and for what decides it.",
    "Change one condition of the text and ask what follows from it.",
    "Ask why, not what: a question that a search for words answers is too easy.",
    "Keep to one answer that can be checked.",
    "Say all that is needed to answer in the question itself.",
    "Use no names, numbers or sentences of the text that the answer does not hang on.",
    "Write the question as someone would ask it who has the problem at hand.",
)
"""Lines that a mutation without a model draws from. Two of them were found by Autodata's own outer loop: insight that
only this text gives, and no leak from the context (arXiv 2606.25996)."""


class Harness(Reply):
    """One variant of how problems are written: guidance for the challenger, and settings."""

    guidance: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=300)], ...], Field(max_length=MOST_LINES)]
    temperature: Annotated[float, Field(ge=0, le=1.5)] = 0.8
    """Of the challenger."""
    attempts: Annotated[int, Field(ge=1, le=8)] = 4
    """Questions that are tried for one source, each from another angle."""


START = Harness(guidance=BANK[:3])
"""What evolution starts from."""


def mutate(parent: Harness, seed: int) -> Harness:
    """A child that differs from its parent in one seeded step: a line added, dropped or moved, or a setting."""
    luck = random.Random(seed)
    lines = list(parent.guidance)
    fresh = [line for line in BANK if line not in lines]
    steps = ["temperature", "attempts", *(["add"] if fresh and len(lines) < MOST_LINES else [])]
    steps += ["drop", "move"] if len(lines) > 1 else []
    step = luck.choice(steps)
    if step == "temperature":
        others = [value for value in (0.2, 0.5, 0.8, 1.0, 1.2) if value != parent.temperature]
        return parent.model_copy(update={"temperature": luck.choice(others)})
    if step == "attempts":
        others = [value for value in (parent.attempts - 1, parent.attempts + 1) if 1 <= value <= 8]
        return parent.model_copy(update={"attempts": luck.choice(others)})
    if step == "add":
        lines.insert(luck.randint(0, len(lines)), luck.choice(fresh))
    elif step == "drop":
        lines.pop(luck.randrange(len(lines)))
    else:
        lines.append(lines.pop(luck.randrange(len(lines) - 1)))
    return parent.model_copy(update={"guidance": tuple(lines)})


def propose(talker: Talker, parent: Harness, trajectories: Sequence[str], seed: int) -> Harness:
    """A child that a model proposes after reading what became of the parent's questions.

    Raises: Unusable when it proposes none, or the parent again; what `Talker.ask` raises.
    """
    prompt = render("evolve", harness=parent, trajectories=trajectories, most=MOST_LINES)
    question = Question(
        messages=(Message("user", prompt.text),), temperature=0.8, seed=seed, max_tokens=4096, prompt=prompt.digest
    )

    def differs(child: Harness) -> None:
        if child == parent:
            raise ValueError("it is the harness as it was; change something")

    return ask_for(talker, question, Harness, differs)
