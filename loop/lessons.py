"""Lessons: what a round has to learn from, and the job that the plan's training makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.training import DPO, GRPO, Distillation, TrainingChoice
from loop.bench import Bench
from loop.calibration import Calibration
from loop.errors import NothingToLearn
from loop.jobs import DistillJob, DrillJob, PreferenceJob, TrainJob
from loop.jury import jurors
from loop.preference import Pair
from loop.records import Checkpoint, Critique, Example, Problem, Sample
from loop.room import Room

LINKS = "links"
"""The links of a chain, a checkpoint each, in the folder of its room: together they are the ensemble."""


@dataclass(frozen=True)
class Lessons:
    """What a round has to learn from; a method takes of it what it can use."""

    dataset: Sequence[Example]
    pairs: Sequence[Pair] = ()
    """Right attempts against wrong ones, to be preferred."""
    problems: Sequence[Problem] = ()
    """To be reinforced on."""
    calibrations: Sequence[Calibration] = ()
    """Of the round's critics: those that are believed reward too."""
    judged: Sequence[tuple[Sample, Critique]] = ()
    """The round's samples, which need not be judged again."""

    @property
    def rows(self) -> tuple[tuple[str, str, int], ...]:
        """Prompt, response and copies of the mix."""
        return tuple((row.prompt, row.response, row.copies) for row in self.dataset)


def job_of(
    lessons: Lessons, choice: TrainingChoice, job: TrainJob, start: Checkpoint, room: Room, bench: Bench
) -> TrainJob | PreferenceJob | DrillJob | DistillJob:
    """What the child of the plan's method is asked to do.

    Raises: NothingToLearn when there is nothing that the method could learn from.
    """
    if isinstance(choice, DPO):
        pairs = tuple((pair.prompt, pair.chosen, pair.rejected) for pair in lessons.pairs)
        return PreferenceJob(job, pairs, choice.beta, choice.sft)
    if isinstance(choice, GRPO):
        if not lessons.problems:
            raise NothingToLearn(
                "no problem to reinforce: all that was sampled was solved each time, or has no answer of the tasks'"
                " own; practise harder cells, or let the plan train by sft"
            )
        critics, unheard = jurors(lessons.calibrations, bench)
        return DrillJob(
            train=job,
            choice=choice,
            problems=tuple(lessons.problems),
            judge=bench.judge,
            max_new_tokens=bench.student.max_new_tokens,
            vllm=bench.student.engine == "vllm",
            critics=critics,
            unheard=unheard,
        )
    if not lessons.dataset:
        raise NothingToLearn(
            "no row: nothing that was sampled passed, and there are no demonstrations; practise easier cells, draw"
            " more samples, or write demonstrations"
        )
    job = replace(job, rows=lessons.rows)
    return distillation(job, choice, start, room, bench) if isinstance(choice, Distillation) else job


def distillation(job: TrainJob, choice: Distillation, start: Checkpoint, room: Room, bench: Bench) -> DistillJob:
    """How the job is done by distillation. A chain is a restart from nothing: of `start` it takes the shape alone."""
    is_chain = not choice.teacher
    settings = job.settings.model_copy(update={"weight_decay": choice.weight_decay} if is_chain else {})
    is_fresh = is_chain and bench.student.architecture is not None
    base = bench.student.name if is_chain and not is_fresh else job.start
    return DistillJob(
        train=replace(job, start=base, settings=settings),
        fresh=is_fresh,
        links=choice.links,
        alpha=choice.alpha,
        serve_alpha=choice.serve_alpha,
        temperature=choice.temperature,
        dropout=choice.dropout,
        serve=choice.serve,
        links_folder=str(room.folder / LINKS),
        held_out=tuple((d.prompt, d.response) for d in bench.held_out),
        answer=bench.answer,
        max_new_tokens=bench.student.max_new_tokens,
        teacher="" if is_chain else bench.sampler(choice.teacher, start).model,
        teacher_name=choice.teacher,
        on_policy=choice.on_policy,
    )
