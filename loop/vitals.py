"""Vitals: whether a run feeds on its own errors, by what its rounds drew for practice.

Everything comes from samples that a round draws anyway: it costs no token. (Two per cent of a round, for problems
that stay the same, would be about 60 samples, in which no fall but the largest can be told from chance, and under
some engines a start of a minute.) The problems differ from round to round; what stays the same is the kind, a
stratum: the same cell, sampler, number of samples a problem and temperature, and only problems that no earlier round
has drawn, since those never solved come again. Two rounds are compared over the strata that both have, each weighing
the same in both, so a plan that moves to harder cells changes nothing. With one sample a problem neither diversity
nor pass@k is known, and the rules say nothing of them. Label accuracy is looked at where written problems get labels
by vote: the same vote of the same sampler, on practice problems, whose answers are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from math import comb
from typing import NamedTuple

from agents.choices import VOTES
from agents.replies import Plan
from agents.strategies import Level
from loop.collapse import RULES, Share, StopRules, Vitals, reasons_to_stop
from loop.coverage import ways_of
from loop.labels import agreed_answer, verifier_of
from loop.records import Cell, Critique, Sample
from loop.rounds import Round, Stratum
from loop.tasks import folded
from loop.verifiers import check_answer, extract_answer

Row = tuple[Sample, Critique]


class Kind(NamedTuple):
    """What makes samples alike."""

    skill: str
    level: Level
    sampler: str
    temperature: float
    k: int


def is_practice(sample: Sample) -> bool:
    """Whether a sample answers a problem of the objective, and by itself: no written problem, no hint."""
    return not (sample.problem.author or sample.written or sample.hinted)


def strata_of(plan: Plan, rows: Sequence[Row], known: Collection[str], places: Sequence[str]) -> tuple[Stratum, ...]:
    """What a round's samples for fresh practice problems show, by kind.

    Args: rows: all samples of the round. known: prompts of earlier rounds, folded. places: where each source's
    answers stand, by its index.
    """
    voters = {sample.sampler for sample, _ in rows if _is_voted_on(sample)}
    problems: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for sample, critique in rows:
        if is_practice(sample) and folded(sample.problem.prompt) not in known:
            problems[sample.sampler, sample.problem.id].append((sample, critique))
    kinds: defaultdict[Kind, list[list[Row]]] = defaultdict(list)
    for (sampler, _), group in problems.items():
        first = group[0][0]
        temperature = plan.strategies[first.place].temperature
        kinds[Kind(*first.problem.cell, sampler, temperature, len(group))].append(group)
    order = sorted(kinds, key=lambda kind: (Cell(kind.skill, kind.level).order, kind[2:]))
    return tuple(_stratum(kind, kinds[kind], places if kind.sampler in voters else ()) for kind in order)


def signs_of_collapse(rounds: Sequence[Round], rules: StopRules = RULES) -> str:
    """Why the loop should stop after its last round, in words; "" to go on."""
    pairs = [pair for then in rounds[:-1] if (pair := compared(then, rounds[-1]))]
    return "; ".join(reasons_to_stop(pairs, rules))


def compared(then: Round, now: Round) -> tuple[Vitals, Vitals] | None:
    """Both rounds as far as they drew alike; None where they did not."""
    before = {_kind_of(stratum): stratum for stratum in then.strata}
    both = [(before[_kind_of(stratum)], stratum) for stratum in now.strata if _kind_of(stratum) in before]
    if not both:
        return None
    k = max(stratum.k for _, stratum in both)
    largest = [pair for pair in both if pair[1].k == k > 1]
    labels = _shares(both, lambda stratum: (stratum.rightly, stratum.labelled))
    diversity = _shares(both, lambda stratum: (stratum.unlike, stratum.several))
    pass_1 = _shares(largest, lambda stratum: (stratum.pass_1, stratum.problems))
    pass_k = _shares(largest, lambda stratum: (stratum.pass_k, stratum.problems))
    first, last = (
        Vitals(round=closed.round, labels=labels[i], diversity=diversity[i], pass_1=pass_1[i], pass_k=pass_k[i], k=k)
        for i, closed in enumerate((then, now))
    )
    return first, last


def _is_voted_on(sample: Sample) -> bool:
    return bool(sample.problem.author) and not sample.problem.answer and not sample.written


def _stratum(kind: Kind, groups: Sequence[Sequence[Row]], places: Sequence[str]) -> Stratum:
    right = [[sample.response for sample, critique in group if critique.passed] for group in groups]
    several = [responses for responses in right if len(responses) > 1]
    labels = [label for group in groups if places and (label := _label(group, places)) is not None]
    return Stratum(
        **kind._asdict(),
        problems=len(groups),
        pass_1=sum(len(responses) for responses in right) / kind.k,
        pass_k=sum(map(bool, right)),
        several=len(several),
        unlike=sum(map(_unlike, several)),
        labelled=len(labels),
        rightly=sum(labels),
    )


def _unlike(responses: Sequence[str]) -> float:
    """The chance that two of them are different solutions (Simpson 1949, without putting back)."""
    alike = sum(comb(times, 2) for times in ways_of(responses).values())
    return 1 - alike / comb(len(responses), 2)


def _label(group: Sequence[Row], places: Sequence[str]) -> float | None:
    """How right the label is that the vote would give to a problem whose answer is known; None where it gives none.

    With too few samples for a vote each answer stands for itself: the share of these that is right.
    """
    where = places[group[0][0].problem.source]
    answered = [row for row in group if row[0].finish == "stop" and extract_answer(row[0].response, where)]
    if len(group) < VOTES:
        return sum(map(_is_right, answered)) / len(answered) if answered else None
    label = agreed_answer([sample for sample, _ in group], where)
    if not label:
        return None
    verifier = verifier_of(label)
    gave = [row for row in answered if check_answer(verifier, row[0].response, label, where).verdict == "passed"]
    return float(any(map(_is_right, gave)))


def _is_right(row: Row) -> bool:
    """By the check of the answer, which comes first, whatever the working."""
    return row[1].checks[0].verdict == "passed"


def _kind_of(stratum: Stratum) -> Kind:
    return Kind(stratum.skill, stratum.level, stratum.sampler, stratum.temperature, stratum.k)


def _shares(
    pairs: Sequence[tuple[Stratum, Stratum]], measured: Callable[[Stratum], tuple[float, int]]
) -> tuple[Share | None, Share | None]:
    """A share over strata that count the same in both rounds: as many things each as the round with fewer has."""
    counted = [(measured(then), measured(now)) for then, now in pairs]
    counted = [pair for pair in counted if pair[0][1] and pair[1][1]]
    if not counted:
        return None, None
    n = sum(min(then[1], now[1]) for then, now in counted)
    first, last = (sum(min(pair[0][1], pair[1][1]) * pair[i][0] / pair[i][1] for pair in counted) for i in (0, 1))
    return Share(count=first, n=n), Share(count=last, n=n)
