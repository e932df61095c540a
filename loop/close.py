"""The ledger's line: what a round came to, whatever came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agents.briefs import Tally
from agents.replies import Plan
from loop.bench import Bench
from loop.compute_match import set_up
from loop.coverage import sampling_quality
from loop.decide import in_words
from loop.links import distilled_of
from loop.records import Admission, Cell, Checkpoint, Critique, Evaluation, Sample
from loop.rounds import Round, SetUp
from loop.vitals import is_practice, strata_of
from loop.written import Sought


@dataclass(frozen=True)
class Judged:
    """A round's samples with what was decided on them, in one order."""

    plan: Plan
    samples: Sequence[Sample]
    critiques: Sequence[Critique]
    admissions: Sequence[Admission]
    sought: Sequence[Sought] = ()
    known: Collection[str] = ()
    """Prompts that earlier rounds drew, folded."""
    pairs: int = 0


def close_round(
    number: int,
    judged: Judged,
    checkpoint: Checkpoint,
    evaluation: Evaluation,
    probe: tuple[Tally, ...],
    bench: Bench,
) -> Round:
    """A finished round: kept when the paired test says better, else discarded. Its data stay either way."""
    verdict = evaluation.verdict
    kept = verdict is not None and verdict.keep
    admitted = [a for a in judged.admissions if a.example is not None]
    dropped = Counter(c.reason for c in judged.critiques if not c.passed)
    dropped += Counter(a.reason for a in judged.admissions if a.reason)
    unsound, answer_only = false_positive_rates(judged.critiques)
    rows = list(zip(judged.samples, judged.critiques, strict=True))
    return Round(
        round=number,
        status="kept" if kept else "discarded",
        reason="" if verdict is None else in_words(verdict),
        dev=evaluation.score,
        checkpoint=checkpoint,
        strategies=tuple(strategy.kind for strategy in judged.plan.strategies),
        sampled=len(judged.samples),
        passed=sum(c.passed for c in judged.critiques),
        examples=len(admitted),
        pairs=judged.pairs,
        dropped=dict(sorted(dropped.items())),
        questions=tally_questions(judged.sought),
        dev_cells=evaluation.cells,
        samples=tally(judged.samples, judged.critiques),
        probe=probe,
        verdict=verdict,
        false_positive_rate=unsound,
        answer_false_positive_rate=answer_only,
        set_up=set_up_of(judged.samples, checkpoint, bench),
        quality=tuple(sampling_quality((sample, critique) for sample, critique in rows if is_practice(sample))),
        strata=strata_of(judged.plan, rows, judged.known, bench.judge.places),
        distilled=distilled_of(bench.run / checkpoint.path),
    )


def set_up_of(samples: Sequence[Sample], student: Checkpoint, bench: Bench) -> SetUp | None:
    """Which set-up a round is, by who drew its samples; None where nobody did."""
    names = dict.fromkeys(sample.sampler for sample in samples if not sample.written)
    return set_up(bench.student_of(student), [bench.sampler(name, student) for name in names]) if names else None


def tally(samples: Sequence[Sample], critiques: Sequence[Critique]) -> tuple[Tally, ...]:
    """Tries, passes and tokens by cell."""
    tried: Counter[Cell] = Counter()
    passed: Counter[Cell] = Counter()
    tokens: Counter[Cell] = Counter()
    for sample, critique in zip(samples, critiques, strict=True):
        cell = sample.problem.cell
        tried[cell] += 1
        passed[cell] += critique.passed
        tokens[cell] += sample.prompt_tokens + sample.completion_tokens
    return tuple(
        Tally(skill=cell.skill, level=cell.level, tried=tried[cell], passed=passed[cell], tokens=tokens[cell])
        for cell in sorted(tried, key=lambda cell: cell.order)
    )


def tally_questions(sought: Sequence[Sought]) -> dict[str, int]:
    """Questions by what became of them, those of a pilot apart."""
    asked = [question for row in sought if not row.pilot for question in row.rounds]
    return dict(sorted(Counter(question.heading or "accepted" for question in asked).items()))


def false_positive_rates(critiques: Sequence[Critique]) -> tuple[float | None, float | None]:
    """How often the filters let through what they should not.

    Returns: of the passed samples, the share that the grounding check finds unsound, a check that takes no part in
    the filter; and of the samples with a right answer, the share with wrong or missing working, which an answer check
    alone would have let in. None where nothing could be checked.
    """
    measured = [c.false_positive for c in critiques if c.false_positive is not None]
    right = [c for c in critiques if c.checks[0].verdict == "passed" and len(c.checks) > 1]
    return (
        sum(measured) / len(measured) if measured else None,
        sum(c.checks[1].verdict != "passed" for c in right) / len(right) if right else None,
    )
