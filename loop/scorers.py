"""Scorers: who tells good extracts from bad ones this round, fitted anew, and measured on what they have not seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agents.replies import Plan
from loop.bench import Bench
from loop.extracts import Extract
from loop.prepared import Annotated, Scorer
from loop.quality import EmbedJob
from loop.quality_heads import cross_check, fit_head, fit_linear
from loop.records import Checkpoint, digest
from loop.room import SCORERS, Room

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 10
"""Texts below which nothing is learnt from them."""
GOOD = 4
"""Points from which an annotated extract is a positive of the linear scorer."""
NEGATIVES = 20_000
"""Of the linear scorer, at the most: all extracts but the positives, or as many by chance."""


def fit_scorers(
    plan: Plan, annotated: Sequence[Annotated], best: Checkpoint, room: Room, bench: Bench
) -> list[Scorer]:
    """The scorers that the plan asks for, with their scores of all extracts; the ledger says which is not believed.

    What they learnt is kept in the room's folder `scorers`.
    """
    extracts = bench.extracts.all if bench.extracts else ()
    scorers = []
    if plan.documents.quality in ("annotator", "ensemble"):
        scorers.append(_head(annotated, extracts, best, room, bench))
    if plan.documents.quality in ("linear", "ensemble"):
        scorers.append(_linear(annotated, extracts, room, bench))
    known = {text for _, _, text in room.ledger.events()}
    for scorer in scorers:
        words = f"round {room.name}: the {scorer.name} scorer of documents is not believed: {scorer.reason}"
        if not scorer.believed and words not in known:
            room.tell("quality", words)
    return scorers


def _head(
    annotated: Sequence[Annotated], extracts: Sequence[Extract], best: Checkpoint, room: Room, bench: Bench
) -> Scorer:
    """A linear head on frozen embeddings, learnt from what the annotator says (FineWeb-Edu, arXiv 2406.17557)."""
    points = {row.id: row.annotation.score for row in annotated if row.annotation.score is not None}
    if len(points) < FEWEST or len({*points.values()}) < 2:
        reason = f"the annotator scored {len(points)} extracts, {len({*points.values()})} different scores among them"
        return Scorer(name="annotator", learnt_from=len(points), reason=f"{reason}; {FEWEST} and 2 are needed")
    features = _features(extracts, best, room, bench)
    learnt = [i for i, extract in enumerate(extracts) if extract.id in points]
    encoder = bench.embeddings or best.manifest
    scores = [points[extracts[i].id] for i in learnt]
    head = fit_head(features[learnt], scores, encoder)
    mean = sum(scores) / len(scores)
    spread = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
    folder = room.folder / "scorers" / "annotator"
    return Scorer(
        name="annotator",
        folder=str(folder.relative_to(bench.run)),
        manifest=head.save(folder),
        made_from=head.made_from,
        encoder=encoder,
        learnt_from=len(learnt),
        error=head.error,
        baseline=spread * len(scores) / (len(scores) - 1),
        f1=head.f1,
        scores=_by_id(extracts, head.score(features)),
    ).judged()


def _features(extracts: Sequence[Extract], best: Checkpoint, room: Room, bench: Bench) -> NDArray[np.float32]:
    """A row of features an extract, made in a child."""
    import numpy as np

    out = room.folder / ".features.npy"
    model, kind = (bench.embeddings, "sentence") if bench.embeddings else (str(bench.run / best.path), "hidden")
    job = EmbedJob(model, tuple(extract.text for extract in extracts), str(out), kind)  # type: ignore[arg-type]
    bench.embed(room, SCORERS, job)
    features: NDArray[np.float32] = np.load(out, allow_pickle=False)
    Path(out).unlink()
    return features


def _linear(annotated: Sequence[Annotated], extracts: Sequence[Extract], room: Room, bench: Bench) -> Scorer:
    """Words and pairs of words: how like demonstrations and the best extracts a text is (DCLM, arXiv 2406.11794).

    All other extracts are negatives, so that none is marked down for having been one by chance; from positives and
    unlabelled texts the same order is learnt as from positives and true negatives (Elkan and Noto 2008).
    """
    good = {row.id for row in annotated if (row.annotation.score or 0) >= GOOD}
    positives = [f"{row.prompt}\n{row.response}" for row in bench.demonstrations]
    positives += [extract.text for extract in extracts if extract.id in good]
    others = [extract for extract in extracts if extract.id not in good]
    drawn = sorted(others, key=lambda extract: digest("negative", bench.seed, room.name, extract.id))[:NEGATIVES]
    negatives = [extract.text for extract in drawn]
    if min(len(positives), len(negatives)) < FEWEST:
        reason = f"there are {len(positives)} positives and {len(negatives)} negatives; {FEWEST} of each are needed"
        return Scorer(name="linear", learnt_from=len(positives) + len(negatives), reason=reason)
    linear = fit_linear(positives, negatives)
    error, baseline, f1 = cross_check(positives, negatives)
    folder = room.folder / "scorers" / "linear"
    return Scorer(
        name="linear",
        folder=str(folder.relative_to(bench.run)),
        manifest=linear.save(folder),
        made_from=linear.made_from,
        learnt_from=len(positives) + len(negatives),
        error=error,
        baseline=baseline,
        f1=f1,
        scores=_by_id(extracts, linear.score([extract.text for extract in extracts])),
    ).judged()


def _by_id(extracts: Sequence[Extract], scores: Sequence[float]) -> dict[str, float]:
    """Six figures are more than a scorer knows, and stay the same on the next machine."""
    return {extract.id: float(f"{score:.6g}") for extract, score in zip(extracts, scores, strict=True)}
