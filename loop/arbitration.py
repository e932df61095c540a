"""Arbitration: which of several teachers answers a problem (arXiv 2408.14960): fixed, by reward, or learned.

A router names the teachers to ask. Fixed and learned routers name one; by reward all are asked and the best answer
is kept.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agents.strategies import Level
from loop.records import Cell, Problem, Record, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

LEAST = 40
"""Answers of each teacher below which nothing is learned from them."""
BUCKETS = 1024
"""Numbers that stand for a prompt: its words fall into so many buckets."""
RIDGE = 1.0
"""How strongly weights are held near zero (the λ of ridge regression), prompts having unit length. Tried from 0.1 to
3, with 14 to 100 answers a teacher about three planted topics: 1 was best or next to it, pairs of words no help."""
DIGITS = 6
"""Decimals of a weight: what a router writes down is what it decides by."""


class Outcome(NamedTuple):
    """What a teacher's answer to a problem was worth."""

    problem: Problem
    teacher: str
    score: float
    """0 to 1: a reward, or whether it passed."""


class Answered(NamedTuple):
    """A scored answer among those of several teachers to one problem."""

    id: str
    problem: str
    """The problem's id."""
    teacher: str
    response: str
    score: float


class Router(Protocol):
    """Says who is asked."""

    def route(self, problem: Problem) -> tuple[str, ...]:
        """The teachers to ask, by name."""
        ...


class RewardRouter(Record):
    """All teachers write; see `keep_best`."""

    teachers: tuple[str, ...]

    def route(self, problem: Problem) -> tuple[str, ...]:
        """See Router."""
        return self.teachers


class Route(Record):
    """The teacher of one cell."""

    skill: str
    level: Level
    teacher: str


class FixedRouter(Record):
    """One teacher a cell, settled before a problem is seen."""

    routes: tuple[Route, ...]
    otherwise: str
    """Who answers in a cell that has no route."""

    def route(self, problem: Problem) -> tuple[str, ...]:
        """See Router."""
        found = (r.teacher for r in self.routes if (r.skill, r.level) == tuple(problem.cell))
        return (next(found, self.otherwise),)


class LearnedRouter(Record):
    """The teacher whose answer is expected to be worth most, told from the prompt alone: one call a prompt."""

    teachers: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    """Of each teacher; the first number is what it scores whatever the prompt. Empty where `fallback` decides."""
    answers: int
    """Scored answers that it was learned from."""
    fallback: FixedRouter
    note: str = ""
    """Why the fixed router decides, for people; "" where the learned one does."""

    def route(self, problem: Problem) -> tuple[str, ...]:
        """See Router. Equal expectations are settled by the order of the teachers."""
        if not self.weights:
            return self.fallback.route(problem)
        features = _features(problem.prompt)
        worth = [own[0] + sum(own[1 + at] * x for at, x in features.items()) for own in self.weights]
        return (self.teachers[worth.index(max(worth))],)


def fixed_router(outcomes: Iterable[Outcome], teachers: Sequence[str], seed: int) -> FixedRouter:
    """By cell the teacher with the best mean score so far, (Σ score + 1) / (n + 2), so that few answers prove little.

    Who has not answered in a cell stands at ½ there and is tried before one who mostly fails. Ties are drawn by lot
    from `seed`, so that teachers of whom nothing is known share the cells.

    Raises: ValueError when there is no teacher.
    """
    if not teachers:
        raise ValueError("no teacher to route to; name at least one")
    scores: defaultdict[tuple[Cell | None, str], list[float]] = defaultdict(list)
    cells: dict[Cell, None] = {}
    for outcome in outcomes:
        cells[outcome.problem.cell] = None
        for cell in (outcome.problem.cell, None):
            scores[cell, outcome.teacher].append(outcome.score)

    def best(cell: Cell | None) -> str:
        def standing(teacher: str) -> tuple[float, str]:
            found = scores.get((cell, teacher), [])
            return (sum(found) + 1) / (len(found) + 2), digest("teacher", seed, cell, teacher)

        return max(teachers, key=standing)

    routes = tuple(Route(skill=c.skill, level=c.level, teacher=best(c)) for c in sorted(cells, key=lambda c: c.order))
    return FixedRouter(routes=routes, otherwise=best(None))


def learned_router(
    outcomes: Sequence[Outcome], teachers: Sequence[str], seed: int, least: int = LEAST
) -> LearnedRouter:
    """Fit what each teacher's answer is worth, given the prompt: ridge regression on hashed words, in closed form.

    Scores, not winners, are learned, so that answers count too where one teacher was asked alone. The same outcomes
    give the same router in any order. With fewer than `least` answers of any teacher the fixed router decides, and
    `note` says so.

    Raises: as `fixed_router`.
    """
    fallback = fixed_router(outcomes, teachers, seed)
    by_teacher = {name: [o for o in outcomes if o.teacher == name] for name in teachers}
    answers = sum(map(len, by_teacher.values()))
    fewest = min(by_teacher, key=lambda name: len(by_teacher[name]))
    if (count := len(by_teacher[fewest])) < least:
        return LearnedRouter(
            teachers=tuple(teachers), weights=(), answers=answers, fallback=fallback,
            note=f"{fewest} has {count} scored answers, fewer than {least}: teachers go by cell",
        )  # fmt: skip
    weights = tuple(_fit(by_teacher[name]) for name in teachers)
    return LearnedRouter(teachers=tuple(teachers), weights=weights, answers=answers, fallback=fallback)


def keep_best(answers: Iterable[Answered]) -> dict[str, Answered]:
    """The answer with the best score of each problem, by the problem's id; ties go by digest, not by teacher."""
    best: dict[str, Answered] = {}
    for answer in answers:
        before = best.get(answer.problem)
        if before is None or _standing(answer) > _standing(before):
            best[answer.problem] = answer
    return best


def _standing(answer: Answered) -> tuple[float, str, str]:
    return answer.score, digest("tie", answer.problem, answer.response), answer.id


def _fit(outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    import numpy as np

    rows = sorted(outcomes, key=lambda outcome: (outcome.problem.prompt, outcome.score))
    prompts = _matrix([_features(outcome.problem.prompt) for outcome in rows])
    scores = np.array([outcome.score for outcome in rows])
    centre, mean = prompts.mean(axis=0), float(scores.mean())
    spread = prompts - centre
    if len(rows) < BUCKETS:  # the same weights by the smaller system of equations
        found = spread.T @ np.linalg.solve(spread @ spread.T + RIDGE * np.eye(len(rows)), scores - mean)
    else:
        found = np.linalg.solve(spread.T @ spread + RIDGE * np.eye(BUCKETS), spread.T @ (scores - mean))
    numbers = [mean - float(centre @ found), *map(float, found)]
    return tuple(round(number, DIGITS) + 0.0 for number in numbers)


def _matrix(rows: Sequence[Mapping[int, float]]) -> Matrix:
    import numpy as np

    matrix = np.zeros((len(rows), BUCKETS))
    for i, row in enumerate(rows):
        matrix[i, list(row)] = list(row.values())
    return matrix


def _features(prompt: str) -> dict[int, float]:
    """A prompt as bucket → weight, of unit length: the words that are in it, digits being alike.

    CRC-32 tells the bucket: Python's own hash differs from process to process.
    """
    words = re.findall(r"\w+|[^\w\s]", re.sub(r"\d", "0", prompt.casefold()))
    buckets = sorted({zlib.crc32(word.encode()) % BUCKETS for word in words})
    return {bucket: len(buckets) ** -0.5 for bucket in buckets}
