"""The bench: what stages work with. It knows how to have a model draw or be trained, and what that cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.engines import Request, SamplingJob
from loop.budget import BudgetSpent, Meter
from loop.contamination import Exams
from loop.crew import NO_LIMITS, Crew, Limits, Report, Work
from loop.errors import StageError
from loop.files import read_rows
from loop.jobs import DrawJob, Drawn, Trained
from loop.judging import Judge
from loop.objective import Demonstration
from loop.presets import Architecture, TrainSettings
from loop.records import Checkpoint, Problem, Record, Sample, Spent, seed_for
from loop.room import Room, Stage
from loop.tasks import Tasks


class Student(Record):
    """The model being improved, and how it is run and trained."""

    name: str
    engine: str
    weights: str
    settings: TrainSettings
    architecture: Architecture | None
    max_new_tokens: int


@dataclass(frozen=True)
class Draw:
    """Problems to be put to a checkpoint: one completion for each key."""

    checkpoint: Checkpoint
    problems: dict[str, Problem]
    temperature: float = 0.0
    strategy: str = ""
    limited: bool = False
    """Whether the budget may end it early; what was held back from the start it does not end."""


@dataclass(frozen=True)
class Earlier:
    """Practice prompts, folded, of the rounds before this one."""

    seen: Collection[str] = ()
    """All that were put to the sampler."""
    solved: Collection[str] = ()
    """Those with an example that was admitted."""


@dataclass(frozen=True)
class Bench:
    """The tools of one run, shared by its stages."""

    run: Path
    seed: int
    student: Student
    tasks: Tasks
    exams: Exams
    """What no training row may hold."""
    judge: Judge
    demonstrations: tuple[Demonstration, ...]
    """Those that are trained on; the others are held out to choose the checkpoint of round 0."""
    held_out: tuple[Demonstration, ...]
    answer: str
    """Where the answer of a demonstration stands."""
    meter: Meter
    crew: Crew

    def seed_for(self, *parts: object) -> int:
        """A seed that depends on the run's seed and every part."""
        return seed_for(self.seed, *parts)

    def draw(self, room: Room, stage: Stage[list[Sample]], what: Draw) -> list[Sample]:
        """One sample for each key, those of an earlier launch kept, in the stage's growing file.

        Raises: BudgetSpent when a limit ends it early; what was drawn stays and counts.
        """
        rows = room.rows(stage)
        rows.close()
        done = read_rows(rows.path, Sample)
        if len(done) == len(what.problems):
            drawn = Work(Drawn(0.0, what.checkpoint.parameters), 0)
        else:
            limits = self.meter.limits((room.name, stage.name)) if what.limited else NO_LIMITS
            # A torn row was within the limit when it was drawn: it is owed even where the others have reached it.
            limits = limits.less(_tokens(done), at_least=int(rows.torn))
            drawn = self._do("loop.drawing:draw", self._draw_job(room, stage, what, done, limits), room, stage)
        samples = read_rows(rows.path, Sample)
        tokens = _tokens(samples)
        spent = Spent(tokens_sampled=tokens, flops=2.0 * what.checkpoint.parameters * tokens)
        room.spend(stage, spent, drawn.result.engine_seconds, drawn.peak_bytes)
        if drawn.result.stopped:
            raise BudgetSpent(drawn.result.stopped)
        if len(samples) != len(what.problems):
            raise StageError(f"{rows.path}: {len(samples)} rows for {len(what.problems)} requests")
        return samples

    def _draw_job(
        self, room: Room, stage: Stage[list[Sample]], what: Draw, done: Sequence[Sample], limits: Limits
    ) -> DrawJob:
        return DrawJob(
            engine=self.student.engine,
            job=SamplingJob(
                model=str(self.run / what.checkpoint.path),
                requests=tuple(Request(key, problem.prompt) for key, problem in what.problems.items()),
                temperature=what.temperature,
                max_new_tokens=self.student.max_new_tokens,
                seed=self.seed_for(room.name, stage.name),
                done=frozenset(sample.id for sample in done),
            ),
            rows=str(room.folder / stage.file),
            problems=what.problems,
            strategy=what.strategy,
            limits=limits,
        )

    def train(self, room: Room, stage: Stage[Checkpoint], work: str, job: object) -> Trained:
        """Have the trainer do `work` ("train", "converge" or "adopt") and count what it cost."""
        module = "loop.convergence" if work == "converge" else "loop.trainer"
        module = "loop.scripted" if self.student.engine == "scripted" else module
        lost = self._lost_tokens(room)
        done = self._do(f"{module}:{work}", job, room, stage)
        trained: Trained = done.result
        self.count_training(room, stage, trained, lost, done.peak_bytes)
        if trained.stopped and work == "train":
            raise BudgetSpent(trained.stopped)
        return trained

    def count_training(
        self, room: Room, stage: Stage[Checkpoint], trained: Trained, lost: int = 0, peak_bytes: int = 0
    ) -> None:
        """Write down what training cost; `lost` tokens went into launches that died."""
        tokens = trained.tokens + lost
        flops = trained.parameters * (6.0 * tokens + 2.0 * trained.sampled_tokens)
        spent = Spent(tokens_trained=tokens, tokens_sampled=trained.sampled_tokens, flops=flops)
        room.spend(stage, spent, trained.engine_seconds if peak_bytes else 0.0, peak_bytes)

    def training_log(self, room: Room) -> Path:
        """Where the trainer writes how it goes, step by step."""
        return self.run / "logs" / f"{room.name.replace('/', '-')}-train.jsonl"

    def _lost_tokens(self, room: Room) -> int:
        """Tokens that launches which died trained on in vain: they were spent all the same."""
        log = self.training_log(room)
        if not log.exists():
            return 0
        lost = last = 0
        for line in log.read_text(encoding="utf-8").splitlines():
            try:
                tokens = int(json.loads(line)["tokens"])
            except (ValueError, KeyError):
                continue
            lost += last if tokens < last else 0
            last = tokens
        return lost + last

    def _do(self, work: str, job: object, room: Room, stage: Stage[Any]) -> Work:
        report: Report = room.screen.progress
        if self.student.engine == "scripted":
            return self.crew.run_here(work, job, report)
        return self.crew.run(work, job, report, f"{room.name.replace('/', '-')}-{stage.name.replace(' ', '-')}")


def _tokens(samples: Sequence[Sample]) -> int:
    return sum(sample.prompt_tokens + sample.completion_tokens for sample in samples)


def keyed(problems: Sequence[Problem]) -> dict[str, Problem]:
    """Problems by their own ids: for exams and probes, where each is answered once."""
    return {problem.id: problem for problem in problems}
