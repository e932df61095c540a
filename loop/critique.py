"""Critique: verifiers judge every sample."""

from __future__ import annotations

from collections.abc import Sequence

from loop.judging import Judge
from loop.records import Critique, Sample
from loop.room import Screen


def criticise(samples: Sequence[Sample], judge: Judge, screen: Screen) -> list[Critique]:
    """One critique a sample, in their order."""
    critiques = []
    for done, sample in enumerate(samples, 1):
        critiques.append(judge.critique(sample))
        if done % 200 == 0:
            screen.progress(done, len(samples), "verifying")
    return critiques


def false_positive_rates(critiques: Sequence[Critique]) -> tuple[float | None, float | None]:
    """How often the filters let through what they should not.

    Returns: of the passed samples, the share that the grounding check finds unsound, a check that takes no part in
    the filter; and of the samples with a right answer, the share with wrong or missing working, which an answer check
    alone would have let in. None where nothing could be checked.
    """
    measured = [c.false_positive for c in critiques if c.false_positive is not None]
    right = [c for c in critiques if c.checks[0].verdict == "passed" and len(c.checks) > 1]
    return (
        sum(measured) / len(measured) if measured else None,
        sum(c.checks[1].verdict != "passed" for c in right) / len(right) if right else None,
    )
