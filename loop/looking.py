"""Looking: what an orchestrator that is a model may see of the run. It reads rooms of closed rounds, and no other.

Of a round only the files of practice are open. Dev shows its counts by cell, which stand in the ledger; of the test
nothing is here. A row in which a problem of an exam stands all the same is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from agents.briefs import Tally
from agents.looking import (
    CostRow,
    Costs,
    DemonstrationRow,
    Demonstrations,
    FailureRow,
    Failures,
    SampleRow,
    Samples,
    ScoreRow,
    Scores,
)
from agents.replies import Diagnosis
from loop.contamination import Exams
from loop.judging import Judge
from loop.ledger import Ledger
from loop.objective import Demonstration
from loop.records import Cell, Critique, Sample
from loop.room import ADMISSIONS, CRITIQUES, DIAGNOSIS, PROBE, SAMPLES, Room, Screen, Stage
from loop.rounds import Round

T = TypeVar("T")

OPEN = frozenset(stage.name for stage in (SAMPLES, CRITIQUES, ADMISSIONS, PROBE, DIAGNOSIS))
"""Stages whose files may be read."""


class RunLibrary:
    """The Library of agents/looking.py on a run's folder and ledger. It writes nothing."""

    def __init__(
        self, run: Path, ledger: Ledger, screen: Screen, judge: Judge, exams: Exams,
        demonstrations: Sequence[Demonstration],
    ) -> None:  # fmt: skip
        """`demonstrations` are those that are trained on; `exams` the problems that nobody may see."""
        self._run, self._ledger, self._screen = run, ledger, screen
        self._judge, self._exams, self._demonstrations = judge, exams, demonstrations

    def failures(self, look: Failures) -> list[FailureRow]:
        """Wrong attempts of the last probe: those of a cluster, or in a mode's cell those that went wrong its way."""
        for closed in reversed(self._ledger.rounds()):
            room = self._room(closed)
            if room.has(DIAGNOSIS):
                return list(islice(self._wrong(room, look.mode), look.count))
        return []

    def samples(self, look: Samples) -> list[SampleRow]:
        """Samples of a closed round in one cell, in the order in which they were drawn."""
        found = (
            SampleRow(
                problem=sample.problem.prompt, response=sample.response, passed=critique.passed,
                reason=critique.reason or reason, strategy=sample.strategy, sampler=sample.sampler,
            )
            for sample, critique, reason in self._judged(look.round)
            if sample.problem.cell == Cell(look.skill, look.level)
            and look.passed in (None, critique.passed)
            and look.strategy in ("", sample.strategy)
            and self._may_be_seen(sample)
        )  # fmt: skip
        return list(islice(found, look.count))

    def scores(self, look: Scores) -> list[ScoreRow]:
        """A closed round's counts by cell."""
        closed = self._closed(look.round)
        if closed is None:
            return []
        dev = tuple(Tally(skill=c.skill, level=c.level, tried=c.n, passed=c.correct) for c in closed.dev_cells)
        rows = [
            *(ScoreRow(at="dev", **dict(tally)) for tally in dev),
            *(ScoreRow(at="probe", **dict(tally)) for tally in closed.probe),
            *(ScoreRow(at="samples", **dict(tally)) for tally in closed.samples),
        ]
        return [row for row in rows if look.at in (None, row.at) and look.skill in ("", row.skill)]

    def demonstrations(self, look: Demonstrations) -> list[DemonstrationRow]:
        """Demonstrations of a cell, or of all, in their order."""
        found = (
            DemonstrationRow(problem=row.prompt, response=row.response)
            for row in self._demonstrations
            if (not look.skill or Cell(row.skill or "", row.level) == Cell(look.skill, look.level))
            and not self._exams.match(row.prompt, row.response)
        )
        return list(islice(found, look.start, look.start + look.count))

    def costs(self, look: Costs) -> list[CostRow]:
        """A row for each strategy and sampler of a closed round."""
        closed = self._closed(look.round)
        if closed is None:
            return []
        drawn: dict[tuple[str, str], list[tuple[Sample, Critique, str]]] = {}
        for sample, critique, reason in self._judged(look.round):
            drawn.setdefault((sample.strategy, sample.sampler), []).append((sample, critique, reason))
        before = [r.dev.score for r in self._ledger.rounds()[: look.round] if r.dev and r.status in ("start", "kept")]
        spent = self._ledger.spent(self._room(closed).name)
        return [
            CostRow(
                strategy=strategy, sampler=sampler, samples=len(rows),
                passed=sum(critique.passed for _, critique, _ in rows),
                admitted=sum(critique.passed and not reason for _, critique, reason in rows),
                tokens=sum(sample.prompt_tokens + sample.completion_tokens for sample, _, _ in rows),
                round_status=closed.status,
                round_dev=closed.dev.score if closed.dev else None,
                best_dev_before=before[-1] if before else None,
                p=closed.verdict.p if closed.verdict else None,
                round_tokens_sampled=spent.tokens_sampled, round_tokens_trained=spent.tokens_trained,
                round_usd=spent.usd,
            )
            for (strategy, sampler), rows in drawn.items()
        ]  # fmt: skip

    def _wrong(self, room: Room, name: str) -> Iterator[FailureRow]:
        diagnosis: Diagnosis = _fetch(room, DIAGNOSIS)
        modes = {(Cell(mode.skill, mode.level), mode.kind) for mode in diagnosis.modes if mode.name == name}
        members = {member for cluster in diagnosis.clusters if cluster.name == name for member in cluster.members}
        for sample in _fetch(room, PROBE) if modes or members else ():
            problem, attempt = sample.problem, self._judge.attempt(sample)
            alike = (problem.cell, attempt.kind) in modes or sample.id in members
            if not attempt.correct and alike and self._may_be_seen(sample):
                yield FailureRow(
                    problem=problem.prompt, response=sample.response, right=problem.answer,
                    first_wrong=attempt.detail,
                )  # fmt: skip

    def _judged(self, number: int) -> Iterator[tuple[Sample, Critique, str]]:
        """A closed round's samples with their critiques, and why one that passed was not admitted."""
        closed = self._closed(number)
        room = self._room(closed) if closed else None
        if room is None or not (room.has(SAMPLES) and room.has(CRITIQUES) and room.has(ADMISSIONS)):
            return
        samples, critiques = _fetch(room, SAMPLES), _fetch(room, CRITIQUES)
        reasons = {admission.id: admission.reason for admission in _fetch(room, ADMISSIONS)}
        for sample, critique in zip(samples, critiques, strict=True):
            yield sample, critique, reasons.get(sample.id, "")

    def _may_be_seen(self, sample: Sample) -> bool:
        return not self._exams.match(sample.problem.prompt, sample.response)

    def _closed(self, number: int) -> Round | None:
        return next((closed for closed in self._ledger.rounds() if closed.round == number), None)

    def _room(self, closed: Round) -> Room:
        return Room(self._run, f"{closed.round:03}", self._ledger, self._screen)


def _fetch(room: Room, stage: Stage[T]) -> T:
    """The record of a finished stage, if it is one that may be read."""
    assert stage.name in OPEN and room.name.isdigit(), "only rounds, and of these only what is practice"
    return room.fetch(stage)
