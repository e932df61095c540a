"""Accepted: how a question of agentic self-instruct becomes rows to train on, or is refused, with its lineage.

The response is the strong solver's own: it is paid for, it was judged before the question was accepted, and the
student, who as the weak solver fails at just these questions, would be asked in vain for most of them. So nothing is
drawn again. Where a program marks, the reference is the problem's answer and the verifiers judge each response once
more, its working too; where a judge does, its mark goes with the response, and critics that are believed still may
refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agents.selfinstruct.bands import SLACK
from agents.selfinstruct.rows import Accepted, Round, Tried
from agents.writers import MOST_OF_STEP, Refused, Step, Written, digest_of
from loop.verifiers import Check
from loop.written import Piece, Sought

KIND = "agentic_self_instruct"
CITES = re.compile(r"\b(?:the|this|that|given|provided|quoted) (?:passage|source|excerpt|extract)s?\b", re.IGNORECASE)
"""How a strong solver that saw the source speaks of it: the student, who sees none, would learn to make one up."""


def pieces_of(row: Sought) -> Iterator[Piece]:
    """What a source came to: a piece for each response to its question, best ones only; or why there is none."""
    if row.pilot or not row.rounds:
        return
    last, accepted = row.rounds[-1], row.accepted
    if accepted is None:
        yield _refused(row, last.heading or "", f"{last.reason} (question {last.number} of the source)")
        return
    responses = list(_responses(row, last, accepted))
    if not responses:
        yield _refused(row, "response", "no attempt is right, or each speaks of a passage that the question lacks")
    prompt = f"{accepted.context}\n\n{accepted.question}" if accepted.context.strip() else accepted.question
    for number, (response, judged, role) in enumerate(responses):
        written = Written(
            key=digest_of("accepted", accepted.id, number),
            prompt=prompt,
            response=response,
            answer=accepted.reference if row.by_program else "",
            parent=accepted.source,
            lineage=(
                *_challenges(row.rounds),
                Step(name=role, text=response[:MOST_OF_STEP], prompt=getattr(accepted.prompts, role)),
            ),
            facets=(),
        )
        yield Piece(
            place=row.place, author=KIND, model=accepted.models[role], written=written, question=accepted,
            judged=judged,
        )  # fmt: skip


def _responses(row: Sought, last: Round, accepted: Accepted) -> Iterator[tuple[str, Check | None, str]]:
    """Responses, what the judge found of each, and who wrote it: the best attempts, as they are the surest.

    Where the bands ask nothing of a strong solver, its place is taken by the weak one's right attempts if a program
    marks, else by the reference, which the quality verifier has held against the source.
    """
    if not last.strong and not row.by_program:
        yield accepted.reference, Check(name="quality verifier", verdict="passed"), "challenger"
        return
    role = "strong" if last.strong else "weak"
    for tried in _best(last.strong or last.weak):
        if row.by_program and (tried.score or 0.0) < 1 - SLACK:
            continue
        if last.passage and CITES.search(tried.text) and not CITES.search(last.prompt):
            continue
        detail = f"{tried.score:.2f}: {tried.detail}"
        yield tried.text, None if row.by_program else Check(name="judge", verdict="passed", detail=detail), role


def _best(tried: Sequence[Tried]) -> list[Tried]:
    scores = [attempt.score for attempt in tried if attempt.score is not None]
    return [t for t in tried if t.score is not None and t.score >= max(scores) - SLACK]


def _challenges(rounds: Sequence[Round]) -> Iterator[Step]:
    """Every question of the source, with what became of it and the prompt that asked for it."""
    for done in rounds:
        text = done.challenge.question if done.challenge else done.reason
        name = f"question {done.number}: {done.heading or 'accepted'}"
        yield Step(name=name, text=text[:MOST_OF_STEP], prompt=done.prompts.challenger)


def _refused(row: Sought, stage: str, reason: str) -> Piece:
    refused = Refused(key=row.rounds[-1].id, parent=row.source, stage=stage, reason=reason)
    return Piece(place=row.place, author=KIND, model=row.models["challenger"], refused=refused)
