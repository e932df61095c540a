"""Evolution: a population of harnesses, of which a child joins only when it is strictly better than its parent.

Autodata's outer loop (arXiv 2606.25996). Every loser stays in the history; nothing of the evaluator is in a harness.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from agents.harness import Harness
from loop.records import Record, digest

TEMPERATURE = 0.1
"""Of the choice of a parent, in shares of accepted documents: at 0.1, scores 0.2 and 0.4 are drawn as 12 to 88."""


class Variant(Record):
    """A harness of the population, with the score that it joined with."""

    id: str
    parent: str
    """"" for the first."""
    harness: Harness
    score: float
    """Mean share of held-out documents that gave an accepted question, 0 to 1."""


class Generation(Record):
    """One attempt to do better, whatever came of it."""

    number: int
    parent: str
    child: str
    """"" where none could be had."""
    harness: Harness | None
    author: str
    """The model that proposed it, or "mutation"."""
    parent_score: float | None
    """Scored again beside the child, on the same documents and as often."""
    child_score: float | None
    accepted: bool
    reason: str


def variant_id(harness: Harness) -> str:
    """Digest of all that a harness is."""
    return digest("harness", harness.model_dump(mode="json"))


def choose_parent(population: Sequence[Variant], seed: int, temperature: float = TEMPERATURE) -> Variant:
    """A parent with probability ∝ exp(score / temperature): a worse one keeps its chance."""
    best = max(variant.score for variant in population)
    weights = [math.exp((variant.score - best) / temperature) for variant in population]
    return random.Random(seed).choices(population, weights)[0]


def decide(parent_scores: Sequence[float], child_scores: Sequence[float]) -> tuple[bool, str]:
    """Whether a child joins, by the means of repeated scores: one score alone is noise, and a tie is a loss.

    Raises: ValueError when the two were not scored equally often.
    """
    if not parent_scores or len(parent_scores) != len(child_scores):
        raise ValueError(f"{len(parent_scores)} scores beside {len(child_scores)}; score both equally often")
    parent, child = (math.fsum(scores) / len(scores) for scores in (parent_scores, child_scores))
    if child > parent:
        return True, f"{child:.3f} beats {parent:.3f}"
    return False, f"{child:.3f} does not beat {parent:.3f}"


def population_of(first: Variant, history: Sequence[Generation]) -> list[Variant]:
    """The population after these generations: the first, and every child that was accepted."""
    joined = [
        Variant(id=g.child, parent=g.parent, harness=g.harness, score=g.child_score)
        for g in history
        if g.accepted and g.harness is not None and g.child_score is not None
    ]
    return [first, *joined]
