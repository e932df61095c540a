"""Quality: what scores come to. Rounded scores, thresholds by percentile, and several scorers as one.

The scorers themselves are in `quality_heads`; what they read of a text, in `embedding`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

TOP = 5
"""The best score of an annotator with five points."""
KEEP = 3
"""The least rounded score that is kept (FineWeb-Edu, arXiv 2406.17557)."""
SHARE = 0.1
"""Share of a corpus that is kept (DCLM, arXiv 2406.11794: about the best tenth)."""


@dataclass(frozen=True)
class EmbedJob:
    """Work for `loop.embedding:embed`: one row of features a text, in their order, as float32 in a .npy file."""

    model: str
    """Folder or id: of the student, whose hidden states are taken, or of a sentence-transformers model."""
    texts: tuple[str, ...]
    out: str
    """The file to write. It is there when all of it is."""
    kind: Literal["hidden", "sentence"] = "hidden"
    most_tokens: int = 512
    """Of a text, as much as is read."""


@dataclass(frozen=True)
class Embedded:
    """What embedding came to."""

    rows: int
    size: int
    """Features of a text."""
    tokens: int
    """Non-padding tokens read."""
    parameters: int
    engine_seconds: float


@dataclass(frozen=True)
class Buckets:
    """How scores become whole numbers that can be compared between scorers.

    Thresholds stand at every 1/count of the corpus, and a score that reaches a threshold is above it; see `bucket`.
    """

    count: int = 20
    """Nemotron-CC (arXiv 2412.02595): 0 to 19."""
    ties: Literal["up", "down"] = "up"
    """Where equal scores go that lie across a threshold: up as in NVIDIA's own recipe, or down, so that a scorer
    which says the same of half a corpus lifts none of it."""


def rounded(score: float, top: int = TOP) -> int:
    """The score as a whole number from 0 to top; a half goes to the even one (FineWeb-Edu's published code)."""
    return round(max(0.0, min(float(top), score)))


def keeps(scores: Sequence[float], least: int = KEEP, top: int = TOP) -> list[bool]:
    """Which are kept: the threshold applies to the rounded score, so that 2.6 is kept by a threshold of 3."""
    return [rounded(score, top) >= least for score in scores]


def top_share(scores: Sequence[float], share: float = SHARE) -> float:
    """The threshold that this share of the scores reaches: a percentile of the corpus, whatever its scores are.

    Scores equal to the threshold reach it as well, however many.

    Raises: ValueError for no scores, a score that is no number, or a share outside 0 < share ≤ 1.
    """
    if not scores or not 0 < share <= 1:
        raise ValueError(f"{len(scores)} scores, share {share}: give one score or more, and a share above 0, up to 1")
    _check("the scorer", scores)
    return sorted(scores, reverse=True)[math.ceil(round(share * len(scores), 9)) - 1]


def bucket(scores: Sequence[float], weights: Sequence[int] | None = None, buckets: Buckets = Buckets()) -> list[int]:
    """Each score's place in its corpus, 0 to count - 1: the share of the corpus that scores no more, in steps of
    1/count (with ties "down": that scores less).

    Args: weights: how much of the corpus each row is, such as its bytes; None counts rows.
    """
    sizes = weights or [1] * len(scores)
    total = sum(sizes)
    order = sorted(range(len(scores)), key=scores.__getitem__)
    found = [0] * len(scores)
    below = 0
    for _, same in groupby(order, key=scores.__getitem__):
        rows = list(same)
        reached = below + sum(sizes[i] for i in rows)
        place = (reached if buckets.ties == "up" else below) * buckets.count // total
        for i in rows:
            found[i] = min(place, buckets.count - 1)
        below = reached
    return found


def ensemble(
    scores_by_name: Mapping[str, Sequence[float]],
    weights: Sequence[int] | None = None,
    buckets: Buckets = Buckets(),
) -> list[int]:
    """The best bucket that any scorer has for each row, all over the same corpus (Nemotron-CC, arXiv 2412.02595):
    scorers see different merits, so what one of them finds excellent stays.

    Raises: ValueError unless all score the same rows with numbers, of which each scorer tells two apart.
    """
    lengths = {len(scores) for scores in scores_by_name.values()} | ({len(weights)} if weights is not None else set())
    if len(lengths) != 1:
        raise ValueError(f"an ensemble needs one corpus, not {sorted(lengths)} rows: score the same with all")
    if weights is not None and min(weights, default=1) < 1:
        raise ValueError("a row weighs 1 or more; leave empty rows out")
    for name, scores in scores_by_name.items():
        _check(name, scores)
        if len(scores) > 1 and len({*scores}) == 1:
            raise ValueError(f"{name} scores every row {scores[0]}: it tells nothing apart; leave it out")
    columns = [bucket(scores, weights, buckets) for scores in scores_by_name.values()]
    return [max(row) for row in zip(*columns, strict=True)]


def _check(name: str, scores: Sequence[float]) -> None:
    if wrong := [i for i, score in enumerate(scores) if not math.isfinite(score)]:
        raise ValueError(f"{name} gives row {wrong[0]} the score {scores[wrong[0]]}; leave the row out")
