"""Scores: what an exam came to, whole, by suite and by cell, and the verdict of the paired test."""

from __future__ import annotations

from agents.strategies import Level
from loop.record import Record


class AtSamples(Record):
    """Of answers sampled for each problem, how often one among k is right."""

    k: int
    share: float
    """Mean chance that k of them hold a right one: unbiased (Chen et al., arXiv 2107.03374)."""


class Sampled(Record):
    """What the answers sampled for an exam, or for a part of it, come to. They decide nothing."""

    samples: int
    """Of each problem."""
    temperature: float
    pass_at: tuple[AtSamples, ...]
    """For k = 1, 2, 4 … up to `samples`, and `samples`."""
    majority: float
    """Share of the problems whose most frequent answer among all samples is right."""


class CellScore(Record):
    """Right answers in one cell."""

    skill: str
    level: Level = None
    n: int
    correct: int
    sampled: Sampled | None = None


class Score(Record):
    """A share of right answers with its 95 % Wilson interval (Wilson 1927).

    Of an exam with weights, the suites' mean by weight, with the interval of `loop.statistics.weighted`.
    """

    n: int
    correct: int
    score: float
    low: float
    high: float


class SuiteScore(Record):
    """The score on one suite: what an exam has of one of its sources."""

    name: str
    weight: float | None
    """Its share in the exam's score, all of them 1 together; None where the exam is scored as one pool."""
    score: Score
    solved: tuple[str, ...]
    """Ids of its solved problems, sorted."""
    sampled: Sampled | None = None


class Verdict(Record):
    """The paired test of a checkpoint against the best so far: exact one-sided McNemar, or its weighted form."""

    better: int
    """Problems that only the new checkpoint solves."""
    worse: int
    """Problems that only the best so far solves."""
    p: float
    keep: bool
    level: float = 0.05
    reads: int = 0
    """What p had to be below (loop/decide.py); readings of dev up to this one, 0 where they did not count."""
    floor: float = 0.0
    """Problems that better − worse had to exceed: the noise floor. With weights, what `gain` had to exceed."""
    gain: float | None = None
    """Of an exam with weights, by how much its score rose; None without."""
    spread: float = 0.0
    """Of such an exam, the standard deviation of the gain where no student is better."""
