"""Fairness: weak and strong solvers are told the same bytes, and nothing that they are told speaks of solvers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from agents.critics.guards import LOOKALIKES
from agents.prompts import Prompt, render

_WHO = r"(?:solver|model|llm|lm|assistant|agent|reader|bot|chatbot)s?\b"
_KIND = (
    r"(?:weak|strong|small|large|tiny|big|dumb|limited|poor|(?:less|more) (?:capable|able)|in(?:capable|competent)"
    r"|\d+(?:\.\d+)?[bm]\b)(?:er|r|est)?"
)
NAMING = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:weak|strong)(?:er|est)?[ -](?:(?:language|ai|base|llm|reference)[ -]){{0,2}}{_WHO}",
        r"(?:\b(?:you are|you're|act(?:ing)? (?:as|like)|pretend(?:ing)? (?:to be|that you are|you are)"
        r"|behave (?:as|like)|play(?:ing)?(?: the (?:role|part) of)?|(?:respond|answer|reply|write) (?:as|like))"
        rf"|(?:^|[.!?:;,] )as) (?:an? |the )?(?:\w+[ -]){{0,2}}{_KIND}[ -](?:[\w-]+ ){{0,3}}(?:ai|network|{_WHO})",
        r"\b(?:act|pretend to be|pretend you are|behave|play) (?:as |like )?(?:an? |the )?"
        r"(?:weak|dumb|stupid|incompetent|incapable)(?:er|r|est)?\b",
    )
)
"""How a text speaks of who solves it: agents told the weak solver to act weak (facebookresearch/RAM, autodata)."""


class SolverPrompts(NamedTuple):
    """What each solver is told. `passage` is what the strong one is told beyond the weak one: "" but by setting."""

    weak: Prompt
    strong: Prompt
    passage: str


def solver_prompts(
    context: str, question: str, place: str = "", passage: str = "", names: Iterable[str] = ()
) -> SolverPrompts:
    """The prompt for both solvers, one rendering; the strong one's ends with the passage where there is one.

    Args: place: where the answer has to stand (as in `sample.md.j2`); "" leaves it open. names: of the solvers.

    Raises: ValueError when the prompt, template and question together, speaks of who solves it.
    """
    prompt = render("self_instruct_solver", context=context, question=question, place=place)
    check_edit(prompt.text, names)
    if not passage:
        return SolverPrompts(prompt, prompt, "")
    more = render("self_instruct_passage", passage=passage)
    strong = Prompt(f"{prompt.text}\n{more.text}", digest_of(prompt.digest + more.digest))
    return SolverPrompts(prompt, strong, f"\n{more.text}")


def check_same(weak: str, strong: str, passage: str = "") -> None:
    """Raise ValueError unless the bytes for the strong solver are the weak one's, with the passage after them."""
    if digest_of(strong) != digest_of(weak + passage):
        raise ValueError("weak and strong solver are told different things; give both the same prompt")


def check_edit(text: str, names: Iterable[str] = ()) -> None:
    """Raise ValueError for a prompt, or an edit of one, that speaks of who solves it; see `names_solver`."""
    if naming := names_solver(text, names):
        raise ValueError(f"speaks of who solves it: {naming!r}; take it out")


def names_solver(text: str, names: Iterable[str] = ()) -> str:
    """Where a text speaks of the solver, or ""; lookalike and invisible letters and case make no difference.

    Args: names: of the models. One without a digit is left alone: "student" is an ordinary word.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    plain = " ".join(re.sub(r"[*_`\"“”]+", "", plain.translate(LOOKALIKES).casefold().replace("’", "'")).split())
    own = (name.rstrip("/").rpartition("/")[2].casefold() for name in names)
    exact = [re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for name in own if any(map(str.isdigit, name))]
    for pattern in (*NAMING, *exact):
        if found := pattern.search(plain):
            return found[0]
    return ""


def digest_of(text: str) -> str:
    """The first 16 hex digits of the SHA-256 over the bytes."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
