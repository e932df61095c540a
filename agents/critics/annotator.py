"""The annotator: a model gives a text a point for each statement that is true of it; the sum is made here.

Additive points as in FineWeb-Edu (arXiv 2406.17557): one judge did better there than a jury of three.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

from agents.critics import seed_of
from agents.critics.guards import refusal
from agents.prompts import render
from agents.strategies import Reply
from agents.talk import Message, Question, Talker, Unusable, ask_for
from agents.verdicts import Criterion, Mark, Marks, Rubric, marks_schema, one_line

THREADS = 32
"""Questions at once, at the most."""

EDUCATIONAL = Rubric(
    criteria=(
        Criterion(name="informs", text="Some of it tells something about a subject that one can learn.", weight=1),
        Criterion(
            name="on_subject",
            text="More of it is about such a subject than about anything else (selling, news, talk), however shallow "
            "or unordered.",
            weight=1,
        ),
        Criterion(
            name="explains",
            text="It explains ideas that belong to a subject of school, in sentences that hang together, even if it "
            "leaves much out or is harder than need be.",
            weight=1,
        ),
        Criterion(
            name="suits_learners",
            text="A pupil up to middle school could learn from it as from a chapter of a textbook: clear, ordered, "
            "with hardly a line off the subject.",
            weight=1,
        ),
        Criterion(
            name="teaches_fully",
            text="A teacher could use it as it is: thorough, easy to follow, with reasons, examples or exercises, "
            "and nothing off the subject.",
            weight=1,
        ),
    )
)
"""Educational value up to middle school, 0 to 5: what FineWeb-Edu asks for, in words of our own."""


class Annotation(Reply):
    """What is made of an annotator's marks on one text."""

    status: Literal["scored", "error", "refused"]
    """error: the model said nothing usable; refused: a guard kept the text from it. Neither is a low score: a head
    never learns from them."""
    score: int | None = None
    """Sum of the weights of the statements that are true; None where it was not scored."""
    marks: tuple[Mark, ...] = ()
    detail: str = ""
    """Of an error, what was wrong with the answer; of a refused text, why."""
    prompt: str = ""
    """Digest of the template that asked; "" where nobody was asked."""


def annotate(
    talker: Talker,
    texts: Sequence[str],
    rubric: Rubric = EDUCATIONAL,
    threads: int = THREADS,
    *,
    guarded: bool = True,
) -> list[Annotation]:
    """One annotation a text, in their order. A text that talks to its judge is not shown to it (see `guards`).

    Args: guarded: false lets known attacks through to the model: to find out what it makes of them, never to choose.

    Raises: what `Talker.ask` raises; ValueError for a rubric with faults, which cannot be added up.
    """
    if any(criterion.weight < 0 for criterion in rubric.criteria):
        raise ValueError("points are added up: write every criterion with a positive weight")
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(partial(_annotate, talker, rubric, guarded), texts))


def _annotate(talker: Talker, rubric: Rubric, guarded: bool, text: str) -> Annotation:
    if guarded and (reason := refusal("", text)):
        return Annotation(status="refused", detail=one_line(reason))
    prompt = render("annotate", points=rubric.criteria, text=text)
    question = Question(
        messages=(Message("user", prompt.text),),
        schema=marks_schema(rubric),
        seed=seed_of("annotate", text),
        prompt=prompt.digest,
    )
    try:
        said = ask_for(talker, question, Marks, lambda marks: marks.check_against(rubric))
    except Unusable as error:
        return Annotation(status="error", detail=one_line(str(error)), prompt=prompt.digest)
    earned = {mark.criterion for mark in said.marks if mark.met}
    score = sum(criterion.weight for criterion in rubric.criteria if criterion.name in earned)
    return Annotation(status="scored", score=score, marks=said.marks, prompt=prompt.digest)
