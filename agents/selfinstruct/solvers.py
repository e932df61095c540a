"""Solvers: who attempts a question; a talker, an engine or the consensus of more samples can be one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from agents.critics import seed_of
from agents.engines import Engine, Request, SamplingJob
from agents.talk import Message, Question, Talker


@dataclass(frozen=True)
class Attempt:
    """What a solver wrote."""

    text: str
    finish: Literal["stop", "length", "error"]

    @property
    def problem(self) -> str:
        """Why it cannot be scored, or "": an empty or truncated answer is an error and no zero."""
        if self.finish != "stop":
            return "cut off" if self.finish == "length" else "failed"
        return "" if self.text.strip() else "empty"


class Solver(Protocol):
    """Attempts questions. Safe to be asked from several threads at once."""

    name: str

    def solve(self, prompt: str, n: int, key: str) -> list[Attempt]:
        """`n` attempts that depend on prompt and key alone; waits and tries again where that may help.

        Raises: EngineError when the model cannot be had.
        """
        ...


class TalkerSolver:
    """A model that is asked `n` times, each time with a seed of its own; see `Solver`."""

    def __init__(self, talker: Talker, temperature: float = 0.7, max_tokens: int = 4096, template: str = "") -> None:
        """`template`: digest that is written down with its answers."""
        self.name = talker.model
        self._talker, self._temperature, self._max_tokens, self._template = talker, temperature, max_tokens, template

    def solve(self, prompt: str, n: int, key: str) -> list[Attempt]:
        """See Solver. A model's thoughts are no answer: they are taken away."""
        question = Question(
            (Message("user", prompt),), None, self._max_tokens, self._temperature, prompt=self._template
        )
        answers = [self._talker.ask(replace(question, seed=seed_of("solver", key, i))) for i in range(n)]
        return [Attempt(without_thoughts(answer.text), answer.finish) for answer in answers]


class EngineSolver:
    """A model that an engine runs, the attempts as one batch; see `Solver`."""

    def __init__(self, engine: Engine, job: SamplingJob) -> None:
        """`job`: all that is asked of the engine but the requests and the seed."""
        self.name = job.model
        self._engine, self._job = engine, job

    def solve(self, prompt: str, n: int, key: str) -> list[Attempt]:
        """See Solver. What the engine left out is an error."""
        requests = tuple(Request(f"{key}-{i}", prompt) for i in range(n))
        job = replace(self._job, requests=requests, seed=seed_of("solver", key))
        done = {
            row.key: Attempt(without_thoughts(row.text), row.finish) for b in self._engine.complete(job) for row in b
        }
        return [done.get(request.key, Attempt("", "error")) for request in requests]


class Consensus:
    """The same model with more compute: each attempt is the most frequent answer of several; see `Solver`.

    Self-consistency (arXiv 2203.11171): of the samples whose answer is most frequent, the first is the attempt, and
    between answers as frequent the one that came first. Samples without an answer have no vote.
    """

    def __init__(self, solver: Solver, samples: int, answer_of: Callable[[str], str | None]) -> None:
        """Args: answer_of: the answer of a text, two that are the same written alike; None where there is none."""
        self.name = f"{solver.name} x {samples}"
        self._solver, self._samples, self._answer_of = solver, samples, answer_of

    def solve(self, prompt: str, n: int, key: str) -> list[Attempt]:
        """See Solver."""
        drawn = self._solver.solve(prompt, n * self._samples, key)
        return [self._elect(drawn[i * self._samples : (i + 1) * self._samples]) for i in range(n)]

    def _elect(self, group: list[Attempt]) -> Attempt:
        said = [(attempt, self._answer_of(attempt.text)) for attempt in group if not attempt.problem]
        votes = Counter(answer for _, answer in said if answer is not None)
        if not votes:
            return said[0][0] if said else group[0]
        winner = votes.most_common(1)[0][0]
        return next(attempt for attempt, answer in said if answer == winner)


def without_thoughts(text: str) -> str:
    """The text after a model's thoughts; "" where they have no end."""
    return re.sub(r"\A\s*<think>.*?(?:</think>\s*|\Z)", "", text, flags=re.DOTALL)
