"""Evolution: a population of harnesses, of which a child joins only when it is strictly better than its parent.

Autodata's outer loop (arXiv 2606.25996). Every loser stays in the history; nothing of the evaluator is in a harness.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Sequence
from statistics import fmean

from agents.harness import Harness, mutate
from agents.selfinstruct.fairness import check_edit
from loop.records import Record, digest, seed_for

TEMPERATURE = 0.1
"""Of the choice of a parent, in shares of accepted documents: at 0.1, scores 0.2 and 0.4 are drawn as 12 to 88."""
TRIES = 50
"""Mutations that are looked at for one that was never tried."""


class Terms(Record):
    """What an evolution begins with, and keeps to."""

    documents: int
    """Held out to score on; as many more are sealed until the end."""
    repeats: int
    """Times that parent and child are scored in a generation: one score is noisy (published: 4 or more)."""
    seed: int


class Variant(Record):
    """A harness of the population."""

    id: str
    parent: str
    """"" for the first."""
    harness: Harness
    score: float
    """Mean share of held-out documents that gave an accepted question, 0 to 1, over all its scorings so far."""


class Proposal(Record):
    """A child before anybody has looked at it; None where there is none."""

    harness: Harness | None
    author: str
    reason: str = ""
    """Why there is none."""


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
    evaluator: str = ""
    """Digest of all that scored them, the same before and after."""


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
    """The population after these generations: the first, and every child that was accepted.

    A variant that was a parent was scored again: its score is the mean of all, as one alone may be luck.
    """
    scores = {first.id: [first.score]}
    joined = [first]
    for g in history:
        if g.parent_score is not None:
            scores.setdefault(g.parent, []).append(g.parent_score)
        if g.accepted and g.harness is not None and g.child_score is not None:
            scores.setdefault(g.child, []).append(g.child_score)
            joined.append(Variant(id=g.child, parent=g.parent, harness=g.harness, score=g.child_score))
    return [variant.model_copy(update={"score": fmean(scores[variant.id])}) for variant in joined]


def best_of(population: Sequence[Variant]) -> Variant:
    """The variant with the highest score; of equals the one that was there first."""
    return max(population, key=lambda variant: variant.score)


def mutate_anew(parent: Harness, seed: int, tried: Collection[str]) -> Proposal:
    """A seeded mutation whose id is not among those that were tried."""
    children = (mutate(parent, seed_for(seed, turn)) for turn in range(TRIES))
    child = next((child for child in children if variant_id(child) not in tried), None)
    return Proposal(
        harness=child, author="mutation", reason="" if child else "every mutation that was drawn is known"
    )


def fault_of(child: Harness, tried: Collection[str], models: Iterable[str]) -> str:
    """Why a child is not even scored, or "": it speaks of who solves a question, or was tried before.

    Args: tried: ids of variants. models: names of the solvers.
    """
    names = tuple(models)
    try:
        for line in child.guidance:
            check_edit(line, names)
    except ValueError as error:
        return str(error)
    return "it was tried before" if variant_id(child) in tried else ""
