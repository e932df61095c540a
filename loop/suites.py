"""Suites: an exam that is a list of sources is scored by source, and as their mean where weights are stated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loop.errors import ObjectiveError
from loop.records import Attempt, Evaluation, Problem, Score, SuiteScore
from loop.settings import Exam
from loop.statistics import Paired, paired_gain, weighted, weighted_gain, wilson


class Suite(NamedTuple):
    """One source of an exam that is a list of them."""

    name: str
    weight: float | None
    """As written, 1 where others have one; None where none has, so that the exam is scored as one pool."""


def suites_of(exam: Exam, first: int) -> dict[int, Suite]:
    """The suites of an exam by their source's index, the first of which is given; none where it is from practice.

    A suite is called by its skill, else by its task or file; those of one name are numbered.
    """
    is_weighted = len(exam.sources) > 1 and any(source.weight is not None for source in exam.sources)
    met: Counter[str] = Counter()
    found = {}
    for index, source in enumerate(exam.sources, first):
        name = source.skill or (Path(source.source).stem if source.is_file else source.task)
        met[name] += 1
        name += f" ({met[name]})" if met[name] > 1 else ""
        found[index] = Suite(name, (source.weight or 1.0) if is_weighted else None)
    return found


def refuse_empty(suites: Mapping[int, Suite], problems: Sequence[Problem]) -> None:
    """Raise ObjectiveError where a suite has no problem: all of its own stand in an earlier one."""
    for index in sorted(suites.keys() - {problem.source for problem in problems}):
        raise ObjectiveError(
            f"tasks: {suites[index].name} has no problem that another suite has not; take it out of the exam"
        )


def score_suites(attempts: Sequence[Attempt], suites: Mapping[int, Suite]) -> tuple[SuiteScore, ...]:
    """The score of each suite that was sat, in the order of the sources; the weights of those together 1."""
    by_source: defaultdict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if attempt.problem.source in suites:
            by_source[attempt.problem.source].append(attempt)
    whole = sum(suites[index].weight or 0.0 for index in by_source)
    scores = []
    for index in sorted(by_source):
        name, weight = suites[index]
        solved = sorted(a.problem.id for a in by_source[index] if a.correct)
        score = wilson(len(solved), len(by_source[index]))
        share = None if weight is None else weight / whole
        scores.append(SuiteScore(name=name, weight=share, score=score, solved=tuple(solved)))
    return tuple(scores)


def score_exam(attempts: Sequence[Attempt], suites: Sequence[SuiteScore]) -> Score:
    """The exam's score: the suites' mean where they have weights, else the share of all problems."""
    parts = [(suite.score, suite.weight) for suite in suites if suite.weight is not None]
    return weighted(parts) if parts else wilson(sum(a.correct for a in attempts), len(attempts))


def paired_suites(new: Evaluation, old: Evaluation) -> list[Paired]:
    """Two students on the same exam, suite by suite; none where the exam is scored as one pool."""
    before = {suite.name: set(suite.solved) for suite in old.suites}
    return [
        Paired(
            better=len(set(suite.solved) - before[suite.name]),
            worse=len(before[suite.name] - set(suite.solved)),
            n=suite.score.n,
            weight=suite.weight,
        )
        for suite in new.suites
        if suite.weight is not None and suite.name in before
    ]


def gain_over(old: Evaluation, new: Evaluation) -> tuple[float, float, float]:
    """The gain of a student over another on the same exam, with its 95 % interval."""
    suites = paired_suites(new, old)
    return weighted_gain(suites) if suites else paired_gain(new.solved, old.solved, new.score.n)


def as_public(found: Evaluation) -> dict[str, Any]:
    """What `--json` has of an exam beside its score: `suites`, and `pass_at` where answers were sampled."""
    told: dict[str, Any] = {}
    if found.suites:
        told["suites"] = [
            {"name": suite.name, "weight": suite.weight} | suite.score.model_dump(exclude={"correct"})
            for suite in found.suites
        ]
    if found.sampled:
        told["pass_at"] = found.sampled.model_dump() | {"pass_at": {at.k: at.share for at in found.sampled.pass_at}}
    return told
