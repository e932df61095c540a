"""Scripted students for planners: cells with a skill in log-odds, which practice raises and neglect lowers.

No claim about real students stands on these numbers; they show that a planner does what it says, and that its
constants do no harm under several laws of learning.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from agents.briefs import BudgetLeft, CellBrief, PlanBrief, RoundBrief, Tally
from agents.replies import Plan

SKILL = "chain"
MARGIN = 0.003
"""Dev score by which a student must be better to be kept; what a paired test would see, without its luck."""


class Planner(Protocol):
    """What is put to the test."""

    def plan(self, brief: PlanBrief) -> Plan:
        """A plan for the next round."""
        ...


@dataclass(frozen=True)
class Law:
    """How a family of scripted students learns; levels are 1, 2, ... in the order of `starts`."""

    starts: tuple[float, ...]
    """Greedy pass rate of each level at first."""
    pace: tuple[float, ...]
    """Log-odds gained per doubling of what a level has learned from; 0 never learns."""
    transfer: float = 0.4
    """What a row is worth one level away, of its worth in its own."""
    gap: float = 0.8
    forget: float = 0.3
    """Log-odds lost in a round by a level with no rows in the mix."""
    needs: float = 60.0
    """Rows of the mix, transfer counted, that keep a level from being forgotten."""
    half: float = 150.0
    """Rows' worth at which a level has gained one pace."""
    epochs: float = 3.0
    demonstrations: int = 67
    samples: int = 6000
    alike: float = 0.9
    """Share of the problems whose samples all come out the same: of a student of 0.35M parameters nearly all do."""
    repeats: float = 0.0
    """What another pass over a row adds, of what the pass before added: 0 where only fresh rows teach."""


@dataclass
class Student:
    """Skills as they are, and the rows in store by level (learned ones apart from new ones)."""

    law: Law
    learned: list[float]
    lost: list[float]
    stock: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)

    def rate(self, level: int) -> float:
        """Greedy pass rate."""
        if self.law.pace[level] < 0:
            return 0.0
        start = math.log(self.law.starts[level] / (1 - self.law.starts[level]))
        gained = self.law.pace[level] * math.log2(1 + self.learned[level] / self.law.half)
        return 1 / (1 + math.exp(-(start + gained - self.lost[level])))

    def sampled(self, level: int) -> float:
        """Pass rate of one sample at temperature 1."""
        odds = math.log(max(1e-9, self.rate(level)) / max(1e-9, 1 - self.rate(level)))
        return 1 / (1 + math.exp(-(odds - self.law.gap)))

    def train(self, mix: Sequence[float], new: Sequence[float], epochs: float) -> Student:
        """The student after training on `mix` rows a level, `new` of them never learned from before."""
        law, levels = self.law, range(len(self.law.starts))
        passes = min(1.0, epochs)
        if epochs > 1 and law.repeats:
            passes = (1 - law.repeats**epochs) / (1 - law.repeats)
        learned, lost = list(self.learned), list(self.lost)
        for level in levels:
            near = [law.transfer ** abs(level - other) for other in levels]
            learned[level] += passes * sum(map(float.__mul__, near, map(float, new)))
            held = sum(map(float.__mul__, near, map(float, mix))) / law.needs
            lost[level] = lost[level] * 0.3 if held >= 1 else lost[level] + law.forget * (1 - held)
        return replace(self, learned=learned, lost=lost)


@dataclass
class Trace:
    """What a run did: tokens spent and true dev score, from the start on by round; samples by level."""

    tokens: list[float] = field(default_factory=list)
    dev: list[float] = field(default_factory=list)
    samples: list[list[int]] = field(default_factory=list)
    sampled: float = 0.0
    trained: float = 0.0


def tokens_of(level: int) -> float:
    """Tokens of a row: a prompt and a line a term."""
    return 12.0 + 8.0 * (level + 1)


