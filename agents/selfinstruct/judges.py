"""Judges: what an attempt is worth, 0 to 1, by a model's marks without the reference, or by a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from agents.critics.rubric import RubricCritic
from agents.selfinstruct.rows import Challenge
from agents.talk import Answer, Question, Talker
from agents.verdicts import CriticBrief, Rubric, one_line


class Scored(NamedTuple):
    """What a judge makes of an attempt."""

    score: float | None
    """None where it came to nothing that can be used."""
    detail: str
    calls: int = 0
    prompt: str = ""
    """Digest of the template that asked."""


class Judge(Protocol):
    """Scores attempts. Safe to be asked from several threads at once."""

    name: str

    def score(self, challenge: Challenge, response: str, key: str) -> Scored:
        """The score; it depends on challenge, response and key alone.

        Raises: EngineError when the judge cannot be had.
        """
        ...


class RubricJudge:
    """A model that marks each criterion of the question's rubric; the sum is ours. See `Judge`.

    It is the rubric critic: it never sees the reference, every criterion is marked exactly once with a strict
    boolean, and what a guard refuses (a response that speaks to its judge, or says nothing) gets no score.
    """

    def __init__(self, talker: Talker, max_tokens: int = 4096) -> None:
        self.name = talker.model
        self._talker, self._max_tokens = talker, max_tokens

    def score(self, challenge: Challenge, response: str, key: str) -> Scored:
        """See Judge."""
        problem = f"{challenge.context}\n\n{challenge.question}" if challenge.context else challenge.question
        counted = Counted(self._talker)
        critic = RubricCritic(counted, Rubric(criteria=challenge.criteria), max_tokens=self._max_tokens)
        verdict = critic.judge(CriticBrief(key=key, problem=problem, response=response))
        return Scored(verdict.score, verdict.detail, len(counted.asked), verdict.prompt)


class ProgramJudge:
    """A program that says whether an answer is right, where the task can be checked by one; see `Judge`."""

    name = "program"

    def __init__(self, check: Callable[[Challenge, str], bool]) -> None:
        """Args: check: whether a response to the challenge is right; an answer that is not there is wrong."""
        self._check = check

    def score(self, challenge: Challenge, response: str, key: str) -> Scored:
        """See Judge."""
        right = self._check(challenge, response)
        if not isinstance(right, bool):
            return Scored(None, f"the program said {right!r:.80}, not true or false")
        return Scored(float(right), "right" if right else "wrong")


class Counted:
    """A talker that keeps the digests of the templates by which it was asked."""

    def __init__(self, talker: Talker) -> None:
        self.model, self._talker = talker.model, talker
        self.asked: list[str] = []

    def ask(self, question: Question) -> Answer:
        """See Talker."""
        self.asked.append(question.prompt)
        return self._talker.ask(question)


def believed(scored: Scored) -> Scored:
    """The score as it is, or none where it is odd: no number, not finite, out of 0 to 1. Nothing is clamped."""
    score = scored.score
    if score is None:
        return scored
    if (
        isinstance(score, bool)
        or not isinstance(score, int | float)
        or not math.isfinite(score)
        or not 0 <= score <= 1
    ):
        return scored._replace(score=None, detail=one_line(f"{score!r} is no score"))
    return scored
