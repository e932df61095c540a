"""Rationalisation: a problem that no sample solved is tried with its answer as a hint, which no kept row may show.

STaR (arXiv 2203.14465): the hint is stripped, and the student learns the working as if it had found it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from agents.prompts import Prompt, render
from loop.objective import Demonstration

RUN = 5
"""Words in a row that a response may not share with the wording of the hint's prompt."""

_ANSWER = r"(?:answer|result|solution|value|total)"
_KNOWN = r"(?:known|given|provided|supplied|stated|expected|correct|right|reference|target|desired|required|official)"
_TOLD = r"(?:told|given|shown|provided with|informed)"
TALK = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bhint(?:s|ed)?\b",
        rf"\b(?:the|this|that|our|your|its) {_KNOWN} (?:final )?{_ANSWER}\b",
        rf"\b{_ANSWER}s? (?:that )?(?:\w+ )?(?:(?:we|i|you) (?:\w+ )?)?(?:was|were|is|are|am|have been|had been) "
        rf"(?:already )?(?:known|{_TOLD})\b",
        rf"\b(?:we|i|you) (?:already |also )*(?:know|knew|(?:were|was|are|am|have been|had been) {_TOLD}) "
        rf"(?:that )?(?:the|this|its) (?:final |correct |right )?{_ANSWER}\b",
        rf"\b(?:since|because|given that|knowing that|knowing) the (?:final )?{_ANSWER} (?:is|must|should|has to)\b",
        rf"\b(?:match(?:es|ing)?|agree(?:s|ing)? with|consistent with|confirm(?:s|ing)?|lead(?:s|ing)? to|"
        rf"arriv\w+ at|get to|reach(?:es|ing)?|justif\w+) (?:the|this|that|our) (?:{_KNOWN} |final )?answer\b",
        r"\bas (?:(?:was|were|is|it was|we were|i was) )?(?:given|told|provided)(?! (?:in|by) the (?:problem|"
        r"question|text|statement|story|task|table|figure))\b",
        r"\b(?:work(?:s|ing|ed)?|reason(?:s|ing|ed)?|go(?:es|ing)?) backwards? from (?:the|this) (?:\w+ )?" + _ANSWER,
        r"\brevers(?:e|ing)[- ]engineer",
    )
)
"""Ways of talking about an answer that was known beforehand, in folded text."""


def rationalise_prompt(
    problem: str, answer: str, *, place: str, examples: Sequence[Demonstration] = (), instructions: str = ""
) -> Prompt:
    """What a sampler is told of a problem that nobody solved. `place`: where the answer stands (`extract_answer`).

    The row to train on is the problem's bare prompt with the response; the prompt made here is never kept.
    """
    return render(
        "rationalise", problem=problem, answer=answer, place=place, examples=examples, instructions=instructions
    )


def mentions_hint(response: str, problem: str = "") -> str:
    """The words by which a response shows that its answer was told to it, or "".

    It does when it talks of a known answer (TALK), or shares RUN words in a row with the prompt's own wording that
    the problem does not have. Such a row is refused: it would teach to speak of hints that are not there. A refusal
    that is wrong costs one row: of 8,792 references of GSM8K two are refused, of 2,640 solutions by models none.
    """
    text = _plain(response)
    for pattern in TALK:
        if (found := pattern.search(text)) and found[0] not in _plain(problem):
            return found[0]
    allowed = set(_runs(problem))
    return next((run for run in _runs(response) if run in _wording() and run not in allowed), "")


@cache
def _wording() -> frozenset[str]:
    """All runs of words of the prompt that come from its template."""
    places = ("boxed", "tags", "####")
    return frozenset(run for place in places for run in _runs(rationalise_prompt("", "", place=place).text))


def _plain(text: str) -> str:
    return " ".join(text.replace("’", "'").casefold().split())


def _runs(text: str) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return [" ".join(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]
