"""What lm-evaluation-harness said of a student, beside what we say."""

from __future__ import annotations

from math import sqrt
from typing import Any

from loop.records import Record, Score
from loop.statistics import wilson

EXAMS = ("dev", "test")
"""Tasks that are exams of the run itself."""


class Measure(Record):
    """One metric of one task."""

    task: str
    metric: str
    filter: str
    """How the answer was taken from the text, by the task's own name for it."""
    score: float
    error: float | None
    """One standard error."""
    n: int


class HarnessScore(Record):
    """One evaluation by lm-eval."""

    task: str
    round: int
    checkpoint: str
    """Digest of the student's manifest."""
    version: str
    """Of lm-eval."""
    shots: int | None
    limit: int | None
    measures: tuple[Measure, ...]
    ours: Score | None = None
    """On the very problems of an exam of ours; else None."""
    theirs: Score | None = None
    """The same problems, all sources together, as lm-eval scores them."""
    differing: tuple[str, ...] = ()
    """Ids of the problems that only one of the two calls solved."""

    @property
    def agrees(self) -> bool:
        """Whether our score is within one standard error of lm-eval's, or there is none to compare."""
        if self.ours is None or self.theirs is None:
            return True
        share = self.theirs.score
        return abs(self.ours.score - share) <= sqrt(share * (1 - share) / self.theirs.n)


def compare(score: HarnessScore, rows: tuple[dict[str, Any], ...], solved: tuple[str, ...]) -> HarnessScore:
    """The score with ours on the same problems beside it.

    Args: rows: lm-eval's, of exact matches; solved: ids of the problems that we found solved.
    """
    asked = {row["problem"] for row in rows}
    theirs = {row["problem"] for row in rows if row["scores"]["exact_match"] == 1}
    ours = asked & set(solved)
    return score.model_copy(
        update={
            "ours": wilson(len(ours), len(asked)),
            "theirs": wilson(len(theirs), len(asked)),
            "differing": tuple(sorted(ours ^ theirs)),
        }
    )
