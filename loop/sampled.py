"""Sampled answers to an exam: what a student can do with several tries, and by majority. They decide nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction
from math import fsum
from statistics import fmean
from typing import NamedTuple

from agents.strategies import TEMPERATURE
from loop.coverage import coverage_at, sizes_up_to
from loop.judging import Judge
from loop.records import Cell, Evaluation, Problem, Sample, Sampled, digest
from loop.scores import AtSamples
from loop.verifiers import extract_answer, read_choice, read_number

ONE_ANSWER = ("choice", "exact", "math", "numeric")
"""Verifiers that compare with one answer: what they find right is one answer, however it is written."""


class Tried(NamedTuple):
    """What became of one problem's samples."""

    problem: Problem
    right: int
    majority: bool
    """Whether the most frequent answer is right."""


def keyed_samples(problems: Sequence[Problem], samples: int) -> dict[str, Problem]:
    """So many requests for each problem, by a key of their own."""
    return {digest("sampled", problem.id, number): problem for problem in problems for number in range(samples)}


def with_sampled(found: Evaluation, drawn: Sequence[Sample], samples: int, judge: Judge) -> Evaluation:
    """The evaluation with what the sampled answers come to: whole, by suite and by cell.

    Args: drawn: one sample for every key of `keyed_samples`, in any order.
    """
    by_key = {sample.id: sample for sample in drawn}
    problems = {sample.problem.id: sample.problem for sample in drawn}.values()
    tries = [try_out([by_key[key] for key in keyed_samples([problem], samples)], judge) for problem in problems]
    by_suite: defaultdict[str, list[Tried]] = defaultdict(list)
    by_cell: defaultdict[Cell, list[Tried]] = defaultdict(list)
    for tried in tries:
        by_cell[tried.problem.cell].append(tried)
        if tried.problem.source in judge.suites:
            by_suite[judge.suites[tried.problem.source].name].append(tried)
    suites = tuple(s.model_copy(update={"sampled": _sum_up(by_suite[s.name], samples)}) for s in found.suites)
    cells = tuple(
        c.model_copy(update={"sampled": _sum_up(by_cell[Cell(c.skill, c.level)], samples)}) for c in found.cells
    )
    parts = [(s.sampled, s.weight) for s in suites if s.sampled is not None and s.weight is not None]
    whole = _by_weight(parts) if parts else _sum_up(tries, samples)
    return found.model_copy(update={"sampled": whole, "suites": suites, "cells": cells})


def try_out(samples: Sequence[Sample], judge: Judge) -> Tried:
    """What became of one problem, its samples in the order of their keys."""
    problem = samples[0].problem
    right = [judge.attempt(sample).correct for sample in samples]
    verifier, place = judge.verifiers[problem.source], judge.places[problem.source]
    answers = [
        answer_key(verifier, extract_answer(sample.response, place), is_right)
        for sample, is_right in zip(samples, right, strict=True)
    ]
    return Tried(problem, sum(right), majority(answers, right))


def majority(answers: Sequence[str | Fraction | None], right: Sequence[bool]) -> bool:
    """Whether the most frequent answer is right; of several the one that came first, and none where none is read."""
    votes = Counter(answer for answer in answers if answer is not None)  # in the order in which they first came
    return bool(votes) and right[answers.index(votes.most_common(1)[0][0])]


def answer_key(verifier: str, found: str | None, is_right: bool) -> str | Fraction | None:
    """What is equal for answers that count as the same; None for no answer.

    All that a verifier with one right answer finds right is the same. Any other answers are the same where they are
    one plain number, one letter of a choice, or one text but for spaces and case.
    """
    if found is None:
        return None
    if is_right and verifier in ONE_ANSWER:
        return "right"
    if verifier == "choice":
        letter, text = read_choice(found)
        return f"option {letter or text.casefold()}"
    number = read_number(found)
    return f"text {' '.join(found.split()).casefold()}" if number is None else number


def _sum_up(tries: Sequence[Tried], samples: int) -> Sampled:
    counts = [(samples, tried.right) for tried in tries]
    return Sampled(
        samples=samples,
        temperature=TEMPERATURE,
        pass_at=tuple(AtSamples(k=k, share=coverage_at(k, counts)) for k in sizes_up_to(samples)),
        majority=fmean(tried.majority for tried in tries),
    )


def _by_weight(parts: Sequence[tuple[Sampled, float]]) -> Sampled:
    """The mean of suites by weight, the weights together 1."""
    first = parts[0][0]
    return first.model_copy(
        update={
            "pass_at": tuple(
                AtSamples(k=at.k, share=fsum(weight * one.pass_at[place].share for one, weight in parts))
                for place, at in enumerate(first.pass_at)
            ),
            "majority": fsum(weight * one.majority for one, weight in parts),
        }
    )
