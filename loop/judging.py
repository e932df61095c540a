"""Judging: what the verifiers make of a response. One place, for samples, exams and probes alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loop.grounding import check_grounding
from loop.labels import verifier_of
from loop.objective import Demonstration
from loop.rationalise import mentions_hint
from loop.records import Attempt, Critique, Sample
from loop.tasks import Tasks, scorer_of
from loop.verifiers import (
    Check,
    check_answer,
    check_equations,
    extract_answer,
    first_wrong_step,
)

WORKING_SHARE = 0.9
"""When this share of the demonstrations shows working whose every equation holds, samples must do so too."""


class Judge:
    """Runs the verifiers of each problem's source. It never asks a model."""

    def __init__(self, tasks: Tasks, demonstrations: Sequence[Demonstration]) -> None:
        self._sources = tuple(tasks.sources)  # and no more of the tasks: a judge is sent to children
        self.places = [source.answer for source in tasks.sources]
        """Where the answers of each source stand."""
        self.verifiers = [source.verifiers[0] for source in tasks.sources]
        self.suites = tasks.suites
        """Of the exams, by the index of their source."""
        shown = [check_equations(row.response).verdict == "passed" for row in demonstrations]
        self.checks_working = bool(shown) and sum(shown) >= WORKING_SHARE * len(shown)
        """Whether a sample's working is checked as well as its answer: a right answer alone is a weak check."""

    def critique(self, sample: Sample) -> Critique:
        """All checks on a sample; it passes when its answer is right and its working, where checked, holds."""
        if sample.written and not sample.problem.answer:
            return _written(sample)
        source = self._sources[sample.problem.source]
        answer = self._answer(sample)
        checks = [answer]
        if self.checks_working or "equations" in source.verifiers:
            checks.append(check_equations(sample.response))
        reason = self._reason(sample, checks)
        grounding = check_grounding(sample.problem.prompt, sample.response) if not reason else None
        unsound = None if grounding is None or grounding.verdict == "absent" else grounding.verdict == "failed"
        return Critique(id=sample.id, passed=not reason, reason=reason, checks=tuple(checks), false_positive=unsound)

    def attempt(self, sample: Sample) -> Attempt:
        """An answer to an exam or probe, judged by its answer alone; a wrong one says in which way."""
        answer = self._answer(sample)
        correct = answer.verdict == "passed"
        kind, detail = ("", "") if correct else self._kind(sample, answer)
        return Attempt(
            problem=sample.problem, response=sample.response, finish=sample.finish, correct=correct,
            kind=kind, detail=detail,
        )  # fmt: skip

    def _answer(self, sample: Sample) -> Check:
        source = self._sources[sample.problem.source]
        verifier = verifier_of(sample.problem.answer) if sample.problem.author else source.verifiers[0]
        scorer = scorer_of(source, sample.problem) if verifier == "scorer" else None
        return check_answer(verifier, sample.response, sample.problem.answer, source.answer, scorer)

    def _reason(self, sample: Sample, checks: Sequence[Check]) -> str:
        if not sample.response.strip():
            return "empty"
        if sample.finish != "stop":
            return "cut off"
        if sample.problem.author and not sample.problem.answer:
            return "no agreement"
        if checks[0].verdict != "passed":
            return "no answer" if self._answers_nothing(sample) else "wrong answer"
        if any(check.verdict != "passed" for check in checks[1:]):
            return "wrong working"
        if sample.hinted and mentions_hint(sample.response, sample.problem.prompt):
            return "tells of its hint"
        return ""

    def _kind(self, sample: Sample, answer: Check) -> tuple[str, str]:
        if sample.finish != "stop":
            return "cut off", ""
        if not sample.response.strip():
            return "no answer", ""
        if self._answers_nothing(sample):
            return "wrong format", "no answer where it should stand"
        if wrong := first_wrong_step(sample.response):
            return "wrong step", wrong
        return "wrong answer", answer.detail

    def _answers_nothing(self, sample: Sample) -> bool:
        where = self._sources[sample.problem.source].answer
        return extract_answer(sample.response, where) is None


def _written(sample: Sample) -> Critique:
    """A text that a strategy wrote whole: a judge, or programs by its constraints, have found it good, or nobody."""
    verdict: Literal["passed", "absent"] = "passed" if sample.strategy == "constraints" else "absent"
    reason = "" if sample.response.strip() else "empty"
    checks = (sample.judged or Check(name="constraints", verdict=verdict),)
    return Critique(id=sample.id, passed=not reason, reason=reason, checks=checks)
