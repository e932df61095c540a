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
