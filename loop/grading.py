"""Grading: what an answer earns while the student is trained by reward: the verifiers' word, then the critics'."""

from __future__ import annotations

from collections.abc import Sequence

from agents.engines import Completion
from loop.crew import Ask
from loop.judging import Judge
from loop.records import Problem, Sample
from loop.reinforcement import Count


class Grader:
    """Rewards answers as the round's samples are judged, and counts them.

    Args: ask: puts answers (a tuple of Sample) that the verifiers pass before the critics, who say which of them
        pass (a bool each): loop/jury.py. Without it the verifiers alone reward.
    """

    def __init__(self, judge: Judge, count: Count, ask: Ask | None = None) -> None:
        self.count, self._judge, self._ask = count, judge, ask
        self.tokens = 0
        """Of all that was answered, prompts and completions."""

    def rewards(self, problems: Sequence[Problem], answers: Sequence[Completion]) -> list[float]:
        """1 for an answer whose every check passes and that no critic refuses, else 0; cut off or empty is wrong.

        Args: answers: whole groups, one after the other, each with a key of its own; `problems` has the problem of
            each.
        """
        samples = [_sample(problem, answer) for problem, answer in zip(problems, answers, strict=True)]
        passed = [sample for sample in samples if self._judge.critique(sample).passed]
        said = self._ask(tuple(passed)) if self._ask and passed else [True] * len(passed)
        right = {sample.id for sample, passes in zip(passed, said, strict=True) if passes}
        found = [float(sample.id in right) for sample in samples]
        truncated = sum(answer.finish != "stop" for answer in answers)
        empty = sum(not answer.text.strip() for answer in answers)
        self.tokens += sum(answer.prompt_tokens + answer.completion_tokens for answer in answers)
        self.count.add(found, truncated, empty, refused=len(passed) - len(right))
        return found


def _sample(problem: Problem, answer: Completion) -> Sample:
    return Sample(
        id=answer.key, problem=problem, response=answer.text, finish=answer.finish,
        prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens,
    )  # fmt: skip
