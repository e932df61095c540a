"""The report's part on the exams: the score by suite, and what sampled answers come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from loop.records import Evaluation, Sampled, Score, SuiteScore
from loop.status import Standing


class SuiteRow(NamedTuple):
    """One suite of an exam."""

    exam: str
    suite: SuiteScore
    """As the student of round 0 did."""
    scores: list[Score | None]
    """Of round 0, the best and the control; None where one did not sit it, or is another of them."""


class SampledRow(NamedTuple):
    """What the sampled answers of one student to an exam come to."""

    exam: str
    who: str
    greedy: float
    sampled: Sampled


def suite_parts(standing: Standing) -> dict[str, Any]:
    """The page's variables `suites`, `is_weighted` and `sampled`."""
    suites = [row for exam in ("dev", "test") for row in _suite_rows(exam, _sittings(standing, exam))]
    sampled = [
        SampledRow(exam, who, found.score.score, found.sampled)
        for exam in ("dev", "test")
        for who, found in _sittings(standing, exam).items()
        if found.sampled and who != "control"
    ]
    return {
        "suites": suites,
        "is_weighted": any(row.exam == "dev" and row.suite.weight is not None for row in suites),
        "sampled": sampled,
    }


def _sittings(standing: Standing, exam: str) -> dict[str, Evaluation]:
    """Who sat an exam: start, best (where it is not round 0's student) and control."""
    sat = standing.exams.of(exam, standing.best)
    return {who: found for who, found in sat.items() if found and not (who == "best" and standing.best == 0)}


def _suite_rows(exam: str, sat: dict[str, Evaluation]) -> Iterator[SuiteRow]:
    """Nothing where the exam is one suite."""
    start = sat.get("start")
    if start is None or len(start.suites) < 2:
        return
    by_name = {who: {suite.name: suite.score for suite in found.suites} for who, found in sat.items()}
    for suite in start.suites:
        yield SuiteRow(exam, suite, [by_name.get(who, {}).get(suite.name) for who in ("start", "best", "control")])
