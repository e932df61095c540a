"""Evaluate: the student sits an exam, greedily, and a paired test decides whether it is better than the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from loop.bench import Bench, keyed
from loop.judging import Judge
from loop.records import CellScore, Checkpoint, Evaluation, Problem, Sample
from loop.room import ATTEMPTS, Room
from loop.seats import Draw
from loop.statistics import mcnemar, wilson


def sit_exam(problems: Sequence[Problem], student: Checkpoint, room: Room, bench: Bench) -> list[Sample]:
    """The student's greedy answer to every problem. What it costs was held back, so no limit ends it."""
    return bench.draw(room, ATTEMPTS, [Draw(bench.student_of(student), keyed(problems))])


def evaluate(
    exam: str, samples: Sequence[Sample], student: Checkpoint, judge: Judge, best: Evaluation | None = None
) -> Evaluation:
    """Scores by cell with 95 % intervals; against `best`, the verdict of the exact one-sided McNemar test."""
    attempts = [judge.attempt(sample) for sample in samples]
    solved = sorted(a.problem.id for a in attempts if a.correct)
    sat = Counter(a.problem.cell for a in attempts)
    right = Counter(a.problem.cell for a in attempts if a.correct)
    cells = [
        CellScore(skill=cell.skill, level=cell.level, n=sat[cell], correct=right[cell])
        for cell in sorted(sat, key=lambda cell: cell.order)
    ]
    return Evaluation(
        exam=exam,
        checkpoint=student.manifest,
        score=wilson(len(solved), len(attempts)),
        cells=tuple(cells),
        solved=tuple(solved),
        unanswered=sum(not a.response.strip() for a in attempts),
        cut_off=sum(a.finish == "length" for a in attempts),
        verdict=mcnemar(solved, best.solved) if best else None,
    )
