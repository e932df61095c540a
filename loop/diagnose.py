"""Diagnose: wrong attempts on fresh practice problems become failure modes that the next plan must answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agents.briefs import Evidence, Tally
from agents.replies import Diagnosis
from loop.bench import Bench
from loop.earlier import Earlier
from loop.judging import Judge
from loop.records import Checkpoint, Problem, Sample, digest
from loop.room import PROBE, Room
from loop.seats import Draw

PROBLEMS_PER_CELL = 20
"""Enough to tell a solved cell from a learning one; the probe may be quoted to the planner."""


def sit_probe(student: Checkpoint, earlier: Earlier, room: Room, bench: Bench) -> list[Sample]:
    """Greedy answers to fresh practice problems of every cell."""
    problems: dict[str, Problem] = {}
    for cell in bench.tasks.practice:
        seed = bench.seed_for(room.name, "probe", *cell)
        found = bench.tasks.draw(cell, PROBLEMS_PER_CELL, seed, earlier.seen)
        found = found or bench.tasks.draw(cell, PROBLEMS_PER_CELL, seed, ())
        problems |= {digest("probe", room.name, problem.id): problem for problem in found}
    return bench.draw(room, PROBE, [Draw(bench.student_of(student), problems)])


def diagnose(samples: Sequence[Sample], bench: Bench) -> Diagnosis:
    """Hand the judged attempts to whoever diagnoses. One that recites an exam is left out: examples are quoted."""
    shown = [sample for sample in samples if not bench.exams.match(sample.problem.prompt, sample.response)]
    return bench.rules.diagnose([_evidence(sample, bench.judge) for sample in shown])


def tally_probe(samples: Sequence[Sample], judge: Judge) -> tuple[Tally, ...]:
    """Tries and right answers of the probe by cell."""
    attempts = [judge.attempt(sample) for sample in samples]
    tried = Counter(a.problem.cell for a in attempts)
    right = Counter(a.problem.cell for a in attempts if a.correct)
    return tuple(
        Tally(skill=cell.skill, level=cell.level, tried=tried[cell], passed=right[cell])
        for cell in sorted(tried, key=lambda cell: cell.order)
    )


def _evidence(sample: Sample, judge: Judge) -> Evidence:
    attempt = judge.attempt(sample)
    problem = sample.problem
    return Evidence(
        skill=problem.skill, level=problem.level, prompt=problem.prompt, answer=problem.answer,
        response=sample.response, correct=attempt.correct, finish=sample.finish, kind=attempt.kind,
        detail=attempt.detail,
    )  # fmt: skip
