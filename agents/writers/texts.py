"""Recipes that make problems and other texts of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.prompts import render
from agents.writers import Source, Written, digest_of
from agents.writers.draft import Draft, Nothing
from agents.writers.overlap import overlap
from agents.writers.settings import BackTranslation, Nemotron, Rephrase, Rewrite, Summarise, Transform

COPY = 0.95
"""ROUGE-L from which a text is the one that it should have been made from."""
SHORTER = 0.7
"""Characters of a summary, as a share of its text's, that it must stay below."""


def translate_back(draft: Draft, settings: BackTranslation) -> Iterator[Written]:
    """The request that a text answers."""
    text = draft.whole_text()
    said = draft.prose("request", "back_translate")
    if overlap(said, text) >= COPY:
        raise Nothing("request", "the text itself")
    yield draft.written(said, text)


def transform(draft: Draft, settings: Transform) -> Iterator[Written]:
    """Text to content, to a problem, to suggestions, to the edited problem."""
    draft.whole_text()
    content = draft.prose("transformation", "transform")
    seed = draft.problem("instruction", "seed_instruction", content=content)
    advice = draft.prose("refinement: suggestion", "suggest", content=content, problem=seed)
    yield draft.posed(draft.problem("refinement: edit", "edit", content=content, problem=seed, advice=advice))


def rewrite(draft: Draft, settings: Rewrite) -> Iterator[Written]:
    """A text in another tone."""
    text = draft.whole_text()
    said = draft.prose("rewriting", "rewrite", asks_student=False)
    if overlap(said, text) >= COPY:
        raise Nothing("rewriting", "the text itself")
    yield draft.written(_student_prompt(draft, "rewrite"), said)


def summarise(draft: Draft, settings: Summarise) -> Iterator[Written]:
    """A summary that is shorter than its text."""
    text = draft.whole_text()
    said = draft.prose("summary", "summarise", asks_student=False)
    if len(said) >= SHORTER * len(text):
        raise Nothing("summary", f"{len(said)} characters for {len(text)}")
    yield draft.written(_student_prompt(draft, "summarise"), said)


def rephrase(draft: Draft, settings: Rephrase) -> Iterator[Written]:
    """A text in other words."""
    text = draft.whole_text()
    said = draft.prose("rephrasing", "rephrase")
    if overlap(said, text) >= COPY:
        raise Nothing("rephrasing", "the text itself")
    yield draft.written("", said)


def refine_by_quality(draft: Draft, settings: Nemotron) -> Iterator[Written]:
    """What a text of low or high quality is turned into."""
    draft.whole_text()
    form = draft.facets["form"]
    if form == "questions":
        for place, (question, answer) in enumerate(draft.questions(form, "nemotron")):
            yield draft.written(question, answer, place=place)
    else:
        yield draft.written("", draft.prose(form, "nemotron"))


def _student_prompt(draft: Draft, template: str) -> str:
    """What the student is asked: the same words as the writer was, with the text as it stands."""
    return render(f"writers/{template}", source=draft.source, asks_student=True, **draft.facets).text.strip()


def pair_one_to_one(
    originals: Sequence[Source], rephrases: Sequence[Written], seed: int
) -> list[tuple[Source, Written]]:
    """Each original with one of its rephrases, as WRAP trains (1:1; arXiv 2401.16380).

    What has no partner is left out; which of several rephrases it is hangs on seed and key alone.
    """
    chosen: dict[str, Written] = {}
    for row in sorted(rephrases, key=lambda row: digest_of("one of", seed, row.key)):
        chosen.setdefault(row.parent, row)
    found = {original.id: original for original in originals}
    return [(original, chosen[original.id]) for original in found.values() if original.id in chosen]
