"""Curate: rules, not a model, decide which samples become examples and what the student is trained on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from agents.replies import Mixture, Plan
from loop.contamination import Exams
from loop.objective import Demonstration
from loop.records import Admission, Cell, Critique, Example, Sample, digest
from loop.tasks import folded


def admit(
    round_number: int, plan: Plan, samples: Sequence[Sample], critiques: Sequence[Critique], exams: Exams
) -> list[Admission]:
    """Decide on every sample that passed its critique: no duplicate, no more than the cap, nothing of an exam."""
    easy = _solved_by_all(samples, critiques)
    kept: Counter[str] = Counter()
    of_strategy: Counter[int] = Counter()
    written: set[tuple[str, str]] = set()
    admissions = []
    for sample, critique in zip(samples, critiques, strict=True):
        if not critique.passed:
            continue
        strategy = plan.strategies[sample.place]
        key = (sample.problem.id, folded(sample.response))
        reason = matched = ""
        if key in written:
            reason = "duplicate"
        elif strategy.skip_solved and sample.problem.id in easy:
            reason = "solved by all"
        elif kept[sample.problem.id] >= strategy.keep_per_problem or of_strategy[sample.place] >= strategy.most_rows:
            reason = "over the cap"
        elif matched := exams.match(sample.problem.prompt, sample.response):
            reason = "stands in an exam"
        else:
            kept[sample.problem.id] += 1
            of_strategy[sample.place] += 1
        written.add(key)
        example = None if reason else _example(sample, round_number)
        admissions.append(Admission(id=sample.id, reason=reason, matched=matched, example=example))
    return admissions


def _solved_by_all(samples: Sequence[Sample], critiques: Sequence[Critique]) -> set[str]:
    """Problems with several samples, all of which passed: nothing in them tells a better attempt from a worse."""
    tried = Counter(sample.problem.id for sample in samples)
    passed = Counter(s.problem.id for s, critique in zip(samples, critiques, strict=True) if critique.passed)
    return {problem for problem, number in tried.items() if number > 1 and passed[problem] == number}


def mix(
    demonstrations: Sequence[Demonstration],
    earlier: Sequence[Example],
    newest: Sequence[Example],
    mixture: Mixture,
) -> list[Example]:
    """The training mix: all demonstrations, earlier rounds' examples by the plan, and the newest.

    Older rows are repeated until the newest are no more than `mixture.newest` of the whole (Lee et al., arXiv
    2502.01612: half), and the demonstrations until they are `mixture.anchor` of it: accumulated, anchored data does
    not collapse (Gerstgrasser et al., arXiv 2404.01413).
    """
    shares = {Cell(c.skill, c.level): c.share for c in mixture.rehearse}
    anchor = [demonstration_row(row) for row in demonstrations]
    rehearsed = [row for row in earlier if _lot(row.id) < shares.get(Cell(row.skill, row.level), 1.0)]
    copies = _copies((1 - mixture.newest) / mixture.newest * len(newest), len(anchor) + len(rehearsed))
    others = copies * len(rehearsed) + len(newest)
    again = max(copies, _copies(mixture.anchor / (1 - mixture.anchor) * others, len(anchor)))
    return [
        *(row.model_copy(update={"copies": again}) for row in anchor),
        *(row.model_copy(update={"copies": copies}) for row in rehearsed),
        *newest,
    ]


def _copies(wanted: float, rows: int) -> int:
    """How often so many rows must stand there to be as many as wanted, at the least."""
    return max(1, math.ceil(wanted / rows)) if rows else 1


def demonstration_row(row: Demonstration) -> Example:
    """A demonstration as a row to train on."""
    return Example(
        id=digest("demonstration", row.prompt, row.response),
        prompt=row.prompt,
        response=row.response,
        origin="demonstration",
        round=0,
        skill=row.skill or "",
        level=row.level,
    )


def _example(sample: Sample, round_number: int) -> Example:
    return Example(
        id=digest("example", sample.problem.prompt, sample.response),
        prompt=sample.problem.prompt,
        response=sample.response.strip(),
        origin=sample.id,
        round=round_number,
        skill=sample.problem.skill,
        level=sample.problem.level,
        strategy=sample.strategy,
    )


def _lot(key: str) -> float:
    """A number in 0..1 that depends on the row alone: which rows of a cell are rehearsed."""
    return int(key[:8], 16) / 16**8
