"""Drill: which problems the student is reinforced on: those of the round that it solves sometimes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from agents.training import GRPO
from loop.bench import Bench
from loop.drilled import Drill
from loop.records import Cell, Critique, Problem, Sample, digest
from loop.room import Room

PRIOR = 2.0
"""Samples that the pass rate of a problem's cell counts for beside its own: one sample alone says little."""
DEFERRED = 1e-3
"""Weight of a problem that no sample solved: it is deferred, not deleted (mechanisms §9.3)."""


def choose_drills(
    choice: GRPO, samples: Sequence[Sample], critiques: Sequence[Critique], room: Room, bench: Bench
) -> list[Drill]:
    """As many of the round's practice problems as the plan wants, drawn by how much their answers will differ.

    The gain of a group is largest at a pass rate of ½ (CurES; SEC, arXiv 2505.14970: the mean absolute advantage), so
    a problem's weight is p (1 - p), and it is drawn without replacement (Efraimidis and Spirakis 2006): cells near ½
    get most of the places and not all. The round's own samples tell p for nothing; fresh problems would have to be
    sampled as often first. Where the student drew none, what others drew stands in.

    What all of several samples solved is dropped, what none did is deferred. Hinted samples, problems that were
    written (their answers are votes) and what stands in an exam do not count.
    """
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    of_cell: dict[Cell, list[int]] = {}
    problems: dict[str, Problem] = {}
    is_own = any(sample.sampler == "student" for sample in samples)
    for sample, critique in zip(samples, critiques, strict=True):
        problem = sample.problem
        if is_own and sample.sampler != "student":
            continue
        if sample.hinted or sample.written or problem.author or not problem.answer:
            continue
        problems[problem.id] = problem
        tried[problem.id] += 1
        passed[problem.id] += critique.passed
        cell = of_cell.setdefault(problem.cell, [0, 0])
        cell[0], cell[1] = cell[0] + critique.passed, cell[1] + 1
    drawn: list[tuple[float, Drill]] = []
    for key, problem in problems.items():
        right, of = passed[key], tried[key]
        if (of > 1 and right == of) or bench.exams.find(problem.prompt, ""):
            continue
        usual = of_cell[problem.cell]
        rate = (right + PRIOR * usual[0] / usual[1]) / (of + PRIOR)
        weight = DEFERRED if of > 1 and not right else max(DEFERRED, rate * (1 - rate))
        lot = (int(digest("drill", bench.seed, room.name, key), 16) + 1) / (16**16 + 1)
        drill = Drill(id=key, problem=problem, tried=of, passed=right, rate=round(rate, 4))
        drawn.append((math.log(lot) / weight, drill))
    drawn.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [drill for _, drill in drawn[: choice.problems]]