class World:
    """A run of rounds with a scripted student: what the loop does, without the models."""

    def __init__(self, law: Law, seed: int = 0, probe: int = 180, dev: int = 300) -> None:
        levels = len(law.starts)
        self.law, self.random, self.probe = law, random.Random(seed), probe // levels
        self.best = Student(law, [0.0] * levels, [0.0] * levels)
        self.demos = [float(law.demonstrations)] * levels
        self.old, self.new = [0.0] * levels, [0.0] * levels
        self.exam = [[self.random.random() for _ in range(dev // levels)] for _ in range(levels)]
        self.history: list[RoundBrief] = [
            RoundBrief(round=0, status="start", dev_cells=self.sit(self.best), probe=self.attempts(self.best))
        ]
        self.trace = Trace([0.0], [self.score(self.best)])

    def score(self, student: Student) -> float:
        """True dev score."""
        levels = range(len(self.law.starts))
        return sum(student.rate(level) for level in levels) / len(levels)

    def sit(self, student: Student) -> tuple[Tally, ...]:
        """The dev exam: the same problems every time."""
        return tuple(
            Tally(skill=SKILL, level=level, tried=len(exam), passed=sum(u < student.rate(level) for u in exam))
            for level, exam in enumerate(self.exam)
        )

    def attempts(self, student: Student) -> tuple[Tally, ...]:
        """A probe of fresh problems, greedily."""
        return tuple(
            Tally(skill=SKILL, level=level, tried=self.probe, passed=self.draws(self.probe, student.rate(level)))
            for level in range(len(self.law.starts))
        )

    def draws(self, tries: int, rate: float) -> int:
        """How many of so many tries pass."""
        return sum(self.random.random() < rate for _ in range(tries))

    def attempt(self, samples: int, rate: float) -> int:
        """How many samples of one problem pass."""
        if self.random.random() < self.law.alike:
            return samples * self.draws(1, rate)
        return self.draws(samples, rate)

    def brief(self, budget: BudgetLeft | None = None) -> PlanBrief:
        """What the planner is told."""
        levels = len(self.law.starts)
        return PlanBrief(
            objective="",
            cells=tuple(
                CellBrief(skill=SKILL, level=level, share=1 / levels, demonstrations=self.law.demonstrations)
                for level in range(levels)
            ),
            history=tuple(self.history),
            budget=budget or BudgetLeft(),
            samples_per_round=self.law.samples,
            epochs=self.law.epochs,
        )

    def round(self, planner: Planner) -> Plan:
        """One round: sample, keep, train, evaluate, decide, probe."""
        levels = range(len(self.law.starts))
        plan = planner.plan(self.brief())
        kept, tallies = [0.0] * len(levels), []
        counts = [0] * len(levels)
        for allotment in plan.allotments:
            level = int(allotment.level or 0)
            rate, tries = self.best.sampled(level), allotment.problems * allotment.samples
            passed = [self.attempt(allotment.samples, rate) for _ in range(allotment.problems)]
            kept[level] += sum(number > 0 for number in passed)
            counts[level] += tries
            cost = int(tries * tokens_of(level))
            self.trace.sampled += cost
            tallies.append(Tally(skill=SKILL, level=level, tried=tries, passed=sum(passed), tokens=cost))
        share = {int(c.level or 0): c.share for c in plan.mixture.rehearse}
        self.new = [new + rows for new, rows in zip(self.new, kept, strict=True)]
        older = [self.demos[n] + share.get(n, 1.0) * self.old[n] for n in levels]
        again = max(1, math.ceil(sum(self.new) / sum(older)))
        mix = [again * older[n] + self.new[n] for n in levels]
        trained = plan.training.epochs * sum(mix[n] * tokens_of(n) for n in levels)
        self.trace.trained += trained
        candidate = self.best.train(mix, self.new, plan.training.epochs)
        self.decide(plan, candidate, tallies, int(sum(kept)), trained)
        self.trace.samples.append(counts)
        self.trace.tokens.append(self.trace.sampled + self.trace.trained)
        self.trace.dev.append(self.score(self.best))
        return plan

    def decide(self, plan: Plan, candidate: Student, tallies: list[Tally], rows: int, trained: float) -> None:
        """Keep the candidate if it is truly better by a margin; write the round down."""
        after = self.sit(candidate)
        kept = self.score(candidate) > self.score(self.best) + MARGIN
        if kept:
            self.best = candidate
            self.old = [old + new for old, new in zip(self.old, self.new, strict=True)]
            self.new = [0.0] * len(self.new)
        self.history.append(
            RoundBrief(
                round=len(self.history),
                status="kept" if kept else "discarded",
                plan=plan,
                dev=sum(t.passed for t in after) / sum(t.tried for t in after),
                dev_cells=after,
                samples=tuple(tallies),
                probe=self.attempts(self.best),
                examples_kept=rows,
                tokens_sampled=sum(t.tokens for t in tallies),
                tokens_trained=int(trained),
            )
        )


def play(planner: Planner, law: Law, rounds: int, seed: int = 0) -> Trace:
    """A whole run."""
    world = World(law, seed)
    for _ in range(rounds):
        world.round(planner)
    return world.trace


def tokens_to(trace: Trace, score: float) -> float:
    """Tokens spent when the score is first reached, between rounds in proportion; infinite if it never is."""
    for n in range(1, len(trace.dev)):
        if trace.dev[n] >= score:
            part = (score - trace.dev[n - 1]) / max(1e-9, trace.dev[n] - trace.dev[n - 1])
            return trace.tokens[n - 1] + max(0.0, part) * (trace.tokens[n] - trace.tokens[n - 1])
    return math.inf


EVEN = Law(
    starts=(0.9, 0.8, 0.7, 0.55, 0.4, 0.3, 0.2, 0.12, 0.08),
    pace=(0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.6, 0.8, 0.6),
)
"""Chain sums of 2 to 10 terms: every level learns, at different rates."""
SKEWED = Law(
    starts=(0.985, 0.98, 0.975, 0.97, 0.4, 0.3, 0.01, 0.005, 0.002),
    pace=(0.5, 0.5, 0.5, 0.5, 0.7, 0.7, 0.0, 0.0, 0.0),
)
"""Four levels solved, three out of reach."""
