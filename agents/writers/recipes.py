"""Recipes: for each strategy that writes, what it starts from, and the rows that come of an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from agents.talk import Talker
from agents.writers import Order, Refused, Source, Written, digest_of, problems, texts, topics
from agents.writers.draft import Draft, Nothing


class Recipe(NamedTuple):
    """How a strategy writes."""

    needs: frozenset[str]
    """Kinds of sources that it can start from; with "" among them it can do without."""
    write: Callable[[Draft, Any], Iterator[Written]]
    facet: str = ""
    """What varies before the source does; the settings' choices stand in the field of that name with an s."""


def write(order: Order, talker: Talker) -> Iterator[Written | Refused]:
    """All rows of an order, in the order of their numbers, those that came to nothing among them.

    Raises: what `Talker.ask` raises; what was yielded before stands.
    """
    recipe = RECIPES[order.settings.kind]
    usable = {source.id: source for source in order.sources if source.kind in recipe.needs}
    sources = sorted(usable.values(), key=lambda source: digest_of("order", order.seed, source.id))
    numbers = range(order.first, order.first + order.settings.count)
    pool = ThreadPoolExecutor(order.at_once)
    try:
        for rows in pool.map(lambda number: _rows(order, recipe, sources, number, talker), numbers):
            yield from rows
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(
    order: Order, recipe: Recipe, sources: list[Source], number: int, talker: Talker
) -> list[Written | Refused]:
    variants = getattr(order.settings, f"{recipe.facet}s") if recipe.facet else ("",)
    source = sources[number // len(variants) % len(sources)] if sources else None
    draft = Draft(order, source, number, talker, sources)
    if recipe.facet:
        draft.facets[recipe.facet] = variants[number % len(variants)]
    rows: list[Written | Refused] = []
    try:
        for row in recipe.write(draft, order.settings):
            rows.append(row)
    except Nothing as nothing:
        rows.append(draft.refused(nothing))
    return rows


TEXT = frozenset({"extract", "document"})
NONE = frozenset({""})
RECIPES: Mapping[str, Recipe] = {
    "self_instruct": Recipe(frozenset({"demonstration"}), problems.instruct_oneself),
    "evol_instruct": Recipe(frozenset({"demonstration"}), problems.evolve, "operator"),
    "failure_variants": Recipe(frozenset({"failure"}), problems.vary_failure),
    "back_translation": Recipe(TEXT, texts.translate_back),
    "magpie": Recipe(NONE, problems.open_turn),
    "textbook": Recipe(NONE, topics.write_textbook),
    "exercises": Recipe(NONE, topics.write_exercise),
    "grounded": Recipe(TEXT, topics.write_grounded, "style"),
    "personas": Recipe(TEXT | NONE, topics.write_as_persona),
    "transform": Recipe(TEXT, texts.transform, "form"),
    "constraints": Recipe(NONE, topics.write_constrained),
    "rewrite": Recipe(TEXT, texts.rewrite, "style"),
    "summarise": Recipe(TEXT, texts.summarise, "size"),
    "rephrase": Recipe(TEXT, texts.rephrase, "style"),
    "nemotron": Recipe(TEXT, texts.refine_by_quality, "form"),
}
"""By the `kind` of their settings."""
