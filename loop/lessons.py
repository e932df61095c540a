"""Lessons: what a round has to learn from, and the job that the plan's training makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.training import DPO, GRPO, TrainingChoice
from loop.bench import Bench
from loop.errors import StageError
from loop.jobs import DrillJob, PreferenceJob, TrainJob
from loop.preference import Pair
from loop.records import Example, Problem


@dataclass(frozen=True)
class Lessons:
    """What a round has to learn from; a method takes of it what it can use."""

    dataset: Sequence[Example]
    pairs: Sequence[Pair] = ()
    """Right attempts against wrong ones, to be preferred."""
    problems: Sequence[Problem] = ()
    """To be reinforced on."""

    @property
    def rows(self) -> tuple[tuple[str, str, int], ...]:
        """Prompt, response and copies of the mix."""
        return tuple((row.prompt, row.response, row.copies) for row in self.dataset)


def job_of(
    lessons: Lessons, choice: TrainingChoice, job: TrainJob, bench: Bench
) -> TrainJob | PreferenceJob | DrillJob:
    """What the child of the plan's method is asked to do.

    Raises: StageError when there is nothing that the method could learn from.
    """
    if isinstance(choice, DPO):
        pairs = tuple((pair.prompt, pair.chosen, pair.rejected) for pair in lessons.pairs)
        return PreferenceJob(job, pairs, choice.beta, choice.sft)
    if isinstance(choice, GRPO):
        if not lessons.problems:
            raise StageError(
                "no problem of the round is worth reinforcing: all that was sampled was solved each time"
            )
        return DrillJob(
            train=job,
            choice=choice,
            problems=tuple(lessons.problems),
            judge=bench.judge,
            max_new_tokens=bench.student.max_new_tokens,
            vllm=bench.student.engine == "vllm",
        )
    return replace(job, rows=lessons.rows)
