"""Recipes that write by topic, audience, persona and constraint."""

from __future__ import annotations

from collections.abc import Iterator

from agents.prompts import render
from agents.writers import Written
from agents.writers.constraints import draw_constraints, unmet
from agents.writers.draft import Draft, Nothing
from agents.writers.settings import Constraints, Exercises, Grounded, Personas, Textbook
from agents.writers.words import words

CUT = 1000
"""Characters of an extract that a text starts from (Cosmopedia)."""


def write_textbook(draft: Draft, settings: Textbook) -> Iterator[Written]:
    """A section of a textbook for a pair of topic and audience."""
    draft.pair(settings.topics, settings.audiences)
    yield draft.written("", draft.prose("textbook", "textbook"))


def write_exercise(draft: Draft, settings: Exercises) -> Iterator[Written]:
    """A problem with its solution for a pair of topic and audience."""
    draft.pair(settings.topics, settings.audiences)
    yield draft.posed(draft.problem("exercise", "exercise"))


def write_grounded(draft: Draft, settings: Grounded) -> Iterator[Written]:
    """A text in some style for some audience after an extract, whose title is named with p = 0.5 (Cosmopedia)."""
    draft.pick("audience", settings.audiences or words("audiences"))
    draft.facets["topic"] = draft.source.title if draft.luck("topic") % 2 else ""
    yield draft.written("", draft.prose("text", "grounded", extract=draft.source.text[:CUT]))


def write_as_persona(draft: Draft, settings: Personas) -> Iterator[Written]:
    """A problem of a persona: one of the text, or of the list where there is none."""
    if draft.has_source:
        persona = draft.prose("persona", "persona_of_text", extract=draft.source.text[:CUT])
    else:
        persona = draft.pick("persona", words("personas"))
    if settings.related:
        persona = draft.prose("related persona", "persona_related", persona=persona)
    draft.facets["persona"] = persona[:500]
    yield draft.posed(draft.problem("problem", "persona_problem"))


def write_constrained(draft: Draft, settings: Constraints) -> Iterator[Written]:
    """A request with constraints, and a response that met every one of them."""
    draft.pair(settings.topics, settings.audiences)
    request = draft.prose("request", "request")
    drawn = draw_constraints(settings.most, draft.luck("constraints"))
    draft.facets["constraints"] = " ".join(constraint.name for constraint in drawn)
    asked = render("writers/constrained", request=request, constraints=[c.text for c in drawn])
    response = draft.said("response", asked)
    if failed := unmet(drawn, response):
        raise Nothing("response", f"not met: {failed.text}")
    yield draft.written(asked.text.strip(), response)
