"""Labels: the answers of problems that a strategy wrote, by the vote of independent samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from agents.choices import VOTES
from loop.records import Sample
from loop.verifiers import check_answer, extract_answer, read_number

AGREED = 0.8
"""At least 4 of 5 samples agree (Lee et al., arXiv 2502.01612): it raised the right labels of products from 31 %
to 93 %."""


def verifier_of(answer: str) -> str:
    """Which verifier compares answers with one that no scorer knows."""
    return "numeric" if read_number(answer) is not None else "exact"


def agreed_answer(samples: Sequence[Sample], where: str) -> str:
    """The answer that enough independent samples of one problem give; "" where they do not agree, or are too few.

    A sample that is cut off or gives no answer is a vote for nothing. `where`: see `extract_answer`.
    """
    found = [extract_answer(sample.response, where) for sample in samples if sample.finish == "stop"]
    answers = [answer for answer in found if answer is not None]
    needed = max(math.ceil(AGREED * len(samples)), math.ceil(AGREED * VOTES))
    for answer in dict.fromkeys(answers):
        verifier = verifier_of(answer)
        agreeing = sum(
            check_answer(verifier, sample.response, answer, where).verdict == "passed"
            for sample in samples
            if sample.finish == "stop"
        )
        if agreeing >= needed and len(samples) >= VOTES:
            return answer
    return ""


def labelled(samples: Sequence[Sample], places: Sequence[str]) -> list[Sample]:
    """The samples, those of written problems with the agreed answer in the place of a missing one.

    Args: places: where each source's answers stand, by its index.
    """
    votes: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.problem.author and not sample.problem.answer:
            votes[sample.problem.id].append(sample)
    agreed = {key: agreed_answer(rows, places[rows[0].problem.source]) for key, rows in votes.items()}
    return [
        sample.model_copy(update={"problem": sample.problem.model_copy(update={"answer": agreed[sample.problem.id]})})
        if sample.problem.id in agreed
        else sample
        for sample in samples
    ]
