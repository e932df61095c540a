"""Grading: what an answer earns while the student is trained by reward: the verifiers' word, a sample's own."""

from __future__ import annotations

from collections.abc import Sequence

from agents.engines import Completion
from loop.judging import Judge
from loop.records import Problem, Sample
from loop.reinforcement import Count


class Grader:
    """Rewards answers as the round's samples are judged, and counts them."""

    def __init__(self, judge: Judge, count: Count) -> None:
        self.count, self._judge = count, judge
        self.tokens = 0
        """Of all that was answered, prompts and completions."""

    def rewards(self, problems: Sequence[Problem], answers: Sequence[Completion]) -> list[float]:
        """1 for an answer whose every check passes, else 0: what is cut off or empty is wrong.

        Args: answers: whole groups, one after the other; `problems` has the problem of each.
        """
        found = [self._reward(problem, answer) for problem, answer in zip(problems, answers, strict=True)]
        truncated = sum(answer.finish != "stop" for answer in answers)
        empty = sum(not answer.text.strip() for answer in answers)
        self.tokens += sum(answer.prompt_tokens + answer.completion_tokens for answer in answers)
        self.count.add(found, truncated, empty)
        return found

    def _reward(self, problem: Problem, answer: Completion) -> float:
        sample = Sample(
            id=answer.key, problem=problem, response=answer.text, finish=answer.finish,
            prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens,
        )  # fmt: skip
        return float(self._judge.critique(sample).passed)
