"""Prepare: where a plan says so, extracts of documents are scored, chosen and cleaned before anything is written.

Quality first: what it leaves out costs the refiner nothing. A challenger annotates and refines: wherever texts are
written from documents there is one, and of documents, which it has not written, it judges no work of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from agents.critics.annotator import annotate
from agents.replies import DocumentsChoice, Plan
from loop.bench import Bench
from loop.extracts import Extract
from loop.players import talking
from loop.prepared import LOW, Annotated, Prepared, Scorer
from loop.quality import ensemble, keeps, top_share
from loop.records import digest
from loop.refining import Refined, refine
from loop.room import ANNOTATIONS, PREPARED, Room

AT_ONCE = 16
"""Questions at once, at the most; an endpoint is asked no faster than it stands."""


def annotate_extracts(plan: Plan, room: Room, bench: Bench) -> list[Annotated]:
    """What the annotator says of as many extracts as the plan names, drawn by chance; none where it asks for none."""
    if plan.documents.quality not in ("annotator", "ensemble"):
        return []
    everything = bench.extracts.all if bench.extracts else ()
    drawn = sorted(everything, key=lambda extract: digest("annotate", bench.seed, room.name, extract.id))
    extracts = drawn[: plan.documents.annotated]
    rows: list[Annotated] = []
    with talking(bench.writer(plan.documents.by), "challenger", room, ANNOTATIONS, bench) as talker:
        for first in range(0, len(extracts), AT_ONCE):
            asked = extracts[first : first + AT_ONCE]
            said = annotate(talker, [extract.text for extract in asked], threads=AT_ONCE)
            rows += [Annotated(id=e.id, annotation=a) for e, a in zip(asked, said, strict=True)]
            bench.crew.tick()
            room.screen.progress(len(rows), len(extracts), "annotating")
    return rows


def prepare(
    plan: Plan, annotated: Sequence[Annotated], scorers: Sequence[Scorer], room: Room, bench: Bench
) -> list[Prepared]:
    """One row an extract, in their order."""
    extracts = bench.extracts.all if bench.extracts else ()
    points = {row.id: row.annotation for row in annotated}
    chosen, buckets = choose(plan.documents, [extract.id for extract in extracts], scorers)
    refined = _refine_all([e for e in extracts if chosen[e.id]], plan, room, bench) if plan.documents.refine else {}
    rows = []
    for extract in extracts:
        said = points.get(extract.id)
        row = Prepared(
            id=extract.id,
            document=extract.document,
            kept=chosen[extract.id],
            reason="" if chosen[extract.id] else LOW,
            annotation=said.score if said else None,
            scores={scorer.name: scorer.scores[extract.id] for scorer in scorers if scorer.scores},
            bucket=buckets.get(extract.id),
            prompts=(said.prompt,) if said and said.prompt else (),
        )
        done = refined.get(extract.id)
        rows.append(_after(row, done, extract, bench) if done else row)
    return rows


def choose(
    choice: DocumentsChoice, ids: Sequence[str], scorers: Sequence[Scorer]
) -> tuple[dict[str, bool], dict[str, int]]:
    """Which extracts are kept, and their buckets, by the scorers that are believed; all and none where none is."""
    columns: dict[str, list[float]] = {
        scorer.name: [scorer.scores[key] for key in ids] for scorer in scorers if scorer.believed
    }
    if not columns:
        return dict.fromkeys(ids, True), {}
    buckets = ensemble(columns)
    if choice.quality == "annotator":
        kept = keeps(columns["annotator"], choice.least)
    else:
        # With ensemble an extract counts for its best bucket, with linear for its score.
        scores = columns["linear"] if choice.quality == "linear" else [float(place) for place in buckets]
        threshold = top_share(scores, choice.share)
        kept = [score >= threshold for score in scores]
    return dict(zip(ids, kept, strict=True)), dict(zip(ids, buckets, strict=True))


def with_prepared(rows: Sequence[Prepared], bench: Bench) -> Bench:
    """The bench of a round that goes on with what is kept, as it was cleaned.

    What quality alone left out stays at hand for who rewrites the low ones.
    """
    if bench.extracts is None:
        return bench
    found = {extract.id: extract for extract in bench.extracts.all}

    def as_prepared(row: Prepared) -> Extract:
        new = {"text": row.text or found[row.id].text, "refined": row.refined, "bucket": row.bucket}
        return found[row.id].model_copy(update=new)

    kept = [as_prepared(row) for row in rows if row.kept]
    low = [as_prepared(row) for row in rows if row.reason == LOW]
    return replace(bench, extracts=bench.extracts.narrowed(kept, low))


def _refine_all(extracts: Sequence[Extract], plan: Plan, room: Room, bench: Bench) -> Mapping[str, Refined]:
    """The extracts after their programs, by id. The first error ends the asking; what was answered is kept."""
    done: dict[str, Refined] = {}
    pool = ThreadPoolExecutor(AT_ONCE)
    with talking(bench.writer(plan.documents.by), "challenger", room, PREPARED, bench) as talker:
        try:
            texts = [extract.text for extract in extracts]
            for extract, row in zip(extracts, pool.map(partial(refine, talker), texts), strict=True):
                done[extract.id] = row
                bench.crew.tick()
                room.screen.progress(len(done), len(extracts), "refining")
        finally:
            pool.shutdown(cancel_futures=True)
    return done


def _after(row: Prepared, refined: Refined, extract: Extract, bench: Bench) -> Prepared:
    """The row of an extract that was refined. One of which nothing usable was said stands as it was."""
    changed = refined.text if refined.text not in ("", extract.text) else ""
    # A program may put words in: what it made of a text is searched like the text itself.
    held = bench.extracts.held_in(changed) if changed and bench.extracts else ""
    reason = "stands in an exam" if held else ""
    if refined.status == "dropped":
        reason = "nothing of it is left" if refined.chunks else "the refiner drops it"
    return row.model_copy(
        update={
            "kept": not reason,
            "reason": reason,
            "detail": held or refined.reason,
            "text": "" if reason else changed,
            "refined": digest(changed) if changed and not reason else "",
            "executed": refined.executed,
            "skipped": refined.skipped,
            "malformed": refined.malformed,
            "unusable": refined.unusable,
            "prompts": (*row.prompts, *refined.prompts[: 1 + bool(refined.chunks)]),
        }
    )
