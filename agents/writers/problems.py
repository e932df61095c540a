"""Recipes that make problems: from demonstrations, from failures, and from nothing but a model's habits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from agents.prompts import Prompt
from agents.strategies import Reply
from agents.verdicts import Said
from agents.writers import Written
from agents.writers.draft import Draft, Nothing, Problem
from agents.writers.overlap import overlap
from agents.writers.settings import EvolInstruct, FailureVariants, Magpie, SelfInstruct

FEW_WORDS = 80
"""A solution below them that is sorry is a refusal (WizardLM)."""
SPEAKS_OF_TASK = re.compile(
    r"#\w+ (?:prompt|problem)#|\b(?:given|rewritten|original|evolved|new) (?:prompt|instruction)\b", re.IGNORECASE
)
TURN = re.compile(r"<\|[^|<>\n]{1,40}\|>|\[/?INST\]|<(?:start|end)_of_turn>")
STOP_WORDS = frozenset(
    "a an and are as at be but by for from has have he i if in is it its no not of on or she so that the their then "
    "there they this to was we were which will with yes you".split()
)


class Compared(Reply):
    """Whether two problems ask for the same. The reason comes first."""

    reason: Said
    same: bool


def instruct_oneself(draft: Draft, settings: SelfInstruct) -> Iterator[Written]:
    """A new problem after a few demonstrations; no near-copy of what was shown (Self-Instruct, arXiv 2212.10560)."""
    shown = [draft.source, *draft.beside(settings.shown - 1)]
    said = draft.problem("problem", "self_instruct", shown=shown)
    if max(overlap(said.prompt, other.text) for other in shown) >= settings.most_overlap:
        raise Nothing("problem", "a copy of one that was shown")
    yield draft.posed(said)


def evolve(draft: Draft, settings: EvolInstruct) -> Iterator[Written]:
    """A problem made harder or other, step by step; what WizardLM's rules eliminate comes to nothing."""
    given, operators = draft.source.text, list(settings.operators)
    operator = draft.facets["operator"]
    evolved: list[str] = []
    for step in range(1, settings.steps + 1):
        said = draft.problem(f"evolution {step}", "evolve", operator=operator, problem=given)
        _eliminate(draft, f"evolution {step}", given, said)
        evolved.append(operator)
        given, operator = said.prompt, operators[draft.luck("operator", step) % len(operators)]
    draft.facets["operator"] = " ".join(evolved)
    yield draft.posed(said)


def _eliminate(draft: Draft, stage: str, given: str, said: Problem) -> None:
    """The four rules of WizardLM (arXiv 2304.12244); the one that needs a model comes last."""
    solution = re.findall(r"\w+", said.solution.casefold())
    if "sorry" in solution and len(solution) < FEW_WORDS:
        raise Nothing(stage, "its solution is an apology")
    if STOP_WORDS.issuperset(solution):
        raise Nothing(stage, "its solution is stop words alone")
    if SPEAKS_OF_TASK.search(said.prompt) and not SPEAKS_OF_TASK.search(given):
        raise Nothing(stage, "speaks of the task of rewriting")
    pair = {"problem": given, "evolved": said.prompt}
    if overlap(given, said.prompt) >= 1 or draft.reply(f"{stage} compared", "same", Compared, **pair).same:
        raise Nothing(stage, "asks for the same as before")


def vary_failure(draft: Draft, settings: FailureVariants) -> Iterator[Written]:
    """A variant of what the student failed at, never of a synthetic one (LLM2LLM, arXiv 2403.15042)."""
    if draft.source.synthetic:
        raise Nothing("source", "synthetic: variants are made of seed problems alone")
    said = draft.problem("variant", "failure_variant")
    if overlap(said.prompt, draft.source.text) >= 1:
        raise Nothing("variant", "the problem itself")
    yield draft.posed(said)


def open_turn(draft: Draft, settings: Magpie) -> Iterator[Written]:
    """The user's turn, by a model that is given the text before it and nothing else (arXiv 2406.08464)."""
    if not draft.order.opening:
        raise Nothing("user turn", "the model's opening of a user's turn is not known")
    said = draft.said("user turn", Prompt(draft.order.opening, ""), whole=True)
    if TURN.search(said):
        raise Nothing("user turn", "opens another turn")
    yield draft.written(said, "")
